/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log/scan.h"

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/util.h"

/*
 * Records that follow each other closely are read many at a time; where the payload
 * is large only the heads are.
 */
#define FAR_BYTES KIB(256)          /* a record this long is passed over */
#define READ_BYTES MIB(1)
#define READ_HEAD_BYTES KIB(16)     /* a head of ours is 4 KiB */
#define FOOTER_BYTES_MAX MIB(64)

void scan_init(struct scan *s, struct store_lane *lane, const struct segment_header *h)
{
    *s = (struct scan){
        .lane = lane,
        .file = h->file,
        .epoch = h->epoch,
        .size = h->size,
        .seed = segment_seed(h),
    };
}

void scan_done(struct scan *s)
{
    free(TAKE_PTR(s->window));
    s->window_room = s->window_bytes = 0;
    s->window_last = false;
    s->asked = 0;
}

/* ---- The window ----------------------------------------------------------- */

static bool window_has(const struct scan *s, uint64_t offset, size_t bytes)
{
    return s->window && offset >= s->window_at &&
           offset + bytes <= s->window_at + s->window_bytes;
}

static int window_reserve(struct scan *s, size_t bytes)
{
    if (bytes <= s->window_room) {
        return 0;
    }
    scan_done(s);
    if (posix_memalign((void **)&s->window, STORE_BUF_ALIGN, bytes) != 0) {
        s->window = NULL;
        return -ENOMEM;
    }
    s->window_room = bytes;
    return 0;
}

/* Have at least NEED bytes at OFFSET in the window, or what the file has. */
static int window_fill(struct scan *s, uint64_t offset, size_t need)
{
    bool far = offset >= s->asked + FAR_BYTES && s->asked != 0;
    size_t bytes = far ? READ_HEAD_BYTES : READ_BYTES;
    size_t least = ALIGN_UP(need, (size_t)STORE_BUF_ALIGN);
    int64_t n;
    int res;

    if (window_has(s, offset, need) || (s->window_last && offset >= s->window_at)) {
        return 0;
    }
    bytes = MAX(bytes, least);
    res = window_reserve(s, bytes);
    if (res < 0) {
        return res;
    }
    s->window_bytes = 0;
    n = store_pread_now(s->lane, s->file, offset, s->window, bytes);
    if (n == -EBADMSG && bytes > least) {
        bytes = least;      /* the store's own sums are wrong, but perhaps not here */
        n = store_pread_now(s->lane, s->file, offset, s->window, bytes);
    }
    if (n < 0) {
        return (int)n;
    }
    s->window_at = offset;
    s->window_bytes = (size_t)n;
    s->window_last = (size_t)n < bytes;
    return 0;
}

/* ---- Records -------------------------------------------------------------- */

int scan_record(struct scan *s, uint64_t offset, struct record_header *ret,
                const uint8_t **ret_head)
{
    size_t need = RECORD_HEADER_BYTES;

    for (;;) {
        const uint8_t *head;
        size_t had = need, have;
        int res;

        if (offset + need > s->size) {
            return 0;
        }
        res = window_fill(s, offset, need);
        if (res < 0) {
            return res;
        }
        s->asked = offset;
        if (!window_has(s, offset, need)) {
            return 0;       /* the file ends inside it */
        }
        head = s->window + (offset - s->window_at);
        have = s->window_bytes - (size_t)(offset - s->window_at);
        res = record_decode(head, have, s->seed, s->epoch, offset, ret, &need);
        if (res == -EAGAIN && need > had) {
            continue;
        }
        if (res < 0) {
            return 0;
        }
        *ret_head = head;
        return 1;
    }
}

int scan_search(struct scan *s, uint64_t *offset, struct record_header *ret,
                const uint8_t **ret_head)
{
    for (uint64_t at = *offset; at + RECORD_HEADER_BYTES <= s->size; at += PLACE_UNIT) {
        int res = scan_record(s, at, ret, ret_head);

        if (res != 0) {
            *offset = at;
            return res;
        }
        if (s->window_last && at >= s->window_at + s->window_bytes) {
            break;
        }
    }
    return 0;
}

/* Do the bytes that entry E names in the payload at BUF fit its sums? */
static bool entry_fits(const struct entry *e, const uint8_t *buf, uint32_t block_bytes)
{
    uint32_t unit = e->type == ENTRY_DATA ? block_bytes : PAGE_BYTES;
    uint64_t sums = e->type == ENTRY_DATA ? e->count : e->type == ENTRY_PAGE;

    for (uint64_t i = 0; i < sums; i++) {
        if (crc32c(0, buf + e->payload_offset + i * unit, unit) != le32(e->crc[i])) {
            return false;
        }
    }
    return e->type != ENTRY_CHECKPOINT ||
           crc32c(0, buf + e->payload_offset, le32(e->checkpoint->override_count) *
                  sizeof(struct usage_override_disk)) == le32(e->checkpoint->override_crc);
}

int scan_payload(const struct scan *s, uint64_t offset, const struct record_header *h,
                 const uint8_t *head, uint32_t block_bytes, bool read_only)
{
    size_t bytes = h->payload_bytes, pos = 0;
    struct entry e;
    uint8_t *buf;
    int64_t n;
    int res;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, bytes + 1) != 0) {
        return -ENOMEM;
    }
    n = bytes == 0 ? 0 : store_pread_now(s->lane, s->file, offset + h->head_bytes, buf,
                                         bytes);
    if (n != (int64_t)bytes) {
        free(buf);
        return (int)MIN(n, 0);
    }
    do {
        res = entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos, h->payload_bytes,
                         block_bytes, read_only, &e);
    } while (res == 1 && entry_fits(&e, buf, block_bytes));
    free(buf);
    return res == -ENOTSUP ? res : res == 0;
}

/* ---- Footers -------------------------------------------------------------- */

/* The first BYTES, at most, of what stands at OFFSET: as scan_footer(). */
static int footer_try(struct scan *s, uint64_t offset, size_t bytes, uint8_t *buf,
                      size_t *ret_bytes)
{
    int64_t n = store_pread_now(s->lane, s->file, offset, buf, bytes);
    struct footer_disk f;

    if (n < FOOTER_HEADER_BYTES) {
        return (int)MIN(n, 0);
    }
    memcpy(&f, buf, sizeof(f));
    *ret_bytes = le32(f.bytes);
    if (le32(f.magic) != FOOTER_MAGIC || *ret_bytes > FOOTER_BYTES_MAX ||
        *ret_bytes > s->size - offset) {
        return 0;
    }
    if (*ret_bytes > (size_t)n && (size_t)n == bytes) {
        return -EAGAIN;
    }
    return footer_decode(buf, (size_t)n, s->seed, offset, &f) == 0;
}

int scan_footer(struct scan *s, uint64_t offset, uint8_t **ret, size_t *ret_bytes)
{
    size_t bytes = READ_HEAD_BYTES;
    int res = -EAGAIN;

    if (offset + FOOTER_HEADER_BYTES > s->size) {
        return 0;
    }
    for (int i = 0; i < 2 && res == -EAGAIN; i++) {
        uint8_t *buf;

        if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, bytes) != 0) {
            return -ENOMEM;
        }
        res = footer_try(s, offset, bytes, buf, &bytes);
        if (res == 1) {
            *ret = buf;
            *ret_bytes = bytes;
            return 1;
        }
        free(buf);
    }
    return res == -EAGAIN ? 0 : res;
}

int scan_footer_search(struct scan *s, uint64_t *offset, uint8_t **ret,
                       size_t *ret_bytes)
{
    for (uint64_t at = *offset; at + FOOTER_HEADER_BYTES <= s->size; at += PLACE_UNIT) {
        struct footer_disk f;
        int res = window_fill(s, at, sizeof(f));

        s->asked = at;
        if (res < 0 || !window_has(s, at, sizeof(f))) {
            return res;     /* an error, or the end of the file */
        }
        memcpy(&f, s->window + (at - s->window_at), sizeof(f));
        res = le32(f.magic) == FOOTER_MAGIC ? scan_footer(s, at, ret, ret_bytes) : 0;
        if (res != 0) {
            *offset = at;
            return res;
        }
    }
    return 0;
}

/* ---- Checkpoints ---------------------------------------------------------- */

static int overrides_decode(const uint8_t *payload, const struct entry *e,
                            const struct checkpoint *c, struct usage_override_disk **ret)
{
    size_t bytes = c->override_count * sizeof(**ret);

    if (crc32c(0, payload + e->payload_offset, bytes) != c->override_crc) {
        return -EBADMSG;
    }
    *ret = malloc(bytes + 1);
    if (!*ret) {
        return -ENOMEM;
    }
    memcpy(*ret, payload + e->payload_offset, bytes);
    return 0;
}

static int checkpoint_in_record(const struct scan *s, const struct record_ref *ref,
                                const uint8_t *buf, size_t len, uint32_t block_bytes,
                                bool read_only, struct checkpoint *ret,
                                struct usage_override_disk **ret_overrides)
{
    struct record_header h;
    struct entry e;
    size_t need, pos = 0;
    int res = record_decode(buf, len, s->seed, s->epoch, ref->offset, &h, &need);

    if (res < 0 || h.seq != ref->seq || record_bytes(&h) > len) {
        return -EBADMSG;
    }
    while ((res = entry_next(buf + RECORD_HEADER_BYTES, h.entry_bytes, &pos,
                             h.payload_bytes, block_bytes, read_only, &e)) > 0) {
        if (e.type == ENTRY_CHECKPOINT) {
            res = checkpoint_decode(&e, ret);
            ret->time_us = h.time_us;
            if (ret->replay_seq > h.seq || ret->replay_file > ref->file) {
                res = -EBADMSG;
            }
            return res < 0 ? res : overrides_decode(buf + h.head_bytes, &e, ret,
                                                    ret_overrides);
        }
    }
    return res < 0 ? res : -EBADMSG;
}

int scan_checkpoint(struct scan *s, const struct record_ref *ref, uint32_t block_bytes,
                    bool read_only, struct checkpoint *ret,
                    struct usage_override_disk **ret_overrides)
{
    uint8_t *buf;
    int64_t n;
    int res;

    if (ref->bytes > RECORD_HEAD_MAX + RECORD_PAYLOAD_MAX || ref->bytes == 0 ||
        ref->offset > SEGMENT_BYTES_MAX) {
        return -EBADMSG;
    }
    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, ref->bytes) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(s->lane, s->file, ref->offset, buf, ref->bytes);
    res = n < 0 ? (int)n : checkpoint_in_record(s, ref, buf, (size_t)n, block_bytes,
                                                read_only, ret, ret_overrides);
    free(buf);
    return res;
}
