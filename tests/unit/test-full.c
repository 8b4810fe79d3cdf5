/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that fills up: the writer refuses guests before it lacks the room for what can
 * empty the disk again.
 *
 * On a thin disk, where creating a file secures nothing, it once counted the room that
 * its open segments were going to take as free, and the pool took what they needed: no
 * append fitted any more, the discards' included, and each retry left one more segment
 * (crash schedule 1177443).
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
#include "store/sim.h"
#include "volume/volume.h"

#define SIZE MIB(8)
#define SEGMENT KIB(256)
#define DISK (13 * SEGMENT)
#define SEEDS 40

static uint8_t bytes[KIB(64)];

static struct hlfs *new_volume(struct sim *sim)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    struct hlfs *v = NULL;

    o->segment_bytes = SEGMENT;     /* less than people may ask for */
    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, SIZE, VOLUME_MANUAL, o), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    assert_int_equal(volume_open(s, VOLUME_MANUAL, NULL, &v), 0);
    hlfs_options_free(o);
    return v;
}

static void pass(struct sim *sim, struct hlfs *v, uint64_t us)
{
    uint64_t end = sim_now(sim) + us;

    while (sim_now(sim) < end) {
        (void)volume_turn(v, 100000);
    }
}

/* Until a write is refused.  Most are not flushed: several segments are open at once. */
static void fill(struct hlfs *v, struct rng *rng)
{
    int res;

    do {
        uint64_t len = KIB(4) * (1 + rng_below(rng, 16));
        uint64_t at = rng_below(rng, (SIZE - len) / KIB(4) + 1) * KIB(4);

        res = hlfs_pwrite(v, bytes, len, at, rng_one_in(rng, 40) ? HLFS_FUA : 0);
    } while (res == 0);
    assert_int_equal(res, -ENOSPC);
}

static int write_again(struct sim *sim, struct hlfs *v)
{
    int res = -ENOSPC;

    for (unsigned i = 0; i < 40 && res == -ENOSPC; i++) {
        pass(sim, v, 1000000);
        res = hlfs_pwrite(v, bytes, KIB(4), 0, HLFS_FUA);
    }
    return res;
}

static void fill_and_empty(uint64_t seed, bool thin)
{
    struct rng rng = { seed };
    struct sim *sim = sim_new(seed);
    struct hlfs_counters c;
    struct hlfs *v;

    sim_options(sim)->disk_bytes = DISK;
    sim_options(sim)->thin = thin;
    sim_options(sim)->reuse = seed % 3;
    v = new_volume(sim);
    for (unsigned i = 0; i < 3; i++) {
        fill(v, &rng);
        assert_int_equal(hlfs_discard(v, SIZE, 0, 0), 0);
        assert_int_equal(hlfs_flush(v), 0);
        assert_int_equal(write_again(sim, v), 0);
    }
    assert_int_equal(volume_counters(v, &c), 0);
    if (c.segments_broken > 0) {
        fail_msg("seed %llu: %llu segments lacked room", (unsigned long long)seed,
                 (unsigned long long)c.segments_broken);
    }
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

static void disk_that_fills_up_can_be_emptied(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        fill_and_empty(seed, false);
    }
}

static void so_can_a_thin_one(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        fill_and_empty(seed, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_that_fills_up_can_be_emptied),
        cmocka_unit_test(so_can_a_thin_one),
    };

    memset(bytes, 1, sizeof(bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
