/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/walk.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"

/* The pages below one page, or the root. */
struct children {
    struct walk *w;
    unsigned level;
    size_t count;
    uint64_t last;                          /* the last key that may be below it */
    struct tree_entry e[PAGE_ENTRIES_MAX];
    struct fetch_item items[PAGE_ENTRIES_MAX];
    bool read[PAGE_ENTRIES_MAX];
    uint8_t pages[][PAGE_BYTES];
};

static struct children *children_new(struct walk *w, unsigned level, size_t count,
                                     uint64_t last)
{
    struct children *ch = calloc(1, sizeof(*ch) + count * PAGE_BYTES);

    if (ch) {
        ch->w = w;
        ch->level = level;
        ch->count = count;
        ch->last = last;
    }
    return ch;
}

static struct walk_page child_page(const struct children *ch, size_t i)
{
    return (struct walk_page){
        .place = ch->e[i].value,
        .tree = ch->w->tree,
        .level = ch->level,
        .first = ch->e[i].key,
        .last = i + 1 < ch->count ? ch->e[i + 1].key - 1 : ch->last,
    };
}

static int child_read(void *opaque, const struct fetch_item *item, const uint8_t *bytes,
                      int res)
{
    struct children *ch = opaque;
    struct walk *w = ch->w;
    size_t i = (size_t)item->key;
    struct walk_page page = child_page(ch, i);
    uint8_t *to = ch->pages[i];

    if (res < 0) {
        return w->ops->bad(w, &page, res, res == -EBADMSG ? "is damaged" :
                           error_name(res));
    }
    memcpy(to, bytes, PAGE_BYTES);
    if (page_check(to, w->tree, ch->level) < 0) {
        return w->ops->bad(w, &page, 0, "is no such page");
    }
    if (page_key(to, 0) < page.first || page_key(to, page_count(to) - 1) > page.last) {
        return w->ops->bad(w, &page, 0, "has keys that belong elsewhere");
    }
    ch->read[i] = true;
    if (w->ops->good) {
        w->ops->good(w, &page);
    }
    return 0;
}

/* Read all that can be read of the pages that CH->e names. */
static int children_read(struct children *ch)
{
    struct walk *w = ch->w;
    size_t n = 0;

    for (size_t i = 0; i < ch->count; i++) {
        struct walk_page page = child_page(ch, i);

        if (page.last >= w->from && (!w->ops->wanted || w->ops->wanted(w, &page))) {
            ch->items[n++] = (struct fetch_item){ .key = i, .place = page.place };
        }
    }
    return fetch_run(w->fetch, ch->items, n, child_read, ch);
}

static int walk_values(struct walk *w, const uint8_t *page)
{
    int res = 0;

    for (size_t i = 0; i < page_count(page) && res == 0; i++) {
        struct tree_entry e = page_entry(page, i);

        if (e.key >= w->from) {
            res = w->ops->value(w, e.key, e.value);
        }
    }
    return res;
}

/* All pages that CH->e names, and what is below them.  Frees CH. */
static int walk_children(struct children *ch)
{
    int res = children_read(ch);

    for (size_t i = 0; i < ch->count && res == 0; i++) {
        struct children *below;

        if (!ch->read[i]) {
            continue;
        }
        if (ch->level == 0) {
            res = walk_values(ch->w, ch->pages[i]);
            continue;
        }
        below = children_new(ch->w, ch->level - 1, page_count(ch->pages[i]),
                             child_page(ch, i).last);
        if (!below) {
            res = -ENOMEM;
            break;
        }
        for (size_t k = 0; k < below->count; k++) {
            below->e[k] = page_entry(ch->pages[i], k);
        }
        res = walk_children(below);
    }
    free(ch);
    return res;
}

int walk_run(struct walk *w, const struct root_ref *root)
{
    struct children *ch;

    if (root->levels == 0) {
        return 0;
    }
    ch = children_new(w, root->levels - 1, 1, UINT64_MAX);
    if (!ch) {
        return -ENOMEM;
    }
    ch->e[0] = (struct tree_entry){ .key = 0, .value = root->place };
    return walk_children(ch);
}
