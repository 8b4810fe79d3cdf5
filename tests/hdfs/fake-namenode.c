/* SPDX-License-Identifier: LGPL-2.1-or-later */
#undef NDEBUG
#include "fake-namenode.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "hdfs/iobuf.h"
#include "rpc.pb-c.h"
#include "varint.h"

#define CONNECTIONS_MAX 64
#define HEADER_BYTES 7

struct connection {
    int fd;                     /* -1: ended */
    bool greeted;
    char user[64];
    struct iobuf in;
};

struct fake {
    pthread_t thread;
    int listen_fd;
    int stop[2];                /* a pipe */
    uint16_t port;
    struct fake_reply (*reply)(void *opaque, const struct fake_call *c);
    void *opaque;
    struct connection connections[CONNECTIONS_MAX];
    unsigned count;
};

static void put_delimited(struct iobuf *b, const void *bytes, size_t len)
{
    for (size_t v = len; ; v >>= 7) {
        uint8_t byte = v > 0x7f ? (uint8_t)v | 0x80 : (uint8_t)v;

        assert(iobuf_add(b, &byte, 1) == 0);
        if (v <= 0x7f) {
            break;
        }
    }
    assert(iobuf_add(b, bytes, len) == 0);
}

static void hang_up(struct connection *c)
{
    (void)close(c->fd);
    c->fd = -1;
    iobuf_done(&c->in);
}

static void send_bytes(struct connection *c, const void *bytes, size_t len)
{
    ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);

    assert(n == (ssize_t)len || n < 0);
}

static void send_reply(struct connection *c, int32_t id, const struct fake_reply *reply)
{
    Pb__RpcResponse head = PB__RPC_RESPONSE__INIT;
    struct iobuf frame = { 0 };
    uint8_t packed[1024];
    uint32_t be = 0;

    head.call_id = (uint32_t)id;
    head.status = reply->what == FAKE_ANSWER ? 0 : reply->what == FAKE_FATAL ? 2 : 1;
    if (head.status != 0) {
        head.exception = (char *)reply->class;
        head.message = (char *)reply->body;
    }
    assert(pb__rpc_response__get_packed_size(&head) <= sizeof(packed));
    assert(iobuf_add(&frame, &be, sizeof(be)) == 0);
    put_delimited(&frame, packed, pb__rpc_response__pack(&head, packed));
    if (head.status == 0) {
        put_delimited(&frame, reply->body, reply->len);
    }
    be = htobe32((uint32_t)(iobuf_len(&frame) - sizeof(be)));
    memcpy(frame.data, &be, sizeof(be));
    send_bytes(c, iobuf_bytes(&frame), iobuf_len(&frame));
    iobuf_done(&frame);
}

static void do_reply(struct connection *c, int32_t id, const struct fake_reply *reply)
{
    (void)usleep(reply->delay_ms * 1000);
    switch (reply->what) {
    case FAKE_SILENCE:
        return;
    case FAKE_HANG_UP:
        hang_up(c);
        return;
    case FAKE_BYTES:
        send_bytes(c, reply->body, reply->len);
        break;
    default:
        send_reply(c, id, reply);
    }
    if (reply->what == FAKE_FATAL || reply->hang_up_after) {
        hang_up(c);
    }
}

static void take_context(struct connection *c, const uint8_t *at)
{
    size_t n = take_varint(&at);
    Pb__RpcContext *context = pb__rpc_context__unpack(NULL, n, at);

    assert(context && context->user);
    (void)snprintf(c->user, sizeof(c->user), "%s", context->user->effective);
    pb__rpc_context__free_unpacked(context, NULL);
}

static void take_call(struct fake *f, struct connection *c, const Pb__RpcRequest *head,
                      const uint8_t *at)
{
    size_t n = take_varint(&at);
    Pb__RpcMethod *m = pb__rpc_method__unpack(NULL, n, at);
    struct fake_call call = { .connection = (unsigned)(c - f->connections),
                              .id = head->call_id, .retry = head->retry_count };
    struct fake_reply reply;

    assert(m && head->client_id.len == sizeof(call.client_id));
    memcpy(call.client_id, head->client_id.data, sizeof(call.client_id));
    (void)snprintf(call.method, sizeof(call.method), "%s", m->method);
    (void)snprintf(call.user, sizeof(call.user), "%s", c->user);
    pb__rpc_method__free_unpacked(m, NULL);
    at += n;
    call.request_len = take_varint(&at);
    call.request = at;
    reply = f->reply(f->opaque, &call);
    do_reply(c, call.id, &reply);
}

/* A whole frame, or nothing. */
static bool take_frame(struct fake *f, struct connection *c)
{
    const uint8_t *at = iobuf_bytes(&c->in);
    Pb__RpcRequest *head;
    uint32_t be;
    size_t n;

    if (iobuf_len(&c->in) < sizeof(be)) {
        return false;
    }
    memcpy(&be, at, sizeof(be));
    be = be32toh(be);
    if (iobuf_len(&c->in) < sizeof(be) + be) {
        return false;
    }
    at += sizeof(be);
    iobuf_consume(&c->in, sizeof(be) + be);
    n = take_varint(&at);
    head = pb__rpc_request__unpack(NULL, n, at);
    assert(head);
    if (head->call_id == -3) {
        take_context(c, at + n);
    } else {
        take_call(f, c, head, at + n);
    }
    pb__rpc_request__free_unpacked(head, NULL);
    return c->fd >= 0;
}

static void receive(struct fake *f, struct connection *c)
{
    ssize_t n;

    assert(iobuf_reserve(&c->in, 65536) == 0);
    n = recv(c->fd, c->in.data + c->in.end, iobuf_room(&c->in), 0);
    if (n <= 0) {
        hang_up(c);
        return;
    }
    c->in.end += (size_t)n;
    if (!c->greeted && iobuf_len(&c->in) >= HEADER_BYTES) {
        assert(memcmp(iobuf_bytes(&c->in), "hrpc\x09\0\0", HEADER_BYTES) == 0);
        iobuf_consume(&c->in, HEADER_BYTES);
        c->greeted = true;
    }
    while (c->greeted && take_frame(f, c)) {
    }
}

static void *fake_main(void *opaque)
{
    struct fake *f = opaque;

    while (true) {
        struct pollfd fds[CONNECTIONS_MAX + 2] = {
            { .fd = f->stop[0], .events = POLLIN },
            { .fd = f->listen_fd, .events = POLLIN },
        };

        for (unsigned i = 0; i < f->count; i++) {
            fds[i + 2] = (struct pollfd){ .fd = f->connections[i].fd, .events = POLLIN };
        }
        assert(poll(fds, f->count + 2, -1) > 0);
        if (fds[0].revents) {
            return NULL;
        }
        for (unsigned i = 0; i < f->count; i++) {
            if (fds[i + 2].revents) {
                receive(f, &f->connections[i]);
            }
        }
        if (fds[1].revents) {
            assert(f->count < CONNECTIONS_MAX);
            f->connections[f->count++].fd = accept(f->listen_fd, NULL, NULL);
        }
    }
}

struct fake *fake_new(struct fake_reply (*reply)(void *opaque, const struct fake_call *c),
                      void *opaque)
{
    struct fake *f = calloc(1, sizeof(*f));
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);

    assert(f && pipe(f->stop) == 0);
    f->reply = reply;
    f->opaque = opaque;
    f->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert(bind(f->listen_fd, (struct sockaddr *)&in, sizeof(in)) == 0);
    assert(listen(f->listen_fd, 16) == 0);
    assert(getsockname(f->listen_fd, (struct sockaddr *)&in, &len) == 0);
    f->port = ntohs(in.sin_port);
    assert(pthread_create(&f->thread, NULL, fake_main, f) == 0);
    return f;
}

uint16_t fake_port(const struct fake *f)
{
    return f->port;
}

void fake_free(struct fake *f)
{
    if (!f) {
        return;
    }
    assert(write(f->stop[1], "x", 1) == 1);
    (void)pthread_join(f->thread, NULL);
    for (unsigned i = 0; i < f->count; i++) {
        if (f->connections[i].fd >= 0) {
            hang_up(&f->connections[i]);
        }
    }
    (void)close(f->listen_fd);
    (void)close(f->stop[0]);
    (void)close(f->stop[1]);
    free(f);
}
