/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/local_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FILL_BYTES MIB(1)

/* "pool/" and a random name. */
#define SPARE_PATH_BYTES (NAMES_RANDOM_BYTES + 8)

void local_pool_init(struct local_pool *p, struct local_dir *dir)
{
    p->dir = dir;
    p->preparing = 0;
    (void)pthread_mutex_init(&p->lock, NULL);
}

void local_pool_done(struct local_pool *p)
{
    (void)pthread_mutex_destroy(&p->lock);
}

/* ---- Looking ----------------------------------------------------------------- */

/* The directory is read each time: it has few names, and others may change it. */
struct pool_scan {
    struct local_dir *dir;
    uint64_t wanted;            /* size asked for */
    unsigned files;
    uint64_t bytes;
    char best[SPARE_PATH_BYTES];
    uint64_t best_size;
};

/* The smallest that is long enough, else the longest. */
static bool suits_better(uint64_t a, uint64_t b, uint64_t wanted)
{
    if ((a >= wanted) != (b >= wanted)) {
        return a >= wanted;
    }
    return a >= wanted ? a < b : a > b;
}

static int scan_name(void *opaque, const char *name)
{
    struct pool_scan *scan = opaque;
    char path[SPARE_PATH_BYTES];
    struct stat st;
    uint64_t x, size;

    if (!names_parse_hex(name, 16, &x)) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "pool/%.16s", name);
    if (fstatat(scan->dir->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode)) {
        return 0;
    }
    size = (uint64_t)st.st_size;
    if (scan->files == 0 || suits_better(size, scan->best_size, scan->wanted)) {
        memcpy(scan->best, path, sizeof(path));
        scan->best_size = size;
    }
    scan->files++;
    scan->bytes += size;
    return 0;
}

static int pool_look(struct local_pool *p, uint64_t wanted, struct pool_scan *ret)
{
    int r;

    *ret = (struct pool_scan){ .dir = p->dir, .wanted = wanted };
    r = local_dir_each(p->dir, "pool", scan_name, ret);
    return r == -ENOENT ? 0 : r;
}

int local_pool_stat(struct local_pool *p, uint64_t *ret_files, uint64_t *ret_bytes)
{
    struct pool_scan scan;
    int r = pool_look(p, 0, &scan);

    *ret_files = scan.files;
    *ret_bytes = scan.bytes;
    return r;
}

/* ---- Out and in -------------------------------------------------------------- */

int local_pool_take(struct local_pool *p, uint64_t file, uint64_t size)
{
    char path[NAMES_PATH_BYTES];
    struct pool_scan scan;
    int r = -ENOENT;

    names_segment(path, file);
    (void)pthread_mutex_lock(&p->lock);
    /* -ENOENT: another process has just taken that one. */
    for (unsigned i = 0; r == -ENOENT && i < POOL_FILES; i++) {
        r = pool_look(p, size, &scan);
        if (r == 0 && scan.files == 0) {
            r = -EINVAL;
        }
        if (r == 0) {
            r = local_dir_rename(p->dir, scan.best, path);      /* POOL-2 */
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (r == -EEXIST) {
        return r;
    }
    return r == 0;
}

static bool pool_full_locked(struct local_pool *p)
{
    struct pool_scan scan;

    return pool_look(p, 0, &scan) < 0 || scan.files + p->preparing >= POOL_FILES;
}

static int rename_in_locked(struct local_pool *p, const char *from)
{
    char name[NAMES_RANDOM_BYTES], path[SPARE_PATH_BYTES];

    names_random(name, "");
    (void)snprintf(path, sizeof(path), "pool/%.16s", name);
    return local_dir_rename(p->dir, from, path);        /* POOL-1 */
}

static int make_dir(struct local_pool *p)
{
    if (mkdirat(p->dir->fd, "pool", p->dir->dir_mode) < 0 && errno != EEXIST) {
        return -errno;
    }
    return 0;
}

int local_pool_add(struct local_pool *p, uint64_t file)
{
    char path[NAMES_PATH_BYTES];
    int r = make_dir(p);

    if (r < 0) {
        return 0;
    }
    names_segment(path, file);
    (void)pthread_mutex_lock(&p->lock);
    r = pool_full_locked(p) ? -ENOSPC : rename_in_locked(p, path);
    (void)pthread_mutex_unlock(&p->lock);
    return r == 0;
}

/* ---- Making spares ----------------------------------------------------------- */

/* As store.h promises; and a sixteenth of the disk is not for spares. */
static bool space_is_short(struct local_dir *d, uint64_t size)
{
    struct statvfs vfs;
    uint64_t avail, keep;

    if (fstatvfs(d->fd, &vfs) < 0) {
        return true;
    }
    avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    keep = MAX(size * STORE_PREPARE_KEEPS, (uint64_t)vfs.f_blocks * vfs.f_frsize / 16);
    return avail < size || avail - size < keep;
}

static int fill(int fd, uint64_t size)
{
    _cleanup_free_ void *zeros = aligned_alloc(STORE_BUF_ALIGN, FILL_BYTES);
    uint64_t at = 0;

    if (!zeros) {
        return -ENOMEM;
    }
    memset(zeros, 0, FILL_BYTES);
    while (fallocate(fd, 0, 0, (off_t)size) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            break;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
    while (at < size) {
        ssize_t n = pwrite(fd, zeros, MIN(FILL_BYTES, size - at), (off_t)at);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        at += (uint64_t)MAX(n, (ssize_t)0);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int make_spare(struct local_pool *p, const char *path, uint64_t size)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    _cleanup_close_ int fd = -1;

    fd = openat(p->dir->fd, path, flags | (p->dir->direct ? O_DIRECT : 0),
                p->dir->file_mode);
    return fd < 0 ? -errno : fill(fd, size);
}

static bool reserve(struct local_pool *p)
{
    bool full;

    (void)pthread_mutex_lock(&p->lock);
    full = pool_full_locked(p);
    p->preparing += !full;
    (void)pthread_mutex_unlock(&p->lock);
    return !full;
}

int local_pool_prepare(struct local_pool *p, uint64_t size)
{
    char name[NAMES_RANDOM_BYTES], path[SPARE_PATH_BYTES];
    int r;

    size = ALIGN_UP(size, STORE_BUF_ALIGN);
    if (size == 0 || space_is_short(p->dir, size) || make_dir(p) < 0 || !reserve(p)) {
        return 0;
    }
    names_random(name, ".new-");
    (void)snprintf(path, sizeof(path), "pool/%s", name);
    r = make_spare(p, path, size);
    (void)pthread_mutex_lock(&p->lock);
    p->preparing--;
    if (r == 0) {
        r = rename_in_locked(p, path);
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (r < 0) {
        (void)unlinkat(p->dir->fd, path, 0);
    }
    /* ENOENT: a new writer has swept our file away.  EINVAL: no spares here at all. */
    return r == 0 ? 1 : r == -ENOSPC || r == -ENOENT || r == -EINVAL ? 0 : r;
}

static int sweep_name(void *opaque, const char *name)
{
    struct local_pool *p = opaque;
    char path[SPARE_PATH_BYTES];
    uint64_t x;

    if (strncmp(name, ".new-", 5) == 0 && names_parse_hex(name + 5, 16, &x)) {
        (void)snprintf(path, sizeof(path), "pool/%.21s", name);
        (void)unlinkat(p->dir->fd, path, 0);
    }
    return 0;
}

void local_pool_sweep(struct local_pool *p)
{
    (void)local_dir_each(p->dir, "pool", sweep_name, p);
}
