/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tree.h - a paged copy-on-write tree: look-up, and merging sorted updates into it.
 *
 * The tree never reads or writes by itself and never waits: a page that is not in
 * the cache makes a call return -EAGAIN with the page's place in *RET_MISSING; the
 * caller loads it (read, CRC, page_check, pagecache_add) and calls again.  New
 * pages are handed to the caller, who gives them a place in the log.  Everything
 * here runs inside the volume monitor, in steps of bounded length.
 */
#ifndef HLFS_MAP_TREE_H
#define HLFS_MAP_TREE_H

#include <stddef.h>
#include "map/page.h"
#include "map/pagecache.h"

struct tree_root {
    struct place place;     /* PLACE_HOLE: the tree is empty */
    unsigned levels;        /* 0 empty, 1 the root is a leaf, … */
};

struct tree_missing {       /* the page that a call needs */
    struct place place;
    enum tree_id tree;
    unsigned level;         /* for page_check() */
};

/*
 * Look up the keys KEY .. KEY + COUNT - 1: VALUES[i] becomes the value of KEY + i,
 * or PLACE_HOLE where there is none.  Returns how many were answered (>= 1, up to
 * the first that needs a page not in memory), or -EAGAIN with *RET_MISSING if not
 * even the first could be, or -EBADMSG (a child's key range or level is wrong).
 */
int tree_lookup(struct pagecache *c, enum tree_id tree, const struct tree_root *root,
                uint64_t key, size_t count, struct place *values,
                struct tree_missing *ret_missing);

/*
 * The first entry with a key >= KEY.  1 found, 0 none, -EAGAIN, -EBADMSG.
 */
int tree_next(struct pagecache *c, enum tree_id tree, const struct tree_root *root,
              uint64_t key, struct tree_entry *ret, struct tree_missing *ret_missing);

/* ---- Merge ---------------------------------------------------------------- */

/* One update: COUNT keys from KEY on are removed (value is a hole), or, with COUNT
 * 1, KEY gets VALUE. */
struct tree_update {
    uint64_t key;
    uint64_t count;
    struct place value;
};

struct merge_ops {
    /* The first update that has a key >= KEY, clipped to begin at KEY or later;
     * false: none.  Updates do not overlap and do not change while a merge runs.
     * May be asked again for keys it was asked for; each update is applied once. */
    bool (*next_update)(void *opaque, uint64_t key, struct tree_update *ret);

    /* A finished page: give it a place.  0, -EBUSY (no room now: the step ends with
     * -EBUSY and offers the page again), or another error, which ends the merge.
     * The merge has put nothing into the cache; the callee may. */
    int (*write_page)(void *opaque, const void *page, struct place *ret_place);

    /* A page of the old tree is not part of the new one. */
    void (*drop_page)(void *opaque, struct place place);

    /* A value came in or went out.  Both may be NULL. */
    void (*add_value)(void *opaque, uint64_t key, struct place value);
    void (*drop_value)(void *opaque, uint64_t key, struct place value);
};

struct merge;

/* Begin; nothing is touched before the first step.  CACHE and OPS outlive it. */
struct merge *merge_new(struct pagecache *cache, enum tree_id tree,
                        const struct tree_root *root, const struct merge_ops *ops,
                        void *opaque);

/* Give up, or finish: frees M (NULL is fine).  What was written is rubbish then. */
void merge_free(struct merge *m);

/*
 * Do a bounded piece of work, about one leaf page's (some 20 microseconds).
 * 1: done, *RET_ROOT is the new tree.  0: there is more.  -EAGAIN: load
 * *RET_MISSING, then step again.  -EBUSY: as write_page said.  Others: it failed.
 */
int merge_step(struct merge *m, struct tree_root *ret_root,
               struct tree_missing *ret_missing);

/*
 * Up to MAX old pages that this merge will need soon and that are not in memory, so
 * that the caller can load them ahead: leaves in order, then inner pages.  Returns how
 * many.  A hint: a page that is needed for other reasons is not among them.
 */
int merge_ahead(struct merge *m, struct tree_missing *ret, int max);

#endif
