/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reader.h - positional reads of blocks, over a pool of connections to DataNodes.
 *
 * Many reads at once; each goes to the replica that is likely to answer first, then to
 * another one if that fails or is slow (hedged), and ends with bytes whose sums were
 * right.  Knows no file and no NameNode: the caller brings block, length and token.
 * Loop thread only.
 *
 *   R-1  A byte goes to the caller only in a read that ends with 0, its chunk's sum
 *        having been right.  (The buffer of another one holds anything.)
 *   R-2  After done() nothing writes to the buffer.
 *   R-3  A replica is tried once in a read; only a kept connection that turns out to be
 *        closed is no try: DataNodes close them after 4 s
 *        (dfs.datanode.socket.reuse.keepalive).
 *   R-4  done() is called once, and never before reader_read() has returned.
 */
#ifndef HLFS_HDFS_READER_H
#define HLFS_HDFS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "hdfs/loop.h"
#include "hdfs/stream.h"
#include "hdfs/types.h"

struct reader_pool;

struct reader_params {
    struct loop *loop;              /* borrowed */
    const char *client;             /* a name for the logs of DataNodes; copied */
    bool use_hostname;
    unsigned connections_max;       /* to one DataNode; 0: 16 */
    uint64_t connect_timeout_us;    /* 0: 1 s */
    uint64_t hedge_min_us;          /* no second replica is asked before; 0: 20 ms */
    /* The security of a new connection, or NULL: none. */
    struct stream_layer *(*layer)(void *opaque, const struct hdfs_datanode *node,
                                  const struct hdfs_token *token);
    /* A sum was wrong in node NODE's replica: to be told to the NameNode.  NULL: not. */
    void (*corrupt)(void *opaque, const struct hdfs_located_block *block, unsigned node);
    void *opaque;
};

int reader_pool_new(const struct reader_params *p, struct reader_pool **ret);

/* Reads under way end with -ECANCELED before this returns.  NULL is fine. */
void reader_pool_free(struct reader_pool *pool);

/* The caller's until done(), which may free it, or use it again. */
struct reader_op {
    /*
     * RES: 0; -ETIMEDOUT (the deadline); -HDFS_ETOKEN (a node wants a newer token);
     * -EBADMSG (wrong sums in every replica that answered); what the last replica
     * failed with (-ECONNREFUSED, -EIO: it has no such bytes, …).  The caller may ask
     * the NameNode for new locations, and come again.
     */
    void (*done)(struct reader_op *op, int res);
    const struct hdfs_located_block *block;     /* borrowed until done() */
    uint64_t offset;                /* in the block; all of it is there to be read */
    void *buf;                      /* borrowed until done() */
    size_t len;                     /* not 0 */
    uint64_t deadline_us;           /* loop_now_us() */

    char message[256];              /* with an error: for people, or empty */

    /* reader's own */
    struct reader_pool *pool;
    struct list node;
    struct list attempts;
    struct loop_timer timer;
    uint64_t tried;                 /* bits of nodes */
    uint64_t started_us;
    uint64_t hedge_us;              /* wait for the next hedge */
    int error;
    bool corrupt;
};

void reader_read(struct reader_pool *pool, struct reader_op *op);

/* Forget OP, which is under way: no done().  Its buffer is free again. */
void reader_cancel(struct reader_op *op);

struct reader_stats {
    uint64_t reads, hedges, hedges_won, stale, connects, failures, corrupt;
};
const struct reader_stats *reader_stats(const struct reader_pool *pool);

#endif
