/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mount_file.c - what the kernel asks of a mounted volume: one regular file, the root of
 * its file system.
 *
 * Nothing is cached in the kernel: reads and writes come here as they are (direct_io), and
 * the size is asked for each time, so that a live resize is seen.  The file's size is the
 * volume's; it behaves as a disk does: a write beyond the end finds no room.
 *
 * The functions run in the threads of fuse_session_loop_mt(), many at a time, and wait for
 * the library's synchronous calls.  The kernel checks permissions (default_permissions).
 */
#define FUSE_USE_VERSION 312
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (1u << 20)    /* what libfuse and the kernel pass at most */
#define REQUESTS_MAX 64                 /* asynchronous ones in flight */
#define BUFFER_ALIGN 4096               /* for the store's direct I/O */

#define MIN(a, b) ((a) < (b) ? (a) : (b))

static struct mount_file *file_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

void mount_file_init(struct mount_file *f, struct hlfs *v)
{
    struct hlfs_info info;

    f->volume = v;
    f->read_only = hlfs_is_read_only(v);
    f->mode = f->read_only ? 0400 : 0600;
    f->uid = getuid();
    f->gid = getgid();
    f->changed_s = time(NULL);
    if (hlfs_get_info(v, &info, sizeof(info)) == 0) {
        f->live_bytes = info.live_bytes;
    }
}

/* Bytes of LEN from OFFSET on that lie inside the volume. */
static uint64_t inside(struct mount_file *f, off_t offset, uint64_t len)
{
    uint64_t size = hlfs_size(f->volume);
    uint64_t from = (uint64_t)offset;

    return offset < 0 || from >= size ? 0 : MIN(len, size - from);
}

static void changed(struct mount_file *f)
{
    f->changed_s = time(NULL);
}

/* Opened by O_SYNC or O_DSYNC, which has a bit of O_SYNC. */
static unsigned write_flags(int open_flags)
{
    return open_flags & O_DSYNC ? HLFS_FUA : 0;
}

/* ---- The session ---------------------------------------------------------- */

static void file_init(void *userdata, struct fuse_conn_info *conn)
{
    struct mount_file *f = userdata;

    conn->max_write = REQUEST_BYTES_MAX;
    conn->max_background = REQUESTS_MAX;
    conn->congestion_threshold = REQUESTS_MAX * 3 / 4;
    f->ready(f->opaque);
}

/* ---- Attributes ----------------------------------------------------------- */

/* What is live, as of the last checkpoint.  Never none: programs take a file without any
 * block for one hole, and look no further. */
static uint64_t used_bytes(struct mount_file *f, uint64_t size)
{
    struct hlfs_info info;
    uint64_t live = f->live_bytes;
    uint64_t least = MIN(size, hlfs_block_size(f->volume));

    if (!f->read_only && hlfs_get_info(f->volume, &info, sizeof(info)) == 0) {
        live = info.live_bytes;
    }
    return live < least ? least : MIN(live, size);
}

static void attributes(struct mount_file *f, struct stat *st)
{
    uint64_t size = hlfs_size(f->volume);

    *st = (struct stat){
        .st_ino = FUSE_ROOT_ID,
        .st_mode = S_IFREG | f->mode,
        .st_nlink = 1,
        .st_uid = f->uid,
        .st_gid = f->gid,
        .st_size = (off_t)size,
        .st_blksize = (blksize_t)hlfs_block_size(f->volume),
        .st_blocks = (blkcnt_t)(used_bytes(f, size) / 512),
    };
    st->st_mtim.tv_sec = st->st_ctim.tv_sec = st->st_atim.tv_sec = f->changed_s;
}

static void file_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    attributes(file_of(req), &st);
    (void)fuse_reply_attr(req, &st, 0);
}

/* Owner and permissions last as long as the mount.  Times are those of writes. */
static void file_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int to_set,
                         struct fuse_file_info *fi)
{
    struct mount_file *f = file_of(req);
    struct stat st;

    if ((to_set & FUSE_SET_ATTR_SIZE) && (uint64_t)wanted->st_size != hlfs_size(f->volume)) {
        (void)fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    if (to_set & FUSE_SET_ATTR_MODE) {
        f->mode = wanted->st_mode & 0777;
    }
    if (to_set & FUSE_SET_ATTR_UID) {
        f->uid = wanted->st_uid;
    }
    if (to_set & FUSE_SET_ATTR_GID) {
        f->gid = wanted->st_gid;
    }
    attributes(f, &st);
    (void)fuse_reply_attr(req, &st, 0);
}

static void file_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct mount_file *f = file_of(req);
    uint64_t size = hlfs_size(f->volume);
    uint32_t block = hlfs_block_size(f->volume);
    struct statvfs st = {
        .f_bsize = block,
        .f_frsize = block,
        .f_blocks = size / block,
        .f_bfree = (size - used_bytes(f, size)) / block,
        .f_files = 1,
        .f_namemax = 255,
    };

    st.f_bavail = st.f_bfree;
    (void)fuse_reply_statfs(req, &st);
}

/* ---- Open and close ------------------------------------------------------- */

static void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount_file *f = file_of(req);

    if (f->read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
        (void)fuse_reply_err(req, EROFS);
        return;
    }
    if ((fi->flags & O_TRUNC) && hlfs_size(f->volume) > 0) {
        (void)fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    fi->fh = (uint64_t)fi->flags;
    fi->direct_io = 1;
#ifdef HAVE_PARALLEL_DIRECT_WRITES
    fi->parallel_direct_writes = 1;
#endif
    (void)fuse_reply_open(req, fi);
}

static void file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
                       struct fuse_file_info *fi)
{
    struct mount_file *f = file_of(req);

    (void)fuse_reply_err(req, f->read_only ? 0 : -hlfs_flush(f->volume));
}

/* A descriptor is closed. */
static void file_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (((int)fi->fh & O_ACCMODE) == O_RDONLY) {
        (void)fuse_reply_err(req, 0);
        return;
    }
    file_fsync(req, ino, 0, fi);
}

/* ---- Data ----------------------------------------------------------------- */

static void file_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t offset,
                      struct fuse_file_info *fi)
{
    struct mount_file *f = file_of(req);
    void *buf = NULL;
    int r;

    len = (size_t)inside(f, offset, len);
    if (len == 0) {
        (void)fuse_reply_buf(req, NULL, 0);
        return;
    }
    r = -posix_memalign(&buf, BUFFER_ALIGN, len);
    if (r == 0) {
        r = hlfs_pread(f->volume, buf, len, (uint64_t)offset);
    }
    if (r < 0) {
        (void)fuse_reply_err(req, -r);
    } else {
        (void)fuse_reply_buf(req, buf, len);
    }
    free(buf);
}

static void file_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t len,
                       off_t offset, struct fuse_file_info *fi)
{
    struct mount_file *f = file_of(req);
    size_t fits = (size_t)inside(f, offset, len);
    int r;

    if (fits == 0 && len > 0) {
        (void)fuse_reply_err(req, ENOSPC);
        return;
    }
    r = hlfs_pwrite(f->volume, buf, fits, (uint64_t)offset, write_flags(fi->flags));
    changed(f);
    if (r < 0) {
        (void)fuse_reply_err(req, -r);
    } else {
        (void)fuse_reply_write(req, fits);
    }
}

static int punch(struct mount_file *f, off_t offset, off_t len, unsigned flags)
{
    uint64_t fits = inside(f, offset, (uint64_t)len);

    return fits ? hlfs_discard(f->volume, fits, (uint64_t)offset, flags) : 0;
}

/* Beyond the end only as far as the size stays: KEEP_SIZE. */
static int zero(struct mount_file *f, bool keep_size, off_t offset, off_t len,
                unsigned flags)
{
    uint64_t fits = inside(f, offset, (uint64_t)len);

    if (!keep_size && fits < (uint64_t)len) {
        return -ENOSPC;
    }
    return fits ? hlfs_zero(f->volume, fits, (uint64_t)offset, flags) : 0;
}

static void file_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
                           off_t len, struct fuse_file_info *fi)
{
    struct mount_file *f = file_of(req);
    unsigned flags = write_flags((int)fi->fh);
    int r;

    switch (mode) {
    case 0:
        /* The file is as large as it will be; room is found when it is written. */
        r = inside(f, offset, (uint64_t)len) < (uint64_t)len ? -ENOSPC : 0;
        break;
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
        r = punch(f, offset, len, flags);
        changed(f);
        break;
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        r = zero(f, mode & FALLOC_FL_KEEP_SIZE, offset, len, flags);
        changed(f);
        break;
    default:
        r = -EOPNOTSUPP;
    }
    (void)fuse_reply_err(req, -r);
}

/* The first offset from *OFFSET on that is WANTED; the end is a hole. */
static int seek(struct mount_file *f, enum hlfs_status wanted, uint64_t *offset)
{
    uint64_t size = hlfs_size(f->volume);

    if (*offset >= size) {
        return -ENXIO;
    }
    while (*offset < size) {
        enum hlfs_status status;
        uint64_t len;
        int r = hlfs_block_status(f->volume, size - *offset, *offset, &status, &len);

        if (r < 0 || status == wanted) {
            return r;
        }
        *offset += len;
    }
    return wanted == HLFS_STATUS_HOLE ? 0 : -ENXIO;
}

static void file_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                       struct fuse_file_info *fi)
{
    uint64_t at = (uint64_t)offset;
    int r = offset < 0 ? -ENXIO : whence != SEEK_DATA && whence != SEEK_HOLE ? -EINVAL : 0;

    if (r == 0) {
        r = seek(file_of(req), whence == SEEK_DATA ? HLFS_STATUS_DATA : HLFS_STATUS_HOLE,
                 &at);
    }
    if (r < 0) {
        (void)fuse_reply_err(req, -r);
    } else {
        (void)fuse_reply_lseek(req, (off_t)at);
    }
}

static void file_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                       struct fuse_file_info *fi, unsigned flags, const void *in_buf,
                       size_t in_bytes, size_t out_bytes)
{
    int32_t pid = (int32_t)getpid();

    if (cmd != MOUNT_IOCTL_PID || out_bytes < sizeof(pid)) {
        (void)fuse_reply_err(req, ENOTTY);
        return;
    }
    (void)fuse_reply_ioctl(req, 0, &pid, sizeof(pid));
}

const struct fuse_lowlevel_ops mount_file_ops = {
    .init = file_init,
    .getattr = file_getattr,
    .setattr = file_setattr,
    .statfs = file_statfs,
    .open = file_open,
    .flush = file_flush,
    .fsync = file_fsync,
    .read = file_read,
    .write = file_write,
    .fallocate = file_fallocate,
    .lseek = file_lseek,
    .ioctl = file_ioctl,
};
