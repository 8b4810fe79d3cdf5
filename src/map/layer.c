/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "map/layer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/*
 * A B+tree.  An entry is a data block (its place) or a hole (word 0 is zero, word 1
 * is the number of blocks), under its first block number.
 *
 *   LAYER-1  Keys ascend; unused keys of a node are KEY_NONE, so that a search needs
 *            no count.
 *   LAYER-2  An inner key is the smallest key below it.  So the last entry with
 *            key <= BLOCK is in the leaf that a descent by BLOCK ends in.
 *   LAYER-3  No two entries overlap, and no two holes touch.
 *   LAYER-4  No node is empty.  An inner root has two children or more.
 *   LAYER-5  `entries` and `nodes` are exact; spare nodes count.
 *
 * Two neighbours under one parent with NODE_MERGE_MAX keys or fewer together are made
 * one when either loses a key: random discards then waste less than half of a leaf.
 */
#define NODE_KEYS 64u
#define NODE_GROUP 8u           /* keys in a cache line */
#define CACHE_LINE_BYTES 64u
#define NODE_MERGE_MAX 48u      /* less than NODE_KEYS, or a node would merge and split */
#define LAYER_LEVELS_MAX 16u    /* 24^16 entries: out of reach */
#define KEY_NONE UINT64_MAX

struct node {
    uint16_t count;
    uint16_t level;             /* 0 leaf */
    uint64_t keys[NODE_KEYS];
    union {
        struct place values[NODE_KEYS];
        struct node *children[NODE_KEYS];
        struct node *spare_next;
    };
};

struct layer {
    struct node *root;          /* owned; NULL: empty */
    struct node *spare;         /* owned; reserved for the splits of one call */
    unsigned levels;
    size_t entries;
    size_t nodes;
};

/*
 * A descent: per level the node and the index taken in it.  In the leaf this is the
 * last entry with key <= the one looked for, or -1.
 */
struct path {
    struct node *node[LAYER_LEVELS_MAX];
    int slot[LAYER_LEVELS_MAX];
};

/* ---- Nodes ---------------------------------------------------------------- */

/*
 * How many keys of N are <= KEY.  Branch-free: one look into each cache line, then
 * all of one line.  The looks do not wait for each other, so a cold node costs about
 * one memory latency, where a binary search pays three in a row.
 */
static inline unsigned node_search(const struct node *n, uint64_t key)
{
    unsigned group = 0;
    unsigned in_group = 0;
    const uint64_t *keys;

#pragma GCC unroll 8
    for (unsigned i = NODE_GROUP; i < NODE_KEYS; i += NODE_GROUP) {
        group += n->keys[i] <= key;
    }
    keys = n->keys + (size_t)group * NODE_GROUP;
#pragma GCC unroll 8
    for (unsigned i = 0; i < NODE_GROUP; i++) {
        in_group += keys[i] <= key;
    }
    return group * NODE_GROUP + in_group;
}

static bool node_is_hole(const struct node *n, int i)
{
    return place_is_hole(n->values[i]);
}

/* The first block after entry I. */
static uint64_t node_entry_end(const struct node *n, int i)
{
    return n->keys[i] + (node_is_hole(n, i) ? n->values[i].w1 : 1);
}

static struct place hole_value(uint64_t count)
{
    return (struct place){ 0, count };
}

/* Move COUNT keys with what belongs to them; counts are the caller's. */
static void node_move(struct node *to, unsigned to_at, const struct node *from,
                      unsigned from_at, unsigned count)
{
    memmove(to->keys + to_at, from->keys + from_at, count * sizeof(to->keys[0]));
    if (from->level == 0) {
        memmove(to->values + to_at, from->values + from_at,
                count * sizeof(to->values[0]));
    } else {
        memmove(to->children + to_at, from->children + from_at,
                count * sizeof(to->children[0]));
    }
}

/* N has COUNT keys from now on, fewer than before. */
static void node_truncate(struct node *n, unsigned count)
{
    memset(n->keys + count, 0xFF, (n->count - count) * sizeof(n->keys[0]));
    n->count = (uint16_t)count;
}

static void node_insert(struct node *n, unsigned at, uint64_t key, struct place value,
                        struct node *child)
{
    node_move(n, at + 1, n, at, n->count - at);
    n->keys[at] = key;
    if (n->level == 0) {
        n->values[at] = value;
    } else {
        n->children[at] = child;
    }
    n->count++;
}

static void node_remove(struct node *n, unsigned at, unsigned count)
{
    node_move(n, at, n, at + count, n->count - at - count);
    node_truncate(n, n->count - count);
}

/* ---- Memory --------------------------------------------------------------- */

struct layer *layer_new(void)
{
    return calloc(1, sizeof(struct layer));
}

/* Have COUNT spare nodes, so that what follows cannot fail. */
static int layer_reserve(struct layer *l, unsigned count)
{
    unsigned have = 0;

    for (const struct node *n = l->spare; n; n = n->spare_next) {
        have++;
    }
    for (; have < count; have++) {
        struct node *n = malloc(sizeof(*n));

        if (!n) {
            return -ENOMEM;
        }
        n->spare_next = l->spare;
        l->spare = n;
        l->nodes++;
    }
    return 0;
}

static struct node *layer_take_node(struct layer *l, unsigned level)
{
    struct node *n = l->spare;

    assert(n);
    l->spare = n->spare_next;
    n->count = 0;
    n->level = (uint16_t)level;
    memset(n->keys, 0xFF, sizeof(n->keys));
    return n;
}

static void layer_free_node(struct layer *l, struct node *n)
{
    free(n);
    l->nodes--;
}

/* Any node without children, the last one: a parent becomes one in its turn. */
static void layer_free_last(struct layer *l)
{
    struct node *parent = NULL;
    struct node *n = l->root;

    while (n->level > 0 && n->count > 0) {
        parent = n;
        n = n->children[n->count - 1];
    }
    if (parent) {
        parent->count--;
    } else {
        l->root = NULL;
    }
    layer_free_node(l, n);
}

bool layer_free_some(struct layer *l, unsigned max)
{
    for (; max > 0 && l->root; max--) {
        layer_free_last(l);
    }
    for (; max > 0 && l->spare; max--) {
        struct node *n = l->spare;

        l->spare = n->spare_next;
        layer_free_node(l, n);
    }
    if (l->nodes > 0) {
        return false;
    }
    free(l);
    return true;
}

void layer_free(struct layer *l)
{
    if (l) {
        (void)layer_free_some(l, UINT32_MAX);
    }
}

size_t layer_entries(const struct layer *l)
{
    return l->entries;
}

size_t layer_bytes(const struct layer *l)
{
    return l->nodes * sizeof(struct node);
}

/* ---- Paths ---------------------------------------------------------------- */

/* The leaf where KEY is, or would be.  The layer has a root. */
static inline void layer_find_leaf(const struct layer *l, uint64_t key, struct path *p)
{
    struct node *n = l->root;

    for (unsigned level = l->levels - 1; level > 0; level--) {
        unsigned at = node_search(n, key);

        p->node[level] = n;
        p->slot[level] = at > 0 ? (int)at - 1 : 0;
        n = n->children[p->slot[level]];
    }
    p->node[0] = n;
}

/* The last entry with key <= KEY.  The layer has a root. */
static inline void layer_find(const struct layer *l, uint64_t key, struct path *p)
{
    layer_find_leaf(l, key, p);
    p->slot[0] = (int)node_search(p->node[0], key) - 1;
}

/* To the next entry; false: there is none, and P is used up. */
static bool path_next(const struct layer *l, struct path *p)
{
    unsigned level = 0;

    while (++p->slot[level] == p->node[level]->count) {
        if (++level == l->levels) {
            return false;
        }
    }
    for (; level > 0; level--) {
        p->node[level - 1] = p->node[level]->children[p->slot[level]];
        p->slot[level - 1] = 0;
    }
    return true;
}

/* The smallest key of P's node at LEVEL has changed: tell its ancestors. */
static void path_refresh(const struct layer *l, struct path *p, unsigned level)
{
    for (; level + 1 < l->levels; level++) {
        struct node *parent = p->node[level + 1];
        int slot = p->slot[level + 1];

        parent->keys[slot] = p->node[level]->keys[0];       /* LAYER-2 */
        if (slot > 0) {
            return;
        }
    }
}

/* ---- Insertion ------------------------------------------------------------ */

/* Reserve what inserting COUNT neighbouring entries (1 or 2) at P can need: one leaf
 * splits at most, and a parent only if the node below it did. */
static int layer_reserve_at(struct layer *l, const struct path *p, unsigned count)
{
    unsigned need = 1;

    if (p->node[0]->count + count <= NODE_KEYS) {
        return 0;
    }
    for (unsigned level = 1; ; level++, need++) {
        if (level == l->levels) {
            need++;     /* a new root */
            break;
        }
        if (p->node[level]->count < NODE_KEYS) {
            break;
        }
    }
    return layer_reserve(l, need);
}

/*
 * Where to cut the full node N for an insertion of KEY at AT.  A run of writes in
 * order, upwards or downwards, leaves full leaves behind it: also a run that goes on
 * before some higher blocks, which shows by its block before.
 */
static unsigned node_cut(const struct node *n, unsigned at, uint64_t key)
{
    if (at == 0 || at == NODE_KEYS) {
        return at;
    }
    if (n->level == 0 && at >= NODE_KEYS * 3 / 4 && n->keys[at - 1] + 1 == key) {
        return at;
    }
    return NODE_KEYS / 2;
}

static struct node *layer_split(struct layer *l, struct node *n, unsigned cut)
{
    struct node *right = layer_take_node(l, n->level);

    node_move(right, 0, n, cut, n->count - cut);
    right->count = (uint16_t)(n->count - cut);
    node_truncate(n, cut);
    return right;
}

static void layer_grow(struct layer *l, struct node *left, struct node *right)
{
    struct node *root = layer_take_node(l, l->levels);

    assert(l->levels < LAYER_LEVELS_MAX);
    node_insert(root, 0, left->keys[0], PLACE_HOLE, left);
    node_insert(root, 1, right->keys[0], PLACE_HOLE, right);
    l->root = root;
    l->levels++;
}

/* Put an entry behind the one P names; what it needs is reserved.  P is used up. */
static void layer_insert(struct layer *l, struct path *p, uint64_t key,
                         struct place value)
{
    struct node *child = NULL;

    l->entries++;
    for (unsigned level = 0; ; level++) {
        struct node *n = p->node[level];
        struct node *right = NULL;
        unsigned at = (unsigned)(p->slot[level] + 1);

        if (n->count == NODE_KEYS) {
            unsigned cut = node_cut(n, at, key);

            /* Either side has room for another one (layer_reserve_at()). */
            right = layer_split(l, n, cut);
            if (at > cut || cut >= NODE_KEYS - 1) {
                node_insert(right, at - cut, key, value, child);
            } else {
                node_insert(n, at, key, value, child);
            }
        } else {
            node_insert(n, at, key, value, child);
        }
        if (at == 0) {
            path_refresh(l, p, level);
        }
        if (!right) {
            return;
        }
        if (level + 1 == l->levels) {
            layer_grow(l, n, right);
            return;
        }
        key = right->keys[0];
        child = right;
    }
}

/* The first entry of an empty layer. */
static int layer_plant(struct layer *l, uint64_t key, struct place value)
{
    int r = layer_reserve(l, 1);

    if (r < 0) {
        return r;
    }
    l->root = layer_take_node(l, 0);
    l->levels = 1;
    l->entries = 1;
    node_insert(l->root, 0, key, value, NULL);
    return 0;
}

/* BLOCK lies in the hole that P names: data there, and what is left on both sides. */
static int layer_split_hole(struct layer *l, struct path *p, uint64_t block,
                            struct place place)
{
    struct node *leaf = p->node[0];
    int i = p->slot[0];
    uint64_t before = block - leaf->keys[i];
    uint64_t after = node_entry_end(leaf, i) - block - 1;
    int r;

    r = layer_reserve_at(l, p, (before > 0) + (after > 0));
    if (r < 0) {
        return r;
    }
    if (before == 0) {
        leaf->values[i] = place;
    } else {
        leaf->values[i] = hole_value(before);
        layer_insert(l, p, block, place);
    }
    if (after > 0) {
        layer_find(l, block, p);
        layer_insert(l, p, block + 1, hole_value(after));
    }
    return 0;
}

int layer_set(struct layer *l, uint64_t block, struct place place)
{
    struct path p;
    struct node *leaf;
    int i, r;

    assert(block < KEY_NONE && !place_is_hole(place));
    if (!l->root) {
        return layer_plant(l, block, place);
    }
    layer_find(l, block, &p);
    leaf = p.node[0];
    i = p.slot[0];
    if (i >= 0 && node_entry_end(leaf, i) > block) {
        if (node_is_hole(leaf, i)) {
            return layer_split_hole(l, &p, block, place);
        }
        leaf->values[i] = place;
        return 0;
    }
    r = layer_reserve_at(l, &p, 1);
    if (r < 0) {
        return r;
    }
    layer_insert(l, &p, block, place);
    return 0;
}

/* ---- Removal -------------------------------------------------------------- */

/* Make children I and I + 1 of PARENT one, if there are such and they are small. */
static bool layer_join(struct layer *l, struct node *parent, int i)
{
    struct node *left, *right;

    if (i < 0 || i + 1 >= parent->count) {
        return false;
    }
    left = parent->children[i];
    right = parent->children[i + 1];
    if (left->count + right->count > (int)NODE_MERGE_MAX) {
        return false;
    }
    node_move(left, left->count, right, 0, right->count);
    left->count = (uint16_t)(left->count + right->count);
    node_remove(parent, (unsigned)i + 1, 1);
    layer_free_node(l, right);
    return true;
}

/* Take the empty node at LEVEL of P out of its parent. */
static void layer_unlink(struct layer *l, struct path *p, unsigned level)
{
    struct node *parent = p->node[level + 1];
    int slot = p->slot[level + 1];

    node_remove(parent, (unsigned)slot, 1);
    layer_free_node(l, p->node[level]);
    if (slot == 0 && parent->count > 0) {
        path_refresh(l, p, level + 1);
    }
}

static void layer_shrink_root(struct layer *l)
{
    while (l->root && (l->root->count == 0 || (l->levels > 1 && l->root->count == 1))) {
        struct node *root = l->root;

        l->root = root->count == 0 ? NULL : root->children[0];
        l->levels = root->count == 0 ? 0 : l->levels - 1;
        layer_free_node(l, root);
    }
}

/* The leaf of P has lost entries (LAYER-4).  P is used up. */
static void layer_rebalance(struct layer *l, struct path *p)
{
    for (unsigned level = 0; level + 1 < l->levels; level++) {
        struct node *parent = p->node[level + 1];
        int slot = p->slot[level + 1];
        bool lost = false;

        if (p->node[level]->count == 0) {
            layer_unlink(l, p, level);
            lost = true;
        }
        lost |= layer_join(l, parent, slot - 1) || layer_join(l, parent, slot);
        if (!lost) {
            break;
        }
    }
    layer_shrink_root(l);
}

/* Remove the entries with FIRST <= key <= LAST. */
static void layer_remove(struct layer *l, uint64_t first, uint64_t last)
{
    struct path p;

    while (l->root) {
        struct node *leaf;
        unsigned n;
        int i;

        layer_find(l, first, &p);
        if (p.slot[0] < 0 || p.node[0]->keys[p.slot[0]] < first) {
            if (!path_next(l, &p)) {
                return;
            }
        }
        leaf = p.node[0];
        i = p.slot[0];
        if (leaf->keys[i] > last) {
            return;
        }
        n = node_search(leaf, last) - (unsigned)i;
        node_remove(leaf, (unsigned)i, n);
        l->entries -= n;
        if (i == 0 && leaf->count > 0) {
            path_refresh(l, &p, 0);
        }
        layer_rebalance(l, &p);
    }
}

/*
 * Which hole a punch of [*BEGIN, *END) makes: back to the start of one that touches
 * it, up to what MAX entries allow, and on to the end of one that touches there.
 */
static void layer_survey(const struct layer *l, unsigned max, uint64_t *begin,
                         uint64_t *end)
{
    struct path p;
    bool more = l->root;

    if (more) {
        layer_find(l, *begin > 0 ? *begin - 1 : 0, &p);
    }
    if (more && (p.slot[0] < 0 || p.node[0]->keys[p.slot[0]] < *begin)) {
        if (p.slot[0] >= 0 && node_is_hole(p.node[0], p.slot[0]) &&
            node_entry_end(p.node[0], p.slot[0]) >= *begin) {
            *begin = p.node[0]->keys[p.slot[0]];
            *end = MAX(*end, node_entry_end(p.node[0], p.slot[0]));
        }
        more = path_next(l, &p);
    }
    for (unsigned n = 0; more && p.node[0]->keys[p.slot[0]] <= *end; n++) {
        if (n == max) {
            *end = p.node[0]->keys[p.slot[0]];
        }
        if (node_is_hole(p.node[0], p.slot[0])) {
            *end = MAX(*end, node_entry_end(p.node[0], p.slot[0]));
        }
        more = n < max && path_next(l, &p);
    }
}

/* Make [BEGIN, END) one hole, of which only part is an entry by now. */
static int layer_make_hole(struct layer *l, uint64_t begin, uint64_t end)
{
    struct path p;
    int r;

    if (!l->root) {
        return layer_plant(l, begin, hole_value(end - begin));
    }
    layer_find(l, begin, &p);
    if (p.slot[0] < 0 || p.node[0]->keys[p.slot[0]] < begin) {
        struct path next = p;

        if (!path_next(l, &next) || next.node[0]->keys[next.slot[0]] >= end) {
            r = layer_reserve_at(l, &p, 1);
            if (r < 0) {
                return r;
            }
            layer_insert(l, &p, begin, hole_value(end - begin));
            return 0;
        }
        p = next;
    }

    /* The first entry inside becomes the hole; no memory is needed. */
    p.node[0]->keys[p.slot[0]] = begin;
    p.node[0]->values[p.slot[0]] = hole_value(end - begin);
    if (p.slot[0] == 0) {
        path_refresh(l, &p, 0);
    }
    layer_remove(l, begin + 1, end - 1);
    return 0;
}

int layer_punch(struct layer *l, uint64_t block, uint64_t count, unsigned max,
                uint64_t *ret_done)
{
    uint64_t begin = block;
    uint64_t end = block + count;
    int r;

    assert(max > 0 && count > 0 && block < end && end < KEY_NONE);
    layer_survey(l, max, &begin, &end);
    r = layer_make_hole(l, begin, end);
    if (r < 0) {
        return r;
    }
    *ret_done = MIN(end - block, count);
    return 0;
}

/* ---- Look-up -------------------------------------------------------------- */

void layer_prefetch(const struct layer *l, uint64_t block)
{
    struct path p;
    const char *leaf;

    if (!l->root) {
        return;
    }
    layer_find_leaf(l, block, &p);
    leaf = (const char *)p.node[0];
    for (size_t at = 0; at < sizeof(struct node); at += CACHE_LINE_BYTES) {
        __builtin_prefetch(leaf + at, 1);
    }
}

bool layer_next(const struct layer *l, uint64_t block, struct extent *ret)
{
    struct path p;
    const struct node *leaf;
    int i;

    if (!l->root) {
        return false;
    }
    layer_find(l, block, &p);
    if (p.slot[0] < 0 || node_entry_end(p.node[0], p.slot[0]) <= block) {
        if (!path_next(l, &p)) {
            return false;
        }
    }
    leaf = p.node[0];
    i = p.slot[0];
    ret->block = MAX(block, leaf->keys[i]);
    ret->count = node_entry_end(leaf, i) - ret->block;
    ret->place = node_is_hole(leaf, i) ? PLACE_HOLE : leaf->values[i];
    return true;
}

/* The value of the entry that has BLOCK, or NULL. */
static struct place *layer_value(const struct layer *l, uint64_t block)
{
    struct node *n = l->root;
    unsigned at;

    if (!n) {
        return NULL;
    }
    for (unsigned level = l->levels - 1; level > 0; level--) {
        at = node_search(n, block);
        if (at == 0) {
            return NULL;
        }
        n = n->children[at - 1];
    }
    at = node_search(n, block);
    if (at == 0 || node_entry_end(n, (int)at - 1) <= block) {
        return NULL;
    }
    return &n->values[at - 1];
}

bool layer_get(const struct layer *l, uint64_t block, struct place *ret)
{
    const struct place *value = layer_value(l, block);

    if (!value) {
        return false;
    }
    *ret = place_is_hole(*value) ? PLACE_HOLE : *value;
    return true;
}

bool layer_move(struct layer *l, uint64_t block, struct place from, struct place to)
{
    struct place *value = layer_value(l, block);

    assert(!place_is_hole(from) && !place_is_hole(to));
    if (!value || !place_equal(*value, from)) {
        return false;
    }
    *value = to;
    return true;
}

/* ---- Checks --------------------------------------------------------------- */

#ifdef HLFS_CHECKS

struct layer_tally {
    size_t entries;
    size_t nodes;
    uint64_t end;               /* of the entry before */
    bool hole;                  /* it is one */
};

static void leaf_check(const struct node *n, struct layer_tally *t)
{
    for (int i = 0; i < n->count; i++) {
        bool hole = node_is_hole(n, i);

        assert(n->keys[i] >= t->end);                               /* LAYER-3 */
        assert(!hole || n->values[i].w1 > 0);
        assert(!(hole && t->hole) || n->keys[i] > t->end);          /* LAYER-3 */
        t->end = node_entry_end(n, i);
        t->hole = hole;
        t->entries++;
    }
}

static void node_check(const struct node *n, unsigned level, struct layer_tally *t)
{
    t->nodes++;
    assert(n->level == level);
    assert(n->count > 0 && n->count <= NODE_KEYS);                  /* LAYER-4 */
    for (unsigned i = 0; i < NODE_KEYS; i++) {
        assert((n->keys[i] == KEY_NONE) == (i >= n->count));        /* LAYER-1 */
        assert(i == 0 || i >= n->count || n->keys[i - 1] < n->keys[i]);
    }
    if (level == 0) {
        leaf_check(n, t);
        return;
    }
    for (unsigned i = 0; i < n->count; i++) {
        assert(n->children[i]->keys[0] == n->keys[i]);              /* LAYER-2 */
        node_check(n->children[i], level - 1, t);
    }
}

void layer_check(const struct layer *l)
{
    struct layer_tally t = { 0 };

    for (const struct node *n = l->spare; n; n = n->spare_next) {
        t.nodes++;
    }
    if (l->root) {
        assert(l->levels == 1 || l->root->count > 1);               /* LAYER-4 */
        node_check(l->root, l->levels - 1, &t);
    }
    assert((l->levels == 0) == (l->root == NULL));
    assert(t.nodes == l->nodes);                                    /* LAYER-5 */
    assert(t.entries == l->entries);                                /* LAYER-5 */
}

#endif
