/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One damage at a time to a volume of known content: a flipped bit in each structure,
 * a file that is cut short, missing, of another volume or of another time.  Whatever it
 * is, opening and reading gives
 *
 *   the right content, or
 *   an error that names the place: the open is refused, or some blocks cannot be read;
 *
 * never other bytes, and never silently an older state than what was synced, as far as
 * the undamaged rest of the log still tells (the highest `synced` of all valid headers
 * and records, found here by a scan of its own).  And check says so.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/util.h"
#include "map/page.h"
#include "simvol.h"

#define FILES_MAX 64
#define REGIONS_MAX 8192
#define HANG_S 60           /* one damage takes milliseconds */

/* ---- Structures of a volume ---------------------------------------------- */

enum structure {
    HEADER_NEWEST, HEADER_OTHER, RECORD_HEADER, ENTRY, RECORD_PADDING, BLOCK_DATA,
    PAGE_HEAD, PAGE_BODY, CHECKPOINT_ENTRY, CHECKPOINT_PAYLOAD, FOOTER, REST,
    BOTH_HEADERS_NEWEST, BOTH_HEADERS_OTHER, BOTH_HEADERS_WIPED, TRUNCATED, MISSING,
    FOREIGN, STALE, STALE_RECORDS,
    STRUCTURES,
};

static const char *const structure_names[STRUCTURES] = {
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

struct region {
    enum structure what;
    uint64_t file, from, to;
};

struct file {
    uint64_t id;
    enum segment_state state;
    struct segment_header header;
    uint64_t end;               /* of the last record or footer */
    uint64_t synced;            /* what it tells to be synced */
    uint8_t *bytes;             /* owned */
    size_t len;
};

struct layout {
    struct file files[FILES_MAX];
    size_t file_count;
    uint64_t newest;            /* file with the newest valid header */
    struct region regions[REGIONS_MAX];
    size_t count;
};

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

static struct file file_read(const struct sim *sim, uint64_t id, const uint8_t *uuid)
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

static struct layout *layout_new(const struct simvol *s)
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

static void layout_free(struct layout *l)
{
    for (size_t i = 0; i < l->file_count; i++) {
        free(l->files[i].bytes);
    }
    free(l);
}

/* ---- What the rest of the log tells -------------------------------------- */

/* SIM differs from the disk of L in segment FILE only. */
static uint64_t synced_found(const struct layout *l, const struct sim *sim,
                             const struct simvol *s, uint64_t file)
{
    uint64_t synced = 0;

    for (size_t i = 0; i < l->file_count; i++) {
        if (l->files[i].id != file) {
            synced = MAX(synced, l->files[i].synced);
        }
    }
    if (sim_file_len(sim, file) >= 0) {
        struct file f = file_read(sim, file, s->identity.uuid);

        synced = MAX(synced, f.synced);
        free(f.bytes);
    }
    return synced;
}

/* The first state that a volume may show which has all records up to SYNCED. */
static size_t state_required(const struct simvol *s, uint64_t synced)
{
    size_t required = 0;

    for (size_t i = 0; i < s->count; i++) {
        if (s->states[i].seq <= synced) {
            required = i;
        }
    }
    return required;
}

/* ---- Looking at a damaged volume ----------------------------------------- */

enum outcome { RIGHT, UNREADABLE, REFUSED, OUTCOMES };

static unsigned tally[STRUCTURES][2][OUTCOMES];
static char current[256];       /* the damage that is looked at */

static void on_signal(int number)
{
    (void)!write(STDERR_FILENO, current, strlen(current));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

struct image {                  /* a volume as it reads */
    uint8_t *bytes;             /* owned, SIMVOL_BYTES */
    bool *failed;               /* owned, a block each */
    unsigned failures;
};

static bool is_damage(int res)
{
    return res == -EBADMSG || res == -ESTALE;
}

static void image_read(struct image *im, struct hlfs *v)
{
    const size_t blocks = DIV_ROUND_UP(SIMVOL_BYTES, SIMVOL_BLOCK_BYTES);

    im->bytes = malloc(SIMVOL_BYTES);
    im->failed = calloc(blocks, sizeof(*im->failed));
    im->failures = 0;
    assert_true(im->bytes && im->failed);
    if (simvol_call(v, REQUEST_READ, im->bytes, SIMVOL_BYTES, 0) == 0) {
        return;
    }
    for (size_t i = 0; i < blocks; i++) {
        uint64_t at = i * SIMVOL_BLOCK_BYTES;
        uint64_t len = MIN(SIMVOL_BLOCK_BYTES, SIMVOL_BYTES - at);
        int res = simvol_call(v, REQUEST_READ, im->bytes + at, len, at);

        if (res < 0 && !is_damage(res)) {
            fail_msg("%s: reading block %zu gives %d", current, i, res);
        }
        im->failed[i] = res < 0;
        im->failures += res < 0;
    }
}

static void image_done(struct image *im)
{
    free(im->bytes);
    free(im->failed);
}

static bool image_shows(const struct image *im, const struct simvol_state *state)
{
    for (uint64_t at = 0; at < SIMVOL_BYTES; at += SIMVOL_BLOCK_BYTES) {
        if (!im->failed[at / SIMVOL_BLOCK_BYTES] &&
            memcmp(im->bytes + at, state->bytes + at,
                   MIN(SIMVOL_BLOCK_BYTES, SIMVOL_BYTES - at)) != 0) {
            return false;
        }
    }
    return true;
}

/* Which state V shows, REQUIRED or a later one: fails if none. */
static size_t image_judge(const struct image *im, const struct simvol *s, size_t required)
{
    size_t i = s->count;

    while (i-- > required) {
        if (image_shows(im, &s->states[i])) {
            return i;
        }
    }
    while (required-- > 0) {
        if (image_shows(im, &s->states[required])) {
            fail_msg("%s: silently an older state, %zu of %zu", current, required,
                     s->count);
        }
    }
    fail_msg("%s: wrong content", current);
    return 0;
}

/* FILE is to be named; 0: some segment (a missing one is found by what it leaves). */
static enum outcome refusal_judge(int res, uint64_t file)
{
    const char *text = error_text();
    char name[32] = "segment";

    if (file != 0) {
        (void)snprintf(name, sizeof(name), "segment %llu", (unsigned long long)file);
    }
    if (!is_damage(res) && res != -ENOENT) {
        fail_msg("%s: open gives %d (%s)", current, res, text);
    }
    if (!strstr(text, name)) {
        fail_msg("%s: the sentence does not name the place: %s", current, text);
    }
    return REFUSED;
}

/*
 * What was there is there after new writes and a close, too; blocks that could not be
 * read stay so, or are right.
 */
static void go_on(struct sim *sim, const struct simvol *s, struct hlfs *v, size_t state)
{
    uint8_t *block = s->states[state].bytes;
    struct image im;

    if (simvol_call(v, REQUEST_WRITE, block, SIMVOL_BLOCK_BYTES, 0) < 0 ||
        volume_close(v) < 0) {
        return;         /* what is refused is not lost */
    }
    if (simvol_open(sim, VOLUME_RDONLY, &v) < 0) {
        (void)refusal_judge(-EBADMSG, 0);
        return;
    }
    image_read(&im, v);
    if (!image_shows(&im, &s->states[state])) {
        fail_msg("%s: wrong content after going on", current);
    }
    image_done(&im);
    assert_int_equal(volume_close(v), 0);
}

static unsigned check_errors(struct sim *sim)
{
    struct hlfs_check_result result = { 0 };
    struct store *s;
    int res;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    res = volume_check(s, HLFS_CHECK_DATA, NULL, NULL, &result);
    return (unsigned)result.errors + (res < 0);
}

static enum outcome look(struct sim *sim, const struct simvol *s, bool rw, uint64_t file,
                         size_t required)
{
    enum outcome outcome;
    struct hlfs *v = NULL;
    struct image im;
    size_t state;
    int res;

    (void)alarm(HANG_S);
    res = simvol_open(sim, rw ? 0 : VOLUME_RDONLY, &v);
    if (res < 0) {
        outcome = refusal_judge(res, file);
    } else {
        image_read(&im, v);
        state = image_judge(&im, s, required);
        outcome = im.failures > 0 ? UNREADABLE : RIGHT;
        image_done(&im);
        if (rw) {
            go_on(sim, s, v, state);
        } else {
            assert_int_equal(volume_close(v), 0);
        }
    }
    if (sim_misuse(sim)) {
        fail_msg("%s: %s", current, sim_misuse(sim));
    }
    return outcome;
}

/* Segment FILE on SIM is damaged: look as a reader, then as a writer.  Frees SIM. */
static void judge(struct sim *sim, const struct simvol *s, const struct layout *l,
                  enum structure what, uint64_t file)
{
    size_t required = state_required(s, synced_found(l, sim, s, file));
    unsigned errors = check_errors(sim);

    for (int rw = 0; rw < 2; rw++) {
        bool precise = what < BOTH_HEADERS_WIPED;

        enum outcome outcome = look(sim, s, rw, precise ? file : 0, required);

        if (outcome != RIGHT && errors == 0) {
            fail_msg("%s: check finds nothing", current);
        }
        tally[what][rw][outcome]++;
    }
    sim_free(sim);
}

/* ---- Damages ------------------------------------------------------------- */

static unsigned thinning(void)
{
    const char *text = getenv("HLFS_TEST_SEEDS");
    unsigned seeds = text ? (unsigned)strtoul(text, NULL, 10) : 20;

    return seeds >= 1000 ? 1 : seeds >= 200 ? 3 : seeds >= 20 ? 8 : 67;
}

static void flips(const struct simvol *s, const struct layout *l, struct rng *r)
{
    const unsigned thin = thinning();

    for (size_t i = 0; i < l->count; i++) {
        const struct region *g = &l->regions[i];
        unsigned stride = strides[g->what] * thin;

        for (uint64_t at = g->from + rng_below(r, stride); at < g->to; at += stride) {
            struct sim *sim = sim_fork(s->sim, 1);
            uint8_t mask = (uint8_t)(1u << rng_below(r, 8));

            (void)snprintf(current, sizeof(current), "%s: segment %llu, offset %llu "
                           "(%llu in it), mask %02x", structure_names[g->what],
                           (unsigned long long)g->file, (unsigned long long)at,
                           (unsigned long long)(at - g->from), mask);
            assert_int_equal(sim_corrupt(sim, g->file, at, mask), 0);
            judge(sim, s, l, g->what, g->file);
        }
    }
}

/* The same bit in both copies of a header; and both wiped. */
static void headers(const struct simvol *s, const struct layout *l, struct rng *r)
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
            (void)snprintf(current, sizeof(current), "%s: segment %llu, byte %llu",
                           structure_names[what], (unsigned long long)f->id,
                           (unsigned long long)at);
            assert_int_equal(sim_corrupt(sim, f->id, at, mask), 0);
            assert_int_equal(sim_corrupt(sim, f->id, SEGMENT_HEADER_COPY + at, mask), 0);
            judge(sim, s, l, what, f->id);
        }
        sim = sim_fork(s->sim, 1);
        (void)snprintf(current, sizeof(current), "%s: segment %llu",
                       structure_names[BOTH_HEADERS_WIPED], (unsigned long long)f->id);
        sim_poke(sim, f->id, 0, zero, sizeof(zero));
        judge(sim, s, l, BOTH_HEADERS_WIPED, f->id);
    }
}

static void truncate_at(const struct simvol *s, const struct layout *l, uint64_t file,
                        uint64_t len)
{
    struct sim *sim = sim_fork(s->sim, 1);

    (void)snprintf(current, sizeof(current), "segment %llu truncated to %llu bytes",
                   (unsigned long long)file, (unsigned long long)len);
    assert_int_equal(sim_truncate(sim, file, len), 0);
    judge(sim, s, l, TRUNCATED, file);
}

/* At the borders of everything, and a byte before them. */
static void truncations(const struct simvol *s, const struct layout *l, struct rng *r)
{
    const unsigned thin = thinning();

    for (size_t i = 0; i < l->count; i++) {
        const struct region *g = &l->regions[i];

        if (rng_below(r, thin) != 0) {
            continue;
        }
        truncate_at(s, l, g->file, g->from);
        if (g->from > 0) {
            truncate_at(s, l, g->file, g->from - 1);
        }
    }
}

/* Whole files: missing, of another volume, a copy of another segment. */
static void files(const struct simvol *s, const struct simvol *other,
                  const struct layout *l, struct rng *r)
{
    const unsigned thin = MIN(thinning(), 8u);
    const uint64_t highest = l->files[l->file_count - 1].id;

    for (size_t i = 0; i < l->file_count; i++) {
        const struct file *f = &l->files[i];
        struct sim *sim = sim_fork(s->sim, 1);

        (void)snprintf(current, sizeof(current), "segment %llu missing",
                       (unsigned long long)f->id);
        assert_int_equal(sim_unlink(sim, f->id), 0);
        judge(sim, s, l, MISSING, f->id);

        if (sim_file_len(other->sim, f->id) > 0) {
            struct file g = file_read(other->sim, f->id, other->identity.uuid);

            sim = sim_fork(s->sim, 1);
            (void)snprintf(current, sizeof(current), "segment %llu of another volume",
                           (unsigned long long)f->id);
            assert_int_equal(sim_truncate(sim, f->id, 0), 0);
            sim_poke(sim, f->id, 0, g.bytes, g.len);
            judge(sim, s, l, FOREIGN, f->id);
            free(g.bytes);
        }
        for (size_t j = 0; j < l->file_count; j++) {
            if (j == i || rng_below(r, thin) != 0) {
                continue;
            }
            sim = sim_fork(s->sim, 1);
            (void)snprintf(current, sizeof(current), "segment %llu is a copy of %llu",
                           (unsigned long long)f->id,
                           (unsigned long long)l->files[j].id);
            assert_int_equal(sim_copy_file(sim, l->files[j].id, f->id), 0);
            judge(sim, s, l, STALE, f->id);
        }
        sim = sim_fork(s->sim, 1);
        (void)snprintf(current, sizeof(current), "a copy of segment %llu is the newest",
                       (unsigned long long)f->id);
        assert_int_equal(sim_copy_file(sim, f->id, highest + 1), 0);
        judge(sim, s, l, STALE, highest + 1);
    }
}

/* Records of other segments stand where the newest one ends, as in a reused file. */
static void stale_records(const struct simvol *s, const struct layout *l)
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
        (void)snprintf(current, sizeof(current), "records of segment %llu behind the end",
                       (unsigned long long)f->id);
        sim_poke(sim, to->id, to->end, f->bytes + to->end, f->len - to->end);
        judge(sim, s, l, STALE_RECORDS, to->id);
        sim = sim_fork(s->sim, 1);
        sim_poke(sim, to->id, to->end, f->bytes + SEGMENT_DATA_OFFSET,
                 f->len - SEGMENT_DATA_OFFSET);
        judge(sim, s, l, STALE_RECORDS, to->id);
    }
}

static void report(void)
{
    printf("%-30s %28s %28s\n", "", "for reading", "for writing");
    printf("%-30s %9s%9s%10s %9s%9s%10s\n", "damage", "right", "blocks", "refused",
           "right", "blocks", "refused");
    for (int i = 0; i < STRUCTURES; i++) {
        printf("%-30s %9u%9u%10u %9u%9u%10u\n", structure_names[i], tally[i][0][RIGHT],
               tally[i][0][UNREADABLE], tally[i][0][REFUSED], tally[i][1][RIGHT],
               tally[i][1][UNREADABLE], tally[i][1][REFUSED]);
    }
    memset(tally, 0, sizeof(tally));
}

static void damage_all(enum simvol_end end)
{
    const uint64_t seed = 7 + end;
    struct simvol *s = simvol_new(end, seed), *other = simvol_new(end, seed + 100);
    struct layout *l = layout_new(s);
    struct rng r = { seed };

    (void)snprintf(current, sizeof(current), "undamaged");
    assert_int_equal(check_errors(s->sim), 0);
    judge(sim_fork(s->sim, 1), s, l, REST, 0);
    assert_int_equal(tally[REST][0][RIGHT] + tally[REST][1][RIGHT], 2);
    flips(s, l, &r);
    headers(s, l, &r);
    truncations(s, l, &r);
    files(s, other, l, &r);
    stale_records(s, l);
    report();
    layout_free(l);
    simvol_free(s);
    simvol_free(other);
}

static void closed(void **state _unused_)
{
    damage_all(SIMVOL_CLOSED);
}

static void killed_when_idle(void **state _unused_)
{
    damage_all(SIMVOL_MARKED);
}

static void killed_after_a_flush(void **state _unused_)
{
    damage_all(SIMVOL_FLUSHED);
}

static void killed_while_writing(void **state _unused_)
{
    damage_all(SIMVOL_DIRTY);
}

static void taken_over(void **state _unused_)
{
    damage_all(SIMVOL_TAKEN_OVER);
}

/*
 * Where blocks are is in the map: to tell it no block is read.  It once was, to get the
 * map's page into memory, and one damaged block made that fail, but only the first time.
 */
static void block_status_reads_no_blocks(void **state _unused_)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 3);
    struct layout *l = layout_new(s);
    struct hlfs *v = NULL;

    for (size_t i = 0; i < l->count; i++) {
        const struct region *r = &l->regions[i];
        uint8_t byte;

        for (uint64_t at = r->from; r->what == BLOCK_DATA && at < r->to; at += 512) {
            assert_int_equal(sim_peek(s->sim, r->file, at, &byte, 1), 1);
            byte ^= 1;
            sim_poke(s->sim, r->file, at, &byte, 1);
        }
    }
    for (uint64_t at = 0; at < SIMVOL_BYTES; at += SIMVOL_BLOCK_BYTES) {
        enum hlfs_status status = HLFS_STATUS_HOLE;
        uint64_t len = 0;
        const struct request_args a = {
            .kind = REQUEST_STATUS, .len = SIMVOL_BYTES - at, .offset = at,
            .ret_status = &status, .ret_len = &len,
        };
        uint8_t byte;

        assert_int_equal(simvol_open(s->sim, VOLUME_RDONLY, &v), 0);    /* a cold map */
        assert_int_equal(volume_call(v, &a), 0);
        assert_true(len > 0);
        assert_int_equal(simvol_call(v, REQUEST_READ, &byte, 1, at),
                         status == HLFS_STATUS_DATA ? -EBADMSG : 0);
        assert_int_equal(volume_close(v), 0);
    }
    layout_free(l);
    simvol_free(s);
}

/* An argument picks tests by name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_status_reads_no_blocks),
        cmocka_unit_test(closed),
        cmocka_unit_test(killed_when_idle),
        cmocka_unit_test(killed_after_a_flush),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(taken_over),
    };

    /* Disks are copied all the time: keep their memory. */
    (void)mallopt(M_MMAP_THRESHOLD, INT_MAX);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
    (void)signal(SIGALRM, on_signal);
    (void)signal(SIGABRT, on_signal);
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
