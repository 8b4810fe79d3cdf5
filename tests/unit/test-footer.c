/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every sealed segment has a footer that counts, so that open reads no payload.
 *
 * The first engine gave a segment's last record the room that the footer items of the
 * records not yet submitted were going to need: the footer then did not fit and was left
 * out, in nearly all segments of a busy writer.  Nothing failed; an open after kill -9
 * just scanned 2 GiB of log where it should have read some hundred KiB.
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
#define BLOCK 4096u
#define DEPTH 32

struct count {
    unsigned segments;
    unsigned footers;
    unsigned named;         /* footers that the next header names */
};

static void count_line(void *opaque, const char *line)
{
    struct count *c = opaque;

    c->segments += strncmp(line, "segment ", 8) == 0;
    c->footers += strstr(line, "footer at offset") != NULL;
    c->named += strstr(line, "footer below") != NULL;
}

/* Scattered blocks from a queue that is always full: many records are on their way at
 * any moment, which is what the old engine did not count. */
static void write_scattered(struct hlfs *v, unsigned blocks)
{
    static uint8_t buf[BLOCK];
    struct hlfs_queue *q;
    struct rng rng = { 1 };

    memset(buf, 7, sizeof(buf));
    assert_int_equal(hlfs_queue_new(v, DEPTH, &q), 0);
    for (unsigned i = 0; i < blocks; i++) {
        uint64_t at = rng_below(&rng, SIZE / BLOCK) * BLOCK;
        struct hlfs_completion c[DEPTH];
        int res;

        while ((res = hlfs_submit_pwrite(q, buf, BLOCK, at, 0, NULL)) == -EAGAIN) {
            assert_true(hlfs_queue_reap(q, c, DEPTH, -1) > 0);
        }
        assert_in_range(res, 0, 1);
    }
    hlfs_queue_free(q);
}

static void every_sealed_segment_has_a_footer(void **state)
{
    struct sim *sim = sim_new(1);
    struct count c = { 0 };
    struct store *s = NULL;
    struct hlfs *v = NULL;

    (void)state;
    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, SIZE, VOLUME_MANUAL, NULL), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    assert_int_equal(volume_open(s, VOLUME_MANUAL, NULL, &v), 0);
    write_scattered(v, 12000);      /* a dozen segments of 4 MiB */
    assert_int_equal(hlfs_flush(v), 0);
    assert_int_equal(hlfs_close(v), 0);

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    assert_int_equal(volume_dump(s, count_line, &c), 0);
    /* Not sealed: the active segment of create and ours, and their standby ones. */
    assert_true(c.segments > 12);
    assert_true(c.footers + 4 >= c.segments);
    assert_int_equal(c.footers, c.named);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sealed_segment_has_a_footer),
    };

    return cmocka_run_group_tests_name("footer", tests, NULL, NULL);
}
