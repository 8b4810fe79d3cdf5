/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * error.h - the text of the last failure of a thread, and the log hook.
 *
 * Functions return 0 or a positive value, or -errno.  Set-up calls (open, create,
 * list …) also leave one sentence behind with error_set(): what was tried, where,
 * why, and what to do.  Data calls return the code only.  What fails in the
 * background goes to the log hook.  Nothing here, and nothing in the library,
 * writes to stdout or stderr.
 */
#ifndef HLFS_BASE_ERROR_H
#define HLFS_BASE_ERROR_H

#include <stdarg.h>
#include "base/util.h"

/* Keep the sentence for this thread and return CODE (a negative errno). */
int error_set(int code, const char *fmt, ...) _printf_(2, 3);

/*
 * Put words before the sentence kept last, as "PREFIX: sentence", and return CODE.
 * Without a sentence strerror's text of CODE stands in.
 */
int error_prefix(int code, const char *fmt, ...) _printf_(2, 3);

/* This thread's last sentence, never NULL; valid until its next error_set(). */
const char *error_text(void);
void error_clear(void);

/*
 * Where this thread's sentence is kept.  A part of the library that is loaded by itself
 * has its own copy of this file, and is told to keep its sentences in the buffer of who
 * loaded it.
 */
#define ERROR_TEXT_BYTES 1024
char *error_buffer(void);
void error_keep_in(char *(*buffer)(void));

/* strerror() for threads and our codes; -CODE and CODE are the same. */
const char *error_name(int code);

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Where background messages of one volume go.  CALL may be NULL; it is called from
 * any thread, inside or outside the monitor, and must not call back in. */
struct log_hook {
    void (*call)(void *opaque, int level, const char *text);
    void *opaque;
};

void log_say(const struct log_hook *hook, enum log_level level, const char *fmt, ...)
    _printf_(3, 4);

#endif
