/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log/format.h"

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/util.h"
#include "store/store.h"

#ifdef HLFS_PLANT_BUGS
unsigned format_bugs;
#endif

static const uint8_t identity_magic[8] = "HLFSVOL";
static const uint8_t segment_magic[8] = "HLFSSEG";

static bool all_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf;

    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* ---- Identity ------------------------------------------------------------- */

void identity_encode(const struct identity *id, void *buf)
{
    struct identity_disk d = {
        .version = to_le32(id->version),
        .features_incompat = to_le32(id->features_incompat),
        .features_ro = to_le32(id->features_ro),
        .block_bytes = to_le32(id->block_bytes),
        .segment_bytes = to_le64(id->segment_bytes),
        .created_us = to_le64(id->created_us),
    };

    memcpy(d.magic, identity_magic, sizeof(d.magic));
    memcpy(d.uuid, id->uuid, UUID_BYTES);
    d.crc = to_le32(crc32c(0, (char *)&d + 12, sizeof(d) - 12));
    memcpy(buf, &d, sizeof(d));
}

static bool power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

int identity_decode(const void *buf, size_t len, struct identity *ret)
{
    const struct identity_disk *d = buf;
    uint64_t segment_bytes;
    uint32_t block_bytes;

    if (len != sizeof(*d) || memcmp(d->magic, identity_magic, 8) != 0) {
        return -EBADMSG;
    }
    *ret = (struct identity){ .version = le32(d->version) };
    if (ret->version != FORMAT_VERSION) {
        return -ENOTSUP;
    }
    if (le32(d->crc) != crc32c(0, (const char *)buf + 12, sizeof(*d) - 12)) {
        return -EBADMSG;
    }
    ret->features_incompat = le32(d->features_incompat);
    if (ret->features_incompat & ~FEATURES_INCOMPAT_KNOWN) {
        return -ENOTSUP;
    }
    block_bytes = le32(d->block_bytes);
    segment_bytes = le64(d->segment_bytes);
    if (!power_of_two(block_bytes) || block_bytes < BLOCK_BYTES_MIN ||
        block_bytes > BLOCK_BYTES_MAX || segment_bytes > SEGMENT_BYTES_MAX ||
        !IS_ALIGNED(segment_bytes, 4096)) {
        return -EBADMSG;
    }
    *ret = (struct identity){
        .version = le32(d->version),
        .features_incompat = le32(d->features_incompat),
        .features_ro = le32(d->features_ro),
        .block_bytes = block_bytes,
        .segment_bytes = segment_bytes,
        .created_us = le64(d->created_us),
    };
    memcpy(ret->uuid, d->uuid, UUID_BYTES);
    return 0;
}

/* ---- Segment header ------------------------------------------------------- */

static struct record_ref_disk ref_encode(const struct record_ref *r)
{
    return (struct record_ref_disk){
        .file = to_le64(r->file),
        .offset = to_le64(r->offset),
        .seq = to_le64(r->seq),
        .bytes = to_le32(r->bytes),
    };
}

static struct record_ref ref_decode(const struct record_ref_disk *d)
{
    return (struct record_ref){
        .file = le64(d->file),
        .offset = le64(d->offset),
        .seq = le64(d->seq),
        .bytes = le32(d->bytes),
    };
}

void segment_header_encode(const struct segment_header *h, void *buf)
{
    struct segment_header_disk d = {
        .version = to_le32(FORMAT_VERSION),
        .features_incompat = to_le32(FEATURES_INCOMPAT_KNOWN),
        .features_ro = to_le32(h->features_ro),
        .pid = to_le32(h->pid),
        .file = to_le64(h->file),
        .epoch = to_le64(h->epoch),
        .size = to_le64(h->size),
        .first = to_le64(h->first),
        .cut = to_le64(h->cut),
        .synced = to_le64(h->synced),
        .checkpoint = ref_encode(&h->checkpoint),
        .footer = ref_encode(&h->footer),
        .created_us = to_le64(h->created_us),
        .since_us = to_le64(h->since_us),
        .unfinished_us = to_le64(h->unfinished_us),
    };

    memcpy(d.magic, segment_magic, sizeof(d.magic));
    memcpy(d.uuid, h->uuid, UUID_BYTES);
    memcpy(d.salt, h->salt, SALT_BYTES);
    memcpy(d.host, h->host, sizeof(d.host));
    memcpy(d.durability, h->durability, sizeof(d.durability));
    d.crc = to_le32(crc32c(0, (char *)&d + 12, sizeof(d) - 12));
    memset(buf, 0, SEGMENT_DATA_OFFSET);
    memcpy(buf, &d, sizeof(d));
    memcpy((char *)buf + SEGMENT_HEADER_COPY, &d, sizeof(d));
}

static enum segment_state header_copy_decode(const void *buf, uint64_t file,
                                             const uint8_t *uuid,
                                             struct segment_header *ret, int *ret_error)
{
    const struct segment_header_disk *d = buf;

    if (all_zero(buf, sizeof(*d))) {
        return SEGMENT_VOID;
    }
    if (memcmp(d->magic, segment_magic, 8) != 0 ||
        le32(d->crc) != crc32c(0, (const char *)buf + 12, sizeof(*d) - 12)) {
        return SEGMENT_DAMAGED;
    }
    if (le64(d->file) != file || memcmp(d->uuid, uuid, UUID_BYTES) != 0) {
        return SEGMENT_VOID;    /* of the file's former life, or of another volume */
    }
    *ret_error = le32(d->version) != FORMAT_VERSION ||
                 (le32(d->features_incompat) & ~FEATURES_INCOMPAT_KNOWN) ? -ENOTSUP : 0;
    *ret = (struct segment_header){
        .file = file,
        .epoch = le64(d->epoch),
        .size = le64(d->size),
        .first = le64(d->first),
        .cut = le64(d->cut),
        .synced = le64(d->synced),
        .checkpoint = ref_decode(&d->checkpoint),
        .footer = ref_decode(&d->footer),
        .created_us = le64(d->created_us),
        .since_us = le64(d->since_us),
        .unfinished_us = le64(d->unfinished_us),
        .pid = le32(d->pid),
        .features_ro = le32(d->features_ro),
    };
    memcpy(ret->uuid, d->uuid, UUID_BYTES);
    memcpy(ret->salt, d->salt, SALT_BYTES);
    memcpy(ret->host, d->host, sizeof(ret->host));
    ret->host[sizeof(ret->host) - 1] = '\0';
    memcpy(ret->durability, d->durability, sizeof(ret->durability));
    ret->durability[sizeof(ret->durability) - 1] = '\0';
    return SEGMENT_VALID;
}

enum segment_state segment_header_decode(const void *buf, size_t len, uint64_t file,
                                         const uint8_t *uuid, struct segment_header *ret,
                                         int *ret_error)
{
    enum segment_state worst = SEGMENT_VOID;

    for (size_t at = 0; at + SEGMENT_HEADER_BYTES <= len && at < SEGMENT_DATA_OFFSET;
         at += SEGMENT_HEADER_COPY) {
        enum segment_state s = header_copy_decode((const char *)buf + at, file, uuid,
                                                  ret, ret_error);

        if (s == SEGMENT_VALID) {
            return s;
        }
        if (s == SEGMENT_DAMAGED) {
            worst = s;
        }
    }
    return worst;
}

uint32_t segment_seed(const struct segment_header *h)
{
    uint32_t crc = crc32c(0, h->salt, SALT_BYTES);
    le64_t file = to_le64(h->file);

#ifdef HLFS_PLANT_BUGS
    if (format_bugs & 1u << FORMAT_BUG_SALT_IGNORED) {
        return 0;
    }
#endif
    crc = crc32c(crc, h->uuid, UUID_BYTES);
    return crc32c(crc, &file, sizeof(file));
}

/* ---- Records -------------------------------------------------------------- */

/* The sum of LEN bytes that follow an 8-byte magic-and-sum at OFFSET of a segment. */
static uint32_t seeded_sum(const void *buf, size_t len, uint32_t seed, uint64_t offset)
{
    le64_t at = to_le64(offset);

    return crc32c(crc32c(seed, &at, sizeof(at)), (const char *)buf + 8, len - 8);
}

void record_encode(void *buf, const struct record_header *h, uint32_t seed,
                   uint64_t offset)
{
    struct record_header_disk *d = buf;
    size_t used = RECORD_HEADER_BYTES + h->entry_bytes;

    *d = (struct record_header_disk){
        .magic = to_le32(RECORD_MAGIC),
        .seq = to_le64(h->seq),
        .epoch = to_le64(h->epoch),
        .synced = to_le64(h->synced),
        .time_us = to_le64(h->time_us),
        .entry_bytes = to_le32(h->entry_bytes),
        .entry_count = to_le32(h->entry_count),
        .head_bytes = to_le32(h->head_bytes),
        .payload_bytes = to_le32(h->payload_bytes),
    };
    memset((char *)buf + used, 0, h->head_bytes - used);
    d->crc = to_le32(seeded_sum(buf, used, seed, offset));
}

int record_decode(const void *buf, size_t len, uint32_t seed, uint64_t epoch,
                  uint64_t offset, struct record_header *ret, size_t *ret_need)
{
    const struct record_header_disk *d = buf;
    struct record_header h;

    if (len < RECORD_HEADER_BYTES) {
        *ret_need = RECORD_HEADER_BYTES;
        return -EAGAIN;
    }
    if (le32(d->magic) != RECORD_MAGIC) {
        return -EBADMSG;
    }
    h = (struct record_header){
        .seq = le64(d->seq),
        .epoch = le64(d->epoch),
        .synced = le64(d->synced),
        .time_us = le64(d->time_us),
        .entry_bytes = le32(d->entry_bytes),
        .entry_count = le32(d->entry_count),
        .head_bytes = le32(d->head_bytes),
        .payload_bytes = le32(d->payload_bytes),
    };
    if (h.head_bytes > RECORD_HEAD_MAX || h.payload_bytes > RECORD_PAYLOAD_MAX ||
        h.head_bytes == 0 || !IS_ALIGNED(h.head_bytes | h.payload_bytes, PLACE_UNIT) ||
        h.entry_bytes > h.head_bytes - RECORD_HEADER_BYTES) {
        return -EBADMSG;
    }
#ifdef HLFS_PLANT_BUGS
    if (format_bugs & 1u << FORMAT_BUG_EPOCH_IGNORED) {
        epoch = h.epoch;
    }
#endif
    if (h.epoch != epoch) {
        return -EBADMSG;
    }
    if (len < RECORD_HEADER_BYTES + h.entry_bytes) {
        *ret_need = RECORD_HEADER_BYTES + h.entry_bytes;
        return -EAGAIN;
    }
    if (le32(d->crc) != seeded_sum(buf, RECORD_HEADER_BYTES + h.entry_bytes, seed,
                                   offset)) {
        return -EBADMSG;
    }
    *ret = h;
    return 0;
}

/* ---- Entries -------------------------------------------------------------- */

#define RUN_BLOCK_BITS 40

static struct entry_head_disk entry_head(uint8_t type, uint8_t flags, size_t bytes,
                                         uint32_t payload_offset)
{
    return (struct entry_head_disk){
        .type = type,
        .flags = flags,
        .bytes = to_le16((uint16_t)bytes),
        .sector = to_le32(payload_offset / PLACE_UNIT),
    };
}

/* The sums are the caller's to fill in. */
size_t entry_put_data(void *buf, uint64_t block, uint32_t count, uint32_t payload_offset)
{
    struct entry_data_disk *d = buf;
    size_t bytes = ENTRY_DATA_BYTES(count);

    d->head = entry_head(ENTRY_DATA, 0, bytes, payload_offset);
    d->run = to_le64(block | (uint64_t)(count - 1) << RUN_BLOCK_BITS);
    return bytes;
}

size_t entry_put_hole(void *buf, uint64_t block, uint64_t count, bool discard)
{
    struct entry_hole_disk *d = buf;

    d->head = entry_head(ENTRY_HOLE, discard, sizeof(*d), 0);
    d->block = to_le64(block);
    d->count = to_le64(count);
    return sizeof(*d);
}

size_t entry_put_resize(void *buf, uint64_t size)
{
    struct entry_resize_disk *d = buf;

    d->head = entry_head(ENTRY_RESIZE, 0, sizeof(*d), 0);
    d->size = to_le64(size);
    return sizeof(*d);
}

size_t entry_put_page(void *buf, uint32_t payload_offset, uint32_t crc, uint8_t tree,
                      uint8_t level)
{
    struct entry_page_disk *d = buf;

    *d = (struct entry_page_disk){
        .head = entry_head(ENTRY_PAGE, 0, sizeof(*d), payload_offset),
        .crc = to_le32(crc),
        .tree = tree,
        .level = level,
    };
    return sizeof(*d);
}

size_t entry_put_checkpoint(void *buf, const struct checkpoint *c,
                            uint32_t payload_offset)
{
    struct entry_checkpoint_disk d = {
        .head = entry_head(ENTRY_CHECKPOINT, 0, sizeof(d), payload_offset),
        .replay_seq = to_le64(c->replay_seq),
        .replay_file = to_le64(c->replay_file),
        .size = to_le64(c->size),
        .live_bytes = to_le64(c->live_bytes),
        .moved_next = to_le64(c->moved_next),
        .override_count = to_le32(c->override_count),
        .override_crc = to_le32(c->override_crc),
        .tree_pages = to_le64(c->tree_pages),
    };

    for (int i = 0; i < CHECKPOINT_ROOTS; i++) {
        d.roots[i].w0 = to_le64(c->roots[i].place.w0);
        d.roots[i].w1 = to_le64(c->roots[i].place.w1);
        d.roots[i].levels = to_le32(c->roots[i].levels);
    }
    memcpy(buf, &d, sizeof(d));
    return sizeof(d);
}

size_t entry_put_mark(void *buf)
{
    struct entry_head_disk d = entry_head(ENTRY_MARK, 0, sizeof(d), 0);

    memcpy(buf, &d, sizeof(d));
    return sizeof(d);
}

/* Do COUNT units of UNIT bytes at OFFSET lie inside TOTAL? */
static bool inside(uint64_t offset, uint64_t count, uint64_t unit, uint64_t total)
{
    return offset <= total && count <= (total - offset) / unit;
}

static int data_decode(const struct entry_data_disk *d, size_t bytes, uint32_t payload,
                       uint32_t block_bytes, struct entry *e)
{
    uint64_t run = le64(d->run);

    e->block = run & (((uint64_t)1 << RUN_BLOCK_BITS) - 1);
    e->count = (run >> RUN_BLOCK_BITS) + 1;
    e->crc = d->crc;
    if (bytes != ENTRY_DATA_BYTES(e->count) ||
        !inside(e->payload_offset, e->count, block_bytes, payload) ||
        e->block + e->count > VOLUME_BYTES_MAX / block_bytes) {
        return -EBADMSG;
    }
    return 1;
}

static int hole_decode(const struct entry_hole_disk *d, uint32_t block_bytes,
                       struct entry *e)
{
    uint64_t blocks = VOLUME_BYTES_MAX / block_bytes;

    e->block = le64(d->block);
    e->count = le64(d->count);
    if (e->count == 0 || e->block > blocks || e->count > blocks - e->block) {
        return -EBADMSG;
    }
    return 1;
}

static int page_decode(const struct entry_page_disk *d, uint32_t payload,
                       struct entry *e)
{
    e->crc = &d->crc;
    e->tree = d->tree;
    e->level = d->level;
    return inside(e->payload_offset, 1, PAGE_BYTES, payload) &&
           e->level < TREE_LEVELS_MAX ? 1 : -EBADMSG;
}

static int unknown_decode(uint8_t type, bool read_only)
{
    if ((type & ENTRY_UNKNOWN_INCOMPAT) || ((type & ENTRY_UNKNOWN_RO) && !read_only) ||
        type == ENTRY_MOVE || type == ENTRY_MARKER) {
        return -ENOTSUP;
    }
    return 1;
}

static size_t entry_bytes_least(uint8_t type)
{
    switch (type) {
    case ENTRY_DATA:
        return sizeof(struct entry_data_disk) + 4;
    case ENTRY_HOLE:
        return sizeof(struct entry_hole_disk);
    case ENTRY_RESIZE:
        return sizeof(struct entry_resize_disk);
    case ENTRY_PAGE:
        return sizeof(struct entry_page_disk);
    case ENTRY_CHECKPOINT:
    case ENTRY_VOID:
        return sizeof(struct entry_checkpoint_disk);
    default:
        return sizeof(struct entry_head_disk);
    }
}

int entry_next(const void *buf, size_t len, size_t *pos, uint32_t payload_bytes,
               uint32_t block_bytes, bool read_only, struct entry *ret)
{
    const void *at = (const char *)buf + *pos;
    const struct entry_head_disk *head = at;
    size_t left = len - *pos, bytes;

    if (left == 0) {
        return 0;
    }
    if (left < sizeof(*head)) {
        return -EBADMSG;
    }
    bytes = le16(head->bytes);
    if (bytes > left || bytes < entry_bytes_least(head->type) || bytes % 4 != 0) {
        return -EBADMSG;
    }
    *pos += bytes;
    *ret = (struct entry){ .type = head->type, .flags = head->flags };
    if (le32(head->sector) > RECORD_PAYLOAD_MAX / PLACE_UNIT) {
        return -EBADMSG;
    }
    ret->payload_offset = le32(head->sector) * PLACE_UNIT;

    switch (head->type) {
    case ENTRY_DATA:
        return data_decode(at, bytes, payload_bytes, block_bytes, ret);
    case ENTRY_HOLE:
        return hole_decode(at, block_bytes, ret);
    case ENTRY_RESIZE:
        ret->size = le64(((const struct entry_resize_disk *)at)->size);
        return ret->size <= VOLUME_BYTES_MAX ? 1 : -EBADMSG;
    case ENTRY_PAGE:
        return page_decode(at, payload_bytes, ret);
    case ENTRY_CHECKPOINT:
        ret->checkpoint = at;
        return inside(ret->payload_offset, le32(ret->checkpoint->override_count),
                      sizeof(struct usage_override_disk), payload_bytes) ? 1 : -EBADMSG;
    case ENTRY_MARK:
    case ENTRY_VOID:
        return 1;
    default:
        return unknown_decode(head->type, read_only);
    }
}

int checkpoint_decode(const struct entry *e, struct checkpoint *ret)
{
    const struct entry_checkpoint_disk *d = e->checkpoint;

    *ret = (struct checkpoint){
        .replay_seq = le64(d->replay_seq),
        .replay_file = le64(d->replay_file),
        .size = le64(d->size),
        .live_bytes = le64(d->live_bytes),
        .moved_next = le64(d->moved_next),
        .override_count = le32(d->override_count),
        .override_crc = le32(d->override_crc),
        .tree_pages = le64(d->tree_pages),
    };
    for (int i = 0; i < CHECKPOINT_ROOTS; i++) {
        struct root_ref *r = &ret->roots[i];

        r->place = (struct place){ le64(d->roots[i].w0), le64(d->roots[i].w1) };
        r->levels = le32(d->roots[i].levels);
        if (r->levels > TREE_LEVELS_MAX || place_is_hole(r->place) != (r->levels == 0) ||
            (r->levels > 0 && !place_valid(r->place, PAGE_BYTES))) {
            return -EBADMSG;
        }
    }
    if (ret->size > VOLUME_BYTES_MAX || ret->replay_file == 0 ||
        ret->replay_file > STORE_SEGNO_MAX || ret->replay_seq == 0 ||
        ret->replay_seq > SEQ_MAX) {
        return -EBADMSG;
    }
    return 0;
}

/* ---- Footer --------------------------------------------------------------- */

void footer_encode(void *buf, uint32_t bytes, uint64_t first, uint64_t last,
                   uint32_t records, uint32_t seed, uint64_t offset)
{
    struct footer_disk *d = buf;

    *d = (struct footer_disk){
        .magic = to_le32(FOOTER_MAGIC),
        .first = to_le64(first),
        .last = to_le64(last),
        .records = to_le32(records),
        .bytes = to_le32(bytes),
    };
    d->crc = to_le32(seeded_sum(buf, bytes, seed, offset));
}

int footer_decode(const void *buf, size_t len, uint32_t seed, uint64_t offset,
                  struct footer_disk *ret)
{
    const struct footer_disk *d = buf;

    if (len < FOOTER_HEADER_BYTES || le32(d->magic) != FOOTER_MAGIC ||
        le32(d->bytes) < FOOTER_HEADER_BYTES || le32(d->bytes) > len ||
        le32(d->crc) != seeded_sum(buf, le32(d->bytes), seed, offset)) {
        return -EBADMSG;
    }
    *ret = *d;
    return 0;
}

int footer_next(const void *buf, size_t len, size_t *pos, uint64_t *ret_offset,
                const void **ret_record, size_t *ret_len)
{
    const struct footer_item_disk *d = (const void *)((const char *)buf + *pos);
    size_t left = len - *pos;

    if (left == 0) {
        return 0;
    }
    if (left < sizeof(*d) || le32(d->bytes) > left - sizeof(*d) ||
        ALIGN_UP((size_t)le32(d->bytes), 8) > left - sizeof(*d)) {
        return -EBADMSG;
    }
    *ret_offset = le64(d->offset);
    *ret_record = d + 1;
    *ret_len = le32(d->bytes);
    *pos += sizeof(*d) + ALIGN_UP((size_t)le32(d->bytes), 8);
    return 1;
}
