/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * output.h - a file that is being written: one block in one pipeline.
 *
 * Its name is taken exclusively, its pipeline is connected before the first byte comes,
 * its block is in the NameNode's edit log by then.  With the first error of a DataNode
 * it takes no more; what was acknowledged stays, its owner closes it and goes on in
 * another (HBase's FanOutOneBlockAsyncDFSOutput does so).  Closing goes on in the
 * background: the block is ended, or recovered where the pipeline is broken.  Knows
 * nothing of what the bytes mean.  Loop thread only.
 */
#ifndef HLFS_HDFS_OUTPUT_H
#define HLFS_HDFS_OUTPUT_H

#include "hdfs/hdfs.h"
#include "hdfs/writer.h"

struct output;

struct output_params {
    const char *path;           /* copied */
    uint16_t mode;
    uint32_t replication;       /* copies asked for; 0: hdfs_replication() */
    uint32_t min_replicas;      /* copies it does not go below; 0: 1 */
    bool hsync;                 /* when it is closed, all of it is on the nodes' disks */
    bool patient;               /* output_close() does not give up: see there */
    uint64_t block_size;        /* as much as is going to be written, at least */
};

/* Make one; it has no name on the cluster yet.  -ENOMEM */
int output_new(struct hdfs *h, const struct output_params *p, struct output **ret);

/*
 * Take the name, and connect.  DONE is called with
 *   0           it takes appends now
 *   -EEXIST     the name is taken, by somebody else
 *   -ENOENT     there is no such directory
 *   -EIO        it is not known whether the name is ours, or it was and is no more, or
 *               what the file has got: open it again to tell
 *   -ENOSPC, -EDQUOT, -EACCES, -EHOSTDOWN (fewer than min_replicas nodes), …:
 *               there is no file
 * and may free the output.
 */
void output_open(struct output *o, void (*done)(struct output *o, int res, void *opaque),
                 void *opaque);

/* See writer.h.  0, then op->done() follows; or why not: -EPIPE, it is broken or was
 * closed; -EFBIG, it goes beyond block_size. */
int output_append(struct output *o, struct writer_op *op);
int output_sync(struct output *o, struct writer_op *op);

/* Bytes that were given to output_append(), and those that all nodes acknowledged. */
uint64_t output_appended(const struct output *o);
uint64_t output_acked(const struct output *o);

bool output_is_broken(const struct output *o);

/* Where it is written: valid while it is open; or NULL. */
const struct hdfs_located_block *output_block(const struct output *o);

/* Its pipeline has fewer nodes than asked for. */
bool output_is_short(const struct output *o);

/*
 * Ask the NameNode whether nodes of the pipeline are going away (decommission,
 * maintenance).  Where nothing was written yet another pipeline is set up; else
 * output_is_leaving() says so from then on: they wait until the file is closed.
 */
void output_refresh(struct output *o);
bool output_is_leaving(const struct output *o);

/*
 * Close it in the background: nothing but output_drop() may be done with it after that,
 * until CLOSED (or NULL) was called.  The file is closed then (RES is 1: by a recovery, so
 * that what was not hsynced may not be on disks), or (RES is -errno) is not ours any more,
 * or that was given up; the output is gone.  One that is patient gives up only when the
 * client ends: a file that stays open is not copied again when a node dies, keeps nodes
 * from being decommissioned, and its lease is renewed as long as the client lives.
 */
void output_close(struct output *o, void (*closed)(void *opaque, int res), void *opaque);

/* Give up without a word to the NameNode: the file is about to be removed.  Ops in
 * flight end with -ECANCELED, open's done() is not called. */
void output_drop(struct output *o);

#endif
