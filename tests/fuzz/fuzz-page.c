/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any 4 KiB: refused, or a page whose every accessor works and agrees with search. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "map/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const void *page)
{
    size_t count = page_count(page);
    struct tree_entry before = { 0 };

    assert(count > 0 && count <= PAGE_ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        struct tree_entry e = page_entry(page, i);

        assert(e.key == page_key(page, i));
        assert(i == 0 || e.key > before.key);
        assert(page_search(page, e.key) == (int)i);
        assert(e.key == 0 || page_search(page, e.key - 1) == (int)i - 1);
        before = e;
    }
    assert(page_search(page, UINT64_MAX) == (int)count - 1);
}

/* An accepted page is the only encoding of its entries. */
static void encode_again(const void *page)
{
    struct tree_entry entries[PAGE_ENTRIES_MAX];
    uint8_t again[PAGE_BYTES];
    size_t count = page_count(page);

    for (size_t i = 0; i < count; i++) {
        entries[i] = page_entry(page, i);
    }
    assert(page_fit(entries, count) == count);
    page_encode(again, page_tree(page), page_level(page), entries, count);
    assert(memcmp(again, page, PAGE_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t page[PAGE_BYTES] = { 'H', 'P', 'G', '0' };

    /* The magic is given, to come further; the rest of a short input is zero. */
    memcpy(page + 4, data, size < PAGE_BYTES - 4 ? size : PAGE_BYTES - 4);
    if (page_check(page, (enum tree_id)page[4], page[5]) == 0) {
        read_all(page);
        encode_again(page);
    }
    return 0;
}
