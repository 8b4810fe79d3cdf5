/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A submit never waits.  The old driver's reads, writes and flushes were synchronous and
 * stopped the guest while the store was at work.  On the simulated store time passes only
 * where somebody waits, so it must stand still over any number of submits, whatever they
 * meet: a cold map, a full buffer, a sync that hangs.
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

#define SIZE MIB(64)
#define DEPTH 256
#define CHUNK MIB(1)

static uint8_t buf[CHUNK];

static struct hlfs *open_volume(struct sim *sim)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    struct hlfs *v = NULL;

    assert_int_equal(hlfs_options_set(o, "dirty-limit", "4M"), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    if (volume_open(s, VOLUME_MANUAL, o, &v) < 0) {
        fail_msg("%s", error_text());
    }
    hlfs_options_free(o);
    return v;
}

static struct sim *volume_with_data(void)
{
    struct sim *sim = sim_new(1);
    struct store *s = NULL;
    struct hlfs *v;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, SIZE, VOLUME_MANUAL, NULL), 0);
    v = open_volume(sim);
    for (size_t i = 0; i < CHUNK; i++) {
        buf[i] = (uint8_t)(i / 4096 % 255 + 1);     /* no block is a hole */
    }
    for (uint64_t at = 0; at < SIZE; at += CHUNK) {
        assert_int_equal(hlfs_pwrite(v, buf, CHUNK, at, 0), 0);
    }
    assert_int_equal(hlfs_close(v), 0);
    return sim;
}

/* All that is unfinished ends, with success. */
static unsigned reap_all(struct hlfs_queue *q)
{
    struct hlfs_completion c[DEPTH];
    unsigned all = 0;
    int n;

    while ((n = hlfs_queue_reap(q, c, DEPTH, -1)) > 0) {
        for (int i = 0; i < n; i++) {
            assert_int_equal(c[i].result, 0);
        }
        all += (unsigned)n;
    }
    assert_int_equal(n, 0);
    return all;
}

static void reads_of_what_is_not_in_memory(void **state)
{
    struct sim *sim = volume_with_data();
    struct hlfs *v = open_volume(sim);
    struct hlfs_queue *q;
    uint64_t start;

    (void)state;
    assert_int_equal(hlfs_queue_new(v, DEPTH, &q), 0);
    start = sim_now(sim);
    for (unsigned i = 0; i < DEPTH; i++) {
        assert_int_equal(hlfs_submit_pread(q, buf + i * 4096 % CHUNK, 4096,
                                           (i * 37 % DEPTH) * 4096, NULL), 0);
    }
    assert_int_equal(hlfs_submit_pread(q, buf, 4096, 0, NULL), -EAGAIN);
    assert_true(sim_now(sim) == start);
    assert_int_equal(reap_all(q), DEPTH);
    assert_true(sim_now(sim) > start);
    hlfs_queue_free(q);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/* 4 MiB of buffers take 32 MiB of writes: most wait in line, none in the caller. */
static void writes_beyond_the_dirty_limit(void **state)
{
    struct sim *sim = volume_with_data();
    struct hlfs *v = open_volume(sim);
    struct hlfs_queue *q;
    unsigned at_once = 0, later = 0;
    uint64_t start;

    (void)state;
    assert_int_equal(hlfs_queue_new(v, DEPTH, &q), 0);
    start = sim_now(sim);
    for (uint64_t at = 0; at < SIZE / 2; at += CHUNK) {
        int res = hlfs_submit_pwrite(q, buf, CHUNK, at, 0, NULL);

        assert_true(res == 0 || res == 1);
        at_once += res == 1;
        later += res == 0;
    }
    assert_true(sim_now(sim) == start);
    assert_true(at_once > 0 && later > 0);
    assert_int_equal(reap_all(q), later);
    hlfs_queue_free(q);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/* A flush that hangs in the store holds up neither its caller nor reads and writes. */
static void a_flush_that_hangs(void **state)
{
    struct sim *sim = volume_with_data();
    struct hlfs *v = open_volume(sim);
    struct hlfs_completion c;
    struct hlfs_queue *q;
    uint64_t start;

    (void)state;
    assert_int_equal(hlfs_queue_new(v, DEPTH, &q), 0);
    memset(buf, 0xA5, 8192);
    assert_int_equal(hlfs_submit_pwrite(q, buf, 4096, 0, 0, NULL), 1);
    sim_hang_nth(sim, SIM_APPEND, 0, 1);
    start = sim_now(sim);
    assert_int_equal(hlfs_submit_flush(q, v), 0);
    assert_int_equal(hlfs_submit_pwrite(q, buf, 4096, 4096, 0, NULL), 1);
    assert_int_equal(hlfs_submit_pread(q, buf + 4096, 4096, 4096, NULL), 1);
    assert_memory_equal(buf, buf + 4096, 4096);
    assert_true(sim_now(sim) == start);
    assert_int_equal(hlfs_queue_reap(q, &c, 1, 100), 0);    /* it does hang */
    assert_int_equal(sim_release(sim), 1);
    assert_int_equal(hlfs_queue_reap(q, &c, 1, -1), 1);
    assert_ptr_equal(c.tag, v);
    assert_int_equal(c.result, 0);
    hlfs_queue_free(q);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/*
 * Many small discards of a large volume: their holes are kept in memory as data is, and
 * wait for checkpoints as data does.  They once did not, and took what they liked.
 */
static void discards_beyond_the_layers_limit(void **state)
{
    struct hlfs_options *o = hlfs_options_new();
    struct sim *sim = sim_new(1);
    struct hlfs_counters c;
    struct rng rng = { 1 };
    struct store *s = NULL;
    struct hlfs *v = NULL;

    (void)state;
    assert_int_equal(hlfs_options_set(o, "cache-size", "4M"), 0);
    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, TIB(1), VOLUME_MANUAL, o), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    assert_int_equal(volume_open(s, VOLUME_MANUAL, o, &v), 0);
    hlfs_options_free(o);
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t block = rng_below(&rng, TIB(1) / 4096);

        assert_int_equal(hlfs_discard(v, 4096, block * 4096, 0), 0);
        assert_int_equal(volume_counters(v, &c), 0);
        assert_true(c.layer_bytes <= MIB(3) + KIB(64));  /* two of 3/8, and a few nodes */
    }
    assert_true(c.checkpoints > 0);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_of_what_is_not_in_memory),
        cmocka_unit_test(writes_beyond_the_dirty_limit),
        cmocka_unit_test(a_flush_that_hangs),
        cmocka_unit_test(discards_beyond_the_layers_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
