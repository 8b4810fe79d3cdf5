/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * private.h - what the files of the engine share.
 *
 * THE MONITOR.  One mutex a volume.  Between monitor_enter() and monitor_leave() code
 * reads as if single-threaded and never blocks; monitor_leave() first settles: the
 * log is pumped, writes that waited for room run.  What is long (copying large
 * payload, verifying sums, system calls of lanes) is done outside.
 *
 * Who runs what: a request runs in the thread that submits it as far as it comes.
 * Completions of a queue's own lane (reads) run in the thread that reaps the queue.
 * Completions of the log's lane run in whichever thread is the *driver* at the moment:
 * the background thread, or a thread that has nothing to do but to wait for them.
 *
 *   VOL-1  A block's place in the layers and tree is that of its newest committed
 *          write: it is set in the turn that adds the entry to the log.
 *   VOL-2  Waiting writes run in the order in which they came (first in, first out),
 *          save that one that holds blocks (VOL-4) goes first, and that on a full store
 *          holes pass the writes that wait for room.
 *   VOL-3  A segment is removed only when no read that began before is under way.
 *   VOL-4  While a change of some blocks is under way over several turns (a
 *          read-modify-write, a copy made outside) no other change of them begins: its
 *          record may be an older one, and the map must agree with the log's order.
 *   VOL-5  No block that begins at or beyond the volume's size has a place, and what the
 *          last block holds beyond it is zeros: a volume that grows shows zeros there.
 */
#ifndef HLFS_VOLUME_PRIVATE_H
#define HLFS_VOLUME_PRIVATE_H

#include <pthread.h>

#include "base/histogram.h"
#include "cleaner/usage.h"
#include "log/log.h"
#include "map/layer.h"
#include "map/tree.h"
#include "volume/rescue.h"
#include "volume/volume.h"

#define LOOKUP_MAX 257              /* blocks resolved at once: 1 MiB and one more */

/* ---- Reading a byte range ------------------------------------------------- */

struct read_op;

struct read_piece {                 /* one read from the store */
    struct store_op op;
    struct read_op *read;
    uint32_t first, count;          /* blocks of the chunk */
    uint8_t *bounce;                /* owned; NULL: straight into the caller's buffer */
};

/*
 * Read [offset, offset + len) into buf, chunk by chunk.
 *
 *   LOOKUP --page missing--> PAGE --> LOOKUP ... --> PIECES --> (next chunk | done)
 *
 * Bytes that are wrong or gone may be so because another writer has taken the volume over
 * and removed the segment: that is looked at before anybody hears of damage.
 */
struct read_op {
    struct hlfs *v;
    struct store_lane *lane;
    unsigned *lane_ops;             /* counts the operations on it */
    uint8_t *buf;                   /* NULL if map_only */
    bool map_only;                  /* get the map's pages into memory, read no data */
    uint64_t offset, len, at;       /* at: bytes done */
    void (*done)(struct read_op *r, int res);
    int error;
    unsigned phase;                 /* VOL-3 */
    bool started;
    bool running;                   /* inside read_run(): completions only count */
    /* The chunk: */
    uint64_t block;
    uint32_t blocks;
    struct place *places;           /* small, or owned */
    struct place small[2];
    struct read_piece *pieces;      /* one, or owned */
    struct read_piece one;
    unsigned pending;
    /* The page that a look-up lacks: */
    struct store_op page_op;
    struct tree_missing missing;
    uint8_t *page;                  /* owned */
    /* What failed first, if anything: */
    struct {
        int error;
        struct place place;
        uint64_t block;
        uint32_t count;             /* blocks from there on; 0: a page of the map */
    } failed;
    struct log_waiter look;         /* for another writer, whose doing it may be */
};

/* ---- Requests ------------------------------------------------------------- */

struct busy_range {                 /* blocks that somebody is changing in steps */
    struct list node;
    uint64_t first, last;           /* VOL-4 */
};

struct request {
    struct list node;               /* free, waiting or finished */
    struct hlfs_queue *queue;
    struct request_args args;
    int result;
    uint64_t done_bytes;
    bool waiting;                   /* in v->writers */
    bool unfinished;                /* counted in queue->unfinished */
    uint64_t arrival;               /* of a change: higher than those before it (VOL-2) */
    uint64_t wait_since_us;         /* monotonic; 0: has not waited */
    uint64_t since_us;              /* monotonic; when it could not be answered at once */
    struct log_waiter waiter;
    /* A write piece under way: */
    uint64_t piece_at, piece_len;
    struct log_space space;
    bool reserved;                  /* space is held: copy, then commit */
    bool copying;
    struct busy_range busy;
    bool busy_held;
    uint8_t *edges;                 /* owned: old first and last block */
    unsigned edges_wanted, edges_have;      /* bit 0 first, bit 1 last */
    struct write_scratch *scratch;  /* owned while copying outside */
    struct read_op read;
};

/* Where a queue's thread is: how to tell it that a request is finished. */
enum queue_rest {
    QUEUE_AWAY,         /* the user's: make the fd readable */
    QUEUE_LOOKING,      /* in queue_reap(): it will look before it rests */
    QUEUE_ON_LANE,      /* sleeps on its own lane */
    QUEUE_ON_COND,      /* sleeps, nothing of its own is on its lane */
    QUEUE_DRIVING,      /* may sleep on the log's lane */
};

struct hlfs_queue {
    struct hlfs *v;
    struct list node;               /* in v->queues */
    struct store_lane *lane;
    unsigned depth;
    unsigned unfinished;            /* submitted, completion not yet taken */
    unsigned lane_ops;              /* of our requests on our lane */
    enum queue_rest rest;
    bool fd_given;                  /* hlfs_queue_fd(): somebody may poll it */
    bool told;                      /* to drive, while it was ON_COND */
    pthread_cond_t cond;            /* with the monitor's mutex */
    struct list resting_node;       /* in v->resting while ON_COND */
    struct list free, finished;
    struct request requests[];
};

/* ---- Checkpoint ----------------------------------------------------------- */

enum checkpoint_state {
    CHECKPOINT_IDLE,
    CHECKPOINT_SYNC_LAYER,      /* until all that is in the frozen layer is durable */
    CHECKPOINT_MERGE_MAP,
    CHECKPOINT_MERGE_USAGE,
    CHECKPOINT_RECORD,          /* the record is to be written */
    CHECKPOINT_SYNC_RECORD,
    CHECKPOINT_SYNC_MARK,       /* it is done; until a mark says so: see make_room() */
};

struct checkpoint_run {
    enum checkpoint_state state;
    uint64_t pace_bytes;            /* of log, between two */
    uint64_t paced_seq;             /* of the checkpoint that it was set by */
    bool wanted;
    bool waiting;                   /* for a page, for room, or for a sync */
    bool wants_room;                /* the log's room() ends the wait */
    bool moved;                     /* a page of it moved: begin again */
    bool backoff;                   /* the last try failed: wait for the next tick */
    uint64_t frozen_seq;            /* of the last record with entries of the layer */
    uint64_t replay_seq, replay_file, size;
    struct merge *merge;
    struct tree_root map_root, usage_root;  /* the new ones */
    struct tree_update *updates;    /* of the usage tree, owned */
    size_t update_count;
    uint64_t record_seq;
    struct record_ref ref;
    struct log_waiter waiter;
    int error;                      /* that the map has: it cannot be merged */
    struct page_load {              /* pages that the merge lacks or will lack */
        struct store_op op;
        struct hlfs *v;
        struct tree_missing missing;
        uint8_t *page;              /* owned, PAGE_BYTES */
        bool busy;
    } loads[16];
};

/* ---- Latencies ------------------------------------------------------------ */

enum latency_kind { LATENCY_READ, LATENCY_WRITE, LATENCY_FLUSH, LATENCY_KINDS };

/* Of the present 10 seconds and of the 10 before. */
struct latency {
    struct histogram windows[2][LATENCY_KINDS];     /* microseconds */
    unsigned present;
    uint64_t since_us;              /* monotonic: when the present ones began */
};

/* ---- The volume ----------------------------------------------------------- */

enum driver { DRIVER_NONE, DRIVER_BACKGROUND, DRIVER_CALLER };

struct hlfs {
    pthread_mutex_t mutex;
    bool mutex_made, cond_made;
    struct store *store;            /* owned */
    struct store_lane *lane;        /* the log's and background work's */
    const struct clock *clock;
    struct hlfs_options options;
    struct identity identity;
    bool read_only, manual;
    struct rescue *rescue;          /* owned; NULL: not a rescue */
    uint32_t block_bytes, block_shift;
    uint64_t size;                  /* bytes */
    uint64_t shrink_to;             /* a resize under way has closed what lies beyond */
    bool resizing;
    char name[64];                  /* last component of the location */
    uint8_t *fork_guard;            /* a page that is wiped in a forked child */

    /* The map: active, then frozen, then the tree. */
    struct layer *active;
    struct layer *frozen;           /* NULL: no checkpoint is under way */
    struct layer *dropped;          /* freed by steps */
    struct tree_root map_root, usage_root;
    struct pagecache *cache;
    struct usage *usage;
    size_t layer_limit, layer_hard_limit;
    uint64_t tree_pages;            /* of the map and usage trees, tries included */
    uint64_t log_bytes_at_checkpoint;
    uint64_t moved_next;
    struct checkpoint_run checkpoint;
    struct record_ref checkpoint_ref;
    uint64_t replay_seq;            /* where the open's replay began; 0: no checkpoint */
    uint64_t checkpoint_us;

    struct log *log;                /* NULL: read-only */
    bool fenced;
    bool pump;                      /* the log wants log_pump() */
    bool pump_later;                /* so does somebody who comes back to wait */
    bool run_writers;               /* room came: see VOL-2 */
    uint64_t arrivals;              /* changes so far */
    struct list writers;            /* waiting requests, in order (VOL-2) */
    struct list copies;             /* reserved, to be copied outside */
    struct list busy;               /* struct busy_range */

    unsigned reads[2];              /* VOL-3 */
    unsigned read_phase;
    bool removing_waits;            /* until the other phase's reads have ended */
    struct list removals;           /* struct removal: to go after the next phase */
    struct list voids;              /* struct removal: files that hold nothing */
    struct list removals_ready;     /* no read can want them any more */
    struct list removals_failed;    /* to be tried again */
    uint64_t removals_again_us;     /* then */
    unsigned removals_in_flight;

    struct list queues;
    struct list resting;            /* queues that are ON_COND */
    struct list sync_queues;        /* idle ones for sync calls */

    /* Background thread. */
    pthread_t thread;
    bool thread_started, stopping;
    pthread_cond_t cond;
    enum driver driver;
    enum { BG_RUNNING, BG_IN_STORE, BG_IN_COND } background;
    bool background_again;
    bool kick;                      /* operations wait to be kicked */
    uint64_t next_tick_us;
    bool prepare_in_flight, pool_full;
    struct store_op prepare_op;
    uint64_t requests_seen;         /* by the last tick, and since when no more came */
    uint64_t idle_since_us;
    unsigned background_ops;        /* on the log's lane, beside the log's own */

    struct hlfs_counters counters;
    struct latency latency;
    struct control *control;        /* hlfs.c's; NULL: none */
    struct replay_facts {           /* what open found, for info */
        struct segment_header newest;
        bool has_newest;
        uint64_t last_seq, synced_seq, time_us;
    } facts;
    uint64_t since_us;
    bool unfinished_too;            /* VOLUME_UNFINISHED was given */
    uint64_t unfinished_us;         /* of who writes: what its headers say */
    uint64_t epoch;                 /* ours; 0: read-only */
};

/* monitor.c */
void monitor_enter(struct hlfs *v);
void monitor_leave(struct hlfs *v);
/* Leave without settling what can wait: the caller promised (hlfs.h) to reap or kick a
 * queue soon.  Until then more requests gather for the same sync. */
void monitor_leave_later(struct hlfs *v);
void monitor_settle(struct hlfs *v);
/* The log has something new to hand on, now or when pump_later says. */
void monitor_pump(struct hlfs *v);
/* Somebody has come back: what waited for that goes on. */
static inline void monitor_pump_now(struct hlfs *v)
{
    v->pump |= v->pump_later;
}
/* Run the done() of what was collected; inside. */
void monitor_dispatch(struct list *done);
void monitor_wake(struct hlfs *v);          /* the background thread; inside */
int monitor_cond_init(pthread_cond_t *cond);
int monitor_start(struct hlfs *v);          /* the thread */
void monitor_stop(struct hlfs *v);          /* joins it */
bool monitor_forked(const struct hlfs *v);
/* Wait for Q's requests, at most TIMEOUT_US (< 0: for ever).  Called and returns
 * inside. */
void monitor_wait(struct hlfs *v, struct hlfs_queue *q, int64_t timeout_us);
/* Q's thread stops waiting for now; inside. */
void monitor_away(struct hlfs *v, struct hlfs_queue *q);
/* A background operation on the log's lane; its done() begins with monitor_done(). */
void monitor_submit(struct hlfs *v, struct store_op *op);
void monitor_done(struct hlfs *v);

/* map.c */
int map_lookup(struct hlfs *v, uint64_t block, uint32_t count, struct place *places,
               struct tree_missing *ret_missing);
int map_set(struct hlfs *v, uint64_t block, struct place place);
int map_replay(struct layer *l, uint32_t block_bytes, const struct entry *e,
               uint64_t file, uint64_t payload_at);
int map_next_data(struct hlfs *v, uint64_t block, uint64_t *ret_block,
                  struct tree_missing *ret_missing);
bool page_from_memory(struct hlfs *v, struct place place);
int page_load_check(struct store_op *op, int res, const struct tree_missing *m,
                    const uint8_t *page);

/* read.c */
void read_begin(struct read_op *r);         /* fields up to done are set */
unsigned read_phase_enter(struct hlfs *v);
void read_phase_leave(struct hlfs *v, unsigned phase);

/* write.c: 1 finished (request->result), 0 pending, inside the monitor. */
int write_start(struct request *r);
int write_step(struct request *r);
void write_copy(struct request *r);         /* outside */
int write_commit(struct request *r);        /* inside: as write_step */
void write_give_up(struct request *r, int error);
void writers_run(struct hlfs *v);
uint64_t writers_expire(struct hlfs *v, uint64_t now_us);   /* next deadline */

/* resize.c */
int resize_check(const struct hlfs *v, const struct request_args *a);
int resize_start(struct request *r);        /* as write_start() */
void resize_end(struct hlfs *v);            /* the request is finished */
uint64_t resize_limit(const struct hlfs *v);    /* requests end there at the latest */

/* latency.c: a request that was answered at once, and one that took a while */
void latency_add_none(struct hlfs *v, enum request_kind kind);
void latency_add(struct hlfs *v, enum request_kind kind, uint64_t since_us);
void latency_quantiles(struct hlfs *v, struct hlfs_counters *ret);

/* status.c */
int status_step(struct request *r);

/* queue.c */
void queue_destroy(struct hlfs_queue *q);   /* nothing of it is unfinished */
void request_finish(struct request *r, int result);
void request_continue(struct request *r);   /* a step ended elsewhere: go on */

/* checkpoint.c: true if it did something. */
void checkpoint_init(struct hlfs *v);
/* DEAD segments go by one checkpoint: sooner or later for the next one? */
void checkpoint_pace(struct hlfs *v, unsigned dead);
bool checkpoint_work(struct hlfs *v);
void checkpoint_tick(struct hlfs *v);
void checkpoint_pages_moved(struct hlfs *v, struct place from);
void checkpoint_reserve(struct hlfs *v);    /* tell the log what must stay free */
void checkpoint_room(struct hlfs *v);       /* the log has room again */
void checkpoint_done(struct hlfs *v);       /* free what it holds */
uint64_t volume_segment_bytes(void *opaque);

/* removal.c */
bool removal_work(struct hlfs *v);
/* A durable header names CHECKPOINT: what it doomed may go. */
void removal_allow(struct hlfs *v, const struct record_ref *checkpoint);
/* FILE holds nothing: it goes when a header of ours above it is durable. */
void removal_note_void(struct hlfs *v, uint64_t file);
void removal_of_voids(struct hlfs *v);      /* now */
void removal_free(struct hlfs *v);
void removal_tick(struct hlfs *v, uint64_t now_us);
void removal_prepare_tick(struct hlfs *v, uint64_t now_us); /* fill the pool when idle */

/*
 * unfinished.c: may V be opened, as the newest header says that was read (-EINPROGRESS
 * with a sentence), or, before that was looked for, as the newest one now says?
 */
int unfinished_check(struct hlfs *v);
int unfinished_look(struct hlfs *v);

/* open.c */
int volume_open_as(struct store *s, unsigned flags, const struct hlfs_options *o,
                   const struct identity *identity, struct hlfs **ret);
int volume_resize_now(struct hlfs *v, uint64_t size);   /* inside */

#endif
