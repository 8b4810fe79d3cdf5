/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stream.h - a TCP connection to a DataNode, in the loop.
 *
 * Connects (by IP or by name, with a deadline), sends what is queued without copying
 * it, and collects what comes in.  Knows no block and no frame.  Used by writer,
 * reader and probe.  Loop thread only.
 *
 * A layer, if there is one, stands between socket and owner: it authenticates before
 * opened() is called, and then wraps and unwraps every byte (SASL, encryption).
 *
 * The struct is the owner's, embedded in its own; its fields below `ops` are read only.
 * Callbacks are the last thing a stream does in a turn: they may close the stream and
 * free the owner.
 */
#ifndef HLFS_HDFS_STREAM_H
#define HLFS_HDFS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "hdfs/iobuf.h"
#include "hdfs/loop.h"
#include "hdfs/types.h"

struct stream;

struct stream_ops {
    /* Connected, and authenticated. */
    void (*opened)(struct stream *s);
    /* s->in has more bytes, or more of the direct target is filled.  What is left in
     * s->in stays there, and must not be all that in_max allows. */
    void (*arrived)(struct stream *s);
    /* Once; the stream is of no more use and wants to be closed.  RES: -ETIMEDOUT (not
     * opened in time), -EPIPE (the peer ended the connection), another -errno. */
    void (*failed)(struct stream *s, int res);
};

/* Bytes to send: the owner's until stream_sent(), or until the stream is closed. */
#define STREAM_OUT_PARTS 2
struct stream_out {
    struct iovec parts[STREAM_OUT_PARTS];
    struct list node;
    size_t left;                /* bytes of the parts not yet sent */
};

/*
 * Security of the data stream.  Each function returns 0 or -errno; bytes are added at
 * the end of OUT and taken from the front of IN.
 */
struct stream_layer {
    /* One step of authentication: IN is what came from the peer (nothing in the first
     * step), OUT goes to it.  1: done. */
    int (*handshake)(struct stream_layer *l, struct iobuf *in, struct iobuf *out);
    int (*wrap)(struct stream_layer *l, const struct iovec *parts, unsigned part_count,
                struct iobuf *out);
    /* Takes as much as there are whole units of. */
    int (*unwrap)(struct stream_layer *l, struct iobuf *in, struct iobuf *out);
    void (*free)(struct stream_layer *l);
};

struct stream_params {
    struct loop *loop;              /* borrowed */
    const struct hdfs_datanode *node;   /* borrowed until stream_open() returns */
    bool use_hostname;              /* dfs.client.use.datanode.hostname */
    uint64_t deadline_us;           /* opened by then, or failed */
    size_t in_max;                  /* most bytes that may wait in s->in */
    struct stream_layer *layer;     /* owned from then on; NULL: none */
};

enum stream_state { STREAM_CLOSED, STREAM_RESOLVING, STREAM_CONNECTING,
                    STREAM_AUTHENTICATING, STREAM_OPEN };

struct stream {
    const struct stream_ops *ops;   /* set by the owner before stream_open() */

    struct iobuf in;                /* received; the owner consumes */
    enum stream_state state;
    struct loop *loop;
    struct loop_fd fd;
    struct loop_timer timer;        /* the deadline to open; later a pending failure */
    uint64_t deadline_us;
    struct loop_resolve resolve;
    unsigned next_addr;
    struct list queue;              /* stream_out, not fully sent */
    struct stream_layer *layer;
    struct iobuf raw_in, raw_out;   /* on the wire side of a layer */
    uint8_t *direct;                /* where the next bytes received go */
    size_t direct_left;
    size_t in_max;
    int error;                      /* sending failed; told in the next turn */
    bool blocked;                   /* EPOLLOUT is awaited */
};

/* Start connecting.  An error here is told by failed() as well, in a later turn. */
void stream_open(struct stream *s, const struct stream_params *p);

/* No callback follows.  Closed already, and zeroed, is fine. */
void stream_close(struct stream *s);

/* Queue the PARTS of O; they go with the next stream_flush(). */
void stream_send(struct stream *s, struct stream_out *o);
void stream_flush(struct stream *s);

/* All of O is with the kernel (or copied): its bytes are the owner's again. */
static inline bool stream_sent(const struct stream_out *o)
{
    return o->left == 0;
}

/* The next LEN bytes after those in s->in, which is empty, go to BUF.  LEN 0 takes
 * that back. */
void stream_direct(struct stream *s, void *buf, size_t len);

#endif
