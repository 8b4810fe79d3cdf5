/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cleaner/usage.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/util.h"
#include "log/format.h"
#include "map/tree.h"

enum presence { PRESENT, DOOMED, GOING, REMOVED };

struct usage_segment {
    struct usage_segment *next;     /* in its bucket */
    struct list node;               /* in changed, while dirty or with a delta */
    struct list dead;               /* in dead (PRESENT) or doomed (DOOMED) */
    uint64_t file;
    uint64_t size;
    uint64_t live;                  /* as of the newest durable checkpoint */
    int64_t delta;                  /* by the checkpoint under way */
    uint64_t told;                  /* live bytes that usage_updates() told last */
    bool dirty;                     /* the tree does not have `live` (or still has it) */
    bool telling;                   /* part of the last usage_updates() */
    enum presence presence;
    uint64_t doomed_by;             /* seq of the checkpoint */
};

struct usage {
    struct usage_segment **buckets;
    size_t bucket_count;            /* a power of two */
    size_t segments;                /* entries, REMOVED ones too */
    size_t present;
    struct list changed, dead, doomed;
    uint64_t live, size, strays;
};

struct usage *usage_new(void)
{
    struct usage *u = calloc(1, sizeof(*u));

    if (!u) {
        return NULL;
    }
    u->bucket_count = 256;
    u->buckets = calloc(u->bucket_count, sizeof(*u->buckets));
    if (!u->buckets) {
        free(u);
        return NULL;
    }
    list_init(&u->changed);
    list_init(&u->dead);
    list_init(&u->doomed);
    return u;
}

void usage_free(struct usage *u)
{
    if (!u) {
        return;
    }
    for (size_t i = 0; i < u->bucket_count; i++) {
        for (struct usage_segment *s = u->buckets[i], *next; s; s = next) {
            next = s->next;
            free(s);
        }
    }
    free(u->buckets);
    free(u);
}

/* Fibonacci hashing (Knuth, TAOCP 6.4): file numbers come in sequence. */
static struct usage_segment **bucket(const struct usage *u, uint64_t file)
{
    return &u->buckets[(file * 0x9E3779B97F4A7C15u >> 20) & (u->bucket_count - 1)];
}

static struct usage_segment *find(const struct usage *u, uint64_t file)
{
    struct usage_segment *s = *bucket(u, file);

    while (s && s->file != file) {
        s = s->next;
    }
    return s;
}

/* Without memory the chains just get longer. */
static void grow(struct usage *u)
{
    struct usage bigger = *u;

    bigger.bucket_count = u->bucket_count * 4;
    bigger.buckets = calloc(bigger.bucket_count, sizeof(*bigger.buckets));
    if (!bigger.buckets) {
        return;
    }
    for (size_t i = 0; i < u->bucket_count; i++) {
        for (struct usage_segment *s = u->buckets[i], *next; s; s = next) {
            struct usage_segment **to = bucket(&bigger, s->file);

            next = s->next;
            s->next = *to;
            *to = s;
        }
    }
    free(u->buckets);
    u->buckets = bigger.buckets;
    u->bucket_count = bigger.bucket_count;
}

static struct usage_segment *insert(struct usage *u, uint64_t file, uint64_t size)
{
    struct usage_segment *s = calloc(1, sizeof(*s)), **to;

    if (!s) {
        return NULL;
    }
    if (u->segments >= u->bucket_count * 2) {
        grow(u);
    }
    s->file = file;
    s->size = size;
    list_init(&s->node);
    list_init(&s->dead);
    to = bucket(u, file);
    s->next = *to;
    *to = s;
    u->segments++;
    u->present++;
    u->size += size;
    return s;
}

static void erase(struct usage *u, struct usage_segment *s)
{
    struct usage_segment **p = bucket(u, s->file);

    while (*p != s) {
        p = &(*p)->next;
    }
    *p = s->next;
    list_remove(&s->node);
    list_remove(&s->dead);
    u->segments--;
    free(s);
}

static void touch(struct usage *u, struct usage_segment *s)
{
    if (list_empty(&s->node)) {
        list_push(&u->changed, &s->node);
    }
}

static void sort_by_life(struct usage *u, struct usage_segment *s)
{
    if (s->presence != PRESENT) {
        return;
    }
    if (s->live == 0 && list_empty(&s->dead)) {
        list_push(&u->dead, &s->dead);
    } else if (s->live > 0) {
        list_remove(&s->dead);
    }
}

bool usage_possible(uint64_t file, uint64_t size, uint64_t live)
{
    return place_file_valid(file) && size <= SEGMENT_BYTES_MAX && live <= SEGMENT_BYTES_MAX;
}

int usage_load(struct usage *u, uint64_t file, uint64_t size, uint64_t live)
{
    struct usage_segment *s = find(u, file);

    if (!usage_possible(file, size, live)) {
        return -EBADMSG;
    }
    if (!s) {
        s = insert(u, file, size);
        if (!s) {
            return -ENOMEM;
        }
    }
    u->live += live - s->live;
    s->live = live;
    sort_by_life(u, s);
    return 0;
}

int usage_add_segment(struct usage *u, uint64_t file, uint64_t size)
{
    struct usage_segment *s = find(u, file);

    if (s) {
        u->size += size - s->size;
        s->size = size;
        return 0;
    }
    s = insert(u, file, size);
    if (!s) {
        return -ENOMEM;
    }
    s->dirty = true;
    touch(u, s);
    sort_by_life(u, s);
    return 0;
}

int usage_override(struct usage *u, uint64_t file, uint64_t live)
{
    struct usage_segment *s = find(u, file);
    int res = usage_load(u, file, s ? s->size : 0, live);

    if (res < 0) {
        return res;
    }
    s = find(u, file);
    s->dirty = true;
    touch(u, s);
    return 0;
}

bool usage_has(const struct usage *u, uint64_t file)
{
    return find(u, file) != NULL;
}

void usage_add(struct usage *u, uint64_t file, uint32_t bytes)
{
    struct usage_segment *s = find(u, file);

    if (!s) {
        u->strays++;
        return;
    }
    s->delta += bytes;
    touch(u, s);
}

void usage_sub(struct usage *u, uint64_t file, uint32_t bytes)
{
    struct usage_segment *s = find(u, file);

    /* A stored count that is too low (damage) must not wrap: the segment stays. */
    if (!s || (int64_t)s->live + s->delta < (int64_t)bytes) {
        u->strays++;
        return;
    }
    s->delta -= bytes;
    touch(u, s);
}

uint64_t usage_strays(const struct usage *u)
{
    return u->strays;
}

static uint64_t future(const struct usage_segment *s)
{
    assert((int64_t)s->live + s->delta >= 0);       /* USAGE-1 */
    return s->live + (uint64_t)s->delta;
}

static int by_key(const void *a, const void *b)
{
    const struct tree_update *x = a, *y = b;

    return x->key < y->key ? -1 : x->key > y->key;
}

int usage_updates(struct usage *u, struct tree_update **ret, size_t *ret_count)
{
    struct usage_segment *s;
    struct tree_update *updates;
    size_t n = 0;

    list_for_each(s, &u->changed, node) {
        n++;
    }
    updates = calloc(n + 1, sizeof(*updates));
    if (!updates) {
        return -ENOMEM;
    }
    n = 0;
    list_for_each(s, &u->changed, node) {
        s->telling = true;
        s->told = future(s);
        updates[n] = (struct tree_update){ .key = s->file, .count = 1 };
        if (s->presence != REMOVED) {
            updates[n].value = (struct place){ s->size, s->told };
        }
        n++;
    }
    qsort(updates, n, sizeof(*updates), by_key);
    *ret = updates;
    *ret_count = n;
    return 0;
}

int usage_overrides(struct usage *u, struct usage_override *ret, size_t max,
                    size_t *ret_count)
{
    struct usage_segment *s;
    size_t n = 0;

    list_for_each(s, &u->changed, node) {
        if (s->presence == REMOVED || (s->telling && s->told == future(s))) {
            continue;
        }
        if (n == max) {
            return -E2BIG;
        }
        ret[n++] = (struct usage_override){ .file = s->file, .live_bytes = future(s) };
    }
    *ret_count = n;
    return 0;
}

static void commit_segment(struct usage *u, struct usage_segment *s)
{
    bool current = s->telling && s->told == future(s);

    if (s->presence == REMOVED && s->telling) {
        erase(u, s);
        return;
    }
    u->live += (uint64_t)s->delta;
    s->live = future(s);
    s->delta = 0;
    s->telling = false;
    s->dirty = !current;
    if (current) {
        list_remove(&s->node);
    }
    sort_by_life(u, s);
}

void usage_commit(struct usage *u, uint64_t seq, uint64_t record_file,
                  uint64_t replay_file)
{
    struct usage_segment *s, *tmp;

    list_for_each_safe(s, tmp, &u->changed, node) {
        commit_segment(u, s);
    }
    usage_doom(u, seq, record_file, replay_file);
}

void usage_doom(struct usage *u, uint64_t seq, uint64_t record_file, uint64_t replay_file)
{
    struct usage_segment *s, *tmp;

    list_for_each_safe(s, tmp, &u->dead, dead) {
        if (s->file < replay_file && s->file != record_file) {
            list_remove(&s->dead);
            s->presence = DOOMED;
            s->doomed_by = seq;
            list_push(&u->doomed, &s->dead);        /* USAGE-2 */
        }
    }
}

void usage_abort(struct usage *u)
{
    struct usage_segment *s, *tmp;

    list_for_each_safe(s, tmp, &u->changed, node) {
        s->delta = 0;
        s->telling = false;
        if (!s->dirty) {
            list_remove(&s->node);
        }
    }
}

uint64_t usage_take_doomed(struct usage *u, uint64_t seq)
{
    struct usage_segment *s = list_first(&u->doomed, struct usage_segment, dead);

    if (!s || s->doomed_by > seq) {
        return 0;
    }
    list_remove(&s->dead);
    s->presence = GOING;
    u->present--;
    u->size -= s->size;
    return s->file;
}

void usage_removed(struct usage *u, uint64_t file)
{
    struct usage_segment *s = find(u, file);

    if (s && s->presence == GOING) {
        s->presence = REMOVED;
        s->telling = false;     /* what the checkpoint under way tells is not that */
        s->dirty = true;
        touch(u, s);
    }
}

size_t usage_dead_segments(const struct usage *u)
{
    const struct usage_segment *s;
    size_t n = 0;

    list_for_each(s, &u->dead, dead) {
        n++;
    }
    return n;
}

bool usage_has_doomed(const struct usage *u)
{
    return !list_empty(&u->doomed);
}

uint64_t usage_live_bytes(const struct usage *u)
{
    return u->live;
}

uint64_t usage_future_bytes(const struct usage *u)
{
    const struct usage_segment *s;
    uint64_t live = u->live;

    list_for_each(s, &u->changed, node) {
        live += (uint64_t)s->delta;
    }
    return live;
}

uint64_t usage_segment_bytes(const struct usage *u)
{
    return u->size;
}

size_t usage_segments(const struct usage *u)
{
    return u->present;
}

uint64_t usage_get(const struct usage *u, uint64_t file)
{
    const struct usage_segment *s = find(u, file);

    return s ? s->live : 0;
}
