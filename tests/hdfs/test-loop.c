/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The loop: order of tasks and timers, fds that go, names, and its end. */
#undef NDEBUG
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/util.h"
#include "hdfs/loop.h"

static struct loop *start(void)
{
    struct loop *l;

    assert_int_equal(loop_new(&l), 0);
    return l;
}

/* ---- Tasks --------------------------------------------------------------- */

#define POSTERS 4
#define POSTS 2000

struct count {
    struct loop *loop;
    unsigned next[POSTERS];
    unsigned total;
};

struct numbered {
    struct loop_task task;
    struct count *count;
    unsigned poster, number;
};

struct poster {
    pthread_t thread;
    struct count *count;
    unsigned index;
    struct numbered tasks[POSTS];
};

static void numbered_run(struct loop_task *t)
{
    struct numbered *n = container_of(t, struct numbered, task);

    assert_true(loop_inside(n->count->loop));
    assert_int_equal(n->count->next[n->poster]++, n->number);
    n->count->total++;
}

static void *poster_main(void *opaque)
{
    struct poster *p = opaque;

    for (unsigned i = 0; i < POSTS; i++) {
        p->tasks[i] = (struct numbered){ { .run = numbered_run }, p->count, p->index, i };
        loop_post(p->count->loop, &p->tasks[i].task);
    }
    return NULL;
}

/* Tasks of each thread run in the order in which it posted them, each once; those that
 * are posted when the loop is told to end run, too. */
static void test_tasks(void **state)
{
    static struct poster posters[POSTERS];
    struct count count = { .loop = start() };

    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i].count = &count;
        posters[i].index = i;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, poster_main,
                                        &posters[i]), 0);
    }
    for (unsigned i = 0; i < POSTERS; i++) {
        (void)pthread_join(posters[i].thread, NULL);
    }
    loop_free(count.loop);
    assert_int_equal(count.total, POSTERS * POSTS);
}

static int add_one(void *opaque)
{
    return *(int *)opaque + 1;
}

struct nested {
    struct loop *loop;
    int value;
};

static int run_nested(void *opaque)
{
    struct nested *n = opaque;

    return loop_run(n->loop, add_one, &n->value);
}

static void test_run(void **state)
{
    struct nested n = { .loop = start(), .value = 41 };

    assert_false(loop_inside(n.loop));
    assert_int_equal(loop_run(n.loop, add_one, &n.value), 42);
    assert_int_equal(loop_run(n.loop, run_nested, &n), 42);
    loop_free(n.loop);
    loop_free(NULL);
}

/* ---- Timers -------------------------------------------------------------- */

#define TIMERS 200
#define CHANGES 5000

struct alarm {
    struct loop_timer timer;
    struct rig *rig;
};

struct rig {
    struct loop *loop;
    struct alarm alarms[TIMERS];
    uint64_t last_us;
    unsigned fired, armed;
    int pipe[2];
};

static void tell(struct rig *r)
{
    assert_int_equal(write(r->pipe[1], "x", 1), 1);
}

static void alarm_fire(struct loop_timer *t)
{
    struct rig *r = container_of(t, struct alarm, timer)->rig;

    assert_false(t->armed);
    assert_true(t->at_us >= r->last_us);
    assert_true(t->at_us <= loop_now_us(r->loop));
    r->last_us = t->at_us;
    if (++r->fired == r->armed) {
        tell(r);
    }
}

static int alarms_set(void *opaque)
{
    struct rig *r = opaque;
    struct rng rng = { .state = 1 };
    uint64_t base_us = loop_now_us(r->loop) + 1000;

    for (unsigned i = 0; i < TIMERS; i++) {
        r->alarms[i] = (struct alarm){ { .fire = alarm_fire }, r };
    }
    for (unsigned i = 0; i < CHANGES; i++) {
        struct loop_timer *t = &r->alarms[rng_below(&rng, TIMERS)].timer;

        if (rng_one_in(&rng, 3)) {
            loop_timer_stop(r->loop, t);
        } else {
            loop_timer_set(r->loop, t, base_us + rng_below(&rng, 20000));
        }
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        r->armed += r->alarms[i].timer.armed;
    }
    return 0;
}

/* Whatever was set, moved and stopped: those that are armed fire once, in order. */
static void test_timers(void **state)
{
    static struct rig r;
    char byte;

    r.loop = start();
    assert_int_equal(pipe(r.pipe), 0);
    assert_int_equal(loop_run(r.loop, alarms_set, &r), 0);
    assert_int_equal(read(r.pipe[0], &byte, 1), 1);
    loop_free(r.loop);
    assert_int_equal(r.fired, r.armed);
    (void)close(r.pipe[0]);
    (void)close(r.pipe[1]);
}

struct ticker {
    struct loop_timer timer;
    struct loop *loop;
    unsigned ticks;
};

static void tick(struct loop_timer *t)
{
    struct ticker *k = container_of(t, struct ticker, timer);

    k->ticks++;
    loop_timer_set(k->loop, t, 0);
}

static int ticker_set(void *opaque)
{
    struct ticker *k = opaque;

    loop_timer_set(k->loop, &k->timer, 0);
    return 0;
}

static int ticker_stop(void *opaque)
{
    struct ticker *k = opaque;

    loop_timer_stop(k->loop, &k->timer);
    return (int)k->ticks;
}

/* A timer that always sets itself to the past does not keep tasks from running. */
static void test_timer_in_the_past(void **state)
{
    struct ticker k = { .timer.fire = tick, .loop = start() };

    assert_int_equal(loop_run(k.loop, ticker_set, &k), 0);
    while (loop_run(k.loop, ticker_stop, &k) < 3) {
        assert_int_equal(loop_run(k.loop, ticker_set, &k), 0);
    }
    loop_free(k.loop);
}

/* ---- File descriptors ---------------------------------------------------- */

struct pair {
    struct end {
        struct loop_fd fd;
        struct pair *pair;
        int pipe[2];
    } ends[2];
    struct loop *loop;
    unsigned calls;
    int told[2];
};

/* Both are readable in the same turn; the first to be called takes both away. */
static void end_ready(struct loop_fd *f, uint32_t events)
{
    struct pair *p = container_of(f, struct end, fd)->pair;

    assert_true(events & EPOLLIN);
    p->calls++;
    loop_fd_del(p->loop, &p->ends[0].fd);
    loop_fd_del(p->loop, &p->ends[1].fd);
    assert_int_equal(write(p->told[1], "x", 1), 1);
}

static int pair_add(void *opaque)
{
    struct pair *p = opaque;

    for (unsigned i = 0; i < 2; i++) {
        struct end *e = &p->ends[i];

        e->pair = p;
        e->fd = (struct loop_fd){ .fd = e->pipe[0], .ready = end_ready };
        assert_int_equal(loop_fd_add(p->loop, &e->fd, EPOLLIN), 0);
    }
    return 0;
}

static int nothing(void *opaque)
{
    return 0;
}

static void test_fd_that_goes(void **state)
{
    struct pair p = { .loop = start() };
    char byte;

    assert_int_equal(pipe(p.told), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pipe(p.ends[i].pipe), 0);
        assert_int_equal(write(p.ends[i].pipe[1], "x", 1), 1);
    }
    assert_int_equal(loop_run(p.loop, pair_add, &p), 0);
    assert_int_equal(read(p.told[0], &byte, 1), 1);
    assert_int_equal(loop_run(p.loop, nothing, NULL), 0);
    loop_free(p.loop);
    assert_int_equal(p.calls, 1);
    for (unsigned i = 0; i < 2; i++) {
        (void)close(p.ends[i].pipe[0]);
        (void)close(p.ends[i].pipe[1]);
        (void)close(p.told[i]);
    }
}

/* ---- Names --------------------------------------------------------------- */

struct lookup {
    struct loop_resolve resolve;
    struct loop *loop;
    int res;
    bool inside;        /* loop_resolve() has not returned yet */
    int told[2];
};

static void lookup_done(struct loop_resolve *r, int res)
{
    struct lookup *k = container_of(r, struct lookup, resolve);

    assert_false(k->inside);
    k->res = res;
    assert_int_equal(write(k->told[1], "x", 1), 1);
}

static int lookup_start(void *opaque)
{
    struct lookup *k = opaque;
    int r;

    k->inside = true;
    r = loop_resolve(k->loop, &k->resolve);
    k->inside = false;
    return r;
}

static int lookup_start_and_cancel(void *opaque)
{
    struct lookup *k = opaque;
    int r = lookup_start(k);

    loop_resolve_cancel(k->loop, &k->resolve);
    loop_resolve_cancel(k->loop, &k->resolve);
    return r;
}

static void lookup(struct lookup *k, const char *host)
{
    char byte;

    k->resolve = (struct loop_resolve){ .host = host, .port = 8020, .done = lookup_done };
    assert_int_equal(loop_run(k->loop, lookup_start, k), 0);
    assert_int_equal(read(k->told[0], &byte, 1), 1);
}

static void test_names(void **state)
{
    struct lookup k = { .loop = start() };
    char long_name[2000] = { 0 };
    const struct sockaddr_in *in = (const struct sockaddr_in *)&k.resolve.addrs[0].sa;

    assert_int_equal(pipe(k.told), 0);
    lookup(&k, "127.0.0.5");
    assert_int_equal(k.res, 0);
    assert_int_equal(k.resolve.addr_count, 1);
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(ntohs(in->sin_port), 8020);
    assert_int_equal(ntohl(in->sin_addr.s_addr), 0x7f000005);
    lookup(&k, "::1");
    assert_int_equal(k.res, 0);
    assert_int_equal(k.resolve.addrs[0].sa.ss_family, AF_INET6);
    lookup(&k, "localhost");
    assert_int_equal(k.res, 0);
    assert_true(k.resolve.addr_count >= 1);
    lookup(&k, "no such host");
    assert_true(k.res == -ENOENT || k.res == -EAGAIN);

    memset(long_name, 'a', sizeof(long_name) - 1);
    k.resolve.host = long_name;
    assert_int_equal(loop_run(k.loop, lookup_start, &k), -ENAMETOOLONG);

    /* Nobody hears of one that was cancelled, whether it took a thread or not; the end
     * of the loop waits for none. */
    k.res = 1;
    k.resolve = (struct loop_resolve){ .host = "localhost", .done = lookup_done };
    assert_int_equal(loop_run(k.loop, lookup_start_and_cancel, &k), 0);
    k.resolve = (struct loop_resolve){ .host = "127.0.0.1", .done = lookup_done };
    assert_int_equal(loop_run(k.loop, lookup_start_and_cancel, &k), 0);
    assert_int_equal(loop_run(k.loop, nothing, NULL), 0);
    loop_free(k.loop);
    assert_int_equal(k.res, 1);
    (void)close(k.told[0]);
    (void)close(k.told[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_timer_in_the_past),
        cmocka_unit_test(test_fd_that_goes),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
