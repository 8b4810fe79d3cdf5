/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- Messages ------------------------------------------------------------- */

/* In one write, so that lines of the library's threads do not mix with it. */
static void say(const char *fmt, va_list args)
{
    char text[2048];

    (void)vsnprintf(text, sizeof(text), fmt, args);
    (void)fflush(stdout);
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

void json_add_string(struct json_object *o, const char *key, const char *value)
{
    json_object_object_add(o, key, json_object_new_string(value));
}

void json_add_double(struct json_object *o, const char *key, double value)
{
    char digits[64];

    (void)snprintf(digits, sizeof(digits), "%.3f", value);
    json_object_object_add(o, key, json_object_new_double_s(value, digits));
}
