/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hdfs_private.h - what the parts of the client share: hdfs.c, hdfs_op.c, output.c,
 * input.c.
 */
#ifndef HLFS_HDFS_HDFS_PRIVATE_H
#define HLFS_HDFS_HDFS_PRIVATE_H

#include "hdfs/conf.h"
#include "hdfs/hdfs.h"
#include "hdfs/nodes.h"
#include "hdfs/reader.h"

struct hdfs {
    struct loop *loop;              /* owned */
    struct namenode *namenode;      /* owned */
    struct reader_pool *readers;    /* owned */
    struct nodes nodes;             /* DataNodes to keep away from */
    struct hdfs_server_defaults defaults;
    struct hdfs_params params;      /* numbers only: what it points to is not ours */
    char name[256], user[256], client_name[128];
    uint32_t replication;
    bool use_hostname;              /* dfs.client.use.datanode.hostname */
    uint64_t heartbeat_us;          /* of an idle pipeline */
    char said[1536];                /* output_say()'s last line, and when it was */
    uint64_t said_us;

    struct list ops;                /* hdfs_ops under way */
    struct list outputs;            /* owned; not yet closed */
    struct loop_timer lease_timer;
    struct namenode_call lease_call;
    bool lease_renewing;
    bool freeing;
    struct hdfs_wait *drained;      /* hdfs_free() waits for the last output */
};

/* Codes of the client's own as those that its users know. */
int hdfs_result(int res);

/* An output came, or went: leases are renewed while there is one. */
void hdfs_output_added(struct hdfs *h);
void hdfs_output_gone(struct hdfs *h);

/* output.c: close what is open, in the background; when the client goes away: at once. */
void output_close_all(struct hdfs *h);
void output_drop_all(struct hdfs *h);

/* hdfs_op.c */
void hdfs_op_cancel_all(struct hdfs *h);

#endif
