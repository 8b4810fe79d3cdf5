/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * visible.h - how much of a block that is being written can be read.
 *
 * The NameNode knows only what was told at the first flush; the DataNodes know what was
 * acknowledged (ClientDatanodeProtocol.getReplicaVisibleLength).  Loop thread only.
 */
#ifndef HLFS_HDFS_VISIBLE_H
#define HLFS_HDFS_VISIBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "hdfs/loop.h"
#include "hdfs/types.h"

struct visible;

struct visible_params {
    struct loop *loop;                          /* borrowed */
    const struct hdfs_located_block *block;     /* borrowed until done() or cancel */
    const char *user;                           /* copied */
    bool use_hostname;
    uint64_t node_us;                           /* for each node, one after the other */
    /* RES 0: LENGTH bytes; -ENOENT: no node has a replica; else another -errno: one that
     * may have it could not tell, or there is no node.  V is gone. */
    void (*done)(void *opaque, int res, uint64_t length);
    void *opaque;
};

/* done() follows, never from within; or -ENOMEM, and it doesn't. */
int visible_start(const struct visible_params *p, struct visible **ret);
void visible_cancel(struct visible *v);         /* NULL is fine */

#endif
