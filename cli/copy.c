/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"
#include "interrupt.h"
#include "progress.h"

/* The largest block of a volume: whole blocks are cheapest, at both ends. */
#define ALIGN_BYTES (64u << 10)
#define GAP_BYTES (128u << 10)          /* smaller holes are read along */
#define SECTOR_BYTES 512u
#define LOOK_NS 100000000               /* for signals, and for progress */
#define STUCK_LOOKS 10                  /* so long threads have to end after a signal */

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define ROUND_UP(n, unit) (((n) + (unit) - 1) / (unit) * (unit))

struct piece {
    uint64_t index;
    uint64_t gap_at;            /* a hole from here up to offset */
    uint64_t offset;
    size_t len;
};

struct run {
    const struct copy *copy;
    /* Who holds it takes the next piece, and reads it if the source is ordered. */
    pthread_mutex_t plan;
    uint64_t at;                /* all before is given out */
    uint64_t pieces;
    bool ended;                 /* nothing more is to be given out */

    /* A leaf. */
    pthread_mutex_t lock;
    pthread_cond_t over;        /* the last thread has */
    uint64_t turn;              /* index of the next piece for an ordered sink */
    /* Who waits for its turn waits at index % COPY_THREADS, where nobody else does: each
     * thread has one piece, so no two of them are that far apart. */
    pthread_cond_t turns[COPY_THREADS];
    uint64_t position, moved;
    unsigned running;           /* threads */
    bool stop;
    int error;
    struct copy_result result;

    pthread_t threads[COPY_THREADS];
    unsigned started;
};

bool copy_is_zero(const void *buf, size_t len)
{
    const char *p = buf;

    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* ---- Failing -------------------------------------------------------------- */

/* The first error counts; all threads end. */
static void run_fail(struct run *r, int error, enum copy_side side, uint64_t offset)
{
    (void)pthread_mutex_lock(&r->lock);
    if (!r->stop) {
        r->stop = true;
        r->error = error;
        r->result.side = side;
        r->result.offset = offset;
    }
    for (unsigned i = 0; i < COPY_THREADS; i++) {
        (void)pthread_cond_signal(&r->turns[i]);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

static bool run_stops(struct run *r)
{
    bool stop;

    (void)pthread_mutex_lock(&r->lock);
    stop = r->stop;
    (void)pthread_mutex_unlock(&r->lock);
    return stop;
}

/* ---- Cutting -------------------------------------------------------------- */

/* Where data that begins at BEGIN and goes on to END ends, holes of no worth and all. */
static int data_end(struct run *r, uint64_t begin, uint64_t *end)
{
    const struct copy *c = r->copy;
    uint64_t limit = MIN((begin / COPY_PIECE_BYTES + 1) * COPY_PIECE_BYTES, c->size_bytes);
    uint64_t next, next_end;
    int res;

    for (;;) {
        *end = MIN(ROUND_UP(*end, ALIGN_BYTES), limit);
        if (*end == limit) {
            return 0;
        }
        res = c->source->extent(c->from, *end, &next, &next_end);
        if (res < 0) {
            return res;
        }
        if (next >= limit || next - *end >= GAP_BYTES) {
            return 0;
        }
        *end = next_end;
    }
}

/* 1: *P is the next piece, maybe an empty one behind the last hole; 0: there is none. */
static int piece_plan(struct run *r, struct piece *p)
{
    const struct copy *c = r->copy;
    uint64_t begin = r->at, end = c->size_bytes;
    int res = 0;

    if (r->ended || r->at >= c->size_bytes) {
        return 0;
    }
    if (c->source->extent) {
        res = c->source->extent(c->from, r->at, &begin, &end);
    }
    if (res == 0 && begin < c->size_bytes) {
        begin = begin / ALIGN_BYTES * ALIGN_BYTES;
        begin = begin < r->at ? r->at : begin;
        res = data_end(r, begin, &end);
    } else {
        begin = end = c->size_bytes;
    }
    if (res < 0) {
        run_fail(r, res, COPY_SOURCE, r->at);
        return 0;
    }
    *p = (struct piece){
        .index = r->pieces, .gap_at = r->at, .offset = begin, .len = end - begin,
    };
    r->at = end;
    return 1;
}

/* ---- Reading -------------------------------------------------------------- */

static bool piece_read(struct run *r, struct piece *p, char *buf)
{
    const struct copy *c = r->copy;
    int64_t n = p->len ? c->source->read(c->from, buf, p->len, p->offset) : 0;

    if (n < 0) {
        run_fail(r, (int)n, COPY_SOURCE, p->offset);
        return false;
    }
    if ((size_t)n < p->len) {
        r->ended = true;
        r->result.end_bytes = p->offset + (uint64_t)n;
        p->len = ROUND_UP((size_t)n, SECTOR_BYTES);
        memset(buf + n, 0, p->len - (size_t)n);
    }
    return true;
}

/* False: there is none any more. */
static bool piece_take(struct run *r, struct piece *p, char *buf)
{
    bool ordered = r->copy->source->ordered;
    bool have;

    (void)pthread_mutex_lock(&r->plan);
    have = !run_stops(r) && piece_plan(r, p) == 1;
    if (have) {
        r->pieces++;
        have = !ordered || piece_read(r, p, buf);
    }
    (void)pthread_mutex_unlock(&r->plan);
    return have && (ordered || piece_read(r, p, buf));
}

/* ---- Writing -------------------------------------------------------------- */

static bool turn_wait(struct run *r, uint64_t index)
{
    bool mine;

    (void)pthread_mutex_lock(&r->lock);
    while (r->turn != index && !r->stop) {
        (void)pthread_cond_wait(&r->turns[index % COPY_THREADS], &r->lock);
    }
    mine = !r->stop;
    (void)pthread_mutex_unlock(&r->lock);
    return mine;
}

static void piece_done(struct run *r, const struct piece *p)
{
    uint64_t end = p->offset + p->len;

    (void)pthread_mutex_lock(&r->lock);
    r->position = end > r->position ? end : r->position;
    r->moved += p->len;
    if (r->copy->sink->ordered) {
        r->turn++;
        (void)pthread_cond_signal(&r->turns[r->turn % COPY_THREADS]);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

static bool piece_write(struct run *r, const struct piece *p, const char *buf)
{
    const struct copy *c = r->copy;
    uint64_t at = p->gap_at;
    int res = 0;

    if (c->sink->ordered && !turn_wait(r, p->index)) {
        return false;
    }
    if (c->sink->hole && p->offset > p->gap_at) {
        res = c->sink->hole(c->to, p->offset - p->gap_at, p->gap_at);
    }
    if (res == 0 && p->len > 0) {
        at = p->offset;
        res = c->sink->write(c->to, buf, p->len, p->offset);
    }
    if (res < 0) {
        run_fail(r, res, COPY_SINK, at);
        return false;
    }
    piece_done(r, p);
    return true;
}

/* ---- Threads -------------------------------------------------------------- */

static void *copy_thread(void *opaque)
{
    struct run *r = opaque;
    struct piece p;
    void *buf;

    if (posix_memalign(&buf, 4096, COPY_PIECE_BYTES) != 0) {
        buf = NULL;
        run_fail(r, -ENOMEM, COPY_SOURCE, 0);
    }
    while (buf && piece_take(r, &p, buf) && piece_write(r, &p, buf)) {
    }
    free(buf);
    (void)pthread_mutex_lock(&r->lock);
    if (--r->running == 0) {
        (void)pthread_cond_signal(&r->over);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void threads_start(struct run *r)
{
    uint64_t most = r->copy->size_bytes / COPY_PIECE_BYTES + 1;
    int res = 0;

    while (r->started < MIN(most, (uint64_t)COPY_THREADS) && res == 0) {
        (void)pthread_mutex_lock(&r->lock);
        res = pthread_create(&r->threads[r->started], NULL, copy_thread, r);
        r->started += res == 0;
        r->running += res == 0;
        (void)pthread_mutex_unlock(&r->lock);
    }
    if (r->started == 0) {
        r->error = -res;        /* with fewer it is slower */
    }
}

static void look_wait(struct run *r)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&r->over, &r->lock, &until);
}

/* Until all threads have ended.  False: they do not. */
static bool threads_watch(struct run *r)
{
    struct progress progress;
    unsigned looks = 0;
    bool stuck = false;

    progress_begin(&progress, r->copy->what, r->copy->size_bytes);
    (void)pthread_mutex_lock(&r->lock);
    while (r->running > 0 && !stuck) {
        uint64_t position = r->position, moved = r->moved;

        (void)pthread_mutex_unlock(&r->lock);
        progress_show(&progress, position, moved);
        if (interrupt_seen()) {
            run_fail(r, -EINTR, COPY_SIGNAL, position);
            stuck = looks++ > STUCK_LOOKS;
        }
        (void)pthread_mutex_lock(&r->lock);
        if (r->running > 0) {
            look_wait(r);
        }
    }
    (void)pthread_mutex_unlock(&r->lock);
    progress_end(&progress);
    return !stuck;
}

/* ---- The whole ------------------------------------------------------------ */

static void run_free(struct run *r)
{
    for (unsigned i = 0; i < COPY_THREADS; i++) {
        (void)pthread_cond_destroy(&r->turns[i]);
    }
    (void)pthread_cond_destroy(&r->over);
    (void)pthread_mutex_destroy(&r->lock);
    (void)pthread_mutex_destroy(&r->plan);
    free(r);
}

int copy_run(const struct copy *c, struct copy_result *ret)
{
    struct run *r = calloc(1, sizeof(*r));
    int error;

    *ret = (struct copy_result){ .end_bytes = c->size_bytes };
    if (!r) {
        return -ENOMEM;
    }
    r->copy = c;
    r->result = *ret;
    (void)pthread_mutex_init(&r->plan, NULL);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->over, NULL);
    for (unsigned i = 0; i < COPY_THREADS; i++) {
        (void)pthread_cond_init(&r->turns[i], NULL);
    }
    interrupt_begin();
    threads_start(r);
    if (!threads_watch(r)) {
        *ret = r->result;
        ret->stuck = true;
        return -EINTR;      /* R is theirs */
    }
    for (unsigned i = 0; i < r->started; i++) {
        (void)pthread_join(r->threads[i], NULL);
    }
    interrupt_end();
    error = r->error;
    *ret = r->result;
    run_free(r);
    return error;
}
