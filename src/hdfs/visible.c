/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/visible.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "hdfs/pbwire.h"
#include "hdfs/rpc_client.h"

#define REQUEST_MAX 256

struct visible {
    struct visible_params p;
    char user[256];
    struct rpc_client client;
    struct rpc_call call;
    uint8_t request[REQUEST_MAX];
    size_t request_len;
    struct loop_timer timer;        /* the node's deadline, or the next node's turn */
    unsigned node;
    bool asking;
    int error;
    uint8_t client_id[RPC_CLIENT_ID_BYTES];
};

void visible_cancel(struct visible *v)
{
    if (v) {
        loop_timer_stop(v->p.loop, &v->timer);
        rpc_client_close(&v->client);
        free(v);
    }
}

static void finish(struct visible *v, int res, uint64_t length)
{
    void (*done)(void *opaque, int res, uint64_t length) = v->p.done;
    void *opaque = v->p.opaque;

    visible_cancel(v);
    done(opaque, res, length);
}

/* {1: ExtendedBlockProto {1: pool, 2: id, 3: generation, 4: bytes}} */
static size_t encode(const struct hdfs_block *b, uint8_t *buf, size_t size)
{
    struct pb_out o = { .buf = buf, .cap = size };
    size_t begin = pb_begin(&o, 1);

    pb_put_string(&o, 1, b->pool);
    pb_put_number(&o, 2, b->id);
    pb_put_number(&o, 3, b->generation);
    pb_put_number(&o, 4, b->length);
    pb_end(&o, begin);
    return pb_overflow(&o) ? 0 : o.len;
}

/* A node that was restarted gives -1 for what was being written: nobody knows how long that
 * is before a recovery (ReplicaWaitingToBeRecovered.getVisibleLength). */
static int decode(const struct rpc_answer *a, uint64_t *ret)
{
    struct pb_in in = { .at = a->body, .end = a->body + a->len };
    struct pb_field f;
    int r;

    while ((r = pb_next(&in, &f)) > 0) {
        if (f.number == 1 && f.type == PB_VARINT) {
            *ret = f.value;
            return f.value > INT64_MAX ? -EOWNERDEAD : 0;
        }
    }
    return -EBADMSG;
}

/* The next node, in a turn of its own: this may be a callback of the client's.  A
 * connection that broke may say so again before that turn, and must not put it off. */
static void next_node(struct visible *v, int error)
{
    if (!v->asking) {
        return;
    }
    if (v->node == 0 || error != -ENOENT) {
        v->error = error;
    }
    v->asking = false;
    v->node++;
    loop_timer_set(v->p.loop, &v->timer, loop_now_us(v->p.loop));
}

static void answered(struct rpc_client *c, struct rpc_call *call,
                     const struct rpc_answer *a)
{
    struct visible *v = container_of(c, struct visible, client);
    uint64_t length = 0;
    int res = a->res;

    (void)call;
    if (res == 0) {
        res = decode(a, &length);
    }
    if (res == 0) {
        finish(v, 0, length);
    } else {
        next_node(v, res);
    }
}

static void broken(struct rpc_client *c, const struct rpc_answer *a)
{
    next_node(container_of(c, struct visible, client), a->res < 0 ? a->res : -EPIPE);
}

static const struct rpc_client_ops client_ops = {
    .answered = answered,
    .broken = broken,
};

static void ask(struct visible *v)
{
    const struct hdfs_datanode *d = &v->p.block->nodes[v->node];
    struct rpc_client_params p = {
        .loop = v->p.loop,
        .host = v->p.use_hostname ? d->host : d->ip,
        .port = d->ipc_port,
        .deadline_us = loop_now_us(v->p.loop) + v->p.node_us,
        .rpc = { .protocol = RPC_DATANODE_PROTOCOL, .user = v->user },
    };

    memcpy(p.rpc.client_id, v->client_id, sizeof(v->client_id));
    v->client = (struct rpc_client){ .ops = &client_ops };
    v->call = (struct rpc_call){
        .id = (int32_t)v->node, .method = "getReplicaVisibleLength",
        .request = v->request, .request_len = v->request_len,
    };
    v->asking = true;
    loop_timer_set(v->p.loop, &v->timer, p.deadline_us);
    rpc_client_open(&v->client, &p);
    rpc_client_send(&v->client, &v->call);
}

static void due(struct loop_timer *t)
{
    struct visible *v = container_of(t, struct visible, timer);

    if (v->asking) {
        next_node(v, -ETIMEDOUT);
        return;
    }
    rpc_client_close(&v->client);
    if (v->node >= v->p.block->node_count) {
        finish(v, v->error, 0);
    } else {
        ask(v);
    }
}

int visible_start(const struct visible_params *p, struct visible **ret)
{
    struct visible *v = calloc(1, sizeof(*v));

    if (!v) {
        return -ENOMEM;
    }
    v->p = *p;
    v->error = -EHOSTDOWN;      /* what a block without nodes gives */
    v->timer.fire = due;
    (void)snprintf(v->user, sizeof(v->user), "%s", p->user);
    while (getrandom(v->client_id, sizeof(v->client_id), 0) != sizeof(v->client_id)) {
    }
    v->request_len = encode(&p->block->block, v->request, sizeof(v->request));
    loop_timer_set(p->loop, &v->timer, loop_now_us(p->loop));
    *ret = v;
    return 0;
}
