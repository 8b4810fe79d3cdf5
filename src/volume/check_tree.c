/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking the trees of the newest checkpoint: every page, every place, and how many
 * bytes of each segment they make live, against what the usage table says.
 */
#include "volume/check_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cleaner/usage.h"

#define ABSENT_MAX 65536u       /* segments that are named and do not exist */

/* ---- Segments that places name -------------------------------------------- */

/* The place in `absent` for FILE, made if there is none; NULL: no memory. */
static struct check_segment *absent_find(struct check *c, uint64_t file)
{
    size_t low = 0, high = c->absent_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->absent[mid].file < file) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low < c->absent_count && c->absent[low].file == file) {
        return &c->absent[low];
    }
    if (c->absent_count == c->absent_room) {
        size_t room = MAX(c->absent_room * 2, (size_t)16);
        void *bigger = room <= ABSENT_MAX ?
                       realloc(c->absent, room * sizeof(*c->absent)) : NULL;

        if (!bigger) {
            return NULL;
        }
        c->absent = bigger;
        c->absent_room = room;
    }
    memmove(&c->absent[low + 1], &c->absent[low],
            (c->absent_count - low) * sizeof(*c->absent));
    c->absent[low] = (struct check_segment){
        .file = file, .state = SEGMENT_VOID, .absent = true,
    };
    c->absent_count++;
    return &c->absent[low];
}

static struct check_segment *segment_named(struct check *c, uint64_t file)
{
    struct check_segment *s = check_find(c, file);

    return s ? s : absent_find(c, file);
}

/*
 * PLACE, of block KEY or of the page of a tree with the keys from KEY on, is live.  True
 * if its bytes may be there; what is wrong with it is found.
 */
static bool place_check(struct check *c, struct place place, bool block, uint64_t key)
{
    const char *what = block ? "block" : "the page from key";
    uint32_t stored = block ? c->identity.block_bytes : PAGE_BYTES;
    uint64_t offset = place_offset(place);
    struct check_segment *s;

    if (!place_valid(place, stored)) {
        check_error(c, "the place of %s %" PRIu64 " makes no sense", what, key);
        return false;
    }
    s = segment_named(c, place_file(place));
    if (!s) {
        check_error(c, "%s %" PRIu64 " is in segment %" PRIu64 ", which does not exist",
                    what, key, place_file(place));
        return false;
    }
    s->counted += stored;
    s->block = block && s->blocks == 0 ? key : s->block;
    s->blocks += block;
    if (s->state == SEGMENT_VALID &&
        (offset < SEGMENT_DATA_OFFSET || offset + stored > s->size)) {
        check_error(c, "%s %" PRIu64 " is at offset %" PRIu64 " of segment %" PRIu64
                    ", where no data can be", what, key, offset, s->file);
        return false;
    }
    return !s->absent;
}

/* ---- Walking -------------------------------------------------------------- */

static const char *tree_name(enum tree_id tree)
{
    return tree == TREE_MAP ? "map" : "usage";
}

static struct check_walk *check_walk_of(struct walk *w)
{
    return container_of(w, struct check_walk, walk);
}

static bool page_wanted(struct walk *walk, const struct walk_page *page)
{
    struct check_walk *w = check_walk_of(walk);
    bool wanted = w->again ? check_find(w->check, place_file(page->place)) != NULL :
                  place_check(w->check, page->place, false, page->first);

    w->check->trees_whole &= wanted;
    return wanted;
}

static void page_good(struct walk *walk, const struct walk_page *page)
{
    struct check_walk *w = check_walk_of(walk);

    (void)page;
    w->check->result.pages += !w->again;
}

static int page_bad(struct walk *walk, const struct walk_page *page, int res,
                    const char *why)
{
    struct check_walk *w = check_walk_of(walk);
    struct check *c = w->check;
    const struct check_segment *s = check_find(c, place_file(page->place));

    if (res == -ENOENT || (res == -EBADMSG && s && s->state == SEGMENT_VALID &&
                           check_same(c, s) == 0)) {
        return -ESTALE;
    }
    c->trees_whole = false;
    if (!w->again) {
        check_error(c, "the %s page of level %u for keys %" PRIu64 " to %" PRIu64
                    " at segment %" PRIu64 ", offset %" PRIu64 ", %s",
                    tree_name(page->tree), page->level, page->first, page->last,
                    place_file(page->place), place_offset(page->place), why);
    }
    return 0;
}

static int page_value(struct walk *walk, uint64_t key, struct place value)
{
    struct check_walk *w = check_walk_of(walk);

    return w->value(w, key, value);
}

int check_walk(struct check_walk *w, const struct root_ref *root)
{
    static const struct walk_ops ops = {
        .wanted = page_wanted, .good = page_good, .bad = page_bad, .value = page_value,
    };

    w->walk.ops = &ops;
    w->walk.fetch = w->check->fetch;
    return walk_run(&w->walk, root);
}

/* ---- Map ------------------------------------------------------------------ */

static int map_value(struct check_walk *w, uint64_t key, struct place value)
{
    struct check *c = w->check;

    c->result.blocks++;
    if (key >= VOLUME_BYTES_MAX / c->identity.block_bytes) {
        check_error(c, "the map has block %" PRIu64 ", which no volume can have", key);
    } else if (key >= DIV_ROUND_UP(c->checkpoint.size, c->identity.block_bytes)) {
        check_error(c, "the map has block %" PRIu64 ", which lies beyond the volume's end: "
                    "it would come back when the volume grows", key);
    }
    (void)place_check(c, value, true, key);
    return 0;
}

/* ---- Usage ---------------------------------------------------------------- */

static int usage_value(struct check_walk *w, uint64_t key, struct place value)
{
    struct check *c = w->check;
    uint64_t size = value.w0, live = value.w1;
    struct check_segment *s = check_find(c, key);

    if (live > size || !usage_possible(key, size, live)) {
        check_error(c, "the usage table says %" PRIu64 " bytes of %" PRIu64
                    " are live in segment %" PRIu64 ", which cannot be", live, size, key);
    }
    if (!s && live > 0) {
        s = absent_find(c, key);    /* else it was removed; its key goes later */
    }
    if (!s) {
        return 0;
    }
    if (s->state == SEGMENT_VALID && s->size != size) {
        check_warning(c, "the usage table has segment %" PRIu64 " with %" PRIu64
                      " bytes; its header says %" PRIu64, key, size, s->size);
    }
    s->in_table = true;
    s->live = live;
    return 0;
}

static void overrides_apply(struct check *c)
{
    for (uint32_t i = 0; i < c->checkpoint.override_count; i++) {
        uint64_t file = le64(c->overrides[i].file);
        uint64_t live = le64(c->overrides[i].live_bytes);
        struct check_segment *s = segment_named(c, file);

        if (!usage_possible(file, 0, live)) {
            check_error(c, "the checkpoint says %" PRIu64 " bytes are live in segment %"
                        PRIu64 ", which cannot be", live, file);
        }
        if (s) {
            s->in_table = true;
            s->live = live;
        }
    }
}

static void lost_segment(struct check *c, const struct check_segment *s)
{
    const char *what = s->absent ? "does not exist" : "has no header";

    if (s->blocks > 0) {
        check_error(c, "segment %" PRIu64 " %s, but %" PRIu64 " blocks are in it (the "
                    "first is block %" PRIu64 ")", s->file, what, s->blocks, s->block);
    } else {
        check_error(c, "segment %" PRIu64 " %s, but pages of trees are in it", s->file,
                    what);
    }
}

/* -ESTALE: it went away while it was needed. */
static int usage_check(struct check *c, const struct check_segment *s)
{
    if (s->counted > 0 && s->gone) {
        return -ESTALE;
    }
    if (s->counted > 0 && s->state == SEGMENT_VOID) {
        lost_segment(c, s);
    }
    if (s->counted > s->live) {
        check_error(c, "the usage table says %" PRIu64 " bytes are live in segment %"
                    PRIu64 ", but there are %" PRIu64 ": a writer may remove it too "
                    "early", s->live, s->file, s->counted);
    } else if (s->counted < s->live && c->trees_whole) {
        check_warning(c, "the usage table says %" PRIu64 " bytes are live in segment %"
                      PRIu64 ", but there are %" PRIu64, s->live, s->file, s->counted);
    }
    if (!s->absent && !s->gone && !s->in_table && s->counted == 0 &&
        s->file < c->checkpoint.replay_file && c->trees_whole) {
        check_warning(c, "segment %" PRIu64 " is rubbish: nothing is in it, and no "
                      "writer knows it", s->file);
    }
    return 0;
}

static void sum_check(struct check *c)
{
    uint64_t live = 0;

    for (size_t i = 0; i < c->count; i++) {
        live += c->segments[i].counted;
    }
    for (size_t i = 0; i < c->absent_count; i++) {
        live += c->absent[i].counted;
    }
    if (live != c->checkpoint.live_bytes && c->trees_whole) {
        check_warning(c, "the checkpoint says %" PRIu64 " bytes are live in all, but "
                      "there are %" PRIu64, c->checkpoint.live_bytes, live);
    }
}

int check_trees(struct check *c)
{
    struct check_walk map = {
        .check = c, .walk = { .tree = TREE_MAP }, .value = map_value,
    };
    struct check_walk usage = {
        .check = c, .walk = { .tree = TREE_USAGE }, .value = usage_value,
    };
    int res = check_walk(&map, &c->checkpoint.roots[TREE_MAP - 1]);

    if (res == 0) {
        res = check_walk(&usage, &c->checkpoint.roots[TREE_USAGE - 1]);
    }
    if (res < 0) {
        return res;
    }
    overrides_apply(c);
    for (size_t i = 0; i < c->count && res == 0; i++) {
        res = usage_check(c, &c->segments[i]);
    }
    for (size_t i = 0; i < c->absent_count && res == 0; i++) {
        res = usage_check(c, &c->absent[i]);
    }
    sum_check(c);
    return res;
}
