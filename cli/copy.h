/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy.h - move the bytes of a disk from one end to the other: the engine of import and
 * export.
 *
 * The disk is cut into pieces of up to 1 MiB; holes of more than 128 KiB are never read.
 * COPY_THREADS threads each take a piece, read it and write it, so that both ends always
 * have several to do, and with them one of the two is as busy as it can be.  Memory: a
 * buffer of 1 MiB for each thread, 16 MiB in all.
 *
 * An end that is *ordered*, a pipe, sees its pieces one by one.
 *
 * Ends' functions are called from several threads at once unless they are ordered;
 * extent() from one at a time.  They return -errno, and do not say it.
 */
#ifndef HLFS_CLI_COPY_H
#define HLFS_CLI_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_THREADS 16
#define COPY_PIECE_BYTES (1u << 20)

struct copy_source {
    /* Data at or after AT: [*RET_BEGIN, *RET_END), begin at the size: no more.  NULL: all
     * is data. */
    int (*extent)(void *from, uint64_t at, uint64_t *ret_begin, uint64_t *ret_end);
    /* The bytes read: LEN, or, where it is ordered, less at its end. */
    int64_t (*read)(void *from, void *buf, size_t len, uint64_t at);
    bool ordered;
};

struct copy_sink {
    int (*write)(void *to, const void *buf, size_t len, uint64_t at);
    /* NULL: it reads as zeros already. */
    int (*hole)(void *to, uint64_t len, uint64_t at);
    bool ordered;
};

struct copy {
    const struct copy_source *source;
    void *from;
    const struct copy_sink *sink;
    void *to;
    uint64_t size_bytes;
    const char *what;           /* for the progress */
};

enum copy_side { COPY_SOURCE, COPY_SINK, COPY_SIGNAL };

struct copy_result {
    enum copy_side side;        /* what failed, with the return value's error */
    uint64_t offset;            /* and where */
    uint64_t end_bytes;         /* the size, or where an ordered source ended before */
    bool stuck;                 /* see below */
};

/*
 * Copy.  0, or the -errno of what failed first; -EINTR: a signal came (interrupt.h).
 *
 * If RET->stuck, a signal came and some thread still waits for the system: nothing that
 * the ends use may be freed, and the process is to be ended by _exit().
 */
int copy_run(const struct copy *c, struct copy_result *ret);

/* Is all of it zero? */
bool copy_is_zero(const void *buf, size_t len);

#endif
