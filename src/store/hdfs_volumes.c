/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which volumes are in a directory.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* 1: it is one, 0: it isn't, or -errno with a sentence. */
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
    if (res == -ENOENT || res == -ENOTDIR || res == -EACCES) {
        return 0;       /* there is none, or it is not for us to see */
    }
    if (res < 0) {
        return error_set(res, "cannot look at hdfs://%s%s: %s", hdfs_name(client), path,
                         op.call.message[0] ? op.call.message : error_name(res));
    }
    res = op.call.u.file.kind == HDFS_FILE;
    hdfs_file_done(&op.call.u.file);
    return res;
}

struct volumes {
    struct hdfs *client;
    const char *dir;
    int (*fn)(void *opaque, const char *name);
    void *opaque;
    int res;                /* what ended it, if not 0: FN's, or an error of ours */
};

static int one_volume(void *opaque, const struct hdfs_file *f)
{
    struct volumes *v = opaque;

    v->res = is_volume(v->client, v->dir, f);
    if (v->res == 1) {
        v->res = v->fn(v->opaque, f->name);
    }
    return v->res != 0 ? -ECANCELED : 0;
}

static int all_volumes(struct volumes *v)
{
    struct hdfs_op op;
    int res = hdfs_each(v->client, &op, v->dir, "", one_volume, v);

    if (v->res != 0) {
        return MIN(v->res, 0);
    }
    return res == 0 ? 0 :
           error_set(res, "cannot list hdfs://%s%s: %s", hdfs_name(v->client), v->dir,
                     op.call.message[0] ? op.call.message : error_name(res));
}

int hdfs_store_volumes(const struct hdfs_store_params *p,
                       int (*fn)(void *opaque, const char *name), void *opaque)
{
    struct hdfs_params params = {
        .authority = p->authority, .conf_dir = p->conf_dir, .user = p->user,
        .log = p->log,
    };
    struct volumes v = { .dir = p->path, .fn = fn, .opaque = opaque };
    int res = hdfs_new(&params, &v.client);

    if (res == 0) {
        res = all_volumes(&v);
        hdfs_free(v.client);
    }
    return res;
}
