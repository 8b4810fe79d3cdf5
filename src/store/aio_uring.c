/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The io_uring backend.
 *
 *   URING-1  inflight <= depth = size of the completion ring: it never overflows.
 *   URING-2  Each op is in the queue, in the ring (inflight), or with the pool.
 *
 * The rings need no lock: one thread at a time uses a context (aio.h).
 */
#include "store/aio_private.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <sys/uio.h>

/* Submission entries; the kernel makes twice as many for completions.  Far more than
 * a disk's queue holds, and 25 KiB of memory. */
#define RING_ENTRIES 128

/* Handed to the kernel at once: a disk that already works on the first transfers while
 * we prepare the rest does not fall idle from one batch to the next (measured: 1.12 x
 * the random reads of one batch of 32), and a system call per four costs little. */
#define SUBMIT_BATCH 4

struct aio_uring {
    struct aio aio;
    struct io_uring ring;
    struct list queue;      /* struct aio_op that are not yet in the ring */
    unsigned inflight;      /* in the ring, or with the kernel */
    unsigned depth;         /* URING-1 */
};

static struct aio_uring *uring_of(struct aio *aio)
{
    return container_of(aio, struct aio_uring, aio);
}

static void uring_free(struct aio *aio)
{
    struct aio_uring *u = uring_of(aio);

    assert(u->inflight == 0);
    io_uring_queue_exit(&u->ring);
    aio_done(aio);
    free(u);
}

static void uring_start(struct aio *aio, struct aio_op *op)
{
    list_push(&uring_of(aio)->queue, &op->node);
}

static void uring_prepare(struct io_uring_sqe *sqe, struct aio_op *op)
{
    char *at = (char *)op->buf + op->moved;
    unsigned left = (unsigned)(op->len - op->moved);
    uint64_t offset = op->offset + op->moved;

    switch (op->what) {
    case AIO_READ:
        io_uring_prep_read(sqe, op->fd, at, left, offset);
        break;
    case AIO_WRITE:
        io_uring_prep_write(sqe, op->fd, at, left, offset);
        sqe->rw_flags = op->durable ? RWF_DSYNC : 0;
        break;
    case AIO_SYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case AIO_CALL:
        assert(!"uring_prepare: calls run on the pool");
    }
    io_uring_sqe_set_data(sqe, op);
}

/* Move one op from the queue to the ring; false: none is left, or no room. */
static bool uring_push(struct aio_uring *u)
{
    struct io_uring_sqe *sqe = NULL;

    if (!list_empty(&u->queue) && u->inflight < u->depth) {     /* URING-1 */
        sqe = io_uring_get_sqe(&u->ring);
    }
    if (!sqe) {
        return false;
    }
    uring_prepare(sqe, list_entry(list_pop(&u->queue), struct aio_op, node));
    u->inflight++;
    return true;
}

static bool uring_kick(struct aio *aio)
{
    struct aio_uring *u = uring_of(aio);

    do {
        for (unsigned i = 0; i < SUBMIT_BATCH; i++) {
            if (!uring_push(u)) {
                break;
            }
        }
        if (io_uring_sq_ready(&u->ring) == 0) {
            return true;
        }
        if (io_uring_submit(&u->ring) <= 0) {
            return false;       /* the entries stay in the ring */
        }
    } while (true);
}

static void uring_reap(struct aio *aio, struct list *done)
{
    struct aio_uring *u = uring_of(aio);
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe) {
        struct aio_op *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        n++;
        /* A thread of ours does what the ring would not do: a transfer may be repeated.
         * (ECANCELED: the thread that submitted it has exited, on some kernels.) */
        if (res == -EAGAIN || res == -EINTR || res == -ECANCELED) {
            aio_pool_run(aio->pool, op);
        } else if (aio_op_advance(op, res)) {
            list_push(done, &op->node);
        } else {
            list_push_front(&u->queue, &op->node);
        }
    }
    if (n > 0) {
        io_uring_cq_advance(&u->ring, n);
        assert(u->inflight >= n);
        u->inflight -= n;
    }
    /* Continued ones, and those that found the ring full. */
    if (!list_empty(&u->queue)) {
        (void)uring_kick(aio);
    }
}

static bool uring_ready(struct aio *aio)
{
    return io_uring_cq_ready(&uring_of(aio)->ring) > 0;
}

static const struct aio_ops uring_ops = {
    .free = uring_free,
    .start = uring_start,
    .kick = uring_kick,
    .reap = uring_reap,
    .ready = uring_ready,
};

/* The operations we use came with Linux 5.6, after io_uring itself. */
static bool uring_complete(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool complete;

    if (!probe) {
        return false;
    }
    complete = io_uring_opcode_supported(probe, IORING_OP_READ) &&
               io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC);
    io_uring_free_probe(probe);
    return complete;
}

int aio_uring_new(struct aio_pool *pool, struct aio **ret)
{
    struct io_uring_params params = { 0 };
    struct aio_uring *u = calloc(1, sizeof(*u));
    int r;

    if (!u) {
        return -ENOMEM;
    }
    r = io_uring_queue_init_params(RING_ENTRIES, &u->ring, &params);
    if (r < 0) {
        free(u);
        return r;
    }
    u->depth = params.cq_entries;
    list_init(&u->queue);
    r = uring_complete(&u->ring) ? aio_init(&u->aio, &uring_ops, pool) : -ENOSYS;
    if (r < 0) {
        io_uring_queue_exit(&u->ring);
        free(u);
        return r;
    }
    r = io_uring_register_eventfd(&u->ring, u->aio.event_fd);
    if (r < 0) {
        uring_free(&u->aio);
        return r;
    }
    *ret = &u->aio;
    return 0;
}
