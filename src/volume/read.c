/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a byte range: look up, read neighbouring blocks together, verify, deliver.
 */
#include "volume/private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"

static void read_run(struct read_op *r);

/* ---- Phases: VOL-3 -------------------------------------------------------- */

unsigned read_phase_enter(struct hlfs *v)
{
    v->reads[v->read_phase]++;
    return v->read_phase;
}

void read_phase_leave(struct hlfs *v, unsigned phase)
{
    assert(v->reads[phase] > 0);
    if (--v->reads[phase] == 0 && v->removing_waits) {
        monitor_wake(v);
    }
}

/* ---- Blocks and bytes ----------------------------------------------------- */

/* The part of block I of the chunk that the caller wants. */
static void block_part(const struct read_op *r, uint32_t i, uint64_t *ret_from,
                       uint64_t *ret_to)
{
    uint64_t start = (r->block + i) << r->v->block_shift;

    *ret_from = MAX(start, r->offset + r->at);
    *ret_to = MIN(start + r->v->block_bytes, r->offset + r->len);
}

static bool block_whole(const struct read_op *r, uint32_t i)
{
    uint64_t from, to;

    block_part(r, i, &from, &to);
    return to - from == r->v->block_bytes;
}

static uint8_t *block_target(const struct read_op *r, uint32_t i)
{
    uint64_t from, to;

    block_part(r, i, &from, &to);
    return r->buf + (from - r->offset);
}

/* Deliver the wanted part of block I from BYTES (NULL: zeros). */
static void block_deliver(struct read_op *r, uint32_t i, const uint8_t *bytes)
{
    uint64_t from, to, start = (r->block + i) << r->v->block_shift;

    block_part(r, i, &from, &to);
    if (bytes) {
        memcpy(r->buf + (from - r->offset), bytes + (from - start), to - from);
    } else {
        memset(r->buf + (from - r->offset), 0, to - from);
    }
}

/* ---- Pieces --------------------------------------------------------------- */

static uint8_t *piece_bytes(const struct read_piece *p)
{
    return p->bounce ? p->bounce : block_target(p->read, p->first);
}

/* Outside the monitor. */
static int piece_check(struct store_op *op, int res)
{
    struct read_piece *p = container_of(op, struct read_piece, op);
    struct read_op *r = p->read;
    const uint8_t *bytes = piece_bytes(p);
    uint32_t block_bytes = r->v->block_bytes;

    if (res < 0) {
        return res;
    }
    if ((size_t)res != op->len) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (crc32c(0, bytes + (size_t)i * block_bytes, block_bytes) !=
            place_crc(r->places[p->first + i])) {
            return -EBADMSG;
        }
    }
    return res;
}

static void lane_submit(struct read_op *r, struct store_op *op)
{
    struct hlfs *v = r->v;

    r->pending++;
    ++*r->lane_ops;
    v->kick |= r->lane == v->lane;
    store_submit(r->lane, op);
}

static void lane_done(struct read_op *r)
{
    r->pending--;
    --*r->lane_ops;
}

/*
 * Wrong bytes.  A writer beside us may have removed the segment, and its file, which we
 * have open, been written over as another one: before a volume that is only read calls it
 * damage it looks whether the segment is still there under its name.  (Who writes looks
 * for another writer: failure_look().)
 */
static void segment_look(struct read_op *r, struct store_op *op,
                         void (*done)(struct store_op *op, int res))
{
    *op = (struct store_op){
        .what = STORE_PREAD,
        .flags = STORE_BY_NAME,
        .file = op->file,
        .buf = op->buf,
        .len = PLACE_UNIT,
        .done = done,
    };
    lane_submit(r, op);
}

/* What was missing when a rescue began has been told, and nobody removed it since. */
static bool was_missing(const struct hlfs *v, struct place place)
{
    return v->rescue && rescue_lacks(v->rescue, place_file(place));
}

/* R fails: reading COUNT blocks from BLOCK on, or (0) a page of the map, came to RES. */
static void read_failed(struct read_op *r, int res, struct place place, uint64_t block,
                        uint32_t count)
{
    r->v->counters.read_errors++;
    if (r->failed.error != 0) {
        return;
    }
    r->failed.error = res;
    r->failed.place = place;
    r->failed.block = block;
    r->failed.count = count;
    r->error = res != -ENOENT ? res :
               r->v->read_only && !was_missing(r->v, place) ? -ESTALE : -EBADMSG;
    if (r->v->rescue && r->error == -EBADMSG && res != -ENOENT) {
        rescue_read_lost(r->v->rescue);
    }
}

static void failure_tell(const struct read_op *r)
{
    struct hlfs *v = r->v;
    uint64_t file = place_file(r->failed.place), offset = place_offset(r->failed.place);
    const char *why = r->failed.error == -EBADMSG ? "the bytes do not fit their checksums" :
                      error_name(r->failed.error);

    if (r->failed.count == 0) {
        log_say(&v->options.log, LOG_ERROR, "%s: cannot read the map page at segment %"
                PRIu64 ", offset %" PRIu64 ": %s", v->name, file, offset, why);
    } else {
        log_say(&v->options.log, LOG_ERROR, "%s: cannot read %u blocks from block %" PRIu64
                " on: segment %" PRIu64 ", offset %" PRIu64 ": %s", v->name,
                r->failed.count, r->failed.block, file, offset, why);
    }
}

/* A buffer of the caller's may have been scribbled on meanwhile: once more, privately. */
static bool piece_retry(struct read_piece *p)
{
    if (p->bounce ||
        posix_memalign((void **)&p->bounce, STORE_BUF_ALIGN, p->op.len) != 0) {
        p->bounce = NULL;
        return false;
    }
    p->op.buf = p->bounce;
    lane_submit(p->read, &p->op);
    return true;
}

static void piece_end(struct read_piece *p, int res)
{
    struct read_op *r = p->read;

    if (res < 0) {
        read_failed(r, res, r->places[p->first], r->block + p->first, p->count);
    } else if (p->bounce) {
        for (uint32_t i = 0; i < p->count; i++) {
            block_deliver(r, p->first + i, p->bounce + (size_t)i * r->v->block_bytes);
        }
    }
    free(TAKE_PTR(p->bounce));
    if (r->pending == 0) {
        read_run(r);
    }
}

static void piece_looked(struct store_op *op, int res)
{
    struct read_piece *p = container_of(op, struct read_piece, op);

    lane_done(p->read);
    piece_end(p, res == -ENOENT ? res : -EBADMSG);
}

static void piece_done(struct store_op *op, int res)
{
    struct read_piece *p = container_of(op, struct read_piece, op);
    struct read_op *r = p->read;

    lane_done(r);
    if (res == -EBADMSG && !p->bounce && piece_retry(p)) {
        return;
    }
    if (res == -EBADMSG && r->v->read_only) {
        segment_look(r, op, piece_looked);
        return;
    }
    piece_end(p, res);
}

/* Does block I follow block I - 1 in the store, and may they go in one piece? */
static bool piece_goes_on(const struct read_op *r, uint32_t i)
{
    struct place a = r->places[i - 1], b = r->places[i];

    return place_file(a) == place_file(b) &&
           place_offset(a) + r->v->block_bytes == place_offset(b) &&
           block_whole(r, i - 1) == block_whole(r, i) && block_whole(r, i);
}

static int piece_submit(struct read_op *r, struct read_piece *p, uint32_t first,
                        uint32_t count)
{
    size_t bytes = (size_t)count << r->v->block_shift;
    struct place place = r->places[first];

    *p = (struct read_piece){ .read = r, .first = first, .count = count };
    if (!block_whole(r, first) &&
        posix_memalign((void **)&p->bounce, STORE_BUF_ALIGN, bytes) != 0) {
        p->bounce = NULL;
        return -ENOMEM;
    }
    p->op = (struct store_op){
        .what = STORE_PREAD,
        .file = place_file(place),
        .offset = place_offset(place),
        .buf = piece_bytes(p),
        .len = bytes,
        .check = piece_check,
        .done = piece_done,
    };
    r->v->counters.store_reads++;
    r->v->counters.store_read_bytes += bytes;
    lane_submit(r, &p->op);
    return 0;
}

/* ---- A chunk -------------------------------------------------------------- */

static void chunk_release(struct read_op *r)
{
    if (r->pieces != &r->one) {
        free(r->pieces);
    }
    if (r->places != r->small) {
        free(r->places);
    }
    r->pieces = NULL;
    r->places = NULL;
}

/* Serve what memory has; mark it in *LEFT, one byte a block: 1 must be read. */
static uint32_t chunk_memory(struct read_op *r, uint8_t *left)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->blocks; i++) {
        struct place p = r->places[i];
        uint8_t *bytes = NULL;
        le32_t *crc;

        left[i] = 0;
        if (!place_is_hole(p)) {
            bytes = r->v->log ? log_memory(r->v->log, p, &crc) : NULL;
            if (!bytes) {
                left[i] = 1;
                n++;
                continue;
            }
        }
        block_deliver(r, i, bytes);
    }
    return n;
}

static int chunk_places_valid(const struct read_op *r)
{
    for (uint32_t i = 0; i < r->blocks; i++) {
        if (!place_is_hole(r->places[i]) &&
            !place_valid(r->places[i], r->v->block_bytes)) {
            return -EBADMSG;
        }
    }
    return 0;
}

/* Submit reads for what is left. */
static int chunk_submit(struct read_op *r, const uint8_t *left, uint32_t n)
{
    uint32_t used = 0;

    r->pieces = n == 1 ? &r->one : calloc(n, sizeof(*r->pieces));
    if (!r->pieces) {
        return -ENOMEM;
    }
    for (uint32_t i = 0, count; i < r->blocks; i += count) {
        int res;

        count = 1;
        if (!left[i]) {
            continue;
        }
        while (i + count < r->blocks && left[i + count] && piece_goes_on(r, i + count)) {
            count++;
        }
        res = piece_submit(r, &r->pieces[used++], i, count);
        if (res < 0) {
            return res;
        }
    }
    return 0;
}

static void page_end(struct read_op *r, int res)
{
    struct hlfs *v = r->v;

    if (res >= 0) {
        struct page *p = pagecache_add(v->cache, r->missing.place, r->page);

        if (p) {
            pagecache_put(v->cache, p);
        } else {
            r->error = -ENOMEM;
        }
    } else {
        read_failed(r, res, r->missing.place, 0, 0);
    }
    read_run(r);
}

static void page_looked(struct store_op *op, int res)
{
    struct read_op *r = container_of(op, struct read_op, page_op);

    lane_done(r);
    page_end(r, res == -ENOENT ? res : -EBADMSG);
}

static void page_done(struct store_op *op, int res)
{
    struct read_op *r = container_of(op, struct read_op, page_op);

    lane_done(r);
    if (res == -EBADMSG && r->v->read_only) {
        segment_look(r, op, page_looked);
        return;
    }
    page_end(r, res);
}

static int page_check_op(struct store_op *op, int res)
{
    struct read_op *r = container_of(op, struct read_op, page_op);

    return page_load_check(op, res, &r->missing, r->page);
}

static int page_load(struct read_op *r)
{
    uint64_t first, last;

    if (r->v->rescue && rescue_page_lost(r->v->rescue, r->missing.place, &first, &last)) {
        return -EBADMSG;
    }
    if (page_from_memory(r->v, r->missing.place)) {
        return 0;
    }
    if (!r->page && posix_memalign((void **)&r->page, STORE_BUF_ALIGN, PAGE_BYTES) != 0) {
        r->page = NULL;
        return -ENOMEM;
    }
    r->v->counters.page_loads++;
    r->page_op = (struct store_op){
        .what = STORE_PREAD,
        .file = place_file(r->missing.place),
        .offset = place_offset(r->missing.place),
        .buf = r->page,
        .len = PAGE_BYTES,
        .check = page_check_op,
        .done = page_done,
    };
    lane_submit(r, &r->page_op);
    return 0;
}

/* Look the next chunk up: 1 ready, 0 a page is on its way, or an error. */
static int chunk_lookup(struct read_op *r)
{
    struct hlfs *v = r->v;
    uint64_t at = r->offset + r->at, end = r->offset + r->len;
    uint64_t last = (end - 1) >> v->block_shift;
    int res;

    r->block = at >> v->block_shift;
    r->blocks = (uint32_t)MIN(last - r->block + 1, (uint64_t)LOOKUP_MAX);
    if (!r->places) {
        r->places = r->blocks <= ARRAY_SIZE(r->small) ? r->small :
                    malloc(r->blocks * sizeof(*r->places));
        if (!r->places) {
            return -ENOMEM;
        }
    }
    while ((res = map_lookup(v, r->block, r->blocks, r->places, &r->missing)) ==
           -EAGAIN) {
        res = page_load(r);
        if (res < 0 || r->pending > 0) {
            return res;
        }
    }
    return res < 0 ? res : 1;
}

/* 1: memory had it all, 0: reads are under way, or an error. */
static int chunk_start(struct read_op *r)
{
    uint8_t left[LOOKUP_MAX];
    uint32_t n;
    int res = chunk_lookup(r);

    if (res != 1 || r->map_only) {
        return res;
    }
    res = chunk_places_valid(r);
    if (res < 0) {
        return res;
    }
    n = chunk_memory(r, left);
    return n > 0 ? chunk_submit(r, left, n) : 1;
}

static void read_finish(struct read_op *r)
{
    /* That a segment went from under a reader, or a former writer, is no news. */
    if (r->failed.error != 0 && r->error != -ESTALE && !was_missing(r->v, r->failed.place)) {
        failure_tell(r);
    }
    chunk_release(r);
    free(TAKE_PTR(r->page));
    read_phase_leave(r->v, r->phase);
    r->done(r, r->error);
}

static void failure_looked(struct log_waiter *w, int res)
{
    struct read_op *r = container_of(w, struct read_op, look);

    if (res == -ESTALE) {
        r->error = res;
    }
    read_finish(r);
}

/* Is it another writer's doing?  A former writer may be the last to hear of that one. */
static int failure_look(struct read_op *r)
{
    int res;

    r->look.done = failure_looked;
    res = log_look(r->v->log, &r->look);
    r->v->pump = true;
    return res;
}

static void read_end(struct read_op *r)
{
    if (r->failed.error != 0 && r->error == -EBADMSG && r->v->log) {
        int res = failure_look(r);

        if (res == 0) {
            return;
        }
        r->error = res;
    }
    read_finish(r);
}

/*
 * Go on until something is pending or all is done.  The chunk under way, if there is
 * one, has all its pieces: it is behind us.
 */
static void read_run(struct read_op *r)
{
    if (r->running) {
        return;
    }
    r->running = true;
    while (r->pending == 0) {
        int res;

        if (r->pieces || r->error) {
            chunk_release(r);
            r->at = MIN(((r->block + r->blocks) << r->v->block_shift) - r->offset, r->len);
        }
        if (r->error || r->at >= r->len) {
            read_end(r);
            return;
        }
        res = chunk_start(r);
        if (res < 0) {
            r->error = res;
        } else if (res == 1 && r->pending == 0 && !r->pieces) {
            r->at = MIN(((r->block + r->blocks) << r->v->block_shift) - r->offset, r->len);
            chunk_release(r);
        }
    }
    r->running = false;
}

void read_begin(struct read_op *r)
{
    r->at = 0;
    r->error = r->failed.error = 0;
    r->running = false;
    r->pieces = NULL;
    r->places = NULL;
    r->page = NULL;
    r->pending = 0;
    r->phase = read_phase_enter(r->v);
    read_run(r);
}
