/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "seeded.h"

#define STEP_NS UINT64_C(1000000000)    /* between two lines of progress */
#define BLOCK_BYTES 4096                /* of those that are counted as verified */

enum slot_state { SLOT_IDLE, SLOT_READ, SLOT_WRITE, SLOT_FLUSH };

/*
 * One unfinished request of a worker; its address is the tag.
 *
 *   IDLE --> READ  ----------------------------------> IDLE
 *     |                                                  ^
 *     +----> WRITE --a flush is due--> FLUSH ------------+
 *              +-----------------------------------------+
 */
struct slot {
    enum slot_state state;
    unsigned number;            /* among the slots of all workers */
    uint64_t turn;              /* writes so far */
    uint64_t offset;
    uint64_t start_ns;
    uint64_t flush_start_ns;
    uint8_t *read_buf;          /* borrowed of the run; NULL: no reads */
};

/* One thread.  Owner: that thread, while it runs. */
struct worker {
    struct run *run;            /* borrowed */
    pthread_t thread;
    struct hlfs_queue *queue;   /* owned; NULL at depth 1 */
    struct slot *slots;         /* owned */
    struct slot **idle;         /* owned; a ring, so that all windows come in turn */
    unsigned idle_first;
    unsigned idle_count;
    struct hlfs_completion *completions;    /* owned; DEPTH of them */

    uint64_t random;
    uint64_t counter;           /* of the blocks written, unique in the run */
    uint64_t first;             /* its part of the range, in requests */
    uint64_t part;
    uint64_t next;              /* in the part, for sequential ones */
    uint64_t seeded_next;       /* place in the seed's order, for random ones */
    uint64_t left;              /* requests still to start */
    uint64_t unflushed;         /* writes since the last flush */

    uint64_t requests;          /* read by the main thread for its progress */
    uint64_t writes;
    int error;
    uint64_t error_offset;
    struct histogram latency;
    struct histogram flush_latency;
};

struct run {
    const struct load *load;
    struct payload payload;
    uint8_t *read_bufs;         /* owned; mapped */
    uint64_t read_bytes;
    struct worker *workers;     /* owned; load->threads */
    unsigned started;
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_opens;
    bool gate_is_open;          /* under gate_lock */
    uint64_t deadline_ns;       /* set before the gate opens */
    int stop;                   /* a worker failed; atomic */
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- What comes next ------------------------------------------------------ */

static uint64_t worker_random(struct worker *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return w->random * UINT64_C(0x2545F4914F6CDD1D);
}

static bool worker_is_busy_at(const struct worker *w, uint64_t offset)
{
    for (unsigned i = 0; i < w->run->load->depth; i++) {
        if (w->slots[i].state != SLOT_IDLE && w->slots[i].offset == offset) {
            return true;
        }
    }
    return false;
}

static uint64_t worker_offset(struct worker *w)
{
    const struct load *load = w->run->load;
    uint64_t index, offset;

    if (load->random && load->seeded) {
        index = seeded_order(load->seed, w->seeded_next, w->part);
        w->seeded_next += load->threads;
    } else if (load->random) {
        index = (uint64_t)(((unsigned __int128)worker_random(w) * w->part) >> 64);
    } else {
        index = w->next;
    }
    offset = (w->first + index) * load->request_bytes;
    /* Two unfinished writes of one block may be stored in either order; to verify,
     * the last one must be known.  The part has more requests than there are slots. */
    while (load->verify && worker_is_busy_at(w, offset)) {
        index = (index + 1) % w->part;
        offset = (w->first + index) * load->request_bytes;
    }
    w->next = index + 1 < w->part ? index + 1 : 0;
    return offset;
}

static bool worker_goes_on(const struct worker *w, uint64_t now)
{
    return w->left > 0 && now < w->run->deadline_ns && w->error == 0 &&
           !__atomic_load_n(&w->run->stop, __ATOMIC_RELAXED);
}

static void worker_fail(struct worker *w, int error, uint64_t offset)
{
    if (w->error == 0) {
        w->error = error;
        w->error_offset = offset;
        __atomic_store_n(&w->run->stop, 1, __ATOMIC_RELAXED);
    }
}

/* Fill an idle SLOT with the next request. */
static void slot_prepare(struct worker *w, struct slot *s, uint64_t now)
{
    enum load_io io = w->run->load->io;

    s->offset = worker_offset(w);
    s->start_ns = now;
    if (io == LOAD_READ || (io == LOAD_RW && worker_random(w) >> 63)) {
        s->state = SLOT_READ;
    } else {
        s->state = SLOT_WRITE;
    }
    w->left--;
}

static const void *slot_payload(struct worker *w, struct slot *s)
{
    return payload_make(&w->run->payload, s->number, s->turn++, s->offset, &w->counter);
}

/* A read was answered with RESULT: does it hold what the seed says? */
static int slot_compare(const struct worker *w, const struct slot *s, int result)
{
    const struct load *load = w->run->load;

    if (result < 0 || s->state != SLOT_READ || !load->seeded ||
        seeded_is_right(load->seed, s->offset, s->read_buf, load->request_bytes)) {
        return result;
    }
    return -EILSEQ;
}

/* A write was answered: must a flush follow? */
static bool worker_flush_is_due(struct worker *w)
{
    w->writes++;
    w->unflushed++;
    if (w->run->load->flush_every == 0 || w->unflushed < w->run->load->flush_every) {
        return false;
    }
    w->unflushed = 0;
    return true;
}

static void slot_finish(struct worker *w, struct slot *s, uint64_t now)
{
    if (s->state == SLOT_FLUSH) {
        histogram_add(&w->flush_latency, now - s->flush_start_ns);
    }
    s->state = SLOT_IDLE;
    histogram_add(&w->latency, now - s->start_ns);
    __atomic_store_n(&w->requests, w->requests + 1, __ATOMIC_RELAXED);
}

/* ---- Depth 1: the synchronous calls --------------------------------------- */

static uint64_t sync_step(struct worker *w, struct slot *s, uint64_t now)
{
    const struct load *load = w->run->load;
    int r;

    slot_prepare(w, s, now);
    if (s->state == SLOT_READ) {
        r = hlfs_pread(load->volume, s->read_buf, load->request_bytes, s->offset);
        r = slot_compare(w, s, r);
    } else {
        r = hlfs_pwrite(load->volume, slot_payload(w, s), load->request_bytes, s->offset,
                        0);
        if (r == 0 && worker_flush_is_due(w)) {
            s->state = SLOT_FLUSH;
            s->flush_start_ns = now_ns();
            r = hlfs_flush(load->volume);
        }
    }
    now = now_ns();
    if (r < 0) {
        worker_fail(w, r, s->offset);
    } else {
        slot_finish(w, s, now);
    }
    return now;
}

static void sync_loop(struct worker *w)
{
    uint64_t now = now_ns();

    while (worker_goes_on(w, now)) {
        now = sync_step(w, &w->slots[0], now);
    }
}

/* ---- Depth above 1: a queue ----------------------------------------------- */

static void idle_push(struct worker *w, struct slot *s)
{
    unsigned depth = w->run->load->depth;

    w->idle[(w->idle_first + w->idle_count++) % depth] = s;
}

static struct slot *idle_pop(struct worker *w)
{
    struct slot *s = w->idle[w->idle_first];

    w->idle_first = (w->idle_first + 1) % w->run->load->depth;
    w->idle_count--;
    return s;
}

/* SLOT's request was answered with RESULT; a flush may follow in the same slot. */
static void slot_answered(struct worker *w, struct slot *s, int result, uint64_t now)
{
    result = slot_compare(w, s, result);
    if (result == 0 && s->state == SLOT_WRITE && worker_flush_is_due(w)) {
        s->state = SLOT_FLUSH;
        s->flush_start_ns = now;
        result = hlfs_submit_flush(w->queue, s);
        if (result == 0) {
            return;
        }
        now = now_ns();
    }
    if (result < 0) {
        worker_fail(w, result, s->offset);
        s->state = SLOT_IDLE;
    } else {
        slot_finish(w, s, now);
    }
    idle_push(w, s);
}

/* Returns the time afterwards. */
static uint64_t slot_submit(struct worker *w, uint64_t now)
{
    const struct load *load = w->run->load;
    struct slot *s = idle_pop(w);
    int r;

    slot_prepare(w, s, now);
    if (s->state == SLOT_READ) {
        r = hlfs_submit_pread(w->queue, s->read_buf, load->request_bytes, s->offset, s);
    } else {
        r = hlfs_submit_pwrite(w->queue, slot_payload(w, s), load->request_bytes,
                               s->offset, 0, s);
    }
    now = now_ns();
    if (r != 0) {
        slot_answered(w, s, r < 0 ? r : 0, now);
    }
    return now;
}

/* False: nothing can be reaped any more. */
static bool queue_reap(struct worker *w, uint64_t *now)
{
    unsigned depth = w->run->load->depth;
    int n = hlfs_queue_reap(w->queue, w->completions, depth, -1);

    *now = now_ns();
    if (n < 0) {
        worker_fail(w, n, 0);
        return false;
    }
    for (int i = 0; i < n; i++) {
        slot_answered(w, w->completions[i].tag, w->completions[i].result, *now);
    }
    return true;
}

static void queue_loop(struct worker *w)
{
    unsigned depth = w->run->load->depth;
    uint64_t now = now_ns();
    bool alive = true;

    while (alive) {
        while (w->idle_count > 0 && worker_goes_on(w, now)) {
            now = slot_submit(w, now);
        }
        if (w->idle_count == depth) {
            break;
        }
        alive = queue_reap(w, &now);
    }
}

/* ---- Threads -------------------------------------------------------------- */

/* All begin at once, when all are there. */
static void gate_wait(struct run *run)
{
    (void)pthread_mutex_lock(&run->gate_lock);
    while (!run->gate_is_open) {
        (void)pthread_cond_wait(&run->gate_opens, &run->gate_lock);
    }
    (void)pthread_mutex_unlock(&run->gate_lock);
}

static void gate_open(struct run *run)
{
    (void)pthread_mutex_lock(&run->gate_lock);
    run->gate_is_open = true;
    (void)pthread_cond_broadcast(&run->gate_opens);
    (void)pthread_mutex_unlock(&run->gate_lock);
}

static void *worker_main(void *opaque)
{
    struct worker *w = opaque;

    gate_wait(w->run);
    if (w->queue) {
        queue_loop(w);
    } else {
        sync_loop(w);
    }
    return NULL;
}

static int worker_init(struct run *run, unsigned index)
{
    const struct load *load = run->load;
    struct worker *w = &run->workers[index];
    uint64_t all = load->range_bytes / load->request_bytes;
    bool own_part = !load->random || load->verify;

    w->run = run;
    w->counter = (uint64_t)index << 48;
    w->seeded_next = index;
    w->first = own_part ? all / load->threads * index : 0;
    w->part = own_part ? all / load->threads : all;
    w->left = UINT64_MAX;
    if (load->count > 0) {
        w->left = load->count / load->threads + (index < load->count % load->threads);
    }
    while (w->random == 0) {
        if (getrandom(&w->random, sizeof(w->random), 0) < 0) {
            return -errno;
        }
    }
    w->slots = calloc(load->depth, sizeof(*w->slots));
    w->idle = calloc(load->depth, sizeof(*w->idle));
    w->completions = calloc(load->depth, sizeof(*w->completions));
    if (!w->slots || !w->idle || !w->completions) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < load->depth; i++) {
        w->slots[i].number = index * load->depth + i;
        if (run->read_bufs) {
            w->slots[i].read_buf = run->read_bufs +
                                   (uint64_t)w->slots[i].number * load->request_bytes;
        }
        idle_push(w, &w->slots[i]);
    }
    return load->depth > 1 ? hlfs_queue_new(load->volume, load->depth, &w->queue) : 0;
}

static void worker_done(struct worker *w)
{
    hlfs_queue_free(w->queue);
    free(w->slots);
    free(w->idle);
    free(w->completions);
}

static int run_init(struct run *run, const struct load *load)
{
    unsigned slots = load->threads * load->depth;
    int r = 0;

    run->load = load;
    if (load->io != LOAD_READ) {
        r = payload_init(&run->payload, load->request_bytes, slots, load->range_bytes,
                         load->verify);
        run->payload.seeded = load->seeded;
        run->payload.seed = load->seed;
    }
    if (r == 0 && load->io != LOAD_WRITE) {
        run->read_bytes = (uint64_t)slots * load->request_bytes;
        run->read_bufs = mmap(NULL, run->read_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (run->read_bufs == MAP_FAILED) {
            run->read_bufs = NULL;
            r = -ENOMEM;
        }
    }
    run->workers = calloc(load->threads, sizeof(*run->workers));
    if (r == 0 && !run->workers) {
        r = -ENOMEM;
    }
    for (unsigned i = 0; i < load->threads && r == 0; i++) {
        r = worker_init(run, i);
    }
    return r;
}

static void run_done(struct run *run)
{
    for (unsigned i = 0; run->workers && i < run->load->threads; i++) {
        worker_done(&run->workers[i]);
    }
    free(run->workers);
    if (run->read_bufs) {
        (void)munmap(run->read_bufs, run->read_bytes);
    }
    payload_done(&run->payload);
}

static int run_start(struct run *run)
{
    int r = 0;

    while (run->started < run->load->threads && r == 0) {
        struct worker *w = &run->workers[run->started];

        r = pthread_create(&w->thread, NULL, worker_main, w);
        run->started += r == 0;
    }
    if (r != 0) {
        run->stop = 1;      /* those that are there end as soon as they begin */
        gate_open(run);
        for (unsigned i = 0; i < run->started; i++) {
            (void)pthread_join(run->workers[i].thread, NULL);
        }
    }
    return -r;
}

static void progress_print(const struct run *run, uint64_t start_ns)
{
    double seconds = (double)(now_ns() - start_ns) / 1e9;
    uint64_t requests = 0;

    for (unsigned i = 0; i < run->load->threads; i++) {
        requests += __atomic_load_n(&run->workers[i].requests, __ATOMIC_RELAXED);
    }
    (void)fprintf(stderr, "\r%.0f s, %.0f requests/s ", seconds,
                  (double)requests / seconds);
}

/* Wait for all; print the progress meanwhile. */
static void run_wait(struct run *run, uint64_t start_ns)
{
    for (unsigned i = 0; i < run->load->threads; i++) {
        for (;;) {
            struct timespec until;

            (void)clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += STEP_NS / 1000000000;
            if (pthread_timedjoin_np(run->workers[i].thread, NULL, &until) == 0) {
                break;
            }
            if (run->load->progress) {
                progress_print(run, start_ns);
            }
        }
    }
    if (run->load->progress) {
        (void)fprintf(stderr, "\r%40s\r", "");
    }
}

static int run_collect(struct run *run, struct load_result *ret)
{
    int r = 0;

    for (unsigned i = 0; i < run->load->threads; i++) {
        struct worker *w = &run->workers[i];

        ret->requests += w->requests;
        ret->writes += w->writes;
        histogram_merge(&ret->latency, &w->latency);
        histogram_merge(&ret->flush_latency, &w->flush_latency);
        if (w->error < 0 && r == 0) {
            r = w->error;
            ret->error_offset = w->error_offset;
        }
    }
    ret->flushes = ret->flush_latency.total;
    ret->buffer_bytes = run->payload.pool_bytes + run->payload.generation_bytes +
                        run->read_bytes;
    return r;
}

/* From the first request to the end of the final flush. */
static int run_measure(struct run *run, load_mark_fn mark, void *opaque,
                       struct load_result *ret)
{
    const struct load *load = run->load;
    uint64_t start_ns, drained_ns;
    int r;

    mark(opaque, false);
    start_ns = now_ns();
    run->deadline_ns = load->time_ns ? start_ns + load->time_ns : UINT64_MAX;
    gate_open(run);
    run_wait(run, start_ns);
    drained_ns = now_ns();
    r = run_collect(run, ret);
    if (r == 0 && load->io != LOAD_READ) {
        r = hlfs_flush(load->volume);
    }
    ret->elapsed_ns = now_ns() - start_ns;
    ret->final_flush_ns = ret->elapsed_ns - (drained_ns - start_ns);
    mark(opaque, true);
    return r;
}

int load_run(const struct load *load, load_mark_fn mark, void *opaque,
             struct load_result *ret)
{
    struct run run = {
        .gate_lock = PTHREAD_MUTEX_INITIALIZER,
        .gate_opens = PTHREAD_COND_INITIALIZER,
    };
    int r = run_init(&run, load);

    memset(ret, 0, sizeof(*ret));
    if (r == 0) {
        r = run_start(&run);
    }
    if (r == 0) {
        r = run_measure(&run, mark, opaque, ret);
    }
    if (r == 0 && load->verify) {
        ret->verified_blocks = payload_verify(&run.payload, load->volume,
                                              load->range_bytes, &ret->error_offset);
    } else if (r == 0 && load->seeded && load->io == LOAD_READ) {
        ret->verified_blocks = (int64_t)(ret->requests * load->request_bytes /
                                         BLOCK_BYTES);
    }
    run_done(&run);
    return r;
}
