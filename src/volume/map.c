/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where blocks are: the layers, newest first, and below them the tree. */
#include "volume/private.h"

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"

/* A block that no layer has; no place looks like it (the segment number is zero). */
#define UNKNOWN ((struct place){ 0, 1 })

static bool is_unknown(struct place p)
{
    return p.w0 == 0 && p.w1 == 1;
}

/* Fill what is unknown of the COUNT places from BLOCK on with what L has. */
static uint32_t layer_fill(const struct layer *l, uint64_t block, uint32_t count,
                           struct place *places, uint32_t unknown)
{
    uint64_t end = block + count;
    struct extent e;

    for (uint64_t at = block; at < end && unknown > 0; at = e.block + e.count) {
        if (!layer_next(l, at, &e) || e.block >= end) {
            break;
        }
        for (uint64_t b = e.block; b < MIN(e.block + e.count, end); b++) {
            if (is_unknown(places[b - block])) {
                places[b - block] = e.place;
                unknown--;
            }
        }
    }
    return unknown;
}

static int tree_fill(struct hlfs *v, uint64_t block, uint32_t count,
                     struct place *places, struct tree_missing *ret_missing)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t run = 0;
        int n;

        if (!is_unknown(places[i])) {
            i++;
            continue;
        }
        while (i + run < count && is_unknown(places[i + run])) {
            run++;
        }
        n = tree_lookup(v->cache, TREE_MAP, &v->map_root, block + i, run, &places[i],
                        ret_missing);
        if (n < 0) {
            return n;
        }
        i += (uint32_t)n;
    }
    return 0;
}

static bool one_lookup(const struct hlfs *v, uint64_t block, struct place *ret)
{
    return layer_get(v->active, block, ret) ||
           (v->frozen && layer_get(v->frozen, block, ret));
}

/*
 * The places of COUNT blocks (<= LOOKUP_MAX) at this moment; a hole is PLACE_HOLE.
 * -EAGAIN: the page *RET_MISSING must be loaded first.  -EBADMSG: a page is wrong.
 */
int map_lookup(struct hlfs *v, uint64_t block, uint32_t count, struct place *places,
               struct tree_missing *ret_missing)
{
    uint32_t unknown = count;

    if (count == 1) {
        if (one_lookup(v, block, places)) {
            return 0;
        }
        places[0] = UNKNOWN;
        return tree_fill(v, block, 1, places, ret_missing);
    }
    for (uint32_t i = 0; i < count; i++) {
        places[i] = UNKNOWN;
    }
    unknown = layer_fill(v->active, block, count, places, unknown);
    if (v->frozen && unknown > 0) {
        unknown = layer_fill(v->frozen, block, count, places, unknown);
    }
    return unknown > 0 ? tree_fill(v, block, count, places, ret_missing) : 0;
}

int map_set(struct hlfs *v, uint64_t block, struct place place)
{
    return layer_set(v->active, block, place);
}

static int replay_data(struct layer *l, uint32_t block_bytes, const struct entry *e,
                       uint64_t file, uint64_t payload_at)
{
    int res = 0;

    for (uint64_t i = 0; i < e->count && res == 0; i++) {
        uint64_t at = payload_at + e->payload_offset + i * block_bytes;

        if (at > PLACE_OFFSET_MAX) {
            return -EBADMSG;
        }
        res = layer_set(l, e->block + i, place_make(file, at, block_bytes,
                                                    le32(e->crc[i])));
    }
    return res;
}

static int replay_hole(struct layer *l, uint64_t block, uint64_t count)
{
    while (count > 0) {
        uint64_t done;
        int res = layer_punch(l, block, count, 1u << 20, &done);

        if (res < 0) {
            return res;
        }
        block += done;
        count -= done;
    }
    return 0;
}

/* What entry E, whose payload stands at PAYLOAD_AT of FILE, changes in the map. */
int map_replay(struct layer *l, uint32_t block_bytes, const struct entry *e,
               uint64_t file, uint64_t payload_at)
{
    switch (e->type) {
    case ENTRY_DATA:
        return replay_data(l, block_bytes, e, file, payload_at);
    case ENTRY_HOLE:
        return replay_hole(l, e->block, e->count);
    default:
        return 0;
    }
}

static uint64_t layer_next_data(const struct layer *l, uint64_t block)
{
    struct extent e;

    while (layer_next(l, block, &e)) {
        if (!place_is_hole(e.place)) {
            return e.block;
        }
        block = e.block + e.count;
    }
    return UINT64_MAX;
}

/* As far as the layers say that there are holes from BLOCK on. */
static uint64_t layers_hole_end(const struct hlfs *v, uint64_t block)
{
    uint64_t stop = UINT64_MAX;
    struct extent e;

    if (layer_next(v->active, block, &e)) {
        if (e.block == block) {
            return place_is_hole(e.place) ? block + e.count : block;
        }
        stop = e.block;
    }
    return v->frozen && layer_next(v->frozen, block, &e) && e.block == block &&
           place_is_hole(e.place) ? MIN(block + e.count, stop) : block;
}

/*
 * A block >= BLOCK before which there is no data for sure (it may itself be a hole
 * again, where a layer covers the tree); UINT64_MAX: none to the end.
 */
int map_next_data(struct hlfs *v, uint64_t block, uint64_t *ret_block,
                  struct tree_missing *ret_missing)
{
    uint64_t next = layer_next_data(v->active, block);
    uint64_t first, last;
    struct tree_entry e;
    int r;

    if (v->frozen) {
        next = MIN(next, layer_next_data(v->frozen, block));
    }
    r = tree_next(v->cache, TREE_MAP, &v->map_root, block, &e, ret_missing);
    if (r == -EAGAIN && v->rescue &&
        rescue_page_lost(v->rescue, ret_missing->place, &first, &last)) {
        *ret_block = first > block ? MIN(next, first) : layers_hole_end(v, block);
        return 0;
    }
    if (r < 0) {
        return r;
    }
    *ret_block = r == 1 ? MIN(next, e.key) : next;
    return 0;
}

/* A page that is not durable yet still stands in the log's memory: into the cache. */
bool page_from_memory(struct hlfs *v, struct place place)
{
    le32_t *crc;
    uint8_t *bytes = v->log ? log_memory(v->log, place, &crc) : NULL;
    struct page *p = bytes ? pagecache_add(v->cache, place, bytes) : NULL;

    if (p) {
        pagecache_put(v->cache, p);
    }
    return p != NULL;
}

/* Outside the monitor: are these the PAGE_BYTES that M's place promises? */
int page_load_check(struct store_op *op, int res, const struct tree_missing *m,
                    const uint8_t *page)
{
    (void)op;
    if (res < 0) {
        return res;
    }
    if (res != PAGE_BYTES || crc32c(0, page, PAGE_BYTES) != place_crc(m->place) ||
        page_check(page, m->tree, m->level) < 0) {
        return -EBADMSG;
    }
    return res;
}
