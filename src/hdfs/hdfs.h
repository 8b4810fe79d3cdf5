/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hdfs.h - the client of one HDFS cluster as its users see it.
 *
 * A client is a configuration, a user, a loop (its thread), the cluster's NameNodes
 * and connections to its DataNodes.  Files are written by output.h and read by input.h;
 * here are the client itself and the calls that are about names.  Knows nothing of
 * volumes and segments.
 *
 * Threads: hdfs_new(), hdfs_drain(), hdfs_free(), hdfs_do() and hdfs_wait() are called
 * from outside the loop; all else, output.h and input.h included, in the loop thread.
 *
 * Errors: 0 or positive, or -errno; a code of the client's own (types.h) becomes -ESTALE
 * (HDFS_ELEASE) or -EACCES (HDFS_ETOKEN) here.  An operation has the words for people.
 */
#ifndef HLFS_HDFS_HDFS_H
#define HLFS_HDFS_HDFS_H

#include <pthread.h>

#include "base/error.h"
#include "hdfs/loop.h"
#include "hdfs/namenode.h"

struct hdfs;

struct hdfs_params {
    const char *authority;      /* "host:port" or a nameservice; "": fs.defaultFS */
    const char *conf_dir;       /* NULL: $HADOOP_CONF_DIR, else /etc/hadoop/conf */
    const char *user;           /* NULL: $HADOOP_USER_NAME, else the OS user */
    struct log_hook log;
    /* 0: the default that stands here. */
    uint64_t call_us;           /* 20 s: until a call to the NameNodes is given up */
    uint64_t first_call_us;     /* 10 s: the same for the one that hdfs_new() makes */
    uint64_t ack_us;            /* 2 s: until a pipeline is taken for broken */
    uint64_t setup_us;          /* 1 s: for each try to connect a pipeline */
    uint64_t probe_us;          /* 500 ms: until a DataNode is taken for silent */
    uint64_t close_pause_us;    /* 10 s, growing to 6 times that: between two tries to
                                 * close a file whose pipeline broke */
};

/*
 * Read the configuration, start the loop, and ask the NameNode for its defaults: what
 * is wrong with the location, the configuration or the cluster shows here, as a
 * sentence (error_set).
 */
int hdfs_new(const struct hdfs_params *params, struct hdfs **ret);

/* Close what is being written, and wait until it is closed, for at most WAIT_US: 0, or
 * -ETIMEDOUT.  Not in the loop thread. */
int hdfs_drain(struct hdfs *h, uint64_t wait_us);

/* Inputs are gone.  Operations that are left are done with -ECANCELED, and what is
 * being written is left open.  NULL is fine.  Not in the loop thread. */
void hdfs_free(struct hdfs *h);

struct loop *hdfs_loop(struct hdfs *h);
const char *hdfs_user(const struct hdfs *h);        /* its name on the cluster */
const char *hdfs_name(const struct hdfs *h);        /* the nameservice's, for messages */

/* What a file gets if nothing is said: dfs.replication of the configuration, else the
 * NameNode's. */
uint32_t hdfs_replication(const struct hdfs *h);
const struct hdfs_server_defaults *hdfs_defaults(const struct hdfs *h);

/* ---- Operations on names ------------------------------------------------------- */

enum hdfs_what {
    HDFS_STAT,          /* u.file */
    HDFS_LIST,          /* one page: u.listing of what is above TO */
    HDFS_MAKE_DIR,      /* with MODE; its parents too if ALL; one that is there is fine */
    HDFS_REMOVE,        /* a file, an empty directory, or ALL below it; 1: was there */
    HDFS_RENAME,        /* to TO, which is not there (-EEXIST) */
    HDFS_SET_MODE,      /* to MODE */
    HDFS_SET_REPLICATION,   /* of a file, to REPLICATION: that is what it has in time */
    HDFS_LOCATE,        /* u.blocks, of LENGTH bytes from OFFSET on */
    HDFS_QUOTA,         /* u.summary */
    HDFS_STATISTICS,    /* u.stats; no path */
    HDFS_NODES,         /* u.datanodes that are live; no path */
    HDFS_CREATE_EMPTY,  /* a closed file without a byte, with MODE, exclusively */
    HDFS_RECOVER,       /* take it from whoever writes it, wait until it is closed */
};

struct hdfs_op {
    enum hdfs_what what;
    bool all;
    uint16_t mode;
    uint32_t replication;
    const char *path;       /* borrowed until done() */
    const char *to;         /* borrowed until done() */
    uint64_t offset, length;
    uint64_t timeout_us;    /* 0: the client's, or for RECOVER 4 minutes */

    void (*done)(struct hdfs_op *op, int res);      /* in the loop thread */
    void *opaque;           /* the caller's */

    /* Results and words: call.u (see namenode.h, who frees what) and call.message. */
    struct namenode_call call;
    bool hindered;          /* a NameNode failed over, refused or was slow meanwhile */

    /* the client's own */
    struct hdfs *client;
    struct list node;
    struct loop_timer timer;
    uint64_t start_us, again_us;
    uint64_t file_id;
    int step;
};

/* Start OP; done() is not called from within.  In the loop thread. */
void hdfs_start(struct hdfs *h, struct hdfs_op *op);

/* Forget OP: done() is not called. */
void hdfs_cancel(struct hdfs_op *op);

/* Start OP, wait for its end and return its result; DONE is not used.  Not in the loop
 * thread. */
int hdfs_do(struct hdfs *h, struct hdfs_op *op);

/*
 * The same for whatever takes its time: START is called in the loop thread, and the
 * caller waits until somebody there calls hdfs_wait_end(), perhaps from within START.
 * Embedded in what START needs.
 */
struct hdfs_wait {
    void (*start)(struct hdfs_wait *w);
    struct loop_task task;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int res;
};

int hdfs_wait(struct hdfs *h, struct hdfs_wait *w);
void hdfs_wait_end(struct hdfs_wait *w, int res);

/* Has LIST more pages?  Then TO for the next one is the last name of this. */
static inline bool hdfs_list_has_more(const struct hdfs_op *op)
{
    return op->call.u.listing.remaining > 0 && op->call.u.listing.file_count > 0;
}

#endif
