/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking the log: headers and what they name, then every record of every segment.
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

/* ---- Headers -------------------------------------------------------------- */

static int segment_listed(void *opaque, uint64_t file)
{
    struct check *c = opaque;

    if (file > c->highest) {
        return 0;   /* made since */
    }
    if (c->count == c->room) {
        size_t room = MAX(c->room * 2, (size_t)64);
        void *bigger = realloc(c->segments, room * sizeof(*c->segments));

        if (!bigger) {
            return -ENOMEM;
        }
        c->segments = bigger;
        c->room = room;
    }
    c->segments[c->count++] = (struct check_segment){ .file = file };
    return 0;
}

static const char *state_name(enum segment_state state)
{
    return state == SEGMENT_VOID ? "missing" : "damaged";
}

/* Decode both copies: the segment's state, and *RET where it is VALID. */
static enum segment_state copies_check(struct check *c, uint64_t file, const uint8_t *buf,
                                       size_t len, struct segment_header *ret)
{
    struct segment_header h[2];
    enum segment_state state[2];
    int error[2] = { 0, 0 };

    for (int i = 0; i < 2; i++) {
        size_t at = MIN((size_t)i * SEGMENT_HEADER_COPY, len);

        state[i] = segment_header_decode(buf + at, MIN(len - at, SEGMENT_HEADER_BYTES),
                                         file, c->identity.uuid, &h[i], &error[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (state[i] == SEGMENT_VALID && state[!i] != SEGMENT_VALID) {
            check_warning(c, "copy %d of the header of segment %" PRIu64 " is %s; the "
                          "other one serves", !i + 1, file, state_name(state[!i]));
        }
    }
    if (state[0] != SEGMENT_VALID && state[1] != SEGMENT_VALID) {
        return MAX(state[0], state[1]);
    }
    if (state[0] == state[1] && memcmp(buf, buf + SEGMENT_HEADER_COPY,
                                       SEGMENT_HEADER_BYTES) != 0) {
        check_error(c, "the copies of the header of segment %" PRIu64 " differ", file);
    }
    *ret = h[state[0] == SEGMENT_VALID ? 0 : 1];
    if (error[state[0] == SEGMENT_VALID ? 0 : 1] < 0) {
        check_error(c, "segment %" PRIu64 " was written by a newer version of hlfs; use "
                    "that one", file);
        return SEGMENT_DAMAGED;
    }
    return SEGMENT_VALID;
}

static void rule(struct check *c, const struct check_segment *s, bool holds,
                 const char *what)
{
    if (!holds) {
        check_error(c, "the header of segment %" PRIu64 " makes no sense: %s", s->file,
                    what);
    }
}

/* What a writer cannot have written. */
static void header_rules(struct check *c, const struct check_segment *s,
                         const struct check_segment *before)
{
    rule(c, s, s->epoch >= 1 && s->epoch <= s->file, "its epoch is above its number");
    rule(c, s, !before || s->epoch >= before->epoch, "its epoch is below one before it");
    rule(c, s, s->size > SEGMENT_DATA_OFFSET && s->size <= SEGMENT_BYTES_MAX, "its size");
    rule(c, s, s->first >= 1, "its first record has no number");
    rule(c, s, s->cut == 0 || s->cut >= s->first, "it cuts its own records off");
    rule(c, s, s->cut != 0 || s->epoch != s->file, "a new writer cuts nothing off");
    rule(c, s, s->synced < s->first, "it calls its own records durable");
    rule(c, s, s->checkpoint.file < s->file && s->checkpoint.seq <= s->synced,
         "it names a checkpoint that was not durable");
    rule(c, s, s->footer.file < s->file, "it names a footer above it");
}

static void header_keep(struct check_segment *s, const struct segment_header *h)
{
    memcpy(s->salt, h->salt, SALT_BYTES);
    s->epoch = h->epoch;
    s->size = h->size;
    s->first = h->first;
    s->cut = h->cut;
    s->synced = h->synced;
    s->checkpoint = h->checkpoint;
    s->footer = h->footer;
    s->end = h->first;
    s->end_offset = SEGMENT_DATA_OFFSET;
}

static int header_check(struct check *c, struct check_segment *s, uint8_t *buf)
{
    struct segment_header h;
    int64_t n = store_pread_now(c->lane, s->file, 0, buf, SEGMENT_DATA_OFFSET);

    if (n == -ENOENT) {
        return -ESTALE;
    }
    if (n < 0) {
        check_error(c, "cannot read the header of segment %" PRIu64 ": %s", s->file,
                    error_name((int)n));
        s->state = SEGMENT_DAMAGED;
        return 0;
    }
    s->state = copies_check(c, s->file, buf, (size_t)n, &h);
    if (s->state == SEGMENT_VALID) {
        header_keep(s, &h);
        c->result.segments++;
    } else if (s->state == SEGMENT_DAMAGED) {
        check_error(c, "the header of segment %" PRIu64 " is damaged in both copies",
                    s->file);
    }
    return 0;
}

/* The headers of all segments from number I on. */
static int headers_check(struct check *c, size_t i)
{
    const struct check_segment *before = NULL;
    uint8_t *buf;
    int res = 0;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET) != 0) {
        return -ENOMEM;
    }
    for (size_t k = 0; k < i; k++) {
        before = c->segments[k].state == SEGMENT_VALID ? &c->segments[k] : before;
    }
    for (; i < c->count && res == 0; i++) {
        struct check_segment *s = &c->segments[i], *named;

        res = header_check(c, s, buf);
        if (res < 0 || s->state != SEGMENT_VALID) {
            continue;
        }
        header_rules(c, s, before);
        before = s;
        named = check_find(c, s->footer.file);
        if (named && named->state == SEGMENT_VALID) {
            named->footer_ref = s->footer;
        }
    }
    free(buf);
    return res;
}

/*
 * Called again, it adds the segments that have come since; the last ones may have got
 * their headers.
 */
int check_headers(struct check *c)
{
    uint64_t from = 0;
    size_t known;
    int res = store_highest(c->store, 0, &c->highest);

    if (res < 0) {
        return res == -ENOENT ? 0 : res;    /* the replay says it */
    }
    while (c->count > 0 && c->segments[c->count - 1].state == SEGMENT_VOID) {
        c->count--;
    }
    known = c->count;
    if (known > 0) {
        from = c->segments[known - 1].file + 1;
    }
    res = store_list(c->store, 0, from, segment_listed, c);
    return res < 0 ? res : headers_check(c, known);
}

/* ---- Checkpoints ---------------------------------------------------------- */

static void segment_scan(struct check *c, const struct check_segment *s, struct scan *ret)
{
    struct segment_header h = { .file = s->file, .epoch = s->epoch, .size = s->size };

    memcpy(h.salt, s->salt, SALT_BYTES);
    memcpy(h.uuid, c->identity.uuid, UUID_BYTES);
    scan_init(ret, c->lane, &h);
}

/* The checkpoint that the header of S names.  1: it is the one to go by. */
static int checkpoint_check(struct check *c, const struct check_segment *s)
{
    const struct record_ref *ref = &s->checkpoint;
    struct check_segment *named = check_find(c, ref->file);
    struct usage_override_disk *overrides = NULL;
    struct checkpoint ck;
    struct scan scan;
    int res = -EBADMSG;

    if (!named && c->has_checkpoint) {
        return 0;       /* older ones may have gone */
    }
    if (named && named->state == SEGMENT_VALID) {
        segment_scan(c, named, &scan);
        res = scan_checkpoint(&scan, ref, c->identity.block_bytes, true, &ck, &overrides);
        scan_done(&scan);
    }
    if (res == -ENOENT || res == -ENOMEM) {
        return res == -ENOENT ? -ESTALE : res;
    }
    if (res < 0) {
        check_error(c, "the checkpoint (record %" PRIu64 " in segment %" PRIu64
                    ", offset %" PRIu64 ") that the header of segment %" PRIu64
                    " names %s", ref->seq, ref->file, ref->offset, s->file,
                    !named ? "is gone with its segment" : res == -EBADMSG ?
                    "is damaged" : error_name(res));
        free(overrides);
        return 0;
    }
    if (c->has_checkpoint) {
        free(overrides);
        return 0;
    }
    c->has_checkpoint = true;
    c->checkpoint = ck;
    c->checkpoint_ref = *ref;
    c->overrides = overrides;
    return 1;
}

/* The newest header's, and each older one: an open may have to fall back to it. */
int check_checkpoints(struct check *c)
{
    uint64_t tried = 0;

    for (size_t i = c->count; i > 0; i--) {
        const struct check_segment *s = &c->segments[i - 1];
        int res;

        if (s->state != SEGMENT_VALID || s->checkpoint.file == 0 ||
            s->checkpoint.seq == tried) {
            continue;
        }
        tried = s->checkpoint.seq;
        res = checkpoint_check(c, s);
        if (res < 0) {
            return res;
        }
    }
    return 0;
}

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
    if (c->gap_count == GAPS_MAX) {
        check_error(c, "records %" PRIu64 " to %" PRIu64 " are missing in segment %"
                    PRIu64 " near offset %" PRIu64, from, to - 1, s->file, offset);
        return 0;
    }
    if (c->gap_count == c->gap_room) {
        size_t room = MAX(c->gap_room * 2, (size_t)64);
        void *bigger = realloc(c->gaps, room * sizeof(*c->gaps));

        if (!bigger) {
            return -ENOMEM;
        }
        c->gaps = bigger;
        c->gap_room = room;
    }
    c->gaps[c->gap_count++] = (struct check_gap){ s->file, offset, from, to };
    return 0;
}

static void entries_check(struct reader *r, uint64_t at, const struct record_header *h,
                          const uint8_t *head)
{
    struct checkpoint ck;
    struct entry e;
    size_t pos = 0;
    uint32_t count = 0;
    int res;

    while ((res = entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos,
                             h->payload_bytes, r->c->identity.block_bytes, true,
                             &e)) == 1) {
        count++;
        if ((e.type == ENTRY_CHECKPOINT && checkpoint_decode(&e, &ck) < 0) ||
            (e.type == ENTRY_PAGE && (e.tree < TREE_MAP || e.tree > CHECKPOINT_ROOTS))) {
            res = -EBADMSG;
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
                    "has entries that make no sense");
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

/* The footer stands behind the last record, or where a header says. */
static int footer_find(struct reader *r)
{
    struct check_segment *s = r->s;
    const struct record_ref *ref = &s->footer_ref;
    uint64_t at = ref->file ? ref->offset : s->end_offset;
    uint8_t *footer;
    size_t bytes;
    int res = scan_footer(&r->scan, at, &footer, &bytes);

    if (res == 1) {
        footer_check(r, footer, bytes, at);
        if (ref->file && (ref->bytes != bytes || ref->seq != s->footer_last)) {
            check_error(r->c, "the footer of segment %" PRIu64 ", offset %" PRIu64
                        ", is not as long as a later header says", s->file, at);
        }
        free(footer);
    } else if (res == 0 && ref->file) {
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

    segment_scan(c, s, &r.scan);
    res = reader_run(&r);
    scan_done(&r.scan);
    if (res == -ENOENT) {
        return -ESTALE;
    }
    if (res < 0 && res != -ENOMEM) {
        check_error(c, "cannot read segment %" PRIu64 " near offset %" PRIu64 ": %s",
                    s->file, r.offset, error_name(res));
        return 0;
    }
    return res;
}

/* ---- All together --------------------------------------------------------- */

/* What is known of a segment from those around it. */
struct context {
    uint64_t bound;         /* its seqs from here on are void: a higher one cuts there */
    uint64_t synced;        /* up to here, its records were durable */
};

/* Is SEQ valid in segment I?  Then *RET_END is where that ends. */
static bool holds(const struct check *c, const struct context *x, size_t i, uint64_t seq,
                  uint64_t *ret_end)
{
    const struct check_segment *s = &c->segments[i];
    uint64_t end = MIN(s->end, x[i].bound);

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
static uint64_t missing(const struct check *c, const struct context *x, uint64_t from,
                        uint64_t to, uint64_t *ret)
{
    uint64_t at = from, end = to;
    bool found = true;

    while (found && at < to) {
        found = false;
        for (size_t i = 0; i < c->count && !found; i++) {
            found = holds(c, x, i, at, &at);
        }
    }
    *ret = at;
    for (size_t i = 0; i < c->count; i++) {     /* up to what another one has again */
        uint64_t first = c->segments[i].first, unused;

        if (first > at && first < end && holds(c, x, i, first, &unused)) {
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

/* Seqs [from, to) are not in segment I: who has them? */
static void gap_check(struct check *c, const struct context *x, size_t i, uint64_t offset,
                      uint64_t from, uint64_t to)
{
    const struct check_segment *s = &c->segments[i];
    uint64_t end = MIN(to, MIN(x[i].bound, x[i].synced + 1));
    uint64_t at = from;

    while (at < end) {
        uint64_t stop = missing(c, x, at, end, &at);

        if (at < end) {
            gap_tell(c, s, offset, at, stop, x[i].synced);
        }
        at = stop;
    }
    /* The footer of a torn end may have landed before a record that it lists. */
    at = MAX(from, end);
    end = MIN(to, MIN(x[i].bound, s->footer_last + 1));
    if (at < end) {
        (void)missing(c, x, at, end, &at);
    }
    if (at < end) {
        check_warning(c, "record %" PRIu64 ", which the footer of segment %" PRIu64
                      " lists, is damaged or missing near offset %" PRIu64, at, s->file,
                      offset);
    }
}

static void contexts(const struct check *c, struct context *x)
{
    uint64_t bound = UINT64_MAX, synced = c->synced;

    for (size_t i = c->count; i > 0; i--) {
        const struct check_segment *s = &c->segments[i - 1];

        /* Behind a number that is gone, a segment knows only what it says itself: its
         * records may have moved to the one that went. */
        if (i < c->count && s[1].file != s->file + 1) {
            synced = 0;
        }
        synced = MIN(MAX(synced, s->told), c->synced);
        x[i - 1] = (struct context){ .bound = bound, .synced = synced };
        if (s->state == SEGMENT_VALID) {
            bound = s->cut != 0 ? MIN(bound, s->cut) : bound;
            synced = MAX(synced, s->synced);
        }
    }
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
    struct context *x = calloc(c->count + 1, sizeof(*x));
    size_t g = 0;

    if (!x) {
        return -ENOMEM;
    }
    contexts(c, x);
    for (size_t i = 0; i < c->count; i++) {
        const struct check_segment *s = &c->segments[i];

        for (; g < c->gap_count && c->gaps[g].file == s->file; g++) {
            gap_check(c, x, i, c->gaps[g].offset, c->gaps[g].from, c->gaps[g].to);
        }
        if (s->state == SEGMENT_VALID) {
            gap_check(c, x, i, s->end_offset, s->end, next_first(c, i));
        }
    }
    free(x);
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
