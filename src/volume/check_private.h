/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check_private.h - what the files of `check` share.
 *
 *   check.c           the order of things, findings, beginning again
 *   check_log.c       headers and the checkpoints that they name
 *   check_records.c   records and footers: of each segment, and all together
 *   check_tree.c      the trees of the newest checkpoint, and the usage counts
 *   check_data.c      the bytes of every live block
 *
 * Blocking code of one thread on a store that somebody else may be writing to.  What it
 * keeps in memory is a few hundred bytes for each segment, what was replayed, and
 * buffers.
 *
 * A finding is an *error* where something is lost, or will be if a writer goes on, and
 * a *warning* where nothing is: a copy that another one stands in for, a count that is
 * too high, rubbish.  What every volume has for a while, and its writer removes by
 * itself, is none: segments without a header at and behind the checkpoint's replay
 * position, dead segments that the usage table knows.
 */
#ifndef HLFS_VOLUME_CHECK_PRIVATE_H
#define HLFS_VOLUME_CHECK_PRIVATE_H

#include "log/fetch.h"
#include "log/replay.h"
#include "log/scan.h"
#include "map/layer.h"
#include "map/page.h"
#include "volume/volume.h"
#include "volume/walk.h"

struct check_segment {
    uint64_t file;
    enum segment_state state;
    bool absent;                    /* only named: no such file exists */
    bool gone;                      /* it went away before its header was read */
    /* Of the header, if VALID: */
    uint8_t salt[SALT_BYTES];
    uint64_t epoch, size, first, cut, synced;
    uint64_t bound;                 /* seqs from here on are void: a higher one cuts */
    struct record_ref checkpoint, footer;
    /* Of its records: */
    struct record_ref footer_ref;   /* what a higher header says of its footer */
    uint64_t end;                   /* seq behind the last valid record */
    uint64_t end_offset;            /* of what follows it */
    uint64_t told;                  /* highest `synced` among them */
    uint64_t footer_last;           /* last seq in the footer; 0: no valid one */
    /* Of the trees: */
    uint64_t counted;               /* live bytes in it */
    uint64_t blocks;                /* that are in it */
    uint64_t block;                 /* the first of them */
    bool in_table;                  /* in the usage table or the overrides */
    uint64_t live;                  /* bytes, as the table says */
};

/* Seqs [from, to) that segment FILE should have between others, and has not. */
struct check_gap {
    uint64_t file, offset;
    uint64_t from, to;
};

struct check {
    struct store *store;            /* owned */
    struct store_lane *lane;        /* owned; for one read at a time */
    struct fetch *fetch;            /* owned */
    struct identity identity;
    unsigned flags;
    void (*fn)(void *opaque, int error, const char *text);
    void *opaque;
    struct hlfs_check_result result;

    /* Findings of this try, kept until it is known that they hold. */
    char *text;                     /* owned: 'E' or 'W', the sentence, NUL; … */
    size_t text_used, text_room;
    uint64_t unlisted;              /* that were too many to keep */
    bool at_once;                   /* tell each as it comes */
    bool mute;                      /* tell none */

    uint64_t highest;               /* file id, when the try began */
    struct check_segment *segments; /* owned, ascending */
    size_t count, room;
    struct check_segment *absent;   /* owned, ascending */
    size_t absent_count, absent_room;
    struct check_gap *gaps;         /* owned, by file */
    size_t gap_count, gap_room;

    bool has_checkpoint;
    struct checkpoint checkpoint;
    struct record_ref checkpoint_ref;
    struct usage_override_disk *overrides;  /* owned */
    uint64_t synced;                /* highest seq known synced, when the try began */
    uint64_t size;                  /* of the volume at the log's end, bytes */
    struct layer *layer;            /* owned; with HLFS_CHECK_DATA: what was replayed */
    bool trees_whole;               /* every page could be read */
};

/* check.c */
void check_error(struct check *c, const char *fmt, ...) _printf_(2, 3);
void check_warning(struct check *c, const char *fmt, ...) _printf_(2, 3);
/* The segments, the checkpoint, and what is to be replayed on top of it. */
int check_view(struct check *c);
struct check_segment *check_find(struct check *c, uint64_t file);   /* or NULL */
/* 1: the file of S is what it was; 0: it went away; or -errno. */
int check_same(struct check *c, const struct check_segment *s);

/* check_log.c */
int check_headers(struct check *c);
int check_checkpoints(struct check *c);
/* Make RET ready for the records of S, which is VALID. */
void check_scan(struct check *c, const struct check_segment *s, struct scan *ret);

/* check_records.c */
int check_records(struct check *c);

/* check_tree.c */
struct check_walk {
    struct walk walk;               /* its tree and `from` are set */
    struct check *check;
    bool again;                     /* not the first time: find and count nothing */
    int (*value)(struct check_walk *w, uint64_t key, struct place value);
};

/*
 * Call w->value for each entry of the tree, by key; pages that cannot be read are found
 * and passed over.  -ESTALE: a segment went away.
 */
int check_walk(struct check_walk *w, const struct root_ref *root);
int check_trees(struct check *c);

/* check_data.c */
int check_data(struct check *c);

#endif
