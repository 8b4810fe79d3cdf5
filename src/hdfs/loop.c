/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "hdfs/loop_private.h"

/* Events taken from the kernel at a time. */
#define EVENTS_MAX 64

struct loop {
    pthread_t thread;
    int epoll_fd;
    int wake_fd;                    /* an eventfd: tasks were posted, or stop */
    uint64_t now_us;
    struct loop_timer *timers;      /* root of a pairing heap, the earliest; or NULL */
    struct loop_resolver *resolver;

    /* The events of this turn, so that loop_fd_del() can take its own back. */
    struct epoll_event events[EVENTS_MAX];
    int event_count;

    pthread_mutex_t lock;           /* guards all below */
    struct list tasks;
    bool awake;                     /* wake_fd is readable, exactly while it is set */
    bool stop;
};

/* ---- Timers -------------------------------------------------------------- */

/*
 * A pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986): setting a timer needs
 * no memory and cannot fail.  prev is the parent of a first child, else the sibling
 * before it.
 */
static struct loop_timer *heap_meld(struct loop_timer *a, struct loop_timer *b)
{
    if (!a || !b) {
        return a ? a : b;
    }
    if (b->at_us < a->at_us) {
        struct loop_timer *swap = a;

        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next) {
        b->next->prev = b;
    }
    b->prev = a;
    a->child = b;
    return a;
}

/* One heap of a list of siblings: pair them from the left, then join the pairs. */
static struct loop_timer *heap_join(struct loop_timer *first)
{
    struct loop_timer *pairs = NULL, *root = NULL;

    while (first) {
        struct loop_timer *a = first, *b = first->next;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) {
            b->next = b->prev = NULL;
        }
        a = heap_meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct loop_timer *rest = pairs->next;

        pairs->next = NULL;
        root = heap_meld(root, pairs);
        pairs = rest;
    }
    return root;
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
    struct loop_timer *below;

    if (!t->armed) {
        return;
    }
    below = heap_join(t->child);
    if (l->timers == t) {
        l->timers = below;
    } else {
        if (t->prev->child == t) {
            t->prev->child = t->next;
        } else {
            t->prev->next = t->next;
        }
        if (t->next) {
            t->next->prev = t->prev;
        }
        l->timers = heap_meld(l->timers, below);
    }
    t->child = t->next = t->prev = NULL;
    t->armed = false;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at_us)
{
    loop_timer_stop(l, t);
    /* Not in the past: one that sets itself anew must not keep run_timers() busy. */
    t->at_us = MAX(at_us, l->now_us + 1);
    t->armed = true;
    l->timers = heap_meld(l->timers, t);
}

static void run_timers(struct loop *l)
{
    while (l->timers && l->timers->at_us <= l->now_us) {
        struct loop_timer *t = l->timers;

        loop_timer_stop(l, t);
        t->fire(t);
    }
}

uint64_t loop_now_us(const struct loop *l)
{
    return l->now_us;
}

/* ---- File descriptors ---------------------------------------------------- */

static int epoll_change(struct loop *l, int what, struct loop_fd *f, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = f };

    if (epoll_ctl(l->epoll_fd, what, f->fd, &e) < 0) {
        return -errno;
    }
    f->events = events;
    return 0;
}

int loop_fd_add(struct loop *l, struct loop_fd *f, uint32_t events)
{
    return epoll_change(l, EPOLL_CTL_ADD, f, events);
}

void loop_fd_set(struct loop *l, struct loop_fd *f, uint32_t events)
{
    if (f->events != events) {
        /* Fails only for an fd that is not there, which is our mistake. */
        int r _unused_ = epoll_change(l, EPOLL_CTL_MOD, f, events);

        assert(r == 0);
    }
}

void loop_fd_del(struct loop *l, struct loop_fd *f)
{
    (void)epoll_change(l, EPOLL_CTL_DEL, f, 0);
    for (int i = 0; i < l->event_count; i++) {
        if (l->events[i].data.ptr == f) {
            l->events[i].data.ptr = NULL;
        }
    }
}

static void run_fds(struct loop *l)
{
    for (int i = 0; i < l->event_count; i++) {
        struct loop_fd *f = l->events[i].data.ptr;

        if (f) {
            f->ready(f, l->events[i].events);
        }
    }
    l->event_count = 0;
}

/* ---- Tasks --------------------------------------------------------------- */

static void wake_locked(struct loop *l)
{
    uint64_t one = 1;

    if (!l->awake) {
        l->awake = true;
        (void)!write(l->wake_fd, &one, sizeof(one));
    }
}

void loop_post(struct loop *l, struct loop_task *t)
{
    (void)pthread_mutex_lock(&l->lock);
    list_push(&l->tasks, &t->node);
    wake_locked(l);
    (void)pthread_mutex_unlock(&l->lock);
}

/* Take what was posted up to now; false: it is time to stop. */
static bool take_tasks(struct loop *l, struct list *ret)
{
    uint64_t count;
    bool stop;

    list_init(ret);
    (void)pthread_mutex_lock(&l->lock);
    if (l->awake) {
        (void)!read(l->wake_fd, &count, sizeof(count));
        l->awake = false;
    }
    list_splice(ret, &l->tasks);
    stop = l->stop;
    (void)pthread_mutex_unlock(&l->lock);
    return !stop;
}

/* False: it is time to stop, and there is nothing left that was posted. */
static bool run_tasks(struct loop *l)
{
    struct list tasks, *node;
    bool go_on, some;

    do {
        go_on = take_tasks(l, &tasks);
        some = !list_empty(&tasks);
        while ((node = list_pop(&tasks))) {
            struct loop_task *t = list_entry(node, struct loop_task, node);

            t->run(t);
        }
    } while (!go_on && some);
    return go_on;
}

bool loop_inside(const struct loop *l)
{
    return pthread_equal(pthread_self(), l->thread);
}

struct run {
    struct loop_task task;
    int (*call)(void *opaque);
    void *opaque;
    int res;
    bool over;
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

static void run_call(struct loop_task *t)
{
    struct run *r = container_of(t, struct run, task);
    int res = r->call(r->opaque);

    (void)pthread_mutex_lock(&r->lock);
    r->res = res;
    r->over = true;
    (void)pthread_cond_signal(&r->ended);
    (void)pthread_mutex_unlock(&r->lock);
}

int loop_run(struct loop *l, int (*call)(void *opaque), void *opaque)
{
    struct run r = {
        .task.run = run_call, .call = call, .opaque = opaque,
        .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER,
    };

    if (loop_inside(l)) {
        return call(opaque);
    }
    loop_post(l, &r.task);
    (void)pthread_mutex_lock(&r.lock);
    while (!r.over) {
        (void)pthread_cond_wait(&r.ended, &r.lock);
    }
    (void)pthread_mutex_unlock(&r.lock);
    (void)pthread_cond_destroy(&r.ended);
    (void)pthread_mutex_destroy(&r.lock);
    return r.res;
}

/* ---- The thread ---------------------------------------------------------- */

static int timeout_ms(const struct loop *l)
{
    uint64_t wait_us;

    if (!l->timers) {
        return -1;
    }
    if (l->timers->at_us <= l->now_us + 1) {
        return 0;
    }
    wait_us = l->timers->at_us - l->now_us;
    return (int)MIN(DIV_ROUND_UP(wait_us, 1000), (uint64_t)1 << 30);
}

/* The wake-up is an event whose pointer is NULL: nothing to do but run the tasks. */
static void *loop_main(void *opaque)
{
    struct loop *l = opaque;

    do {
        int n = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, timeout_ms(l));

        l->event_count = MAX(n, 0);
        l->now_us = clock_monotonic_us(&clock_system);
        run_fds(l);
        run_timers(l);
    } while (run_tasks(l));
    return NULL;
}

static int loop_open(struct loop *l)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };

    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        return -errno;
    }
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        return -errno;
    }
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &e) < 0) {
        return -errno;
    }
    l->resolver = loop_resolver_new(l);
    return l->resolver ? 0 : -ENOMEM;
}

static void loop_close(struct loop *l)
{
    loop_resolver_free(l->resolver);
    if (l->wake_fd >= 0) {
        (void)close(l->wake_fd);
    }
    if (l->epoll_fd >= 0) {
        (void)close(l->epoll_fd);
    }
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

int loop_thread_start(pthread_t *ret, void *(*main)(void *), void *opaque)
{
    sigset_t all, old;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(ret, NULL, main, opaque);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int loop_new(struct loop **ret)
{
    struct loop *l = calloc(1, sizeof(*l));
    int r;

    if (!l) {
        return -ENOMEM;
    }
    l->epoll_fd = l->wake_fd = -1;
    (void)pthread_mutex_init(&l->lock, NULL);
    list_init(&l->tasks);
    l->now_us = clock_monotonic_us(&clock_system);
    r = loop_open(l);
    if (r == 0) {
        /* Who posts is after us, but the thread itself looks at l->thread, too. */
        (void)pthread_mutex_lock(&l->lock);
        r = loop_thread_start(&l->thread, loop_main, l);
        (void)pthread_mutex_unlock(&l->lock);
    }
    if (r < 0) {
        loop_close(l);
        return r;
    }
    (void)pthread_setname_np(l->thread, "hlfs-hdfs");
    *ret = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l) {
        return;
    }
    (void)pthread_mutex_lock(&l->lock);
    l->stop = true;
    wake_locked(l);
    (void)pthread_mutex_unlock(&l->lock);
    (void)pthread_join(l->thread, NULL);
    loop_close(l);
}

/* ---- Names: see loop_resolve.c ------------------------------------------- */

int loop_resolve(struct loop *l, struct loop_resolve *r)
{
    return loop_resolver_start(l->resolver, r);
}

void loop_resolve_cancel(struct loop *l, struct loop_resolve *r)
{
    loop_resolver_cancel(l->resolver, r);
}
