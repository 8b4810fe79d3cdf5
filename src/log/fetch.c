/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log/fetch.h"

#include <errno.h>

#include "base/crc32c.h"
#include "base/util.h"

#define READS_MAX 16                /* under way at a time */
#define READ_BYTES_MAX MIB(1)       /* any place's bytes fit */
#define GAP_BYTES_MAX KIB(32)       /* read along rather than read apart */

struct fetch_read {
    struct store_op op;
    struct fetch_item *items;       /* borrowed */
    size_t count;
    size_t left;                    /* items behind those, to be read one by one */
    uint8_t *buf;                   /* owned, READ_BYTES_MAX; NULL: not used so far */
    bool busy;
};

struct fetch {
    struct store_lane *lane;        /* owned */
    struct fetch_read reads[READS_MAX];
    unsigned in_flight;
};

int fetch_new(struct store *s, struct fetch **ret)
{
    struct fetch *f = calloc(1, sizeof(*f));

    if (!f) {
        return -ENOMEM;
    }
    f->lane = store_lane_new(s);
    if (!f->lane) {
        int res = -errno;

        free(f);
        return res;
    }
    *ret = f;
    return 0;
}

void fetch_free(struct fetch *f)
{
    if (f) {
        store_lane_free(f->lane);
        for (size_t i = 0; i < READS_MAX; i++) {
            free(f->reads[i].buf);
        }
        free(f);
    }
}

static int by_place(const void *a, const void *b)
{
    const struct fetch_item *x = a, *y = b;
    uint64_t x_file = place_file(x->place), y_file = place_file(y->place);
    uint64_t x_at = place_offset(x->place), y_at = place_offset(y->place);

    if (x_file != y_file) {
        return x_file < y_file ? -1 : 1;
    }
    return x_at < y_at ? -1 : x_at > y_at;
}

/* How many of the N sorted items go into one read, and how many bytes that is. */
static size_t run_length(const struct fetch_item *items, size_t n, size_t *ret_bytes)
{
    uint64_t start = place_offset(items[0].place);
    uint64_t end = start + place_stored(items[0].place);
    size_t count = 1;

    while (count < n && place_file(items[count].place) == place_file(items[0].place)) {
        uint64_t at = place_offset(items[count].place);
        uint64_t stop = MAX(end, at + place_stored(items[count].place));

        if (at > end + GAP_BYTES_MAX || stop - start > READ_BYTES_MAX) {
            break;
        }
        end = stop;
        count++;
    }
    *ret_bytes = (size_t)(end - start);
    return count;
}

static struct fetch_read *read_free(struct fetch *f)
{
    for (size_t i = 0; i < READS_MAX; i++) {
        if (!f->reads[i].busy) {
            return &f->reads[i];
        }
    }
    return NULL;
}

static void read_submit(struct fetch *f, struct fetch_read *r, size_t bytes)
{
    r->op = (struct store_op){
        .what = STORE_PREAD, .file = place_file(r->items[0].place),
        .offset = place_offset(r->items[0].place), .buf = r->buf, .len = bytes,
    };
    r->busy = true;
    f->in_flight++;
    store_submit(f->lane, &r->op);
}

/* Submit reads for items from *NEXT on while there is room. */
static int reads_submit(struct fetch *f, struct fetch_item *items, size_t n, size_t *next)
{
    struct fetch_read *r;

    while (*next < n && (r = read_free(f)) != NULL) {
        size_t bytes;

        if (!r->buf &&
            posix_memalign((void **)&r->buf, STORE_BUF_ALIGN, READ_BYTES_MAX) != 0) {
            r->buf = NULL;
            return -ENOMEM;
        }
        r->items = items + *next;
        r->count = run_length(r->items, n - *next, &bytes);
        r->left = 0;
        *next += r->count;
        read_submit(f, r, bytes);
    }
    return 0;
}

static int read_deliver(const struct fetch_read *r, fetch_fn fn, void *opaque)
{
    uint64_t have = r->op.res < 0 ? 0 : (uint64_t)r->op.res;
    int res = 0;

    for (size_t i = 0; i < r->count && res >= 0; i++) {
        struct place p = r->items[i].place;
        uint64_t at = place_offset(p) - r->op.offset;
        int item_res = MIN(r->op.res, 0);

        if (item_res == 0 && (at + place_stored(p) > have ||
                              crc32c(0, r->buf + at, place_stored(p)) != place_crc(p))) {
            item_res = -EBADMSG;
        }
        res = fn(opaque, &r->items[i], r->buf + at, item_res);
    }
    return res;
}

/* A read has ended: deliver it, or go on with its items one by one. */
static int read_ended(struct fetch *f, struct fetch_read *r, fetch_fn fn, void *opaque)
{
    int res;

    if (r->op.res < 0 && r->op.res != -ENOENT && r->count > 1) {
        r->left = r->count - 1;     /* one bad sector is not all items' fault */
        r->count = 1;
        read_submit(f, r, place_stored(r->items[0].place));
        return 0;
    }
    res = read_deliver(r, fn, opaque);
    if (res >= 0 && r->left > 0) {
        r->left--;
        r->items++;
        read_submit(f, r, place_stored(r->items[0].place));
    }
    return res;
}

int fetch_run(struct fetch *f, struct fetch_item *items, size_t n, fetch_fn fn,
              void *opaque)
{
    size_t next = 0;
    int res = 0;

    if (n > 0) {
        qsort(items, n, sizeof(*items), by_place);
    }
    while ((res >= 0 && next < n) || f->in_flight > 0) {
        struct list done, *node;

        if (res >= 0) {
            res = reads_submit(f, items, n, &next);
        }
        list_init(&done);
        store_kick(f->lane);
        while (f->in_flight > 0 && store_collect(f->lane, &done) == 0) {
            (void)store_wait(f->lane, -1);
        }
        while ((node = list_pop(&done)) != NULL) {
            struct fetch_read *r = container_of(list_entry(node, struct store_op, node),
                                                struct fetch_read, op);

            f->in_flight--;
            r->busy = false;
            if (res >= 0) {
                res = read_ended(f, r, fn, opaque);
            }
        }
    }
    return MIN(res, 0);
}
