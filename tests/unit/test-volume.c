/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine on the local store with real threads: four queues at once, each working
 * at random on a byte range of its own, while a fifth thread flushes, begins
 * checkpoints and looks around.  Neighbours share the block at their border.  After
 * each round everything is compared with a model in memory, before and after the
 * volume was closed, or given up as in a crash after a flush.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "localvol.h"

#define THREADS 4u
#define DEPTH 16u
#define LEN_MAX (MIB(2) + 12345)

struct model {
    uint8_t *bytes;
    uint64_t size;
};

struct slot {               /* a request under way */
    bool busy;
    enum request_kind kind;
    uint64_t offset, len;
    uint8_t *buf;           /* owned, LEN_MAX */
    enum hlfs_status status;
    uint64_t status_len;
};

struct worker {
    struct model *model;
    struct hlfs *v;
    uint64_t begin, end;    /* bytes of the volume that are this worker's */
    uint32_t block_bytes;
    unsigned requests;
    struct rng rng;
    struct hlfs_queue *queue;
    struct slot slots[DEPTH];
    pthread_t thread;
};

/* ---- One thread's requests ----------------------------------------------- */

static void compare(const struct model *m, const uint8_t *got, uint64_t offset,
                    uint64_t len, const char *when)
{
    if (memcmp(got, m->bytes + offset, len) != 0) {
        uint64_t i = 0;

        while (got[i] == m->bytes[offset + i]) {
            i++;
        }
        CHECK(false, "%s: byte %" PRIu64 " is %02x, not %02x (read %" PRIu64 " bytes at %"
              PRIu64 ")", when, offset + i, got[i], m->bytes[offset + i], len, offset);
    }
}

static void check_status(const struct worker *w, const struct slot *s)
{
    CHECK(s->status_len > 0 && s->status_len <= s->len, "status of %" PRIu64 " + %"
          PRIu64 " covers %" PRIu64, s->offset, s->len, s->status_len);
    for (uint64_t i = 0; s->status == HLFS_STATUS_HOLE && i < s->status_len; i++) {
        CHECK(w->model->bytes[s->offset + i] == 0, "a hole at %" PRIu64 " + %" PRIu64
              " has data at %" PRIu64, s->offset, s->status_len, s->offset + i);
    }
}

static void finished(struct worker *w, struct slot *s, int result)
{
    CHECK(result == 0, "request of kind %d at %" PRIu64 " + %" PRIu64 " failed: %d",
          (int)s->kind, s->offset, s->len, result);
    if (s->kind == REQUEST_READ) {
        compare(w->model, s->buf, s->offset, s->len, "queued read");
    } else if (s->kind == REQUEST_STATUS) {
        check_status(w, s);
    }
    s->busy = false;
}

static void reap(struct worker *w, int timeout_ms)
{
    struct hlfs_completion c[DEPTH];
    int n = queue_reap(w->queue, c, DEPTH, timeout_ms);

    CHECK(n >= 0, "reap: %d", n);
    for (int i = 0; i < n; i++) {
        finished(w, c[i].tag, c[i].result);
    }
}

/* Requests under way that touch the same bytes have no defined order: avoid them. */
static bool overlaps(const struct worker *w, uint64_t offset, uint64_t len)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        const struct slot *s = &w->slots[i];

        if (s->busy && s->kind != REQUEST_FLUSH && offset < s->offset + s->len &&
            s->offset < offset + len) {
            return true;
        }
    }
    return false;
}

static struct slot *slot_take(struct worker *w)
{
    for (;;) {
        for (unsigned i = 0; i < DEPTH; i++) {
            if (!w->slots[i].busy) {
                return &w->slots[i];
            }
        }
        reap(w, -1);
    }
}

static uint64_t pick_len(struct rng *r, uint32_t block_bytes)
{
    switch (rng_below(r, 8)) {
    case 0:
        return 1 + rng_below(r, 700);
    case 1:
    case 2:
        return block_bytes;
    case 3:
        return block_bytes * (1 + rng_below(r, 8));
    case 4:
        return 512 * (1 + rng_below(r, 64));
    case 5:
        return rng_one_in(r, 4) ? 1 + rng_below(r, LEN_MAX) : MIB(1);
    default:
        return 1 + rng_below(r, 3 * block_bytes);
    }
}

static void pick_range(struct worker *w, uint64_t *ret_offset, uint64_t *ret_len)
{
    uint64_t space = w->end - w->begin;
    uint64_t want = pick_len(&w->rng, w->block_bytes), len = MIN(want, space / 2);
    uint64_t offset = w->begin + rng_below(&w->rng, space - len + 1);

    if (rng_below(&w->rng, 3) > 0) {
        offset = ALIGN_DOWN(offset, rng_one_in(&w->rng, 2) ? w->block_bytes : 512u);
        offset = MAX(offset, w->begin);
    }
    if (rng_one_in(&w->rng, 16)) {
        offset = w->end - len;      /* up to the border, or the volume's end */
    }
    *ret_offset = offset;
    *ret_len = len;
}

/* Words that say where and when; some blocks of them are zero, some writes all. */
static void fill(struct worker *w, uint8_t *buf, uint64_t len)
{
    uint64_t zero_in = rng_below(&w->rng, 4) == 0 ? 1 + rng_below(&w->rng, 4) : 0;
    uint64_t x = rng_next(&w->rng);

    for (uint64_t at = 0; at < len; at += 8) {
        uint64_t word = x + at * 0x9E3779B97F4A7C15u;

        if (zero_in > 0 && (at / w->block_bytes) % zero_in == 0) {
            word = 0;
        }
        memcpy(buf + at, &word, MIN(len - at, 8));
    }
}

static enum request_kind pick_kind(struct rng *r)
{
    static const enum request_kind kinds[] = {
        REQUEST_READ, REQUEST_READ, REQUEST_READ, REQUEST_READ, REQUEST_READ,
        REQUEST_WRITE, REQUEST_WRITE, REQUEST_WRITE, REQUEST_WRITE, REQUEST_WRITE,
        REQUEST_WRITE, REQUEST_WRITE, REQUEST_ZERO, REQUEST_DISCARD, REQUEST_STATUS,
        REQUEST_FLUSH,
    };

    return kinds[rng_below(r, ARRAY_SIZE(kinds))];
}

/* Sync calls of this thread mix with its queue and with other threads' sync calls. */
static void call_at_once(struct worker *w, const struct request_args *a, struct slot *s)
{
    s->kind = a->kind;
    finished(w, s, volume_call(w->v, a));
}

static void model_change(struct worker *w, const struct slot *s)
{
    if (s->kind == REQUEST_WRITE) {
        memcpy(w->model->bytes + s->offset, s->buf, s->len);
    } else if (s->kind == REQUEST_ZERO || s->kind == REQUEST_DISCARD) {
        memset(w->model->bytes + s->offset, 0, s->len);
    }
}

static void one_request(struct worker *w)
{
    struct slot *s = slot_take(w);
    enum request_kind kind = pick_kind(&w->rng);
    struct request_args a = { .kind = kind, .buf = s->buf, .tag = s };
    int res;

    if (kind != REQUEST_FLUSH) {
        pick_range(w, &a.offset, &a.len);
        if (kind == REQUEST_ZERO || kind == REQUEST_DISCARD || kind == REQUEST_STATUS) {
            a.len *= 1 + rng_below(&w->rng, 8);
            a.len = MIN(a.len, w->end - a.offset);
        }
    }
    while (overlaps(w, a.offset, a.len)) {
        reap(w, -1);
    }
    *s = (struct slot){ .kind = kind, .buf = s->buf, .offset = a.offset, .len = a.len };
    if (kind == REQUEST_WRITE) {
        fill(w, s->buf, s->len);
    }
    if (kind == REQUEST_WRITE || kind == REQUEST_ZERO || kind == REQUEST_DISCARD) {
        a.flags = rng_one_in(&w->rng, 20) ? HLFS_FUA : 0;
    }
    a.ret_status = &s->status;
    a.ret_len = &s->status_len;
    model_change(w, s);
    if (rng_one_in(&w->rng, 10)) {
        call_at_once(w, &a, s);
        return;
    }
    s->busy = true;
    res = queue_submit(w->queue, &a);
    CHECK(res >= 0, "submit of kind %d: %d", (int)kind, res);
    if (res == 1) {
        finished(w, s, 0);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (unsigned i = 0; i < w->requests; i++) {
        one_request(w);
        if (rng_one_in(&w->rng, 5)) {
            reap(w, rng_one_in(&w->rng, 2) ? 0 : 1);
        }
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        while (w->slots[i].busy) {
            reap(w, -1);
        }
    }
    return NULL;
}

/* ---- The fifth thread ---------------------------------------------------- */

struct onlooker {
    struct hlfs *v;
    struct rng rng;
    bool stop;
    pthread_t thread;
};

static void *look_on(void *arg)
{
    struct onlooker *o = arg;
    struct hlfs_counters counters;
    struct hlfs_info info;

    while (!__atomic_load_n(&o->stop, __ATOMIC_RELAXED)) {
        switch (rng_below(&o->rng, 4)) {
        case 0:
            CHECK(call_flush(o->v) == 0, "flush");
            break;
        case 1:
            volume_want_checkpoint(o->v);
            break;
        case 2:
            CHECK(volume_counters(o->v, &counters) == 0, "counters");
            break;
        default:
            CHECK(volume_info(o->v, &info) == 0, "info");
            CHECK(info.synced_seq <= info.seq, "synced %" PRIu64 " of %" PRIu64,
                  info.synced_seq, info.seq);
        }
        (void)usleep((useconds_t)rng_below(&o->rng, 20000));
    }
    return NULL;
}

/* ---- Rounds -------------------------------------------------------------- */

static void verify(struct hlfs *v, const struct model *m, struct rng *r, const char *when)
{
    uint8_t *buf = malloc(LEN_MAX);

    assert_non_null(buf);
    for (uint64_t at = 0; at < m->size;) {
        uint64_t want = 1 + rng_below(r, LEN_MAX), len = MIN(want, m->size - at);
        int res = call_read(v, buf, len, at);

        CHECK(res == 0, "%s: reading %" PRIu64 " bytes at %" PRIu64 ": %d", when, len, at,
              res);
        compare(m, buf, at, len, when);
        at += len;
    }
    free(buf);
}

static void workers_run(struct hlfs *v, struct model *m, uint32_t block_bytes,
                        unsigned requests, struct rng *r)
{
    struct worker *workers = calloc(THREADS, sizeof(*workers));
    struct onlooker onlooker = { .v = v, .rng = { rng_next(r) } };

    assert_non_null(workers);
    for (unsigned t = 0; t < THREADS; t++) {
        struct worker *w = &workers[t];

        *w = (struct worker){
            .model = m, .v = v, .block_bytes = block_bytes, .requests = requests,
            .begin = m->size * t / THREADS, .end = m->size * (t + 1) / THREADS,
            .rng = { rng_next(r) },
        };
        for (unsigned i = 0; i < DEPTH; i++) {
            w->slots[i].buf = malloc(LEN_MAX + 8);
            assert_non_null(w->slots[i].buf);
        }
        assert_int_equal(queue_new(v, DEPTH, &w->queue), 0);
        assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
    }
    assert_int_equal(pthread_create(&onlooker.thread, NULL, look_on, &onlooker), 0);
    for (unsigned t = 0; t < THREADS; t++) {
        (void)pthread_join(workers[t].thread, NULL);
        queue_free(workers[t].queue);
        for (unsigned i = 0; i < DEPTH; i++) {
            free(workers[t].slots[i].buf);
        }
    }
    __atomic_store_n(&onlooker.stop, true, __ATOMIC_RELAXED);
    (void)pthread_join(onlooker.thread, NULL);
    free(workers);
}

static void run(uint32_t block_bytes, unsigned store_flags, uint64_t size)
{
    unsigned rounds = MAX(2u, MIN(test_seeds(60) / 20, 20u));
    struct rng r = { block_bytes + store_flags + rounds };
    struct model m = { .bytes = calloc(1, size), .size = size };
    struct hlfs_options o;

    assert_non_null(m.bytes);
    options_init(&o);
    o.block_bytes = block_bytes;
    o.segment_bytes = MIB(4);
    o.cache_bytes = KIB(512);
    o.dirty_bytes = MIB(4);
    localvol_init();
    localvol_create(size, store_flags, &o);
    for (unsigned i = 0; i < rounds; i++) {
        struct hlfs *v = localvol_open(store_flags, 0, &o);

        assert_int_equal(volume_size(v), size);
        verify(v, &m, &r, "after opening");
        workers_run(v, &m, block_bytes, 200, &r);
        verify(v, &m, &r, "after a round");
        if (i % 2) {
            assert_int_equal(volume_close(v), 0);
        } else {
            assert_int_equal(call_flush(v), 0);
            volume_abandon(v);
        }
        v = localvol_open(store_flags | LOCAL_READ_ONLY, VOLUME_RDONLY, NULL);
        verify(v, &m, &r, "read-only");
        assert_int_equal(volume_close(v), 0);
    }
    localvol_done();
    options_done(&o);
    free(m.bytes);
}

static void blocks_of_4k(void **state _unused_)
{
    run(KIB(4), 0, MIB(24) + 3 * 512);
}

static void blocks_of_4k_thread_pool(void **state _unused_)
{
    run(KIB(4), LOCAL_NO_URING, MIB(24) + 512);
}

static void blocks_of_16k(void **state _unused_)
{
    run(KIB(16), 0, MIB(24) + 4096 + 512);
}

static void blocks_of_64k(void **state _unused_)
{
    run(KIB(64), LOCAL_NO_DIRECT, MIB(32) - 512);
}

static void blocks_of_64k_thread_pool(void **state _unused_)
{
    run(KIB(64), LOCAL_NO_URING, MIB(32) + KIB(63));
}

/* ---- Overlapping writes -------------------------------------------------- */

/*
 * Threads write the same blocks at once.  Which write is last nobody knows, but what is
 * read when all are done is the order of the log, too: it is there after a crash.
 */
#define HOT_BYTES KIB(1536)

struct scribbler {
    struct hlfs *v;
    struct rng rng;
    unsigned writes;
    pthread_t thread;
};

static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    uint8_t *buf = malloc(HOT_BYTES);

    CHECK(buf != NULL, "no memory");
    for (unsigned i = 0; i < s->writes; i++) {
        uint64_t len = 1 + rng_below(&s->rng, rng_one_in(&s->rng, 2) ? KIB(8) : MIB(1));
        uint64_t offset = rng_below(&s->rng, HOT_BYTES - len);

        if (rng_below(&s->rng, 3) > 0) {
            offset = ALIGN_DOWN(offset, KIB(4));
        }
        memset(buf, (int)rng_below(&s->rng, 256), len);
        CHECK(call_write(s->v, buf, len, offset, 0) == 0, "write");
    }
    free(buf);
    return NULL;
}

static void overlapping_writes_keep_one_order(void **state _unused_)
{
    unsigned rounds = MAX(4u, MIN(test_seeds(60) / 5, 200u));
    uint8_t *seen = malloc(HOT_BYTES), *after = malloc(HOT_BYTES);
    struct rng r = { rounds };
    struct hlfs_options o;

    assert_true(seen && after);
    options_init(&o);
    o.segment_bytes = MIB(4);
    o.dirty_bytes = MIB(8);
    localvol_init();
    localvol_create(MIB(4), 0, &o);
    for (unsigned i = 0; i < rounds; i++) {
        struct hlfs *v = localvol_open(0, 0, &o);
        struct scribbler s[THREADS];

        for (unsigned t = 0; t < THREADS; t++) {
            s[t] = (struct scribbler){ .v = v, .rng = { rng_next(&r) }, .writes = 12 };
            assert_int_equal(pthread_create(&s[t].thread, NULL, scribble, &s[t]), 0);
        }
        if (i % 2) {
            volume_want_checkpoint(v);
        }
        for (unsigned t = 0; t < THREADS; t++) {
            (void)pthread_join(s[t].thread, NULL);
        }
        assert_int_equal(call_read(v, seen, HOT_BYTES, 0), 0);
        assert_int_equal(call_flush(v), 0);
        while (i % 4 == 1 && volume_checkpoint_running(v)) {
            (void)usleep(1000);
        }
        volume_abandon(v);
        v = localvol_open(LOCAL_READ_ONLY, VOLUME_RDONLY, NULL);
        assert_int_equal(call_read(v, after, HOT_BYTES, 0), 0);
        assert_memory_equal(seen, after, HOT_BYTES);
        assert_int_equal(volume_close(v), 0);
    }
    localvol_done();
    options_done(&o);
    free(seen);
    free(after);
}

/* ---- Slow copies --------------------------------------------------------- */

/*
 * A write whose copy, made outside the monitor, takes as long as the test likes: its
 * buffer cannot be read until slow_release().  Meanwhile others go on, its record is
 * closed and later ones are filled.
 */
#define SLOW_BYTES KIB(64)

static struct slow {
    uint8_t *buf;
    struct hlfs *v;
    uint64_t offset;
    bool stuck, released;
    pthread_t thread;
} slow;

static void slow_touched(int signal _unused_)
{
    const struct timespec ms = { .tv_nsec = 1000000 };

    __atomic_store_n(&slow.stuck, true, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&slow.released, __ATOMIC_SEQ_CST)) {
        (void)nanosleep(&ms, NULL);
    }
    (void)mprotect(slow.buf, SLOW_BYTES, PROT_READ | PROT_WRITE);
}

static void *slow_write(void *arg _unused_)
{
    CHECK(call_write(slow.v, slow.buf, SLOW_BYTES, slow.offset, 0) == 0, "slow write");
    return NULL;
}

/* Returns when the copy has begun and sticks. */
static void slow_begin(struct hlfs *v, uint64_t offset)
{
    const struct sigaction touched = { .sa_handler = slow_touched };

    slow = (struct slow){ .v = v, .offset = offset };
    slow.buf = mmap(NULL, SLOW_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(slow.buf != MAP_FAILED);
    memset(slow.buf, 'S', SLOW_BYTES);
    assert_int_equal(mprotect(slow.buf, SLOW_BYTES, PROT_NONE), 0);
    assert_int_equal(sigaction(SIGSEGV, &touched, NULL), 0);
    assert_int_equal(pthread_create(&slow.thread, NULL, slow_write, NULL), 0);
    while (!__atomic_load_n(&slow.stuck, __ATOMIC_SEQ_CST)) {
        (void)usleep(1000);
    }
}

static void slow_release(void)
{
    __atomic_store_n(&slow.released, true, __ATOMIC_SEQ_CST);
}

static void slow_end(void)
{
    slow_release();
    (void)pthread_join(slow.thread, NULL);
    (void)signal(SIGSEGV, SIG_DFL);
    (void)munmap(slow.buf, SLOW_BYTES);
}

static uint8_t big[2][MIB(1)];

static struct hlfs *slow_volume(void)
{
    localvol_init();
    localvol_create(MIB(8), 0, NULL);
    return localvol_open(0, 0, NULL);
}

/* Give V up as in a crash, and look at LEN bytes at OFFSET: all are BYTE. */
static struct hlfs *crash_and_expect(struct hlfs *v, size_t len, uint64_t offset,
                                     int byte)
{
    volume_abandon(v);
    v = localvol_open(0, 0, NULL);
    memset(big[1], byte, len);
    assert_int_equal(call_read(v, big[0], len, offset), 0);
    assert_memory_equal(big[0], big[1], len);
    return v;
}

static void write_bytes(struct hlfs *v, size_t len, uint64_t offset, int byte)
{
    memset(big[0], byte, len);
    assert_int_equal(call_write(v, big[0], len, offset, 0), 0);
}

/* (The flush was once for the record of the newest commit, which was an older one.) */
static void flush_covers_what_overtook_a_slow_copy(void **state _unused_)
{
    struct hlfs *v = slow_volume();

    slow_begin(v, 0);
    write_bytes(v, MIB(1), MIB(1), 'A');        /* does not fit into the same record */
    slow_end();
    assert_int_equal(call_flush(v), 0);
    v = crash_and_expect(v, MIB(1), MIB(1), 'A');
    v = crash_and_expect(v, SLOW_BYTES, 0, 'S');
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

/* (The slow write was once in no checkpoint and below the first record to replay.) */
static void checkpoint_begun_during_a_slow_copy(void **state _unused_)
{
    struct hlfs *v = slow_volume();

    write_bytes(v, KIB(4), MIB(1), 'A');
    slow_begin(v, 0);
    volume_want_checkpoint(v);
    (void)usleep(100000);
    write_bytes(v, KIB(4), MIB(2), 'B');
    slow_end();
    while (volume_checkpoint_running(v)) {
        (void)usleep(1000);
    }
    for (int i = 0; i < 8; i++) {       /* so that a header names the checkpoint */
        write_bytes(v, MIB(1), MIB(3), i);
    }
    assert_int_equal(call_flush(v), 0);
    v = crash_and_expect(v, SLOW_BYTES, 0, 'S');
    v = crash_and_expect(v, KIB(4), MIB(1), 'A');
    v = crash_and_expect(v, KIB(4), MIB(2), 'B');
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

/* (The map had the slow write on top, the log the one that overtook it.) */
static void write_over_a_slow_copy(void **state _unused_)
{
    struct hlfs *v = slow_volume();
    struct request_args a = {
        .kind = REQUEST_WRITE, .buf = big[0], .len = KIB(8), .offset = KIB(16),
    };
    struct hlfs_completion c;
    struct hlfs_queue *q;
    uint8_t winner;
    int res;

    slow_begin(v, 0);
    write_bytes(v, MIB(1), MIB(1), 'A');
    assert_int_equal(queue_new(v, 1, &q), 0);
    memset(big[0], 'B', a.len);
    res = queue_submit(q, &a);
    assert_true(res >= 0);
    slow_end();
    if (res == 0) {
        assert_int_equal(queue_reap(q, &c, 1, -1), 1);
        assert_int_equal(c.result, 0);
    }
    queue_free(q);
    assert_int_equal(call_read(v, &winner, 1, a.offset), 0);
    assert_int_equal(call_flush(v), 0);
    v = crash_and_expect(v, a.len, a.offset, winner);
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

/* ---- Calls that are refused ---------------------------------------------- */

/*
 * Freeing a queue is no call that can refuse: it once tore down the ring of which the
 * parent's reads were in flight, and an assertion ended the child.
 */
static void calls_in_a_forked_child_are_refused(void **state _unused_)
{
    static uint8_t block[4096];
    const struct request_args a = { .kind = REQUEST_READ, .buf = block, .len = 512 };
    struct hlfs_queue *q, *other = NULL;
    struct hlfs_completion c;
    struct hlfs_info info;
    struct hlfs_counters counters;
    struct hlfs *v;
    int status;
    pid_t pid;

    localvol_init();
    localvol_create(MIB(1), 0, NULL);
    v = localvol_open(0, 0, NULL);
    assert_int_equal(queue_new(v, 1, &q), 0);
    block[512] = 1;
    assert_int_equal(call_write(v, block, sizeof(block), 0, HLFS_FUA), 0);
    assert_int_equal(queue_submit(q, &a), 0);       /* from the store: in flight */
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        queue_free(q);
        _exit(call_read(v, block, 512, 0) != -ECHILD ? 1 :
              call_write(v, block, 512, 0, 0) != -ECHILD ? 2 :
              call_flush(v) != -ECHILD ? 3 :
              queue_submit(q, &a) != -ECHILD ? 4 :
              queue_reap(q, &c, 1, -1) != -ECHILD ? 5 :
              queue_new(v, 1, &other) != -ECHILD ? 6 :
              queue_fd(q) != -ECHILD ? 7 :
              volume_info(v, &info) != -ECHILD ? 8 :
              volume_counters(v, &counters) != -ECHILD ? 9 :
              volume_close(v) != -ECHILD ? 10 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    /* The parent's volume is as it was. */
    assert_int_equal(queue_reap(q, &c, 1, -1), 1);
    assert_int_equal(c.result, 0);
    block[0] = 1;
    assert_int_equal(call_read(v, block, sizeof(block), 0), 0);
    assert_int_equal(block[0], 0);
    queue_free(q);
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

static void bad_ranges_and_flags_are_refused(void **state _unused_)
{
    static uint8_t block[4096];
    struct request_args a = { .kind = REQUEST_DISCARD, .len = 1, .offset = MIB(1) };
    struct hlfs_queue *q;
    struct hlfs *v;

    localvol_init();
    localvol_create(MIB(1), 0, NULL);
    v = localvol_open(0, 0, NULL);
    assert_int_equal(call_read(v, block, 1, MIB(1)), -EINVAL);
    assert_int_equal(call_read(v, block, 2, MIB(1) - 1), -EINVAL);
    assert_int_equal(call_read(v, block, SIZE_MAX, 1), -EINVAL);
    assert_int_equal(call_read(v, block, 0, MIB(1)), 0);
    assert_int_equal(call_write(v, block, 1, UINT64_MAX, 0), -EINVAL);
    assert_int_equal(call_write(v, block, 1, 0, 1u << 30), -EINVAL);
    assert_int_equal(call_write(v, block, 0, 0, HLFS_FUA), 0);
    assert_int_equal(volume_call(v, &a), -EINVAL);
    assert_int_equal(queue_new(v, 0, &q), -EINVAL);
    assert_int_equal(queue_new(v, 4097, &q), -EINVAL);
    assert_int_equal(volume_close(v), 0);

    v = localvol_open(LOCAL_READ_ONLY, VOLUME_RDONLY, NULL);
    a = (struct request_args){ .kind = REQUEST_ZERO, .len = 512 };
    assert_true(volume_read_only(v));
    assert_int_equal(call_write(v, block, 512, 0, 0), -EROFS);
    assert_int_equal(volume_call(v, &a), -EROFS);
    assert_int_equal(call_flush(v), 0);
    assert_int_equal(call_read(v, block, 512, 0), 0);
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

/* A queue takes as many requests as it was made for, and all complete. */
static void a_full_queue_says_so(void **state _unused_)
{
    static uint8_t blocks[8][4096];
    struct hlfs_completion c[8];
    struct hlfs_queue *q;
    struct hlfs *v;
    unsigned pending = 0, done = 0;
    int res;

    localvol_init();
    localvol_create(MIB(1), 0, NULL);
    v = localvol_open(0, 0, NULL);
    assert_int_equal(call_write(v, memset(blocks, 7, sizeof(blocks)), sizeof(blocks), 0,
                                HLFS_FUA), 0);
    assert_int_equal(queue_new(v, 4, &q), 0);
    for (unsigned i = 0; i < 8; i++) {
        const struct request_args a = {
            .kind = REQUEST_READ, .buf = blocks[i], .len = 4096, .offset = i * 4096,
            .tag = blocks[i],
        };

        res = queue_submit(q, &a);
        assert_true(res == 0 || res == 1 || (res == -EAGAIN && pending == 4));
        pending += res == 0;
    }
    while (done < pending) {
        res = queue_reap(q, c, 8, -1);
        assert_true(res > 0);
        for (int i = 0; i < res; i++) {
            assert_int_equal(c[i].result, 0);
        }
        done += (unsigned)res;
    }
    assert_int_equal(queue_reap(q, c, 8, -1), 0);
    queue_free(q);
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

/* An argument picks tests by name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_ranges_and_flags_are_refused),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(calls_in_a_forked_child_are_refused),
        cmocka_unit_test(flush_covers_what_overtook_a_slow_copy),
        cmocka_unit_test(checkpoint_begun_during_a_slow_copy),
        cmocka_unit_test(write_over_a_slow_copy),
        cmocka_unit_test(overlapping_writes_keep_one_order),
        cmocka_unit_test(blocks_of_4k),
        cmocka_unit_test(blocks_of_4k_thread_pool),
        cmocka_unit_test(blocks_of_16k),
        cmocka_unit_test(blocks_of_64k),
        cmocka_unit_test(blocks_of_64k_thread_pool),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
