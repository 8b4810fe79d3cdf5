/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listing: the files of a volume in order of their ids, one directory at a time.
 */
#include "store/local_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

int local_dir_each(struct local_dir *d, const char *name, name_fn fn, void *opaque)
{
    int fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct dirent *e;
    DIR *dir;
    int r = 0;

    if (fd < 0) {
        return -errno;
    }
    dir = fdopendir(fd);
    if (!dir) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    errno = 0;
    while (r >= 0 && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            r = fn(opaque, e->d_name);
        }
        errno = 0;
    }
    if (r >= 0) {
        r = -errno;     /* readdir's, 0 at the end */
    }
    (void)closedir(dir);
    return r;
}

/* As names_source.each. */
static int each(void *opaque, const char *dir, const char *after, name_fn fn,
                void *fn_opaque)
{
    int r = local_dir_each(opaque, dir, fn, fn_opaque);

    (void)after;
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

static struct names_source source(struct local_dir *d)
{
    return (struct names_source){ .each = each, .opaque = d };
}

int local_dir_list(struct local_dir *d, uint64_t kind, uint64_t from, store_list_fn fn,
                   void *opaque)
{
    struct names_source src = source(d);

    return names_list(&src, kind, from, fn, opaque);
}

int local_dir_highest(struct local_dir *d, uint64_t kind, uint64_t *ret_file)
{
    struct names_source src = source(d);

    return names_highest(&src, kind, ret_file);
}
