/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume whose content is replaced as a whole is never taken for what it is not yet, and
 * no more for what it was: not after a crash at any moment, not by the word of a writer
 * that was taken over.
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

#define SIZE MIB(1)
#define SEGMENT KIB(256)

static uint8_t bytes[SIZE];

static struct hlfs_options *small_segments(void)
{
    struct hlfs_options *o = hlfs_options_new();

    o->segment_bytes = SEGMENT;
    return o;
}

static void create(struct sim *sim, unsigned flags)
{
    struct hlfs_options *o = small_segments();
    struct store *s = NULL;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, SIZE, VOLUME_MANUAL | flags, o), 0);
    hlfs_options_free(o);
}

/* The result of volume_open(). */
static int try_open(struct sim *sim, unsigned flags, bool force, struct hlfs **ret)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s = NULL;
    int res;

    o->force = force;
    *ret = NULL;
    assert_int_equal(sim_store_open(sim, flags & VOLUME_RDONLY ? SIM_OPEN_READ_ONLY : 0,
                                    &s), 0);
    res = volume_open(s, VOLUME_MANUAL | flags, o, ret);
    hlfs_options_free(o);
    return res;
}

static int fill(struct hlfs *v, uint8_t value)
{
    int res = hlfs_discard(v, SIZE, 0, 0);

    memset(bytes, value, KIB(64));
    for (uint64_t at = 0; at < SIZE && res == 0; at += KIB(64)) {
        res = hlfs_pwrite(v, bytes, KIB(64), at, 0);
    }
    return res;
}

/* The value that all bytes have; fails where they have not. */
static uint8_t content(struct hlfs *v)
{
    assert_int_equal(hlfs_pread(v, bytes, SIZE, 0), 0);
    assert_memory_equal(bytes, bytes + 1, SIZE - 1);
    return bytes[0];
}

static uint64_t highest(struct sim *sim)
{
    struct store *s = NULL;
    uint64_t file = 0;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    assert_int_equal(store_highest(s, 0, &file), 0);
    store_free(s);
    return file;
}

/* What a rescue says is lost. */
static uint64_t losses(struct sim *sim)
{
    uint64_t n;
    struct hlfs *v;

    assert_int_equal(try_open(sim, VOLUME_RDONLY | VOLUME_RESCUE, false, &v), 0);
    n = hlfs_rescue_losses(v);
    assert_int_equal(hlfs_close(v), 0);
    return n;
}

static void nobody_opens_it_by_mistake(void **state)
{
    struct sim *sim = sim_new(1);
    struct hlfs_info info;
    struct hlfs *v, *w;
    uint64_t file;

    (void)state;
    create(sim, VOLUME_UNFINISHED);
    for (int i = 0; i < 2; i++) {       /* from the first moment; after a crash */
        file = highest(sim);
        assert_int_equal(try_open(sim, 0, false, &v), -EINPROGRESS);
        assert_non_null(strstr(error_text(), "unfinished import, begun at"));
        assert_int_equal(try_open(sim, 0, true, &v), -EINPROGRESS);
        assert_int_equal(highest(sim), file);   /* and the refusal leaves nothing */
        assert_int_equal(try_open(sim, VOLUME_RDONLY, false, &v), -EINPROGRESS);
        assert_int_equal(try_open(sim, VOLUME_RDONLY | VOLUME_UNFINISHED, false, &v), 0);
        assert_int_equal(hlfs_get_info(v, &info, sizeof(info)), 0);
        assert_true(info.unfinished_us > 0);
        assert_int_equal(hlfs_finish(v), -EROFS);
        assert_int_equal(hlfs_close(v), 0);

        assert_int_equal(try_open(sim, VOLUME_UNFINISHED, false, &v), 0);
        assert_int_equal(try_open(sim, VOLUME_RDONLY, false, &w), -EINPROGRESS);
        assert_non_null(strstr(error_text(), "seems to be under way"));
        assert_int_equal(try_open(sim, 0, false, &w), -EBUSY);
        assert_int_equal(fill(v, 7), 0);
        assert_int_equal(hlfs_flush(v), 0);
        volume_abandon(v);
        assert_int_equal(losses(sim), 1);       /* a rescue opens it, and says so */
    }
    assert_int_equal(try_open(sim, VOLUME_UNFINISHED, false, &v), 0);
    assert_int_equal(hlfs_finish(v), 0);
    assert_int_equal(hlfs_finish(v), 0);
    assert_int_equal(hlfs_get_info(v, &info, sizeof(info)), 0);
    assert_int_equal(info.unfinished_us, 0);
    volume_abandon(v);
    assert_int_equal(losses(sim), 0);
    assert_int_equal(try_open(sim, 0, false, &v), 0);
    assert_int_equal(content(v), 7);
    assert_int_equal(hlfs_close(v), 0);
    sim_free(sim);
}

static void who_was_taken_over_cannot_finish(void **state)
{
    struct sim *sim = sim_new(2);
    struct hlfs *old, *new, *v;

    (void)state;
    create(sim, VOLUME_UNFINISHED);
    assert_int_equal(try_open(sim, VOLUME_UNFINISHED, false, &old), 0);
    assert_int_equal(fill(old, 1), 0);
    assert_int_equal(try_open(sim, VOLUME_UNFINISHED, true, &new), 0);
    assert_int_equal(hlfs_pwrite(new, "half", 4, 0, HLFS_FUA), 0);
    assert_int_equal(hlfs_finish(old), -ESTALE);
    volume_abandon(old);
    volume_abandon(new);
    assert_int_equal(try_open(sim, VOLUME_RDONLY, false, &v), -EINPROGRESS);
    sim_free(sim);
}

/* Replace 1 by 2, and cut the power at call N.  False: there are fewer. */
static bool cut_at(uint64_t n, unsigned *wholes)
{
    struct sim *sim = sim_new(100 + n);
    struct hlfs *v = NULL;
    bool begun = false, finished = false, cut;
    int res;

    create(sim, 0);
    assert_int_equal(try_open(sim, 0, false, &v), 0);
    assert_int_equal(fill(v, 1), 0);
    assert_int_equal(hlfs_close(v), 0);

    sim_cut_at(sim, sim_calls(sim) + n);
    if (try_open(sim, VOLUME_UNFINISHED, false, &v) == 0) {
        begun = true;
        finished = fill(v, 2) == 0 && hlfs_finish(v) == 0;
        volume_abandon(v);
    }
    cut = sim_is_cut(sim);
    assert_true(cut || finished);
    sim_cut_at(sim, 0);
    if (!cut) {
        sim_power_cut(sim);
    }
    sim_power_on(sim);

    res = try_open(sim, n % 2 ? VOLUME_RDONLY : 0, false, &v);
    if (res == 0) {
        uint8_t value = content(v);

        assert_true(value == (begun ? 2 : 1));
        assert_int_equal(hlfs_close(v), 0);
        *wholes += begun;
    } else {
        assert_int_equal(res, -EINPROGRESS);
        assert_false(finished);
        assert_int_equal(try_open(sim, VOLUME_UNFINISHED, false, &v), 0);
        assert_int_equal(fill(v, 3), 0);
        assert_int_equal(hlfs_finish(v), 0);
        assert_int_equal(hlfs_close(v), 0);
        assert_int_equal(try_open(sim, 0, false, &v), 0);
        assert_int_equal(content(v), 3);
        assert_int_equal(hlfs_close(v), 0);
    }
    assert_null(sim_misuse(sim));
    sim_free(sim);
    return cut;
}

static void a_crash_at_any_call(void **state)
{
    unsigned wholes = 0;
    uint64_t n = 1;

    (void)state;
    while (cut_at(n, &wholes)) {
        n++;
    }
    assert_true(n > 20 && wholes > 0 && wholes < n / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_opens_it_by_mistake),
        cmocka_unit_test(who_was_taken_over_cannot_finish),
        cmocka_unit_test(a_crash_at_any_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
