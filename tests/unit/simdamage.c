/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "simdamage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "map/page.h"

char damage_text[256];

const char *const structure_names[STRUCTURES] = {
    "newest header, one copy", "other header, one copy", "record header", "entry",
    "record padding", "block", "page header", "page body", "checkpoint entry",
    "checkpoint payload", "footer", "unused room", "newest header, both copies",
    "other header, both copies", "header, both copies zero", "truncated", "missing",
    "of another volume", "stale copy of another segment", "stale records behind the end",
};

/* Bytes of each structure that are passed over between two flips: 1 is all of it. */
static const unsigned strides[STRUCTURES] = {
    [HEADER_NEWEST] = 1, [HEADER_OTHER] = 3, [RECORD_HEADER] = 1, [ENTRY] = 1,
    [RECORD_PADDING] = 1021, [BLOCK_DATA] = 1021, [PAGE_HEAD] = 1, [PAGE_BODY] = 61,
    [CHECKPOINT_ENTRY] = 1, [CHECKPOINT_PAYLOAD] = 1, [FOOTER] = 3, [REST] = 8191,
};

/* ---- Structures of a volume ---------------------------------------------- */

static void region_add(struct layout *l, enum structure what, uint64_t file,
                       uint64_t from, uint64_t to)
{
    assert_true(l->count < REGIONS_MAX);
    if (to > from) {
        l->regions[l->count++] = (struct region){ what, file, from, to };
    }
}

static void entries_lay_out(struct layout *l, const struct file *f, uint64_t at,
                            const struct record_header *h)
{
    const uint8_t *head = f->bytes + at;
    uint64_t entries = at + RECORD_HEADER_BYTES, payload = at + h->head_bytes;
    size_t pos = 0, before = 0;
    struct entry e;

    while (entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos, h->payload_bytes,
                      SIMVOL_BLOCK_BYTES, false, &e) == 1) {
        uint64_t to = payload + e.payload_offset;

        region_add(l, e.type == ENTRY_CHECKPOINT ? CHECKPOINT_ENTRY : ENTRY, f->id,
                   entries + before, entries + pos);
        before = pos;
        if (e.type == ENTRY_DATA) {
            region_add(l, BLOCK_DATA, f->id, to, to + e.count * SIMVOL_BLOCK_BYTES);
        } else if (e.type == ENTRY_PAGE) {
            region_add(l, PAGE_HEAD, f->id, to, to + PAGE_HEAD_BYTES);
            region_add(l, PAGE_BODY, f->id, to + PAGE_HEAD_BYTES, to + PAGE_BYTES);
        } else if (e.type == ENTRY_CHECKPOINT) {
            region_add(l, CHECKPOINT_PAYLOAD, f->id, to,
                       to + le32(e.checkpoint->override_count) * 16);
        }
    }
    region_add(l, RECORD_PADDING, f->id, entries + h->entry_bytes, payload);
}

static void segment_lay_out(struct layout *l, struct file *f)
{
    uint32_t seed = segment_seed(&f->header);
    uint64_t at = SEGMENT_DATA_OFFSET;
    struct record_header h;
    struct footer_disk footer;
    size_t need;

    while (at < f->len && record_decode(f->bytes + at, f->len - at, seed, f->header.epoch,
                                        at, &h, &need) == 0) {
        region_add(l, RECORD_HEADER, f->id, at, at + RECORD_HEADER_BYTES);
        entries_lay_out(l, f, at, &h);
        at += record_bytes(&h);
    }
    if (at < f->len &&
        footer_decode(f->bytes + at, f->len - at, seed, at, &footer) == 0) {
        region_add(l, FOOTER, f->id, at, at + le32(footer.bytes));
        at += le32(footer.bytes);
    }
    region_add(l, REST, f->id, at, f->len);
    f->end = at;
}

/* The highest `synced` of the header and of all valid records, wherever they stand. */
static uint64_t synced_in_file(const struct file *f)
{
    uint32_t seed = segment_seed(&f->header);
    uint64_t synced = MAX(f->header.synced, f->header.checkpoint.seq);

    for (uint64_t at = SEGMENT_DATA_OFFSET; at < f->len; at += PLACE_UNIT) {
        struct record_header h;
        size_t need;

        if (record_decode(f->bytes + at, f->len - at, seed, f->header.epoch, at, &h,
                          &need) == 0) {
            synced = MAX(synced, h.synced);
        }
    }
    return synced;
}

struct file file_read(const struct sim *sim, uint64_t id, const uint8_t *uuid)
{
    struct file f = { .id = id, .len = (size_t)sim_file_len(sim, id) };
    int error;

    f.bytes = calloc(1, f.len + 1);
    assert_non_null(f.bytes);
    assert_int_equal(sim_peek(sim, id, 0, f.bytes, f.len), f.len);
    f.state = segment_header_decode(f.bytes, f.len, id, uuid, &f.header, &error);
    f.synced = f.state == SEGMENT_VALID ? synced_in_file(&f) : 0;
    return f;
}

struct layout *layout_new(const struct simvol *s)
{
    struct layout *l = calloc(1, sizeof(*l));

    assert_non_null(l);
    for (uint64_t id = 1; id < FILES_MAX; id++) {
        struct file *f;

        if (sim_file_len(s->sim, id) < 0) {
            continue;
        }
        f = &l->files[l->file_count++];
        *f = file_read(s->sim, id, s->identity.uuid);
        if (f->state == SEGMENT_VALID) {
            l->newest = id;
            segment_lay_out(l, f);
        }
    }
    for (size_t i = 0; i < l->file_count; i++) {
        enum structure what = l->files[i].id == l->newest ? HEADER_NEWEST : HEADER_OTHER;

        if (l->files[i].state == SEGMENT_VALID) {
            region_add(l, what, l->files[i].id, 0, SEGMENT_HEADER_BYTES);
            region_add(l, what, l->files[i].id, SEGMENT_HEADER_COPY,
                       SEGMENT_HEADER_COPY + SEGMENT_HEADER_BYTES);
        }
    }
    return l;
}

void layout_free(struct layout *l)
{
    for (size_t i = 0; i < l->file_count; i++) {
        free(l->files[i].bytes);
    }
    free(l);
}

uint64_t synced_found(const struct layout *l, const struct sim *sim, const uint8_t *uuid,
                      uint64_t only)
{
    uint64_t synced = 0;

    for (uint64_t id = 1; id < FILES_MAX; id++) {
        bool read = only == 0 || id == only;

        for (size_t i = 0; !read && i < l->file_count; i++) {
            synced = l->files[i].id == id ? MAX(synced, l->files[i].synced) : synced;
        }
        if (read && sim_file_len(sim, id) >= 0) {
            struct file f = file_read(sim, id, uuid);

            synced = MAX(synced, f.synced);
            free(f.bytes);
        }
    }
    return synced;
}

/* ---- Damages ------------------------------------------------------------- */

static unsigned thinning(void)
{
    const char *text = getenv("HLFS_TEST_SEEDS");
    unsigned seeds = text ? (unsigned)strtoul(text, NULL, 10) : 20;

    return seeds >= 1000 ? 1 : seeds >= 200 ? 3 : seeds >= 20 ? 8 : 67;
}

static void flips(const struct simvol *s, const struct layout *l, struct rng *r,
                  const struct damage_judge *j)
{
    const unsigned thin = thinning();

    for (size_t i = 0; i < l->count; i++) {
        const struct region *g = &l->regions[i];
        unsigned stride = strides[g->what] * thin;

        for (uint64_t at = g->from + rng_below(r, stride); at < g->to; at += stride) {
            struct sim *sim = sim_fork(s->sim, 1);
            uint8_t mask = (uint8_t)(1u << rng_below(r, 8));

            (void)snprintf(damage_text, sizeof(damage_text), "%s: segment %llu, offset %llu "
                           "(%llu in it), mask %02x", structure_names[g->what],
                           (unsigned long long)g->file, (unsigned long long)at,
                           (unsigned long long)(at - g->from), mask);
            assert_int_equal(sim_corrupt(sim, g->file, at, mask), 0);
            j->fn(j->opaque, sim, g->what, g->file);
        }
    }
}

/* The same bit in both copies of a header; and both wiped. */
static void headers(const struct simvol *s, const struct layout *l, struct rng *r,
                    const struct damage_judge *j)
{
    static const uint8_t zero[SEGMENT_DATA_OFFSET];

    for (size_t i = 0; i < l->file_count; i++) {
        const struct file *f = &l->files[i];
        enum structure what = f->id == l->newest ? BOTH_HEADERS_NEWEST :
                              BOTH_HEADERS_OTHER;
        struct sim *sim;

        if (f->state != SEGMENT_VALID) {
            continue;
        }
        for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES; at += thinning()) {
            uint8_t mask = (uint8_t)(1u << rng_below(r, 8));

            sim = sim_fork(s->sim, 1);
            (void)snprintf(damage_text, sizeof(damage_text), "%s: segment %llu, byte %llu",
                           structure_names[what], (unsigned long long)f->id,
                           (unsigned long long)at);
            assert_int_equal(sim_corrupt(sim, f->id, at, mask), 0);
            assert_int_equal(sim_corrupt(sim, f->id, SEGMENT_HEADER_COPY + at, mask), 0);
            j->fn(j->opaque, sim, what, f->id);
        }
        sim = sim_fork(s->sim, 1);
        (void)snprintf(damage_text, sizeof(damage_text), "%s: segment %llu",
                       structure_names[BOTH_HEADERS_WIPED], (unsigned long long)f->id);
        sim_poke(sim, f->id, 0, zero, sizeof(zero));
        j->fn(j->opaque, sim, BOTH_HEADERS_WIPED, f->id);
    }
}

static void truncate_at(const struct simvol *s, const struct layout *l, uint64_t file,
                        uint64_t len,
                        const struct damage_judge *j)
{
    struct sim *sim = sim_fork(s->sim, 1);

    (void)snprintf(damage_text, sizeof(damage_text), "segment %llu truncated to %llu bytes",
                   (unsigned long long)file, (unsigned long long)len);
    assert_int_equal(sim_truncate(sim, file, len), 0);
    j->fn(j->opaque, sim, TRUNCATED, file);
}

/* At the borders of everything, and a byte before them. */
static void truncations(const struct simvol *s, const struct layout *l, struct rng *r,
                        const struct damage_judge *j)
{
    const unsigned thin = thinning();

    for (size_t i = 0; i < l->count; i++) {
        const struct region *g = &l->regions[i];

        if (rng_below(r, thin) != 0) {
            continue;
        }
        truncate_at(s, l, g->file, g->from, j);
        if (g->from > 0) {
            truncate_at(s, l, g->file, g->from - 1, j);
        }
    }
}

/* Whole files: missing, of another volume, a copy of another segment. */
static void files(const struct simvol *s, const struct simvol *other,
                  const struct layout *l, struct rng *r,
                  const struct damage_judge *j)
{
    const unsigned thin = MIN(thinning(), 8u);
    const uint64_t highest = l->files[l->file_count - 1].id;

    for (size_t i = 0; i < l->file_count; i++) {
        const struct file *f = &l->files[i];
        struct sim *sim = sim_fork(s->sim, 1);

        (void)snprintf(damage_text, sizeof(damage_text), "segment %llu missing",
                       (unsigned long long)f->id);
        assert_int_equal(sim_unlink(sim, f->id), 0);
        j->fn(j->opaque, sim, MISSING, f->id);

        if (sim_file_len(other->sim, f->id) > 0) {
            struct file g = file_read(other->sim, f->id, other->identity.uuid);

            sim = sim_fork(s->sim, 1);
            (void)snprintf(damage_text, sizeof(damage_text), "segment %llu of another volume",
                           (unsigned long long)f->id);
            assert_int_equal(sim_truncate(sim, f->id, 0), 0);
            sim_poke(sim, f->id, 0, g.bytes, g.len);
            j->fn(j->opaque, sim, FOREIGN, f->id);
            free(g.bytes);
        }
        for (size_t k = 0; k < l->file_count; k++) {
            if (k == i || rng_below(r, thin) != 0) {
                continue;
            }
            sim = sim_fork(s->sim, 1);
            (void)snprintf(damage_text, sizeof(damage_text), "segment %llu is a copy of %llu",
                           (unsigned long long)f->id,
                           (unsigned long long)l->files[k].id);
            assert_int_equal(sim_copy_file(sim, l->files[k].id, f->id), 0);
            j->fn(j->opaque, sim, STALE, f->id);
        }
        sim = sim_fork(s->sim, 1);
        (void)snprintf(damage_text, sizeof(damage_text), "a copy of segment %llu is the newest",
                       (unsigned long long)f->id);
        assert_int_equal(sim_copy_file(sim, f->id, highest + 1), 0);
        j->fn(j->opaque, sim, STALE, highest + 1);
    }
}

/* Records of other segments stand where the newest one ends, as in a reused file. */
static void stale_records(const struct simvol *s, const struct layout *l,
                          const struct damage_judge *j)
{
    for (size_t i = 0; i < l->file_count; i++) {
        const struct file *f = &l->files[i], *to;
        struct sim *sim;

        for (to = l->files; to->id != l->newest; to++) {
        }
        if (f == to || f->len <= to->end) {
            continue;
        }
        sim = sim_fork(s->sim, 1);
        (void)snprintf(damage_text, sizeof(damage_text), "records of segment %llu behind the end",
                       (unsigned long long)f->id);
        sim_poke(sim, to->id, to->end, f->bytes + to->end, f->len - to->end);
        j->fn(j->opaque, sim, STALE_RECORDS, to->id);
        sim = sim_fork(s->sim, 1);
        sim_poke(sim, to->id, to->end, f->bytes + SEGMENT_DATA_OFFSET,
                 f->len - SEGMENT_DATA_OFFSET);
        j->fn(j->opaque, sim, STALE_RECORDS, to->id);
    }
}

void damage_each(const struct simvol *s, const struct simvol *other, const struct layout *l,
                 struct rng *r, const struct damage_judge *j)
{
    flips(s, l, r, j);
    headers(s, l, r, j);
    truncations(s, l, r, j);
    files(s, other, l, r, j);
    stale_records(s, l, j);
}
