/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host names to addresses without blocking the loop.
 *
 * getaddrinfo() may take as long as it likes and cannot be interrupted.  So each job is
 * a struct of its own, which a cancelled resolution leaves behind, and the threads are
 * detached and hold a reference to the resolver, which may outlive its loop: ending a
 * loop waits for no name server.  (So code that was loaded stays loaded: dlclose() of
 * this is not possible.)
 */
#include "hdfs/loop_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* One stuck name must not hold up the others; more than this are never at it. */
#define THREADS_MAX 4

struct loop_resolver {
    pthread_mutex_t lock;           /* guards all below */
    pthread_cond_t work;
    struct loop *loop;              /* borrowed; NULL once it is ending */
    struct list jobs;               /* to do */
    struct list over;               /* done, or nearly: owned by the task posted */
    unsigned thread_count;
    unsigned idle_count;
    unsigned job_count;             /* in JOBS */
    unsigned refs;                  /* the loop's and each thread's */
};

struct loop_job {
    struct list node;               /* in jobs or over */
    struct loop_task task;          /* tells it in the loop thread */
    struct loop_resolver *resolver;
    struct loop_resolve *resolve;   /* loop thread only; NULL: cancelled */
    char host[NI_MAXHOST];
    char port[8];
    int res;
    struct loop_addr addrs[LOOP_ADDRS_MAX];
    unsigned addr_count;
};

static int gai_code(int r)
{
    switch (r) {
    case 0:
        return 0;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno > 0 ? -errno : -EIO;
    default:
        return -ENOENT;
    }
}

static void job_lookup(struct loop_job *j, int flags)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | flags,
    };
    struct addrinfo *list = NULL, *a;

    j->res = gai_code(getaddrinfo(j->host, j->port, &hints, &list));
    if (j->res < 0) {
        return;
    }
    for (a = list; a && j->addr_count < LOOP_ADDRS_MAX; a = a->ai_next) {
        if (a->ai_addrlen <= sizeof(j->addrs[0].sa)) {
            memcpy(&j->addrs[j->addr_count].sa, a->ai_addr, a->ai_addrlen);
            j->addrs[j->addr_count++].len = a->ai_addrlen;
        }
    }
    freeaddrinfo(list);
    if (j->addr_count == 0) {
        j->res = -ENOENT;
    }
}

static void job_tell(struct loop_task *t)
{
    struct loop_job *j = container_of(t, struct loop_job, task);
    struct loop_resolve *r = j->resolve;
    int res = j->res;

    (void)pthread_mutex_lock(&j->resolver->lock);
    list_remove(&j->node);
    (void)pthread_mutex_unlock(&j->resolver->lock);
    if (r) {
        memcpy(r->addrs, j->addrs, sizeof(r->addrs));
        r->addr_count = j->addr_count;
        r->job = NULL;
    }
    free(j);
    if (r) {
        r->done(r, res);
    }
}

static void job_over_locked(struct loop_resolver *s, struct loop_job *j)
{
    if (!s->loop) {
        free(j);
        return;
    }
    list_push(&s->over, &j->node);
    loop_post(s->loop, &j->task);
}

/* Give the lock and one reference back. */
static void unref_unlock(struct loop_resolver *s)
{
    bool last = --s->refs == 0;

    (void)pthread_mutex_unlock(&s->lock);
    if (last) {
        (void)pthread_cond_destroy(&s->work);
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

static void *resolver_main(void *opaque)
{
    struct loop_resolver *s = opaque;

    (void)pthread_mutex_lock(&s->lock);
    while (s->loop) {
        struct list *node = list_pop(&s->jobs);
        struct loop_job *j;

        if (!node) {
            s->idle_count++;
            (void)pthread_cond_wait(&s->work, &s->lock);
            s->idle_count--;
            continue;
        }
        s->job_count--;
        j = list_entry(node, struct loop_job, node);
        (void)pthread_mutex_unlock(&s->lock);
        job_lookup(j, 0);
        (void)pthread_mutex_lock(&s->lock);
        job_over_locked(s, j);
    }
    unref_unlock(s);
    return NULL;
}

static int resolver_grow_locked(struct loop_resolver *s)
{
    pthread_t thread;
    int r = loop_thread_start(&thread, resolver_main, s);

    if (r < 0) {
        return s->thread_count ? 0 : r;
    }
    (void)pthread_setname_np(thread, "hlfs-names");
    (void)pthread_detach(thread);
    s->thread_count++;
    s->refs++;
    return 0;
}

int loop_resolver_start(struct loop_resolver *s, struct loop_resolve *r)
{
    struct loop_job *j = calloc(1, sizeof(*j));
    int res = 0;

    if (!j) {
        return -ENOMEM;
    }
    if (strlen(r->host) >= sizeof(j->host)) {
        free(j);
        return -ENAMETOOLONG;
    }
    j->task.run = job_tell;
    j->resolver = s;
    j->resolve = r;
    (void)snprintf(j->host, sizeof(j->host), "%s", r->host);
    (void)snprintf(j->port, sizeof(j->port), "%u", r->port);
    r->addr_count = 0;
    /* What is an address already needs no thread. */
    job_lookup(j, AI_NUMERICHOST);
    (void)pthread_mutex_lock(&s->lock);
    if (j->res == 0) {
        job_over_locked(s, j);
    } else {
        if (s->job_count >= s->idle_count && s->thread_count < THREADS_MAX) {
            res = resolver_grow_locked(s);
        }
        if (res == 0) {
            list_push(&s->jobs, &j->node);
            s->job_count++;
            (void)pthread_cond_signal(&s->work);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (res < 0) {
        free(j);
        return res;
    }
    r->job = j;
    return 0;
}

void loop_resolver_cancel(struct loop_resolver *s _unused_, struct loop_resolve *r)
{
    if (r->job) {
        r->job->resolve = NULL;
        r->job = NULL;
    }
}

struct loop_resolver *loop_resolver_new(struct loop *l)
{
    struct loop_resolver *s = calloc(1, sizeof(*s));

    if (!s) {
        return NULL;
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->work, NULL);
    list_init(&s->jobs);
    list_init(&s->over);
    s->loop = l;
    s->refs = 1;
    return s;
}

static void free_jobs(struct list *jobs)
{
    struct list *node;

    while ((node = list_pop(jobs))) {
        free(list_entry(node, struct loop_job, node));
    }
}

void loop_resolver_free(struct loop_resolver *s)
{
    if (!s) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    s->loop = NULL;
    free_jobs(&s->jobs);
    free_jobs(&s->over);
    (void)pthread_cond_broadcast(&s->work);
    unref_unlock(s);
}
