/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking the headers of all segments, and the checkpoints that they name.
 */
#include "volume/check_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- Headers -------------------------------------------------------------- */

static int segment_listed(void *opaque, uint64_t file)
{
    struct check *c = opaque;
    void *segments;

    if (file > c->highest) {
        return 0;   /* made since */
    }
    segments = array_room(c->segments, c->count, &c->room, sizeof(*c->segments));
    if (!segments) {
        return -ENOMEM;
    }
    c->segments = segments;
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
        s->state = SEGMENT_VOID;
        s->gone = true;
        return 0;
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

static void bounds_find(struct check *c)
{
    uint64_t bound = UINT64_MAX;

    for (size_t i = c->count; i > 0; i--) {
        struct check_segment *s = &c->segments[i - 1];

        s->bound = bound;
        if (s->state == SEGMENT_VALID && s->cut != 0) {
            bound = MIN(bound, s->cut);
        }
    }
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
    if (res == 0) {
        res = headers_check(c, known);
    }
    bounds_find(c);
    return res;
}

/* ---- Checkpoints ---------------------------------------------------------- */

void check_scan(struct check *c, const struct check_segment *s, struct scan *ret)
{
    struct segment_header h = { .file = s->file, .epoch = s->epoch, .size = s->size };

    memcpy(h.salt, s->salt, SALT_BYTES);
    memcpy(h.uuid, c->identity.uuid, UUID_BYTES);
    scan_init(ret, c->lane, &h);
}

/* The checkpoint that the header of S names. */
static int checkpoint_check(struct check *c, const struct check_segment *s)
{
    const struct record_ref *ref = &s->checkpoint;
    struct check_segment *named = check_find(c, ref->file);
    struct usage_override_disk *overrides = NULL;
    struct checkpoint ck;
    struct scan scan;
    int res = -EBADMSG;

    if (!named && c->has_checkpoint && ref->seq <= c->checkpoint_ref.seq) {
        return 0;       /* one that is older than the newest may have gone */
    }
    if (named && named->state == SEGMENT_VALID) {
        check_scan(c, named, &scan);
        res = scan_checkpoint(&scan, ref, c->identity.block_bytes, true, &ck, &overrides);
        scan_done(&scan);
    }
    if (res == -ENOENT || (res == -EBADMSG && named && named->state == SEGMENT_VALID &&
                           check_same(c, named) == 0)) {
        return -ESTALE;
    }
    if (res == -ENOMEM) {
        return res;
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
    c->size = ck.size;
    return 0;
}

/*
 * The newest header's, and each older one: an open may have to fall back to it.  Where
 * the replay has not come so far as to choose one, the newest that is whole is taken.
 */
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
