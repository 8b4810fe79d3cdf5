/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening what remains of a volume: the order of things, what is told, and what reads ask
 * when they find no page or no segment.
 *
 *   headers --> checkpoint --> records --> trees --> (records for pages that are lost)
 */
#include "volume/rescue_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/list.h"

void rescue_tell(struct rescue *r, bool lost, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    r->losses += lost;
    log_say(&r->v->options.log, LOG_WARNING, "%s: %s", r->v->name, text);
}

int rescue_read_error(const struct rescue *r, uint64_t file, int64_t res)
{
    const char *location = r->v->store->location;

    if (res >= 0 || res == -ENOENT || res == -EBADMSG) {
        return 0;
    }
    if (res == -ENOMEM) {
        return (int)res;
    }
    if (res == -EOWNERDEAD) {
        return error_set((int)res, "segment %" PRIu64 " of %s waits to be recovered: its "
                         "writer and the nodes that have it ended together; try again when "
                         "they are back", file, location);
    }
    return error_set((int)res, "cannot read segment %" PRIu64 " of %s: %s; that may pass, "
                     "and is not taken for damage", file, location, error_name((int)res));
}

/* ---- Opening -------------------------------------------------------------- */

/* An import that did not end is no damage, but its content is not whole either. */
static void unfinished_tell(struct rescue *r)
{
    if (r->newest.unfinished_us != 0) {
        rescue_tell(r, true, "the content is unfinished, says the header of segment %" PRIu64
                    ": an import began and did not end; part of it is what was there before, "
                    "or nothing", r->newest.file);
    }
}

/* Beside a living writer what is missing may just have been removed. */
static int outdated(struct rescue *r)
{
    uint64_t highest;

    if (r->losses == 0 || store_highest(r->v->store, 0, &highest) < 0 ||
        highest == r->highest) {
        return 0;
    }
    return error_set(-ESTALE, "%s changed while it was read: a writer is at work; stop it, or "
                     "try again", r->v->store->location);
}

static int by_place(const void *a, const void *b)
{
    const struct rescue_lost *x = a, *y = b;

    if (x->place.w0 != y->place.w0) {
        return x->place.w0 < y->place.w0 ? -1 : 1;
    }
    return x->place.w1 < y->place.w1 ? -1 : x->place.w1 > y->place.w1;
}

static void opening_done(struct rescue *r)
{
    fetch_free(TAKE_PTR(r->fetch));
    free(TAKE_PTR(r->segments));
    free(TAKE_PTR(r->late));
    free(TAKE_PTR(r->overrides));
    free(TAKE_PTR(r->counted));
    free(TAKE_PTR(r->absent));
}

/* Keep what reads ask for. */
static int trim(struct rescue *r)
{
    r->files = calloc(r->count, sizeof(*r->files));
    if (!r->files) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->count; i++) {
        r->files[i] = r->segments[i].file;
    }
    r->file_count = r->count;
    if (r->lost_count > 0) {
        qsort(r->lost, r->lost_count, sizeof(*r->lost), by_place);
    }
    opening_done(r);
    return 0;
}

int rescue_open(struct hlfs *v)
{
    struct rescue *r = calloc(1, sizeof(*r));
    int res;

    if (!r) {
        return -ENOMEM;
    }
    r->v = v;
    v->rescue = r;
    res = fetch_new(v->store, &r->fetch);
    if (res == 0) {
        res = rescue_headers(r);
    }
    if (res == 0) {
        unfinished_tell(r);
        res = rescue_checkpoint(r);
    }
    if (res == 0) {
        res = rescue_map(r);
    }
    if (res == 0) {
        res = outdated(r);
    }
    return res == 0 ? trim(r) : res;
}

void rescue_free(struct rescue *r)
{
    if (r) {
        opening_done(r);
        free(r->files);
        free(r->lost);
        free(r);
    }
}

/* ---- Later ---------------------------------------------------------------- */

void rescue_read_lost(struct rescue *r)
{
    r->losses++;
}

uint64_t rescue_losses(const struct rescue *r)
{
    return r->losses;
}

bool rescue_lacks(const struct rescue *r, uint64_t file)
{
    size_t low = 0, high = r->file_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (r->files[mid] < file) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low == r->file_count || r->files[low] != file;
}

bool rescue_page_lost(const struct rescue *r, struct place place, uint64_t *ret_first,
                      uint64_t *ret_last)
{
    const struct rescue_lost key = { .place = place };
    const struct rescue_lost *l = r->lost_count == 0 ? NULL :
        bsearch(&key, r->lost, r->lost_count, sizeof(*r->lost), by_place);

    if (!l) {
        return false;
    }
    *ret_first = l->first;
    *ret_last = l->last;
    return true;
}
