/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio.h - asynchronous I/O on file descriptors: what a lane of local.c stands on.
 *
 * An aio context takes transfers (read, write, fdatasync) and calls (blocking work
 * such as create or rename) and gives them back when they are over.  Transfers go
 * through io_uring where the kernel allows it, else through a pool of threads; calls
 * always run on that pool.  Knows fds and bytes, no files, volumes or formats.  Used
 * by the local store only.
 *
 * Threads: a context is used by one thread at a time, but aio_wake() may be called
 * by any, and the pool's threads complete ops at any time.  A pool may be shared by
 * contexts.  All threads made here block all signals.
 *
 * Errors: results are -errno; short transfers are continued, and what the kernel
 * could not do now (EINTR, EAGAIN) is done again, so that neither is ever seen.
 */
#ifndef HLFS_STORE_AIO_H
#define HLFS_STORE_AIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct aio;
struct aio_pool;

enum aio_what {
    AIO_READ,       /* res: bytes read, less than len only at the end of the file */
    AIO_WRITE,      /* res: 0, and all bytes are written */
    AIO_SYNC,       /* fdatasync; res: 0 */
    AIO_CALL,       /* res: what call() returned */
};

/* Owned by the caller, untouched between aio_start() and aio_collect(). */
struct aio_op {
    enum aio_what what;
    bool durable;               /* AIO_WRITE: RWF_DSYNC */
    int fd;
    void *buf;                  /* borrowed */
    size_t len;                 /* at most AIO_LEN_MAX */
    uint64_t offset;
    int (*call)(struct aio_op *op);     /* AIO_CALL: may block, on a pool thread */

    int res;
    struct list node;

    /* aio's own */
    size_t moved;               /* bytes transferred so far */
    struct aio *aio;
};

#define AIO_LEN_MAX ((size_t)1 << 30)

/* Threads come into being as they are needed, THREADS_MAX at most.  NULL: no memory. */
struct aio_pool *aio_pool_new(unsigned threads_max);
void aio_pool_free(struct aio_pool *pool);      /* its contexts are gone; NULL is fine */

/*
 * A new context on POOL (borrowed).  With URING io_uring is tried first; that it is
 * not to be had is no error.  NULL: errno says why.
 */
struct aio *aio_new(struct aio_pool *pool, bool uring);
void aio_free(struct aio *aio);                 /* nothing in flight; NULL is fine */

/*
 * Becomes readable when there is something to collect, or by aio_wake().  From the first
 * call on: a context whose fd nobody asked for makes fewer system calls.  Or -errno.
 */
int aio_fd(struct aio *aio);

/*
 * Queue OP; aio_kick() hands it to the kernel.  Durable writes it may do itself, and
 * return when they are over: who waits for one has nothing else to do, and through a
 * ring it would cost two changes of thread more.
 */
void aio_start(struct aio *aio, struct aio_op *op);
void aio_kick(struct aio *aio);

/* Move the ops that are over to the end of DONE and reset the fd.  Never blocks. */
void aio_collect(struct aio *aio, struct list *done);

/* Block until there may be something to collect, aio_wake() was called (once per
 * call) or TIMEOUT_US has passed (< 0: for ever).  1, or 0 on a time-out. */
int aio_wait(struct aio *aio, int64_t timeout_us);
void aio_wake(struct aio *aio);

/* By the thread that uses the context: make the fd readable until the next
 * aio_collect().  Wakes nobody who is in aio_wait(). */
void aio_signal(struct aio *aio);

#endif
