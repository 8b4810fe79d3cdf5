/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * page.h - the bytes of a page of a paged tree (docs/format.md 6).
 *
 * A page holds sorted keys (64 bits) and a value of two words for each: a leaf the
 * tree's values (places, for the map), an inner page the places of its children,
 * each under a key that is <= every key below it.  Keys are stored as differences
 * from the page's first key in as few bytes as the last one needs, so that a page
 * holds 169 to 239 entries.  No value is a hole (word 0 is not zero).
 *
 *   00-03  magic "HPG0"
 *   04     tree          enum tree_id
 *   05     level         0 leaf
 *   06     key_bytes     1-8
 *   07     zero
 *   08-09  count         1 or more
 *   10-15  zero
 *   16-23  base          the first key
 *   24-31  zero
 *   32-    count keys of key_bytes each (key - base, ascending, the first is zero),
 *          then count values of 16 bytes; the rest is zero
 *
 * The CRC of a page stands in the place that names it.
 */
#ifndef HLFS_MAP_PAGE_H
#define HLFS_MAP_PAGE_H

#include <stddef.h>
#include "log/place.h"

#define PAGE_BYTES 4096u
#define PAGE_HEAD_BYTES 32u
#define PAGE_ROOM_BYTES (PAGE_BYTES - PAGE_HEAD_BYTES)     /* for keys and values */
#define PAGE_ENTRIES_MAX (PAGE_ROOM_BYTES / 17)            /* 239 */
#define TREE_LEVELS_MAX 8       /* (169 / 4)^8 > 2^36 blocks; a deeper page is damage */

/* Which paged tree a page belongs to; stored. */
enum tree_id {
    TREE_MAP = 1,           /* block -> place */
    TREE_USAGE = 2,         /* file id -> live bytes */
    TREE_SNAPSHOTS = 3,     /* these come with later versions */
    TREE_FORWARD = 4,
    TREE_FREEING = 5,
    TREE_CHECKPOINTS = 6,
};

struct tree_entry {
    uint64_t key;
    struct place value;     /* of a leaf: two words that mean what the tree says */
};

/* How many of these N sorted entries fit into one page (from the first on). */
size_t page_fit(const struct tree_entry *entries, size_t n);

/* How many of a page's PAGE_ROOM_BYTES N sorted entries would take. */
size_t page_used_bytes(const struct tree_entry *entries, size_t n);

/* Encode N entries, which fit and are 1 or more, into PAGE (PAGE_BYTES). */
void page_encode(void *page, enum tree_id tree, unsigned level,
                 const struct tree_entry *entries, size_t n);

/*
 * Check PAGE's structure against what its parent says.  0, or -EBADMSG.  All other
 * functions below want a page that passed.
 */
int page_check(const void *page, enum tree_id tree, unsigned level);

size_t page_count(const void *page);
unsigned page_level(const void *page);
enum tree_id page_tree(const void *page);
struct tree_entry page_entry(const void *page, size_t index);
uint64_t page_key(const void *page, size_t index);

/* The index of the last entry with key <= KEY; -1 if KEY is before the first. */
int page_search(const void *page, uint64_t key);

#endif
