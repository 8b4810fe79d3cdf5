/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lane of the HDFS store: hands operations to the client's loop thread, and what has
 * completed there back.
 *
 *   submit --> queue --kick--> (loop thread: hdfs_file.c) --> done --collect-->
 *
 * Everything is under one lock, held for some list operations only.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>

struct hdfs_lane {
    struct store_lane lane;
    struct hdfs_store *s;       /* borrowed */
    struct loop_task task;
    int fd;                     /* owned */

    pthread_mutex_t lock;       /* guards the rest */
    pthread_cond_t cond;
    struct list queue;          /* store_ops that were submitted */
    struct list done;           /* store_ops to be collected */
    bool posted;                /* the task is with the loop */
    bool woken;
    bool polled;                /* somebody has asked for the fd */
    bool signalled;             /* the fd is readable */
};

static struct hdfs_lane *lane_of(struct store_lane *lane)
{
    return container_of(lane, struct hdfs_lane, lane);
}

/* ---- In the loop thread -------------------------------------------------------- */

static void lane_run(struct loop_task *t)
{
    struct hdfs_lane *lane = container_of(t, struct hdfs_lane, task);
    struct hdfs_store *s = lane->s;
    struct list queue;

    list_init(&queue);
    (void)pthread_mutex_lock(&lane->lock);
    list_splice(&queue, &lane->queue);
    lane->posted = false;
    (void)pthread_mutex_unlock(&lane->lock);
    /* With the last op's end the lane may be gone. */
    while (!list_empty(&queue)) {
        struct store_op *op = list_entry(list_pop(&queue), struct store_op, node);

        hdfs_file_start(s, lane, op);
    }
}

/* Under the lock. */
static void lane_signal(struct hdfs_lane *lane)
{
    (void)pthread_cond_signal(&lane->cond);
    if (lane->polled && !lane->signalled) {
        lane->signalled = true;
        (void)eventfd_write(lane->fd, 1);
    }
}

void hdfs_lane_end(struct hdfs_lane *lane, struct store_op *op, int res)
{
    (void)pthread_mutex_lock(&lane->lock);
    op->res = res;
    list_push(&lane->done, &op->node);
    lane_signal(lane);
    (void)pthread_mutex_unlock(&lane->lock);
}

/* ---- In the callers' threads --------------------------------------------------- */

struct store_lane *hdfs_lane_new(struct store *base)
{
    struct hdfs_lane *lane = calloc(1, sizeof(*lane));
    pthread_condattr_t attr;

    if (!lane) {
        errno = ENOMEM;
        return NULL;
    }
    lane->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lane->fd < 0) {
        free(lane);
        return NULL;
    }
    lane->lane.store = base;
    lane->s = hdfs_of(base);
    lane->task.run = lane_run;
    (void)pthread_mutex_init(&lane->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&lane->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    list_init(&lane->queue);
    list_init(&lane->done);
    return &lane->lane;
}

static int nothing(void *opaque)
{
    (void)opaque;
    return 0;
}

void hdfs_lane_free(struct store_lane *base)
{
    struct hdfs_lane *lane = lane_of(base);

    /* The loop may still be at the end of lane_run() or hdfs_lane_end(). */
    (void)loop_run(hdfs_loop(lane->s->client), nothing, NULL);
    (void)close(lane->fd);
    (void)pthread_cond_destroy(&lane->cond);
    (void)pthread_mutex_destroy(&lane->lock);
    free(lane);
}

int hdfs_lane_fd(struct store_lane *base)
{
    struct hdfs_lane *lane = lane_of(base);

    (void)pthread_mutex_lock(&lane->lock);
    lane->polled = true;
    if ((!list_empty(&lane->done) || lane->woken) && !lane->signalled) {
        lane->signalled = true;
        (void)eventfd_write(lane->fd, 1);
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return lane->fd;
}

void hdfs_lane_submit(struct store_lane *base, struct store_op *op)
{
    struct hdfs_lane *lane = lane_of(base);

    (void)pthread_mutex_lock(&lane->lock);
    list_push(&lane->queue, &op->node);
    (void)pthread_mutex_unlock(&lane->lock);
}

void hdfs_lane_kick(struct store_lane *base)
{
    struct hdfs_lane *lane = lane_of(base);
    bool post;

    (void)pthread_mutex_lock(&lane->lock);
    post = !lane->posted && !list_empty(&lane->queue);
    lane->posted |= post;
    (void)pthread_mutex_unlock(&lane->lock);
    if (post) {
        loop_post(hdfs_loop(lane->s->client), &lane->task);
    }
}

int hdfs_lane_collect(struct store_lane *base, struct list *done)
{
    struct hdfs_lane *lane = lane_of(base);
    struct list *node;
    eventfd_t value;
    int n = 0;

    (void)pthread_mutex_lock(&lane->lock);
    if (lane->signalled) {
        lane->signalled = false;
        (void)eventfd_read(lane->fd, &value);
    }
    while ((node = list_pop(&lane->done)) != NULL) {
        list_push(done, node);
        n++;
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return n;
}

static struct timespec after(int64_t timeout_us)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += timeout_us / 1000000;
    ts.tv_nsec += timeout_us % 1000000 * 1000;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return ts;
}

int hdfs_lane_wait(struct store_lane *base, int64_t timeout_us)
{
    struct hdfs_lane *lane = lane_of(base);
    struct timespec end = { 0 };
    int r = 0, ready;

    hdfs_lane_kick(base);
    if (timeout_us >= 0) {
        end = after(timeout_us);
    }
    (void)pthread_mutex_lock(&lane->lock);
    while (list_empty(&lane->done) && !lane->woken && r == 0) {
        r = timeout_us < 0 ? pthread_cond_wait(&lane->cond, &lane->lock) :
                             pthread_cond_timedwait(&lane->cond, &lane->lock, &end);
    }
    ready = !list_empty(&lane->done) || lane->woken;
    if (list_empty(&lane->done)) {
        lane->woken = false;
    }
    (void)pthread_mutex_unlock(&lane->lock);
    return ready;
}

void hdfs_lane_wake(struct store_lane *base)
{
    struct hdfs_lane *lane = lane_of(base);

    (void)pthread_mutex_lock(&lane->lock);
    lane->woken = true;
    lane_signal(lane);
    (void)pthread_mutex_unlock(&lane->lock);
}
