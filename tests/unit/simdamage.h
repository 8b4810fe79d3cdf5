/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * simdamage.h - where each structure of a volume on a simulated disk stands, and every
 * damage to it, one at a time: a flipped bit in each structure, a file that is cut short,
 * missing, of another volume or of another time.
 *
 * Used by tests that say what a damaged volume may still do.
 */
#ifndef TEST_SIMDAMAGE_H
#define TEST_SIMDAMAGE_H

#include "base/rng.h"
#include "simvol.h"

#define FILES_MAX 256
#define REGIONS_MAX 16384

enum structure {
    HEADER_NEWEST, HEADER_OTHER, RECORD_HEADER, ENTRY, RECORD_PADDING, BLOCK_DATA,
    PAGE_HEAD, PAGE_BODY, CHECKPOINT_ENTRY, CHECKPOINT_PAYLOAD, FOOTER, REST,
    BOTH_HEADERS_NEWEST, BOTH_HEADERS_OTHER, BOTH_HEADERS_WIPED, TRUNCATED, MISSING,
    FOREIGN, STALE, STALE_RECORDS,
    STRUCTURES,
};

extern const char *const structure_names[STRUCTURES];

struct region {
    enum structure what;
    uint64_t file, from, to;
};

struct file {
    uint64_t id;
    enum segment_state state;
    struct segment_header header;
    uint64_t end;               /* of the last record or footer */
    uint64_t synced;            /* what it tells to be synced */
    uint8_t *bytes;             /* owned */
    size_t len;
};

struct layout {
    struct file files[FILES_MAX];
    size_t file_count;
    uint64_t newest;            /* file with the newest valid header */
    struct region regions[REGIONS_MAX];
    size_t count;
};

/* Of the volume in S, whose files have numbers below FILES_MAX. */
struct layout *layout_new(const struct simvol *s);
void layout_free(struct layout *l);

/* Segment ID on SIM, of the volume UUID; its bytes are the caller's to free. */
struct file file_read(const struct sim *sim, uint64_t id, const uint8_t *uuid);

/* The highest seq that a volume on SIM, which is that of L but for segment ONLY (0: for any
 * of them), tells to be synced. */
uint64_t synced_found(const struct layout *l, const struct sim *sim, const uint8_t *uuid,
                      uint64_t only);

/* What is damaged now, in words. */
extern char damage_text[256];

/* Segment FILE on SIM, which is its own to free, is damaged. */
struct damage_judge {
    void (*fn)(void *opaque, struct sim *sim, enum structure what, uint64_t file);
    void *opaque;
};

/*
 * Every damage to volume S of layout L; OTHER is another volume.  The fewer of them the
 * lower HLFS_TEST_SEEDS (20) is.
 */
void damage_each(const struct simvol *s, const struct simvol *other, const struct layout *l,
                 struct rng *r, const struct damage_judge *j);

#endif
