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

#include "base/util.h"
#include "store/sim.h"
#include "volume/volume.h"

#define SIZE MIB(64)

static uint8_t block[4096];

static struct hlfs *open_volume(struct sim *sim, const char *force)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    struct hlfs *v = NULL;

    assert_int_equal(hlfs_options_set(o, "force", force), 0);
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
    struct store *s = NULL;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, SIZE, VOLUME_MANUAL, NULL), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_of_unknown_outcome),
        cmocka_unit_test(open_without_a_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
