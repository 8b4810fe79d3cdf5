/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public calls: check arguments, find the store of a location, turn the call into
 * the engine's; nothing else.
 */
#include "hlfs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "config.h"
#include "control/control.h"
#include "location.h"
#include "log/format.h"
#include "options.h"
#include "store/hdfs.h"
#include "store/local.h"
#include "volume/volume.h"

#define FIRST_CALL_MIN_US 2000000   /* a NameNode may be as slow as that, and well */
#define READ_TRIES 20       /* to open beside a busy writer; a few per cent fail */

const char *hlfs_version(void)
{
    return HLFS_VERSION;
}

const char *hlfs_error(void)
{
    return error_text();
}

/* ---- Locations ------------------------------------------------------------ */

/* What stands between hdfs:// and the path; an IPv6 address in brackets. */
static void authority_of(const struct location *l, char *buf, size_t size)
{
    bool bracketed = l->host && strchr(l->host, ':');
    char port[8] = "";

    if (l->port) {
        (void)snprintf(port, sizeof(port), ":%u", l->port);
    }
    (void)snprintf(buf, size, "%s%s%s%s", bracketed ? "[" : "", l->host ? l->host : "",
                   bracketed ? "]" : "", port);
}

static void hdfs_params(struct hdfs_store_params *p, const struct location *l, bool writes,
                        const char *authority, const struct hlfs_options *o)
{
    *p = (struct hdfs_store_params){
        .authority = authority, .path = l->path, .mode = 0600,
    };
    if (o) {
        p->mode = o->mode;
        p->user = o->user;
        p->conf_dir = o->hadoop_conf;
        p->replication = o->replication;
        p->min_replicas = o->min_replicas;
        p->ack_us = o->ack_timeout_us;
        p->hflush = o->durability == DURABILITY_HFLUSH;
        p->first_call_us = o->unreachable.given ?
            MAX(options_unreachable_us(o), FIRST_CALL_MIN_US) : 0;
        /* A guest waits.  Who looks at a damaged volume shall not do so for each block. */
        p->read_us = writes || o->unreachable.given ? options_unreachable_us(o) : 0;
        p->log = o->log;
    }
}

static int hdfs_store_at(const struct location *l, unsigned flags,
                         const struct hlfs_options *o, struct store **ret)
{
    char authority[300];
    struct hdfs_store_params p;

    authority_of(l, authority, sizeof(authority));
    hdfs_params(&p, l, !(flags & LOCAL_READ_ONLY), authority, o);
    p.flags = (flags & LOCAL_CREATE ? HDFS_STORE_CREATE : 0) |
              (flags & LOCAL_READ_ONLY ? HDFS_STORE_READ_ONLY : 0) |
              (flags & LOCAL_REMOVE ? HDFS_STORE_REMOVE : 0);
    return hdfs_store_open(&p, ret);
}

static unsigned local_flags(const struct hlfs_options *o, unsigned flags)
{
    return flags | (o && o->network_fs ? LOCAL_NETWORK_FS : 0);
}

static int store_at(const char *text, unsigned flags, const struct hlfs_options *o,
                    struct store **ret)
{
    struct location l;
    int res = location_parse(text, &l);

    if (res < 0) {
        return res;
    }
    if (l.scheme == LOCATION_HDFS) {
        res = hdfs_store_at(&l, flags, o, ret);
    } else {
        res = local_store_open(l.path, local_flags(o, flags), o ? o->mode : 0600, ret);
    }
    location_done(&l);
    return res;
}

/* ---- Volumes -------------------------------------------------------------- */

/* Remove the volume unless somebody holds it; a HALF_MADE one has no identity. */
static int remove_unheld(struct store *s, bool half_made)
{
    char text[ERROR_TEXT_BYTES - 100];
    struct identity identity;
    int res = volume_identity(s, &identity);
    bool known = res == 0;

    if (known || half_made) {
        res = volume_not_held(s, known ? &identity : NULL);
    } else if (res == -EBADMSG || res == -ENOTSUP) {
        (void)snprintf(text, sizeof(text), "%s", error_text());
        (void)error_set(res, "%s; with -o force=yes it is removed all the same", text);
    }
    return res == 0 ? store_destroy(s) : res;
}

/* With FORCE what has a segment, or an identity that cannot be read, was one. */
static bool was_volume(struct store *s)
{
    struct identity identity;
    uint64_t file;

    return volume_identity(s, &identity) != -ENOENT || store_highest(s, 0, &file) == 0;
}

/* The directory that a failed create made goes again; where somebody else has begun to
 * use it, it is his.  The create's sentence stays. */
static void create_undo(const char *location, const struct hlfs_options *options, int res)
{
    char text[ERROR_TEXT_BYTES];
    struct store *s;

    if (res == -EBUSY || res == -EEXIST || res == -ESTALE) {
        return;
    }
    (void)snprintf(text, sizeof(text), "%s", error_text());
    if (store_at(location, LOCAL_REMOVE, options, &s) == 0) {
        (void)remove_unheld(s, true);
        store_free(s);
    }
    (void)error_set(res, "%s", text);
}

/* Who may not ask the cluster for its nodes finds out when the first segment is made. */
static int say_few_nodes(int res)
{
    return res != -EHOSTDOWN ? res :
           error_prefix(res, "fewer live DataNodes than min-replicas asks for (or "
                        "replication, if that is less)");
}

/* Found out before anything is made: HDFS gives both of its levels, a directory one. */
static int durability_suits(const char *location, const struct hlfs_options *o)
{
    enum durability asked = o ? o->durability : DURABILITY_STRONGEST;
    struct location l;
    int res = location_parse(location, &l);

    if (res < 0) {
        return res;
    }
    if (asked != DURABILITY_STRONGEST &&
        (l.scheme == LOCATION_HDFS) != (asked != DURABILITY_LOCAL)) {
        res = error_set(-ENOTSUP, "%s cannot give durability=%s; %s", location,
                        durability_name(asked), l.scheme == LOCATION_HDFS ?
                        "its levels are hsync and hflush" : "its level is local");
    }
    location_done(&l);
    return res;
}

static int create(const char *location, uint64_t size, unsigned flags,
                  const struct hlfs_options *options)
{
    struct store *s;
    int res;

    error_clear();
    if (size > HLFS_SIZE_MAX) {
        return error_set(-EINVAL, "cannot create %s: a volume has at most 256 TiB",
                         location);
    }
    if (size % 512 != 0) {
        return error_set(-EINVAL, "cannot create %s: its size must be a multiple of 512 "
                         "bytes", location);
    }
    res = durability_suits(location, options);
    if (res == 0) {
        res = store_at(location, LOCAL_CREATE, options, &s);
    }
    if (res < 0) {
        return res;
    }
    res = say_few_nodes(volume_create(s, size, flags, options));
    if (res < 0) {
        create_undo(location, options, res);
    }
    return res;
}

int hlfs_create(const char *location, uint64_t size, const struct hlfs_options *options)
{
    return create(location, size, 0, options);
}

int hlfs_create_unfinished(const char *location, uint64_t size,
                           const struct hlfs_options *options)
{
    return create(location, size, VOLUME_UNFINISHED, options);
}

/* No volume has one yet. */
static int no_snapshot(const char *location, const char *snapshot,
                       const struct hlfs_options *options)
{
    struct identity identity;
    struct store *s;
    int res = store_at(location, LOCAL_READ_ONLY, options, &s);

    if (res == 0) {
        res = volume_identity(s, &identity);
        store_free(s);
    }
    return res < 0 ? res : error_set(-ENOENT, "%s has no snapshot \"%s\"", location,
                                     snapshot);
}

static int open_once(const char *location, unsigned flags,
                     const struct hlfs_options *options, struct hlfs **ret)
{
    struct store *s;
    int res = store_at(location, flags & HLFS_RDONLY ? LOCAL_READ_ONLY : 0, options, &s);

    if (res < 0) {
        return res;
    }
    if (flags & HLFS_TRY) {
        *ret = NULL;
        return volume_try(s, options);
    }
    return say_few_nodes(volume_open(
        s, (flags & HLFS_RDONLY ? VOLUME_RDONLY : 0) |
           (flags & HLFS_RESCUE ? VOLUME_RESCUE : 0) |
           (flags & HLFS_UNFINISHED ? VOLUME_UNFINISHED : 0), options, ret));
}

static bool flags_known(unsigned flags)
{
    if (flags & HLFS_TRY) {
        return flags == HLFS_TRY;
    }
    if ((flags & HLFS_RESCUE) && !(flags & HLFS_RDONLY)) {
        return false;
    }
    return (flags & ~(HLFS_RDONLY | HLFS_RESCUE | HLFS_UNFINISHED)) == 0;
}

/* The socket that OPTIONS may ask for.  Without it the volume is as good. */
static void control_begin(struct hlfs *v, const struct hlfs_options *options)
{
    struct control *control;

    if (options && options->control && !volume_read_only(v) &&
        control_start(v, volume_key(v), volume_set, &options->log, &control) == 0) {
        volume_set_control(v, control);
    }
}

int hlfs_open(const char *location, const char *snapshot, unsigned flags,
              const struct hlfs_options *options, struct hlfs **ret)
{
    int res, tries = 0;

    error_clear();
    if (!flags_known(flags)) {
        return error_set(-EINVAL, "cannot open %s: the flags %#x are unknown, or do not go "
                         "together", location, flags);
    }
    if (snapshot) {
        return no_snapshot(location, snapshot, options);
    }
    do {    /* who only reads begins again if a writer removed what was being read */
        res = open_once(location, flags, options, ret);
    } while (res == -ESTALE && (flags & HLFS_RDONLY) && ++tries < READ_TRIES);
    if (res == 0 && *ret) {
        control_begin(*ret, options);
    }
    return res;
}

int hlfs_finish(struct hlfs *v)
{
    error_clear();
    return volume_finish(v);
}

int hlfs_close(struct hlfs *v)
{
    if (v && !volume_forked(v)) {
        control_stop(volume_control(v));
    }
    return volume_close(v);
}

int hlfs_remove(const char *location, const struct hlfs_options *options)
{
    struct store *s;
    int res;

    error_clear();
    res = store_at(location, LOCAL_REMOVE, options, &s);
    if (res < 0) {
        return res;
    }
    res = remove_unheld(s, options && options->force && was_volume(s));
    store_free(s);
    return res;
}

/* 0: there is a volume in S, and nobody holds it. */
static int volume_unheld(struct store *s)
{
    struct identity identity;
    int res = volume_identity(s, &identity);

    return res == 0 ? volume_not_held(s, &identity) : res;
}

int hlfs_set(const char *location, const char *key, const char *value,
             const struct hlfs_options *options)
{
    struct store *s;
    int res;

    error_clear();
    res = store_at(location, LOCAL_REMOVE, options, &s);
    if (res < 0) {
        return res;
    }
    res = volume_unheld(s);
    if (res == 0) {
        res = volume_set_on(s, key, value);
    }
    store_free(s);
    return res;
}

static bool same_host(const struct location *a, const struct location *b)
{
    const char *host = a->host ? a->host : "", *other = b->host ? b->host : "";

    return a->scheme == b->scheme && a->port == b->port && strcmp(host, other) == 0;
}

int hlfs_rename(const char *location, const char *new_location,
                const struct hlfs_options *options)
{
    struct location from, to;
    struct store *s;
    int res;

    error_clear();
    res = location_parse(location, &from);
    if (res < 0) {
        return res;
    }
    res = location_parse(new_location, &to);
    if (res == 0 && !same_host(&from, &to)) {
        res = error_set(-EXDEV, "cannot move %s to %s: these are two file systems, or two "
                        "names of one; copy it by hlfs export and hlfs import", location,
                        new_location);
    }
    if (res == 0) {
        res = store_at(location, LOCAL_REMOVE, options, &s);
    }
    if (res == 0) {
        res = volume_unheld(s);
        if (res == 0) {
            res = store_rename(s, to.path);
        }
        store_free(s);
    }
    location_done(&from);
    location_done(&to);
    return res;
}

static int is_volume(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int list_one(const char *dir, const char *name,
                    int (*fn)(void *opaque, const char *name), void *opaque)
{
    char path[4096];
    struct stat st;
    int error = 0;

    if (snprintf(path, sizeof(path), "%s/%s/volume", dir, name) >= (int)sizeof(path)) {
        error = ENAMETOOLONG;
    } else if (stat(path, &st) < 0) {
        error = errno;
    }
    /* There is none, or it is not for us to see; a link to itself is nothing either. */
    if (error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP) {
        return 0;
    }
    if (error != 0) {
        return error_set(-error, "cannot look at %s/%s: %s", dir, name,
                         error_name(error));
    }
    return S_ISREG(st.st_mode) ? fn(opaque, name) : 0;
}

static int list_hdfs(const struct location *l, const struct hlfs_options *o,
                     int (*fn)(void *opaque, const char *name), void *opaque)
{
    char authority[300];
    struct hdfs_store_params p;

    authority_of(l, authority, sizeof(authority));
    hdfs_params(&p, l, false, authority, o);
    return hdfs_store_volumes(&p, fn, opaque);
}

int hlfs_list(const char *dir, const struct hlfs_options *options,
              int (*fn)(void *opaque, const char *name), void *opaque)
{
    struct dirent **names;
    struct location l;
    int n, res;

    error_clear();
    res = location_parse(dir, &l);
    if (res < 0) {
        return res;
    }
    if (l.scheme == LOCATION_HDFS) {
        res = list_hdfs(&l, options, fn, opaque);
        location_done(&l);
        return res;
    }
    n = scandir(l.path, &names, is_volume, alphasort);
    if (n < 0) {
        res = error_set(-errno, "cannot list %s: %s", dir, error_name(errno));
    }
    for (int i = 0; i < n; i++) {
        if (res == 0) {
            res = list_one(l.path, names[i]->d_name, fn, opaque);
        }
        free(names[i]);
    }
    if (n >= 0) {
        free(names);
    }
    location_done(&l);
    return res < 0 ? res : 0;
}

uint64_t hlfs_size(struct hlfs *v)
{
    return volume_size(v);
}

uint32_t hlfs_block_size(struct hlfs *v)
{
    return volume_block_bytes(v);
}

int hlfs_is_read_only(struct hlfs *v)
{
    return volume_read_only(v);
}

uint64_t hlfs_rescue_losses(struct hlfs *v)
{
    return volume_losses(v);
}

/* ---- Synchronous calls ---------------------------------------------------- */

int hlfs_pread(struct hlfs *v, void *buf, size_t len, uint64_t offset)
{
    const struct request_args a = {
        .kind = REQUEST_READ, .buf = buf, .len = len, .offset = offset,
    };

    return volume_call(v, &a);
}

int hlfs_pwrite(struct hlfs *v, const void *buf, size_t len, uint64_t offset,
                unsigned flags)
{
    const struct request_args a = {
        .kind = REQUEST_WRITE, .buf = (void *)buf, .len = len, .offset = offset,
        .flags = flags,
    };

    return volume_call(v, &a);
}

int hlfs_flush(struct hlfs *v)
{
    const struct request_args a = { .kind = REQUEST_FLUSH };

    return volume_call(v, &a);
}

int hlfs_zero(struct hlfs *v, uint64_t len, uint64_t offset, unsigned flags)
{
    const struct request_args a = {
        .kind = REQUEST_ZERO, .len = len, .offset = offset, .flags = flags,
    };

    return volume_call(v, &a);
}

int hlfs_discard(struct hlfs *v, uint64_t len, uint64_t offset, unsigned flags)
{
    const struct request_args a = {
        .kind = REQUEST_DISCARD, .len = len, .offset = offset, .flags = flags,
    };

    return volume_call(v, &a);
}

int hlfs_resize(struct hlfs *v, uint64_t size, unsigned flags)
{
    const struct request_args a = {
        .kind = REQUEST_RESIZE, .offset = size, .flags = flags,
    };

    return volume_call(v, &a);
}

int hlfs_block_status(struct hlfs *v, uint64_t len, uint64_t offset,
                      enum hlfs_status *ret_status, uint64_t *ret_len)
{
    const struct request_args a = {
        .kind = REQUEST_STATUS, .len = len, .offset = offset, .ret_status = ret_status,
        .ret_len = ret_len,
    };

    return volume_call(v, &a);
}

/* ---- Queues --------------------------------------------------------------- */

int hlfs_queue_new(struct hlfs *v, unsigned depth, struct hlfs_queue **ret)
{
    return queue_new(v, depth, ret);
}

void hlfs_queue_free(struct hlfs_queue *q)
{
    queue_free(q);
}

int hlfs_queue_fd(struct hlfs_queue *q)
{
    return queue_fd(q);
}

int hlfs_submit_pread(struct hlfs_queue *q, void *buf, size_t len, uint64_t offset,
                      void *tag)
{
    const struct request_args a = {
        .kind = REQUEST_READ, .buf = buf, .len = len, .offset = offset, .tag = tag,
    };

    return queue_submit(q, &a);
}

int hlfs_submit_pwrite(struct hlfs_queue *q, const void *buf, size_t len,
                       uint64_t offset, unsigned flags, void *tag)
{
    const struct request_args a = {
        .kind = REQUEST_WRITE, .buf = (void *)buf, .len = len, .offset = offset,
        .flags = flags, .tag = tag,
    };

    return queue_submit(q, &a);
}

int hlfs_submit_flush(struct hlfs_queue *q, void *tag)
{
    const struct request_args a = { .kind = REQUEST_FLUSH, .tag = tag };

    return queue_submit(q, &a);
}

int hlfs_submit_zero(struct hlfs_queue *q, uint64_t len, uint64_t offset, unsigned flags,
                     void *tag)
{
    const struct request_args a = {
        .kind = REQUEST_ZERO, .len = len, .offset = offset, .flags = flags, .tag = tag,
    };

    return queue_submit(q, &a);
}

int hlfs_submit_discard(struct hlfs_queue *q, uint64_t len, uint64_t offset,
                        unsigned flags, void *tag)
{
    const struct request_args a = {
        .kind = REQUEST_DISCARD, .len = len, .offset = offset, .flags = flags,
        .tag = tag,
    };

    return queue_submit(q, &a);
}

int hlfs_submit_resize(struct hlfs_queue *q, uint64_t size, unsigned flags, void *tag)
{
    const struct request_args a = {
        .kind = REQUEST_RESIZE, .offset = size, .flags = flags, .tag = tag,
    };

    return queue_submit(q, &a);
}

int hlfs_submit_block_status(struct hlfs_queue *q, uint64_t len, uint64_t offset,
                             enum hlfs_status *ret_status, uint64_t *ret_len, void *tag)
{
    const struct request_args a = {
        .kind = REQUEST_STATUS, .len = len, .offset = offset, .ret_status = ret_status,
        .ret_len = ret_len, .tag = tag,
    };

    return queue_submit(q, &a);
}

int hlfs_queue_reap(struct hlfs_queue *q, struct hlfs_completion *ret, unsigned max,
                    int timeout_ms)
{
    return queue_reap(q, ret, max, timeout_ms);
}

void hlfs_queue_kick(struct hlfs_queue *q)
{
    queue_kick(q);
}

/* ---- What a volume is and does -------------------------------------------- */

/* The caller's struct may be an older, shorter one, or a newer, longer one. */
static void copy_out(void *to, size_t to_bytes, const void *from, size_t from_bytes)
{
    memset(to, 0, to_bytes);
    memcpy(to, from, MIN(to_bytes, from_bytes));
}

int hlfs_get_info(struct hlfs *v, struct hlfs_info *info, size_t info_bytes)
{
    struct hlfs_info i;
    int res = volume_info(v, &i);

    if (res == 0) {
        copy_out(info, info_bytes, &i, sizeof(i));
    }
    return res;
}

int hlfs_get_counters(struct hlfs *v, struct hlfs_counters *counters,
                      size_t counters_bytes)
{
    struct hlfs_counters c;
    int res = volume_counters(v, &c);

    if (res == 0) {
        copy_out(counters, counters_bytes, &c, sizeof(c));
    }
    return res;
}

int hlfs_control(const char *location, const struct hlfs_options *options,
                 const char *request,
                 void (*fn)(void *opaque, const char *key, const char *value), void *opaque)
{
    struct identity identity;
    struct store *s;
    int res;

    error_clear();
    res = store_at(location, LOCAL_READ_ONLY, options, &s);
    if (res < 0) {
        return res;
    }
    res = volume_identity(s, &identity);
    if (res == 0) {
        res = control_ask(identity.uuid, s->key, request, fn, opaque);
    }
    store_free(s);
    return res != -ENOTCONN ? res :
           error_set(res, "nobody who could be asked holds %s on this machine", location);
}

/* ---- Looking inside ------------------------------------------------------- */

int hlfs_check(const char *location, const struct hlfs_options *options, unsigned flags,
               void (*fn)(void *opaque, int error, const char *text), void *opaque,
               struct hlfs_check_result *ret, size_t ret_bytes)
{
    struct hlfs_check_result result = { 0 };
    struct store *s;
    int res;

    error_clear();
    if (flags & ~HLFS_CHECK_DATA) {
        return error_set(-EINVAL, "cannot check %s: unknown flags %#x", location, flags);
    }
    res = store_at(location, LOCAL_READ_ONLY, options, &s);
    if (res == 0) {
        res = volume_check(s, flags, fn, opaque, &result);
    }
    if (res == 0) {
        copy_out(ret, ret_bytes, &result, sizeof(result));
    }
    return res;
}

int hlfs_dump(const char *location, const struct hlfs_options *options,
              void (*fn)(void *opaque, const char *line), void *opaque)
{
    struct store *s;
    int res;

    error_clear();
    res = store_at(location, LOCAL_READ_ONLY, options, &s);
    return res < 0 ? res : volume_dump(s, fn, opaque);
}
