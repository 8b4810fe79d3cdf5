/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads: which replica is asked, what if it fails, what if it is slow. */
#include "hdfs/reader.h"

#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "hdfs/reader_private.h"

#define CONNECTIONS_DEFAULT 16
#define CONNECT_DEFAULT_US 1000000
#define HEDGE_DEFAULT_US 20000
#define HEDGE_UNKNOWN_US 200000     /* until enough reads were measured */
#define HEDGE_MEDIANS 3
#define HEDGE_EARN 16
#define HEDGE_CREDIT_MAX (32 * HEDGE_EARN)
#define HEDGE_SURE 5                /* waits */
#define HEDGE_BYTES_PER_US 64       /* a large read may take longer: 64 MB/s */
#define SAMPLES_MIN 16
#define STATUS_WAIT_US 1000         /* for a request to send it with */
#define TRIM_US 1000000
#define REPLICAS_MAX 64             /* bits of reader_op.tried */

/* ---- Times -------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void sample_add(struct reader_pool *pool, uint64_t latency_us)
{
    uint64_t sorted[LATENCY_SAMPLES];
    size_t n;

    pool->samples[pool->sample_count++ % LATENCY_SAMPLES] = latency_us;
    if (pool->sample_count % SAMPLES_MIN == 0) {
        n = MIN(pool->sample_count, (uint64_t)LATENCY_SAMPLES);
        memcpy(sorted, pool->samples, n * sizeof(sorted[0]));
        qsort(sorted, n, sizeof(sorted[0]), compare);
        pool->median_us = sorted[n / 2];
    }
}

static uint64_t hedge_wait_us(const struct reader_pool *pool, size_t len)
{
    uint64_t wait_us = pool->median_us ? HEDGE_MEDIANS * pool->median_us :
                                         HEDGE_UNKNOWN_US;

    return MAX(wait_us, pool->p.hedge_min_us) + len / HEDGE_BYTES_PER_US;
}

static uint64_t now(const struct reader_pool *pool)
{
    return loop_now_us(pool->p.loop);
}

/* ---- Attempts ----------------------------------------------------------------- */

/* The op has no more to do with it. */
static void attempt_drop(struct attempt *a)
{
    struct peer *p = a->peer;

    list_remove(&a->node);
    peer_drop(a);
    peer_serve(p);
}

/* The untried replica to ask next, or -1. */
static int op_choose(struct reader_op *op, struct peer **ret)
{
    unsigned count = MIN(op->block->node_count, (unsigned)REPLICAS_MAX);
    uint64_t best = UINT64_MAX;
    int index = -1;

    for (unsigned i = 0; i < count; i++) {
        struct peer *p;
        uint64_t cost;

        if (op->tried >> i & 1) {
            continue;
        }
        p = peer_get(op->pool, &op->block->nodes[i]);
        cost = p ? peer_cost(p) : UINT64_MAX;
        if (cost < best) {
            best = cost;
            index = (int)i;
            *ret = p;
        }
    }
    return index;
}

static struct attempt *attempt_new(struct reader_op *op)
{
    struct attempt *a = calloc(1, sizeof(*a));

    if (!a) {
        return NULL;
    }
    a->op = op;
    a->offset = op->offset;
    a->len = op->len;
    a->buf = op->buf;
    list_init(&a->queue_node);
    if (!list_empty(&op->attempts)) {       /* two must not write to one buffer */
        a->own_buf = true;
        a->buf = malloc(op->len);
        if (!a->buf) {
            free(a);
            return NULL;
        }
    }
    list_push(&op->attempts, &a->node);
    return a;
}

/* Ask a replica more: 0, or -errno: there is none, or no memory. */
static int op_try(struct reader_op *op)
{
    struct peer *p = NULL;
    int index = op_choose(op, &p);
    struct attempt *a;

    if (index < 0) {
        return -ENOENT;
    }
    a = attempt_new(op);
    if (!a) {
        return -ENOMEM;
    }
    a->index = (unsigned)index;
    a->started_us = now(op->pool);
    op->tried |= (uint64_t)1 << index;
    peer_take(p, a);
    return 0;
}

/* ---- Ends of reads ------------------------------------------------------------ */

static void op_detach(struct reader_op *op)
{
    while (!list_empty(&op->attempts)) {
        attempt_drop(list_last(&op->attempts, struct attempt, node));
    }
    loop_timer_stop(op->pool->p.loop, &op->timer);
    list_remove(&op->node);
}

static void op_finish(struct reader_op *op, int res)
{
    op_detach(op);
    op->done(op, res);
}

void reader_cancel(struct reader_op *op)
{
    op_detach(op);
}

/* What the read ends with when no replica is left. */
static int op_error(const struct reader_op *op)
{
    return op->error == -HDFS_ETOKEN ? op->error : op->corrupt ? -EBADMSG :
           op->error ? op->error : -EIO;
}

/* Nodes that haven't answered until the deadline are not asked first soon. */
static void op_expire(struct reader_op *op)
{
    struct attempt *a;

    list_for_each(a, &op->attempts, node) {
        if (a->conn && !a->conn->heard) {
            peer_shun(a->peer);
        }
    }
    if (op->message[0] == '\0') {
        (void)snprintf(op->message, sizeof(op->message), "no DataNode answered in time");
    }
    op_finish(op, -ETIMEDOUT);
}

/*
 * Where all nodes are busy, asking two makes it worse: one read in HEDGE_EARN may, or a
 * few after a time without; but one that has waited for long may always.
 */
static bool hedge_pay(struct reader_op *op)
{
    struct reader_pool *pool = op->pool;

    if (pool->hedge_credit >= HEDGE_EARN) {
        pool->hedge_credit -= HEDGE_EARN;
        return true;
    }
    return now(pool) - op->started_us >= HEDGE_SURE * op->hedge_us;
}

static void timer_arm(struct reader_op *op)
{
    uint64_t hedge_us = now(op->pool) + op->hedge_us;

    loop_timer_set(op->pool->p.loop, &op->timer, MIN(hedge_us, op->deadline_us));
}

/* Slow: another replica is asked. */
static void op_hedge(struct reader_op *op)
{
    if (hedge_pay(op) && op_try(op) == 0) {
        op->pool->stats.hedges++;
    }
    timer_arm(op);
}

static void op_timer(struct loop_timer *t)
{
    struct reader_op *op = container_of(t, struct reader_op, timer);

    if (list_empty(&op->attempts)) {
        op_finish(op, op_error(op));
    } else if (now(op->pool) >= op->deadline_us) {
        op_expire(op);
    } else {
        op_hedge(op);
    }
}

static void owing_arm(struct reader_pool *pool)
{
    if (!pool->owing_timer.armed && !list_empty(&pool->owing)) {
        loop_timer_set(pool->p.loop, &pool->owing_timer, now(pool) + STATUS_WAIT_US);
    }
    if (!pool->idle_timer.armed) {
        loop_timer_set(pool->p.loop, &pool->idle_timer, now(pool) + TRIM_US);
    }
}

/* The bytes are there, and right.  Calls back. */
static void attempt_done(struct attempt *a)
{
    struct reader_op *op = a->op;
    struct reader_pool *pool = op->pool;
    uint64_t latency_us = now(pool) - a->started_us;
    struct attempt *other;

    if (op->len <= SMALL_READ) {
        peer_measured(a->peer, latency_us, a->ahead);
        sample_add(pool, latency_us);
    }
    list_for_each(other, &op->attempts, node) {
        if (other != a) {       /* it is slower than this */
            peer_measured(other->peer, now(pool) - other->started_us, 0);
        }
    }
    if (a->own_buf) {
        pool->stats.hedges_won++;
        memcpy(op->buf, a->buf, op->len);
    }
    op_finish(op, 0);
}

static void flush_dirty(struct reader_pool *pool)
{
    struct list dirty;
    struct conn *c;

    list_init(&dirty);
    list_splice(&dirty, &pool->dirty);
    while ((c = list_first(&dirty, struct conn, dirty_node))) {
        list_remove(&c->dirty_node);
        if (!conn_flush(c)) {
            list_push(&pool->dirty, &c->dirty_node);
            loop_timer_set(pool->p.loop, &pool->turn_timer,
                           now(pool) + STATUS_WAIT_US);
        }
    }
}

static void turn_fired(struct loop_timer *t)
{
    struct reader_pool *pool = container_of(t, struct reader_pool, turn_timer);
    struct attempt *a;

    pool->busy = true;
    while ((a = list_first(&pool->done, struct attempt, queue_node))) {
        attempt_done(a);
    }
    pool->busy = false;
    if (pool->freed) {
        free(pool);
        return;
    }
    flush_dirty(pool);
    owing_arm(pool);
}

void reader_turn(struct reader_pool *pool)
{
    if (!pool->turn_timer.armed) {
        loop_timer_set(pool->p.loop, &pool->turn_timer, now(pool));
    }
}

/* Keep what the op may end with, and blame the node for what is its fault. */
static void error_note(struct attempt *a, int res, const char *message)
{
    struct reader_op *op = a->op;
    struct reader_pool *pool = op->pool;
    const struct hdfs_datanode *n = &a->peer->datanode;

    if (res == -EBADMSG) {
        op->corrupt = true;
        pool->stats.corrupt++;
    } else if (!message[0] && res != -ENOMEM && res != -ENOBUFS) {
        peer_shun(a->peer);     /* it didn't say why: it isn't this block only */
    }
    if (op->error != -HDFS_ETOKEN) {
        op->error = res;
    }
    (void)snprintf(op->message, sizeof(op->message), "DataNode %s:%u: %s", n->ip,
                   n->xfer_port, message[0] ? message :
                   res == -EBADMSG ? "wrong checksum" : error_name(res));
    pool->stats.failures++;
}

void reader_attempt_failed(struct attempt *a, int res, const char *message)
{
    struct reader_op *op = a->op;
    struct reader_pool *pool = op->pool;
    unsigned index = a->index;

    error_note(a, res, message);
    attempt_drop(a);
    if (list_empty(&op->attempts) && op_try(op) < 0) {
        /* Not from here: this may be within reader_read(). */
        loop_timer_set(pool->p.loop, &op->timer, now(pool));
    }
    if (res == -EBADMSG && pool->p.corrupt) {
        pool->p.corrupt(pool->p.opaque, op->block, index);
    }
}

/* ---- The pool ----------------------------------------------------------------- */

void reader_read(struct reader_pool *pool, struct reader_op *op)
{
    int r;

    op->pool = pool;
    op->tried = 0;
    op->error = 0;
    op->corrupt = false;
    op->message[0] = '\0';
    op->started_us = now(pool);
    op->hedge_us = hedge_wait_us(pool, op->len);
    op->timer = (struct loop_timer){ .fire = op_timer };
    list_init(&op->attempts);
    list_push(&pool->ops, &op->node);
    pool->hedge_credit += pool->hedge_credit < HEDGE_CREDIT_MAX;
    pool->stats.reads++;
    timer_arm(op);
    r = op_try(op);
    if (r < 0) {
        op->error = r == -ENOENT ? -EIO : r;
        (void)snprintf(op->message, sizeof(op->message), "%s",
                       r == -ENOENT ? "no DataNode has this block" : error_name(r));
        loop_timer_set(pool->p.loop, &op->timer, now(pool));
    }
}

/* No request came that the statuses could have gone with. */
static void owing_fired(struct loop_timer *t)
{
    struct reader_pool *pool = container_of(t, struct reader_pool, owing_timer);
    struct conn *c, *next;

    list_for_each_safe(c, next, &pool->owing, dirty_node) {
        if (now(pool) - c->idle_since_us >= STATUS_WAIT_US) {
            list_remove(&c->dirty_node);
            conn_send_status(c);
        }
    }
    owing_arm(pool);
}

static void idle_fired(struct loop_timer *t)
{
    struct reader_pool *pool = container_of(t, struct reader_pool, idle_timer);
    bool left = false;
    struct peer *p;

    for (unsigned i = 0; i < PEER_BUCKETS; i++) {
        list_for_each(p, &pool->peers[i], node) {
            left |= peer_trim(p);
        }
    }
    if (left) {
        loop_timer_set(pool->p.loop, &pool->idle_timer, now(pool) + TRIM_US);
    }
}

static void defaults_set(struct reader_params *p)
{
    p->connections_max = p->connections_max ? p->connections_max : CONNECTIONS_DEFAULT;
    p->connect_timeout_us = p->connect_timeout_us ? p->connect_timeout_us :
                                                    CONNECT_DEFAULT_US;
    p->hedge_min_us = p->hedge_min_us ? p->hedge_min_us : HEDGE_DEFAULT_US;
}

int reader_pool_new(const struct reader_params *p, struct reader_pool **ret)
{
    struct reader_pool *pool = calloc(1, sizeof(*pool));

    if (!pool) {
        return -ENOMEM;
    }
    pool->p = *p;
    defaults_set(&pool->p);
    pool->hedge_credit = HEDGE_CREDIT_MAX;
    (void)snprintf(pool->client, sizeof(pool->client), "%s", p->client);
    for (unsigned i = 0; i < PEER_BUCKETS; i++) {
        list_init(&pool->peers[i]);
    }
    list_init(&pool->ops);
    list_init(&pool->done);
    list_init(&pool->dirty);
    list_init(&pool->owing);
    pool->turn_timer.fire = turn_fired;
    pool->owing_timer.fire = owing_fired;
    pool->idle_timer.fire = idle_fired;
    *ret = pool;
    return 0;
}

void reader_pool_free(struct reader_pool *pool)
{
    struct reader_op *op;
    struct peer *p;

    if (!pool || pool->freed) {
        return;
    }
    while ((op = list_first(&pool->ops, struct reader_op, node))) {
        op_finish(op, -ECANCELED);
    }
    for (unsigned i = 0; i < PEER_BUCKETS; i++) {
        while ((p = list_first(&pool->peers[i], struct peer, node))) {
            peer_free(p);
        }
    }
    loop_timer_stop(pool->p.loop, &pool->turn_timer);
    loop_timer_stop(pool->p.loop, &pool->owing_timer);
    loop_timer_stop(pool->p.loop, &pool->idle_timer);
    pool->freed = true;
    if (!pool->busy) {
        free(pool);
    }
}

const struct reader_stats *reader_stats(const struct reader_pool *pool)
{
    return &pool->stats;
}
