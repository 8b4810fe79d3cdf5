/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What volume_check() says of a healthy volume (nothing), and of one with a damage: a
 * flipped bit in each kind of structure, wrong counts, missing and superfluous files.
 * Every damage that can be told from a crash's remains is reported, and volume_check()
 * and volume_dump() look at all of them to the end.
 */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/rng.h"
#include "log/scan.h"
#include "map/page.h"
#include "simvol.h"

#define SPOTS_MAX 8192
#define FILES_MAX 256
#define TEXT_MAX 65536

/* ---- Findings ------------------------------------------------------------- */

struct report {
    struct hlfs_check_result result;
    int res;
    unsigned errors, warnings;      /* told */
    char text[TEXT_MAX];            /* all sentences, a line each */
    size_t used;
};

static void note(void *opaque, int error, const char *text)
{
    struct report *r = opaque;
    int n = snprintf(r->text + r->used, TEXT_MAX - r->used, "%s: %s\n",
                     error ? "error" : "warning", text);

    r->used = MIN(r->used + (size_t)n, (size_t)TEXT_MAX - 1);
    r->errors += error != 0;
    r->warnings += error == 0;
}

static const struct report *check(struct sim *sim, unsigned flags)
{
    static struct report r;
    struct store *s;

    memset(&r, 0, sizeof(r));
    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    r.res = volume_check(s, flags, note, &r, &r.result);
    if (r.res < 0) {
        assert_string_not_equal(error_text(), "");
    } else {
        assert_int_equal(r.errors, r.result.errors);
        assert_int_equal(r.warnings, r.result.warnings);
    }
    if (sim_misuse(sim)) {
        fail_msg("%s", sim_misuse(sim));
    }
    return &r;
}

static bool is_clean(const struct report *r)
{
    return r->res == 0 && r->errors == 0 && r->warnings == 0;
}

static void assert_clean(struct sim *sim)
{
    const struct report *r = check(sim, HLFS_CHECK_DATA);

    if (!is_clean(r)) {
        fail_msg("%d %s\n%s", r->res, error_text(), r->text);
    }
}

/* Looked to the end, and said SENTENCE (a part of one, "error: …" or "warning: …"). */
static void assert_says(const struct report *r, const char *sentence)
{
    if (r->res != 0 || !strstr(r->text, sentence)) {
        fail_msg("'%s' is not in: %d %s\n%s", sentence, r->res, error_text(), r->text);
    }
}

/* ---- Dumps ---------------------------------------------------------------- */

struct lines {
    char *text;                     /* owned */
    size_t used, room;
    unsigned count;
};

static void line_note(void *opaque, const char *text)
{
    struct lines *l = opaque;
    size_t need = strlen(text) + 2;

    assert_null(strchr(text, '\n'));
    if (l->used + need > l->room) {
        l->room = (l->used + need) * 2;
        l->text = realloc(l->text, l->room);
        assert_non_null(l->text);
    }
    memcpy(l->text + l->used, text, need - 2);
    memcpy(l->text + l->used + need - 2, "\n", 2);
    l->used += need - 1;
    l->count++;
}

static struct lines dump(struct sim *sim)
{
    struct lines l = { 0 };
    struct store *s;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    assert_int_equal(volume_dump(s, line_note, &l), 0);
    return l;
}

/* ---- Where things are ----------------------------------------------------- */

enum thing { HEADER, RECORD, FOOTER, PAGE, BLOCK, OVERRIDES };

struct spot {
    enum thing what;
    uint64_t file, from, to;        /* bytes */
    uint64_t seq;                   /* RECORD and what is in one: its seq */
};

struct layout {
    struct spot spots[SPOTS_MAX];
    size_t count;
    uint64_t synced;                /* highest seq that anything calls synced */
    uint64_t newest;                /* the highest segment with a header */
    struct segment_header header;   /* of it */
    uint64_t end;                   /* behind its last record */
    uint64_t last;                  /* seq of that */
    bool footer_named[FILES_MAX];   /* a header says where this segment's footer is */
};

static void spot_add(struct layout *l, enum thing what, uint64_t file, uint64_t from,
                     uint64_t to, uint64_t seq)
{
    assert_true(l->count < SPOTS_MAX);
    l->spots[l->count++] = (struct spot){ what, file, from, to, seq };
}

static void record_lay_out(struct layout *l, uint64_t file, uint64_t at,
                           const struct record_header *h, const uint8_t *head)
{
    uint64_t payload = at + h->head_bytes;
    struct entry e;
    size_t pos = 0;

    spot_add(l, RECORD, file, at, at + RECORD_HEADER_BYTES + h->entry_bytes, h->seq);
    while (entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos, h->payload_bytes,
                      SIMVOL_BLOCK_BYTES, true, &e) == 1) {
        uint64_t to = payload + e.payload_offset;

        if (e.type == ENTRY_PAGE) {
            spot_add(l, PAGE, file, to, to + PAGE_BYTES, h->seq);
        } else if (e.type == ENTRY_CHECKPOINT && le32(e.checkpoint->override_count) > 0) {
            spot_add(l, OVERRIDES, file, to,
                     to + le32(e.checkpoint->override_count) *
                     sizeof(struct usage_override_disk), h->seq);
        }
        for (uint64_t i = 0; e.type == ENTRY_DATA && i < e.count; i++) {
            spot_add(l, BLOCK, file, to + i * SIMVOL_BLOCK_BYTES,
                     to + (i + 1) * SIMVOL_BLOCK_BYTES, h->seq);
        }
    }
}

static void segment_lay_out(struct layout *l, struct store_lane *lane,
                            const struct segment_header *h)
{
    uint64_t at = SEGMENT_DATA_OFFSET;
    struct record_header record;
    struct scan scan;
    const uint8_t *head;
    uint8_t *footer;
    size_t bytes;

    assert_true(h->file < FILES_MAX);
    l->footer_named[h->footer.file] = true;
    l->newest = h->file;
    l->header = *h;
    l->synced = MAX(l->synced, h->synced);
    spot_add(l, HEADER, h->file, 0, SEGMENT_HEADER_BYTES, 0);
    spot_add(l, HEADER, h->file, SEGMENT_HEADER_COPY,
             SEGMENT_HEADER_COPY + SEGMENT_HEADER_BYTES, 0);
    scan_init(&scan, lane, h);
    while (scan_record(&scan, at, &record, &head) == 1) {
        record_lay_out(l, h->file, at, &record, head);
        l->synced = MAX(l->synced, record.synced);
        l->last = record.seq;
        at += record_bytes(&record);
    }
    if (scan_footer(&scan, at, &footer, &bytes) == 1) {
        spot_add(l, FOOTER, h->file, at, at + bytes, 0);
        free(footer);
    }
    l->end = at;
    scan_done(&scan);
}

static struct layout *layout_new(const struct simvol *s)
{
    struct layout *l = calloc(1, sizeof(*l));
    struct store_lane *lane;
    struct store *store;
    uint64_t highest;

    assert_non_null(l);
    assert_int_equal(sim_store_open(s->sim, SIM_OPEN_READ_ONLY, &store), 0);
    lane = store_lane_new(store);
    assert_int_equal(store_highest(store, 0, &highest), 0);
    for (uint64_t file = 1; file <= highest; file++) {
        uint8_t buf[SEGMENT_DATA_OFFSET];
        struct segment_header h;
        int error;
        int64_t n = sim_peek(s->sim, file, 0, buf, sizeof(buf));

        if (n > 0 && segment_header_decode(buf, (size_t)n, file, s->identity.uuid, &h,
                                           &error) == SEGMENT_VALID) {
            segment_lay_out(l, lane, &h);
        }
    }
    store_lane_free(lane);
    store_free(store);
    return l;
}

/* Flip a bit of S, at OFFSET into it. */
static void flip(struct sim *sim, const struct spot *s, uint64_t offset)
{
    assert_int_equal(sim_corrupt(sim, s->file, s->from + offset % (s->to - s->from),
                                 (uint8_t)(1u << offset % 8)), 0);
}

/* ---- Healthy volumes ------------------------------------------------------ */

static void healthy_is_clean(void **state)
{
    (void)state;
    for (enum simvol_end end = 0; end < SIMVOL_ENDS; end++) {
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct simvol *s = simvol_new(end, seed);
            const struct report *r;

            r = check(s->sim, HLFS_CHECK_DATA);
            if (r->errors > 0 || (end < SIMVOL_DIRTY && r->warnings > 0)) {
                fail_msg("end %d, seed %u: %s", end, (unsigned)seed, r->text);
            }
            r = check(s->sim, 0);
            assert_true(r->result.segments > 2 && r->result.records > 50);
            assert_true(r->result.pages > 1 && r->result.blocks > 20);
            simvol_free(s);
        }
    }
}

/* A power cut leaves torn ends; none of them is damage. */
static void power_cut_is_no_damage(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct simvol *s = simvol_new(seed % 2 ? SIMVOL_DIRTY : SIMVOL_TAKEN_OVER, seed);
        const struct report *r;
        struct hlfs *v;

        sim_power_cut(s->sim);
        sim_power_on(s->sim);
        r = check(s->sim, HLFS_CHECK_DATA);
        if (r->res != 0 || r->errors > 0) {
            fail_msg("seed %u: %s", (unsigned)seed, r->text);
        }
        assert_int_equal(simvol_open(s->sim, 0, &v), 0);
        assert_int_equal(volume_close(v), 0);
        r = check(s->sim, HLFS_CHECK_DATA);
        if (r->res != 0 || r->errors > 0) {
            fail_msg("seed %u, reopened: %s", (unsigned)seed, r->text);
        }
        simvol_free(s);
    }
}

/* Beside a writer that has things in flight, and that removes segments. */
static void writer_at_work(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 3);
    static uint8_t buf[SIMVOL_BLOCK_BYTES];
    struct rng rng = { 3 };
    struct hlfs *v;

    (void)state;
    assert_int_equal(simvol_open(s->sim, 0, &v), 0);
    for (int i = 0; i < 400; i++) {
        uint64_t block = rng_below(&rng, SIMVOL_BYTES / SIMVOL_BLOCK_BYTES);

        memset(buf, i, sizeof(buf));
        assert_int_equal(simvol_call(v, REQUEST_WRITE, buf, sizeof(buf),
                                     block * SIMVOL_BLOCK_BYTES), 0);
        if (i % 50 == 49) {
            volume_want_checkpoint(v);
        }
        (void)volume_turn(v, 0);
        if (i % 10 == 9) {
            assert_clean(s->sim);
        }
    }
    assert_int_equal(volume_close(v), 0);
    assert_clean(s->sim);
    simvol_free(s);
}

/* ---- Flipped bits --------------------------------------------------------- */

/* What must be said when a bit of S is flipped; NULL: it may be the end of the log. */
static const char *expected(const struct layout *l, const struct spot *s)
{
    switch (s->what) {
    case HEADER:
        return "warning: copy ";
    case FOOTER:
        return l->footer_named[s->file] ? "warning: the footer of segment " : NULL;
    case RECORD:
        return s->seq <= l->synced ? " damaged or missing" : NULL;
    case OVERRIDES:
        return s->seq <= l->synced ? "error: record " : NULL;
    default:
        return NULL;
    }
}

static void every_flip_is_found(void **state)
{
    const enum simvol_end ends[] = { SIMVOL_CLOSED, SIMVOL_MARKED, SIMVOL_TAKEN_OVER };
    struct rng rng = { 11 };

    (void)state;
    for (size_t e = 0; e < ARRAY_SIZE(ends); e++) {
        struct simvol *s = simvol_new(ends[e], 21 + e);
        struct layout *l = layout_new(s);
        unsigned flips = 0;

        for (size_t i = 0; i < l->count; i++) {
            const char *what = expected(l, &l->spots[i]);

            for (unsigned k = 0; what && k < 4; k++) {
                struct sim *sim = sim_fork(s->sim, i);

                flip(sim, &l->spots[i], rng_next(&rng));
                assert_says(check(sim, 0), what);
                sim_free(sim);
                flips++;
            }
        }
        assert_true(flips > 300);
        free(l);
        simvol_free(s);
    }
}

/* Of pages and blocks, those are found that are live, each once. */
static void flips_of_what_is_live(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_MARKED, 31);
    struct layout *l = layout_new(s);
    uint64_t pages = 0, blocks = 0;
    const struct report *r;

    (void)state;
    for (size_t i = 0; i < l->count; i++) {
        const struct spot *spot = &l->spots[i];
        struct sim *sim;
        char place[64];

        if (spot->what != PAGE && spot->what != BLOCK) {
            continue;
        }
        sim = sim_fork(s->sim, i);
        flip(sim, spot, i * 97);
        if (spot->what == BLOCK && spot->seq <= l->synced) {
            assert_true(is_clean(check(sim, 0)));
        }
        r = check(sim, HLFS_CHECK_DATA);
        assert_int_equal(r->res, 0);
        if (r->errors > 0) {
            (void)snprintf(place, sizeof(place), "at segment %u, offset %u",
                           (unsigned)spot->file, (unsigned)spot->from);
            assert_says(r, place);
            pages += spot->what == PAGE;
            blocks += spot->what == BLOCK;
        }
        sim_free(sim);
    }
    r = check(s->sim, HLFS_CHECK_DATA);
    assert_int_equal(pages, r->result.pages);
    assert_int_equal(blocks, r->result.blocks);
    free(l);
    simvol_free(s);
}

static void header_damaged_in_both_copies(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 41);
    struct layout *l = layout_new(s);
    static const uint8_t zero[SEGMENT_DATA_OFFSET];
    unsigned found = 0;

    (void)state;
    for (size_t i = 0; i + 1 < l->count; i++) {
        struct sim *sim;
        char name[64];

        if (l->spots[i].what != HEADER || l->spots[i + 1].what != HEADER) {
            continue;
        }
        sim = sim_fork(s->sim, i);
        flip(sim, &l->spots[i], 100);
        flip(sim, &l->spots[i + 1], 100);
        (void)snprintf(name, sizeof(name), "error: the header of segment %u is damaged in "
                       "both copies", (unsigned)l->spots[i].file);
        assert_says(check(sim, HLFS_CHECK_DATA), name);
        sim_free(sim);

        sim = sim_fork(s->sim, i);
        sim_poke(sim, l->spots[i].file, 0, zero, sizeof(zero));
        found += check(sim, 0)->errors > 0;     /* if anything in it is needed */
        sim_free(sim);
        i++;
    }
    assert_true(found > 2);
    free(l);
    simvol_free(s);
}

/* ---- Files ---------------------------------------------------------------- */

static void missing_and_cut_files(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_MARKED, 51);
    struct layout *l = layout_new(s);
    unsigned missing = 0, short_ones = 0;

    (void)state;
    for (uint64_t file = 1; file <= l->newest; file++) {
        int64_t len = sim_file_len(s->sim, file);
        struct sim *sim;

        if (len <= (int64_t)SEGMENT_DATA_OFFSET) {
            continue;
        }
        sim = sim_fork(s->sim, file);
        assert_int_equal(sim_unlink(sim, file), 0);
        missing += check(sim, HLFS_CHECK_DATA)->errors > 0;
        sim_free(sim);

        sim = sim_fork(s->sim, file);
        assert_int_equal(sim_truncate(sim, file, SEGMENT_DATA_OFFSET + 100), 0);
        short_ones += check(sim, HLFS_CHECK_DATA)->errors > 0;
        sim_free(sim);
    }
    assert_true(missing > 2 && short_ones > 2);
    free(l);
    simvol_free(s);
}

static void rubbish(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 61);
    struct layout *l = layout_new(s);
    static const uint8_t zero[SEGMENT_DATA_OFFSET];
    uint64_t removed = 1;

    (void)state;
    while (sim_file_len(s->sim, removed) >= 0) {
        removed++;
    }
    assert_true(removed < l->newest);
    sim_poke(s->sim, removed, 0, zero, sizeof(zero));
    assert_says(check(s->sim, 0), "warning: segment ");
    assert_says(check(s->sim, 0), " is rubbish: ");
    sim_poke(s->sim, STORE_MOVED | 7, 0, zero, sizeof(zero));
    assert_says(check(s->sim, 0), "warning: cleaner segment 7 is rubbish");
    assert_int_equal(check(s->sim, 0)->errors, 0);
    free(l);
    simvol_free(s);
}

/* ---- The identity --------------------------------------------------------- */

static void identity_damaged_or_missing(void **state)
{
    struct sim *sim = sim_new(71);
    uint8_t buf[IDENTITY_BYTES] = { 1, 2, 3 };
    struct store *s;

    (void)state;
    assert_int_equal(check(sim, 0)->res, -ENOENT);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    assert_int_equal(store_put(s, "volume", buf, sizeof(buf)), 0);
    store_free(s);
    assert_says(check(sim, HLFS_CHECK_DATA), "error: the identity of ");
    sim_free(sim);
}

/* Everything but the identity is lost. */
static void no_segments(void **state)
{
    struct sim *sim = sim_new(72);
    const struct identity id = { .block_bytes = BLOCK_BYTES_MIN };
    uint8_t buf[IDENTITY_BYTES];
    struct store *s;

    (void)state;
    identity_encode(&id, buf);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    assert_int_equal(store_put(s, "volume", buf, sizeof(buf)), 0);
    store_free(s);
    assert_says(check(sim, 0), "has no segments");
    sim_free(sim);
}

/* ---- Forged records ------------------------------------------------------- */

/* Change a record and give it the right sum again. */
static void record_forge(struct sim *sim, const struct layout *l, const struct spot *s,
                         void (*change)(uint8_t *record, struct record_header *h,
                                        uint64_t arg), uint64_t arg)
{
    static uint8_t buf[RECORD_HEAD_MAX + RECORD_PAYLOAD_MAX];
    uint8_t top[SEGMENT_DATA_OFFSET];
    struct segment_header sh;
    struct record_header h;
    size_t need;
    int error;

    (void)l;
    assert_int_equal(sim_peek(sim, s->file, 0, top, sizeof(top)), sizeof(top));
    (void)sim_peek(sim, s->file, s->from, buf, sizeof(buf));
    memset(&sh, 0, sizeof(sh));
    memcpy(sh.salt, ((struct segment_header_disk *)top)->salt, SALT_BYTES);
    memcpy(sh.uuid, ((struct segment_header_disk *)top)->uuid, UUID_BYTES);
    assert_int_equal(segment_header_decode(top, sizeof(top), s->file, sh.uuid, &sh,
                                           &error), SEGMENT_VALID);
    assert_int_equal(record_decode(buf, sizeof(buf), segment_seed(&sh), sh.epoch, s->from,
                                   &h, &need), 0);
    change(buf, &h, arg);
    record_encode(buf, &h, segment_seed(&sh), s->from);
    sim_poke(sim, s->file, s->from, buf, record_bytes(&h));
}

/* The last record with a checkpoint that has overrides. */
static const struct spot *checkpoint_record(const struct layout *l)
{
    const struct spot *found = NULL;
    uint64_t seq = 0;

    for (size_t i = 0; i < l->count; i++) {
        seq = l->spots[i].what == OVERRIDES ? l->spots[i].seq : seq;
    }
    for (size_t i = 0; i < l->count; i++) {
        if (l->spots[i].what == RECORD && l->spots[i].seq == seq) {
            found = &l->spots[i];
        }
    }
    assert_non_null(found);
    return found;
}

static struct entry checkpoint_entry(const uint8_t *record, const struct record_header *h)
{
    struct entry e;
    size_t pos = 0;

    do {
        assert_int_equal(entry_next(record + RECORD_HEADER_BYTES, h->entry_bytes, &pos,
                                    h->payload_bytes, SIMVOL_BLOCK_BYTES, true, &e), 1);
    } while (e.type != ENTRY_CHECKPOINT);
    return e;
}

static void count_change(uint8_t *record, struct record_header *h, uint64_t add)
{
    struct entry e = checkpoint_entry(record, h);
    struct entry_checkpoint_disk *d = (void *)(uintptr_t)e.checkpoint;
    struct usage_override_disk *o = (void *)(record + h->head_bytes + e.payload_offset);

    o->live_bytes = to_le64(le64(o->live_bytes) + add);
    d->override_crc = to_le32(crc32c(0, o, le32(d->override_count) * sizeof(*o)));
}

static void wrong_counts(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 81);
    struct layout *l = layout_new(s);
    struct sim *sim = sim_fork(s->sim, 1);

    (void)state;
    record_forge(sim, l, checkpoint_record(l), count_change, 4096);
    assert_says(check(sim, 0), "warning: the usage table says ");
    assert_int_equal(check(sim, 0)->errors, 0);
    record_forge(sim, l, checkpoint_record(l), count_change, (uint64_t)-8192);
    assert_says(check(sim, 0), "error: the usage table says ");
    sim_free(sim);
    free(l);
    simvol_free(s);
}

/* The map's root leads to a page that is fine, and of the other tree. */
static void roots_swap(uint8_t *record, struct record_header *h, uint64_t arg)
{
    struct entry e = checkpoint_entry(record, h);
    struct entry_checkpoint_disk *d = (void *)(uintptr_t)e.checkpoint;
    struct root_disk map = d->roots[TREE_MAP - 1];

    (void)arg;
    d->roots[TREE_MAP - 1] = d->roots[TREE_USAGE - 1];
    d->roots[TREE_USAGE - 1] = map;
}

/* A root in a segment that does not exist, or where no data can be. */
static void root_away(uint8_t *record, struct record_header *h, uint64_t file)
{
    struct entry e = checkpoint_entry(record, h);
    struct entry_checkpoint_disk *d = (void *)(uintptr_t)e.checkpoint;
    struct place p = place_make(file, 512, PAGE_BYTES, 0);

    d->roots[TREE_MAP - 1].w0 = to_le64(p.w0);
    d->roots[TREE_MAP - 1].w1 = to_le64(p.w1);
}

static void wrong_roots(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 82);
    struct layout *l = layout_new(s);
    const struct spot *record = checkpoint_record(l);
    struct sim *sim = sim_fork(s->sim, 1);

    (void)state;
    record_forge(sim, l, record, roots_swap, 0);
    assert_says(check(sim, HLFS_CHECK_DATA), "is no such page");
    record_forge(sim, l, record, root_away, l->newest + 100);
    assert_says(check(sim, HLFS_CHECK_DATA), "does not exist");
    record_forge(sim, l, record, root_away, record->file);
    assert_says(check(sim, HLFS_CHECK_DATA), "where no data can be");
    sim_free(sim);
    free(l);
    simvol_free(s);
}

static void header_change(uint8_t *record, struct record_header *h, uint64_t what)
{
    (void)record;
    switch (what) {
    case 0:
        h->synced = h->seq;
        break;
    case 1:
        h->time_us = 1;
        break;
    default:
        h->entry_count++;
    }
}

static void senseless_records(void **state)
{
    static const char *const says[] = {
        "error: record %u in segment %u, offset %u, makes no sense: what it calls durable",
        "error: record %u in segment %u, offset %u, makes no sense: its time is not above",
        "error: record %u in segment %u, offset %u, has entries that make no sense",
    };
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 83);
    struct layout *l = layout_new(s);
    size_t i = l->count / 2;

    (void)state;
    while (l->spots[i].what != RECORD || l->spots[i].from == SEGMENT_DATA_OFFSET) {
        i++;
    }
    for (size_t k = 0; k < ARRAY_SIZE(says); k++) {
        struct sim *sim = sim_fork(s->sim, k);
        char sentence[128];

        record_forge(sim, l, &l->spots[i], header_change, k);
        (void)snprintf(sentence, sizeof(sentence), says[k], (unsigned)l->spots[i].seq,
                       (unsigned)l->spots[i].file, (unsigned)l->spots[i].from);
        assert_says(check(sim, 0), sentence);
        assert_says(check(sim, 0), "does not tell what its records do");
        sim_free(sim);
    }
    free(l);
    simvol_free(s);
}

/* ---- Segments that began with higher seqs --------------------------------- */

static void segment_poke(struct sim *sim, const struct segment_header *h)
{
    uint8_t buf[SEGMENT_DATA_OFFSET];

    segment_header_encode(h, buf);
    sim_poke(sim, h->file, 0, buf, sizeof(buf));
}

static void mark_poke(struct sim *sim, const struct segment_header *h, uint64_t seq,
                      uint64_t offset, uint64_t time_us)
{
    uint8_t buf[4096] = { 0 };
    struct record_header r = {
        .seq = seq, .epoch = h->epoch, .synced = seq - 1, .time_us = time_us,
        .entry_count = 1, .head_bytes = sizeof(buf),
    };

    r.entry_bytes = (uint32_t)entry_put_mark(buf + RECORD_HEADER_BYTES);
    record_encode(buf, &r, segment_seed(h), offset);
    sim_poke(sim, h->file, offset, buf, sizeof(buf));
}

/*
 * The header of a segment landed before the end of the one below it, and the next
 * writer cut both off: its records go on with lower seqs than that header's `first`.
 * Replay did not look beyond the header, called the log damaged, and the volume was
 * lost for writing.
 */
static void header_that_landed_early(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_MARKED, 91);
    struct layout *l = layout_new(s);
    struct segment_header early = l->header, next = l->header;
    struct hlfs_info info;
    struct hlfs *v;

    (void)state;
    early.file = l->newest + 1;
    early.first = l->last + 50;
    early.cut = 0;
    early.synced = l->synced;
    memset(early.salt, 1, SALT_BYTES);
    memset(&early.footer, 0, sizeof(early.footer));
    segment_poke(s->sim, &early);
    next = early;
    next.file = next.epoch = l->newest + 2;
    next.first = next.cut = l->last + 1;
    next.synced = l->last;
    segment_poke(s->sim, &next);
    for (uint64_t i = 0; i < 3; i++) {
        mark_poke(s->sim, &next, next.first + i, SEGMENT_DATA_OFFSET + i * 4096,
                  UINT64_C(1) << 60 | i);
    }
    assert_clean(s->sim);
    assert_int_equal(simvol_open(s->sim, VOLUME_RDONLY, &v), 0);
    assert_int_equal(volume_info(v, &info), 0);
    assert_int_equal(info.seq, l->last + 3);
    assert_int_equal(volume_close(v), 0);
    free(l);
    simvol_free(s);
}

/* ---- Dumps, and anything at all ------------------------------------------- */

static void dump_tells_all(void **state)
{
    static const char *const words[] = {
        "volume ", "segment ", ": epoch ", "  writer: host ", "  checkpoint: in record ",
        "  footer below: up to record ", "  record ", "    data: blocks ", "    hole: ",
        "zeroed", "discarded", "    page: map, level 0", "    page: usage, level 0",
        "    checkpoint: replay from record ", "root of the map tree: ", "    mark",
        "  footer at offset ", ": end",
    };
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 101);
    struct lines l = dump(s->sim);

    (void)state;
    assert_int_equal(strncmp(l.text, "as of 20", 8), 0);
    assert_true(check(s->sim, 0)->result.as_of_us > 0);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!strstr(l.text, words[i])) {
            fail_msg("'%s' is not in the dump", words[i]);
        }
    }
    free(l.text);
    simvol_free(s);
}

static void damage_at_random(struct sim *sim, const struct layout *l, struct rng *rng)
{
    const struct spot *spot = &l->spots[rng_below(rng, l->count)];
    int64_t len = sim_file_len(sim, spot->file);

    if (len <= 0) {
        return;
    }
    switch (rng_below(rng, 12)) {
    case 0:
        (void)sim_truncate(sim, spot->file, rng_below(rng, (uint64_t)len));
        break;
    case 1:
        (void)sim_unlink(sim, spot->file);
        break;
    case 2:
        (void)sim_copy_file(sim, spot->file, 1 + rng_below(rng, l->newest + 2));
        break;
    case 3:
        (void)sim_corrupt(sim, spot->file, rng_below(rng, (uint64_t)len), 0xFF);
        break;
    default:
        if ((int64_t)spot->to <= len) {
            flip(sim, spot, rng_next(rng));
        }
    }
}

/* Several damages at once: both look to the end, whatever it is. */
static void anything_at_all(void **state)
{
    struct rng rng = { 111 };
    unsigned found = 0;

    (void)state;
    for (enum simvol_end end = 0; end < SIMVOL_ENDS; end++) {
        struct simvol *s = simvol_new(end, 120 + end);
        struct layout *l = layout_new(s);

        for (unsigned i = 0; i < 150; i++) {
            struct sim *sim = sim_fork(s->sim, i);
            const struct report *r;
            struct lines lines;

            for (unsigned k = 1 + rng_below(&rng, 6); k > 0; k--) {
                damage_at_random(sim, l, &rng);
            }
            r = check(sim, rng_one_in(&rng, 2) ? HLFS_CHECK_DATA : 0);
            assert_int_equal(r->res, 0);
            found += r->errors > 0;
            lines = dump(sim);
            assert_true(lines.count > 0);
            free(lines.text);
            sim_free(sim);
        }
        free(l);
        simvol_free(s);
    }
    assert_true(found > 300);
}

/* Reads that fail are said, with the place, and the rest is looked at. */
static void store_that_fails(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 131);
    unsigned errors = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct sim *sim = sim_fork(s->sim, seed);
        const struct report *r;

        sim_options(sim)->eio_one_in[SIM_PREAD] = 10;
        r = check(sim, HLFS_CHECK_DATA);
        assert_true(r->res == 0 || r->res == -EIO);
        errors += r->errors > 0;
        sim_free(sim);
    }
    assert_true(errors > 30);
    simvol_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy_is_clean),
        cmocka_unit_test(power_cut_is_no_damage),
        cmocka_unit_test(writer_at_work),
        cmocka_unit_test(every_flip_is_found),
        cmocka_unit_test(flips_of_what_is_live),
        cmocka_unit_test(header_damaged_in_both_copies),
        cmocka_unit_test(missing_and_cut_files),
        cmocka_unit_test(rubbish),
        cmocka_unit_test(identity_damaged_or_missing),
        cmocka_unit_test(no_segments),
        cmocka_unit_test(wrong_counts),
        cmocka_unit_test(wrong_roots),
        cmocka_unit_test(senseless_records),
        cmocka_unit_test(header_that_landed_early),
        cmocka_unit_test(dump_tells_all),
        cmocka_unit_test(anything_at_all),
        cmocka_unit_test(store_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
