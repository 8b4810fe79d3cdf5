/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 1024

static __thread char last_text[TEXT_BYTES];

int error_set(int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(last_text, sizeof(last_text), fmt, args);
    va_end(args);
    return code;
}

int error_prefix(int code, const char *fmt, ...)
{
    char head[TEXT_BYTES / 2], tail[TEXT_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(head, sizeof(head), fmt, args);
    va_end(args);
    (void)snprintf(tail, sizeof(tail), "%s", last_text[0] ? last_text : error_name(code));
    (void)snprintf(last_text, sizeof(last_text), "%s: %.500s", head, tail);
    return code;
}

const char *error_text(void)
{
    return last_text;
}

void error_clear(void)
{
    last_text[0] = '\0';
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
