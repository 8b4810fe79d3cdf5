/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block of a file that is written, and its pipeline: asked for, connected, and
 * replaced where a node is silent or bad.
 */
#include "hdfs/output_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hdfs/errors.h"

#define CONNECTS_MAX 6
#define ADD_AGAIN_US 300000
#define ROOM_BLOCKS 8u
#define NO_PLACE_US 5000000     /* where there is room: more than a DataNode's heartbeat */

/* ---- Where to ------------------------------------------------------------------ */

static size_t all_excludes(struct output *o, struct hdfs_datanode *ret, size_t max)
{
    size_t n = MIN(o->exclude_count, max);

    memcpy(ret, o->excludes, n * sizeof(*ret));
    return n + nodes_list(&o->h->nodes, ret + n, max - n);
}

static void output_exclude(struct output *o, unsigned node, bool silent)
{
    if (o->exclude_count < OUTPUT_EXCLUDES_MAX) {
        o->excludes[o->exclude_count++] = o->block.nodes[node];
    }
    if (silent) {
        nodes_avoid(&o->h->nodes, &o->block, node);
    }
}

/* Is it being found out which nodes of a pipeline that broke are silent? */
bool output_is_judging(const struct hdfs *h)
{
    const struct output *o;

    list_for_each(o, &h->outputs, node) {
        if (o->probe && o->state != OUTPUT_PROBING) {
            return true;
        }
    }
    return false;
}

void output_add(struct output *o)
{
    if (output_is_judging(o->h)) {
        o->state = OUTPUT_WAITING;      /* for outputs_judged() */
    } else {
        output_call(o, OUTPUT_ADDING);
    }
}

void output_add_block(struct output *o)
{
    struct hdfs_datanode excludes[OUTPUT_EXCLUDES_MAX];
    size_t n = all_excludes(o, excludes, OUTPUT_EXCLUDES_MAX);

    namenode_add_block(o->h->namenode, &o->call, o->path, o->file_id, NULL, excludes, n);
}

/* ---- Renewing ------------------------------------------------------------------ */

/*
 * A file that was made ahead and has no byte yet gets another pipeline when a node of its
 * goes away: whose turn it is when another pipeline broke shall not break as well.
 */
static bool can_renew(const struct output *o)
{
    return o->state == OUTPUT_OPEN && o->has_block && !o->given && !o->closing &&
           !o->broken;
}

static void output_renew(struct output *o)
{
    o->renewing = true;
    o->dead = false;
    o->connects = 0;
    o->no_place_us = 0;
    o->open_until_us = loop_now_us(o->h->loop) + o->h->params.call_us;
    writer_free(TAKE_PTR(o->writer));
    output_call(o, OUTPUT_ABANDONING);
}

/* The new pipeline stands, or cannot be had. */
void output_renewed(struct output *o, int res)
{
    struct list held;
    struct list *node;

    o->renewing = false;
    o->state = OUTPUT_OPEN;
    o->broken = res < 0;
    list_init(&held);
    list_splice(&held, &o->held);
    while ((node = list_pop(&held)) != NULL) {
        struct writer_op *op = list_entry(node, struct writer_op, node);
        int r = res < 0 ? -EPIPE : output_give(o, op);

        if (r < 0) {
            op->done(op, r);
        }
    }
}

static bool is_avoided(const struct output *o)
{
    for (unsigned i = 0; i < o->block.node_count; i++) {
        if (nodes_has(&o->h->nodes, &o->block.nodes[i])) {
            return true;
        }
    }
    return false;
}

/* It is known now who is silent: those that wait for it go on. */
void outputs_judged(struct hdfs *h)
{
    struct output *o;

    if (output_is_judging(h)) {
        return;
    }
    list_for_each(o, &h->outputs, node) {
        if (o->state == OUTPUT_WAITING && !o->timer.armed) {
            output_call(o, OUTPUT_ADDING);
        } else if (can_renew(o) && (o->dead || is_avoided(o))) {
            output_renew(o);
        } else if (!o->renewing && !list_empty(&o->held)) {
            output_renewed(o, o->broken ? -EPIPE : 0);
        }
    }
}

/* ---- Nodes that go away in order ----------------------------------------------- */

static bool has_leaving(const struct hdfs_located_blocks *b, uint64_t id)
{
    if (!b->has_last || b->last.block.id != id) {
        return false;
    }
    for (unsigned i = 0; i < b->last.node_count; i++) {
        if (b->last.nodes[i].admin_state != HDFS_NODE_NORMAL) {
            return true;
        }
    }
    return false;
}

static void refreshed(struct hdfs_op *op, int res)
{
    struct output *o = container_of(op, struct output, locate);
    bool leaving;

    o->locating = false;
    if (res < 0) {
        return;
    }
    leaving = o->has_block && has_leaving(&op->call.u.blocks, o->block.block.id);
    hdfs_located_blocks_done(&op->call.u.blocks);
    if (leaving && can_renew(o) && list_empty(&o->held)) {
        output_renew(o);
    } else {
        o->leaving = leaving;
    }
}

void output_refresh(struct output *o)
{
    if (o->state != OUTPUT_OPEN || o->broken || o->closing || o->locating) {
        return;
    }
    o->locating = true;
    o->locate = (struct hdfs_op){
        .what = HDFS_LOCATE, .path = o->path, .length = INT64_MAX, .done = refreshed,
    };
    hdfs_start(o->h, &o->locate);
}

/* ---- Connecting ---------------------------------------------------------------- */

static void writer_opened(struct writer *w, void *opaque)
{
    (void)w;
    output_call(opaque, OUTPUT_PERSISTING);
}

/* A try to connect failed, and who is to blame is excluded: another, elsewhere. */
static void connect_again(struct output *o)
{
    writer_free(TAKE_PTR(o->writer));
    output_call(o, OUTPUT_ABANDONING);
}

static void probed(void *opaque, const int *results, unsigned count)
{
    struct output *o = opaque;
    struct hdfs *h = o->h;

    o->probe = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (results[i] < 0) {
            const struct hdfs_datanode *d = &o->block.nodes[i];

            output_exclude(o, i, true);
            log_say(&o->h->params.log, LOG_WARNING, "hdfs://%s: DataNode %s:%u: %s",
                    o->h->name, d->ip, d->xfer_port, errors_name(results[i]));
        }
    }
    if (o->state == OUTPUT_PROBING) {
        connect_again(o);
    }
    outputs_judged(h);
}

/* Which nodes of the pipeline are silent?  0: that is going to be told. */
static int start_probe(struct output *o)
{
    struct probe_params p = {
        .loop = o->h->loop, .block = &o->block, .client = o->h->client_name,
        .use_hostname = o->h->use_hostname, .timeout_us = o->h->params.probe_us,
        .done = probed, .opaque = o,
    };

    return o->probe ? 0 : probe_start(&p, &o->probe);
}

static void connect_failed(struct output *o, int res, int node, const char *message)
{
    output_say(o, LOG_INFO, "a pipeline could not be set up", res, message);
    if (++o->connects >= CONNECTS_MAX) {
        output_fail(o, res, message);
        return;
    }
    if (node >= 0 && (unsigned)node < o->block.node_count) {
        output_exclude(o, (unsigned)node, res != -HDFS_ETOKEN);
    } else if (res == -ETIMEDOUT) {
        o->state = OUTPUT_PROBING;
        if (start_probe(o) == 0) {
            return;
        }
    }
    connect_again(o);
}

/* It was open: the owner hears from its ops, or when it comes with the next one. */
static void pipeline_broke(struct output *o, int res, int node, const char *message)
{
    bool renew = can_renew(o);

    output_say(o, renew ? LOG_INFO : LOG_WARNING, "its pipeline broke", res, message);
    o->broken = !renew;
    o->dead = renew;
    o->acked = writer_acked(o->writer);
    if (node >= 0 && (unsigned)node < o->block.node_count) {
        nodes_avoid(&o->h->nodes, &o->block, (unsigned)node);
    } else if (res == -ETIMEDOUT) {
        (void)start_probe(o);
    }
    if (o->state == OUTPUT_ENDING) {
        output_recover(o);
    } else if (renew && !o->probe) {
        output_renew(o);
    }
}

static void writer_failed(struct writer *w, int res, int node, const char *message,
                          void *opaque)
{
    struct output *o = opaque;

    (void)w;
    if (o->state == OUTPUT_CONNECTING) {
        connect_failed(o, res, node, message);
    } else {
        pipeline_broke(o, res, node, message);
    }
}

static const struct writer_events writer_events = {
    .opened = writer_opened,
    .failed = writer_failed,
};

/* Appends end at multiples of OUTPUT_ALIGN, and nothing can follow what ends within a
 * chunk.  The cluster's default may be anything: then Hadoop's own. */
static uint32_t chunk_bytes(const struct hdfs *h)
{
    uint32_t chunk = h->defaults.bytes_per_checksum;

    return chunk > 0 && OUTPUT_ALIGN % chunk == 0 ? chunk : 512;
}

static void output_connect(struct output *o)
{
    struct hdfs *h = o->h;
    struct writer_params p = {
        .loop = h->loop,
        .block = &o->block,
        .client = h->client_name,
        .checksum = { h->defaults.checksum, chunk_bytes(h) },
        .block_size = o->p.block_size,
        .packet_bytes = h->defaults.write_packet_size,
        .use_hostname = h->use_hostname,
        .setup_timeout_us = h->params.setup_us,
        .ack_timeout_us = h->params.ack_us,
        .heartbeat_us = h->heartbeat_us,
        .events = &writer_events,
        .opaque = o,
    };
    int res;

    o->state = OUTPUT_CONNECTING;
    res = writer_open(&p, &o->writer);
    if (res < 0) {
        output_fail(o, res, NULL);
    }
}

/*
 * A NameNode that has just started knows few DataNodes yet, or none, and says that there
 * is no room (BlockPlacementPolicy: "There are 0 datanode(s) running").
 */
static bool lacks_nodes(const struct output *o)
{
    const char *there = strstr(o->call.message, "There are ");

    return there &&
           strtoul(there + strlen("There are "), NULL, 10) < o->p.min_replicas;
}

/* What is missing may come. */
static void output_wait(struct output *o)
{
    output_forget_block(o);
    o->state = OUTPUT_WAITING;
    loop_timer_set(o->h->loop, &o->timer, loop_now_us(o->h->loop) + ADD_AGAIN_US);
}

static void output_add_later(struct output *o)
{
    if (loop_now_us(o->h->loop) >= o->open_until_us) {
        output_fail(o, -EHOSTDOWN, "there are fewer DataNodes than min-replicas");
    } else {
        output_wait(o);
    }
}

/* Better a node that was silent a moment ago than none.  False: none was left out. */
static bool forgive_nodes(struct output *o)
{
    struct hdfs_datanode any;

    if (all_excludes(o, &any, 1) == 0) {
        return false;
    }
    o->exclude_count = 0;
    nodes_forgive(&o->h->nodes);
    return true;
}

/*
 * No node can take the block.  That a cluster is full, and that the NameNode has just
 * started and knows its DataNodes but not their disks yet, it says with the same words.
 */
static void no_place(struct output *o)
{
    if (lacks_nodes(o)) {
        output_add_later(o);
    } else if (++o->connects < CONNECTS_MAX && forgive_nodes(o)) {
        output_add(o);
    } else {
        (void)snprintf(o->no_place, sizeof(o->no_place), "%s", o->call.message);
        output_call(o, OUTPUT_ASKING);
    }
}

/*
 * Have fewer nodes than are needed room for the block, of those that live?  The NameNode
 * counts blocks that were given and abandoned against a node for some minutes
 * (BlockManager's scheduled blocks), so room for a few is none.
 */
static bool nodes_are_full(const struct output *o, const struct hdfs_datanodes *d)
{
    size_t live = 0, roomy = 0;

    for (size_t i = 0; i < d->node_count; i++) {
        const struct hdfs_datanode *n = &d->nodes[i];

        if (n->admin_state == HDFS_NODE_NORMAL) {
            live++;     /* without a capacity it has just come, and will say it soon */
            roomy += n->capacity == 0 || n->remaining / ROOM_BLOCKS >= o->p.block_size;
        }
    }
    return live >= o->p.min_replicas && roomy < o->p.min_replicas;
}

static void room_told(struct output *o, bool is_full)
{
    uint64_t now = loop_now_us(o->h->loop);

    if (o->too_few) {
        o->too_few = false;
        if (is_full) {
            output_fail(o, -ENOSPC, "fewer DataNodes than min-replicas have room");
        } else {
            output_add_later(o);
        }
        return;
    }
    o->no_place_us = o->no_place_us ? o->no_place_us : now;
    if (is_full || now >= o->no_place_us + NO_PLACE_US) {
        output_fail(o, -ENOSPC, o->no_place);
    } else {
        output_wait(o);
    }
}

void output_nodes_told(struct output *o, int res)
{
    if (res < 0) {
        output_call(o, OUTPUT_ASKING_SUM);      /* only a superuser may ask for nodes */
    } else {
        bool is_full = nodes_are_full(o, &o->call.u.datanodes);

        hdfs_datanodes_done(&o->call.u.datanodes);
        room_told(o, is_full);
    }
}

void output_sum_told(struct output *o, int res)
{
    const struct hdfs_fs_stats *s = &o->call.u.stats;

    room_told(o, res == 0 && s->capacity > 0 &&
                 s->remaining / o->p.replication / ROOM_BLOCKS < o->p.block_size);
}

void output_block_added(struct output *o, int res)
{
    if (res < 0) {
        if (res == -ENOSPC) {
            no_place(o);
        } else if (output_outcome_unknown(res)) {
            output_opened(o, -EIO);         /* the name is ours: open again */
        } else if (res == -ENOENT) {
            output_lost(o);
        } else if (res == -HDFS_ELEASE) {
            o->made = o->doubt = false;     /* was: somebody took it since */
            output_opened(o, -EEXIST);
        } else {
            output_fail(o, res, o->call.message);
        }
        return;
    }
    o->block = o->call.u.block;
    o->has_block = true;
    o->no_place_us = 0;
    if (o->block.node_count >= o->p.min_replicas) {
        output_connect(o);
    } else if (++o->connects < CONNECTS_MAX && forgive_nodes(o)) {
        output_call(o, OUTPUT_ABANDONING);
    } else {
        o->too_few = true;      /* nodes that live, or nodes that have room */
        output_call(o, OUTPUT_ABANDONING);
    }
}

/*
 * A block that is still there would be given again by addBlock, to nodes that may have a
 * replica of it: output_open() abandons it first as long as it is not known to be gone.
 */
void output_abandoned(struct output *o, int res)
{
    bool too_few = o->too_few;

    o->too_few = too_few && res == 0;
    if (res == -ENOENT) {
        output_lost(o);
    } else if (res == -HDFS_ELEASE) {
        o->made = o->doubt = false;         /* as for output_block_added() */
        output_forget_block(o);
        output_opened(o, -EEXIST);
    } else if (res < 0) {
        output_say(o, LOG_WARNING, "not known whether its block was abandoned", res,
                   o->call.message);
        output_opened(o, -EIO);
    } else {
        output_forget_block(o);
        if (too_few) {
            output_call(o, OUTPUT_ASKING);
        } else {
            output_add(o);
        }
    }
}
