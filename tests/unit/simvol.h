/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * simvol.h - a volume of known content on a simulated disk: a few segments with
 * footers, checkpoints and a tail, and what it contained after each step.
 *
 * Used by tests that damage it.  One thread, virtual time.
 */
#ifndef TEST_SIMVOL_H
#define TEST_SIMVOL_H

#include "log/format.h"
#include "store/sim.h"
#include "volume/volume.h"

#define SIMVOL_BLOCK_BYTES KIB(4)
#define SIMVOL_BYTES (KIB(320) + 512)   /* the last block is a partial one */
#define SIMVOL_SEGMENT_BYTES KIB(256)

enum simvol_end {
    SIMVOL_CLOSED,      /* in order: a checkpoint, a mark */
    SIMVOL_MARKED,      /* killed while idle: the tail is marked as synced */
    SIMVOL_FLUSHED,     /* killed right after a flush: nothing says it was synced */
    SIMVOL_DIRTY,       /* killed with writes in flight */
    SIMVOL_TAKEN_OVER,  /* as DIRTY, opened again, written, killed while idle */
    SIMVOL_ENDS,
};

struct simvol_state {
    uint64_t seq;       /* all of it is in records up to here; UINT64_MAX: not flushed */
    uint8_t *bytes;     /* owned, SIMVOL_BYTES */
};

struct simvol {
    struct sim *sim;    /* owned */
    struct identity identity;
    struct simvol_state *states;        /* by time; owned */
    size_t count;
};

/* Fails the test where something goes wrong. */
struct simvol *simvol_new(enum simvol_end end, uint64_t seed);
void simvol_free(struct simvol *s);

/* A process that opens the volume on SIM; the result of volume_open(). */
int simvol_open(struct sim *sim, unsigned flags, struct hlfs **ret);

int simvol_call(struct hlfs *v, enum request_kind kind, void *buf, uint64_t len,
                uint64_t offset);

#endif
