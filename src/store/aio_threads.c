/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool of threads that do blocking work, and the backend that knows nothing else.
 */
#include "store/aio_private.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/uio.h>
#include <time.h>

/* Enough for a path, a few frames of libc and a sanitizer's red zones. */
#define STACK_BYTES KIB(512)

/* A transfer that the kernel refuses for lack of something is tried this often, a
 * millisecond apart. */
#define AGAIN_MAX 1000

struct aio_pool {
    pthread_mutex_t lock;       /* guards all below */
    pthread_cond_t work;        /* jobs or stop */
    struct list jobs;           /* struct aio_op, oldest first */
    unsigned n_jobs;
    unsigned n_idle;            /* threads waiting for work, woken ones included */
    unsigned n_threads;
    unsigned threads_max;
    bool stop;
    pthread_t threads[];
};

static int64_t write_durable(struct aio_op *op)
{
    struct iovec iov = {
        .iov_base = (char *)op->buf + op->moved, .iov_len = op->len - op->moved,
    };
    off_t offset = (off_t)(op->offset + op->moved);
    ssize_t n = pwritev2(op->fd, &iov, 1, offset, RWF_DSYNC);

    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        n = pwrite(op->fd, iov.iov_base, iov.iov_len, offset);
        if (n >= 0 && fdatasync(op->fd) < 0) {
            n = -1;
        }
    }
    return n < 0 ? -errno : n;
}

static int64_t op_transfer(struct aio_op *op)
{
    char *at = (char *)op->buf + op->moved;
    size_t left = op->len - op->moved;
    off_t offset = (off_t)(op->offset + op->moved);
    int64_t n = -1;

    switch (op->what) {
    case AIO_READ:
        n = pread(op->fd, at, left, offset);
        break;
    case AIO_WRITE:
        if (op->durable) {
            return write_durable(op);
        }
        n = pwrite(op->fd, at, left, offset);
        break;
    case AIO_SYNC:
        n = fdatasync(op->fd);
        break;
    case AIO_CALL:
        return op->call(op);
    }
    return n < 0 ? -errno : n;
}

static void op_run(struct aio_op *op)
{
    unsigned again = 0;
    int64_t n;

    if (op->what == AIO_CALL) {
        op->res = op->call(op);
        return;
    }
    do {
        n = op_transfer(op);
        if (n == -EINTR) {
            continue;
        }
        if (n == -EAGAIN && again++ < AGAIN_MAX) {
            (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
            continue;
        }
        if (aio_op_advance(op, n)) {
            return;
        }
    } while (true);
}

static void *pool_main(void *opaque)
{
    struct aio_pool *pool = opaque;

    (void)pthread_mutex_lock(&pool->lock);
    while (true) {
        struct list *node = list_pop(&pool->jobs);

        if (node) {
            struct aio_op *op = list_entry(node, struct aio_op, node);

            pool->n_jobs--;
            (void)pthread_mutex_unlock(&pool->lock);
            op_run(op);
            aio_op_finish(op);
            (void)pthread_mutex_lock(&pool->lock);
            continue;
        }
        if (pool->stop) {
            break;
        }
        pool->n_idle++;
        (void)pthread_cond_wait(&pool->work, &pool->lock);
        pool->n_idle--;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* One thread more.  On failure there are as many as before. */
static int pool_grow_locked(struct aio_pool *pool)
{
    sigset_t all, old;
    pthread_attr_t attr;
    int r;

    r = pthread_attr_init(&attr);
    if (r != 0) {
        return -r;
    }
    (void)pthread_attr_setstacksize(&attr, MAX(STACK_BYTES, (uint64_t)PTHREAD_STACK_MIN));
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&pool->threads[pool->n_threads], &attr, pool_main, pool);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    if (r != 0) {
        return -r;
    }
    (void)pthread_setname_np(pool->threads[pool->n_threads], "hlfs-io");
    pool->n_threads++;
    return 0;
}

void aio_pool_run(struct aio_pool *pool, struct aio_op *op)
{
    bool alone = false;

    (void)pthread_mutex_lock(&pool->lock);
    if (pool->n_jobs >= pool->n_idle && pool->n_threads < pool->threads_max) {
        /* Without a single thread we do it ourselves: slow, but it never fails. */
        alone = pool_grow_locked(pool) < 0 && pool->n_threads == 0;
    }
    if (!alone) {
        list_push(&pool->jobs, &op->node);
        pool->n_jobs++;
        (void)pthread_cond_signal(&pool->work);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (alone) {
        op_run(op);
        aio_op_finish(op);
    }
}

struct aio_pool *aio_pool_new(unsigned threads_max)
{
    struct aio_pool *pool = calloc(1, sizeof(*pool) + threads_max * sizeof(pthread_t));

    if (!pool) {
        return NULL;
    }
    pool->threads_max = threads_max;
    list_init(&pool->jobs);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    return pool;
}

void aio_pool_free(struct aio_pool *pool)
{
    if (!pool) {
        return;
    }
    (void)pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* ---- The backend ------------------------------------------------------------- */

static void threads_free(struct aio *aio)
{
    aio_done(aio);
    free(aio);
}

static void threads_start(struct aio *aio, struct aio_op *op)
{
    aio_pool_run(aio->pool, op);
}

static bool threads_kick(struct aio *aio _unused_)
{
    return true;
}

static void threads_reap(struct aio *aio _unused_, struct list *done _unused_)
{
    /* What the threads have finished is in aio->done. */
}

static bool threads_ready(struct aio *aio _unused_)
{
    return false;
}

static const struct aio_ops threads_ops = {
    .free = threads_free,
    .start = threads_start,
    .kick = threads_kick,
    .reap = threads_reap,
    .ready = threads_ready,
};

int aio_threads_new(struct aio_pool *pool, struct aio **ret)
{
    struct aio *aio = calloc(1, sizeof(*aio));
    int r;

    if (!aio) {
        return -ENOMEM;
    }
    r = aio_init(aio, &threads_ops, pool);
    if (r < 0) {
        free(aio);
        return r;
    }
    *ret = aio;
    return 0;
}
