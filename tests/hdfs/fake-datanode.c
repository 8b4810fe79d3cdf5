/* SPDX-License-Identifier: LGPL-2.1-or-later */
#undef NDEBUG
#include "fake-datanode.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "datatransfer.pb-c.h"
#include "hdfs/checksum.h"
#include "hdfs/packet.h"

#define CHUNK 512
#define PACKET_DEFAULT 65536

struct fake_conn {
    struct fake_datanode *f;
    int fd;
    pthread_t thread;
};

/* ---- Bytes -------------------------------------------------------------------- */

static bool get(struct fake_conn *c, void *buf, size_t len)
{
    uint8_t *p = buf;

    for (size_t n = 0; n < len; ) {
        ssize_t r = recv(c->fd, p + n, len - n, 0);

        if (r <= 0) {
            return false;
        }
        n += (size_t)r;
    }
    for (size_t i = 0; i < len; i++) {
        p[i] ^= c->f->mask;
    }
    return true;
}

static bool put(struct fake_conn *c, const void *buf, size_t len)
{
    uint8_t copy[4096];

    for (size_t n = 0; n < len; ) {
        size_t part = c->f->read == READ_DRIP ? 1 : MIN(len - n, sizeof(copy));
        ssize_t r;

        for (size_t i = 0; i < part; i++) {
            copy[i] = ((const uint8_t *)buf)[n + i] ^ c->f->mask;
        }
        r = send(c->fd, copy, part, MSG_NOSIGNAL);
        if (r <= 0) {
            return false;
        }
        n += (size_t)r;
    }
    return true;
}

/* Until the client hangs up, whatever it says. */
static void be_silent(struct fake_conn *c)
{
    uint8_t byte;

    while (get(c, &byte, 1)) {
    }
}

/* A delimited message; NULL: the connection is over. */
static uint8_t *get_message(struct fake_conn *c, size_t *ret_len)
{
    uint64_t len = 0;
    uint8_t byte = 0x80, *buf;

    for (int shift = 0; byte & 0x80; shift += 7) {
        if (shift > 28 || !get(c, &byte, 1)) {
            return NULL;
        }
        len |= (uint64_t)(byte & 0x7f) << shift;
    }
    buf = malloc(len + 1);
    assert(buf);
    if (!get(c, buf, len)) {
        free(buf);
        return NULL;
    }
    *ret_len = len;
    return buf;
}

static bool put_message(struct fake_conn *c, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t buf[2048] = { (uint8_t)(len & 0x7f) | 0x80, (uint8_t)(len >> 7) };

    assert(len + 2 <= sizeof(buf));
    return put(c, buf, 2 + protobuf_c_message_pack(m, buf + 2));
}

/* ---- Reads -------------------------------------------------------------------- */

static bool put_answer(struct fake_conn *c, int status, uint64_t chunk_offset)
{
    Pb__BlockAnswer m = PB__BLOCK_ANSWER__INIT;
    Pb__BlockAnswer__Sums sums = PB__BLOCK_ANSWER__SUMS__INIT;
    Pb__Checksum sum = PB__CHECKSUM__INIT;

    m.status = status;
    if (status == HDFS_STATUS_SUCCESS) {
        m.sums = &sums;
        sums.checksum = &sum;
        sums.chunk_offset = chunk_offset;
        sum.type = c->f->checksum;
        sum.chunk_bytes = CHUNK;
    } else {
        m.message = (char *)"for reasons of testing";
    }
    return put_message(c, &m.base);
}

static bool put_packet(struct fake_conn *c, uint64_t at, size_t len, int64_t seqno)
{
    struct checksum sum = { (enum hdfs_checksum)c->f->checksum, CHUNK };
    struct packet p = { .offset = at, .seqno = seqno, .data_bytes = (uint32_t)len,
                        .sums_bytes = (uint32_t)checksum_bytes_for(&sum, len),
                        .last = len == 0 };
    uint8_t *buf = malloc(PACKET_HEAD_MAX + p.sums_bytes + len), *data;
    size_t head;
    bool ok;

    assert(buf);
    p.offset += c->f->read == READ_OFFSET_WRONG ? CHUNK : 0;
    head = packet_encode(&p, buf);
    data = buf + head + p.sums_bytes;
    for (size_t i = 0; i < len; i++) {
        data[i] = fake_byte(at + i);
    }
    checksum_fill(&sum, data, len, buf + head);
    if (len > 0 && c->f->read == READ_CORRUPT) {
        data[len / 2] ^= 0x40;
    }
    if (len > 0 && c->f->read == READ_HALF) {
        (void)put(c, buf, head + p.sums_bytes + len / 2);
        free(buf);
        return false;
    }
    ok = put(c, buf, head + p.sums_bytes + len);
    free(buf);
    return ok;
}

static bool put_range(struct fake_conn *c, uint64_t from, uint64_t to)
{
    size_t most = c->f->packet_bytes ? c->f->packet_bytes : PACKET_DEFAULT;
    int64_t seqno = 0;

    if (c->f->read == READ_SHORT) {
        to = from + (to - from) / 2 / CHUNK * CHUNK;
    }
    if (c->f->read == READ_TOO_MUCH) {
        to += CHUNK;
    }
    for (; from < to; seqno++) {
        size_t len = MIN(to - from, most);

        if (!put_packet(c, from, len, seqno)) {
            return false;
        }
        from += len;
    }
    return put_packet(c, from, 0, seqno);
}

/* The client must say how it went, before anything else. */
static bool get_status(struct fake_conn *c)
{
    size_t len;
    uint8_t *buf = get_message(c, &len);
    Pb__ReadStatus *m;

    if (!buf) {
        return false;
    }
    m = pb__read_status__unpack(NULL, len, buf);
    free(buf);
    if (!m) {
        c->f->wrong = true;
        return false;
    }
    pb__read_status__free_unpacked(m, NULL);
    c->f->statuses++;
    return true;
}

static bool serve_read(struct fake_conn *c, uint64_t offset, uint64_t len)
{
    uint64_t from = ALIGN_DOWN(offset, (uint64_t)CHUNK);

    c->f->reads++;
    (void)usleep(c->f->delay_us);
    switch (c->f->read) {
    case READ_ERROR:
        (void)put_answer(c, HDFS_STATUS_ERROR, 0);
        return false;
    case READ_TOKEN:
        (void)put_answer(c, HDFS_STATUS_ERROR_ACCESS_TOKEN, 0);
        return false;
    case READ_SILENT:
        be_silent(c);
        return false;
    case READ_HANG_UP:
        return false;
    case READ_GARBAGE:
        (void)put(c, "\x05garbage that is no answer", 25);
        return false;
    default:
        return put_answer(c, HDFS_STATUS_SUCCESS, from) &&
               put_range(c, from, ALIGN_UP(offset + len, (uint64_t)CHUNK)) &&
               get_status(c);
    }
}

/* ---- Writes ------------------------------------------------------------------- */

static bool put_ack(struct fake_conn *c, int64_t seqno, size_t nodes, bool third)
{
    Pb__Ack m = PB__ACK__INIT;
    int32_t reply[ACK_NODES_MAX] = { 0 };
    uint32_t flags[ACK_NODES_MAX] = { 0 };
    int how = c->f->write;

    m.seqno = seqno;
    m.n_reply = m.n_flag = nodes;
    m.reply = reply;
    m.flag = flags;
    if (third && how == WRITE_ACK_NEVER) {
        return true;
    } else if (third && how == WRITE_ACK_SEQNO) {
        m.seqno++;
    } else if (third && how == WRITE_ACK_ERROR) {
        reply[1] = HDFS_STATUS_ERROR;
    } else if (third && how == WRITE_HANG_UP) {
        return false;
    } else if (third && how == WRITE_GARBAGE) {
        return put(c, "\xff\xff\xff\xff\xff", 5);
    } else if (how == WRITE_ACK_FEWER) {
        m.n_reply = m.n_flag = nodes - 1;
    }
    return put_message(c, &m.base);
}

/* A packet, checked against all rules; false: the block or the connection is over. */
static bool serve_packet(struct fake_conn *c, uint64_t *at, int64_t *seqno, size_t nodes)
{
    uint8_t head[256], *body;
    struct checksum sum = { HDFS_CHECKSUM_CRC32C, CHUNK };
    struct packet p;
    size_t hlen;
    bool ok;

    if (!get(c, head, 6)) {
        return false;
    }
    hlen = (size_t)head[4] << 8 | head[5];
    if (hlen > 200 || !get(c, head + 6, hlen) ||
        packet_decode(head, 6 + hlen, &p) <= 0) {
        c->f->wrong = true;
        return false;
    }
    body = malloc((size_t)p.sums_bytes + p.data_bytes + 1);
    assert(body);
    ok = get(c, body, (size_t)p.sums_bytes + p.data_bytes);
    if (!ok) {
        free(body);
        return false;
    }
    if (p.seqno == PACKET_HEARTBEAT) {
        c->f->heartbeats++;
    } else if (p.seqno != (*seqno)++ || p.offset != *at ||
               p.sums_bytes != checksum_bytes_for(&sum, p.data_bytes) ||
               !checksum_match(&sum, body + p.sums_bytes, p.data_bytes, body)) {
        c->f->wrong = true;
    }
    for (size_t i = 0; i < p.data_bytes; i++) {
        if (body[p.sums_bytes + i] != fake_byte(*at + i)) {
            c->f->wrong = true;
        }
    }
    free(body);
    *at += p.data_bytes;
    c->f->written = *at;
    c->f->packets++;
    c->f->syncs += p.sync;
    c->f->ended += p.last;
    return put_ack(c, p.seqno, nodes, p.seqno >= 2) && !p.last;
}

static void serve_write(struct fake_conn *c, const Pb__OpWrite *m)
{
    Pb__BlockAnswer a = PB__BLOCK_ANSWER__INIT;
    size_t nodes = m->n_targets + 1;
    int64_t seqno = 0;
    uint64_t at = 0;
    char link[64];

    (void)usleep(c->f->delay_us);
    if (c->f->write == WRITE_SILENT) {
        be_silent(c);
        return;
    }
    a.bad_link = (char *)"";
    if (c->f->write == WRITE_REFUSE) {
        (void)snprintf(link, sizeof(link), "%s:%u", m->targets[0]->id->ip,
                       m->targets[0]->id->xfer_port);
        a.status = HDFS_STATUS_ERROR;
        a.bad_link = link;
    }
    if (!put_message(c, &a.base) || a.status != HDFS_STATUS_SUCCESS) {
        return;
    }
    if (c->f->write == WRITE_ACK_EARLY) {
        (void)put_ack(c, 0, nodes, false);
    }
    while (serve_packet(c, &at, &seqno, nodes)) {
    }
}

/* ---- Connections -------------------------------------------------------------- */

static bool serve_op(struct fake_conn *c)
{
    Pb__OpWrite *w;
    Pb__OpRead *r;
    bool more = false;
    uint8_t op[3], *buf;
    size_t len;

    if (!get(c, op, sizeof(op))) {
        return false;
    }
    buf = get_message(c, &len);
    if (!buf) {
        return false;
    }
    if (op[0] != 0 || op[1] != 28) {
        c->f->wrong = true;
    } else if (op[2] == 81 && (r = pb__op_read__unpack(NULL, len, buf))) {
        more = serve_read(c, r->offset, r->len);
        pb__op_read__free_unpacked(r, NULL);
    } else if (op[2] == 80 && (w = pb__op_write__unpack(NULL, len, buf))) {
        serve_write(c, w);
        pb__op_write__free_unpacked(w, NULL);
    } else {
        c->f->wrong = true;
    }
    free(buf);
    return more;
}

static void *conn_main(void *opaque)
{
    struct fake_conn *c = opaque;
    unsigned count = 0;
    uint8_t hello;

    /* The layer of the tests begins with a byte, which comes back. */
    if (c->f->mask && get(c, &hello, 1)) {
        (void)put(c, &hello, 1);
    }
    while (serve_op(c)) {
        count++;
        if (c->f->reads_per_connection && count >= c->f->reads_per_connection) {
            break;
        }
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

static void *listen_main(void *opaque)
{
    struct fake_datanode *f = opaque;
    int fd, one = 1;

    while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
        unsigned i = f->connections;
        struct fake_conn *c = calloc(1, sizeof(*c));

        assert(c && i < FAKE_CONNS_MAX);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        c->f = f;
        c->fd = fd;
        f->conns[i] = c;
        f->connections = i + 1;
        assert(pthread_create(&c->thread, NULL, conn_main, c) == 0);
    }
    return NULL;
}

struct fake_datanode *fake_datanode_new(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct fake_datanode *f = calloc(1, sizeof(*f));
    socklen_t len = sizeof(sa);
    pthread_t *t = malloc(sizeof(*t));

    assert(f && t);
    f->checksum = HDFS_CHECKSUM_CRC32C;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(f->listener >= 0);
    assert(bind(f->listener, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    assert(listen(f->listener, 64) == 0);
    assert(getsockname(f->listener, (struct sockaddr *)&sa, &len) == 0);
    f->port = ntohs(sa.sin_port);
    f->thread = t;
    assert(pthread_create(t, NULL, listen_main, f) == 0);
    return f;
}

void fake_datanode_free(struct fake_datanode *f)
{
    (void)shutdown(f->listener, SHUT_RDWR);
    (void)pthread_join(*(pthread_t *)f->thread, NULL);
    (void)close(f->listener);
    for (unsigned i = 0; i < f->connections; i++) {
        (void)shutdown(f->conns[i]->fd, SHUT_RDWR);
        (void)pthread_join(f->conns[i]->thread, NULL);
        (void)close(f->conns[i]->fd);
        free(f->conns[i]);
    }
    free(f->thread);
    free(f);
}

void fake_block(struct hdfs_located_block *b, struct fake_datanode **f, unsigned count)
{
    *b = (struct hdfs_located_block){
        .block = { .pool = "BP-test", .id = 1, .generation = 1001, .length = 1 << 20 },
        .node_count = count,
        .nodes = calloc(count, sizeof(b->nodes[0])),
        .storages = calloc(count, sizeof(b->storages[0])),
        .storage_ids = calloc(count, sizeof(b->storage_ids[0])),
    };
    assert(b->nodes && b->storages && b->storage_ids);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(b->nodes[i].ip, sizeof(b->nodes[i].ip), "127.0.0.1");
        (void)snprintf(b->nodes[i].host, sizeof(b->nodes[i].host), "localhost");
        b->nodes[i].xfer_port = f[i]->port;
        b->storages[i] = HDFS_STORAGE_DISK;
    }
}

void fake_block_done(struct hdfs_located_block *b)
{
    free(b->nodes);
    free(b->storages);
    free(b->storage_ids);
}

void fake_nodes_new(struct fake_datanode **f, unsigned count,
                    struct hdfs_located_block *ret_block)
{
    for (unsigned i = 0; i < count; i++) {
        f[i] = fake_datanode_new();
    }
    fake_block(ret_block, f, count);
}

bool fake_nodes_free(struct fake_datanode **f, unsigned count,
                     struct hdfs_located_block *block)
{
    bool right = true;

    for (unsigned i = 0; i < count; i++) {
        right &= !f[i]->wrong;
        fake_datanode_free(f[i]);
    }
    fake_block_done(block);
    return right;
}

bool fake_wait(sem_t *sem, unsigned events, unsigned seconds)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += seconds;
    while (events > 0 && sem_timedwait(sem, &ts) == 0) {
        events--;
    }
    return events == 0;
}
