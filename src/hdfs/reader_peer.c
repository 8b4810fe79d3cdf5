/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DataNodes: their connections, who waits for one, how quick and how good they are. */
#include <errno.h>

#include "hdfs/reader_private.h"

#define IDLE_MAX_US 3000000         /* below the 4 s after which a DataNode closes */
#define SHUN_US 10000000            /* a node that failed is asked last for so long */
#define LATENCY_LEAST_US 50         /* below, differences say nothing */
#define LATENCY_HALVES_US 1000000   /* an old measure is forgotten by halves */
#define CONNS_LEAST 2               /* before requests wait for each other */
#define QUICK_US 1000               /* such a node serves a read from memory */
#define DEPTH_QUICK 8               /* requests on one connection, if there may be more */
#define DEPTH_MAX 16                /* if not */
#define SHUNNED_COST ((uint64_t)1 << 40)

static unsigned bucket_of(const struct hdfs_datanode *n)
{
    uint32_t h = n->xfer_port;

    for (const char *c = n->ip; *c; c++) {
        h = h * 31 + (uint8_t)*c;
    }
    return h % PEER_BUCKETS;
}

struct peer *peer_get(struct reader_pool *pool, const struct hdfs_datanode *n)
{
    struct list *bucket = &pool->peers[bucket_of(n)];
    struct peer *p;

    list_for_each(p, bucket, node) {
        if (p->datanode.xfer_port == n->xfer_port &&
            strcmp(p->datanode.ip, n->ip) == 0 &&
            strcmp(p->datanode.host, n->host) == 0) {
            return p;
        }
    }
    p = calloc(1, sizeof(*p));
    if (p) {
        p->pool = pool;
        p->datanode = *n;
        list_init(&p->idle);
        list_init(&p->busy);
        list_init(&p->queue);
        list_push(bucket, &p->node);
    }
    return p;
}

void peer_free(struct peer *p)
{
    struct list *n;

    while ((n = list_pop(&p->idle))) {
        conn_close(container_of(n, struct conn, node));
    }
    list_remove(&p->node);
    free(p);
}

/* The busy connection that takes one more and has the fewest attempts; or the MOST, so
 * that others become idle. */
static struct conn *conn_pick(struct peer *p, bool most)
{
    struct conn *c, *pick = NULL;

    list_for_each(c, &p->busy, node) {
        if (conn_takes(c, most ? DEPTH_QUICK : DEPTH_MAX) &&
            (!pick || (most ? c->attempt_count > pick->attempt_count :
                              c->attempt_count < pick->attempt_count))) {
            pick = c;
        }
    }
    return pick;
}

/*
 * How many connections are to be busy.  A thread of the DataNode that finds its next
 * request there needs not sleep and be woken: measured with 32 reads of 4 KiB in flight,
 * a read costs 80 microseconds of CPU there on one connection, 122 on sixteen.  A node
 * that waits for its disks is to do so for all reads at once.
 */
static unsigned conns_wanted(const struct peer *p)
{
    unsigned depth = p->service_us < QUICK_US ? DEPTH_QUICK : 1;
    unsigned wanted = MAX(MIN(p->load, (unsigned)CONNS_LEAST),
                          DIV_ROUND_UP(p->load, depth));

    return MIN(wanted, p->pool->p.connections_max);
}

/* The connection to ask on, or NULL; then *RET_OPEN: a new one, else later. */
static struct conn *conn_choose(struct peer *p, const struct attempt *a, bool *ret_open)
{
    struct conn *idle = list_first(&p->idle, struct conn, node), *c;
    unsigned wanted = conns_wanted(p);

    if (a->fresh && p->conn_count >= p->pool->p.connections_max && idle) {
        conn_close(list_last(&p->idle, struct conn, node));
    }
    *ret_open = p->conn_count < p->pool->p.connections_max &&
                (a->fresh || p->busy_count < wanted);
    if (a->fresh) {
        return NULL;
    }
    if (p->busy_count < wanted && (idle || *ret_open)) {
        return idle;
    }
    c = p->busy_count > wanted ? conn_pick(p, true) : NULL;
    return c ? c : conn_pick(p, false);
}

void peer_serve(struct peer *p)
{
    struct attempt *a;

    while ((a = list_first(&p->queue, struct attempt, queue_node))) {
        bool open;
        struct conn *c = conn_choose(p, a, &open);

        if (!c && !open) {
            return;     /* when one is open, or has answered */
        }
        list_remove(&a->queue_node);
        if (c) {
            conn_ask(c, a);
        } else if (conn_open(p, a) < 0) {
            list_push_front(&p->queue, &a->queue_node);
            return;
        }
    }
}

void peer_take(struct peer *p, struct attempt *a)
{
    a->peer = p;
    p->load++;
    list_push(&p->queue, &a->queue_node);
    peer_serve(p);
}

void peer_take_again(struct attempt *a)
{
    a->peer->pool->stats.stale++;
    a->fresh = true;
    list_push(&a->peer->queue, &a->queue_node);
}

void attempt_free(struct attempt *a)
{
    list_remove(&a->queue_node);
    if (a->own_buf) {
        free(a->buf);
    }
    free(a);
}

void peer_drop(struct attempt *a)
{
    a->peer->load--;
    if (a->conn) {
        conn_abandon(a->conn, a);
    } else {
        attempt_free(a);
    }
}

static uint64_t latency_now(const struct peer *p)
{
    uint64_t age_us = loop_now_us(p->pool->p.loop) - p->latency_at_us;
    uint64_t halves = age_us / LATENCY_HALVES_US;

    return MAX(p->latency_us >> MIN(halves, (uint64_t)32), (uint64_t)LATENCY_LEAST_US);
}

uint64_t peer_cost(const struct peer *p)
{
    uint64_t cost = (p->load + 1) * latency_now(p);

    return loop_now_us(p->pool->p.loop) < p->shunned_until_us ? SHUNNED_COST + cost :
                                                                cost;
}

/*
 * The quarter of quick reads tells whether a node has to wait for its disks: the others
 * may have waited for a processor.  (Steps of 1/8 down and 1/24 up are in balance when
 * one sample in four is below.)
 */
static uint64_t quartile_step(uint64_t old, uint64_t sample)
{
    if (old == 0) {
        return sample;
    }
    return sample < old ? old - DIV_ROUND_UP(old, 8) : old + DIV_ROUND_UP(old, 24);
}

void peer_measured(struct peer *p, uint64_t latency_us, unsigned ahead)
{
    p->latency_us = p->latency_us ? (7 * p->latency_us + latency_us) / 8 : latency_us;
    p->latency_at_us = loop_now_us(p->pool->p.loop);
    p->service_us = quartile_step(p->service_us, latency_us / (ahead + 1));
}

void peer_shun(struct peer *p)
{
    p->shunned_until_us = loop_now_us(p->pool->p.loop) + SHUN_US;
}

bool peer_trim(struct peer *p)
{
    uint64_t now_us = loop_now_us(p->pool->p.loop);
    struct conn *c;

    while ((c = list_last(&p->idle, struct conn, node)) &&
           now_us - c->idle_since_us >= IDLE_MAX_US) {
        conn_close(c);
    }
    return !list_empty(&p->idle);
}
