/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A read:
 *
 *     (locations known?) --no--> waiting --located--> reading --> ... --> done
 *            |                      ^                  |  ^
 *            +--------- yes --------|----------------->+  | the next block
 *                                   +---- no replica -----+
 *
 * Locations are a snapshot that is shared by the reads under way and replaced as a whole.
 */
#include "hdfs/input.h"

#include <errno.h>
#include <string.h>

#include "hdfs/errors.h"
#include "hdfs/hdfs_private.h"
#include "hdfs/visible.h"

/* Without a pause the first time: locations may just be old. */
#define TRIES_MAX 8
#define TRY_AGAIN_US 100000
#define TRY_AGAIN_MAX_US 1000000

#define VISIBLE_NODE_US 1000000

struct located {
    unsigned refs;
    struct hdfs_located_block *blocks;  /* owned; the one being written is the last */
    size_t count;
    uint64_t length;
    bool open;                          /* somebody else is writing it */
};

struct input {
    struct hdfs *h;                 /* borrowed */
    char *path;                     /* owned */
    struct located *located;        /* a reference, or NULL: ask */
    uint64_t written;               /* bytes that our own writer knows of */
    struct list waiting;            /* input_ops, for locations */
    struct list reading;            /* input_ops, with the reader */
    bool locating;
    struct namenode_call call;
    struct hdfs_located_blocks answer;  /* owned; while VISIBLE is asked */
    struct visible *visible;            /* owned */
    struct loop_timer timer;            /* locate again */
    unsigned fails;                     /* of reads, since the last that was good */
};

static void input_go_on(struct input *in);

static void located_put(struct located *l)
{
    if (!l || --l->refs > 0) {
        return;
    }
    for (size_t i = 0; i < l->count; i++) {
        hdfs_located_block_done(&l->blocks[i]);
    }
    free(l->blocks);
    free(l);
}

/* ---- Coming and going ---------------------------------------------------------- */

static void located_called(struct namenode_call *c, int res);
static void locate_again(struct loop_timer *t);

int input_new(struct hdfs *h, const char *path, struct input **ret)
{
    struct input *in = calloc(1, sizeof(*in));

    if (!in || !(in->path = strdup(path))) {
        free(in);
        return -ENOMEM;
    }
    in->h = h;
    list_init(&in->waiting);
    list_init(&in->reading);
    in->call.done = located_called;
    in->timer.fire = locate_again;
    *ret = in;
    return 0;
}

static void op_finish(struct input_op *op, int64_t res)
{
    list_remove(&op->node);
    located_put(TAKE_PTR(op->located));
    op->done(op, res < 0 ? hdfs_result((int)res) : res);
}

static void cancel_all(struct list *ops)
{
    while (!list_empty(ops)) {
        struct input_op *op = list_first(ops, struct input_op, node);

        if (op->reading) {
            reader_cancel(&op->read);
        }
        op_finish(op, -ECANCELED);
    }
}

void input_free(struct input *in)
{
    if (!in) {
        return;
    }
    cancel_all(&in->waiting);
    cancel_all(&in->reading);
    loop_timer_stop(in->h->loop, &in->timer);
    namenode_cancel(&in->call);
    visible_cancel(in->visible);
    hdfs_located_blocks_done(&in->answer);
    located_put(in->located);
    free(in->path);
    free(in);
}

bool input_is_idle(const struct input *in)
{
    return list_empty(&in->waiting) && list_empty(&in->reading);
}

const struct hdfs_located_block *input_last_block(const struct input *in)
{
    const struct located *l = in->located;

    return l && l->count > 0 ? &l->blocks[l->count - 1] : NULL;
}

/* ---- Locations ----------------------------------------------------------------- */

static void locate(struct input *in);

/* Is RES what may pass: nodes that are away, or do not know enough yet? */
static bool may_pass(int res)
{
    switch (res) {
    case -EIO:
    case -EPROTO:
    case -EAGAIN:
    case -ETIMEDOUT:
    case -EPIPE:
    case -ECONNRESET:
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -EHOSTDOWN:
    case -ENETUNREACH:
    case -ENETDOWN:
        return true;
    default:
        return false;
    }
}

/* Has OP, which came to RES, time to be tried on? */
static bool has_time(const struct input_op *op, int res)
{
    return op->timeout_us > 0 && may_pass(res) &&
           loop_now_us(op->in->h->loop) < op->deadline_us;
}

/* All who wait get RES; but those that have time left ask again, if that may help. */
static void fail_waiting(struct input *in, int res)
{
    struct list failed;

    list_init(&failed);
    list_splice(&failed, &in->waiting);
    while (!list_empty(&failed)) {
        struct input_op *op = list_first(&failed, struct input_op, node);

        if (has_time(op, res)) {
            list_remove(&op->node);
            list_push(&in->waiting, &op->node);
        } else {
            op_finish(op, res);
        }
    }
    if (!list_empty(&in->waiting)) {
        in->fails++;
        locate(in);
    }
}

static void locate(struct input *in)
{
    if (in->locating) {
        return;
    }
    in->locating = true;
    if (in->fails <= 1) {
        locate_again(&in->timer);
        return;
    }
    loop_timer_set(in->h->loop, &in->timer, loop_now_us(in->h->loop) +
                   MIN((uint64_t)TRY_AGAIN_US << MIN(in->fails, 10u),
                       (uint64_t)TRY_AGAIN_MAX_US));
}

static void locate_again(struct loop_timer *t)
{
    struct input *in = container_of(t, struct input, timer);

    in->call.deadline_us = loop_now_us(in->h->loop) + in->h->params.call_us;
    namenode_get_block_locations(in->h->namenode, &in->call, in->path, 0, INT64_MAX);
}

static struct located *located_new(size_t count)
{
    struct located *l = calloc(1, sizeof(*l));

    if (l) {
        l->refs = 1;
        l->blocks = calloc(MAX(count, (size_t)1), sizeof(*l->blocks));
    }
    if (l && !l->blocks) {
        free(l);
        return NULL;
    }
    return l;
}

/* Does the answer's list have the block that is being written, too? */
static bool has_last_twice(const struct hdfs_located_blocks *b)
{
    return b->block_count > 0 &&
           b->blocks[b->block_count - 1].block.id == b->last.block.id;
}

/* Blocks follow each other without a gap, from 0 on. */
static bool is_contiguous(const struct located *l)
{
    uint64_t at = 0;

    for (size_t i = 0; i < l->count; i++) {
        const struct hdfs_located_block *b = &l->blocks[i];

        if (b->offset != at || b->block.length > UINT64_MAX / 2 - at) {
            return false;
        }
        at += b->block.length;
    }
    return l->length == at;
}

/* Make the answer what reads go by; LAST is the length of a block being written. */
static int take_answer(struct input *in, uint64_t last)
{
    struct hdfs_located_blocks *b = &in->answer;
    bool open = b->under_construction && b->has_last && !b->last_complete;
    struct located *l = located_new(b->block_count + 1);

    if (!l) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < b->block_count - (open && has_last_twice(b)); i++) {
        l->blocks[l->count] = b->blocks[i];
        b->blocks[i] = (struct hdfs_located_block){ .offset = 0 };
        l->length += l->blocks[l->count++].block.length;
    }
    if (open) {
        l->blocks[l->count] = b->last;
        b->last = (struct hdfs_located_block){ .offset = 0 };
        l->blocks[l->count].offset = l->length;
        l->blocks[l->count].block.length = last;
        l->length += last;
        l->count++;
    }
    l->open = b->under_construction;
    hdfs_located_blocks_done(b);
    if (!is_contiguous(l)) {
        located_put(l);
        return -EBADMSG;
    }
    located_put(in->located);
    in->located = l;
    return 0;
}

static void locate_done(struct input *in, int res)
{
    in->locating = false;
    if (res < 0) {
        hdfs_located_blocks_done(&in->answer);
        fail_waiting(in, res);
    } else {
        input_go_on(in);
    }
}

static void visible_known(void *opaque, int res, uint64_t length)
{
    struct input *in = opaque;

    in->visible = NULL;
    /* No replica was made: it is as long as the NameNode knows.  (As DFSInputStream does
     * it.)  Where one that has it gave no answer the file is not shorter for that. */
    if (res == -ENOENT) {
        res = 0;
        length = in->answer.last.block.length;
    }
    locate_done(in, res < 0 ? res : take_answer(in, MAX(length, in->written)));
}

static int ask_visible(struct input *in)
{
    struct visible_params p = {
        .loop = in->h->loop, .block = &in->answer.last, .user = in->h->user,
        .use_hostname = in->h->use_hostname, .node_us = VISIBLE_NODE_US,
        .done = visible_known, .opaque = in,
    };

    return visible_start(&p, &in->visible);
}

static void located_called(struct namenode_call *c, int res)
{
    struct input *in = container_of(c, struct input, call);

    if (res < 0) {
        locate_done(in, res);
        return;
    }
    in->answer = c->u.blocks;
    if (in->answer.erasure_coded || in->answer.encrypted) {
        locate_done(in, -ENOTSUP);
        return;
    }
    if (in->answer.under_construction && in->answer.has_last &&
        !in->answer.last_complete && in->written == 0) {
        res = ask_visible(in);
        if (res < 0) {
            locate_done(in, res);
        }
        return;
    }
    locate_done(in, take_answer(in, in->written));
}

void input_written(struct input *in, const struct hdfs_located_block *b,
                   uint64_t length)
{
    struct located *l = in->located;

    in->written = MAX(in->written, length);
    if (l && l->count == 1 && l->blocks[0].block.id == b->block.id) {
        if (length > l->length) {
            l->length = l->blocks[0].block.length = length;
        }
        return;
    }
    if (in->locating) {
        return;
    }
    l = located_new(1);
    if (l && hdfs_located_block_copy(b, &l->blocks[0]) == 0) {
        l->count = 1;
        l->blocks[0].offset = 0;
        l->length = l->blocks[0].block.length = length;
        located_put(in->located);
        in->located = l;
    } else {
        located_put(l);         /* the NameNode knows, too */
    }
}

/* ---- Reading ------------------------------------------------------------------- */

static void op_step(struct input_op *op);

/* No replica had it: ask where they are now, a few times. */
static void op_again(struct input_op *op, int res)
{
    struct input *in = op->in;

    if (res == -EBADMSG) {
        op->tries += TRIES_MAX / 2;
    } else if (!has_time(op, res)) {
        op->tries++;
    }
    if (op->tries >= TRIES_MAX || loop_now_us(in->h->loop) >= op->deadline_us) {
        op_finish(op, res);
        return;
    }
    if (op->located == in->located) {
        in->fails++;
        located_put(TAKE_PTR(in->located));
    }
    located_put(TAKE_PTR(op->located));
    list_remove(&op->node);
    list_push(&in->waiting, &op->node);
    if (in->located) {
        input_go_on(in);        /* somebody else has asked meanwhile */
    } else {
        locate(in);
    }
}

static void read_done(struct reader_op *r, int res)
{
    struct input_op *op = container_of(r, struct input_op, read);

    op->reading = false;
    if (res < 0) {
        op_again(op, res);
        return;
    }
    op->in->fails = 0;
    op->got += r->len;
    if (op->got == op->len) {
        op_finish(op, (int64_t)op->got);
    } else {
        located_put(TAKE_PTR(op->located));
        op_step(op);
    }
}

static const struct hdfs_located_block *block_at(const struct located *l, uint64_t at)
{
    size_t low = 0, high = l->count;

    while (high - low > 1) {
        size_t mid = (low + high) / 2;

        if (l->blocks[mid].offset <= at) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return &l->blocks[low];
}

static void op_read(struct input_op *op)
{
    struct input *in = op->in;
    uint64_t at = op->offset + op->got;
    const struct hdfs_located_block *b = block_at(in->located, at);

    op->located = in->located;
    op->located->refs++;
    op->read = (struct reader_op){
        .done = read_done,
        .block = b,
        .offset = at - b->offset,
        .buf = (char *)op->buf + op->got,
        .len = (size_t)MIN(op->len - op->got, b->block.length - (at - b->offset)),
        .deadline_us = op->deadline_us,
    };
    op->reading = true;
    list_remove(&op->node);
    list_push(&in->reading, &op->node);
    reader_read(in->h->readers, &op->read);
}

/* Read on, or wait for locations.  A file that is open may have grown. */
static void op_step(struct input_op *op)
{
    struct input *in = op->in;
    uint64_t at = op->offset + op->got;

    if (op->offset > INT64_MAX - op->len) {
        op_finish(op, -EINVAL);
        return;
    }
    if (in->located && op->got < op->len && at < in->located->length) {
        op_read(op);
    } else if (in->located &&
               (!in->located->open || in->written > 0 || op->looked_us > 0)) {
        op_finish(op, (int64_t)op->got);
    } else {
        op->looked_us = loop_now_us(in->h->loop);
        located_put(TAKE_PTR(in->located));
        list_remove(&op->node);
        list_push(&in->waiting, &op->node);
        locate(in);
    }
}

/* Locations have come. */
static void input_go_on(struct input *in)
{
    struct list ops;

    list_init(&ops);
    list_splice(&ops, &in->waiting);
    while (!list_empty(&ops)) {
        struct input_op *op = list_first(&ops, struct input_op, node);

        list_remove(&op->node);
        op->looked_us = MAX(op->looked_us, (uint64_t)1);
        op_step(op);
    }
}

void input_read(struct input *in, struct input_op *op)
{
    uint64_t timeout_us = op->timeout_us ? op->timeout_us : in->h->params.call_us;

    list_init(&op->node);
    op->in = in;
    op->located = NULL;
    op->reading = false;
    op->got = 0;
    op->tries = 0;
    op->looked_us = 0;
    op->deadline_us = loop_now_us(in->h->loop) + timeout_us;
    op_step(op);
}
