/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What many short sessions leave behind: not more than a few segments each of which is
 * needed.
 *
 * A segment that a checkpoint found dead was removed only if a later segment of the same
 * session named that checkpoint.  What the checkpoint at close found dead stayed for
 * ever, and so did the segment that each opener votes with: a volume of 5 MiB that was
 * opened often filled its disk until it could not be opened any more.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "base/util.h"
#include "manualvol.h"

#define SIZE MIB(4)
#define SEGMENT KIB(256)
#define SESSIONS 40

static uint8_t bytes[KIB(64)];

static struct sim *new_volume(void)
{
    struct sim *sim = sim_new(3);
    struct hlfs_options *o = hlfs_options_new();

    sim_options(sim)->reuse = SIM_REUSE_NEVER;
    o->segment_bytes = SEGMENT;     /* less than people may ask for */
    manualvol_create(sim, SIZE, o);
    hlfs_options_free(o);
    return sim;
}

static void write_all(struct hlfs *v, uint8_t value)
{
    memset(bytes, value, sizeof(bytes));
    for (uint64_t at = 0; at < MIB(1); at += sizeof(bytes)) {
        assert_int_equal(hlfs_pwrite(v, bytes, sizeof(bytes), at, 0), 0);
    }
    assert_int_equal(hlfs_flush(v), 0);
}

static int count_file(void *opaque, uint64_t file)
{
    (void)file;
    ++*(unsigned *)opaque;
    return 0;
}

static void expect_files(struct sim *sim, unsigned max)
{
    struct store *s = NULL;
    unsigned n = 0;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    assert_int_equal(store_list(s, 0, 1, count_file, &n), 0);
    store_free(s);
    if (n > max) {
        fail_msg("there are %u segments", n);
    }
}

static void sessions_that_write(void **state)
{
    struct sim *sim = new_volume();
    struct hlfs *v;

    (void)state;
    for (unsigned i = 0; i < SESSIONS; i++) {
        v = manualvol_open(sim, NULL);
        write_all(v, (uint8_t)(i + 1));
        pass(sim, v, 500000);
        assert_int_equal(hlfs_close(v), 0);
        expect_files(sim, 24);
    }
    v = manualvol_open(sim, NULL);
    assert_int_equal(hlfs_pread(v, bytes, sizeof(bytes), MIB(1) - sizeof(bytes)), 0);
    assert_int_equal(bytes[0], SESSIONS);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

static void sessions_that_do_not(void **state)
{
    struct sim *sim = new_volume();

    (void)state;
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct hlfs *v = manualvol_open(sim, NULL);

        assert_int_equal(hlfs_close(v), 0);
        expect_files(sim, 16);
    }
    sim_free(sim);
}

static void sessions_that_are_killed(void **state)
{
    struct sim *sim = new_volume();

    (void)state;
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct hlfs *v = manualvol_open(sim, NULL);

        pass(sim, v, 2000000);
        volume_abandon(v);
        expect_files(sim, 24);
    }
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_that_write),
        cmocka_unit_test(sessions_that_do_not),
        cmocka_unit_test(sessions_that_are_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
