/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to a DataNode, which answers its requests one after the other.
 *
 *   OPENING --> ANSWER --> HEAD --> BODY ------------> HEAD   (a packet in s->in)
 *                 ^         | \---> SUMS --> DIRECT --> HEAD  (one to the caller's buffer)
 *                 |         v
 *                 \---- the last packet: the next attempt, or idle
 *
 * A status ends each read, and a request may follow it at once: the DataNode's thread
 * then finds both when it is done with the read before, and need not sleep and be woken
 * (that is most of what a small read costs it).  So a status goes out with the next
 * request; alone, if none comes soon.
 */
#include <errno.h>

#include "hdfs/reader_private.h"

#define IN_MAX (PACKET_BYTES_MAX + ((size_t)64 << 10))
#define IN_FIRST ((size_t)16 << 10)
#define REQUEST_ROOM 1024
#define REQUEST_MAX ((size_t)64 << 10)
#define DRAIN_MAX ((uint64_t)256 << 10) /* of what nobody waits for */
#define DIRECT_MIN ((size_t)16 << 10)   /* below, a copy is cheaper than a call */

static struct attempt *first(const struct conn *c)
{
    return list_first(&c->attempts, struct attempt, queue_node);
}

static void set_busy(struct conn *c, bool busy)
{
    struct peer *p = c->peer;

    list_remove(&c->node);
    if (busy) {
        list_push(&p->busy, &c->node);
    } else {
        list_push_front(&p->idle, &c->node);
    }
    p->busy_count += (unsigned)busy - (unsigned)c->busy;
    c->busy = busy;
}

void conn_close(struct conn *c)
{
    set_busy(c, false);
    stream_close(&c->stream);
    list_remove(&c->node);
    list_remove(&c->dirty_node);
    c->peer->conn_count--;
    iobuf_done(&c->sending);
    iobuf_done(&c->pending);
    free(c->sums);
    free(c);
}

static void attempt_take(struct conn *c, struct attempt *a)
{
    a->conn = NULL;
    list_remove(&a->queue_node);
    c->attempt_count--;
}

/* Close C; what it was asked for, and is still waited for, moves to ATTEMPTS. */
static void conn_end(struct conn *c, struct list *attempts)
{
    struct attempt *a;

    list_init(attempts);
    while ((a = first(c))) {
        attempt_take(c, a);
        if (a->op) {
            list_push(attempts, &a->queue_node);
        } else {
            attempt_free(a);
        }
    }
    conn_close(c);
}

static void ask_again(struct peer *p, struct list *attempts)
{
    struct attempt *a;

    while ((a = list_first(attempts, struct attempt, queue_node))) {
        list_remove(&a->queue_node);
        peer_take_again(a);
    }
    peer_serve(p);
}

/*
 * The first attempt failed with RES, unless the DataNode had just closed a connection
 * kept or nobody waits for it.  Those behind it have not been answered for a
 * reason that is not theirs.
 */
static void conn_fail(struct conn *c, int res, const char *message)
{
    bool stale = c->used && !c->heard && (res == -EPIPE || res == -ECONNRESET);
    bool blame = !stale && c->attempt_count > 0 && first(c)->op;
    bool refused = c->state == CONN_OPENING;
    struct peer *p = c->peer;
    struct list attempts;
    struct attempt *a;

    conn_end(c, &attempts);
    if (refused) {      /* those that wait for a connection would fare no better */
        list_splice(&attempts, &p->queue);
        while ((a = list_first(&attempts, struct attempt, queue_node))) {
            list_remove(&a->queue_node);
            reader_attempt_failed(a, res, message);
        }
    } else if (blame) {
        a = list_first(&attempts, struct attempt, queue_node);
        list_remove(&a->queue_node);
        reader_attempt_failed(a, res, message);
    }
    ask_again(p, &attempts);
}

/* ---- Receiving ---------------------------------------------------------------- */

static uint64_t range_end(const struct attempt *a)
{
    return a->offset + a->len;
}

/* What is not to be understood is no answer of a DataNode.  -EBADMSG is kept for wrong
 * checksums: for these the replica is reported, and removed. */
static int no_answer(int res)
{
    return res == -EBADMSG ? -EPROTO : res;
}

static int answer_take(struct conn *c, struct blockop_answer *answer)
{
    const struct attempt *a = first(c);
    struct iobuf *in = &c->stream.in;
    int used = blockop_answer_decode(iobuf_bytes(in), iobuf_len(in), answer);

    if (used <= 0) {
        return no_answer(used);
    }
    iobuf_consume(in, (size_t)used);
    if (answer->status != HDFS_STATUS_SUCCESS) {
        return blockop_error(answer->status);
    }
    if (!answer->has_checksum || answer->chunk_offset > a->offset ||
        a->offset - answer->chunk_offset >= answer->checksum.chunk_bytes ||
        answer->chunk_offset % answer->checksum.chunk_bytes != 0) {
        return -EPROTO;
    }
    c->checksum = answer->checksum;
    c->at = answer->chunk_offset;
    c->seqno = 0;
    c->state = CONN_HEAD;
    return 1;
}

/* The last packet: all that was asked for must have come. */
static int range_finish(struct conn *c)
{
    struct attempt *a = first(c);

    if (c->packet.data_bytes != 0 || c->packet.sums_bytes != 0) {
        return -EPROTO;
    }
    if (c->at < range_end(a)) {
        return -ENODATA;
    }
    attempt_take(c, a);
    if (a->op) {
        list_push(&c->peer->pool->done, &a->queue_node);
    } else {
        attempt_free(a);
    }
    c->used = true;
    c->state = CONN_ANSWER;
    c->heard = iobuf_len(&c->stream.in) > 0;
    return 1;
}

/* All of the packet's data was asked for. */
static bool packet_inside(const struct conn *c)
{
    const struct attempt *a = first(c);

    return c->at >= a->offset && c->at + c->packet.data_bytes <= range_end(a);
}

static int head_take(struct conn *c)
{
    const struct attempt *a = first(c);
    struct iobuf *in = &c->stream.in;
    int used = packet_decode(iobuf_bytes(in), iobuf_len(in), &c->packet);
    const struct packet *p = &c->packet;

    if (used <= 0) {
        return no_answer(used);
    }
    iobuf_consume(in, (size_t)used);
    if (p->offset != c->at || p->seqno != c->seqno++) {
        return -EPROTO;
    }
    if (p->last) {
        return range_finish(c);
    }
    /* What comes too much is less than a chunk. */
    if (p->data_bytes == 0 || c->at >= range_end(a) ||
        p->data_bytes >= range_end(a) - c->at + c->checksum.chunk_bytes ||
        p->sums_bytes != checksum_bytes_for(&c->checksum, p->data_bytes)) {
        return -EPROTO;
    }
    c->state = a->buf && packet_inside(c) && p->data_bytes >= DIRECT_MIN ? CONN_SUMS :
                                                                           CONN_BODY;
    return 1;
}

/* Copy to the attempt's buffer what was asked for of DATA, which is at c->at. */
static void copy_wanted(struct conn *c, const uint8_t *data)
{
    const struct attempt *a = first(c);
    uint64_t from = MAX(c->at, a->offset);
    uint64_t to = MIN(c->at + c->packet.data_bytes, range_end(a));

    if (a->buf && from < to) {
        memcpy(a->buf + (from - a->offset), data + (from - c->at), to - from);
    }
}

static int packet_finish(struct conn *c)
{
    c->at += c->packet.data_bytes;
    c->state = CONN_HEAD;
    return 1;
}

static int body_take(struct conn *c)
{
    struct iobuf *in = &c->stream.in;
    size_t need = (size_t)c->packet.sums_bytes + c->packet.data_bytes;
    const uint8_t *sums = iobuf_bytes(in), *data = sums + c->packet.sums_bytes;

    if (iobuf_len(in) < need) {
        return iobuf_reserve(in, need - iobuf_len(in));
    }
    if (!checksum_match(&c->checksum, data, c->packet.data_bytes, sums)) {
        return -EBADMSG;
    }
    copy_wanted(c, data);
    iobuf_consume(in, need);
    return packet_finish(c);
}

static int sums_reserve(struct conn *c, size_t bytes)
{
    uint8_t *sums;

    if (c->sums_cap >= bytes) {
        return 0;
    }
    sums = realloc(c->sums, bytes);
    if (!sums) {
        return -ENOMEM;
    }
    c->sums = sums;
    c->sums_cap = bytes;
    return 0;
}

/* Where the packet's data goes in the caller's buffer. */
static uint8_t *direct_target(const struct conn *c)
{
    return first(c)->buf + (c->at - first(c)->offset);
}

static int sums_take(struct conn *c)
{
    struct iobuf *in = &c->stream.in;
    size_t bytes = c->packet.sums_bytes, here;
    int r = sums_reserve(c, bytes);

    if (r < 0) {
        return r;
    }
    if (iobuf_len(in) < bytes) {
        return iobuf_reserve(in, bytes - iobuf_len(in));
    }
    if (bytes > 0) {
        memcpy(c->sums, iobuf_bytes(in), bytes);
        iobuf_consume(in, bytes);
    }
    here = MIN(iobuf_len(in), (size_t)c->packet.data_bytes);
    if (here > 0) {
        memcpy(direct_target(c), iobuf_bytes(in), here);
        iobuf_consume(in, here);
    }
    stream_direct(&c->stream, direct_target(c) + here, c->packet.data_bytes - here);
    c->state = CONN_DIRECT;
    return 1;
}

static int direct_take(struct conn *c)
{
    if (c->stream.direct_left > 0) {
        return 0;
    }
    if (!checksum_match(&c->checksum, direct_target(c), c->packet.data_bytes, c->sums)) {
        return -EBADMSG;
    }
    return packet_finish(c);
}

/* 1: go on, 0: more bytes are needed, or -errno. */
static int step(struct conn *c, struct blockop_answer *answer)
{
    switch (c->state) {
    case CONN_ANSWER:
        return answer_take(c, answer);
    case CONN_HEAD:
        return head_take(c);
    case CONN_BODY:
        return body_take(c);
    case CONN_SUMS:
        return sums_take(c);
    case CONN_DIRECT:
        return direct_take(c);
    case CONN_OPENING:
        break;
    }
    return -EPROTO;
}

static void set_idle(struct conn *c)
{
    struct reader_pool *pool = c->peer->pool;

    c->idle_since_us = loop_now_us(pool->p.loop);
    set_busy(c, false);
    list_remove(&c->dirty_node);
    list_push(&pool->owing, &c->dirty_node);
}

static void arrived(struct stream *s)
{
    struct conn *c = container_of(s, struct conn, stream);
    struct peer *p = c->peer;
    struct blockop_answer answer;
    int r = 1;

    answer.message[0] = '\0';
    c->heard = true;
    while (r > 0 && c->attempt_count > 0) {
        r = step(c, &answer);
    }
    reader_turn(p->pool);
    if (r < 0) {
        conn_fail(c, r, answer.message);
    } else if (c->attempt_count == 0) {
        if (iobuf_len(&s->in) > 0 || !c->used || !stream_sent(&c->out)) {
            conn_close(c);      /* it says what nobody asked for */
        } else {
            set_idle(c);
        }
    }
    peer_serve(p);
}

/* ---- Asking ------------------------------------------------------------------- */

bool conn_takes(const struct conn *c, unsigned depth)
{
    return c->state != CONN_OPENING && c->attempt_count < depth;
}

/* Add the request at the end of what is pending. */
static int request_add(struct conn *c, const struct attempt *a)
{
    const struct hdfs_located_block *b = a->op->block;
    struct blockop_read q = {
        .block = &b->block, .token = &b->token, .client = c->peer->pool->client,
        .offset = a->offset, .len = a->len, .no_read_ahead = a->len < SMALL_READ,
    };
    struct iobuf *out = &c->pending;
    int len = -ENOBUFS, r;

    for (size_t room = REQUEST_ROOM; len == -ENOBUFS && room <= REQUEST_MAX; room *= 2) {
        r = iobuf_reserve(out, room);
        if (r < 0) {
            return r;
        }
        len = blockop_read_encode(&q, out->data + out->end, iobuf_room(out));
    }
    if (len > 0) {
        out->end += (size_t)len;
    }
    return len;
}

static int status_add(struct conn *c, enum hdfs_status status)
{
    uint8_t bytes[BLOCKOP_READ_STATUS_BYTES];

    if (!c->owes_status) {
        return 0;
    }
    c->owes_status = false;
    blockop_read_status(bytes, status);
    return iobuf_add(&c->pending, bytes, sizeof(bytes));
}

void conn_ask(struct conn *c, struct attempt *a)
{
    int r;

    set_busy(c, true);
    a->conn = c;
    a->ahead = c->attempt_count++;
    a->started_us = loop_now_us(c->peer->pool->p.loop);
    list_push(&c->attempts, &a->queue_node);
    c->heard = c->heard && a->ahead > 0;
    /* Of a read that isn't finished it can't be said that its sums are right. */
    r = status_add(c, a->ahead == 0 ? HDFS_STATUS_CHECKSUM_OK : HDFS_STATUS_SUCCESS);
    if (r == 0) {
        r = request_add(c, a);
    }
    if (r < 0) {
        conn_fail(c, r, "");
        return;
    }
    c->owes_status = true;
    list_remove(&c->dirty_node);
    list_push(&c->peer->pool->dirty, &c->dirty_node);
    reader_turn(c->peer->pool);
}

bool conn_flush(struct conn *c)
{
    struct iobuf sent = c->sending;

    if (!stream_sent(&c->out)) {
        return false;
    }
    c->sending = c->pending;
    c->pending = sent;
    c->pending.start = c->pending.end = 0;
    c->out.parts[0] = (struct iovec){ (void *)iobuf_bytes(&c->sending),
                                      iobuf_len(&c->sending) };
    stream_send(&c->stream, &c->out);
    stream_flush(&c->stream);
    return true;
}

void conn_send_status(struct conn *c)
{
    if (status_add(c, HDFS_STATUS_CHECKSUM_OK) == 0) {
        (void)conn_flush(c);    /* all before was sent, or it weren't idle */
    }
}

void conn_abandon(struct conn *c, struct attempt *a)
{
    struct peer *p = c->peer;
    struct attempt *other;
    struct list attempts;
    bool waiting = false;

    a->op = NULL;
    list_for_each(other, &c->attempts, queue_node) {
        waiting = waiting || other->op;
    }
    if (!waiting || a->len > DRAIN_MAX ||
        (a == first(c) && (c->state == CONN_SUMS || c->state == CONN_DIRECT))) {
        conn_end(c, &attempts);
        ask_again(p, &attempts);
        return;
    }
    if (a->own_buf) {
        free(a->buf);
        a->own_buf = false;
    }
    a->buf = NULL;
}

/* ---- Opening and losing ------------------------------------------------------- */

/* The attempt it was opened for has been there since; it is asked for now. */
static void opened(struct stream *s)
{
    struct conn *c = container_of(s, struct conn, stream);
    struct peer *p = c->peer;
    struct attempt *a = first(c);

    /* No memory: receiving will find out. */
    (void)iobuf_reserve(&s->in, IN_FIRST);
    attempt_take(c, a);
    c->state = CONN_ANSWER;
    conn_ask(c, a);
    peer_serve(p);
}

static void lost(struct stream *s, int res)
{
    conn_fail(container_of(s, struct conn, stream), res, "");
}

static const struct stream_ops conn_stream_ops = {
    .opened = opened,
    .arrived = arrived,
    .failed = lost,
};

int conn_open(struct peer *p, struct attempt *a)
{
    const struct reader_params *rp = &p->pool->p;
    const struct hdfs_token *token = &a->op->block->token;
    struct conn *c = calloc(1, sizeof(*c));
    struct stream_params sp = {
        .loop = rp->loop, .node = &p->datanode, .use_hostname = rp->use_hostname,
        .deadline_us = loop_now_us(rp->loop) + rp->connect_timeout_us, .in_max = IN_MAX,
    };

    if (!c) {
        return -ENOMEM;
    }
    c->peer = p;
    a->conn = c;
    a->started_us = loop_now_us(rp->loop);
    list_init(&c->dirty_node);
    list_init(&c->attempts);
    list_push(&c->attempts, &a->queue_node);
    c->attempt_count = 1;
    list_init(&c->node);
    set_busy(c, true);
    p->conn_count++;
    p->pool->stats.connects++;
    c->stream.ops = &conn_stream_ops;
    sp.layer = rp->layer ? rp->layer(rp->opaque, &p->datanode, token) : NULL;
    stream_open(&c->stream, &sp);
    return 0;
}
