/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The io_uring backend.
 *
 *   URING-1  inflight <= depth = size of the completion ring: it never overflows.
 *   URING-2  Each op is in the queue, in the ring (inflight), or with the pool.
 *
 * While nobody has asked for the context's fd, waiting is one system call that submits
 * and waits in one; a request of the ring itself polls event_fd, so that other threads
 * can end it.
 *
 * The rings need no lock: one thread at a time uses a context (aio.h).
 */
#include "store/aio_private.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sys/uio.h>

/* Submission entries; the kernel makes twice as many for completions.  Far more than
 * a disk's queue holds, and 25 KiB of memory. */
#define RING_ENTRIES 128

/* Handed to the kernel at once: a disk that already works on the first transfers while
 * we prepare the rest does not fall idle from one batch to the next (measured: 1.12 x
 * the random reads of one batch of 32), and a system call per four costs little. */
#define SUBMIT_BATCH 4

/*
 * Collected at once: sums are verified and new requests made for a few while the disk
 * works on the others (measured, random reads of depth 32: 82 k/s in pairs, 76 k/s in
 * fours, 70 k/s in eights, where the bare disk does 85).  Who polls the fd pays a system
 * call each time.
 */
#define REAP_MAX 2
#define REAP_MAX_EXPOSED 16

struct aio_uring {
    struct aio aio;
    struct io_uring ring;
    struct list queue;      /* struct aio_op that are not yet in the ring */
    unsigned inflight;      /* in the ring, or with the kernel */
    unsigned depth;         /* URING-1 */
    bool watching;          /* event_fd: a request in the ring without user data */
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
        break;
    case AIO_SYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case AIO_CALL:
        assert(!"uring_prepare: calls run on the pool");
    }
    io_uring_sqe_set_data(sqe, op);
}

/* A durable write, here and now; what is in the ring already goes first. */
static void write_here(struct aio_uring *u, struct aio_op *op)
{
    bool over = false;

    if (io_uring_sq_ready(&u->ring) > 0) {
        (void)io_uring_submit(&u->ring);
    }
    while (!over) {
        struct iovec v = { (char *)op->buf + op->moved, op->len - op->moved };
        ssize_t n = pwritev2(op->fd, &v, 1, (off_t)(op->offset + op->moved), RWF_DSYNC);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        over = aio_op_advance(op, n < 0 ? -errno : n);
    }
    aio_op_finish_here(op);
}

/* Take one op from the queue, to the ring; false: none is left, or no room. */
static bool uring_push(struct aio_uring *u)
{
    struct aio_op *op = list_first(&u->queue, struct aio_op, node);
    struct io_uring_sqe *sqe = NULL;

    if (op && op->what == AIO_WRITE && op->durable) {
        list_remove(&op->node);
        write_here(u, op);
        return true;
    }

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

static bool uring_ready(struct aio *aio)
{
    return io_uring_cq_ready(&uring_of(aio)->ring) > 0;
}

static void uring_reap(struct aio *aio, struct list *done)
{
    struct aio_uring *u = uring_of(aio);
    struct io_uring_cqe *cqe;
    const unsigned max = aio->exposed ? REAP_MAX_EXPOSED : REAP_MAX;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe) {
        struct aio_op *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        if (n == max) {
            break;
        }
        n++;
        if (!op) {
            u->watching = false;
            u->inflight++;      /* it was not counted */
            aio_drain(aio);
            continue;
        }
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
        if (n == max && uring_ready(aio)) {
            aio_signal(aio);
        }
    }
    /* Continued ones, and those that found the ring full. */
    if (!list_empty(&u->queue)) {
        (void)uring_kick(aio);
    }
}

static int uring_expose(struct aio *aio)
{
    return io_uring_register_eventfd(&uring_of(aio)->ring, aio->event_fd);
}

static void uring_watch(struct aio_uring *u)
{
    struct io_uring_sqe *sqe;

    if (u->watching) {
        return;
    }
    sqe = io_uring_get_sqe(&u->ring);
    if (!sqe) {
        (void)io_uring_submit(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
    }
    if (sqe) {
        io_uring_prep_poll_add(sqe, u->aio.event_fd, POLLIN);
        io_uring_sqe_set_data(sqe, NULL);
        u->watching = true;
    }
}

static int uring_wait(struct aio *aio, int64_t timeout_us)
{
    struct aio_uring *u = uring_of(aio);
    struct __kernel_timespec ts = { timeout_us / 1000000, timeout_us % 1000000 * 1000 };
    struct io_uring_cqe *cqe;
    int r;

    uring_watch(u);
    while (uring_push(u)) {
    }
    if (aio_ready(aio)) {       /* written here and now */
        (void)io_uring_submit(&u->ring);
        return 1;
    }
    r = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_us < 0 ? NULL : &ts,
                                         NULL);
    if (r < 0 && r != -ETIME && r != -EINTR) {      /* no memory, say: not at once again */
        ts = (struct __kernel_timespec){ .tv_nsec = AIO_KICK_AGAIN_US * 1000 };
        (void)io_uring_wait_cqe_timeout(&u->ring, &cqe, &ts);
        return 1;
    }
    return aio_ready(aio);
}

static const struct aio_ops uring_ops = {
    .free = uring_free,
    .start = uring_start,
    .kick = uring_kick,
    .reap = uring_reap,
    .ready = uring_ready,
    .expose = uring_expose,
    .wait = uring_wait,
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
    u->depth = params.cq_entries - 1;       /* URING-1; one is the watch's */
    list_init(&u->queue);
    r = uring_complete(&u->ring) ? aio_init(&u->aio, &uring_ops, pool) : -ENOSYS;
    if (r < 0) {
        io_uring_queue_exit(&u->ring);
        free(u);
        return r;
    }
    /* Older kernels would wait by a request of liburing's own. */
    if (!(u->ring.features & IORING_FEAT_EXT_ARG) && aio_fd(&u->aio) < 0) {
        uring_free(&u->aio);
        return -ENOSYS;
    }
    *ret = &u->aio;
    return 0;
}
