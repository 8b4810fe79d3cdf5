/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * packet.h - the frames of a block's data: packets and the acks of a pipeline.
 *
 * Bytes in, bytes out: no socket, no clock, no memory of its own.  A packet is
 *
 *     PLEN   int32, big-endian: 4 + the bytes of sums and data
 *     HLEN   int16, big-endian: the bytes of the header
 *     header PacketHeaderProto
 *     sums   one for each chunk of data (checksum.h)
 *     data
 *
 * the same from client to DataNode (writing) and back (reading); one without data
 * and with `last` ends the block or the range.  An ack is a delimited
 * PipelineAckProto.  What is decoded comes from the network: anything out of bounds
 * is -EBADMSG.  Usable from any thread.
 * (Facts: org.apache.hadoop.hdfs.protocol.datatransfer.PacketHeader, PacketReceiver,
 * PipelineAck.)
 */
#ifndef HLFS_HDFS_PACKET_H
#define HLFS_HDFS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hdfs/status.h"

/* What PacketReceiver takes at most. */
#define PACKET_BYTES_MAX ((size_t)16 << 20)
#define PACKET_LENGTHS_BYTES 6                  /* PLEN and HLEN */
/* Ours are of a fixed width: 25 bytes, and 2 for sync. */
#define PACKET_HEAD_MAX (PACKET_LENGTHS_BYTES + 27)

/* Sequence numbers count from 0 in a block; these two are special. */
#define PACKET_HEARTBEAT ((int64_t)-1)
#define PACKET_OUT_OF_BAND ((int64_t)-2)        /* of acks only */

struct packet {
    uint64_t offset;        /* of the data in the block */
    int64_t seqno;
    uint32_t data_bytes;
    uint32_t sums_bytes;
    bool last;              /* of the block, or of the range asked for */
    bool sync;              /* to disk before the ack */
};

/* Write lengths and header to BUF, PACKET_HEAD_MAX bytes; returns the bytes used. */
size_t packet_encode(const struct packet *p, uint8_t *buf);

/* Lengths and header at BUF: bytes used, 0 if more are needed, or -EBADMSG. */
int packet_decode(const uint8_t *buf, size_t len, struct packet *ret);

#define ACK_NODES_MAX 64        /* ours: a pipeline has a handful */

struct packet_ack {
    int64_t seqno;
    unsigned node_count;
    uint8_t status[ACK_NODES_MAX];      /* enum hdfs_status, the first node's first */
};

/* An ack at BUF: bytes used, 0 if more are needed, or -EBADMSG. */
int packet_ack_decode(const uint8_t *buf, size_t len, struct packet_ack *ret);

/* The first node that doesn't say SUCCESS, or -1. */
int packet_ack_bad_node(const struct packet_ack *a);

#endif
