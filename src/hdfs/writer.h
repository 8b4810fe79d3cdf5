/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writer.h - one block being written through one pipeline of DataNodes.
 *
 * Appends of any length go out as packets, several in flight, from the caller's
 * memory; an op is done when *all* nodes acknowledged all of it.  Knows no file and
 * no NameNode, and mends nothing: with the first error the writer is over, its owner
 * closes the file at what was acknowledged and goes on in another block (one file =
 * one block, as HBase's FanOutOneBlockAsyncDFSOutput).  Loop thread only.
 *
 *   W-1  Packets are acknowledged in the order they were sent in; any other ack,
 *        and one that names fewer nodes than the pipeline has, is an error.
 *   W-2  While a packet is in flight, an ack comes every ack_timeout_us, or the
 *        pipeline has failed.  While none is, a heartbeat goes out now and then.
 *   W-3  Every op is done once, in order, and never before the call that took it
 *        has returned.
 */
#ifndef HLFS_HDFS_WRITER_H
#define HLFS_HDFS_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "hdfs/checksum.h"
#include "hdfs/loop.h"
#include "hdfs/stream.h"
#include "hdfs/types.h"

struct writer;

#define WRITER_NODE_UNKNOWN (-1)

struct writer_events {
    /* The pipeline stands; ops given before go out now. */
    void (*opened)(struct writer *w, void *opaque);
    /*
     * Once, after all pending ops were done with RES; only writer_free() is left to
     * do.  RES: -ETIMEDOUT (nodes are silent: see probe.h), -HDFS_ETOKEN, another
     * -errno.  NODE: the index of the node that failed, or WRITER_NODE_UNKNOWN.
     * MESSAGE is for people, and may be empty.
     */
    void (*failed)(struct writer *w, int res, int node, const char *message,
                   void *opaque);
};

struct writer_params {
    struct loop *loop;                          /* borrowed */
    const struct hdfs_located_block *block;     /* borrowed, as long as the writer is */
    const char *client;                         /* borrowed until writer_open() returns */
    struct checksum checksum;
    uint64_t block_size;                        /* room to reserve; 0: the nodes' default */
    uint32_t packet_bytes;                      /* of data, at most; 0: 256 KiB */
    uint32_t window_bytes;                      /* in flight, at most; 0: 5 MiB */
    bool use_hostname;
    uint64_t setup_timeout_us;                  /* 0: 1 s */
    uint64_t ack_timeout_us;                    /* 0: 2 s */
    uint64_t heartbeat_us;                      /* 0: 30 s */
    struct stream_layer *layer;                 /* owned by the writer from then on */
    const struct writer_events *events;         /* static */
    void *opaque;
};

/* The caller's until done(), which may free it, and may free the writer. */
struct writer_op {
    void (*done)(struct writer_op *op, int res);
    const void *buf;            /* append: borrowed until done() */
    size_t len;                 /* append */
    bool hsync;                 /* on the disks of all nodes, not in their memory */

    /* writer's own */
    struct list node;
    enum { WRITER_APPEND, WRITER_SYNC, WRITER_END } what;
    size_t taken;               /* bytes that are in packets */
    int64_t last_seqno;         /* done when this one is acknowledged */
};

/* Start setting up the pipeline.  -ENOMEM, -EINVAL (checksum), -EMSGSIZE (a token or
 * pipeline too large): no callback then. */
int writer_open(const struct writer_params *p, struct writer **ret);

/* Pending ops end with -ECANCELED, before this returns.  NULL is fine. */
void writer_free(struct writer *w);

/*
 * These start an op, and return 0; or -EINVAL (it can't come after those before) or
 * -EPIPE (the writer has failed), and then done() isn't called.
 */

/* Append op->len bytes, at least one; with op->hsync they, and all before, are on disk
 * when it is done.  Nothing can follow what ends within a chunk but writer_end(). */
int writer_append(struct writer *w, struct writer_op *op);

/* Done when all that was appended before is acknowledged; op->hsync: and on disk. */
int writer_sync(struct writer *w, struct writer_op *op);

/* End the block: done when all nodes have closed their replica. */
int writer_end(struct writer *w, struct writer_op *op);

/* Bytes of the block that all nodes acknowledged; good after a failure, too. */
uint64_t writer_acked(const struct writer *w);

#endif
