/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues of requests: submitting, completing, reaping; and the synchronous calls. */
#include "volume/private.h"

#include <assert.h>
#include <errno.h>

#include "log/format.h"

/* ---- Queues --------------------------------------------------------------- */

static struct hlfs_queue *queue_make(struct hlfs *v, unsigned depth)
{
    struct hlfs_queue *q = calloc(1, sizeof(*q) + depth * sizeof(q->requests[0]));

    if (!q) {
        errno = ENOMEM;
        return NULL;
    }
    q->lane = store_lane_new(v->store);
    if (!q->lane || monitor_cond_init(&q->cond) < 0) {
        int saved = q->lane ? ENOMEM : errno;

        store_lane_free(q->lane);
        free(q);
        errno = saved;
        return NULL;
    }
    q->v = v;
    q->depth = depth;
    list_init(&q->resting_node);
    list_init(&q->free);
    list_init(&q->finished);
    list_init(&q->node);
    for (unsigned i = 0; i < depth; i++) {
        q->requests[i].queue = q;
        list_push(&q->free, &q->requests[i].node);
    }
    return q;
}

int queue_new(struct hlfs *v, unsigned depth, struct hlfs_queue **ret)
{
    struct hlfs_queue *q;

    if (monitor_forked(v)) {
        return -ECHILD;
    }
    if (depth < 1 || depth > 4096) {
        return -EINVAL;
    }
    q = queue_make(v, depth);
    if (!q) {
        return -errno;
    }
    monitor_enter(v);
    list_push(&v->queues, &q->node);
    monitor_leave(v);
    *ret = q;
    return 0;
}

void queue_destroy(struct hlfs_queue *q)
{
    (void)pthread_cond_destroy(&q->cond);
    store_lane_free(q->lane);
    free(q);
}

void queue_free(struct hlfs_queue *q)
{
    struct hlfs_completion c[16];

    /* In a child what is in flight, and the ring with it, are the parent's. */
    if (!q || monitor_forked(q->v)) {
        return;
    }
    while (queue_reap(q, c, ARRAY_SIZE(c), -1) > 0) {
    }
    monitor_enter(q->v);
    list_remove(&q->node);
    monitor_leave(q->v);
    queue_destroy(q);
}

int queue_fd(struct hlfs_queue *q)
{
    int fd;

    if (monitor_forked(q->v)) {
        return -ECHILD;
    }
    fd = store_lane_fd(q->lane);
    monitor_enter(q->v);
    q->fd_given = true;
    if (fd >= 0 && !list_empty(&q->finished)) {
        store_wake(q->lane);
    }
    monitor_leave(q->v);
    return fd;
}

/* ---- Finishing ------------------------------------------------------------ */

/* What the volume keeps of R, which has ended with RESULT. */
static void account(struct hlfs *v, const struct request *r, int result)
{
    struct hlfs_counters *c = &v->counters;

    switch (r->args.kind) {
    case REQUEST_READ:
        c->reads++;
        c->read_bytes += r->args.len;
        break;
    case REQUEST_WRITE:
        c->writes++;
        c->written_bytes += r->args.len;
        c->write_errors += result < 0;
        break;
    case REQUEST_FLUSH:
        c->flushes++;
        c->write_errors += result < 0;
        break;
    case REQUEST_ZERO:
        c->zeroes++;
        c->write_errors += result < 0;
        break;
    case REQUEST_DISCARD:
        c->discards++;
        c->write_errors += result < 0;
        break;
    case REQUEST_RESIZE:
        c->write_errors += result < 0;
        resize_end(v);
        break;
    case REQUEST_STATUS:
        break;
    }
}

/* Something of Q is finished: tell its thread, wherever it is. */
static void queue_tell(struct hlfs_queue *q)
{
    switch (q->rest) {
    case QUEUE_AWAY:
        if (q->fd_given) {
            store_wake(q->lane);
        }
        break;
    case QUEUE_LOOKING:
        break;
    case QUEUE_ON_LANE:
        store_wake(q->lane);
        break;
    case QUEUE_ON_COND:
        (void)pthread_cond_signal(&q->cond);
        break;
    case QUEUE_DRIVING:
        store_wake(q->v->lane);
        break;
    }
}

/* R is done: its completion waits to be reaped.  Inside. */
void request_finish(struct request *r, int result)
{
    struct hlfs_queue *q = r->queue;
    bool first = list_empty(&q->finished);

    r->result = result;
    account(q->v, r, result);
    latency_add(q->v, r->args.kind, r->since_us);
    list_push(&q->finished, &r->node);
    if (first) {
        queue_tell(q);
    }
}

/* A read that R needed is there. */
void request_continue(struct request *r)
{
    struct hlfs *v = r->queue->v;
    int done = r->args.kind == REQUEST_STATUS ? status_step(r) : write_step(r);

    if (done) {
        request_finish(r, r->result);
    }
    monitor_pump_now(v);
}

static void read_done(struct read_op *read, int res)
{
    struct request *r = container_of(read, struct request, read);

    if (read->started) {        /* else queue_submit() sees it at once */
        request_finish(r, res);
    } else {
        r->result = res;
        read->started = true;
    }
}

/* ---- Submitting ----------------------------------------------------------- */

static int args_check(const struct hlfs *v, const struct request_args *a)
{
    bool resizes = a->kind == REQUEST_RESIZE;
    bool changes = a->kind == REQUEST_WRITE || a->kind == REQUEST_ZERO ||
                   a->kind == REQUEST_DISCARD || resizes;
    unsigned flags = a->kind == REQUEST_ZERO ? HLFS_FUA | HLFS_NO_UNMAP :
                     changes ? HLFS_FUA : 0;
    uint64_t end = resize_limit(v);

    if (!resizes &&
        (a->offset > end || a->len > end - a->offset || (a->flags & ~flags))) {
        return -EINVAL;
    }
    if (a->kind == REQUEST_STATUS && a->len == 0) {
        return -EINVAL;
    }
    if (v->read_only && changes) {
        return -EROFS;
    }
    if (v->fenced) {
        return -ESTALE;
    }
    return resizes ? resize_check(v, a) : 0;
}

/* 1: done with success, 0: pending, or the error it ended with at once. */
static int start_read(struct request *r)
{
    struct hlfs *v = r->queue->v;

    r->read = (struct read_op){
        .v = v,
        .lane = r->queue->lane,
        .lane_ops = &r->queue->lane_ops,
        .buf = r->args.buf,
        .offset = r->args.offset,
        .len = r->args.len,
        .done = read_done,
    };
    read_begin(&r->read);
    if (r->read.started) {
        return 1;
    }
    r->read.started = true;
    return 0;
}

static void flush_done(struct log_waiter *w, int res)
{
    request_finish(container_of(w, struct request, waiter), res);
}

static int start_flush(struct request *r)
{
    struct hlfs *v = r->queue->v;
    int res;

    r->result = 0;
    if (v->read_only) {
        return 1;
    }
    r->waiter.done = flush_done;
    res = log_flush(v->log, &r->waiter);
    v->pump_later |= res == 0;
    if (res < 0) {
        r->result = res;
    }
    return res != 0;
}

static int start(struct request *r)
{
    r->result = 0;
    r->done_bytes = 0;
    r->wait_since_us = 0;
    r->waiting = r->reserved = r->copying = r->busy_held = false;
    r->edges = NULL;
    switch (r->args.kind) {
    case REQUEST_READ:
        return r->args.len == 0 ? 1 : start_read(r);
    case REQUEST_FLUSH:
        return start_flush(r);
    case REQUEST_STATUS:
        return status_step(r);
    case REQUEST_RESIZE:
        return resize_start(r);
    default:
        return r->args.len == 0 ? 1 : write_start(r);
    }
}

/* R was reserved by start() in this thread: copy it here rather than elsewhere. */
static int copy_here(struct request *r)
{
    struct hlfs *v = r->queue->v;
    int done;

    list_remove(&r->node);
    monitor_leave(v);
    write_copy(r);
    monitor_enter(v);
    done = write_commit(r);
    return done == 0 && r->copying ? copy_here(r) : done;
}

int queue_submit(struct hlfs_queue *q, const struct request_args *a)
{
    struct hlfs *v = q->v;
    struct request *r;
    bool kick;
    int res;

    if (monitor_forked(v)) {
        return -ECHILD;
    }
    monitor_enter(v);
    res = args_check(v, a);
    r = res < 0 ? NULL : list_first(&q->free, struct request, node);
    if (!r) {
        monitor_leave(v);
        return res < 0 ? res : -EAGAIN;
    }
    list_remove(&r->node);
    r->args = *a;
    res = start(r);
    if (res == 0 && r->copying) {
        res = copy_here(r);
    }
    if (res == 1) {
        res = r->result < 0 ? r->result : 1;
        account(v, r, r->result);
        latency_add_none(v, r->args.kind);
        list_push_front(&q->free, &r->node);
    } else {
        r->since_us = clock_monotonic_us(v->clock);
        q->unfinished++;
    }
    /* Reads begin while the caller prepares the next ones; who made a queue of one
     * waits for it at once. */
    kick = q->depth > 1 && q->lane_ops > 0;
    monitor_leave_later(v);
    if (kick) {
        store_kick(q->lane);
    }
    return res;
}

void queue_kick(struct hlfs_queue *q)
{
    struct hlfs *v = q->v;

    if (monitor_forked(v)) {
        return;
    }
    store_kick(q->lane);
    monitor_enter(v);
    monitor_pump_now(v);
    monitor_leave(v);
}

/* ---- Reaping -------------------------------------------------------------- */

/* What is finished, and whether anything is unfinished beyond it.  Inside. */
static unsigned take_finished(struct hlfs_queue *q, struct hlfs_completion *ret,
                              unsigned max)
{
    unsigned n = 0;

    while (n < max) {
        struct request *r = list_first(&q->finished, struct request, node);

        if (!r) {
            break;
        }
        list_remove(&r->node);
        ret[n++] = (struct hlfs_completion){ r->args.tag, r->result };
        list_push_front(&q->free, &r->node);
        q->unfinished--;
    }
    if (!list_empty(&q->finished) && q->fd_given) {
        store_wake(q->lane);        /* it stays readable for them */
    }
    return n;
}

/* Take what is finished, after a look at our lane.  Called and returns inside. */
static unsigned collect(struct hlfs_queue *q, struct hlfs_completion *ret, unsigned max)
{
    struct hlfs *v = q->v;
    struct list done;

    if (q->lane_ops > 0 || q->fd_given) {
        list_init(&done);
        (void)pthread_mutex_unlock(&v->mutex);      /* sums are verified outside */
        (void)store_collect(q->lane, &done);
        monitor_enter(v);
        monitor_dispatch(&done);
    }
    return take_finished(q, ret, max);
}

int queue_reap(struct hlfs_queue *q, struct hlfs_completion *ret, unsigned max,
               int timeout_ms)
{
    struct hlfs *v = q->v;
    uint64_t deadline = 0;
    unsigned n;

    if (monitor_forked(v)) {
        return -ECHILD;
    }
    if (timeout_ms > 0) {
        deadline = clock_monotonic_us(v->clock) + (uint64_t)timeout_ms * 1000;
    }
    monitor_enter(v);
    q->rest = QUEUE_LOOKING;
    monitor_pump_now(v);
    for (;;) {
        int64_t left_us = -1;

        n = collect(q, ret, max);
        if (n > 0 || q->unfinished == 0 || timeout_ms == 0) {
            break;
        }
        if (timeout_ms > 0) {
            uint64_t now = clock_monotonic_us(v->clock);

            if (now >= deadline) {
                break;
            }
            left_us = (int64_t)(deadline - now);
        }
        monitor_wait(v, q, left_us);
    }
    monitor_away(v, q);
    monitor_leave(v);
    store_kick(q->lane);        /* what completions led to */
    return (int)n;
}

/* ---- Synchronous calls ---------------------------------------------------- */

/* An idle queue of depth 1 for this call; they are kept for later ones. */
static struct hlfs_queue *sync_queue_take(struct hlfs *v)
{
    struct list *node;

    monitor_enter(v);
    node = list_pop(&v->sync_queues);
    monitor_leave(v);
    return node ? list_entry(node, struct hlfs_queue, node) : queue_make(v, 1);
}

static void sync_queue_give(struct hlfs *v, struct hlfs_queue *q)
{
    monitor_enter(v);
    list_push_front(&v->sync_queues, &q->node);
    monitor_leave(v);
}

int volume_call(struct hlfs *v, const struct request_args *a)
{
    struct hlfs_completion c = { 0 };
    struct hlfs_queue *q;
    int res;

    if (monitor_forked(v)) {
        return -ECHILD;
    }
    q = sync_queue_take(v);
    if (!q) {
        return -errno;
    }
    res = queue_submit(q, a);
    if (res == 0) {
        res = queue_reap(q, &c, 1, -1);
        res = res < 0 ? res : c.result;
    }
    sync_queue_give(v, q);
    return res < 0 ? res : 0;
}
