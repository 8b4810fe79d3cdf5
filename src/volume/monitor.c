/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor's door, the background thread, and who drives the log's lane.
 *
 * Completions of the log's lane are collected by one thread at a time, the *driver*.
 * A thread that waits in a synchronous call (or in a queue whose unfinished requests
 * all wait for the log) drives itself, so that a flush costs no change of thread; the
 * background thread drives whenever operations are in flight and nobody else does.
 * A driver that leaves hands over to a thread that waits for the log anyway, else to the
 * background thread.
 *
 *   DRIVE-1  While operations of the log's lane are in flight, somebody drives, or the
 *            background thread is awake, or a thread was told to drive and has not
 *            left: what it was told it does, or tells the next (monitor_away()).
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
        monitor_pump_now(v);
    }
    if (v->pump && v->log) {
        v->pump = v->pump_later = false;
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

void monitor_pump(struct hlfs *v)
{
    v->pump |= !v->pump_later && log_wants_pump(v->log);
}

/*
 * What was queued for the log's lane is kicked by its driver, and by nobody else: by the
 * caller that drives, or else by the background thread, which also makes the copies that
 * are left.
 */
static void hand_on(struct hlfs *v)
{
    if (v->kick && v->driver == DRIVER_CALLER) {
        store_wake(v->lane);
    }
    if ((v->kick && v->driver != DRIVER_CALLER) || !list_empty(&v->copies)) {
        monitor_wake(v);
    }
}

void monitor_leave(struct hlfs *v)
{
    monitor_settle(v);
    hand_on(v);
    (void)pthread_mutex_unlock(&v->mutex);
}

void monitor_leave_later(struct hlfs *v)
{
    if (v->pump || v->run_writers || v->kick || v->manual || !list_empty(&v->copies)) {
        monitor_leave(v);
    } else {
        (void)pthread_mutex_unlock(&v->mutex);
    }
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

/*
 * Take what the log's lane has completed.  The caller is the driver, for Q or (NULL) the
 * background thread.  Called outside, returns inside: what came of it is to be kicked.
 */
static int drive_collect(struct hlfs *v, struct hlfs_queue *q)
{
    struct list done;
    int n;

    list_init(&done);
    n = store_collect(v->lane, &done);
    monitor_enter(v);
    if (q) {
        q->rest = QUEUE_LOOKING;
    }
    if (n > 0) {
        monitor_dispatch(&done);
        v->pump = true;
        monitor_settle(v);
    }
    if (q) {
        q->rest = QUEUE_DRIVING;
    }
    if (!list_empty(&v->copies)) {
        monitor_wake(v);
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
    monitor_pump_now(v);
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
        removal_tick(v, now);
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

static void cond_wait_us(struct hlfs *v, pthread_cond_t *cond, uint64_t us)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(us / 1000000);
    t.tv_nsec += (long)(us % 1000000) * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(cond, &v->mutex, &t);
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
            cond_wait_us(v, &v->cond, left);
            v->background = BG_RUNNING;
        }
        (void)pthread_mutex_unlock(&v->mutex);
        return more;
    }
    v->driver = DRIVER_BACKGROUND;
    v->background = BG_IN_STORE;        /* from here on wake by the lane */
    v->kick = false;
    (void)pthread_mutex_unlock(&v->mutex);
    (void)store_wait(v->lane, (int64_t)left);
    more |= drive_collect(v, NULL) > 0;
    v->driver = DRIVER_NONE;
    v->background = BG_RUNNING;
    (void)pthread_mutex_unlock(&v->mutex);
    return more;
}

/* Of those who wait for the log: one of whom nothing is finished, or he would leave. */
static struct hlfs_queue *next_driver(const struct hlfs *v)
{
    struct hlfs_queue *q;

    list_for_each(q, &v->resting, resting_node) {
        if (list_empty(&q->finished)) {
            return q;
        }
    }
    return NULL;
}

/*
 * Give the driver's role up.  If there is work left for one, somebody who waits for the
 * log anyway takes it, so that this costs no further change of thread.
 */
static void drive_end(struct hlfs *v)
{
    struct hlfs_queue *q = next_driver(v);

    v->driver = DRIVER_NONE;
    if (!lane_in_use(v) && !v->kick) {
        return;
    }
    if (q) {
        q->told = true;
        (void)pthread_cond_signal(&q->cond);
    } else {
        monitor_wake(v);
    }
}

/* Be the driver for Q until something of it is finished, or the time is up.  Called
 * inside, returns inside. */
static void drive_for(struct hlfs *v, struct hlfs_queue *q, int64_t timeout_us)
{
    uint64_t until = clock_monotonic_us(v->clock) + (uint64_t)timeout_us;
    bool timed_out = false;

    v->driver = DRIVER_CALLER;
    q->told = false;
    q->rest = QUEUE_DRIVING;
    while (list_empty(&q->finished) && !timed_out) {
        v->kick = false;        /* by store_wait() */
        (void)pthread_mutex_unlock(&v->mutex);
        if (timeout_us >= 0) {
            uint64_t now = clock_monotonic_us(v->clock);

            timeout_us = until > now ? (int64_t)(until - now) : 0;
        }
        timed_out = store_wait(v->lane, timeout_us) == 0 && timeout_us >= 0;
        drive_collect(v, q);
    }
    q->rest = QUEUE_LOOKING;
    drive_end(v);
}

/* Sleep until something of Q is finished, or Q is told to drive.  Called inside, returns
 * inside. */
static void rest_on_cond(struct hlfs *v, struct hlfs_queue *q, int64_t timeout_us)
{
    q->rest = QUEUE_ON_COND;
    q->told = false;
    list_push(&v->resting, &q->resting_node);
    if (timeout_us < 0) {
        while (list_empty(&q->finished) && !q->told) {
            (void)pthread_cond_wait(&q->cond, &v->mutex);
        }
    } else if (list_empty(&q->finished)) {
        cond_wait_us(v, &q->cond, (uint64_t)timeout_us);
    }
    list_remove(&q->resting_node);
    q->rest = QUEUE_LOOKING;
}

/*
 * Wait for Q.  If all its unfinished requests wait for the log and nobody drives, be
 * the driver; else sleep where the one that finishes a request finds us.
 */
void monitor_wait(struct hlfs *v, struct hlfs_queue *q, int64_t timeout_us)
{
    if (v->manual) {
        monitor_leave(v);
        store_kick(q->lane);
        (void)volume_turn(v, timeout_us);
        monitor_enter(v);
        return;
    }
    monitor_settle(v);
    if (!list_empty(&q->finished)) {
        hand_on(v);
        return;
    }
    if (q->lane_ops > 0 || !v->log) {
        assert(!q->told);       /* who was ON_COND has nothing on his lane: DRIVE-1 */
        q->rest = QUEUE_ON_LANE;
        hand_on(v);
        (void)pthread_mutex_unlock(&v->mutex);
        (void)store_wait(q->lane, timeout_us);
        monitor_enter(v);
        q->rest = QUEUE_LOOKING;
    } else if (v->driver == DRIVER_NONE) {
        if (!list_empty(&v->copies)) {
            monitor_wake(v);        /* Q may be waiting for one of them */
        }
        drive_for(v, q, timeout_us);
    } else {
        hand_on(v);
        rest_on_cond(v, q, timeout_us);
    }
}

/*
 * Q's thread goes its way.  It may have been told to drive and leave all the same: by the
 * time it woke up, a request of its own was finished, or its time was up.
 */
void monitor_away(struct hlfs *v, struct hlfs_queue *q)
{
    q->rest = QUEUE_AWAY;
    if (q->told && v->driver == DRIVER_NONE) {
        drive_end(v);           /* DRIVE-1 */
    }
    q->told = false;
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

/* Its time-outs go by the monotonic clock. */
int monitor_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int res;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    res = pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    return -res;
}

/* Its signals are the host's: the thread takes none. */
int monitor_start(struct hlfs *v)
{
    sigset_t all, old;
    int res;

    if (v->manual || !v->log) {
        return 0;
    }
    res = monitor_cond_init(&v->cond);
    if (res < 0) {
        return res;
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
