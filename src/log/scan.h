/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scan.h - reading what stands in one segment: records, the footer, a checkpoint.
 *
 * Blocking code that reads in large pieces and writes nothing.  It knows the bytes of
 * a segment (format.h) and what a valid record is there; what the records of several
 * segments together mean is replay.h's.  Used by replay, check and dump.
 *
 * Errors are those of the store, without a sentence; what is not valid is no error.
 */
#ifndef HLFS_LOG_SCAN_H
#define HLFS_LOG_SCAN_H

#include "log/format.h"
#include "store/store.h"

/* A window over the file of a segment whose header is valid.  Owner: one thread. */
struct scan {
    struct store_lane *lane;    /* borrowed; nothing else is in flight on it */
    uint64_t file;
    uint64_t epoch;
    uint64_t size;              /* the segment's, bytes: nothing of it lies beyond */
    uint32_t seed;
    uint8_t *window;            /* owned */
    size_t window_room;
    uint64_t window_at;
    size_t window_bytes;
    bool window_last;           /* the file ends with it */
    uint64_t asked;             /* the offset asked for before */
};

void scan_init(struct scan *s, struct store_lane *lane, const struct segment_header *h);
void scan_done(struct scan *s);     /* it can be used again: reads anew */

/*
 * The record at OFFSET: 1, and *RET_HEAD is its header and entries, good until the
 * next call; 0: there is no valid one; or an error.
 */
int scan_record(struct scan *s, uint64_t offset, struct record_header *ret,
                const uint8_t **ret_head);

/*
 * The first valid record at *OFFSET or behind it, wherever one may begin: as
 * scan_record(), and *OFFSET is where it stands.
 */
int scan_search(struct scan *s, uint64_t *offset, struct record_header *ret,
                const uint8_t **ret_head);

/*
 * Do the bytes of the payload of record H at OFFSET, whose header and entries are HEAD, fit
 * the sums of its entries?  1; 0: they do not, or are not all there, or an entry makes no
 * sense; -ENOTSUP: an entry that must not be passed over; or an error.
 */
int scan_payload(const struct scan *s, uint64_t offset, const struct record_header *h,
                 const uint8_t *head, uint32_t block_bytes, bool read_only);

/*
 * The footer at OFFSET: 1, and *RET is malloc'ed, *RET_BYTES of its footer_disk long,
 * and its sum is right; 0: there is none; or an error.
 */
int scan_footer(struct scan *s, uint64_t offset, uint8_t **ret, size_t *ret_bytes);

/* The first footer at *OFFSET or behind it: as scan_footer(), *OFFSET is where. */
int scan_footer_search(struct scan *s, uint64_t *offset, uint8_t **ret,
                       size_t *ret_bytes);

/*
 * The checkpoint in the record that REF names, which is in the segment of S.  With
 * READ_ONLY as entry_next().  *RET_OVERRIDES is a malloc'ed array of
 * ret->override_count.  0, -EBADMSG (there is no such record, or it is damaged),
 * -ENOTSUP, -ENOMEM, or an error of the store.
 */
int scan_checkpoint(struct scan *s, const struct record_ref *ref, uint32_t block_bytes,
                    bool read_only, struct checkpoint *ret,
                    struct usage_override_disk **ret_overrides);

#endif
