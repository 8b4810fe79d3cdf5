/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stored structs: what is encoded is decoded again, and each decoder refuses what
 * docs/format.md says a reader must refuse.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "base/util.h"
#include "log/format.h"
#include "store/store.h"

#define SEED 0xFEEDBEEFu
#define EPOCH 5u
#define OFFSET 12288u
#define FILE_ID 9u

static const uint8_t uuid[UUID_BYTES] = { 1, 2, 3, 4, 5 };

static void bytes_random(struct rng *r, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)buf)[i] = (uint8_t)rng_next(r);
    }
}

/* ---- Identity ------------------------------------------------------------ */

static const struct identity an_identity = {
    .version = FORMAT_VERSION, .block_bytes = KIB(16), .segment_bytes = MIB(8),
    .created_us = 1234567890123456u, .uuid = { 9, 8, 7 },
};

static struct identity_disk *identity_new(uint8_t *buf)
{
    identity_encode(&an_identity, buf);
    return (struct identity_disk *)(void *)buf;
}

static int identity_retry(struct identity_disk *d)
{
    struct identity id;

    d->crc = to_le32(crc32c(0, (char *)d + 12, sizeof(*d) - 12));
    return identity_decode(d, sizeof(*d), &id);
}

static void identity_is_read_back(void **state _unused_)
{
    uint8_t buf[IDENTITY_BYTES];
    struct identity id;

    identity_encode(&an_identity, buf);
    assert_int_equal(identity_decode(buf, sizeof(buf), &id), 0);
    assert_int_equal(id.block_bytes, an_identity.block_bytes);
    assert_int_equal(id.segment_bytes, an_identity.segment_bytes);
    assert_int_equal(id.created_us, an_identity.created_us);
    assert_memory_equal(id.uuid, an_identity.uuid, UUID_BYTES);
}

static void identity_with_any_bit_flipped_is_refused(void **state _unused_)
{
    uint8_t buf[IDENTITY_BYTES];
    struct identity id;

    identity_encode(&an_identity, buf);
    for (unsigned bit = 0; bit < 8 * IDENTITY_BYTES; bit++) {
        bool version = bit / 8 >= 12 && bit / 8 < 16;

        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(identity_decode(buf, sizeof(buf), &id),
                         version ? -ENOTSUP : -EBADMSG);
        assert_true(!version || id.version == (FORMAT_VERSION ^ 1u << (bit - 8 * 12)));
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(identity_decode(buf, sizeof(buf) - 1, &id), -EBADMSG);
    assert_int_equal(identity_decode(buf, sizeof(buf) + 1, &id), -EBADMSG);
    assert_int_equal(identity_decode(buf, 0, &id), -EBADMSG);
}

static void identity_beyond_the_limits_is_refused(void **state _unused_)
{
    static const uint32_t blocks[] = { 0, 1, 2048, 4097, 12288, 131072, 1u << 31 };
    static const uint64_t segments[] = {
        1, 512, MIB(4) + 512, GIB(1) + 4096, UINT64_MAX,
    };
    uint8_t buf[IDENTITY_BYTES];
    struct identity_disk *d;

    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        d = identity_new(buf);
        d->block_bytes = to_le32(blocks[i]);
        assert_int_equal(identity_retry(d), -EBADMSG);
    }
    for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
        d = identity_new(buf);
        d->segment_bytes = to_le64(segments[i]);
        assert_int_equal(identity_retry(d), -EBADMSG);
    }
    d = identity_new(buf);
    d->features_incompat = to_le32(1u << 31);
    assert_int_equal(identity_retry(d), -ENOTSUP);
    d = identity_new(buf);
    d->features_compat = to_le32(~0u);
    d->features_ro = to_le32(1);        /* the opener's to look at */
    assert_int_equal(identity_retry(d), 0);
}

/* ---- Segment header ------------------------------------------------------ */

static struct segment_header a_header(void)
{
    struct segment_header h = {
        .file = FILE_ID, .epoch = EPOCH, .size = MIB(4), .first = 100, .cut = 101,
        .synced = 99, .created_us = 5, .since_us = 4, .pid = 77,
        .checkpoint = { .file = 8, .offset = 4096, .seq = 90, .bytes = 8192 },
        .footer = { .file = 7, .offset = 512, .seq = 99, .bytes = 1000 },
        .host = "here", .durability = "local", .salt = { 42 },
    };

    memcpy(h.uuid, uuid, UUID_BYTES);
    return h;
}

static void header_is_read_back(void **state _unused_)
{
    struct segment_header h = a_header(), back;
    uint8_t buf[SEGMENT_DATA_OFFSET];
    int error = 0;

    segment_header_encode(&h, buf);
    assert_int_equal(segment_header_decode(buf, sizeof(buf), FILE_ID, uuid, &back,
                                           &error), SEGMENT_VALID);
    assert_int_equal(error, 0);
    assert_int_equal(back.epoch, h.epoch);
    assert_int_equal(back.size, h.size);
    assert_int_equal(back.first, h.first);
    assert_int_equal(back.cut, h.cut);
    assert_int_equal(back.synced, h.synced);
    assert_int_equal(back.checkpoint.file, 8);
    assert_int_equal(back.checkpoint.offset, 4096);
    assert_int_equal(back.checkpoint.seq, 90);
    assert_int_equal(back.checkpoint.bytes, 8192);
    assert_int_equal(back.footer.seq, 99);
    assert_int_equal(back.created_us, 5);
    assert_int_equal(back.since_us, 4);
    assert_int_equal(back.pid, 77);
    assert_string_equal(back.host, "here");
    assert_string_equal(back.durability, "local");
    assert_int_equal(segment_seed(&back), segment_seed(&h));
    back.salt[15] ^= 1;
    assert_true(segment_seed(&back) != segment_seed(&h));
    back = h;
    back.file++;
    assert_true(segment_seed(&back) != segment_seed(&h));
    back = h;
    back.uuid[0] ^= 1;
    assert_true(segment_seed(&back) != segment_seed(&h));
}

static enum segment_state header_state(const uint8_t *buf, size_t len)
{
    struct segment_header h;
    int error = 0;
    enum segment_state state = segment_header_decode(buf, len, FILE_ID, uuid, &h, &error);

    if (state == SEGMENT_VALID) {
        assert_int_equal(h.synced, 99);
    }
    return state;
}

static void either_copy_of_a_header_counts(void **state _unused_)
{
    struct segment_header h = a_header();
    uint8_t buf[SEGMENT_DATA_OFFSET];

    segment_header_encode(&h, buf);
    for (unsigned bit = 0; bit < 8 * SEGMENT_HEADER_BYTES; bit++) {
        uint8_t mask = (uint8_t)(1u << bit % 8);

        buf[bit / 8] ^= mask;
        assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_VALID);
        buf[SEGMENT_HEADER_COPY + bit / 8] ^= mask;
        assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_DAMAGED);
        buf[bit / 8] ^= mask;
        assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_VALID);
        buf[SEGMENT_HEADER_COPY + bit / 8] ^= mask;
    }
}

static void part_of_a_header_or_none(void **state _unused_)
{
    struct segment_header h = a_header();
    uint8_t buf[SEGMENT_DATA_OFFSET], zero[SEGMENT_DATA_OFFSET] = { 0 };

    segment_header_encode(&h, buf);
    assert_int_equal(header_state(buf, SEGMENT_HEADER_BYTES), SEGMENT_VALID);
    assert_int_equal(header_state(buf, SEGMENT_HEADER_BYTES - 1), SEGMENT_VOID);
    assert_int_equal(header_state(buf, 0), SEGMENT_VOID);
    assert_int_equal(header_state(zero, sizeof(zero)), SEGMENT_VOID);
    memset(buf, 0, SEGMENT_HEADER_BYTES);       /* a crash left one copy */
    assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_VALID);
    assert_int_equal(header_state(buf, SEGMENT_HEADER_COPY + 511), SEGMENT_VOID);
    buf[SEGMENT_HEADER_COPY + 40] ^= 1;
    assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_DAMAGED);
}

static void header_of_another_file_or_volume_is_void(void **state _unused_)
{
    struct segment_header h = a_header();
    uint8_t buf[SEGMENT_DATA_OFFSET];

    h.file++;
    segment_header_encode(&h, buf);
    assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_VOID);
    h = a_header();
    h.uuid[15] ^= 1;
    segment_header_encode(&h, buf);
    assert_int_equal(header_state(buf, sizeof(buf)), SEGMENT_VOID);
}

static void header_of_a_newer_version_says_so(void **state _unused_)
{
    struct segment_header h = a_header();
    uint8_t buf[SEGMENT_DATA_OFFSET];
    struct segment_header_disk *d = (void *)buf;
    int error = 0;

    segment_header_encode(&h, buf);
    d->version = to_le32(FORMAT_VERSION + 1);
    d->crc = to_le32(crc32c(0, buf + 12, sizeof(*d) - 12));
    assert_int_equal(segment_header_decode(buf, sizeof(buf), FILE_ID, uuid, &h, &error),
                     SEGMENT_VALID);
    assert_int_equal(error, -ENOTSUP);
    d->version = to_le32(FORMAT_VERSION);
    d->features_incompat = to_le32(1);
    d->features_compat = to_le32(1);
    d->crc = to_le32(crc32c(0, buf + 12, sizeof(*d) - 12));
    assert_int_equal(segment_header_decode(buf, sizeof(buf), FILE_ID, uuid, &h, &error),
                     SEGMENT_VALID);
    assert_int_equal(error, -ENOTSUP);
}

static void names_in_a_header_end(void **state _unused_)
{
    struct segment_header h = a_header();
    uint8_t buf[SEGMENT_DATA_OFFSET];
    int error = 0;

    memset(h.host, 'h', sizeof(h.host));
    memset(h.durability, 'd', sizeof(h.durability));
    segment_header_encode(&h, buf);
    assert_int_equal(segment_header_decode(buf, sizeof(buf), FILE_ID, uuid, &h, &error),
                     SEGMENT_VALID);
    assert_int_equal(strlen(h.host), sizeof(h.host) - 1);
    assert_int_equal(strlen(h.durability), sizeof(h.durability) - 1);
}

/* ---- Records ------------------------------------------------------------- */

static uint8_t record[RECORD_HEAD_MAX];

/* A record of ENTRY_BYTES of something in `record`. */
static struct record_header record_new(uint32_t entry_bytes)
{
    struct record_header h = {
        .seq = 1000, .epoch = EPOCH, .synced = 998, .time_us = 17, .entry_count = 3,
        .entry_bytes = entry_bytes, .payload_bytes = 4096,
        .head_bytes = (uint32_t)ALIGN_UP(RECORD_HEADER_BYTES + entry_bytes, 512u),
    };
    struct rng r = { entry_bytes };

    bytes_random(&r, record, h.head_bytes);
    record_encode(record, &h, SEED, OFFSET);
    return h;
}

static int record_read(size_t len, struct record_header *ret, size_t *ret_need)
{
    return record_decode(record, len, SEED, EPOCH, OFFSET, ret, ret_need);
}

static void record_is_read_back(void **state _unused_)
{
    static const uint32_t sizes[] = { 0, 4, 100, 448, 452, 4032, RECORD_HEAD_MAX - 64 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct record_header h = record_new(sizes[i]), back;
        size_t need = 0;

        for (size_t j = RECORD_HEADER_BYTES + sizes[i]; j < h.head_bytes; j++) {
            assert_int_equal(record[j], 0);
        }
        assert_int_equal(record_read(h.head_bytes, &back, &need), 0);
        assert_memory_equal(&back, &h, sizeof(h));
        assert_int_equal(record_bytes(&back), h.head_bytes + 4096);
        assert_int_equal(record_read(RECORD_HEADER_BYTES + sizes[i], &back, &need), 0);
        if (sizes[i] > 0) {
            assert_int_equal(record_read(RECORD_HEADER_BYTES + sizes[i] - 1, &back,
                                         &need), -EAGAIN);
            assert_int_equal(need, RECORD_HEADER_BYTES + sizes[i]);
        }
        assert_int_equal(record_read(RECORD_HEADER_BYTES - 1, &back, &need), -EAGAIN);
        assert_int_equal(need, RECORD_HEADER_BYTES);
    }
}

static void record_with_any_bit_flipped_is_refused(void **state _unused_)
{
    struct record_header h = record_new(200), back;
    size_t need;

    for (unsigned bit = 0; bit < 8 * (RECORD_HEADER_BYTES + 200); bit++) {
        int res;

        record[bit / 8] ^= (uint8_t)(1u << bit % 8);
        res = record_read(sizeof(record), &back, &need);
        assert_int_equal(res, -EBADMSG);
        record[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(record_read(h.head_bytes, &back, &need), 0);
}

static void record_of_elsewhere_is_refused(void **state _unused_)
{
    struct record_header h = record_new(100), back;
    size_t need, len = h.head_bytes;

    assert_int_equal(record_decode(record, len, SEED + 1, EPOCH, OFFSET, &back, &need),
                     -EBADMSG);
    assert_int_equal(record_decode(record, len, SEED, EPOCH + 1, OFFSET, &back, &need),
                     -EBADMSG);
    assert_int_equal(record_decode(record, len, SEED, EPOCH, OFFSET + 512, &back, &need),
                     -EBADMSG);
}

/* What a right sum does not help. */
static void record_beyond_the_limits_is_refused(void **state _unused_)
{
    static const struct {
        uint32_t entry, head, payload;
    } sizes[] = {
        { 0, 0, 0 }, { 449, 512, 0 }, { 4, 513, 0 }, { 4, 512, 100 },
        { 4, RECORD_HEAD_MAX + 512, 0 }, { 4, 512, RECORD_PAYLOAD_MAX + 512 },
        { UINT32_MAX, 512, 0 }, { UINT32_MAX - 63, 512, 0 },
    };
    struct record_header_disk *d = (void *)record;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct record_header back;
        size_t need = 0;

        (void)record_new(4);
        d->entry_bytes = to_le32(sizes[i].entry);
        d->head_bytes = to_le32(sizes[i].head);
        d->payload_bytes = to_le32(sizes[i].payload);
        assert_int_equal(record_read(sizeof(record), &back, &need), -EBADMSG);
    }
}

/* ---- Entries ------------------------------------------------------------- */

#define PAYLOAD_BYTES KIB(64)

static uint8_t entries[8192];

static int next(size_t len, size_t *pos, struct entry *e)
{
    return entry_next(entries, len, pos, PAYLOAD_BYTES, BLOCK_BYTES_MIN, false, e);
}

/* The first entry of LEN bytes, alone. */
static int first(size_t len, struct entry *e)
{
    size_t pos = 0;

    return next(len, &pos, e);
}

static void entries_are_read_back(void **state _unused_)
{
    struct checkpoint c = { .replay_seq = 3, .replay_file = 2, .size = MIB(1) }, back;
    size_t len = 0, pos = 0;
    struct entry e;

    len += entry_put_data(entries + len, 77, 3, 8192);
    for (uint32_t i = 0; i < 3; i++) {
        ((struct entry_data_disk *)(void *)entries)->crc[i] = to_le32(100 + i);
    }
    len += entry_put_hole(entries + len, 5, (uint64_t)1 << 35, true);
    len += entry_put_hole(entries + len, 6, 1, false);
    len += entry_put_resize(entries + len, MIB(100));
    len += entry_put_page(entries + len, 4096, 0xABCD, 1, 2);
    len += entry_put_checkpoint(entries + len, &c, 512);
    len += entry_put_mark(entries + len);

    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.type, ENTRY_DATA);
    assert_int_equal(e.block, 77);
    assert_int_equal(e.count, 3);
    assert_int_equal(e.payload_offset, 8192);
    assert_int_equal(le32(e.crc[2]), 102);
    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.type, ENTRY_HOLE);
    assert_int_equal(e.count, (uint64_t)1 << 35);
    assert_int_equal(e.flags, 1);
    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.flags, 0);
    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.type, ENTRY_RESIZE);
    assert_int_equal(e.size, MIB(100));
    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.type, ENTRY_PAGE);
    assert_int_equal(le32(*e.crc), 0xABCD);
    assert_int_equal(e.tree, 1);
    assert_int_equal(e.level, 2);
    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.type, ENTRY_CHECKPOINT);
    assert_int_equal(checkpoint_decode(&e, &back), 0);
    assert_int_equal(back.size, MIB(1));
    assert_int_equal(next(len, &pos, &e), 1);
    assert_int_equal(e.type, ENTRY_MARK);
    assert_int_equal(next(len, &pos, &e), 0);
    assert_int_equal(pos, len);
}

static void cut_off_entries_are_refused(void **state _unused_)
{
    struct entry e;
    size_t len = entry_put_data(entries, 1, 4, 0);

    for (size_t n = 1; n < len; n++) {
        assert_int_equal(first(n, &e), -EBADMSG);
    }
    len = entry_put_hole(entries, 1, 1, false);
    for (size_t n = 1; n < len; n++) {
        assert_int_equal(first(n, &e), -EBADMSG);
    }
    /* Lengths that cannot be. */
    for (unsigned bytes = 0; bytes < 8; bytes++) {
        (void)entry_put_mark(entries);
        ((struct entry_head_disk *)(void *)entries)->bytes = to_le16((uint16_t)bytes);
        assert_int_equal(first(sizeof(entries), &e), -EBADMSG);
    }
    (void)entry_put_mark(entries);
    ((struct entry_head_disk *)(void *)entries)->bytes = to_le16(10);
    assert_int_equal(first(sizeof(entries), &e), -EBADMSG);
}

static void data_outside_its_payload_or_volume_is_refused(void **state _unused_)
{
    const uint64_t blocks = VOLUME_BYTES_MAX / BLOCK_BYTES_MIN;
    struct entry_data_disk *d = (void *)entries;
    struct entry e;
    size_t len;

    len = entry_put_data(entries, 0, 16, 0);
    assert_int_equal(first(len, &e), 1);
    len = entry_put_data(entries, 0, 17, 0);
    assert_int_equal(first(len, &e), -EBADMSG);
    len = entry_put_data(entries, 0, 16, 512);
    assert_int_equal(first(len, &e), -EBADMSG);
    len = entry_put_data(entries, 0, 1, PAYLOAD_BYTES);
    assert_int_equal(first(len, &e), -EBADMSG);
    len = entry_put_data(entries, blocks - 1, 1, 0);
    assert_int_equal(first(len, &e), 1);
    len = entry_put_data(entries, blocks - 1, 2, 0);
    assert_int_equal(first(len, &e), -EBADMSG);
    len = entry_put_data(entries, 0, 2, 0);
    d->run = to_le64((uint64_t)2 << 40);        /* three blocks, two sums */
    assert_int_equal(first(len, &e), -EBADMSG);
    d->run = to_le64(UINT64_MAX);
    assert_int_equal(first(len, &e), -EBADMSG);
    len = entry_put_data(entries, 0, 2, 0);
    d->head.sector = to_le32(UINT32_MAX);
    assert_int_equal(first(len, &e), -EBADMSG);
}

static void holes_and_sizes_outside_a_volume_are_refused(void **state _unused_)
{
    const uint64_t blocks = VOLUME_BYTES_MAX / BLOCK_BYTES_MIN;
    const struct {
        uint64_t block, count;
        int res;
    } holes[] = {
        { 0, blocks, 1 }, { blocks - 1, 1, 1 }, { 0, 0, -EBADMSG },
        { 1, blocks, -EBADMSG }, { blocks, 1, -EBADMSG }, { UINT64_MAX, 1, -EBADMSG },
        { 1, UINT64_MAX, -EBADMSG }, { UINT64_MAX, UINT64_MAX, -EBADMSG },
    };
    struct entry e;
    size_t len;

    for (size_t i = 0; i < ARRAY_SIZE(holes); i++) {
        len = entry_put_hole(entries, holes[i].block, holes[i].count, false);
        assert_int_equal(first(len, &e), holes[i].res);
    }
    len = entry_put_resize(entries, VOLUME_BYTES_MAX);
    assert_int_equal(first(len, &e), 1);
    len = entry_put_resize(entries, VOLUME_BYTES_MAX + 1);
    assert_int_equal(first(len, &e), -EBADMSG);
}

static void pages_outside_their_payload_are_refused(void **state _unused_)
{
    struct entry e;
    size_t len = entry_put_page(entries, PAYLOAD_BYTES - PAGE_BYTES, 0, 1, 0);

    assert_int_equal(first(len, &e), 1);
    len = entry_put_page(entries, PAYLOAD_BYTES - PAGE_BYTES + 512, 0, 1, 0);
    assert_int_equal(first(len, &e), -EBADMSG);
    len = entry_put_page(entries, 0, 0, 1, TREE_LEVELS_MAX);
    assert_int_equal(first(len, &e), -EBADMSG);
}

/* Classes of what this version does not know. */
static void unknown_entries_obey_their_class(void **state _unused_)
{
    struct entry_head_disk *d = (void *)entries;

    for (unsigned type = 0; type < 256; type++) {
        bool known = type >= ENTRY_DATA && type <= ENTRY_VOID;
        bool never = (type & ENTRY_UNKNOWN_INCOMPAT) || type == ENTRY_MOVE ||
                     type == ENTRY_MARKER;
        size_t pos = 0;
        struct entry e;

        if (known && type != ENTRY_MOVE && type != ENTRY_MARKER) {
            continue;
        }
        (void)entry_put_mark(entries);
        d->type = (uint8_t)type;
        assert_int_equal(first(sizeof(*d), &e), never || (type & ENTRY_UNKNOWN_RO) ?
                         -ENOTSUP : 1);
        assert_int_equal(entry_next(entries, sizeof(*d), &pos, 0, BLOCK_BYTES_MIN, true,
                                    &e), never ? -ENOTSUP : 1);
    }
}

/* ---- Checkpoints --------------------------------------------------------- */

static struct checkpoint a_checkpoint(void)
{
    struct checkpoint c = {
        .replay_seq = 10, .replay_file = 3, .size = MIB(7), .live_bytes = 99,
        .moved_next = 4, .override_count = 2, .override_crc = 0x1234,
    };

    c.roots[0] = (struct root_ref){ place_make(3, 8192, PAGE_BYTES, 1), 2 };
    c.roots[1] = (struct root_ref){ place_make(2, 4096, PAGE_BYTES, 2), 1 };
    return c;
}

static int checkpoint_again(const struct checkpoint *c, struct checkpoint *ret)
{
    size_t len = entry_put_checkpoint(entries, c, 0);
    struct entry e;
    int res = first(len, &e);

    return res < 0 ? res : checkpoint_decode(&e, ret);
}

static void checkpoint_is_read_back(void **state _unused_)
{
    struct checkpoint c = a_checkpoint(), back;

    assert_int_equal(checkpoint_again(&c, &back), 0);
    assert_memory_equal(&back, &c, sizeof(c));
}

static void impossible_checkpoints_are_refused(void **state _unused_)
{
    struct checkpoint c, back;

    c = a_checkpoint();
    c.replay_seq = 0;
    assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
    c = a_checkpoint();
    c.replay_file = 0;
    assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
    c = a_checkpoint();
    c.replay_file = STORE_MOVED;
    assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
    c = a_checkpoint();
    c.size = VOLUME_BYTES_MAX + 1;
    assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
    c = a_checkpoint();
    c.override_count = PAYLOAD_BYTES / 16 + 1;
    assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
    c.override_count = UINT32_MAX;
    assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
    for (int i = 0; i < CHECKPOINT_ROOTS; i++) {
        c = a_checkpoint();
        c.roots[i] = (struct root_ref){ PLACE_HOLE, 1 };
        assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
        c.roots[i] = (struct root_ref){ place_make(1, 0, PAGE_BYTES, 0), 0 };
        assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
        c.roots[i] = (struct root_ref){ place_make(1, 0, 8192, 0), 1 };
        assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
        c.roots[i] = (struct root_ref){ place_make(1, 0, PAGE_BYTES, 0),
                                        TREE_LEVELS_MAX + 1 };
        assert_int_equal(checkpoint_again(&c, &back), -EBADMSG);
        c.roots[i].levels = TREE_LEVELS_MAX;
        assert_int_equal(checkpoint_again(&c, &back), 0);
    }
}

/* ---- Footers ------------------------------------------------------------- */

static uint8_t footer[4096];

static uint32_t footer_new(void)
{
    uint32_t used = FOOTER_HEADER_BYTES;

    for (uint32_t i = 0; i < 5; i++) {
        struct footer_item_disk *d = (void *)(footer + used);
        uint32_t bytes = 64 + 4 * i;

        *d = (struct footer_item_disk){ to_le64(8192 + i), to_le32(bytes), to_le32(0) };
        memset(d + 1, (int)i, ALIGN_UP(bytes, 8u));
        used += (uint32_t)sizeof(*d) + ALIGN_UP(bytes, 8u);
    }
    footer_encode(footer, used, 20, 24, 5, SEED, OFFSET);
    return used;
}

static void footer_is_read_back(void **state _unused_)
{
    uint32_t bytes = footer_new();
    size_t pos = FOOTER_HEADER_BYTES, len;
    struct footer_disk f;
    const void *rec;
    uint64_t offset;

    assert_int_equal(footer_decode(footer, sizeof(footer), SEED, OFFSET, &f), 0);
    assert_int_equal(le32(f.bytes), bytes);
    assert_int_equal(le64(f.first), 20);
    assert_int_equal(le64(f.last), 24);
    assert_int_equal(le32(f.records), 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(footer_next(footer, bytes, &pos, &offset, &rec, &len), 1);
        assert_int_equal(offset, 8192 + i);
        assert_int_equal(len, 64 + 4 * i);
        assert_int_equal(*(const uint8_t *)rec, i);
    }
    assert_int_equal(footer_next(footer, bytes, &pos, &offset, &rec, &len), 0);
}

static void footer_with_any_bit_flipped_is_refused(void **state _unused_)
{
    uint32_t bytes = footer_new();
    struct footer_disk f;

    for (unsigned bit = 0; bit < 8 * bytes; bit++) {
        footer[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(footer_decode(footer, sizeof(footer), SEED, OFFSET, &f),
                         -EBADMSG);
        footer[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < bytes; len++) {
        assert_int_equal(footer_decode(footer, len, SEED, OFFSET, &f), -EBADMSG);
    }
    assert_int_equal(footer_decode(footer, bytes, SEED + 1, OFFSET, &f), -EBADMSG);
    assert_int_equal(footer_decode(footer, bytes, SEED, OFFSET + 512, &f), -EBADMSG);
}

static void items_outside_a_footer_are_refused(void **state _unused_)
{
    static const uint32_t lengths[] = { 4096, UINT32_MAX, UINT32_MAX - 6 };

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint32_t bytes = footer_new();
        struct footer_item_disk *d = (void *)(footer + FOOTER_HEADER_BYTES);
        size_t pos = FOOTER_HEADER_BYTES, len;
        const void *rec;
        uint64_t offset;

        d->bytes = to_le32(lengths[i]);
        assert_int_equal(footer_next(footer, bytes, &pos, &offset, &rec, &len), -EBADMSG);
        pos = bytes - 8;        /* less than an item */
        assert_int_equal(footer_next(footer, bytes, &pos, &offset, &rec, &len), -EBADMSG);
    }
}

/* ---- Places -------------------------------------------------------------- */

static void place_holds_what_is_put_in(void **state _unused_)
{
    struct place p = place_make(STORE_SEGNO_MAX | STORE_MOVED, PLACE_OFFSET_MAX, KIB(64),
                                0xDEADBEEF);

    assert_int_equal(place_file(p), STORE_SEGNO_MAX | STORE_MOVED);
    assert_int_equal(place_offset(p), PLACE_OFFSET_MAX);
    assert_int_equal(place_stored(p), KIB(64));
    assert_int_equal(place_crc(p), 0xDEADBEEF);
    assert_int_equal(place_codec(p) + place_index(p) + place_origin(p), 0);
    assert_true(place_valid(p, KIB(64)));
    assert_false(place_valid(p, KIB(4)));
    assert_false(place_is_hole(p));
    assert_true(place_is_hole(PLACE_HOLE));
    assert_false(place_valid(PLACE_HOLE, 0));
    p.w0 |= (uint64_t)1 << 61;          /* a codec */
    assert_false(place_valid(p, KIB(64)));
    p = place_make(1, 0, 4096, 0);
    p.w1 |= 1u << 21;                   /* an index in a run */
    assert_false(place_valid(p, 4096));
    p = place_make(1, 0, 4096, 0);
    p.w1 |= 1u << 31;                   /* a spare bit */
    assert_false(place_valid(p, 4096));
    p = place_make(STORE_MOVED, 0, 4096, 0);    /* no segment has number 0 */
    assert_false(place_valid(p, 4096));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_is_read_back),
        cmocka_unit_test(identity_with_any_bit_flipped_is_refused),
        cmocka_unit_test(identity_beyond_the_limits_is_refused),
        cmocka_unit_test(header_is_read_back),
        cmocka_unit_test(either_copy_of_a_header_counts),
        cmocka_unit_test(part_of_a_header_or_none),
        cmocka_unit_test(header_of_another_file_or_volume_is_void),
        cmocka_unit_test(header_of_a_newer_version_says_so),
        cmocka_unit_test(names_in_a_header_end),
        cmocka_unit_test(record_is_read_back),
        cmocka_unit_test(record_with_any_bit_flipped_is_refused),
        cmocka_unit_test(record_of_elsewhere_is_refused),
        cmocka_unit_test(record_beyond_the_limits_is_refused),
        cmocka_unit_test(entries_are_read_back),
        cmocka_unit_test(cut_off_entries_are_refused),
        cmocka_unit_test(data_outside_its_payload_or_volume_is_refused),
        cmocka_unit_test(holes_and_sizes_outside_a_volume_are_refused),
        cmocka_unit_test(pages_outside_their_payload_are_refused),
        cmocka_unit_test(unknown_entries_obey_their_class),
        cmocka_unit_test(checkpoint_is_read_back),
        cmocka_unit_test(impossible_checkpoints_are_refused),
        cmocka_unit_test(footer_is_read_back),
        cmocka_unit_test(footer_with_any_bit_flipped_is_refused),
        cmocka_unit_test(items_outside_a_footer_are_refused),
        cmocka_unit_test(place_holds_what_is_put_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
