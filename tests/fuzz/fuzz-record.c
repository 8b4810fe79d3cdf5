/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record: header, entries, and the checkpoint among them.  The first byte says
 * whether the sum is made right, how large blocks are, and who reads.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "log/format.h"
#include "store/store.h"

#define SEED 0x12345678u
#define EPOCH 3u
#define OFFSET 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void checkpoint_try(const struct entry *e)
{
    struct checkpoint c;
    int res = checkpoint_decode(e, &c);

    assert(res == 0 || res == -EBADMSG);
    if (res < 0) {
        return;
    }
    assert(c.size <= VOLUME_BYTES_MAX && c.replay_seq > 0 && c.replay_file > 0);
    for (int i = 0; i < CHECKPOINT_ROOTS; i++) {
        assert(c.roots[i].levels <= TREE_LEVELS_MAX);
        assert(c.roots[i].levels == 0 || place_valid(c.roots[i].place, PAGE_BYTES));
    }
}

/* What an accepted entry points at is there. */
static void entry_check(const struct entry *e, const struct record_header *h,
                        uint32_t block_bytes)
{
    uint64_t bytes = e->type == ENTRY_DATA ? e->count * block_bytes :
                     e->type == ENTRY_PAGE ? PAGE_BYTES : 0;
    uint32_t sum = 0;

    if (e->type == ENTRY_CHECKPOINT) {
        bytes = le32(e->checkpoint->override_count) *
                (uint64_t)sizeof(struct usage_override_disk);
        checkpoint_try(e);
    }
    assert(bytes == 0 || e->payload_offset + bytes <= h->payload_bytes);
    if (e->type == ENTRY_DATA || e->type == ENTRY_HOLE) {
        assert(e->count > 0);
        assert(e->block + e->count <= VOLUME_BYTES_MAX / block_bytes);
    }
    if (e->type == ENTRY_DATA) {
        for (uint64_t i = 0; i < e->count; i++) {
            sum += le32(e->crc[i]);     /* all of it may be read */
        }
    }
    assert(e->type != ENTRY_RESIZE || e->size <= VOLUME_BYTES_MAX);
    assert(e->type != ENTRY_PAGE || e->level < TREE_LEVELS_MAX);
    (void)sum;
}

static void entries_walk(const uint8_t *buf, const struct record_header *h,
                         uint32_t block_bytes, bool read_only)
{
    size_t pos = 0, before = 0;
    struct entry e;
    int res;

    while ((res = entry_next(buf + RECORD_HEADER_BYTES, h->entry_bytes, &pos,
                             h->payload_bytes, block_bytes, read_only, &e)) == 1) {
        assert(pos > before && pos <= h->entry_bytes);
        before = pos;
        entry_check(&e, h, block_bytes);
    }
    assert(res == 0 || res == -EBADMSG || res == -ENOTSUP);
}

static void decode(const uint8_t *data, size_t size, uint32_t block_bytes, bool read_only)
{
    struct record_header h;
    size_t need = 0;
    int res = record_decode(data, size, SEED, EPOCH, OFFSET, &h, &need);

    assert(res == 0 || res == -EBADMSG || (res == -EAGAIN && need > size));
    if (res == 0) {
        assert(h.head_bytes >= RECORD_HEADER_BYTES + h.entry_bytes);
        assert(h.head_bytes <= RECORD_HEAD_MAX && h.payload_bytes <= RECORD_PAYLOAD_MAX);
        assert(RECORD_HEADER_BYTES + h.entry_bytes <= size);
        entries_walk(data, &h, block_bytes, read_only);
    }
}

/* A copy with a right sum, of its exact length so that reading beyond it shows. */
static void decode_right(const uint8_t *data, size_t size, uint32_t block_bytes,
                         bool read_only)
{
    const struct record_header_disk *d = (const void *)data;
    size_t entries = size - RECORD_HEADER_BYTES;
    struct record_header h = {
        .seq = le64(d->seq), .epoch = EPOCH, .synced = le64(d->synced),
        .entry_bytes = (uint32_t)entries, .entry_count = le32(d->entry_count),
        .head_bytes = (uint32_t)ALIGN_UP(size, (size_t)PLACE_UNIT),
        .payload_bytes = le32(d->payload_bytes) % (RECORD_PAYLOAD_MAX + 1) & ~511u,
    };
    uint8_t *buf = calloc(1, h.head_bytes), *exact;

    if (!buf) {
        return;
    }
    memcpy(buf + RECORD_HEADER_BYTES, data + RECORD_HEADER_BYTES, entries);
    record_encode(buf, &h, SEED, OFFSET);
    exact = malloc(size);
    if (exact) {
        memcpy(exact, buf, size);
        assert(record_decode(exact, size, SEED, EPOCH, OFFSET, &h, &entries) == 0);
        decode(exact, size, block_bytes, read_only);
        assert(record_decode(exact, size, SEED ^ 1, EPOCH, OFFSET, &h, &entries) < 0);
        assert(record_decode(exact, size, SEED, EPOCH, OFFSET + 512, &h, &entries) < 0);
    }
    free(exact);
    free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t block_bytes = BLOCK_BYTES_MIN << (size > 0 ? data[0] >> 2 & 3 : 0);

    if (size < 1) {
        return 0;
    }
    if (!(data[0] & 1)) {
        decode(data + 1, size - 1, block_bytes, data[0] & 2);
    } else if (size > RECORD_HEADER_BYTES && size <= RECORD_HEAD_MAX) {
        decode_right(data + 1, size - 1, block_bytes, data[0] & 2);
    }
    return 0;
}
