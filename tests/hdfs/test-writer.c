/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block writer and the probe against a DataNode that does all that can be wrong:
 * what is done is acknowledged, and everything else ends with an error in time.
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
#include "base/util.h"
#include "fake-datanode.h"
#include "hdfs/loop.h"
#include "hdfs/probe.h"
#include "hdfs/writer.h"

#define OPS_MAX 64
#define NODES 3

struct test_op {
    struct writer_op op;
    struct test *t;
    int res;
    bool done;
};

struct test {
    struct loop *loop;
    struct fake_datanode *nodes[NODES];
    struct hdfs_located_block block;
    struct writer_params params;
    struct writer *writer;
    struct test_op ops[OPS_MAX];
    unsigned op_count, done_count;
    bool in_call;           /* an op is being given: W-3 */
    bool free_in_done, free_in_failed;
    int failed, node;
    int results[NODES];
    sem_t sem;              /* for each event */
    uint8_t *data;
};

static void wait_for(struct test *t, unsigned events)
{
    assert_true(fake_wait(&t->sem, events, 20));
}

static void opened(struct writer *w, void *opaque)
{
    struct test *t = opaque;

    (void)sem_post(&t->sem);
}

static void failed(struct writer *w, int res, int node, const char *message, void *opaque)
{
    struct test *t = opaque;

    assert_int_equal(t->failed, 0);
    for (unsigned i = 0; i < t->op_count; i++) {
        assert_true(t->ops[i].done);    /* all are told before */
    }
    t->failed = res;
    t->node = node;
    if (t->free_in_failed) {
        writer_free(TAKE_PTR(t->writer));
    }
    (void)sem_post(&t->sem);
}

static const struct writer_events events = { .opened = opened, .failed = failed };

static void done(struct writer_op *op, int res)
{
    struct test_op *o = container_of(op, struct test_op, op);
    struct test *t = o->t;

    assert_false(t->in_call);                                   /* W-3 */
    assert_false(o->done);
    assert_ptr_equal(o, &t->ops[t->done_count]);                /* in order */
    t->done_count++;
    o->done = true;
    o->res = res;
    if (t->free_in_done && t->writer) {
        writer_free(TAKE_PTR(t->writer));
    }
    (void)sem_post(&t->sem);
}

/* ---- What runs in the loop ---------------------------------------------------- */

static int open_call(void *opaque)
{
    struct test *t = opaque;

    return writer_open(&t->params, &t->writer);
}

static int free_call(void *opaque)
{
    struct test *t = opaque;

    writer_free(TAKE_PTR(t->writer));
    return 0;
}

struct give {
    struct test *t;
    size_t at, len;         /* LEN 0: a sync */
    unsigned times;
    bool hsync, end;
};

static int give_call(void *opaque)
{
    struct give *g = opaque;
    struct test *t = g->t;
    int r = 0;

    t->in_call = true;
    for (unsigned i = 0; i < MAX(g->times, 1u) && r == 0; i++) {
        struct test_op *o = &t->ops[t->op_count++];

        *o = (struct test_op){ .t = t, .op = { .done = done, .hsync = g->hsync,
                                               .buf = t->data + g->at, .len = g->len } };
        r = g->end ? writer_end(t->writer, &o->op) :
            g->len ? writer_append(t->writer, &o->op) : writer_sync(t->writer, &o->op);
        if (r < 0) {
            t->op_count--;
        }
        g->at += g->len;
    }
    t->in_call = false;
    return r;
}

/* TIMES appends of LEN bytes, from byte AT of the block on. */
static int give(struct test *t, size_t at, size_t len, unsigned times)
{
    struct give g = { .t = t, .at = at, .len = len, .times = times };

    return loop_run(t->loop, give_call, &g);
}

static int give_hsync(struct test *t, size_t at, size_t len)
{
    struct give g = { .t = t, .at = at, .len = len, .hsync = true };

    return loop_run(t->loop, give_call, &g);
}

static int give_sync(struct test *t, bool hsync)
{
    struct give g = { .t = t, .hsync = hsync };

    return loop_run(t->loop, give_call, &g);
}

static int give_end(struct test *t)
{
    struct give g = { .t = t, .end = true };

    return loop_run(t->loop, give_call, &g);
}

/* ---- Set-up ------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct test *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    assert_int_equal(loop_new(&t->loop), 0);
    fake_nodes_new(t->nodes, NODES, &t->block);
    t->params = (struct writer_params){
        .loop = t->loop, .block = &t->block, .client = "me",
        .checksum = { HDFS_CHECKSUM_CRC32C, 512 }, .events = &events, .opaque = t,
        .packet_bytes = 65536, .ack_timeout_us = 300000, .setup_timeout_us = 300000,
    };
    assert_int_equal(sem_init(&t->sem, 0, 0), 0);
    t->data = malloc(8 << 20);
    assert_non_null(t->data);
    for (size_t i = 0; i < 8 << 20; i++) {
        t->data[i] = fake_byte(i);
    }
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_run(t->loop, free_call, t), 0);
    loop_free(t->loop);
    assert_true(fake_nodes_free(t->nodes, NODES, &t->block));
    (void)sem_destroy(&t->sem);
    free(t->data);
    free(t);
    return 0;
}

static void start(struct test *t)
{
    assert_int_equal(loop_run(t->loop, open_call, t), 0);
}

static void all_done_with(struct test *t, int res)
{
    assert_int_equal(t->done_count, t->op_count);
    for (unsigned i = 0; i < t->op_count; i++) {
        assert_int_equal(t->ops[i].res, res);
    }
}

/* ---- Tests -------------------------------------------------------------------- */

/* The node checks sequence, offsets, sums and bytes of each packet (tear_down). */
static void appends_arrive_in_order(void **state)
{
    struct test *t = *state;

    start(t);
    assert_int_equal(give(t, 0, 512, 3), 0);   /* before it is open */
    wait_for(t, 4);
    assert_int_equal(give(t, 1536, 1 << 20, 4), 0);
    assert_int_equal(give(t, 1536 + (4 << 20), 65536 + 512, 2), 0);
    assert_int_equal(give_end(t), 0);
    assert_int_equal(give(t, 0, 512, 1), -EINVAL);    /* it has ended */
    wait_for(t, 7);
    all_done_with(t, 0);
    assert_int_equal(t->nodes[0]->written, 1536 + (4 << 20) + 2 * (65536 + 512));
    assert_int_equal(writer_acked(t->writer), t->nodes[0]->written);
    assert_int_equal(t->nodes[0]->packets, 3 + 4 * 16 + 2 * 2 + 1);
    assert_int_equal(t->nodes[0]->ended, 1);
    assert_int_equal(t->nodes[0]->syncs, 0);
}

static void window_bounds_what_is_in_flight(void **state)
{
    struct test *t = *state;

    t->params.window_bytes = 65536;
    t->nodes[0]->write = WRITE_ACK_NEVER;
    start(t);
    assert_int_equal(give(t, 0, 1 << 20, 1), 0);
    wait_for(t, 3);
    assert_int_equal(t->failed, -ETIMEDOUT);
    assert_int_equal(t->nodes[0]->packets, 3);      /* two with ack, one without */
}

static void hsync_is_on_the_last_packet(void **state)
{
    struct test *t = *state;

    start(t);
    assert_int_equal(give_hsync(t, 0, 128 << 10), 0);
    wait_for(t, 2);
    assert_int_equal(t->nodes[0]->syncs, 1);
    assert_int_equal(t->nodes[0]->packets, 2);
    /* With nothing to write it is an empty packet. */
    assert_int_equal(give_sync(t, true), 0);
    wait_for(t, 1);
    assert_int_equal(t->nodes[0]->syncs, 2);
    assert_int_equal(t->nodes[0]->packets, 3);
    /* All is acknowledged: an hflush needs no packet. */
    assert_int_equal(give_sync(t, false), 0);
    wait_for(t, 1);
    assert_int_equal(t->nodes[0]->packets, 3);
    all_done_with(t, 0);
}

static void flush_waits_for_what_was_before(void **state)
{
    struct test *t = *state;

    start(t);
    assert_int_equal(give(t, 0, 1 << 20, 2), 0);
    assert_int_equal(give_sync(t, false), 0);
    wait_for(t, 4);
    assert_int_equal(t->nodes[0]->written, 2 << 20);
    all_done_with(t, 0);
}

static void block_may_end_within_a_chunk(void **state)
{
    struct test *t = *state;

    start(t);
    assert_int_equal(give(t, 0, 700, 1), 0);
    assert_int_equal(give(t, 700, 512, 1), -EINVAL);
    assert_int_equal(give_end(t), 0);
    wait_for(t, 3);
    all_done_with(t, 0);
    assert_int_equal(t->nodes[0]->written, 700);
}

static void idle_pipeline_has_heartbeats(void **state)
{
    struct test *t = *state;

    t->params.heartbeat_us = 20000;
    start(t);
    wait_for(t, 1);
    for (int i = 0; i < 500 && t->nodes[0]->heartbeats < 3; i++) {
        (void)usleep(10000);
    }
    assert_true(t->nodes[0]->heartbeats >= 3);
    assert_int_equal(give(t, 0, 512, 1), 0);
    wait_for(t, 1);
    all_done_with(t, 0);
    assert_int_equal(writer_acked(t->writer), 512);
}

/* Five appends against a node that does HOW with the third packet. */
static void fail_at_third(struct test *t, int how, int res, int node, uint64_t acked)
{
    t->nodes[0]->write = how;
    start(t);
    assert_int_equal(give(t, 0, 4096, 5), 0);
    wait_for(t, 7);
    assert_int_equal(t->failed, res);
    assert_int_equal(t->node, node);
    assert_int_equal(writer_acked(t->writer), acked);
    for (unsigned i = 0; i < t->op_count; i++) {
        assert_int_equal(t->ops[i].res, i < acked / 4096 ? 0 : res);
    }
    assert_int_equal(give(t, 0, 4096, 1), -EPIPE);
}

static void ack_error_names_the_node(void **state)
{
    fail_at_third(*state, WRITE_ACK_ERROR, -EIO, 1, 8192);
}

static void wrong_seqno_is_an_error(void **state)
{
    fail_at_third(*state, WRITE_ACK_SEQNO, -EPROTO, 0, 8192);
}

static void too_few_nodes_are_an_error(void **state)
{
    fail_at_third(*state, WRITE_ACK_FEWER, -EPROTO, 0, 0);
}

static void garbage_is_an_error(void **state)
{
    fail_at_third(*state, WRITE_GARBAGE, -EBADMSG, 0, 8192);
}

static void silence_is_found_by_the_deadline(void **state)
{
    uint64_t begin_us = clock_monotonic_us(&clock_system), took_us;

    fail_at_third(*state, WRITE_ACK_NEVER, -ETIMEDOUT, WRITER_NODE_UNKNOWN, 8192);
    took_us = clock_monotonic_us(&clock_system) - begin_us;
    assert_true(took_us >= 300000 && took_us < 5000000);
}

static void silence_of_an_idle_pipeline_is_found(void **state)
{
    struct test *t = *state;

    t->nodes[0]->write = WRITE_ACK_NEVER;
    t->params.heartbeat_us = 20000;
    start(t);
    assert_int_equal(give(t, 0, 512, 2), 0);
    wait_for(t, 3);
    /* Heartbeats have seqno -1 and are acked; the third packet is not. */
    assert_int_equal(give(t, 1024, 512, 1), 0);
    wait_for(t, 2);
    assert_int_equal(t->failed, -ETIMEDOUT);
}

static void connection_lost_blames_the_first(void **state)
{
    struct test *t = *state;

    t->nodes[0]->write = WRITE_HANG_UP;
    start(t);
    assert_int_equal(give(t, 0, 4096, 5), 0);
    wait_for(t, 7);
    assert_true(t->failed == -EPIPE || t->failed == -ECONNRESET);
    assert_int_equal(t->node, 0);
    assert_int_equal(writer_acked(t->writer), 8192);
}

static int failed_call(void *opaque)
{
    return ((struct test *)opaque)->failed;
}

/* The ack of a packet that isn't there must not end one that is still to be sent. */
static void ack_without_packet_is_an_error(void **state)
{
    struct test *t = *state;

    t->nodes[0]->write = WRITE_ACK_EARLY;
    start(t);
    wait_for(t, 1);
    if (loop_run(t->loop, failed_call, t) == 0) {
        wait_for(t, 1);     /* it came after the answer, not with it */
    }
    assert_int_equal(t->failed, -EPROTO);
}

static void refused_pipeline_names_the_node(void **state)
{
    struct test *t = *state;

    t->nodes[0]->write = WRITE_REFUSE;
    t->nodes[0]->delay_us = 50000;
    start(t);
    assert_int_equal(give(t, 0, 4096, 1), 0);
    wait_for(t, 2);
    assert_int_equal(t->failed, -EIO);
    assert_int_equal(t->node, 1);
    all_done_with(t, -EIO);
}

static void silent_set_up_ends(void **state)
{
    struct test *t = *state;

    t->nodes[0]->write = WRITE_SILENT;
    start(t);
    wait_for(t, 1);
    assert_int_equal(t->failed, -ETIMEDOUT);
    assert_int_equal(t->node, WRITER_NODE_UNKNOWN);
}

static void nobody_listening_is_told(void **state)
{
    struct test *t = *state;

    t->block.nodes[0].xfer_port = 1;
    start(t);
    wait_for(t, 1);
    assert_int_equal(t->failed, -ECONNREFUSED);
    assert_int_equal(t->node, 0);
}

static void hostnames_are_resolved(void **state)
{
    struct test *t = *state;

    t->params.use_hostname = true;
    t->params.setup_timeout_us = 5000000;
    (void)snprintf(t->block.nodes[0].ip, sizeof(t->block.nodes[0].ip), "192.0.2.1");
    start(t);
    assert_int_equal(give(t, 0, 4096, 1), 0);
    wait_for(t, 2);
    all_done_with(t, 0);
}

static void writer_may_be_freed_in_its_callbacks(void **state)
{
    struct test *t = *state;

    t->free_in_done = true;
    t->nodes[0]->write = WRITE_ACK_NEVER;
    start(t);
    assert_int_equal(give(t, 0, 4096, 5), 0);
    wait_for(t, 6);
    assert_null(t->writer);
    assert_int_equal(t->ops[0].res, 0);
    assert_int_equal(t->ops[4].res, -ECANCELED);
    assert_int_equal(t->failed, 0);
}

static void writer_may_be_freed_when_it_failed(void **state)
{
    struct test *t = *state;

    t->free_in_failed = true;
    t->nodes[0]->write = WRITE_ACK_ERROR;
    start(t);
    assert_int_equal(give(t, 0, 4096, 5), 0);
    wait_for(t, 7);
    assert_null(t->writer);
}

/* ---- The layer ---------------------------------------------------------------- */

/* One byte in each direction, then every byte is masked: the shape of SASL. */
struct mask_layer {
    struct stream_layer layer;
    uint8_t mask;
    bool greeted;
};

static int mask_handshake(struct stream_layer *l, struct iobuf *in, struct iobuf *out)
{
    struct mask_layer *m = container_of(l, struct mask_layer, layer);
    uint8_t hello = 'h' ^ m->mask;

    if (!m->greeted) {
        m->greeted = true;
        return iobuf_add(out, &hello, 1);
    }
    if (iobuf_len(in) == 0) {
        return 0;
    }
    if (*iobuf_bytes(in) != hello) {
        return -EACCES;
    }
    iobuf_consume(in, 1);
    return 1;
}

static int mask_add(struct mask_layer *m, const uint8_t *p, size_t n, struct iobuf *out)
{
    int r = iobuf_reserve(out, n);

    for (size_t i = 0; r == 0 && i < n; i++) {
        out->data[out->end++] = p[i] ^ m->mask;
    }
    return r;
}

static int mask_wrap(struct stream_layer *l, const struct iovec *parts, unsigned count,
                     struct iobuf *out)
{
    struct mask_layer *m = container_of(l, struct mask_layer, layer);
    int r = 0;

    for (unsigned i = 0; i < count && r == 0; i++) {
        r = mask_add(m, parts[i].iov_base, parts[i].iov_len, out);
    }
    return r;
}

static int mask_unwrap(struct stream_layer *l, struct iobuf *in, struct iobuf *out)
{
    struct mask_layer *m = container_of(l, struct mask_layer, layer);
    int r = mask_add(m, iobuf_bytes(in), iobuf_len(in), out);

    iobuf_consume(in, iobuf_len(in));
    return r;
}

static void mask_free(struct stream_layer *l)
{
    free(container_of(l, struct mask_layer, layer));
}

static struct stream_layer *mask_new(uint8_t mask)
{
    struct mask_layer *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->mask = mask;
    m->layer = (struct stream_layer){ mask_handshake, mask_wrap, mask_unwrap, mask_free };
    return &m->layer;
}

static void layer_authenticates_and_wraps(void **state)
{
    struct test *t = *state;

    t->nodes[0]->mask = 0x5a;
    t->params.layer = mask_new(0x5a);
    start(t);
    assert_int_equal(give(t, 0, 1 << 20, 4), 0);
    assert_int_equal(give_end(t), 0);
    wait_for(t, 6);
    all_done_with(t, 0);
    assert_int_equal(t->nodes[0]->written, 4 << 20);
}

/* ---- The probe ---------------------------------------------------------------- */

static void probed(void *opaque, const int *results, unsigned count)
{
    struct test *t = opaque;

    assert_int_equal(count, NODES);
    memcpy(t->results, results, sizeof(t->results));
    (void)sem_post(&t->sem);
}

static int probe_call(void *opaque)
{
    struct test *t = opaque;
    struct probe_params p = { .loop = t->loop, .block = &t->block, .client = "me",
                              .timeout_us = 200000, .done = probed, .opaque = t };
    struct probe *probe;

    return probe_start(&p, &probe);
}

static void probe_tells_who_is_silent(void **state)
{
    struct test *t = *state;

    t->nodes[0]->read = READ_SILENT;
    t->nodes[1]->read = READ_ERROR;     /* an answer, too */
    assert_int_equal(loop_run(t->loop, probe_call, t), 0);
    wait_for(t, 1);
    assert_int_equal(t->results[0], -ETIMEDOUT);
    assert_int_equal(t->results[1], 0);
    assert_int_equal(t->results[2], 0);

    t->block.nodes[2].xfer_port = 1;
    t->nodes[0]->read = READ_WELL;
    assert_int_equal(loop_run(t->loop, probe_call, t), 0);
    wait_for(t, 1);
    assert_int_equal(t->results[0], 0);
    assert_int_equal(t->results[2], -ECONNREFUSED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(appends_arrive_in_order),
        TEST(window_bounds_what_is_in_flight),
        TEST(hsync_is_on_the_last_packet),
        TEST(flush_waits_for_what_was_before),
        TEST(block_may_end_within_a_chunk),
        TEST(idle_pipeline_has_heartbeats),
        TEST(ack_error_names_the_node),
        TEST(wrong_seqno_is_an_error),
        TEST(too_few_nodes_are_an_error),
        TEST(garbage_is_an_error),
        TEST(silence_is_found_by_the_deadline),
        TEST(silence_of_an_idle_pipeline_is_found),
        TEST(connection_lost_blames_the_first),
        TEST(ack_without_packet_is_an_error),
        TEST(refused_pipeline_names_the_node),
        TEST(silent_set_up_ends),
        TEST(nobody_listening_is_told),
        TEST(hostnames_are_resolved),
        TEST(writer_may_be_freed_in_its_callbacks),
        TEST(writer_may_be_freed_when_it_failed),
        TEST(layer_authenticates_and_wraps),
        TEST(probe_tells_who_is_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
