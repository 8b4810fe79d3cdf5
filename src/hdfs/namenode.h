/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * namenode.h - the NameNodes of one name service, as one that can be asked.
 *
 * Calls go to the NameNode that answered last.  When that refuses (standby), breaks off
 * or keeps silent, all that is under way goes to the next one, with the same client id
 * and call id and a retry count one higher, so that the NameNodes' retry cache answers
 * what was already done (org.apache.hadoop.ipc.RetryCache).  What passes by waiting
 * (no active NameNode, safe mode, NotReplicatedYet) is tried again until the deadline
 * of the call.  Knows nothing of leases to be kept, of pipelines or of DataNodes
 * beyond their description.
 *
 * Threads: the loop thread only.
 *
 * Errors: done() gets 0, -errno, -HDFS_ELEASE or -HDFS_ETOKEN, and the call has words
 * for people in MESSAGE (one line: what the NameNode said, or which ones did not serve,
 * and why) and the Java class in EXCEPTION, if a NameNode threw one:
 *   -ETIMEDOUT  no NameNode served the call before the deadline
 *   -EAGAIN     the same, but one did answer: safe mode, or a replication still to come
 *   -ECANCELED  the set was freed
 *   -ENOENT -EEXIST -EACCES -EDQUOT -EBUSY -ENOTDIR -EISDIR -ENOTEMPTY -ENOSPC -EROFS …
 *   -EBADMSG    what came was no sense
 *   -EIO        everything else
 * (errors.c has the table.)
 */
#ifndef HLFS_HDFS_NAMENODE_H
#define HLFS_HDFS_NAMENODE_H

#include "base/error.h"
#include "base/list.h"
#include "hdfs/loop.h"
#include "hdfs/nameservice.h"
#include "hdfs/rpc.h"
#include "hdfs/types.h"

struct namenode;

struct namenode_params {
    const struct nameservice *service;  /* borrowed until namenode_new() returns */
    const char *user;                   /* effective user; copied */
    const char *client_name;            /* the lease holder's name; copied */
    struct log_hook log;
    /* 0: the default that stands here.  A NameNode that has not answered since it was
     * connected gets CONNECT_US, one that has SILENCE_US; each time in vain doubles the
     * first, up to the second. */
    uint64_t connect_us;                /* 2 s */
    uint64_t silence_us;                /* 10 s; 5 s where there are others to ask */
    /* Between tries after all have refused; each time in vain doubles it, up to 1 s. */
    uint64_t wait_us;                   /* 100 ms */
};

/* Connects when the first call comes. */
int namenode_new(struct loop *l, const struct namenode_params *params,
                 struct namenode **ret);

/* Calls that are left are done with -ECANCELED before this returns.  NULL is fine. */
void namenode_free(struct namenode *nn);

const char *namenode_client_name(const struct namenode *nn);

/* ---- Calls --------------------------------------------------------------- */

enum namenode_flag {
    /* Fail as soon as every NameNode was tried once, instead of at the deadline. */
    NAMENODE_ONCE = 1u << 0,
    /*
     * The same call as this struct's last one, which ended with -ETIMEDOUT or -EAGAIN:
     * it keeps its call id, so that a create, rename … which was done after all is
     * answered from the retry cache (kept for 10 minutes) instead of with -EEXIST.
     */
    NAMENODE_AGAIN = 1u << 1,
};

/*
 * One call, the caller's memory, untouched from the function that starts it until
 * done() or namenode_cancel().  done() is called in the loop thread, never from within
 * that function; it may start the call anew or free it, but not free the set.
 *
 * On success the result is the caller's: what its pointers own is freed with the
 * hdfs_*_done() of its type.
 */
struct namenode_call {
    void (*done)(struct namenode_call *c, int res);
    uint64_t deadline_us;               /* as loop_now_us() */
    unsigned flags;

    char exception[96];                 /* "org.apache.hadoop.…", or "" */
    char message[1024];                 /* "" on success; long paths stand in it */

    union {
        bool yes;
        struct hdfs_file file;
        struct hdfs_located_block block;
        struct hdfs_located_blocks blocks;
        struct hdfs_listing listing;
        struct hdfs_datanodes datanodes;
        struct hdfs_server_defaults defaults;
        struct hdfs_fs_stats stats;
        struct hdfs_summary summary;
    } u;

    /* namenode's own */
    struct namenode *nn;                /* NULL: not under way */
    struct rpc_call rpc;
    uint8_t *packed;                    /* owned: the request */
    int (*parse)(struct namenode_call *c, const uint8_t *body, size_t len);
    struct list node;                   /* in waiting or refused, or sent of a node */
    struct namenode_node *at;           /* was sent to and not answered by */
    struct loop_timer timer;            /* the deadline, or the end of a wait */
    uint64_t sent_us;
    uint64_t wait_us;                   /* the next wait after a refusal */
    unsigned tries;                     /* that failed */
    int last_error;                     /* of these */
};

/* Forget the call: done() is not called.  A NameNode may do it all the same. */
void namenode_cancel(struct namenode_call *c);      /* not under way is fine */

/*
 * All start a call; texts and structs given are borrowed until they return.  That there
 * is no memory is told by done(), too.  Paths are absolute and normalised.
 */

/* ---- Files being written ------------------------------------------------- */

enum namenode_create_flag {             /* values of CreateFlagProto */
    NAMENODE_CREATE = 1,                /* exclusive, where OVERWRITE is not there */
    NAMENODE_OVERWRITE = 2,
    NAMENODE_SHOULD_REPLICATE = 128,    /* not erasure-coded, whatever the parent is */
};

struct namenode_create {
    const char *path;
    uint16_t mode;                      /* as it shall be: no umask is applied */
    unsigned flags;
    bool create_parent;
    uint32_t replication;
    uint64_t block_size;
};

/* u.file; -EEXIST: the name is taken; -EBUSY: by somebody who is writing it. */
void namenode_create(struct namenode *nn, struct namenode_call *c,
                     const struct namenode_create *p);

/*
 * The next block of a file we write.  PREVIOUS (or NULL) is the block before, with its
 * final length; EXCLUDES are nodes not to be used.  u.block; it may have fewer nodes
 * than asked for.  -ENOSPC: no node can take it.
 */
void namenode_add_block(struct namenode *nn, struct namenode_call *c, const char *path,
                        uint64_t file_id, const struct hdfs_block *previous,
                        const struct hdfs_datanode *excludes, size_t exclude_count);

void namenode_abandon_block(struct namenode *nn, struct namenode_call *c,
                            const char *path, uint64_t file_id,
                            const struct hdfs_block *block);

/* Close the file; LAST (or NULL, no block) has its final length.  u.yes: it is closed;
 * else a DataNode has yet to report the block: ask again in a few ms. */
void namenode_complete(struct namenode *nn, struct namenode_call *c, const char *path,
                       uint64_t file_id, const struct hdfs_block *last);

/* Have the blocks of the open file, and LENGTH as that of the last, in the edit log. */
void namenode_fsync(struct namenode *nn, struct namenode_call *c, const char *path,
                    uint64_t file_id, uint64_t length);

/* Of all files of our client name.  Success proves nothing: it is the same for a holder
 * of nothing. */
void namenode_renew_lease(struct namenode *nn, struct namenode_call *c);

/* Take the lease away from whoever has it.  u.yes: the file is closed; else its last
 * block is being recovered: ask namenode_is_file_closed(). */
void namenode_recover_lease(struct namenode *nn, struct namenode_call *c,
                            const char *path);
void namenode_is_file_closed(struct namenode *nn, struct namenode_call *c,
                             const char *path);                         /* u.yes */

/* ---- The name space ------------------------------------------------------ */

/* u.blocks: those that touch [OFFSET, OFFSET + LENGTH); -ENOENT */
void namenode_get_block_locations(struct namenode *nn, struct namenode_call *c,
                                  const char *path, uint64_t offset, uint64_t length);

/* u.file; -ENOENT.  The link form does not follow a symlink in the last component. */
void namenode_get_file_info(struct namenode *nn, struct namenode_call *c,
                            const char *path);
void namenode_get_file_link_info(struct namenode *nn, struct namenode_call *c,
                                 const char *path);

/* u.listing: some entries whose name is above START_AFTER ("" or NULL: from the first)
 * in the order of bytes; -ENOENT.  Of a file: itself, by the name "". */
void namenode_get_listing(struct namenode *nn, struct namenode_call *c,
                          const char *path, const char *start_after);

void namenode_delete(struct namenode *nn, struct namenode_call *c, const char *path,
                     bool recursive);           /* u.yes: it was there */

/* -EEXIST: TO is there, unless OVERWRITE. */
void namenode_rename2(struct namenode *nn, struct namenode_call *c, const char *from,
                      const char *to, bool overwrite);

/* A directory that is there is success. */
void namenode_mkdirs(struct namenode *nn, struct namenode_call *c, const char *path,
                     uint16_t mode, bool parents);

void namenode_set_permission(struct namenode *nn, struct namenode_call *c,
                             const char *path, uint16_t mode);
/* NULL: leave it as it is. */
void namenode_set_owner(struct namenode *nn, struct namenode_call *c, const char *path,
                        const char *owner, const char *group);
/* u.yes: it is a file. */
void namenode_set_replication(struct namenode *nn, struct namenode_call *c,
                              const char *path, uint32_t replication);

/* u.summary, of a directory with all below it */
void namenode_get_content_summary(struct namenode *nn, struct namenode_call *c,
                                  const char *path);
/* u.summary: the quotas of PATH itself (none of its parents') and what counts against
 * them, without a walk where there is a quota. */
void namenode_get_quota_usage(struct namenode *nn, struct namenode_call *c,
                              const char *path);

/* ---- The cluster --------------------------------------------------------- */

void namenode_get_server_defaults(struct namenode *nn, struct namenode_call *c);
/* The values of DatanodeReportTypeProto. */
enum namenode_report {
    NAMENODE_REPORT_ALL = 1,
    NAMENODE_REPORT_LIVE = 2,
    NAMENODE_REPORT_DEAD = 3,
    NAMENODE_REPORT_DECOMMISSIONING = 4,
};
void namenode_get_datanode_report(struct namenode *nn, struct namenode_call *c,
                                  enum namenode_report which);
void namenode_get_fs_stats(struct namenode *nn, struct namenode_call *c);

/* Tell of replicas whose bytes are wrong: the NODES of B, with their storages. */
void namenode_report_bad_blocks(struct namenode *nn, struct namenode_call *c,
                                const struct hdfs_located_block *b);

#endif
