/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include <assert.h>
#include <errno.h>

#include "base/error.h"

void store_free(struct store *s)
{
    if (s) {
        s->ops->free(s);
    }
}

struct store *store_of_lane(const struct store_lane *lane)
{
    return lane->store;
}

void store_lane_free(struct store_lane *lane)
{
    if (lane) {
        lane->store->ops->lane_free(lane);
    }
}

int store_lane_fd(struct store_lane *lane)
{
    return lane->store->ops->lane_fd(lane);
}

void store_submit(struct store_lane *lane, struct store_op *op)
{
    lane->store->ops->submit(lane, op);
}

void store_kick(struct store_lane *lane)
{
    lane->store->ops->kick(lane);
}

int store_collect(struct store_lane *lane, struct list *done)
{
    struct list fresh;
    struct store_op *op;
    int n;

    list_init(&fresh);
    n = lane->store->ops->collect(lane, &fresh);
    list_for_each(op, &fresh, node) {
        if (op->check) {
            op->res = op->check(op, op->res);
        }
    }
    list_splice(done, &fresh);
    return n;
}

int store_wait(struct store_lane *lane, int64_t timeout_us)
{
    return lane->store->ops->wait(lane, timeout_us);
}

void store_wake(struct store_lane *lane)
{
    lane->store->ops->wake(lane);
}

int store_do(struct store_lane *lane, struct store_op *op)
{
    struct list done;

    list_init(&done);
    store_submit(lane, op);
    store_kick(lane);
    while (store_collect(lane, &done) == 0) {
        (void)store_wait(lane, -1);
    }
    list_remove(&op->node);
    assert(list_empty(&done));      /* the lane had nothing else in flight */
    return op->res;
}

int store_create_now(struct store_lane *lane, uint64_t file, uint64_t size)
{
    struct store_op op = { .what = STORE_CREATE, .file = file, .len = size };

    return store_do(lane, &op);
}

int store_append_now(struct store_lane *lane, uint64_t file, uint64_t offset,
                     const void *buf, size_t len, unsigned flags)
{
    struct store_op op = {
        .what = STORE_APPEND, .flags = flags, .file = file,
        .offset = offset, .buf = (void *)buf, .len = len,
    };

    return store_do(lane, &op);
}

int store_sync_now(struct store_lane *lane, uint64_t file)
{
    struct store_op op = { .what = STORE_SYNC, .file = file };

    return store_do(lane, &op);
}

int64_t store_pread_now(struct store_lane *lane, uint64_t file, uint64_t offset,
                        void *buf, size_t len)
{
    struct store_op op = {
        .what = STORE_PREAD, .file = file, .offset = offset, .buf = buf, .len = len,
    };

    return store_do(lane, &op);
}

int store_remove_now(struct store_lane *lane, uint64_t file)
{
    struct store_op op = { .what = STORE_REMOVE, .file = file };

    return store_do(lane, &op);
}

int store_list(struct store *s, uint64_t kind, uint64_t from, store_list_fn fn,
               void *opaque)
{
    return s->ops->list(s, kind, from, fn, opaque);
}

int store_highest(struct store *s, uint64_t kind, uint64_t *ret_file)
{
    return s->ops->highest(s, kind, ret_file);
}

int store_recover(struct store *s, uint64_t file, uint64_t *ret_len)
{
    return s->ops->recover(s, file, ret_len);
}

int store_get(struct store *s, const char *name, void *buf, size_t size)
{
    return s->ops->get(s, name, buf, size);
}

int store_put(struct store *s, const char *name, const void *buf, size_t len)
{
    return s->ops->put(s, name, buf, len);
}

int store_holder_alive(struct store *s)
{
    return s->ops->holder_alive(s);
}

int store_enlist(struct store *s, uint64_t epoch)
{
    return s->ops->enlist(s, epoch);
}

void store_resign(struct store *s)
{
    s->ops->resign(s);
}

int store_stat(struct store *s, struct store_stat *ret)
{
    return s->ops->stat(s, ret);
}

int store_destroy(struct store *s)
{
    return s->ops->destroy(s);
}

int store_set_replication(struct store *s, uint32_t copies)
{
    return s->ops->set_replication ? s->ops->set_replication(s, copies) :
           error_set(-ENOTSUP, "%s is kept in one copy: replication is for volumes on HDFS",
                     s->location);
}

int store_rename(struct store *s, const char *path)
{
    return s->ops->rename ? s->ops->rename(s, path) : -ENOTSUP;
}
