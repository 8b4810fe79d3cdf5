/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dead segments that cannot be removed, as the store is away just then: they once stayed
 * for ever, one leak after each outage of a NameNode.
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
#define FILES_MAX 1000

static uint8_t bytes[KIB(64)];

static struct hlfs *new_volume(struct sim *sim)
{
    struct hlfs_options *o = hlfs_options_new();
    struct hlfs *v;

    o->segment_bytes = SEGMENT;     /* less than people may ask for */
    manualvol_create(sim, SIZE, o);
    v = manualvol_open(sim, NULL);
    hlfs_options_free(o);
    return v;
}

static unsigned files(const struct sim *sim)
{
    unsigned n = 0;

    for (uint64_t file = 1; file < FILES_MAX; file++) {
        n += sim_file_len(sim, file) >= 0;
    }
    return n;
}

static uint64_t removed(struct hlfs *v)
{
    struct hlfs_counters c;

    assert_int_equal(volume_counters(v, &c), 0);
    return c.segments_removed;
}

static void a_removal_that_failed_is_tried_again(void **state)
{
    struct sim *sim = sim_new(1);
    struct hlfs *v;
    unsigned before;

    (void)state;
    sim_options(sim)->reuse = SIM_REUSE_NEVER;
    v = new_volume(sim);
    sim_options(sim)->eio_one_in[SIM_REMOVE] = 1;
    for (unsigned i = 0; i < 4 * SIZE / sizeof(bytes); i++) {
        assert_int_equal(hlfs_pwrite(v, bytes, sizeof(bytes), i * sizeof(bytes) % SIZE, 0),
                         0);
    }
    assert_int_equal(hlfs_discard(v, SIZE, 0, 0), 0);
    assert_int_equal(hlfs_flush(v), 0);
    pass(sim, v, 30000000);
    assert_int_equal(removed(v), 0);
    before = files(sim);            /* half of those that fail are gone all the same */
    sim_options(sim)->eio_one_in[SIM_REMOVE] = 0;
    pass(sim, v, 15000000);         /* nothing else is asked of it meanwhile */
    assert_true(removed(v) > 0);
    assert_true(files(sim) < before);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_removal_that_failed_is_tried_again),
    };

    memset(bytes, 1, sizeof(bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
