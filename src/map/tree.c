/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "map/tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "map/tree_page.h"

/* ---- From parent to child ------------------------------------------------- */

int tree_child_of_root(enum tree_id tree, const struct tree_root *root,
                       struct tree_child *ret)
{
    if (root->levels == 0 || root->levels > TREE_LEVELS_MAX ||
        !place_valid(root->place, PAGE_BYTES)) {
        return -EBADMSG;
    }
    *ret = (struct tree_child){
        .want = { .place = root->place, .tree = tree, .level = root->levels - 1 },
        .first = 0,
        .last = UINT64_MAX,
    };
    return 0;
}

struct tree_child tree_child_of_page(const struct page *page, size_t index,
                                     uint64_t last)
{
    struct tree_entry e = page_entry(page->bytes, index);

    if (index + 1 < page_count(page->bytes)) {
        last = page_key(page->bytes, index + 1) - 1;
    }
    return (struct tree_child){
        .want = {
            .place = e.value,
            .tree = page_tree(page->bytes),
            .level = page_level(page->bytes) - 1,
        },
        .first = e.key,
        .last = last,
    };
}

int tree_page_get(struct pagecache *c, const struct tree_child *child,
                  struct page **ret, struct tree_missing *ret_missing)
{
    struct page *page = pagecache_get(c, child->want.place);

    if (!page) {
        *ret_missing = child->want;
        return -EAGAIN;
    }
    if (page_tree(page->bytes) != child->want.tree ||
        page_level(page->bytes) != child->want.level ||
        page_key(page->bytes, 0) < child->first ||
        page_key(page->bytes, page_count(page->bytes) - 1) > child->last) {
        pagecache_put(c, page);
        return -EBADMSG;
    }
    *ret = page;
    return 0;
}

/* ---- Look-up -------------------------------------------------------------- */

/*
 * The leaf in which KEY is, or would be, pinned.  *RET_LAST is the last key that
 * would be in it.
 */
static int tree_descend(struct pagecache *c, enum tree_id tree,
                        const struct tree_root *root, uint64_t key, struct page **ret,
                        uint64_t *ret_last, struct tree_missing *ret_missing)
{
    struct tree_child child;
    int r = tree_child_of_root(tree, root, &child);

    if (r < 0) {
        return r;
    }
    for (;;) {
        struct page *page;
        int i;

        r = tree_page_get(c, &child, &page, ret_missing);
        if (r < 0) {
            return r;
        }
        if (child.want.level == 0) {
            *ret = page;
            *ret_last = child.last;
            return 0;
        }
        i = page_search(page->bytes, key);
        child = tree_child_of_page(page, i < 0 ? 0 : (size_t)i, child.last);
        pagecache_put(c, page);
    }
}

/* The index of the first entry with a key >= KEY; the page's count: none. */
static size_t page_first_from(const void *page, uint64_t key)
{
    int i = page_search(page, key);

    if (i < 0) {
        return 0;
    }
    return page_key(page, (size_t)i) == key ? (size_t)i : (size_t)i + 1;
}

static void page_read_values(const void *page, uint64_t key, size_t count,
                             struct place *values)
{
    memset(values, 0, count * sizeof(values[0]));       /* PLACE_HOLE */
    for (size_t i = page_first_from(page, key); i < page_count(page); i++) {
        struct tree_entry e = page_entry(page, i);

        if (e.key - key >= count) {
            return;
        }
        values[e.key - key] = e.value;
    }
}

int tree_lookup(struct pagecache *c, enum tree_id tree, const struct tree_root *root,
                uint64_t key, size_t count, struct place *values,
                struct tree_missing *ret_missing)
{
    size_t done = 0;

    assert(count > 0 && count <= INT32_MAX && count - 1 <= UINT64_MAX - key);
    if (root->levels == 0 && place_is_hole(root->place)) {
        memset(values, 0, count * sizeof(values[0]));
        return (int)count;
    }
    while (done < count) {
        struct page *leaf;
        uint64_t last;
        size_t n = count - done;
        int r;

        r = tree_descend(c, tree, root, key + done, &leaf, &last, ret_missing);
        if (r < 0) {
            return done > 0 ? (int)done : r;
        }
        if (n - 1 > last - (key + done)) {
            n = (size_t)(last - (key + done) + 1);
        }
        page_read_values(leaf->bytes, key + done, n, values + done);
        pagecache_put(c, leaf);
        done += n;
    }
    return (int)count;
}

int tree_next(struct pagecache *c, enum tree_id tree, const struct tree_root *root,
              uint64_t key, struct tree_entry *ret, struct tree_missing *ret_missing)
{
    if (root->levels == 0 && place_is_hole(root->place)) {
        return 0;
    }
    for (;;) {
        struct page *leaf;
        uint64_t last;
        size_t i;
        int r;

        r = tree_descend(c, tree, root, key, &leaf, &last, ret_missing);
        if (r < 0) {
            return r;
        }
        i = page_first_from(leaf->bytes, key);
        if (i < page_count(leaf->bytes)) {
            *ret = page_entry(leaf->bytes, i);
            pagecache_put(c, leaf);
            return 1;
        }
        pagecache_put(c, leaf);
        if (last == UINT64_MAX) {
            return 0;
        }
        key = last + 1;     /* the leaf there has an entry: no page is empty */
    }
}
