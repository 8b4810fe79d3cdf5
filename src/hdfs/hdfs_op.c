/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on names: one call to the NameNode for most, a few in a row for some.
 *
 *   RECOVER   RECOVERING --> (closed?) --> POLLING --closed--> LOOKING --> done
 *                  ^                         |  every 100 ms
 *                  +-- after 4 s, then 20 s -+  (1 s where it cannot begin yet)
 *   EMPTY     CREATING --> COMPLETING --(not yet: some ms)--> done
 */
#include "hdfs/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * The first recovery usually does it.  To ask again while one is under way does no harm:
 * a NameNode begins no other for 30 heartbeats (90 s) after the last (Hadoop 3, HDFS-11576:
 * PendingRecoveryBlocks).  And one that met a node which hangs takes a socket's time-out
 * (60 s).  So the time is for two of them, and more.  Where the block is committed and no
 * node has reported it yet, nothing begins at all until it is asked again
 * (AlreadyBeingCreatedException: "Committed blocks are waiting to be minimally
 * replicated").
 */
#define RECOVER_AGAIN_US 4000000
#define RECOVER_LATER_US 20000000
#define RECOVER_BUSY_US 1000000
#define RECOVER_POLL_US 100000
#define RECOVER_TIMEOUT_US 240000000

#define COMPLETE_POLL_US 2000

/* A call that took longer met a NameNode that did not answer, or not at once. */
#define HINDERED_US 1000000

enum step { STEP_ONLY, STEP_CREATING, STEP_COMPLETING, STEP_RECOVERING, STEP_POLLING,
            STEP_LOOKING };

static void op_finish(struct hdfs_op *op, int res)
{
    struct hdfs *h = op->client;

    loop_timer_stop(h->loop, &op->timer);
    list_remove(&op->node);
    op->hindered |= res == -ETIMEDOUT || res == -EAGAIN ||
                    loop_now_us(h->loop) - op->start_us > HINDERED_US;
    op->done(op, hdfs_result(res));
}

static void op_call(struct hdfs_op *op, enum step step)
{
    struct namenode *nn = op->client->namenode;
    struct namenode_call *c = &op->call;

    op->step = (int)step;
    switch (step) {
    case STEP_CREATING:
        namenode_create(nn, c, &(struct namenode_create){
            .path = op->path, .mode = op->mode,
            .flags = NAMENODE_CREATE | NAMENODE_SHOULD_REPLICATE,
            .replication = op->client->replication,
            .block_size = op->client->defaults.block_size,
        });
        return;
    case STEP_COMPLETING:
        namenode_complete(nn, c, op->path, op->file_id, NULL);
        return;
    case STEP_RECOVERING:
        namenode_recover_lease(nn, c, op->path);
        return;
    case STEP_POLLING:
        namenode_is_file_closed(nn, c, op->path);
        return;
    case STEP_LOOKING:
        namenode_get_file_info(nn, c, op->path);
        return;
    case STEP_ONLY:
        return;
    }
}

static void op_again(struct hdfs_op *op, uint64_t wait_us)
{
    loop_timer_set(op->client->loop, &op->timer,
                   loop_now_us(op->client->loop) + wait_us);
}

static void op_timer(struct loop_timer *t)
{
    struct hdfs_op *op = container_of(t, struct hdfs_op, timer);
    uint64_t now = loop_now_us(op->client->loop);

    if (now >= op->call.deadline_us) {
        op_finish(op, -ETIMEDOUT);
    } else if (op->step == STEP_POLLING && now >= op->again_us) {
        op->again_us = now + RECOVER_LATER_US;
        op_call(op, STEP_RECOVERING);
    } else {
        op_call(op, (enum step)op->step);
    }
}

/* ---- Steps --------------------------------------------------------------------- */

static void recover_step(struct hdfs_op *op, int res)
{
    bool under_way = res == -EBUSY && op->step == STEP_RECOVERING;

    if (op->step == STEP_LOOKING || (res < 0 && !under_way)) {
        op_finish(op, res);
    } else if (res == 0 && op->call.u.yes) {
        op_call(op, STEP_LOOKING);
    } else {
        if (under_way) {
            op->again_us = loop_now_us(op->client->loop) + RECOVER_BUSY_US;
        }
        op->step = STEP_POLLING;
        op_again(op, RECOVER_POLL_US);
    }
}

static void empty_step(struct hdfs_op *op, int res)
{
    if (res < 0) {
        op_finish(op, res == -EBUSY && op->step == STEP_CREATING ? -EEXIST : res);
    } else if (op->step == STEP_CREATING) {
        op->file_id = op->call.u.file.id;
        hdfs_file_done(&op->call.u.file);
        op_call(op, STEP_COMPLETING);
    } else if (op->call.u.yes) {
        op_finish(op, 0);
    } else {
        op_again(op, COMPLETE_POLL_US);
    }
}

/* A listing that does not get ahead would be asked for without end. */
static int list_check(struct hdfs_op *op)
{
    const struct hdfs_listing *l = &op->call.u.listing;

    if (!hdfs_list_has_more(op) || !op->to ||
        strcmp(l->files[l->file_count - 1].name, op->to) > 0) {
        return 0;
    }
    hdfs_listing_done(&op->call.u.listing);
    (void)snprintf(op->call.message, sizeof(op->call.message),
                   "the listing of %.180s does not come to an end", op->path);
    return -EBADMSG;
}

static void op_stepped(struct namenode_call *c, int res)
{
    struct hdfs_op *op = container_of(c, struct hdfs_op, call);

    op->hindered |= c->tries > 0;
    switch (op->what) {
    case HDFS_RECOVER:
        recover_step(op, res);
        return;
    case HDFS_CREATE_EMPTY:
        empty_step(op, res);
        return;
    case HDFS_LIST:
        op_finish(op, res < 0 ? res : list_check(op));
        return;
    case HDFS_REMOVE:
        op_finish(op, res < 0 ? res : op->call.u.yes);
        return;
    default:
        op_finish(op, res);
        return;
    }
}

static void op_begin(struct hdfs_op *op)
{
    struct namenode *nn = op->client->namenode;
    struct namenode_call *c = &op->call;

    switch (op->what) {
    case HDFS_STAT:
        namenode_get_file_info(nn, c, op->path);
        return;
    case HDFS_LIST:
        namenode_get_listing(nn, c, op->path, op->to);
        return;
    case HDFS_MAKE_DIR:
        namenode_mkdirs(nn, c, op->path, op->mode, op->all);
        return;
    case HDFS_REMOVE:
        namenode_delete(nn, c, op->path, op->all);
        return;
    case HDFS_RENAME:
        namenode_rename2(nn, c, op->path, op->to, false);
        return;
    case HDFS_SET_MODE:
        namenode_set_permission(nn, c, op->path, op->mode);
        return;
    case HDFS_SET_REPLICATION:
        namenode_set_replication(nn, c, op->path, op->replication);
        return;
    case HDFS_LOCATE:
        namenode_get_block_locations(nn, c, op->path, op->offset, op->length);
        return;
    case HDFS_QUOTA:
        namenode_get_quota_usage(nn, c, op->path);
        return;
    case HDFS_STATISTICS:
        namenode_get_fs_stats(nn, c);
        return;
    case HDFS_NODES:
        namenode_get_datanode_report(nn, c, NAMENODE_REPORT_LIVE);
        return;
    case HDFS_CREATE_EMPTY:
        op_call(op, STEP_CREATING);
        return;
    case HDFS_RECOVER:
        op_call(op, STEP_RECOVERING);
        return;
    }
}

void hdfs_start(struct hdfs *h, struct hdfs_op *op)
{
    uint64_t timeout_us = op->timeout_us;

    if (timeout_us == 0) {
        timeout_us = op->what == HDFS_RECOVER ? RECOVER_TIMEOUT_US : h->params.call_us;
    }
    op->client = h;
    op->start_us = loop_now_us(h->loop);
    op->again_us = op->start_us + RECOVER_AGAIN_US;
    op->step = STEP_ONLY;
    op->file_id = 0;
    op->hindered = false;
    op->timer = (struct loop_timer){ .fire = op_timer };
    op->call = (struct namenode_call){
        .done = op_stepped, .deadline_us = op->start_us + timeout_us,
    };
    list_push(&h->ops, &op->node);
    op_begin(op);
}

void hdfs_cancel(struct hdfs_op *op)
{
    loop_timer_stop(op->client->loop, &op->timer);
    namenode_cancel(&op->call);
    list_remove(&op->node);
}

void hdfs_op_cancel_all(struct hdfs *h)
{
    while (!list_empty(&h->ops)) {
        struct hdfs_op *op = list_first(&h->ops, struct hdfs_op, node);

        hdfs_cancel(op);
        op->done(op, -ECANCELED);
    }
}
