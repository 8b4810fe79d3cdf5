/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mount.h - what hlfs mount and hlfs umount share: a volume as one file, by FUSE.
 *
 * mount.c       the command: checks, the process in the background, its beginning and end
 * mount_file.c  what the kernel asks of the file; runs in many threads
 * mount_point.c paths, what is mounted there, unmounting
 * umount.c      the command that ends a mount
 *
 * Without libfuse3 only mount_none.c is built.
 */
#ifndef HLFS_CLI_MOUNT_H
#define HLFS_CLI_MOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "hlfs.h"

/* Answered by a file that hlfs mount made: the id of the process that serves it. */
#define MOUNT_IOCTL_PID _IOR('h', 0x46, int32_t)

#define MOUNT_TYPE "fuse.hlfs"      /* in /proc/self/mountinfo */

/* ---- mount_file.c ---------------------------------------------------------- */

/*
 * The file.  It is set before the session begins; what changes later is atomic.
 * READY is called once, by any thread, when the kernel has begun to use the mount.
 */
struct mount_file {
    struct hlfs *volume;            /* borrowed */
    void (*ready)(void *opaque);
    void *opaque;
    uint64_t live_bytes;            /* of a read-only volume, which does not change */
    bool read_only;
    _Atomic mode_t mode;            /* permissions only */
    _Atomic uid_t uid;
    _Atomic gid_t gid;
    _Atomic int64_t changed_s;      /* the last write, seconds since 1970 */
};

/* V is to be a file of this process's user. */
void mount_file_init(struct mount_file *f, struct hlfs *v);

struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops mount_file_ops;   /* userdata: struct mount_file */

/* ---- mount_point.c --------------------------------------------------------- */

/* The absolute path of FILE, whose directory has to be there, with no symbolic link in it;
 * also where FILE is a dead mount.  malloc'ed.  -errno. */
int mount_point_path(const char *file, char **ret);

struct mount_point {
    bool mounted;       /* something is mounted on this very path */
    bool ours;          /* by hlfs mount; then: */
    bool dead;          /* its process is gone; unknown to others than who mounted it */
    uid_t user;         /* who mounted it */
    gid_t group;
};

/* -errno: /proc/self/mountinfo cannot be read. */
int mount_point_look(const char *path, struct mount_point *ret);

/* Unmount PATH, which hlfs mount mounted for this user; LAZY: also if it is in use.
 * -EBUSY, -ENOENT (no fusermount3, which users need), or another -errno. */
int mount_point_unmount(const char *path, bool lazy);

#endif
