/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest may change a buffer while it is being written (DESIGN 3): a thread scribbles on
 * it all the time.  What is stored is some mixture, but with a right sum: every read
 * succeeds, then and after reopening, and gives what it gave before.
 *
 * What is scribbled are zeros and ones in turn, so that a zero test made on the buffer
 * instead of the copy would show, too: each byte read is one of them.
 */
#include <pthread.h>

#include "localvol.h"

#define BUFFER_BYTES (MIB(1) + KIB(64))
#define VOLUME_BYTES MIB(8)
#define ONES 0x0101010101010101u

static uint8_t *buffer;         /* BUFFER_BYTES, aligned */
static bool stop;

/* The race is the point: it must not end the run with TSan. */
__attribute__((no_sanitize("thread")))
static void fill(volatile uint64_t *words, size_t from, size_t to, uint64_t with)
{
    for (size_t i = from; i < to; i++) {
        words[i] = with;
    }
}

/* Long and short stretches, all of it now and then: blocks become zero and are not. */
static void *scribble(void *arg _unused_)
{
    struct rng r = { 1 };

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        size_t words = BUFFER_BYTES / 8, from = rng_below(&r, words);
        size_t len = 1 + rng_below(&r, rng_one_in(&r, 3) ? words : 600);
        uint64_t with = rng_one_in(&r, 2) ? 0 : ONES;

        fill((volatile uint64_t *)(void *)buffer, from, MIN(from + len, words), with);
    }
    return NULL;
}

static uint64_t pick_len(struct rng *r)
{
    static const uint64_t lens[] = {
        512, KIB(1), KIB(4), KIB(4), KIB(4), KIB(8), KIB(16), KIB(64), KIB(256), MIB(1),
    };
    uint64_t len = lens[rng_below(r, ARRAY_SIZE(lens))];

    return rng_one_in(r, 4) ? 1 + rng_below(r, len) : len;
}

/* Several at a time, so that the same buffer is copied here and in the background. */
static void write_some(struct hlfs_queue *q, struct rng *r)
{
    struct hlfs_completion c[8];
    unsigned pending = 0;

    for (int i = 0; i < 8; i++) {
        uint64_t len = pick_len(r), room = VOLUME_BYTES - len;
        struct request_args a = {
            .kind = REQUEST_WRITE, .len = len, .offset = rng_below(r, room + 1),
            .buf = buffer + rng_below(r, 2) * rng_below(r, BUFFER_BYTES - len),
            .flags = rng_one_in(r, 16) ? HLFS_FUA : 0,
        };
        int res;

        if (rng_below(r, 3) > 0) {
            a.offset = ALIGN_DOWN(a.offset, KIB(4));
        }
        res = queue_submit(q, &a);
        assert_true(res >= 0);
        pending += res == 0;
    }
    while (pending > 0) {
        int n = queue_reap(q, c, ARRAY_SIZE(c), -1);

        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            assert_int_equal(c[i].result, 0);
        }
        pending -= (unsigned)n;
    }
}

static void read_all(struct hlfs *v, uint8_t *bytes)
{
    assert_int_equal(call_read(v, bytes, VOLUME_BYTES, 0), 0);
    for (size_t i = 0; i < VOLUME_BYTES; i += 8) {
        uint64_t word;

        memcpy(&word, bytes + i, sizeof(word));
        if (word & ~ONES) {
            fail_msg("the bytes at %zu are %016" PRIx64, i, word);
        }
    }
}

static void run(unsigned store_flags, uint32_t block_bytes)
{
    unsigned rounds = MAX(2u, MIN(test_seeds(40) / 40, 40u));
    uint8_t *seen = malloc(VOLUME_BYTES), *again = malloc(VOLUME_BYTES);
    struct rng r = { rounds + block_bytes };
    struct hlfs_options o;
    pthread_t thread;

    assert_true(seen && again);
    assert_int_equal(posix_memalign((void **)&buffer, 4096, BUFFER_BYTES), 0);
    memset(buffer, 0, BUFFER_BYTES);
    options_init(&o);
    o.block_bytes = block_bytes;
    o.segment_bytes = o.dirty_bytes = MIB(4);
    localvol_init();
    localvol_create(VOLUME_BYTES, store_flags, &o);
    stop = false;
    assert_int_equal(pthread_create(&thread, NULL, scribble, NULL), 0);
    for (unsigned i = 0; i < rounds; i++) {
        struct hlfs *v = localvol_open(store_flags, 0, &o);
        struct hlfs_queue *q;

        assert_int_equal(queue_new(v, 8, &q), 0);
        for (int n = 0; n < 20; n++) {
            write_some(q, &r);
        }
        queue_free(q);
        read_all(v, seen);
        assert_int_equal(call_flush(v), 0);
        if (i % 2) {
            volume_abandon(v);
        } else {
            assert_int_equal(volume_close(v), 0);
        }
        v = localvol_open(store_flags | LOCAL_READ_ONLY, VOLUME_RDONLY, NULL);
        read_all(v, again);
        assert_memory_equal(seen, again, VOLUME_BYTES);
        assert_int_equal(volume_close(v), 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    (void)pthread_join(thread, NULL);
    localvol_done();
    options_done(&o);
    free(buffer);
    free(seen);
    free(again);
}

static void scribbled_on_while_written(void **state _unused_)
{
    run(0, KIB(4));
}

static void scribbled_on_with_a_thread_pool(void **state _unused_)
{
    run(LOCAL_NO_URING, KIB(4));
}

static void scribbled_on_with_large_blocks(void **state _unused_)
{
    run(0, KIB(64));
}

/* An argument picks tests by name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scribbled_on_while_written),
        cmocka_unit_test(scribbled_on_with_a_thread_pool),
        cmocka_unit_test(scribbled_on_with_large_blocks),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
