/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: filling, closing, handing to the store, releasing. */
#include "log/log_private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/crc32c.h"

#ifdef HLFS_PLANT_BUGS
unsigned log_bugs;
#endif

uint64_t log_now(const struct log *l)
{
    return clock_monotonic_us(l->p.clock);
}

/* ---- Construction --------------------------------------------------------- */

static void log_check(const struct log *l)
{
    assert(l->synced_seq < l->next_seq);                            /* LOG-1 */
    assert(l->next_seq - l->synced_seq - 1 <= l->ring_size);        /* LOG-1 */
    assert(l->submit_seq > l->synced_seq && l->submit_seq <= l->next_seq);
    assert(!l->open || l->open->seq == l->next_seq - 1);
}

static size_t buffer_payload(const struct log *l)
{
    return l->buffer_bytes - RECORD_HEAD_BYTES;
}

static int buffers_new(struct log *l)
{
    size_t slots;

    l->buffer_bytes = RECORD_HEAD_BYTES + LOG_PAYLOAD_MAX + 2 * l->p.block_bytes;
    slots = buffer_payload(l) / BLOCK_BYTES_MIN;
    l->pool_size = (unsigned)MAX(l->p.dirty_bytes / l->buffer_bytes, 2) + SYSTEM_BUFFERS;
    l->arena_bytes = l->pool_size * l->buffer_bytes;
    l->arena = mmap(NULL, l->arena_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (l->arena == MAP_FAILED) {
        l->arena = NULL;
        return -ENOMEM;
    }
    /* Appended from by direct I/O, all of it in turn: fewer pages to pin and to fault. */
    (void)madvise(l->arena, l->arena_bytes, MADV_HUGEPAGE);
    l->pool = calloc(l->pool_size, sizeof(*l->pool));
    for (l->ring_size = 1; l->ring_size < l->pool_size; l->ring_size *= 2) {
    }
    l->ring = calloc(l->ring_size, sizeof(*l->ring));
    if (!l->pool || !l->ring) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < l->pool_size; i++) {
        struct record *r = calloc(1, sizeof(*r) + slots * sizeof(r->crc_at[0]));

        if (!r) {
            return -ENOMEM;
        }
        r->log = l;
        r->buf = l->arena + i * l->buffer_bytes;
        l->pool[l->pool_count++] = r;
    }
    return 0;
}

struct log *log_new(const struct log_params *p)
{
    struct log *l = calloc(1, sizeof(*l));

    if (!l) {
        return NULL;
    }
    l->p = *p;
    l->client = p->client;
    l->opaque = p->opaque;
    list_init(&l->segments);
    list_init(&l->waiters);
    l->next_seq = l->submit_seq = p->next_seq;
    l->synced_seq = l->last_content_seq = p->next_seq - 1;
    l->time_us = p->time_us;
    l->checkpoint = p->checkpoint;
    l->created_file = p->epoch;
    l->fence_checked_us = l->last_request_us = log_now(l);     /* looked_us: never yet */
    l->store_free = UINT64_MAX;
    l->header_told = true;
    l->moved_seq = UINT64_MAX;
    l->take_over_cut = p->cut;          /* lower segments end with the accepted tail */
    l->standby = segment_new(l, p->epoch, p->segment_bytes, SEGMENT_STANDBY);
    if (!l->standby || buffers_new(l) < 0) {
        log_free(l);
        return NULL;
    }
    return l;
}

void log_free(struct log *l)
{
    struct segment *s, *tmp;

    if (!l) {
        return;
    }
    assert(l->ops == 0);
    if (l->ring) {
        for (uint64_t seq = l->synced_seq + 1; seq < l->next_seq; seq++) {
            free(log_record(l, seq));
        }
    }
    for (unsigned i = 0; i < l->pool_count; i++) {
        free(l->pool[i]);
    }
    list_for_each_safe(s, tmp, &l->segments, node) {
        list_remove(&s->node);
        segment_free(s);
    }
    segment_free(l->standby);
    if (l->arena) {
        (void)munmap(l->arena, l->arena_bytes);
    }
    free(l->pool);
    free(l->ring);
    free(l);
}

/* ---- State ---------------------------------------------------------------- */

uint64_t log_last_seq(const struct log *l)
{
    return l->last_content_seq;
}

uint64_t log_synced_seq(const struct log *l)
{
    return l->synced_seq;
}

uint64_t log_next_seq(const struct log *l)
{
    return l->next_seq;
}

static uint64_t next_file(const struct log *l)
{
    if (l->open) {
        return l->open->segment->file;
    }
    if (l->active) {
        return l->active->file;
    }
    return l->standby ? l->standby->file : l->created_file;
}

uint64_t log_unfinished_seq(const struct log *l, uint64_t *ret_file)
{
    for (uint64_t seq = l->submit_seq; seq < l->next_seq; seq++) {
        const struct record *r = log_record(l, seq);

        if (r->state == RECORD_OPEN || r->fillers > 0) {
            *ret_file = r->segment->file;
            return seq;
        }
    }
    *ret_file = next_file(l);
    return l->next_seq;
}

int log_error(const struct log *l)
{
    return l->error;
}

int log_guest_error(const struct log *l)
{
    return l->error == 0 && l->store_free < l->reserve_bytes ? -ENOSPC : l->error;
}

uint64_t log_newest_file(const struct log *l)
{
    return l->newest_file;
}

uint64_t log_error_since_us(const struct log *l)
{
    return l->error_since_us;
}

void log_set_error(struct log *l, int error)
{
    if (l->error == -ESTALE) {
        return;     /* LOG-3 */
    }
    if (l->error == 0) {
        l->error_since_us = log_now(l);
        log_say(l->p.hook, LOG_WARNING, "%s: the log waits: %s", l->p.name,
                error_name(error));
    }
    l->error = error;
}

void log_clear_error(struct log *l)
{
    if (l->error != 0 && l->error != -ESTALE) {
        log_say(l->p.hook, LOG_INFO, "%s: the log goes on", l->p.name);
        l->error = 0;
    }
}

void log_fence(struct log *l)
{
    if (l->error == -ESTALE) {
        return;
    }
    if (l->error == 0) {
        l->error_since_us = log_now(l);
    }
    l->error = -ESTALE;
    log_say(l->p.hook, LOG_ERROR,
            "%s: another writer has taken the volume over; writes stop here, data up to "
            "the last completed flush is safe", l->p.name);
    l->client->fenced(l->opaque);
}

void log_get_stat(const struct log *l, struct log_stat *ret)
{
    *ret = l->stat;
    ret->dirty_bytes = (l->pool_size - l->pool_count) * l->buffer_bytes;
}

void log_set_reserve(struct log *l, uint64_t bytes)
{
    l->reserve_bytes = bytes;
}

void log_set_checkpoint(struct log *l, const struct record_ref *checkpoint)
{
    l->checkpoint = *checkpoint;
}

bool log_find_record(const struct log *l, uint64_t seq, struct record_ref *ret)
{
    const struct record *r;

    if (seq <= l->synced_seq || seq >= l->next_seq) {
        return false;
    }
    r = log_record(l, seq);
    *ret = (struct record_ref){
        .file = r->segment->file,
        .offset = r->offset,
        .seq = seq,
        .bytes = RECORD_HEAD_BYTES + r->payload_used,
    };
    return true;
}

/* ---- Filling -------------------------------------------------------------- */

static struct record *record_open(struct log *l, uint32_t payload)
{
    struct segment *s = l->active;
    struct record *r = l->pool[--l->pool_count];
    uint32_t room = segment_room(s);

    assert(room >= payload);
    r->segment = s;
    r->offset = s->end;
    r->seq = l->next_seq++;
    r->state = RECORD_OPEN;
    r->mark = true;
    r->unplaced = r->last_is_data = false;
    r->fillers = 0;
    r->payload_max = (uint32_t)MIN(buffer_payload(l), room);
    r->payload_used = r->entry_used = r->entry_reserved = r->entry_count = 0;
    memset(r->crc_at, 0, buffer_payload(l) / BLOCK_BYTES_MIN * sizeof(r->crc_at[0]));
    s->records++;
    s->unsubmitted++;
    s->footer_bound += FOOTER_ITEM_MAX;
    l->ring[r->seq & (l->ring_size - 1)] = r;
    l->open = r;
    log_check(l);
    return r;
}

/* The open record takes nothing more.  True if there was one. */
bool record_close_open(struct log *l)
{
    struct record *r = l->open;
    uint32_t used;

    if (!r) {
        return false;
    }
    used = ALIGN_UP(r->payload_used, l->p.store->append_align);
    memset(r->buf + RECORD_HEAD_BYTES + r->payload_used, 0, used - r->payload_used);
    r->payload_used = used;
    r->state = RECORD_FILLED;
    r->segment->end = r->offset + RECORD_HEAD_BYTES + used;
    l->open = NULL;
    return true;
}

void log_close_record(struct log *l)
{
    (void)record_close_open(l);
}

/* May a guest write enter?  It leaves room for what can empty a full disk. */
static int guest_admitted(const struct log *l)
{
    if (log_guest_error(l) == -ENOSPC) {
        return -ENOSPC;
    }
    return l->unplaced || l->moving ? -EAGAIN : 0;
}

int log_reserve(struct log *l, enum log_class class, uint32_t payload, uint32_t entry,
                struct log_space *ret)
{
    const uint32_t entry_limit = RECORD_HEAD_BYTES - RECORD_HEADER_BYTES;
    struct record *r = l->open;
    int res;

    assert(payload <= buffer_payload(l) && entry <= LOG_ENTRIES_MAX);
    if (l->error == -ESTALE) {
        return -ESTALE;     /* LOG-3 */
    }
    l->resting = false;
    if (class == LOG_GUEST) {
        res = guest_admitted(l);
        if (res < 0) {
            return res;
        }
    }
    if (l->moving || l->unplaced || log_tail_pending(l)) {
        return l->error == -ENOSPC ? -ENOSPC : -EAGAIN;
    }
    if (r && (payload > r->payload_max - r->payload_used ||
              entry > entry_limit - r->entry_used - r->entry_reserved)) {
        (void)record_close_open(l);
        r = NULL;
    }
    if (!r) {
        if (l->pool_count <= (class == LOG_GUEST ? SYSTEM_BUFFERS : 0)) {
            return -EAGAIN;
        }
        res = segment_ensure(l, payload);
        if (res < 0) {
            return res;
        }
        r = record_open(l, payload);
    }
    r->fillers++;
    r->entry_reserved += entry;
    *ret = (struct log_space){
        .record = r,
        .payload = r->buf + RECORD_HEAD_BYTES + r->payload_used,
        .payload_offset = r->payload_used,
        .payload_bytes = payload,
        .entry_max = entry,
    };
    r->payload_used += payload;
    l->last_request_us = 0;
    return 0;
}

struct place log_place(const struct log_space *s, uint32_t at, uint32_t stored,
                       uint32_t crc)
{
    const struct record *r = s->record;

    return place_make(r->segment->file,
                      r->offset + RECORD_HEAD_BYTES + s->payload_offset + at, stored,
                      crc);
}

static void *entry_room(struct record *r)
{
    return r->buf + RECORD_HEADER_BYTES + r->entry_used;
}

static void entry_added(struct log *l, struct record *r, size_t bytes)
{
    r->entry_used += (uint32_t)bytes;
    r->entry_count++;
    r->mark = false;
    r->last_is_data = false;
    l->last_content_seq = MAX(l->last_content_seq, r->seq);
}

/* The run of the last entry goes on with these blocks: only sums are added. */
static bool data_extend(struct record *r, uint64_t block, uint32_t count,
                        uint32_t payload_offset, uint32_t block_bytes)
{
    struct entry_data_disk *d = (void *)(r->buf + r->last_data);
    uint64_t run, have;

    if (!r->last_is_data) {
        return false;
    }
    run = le64(d->run);
    have = (run >> 40) + 1;
    if ((run & (((uint64_t)1 << 40) - 1)) + have != block ||
        le32(d->head.sector) * PLACE_UNIT + have * block_bytes != payload_offset) {
        return false;
    }
    d->run = to_le64(run + ((uint64_t)count << 40));
    d->head.bytes = to_le16((uint16_t)(le16(d->head.bytes) + 4 * count));
    r->entry_used += 4 * count;
    return true;
}

void log_add_data(struct log *l, const struct log_space *s, uint64_t block,
                  uint32_t count, uint32_t payload_at, const uint32_t *crc)
{
    struct record *r = s->record;
    uint32_t at = s->payload_offset + payload_at;
    const uint32_t per_block = l->p.block_bytes / BLOCK_BYTES_MIN;
    le32_t *sums;

    if (!data_extend(r, block, count, at, l->p.block_bytes)) {
        uint32_t begin = RECORD_HEADER_BYTES + r->entry_used;

        entry_added(l, r, entry_put_data(entry_room(r), block, count, at));
        r->last_data = begin;
        r->last_is_data = true;
    }
    sums = (le32_t *)(void *)(r->buf + RECORD_HEADER_BYTES + r->entry_used) - count;
    for (uint32_t i = 0; i < count; i++) {
        sums[i] = to_le32(crc[i]);
        r->crc_at[at / BLOCK_BYTES_MIN + i * per_block] =
            (uint16_t)((uint8_t *)&sums[i] - r->buf);
    }
}

void log_add_hole(struct log *l, const struct log_space *s, uint64_t block,
                  uint64_t count, bool discard)
{
    struct record *r = s->record;

    entry_added(l, r, entry_put_hole(entry_room(r), block, count, discard));
}

void log_add_resize(struct log *l, const struct log_space *s, uint64_t size)
{
    struct record *r = s->record;

    entry_added(l, r, entry_put_resize(entry_room(r), size));
}

void log_add_page(struct log *l, const struct log_space *s, uint32_t crc, uint8_t tree,
                  uint8_t level)
{
    struct record *r = s->record;

    entry_added(l, r, entry_put_page(entry_room(r), s->payload_offset, crc, tree,
                                     level));
}

void log_add_checkpoint(struct log *l, const struct log_space *s,
                        const struct checkpoint *c)
{
    struct record *r = s->record;

    entry_added(l, r, entry_put_checkpoint(entry_room(r), c, s->payload_offset));
}

void log_commit(struct log *l, const struct log_space *s)
{
    struct record *r = s->record;

    assert(r->fillers > 0);
    r->fillers--;
    r->entry_reserved -= s->entry_max;
    l->last_request_us = 0;
}

void log_trim(struct log *l, const struct log_space *s, uint32_t used)
{
    struct record *r = s->record;

    (void)l;
    if (r->state == RECORD_OPEN && s->payload_offset + s->payload_bytes ==
        r->payload_used) {
        r->payload_used = s->payload_offset + used;
    }
}

void log_cancel(struct log *l, const struct log_space *s)
{
    log_trim(l, s, 0);
    log_commit(l, s);
}

bool log_begun(const struct log *l)
{
    return l->take_over_cut == 0;
}

bool log_tail_pending(const struct log *l)
{
    return l->next_seq < l->p.cut;
}

int log_copy(struct log *l, const void *entries, uint32_t entry_bytes,
             uint32_t entry_count, const void *payload, uint32_t payload_bytes,
             uint64_t from_file, uint64_t from_payload)
{
    struct record *r;
    int res;

    assert(log_tail_pending(l) && !l->open);
    if (entry_bytes > RECORD_HEAD_BYTES - RECORD_HEADER_BYTES ||
        payload_bytes > buffer_payload(l)) {
        return -EMSGSIZE;
    }
    if (l->error == -ESTALE) {
        return -ESTALE;     /* LOG-3 */
    }
    if (l->moving || l->unplaced || l->pool_count == 0) {
        return -EAGAIN;
    }
    res = segment_ensure(l, payload_bytes);
    if (res < 0) {
        return res;
    }
    r = record_open(l, payload_bytes);
    memcpy(r->buf + RECORD_HEADER_BYTES, entries, entry_bytes);
    if (payload_bytes > 0) {
        memcpy(r->buf + RECORD_HEAD_BYTES, payload, payload_bytes);
    }
    r->entry_used = entry_bytes;
    r->entry_count = entry_count;
    r->payload_used = payload_bytes;
    r->mark = false;
    l->last_content_seq = r->seq;
    segment_entries_moved(l, r, from_file, from_payload);
    (void)record_close_open(l);
    return 0;
}

static bool begins_before(const struct record *r, uint64_t file, uint64_t offset)
{
    return r->segment->file < file || (r->segment->file == file && r->offset <= offset);
}

/*
 * The kept record in which byte OFFSET of FILE may stand: the last one that begins at or
 * before it.  Records stand in order of seq, but not while some of them have moved to
 * a new segment and others wait for room there.
 */
static struct record *record_at(const struct log *l, uint64_t file, uint64_t offset)
{
    uint64_t low = l->synced_seq + 1, high = l->next_seq;
    struct record *best = NULL;

    for (uint64_t seq = low; l->unplaced && seq < high; seq++) {
        struct record *r = log_record(l, seq);

        if (r->segment->file == file && r->offset <= offset &&
            (!best || r->offset > best->offset)) {
            best = r;
        }
    }
    if (l->unplaced) {
        return best;
    }
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;

        if (begins_before(log_record(l, mid), file, offset)) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low == l->synced_seq + 1 ? NULL : log_record(l, low - 1);
}

uint8_t *log_memory(struct log *l, struct place place, le32_t **ret_crc)
{
    uint64_t file = place_file(place), offset = place_offset(place);
    struct record *r = record_at(l, file, offset);
    uint64_t at;

    *ret_crc = NULL;
    if (!r || r->segment->file != file || offset < r->offset + RECORD_HEAD_BYTES) {
        return NULL;
    }
    at = offset - r->offset - RECORD_HEAD_BYTES;
    if (at + place_stored(place) > r->payload_used) {
        return NULL;
    }
    if (r->state == RECORD_OPEN && r->crc_at[at / BLOCK_BYTES_MIN]) {
        *ret_crc = (le32_t *)(void *)(r->buf + r->crc_at[at / BLOCK_BYTES_MIN]);
    }
    return r->buf + RECORD_HEAD_BYTES + at;
}

/* ---- Handing to the store ------------------------------------------------- */

void log_submit(struct log *l, struct store_op *op)
{
    l->ops++;
    l->submitted = true;
    store_submit(l->p.lane, op);
}

void record_release(struct record *r)
{
    struct log *l = r->log;

    assert(r->segment->records > 0);
    r->segment->records--;
    l->pool[l->pool_count++] = r;
    l->progress = true;
}

static void record_appended(struct store_op *op, int res)
{
    struct record *r = container_of(op, struct record, op);
    struct log *l = r->log;
    bool durable = op->flags & STORE_DURABLE;

    l->ops--;
    l->appends--;
    r->segment->in_flight--;
    r->state = RECORD_WRITTEN;
    l->progress = true;
    if (durable) {
        l->syncing = false;
    }
    if (res == -ESTALE) {
        log_fence(l);
    } else if (res < 0) {
        segment_break(r->segment, res);
    } else if (durable && !r->segment->broken) {
        sync_reached(l, r->seq);
    }
}

static void record_submit(struct log *l, struct record *r)
{
    struct record_header h = {
        .seq = r->seq,
        .epoch = l->p.epoch,
        .synced = l->synced_seq,
        .time_us = MAX(clock_wall_us(l->p.clock), l->time_us + 1),
        .entry_bytes = r->entry_used,
        .entry_count = r->entry_count,
        .head_bytes = RECORD_HEAD_BYTES,
        .payload_bytes = r->payload_used,
    };

    record_encode(r->buf, &h, r->segment->seed, r->offset);
    segment_note_record(r->segment, r);
    l->time_us = h.time_us;
    l->marked_seq = l->synced_seq;
    r->op = (struct store_op){
        .what = STORE_APPEND,
        .file = r->segment->file,
        .offset = r->offset,
        .buf = r->buf,
        .len = RECORD_HEAD_BYTES + r->payload_used,
        .done = record_appended,
    };
    if (sync_wants_durable(l, r)) {
        r->op.flags = STORE_DURABLE | STORE_FENCE;
        r->op.fence = sync_fence_file(l);
        l->syncing = true;
        l->sync_target = r->seq;
    }
    r->state = RECORD_IN_FLIGHT;
    r->segment->unsubmitted--;
    r->segment->in_flight++;
    l->appends++;
    l->stat.bytes_written += r->op.len;
    log_submit(l, &r->op);
}

/* LOG-4: in order, behind the segment's header. */
static void records_submit(struct log *l)
{
    while (l->submit_seq < l->next_seq && l->appends < APPENDS_MAX && !l->moving) {
        struct record *r = log_record(l, l->submit_seq);

        if (r->state != RECORD_FILLED || r->unplaced || r->fillers > 0 ||
            !r->segment->header_submitted) {
            return;
        }
        record_submit(l, r);
        l->submit_seq++;
        segment_pump(l);    /* it may have been the segment's last */
    }
}

bool log_wants_pump(const struct log *l)
{
    return l->submitted || l->submit_seq + (l->open != NULL) < l->next_seq ||
           (!l->standby && !l->create_wait && !l->resting) || l->wanted_seq > l->synced_seq;
}

bool log_pump(struct log *l)
{
    bool submitted;

    segment_pump(l);
    if (l->error != -ESTALE) {
        segment_move(l);
        segment_standby(l);
        sync_pump(l);       /* may close the open record */
        segment_pump(l);
        records_submit(l);
    }
    sync_look_wanted(l);
    sync_answer(l);
    sync_tell_header(l);
    log_check(l);
    submitted = l->submitted;
    l->submitted = false;
    if (l->progress) {
        l->progress = false;
        l->client->room(l->opaque);
    }
    return submitted;
}

/* ---- Time ----------------------------------------------------------------- */

uint64_t log_mark(struct log *l)
{
    struct log_space s;
    struct record *r;

    if (l->open || l->moving || l->unplaced || l->error == -ESTALE ||
        log_reserve(l, LOG_SYSTEM, 0, sizeof(struct entry_head_disk), &s) < 0) {
        return 0;
    }
    r = s.record;
    r->entry_used += (uint32_t)entry_put_mark(entry_room(r));
    r->entry_count++;
    log_commit(l, &s);
    (void)record_close_open(l);
    return r->seq;
}

/* Those that are open for writing: end them where the store wants it, or if idle. */
static uint64_t tick_open_segments(struct log *l, uint64_t now_us)
{
    uint64_t due;

    if (atomic_load(&l->p.store->roll) && atomic_exchange(&l->p.store->roll, false) &&
        !segment_end(l)) {
        atomic_store(&l->p.store->roll, true);
    }
    if (l->p.store->idle_close_us == 0 || l->resting || log_tail_pending(l)) {
        return UINT64_MAX;
    }
    due = l->last_request_us + l->p.store->idle_close_us;
    if (now_us < due) {
        return due;
    }
    segment_rest(l);
    return now_us + RETRY_EVERY_US;
}

uint64_t log_tick(struct log *l, uint64_t now_us)
{
    uint64_t next = l->fence_checked_us + FENCE_EVERY_US;

    if (l->last_request_us == 0) {
        l->last_request_us = now_us;
    }
    if (l->stopping || l->error == -ESTALE) {
        return UINT64_MAX;
    }
    if (now_us >= next) {
        sync_look(l);
        next = now_us + FENCE_EVERY_US;
    }
    if (l->synced_seq > l->marked_seq && l->synced_seq >= l->last_content_seq) {
        uint64_t due = MAX(l->last_request_us, l->last_sync_us) + MARK_AFTER_US;

        if (now_us >= due) {
            log_mark(l);
        } else {
            next = MIN(next, due);
        }
    }
    if (l->moving && l->move_us > now_us) {
        next = MIN(next, l->move_us);
    }
    next = MIN(next, tick_open_segments(l, now_us));
    if (l->create_wait) {
        if (now_us >= l->retry_us) {
            l->create_wait = false;
        } else {
            next = MIN(next, l->retry_us);
        }
    }
    /* When that has passed, the pump answers: no tick is needed (it would spin). */
    if (l->error != 0 && !list_empty(&l->waiters) &&
        l->error_since_us + l->p.unreachable_us > now_us) {
        next = MIN(next, l->error_since_us + l->p.unreachable_us);
    }
    if (l->create_again && !list_empty(&l->waiters) &&
        l->doubt_since_us + l->p.unreachable_us > now_us) {
        next = MIN(next, l->doubt_since_us + l->p.unreachable_us);
    }
    return next;
}

/* What the segments that are there have yet to take of a store that secured no room. */
static uint64_t room_owed(const struct log *l)
{
    uint64_t owed = l->standby ? l->standby->size : 0;
    const struct segment *s;

    list_for_each(s, &l->segments, node) {
        owed += s->seal_submitted || s->broken ? 0 : s->size - s->end;
    }
    return owed;
}

void log_retry(struct log *l)
{
    struct store_stat st;

    l->create_wait = false;
    if (store_stat(l->p.store, &st) == 0) {
        uint64_t owed = st.thin ? room_owed(l) : 0;

        /* Spare files serve as segments as well as free room does. */
        l->store_free = st.free_bytes > UINT64_MAX - st.pool_bytes ? UINT64_MAX :
                        st.free_bytes + st.pool_bytes;
        l->store_free -= MIN(owed, l->store_free);
    }
    l->progress = true;
}

bool log_roll(struct log *l)
{
    if (!segment_is_at_hand(l) && l->error == -ENOSPC) {
        return false;
    }
    l->roll_wanted = true;
    return true;
}

void log_finish(struct log *l)
{
    l->p.unfinished_us = 0;
}

void log_stop(struct log *l)
{
    l->stopping = true;
}

void log_kill(struct log *l)
{
    l->error = -ESTALE;
}

bool log_idle(const struct log *l)
{
    return l->ops == 0;
}
