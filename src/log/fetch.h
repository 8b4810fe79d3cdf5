/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fetch.h - reading the bytes of many places at once, with their sums verified.
 *
 * Places are sorted, near ones are read together, and several reads are under way at a
 * time; the memory it takes does not depend on how many places there are.  Blocking
 * code for those for whom no request waits (check).  It knows neither map nor volume.
 * A fetch belongs to one thread at a time.
 */
#ifndef HLFS_LOG_FETCH_H
#define HLFS_LOG_FETCH_H

#include "log/place.h"
#include "store/store.h"

struct fetch;

struct fetch_item {
    uint64_t key;           /* the caller's: what this is */
    struct place place;
};

/*
 * Called once for each item, in no order.  RES is 0, and BYTES are the place_stored()
 * bytes, good until it returns; or -EBADMSG (they do not fit the place's sum, or the
 * file ends before them); or the error of the read.  A negative return value ends the
 * run and is returned.
 */
typedef int (*fetch_fn)(void *opaque, const struct fetch_item *item, const uint8_t *bytes,
                        int res);

/* 0 or an error of the store.  S outlives it. */
int fetch_new(struct store *s, struct fetch **ret);
void fetch_free(struct fetch *f);       /* NULL is fine */

/* Fetch N items, which it puts into another order.  0, -ENOMEM, or what FN said. */
int fetch_run(struct fetch *f, struct fetch_item *items, size_t n, fetch_fn fn,
              void *opaque);

#endif
