/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local_private.h - what the parts of the local store share.
 *
 * local.c is the store, local_lane.c its lanes, local_calls.c the operations that
 * block; below them local_dir.h, local_files.h, local_pool.h, local_lock.h and aio.h.
 */
#ifndef HLFS_STORE_LOCAL_PRIVATE_H
#define HLFS_STORE_LOCAL_PRIVATE_H

#include "store/aio.h"
#include "store/local.h"
#include "store/local_dir.h"
#include "store/local_files.h"
#include "store/local_lock.h"
#include "store/local_pool.h"

/* The engine has one create under way, and goes on with that; more are for others. */
#define LOCAL_LEFT_MAX 8

/* Names that creates of ours gave, failed, and could not take back (local_calls.c). */
struct local_left {
    pthread_mutex_t lock;       /* guards the rest */
    struct {
        uint64_t id;            /* 0: none */
        bool spare;             /* its content came from the pool */
    } name[LOCAL_LEFT_MAX];
};

struct local_store {
    struct store store;
    struct local_dir dir;
    struct local_files files;
    struct local_pool pool;
    struct local_lock lock;
    struct local_left left;
    struct aio_pool *threads;   /* owned; shared by all lanes */
    bool uring;                 /* try it; immutable */
    atomic_bool thin;           /* a file's room could not be secured */
};

static inline struct local_store *local_of(struct store *s)
{
    return container_of(s, struct local_store, store);
}

/* local_lane.c: the lane part of struct store_ops. */
struct store_lane *local_lane_new(struct store *s);
void local_lane_free(struct store_lane *lane);
int local_lane_fd(struct store_lane *lane);
void local_lane_submit(struct store_lane *lane, struct store_op *op);
void local_lane_kick(struct store_lane *lane);
int local_lane_collect(struct store_lane *lane, struct list *done);
int local_lane_wait(struct store_lane *lane, int64_t timeout_us);
void local_lane_wake(struct store_lane *lane);

/*
 * local_calls.c: operations on names, on a thread of the pool; 0 or -errno, but PREPARE
 * 1 as well.  FILE is pinned.
 */
int local_call_create(struct local_store *l, uint64_t id, uint64_t size);
int local_call_remove(struct local_store *l, uint64_t id);
int local_call_sync_old(struct local_store *l, uint64_t id, struct local_file *file);

#endif
