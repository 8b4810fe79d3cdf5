/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/rpc_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hdfs/errors.h"

/* A frame given to the stream, which borrows its bytes until they are sent. */
struct rpc_client_frame {
    struct stream_out out;
    struct list node;
    struct rpc_frame *frame;    /* owned */
};

static void frame_free(struct rpc_client_frame *f)
{
    free(f->frame);
    free(f);
}

static void reap_sent(struct rpc_client *c)
{
    struct rpc_client_frame *f;

    while ((f = list_first(&c->sent, struct rpc_client_frame, node)) &&
           stream_sent(&f->out)) {
        list_remove(&f->node);
        frame_free(f);
    }
}

/* ---- The end ------------------------------------------------------------- */

/* Of a connection some codes mean something of their own. */
static const char *reason(int res)
{
    switch (res) {
    case -EPIPE:
        return "the server ended the connection";
    case -ETIMEDOUT:
        return "no connection in time";
    case -ENOENT:
        return "no such host";
    case -EAGAIN:
        return "the name service does not answer";
    default:
        return errors_name(res);
    }
}

static void tell_broken(struct rpc_client *c, int res)
{
    struct rpc_answer a = { .res = res };

    (void)snprintf(a.message, sizeof(a.message), "%s", reason(res));
    c->ops->broken(c, &a);
}

static void later_fired(struct loop_timer *t)
{
    struct rpc_client *c = container_of(t, struct rpc_client, later);

    tell_broken(c, c->error);
}

static void fail_later(struct rpc_client *c, int res)
{
    if (c->error == 0) {
        c->error = res;
        loop_timer_set(c->loop, &c->later, loop_now_us(c->loop));
    }
}

void rpc_client_close(struct rpc_client *c)
{
    struct list *node;

    if (!c->loop) {
        return;
    }
    stream_close(&c->stream);
    loop_timer_stop(c->loop, &c->later);
    while ((node = list_pop(&c->sent))) {
        frame_free(list_entry(node, struct rpc_client_frame, node));
    }
    rpc_free(c->rpc);
    if (c->closed) {
        *c->closed = true;
    }
    *c = (struct rpc_client){ .ops = c->ops };
}

bool rpc_client_is_open(const struct rpc_client *c)
{
    return c->loop != NULL;
}

/* ---- Sending ------------------------------------------------------------- */

static int send_frames(struct rpc_client *c)
{
    struct rpc_frame *frame;

    reap_sent(c);
    if (!c->connected) {
        return 0;
    }
    while ((frame = rpc_next_frame(c->rpc))) {
        struct rpc_client_frame *f = calloc(1, sizeof(*f));

        if (!f) {
            free(frame);
            return -ENOMEM;
        }
        f->frame = frame;
        f->out.parts[0] = (struct iovec){ frame->data, frame->len };
        stream_send(&c->stream, &f->out);
        list_push(&c->sent, &f->node);
    }
    stream_flush(&c->stream);
    return 0;
}

void rpc_client_send(struct rpc_client *c, struct rpc_call *call)
{
    int res = -ENOMEM;

    if (c->rpc) {
        /* Silence counts from here, where nothing was waited for before. */
        if (rpc_idle(c->rpc)) {
            c->heard_us = MAX(c->heard_us, loop_now_us(c->loop));
        }
        res = rpc_send(c->rpc, call);
        if (res == 0) {
            res = send_frames(c);
        }
    }
    if (res < 0) {
        fail_later(c, res);
    }
}

struct rpc_call *rpc_client_take_call(struct rpc_client *c)
{
    return c->rpc ? rpc_take_call(c->rpc) : NULL;
}

/* ---- The stream's callbacks ---------------------------------------------- */

static void opened(struct stream *s)
{
    struct rpc_client *c = container_of(s, struct rpc_client, stream);
    int res;

    c->connected = true;
    c->connected_us = loop_now_us(c->loop);
    res = send_frames(c);
    if (res < 0) {
        fail_later(c, res);
    }
}

static void arrived(struct stream *s)
{
    struct rpc_client *c = container_of(s, struct rpc_client, stream);
    struct rpc_answer a;
    struct rpc_call *call;
    bool closed = false;
    size_t used;
    int res;

    c->heard_us = loop_now_us(c->loop);
    c->closed = &closed;
    while ((res = rpc_input(c->rpc, iobuf_bytes(&s->in), iobuf_len(&s->in), &used,
                            &call, &a)) > 0) {
        /* The bytes of the answer stay where they are until more are received. */
        iobuf_consume(&s->in, used);
        c->answered = true;
        if (call) {
            c->ops->answered(c, call, &a);
            if (closed) {
                return;
            }
        }
    }
    c->closed = NULL;
    if (res < 0) {
        c->ops->broken(c, &a);
        return;
    }
    res = send_frames(c);
    if (res < 0) {
        fail_later(c, res);
    }
}

static void failed(struct stream *s, int res)
{
    tell_broken(container_of(s, struct rpc_client, stream), res);
}

static const struct stream_ops stream_ops = {
    .opened = opened,
    .arrived = arrived,
    .failed = failed,
};

void rpc_client_open(struct rpc_client *c, const struct rpc_client_params *p)
{
    /* As far as a stream is concerned a NameNode is a node with a name. */
    struct hdfs_datanode node = { .xfer_port = p->port };
    struct stream_params stream = {
        .loop = p->loop, .node = &node, .use_hostname = true,
        .deadline_us = p->deadline_us, .in_max = RPC_INPUT_MAX + KIB(64),
    };

    *c = (struct rpc_client){ .ops = c->ops, .loop = p->loop };
    list_init(&c->sent);
    c->later.fire = later_fired;
    c->heard_us = loop_now_us(p->loop);
    c->stream.ops = &stream_ops;
    c->rpc = rpc_new(&p->rpc);
    if (!c->rpc) {
        fail_later(c, -ENOMEM);
        return;
    }
    (void)snprintf(node.host, sizeof(node.host), "%s", p->host);
    stream_open(&c->stream, &stream);
}
