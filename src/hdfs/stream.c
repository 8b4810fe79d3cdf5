/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define IN_ROOM_MIN 4096        /* bytes asked of the kernel at least */
#define SEND_PARTS_MAX 128      /* in one sendmsg() */

/* ---- Ending ------------------------------------------------------------------- */

static void socket_close(struct stream *s)
{
    if (s->fd.fd >= 0) {
        loop_fd_del(s->loop, &s->fd);
        (void)close(s->fd.fd);
        s->fd.fd = -1;
    }
}

void stream_close(struct stream *s)
{
    if (s->state == STREAM_CLOSED) {
        return;
    }
    s->state = STREAM_CLOSED;
    loop_timer_stop(s->loop, &s->timer);
    loop_resolve_cancel(s->loop, &s->resolve);
    socket_close(s);
    if (s->layer) {
        s->layer->free(s->layer);
        s->layer = NULL;
    }
    list_init(&s->queue);
    iobuf_done(&s->in);
    iobuf_done(&s->raw_in);
    iobuf_done(&s->raw_out);
}

/* Tell it in the next turn: the owner may be in the middle of something. */
static void fail_later(struct stream *s, int res)
{
    if (s->error == 0) {
        s->error = res;
        loop_timer_set(s->loop, &s->timer, loop_now_us(s->loop));
    }
}

/* ---- Receiving ---------------------------------------------------------------- */

/* Bytes, 0 when there are none now, or -errno; -EPIPE: the end. */
static ssize_t receive_parts(struct stream *s, struct iovec *parts, unsigned count)
{
    struct msghdr m = { .msg_iov = parts, .msg_iovlen = count };
    ssize_t n = recvmsg(s->fd.fd, &m, MSG_DONTWAIT);

    if (n > 0) {
        return n;
    }
    if (n == 0) {
        return -EPIPE;
    }
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* Room at the end of B, which may hold MAX bytes. */
static int make_room(struct iobuf *b, size_t max)
{
    size_t len = iobuf_len(b);

    if (len >= max) {
        return -EMSGSIZE;
    }
    return iobuf_reserve(b, MIN(max - len, (size_t)IN_ROOM_MIN));
}

static ssize_t receive_plain(struct stream *s)
{
    struct iovec parts[2];
    unsigned count = 0;
    size_t direct;
    ssize_t n = make_room(&s->in, s->in_max);

    if (n < 0) {
        return n;
    }
    if (s->direct_left > 0) {
        parts[count++] = (struct iovec){ s->direct, s->direct_left };
    }
    parts[count++] = (struct iovec){ s->in.data + s->in.end, iobuf_room(&s->in) };
    n = receive_parts(s, parts, count);
    if (n > 0) {
        direct = MIN((size_t)n, s->direct_left);
        s->direct += direct;
        s->direct_left -= direct;
        s->in.end += (size_t)n - direct;
    }
    return n;
}

/* What the owner wants directly was unwrapped to s->in. */
static void copy_direct(struct stream *s)
{
    size_t n = MIN(s->direct_left, iobuf_len(&s->in));

    if (n > 0) {
        memcpy(s->direct, iobuf_bytes(&s->in), n);
        iobuf_consume(&s->in, n);
        s->direct += n;
        s->direct_left -= n;
    }
}

static ssize_t receive_raw(struct stream *s)
{
    struct iovec part;
    ssize_t n = make_room(&s->raw_in, s->in_max);

    if (n < 0) {
        return n;
    }
    part = (struct iovec){ s->raw_in.data + s->raw_in.end, iobuf_room(&s->raw_in) };
    n = receive_parts(s, &part, 1);
    if (n > 0) {
        s->raw_in.end += (size_t)n;
    }
    return n;
}

static ssize_t receive_wrapped(struct stream *s)
{
    ssize_t n = receive_raw(s);
    int r;

    if (n > 0) {
        r = s->layer->unwrap(s->layer, &s->raw_in, &s->in);
        if (r < 0) {
            return r;
        }
        copy_direct(s);
    }
    return n;
}

/* Ends with a callback, or none. */
static void receive(struct stream *s)
{
    ssize_t n = s->layer ? receive_wrapped(s) : receive_plain(s);

    if (n > 0) {
        s->ops->arrived(s);
    } else if (n < 0) {
        s->ops->failed(s, s->error ? s->error : (int)n);
    } else if (s->error) {
        s->ops->failed(s, s->error);
    }
}

void stream_direct(struct stream *s, void *buf, size_t len)
{
    s->direct = buf;
    s->direct_left = len;
}

/* ---- Sending ------------------------------------------------------------------ */

/* What is left of O, as parts. */
static unsigned out_parts(const struct stream_out *o, struct iovec *ret)
{
    size_t skip = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < STREAM_OUT_PARTS; i++) {
        skip += o->parts[i].iov_len;
    }
    skip -= o->left;
    for (unsigned i = 0; i < STREAM_OUT_PARTS; i++) {
        size_t len = o->parts[i].iov_len;
        size_t cut = MIN(skip, len);

        skip -= cut;
        if (cut < len) {
            ret[count++] = (struct iovec){ (char *)o->parts[i].iov_base + cut,
                                           len - cut };
        }
    }
    return count;
}

static unsigned gather(const struct stream *s, struct iovec *parts)
{
    const struct stream_out *o;
    unsigned count = 0;

    if (s->layer) {
        parts[0] = (struct iovec){ (void *)iobuf_bytes(&s->raw_out),
                                   iobuf_len(&s->raw_out) };
        return parts[0].iov_len > 0;
    }
    list_for_each(o, &s->queue, node) {
        if (count + STREAM_OUT_PARTS > SEND_PARTS_MAX) {
            break;
        }
        count += out_parts(o, parts + count);
    }
    return count;
}

static void advance(struct stream *s, size_t n)
{
    if (s->layer) {
        iobuf_consume(&s->raw_out, n);
        return;
    }
    while (n > 0) {
        struct stream_out *o = list_first(&s->queue, struct stream_out, node);
        size_t part = MIN(n, o->left);

        o->left -= part;
        n -= part;
        if (o->left == 0) {
            list_remove(&o->node);
        }
    }
}

static void set_blocked(struct stream *s, bool blocked)
{
    if (s->blocked != blocked) {
        s->blocked = blocked;
        loop_fd_set(s->loop, &s->fd, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

/* Send until all is gone or the kernel takes no more; 0 or -errno. */
static int send_queue(struct stream *s)
{
    struct iovec parts[SEND_PARTS_MAX];
    struct msghdr m = { .msg_iov = parts };

    while ((m.msg_iovlen = gather(s, parts)) > 0) {
        ssize_t n = sendmsg(s->fd.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0) {
            advance(s, (size_t)n);
        } else if (errno == EAGAIN) {
            set_blocked(s, true);
            return 0;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    set_blocked(s, false);
    return 0;
}

void stream_send(struct stream *s, struct stream_out *o)
{
    int r;

    o->left = 0;
    for (unsigned i = 0; i < STREAM_OUT_PARTS; i++) {
        o->left += o->parts[i].iov_len;
    }
    list_init(&o->node);
    if (!s->layer) {
        list_push(&s->queue, &o->node);
        return;
    }
    r = s->layer->wrap(s->layer, o->parts, STREAM_OUT_PARTS, &s->raw_out);
    o->left = 0;
    if (r < 0) {
        fail_later(s, r);
    }
}

void stream_flush(struct stream *s)
{
    int r;

    if (s->state != STREAM_OPEN || s->error || s->blocked) {
        return;
    }
    r = send_queue(s);
    if (r < 0) {
        fail_later(s, r);
    }
}

/* ---- Opening ------------------------------------------------------------------ */

static void authenticate(struct stream *s)
{
    int done = 1, r;

    if (s->layer) {
        done = s->layer->handshake(s->layer, &s->raw_in, &s->raw_out);
    }
    r = done < 0 ? done : send_queue(s);
    if (r < 0) {
        s->ops->failed(s, r);
    } else if (done) {
        s->state = STREAM_OPEN;
        loop_timer_stop(s->loop, &s->timer);
        s->ops->opened(s);
    }
}

static void connected(struct stream *s)
{
    s->state = STREAM_AUTHENTICATING;
    loop_timer_set(s->loop, &s->timer, s->deadline_us);
    loop_fd_set(s->loop, &s->fd, EPOLLIN);
    authenticate(s);
}

/* One that keeps silent leaves time for those after it (as RFC 8305 asks, if more simply). */
static void connect_until(struct stream *s)
{
    uint64_t now = loop_now_us(s->loop);
    uint64_t left = s->deadline_us > now ? s->deadline_us - now : 0;

    loop_timer_set(s->loop, &s->timer,
                   now + left / (s->resolve.addr_count - s->next_addr + 1));
}

/* Start with the next address that lets itself be tried.  Or -errno. */
static int connect_next(struct stream *s)
{
    int r = -EHOSTUNREACH, one = 1;

    socket_close(s);
    while (s->next_addr < s->resolve.addr_count) {
        const struct loop_addr *a = &s->resolve.addrs[s->next_addr++];
        int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            r = -errno;
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0 ||
            errno == EINPROGRESS) {
            s->fd.fd = fd;
            r = loop_fd_add(s->loop, &s->fd, EPOLLOUT);
            if (r == 0) {
                connect_until(s);
                return 0;
            }
            s->fd.fd = -1;
        } else {
            r = -errno;
        }
        (void)close(fd);
    }
    return r;
}

static void connect_ready(struct stream *s)
{
    int error = 0, r;
    socklen_t len = sizeof(error);

    if (getsockopt(s->fd.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
        error = errno;
    }
    if (error == 0) {
        connected(s);
        return;
    }
    r = -error;
    if (s->next_addr < s->resolve.addr_count) {
        r = connect_next(s);
    }
    if (r < 0) {
        s->ops->failed(s, r);
    }
}

static void authenticate_ready(struct stream *s)
{
    ssize_t n = receive_raw(s);

    if (n < 0) {
        s->ops->failed(s, (int)n);
    } else {
        authenticate(s);
    }
}

static void ready(struct loop_fd *f, uint32_t events)
{
    struct stream *s = container_of(f, struct stream, fd);

    if (s->state == STREAM_CONNECTING) {
        connect_ready(s);
        return;
    }
    if (events & EPOLLOUT && !s->error) {
        int r = send_queue(s);

        if (r < 0) {
            fail_later(s, r);
        }
    }
    if (events & ~(uint32_t)EPOLLOUT) {
        if (s->state == STREAM_AUTHENTICATING) {
            authenticate_ready(s);
        } else {
            receive(s);
        }
    }
}

/* The deadline to open; or a failure that was to be told.  What the peer said before
 * it closed is heard first: it may be why. */
static void timer_fired(struct loop_timer *t)
{
    struct stream *s = container_of(t, struct stream, timer);

    if (s->state == STREAM_OPEN) {
        loop_timer_set(s->loop, &s->timer, loop_now_us(s->loop));
        receive(s);
    } else if (s->state != STREAM_CONNECTING || s->error || connect_next(s) < 0) {
        s->ops->failed(s, s->error ? s->error : -ETIMEDOUT);
    }
}

static void resolved(struct loop_resolve *r, int res)
{
    struct stream *s = container_of(r, struct stream, resolve);

    if (res == 0) {
        s->state = STREAM_CONNECTING;
        res = connect_next(s);
    }
    if (res < 0) {
        s->ops->failed(s, res);
    }
}

/* TEXT is an IPv4 or IPv6 address. */
static bool address_parse(const char *text, uint16_t port, struct loop_addr *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->sa;

    *ret = (struct loop_addr){ .len = sizeof(*v4) };
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return true;
    }
    ret->len = sizeof(*v6);
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return true;
    }
    return false;
}

static int open_address(struct stream *s, const struct stream_params *p)
{
    const struct hdfs_datanode *n = p->node;

    if (!p->use_hostname && address_parse(n->ip, n->xfer_port, &s->resolve.addrs[0])) {
        s->resolve.addr_count = 1;
        s->state = STREAM_CONNECTING;
        return connect_next(s);
    }
    s->resolve.host = p->use_hostname ? n->host : n->ip;
    s->resolve.port = n->xfer_port;
    s->resolve.done = resolved;
    return loop_resolve(s->loop, &s->resolve);
}

void stream_open(struct stream *s, const struct stream_params *p)
{
    const struct stream_ops *ops = s->ops;
    int r;

    *s = (struct stream){ .ops = ops, .loop = p->loop, .layer = p->layer,
                          .state = STREAM_RESOLVING, .in_max = p->in_max,
                          .deadline_us = p->deadline_us };
    s->fd.fd = -1;
    s->fd.ready = ready;
    s->timer.fire = timer_fired;
    list_init(&s->queue);
    loop_timer_set(s->loop, &s->timer, p->deadline_us);
    r = open_address(s, p);
    if (r < 0) {
        fail_later(s, r);
    }
}
