/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "log/scan.h"

#ifdef HLFS_PLANT_BUGS
unsigned replay_bugs;
#endif

/*
 * Reads the records of one segment one after the other: from its footer if that
 * counts, else by scanning.
 */
struct cursor {
    const struct replay_segment *segment;
    struct scan scan;
    bool ended;
    uint64_t expected;              /* seq of the next record */
    uint64_t next;                  /* offset of the next record; footer: position */
    uint8_t *footer;                /* owned, NULL: scan */
    size_t footer_bytes;
    /* The current record; seq 0: none loaded. */
    struct record_header h;
    uint64_t offset;
    const uint8_t *head;            /* header and entries, in window or footer */
};

struct replay {
    struct store *store;
    struct store_lane *lane;
    uint8_t uuid[UUID_BYTES];
    uint32_t block_bytes;
    bool read_only;
    uint64_t highest;
    struct segment_header newest;
    bool has_newest;
    struct replay_segment *segments;    /* ascending */
    size_t count, size;
    struct checkpoint checkpoint;
    struct record_ref checkpoint_ref;
    struct usage_override_disk *overrides;
    bool has_checkpoint;
    /* Of the newest segment, once newest_scan() has read it: */
    uint64_t synced;                    /* highest seq found synced */
    struct record_ref late;             /* its newest synced checkpoint */
};

static const char *location(const struct replay *r)
{
    return r->store->location;
}

/* Bytes that were there a moment ago are gone: a writer removed the segment. */
static int gone(const struct replay *r, uint64_t file)
{
    return error_set(-ESTALE, "segment %" PRIu64 " of %s went away while it was read: a "
                     "writer is at work; try again", file, location(r));
}

static int read_failed(const struct replay *r, uint64_t file, int64_t res)
{
    if (res == -ENOENT) {
        return gone(r, file);
    }
    if (res == -EOWNERDEAD) {
        return error_set((int)res, "segment %" PRIu64 " of %s waits to be recovered: its "
                         "writer and the nodes that have it ended together; open the volume "
                         "for writing", file, location(r));
    }
    return error_set((int)res, "cannot read segment %" PRIu64 " of %s: %s", file,
                     location(r), error_name((int)res));
}

/* ---- Headers -------------------------------------------------------------- */

/* 0, or an error with a sentence (-ENOENT without). */
static int header_read(struct replay *r, uint64_t file, struct replay_segment *ret)
{
    uint8_t *buf;
    int64_t n;
    int error = 0;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(r->lane, file, 0, buf, SEGMENT_DATA_OFFSET);
    if (n < 0) {
        free(buf);
        return n == -ENOENT ? -ENOENT : read_failed(r, file, n);
    }
    ret->file = file;
    ret->state = segment_header_decode(buf, (size_t)n, file, r->uuid, &ret->header,
                                       &error);
    free(buf);
    if (ret->state == SEGMENT_DAMAGED) {
        return error_set(-EBADMSG, "the header of segment %" PRIu64 " of %s is damaged "
                         "in both copies", file, location(r));
    }
    if (ret->state == SEGMENT_VALID && error < 0) {
        return error_set(error, "segment %" PRIu64 " of %s was written by a newer version "
                         "of hlfs; use that one", file, location(r));
    }
    return 0;
}

/*
 * A walk down the segments from FILE on.  Most end soon, so the first steps try one number
 * after the other.  The others go by a list: numbers may have large gaps.
 */
#define WALK_TRIES 8

struct walk {
    uint64_t file;              /* where it stands, there or not; 0: it is over */
    unsigned tries;
    uint64_t *files;            /* owned; ascending */
    size_t count, size;
};

static int walk_listed(void *opaque, uint64_t file)
{
    struct walk *w = opaque;
    uint64_t *files = array_room(w->files, w->count, &w->size, sizeof(*w->files));

    if (!files) {
        return -ENOMEM;
    }
    w->files = files;
    w->files[w->count++] = file;
    return 0;
}

static int walk_down(const struct replay *r, struct walk *w)
{
    if (w->tries++ < WALK_TRIES) {
        w->file--;
        return 0;
    }
    if (!w->files) {
        int res = store_list(r->store, 0, 1, walk_listed, w);

        if (res < 0) {
            return res;
        }
    }
    while (w->count > 0 && w->files[w->count - 1] >= w->file) {
        w->count--;
    }
    w->file = w->count > 0 ? w->files[w->count - 1] : 0;
    return 0;
}

static int find_newest(struct replay *r)
{
    struct walk w = { 0 };
    int res = store_highest(r->store, 0, &r->highest);

    if (res < 0) {
        return res == -ENOENT ? error_set(res, "%s has no segments", location(r)) : res;
    }
    w.file = r->highest;
    while (res == 0 && w.file > 0 && !r->has_newest) {
        struct replay_segment s;

        res = header_read(r, w.file, &s);
        if (res == 0 && s.state == SEGMENT_VALID) {
            r->newest = s.header;
            r->has_newest = true;
        } else if (res == 0 || res == -ENOENT) {
            res = walk_down(r, &w);
        }
    }
    free(w.files);
    return res;
}

static int segment_listed(void *opaque, uint64_t file)
{
    struct replay *r = opaque;
    void *segments;
    int res;

    if (file > r->highest) {
        return 0;   /* made since; it is of a later writer */
    }
    segments = array_room(r->segments, r->count, &r->size, sizeof(*r->segments));
    if (!segments) {
        return -ENOMEM;
    }
    r->segments = segments;
    res = header_read(r, file, &r->segments[r->count]);
    if (res == -ENOENT) {
        return gone(r, file);
    }
    if (res == 0) {
        r->count++;
    }
    return res;
}

/* ---- Cursors -------------------------------------------------------------- */

static void cursor_init(struct replay *r, struct cursor *c,
                        const struct replay_segment *s)
{
    *c = (struct cursor){
        .segment = s,
        .expected = s->header.first,
        .next = SEGMENT_DATA_OFFSET,
    };
    scan_init(&c->scan, r->lane, &s->header);
}

static void cursor_done(struct cursor *c)
{
    scan_done(&c->scan);
    free(TAKE_PTR(c->footer));
    c->ended = true;
    c->h.seq = 0;
}

/* Decode the record at OFFSET into the cursor: 1, 0 (no valid record there), <0. */
static int record_at(struct replay *r, struct cursor *c, uint64_t offset)
{
    int res = scan_record(&c->scan, offset, &c->h, &c->head);

    if (res < 0) {
        return read_failed(r, c->segment->file, res);       /* REPLAY-5 */
    }
    if (res == 0) {
        c->h.seq = 0;
        return 0;
    }
    c->offset = offset;
    return 1;
}

static int footer_step(struct cursor *c)
{
    const void *record;
    size_t len, need, pos = (size_t)c->next;
    uint64_t offset;

    if (footer_next(c->footer, c->footer_bytes, &pos, &offset, &record, &len) != 1 ||
        record_decode(record, len, c->scan.seed, c->scan.epoch, offset, &c->h,
                      &need) < 0) {
        return 0;
    }
    c->next = pos;
    c->offset = offset;
    c->head = record;
    return 1;
}

/* Load the next record: 1, 0 at the segment's end, or an error. */
static int cursor_next(struct replay *r, struct cursor *c)
{
    int res;

    if (c->ended) {
        return 0;
    }
    if (c->footer) {
        res = footer_step(c);
    } else {
        res = record_at(r, c, c->next);
        if (res == 1) {
            c->next = c->offset + record_bytes(&c->h);
        }
    }
#ifdef HLFS_PLANT_BUGS
    if (replay_bugs & 1u << REPLAY_BUG_STALE_TAKEN && res == 1 &&
        c->h.seq < c->expected) {
        c->h.seq = c->expected;
    }
#endif
    if (res == 1 && c->h.seq != c->expected) {
        res = 0;        /* REPLAY-1 */
    }
    if (res != 1) {
        cursor_done(c);
        return res;
    }
    c->expected++;
    return 1;
}

/* Use the footer that REF names if it counts: all in it is synced. */
static int cursor_footer(struct replay *r, struct cursor *c, const struct record_ref *ref,
                         uint64_t synced)
{
    struct footer_disk f;
    uint8_t *buf;
    size_t bytes;
    int res;

    if (ref->seq > synced) {
        return 0;
    }
    res = scan_footer(&c->scan, ref->offset, &buf, &bytes);
    if (res <= 0) {
        return res < 0 ? read_failed(r, ref->file, res) : 0;
    }
    memcpy(&f, buf, sizeof(f));
    if (bytes != ref->bytes || le64(f.last) > synced ||
        le64(f.first) != c->segment->header.first) {
        free(buf);
        return 0;       /* scan instead */
    }
    c->footer = buf;
    c->footer_bytes = bytes;
    c->next = FOOTER_HEADER_BYTES;
    return 0;
}

/* ---- What is synced ------------------------------------------------------- */

/* Does the cursor's record hold a checkpoint? */
static bool has_checkpoint(const struct replay *r, const struct cursor *c)
{
    struct entry e;
    size_t pos = 0;

    while (entry_next(c->head + RECORD_HEADER_BYTES, c->h.entry_bytes, &pos,
                      c->h.payload_bytes, r->block_bytes, r->read_only, &e) == 1) {
        if (e.type == ENTRY_CHECKPOINT) {
            return true;
        }
    }
    return false;
}

/*
 * Read the newest segment, in order, and then whatever valid records stand behind a
 * damaged place: the highest `synced` among them, and the newest synced checkpoint.
 * (No lower segment can know more: its records were built before this header.)
 */
static int newest_scan(struct replay *r)
{
    const struct replay_segment s = {
        .file = r->newest.file, .state = SEGMENT_VALID, .header = r->newest,
    };
    struct record_ref last = { 0 };
    struct cursor c;
    uint64_t at;
    int res;

    r->synced = r->newest.synced;
    cursor_init(r, &c, &s);
    while ((res = cursor_next(r, &c)) == 1) {
        r->synced = MAX(r->synced, c.h.synced);
        if (last.seq != 0 && last.seq <= r->synced) {
            r->late = last;
        }
        if (has_checkpoint(r, &c)) {
            last = (struct record_ref){
                .file = s.file, .offset = c.offset, .seq = c.h.seq,
                .bytes = (uint32_t)record_bytes(&c.h),
            };
        }
    }
    if (res < 0) {
        return res;
    }
    at = c.next;
    while ((res = scan_search(&c.scan, &at, &c.h, &c.head)) == 1) {
        if (c.h.seq > s.header.first) {
            r->synced = MAX(r->synced, c.h.synced);
        }
        at += PLACE_UNIT;
    }
    cursor_done(&c);
    return res < 0 ? read_failed(r, s.file, res) : 0;
}

/* ---- Checkpoints ---------------------------------------------------------- */

/* Read the checkpoint that REF names: 0, or an error (-EBADMSG, -ENOENT, …). */
static int checkpoint_read(struct replay *r, const struct record_ref *ref)
{
    struct replay_segment s;
    struct scan scan;
    int res = header_read(r, ref->file, &s);

    if (res < 0 || s.state != SEGMENT_VALID) {
        return res < 0 ? res : -EBADMSG;
    }
    scan_init(&scan, r->lane, &s.header);
    free(TAKE_PTR(r->overrides));
    return scan_checkpoint(&scan, ref, r->block_bytes, r->read_only, &r->checkpoint,
                           &r->overrides);
}

/* Has a writer gone on since we looked?  Then what we look for may be removed. */
static bool newest_has_changed(const struct replay *r)
{
    struct replay again = *r;

    again.has_newest = false;
    return find_newest(&again) == 0 && again.has_newest &&
           again.newest.file != r->newest.file;
}

/*
 * The checkpoint that the header of FILE names, unless it is TRIED.  1: it can be read;
 * 0: go on below; -ENODATA: there is none, nor did an earlier header know of one.
 */
static int checkpoint_named(struct replay *r, uint64_t file, struct record_ref *tried)
{
    struct replay_segment s;
    int res = header_read(r, file, &s);

    if (res < 0 || s.state != SEGMENT_VALID) {
        return res == -ENOENT ? 0 : res;
    }
    if (s.header.checkpoint.file == 0) {
        return -ENODATA;
    }
    if (s.header.checkpoint.seq == tried->seq) {
        return 0;
    }
    *tried = s.header.checkpoint;
    res = checkpoint_read(r, tried);
    if (res == 0) {
        r->has_checkpoint = true;
        r->checkpoint_ref = *tried;
        return 1;
    }
    return res == -EBADMSG || res == -ENOENT ? 0 : res;
}

/*
 * A checkpoint that the newest segment itself holds, if it was synced (the last one of
 * a volume that was closed, say), else the newest header's, else the one of the header
 * before, and so on: the pages of the one before are kept until a newer one is durable.
 */
static int find_checkpoint(struct replay *r)
{
    struct record_ref tried = { 0 }, first = { 0 };
    struct walk w = { .file = r->newest.file };
    int res = 0;

    if (r->late.seq > r->newest.checkpoint.seq) {
        res = checkpoint_read(r, &r->late);
        if (res == 0) {
            r->has_checkpoint = true;
            r->checkpoint_ref = r->late;
        }
        /* REPLAY-5: what it dropped may be gone, so none before it stands in. */
        if (res != -EBADMSG && res != -ENOENT) {
            return res;
        }
        res = 0;
    }
    while (res == 0 && w.file > 0) {
        res = checkpoint_named(r, w.file, &tried);
        if (first.file == 0) {
            first = tried;
        }
        if (res == 0) {
            res = walk_down(r, &w);
        }
    }
    free(w.files);
    if (res != 0 && res != -ENODATA) {
        return MIN(res, 0);
    }
    /* No checkpoint is readable: the log from its beginning is as good, if it is
     * still there; else the replay finds the gap. */
    if (r->newest.checkpoint.file == 0) {
        return 0;
    }
    if (newest_has_changed(r)) {
        return gone(r, tried.file);
    }
    return error_set(-EBADMSG, "the checkpoint at segment %" PRIu64 ", offset %" PRIu64
                     " of %s is damaged", first.file, first.offset, location(r));
}

int replay_checkpoint(struct replay *r, struct checkpoint *ret,
                      struct record_ref *ret_ref,
                      struct usage_override_disk **ret_overrides)
{
    *ret_overrides = NULL;
    if (!r->has_checkpoint) {
        return 0;
    }
    *ret = r->checkpoint;
    *ret_ref = r->checkpoint_ref;
    *ret_overrides = TAKE_PTR(r->overrides);
    return 1;
}

int replay_new(struct store *s, struct store_lane *lane, const uint8_t *uuid,
               uint32_t block_bytes, bool read_only, uint64_t from, struct replay **ret)
{
    struct replay *r = calloc(1, sizeof(*r));
    int res;

    if (!r) {
        return -ENOMEM;
    }
    r->store = s;
    r->lane = lane;
    r->block_bytes = block_bytes;
    r->read_only = read_only;
    memcpy(r->uuid, uuid, UUID_BYTES);
    res = find_newest(r);
    if (res == 0 && r->has_newest && from != REPLAY_NEWEST_ONLY) {
        res = newest_scan(r);
        if (res == 0) {
            res = find_checkpoint(r);
        }
    }
    if (res == 0) {
        if (from == 0) {
            from = r->has_checkpoint ? r->checkpoint.replay_file : 1;
        }
        res = store_list(s, 0, from, segment_listed, r);
    }
    if (res < 0) {
        res = read_only ? replay_outdated(r, res) : res;
        replay_free(r);
        return res;
    }
    *ret = r;
    return 0;
}

int replay_outdated(const struct replay *r, int res)
{
    if ((res != -EBADMSG && res != -ENOENT) || !r->has_newest || !newest_has_changed(r)) {
        return res;
    }
    return error_set(-ESTALE, "%s changed while it was read: a writer is at work; try again",
                     location(r));
}

void replay_free(struct replay *r)
{
    if (r) {
        free(r->segments);
        free(r->overrides);
        free(r);
    }
}

uint64_t replay_highest(const struct replay *r)
{
    return r->highest;
}

const struct segment_header *replay_newest(const struct replay *r)
{
    return r->has_newest ? &r->newest : NULL;
}

const struct replay_segment *replay_segments(const struct replay *r, size_t *ret_count)
{
    *ret_count = r->count;
    return r->segments;
}

/* ---- Replay --------------------------------------------------------------- */

struct run {
    struct replay *r;
    struct cursor *cursors;         /* of the valid segments, ascending */
    uint64_t *bound;                /* REPLAY-2: seqs from here on are void */
    uint64_t *lowest;               /* the lowest `first` of it and those above it */
    size_t count;
    size_t low, high;               /* cursors in use: [low, high) */
    uint64_t expected;
    uint64_t synced;
    uint32_t features_ro;           /* of all of them */
};

/* The record of C cannot be taken: RES is -EBADMSG or -ENOTSUP. */
static int record_wrong(const struct replay *r, const struct cursor *c, int res)
{
    return error_set(res, "record %" PRIu64 " at segment %" PRIu64 ", offset %" PRIu64
                     " of %s %s", c->h.seq, c->segment->file, c->offset, location(r),
                     res == -EBADMSG ? "has entries that make no sense" :
                     "holds what this version cannot read; use a newer hlfs");
}

static int payload_verify(struct replay *r, struct cursor *c)
{
    int res = scan_payload(&c->scan, c->offset, &c->h, c->head, r->block_bytes,
                           r->read_only);

    if (res >= 0 || res == -ENOMEM) {
        return res;
    }
    return res == -ENOTSUP ? record_wrong(r, c, res) :
           read_failed(r, c->segment->file, res);
}

/* Bring cursor I to the expected seq.  1: it has it, 0: it has not, <0. */
static int cursor_seek(struct run *u, size_t i)
{
    struct cursor *c = &u->cursors[i];
    int res = 1;

    while (res == 1 && c->h.seq < u->expected) {
        res = cursor_next(u->r, c);
    }
    if (res != 1 || c->h.seq != u->expected || u->expected >= u->bound[i]) {
        return res < 0 ? res : 0;
    }
    return 1;
}

/* Has a segment below that of cursor I the expected record, too? */
static int lower_copy(struct run *u, size_t i)
{
    int res = 0;

    while (i > u->low && res == 0) {
        res = cursor_seek(u, --i);
    }
    return res;
}

/*
 * Is the record that cursor I stands at, of the expected seq, to be taken?  What is not
 * known to be synced is verified (REPLAY-4).  So is one that a lower segment has as well
 * (REPLAY-3), synced or not: a former open may have found it torn and have accepted the
 * lower copy; that is the one which is synced.
 */
static int record_counts(struct run *u, size_t i)
{
    if (u->expected <= u->synced) {
        int res = lower_copy(u, i);

        return res == 1 ? payload_verify(u->r, &u->cursors[i]) : res < 0 ? res : 1;
    }
#ifdef HLFS_PLANT_BUGS
    if (replay_bugs & 1u << REPLAY_BUG_TORN_TAKEN) {
        return 1;
    }
#endif
    return payload_verify(u->r, &u->cursors[i]);
}

/* The cursor with the expected record, the highest first (REPLAY-3), or -ENODATA. */
static int find_record(struct run *u, struct cursor **ret)
{
    while (u->low < u->high && u->cursors[u->low].ended) {
        u->low++;
    }
    /* A segment whose records are void, or have moved up, may begin with a higher seq
     * than one above it. */
    while (u->high < u->count && u->lowest[u->high] <= u->expected) {
        u->high++;
    }
    for (size_t i = u->high; i > u->low; i--) {
        int res = cursor_seek(u, i - 1);

        if (res == 1) {
            res = record_counts(u, i - 1);
        }
        if (res < 0) {
            return res;
        }
        if (res == 1) {
            *ret = &u->cursors[i - 1];
            return 0;
        }
    }
    return -ENODATA;
}

static int apply(struct run *u, const struct cursor *c, const struct replay_ops *ops,
                 void *opaque)
{
    struct entry e;
    size_t pos = 0;
    int res;

    if (ops->record) {      /* they were looked at before */
        return ops->record(opaque, &c->h, c->head + RECORD_HEADER_BYTES, c->segment->file,
                           c->offset + c->h.head_bytes);
    }
    while ((res = entry_next(c->head + RECORD_HEADER_BYTES, c->h.entry_bytes, &pos,
                             c->h.payload_bytes, u->r->block_bytes, u->r->read_only,
                             &e)) == 1) {
        res = ops->entry(opaque, &e, &c->h, c->segment->file,
                         c->offset + c->h.head_bytes);
        if (res < 0) {
            break;
        }
    }
    return res == -EBADMSG || res == -ENOTSUP ? record_wrong(u->r, c, res) : res;
}

static int run_prepare(struct run *u)
{
    struct replay *r = u->r;
    uint64_t bound = UINT64_MAX, lowest = UINT64_MAX;

    u->cursors = calloc(r->count + 1, sizeof(*u->cursors));
    u->bound = calloc(r->count + 1, sizeof(*u->bound));
    u->lowest = calloc(r->count + 1, sizeof(*u->lowest));
    if (!u->cursors || !u->bound || !u->lowest) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->count; i++) {
        if (r->segments[i].state == SEGMENT_VALID) {
            cursor_init(r, &u->cursors[u->count++], &r->segments[i]);
            u->features_ro |= r->segments[i].header.features_ro;
        }
    }
    for (size_t i = u->count; i > 0; i--) {
        const struct segment_header *h = &u->cursors[i - 1].segment->header;

        u->bound[i - 1] = bound;
        u->lowest[i - 1] = lowest = MIN(lowest, h->first);
#ifdef HLFS_PLANT_BUGS
        if (replay_bugs & 1u << REPLAY_BUG_CUT_IGNORED) {
            continue;
        }
#endif
        if (h->cut != 0) {
            bound = MIN(bound, h->cut);
        }
    }
    for (size_t i = 0; i + 1 < u->count; i++) {
        const struct record_ref *ref = &u->cursors[i + 1].segment->header.footer;
        int res;

        if (ref->file != u->cursors[i].segment->file) {
            continue;
        }
        res = cursor_footer(r, &u->cursors[i], ref, u->synced);
        if (res < 0) {
            return res;
        }
    }
    return 0;
}

static int damage(const struct run *u)
{
    uint64_t file = 0, offset = 0, next = 0;
    char where[96];

    for (size_t i = 0; i < u->high; i++) {
        const struct cursor *c = &u->cursors[i];

        if (c->segment->header.first <= u->expected) {
            file = c->segment->file;
            offset = c->footer_bytes ? 0 : c->next;
        }
    }
    for (size_t i = u->count; i > 0 && u->cursors[i - 1].segment->file > file; i--) {
        next = u->cursors[i - 1].segment->file;
    }
    if (next > file + 1) {      /* it may have begun in one that is not there */
        (void)snprintf(where, sizeof(where), "in or behind segment %" PRIu64
                       "; segment %" PRIu64 " is missing", file, file + 1);
    } else {
        (void)snprintf(where, sizeof(where), "in segment %" PRIu64 " near offset %" PRIu64,
                       file, offset);
    }
    return error_set(-EBADMSG, "record %" PRIu64 " of %s is damaged or missing (expected "
                     "%s), but the log says that all up to %" PRIu64 " was durable; "
                     "`hlfs check` lists what else is damaged", u->expected,
                     location(u->r), where, u->synced);
}

int replay_run(struct replay *r, uint64_t from_seq, const struct replay_ops *ops,
               void *opaque, struct replay_result *ret)
{
    struct run u = { .r = r, .expected = from_seq };
    struct cursor *c = NULL;
    int res;

    *ret = (struct replay_result){ .last_seq = from_seq - 1 };
    u.synced = r->synced;
    if (r->has_checkpoint) {
        u.synced = MAX(u.synced, r->checkpoint_ref.seq);
    }
    res = run_prepare(&u);
    while (res == 0 && (res = find_record(&u, &c)) == 0) {
        res = apply(&u, c, ops, opaque);
        if (res == 0) {
            if (u.expected > u.synced && (ret->first_unsynced_file == 0 ||
                                          c->segment->file < ret->first_unsynced_file)) {
                ret->first_unsynced_file = c->segment->file;    /* REPLAY-3 */
            }
            ret->last_seq = u.expected++;
            ret->time_us = c->h.time_us;
            ret->records++;
        }
    }
    if (res == -ENODATA) {
        res = u.expected <= u.synced ? damage(&u) : 0;      /* REPLAY-4 */
    }
    ret->synced_seq = u.synced;
    ret->features_ro = u.features_ro;
    for (size_t i = 0; i < u.count; i++) {
        cursor_done(&u.cursors[i]);
    }
    free(u.cursors);
    free(u.bound);
    free(u.lowest);
    return res;
}
