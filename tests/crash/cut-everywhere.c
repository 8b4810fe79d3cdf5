/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One workload, and the power is cut at its 1st, 2nd, 3rd ... store call: at each of
 * them.  After each cut the volume is opened, compared with the model, written to,
 * flushed, cut once more and compared again.  The workload comes in some variants of
 * sizes and stores; it goes through all the situations below, and each of them must have
 * been cut.  HLFS_CUT_STEP=N cuts at each Nth call only, for slow builds, and then does
 * not count.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define CUTS_MIN 2000u
#define SEGMENT KIB(256)

static struct sim_census census;

struct variant {
    uint64_t seed;
    uint32_t block_bytes, append_align;
    uint64_t bytes;
    enum sim_reuse reuse;
    bool tail_again;
};

static const struct variant variants[] = {
    { 1, 4096, 512, KIB(256), SIM_REUSE_ALWAYS, false },
    { 2, 4096, 4096, KIB(256) - 512, SIM_REUSE_SOMETIMES, false },
    { 3, 16384, 512, KIB(256), SIM_REUSE_ALWAYS, false },
    { 4, 65536, 4096, KIB(256), SIM_REUSE_ALWAYS, false },
    { 5, 4096, 512, KIB(384), SIM_REUSE_NEVER, false },
    { 6, 8192, 512, KIB(320), SIM_REUSE_ALWAYS, false },
    { 7, 4096, 512, KIB(256), SIM_REUSE_NEVER, true },
};

/* ---- Situations ----------------------------------------------------------- */

static bool alive(const struct world *w)
{
    return w->writer && !writer_dead(w->writer) && !world_failed(w);
}

static void put(struct world *w, uint64_t offset, uint64_t len, unsigned flags)
{
    if (alive(w) && offset < world_limit(w)) {
        len = MIN(len, world_limit(w) - offset);
        writer_submit(w->writer, REQUEST_WRITE, offset, len, flags);
    }
}

static void clear(struct world *w, enum request_kind kind, uint64_t offset, uint64_t len,
                  unsigned flags)
{
    if (alive(w)) {
        writer_submit(w->writer, kind, offset, MIN(len, w->bytes - offset), flags);
    }
}

static void flush(struct world *w)
{
    if (alive(w)) {
        writer_submit(w->writer, REQUEST_FLUSH, 0, 0, 0);
    }
}

static void settle(struct world *w)
{
    if (alive(w)) {
        writer_settle(w->writer);
    }
}

static void run(struct world *w, uint64_t us)
{
    if (alive(w)) {
        writer_run(w->writer, us);
    }
}

static void checkpoint(struct world *w)
{
    if (alive(w)) {
        volume_want_checkpoint(w->writer->v);
    }
    for (int i = 0; i < 1000 && alive(w); i++) {
        if (!volume_checkpoint_running(w->writer->v)) {
            return;
        }
        writer_turn(w->writer, 10000);
    }
}

static void do_writes(struct world *w)
{
    for (unsigned i = 0; i < 6; i++) {
        put(w, i * KIB(32), KIB(4) << (i % 4), 0);
        run(w, 200);
    }
    settle(w);
}

static void do_overlapping(struct world *w)
{
    for (unsigned i = 0; i < 12; i++) {
        put(w, KIB(4) + i * 1088, 5000 / MODEL_UNIT * MODEL_UNIT, 0);
        put(w, KIB(8) - i * 64, 64 * (i + 1), 0);
        if (i % 4 == 3) {
            flush(w);
            run(w, 150);
        }
    }
    settle(w);
}

static void do_flushes(struct world *w)
{
    for (unsigned i = 0; i < 8; i++) {
        put(w, i * KIB(8), KIB(8), 0);
        flush(w);
        put(w, i * KIB(8) + KIB(4), KIB(8), 0);
        flush(w);
        run(w, 100);
    }
    settle(w);
}

static void do_fua(struct world *w)
{
    for (unsigned i = 0; i < 8; i++) {
        put(w, i * KIB(4), KIB(8), 0);
        put(w, i * KIB(12), KIB(4), HLFS_FUA);
        run(w, 120);
    }
    settle(w);
}

static void do_discards(struct world *w)
{
    for (unsigned i = 0; i < 6; i++) {
        put(w, 0, KIB(64), 0);
        clear(w, REQUEST_DISCARD, i * KIB(8), KIB(16), i & 1 ? HLFS_FUA : 0);
        clear(w, REQUEST_DISCARD, KIB(40) + i * 64, KIB(20), 0);
        flush(w);
        settle(w);
    }
}

static void do_zeroes(struct world *w)
{
    for (unsigned i = 0; i < 6; i++) {
        put(w, KIB(64), KIB(64), 0);
        clear(w, REQUEST_ZERO, KIB(64) + i * KIB(4), KIB(8), i & 1 ? HLFS_FUA : 0);
        clear(w, REQUEST_ZERO, KIB(80) + i * 576, KIB(4) - 64, 0);
        flush(w);
        settle(w);
    }
}

/* Smaller and larger again, with writes on both sides of the end, and a checkpoint. */
static void do_resizes(struct world *w)
{
    const uint64_t sizes[] = { KIB(64) + 512, KIB(200), KIB(128), KIB(100) + 1536, w->bytes };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        put(w, KIB(60), KIB(60), 0);
        if (alive(w)) {
            writer_resize(w->writer, sizes[i]);
        }
        put(w, KIB(50), KIB(30), 0);
        run(w, 200);
        settle(w);
        put(w, sizes[i] - KIB(6), KIB(6), i & 1 ? HLFS_FUA : 0);
        if (i == 2) {
            checkpoint(w);
        }
    }
    settle(w);
}

static void do_checkpoints(struct world *w)
{
    for (unsigned i = 0; i < 4; i++) {
        put(w, i * KIB(36), KIB(40), 0);
        checkpoint(w);
        put(w, i * KIB(20), KIB(8), HLFS_FUA);
    }
    run(w, 300000);     /* a mark */
}

static void do_rollover(struct world *w)
{
    uint64_t before;

    if (!alive(w)) {
        return;
    }
    before = sim_stats(w->sim)->creates_fresh + sim_stats(w->sim)->creates_reused;
    for (unsigned i = 0; i < 60 && alive(w) && sim_stats(w->sim)->creates_fresh +
         sim_stats(w->sim)->creates_reused < before + 4; i++) {
        put(w, i % 4 * KIB(60), KIB(60), 0);
        run(w, 200);
        if (i % 5 == 4) {
            flush(w);
        }
    }
    settle(w);
}

/* Appends and syncs fail with requests under way: their records move. */
static void do_moved_tail(struct world *w)
{
    static const enum sim_call calls[] = { SIM_APPEND, SIM_SYNC, SIM_APPEND, SIM_CREATE };

    for (unsigned i = 0; i < ARRAY_SIZE(calls) && alive(w); i++) {
        w->faults = true;
        put(w, i * KIB(16), KIB(60), 0);
        put(w, i * KIB(16) + KIB(70), KIB(60), 0);
        put(w, KIB(128), KIB(60), 0);
        put(w, KIB(128), KIB(60), 0);
        sim_options(w->sim)->eio_one_in[calls[i]] = 1;
        flush(w);
        put(w, i * KIB(4), KIB(4), HLFS_FUA);
        run(w, 300);
        sim_options(w->sim)->eio_one_in[calls[i]] = 0;
        run(w, 2000);
        flush(w);
        settle(w);
        run(w, 1000000);
        w->faults = false;
        flush(w);
        settle(w);
    }
}

static void do_full(struct world *w)
{
    struct hlfs_info info = { 0 };

    if (!alive(w) || volume_info(w->writer->v, &info) < 0 || !alive(w)) {
        return;
    }
    sim_options(w->sim)->disk_bytes = info.log_bytes + 6 * SEGMENT;
    /* By chance: while segments go as fast as new ones come the disk is not full.  Then it
     * has less room. */
    for (unsigned i = 0; i < 800 && alive(w) && w->enospc == 0; i++) {
        if (i % 50 == 49) {
            sim_options(w->sim)->disk_bytes -= SEGMENT;
        }
        put(w, i * KIB(40) % (w->bytes - KIB(40)), KIB(40), 0);
        run(w, 300);
    }
    settle(w);
    if (alive(w) && w->enospc == 0) {
        world_fail(w, "the disk does not get full");
    }
    clear(w, REQUEST_DISCARD, 0, w->bytes, 0);
    flush(w);
    settle(w);
    run(w, 6000000);
    if (alive(w)) {
        w->enospc = 0;
    }
    put(w, 0, KIB(60), HLFS_FUA);
    put(w, KIB(60), KIB(60), 0);
    flush(w);
    settle(w);
    if (alive(w) && w->enospc > 0) {
        world_fail(w, "nothing can be written to the emptied disk");
    }
    sim_options(w->sim)->disk_bytes = 0;
}

static void do_reuse(struct world *w)
{
    for (unsigned i = 0; i < 4; i++) {
        clear(w, REQUEST_DISCARD, 0, w->bytes, 0);
        do_rollover(w);
        checkpoint(w);
    }
    run(w, 3000000);    /* the pool is filled while nobody asks for anything */
    do_rollover(w);
}

static void do_recovery(struct world *w)
{
    for (unsigned i = 0; i < 6 && alive(w); i++) {
        put(w, i * KIB(8), KIB(20), 0);
        flush(w);
        run(w, 400);
        put(w, i * KIB(8), KIB(60), 0);
        put(w, i * KIB(8) + 192, KIB(60), 0);
        flush(w);
        run(w, 150 * i);
        if (!alive(w)) {
            return;
        }
        if (i % 3 == 2) {
            sim_kill(w->writer->store);
        } else {
            sim_power_cut(w->sim);
        }
        writer_abandon(w->writer);
        world_recover(w, i % 3 != 2);
    }
}

static void do_takeover(struct world *w)
{
    struct writer *old = w->writer, *x = NULL;
    int res;

    put(w, 0, KIB(32), 0);
    flush(w);
    put(w, KIB(8), KIB(32), 0);
    if (!alive(w)) {
        return;
    }
    res = world_open(w, true, &x);
    if (res < 0) {
        if (!sim_is_cut(w->sim)) {
            world_fail(w, "a take-over failed: %s", error_text());
        }
        return;
    }
    old->stranger = true;
    writer_submit(old, REQUEST_WRITE, 0, KIB(64), 0);
    writer_submit(old, REQUEST_FLUSH, 0, 0, 0);
    writer_turn(old, 1000);
    writer_turn(old, 1000);
    w->writer = NULL;
    writer_abandon(old);
    writer_abandon(x);
    world_recover(w, false);
}

static void do_close(struct world *w)
{
    if (!alive(w)) {
        return;
    }
    put(w, KIB(16), KIB(32), 0);
    settle(w);
    if (alive(w)) {
        (void)writer_close(w->writer);
        world_recover(w, true);
    }
}

static const struct situation {
    const char *name;
    void (*run)(struct world *w);
} situations[] = {
    { "creation", world_create },
    { "writes", do_writes },
    { "overlapping and unaligned writes", do_overlapping },
    { "flushes", do_flushes },
    { "FUA", do_fua },
    { "discards", do_discards },
    { "zeroes", do_zeroes },
    { "resizes", do_resizes },
    { "checkpoints", do_checkpoints },
    { "rollover", do_rollover },
    { "errors, the tail moves", do_moved_tail },
    { "full, discard, write again", do_full },
    { "reused files", do_reuse },
    { "recovery", do_recovery },
    { "take-over", do_takeover },
    { "close", do_close },
};

/* ---- The loop ------------------------------------------------------------- */

static struct world *make(const struct variant *t)
{
    struct world *w = world_new(t->seed, t->bytes);
    struct sim_options *o = sim_options(w->sim);

    w->options.segment_bytes = SEGMENT;
    w->options.block_bytes = t->block_bytes;
    w->options.cache_bytes = MIB(1);
    w->options.dirty_bytes = MIB(2);
    w->options.unreachable.mode = UNREACHABLE_WAIT_TIME;
    w->options.unreachable.timeout_us = 20000000;
    o->append_align = t->append_align;
    o->reuse = t->reuse;
    o->tail_again = t->tail_again;
    sim_set_census(w->sim, &census);
    return w;
}

/* Those at a store call; the workload cuts the power itself, too. */
static uint64_t cuts_made(void)
{
    return census.cuts - census.by_call[SIM_NO_CALL];
}

static bool cut_since(uint64_t cuts)
{
    return cuts_made() != cuts;
}

static void workload(struct world *w, uint64_t cuts)
{
    for (size_t i = 0; i < ARRAY_SIZE(situations); i++) {
        const struct situation *s = &situations[i];

        sim_set_situation(w->sim, s->name, true);
        world_say(w, "%s", s->name);
        s->run(w);
        if (i == 0 && !cut_since(cuts)) {
            world_recover(w, true);
        }
        sim_set_situation(w->sim, s->name, false);
        if (world_failed(w) || cut_since(cuts)) {
            return;
        }
    }
}

/* What every volume must be good for after a crash. */
static void aftermath(struct world *w)
{
    sim_options(w->sim)->disk_bytes = 0;
    if (w->writer && writer_dead(w->writer)) {
        writer_abandon(w->writer);
    }
    if (!w->writer) {
        world_create(w);
        world_recover(w, true);
    }
    put(w, KIB(4), KIB(8), 0);
    put(w, KIB(32) + 64, KIB(12), 0);
    flush(w);
    settle(w);
    if (alive(w)) {
        world_check_rest(w);
    }
    put(w, KIB(8), KIB(8), 0);
    if (alive(w)) {
        sim_power_cut(w->sim);
        writer_abandon(w->writer);
        world_recover(w, false);
    }
    world_check_misuse(w);
}

/* Cut at call N of the variant.  1: done; 0: it has fewer calls; -1: failed. */
static int cut_at(const struct variant *t, uint64_t n, uint64_t *ret_calls)
{
    struct world *w = make(t);
    uint64_t cuts = cuts_made();
    int res;

    sim_cut_at(w->sim, n);
    workload(w, cuts);
    res = cut_since(cuts);
    *ret_calls = sim_calls(w->sim);
    sim_set_census(w->sim, NULL);
    sim_cut_at(w->sim, 0);
    if (!world_failed(w)) {
        aftermath(w);
    }
    if (world_failed(w)) {
        printf("variant %" PRIu64 ", cut at call %" PRIu64 " FAILED: %s\nreplay it: "
               "HLFS_TRACE=1 crash-cut-everywhere %" PRIu64 " %" PRIu64 "\n", t->seed, n,
               w->failure, t->seed, n);
        res = -1;
    }
    world_free(w);
    return res;
}

static int cut_everywhere(const struct variant *t, uint64_t step, uint64_t *calls)
{
    uint64_t n = 1, counted;
    int res;

    while ((res = cut_at(t, n, &counted)) == 1) {
        n += step;
    }
    *calls += n - 1;
    printf("variant %" PRIu64 ": %" PRIu64 " calls\n", t->seed, n - 1);
    if (res == 0 && step == 1 && counted != n - 1) {
        printf("variant %" PRIu64 ": %" PRIu64 " calls, but %" PRIu64 " cuts\n", t->seed,
               counted, n - 1);
        return -1;
    }
    return res;
}

static bool census_complete(uint64_t calls)
{
    bool ok = calls == cuts_made() && calls >= CUTS_MIN;

    printf("%" PRIu64 " calls counted = %" PRIu64 " cuts made, %" PRIu64 " of them with "
           "the call in flight\n", calls, cuts_made(), census.in_flight);
    for (size_t i = 0; i < ARRAY_SIZE(situations); i++) {
        uint64_t cuts = sim_cuts_in(&census, situations[i].name);

        printf("  %6" PRIu64 "  %s\n", cuts, situations[i].name);
        ok = ok && cuts > 0;
    }
    if (!ok) {
        printf("FAILED: fewer than %u cuts, or a situation never cut\n", CUTS_MIN);
    }
    return ok;
}

int main(int argc, char **argv)
{
    const char *step_text = getenv("HLFS_CUT_STEP");
    uint64_t calls = 0, step = step_text ? strtoull(step_text, NULL, 10) : 1;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    world_trace = getenv("HLFS_TRACE") != NULL;
    if (argc > 2) {
        uint64_t i = strtoull(argv[1], NULL, 10) - 1;

        return i < ARRAY_SIZE(variants) &&
               cut_at(&variants[i], strtoull(argv[2], NULL, 10), &calls) >= 0 ? 0 : 1;
    }
    step = MAX(step, (uint64_t)1);
    for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
        if (cut_everywhere(&variants[i], step, &calls) < 0) {
            return 1;
        }
    }
    return step > 1 || census_complete(calls) ? 0 : 1;
}
