/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which volumes are in a directory.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* 1: it is one, 0: it isn't. */
static int is_volume(struct hdfs *client, const char *dir, const struct hdfs_file *f)
{
    char path[HDFS_PATH_BYTES];
    struct hdfs_op op = { .what = HDFS_STAT, .path = path };
    int res;

    if (f->kind != HDFS_DIRECTORY || f->name[0] == '.' ||
        (size_t)snprintf(path, sizeof(path), "%s/%s/volume", strcmp(dir, "/") ? dir : "",
                         f->name) >= sizeof(path)) {
        return 0;
    }
    res = hdfs_do(client, &op);
    if (res < 0) {
        return 0;       /* there is none, or it is not for us to see */
    }
    res = op.call.u.file.kind == HDFS_FILE;
    hdfs_file_done(&op.call.u.file);
    return res;
}

/* Those of one page of a listing. */
static int page_volumes(struct hdfs *client, const char *dir,
                        const struct hdfs_listing *l,
                        int (*fn)(void *opaque, const char *name), void *opaque)
{
    int res = 0;

    for (size_t i = 0; i < l->file_count && res == 0; i++) {
        if (is_volume(client, dir, &l->files[i])) {
            res = fn(opaque, l->files[i].name);
        }
    }
    return res;
}

static int all_volumes(struct hdfs *client, const char *dir,
                       int (*fn)(void *opaque, const char *name), void *opaque)
{
    _cleanup_free_ char *last = strdup("");
    bool more = true;
    int res = 0;

    while (more && res == 0) {
        struct hdfs_op op = { .what = HDFS_LIST, .path = dir, .to = last };
        struct hdfs_listing *l = &op.call.u.listing;

        res = last ? hdfs_do(client, &op) : -ENOMEM;
        if (res < 0) {
            return error_set(res, "cannot list hdfs://%s%s: %s", hdfs_name(client), dir,
                             op.call.message[0] ? op.call.message : error_name(res));
        }
        res = page_volumes(client, dir, l, fn, opaque);
        more = hdfs_list_has_more(&op);
        if (more) {
            free(last);
            last = strdup(l->files[l->file_count - 1].name);
        }
        hdfs_listing_done(l);
    }
    return MIN(res, 0);
}

int hdfs_store_volumes(const struct hdfs_store_params *p,
                       int (*fn)(void *opaque, const char *name), void *opaque)
{
    struct hdfs_params params = {
        .authority = p->authority, .conf_dir = p->conf_dir, .user = p->user,
        .log = p->log,
    };
    struct hdfs *client;
    int res = hdfs_new(&params, &client);

    if (res == 0) {
        res = all_volumes(client, p->path, fn, opaque);
        hdfs_free(client);
    }
    return res;
}
