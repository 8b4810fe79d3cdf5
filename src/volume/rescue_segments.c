/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The segments that remain: their headers, what the records of each tell, and the newest
 * checkpoint that can be read.
 */
#include "volume/rescue_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- Headers -------------------------------------------------------------- */

struct rescue_segment *rescue_find(const struct rescue *r, uint64_t file)
{
    size_t low = 0, high = r->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (r->segments[mid].file < file) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < r->count && r->segments[low].file == file ? &r->segments[low] : NULL;
}

static int segment_listed(void *opaque, uint64_t file)
{
    struct rescue *r = opaque;
    void *segments;

    if (file > r->highest) {
        return 0;   /* made since */
    }
    segments = array_room(r->segments, r->count, &r->room, sizeof(*r->segments));
    if (!segments) {
        return -ENOMEM;
    }
    r->segments = segments;
    r->segments[r->count++] = (struct rescue_segment){ .file = file };
    return 0;
}

static void header_keep(struct rescue *r, struct rescue_segment *s,
                        const struct segment_header *h)
{
    struct rescue_segment *below = rescue_find(r, h->footer.file);

    memcpy(s->salt, h->salt, SALT_BYTES);
    s->epoch = h->epoch;
    s->size = h->size;
    s->first = h->first;
    s->cut = h->cut;
    s->checkpoint = h->checkpoint;
    s->told = h->synced;
    s->doubt = UINT64_MAX;
    if (below && below->state == SEGMENT_VALID) {
        below->footer = h->footer;
    }
    r->newest = *h;
    r->has_newest = true;
    r->synced = MAX(r->synced, h->synced);
}

static int header_read(struct rescue *r, struct rescue_segment *s, uint8_t *buf)
{
    struct segment_header h;
    int64_t n = store_pread_now(r->v->lane, s->file, 0, buf, SEGMENT_DATA_OFFSET);
    int error = 0;

    if (n < 0) {
        s->state = n == -ENOENT ? SEGMENT_VOID : SEGMENT_DAMAGED;
        return rescue_read_error(r, s->file, n);
    }
    s->state = segment_header_decode(buf, (size_t)n, s->file, r->v->identity.uuid, &h,
                                     &error);
    if (s->state != SEGMENT_VALID) {
        return 0;
    }
    if (error < 0) {
        return error_set(error, "segment %" PRIu64 " of %s was written by a newer version "
                         "of hlfs; use that one", s->file, r->v->store->location);
    }
    header_keep(r, s, &h);
    return 0;
}

/* REPLAY-2, and where a merge has to look (rescue_merge.c). */
static void bounds_find(struct rescue *r)
{
    uint64_t bound = UINT64_MAX, lowest = UINT64_MAX;

    for (size_t i = r->count; i > 0; i--) {
        struct rescue_segment *s = &r->segments[i - 1];

        s->bound = bound;
        if (s->state == SEGMENT_VALID) {
            lowest = MIN(lowest, s->first);
            bound = s->cut != 0 ? MIN(bound, s->cut) : bound;
        }
        s->lowest = lowest;
    }
}

int rescue_headers(struct rescue *r)
{
    const char *location = r->v->store->location;
    uint8_t *buf;
    int res = store_highest(r->v->store, 0, &r->highest);

    if (res == 0) {
        res = store_list(r->v->store, 0, 0, segment_listed, r);
    }
    if (res < 0) {
        return error_set(res, res == -ENOENT ? "%s has no segments left" :
                         "cannot list the segments of %s: %s", location, error_name(res));
    }
    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET) != 0) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->count && res == 0; i++) {
        res = header_read(r, &r->segments[i], buf);
    }
    free(buf);
    bounds_find(r);
    if (res == 0 && !r->has_newest) {
        res = error_set(-EBADMSG, "no segment of %s has a header that is whole: nothing "
                        "tells what its bytes are", location);
    }
    return res;
}

void rescue_headers_tell(struct rescue *r, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct rescue_segment *s = &r->segments[i];

        if (s->file >= from && s->file < to && s->state == SEGMENT_DAMAGED) {
            rescue_tell(r, true, "the header of segment %" PRIu64 " (at offsets 0 and %u) "
                        "is damaged in both copies: its records cannot be used", s->file,
                        SEGMENT_HEADER_COPY);
        }
    }
}

/* ---- What the records tell ------------------------------------------------ */

/* The checkpoint in the record of C: true, *RET is set. */
static bool checkpoint_in(const struct rescue_cursor *c, struct checkpoint *ret)
{
    const struct rescue *r = c->r;
    struct entry e;
    size_t pos = 0;

    while (entry_next(c->head + RECORD_HEADER_BYTES, c->h.entry_bytes, &pos,
                      c->h.payload_bytes, r->v->block_bytes, true, &e) == 1) {
        if (e.type == ENTRY_CHECKPOINT) {
            bool good = checkpoint_decode(&e, ret) == 0 && ret->replay_seq <= c->h.seq &&
                        ret->replay_file <= c->s->file;

            ret->time_us = c->h.time_us;
            return good;
        }
    }
    return false;
}

static int late_add(struct rescue *r, const struct record_ref *ref)
{
    void *late = array_room(r->late, r->late_count, &r->late_room, sizeof(*r->late));

    if (!late) {
        return -ENOMEM;
    }
    r->late = late;
    r->late[r->late_count++] = *ref;
    return 0;
}

/*
 * A checkpoint counts by itself when a record of its own segment says that it is durable:
 * then it did not move, and its pages are where it says.
 */
static int survey_record(struct rescue_cursor *c, struct record_ref *last)
{
    struct rescue_segment *s = c->s;
    struct checkpoint ck;
    int res = 0;

    s->told = MAX(s->told, c->h.synced);
    if (last->seq != 0 && last->seq <= c->h.synced) {
        res = late_add(c->r, last);
        last->seq = 0;
    }
    if (checkpoint_in(c, &ck)) {
        *last = (struct record_ref){
            .file = s->file, .offset = c->offset, .seq = c->h.seq,
            .bytes = (uint32_t)record_bytes(&c->h),
        };
    }
    return res;
}

static int segment_survey(struct rescue *r, struct rescue_segment *s)
{
    struct record_ref last = { 0 };
    struct rescue_cursor c;
    int res;

    rescue_cursor_init(r, &c, s, UINT64_MAX);
    while ((res = rescue_cursor_next(&c)) == 1) {
        res = survey_record(&c, &last);
        if (res < 0) {
            break;
        }
    }
    s->torn = c.torn;
    s->end = c.expected;
    s->sealed = c.footer_last + 1 == s->end;
    s->surveyed = true;
    r->synced = MAX(r->synced, s->told);
    rescue_cursor_done(&c);
    return res;
}

/* The next valid segment of a later epoch than segment I, and the last of that one's. */
static size_t epoch_end(const struct rescue *r, size_t i, size_t *ret_last)
{
    size_t k = i;

    for (*ret_last = i; k < r->count; k++) {
        if (r->segments[k].state != SEGMENT_VALID) {
            continue;
        }
        if (r->segments[k].epoch != r->segments[i].epoch) {
            break;
        }
        *ret_last = k;
    }
    return k;
}

/*
 * Is it known which records of the epoch of segments I to LAST count?  Segment NEXT is the
 * first valid one of a later epoch, UP_TO the highest seq of the records, plus 1, as far as
 * NEXT does not cut them.  One number may be missing between: a segment that was made
 * ahead of time, and removed.
 */
static bool epoch_cut_known(const struct rescue *r, size_t last, size_t next,
                            uint64_t up_to)
{
    const struct rescue_segment *n = &r->segments[next];
    uint64_t between;

    if (next == r->count) {
        return true;        /* nobody took over */
    }
    between = n->file - r->segments[last].file - 1;
    return n->file == n->epoch && n->cut != 0 &&
           (between == 0 || (between == 1 && up_to == n->cut));
}

/* RESCUE-2 */
static void doubts_find(struct rescue *r)
{
    uint64_t known = 0;
    size_t next;

    for (size_t i = 0; i < r->count; i = next) {
        uint64_t up_to = 0;
        size_t last;
        bool sure;

        next = i + 1;
        if (r->segments[i].state != SEGMENT_VALID) {
            continue;
        }
        next = epoch_end(r, i, &last);
        for (size_t k = i; k <= last; k++) {
            if (r->segments[k].state == SEGMENT_VALID) {
                known = MAX(known, r->segments[k].told);
                up_to = MAX(up_to, r->segments[k].end);
            }
        }
        if (next < r->count) {
            up_to = MIN(up_to, r->segments[next].cut);
        }
        sure = epoch_cut_known(r, last, next, up_to);
        for (size_t k = i; k <= last; k++) {
            r->segments[k].doubt = sure ? UINT64_MAX : known + 1;
        }
    }
}

int rescue_survey(struct rescue *r, uint64_t file)
{
    int res = 0;

    for (size_t i = 0; i < r->count && res == 0; i++) {
        struct rescue_segment *s = &r->segments[i];

        if (s->file >= file && s->state == SEGMENT_VALID && !s->surveyed) {
            res = segment_survey(r, s);
        }
    }
    doubts_find(r);
    return res;
}

/* ---- The checkpoint to begin with ----------------------------------------- */

/* The record that REF names is damaged where it stands: a footer may have its head.  What
 * is in its payload, the usage of segments, is not known then. */
static int checkpoint_by_cursor(struct rescue *r, struct rescue_segment *s, uint64_t seq)
{
    struct rescue_cursor c;
    int res;

    rescue_cursor_init(r, &c, s, UINT64_MAX);
    while ((res = rescue_cursor_next(&c)) == 1 && c.h.seq < seq) {
    }
    if (res == 1) {
        res = c.h.seq == seq && checkpoint_in(&c, &r->base);
    }
    rescue_cursor_done(&c);
    return res;
}

/* 1: it is the base from now on; 0: it cannot be used. */
static int checkpoint_try(struct rescue *r, const struct record_ref *ref)
{
    struct rescue_segment *s = rescue_find(r, ref->file);
    struct usage_override_disk *overrides = NULL;
    struct checkpoint base = r->base;
    struct rescue_cursor c;
    int res = 0;

    if (s && s->state == SEGMENT_VALID) {
        rescue_cursor_init(r, &c, s, UINT64_MAX);
        res = scan_checkpoint(&c.scan, ref, r->v->block_bytes, true, &r->base, &overrides);
        rescue_cursor_done(&c);
        if (res == 0) {
            res = 1;
        } else if (res == -EBADMSG) {
            res = checkpoint_by_cursor(r, s, ref->seq);
        } else {
            res = rescue_read_error(r, ref->file, res);
        }
    }
    if (res == 0) {
        rescue_tell(r, false, "the checkpoint at segment %" PRIu64 ", offset %" PRIu64
                    " cannot be used: it is %s", ref->file, ref->offset,
                    s && s->state == SEGMENT_VALID ? "damaged" : "missing");
    }
    if (res != 1) {
        r->base = base;
        free(overrides);
        return res;
    }
    r->has_base = true;
    r->base_ref = *ref;
    free(r->overrides);
    r->overrides = overrides;
    r->synced = MAX(r->synced, ref->seq);
    return 1;
}

/* The newest that a header names. */
static int checkpoint_named(struct rescue *r)
{
    uint64_t tried = UINT64_MAX;
    int res = 0;

    r->base_empty = r->newest.checkpoint.file == 0;
    for (size_t i = r->count; i > 0 && res == 0 && !r->base_empty; i--) {
        const struct rescue_segment *s = &r->segments[i - 1];

        if (s->state == SEGMENT_VALID && s->checkpoint.file != 0 &&
            s->checkpoint.seq < tried) {
            tried = s->checkpoint.seq;
            res = checkpoint_try(r, &s->checkpoint);
        }
    }
    return res;
}

static int by_seq_down(const void *a, const void *b)
{
    const struct record_ref *x = a, *y = b;

    return x->seq < y->seq ? 1 : -(x->seq > y->seq);
}

/* One that records of its segment call durable, if it is newer. */
static int checkpoint_late(struct rescue *r)
{
    int res = 0;

    if (r->late_count > 0) {
        qsort(r->late, r->late_count, sizeof(*r->late), by_seq_down);
    }
    for (size_t i = 0; i < r->late_count && res == 0; i++) {
        if (r->has_base && r->late[i].seq <= r->base_ref.seq) {
            break;
        }
        res = checkpoint_try(r, &r->late[i]);
    }
    return res;
}

int rescue_checkpoint(struct rescue *r)
{
    int res = checkpoint_named(r);

    if (res >= 0) {
        res = rescue_survey(r, r->has_base ? r->base.replay_file : 0);
    }
    if (res >= 0) {
        res = checkpoint_late(r);
    }
    if (r->has_base) {
        r->base_empty = false;
    }
    return MIN(res, 0);
}
