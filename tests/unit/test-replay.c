/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules of replay (docs/format.md 7, REPLAY-1 to 5), each on a log made by hand.
 *
 * What a replay accepts is compared as text: "1@1 2@1 3@2" are the records 1 and 2 from
 * segment 1 and 3 from segment 2.  Each record has one block of data in its payload.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/util.h"
#include "log/replay.h"
#include "store/sim.h"

#define BLOCK_BYTES 4096u
#define HEAD_BYTES 512u
#define RECORD_BYTES (HEAD_BYTES + BLOCK_BYTES)
#define SEGMENT_BYTES KIB(64)
#define HEADS_MAX 8

static const uint8_t uuid[UUID_BYTES] = "of this volume..";

/* A log that is being made. */
struct maker {
    struct sim *sim;
    struct segment_header h;    /* of the segment at work */
    uint32_t seed;
    uint64_t end;               /* of its records */
    struct {
        uint64_t offset;
        uint8_t bytes[HEAD_BYTES];
        uint32_t len;
    } heads[HEADS_MAX];         /* for its footer */
    unsigned head_count;
    struct record_ref last;     /* the record written last */
};

static struct maker maker_new(void)
{
    return (struct maker){ .sim = sim_new(1) };
}

static void maker_free(struct maker *m)
{
    assert_null(sim_misuse(m->sim));
    sim_free(m->sim);
}

static void header_write(const struct maker *m)
{
    uint8_t buf[SEGMENT_DATA_OFFSET];

    segment_header_encode(&m->h, buf);
    sim_poke(m->sim, m->h.file, 0, buf, sizeof(buf));
}

/* Begin segment FILE, of an epoch of its own. */
static void segment(struct maker *m, uint64_t file, uint64_t first, uint64_t cut,
                    uint64_t synced)
{
    m->h = (struct segment_header){
        .file = file, .epoch = file, .size = SEGMENT_BYTES, .first = first, .cut = cut,
        .synced = synced, .salt = { (uint8_t)file },
    };
    memcpy(m->h.uuid, uuid, UUID_BYTES);
    m->seed = segment_seed(&m->h);
    m->end = SEGMENT_DATA_OFFSET;
    m->head_count = 0;
    header_write(m);
}

/* Write the record whose ENTRY_BYTES of entries and block of payload are in BUF. */
static void record_put(struct maker *m, uint8_t *buf, uint64_t seq, uint64_t synced,
                       size_t entry_bytes)
{
    struct record_header h = {
        .seq = seq, .epoch = m->h.epoch, .synced = synced, .time_us = 100 + seq,
        .entry_bytes = (uint32_t)entry_bytes, .entry_count = 1, .head_bytes = HEAD_BYTES,
        .payload_bytes = BLOCK_BYTES,
    };

    record_encode(buf, &h, m->seed, m->end);
    sim_poke(m->sim, m->h.file, m->end, buf, RECORD_BYTES);
    assert_true(m->head_count < HEADS_MAX);
    m->heads[m->head_count].offset = m->end;
    m->heads[m->head_count].len = RECORD_HEADER_BYTES + h.entry_bytes;
    memcpy(m->heads[m->head_count++].bytes, buf, HEAD_BYTES);
    m->last = (struct record_ref){
        .file = m->h.file, .offset = m->end, .seq = seq, .bytes = RECORD_BYTES,
    };
    m->end += RECORD_BYTES;
}

static void record(struct maker *m, uint64_t seq, uint64_t synced)
{
    uint8_t buf[RECORD_BYTES];
    struct entry_data_disk *d = (void *)(buf + RECORD_HEADER_BYTES);
    size_t bytes = entry_put_data(d, seq, 1, 0);

    memset(buf + HEAD_BYTES, (int)seq, BLOCK_BYTES);
    d->crc[0] = to_le32(crc32c(0, buf + HEAD_BYTES, BLOCK_BYTES));
    record_put(m, buf, seq, synced, bytes);
}

static struct record_ref checkpoint(struct maker *m, uint64_t seq, uint64_t synced,
                                    uint64_t replay_seq, uint64_t replay_file)
{
    struct checkpoint c = {
        .replay_seq = replay_seq, .replay_file = replay_file, .size = MIB(1),
    };
    uint8_t buf[RECORD_BYTES] = { 0 };

    record_put(m, buf, seq, synced,
               entry_put_checkpoint(buf + RECORD_HEADER_BYTES, &c, 0));
    return m->last;
}

/* The footer of the segment at work; what the next header says of it. */
static struct record_ref footer(struct maker *m, uint64_t first, uint64_t last)
{
    uint8_t buf[KIB(4)] = { 0 };
    uint32_t used = FOOTER_HEADER_BYTES;

    for (unsigned i = 0; i < m->head_count; i++) {
        struct footer_item_disk *d = (void *)(buf + used);

        *d = (struct footer_item_disk){
            .offset = to_le64(m->heads[i].offset), .bytes = to_le32(m->heads[i].len),
        };
        memcpy(d + 1, m->heads[i].bytes, m->heads[i].len);
        used += (uint32_t)sizeof(*d) + ALIGN_UP(m->heads[i].len, 8u);
    }
    footer_encode(buf, used, first, last, m->head_count, m->seed, m->end);
    sim_poke(m->sim, m->h.file, m->end, buf, sizeof(buf));
    return (struct record_ref){
        .file = m->h.file, .offset = m->end, .seq = last, .bytes = used,
    };
}

/* Flip a bit of the Nth record (from 0) of segment FILE: AT bytes in it. */
static void damage(const struct maker *m, uint64_t file, unsigned n, uint64_t at)
{
    at += SEGMENT_DATA_OFFSET + n * RECORD_BYTES;
    assert_int_equal(sim_corrupt(m->sim, file, at, 1), 0);
}

/* ---- Replaying it -------------------------------------------------------- */

struct replayed {
    int res;
    char text[256];             /* what was accepted */
    struct replay_result result;
    bool has_checkpoint;
    struct record_ref checkpoint;
};

static int on_entry(void *opaque, const struct entry *e, const struct record_header *h,
                    uint64_t file, uint64_t payload_at)
{
    struct replayed *r = opaque;
    size_t len = strlen(r->text);

    assert_true(e->type != ENTRY_DATA || e->block == h->seq);
    assert_true(payload_at >= SEGMENT_DATA_OFFSET + HEAD_BYTES);
    (void)snprintf(r->text + len, sizeof(r->text) - len, "%s%llu@%llu", len ? " " : "",
                   (unsigned long long)h->seq, (unsigned long long)file);
    return 0;
}

static struct replayed replayed(const struct maker *m)
{
    static const struct replay_ops ops = { .entry = on_entry };
    struct usage_override_disk *overrides = NULL;
    struct replayed r = { 0 };
    struct checkpoint c = { .replay_seq = 1 };
    struct store_lane *lane;
    struct replay *replay = NULL;
    struct store *s;

    error_clear();
    assert_int_equal(sim_store_open(m->sim, SIM_OPEN_READ_ONLY, &s), 0);
    lane = store_lane_new(s);
    r.res = replay_new(s, lane, uuid, BLOCK_BYTES, true, 0, &replay);
    if (r.res == 0) {
        r.has_checkpoint = replay_checkpoint(replay, &c, &r.checkpoint, &overrides) == 1;
        r.res = replay_run(replay, c.replay_seq, &ops, &r, &r.result);
    }
    if (r.res < 0) {
        assert_true(error_text()[0] != '\0');
    }
    free(overrides);
    replay_free(replay);
    store_lane_free(lane);
    store_free(s);
    return r;
}

static void expect(const struct maker *m, const char *text)
{
    struct replayed r = replayed(m);

    if (r.res < 0) {
        fail_msg("%s", error_text());
    }
    assert_string_equal(r.text, text);
}

static void expect_damage(const struct maker *m, const char *where)
{
    struct replayed r = replayed(m);

    assert_int_equal(r.res, -EBADMSG);
    if (!strstr(error_text(), where)) {
        fail_msg("%s is not in: %s", where, error_text());
    }
}

/* ---- Segments ------------------------------------------------------------ */

static void nothing_there(void **state _unused_)
{
    static const uint8_t zero[SEGMENT_DATA_OFFSET];
    struct maker m = maker_new();
    struct replayed r = replayed(&m);

    assert_int_equal(r.res, -ENOENT);
    sim_poke(m.sim, 1, 0, zero, sizeof(zero));      /* created, and never begun */
    r = replayed(&m);
    assert_int_equal(r.res, 0);
    assert_int_equal(r.result.last_seq, 0);
    assert_int_equal(r.result.records, 0);
    maker_free(&m);
}

static void records_in_order_of_several_segments(void **state _unused_)
{
    struct maker m = maker_new();
    struct replayed r;

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    segment(&m, 2, 3, 0, 2);
    record(&m, 3, 2);
    segment(&m, 4, 4, 0, 3);        /* 3 was created and never begun, or is void */
    record(&m, 4, 3);
    record(&m, 5, 3);
    expect(&m, "1@1 2@1 3@2 4@4 5@4");
    r = replayed(&m);
    assert_int_equal(r.result.last_seq, 5);
    assert_int_equal(r.result.synced_seq, 3);
    assert_int_equal(r.result.time_us, 105);
    assert_int_equal(r.result.records, 5);
    assert_int_equal(r.result.first_unsynced_file, 4);
    maker_free(&m);
}

static void void_segments_are_passed_over(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    segment(&m, 3, 2, 0, 1);
    record(&m, 2, 1);
    assert_int_equal(sim_copy_file(m.sim, 1, 2), 0);    /* of a file's former life */
    assert_int_equal(sim_copy_file(m.sim, 3, 9), 0);
    expect(&m, "1@1 2@3");
    maker_free(&m);
}

static void segment_of_another_volume_is_void(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    segment(&m, 2, 2, 0, 1);
    m.h.uuid[0] ^= 1;
    m.seed = segment_seed(&m.h);
    header_write(&m);
    record(&m, 2, 1);
    expect(&m, "1@1");
    maker_free(&m);
}

static void damaged_header_is_damage(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    segment(&m, 2, 2, 0, 0);
    assert_int_equal(sim_corrupt(m.sim, 2, 100, 1), 0);
    expect(&m, "1@1");          /* the other copy counts */
    assert_int_equal(sim_corrupt(m.sim, 2, SEGMENT_HEADER_COPY + 200, 1), 0);
    expect_damage(&m, "segment 2");
    maker_free(&m);
}

static void newer_version_is_refused(void **state _unused_)
{
    struct segment_header_disk d;
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    assert_int_equal(sim_peek(m.sim, 1, 0, &d, sizeof(d)), sizeof(d));
    d.version = to_le32(FORMAT_VERSION + 1);
    d.crc = to_le32(crc32c(0, (char *)&d + 12, sizeof(d) - 12));
    sim_poke(m.sim, 1, 0, &d, sizeof(d));
    assert_int_equal(replayed(&m).res, -ENOTSUP);
    maker_free(&m);
}

/* Who writes a segment with such a bit may do so long after the volume was made. */
static void feature_that_forbids_writing_is_told(void **state _unused_)
{
    struct segment_header_disk d;
    struct maker m = maker_new();
    struct replayed r;

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    assert_int_equal(replayed(&m).result.features_ro, 0);
    assert_int_equal(sim_peek(m.sim, 1, 0, &d, sizeof(d)), sizeof(d));
    d.features_ro = to_le32(1u << 31);
    d.crc = to_le32(crc32c(0, (char *)&d + 12, sizeof(d) - 12));
    sim_poke(m.sim, 1, 0, &d, sizeof(d));
    r = replayed(&m);
    assert_int_equal(r.res, 0);
    assert_int_equal(r.result.features_ro, 1u << 31);
    maker_free(&m);
}

/* ---- Cuts: REPLAY-2 ------------------------------------------------------ */

static void cut_voids_records_of_lower_segments(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    record(&m, 3, 0);
    segment(&m, 2, 3, 3, 0);
    expect(&m, "1@1 2@1");              /* an opener that has written nothing yet */
    record(&m, 3, 0);
    expect(&m, "1@1 2@1 3@2");
    segment(&m, 3, 2, 2, 0);            /* and another one, that saw less of it */
    expect(&m, "1@1");
    record(&m, 2, 0);
    expect(&m, "1@1 2@3");
    maker_free(&m);
}

static void plain_roll_cuts_nothing(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    segment(&m, 2, 3, 0, 0);
    record(&m, 3, 0);
    expect(&m, "1@1 2@1 3@2");
    maker_free(&m);
}

/* A broken segment's records moved: all segments that took some have the same cut. */
static void moved_records_in_several_segments(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    for (uint64_t seq = 1; seq <= 6; seq++) {
        record(&m, seq, 0);
    }
    segment(&m, 2, 3, 6, 2);
    record(&m, 3, 2);
    record(&m, 4, 2);
    segment(&m, 3, 5, 6, 2);
    record(&m, 5, 2);
    record(&m, 6, 2);
    record(&m, 7, 2);
    expect(&m, "1@1 2@1 3@2 4@2 5@3 6@3 7@3");
    /* The last of them never landed: what stands below the cut is as good. */
    assert_int_equal(sim_unlink(m.sim, 3), 0);
    expect(&m, "1@1 2@1 3@2 4@2 5@1");
    maker_free(&m);
}

/* ---- Two copies: REPLAY-3 ------------------------------------------------ */

static void higher_copy_counts_if_it_is_valid(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    record(&m, 3, 0);
    segment(&m, 2, 2, 4, 1);
    record(&m, 2, 1);
    record(&m, 3, 1);
    expect(&m, "1@1 2@2 3@2");
    damage(&m, 2, 1, HEAD_BYTES + 7);       /* its payload: 3 is in the tail */
    expect(&m, "1@1 2@2 3@1");
    damage(&m, 2, 0, 20);                   /* and a head: nothing of it is found */
    expect(&m, "1@1 2@1 3@1");
    maker_free(&m);
}

static void lower_copy_that_is_damaged_does_no_harm(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    segment(&m, 2, 2, 3, 1);
    record(&m, 2, 1);
    record(&m, 3, 2);
    damage(&m, 1, 1, 20);
    expect(&m, "1@1 2@2 3@2");
    maker_free(&m);
}

/* ---- Gaps and damage: REPLAY-1, REPLAY-4 --------------------------------- */

static void gap_above_synced_ends_the_log(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 1);
    record(&m, 4, 1);
    expect(&m, "1@1 2@1");
    segment(&m, 2, 5, 0, 1);
    record(&m, 5, 1);
    expect(&m, "1@1 2@1");
    maker_free(&m);
}

static void gap_below_synced_is_damage(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    record(&m, 3, 0);
    damage(&m, 1, 1, 30);
    expect(&m, "1@1");
    segment(&m, 2, 4, 0, 1);
    expect(&m, "1@1");                      /* a later segment may land before */
    segment(&m, 2, 4, 0, 2);
    expect_damage(&m, "segment 1");
    maker_free(&m);
}

/* Only what stands behind the damage in the newest segment says that it is one. */
static void synced_is_found_behind_damage(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 1);
    record(&m, 3, 2);
    expect(&m, "1@1 2@1 3@1");
    damage(&m, 1, 1, 9);                    /* 2: 3 says that 2 was synced */
    expect_damage(&m, "segment 1");
    damage(&m, 1, 1, 9);
    damage(&m, 1, 2, 9);                    /* 3: nobody says so */
    expect(&m, "1@1 2@1");
    maker_free(&m);
}

/* It used to name the segment before the one that had gone. */
static void missing_segment_is_named(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    segment(&m, 2, 2, 0, 1);
    record(&m, 2, 1);
    segment(&m, 3, 3, 0, 2);
    record(&m, 3, 2);
    expect(&m, "1@1 2@2 3@3");
    assert_int_equal(sim_unlink(m.sim, 2), 0);
    expect_damage(&m, "segment 2 is missing");
    maker_free(&m);
}

static void payload_is_verified_in_the_tail_only(void **state _unused_)
{
    struct maker m = maker_new();
    struct replayed r;

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 1);
    record(&m, 3, 1);
    damage(&m, 1, 2, HEAD_BYTES);
    expect(&m, "1@1 2@1");
    damage(&m, 1, 0, HEAD_BYTES);           /* reading the block will tell */
    r = replayed(&m);
    assert_int_equal(r.res, 0);
    assert_string_equal(r.text, "1@1 2@1");
    assert_int_equal(sim_truncate(m.sim, 1, SEGMENT_DATA_OFFSET + 2 * RECORD_BYTES - 1),
                     0);
    expect(&m, "1@1");
    maker_free(&m);
}

static void record_of_another_epoch_or_salt_is_invalid(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    m.h.epoch++;                            /* as if the header said otherwise */
    record(&m, 2, 0);
    expect(&m, "1@1");
    maker_free(&m);

    m = maker_new();
    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    record(&m, 3, 0);
    m.h.salt[3] = 1;                        /* begun again: its former life is stale */
    m.seed = segment_seed(&m.h);
    header_write(&m);
    m.end = SEGMENT_DATA_OFFSET;
    record(&m, 1, 0);
    expect(&m, "1@1");
    maker_free(&m);
}

static void read_error_is_no_gap(void **state _unused_)
{
    struct maker m = maker_new();
    bool failed = true;

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    segment(&m, 2, 2, 0, 1);
    record(&m, 2, 1);
    for (unsigned nth = 1; failed; nth++) {
        struct sim *sim = m.sim;
        struct replayed r;

        m.sim = sim_fork(sim, 1);
        sim_fail_nth(m.sim, SIM_PREAD, 0, nth, -EIO);
        r = replayed(&m);
        failed = r.res < 0;
        assert_true(failed ? r.res == -EIO : strcmp(r.text, "1@1 2@2") == 0);
        assert_true(nth < 100);
        sim_free(m.sim);
        m.sim = sim;
    }
    maker_free(&m);
}

/* ---- Footers ------------------------------------------------------------- */

static void footer_stands_for_the_records(void **state _unused_)
{
    struct maker m = maker_new();
    struct record_ref ref;

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    record(&m, 3, 0);
    ref = footer(&m, 1, 3);
    segment(&m, 2, 4, 0, 3);
    m.h.footer = ref;
    header_write(&m);
    record(&m, 4, 3);
    expect(&m, "1@1 2@1 3@1 4@2");
    damage(&m, 1, 1, 30);                   /* nobody looks there */
    expect(&m, "1@1 2@1 3@1 4@2");
    assert_int_equal(sim_corrupt(m.sim, 1, ref.offset + 50, 1), 0);
    expect_damage(&m, "segment 1");         /* now it is scanned */
    damage(&m, 1, 1, 30);
    expect(&m, "1@1 2@1 3@1 4@2");
    maker_free(&m);
}

static void footer_that_is_not_synced_is_not_used(void **state _unused_)
{
    struct maker m = maker_new();

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    record(&m, 2, 0);
    record(&m, 3, 0);
    damage(&m, 1, 2, 30);                   /* never landed; the footer did */
    segment(&m, 2, 4, 0, 2);
    m.h.footer = (struct record_ref){
        .file = 1, .offset = SEGMENT_DATA_OFFSET + 3 * RECORD_BYTES, .seq = 3,
    };
    header_write(&m);
    expect(&m, "1@1 2@1");
    maker_free(&m);
}

/* ---- Checkpoints --------------------------------------------------------- */

/* Segment 1: 1 2 [checkpoint 3 of all before it] 4; segment 2 names it. */
static struct record_ref with_checkpoint(struct maker *m)
{
    struct record_ref ref;

    *m = maker_new();
    segment(m, 1, 1, 1, 0);
    record(m, 1, 0);
    record(m, 2, 0);
    ref = checkpoint(m, 3, 2, 3, 1);
    record(m, 4, 3);
    segment(m, 2, 5, 0, 4);
    m->h.checkpoint = ref;
    header_write(m);
    record(m, 5, 4);
    return ref;
}

static void replay_begins_at_the_newest_checkpoint(void **state _unused_)
{
    struct record_ref ref, late;
    struct replayed r;
    struct maker m;

    ref = with_checkpoint(&m);
    r = replayed(&m);
    assert_true(r.has_checkpoint);
    assert_int_equal(r.checkpoint.seq, ref.seq);
    assert_string_equal(r.text, "3@1 4@1 5@2");
    /* One in the newest segment counts when something says that it was synced. */
    late = checkpoint(&m, 6, 5, 6, 2);
    assert_int_equal(replayed(&m).checkpoint.seq, ref.seq);
    record(&m, 7, 6);
    r = replayed(&m);
    assert_int_equal(r.checkpoint.seq, late.seq);
    assert_string_equal(r.text, "6@2 7@2");
    maker_free(&m);
}

static void older_checkpoint_stands_in(void **state _unused_)
{
    struct record_ref ref, newer;
    struct replayed r;
    struct maker m;

    ref = with_checkpoint(&m);
    newer = checkpoint(&m, 6, 5, 6, 2);
    segment(&m, 3, 7, 0, 6);
    m.h.checkpoint = newer;
    m.h.footer = (struct record_ref){ .file = 2 };
    header_write(&m);
    record(&m, 7, 6);
    assert_int_equal(replayed(&m).checkpoint.seq, newer.seq);
    assert_int_equal(sim_corrupt(m.sim, 2, newer.offset + 30, 1), 0);
    r = replayed(&m);
    /* The record itself is synced, and lost. */
    assert_int_equal(r.res, -EBADMSG);
    assert_int_equal(r.checkpoint.seq, ref.seq);
    assert_non_null(strstr(error_text(), "segment 2"));
    assert_int_equal(sim_corrupt(m.sim, 1, ref.offset + 30, 1), 0);
    expect_damage(&m, "segment 2");         /* none is left */
    maker_free(&m);
}

static void only_segments_from_replay_file_on_are_needed(void **state _unused_)
{
    struct record_ref late;
    struct maker m;

    (void)with_checkpoint(&m);
    late = checkpoint(&m, 6, 5, 6, 2);
    segment(&m, 3, 7, 0, 6);
    m.h.checkpoint = late;
    header_write(&m);
    record(&m, 7, 6);
    assert_int_equal(sim_unlink(m.sim, 1), 0);
    expect(&m, "6@2 7@3");
    maker_free(&m);
}

/* ---- Entries ------------------------------------------------------------- */

static int end_at_once(void *opaque, const struct entry *e, const struct record_header *h,
                       uint64_t file, uint64_t payload_at)
{
    (void)e;
    (void)h;
    (void)file;
    (void)payload_at;
    return -*(int *)opaque;
}

static void what_the_caller_says_ends_it(void **state _unused_)
{
    static const struct replay_ops ops = { .entry = end_at_once };
    struct replay_result result;
    struct store_lane *lane;
    struct replay *replay;
    struct store *s;
    struct maker m = maker_new();
    int code = ENOMEM;

    segment(&m, 1, 1, 1, 0);
    record(&m, 1, 0);
    assert_int_equal(sim_store_open(m.sim, SIM_OPEN_READ_ONLY, &s), 0);
    lane = store_lane_new(s);
    assert_int_equal(replay_new(s, lane, uuid, BLOCK_BYTES, true, 0, &replay), 0);
    assert_int_equal(replay_run(replay, 1, &ops, &code, &result), -ENOMEM);
    replay_free(replay);
    store_lane_free(lane);
    store_free(s);
    maker_free(&m);
}

static void entry_that_must_not_be_passed_over(void **state _unused_)
{
    struct maker m = maker_new();
    uint8_t buf[RECORD_BYTES] = { 0 };
    size_t bytes = entry_put_mark(buf + RECORD_HEADER_BYTES);

    segment(&m, 1, 1, 1, 1);
    buf[RECORD_HEADER_BYTES] = ENTRY_UNKNOWN_RO | 20;
    record_put(&m, buf, 1, 1, bytes);
    expect(&m, "1@1");                      /* this is a reader */
    segment(&m, 1, 1, 1, 1);
    buf[RECORD_HEADER_BYTES] = ENTRY_UNKNOWN_INCOMPAT | 20;
    record_put(&m, buf, 1, 1, bytes);
    assert_int_equal(replayed(&m).res, -ENOTSUP);
    assert_non_null(strstr(error_text(), "newer"));
    segment(&m, 1, 1, 1, 0);
    buf[RECORD_HEADER_BYTES] = ENTRY_UNKNOWN_INCOMPAT | 20;
    record_put(&m, buf, 1, 0, bytes);       /* in the tail, too */
    assert_int_equal(replayed(&m).res, -ENOTSUP);
    assert_non_null(strstr(error_text(), "newer"));
    maker_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(records_in_order_of_several_segments),
        cmocka_unit_test(void_segments_are_passed_over),
        cmocka_unit_test(segment_of_another_volume_is_void),
        cmocka_unit_test(damaged_header_is_damage),
        cmocka_unit_test(newer_version_is_refused),
        cmocka_unit_test(feature_that_forbids_writing_is_told),
        cmocka_unit_test(cut_voids_records_of_lower_segments),
        cmocka_unit_test(plain_roll_cuts_nothing),
        cmocka_unit_test(moved_records_in_several_segments),
        cmocka_unit_test(higher_copy_counts_if_it_is_valid),
        cmocka_unit_test(lower_copy_that_is_damaged_does_no_harm),
        cmocka_unit_test(gap_above_synced_ends_the_log),
        cmocka_unit_test(gap_below_synced_is_damage),
        cmocka_unit_test(synced_is_found_behind_damage),
        cmocka_unit_test(missing_segment_is_named),
        cmocka_unit_test(payload_is_verified_in_the_tail_only),
        cmocka_unit_test(record_of_another_epoch_or_salt_is_invalid),
        cmocka_unit_test(read_error_is_no_gap),
        cmocka_unit_test(footer_stands_for_the_records),
        cmocka_unit_test(footer_that_is_not_synced_is_not_used),
        cmocka_unit_test(replay_begins_at_the_newest_checkpoint),
        cmocka_unit_test(older_checkpoint_stands_in),
        cmocka_unit_test(only_segments_from_replay_file_on_are_needed),
        cmocka_unit_test(what_the_caller_says_ends_it),
        cmocka_unit_test(entry_that_must_not_be_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
