/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A store that takes creates but no appends, for a while.
 *
 * Each append that failed was tried again in a new segment, for ever: where it took long
 * to fail nobody who waited was told (the option unreachable had no effect), and the disk
 * filled with empty segments.  Now there is ever more time between two tries, and the
 * time of unreachable begins with the second failure.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "manualvol.h"
#include "volume/private.h"

#define UNREACHABLE_US 2000000
#define FAILING_US 120000000

static uint8_t block[4096];

static struct hlfs *new_volume(struct sim *sim)
{
    struct hlfs_options *o = hlfs_options_new();
    struct hlfs *v;

    assert_int_equal(hlfs_options_set(o, "unreachable", "wait=2s"), 0);
    manualvol_create(sim, MIB(64), NULL);
    v = manualvol_open(sim, o);
    hlfs_options_free(o);
    return v;
}

static void appends_fail(uint64_t seed, uint64_t slow_us)
{
    struct sim *sim = sim_new(seed);
    struct hlfs *v = new_volume(sim);
    struct hlfs_counters before, after;
    uint64_t start;

    memset(block, 7, sizeof(block));
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 0, HLFS_FUA), 0);
    assert_int_equal(volume_counters(v, &before), 0);
    sim_options(sim)->eio_one_in[SIM_APPEND] = 1;
    if (slow_us > 0) {
        sim_options(sim)->stall_one_in[SIM_APPEND] = 1;
        sim_options(sim)->stall_us_max = slow_us;
    }
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 4096, 0), 0);
    start = sim_now(sim);
    assert_int_equal(hlfs_flush(v), -EIO);
    assert_in_range(sim_now(sim) - start, UNREACHABLE_US,
                    UNREACHABLE_US + 1000000 + 3 * slow_us);
    pass(sim, v, FAILING_US);
    assert_int_equal(volume_counters(v, &after), 0);
    assert_in_range(after.segments_created - before.segments_created, 2, 30);

    /* It passes: what was written is durable before long, and nobody has to help. */
    memset(sim_options(sim)->eio_one_in, 0, sizeof(sim_options(sim)->eio_one_in));
    memset(sim_options(sim)->stall_one_in, 0, sizeof(sim_options(sim)->stall_one_in));
    pass(sim, v, 20000000 + slow_us);
    assert_int_equal(hlfs_flush(v), 0);
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 8192, HLFS_FUA), 0);
    assert_int_equal(hlfs_close(v), 0);
    assert_string_equal(sim_misuse(sim) ? sim_misuse(sim) : "", "");
    sim_free(sim);
}

static void appends_that_fail_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        appends_fail(seed, 0);
    }
}

static void appends_that_fail_slowly(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        appends_fail(seed, 900000);
    }
}

/*
 * One page of the map could not be read once, while writes waited for the checkpoint that
 * needed it: they all failed with that error, until the next checkpoint began, though
 * guests' writes wait for a store that is away.
 */
static void a_page_that_cannot_be_read_once(void **state)
{
    struct hlfs_options *o = hlfs_options_new();
    struct sim *sim = sim_new(1);
    struct rng rng = { 1 };
    struct hlfs_counters c;
    struct hlfs *v;

    (void)state;
    manualvol_create(sim, MIB(64), NULL);
    v = manualvol_open(sim, NULL);
    for (uint64_t at = 0; at < MIB(64); at += KIB(64)) {
        assert_int_equal(hlfs_pwrite(v, block, sizeof(block), at, 0), 0);
    }
    assert_int_equal(hlfs_close(v), 0);
    assert_int_equal(hlfs_options_set(o, "unreachable", "wait=60s"), 0);
    v = manualvol_open(sim, o);
    v->layer_limit = KIB(32);
    v->layer_hard_limit = KIB(48);
    sim_options(sim)->eio_one_in[SIM_PREAD] = 3;
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t at = rng_below(&rng, MIB(64) / KIB(4)) * KIB(4);

        assert_int_equal(hlfs_pwrite(v, block, sizeof(block), at, 0), 0);
    }
    assert_int_equal(volume_counters(v, &c), 0);
    assert_true(c.checkpoints > 1);
    sim_options(sim)->eio_one_in[SIM_PREAD] = 0;
    assert_int_equal(hlfs_close(v), 0);
    hlfs_options_free(o);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_that_fail_at_once),
        cmocka_unit_test(appends_that_fail_slowly),
        cmocka_unit_test(a_page_that_cannot_be_read_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
