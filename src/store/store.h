/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.h - where the segments of one volume live: the contract of all stores.
 *
 * A store is the directory of ONE volume.  It keeps numbered files that only grow
 * ("log" and "moved" segments) and a few small named ones.  It knows nothing of
 * what the bytes mean.  local.c, sim.c and (later) hdfs.c implement it and pass the
 * same test program, tests/unit/test-store.h.
 *
 * Two kinds of calls:
 *
 *  - Operations (struct store_op) are asynchronous and travel through a *lane*.
 *    store_submit() may be called inside the volume monitor: it only queues, makes
 *    no system call and never calls back.  store_kick() hands what was queued to
 *    the kernel, store_collect() returns what has completed, store_wait() blocks:
 *    these three are called outside the monitor.  Who collects an op calls
 *    op->done() afterwards, inside the monitor (see volume/).
 *  - Plain functions block; they belong to open, create and remove, where no
 *    request is waiting.
 *
 * Threads: a lane is used by one thread at a time, except that store_submit() by
 * one thread and store_kick(), store_collect(), store_wait() by another may
 * overlap, and that store_wake() may be called by any.  Different lanes are
 * independent of each other.  Plain functions are called by one thread at a time.
 *
 * Errors are -errno.  Bytes and lengths that come from outside are never trusted.
 */
#ifndef HLFS_STORE_H
#define HLFS_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"

/* ---- Names ---------------------------------------------------------------- */

/*
 * A file id: segment number (36 bits, from 1) and kind.  Ids of one kind are
 * given out in growing order; an id is never used for two contents.
 */
#define STORE_MOVED ((uint64_t)1 << 36)         /* kind bit: a cleaner segment */
#define STORE_SEGNO_MAX (STORE_MOVED - 1)
#define STORE_SHARD_FILES 4096                  /* files per directory */

static inline uint64_t store_segno(uint64_t file)
{
    return file & STORE_SEGNO_MAX;
}

/* ---- Operations ----------------------------------------------------------- */

struct store;

enum store_what {
    /*
     * Make FILE, exclusively; LEN is the size it is going to have.  When it
     * completes, the name is durable and room for LEN bytes is secured as far as
     * the store can.  The bytes of a new file are undefined (it may be a reused one)
     * until they are appended.  -EEXIST: the name is taken.
     * If the outcome is unknown (a time-out), or FILE is there and can be neither
     * finished nor removed, the error is -EIO, and when the same store submits the same
     * create again it succeeds if FILE is what its own first try made, and gives -EEXIST
     * only if somebody else made it.  After any other error no try of this store has left
     * FILE there.
     */
    STORE_CREATE,

    /*
     * Write LEN bytes of BUF at OFFSET, which is the end of what was appended so
     * far.  OFFSET and LEN are multiples of store->append_align and BUF is aligned
     * to STORE_BUF_ALIGN.  Several appends to one file may be in flight; they are
     * submitted in order and may complete and become durable in any order.  After
     * success a reader of this process sees the bytes.  After failure the file's
     * tail is unknown: the engine seals the file and goes on in another.
     * With STORE_DURABLE in FLAGS the op completes only when these bytes are
     * durable (at the store's level): an append and a sync in one.
     */
    STORE_APPEND,

    /* All appends to FILE that completed before this was submitted are durable when
     * it completes.  A file that another store object created: see tail_again. */
    STORE_SYNC,

    /* Nothing more is appended to FILE.  Implies no sync.  Files are recovered or
     * closed in the background; reads go on working. */
    STORE_SEAL,

    /* Read LEN bytes at OFFSET into BUF.  The result is the number of bytes read,
     * less than LEN only where the file ends.  No alignment is asked for, but what
     * is aligned to STORE_BUF_ALIGN in memory and to 512 in the file costs no copy.
     * -ENOENT: no such file. */
    STORE_PREAD,

    /* Remove FILE; the store may keep its room for reuse where all of its appends
     * are known to have completed.  -ENOENT counts as success. */
    STORE_REMOVE,

    /* Make one spare file of LEN bytes for later reuse.  The result is 1 if one was
     * made, 0 if the pool is full, the store has none, or there would not be free room
     * for STORE_PREPARE_KEEPS such files left: spares are for speed, they must not be
     * what fills a disk. */
    STORE_PREPARE,

    /* Nothing but the look that STORE_FENCE asks for: 0 or -ESTALE. */
    STORE_LOOK,
};

#define STORE_PREPARE_KEEPS 4

/* Flags of an operation. */
#define STORE_DURABLE (1u << 0)     /* APPEND: durable on completion */
/*
 * SYNC, LOOK, and APPEND with STORE_DURABLE: when the bytes are durable, look whether
 * another writer has taken over, and complete with -ESTALE if so: if there is a log file
 * with an id >= FENCE (DESIGN 4, fencing).  Its first one alone is not enough: the other
 * may have removed that again by the time that a writer which was stopped for long comes
 * to look.  Where the store has other evidence that lasts (local: our lock file, which a
 * taker removes before its vote) it may go by that and FENCE alone.
 */
#define STORE_FENCE (1u << 1)
/*
 * PREAD in a store that is open for reading only: look for FILE by its name, though it is
 * open already.  A writer may have removed it since, and may use its room for another
 * file.
 */
#define STORE_BY_NAME (1u << 2)

#define STORE_BUF_ALIGN 4096

struct store_op {
    enum store_what what;
    unsigned flags;
    uint64_t file;
    uint64_t offset;
    void *buf;              /* borrowed until done() */
    size_t len;
    uint64_t fence;         /* file id, with STORE_FENCE and for LOOK */

    /* Called once by whoever collected the op, inside the monitor; it may free the
     * op and may submit others.  RES as above, or -errno. */
    void (*done)(struct store_op *op, int res);
    /* What collected the op may do first, outside the monitor (verify a checksum);
     * its return value becomes RES.  NULL: nothing. */
    int (*check)(struct store_op *op, int res);

    int res;                /* set by the store before it is collected */
    struct list node;       /* the store's, then the collector's */
    void *priv[4];          /* the store's own, while in flight */
};

/* ---- Stores --------------------------------------------------------------- */

struct store_lane;

struct store_holder {       /* who holds the volume, as its segment header says */
    char host[64];
    uint32_t pid;
    uint64_t since_us;      /* wall time */
};

#define STORE_TAIL_BYTES 256    /* more nodes than fit are left out, "..." stands last */

struct store_stat {
    uint64_t free_bytes;        /* room left for new files; UINT64_MAX: unknown */
    uint64_t pool_files;        /* spare files kept for reuse */
    uint64_t pool_bytes;
    bool thin;                  /* a file takes its room as it is written, not before;
                                 * and no spare files are kept, which would have it */
    bool degraded;              /* fewer copies than asked for */
    /* Where a store keeps several copies; else 0 and "". */
    uint32_t replication;       /* copies of each file that are asked for */
    char tail[STORE_TAIL_BYTES];    /* "host:port host:port": the nodes of the newest
                                     * segment that has bytes */
};

/* Called for each file id, ascending.  A negative return value stops the listing
 * and is returned. */
typedef int (*store_list_fn)(void *opaque, uint64_t file);

struct store_ops {
    void (*free)(struct store *s);

    struct store_lane *(*lane_new)(struct store *s);    /* NULL: errno says why */
    void (*lane_free)(struct store_lane *lane);         /* nothing in flight */
    int (*lane_fd)(struct store_lane *lane);
    void (*submit)(struct store_lane *lane, struct store_op *op);
    void (*kick)(struct store_lane *lane);
    int (*collect)(struct store_lane *lane, struct list *done);
    int (*wait)(struct store_lane *lane, int64_t timeout_us);
    void (*wake)(struct store_lane *lane);

    int (*list)(struct store *s, uint64_t kind, uint64_t from, store_list_fn fn,
                void *opaque);
    int (*highest)(struct store *s, uint64_t kind, uint64_t *ret_file);
    int (*recover)(struct store *s, uint64_t file, uint64_t *ret_len);
    int (*get)(struct store *s, const char *name, void *buf, size_t size);
    int (*put)(struct store *s, const char *name, const void *buf, size_t len);
    int (*holder_alive)(struct store *s);
    int (*enlist)(struct store *s, uint64_t epoch);
    void (*resign)(struct store *s);
    int (*stat)(struct store *s, struct store_stat *ret);
    int (*destroy)(struct store *s);
    int (*rename)(struct store *s, const char *path);
    int (*set_replication)(struct store *s, uint32_t copies);
};

struct store {
    const struct store_ops *ops;
    const struct clock *clock;      /* borrowed */
    uint32_t append_align;          /* power of two, 512 to 4096 */
    /* What an earlier writer left un-synced cannot be made durable where it stands (SYNC
     * of its files gives -ENOTSUP): who opens the volume appends the tail again. */
    bool tail_again;
    /* Segments that suit it: the volume's size / segment_part, within these bounds. */
    uint32_t segment_part;
    uint64_t segment_min, segment_max;
    /* After so long without a request no segment stays open for writing; 0: it may. */
    uint64_t idle_close_us;
    /* Set by the store, from any thread, and taken back by who has seen it: segments that
     * are open for writing should end soon (nodes that hold them are leaving, or new ones
     * would get more copies). */
    atomic_bool roll;
    const char *durability;         /* strongest level: "local", "hsync" */
    char key[40];                   /* tells copies of a volume on this machine apart; may
                                     * be empty */
    char location[1024];            /* for messages */
};

/* A new lane; its completions do not mix with other lanes'. */
static inline struct store_lane *store_lane_new(struct store *s)
{
    return s->ops->lane_new(s);
}

struct store *store_of_lane(const struct store_lane *lane);

/* Every implementation's lane begins with this. */
struct store_lane {
    struct store *store;    /* borrowed */
};

void store_lane_free(struct store_lane *lane);      /* NULL is fine */

/* An fd that becomes readable when the lane has something to collect or was woken;
 * the fd stays the lane's.  -1: this store has none (sim). */
int store_lane_fd(struct store_lane *lane);

/* Queue OP.  Never blocks, never calls back. */
void store_submit(struct store_lane *lane, struct store_op *op);

/* Start what was queued. */
void store_kick(struct store_lane *lane);

/*
 * Move what has completed to the end of DONE (their `node`s), with op->check()
 * already applied to op->res; return how many.  Never blocks.  Resets the fd.
 */
int store_collect(struct store_lane *lane, struct list *done);

/*
 * Start what was queued (at less cost than a store_kick() before), then block until
 * there is something to collect, store_wake() was called or TIMEOUT_US has passed (< 0:
 * for ever).  Returns 1, or 0 on a time-out.
 */
int store_wait(struct store_lane *lane, int64_t timeout_us);

/* Make the fd readable and store_wait() return, now or at its next call. */
void store_wake(struct store_lane *lane);

/* Submit OP, wait for it and return its result; done() is not called.  Only on a
 * lane that has nothing else in flight; outside the monitor. */
int store_do(struct store_lane *lane, struct store_op *op);

/* The same for the common calls. */
int store_create_now(struct store_lane *lane, uint64_t file, uint64_t size);
int store_append_now(struct store_lane *lane, uint64_t file, uint64_t offset,
                     const void *buf, size_t len, unsigned flags);
int store_sync_now(struct store_lane *lane, uint64_t file);
int64_t store_pread_now(struct store_lane *lane, uint64_t file, uint64_t offset,
                        void *buf, size_t len);
int store_remove_now(struct store_lane *lane, uint64_t file);

/* ---- Plain calls ---------------------------------------------------------- */

void store_free(struct store *s);                   /* NULL is fine; lanes are gone */

/* Existing files of KIND (0 or STORE_MOVED) with id >= FROM, ascending. */
int store_list(struct store *s, uint64_t kind, uint64_t from, store_list_fn fn,
               void *opaque);

/* The highest existing id of KIND, found without listing all.  -ENOENT: none. */
int store_highest(struct store *s, uint64_t kind, uint64_t *ret_file);

/* Make sure that no earlier writer can append to FILE, and say how long it is. */
int store_recover(struct store *s, uint64_t file, uint64_t *ret_len);

/* Read a small named file, "volume" say: its length, at most SIZE. */
int store_get(struct store *s, const char *name, void *buf, size_t size);

/* Write one, exclusively and durably (-EEXIST).  It appears whole or not at all. */
int store_put(struct store *s, const char *name, const void *buf, size_t len);

/* Is a writer alive?  1 yes, 0 no, or -errno.  May wait for its sign of life, or for its
 * death, unless the store is open for reading only. */
int store_holder_alive(struct store *s);

/* Give signs of life as the holder of EPOCH from now on, until resign or death.
 * -EEXIST: somebody else took this epoch. */
int store_enlist(struct store *s, uint64_t epoch);
void store_resign(struct store *s);

int store_stat(struct store *s, struct store_stat *ret);

/* Remove everything the volume has in this store, its identity last.  Lanes are
 * gone.  Half-made and half-removed volumes go as well. */
int store_destroy(struct store *s);

/*
 * The volume's directory is PATH from now on, durably; S is good for nothing but
 * store_free() afterwards.  Sentence.  -EEXIST: PATH is there; -EXDEV: it is on another
 * file system; -ENOTSUP: this store cannot (sim).
 */
int store_rename(struct store *s, const char *path);

/*
 * The volume, all that it has and all that this store object makes from now on, is to be
 * kept in COPIES copies; those of the segments that are there come and go in the background
 * of the store.  Sentence.  -ENOTSUP: this store keeps one.
 */
int store_set_replication(struct store *s, uint32_t copies);

#endif
