/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading every live block of the head: those of what was replayed, then those of the
 * tree that it does not cover.
 *
 * On a large volume this takes long, and a writer may take segments away meanwhile.  A
 * block in one of those was overwritten or moved, and is left to the next check; where
 * a page of the tree goes, the walk goes on from there in the newest tree.
 */
#include "volume/check_private.h"

#include <errno.h>
#include <inttypes.h>

#define BATCH_BLOCKS 262144u    /* sorted by place, and read together */
#define TRIES_MAX 5             /* without getting further */

struct data {
    struct check_walk walk;
    struct fetch_item *items;   /* owned */
    size_t count;
};

static int block_read(void *opaque, const struct fetch_item *item, const uint8_t *bytes,
                      int res)
{
    struct check *c = opaque;
    uint64_t file = place_file(item->place);
    const struct check_segment *s = check_find(c, file);

    (void)bytes;
    if (res == -ENOENT || (res == -EBADMSG && s && s->state == SEGMENT_VALID &&
                           check_same(c, s) == 0)) {
        return 0;
    }
    c->result.blocks++;
    if (res < 0) {
        check_error(c, "block %" PRIu64 " at segment %" PRIu64 ", offset %" PRIu64
                    " %s%s", item->key, file, place_offset(item->place),
                    res == -EBADMSG ? "does not fit its checksum" : "cannot be read: ",
                    res == -EBADMSG ? "" : error_name(res));
    }
    return 0;
}

static int data_flush(struct data *d)
{
    int res = fetch_run(d->walk.check->fetch, d->items, d->count, block_read,
                        d->walk.check);

    d->count = 0;
    return res;
}

static int data_add(struct data *d, uint64_t block, struct place place)
{
    struct check *c = d->walk.check;

    /* Other places have been found wanting by the walk before. */
    if (block >= DIV_ROUND_UP(c->size, c->identity.block_bytes) ||
        !place_valid(place, c->identity.block_bytes) ||
        !check_find(c, place_file(place))) {
        return 0;
    }
    d->items[d->count++] = (struct fetch_item){ .key = block, .place = place };
    return d->count == BATCH_BLOCKS ? data_flush(d) : 0;
}

static int tree_value(struct check_walk *w, uint64_t key, struct place value)
{
    struct data *d = container_of(w, struct data, walk);
    struct place newer;
    int res = 0;

    if (!layer_get(w->check->layer, key, &newer)) {
        res = data_add(d, key, value);
    }
    if (d->count == 0) {
        w->walk.from = key + 1;
    }
    return res;
}

static int replayed_check(struct data *d)
{
    struct extent e;
    int res = 0;

    for (uint64_t at = 0; res == 0 && layer_next(d->walk.check->layer, at, &e);
         at = e.block + e.count) {
        if (!place_is_hole(e.place)) {
            res = data_add(d, e.block, e.place);
        }
    }
    return res < 0 ? res : data_flush(d);
}

static int data_run(struct data *d)
{
    struct check *c = d->walk.check;
    int res;

    d->count = 0;
    res = replayed_check(d);
    if (res == 0 && c->has_checkpoint) {
        res = check_walk(&d->walk, &c->checkpoint.roots[TREE_MAP - 1]);
    }
    return res < 0 ? res : data_flush(d);
}

/* Look at the log again: what is wrong with it has been found. */
static int view_again(struct check *c)
{
    int res;

    c->mute = true;
    res = check_view(c);
    c->mute = false;
    return res;
}

int check_data(struct check *c)
{
    struct data d = {
        .walk = {
            .check = c, .walk = { .tree = TREE_MAP }, .again = true, .value = tree_value,
        },
        .items = malloc(BATCH_BLOCKS * sizeof(*d.items)),
    };
    uint64_t from = 0;
    int res;

    c->at_once = true;
    c->result.blocks = 0;
    res = d.items ? data_run(&d) : -ENOMEM;
    for (int tries = 1; res == -ESTALE && tries < TRIES_MAX; tries++) {
        if (d.walk.walk.from > from) {
            from = d.walk.walk.from;
            tries = 0;
        }
        res = view_again(c);
        if (res == 0) {
            res = data_run(&d);
        }
    }
    free(d.items);
    return res;
}
