/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/nodes.h"

#include <string.h>

#define AVOID_US ((uint64_t)600 * 1000000)
#define ASK_EVERY_US ((uint64_t)5 * 1000000)

static void forget(struct nodes_avoided *a)
{
    probe_cancel(a->probe);
    *a = (struct nodes_avoided){ .nodes = NULL };
}

static void answered(void *opaque, const int *results, unsigned count)
{
    struct nodes_avoided *a = opaque;

    a->probe = NULL;
    if (count == 1 && results[0] == 0) {
        forget(a);
    }
}

static void ask(struct nodes_avoided *a)
{
    struct nodes *n = a->nodes;
    struct probe_params p = {
        .loop = n->loop, .block = &a->block, .client = n->client,
        .use_hostname = n->use_hostname, .timeout_us = n->probe_us,
        .done = answered, .opaque = a,
    };

    if (!a->probe && probe_start(&p, &a->probe) < 0) {
        a->probe = NULL;        /* next time, perhaps */
    }
}

static void due(struct loop_timer *t)
{
    struct nodes *n = container_of(t, struct nodes, timer);
    bool any = false;

    for (size_t i = 0; i < NODES_AVOIDED_MAX; i++) {
        struct nodes_avoided *a = &n->avoided[i];

        if (a->nodes && loop_now_us(n->loop) >= a->until_us) {
            forget(a);
        }
        if (a->nodes) {
            any = true;
            ask(a);
        }
    }
    if (any) {
        loop_timer_set(n->loop, &n->timer, loop_now_us(n->loop) + ASK_EVERY_US);
    }
}

void nodes_init(struct nodes *n, struct loop *l, const char *client, bool use_hostname,
                uint64_t probe_us)
{
    n->loop = l;
    n->client = client;
    n->use_hostname = use_hostname;
    n->probe_us = probe_us;
    n->timer.fire = due;
}

void nodes_done(struct nodes *n)
{
    if (n->loop) {
        loop_timer_stop(n->loop, &n->timer);
        nodes_forgive(n);
    }
}

/* The entry of D, else a free one, else the one that has been there for longest. */
static struct nodes_avoided *place_for(struct nodes *n, const struct hdfs_datanode *d)
{
    struct nodes_avoided *best = &n->avoided[0];

    for (size_t i = 0; i < NODES_AVOIDED_MAX; i++) {
        struct nodes_avoided *a = &n->avoided[i];

        if (a->nodes && strcmp(a->node.uuid, d->uuid) == 0) {
            return a;
        }
        if ((a->nodes ? a->until_us : 0) < (best->nodes ? best->until_us : 0)) {
            best = a;
        }
    }
    return best;
}

void nodes_avoid(struct nodes *n, const struct hdfs_located_block *b, unsigned index)
{
    struct nodes_avoided *a = place_for(n, &b->nodes[index]);

    forget(a);
    a->nodes = n;
    a->node = b->nodes[index];
    a->block.block = b->block;
    a->block.nodes = &a->node;
    a->block.node_count = 1;
    a->until_us = loop_now_us(n->loop) + AVOID_US;
    if (!n->timer.armed) {
        loop_timer_set(n->loop, &n->timer, loop_now_us(n->loop) + ASK_EVERY_US);
    }
}

void nodes_forgive(struct nodes *n)
{
    for (size_t i = 0; i < NODES_AVOIDED_MAX; i++) {
        forget(&n->avoided[i]);
    }
}

bool nodes_has(const struct nodes *n, const struct hdfs_datanode *d)
{
    for (size_t i = 0; i < NODES_AVOIDED_MAX; i++) {
        if (n->avoided[i].nodes && strcmp(n->avoided[i].node.uuid, d->uuid) == 0) {
            return true;
        }
    }
    return false;
}

size_t nodes_list(const struct nodes *n, struct hdfs_datanode *ret, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < NODES_AVOIDED_MAX && count < max; i++) {
        if (n->avoided[i].nodes) {
            ret[count++] = n->avoided[i].node;
        }
    }
    return count;
}
