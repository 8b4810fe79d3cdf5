/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

#define SIZE MIB(1)             /* of the test's files */
#define READS 600               /* more than a ring takes */

static const struct store_fixture *fixture;

/* What a test starts with. */
struct setup {
    struct store *store;
    struct store_lane *lane;
};

static int setup(void **state)
{
    struct setup *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->store = fixture->fresh(fixture->opaque);
    assert_non_null(t->store);
    t->lane = store_lane_new(t->store);
    assert_non_null(t->lane);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct setup *t = *state;

    store_lane_free(t->lane);
    fixture->finish(fixture->opaque, t->store);
    free(t);
    return 0;
}

/* ---- Helpers ----------------------------------------------------------------- */

static uint8_t *buf_new(size_t len)
{
    uint8_t *buf = aligned_alloc(STORE_BUF_ALIGN, ALIGN_UP(len, STORE_BUF_ALIGN));

    assert_non_null(buf);
    return buf;
}

/* LEN bytes that tell where in FILE they belong. */
static void fill(uint8_t *buf, uint64_t file, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t word = (offset + i) / 8;
        struct rng rng = { .state = file * 1000003 + word };

        buf[i] = (uint8_t)(rng_next(&rng) >> (offset + i) % 8 * 8);
    }
}

static void check(const uint8_t *buf, uint64_t file, uint64_t offset, size_t len)
{
    uint8_t *want = buf_new(len);

    fill(want, file, offset, len);
    assert_memory_equal(buf, want, len);
    free(want);
}

/* A file of SIZE bytes, all of them appended. */
static void make_file(struct setup *t, uint64_t file, size_t size)
{
    uint8_t *buf = buf_new(size);

    fill(buf, file, 0, size);
    assert_int_equal(store_create_now(t->lane, file, size), 0);
    assert_int_equal(store_append_now(t->lane, file, 0, buf, size, 0), 0);
    free(buf);
}

static int seal_now(struct store_lane *lane, uint64_t file)
{
    struct store_op op = { .what = STORE_SEAL, .file = file };

    return store_do(lane, &op);
}

/* Collect N ops that are in flight, all of which are to end with RES. */
static void collect_all(struct store_lane *lane, int n, int res)
{
    struct list done;
    struct store_op *op;

    list_init(&done);
    while (n > 0) {
        int got = store_collect(lane, &done);

        n -= got;
        if (got == 0) {
            (void)store_wait(lane, -1);
        }
    }
    assert_int_equal(n, 0);
    list_for_each(op, &done, node) {
        assert_int_equal(op->res, res);
    }
}

/* ---- Files ------------------------------------------------------------------- */

static void create_is_exclusive(void **state)
{
    struct setup *t = *state;

    assert_int_equal(store_create_now(t->lane, 7, SIZE), 0);
    assert_int_equal(store_create_now(t->lane, 7, SIZE), -EEXIST);
    assert_int_equal(store_create_now(t->lane, STORE_MOVED | 7, SIZE), 0);
    assert_int_equal(store_create_now(t->lane, STORE_MOVED | 7, SIZE), -EEXIST);
}

static void appends_in_flight_keep_their_places(void **state)
{
    enum { N = 16, LEN = 64 * 1024 };
    struct setup *t = *state;
    struct store_op op[N];
    uint8_t *buf = buf_new(N * LEN);

    fill(buf, 3, 0, N * LEN);
    assert_int_equal(store_create_now(t->lane, 3, SIZE), 0);
    for (int i = 0; i < N; i++) {
        op[i] = (struct store_op){
            .what = STORE_APPEND, .file = 3, .offset = (uint64_t)i * LEN,
            .buf = buf + i * LEN, .len = LEN,
            .flags = i % 4 == 3 ? STORE_DURABLE : 0,
        };
        store_submit(t->lane, &op[i]);
    }
    store_kick(t->lane);
    collect_all(t->lane, N, 0);
    memset(buf, 0, N * LEN);
    assert_int_equal(store_pread_now(t->lane, 3, 0, buf, N * LEN), N * LEN);
    check(buf, 3, 0, N * LEN);
    free(buf);
}

static void appends_are_made_durable(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(8192);

    fill(buf, 1, 0, 8192);
    assert_int_equal(store_create_now(t->lane, 1, SIZE), 0);
    assert_int_equal(store_append_now(t->lane, 1, 0, buf, 4096, STORE_DURABLE), 0);
    assert_int_equal(store_append_now(t->lane, 1, 4096, buf + 4096, 4096, 0), 0);
    assert_int_equal(store_sync_now(t->lane, 1), 0);
    assert_int_equal(seal_now(t->lane, 1), 0);
    assert_int_equal(store_sync_now(t->lane, 1), 0);
    memset(buf, 0, 8192);
    assert_int_equal(store_pread_now(t->lane, 1, 0, buf, 8192), 8192);
    check(buf, 1, 0, 8192);
    free(buf);
}

static void sealed_files_are_read_but_not_appended_to(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(4096);

    assert_int_equal(store_create_now(t->lane, 9, SIZE), 0);
    fill(buf, 9, 0, 4096);
    assert_int_equal(store_append_now(t->lane, 9, 0, buf, 4096, 0), 0);
    assert_int_equal(seal_now(t->lane, 9), 0);
    assert_true(store_append_now(t->lane, 9, 4096, buf, 4096, 0) < 0);
    memset(buf, 0, 4096);
    assert_int_equal(store_pread_now(t->lane, 9, 0, buf, 4096), 4096);
    check(buf, 9, 0, 4096);
    free(buf);
}

static void reads_take_any_alignment(void **state)
{
    static const struct {
        uint64_t offset;
        size_t len;
        size_t shift;       /* of the buffer */
    } reads[] = {
        { 0, 4096, 0 },        { 4096, 65536, 0 }, { 512, 512, 0 },   { 1536, 8192, 0 },
        { 1, 1, 0 },           { 4095, 2, 0 },     { 511, 1025, 3 },  { 8192, 4096, 8 },
        { SIZE - 1, 1, 0 },    { 0, SIZE, 0 },     { 3, SIZE - 5, 1 }, { 100, 0, 0 },
    };
    struct setup *t = *state;
    uint8_t *buf = buf_new(SIZE + 4096);

    make_file(t, 5, SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(reads); i++) {
        uint8_t *at = buf + 64 + reads[i].shift;

        if (reads[i].shift == 0) {
            at = buf;
        }
        memset(buf, 0xEE, SIZE + 4096);
        assert_int_equal(store_pread_now(t->lane, 5, reads[i].offset, at, reads[i].len),
                         reads[i].len);
        check(at, 5, reads[i].offset, reads[i].len);
        assert_int_equal(at[reads[i].len], 0xEE);
    }
    free(buf);
}

static void reads_past_the_end_are_short(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(65536);

    make_file(t, 5, 65536);
    assert_int_equal(store_pread_now(t->lane, 5, 61440, buf, 8192), 4096);
    check(buf, 5, 61440, 4096);
    assert_int_equal(store_pread_now(t->lane, 5, 65535, buf, 100), 1);
    check(buf, 5, 65535, 1);
    assert_int_equal(store_pread_now(t->lane, 5, 65536, buf, 4096), 0);
    assert_int_equal(store_pread_now(t->lane, 5, 65537, buf, 4096), 0);
    assert_int_equal(store_pread_now(t->lane, 5, GIB(1), buf, 4096), 0);
    free(buf);
}

static void missing_files_are_missed(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(4096);
    uint64_t len;

    assert_int_equal(store_pread_now(t->lane, 8, 0, buf, 4096), -ENOENT);
    assert_int_equal(store_remove_now(t->lane, 8), 0);
    assert_true(store_append_now(t->lane, 8, 0, buf, 4096, 0) < 0);
    assert_int_equal(store_recover(t->store, 8, &len), -ENOENT);
    /* That it was looked for must not be in the way of making it. */
    make_file(t, 8, 65536);
    assert_int_equal(store_pread_now(t->lane, 8, 0, buf, 4096), 4096);
    check(buf, 8, 0, 4096);
    free(buf);
}

static void removed_files_are_gone(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(4096);

    make_file(t, 1, 65536);
    make_file(t, 2, 65536);
    assert_int_equal(store_pread_now(t->lane, 1, 0, buf, 4096), 4096);
    assert_int_equal(store_remove_now(t->lane, 1), 0);
    assert_int_equal(store_pread_now(t->lane, 1, 0, buf, 4096), -ENOENT);
    assert_int_equal(store_pread_now(t->lane, 2, 0, buf, 4096), 4096);
    check(buf, 2, 0, 4096);
    assert_int_equal(seal_now(t->lane, 2), 0);
    assert_int_equal(store_remove_now(t->lane, 2), 0);
    assert_int_equal(store_pread_now(t->lane, 2, 0, buf, 4096), -ENOENT);
    free(buf);
}

static void sealed_files_may_be_used_again(void **state)
{
    struct setup *t = *state;
    struct store_stat stat;
    uint8_t *buf = buf_new(8192);

    make_file(t, 1, SIZE);
    assert_int_equal(seal_now(t->lane, 1), 0);
    assert_int_equal(store_remove_now(t->lane, 1), 0);
    assert_int_equal(store_stat(t->store, &stat), 0);
    assert_int_equal(stat.pool_files, fixture->reuses ? 1 : 0);
    assert_int_equal(stat.pool_bytes, fixture->reuses ? SIZE : 0);

    assert_int_equal(store_create_now(t->lane, 2, 65536), 0);
    assert_int_equal(store_stat(t->store, &stat), 0);
    assert_int_equal(stat.pool_files, 0);
    fill(buf, 2, 0, 8192);
    assert_int_equal(store_append_now(t->lane, 2, 0, buf, 8192, STORE_DURABLE), 0);
    assert_int_equal(store_pread_now(t->lane, 2, 0, buf, 8192), 8192);
    check(buf, 2, 0, 8192);
    assert_int_equal(store_pread_now(t->lane, 2, SIZE, buf, 4096), 0);
    assert_int_equal(store_pread_now(t->lane, 1, 0, buf, 4096), -ENOENT);
    free(buf);
}

static void spares_are_made(void **state)
{
    struct setup *t = *state;
    struct store_op op = { .what = STORE_PREPARE, .len = SIZE };
    struct store_stat stat;
    unsigned made = 0;
    int r;

    while ((r = store_do(t->lane, &op)) == 1) {
        made++;
        assert_true(made <= 64);
    }
    assert_int_equal(r, 0);
    assert_int_equal(store_stat(t->store, &stat), 0);
    assert_int_equal(stat.pool_files, made);
    if (!fixture->reuses) {
        assert_int_equal(made, 0);
    }
    make_file(t, 1, SIZE);
}

static void recover_tells_the_length(void **state)
{
    struct setup *t = *state;
    uint64_t len = 0;

    make_file(t, 4, 65536);
    assert_int_equal(seal_now(t->lane, 4), 0);
    assert_int_equal(store_recover(t->store, 4, &len), 0);
    assert_int_equal(len, 65536);
}

/* ---- Names ------------------------------------------------------------------- */

struct listing {
    uint64_t file[16];
    unsigned n, max;
};

static int listing_add(void *opaque, uint64_t file)
{
    struct listing *l = opaque;

    if (l->n == l->max) {
        return -ECANCELED;
    }
    l->file[l->n++] = file;
    return 0;
}

static void files_are_listed_in_order(void **state)
{
    /* Across the borders of directories, and one far off. */
    static const uint64_t ids[] = {
        1, 2, 4095, 4096, 4097, 8191, 8192, 3 * 4096 + 5, STORE_SEGNO_MAX - 1,
    };
    struct setup *t = *state;
    struct listing l = { .max = 16 };
    uint64_t top = 0;

    for (size_t i = ARRAY_SIZE(ids); i > 0; i--) {
        assert_int_equal(store_create_now(t->lane, ids[i - 1], 4096), 0);
    }
    assert_int_equal(store_create_now(t->lane, STORE_MOVED | 12, 4096), 0);
    assert_int_equal(store_create_now(t->lane, STORE_MOVED | 5000, 4096), 0);

    assert_int_equal(store_list(t->store, 0, 0, listing_add, &l), 0);
    assert_int_equal(l.n, ARRAY_SIZE(ids));
    assert_memory_equal(l.file, ids, sizeof(ids));
    l.n = 0;
    assert_int_equal(store_list(t->store, 0, 4097, listing_add, &l), 0);
    assert_int_equal(l.n, 5);
    assert_int_equal(l.file[0], 4097);
    l.n = 0;
    assert_int_equal(store_list(t->store, STORE_MOVED, STORE_MOVED | 13, listing_add, &l),
                     0);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.file[0], STORE_MOVED | 5000);
    l = (struct listing){ .max = 3 };
    assert_int_equal(store_list(t->store, 0, 0, listing_add, &l), -ECANCELED);

    assert_int_equal(store_highest(t->store, 0, &top), 0);
    assert_int_equal(top, STORE_SEGNO_MAX - 1);
    assert_int_equal(store_highest(t->store, STORE_MOVED, &top), 0);
    assert_int_equal(top, STORE_MOVED | 5000);
}

static void the_highest_is_found_below_empty_directories(void **state)
{
    struct setup *t = *state;
    struct listing l = { .max = 16 };
    uint64_t top = 0;

    assert_int_equal(store_highest(t->store, 0, &top), -ENOENT);
    assert_int_equal(store_list(t->store, 0, 0, listing_add, &l), 0);
    assert_int_equal(l.n, 0);
    assert_int_equal(store_create_now(t->lane, 10, 4096), 0);
    assert_int_equal(store_create_now(t->lane, 5000, 4096), 0);
    assert_int_equal(store_remove_now(t->lane, 5000), 0);
    assert_int_equal(store_highest(t->store, 0, &top), 0);
    assert_int_equal(top, 10);
    assert_int_equal(store_highest(t->store, STORE_MOVED, &top), -ENOENT);
}

static void named_files_are_written_once(void **state)
{
    struct setup *t = *state;
    char buf[64];

    assert_int_equal(store_get(t->store, "volume", buf, sizeof(buf)), -ENOENT);
    assert_int_equal(store_put(t->store, "volume", "identity", 8), 0);
    assert_int_equal(store_put(t->store, "volume", "another one", 11), -EEXIST);
    assert_int_equal(store_get(t->store, "volume", buf, sizeof(buf)), 8);
    assert_memory_equal(buf, "identity", 8);
    assert_int_equal(store_get(t->store, "volume", buf, 3), 3);
}

static void a_fence_fails_what_is_durable(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(4096);
    struct store_op append = {
        .what = STORE_APPEND, .flags = STORE_DURABLE | STORE_FENCE, .file = 4095,
        .buf = buf, .len = 4096, .fence = 4096,
    };
    struct store_op sync = {
        .what = STORE_SYNC, .flags = STORE_FENCE, .file = 4095, .fence = 4096,
    };

    fill(buf, 4095, 0, 4096);
    assert_int_equal(store_create_now(t->lane, 4095, SIZE), 0);
    assert_int_equal(store_do(t->lane, &append), 0);
    assert_int_equal(store_do(t->lane, &sync), 0);
    assert_int_equal(store_create_now(t->lane, 4096, SIZE), 0);
    append.offset = 4096;
    assert_int_equal(store_do(t->lane, &append), -ESTALE);
    assert_int_equal(store_do(t->lane, &sync), -ESTALE);
    sync.flags = 0;
    assert_int_equal(store_do(t->lane, &sync), 0);
    free(buf);
}

static void an_empty_store_has_no_holder(void **state)
{
    struct setup *t = *state;

    assert_int_equal(store_holder_alive(t->store), 0);
}

/* ---- Lanes ------------------------------------------------------------------- */

static int check_doubles(struct store_op *op, int res)
{
    return res < 0 ? res : 2 * res;
}

static void check_sees_the_result_first(void **state)
{
    struct setup *t = *state;
    uint8_t *buf = buf_new(4096);
    struct store_op op = {
        .what = STORE_PREAD, .file = 1, .buf = buf, .len = 4096, .check = check_doubles,
    };

    make_file(t, 1, 65536);
    assert_int_equal(store_do(t->lane, &op), 8192);
    free(buf);
}

/* READS reads at once, each of a different block, half of them unaligned. */
static void read_many(struct store_lane *lane, uint64_t file, struct rng *rng)
{
    static const size_t room = 8192;
    uint8_t *buf = buf_new(READS * room);
    struct store_op *op = calloc(READS, sizeof(*op));

    assert_non_null(op);
    for (size_t i = 0; i < READS; i++) {
        op[i] = (struct store_op){
            .what = STORE_PREAD, .file = file, .len = 4096, .buf = buf + i * room,
            .offset = rng_below(rng, SIZE / 4096 - 1) * 4096 + i % 2 * (i * 7),
        };
        store_submit(lane, &op[i]);
    }
    store_kick(lane);
    collect_all(lane, READS, 4096);
    for (size_t i = 0; i < READS; i++) {
        check(op[i].buf, file, op[i].offset, 4096);
    }
    free(op);
    free(buf);
}

static void many_reads_go_on_at_once(void **state)
{
    struct setup *t = *state;
    struct rng rng = { .state = 1 };

    make_file(t, 1, SIZE);
    read_many(t->lane, 1, &rng);
    read_many(t->lane, 1, &rng);
}

struct reader {
    struct store *store;
    uint64_t file;
};

static void *reader_main(void *opaque)
{
    struct reader *reader = opaque;
    struct store_lane *lane = store_lane_new(reader->store);
    struct rng rng = { .state = reader->file };

    assert_non_null(lane);
    for (int i = 0; i < 4; i++) {
        read_many(lane, reader->file, &rng);
    }
    store_lane_free(lane);
    return NULL;
}

static void lanes_are_independent(void **state)
{
    struct setup *t = *state;
    struct reader reader[4];
    pthread_t thread[4];

    if (!fixture->threads) {
        skip();
    }
    make_file(t, 1, SIZE);
    make_file(t, 2, SIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(reader); i++) {
        reader[i] = (struct reader){ .store = t->store, .file = 1 + i % 2 };
        assert_int_equal(pthread_create(&thread[i], NULL, reader_main, &reader[i]), 0);
    }
    /* Meanwhile files come and go. */
    for (uint64_t file = 10; file < 20; file++) {
        make_file(t, file, 65536);
        assert_int_equal(seal_now(t->lane, file), 0);
        assert_int_equal(store_remove_now(t->lane, file), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(reader); i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
}

struct submitter {
    struct store_lane *lane;
    struct store_op *op;
    int n;
};

static void *submitter_main(void *opaque)
{
    struct submitter *s = opaque;

    for (int i = 0; i < s->n; i++) {
        store_submit(s->lane, &s->op[i]);
        store_wake(s->lane);
    }
    return NULL;
}

static void one_thread_submits_while_another_collects(void **state)
{
    enum { N = 2000, LEN = 512 };
    struct setup *t = *state;
    struct submitter s = { .lane = t->lane, .n = N };
    struct list done;
    pthread_t thread;
    uint8_t *buf;
    int n = 0;

    if (!fixture->threads) {
        skip();
    }
    buf = buf_new(N * LEN);
    s.op = calloc(N, sizeof(*s.op));
    assert_non_null(s.op);
    make_file(t, 1, SIZE);
    list_init(&done);
    for (int i = 0; i < N; i++) {
        s.op[i] = (struct store_op){
            .what = STORE_PREAD, .file = 1, .buf = buf + i * LEN, .len = LEN,
            .offset = (uint64_t)i * LEN,
        };
    }
    assert_int_equal(pthread_create(&thread, NULL, submitter_main, &s), 0);
    while (n < N) {
        store_kick(t->lane);
        n += store_collect(t->lane, &done);
        if (n < N) {
            assert_int_equal(store_wait(t->lane, 10 * 1000 * 1000), 1);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(s.op[i].res, LEN);
    }
    check(buf, 1, 0, N * LEN);
    free(buf);
    free(s.op);
}

struct kicker {
    struct store_lane *lane;
    struct store_op op[8];
};

static void *kicker_main(void *opaque)
{
    struct kicker *k = opaque;

    for (size_t i = 0; i < ARRAY_SIZE(k->op); i++) {
        store_submit(k->lane, &k->op[i]);
    }
    store_kick(k->lane);
    return NULL;
}

/* What a thread has given to the kernel may suffer from the exit of that thread. */
static void ops_outlive_the_thread_that_kicked(void **state)
{
    struct setup *t = *state;
    struct kicker k = { .lane = t->lane };
    uint64_t offset = 0;
    uint8_t *buf;

    if (!fixture->threads) {
        skip();
    }
    buf = buf_new(SIZE);
    fill(buf, 1, 0, SIZE);
    assert_int_equal(store_create_now(t->lane, 1, SIZE), 0);
    while (offset < SIZE) {
        pthread_t thread;

        for (size_t i = 0; i < ARRAY_SIZE(k.op); i++) {
            bool append = i % 2 == 0;

            k.op[i] = (struct store_op){
                .what = append ? STORE_APPEND : STORE_SYNC, .file = 1,
                .flags = append ? STORE_DURABLE : 0, .offset = offset,
                .buf = buf + offset, .len = 8192,
            };
            offset += append ? 8192 : 0;
        }
        assert_int_equal(pthread_create(&thread, NULL, kicker_main, &k), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        collect_all(t->lane, ARRAY_SIZE(k.op), 0);
    }
    memset(buf, 0, SIZE);
    assert_int_equal(store_pread_now(t->lane, 1, 0, buf, SIZE), SIZE);
    check(buf, 1, 0, SIZE);
    free(buf);
}

static void wait_times_out(void **state)
{
    struct setup *t = *state;
    uint64_t start_us = clock_monotonic_us(t->store->clock);

    assert_int_equal(store_wait(t->lane, 0), 0);
    assert_int_equal(store_wait(t->lane, 30000), 0);
    assert_true(clock_monotonic_us(t->store->clock) - start_us >= 30000);
}

static void a_wake_is_not_lost(void **state)
{
    struct setup *t = *state;
    struct list done;

    list_init(&done);
    store_wake(t->lane);
    assert_int_equal(store_wait(t->lane, 0), 1);
    assert_int_equal(store_collect(t->lane, &done), 0);
    assert_int_equal(store_wait(t->lane, 0), 0);
    /* It came while the other was between looking and waiting. */
    store_wake(t->lane);
    assert_int_equal(store_collect(t->lane, &done), 0);
    assert_int_equal(store_wait(t->lane, 0), 1);
    assert_int_equal(store_wait(t->lane, 0), 0);
}

static void *waker_main(void *opaque)
{
    store_wake(opaque);
    return NULL;
}

static void another_thread_wakes(void **state)
{
    struct setup *t = *state;
    pthread_t thread;

    if (!fixture->threads) {
        skip();
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pthread_create(&thread, NULL, waker_main, t->lane), 0);
        assert_int_equal(store_wait(t->lane, -1), 1);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, timeout_ms) > 0;
}

/* The signal of an op may come right after the op itself was collected. */
static bool falls_silent(struct store_lane *lane, int fd)
{
    struct list done;
    bool silent = false;

    list_init(&done);
    for (int i = 0; i < 1000 && !silent; i++) {
        (void)store_collect(lane, &done);
        silent = !readable(fd, 0);
    }
    return silent;
}

static void the_fd_tells_of_completions(void **state)
{
    struct setup *t = *state;
    int fd = store_lane_fd(t->lane);
    uint8_t *buf = buf_new(4096);
    struct list done;

    if (fd < 0) {
        free(buf);
        skip();
    }
    list_init(&done);
    make_file(t, 1, 65536);
    assert_true(falls_silent(t->lane, fd));
    for (int i = 0; i < 200; i++) {
        struct store_op op = {
            .what = i % 8 == 7 ? STORE_SEAL : STORE_PREAD, .file = i % 8 == 6 ? 99 : 1,
            .buf = buf, .len = 4096,
        };

        store_submit(t->lane, &op);
        store_kick(t->lane);
        do {
            assert_true(readable(fd, 10000));
        } while (store_collect(t->lane, &done) == 0);
        list_remove(&op.node);
    }
    store_wake(t->lane);
    assert_true(readable(fd, 0));
    assert_true(falls_silent(t->lane, fd));
    free(buf);
}

/* ---- The end ----------------------------------------------------------------- */

static void destroy_leaves_nothing(void **state)
{
    struct setup *t = *state;
    struct store_op op = { .what = STORE_PREPARE, .len = SIZE };
    struct listing l = { .max = 16 };
    char buf[8];

    assert_int_equal(store_put(t->store, "volume", "x", 1), 0);
    assert_int_equal(store_enlist(t->store, 1), 0);
    make_file(t, 1, 65536);
    make_file(t, 5000, 65536);
    make_file(t, STORE_MOVED | 1, 65536);
    assert_true(store_do(t->lane, &op) >= 0);
    store_lane_free(t->lane);
    t->lane = NULL;
    assert_int_equal(store_destroy(t->store), 0);
    assert_int_equal(store_get(t->store, "volume", buf, sizeof(buf)), -ENOENT);
    assert_int_equal(store_list(t->store, 0, 0, listing_add, &l), 0);
    assert_int_equal(store_list(t->store, STORE_MOVED, 0, listing_add, &l), 0);
    assert_int_equal(l.n, 0);
    assert_int_equal(store_destroy(t->store), 0);
}

#define CONTRACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int store_contract_tests(const struct store_fixture *f)
{
    static const struct CMUnitTest tests[] = {
        CONTRACT(create_is_exclusive),
        CONTRACT(appends_in_flight_keep_their_places),
        CONTRACT(appends_are_made_durable),
        CONTRACT(sealed_files_are_read_but_not_appended_to),
        CONTRACT(reads_take_any_alignment),
        CONTRACT(reads_past_the_end_are_short),
        CONTRACT(missing_files_are_missed),
        CONTRACT(removed_files_are_gone),
        CONTRACT(sealed_files_may_be_used_again),
        CONTRACT(spares_are_made),
        CONTRACT(recover_tells_the_length),
        CONTRACT(files_are_listed_in_order),
        CONTRACT(the_highest_is_found_below_empty_directories),
        CONTRACT(named_files_are_written_once),
        CONTRACT(a_fence_fails_what_is_durable),
        CONTRACT(an_empty_store_has_no_holder),
        CONTRACT(check_sees_the_result_first),
        CONTRACT(many_reads_go_on_at_once),
        CONTRACT(lanes_are_independent),
        CONTRACT(one_thread_submits_while_another_collects),
        CONTRACT(ops_outlive_the_thread_that_kicked),
        CONTRACT(wait_times_out),
        CONTRACT(a_wake_is_not_lost),
        CONTRACT(another_thread_wakes),
        CONTRACT(the_fd_tells_of_completions),
        CONTRACT(destroy_leaves_nothing),
    };

    fixture = f;
    return cmocka_run_group_tests_name(f->name, tests, NULL, NULL);
}
