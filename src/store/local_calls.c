/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations that change names: they block, so they run on a thread of the pool.
 */
#include "store/local_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* ---- Names left behind -------------------------------------------------------- */

/* FILE's name is there, ours, and could not be removed. */
static void left_add(struct local_store *l, uint64_t id, bool spare)
{
    struct local_left *left = &l->left;
    unsigned i = 0;

    (void)pthread_mutex_lock(&left->lock);
    while (i < LOCAL_LEFT_MAX - 1 && left->name[i].id != 0) {
        i++;
    }
    left->name[i].id = id;
    left->name[i].spare = spare;
    (void)pthread_mutex_unlock(&left->lock);
}

/* Was FILE's name left behind?  It is forgotten. */
static bool left_take(struct local_store *l, uint64_t id, bool *ret_spare)
{
    struct local_left *left = &l->left;
    bool found = false;

    *ret_spare = false;
    (void)pthread_mutex_lock(&left->lock);
    for (unsigned i = 0; i < LOCAL_LEFT_MAX && !found; i++) {
        if (left->name[i].id == id) {
            found = true;
            left->name[i].id = 0;
            *ret_spare = left->name[i].spare;
        }
    }
    (void)pthread_mutex_unlock(&left->lock);
    return found;
}

/* ---- CREATE ------------------------------------------------------------------ */

/* Secure SIZE bytes for FD, and no more; where the file system can't, it grows. */
static int make_room(struct local_store *l, int fd, uint64_t size)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if ((uint64_t)st.st_size > size && ftruncate(fd, (off_t)size) < 0) {
        return -errno;
    }
    if ((uint64_t)st.st_size >= size) {
        return 0;
    }
    while (fallocate(fd, 0, 0, (off_t)size) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS) {
            atomic_store(&l->thin, true);
            return 0;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* A spare may come from a writer that was opened with wider permissions. */
static int narrow_mode(struct local_dir *d, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if ((st.st_mode & 0777 & ~d->file_mode) &&
        fchmod(fd, st.st_mode & d->file_mode) < 0) {
        return -errno;
    }
    return 0;
}

static int open_name(struct local_store *l, uint64_t id, int flags, bool *ret_direct)
{
    int fd;

    do {
        fd = local_dir_open_file(&l->dir, id, flags, ret_direct);
    } while ((fd == -EMFILE || fd == -ENFILE) && local_files_make_room(&l->files));
    return fd;
}

/* Give FILE its name, a spare's content or none, and open it. */
static int create_name(struct local_store *l, uint64_t id, uint64_t size,
                       bool *ret_direct, bool *ret_spare)
{
    int r = local_dir_make_shard(&l->dir, id);

    *ret_spare = false;
    if (r < 0) {
        return r;
    }
    r = local_pool_take(&l->pool, id, size);
    if (r < 0) {
        return r;
    }
    *ret_spare = r > 0;
    return open_name(l, id, r > 0 ? O_RDWR : O_RDWR | O_CREAT | O_EXCL, ret_direct);
}

/*
 * Open FILE, whose name we left behind.  It is still ours unless its removal failed in
 * word only, and another writer voted with the number since: who does that has removed
 * our lock file before.  -EEXIST then.
 */
static int open_left(struct local_store *l, uint64_t id, bool *ret_direct)
{
    int fd = open_name(l, id, O_RDWR, ret_direct);

    if (fd >= 0 && local_lock_lost(&l->lock)) {
        (void)close(fd);
        return -EEXIST;
    }
    return fd;
}

/* All that makes a file out of a name. */
static int create_rest(struct local_store *l, uint64_t id, uint64_t size, int fd,
                       bool spare)
{
    int r = make_room(l, fd, size);

    if (r == 0 && spare) {
        r = narrow_mode(&l->dir, fd);
    }
    if (r == 0 && fsync(fd) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = local_dir_sync_name(&l->dir, id, false);
    }
    if (r == 0 && spare) {
        r = local_dir_sync(&l->dir, "pool");
    }
    return r;
}

/*
 * The create failed with R: take the name back.  If it stays the outcome is unknown to
 * who asked, whatever failed: -EIO has the create repeated, and that goes on with it.
 */
static int take_back(struct local_store *l, uint64_t id, bool spare, int r)
{
    char path[NAMES_PATH_BYTES];

    names_segment(path, id);
    if (unlinkat(l->dir.fd, path, 0) == 0 || errno == ENOENT) {
        return r;
    }
    left_add(l, id, spare);
    return -EIO;
}

int local_call_create(struct local_store *l, uint64_t id, uint64_t size)
{
    bool direct = false, spare = false, left_spare;
    bool left = left_take(l, id, &left_spare);
    int fd, r;

    fd = create_name(l, id, size, &direct, &spare);
    if (fd == -ENOENT && !spare) {
        /* Its directory was empty and went (local_dir_drop_shard): make it again. */
        fd = create_name(l, id, size, &direct, &spare);
    }
    if (fd == -EEXIST && left) {
        fd = open_left(l, id, &direct);
        spare = fd >= 0 && left_spare;
    }
    if (fd < 0 && !spare) {
        if (!left || fd == -EEXIST) {
            return fd;
        }
        left_add(l, id, left_spare);
        return -EIO;
    }
    r = fd < 0 ? fd : create_rest(l, id, size, fd, spare);
    if (r == 0) {
        r = local_files_add(&l->files, id, fd, direct);
    }
    if (r < 0) {
        r = take_back(l, id, spare, r);
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    return r;
}

/* ---- REMOVE ------------------------------------------------------------------ */

int local_call_remove(struct local_store *l, uint64_t id)
{
    char path[NAMES_PATH_BYTES];
    bool spare, clean = local_files_forget(&l->files, id);

    (void)left_take(l, id, &spare);     /* no create of it follows */
    if (clean && !atomic_load(&l->thin) && local_pool_add(&l->pool, id) > 0) {
        local_dir_drop_shard(&l->dir, id);
        return 0;
    }
    names_segment(path, id);
    if (unlinkat(l->dir.fd, path, 0) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    local_dir_drop_shard(&l->dir, id);
    return 0;
}

/* ---- SYNC -------------------------------------------------------------------- */

int local_call_sync_old(struct local_store *l, uint64_t id, struct local_file *file)
{
    /* Who made the file may have died before its name was durable. */
    if (fsync(file->fd) < 0) {
        return -errno;
    }
    return local_dir_sync_name(&l->dir, id, true);
}
