/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor's door, the background thread, and who drives the log's lane.
 *
 * Completions of the log's lane are collected by one thread at a time, the *driver*.
 * A thread that waits in a synchronous call (or in a queue whose unfinished requests
 * all wait for the log) drives itself, so that a flush costs no change of thread; the
 * background thread drives whenever operations are in flight and nobody else does.
 * A driver that leaves hands over by waking the background thread.
 */
#include "volume/private.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#define WORK_STEPS_MAX 16       /* background steps before looking at completions */

bool monitor_forked(const struct hlfs *v)
{
    return v->fork_guard && *v->fork_guard == 0;
}

void monitor_enter(struct hlfs *v)
{
    (void)pthread_mutex_lock(&v->mutex);
}

/* Bring everything that this turn touched to where it goes on by itself. */
void monitor_settle(struct hlfs *v)
{
    if (v->run_writers && v->log) {
        writers_run(v);
    }
    if (v->pump && v->log) {
        v->pump = false;
        v->kick |= log_pump(v->log);
        if (v->run_writers) {       /* room came */
            writers_run(v);
            v->kick |= log_pump(v->log);
        }
        if (log_error(v->log) != 0 || !list_empty(&v->writers)) {
            monitor_wake(v);
        }
    }
}

/*
 * Leave.  What was queued for the log's lane is kicked by its driver, and by nobody
 * else: by the caller that drives, or else by the background thread, which also makes
 * the copies that are left.
 */
void monitor_leave(struct hlfs *v)
{
    monitor_settle(v);
    if (v->kick && v->driver == DRIVER_CALLER) {
        store_wake(v->lane);
    }
    if ((v->kick && v->driver != DRIVER_CALLER) || !list_empty(&v->copies)) {
        monitor_wake(v);
    }
    (void)pthread_mutex_unlock(&v->mutex);
}

void monitor_dispatch(struct list *done)
{
    struct list *node;

    while ((node = list_pop(done)) != NULL) {
        struct store_op *op = list_entry(node, struct store_op, node);

        op->done(op, op->res);
    }
}

void monitor_submit(struct hlfs *v, struct store_op *op)
{
    v->background_ops++;
    v->kick = true;
    store_submit(v->lane, op);
}

void monitor_done(struct hlfs *v)
{
    assert(v->background_ops > 0);
    v->background_ops--;
}

void monitor_wake(struct hlfs *v)
{
    v->background_again = true;
    if (v->manual || !v->thread_started) {
        return;
    }
    if (v->background == BG_IN_STORE) {
        store_wake(v->lane);
    } else if (v->background == BG_IN_COND) {
        (void)pthread_cond_signal(&v->cond);
    }
}

static bool lane_in_use(const struct hlfs *v)
{
    return v->background_ops > 0 || (v->log && !log_idle(v->log));
}

/* ---- Driving -------------------------------------------------------------- */

/* Take what the log's lane has completed.  The caller is the driver; outside. */
static int drive_collect(struct hlfs *v)
{
    struct list done;
    int n;

    list_init(&done);
    n = store_collect(v->lane, &done);
    if (n > 0) {
        monitor_enter(v);
        monitor_dispatch(&done);
        v->pump = true;
        monitor_settle(v);
        v->kick = false;
        monitor_leave(v);
        store_kick(v->lane);
    }
    return n;
}

/* Copies of requests that waited in line, one at a time. */
static bool copies_work(struct hlfs *v)
{
    struct list *node = list_pop(&v->copies);
    struct request *r;

    if (!node) {
        return false;
    }
    r = list_entry(node, struct request, node);
    monitor_leave(v);
    write_copy(r);
    monitor_enter(v);
    if (write_commit(r) == 1) {
        request_finish(r, r->result);
    }
    return true;
}

/* Time: marks, fences, retries, requests that have waited too long.  Inside. */
static void tick(struct hlfs *v, uint64_t now)
{
    uint64_t next = now + 1000000;

    if (v->log) {
        next = MIN(next, log_tick(v->log, now));
        next = MIN(next, writers_expire(v, now));
        checkpoint_tick(v);
        removal_prepare_tick(v, now);
        v->pump = true;
    }
    v->next_tick_us = next;
}

/* Background steps, each short; true if there may be more.  Inside. */
static bool background_work(struct hlfs *v)
{
    uint64_t now = clock_monotonic_us(v->clock);
    bool more = false;

    if (now >= v->next_tick_us) {
        tick(v, now);
    }
    for (int i = 0; i < WORK_STEPS_MAX; i++) {
        more = copies_work(v) || checkpoint_work(v) || removal_work(v);
        monitor_settle(v);
        if (!more) {
            break;
        }
        /* Let those in who wait at the door. */
        (void)pthread_mutex_unlock(&v->mutex);
        (void)pthread_mutex_lock(&v->mutex);
    }
    if (v->run_writers) {
        monitor_settle(v);
        more = true;
    }
    return more;
}

/* A requested early tick: something changed that has a deadline. */
static uint64_t time_left(const struct hlfs *v)
{
    uint64_t now = clock_monotonic_us(v->clock);

    return v->next_tick_us > now ? v->next_tick_us - now : 0;
}

static void cond_wait_us(struct hlfs *v, uint64_t us)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(us / 1000000);
    t.tv_nsec += (long)(us % 1000000) * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&v->cond, &v->mutex, &t);
}

/*
 * One turn of the background thread, or of whoever drives a manual volume: work, kick,
 * collect; sleep up to TIMEOUT_US if there was nothing to do.
 */
bool volume_turn(struct hlfs *v, int64_t timeout_us)
{
    bool more, drive;
    uint64_t left;

    monitor_enter(v);
    v->background_again = false;
    more = background_work(v);
    monitor_settle(v);
    drive = v->driver == DRIVER_NONE && (lane_in_use(v) || v->manual);
    left = time_left(v);
    if (timeout_us >= 0) {
        left = MIN(left, (uint64_t)timeout_us);
    }
    if (more || v->background_again) {
        left = 0;
    }
    if (!drive) {
        if (v->kick && v->driver == DRIVER_CALLER) {
            store_wake(v->lane);
        }
        if (left > 0 && !v->stopping) {
            v->background = BG_IN_COND;
            cond_wait_us(v, left);
            v->background = BG_RUNNING;
        }
        (void)pthread_mutex_unlock(&v->mutex);
        return more;
    }
    v->driver = DRIVER_BACKGROUND;
    v->background = BG_IN_STORE;        /* from here on wake by the lane */
    v->kick = false;
    (void)pthread_mutex_unlock(&v->mutex);
    store_kick(v->lane);
    if (drive_collect(v) > 0) {
        more = true;
    } else if (left > 0) {
        (void)store_wait(v->lane, (int64_t)left);
        more |= drive_collect(v) > 0;
    }
    (void)pthread_mutex_lock(&v->mutex);
    v->driver = DRIVER_NONE;
    v->background = BG_RUNNING;
    (void)pthread_mutex_unlock(&v->mutex);
    return more;
}

/* Be the driver on behalf of Q until one round of completions has come. */
static void drive_for(struct hlfs *v, struct hlfs_queue *q, int64_t timeout_us)
{
    bool finished;

    store_kick(v->lane);
    monitor_enter(v);
    finished = !list_empty(&q->finished);
    monitor_leave(v);
    if (!finished && drive_collect(v) == 0) {
        (void)store_wait(v->lane, timeout_us);
        (void)drive_collect(v);
    }
    store_kick(v->lane);        /* what others have submitted meanwhile */
    monitor_enter(v);
    v->driver = DRIVER_NONE;
    if (lane_in_use(v) || v->kick) {
        monitor_wake(v);
    }
    monitor_leave(v);
}

/*
 * Wait for Q.  If all its unfinished requests wait for the log and nobody drives, be
 * the driver; else sleep on the queue's own lane, where request_finish() wakes it.
 */
void monitor_wait(struct hlfs *v, struct hlfs_queue *q, int64_t timeout_us)
{
    bool drive;

    if (v->manual) {
        (void)volume_turn(v, timeout_us);
        return;
    }
    monitor_enter(v);
    if (!list_empty(&q->finished)) {
        monitor_leave(v);
        return;
    }
    drive = v->driver == DRIVER_NONE && q->lane_ops == 0 && v->log;
    if (drive) {
        v->driver = DRIVER_CALLER;
        v->kick = false;        /* we do that */
    }
    monitor_leave(v);
    if (drive) {
        drive_for(v, q, timeout_us);
    } else {
        (void)store_wait(q->lane, timeout_us);
    }
}

/* ---- The thread ----------------------------------------------------------- */

static void *background(void *arg)
{
    struct hlfs *v = arg;

    for (;;) {
        bool stop;

        (void)volume_turn(v, -1);
        (void)pthread_mutex_lock(&v->mutex);
        stop = v->stopping;
        (void)pthread_mutex_unlock(&v->mutex);
        if (stop) {
            return NULL;
        }
    }
}

/* Its signals are the host's: the thread takes none. */
int monitor_start(struct hlfs *v)
{
    pthread_condattr_t attr;
    sigset_t all, old;
    int res;

    if (v->manual || !v->log) {
        return 0;
    }
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    res = pthread_cond_init(&v->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (res != 0) {
        return -res;
    }
    v->cond_made = true;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    v->thread_started = true;
    res = pthread_create(&v->thread, NULL, background, v);
    if (res != 0) {
        v->thread_started = false;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -res;
}

void monitor_stop(struct hlfs *v)
{
    if (!v->thread_started) {
        return;
    }
    (void)pthread_mutex_lock(&v->mutex);
    v->stopping = true;
    monitor_wake(v);
    (void)pthread_mutex_unlock(&v->mutex);
    (void)pthread_join(v->thread, NULL);
    v->thread_started = false;
}
