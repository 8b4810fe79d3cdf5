/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume's small named files, and what it takes to give a file its name in one step.
 */
#include "store/local_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

int local_dir_rename(struct local_dir *d, const char *from, const char *to)
{
    if (renameat2(d->fd, from, d->fd, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    return errno == ENOSYS ? -EINVAL : -errno;
}

int local_dir_publish(struct local_dir *d, const char *from, const char *to)
{
    int r = local_dir_rename(d, from, to);

    if (r != -EINVAL) {
        return r;
    }
    if (linkat(d->fd, from, d->fd, to, 0) < 0) {
        return -errno;
    }
    (void)unlinkat(d->fd, from, 0);     /* a second name is rubbish, not harm */
    return 0;
}

/* local_dir_destroy() must know the names too, or it would leave the files. */
static int check_name(const char *name)
{
    if (strcmp(name, "volume") != 0) {
        return error_set(-EINVAL, "'%s' is no file of a volume", name);
    }
    return 0;
}

static int read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)MAX(n, (ssize_t)0);
    }
    return (int)len;
}

int local_dir_get(struct local_dir *d, const char *name, void *buf, size_t size)
{
    _cleanup_close_ int fd = -1;
    int r = check_name(name);

    if (r < 0) {
        return r;
    }
    fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    r = fd < 0 ? -errno : read_all(fd, buf, size);
    if (r < 0) {
        return error_set(r, "cannot read %s/%s: %s", d->path, name, error_name(r));
    }
    return r;
}

static int write_all(int fd, const char *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, buf, len);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -EIO;
        }
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int put_as(struct local_dir *d, const char *temp, const char *name,
                  const void *buf, size_t len)
{
    _cleanup_close_ int fd = openat(d->fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                    d->file_mode);
    int r;

    if (fd < 0) {
        return -errno;
    }
    r = write_all(fd, buf, len);
    if (r == 0 && fsync(fd) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = local_dir_publish(d, temp, name);
    }
    if (r < 0) {
        (void)unlinkat(d->fd, temp, 0);
        return r;
    }
    return local_dir_sync(d, ".");
}

int local_dir_put(struct local_dir *d, const char *name, const void *buf, size_t len)
{
    char temp[NAMES_RANDOM_BYTES];
    int r = check_name(name);

    if (r < 0) {
        return r;
    }
    names_random(temp, ".put-");
    r = put_as(d, temp, name, buf, len);
    if (r < 0) {
        return error_set(r, "cannot write %s/%s: %s", d->path, name, error_name(r));
    }
    return 0;
}
