/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checksum.h - the sums HDFS keeps for each chunk of a block: CRC-32C, CRC-32, none.
 *
 * Stored and sent big-endian, one for each chunk; the last chunk of a block may be
 * short.  The type and chunk size come from the NameNode (writes) or the DataNode
 * (reads), so they are checked by checksum_valid() first.  Usable from any thread.
 * (Facts: org.apache.hadoop.util.DataChecksum.)
 */
#ifndef HLFS_HDFS_CHECKSUM_H
#define HLFS_HDFS_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"
#include "hdfs/types.h"

#define CHECKSUM_CHUNK_MAX ((uint32_t)1 << 20)  /* ours: the usual one is 512 */

struct checksum {
    enum hdfs_checksum type;
    uint32_t chunk_bytes;
};

/* A type we know, and a chunk of 1 to CHECKSUM_CHUNK_MAX bytes. */
bool checksum_valid(const struct checksum *c);

/* Bytes of the sum of one chunk. */
static inline size_t checksum_bytes(const struct checksum *c)
{
    return c->type == HDFS_CHECKSUM_NULL ? 0 : 4;
}

/* Bytes of the sums of LEN bytes of data that start a chunk. */
static inline size_t checksum_bytes_for(const struct checksum *c, size_t len)
{
    return DIV_ROUND_UP(len, (size_t)c->chunk_bytes) * checksum_bytes(c);
}

/* Write the sums of DATA, checksum_bytes_for() bytes, to SUMS. */
void checksum_fill(const struct checksum *c, const void *data, size_t len, uint8_t *sums);

/* All of DATA's chunks match SUMS. */
bool checksum_match(const struct checksum *c, const void *data, size_t len,
                    const uint8_t *sums);

#endif
