/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop_private.h - between loop.c and loop_resolve.c.
 */
#ifndef HLFS_HDFS_LOOP_PRIVATE_H
#define HLFS_HDFS_LOOP_PRIVATE_H

#include <pthread.h>

#include "hdfs/loop.h"

/* A thread with all signals blocked. */
int loop_thread_start(pthread_t *ret, void *(*main)(void *), void *opaque);

struct loop_resolver;

struct loop_resolver *loop_resolver_new(struct loop *l);
void loop_resolver_free(struct loop_resolver *s);   /* the loop's thread has ended */
int loop_resolver_start(struct loop_resolver *s, struct loop_resolve *r);
void loop_resolver_cancel(struct loop_resolver *s, struct loop_resolve *r);

#endif
