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
#include "manualvol.h"

#define SIZE MIB(8)
#define SEGMENT KIB(256)
#define DISK (13 * SEGMENT)
#define SEEDS 40

static uint8_t bytes[KIB(64)];

static struct hlfs *volume_of(struct sim *sim, uint64_t size, uint64_t segment,
                              const char *full)
{
    struct hlfs_options *o = hlfs_options_new();
    struct hlfs *v;

    o->segment_bytes = segment;     /* less than people may ask for */
    assert_int_equal(hlfs_options_set(o, "full", full), 0);
    manualvol_create(sim, size, o);
    v = manualvol_open(sim, o);
    hlfs_options_free(o);
    return v;
}

static struct hlfs *new_volume(struct sim *sim)
{
    return volume_of(sim, SIZE, SEGMENT, "error");
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

/* A smaller size empties a full disk as discards do. */
static void full_disk_can_shrink(void **state)
{
    struct sim *sim = sim_new(1);
    struct rng rng = { 1 };
    struct hlfs *v;

    (void)state;
    sim_options(sim)->disk_bytes = DISK;
    v = new_volume(sim);
    for (unsigned i = 0; i < 3; i++) {
        fill(v, &rng);
        assert_int_equal(hlfs_resize(v, KIB(4), HLFS_SHRINK), 0);
        assert_int_equal(write_again(sim, v), 0);
        assert_int_equal(hlfs_resize(v, SIZE, 0), 0);
        assert_int_equal(hlfs_pread(v, bytes, KIB(64), SIZE - KIB(64)), 0);
        assert_true(bytes[0] == 0 && memcmp(bytes, bytes + 1, KIB(64) - 1) == 0);
        memset(bytes, 1, sizeof(bytes));
    }
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/* ---- Full, and somebody waits --------------------------------------------- */

enum tag { FIRST = 1, SECOND, HOLE };

static void *tag_of(enum tag t)
{
    return (void *)(uintptr_t)t;
}

/* Until a write waits, and not for a moment only. */
static void fill_until_it_waits(struct hlfs_queue *q, struct rng *rng, uint64_t lead)
{
    struct hlfs_completion c;
    int res;

    do {
        uint64_t at = rng_below(rng, (SIZE - sizeof(bytes)) / KIB(4)) * KIB(4);

        /* The last one is the FIRST; with LEAD it has a partial block to read. */
        res = hlfs_submit_pwrite(q, bytes, KIB(8), at + lead, 0, tag_of(FIRST));
        assert_true(res == 0 || res == 1);
    } while (res == 1 || hlfs_queue_reap(q, &c, 1, 5000) == 1);
}

/*
 * With full=wait a discard once stood behind the writes that waited for the room it was
 * to make; and each time that the line tried again its first write became its last.
 */
static void wait_and_empty(unsigned seconds, uint64_t lead)
{
    static uint8_t one[KIB(4)], two[KIB(4)], seen[KIB(4)];
    struct rng rng = { seconds + 1 };
    struct sim *sim = sim_new(rng.state);
    struct hlfs_completion c;
    struct hlfs_queue *q;
    struct hlfs *v;

    sim_options(sim)->disk_bytes = DISK;
    v = volume_of(sim, SIZE, SEGMENT, "wait=1h");
    assert_int_equal(hlfs_queue_new(v, 8, &q), 0);
    fill_until_it_waits(q, &rng, lead);
    memset(one, 1, sizeof(one));
    memset(two, 2, sizeof(two));
    assert_int_equal(hlfs_submit_pwrite(q, one, sizeof(one), 0, 0, tag_of(FIRST)), 0);
    assert_int_equal(hlfs_submit_pwrite(q, two, sizeof(two), 0, 0, tag_of(SECOND)), 0);
    pass(sim, v, seconds * (uint64_t)1000000);
    assert_int_equal(hlfs_submit_discard(q, SIZE, 0, 0, tag_of(HOLE)), 0);
    assert_int_equal(hlfs_queue_reap(q, &c, 1, 5000), 1);
    assert_ptr_equal(c.tag, tag_of(HOLE));
    assert_int_equal(c.result, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(hlfs_queue_reap(q, &c, 1, 60000), 1);
        assert_ptr_equal(c.tag, tag_of(i < 2 ? FIRST : SECOND));
        assert_int_equal(c.result, 0);
    }
    assert_int_equal(hlfs_pread(v, seen, sizeof(seen), 0), 0);
    assert_memory_equal(seen, two, sizeof(seen));
    hlfs_queue_free(q);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

static void holes_pass_writes_that_wait_in_their_order(void **state)
{
    (void)state;
    for (unsigned seconds = 0; seconds < 6; seconds++) {
        wait_and_empty(seconds, 0);
        wait_and_empty(seconds, 512);
    }
}

/*
 * A discard of many blocks takes many turns.  With full=error a tick between two of them
 * once gave it what only writes may get.
 */
static void a_long_discard_is_not_refused(void **state)
{
    struct sim *sim = sim_new(1);
    struct hlfs_completion c;
    struct hlfs_queue *q;
    struct hlfs *v;
    uint64_t at = 0;

    (void)state;
    sim_options(sim)->disk_bytes = MIB(64);
    v = volume_of(sim, MIB(256), MIB(4), "error");
    while (hlfs_pwrite(v, bytes, KIB(4), at, 0) == 0) {     /* no checkpoint so soon */
        at += KIB(8);
        assert_true(at < MIB(256));
    }
    assert_int_equal(hlfs_queue_new(v, 1, &q), 0);
    assert_int_equal(hlfs_submit_discard(q, MIB(256), 0, 0, NULL), 0);
    sim_run_until(sim, sim_now(sim) + 2000000);
    assert_int_equal(hlfs_queue_reap(q, &c, 1, 60000), 1);
    assert_int_equal(c.result, 0);
    hlfs_queue_free(q);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_that_fills_up_can_be_emptied),
        cmocka_unit_test(so_can_a_thin_one),
        cmocka_unit_test(full_disk_can_shrink),
        cmocka_unit_test(holes_pass_writes_that_wait_in_their_order),
        cmocka_unit_test(a_long_discard_is_not_refused),
    };

    memset(bytes, 1, sizeof(bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
