/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rpc_client.h - a connection to one RPC server, in the loop: rpc.h over a stream.
 *
 * Connects at once; calls may be sent before it is connected.  Has no time-outs but
 * that of connecting, and does not come back: who wants more (namenode.c) looks at
 * heard_us, drops it and makes another.  Used for NameNodes, and for
 * ClientDatanodeProtocol of DataNodes.
 *
 * Threads: the loop thread only.
 */
#ifndef HLFS_HDFS_RPC_CLIENT_H
#define HLFS_HDFS_RPC_CLIENT_H

#include "hdfs/loop.h"
#include "hdfs/rpc.h"
#include "hdfs/stream.h"

#define RPC_CLIENT_PROTOCOL "org.apache.hadoop.hdfs.protocol.ClientProtocol"
#define RPC_DATANODE_PROTOCOL "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol"

struct rpc_client;

struct rpc_client_ops {
    /* C is answered; the last thing done in this turn: the client may be freed. */
    void (*answered)(struct rpc_client *c, struct rpc_call *call,
                     const struct rpc_answer *a);
    /*
     * Once, at the end: the calls that are left (rpc_client_take_call()) are not
     * answered, and what became of them is not known.  A has the error and words for
     * it; with A->exception the server threw it, at all of them.  To be closed.
     */
    void (*broken)(struct rpc_client *c, const struct rpc_answer *a);
};

struct rpc_client {             /* the owner's, embedded; its own below OPAQUE */
    const struct rpc_client_ops *ops;

    struct loop *loop;          /* NULL: not open */
    struct rpc *rpc;            /* NULL: no memory, which is going to be told */
    struct stream stream;
    bool connected;
    bool answered;              /* the server has answered something */
    uint64_t connected_us;
    uint64_t heard_us;          /* when bytes came, or the first call under way left */
    struct list sent;           /* struct rpc_client_frame, given to the stream */
    struct loop_timer later;    /* an error to be told in a turn of its own */
    int error;
    bool *closed;               /* set when it is closed by a callback */
};

struct rpc_client_params {
    struct loop *loop;          /* borrowed */
    const char *host;           /* name or address; copied */
    uint16_t port;
    uint64_t deadline_us;       /* to be connected */
    struct rpc_params rpc;
};

/* OPS is set before.  Errors are told by broken(), in a later turn. */
void rpc_client_open(struct rpc_client *c, const struct rpc_client_params *p);
/* No callback follows; calls are forgotten.  Closed already, and zeroed, is fine. */
void rpc_client_close(struct rpc_client *c);
bool rpc_client_is_open(const struct rpc_client *c);

void rpc_client_send(struct rpc_client *c, struct rpc_call *call);
struct rpc_call *rpc_client_take_call(struct rpc_client *c);    /* NULL: none left */

#endif
