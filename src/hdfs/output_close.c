/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Closing a file that was written, in the background: its block is ended, or recovered
 * where the pipeline is broken.
 */
#include "hdfs/output_private.h"

#include <errno.h>

/* complete() answers false until a DataNode has reported the block. */
#define COMPLETE_FIRST_US 1000
#define COMPLETE_MAX_US 200000
#define COMPLETE_GIVE_UP_US 60000000

/* For who is not patient: as long as that, so often. */
#define RECOVER_US 60000000
#define RECOVER_TRIES 5
#define RECOVER_PAUSES_MAX 6u       /* of close_pause_us, between two of them */

static void begin_call(struct output *o, enum output_state state)
{
    o->wait_us = COMPLETE_FIRST_US;
    o->give_up_us = loop_now_us(o->h->loop) + COMPLETE_GIVE_UP_US;
    output_call(o, state);
}

void output_complete(struct output *o)
{
    begin_call(o, OUTPUT_COMPLETING);
}

/* The same call again, a little later; or that has been tried for long enough. */
static void call_again(struct output *o)
{
    if (loop_now_us(o->h->loop) >= o->give_up_us) {
        output_recover(o);
        return;
    }
    loop_timer_set(o->h->loop, &o->timer, loop_now_us(o->h->loop) + o->wait_us);
    o->wait_us = MIN(2 * o->wait_us, (uint64_t)COMPLETE_MAX_US);
}

/* The NameNodes keep silent.  They would about a recovery, too, and what may be done
 * already needs none: the same again does no harm. */
static void call_unknown(struct output *o)
{
    if (o->p.patient) {
        o->give_up_us = loop_now_us(o->h->loop) + COMPLETE_GIVE_UP_US;
    }
    call_again(o);
}

static void ended(struct writer_op *op, int res)
{
    struct output *o = container_of(op, struct output, end);

    if (res < 0) {
        return;             /* writer_failed() follows, and recovers */
    }
    o->ended = true;
    o->block.block.length = writer_acked(o->writer);
    writer_free(TAKE_PTR(o->writer));
    output_complete(o);
}

static void output_end(struct output *o)
{
    if (!list_empty(&o->held)) {
        output_renewed(o, o->broken ? -EPIPE : 0);      /* before the end */
    }
    if (!o->made) {
        output_gone(o, -ENOENT);        /* output_lost() while it was renewed */
    } else if (o->broken) {
        output_recover(o);
    } else if (o->appended == 0) {
        writer_free(TAKE_PTR(o->writer));
        begin_call(o, OUTPUT_EMPTYING);
    } else {
        o->state = OUTPUT_ENDING;
        o->end = (struct writer_op){ .done = ended, .hsync = o->p.hsync };
        if (writer_end(o->writer, &o->end) < 0) {
            output_recover(o);
        }
    }
}

void output_close(struct output *o, void (*closed)(void *opaque, int res), void *opaque)
{
    o->closing = true;
    o->closed = closed;
    o->opaque = opaque;
    o->opened = NULL;
    if (o->state == OUTPUT_OPEN) {
        output_end(o);
    } else if (o->made || o->doubt) {
        /* Half-made: whatever step it is at, that ends here. */
        namenode_cancel(&o->call);
        loop_timer_stop(o->h->loop, &o->timer);
        output_forget_block(o);
        o->renewing = false;
        output_held_fail(o, -EPIPE);
        if (o->made) {
            output_recover(o);
        } else {
            output_complete(o);     /* if it is ours */
        }
    } else if (o->state == OUTPUT_NEW) {
        output_gone(o, 0);
    }
    /* else it is being named: output_called() goes on */
}

void output_completed(struct output *o, int res)
{
    if (res == 0 && !o->call.u.yes) {
        o->made = true;         /* only the holder of the lease is told so */
        call_again(o);
    } else if (res == 0 || res == -HDFS_ELEASE || res == -ENOENT) {
        output_gone(o, res);    /* closed, or taken over, or removed */
    } else if (output_outcome_unknown(res)) {
        call_unknown(o);
    } else {
        output_recover(o);
    }
}

/* The block that got nothing was to be abandoned. */
void output_emptied(struct output *o, int res)
{
    if (res == 0) {
        output_forget_block(o);
        output_complete(o);
    } else if (res == -HDFS_ELEASE || res == -ENOENT) {
        output_gone(o, res);
    } else if (output_outcome_unknown(res)) {
        call_unknown(o);
    } else {
        output_recover(o);
    }
}

static bool is_given_up(struct output *o)
{
    return ++o->recovers >= RECOVER_TRIES && !o->p.patient;
}

static void recovered(struct hdfs_op *op, int res)
{
    struct output *o = container_of(op, struct output, recover);

    o->recovering = false;
    if (res == 0) {
        if (op->call.u.file.length < o->acked) {
            log_say(&o->h->params.log, LOG_ERROR, "hdfs://%s%s: it is %llu bytes long, after "
                    "%llu were acknowledged", o->h->name, o->path,
                    (unsigned long long)op->call.u.file.length, (unsigned long long)o->acked);
        }
        hdfs_file_done(&op->call.u.file);
    }
    if (res == 0 || res == -ENOENT || is_given_up(o)) {
        output_gone(o, res == 0 && !o->ended ? 1 : res);
        return;
    }
    output_say(o, LOG_WARNING, "cannot be closed yet", res, op->call.message);
    loop_timer_set(o->h->loop, &o->timer, loop_now_us(o->h->loop) +
                   MIN(o->recovers, RECOVER_PAUSES_MAX) * o->h->params.close_pause_us);
}

/* What a broken pipeline left is made one length on all nodes, and closed. */
void output_recover(struct output *o)
{
    if (!o->made) {
        output_gone(o, -EIO);       /* it may be another's, who is writing it */
        return;
    }
    o->state = OUTPUT_RECOVERING;
    o->recovering = true;
    o->recover = (struct hdfs_op){
        .what = HDFS_RECOVER, .path = o->path, .done = recovered,
        .timeout_us = o->p.patient ? 0 : RECOVER_US,
    };
    hdfs_start(o->h, &o->recover);
}

void output_due(struct loop_timer *t)
{
    struct output *o = container_of(t, struct output, timer);

    if (o->state == OUTPUT_COMPLETING || o->state == OUTPUT_EMPTYING) {
        output_call(o, o->state);
    } else if (o->state == OUTPUT_RECOVERING) {
        output_recover(o);
    } else if (o->state == OUTPUT_WAITING) {
        output_add(o);
    }
}

/* It was to be closed while it was being named. */
void output_named_too_late(struct output *o, int res)
{
    if (res == 0) {
        o->made = true;
        o->file_id = o->call.u.file.id;
        hdfs_file_done(&o->call.u.file);
        output_complete(o);
    } else if (output_outcome_unknown(res)) {
        output_complete(o);         /* if it is ours */
    } else {
        output_gone(o, 0);
    }
}
