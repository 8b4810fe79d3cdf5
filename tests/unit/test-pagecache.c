/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page cache: its budget, pins, second chances, and contents that stay. */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "map/page.h"
#include "map/pagecache.h"

#define PAGES 2000u

static struct place place_of(unsigned n)
{
    return place_make(1 + n / 100, n % 100 * PAGE_BYTES, PAGE_BYTES, n * 7919);
}

static struct page *add(struct pagecache *c, unsigned n)
{
    uint8_t bytes[PAGE_BYTES];
    struct page *page;

    memset(bytes, (int)(n % 251), sizeof(bytes));
    memcpy(bytes, &n, sizeof(n));
    page = pagecache_add(c, place_of(n), bytes);
    assert_non_null(page);
    return page;
}

static void check(const struct page *page, unsigned n)
{
    const uint8_t *bytes = page->bytes;

    assert_true(place_equal(page->place, place_of(n)));
    assert_int_equal((uintptr_t)bytes % 4096, 0);
    assert_memory_equal(bytes, &n, sizeof(n));
    assert_int_equal(bytes[PAGE_BYTES - 1], n % 251);
}

static bool is_there(struct pagecache *c, unsigned n)
{
    struct page *page = pagecache_get(c, place_of(n));

    if (!page) {
        return false;
    }
    check(page, n);
    pagecache_put(c, page);
    return true;
}

static void pages_come_and_go(void **state)
{
    struct pagecache *c = pagecache_new(MIB(1));
    struct page *page;

    (void)state;
    assert_int_equal(pagecache_bytes(c), 0);
    assert_false(is_there(c, 1));
    page = add(c, 1);
    check(page, 1);
    assert_ptr_equal(add(c, 1), page);              /* there already: the same */
    pagecache_drop(c, place_of(1));                 /* pinned: nothing happens */
    pagecache_put(c, page);
    pagecache_put(c, page);
    assert_true(is_there(c, 1));
    pagecache_drop(c, place_of(1));
    assert_false(is_there(c, 1));
    pagecache_drop(c, place_of(1));
    assert_int_equal(pagecache_bytes(c), 0);
    pagecache_free(c);
    pagecache_free(NULL);
}

static void budget_holds(void **state)
{
    struct pagecache *c = pagecache_new(MIB(1));
    unsigned there = 0;

    (void)state;
    for (unsigned n = 0; n < PAGES; n++) {
        pagecache_put(c, add(c, n));
        assert_true(is_there(c, n));
        assert_true(pagecache_bytes(c) <= MIB(1));
    }
    for (unsigned n = 0; n < PAGES; n++) {
        there += is_there(c, n);
    }
    assert_in_range(there, 240, 256);
    pagecache_free(c);
}

static void pages_in_use_mostly_survive_scans(void **state)
{
    struct pagecache *c = pagecache_new(MIB(1));
    unsigned lost = 0;

    (void)state;
    for (unsigned n = 20; n < PAGES; n++) {
        pagecache_put(c, add(c, n));
        for (unsigned k = 0; k < 20; k++) {
            if (!is_there(c, k)) {
                pagecache_put(c, add(c, k));
                lost++;
            }
        }
    }
    assert_in_range(lost, 20, 100);
    pagecache_free(c);
}

static void pinned_pages_stay(void **state)
{
    struct pagecache *c = pagecache_new(0);
    struct page *pinned[300];
    size_t bytes;

    (void)state;
    for (unsigned n = 0; n < 300; n++) {
        pinned[n] = add(c, n);
    }
    for (unsigned n = 300; n < 1000; n++) {
        pagecache_put(c, add(c, n));
    }
    for (unsigned n = 0; n < 300; n++) {
        check(pinned[n], n);
        assert_true(is_there(c, n));
    }
    bytes = pagecache_bytes(c);
    assert_true(bytes > 300 * PAGE_BYTES);
    for (unsigned n = 0; n < 300; n++) {
        pagecache_put(c, pinned[n]);
    }
    assert_true(pagecache_bytes(c) < 65 * (PAGE_BYTES + 128));  /* the least budget */
    pagecache_free(c);
}

static void budget_can_change(void **state)
{
    struct pagecache *c = pagecache_new(MIB(1));

    (void)state;
    pagecache_set_budget(c, MIB(32));
    for (unsigned n = 0; n < PAGES; n++) {
        pagecache_put(c, add(c, n));
    }
    for (unsigned n = 0; n < PAGES; n++) {
        assert_true(is_there(c, n));
    }
    pagecache_set_budget(c, MIB(2));
    for (unsigned n = 0; n < PAGES; n++) {
        pagecache_put(c, add(c, n));
    }
    assert_true(pagecache_bytes(c) <= MIB(2));
    pagecache_free(c);
}

static void random_use_matches_what_was_added(void **state)
{
    struct rng rng = { 3 };
    struct pagecache *c = pagecache_new(MIB(1));
    struct page *pinned[50] = { NULL };
    unsigned number[50];

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        unsigned slot = (unsigned)rng_below(&rng, ARRAY_SIZE(pinned));
        unsigned n = (unsigned)rng_below(&rng, PAGES);

        if (pinned[slot]) {
            check(pinned[slot], number[slot]);
            pagecache_put(c, pinned[slot]);
            pinned[slot] = NULL;
        } else if (rng_one_in(&rng, 10)) {
            pagecache_drop(c, place_of(n));
        } else {
            pinned[slot] = pagecache_get(c, place_of(n));
            pinned[slot] = pinned[slot] ? pinned[slot] : add(c, n);
            number[slot] = n;
        }
        if (rng_one_in(&rng, 1000)) {
            pagecache_set_budget(c, rng_below(&rng, MIB(4)));
        }
    }
    for (unsigned slot = 0; slot < ARRAY_SIZE(pinned); slot++) {
        if (pinned[slot]) {
            check(pinned[slot], number[slot]);
            pagecache_put(c, pinned[slot]);
        }
    }
    pagecache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_and_go),
        cmocka_unit_test(budget_holds),
        cmocka_unit_test(pages_in_use_mostly_survive_scans),
        cmocka_unit_test(pinned_pages_stay),
        cmocka_unit_test(budget_can_change),
        cmocka_unit_test(random_use_matches_what_was_added),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
