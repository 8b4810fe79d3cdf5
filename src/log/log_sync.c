/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Durability: one sync round at a time answers everybody who waits (group commit).
 *
 * A round covers the longest prefix of records that are all written, and syncs their
 * segments one after the other, oldest first, so that a crash in the middle leaves no
 * gap.  Its last sync looks for the segment number after ours (LOG-2).  Where a single
 * record is all that is not durable, its append does it all at once.
 */
#include "log/log_private.h"

#include <errno.h>

/* The number that only another writer can have created. */
uint64_t sync_fence_file(const struct log *l)
{
    return l->created_file + 1;
}

/* The end of the prefix of records that are written, their headers too. */
static uint64_t written_prefix(const struct log *l)
{
    uint64_t seq = l->synced_seq;

    while (seq + 1 < l->submit_seq) {
        const struct record *r = log_record(l, seq + 1);

        if (r->state != RECORD_WRITTEN || !r->segment->header_written) {
            break;
        }
        seq++;
    }
    return seq;
}

/* May R, about to be appended, be made durable by its append alone? */
bool sync_wants_durable(const struct log *l, const struct record *r)
{
    return !l->syncing && l->synced_seq + 1 == r->seq && l->wanted_seq >= r->seq &&
           l->next_seq == r->seq + 1 && r->segment->header_written;
}

void sync_reached(struct log *l, uint64_t seq)
{
    assert(seq > l->synced_seq && seq < l->next_seq);
    while (l->synced_seq < seq) {
        struct record *r = log_record(l, l->synced_seq + 1);

        assert(r->state == RECORD_WRITTEN);
        l->synced_seq++;
        if (r->mark) {
            l->marked_seq = l->synced_seq;      /* that one needs no further mark */
        }
        record_release(r);
    }
    l->last_sync_us = log_now(l);
    l->stat.syncs++;
    sync_recovered(l);
}

/* Something became durable, and nothing that is older is left. */
void sync_recovered(struct log *l)
{
    l->moves_in_vain = 0;
    /* A full store has room again when a create succeeds, or an append if none is due. */
    if (l->error != -ENOSPC || segment_is_at_hand(l)) {
        log_clear_error(l);
    }
}

static void sync_next(struct log *l);

static void segment_synced(struct store_op *op, int res)
{
    struct log *l = container_of(op, struct log, sync_op);
    struct segment *s = l->sync_segment;

    l->ops--;
    s->in_flight--;
    if (res < 0 || s->broken) {
        l->syncing = false;
        if (res == -ESTALE) {
            log_fence(l);
        } else if (res < 0) {
            segment_break(s, res);
        }
        return;
    }
    while (l->sync_seq < l->sync_target &&
           log_record(l, l->sync_seq + 1)->segment == s) {
        l->sync_seq++;
    }
    if (l->sync_seq < l->sync_target) {
        sync_next(l);
        return;
    }
    l->syncing = false;
    if (l->moving) {
        return;     /* a segment of this round broke meanwhile: its records move */
    }
    sync_reached(l, l->sync_target);
}

static void sync_next(struct log *l)
{
    struct segment *s = log_record(l, l->sync_seq + 1)->segment;
    bool last = log_record(l, l->sync_target)->segment == s;

    l->sync_segment = s;
    l->sync_op = (struct store_op){
        .what = STORE_SYNC,
        .flags = last ? STORE_FENCE : 0,
        .file = s->file,
        .fence = sync_fence_file(l),
        .done = segment_synced,
    };
    s->in_flight++;
    log_submit(l, &l->sync_op);
}

/* Bytes that are written and wait only for a sync. */
static uint64_t written_bytes(const struct log *l, uint64_t prefix)
{
    return (prefix - l->synced_seq) * l->buffer_bytes;
}

void sync_pump(struct log *l)
{
    uint64_t prefix;

    if (l->syncing || l->moving || l->unplaced) {
        return;
    }
    prefix = written_prefix(l);
    if (written_bytes(l, prefix) >= l->pool_size * l->buffer_bytes / 4) {
        l->wanted_seq = MAX(l->wanted_seq, prefix);
    }
    if (l->wanted_seq <= l->synced_seq) {
        return;
    }
    if (l->open && l->open->seq <= l->wanted_seq) {
        (void)record_close_open(l);
    }
    if (prefix < l->wanted_seq) {
        return;
    }
    l->syncing = true;
    l->sync_target = prefix;
    l->sync_seq = l->synced_seq;
    sync_next(l);
}

/* A look that a waiter wants.  (If it fails the next tick looks again.) */
void sync_look_wanted(struct log *l)
{
    if (l->looks_wanted > l->looks_begun && !l->fence_in_flight && l->error != -ESTALE) {
        sync_look(l);
    }
}

/* ---- Waiters -------------------------------------------------------------- */

int log_wait(struct log *l, struct log_waiter *w, uint64_t target)
{
    if (l->error == -ESTALE) {
        return -ESTALE;     /* LOG-3 */
    }
#ifdef HLFS_PLANT_BUGS
    if (log_bugs & 1u << LOG_BUG_FLUSH_EARLY) {
        l->wanted_seq = MAX(l->wanted_seq, target);
        return 1;
    }
#endif
    if (target <= l->synced_seq && !l->hold_answers) {
        return 1;
    }
    assert(target < l->next_seq);
    w->target = target;
    w->look = 0;            /* the sync that reaches it looks */
    list_push(&l->waiters, &w->node);
    l->wanted_seq = MAX(l->wanted_seq, target);
    l->last_request_us = 0;
    return 0;
}

int log_flush(struct log *l, struct log_waiter *w)
{
    uint64_t target = l->last_content_seq;

#ifdef HLFS_PLANT_BUGS
    if (log_bugs & 1u << LOG_BUG_FLUSH_EARLY) {
        return log_wait(l, w, target);
    }
#endif
    if (target <= l->synced_seq) {
        return log_look(l, w);
    }
    if (log_wait(l, w, target) < 0) {
        return -ESTALE;
    }
    if (l->syncing && target <= l->sync_target) {   /* that round may have looked already */
        w->look = l->looks_wanted = l->looks_begun + 1;
    }
    return 0;
}

int log_look(struct log *l, struct log_waiter *w)
{
    if (l->error == -ESTALE) {
        return -ESTALE;
    }
    w->target = 0;
    w->look = l->looks_wanted = l->looks_begun + 1;
    list_push(&l->waiters, &w->node);
    return 0;
}

/* LOG-2, but for a take-over that nobody has seen yet. */
static bool waiter_is_safe(const struct log *l, const struct log_waiter *w)
{
    return w->target <= l->synced_seq && w->look <= l->looks_done && !l->hold_answers;
}

/* Has the store failed for so long that nobody waits for it any more? */
static bool waited_enough(const struct log *l, uint64_t since_us)
{
    return log_now(l) >= since_us + l->p.unreachable_us;
}

/*
 * What W hears if it is given up now: 0, it is not.  While its records are not durable that
 * is what keeps them; later on only what keeps anybody from knowing whose the log is.
 */
static int give_up(const struct log *l, const struct log_waiter *w)
{
    bool durable = w->target <= l->synced_seq;

    if (l->error == -ESTALE) {
        return -ESTALE;
    }
    if (l->create_again && waited_enough(l, l->doubt_since_us)) {
        return l->error != 0 ? l->error : -EIO;
    }
    if (l->error == 0) {
        return 0;
    }
    if (l->error == -ENOSPC) {      /* only where its own records lack a segment */
        return !durable && (l->unplaced || l->moving || !l->active) ? -ENOSPC : 0;
    }
    return (!durable || l->look_failed) && waited_enough(l, l->error_since_us) ? l->error : 0;
}

/*
 * LOG-2.  While a create of ours is under way, nobody knows yet whose that number is:
 * success is held back until it is ours, or was seen absent after the create failed.
 */
void sync_answer(struct log *l)
{
    struct list ready;
    struct log_waiter *w, *tmp;

    list_init(&ready);
    list_for_each_safe(w, tmp, &l->waiters, node) {
        if (waiter_is_safe(l, w) || give_up(l, w) != 0) {
            list_remove(&w->node);
            list_push(&ready, &w->node);
        }
    }
    while (!list_empty(&ready)) {
        w = list_entry(list_pop(&ready), struct log_waiter, node);
        w->done(w, l->error == -ESTALE ? -ESTALE :
                   waiter_is_safe(l, w) ? 0 : give_up(l, w));
    }
}

/* ---- Looking for another writer ------------------------------------------- */

/* Who waits for a look waits for the store; it is asked again before long. */
static void look_failed(struct log *l, int error)
{
    uint64_t now = log_now(l);

    l->look_failed = true;
    l->fence_checked_us = now - MIN(now, FENCE_EVERY_US - RETRY_EVERY_US);
    log_set_error(l, error);
}

/* Whose the highest number that we tried is nobody can tell. */
static bool create_is_open(const struct log *l)
{
    return l->create_again || segment_is_being_made(l);
}

static void fence_looked(struct store_op *op, int res)
{
    struct log *l = container_of(op, struct log, fence_op);

    l->ops--;
    l->fence_in_flight = false;
    if (op->fence <= l->created_file || (res == 0 && op->fence != sync_fence_file(l))) {
        l->header_looked = false;
        l->looks_begun--;
        return;     /* that number is ours by now, or another one counts: look again */
    }
    if (res == -ESTALE) {
        log_fence(l);
    } else if (res < 0) {
        look_failed(l, res);
    } else {
        l->hold_answers = create_is_open(l);
        l->looks_done = l->looks_begun;
        l->looked_us = l->look_began_us;
        if (l->look_failed && l->error != -ENOSPC) {
            log_clear_error(l);
        }
        l->look_failed = false;
        if (!l->header_told && l->header_looked) {
            l->header_told = true;
            l->client->header_synced(l->opaque, &l->header_checkpoint);
        }
    }
}

/* Is the number after ours taken?  An idle writer finds out, too. */
void sync_look(struct log *l)
{
    l->fence_checked_us = log_now(l);
    if (l->fence_in_flight) {
        return;
    }
    l->fence_in_flight = true;
    l->look_began_us = l->fence_checked_us;
    l->looks_begun++;
    l->header_looked = !l->header_told;
    l->fence_op = (struct store_op){
        .what = STORE_LOOK,
        .fence = sync_fence_file(l),
        .done = fence_looked,
    };
    log_submit(l, &l->fence_op);
}

/*
 * LOG-6.  Who takes over reads the headers after its vote: a header that was durable
 * while there was no vote yet is seen by all who come later.
 */
void sync_tell_header(struct log *l)
{
    if (!l->header_told && !l->header_looked && !l->hold_answers && !l->stopping &&
        l->error != -ESTALE) {
        sync_look(l);       /* if that fails the next tick looks again */
    }
}
