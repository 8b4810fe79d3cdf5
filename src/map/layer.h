/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * layer.h - what the map changed since a checkpoint: an ordered set in memory.
 *
 * Keys are block numbers.  A block is in the layer as a *data* block (a place), as
 * part of a *hole* (a range discarded or zeroed), or not at all: then the layer
 * below, in the end the tree, answers.  The layer under construction is changed
 * inside the volume monitor; a frozen one is only read, by any number of threads,
 * except for layer_move().
 *
 * It is a B+tree in memory: no rehashing, no pause, sorted for the merge, and about
 * 36 bytes a block at random, 25 in order.  Every call is O(log n) unless it says more.
 * Block numbers, and the ends of ranges, are below UINT64_MAX.
 */
#ifndef HLFS_MAP_LAYER_H
#define HLFS_MAP_LAYER_H

#include <stddef.h>
#include "log/place.h"

struct layer;

struct extent {
    uint64_t block;
    uint64_t count;         /* 1 for data */
    struct place place;     /* PLACE_HOLE for a hole */
};

struct layer *layer_new(void);          /* NULL: out of memory */

/*
 * Free up to MAX nodes of a layer that nobody uses any more; true when all is
 * gone and L with it.  (A turn in the monitor is short: a large layer takes many.)
 */
bool layer_free_some(struct layer *l, unsigned max);
void layer_free(struct layer *l);       /* at once; NULL is fine */

/* BLOCK is now at PLACE (not a hole).  -ENOMEM: nothing changed. */
int layer_set(struct layer *l, uint64_t block, struct place place);

/*
 * A hint: BLOCK will be set soon.  What layer_set() needs comes into the CPU's cache
 * meanwhile; in a large layer that is most of its time.  Call it before the copy of
 * the data, say.
 */
void layer_prefetch(const struct layer *l, uint64_t block);

/*
 * [BLOCK, BLOCK + COUNT) is now a hole.  Removes at most MAX entries (1 or more), and
 * joins holes at both ends: *RET_DONE (1 to COUNT) says how far it came; call again
 * with the rest.  -ENOMEM: nothing changed in this call.
 */
int layer_punch(struct layer *l, uint64_t block, uint64_t count, unsigned max,
                uint64_t *ret_done);

/*
 * The first extent that has a block >= BLOCK, clipped to begin at BLOCK or later;
 * false: there is none.  Holes are reported as merged as they are kept.
 */
bool layer_next(const struct layer *l, uint64_t block, struct extent *ret);

/* The place of one block: true if the layer has it (a hole gives PLACE_HOLE). */
bool layer_get(const struct layer *l, uint64_t block, struct place *ret);

/*
 * BLOCK's bytes have moved from one place to another (a broken segment): replace
 * it if the layer still has FROM for it.  Never allocates.  True if it did.
 */
bool layer_move(struct layer *l, uint64_t block, struct place from, struct place to);

size_t layer_entries(const struct layer *l);    /* data blocks + holes */
size_t layer_bytes(const struct layer *l);      /* of its nodes, exact */

#ifdef HLFS_CHECKS
void layer_check(const struct layer *l);        /* asserts every invariant; O(n) */
#endif

#endif
