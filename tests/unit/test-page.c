/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bytes of a page: what is encoded is read back, what is damaged is refused. */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "map/page.h"

#define ENTRIES 300u

static struct place page_place(uint64_t n)
{
    return place_make(1 + n % 1000, n % 5000 * PAGE_BYTES, PAGE_BYTES, (uint32_t)n);
}

/* N entries whose keys lie up to GAP apart. */
static void make_entries(struct rng *rng, struct tree_entry *e, size_t n, uint64_t gap)
{
    uint64_t key = rng_below(rng, gap);

    for (size_t i = 0; i < n; i++) {
        e[i] = (struct tree_entry){ key, page_place(rng_next(rng)) };
        key += 1 + rng_below(rng, gap);
    }
}

static void compare_page(const void *page, const struct tree_entry *e, size_t n)
{
    assert_int_equal(page_count(page), n);
    for (size_t i = 0; i < n; i++) {
        struct tree_entry got = page_entry(page, i);

        assert_int_equal(got.key, e[i].key);
        assert_int_equal(page_key(page, i), e[i].key);
        assert_true(place_equal(got.value, e[i].value));
        assert_int_equal(page_search(page, e[i].key), i);
        if (e[i].key > 0) {
            assert_int_equal(page_search(page, e[i].key - 1), (int)i - 1);
        }
    }
    assert_int_equal(page_search(page, UINT64_MAX), n - 1);
}

static void pages_of_any_key_width_are_read_back(void **state)
{
    struct rng rng = { 1 };
    struct tree_entry e[ENTRIES];
    uint8_t page[PAGE_BYTES];

    (void)state;
    for (unsigned bits = 0; bits < 56; bits++) {
        for (unsigned level = 0; level < TREE_LEVELS_MAX; level += 3) {
            size_t n;

            make_entries(&rng, e, ENTRIES, (uint64_t)1 << bits);
            n = page_fit(e, ENTRIES);
            assert_in_range(n, PAGE_ROOM_BYTES / 24, PAGE_ENTRIES_MAX);
            assert_true(page_used_bytes(e, n) <= PAGE_ROOM_BYTES);
            assert_true(page_used_bytes(e, n + 1) > PAGE_ROOM_BYTES);
            n = rng_one_in(&rng, 2) ? n : 1 + rng_below(&rng, n);
            memset(page, 0xA5, sizeof(page));
            page_encode(page, TREE_MAP, level, e, n);
            assert_int_equal(page_check(page, TREE_MAP, level), 0);
            assert_int_equal(page_level(page), level);
            assert_int_equal(page_tree(page), TREE_MAP);
            compare_page(page, e, n);
        }
    }
}

static void extreme_keys_are_read_back(void **state)
{
    struct tree_entry e[3] = {
        { 0, page_place(1) }, { 1, page_place(2) }, { UINT64_MAX, page_place(3) },
    };
    uint8_t page[PAGE_BYTES];

    (void)state;
    assert_int_equal(page_fit(e, 3), 3);
    assert_int_equal(page_fit(e, 0), 0);
    assert_int_equal(page_fit(e, 1), 1);
    page_encode(page, TREE_USAGE, 0, e, 3);
    assert_int_equal(page_check(page, TREE_USAGE, 0), 0);
    compare_page(page, e, 3);
}

static void page_with(uint8_t *page, unsigned level)
{
    struct rng rng = { 7 };
    struct tree_entry e[ENTRIES];

    make_entries(&rng, e, ENTRIES, 1000);
    page_encode(page, TREE_MAP, level, e, 100);
    assert_int_equal(page_check(page, TREE_MAP, level), 0);
}

static void refuse(const uint8_t *good, size_t at, const void *bytes, size_t n)
{
    uint8_t page[PAGE_BYTES];

    memcpy(page, good, sizeof(page));
    memcpy(page + at, bytes, n);
    assert_int_equal(page_check(page, TREE_MAP, 0), -EBADMSG);
}

static void damaged_pages_are_refused(void **state)
{
    uint8_t good[PAGE_BYTES];
    uint8_t key_bytes;
    size_t end;

    (void)state;
    page_with(good, 0);
    key_bytes = good[6];
    end = PAGE_HEAD_BYTES + 100 * (size_t)(key_bytes + 16);

    assert_int_equal(page_check(good, TREE_USAGE, 0), -EBADMSG);
    assert_int_equal(page_check(good, TREE_MAP, 1), -EBADMSG);
    refuse(good, 0, "HPG1", 4);
    refuse(good, 6, "\0", 1);                               /* key_bytes */
    refuse(good, 6, "\x09", 1);
    refuse(good, 6, (uint8_t[]){ key_bytes + 1 }, 1);
    refuse(good, 7, "\1", 1);                               /* zeros */
    refuse(good, 10, "\1", 1);
    refuse(good, 31, "\1", 1);
    refuse(good, 8, "\0\0", 2);                             /* count */
    refuse(good, 8, "\xFF\xFF", 2);
    refuse(good, 8, "\x63\0", 2);
    refuse(good, 8, "\x65\0", 2);
    refuse(good, 16, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8); /* base: keys overflow */
    refuse(good, PAGE_HEAD_BYTES, "\1", 1);                 /* first key not zero */
    refuse(good, PAGE_HEAD_BYTES + 2u * key_bytes, "\0\0\0", key_bytes);  /* order */
    refuse(good, PAGE_HEAD_BYTES + 100u * key_bytes, "\0\0\0\0\0\0\0\0", 8); /* hole */
    refuse(good, end, "\1", 1);                             /* the rest */
    refuse(good, PAGE_BYTES - 1, "\1", 1);
}

static void wide_key_fields_are_refused(void **state)
{
    struct tree_entry e[2] = { { 5, page_place(1) }, { 6, page_place(2) } };
    uint8_t page[PAGE_BYTES];
    uint8_t wide[PAGE_BYTES];

    (void)state;
    page_encode(page, TREE_MAP, 0, e, 2);
    memcpy(wide, page, PAGE_HEAD_BYTES);
    memset(wide + PAGE_HEAD_BYTES, 0, PAGE_BYTES - PAGE_HEAD_BYTES);
    wide[6] = 2;
    wide[PAGE_HEAD_BYTES + 2] = 1;
    memcpy(wide + PAGE_HEAD_BYTES + 4, page + PAGE_HEAD_BYTES + 2, 32);
    assert_int_equal(page_check(wide, TREE_MAP, 0), -EBADMSG);
}

static void children_must_be_places_of_pages(void **state)
{
    struct tree_entry e = { 1, page_place(1) };
    uint8_t page[PAGE_BYTES];

    (void)state;
    e.value = place_make(1, 0, 8192, 0);
    page_encode(page, TREE_MAP, 0, &e, 1);
    assert_int_equal(page_check(page, TREE_MAP, 0), 0);
    page_encode(page, TREE_MAP, 1, &e, 1);
    assert_int_equal(page_check(page, TREE_MAP, 1), -EBADMSG);
}

/* Every single bit: refused, or a page whose accessors work. */
static void flipped_bits_do_no_harm(void **state)
{
    uint8_t page[PAGE_BYTES];
    unsigned refused = 0;

    (void)state;
    page_with(page, 1);
    for (size_t bit = 0; bit < 8 * PAGE_BYTES; bit++) {
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (page_check(page, TREE_MAP, 1) < 0) {
            refused++;
        } else {
            for (size_t i = 0; i < page_count(page); i++) {
                assert_int_equal(page_search(page, page_entry(page, i).key), i);
            }
        }
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(refused > 8 * PAGE_BYTES / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_any_key_width_are_read_back),
        cmocka_unit_test(extreme_keys_are_read_back),
        cmocka_unit_test(damaged_pages_are_refused),
        cmocka_unit_test(wide_key_fields_are_refused),
        cmocka_unit_test(children_must_be_places_of_pages),
        cmocka_unit_test(flipped_bits_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
