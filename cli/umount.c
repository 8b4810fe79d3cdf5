/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * umount.c - hlfs umount: end what hlfs mount began, and wait until the volume is free.
 *
 * The file itself tells which process serves it (MOUNT_IOCTL_PID).  When that process has
 * ended, the next open is not refused.
 */
#include "common.h"
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct umount {
    char *path;             /* owned */
    struct mount_point point;
    int server;             /* owned; a pidfd of the process that serves it */
    bool lost;              /* what was written last is not durable */
};

static int point_look(struct umount *u)
{
    int r = mount_point_look(u->path, &u->point);

    if (r < 0) {
        return fail("cannot read /proc/self/mountinfo: %s", strerror(-r));
    }
    if (!u->point.ours) {
        return fail("%s is not mounted by hlfs mount", u->path);
    }
    return EXIT_OK;
}

/* The kernel lets nobody but the user who mounted it see into a mount, not even root. */
static int user_become(struct umount *u)
{
    const struct mount_point *point = &u->point;

    if (geteuid() == point->user) {
        return EXIT_OK;
    }
    if (geteuid() != 0) {
        return fail("user %u has mounted %s: only that user and root can unmount it",
                    (unsigned)point->user, u->path);
    }
    if (setgroups(0, NULL) < 0 ||
        setresgid(point->group, point->group, point->group) < 0 ||
        setresuid(point->user, point->user, point->user) < 0) {
        return fail("cannot become user %u, whose mount it is: %s", (unsigned)point->user,
                    strerror(errno));
    }
    return point_look(u);       /* now it can be told whether it is dead */
}

/* Find the process, and make everything durable, while somebody can be told of a failure. */
static int server_find(struct umount *u)
{
    int fd = open(u->path, O_RDONLY | O_CLOEXEC);
    int32_t pid = 0;
    int status = EXIT_OK;

    if (fd < 0) {
        return fail("cannot ask the process that serves %s: %s", u->path, strerror(errno));
    }
    u->server = ioctl(fd, MOUNT_IOCTL_PID, &pid) < 0
                    ? -1 : (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (u->server < 0) {
        status = fail("cannot find the process that serves %s: %s", u->path,
                      strerror(errno));
    } else if (fsync(fd) < 0) {
        u->lost = true;
        warn("what was written to %s last may not be durable: %s", u->path,
             strerror(errno));
    }
    (void)close(fd);
    return status;
}

static int point_unmount(const struct umount *u)
{
    int r = mount_point_unmount(u->path, u->point.dead);

    switch (r) {
    case 0:
        return EXIT_OK;
    case -EBUSY:
        return fail("%s is in use: end what uses it (a program, a loop device), then "
                    "unmount it", u->path);
    case -ENOENT:
        return fail("cannot unmount %s: fusermount3 is not in $PATH; install the package "
                    "fuse3", u->path);
    default:
        return fail("cannot unmount %s: %s", u->path, strerror(-r));
    }
}

/* When that process has ended, everything is durable and the volume is free. */
static void server_wait(const struct umount *u)
{
    struct pollfd end = { .fd = u->server, .events = POLLIN };

    while (poll(&end, 1, -1) < 0 && errno == EINTR) {
    }
}

int umount_run(const struct arguments *a)
{
    struct umount u = { .server = -1 };
    int r = mount_point_path(a->operands[0], &u.path);
    int status = r < 0 ? fail("cannot unmount %s: %s", a->operands[0], strerror(-r))
                       : point_look(&u);

    if (status == EXIT_OK) {
        status = user_become(&u);
    }
    if (status == EXIT_OK && !u.point.dead) {
        status = server_find(&u);
    }
    if (status == EXIT_OK) {
        status = point_unmount(&u);
    }
    if (status == EXIT_OK && u.server >= 0) {
        server_wait(&u);
    }
    if (u.server >= 0) {
        (void)close(u.server);
    }
    free(u.path);
    return status == EXIT_OK && u.lost ? EXIT_FAILED : status;
}
