/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define STAT_EVERY_US 5000000
#define IDLE_CLOSE_US 600000000     /* DESIGN 9 */
#define DRAIN_US 10000000           /* at the end: for files to be closed */
#define DEAD_US 6000000             /* DESIGN 4 */

/* ---- Room and copies ----------------------------------------------------------- */

static void stat_told(struct hdfs_op *op, int res)
{
    struct hdfs_store *s = op->opaque;
    struct loop *l = hdfs_loop(s->client);

    s->stat_asking = false;
    /* A NameNode that has just started may not know a DataNode yet. */
    if (res == 0 && op->call.u.stats.capacity > 0) {
        atomic_store(&s->free_bytes, op->call.u.stats.remaining / s->replication);
    }
    loop_timer_set(l, &s->stat_timer, loop_now_us(l) + STAT_EVERY_US);
    if (!s->read_only) {
        hdfs_files_look(s);
    }
}

static void stat_due(struct loop_timer *t)
{
    struct hdfs_store *s = container_of(t, struct hdfs_store, stat_timer);

    s->stat_asking = true;
    s->stat_op = (struct hdfs_op){
        .what = HDFS_STATISTICS, .done = stat_told, .opaque = s,
    };
    hdfs_start(s->client, &s->stat_op);
}

/* The engine asks within its monitor, so this is what was seen last. */
static int hdfs_stat(struct store *base, struct store_stat *ret)
{
    struct hdfs_store *s = hdfs_of(base);

    *ret = (struct store_stat){
        .free_bytes = atomic_load(&s->free_bytes),
        .degraded = atomic_load(&s->degraded),
        .replication = s->replication,
    };
    hdfs_tail_get(s, ret->tail);
    return 0;
}

/* ---- Opening ------------------------------------------------------------------- */

static int start_inside(void *opaque)
{
    struct hdfs_store *s = opaque;

    int res = hdfs_files_new(&s->files);

    if (res == 0) {
        s->stat_timer.fire = stat_due;
        stat_due(&s->stat_timer);
    }
    return res;
}

static int close_all_inside(void *opaque)
{
    struct hdfs_store *s = opaque;

    if (s->files) {
        hdfs_files_close(s);
    }
    return 0;
}

static int stop_inside(void *opaque)
{
    struct hdfs_store *s = opaque;

    loop_timer_stop(hdfs_loop(s->client), &s->stat_timer);
    if (s->stat_asking) {
        hdfs_cancel(&s->stat_op);
    }
    hdfs_files_free(s);
    return 0;
}

static void hdfs_store_free(struct store *base)
{
    struct hdfs_store *s = hdfs_of(base);

    if (s->client) {
        hdfs_resign(base);
        (void)loop_run(hdfs_loop(s->client), close_all_inside, s);
        (void)hdfs_drain(s->client, DRAIN_US);
        hdfs_leave(s);
        (void)loop_run(hdfs_loop(s->client), stop_inside, s);
        hdfs_free(s->client);
    }
    hdfs_recovery_free(s->recovery);
    (void)pthread_mutex_destroy(&s->tail_lock);
    free(s);
}

/* Enough nodes for what is promised?  Not everybody may ask: the others find out when
 * they create the first segment. */
static int check_nodes(struct hdfs_store *s)
{
    struct hdfs_op op = { .what = HDFS_NODES };
    const struct hdfs_datanodes *d = &op.call.u.datanodes;
    size_t live = 0;
    int res;

    if (s->min_replicas > s->replication) {
        return error_set(-EINVAL, "min-replicas=%u is more than the copies that are kept "
                         "of %s (replication=%u)", s->min_replicas, s->store.location,
                         s->replication);
    }
    res = hdfs_do(s->client, &op);
    if (res == -EACCES) {
        return 0;
    }
    if (res < 0) {
        return error_set(res, "cannot ask hdfs://%s for its DataNodes: %s",
                         hdfs_name(s->client), op.call.message);
    }
    for (size_t i = 0; i < d->node_count; i++) {
        live += d->nodes[i].admin_state == HDFS_NODE_NORMAL;
    }
    hdfs_datanodes_done(&op.call.u.datanodes);
    if (live < s->min_replicas) {
        return error_set(-EHOSTDOWN, "hdfs://%s has %zu live DataNodes, fewer than "
                         "min-replicas=%u (replication=%u)", hdfs_name(s->client), live,
                         s->min_replicas, s->replication);
    }
    return 0;
}

static const char *what_exists(struct hdfs_store *s, unsigned kind)
{
    char path[HDFS_PATH_BYTES];
    struct hdfs_file file;
    int res;

    if (kind != HDFS_DIRECTORY) {
        return "it exists and is no directory";
    }
    hdfs_path(s, "volume", path);
    res = hdfs_stat_path(s, path, &file);
    if (res == 0) {
        hdfs_file_done(&file);
        return "there is a volume already";
    }
    return res == -ENOENT ? "the directory exists and is no volume" : "it exists";
}

static int make_volume_dir(struct hdfs_store *s)
{
    unsigned kind;
    struct hdfs_file file;
    int res = hdfs_stat_path(s, s->path, &file);

    if (res == 0) {
        kind = file.kind;
        hdfs_file_done(&file);
        return error_set(-EEXIST, "cannot create %s: %s", s->store.location,
                         what_exists(s, kind));
    }
    return res == -ENOENT ? hdfs_make_dir(s, s->path, false) : res;
}

static int find_volume_dir(struct hdfs_store *s)
{
    struct hdfs_file file;
    int res = hdfs_stat_path(s, s->path, &file);
    bool is_dir;

    if (res < 0) {
        return res != -ENOENT ? res : error_set(
            res, "there is no volume %s: there is no such directory", s->store.location);
    }
    is_dir = file.kind == HDFS_DIRECTORY;
    hdfs_file_done(&file);
    return is_dir ? 0 : error_set(-ENOTDIR, "cannot open %s: it is not a directory",
                                  s->store.location);
}

static void set_replication(struct hdfs_store *s, const struct hdfs_store_params *p,
                            uint32_t replication)
{
    s->replication = replication;
    s->min_given = p->min_replicas != 0;
    s->min_replicas = s->min_given ? p->min_replicas : MIN(replication, 2u);
}

/* The NameNode knows nothing of it, and umask(2) cannot tell without changing it. */
static unsigned process_umask(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    unsigned mask = 077;
    char line[256];

    while (f && fgets(line, sizeof(line), f) && sscanf(line, "Umask: %o", &mask) != 1) {
    }
    if (f) {
        (void)fclose(f);
    }
    return mask;
}

/* Who may read a file may search its directory. */
static void set_mode(struct hdfs_store *s, unsigned mode)
{
    s->file_mode = (uint16_t)(mode & 0666 & ~process_umask());
    s->dir_mode = (uint16_t)(s->file_mode | (s->file_mode & 0444) >> 2);
}

/* A volume keeps what it was created with: its identity has as many copies, and its mode. */
static int take_identity(struct hdfs_store *s, const struct hdfs_store_params *p)
{
    char path[HDFS_PATH_BYTES];
    struct hdfs_file file;
    int res;

    hdfs_path(s, "volume", path);
    res = hdfs_stat_path(s, path, &file);
    if (res == 0) {
        if (file.replication > 0 && !p->replication) {
            set_replication(s, p, file.replication);
        }
        set_mode(s, file.mode);
        hdfs_file_done(&file);
    }
    return res == -ENOENT ? 0 : res;
}

static int open_inside(struct hdfs_store *s, const struct hdfs_store_params *p)
{
    bool create = (p->flags & HDFS_STORE_CREATE) != 0;
    int res = create ? 0 : find_volume_dir(s);

    if (res == 0 && !create) {
        res = take_identity(s, p);
    }
    if (res == 0 && !s->read_only && !(p->flags & HDFS_STORE_REMOVE)) {
        res = check_nodes(s);
    }
    if (res == 0 && create) {
        res = make_volume_dir(s);
    }
    if (res == 0) {
        res = loop_run(hdfs_loop(s->client), start_inside, s);
    }
    if (res == 0 && s->read_only) {
        res = hdfs_tail_look(s);
    }
    return res;
}

static const struct store_ops hdfs_ops = {
    .free = hdfs_store_free,
    .lane_new = hdfs_lane_new,
    .lane_free = hdfs_lane_free,
    .lane_fd = hdfs_lane_fd,
    .submit = hdfs_lane_submit,
    .kick = hdfs_lane_kick,
    .collect = hdfs_lane_collect,
    .wait = hdfs_lane_wait,
    .wake = hdfs_lane_wake,
    .list = hdfs_list,
    .highest = hdfs_highest,
    .recover = hdfs_recover,
    .get = hdfs_get,
    .put = hdfs_put,
    .holder_alive = hdfs_holder_alive,
    .enlist = hdfs_enlist,
    .resign = hdfs_resign,
    .stat = hdfs_stat,
    .destroy = hdfs_destroy,
    .rename = hdfs_rename,
    .set_replication = hdfs_set_replication,
};

static int check_params(const struct hdfs_store_params *p)
{
    if ((p->flags & HDFS_STORE_CREATE) && (p->flags & HDFS_STORE_READ_ONLY)) {
        return error_set(-EINVAL, "%s cannot be made for reading only", p->path);
    }
    if (p->path[0] != '/' || p->path[1] == '\0' || strlen(p->path) > 900) {
        return error_set(-EINVAL, "\"%s\" cannot be a volume's directory", p->path);
    }
    return 0;
}

static void take_params(struct hdfs_store *s, const struct hdfs_store_params *p)
{
    (void)snprintf(s->path, sizeof(s->path), "%s", p->path);
    (void)snprintf(s->store.location, sizeof(s->store.location), "hdfs://%s%s",
                   hdfs_name(s->client), p->path);
    set_mode(s, p->mode);
    set_replication(s, p, p->replication ? p->replication : hdfs_replication(s->client));
    s->read_only = (p->flags & HDFS_STORE_READ_ONLY) != 0;
    s->hsync = !p->hflush;
    s->log = p->log;
    s->read_us = p->read_us;
    s->dead_us = p->dead_us ? p->dead_us : DEAD_US;
    s->store.durability = p->hflush ? "hflush" : "hsync";
}

int hdfs_store_open(const struct hdfs_store_params *p, struct store **ret)
{
    struct hdfs_params params = {
        .authority = p->authority, .conf_dir = p->conf_dir, .user = p->user,
        .log = p->log, .ack_us = p->ack_us, .call_us = p->call_us,
        .first_call_us = p->first_call_us,
    };
    struct hdfs_store *s;
    int res = check_params(p);

    if (res < 0) {
        return res;
    }
    s = calloc(1, sizeof(*s));
    if (!s) {
        return error_set(-ENOMEM, "cannot open %s: out of memory", p->path);
    }
    s->began_us = clock_monotonic_us(&clock_system);
    s->store.ops = &hdfs_ops;
    s->store.clock = &clock_system;
    s->store.append_align = STORE_BUF_ALIGN;
    s->store.segment_part = 4096;
    s->store.segment_min = MIB(64);
    s->store.segment_max = GIB(1);
    s->store.idle_close_us = IDLE_CLOSE_US;
    (void)pthread_mutex_init(&s->tail_lock, NULL);
    s->store.tail_again = !p->hflush;   /* no closed file can be put on disks any more */
    atomic_init(&s->free_bytes, UINT64_MAX);
    res = hdfs_new(&params, &s->client);
    if (res == 0) {
        take_params(s, p);
        res = open_inside(s, p);
    }
    if (res < 0) {
        hdfs_store_free(&s->store);
        return res;
    }
    *ret = &s->store;
    return 0;
}
