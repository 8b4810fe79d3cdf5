/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "map/tree.h"
#include "map/tree_page.h"

/*
 * A merge walks the old tree from left to right and builds the new one from below.
 *
 *      frames: the path into the old tree        builders: the new tree's open ends
 *
 *      level 2   [ root: slot ]                  [ entries … ]
 *      level 1   [ page: slot ]      ------>     [ entries … ]  --full page-->  up one
 *      level 0   [ leaf: slot ]  + updates       [ entries … ]  --full page-->  up one
 *
 * A frame is *clean* as long as all that was met in its page goes into the new tree as
 * it is; then nothing of it is in a builder, and if it stays clean to its end the page
 * itself goes on as an entry of its parent.  At the first change it and all frames
 * above become *dirty*: the page is dropped, and the entries before its slot go to the
 * builder of its level, as do all that follow.  Children that no update touches are not
 * even opened, but they pass a dirty frame as entries.
 *
 *   MERGE-1  Above a dirty frame all frames are dirty.
 *   MERGE-2  The entries of builder N come before those of builder N - 1, and all of
 *            them before what was not met yet.  So before an old page of level N goes
 *            into builder N + 1, builders 0 to N are settled: written, or, if that
 *            would make a page less than a quarter full, that old page is opened and
 *            flows through the builder too.
 *   MERGE-3  If a clean frame has passed a child, the builders below it are empty.
 *   MERGE-4  A step that walks begins with builders that two pages can hold; what it
 *            adds to one is bounded, and so is a builder's room.
 *
 *   START --first update--> WALK --root's frame ends dirty--> FINISH --root--> DONE
 *     '-------none---------------'--clean: same root-------------------------^
 */
#define BUILDER_ENTRIES 1024u       /* two pages, one page's entries and a batch */
#define MERGE_BATCH 256u            /* entries and updates of a leaf in one step */
#define AHEAD_LOOKS_MAX 64u         /* per level, in one merge_ahead() */
#define PAGE_ENTRIES_MIN (PAGE_ROOM_BYTES / 24)     /* any so many fit into a page */

_Static_assert(2 * PAGE_ENTRIES_MAX + PAGE_ENTRIES_MAX + MERGE_BATCH < BUILDER_ENTRIES,
               "MERGE-4");

struct builder {
    struct tree_entry *entries;     /* owned; NULL until the level is met */
    size_t count;
    struct place written;           /* the last page of this level, or PLACE_HOLE */
};

struct frame {
    struct page *page;              /* pinned; NULL: an empty tree has no leaf */
    size_t count;
    size_t slot;                    /* a leaf's next entry, an inner page's child */
    uint64_t last;                  /* key that ends its range */
    bool dirty;
};

enum merge_state { MERGE_START, MERGE_WALK, MERGE_FINISH, MERGE_DONE, MERGE_FAILED };

struct merge {
    struct pagecache *cache;        /* borrowed */
    const struct merge_ops *ops;    /* borrowed */
    void *opaque;
    enum tree_id tree;
    struct tree_root root;          /* the old one */
    struct tree_root new_root;      /* with MERGE_DONE */
    enum merge_state state;
    int error;                      /* with MERGE_FAILED */

    struct frame frames[TREE_LEVELS_MAX];
    unsigned levels;                /* of the old tree, 1 or more */
    unsigned level;                 /* of the lowest open frame; `levels`: none */
    struct builder builders[TREE_LEVELS_MAX];

    struct tree_update update;      /* the first not done, or its rest */
    bool have_update;
    uint8_t page[PAGE_BYTES];       /* the one being written */
};

/* ---- Builders ------------------------------------------------------------- */

static int builder_ready(struct builder *b)
{
    if (!b->entries) {
        b->entries = malloc(BUILDER_ENTRIES * sizeof(b->entries[0]));
    }
    return b->entries ? 0 : -ENOMEM;
}

static void builder_append(struct builder *b, struct tree_entry e)
{
    assert(b->count < BUILDER_ENTRIES);                             /* MERGE-4 */
    assert(b->count == 0 || b->entries[b->count - 1].key < e.key);  /* MERGE-2 */
    b->entries[b->count++] = e;
}

static void builder_consume(struct builder *b, size_t n)
{
    b->count -= n;
    memmove(b->entries, b->entries + n, b->count * sizeof(b->entries[0]));
}

/* More than two pages can hold: one can be written, and enough stays for another. */
static bool builder_is_overfull(const struct builder *b)
{
    size_t first;

    if (b->count <= 2 * PAGE_ENTRIES_MIN) {
        return false;
    }
    first = page_fit(b->entries, b->count);
    return first + page_fit(b->entries + first, b->count - first) < b->count;
}

static bool builder_is_small(const struct builder *b)
{
    return page_used_bytes(b->entries, b->count) < PAGE_ROOM_BYTES / 4;
}

/* How many entries the next page gets: as many as fit if there is more than another
 * page can hold, else half of them, or all. */
static size_t builder_cut(const struct builder *b)
{
    size_t fit = page_fit(b->entries, b->count);
    size_t cut = b->count / 2;

    if (fit == b->count || builder_is_overfull(b)) {
        return fit;
    }
    /* Keys may be further apart in one half, so that it holds fewer. */
    while (cut < fit &&
           page_fit(b->entries + cut, b->count - cut) < b->count - cut) {
        cut++;
    }
    return MIN(cut, fit);
}

/* Encode the next page of LEVEL and have it written: its entry for the parent. */
static int merge_write(struct merge *m, unsigned level, size_t count,
                       struct tree_entry *ret)
{
    struct builder *b = &m->builders[level];
    struct place place;
    int r;

    page_encode(m->page, m->tree, level, b->entries, count);
    r = m->ops->write_page(m->opaque, m->page, &place);
    if (r < 0) {
        return r;
    }
    assert(place_valid(place, PAGE_BYTES));
    *ret = (struct tree_entry){ b->entries[0].key, place };
    b->written = place;
    builder_consume(b, count);
    return 0;
}

/* Write a page of LEVEL and tell the level above. */
static int merge_emit(struct merge *m, unsigned level)
{
    struct tree_entry e;
    int r;

    if (level + 1 == TREE_LEVELS_MAX) {
        return -EBADMSG;    /* only a damaged tree is so deep */
    }
    r = builder_ready(&m->builders[level + 1]);
    if (r < 0) {
        return r;
    }
    r = merge_write(m, level, builder_cut(&m->builders[level]), &e);
    if (r < 0) {
        return r;
    }
    builder_append(&m->builders[level + 1], e);
    return 0;
}

enum settled { SETTLED, SETTLE_WROTE, SETTLE_SMALL };

/* Empty the builders up to LEVEL (MERGE-2), by one page in one call. */
static int merge_settle(struct merge *m, unsigned level)
{
    for (unsigned i = 0; i <= level; i++) {
        const struct builder *b = &m->builders[i];
        int r;

        if (b->count == 0) {
            continue;
        }
        if (builder_is_small(b)) {
            return SETTLE_SMALL;
        }
        r = merge_emit(m, i);
        return r < 0 ? r : SETTLE_WROTE;
    }
    return SETTLED;
}

/* ---- Frames --------------------------------------------------------------- */

/* Something below the page at LEVEL changes, or it flows into a builder. */
static void merge_touch(struct merge *m, unsigned level)
{
    for (unsigned i = m->levels; i-- > level; ) {
        struct frame *f = &m->frames[i];

        if (f->dirty) {
            continue;
        }
        assert(i == 0 || f->slot == 0 || m->builders[i - 1].count == 0);  /* MERGE-3 */
        for (size_t k = 0; k < f->slot; k++) {
            builder_append(&m->builders[i], page_entry(f->page->bytes, k));
        }
        m->ops->drop_page(m->opaque, f->page->place);
        f->dirty = true;
    }
}

static int merge_open(struct merge *m, const struct tree_child *child,
                      struct tree_missing *ret_missing)
{
    unsigned level = child->want.level;
    struct page *page;
    int r;

    r = builder_ready(&m->builders[level]);
    if (r < 0) {
        return r;
    }
    r = tree_page_get(m->cache, child, &page, ret_missing);
    if (r < 0) {
        return r;
    }
    m->frames[level] = (struct frame){
        .page = page,
        .count = page_count(page->bytes),
        .last = child->last,
    };
    m->level = level;
    return 0;
}

static void merge_close(struct merge *m)
{
    if (m->frames[m->level].page) {
        pagecache_put(m->cache, m->frames[m->level].page);
    }
    m->level++;
}

static void merge_done(struct merge *m, struct tree_root root)
{
    m->new_root = root;
    m->state = MERGE_DONE;
}

/* The lowest frame has come to its end. */
static int merge_end_frame(struct merge *m)
{
    unsigned level = m->level;
    struct frame *f = &m->frames[level];
    struct frame *parent = level + 1 < m->levels ? f + 1 : NULL;
    int r;

    if (!f->dirty) {
        r = merge_settle(m, level);
        if (r == SETTLE_SMALL) {
            merge_touch(m, level);
        }
        if (r != SETTLED) {
            return r < 0 ? r : 0;
        }
        if (parent && parent->dirty) {
            builder_append(&m->builders[level + 1],
                           page_entry(parent->page->bytes, parent->slot));
        }
    }
    merge_close(m);
    if (parent) {
        parent->slot++;
    } else if (f->dirty) {
        m->state = MERGE_FINISH;
    } else {
        merge_done(m, m->root);
    }
    return 0;
}

/* ---- Updates -------------------------------------------------------------- */

static uint64_t update_last(const struct tree_update *u)
{
    return u->key + (u->count - 1);
}

/* Look for updates from KEY on. */
static void merge_fetch(struct merge *m, uint64_t key)
{
    m->have_update = m->ops->next_update(m->opaque, key, &m->update);
    assert(!m->have_update || (m->update.key >= key && m->update.count > 0));
    assert(!m->have_update || place_is_hole(m->update.value) || m->update.count == 1);
}

/* The update is done up to key LAST. */
static void merge_advance(struct merge *m, uint64_t last)
{
    if (update_last(&m->update) > last) {
        m->update.count = update_last(&m->update) - last;
        m->update.key = last + 1;
    } else if (last == UINT64_MAX) {
        m->have_update = false;
    } else {
        merge_fetch(m, last + 1);
    }
}

static void merge_add_value(struct merge *m, uint64_t key, struct place value)
{
    if (m->ops->add_value) {
        m->ops->add_value(m->opaque, key, value);
    }
    builder_append(&m->builders[0], (struct tree_entry){ key, value });
}

static void merge_drop_value(struct merge *m, const struct tree_entry *old)
{
    if (m->ops->drop_value) {
        m->ops->drop_value(m->opaque, old->key, old->value);
    }
}

/* The update is a removal; OLD is the leaf's next entry or NULL, not before it. */
static void merge_remove(struct merge *m, struct frame *f, const struct tree_entry *old)
{
    if (old && old->key <= update_last(&m->update)) {
        merge_touch(m, 0);
        merge_drop_value(m, old);
        f->slot++;
    } else {
        merge_advance(m, MIN(update_last(&m->update), f->last));
    }
}

/* The update sets a value; OLD as above. */
static void merge_set(struct merge *m, struct frame *f, const struct tree_entry *old)
{
    bool replaces = old && old->key == m->update.key;

    if (replaces && place_equal(old->value, m->update.value)) {
        if (f->dirty) {
            builder_append(&m->builders[0], *old);
        }
    } else {
        merge_touch(m, 0);
        if (replaces) {
            merge_drop_value(m, old);
        }
        merge_add_value(m, m->update.key, m->update.value);
    }
    f->slot += replaces;
    merge_advance(m, m->update.key);
}

/* ---- The walk ------------------------------------------------------------- */

/* One entry or update of the open leaf; false: there is none. */
static bool merge_leaf_item(struct merge *m, struct frame *f)
{
    bool have_old = f->slot < f->count;
    bool have_update = m->have_update && m->update.key <= f->last;
    struct tree_entry old = { 0 };

    if (!have_update && (!have_old || !f->dirty)) {
        f->slot = f->count;
        return false;
    }
    if (have_old) {
        old = page_entry(f->page->bytes, f->slot);
    }
    if (have_old && (!have_update || old.key < m->update.key)) {
        if (f->dirty) {
            builder_append(&m->builders[0], old);
        }
        f->slot++;
    } else if (place_is_hole(m->update.value)) {
        merge_remove(m, f, have_old ? &old : NULL);
    } else {
        merge_set(m, f, have_old ? &old : NULL);
    }
    return true;
}

static int merge_leaf(struct merge *m)
{
    for (unsigned i = 0; i < MERGE_BATCH; i++) {
        if (!merge_leaf_item(m, &m->frames[0])) {
            return merge_end_frame(m);
        }
    }
    return 0;
}

static int merge_inner(struct merge *m, struct tree_missing *ret_missing)
{
    unsigned level = m->level;
    struct frame *f = &m->frames[level];

    while (f->slot < f->count) {
        struct tree_child child = tree_child_of_page(f->page, f->slot, f->last);
        bool touched = m->have_update && m->update.key <= child.last;
        int r = touched ? SETTLED : merge_settle(m, level - 1);

        if (touched || r == SETTLE_SMALL) {
            return merge_open(m, &child, ret_missing);
        }
        if (r != SETTLED) {
            return r < 0 ? r : 0;
        }
        if (f->dirty) {
            builder_append(&m->builders[level],
                           page_entry(f->page->bytes, f->slot));
        }
        f->slot++;
    }
    return merge_end_frame(m);
}

static int merge_walk(struct merge *m, struct tree_missing *ret_missing)
{
    for (unsigned i = 0; i < TREE_LEVELS_MAX; i++) {
        if (builder_is_overfull(&m->builders[i])) {
            return merge_emit(m, i);                                /* MERGE-4 */
        }
    }
    return m->level == 0 ? merge_leaf(m) : merge_inner(m, ret_missing);
}

static int merge_start(struct merge *m, struct tree_missing *ret_missing)
{
    struct tree_child child;
    int r;

    merge_fetch(m, 0);
    if (!m->have_update) {
        merge_done(m, m->root);
        return 0;
    }
    if (m->root.levels == 0 && place_is_hole(m->root.place)) {
        r = builder_ready(&m->builders[0]);
        if (r < 0) {
            return r;
        }
        m->frames[0] = (struct frame){ .last = UINT64_MAX, .dirty = true };
        m->levels = 1;
        m->level = 0;
    } else {
        r = tree_child_of_root(m->tree, &m->root, &child);
        if (r < 0) {
            return r;
        }
        r = merge_open(m, &child, ret_missing);
        if (r < 0) {
            return r;
        }
        m->levels = m->root.levels;
    }
    m->state = MERGE_WALK;
    return 0;
}

/* ---- The end -------------------------------------------------------------- */

/* All that is left is one entry in builder LEVEL: its child becomes the root, or the
 * child's only child.  (A page that we wrote has more.) */
static int merge_collapse(struct merge *m, unsigned level,
                          struct tree_missing *ret_missing)
{
    struct builder *b = &m->builders[level];
    struct builder *below = b - 1;
    struct tree_child child = {
        .want = { .place = b->entries[0].value, .tree = m->tree, .level = level - 1 },
        .first = b->entries[0].key,
        .last = UINT64_MAX,
    };
    struct page *page;
    int r;

    if (level > 1 && !place_equal(child.want.place, below->written)) {
        r = builder_ready(below);
        if (r < 0) {
            return r;
        }
        r = tree_page_get(m->cache, &child, &page, ret_missing);
        if (r < 0) {
            return r;
        }
        if (page_count(page->bytes) == 1) {
            builder_append(below, page_entry(page->bytes, 0));
            builder_consume(b, 1);
            m->ops->drop_page(m->opaque, page->place);
        }
        pagecache_put(m->cache, page);
    }
    if (b->count > 0) {
        merge_done(m, (struct tree_root){ child.want.place, level });
    }
    return 0;
}

/* Write what the builders still hold, from below, a page in each call. */
static int merge_finish(struct merge *m, struct tree_missing *ret_missing)
{
    unsigned low = 0;
    unsigned top = TREE_LEVELS_MAX - 1;
    struct tree_entry e;
    int r;

    while (low < top && m->builders[low].count == 0) {
        low++;
    }
    while (top > low && m->builders[top].count == 0) {
        top--;
    }
    if (m->builders[top].count == 0) {
        merge_done(m, (struct tree_root){ PLACE_HOLE, 0 });
        return 0;
    }
    if (low < top || page_fit(m->builders[top].entries, m->builders[top].count) <
                     m->builders[top].count) {
        return merge_emit(m, low);
    }
    if (top > 0 && m->builders[top].count == 1) {
        return merge_collapse(m, top, ret_missing);
    }
    r = merge_write(m, top, m->builders[top].count, &e);
    if (r < 0) {
        return r;
    }
    merge_done(m, (struct tree_root){ e.value, top + 1 });
    return 0;
}

/* ---- Interface ------------------------------------------------------------ */

struct merge *merge_new(struct pagecache *cache, enum tree_id tree,
                        const struct tree_root *root, const struct merge_ops *ops,
                        void *opaque)
{
    struct merge *m = calloc(1, sizeof(*m));

    if (!m) {
        return NULL;
    }
    m->cache = cache;
    m->tree = tree;
    m->root = *root;
    m->ops = ops;
    m->opaque = opaque;
    return m;
}

void merge_free(struct merge *m)
{
    if (!m) {
        return;
    }
    while (m->level < m->levels) {
        merge_close(m);
    }
    for (unsigned i = 0; i < TREE_LEVELS_MAX; i++) {
        free(m->builders[i].entries);
    }
    free(m);
}

int merge_step(struct merge *m, struct tree_root *ret_root,
               struct tree_missing *ret_missing)
{
    int r = m->error;

    switch (m->state) {
    case MERGE_START:
        r = merge_start(m, ret_missing);
        break;
    case MERGE_WALK:
        r = merge_walk(m, ret_missing);
        break;
    case MERGE_FINISH:
        r = merge_finish(m, ret_missing);
        break;
    case MERGE_DONE:
    case MERGE_FAILED:
        break;
    }
    if (r < 0 && r != -EAGAIN && r != -EBUSY) {
        m->state = MERGE_FAILED;
        m->error = r;
    }
    if (m->state != MERGE_DONE) {
        return r;
    }
    *ret_root = m->new_root;
    return 1;
}

/* The children of FRAME from SLOT on that updates touch and that are not in memory. */
static int merge_ahead_frame(struct merge *m, const struct frame *f, size_t slot,
                             struct tree_missing *ret, int max)
{
    int n = 0;

    for (unsigned looks = 0; looks < AHEAD_LOOKS_MAX && n < max; looks++) {
        struct tree_child child;
        struct tree_update u;
        struct page *page;

        if (slot >= f->count) {
            break;
        }
        child = tree_child_of_page(f->page, slot, f->last);
        if (!m->ops->next_update(m->opaque, child.first, &u) || u.key > f->last) {
            break;
        }
        if (u.key > child.last) {
            slot = (size_t)page_search(f->page->bytes, u.key);
            continue;
        }
        page = pagecache_get(m->cache, child.want.place);
        if (page) {
            pagecache_put(m->cache, page);
        } else {
            ret[n++] = child.want;
        }
        slot++;
    }
    return n;
}

int merge_ahead(struct merge *m, struct tree_missing *ret, int max)
{
    int n = 0;

    if (m->state != MERGE_WALK || !m->have_update) {
        return 0;
    }
    for (unsigned i = MAX(m->level, 1u); i < m->levels; i++) {
        const struct frame *f = &m->frames[i];

        /* The child at the slot is open already, except for the lowest frame's. */
        n += merge_ahead_frame(m, f, f->slot + (i > m->level), ret + n, max - n);
    }
    return n;
}
