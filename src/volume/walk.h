/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * walk.h - going through a whole tree of a checkpoint on a store, by key.
 *
 * Blocking code for those who look at a volume that may be damaged: pages that cannot be
 * used are told and passed over.  The pages below one page are read together; the memory
 * it takes is a megabyte for each level of the tree.  It keeps nothing, and knows neither
 * a page cache nor what a value means.  Used by check and rescue; one thread.
 */
#ifndef HLFS_VOLUME_WALK_H
#define HLFS_VOLUME_WALK_H

#include "log/fetch.h"
#include "log/format.h"
#include "map/page.h"

struct walk_page {
    struct place place;
    enum tree_id tree;
    unsigned level;
    uint64_t first, last;       /* keys that may be below it */
};

struct walk;

struct walk_ops {
    /* False: PAGE is not read, and all below it is passed over.  NULL: all are read. */
    bool (*wanted)(struct walk *w, const struct walk_page *page);
    /* PAGE was read, and is what its parent says.  May be NULL. */
    void (*good)(struct walk *w, const struct walk_page *page);
    /* PAGE cannot be used, in words: WHY.  RES is what the fetch said, 0 if the bytes fit
     * the sum.  A negative return value ends the walk and is returned. */
    int (*bad)(struct walk *w, const struct walk_page *page, int res, const char *why);
    /* An entry of a leaf; the return value as above. */
    int (*value)(struct walk *w, uint64_t key, struct place value);
};

struct walk {
    const struct walk_ops *ops;
    struct fetch *fetch;        /* borrowed */
    enum tree_id tree;
    uint64_t from;              /* lower keys are passed over; value() may raise it */
};

/* The tree at ROOT, which may be empty.  0, -ENOMEM, or what a function said. */
int walk_run(struct walk *w, const struct root_ref *root);

#endif
