/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hdfs_private.h - what the parts of the HDFS store share.
 *
 * hdfs.c is the store, hdfs_lane.c its lanes, hdfs_file.c the files that are written and
 * read, hdfs_look.c the look for another writer, hdfs_knock.c the signs of life,
 * hdfs_recover.c the taking of files, hdfs_tail.c where the newest segment is,
 * hdfs_names.c names and listings, hdfs_named.c the small named files.
 *
 * Two worlds: the plain calls and the lanes' upper half run in the callers' threads; all
 * else in the client's loop thread, without locks.
 */
#ifndef HLFS_STORE_HDFS_PRIVATE_H
#define HLFS_STORE_HDFS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "hdfs/hdfs.h"
#include "hdfs/input.h"
#include "hdfs/output.h"
#include "store/hdfs.h"
#include "store/names.h"

#define HDFS_PATH_BYTES 1200        /* a location's 1024, and what we put behind it */

struct hdfs_files;
struct hdfs_knocker;
struct hdfs_recovery;

struct hdfs_store {
    struct store store;
    struct hdfs *client;            /* owned */
    char path[1024];                /* the volume's directory; immutable, as are: */
    uint16_t file_mode, dir_mode;
    uint32_t replication, min_replicas;
    bool min_given;             /* min_replicas is the user's */
    bool read_only;
    bool hsync;                     /* durable: on disk */
    uint64_t began_us;              /* monotonic: when opening the store began */
    uint64_t read_us;               /* so long a read is tried; 0: see hdfs.h */
    uint64_t dead_us;               /* without an answer to a knock */
    struct log_hook log;
    struct hdfs_recovery *recovery; /* owned; the last one's results.  Plain calls' */

    /* the loop's */
    struct hdfs_files *files;       /* owned */
    struct hdfs_knocker *knocker;   /* owned; answers while we hold the volume */
    uint64_t created;               /* highest log file that is ours */
    uint64_t creating;              /* the one being created, or 0 */
    uint64_t epoch;                 /* that we enlisted for */
    uint64_t left;                  /* after resigning: the highest we made, or 0 */
    uint64_t looked_us;             /* when the last look began that saw everything */
    uint64_t rolled_us;             /* when a new segment was last asked for */
    struct loop_timer stat_timer;
    struct hdfs_op stat_op;
    bool stat_asking;

    /* for any thread */
    pthread_mutex_t tail_lock;
    char tail[STORE_TAIL_BYTES];    /* under it; see struct store_stat */
    _Atomic uint64_t free_bytes;
    atomic_bool degraded;
};

static inline struct hdfs_store *hdfs_of(struct store *s)
{
    return container_of(s, struct hdfs_store, store);
}

/* ---- hdfs_names.c -------------------------------------------------------------- */

/* Where FILE is, and the directory it is in. */
void hdfs_file_path(const struct hdfs_store *s, uint64_t file,
                    char path[HDFS_PATH_BYTES]);
void hdfs_shard_path(const struct hdfs_store *s, uint64_t file,
                     char path[HDFS_PATH_BYTES]);
/* NAME of the volume's directory. */
void hdfs_path(const struct hdfs_store *s, const char *name, char path[HDFS_PATH_BYTES]);

/*
 * Call FN for each entry of directory PATH above AFTER, in order, page by page.  A
 * negative value of FN stops and is returned.  On failure OP has what the NameNode said.
 */
typedef int (*hdfs_file_fn)(void *opaque, const struct hdfs_file *file);
int hdfs_each(struct hdfs *client, struct hdfs_op *op, const char *path,
              const char *after, hdfs_file_fn fn, void *opaque);

int hdfs_list(struct store *base, uint64_t kind, uint64_t from, store_list_fn fn,
              void *opaque);
int hdfs_highest(struct store *base, uint64_t kind, uint64_t *ret_file);
int hdfs_destroy(struct store *base);
int hdfs_rename(struct store *base, const char *path);
int hdfs_set_replication(struct store *base, uint32_t copies);

/* Plain calls on names: hdfs_do(), leaving behind on failure what the NameNode said.  A
 * missing name is told by the code alone. */
int hdfs_make_dir(struct hdfs_store *s, const char *path, bool parents);
int hdfs_remove(struct hdfs_store *s, const char *path, bool all);
int hdfs_stat_path(struct hdfs_store *s, const char *path, struct hdfs_file *ret);

/* ---- hdfs_named.c -------------------------------------------------------------- */

int hdfs_get(struct store *base, const char *name, void *buf, size_t size);
int hdfs_put(struct store *base, const char *name, const void *buf, size_t len);

/* ---- hdfs_lane.c: the lane part of struct store_ops ---------------------------- */

struct store_lane *hdfs_lane_new(struct store *base);
void hdfs_lane_free(struct store_lane *lane);
int hdfs_lane_fd(struct store_lane *lane);
void hdfs_lane_submit(struct store_lane *lane, struct store_op *op);
void hdfs_lane_kick(struct store_lane *lane);
int hdfs_lane_collect(struct store_lane *lane, struct list *done);
int hdfs_lane_wait(struct store_lane *lane, int64_t timeout_us);
void hdfs_lane_wake(struct store_lane *lane);

/* OP, of LANE, has ended; any thread. */
struct hdfs_lane;
void hdfs_lane_end(struct hdfs_lane *lane, struct store_op *op, int res);

/* ---- hdfs_file.c: the loop thread ---------------------------------------------- */

int hdfs_files_new(struct hdfs_files **ret);

/* Close all that is open, in the background. */
void hdfs_files_close(struct hdfs_store *s);

/* Leave all that is open as it is: it is about to be removed. */
void hdfs_files_drop(struct hdfs_store *s);

/* Lanes are gone, so that no op is under way; what is not closed yet stays so. */
void hdfs_files_free(struct hdfs_store *s);

/* Start OP of LANE. */
void hdfs_file_start(struct hdfs_store *s, struct hdfs_lane *lane, struct store_op *op);

/* Is FILE open or being closed by us?  It is closed then, in the background. */
bool hdfs_file_close(struct hdfs_store *s, uint64_t file);

/* Look how those that are open for writing are doing: sets degraded and store.roll. */
void hdfs_files_look(struct hdfs_store *s);

/* ---- hdfs_look.c: the loop thread ---------------------------------------------- */

/* Has another writer taken over: is there a log file with an id >= FENCE?  DONE gets 0,
 * -ESTALE or another -errno. */
struct hdfs_look {
    struct hdfs_store *s;
    void (*done)(struct hdfs_look *look, int res);
    uint64_t timeout_us;    /* 0: the client's */
    uint64_t fence;
    struct hdfs_op shard, dirs;
    char shard_path[HDFS_PATH_BYTES], dirs_path[HDFS_PATH_BYTES];
    char shard_after[24], dirs_after[24];
    unsigned pending;
    bool all;               /* it looks beyond the fence's directory, too */
    bool shard_asked, dirs_asked;
    int res;
    uint64_t start_us;
};

void hdfs_look_start(struct hdfs_store *s, struct hdfs_look *look, uint64_t fence);
void hdfs_look_cancel(struct hdfs_look *look);      /* which is under way */

/* ---- hdfs_tail.c --------------------------------------------------------------- */

/* The newest segment is at the nodes of B; any thread. */
void hdfs_tail_set(struct hdfs_store *s, const struct hdfs_located_block *b);
void hdfs_tail_get(struct hdfs_store *s, char text[STORE_TAIL_BYTES]);

/* For who only reads: find out.  Sets degraded, too. */
int hdfs_tail_look(struct hdfs_store *s);

/* ---- hdfs_recover.c ------------------------------------------------------------ */

int hdfs_recover(struct store *base, uint64_t file, uint64_t *ret_len);
void hdfs_recovery_free(struct hdfs_recovery *r);       /* NULL is fine */

/* ---- hdfs_knock.c -------------------------------------------------------------- */

int hdfs_holder_alive(struct store *base);
int hdfs_enlist(struct store *base, uint64_t epoch);
void hdfs_resign(struct store *base);

/* Who has resigned, and writes no more, says so.  Leaves no sentence behind. */
void hdfs_leave(struct hdfs_store *s);

#endif
