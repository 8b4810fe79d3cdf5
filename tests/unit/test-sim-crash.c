/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Crashes of the simulated store: what it does to the bytes really happens, in every
 * shape, and never to what was synced; the same seed does it again.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */

#include "test-sim-rig.h"

/* ---- Power cuts ---------------------------------------------------------- */

/* Un-synced writes of both kinds, landed and in flight, tear in all shapes. */
static void tear_once(uint64_t seed, bool landed, unsigned shapes[SIM_SHAPES])
{
    struct rig r = rig_new(seed);
    struct store_op op = append_op(1, 0, buffer[0], WRITE);
    uint32_t kept;

    assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
    stamp(buffer[0], seed, 0, WRITE);
    store_submit(r.lane, &op);
    store_kick(r.lane);
    if (landed) {
        assert_int_equal(store_wait(r.lane, -1), 1);
        assert_int_equal(sim_unsynced_bytes(r.sim, 1), WRITE);
    }
    sim_power_cut(r.sim);
    assert_true(sim_is_cut(r.sim));
    kept = kept_sectors(r.sim, 1, seed, 0);
    shapes[shape_of(kept)]++;
    if (kept) {
        assert_true(sim_file_len(r.sim, 1) >=
                    (int64_t)(32 - __builtin_clz(kept)) * SECTOR);
    }
    collect_all(r.lane, 1, &(struct list){ 0 });
    assert_int_equal(op.res, landed ? 0 : -ESHUTDOWN);
    sim_power_on(r.sim);
    rig_free(&r);
}

static void test_torn_in_all_shapes(void **state)
{
    (void)state;
    for (unsigned landed = 0; landed < 2; landed++) {
        unsigned shapes[SIM_SHAPES] = { 0 };

        for (uint64_t seed = 0; seed < 2000; seed++) {
            tear_once(seed, landed, shapes);
        }
        for (unsigned i = 0; i < SIM_SHAPES; i++) {
            assert_true(shapes[i] > 10);
        }
    }
}

/* What is lost in a reused file shows the old bytes, in a new one zeros. */
static void test_lost_bytes_show_the_old(void **state)
{
    unsigned old = 0, zero = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct rig r = rig_new(seed);
        struct store_op seal = { .what = STORE_SEAL, .file = 1 };
        uint64_t file = 2 + (seed & 1);

        sim_options(r.sim)->reuse = SIM_REUSE_ALWAYS;
        assert_int_equal(store_create_now(r.lane, 1, WRITE), 0);
        write_now(&r, 1, 5, 0, WRITE, STORE_DURABLE);
        assert_int_equal(store_do(r.lane, &seal), 0);
        assert_int_equal(store_remove_now(r.lane, 1), 0);
        assert_int_equal(store_create_now(r.lane, 2, WRITE), 0);
        if (file == 3) {
            assert_int_equal(store_create_now(r.lane, 3, WRITE), 0);
        }
        write_now(&r, file, 6, 0, WRITE, 0);
        sim_power_cut(r.sim);
        memset(buffer[1], 0, WRITE);
        (void)sim_peek(r.sim, file, 0, buffer[1], WRITE);
        for (uint64_t at = 0; at < WRITE; at += SECTOR) {
            if (is_stamped(buffer[1] + at, 6, at)) {
                continue;
            }
            if (file == 2) {
                assert_true(is_stamped(buffer[1] + at, 5, at));
                old++;
            } else {
                assert_true(is_zero(buffer[1] + at));
                zero++;
            }
        }
        rig_free(&r);
    }
    assert_true(old > 100 && zero > 100);
}

#define MODEL_FILES 4
#define MODEL_WRITES 64

/* What one file of a random run must look like. */
struct model {
    uint64_t end;               /* submitted */
    struct {
        uint64_t offset;
        size_t len;
        bool done;
        bool durable;
    } w[MODEL_WRITES];
    unsigned n;
    bool failed;
};

/* One random step on FILE of the model; everything durable must stay. */
static void model_step(struct rig *r, struct rng *rng, struct model *m, uint64_t file)
{
    size_t len = (1 + rng_below(rng, 20)) * SECTOR;
    unsigned flags = rng_one_in(rng, 4) ? STORE_DURABLE : 0;
    int res;

    if (m->failed || m->n == MODEL_WRITES) {
        return;
    }
    if (rng_one_in(rng, 4)) {
        if (store_sync_now(r->lane, file) == 0) {
            for (unsigned i = 0; i < m->n; i++) {
                m->w[i].durable = true;
            }
        } else {
            m->failed = true;   /* SIM-5: later syncs prove nothing */
        }
        return;
    }
    stamp(buffer[0], file, m->end, len);
    res = store_append_now(r->lane, file, m->end, buffer[0], len, flags);
    m->failed = res != 0;
    if (res == 0) {
        m->w[m->n].offset = m->end;
        m->w[m->n].len = len;
        m->w[m->n++].durable = flags & STORE_DURABLE;
    }
    m->end += len;
}

/* Returns how many sectors of durable and of other writes are lost. */
static void model_check(struct sim *sim, const struct model *m, uint64_t file,
                        unsigned *lost_durable, unsigned *lost)
{
    for (unsigned i = 0; i < m->n; i++) {
        size_t len = m->w[i].len;

        memset(buffer[1], 0xee, len);
        (void)sim_peek(sim, file, m->w[i].offset, buffer[1], len);
        for (uint64_t at = 0; at < len; at += SECTOR) {
            if (!is_stamped(buffer[1] + at, file, m->w[i].offset + at)) {
                *(m->w[i].durable ? lost_durable : lost) += 1;
            }
        }
    }
}

/* A random run and a cut; a kill and a second process come first in some. */
static void random_run(uint64_t seed, unsigned bugs, unsigned *lost_durable,
                       unsigned *lost)
{
    struct rig r = rig_new(seed);
    struct rng rng = { seed };
    struct model m[MODEL_FILES] = { 0 };

    sim_set_bug(r.sim, bugs);
    sim_options(r.sim)->reuse = SIM_REUSE_ALWAYS;
    sim_options(r.sim)->eio_one_in[SIM_APPEND] = 50;
    sim_options(r.sim)->eio_one_in[SIM_SYNC] = 20;
    for (uint64_t file = 1; file <= MODEL_FILES; file++) {
        assert_int_equal(store_create_now(r.lane, file, KIB(256)), 0);
    }
    for (unsigned i = rng_below(&rng, 150); i > 0; i--) {
        uint64_t file = 1 + rng_below(&rng, MODEL_FILES);

        model_step(&r, &rng, &m[file - 1], file);
    }
    if (rng_one_in(&rng, 4)) {
        sim_kill(r.store);
        rig_close(&r);
        rig_open(&r);
    }
    sim_power_cut(r.sim);
    for (uint64_t file = 1; file <= MODEL_FILES; file++) {
        model_check(r.sim, &m[file - 1], file, lost_durable, lost);
    }
    rig_free(&r);
}

static void test_synced_bytes_stay(void **state)
{
    unsigned lost_durable = 0, lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        random_run(seed, 0, &lost_durable, &lost);
        if (lost_durable) {
            fail_msg("seed %llu: synced bytes are lost", (unsigned long long)seed);
        }
    }
    assert_true(lost > 1000);
}

static void test_planted_bugs_show(void **state)
{
    unsigned skipped = 0, early = 0, lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        random_run(seed, SIM_BUG_SYNC_SKIPPED, &skipped, &lost);
        random_run(seed, SIM_BUG_SYNC_EARLY, &early, &lost);
    }
    assert_true(skipped > 1000);
    assert_true(early > 100 && early < skipped);
}

/* A sync covers what had completed when it was submitted; the rest by chance. */
static void test_sync_covers_the_completed_only(void **state)
{
    unsigned kept = 0, lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct rig r = rig_new(seed);
        struct store_op later = append_op(1, WRITE, buffer[1], WRITE);
        struct store_op sync = { .what = STORE_SYNC, .file = 1 };
        struct list done;

        assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
        write_now(&r, 1, 1, 0, WRITE, 0);
        stamp(buffer[1], 2, WRITE, WRITE);
        store_submit(r.lane, &later);
        store_submit(r.lane, &sync);
        store_kick(r.lane);
        collect_all(r.lane, 2, &done);
        sim_power_cut(r.sim);
        assert_int_equal(kept_sectors(r.sim, 1, 1, 0), ALL_SECTORS);
        if (list_first(&done, struct store_op, node) == &later) {
            bool whole = kept_sectors(r.sim, 1, 2, WRITE) == ALL_SECTORS;

            kept += whole;
            lost += !whole;
        }
        rig_free(&r);
    }
    assert_true(kept > 100 && lost > 30);
}

/* A create that completed is durable, one in flight is or is not. */
static void test_names_at_a_cut(void **state)
{
    unsigned there = 0, back = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rig r = rig_new(seed);
        struct store_op create = { .what = STORE_CREATE, .file = 3, .len = KIB(64) };

        assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
        assert_int_equal(store_create_now(r.lane, 2, KIB(64)), 0);
        assert_int_equal(store_remove_now(r.lane, 1), 0);
        store_submit(r.lane, &create);
        store_kick(r.lane);
        sim_power_cut(r.sim);
        collect_all(r.lane, 1, &(struct list){ 0 });
        assert_int_equal(sim_file_len(r.sim, 2), 0);
        back += sim_file_len(r.sim, 1) >= 0;
        there += sim_file_len(r.sim, 3) >= 0;
        assert_int_equal(sim_stats(r.sim)->removes_undone, sim_file_len(r.sim, 1) >= 0);
        rig_free(&r);
    }
    assert_true(there > 30 && there < 270);
    assert_true(back > 30 && back < 150);
}

static void test_the_dead_get_answers(void **state)
{
    struct rig r = rig_new(20);
    uint64_t file, now;
    struct store *other;

    (void)state;
    sim_power_cut(r.sim);
    assert_true(sim_is_dead(r.store));
    assert_int_equal(sim_store_open(r.sim, 0, &other), -ESHUTDOWN);
    now = sim_now(r.sim);
    assert_int_equal(store_create_now(r.lane, 1, KIB(64)), -ESHUTDOWN);
    assert_int_equal(store_pread_now(r.lane, 1, 0, buffer[0], 9), -ESHUTDOWN);
    assert_int_equal(store_highest(r.store, 0, &file), -ESHUTDOWN);
    assert_int_equal(store_put(r.store, "volume", "x", 1), -ESHUTDOWN);
    assert_int_equal(store_holder_alive(r.store), -ESHUTDOWN);
    store_resign(r.store);
    assert_int_equal(store_wait(r.lane, 5000), 0);
    assert_int_equal(clock_monotonic_us(r.store->clock), now + 5000);
    assert_int_equal(sim_now(r.sim), now);
    sim_power_on(r.sim);
    assert_int_equal(store_create_now(r.lane, 1, KIB(64)), -ESHUTDOWN);
    rig_free(&r);
}

/* ---- Kills --------------------------------------------------------------- */

struct kill_counts {
    unsigned nothing, now, late;
};

/* Kill a process with an append in flight; RECOVER: the next one fences it off. */
static void kill_once(uint64_t seed, bool recover, struct kill_counts *n)
{
    struct rig r = rig_new(seed);
    uint8_t *heap = aligned_alloc(STORE_BUF_ALIGN, WRITE);
    struct store_op op = append_op(1, WRITE, heap, WRITE);
    uint32_t before, after;
    uint64_t len;

    assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
    write_now(&r, 1, 1, 0, WRITE, 0);
    stamp(heap, 2, WRITE, WRITE);
    store_submit(r.lane, &op);
    store_kick(r.lane);
    sim_kill(r.store);
    collect_all(r.lane, 1, &(struct list){ 0 });
    assert_int_equal(op.res, -ESHUTDOWN);
    rig_close(&r);
    free(heap);
    rig_open(&r);
    if (recover) {
        assert_int_equal(store_recover(r.store, 1, &len), 0);
        assert_int_equal(len, sim_file_len(r.sim, 1));
    }
    before = kept_sectors(r.sim, 1, 2, WRITE);
    sim_run_until(r.sim, sim_now(r.sim) + 600000);
    after = kept_sectors(r.sim, 1, 2, WRITE);
    assert_int_equal(kept_sectors(r.sim, 1, 1, 0), ALL_SECTORS);
    assert_int_equal(before & ~after, 0);
    assert_true(!recover || before == after);
    n->now += before != 0;
    n->late += before != after;
    n->nothing += after == 0;
    rig_free(&r);
}

/* A create or remove in flight happens at once, late or never. */
static void test_names_of_the_killed(void **state)
{
    unsigned at_once = 0, late = 0, never = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rig r = rig_new(seed);
        bool removes = seed & 1;
        struct store_op op = {
            .what = removes ? STORE_REMOVE : STORE_CREATE, .file = 1, .len = KIB(64),
        };
        bool before, after;

        if (removes) {
            assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
        }
        store_submit(r.lane, &op);
        store_kick(r.lane);
        sim_kill(r.store);
        collect_all(r.lane, 1, &(struct list){ 0 });
        before = (sim_file_len(r.sim, 1) < 0) == removes;
        sim_run_until(r.sim, sim_now(r.sim) + 600000);
        after = (sim_file_len(r.sim, 1) < 0) == removes;
        assert_true(after || !before);
        assert_int_equal(sim_stats(r.sim)->late_names, after && !before);
        at_once += before;
        late += after && !before;
        never += !after;
        rig_free(&r);
    }
    assert_true(at_once > 30 && late > 30 && never > 30);
}

static void test_the_killed_land_late(void **state)
{
    struct kill_counts n = { 0 }, fenced = { 0 };

    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        kill_once(seed, false, &n);
        kill_once(seed, true, &fenced);
    }
    assert_true(n.nothing > 50 && n.now > 50 && n.late > 50);
    assert_true(fenced.nothing > 50 && fenced.now > 50);
    assert_int_equal(fenced.late, 0);
}

/* ---- Cut at every call --------------------------------------------------- */

/* Some of everything.  Returns 0, or the first -ESHUTDOWN. */
static int workload(struct rig *r)
{
    struct store_op seal = { .what = STORE_SEAL };
    uint64_t len;
    int res = store_enlist(r->store, 1);

    for (uint64_t file = 1; file <= 4 && res >= 0; file++) {
        sim_set_situation(r->sim, "rollover", true);
        res = store_create_now(r->lane, file, KIB(64));
        sim_set_situation(r->sim, "rollover", false);
        for (unsigned i = 0; i < 4 && res == 0; i++) {
            res = store_append_now(r->lane, file, i * WRITE, buffer[0], WRITE, 0);
        }
        res = res ? res : store_sync_now(r->lane, file);
        seal.file = file;
        res = res ? res : store_do(r->lane, &seal);
        if (res == 0 && file > 1) {
            sim_set_situation(r->sim, "remove", true);
            res = store_recover(r->store, file - 1, &len);
            res = res ? res : store_remove_now(r->lane, file - 1);
            sim_set_situation(r->sim, "remove", false);
        }
    }
    return res < 0 ? res : store_put(r->store, "volume", "x", 1);
}

static void cut_everywhere(bool kill)
{
    struct sim_census census = { 0 };
    uint64_t counted = 0;

    for (uint64_t call = 1;; call++) {
        struct rig r = rig_new(50);
        int res;

        sim_set_census(r.sim, &census);
        if (kill) {
            sim_kill_at(r.store, call);
        } else {
            sim_cut_at(r.sim, call);
        }
        res = workload(&r);
        counted = sim_calls(r.sim);
        assert_int_equal(res, sim_is_dead(r.store) ? -ESHUTDOWN : 0);
        assert_int_equal(sim_is_cut(r.sim), !kill && res != 0);
        rig_free(&r);
        if (res == 0) {
            break;
        }
    }
    assert_int_equal(counted, 36);
    assert_int_equal(census.cuts, counted);
    assert_int_equal(census.by_call[SIM_APPEND], 16);
    assert_int_equal(census.by_call[SIM_SYNC], 4);
    assert_true(census.in_flight > 5 && census.in_flight < 30);
    assert_int_equal(sim_cuts_in(&census, "rollover"), 4);
    assert_int_equal(sim_cuts_in(&census, "remove"), 6);
    assert_int_equal(sim_cuts_in(&census, "never heard of"), 0);
}

static void test_cut_at_every_call(void **state)
{
    (void)state;
    cut_everywhere(false);
    cut_everywhere(true);
}

static void test_cut_at_a_time(void **state)
{
    struct rig r = rig_new(51);

    (void)state;
    sim_cut_at_time(r.sim, sim_now(r.sim) + 1000);
    assert_int_equal(workload(&r), -ESHUTDOWN);
    assert_true(sim_is_cut(r.sim));
    rig_free(&r);
}

/* ---- Determinism --------------------------------------------------------- */

#define WILD_FILES 6

/* One of two processes does something, whether it makes sense or not. */
static void wild_step(struct rig *r, struct rng *rng, struct store_op *op)
{
    uint64_t file = 1 + rng_below(rng, WILD_FILES), len;

    *op = (struct store_op){
        .what = (enum store_what)rng_below(rng, 7), .file = file, .buf = buffer[1],
        .len = WRITE, .offset = rng_below(rng, 4) * WRITE, .fence = file + 1,
        .flags = rng_one_in(rng, 3) ? STORE_DURABLE | STORE_FENCE : 0,
    };
    if (op->what == STORE_APPEND) {
        op->buf = buffer[0];
    }
    store_submit(r->lane, op);
    if (rng_one_in(rng, 2)) {
        store_kick(r->lane);
        (void)store_wait(r->lane, (int64_t)rng_below(rng, 300));
    }
    if (rng_one_in(rng, 8)) {
        (void)store_recover(r->store, file, &len);
    } else if (rng_one_in(rng, 8)) {
        (void)store_enlist(r->store, file);
    }
}

/* After a death everything that was submitted is answered; another process comes. */
static void wild_death(struct rig *r, struct list *done)
{
    if (sim_is_dead(r->store)) {
        (void)store_collect(r->lane, done);
        rig_close(r);
        sim_power_on(r->sim);
        rig_open(r);
    }
}

/* Returns the trace of a wild run: calls, faults, kills and cuts in no sensible order. */
static uint64_t wild_run(uint64_t seed)
{
    static struct store_op ops[200];
    struct sim *sim = sim_new(seed);
    struct rig r[2] = { { .sim = sim }, { .sim = sim } };
    struct rng rng = { seed };
    struct list done;
    uint64_t trace;

    list_init(&done);
    for (unsigned i = 0; i < SIM_CALLS; i++) {
        sim_options(sim)->eio_one_in[i] = 20;
        sim_options(sim)->stall_one_in[i] = 30;
    }
    sim_options(sim)->disk_bytes = rng_one_in(&rng, 2) ? KIB(100) : 0;
    sim_options(sim)->thin = rng_one_in(&rng, 2);
    rig_open(&r[0]);
    rig_open(&r[1]);
    sim_kill_at(r[1].store, 100);
    sim_cut_at(sim, 50 + rng_below(&rng, 100));
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
        wild_step(&r[i & 1], &rng, &ops[i]);
        if (rng_one_in(&rng, 40)) {
            sim_kill(r[i & 1].store);
        }
        wild_death(&r[0], &done);
        wild_death(&r[1], &done);
    }
    sim_power_cut(sim);
    wild_death(&r[0], &done);
    wild_death(&r[1], &done);
    rig_close(&r[0]);
    rig_close(&r[1]);
    trace = sim_trace(sim);
    sim_free(sim);
    return trace;
}

static void test_same_seed_same_run(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        uint64_t trace = wild_run(seed);

        assert_int_equal(wild_run(seed), trace);
        assert_int_not_equal(wild_run(seed + 1), trace);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torn_in_all_shapes),
        cmocka_unit_test(test_lost_bytes_show_the_old),
        cmocka_unit_test(test_synced_bytes_stay),
        cmocka_unit_test(test_planted_bugs_show),
        cmocka_unit_test(test_sync_covers_the_completed_only),
        cmocka_unit_test(test_names_at_a_cut),
        cmocka_unit_test(test_the_dead_get_answers),
        cmocka_unit_test(test_names_of_the_killed),
        cmocka_unit_test(test_the_killed_land_late),
        cmocka_unit_test(test_cut_at_every_call),
        cmocka_unit_test(test_cut_at_a_time),
        cmocka_unit_test(test_same_seed_same_run),
    };

    return cmocka_run_group_tests_name("sim, crashes", tests, NULL, NULL);
}
