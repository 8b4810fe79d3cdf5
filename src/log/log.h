/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log.h - the writing end of the log: records, segments, group commit.
 *
 * The log takes entries and payload into the *open* record, hands full records to
 * the store (several at a time), makes them durable when somebody waits for it, and
 * rolls from segment to segment.  It keeps every record in memory until it is
 * durable, so that a segment that fails costs nothing: its records move to a new one.
 * It knows no map and no volume; what these must hear it says through log_client.
 * Used by volume/ (and later cleaner/).  Everything runs inside the volume monitor
 * and never blocks; store operations go out on the log's lane (see log_pump()).
 *
 * The life of a record:
 *
 *   OPEN --full, or a flush--> FILLED --in order, window--> IN_FLIGHT --> WRITTEN
 *     |                          ^                              |            | sync
 *     +- reserve/commit          +------ segment broken --------+            v
 *                                                                         (freed)
 *
 *   LOG-1  synced_seq < seq of every record kept <= next_seq - 1; seqs have no gap.
 *   LOG-2  A waiter is answered with success only when synced_seq >= its target and
 *          the segment number after ours was seen absent since.
 *   LOG-3  Once fenced (error == -ESTALE) nothing is appended any more.
 *   LOG-4  Records are handed to the store in order of seq, a segment's header before
 *          its first record, its footer after its last.
 *   LOG-5  A header names only a synced checkpoint.
 *   LOG-6  client->header_synced() is called only when the header is durable and the
 *          number after ours was seen absent since (as LOG-2).
 *   LOG-7  Until a header of ours is durable, each one that is handed to the store cuts
 *          where take-over ended, even if the first segment broke and records moved: a
 *          stale record of an earlier writer must not stand in for a torn one.  And no
 *          other is on its way then but those of broken segments: the cut would void
 *          the records of the first.
 */
#ifndef HLFS_LOG_LOG_H
#define HLFS_LOG_LOG_H

#include "base/error.h"
#include "log/format.h"
#include "store/store.h"

struct log;
struct record;

struct log_client {
    /* Records became durable, or a segment came: who waits for room may try again. */
    void (*room)(void *opaque);
    /* A block of a record not yet durable stands elsewhere now. */
    void (*block_moved)(void *opaque, uint64_t block, struct place from,
                        struct place to);
    /* A page not yet durable has moved: the checkpoint that wrote it must go. */
    void (*page_moved)(void *opaque, struct place from);
    /* A segment header that names CHECKPOINT is durable. */
    void (*header_synced)(void *opaque, const struct record_ref *checkpoint);
    /* FILE was made ahead of time and will hold nothing: it may go when a header of a
     * higher one is durable. */
    void (*segment_void)(void *opaque, uint64_t file);
    /* FILE is a segment of ours from now on, of SIZE bytes. */
    void (*segment_added)(void *opaque, uint64_t file, uint64_t size);
    /* Fenced: nothing can be written any more. */
    void (*fenced)(void *opaque);
};

struct log_params {
    struct store *store;            /* borrowed */
    struct store_lane *lane;        /* borrowed; the log's appends and syncs */
    const struct log_client *client;
    void *opaque;
    const struct log_hook *hook;
    const char *name;               /* of the volume, for messages; borrowed */
    const struct clock *clock;
    uint8_t uuid[UUID_BYTES];
    uint32_t block_bytes;
    size_t dirty_bytes;             /* limit of bytes not yet durable */
    uint64_t epoch;                 /* the number voted with: our first segment */
    uint64_t segment_bytes;         /* of it */
    uint64_t next_seq;              /* of the first record: all below are durable, or */
    uint64_t cut;                   /* the accepted tail + 1: [next_seq, cut) is appended
                                     * again by log_copy() */
    uint64_t time_us;               /* of the newest record so far */
    struct record_ref checkpoint;   /* the newest synced one */
    uint64_t since_us;
    uint64_t unfinished_us;         /* what the headers say; see log_finish() */
    uint64_t unreachable_us;        /* how long a failing store is waited for */
    char durability[16];
    char host[64];
    uint32_t pid;
    /* The size for the next segment. */
    uint64_t (*segment_size)(void *opaque);
};

/* Segment EPOCH exists already (the vote); its header is written with the first
 * record.  NULL: out of memory. */
struct log *log_new(const struct log_params *p);
/* Nothing is in flight (see log_idle).  NULL is fine. */
void log_free(struct log *l);

/* ---- Writing -------------------------------------------------------------- */

enum log_class {
    LOG_GUEST,      /* stays below the dirty limit, leaves the space reserve alone */
    LOG_SYSTEM,     /* discards, pages, checkpoints: may use both reserves */
};

/* Room in the open record, between log_reserve() and log_commit() or log_cancel(). */
struct log_space {
    struct record *record;
    uint8_t *payload;           /* where the payload goes */
    uint32_t payload_offset;    /* in the record's payload, bytes */
    uint32_t payload_bytes;
    uint32_t entry_max;         /* bytes of entries reserved */
};

#define LOG_PAYLOAD_MAX MIB(1)  /* of a reservation, plus two blocks */
#define LOG_ENTRIES_MAX 4000u   /* bytes of entries of one reservation */

/*
 * Make room for PAYLOAD bytes (a multiple of 512) and entries of at most ENTRY
 * bytes.  The record cannot leave until it is committed or cancelled: do that soon.
 * -EAGAIN: not now, client->room() will say when.  -ENOSPC: the store is full.
 * -ESTALE: fenced.
 */
int log_reserve(struct log *l, enum log_class class, uint32_t payload, uint32_t entry,
                struct log_space *ret);

/*
 * Where byte AT of the reserved payload stands; ask inside the turn that adds the
 * entry (a segment that breaks meanwhile moves it).
 */
struct place log_place(const struct log_space *s, uint32_t at, uint32_t stored,
                       uint32_t crc);

/* Add entries; the order of these calls is the order of the log. */
void log_add_data(struct log *l, const struct log_space *s, uint64_t block,
                  uint32_t count, uint32_t payload_at, const uint32_t *crc);
void log_add_hole(struct log *l, const struct log_space *s, uint64_t block,
                  uint64_t count, bool discard);
void log_add_resize(struct log *l, const struct log_space *s, uint64_t size);
void log_add_page(struct log *l, const struct log_space *s, uint32_t crc, uint8_t tree,
                  uint8_t level);
void log_add_checkpoint(struct log *l, const struct log_space *s,
                        const struct checkpoint *c);
void log_commit(struct log *l, const struct log_space *s);
/* Before the commit: only the first USED bytes of the payload are needed. */
void log_trim(struct log *l, const struct log_space *s, uint32_t used);
/* As if it had not been; its payload stays a gap that nobody names. */
void log_cancel(struct log *l, const struct log_space *s);

/*
 * Before anything else is written: the next record of the tail that open accepted, with
 * ENTRY_BYTES of entries (valid ones) and PAYLOAD_BYTES of payload, which stood at
 * FROM_PAYLOAD in FROM_FILE; its blocks move along.  It keeps its seq.  -EAGAIN: no room
 * now.  -EMSGSIZE: none of our records can hold it.
 */
int log_copy(struct log *l, const void *entries, uint32_t entry_bytes,
             uint32_t entry_count, const void *payload, uint32_t payload_bytes,
             uint64_t from_file, uint64_t from_payload);

/*
 * The bytes of PLACE if they are still in memory, else NULL.  *RET_CRC, if in the open
 * record and not being filled by others: where the sum of the block at PLACE stands
 * in its entry, so that an overwrite can be made in place; else NULL.
 */
uint8_t *log_memory(struct log *l, struct place place, le32_t **ret_crc);

/* The seq that what was committed last stands in; 0: nothing yet. */
uint64_t log_last_seq(const struct log *l);
uint64_t log_synced_seq(const struct log *l);
/* The first record that may still take entries (it is open, or a reservation is not
 * committed), else the next one; no lower file than *RET_FILE will have it. */
uint64_t log_unfinished_seq(const struct log *l, uint64_t *ret_file);
uint64_t log_next_seq(const struct log *l);     /* of the next record to be opened */

/* Close the open record now, so that what comes next stands in another one. */
void log_close_record(struct log *l);

/* ---- Durability ----------------------------------------------------------- */

struct log_waiter {
    uint64_t target;        /* a seq */
    uint64_t look;          /* the look for other writers that must have ended; 0: none */
    /* 0: durable.  -ENOSPC, -EIO: not now, the data stays in memory and a later
     * flush tries again.  -ESTALE.  Called once, from log_pump(). */
    void (*done)(struct log_waiter *w, int res);
    struct list node;
};

/*
 * Wait until TARGET (log_last_seq(), say) is durable.  Returns 1 if it is already
 * (done() is not called), 0, or -ESTALE.
 */
int log_wait(struct log *l, struct log_waiter *w, uint64_t target);
/*
 * A guest's flush: wait for all that was committed.  Where that is durable already, it
 * still is answered only after a look for other writers: no flush that was submitted
 * after a take-over is acknowledged.  0 or -ESTALE.
 */
int log_flush(struct log *l, struct log_waiter *w);
/*
 * Wait for a look for other writers that begins now: -ESTALE if there is one, 0 if there
 * was none; another error: not known.  Returns 0 or (done() is not called) -ESTALE.
 */
int log_look(struct log *l, struct log_waiter *w);

/* The newest synced checkpoint, for the next segment's header (LOG-5). */
void log_set_checkpoint(struct log *l, const struct record_ref *checkpoint);
/* Where the record of SEQ, not yet durable, stands. */
bool log_find_record(const struct log *l, uint64_t seq, struct record_ref *ret);

/* Is a header of ours durable, so that what was not accepted is void for ever? */
bool log_begun(const struct log *l);
/* Has log_copy() not come to the end of the accepted tail?  Nothing else is written. */
bool log_tail_pending(const struct log *l);

/* The highest segment whose header has been submitted; 0: none yet. */
uint64_t log_newest_file(const struct log *l);
/* Go on in a new segment as soon as there is one, so that its header is written.  False:
 * on a full store there is none. */
bool log_roll(struct log *l);
/* The volume's content is whole: the headers that are handed to the store from now on say
 * so. */
void log_finish(struct log *l);

/* ---- Driving -------------------------------------------------------------- */

/*
 * Do all that can be done now: submit, sync, roll, answer.  Called at the end of
 * every turn in which something above was called or an op of the lane was done.
 * True if it submitted operations (kick the lane).
 */
bool log_pump(struct log *l);
/* Is there anything to do?  (A write that just fills the open record needs no pump.) */
bool log_wants_pump(const struct log *l);

/* What time does: marks, fence checks, retries.  Returns the next time it wants to
 * be called (monotonic, microseconds). */
uint64_t log_tick(struct log *l, uint64_t now_us);

/* A mark that says what is synced, at close: its seq, 0 if there is no room for it. */
uint64_t log_mark(struct log *l);

/* Stop: no more marks, standby segments or retries; when log_idle() all is over. */
void log_stop(struct log *l);
/* Give up: as if fenced, nothing more is submitted and waiters get -ESTALE. */
void log_kill(struct log *l);
bool log_idle(const struct log *l);         /* no operation is in flight */

/* Bytes the store has to keep free before a guest may write, beyond one segment:
 * what the present layers can dirty. */
void log_set_reserve(struct log *l, uint64_t bytes);
/* Room may have come back (a segment was removed). */
void log_retry(struct log *l);
/* 0, or what keeps the log from going on: -ENOSPC, -EIO, -ESTALE. */
int log_error(const struct log *l);
/* The same for guest writes: -ENOSPC, too, while only the reserve is left. */
int log_guest_error(const struct log *l);
uint64_t log_error_since_us(const struct log *l);   /* monotonic */

struct log_stat {
    uint64_t bytes_written, syncs, segments_created, segments_broken;
    uint64_t dirty_bytes;
};
void log_get_stat(const struct log *l, struct log_stat *ret);

#ifdef HLFS_PLANT_BUGS
/* Bugs that the crash tests must find (docs/hacking.md). */
enum log_bug {
    LOG_BUG_FLUSH_EARLY = 1,        /* answered before the sync */
};
extern unsigned log_bugs;
#endif

#endif
