/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue in somebody's own loop, as in QEMU: its thread sleeps in poll() on the queue's
 * fd, never in the library.  Reads, writes and flushes complete there however they are
 * mixed; the fd is asked for before there is anything, or in the middle; and it is not
 * readable for ever.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <poll.h>

#include "localvol.h"

#define SIZE MIB(64)
#define DEPTH 16
#define REQUESTS 3000

struct loop {
    struct hlfs_queue *q;
    int fd;
    unsigned unfinished, done;
    uint8_t *spare[DEPTH];          /* buffers of no request, DEPTH - unfinished */
};

static uint8_t bufs[DEPTH][16384] __attribute__((aligned(4096)));

/* Wait for the fd, and take what is there: how many. */
static unsigned reap(struct loop *l)
{
    struct pollfd p = { .fd = l->fd, .events = POLLIN };
    struct hlfs_completion c[DEPTH];
    int n;

    hlfs_queue_kick(l->q);
    assert_int_equal(poll(&p, 1, 10000), 1);    /* a lost wake-up would end here */
    n = hlfs_queue_reap(l->q, c, DEPTH, 0);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(c[i].result, 0);
        l->spare[DEPTH - l->unfinished--] = c[i].tag;
    }
    l->done += (unsigned)n;
    return (unsigned)n;
}

static void submit(struct loop *l, struct rng *r)
{
    uint8_t *buf = l->spare[DEPTH - l->unfinished - 1];
    uint64_t at = rng_below(r, SIZE / 4096 - 4) * 4096;
    size_t len = 4096 * (1 + rng_below(r, 4));
    int res;

    switch (rng_below(r, 8)) {
    case 0:
        res = hlfs_submit_flush(l->q, buf);
        break;
    case 1:
        res = hlfs_submit_pwrite(l->q, buf, len, at, HLFS_FUA, buf);
        break;
    case 2:
    case 3:
        res = hlfs_submit_pwrite(l->q, buf, len, at + 512, 0, buf);
        break;
    default:
        res = hlfs_submit_pread(l->q, buf, len, at, buf);
    }
    assert_true(res == 0 || res == 1);
    l->unfinished += res == 0;
    l->done += res == 1;
}

static void run(unsigned store_flags, unsigned asked_after)
{
    struct hlfs_options o;
    struct loop l = { 0 };
    struct rng r;
    struct hlfs *v;
    struct pollfd p;

    options_init(&o);
    r = (struct rng){ store_flags + asked_after };
    for (unsigned i = 0; i < DEPTH; i++) {
        l.spare[i] = bufs[i];
    }
    localvol_init();
    localvol_create(SIZE, store_flags, &o);
    v = localvol_open(store_flags, 0, &o);
    for (uint64_t at = 0; at < SIZE; at += sizeof(bufs[0])) {
        memset(bufs[0], (int)(at >> 14) | 1, sizeof(bufs[0]));
        assert_int_equal(hlfs_pwrite(v, bufs[0], sizeof(bufs[0]), at, 0), 0);
    }
    assert_int_equal(hlfs_close(v), 0);     /* so that reads come from the disk */
    v = localvol_open(store_flags, 0, &o);
    assert_int_equal(hlfs_queue_new(v, DEPTH, &l.q), 0);
    for (unsigned i = 0; i < asked_after; i++) {
        submit(&l, &r);
    }
    l.fd = hlfs_queue_fd(l.q);
    assert_true(l.fd >= 0);
    while (l.done < REQUESTS) {
        while (l.unfinished < DEPTH && l.done < REQUESTS) {
            submit(&l, &r);
        }
        while (l.unfinished > 0 && reap(&l) == 0) {
        }
    }
    while (l.unfinished > 0) {
        (void)reap(&l);
    }
    /* Nothing is left: at the latest after one empty look it is silent. */
    (void)hlfs_queue_reap(l.q, &(struct hlfs_completion){ 0 }, 1, 0);
    p = (struct pollfd){ .fd = l.fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 20), 0);
    hlfs_queue_free(l.q);
    assert_int_equal(hlfs_close(v), 0);
    options_done(&o);
    localvol_done();
}

static void with_io_uring(void **state)
{
    (void)state;
    run(0, 0);
    run(0, DEPTH);
}

static void with_threads(void **state)
{
    (void)state;
    run(LOCAL_NO_URING, 0);
    run(LOCAL_NO_URING, DEPTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_io_uring),
        cmocka_unit_test(with_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
