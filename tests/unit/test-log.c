/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log by itself, against a store that is slow, full or fails: what the headers after a
 * take-over void (LOG-7), and who is answered what.
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
#include "log/log.h"
#include "store/sim.h"

#define SEGMENT KIB(256)
#define EPOCH 3
#define NEXT 5              /* the log that was taken over ends with record 4 */

struct rig {
    struct sim *sim;
    struct store *store;
    struct store_lane *lane;
    struct log *log;
    struct log_waiter waiter;
    bool answered;
    int answer;
};

static void nothing(void *opaque)
{
    (void)opaque;
}

static void no_block_moved(void *opaque, uint64_t block, struct place from, struct place to)
{
    fail();         /* there are only marks */
}

static void no_page_moved(void *opaque, struct place from)
{
    fail();
}

static void header_synced(void *opaque, const struct record_ref *checkpoint)
{
}

static void segment_void(void *opaque, uint64_t file)
{
}

static void segment_added(void *opaque, uint64_t file, uint64_t size)
{
}

static const struct log_client client = {
    .room = nothing,
    .block_moved = no_block_moved,
    .page_moved = no_page_moved,
    .header_synced = header_synced,
    .segment_void = segment_void,
    .segment_added = segment_added,
    .fenced = nothing,
};

static uint64_t segment_size(void *opaque)
{
    return SEGMENT;
}

/* Of the accepted tail [NEXT, cut) nothing is copied yet. */
static void rig_new(struct rig *r, uint64_t cut)
{
    struct log_params p = {
        .client = &client, .opaque = r, .name = "log", .block_bytes = 4096,
        .dirty_bytes = MIB(8), .epoch = EPOCH, .segment_bytes = SEGMENT,
        .next_seq = NEXT, .cut = cut, .segment_size = segment_size,
    };
    static const struct log_hook silent;

    *r = (struct rig){ .sim = sim_new(1) };
    sim_options(r->sim)->long_one_in = 0;
    assert_int_equal(sim_store_open(r->sim, SIM_OPEN_CREATE, &r->store), 0);
    r->lane = store_lane_new(r->store);
    assert_non_null(r->lane);
    assert_int_equal(store_create_now(r->lane, EPOCH, SEGMENT), 0);
    p.store = r->store;
    p.lane = r->lane;
    p.clock = r->store->clock;
    p.hook = &silent;
    p.unreachable_us = 10000000;
    r->log = log_new(&p);
    assert_non_null(r->log);
}

/* Let US of time go by. */
static void turns(struct rig *r, uint64_t us)
{
    uint64_t end = sim_now(r->sim) + us;
    struct list done, *node;

    while (sim_now(r->sim) < end) {
        (void)log_tick(r->log, sim_now(r->sim));
        (void)log_pump(r->log);
        (void)store_wait(r->lane, 1000);
        list_init(&done);
        (void)store_collect(r->lane, &done);
        while ((node = list_pop(&done)) != NULL) {
            struct store_op *op = list_entry(node, struct store_op, node);

            op->done(op, op->res);
        }
    }
}

static void on_answer(struct log_waiter *w, int res)
{
    struct rig *r = container_of(w, struct rig, waiter);

    r->answered = true;
    r->answer = res;
}

/* All up to SEQ is durable within five seconds. */
static void expect_durable(struct rig *r, uint64_t seq)
{
    int res;

    r->answered = false;
    r->waiter.done = on_answer;
    res = log_wait(r->log, &r->waiter, seq);
    assert_true(res == 0 || res == 1);
    if (res == 0) {
        turns(r, 5000000);
        assert_true(r->answered);
        assert_int_equal(r->answer, 0);
    }
}

/* One record in the first segment, and one in the second; all durable at the end. */
static void two_segments(struct rig *r)
{
    assert_int_equal(log_mark(r->log), NEXT);
    turns(r, 10000);
    assert_true(log_roll(r->log));
    assert_int_equal(log_mark(r->log), NEXT + 1);
    turns(r, 10000);
    (void)sim_release(r->sim);
    expect_durable(r, NEXT + 1);
}

static struct segment_header header_of(struct rig *r, uint64_t file)
{
    static const uint8_t uuid[UUID_BYTES];
    struct segment_header ret = { 0 };
    uint8_t *buf = NULL;
    int error;

    assert_int_equal(posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET), 0);
    assert_int_equal(store_pread_now(r->lane, file, 0, buf, SEGMENT_DATA_OFFSET),
                     SEGMENT_DATA_OFFSET);
    assert_int_equal(segment_header_decode(buf, SEGMENT_DATA_OFFSET, file, uuid, &ret, &error),
                     SEGMENT_VALID);
    free(buf);
    return ret;
}

static void rig_free(struct rig *r)
{
    log_stop(r->log);
    while (!log_idle(r->log)) {
        turns(r, 10000);
    }
    log_free(r->log);
    store_lane_free(r->lane);
    store_free(r->store);
    assert_string_equal(sim_misuse(r->sim) ? sim_misuse(r->sim) : "", "");
    sim_free(r->sim);
}

/*
 * The second segment begins while the first header is on its way (as on a full disk, where
 * open writes a checkpoint into a segment of its own).  The second header, too, cut where
 * take-over had ended: the first segment's records were void, and the log could not be
 * opened again (crash schedule 20313567).
 */
static void second_header_leaves_the_first_segment_alone(void **state)
{
    struct segment_header h;
    struct rig r;

    (void)state;
    rig_new(&r, NEXT);
    sim_hang_nth(r.sim, SIM_APPEND, EPOCH, 1);
    two_segments(&r);
    assert_int_equal(header_of(&r, EPOCH).cut, NEXT);
    h = header_of(&r, EPOCH + 1);
    assert_int_equal(h.first, NEXT + 1);
    if (h.cut != 0 && h.cut <= NEXT) {
        fail_msg("records from %u on are void", (unsigned)h.cut);
    }
    rig_free(&r);
}

/* The first header fails: nothing of ours is durable, so the next one cuts. */
static void first_segment_breaks(void **state)
{
    struct rig r;

    (void)state;
    rig_new(&r, NEXT);
    sim_fail_nth(r.sim, SIM_APPEND, EPOCH, 1, -EIO);
    two_segments(&r);
    assert_int_equal(header_of(&r, EPOCH + 1).first, NEXT);
    assert_int_equal(header_of(&r, EPOCH + 1).cut, NEXT);
    rig_free(&r);
}

/* Its first record fails while its header is still on its way. */
static void first_segment_breaks_early(void **state)
{
    struct log_stat st;
    struct rig r;

    (void)state;
    rig_new(&r, NEXT);
    sim_hang_nth(r.sim, SIM_APPEND, EPOCH, 1);
    sim_fail_nth(r.sim, SIM_APPEND, EPOCH, 2, -EIO);
    two_segments(&r);
    log_get_stat(r.log, &st);
    assert_int_equal(st.segments_broken, 1);
    assert_int_equal(header_of(&r, EPOCH + 1).first, NEXT);
    assert_int_equal(header_of(&r, EPOCH + 1).cut, NEXT);
    rig_free(&r);
}

/* The next record of the tail. */
static void copy(struct rig *r)
{
    uint8_t entries[64];
    uint32_t n = (uint32_t)entry_put_mark(entries);

    assert_int_equal(log_copy(r->log, entries, n, 1, NULL, 0, 1, SEGMENT_DATA_OFFSET), 0);
}

/*
 * A segment breaks while the accepted tail is being copied: the next header cut behind
 * what had been copied so far, so that the rest of the tail, which may have been flushed,
 * was void where it stood, and stood nowhere else yet.
 */
static void a_move_does_not_void_the_tail(void **state)
{
    struct rig r;

    (void)state;
    rig_new(&r, NEXT + 3);
    copy(&r);
    expect_durable(&r, NEXT);
    sim_fail_nth(r.sim, SIM_APPEND, EPOCH, 1, -EIO);
    copy(&r);
    expect_durable(&r, NEXT + 1);
    assert_int_equal(header_of(&r, EPOCH + 1).first, NEXT + 1);
    assert_true(header_of(&r, EPOCH + 1).cut >= NEXT + 3);
    rig_free(&r);
}

/*
 * A new segment was wanted, and the store is full: what room the present one had was then
 * closed even to what empties a full store.
 */
static void a_roll_on_a_full_store(bool known)
{
    struct rig r;

    rig_new(&r, NEXT);
    sim_options(r.sim)->enospc_one_in[SIM_CREATE] = 1;
    assert_int_equal(log_mark(r.log), NEXT);
    if (known) {
        turns(&r, 10000);
        assert_int_equal(log_error(r.log), -ENOSPC);
        assert_false(log_roll(r.log));
    } else {
        assert_true(log_roll(r.log));       /* it is being created */
        turns(&r, 10000);
        assert_false(log_roll(r.log));      /* that one is still wanted */
    }
    assert_int_equal(log_mark(r.log), NEXT + 1);
    expect_durable(&r, NEXT + 1);
    sim_options(r.sim)->enospc_one_in[SIM_CREATE] = 0;
    rig_free(&r);
}

static void a_full_store_keeps_the_room_it_has(void **state)
{
    (void)state;
    a_roll_on_a_full_store(true);
    a_roll_on_a_full_store(false);
}

/*
 * Nothing is open for writing, and the store is full.  A flush, though all it asked for was
 * durable, got the error that waited for the next write.
 */
static void a_flush_needs_no_room(void **state)
{
    struct log_space space;
    struct rig r;

    (void)state;
    rig_new(&r, NEXT);
    r.store->idle_close_us = 1000000;
    assert_int_equal(log_mark(r.log), NEXT);
    turns(&r, 10000000);
    sim_options(r.sim)->enospc_one_in[SIM_CREATE] = 1;
    while (log_reserve(r.log, LOG_SYSTEM, 0, 64, &space) == -EAGAIN) {
        turns(&r, 100000);
    }
    assert_int_equal(log_error(r.log), -ENOSPC);
    r.waiter.done = on_answer;
    assert_int_equal(log_flush(r.log, &r.waiter), 0);
    turns(&r, 1000000);
    assert_true(r.answered);
    assert_int_equal(r.answer, 0);
    sim_options(r.sim)->enospc_one_in[SIM_CREATE] = 0;
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_header_leaves_the_first_segment_alone),
        cmocka_unit_test(first_segment_breaks),
        cmocka_unit_test(first_segment_breaks_early),
        cmocka_unit_test(a_move_does_not_void_the_tail),
        cmocka_unit_test(a_full_store_keeps_the_room_it_has),
        cmocka_unit_test(a_flush_needs_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
