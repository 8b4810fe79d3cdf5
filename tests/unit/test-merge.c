/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rounds of updates merged into a tree, against a sorted array: contents, which pages
 * are live, which values came and went, how full pages are; with pages missing and
 * writes refused at random, and with damaged trees.
 */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pagestore.h"

#define ENTRIES_MAX 200000u
#define UPDATES_MAX 20000u

struct tally {              /* of values; the order does not matter */
    size_t count;
    uint64_t sum;
};

struct world {
    struct pagestore *store;
    struct tree_root root;
    struct tree_entry *e;           /* the model: what the tree holds */
    size_t count;
    struct tree_update *u;          /* this round's updates */
    size_t u_count;
    struct tally added, dropped;    /* as the merge says */
    struct tally to_add, to_drop;   /* as the model says */
    size_t first_new;               /* pages from here on are this round's */
    size_t *drops;                  /* numbers of dropped pages */
    size_t drop_count;
    size_t drop_room;
    unsigned step_writes;           /* pages written in the present step */
    bool tiny_pages;                /* not all were written by merges */
    unsigned busy_one_in;           /* write_page() refuses; 0 never */
    int write_error;
    bool refused;
    uint8_t offered[PAGE_BYTES];    /* the page that was refused */
    uint64_t next_value;
};

static struct rng *rng_of(struct world *w)
{
    return &w->store->rng;
}

static void tally_add(struct tally *t, uint64_t key, struct place value)
{
    struct rng mix = { key * 31 + value.w0 * 7 + value.w1 };

    t->count++;
    t->sum += rng_next(&mix);
}

static void tally_compare(const struct tally *a, const struct tally *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->sum, b->sum);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->store = pagestore_new(TREE_MAP, seed);
    w->e = malloc(ENTRIES_MAX * sizeof(w->e[0]));
    w->u = malloc(UPDATES_MAX * sizeof(w->u[0]));
    assert_non_null(w->e);
    assert_non_null(w->u);
    return w;
}

static void world_free(struct world *w)
{
    pagestore_free(w->store);
    free(w->e);
    free(w->u);
    free(w->drops);
    free(w);
}

static struct place new_value(struct world *w)
{
    uint64_t n = ++w->next_value;

    return place_make(1 + n % 99999, n % 4000 * 4096, 4096, (uint32_t)n);
}

/* ---- The merge's callbacks ------------------------------------------------ */

static bool world_next_update(void *opaque, uint64_t key, struct tree_update *ret)
{
    const struct world *w = opaque;
    size_t low = 0;
    size_t high = w->u_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (w->u[middle].key + (w->u[middle].count - 1) < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == w->u_count) {
        return false;
    }
    *ret = w->u[low];
    if (ret->key < key) {
        ret->count -= key - ret->key;
        ret->key = key;
    }
    return true;
}

static int world_write_page(void *opaque, const void *page, struct place *ret)
{
    struct world *w = opaque;

    assert_int_equal(page_check(page, w->store->tree, page_level(page)), 0);
    assert_int_equal(w->step_writes++, 0);
    if (w->refused) {
        assert_memory_equal(w->offered, page, PAGE_BYTES);
    }
    w->refused = w->busy_one_in > 0 && rng_one_in(rng_of(w), w->busy_one_in);
    if (w->write_error) {
        return w->write_error;
    }
    if (w->refused) {
        memcpy(w->offered, page, PAGE_BYTES);
        return -EBUSY;
    }
    *ret = pagestore_write(w->store, page);
    return 0;
}

static void world_drop_page(void *opaque, struct place place)
{
    struct world *w = opaque;
    size_t n;

    assert_true(pagestore_find(w->store, place, &n));
    assert_true(n < w->first_new);
    assert_true(w->store->pages[n].live);
    w->store->pages[n].live = false;
    if (w->drop_count == w->drop_room) {
        w->drop_room = MAX(2 * w->drop_room, (size_t)64);
        w->drops = realloc(w->drops, w->drop_room * sizeof(w->drops[0]));
        assert_non_null(w->drops);
    }
    w->drops[w->drop_count++] = n;
}

static void world_add_value(void *opaque, uint64_t key, struct place value)
{
    tally_add(&((struct world *)opaque)->added, key, value);
}

static void world_drop_value(void *opaque, uint64_t key, struct place value)
{
    tally_add(&((struct world *)opaque)->dropped, key, value);
}

static const struct merge_ops world_ops = {
    .next_update = world_next_update,
    .write_page = world_write_page,
    .drop_page = world_drop_page,
    .add_value = world_add_value,
    .drop_value = world_drop_value,
};

/* ---- The model ------------------------------------------------------------ */

static int compare_updates(const void *a, const void *b)
{
    const struct tree_update *x = a;
    const struct tree_update *y = b;

    return x->key < y->key ? -1 : x->key > y->key;
}

/* Bring what was put into u[] into the form that a merge wants. */
static void updates_sort(struct world *w)
{
    size_t n = 0;
    uint64_t end = 0;

    qsort(w->u, w->u_count, sizeof(w->u[0]), compare_updates);
    for (size_t i = 0; i < w->u_count; i++) {
        struct tree_update u = w->u[i];

        if (n > 0 && u.key < end) {
            continue;
        }
        if (i + 1 < w->u_count && u.key + u.count > w->u[i + 1].key) {
            u.count = w->u[i + 1].key - u.key;
            if (u.count == 0) {
                continue;
            }
        }
        end = u.key + u.count;
        w->u[n++] = u;
    }
    w->u_count = n;
}

static void updates_put(struct world *w, uint64_t key, uint64_t count,
                        struct place value)
{
    assert_true(w->u_count < UPDATES_MAX);
    w->u[w->u_count++] = (struct tree_update){ key, count, value };
}

/* One update and the entries it meets, from E[*AT] on, into the new array. */
static void model_apply(struct world *w, const struct tree_update *u, size_t *at,
                        struct tree_entry *fresh, size_t *n)
{
    bool same = false;

    while (*at < w->count && w->e[*at].key - u->key < u->count) {
        same = place_equal(w->e[*at].value, u->value);
        if (!same) {
            tally_add(&w->to_drop, w->e[*at].key, w->e[*at].value);
        }
        ++*at;
    }
    if (!place_is_hole(u->value)) {
        if (!same) {
            tally_add(&w->to_add, u->key, u->value);
        }
        fresh[(*n)++] = (struct tree_entry){ u->key, u->value };
    }
}

static void model_merge(struct world *w)
{
    struct tree_entry *fresh = malloc(ENTRIES_MAX * sizeof(*fresh));
    size_t n = 0;
    size_t at = 0;

    assert_non_null(fresh);
    assert_true(w->count + w->u_count <= ENTRIES_MAX);
    for (size_t i = 0; i < w->u_count; i++) {
        while (at < w->count && w->e[at].key < w->u[i].key) {
            fresh[n++] = w->e[at++];
        }
        model_apply(w, &w->u[i], &at, fresh, &n);
    }
    while (at < w->count) {
        fresh[n++] = w->e[at++];
    }
    free(w->e);
    w->e = fresh;
    w->count = n;
}

/* ---- Checks --------------------------------------------------------------- */

struct survey {
    struct pagestore *store;
    size_t pages;
    double fill;            /* sum over all pages */
    double fill_min;        /* but for the right edge, where no neighbour comes */
};

/* The page at PLACE has keys FIRST to LAST and is live, and so on below. */
static void survey_page(struct survey *s, struct place place, unsigned level,
                        uint64_t first, uint64_t last)
{
    struct tree_entry e[PAGE_ENTRIES_MAX];
    const uint8_t *page;
    size_t count, n;
    double fill;

    assert_true(pagestore_find(s->store, place, &n));
    assert_true(s->store->pages[n].live);
    page = s->store->pages[n].bytes;
    assert_int_equal(page_check(page, s->store->tree, level), 0);
    count = page_count(page);
    for (size_t i = 0; i < count; i++) {
        e[i] = page_entry(page, i);
    }
    assert_true(e[0].key >= first && e[count - 1].key <= last);
    fill = (double)page_used_bytes(e, count) / PAGE_ROOM_BYTES;
    assert_true(fill >= s->fill_min || last == UINT64_MAX);
    s->pages++;
    s->fill += fill;
    for (size_t i = 0; level > 0 && i < count; i++) {
        survey_page(s, e[i].value, level - 1, e[i].key,
                    i + 1 < count ? e[i + 1].key - 1 : last);
    }
}

/* Every live page is reached, once.  Returns how full pages are on average. */
static double world_survey(struct world *w)
{
    struct survey s = { .store = w->store, .fill_min = w->tiny_pages ? 0 : 0.25 };
    size_t live = 0;

    if (w->root.levels > 0) {
        survey_page(&s, w->root.place, w->root.levels - 1, 0, UINT64_MAX);
    }
    for (size_t i = 0; i < w->store->count; i++) {
        live += w->store->pages[i].live;
    }
    assert_int_equal(live, s.pages);
    return s.pages > 0 ? s.fill / (double)s.pages : 1;
}

static void world_compare_range(struct world *w, uint64_t key, size_t index)
{
    struct place values[100];

    assert_int_equal(pagestore_lookup(w->store, &w->root, key, ARRAY_SIZE(values),
                                      values), 0);
    while (index > 0 && w->e[index - 1].key >= key) {
        index--;
    }
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        bool there;

        while (index < w->count && w->e[index].key < key + i) {
            index++;
        }
        there = index < w->count && w->e[index].key == key + i;
        assert_true(place_equal(values[i], there ? w->e[index].value : PLACE_HOLE));
    }
}

static void world_compare(struct world *w)
{
    struct tree_entry e;
    uint64_t key = 0;

    for (size_t i = 0; i < w->count; i++) {
        assert_int_equal(pagestore_next(w->store, &w->root, key, &e), 1);
        assert_int_equal(e.key, w->e[i].key);
        assert_true(place_equal(e.value, w->e[i].value));
        key = e.key + 1;
    }
    assert_int_equal(pagestore_next(w->store, &w->root, key, &e), 0);
    for (unsigned n = 0; w->count > 0 && n < 50; n++) {
        size_t i = rng_below(rng_of(w), w->count);
        uint64_t back = rng_below(rng_of(w), 100);

        world_compare_range(w, w->e[i].key - MIN(back, w->e[i].key), i);
    }
}

/* ---- Merging -------------------------------------------------------------- */

static void load_ahead(struct world *w, struct merge *m)
{
    struct tree_missing want[4];
    int n = merge_ahead(m, want, ARRAY_SIZE(want));

    assert_in_range(n, 0, ARRAY_SIZE(want));
    for (int i = 0; i < n; i++) {
        size_t page;

        assert_null(pagecache_get(w->store->cache, want[i].place));
        assert_true(pagestore_find(w->store, want[i].place, &page));
        assert_true(page < w->first_new && w->store->pages[page].live);
        assert_int_equal(pagestore_load(w->store, &want[i]), 0);
    }
}

/* 1: done.  0: given up after MAX_STEPS.  Or the merge's error. */
static int merge_run(struct world *w, struct merge *m, unsigned max_steps, bool ahead,
                     struct tree_root *ret)
{
    struct tree_missing want;

    for (unsigned n = 0; n < max_steps; n++) {
        int r;

        pagestore_forget(w->store);
        if (ahead) {
            load_ahead(w, m);
        }
        w->step_writes = 0;
        r = merge_step(m, ret, &want);
        if (r == -EAGAIN) {
            r = pagestore_load(w->store, &want);
        }
        if (r != 0 && r != -EBUSY) {
            return r;
        }
    }
    return 0;
}

static void round_begin(struct world *w)
{
    memset(&w->added, 0, sizeof(w->added));
    memset(&w->dropped, 0, sizeof(w->dropped));
    memset(&w->to_add, 0, sizeof(w->to_add));
    memset(&w->to_drop, 0, sizeof(w->to_drop));
    w->first_new = w->store->count;
    w->drop_count = 0;
    w->refused = false;
}

/* Forget what the merge did; the old tree is whole. */
static void round_abandon(struct world *w)
{
    for (size_t i = w->first_new; i < w->store->count; i++) {
        w->store->pages[i].live = false;
    }
    for (size_t i = 0; i < w->drop_count; i++) {
        w->store->pages[w->drops[i]].live = true;
    }
}

static void free_dead_pages(struct world *w)
{
    for (size_t i = 0; i < w->store->count; i++) {
        struct stored_page *p = &w->store->pages[i];

        if (!p->live && p->bytes) {
            pagecache_drop(w->store->cache, pagestore_place(i));
            free(p->bytes);
            p->bytes = NULL;
        }
    }
}

/* Merge u[] into the tree and check everything. */
static void round_run(struct world *w, bool ahead)
{
    struct merge *m;
    struct tree_root root = { { 7, 7 }, 7 };

    round_begin(w);
    if (rng_one_in(rng_of(w), 8)) {
        m = merge_new(w->store->cache, w->store->tree, &w->root, &world_ops, w);
        (void)merge_run(w, m, (unsigned)rng_below(rng_of(w), 300), ahead, &root);
        merge_free(m);
        round_abandon(w);
        (void)world_survey(w);
        world_compare(w);
        free_dead_pages(w);
        round_begin(w);
    }
    m = merge_new(w->store->cache, w->store->tree, &w->root, &world_ops, w);
    assert_int_equal(merge_run(w, m, UINT32_MAX, ahead, &root), 1);
    merge_free(m);
    w->root = root;
    model_merge(w);
    tally_compare(&w->added, &w->to_add);
    tally_compare(&w->dropped, &w->to_drop);
    (void)world_survey(w);
    free_dead_pages(w);
    world_compare(w);
    w->u_count = 0;
}

/* ---- Random rounds -------------------------------------------------------- */

struct workload {
    const char *name;
    uint64_t keys;          /* in use: 0 to KEYS - 1 */
    unsigned rounds;
    unsigned updates;       /* in a round */
    unsigned run_max;       /* keys in a row that are set together */
    unsigned removal_one_in;    /* 0: none */
    uint64_t removal_max;   /* keys */
    double fill_min;        /* of pages, on average, after the rounds */
};

static void updates_put_random(struct world *w, const struct workload *load)
{
    struct rng *rng = rng_of(w);
    uint64_t key = rng_below(rng, load->keys);
    uint64_t run = 1 + rng_below(rng, load->run_max);

    if (load->removal_one_in > 0 && rng_one_in(rng, load->removal_one_in)) {
        updates_put(w, key, 1 + rng_below(rng, load->removal_max), PLACE_HOLE);
        return;
    }
    for (uint64_t i = 0; i < run; i++) {
        updates_put(w, key + i, 1, new_value(w));
    }
    if (w->count > 0 && rng_one_in(rng, 10)) {
        const struct tree_entry *e = &w->e[rng_below(rng, w->count)];

        updates_put(w, e->key, 1, e->value);        /* no change */
    }
}

static void run_workload(struct world *w, const struct workload *load)
{
    for (unsigned n = 0; n < load->rounds; n++) {
        static const unsigned forget_one_in[] = { 0, 100, 3 };
        static const unsigned busy_one_in[] = { 0, 2, 10 };

        w->store->forget_one_in = forget_one_in[rng_below(rng_of(w), 3)];
        w->busy_one_in = busy_one_in[rng_below(rng_of(w), 3)];
        while (w->u_count < load->updates) {
            updates_put_random(w, load);
        }
        updates_sort(w);
        round_run(w, n % 2 == 0);
    }
}

static void random_rounds_match_the_model(void **state)
{
    static const struct workload loads[] = {
        { "few keys",     300,                40, 40,   5,   3,  50,    0.0 },
        { "dense",        20000,              30, 800,  1,   10, 20,    0.6 },
        { "dense points", 100000,             30, 1500, 1,   0,  0,     0.6 },
        { "sparse",       (uint64_t)1 << 36,  25, 4000, 1,   0,  0,     0.6 },
        { "few sparse",   (uint64_t)1 << 36,  60, 100,  1,   5,  1 << 30, 0.5 },
        { "clusters",     (uint64_t)1 << 30,  25, 3000, 500, 20, 1 << 24, 0.6 },
        { "big removals", 50000,              40, 2000, 30,  40, 20000, 0.3 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
        struct world *w = world_new(100 + i);
        double fill;

        run_workload(w, &loads[i]);
        fill = world_survey(w);
        print_message("%s: %zu entries, %u levels, fill %.2f\n", loads[i].name,
                      w->count, w->root.levels, fill);
        assert_true(fill >= loads[i].fill_min);
        world_free(w);
    }
}

/* Trees of another writer may have pages as small and as deep as the format allows. */
static void trees_of_tiny_pages_are_merged(void **state)
{
    static const struct workload load = {
        "tiny pages", 100000, 15, 100, 30, 5, 5000, 0.2
    };
    static const size_t per_page[] = { 3, 10, 30, 60 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(per_page); i++) {
        struct world *w = world_new(200 + i);

        for (uint64_t key = 5; w->count < 3000; key += 1 + rng_below(rng_of(w), 60)) {
            w->e[w->count++] = (struct tree_entry){ key, new_value(w) };
        }
        w->root = pagestore_build(w->store, w->e, w->count, per_page[i]);
        w->tiny_pages = true;
        run_workload(w, &load);
        world_free(w);
    }
}

static void appended_keys_fill_their_pages(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    for (uint64_t n = 0; n < 20; n++) {
        for (uint64_t i = 0; i < 3000; i++) {
            updates_put(w, n * 3000 + i, 1, new_value(w));
        }
        round_run(w, false);
    }
    assert_true(world_survey(w) > 0.9);
    world_free(w);
}

/* ---- Single properties ---------------------------------------------------- */

/* A tree of COUNT keys, GAP apart. */
static struct world *world_of(size_t count, uint64_t gap)
{
    struct world *w = world_new(count);

    for (size_t at = 0; at < count; ) {
        for (size_t n = 0; n < 10000 && at < count; n++, at++) {
            updates_put(w, at * gap, 1, new_value(w));
        }
        round_run(w, false);
    }
    return w;
}

static void no_change_keeps_the_root(void **state)
{
    struct world *w = world_of(60000, 10);
    struct tree_root root = w->root;
    size_t pages = w->store->count;

    (void)state;
    round_run(w, false);                            /* no updates at all */
    for (size_t i = 0; i < w->count; i += 7) {
        updates_put(w, w->e[i].key, 1, w->e[i].value);
        updates_put(w, w->e[i].key + 1, 5, PLACE_HOLE);
    }
    updates_put(w, w->e[w->count - 1].key + 100, (uint64_t)1 << 40, PLACE_HOLE);
    round_run(w, false);
    assert_int_equal(root.levels, 3);
    assert_int_equal(w->root.levels, root.levels);
    assert_true(place_equal(w->root.place, root.place));
    assert_int_equal(w->store->count, pages);
    assert_int_equal(w->drop_count, 0);
    world_free(w);
}

static void one_key_costs_one_path(void **state)
{
    struct world *w = world_of(60000, 10);
    size_t pages;

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        pages = w->store->count;
        updates_put(w, w->e[rng_below(rng_of(w), w->count)].key, 1, new_value(w));
        w->drop_count = 0;
        round_run(w, false);
        /* An abandoned try writes as well. */
        assert_true(w->store->count - w->first_new == 3);
        assert_true(w->store->count - pages <= 6);
        assert_int_equal(w->drop_count, 3);
    }
    world_free(w);
}

static void removing_all_writes_nothing(void **state)
{
    struct world *w = world_of(60000, 10);
    size_t pages = w->store->count;

    (void)state;
    updates_put(w, 0, UINT64_MAX, PLACE_HOLE);
    round_run(w, true);
    assert_int_equal(w->root.levels, 0);
    assert_true(place_is_hole(w->root.place));
    assert_int_equal(w->store->count, pages);
    assert_int_equal(w->dropped.count, 60000);
    round_run(w, true);
    updates_put(w, UINT64_MAX - 200, 1, new_value(w));
    round_run(w, true);
    assert_int_equal(w->root.levels, 1);
    world_free(w);
}

static void removing_whole_leaves_writes_few_pages(void **state)
{
    struct world *w = world_of(60000, 10);

    (void)state;
    updates_put(w, w->e[10000].key, w->e[50000].key - w->e[10000].key, PLACE_HOLE);
    round_run(w, true);
    assert_int_equal(w->count, 20000);
    assert_true(w->store->count - w->first_new <= 12);
    world_free(w);
}

static void root_collapses(void **state)
{
    struct world *w = world_of(60000, 10);
    size_t keep;

    (void)state;
    for (keep = 40000; keep > 0; keep /= 2) {
        updates_put(w, w->e[keep].key, UINT64_MAX - w->e[keep].key, PLACE_HOLE);
        round_run(w, false);
        assert_int_equal(w->count, keep);
        assert_int_equal(w->root.levels, keep > 30000 ? 3 : keep > 200 ? 2 : 1);
    }
    world_free(w);
}

/* The last leaf hangs on pages with one child each; only that path is left, as it was:
 * none of its inner pages must become the root. */
static void root_collapses_through_old_pages(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    for (uint64_t key = 0; key < 82; key++) {
        w->e[w->count++] = (struct tree_entry){ key, new_value(w) };
    }
    w->tiny_pages = true;
    w->root = pagestore_build(w->store, w->e, w->count, 3);  /* 28, 10, 4, 2, 1 pages */
    assert_int_equal(w->root.levels, 5);
    updates_put(w, 0, 81, PLACE_HOLE);
    round_run(w, false);
    assert_int_equal(w->root.levels, 1);
    assert_int_equal(w->store->count, w->first_new);
    world_free(w);
}

/* What is left of a leaf is too little for a page: the next leaf joins. */
static void small_rests_join_their_neighbours(void **state)
{
    struct world *w = world_of(45000, 10);

    (void)state;
    for (unsigned n = 0; n < 12; n++) {
        size_t i = 1000 + rng_below(rng_of(w), 10000);

        updates_put(w, w->e[i].key, 10 * 300, PLACE_HOLE);
        round_run(w, false);
        updates_put(w, w->e[i].key, 10 * 200, PLACE_HOLE);
        round_run(w, false);
    }
    /* All leaves of an inner page but for a few: the next inner page joins. */
    updates_put(w, w->e[3].key, w->e[20000].key, PLACE_HOLE);
    round_run(w, false);
    world_free(w);
}

static void pages_ahead_are_the_pages_needed(void **state)
{
    struct world *w = world_of(60000, 10);

    (void)state;
    w->store->forget_one_in = 1;
    pagestore_forget(w->store);
    w->store->forget_one_in = 0;
    for (unsigned n = 0; n < 100; n++) {
        updates_put(w, w->e[n * 600].key, 1, new_value(w));
    }
    w->store->loads = 0;
    round_begin(w);
    {
        struct merge *m = merge_new(w->store->cache, TREE_MAP, &w->root, &world_ops, w);
        struct tree_missing ahead[200], want;
        struct tree_root root;
        int n = 0, r;

        while ((r = merge_step(m, &root, &want)) == -EAGAIN && want.level > 0) {
            assert_int_equal(merge_ahead(m, ahead, 200), n);
            assert_int_equal(pagestore_load(w->store, &want), 0);
            assert_int_equal(merge_step(m, &root, &want), 0);
            n = want.level == 2 ? merge_ahead(m, ahead, 200) : 0;
        }
        assert_int_equal(r, -EAGAIN);
        n = merge_ahead(m, ahead, 200);
        assert_in_range(n, 30, 100);
        assert_true(place_equal(ahead[0].place, want.place));
        for (int i = 0; i < n; i++) {
            assert_true(ahead[i].level <= 1);
            assert_int_equal(pagestore_load(w->store, &ahead[i]), 0);
        }
        /* All leaves below the first level-1 page are there now. */
        while ((r = merge_step(m, &root, &want)) == 0) {
            w->step_writes = 0;
        }
        assert_int_equal(r, -EAGAIN);
        assert_int_equal(want.level, 0);
        merge_free(m);
    }
    world_free(w);
}

static void failed_write_ends_the_merge(void **state)
{
    struct world *w = world_of(20000, 10);
    struct tree_root root;
    struct merge *m;

    (void)state;
    for (size_t i = 0; i < w->count; i += 3) {
        updates_put(w, w->e[i].key, 1, PLACE_HOLE);
    }
    round_begin(w);
    w->write_error = -ENOSPC;
    m = merge_new(w->store->cache, TREE_MAP, &w->root, &world_ops, w);
    assert_int_equal(merge_run(w, m, UINT32_MAX, true, &root), -ENOSPC);
    assert_int_equal(merge_run(w, m, UINT32_MAX, false, &root), -ENOSPC);
    merge_free(m);
    round_abandon(w);
    world_compare(w);
    w->write_error = 0;
    round_run(w, true);
    world_free(w);
}

/* ---- Damage --------------------------------------------------------------- */

/* A page becomes another valid one: entries lost, keys and children exchanged. */
static void damage_page(struct world *w)
{
    struct pagestore *s = w->store;
    struct rng *rng = &s->rng;
    struct tree_entry e[PAGE_ENTRIES_MAX];
    size_t n = rng_below(rng, s->count);
    uint8_t *page = s->pages[n].bytes;
    unsigned level = page_level(page);
    size_t count = page_count(page);
    size_t i = rng_below(rng, count);
    uint64_t shift = rng_below(rng, 1000);

    for (size_t k = 0; k < count; k++) {
        e[k] = page_entry(page, k);
    }
    switch (rng_below(rng, 5)) {
    case 0:
        count = 1 + rng_below(rng, count);
        break;
    case 1:
        e[count - 1].key += shift;
        break;
    case 2:
        e[0].key -= MIN(e[0].key, shift);
        break;
    case 3:
        e[i].value = pagestore_place(rng_below(rng, s->count));
        break;
    default:
        level = (unsigned)rng_below(rng, 3);
        break;
    }
    page_encode(page, s->tree, level, e, MIN(page_fit(e, count), count));
}

static void damaged_drop(void *opaque, struct place place)
{
    (void)opaque;
    (void)place;
}

static void damaged_trees_give_errors(void **state)
{
    struct merge_ops ops = world_ops;
    unsigned refused = 0;

    (void)state;
    ops.drop_page = damaged_drop;       /* a damaged tree may name a page twice */
    for (unsigned n = 0; n < 150; n++) {
        struct world *w = world_new(n);
        struct tree_root root;
        struct place values[100];
        struct merge *m;
        int r;

        for (uint64_t key = 0; w->count < 2000; key += 1 + rng_below(rng_of(w), 60)) {
            w->e[w->count++] = (struct tree_entry){ key, new_value(w) };
        }
        w->root = pagestore_build(w->store, w->e, w->count, n % 2 ? 20 : 100);
        for (unsigned k = 0; k < 3; k++) {
            damage_page(w);
        }
        for (unsigned k = 0; k < 300; k++) {
            updates_put(w, rng_below(rng_of(w), 60000), 1 + k % 2 * 200,
                        k % 2 ? PLACE_HOLE : new_value(w));
        }
        updates_sort(w);
        w->store->forget_one_in = n % 3 * 10;
        m = merge_new(w->store->cache, TREE_MAP, &w->root, &ops, w);
        r = merge_run(w, m, 100000, false, &root);
        merge_free(m);
        assert_true(r == 1 || r == -EBADMSG);
        refused += r == -EBADMSG;
        for (uint64_t key = 0; key < 60000; key += 100) {
            r = pagestore_lookup(w->store, &w->root, key, 100, values);
            assert_true(r == 0 || r == -EBADMSG);
        }
        world_free(w);
    }
    assert_true(refused > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rounds_match_the_model),
        cmocka_unit_test(trees_of_tiny_pages_are_merged),
        cmocka_unit_test(appended_keys_fill_their_pages),
        cmocka_unit_test(no_change_keeps_the_root),
        cmocka_unit_test(one_key_costs_one_path),
        cmocka_unit_test(removing_all_writes_nothing),
        cmocka_unit_test(removing_whole_leaves_writes_few_pages),
        cmocka_unit_test(root_collapses),
        cmocka_unit_test(root_collapses_through_old_pages),
        cmocka_unit_test(small_rests_join_their_neighbours),
        cmocka_unit_test(pages_ahead_are_the_pages_needed),
        cmocka_unit_test(failed_write_ends_the_merge),
        cmocka_unit_test(damaged_trees_give_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
