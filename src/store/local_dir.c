/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/local_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "store/local.h"

static uint64_t file_shard(uint64_t file)
{
    return store_segno(file) / STORE_SHARD_FILES;
}

/* ---- Open -------------------------------------------------------------------- */

int local_dir_check_type(uint64_t type, unsigned flags, const char *path)
{
    static const struct {
        uint32_t type;
        const char *name;
    } network[] = {
        { NFS_SUPER_MAGIC, "NFS" },   { SMB_SUPER_MAGIC, "SMB" },
        { CIFS_SUPER_MAGIC, "CIFS" }, { SMB2_SUPER_MAGIC, "SMB" },
        { FUSE_SUPER_MAGIC, "FUSE" }, { V9FS_MAGIC, "9P" },
        { AFS_SUPER_MAGIC, "AFS" },   { AFS_FS_MAGIC, "AFS" },
        { CEPH_SUPER_MAGIC, "Ceph" },
    };

    if (flags & (LOCAL_NETWORK_FS | LOCAL_READ_ONLY)) {
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(network); i++) {
        if ((uint32_t)type == network[i].type) {
            return error_set(-ENOTSUP,
                             "%s is on a network file system (%s), where a writer on "
                             "another host may go unseen; if no other host uses it, "
                             "open it with network-fs=yes", path, network[i].name);
        }
    }
    return 0;
}

/* The directory that PATH's last component is in. */
static void parent_path(char parent[PATH_MAX], const char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    if (len == 0 || len >= PATH_MAX) {
        path = ".";
        len = 1;
    }
    memcpy(parent, path, len);
    parent[len] = '\0';
}

int local_sync_parent(const char *path)
{
    _cleanup_close_ int fd = -1;
    char parent[PATH_MAX];

    parent_path(parent, path);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static const char *what_exists(const char *path)
{
    char identity[PATH_MAX];
    struct stat st;

    if (stat(path, &st) < 0) {
        return "it exists";
    }
    if (!S_ISDIR(st.st_mode)) {
        return "it exists and is no directory";
    }
    (void)snprintf(identity, sizeof(identity), "%s/volume", path);
    return stat(identity, &st) == 0 ? "there is a volume already" :
           errno == ENOENT ? "the directory exists and is no volume" : "it exists";
}

/* mkdir(PATH) failed with R. */
static int dir_not_made(const char *path, int r)
{
    char parent[PATH_MAX];
    size_t len;

    if (r == -EEXIST) {
        return error_set(r, "cannot create %s: %s", path, what_exists(path));
    }
    if (r != -ENOENT && r != -ENOTDIR) {
        return error_set(r, "cannot make directory %s: %s", path, error_name(r));
    }
    parent_path(parent, path);
    len = strlen(parent);
    while (len > 1 && parent[len - 1] == '/') {
        parent[--len] = '\0';
    }
    return error_set(r, r == -ENOENT ? "cannot create %s: there is no directory %s" :
                     "cannot create %s: %s is not a directory", path, parent);
}

static int dir_make(const char *path, unsigned mode)
{
    int r;

    if (mkdir(path, mode) < 0) {
        return dir_not_made(path, -errno);
    }
    r = local_sync_parent(path);
    if (r < 0) {
        (void)rmdir(path);
        return error_set(r, "cannot make directory %s durable: %s", path, error_name(r));
    }
    return 0;
}

/* A file of the volume's file system opened with O_DIRECT, or -errno. */
static int open_probe(struct local_dir *d)
{
    int fd = openat(d->fd, "volume", O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT && !d->read_only) {
        static const char zeros[STORE_BUF_ALIGN]
            __attribute__((aligned(STORE_BUF_ALIGN)));

        fd = openat(d->fd, ".", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
        if (fd >= 0 && pwrite(fd, zeros, sizeof(zeros), 0) < 0 && errno == EINVAL) {
            (void)close(fd);
            return -EINVAL;
        }
    }
    return fd < 0 ? -errno : fd;
}

static void take_alignment(struct local_dir *d, uint32_t mem_align, uint32_t align)
{
    /* Appends are aligned to 4096; what wants more than that is not for us. */
    if (align == 0 || align > STORE_BUF_ALIGN || mem_align > STORE_BUF_ALIGN ||
        (align & (align - 1)) || (mem_align & (mem_align - 1))) {
        d->direct = false;
        return;
    }
    d->read_align = align;
    d->mem_align = MAX(mem_align, 1u);
}

/* Find out what direct I/O wants here: ask, else try. */
static void dir_probe(struct local_dir *d)
{
    char buf[2 * 512] __attribute__((aligned(512)));
    _cleanup_close_ int fd = -1;

    d->read_align = d->mem_align = STORE_BUF_ALIGN;
    if (!d->direct) {
        return;
    }
    fd = open_probe(d);
    if (fd < 0) {
        d->direct = fd != -EINVAL;      /* else each file tells (local_dir_open_file) */
        return;
    }
#ifdef STATX_DIOALIGN
    struct statx stx = { 0 };

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN)) {
        take_alignment(d, stx.stx_dio_mem_align, stx.stx_dio_offset_align);
        return;
    }
#endif
    /* At an odd sector of memory: a disk of 4 KiB sectors says -EINVAL. */
    if (pread(fd, IS_ALIGNED((uintptr_t)buf, 1024) ? buf + 512 : buf, 512, 0) > 0) {
        take_alignment(d, 512, 512);
    }
}

static int dir_open_checked(struct local_dir *d, const char *path, unsigned flags)
{
    struct statfs sfs;
    int r;

    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0) {
        r = -errno;
        if (r == -ENOENT) {
            return error_set(r, "there is no volume %s: there is no such directory", path);
        }
        return error_set(r, "cannot open %s: %s", path,
                         r == -ENOTDIR ? "it is not a directory" : error_name(r));
    }
    if (fstatfs(d->fd, &sfs) < 0) {
        r = -errno;
        return error_set(r, "cannot tell the file system of %s: %s", path,
                         error_name(r));
    }
    r = local_dir_check_type((uint64_t)sfs.f_type, flags, path);
    if (r < 0) {
        return r;
    }
    if (!d->read_only && faccessat(d->fd, ".", W_OK | X_OK, AT_EACCESS) < 0) {
        r = -errno;
        return error_set(r, "cannot write to directory %s: %s", path, error_name(r));
    }
    return 0;
}

static void set_mode(struct local_dir *d, unsigned mode)
{
    d->file_mode = mode & 0666;
    d->dir_mode = d->file_mode | (mode & 0444) >> 2;    /* who may read may search */
}

/* A volume keeps the mode that it was created with, by any later writer. */
static void take_mode(struct local_dir *d)
{
    struct stat st;

    if (fstatat(d->fd, "volume", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
        set_mode(d, st.st_mode);
    }
}

int local_dir_open(struct local_dir *d, const char *path, unsigned flags, unsigned mode)
{
    int r;

    memset(d, 0, sizeof(*d));
    d->fd = -1;
    (void)pthread_mutex_init(&d->lock, NULL);
    d->read_only = (flags & LOCAL_READ_ONLY) != 0;
    d->direct = (flags & LOCAL_NO_DIRECT) == 0;
    set_mode(d, mode);
    if (flags & LOCAL_CREATE) {
        r = dir_make(path, d->dir_mode);
        if (r < 0) {
            local_dir_close(d);
            return r;
        }
    }
    r = dir_open_checked(d, path, flags);
    if (r == 0) {
        d->path = realpath(path, NULL);
        if (!d->path) {
            d->path = strdup(path);
        }
        r = d->path ? 0 : error_set(-ENOMEM, "cannot open %s: out of memory", path);
    }
    if (r < 0) {
        if (flags & LOCAL_CREATE) {
            (void)rmdir(path);
        }
        local_dir_close(d);
        return r;
    }
    take_mode(d);
    dir_probe(d);
    return 0;
}

void local_dir_close(struct local_dir *d)
{
    if (d->fd >= 0) {
        (void)close(d->fd);
    }
    d->fd = -1;
    free(d->path);
    d->path = NULL;
    (void)pthread_mutex_destroy(&d->lock);
}

/* ---- Files ------------------------------------------------------------------- */

int local_dir_open_file(struct local_dir *d, uint64_t file, int flags, bool *ret_direct)
{
    char path[NAMES_PATH_BYTES];
    int fd = -1;

    names_segment(path, file);
    flags |= O_CLOEXEC | O_NOFOLLOW;
    *ret_direct = d->direct;
    if (d->direct) {
        fd = openat(d->fd, path, flags | O_DIRECT, d->file_mode);
        if (fd >= 0 || errno != EINVAL) {
            return fd < 0 ? -errno : fd;
        }
        /* O_CREAT may have made the file before O_DIRECT was refused. */
        if (flags & O_CREAT) {
            (void)unlinkat(d->fd, path, 0);
        }
        *ret_direct = false;
    }
    fd = openat(d->fd, path, flags, d->file_mode);
    return fd < 0 ? -errno : fd;
}

int local_dir_sync(struct local_dir *d, const char *name)
{
    _cleanup_close_ int fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Make directory NAME in PARENT; durable even if somebody else has just made it. */
static int make_durable_dir(struct local_dir *d, const char *name, const char *parent)
{
    if (mkdirat(d->fd, name, d->dir_mode) < 0 && errno != EEXIST) {
        return -errno;
    }
    return local_dir_sync(d, parent);
}

int local_dir_make_shard(struct local_dir *d, uint64_t file)
{
    uint64_t *made = &d->shard_made[file & STORE_MOVED ? 1 : 0];
    char path[NAMES_PATH_BYTES];
    int r = 0;

    (void)pthread_mutex_lock(&d->lock);
    if (*made != file_shard(file) + 1) {
        r = make_durable_dir(d, names_kind(file), ".");
        if (r == 0) {
            names_shard(path, file);
            r = make_durable_dir(d, path, names_kind(file));
        }
        if (r == 0) {
            *made = file_shard(file) + 1;
        }
    }
    (void)pthread_mutex_unlock(&d->lock);
    return r;
}

int local_dir_sync_name(struct local_dir *d, uint64_t file, bool all)
{
    char path[NAMES_PATH_BYTES];
    int r;

    names_shard(path, file);
    r = local_dir_sync(d, path);
    if (r == 0 && all) {
        r = local_dir_sync(d, names_kind(file));
    }
    if (r == 0 && all) {
        r = local_dir_sync(d, ".");
    }
    return r;
}

void local_dir_drop_shard(struct local_dir *d, uint64_t file)
{
    char path[NAMES_PATH_BYTES];

    (void)pthread_mutex_lock(&d->lock);
    /* Ids grow: where we already create in a higher one nothing more comes here. */
    if (file_shard(file) + 1 < d->shard_made[file & STORE_MOVED ? 1 : 0]) {
        names_shard(path, file);
        (void)unlinkat(d->fd, path, AT_REMOVEDIR);      /* fails unless it is empty */
    }
    (void)pthread_mutex_unlock(&d->lock);
}

int local_dir_exists(struct local_dir *d, uint64_t file)
{
    char path[NAMES_PATH_BYTES];

    names_segment(path, file);
    if (faccessat(d->fd, path, F_OK, 0) == 0) {
        return 1;
    }
    return errno == ENOENT ? 0 : -errno;
}
