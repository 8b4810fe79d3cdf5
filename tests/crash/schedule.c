/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define HEAL_US 30000000    /* longer than the longest pause between two tries to move */

/* What one seed likes: drawn once, so that seeds differ more than steps do. */
struct taste {
    unsigned generations;
    unsigned steps;                 /* of one generation */
    uint64_t hot_units;             /* most requests fall into the first so many */
    unsigned flush_one_in, fua_one_in, zero_one_in, read_one_in, checkpoint_one_in;
    unsigned large_one_in;
    bool unaligned;
    bool faults;
    bool cuts_in_recovery;
    bool takeovers;
    bool resizes;
};

struct run {
    uint64_t seed;
    struct rng rng;                 /* of the drawing before there is a world */
    struct world *w;
    struct taste t;
    struct schedule_stats *stats;
};

static uint64_t below(struct run *r, uint64_t n)
{
    return rng_below(r->w ? &r->w->rng : &r->rng, n);
}

static bool one_in(struct run *r, uint64_t n)
{
    return n > 0 && below(r, n) == 0;
}

/* ---- Drawing -------------------------------------------------------------- */

static void draw_sizes(struct run *r)
{
    static const uint32_t blocks[] = { 4096, 4096, 4096, 8192, 16384, 65536 };
    static const struct {
        uint64_t segment, write_max, volume_max;
    } sizes[] = {
        { KIB(256), KIB(128), KIB(512) },
        { KIB(256), KIB(128), KIB(512) },
        { KIB(384), KIB(192), KIB(512) },
        { KIB(512), KIB(256), KIB(1024) },
        { MIB(1), KIB(512), KIB(1024) },
        { MIB(4), MIB(1), MIB(2) },
    };
    struct world *w;
    unsigned i = (unsigned)below(r, ARRAY_SIZE(sizes) - !one_in(r, 4));
    uint64_t bytes = KIB(64) << below(r, 3);

    if (one_in(r, 8)) {
        bytes = sizes[i].volume_max;
    }
    if (one_in(r, 4)) {
        bytes -= 512 * below(r, 16);        /* the last block is a partial one */
    }
    w = r->w = world_new(r->seed, bytes);
    w->rng = r->rng;
    w->write_max = MIN(sizes[i].write_max, bytes);
    if (r->seed % 3 == 1) {     /* as HDFS */
        sim_options(w->sim)->tail_again = true;
        sim_options(w->sim)->idle_close_us = r->seed % 2 ? 400000 : 5000000;
    }
    w->options.segment_bytes = sizes[i].segment;
    w->options.block_bytes = blocks[below(r, ARRAY_SIZE(blocks))];
    w->options.cache_bytes = one_in(r, 2) ? MIB(1) : KIB(64) << below(r, 3);
    w->options.dirty_bytes = MIB(2);
    if (one_in(r, 2)) {
        w->options.unreachable.mode = UNREACHABLE_ERROR;
        w->options.unreachable.timeout_us = 0;
    } else {
        w->options.unreachable.mode = UNREACHABLE_WAIT_TIME;
        w->options.unreachable.timeout_us = 1000000 + below(r, 10000000);
    }
    w->options.full.wait_us = one_in(r, 3) ? 1000000 : 0;
}

static void draw_store(struct run *r, unsigned sim_bugs)
{
    struct sim_options *o = sim_options(r->w->sim);
    static const uint32_t aligns[] = { 512, 512, 4096 };
    static const uint32_t longs[] = { 128, 128, 8, 0 };

    o->append_align = aligns[below(r, ARRAY_SIZE(aligns))];
    o->long_one_in = longs[below(r, ARRAY_SIZE(longs))];
    o->reuse = one_in(r, 3) ? SIM_REUSE_SOMETIMES : one_in(r, 8) ? SIM_REUSE_NEVER :
               SIM_REUSE_ALWAYS;
    o->recover_only_looks = one_in(r, 16);
    if (one_in(r, 6)) {
        o->disk_bytes = r->w->options.segment_bytes * (10 + below(r, 8)) +
                        4 * r->w->bytes;
        o->thin = one_in(r, 4);
    }
    sim_set_bug(r->w->sim, sim_bugs);
}

static void draw_taste(struct run *r)
{
    static const unsigned often[] = { 3, 6, 12, 40 };

    r->t = (struct taste){
        .generations = 3 + (unsigned)below(r, 4),
        .steps = 10 + (unsigned)below(r, 90),
        .hot_units = MAX(r->w->bytes / MODEL_UNIT >> below(r, 5), (uint64_t)128),
        .flush_one_in = often[below(r, 4)],
        .fua_one_in = often[below(r, 4)],
        .zero_one_in = often[below(r, 4)],
        .read_one_in = often[below(r, 4)],
        .checkpoint_one_in = often[below(r, 4)] * 2,
        .large_one_in = often[below(r, 4)],
        .unaligned = !one_in(r, 3),
        .faults = one_in(r, 4),
        .cuts_in_recovery = !one_in(r, 3),
        .takeovers = one_in(r, 2),
        .resizes = r->seed % 7 == 2,
    };
}

/* ---- Requests ------------------------------------------------------------- */

static void draw_range(struct run *r, uint64_t *ret_offset, uint64_t *ret_len)
{
    const struct world *w = r->w;
    uint64_t bytes = world_limit(w);
    uint64_t unit = MODEL_UNIT, units, hot, at, len, block = w->options.block_bytes;

    if (!r->t.unaligned || !one_in(r, 3)) {
        unit = one_in(r, 4) ? 512 : block;
    }
    if (unit > bytes) {
        unit = MODEL_UNIT;
    }
    units = bytes / unit;
    hot = MAX(MIN(units, r->t.hot_units * MODEL_UNIT / unit), (uint64_t)1);
    at = below(r, one_in(r, 4) ? units : hot);
    len = 1 + below(r, MAX(1 + below(r, 4 * block / unit), (uint64_t)1));
    if (one_in(r, r->t.large_one_in)) {
        len = 1 + below(r, MAX(w->write_max / unit, (uint64_t)1));
    }
    len = MIN(len, MIN(units - at, w->write_max / unit));
    *ret_offset = at * unit;
    *ret_len = MAX(len, (uint64_t)1) * unit;
    if (*ret_offset + *ret_len + block > bytes && one_in(r, 2)) {
        *ret_len = MIN(bytes - *ret_offset, w->write_max);   /* to the very end */
    }
}

static void step_request(struct run *r, struct writer *x)
{
    uint64_t offset, len;
    unsigned flags = one_in(r, r->t.fua_one_in) ? HLFS_FUA : 0;
    enum request_kind kind = REQUEST_WRITE;

    if (r->stats) {
        r->stats->requests++;
    }
    if (one_in(r, r->t.flush_one_in)) {
        writer_submit(x, REQUEST_FLUSH, 0, 0, 0);
        return;
    }
    draw_range(r, &offset, &len);
    if (one_in(r, r->t.read_one_in)) {
        kind = REQUEST_READ;
        flags = 0;
    } else if (one_in(r, r->t.zero_one_in)) {
        kind = one_in(r, 2) ? REQUEST_ZERO : REQUEST_DISCARD;
        if (one_in(r, 6)) {
            offset = 0;
            len = MIN(world_limit(r->w), REQUEST_MAX);
        }
    }
    writer_submit(x, kind, offset, len, flags);
}

static void step_resize(struct run *r, struct writer *x)
{
    const struct world *w = r->w;
    uint64_t least = MAX(KIB(16), w->size - MIN(w->size, REQUEST_MAX));
    uint64_t size = least + below(r, (w->bytes - least) / 512 + 1) * 512;

    if (one_in(r, 2)) {
        size = ALIGN_DOWN(size, (uint64_t)w->options.block_bytes);
    }
    writer_resize(x, MAX(size, least));
}

static void step_turn(struct run *r, struct writer *x)
{
    static const uint64_t times[] = { 0, 0, 1, 100, 300, 1000, 5000 };
    uint64_t us = times[below(r, ARRAY_SIZE(times))];

    if (r->seed % 3 == 1 && x->store && one_in(r, 20)) {
        atomic_store(&x->store->roll, true);
    }
    if (one_in(r, 30)) {
        us = 120000;        /* long enough for a mark */
    } else if (one_in(r, 100)) {
        us = 3000000;       /* for the pool, and to look for other writers */
    }
    if (us > 5000) {
        writer_run(x, us);
    } else {
        writer_turn(x, (int64_t)us);
    }
}

static bool finds_room(struct world *w, struct writer *x)
{
    for (int i = 0; i < 40 && !writer_dead(x) && !world_failed(w); i++) {
        uint64_t before = w->enospc;

        writer_run(x, 1000000);
        writer_submit(x, REQUEST_WRITE, 0, MIN(w->bytes, KIB(4)), HLFS_FUA);
        writer_settle(x);
        if (w->enospc == before) {
            return true;
        }
    }
    return writer_dead(x) || world_failed(w);
}

/* Each append that failed cost the room of a segment, and the reserve is that of one:
 * after two somebody has to give the disk more room. */
static bool reserve_was_eaten(struct world *w, struct writer *x)
{
    struct hlfs_counters c = { 0 };

    if (volume_counters(x->v, &c) < 0 || c.segments_broken < 2) {
        return false;
    }
    sim_options(w->sim)->disk_bytes += 2 * w->options.segment_bytes;
    return true;
}

/* A full disk can always be emptied. */
static void empty_the_disk(struct run *r, struct writer *x)
{
    struct world *w = r->w;

    if (w->faults) {
        return;
    }
    writer_settle(x);
    for (uint64_t at = 0, end = volume_size(x->v); at < end; at += REQUEST_MAX) {
        writer_submit(x, REQUEST_DISCARD, at, MIN(REQUEST_MAX, end - at), 0);
    }
    writer_submit(x, REQUEST_FLUSH, 0, 0, 0);
    writer_settle(x);
    if (!finds_room(w, x) && !(reserve_was_eaten(w, x) && finds_room(w, x))) {
        struct hlfs_info i = { 0 };

        (void)volume_info(x->v, &i);
        world_fail(w, "the disk is full, everything was discarded, and still nothing can "
                   "be written: %llu segments, %llu bytes of log, %llu of them live, "
                   "disk of %llu", (unsigned long long)i.segments,
                   (unsigned long long)i.log_bytes, (unsigned long long)i.live_bytes,
                   (unsigned long long)sim_options(w->sim)->disk_bytes);
    }
}

static void faults_draw(struct run *r)
{
    struct sim_options *o = sim_options(r->w->sim);
    static const enum sim_call calls[] = {
        SIM_APPEND, SIM_SYNC, SIM_CREATE, SIM_REMOVE, SIM_PREAD, SIM_PREPARE, SIM_STAT,
        SIM_SEAL,
    };

    r->w->faults = true;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        o->eio_one_in[calls[i]] = one_in(r, 3) ? 4 + (uint32_t)below(r, 40) : 0;
    }
    if (one_in(r, 3)) {
        o->enospc_one_in[SIM_APPEND] = 20;
        o->enospc_one_in[SIM_CREATE] = 4;
    }
    if (one_in(r, 3)) {
        o->stall_one_in[SIM_SYNC] = 10;
        o->stall_one_in[SIM_APPEND] = 20;
        o->stall_one_in[SIM_CREATE] = 4;
    }
}

static void faults_stop(struct run *r)
{
    struct sim_options *o = sim_options(r->w->sim);

    memset(o->eio_one_in, 0, sizeof(o->eio_one_in));
    memset(o->enospc_one_in, 0, sizeof(o->enospc_one_in));
    memset(o->stall_one_in, 0, sizeof(o->stall_one_in));
}

/* The store is well again: everything must go on by itself. */
static void faults_heal(struct run *r, struct writer *x)
{
    faults_stop(r);
    writer_settle(x);       /* what was under way may still fail */
    writer_run(x, HEAL_US);
    r->w->faults = false;
    writer_submit(x, REQUEST_FLUSH, 0, 0, 0);
    writer_settle(x);
}

static void step(struct run *r, struct writer *x)
{
    struct world *w = r->w;
    uint64_t enospc = w->enospc;

    if (one_in(r, 3)) {
        step_turn(r, x);
    } else if (one_in(r, r->t.checkpoint_one_in)) {
        volume_want_checkpoint(x->v);
    } else if (r->t.resizes && one_in(r, 12)) {
        step_resize(r, x);
    } else if (one_in(r, 40)) {
        writer_settle(x);
    } else if (one_in(r, 50) && !w->faults) {
        world_check_rest(w);
    } else if (one_in(r, 60)) {
        world_check_reader(w);
    } else if (r->t.faults && one_in(r, 30)) {
        if (w->faults) {
            faults_heal(r, x);
        } else {
            faults_draw(r);
        }
    } else {
        step_request(r, x);
    }
    if (w->enospc > enospc && sim_options(w->sim)->disk_bytes && one_in(r, 2)) {
        empty_the_disk(r, x);
    }
}

/* ---- Ends ----------------------------------------------------------------- */

enum end { END_CUT_AT, END_CUT_TIME, END_KILL_AT, END_CUT, END_KILL, END_CLOSE,
           END_TAKEOVER, END_EXIT };

static enum end end_draw(struct run *r)
{
    static const enum end ends[] = {
        END_CUT_AT, END_CUT_AT, END_CUT_AT, END_CUT_TIME, END_CUT_TIME, END_KILL_AT,
        END_KILL_AT, END_CUT, END_CUT, END_KILL, END_CLOSE, END_EXIT,
    };

    return r->t.takeovers && one_in(r, 3) ? END_TAKEOVER :
           ends[below(r, ARRAY_SIZE(ends))];
}

static void end_plan(struct run *r, struct writer *x, enum end end)
{
    uint64_t calls = sim_calls(r->w->sim) + 1 + below(r, 4 * r->t.steps);

    if (end == END_CUT_AT) {
        sim_cut_at(r->w->sim, calls);
    } else if (end == END_CUT_TIME) {
        sim_cut_at_time(r->w->sim, sim_now(r->w->sim) + below(r, 2000 * r->t.steps));
    } else if (end == END_KILL_AT) {
        sim_kill_at(x->store, calls);
    }
}

static void end_now(struct run *r, struct writer *x, enum end end)
{
    sim_cut_at(r->w->sim, 0);
    sim_cut_at_time(r->w->sim, UINT64_MAX);
    sim_kill_at(x->store, 0);
    if (end == END_CLOSE) {
        if (!r->w->faults) {
            writer_settle(x);
        }
        if (writer_dead(x)) {
            writer_abandon(x);
            return;
        }
        (void)writer_close(x);
        if (one_in(r, 2)) {
            sim_power_cut(r->w->sim);
        }
        return;
    }
    if (!writer_dead(x) && end != END_EXIT) {
        if (end == END_KILL || end == END_KILL_AT) {
            sim_kill(x->store);
        } else {
            sim_power_cut(r->w->sim);
        }
    }
    writer_abandon(x);
}

/* ---- Taking over a living writer ------------------------------------------ */

static struct run *takeover_run;

/* Between two calls of the taker's open the old writer goes on. */
static void takeover_hook(struct world *w)
{
    struct run *r = takeover_run;

    for (uint64_t n = below(r, 3); n > 0 && w->writer; n--) {
        if (one_in(r, 2)) {
            writer_turn(w->writer, (int64_t)below(r, 300));
        } else {
            step_request(r, w->writer);
        }
    }
}

/* The fenced writer tries what it can; nothing of it may count or be seen. */
static void stranger_lives(struct run *r, struct writer *old)
{
    old->stranger = true;
    for (uint64_t n = below(r, 12); n > 0; n--) {
        if (one_in(r, 2)) {
            step_turn(r, old);
        } else {
            step_request(r, old);
        }
    }
}

static void image_check(struct run *r, struct writer *x)
{
    struct world *w = r->w;
    int res = world_image(w, x->v, w->bytes, w->image);

    if (writer_dead(x)) {
        return;
    }
    if (res < 0) {
        world_fail(w, "after a take-over: reading fails: %s", error_name(res));
    } else if (!model_check_crash(w->model, w->image)) {
        world_fail(w, "after a take-over: %s", model_error(w->model));
    }
}

/* Another process takes the volume over; both go on for a while. */
static void takeover(struct run *r)
{
    struct world *w = r->w;
    struct writer *old = w->writer, *x = NULL;
    int res;

    if (r->stats) {
        r->stats->takeovers++;
    }
    res = world_open(w, false, &x);
    if (res == 0) {
        world_fail(w, "a living writer was taken over without force");
        writer_abandon(x);
        return;
    }
    takeover_run = r;
    world_open_hook = takeover_hook;
    old->challenged = true;
    res = world_open(w, true, &x);
    world_open_hook = NULL;
    if (res < 0) {
        if (res != -ENOSPC && !w->faults) {
            world_fail(w, "a take-over failed: %s: %s", error_name(res), error_text());
        }
        sim_kill(old->store);
        writer_abandon(old);
        return;
    }
    stranger_lives(r, old);
    w->writer = x;
    faults_stop(r);
    writer_run(x, w->faults ? HEAL_US : 0);
    w->faults = false;
    image_check(r, x);
    for (uint64_t n = below(r, 20); n > 0 && !world_failed(w) && !writer_dead(x); n--) {
        if (one_in(r, 2)) {
            stranger_lives(r, old);
        } else {
            step(r, x);
        }
    }
    if (one_in(r, 2)) {
        sim_kill(old->store);
    }
    writer_abandon(old);
}

/* ---- A life --------------------------------------------------------------- */

static void recover(struct run *r, enum end end)
{
    struct world *w = r->w;
    bool landed = end != END_KILL && end != END_KILL_AT && end != END_EXIT;

    if (!landed && one_in(r, 2)) {
        sim_run_until(w->sim, sim_now(w->sim) + 1000000);
        landed = true;
    }
    if (r->t.cuts_in_recovery && one_in(r, 2)) {
        if (sim_is_cut(w->sim)) {
            sim_power_on(w->sim);
        }
        sim_cut_at(w->sim, sim_calls(w->sim) + 1 + below(r, 30));
        landed = landed || sim_is_cut(w->sim);
    }
    if (w->faults && one_in(r, 2)) {
        faults_stop(r);
        w->faults = false;
    }
    world_recover(w, landed && one_in(r, 2));
    sim_cut_at(w->sim, 0);
}

static void generation(struct run *r, enum end *end)
{
    struct world *w = r->w;
    unsigned steps = 1 + (unsigned)below(r, r->t.steps);

    recover(r, *end);
    if (world_failed(w)) {
        return;
    }
    *end = end_draw(r);
    end_plan(r, w->writer, *end);
    for (unsigned i = 0; i < steps && !world_failed(w) && !writer_dead(w->writer); i++) {
        step(r, w->writer);
    }
    if (*end == END_TAKEOVER && !world_failed(w) && !writer_dead(w->writer)) {
        takeover(r);
        if (w->writer) {
            end_now(r, w->writer, END_KILL);
        }
        *end = END_KILL;
    } else {
        end_now(r, w->writer, *end);
    }
    if (r->stats) {
        r->stats->crashes++;
    }
}

static struct rng scribbler;

/* A guest that writes to its buffer while it is being written. */
static void scribble(void *from, size_t len)
{
    if (rng_one_in(&scribbler, 8)) {
        uint64_t at = rng_below(&scribbler, len / MODEL_UNIT) * MODEL_UNIT;

        memset((uint8_t *)from + at, 0x5a, MODEL_UNIT);
    }
}

bool schedule_run(uint64_t seed, unsigned sim_bugs, char *text, size_t size,
                  struct schedule_stats *stats)
{
    struct run r = { .seed = seed, .rng = { seed }, .stats = stats };
    enum end end = END_CUT;
    bool ok;

    scribbler.state = ~seed;
    volume_copied = scribble;
    draw_sizes(&r);
    draw_store(&r, sim_bugs);
    draw_taste(&r);
    if (one_in(&r, 4)) {
        sim_cut_at(r.w->sim, 1 + below(&r, 30));
    }
    world_create(r.w);
    sim_cut_at(r.w->sim, 0);
    for (unsigned i = 0; i < r.t.generations && !world_failed(r.w); i++) {
        generation(&r, &end);
    }
    if (!world_failed(r.w)) {
        recover(&r, end);
        world_check_misuse(r.w);
    }
    if (stats) {
        stats->seeds++;
        stats->calls += sim_calls(r.w->sim);
        stats->enospc += r.w->enospc;
    }
    ok = !world_failed(r.w);
    (void)snprintf(text, size, "%s", r.w->failure);
    world_free(r.w);
    return ok;
}
