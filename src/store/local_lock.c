/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/local_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/error.h"

/* The kernel finishes a killed process's I/O, and only then lets go of its locks.  Who
 * wants to take over from it waits for that; who only reads tells what is so now. */
#define ALIVE_WAIT_US 1000000
#define ALIVE_STEP_US 20000

static void lock_name(char name[NAMES_RANDOM_BYTES], uint64_t epoch)
{
    (void)snprintf(name, NAMES_RANDOM_BYTES, "lock-%016" PRIx64, epoch);
}

static bool parse_lock(const char *name, uint64_t *ret_epoch)
{
    return strncmp(name, "lock-", 5) == 0 && names_parse_hex(name + 5, 16, ret_epoch);
}

void local_lock_init(struct local_lock *l, struct local_dir *dir)
{
    l->dir = dir;
    l->fd = -1;
    l->epoch = 0;
}

/* ---- Looking ----------------------------------------------------------------- */

/* Lock file NAME: 1 held, 0 free, -EAGAIN it has gone. */
static int held(struct local_dir *dir, const char *name)
{
    _cleanup_close_ int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        return errno == ENOENT ? -EAGAIN : -errno;
    }
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        return 0;       /* closing it lets go */
    }
    return errno == EWOULDBLOCK ? 1 : -errno;
}

struct look {
    struct local_dir *dir;
    int found;              /* 1, or what the first one said that is not just free */
};

static int look_name(void *opaque, const char *name)
{
    struct look *look = opaque;
    uint64_t epoch;
    int r = parse_lock(name, &epoch) ? held(look->dir, name) : 0;

    if (r == 1 || look->found == 0) {
        look->found = r;
    }
    return 0;
}

/*
 * One look at all lock files: 1 one is held, 0 all are free, -EAGAIN one has gone.  The
 * highest tells nothing about the others: who took over may have died before it removed
 * the lock of the one that it took over from, which goes on.
 */
static int look(struct local_lock *l)
{
    struct look look = { .dir = l->dir };
    int r = local_dir_each(l->dir, ".", look_name, &look);

    return r < 0 ? r : look.found;
}

int local_lock_alive(struct local_lock *l)
{
    uint64_t start_us = clock_monotonic_us(&clock_system);
    int r;

    do {
        r = look(l);
        if (r == 1 ? l->dir->read_only : r != -EAGAIN && r != -EINTR) {
            break;
        }
        (void)nanosleep(&(struct timespec){ .tv_nsec = ALIVE_STEP_US * 1000 }, NULL);
    } while (clock_monotonic_us(&clock_system) - start_us < ALIVE_WAIT_US);
    if (r < 0) {
        return error_set(r, "cannot tell if the writer of %s lives: %s", l->dir->path,
                         error_name(r));
    }
    return r;
}

/* ---- Holding ----------------------------------------------------------------- */

static int drop_lower(void *opaque, const char *name)
{
    struct local_lock *l = opaque;
    uint64_t epoch;

    if (parse_lock(name, &epoch) && epoch < l->epoch) {
        (void)unlinkat(l->dir->fd, name, 0);
    }
    return 0;
}

/* A locked file under the name of EPOCH: its fd, or -errno. */
static int lock_file(struct local_dir *dir, uint64_t epoch)
{
    char temp[NAMES_RANDOM_BYTES], name[NAMES_RANDOM_BYTES];
    int fd, r = 0;

    names_random(temp, ".lock-");
    lock_name(name, epoch);
    fd = openat(dir->fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, dir->file_mode);
    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = local_dir_publish(dir, temp, name);
    }
    if (r < 0) {
        (void)unlinkat(dir->fd, temp, 0);
        (void)close(fd);
        return r;
    }
    return fd;
}

struct dead {
    struct local_dir *dir;
    uint64_t from;
};

/*
 * A lock file from the vote's number on whose process died before it had made its
 * segment, or lost its name: it would be in the way of this vote, or hide its lock.  Who
 * removes one holds it, and looks whether it still has the name.  -EEXIST: it is held.
 */
static int drop_dead(void *opaque, const char *name)
{
    const struct dead *d = opaque;
    _cleanup_close_ int fd = -1;
    struct stat mine, named;
    uint64_t epoch;

    if (!parse_lock(name, &epoch) || epoch < d->from) {
        return 0;
    }
    fd = openat(d->dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK ? -EEXIST : -errno;
    }
    if (fstat(fd, &mine) < 0 || fstatat(d->dir->fd, name, &named, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (mine.st_ino != named.st_ino) {
        return -EEXIST;     /* somebody else was as quick */
    }
    return unlinkat(d->dir->fd, name, 0) < 0 ? -errno : 0;
}

int local_lock_take(struct local_lock *l, uint64_t epoch)
{
    struct dead dead = { l->dir, epoch };
    int fd = local_dir_each(l->dir, ".", drop_dead, &dead);

    if (fd == 0) {
        fd = lock_file(l->dir, epoch);
    }
    if (fd == -EEXIST) {
        return error_set(fd, "somebody else is taking over the volume in %s",
                         l->dir->path);
    }
    if (fd < 0) {
        return error_set(fd, "cannot make lock-%016" PRIx64 " in %s: %s", epoch,
                         l->dir->path, error_name(fd));
    }
    if (l->fd >= 0) {
        (void)close(l->fd);
    }
    l->fd = fd;
    l->epoch = epoch;
    (void)local_dir_each(l->dir, ".", drop_lower, l);
    return 0;
}

bool local_lock_lost(const struct local_lock *l)
{
    struct stat st;

    return l->fd >= 0 && fstat(l->fd, &st) == 0 && st.st_nlink == 0;
}

void local_lock_drop(struct local_lock *l)
{
    char name[NAMES_RANDOM_BYTES];

    if (l->fd < 0) {
        return;
    }
    lock_name(name, l->epoch);
    (void)unlinkat(l->dir->fd, name, 0);
    (void)close(l->fd);
    l->fd = -1;
}
