/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * errors.h - from Java's exceptions, as they come in answers, to codes.
 */
#ifndef HLFS_HDFS_ERRORS_H
#define HLFS_HDFS_ERRORS_H

#include <stddef.h>

enum errors_advice {
    ERRORS_FAIL,            /* the answer */
    ERRORS_WAIT,            /* the same NameNode may take it in a moment */
    ERRORS_FAILOVER,        /* not this NameNode */
};

/*
 * CLASS is the exception's class, MESSAGE its text; "" where there is none.  Returns
 * -errno, -HDFS_ELEASE or -HDFS_ETOKEN, and what to do.
 */
int errors_code(const char *class, const char *message, enum errors_advice *ret);

/* "Permission denied: …": the first line of a remote message without the class before
 * it and without control characters, cut at LEN. */
void errors_first_line(const char *message, char *buf, size_t len);

/* Words for a code: error_name(), and those for ours. */
const char *errors_name(int code);

#endif
