/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * world.h - a simulated disk with a volume on it, its writers and the model that
 * watches them: what the crash tests share.
 *
 * Everything is one thread in virtual time; one seed is one schedule.  What goes wrong
 * is kept (world_failed), and everything after that does nothing, so callers need not
 * look after each step.  Knows nothing of what a test does: schedule.c draws it, the
 * programs script it.
 */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include "base/rng.h"
#include "base/util.h"
#include "model.h"
#include "options.h"
#include "store/sim.h"
#include "volume/volume.h"

#define SLOTS 8
#define REQUEST_MAX MIB(1)

struct world;

struct slot {                   /* a request under way */
    bool busy;
    enum request_kind kind;
    uint64_t id;                /* the model's */
    uint64_t offset, len;
    uint64_t began;             /* reads: model_now() */
    uint8_t *buf;               /* owned, REQUEST_MAX bytes */
};

struct writer {
    struct world *world;
    struct store *store;
    struct hlfs *v;             /* NULL: open failed */
    struct hlfs_queue *q;
    struct slot slots[SLOTS];
    bool challenged;            /* another one is taking over */
    bool stranger;              /* taken over by another: nothing of it may be seen */
    bool written;               /* as a stranger: something that a flush needs to sync */
};

struct world {
    uint64_t seed;
    struct rng rng;
    struct sim *sim;
    struct model *model;
    struct hlfs_options options;
    uint64_t bytes;             /* of the volume, at most */
    /* Its size now, and what else it may be: of a resize that was not answered, or failed.
     * What lies behind it reads as zeros, for the model. */
    uint64_t size, size_to;
    uint64_t write_max;         /* longest write */
    bool faults;                /* errors of the store are being made */
    bool exists;
    struct writer *writer;      /* the one that the model believes in, or NULL */
    uint8_t *image, *image2;    /* owned, BYTES each */
    uint64_t enospc;            /* requests that had no room */
    char failure[2048];         /* empty: none */
};

/* SIM is owned by the world from now on. */
struct world *world_new(uint64_t seed, uint64_t bytes);
void world_free(struct world *w);

__attribute__((format(printf, 2, 3)))
void world_fail(struct world *w, const char *format, ...);
bool world_failed(const struct world *w);

/* Tell on stdout what happens (HLFS_TRACE=1): for who replays a seed. */
extern bool world_trace;
__attribute__((format(printf, 2, 3)))
void world_say(const struct world *w, const char *format, ...);
void world_dump(struct world *w);       /* what the log holds */

/* The volume exists: made, however often the power is cut meanwhile. */
void world_create(struct world *w);

/*
 * Open the volume for writing as after a crash (w->writer is NULL), as often as cuts
 * and errors of the store make it fail, and check what is there against the model, and
 * what a reader sees with RO against what the writer sees.
 */
void world_recover(struct world *w, bool ro);

/* One try: 0 and w->writer, or an error.  Checks nothing. */
int world_open(struct world *w, bool force, struct writer **ret);

/* The writer ends.  abandon: as by exit without a word; close: flushes. */
void writer_abandon(struct writer *x);
int writer_close(struct writer *x);

bool writer_dead(const struct writer *x);
unsigned writer_busy(const struct writer *x);

/* Start a request; waits for a free slot (turning) if all are busy. */
void writer_submit(struct writer *x, enum request_kind kind, uint64_t offset,
                   uint64_t len, unsigned flags);
/* Give the volume another size, if none is in doubt.  At most 1 MiB less. */
void writer_resize(struct writer *x, uint64_t size);
/* Requests may end there. */
uint64_t world_limit(const struct world *w);

/* One turn of up to TIMEOUT_US, and take what is finished. */
void writer_turn(struct writer *x, int64_t timeout_us);
/* Until nothing is under way. */
void writer_settle(struct writer *x);
/* Turn for so long. */
void writer_run(struct writer *x, uint64_t us);

/* Read all W->BYTES by V, STEP bytes at once: 0, or an error. */
int world_image(struct world *w, struct hlfs *v, uint64_t step, uint8_t *image);

/* Settle, read the whole volume and check it (model_check_rest). */
void world_check_rest(struct world *w);
/* Read it as another process would now, and check that it could be so. */
void world_check_reader(struct world *w);
/* Nobody broke the store's contract. */
void world_check_misuse(struct world *w);

/* Called in every plain call and wait of a volume_open(); NULL: not. */
extern void (*world_open_hook)(struct world *w);

#endif
