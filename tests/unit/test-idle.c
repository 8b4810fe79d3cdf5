/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments that should not stay open: on HDFS a node is not decommissioned while a block on
 * it is being written, and an idle volume is to have no open file.
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

#include "base/util.h"
#include "manualvol.h"

#define SIZE MIB(64)
#define IDLE_US 600000000

static uint8_t block[4096], back[4096];

static struct hlfs *open_volume(struct sim *sim, struct store **ret_store)
{
    struct hlfs *v = NULL;
    struct store *s = NULL;

    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    if (volume_open(s, VOLUME_MANUAL, NULL, &v) < 0) {
        fail_msg("%s", error_text());
    }
    *ret_store = s;
    return v;
}

static struct sim *new_volume(void)
{
    struct sim *sim = sim_new(1);

    sim_options(sim)->tail_again = true;
    sim_options(sim)->idle_close_us = IDLE_US;
    manualvol_create(sim, SIZE, NULL);
    return sim;
}

static void write_block(struct hlfs *v, uint8_t value, uint64_t at)
{
    memset(block, value, sizeof(block));
    assert_int_equal(hlfs_pwrite(v, block, sizeof(block), at, HLFS_FUA), 0);
}

static void expect_block(struct hlfs *v, uint8_t value, uint64_t at)
{
    memset(block, value, sizeof(block));
    assert_int_equal(hlfs_pread(v, back, sizeof(back), at), 0);
    assert_memory_equal(back, block, sizeof(back));
}

static unsigned segments(struct hlfs *v)
{
    struct hlfs_counters c;

    assert_int_equal(volume_counters(v, &c), 0);
    return (unsigned)c.segments_created;
}

static void idle_volume_has_no_open_file(void **state)
{
    struct sim *sim = new_volume();
    struct store *s;
    struct hlfs *v = open_volume(sim, &s);

    (void)state;
    write_block(v, 1, 0);
    pass(sim, v, IDLE_US / 2);
    assert_true(sim_open_files(sim) > 0);
    pass(sim, v, IDLE_US);
    assert_int_equal(sim_open_files(sim), 0);
    pass(sim, v, 2 * (uint64_t)IDLE_US);
    assert_int_equal(sim_open_files(sim), 0);

    /* It wakes up for a write, and sleeps again; nothing is left over. */
    for (unsigned i = 0; i < 5; i++) {
        write_block(v, (uint8_t)(2 + i), 4096);
        assert_true(sim_open_files(sim) > 0);
        pass(sim, v, 2 * (uint64_t)IDLE_US);
        assert_int_equal(sim_open_files(sim), 0);
    }
    volume_abandon(v);
    v = open_volume(sim, &s);
    expect_block(v, 1, 0);
    expect_block(v, 6, 4096);
    assert_int_equal(hlfs_close(v), 0);
    assert_string_equal(sim_misuse(sim) ? sim_misuse(sim) : "", "");
    sim_free(sim);
}

static void tail_is_rolled_where_the_store_asks(void **state)
{
    struct sim *sim = new_volume();
    struct store *s;
    struct hlfs *v = open_volume(sim, &s);
    unsigned before;

    (void)state;
    write_block(v, 1, 0);
    pass(sim, v, 1000000);
    before = segments(v);
    atomic_store(&s->roll, true);       /* idle: nothing is written, but it is closed */
    pass(sim, v, 3000000);
    assert_int_equal(sim_open_files(sim), 1);       /* the one made ahead of time */
    assert_false(atomic_load(&s->roll));
    write_block(v, 2, 4096);
    pass(sim, v, 1000000);
    assert_int_equal(segments(v), before + 1);
    expect_block(v, 1, 0);
    expect_block(v, 2, 4096);
    assert_int_equal(hlfs_close(v), 0);
    assert_string_equal(sim_misuse(sim) ? sim_misuse(sim) : "", "");
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_volume_has_no_open_file),
        cmocka_unit_test(tail_is_rolled_where_the_store_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
