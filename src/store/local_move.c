/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A volume's directory gets another name. */
#include "store/local_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

/* Where the file system cannot refuse to replace: an empty directory of our own holds the
 * name, and only that can be replaced. */
static int move_over_own(const char *from, const char *to)
{
    int r;

    if (mkdir(to, 0700) < 0) {
        return -errno;
    }
    r = rename(from, to) < 0 ? -errno : 0;
    if (r < 0) {
        (void)rmdir(to);
    }
    return r;
}

static int move(const char *from, const char *to)
{
    int r = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 ? -errno : 0;

    return r == -EINVAL || r == -ENOSYS ? move_over_own(from, to) : r;
}

/* Does D's path still lead to D? */
static int is_there(const struct local_dir *d)
{
    struct stat here, there;

    if (fstat(d->fd, &here) < 0 || stat(d->path, &there) < 0) {
        return -errno;
    }
    return here.st_dev == there.st_dev && here.st_ino == there.st_ino ? 0 : -ENOENT;
}

int local_dir_move(struct local_dir *d, const char *to)
{
    int r = is_there(d);

    if (r == 0) {
        r = move(d->path, to);
    }
    if (r == -EEXIST || r == -ENOTEMPTY) {
        return error_set(-EEXIST, "cannot move %s to %s: that is there already", d->path,
                         to);
    }
    if (r == -EXDEV) {
        return error_set(r, "cannot move %s to %s: that is on another file system; copy it "
                         "by hlfs export and hlfs import", d->path, to);
    }
    if (r == 0) {
        r = local_sync_parent(to);
    }
    if (r == 0) {
        r = local_sync_parent(d->path);
    }
    return r < 0 ? error_set(r, "cannot move %s to %s: %s", d->path, to, error_name(r)) : 0;
}
