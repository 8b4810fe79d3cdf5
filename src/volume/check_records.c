/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking every record of every segment, the footers, and that no record is missing.
 *
 * A segment's records alone do not tell whether one is missing: a crash, or a segment
 * that broke, leaves ends that are torn, and other segments go on from there.  So the
 * seqs that a segment should have and has not (its gaps) are held against all others:
 * it is damage when a seq was durable, was not cut off, and nobody has it.
 */
#include "volume/check_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"

#define GAPS_MAX 4096u      /* each is held against all others */

/* ---- Records -------------------------------------------------------------- */

/* One segment being read. */
struct reader {
    struct check *c;
    struct check_segment *s;
    struct scan scan;
    uint64_t offset;            /* where the next record should stand */
    uint64_t synced, time_us;   /* of the record before */
    uint64_t records, gaps;
    uint32_t footer_crc;        /* of what its footer should hold */
};

static int gap_add(struct check *c, const struct check_segment *s, uint64_t offset,
                   uint64_t from, uint64_t to)
{
    void *gaps;

    if (c->gap_count == GAPS_MAX) {
        check_error(c, "records %" PRIu64 " to %" PRIu64 " are missing in segment %"
                    PRIu64 " near offset %" PRIu64, from, to - 1, s->file, offset);
        return 0;
    }
    gaps = array_room(c->gaps, c->gap_count, &c->gap_room, sizeof(*c->gaps));
    if (!gaps) {
        return -ENOMEM;
    }
    c->gaps = gaps;
    c->gaps[c->gap_count++] = (struct check_gap){ s->file, offset, from, to };
    return 0;
}

/* Is all of the checkpoint there that stands in record H at AT, if it counts? */
static int checkpoint_whole(struct reader *r, uint64_t at, const struct record_header *h)
{
    const struct record_ref ref = {
        .file = r->s->file, .offset = at, .seq = h->seq,
        .bytes = (uint32_t)record_bytes(h),
    };
    struct usage_override_disk *overrides = NULL;
    struct checkpoint ck;
    int res;

    if (h->seq > r->c->synced || h->seq >= r->s->bound) {
        return 0;
    }
    res = scan_checkpoint(&r->scan, &ref, r->c->identity.block_bytes, true, &ck,
                          &overrides);
    free(overrides);
    return res == -ENOENT || (res == -EBADMSG && check_same(r->c, r->s) == 0) ? 0 : res;
}

static void entries_check(struct reader *r, uint64_t at, const struct record_header *h,
                          const uint8_t *head)
{
    struct entry e;
    size_t pos = 0;
    uint32_t count = 0;
    int res;

    while ((res = entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos,
                             h->payload_bytes, r->c->identity.block_bytes, true,
                             &e)) == 1) {
        count++;
        if (e.type == ENTRY_CHECKPOINT) {
            res = checkpoint_whole(r, at, h);
        } else if (e.type == ENTRY_PAGE &&
                   (e.tree < TREE_MAP || e.tree > CHECKPOINT_ROOTS)) {
            res = -EBADMSG;
        }
        if (res < 0) {
            break;
        }
    }
    if (res == 0 && count != h->entry_count) {
        res = -EBADMSG;
    }
    if (res < 0) {
        check_error(r->c, "record %" PRIu64 " in segment %" PRIu64 ", offset %" PRIu64
                    ", %s", h->seq, r->s->file, at, res == -ENOTSUP ?
                    "holds what this version cannot read; use a newer hlfs" :
                    res == -EBADMSG ? "has entries that make no sense" : error_name(res));
    }
}

static void footer_sum_add(struct reader *r, uint64_t at, const struct record_header *h,
                           const uint8_t *head)
{
    static const uint8_t zero[8];
    uint32_t bytes = RECORD_HEADER_BYTES + h->entry_bytes;
    const struct footer_item_disk item = {
        .offset = to_le64(at), .bytes = to_le32(bytes),
    };

    r->footer_crc = crc32c(r->footer_crc, &item, sizeof(item));
    r->footer_crc = crc32c(r->footer_crc, head, bytes);
    r->footer_crc = crc32c(r->footer_crc, zero, ALIGN_UP(bytes, 8u) - bytes);
}

/* The valid record H at AT: does it go on from the one before? */
static int record_check(struct reader *r, uint64_t at, const struct record_header *h,
                        const uint8_t *head)
{
    struct check_segment *s = r->s;
    const char *wrong = NULL;
    int res = 0;

    r->c->result.records++;
    r->records++;
    if (h->seq < s->end) {
        wrong = "its number is below the one before";
    } else if (h->seq > s->end) {
        r->gaps++;
        res = gap_add(r->c, s, r->offset, s->end, h->seq);
    }
    if (h->synced >= h->seq || h->synced < r->synced) {
        wrong = "what it calls durable cannot be";
    } else if (h->time_us <= r->time_us) {
        wrong = "its time is not above that of the one before";
    } else if (record_bytes(h) > s->size - at) {
        wrong = "it goes beyond the end of its segment";
    }
    if (wrong) {
        check_error(r->c, "record %" PRIu64 " in segment %" PRIu64 ", offset %" PRIu64
                    ", makes no sense: %s", h->seq, s->file, at, wrong);
    }
    entries_check(r, at, h, head);
    footer_sum_add(r, at, h, head);
    r->synced = s->told = MAX(s->told, h->synced);
    r->time_us = h->time_us;
    r->offset = s->end_offset = at + record_bytes(h);
    s->end = MAX(s->end, h->seq + 1);
    return res;
}

/* Compare the footer with the records that were read. */
static void footer_check(struct reader *r, const uint8_t *footer, size_t bytes,
                         uint64_t offset)
{
    struct check_segment *s = r->s;
    struct footer_disk f;
    uint32_t crc = crc32c(0, footer + FOOTER_HEADER_BYTES, bytes - FOOTER_HEADER_BYTES);

    memcpy(&f, footer, sizeof(f));
    s->footer_last = le64(f.last);
    if (r->gaps == 0 && le64(f.last) == s->end - 1 &&
        (crc != r->footer_crc || le64(f.first) != s->first ||
         le32(f.records) != r->records)) {
        check_error(r->c, "the footer of segment %" PRIu64 ", offset %" PRIu64
                    ", does not tell what its records do", s->file, offset);
    }
}

/* The footer stands where a higher header says, or anywhere behind the last record. */
static int footer_find(struct reader *r)
{
    struct check_segment *s = r->s;
    const struct record_ref *ref = &s->footer_ref;
    uint64_t at = ref->file ? ref->offset : s->end_offset;
    uint8_t *footer;
    size_t bytes;
    int res = ref->file ? scan_footer(&r->scan, at, &footer, &bytes) :
              scan_footer_search(&r->scan, &at, &footer, &bytes);

    if (res == 1) {
        footer_check(r, footer, bytes, at);
        if (ref->file && (ref->bytes != bytes || ref->seq != s->footer_last)) {
            check_error(r->c, "the footer of segment %" PRIu64 ", offset %" PRIu64
                        ", is not as long as a later header says", s->file, at);
        }
        free(footer);
    } else if (res == 0 && ref->file && check_same(r->c, s) != 0) {
        check_warning(r->c, "the footer of segment %" PRIu64 ", offset %" PRIu64
                      ", is missing or damaged; its records will be read one by one",
                      s->file, at);
    }
    return MIN(res, 0);
}

/* All records of R's segment, and the footer. */
static int reader_run(struct reader *r)
{
    struct record_header h;
    const uint8_t *head;
    uint8_t *footer;
    size_t bytes;
    int res = 0;

    while (res == 0) {
        uint64_t at = r->offset;

        res = scan_record(&r->scan, at, &h, &head);
        if (res == 0) {
            res = scan_footer(&r->scan, at, &footer, &bytes);
            if (res == 1) {
                free(footer);
                break;
            }
        }
        if (res == 0) {
            res = scan_search(&r->scan, &at, &h, &head);
        }
        if (res == 0) {
            break;
        }
        res = res < 0 ? res : record_check(r, at, &h, head);
    }
    return res < 0 ? res : footer_find(r);
}

static int segment_check(struct check *c, struct check_segment *s)
{
    struct reader r = {
        .c = c, .s = s, .offset = SEGMENT_DATA_OFFSET, .synced = s->synced,
    };
    int res;

    check_scan(c, s, &r.scan);
    res = reader_run(&r);
    scan_done(&r.scan);
    if (res == -ENOENT) {
        return 0;       /* a writer removed it: nobody needs it any more */
    }
    if (res < 0 && res != -ENOMEM) {
        check_error(c, "cannot read segment %" PRIu64 " near offset %" PRIu64 ": %s",
                    s->file, r.offset, error_name(res));
        return 0;
    }
    return res;
}

/* ---- All together --------------------------------------------------------- */

/* Is SEQ valid in segment I?  Then *RET_END is where that ends. */
static bool holds(const struct check *c, size_t i, uint64_t seq, uint64_t *ret_end)
{
    const struct check_segment *s = &c->segments[i];
    uint64_t end = MIN(s->end, s->bound);

    if (s->state != SEGMENT_VALID || seq < s->first || seq >= end) {
        return false;
    }
    for (size_t g = 0; g < c->gap_count; g++) {
        const struct check_gap *gap = &c->gaps[g];

        if (gap->file != s->file) {
            continue;
        }
        if (seq >= gap->from && seq < gap->to) {
            return false;
        }
        if (gap->from > seq) {
            end = MIN(end, gap->from);
        }
    }
    *ret_end = end;
    return true;
}

/* The first seqs of [from, to) that no segment has: [*RET, return value). */
static uint64_t missing(const struct check *c, uint64_t from, uint64_t to, uint64_t *ret)
{
    uint64_t at = from, end = to;
    bool found = true;

    while (found && at < to) {
        found = false;
        for (size_t i = 0; i < c->count && !found; i++) {
            found = holds(c, i, at, &at);
        }
    }
    *ret = at;
    for (size_t i = 0; i < c->count; i++) {     /* up to what another one has again */
        uint64_t first = c->segments[i].first, unused;

        if (first > at && first < end && holds(c, i, first, &unused)) {
            end = first;
        }
    }
    for (size_t g = 0; g < c->gap_count; g++) {
        if (c->gaps[g].to > at && c->gaps[g].to < end) {
            end = c->gaps[g].to;
        }
    }
    return end;
}

static void gap_tell(struct check *c, const struct check_segment *s, uint64_t offset,
                     uint64_t from, uint64_t to, uint64_t synced)
{
    uint64_t needed = c->has_checkpoint ? c->checkpoint.replay_seq : 1;

    if (check_same(c, s) == 0) {
        return;     /* a writer removed it while it was read */
    }
    if (to > needed) {
        check_error(c, "records %" PRIu64 " to %" PRIu64 " are damaged or missing "
                    "(expected in segment %" PRIu64 " near offset %" PRIu64 "), but the "
                    "log says that all up to %" PRIu64 " was durable", from, to - 1,
                    s->file, offset, synced);
    } else {
        check_warning(c, "records %" PRIu64 " to %" PRIu64 " are damaged or missing "
                      "(expected in segment %" PRIu64 " near offset %" PRIu64 "); the "
                      "checkpoint has what they told", from, to - 1, s->file, offset);
    }
}

/* Seqs [from, to) are not in segment S: who has them?  Up to SYNCED they were durable. */
static void gap_check(struct check *c, const struct check_segment *s, uint64_t synced,
                      uint64_t offset, uint64_t from, uint64_t to)
{
    uint64_t end = MIN(to, MIN(s->bound, synced + 1));
    uint64_t at = from;

    while (at < end) {
        uint64_t stop = missing(c, at, end, &at);

        if (at < end) {
            gap_tell(c, s, offset, at, stop, synced);
        }
        at = stop;
    }
    /* The footer of a torn end may have landed before a record that it lists. */
    at = MAX(from, end);
    end = MIN(to, MIN(s->bound, s->footer_last + 1));
    if (at < end) {
        (void)missing(c, at, end, &at);
    }
    if (at < end && check_same(c, s) != 0) {
        check_warning(c, "record %" PRIu64 ", which the footer of segment %" PRIu64
                      " lists, is damaged or missing near offset %" PRIu64, at, s->file,
                      offset);
    }
}

/*
 * For each segment the seq up to which its records were durable.  Where the number
 * behind a segment is gone, it knows only what its own records tell: others may have
 * moved to the one that went.
 */
static uint64_t *durable_find(const struct check *c)
{
    uint64_t *durable = calloc(c->count + 1, sizeof(*durable));
    uint64_t synced = c->synced;

    for (size_t i = c->count; durable && i > 0; i--) {
        const struct check_segment *s = &c->segments[i - 1];

        if (i < c->count && (s[1].file != s->file + 1 || s[1].gone)) {
            synced = 0;
        }
        synced = MIN(MAX(synced, s->told), c->synced);
        durable[i - 1] = synced;
        if (s->state == SEGMENT_VALID) {
            synced = MAX(synced, s->synced);
        }
    }
    return durable;
}

/* Where the next segment goes on from segment I: up to there I should reach. */
static uint64_t next_first(const struct check *c, size_t i)
{
    while (++i < c->count) {
        if (c->segments[i].state == SEGMENT_VALID) {
            return c->segments[i].first;
        }
    }
    return UINT64_MAX;
}

static int coverage_check(struct check *c)
{
    uint64_t *durable = durable_find(c);
    size_t g = 0;

    if (!durable) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct check_segment *s = &c->segments[i];

        for (; g < c->gap_count && c->gaps[g].file == s->file; g++) {
            gap_check(c, s, durable[i], c->gaps[g].offset, c->gaps[g].from,
                      c->gaps[g].to);
        }
        if (s->state == SEGMENT_VALID) {
            gap_check(c, s, durable[i], s->end_offset, s->end, next_first(c, i));
        }
    }
    free(durable);
    return 0;
}

int check_records(struct check *c)
{
    for (size_t i = 0; i < c->count; i++) {
        int res = 0;

        if (c->segments[i].state == SEGMENT_VALID) {
            res = segment_check(c, &c->segments[i]);
        }
        if (res < 0) {
            return res;
        }
    }
    return coverage_check(c);
}
