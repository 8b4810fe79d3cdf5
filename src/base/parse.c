/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/parse.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit size_units[] = {
    { "", 1 },
    { "K", KIB(1) }, { "KiB", KIB(1) },
    { "M", MIB(1) }, { "MiB", MIB(1) },
    { "G", GIB(1) }, { "GiB", GIB(1) },
    { "T", TIB(1) }, { "TiB", TIB(1) },
    { NULL, 0 },
};

static const struct unit time_units[] = {
    { "", 1000000 }, { "ms", 1000 }, { "s", 1000000 }, { "m", 60 * UINT64_C(1000000) },
    { "h", 3600 * UINT64_C(1000000) }, { "d", 86400 * UINT64_C(1000000) },
    { NULL, 0 },
};

/* Read digits of BASE at TEXT; *RET_END is what follows.  At least one. */
static int parse_digits(const char *text, unsigned base, uint64_t *ret,
                        const char **ret_end)
{
    uint64_t value = 0;
    const char *p = text;

    if (!text) {
        return -EINVAL;
    }
    for (; *p >= '0' && *p < (char)('0' + base); p++) {
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return -ERANGE;
        }
    }
    if (p == text) {
        return -EINVAL;
    }
    *ret = value;
    *ret_end = p;
    return 0;
}

static int parse_whole(const char *text, unsigned base, uint64_t *ret)
{
    uint64_t value;
    const char *end;
    int r = parse_digits(text, base, &value, &end);

    if (r < 0) {
        return r;
    }
    if (*end != '\0') {
        return -EINVAL;
    }
    *ret = value;
    return 0;
}

int parse_number(const char *text, uint64_t *ret)
{
    return parse_whole(text, 10, ret);
}

int parse_octal(const char *text, uint64_t *ret)
{
    return parse_whole(text, 8, ret);
}

static int parse_with_unit(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t value;
    const char *suffix;
    int r = parse_digits(text, 10, &value, &suffix);

    if (r < 0) {
        return r;
    }
    for (; units->suffix; units++) {
        if (strcasecmp(units->suffix, suffix) == 0) {
            return __builtin_mul_overflow(value, units->factor, ret) ? -ERANGE : 0;
        }
    }
    return -EINVAL;
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t bytes;
    int r = parse_with_unit(text, size_units, &bytes);

    if (r < 0) {
        return r;
    }
    *ret_bytes = bytes;
    return 0;
}

int parse_time(const char *text, uint64_t *ret_us)
{
    uint64_t us;
    int r = parse_with_unit(text, time_units, &us);

    if (r < 0) {
        return r;
    }
    *ret_us = us;
    return 0;
}

bool parse_is_line(const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return false;
        }
    }
    return true;
}
