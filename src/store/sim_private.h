/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sim_private.h - what the files of the simulated store share.
 *
 *   sim.c        disk, clocks, processes             sim_plain.c  plain calls
 *   sim_lane.c   lanes, events in virtual time       sim_crash.c  kill, power cut
 *   sim_op.c     what an operation does              sim_fault.c  faults and damage
 *   sim_file.c   bytes of files, loss and landing
 *
 * One thread; no errors but those a caller of store.h gets.
 */
#ifndef HLFS_STORE_SIM_PRIVATE_H
#define HLFS_STORE_SIM_PRIVATE_H

#include "base/rng.h"
#include "store/sim.h"

#define SIM_NEVER UINT64_MAX
#define SIM_SECTOR 512
#define SIM_CHUNK ((size_t)32 << 10)    /* unit of memory of sparse files */
#define SIM_POOL_FILES 8
#define SIM_GHOSTS 8                    /* removed files that may come back */
#define SIM_PLANS 16                    /* one-shot faults at a time */

/* Bytes that landed and are not durable. */
struct sim_extent {
    uint64_t offset;
    uint32_t len;               /* whole sectors */
    uint32_t dropped_by;        /* process whose failed sync dropped them (SIM-5), or 0 */
    uint64_t serial;            /* order of landing, over all files */
    uint8_t *old;               /* owned: what lay there; NULL: zeros or nothing */
};

/*
 * A file: named (in sim->files), spare (in sim->pool) or removed (in sim->ghosts).
 * Bytes at and above LEN are zero in its chunks.
 */
struct sim_file {
    uint64_t id;                /* in the pool: the last one */
    uint64_t len;               /* what a reader sees */
    uint64_t durable_len;       /* the least that a power cut leaves */
    uint64_t base_len;          /* len at creation: below lie old bytes */
    uint64_t room;              /* what it takes of disk_bytes */
    uint64_t next_offset;       /* end of the appends submitted */
    uint32_t creator;           /* process, 0: none that is known */
    uint32_t writer;            /* who may append, 0: nobody any more */
    unsigned appends;           /* submitted by the writer and not completed */
    bool sealed;
    bool broken;                /* an append failed, or its writer died with some */
    bool name_pending;          /* its last change of name may be undone by a cut */
    uint8_t **chunks;           /* owned; NULL: zeros */
    size_t n_chunks;
    struct sim_extent *extents; /* owned, in order of landing */
    size_t n_extents;
    size_t max_extents;
};

/* A growing array of owned files; sim->files is sorted by id. */
struct sim_files {
    struct sim_file **v;
    size_t n;
    size_t max;
};

struct sim_small {              /* a small named file */
    char name[64];
    void *data;                 /* owned */
    size_t len;
};

struct sim_lock {               /* the file lock-<epoch> */
    uint64_t epoch;
    uint32_t owner;             /* process, 0: nobody */
};

/* What became of one write: which of its sectors are there. */
struct sim_tear {
    enum sim_shape shape;
    uint64_t from;
    uint64_t to;
    uint64_t salt;
};

/*
 * An operation on its way, from submit to completion; one of a dead process has no op
 * and no lane, and owns its bytes.
 */
struct sim_flight {
    enum sim_call what;
    bool durability;            /* SIM_BUG_SYNC_EARLY: what comes after the completion */
    bool refused;               /* breaks the contract or is read-only: see error */
    bool found;                 /* the file was there at submit */
    uint64_t time_us;           /* of its completion; SIM_NEVER: it hangs */
    uint64_t serial;
    struct store_op *op;        /* borrowed, or NULL */
    struct sim_lane *lane;      /* borrowed, or NULL */
    uint32_t process;
    unsigned flags;
    uint64_t file;
    uint64_t fence;
    uint64_t offset;
    uint64_t len;
    uint64_t cover;             /* sync: landings up to this serial are covered */
    uint8_t *data;              /* owned, or NULL: op->buf */
    int error;                  /* it is going to fail with this, or 0 */
    struct sim_flight *next;    /* free ones */
};

struct sim_plan {               /* a one-shot fault */
    enum sim_call call;
    uint64_t file;
    unsigned nth;
    int error;                  /* 0: hang */
};

/* What a planned crash does with the call that it falls on. */
enum sim_doom { SIM_LIVES, SIM_DIES_BEFORE, SIM_DIES_WITHIN };

struct sim {
    struct clock clock;
    struct rng rng;
    uint64_t now_us;
    bool cut;
    struct sim_options options;
    unsigned bugs;

    struct sim_files files;
    struct sim_files pool;
    struct sim_files ghosts;
    struct sim_small *small;            /* owned array */
    size_t n_small;
    struct sim_lock *locks;             /* owned array */
    size_t n_locks;
    uint64_t used_bytes;                /* room of files and pool */

    struct list stores;
    uint32_t last_process;
    struct sim_flight **heap;           /* by (time_us, serial) */
    size_t n_heap;
    size_t max_heap;
    struct sim_flight *free_flights;
    uint64_t last_flight;
    uint64_t last_landing;

    uint64_t calls;
    uint64_t cut_call;                  /* 0: not planned */
    uint64_t cut_time_us;
    enum sim_doom doom;                 /* of the call under way */
    enum sim_call doom_call;            /* SIM_NO_CALL outside one */
    struct sim_store *doom_store;       /* NULL: all, the power is cut */
    struct sim_census *census;          /* borrowed, or NULL */
    uint64_t situations;                /* bits, by index in the census */

    struct sim_plan plans[SIM_PLANS];
    unsigned n_plans;
    struct sim_stats stats;
    uint64_t trace;
    char misuse[160];
};

struct sim_store {
    struct store base;
    struct clock clock;
    struct sim *sim;            /* borrowed */
    uint32_t process;
    unsigned flags;
    bool dead;
    uint64_t died_us;
    uint64_t after_us;          /* its own time since */
    int64_t skew_us;
    uint64_t kill_call;         /* 0: not planned */
    uint64_t completions;       /* delivered to any of its lanes */
    struct list lanes;
    struct list node;           /* in sim->stores */
};

struct sim_lane {
    struct store_lane base;
    struct list queued;         /* priv[0] of an op is its flight */
    struct list done;
    struct list node;           /* in the store's lanes */
    unsigned in_flight;
    bool woken;
};

static inline struct sim_store *sim_store_of(struct store *s)
{
    return container_of(s, struct sim_store, base);
}

/* ---- sim.c ---- */

void *sim_alloc(size_t size);           /* zeroed; aborts rather than fail */
void *sim_grow(void *array, size_t *max, size_t wanted, size_t size);
void sim_trace_add(struct sim *sim, uint64_t value);
void sim_note_misuse(struct sim *sim, const char *what, uint64_t file);

/* ---- sim_lane.c ---- */

struct store_lane *sim_lane_new(struct store *base);
void sim_lane_free(struct store_lane *base);
int sim_lane_fd(struct store_lane *lane);
void sim_submit(struct store_lane *base, struct store_op *op);
void sim_kick(struct store_lane *base);
int sim_collect(struct store_lane *base, struct list *done);
int sim_wait(struct store_lane *base, int64_t timeout_us);
void sim_wake(struct store_lane *base);

void sim_push(struct sim *sim, struct sim_flight *f);
void sim_rebuild_heap(struct sim *sim);         /* after its times were changed */
struct sim_flight *sim_flight_new(struct sim *sim);
void sim_flight_free(struct sim *sim, struct sim_flight *f);
void sim_deliver(struct sim *sim, struct sim_flight *f, int res);
bool sim_next(struct sim *sim, uint64_t limit_us);
void sim_lane_start(struct sim_lane *lane);
uint64_t sim_delay(struct sim *sim, enum sim_call call);

/* ---- sim_file.c ---- */

struct sim_file *sim_file_new(uint64_t id);
void sim_file_free(struct sim_file *f);
struct sim_file *sim_file_copy(const struct sim_file *f);
struct sim_file *sim_find(const struct sim *sim, uint64_t id);
size_t sim_position(const struct sim *sim, uint64_t id);   /* first file >= ID */
void sim_files_push(struct sim_files *l, struct sim_file *f);
struct sim_file *sim_files_take(struct sim_files *l, size_t i);
void sim_insert(struct sim *sim, struct sim_file *f);      /* gives it its name */
struct sim_file *sim_detach(struct sim *sim, uint64_t id);

size_t sim_file_read(const struct sim_file *f, uint64_t offset, void *buf, size_t len);
void sim_file_write(struct sim_file *f, uint64_t offset, const void *buf, size_t len);
void sim_file_cut(struct sim_file *f, uint64_t len);
void sim_file_settle(struct sim_file *f);                  /* all of it is durable */

struct sim_tear sim_tear_make(struct rng *rng, uint64_t sectors);
void sim_land(struct sim *sim, struct sim_file *f, uint64_t offset, const void *buf,
              size_t len, bool durable);
void sim_land_torn(struct sim *sim, struct sim_file *f, uint64_t offset,
                   const void *buf, size_t len, bool durable);
void sim_file_sync(struct sim *sim, struct sim_file *f, uint32_t process,
                   uint64_t cover);
void sim_file_sync_failed(struct sim *sim, struct sim_file *f, uint32_t process,
                          uint64_t cover);

/* How one power cut treats what is not durable. */
struct sim_mood {
    enum { SIM_EACH, SIM_KEEP_ALL, SIM_LOSE_ALL, SIM_IN_ORDER } kind;
    uint64_t last;              /* SIM_IN_ORDER: landings up to this one stay */
};

void sim_file_lose(struct sim *sim, struct sim_file *f, const struct sim_mood *mood);

/* ---- sim_op.c ---- */

void sim_submit_check(struct sim_store *s, struct sim_flight *f);
int sim_perform(struct sim *sim, struct sim_flight *f);
int sim_create_file(struct sim *sim, uint64_t id, uint64_t size, uint32_t process);
void sim_remove_file(struct sim *sim, uint64_t id, uint32_t process);
void sim_orphan_lands(struct sim *sim, struct sim_flight *f);
/* An append that will not complete leaves some of its bytes, or none. */
void sim_append_tears(struct sim *sim, const struct sim_flight *f, bool durable);

/* ---- sim_plain.c ---- */

int sim_list(struct store *base, uint64_t kind, uint64_t from, store_list_fn fn,
             void *opaque);
int sim_highest(struct store *base, uint64_t kind, uint64_t *ret_file);
int sim_recover(struct store *base, uint64_t file, uint64_t *ret_len);
int sim_get(struct store *base, const char *name, void *buf, size_t size);
int sim_put(struct store *base, const char *name, const void *buf, size_t len);
int sim_holder_alive(struct store *base);
int sim_enlist(struct store *base, uint64_t epoch);
void sim_resign(struct store *base);
int sim_stat(struct store *base, struct store_stat *ret);
int sim_destroy(struct store *base);
void sim_unlock(struct sim *sim, uint32_t process, bool remove);

/* ---- sim_crash.c ---- */

enum sim_doom sim_count(struct sim_store *s, enum sim_call call);
void sim_crash_now(struct sim *sim);    /* the planned one, of sim_count() */
void sim_cut_power(struct sim *sim, enum sim_call call);

/* ---- sim_fault.c ---- */

/* The error that this call is going to have, or 0; *RET_HANG for operations. */
int sim_pick_fault(struct sim *sim, enum sim_call call, uint64_t file, bool *ret_hang);
unsigned sim_release_lane(struct sim *sim, const struct sim_lane *lane); /* NULL: all */

#endif
