/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nodes.h - DataNodes that were silent, or refused, and are kept away from for a while.
 *
 * A node is avoided for ten minutes, or until it answers again: it is asked now and
 * then.  The NameNode notices a dead node much later than a pipeline does, and a hanging
 * one sometimes not at all.  Loop thread only.
 */
#ifndef HLFS_HDFS_NODES_H
#define HLFS_HDFS_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hdfs/loop.h"
#include "hdfs/probe.h"
#include "hdfs/types.h"

#define NODES_AVOIDED_MAX 32

struct nodes_avoided {
    struct nodes *nodes;                /* NULL: not in use */
    struct hdfs_datanode node;
    struct hdfs_located_block block;    /* what it is asked about; points to NODE */
    uint64_t until_us;
    struct probe *probe;                /* owned */
};

struct nodes {
    struct loop *loop;                  /* borrowed */
    const char *client;                 /* borrowed */
    bool use_hostname;
    uint64_t probe_us;
    struct nodes_avoided avoided[NODES_AVOIDED_MAX];
    struct loop_timer timer;
};

/* CLIENT and all else that is zeroed before; done of a zeroed one is fine. */
void nodes_init(struct nodes *n, struct loop *l, const char *client, bool use_hostname,
                uint64_t probe_us);
void nodes_done(struct nodes *n);

/* Keep away from node INDEX of B. */
void nodes_avoid(struct nodes *n, const struct hdfs_located_block *b, unsigned index);

/* Keep away from none. */
void nodes_forgive(struct nodes *n);

/* Is D to be avoided? */
bool nodes_has(const struct nodes *n, const struct hdfs_datanode *d);

/* Copy those to be avoided, MAX at most, to RET: how many. */
size_t nodes_list(const struct nodes *n, struct hdfs_datanode *ret, size_t max);

#endif
