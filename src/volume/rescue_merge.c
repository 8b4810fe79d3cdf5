/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of all segments in order of seq, past what is missing.  A segment is opened
 * when a record that is next may be in it, so few are at a time.
 */
#include "volume/rescue_private.h"

#include <errno.h>
#include <inttypes.h>

struct merge_run {
    struct rescue *r;
    const struct rescue_merge_ops *ops;
    struct rescue_merged *result;
    struct rescue_cursor **open;    /* owned, ascending; each stands at a record */
    size_t count, room;
    size_t next;                    /* the first segment that was not opened */
    uint64_t expected;              /* seq */
    uint64_t to;
    uint64_t broken_epoch;          /* RESCUE-2: of it, behind what is missing, all is in
                                     * doubt; 0: none */
    uint64_t file, offset;          /* behind the last record that counted */
};

/* ---- Cursors -------------------------------------------------------------- */

static void cursor_close(struct merge_run *m, size_t i)
{
    rescue_cursor_done(m->open[i]);
    free(m->open[i]);
    m->count--;
    for (; i < m->count; i++) {
        m->open[i] = m->open[i + 1];
    }
}

static int cursor_open(struct merge_run *m, struct rescue_segment *s)
{
    struct rescue_cursor *c = malloc(sizeof(*c));
    void *open = array_room(m->open, m->count, &m->room, sizeof(*m->open));

    if (open) {
        m->open = open;
    }
    if (!c || !open) {
        free(c);
        return -ENOMEM;
    }
    rescue_cursor_init(m->r, c, s, m->r->synced);
    m->open[m->count++] = c;
    return 0;
}

/* Bring all cursors to a record that may count, or close them: the lowest seq, UINT64_MAX
 * if there is none. */
static int cursors_seek(struct merge_run *m, uint64_t *ret)
{
    *ret = UINT64_MAX;
    for (size_t i = 0; i < m->count;) {
        struct rescue_cursor *c = m->open[i];
        int res = 1;

        while (res == 1 && c->h.seq < m->expected) {
            res = rescue_cursor_next(c);
        }
        if (res < 0) {
            return res;
        }
        if (res == 0 || c->h.seq >= c->s->bound) {      /* REPLAY-2 */
            cursor_close(m, i);
            continue;
        }
        *ret = MIN(*ret, c->h.seq);
        i++;
    }
    return 0;
}

/* The lowest seq, from the expected one on, that any segment has. */
static int lowest_find(struct merge_run *m, uint64_t *ret)
{
    int res = cursors_seek(m, ret);

    while (res == 0 && m->next < m->r->count && m->r->segments[m->next].lowest <= *ret) {
        struct rescue_segment *s = &m->r->segments[m->next++];

        if (s->state != SEGMENT_VALID) {
            continue;
        }
        res = cursor_open(m, s);
        if (res == 0) {
            res = cursors_seek(m, ret);
        }
    }
    return res;
}

/* ---- Which one counts ----------------------------------------------------- */

static int payload_fits(struct merge_run *m, struct rescue_cursor *c)
{
    int res = scan_payload(&c->scan, c->offset, &c->h, c->head, m->r->v->block_bytes, true);

    return res >= 0 ? res : rescue_read_error(m->r, c->s->file, res);
}

/*
 * The cursor with record SEQ that counts: the highest, but if there are others, or if it
 * may not be durable, the highest whose payload fits (REPLAY-3; *RET_FITS: one does).
 * NULL: above `synced` none does, and the log ends.
 */
static int record_pick(struct merge_run *m, uint64_t seq, struct rescue_cursor **ret,
                       bool *ret_fits)
{
    bool tail = seq > m->r->synced;
    unsigned copies = 0;

    *ret = NULL;
    *ret_fits = true;
    for (size_t i = 0; i < m->count; i++) {
        copies += m->open[i]->h.seq == seq;
    }
    for (size_t i = m->count; i > 0; i--) {
        struct rescue_cursor *c = m->open[i - 1];
        int res = 1;

        if (c->h.seq != seq || (tail && c->torn)) {
            continue;
        }
        if (tail || copies > 1 || seq >= c->s->doubt) {
            res = payload_fits(m, c);
        }
        if (res != 0) {
            *ret = c;
            *ret_fits = true;
            return MIN(res, 0);
        }
        if (!*ret && !tail) {
            *ret = c;
            *ret_fits = false;
        }
    }
    return 0;
}

/*
 * Records FROM to TO are nowhere; SEQ is the next that is.  What is behind them in
 * segments in doubt is in doubt, too.
 */
static void gap_note(struct merge_run *m, uint64_t from, uint64_t to, uint64_t seq)
{
    uint64_t next = 0;

    for (size_t i = 0; i < m->count; i++) {
        const struct rescue_segment *s = m->open[i]->s;

        next = m->open[i]->h.seq == seq ? s->file : next;
        if (s->doubt <= to) {
            m->broken_epoch = MAX(m->broken_epoch, s->epoch);
        }
    }
    m->result->gaps = true;
    if (m->ops->gap) {
        m->ops->gap(m->r, from, to, m->file, m->offset, next);
    }
}

/* Do all entries make sense?  1, 0, or -ENOTSUP. */
static int entries_good(struct merge_run *m, const struct rescue_cursor *c)
{
    struct entry e;
    size_t pos = 0;
    int res;

    do {
        res = entry_next(c->head + RECORD_HEADER_BYTES, c->h.entry_bytes, &pos,
                         c->h.payload_bytes, m->r->v->block_bytes, true, &e);
    } while (res == 1);
    if (res == -EBADMSG) {
        m->result->gaps = true;
        rescue_tell(m->r, true, "record %" PRIu64 " at segment %" PRIu64 ", offset %" PRIu64
                    " is lost: its entries make no sense", c->h.seq, c->s->file, c->offset);
        return 0;
    }
    return res == 0 ? 1 : error_set(
        res, "record %" PRIu64 " at segment %" PRIu64 ", offset %" PRIu64 " of %s holds "
        "what this version cannot read; use a newer hlfs", c->h.seq, c->s->file, c->offset,
        m->r->v->store->location);
}

static int record_take(struct merge_run *m, struct rescue_cursor *c, bool fits)
{
    bool doubtful = false;
    int res;

    if (c->h.seq >= c->s->doubt) {
        if (!fits) {
            m->broken_epoch = MAX(m->broken_epoch, c->s->epoch);
        }
        doubtful = m->broken_epoch >= c->s->epoch;
    }
    res = entries_good(m, c);
    if (res == 1) {
        res = m->ops->record(m->r, c, doubtful);
    }
    m->file = c->s->file;
    m->offset = c->offset + record_bytes(&c->h);
    m->result->last_seq = c->h.seq;
    m->result->time_us = c->h.time_us;
    m->expected = c->h.seq + 1;
    return MIN(res, 0);
}

/* ---- All of them ---------------------------------------------------------- */

/* 1: there may be more. */
static int merge_one(struct merge_run *m)
{
    uint64_t synced = m->r->synced, seq;
    struct rescue_cursor *c;
    bool fits;
    int res = lowest_find(m, &seq);

    if (res < 0 || m->expected >= m->to) {
        return res;
    }
    if (seq > m->expected && m->expected <= synced) {       /* RESCUE-1 */
        gap_note(m, m->expected, MIN(MIN(seq, m->to) - 1, synced), seq);
    }
    if (seq >= m->to || (seq > m->expected && seq > synced + 1) ||
        (seq > m->expected && m->expected > synced)) {
        return 0;
    }
    res = record_pick(m, seq, &c, &fits);
    if (res < 0 || !c) {
        return res;
    }
    res = record_take(m, c, fits);
    return res < 0 ? res : 1;
}

int rescue_merge(struct rescue *r, uint64_t file, uint64_t from, uint64_t to,
                 const struct rescue_merge_ops *ops, struct rescue_merged *ret)
{
    struct merge_run m = {
        .r = r, .ops = ops, .result = ret, .expected = from, .to = to, .file = file,
        .offset = SEGMENT_DATA_OFFSET,
    };
    int res;

    *ret = (struct rescue_merged){ 0 };
    while (m.next < r->count && r->segments[m.next].file < file) {
        m.next++;
    }
    do {
        res = merge_one(&m);
    } while (res == 1);
    while (m.count > 0) {
        cursor_close(&m, m.count - 1);
    }
    free(m.open);
    return res;
}
