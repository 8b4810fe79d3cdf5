/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES ERROR_TEXT_BYTES

static __thread char own_text[TEXT_BYTES];

/* Set once, before anything is said; NULL: ours. */
static char *(*keeper)(void);

char *error_buffer(void)
{
    return keeper ? keeper() : own_text;
}

void error_keep_in(char *(*buffer)(void))
{
    keeper = buffer;
}

int error_set(int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(error_buffer(), TEXT_BYTES, fmt, args);
    va_end(args);
    return code;
}

int error_prefix(int code, const char *fmt, ...)
{
    char head[TEXT_BYTES / 2], tail[TEXT_BYTES];
    char *last = error_buffer();
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(head, sizeof(head), fmt, args);
    va_end(args);
    (void)snprintf(tail, sizeof(tail), "%s", last[0] ? last : error_name(code));
    (void)snprintf(last, TEXT_BYTES, "%s: %.500s", head, tail);
    return code;
}

const char *error_text(void)
{
    return error_buffer();
}

void error_clear(void)
{
    error_buffer()[0] = '\0';
}

const char *error_name(int code)
{
    static __thread char text[128];

    /* The GNU strerror_r may return a static string instead of filling TEXT. */
    return strerror_r(code < 0 ? -code : code, text, sizeof(text));
}

void log_say(const struct log_hook *hook, enum log_level level, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;

    if (!hook || !hook->call) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    hook->call(hook->opaque, level, text);
}
