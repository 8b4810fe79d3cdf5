/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * volume.h - the engine: a volume over a store (docs/architecture.md).
 *
 * src/hlfs.c turns the public calls into these; tests call them on a sim store.  The
 * types struct hlfs and struct hlfs_queue are the public opaque ones.  What a call
 * means is said in hlfs.h; here is what only the inside sees.
 */
#ifndef HLFS_VOLUME_VOLUME_H
#define HLFS_VOLUME_VOLUME_H

#include "hlfs.h"
#include "options.h"
#include "store/store.h"

#define VOLUME_RDONLY (1u << 0)
/* No thread of its own: who waits drives it, and volume_turn() does (sim tests). */
#define VOLUME_MANUAL (1u << 1)
/* As HLFS_UNFINISHED; created with it, the volume is so from the beginning. */
#define VOLUME_UNFINISHED (1u << 2)
/* With RDONLY: see HLFS_RESCUE. */
#define VOLUME_RESCUE (1u << 3)

/*
 * Make a volume of SIZE bytes in the empty store S, which it owns from now on (also on
 * failure).  FLAGS: not VOLUME_RDONLY.  Blocks.  Sentence.
 */
int volume_create(struct store *s, uint64_t size, unsigned flags,
                  const struct hlfs_options *o);

/* See HLFS_TRY.  Owns S from now on.  Sentence. */
int volume_try(struct store *s, const struct hlfs_options *o);

/*
 * Open the volume in S, which it owns from now on (also on failure).  Blocks.
 * Sentence.
 */
int volume_open(struct store *s, unsigned flags, const struct hlfs_options *o,
                struct hlfs **ret);
int volume_close(struct hlfs *v);
int volume_finish(struct hlfs *v);

/*
 * As after a crash: give up everything at once, write nothing.  The store is freed.
 * (Tests; and an open that failed half-way.)
 */
void volume_abandon(struct hlfs *v);

/* One step of background work, and of whatever the store has completed; waits up to
 * TIMEOUT_US for something to happen (manual volumes).  True if anything was done. */
bool volume_turn(struct hlfs *v, int64_t timeout_us);

/* Begin a checkpoint now (tests, close); the result is not waited for. */
void volume_want_checkpoint(struct hlfs *v);
bool volume_checkpoint_running(struct hlfs *v);

enum request_kind {
    REQUEST_READ, REQUEST_WRITE, REQUEST_FLUSH, REQUEST_ZERO, REQUEST_DISCARD,
    REQUEST_STATUS, REQUEST_RESIZE,
};

struct request_args {
    enum request_kind kind;
    void *buf;
    uint64_t len, offset;           /* RESIZE: offset is the new size */
    unsigned flags;
    enum hlfs_status *ret_status;
    uint64_t *ret_len;
    void *tag;
};

/* The calls of hlfs.h, one for each. */
int queue_new(struct hlfs *v, unsigned depth, struct hlfs_queue **ret);
void queue_free(struct hlfs_queue *q);
int queue_submit(struct hlfs_queue *q, const struct request_args *a);
int queue_reap(struct hlfs_queue *q, struct hlfs_completion *ret, unsigned max,
               int timeout_ms);
void queue_kick(struct hlfs_queue *q);
int queue_fd(struct hlfs_queue *q);
int volume_call(struct hlfs *v, const struct request_args *a);      /* sync */

/* Are we a child of the process that opened V? */
bool volume_forked(const struct hlfs *v);

/* The store's key. */
const char *volume_key(const struct hlfs *v);

/* What hlfs.c keeps with the volume; NULL at first. */
struct control;
void volume_set_control(struct hlfs *v, struct control *control);
struct control *volume_control(const struct hlfs *v);

/* As hlfs_set(), of an open volume; blocks, outside the monitor.  One thread at a time. */
int volume_set(struct hlfs *v, const char *key, const char *value);
int volume_set_on(struct store *s, const char *key, const char *value);

uint64_t volume_size(struct hlfs *v);
uint32_t volume_block_bytes(struct hlfs *v);
bool volume_read_only(struct hlfs *v);
int volume_info(struct hlfs *v, struct hlfs_info *ret);
int volume_counters(struct hlfs *v, struct hlfs_counters *ret);
uint64_t volume_losses(struct hlfs *v);

/* Looking inside a store without a volume: check.c, dump.c. */
int volume_check(struct store *s, unsigned flags,
                 void (*fn)(void *opaque, int error, const char *text), void *opaque,
                 struct hlfs_check_result *ret);
int volume_dump(struct store *s, void (*fn)(void *opaque, const char *line),
                void *opaque);

#ifdef HLFS_PLANT_BUGS
/* Bugs that the crash tests must find (docs/hacking.md). */
enum volume_bug {
    VOLUME_BUG_TAIL_UNSYNCED = 1,   /* open does not make the accepted tail durable */
    VOLUME_BUG_CRC_OF_BUFFER = 2,   /* sums are of the guest's buffer, not of the copy */
    VOLUME_BUG_SHRINK_KEEPS = 3,    /* what a smaller size cuts off stays in the map */
};
extern unsigned volume_bugs;
/* Called when a block has been copied from the guest's buffer FROM: what a guest may
 * do to it meanwhile. */
extern void (*volume_copied)(void *from, size_t len);
#endif

/* The identity of the volume in S, for those who do not open it.  Sentence. */
struct identity;
int volume_identity(struct store *s, struct identity *ret);

/* -EBUSY, with a sentence about who: a writer lives.  IDENTITY: NULL if unreadable. */
int volume_not_held(struct store *s, const struct identity *identity);

#endif
