/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Look-up in trees that are written page by page here, whole ones and damaged ones. */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pagestore.h"

#define KEYS 20000u

/* Sorted entries, and the tree of them. */
struct fixture {
    struct pagestore *store;
    struct tree_root root;
    struct tree_entry e[KEYS];
    size_t count;
};

static struct place value_of(uint64_t key)
{
    return place_make(1 + key % 999, key % 4096 * 512, 512, (uint32_t)key);
}

static struct fixture *fixture_new(size_t count, uint64_t gap, size_t per_page)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uint64_t key = 0;

    assert_non_null(f);
    f->store = pagestore_new(TREE_MAP, count + gap);
    f->count = count;
    for (size_t i = 0; i < count; i++) {
        key += 1 + rng_below(&f->store->rng, gap);
        f->e[i] = (struct tree_entry){ key, value_of(key) };
    }
    f->root = pagestore_build(f->store, f->e, f->count, per_page);
    return f;
}

static void fixture_free(struct fixture *f)
{
    pagestore_free(f->store);
    free(f);
}

/* The index of the first entry with a key >= KEY. */
static size_t find(const struct fixture *f, uint64_t key)
{
    size_t low = 0;
    size_t high = f->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (f->e[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void compare_range(struct fixture *f, uint64_t key, size_t count)
{
    struct place values[300];
    size_t i = find(f, key);

    assert_true(count <= ARRAY_SIZE(values));
    memset(values, 0xFF, sizeof(values));
    assert_int_equal(pagestore_lookup(f->store, &f->root, key, count, values), 0);
    for (size_t k = 0; k < count; k++) {
        bool there = i < f->count && f->e[i].key == key + k;

        assert_true(place_equal(values[k], there ? f->e[i].value : PLACE_HOLE));
        i += there;
    }
}

static void compare_next(struct fixture *f, uint64_t key)
{
    struct tree_entry got;
    size_t i = find(f, key);

    assert_int_equal(pagestore_next(f->store, &f->root, key, &got), i < f->count);
    if (i < f->count) {
        assert_int_equal(got.key, f->e[i].key);
        assert_true(place_equal(got.value, f->e[i].value));
    }
}

/* ---- Whole trees ---------------------------------------------------------- */

static void empty_tree_has_nothing(void **state)
{
    struct pagestore *s = pagestore_new(TREE_MAP, 1);
    struct tree_root root = { PLACE_HOLE, 0 };
    struct place values[3] = { { 1, 1 }, { 1, 1 }, { 1, 1 } };
    struct tree_entry e;

    (void)state;
    assert_int_equal(pagestore_lookup(s, &root, 5, 3, values), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(place_equal(values[i], PLACE_HOLE));
    }
    assert_int_equal(pagestore_next(s, &root, 0, &e), 0);
    pagestore_free(s);
}

static void trees_of_all_shapes_are_read(void **state)
{
    static const struct {
        size_t count;
        uint64_t gap;
        size_t per_page;
        unsigned levels;
    } shapes[] = {
        { 1, 1, 300, 1 }, { 100, 3, 300, 1 }, { 5000, 1, 300, 2 },
        { KEYS, 100, 300, 2 }, { KEYS, 1 << 20, 20, 4 }, { 3000, 50, 3, 8 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct fixture *f = fixture_new(shapes[i].count, shapes[i].gap,
                                        shapes[i].per_page);
        uint64_t end = f->e[f->count - 1].key + 10;

        assert_int_equal(f->root.levels, shapes[i].levels);
        for (unsigned n = 0; n < 3000; n++) {
            uint64_t key = rng_below(&f->store->rng, end);

            f->store->forget_one_in = n < 1000 ? 0 : 5;
            if (rng_one_in(&f->store->rng, 2)) {
                key = f->e[rng_below(&f->store->rng, f->count)].key - n % 2;
            }
            compare_range(f, key, 1 + rng_below(&f->store->rng, 300));
            compare_next(f, key);
        }
        compare_next(f, 0);
        compare_next(f, UINT64_MAX);
        compare_range(f, UINT64_MAX - 299, 300);
        fixture_free(f);
    }
}

static void all_entries_come_in_order(void **state)
{
    struct fixture *f = fixture_new(KEYS, 30, 300);
    struct tree_entry e;
    uint64_t key = 0;

    (void)state;
    for (size_t i = 0; i < f->count; i++) {
        assert_int_equal(pagestore_next(f->store, &f->root, key, &e), 1);
        assert_int_equal(e.key, f->e[i].key);
        key = e.key + 1;
    }
    assert_int_equal(pagestore_next(f->store, &f->root, key, &e), 0);
    assert_int_equal(f->store->loads, f->store->count);     /* each page once */
    fixture_free(f);
}

static void what_is_known_is_answered_before_what_is_missing(void **state)
{
    struct fixture *f = fixture_new(5000, 1, 100);
    struct place values[300];
    struct tree_missing want;
    int r;

    (void)state;
    assert_int_equal(tree_lookup(f->store->cache, TREE_MAP, &f->root, 50, 300, values,
                                 &want), -EAGAIN);
    assert_true(place_equal(want.place, f->root.place));
    assert_int_equal(want.level, f->root.levels - 1);
    compare_range(f, 50, 1);
    r = tree_lookup(f->store->cache, TREE_MAP, &f->root, 50, 300, values, &want);
    assert_int_equal(r, f->e[100].key - 50);
    fixture_free(f);
}

/* ---- Damaged trees -------------------------------------------------------- */

/* Page N of the store is level LEVEL's, with what it says and entries as in E. */
static void rewrite(struct fixture *f, size_t n, enum tree_id tree, unsigned level,
                    const struct tree_entry *e, size_t count)
{
    page_encode(f->store->pages[n].bytes, tree, level, e, count);
    pagecache_drop(f->store->cache, pagestore_place(n));
}

static void expect_damage(struct fixture *f, uint64_t key)
{
    struct place value;
    struct tree_entry e;

    assert_int_equal(pagestore_lookup(f->store, &f->root, key, 1, &value), -EBADMSG);
    assert_int_equal(pagestore_next(f->store, &f->root, key, &e), -EBADMSG);
}

static void damaged_roots_are_refused(void **state)
{
    struct fixture *f = fixture_new(1000, 5, 100);
    struct tree_root good = f->root;

    (void)state;
    f->root.levels = TREE_LEVELS_MAX + 1;
    expect_damage(f, 1);
    f->root.levels = 0;
    expect_damage(f, 1);
    f->root.levels = 1;
    expect_damage(f, 1);
    f->root.levels = 3;
    expect_damage(f, 1);
    f->root = (struct tree_root){ PLACE_HOLE, 2 };
    expect_damage(f, 1);
    f->root = (struct tree_root){ place_make(1, 0, 512, 0), 2 };
    expect_damage(f, 1);
    f->root = good;
    compare_range(f, 1, 300);
    fixture_free(f);
}

/* The page of another level or tree is in the cache already: found there it must be
 * refused as well. */
static void pages_of_others_are_refused(void **state)
{
    struct fixture *f = fixture_new(1000, 5, 100);
    struct tree_root good = f->root;

    (void)state;
    compare_range(f, f->e[0].key, 300);
    compare_range(f, f->e[500].key, 300);
    f->root.levels = 1;
    expect_damage(f, 1);
    f->root = (struct tree_root){ pagestore_place(0), 2 };
    expect_damage(f, 1);
    f->root = good;
    f->store->tree = TREE_USAGE;
    expect_damage(f, 1);
    fixture_free(f);
}

static void keys_outside_their_parents_are_refused(void **state)
{
    struct fixture *f = fixture_new(300, 5, 100);
    struct tree_entry e[100];

    (void)state;
    memcpy(e, f->e + 100, sizeof(e));
    rewrite(f, 1, TREE_MAP, 0, e, 100);
    compare_range(f, f->e[150].key, 1);

    e[0].key = f->e[99].key - 1;                    /* before its parent's key */
    rewrite(f, 1, TREE_MAP, 0, e, 100);
    expect_damage(f, f->e[150].key);

    e[0].key = f->e[100].key;
    e[99].key = f->e[200].key + 1;                  /* after the next one's */
    rewrite(f, 1, TREE_MAP, 0, e, 100);
    expect_damage(f, f->e[150].key);
    compare_range(f, f->e[0].key, 1);               /* others go on */

    rewrite(f, 1, TREE_USAGE, 0, f->e + 100, 100);  /* page_check() sees these */
    expect_damage(f, f->e[150].key);
    rewrite(f, 1, TREE_MAP, 1, f->e + 100, 1);
    expect_damage(f, f->e[150].key);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_tree_has_nothing),
        cmocka_unit_test(trees_of_all_shapes_are_read),
        cmocka_unit_test(all_entries_come_in_order),
        cmocka_unit_test(what_is_known_is_answered_before_what_is_missing),
        cmocka_unit_test(damaged_roots_are_refused),
        cmocka_unit_test(pages_of_others_are_refused),
        cmocka_unit_test(keys_outside_their_parents_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
