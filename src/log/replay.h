/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replay.h - reading a log back: find the newest state that the log tells of.
 *
 * Blocking code, for open, check and dump, when nobody waits for requests; it writes
 * nothing.  The rules are those of docs/format.md 7:
 *
 *   REPLAY-1  Records are taken in order of seq, without a gap.
 *   REPLAY-2  A record whose seq is not below the `cut` of a higher segment is void.
 *   REPLAY-3  Of two copies of a seq the one in the higher segment counts if it is
 *             valid, else the lower.
 *   REPLAY-4  What is missing or wrong at or below the highest `synced` found anywhere
 *             is damage.  Above it is the tail: payload is verified, the first gap ends
 *             the log.
 *   REPLAY-5  A read error is never a gap.
 */
#ifndef HLFS_LOG_REPLAY_H
#define HLFS_LOG_REPLAY_H

#include "base/error.h"
#include "log/format.h"
#include "store/store.h"

struct replay;

struct replay_segment {         /* one file of the log */
    uint64_t file;
    enum segment_state state;
    struct segment_header header;       /* if VALID */
};

/*
 * Find the newest valid header and the newest checkpoint, list the segments from FROM on
 * (0: those that the checkpoint needs) and read their headers.  With REPLAY_NEWEST_ONLY
 * only the newest header is found.  0 or an error with a sentence: -ENOENT (no segment
 * at all), -EBADMSG, -ENOTSUP, -ESTALE (a segment went away while reading).
 */
#define REPLAY_NEWEST_ONLY STORE_SEGNO_MAX
int replay_new(struct store *s, struct store_lane *lane, const uint8_t *uuid,
               uint32_t block_bytes, bool read_only, uint64_t from,
               struct replay **ret);
void replay_free(struct replay *r);     /* NULL is fine */

/*
 * RES came of reading by what R says.  If a writer has begun a segment since, what is
 * damaged or missing may have been removed: then the result is -ESTALE, with a sentence,
 * and whoever only reads begins again.  Else it is RES.
 */
int replay_outdated(const struct replay *r, int res);

/* The highest file id seen, void ones too. */
uint64_t replay_highest(const struct replay *r);
/* The newest valid header; NULL: there is none (a volume nobody wrote to). */
const struct segment_header *replay_newest(const struct replay *r);
const struct replay_segment *replay_segments(const struct replay *r, size_t *ret_count);

/*
 * The checkpoint to begin with: the one that the newest header names, or, if that
 * cannot be read, the one before.  1: *RET and *RET_REF are set, *RET_OVERRIDES is a
 * malloc'ed array of ret->override_count.  0: there is none, replay all.
 */
int replay_checkpoint(struct replay *r, struct checkpoint *ret,
                      struct record_ref *ret_ref,
                      struct usage_override_disk **ret_overrides);

/* What replay_run() tells, record by record in order of the log. */
struct replay_ops {
    /* A negative return value ends the replay and is returned. */
    int (*entry)(void *opaque, const struct entry *e, const struct record_header *h,
                 uint64_t file, uint64_t payload_at);
    /* Instead of its entries, if not NULL: the record as a whole; ENTRIES are valid. */
    int (*record)(void *opaque, const struct record_header *h, const uint8_t *entries,
                  uint64_t file, uint64_t payload_at);
};

struct replay_result {
    uint64_t last_seq;          /* of the last record accepted */
    uint64_t synced_seq;        /* highest `synced` found */
    uint64_t time_us;           /* of the last record accepted */
    uint64_t records;
    uint32_t features_ro;       /* of all segments read */
    uint64_t first_unsynced_file;   /* lowest file that may hold what is not synced */
};

/*
 * Replay from record FROM_SEQ on.  -EBADMSG: damage, the sentence names the place.
 */
int replay_run(struct replay *r, uint64_t from_seq, const struct replay_ops *ops,
               void *opaque, struct replay_result *ret);

#ifdef HLFS_PLANT_BUGS
enum replay_bug {
    REPLAY_BUG_TORN_TAKEN = 1,      /* the tail's payload is not verified */
    REPLAY_BUG_CUT_IGNORED = 2,     /* void records are taken */
    REPLAY_BUG_STALE_TAKEN = 3,     /* a record with a seq that was before is taken */
};
extern unsigned replay_bugs;
#endif

#endif
