/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "map/pagecache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "map/page.h"

/*
 * Frames come in slabs and never go before the cache does; what a smaller budget
 * leaves unused is given back to the kernel frame by frame.
 *
 *   PAGECACHE-1  A frame is in the hash table and in the ring, or in the free list.
 *   PAGECACHE-2  The ring holds `pages` frames, without gaps and in no order; more than
 *                `pages_max` only while pins, or the bounds on one call's work, keep
 *                them there.
 */
#define SLAB_PAGES 64u
#define SLAB_BYTES ((size_t)SLAB_PAGES * PAGE_BYTES)
#define PAGES_MIN 64u           /* several times the depth of a tree, or a descent
                                 * could push out its own first page for ever */
#define CLOCK_LOOKS_MAX 256u    /* second chances in one eviction */
#define TRIM_MAX 8u             /* evictions in one call */
#define FRAME_FREE SIZE_MAX

struct frame {
    struct page page;           /* bytes: borrowed from the slab */
    struct frame *next;         /* in its bucket, or in the free list */
    size_t index;               /* in the ring; FRAME_FREE: none */
    uint32_t pins;
    bool referenced;            /* asked for since the clock's hand passed */
};

struct slab {
    struct frame frames[SLAB_PAGES];
    uint8_t *bytes;             /* owned: mmap()ed */
};

struct pagecache {
    struct frame **buckets;     /* owned; a power of two */
    size_t bucket_count;
    struct slab **slabs;        /* owned */
    size_t slab_count;
    struct frame *free_frames;
    struct frame **ring;        /* owned; room for the frames of all slabs */
    size_t pages;
    size_t pages_max;
    size_t hand;                /* of the clock, in the ring */
};

/* What a page costs, its share of table and frames included. */
#define PAGE_COST_BYTES (PAGE_BYTES + sizeof(struct frame) + sizeof(struct frame *))

/* ---- The table ------------------------------------------------------------ */

static struct frame **bucket_of(const struct pagecache *c, struct place place)
{
    uint64_t h = place.w0 * 0x9E3779B97F4A7C15u ^ place.w1 * 0xC2B2AE3D27D4EB4Fu;

    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    return &c->buckets[(h >> 32) & (c->bucket_count - 1)];
}

/* Where the frame at PLACE hangs; *result is NULL if it is not there. */
static struct frame **table_find(const struct pagecache *c, struct place place)
{
    struct frame **at = bucket_of(c, place);

    while (*at && !place_equal((*at)->page.place, place)) {
        at = &(*at)->next;
    }
    return at;
}

static void table_insert(struct pagecache *c, struct frame *f)
{
    struct frame **at = bucket_of(c, f->page.place);

    f->next = *at;
    *at = f;
}

/* Make room for PAGES; without memory the chains just get longer. */
static void table_grow(struct pagecache *c, size_t pages)
{
    struct frame **old = c->buckets;
    size_t old_count = c->bucket_count;
    size_t count = old_count;
    struct frame **fresh;

    while (count < pages) {
        count *= 2;
    }
    fresh = count > old_count ? calloc(count, sizeof(*fresh)) : NULL;
    if (!fresh) {
        return;
    }
    c->buckets = fresh;
    c->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct frame *next;

        for (struct frame *f = old[i]; f; f = next) {
            next = f->next;
            table_insert(c, f);
        }
    }
    free(old);
}

/* ---- Frames --------------------------------------------------------------- */

static struct frame *frame_of(struct page *page)
{
    return container_of(page, struct frame, page);
}

static struct slab *slab_new(void)
{
    struct slab *s = calloc(1, sizeof(*s));

    if (!s) {
        return NULL;
    }
    s->bytes = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->bytes == MAP_FAILED) {
        free(s);
        return NULL;
    }
    for (size_t i = 0; i < SLAB_PAGES; i++) {
        s->frames[i].page.bytes = s->bytes + i * PAGE_BYTES;
        s->frames[i].index = FRAME_FREE;
    }
    return s;
}

static bool pagecache_add_slab(struct pagecache *c)
{
    size_t slab_count = c->slab_count + 1;
    struct slab **slabs = realloc(c->slabs, slab_count * sizeof(*slabs));
    struct frame **ring;
    struct slab *s;

    if (!slabs) {
        return false;
    }
    c->slabs = slabs;
    ring = realloc(c->ring, slab_count * SLAB_PAGES * sizeof(*ring));
    if (!ring) {
        return false;
    }
    c->ring = ring;
    s = slab_new();
    if (!s) {
        return false;
    }
    c->slabs[c->slab_count++] = s;
    for (size_t i = SLAB_PAGES; i > 0; i--) {
        s->frames[i - 1].next = c->free_frames;
        c->free_frames = &s->frames[i - 1];
    }
    return true;
}

/* Take frame *AT out of table and ring, into the free list. */
static void pagecache_forget(struct pagecache *c, struct frame **at)
{
    struct frame *f = *at;
    struct frame *last = c->ring[c->pages - 1];

    assert(c->ring[f->index] == f && f->pins == 0);
    *at = f->next;
    if (c->pages > c->pages_max) {
        (void)madvise(f->page.bytes, PAGE_BYTES, MADV_DONTNEED);
    }
    c->ring[f->index] = last;
    last->index = f->index;
    c->pages--;
    f->index = FRAME_FREE;
    f->next = c->free_frames;
    c->free_frames = f;
}

/*
 * Forget one page that nobody asked for lately; false: all are pinned.  After
 * CLOCK_LOOKS_MAX pages any will do that is not pinned.
 */
static bool pagecache_evict(struct pagecache *c)
{
    for (size_t looks = 0; looks < c->pages + CLOCK_LOOKS_MAX; looks++) {
        struct frame *f;

        c->hand = c->hand + 1 < c->pages ? c->hand + 1 : 0;
        f = c->ring[c->hand];
        if (f->pins > 0) {
            continue;
        }
        if (f->referenced && looks < CLOCK_LOOKS_MAX) {
            f->referenced = false;
            continue;
        }
        pagecache_forget(c, table_find(c, f->page.place));
        return true;
    }
    return false;
}

/* Come nearer to having at most PAGES_MAX pages, a few at a time. */
static void pagecache_trim(struct pagecache *c, size_t pages_max)
{
    for (unsigned n = 0; n < TRIM_MAX && c->pages > pages_max; n++) {
        if (!pagecache_evict(c)) {
            return;
        }
    }
}

/* ---- Interface ------------------------------------------------------------ */

struct pagecache *pagecache_new(size_t budget_bytes)
{
    struct pagecache *c = calloc(1, sizeof(*c));

    if (!c) {
        return NULL;
    }
    c->bucket_count = PAGES_MIN;
    c->buckets = calloc(c->bucket_count, sizeof(c->buckets[0]));
    if (!c->buckets) {
        free(c);
        return NULL;
    }
    pagecache_set_budget(c, budget_bytes);
    return c;
}

void pagecache_free(struct pagecache *c)
{
    if (!c) {
        return;
    }
    for (size_t i = 0; i < c->slab_count; i++) {
        for (size_t k = 0; k < SLAB_PAGES; k++) {
            assert(c->slabs[i]->frames[k].pins == 0);
        }
        (void)munmap(c->slabs[i]->bytes, SLAB_BYTES);
        free(c->slabs[i]);
    }
    free(c->slabs);
    free(c->ring);
    free(c->buckets);
    free(c);
}

struct page *pagecache_get(struct pagecache *c, struct place place)
{
    struct frame *f = *table_find(c, place);

    if (!f) {
        return NULL;
    }
    f->pins++;
    f->referenced = true;
    return &f->page;
}

struct page *pagecache_add(struct pagecache *c, struct place place, const void *bytes)
{
    struct page *there = pagecache_get(c, place);
    struct frame *f;

    if (there) {
        return there;
    }
    pagecache_trim(c, c->pages_max - 1);
    if (!c->free_frames && !pagecache_add_slab(c)) {
        return NULL;
    }
    f = c->free_frames;
    c->free_frames = f->next;
    f->index = c->pages++;
    c->ring[f->index] = f;
    memcpy(f->page.bytes, bytes, PAGE_BYTES);
    f->page.place = place;
    f->pins = 1;
    f->referenced = true;
    table_insert(c, f);
    return &f->page;
}

void pagecache_put(struct pagecache *c, struct page *page)
{
    struct frame *f = frame_of(page);

    assert(c->ring[f->index] == f && f->pins > 0);
    f->pins--;
    if (f->pins == 0) {
        pagecache_trim(c, c->pages_max);
    }
}

void pagecache_drop(struct pagecache *c, struct place place)
{
    struct frame **at = table_find(c, place);

    if (*at && (*at)->pins == 0) {
        pagecache_forget(c, at);
    }
}

void pagecache_set_budget(struct pagecache *c, size_t budget_bytes)
{
    c->pages_max = MAX(budget_bytes / PAGE_COST_BYTES, (size_t)PAGES_MIN);
    table_grow(c, c->pages_max);
    pagecache_trim(c, c->pages_max);
}

size_t pagecache_bytes(const struct pagecache *c)
{
    return c->pages * PAGE_COST_BYTES;
}
