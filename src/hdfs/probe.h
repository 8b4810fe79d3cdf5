/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * probe.h - ask each node of a block whether it is alive.
 *
 * A pipeline that is silent doesn't say which of its nodes hangs.  A node that answers
 * a READ_BLOCK of no bytes, be it by an error, is alive; one that doesn't in time is
 * not (its kernel may still accept connections).  Loop thread only.
 */
#ifndef HLFS_HDFS_PROBE_H
#define HLFS_HDFS_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "hdfs/loop.h"
#include "hdfs/stream.h"
#include "hdfs/types.h"

struct probe;

struct probe_params {
    struct loop *loop;                          /* borrowed */
    const struct hdfs_located_block *block;     /* borrowed until done() or cancel */
    const char *client;                         /* borrowed until probe_start() returns */
    bool use_hostname;
    uint64_t timeout_us;                        /* 0: 500 ms */
    /* As in reader.h. */
    struct stream_layer *(*layer)(void *opaque, const struct hdfs_datanode *node,
                                  const struct hdfs_token *token);
    /*
     * All have answered, or the time is over.  RESULTS, one for each node of the block,
     * are 0 (alive), -ETIMEDOUT (silent), -ECONNREFUSED or another -errno; they are gone
     * after the call, as the probe is.
     */
    void (*done)(void *opaque, const int *results, unsigned count);
    void *opaque;
};

/* done() follows, never from within; or -ENOMEM, and it doesn't. */
int probe_start(const struct probe_params *p, struct probe **ret);
void probe_cancel(struct probe *p);             /* NULL is fine */

#endif
