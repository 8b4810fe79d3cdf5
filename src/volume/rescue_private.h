/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rescue_private.h - what the files of a rescue share (docs/design.md, "Rescue").
 *
 *   rescue.c            the order of things, what is told, what reads ask later
 *   rescue_identity.c   the identity, where the file `volume` is missing or damaged
 *   rescue_segments.c   headers, what the records of each segment tell, the checkpoint
 *   rescue_cursor.c     the records of one segment, behind damaged places too
 *   rescue_merge.c      those of all segments, by seq
 *   rescue_map.c        the trees, and what stands in for pages that are lost
 *
 * Blocking code of one thread, while the volume is being opened; it writes nothing.
 * Only what reads need afterwards is kept (struct rescue, as rescue_trim() leaves it).
 *
 * A read error is an error; what is damaged or missing is told, and passed over:
 * -EBADMSG (a store has sums of its own) and -ENOENT are damage.
 */
#ifndef HLFS_VOLUME_RESCUE_PRIVATE_H
#define HLFS_VOLUME_RESCUE_PRIVATE_H

#include "log/fetch.h"
#include "log/scan.h"
#include "volume/private.h"
#include "volume/rescue.h"
#include "volume/walk.h"

struct rescue_segment {
    uint64_t file;
    enum segment_state state;
    /* Of the header, if VALID: */
    uint8_t salt[SALT_BYTES];
    uint64_t epoch, size, first, cut;
    struct record_ref checkpoint;
    struct record_ref footer;       /* where its footer is, as a higher header says */
    uint64_t bound;                 /* REPLAY-2: seqs from here on are void */
    uint64_t lowest;                /* the lowest `first` of it and those above it */
    /* Of its records, once it was surveyed: */
    bool surveyed;
    bool torn;                      /* a record stands behind a place where none is valid */
    bool sealed;                    /* its footer says that these are all */
    uint64_t end;                   /* seq behind the last one */
    uint64_t told;                  /* highest `synced` of header and records */
    uint64_t doubt;                 /* from here on RESCUE-2 holds; UINT64_MAX: never */
};

/* Keys [first, last] of the map, whose page at PLACE is lost. */
struct rescue_lost {
    struct place place;
    uint64_t first, last;
};

/* The place of a block of which nobody knows what is in it: no place looks like it, so
 * that reads fail. */
#define RESCUE_NOWHERE ((struct place){ UINT64_MAX, 0 })

/* A segment that the map names, and that does not exist. */
struct rescue_absent {
    uint64_t file;
    uint64_t blocks, block;         /* that are in it, and the first of them */
};

struct rescue {
    struct hlfs *v;
    uint64_t losses;                /* see rescue_losses() */

    /* For reads, later: */
    uint64_t *files;                /* owned: the segments that there are, ascending */
    size_t file_count;
    struct rescue_lost *lost;       /* owned: by first; afterwards by place */
    size_t lost_count, lost_room;

    /* While opening: */
    struct fetch *fetch;            /* owned */
    struct rescue_segment *segments;    /* owned, ascending */
    size_t count, room;
    uint64_t highest;               /* file id, when it began */
    struct segment_header newest;   /* the highest valid header */
    bool has_newest;
    uint64_t synced;                /* highest seq known to be durable */
    struct record_ref *late;        /* owned: durable checkpoints that records tell of */
    size_t late_count, late_room;
    bool has_base, base_empty;      /* neither: no checkpoint can be read */
    struct checkpoint base;
    struct record_ref base_ref;
    struct usage_override_disk *overrides;  /* owned; NULL: the usage is not known */
    uint64_t *counted;              /* owned: files that the usage table has */
    size_t counted_count, counted_room;
    bool usage_known;               /* these are all, and v->usage is right */
    struct rescue_absent *absent;   /* owned, ascending */
    size_t absent_count, absent_room;
    bool gaps;                      /* records from the base on are missing */
    uint64_t doubt_told;            /* seq of the record that was told last to be in doubt */
    uint64_t size_seq;              /* the volume's size is as of this record */
    bool size_known;
    uint64_t blocks_end;            /* behind the highest block with data in a record */
};

/* rescue.c */
/* A sentence for the log hook; LOST: it counts. */
void rescue_tell(struct rescue *r, bool lost, const char *fmt, ...) _printf_(3, 4);
/* RES is a read error: a sentence, unless it is damage (0), or no memory. */
int rescue_read_error(const struct rescue *r, uint64_t file, int64_t res);

/* rescue_segments.c */
int rescue_headers(struct rescue *r);
/* Read the records of all segments from FILE on: what they tell, each by itself. */
int rescue_survey(struct rescue *r, uint64_t file);
int rescue_checkpoint(struct rescue *r);
struct rescue_segment *rescue_find(const struct rescue *r, uint64_t file);  /* or NULL */
/* The header of each segment in [FROM, TO) that is damaged is told. */
void rescue_headers_tell(struct rescue *r, uint64_t from, uint64_t to);

/* rescue_cursor.c */
struct rescue_cursor {
    struct rescue *r;
    struct rescue_segment *s;
    struct scan scan;
    uint64_t synced;            /* up to here a footer stands in for records */
    uint64_t expected;          /* lower seqs are passed over */
    uint64_t next;              /* offset of the next record; footer: position */
    uint8_t *footer;            /* owned; NULL: scan */
    size_t footer_bytes;
    uint64_t footer_last;       /* the last seq that it lists; 0: there is none */
    bool begun, footer_tried, ended;
    bool torn;                  /* it has passed a place where no record is valid */
    /* The current record; seq 0: none. */
    struct record_header h;
    uint64_t offset;
    const uint8_t *head;        /* header and entries, good until the next call */
};

void rescue_cursor_init(struct rescue *r, struct rescue_cursor *c,
                        struct rescue_segment *s, uint64_t synced);
void rescue_cursor_done(struct rescue_cursor *c);
/* The next record: 1, 0 (there is none), or an error with a sentence. */
int rescue_cursor_next(struct rescue_cursor *c);

/* rescue_merge.c */
struct rescue_merge_ops {
    /* A record that counts.  DOUBTFUL: perhaps it does not (RESCUE-2). */
    int (*record)(struct rescue *r, struct rescue_cursor *c, bool doubtful);
    /* The durable records FROM to TO are nowhere; the last one before them ends at OFFSET
     * of FILE, the next one after them is in NEXT (0: there is none). */
    void (*gap)(struct rescue *r, uint64_t from, uint64_t to, uint64_t file,
                uint64_t offset, uint64_t next);
};

struct rescue_merged {
    uint64_t last_seq, time_us;     /* of the last record that counted; 0: there is none */
    bool gaps;
};

/*
 * Go through the records FROM to TO - 1 in order of seq, of segments from FILE on:
 *
 *   RESCUE-1  Up to the highest `synced` found anywhere a record that is nowhere is a gap
 *             and does not end the log.  Above it REPLAY-4 holds: it is verified, and the
 *             first that is missing or wrong ends the log.
 *   RESCUE-2  Which records of a writer counted when the next one took over, that one's
 *             first header says (`cut`).  Where that is lost, those above what their own
 *             writer knew to be durable count as long as none is missing or wrong, as they
 *             did for whoever took over; of the others nobody knows.
 */
int rescue_merge(struct rescue *r, uint64_t file, uint64_t from, uint64_t to,
                 const struct rescue_merge_ops *ops, struct rescue_merged *ret);

/* rescue_map.c */
/* Into the volume: the newest state that records and trees tell. */
int rescue_map(struct rescue *r);

#endif
