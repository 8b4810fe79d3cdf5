/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_private.h - what the files of aio share: the context and its backend table.
 *
 * Lock order: the pool's lock and a context's lock are never held together.
 */
#ifndef HLFS_STORE_AIO_PRIVATE_H
#define HLFS_STORE_AIO_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/aio.h"

struct aio_ops {
    void (*free)(struct aio *aio);
    void (*start)(struct aio *aio, struct aio_op *op);  /* a transfer, not a call */
    /* False: something could not be handed to the kernel now and wants another kick
     * soon, though nothing will announce when. */
    bool (*kick)(struct aio *aio);
    void (*reap)(struct aio *aio, struct list *done);
    bool (*ready)(struct aio *aio);
    /* From now on make event_fd readable for transfers, too.  0 or -errno.  NULL, as
     * wait is then: it always is, and aio_wait() polls it. */
    int (*expose)(struct aio *aio);
    /* As aio_wait(), while the fd is not exposed; event_fd ends it, too. */
    int (*wait)(struct aio *aio, int64_t timeout_us);
};

/* Every backend's context begins with this. */
struct aio {
    const struct aio_ops *ops;  /* immutable */
    struct aio_pool *pool;      /* borrowed */
    int event_fd;               /* owned; readable = look again */
    bool exposed;               /* it is for transfers, too: somebody may poll it */
    atomic_bool signalled;      /* it was written to since it was drained */
    atomic_bool woken;          /* aio_wake() was called, no aio_wait() has said so */
    pthread_mutex_t lock;       /* guards done */
    struct list done;           /* ops that pool threads have finished */
};

int aio_init(struct aio *aio, const struct aio_ops *ops, struct aio_pool *pool);
void aio_done(struct aio *aio);

/* -errno when the kernel does not let us. */
int aio_uring_new(struct aio_pool *pool, struct aio **ret);
int aio_threads_new(struct aio_pool *pool, struct aio **ret);

/* Account for RES, the result of one transfer of OP; true: OP is over, op->res is set. */
bool aio_op_advance(struct aio_op *op, int64_t res);

/* OP is over; called on a pool thread. */
void aio_op_finish(struct aio_op *op);
/* The same by the thread that uses the context. */
void aio_op_finish_here(struct aio_op *op);

bool aio_ready(struct aio *aio);        /* there may be something to collect */
void aio_drain(struct aio *aio);        /* event_fd is not readable any more */

/* How long a kick that the kernel refused waits for the next try. */
#define AIO_KICK_AGAIN_US 1000

/* Run OP, or what is left of it, on a thread. */
void aio_pool_run(struct aio_pool *pool, struct aio_op *op);

#endif
