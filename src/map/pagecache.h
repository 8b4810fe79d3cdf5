/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pagecache.h - tree pages in memory, by place, within a budget.
 *
 * Pages are immutable: a place names one content for ever, until its segment is
 * removed.  Everything here runs inside the volume monitor.  A page that is in use
 * is pinned and is not evicted; a pinned page is never freed under its user.
 * Eviction is CLOCK (second chance).
 */
#ifndef HLFS_MAP_PAGECACHE_H
#define HLFS_MAP_PAGECACHE_H

#include <stddef.h>
#include "log/place.h"

struct pagecache;
struct page {
    struct place place;
    void *bytes;            /* PAGE_BYTES, owned by the cache, aligned to 4096 */
};

struct pagecache *pagecache_new(size_t budget_bytes);
void pagecache_free(struct pagecache *c);       /* nothing is pinned; NULL is fine */

/* The page at PLACE, pinned, or NULL: not in memory.  It stays at its address and is
 * the same for all users as long as it is pinned. */
struct page *pagecache_get(struct pagecache *c, struct place place);

/*
 * A copy of the PAGE_BYTES at BYTES becomes the page at PLACE, pinned.  The caller
 * has checked the CRC against PLACE and page_check()ed it.  If it is there already,
 * that one is returned.  NULL: out of memory.
 */
struct page *pagecache_add(struct pagecache *c, struct place place, const void *bytes);

void pagecache_put(struct pagecache *c, struct page *page);     /* unpin */

/* Forget the page at PLACE if it is there and not pinned (it moved, or died). */
void pagecache_drop(struct pagecache *c, struct place place);

/*
 * The budget counts a page's bookkeeping too; below 64 pages it is taken as 64.  A
 * smaller one is reached by the calls that follow, a few pages each.  More pages than
 * that stay only while they are pinned.
 */
void pagecache_set_budget(struct pagecache *c, size_t budget_bytes);
size_t pagecache_bytes(const struct pagecache *c);      /* of the pages held now */

#endif
