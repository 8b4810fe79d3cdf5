/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removing a volume, whole or half-made or half-removed: names we gave, no others.
 */
#include "store/local_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"

/* A directory may list incompletely while its names go; each pass removes some. */
#define PASSES_MAX 16

struct sweep {
    struct local_dir *dir;
    const char *name;               /* of the directory being emptied */
    bool (*ours)(const char *name);
    int (*remove)(struct local_dir *d, const char *path);
    unsigned removed;
};

static int remove_file(struct local_dir *d, const char *path)
{
    return unlinkat(d->fd, path, 0) < 0 ? -errno : 0;
}

static int sweep_name(void *opaque, const char *name)
{
    struct sweep *s = opaque;
    char path[2 * NAME_MAX];
    int r;

    if (!s->ours(name)) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", s->name, name);
    r = s->remove(s->dir, path);
    if (r == 0) {
        s->removed++;
    }
    return r == -ENOENT || r == -ENOTEMPTY || r == -EISDIR || r == -ENOTDIR ? 0 : r;
}

/* Remove what is ours in directory NAME, then NAME itself unless it is the volume's.
 * -ENOTEMPTY: foreign files stay. */
static int sweep_dir(struct local_dir *d, const char *name,
                     bool (*ours)(const char *name),
                     int (*remove)(struct local_dir *d, const char *path))
{
    struct sweep s = { .dir = d, .name = name, .ours = ours, .remove = remove };
    int r;

    for (unsigned pass = 0; pass < PASSES_MAX; pass++) {
        s.removed = 0;
        r = local_dir_each(d, name, sweep_name, &s);
        if (r == -ENOTDIR || r == -ELOOP) {
            return -ENOTEMPTY;      /* no directory: nothing of ours */
        }
        if (r < 0) {
            return r == -ENOENT ? 0 : r;
        }
        if (s.removed == 0) {
            break;
        }
    }
    if (strcmp(name, ".") != 0 && unlinkat(d->fd, name, AT_REMOVEDIR) < 0) {
        return errno == ENOENT ? 0 : errno == EEXIST ? -ENOTEMPTY : -errno;
    }
    return 0;
}

static bool behind(const char *name, const char *prefix)
{
    size_t len = strlen(prefix);
    uint64_t value;

    return strncmp(name, prefix, len) == 0 && names_parse_hex(name + len, 16, &value);
}

static bool ours_in_root(const char *name)
{
    return behind(name, "lock-") || behind(name, ".lock-") || behind(name, ".put-");
}

static bool ours_in_pool(const char *name)
{
    return behind(name, "") || behind(name, ".new-");
}

static bool ours_in_kind(const char *name)
{
    uint64_t shard;

    return names_parse_hex(name, NAMES_SHARD_DIGITS, &shard);
}

static bool ours_in_shard(const char *name)
{
    uint64_t segno;

    return names_parse_hex(name, NAMES_SEGNO_DIGITS, &segno);
}

static int remove_shard(struct local_dir *d, const char *path)
{
    return sweep_dir(d, path, ours_in_shard, remove_file);
}

static int remove_identity(struct local_dir *d)
{
    int r = local_dir_sync(d, ".");     /* all else is gone for good first */

    if (r < 0) {
        return r;
    }
    return unlinkat(d->fd, "volume", 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_root(struct local_dir *d)
{
    struct stat here, there;

    if (fstat(d->fd, &here) < 0 || stat(d->path, &there) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (here.st_dev != there.st_dev || here.st_ino != there.st_ino) {
        return 0;       /* moved away: another directory has the name now */
    }
    if (rmdir(d->path) < 0) {
        return errno == ENOENT ? 0 : errno == EEXIST ? -ENOTEMPTY : -errno;
    }
    return 0;
}

int local_dir_destroy(struct local_dir *d)
{
    int r = sweep_dir(d, "pool", ours_in_pool, remove_file);

    if (r == 0 || r == -ENOTEMPTY) {
        r = sweep_dir(d, "moved", ours_in_kind, remove_shard);
    }
    if (r == 0 || r == -ENOTEMPTY) {
        r = sweep_dir(d, "log", ours_in_kind, remove_shard);
    }
    if (r == 0 || r == -ENOTEMPTY) {
        r = sweep_dir(d, ".", ours_in_root, remove_file);
    }
    if (r == 0) {
        r = remove_identity(d);
    }
    if (r == 0) {
        r = remove_root(d);
    }
    if (r == -ENOTEMPTY) {
        return error_set(r, "the volume in %s is removed, but files that are not its "
                            "own are left in that directory", d->path);
    }
    if (r < 0) {
        return error_set(r, "cannot remove all of the volume in %s: %s; try again",
                         d->path, error_name(r));
    }
    return 0;
}
