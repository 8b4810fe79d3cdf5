/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * usage.h - how many bytes of each segment are live, and which segments may go.
 *
 * The counts are exact as of the newest durable checkpoint; what a checkpoint under
 * way changes is kept apart until it is durable (usage_commit) or given up
 * (usage_abort).  Every existing segment has an entry.  Everything here runs inside
 * the volume monitor.
 *
 *   USAGE-1  live + delta >= 0 for every file.
 *   USAGE-2  A file is doomed only when it was dead as of a durable checkpoint that
 *            needs none of its records (DESIGN 7); it goes only when a durable
 *            header names that checkpoint or a later one.
 *   USAGE-3  The key of a file leaves the tree only after the file is gone: until then
 *            whoever opens the volume finds it dead again.
 */
#ifndef HLFS_CLEANER_USAGE_H
#define HLFS_CLEANER_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/place.h"

struct usage;

struct usage *usage_new(void);          /* NULL: out of memory */
void usage_free(struct usage *u);       /* NULL is fine */

/* Can these numbers, from a store, be those of a segment? */
bool usage_possible(uint64_t file, uint64_t size, uint64_t live);

/* FILE exists and has SIZE bytes (from a checkpoint with LIVE bytes, or new).
 * -EBADMSG: not possible. */
int usage_load(struct usage *u, uint64_t file, uint64_t size, uint64_t live);
int usage_add_segment(struct usage *u, uint64_t file, uint64_t size);
/* FILE has LIVE bytes, whatever the tree says (it may be new): see usage_overrides(). */
int usage_override(struct usage *u, uint64_t file, uint64_t live);
/* Is FILE known? */
bool usage_has(const struct usage *u, uint64_t file);

/* BYTES of FILE are, or are no longer, live in the checkpoint under way.  Never
 * fails: a file that is not known is counted in usage_strays(). */
void usage_add(struct usage *u, uint64_t file, uint32_t bytes);
void usage_sub(struct usage *u, uint64_t file, uint32_t bytes);
uint64_t usage_strays(const struct usage *u);

/*
 * The checkpoint under way is going to write these values: for each file that changed
 * (RET[i].value is a hole: its key goes), ascending.  malloc'ed; the caller frees.
 */
struct tree_update;
int usage_updates(struct usage *u, struct tree_update **ret, size_t *ret_count);
/* What changed after usage_updates() was called (by the pages of the usage tree
 * itself): up to MAX files and their live bytes.  -E2BIG: more. */
struct usage_override {
    uint64_t file;
    uint64_t live_bytes;
};
int usage_overrides(struct usage *u, struct usage_override *ret, size_t max,
                    size_t *ret_count);

/* The checkpoint with record SEQ in file RECORD_FILE is durable; it needs no record
 * of a file below REPLAY_FILE. */
void usage_commit(struct usage *u, uint64_t seq, uint64_t record_file,
                  uint64_t replay_file);
void usage_abort(struct usage *u);

/* The same of what usage_load() told, for who opens the volume with that checkpoint. */
void usage_doom(struct usage *u, uint64_t seq, uint64_t record_file, uint64_t replay_file);

/* A durable header names the checkpoint of record SEQ: the next file that may be
 * removed, or 0.  When it is gone usage_removed() is called, and its key goes with the
 * next checkpoint (USAGE-3). */
uint64_t usage_take_doomed(struct usage *u, uint64_t seq);
void usage_removed(struct usage *u, uint64_t file);
bool usage_has_doomed(const struct usage *u);
/* Dead and not yet doomed: the replay may need them, until the next checkpoint. */
size_t usage_dead_segments(const struct usage *u);

uint64_t usage_live_bytes(const struct usage *u);       /* of all, as committed */
uint64_t usage_future_bytes(const struct usage *u);     /* with the one under way */
uint64_t usage_segment_bytes(const struct usage *u);    /* sizes of all */
size_t usage_segments(const struct usage *u);
uint64_t usage_get(const struct usage *u, uint64_t file);

#endif
