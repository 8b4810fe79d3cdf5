/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lost.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void lost_init(struct lost *l)
{
    *l = (struct lost){ 0 };
    (void)pthread_mutex_init(&l->lock, NULL);
}

void lost_done(struct lost *l)
{
    (void)pthread_mutex_destroy(&l->lock);
    free(l->ranges);
}

static int room_for_one(struct lost *l)
{
    size_t room = l->room ? l->room * 2 : 64;
    struct lost_range *ranges;

    if (l->count < l->room) {
        return 0;
    }
    ranges = realloc(l->ranges, room * sizeof(*ranges));
    if (!ranges) {
        return -ENOMEM;
    }
    l->ranges = ranges;
    l->room = room;
    return 0;
}

int lost_add(struct lost *l, uint64_t offset, uint64_t len)
{
    struct lost_range *last;
    int res = 0;

    (void)pthread_mutex_lock(&l->lock);
    last = l->count ? &l->ranges[l->count - 1] : NULL;
    if (last && last->offset + last->len == offset) {
        last->len += len;
    } else {
        res = room_for_one(l);
        if (res == 0) {
            l->ranges[l->count++] = (struct lost_range){ offset, len };
        }
    }
    l->bytes += res == 0 ? len : 0;
    (void)pthread_mutex_unlock(&l->lock);
    return res;
}

void lost_forget(struct lost *l)
{
    l->count = 0;
    l->bytes = 0;
}

static int range_compare(const void *a, const void *b)
{
    const struct lost_range *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

size_t lost_print(struct lost *l)
{
    size_t n = 0, i = 0;

    if (l->count > 0) {
        qsort(l->ranges, l->count, sizeof(*l->ranges), range_compare);
    }
    while (i < l->count) {
        uint64_t offset = l->ranges[i].offset, end = offset;

        for (; i < l->count && l->ranges[i].offset == end; i++) {
            end += l->ranges[i].len;
        }
        (void)fprintf(stderr, "lost: %" PRIu64 " %" PRIu64 "\n", offset, end - offset);
        n++;
    }
    return n;
}
