/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/probe.h"

#include <errno.h>

#include "hdfs/blockop.h"

#define TIMEOUT_DEFAULT_US 500000
#define IN_MAX ((size_t)128 << 10)
#define REQUEST_MAX ((size_t)32 << 10)

struct asked {                  /* one node */
    struct probe *probe;
    struct stream stream;
};

struct probe {
    struct loop *loop;          /* borrowed */
    void (*done)(void *opaque, const int *results, unsigned count);
    void *opaque;
    struct loop_timer timer;
    uint8_t *request;           /* owned; the same for all */
    struct stream_out *outs;    /* owned; one for each node */
    int *results;               /* owned */
    unsigned count, pending;
    struct asked nodes[];
};

void probe_cancel(struct probe *p)
{
    if (!p) {
        return;
    }
    loop_timer_stop(p->loop, &p->timer);
    for (unsigned i = 0; i < p->count; i++) {
        stream_close(&p->nodes[i].stream);
    }
    free(p->request);
    free(p->outs);
    free(p->results);
    free(p);
}

static void finish(struct probe *p)
{
    p->done(p->opaque, p->results, p->count);
    probe_cancel(p);
}

static void node_done(struct stream *s, int res)
{
    struct asked *a = container_of(s, struct asked, stream);
    struct probe *p = a->probe;

    stream_close(s);
    p->results[a - p->nodes] = res;
    if (--p->pending == 0) {
        finish(p);
    }
}

static void opened(struct stream *s)
{
    struct asked *a = container_of(s, struct asked, stream);

    stream_send(s, &a->probe->outs[a - a->probe->nodes]);
    stream_flush(s);
}

static void arrived(struct stream *s)
{
    struct blockop_answer answer;
    int used = blockop_answer_decode(iobuf_bytes(&s->in), iobuf_len(&s->in), &answer);

    if (used != 0) {
        node_done(s, used < 0 ? -EPROTO : 0);
    }
}

static const struct stream_ops probe_stream_ops = {
    .opened = opened,
    .arrived = arrived,
    .failed = node_done,
};

/* Those that haven't answered keep their result: -ETIMEDOUT. */
static void timer_fired(struct loop_timer *t)
{
    finish(container_of(t, struct probe, timer));
}

static int request_make(struct probe *p, const struct probe_params *params)
{
    struct blockop_read q = {
        .block = &params->block->block, .token = &params->block->token,
        .client = params->client, .no_read_ahead = true,
    };
    int len;

    p->request = malloc(REQUEST_MAX);
    p->outs = calloc(p->count, sizeof(p->outs[0]));
    p->results = calloc(p->count, sizeof(p->results[0]));
    if (!p->request || !p->outs || !p->results) {
        return -ENOMEM;
    }
    len = blockop_read_encode(&q, p->request, REQUEST_MAX);
    if (len < 0) {
        return len;
    }
    for (unsigned i = 0; i < p->count; i++) {
        p->outs[i].parts[0] = (struct iovec){ p->request, (size_t)len };
        p->results[i] = -ETIMEDOUT;
    }
    return 0;
}

static void ask(struct probe *p, unsigned i, const struct probe_params *params,
                uint64_t deadline_us)
{
    const struct hdfs_datanode *node = &params->block->nodes[i];
    struct stream_params sp = {
        .loop = p->loop, .node = node, .use_hostname = params->use_hostname,
        .deadline_us = deadline_us, .in_max = IN_MAX,
        .layer = params->layer ?
                 params->layer(params->opaque, node, &params->block->token) : NULL,
    };

    p->nodes[i].probe = p;
    p->nodes[i].stream.ops = &probe_stream_ops;
    stream_open(&p->nodes[i].stream, &sp);
}

int probe_start(const struct probe_params *params, struct probe **ret)
{
    unsigned count = params->block->node_count;
    struct probe *p = calloc(1, sizeof(*p) + count * sizeof(p->nodes[0]));
    uint64_t deadline_us = loop_now_us(params->loop) +
                           (params->timeout_us ? params->timeout_us : TIMEOUT_DEFAULT_US);
    int r;

    if (!p) {
        return -ENOMEM;
    }
    p->loop = params->loop;
    p->done = params->done;
    p->opaque = params->opaque;
    p->timer.fire = timer_fired;
    p->count = p->pending = count;
    r = request_make(p, params);
    if (r < 0) {
        probe_cancel(p);
        return r;
    }
    loop_timer_set(p->loop, &p->timer, deadline_us);
    for (unsigned i = 0; i < count; i++) {
        ask(p, i, params, deadline_us);
    }
    *ret = p;
    return 0;
}
