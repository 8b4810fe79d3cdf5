/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * place.h - where the bytes of a block or page are, and their CRC-32C, in 128 bits.
 *
 * The two words are stored as they are, little-endian (docs/format.md 5):
 *
 *   word 0   bits  0-35  segment      number of the segment, from 1
 *            bit      36  kind         0 log segment, 1 cleaner segment
 *            bits 37-52  origin       level in the clone chain of who wrote it
 *            bits 53-60  stored       size in the segment, in 512-byte units
 *            bits 61-63  codec        0 none
 *   word 1   bits  0-20  offset       in the segment, in 512-byte units
 *            bits 21-25  index        of the block in a compressed run
 *            bits 26-31  spare        zero
 *            bits 32-63  crc          CRC-32C of the (uncompressed) block
 *
 * A place whose word 0 is zero is a hole.  Words are never trusted: a place from a
 * page or record goes through place_valid() before it is followed.
 */
#ifndef HLFS_LOG_PLACE_H
#define HLFS_LOG_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#define PLACE_UNIT 512u                         /* bytes per unit of offset, stored */
#define PLACE_OFFSET_MAX ((uint64_t)((1 << 21) - 1) * PLACE_UNIT)
#define PLACE_STORED_MAX (255u * PLACE_UNIT)

struct place {
    uint64_t w0;
    uint64_t w1;
};

#define PLACE_HOLE ((struct place){ 0, 0 })

/* FILE is a store file id (segment and kind); OFFSET and STORED are in bytes. */
static inline struct place place_make(uint64_t file, uint64_t offset, uint32_t stored,
                                      uint32_t crc)
{
    return (struct place){
        .w0 = file | (uint64_t)(stored / PLACE_UNIT) << 53,
        .w1 = offset / PLACE_UNIT | (uint64_t)crc << 32,
    };
}

/* Can FILE be the id of a segment?  (Number and kind, as in word 0.) */
static inline bool place_file_valid(uint64_t file)
{
    return (file & (((uint64_t)1 << 36) - 1)) != 0 && file >> 37 == 0;
}

static inline bool place_is_hole(struct place p)
{
    return p.w0 == 0;
}

static inline uint64_t place_file(struct place p)
{
    return p.w0 & (((uint64_t)1 << 37) - 1);
}

static inline unsigned place_origin(struct place p)
{
    return (p.w0 >> 37) & 0xFFFF;
}

static inline uint32_t place_stored(struct place p)
{
    return (uint32_t)(p.w0 >> 53 & 0xFF) * PLACE_UNIT;
}

static inline unsigned place_codec(struct place p)
{
    return (unsigned)(p.w0 >> 61);
}

static inline uint64_t place_offset(struct place p)
{
    return (p.w1 & 0x1FFFFF) * PLACE_UNIT;
}

static inline unsigned place_index(struct place p)
{
    return p.w1 >> 21 & 31;
}

static inline uint32_t place_crc(struct place p)
{
    return (uint32_t)(p.w1 >> 32);
}

static inline bool place_equal(struct place p, struct place q)
{
    return p.w0 == q.w0 && p.w1 == q.w1;
}

/* The same bytes, whatever the CRC says. */
static inline bool place_same_bytes(struct place p, struct place q)
{
    return p.w0 == q.w0 && (uint32_t)p.w1 == (uint32_t)q.w1;
}

/* Can this be the place of STORED uncompressed bytes, by this version's rules? */
static inline bool place_valid(struct place p, uint32_t stored)
{
    return (p.w0 & (((uint64_t)1 << 36) - 1)) != 0 && place_codec(p) == 0 &&
           place_index(p) == 0 && (p.w1 >> 26 & 63) == 0 && place_stored(p) == stored;
}

#endif
