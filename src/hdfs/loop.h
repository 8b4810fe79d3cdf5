/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop.h - the thread in which all of the HDFS client runs.
 *
 * One epoll thread with tasks posted to it, timers and file descriptors.  Everything
 * the client owns is touched by this thread only, so its code needs no locks and
 * reads as if single-threaded; callbacks must not block.  What would block
 * (getaddrinfo) runs on helper threads.  Knows nothing of HDFS.
 *
 * Threads: loop_post(), loop_run() and loop_inside() may be called by any thread,
 * loop_new() and loop_free() by one outside; all other functions by the loop thread
 * only.  The threads made here block all signals.
 *
 * All structs are intrusive and the caller's; those that are not in use are zero.
 * Zeroed memory needs no initialisation besides the callback (and fd).
 *
 * Errors are -errno.
 */
#ifndef HLFS_HDFS_LOOP_H
#define HLFS_HDFS_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/list.h"

struct loop;

/* Start the thread. */
int loop_new(struct loop **ret);

/*
 * End the thread and join it.  Tasks that were posted before are run; timers, fds
 * and resolutions that are left are forgotten without a call.  NULL is fine.
 */
void loop_free(struct loop *l);

/* The caller is the loop thread. */
bool loop_inside(const struct loop *l);

/* ---- Tasks --------------------------------------------------------------- */

/* Not to be touched between loop_post() and run(); run() may free or post it again. */
struct loop_task {
    void (*run)(struct loop_task *t);
    struct list node;
};

/* Have T run in the loop thread, after all that was posted before. */
void loop_post(struct loop *l, struct loop_task *t);

/* Run CALL(OPAQUE) in the loop thread and wait for its result; from the loop thread
 * itself it is called at once. */
int loop_run(struct loop *l, int (*call)(void *opaque), void *opaque);

/* ---- Time and timers ----------------------------------------------------- */

/* Monotonic time, read once per turn of the loop. */
uint64_t loop_now_us(const struct loop *l);

struct loop_timer {
    void (*fire)(struct loop_timer *t);     /* disarmed before it is called */
    uint64_t at_us;
    bool armed;                             /* read only */

    /* loop's own: the node of a pairing heap */
    struct loop_timer *child, *next, *prev;
};

/* Fire T once, at AT_US (loop_now_us() + a wait; the past is at the next turn).  An
 * armed timer is moved. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at_us);
void loop_timer_stop(struct loop *l, struct loop_timer *t);     /* idle is fine */

/* ---- File descriptors ---------------------------------------------------- */

struct loop_fd {
    int fd;
    void (*ready)(struct loop_fd *f, uint32_t events);  /* EPOLL*, level-triggered */
    uint32_t events;                                        /* loop's own */
};

/* EVENTS: EPOLLIN and EPOLLOUT; errors and hang-ups are always told. */
int loop_fd_add(struct loop *l, struct loop_fd *f, uint32_t events);
void loop_fd_set(struct loop *l, struct loop_fd *f, uint32_t events);
/* Before the fd is closed.  ready() is not called any more, not even in this turn. */
void loop_fd_del(struct loop *l, struct loop_fd *f);

/* ---- Names --------------------------------------------------------------- */

#define LOOP_ADDRS_MAX 8

struct loop_addr {
    struct sockaddr_storage sa;
    socklen_t len;
};

struct loop_resolve {
    const char *host;           /* borrowed until loop_resolve() returns */
    uint16_t port;
    /* In the loop thread, never from within loop_resolve().  RES: 0; -ENOENT, no such
     * host; -EAGAIN, the name service does not answer now; other -errno. */
    void (*done)(struct loop_resolve *r, int res);
    struct loop_addr addrs[LOOP_ADDRS_MAX];
    unsigned addr_count;        /* with RES 0 at least 1 */

    struct loop_job *job;       /* loop's own; NULL when nothing is under way */
};

/* Addresses of a host for TCP.  getaddrinfo() has its own idea of time: the caller
 * holds a timer and cancels. */
int loop_resolve(struct loop *l, struct loop_resolve *r);
void loop_resolve_cancel(struct loop *l, struct loop_resolve *r);   /* idle is fine */

#endif
