/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume's small named files.  One is written under another name, closed, and gets its
 * own by a rename that replaces nothing: it appears whole or not at all.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* hdfs_destroy() must know the names too, or it would leave the files. */
static int check_name(const char *name)
{
    if (strcmp(name, "volume") != 0) {
        return error_set(-EINVAL, "'%s' is no file of a volume", name);
    }
    return 0;
}

/* ---- Reading ------------------------------------------------------------------- */

struct get {
    struct hdfs_wait wait;
    struct hdfs_store *s;
    const char *path;
    struct input *input;        /* owned */
    struct input_op op;
};

static void get_done(struct input_op *op, int64_t res)
{
    struct get *g = container_of(op, struct get, op);

    hdfs_wait_end(&g->wait, (int)res);
}

static void get_start(struct hdfs_wait *w)
{
    struct get *g = container_of(w, struct get, wait);
    int res = input_new(g->s->client, g->path, &g->input);

    if (res < 0) {
        hdfs_wait_end(w, res);
        return;
    }
    g->op.done = get_done;
    input_read(g->input, &g->op);
}

static int get_over(void *opaque)
{
    struct get *g = opaque;

    input_free(g->input);
    return 0;
}

int hdfs_get(struct store *base, const char *name, void *buf, size_t size)
{
    struct hdfs_store *s = hdfs_of(base);
    char path[HDFS_PATH_BYTES];
    struct get g = {
        .wait.start = get_start, .s = s, .path = path,
        .op.buf = buf, .op.len = MIN(size, (size_t)MIB(64)),
    };
    int res = check_name(name);

    if (res < 0) {
        return res;
    }
    hdfs_path(s, name, path);
    res = hdfs_wait(s->client, &g.wait);
    (void)loop_run(hdfs_loop(s->client), get_over, &g);
    if (res < 0) {
        return error_set(res, "cannot read %s/%s: %s", base->location, name,
                         error_name(res));
    }
    return res;
}

/* ---- Writing ------------------------------------------------------------------- */

struct put {
    struct hdfs_wait wait;
    struct hdfs_store *s;
    const char *path;
    struct output *output;      /* owned until it is closed */
    struct writer_op append;
    int res;
};

static void put_closed(void *opaque, int res)
{
    struct put *p = opaque;

    hdfs_wait_end(&p->wait, p->res < 0 ? p->res : res > 0 ? -EIO : res);
}

static void put_close(struct put *p, int res)
{
    p->res = res;
    output_close(p->output, put_closed, p);
}

static void put_appended(struct writer_op *op, int res)
{
    put_close(container_of(op, struct put, append), res < 0 ? -EIO : 0);
}

static void put_opened(struct output *o, int res, void *opaque)
{
    struct put *p = opaque;

    if (res == 0) {
        p->append.done = put_appended;
        res = output_append(o, &p->append);
    }
    if (res < 0) {
        put_close(p, res);
    }
}

static void put_start(struct hdfs_wait *w)
{
    struct put *p = container_of(w, struct put, wait);
    struct output_params params = {
        .path = p->path,
        .mode = p->s->file_mode,
        .replication = p->s->replication,
        .min_replicas = p->s->min_replicas,
        .hsync = true,
        .block_size = MAX(ALIGN_UP(p->append.len, (size_t)512), (size_t)MIB(1)),
    };
    int res = output_new(p->s->client, &params, &p->output);

    if (res < 0) {
        hdfs_wait_end(w, res);
        return;
    }
    output_open(p->output, put_opened, p);
}

int hdfs_put(struct store *base, const char *name, const void *buf, size_t len)
{
    struct hdfs_store *s = hdfs_of(base);
    char path[HDFS_PATH_BYTES], temp[HDFS_PATH_BYTES], random[NAMES_RANDOM_BYTES];
    struct put p = {
        .wait.start = put_start, .s = s, .path = temp,
        .append.buf = buf, .append.len = len,
    };
    struct hdfs_op rename = { .what = HDFS_RENAME, .path = temp, .to = path };
    int res = check_name(name);

    if (res < 0) {
        return res;
    }
    if (s->read_only) {
        return error_set(-EROFS, "%s is open for reading only", base->location);
    }
    names_random(random, ".put-");
    hdfs_path(s, name, path);
    hdfs_path(s, random, temp);
    res = hdfs_wait(s->client, &p.wait);
    if (res == 0) {
        res = hdfs_do(s->client, &rename);
    }
    if (res < 0) {
        (void)hdfs_remove(s, temp, false);
        return error_set(res, "cannot write %s/%s: %s", base->location, name,
                         rename.call.message[0] ? rename.call.message : error_name(res));
    }
    return 0;
}
