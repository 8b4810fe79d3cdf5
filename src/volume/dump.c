/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the log holds, for people: as of when, then one line after the other, segment by
 * segment.  What is damaged is said in its place; a segment that a writer takes away while
 * it is read ends with a line that says so.  Nothing is held against anything else: that
 * is check's.
 */
#include "volume/volume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log/replay.h"
#include "log/scan.h"
#include "map/page.h"

#define TIME_BYTES 40
#define TRIES_MAX 5

struct dump {
    struct store *store;            /* owned */
    struct store_lane *lane;        /* owned */
    struct identity identity;
    void (*fn)(void *opaque, const char *line);
    void *opaque;
    uint64_t *files;                /* owned */
    size_t count, room;
};

static void line(struct dump *d, const char *fmt, ...) _printf_(2, 3);

static void line(struct dump *d, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (d->fn) {
        d->fn(d->opaque, text);
    }
}

/* ---- Words ---------------------------------------------------------------- */

/* ISO 8601, UTC, with microseconds. */
static const char *time_text(uint64_t us, char buf[TIME_BYTES])
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;
    size_t n;

    if (!gmtime_r(&t, &tm) || (n = strftime(buf, 24, "%Y-%m-%dT%H:%M:%S", &tm)) == 0) {
        (void)snprintf(buf, TIME_BYTES, "%" PRIu64 " us", us);
        return buf;
    }
    (void)snprintf(buf + n, TIME_BYTES - n, ".%06uZ", (unsigned)(us % 1000000));
    return buf;
}

static const char *uuid_text(const uint8_t *uuid, char buf[37])
{
    size_t n = 0;

    for (int i = 0; i < UUID_BYTES; i++) {
        n += (size_t)snprintf(buf + n, 37 - n, i == 4 || i == 6 || i == 8 || i == 10 ?
                              "-%02x" : "%02x", uuid[i]);
    }
    return buf;
}

static const char *tree_text(unsigned tree)
{
    static const char *const names[] = {
        [TREE_MAP] = "map", [TREE_USAGE] = "usage", [TREE_SNAPSHOTS] = "snapshots",
        [TREE_FORWARD] = "forward", [TREE_FREEING] = "freeing",
        [TREE_CHECKPOINTS] = "checkpoints",
    };

    return tree < ARRAY_SIZE(names) && names[tree] ? names[tree] : "unknown tree's";
}

/* Bytes that do not look like text (a damaged host name) stay off the terminal. */
static const char *printable(char *text)
{
    for (char *p = text; *p; p++) {
        *p = *p > ' ' && *p < 127 ? *p : '?';
    }
    return text;
}

/* ---- Entries -------------------------------------------------------------- */

static void root_dump(struct dump *d, unsigned tree, const struct root_ref *root)
{
    if (root->levels > 0) {
        line(d, "      root of the %s tree: %u levels, at segment %" PRIu64
             ", offset %" PRIu64, tree_text(tree), root->levels, place_file(root->place),
             place_offset(root->place));
    }
}

static void checkpoint_dump(struct dump *d, const struct entry *e)
{
    struct checkpoint c;

    if (checkpoint_decode(e, &c) < 0) {
        line(d, "    checkpoint: damaged");
        return;
    }
    line(d, "    checkpoint: replay from record %" PRIu64 " in segment %" PRIu64
         ", size %" PRIu64 ", live %" PRIu64 ", next cleaner segment %" PRIu64
         ", %u usage overrides", c.replay_seq, c.replay_file, c.size, c.live_bytes,
         c.moved_next, c.override_count);
    for (unsigned i = 0; i < CHECKPOINT_ROOTS; i++) {
        root_dump(d, i + 1, &c.roots[i]);
    }
}

/* E's payload stands at PAYLOAD_AT of the segment. */
static void entry_dump(struct dump *d, const struct entry *e, uint64_t payload_at)
{
    uint64_t at = payload_at + e->payload_offset;

    switch (e->type) {
    case ENTRY_DATA:
        line(d, "    data: blocks %" PRIu64 " to %" PRIu64 " at offset %" PRIu64,
             e->block, e->block + e->count - 1, at);
        break;
    case ENTRY_HOLE:
        line(d, "    hole: blocks %" PRIu64 " to %" PRIu64 " %s", e->block,
             e->block + e->count - 1, e->flags & 1 ? "discarded" : "zeroed");
        break;
    case ENTRY_RESIZE:
        line(d, "    resize: %" PRIu64 " bytes", e->size);
        break;
    case ENTRY_PAGE:
        line(d, "    page: %s, level %u, at offset %" PRIu64, tree_text(e->tree),
             e->level, at);
        break;
    case ENTRY_CHECKPOINT:
        checkpoint_dump(d, e);
        break;
    case ENTRY_MARK:
        line(d, "    mark");
        break;
    case ENTRY_VOID:
        line(d, "    void: was a checkpoint before its record moved");
        break;
    default:
        line(d, "    entry of unknown type %u", e->type);
    }
}

/* ---- Records -------------------------------------------------------------- */

static void record_dump(struct dump *d, uint64_t at, const struct record_header *h,
                        const uint8_t *head)
{
    char when[TIME_BYTES];
    struct entry e;
    size_t pos = 0;
    int res;

    line(d, "  record %" PRIu64 " at offset %" PRIu64 ": %s, synced %" PRIu64
         ", head %u, payload %u, %u entries", h->seq, at, time_text(h->time_us, when),
         h->synced, h->head_bytes, h->payload_bytes, h->entry_count);
    while ((res = entry_next(head + RECORD_HEADER_BYTES, h->entry_bytes, &pos,
                             h->payload_bytes, d->identity.block_bytes, true, &e)) == 1) {
        entry_dump(d, &e, at + h->head_bytes);
    }
    if (res < 0) {
        line(d, "    the entries from byte %zu on %s", pos, res == -ENOTSUP ?
             "are of a newer version" : "make no sense");
    }
}

/* 1: there is a footer at AT. */
static int footer_dump(struct dump *d, struct scan *s, uint64_t at)
{
    struct footer_disk f;
    uint8_t *footer;
    size_t bytes;
    int res = scan_footer(s, at, &footer, &bytes);

    if (res == 1) {
        memcpy(&f, footer, sizeof(f));
        line(d, "  footer at offset %" PRIu64 ": records %" PRIu64 " to %" PRIu64
             ", %u of them, %zu bytes", at, le64(f.first), le64(f.last), le32(f.records),
             bytes);
        free(footer);
    }
    return res;
}

/* All records; behind a damaged place goes on with the next that is valid. */
static int records_dump(struct dump *d, struct scan *s)
{
    uint64_t at = SEGMENT_DATA_OFFSET;
    struct record_header h;
    const uint8_t *head;

    for (;;) {
        uint64_t next = at;
        int res = scan_record(s, at, &h, &head);

        if (res == 0) {
            res = footer_dump(d, s, at);
            if (res != 0) {
                return MIN(res, 0);
            }
            res = scan_search(s, &next, &h, &head);
            line(d, res == 1 ? "  no valid record at offset %" PRIu64 :
                 "  no valid record at offset %" PRIu64 ": end", at);
        }
        if (res <= 0) {
            return res;
        }
        record_dump(d, next, &h, head);
        at = next + record_bytes(&h);
    }
}

/* ---- Segments ------------------------------------------------------------- */

static void ref_dump(struct dump *d, const char *what, const struct record_ref *r)
{
    if (r->file != 0) {
        line(d, "  %s record %" PRIu64 " in segment %" PRIu64 ", offset %" PRIu64
             ", %u bytes", what, r->seq, r->file, r->offset, r->bytes);
    }
}

static void header_dump(struct dump *d, struct segment_header *h)
{
    char created[TIME_BYTES], since[TIME_BYTES], cut[32] = "none";

    if (h->cut != 0) {
        (void)snprintf(cut, sizeof(cut), "%" PRIu64, h->cut);
    }
    line(d, "segment %" PRIu64 ": epoch %" PRIu64 ", size %" PRIu64 ", first %" PRIu64
         ", cut %s, synced %" PRIu64 ", created %s", h->file, h->epoch, h->size, h->first,
         cut, h->synced, time_text(h->created_us, created));
    line(d, "  writer: host %s, pid %u, since %s, durability %s", printable(h->host),
         h->pid, time_text(h->since_us, since), printable(h->durability));
    if (h->unfinished_us != 0) {
        line(d, "  its content is unfinished, since %s", time_text(h->unfinished_us, since));
    }
    ref_dump(d, "checkpoint: in", &h->checkpoint);
    ref_dump(d, "footer below: up to", &h->footer);
}

/* Say which copy of the header is not valid.  The segment's state, as a decode says. */
static enum segment_state copies_dump(struct dump *d, uint64_t file, const uint8_t *buf,
                                      size_t len, struct segment_header *ret,
                                      int *ret_error)
{
    enum segment_state whole = segment_header_decode(buf, len, file, d->identity.uuid,
                                                     ret, ret_error);

    for (size_t i = 0; i < 2 && whole == SEGMENT_VALID; i++) {
        size_t at = MIN(i * SEGMENT_HEADER_COPY, len);
        struct segment_header h;
        int error;

        if (segment_header_decode(buf + at, MIN(len - at, SEGMENT_HEADER_BYTES), file,
                                  d->identity.uuid, &h, &error) != SEGMENT_VALID) {
            line(d, "segment %" PRIu64 ": copy %zu of its header is not valid", file,
                 i + 1);
        }
    }
    return whole;
}

static int segment_dump(struct dump *d, uint64_t file, uint8_t *buf)
{
    struct segment_header h;
    struct scan scan;
    int error = 0, res;
    int64_t n = store_pread_now(d->lane, file, 0, buf, SEGMENT_DATA_OFFSET);

    if (n < 0) {
        return (int)n;
    }
    switch (copies_dump(d, file, buf, (size_t)n, &h, &error)) {
    case SEGMENT_VOID:
        line(d, "segment %" PRIu64 ": no header", file);
        return 0;
    case SEGMENT_DAMAGED:
        line(d, "segment %" PRIu64 ": its header is damaged", file);
        return 0;
    case SEGMENT_VALID:
        break;
    }
    if (error < 0) {
        line(d, "segment %" PRIu64 ": written by a newer version of hlfs", file);
        return 0;
    }
    header_dump(d, &h);
    scan_init(&scan, d->lane, &h);
    res = records_dump(d, &scan);
    scan_done(&scan);
    return res;
}

/* ---- The volume ----------------------------------------------------------- */

static int file_listed(void *opaque, uint64_t file)
{
    struct dump *d = opaque;
    uint64_t *files = array_room(d->files, d->count, &d->room, sizeof(*d->files));

    if (!files) {
        return -ENOMEM;
    }
    d->files = files;
    d->files[d->count++] = file;
    return 0;
}

static void identity_dump(struct dump *d)
{
    const struct identity *id = &d->identity;
    char uuid[37], created[TIME_BYTES], segments[40] = "by the volume's size";

    if (id->segment_bytes) {
        (void)snprintf(segments, sizeof(segments), "%" PRIu64, id->segment_bytes);
    }
    line(d, "volume %s: format version %u, uuid %s, block size %u, segment size %s, "
         "created %s", d->store->location, id->version, uuid_text(id->uuid, uuid),
         id->block_bytes, segments, time_text(id->created_us, created));
}

static int entry_pass(void *opaque, const struct entry *e, const struct record_header *h,
                      uint64_t file, uint64_t payload_at)
{
    return 0;
}

/* The time of the newest record, as an open finds it. */
static int newest_time(struct dump *d, uint64_t *ret_us)
{
    static const struct replay_ops ops = { .entry = entry_pass };
    struct usage_override_disk *overrides = NULL;
    struct replay_result facts = { 0 };
    struct record_ref ref;
    struct checkpoint c;
    struct replay *r = NULL;
    int res = replay_new(d->store, d->lane, d->identity.uuid, d->identity.block_bytes,
                         true, 0, &r);

    if (res == 0) {
        res = replay_checkpoint(r, &c, &ref, &overrides);
        res = replay_run(r, res == 1 ? c.replay_seq : 1, &ops, NULL, &facts);
    }
    *ret_us = facts.time_us;
    free(overrides);
    replay_free(r);
    return res;
}

/* Of a log with damage in it: of what comes before that. */
static void as_of_dump(struct dump *d)
{
    char when[TIME_BYTES];
    uint64_t us;
    int res, tries = 0;

    do {
        res = newest_time(d, &us);
    } while (res == -ESTALE && ++tries < TRIES_MAX);
    error_clear();
    line(d, "as of %s", us ? time_text(us, when) : "an unknown time");
}

static int dump_run(struct dump *d)
{
    uint8_t *buf;
    int res;

    as_of_dump(d);
    identity_dump(d);
    res = store_list(d->store, 0, 0, file_listed, d);
    if (res == 0) {
        res = store_list(d->store, STORE_MOVED, 0, file_listed, d);
    }
    if (res < 0) {
        return res;
    }
    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, SEGMENT_DATA_OFFSET) != 0) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < d->count && res == 0; i++) {
        uint64_t file = d->files[i];

        if (file & STORE_MOVED) {
            line(d, "cleaner segment %" PRIu64, store_segno(file));
            continue;
        }
        res = segment_dump(d, file, buf);
        if (res < 0 && res != -ENOMEM) {
            line(d, "segment %" PRIu64 ": %s", file, res == -ENOENT ?
                 "a writer removed it meanwhile" : error_name(res));
            res = 0;
        }
    }
    free(buf);
    return res;
}

int volume_dump(struct store *s, void (*fn)(void *opaque, const char *line),
                void *opaque)
{
    struct dump d = { .store = s, .fn = fn, .opaque = opaque };
    int res;

    error_clear();
    res = volume_identity(s, &d.identity);
    if (res == 0) {
        d.lane = store_lane_new(s);
        res = d.lane ? dump_run(&d) : -errno;
    }
    if (res < 0 && error_text()[0] == '\0') {
        (void)error_set(res, "cannot dump %s: %s", s->location, error_name(res));
    }
    free(d.files);
    store_lane_free(d.lane);
    store_free(s);
    return res;
}
