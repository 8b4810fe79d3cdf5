/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulated store: the contract of store.h, room, two processes, faults, damage.
 * Crashes are in test-sim-crash.c.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */

#include "test-sim-rig.h"

#include "test-store.h"

/* ---- Contract ------------------------------------------------------------ */

static int count_file(void *opaque, uint64_t file)
{
    uint64_t *sum = opaque;

    *sum = *sum * 10 + store_segno(file);
    return 0;
}

static void test_files(void **state)
{
    struct rig r = rig_new(1);
    uint64_t file, sum = 0;

    (void)state;
    assert_int_equal(store_highest(r.store, 0, &file), -ENOENT);
    assert_int_equal(store_create_now(r.lane, 2, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, 3, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, 3, KIB(64)), -EEXIST);
    assert_int_equal(store_create_now(r.lane, 7, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, STORE_MOVED | 4, KIB(64)), 0);
    assert_int_equal(store_list(r.store, 0, 3, count_file, &sum), 0);
    assert_int_equal(sum, 37);
    assert_int_equal(store_list(r.store, STORE_MOVED, 0, count_file, &sum), 0);
    assert_int_equal(sum, 374);
    assert_int_equal(store_highest(r.store, 0, &file), 0);
    assert_int_equal(file, 7);
    assert_int_equal(store_highest(r.store, STORE_MOVED, &file), 0);
    assert_int_equal(file, STORE_MOVED | 4);
    assert_int_equal(store_remove_now(r.lane, 3), 0);
    assert_int_equal(store_remove_now(r.lane, 3), 0);
    assert_int_equal(store_pread_now(r.lane, 3, 0, buffer[1], 10), -ENOENT);
    rig_free(&r);
}

static void test_bytes(void **state)
{
    struct rig r = rig_new(2);

    (void)state;
    assert_int_equal(store_create_now(r.lane, 1, MIB(4)), 0);
    write_now(&r, 1, 11, 0, WRITE, 0);
    write_now(&r, 1, 12, WRITE, WRITE, STORE_DURABLE);
    assert_int_equal(store_sync_now(r.lane, 1), 0);
    assert_int_equal(sim_unsynced_bytes(r.sim, 1), 0);
    assert_int_equal(store_pread_now(r.lane, 1, WRITE - SECTOR, buffer[1], KIB(64)),
                     WRITE + SECTOR);
    assert_true(is_stamped(buffer[1], 11, WRITE - SECTOR));
    assert_true(is_stamped(buffer[1] + SECTOR, 12, WRITE));
    assert_int_equal(store_pread_now(r.lane, 1, 2 * WRITE + 1, buffer[1], 9), 0);
    assert_int_equal(store_pread_now(r.lane, 1, 3, buffer[1], 5), 5);
    rig_free(&r);
}

static void test_small_files(void **state)
{
    struct rig r = rig_new(3);
    struct store *other;
    char text[8] = "";

    (void)state;
    assert_int_equal(store_get(r.store, "volume", text, sizeof(text)), -ENOENT);
    assert_int_equal(store_put(r.store, "volume", "abcdef", 6), 0);
    assert_int_equal(store_put(r.store, "volume", "x", 1), -EEXIST);
    assert_int_equal(store_get(r.store, "volume", text, 4), 4);
    assert_string_equal(text, "abcd");
    rig_power_cycle(&r);
    assert_int_equal(store_get(r.store, "volume", text, sizeof(text)), 6);
    assert_int_equal(sim_store_open(r.sim, SIM_OPEN_CREATE, &other), -EEXIST);
    store_lane_free(TAKE_PTR(r.lane));
    assert_int_equal(store_destroy(r.store), 0);
    assert_int_equal(store_get(r.store, "volume", text, sizeof(text)), -ENOENT);
    rig_free(&r);
}

static void test_completions_come_out_of_order(void **state)
{
    struct rig r = rig_new(4);
    struct store_op ops[8];
    struct store_op *op;
    struct list done;
    bool disorder = false;

    (void)state;
    assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
    for (unsigned i = 0; i < 8; i++) {
        ops[i] = append_op(1, i * SECTOR, buffer[0], SECTOR);
        store_submit(r.lane, &ops[i]);
    }
    assert_int_equal(sim_file_len(r.sim, 1), 0);
    store_kick(r.lane);
    collect_all(r.lane, 8, &done);
    list_for_each(op, &done, node) {
        assert_int_equal(op->res, 0);
        disorder = disorder || (op->node.next != &done && op[0].offset != 7 * SECTOR &&
                                list_entry(op->node.next, struct store_op, node) < op);
    }
    assert_true(disorder);
    assert_int_equal(sim_file_len(r.sim, 1), 8 * SECTOR);
    rig_free(&r);
}

static void test_time(void **state)
{
    struct rig r = rig_new(5);
    uint64_t start = clock_monotonic_us(sim_clock(r.sim));
    struct store_op op = { .what = STORE_CREATE, .file = 1, .len = KIB(64) };

    (void)state;
    assert_int_equal(store_wait(r.lane, 3600000000), 0);
    assert_int_equal(clock_monotonic_us(r.store->clock), start + 3600000000);
    assert_int_equal(store_wait(r.lane, -1), 0);
    store_wake(r.lane);
    assert_int_equal(store_wait(r.lane, -1), 1);
    assert_int_equal(sim_now(r.sim), start + 3600000000);
    assert_false(sim_step(r.sim));
    store_submit(r.lane, &op);
    store_kick(r.lane);
    assert_true(sim_step(r.sim));
    assert_int_equal(store_wait(r.lane, 0), 1);
    collect_all(r.lane, 1, &(struct list){ 0 });
    sim_set_wall_skew(r.store, -5000000);
    assert_int_equal(clock_wall_us(sim_clock(r.sim)) - clock_wall_us(r.store->clock),
                     5000000);
    assert_int_equal(store_lane_fd(r.lane), -1);
    rig_free(&r);
}

static void test_lanes_do_not_mix(void **state)
{
    struct rig r = rig_new(6);
    struct store_lane *other = store_lane_new(r.store);
    struct store_op op = { .what = STORE_CREATE, .file = 1, .len = KIB(64) };
    struct list done;

    (void)state;
    list_init(&done);
    store_submit(other, &op);
    assert_int_equal(store_wait(r.lane, 100000), 0);    /* not kicked: a time-out */
    store_kick(other);
    assert_int_equal(store_wait(r.lane, -1), 0);        /* the other lane's */
    assert_int_equal(store_collect(r.lane, &done), 0);
    assert_int_equal(store_wait(other, -1), 1);
    assert_int_equal(store_collect(other, &done), 1);
    store_lane_free(other);
    rig_free(&r);
}

static void test_misuse_is_told(void **state)
{
    struct rig r = rig_new(7);

    (void)state;
    assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
    write_now(&r, 1, 1, 0, WRITE, 0);
    assert_null(sim_misuse(r.sim));
    assert_int_equal(store_append_now(r.lane, 1, 0, buffer[0], WRITE, 0), -EINVAL);
    assert_non_null(strstr(sim_misuse(r.sim), "not at the end"));
    assert_int_equal(store_append_now(r.lane, 1, WRITE, buffer[0], 100, 0), -EINVAL);
    assert_int_equal(store_append_now(r.lane, 1, WRITE, buffer[0] + 512, 512, 0),
                     -EINVAL);
    assert_int_equal(store_create_now(r.lane, 0, MIB(1)), -EINVAL);
    assert_int_equal(store_append_now(r.lane, 9, 0, buffer[0], WRITE, 0), -ENOENT);
    rig_close(&r);
    rig_open(&r);
    assert_int_equal(store_append_now(r.lane, 1, WRITE, buffer[0], WRITE, 0), -EINVAL);
    rig_close(&r);
    sim_free(r.sim);
}

static void test_read_only(void **state)
{
    struct rig r = rig_new(8);

    (void)state;
    assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
    rig_close(&r);
    assert_int_equal(sim_store_open(r.sim, SIM_OPEN_READ_ONLY, &r.store), 0);
    r.lane = store_lane_new(r.store);
    assert_int_equal(store_create_now(r.lane, 2, MIB(1)), -EROFS);
    assert_int_equal(store_remove_now(r.lane, 1), -EROFS);
    assert_int_equal(store_put(r.store, "volume", "x", 1), -EROFS);
    assert_int_equal(store_pread_now(r.lane, 1, 0, buffer[1], 10), 0);
    rig_free(&r);
}

/* ---- Room ---------------------------------------------------------------- */

static void test_disk_full(void **state)
{
    struct rig r = rig_new(10);
    struct store_stat st;

    (void)state;
    sim_options(r.sim)->disk_bytes = KIB(200);
    sim_options(r.sim)->reuse = SIM_REUSE_NEVER;
    assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, 2, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, 3, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, 4, KIB(64)), -ENOSPC);
    assert_int_equal(store_stat(r.store, &st), 0);
    assert_int_equal(st.free_bytes, KIB(8));
    write_now(&r, 3, 1, 0, KIB(64), 0);                 /* was secured */
    write_now(&r, 3, 1, KIB(64), KIB(8), 0);            /* was free */
    assert_int_equal(store_append_now(r.lane, 3, KIB(72), buffer[0], KIB(8), 0),
                     -ENOSPC);
    assert_int_equal(store_remove_now(r.lane, 1), 0);
    assert_int_equal(store_create_now(r.lane, 5, KIB(64)), 0);
    rig_free(&r);
}

static void test_thin_disk_full(void **state)
{
    struct rig r = rig_new(11);
    uint64_t offset = 0;

    (void)state;
    sim_options(r.sim)->disk_bytes = KIB(100);
    sim_options(r.sim)->thin = true;
    assert_int_equal(store_create_now(r.lane, 1, MIB(1)), 0);
    assert_int_equal(store_create_now(r.lane, 2, MIB(1)), 0);
    while (store_append_now(r.lane, 1, offset, buffer[0], KIB(8), 0) == 0) {
        offset += KIB(8);
    }
    assert_int_equal(offset, KIB(96));
    assert_int_equal(store_remove_now(r.lane, 1), 0);
    write_now(&r, 2, 1, 0, KIB(64), 0);
    rig_free(&r);
}

/* Spare files leave free room, and a full disk takes theirs. */
static void test_disk_full_of_spares(void **state)
{
    struct rig r = rig_new(9);
    struct store_op prepare = { .what = STORE_PREPARE, .len = KIB(16) };
    struct store_stat st;

    (void)state;
    sim_options(r.sim)->disk_bytes = KIB(128);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(store_do(r.lane, &prepare), 1);
    }
    assert_int_equal(store_do(r.lane, &prepare), 0);
    assert_int_equal(store_create_now(r.lane, 1, KIB(128)), 0);
    assert_int_equal(store_stat(r.store, &st), 0);
    assert_int_equal(st.pool_files, 0);
    assert_int_equal(st.free_bytes, 0);
    rig_free(&r);
}

/* What removed files leave behind, if they were sealed, and what is prepared. */
static void test_pool(void **state)
{
    struct rig r = rig_new(12);
    struct store_op seal = { .what = STORE_SEAL, .file = 1 };
    struct store_op prepare = { .what = STORE_PREPARE, .len = KIB(64) };
    struct store_stat st;

    (void)state;
    sim_options(r.sim)->reuse = SIM_REUSE_ALWAYS;
    assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
    write_now(&r, 1, 77, 0, KIB(64), 0);
    assert_int_equal(store_do(r.lane, &seal), 0);
    assert_int_equal(store_remove_now(r.lane, 1), 0);
    assert_int_equal(store_stat(r.store, &st), 0);
    assert_int_equal(st.pool_files, 1);
    assert_int_equal(st.pool_bytes, KIB(64));
    assert_int_equal(store_create_now(r.lane, 2, KIB(64)), 0);
    assert_int_equal(store_pread_now(r.lane, 2, 0, buffer[1], KIB(64)), KIB(64));
    assert_true(is_stamped(buffer[1] + KIB(32), 77, KIB(32)));
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(store_do(r.lane, &prepare), 1);
    }
    assert_int_equal(store_do(r.lane, &prepare), 0);
    assert_int_equal(store_remove_now(r.lane, 2), 0);   /* not sealed: no reuse */
    assert_int_equal(store_stat(r.store, &st), 0);
    assert_int_equal(st.pool_files, 8);
    assert_int_equal(store_create_now(r.lane, 3, KIB(64)), 0);
    assert_int_equal(store_pread_now(r.lane, 3, 0, buffer[1], KIB(64)), KIB(64));
    assert_true(is_zero(buffer[1]));
    rig_free(&r);
}

/* ---- Two processes ------------------------------------------------------- */

static void test_take_over(void **state)
{
    struct rig a = rig_new(30);
    struct rig b = { .sim = a.sim };
    struct store_op sync = {
        .what = STORE_SYNC, .flags = STORE_FENCE, .file = 1, .fence = 2,
    };
    uint64_t len;

    (void)state;
    rig_open(&b);
    assert_int_equal(store_holder_alive(b.store), 0);
    assert_int_equal(store_create_now(a.lane, 1, KIB(64)), 0);
    assert_int_equal(store_enlist(a.store, 1), 0);
    assert_int_equal(store_holder_alive(b.store), 1);
    assert_int_equal(store_enlist(b.store, 1), -EEXIST);
    write_now(&a, 1, 1, 0, WRITE, 0);
    assert_int_equal(store_do(a.lane, &sync), 0);

    assert_int_equal(store_enlist(b.store, 2), 0);      /* by force */
    assert_int_equal(store_create_now(b.lane, 2, KIB(64)), 0);
    assert_int_equal(store_do(a.lane, &sync), -ESTALE);
    sync.fence = 3;
    assert_int_equal(store_do(a.lane, &sync), 0);
    write_now(&a, 1, 1, WRITE, WRITE, 0);               /* not fenced off yet */
    assert_int_equal(store_recover(b.store, 1, &len), 0);
    assert_int_equal(len, 2 * WRITE);
    assert_int_equal(store_append_now(a.lane, 1, 2 * WRITE, buffer[0], WRITE, 0), -EIO);
    assert_int_equal(store_create_now(a.lane, 2, KIB(64)), -EEXIST);
    assert_int_equal(sim_file_len(a.sim, 1), 2 * WRITE);

    store_resign(a.store);                              /* holds nothing any more */
    assert_int_equal(store_holder_alive(a.store), 1);
    sim_kill(b.store);
    assert_int_equal(store_holder_alive(a.store), 0);
    assert_int_equal(store_enlist(a.store, 2), 0);      /* the dead one's */
    store_resign(a.store);
    assert_int_equal(store_holder_alive(a.store), 0);
    rig_close(&b);
    rig_free(&a);
}

/* ---- Faults -------------------------------------------------------------- */

static void test_one_shot_faults(void **state)
{
    struct rig r = rig_new(40);
    struct store_op sync = { .what = STORE_SYNC, .file = 1 };
    struct list done;

    (void)state;
    sim_fail_nth(r.sim, SIM_CREATE, 0, 2, -ENOSPC);
    assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
    assert_int_equal(store_create_now(r.lane, 2, KIB(64)), -ENOSPC);
    assert_int_equal(store_create_now(r.lane, 2, KIB(64)), 0);
    sim_fail_nth(r.sim, SIM_APPEND, 2, 1, -EIO);
    write_now(&r, 1, 1, 0, WRITE, 0);
    assert_int_equal(store_append_now(r.lane, 2, 0, buffer[0], WRITE, 0), -EIO);
    sim_fail_nth(r.sim, SIM_PREAD, 0, 1, -EIO);
    assert_int_equal(store_pread_now(r.lane, 1, 0, buffer[1], WRITE), -EIO);
    assert_int_equal(store_pread_now(r.lane, 1, 0, buffer[1], WRITE), WRITE);
    sim_fail_nth(r.sim, SIM_PUT, 0, 1, -EIO);
    assert_int_equal(store_put(r.store, "volume", "x", 1), -EIO);
    sim_hang_nth(r.sim, SIM_SYNC, 1, 1);
    store_submit(r.lane, &sync);
    store_kick(r.lane);
    assert_int_equal(store_wait(r.lane, 3600000000), 0);
    assert_int_equal(sim_release(r.sim), 1);
    collect_all(r.lane, 1, &done);
    assert_int_equal(sync.res, 0);
    sim_hang_nth(r.sim, SIM_SYNC, 1, 1);                /* nobody releases it: */
    assert_int_equal(store_sync_now(r.lane, 1), 0);     /* a wait for ever does */
    rig_free(&r);
}

/* The outcome of a failed create and append is open. */
static void test_unknown_outcomes(void **state)
{
    unsigned there = 0, shapes[SIM_SHAPES] = { 0 };

    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct rig r = rig_new(seed);

        sim_fail_nth(r.sim, SIM_CREATE, 2, 1, -EIO);
        assert_int_equal(store_create_now(r.lane, 2, KIB(64)), -EIO);
        there += sim_file_len(r.sim, 2) == 0;
        assert_int_equal(store_create_now(r.lane, 3, KIB(64)), 0);
        sim_fail_nth(r.sim, SIM_APPEND, 0, 1, -EIO);
        stamp(buffer[0], 9, 0, WRITE);
        assert_int_equal(store_append_now(r.lane, 3, 0, buffer[0], WRITE, 0), -EIO);
        shapes[shape_of(kept_sectors(r.sim, 3, 9, 0))]++;
        rig_free(&r);
    }
    assert_true(there > 100 && there < 400);
    for (unsigned i = 0; i < SIM_SHAPES; i++) {
        assert_true(shapes[i] > 5);
    }
}

/* SIM-5: a sync that succeeds after one that failed proves nothing; one by the next
 * process does. */
static void test_failed_syncs(void **state)
{
    unsigned lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rig r = rig_new(seed);
        bool next = seed & 1;

        assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
        write_now(&r, 1, 1, 0, WRITE, 0);
        sim_fail_nth(r.sim, SIM_SYNC, 0, 1, -EIO);
        assert_int_equal(store_sync_now(r.lane, 1), -EIO);
        if (next) {
            sim_kill(r.store);
            rig_close(&r);
            rig_open(&r);
        }
        assert_int_equal(store_sync_now(r.lane, 1), 0);
        sim_power_cut(r.sim);
        if (kept_sectors(r.sim, 1, 1, 0) != ALL_SECTORS) {
            assert_false(next);
            lost++;
        }
        rig_free(&r);
    }
    assert_true(lost > 20);
}

static void test_damage(void **state)
{
    struct rig r = rig_new(43);
    struct sim *copy;

    (void)state;
    assert_int_equal(store_create_now(r.lane, 1, KIB(64)), 0);
    write_now(&r, 1, 1, 0, WRITE, STORE_DURABLE);
    write_now(&r, 1, 1, WRITE, WRITE, 0);
    assert_int_equal(store_put(r.store, "volume", "x", 1), 0);
    copy = sim_fork(r.sim, 1);
    assert_int_equal(sim_unsynced_bytes(copy, 1), sim_unsynced_bytes(r.sim, 1));
    assert_int_equal(sim_corrupt(r.sim, 1, SECTOR, 0x10), 0);
    assert_int_equal(kept_sectors(r.sim, 1, 1, 0), 0xfffd);
    assert_int_equal(sim_truncate(r.sim, 1, 4 * SECTOR), 0);
    assert_int_equal(sim_file_len(r.sim, 1), 4 * SECTOR);
    assert_int_equal(sim_copy_file(r.sim, 1, 5), 0);
    assert_int_equal(sim_unlink(r.sim, 1), 0);
    assert_int_equal(sim_unlink(r.sim, 1), -ENOENT);
    assert_int_equal(kept_sectors(r.sim, 5, 1, 0), 0xd);
    stamp(buffer[0], 1, SECTOR, SECTOR);
    sim_poke(r.sim, 5, SECTOR, buffer[0], SECTOR);
    assert_int_equal(kept_sectors(r.sim, 5, 1, 0), 0xf);
    assert_int_equal(kept_sectors(copy, 1, 1, 0), 0xffff);
    sim_poke(copy, 6, 0, buffer[0], SECTOR);
    assert_int_equal(sim_file_len(copy, 6), SECTOR);
    sim_free(copy);
    rig_free(&r);
}

/* ---- The contract of all stores ------------------------------------------ */

static struct store *contract_fresh(void *opaque)
{
    struct sim **sim = opaque;
    struct store *s = NULL;

    *sim = sim_new(60);
    sim_options(*sim)->reuse = SIM_REUSE_ALWAYS;
    return sim_store_open(*sim, SIM_OPEN_CREATE, &s) < 0 ? NULL : s;
}

static void contract_finish(void *opaque, struct store *s)
{
    struct sim **sim = opaque;

    store_free(s);
    sim_free(*sim);
}

int main(void)
{
    struct sim *sim = NULL;
    const struct store_fixture fixture = {
        .name = "contract, sim", .fresh = contract_fresh, .finish = contract_finish,
        .opaque = &sim, .reuses = true,
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_small_files),
        cmocka_unit_test(test_completions_come_out_of_order),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_lanes_do_not_mix),
        cmocka_unit_test(test_misuse_is_told),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_thin_disk_full),
        cmocka_unit_test(test_disk_full_of_spares),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_take_over),
        cmocka_unit_test(test_one_shot_faults),
        cmocka_unit_test(test_unknown_outcomes),
        cmocka_unit_test(test_failed_syncs),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests_name("sim", tests, NULL, NULL) +
           store_contract_tests(&fixture);
}
