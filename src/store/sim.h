/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sim.h - a simulated disk and the stores of the "processes" that use it: for tests.
 *
 * One seed is one schedule: no thread, no real time, no address and no randomness
 * but the seed's decides anything, so the same seed and the same calls give the same
 * results (sim_trace() tells).  A struct sim is the disk; it outlives the struct
 * stores opened on it, each of which stands for one process.  Everything runs in the
 * thread that calls; a sim and all its stores belong to one thread at a time.
 *
 * Time is virtual.  It moves in store_wait(), in plain calls (a fraction of a
 * millisecond each), in sim_step(), sim_run_until() and sim_power_on(), never else.
 * An operation starts with store_kick() and takes effect at one instant, its
 * completion, mostly 50 to 200 us later, sometimes up to 50 ms, in any order.
 *
 * What the disk promises is store.h and nothing beyond:
 *
 *   SIM-1  Bytes covered by a sync (or durable append) that completed stay, whatever
 *          happens, unless a bug is planted or the test damages them.
 *   SIM-2  Any others may be lost at a power cut by 512-byte sectors, in no order.
 *          What lay under them shows then: old bytes of a reused file, else zeros,
 *          else the end of the file.
 *   SIM-3  A process that is killed loses no byte that landed; what it had in flight
 *          lands wholly, partly, not, or up to `late_us_max` later.  After
 *          store_recover() of a file nothing lands in it any more.
 *   SIM-4  A name is durable once its create has completed.  A removed file may come
 *          back at a power cut; its id is not used again, so that does no harm.
 *   SIM-5  After a failed sync some of the bytes that it covered may never become
 *          durable for this process, even though a later sync of it succeeds (as Linux
 *          page caches do).  A sync by another process helps.
 *
 * Who breaks the contract (an append that is not at the end, after the seal, not
 * aligned, …) gets -EINVAL and sim_misuse() keeps the sentence: tests assert that there
 * is none.  Out of memory aborts: it is the test's, not the code's under test.
 */
#ifndef HLFS_STORE_SIM_H
#define HLFS_STORE_SIM_H

#include "store/store.h"

struct sim;

/* ---- The disk and its processes ------------------------------------------ */

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim);         /* NULL is fine; its stores are gone */

/* A copy of the disk alone, with the same time and options: no store, nothing in
 * flight.  What was not synced in SIM is not synced in the copy. */
struct sim *sim_fork(const struct sim *sim, uint64_t seed);

#define SIM_OPEN_CREATE (1u << 0)       /* -EEXIST if there is anything on the disk */
#define SIM_OPEN_READ_ONLY (1u << 1)    /* what changes anything gives -EROFS */

/* Start a process.  -ESHUTDOWN while the power is off. */
int sim_store_open(struct sim *sim, unsigned flags, struct store **ret);

/*
 * Kill the process (SIGKILL).  What it has in flight and queued completes with
 * -ESHUTDOWN, and so does every later call, at once, so that the code under test can
 * be torn down.  Its lock is free.  From then on store->clock of this store stands
 * apart: waiting on it moves its own time, not the simulation's.  Buffers in flight
 * are copied: they may be freed afterwards.
 */
void sim_kill(struct store *s);
bool sim_is_dead(const struct store *s);        /* killed, or the power was cut */

/* Cut the power: SIM-1, SIM-2; every process is dead, as by sim_kill(), and nothing is
 * left in flight. */
void sim_power_cut(struct sim *sim);
void sim_power_on(struct sim *sim);             /* a second later or more */
bool sim_is_cut(const struct sim *sim);         /* the power is off */

/* ---- Time ---------------------------------------------------------------- */

const struct clock *sim_clock(struct sim *sim);
uint64_t sim_now(const struct sim *sim);        /* monotonic, us */

/* Wall time of one process; it may be wrong, and need not grow. */
void sim_set_wall_skew(struct store *s, int64_t skew_us);

/* Move to the next event and let it happen.  False: there is none. */
bool sim_step(struct sim *sim);
void sim_run_until(struct sim *sim, uint64_t time_us);

/*
 * store_wait() on a lane of a sim store differs in three points.  It also returns,
 * with 0 and early, when something completed on another lane of the same store, so
 * that one thread can play all of a volume's.  With no time-out and nothing under way
 * it returns 0.  With no time-out and nothing but hanging operations it releases those.
 */

/* ---- Calls and planned crashes ------------------------------------------- */

/* What a call of a store is: operations keep their numbers. */
enum sim_call {
    SIM_CREATE = STORE_CREATE,
    SIM_APPEND = STORE_APPEND,
    SIM_SYNC = STORE_SYNC,
    SIM_SEAL = STORE_SEAL,
    SIM_PREAD = STORE_PREAD,
    SIM_REMOVE = STORE_REMOVE,
    SIM_PREPARE = STORE_PREPARE,
    SIM_LOOK = STORE_LOOK,
    SIM_LIST,
    SIM_HIGHEST,
    SIM_RECOVER,
    SIM_GET,
    SIM_PUT,
    SIM_HOLDER_ALIVE,
    SIM_ENLIST,
    SIM_RESIGN,
    SIM_STAT,
    SIM_DESTROY,
    SIM_NO_CALL,                /* a cut by sim_power_cut() or sim_cut_at_time() */
    SIM_CALLS,
};

const char *sim_call_name(enum sim_call call);

/* Operations submitted and plain calls made so far, by living stores; SIM_PREAD only
 * with the option count_reads. */
uint64_t sim_calls(const struct sim *sim);

/* Cut the power at call N (the first of a sim is 1): before it takes effect or with it
 * in flight.  0: not.  Happens once; set it again for another. */
void sim_cut_at(struct sim *sim, uint64_t call);
void sim_cut_at_time(struct sim *sim, uint64_t time_us);    /* UINT64_MAX: not */

/* The same, killing only this process at call N, which must be one of its own. */
void sim_kill_at(struct store *s, uint64_t call);

#define SIM_SITUATIONS 64

/* Where the power was cut, over as many sims as the test likes. */
struct sim_census {
    uint64_t cuts;
    uint64_t in_flight;                 /* of these: with the call in flight */
    uint64_t by_call[SIM_CALLS];
    unsigned situations;
    struct {
        const char *name;               /* borrowed */
        uint64_t cuts;
    } situation[SIM_SITUATIONS];
};

/* Count cuts, planned kills included, into C (borrowed), NULL: nowhere. */
void sim_set_census(struct sim *sim, struct sim_census *c);

/*
 * The workload is, or no longer is, in the situation NAME ("rollover", say): each cut
 * is counted for all situations it falls into.  Several may be on at once; a name is a
 * string that outlives the census.  Needs a census.
 */
void sim_set_situation(struct sim *sim, const char *name, bool on);
uint64_t sim_cuts_in(const struct sim_census *c, const char *name);

/* ---- Faults -------------------------------------------------------------- */

enum sim_reuse {
    SIM_REUSE_SOMETIMES,        /* every second create, if the pool has a file */
    SIM_REUSE_ALWAYS,           /* whenever the pool has one */
    SIM_REUSE_NEVER,            /* no pool */
};

/* Set at any time by sim_options(); "one in N" chances are 0 for never. */
struct sim_options {
    /*
     * Calls that fail with -EIO: the outcome is unknown.  Bytes of an append may be
     * there wholly or partly, a created file may exist, a put may have happened.
     */
    uint32_t eio_one_in[SIM_CALLS];
    uint32_t enospc_one_in[SIM_CALLS];  /* append (tail unknown), create, prepare, put */
    uint32_t stall_one_in[SIM_CALLS];   /* operations that take up to stall_us_max */
    uint64_t stall_us_max;              /* 3 s */
    uint32_t long_one_in;               /* operations of 5-50 ms; 128 */
    bool sync_eio_keeps;                /* without SIM-5 */

    uint64_t disk_bytes;        /* room for files and pool; 0: no limit */
    bool thin;                  /* create secures no room: appends take it */
    uint32_t undo_remove_one_in;        /* removed files that a cut brings back; 4 */
    enum sim_reuse reuse;
    uint64_t late_us_max;       /* SIM-3; 500 ms */
    bool recover_only_looks;    /* store_recover() tells the length and fences nobody */
    bool count_reads;
    uint32_t append_align;      /* of stores opened from now on; 512 */
    bool tail_again;            /* the same, and the next: as of struct store */
    uint64_t idle_close_us;
};

struct sim_options *sim_options(struct sim *sim);

/* The NTH call of this kind from now on (1 is the next), of FILE unless that is 0,
 * fails with ERROR (as eio_one_in and enospc_one_in do). */
void sim_fail_nth(struct sim *sim, enum sim_call call, uint64_t file, unsigned nth,
                  int error);

/* The same operation hangs until sim_release(); a crash finds it in flight. */
void sim_hang_nth(struct sim *sim, enum sim_call call, uint64_t file, unsigned nth);
unsigned sim_release(struct sim *sim);          /* returns how many */

/* Planted bugs of a store, so that an oracle can be tested. */
enum sim_bug {
    SIM_BUG_NONE = 0,
    SIM_BUG_SYNC_SKIPPED = 1,   /* syncs succeed and make nothing durable */
    SIM_BUG_SYNC_EARLY = 2,     /* they complete 1-20 ms before they are durable */
    SIM_BUG_FENCE_IGNORED = 4,  /* STORE_FENCE is not looked at */
};

void sim_set_bug(struct sim *sim, unsigned bugs);

/* ---- Looking and damaging: durable at once, not counted, no store needed - */

/* Files that the store opened last has created and not sealed. */
unsigned sim_open_files(const struct sim *sim);
int64_t sim_file_len(const struct sim *sim, uint64_t file);     /* -ENOENT */
int64_t sim_peek(const struct sim *sim, uint64_t file, uint64_t offset, void *buf,
                 size_t len);
uint64_t sim_unsynced_bytes(const struct sim *sim, uint64_t file);

/* Write bytes; the file is made if there is none. */
void sim_poke(struct sim *sim, uint64_t file, uint64_t offset, const void *buf,
              size_t len);
int sim_corrupt(struct sim *sim, uint64_t file, uint64_t offset, uint8_t mask);
int sim_truncate(struct sim *sim, uint64_t file, uint64_t len);
int sim_unlink(struct sim *sim, uint64_t file);
int sim_copy_file(struct sim *sim, uint64_t from, uint64_t to);     /* replaces TO */

/* ---- What happened ------------------------------------------------------- */

/* What became of one write. */
enum sim_shape {
    SIM_WHOLE,
    SIM_NOTHING,
    SIM_PREFIX,                 /* the first sectors */
    SIM_SUFFIX,                 /* the last ones */
    SIM_HOLE,                   /* all but some in the middle */
    SIM_SUBSET,                 /* any */
    SIM_SHAPES,
};

struct sim_stats {
    uint64_t cut_shapes[SIM_SHAPES];    /* landed, un-synced writes at power cuts */
    uint64_t flight_shapes[SIM_SHAPES]; /* those in flight, or failed */
    uint64_t late_landings;             /* appends of the dead */
    uint64_t late_names;                /* creates and removes of the dead */
    uint64_t creates_reused;
    uint64_t creates_fresh;
    uint64_t removes_undone;
    uint64_t faults;                    /* calls that were made to fail */
    uint64_t fenced;                    /* -ESTALE given */
};

const struct sim_stats *sim_stats(const struct sim *sim);

/* A hash over everything that was called and what came of it. */
uint64_t sim_trace(const struct sim *sim);

/* The first breach of the contract, NULL: none. */
const char *sim_misuse(const struct sim *sim);

#endif
