/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The head of a segment file: two copies of a header, from 512 bytes each.  The first
 * byte says what is made right in them beforehand; the second cuts the file off.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/util.h"
#include "log/format.h"

#define FILE_ID 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t uuid[UUID_BYTES] = "sixteen bytes...";

static void make_right(uint8_t *copy, unsigned what)
{
    struct segment_header_disk *d = (void *)copy;

    if (what & 1) {
        memcpy(d->magic, "HLFSSEG", 8);
    }
    if (what & 2) {
        d->file = to_le64(FILE_ID);
        memcpy(d->uuid, uuid, UUID_BYTES);
    }
    if (what & 4) {
        d->version = to_le32(FORMAT_VERSION);
        d->features_incompat = to_le32(0);
    }
    if (what & 8) {
        d->crc = to_le32(crc32c(0, copy + 12, SEGMENT_HEADER_BYTES - 12));
    }
}

static void decode(const uint8_t *buf, size_t len)
{
    static uint8_t again[SEGMENT_DATA_OFFSET];
    struct segment_header h, back;
    int error = 0;
    enum segment_state state = segment_header_decode(buf, len, FILE_ID, uuid, &h, &error);

    assert(state == SEGMENT_VALID || state == SEGMENT_VOID || state == SEGMENT_DAMAGED);
    assert(error == 0 || (state == SEGMENT_VALID && error == -ENOTSUP));
    if (state != SEGMENT_VALID) {
        return;
    }
    assert(h.file == FILE_ID && memcmp(h.uuid, uuid, UUID_BYTES) == 0);
    assert(strlen(h.host) < sizeof(h.host));
    assert(strlen(h.durability) < sizeof(h.durability));
    segment_header_encode(&h, again);
    assert(segment_header_decode(again, sizeof(again), FILE_ID, uuid, &back, &error) ==
           SEGMENT_VALID && error == 0);
    assert(back.cut == h.cut && back.synced == h.synced && back.first == h.first);
    assert(back.checkpoint.file == h.checkpoint.file && back.size == h.size);
    assert(segment_seed(&back) == segment_seed(&h));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[SEGMENT_DATA_OFFSET];
    size_t len, first;

    if (size < 2) {
        return 0;
    }
    memset(buf, 0, sizeof(buf));
    len = size - 2;
    first = MIN(len, (size_t)SEGMENT_HEADER_BYTES);
    memcpy(buf, data + 2, first);
    memcpy(buf + SEGMENT_HEADER_COPY, data + 2 + first,
           MIN(len - first, (size_t)SEGMENT_HEADER_BYTES));
    make_right(buf, data[0] & 15);
    make_right(buf + SEGMENT_HEADER_COPY, data[0] >> 4);
    decode(buf, sizeof(buf) - data[1] * 32);
    return 0;
}
