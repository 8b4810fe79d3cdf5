/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes, zeroes and discards, cut into pieces of at most 1 MiB (promise 2).
 *
 *   piece --aligned, small--------------------> commit
 *     |  \--aligned, large--> RESERVED, copied outside --> commit
 *     |  \--partial blocks--> EDGES are read --> commit
 *     |  \--zeros, whole blocks-----------------> a hole
 *     +--no room, or its blocks are being changed--> waits in v->writers (VOL-2)
 *
 * The caller's buffer is read once, by the pass that copies it: zero test and sums
 * work on the copy, so whatever a guest scribbles meanwhile is stored with a right CRC.
 */
#include "volume/private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/crc32c.h"

#ifdef HLFS_PLANT_BUGS
unsigned volume_bugs;
void (*volume_copied)(void *from, size_t len);
#endif

#define COPY_OUTSIDE_BYTES KIB(32)      /* larger ones are copied outside */
#define PUNCH_ENTRIES_MAX 1024u         /* layer entries that one turn removes */

/* The blocks of a piece while it is being made: which are zero, and the sums. */
struct write_scratch {
    uint32_t crc[LOOKUP_MAX];
    uint8_t zero[LOOKUP_MAX];
};

static bool is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* The one pass over the guest's bytes: copy them, and the sum of the copy. */
static uint32_t block_copy(void *to, const void *from, size_t len)
{
    uint32_t crc = crc32c_copy(to, from, len);

#ifdef HLFS_PLANT_BUGS
    if (volume_copied) {
        volume_copied((void *)(uintptr_t)from, len);
    }
    if (volume_bugs & 1u << VOLUME_BUG_CRC_OF_BUFFER) {
        crc = crc32c(0, from, len);
    }
#endif
    return crc;
}

static uint64_t piece_first(const struct request *r)
{
    return r->piece_at >> r->queue->v->block_shift;
}

static uint64_t piece_last(const struct request *r)
{
    return (r->piece_at + r->piece_len - 1) >> r->queue->v->block_shift;
}

static uint32_t piece_blocks(const struct request *r)
{
    return (uint32_t)(piece_last(r) - piece_first(r) + 1);
}

/* ---- Blocks that others are changing -------------------------------------- */

/* VOL-4: must a change of [FIRST, LAST] wait? */
static bool blocks_busy(const struct hlfs *v, uint64_t first, uint64_t last)
{
    const struct busy_range *b;

    list_for_each(b, &v->busy, node) {
        if (first <= b->last && last >= b->first) {
            return true;
        }
    }
    return false;
}

static void busy_hold(struct request *r)
{
    r->busy = (struct busy_range){
        .first = piece_first(r), .last = piece_last(r),
    };
    list_push(&r->queue->v->busy, &r->busy.node);
    r->busy_held = true;
}

static void busy_release(struct request *r)
{
    if (r->busy_held) {
        list_remove(&r->busy.node);
        r->busy_held = false;
        r->queue->v->run_writers = true;
    }
}

/* ---- Waiting -------------------------------------------------------------- */

/* VOL-2, but who holds blocks goes first: others may wait for these. */
static bool stands_before(const struct request *r, const struct request *other)
{
    return r->busy_held != other->busy_held ? r->busy_held : r->arrival < other->arrival;
}

/* R comes into the line, or back to its place in it. */
static void line_enter(struct list *line, struct request *r)
{
    struct request *other = list_last(line, struct request, node);

    if (!other || stands_before(other, r)) {
        list_push(line, &r->node);          /* most are new */
        return;
    }
    list_for_each(other, line, node) {      /* most come back, to the front */
        if (stands_before(r, other)) {
            break;
        }
    }
    list_push(&other->node, &r->node);      /* right before it */
}

static int wait_in_line(struct request *r)
{
    struct hlfs *v = r->queue->v;

    if (r->wait_since_us == 0) {
        r->wait_since_us = clock_monotonic_us(v->clock);
    }
    r->waiting = true;
    line_enter(&v->writers, r);
    v->pump = true;     /* a standby segment may be what is missing */
    return 0;
}

/* How long a request waits while the log says ERROR. */
static uint64_t patience_us(const struct hlfs *v, int error)
{
    if (error == -ENOSPC) {
        return v->options.full.wait_us;
    }
    return options_unreachable_us(&v->options);
}

/* The log has no room (RES): wait, or give up. */
static int no_room(struct request *r, int res)
{
    struct hlfs *v = r->queue->v;

    if (res == -EAGAIN || (res == -ENOSPC && v->options.full.wait_us > 0)) {
        return wait_in_line(r);
    }
    r->result = res;
    return 1;
}

/* Is the store too full for what guests write?  What empties it goes on. */
static bool store_full(const struct hlfs *v)
{
    return log_guest_error(v->log) == -ENOSPC;
}

/* Memory: has the layer LIMIT bytes?  Then whoever adds to it waits for a checkpoint. */
static int layer_admits(struct hlfs *v, size_t limit)
{
    if (layer_bytes(v->active) < limit) {
        return 0;
    }
    v->checkpoint.wanted = true;
    return v->checkpoint.error == -EBADMSG ? -EBADMSG : -EAGAIN;    /* the rest may pass */
}

/* ---- One piece ------------------------------------------------------------ */

/* The next piece: up to 1 MiB, the following ones block aligned. */
static void piece_cut(struct request *r)
{
    struct hlfs *v = r->queue->v;
    uint64_t at = r->args.offset + r->done_bytes;
    uint64_t left = r->args.len - r->done_bytes;
    uint64_t end = at + left;

    if (left > LOG_PAYLOAD_MAX) {
        end = ALIGN_DOWN(at + LOG_PAYLOAD_MAX, (uint64_t)v->block_bytes);
    }
    r->piece_at = at;
    r->piece_len = end - at;
}

static bool partial_first(const struct request *r)
{
    return !IS_ALIGNED(r->piece_at, (uint64_t)r->queue->v->block_bytes);
}

static bool partial_last(const struct request *r)
{
    return !IS_ALIGNED(r->piece_at + r->piece_len, (uint64_t)r->queue->v->block_bytes);
}

/* Which edges must be read first: bit 0 the first block, bit 1 the last. */
static unsigned edges_of(const struct request *r)
{
    unsigned first = partial_first(r) || (partial_last(r) && piece_blocks(r) == 1);
    unsigned last = partial_last(r) && piece_blocks(r) > 1;

    return first | last << 1;
}

static uint32_t entry_bytes(uint32_t blocks)
{
    /* One run, and some room for runs broken by zero blocks. */
    return (uint32_t)MIN(ENTRY_DATA_BYTES(blocks) + 24 * MIN(blocks - 1, 20u) + 8,
                         LOG_ENTRIES_MAX);
}

/* What belongs into block I of the piece, from the guest's buffer or as zeros. */
static void block_compose(const struct request *r, uint32_t i, uint8_t *to)
{
    const struct hlfs *v = r->queue->v;
    uint64_t start = (piece_first(r) + i) << v->block_shift;
    uint64_t from = MAX(start, r->piece_at);
    uint64_t end = MIN(start + v->block_bytes, r->piece_at + r->piece_len);

    if (from > start || end < start + v->block_bytes) {
        unsigned edge = i == 0 ? 0 : 1;

        assert(r->edges_have & 1u << edge);
        memcpy(to, r->edges + (size_t)edge * v->block_bytes, v->block_bytes);
    }
    if (r->args.kind == REQUEST_WRITE) {
        memcpy(to + (from - start),
               (const uint8_t *)r->args.buf + (from - r->args.offset), end - from);
    } else {
        memset(to + (from - start), 0, end - from);
    }
}

/*
 * Copy the piece into the record, zero blocks left out.  Outside the monitor or
 * inside; touches only the reserved payload and SCRATCH.
 */
static void piece_copy(struct request *r, struct write_scratch *scratch)
{
    const struct hlfs *v = r->queue->v;
    const uint32_t block_bytes = v->block_bytes;
    uint32_t blocks = piece_blocks(r), budget = r->space.entry_max;
    uint8_t *to = r->space.payload;

    budget -= (uint32_t)MIN((uint64_t)budget, ENTRY_DATA_BYTES(blocks));
    for (uint32_t i = 0; i < blocks; i++) {
        uint64_t start = (piece_first(r) + i) << v->block_shift;
        bool whole = start >= r->piece_at &&
                     start + block_bytes <= r->piece_at + r->piece_len;

        if (whole && r->args.kind != REQUEST_WRITE) {
            scratch->zero[i] = 1;       /* no payload was reserved for it */
            continue;
        }
        if (whole) {
            scratch->crc[i] = block_copy(
                to, (const uint8_t *)r->args.buf + (start - r->args.offset), block_bytes);
        } else {
            block_compose(r, i, to);
            scratch->crc[i] = crc32c(0, to, block_bytes);
        }
        scratch->zero[i] = is_zero(to, block_bytes);
        if (scratch->zero[i] && i > 0 && !scratch->zero[i - 1]) {
            /* It would begin a hole entry and perhaps another run behind it. */
            if (budget < 48) {
                scratch->zero[i] = 0;
            } else {
                budget -= 48;
            }
        }
        if (!scratch->zero[i]) {
            to += block_bytes;
        }
    }
}

/* Set the map for the piece's blocks [I, I + N), which are data, and log them. */
static int data_commit(struct request *r, const struct write_scratch *scratch, uint32_t i,
                       uint32_t n, uint32_t payload_at)
{
    struct hlfs *v = r->queue->v;
    uint32_t set = 0;
    int res = 0;

    while (set < n && res == 0) {
        res = map_set(v, piece_first(r) + i + set,
                      log_place(&r->space, payload_at + set * v->block_bytes,
                                v->block_bytes, scratch->crc[i + set]));
        set += res == 0;
    }
    if (set > 0) {      /* VOL-1: what is in the map is in the log */
        log_add_data(v->log, &r->space, piece_first(r) + i, set, payload_at,
                     &scratch->crc[i]);
    }
    return res;
}

/* For people who look at the log: were these blocks given up, or zeroed? */
static bool discards(const struct request *r)
{
    return r->args.kind == REQUEST_DISCARD || r->args.kind == REQUEST_RESIZE;
}

static int hole_commit(struct request *r, uint32_t i, uint32_t n)
{
    struct hlfs *v = r->queue->v;
    uint64_t done = 0;
    int res = layer_punch(v->active, piece_first(r) + i, n, n + 2, &done);

    if (done > 0) {
        log_add_hole(v->log, &r->space, piece_first(r) + i, done,
                     discards(r));
    }
    return res < 0 ? res : done < n ? -ENOMEM : 0;
}

/* Let go of what R holds for its piece; it may begin it anew. */
static void piece_drop(struct request *r)
{
    busy_release(r);
    free(TAKE_PTR(r->edges));
    r->edges_have = r->edges_wanted = 0;
}

static int piece_done(struct request *r)
{
    struct hlfs *v = r->queue->v;

    piece_drop(r);
    r->done_bytes += r->piece_len;
    r->wait_since_us = 0;
    r->piece_len = 0;
    monitor_pump(v);
    return 0;
}

/* Runs of data and of zeros, in order: entries and map.  Ends the reservation. */
static int piece_commit(struct request *r, const struct write_scratch *scratch)
{
    struct hlfs *v = r->queue->v;
    uint32_t blocks = piece_blocks(r), payload_at = 0;
    int res = 0;

    for (uint32_t i = 0, n; i < blocks && res == 0; i += n) {
        for (n = 1; i + n < blocks && scratch->zero[i + n] == scratch->zero[i]; n++) {
        }
        if (scratch->zero[i]) {
            res = hole_commit(r, i, n);
        } else {
            res = data_commit(r, scratch, i, n, payload_at);
            payload_at += n * v->block_bytes;
        }
    }
    log_trim(v->log, &r->space, payload_at);
    log_commit(v->log, &r->space);
    r->reserved = false;
    return res < 0 ? res : piece_done(r);
}

/* An overwrite of a block that stands in the open record: in place. */
static bool overwrite_in_place(struct request *r)
{
    struct hlfs *v = r->queue->v;
    uint64_t block = piece_first(r);
    struct place place;
    le32_t *crc_slot;
    uint8_t *bytes;
    uint32_t crc;

    if (r->args.kind != REQUEST_WRITE || r->piece_len != v->block_bytes ||
        !layer_get(v->active, block, &place) || place_is_hole(place)) {
        return false;
    }
    bytes = log_memory(v->log, place, &crc_slot);
    if (!bytes || !crc_slot) {
        return false;
    }
    crc = block_copy(bytes, (const uint8_t *)r->args.buf + (r->piece_at - r->args.offset),
                      v->block_bytes);
    *crc_slot = to_le32(crc);
    place = place_make(place_file(place), place_offset(place), v->block_bytes, crc);
    (void)map_set(v, block, place);     /* it is there: no memory is needed */
    return true;
}

/* ---- Partial blocks ------------------------------------------------------- */

static void edge_read(struct read_op *read, int res);

static int edge_next(struct request *r)
{
    struct hlfs *v = r->queue->v;
    unsigned edge = (r->edges_wanted & ~r->edges_have) & 1u ? 0 : 1;
    uint64_t block = edge == 0 ? piece_first(r) : piece_last(r);

    if (!r->edges) {
        if (posix_memalign((void **)&r->edges, STORE_BUF_ALIGN,
                           2 * (size_t)v->block_bytes) != 0) {
            r->edges = NULL;
            r->result = -ENOMEM;
            return 1;
        }
    }
    /* On the log's lane: others wait for these blocks (VOL-4), and nobody may have to
     * wait until the owner of a queue comes to reap it. */
    r->read = (struct read_op){
        .v = v,
        .lane = v->lane,
        .lane_ops = &v->background_ops,
        .buf = r->edges + (size_t)edge * v->block_bytes,
        .offset = block << v->block_shift,
        .len = v->block_bytes,
        .done = edge_read,
    };
    r->edges_have |= 1u << edge;    /* by the time it is used it is */
    r->read.started = true;
    read_begin(&r->read);
    return 0;
}

static void edge_read(struct read_op *read, int res)
{
    struct request *r = container_of(read, struct request, read);

    read->started = false;
    if (res < 0) {
        piece_drop(r);
        request_finish(r, res);
        return;
    }
    request_continue(r);
}

/* ---- Holes ---------------------------------------------------------------- */

/*
 * Holes take memory as data does, and wait for the same checkpoint.  On a full store they
 * may have twice as much: they are what empties it, and a checkpoint may lack room there.
 */
static size_t hole_limit(const struct hlfs *v)
{
    return store_full(v) ? 2 * v->layer_hard_limit : v->layer_hard_limit;
}

/*
 * The whole blocks in the middle of a zero or discard become a hole: as much as one
 * turn may do.  1: the turn's share is done (done_bytes moved), 0: waits, <0.
 */
static int punch(struct request *r, uint64_t first, uint64_t count)
{
    struct hlfs *v = r->queue->v;
    struct log_space space;
    uint64_t done = 0;
    int res = layer_admits(v, hole_limit(v));

    if (res == 0) {
        res = log_reserve(v->log, LOG_SYSTEM, 0, sizeof(struct entry_hole_disk), &space);
    }
    if (res < 0) {
        return res;
    }
    res = layer_punch(v->active, first, count, PUNCH_ENTRIES_MAX, &done);
    if (done > 0) {
        log_add_hole(v->log, &space, first, done, discards(r));
    }
    log_commit(v->log, &space);
    monitor_pump(v);
    r->done_bytes += done << v->block_shift;
    r->wait_since_us = 0;
    return res < 0 ? res : 1;
}

/*
 * A zero or discard of up to 1 MiB with partial blocks is one piece, edges and all, so
 * that it is in one record (promise 2).  Of a longer one the edges are pieces of their
 * own.
 */
static bool zero_is_one_piece(const struct request *r)
{
    const struct hlfs *v = r->queue->v;
    uint64_t end = r->args.offset + r->args.len;

    return r->args.kind != REQUEST_WRITE && r->args.len <= LOG_PAYLOAD_MAX &&
           (!IS_ALIGNED(r->args.offset, (uint64_t)v->block_bytes) ||
            (!IS_ALIGNED(end, (uint64_t)v->block_bytes) && end != v->size));
}

/* Bytes of payload that the piece can need. */
static uint32_t piece_payload(const struct request *r)
{
    uint32_t blocks = r->args.kind == REQUEST_WRITE ? piece_blocks(r) :
                      (uint32_t)__builtin_popcount(r->edges_wanted);

    return blocks << r->queue->v->block_shift;
}

/* ---- Steps ---------------------------------------------------------------- */

static int fua_or_finish(struct request *r);

static int write_piece(struct request *r)
{
    struct hlfs *v = r->queue->v;
    struct write_scratch small;
    bool held = r->busy_held;
    int res;

    if (r->edges_wanted == 0 && overwrite_in_place(r)) {
        return piece_done(r) == 0 ? 2 : 1;
    }
    res = layer_admits(v, v->layer_hard_limit);
    if (res == 0) {
        res = log_reserve(v->log, LOG_GUEST, piece_payload(r),
                          entry_bytes(piece_blocks(r)), &r->space);
    }
    if (res < 0) {
        if (res != -EAGAIN) {
            piece_drop(r);      /* for room it may wait long, and for a discard of these */
        }
        return no_room(r, res);
    }
    monitor_pump(v);
    if (r->piece_len <= COPY_OUTSIDE_BYTES || r->args.kind != REQUEST_WRITE) {
        piece_copy(r, &small);
        res = piece_commit(r, &small);
        if (res < 0) {
            r->result = res;
            piece_drop(r);
            return 1;
        }
        return 2;
    }
    r->scratch = malloc(sizeof(*r->scratch));
    if (!r->scratch) {
        log_cancel(v->log, &r->space);
        piece_drop(r);
        r->result = -ENOMEM;
        return 1;
    }
    if (!held) {
        busy_hold(r);
    }
    r->reserved = r->copying = true;
    list_push(&v->copies, &r->node);
    return 0;
}

/* Outside the monitor; R is off v->copies. */
void write_copy(struct request *r)
{
    piece_copy(r, r->scratch);
}

/* Inside again: 1 finished, 0 pending. */
int write_commit(struct request *r)
{
    int res = piece_commit(r, r->scratch);

    free(TAKE_PTR(r->scratch));
    r->copying = false;
    if (res < 0) {
        piece_drop(r);
        r->result = res;
        return 1;
    }
    return write_step(r);
}

/* The hole part of a zero or discard, if the request stands at one. */
static uint64_t whole_blocks_here(const struct request *r, uint64_t *ret_first)
{
    const struct hlfs *v = r->queue->v;
    uint64_t at = r->args.offset + r->done_bytes;
    uint64_t end = r->args.offset + r->args.len;

    if (r->args.kind == REQUEST_WRITE || zero_is_one_piece(r) ||
        !IS_ALIGNED(at, (uint64_t)v->block_bytes)) {
        return 0;
    }
    /* The volume's last block may be a partial one: its rest is nobody's. */
    if (end == v->size) {
        end = ALIGN_UP(end, (uint64_t)v->block_bytes);      /* of a resize it is whole */
    }
    *ret_first = at >> v->block_shift;
    return (end - at) >> v->block_shift;
}

/* Does R go on with a hole?  Such a step needs none of the room that writes need. */
static bool stands_at_hole(const struct request *r)
{
    uint64_t first;

    return whole_blocks_here(r, &first) > 0;
}

/* May R pass writes that wait for room?  A resize may not: they might write behind it. */
static bool may_pass(const struct request *r)
{
    return r->args.kind != REQUEST_RESIZE && stands_at_hole(r);
}

/* The same for the size that R gives the volume: all that is left of a resize in the end. */
static bool needs_no_room(const struct request *r)
{
    return stands_at_hole(r) ||
           (r->args.kind == REQUEST_RESIZE && r->done_bytes == r->args.len);
}

/* Long zeroes cut their partial blocks off, so that the middle is whole. */
static void zero_piece_cut(struct request *r)
{
    const uint64_t block_bytes = r->queue->v->block_bytes;
    uint64_t at = r->args.offset + r->done_bytes;

    if (zero_is_one_piece(r)) {
        r->piece_at = r->args.offset;
        r->piece_len = r->args.len;
        return;
    }
    r->piece_at = at;
    r->piece_len = MIN(ALIGN_DOWN(at, block_bytes) + block_bytes,
                       r->args.offset + r->args.len) - at;
}

/* The next piece, or HOLES blocks from FIRST on.  2: it may go on, else as write_step(). */
static int piece_begin(struct request *r, uint64_t first, uint64_t holes)
{
    struct hlfs *v = r->queue->v;

    if (r->args.kind != REQUEST_RESIZE &&
        r->args.offset + r->args.len > resize_limit(v)) {
        r->result = -EINVAL;        /* the volume has become smaller (VOL-5) */
        return 1;
    }
    if (holes > 0) {
        r->piece_at = first << v->block_shift;
        r->piece_len = holes << v->block_shift;
    } else if (r->args.kind == REQUEST_WRITE) {
        piece_cut(r);
    } else {
        zero_piece_cut(r);
    }
    r->edges_wanted = holes > 0 ? 0 : edges_of(r);
    r->edges_have = 0;
    if (blocks_busy(v, piece_first(r), piece_last(r))) {
        return wait_in_line(r);
    }
    if (r->edges_wanted != 0) {
        if (store_full(v)) {
            return no_room(r, -ENOSPC);     /* before it holds anything */
        }
        busy_hold(r);
    }
    return 2;
}

/*
 * Do as much of R as can be done in this turn.  1 finished (r->result), 0 pending: it
 * waits in line, for a read, for its copy, or for a later turn.
 */
int write_step(struct request *r)
{
    struct hlfs *v = r->queue->v;
    unsigned punched = 0;

    while (r->done_bytes < r->args.len) {
        uint64_t first = 0, holes = whole_blocks_here(r, &first);
        int res = r->busy_held ? 2 : piece_begin(r, first, holes);

        if (res != 2) {
            return res;
        }
        if (holes > 0) {
            if (punched++ > 0) {
                return wait_in_line(r);     /* the next turn goes on */
            }
            res = punch(r, first, holes);
            if (res < 0) {
                return no_room(r, res);
            }
            r->done_bytes = MIN(r->done_bytes, r->args.len);
            if (r->done_bytes < r->args.len) {
                v->run_writers = true;
                monitor_wake(v);
            }
            continue;
        }
        if (r->edges_wanted & ~r->edges_have) {
            return edge_next(r);
        }
        res = write_piece(r);
        if (res != 2) {
            return res;
        }
    }
    if (r->args.kind == REQUEST_RESIZE) {
        int res = volume_resize_now(v, r->args.offset);     /* what it cuts off is gone */

        if (res < 0) {
            return no_room(r, res);
        }
    }
    return fua_or_finish(r);
}

/* A new request: behind those who wait already (VOL-2). */
int write_start(struct request *r)
{
    struct hlfs *v = r->queue->v;

    r->arrival = ++v->arrivals;
    if (list_empty(&v->writers)) {
        return write_step(r);
    }
    v->run_writers |= store_full(v) && may_pass(r);
    return wait_in_line(r);
}

/* ---- FUA ------------------------------------------------------------------ */

static void fua_done(struct log_waiter *w, int res)
{
    request_finish(container_of(w, struct request, waiter), res);
}

static int fua_or_finish(struct request *r)
{
    struct hlfs *v = r->queue->v;
    int res;

    r->result = 0;
    if (!(r->args.flags & HLFS_FUA)) {
        return 1;
    }
    r->waiter.done = fua_done;
    res = log_wait(v->log, &r->waiter, log_last_seq(v->log));
    v->pump_later = true;
    if (res < 0) {
        r->result = res;
    }
    return res != 0;
}

/* ---- The line ------------------------------------------------------------- */

void write_give_up(struct request *r, int error)
{
    list_remove(&r->node);
    r->waiting = false;
    piece_drop(r);
    request_finish(r, error);
}

/* It is R's turn.  True if it has to wait again. */
static bool writer_run(struct request *r)
{
    list_remove(&r->node);
    r->waiting = false;
    if (write_step(r) == 1) {
        request_finish(r, r->result);
        return false;
    }
    return r->waiting;
}

/* On a full store: writes wait, and the holes behind them go on, which make room. */
static void holes_run(struct hlfs *v)
{
    struct request *r, *tmp;

    list_for_each_safe(r, tmp, &v->writers, node) {
        if (may_pass(r) && writer_run(r) && v->run_writers) {
            return;     /* the share of one turn is done */
        }
    }
}

/* Let those who wait try again, in order, until one has to wait again. */
void writers_run(struct hlfs *v)
{
    v->run_writers = false;
    for (;;) {
        struct request *r = list_first(&v->writers, struct request, node);

        if (!r) {
            return;
        }
        if (writer_run(r)) {
            break;
        }
    }
    if (store_full(v) && !v->run_writers) {
        holes_run(v);
    }
}

/* Why R waits: the log stands still (for holes it does not while only guests' writes lack
 * room), or the layer is full and the checkpoint fails. */
static int trouble(const struct request *r)
{
    const struct hlfs *v = r->queue->v;
    int error = needs_no_room(r) ? log_error(v->log) : log_guest_error(v->log);

    return error != 0 ? error : v->checkpoint.error;
}

/* Give up on those who have waited long enough. */
uint64_t writers_expire(struct hlfs *v, uint64_t now_us)
{
    uint64_t next = UINT64_MAX;
    struct request *r, *tmp;

    if (log_guest_error(v->log) == 0 && v->checkpoint.error == 0) {
        return next;
    }
    list_for_each_safe(r, tmp, &v->writers, node) {
        int error = trouble(r);
        uint64_t until = r->wait_since_us +
                         (error == -ESTALE ? 0 : patience_us(v, error));

        if (error != 0 && now_us >= until) {
            write_give_up(r, error);
        } else if (error != 0) {
            next = MIN(next, until);
        }
    }
    return next;
}
