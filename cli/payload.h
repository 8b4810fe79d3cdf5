/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * payload.h - what bench writes: no two blocks are alike, none can be compressed.
 *
 * A pool of random bytes is made once.  A write takes a window of it, after each
 * block (4 KiB, or 512 bytes where requests are no multiple of that) was stamped with
 * its number and a counter: one cache line per block.  Each slot of the load has its
 * own windows and uses them in turn, so that none is stamped while it is in flight.
 *
 * For --verify the counter is the block's generation and its place in the pool, and
 * a table, 4 bytes a block, has the last generation of each.
 *
 * Seeded, all of a block follows from the seed and its place instead (seeded.h).
 *
 * Threads: slots are independent of each other, and so are blocks.
 */
#ifndef HLFS_CLI_PAYLOAD_H
#define HLFS_CLI_PAYLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "hlfs.h"

struct payload {
    uint8_t *pool;              /* owned; mapped */
    uint64_t pool_bytes;
    uint32_t request_bytes;
    uint32_t block_bytes;
    uint32_t windows;           /* of each slot */
    bool seeded;                /* set after payload_init(), with the seed */
    uint64_t seed;
    uint32_t *generation;       /* owned; mapped; NULL without --verify */
    uint64_t generation_bytes;
};

/* For SLOTS requests at once in RANGE_BYTES of a volume.  0 or -errno; payload_done()
 * in any case, a zeroed one is fine. */
int payload_init(struct payload *p, uint32_t request_bytes, unsigned slots,
                 uint64_t range_bytes, int verify);
void payload_done(struct payload *p);

/* The bytes that slot SLOT writes at byte OFFSET of the volume.  TURN, the slot's own
 * count of writes, picks the window; COUNTER differs for every block ever written. */
const void *payload_make(struct payload *p, unsigned slot, uint64_t turn,
                         uint64_t offset, uint64_t *counter);

/*
 * Read every block back that was written and compare.  Returns how many were right,
 * or -errno (-EBADMSG: not what was written) with *RET_OFFSET saying where.
 */
int64_t payload_verify(const struct payload *p, struct hlfs *v, uint64_t range_bytes,
                       uint64_t *ret_offset);

#endif
