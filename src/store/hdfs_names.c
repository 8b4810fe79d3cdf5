/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names: where files are, which there are, and removing all of them.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* ---- Paths --------------------------------------------------------------------- */

void hdfs_path(const struct hdfs_store *s, const char *name, char path[HDFS_PATH_BYTES])
{
    (void)snprintf(path, HDFS_PATH_BYTES, "%s/%s", s->path, name);
}

void hdfs_shard_path(const struct hdfs_store *s, uint64_t file,
                     char path[HDFS_PATH_BYTES])
{
    char name[NAMES_PATH_BYTES];

    names_shard(name, file);
    hdfs_path(s, name, path);
}

void hdfs_file_path(const struct hdfs_store *s, uint64_t file, char path[HDFS_PATH_BYTES])
{
    char name[NAMES_PATH_BYTES];

    names_segment(name, file);
    hdfs_path(s, name, path);
}

/* ---- Plain calls --------------------------------------------------------------- */

/* The NameNode's words, where it had some. */
static int plain_error(int res, const char *what, const char *path,
                       const struct hdfs_op *op)
{
    return error_set(res, "cannot %s %s: %s", what, path,
                     op->call.message[0] ? op->call.message : error_name(res));
}

int hdfs_make_dir(struct hdfs_store *s, const char *path, bool parents)
{
    struct hdfs_op op = {
        .what = HDFS_MAKE_DIR, .path = path, .mode = s->dir_mode, .all = parents,
    };
    int res = hdfs_do(s->client, &op);

    return res < 0 ? plain_error(res, "make directory", path, &op) : 0;
}

int hdfs_remove(struct hdfs_store *s, const char *path, bool all)
{
    struct hdfs_op op = { .what = HDFS_REMOVE, .path = path, .all = all };
    int res = hdfs_do(s->client, &op);

    return res < 0 ? plain_error(res, "remove", path, &op) : 0;
}

int hdfs_stat_path(struct hdfs_store *s, const char *path, struct hdfs_file *ret)
{
    struct hdfs_op op = { .what = HDFS_STAT, .path = path };
    int res = hdfs_do(s->client, &op);

    if (res == -ENOENT) {
        return res;
    }
    if (res < 0) {
        return plain_error(res, "look at", path, &op);
    }
    *ret = op.call.u.file;
    return 0;
}

/* ---- Listing ------------------------------------------------------------------- */

int hdfs_each(struct hdfs *client, struct hdfs_op *op, const char *path,
              const char *after, hdfs_file_fn fn, void *opaque)
{
    _cleanup_free_ char *last = strdup(after);
    struct hdfs_listing *l = &op->call.u.listing;
    bool more = true;
    int res = 0;

    while (more && res >= 0) {
        *op = (struct hdfs_op){ .what = HDFS_LIST, .path = path, .to = last };
        res = last ? hdfs_do(client, op) : -ENOMEM;
        if (res < 0) {
            return res;
        }
        for (size_t i = 0; i < l->file_count && res >= 0; i++) {
            res = fn(opaque, &l->files[i]);
        }
        more = hdfs_list_has_more(op);
        if (more) {
            free(last);
            last = strdup(l->files[l->file_count - 1].name);
        }
        hdfs_listing_done(l);
    }
    return res;
}

/* A missing directory has none. */
static int each_file(struct hdfs_store *s, const char *path, const char *after,
                     hdfs_file_fn fn, void *opaque)
{
    struct hdfs_op op;
    int res = hdfs_each(s->client, &op, path, after, fn, opaque);

    return res == -ENOENT ? 0 : res < 0 ? plain_error(res, "list", path, &op) : res;
}

struct each_name {
    name_fn fn;
    void *opaque;
};

static int one_name(void *opaque, const struct hdfs_file *file)
{
    const struct each_name *e = opaque;

    return e->fn(e->opaque, file->name);
}

/* As names_source.each. */
static int each_name(void *opaque, const char *dir, const char *after, name_fn fn,
                     void *fn_opaque)
{
    struct hdfs_store *s = opaque;
    struct each_name e = { fn, fn_opaque };
    char path[HDFS_PATH_BYTES];

    hdfs_path(s, dir, path);
    return each_file(s, path, after, one_name, &e);
}

static struct names_source source(struct hdfs_store *s)
{
    return (struct names_source){ .each = each_name, .opaque = s, .ordered = true };
}

int hdfs_list(struct store *base, uint64_t kind, uint64_t from, store_list_fn fn,
              void *opaque)
{
    struct names_source src = source(hdfs_of(base));

    return names_list(&src, kind, from, fn, opaque);
}

int hdfs_highest(struct store *base, uint64_t kind, uint64_t *ret_file)
{
    struct names_source src = source(hdfs_of(base));

    return names_highest(&src, kind, ret_file);
}

/* ---- Removing all -------------------------------------------------------------- */

static int remove_rest(void *opaque, const struct hdfs_file *file)
{
    struct hdfs_store *s = opaque;
    char path[HDFS_PATH_BYTES];
    uint64_t value;

    if (strncmp(file->name, ".put-", 5) != 0 ||
        !names_parse_hex(file->name + 5, 16, &value)) {
        return 0;
    }
    hdfs_path(s, file->name, path);
    return hdfs_remove(s, path, false);
}

static int remove_parts(struct hdfs_store *s)
{
    static const char *const parts[] = { "moved", "log", "clones", "knock" };
    char path[HDFS_PATH_BYTES];
    int res = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts) && res == 0; i++) {
        hdfs_path(s, parts[i], path);
        res = hdfs_remove(s, path, true);
    }
    if (res == 0) {
        res = each_file(s, s->path, "", remove_rest, s);
    }
    if (res == 0) {
        hdfs_path(s, "volume", path);
        res = hdfs_remove(s, path, false);
    }
    return res;
}

/* Where the trash is on, a volume goes there whole, as Hadoop's TrashPolicyDefault puts
 * it.  1: it did; 0: there is no trash for it. */
static int to_trash(struct hdfs_store *s)
{
    char dir[HDFS_PATH_BYTES], to[HDFS_PATH_BYTES + 32];
    struct hdfs_op op = { .what = HDFS_RENAME, .path = s->path, .to = to };
    const char *slash = strrchr(s->path, '/');
    int res;

    if (hdfs_defaults(s->client)->trash_interval_min == 0 ||
        strstr(s->path, "/.Trash/")) {
        return 0;
    }
    if ((size_t)snprintf(dir, sizeof(dir), "/user/%s/.Trash/Current%.*s",
                         hdfs_user(s->client), (int)(slash - s->path), s->path) >=
        sizeof(dir)) {
        return 0;
    }
    res = hdfs_make_dir(s, dir, true);
    (void)snprintf(to, sizeof(to), "%s%s", dir, slash);
    if (res == 0) {
        res = hdfs_do(s->client, &op);
    }
    if (res == -EEXIST) {
        (void)snprintf(to, sizeof(to), "%s%s%" PRIu64, dir, slash,
                       clock_wall_us(&clock_system) / 1000);
        res = hdfs_do(s->client, &op);
    }
    return res == -ENOENT ? 1 : res < 0 ? plain_error(res, "move to the trash", s->path,
                                                      &op) : 1;
}

static int drop_inside(void *opaque)
{
    hdfs_files_drop(opaque);
    return 0;
}

/* ---- Copies -------------------------------------------------------------------- */

struct copies {
    struct hdfs_store *s;
    uint32_t count;
};

static int copies_set(struct copies *c, const char *path)
{
    struct hdfs_op op = {
        .what = HDFS_SET_REPLICATION, .path = path, .replication = c->count,
    };
    int res = hdfs_do(c->s->client, &op);

    return res < 0 && res != -ENOENT ?
           plain_error(res, "set the replication of", path, &op) : res;
}

static int copies_of_file(void *opaque, uint64_t file)
{
    struct copies *c = opaque;
    char path[HDFS_PATH_BYTES];
    int res;

    hdfs_file_path(c->s, file, path);
    res = copies_set(c, path);
    return res == -ENOENT ? 0 : MIN(res, 0);        /* it went meanwhile */
}

/* In the loop thread, which makes the files. */
static int copies_from_now_on(void *opaque)
{
    const struct copies *c = opaque;

    c->s->replication = c->count;
    if (!c->s->min_given) {
        c->s->min_replicas = MIN(c->count, 2u);
    }
    return 0;
}

/* The identity first: its replication is the volume's. */
int hdfs_set_replication(struct store *base, uint32_t count)
{
    struct hdfs_store *s = hdfs_of(base);
    struct copies c = { s, count };
    char path[HDFS_PATH_BYTES];
    int res;

    if (s->read_only) {
        return error_set(-EROFS, "%s is open for reading only", base->location);
    }
    if (s->min_given && count < s->min_replicas) {
        return error_set(-EINVAL, "replication=%u is less than min-replicas=%u, which %s "
                         "was opened with", count, s->min_replicas, base->location);
    }
    hdfs_path(s, "volume", path);
    res = copies_set(&c, path);
    if (res == -ENOENT) {
        return error_set(res, "there is no volume in %s any more", base->location);
    }
    if (res >= 0) {
        res = loop_run(hdfs_loop(s->client), copies_from_now_on, &c);
    }
    if (res >= 0) {
        res = hdfs_list(base, 0, 0, copies_of_file, &c);
    }
    if (res >= 0) {
        res = hdfs_list(base, STORE_MOVED, 0, copies_of_file, &c);
    }
    return MIN(res, 0);
}

int hdfs_rename(struct store *base, const char *path)
{
    struct hdfs_store *s = hdfs_of(base);
    struct hdfs_op op = { .what = HDFS_RENAME, .path = s->path, .to = path };
    int res;

    if (s->read_only) {
        return error_set(-EROFS, "%s is open for reading only", base->location);
    }
    res = hdfs_do(s->client, &op);
    if (res == -EEXIST) {
        return error_set(res, "cannot move %s to %s: that is there already",
                         base->location, path);
    }
    return res < 0 ? plain_error(res, "move", s->path, &op) : 0;
}

int hdfs_destroy(struct store *base)
{
    struct hdfs_store *s = hdfs_of(base);
    int res;

    if (s->read_only) {
        return error_set(-EROFS, "%s is open for reading only", base->location);
    }
    hdfs_resign(base);
    (void)loop_run(hdfs_loop(s->client), drop_inside, s);
    res = to_trash(s);
    if (res == 0) {
        res = remove_parts(s);
        if (res == 0) {
            res = hdfs_remove(s, s->path, false);
        }
    }
    if (res == -ENOTEMPTY) {
        return error_set(res, "the volume in %s is removed, but files that are not its "
                         "own are left in that directory", base->location);
    }
    return res < 0 ? error_prefix(res, "cannot remove all of the volume in %s; try again",
                                  base->location) : 0;
}
