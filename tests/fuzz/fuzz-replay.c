/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole small log, right sums and all, that no writer of ours would write: checked,
 * dumped, opened for reading, read, opened for writing, read, closed, and read again.  It
 * may be refused, or parts of it; what could be read before and after is the same, and
 * where check finds no error it can be opened for reading.  A rescue looks at it, too; where
 * there is no error, and it knows of no loss, it shows the same.
 *
 * The input is a program: each step begins with a byte that says what is written next to
 * the segments of a simulated disk.  Numbers are mostly bytes, so that they meet.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/util.h"
#include "log/format.h"
#include "map/page.h"
#include "store/sim.h"
#include "volume/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES 16u
#define KEPT 32u            /* places and heads that later steps can name */
#define STEPS_MAX 200
#define BLOCK_BYTES BLOCK_BYTES_MIN
#define LOOK_BLOCKS 64u     /* of the volume's beginning that are looked at */
#define LOOK_BYTES (LOOK_BLOCKS * BLOCK_BYTES)

struct kept_head {
    uint64_t offset;
    uint32_t bytes;
    uint8_t head[2048];
};

struct program {
    const uint8_t *at;
    size_t left;
    struct sim *sim;
    struct segment_header segment;      /* that records go to */
    uint32_t seed;
    uint64_t end;                       /* where the next record goes */
    uint64_t seq;                       /* of the next record */
    struct record_ref checkpoint, footer;   /* the last ones written */
    struct place blocks[KEPT], pages[KEPT];
    unsigned block_count, page_count;
    struct kept_head heads[KEPT];       /* records of this segment */
    unsigned head_count;
    /* The record that is being made: */
    uint8_t *buf;                       /* BUF_BYTES */
    uint32_t entry_bytes, payload_bytes, entry_count;
    bool has_checkpoint;
};

#define HEAD_BYTES 2048u
#define ENTRY_BYTES_MAX 1024u           /* one entry, at most */
#define PAYLOAD_BYTES_MAX KIB(64)
#define BUF_BYTES (HEAD_BYTES + PAYLOAD_BYTES_MAX)

static const uint8_t uuid[UUID_BYTES] = "sixteen bytes...";

/* ---- The input ------------------------------------------------------------- */

static uint8_t take8(struct program *p)
{
    if (p->left == 0) {
        return 0;
    }
    p->left--;
    return *p->at++;
}

static uint64_t take(struct program *p, unsigned bytes)
{
    uint64_t x = 0;

    for (unsigned i = 0; i < bytes; i++) {
        x = x << 8 | take8(p);
    }
    return x;
}

/* A number: small, or, rarely, any. */
static uint64_t take_number(struct program *p)
{
    uint64_t x = take8(p);

    return x < 250 ? x : x == 250 ? UINT64_MAX : take(p, x == 251 ? 8 : 3);
}

static struct record_ref take_ref(struct program *p)
{
    return (struct record_ref){
        .file = take_number(p), .offset = take_number(p) * PLACE_UNIT,
        .seq = take_number(p), .bytes = (uint32_t)take_number(p) * PLACE_UNIT,
    };
}

/* ---- Segments -------------------------------------------------------------- */

static void segment_begin(struct program *p)
{
    uint8_t buf[SEGMENT_DATA_OFFSET], flags = take8(p);
    struct segment_header *h = &p->segment;

    memset(h, 0, sizeof(*h));
    memcpy(h->uuid, uuid, UUID_BYTES);
    h->salt[0] = take8(p);
    h->file = 1 + take8(p) % FILES;
    h->epoch = take_number(p);
    h->size = flags & 1 ? take_number(p) * PLACE_UNIT : KIB(256);
    h->first = flags & 2 ? take_number(p) : p->seq;
    h->cut = flags & 4 ? take_number(p) : 0;
    h->synced = flags & 8 ? take_number(p) : p->seq - 1;
    h->checkpoint = flags & 16 ? take_ref(p) : p->checkpoint;
    h->footer = flags & 32 ? take_ref(p) : p->footer;
    if (flags & 64) {
        h->uuid[0] ^= take8(p);
    }
    segment_header_encode(h, buf);
    if (flags & 128) {
        buf[take(p, 2) % sizeof(buf)] ^= take8(p);
    }
    sim_poke(p->sim, h->file, 0, buf, sizeof(buf));
    p->seed = segment_seed(h);
    p->end = SEGMENT_DATA_OFFSET;
    p->seq = h->first;
    p->head_count = 0;
    memset(&p->footer, 0, sizeof(p->footer));
}

static void footer_write(struct program *p)
{
    uint8_t *buf = calloc(1, FOOTER_HEADER_BYTES + KEPT * (16 + HEAD_BYTES) + 512);
    uint32_t used = FOOTER_HEADER_BYTES;
    uint8_t flags = take8(p);
    uint64_t first, last;

    if (!buf) {
        return;
    }
    for (unsigned i = 0; i < p->head_count; i++) {
        const struct kept_head *k = &p->heads[i];
        struct footer_item_disk item = {
            .offset = to_le64(k->offset), .bytes = to_le32(k->bytes),
        };

        memcpy(buf + used, &item, sizeof(item));
        memcpy(buf + used + sizeof(item), k->head, k->bytes);
        used += (uint32_t)sizeof(item) + ALIGN_UP(k->bytes, 8u);
    }
    first = flags & 1 ? take_number(p) : p->segment.first;
    last = flags & 2 ? take_number(p) : p->seq - 1;
    if (flags & 4) {
        buf[take(p, 2) % used] ^= take8(p);
    }
    footer_encode(buf, used, first, last, p->head_count, p->seed, p->end);
    p->footer = (struct record_ref){
        .file = p->segment.file, .offset = p->end, .seq = last, .bytes = used,
    };
    sim_poke(p->sim, p->segment.file, p->end, buf, ALIGN_UP(used, PLACE_UNIT));
    p->end += ALIGN_UP(used, PLACE_UNIT);
    free(buf);
}

/* ---- Entries --------------------------------------------------------------- */

static uint8_t *entry_at(struct program *p)
{
    return p->buf + RECORD_HEADER_BYTES + p->entry_bytes;
}

/* BYTES of the record's payload; NULL: no room. */
static uint8_t *payload_take(struct program *p, uint32_t bytes, uint32_t *ret_at)
{
    if (bytes > PAYLOAD_BYTES_MAX - p->payload_bytes) {
        return NULL;
    }
    *ret_at = p->payload_bytes;
    p->payload_bytes += bytes;
    return p->buf + HEAD_BYTES + *ret_at;
}

static struct place place_here(const struct program *p, uint32_t at, uint32_t crc)
{
    uint64_t offset = p->end + HEAD_BYTES + at;

    return place_make(p->segment.file, offset % PLACE_OFFSET_MAX, BLOCK_BYTES, crc);
}

static size_t put_data(struct program *p)
{
    struct entry_data_disk *d = (void *)entry_at(p);
    uint64_t block = take_number(p) & (((uint64_t)1 << 40) - 1);
    uint32_t count = 1 + take8(p) % 4, at = 0;
    uint8_t fill = take8(p), wrong = take8(p);
    uint8_t *to = payload_take(p, count * BLOCK_BYTES, &at);
    size_t bytes;

    if (!to) {
        return 0;
    }
    memset(to, fill, count * BLOCK_BYTES);
    bytes = entry_put_data(d, block, count, at);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t crc = crc32c(0, to + i * BLOCK_BYTES, BLOCK_BYTES) ^ (wrong == 255);

        d->crc[i] = to_le32(crc);
        p->blocks[p->block_count++ % KEPT] = place_here(p, at + i * BLOCK_BYTES, crc);
    }
    return bytes;
}

static struct place take_place(struct program *p, bool page)
{
    uint8_t x = take8(p);
    const struct place *from = page ? p->pages : p->blocks;
    unsigned count = MIN(page ? p->page_count : p->block_count, KEPT);

    if (x == 255) {
        return (struct place){ take(p, 8), take(p, 8) };
    }
    return count > 0 ? from[x % count] : (struct place){ x, take8(p) };
}

static size_t put_page(struct program *p)
{
    uint8_t what = take8(p);
    enum tree_id tree = what & 1 ? TREE_USAGE : TREE_MAP;
    unsigned level = what >> 1 & 3;
    struct tree_entry entries[8];
    size_t n = 1 + take8(p) % ARRAY_SIZE(entries);
    uint64_t key = take_number(p);
    uint32_t at = 0, crc;
    uint8_t *to = payload_take(p, PAGE_BYTES, &at);

    if (!to) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        entries[i].key = key;
        key += 1 + take8(p);
        if (level == 0 && tree == TREE_USAGE) {
            entries[i].value = (struct place){ take_number(p), take_number(p) };
        } else {
            entries[i].value = take_place(p, level > 0);
        }
        if (place_is_hole(entries[i].value)) {
            n = i;          /* no such page can be encoded */
        } else if (key <= entries[i].key) {
            n = i + 1;      /* nor one with keys that begin again */
        }
    }
    if (n == 0) {
        memset(to, what, PAGE_BYTES);
    } else {
        page_encode(to, tree, level, entries, n);
    }
    if (what & 128) {
        to[take(p, 2) % PAGE_BYTES] ^= take8(p);
    }
    crc = crc32c(0, to, PAGE_BYTES);
    p->pages[p->page_count++ % KEPT] = place_here(p, at, crc);
    return entry_put_page(entry_at(p), at, crc, (uint8_t)tree, (uint8_t)level);
}

static struct root_ref take_root(struct program *p)
{
    uint32_t levels = take8(p);
    struct root_ref r = { .levels = levels < 250 ? levels % 5 : levels };

    if (r.levels > 0) {
        r.place = take_place(p, true);
    }
    return r;
}

static size_t put_checkpoint(struct program *p)
{
    uint8_t flags = take8(p);
    struct checkpoint c = {
        .replay_seq = flags & 1 ? take_number(p) : p->seq,
        .replay_file = flags & 2 ? take_number(p) : p->segment.file,
        .size = flags & 4 ? take_number(p) * 512 : LOOK_BYTES,
        .moved_next = flags & 8 ? take_number(p) : 1,
        .override_count = take8(p) % 8,
    };
    uint32_t at = 0;
    uint8_t *to = payload_take(p, 512, &at);

    if (!to) {
        return 0;
    }
    c.roots[TREE_MAP - 1] = take_root(p);
    c.roots[TREE_USAGE - 1] = take_root(p);
    memset(to, 0, 512);
    for (uint32_t i = 0; i < c.override_count; i++) {
        struct usage_override_disk o = {
            to_le64(take_number(p)), to_le64(take_number(p)),
        };

        memcpy(to + i * sizeof(o), &o, sizeof(o));
    }
    c.override_crc = crc32c(0, to, c.override_count * sizeof(struct usage_override_disk));
    p->has_checkpoint = true;
    return entry_put_checkpoint(entry_at(p), &c, at);
}

static size_t put_raw(struct program *p)
{
    size_t bytes = take8(p);

    for (size_t i = 0; i < bytes; i++) {
        entry_at(p)[i] = take8(p);
    }
    return bytes;
}

static size_t put_entry(struct program *p)
{
    uint64_t block;

    switch (take8(p) % 8) {
    case 0:
    case 1:
        return put_data(p);
    case 2:
        block = take_number(p);
        return entry_put_hole(entry_at(p), block, take_number(p), true);
    case 3:
        return entry_put_resize(entry_at(p), take_number(p) * 512);
    case 4:
        return put_page(p);
    case 5:
        return put_checkpoint(p);
    case 6:
        return entry_put_mark(entry_at(p));
    default:
        return put_raw(p);
    }
}

static void head_keep(struct program *p)
{
    struct kept_head *k;

    if (p->head_count == KEPT) {
        return;
    }
    k = &p->heads[p->head_count++];
    k->offset = p->end;
    k->bytes = RECORD_HEADER_BYTES + p->entry_bytes;
    memcpy(k->head, p->buf, k->bytes);
}

static void record_write(struct program *p)
{
    uint8_t flags = take8(p);
    struct record_header h = { .head_bytes = HEAD_BYTES };

    memset(p->buf, 0, HEAD_BYTES);
    p->entry_bytes = p->payload_bytes = p->entry_count = 0;
    p->has_checkpoint = false;
    for (unsigned n = flags >> 4 & 7; n > 0; n--) {
        if (RECORD_HEADER_BYTES + p->entry_bytes + ENTRY_BYTES_MAX > HEAD_BYTES) {
            break;
        }
        p->entry_bytes += (uint32_t)put_entry(p);
        p->entry_count++;
    }
    h.seq = flags & 1 ? take_number(p) : p->seq;
    h.epoch = flags & 2 ? take_number(p) : p->segment.epoch;
    h.synced = flags & 4 ? take_number(p) : h.seq - 1;
    h.time_us = h.seq;
    h.entry_bytes = p->entry_bytes;
    h.entry_count = p->entry_count;
    h.payload_bytes = p->payload_bytes;
    record_encode(p->buf, &h, p->seed, p->end);
    head_keep(p);
    if (p->has_checkpoint) {
        p->checkpoint = (struct record_ref){
            .file = p->segment.file, .offset = p->end, .seq = h.seq,
            .bytes = HEAD_BYTES + h.payload_bytes,
        };
    }
    sim_poke(p->sim, p->segment.file, p->end, p->buf, HEAD_BYTES + h.payload_bytes);
    p->end += HEAD_BYTES + h.payload_bytes;
    p->seq = h.seq + 1;
}

static void step(struct program *p)
{
    uint64_t file;

    switch (take8(p) % 8) {
    case 0:
        segment_begin(p);
        break;
    case 1:
    case 2:
    case 3:
    case 4:
        if (p->segment.file != 0 && p->end < MIB(1)) {
            record_write(p);
        }
        break;
    case 5:
        if (p->segment.file != 0 && p->end < MIB(1)) {
            footer_write(p);
        }
        break;
    case 6:
        file = 1 + take8(p) % FILES;
        (void)sim_corrupt(p->sim, file, take(p, 2) * 4, take8(p));
        break;
    case 7:
        file = 1 + take8(p) % FILES;
        if (take8(p) & 1) {
            (void)sim_truncate(p->sim, file, take(p, 2) * 16);
        } else {
            (void)sim_unlink(p->sim, file);
        }
        break;
    }
}

/* ---- Looking at it --------------------------------------------------------- */

struct view {
    uint64_t size;
    uint8_t bytes[LOOK_BYTES];
    bool readable[LOOK_BLOCKS];
};

static int call(struct hlfs *v, enum request_kind kind, void *buf, uint64_t len,
                uint64_t offset)
{
    enum hlfs_status status;
    uint64_t status_len = 0;
    const struct request_args a = {
        .kind = kind, .buf = buf, .len = len, .offset = offset, .ret_status = &status,
        .ret_len = &status_len,
    };
    int res = volume_call(v, &a);

    assert(kind != REQUEST_STATUS || res < 0 || (status_len > 0 && status_len <= len));
    return res;
}

static void view_take(struct view *w, struct hlfs *v)
{
    uint64_t last;

    w->size = volume_size(v);
    for (uint64_t i = 0; i < LOOK_BLOCKS; i++) {
        uint64_t at = i * BLOCK_BYTES;
        uint64_t len = MIN(BLOCK_BYTES, w->size - MIN(at, w->size));

        w->readable[i] = len > 0 && call(v, REQUEST_READ, w->bytes + at, len, at) == 0;
    }
    for (uint64_t at = 0, n = 0; at < w->size && n < 16; n++) {
        enum hlfs_status status;
        uint64_t len = 0;
        const struct request_args a = {
            .kind = REQUEST_STATUS, .len = w->size - at, .offset = at,
            .ret_status = &status, .ret_len = &len,
        };

        if (volume_call(v, &a) < 0) {
            break;
        }
        assert(len > 0 && len <= w->size - at);
        at += len;
    }
    if (w->size >= 512) {
        uint8_t sector[512];

        last = w->size - 512;
        (void)call(v, REQUEST_READ, sector, sizeof(sector), last);
    }
}

static void view_compare(const struct view *a, const struct view *b)
{
    assert(a->size == b->size);
    for (uint64_t i = 1; i < LOOK_BLOCKS; i++) {    /* block 0 was written to */
        uint64_t at = i * BLOCK_BYTES;
        uint64_t len = MIN(BLOCK_BYTES, a->size - MIN(at, a->size));

        if (a->readable[i] && b->readable[i]) {
            assert(memcmp(a->bytes + at, b->bytes + at, len) == 0);
        }
    }
}

static int open_it(struct sim *sim, unsigned flags, struct hlfs **ret)
{
    struct hlfs_options o;
    struct store *s;

    options_init(&o);
    o.cache_bytes = o.dirty_bytes = MIB(4);
    assert(sim_store_open(sim, flags & VOLUME_RDONLY ? SIM_OPEN_READ_ONLY : 0, &s) == 0);
    return volume_open(s, flags | VOLUME_MANUAL, &o, ret);
}

static void look_as_reader(struct sim *sim, struct view *w, bool *ret_open)
{
    struct hlfs *v;

    *ret_open = open_it(sim, VOLUME_RDONLY, &v) == 0;
    if (*ret_open) {
        view_take(w, v);
        assert(volume_close(v) == 0);
    }
}

/* READER has what an open for reading shows; NULL: that is not sure. */
static void look_as_rescuer(struct sim *sim, const struct view *reader)
{
    static struct view w;
    struct hlfs *v;
    bool open = open_it(sim, VOLUME_RDONLY | VOLUME_RESCUE, &v) == 0;

    assert(open || !reader);
    if (!open) {
        return;
    }
    view_take(&w, v);
    if (reader && volume_losses(v) == 0) {
        assert(memcmp(w.readable, reader->readable, sizeof(w.readable)) == 0);
        view_compare(&w, reader);
    }
    assert(volume_close(v) == 0);
}

static void look_as_writer(struct sim *sim)
{
    static struct view before, after;
    uint8_t block[BLOCK_BYTES] = { 1 };
    struct hlfs *v;
    bool open;

    if (open_it(sim, 0, &v) < 0) {
        return;
    }
    view_take(&before, v);
    if (before.size >= sizeof(block)) {
        (void)call(v, REQUEST_WRITE, block, sizeof(block), 0);
    }
    if (volume_close(v) == 0) {
        look_as_reader(sim, &after, &open);
        if (open) {
            view_compare(&before, &after);
        }
    }
}

static void line_count(void *opaque, const char *line)
{
    assert(line[0] != '\0');
    ++*(unsigned *)opaque;
}

static void finding_count(void *opaque, int error, const char *text)
{
    (void)error;
    line_count(opaque, text);
}

/* True: nothing is wrong with it. */
static bool look_as_checker(struct sim *sim)
{
    struct hlfs_check_result result;
    unsigned lines = 0;
    struct store *s;
    int res;

    assert(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s) == 0);
    (void)volume_dump(s, line_count, &lines);
    assert(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s) == 0);
    res = volume_check(s, HLFS_CHECK_DATA, finding_count, &lines, &result);
    return res == 0 && result.errors == 0;
}

static void identity_put(struct sim *sim)
{
    struct identity id = {
        .version = FORMAT_VERSION, .block_bytes = BLOCK_BYTES, .segment_bytes = KIB(256),
    };
    uint8_t buf[IDENTITY_BYTES];
    struct store *s;

    memcpy(id.uuid, uuid, UUID_BYTES);
    identity_encode(&id, buf);
    assert(sim_store_open(sim, SIM_OPEN_CREATE, &s) == 0);
    assert(store_put(s, "volume", buf, sizeof(buf)) == 0);
    store_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buf[BUF_BYTES];
    static struct program program;
    static struct view view;
    struct program *p = &program;
    bool whole, open;

    *p = (struct program){ .at = data, .left = size, .buf = buf, .seq = 1 };
    p->sim = sim_new(1);
    identity_put(p->sim);
    for (unsigned i = 0; p->left > 0 && i < STEPS_MAX; i++) {
        step(p);
    }
    whole = look_as_checker(p->sim);
    look_as_reader(p->sim, &view, &open);
    assert(open || !whole);
    /* One without a record is open, and empty, but there is nothing to be rescued. */
    look_as_rescuer(p->sim, whole && view.size > 0 ? &view : NULL);
    look_as_writer(p->sim);
    assert(!sim_misuse(p->sim));
    sim_free(p->sim);
    return 0;
}
