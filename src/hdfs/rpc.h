/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rpc.h - Hadoop's RPC on one connection: bytes in, answers out; calls in, frames out.
 *
 * No socket, no clock, no callbacks: rpc_client.c moves the bytes.  Knows how calls,
 * errors and the handshake are framed, not what is called.  A connection is
 *
 *     "hrpc", version 9, service class 0, authentication    once
 *     frames: int32 length, then delimited messages          both ways
 *
 * (org.apache.hadoop.ipc.Server, Client, RpcConstants).  An rpc_auth, if there is one,
 * is a layer between calls and frames: it has the first word (SASL), and may wrap all
 * frames that follow.
 *
 * Whatever the peer sends, in whatever pieces, does no more than end the connection.
 * One thread at a time.
 */
#ifndef HLFS_HDFS_RPC_H
#define HLFS_HDFS_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "hdfs/iobuf.h"

#define RPC_CLIENT_ID_BYTES 16
/* Of one message; a listing has 1,000 names, a report all DataNodes. */
#define RPC_RESPONSE_MAX MIB(16)
#define RPC_REQUEST_MAX MIB(8)

struct rpc;

/* ---- Authentication ------------------------------------------------------ */

/* A message of the handshake (RpcSaslProto), either way. */
enum rpc_sasl_state {
    RPC_SASL_SUCCESS = 0,
    RPC_SASL_NEGOTIATE = 1,
    RPC_SASL_INITIATE = 2,
    RPC_SASL_CHALLENGE = 3,
    RPC_SASL_RESPONSE = 4,
    RPC_SASL_WRAP = 5,
};

enum { RPC_AUTH_MORE = 0, RPC_AUTH_DONE = 1 };

/*
 * The layer.  SIMPLE authentication is none at all: the user's name goes with the
 * connection context.  What a step sends is a whole RpcSaslProto, packed.
 */
struct rpc_auth {
    uint8_t protocol;           /* of the connection header: 0xDF, SASL */
    /* The next step: IN is the server's packed RpcSaslProto (LEN 0: there is none yet).
     * Returns RPC_AUTH_MORE, RPC_AUTH_DONE or -errno. */
    int (*step)(struct rpc_auth *a, const uint8_t *in, size_t len, struct iobuf *out);
    /* Both NULL: frames go as they are (quality of protection: authentication). */
    int (*wrap)(struct rpc_auth *a, const uint8_t *in, size_t len, struct iobuf *out);
    int (*unwrap)(struct rpc_auth *a, const uint8_t *in, size_t len, struct iobuf *out);
    void (*free)(struct rpc_auth *a);
};

/* ---- A connection -------------------------------------------------------- */

struct rpc_params {
    const char *protocol;       /* the Java interface; copied, as is USER */
    const char *user;
    uint8_t client_id[RPC_CLIENT_ID_BYTES];
    struct rpc_auth *auth;      /* owned from then on, failure too; NULL: SIMPLE */
};

struct rpc *rpc_new(const struct rpc_params *p);        /* NULL: no memory */
/* Calls and frames that were taken off are the caller's.  NULL is fine. */
void rpc_free(struct rpc *r);

/* The handshake is over: calls go out as they come. */
bool rpc_ready(const struct rpc *r);

/* Bytes to be sent, in order; owned by who took them off, with free(). */
struct rpc_frame {
    struct list node;
    size_t len;
    uint8_t data[];
};

struct rpc_frame *rpc_next_frame(struct rpc *r);        /* NULL: none now */

struct rpc_answer {
    int res;                    /* 0 or an error, as errors_code() has it */
    int advice;                 /* enum errors_advice */
    const uint8_t *body;        /* a packed message, borrowed until the next call */
    size_t len;
    char exception[96];         /* a Java class, or "" */
    char message[1024];         /* its first line */
};

/*
 * A call: memory of the caller, who sets ID (not negative, unlike all others under way
 * on this connection) and RETRY; METHOD and REQUEST (packed) are borrowed until
 * rpc_send() returns.
 */
struct rpc_call {
    int32_t id;
    int32_t retry;
    const char *method;
    const uint8_t *request;
    size_t request_len;
    struct list node;           /* rpc's, from rpc_send() on */
};

int rpc_send(struct rpc *r, struct rpc_call *c);
/* Nobody waits for the answer any more.  Not sent, or answered, is fine. */
void rpc_forget(struct rpc_call *c);
bool rpc_idle(const struct rpc *r);                     /* no call is under way */
/* Take a call that is under way off, oldest first; NULL: none.  For a connection that
 * is at its end. */
struct rpc_call *rpc_take_call(struct rpc *r);

/*
 * LEN bytes have come and were not used yet.  1: a message was taken, and there may be
 * another; *RET_USED bytes are used, and *RET_CALL is the call that RET answers (NULL:
 * none).  0: more bytes are needed.  On an error the connection is of no more use: RET
 * says why, for all calls.  RPC_INPUT_MAX bytes are always enough for a message.
 */
#define RPC_INPUT_MAX (4 + RPC_RESPONSE_MAX)
int rpc_input(struct rpc *r, const uint8_t *buf, size_t len, size_t *ret_used,
              struct rpc_call **ret_call, struct rpc_answer *ret);

#endif
