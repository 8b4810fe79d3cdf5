/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rescue.h - opening what remains of a damaged volume, for reading (docs/design.md,
 * "Rescue"), and what the engine asks of it later.
 *
 * What is lost shows in the map of the volume: blocks have a place that is not valid, or
 * are under a page that is known to be lost.  So look-ups and reads are those of every
 * volume; only where one of them finds no page or no segment it asks here, inside the
 * monitor.
 */
#ifndef HLFS_VOLUME_RESCUE_H
#define HLFS_VOLUME_RESCUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "log/format.h"

struct hlfs;
struct rescue;
struct store;

/*
 * The identity of the volume in S, from its segments where the file is not to be used;
 * what stands in for it is told to HOOK.  Blocks.  Sentence.
 */
int rescue_identity(struct store *s, const struct log_hook *hook, struct identity *ret);

/*
 * Fill V, which is new, with what can be found: v->rescue, the map, size and facts.  What
 * is lost is told to the log hook.  0 or an error with a sentence: -ENOENT (no segment),
 * -EIO and others of the store, -ENOTSUP, -ESTALE (a writer is at work: try again).
 */
int rescue_open(struct hlfs *v);
void rescue_free(struct rescue *r);     /* NULL is fine */

/* How many losses of content were told, or found by reads. */
uint64_t rescue_losses(const struct rescue *r);

/* A read found bytes that are lost, which nobody has told of. */
void rescue_read_lost(struct rescue *r);

/* Was segment FILE missing when the volume was opened? */
bool rescue_lacks(const struct rescue *r, uint64_t file);

/* Is the page of the map at PLACE lost?  Then blocks *RET_FIRST to *RET_LAST that no layer
 * has are. */
bool rescue_page_lost(const struct rescue *r, struct place place, uint64_t *ret_first,
                      uint64_t *ret_last);

#endif
