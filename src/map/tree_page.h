/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tree_page.h - the step from a parent to its child; private to tree.c and merge.c.
 *
 * A page in the cache passed page_check() for whoever loaded it.  Here it is held
 * against what its parent says, which may be damaged itself.
 */
#ifndef HLFS_MAP_TREE_PAGE_H
#define HLFS_MAP_TREE_PAGE_H

#include "map/tree.h"

/* A child: which page, and which keys it may have (FIRST <= key <= LAST). */
struct tree_child {
    struct tree_missing want;
    uint64_t first;
    uint64_t last;
};

/* The root as a child.  -EBADMSG: it cannot be one.  It is not empty. */
int tree_child_of_root(enum tree_id tree, const struct tree_root *root,
                       struct tree_child *ret);

/* Child INDEX of the inner page PAGE, whose keys end at LAST. */
struct tree_child tree_child_of_page(const struct page *page, size_t index,
                                     uint64_t last);

/*
 * The child's page, pinned.  -EAGAIN: not in memory; *RET_MISSING says which.
 * -EBADMSG: it belongs to another tree or level, or its keys are out of range.
 */
int tree_page_get(struct pagecache *c, const struct tree_child *child,
                  struct page **ret, struct tree_missing *ret_missing);

#endif
