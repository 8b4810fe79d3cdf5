/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file "volume": refused, or an identity that keeps to the limits that the engine
 * relies on.  The first byte says what is made right beforehand.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/util.h"
#include "log/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *buf, size_t len)
{
    uint8_t again[IDENTITY_BYTES];
    struct identity id, back;
    int res = identity_decode(buf, len, &id);

    assert(res == 0 || res == -EBADMSG || res == -ENOTSUP);
    if (res < 0) {
        return;
    }
    assert(id.version == FORMAT_VERSION);
    assert(id.block_bytes >= BLOCK_BYTES_MIN && id.block_bytes <= BLOCK_BYTES_MAX);
    assert((id.block_bytes & (id.block_bytes - 1)) == 0);
    assert(id.segment_bytes <= SEGMENT_BYTES_MAX && id.segment_bytes % 4096 == 0);
    identity_encode(&id, again);
    assert(identity_decode(again, sizeof(again), &back) == 0);
    assert(back.features_ro == id.features_ro && back.created_us == id.created_us);
    assert(memcmp(back.uuid, id.uuid, UUID_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t buf[IDENTITY_BYTES] = { 0 };
    struct identity_disk *d = (void *)buf;

    if (size == 0) {
        return 0;
    }
    decode(data + 1, size - 1);
    memcpy(buf, data + 1, MIN(size - 1, sizeof(buf)));
    if (data[0] & 1) {
        memcpy(d->magic, "HLFSVOL", 8);
    }
    if (data[0] & 2) {
        d->version = to_le32(FORMAT_VERSION);
    }
    if (data[0] & 4) {
        d->crc = to_le32(crc32c(0, buf + 12, sizeof(buf) - 12));
    }
    decode(buf, sizeof(buf));
    return 0;
}
