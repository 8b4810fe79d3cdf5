/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pagestore.h - for tests of trees: numbered pages in memory, and a cache that loses
 * some of them at random.  Include cmocka.h first.
 */
#ifndef HLFS_TEST_PAGESTORE_H
#define HLFS_TEST_PAGESTORE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "map/tree.h"

#define PAGES_PER_FILE 1000u

struct stored_page {
    uint8_t *bytes;         /* owned */
    bool live;              /* the trees that count need it */
};

struct pagestore {
    enum tree_id tree;
    struct pagecache *cache;        /* owned */
    struct stored_page *pages;      /* owned */
    size_t count;
    size_t room;
    unsigned forget_one_in;         /* before a call: 0 never, 1 always all pages */
    size_t loads;
    struct rng rng;
};

static inline struct place pagestore_place(size_t n)
{
    return place_make(1 + n / PAGES_PER_FILE, n % PAGES_PER_FILE * PAGE_BYTES, PAGE_BYTES,
                      (uint32_t)(n * 2654435761u));
}

/* The number of the page at PLACE; false: there is none. */
static inline bool pagestore_find(const struct pagestore *s, struct place place,
                                  size_t *ret)
{
    *ret = (place_file(place) - 1) * PAGES_PER_FILE + place_offset(place) / PAGE_BYTES;
    return *ret < s->count && place_equal(place, pagestore_place(*ret));
}

static inline struct pagestore *pagestore_new(enum tree_id tree, uint64_t seed)
{
    struct pagestore *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->tree = tree;
    s->cache = pagecache_new(MIB(16));
    assert_non_null(s->cache);
    s->rng.state = seed;
    return s;
}

static inline void pagestore_free(struct pagestore *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->pages[i].bytes);
    }
    free(s->pages);
    pagecache_free(s->cache);
    free(s);
}

static inline struct place pagestore_write(struct pagestore *s, const void *page)
{
    struct stored_page *p;

    if (s->count == s->room) {
        s->room = MAX(2 * s->room, (size_t)64);
        s->pages = realloc(s->pages, s->room * sizeof(s->pages[0]));
        assert_non_null(s->pages);
    }
    p = &s->pages[s->count];
    p->bytes = malloc(PAGE_BYTES);
    assert_non_null(p->bytes);
    memcpy(p->bytes, page, PAGE_BYTES);
    p->live = true;
    return pagestore_place(s->count++);
}

/* Write N entries as pages of PER_PAGE entries; their entries replace them in E. */
static inline size_t pagestore_write_level(struct pagestore *s, unsigned level,
                                           struct tree_entry *e, size_t n,
                                           size_t per_page)
{
    uint8_t page[PAGE_BYTES];
    uint64_t end = 0;       /* of the page before */
    size_t pages = 0;

    for (size_t at = 0; at < n; pages++) {
        size_t fit = MIN(page_fit(e + at, n - at), per_page);
        uint64_t key = e[at].key;

        page_encode(page, s->tree, level, e + at, fit);
        /* A parent may know a leaf by a lower key than its first. */
        key = level == 0 && pages > 0 ? MAX(end, key - 1) : key;
        end = e[at + fit - 1].key + 1;
        at += fit;
        e[pages] = (struct tree_entry){ key, pagestore_write(s, page) };
    }
    return pages;
}

/* The tree of N sorted entries, as pages of PER_PAGE entries each. */
static inline struct tree_root pagestore_build(struct pagestore *s,
                                               const struct tree_entry *entries,
                                               size_t n, size_t per_page)
{
    struct tree_root root = { PLACE_HOLE, 0 };
    struct tree_entry *e = malloc(n * sizeof(*e));

    assert_non_null(e);
    memcpy(e, entries, n * sizeof(*e));
    do {
        n = pagestore_write_level(s, root.levels++, e, n, per_page);
    } while (n > 1);
    root.place = e[0].value;
    free(e);
    return root;
}

/* What the engine does when a page is missing.  -EBADMSG: it is damaged. */
static inline int pagestore_load(struct pagestore *s, const struct tree_missing *want)
{
    struct page *page;
    size_t n;

    s->loads++;
    if (!pagestore_find(s, want->place, &n) ||
        page_check(s->pages[n].bytes, want->tree, want->level) < 0) {
        return -EBADMSG;
    }
    page = pagecache_add(s->cache, want->place, s->pages[n].bytes);
    assert_non_null(page);
    pagecache_put(s->cache, page);
    return 0;
}

static inline void pagestore_forget(struct pagestore *s)
{
    if (s->count == 0 || s->forget_one_in == 0 ||
        !rng_one_in(&s->rng, s->forget_one_in)) {
        return;
    }
    if (s->forget_one_in == 1 || s->count < 50) {
        for (size_t i = 0; i < s->count; i++) {
            pagecache_drop(s->cache, pagestore_place(i));
        }
    }
    for (int i = 0; i < 50; i++) {
        pagecache_drop(s->cache, pagestore_place(rng_below(&s->rng, s->count)));
    }
}

/* tree_lookup() for all COUNT keys, with all the loading. */
static inline int pagestore_lookup(struct pagestore *s, const struct tree_root *root,
                                   uint64_t key, size_t count, struct place *values)
{
    size_t done = 0;

    while (done < count) {
        struct tree_missing want;
        int r = tree_lookup(s->cache, s->tree, root, key + done, count - done,
                            values + done, &want);

        if (r == -EAGAIN) {
            r = pagestore_load(s, &want);
        } else if (r > 0) {
            pagestore_forget(s);
        }
        if (r < 0) {
            return r;
        }
        done += (size_t)r;
    }
    return 0;
}

static inline int pagestore_next(struct pagestore *s, const struct tree_root *root,
                                 uint64_t key, struct tree_entry *ret)
{
    struct tree_missing want;
    int r;

    pagestore_forget(s);
    while ((r = tree_next(s->cache, s->tree, root, key, ret, &want)) == -EAGAIN) {
        r = pagestore_load(s, &want);
        if (r < 0) {
            return r;
        }
    }
    return r;
}

#endif
