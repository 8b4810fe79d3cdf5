/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a file that is written:
 *
 *   NEW --> NAMING --> ADDING --> CONNECTING --> PERSISTING --> OPEN
 *             |          ^  |         |bad node       (WAITING before ADDING, while it is
 *             |          |  |         |               found out which nodes are silent, or
 *             |          |  |         |               ASKING said that there is room)
 *             v          |  v         v
 *           PROVING -----+  |     PROBING --> ABANDONING --> (ADDING again)
 *                           v
 *                        REMOVING --> NEW       (it cannot be made: there is no file)
 *
 *   OPEN --(renewed: nothing was written, and a node went away)--> ABANDONING
 *
 *   OPEN --> ENDING --> COMPLETING --> gone
 *    |         |            |
 *    |         v            v
 *    |     RECOVERING <-----+                   (the pipeline broke)
 *    +---> EMPTYING --> COMPLETING              (nothing was written)
 *
 * Where the NameNodes were silent in NAMING it is not known whether the name is ours.  So
 * the next output_open() asks: addBlock succeeds for the holder of the lease only.  And
 * what is closed in doubt is completed, which does nothing to another's file; a recovery
 * would take that from its writer.
 *
 * The name is removed and recovered by its path.  So that must not happen once our file is
 * gone (-ENOENT for its id), nor before something that only the holder of the lease is
 * told has shown that it is ours.
 */
#include "hdfs/output_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hdfs/errors.h"

#define SAY_AGAIN_US 30000000

/* What is tried several times a second fails as often: once is enough for a while. */
void output_say(struct output *o, enum log_level level, const char *what, int res,
                const char *message)
{
    struct hdfs *h = o->h;
    uint64_t now = loop_now_us(h->loop);
    char text[sizeof(h->said)];

    (void)snprintf(text, sizeof(text), "hdfs://%s%s: %s: %s", h->name, o->path, what,
                   message && message[0] ? message : errors_name(res));
    if (strcmp(text, h->said) != 0 || now >= h->said_us + SAY_AGAIN_US) {
        memcpy(h->said, text, sizeof(text));
        h->said_us = now;
        log_say(&h->params.log, level, "%s", text);
    }
}

/* ---- Making one, and its end --------------------------------------------------- */

static void output_called(struct namenode_call *c, int res);
static void first_told(struct namenode_call *c, int res);

int output_new(struct hdfs *h, const struct output_params *p, struct output **ret)
{
    struct output *o = calloc(1, sizeof(*o));

    if (!o || !(o->path = strdup(p->path))) {
        free(o);
        return -ENOMEM;
    }
    o->h = h;
    o->p = *p;
    o->p.path = o->path;
    o->p.replication = p->replication ? p->replication : h->replication;
    o->p.min_replicas = MAX(p->min_replicas, 1u);
    list_init(&o->held);
    o->call.done = output_called;
    o->tell.done = first_told;
    o->timer.fire = output_due;
    list_push(&h->outputs, &o->node);
    hdfs_output_added(h);
    *ret = o;
    return 0;
}

void output_forget_block(struct output *o)
{
    bool judging = o->probe != NULL;

    writer_free(TAKE_PTR(o->writer));
    probe_cancel(TAKE_PTR(o->probe));
    if (o->has_block) {
        hdfs_located_block_done(&o->block);
        o->has_block = false;
    }
    if (judging) {
        outputs_judged(o->h);
    }
}

void output_held_fail(struct output *o, int res)
{
    struct list *node;

    while ((node = list_pop(&o->held)) != NULL) {
        struct writer_op *op = list_entry(node, struct writer_op, node);

        op->done(op, res);
    }
}

static void first_done(struct output *o, int res)
{
    struct writer_op *op = TAKE_PTR(o->first_op);

    if (op) {
        op->done(op, res);
    }
}

static void output_free(struct output *o)
{
    struct hdfs *h = o->h;

    o->closing = true;
    loop_timer_stop(h->loop, &o->timer);
    namenode_cancel(&o->call);
    if (o->recovering) {
        hdfs_cancel(&o->recover);
    }
    if (o->locating) {
        hdfs_cancel(&o->locate);
    }
    output_forget_block(o);
    namenode_cancel(&o->tell);
    first_done(o, -ECANCELED);
    output_held_fail(o, -ECANCELED);
    list_remove(&o->node);
    free(o->path);
    free(o);
    hdfs_output_gone(h);
}

void output_drop(struct output *o)
{
    output_free(o);
}

void output_gone(struct output *o, int res)
{
    void (*closed)(void *opaque, int res) = o->closed;
    void *opaque = o->opaque;

    output_free(o);
    if (closed) {
        closed(opaque, hdfs_result(res));
    }
}

void output_drop_all(struct hdfs *h)
{
    struct output *o, *tmp;

    list_for_each_safe(o, tmp, &h->outputs, node) {
        if (o->closing) {
            output_gone(o, -ECANCELED);
        }
    }
}

void output_close_all(struct hdfs *h)
{
    struct output *o, *tmp;

    list_for_each_safe(o, tmp, &h->outputs, node) {
        if (!o->closing) {
            output_close(o, NULL, NULL);
        }
    }
}

/* ---- Opening ------------------------------------------------------------------- */

/* The open is over; RES tells how. */
void output_opened(struct output *o, int res)
{
    void (*opened)(struct output *o, int res, void *opaque) = TAKE_PTR(o->opened);

    if (o->renewing) {
        output_renewed(o, res);
        return;
    }
    o->state = res == 0 ? OUTPUT_OPEN : OUTPUT_NEW;
    opened(o, hdfs_result(res), o->opaque);
}

/* The name is ours, but it cannot be written: there shall be no such file. */
void output_fail(struct output *o, int res, const char *message)
{
    output_say(o, LOG_WARNING, "cannot be written", res, message);
    if (o->renewing) {
        output_renewed(o, res);     /* its number is taken, so it stays */
        return;
    }
    output_forget_block(o);
    o->error = res;
    output_call(o, OUTPUT_REMOVING);
}

void output_lost(struct output *o)
{
    output_say(o, LOG_WARNING, "the file that was made is gone", -ENOENT,
               o->call.message);
    o->made = o->doubt = false;
    o->file_id = 0;
    output_forget_block(o);
    output_opened(o, -EIO);
}

/* Start the call that leads out of STATE. */
void output_call(struct output *o, enum output_state state)
{
    struct namenode *nn = o->h->namenode;
    struct namenode_call *c = &o->call;

    o->state = state;
    c->deadline_us = loop_now_us(o->h->loop) + o->h->params.call_us;
    switch (state) {
    case OUTPUT_NAMING:
        namenode_create(nn, c, &(struct namenode_create){
            .path = o->path, .mode = o->p.mode,
            .flags = NAMENODE_CREATE | NAMENODE_SHOULD_REPLICATE,
            .replication = o->p.replication, .block_size = o->p.block_size,
        });
        return;
    case OUTPUT_PROVING:
    case OUTPUT_ADDING:
        output_add_block(o);
        return;
    case OUTPUT_ASKING:
        namenode_get_datanode_report(nn, c, NAMENODE_REPORT_LIVE);
        return;
    case OUTPUT_ASKING_SUM:
        namenode_get_fs_stats(nn, c);
        return;
    case OUTPUT_ABANDONING:
    case OUTPUT_EMPTYING:
        namenode_abandon_block(nn, c, o->path, o->file_id, &o->block.block);
        return;
    case OUTPUT_PERSISTING:
        namenode_fsync(nn, c, o->path, o->file_id, 0);
        return;
    case OUTPUT_REMOVING:
        c->flags = o->removing ? NAMENODE_AGAIN : 0;
        namenode_delete(nn, c, o->path, false);
        c->flags = 0;
        return;
    case OUTPUT_COMPLETING:
        namenode_complete(nn, c, o->path, o->file_id,
                          o->has_block ? &o->block.block : NULL);
        return;
    default:
        return;
    }
}

void output_open(struct output *o, void (*done)(struct output *o, int res, void *opaque),
                 void *opaque)
{
    o->opened = done;
    o->opaque = opaque;
    o->connects = 0;
    o->no_place_us = 0;
    o->open_until_us = loop_now_us(o->h->loop) + o->h->params.call_us;
    if (o->removing) {
        output_call(o, OUTPUT_REMOVING);
    } else if (o->made && o->writer && !o->broken) {
        output_call(o, OUTPUT_PERSISTING);
    } else if (o->made && o->has_block) {
        o->broken = false;
        writer_free(TAKE_PTR(o->writer));
        output_call(o, OUTPUT_ABANDONING);
    } else if (o->made) {
        output_add(o);
    } else {
        output_call(o, OUTPUT_NAMING);
    }
}

/* May the NameNode have done what it gave no answer to? */
bool output_outcome_unknown(int res)
{
    return res == -ETIMEDOUT || res == -EAGAIN || res == -EBADMSG;
}

static void named(struct output *o, int res)
{
    if (res == 0) {
        o->made = true;
        o->file_id = o->call.u.file.id;
        hdfs_file_done(&o->call.u.file);
        output_add(o);
    } else if ((res == -EEXIST || res == -EBUSY) && (o->doubt || o->call.tries > 0)) {
        o->doubt = true;                    /* it may be what the first try made */
        output_call(o, OUTPUT_PROVING);
    } else if (output_outcome_unknown(res) || res == -EIO) {
        o->doubt = true;
        o->file_id = 0;
        output_say(o, LOG_WARNING, "not known whether it was created", res,
                   o->call.message);
        output_opened(o, -EIO);
    } else {
        /* -EBUSY: somebody has the name, and writes. */
        output_opened(o, res == -EBUSY ? -EEXIST : res);
    }
}

static void proved(struct output *o, int res)
{
    if (res == 0) {
        o->made = true;
        output_block_added(o, 0);
    } else if (res == -HDFS_ELEASE || res == -EBUSY) {
        o->doubt = false;
        output_opened(o, -EEXIST);
    } else if (res == -ENOENT) {
        o->doubt = false;                   /* it came to nothing */
        output_call(o, OUTPUT_NAMING);
    } else if (res == -ENOSPC || res == -EDQUOT) {
        o->made = true;                     /* the lease is looked at before that */
        output_block_added(o, res);
    } else {
        output_opened(o, -EIO);             /* as much in doubt as before */
    }
}

static void removed(struct output *o, int res)
{
    o->removing = res < 0;
    if (res < 0) {
        output_opened(o, -EIO);             /* it may be there, and is ours */
        return;
    }
    o->made = o->doubt = false;
    o->file_id = 0;
    o->exclude_count = 0;
    output_opened(o, o->error);
}

static void persisted(struct output *o, int res)
{
    if (res == -ENOENT) {
        output_lost(o);
    } else if (o->broken) {
        output_opened(o, -EIO);
    } else if (res < 0 && !output_outcome_unknown(res) && res != -HDFS_ELEASE) {
        output_fail(o, res, o->call.message);
    } else {
        output_opened(o, res < 0 ? -EIO : 0);
    }
}

/* ---- Writing ------------------------------------------------------------------- */

static bool takes_ops(const struct output *o)
{
    return (o->state == OUTPUT_OPEN || o->renewing) && !o->broken && !o->closing;
}

/* Its first op waits while it is being found out which nodes are silent: they may be its
 * own. */
static bool holds_ops(const struct output *o)
{
    return o->renewing || !list_empty(&o->held) ||
           (!o->given && output_is_judging(o->h));
}

/*
 * A block of which the NameNode knows no byte is removed by a recovery that begins before
 * a DataNode has reported it (after a restart of the NameNode, or a failover): bytes that
 * were on all disks (FSNamesystem.internalReleaseLease).  So nobody hears of the first ones
 * before the NameNode has been told (DFSOutputStream's "update the block length").
 */
static void first_acked(struct writer_op *op, int res)
{
    struct output *o = container_of(op, struct output, first);

    if (res < 0) {
        first_done(o, res);
        return;
    }
    o->tell.deadline_us = loop_now_us(o->h->loop) + o->h->params.call_us;
    namenode_fsync(o->h->namenode, &o->tell, o->path, o->file_id,
                   (int64_t)writer_acked(o->writer));
}

static void first_told(struct namenode_call *c, int res)
{
    struct output *o = container_of(c, struct output, tell);

    if (res < 0) {
        output_say(o, LOG_WARNING, "its length cannot be made known", res, c->message);
    }
    first_done(o, res < 0 ? -EIO : 0);
}

static int give_first(struct output *o, struct writer_op *op)
{
    int res;

    o->first = (struct writer_op){
        .done = first_acked, .buf = op->buf, .len = op->len, .hsync = op->hsync,
    };
    res = writer_append(o->writer, &o->first);
    if (res == 0) {
        o->first_op = op;
    }
    return res;
}

int output_give(struct output *o, struct writer_op *op)
{
    int res;

    if (op->len == 0) {
        return writer_sync(o->writer, op);
    }
    res = o->given ? writer_append(o->writer, op) : give_first(o, op);
    if (res == 0) {
        o->given = true;
    } else {
        o->appended -= op->len;
    }
    return res;
}

int output_append(struct output *o, struct writer_op *op)
{
    bool hold = takes_ops(o) && holds_ops(o);

    if (!takes_ops(o)) {
        return -EPIPE;
    }
    if (op->len == 0 || op->len > o->p.block_size - MIN(o->appended, o->p.block_size)) {
        return op->len == 0 ? -EINVAL : -EFBIG;
    }
    o->appended += op->len;
    if (hold) {
        list_push(&o->held, &op->node);
        return 0;
    }
    return output_give(o, op);
}

int output_sync(struct output *o, struct writer_op *op)
{
    if (!takes_ops(o)) {
        return -EPIPE;
    }
    op->len = 0;
    if (holds_ops(o)) {
        list_push(&o->held, &op->node);
        return 0;
    }
    return output_give(o, op);
}

uint64_t output_appended(const struct output *o)
{
    return o->appended;
}

uint64_t output_acked(const struct output *o)
{
    return o->writer && !o->broken ? writer_acked(o->writer) : o->acked;
}

bool output_is_broken(const struct output *o)
{
    return o->broken;
}

const struct hdfs_located_block *output_block(const struct output *o)
{
    return o->has_block ? &o->block : NULL;
}

bool output_is_short(const struct output *o)
{
    return o->has_block && o->block.node_count < o->p.replication;
}

bool output_is_leaving(const struct output *o)
{
    return o->leaving;
}

/* ---- Steps --------------------------------------------------------------------- */

static void output_called(struct namenode_call *c, int res)
{
    struct output *o = container_of(c, struct output, call);

    switch (o->state) {
    case OUTPUT_NAMING:
        if (o->closing) {
            output_named_too_late(o, res);
        } else {
            named(o, res);
        }
        return;
    case OUTPUT_PROVING:
        proved(o, res);
        return;
    case OUTPUT_ADDING:
        output_block_added(o, res);
        return;
    case OUTPUT_ASKING:
        output_nodes_told(o, res);
        return;
    case OUTPUT_ASKING_SUM:
        output_sum_told(o, res);
        return;
    case OUTPUT_ABANDONING:
        output_abandoned(o, res);
        return;
    case OUTPUT_PERSISTING:
        persisted(o, res);
        return;
    case OUTPUT_REMOVING:
        removed(o, res);
        return;
    case OUTPUT_EMPTYING:
        output_emptied(o, res);
        return;
    case OUTPUT_COMPLETING:
        output_completed(o, res);
        return;
    default:
        return;
    }
}
