/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of one segment, one after the other: from its footer if a header tells where
 * that is, else from where they stand.  Where none is valid the footer is looked for
 * behind that place, and if there is none the next record.
 */
#include "volume/rescue_private.h"

#include <errno.h>
#include <string.h>

void rescue_cursor_init(struct rescue *r, struct rescue_cursor *c,
                        struct rescue_segment *s, uint64_t synced)
{
    struct segment_header h = { .file = s->file, .epoch = s->epoch, .size = s->size };

    memcpy(h.salt, s->salt, SALT_BYTES);
    memcpy(h.uuid, r->v->identity.uuid, UUID_BYTES);
    *c = (struct rescue_cursor){
        .r = r, .s = s, .synced = synced, .expected = s->first,
        .next = SEGMENT_DATA_OFFSET,
    };
    scan_init(&c->scan, r->v->lane, &h);
}

void rescue_cursor_done(struct rescue_cursor *c)
{
    scan_done(&c->scan);
    free(TAKE_PTR(c->footer));
    c->ended = true;
    c->h.seq = 0;
}

/* ---- Footer --------------------------------------------------------------- */

/* Go on by the footer at BUF, of BYTES, which becomes the cursor's if it is to be used. */
static int footer_use(struct rescue_cursor *c, uint8_t *buf, size_t bytes)
{
    struct footer_disk f;

    memcpy(&f, buf, sizeof(f));
    if (le64(f.first) != c->s->first) {
        free(buf);
        return 0;
    }
    c->footer = buf;
    c->footer_bytes = bytes;
    c->footer_last = le64(f.last);
    c->next = FOOTER_HEADER_BYTES;
    return 1;
}

/* 1: from now on C goes by the footer. */
static int footer_named(struct rescue_cursor *c)
{
    const struct record_ref *ref = &c->s->footer;
    uint8_t *buf;
    size_t bytes;
    int res;

    if (ref->file == 0) {
        return 0;
    }
    res = scan_footer(&c->scan, ref->offset, &buf, &bytes);
    if (res == 1 && bytes == ref->bytes) {
        return footer_use(c, buf, bytes);
    }
    if (res == 1) {
        free(buf);
    }
    return res < 0 ? rescue_read_error(c->r, c->s->file, res) : 0;
}

static int footer_search(struct rescue_cursor *c)
{
    uint64_t at = c->next;
    uint8_t *buf;
    size_t bytes;
    int res;

    c->footer_tried = true;
    while ((res = scan_footer_search(&c->scan, &at, &buf, &bytes)) == 1) {
        if (footer_use(c, buf, bytes) == 1) {
            return 1;
        }
        at += PLACE_UNIT;
    }
    return res < 0 ? rescue_read_error(c->r, c->s->file, res) : 0;
}

/* The next record that the footer lists, if it counts. */
static int footer_next_record(struct rescue_cursor *c)
{
    const void *record;
    size_t len, need, pos = (size_t)c->next;

    while (footer_next(c->footer, c->footer_bytes, &pos, &c->offset, &record, &len) == 1 &&
           record_decode(record, len, c->scan.seed, c->scan.epoch, c->offset, &c->h,
                         &need) == 0) {
        int res = 1;

        c->next = pos;
        c->head = record;
        if (c->h.seq < c->expected) {
            continue;
        }
        if (c->h.seq > c->synced) {     /* it may be listed, and never have come */
            res = scan_record(&c->scan, c->offset, &c->h, &c->head);
        }
        if (res != 0) {
            return res < 0 ? rescue_read_error(c->r, c->s->file, res) : 1;
        }
        c->torn = true;
    }
    return 0;
}

/* ---- Records -------------------------------------------------------------- */

/* The next valid record behind a place where there is none. */
static int record_search(struct rescue_cursor *c)
{
    int res;

    while ((res = scan_search(&c->scan, &c->next, &c->h, &c->head)) != 0) {
        if (res == -EBADMSG) {
            c->next = ALIGN_DOWN(c->next, (uint64_t)STORE_BUF_ALIGN) + STORE_BUF_ALIGN;
        } else if (res < 0) {
            return rescue_read_error(c->r, c->s->file, res);
        } else if (c->h.seq >= c->expected) {
            return 1;
        } else {
            c->next += PLACE_UNIT;
        }
    }
    return 0;
}

static int record_next(struct rescue_cursor *c)
{
    int res = scan_record(&c->scan, c->next, &c->h, &c->head);

    if (res < 0) {
        res = rescue_read_error(c->r, c->s->file, res);
    }
    if (res == 0 && !c->footer_tried) {
        res = footer_search(c);
        if (res != 0) {
            return res < 0 ? res : footer_next_record(c);
        }
    }
    if (res == 0) {
        res = record_search(c);
        c->torn |= res == 1;
    }
    if (res == 1) {
        c->offset = c->next;
        c->next += record_bytes(&c->h);
    }
    return res;
}

int rescue_cursor_next(struct rescue_cursor *c)
{
    int res = 0;

    if (c->ended) {
        return 0;
    }
    if (!c->begun) {
        c->begun = true;
        res = footer_named(c);
    }
    if (res >= 0) {
        do {
            res = c->footer ? footer_next_record(c) : record_next(c);
        } while (res == 1 && c->h.seq < c->expected);
    }
    if (res != 1 || c->h.seq > SEQ_MAX) {
        rescue_cursor_done(c);
        return MIN(res, 0);
    }
    c->torn |= c->h.seq > c->expected;
    c->expected = c->h.seq + 1;
    return 1;
}
