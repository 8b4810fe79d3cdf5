/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reader_private.h - what reader.c (reads, replicas, hedges), reader_peer.c (DataNodes
 * and who is served when) and reader_conn.c (one connection's bytes) share.
 *
 * A read (reader_op) has an attempt for each replica it asks.  An attempt waits in its
 * peer's queue until a connection takes it; a connection has a few under way, which the
 * DataNode serves one after the other.
 */
#ifndef HLFS_HDFS_READER_PRIVATE_H
#define HLFS_HDFS_READER_PRIVATE_H

#include "hdfs/blockop.h"
#include "hdfs/packet.h"
#include "hdfs/reader.h"

#define PEER_BUCKETS 64
#define LATENCY_SAMPLES 64
#define SMALL_READ ((size_t)64 << 10)   /* reads whose time says something of a node */

struct peer {                   /* a DataNode */
    struct reader_pool *pool;   /* borrowed */
    struct list node;           /* in the pool's bucket */
    struct hdfs_datanode datanode;
    struct list idle, busy;     /* conn; idle: used last is first */
    struct list queue;          /* attempt, without a connection */
    unsigned conn_count;
    unsigned busy_count;
    unsigned load;              /* attempts that somebody waits for */
    uint64_t latency_us;        /* of small reads, smoothed; 0: unknown */
    uint64_t latency_at_us;     /* when it was measured last */
    uint64_t service_us;        /* of one read when it is quick; 0: unknown */
    uint64_t shunned_until_us;
};

struct attempt {
    struct list node;           /* in the op's attempts */
    struct list queue_node;     /* in the peer's queue, its conn's attempts, or done */
    struct reader_op *op;       /* NULL: nobody waits for it any more */
    struct peer *peer;
    struct conn *conn;          /* NULL: queued, or done */
    unsigned index;             /* of the node in the block */
    unsigned ahead;             /* attempts before it when it was asked */
    uint64_t started_us;        /* asked */
    uint64_t offset;            /* as the op's */
    size_t len;
    uint8_t *buf;               /* NULL: nobody waits */
    bool own_buf;               /* not the op's, but allocated */
    bool fresh;                 /* on a new connection only: R-3 */
};

enum conn_state { CONN_OPENING, CONN_ANSWER, CONN_HEAD, CONN_BODY, CONN_SUMS,
                  CONN_DIRECT };

struct conn {
    struct list node;           /* of the peer's idle or busy */
    struct list dirty_node;     /* of the pool's dirty or owing, or alone */
    struct peer *peer;
    struct list attempts;       /* the first is being answered; none: idle */
    unsigned attempt_count;
    struct stream stream;
    enum conn_state state;
    bool used;                  /* has served a read */
    bool heard;                 /* something came for the first attempt */
    bool busy;                  /* in that list */
    bool owes_status;           /* of the last request: see blockop_read_status() */
    uint64_t idle_since_us;

    struct stream_out out;
    struct iobuf sending;       /* requests and statuses that OUT sends */
    struct iobuf pending;       /* those to come after them */

    struct checksum checksum;
    uint64_t at;                /* the block's next byte to come */
    int64_t seqno;              /* of the next packet */
    struct packet packet;
    uint8_t *sums;              /* owned; of a packet that is received directly */
    size_t sums_cap;
};

struct reader_pool {
    struct reader_params p;
    char client[256];
    struct list peers[PEER_BUCKETS];
    struct list ops;
    struct list done;           /* attempt, whose bytes are there */
    struct list dirty;          /* conn, with something to send in this turn */
    struct loop_timer turn_timer;
    struct list owing;          /* conn, idle, that owe a status */
    struct loop_timer owing_timer;
    struct loop_timer idle_timer;
    unsigned hedge_credit;      /* see hedge_pay() */
    uint64_t samples[LATENCY_SAMPLES];
    uint64_t sample_count;
    uint64_t median_us;         /* of samples; 0: too few */
    struct reader_stats stats;
    bool busy;                  /* calling back */
    bool freed;                 /* in a call back */
};

/* ---- reader.c ----------------------------------------------------------------- */

/* Later in this turn: tell what is done, send what is to be sent. */
void reader_turn(struct reader_pool *pool);

/* A, which has no connection any more, failed.  MESSAGE is the node's, or "".  Calls
 * nobody who waits for a read. */
void reader_attempt_failed(struct attempt *a, int res, const char *message);

/* ---- reader_peer.c ------------------------------------------------------------ */

struct peer *peer_get(struct reader_pool *pool, const struct hdfs_datanode *n);
void peer_free(struct peer *p);

/* Give A a connection, or queue it. */
void peer_take(struct peer *p, struct attempt *a);
/* Nobody waits for A any more: it is freed, now or when its answer has come. */
void peer_drop(struct attempt *a);
/* A's connection had been closed: it gets a new one. */
void peer_take_again(struct attempt *a);
void attempt_free(struct attempt *a);
/* Connections are free, or there may be new ones: serve the queue. */
void peer_serve(struct peer *p);

/* What a read more at this node costs, for comparison. */
uint64_t peer_cost(const struct peer *p);
void peer_measured(struct peer *p, uint64_t latency_us, unsigned ahead);
void peer_shun(struct peer *p);

/* Close what has been idle for long; true: some are left. */
bool peer_trim(struct peer *p);

/* ---- reader_conn.c ------------------------------------------------------------ */

/* -ENOMEM.  Errors of connecting are told to A. */
int conn_open(struct peer *p, struct attempt *a);
void conn_close(struct conn *c);    /* without attempts */

/* Ask for A's bytes, after those of others.  Without memory A fails. */
void conn_ask(struct conn *c, struct attempt *a);

/* It can be asked: it is connected, and has fewer than DEPTH attempts. */
bool conn_takes(const struct conn *c, unsigned depth);

/* Nobody waits for A: its answer will be thrown away, or the connection is given up. */
void conn_abandon(struct conn *c, struct attempt *a);

/* Send what is pending.  False: what was sent before isn't gone yet, try again. */
bool conn_flush(struct conn *c);
/* Nothing has come to be asked: say how the last read went. */
void conn_send_status(struct conn *c);

#endif
