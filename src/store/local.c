/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/local_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/error.h"

/* Without io_uring each of these has one read in flight, so this is the queue depth;
 * with it, the few calls that block never bring so many into being. */
#define THREADS_MAX 32

static void local_free(struct store *s)
{
    struct local_store *l = local_of(s);

    aio_pool_free(l->threads);
    local_lock_drop(&l->lock);
    local_files_done(&l->files);
    local_pool_done(&l->pool);
    local_dir_close(&l->dir);
    (void)pthread_mutex_destroy(&l->left.lock);
    free(l);
}

static int local_list(struct store *s, uint64_t kind, uint64_t from, store_list_fn fn,
                      void *opaque)
{
    return local_dir_list(&local_of(s)->dir, kind, from, fn, opaque);
}

static int local_highest(struct store *s, uint64_t kind, uint64_t *ret_file)
{
    return local_dir_highest(&local_of(s)->dir, kind, ret_file);
}

/* Nothing can take an fd from an earlier writer, but a dead one has none, and one taken
 * over by force finds its fence before it answers anything (DESIGN 4). */
static int local_recover(struct store *s, uint64_t file, uint64_t *ret_len)
{
    struct local_dir *d = &local_of(s)->dir;
    char path[NAMES_PATH_BYTES];
    struct stat st;

    names_segment(path, file);
    if (fstatat(d->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    *ret_len = (uint64_t)st.st_size;
    return 0;
}

static int local_get(struct store *s, const char *name, void *buf, size_t size)
{
    return local_dir_get(&local_of(s)->dir, name, buf, size);
}

/* For the set-up calls that change something. */
static int check_writable(struct local_store *l)
{
    if (l->dir.read_only) {
        return error_set(-EROFS, "%s is open for reading only", l->dir.path);
    }
    return 0;
}

static int local_put(struct store *s, const char *name, const void *buf, size_t len)
{
    int r = check_writable(local_of(s));

    return r < 0 ? r : local_dir_put(&local_of(s)->dir, name, buf, len);
}

static int local_holder_alive(struct store *s)
{
    return local_lock_alive(&local_of(s)->lock);
}

static int local_enlist(struct store *s, uint64_t epoch)
{
    struct local_store *l = local_of(s);
    int r = check_writable(l);

    if (r == 0) {
        r = local_lock_take(&l->lock, epoch);
    }
    if (r == 0) {
        local_pool_sweep(&l->pool);
    }
    return r;
}

static void local_resign(struct store *s)
{
    local_lock_drop(&local_of(s)->lock);
}

static int local_stat(struct store *s, struct store_stat *ret)
{
    struct local_store *l = local_of(s);
    struct statvfs vfs;

    *ret = (struct store_stat){
        .free_bytes = UINT64_MAX, .thin = atomic_load(&l->thin),
    };
    if (fstatvfs(l->dir.fd, &vfs) == 0) {
        ret->free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    }
    return local_pool_stat(&l->pool, &ret->pool_files, &ret->pool_bytes);
}

static int local_destroy(struct store *s)
{
    int r = check_writable(local_of(s));

    return r < 0 ? r : local_dir_destroy(&local_of(s)->dir);
}

static int local_rename(struct store *s, const char *path)
{
    int r = check_writable(local_of(s));

    return r < 0 ? r : local_dir_move(&local_of(s)->dir, path);
}

static const struct store_ops local_ops = {
    .free = local_free,
    .lane_new = local_lane_new,
    .lane_free = local_lane_free,
    .lane_fd = local_lane_fd,
    .submit = local_lane_submit,
    .kick = local_lane_kick,
    .collect = local_lane_collect,
    .wait = local_lane_wait,
    .wake = local_lane_wake,
    .list = local_list,
    .highest = local_highest,
    .recover = local_recover,
    .get = local_get,
    .put = local_put,
    .holder_alive = local_holder_alive,
    .enlist = local_enlist,
    .resign = local_resign,
    .stat = local_stat,
    .destroy = local_destroy,
    .rename = local_rename,
};

/* The directory, whatever its name. */
static void key_set(struct local_store *l)
{
    struct stat st;

    if (fstat(l->dir.fd, &st) == 0) {
        (void)snprintf(l->store.key, sizeof(l->store.key), "-%jx-%jx",
                       (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    }
}

int local_store_open(const char *path, unsigned flags, unsigned mode, struct store **ret)
{
    struct local_store *l;
    struct aio_pool *threads;
    int r;

    if ((flags & LOCAL_CREATE) && (flags & LOCAL_READ_ONLY)) {
        return error_set(-EINVAL, "%s cannot be made for reading only", path);
    }
    l = calloc(1, sizeof(*l));
    threads = aio_pool_new(THREADS_MAX);
    if (!l || !threads) {
        free(l);
        aio_pool_free(threads);
        return error_set(-ENOMEM, "cannot open %s: out of memory", path);
    }
    r = local_dir_open(&l->dir, path, flags, mode);
    if (r < 0) {
        free(l);
        aio_pool_free(threads);
        return r;
    }
    l->threads = threads;
    l->uring = (flags & LOCAL_NO_URING) == 0;
    local_files_init(&l->files, &l->dir);
    local_pool_init(&l->pool, &l->dir);
    local_lock_init(&l->lock, &l->dir);
    (void)pthread_mutex_init(&l->left.lock, NULL);
    l->store.ops = &local_ops;
    l->store.clock = &clock_system;
    l->store.append_align = STORE_BUF_ALIGN;
    l->store.durability = "local";
    l->store.segment_part = 256;
    l->store.segment_min = MIB(4);
    l->store.segment_max = MIB(64);
    (void)snprintf(l->store.location, sizeof(l->store.location), "%s", l->dir.path);
    key_set(l);
    *ret = &l->store;
    return 0;
}
