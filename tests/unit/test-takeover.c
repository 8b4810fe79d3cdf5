/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer that was taken over acknowledges nothing any more (promise 4), also where it
 * cannot know yet whose the next segment is.
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
#include <unistd.h>

#include "base/util.h"
#include "store/sim.h"
#include "volume/volume.h"

#define SIZE MIB(64)

static uint8_t block[4096];

static unsigned damage_told;

static void count_damage(void *opaque, int level, const char *text)
{
    (void)opaque;
    (void)level;
    damage_told += strstr(text, "cannot read") != NULL;
}

static struct hlfs *open_volume(struct sim *sim, const char *force)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    struct hlfs *v = NULL;

    assert_int_equal(hlfs_options_set(o, "force", force), 0);
    hlfs_options_set_log(o, count_damage, NULL);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    if (volume_open(s, VOLUME_MANUAL, o, &v) < 0) {
        fail_msg("%s", error_text());
    }
    hlfs_options_free(o);
    return v;
}

static struct sim *new_volume(void)
{
    struct sim *sim = sim_new(1);
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;

    o->segment_bytes = KIB(256);        /* less than people may ask for */
    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, SIZE, VOLUME_MANUAL, o), 0);
    hlfs_options_free(o);
    return sim;
}

static uint64_t highest_file(struct sim *sim)
{
    struct store *s;
    uint64_t file = 0;
    int res;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    res = store_highest(s, 0, &file);
    assert_true(res == 0 || res == -ENOENT);
    store_free(s);
    return file;
}

/*
 * The first writer's create of its next segment ends in a time-out again and again: nobody
 * knows whether the file is there.  The second one votes with that very number, and finds
 * no room for another one, so that a look for any higher number finds nothing.
 */
static void create_of_unknown_outcome(void **state)
{
    struct sim *sim = new_volume();
    const uint64_t file = highest_file(sim) + 2;
    struct hlfs *first, *second;

    (void)state;
    sim_fail_nth(sim, SIM_CREATE, file, 1, -EIO);
    first = open_volume(sim, "no");
    sim_fail_nth(sim, SIM_CREATE, file + 1, 1, -ENOSPC);
    assert_int_equal(hlfs_pwrite(first, block, sizeof(block), 0, 0), 0);
    second = open_volume(sim, "yes");
    for (unsigned n = 1; n <= 12; n++) {    /* 3 s */
        sim_fail_nth(sim, SIM_CREATE, file, n, -EIO);
    }
    assert_int_equal(hlfs_flush(first), -ESTALE);
    assert_int_equal(hlfs_pwrite(first, block, sizeof(block), 0, 0), -ESTALE);
    volume_abandon(first);
    volume_abandon(second);
    assert_string_equal(sim_misuse(sim) ? sim_misuse(sim) : "", "");
    sim_free(sim);
}

/*
 * A store that takes creates but no appends.  Open succeeded without a header, and showed
 * a content that the next open, after a late write of the dead had landed, did not show.
 */
static void open_without_a_header(void **state)
{
    struct sim *sim = new_volume();
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    struct hlfs *v = NULL;

    (void)state;
    assert_int_equal(hlfs_options_set(o, "unreachable", "wait=10s"), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    sim_options(sim)->eio_one_in[SIM_APPEND] = 1;
    assert_int_equal(volume_open(s, VOLUME_MANUAL, o, &v), -EIO);
    sim_options(sim)->eio_one_in[SIM_APPEND] = 0;
    hlfs_options_free(o);
    v = open_volume(sim, "no");
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 0, HLFS_FUA), 0);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/* Open without VOLUME_MANUAL, as people do; it fails before there is a thread. */
static void open_fails(struct sim *sim)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    struct hlfs *v = NULL;
    uint64_t start = sim_now(sim);

    assert_int_equal(hlfs_options_set(o, "unreachable", "wait=10s"), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    (void)alarm(60);
    assert_int_equal(volume_open(s, 0, o, &v), -EIO);
    (void)alarm(0);
    assert_true(sim_now(sim) < start + 60000000);
    hlfs_options_free(o);
}

/*
 * While a volume is opened it has no thread, and nobody made time go by.  Where the store
 * failed open took all of a processor until the time of `unreachable` had passed; or, if
 * that was while it made the tail durable, never came back.
 */
static void open_comes_back(void **state)
{
    struct sim *sim = new_volume();
    struct hlfs *v;

    (void)state;
    sim_options(sim)->eio_one_in[SIM_APPEND] = 1;
    open_fails(sim);
    sim_options(sim)->eio_one_in[SIM_APPEND] = 0;
    sim_options(sim)->tail_again = true;
    v = open_volume(sim, "no");
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 0, HLFS_FUA), 0);
    volume_abandon(v);
    sim_fail_nth(sim, SIM_CREATE, 0, 2, -EIO);
    for (unsigned n = 3; n < 100; n++) {
        sim_fail_nth(sim, SIM_CREATE, 0, n, -EIO);
    }
    open_fails(sim);
    sim_free(sim);
}

/*
 * A number far above all others, of a file that is no segment.  The search for the newest
 * header, and a search for a checkpoint, tried each number below it.
 */
static void stray_number(void **state)
{
    struct sim *sim = new_volume();
    struct hlfs *v = open_volume(sim, "no");
    struct store_lane *lane;
    struct store *s;

    (void)state;
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 0, 0), 0);
    assert_int_equal(hlfs_close(v), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    lane = store_lane_new(s);
    assert_int_equal(store_create_now(lane, 1000000000, KIB(256)), 0);
    store_lane_free(lane);
    store_free(s);
    (void)alarm(60);
    v = open_volume(sim, "no");
    (void)alarm(0);
    assert_int_equal(hlfs_pread(v, block, sizeof(block), 0), 0);
    assert_int_equal(block[0], 1);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/*
 * A segment that was being written cannot be read before it is recovered, where all nodes
 * that have it were restarted (HDFS).  Open read it first, to know what to recover, and
 * gave up.
 */
static void unreadable_before_its_recovery(void **state)
{
    struct sim *sim = new_volume();
    struct hlfs *v = open_volume(sim, "no");

    (void)state;
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), 0, HLFS_FUA), 0);
    volume_abandon(v);
    sim_fail_nth(sim, SIM_PREAD, 0, 1, -EIO);
    v = open_volume(sim, "no");
    assert_int_equal(hlfs_pread(v, block, sizeof(block), 0), 0);
    assert_int_equal(block[0], 1);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

/*
 * The first writer is stopped.  The second one overwrites what it wrote, removes those
 * segments and, with REUSE, writes over their files.  The first goes on with a read: it
 * called that damage, and said so aloud (crash schedule 20373730).
 */
static void read_of_a_former_writer(enum sim_reuse reuse)
{
    struct sim *sim = new_volume();
    struct hlfs *first, *second;
    uint64_t file, end;

    sim_options(sim)->reuse = reuse;
    first = open_volume(sim, "no");
    for (uint64_t at = 0; at < MIB(2); at += sizeof(block)) {
        assert_int_equal(hlfs_pwrite(first, block, sizeof(block), at, 0), 0);
    }
    assert_int_equal(hlfs_flush(first), 0);
    file = highest_file(sim) - 3;       /* neither in memory nor the tail */
    assert_true(sim_file_len(sim, file) > 0);
    damage_told = 0;
    second = open_volume(sim, "yes");
    end = sim_now(sim) + 60000000;
    while (sim_now(sim) < end && sim_file_len(sim, file) >= 0) {
        for (uint64_t at = 0; at < MIB(2); at += sizeof(block)) {
            assert_int_equal(hlfs_pwrite(second, block, sizeof(block), at, 0), 0);
        }
        assert_int_equal(hlfs_flush(second), 0);
    }
    assert_true(sim_file_len(sim, file) < 0);
    for (uint64_t at = 0; at < MIB(2); at += sizeof(block)) {
        int res = hlfs_pread(first, block, sizeof(block), at);

        assert_true(res == 0 || res == -ESTALE);
    }
    assert_int_equal(hlfs_pread(first, block, sizeof(block), 0), -ESTALE);
    assert_int_equal(damage_told, 0);
    volume_abandon(first);
    assert_int_equal(hlfs_close(second), 0);
    sim_free(sim);
}

static void read_of_a_former_writer_is_stale(void **state)
{
    (void)state;
    read_of_a_former_writer(SIM_REUSE_NEVER);
    read_of_a_former_writer(SIM_REUSE_ALWAYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_of_unknown_outcome),
        cmocka_unit_test(open_without_a_header),
        cmocka_unit_test(open_comes_back),
        cmocka_unit_test(stray_number),
        cmocka_unit_test(unreadable_before_its_recovery),
        cmocka_unit_test(read_of_a_former_writer_is_stale),
    };

    memset(block, 1, sizeof(block));

    return cmocka_run_group_tests(tests, NULL, NULL);
}
