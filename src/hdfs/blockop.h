/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blockop.h - what opens a transfer of a block: the request, and its answer.
 *
 * Bytes in, bytes out, as packet.h.  A request is int16 28 (the version), a byte (the
 * operation) and a delimited message; the answer is a delimited BlockOpResponseProto.
 * Usable from any thread.
 * (Facts: org.apache.hadoop.hdfs.protocol.datatransfer.{Sender,Op}.)
 */
#ifndef HLFS_HDFS_BLOCKOP_H
#define HLFS_HDFS_BLOCKOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hdfs/checksum.h"
#include "hdfs/status.h"
#include "hdfs/types.h"

/* Read LEN bytes from OFFSET on; the DataNode starts and ends at whole chunks. */
struct blockop_read {
    const struct hdfs_block *block;
    const struct hdfs_token *token;
    const char *client;             /* a name, for the DataNode's log */
    uint64_t offset;
    uint64_t len;
    bool no_read_ahead;             /* nothing after this will be asked for */
};

/* Make a new block on all of its nodes; the first is the one that is asked. */
struct blockop_write {
    const struct hdfs_located_block *block;
    const char *client;             /* the name that holds the file's lease */
    struct checksum checksum;
    uint64_t block_size;            /* for so much each node reserves room; 0: for its own
                                     * dfs.blocksize (DataXceiver.writeBlock) */
};

/*
 * Write the request to BUF: the bytes, or -ENOBUFS.  A read with a token of usual
 * size takes some hundred bytes; a write as much for each node.
 */
int blockop_read_encode(const struct blockop_read *q, uint8_t *buf, size_t size);
int blockop_write_encode(const struct blockop_write *q, uint8_t *buf, size_t size);

/* What a reader says after the last packet; then the connection serves again. */
#define BLOCKOP_READ_STATUS_BYTES 3
void blockop_read_status(uint8_t *buf, enum hdfs_status status);

struct blockop_answer {
    enum hdfs_status status;
    bool has_checksum;              /* of reads: */
    struct checksum checksum;       /* valid */
    uint64_t chunk_offset;          /* where the first packet starts */
    char bad_link[64];              /* of writes: "ip:port" of the node that failed */
    char message[256];
};

/* The answer at BUF: bytes used, 0 if more are needed, or -EBADMSG. */
int blockop_answer_decode(const uint8_t *buf, size_t len, struct blockop_answer *ret);

/* The -errno for a status that isn't good. */
int blockop_error(enum hdfs_status status);

#endif
