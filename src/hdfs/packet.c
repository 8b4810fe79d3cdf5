/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/packet.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "hdfs/pbwire.h"

/* Field numbers of PacketHeaderProto and PipelineAckProto. */
enum { HEAD_OFFSET = 1, HEAD_SEQNO = 2, HEAD_LAST = 3, HEAD_DATA_LEN = 4, HEAD_SYNC = 5 };
enum { ACK_SEQNO = 1, ACK_REPLY = 2 };

#define HEAD_BYTES_MAX 256      /* of a header received; Hadoop's have 25 to 27 */
#define ACK_BYTES_MAX 4096

static uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

size_t packet_encode(const struct packet *p, uint8_t *buf)
{
    struct pb_out o = { .buf = buf, .len = PACKET_LENGTHS_BYTES, .cap = PACKET_HEAD_MAX };
    uint32_t plen = htobe32(4 + p->sums_bytes + p->data_bytes);
    uint16_t hlen;

    pb_put_fixed64(&o, HEAD_OFFSET, p->offset);
    pb_put_fixed64(&o, HEAD_SEQNO, (uint64_t)p->seqno);
    pb_put_number(&o, HEAD_LAST, p->last);
    pb_put_fixed32(&o, HEAD_DATA_LEN, p->data_bytes);
    if (p->sync) {
        pb_put_number(&o, HEAD_SYNC, 1);
    }
    hlen = htobe16((uint16_t)(o.len - PACKET_LENGTHS_BYTES));
    memcpy(buf, &plen, sizeof(plen));
    memcpy(buf + sizeof(plen), &hlen, sizeof(hlen));
    return o.len;
}

/* Sets DATA_BYTES only if all that is required is there. */
static int header_decode(struct pb_in in, struct packet *p)
{
    unsigned seen = 0;
    struct pb_field f;
    int r;

    while ((r = pb_next(&in, &f)) > 0) {
        if (f.number == HEAD_OFFSET && f.type == PB_FIXED64) {
            p->offset = f.value;
        } else if (f.number == HEAD_SEQNO && f.type == PB_FIXED64) {
            p->seqno = (int64_t)f.value;
        } else if (f.number == HEAD_LAST && f.type == PB_VARINT) {
            p->last = f.value != 0;
        } else if (f.number == HEAD_DATA_LEN && f.type == PB_FIXED32) {
            p->data_bytes = (uint32_t)f.value;
        } else if (f.number == HEAD_SYNC && f.type == PB_VARINT) {
            p->sync = f.value != 0;
        } else {
            continue;
        }
        seen |= 1u << f.number;
    }
    if (r == 0 && (seen & 0x1e) != 0x1e) {
        return -EBADMSG;
    }
    return r;
}

int packet_decode(const uint8_t *buf, size_t len, struct packet *ret)
{
    struct packet p = { 0 };
    struct pb_in in;
    uint32_t plen;
    size_t hlen;
    int r;

    if (len < PACKET_LENGTHS_BYTES) {
        return 0;
    }
    plen = get_be32(buf);
    hlen = get_be16(buf + 4);
    if (plen < 4 || plen > PACKET_BYTES_MAX || hlen > HEAD_BYTES_MAX) {
        return -EBADMSG;
    }
    if (len < PACKET_LENGTHS_BYTES + hlen) {
        return 0;
    }
    in.at = buf + PACKET_LENGTHS_BYTES;
    in.end = in.at + hlen;
    r = header_decode(in, &p);
    if (r < 0) {
        return r;
    }
    /* The offset is below 2^63, so that a length can be added to it. */
    if (p.data_bytes > plen - 4 || p.offset > INT64_MAX) {
        return -EBADMSG;
    }
    p.sums_bytes = plen - 4 - p.data_bytes;
    *ret = p;
    return (int)(PACKET_LENGTHS_BYTES + hlen);
}

static uint8_t status_of(uint64_t value)
{
    return value < HDFS_STATUS_UNKNOWN ? (uint8_t)value : HDFS_STATUS_UNKNOWN;
}

static int ack_add(struct packet_ack *a, uint64_t status)
{
    if (a->node_count == ACK_NODES_MAX) {
        return -EBADMSG;
    }
    a->status[a->node_count++] = status_of(status);
    return 0;
}

/* `reply` is not packed in Hadoop's messages; a decoder takes both forms. */
static int ack_add_packed(struct packet_ack *a, struct pb_in in)
{
    uint64_t v;
    int used;

    for (; in.at < in.end; in.at += used) {
        used = pb_varint(in.at, (size_t)(in.end - in.at), &v);
        if (used <= 0 || ack_add(a, v) < 0) {
            return -EBADMSG;
        }
    }
    return 0;
}

int packet_ack_decode(const uint8_t *buf, size_t len, struct packet_ack *ret)
{
    bool seqno_seen = false;
    struct pb_field f;
    struct pb_in in;
    int used, r;

    used = pb_frame(buf, len, ACK_BYTES_MAX, &in);
    if (used <= 0) {
        return used;
    }
    ret->node_count = 0;
    while ((r = pb_next(&in, &f)) > 0) {
        if (f.number == ACK_SEQNO && f.type == PB_VARINT) {
            ret->seqno = (int64_t)pb_zigzag(f.value);
            seqno_seen = true;
        } else if (f.number == ACK_REPLY && f.type == PB_VARINT) {
            r = ack_add(ret, f.value);
        } else if (f.number == ACK_REPLY && f.type == PB_BYTES) {
            r = ack_add_packed(ret, pb_inside(&f));
        }
        if (r < 0) {
            return r;
        }
    }
    if (r < 0 || !seqno_seen) {
        return -EBADMSG;
    }
    return used;
}

int packet_ack_bad_node(const struct packet_ack *a)
{
    for (unsigned i = 0; i < a->node_count; i++) {
        if (a->status[i] != HDFS_STATUS_SUCCESS) {
            return (int)i;
        }
    }
    return -1;
}
