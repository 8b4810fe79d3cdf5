/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking for every inconsistency of a volume: the order of things, and the findings.
 *
 *   headers --> replay --> checkpoints --> records --> trees, usage --> (data)
 *
 * A writer may be at work meanwhile.  What it adds is not looked at.  What it takes away
 * may be read half, or be another segment's by then: before bytes are called damaged,
 * the header of their segment is looked at again.  Where something that went is needed
 * all begins again, and what was found so far is forgotten.
 */
#include "volume/check_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "volume/private.h"

#define TRIES_MAX 5
#define TEXT_BYTES_MAX MIB(16)      /* of findings not yet told */

/* ---- Findings ------------------------------------------------------------- */

static void tell(struct check *c, int error, const char *text)
{
    if (c->fn) {
        c->fn(c->opaque, error, text);
    }
}

/* Keep a finding; without room it only counts. */
static void keep(struct check *c, char kind, const char *text)
{
    size_t need = strlen(text) + 2;

    if (c->text_used + need > c->text_room) {
        size_t room = MAX(c->text_room * 2, (size_t)KIB(16));
        char *bigger = room <= TEXT_BYTES_MAX ? realloc(c->text, room) : NULL;

        if (!bigger) {
            c->unlisted++;
            return;
        }
        c->text = bigger;
        c->text_room = room;
    }
    c->text[c->text_used] = kind;
    memcpy(c->text + c->text_used + 1, text, need - 1);
    c->text_used += need;
}

static void finding(struct check *c, int error, const char *fmt, va_list args)
{
    char text[1024];

    if (c->mute) {
        return;
    }
    (void)vsnprintf(text, sizeof(text), fmt, args);
    if (error) {
        c->result.errors++;
    } else {
        c->result.warnings++;
    }
    if (c->at_once) {
        tell(c, error, text);
    } else {
        keep(c, error ? 'E' : 'W', text);
    }
}

void check_error(struct check *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    finding(c, 1, fmt, args);
    va_end(args);
}

void check_warning(struct check *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    finding(c, 0, fmt, args);
    va_end(args);
}

static void findings_tell(struct check *c)
{
    char more[80];

    for (size_t at = 0; at < c->text_used; at += strlen(c->text + at) + 1) {
        tell(c, c->text[at] == 'E', c->text + at + 1);
    }
    if (c->unlisted > 0) {
        (void)snprintf(more, sizeof(more), "%" PRIu64 " more findings are not listed",
                       c->unlisted);
        tell(c, c->result.errors > 0, more);
    }
    free(TAKE_PTR(c->text));
    c->text_used = c->text_room = 0;
}

/* ---- Segments ------------------------------------------------------------- */

struct check_segment *check_find(struct check *c, uint64_t file)
{
    size_t low = 0, high = c->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->segments[mid].file < file) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < c->count && c->segments[low].file == file ? &c->segments[low] : NULL;
}

int check_same(struct check *c, const struct check_segment *s)
{
    struct segment_header h;
    uint8_t *buf;
    int64_t n;
    int error, same;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(c->lane, s->file, 0, buf, SEGMENT_DATA_OFFSET);
    same = n > 0 && segment_header_decode(buf, (size_t)n, s->file, c->identity.uuid, &h,
                                          &error) == SEGMENT_VALID &&
           memcmp(h.salt, s->salt, SALT_BYTES) == 0;
    free(buf);
    return n == -ENOENT ? 0 : n < 0 ? (int)n : same;
}

/* Is every segment that a replay needs what it was? */
static bool replay_same(struct check *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct check_segment *s = &c->segments[i];

        if (s->state == SEGMENT_VALID &&
            (!c->has_checkpoint || s->file >= c->checkpoint.replay_file) &&
            check_same(c, s) == 0) {
            return false;
        }
    }
    return true;
}

/* ---- Replay --------------------------------------------------------------- */

static int replay_entry(void *opaque, const struct entry *e, const struct record_header *h,
                        uint64_t file, uint64_t payload_at)
{
    struct check *c = opaque;

    (void)h;
    if (e->type == ENTRY_RESIZE) {
        c->size = e->size;
    }
    return c->layer ? map_replay(c->layer, c->identity.block_bytes, e, file, payload_at) :
           0;
}

/* Replay as an open does it, and go by the checkpoint that it takes. */
static int replay_all(struct check *c, struct replay_result *facts)
{
    static const struct replay_ops ops = { .entry = replay_entry };
    struct usage_override_disk *overrides;
    struct replay *r = NULL;
    int res = replay_new(c->store, c->lane, c->identity.uuid, c->identity.block_bytes,
                         true, 0, &r);

    if (res < 0) {
        return res;
    }
    if (replay_checkpoint(r, &c->checkpoint, &c->checkpoint_ref, &overrides) == 1) {
        free(c->overrides);
        c->overrides = overrides;
        c->has_checkpoint = true;
    }
    c->size = c->has_checkpoint ? c->checkpoint.size : 0;
    res = replay_run(r, c->has_checkpoint ? c->checkpoint.replay_seq : 1, &ops, c, facts);
    replay_free(r);
    return res;
}

/* What the replay says is a finding. */
static int check_replay(struct check *c)
{
    struct replay_result facts = { 0 };
    int res;

    if (c->flags & HLFS_CHECK_DATA) {
        c->layer = layer_new();
        if (!c->layer) {
            return -ENOMEM;
        }
    }
    res = replay_all(c, &facts);
    c->result.as_of_us = facts.time_us;
    for (size_t i = 0; i < c->count; i++) {
        c->synced = MAX(c->synced, c->segments[i].synced);
    }
    c->synced = MAX(c->synced, facts.synced_seq);
    if (res == 0 || res == -ENOMEM || res == -ESTALE) {
        return res;
    }
    if (!replay_same(c)) {
        return -ESTALE;
    }
    check_error(c, "%s", error_text());
    error_clear();
    return 0;
}

/* ---- One try -------------------------------------------------------------- */

static void view_done(struct check *c)
{
    free(TAKE_PTR(c->segments));
    free(TAKE_PTR(c->absent));
    free(TAKE_PTR(c->gaps));
    free(TAKE_PTR(c->overrides));
    layer_free(TAKE_PTR(c->layer));
    c->count = c->room = c->absent_count = c->absent_room = 0;
    c->gap_count = c->gap_room = 0;
    c->has_checkpoint = false;
    c->synced = c->size = 0;
}

int check_view(struct check *c)
{
    int res;

    view_done(c);
    res = check_headers(c);
    if (res == 0) {
        res = check_replay(c);
    }
    return res < 0 ? res : check_checkpoints(c);
}

/* Cleaner segments come with later versions: nothing of this one refers to any. */
static int moved_listed(void *opaque, uint64_t file)
{
    check_warning(opaque, "cleaner segment %" PRIu64 " is rubbish: nothing refers to it",
                  store_segno(file));
    return 0;
}

static int check_all(struct check *c)
{
    int res;

    c->result = (struct hlfs_check_result){ 0 };
    c->text_used = 0;
    c->unlisted = 0;
    c->trees_whole = true;
    res = check_view(c);
    if (res == 0) {
        res = check_headers(c);     /* so that c->synced is of what is known */
    }
    if (res == 0) {
        res = check_records(c);
    }
    if (res == 0 && c->has_checkpoint) {
        res = check_trees(c);
    }
    if (res == 0) {
        res = store_list(c->store, STORE_MOVED, 0, moved_listed, c);
    }
    return res;
}

static int check_run(struct check *c)
{
    int res = -ESTALE;

    for (int i = 0; i < TRIES_MAX && res == -ESTALE; i++) {
        res = check_all(c);
    }
    if (res < 0) {
        return res;
    }
    findings_tell(c);
    return c->flags & HLFS_CHECK_DATA ? check_data(c) : 0;
}

/* ---- Interface ------------------------------------------------------------ */

static int check_new(struct check *c)
{
    int res;

    c->lane = store_lane_new(c->store);
    if (!c->lane) {
        return -errno;
    }
    res = fetch_new(c->store, &c->fetch);
    return res;
}

static void check_done(struct check *c)
{
    view_done(c);
    free(c->text);
    fetch_free(c->fetch);
    store_lane_free(c->lane);
    store_free(c->store);
}

static int failed(const struct check *c, int res)
{
    if (res == -ESTALE) {
        return error_set(res, "segments of %s keep going away while it is checked: a "
                         "writer is at work; try again", c->store->location);
    }
    if (error_text()[0] == '\0') {
        return error_set(res, "cannot check %s: %s", c->store->location, error_name(res));
    }
    return res;
}

int volume_check(struct store *s, unsigned flags,
                 void (*fn)(void *opaque, int error, const char *text), void *opaque,
                 struct hlfs_check_result *ret)
{
    struct check c = { .store = s, .flags = flags, .fn = fn, .opaque = opaque };
    int res;

    error_clear();
    res = volume_identity(s, &c.identity);
    if (res == -EBADMSG) {
        c.at_once = true;
        check_error(&c, "%s", error_text());
        res = 0;
    } else if (res == 0) {
        res = check_new(&c);
        if (res == 0) {
            error_clear();
            res = check_run(&c);
        }
    }
    if (res < 0) {
        res = failed(&c, res);
    } else {
        error_clear();
        *ret = c.result;
    }
    check_done(&c);
    return res;
}
