/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a volume is, where the file that says so is missing, damaged, or another volume's:
 * its segments have the uuid in their headers, and the sums in their entries, and the
 * places in their pages, fit one size of block only.
 */
#include "volume/rescue.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"
#include "log/scan.h"
#include "map/page.h"
#include "volume/volume.h"

struct uuid_votes {
    uint8_t uuid[UUID_BYTES];
    size_t votes;
    uint64_t created_us;        /* the oldest of its segments */
};

struct search {
    struct store *store;        /* borrowed */
    struct store_lane *lane;    /* owned */
    const struct log_hook *hook;
    uint64_t *files;            /* owned, ascending */
    size_t count, room;
    struct uuid_votes *uuids;   /* owned */
    size_t uuid_count, uuid_room;
    bool has_data;              /* a record with blocks was seen, and did not tell */
};

/* ---- The segments --------------------------------------------------------- */

static int file_listed(void *opaque, uint64_t file)
{
    struct search *s = opaque;
    uint64_t *files = array_room(s->files, s->count, &s->room, sizeof(*s->files));

    if (!files) {
        return -ENOMEM;
    }
    s->files = files;
    s->files[s->count++] = file;
    return 0;
}

static int read_failed(const struct search *s, uint64_t file, int64_t res)
{
    if (res >= 0 || res == -ENOENT || res == -EBADMSG || res == -ENOMEM) {
        return res == -ENOMEM ? (int)res : 0;
    }
    return error_set((int)res, "cannot read segment %" PRIu64 " of %s: %s", file,
                     s->store->location, error_name((int)res));
}

/* A header of FILE that is whole, of whichever volume. */
static bool header_decode(const uint8_t *buf, size_t len, uint64_t file,
                          struct segment_header *ret)
{
    for (size_t at = 0; at < SEGMENT_DATA_OFFSET; at += SEGMENT_HEADER_COPY) {
        struct segment_header_disk d;
        int error;

        if (at + sizeof(d) > len) {
            return false;
        }
        memcpy(&d, buf + at, sizeof(d));
        if (segment_header_decode(buf + at, sizeof(d), file, d.uuid, ret, &error) ==
            SEGMENT_VALID && error == 0) {
            return true;
        }
    }
    return false;
}

/* 1: *RET is the header of FILE; 0: it has none. */
static int header_read(const struct search *s, uint64_t file, struct segment_header *ret)
{
    uint8_t *buf;
    int64_t n;
    int res;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(s->lane, file, 0, buf, SEGMENT_DATA_OFFSET);
    res = n < 0 ? read_failed(s, file, n) : header_decode(buf, (size_t)n, file, ret);
    free(buf);
    return res;
}

/* ---- The uuid ------------------------------------------------------------- */

static int vote(struct search *s, const struct segment_header *h)
{
    struct uuid_votes *u;

    for (size_t i = 0; i < s->uuid_count; i++) {
        u = &s->uuids[i];
        if (memcmp(u->uuid, h->uuid, UUID_BYTES) == 0) {
            u->votes++;
            u->created_us = MIN(u->created_us, h->created_us);
            return 0;
        }
    }
    u = array_room(s->uuids, s->uuid_count, &s->uuid_room, sizeof(*u));
    if (!u) {
        return -ENOMEM;
    }
    s->uuids = u;
    u += s->uuid_count++;
    *u = (struct uuid_votes){ .votes = 1, .created_us = h->created_us };
    memcpy(u->uuid, h->uuid, UUID_BYTES);
    return 0;
}

/* The uuid that more segments have than any other. */
static int uuid_find(struct search *s, struct identity *ret)
{
    const struct uuid_votes *best = NULL;
    bool tie = false;
    int res = 0;

    for (size_t i = 0; i < s->count && res == 0; i++) {
        struct segment_header h;

        res = header_read(s, s->files[i], &h);
        if (res == 1) {
            res = vote(s, &h);
        }
    }
    for (size_t i = 0; i < s->uuid_count; i++) {
        const struct uuid_votes *u = &s->uuids[i];

        tie = best && u->votes == best->votes ? true : tie && u->votes < best->votes;
        best = !best || u->votes > best->votes ? u : best;
    }
    if (res < 0) {
        return res;
    }
    if (!best || tie) {
        return error_set(-EBADMSG, "%s has no identity (a file \"volume\") that can be used, "
                         "and %s", s->store->location, best ?
                         "its segments are of different volumes" :
                         "no segment with a header that is whole");
    }
    memcpy(ret->uuid, best->uuid, UUID_BYTES);
    ret->created_us = best->created_us;
    return 0;
}

/* ---- The size of a block -------------------------------------------------- */

/* The size whose first block, at AT of FILE, has sum CRC; 0: none. */
static int size_by_sum(const struct search *s, uint64_t file, uint64_t at, uint32_t crc,
                       uint32_t *ret)
{
    uint8_t *buf;
    int64_t n;
    int res;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, BLOCK_BYTES_MAX) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(s->lane, file, at, buf, BLOCK_BYTES_MAX);
    res = read_failed(s, file, n);
    for (uint32_t b = BLOCK_BYTES_MIN; b <= BLOCK_BYTES_MAX && (int64_t)b <= n; b *= 2) {
        if (crc32c(0, buf, b) == crc) {
            *ret = b;
            break;
        }
    }
    free(buf);
    return res;
}

/* The size that the places in the leaf of the map at AT of FILE have; 0: it is damaged. */
static int size_by_leaf(const struct search *s, uint64_t file, uint64_t at, uint32_t crc,
                        uint32_t *ret)
{
    uint32_t bytes;
    uint8_t *buf;
    int64_t n;
    int res;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, PAGE_BYTES) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(s->lane, file, at, buf, PAGE_BYTES);
    res = read_failed(s, file, n);
    if (n == PAGE_BYTES && crc32c(0, buf, PAGE_BYTES) == crc &&
        page_check(buf, TREE_MAP, 0) == 0) {
        bytes = place_stored(page_entry(buf, 0).value);
        if (bytes >= BLOCK_BYTES_MIN && bytes <= BLOCK_BYTES_MAX &&
            (bytes & (bytes - 1)) == 0) {
            *ret = bytes;
        }
    }
    free(buf);
    return res;
}

/* The least block lets every entry pass that any would. */
static int size_in_record(struct search *s, uint64_t file, uint64_t offset,
                          const struct record_header *h, const uint8_t *head,
                          uint32_t *ret)
{
    struct entry e;
    size_t pos = 0;
    int res = 0;

    while (res == 0 && *ret == 0 &&
           entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos, h->payload_bytes,
                      BLOCK_BYTES_MIN, true, &e) == 1) {
        uint64_t at = offset + h->head_bytes + e.payload_offset;

        if (e.type == ENTRY_DATA) {
            s->has_data = true;
            res = size_by_sum(s, file, at, le32(e.crc[0]), ret);
        } else if (e.type == ENTRY_PAGE && e.tree == TREE_MAP && e.level == 0) {
            res = size_by_leaf(s, file, at, le32(e.crc[0]), ret);
        }
    }
    return res;
}

static int size_in_segment(struct search *s, uint64_t file, const uint8_t *uuid,
                           uint32_t *ret)
{
    uint64_t at = SEGMENT_DATA_OFFSET;
    struct record_header rh;
    struct segment_header h;
    const uint8_t *head;
    struct scan scan;
    int res = header_read(s, file, &h);

    if (res != 1 || memcmp(h.uuid, uuid, UUID_BYTES) != 0) {
        return MIN(res, 0);
    }
    scan_init(&scan, s->lane, &h);
    res = 0;
    while (res == 0 && *ret == 0 && (res = scan_search(&scan, &at, &rh, &head)) == 1) {
        res = size_in_record(s, file, at, &rh, head, ret);
        at += record_bytes(&rh);
    }
    scan_done(&scan);
    return read_failed(s, file, res);
}

static int block_size_find(struct search *s, struct identity *id)
{
    uint32_t bytes = 0;
    int res = 0;

    for (size_t i = s->count; i > 0 && res == 0 && bytes == 0; i--) {
        res = size_in_segment(s, s->files[i - 1], id->uuid, &bytes);
    }
    if (res < 0) {
        return res;
    }
    if (bytes == 0 && s->has_data) {
        return error_set(-EBADMSG, "%s has no identity (a file \"volume\") that can be used, "
                         "and its block size is not known: no block and no page of its map "
                         "that records tell of is whole", s->store->location);
    }
    id->block_bytes = bytes ? bytes : BLOCK_BYTES_MIN;
    log_say(s->hook, LOG_WARNING, bytes ? "the block size of %s is %u bytes, by the "
            "checksums of its segments" : "nothing tells the block size of %s, and nothing "
            "was written to it: it is taken to be %u bytes", s->store->location,
            id->block_bytes);
    return 0;
}

/* ---- The identity --------------------------------------------------------- */

static int identity_derive(struct search *s, struct identity *ret)
{
    int res;

    *ret = (struct identity){ .version = FORMAT_VERSION };
    res = uuid_find(s, ret);
    return res < 0 ? res : block_size_find(s, ret);
}

/* Is ID that of the segments?  The newest one tells, and if it does not, most of them. */
static int identity_fits(struct search *s, const struct identity *id)
{
    struct identity found = { 0 };
    struct segment_header h;
    int res = 0;

    for (size_t i = s->count; i > 0 && res == 0; i--) {
        res = header_read(s, s->files[i - 1], &h);
    }
    if (res != 1 || memcmp(h.uuid, id->uuid, UUID_BYTES) == 0) {
        return res < 0 ? res : 1;
    }
    res = uuid_find(s, &found);
    if (res == -EBADMSG) {
        return 1;       /* they do not agree: it is as good as any */
    }
    return res < 0 ? res : memcmp(found.uuid, id->uuid, UUID_BYTES) == 0;
}

/* Of a newer version, if the segments do not say otherwise. */
static bool is_newer(struct search *s)
{
    struct segment_header h;

    for (size_t i = s->count; i > 0; i--) {
        if (header_read(s, s->files[i - 1], &h) == 1) {
            return false;
        }
    }
    return true;
}

static int identity_find(struct search *s, struct identity *ret)
{
    int res = volume_identity(s->store, ret);
    const char *why = res == -ENOENT ? "is missing" : "is damaged";

    if (res < 0 && res != -ENOENT && res != -EBADMSG && res != -ENOTSUP) {
        return res;
    }
    if (res == -ENOTSUP && (ret->version == FORMAT_VERSION || is_newer(s))) {
        return res;     /* its sum is right, or not looked at (format.md 3) */
    }
    if (res == 0) {
        res = identity_fits(s, ret);
        if (res != 0) {
            return MIN(res, 0);
        }
        s->uuid_count = 0;
        why = "is another volume's";
    }
    error_clear();
    log_say(s->hook, LOG_WARNING, "the identity of %s (its file \"volume\") %s: what it is "
            "is taken from its segments", s->store->location, why);
    return identity_derive(s, ret);
}

int rescue_identity(struct store *store, const struct log_hook *hook,
                    struct identity *ret)
{
    static const struct log_hook nowhere;
    struct search s = { .store = store, .hook = hook ? hook : &nowhere };
    int res = store_list(store, 0, 0, file_listed, &s);

    if (res < 0 && res != -ENOENT) {
        (void)error_set(res, "cannot list the segments of %s: %s", store->location,
                        error_name(res));
    } else if (s.count == 0) {
        res = volume_identity(store, ret);      /* says what is not there */
    } else {
        s.lane = store_lane_new(store);
        res = s.lane ? identity_find(&s, ret) : -errno;
    }
    if (res < 0 && error_text()[0] == '\0') {
        (void)error_set(res, "cannot open %s: %s", store->location, error_name(res));
    }
    store_lane_free(s.lane);
    free(s.files);
    free(s.uuids);
    return res;
}
