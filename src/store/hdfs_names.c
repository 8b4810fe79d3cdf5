/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names: where files are, which there are, and removing all of them.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

/* ---- Paths --------------------------------------------------------------------- */

static const char *kind_dir(uint64_t kind)
{
    return kind & STORE_MOVED ? "moved" : "log";
}

void hdfs_path(const struct hdfs_store *s, const char *name, char path[HDFS_PATH_BYTES])
{
    (void)snprintf(path, HDFS_PATH_BYTES, "%s/%s", s->path, name);
}

void hdfs_shard_path(const struct hdfs_store *s, uint64_t file,
                     char path[HDFS_PATH_BYTES])
{
    (void)snprintf(path, HDFS_PATH_BYTES, "%s/%s/%06" PRIx64, s->path, kind_dir(file),
                   store_segno(file) / STORE_SHARD_FILES);
}

void hdfs_file_path(const struct hdfs_store *s, uint64_t file, char path[HDFS_PATH_BYTES])
{
    (void)snprintf(path, HDFS_PATH_BYTES, "%s/%s/%06" PRIx64 "/%09" PRIx64, s->path,
                   kind_dir(file), store_segno(file) / STORE_SHARD_FILES,
                   store_segno(file));
}

bool hdfs_parse_hex(const char *name, unsigned digits, uint64_t *ret)
{
    uint64_t value = 0;

    if (strlen(name) != digits || strspn(name, "0123456789abcdef") != digits) {
        return false;
    }
    for (const char *p = name; *p; p++) {
        value = value << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
    }
    *ret = value;
    return true;
}

void hdfs_random_name(char name[HDFS_RANDOM_BYTES], const char *prefix)
{
    uint64_t random;

    while (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
    }
    (void)snprintf(name, HDFS_RANDOM_BYTES, "%s%016" PRIx64, prefix, random);
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

/* Call FN for each name in directory PATH above AFTER, in order; no such directory has
 * none.  A negative value of FN stops. */
static int each_name(struct hdfs_store *s, const char *path, const char *after,
                     int (*fn)(void *opaque, const char *name), void *opaque)
{
    _cleanup_free_ char *last = strdup(after);
    bool more = true;
    int res = 0;

    while (more && res >= 0) {
        struct hdfs_op op = { .what = HDFS_LIST, .path = path, .to = last };
        struct hdfs_listing *l = &op.call.u.listing;

        if (!last) {
            return -ENOMEM;
        }
        res = hdfs_do(s->client, &op);
        if (res < 0) {
            return res == -ENOENT ? 0 : plain_error(res, "list", path, &op);
        }
        for (size_t i = 0; i < l->file_count && res >= 0; i++) {
            res = fn(opaque, l->files[i].name);
        }
        more = hdfs_list_has_more(&op);
        if (more) {
            free(last);
            last = strdup(l->files[l->file_count - 1].name);
        }
        hdfs_listing_done(l);
    }
    return res;
}

/* The numbers among names; those of a directory come in order. */
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

    if (!hdfs_parse_hex(name, a->digits, &value) || value < a->min || value > a->max ||
        (a->n > 0 && value <= a->value[a->n - 1])) {
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

static int shards_read(struct hdfs_store *s, uint64_t kind, uint64_t from,
                       struct numbers *ret)
{
    char path[HDFS_PATH_BYTES];

    *ret = (struct numbers){
        .digits = HDFS_SHARD_DIGITS, .min = from / STORE_SHARD_FILES, .max = UINT64_MAX,
    };
    hdfs_path(s, kind_dir(kind), path);
    return each_name(s, path, "", numbers_add, ret);
}

static int shard_read(struct hdfs_store *s, uint64_t kind, uint64_t shard, uint64_t from,
                      struct numbers *ret)
{
    uint64_t first = shard * STORE_SHARD_FILES;
    char path[HDFS_PATH_BYTES], after[24] = "";

    *ret = (struct numbers){
        .digits = HDFS_SEGNO_DIGITS,
        .min = MAX(MAX(from, first), (uint64_t)1),
        .max = first + STORE_SHARD_FILES - 1,
    };
    if (ret->min > first) {
        (void)snprintf(after, sizeof(after), "%09" PRIx64, ret->min - 1);
    }
    hdfs_shard_path(s, kind | first, path);
    return each_name(s, path, after, numbers_add, ret);
}

int hdfs_list(struct store *base, uint64_t kind, uint64_t from, store_list_fn fn,
              void *opaque)
{
    struct hdfs_store *s = hdfs_of(base);
    uint64_t first = from > kind ? from - kind : 0;
    struct numbers shards, files;
    int res = shards_read(s, kind, first, &shards);

    for (size_t i = 0; res >= 0 && i < shards.n; i++) {
        res = shard_read(s, kind, shards.value[i], first, &files);
        for (size_t j = 0; res >= 0 && j < files.n; j++) {
            res = fn(opaque, kind | files.value[j]);
        }
        free(files.value);
    }
    free(shards.value);
    return MIN(res, 0);
}

int hdfs_highest(struct store *base, uint64_t kind, uint64_t *ret_file)
{
    struct hdfs_store *s = hdfs_of(base);
    struct numbers shards, files;
    bool found = false;
    int res = shards_read(s, kind, 0, &shards);

    for (size_t i = shards.n; res >= 0 && !found && i > 0; i--) {
        res = shard_read(s, kind, shards.value[i - 1], 0, &files);
        if (res >= 0 && files.n > 0) {
            *ret_file = kind | files.value[files.n - 1];
            found = true;
        }
        free(files.value);
    }
    free(shards.value);
    return res < 0 ? res : found ? 0 : -ENOENT;
}

/* ---- Removing all -------------------------------------------------------------- */

static int remove_rest(void *opaque, const char *name)
{
    struct hdfs_store *s = opaque;
    char path[HDFS_PATH_BYTES];
    uint64_t value;

    if (strncmp(name, ".put-", 5) != 0 || !hdfs_parse_hex(name + 5, 16, &value)) {
        return 0;
    }
    hdfs_path(s, name, path);
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
        res = each_name(s, s->path, "", remove_rest, s);
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
