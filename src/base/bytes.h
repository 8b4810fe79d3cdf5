/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bytes.h - little-endian fields of stored structs.
 *
 * The wrapper types have alignment 1, so a stored struct decodes at any address,
 * and a raw field cannot be used by accident: go through the le*() and put_le*()
 * functions.  (After the wrapper types of ccan/endian and ext4: an idea only.)
 */
#ifndef HLFS_BASE_BYTES_H
#define HLFS_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint8_t b[2]; } le16_t;
typedef struct { uint8_t b[4]; } le32_t;
typedef struct { uint8_t b[8]; } le64_t;

static inline uint16_t le16(le16_t x)
{
    uint16_t v;

    memcpy(&v, x.b, sizeof(v));
    return le16toh(v);
}

static inline uint32_t le32(le32_t x)
{
    uint32_t v;

    memcpy(&v, x.b, sizeof(v));
    return le32toh(v);
}

static inline uint64_t le64(le64_t x)
{
    uint64_t v;

    memcpy(&v, x.b, sizeof(v));
    return le64toh(v);
}

static inline le16_t to_le16(uint16_t v)
{
    le16_t x;

    v = htole16(v);
    memcpy(x.b, &v, sizeof(v));
    return x;
}

static inline le32_t to_le32(uint32_t v)
{
    le32_t x;

    v = htole32(v);
    memcpy(x.b, &v, sizeof(v));
    return x;
}

static inline le64_t to_le64(uint64_t v)
{
    le64_t x;

    v = htole64(v);
    memcpy(x.b, &v, sizeof(v));
    return x;
}

#endif
