/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listing: the files of a volume in order of their ids, one directory at a time.
 */
#include "store/local_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SHARD_DIGITS 6
#define SEGNO_DIGITS 9

int local_dir_each(struct local_dir *d, const char *name, local_name_fn fn, void *opaque)
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

/* The numbers among the names of a directory. */
struct numbers {
    unsigned digits;
    uint64_t min, max;      /* others are left out */
    uint64_t *value;        /* owned */
    size_t n, room;
};

static int numbers_add(void *opaque, const char *name)
{
    struct numbers *a = opaque;
    uint64_t value, *bigger;

    if (!local_parse_hex(name, a->digits, &value) || value < a->min || value > a->max) {
        return 0;
    }
    if (a->n == a->room) {
        size_t room = MAX(a->room * 2, (size_t)64);

        bigger = realloc(a->value, room * sizeof(*bigger));
        if (!bigger) {
            return -ENOMEM;
        }
        a->value = bigger;
        a->room = room;
    }
    a->value[a->n++] = value;
    return 0;
}

static int number_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The numbers in directory NAME, ascending; a missing directory has none. */
static int numbers_read(struct numbers *a, struct local_dir *d, const char *name)
{
    int r = local_dir_each(d, name, numbers_add, a);

    if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
        return 0;
    }
    if (r < 0) {
        return r;
    }
    if (a->n > 0) {
        qsort(a->value, a->n, sizeof(*a->value), number_compare);
    }
    return 0;
}

static const char *kind_dir(uint64_t kind)
{
    return kind == STORE_MOVED ? "moved" : "log";
}

static int shard_read(struct numbers *a, struct local_dir *d, uint64_t kind,
                      uint64_t shard, uint64_t from)
{
    char path[LOCAL_PATH_BYTES];
    uint64_t first = shard * STORE_SHARD_FILES;

    *a = (struct numbers){
        .digits = SEGNO_DIGITS,
        .min = MAX(MAX(from, first), (uint64_t)1),
        .max = first + STORE_SHARD_FILES - 1,
    };
    (void)snprintf(path, sizeof(path), "%s/%06x", kind_dir(kind),
                   (unsigned)(shard & 0xFFFFFF));
    return numbers_read(a, d, path);
}

static int shard_list(struct local_dir *d, uint64_t kind, uint64_t shard, uint64_t from,
                      store_list_fn fn, void *opaque)
{
    struct numbers files;
    int r = shard_read(&files, d, kind, shard, from);

    for (size_t i = 0; r >= 0 && i < files.n; i++) {
        r = fn(opaque, kind | files.value[i]);
    }
    free(files.value);
    return r;
}

int local_dir_list(struct local_dir *d, uint64_t kind, uint64_t from, store_list_fn fn,
                   void *opaque)
{
    uint64_t first = from > kind ? from - kind : 0;
    struct numbers shards = {
        .digits = SHARD_DIGITS, .min = first / STORE_SHARD_FILES, .max = UINT64_MAX,
    };
    int r = numbers_read(&shards, d, kind_dir(kind));

    for (size_t i = 0; r >= 0 && i < shards.n; i++) {
        r = shard_list(d, kind, shards.value[i], first, fn, opaque);
    }
    free(shards.value);
    return MIN(r, 0);
}

int local_dir_highest(struct local_dir *d, uint64_t kind, uint64_t *ret_file)
{
    struct numbers shards = { .digits = SHARD_DIGITS, .max = UINT64_MAX };
    int r = numbers_read(&shards, d, kind_dir(kind));
    bool found = false;

    for (size_t i = shards.n; r >= 0 && !found && i > 0; i--) {
        struct numbers files;

        r = shard_read(&files, d, kind, shards.value[i - 1], 0);
        if (r >= 0 && files.n > 0) {
            *ret_file = kind | files.value[files.n - 1];
            found = true;
        }
        free(files.value);
    }
    free(shards.value);
    return r < 0 ? r : found ? 0 : -ENOENT;
}
