/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log_private.h - what the files of the log share: log.c (records), log_segment.c
 * (segments), log_sync.c (durability).  Owner of everything: the volume monitor.
 */
#ifndef HLFS_LOG_LOG_PRIVATE_H
#define HLFS_LOG_LOG_PRIVATE_H

#include "log/log.h"

#define RECORD_HEAD_BYTES 4096u     /* of our records: 201 scattered blocks fit */
/* In a footer, of one of our records. */
#define FOOTER_ITEM_MAX ((uint32_t)sizeof(struct footer_item_disk) + RECORD_HEAD_BYTES)
#define APPENDS_MAX 8               /* records in flight */
#define SYSTEM_BUFFERS 6            /* record buffers that guests may not use */
#define MARK_AFTER_US 100000        /* DESIGN 4: a mark follows a sync */
#define FENCE_EVERY_US 2000000      /* DESIGN 4: looked at every 2 s */
#define LOOK_FRESH_US 5000000       /* a look is older where this process was stopped */
#define RETRY_EVERY_US 250000       /* a create or append that failed: try again */
#define MOVES_DOUBLE_MAX 6          /* that time doubles with each move in vain, to 16 s */

enum record_state { RECORD_OPEN, RECORD_FILLED, RECORD_IN_FLIGHT, RECORD_WRITTEN };

struct record {
    struct log *log;
    struct segment *segment;        /* where it goes */
    uint64_t offset;
    uint64_t seq;
    enum record_state state;
    bool unplaced;                  /* FILLED: waits for its place in a new segment */
    bool last_is_data;
    bool mark;                      /* nothing but a mark */
    unsigned fillers;               /* reservations not yet committed */
    uint8_t *buf;                   /* RECORD_HEAD_BYTES, then payload */
    uint32_t payload_max;           /* what the segment has room for */
    uint32_t payload_used;
    uint32_t entry_used;
    uint32_t entry_reserved;        /* by reservations not yet committed */
    uint32_t entry_count;
    uint32_t last_data;             /* offset in buf of the last entry, if DATA */
    struct store_op op;
    uint16_t crc_at[];              /* by 4 KiB of payload: offset in buf of its sum, or 0 */
};

enum segment_phase {
    SEGMENT_CREATING,
    SEGMENT_STANDBY,        /* exists, without a header */
    SEGMENT_ACTIVE,         /* records go here */
    SEGMENT_FULL,           /* no further records; the footer follows */
    SEGMENT_SEALED,         /* the footer is on its way or written */
};

struct segment {
    struct list node;               /* in log->segments, by file */
    struct log *log;
    enum segment_phase phase;
    uint64_t file;
    uint64_t size;
    uint64_t end;                   /* where the next record goes */
    struct segment_header header;
    uint32_t seed;
    bool broken;                    /* an append or sync failed: nothing more here */
    bool header_submitted, header_written;  /* written means durable */
    bool seal_submitted;
    unsigned in_flight;             /* operations on it */
    unsigned records;               /* kept in memory that stand in it */
    unsigned unsubmitted;           /* of them, not yet handed to the store */
    uint8_t *header_buf;            /* owned */
    uint8_t *footer;                /* header and items so far, owned; NULL: none */
    uint32_t footer_used, footer_size, footer_records;
    uint32_t footer_bound;          /* what it can come to, with all records given out */
    uint64_t footer_first, footer_last;
    struct store_op op;             /* create, then header */
    struct store_op footer_op, seal_op;
};

struct log {
    struct log_params p;
    const struct log_client *client;
    void *opaque;

    struct record **ring;           /* records kept, at seq % ring_size; LOG-1 */
    uint64_t ring_size;             /* a power of two */
    uint64_t submit_seq;            /* the next record to hand to the store */
    struct record *open;            /* the newest of them, or NULL */
    struct list segments;           /* struct segment, by file; those still needed */
    struct segment *active;         /* NULL between two segments */
    struct segment *standby;        /* STANDBY or CREATING, or NULL */
    uint64_t created_file;          /* the highest that we created or tried to */
    bool create_again;              /* it was tried, with unknown outcome */
    uint64_t doubt_since_us;        /* since when that is so */
    uint64_t create_look;           /* number of the look that comes before; 0: none yet */
    uint64_t newest_file;           /* the highest whose header was submitted */

    uint64_t next_seq;
    uint64_t last_content_seq;      /* of the last record that is not a mark */
    uint64_t synced_seq;
    uint64_t marked_seq;            /* synced_seq that the last mark or record told */
    uint64_t time_us;

    struct list waiters;            /* struct log_waiter */
    uint64_t wanted_seq;            /* somebody, or we, want this durable */
    bool syncing;                   /* one sync round at a time */
    uint64_t sync_target;           /* of the round */
    uint64_t sync_seq;              /* the round has come so far */
    struct segment *sync_segment;
    struct store_op sync_op;
    struct store_op fence_op;
    bool fence_in_flight, look_failed;
    uint64_t looks_wanted, looks_begun, looks_done;     /* numbers of looks */
    bool hold_answers;              /* a create's outcome is open: LOG-2 */
    bool header_told;               /* client->header_synced() knows it */
    bool header_looked;             /* a look has begun since it is durable */
    struct record_ref header_checkpoint;    /* of the header written last */
    uint64_t look_began_us;         /* the one in flight */
    uint64_t looked_us;             /* when the last one began that found nobody */
    uint64_t fence_checked_us, last_sync_us, last_request_us;

    unsigned appends;               /* record appends in flight */
    unsigned ops;                   /* all store ops in flight */
    bool submitted;                 /* since the last log_pump() returned */
    bool progress;                  /* something was done: call client->room() */
    bool roll_wanted;
    bool moving;                    /* a segment broke: records wait to move */
    bool unplaced;                  /* some have been taken off their segments */
    uint64_t move_cut;              /* while unplaced: see cut_of_move() */
    uint64_t take_over_cut;         /* what every header carries until one is durable */
    bool stopping;
    bool resting;                   /* no segment is open for writing, until a request */
    int break_error;                /* why the last segment broke */
    uint64_t moved_seq;             /* synced_seq when records were last moved */
    unsigned moves_in_vain;         /* since then, up to MOVES_DOUBLE_MAX */
    bool move_looked;               /* for another writer, since then */
    uint64_t move_us;               /* not again before, if it is still that */
    bool create_wait;               /* the last create failed; after retry_us */
    uint64_t retry_us;

    int error;                      /* 0, or what keeps the log from going on */
    uint64_t error_since_us;
    uint64_t store_free;            /* bytes, as of the last look */
    uint64_t reserve_bytes;

    uint8_t *arena;                 /* record buffers, owned */
    size_t arena_bytes, buffer_bytes;
    struct record **pool;           /* owned; the first pool_count are not in use */
    unsigned pool_size, pool_count;

    struct record_ref checkpoint;
    struct record_ref footer;       /* of the last sealed segment */
    struct log_stat stat;
};

/* log.c */
static inline struct record *log_record(const struct log *l, uint64_t seq)
{
    return l->ring[seq & (l->ring_size - 1)];
}
bool record_close_open(struct log *l);
void record_release(struct record *r);
void log_submit(struct log *l, struct store_op *op);
uint64_t log_now(const struct log *l);
void log_set_error(struct log *l, int error);
void log_clear_error(struct log *l);
void log_fence(struct log *l);

/* log_segment.c */
struct segment *segment_new(struct log *l, uint64_t file, uint64_t size,
                            enum segment_phase phase);
void segment_free(struct segment *s);       /* NULL is fine */
uint32_t segment_room(const struct segment *s);
/* One to go on in, when it is wanted. */
bool segment_is_at_hand(const struct log *l);
bool segment_is_being_made(const struct log *l);
int segment_ensure(struct log *l, uint32_t payload);
void segment_note_record(struct segment *s, const struct record *r);
void segment_break(struct segment *s, int error);
void segment_entries_moved(struct log *l, struct record *r, uint64_t from_file,
                           uint64_t from_payload);
void segment_pump(struct log *l);
void segment_move(struct log *l);
void segment_standby(struct log *l);
bool segment_end(struct log *l);
void segment_rest(struct log *l);

/* log_sync.c */
void sync_pump(struct log *l);
bool sync_wants_durable(const struct log *l, const struct record *r);
void sync_reached(struct log *l, uint64_t seq);
void sync_recovered(struct log *l);
void sync_answer(struct log *l);
void sync_tell_header(struct log *l);
uint64_t sync_fence_file(const struct log *l);
void sync_look(struct log *l);
void sync_look_wanted(struct log *l);

#endif
