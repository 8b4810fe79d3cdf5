/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/checksum.h"

#include <endian.h>
#include <isa-l/crc.h>
#include <string.h>

#include "base/crc32c.h"

bool checksum_valid(const struct checksum *c)
{
    return (c->type == HDFS_CHECKSUM_NULL || c->type == HDFS_CHECKSUM_CRC32 ||
            c->type == HDFS_CHECKSUM_CRC32C) &&
           c->chunk_bytes > 0 && c->chunk_bytes <= CHECKSUM_CHUNK_MAX;
}

static uint32_t chunk_sum(enum hdfs_checksum type, const uint8_t *data, size_t len)
{
    return type == HDFS_CHECKSUM_CRC32C ? crc32c(0, data, len) :
                                     crc32_gzip_refl(0, data, len);
}

void checksum_fill(const struct checksum *c, const void *data, size_t len, uint8_t *sums)
{
    const uint8_t *p = data;

    if (c->type == HDFS_CHECKSUM_NULL) {
        return;
    }
    for (size_t n; len > 0; p += n, len -= n, sums += sizeof(uint32_t)) {
        uint32_t sum;

        n = MIN(len, (size_t)c->chunk_bytes);
        sum = htobe32(chunk_sum(c->type, p, n));
        memcpy(sums, &sum, sizeof(sum));
    }
}

bool checksum_match(const struct checksum *c, const void *data, size_t len,
                    const uint8_t *sums)
{
    const uint8_t *p = data;

    if (c->type == HDFS_CHECKSUM_NULL) {
        return true;
    }
    for (size_t n; len > 0; p += n, len -= n, sums += sizeof(uint32_t)) {
        uint32_t sum;

        n = MIN(len, (size_t)c->chunk_bytes);
        memcpy(&sum, sums, sizeof(sum));
        if (be32toh(sum) != chunk_sum(c->type, p, n)) {
            return false;
        }
    }
    return true;
}
