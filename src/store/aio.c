/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/aio_private.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/clock.h"

int aio_init(struct aio *aio, const struct aio_ops *ops, struct aio_pool *pool)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        return -errno;
    }
    aio->ops = ops;
    aio->pool = pool;
    aio->event_fd = fd;
    aio->exposed = !ops->expose;
    atomic_init(&aio->signalled, false);
    atomic_init(&aio->woken, false);
    (void)pthread_mutex_init(&aio->lock, NULL);
    list_init(&aio->done);
    return 0;
}

void aio_done(struct aio *aio)
{
    /* The thread that finished the last op may still be about to unlock. */
    (void)pthread_mutex_lock(&aio->lock);
    (void)pthread_mutex_unlock(&aio->lock);
    (void)pthread_mutex_destroy(&aio->lock);
    (void)close(aio->event_fd);
}

struct aio *aio_new(struct aio_pool *pool, bool uring)
{
    struct aio *aio = NULL;
    int r = -ENOSYS;

    if (uring) {
        r = aio_uring_new(pool, &aio);
    }
    if (r < 0) {
        r = aio_threads_new(pool, &aio);
    }
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    return aio;
}

void aio_free(struct aio *aio)
{
    if (aio) {
        aio->ops->free(aio);
    }
}

/* Writing fails only when the counter is near 2^64: then the fd is readable anyway. */
static void event_write(struct aio *aio)
{
    ssize_t n;

    atomic_store(&aio->signalled, true);
    n = write(aio->event_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
    (void)n;
}

int aio_fd(struct aio *aio)
{
    if (!aio->exposed) {
        int r = aio->ops->expose(aio);

        if (r < 0) {
            return r;
        }
        aio->exposed = true;
        event_write(aio);       /* for what is over by now */
    }
    return aio->event_fd;
}

void aio_signal(struct aio *aio)
{
    if (aio->exposed) {
        event_write(aio);
    }
}

void aio_drain(struct aio *aio)
{
    uint64_t count;
    ssize_t n;

    /* Before the read: a write between the two is seen by the next drain. */
    atomic_store(&aio->signalled, false);
    n = read(aio->event_fd, &count, sizeof(count));
    (void)n;        /* EAGAIN: it was not signalled */
}

void aio_start(struct aio *aio, struct aio_op *op)
{
    op->aio = aio;
    op->moved = 0;
    if (op->what == AIO_CALL) {
        aio_pool_run(aio->pool, op);
    } else {
        aio->ops->start(aio, op);
    }
}

void aio_kick(struct aio *aio)
{
    (void)aio->ops->kick(aio);
}

bool aio_op_advance(struct aio_op *op, int64_t res)
{
    if (res < 0 || op->what == AIO_SYNC) {
        op->res = (int)res;
        return true;
    }
    op->moved += (size_t)res;
    if (op->what == AIO_WRITE) {
        op->res = res == 0 ? -EIO : 0;
        return res == 0 || op->moved >= op->len;
    }
    op->res = (int)op->moved;
    /* A regular file's read ends within a sector only where the file ends. */
    return res == 0 || op->moved >= op->len || op->moved % 512 != 0;
}

void aio_op_finish(struct aio_op *op)
{
    struct aio *aio = op->aio;

    /* Signalled under the lock: whoever has collected OP may free the context. */
    (void)pthread_mutex_lock(&aio->lock);
    list_push(&aio->done, &op->node);
    event_write(aio);
    (void)pthread_mutex_unlock(&aio->lock);
}

void aio_op_finish_here(struct aio_op *op)
{
    struct aio *aio = op->aio;

    (void)pthread_mutex_lock(&aio->lock);
    list_push(&aio->done, &op->node);
    (void)pthread_mutex_unlock(&aio->lock);
    aio_signal(aio);
}

void aio_collect(struct aio *aio, struct list *done)
{
    (void)pthread_mutex_lock(&aio->lock);
    /* First, so that what completes while we look signals again. */
    if (aio->exposed || atomic_load(&aio->signalled)) {
        aio_drain(aio);
    }
    list_splice(done, &aio->done);
    (void)pthread_mutex_unlock(&aio->lock);
    aio->ops->reap(aio, done);
}

bool aio_ready(struct aio *aio)
{
    bool ready = aio->ops->ready(aio);

    if (!ready) {
        (void)pthread_mutex_lock(&aio->lock);
        ready = !list_empty(&aio->done);
        (void)pthread_mutex_unlock(&aio->lock);
    }
    return ready || (atomic_load(&aio->woken) && atomic_exchange(&aio->woken, false));
}

/* Wait for the fd until DEADLINE_US (< 0: for ever), one SPAN_US at most (< 0: no
 * limit).  False: the deadline has passed. */
static bool aio_poll(struct aio *aio, int64_t deadline_us, int64_t span_us)
{
    struct pollfd pfd = { .fd = aio->event_fd, .events = POLLIN };
    int64_t left_us = span_us;
    struct timespec ts;

    if (deadline_us >= 0) {
        left_us = deadline_us - (int64_t)clock_monotonic_us(&clock_system);
        if (left_us <= 0) {
            return false;
        }
        if (span_us >= 0) {
            left_us = MIN(left_us, span_us);
        }
    }
    ts.tv_sec = left_us / 1000000;
    ts.tv_nsec = left_us % 1000000 * 1000;
    (void)ppoll(&pfd, 1, left_us < 0 ? NULL : &ts, NULL);
    return true;
}

int aio_wait(struct aio *aio, int64_t timeout_us)
{
    int64_t deadline_us = -1;
    bool all_kicked;

    if (aio_ready(aio)) {
        aio_kick(aio);
        return 1;
    }
    if (!aio->exposed) {
        return aio->ops->wait(aio, timeout_us);
    }
    if (timeout_us >= 0) {
        deadline_us = (int64_t)clock_monotonic_us(&clock_system) + timeout_us;
    }
    do {
        all_kicked = aio->ops->kick(aio);
        if (!aio_poll(aio, deadline_us, all_kicked ? -1 : AIO_KICK_AGAIN_US)) {
            return aio_ready(aio);
        }
        if (aio_ready(aio)) {
            return 1;
        }
        /* Readable without a cause: the signal of an op collected before it came.  An
         * op that completes in between must stay visible to those who poll the fd. */
        aio_drain(aio);
        if (aio_ready(aio)) {
            aio_signal(aio);
            return 1;
        }
    } while (true);
}

void aio_wake(struct aio *aio)
{
    atomic_store(&aio->woken, true);
    event_write(aio);
}
