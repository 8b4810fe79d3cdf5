/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments under the writer: created ahead, begun, filled, sealed, and left when they
 * break.
 *
 *   CREATING --> STANDBY --> ACTIVE --full--> FULL --footer--> SEALED --> (forgotten)
 *                              |               |
 *                              +---- broken ---+--> records move, then forgotten
 */
#include "log/log_private.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

struct segment *segment_new(struct log *l, uint64_t file, uint64_t size,
                            enum segment_phase phase)
{
    struct segment *s = calloc(1, sizeof(*s));

    if (!s) {
        return NULL;
    }
    if (posix_memalign((void **)&s->header_buf, STORE_BUF_ALIGN,
                       SEGMENT_DATA_OFFSET) != 0) {
        free(s);
        return NULL;
    }
    list_init(&s->node);
    s->log = l;
    s->file = file;
    s->size = size;
    s->phase = phase;
    s->end = SEGMENT_DATA_OFFSET;
    s->footer_bound = FOOTER_HEADER_BYTES;
    return s;
}

void segment_free(struct segment *s)
{
    if (s) {
        free(s->header_buf);
        free(s->footer);
        free(s);
    }
}

/* Payload bytes that one more record can have, its footer item paid for. */
uint32_t segment_room(const struct segment *s)
{
    uint64_t footer = ALIGN_UP(s->footer_bound + FOOTER_ITEM_MAX, (uint64_t)4096);
    uint64_t needed = s->end + RECORD_HEAD_BYTES + footer;

    if (needed >= s->size) {
        return 0;
    }
    return (uint32_t)ALIGN_DOWN(MIN(s->size - needed, RECORD_PAYLOAD_MAX),
                                s->log->p.store->append_align);
}

/* ---- Creating ------------------------------------------------------------- */

static void standby_created(struct store_op *op, int res)
{
    struct segment *s = container_of(op, struct segment, op);
    struct log *l = s->log;

    l->ops--;
    s->in_flight--;
    log_retry(l);       /* look at the room that is left */
    if (res == 0) {
        s->phase = SEGMENT_STANDBY;
        l->hold_answers = l->create_again = false;
        l->stat.segments_created++;
        if (!l->moving && !(l->moves_in_vain > 0 && l->error == l->break_error)) {
            log_clear_error(l);
        }
        return;
    }
    l->standby = NULL;
    segment_free(s);
    if (res == -EEXIST) {
        log_fence(l);
        return;
    }
    if (res != -EIO) {
        l->create_again = false;    /* it is not there (store.h) */
        l->created_file--;          /* it stays the next number, and what is looked for */
        sync_look(l);
    } else if (!l->create_again) {
        l->create_again = true;     /* it may be there, and ours */
        l->doubt_since_us = log_now(l);
    }
    l->create_wait = true;
    l->retry_us = log_now(l) + RETRY_EVERY_US;
    log_set_error(l, res);
}

/*
 * While the outcome of our create was unknown, or this process was stopped, another writer
 * may have voted with that number, and have removed the file again: it would be used
 * twice.  So that is looked at before the create is repeated, and before any create if
 * the last look is an old one.
 */
static bool number_is_ours(struct log *l)
{
    if (!l->create_again && l->create_look == 0 &&
        log_now(l) < l->looked_us + LOOK_FRESH_US) {
        return true;
    }
    if (l->create_look == 0) {
        l->create_look = l->looks_wanted = l->looks_begun + 1;
    }
    if (l->looks_done < l->create_look) {
        return false;
    }
    l->create_look = 0;
    return true;
}

/*
 * Keep one segment made ahead of time.  Not while a sync round or a look is under way: it
 * is for the number that this is going to take.  (A create that fails may show its name
 * for a while.)
 */
void segment_standby(struct log *l)
{
    struct segment *s;
    uint64_t size;

    if (l->standby || l->create_wait || l->stopping || l->syncing || l->fence_in_flight ||
        l->resting || l->error == -ESTALE || l->created_file >= STORE_SEGNO_MAX ||
        !number_is_ours(l)) {
        return;
    }
    size = l->p.segment_size(l->opaque);
    s = segment_new(l, l->created_file + !l->create_again, size, SEGMENT_CREATING);
    if (!s) {
        return;     /* the next pump tries again */
    }
    l->created_file = s->file;
    l->hold_answers = true;
    l->standby = s;
    s->op = (struct store_op){
        .what = STORE_CREATE, .file = s->file, .len = size, .done = standby_created,
    };
    s->in_flight++;
    log_submit(l, &s->op);
}

/* ---- Beginning ------------------------------------------------------------ */

static void segment_activate(struct log *l)
{
    struct segment *s = TAKE_PTR(l->standby);

    s->phase = SEGMENT_ACTIVE;
    s->header = (struct segment_header){
        .file = s->file,
        .epoch = l->p.epoch,
        .size = s->size,
        .first = l->next_seq,
        .cut = l->move_cut,
        .created_us = clock_wall_us(l->p.clock),
        .since_us = l->p.since_us,
        .pid = l->p.pid,
    };
    memcpy(s->header.uuid, l->p.uuid, UUID_BYTES);
    memcpy(s->header.host, l->p.host, sizeof(s->header.host));
    memcpy(s->header.durability, l->p.durability, sizeof(s->header.durability));
    while (getrandom(s->header.salt, SALT_BYTES, 0) != SALT_BYTES) {
    }
    s->seed = segment_seed(&s->header);
    s->footer_size = (uint32_t)MIN(s->size / 128, MIB(4));
    s->footer = malloc(s->footer_size);     /* without memory: without a footer */
    s->footer_used = FOOTER_HEADER_BYTES;
    list_push(&l->segments, &s->node);
    l->active = s;
    l->move_cut = 0;
    l->roll_wanted = false;
    l->client->segment_added(l->opaque, s->file, s->size);
}

static void segment_fill_up(struct log *l)
{
    (void)record_close_open(l);
    if (l->active) {
        l->active->phase = SEGMENT_FULL;
        l->wanted_seq = MAX(l->wanted_seq, l->last_content_seq);    /* sync it */
        l->active = NULL;
    }
}

bool segment_is_at_hand(const struct log *l)
{
    return l->standby && l->standby->phase == SEGMENT_STANDBY;
}

bool segment_is_being_made(const struct log *l)
{
    return l->standby && l->standby->phase == SEGMENT_CREATING;
}

/* On a store that is nearly full the segments that there are may be the last ones. */
static bool room_is_ample(const struct log *l)
{
    return l->error == 0 && segment_is_at_hand(l) &&
           l->store_free / 4 >= l->reserve_bytes + l->standby->size;
}

/*
 * End the active segment, if anything stands in it; the next record begins another.  It
 * is sealed when all of it is durable, a mark at its end included.  False: not now.
 */
bool segment_end(struct log *l)
{
    if (!l->active || !l->active->header_submitted) {
        return true;
    }
    if (l->moving || l->unplaced || !room_is_ample(l)) {
        return false;
    }
    segment_fill_up(l);
    l->wanted_seq = MAX(l->wanted_seq, l->next_seq - 1);
    return true;
}

static void standby_closed(struct store_op *op, int res)
{
    struct segment *s = container_of(op, struct segment, seal_op);
    struct log *l = s->log;

    (void)res;
    l->ops--;
    l->client->segment_void(l->opaque, s->file);
    segment_free(s);
}

/* Nothing is written for long: leave nothing open, first the active segment, and when
 * that is sealed the one made ahead of time. */
void segment_rest(struct log *l)
{
    struct segment *s = l->standby;

    (void)segment_end(l);
    if (l->active || !list_empty(&l->segments) || !room_is_ample(l) ||
        s->file == l->p.epoch) {
        return;
    }
    l->resting = true;
    l->standby = NULL;
    s->seal_op = (struct store_op){
        .what = STORE_SEAL, .file = s->file, .done = standby_closed,
    };
    log_submit(l, &s->seal_op);
}

/* On a full store what room the active segment has is all there is. */
static bool rolls_now(const struct log *l)
{
    return l->roll_wanted && (segment_is_at_hand(l) || l->error != -ENOSPC);
}

/* Have an active segment with room for a record of PAYLOAD bytes, or say why not. */
int segment_ensure(struct log *l, uint32_t payload)
{
    if (l->active && !rolls_now(l) && segment_room(l->active) >= MAX(payload, 1u)) {
        return 0;
    }
    if (!segment_is_at_hand(l)) {
        segment_standby(l);
        return l->error == -ENOSPC ? -ENOSPC : -EAGAIN;
    }
    segment_fill_up(l);
    segment_activate(l);
    if (segment_room(l->active) < payload) {
        return -ENOSPC;     /* no segment of this size can take it */
    }
    return 0;
}

static void header_written(struct store_op *op, int res)
{
    struct segment *s = container_of(op, struct segment, op);
    struct log *l = s->log;

    l->ops--;
    s->in_flight--;
    if (res == -ESTALE) {
        log_fence(l);
    } else if (res < 0) {
        segment_break(s, res);
    } else {
        s->header_written = true;
        if (!s->broken) {
            l->take_over_cut = 0;
            l->header_told = l->header_looked = false;
            l->header_checkpoint = s->header.checkpoint;
        }
        if (!s->broken && l->next_seq == l->synced_seq + 1) {
            sync_recovered(l);      /* nothing else is going to tell that it goes on */
        }
    }
}

/*
 * May the header of S go to the store?  When everything of the segments before S is on its
 * way, footer and all; as long as our first header is not durable, only if S is the first
 * that is whole (LOG-7).
 */
static bool segment_is_next(const struct log *l, const struct segment *s)
{
    const struct segment *before;

    list_for_each(before, &l->segments, node) {
        if (before == s) {
            return true;
        }
        if (!before->broken &&
            (before->phase != SEGMENT_SEALED || l->take_over_cut != 0)) {
            return false;
        }
    }
    return false;
}

static void header_submit(struct segment *s)
{
    struct log *l = s->log;

    if (l->take_over_cut != 0) {
        s->header.cut = l->take_over_cut;   /* LOG-7 */
    }
    s->header.synced = l->synced_seq;
    s->header.unfinished_us = l->p.unfinished_us;
    s->header.checkpoint = l->checkpoint;   /* LOG-5 */
    s->header.footer = l->footer;
    memset(&l->footer, 0, sizeof(l->footer));
    segment_header_encode(&s->header, s->header_buf);
    s->op = (struct store_op){
        .what = STORE_APPEND,
        .flags = STORE_DURABLE,
        .file = s->file,
        .offset = 0,
        .buf = s->header_buf,
        .len = SEGMENT_DATA_OFFSET,
        .done = header_written,
    };
    s->header_submitted = true;
    l->newest_file = s->file;
    s->in_flight++;
    l->stat.bytes_written += SEGMENT_DATA_OFFSET;
    log_submit(l, &s->op);
}

/* ---- Sealing -------------------------------------------------------------- */

/* R is being handed to the store: keep its head for the footer. */
void segment_note_record(struct segment *s, const struct record *r)
{
    uint32_t bytes = RECORD_HEADER_BYTES + r->entry_used;
    uint32_t need = (uint32_t)sizeof(struct footer_item_disk) + ALIGN_UP(bytes, 8u);
    struct footer_item_disk *item;

    s->footer_bound -= FOOTER_ITEM_MAX - need;      /* what it really takes */
    if (!s->footer) {
        return;
    }
    if (s->footer_used + need > s->footer_size) {
        uint32_t size = s->footer_size * 2 + need;
        uint8_t *bigger = realloc(s->footer, size);

        if (!bigger) {
            free(TAKE_PTR(s->footer));      /* a segment without a footer is scanned */
            return;
        }
        s->footer = bigger;
        s->footer_size = size;
    }
    item = (void *)(s->footer + s->footer_used);
    *item = (struct footer_item_disk){
        .offset = to_le64(r->offset), .bytes = to_le32(bytes),
    };
    memcpy(item + 1, r->buf, bytes);
    memset((uint8_t *)(item + 1) + bytes, 0, ALIGN_UP(bytes, 8u) - bytes);
    if (s->footer_records++ == 0) {
        s->footer_first = r->seq;
    }
    s->footer_last = r->seq;
    s->footer_used += need;
}

static void footer_written(struct store_op *op, int res)
{
    struct segment *s = container_of(op, struct segment, footer_op);

    s->log->ops--;
    s->in_flight--;
    free(TAKE_PTR(s->footer));
    if (res < 0) {
        segment_break(s, res);
    }
}

/* The footer's buffer grows to whole aligned blocks for the store. */
static bool footer_submit(struct segment *s)
{
    struct log *l = s->log;
    size_t bytes = ALIGN_UP((size_t)s->footer_used, l->p.store->append_align);
    void *buf;

    if (!s->footer || s->footer_records == 0 || s->end + bytes > s->size ||
        posix_memalign(&buf, STORE_BUF_ALIGN, bytes) != 0) {
        free(TAKE_PTR(s->footer));
        return false;
    }
    memcpy(buf, s->footer, s->footer_used);
    memset((uint8_t *)buf + s->footer_used, 0, bytes - s->footer_used);
    free(s->footer);
    s->footer = buf;
    footer_encode(buf, s->footer_used, s->footer_first, s->footer_last,
                  s->footer_records, s->seed, s->end);
    l->footer = (struct record_ref){
        .file = s->file, .offset = s->end, .seq = s->footer_last,
        .bytes = s->footer_used,
    };
    s->footer_op = (struct store_op){
        .what = STORE_APPEND, .file = s->file, .offset = s->end, .buf = buf,
        .len = bytes, .done = footer_written,
    };
    s->in_flight++;
    l->stat.bytes_written += bytes;
    log_submit(l, &s->footer_op);
    return true;
}

static void segment_sealed(struct store_op *op, int res)
{
    struct segment *s = container_of(op, struct segment, seal_op);
    struct log *l = s->log;

    (void)res;      /* its records are durable, or have moved */
    l->ops--;
    list_remove(&s->node);
    segment_free(s);
    l->progress = true;
}

static void seal_submit(struct segment *s)
{
    s->seal_submitted = true;
    s->seal_op = (struct store_op){
        .what = STORE_SEAL, .file = s->file, .done = segment_sealed,
    };
    log_submit(s->log, &s->seal_op);
}

/* Headers, footers and seals that are due. */
void segment_pump(struct log *l)
{
    struct segment *s, *tmp;

    list_for_each_safe(s, tmp, &l->segments, node) {
        if (!s->header_submitted && !s->broken && l->error != -ESTALE &&
            segment_is_next(l, s)) {
            header_submit(s);
        }
        if (s->phase == SEGMENT_FULL && s->header_submitted && s->unsubmitted == 0 &&
            !s->broken && l->error != -ESTALE) {
            s->phase = SEGMENT_SEALED;
            (void)footer_submit(s);
        }
        if ((s->phase == SEGMENT_SEALED || (s->broken && s->phase == SEGMENT_FULL)) &&
            s->records == 0 && s->in_flight == 0 && !s->seal_submitted) {
            seal_submit(s);
        }
    }
}

/* ---- Breaking ------------------------------------------------------------- */

/*
 * An append or sync of S failed: what is in it and not durable moves to a new segment
 * (DESIGN 4).  Everything not durable moves along, so that the new segment's records
 * have no gap.
 */
void segment_break(struct segment *s, int error)
{
    struct log *l = s->log;

    if (s->broken) {
        return;
    }
    log_say(l->p.hook, LOG_WARNING, "%s: segment %llu failed: %s; its records move to "
            "a new one", l->p.name, (unsigned long long)s->file, error_name(error));
    s->broken = true;
    l->stat.segments_broken++;
    if (s == l->active) {
        segment_fill_up(l);
    }
    s->phase = SEGMENT_FULL;
    l->moving = true;
    l->break_error = error;
}

/*
 * Where lower segments end for a segment that takes records from a broken one: with what
 * was written last, or with the accepted tail while that is being copied.
 */
static uint64_t cut_of_move(const struct log *l)
{
    return MAX(l->next_seq, l->p.cut);
}

/* Take every record that is not durable off its segment. */
static void records_unplace(struct log *l)
{
    for (uint64_t seq = l->synced_seq + 1; seq < l->next_seq; seq++) {
        struct record *r = log_record(l, seq);

        if (r->state == RECORD_FILLED && !r->unplaced) {
            r->segment->unsubmitted--;
            free(TAKE_PTR(r->segment->footer));     /* its place is behind a gap */
        }
        r->state = RECORD_FILLED;
        r->unplaced = true;
    }
    if (l->active) {
        segment_fill_up(l);
    }
    l->submit_seq = l->synced_seq + 1;
    l->move_cut = cut_of_move(l);
    l->moving = false;
    l->unplaced = l->next_seq > l->synced_seq + 1;
}

static void entry_moved(struct log *l, struct record *r, struct entry *e,
                        uint64_t from_file, uint64_t from_payload)
{
    uint64_t to_payload = r->offset + RECORD_HEAD_BYTES;

    if (e->type == ENTRY_DATA) {
        for (uint64_t i = 0; i < e->count; i++) {
            uint64_t at = e->payload_offset + i * l->p.block_bytes;
            uint32_t crc = le32(e->crc[i]);

            l->client->block_moved(
                l->opaque, e->block + i,
                place_make(from_file, from_payload + at, l->p.block_bytes, crc),
                place_make(r->segment->file, to_payload + at, l->p.block_bytes, crc));
        }
    } else if (e->type == ENTRY_PAGE) {
        l->client->page_moved(l->opaque,
                              place_make(from_file, from_payload + e->payload_offset,
                                         4096, le32(*e->crc)));
    } else if (e->type == ENTRY_CHECKPOINT) {
        /* Its pages do not move with it: nobody may ever follow it. */
        ((struct entry_head_disk *)(void *)e->checkpoint)->type = ENTRY_VOID;
        l->client->page_moved(l->opaque, PLACE_HOLE);
    }
}

/* R stands where it does now; its payload stood at FROM_PAYLOAD of FROM_FILE. */
void segment_entries_moved(struct log *l, struct record *r, uint64_t from_file,
                           uint64_t from_payload)
{
    struct entry e;
    size_t pos = 0;

    while (entry_next(r->buf + RECORD_HEADER_BYTES, r->entry_used, &pos, r->payload_used,
                      l->p.block_bytes, false, &e) > 0) {
        entry_moved(l, r, &e, from_file, from_payload);
    }
    assert(pos == r->entry_used);
}

static void record_place(struct log *l, struct record *r)
{
    struct segment *s = l->active;
    uint64_t from_file = r->segment->file;
    uint64_t from_payload = r->offset + RECORD_HEAD_BYTES;

    if (s->records == 0 && !s->header_submitted) {
        s->header.first = r->seq;
    }
    r->segment->records--;
    r->segment = s;
    r->offset = s->end;
    r->unplaced = false;
    s->records++;
    s->unsubmitted++;
    s->footer_bound += FOOTER_ITEM_MAX;
    s->end += RECORD_HEAD_BYTES + r->payload_used;
    segment_entries_moved(l, r, from_file, from_payload);
}

static struct record *first_unplaced(const struct log *l)
{
    for (uint64_t seq = l->synced_seq + 1; seq < l->next_seq; seq++) {
        if (log_record(l, seq)->unplaced) {
            return log_record(l, seq);
        }
    }
    return NULL;
}

/*
 * Has nothing become durable since the last move?  Then the next one is not made at
 * once, and ever later: a store that takes creates but no appends would fill with empty
 * segments.  It may be that another writer has closed ours: that is looked at before
 * anybody hears of an error.
 */
static bool moved_in_vain(struct log *l)
{
    uint64_t now = log_now(l);

    if (l->moved_seq != l->synced_seq) {
        l->moved_seq = l->synced_seq;
        l->move_us = now + RETRY_EVERY_US;
        l->moves_in_vain = 0;
        l->move_looked = false;
        return false;
    }
    if (!l->move_looked) {
        l->move_looked = true;
        sync_look(l);
    } else if (!l->fence_in_flight &&
               !segment_is_being_made(l)) {
        log_set_error(l, l->break_error);
    }
    if (now < l->move_us) {
        return true;
    }
    l->moves_in_vain = MIN(l->moves_in_vain + 1, MOVES_DOUBLE_MAX);
    l->move_us = now + ((uint64_t)RETRY_EVERY_US << l->moves_in_vain);
    return false;
}

/* Move on with what a broken segment left: when nothing of it is in flight. */
void segment_move(struct log *l)
{
    struct record *r;

    if (l->moving) {
        (void)record_close_open(l);
        if (l->appends > 0 || l->syncing) {
            return;
        }
        for (uint64_t seq = l->synced_seq + 1; seq < l->next_seq; seq++) {
            if (log_record(l, seq)->fillers > 0) {
                return;
            }
        }
        if (moved_in_vain(l)) {
            return;
        }
        records_unplace(l);
    }
    while (l->unplaced && (r = first_unplaced(l)) != NULL) {
        uint64_t cut = cut_of_move(l);

        l->move_cut = cut;      /* every segment that takes some has the same cut */
        if (segment_ensure(l, r->payload_used) < 0) {
            return;
        }
        if (!l->active->header_submitted) {
            l->active->header.cut = cut;
        }
        record_place(l, r);
    }
    if (l->unplaced) {
        if (l->moves_in_vain > 0) {     /* whether it goes on now a sync tells */
            l->wanted_seq = MAX(l->wanted_seq, l->next_seq - 1);
        }
        l->unplaced = false;
        l->move_cut = 0;
        l->progress = true;
    }
}
