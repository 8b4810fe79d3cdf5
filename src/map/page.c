/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "map/page.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/util.h"

#define PAGE_BODY_BYTES (PAGE_BYTES - PAGE_HEAD_BYTES)

static const uint8_t page_magic[4] = { 'H', 'P', 'G', '0' };

/* docs/format.md 6.  Trust it only after page_check(). */
struct page_disk {
    uint8_t magic[4];               /* 00-03 */
    uint8_t tree;                   /* 04 */
    uint8_t level;                  /* 05 */
    uint8_t key_bytes;              /* 06 */
    uint8_t zero1;                  /* 07 */
    le16_t count;                   /* 08-09 */
    uint8_t zero2[6];               /* 10-15 */
    le64_t base;                    /* 16-23 */
    uint8_t zero3[8];               /* 24-31 */
    uint8_t body[PAGE_BODY_BYTES];  /* 32-   keys, then values */
};
_Static_assert(sizeof(struct page_disk) == PAGE_BYTES, "format.md 6");
_Static_assert(offsetof(struct page_disk, base) == 16, "format.md 6");
_Static_assert(offsetof(struct page_disk, body) == PAGE_HEAD_BYTES, "format.md 6");
_Static_assert(_Alignof(struct page_disk) == 1, "decodes at any address");

struct value_disk {
    le64_t w0;
    le64_t w1;
};

/* ---- Sizes ---------------------------------------------------------------- */

/* Bytes that a key needs which lies DELTA above the page's first. */
static unsigned key_bytes_of(uint64_t delta)
{
    return delta == 0 ? 1 : (unsigned)(64 - __builtin_clzll(delta) + 7) / 8;
}

size_t page_used_bytes(const struct tree_entry *entries, size_t n)
{
    if (n == 0) {
        return 0;
    }
    return n * (sizeof(struct value_disk) +
                key_bytes_of(entries[n - 1].key - entries[0].key));
}

size_t page_fit(const struct tree_entry *entries, size_t n)
{
    size_t fits = 0;
    size_t too_many = MIN(n, PAGE_ENTRIES_MAX) + 1;

    /* More entries need more bytes, so halving finds the limit. */
    while (too_many - fits > 1) {
        size_t middle = (fits + too_many) / 2;

        if (page_used_bytes(entries, middle) <= PAGE_ROOM_BYTES) {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    return fits;
}

/* ---- Encoding ------------------------------------------------------------- */

void page_encode(void *page, enum tree_id tree, unsigned level,
                 const struct tree_entry *entries, size_t n)
{
    struct page_disk *p = page;
    uint64_t base = entries[0].key;
    unsigned key_bytes = key_bytes_of(entries[n - 1].key - base);
    uint8_t *at = p->body;

    assert(n > 0 && n * (key_bytes + sizeof(struct value_disk)) <= PAGE_BODY_BYTES);
    assert(level < TREE_LEVELS_MAX);
    memset(p, 0, PAGE_HEAD_BYTES);
    memcpy(p->magic, page_magic, sizeof(p->magic));
    p->tree = (uint8_t)tree;
    p->level = (uint8_t)level;
    p->key_bytes = (uint8_t)key_bytes;
    p->count = to_le16((uint16_t)n);
    p->base = to_le64(base);

    /* Eight bytes each time: what is too much is written over by what follows. */
    for (size_t i = 0; i < n; i++, at += key_bytes) {
        le64_t delta = to_le64(entries[i].key - base);

        assert(i == 0 || entries[i - 1].key < entries[i].key);
        memcpy(at, &delta, sizeof(delta));
    }
    for (size_t i = 0; i < n; i++, at += sizeof(struct value_disk)) {
        struct value_disk value = {
            .w0 = to_le64(entries[i].value.w0),
            .w1 = to_le64(entries[i].value.w1),
        };

        memcpy(at, &value, sizeof(value));
    }
    memset(at, 0, (size_t)((uint8_t *)page + PAGE_BYTES - at));
}

/* ---- Decoding ------------------------------------------------------------- */

size_t page_count(const void *page)
{
    return le16(((const struct page_disk *)page)->count);
}

unsigned page_level(const void *page)
{
    return ((const struct page_disk *)page)->level;
}

enum tree_id page_tree(const void *page)
{
    return (enum tree_id)((const struct page_disk *)page)->tree;
}

/* Key I less the first.  Reading eight bytes stays inside: values follow the keys. */
static inline uint64_t page_delta(const struct page_disk *p, size_t i)
{
    le64_t delta;

    memcpy(&delta, p->body + i * p->key_bytes, sizeof(delta));
    return le64(delta) & (UINT64_MAX >> (64 - 8 * p->key_bytes));
}

static inline struct place page_value(const struct page_disk *p, size_t i)
{
    struct value_disk value;

    memcpy(&value, p->body + le16(p->count) * p->key_bytes + i * sizeof(value),
           sizeof(value));
    return (struct place){ le64(value.w0), le64(value.w1) };
}

struct tree_entry page_entry(const void *page, size_t index)
{
    const struct page_disk *p = page;

    assert(index < page_count(page));
    return (struct tree_entry){
        .key = le64(p->base) + page_delta(p, index),
        .value = page_value(p, index),
    };
}

uint64_t page_key(const void *page, size_t index)
{
    const struct page_disk *p = page;

    assert(index < page_count(page));
    return le64(p->base) + page_delta(p, index);
}

int page_search(const void *page, uint64_t key)
{
    const struct page_disk *p = page;
    uint64_t base = le64(p->base);
    size_t left = page_count(page);
    size_t at = 0;

    if (key < base) {
        return -1;
    }
    while (left > 1) {
        size_t half = left / 2;

        at += page_delta(p, at + half) <= key - base ? half : 0;
        left -= half;
    }
    return (int)at;
}

/* ---- Check ---------------------------------------------------------------- */

static bool all_zero(const uint8_t *bytes, size_t n)
{
    return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static bool head_is_valid(const struct page_disk *p, enum tree_id tree, unsigned level)
{
    size_t count = le16(p->count);

    return memcmp(p->magic, page_magic, sizeof(p->magic)) == 0 && p->tree == tree &&
           p->level == level && level < TREE_LEVELS_MAX && p->key_bytes >= 1 &&
           p->key_bytes <= 8 && p->zero1 == 0 && count > 0 &&
           count * (p->key_bytes + sizeof(struct value_disk)) <= PAGE_BODY_BYTES &&
           all_zero(p->zero2, sizeof(p->zero2)) && all_zero(p->zero3, sizeof(p->zero3));
}

static bool keys_are_valid(const struct page_disk *p)
{
    size_t count = le16(p->count);
    uint64_t before = page_delta(p, 0);

    if (before != 0) {
        return false;
    }
    for (size_t i = 1; i < count; i++) {
        uint64_t delta = page_delta(p, i);

        if (delta <= before) {
            return false;
        }
        before = delta;
    }
    return key_bytes_of(before) == p->key_bytes && before <= UINT64_MAX - le64(p->base);
}

static bool values_are_valid(const struct page_disk *p)
{
    size_t count = le16(p->count);

    for (size_t i = 0; i < count; i++) {
        struct place value = page_value(p, i);

        if (p->level == 0 ? place_is_hole(value) : !place_valid(value, PAGE_BYTES)) {
            return false;
        }
    }
    return true;
}

int page_check(const void *page, enum tree_id tree, unsigned level)
{
    const struct page_disk *p = page;
    size_t used;

    if (!head_is_valid(p, tree, level)) {
        return -EBADMSG;
    }
    used = le16(p->count) * (p->key_bytes + sizeof(struct value_disk));
    if (!keys_are_valid(p) || !values_are_valid(p) ||
        !all_zero(p->body + used, PAGE_BODY_BYTES - used)) {
        return -EBADMSG;
    }
    return 0;
}
