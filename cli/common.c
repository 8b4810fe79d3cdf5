/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "progress.h"

/* ---- Messages ------------------------------------------------------------- */

/* In one write, so that lines of the library's threads do not mix with it. */
static void say(const char *fmt, va_list args)
{
    char text[2048];

    (void)vsnprintf(text, sizeof(text), fmt, args);
    (void)fflush(stdout);
    progress_hide();
    (void)fprintf(stderr, "hlfs: %s\n", text);
}

int fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

int fail_usage(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
    return EXIT_USAGE;
}

void warn(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
}

int fail_library(int code, const char *what)
{
    const char *sentence = hlfs_error();

    if (sentence[0]) {
        return fail("%s", sentence);
    }
    return fail("%s: %s", what, strerror(code < 0 ? -code : code));
}

/* ---- Numbers -------------------------------------------------------------- */

bool size_parse(const char *text, uint64_t *ret_bytes)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {
        { "", 0 }, { "K", 10 }, { "KiB", 10 }, { "M", 20 }, { "MiB", 20 },
        { "G", 30 }, { "GiB", 30 }, { "T", 40 }, { "TiB", 40 },
    };
    uint64_t value = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return false;
        }
    }
    for (size_t i = 0; p > text && i < ARRAY_SIZE(units); i++) {
        if (strcasecmp(p, units[i].suffix) == 0) {
            if (value > UINT64_MAX >> units[i].shift) {
                return false;
            }
            *ret_bytes = value << units[i].shift;
            return true;
        }
    }
    return false;
}

int count_parse(const char *name, const char *text, uint64_t min, uint64_t max,
                uint64_t *ret)
{
    uint64_t n;

    if (!size_parse(text, &n) || n < min || n > max) {
        return fail_usage("%s cannot be \"%s\": it is a number from %" PRIu64 " to %"
                          PRIu64, name, text, min, max);
    }
    *ret = n;
    return EXIT_OK;
}

int volume_size_parse(const char *text, uint64_t *ret_bytes)
{
    uint64_t bytes;

    if (!size_parse(text, &bytes)) {
        return fail_usage("\"%s\" is no size: it is a number, K M G T may follow", text);
    }
    if (bytes > HLFS_SIZE_MAX) {
        return fail_usage("a volume of %s is too large: %s is the most", text,
                          size_format(HLFS_SIZE_MAX).text);
    }
    if (bytes % 512 != 0) {
        return fail_usage("a volume's size is a multiple of 512, which %" PRIu64
                          " is not", bytes);
    }
    *ret_bytes = bytes;
    return EXIT_OK;
}

struct size_text size_format(uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
    struct size_text ret;
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    /* Two digits after the point where they say something. */
    (void)snprintf(ret.text, sizeof(ret.text), "%.*f %s",
                   value == (double)(uint64_t)value || value >= 100 ? 0 : 2, value,
                   units[unit]);
    return ret;
}

struct time_text time_format(uint64_t us)
{
    struct time_text ret;
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) ||
        strftime(ret.text, sizeof(ret.text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        (void)snprintf(ret.text, sizeof(ret.text), "%" PRIu64 " us", us);
    }
    return ret;
}

/* ---- Locations and volumes ------------------------------------------------ */

int location_split(const char *text, char **ret_location, char **ret_snapshot)
{
    char *snapshot = NULL;
    int r = hlfs_location_split(text, ret_location, &snapshot);

    if (r < 0) {
        (void)fail_library(r, text);
        return EXIT_USAGE;
    }
    if (snapshot && !ret_snapshot) {
        free(snapshot);
        free(*ret_location);
        *ret_location = NULL;
        return fail_usage("\"%s\" names a snapshot, where a volume is asked for; for a "
                          "volume with '@' in its name write \"%s/\"", text, text);
    }
    if (ret_snapshot) {
        *ret_snapshot = snapshot;
    }
    return EXIT_OK;
}

int volume_open(const struct arguments *a, const char *text, unsigned flags,
                struct hlfs **ret)
{
    char *location, *snapshot;
    int status = location_split(text, &location, &snapshot);
    int r;

    if (status != EXIT_OK) {
        return status;
    }
    r = hlfs_open(location, snapshot, flags, a->options, ret);
    if (r < 0) {
        status = fail_library(r, text);
    }
    free(location);
    free(snapshot);
    return status;
}

int volume_look(const struct arguments *a, const char *location)
{
    struct hlfs *v;
    int r = hlfs_open(location, NULL, HLFS_RDONLY, a->options, &v);

    if (r == 0) {
        (void)hlfs_close(v);
    }
    return r;
}

int info_look(const struct arguments *a, const char *location, struct hlfs_info *ret)
{
    struct hlfs *v;
    int r = hlfs_open(location, NULL, HLFS_RDONLY, a->options, &v);

    if (r == 0) {
        r = hlfs_get_info(v, ret, sizeof(*ret));
        (void)hlfs_close(v);
    }
    return r;
}

/* One key of an answer: numbers as such. */
static void answer_add(void *opaque, const char *key, const char *value)
{
    struct json_object *o = opaque;
    char *end;
    uint64_t n = strtoull(value, &end, 10);

    if (!o) {
        return;
    }
    if (value[0] >= '0' && value[0] <= '9' && *end == '\0') {
        json_add_uint(o, key, n);
    } else {
        json_add_string(o, key, value);
    }
}

int holder_ask(const struct arguments *a, const char *location, const char *request,
               struct json_object **ret)
{
    struct json_object *o = ret ? json_object_new_object() : NULL;
    int r = hlfs_control(location, a->options, request, answer_add, o);

    if (ret) {
        *ret = o;
    }
    return r;
}

/* ---- JSON ----------------------------------------------------------------- */

void json_print(struct json_object *object)
{
    (void)puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                      JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
}

void json_add_uint(struct json_object *o, const char *key, uint64_t value)
{
    json_object_object_add(o, key, json_object_new_uint64(value));
}

void json_add_bool(struct json_object *o, const char *key, bool value)
{
    json_object_object_add(o, key, json_object_new_boolean(value));
}

/* How many bytes the UTF-8 character at TEXT has; 0: there is none. */
static size_t utf8_bytes(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 :
               p[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Not the shortest form; one half of a pair of UTF-16; above U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

struct json_object *json_string(const char *value)
{
    static const char replacement[] = "\xef\xbf\xbd";    /* U+FFFD */
    char *text = malloc(3 * strlen(value) + 1);
    struct json_object *ret;
    size_t n = 0;

    while (text && *value) {
        size_t bytes = utf8_bytes(value);
        const char *from = bytes ? value : replacement;
        size_t len = bytes ? bytes : sizeof(replacement) - 1;

        memcpy(text + n, from, len);
        n += len;
        value += bytes ? bytes : 1;
    }
    ret = text ? json_object_new_string_len(text, (int)n) : NULL;
    free(text);
    return ret;
}

void json_add_string(struct json_object *o, const char *key, const char *value)
{
    json_object_object_add(o, key, json_string(value));
}

void json_add_double(struct json_object *o, const char *key, double value)
{
    char digits[64];

    (void)snprintf(digits, sizeof(digits), "%.3f", value);
    json_object_object_add(o, key, json_object_new_double_s(value, digits));
}
