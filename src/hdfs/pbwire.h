/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pbwire.h - protobuf's wire format by hand, for the few frames of the hot path.
 *
 * Knows varints, fields and length-delimited frames, no message.  A reader never
 * goes beyond the bytes given; a writer never beyond its buffer: it goes on counting
 * and the caller looks once, at the end, at pb_overflow().  Usable from any thread.
 * (Wire format: protobuf.dev, "Encoding".)
 */
#ifndef HLFS_HDFS_PBWIRE_H
#define HLFS_HDFS_PBWIRE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

#define PB_VARINT_MAX 10    /* bytes of a 64-bit varint */

struct pb_field {
    uint32_t number;
    enum pb_type type;
    uint64_t value;             /* PB_VARINT, PB_FIXED64, PB_FIXED32 */
    const uint8_t *bytes;       /* PB_BYTES: borrowed from the input */
    size_t len;
};

struct pb_in {
    const uint8_t *at, *end;
};

struct pb_out {
    uint8_t *buf;
    size_t len, cap;            /* LEN may pass CAP: nothing is written there */
};

/* The varint at BUF: bytes used, 0 if it goes on beyond LEN, or -EBADMSG. */
static inline int pb_varint(const uint8_t *buf, size_t len, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < PB_VARINT_MAX; i++) {
        if (i >= len) {
            return 0;
        }
        v |= (uint64_t)(buf[i] & 0x7f) << (7 * i);
        if (!(buf[i] & 0x80)) {
            *ret = v;
            return (int)i + 1;
        }
    }
    return -EBADMSG;
}

/*
 * A message that stands after its length: the bytes of both together, 0 if they are
 * not all within LEN, or -EBADMSG (a length above MAX, which is below 2^31).
 */
int pb_frame(const uint8_t *buf, size_t len, size_t max, struct pb_in *ret);

/* The next field: 1, 0 at the end, or -EBADMSG. */
int pb_next(struct pb_in *in, struct pb_field *ret);

/* F is a whole message within another. */
static inline struct pb_in pb_inside(const struct pb_field *f)
{
    return (struct pb_in){ .at = f->bytes, .end = f->bytes + f->len };
}

/* Text is cut to SIZE - 1 bytes and its control characters become blanks. */
void pb_text(const struct pb_field *f, char *ret, size_t size);

static inline uint64_t pb_zigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

static inline bool pb_overflow(const struct pb_out *o)
{
    return o->len > o->cap;
}

static inline void pb_put_byte(struct pb_out *o, uint8_t b)
{
    if (o->len < o->cap) {
        o->buf[o->len] = b;
    }
    o->len++;
}

static inline void pb_put_varint(struct pb_out *o, uint64_t v)
{
    for (; v > 0x7f; v >>= 7) {
        pb_put_byte(o, (uint8_t)v | 0x80);
    }
    pb_put_byte(o, (uint8_t)v);
}

/* Fields, each with its tag. */
void pb_put_number(struct pb_out *o, uint32_t field, uint64_t v);
void pb_put_fixed64(struct pb_out *o, uint32_t field, uint64_t v);
void pb_put_fixed32(struct pb_out *o, uint32_t field, uint32_t v);
void pb_put_bytes(struct pb_out *o, uint32_t field, const void *p, size_t len);
void pb_put_string(struct pb_out *o, uint32_t field, const char *s);

/*
 * A message within: what is put between begin and end is its body.  It is shorter
 * than 16 KiB: its length has two bytes, the first one's high bit set if need be.
 */
size_t pb_begin(struct pb_out *o, uint32_t field);
void pb_end(struct pb_out *o, size_t begin);
/* The same without a tag, for the frame that a whole message is sent in. */
size_t pb_begin_frame(struct pb_out *o);

#endif
