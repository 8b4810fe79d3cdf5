/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map of what remains: the tree of the newest checkpoint, in the active layer what the
 * records after it tell, and in the frozen one, between them, what records tell of blocks
 * under pages of the tree that are lost.
 *
 *   RESCUE-3  A block that neither a page nor a record shows is a hole only if every
 *             segment that may hold its data is there, with all its records: else it is
 *             left under the lost page, where reads fail.
 */
#include "volume/rescue_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define DOUBTFUL_HOLE_BLOCKS 65536u     /* a longer hole is not marked block by block */

static uint64_t block_max(const struct rescue *r)
{
    return VOLUME_BYTES_MAX / r->v->block_bytes - 1;
}

/* ---- What records tell ---------------------------------------------------- */

/* The newest that is known of the volume's size is as of record SEQ. */
static void size_take(struct rescue *r, uint64_t seq, uint64_t size)
{
    if (!r->size_known || seq >= r->size_seq) {
        r->v->size = size;
        r->size_seq = seq;
        r->size_known = true;
    }
}

/* What blocks E changes is not known: they cannot be read, until a later record. */
static int nowhere(struct layer *l, const struct entry *e)
{
    int res = 0;

    if (e->type != ENTRY_DATA && (e->type != ENTRY_HOLE || e->count > DOUBTFUL_HOLE_BLOCKS)) {
        return 0;
    }
    for (uint64_t i = 0; i < e->count && res == 0; i++) {
        res = layer_set(l, e->block + i, RESCUE_NOWHERE);
    }
    return res;
}

static int entry_apply(struct rescue *r, struct layer *l, const struct rescue_cursor *c,
                       const struct entry *e, bool doubtful)
{
    if (e->type == ENTRY_DATA) {
        r->blocks_end = MAX(r->blocks_end, e->block + e->count);
    }
    return doubtful ? nowhere(l, e) :
           map_replay(l, r->v->block_bytes, e, c->s->file, c->offset + c->h.head_bytes);
}

/* The records from the base on: they are the newest.  Without a base the size may stand in a
 * checkpoint only, of which no more can be used. */
static int replay_entry(struct rescue *r, const struct rescue_cursor *c,
                        const struct entry *e, bool doubtful)
{
    bool no_base = !r->has_base && !r->base_empty;
    struct checkpoint ck;

    if (e->type == ENTRY_RESIZE && !doubtful) {
        size_take(r, c->h.seq, e->size);
    } else if (e->type == ENTRY_CHECKPOINT && no_base && !doubtful &&
               checkpoint_decode(e, &ck) == 0 && ck.replay_seq <= c->h.seq) {
        size_take(r, ck.replay_seq - 1, ck.size);
    }
    return entry_apply(r, r->v->active, c, e, doubtful);
}

static void doubt_tell(struct rescue *r, const struct rescue_cursor *c)
{
    if (c->h.seq == r->doubt_told) {
        return;     /* of another of its entries */
    }
    r->doubt_told = c->h.seq;
    rescue_tell(r, true, "record %" PRIu64 " at segment %" PRIu64 ", offset %" PRIu64
                " may be void: what says which records of its writer count is lost; blocks "
                "that it changes cannot be read", c->h.seq, c->s->file, c->offset);
}

/* The first lost range that ends at BLOCK or behind it. */
static size_t lost_from(const struct rescue *r, uint64_t block)
{
    size_t low = 0, high = r->lost_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (r->lost[mid].last < block) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool lost_has(const struct rescue *r, uint64_t from, uint64_t to)
{
    size_t i = lost_from(r, from);

    return i < r->lost_count && r->lost[i].first < to;
}

/* Older records: what they say of blocks under pages that are lost. */
static int rebuild_entry(struct rescue *r, const struct rescue_cursor *c,
                         const struct entry *e, bool doubtful)
{
    uint64_t end = e->block + e->count;
    int res = 0;

    if (e->type != ENTRY_DATA && e->type != ENTRY_HOLE) {
        return 0;
    }
    if (doubtful && lost_has(r, e->block, end)) {
        doubt_tell(r, c);
    }
    for (size_t i = lost_from(r, e->block);
         res == 0 && i < r->lost_count && r->lost[i].first < end; i++) {
        uint64_t from = MAX(e->block, r->lost[i].first);
        uint64_t skip = from - e->block;
        struct entry part = *e;

        part.block = from;
        part.count = MIN(end, r->lost[i].last + 1) - from;
        if (e->type == ENTRY_DATA) {
            part.crc += skip;
            part.payload_offset += (uint32_t)(skip * r->v->block_bytes);
        }
        res = entry_apply(r, r->v->frozen, c, &part, doubtful);
    }
    return res;
}

static int each_entry(struct rescue *r, const struct rescue_cursor *c, bool doubtful,
                      int (*fn)(struct rescue *r, const struct rescue_cursor *c,
                                const struct entry *e, bool doubtful))
{
    struct entry e;
    size_t pos = 0;
    int res;

    while ((res = entry_next(c->head + RECORD_HEADER_BYTES, c->h.entry_bytes, &pos,
                             c->h.payload_bytes, r->v->block_bytes, true, &e)) == 1) {
        res = fn(r, c, &e, doubtful);
        if (res < 0) {
            break;
        }
    }
    if (res == -EBADMSG) {
        rescue_tell(r, true, "record %" PRIu64 " at segment %" PRIu64 ", offset %" PRIu64
                    " is lost: it stands where no place can be", c->h.seq, c->s->file,
                    c->offset);
        return 0;
    }
    return res;
}

static int replay_record(struct rescue *r, struct rescue_cursor *c, bool doubtful)
{
    if (doubtful) {
        doubt_tell(r, c);
    }
    return each_entry(r, c, doubtful, replay_entry);
}

static int rebuild_record(struct rescue *r, struct rescue_cursor *c, bool doubtful)
{
    return each_entry(r, c, doubtful, rebuild_entry);
}

/* The first number behind segment FILE (or FILE) and below NEXT that has no records. */
static uint64_t unusable_between(const struct rescue *r, uint64_t file, uint64_t next)
{
    for (uint64_t n = file; n < (next ? next : r->highest + 1); n++) {
        const struct rescue_segment *s = rescue_find(r, n);

        if (!s || s->state != SEGMENT_VALID) {
            return n;
        }
    }
    return 0;
}

static void gap_tell(struct rescue *r, uint64_t from, uint64_t to, uint64_t file,
                     uint64_t offset, uint64_t next)
{
    uint64_t missing = unusable_between(r, file, next);
    const struct rescue_segment *s = missing ? rescue_find(r, missing) : NULL;
    char where[64] = "";

    if (missing) {
        (void)snprintf(where, sizeof(where), "; segment %" PRIu64 " %s", missing,
                       s && s->state == SEGMENT_DAMAGED ? "has no valid header" :
                       s ? "has no header of its own" : "is missing");
    }
    rescue_tell(r, true, "records %" PRIu64 " to %" PRIu64 " are lost (expected behind "
                "segment %" PRIu64 ", offset %" PRIu64 "%s): what they wrote shows as it "
                "was before", from, to, file, offset, where);
}

static int replay(struct rescue *r, uint64_t file, uint64_t from)
{
    static const struct rescue_merge_ops ops = { .record = replay_record, .gap = gap_tell };
    struct rescue_merged merged;
    int res;

    rescue_headers_tell(r, file, UINT64_MAX);
    res = rescue_merge(r, file, from, UINT64_MAX, &ops, &merged);
    r->v->facts.last_seq = MAX(merged.last_seq, from - 1);
    r->v->facts.time_us = merged.time_us;
    r->v->facts.synced_seq = r->synced;
    r->gaps = merged.gaps;
    return res;
}

/* ---- The trees ------------------------------------------------------------ */

struct rescue_walk {
    struct walk walk;
    struct rescue *r;
    uint64_t there;             /* the file found last: it exists */
};

static struct rescue *rescue_of(struct walk *w)
{
    return container_of(w, struct rescue_walk, walk)->r;
}

static int absent_add(struct rescue *r, uint64_t file, uint64_t block)
{
    size_t low = 0, high = r->absent_count;
    struct rescue_absent *a;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (r->absent[mid].file < file) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == r->absent_count || r->absent[low].file != file) {
        a = array_room(r->absent, r->absent_count, &r->absent_room, sizeof(*a));
        if (!a) {
            return -ENOMEM;
        }
        r->absent = a;
        for (size_t i = r->absent_count++; i > low; i--) {
            a[i] = a[i - 1];
        }
        a[low] = (struct rescue_absent){ .file = file, .block = block };
    }
    r->absent[low].blocks++;
    return 0;
}

static int lost_add(struct rescue *r, const struct walk_page *page, const char *why)
{
    uint64_t last = MIN(page->last, block_max(r));
    void *lost;

    if (page->first > last) {
        return 0;       /* no volume has such blocks */
    }
    rescue_tell(r, false, "the map page of level %u for blocks %" PRIu64 " to %" PRIu64
                " at segment %" PRIu64 ", offset %" PRIu64 ", %s", page->level, page->first,
                last, place_file(page->place), place_offset(page->place), why);
    lost = array_room(r->lost, r->lost_count, &r->lost_room, sizeof(*r->lost));
    if (!lost) {
        return -ENOMEM;
    }
    r->lost = lost;
    r->lost[r->lost_count++] = (struct rescue_lost){ page->place, page->first, last };
    return 0;
}

static int page_failed(struct rescue *r, const struct walk_page *page, int res)
{
    return res == 0 ? 0 : rescue_read_error(r, place_file(page->place), res);
}

static int map_page_bad(struct walk *w, const struct walk_page *page, int res,
                        const char *why)
{
    struct rescue *r = rescue_of(w);
    int failed = page_failed(r, page, res);

    return failed < 0 ? failed :
           lost_add(r, page, res == -ENOENT ? "is missing with its segment" : why);
}

static int map_value(struct walk *w, uint64_t key, struct place value)
{
    struct rescue_walk *m = container_of(w, struct rescue_walk, walk);
    struct rescue *r = m->r;
    struct place newer;

    if (place_file(value) == m->there && place_valid(value, r->v->block_bytes)) {
        return 0;
    }
    if (key > block_max(r) || layer_get(r->v->active, key, &newer)) {
        return 0;
    }
    if (!place_valid(value, r->v->block_bytes)) {
        rescue_tell(r, true, "the place of block %" PRIu64 " makes no sense", key);
        return 0;
    }
    if (!rescue_find(r, place_file(value))) {
        return absent_add(r, place_file(value), key);
    }
    m->there = place_file(value);
    return 0;
}

static int lost_by_first(const void *a, const void *b)
{
    const struct rescue_lost *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static int map_walk(struct rescue *r)
{
    static const struct walk_ops ops = { .bad = map_page_bad, .value = map_value };
    struct rescue_walk m = {
        .walk = { .ops = &ops, .fetch = r->fetch, .tree = TREE_MAP }, .r = r,
    };
    int res = walk_run(&m.walk, &r->base.roots[TREE_MAP - 1]);

    for (size_t i = 0; i < r->absent_count && res == 0; i++) {
        const struct rescue_absent *a = &r->absent[i];

        rescue_tell(r, true, "segment %" PRIu64 " is missing: %" PRIu64 " blocks are in it "
                    "(the first is block %" PRIu64 ")", a->file, a->blocks, a->block);
    }
    if (r->lost_count > 0) {
        qsort(r->lost, r->lost_count, sizeof(*r->lost), lost_by_first);
    }
    return res;
}

/* ---- Usage ---------------------------------------------------------------- */

static int usage_page_bad(struct walk *w, const struct walk_page *page, int res,
                          const char *why)
{
    struct rescue *r = rescue_of(w);
    int failed = page_failed(r, page, res);

    if (failed < 0) {
        return failed;
    }
    rescue_tell(r, false, "the usage page of level %u at segment %" PRIu64 ", offset %"
                PRIu64 ", %s", page->level, place_file(page->place),
                place_offset(page->place), why);
    r->usage_known = false;
    return 0;
}

static int counted_add(struct rescue *r, uint64_t file)
{
    uint64_t *counted = array_room(r->counted, r->counted_count, &r->counted_room,
                                   sizeof(*counted));

    if (!counted) {
        return -ENOMEM;
    }
    r->counted = counted;
    r->counted[r->counted_count++] = file;
    return 0;
}

/* What makes no sense is no reason to give up. */
static int usage_result(struct rescue *r, int res, uint64_t file)
{
    if (res == -EBADMSG) {
        r->usage_known = false;
        return 0;
    }
    return res < 0 ? res : counted_add(r, file);
}

static int usage_value(struct walk *w, uint64_t key, struct place value)
{
    struct rescue *r = rescue_of(w);

    return usage_result(r, usage_load(r->v->usage, key, value.w0, value.w1), key);
}

static int usage_walk(struct rescue *r)
{
    static const struct walk_ops ops = { .bad = usage_page_bad, .value = usage_value };
    struct rescue_walk m = {
        .walk = { .ops = &ops, .fetch = r->fetch, .tree = TREE_USAGE }, .r = r,
    };
    uint32_t n = r->overrides ? r->base.override_count : 0;
    int res;

    r->usage_known = r->overrides != NULL;
    res = walk_run(&m.walk, &r->base.roots[TREE_USAGE - 1]);
    for (uint32_t i = 0; i < n && res == 0; i++) {
        uint64_t file = le64(r->overrides[i].file);

        res = usage_result(r, usage_override(r->v->usage, file,
                                             le64(r->overrides[i].live_bytes)), file);
    }
    return res;
}

/* For info: what segments there are. */
static int usage_segments_add(struct rescue *r)
{
    int res = 0;

    for (size_t i = 0; i < r->count && res == 0; i++) {
        if (r->segments[i].state == SEGMENT_VALID) {
            res = usage_add_segment(r->v->usage, r->segments[i].file, r->segments[i].size);
        }
    }
    return res;
}

/* ---- Blocks under pages that are lost -------------------------------------- */

/* Where the records of valid segments below FILE end. */
static uint64_t seqs_below(const struct rescue *r, uint64_t file)
{
    uint64_t end = 1;

    for (size_t i = 0; i < r->count && r->segments[i].file < file; i++) {
        const struct rescue_segment *s = &r->segments[i];

        if (s->state == SEGMENT_VALID) {
            end = MAX(end, MIN(s->end, s->bound));
        }
    }
    return end;
}

/* Where the next valid segment above FILE, or the base, goes on. */
static uint64_t seqs_above(const struct rescue *r, uint64_t file)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct rescue_segment *s = &r->segments[i];

        if (s->state == SEGMENT_VALID && s->file > file) {
            return MIN(s->first, r->base.replay_seq);
        }
    }
    return r->base.replay_seq;
}

/* Does segment FILE lack records below the base, which no other one has?  If so it is told. */
static bool segment_lacks(struct rescue *r, uint64_t file)
{
    const struct rescue_segment *s = rescue_find(r, file);
    bool valid = s && s->state == SEGMENT_VALID;
    uint64_t from = valid ? s->end : seqs_below(r, file), to = seqs_above(r, file);

    if (valid && s->sealed) {
        to = MIN(s->end, r->base.replay_seq);       /* there are no others */
    }
    if (valid && s->torn) {
        from = s->first;
        to = MAX(to, MIN(s->end, r->base.replay_seq));
    }
    if (from >= to) {
        return false;
    }
    rescue_tell(r, true, "records %" PRIu64 " to %" PRIu64 " are lost, or some of them "
                "(segment %" PRIu64 " %s): what they wrote to blocks under the pages that are "
                "lost shows as it was before, or cannot be read", from, to - 1, file,
                valid ? "is damaged" : s ? "has no valid header" : "is missing");
    return true;
}

static int by_file(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/*
 * Is everything there that may hold a block of the base (RESCUE-3)?  Those are the segments
 * with live bytes; if the usage table is lost, all that ever were.
 */
static bool base_whole(struct rescue *r)
{
    uint64_t before = 0;
    bool whole = true;

    if (r->counted_count > 0) {
        qsort(r->counted, r->counted_count, sizeof(*r->counted), by_file);
    }
    for (size_t i = 0; i < r->counted_count; before = r->counted[i++]) {
        if (r->counted[i] != before && usage_get(r->v->usage, r->counted[i]) > 0) {
            whole &= !segment_lacks(r, r->counted[i]);
        }
    }
    before = 0;
    for (size_t i = 0; i < r->count && before < r->base_ref.file; i++) {
        uint64_t file = r->segments[i].file;

        if (!r->usage_known && file > before + 1) {
            whole &= !segment_lacks(r, before + 1);     /* and all up to FILE */
        }
        if (!usage_has(r->v->usage, file)) {
            whole &= !segment_lacks(r, file);
        }
        before = file;
    }
    return whole;
}

/* Has a segment below the base's ever been removed, or lost? */
static bool any_went(const struct rescue *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->segments[i].file != i + 1) {
            return true;
        }
        if (r->segments[i].file >= r->base_ref.file) {
            return false;
        }
    }
    return true;
}

/* What no record shows of blocks FIRST to LAST is a hole. */
static int holes_fill(struct rescue *r, uint64_t first, uint64_t last)
{
    struct layer *l = r->v->frozen;
    int res = 0;

    for (uint64_t at = first; at <= last && res == 0;) {
        struct entry hole = { .type = ENTRY_HOLE, .block = at };
        struct extent e;
        bool found = layer_next(l, at, &e) && e.block <= last;

        hole.count = (found ? e.block : last + 1) - at;
        if (hole.count > 0) {
            res = map_replay(l, r->v->block_bytes, &hole, 0, 0);
        }
        at = found ? e.block + e.count : last + 1;
    }
    return res;
}

static int rebuild(struct rescue *r)
{
    static const struct rescue_merge_ops ops = { .record = rebuild_record };
    struct rescue_merged merged;
    bool whole;
    int res;

    rescue_headers_tell(r, 0, r->base.replay_file);
    r->v->frozen = layer_new();
    if (!r->v->frozen) {
        return -ENOMEM;
    }
    res = rescue_survey(r, 0);
    if (res == 0) {
        res = rescue_merge(r, 0, 1, r->base.replay_seq, &ops, &merged);
    }
    if (res < 0) {
        return res;
    }
    whole = base_whole(r);
    if (layer_entries(r->v->frozen) > 0 && any_went(r)) {
        rescue_tell(r, true, "blocks under the pages that are lost have the newest content "
                    "that a record shows; where they were discarded in a segment that is "
                    "gone it may be an older one");
    }
    if (!whole) {
        rescue_tell(r, true, "blocks under the pages that are lost which no record shows "
                    "cannot be read: not all segments that may hold them are whole");
    }
    for (size_t i = 0; i < r->lost_count && whole && res == 0; i++) {
        res = holes_fill(r, r->lost[i].first, r->lost[i].last);
    }
    return res;
}

/* ---- The volume ----------------------------------------------------------- */

static void base_take(struct rescue *r)
{
    struct hlfs *v = r->v;
    const struct checkpoint *c = &r->base;

    size_take(r, c->replay_seq - 1, c->size);
    v->checkpoint_ref = r->base_ref;
    v->checkpoint_us = c->time_us;
    v->tree_pages = c->tree_pages;
    v->moved_next = c->moved_next;
    v->map_root = (struct tree_root){ c->roots[TREE_MAP - 1].place,
                                      c->roots[TREE_MAP - 1].levels };
    v->usage_root = (struct tree_root){ c->roots[TREE_USAGE - 1].place,
                                        c->roots[TREE_USAGE - 1].levels };
}

/* A checkpoint, or the empty volume, and all records after it. */
static int from_base(struct rescue *r)
{
    uint64_t file = 1, from = 1;
    int res;

    if (r->has_base) {
        base_take(r);
        file = r->base.replay_file;
        from = r->base.replay_seq;
    }
    res = replay(r, file, from);
    if (res == 0 && r->has_base) {
        res = usage_walk(r);
    }
    if (res == 0 && r->has_base) {
        res = map_walk(r);
    }
    return res == 0 && r->lost_count > 0 ? rebuild(r) : res;
}

/* No checkpoint: all records that there are.  What none of them shows is a hole only if
 * they are all that ever were. */
static int from_records(struct rescue *r)
{
    const struct place none = place_make(STORE_SEGNO_MAX, 0, PAGE_BYTES, 0);
    int res;

    rescue_tell(r, false, "no checkpoint can be read: the map is made anew of the records of "
                "all segments");
    res = replay(r, 1, 1);
    if (res < 0 || !r->gaps) {
        return res;
    }
    r->lost = array_room(NULL, 0, &r->lost_room, sizeof(*r->lost));
    if (!r->lost) {
        return -ENOMEM;
    }
    r->lost[r->lost_count++] = (struct rescue_lost){ none, 0, block_max(r) };
    r->v->map_root = (struct tree_root){ none, 1 };
    rescue_tell(r, true, "blocks that no record shows cannot be read: records are missing, "
                "and no map tells what was before them");
    return 0;
}

int rescue_map(struct rescue *r)
{
    struct hlfs *v = r->v;
    int res = r->has_base || r->base_empty ? from_base(r) : from_records(r);

    if (res == 0) {
        res = usage_segments_add(r);
    }
    if (res == 0 && !r->size_known && r->gaps) {
        v->size = r->blocks_end * v->block_bytes;
        rescue_tell(r, true, "the size of the volume is not known: it is taken to end behind "
                    "its last block with data, at %" PRIu64 " bytes", v->size);
    }
    v->facts.newest = r->newest;
    v->facts.has_newest = true;
    return res;
}
