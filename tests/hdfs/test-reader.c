/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block reader against DataNodes that do all that can be wrong: what is read is
 * right, whatever one replica does, and a read ends in time when all do.
 */
#undef NDEBUG
#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/util.h"
#include "fake-datanode.h"
#include "hdfs/loop.h"
#include "hdfs/reader.h"

#define OPS_MAX 64
#define NODES 3
#define GUARD 64            /* bytes after a buffer that stay as they are */
#define DEADLINE_US 5000000

struct test_op {
    struct reader_op op;
    struct test *t;
    uint64_t deadline_us;   /* from now on */
    int res;
    bool done, cancelled, free_pool;
};

struct test {
    struct loop *loop;
    struct fake_datanode *nodes[NODES];
    struct hdfs_located_block block;
    struct reader_params params;
    struct reader_pool *pool;
    struct test_op ops[OPS_MAX];
    unsigned begin, end;    /* ops of one call into the loop */
    bool in_call;
    unsigned corrupt_count, corrupt_node;
    unsigned again;         /* reads to start from done() */
    sem_t sem;
};

static void wait_for(struct test *t, unsigned events)
{
    assert_true(fake_wait(&t->sem, events, 30));
}

static void op_check(const struct test_op *o)
{
    const uint8_t *p = o->op.buf;

    for (size_t i = 0; o->res == 0 && i < o->op.len; i++) {
        assert_int_equal(p[i], fake_byte(o->op.offset + i));    /* */
    }
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(p[o->op.len + i], 0xa5);
    }
}

static void op_start(struct test_op *o)
{
    o->op.deadline_us = loop_now_us(o->t->loop) + o->deadline_us;
    memset(o->op.buf, 0xa5, o->op.len + GUARD);
    reader_read(o->t->pool, &o->op);
}

static void done(struct reader_op *op, int res)
{
    struct test_op *o = container_of(op, struct test_op, op);
    struct test *t = o->t;

    assert_false(t->in_call);                                   /* */
    assert_false(o->done || o->cancelled);
    o->res = res;
    op_check(o);
    if (res == 0 && t->again > 0) {
        t->again--;
        op_start(o);
        return;
    }
    o->done = true;
    if (o->free_pool) {
        reader_pool_free(TAKE_PTR(t->pool));
    }
    (void)sem_post(&t->sem);
}

static void corrupt(void *opaque, const struct hdfs_located_block *b, unsigned node)
{
    struct test *t = opaque;

    assert_ptr_equal(b, &t->block);
    t->corrupt_count++;
    t->corrupt_node = node;
}

/* ---- What runs in the loop ---------------------------------------------------- */

static int pool_call(void *opaque)
{
    struct test *t = opaque;

    return reader_pool_new(&t->params, &t->pool);
}

static int free_call(void *opaque)
{
    struct test *t = opaque;

    reader_pool_free(TAKE_PTR(t->pool));
    return 0;
}

static int read_call(void *opaque)
{
    struct test *t = opaque;

    t->in_call = true;
    for (unsigned i = t->begin; i < t->end; i++) {
        op_start(&t->ops[i]);
    }
    t->in_call = false;
    return 0;
}

static int cancel_call(void *opaque)
{
    struct test *t = opaque;

    for (unsigned i = t->begin; i < t->end; i++) {
        if (!t->ops[i].done) {
            t->ops[i].cancelled = true;
            reader_cancel(&t->ops[i].op);
            memset(t->ops[i].op.buf, 0xa5, t->ops[i].op.len);
        }
    }
    return 0;
}

static struct reader_stats stats(struct test *t)
{
    return *reader_stats(t->pool);      /* when nothing is under way */
}

/* ---- Set-up ------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct test *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    assert_int_equal(loop_new(&t->loop), 0);
    fake_nodes_new(t->nodes, NODES, &t->block);
    t->params = (struct reader_params){
        .loop = t->loop, .client = "me", .corrupt = corrupt, .opaque = t,
        .connect_timeout_us = 2000000,
    };
    assert_int_equal(sem_init(&t->sem, 0, 0), 0);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_run(t->loop, free_call, t), 0);
    loop_free(t->loop);
    assert_true(fake_nodes_free(t->nodes, NODES, &t->block));
    for (unsigned i = 0; i < OPS_MAX; i++) {
        if (t->ops[i].cancelled) {      /* */
            for (size_t k = 0; k < t->ops[i].op.len + GUARD; k++) {
                assert_int_equal(((uint8_t *)t->ops[i].op.buf)[k], 0xa5);
            }
        }
        free(t->ops[i].op.buf);
    }
    (void)sem_destroy(&t->sem);
    free(t);
    return 0;
}

static void op_make(struct test *t, unsigned i, uint64_t offset, size_t len)
{
    free(t->ops[i].op.buf);
    t->ops[i] = (struct test_op){
        .t = t, .deadline_us = DEADLINE_US,
        .op = { .done = done, .block = &t->block, .offset = offset, .len = len,
                .buf = malloc(len + GUARD) },
    };
    assert_non_null(t->ops[i].op.buf);
}

static void start(struct test *t, unsigned begin, unsigned end)
{
    if (!t->pool) {
        assert_int_equal(loop_run(t->loop, pool_call, t), 0);
    }
    t->begin = begin;
    t->end = end;
    assert_int_equal(loop_run(t->loop, read_call, t), 0);
}

/* One read, and its result. */
static int read_one(struct test *t, uint64_t offset, size_t len)
{
    op_make(t, 0, offset, len);
    start(t, 0, 1);
    wait_for(t, 1);
    return t->ops[0].res;
}

static void nodes_set(struct test *t, int first, int others)
{
    t->nodes[0]->read = first;
    t->nodes[1]->read = t->nodes[2]->read = others;
}

/* ---- Reading ------------------------------------------------------------------ */

static void any_range_is_read_right(void **state)
{
    static const size_t lens[] = { 1, 511, 512, 513, 4096, 65536, 65537, 300000 };
    struct test *t = *state;
    struct rng rng = { 5 };

    for (int i = 0; i < 100; i++) {
        size_t len = lens[rng_below(&rng, ARRAY_SIZE(lens))];

        t->nodes[0]->packet_bytes = i % 3 ? 65536 : 4096;
        assert_int_equal(read_one(t, rng_below(&rng, 1 << 20), len), 0);
    }
    assert_int_equal(stats(t).failures, 0);
}

static void sums_of_all_types_are_checked(void **state)
{
    static const int types[] = { HDFS_CHECKSUM_CRC32, HDFS_CHECKSUM_CRC32C };
    struct test *t = *state;

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        for (unsigned n = 0; n < NODES; n++) {
            t->nodes[n]->checksum = types[i];
        }
        nodes_set(t, READ_WELL, READ_WELL);
        assert_int_equal(read_one(t, 100, 40000), 0);
        nodes_set(t, READ_CORRUPT, READ_CORRUPT);
        assert_int_equal(read_one(t, 100, 4000), -EBADMSG);     /* copied */
        assert_int_equal(read_one(t, 100, 140000), -EBADMSG);   /* and direct */
    }
    nodes_set(t, READ_WELL, READ_WELL);
    for (unsigned n = 0; n < NODES; n++) {
        t->nodes[n]->checksum = HDFS_CHECKSUM_NULL;
    }
    assert_int_equal(read_one(t, 100, 40000), 0);
}

static void many_reads_share_few_connections(void **state)
{
    struct test *t = *state;
    unsigned connections = 0, reads = 0, statuses = 0;

    t->params.connections_max = 4;
    t->again = 2000;
    for (unsigned i = 0; i < 32; i++) {
        op_make(t, i, 1000 * i, 4096);
    }
    start(t, 0, 32);
    wait_for(t, 32);
    for (unsigned n = 0; n < NODES; n++) {
        assert_true(t->nodes[n]->connections <= 4 + stats(t).hedges);
        connections += t->nodes[n]->connections;
        reads += t->nodes[n]->reads;
    }
    assert_true(reads >= 2032);
    assert_true(connections <= 12 + stats(t).hedges);
    /* The status of the last read on each connection comes alone. */
    for (int i = 0; i < 200 && statuses + connections < reads; i++) {
        (void)usleep(10000);
        statuses = 0;
        for (unsigned n = 0; n < NODES; n++) {
            statuses += t->nodes[n]->statuses;
        }
    }
    assert_true(statuses + connections >= reads);
}

static void bytes_may_drip(void **state)
{
    struct test *t = *state;

    t->params.hedge_min_us = DEADLINE_US;
    nodes_set(t, READ_DRIP, READ_DRIP);
    assert_int_equal(read_one(t, 700, 5000), 0);
    t->nodes[0]->packet_bytes = t->nodes[1]->packet_bytes = 0;
    assert_int_equal(read_one(t, 512, 20480), 0);
}

/* ---- Nodes that fail ---------------------------------------------------------- */

/* All do the first thing to begin with, so that it happens wherever the read goes. */
static void other_replica_serves(struct test *t, int how)
{
    t->block.node_count = 2;
    nodes_set(t, how, READ_WELL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read_one(t, 4096, 100000), 0);
    }
    nodes_set(t, READ_WELL, how);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read_one(t, 4096, 100000), 0);
    }
    assert_true(stats(t).failures > 0);
}

static void corrupt_replica_is_told_and_replaced(void **state)
{
    struct test *t = *state;

    other_replica_serves(t, READ_CORRUPT);
    assert_true(t->corrupt_count > 0);
    assert_int_equal(stats(t).corrupt, t->corrupt_count);
}

static void short_replica_is_replaced(void **state)
{
    other_replica_serves(*state, READ_SHORT);
}

static void wrong_offsets_are_found(void **state)
{
    other_replica_serves(*state, READ_OFFSET_WRONG);
}

static void too_much_data_is_refused(void **state)
{
    other_replica_serves(*state, READ_TOO_MUCH);
}

static void error_of_a_node_is_no_error(void **state)
{
    other_replica_serves(*state, READ_ERROR);
}

static void node_that_hangs_up_is_replaced(void **state)
{
    other_replica_serves(*state, READ_HANG_UP);
}

static void node_that_stops_halfway_is_replaced(void **state)
{
    other_replica_serves(*state, READ_HALF);
}

/* Where something else listened on a DataNode's port each replica that was looked for there
 * was reported as corrupt, and would have been removed. */
static void garbage_is_no_answer(void **state)
{
    const struct test *t = *state;

    other_replica_serves(*state, READ_GARBAGE);
    assert_int_equal(t->corrupt_count, 0);
}

static void dead_node_is_replaced(void **state)
{
    struct test *t = *state;

    t->block.nodes[0].xfer_port = 1;
    t->block.nodes[1].xfer_port = 2;
    assert_int_equal(read_one(t, 0, 4096), 0);
    t->block.node_count = 2;
    assert_int_equal(read_one(t, 0, 4096), -ECONNREFUSED);
    assert_non_null(strstr(t->ops[0].op.message, "127.0.0.1:"));
}

static void all_corrupt_is_told_so(void **state)
{
    struct test *t = *state;

    nodes_set(t, READ_CORRUPT, READ_CORRUPT);
    assert_int_equal(read_one(t, 0, 4096), -EBADMSG);
    assert_int_equal(t->corrupt_count, 3);
    nodes_set(t, READ_CORRUPT, READ_ERROR);
    assert_int_equal(read_one(t, 0, 4096), -EBADMSG);
}

static void expired_token_is_told_so(void **state)
{
    struct test *t = *state;

    nodes_set(t, READ_TOKEN, READ_ERROR);
    assert_int_equal(read_one(t, 0, 4096), -HDFS_ETOKEN);
}

static void block_without_nodes_is_an_error(void **state)
{
    struct test *t = *state;

    t->block.node_count = 0;
    assert_int_equal(read_one(t, 0, 4096), -EIO);
}

/* ---- Nodes that are slow ------------------------------------------------------ */

static void silent_node_is_hedged(void **state)
{
    struct test *t = *state;
    uint64_t begin_us = clock_monotonic_us(&clock_system);

    t->block.node_count = 2;
    nodes_set(t, READ_SILENT, READ_WELL);
    assert_int_equal(read_one(t, 0, 4096), 0);
    nodes_set(t, READ_WELL, READ_SILENT);
    assert_int_equal(read_one(t, 0, 200000), 0);
    assert_int_equal(read_one(t, 0, 4096), 0);
    assert_true(clock_monotonic_us(&clock_system) - begin_us < DEADLINE_US);
    assert_true(stats(t).hedges > 0);
    assert_true(stats(t).hedges_won > 0);
}

static void deadline_ends_a_read(void **state)
{
    struct test *t = *state;
    uint64_t begin_us = clock_monotonic_us(&clock_system), took_us;

    nodes_set(t, READ_SILENT, READ_SILENT);
    for (unsigned i = 0; i < 20; i++) {
        op_make(t, i, 4096 * i, 4096);
        t->ops[i].deadline_us = 400000;
    }
    start(t, 0, 20);
    wait_for(t, 20);
    took_us = clock_monotonic_us(&clock_system) - begin_us;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(t->ops[i].res, -ETIMEDOUT);
    }
    assert_true(took_us >= 400000 && took_us < 5000000);
}

/* The loser of a hedge must not write to the caller's buffer any more: R-2. */
static void loser_of_a_hedge_is_harmless(void **state)
{
    struct test *t = *state;

    t->params.hedge_min_us = 1000;
    for (unsigned n = 0; n < NODES; n++) {
        t->nodes[n]->delay_us = 3000 * (n + 1);
    }
    t->again = 300;
    for (unsigned i = 0; i < 16; i++) {
        op_make(t, i, 10000 * i, i % 2 ? 4096 : 150000);
    }
    start(t, 0, 16);
    wait_for(t, 16);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(t->ops[i].res, 0);
        memset(t->ops[i].op.buf, 0xa5, t->ops[i].op.len);
        t->ops[i].cancelled = true;     /* tear_down looks at the buffer */
    }
    (void)usleep(50000);
}

/* ---- Connections kept --------------------------------------------------------- */

static void closed_connections_are_no_failure(void **state)
{
    struct test *t = *state;

    for (unsigned n = 0; n < NODES; n++) {
        t->nodes[n]->reads_per_connection = 3;
    }
    t->params.hedge_min_us = DEADLINE_US;
    t->again = 500;
    for (unsigned i = 0; i < 8; i++) {
        op_make(t, i, 10000 * i, 4096);
    }
    start(t, 0, 8);
    wait_for(t, 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(t->ops[i].res, 0);
    }
    assert_int_equal(stats(t).failures, 0);
    assert_true(stats(t).stale > 0);
}

/* An error ends a connection with requests behind it: those are asked again. */
static void requests_behind_an_error_are_asked_again(void **state)
{
    struct test *t = *state;
    unsigned failed = 0;

    t->block.node_count = 1;
    t->params.connections_max = 1;
    t->params.hedge_min_us = DEADLINE_US;
    t->nodes[0]->delay_us = 20000;
    for (unsigned i = 0; i < 8; i++) {
        op_make(t, i, 10000 * i, 4096);
    }
    assert_int_equal(read_one(t, 0, 512), 0);
    op_make(t, 0, 0, 4096);
    start(t, 0, 8);
    t->nodes[0]->read = READ_ERROR;
    (void)usleep(30000);
    t->nodes[0]->read = READ_WELL;
    wait_for(t, 8);
    for (unsigned i = 0; i < 8; i++) {
        failed += t->ops[i].res != 0;
        assert_true(t->ops[i].res == 0 || t->ops[i].res == -EIO);
    }
    assert_true(failed > 0 && failed < 8);
}

static void cancelled_reads_are_silent(void **state)
{
    struct test *t = *state;

    t->params.connections_max = 1;
    for (unsigned n = 0; n < NODES; n++) {
        t->nodes[n]->delay_us = 10000;
    }
    for (unsigned i = 0; i < 24; i++) {
        op_make(t, i, 10000 * i, i % 3 ? 4096 : 100000);
    }
    start(t, 0, 24);
    (void)usleep(15000);
    t->begin = 8;
    t->end = 16;
    assert_int_equal(loop_run(t->loop, cancel_call, t), 0);
    wait_for(t, 16);
    while (sem_trywait(&t->sem) == 0) {
    }
    for (unsigned i = 0; i < 24; i++) {
        assert_int_equal(t->ops[i].res, 0);
        assert_true(t->ops[i].done != t->ops[i].cancelled);
    }
}

static void pool_may_be_freed_with_reads_under_way(void **state)
{
    struct test *t = *state;

    nodes_set(t, READ_SILENT, READ_SILENT);
    for (unsigned i = 0; i < 24; i++) {
        op_make(t, i, 10000 * i, 4096);
    }
    start(t, 0, 24);
    (void)usleep(20000);
    assert_int_equal(loop_run(t->loop, free_call, t), 0);
    wait_for(t, 24);
    for (unsigned i = 0; i < 24; i++) {
        assert_int_equal(t->ops[i].res, -ECANCELED);
    }
}

static void pool_may_be_freed_in_done(void **state)
{
    struct test *t = *state;
    unsigned right = 0;

    for (unsigned i = 0; i < 24; i++) {
        op_make(t, i, 10000 * i, 4096);
    }
    t->ops[5].free_pool = true;
    start(t, 0, 24);
    wait_for(t, 24);
    for (unsigned i = 0; i < 24; i++) {
        right += t->ops[i].res == 0;
        assert_true(t->ops[i].res == 0 || t->ops[i].res == -ECANCELED);
    }
    assert_true(right > 0);
    assert_null(t->pool);
}

/* Whatever the nodes do, and change to, a read that says it is right is right. */
static void changing_nodes_never_give_wrong_bytes(void **state)
{
    static const int ways[] = { READ_WELL, READ_CORRUPT, READ_SHORT, READ_ERROR,
                                READ_HANG_UP, READ_HALF, READ_WELL, READ_GARBAGE };
    struct test *t = *state;
    struct rng rng = { 99 };

    t->params.hedge_min_us = 2000;
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 16; i++) {
            op_make(t, i, rng_below(&rng, 1 << 20), 1 + rng_below(&rng, 100000));
            t->ops[i].deadline_us = 1000000;
        }
        start(t, 0, 16);
        for (int k = 0; k < 6; k++) {
            (void)usleep(1000);
            t->nodes[rng_below(&rng, NODES)]->read =
                ways[rng_below(&rng, ARRAY_SIZE(ways))];
        }
        wait_for(t, 16);    /* done() compares */
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(any_range_is_read_right),
        TEST(sums_of_all_types_are_checked),
        TEST(many_reads_share_few_connections),
        TEST(bytes_may_drip),
        TEST(corrupt_replica_is_told_and_replaced),
        TEST(short_replica_is_replaced),
        TEST(wrong_offsets_are_found),
        TEST(too_much_data_is_refused),
        TEST(error_of_a_node_is_no_error),
        TEST(node_that_hangs_up_is_replaced),
        TEST(node_that_stops_halfway_is_replaced),
        TEST(garbage_is_no_answer),
        TEST(dead_node_is_replaced),
        TEST(all_corrupt_is_told_so),
        TEST(expired_token_is_told_so),
        TEST(block_without_nodes_is_an_error),
        TEST(silent_node_is_hedged),
        TEST(deadline_ends_a_read),
        TEST(loser_of_a_hedge_is_harmless),
        TEST(closed_connections_are_no_failure),
        TEST(requests_behind_an_error_are_asked_again),
        TEST(cancelled_reads_are_silent),
        TEST(pool_may_be_freed_with_reads_under_way),
        TEST(pool_may_be_freed_in_done),
        TEST(changing_nodes_never_give_wrong_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
