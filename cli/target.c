/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

#define HOLE_BYTES 4096u        /* smaller runs of zeros are written */
#define ZERO_BYTES (1u << 20)

/* ---- What it is ----------------------------------------------------------- */

static int target_is(struct target *t, const struct stat *st, bool link)
{
    if (S_ISBLK(st->st_mode)) {
        t->kind = TARGET_DEVICE;
        return t->force ? EXIT_OK :
               fail("%s is a block device: all that is on it would be lost; --force writes "
                    "to it", t->path);
    }
    if (S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode)) {
        t->kind = TARGET_STREAM;
        return EXIT_OK;
    }
    if (S_ISDIR(st->st_mode)) {
        return fail("cannot export to %s: it is a directory; name a file in it", t->path);
    }
    if (!S_ISREG(st->st_mode)) {
        return fail("cannot export to %s: it is no file, block device or pipe", t->path);
    }
    if (link) {
        return fail("cannot export to %s: it is a symbolic link; name the file that it "
                    "leads to", t->path);
    }
    return t->force ? EXIT_OK :
           fail("cannot export to %s: it exists; --force replaces it", t->path);
}

int target_init(struct target *t, const char *path, bool force)
{
    const char *slash = strrchr(path, '/');
    struct stat st, own;

    *t = (struct target){
        .path = path, .kind = TARGET_FILE, .force = force, .fd = -1, .dir = -1,
        .name = slash ? slash + 1 : path,
    };
    if (strcmp(path, "-") == 0) {
        t->kind = TARGET_STREAM;
        t->standard = true;
        t->path = "the standard output";
        return isatty(STDOUT_FILENO) ?
               fail("an image is not written to a terminal; name a file, or lead the output "
                    "to another program") : EXIT_OK;
    }
    if (lstat(path, &own) < 0) {
        return errno == ENOENT && t->name[0] ? EXIT_OK :
               fail("cannot export to %s: %s", path,
                    errno == ENOENT ? "it names no file" : strerror(errno));
    }
    if (stat(path, &st) < 0) {
        return fail("cannot export to %s: it is a symbolic link that leads nowhere", path);
    }
    return target_is(t, &st, S_ISLNK(own.st_mode));
}

/* ---- Opening -------------------------------------------------------------- */

/* The size tells the file system, and everybody who looks, at once; all is a hole. */
static int file_size(struct target *t, uint64_t size_bytes)
{
    if (ftruncate(t->fd, 0) < 0 || ftruncate(t->fd, (off_t)size_bytes) < 0) {
        return fail("cannot make a file of %s for %s: %s", size_format(size_bytes).text,
                    t->path, strerror(errno));
    }
    return EXIT_OK;
}

static int file_open(struct target *t, uint64_t size_bytes)
{
    size_t dir_len = (size_t)(t->name - t->path);
    char *dir = dir_len ? strndup(t->path, dir_len) : strdup(".");
    uint64_t random = 0;
    int status = EXIT_OK;

    t->dir = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (t->dir < 0) {
        status = fail("cannot export to %s: the directory %s cannot be opened: %s", t->path,
                      dir ? dir : "", strerror(errno));
    } else {
        (void)getrandom(&random, sizeof(random), GRND_NONBLOCK);
        (void)snprintf(t->temp, sizeof(t->temp), ".hlfs-export-%016" PRIx64,
                       random ^ (uint64_t)getpid());
        t->fd = openat(t->dir, t->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (t->fd < 0) {
            t->temp[0] = '\0';
            status = fail("cannot export to %s: no file can be made in %s: %s", t->path, dir,
                          strerror(errno));
        }
    }
    free(dir);
    return status == EXIT_OK ? file_size(t, size_bytes) : status;
}

static int device_open(struct target *t, uint64_t size_bytes)
{
    uint64_t room;

    t->fd = open(t->path, O_WRONLY | O_EXCL | O_CLOEXEC);
    if (t->fd < 0) {
        return fail("cannot write to %s: %s", t->path,
                    errno == EBUSY ? "it is in use (mounted?)" : strerror(errno));
    }
    if (ioctl(t->fd, BLKGETSIZE64, &room) < 0) {
        return fail("cannot tell the size of %s: %s", t->path, strerror(errno));
    }
    if (room < size_bytes) {
        return fail("%s is too small: it has %" PRIu64 " bytes, the volume has %" PRIu64,
                    t->path, room, size_bytes);
    }
    return EXIT_OK;
}

static int stream_open(struct target *t)
{
    t->fd = t->standard ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) :
            open(t->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    return t->fd >= 0 ? EXIT_OK : fail("cannot write to %s: %s", t->path, strerror(errno));
}

int target_open(struct target *t, uint64_t size_bytes)
{
    switch (t->kind) {
    case TARGET_FILE:
        return file_open(t, size_bytes);
    case TARGET_DEVICE:
        return device_open(t, size_bytes);
    default:
        return stream_open(t);
    }
}

int target_again(struct target *t, uint64_t size_bytes)
{
    return t->kind == TARGET_FILE ? file_size(t, size_bytes) : EXIT_OK;
}

/* ---- Its end -------------------------------------------------------------- */

/* Give the file its name, and replace nothing unless that was asked for. */
static int file_publish(struct target *t)
{
    int r = t->force ? renameat(t->dir, t->temp, t->dir, t->name) :
            renameat2(t->dir, t->temp, t->dir, t->name, RENAME_NOREPLACE);

    if (r < 0 && !t->force && (errno == EINVAL || errno == ENOSYS)) {
        /* A file system without it. */
        r = linkat(t->dir, t->temp, t->dir, t->name, 0);
        if (r == 0) {
            (void)unlinkat(t->dir, t->temp, 0);
        }
    }
    if (r < 0) {
        return errno == EEXIST ?
               fail("cannot export to %s: somebody has made it meanwhile", t->path) :
               fail("cannot give the export its name %s: %s", t->path, strerror(errno));
    }
    t->temp[0] = '\0';
    return fsync(t->dir) == 0 ? EXIT_OK :
           fail("cannot make the name %s durable: %s", t->path, strerror(errno));
}

int target_commit(struct target *t)
{
    int fd = t->fd;

    if (t->kind != TARGET_STREAM && fsync(fd) < 0) {
        return fail("cannot make %s durable: %s", t->path, strerror(errno));
    }
    t->fd = -1;
    if (close(fd) < 0) {
        return fail("cannot write to %s: %s", t->path, strerror(errno));
    }
    return t->kind == TARGET_FILE ? file_publish(t) : EXIT_OK;
}

void target_done(struct target *t)
{
    if (t->temp[0]) {
        (void)unlinkat(t->dir, t->temp, 0);
        t->temp[0] = '\0';
    }
    if (t->fd >= 0) {
        (void)close(t->fd);
    }
    if (t->dir >= 0) {
        (void)close(t->dir);
    }
    t->fd = t->dir = -1;
}

/* ---- Writing -------------------------------------------------------------- */

static int write_at(int fd, const char *buf, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, buf, len, (off_t)at);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -EIO;
        }
        if (n > 0) {
            buf += n;
            at += (uint64_t)n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int write_next(int fd, const char *buf, size_t len)
{
    while (len > 0) {
        struct pollfd room = { .fd = fd, .events = POLLOUT };
        ssize_t n = write(fd, buf, len);

        if (n < 0 && errno == EAGAIN) {     /* whoever made it chose O_NONBLOCK */
            (void)poll(&room, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* How many bytes from BUF on are in whole units that are ZERO, or are not. */
static size_t run_bytes(const char *buf, size_t len, bool zero)
{
    size_t n = 0;

    while (n < len) {
        size_t unit = len - n < HOLE_BYTES ? len - n : HOLE_BYTES;

        if (copy_is_zero(buf + n, unit) != zero) {
            break;
        }
        n += unit;
    }
    return n;
}

/* The file is new: what is not written is a hole. */
static int file_write(void *to, const void *buf, size_t len, uint64_t at)
{
    const struct target *t = to;
    const char *p = buf;
    int res = 0;

    while (len > 0 && res == 0) {
        size_t hole = run_bytes(p, len, true);
        size_t data = run_bytes(p + hole, len - hole, false);

        res = write_at(t->fd, p + hole, data, at + hole);
        p += hole + data;
        at += hole + data;
        len -= hole + data;
    }
    return res;
}

static int device_write(void *to, const void *buf, size_t len, uint64_t at)
{
    const struct target *t = to;

    return write_at(t->fd, buf, len, at);
}

static const char *zeros(void)
{
    static const char bytes[ZERO_BYTES];

    return bytes;
}

/* By the device itself where it can; else by writing. */
static int device_hole(void *to, uint64_t len, uint64_t at)
{
    const struct target *t = to;
    int res = fallocate(t->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                        (off_t)len);

    while (res != 0 && len > 0) {
        size_t n = len < ZERO_BYTES ? (size_t)len : ZERO_BYTES;
        int r = write_at(t->fd, zeros(), n, at);

        if (r < 0) {
            return r;
        }
        at += n;
        len -= n;
    }
    return 0;
}

static int stream_write(void *to, const void *buf, size_t len, uint64_t at)
{
    const struct target *t = to;

    return write_next(t->fd, buf, len);
}

static int stream_hole(void *to, uint64_t len, uint64_t at)
{
    const struct target *t = to;
    int res = 0;

    while (res == 0 && len > 0) {
        size_t n = len < ZERO_BYTES ? (size_t)len : ZERO_BYTES;

        res = write_next(t->fd, zeros(), n);
        len -= n;
    }
    return res;
}

const struct copy_sink *target_sink(const struct target *t)
{
    static const struct copy_sink file = { .write = file_write };
    static const struct copy_sink device = { .write = device_write, .hole = device_hole };
    static const struct copy_sink stream = {
        .write = stream_write, .hole = stream_hole, .ordered = true,
    };

    return t->kind == TARGET_FILE ? &file : t->kind == TARGET_DEVICE ? &device : &stream;
}
