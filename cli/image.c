/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

/* ---- Opening -------------------------------------------------------------- */

static int image_kind(struct image *i, bool standard)
{
    struct stat st;

    if (fstat(i->fd, &st) < 0) {
        return fail("cannot look at %s: %s", i->path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return fail("cannot import %s: it is a directory", i->path);
    }
    i->stream = !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) ||
                (standard && lseek(i->fd, 0, SEEK_CUR) != 0);
    if (!i->stream && S_ISREG(st.st_mode)) {
        i->bytes = (uint64_t)st.st_size;
    } else if (!i->stream && ioctl(i->fd, BLKGETSIZE64, &i->bytes) < 0) {
        return fail("cannot tell the size of %s: %s", i->path, strerror(errno));
    }
    return EXIT_OK;
}

int image_open(struct image *i, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    int status;

    *i = (struct image){ .path = standard ? "the standard input" : path, .fd = -1 };
    if (standard && isatty(STDIN_FILENO)) {
        return fail("an image is not read from a terminal; name a file, or lead another "
                    "program's output here");
    }
    i->fd = standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) :
            open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (i->fd < 0) {
        return fail("cannot open %s: %s", i->path, strerror(errno));
    }
    status = image_kind(i, standard);
    if (status != EXIT_OK) {
        image_close(i);
    } else if (!i->stream) {
        /* Several threads read a piece each: read ahead that, and guess nothing. */
        (void)posix_fadvise(i->fd, 0, 0, POSIX_FADV_RANDOM);
    }
    return status;
}

void image_close(struct image *i)
{
    if (i->fd >= 0) {
        (void)close(i->fd);
        i->fd = -1;
    }
}

/* ---- Reading -------------------------------------------------------------- */

static int file_extent(void *from, uint64_t at, uint64_t *ret_begin, uint64_t *ret_end)
{
    const struct image *i = from;
    off_t data, hole;

    *ret_begin = *ret_end = UINT64_MAX;     /* none, unless there is some */
    if (at >= i->bytes) {
        return 0;
    }
    data = lseek(i->fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
        return 0;
    }
    hole = data < 0 ? -1 : lseek(i->fd, data, SEEK_HOLE);
    /* A file system that tells no holes: all is data. */
    *ret_begin = data < 0 ? at : (uint64_t)data;
    *ret_end = hole < 0 ? i->bytes : (uint64_t)hole;
    return 0;
}

/* Up to LEN bytes, less only at the end. */
static int64_t read_full(int fd, char *buf, size_t len, int64_t at)
{
    size_t done = 0;

    while (done < len) {
        struct pollfd more = { .fd = fd, .events = POLLIN };
        ssize_t n = at < 0 ? read(fd, buf + done, len - done) :
                    pread(fd, buf + done, len - done, at + (off_t)done);

        if (n == 0) {
            break;
        }
        if (n > 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {       /* whoever made it chose O_NONBLOCK */
            (void)poll(&more, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return (int64_t)done;
}

static int64_t file_read(void *from, void *buf, size_t len, uint64_t at)
{
    const struct image *i = from;
    size_t have = at >= i->bytes ? 0 : i->bytes - at < len ? (size_t)(i->bytes - at) : len;
    int64_t n = read_full(i->fd, buf, have, (int64_t)at);

    if (n < 0) {
        return n;
    }
    if ((size_t)n < have) {
        return -ENODATA;        /* it has become shorter */
    }
    memset((char *)buf + have, 0, len - have);
    return (int64_t)len;
}

static int64_t stream_read(void *from, void *buf, size_t len, uint64_t at)
{
    const struct image *i = from;

    return read_full(i->fd, buf, len, -1);
}

const struct copy_source *image_source(const struct image *i)
{
    static const struct copy_source file = { .extent = file_extent, .read = file_read };
    static const struct copy_source stream = { .read = stream_read, .ordered = true };

    return i->stream ? &stream : &file;
}

int image_more(const struct image *i)
{
    char byte;

    return i->stream ? (int)read_full(i->fd, &byte, 1, -1) : 0;
}
