/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/pbwire.h"

#include <endian.h>

#include "base/util.h"

#define LENGTH_BYTES 2      /* of a message within: see pb_begin() */

int pb_frame(const uint8_t *buf, size_t len, size_t max, struct pb_in *ret)
{
    uint64_t size;
    int used = pb_varint(buf, len, &size);

    if (used <= 0) {
        return used;
    }
    if (size > max) {
        return -EBADMSG;
    }
    if (size > len - (size_t)used) {
        return 0;
    }
    ret->at = buf + used;
    ret->end = ret->at + size;
    return used + (int)size;
}

static int take_varint(struct pb_in *in, uint64_t *ret)
{
    int used = pb_varint(in->at, (size_t)(in->end - in->at), ret);

    if (used <= 0) {
        return -EBADMSG;
    }
    in->at += used;
    return 0;
}

static int take_bytes(struct pb_in *in, uint64_t len, const uint8_t **ret)
{
    if (len > (size_t)(in->end - in->at)) {
        return -EBADMSG;
    }
    *ret = in->at;
    in->at += len;
    return 0;
}

static int take_fixed(struct pb_in *in, size_t bytes, uint64_t *ret)
{
    const uint8_t *p;
    uint64_t v = 0;
    int r = take_bytes(in, bytes, &p);

    if (r < 0) {
        return r;
    }
    memcpy(&v, p, bytes);
    *ret = le64toh(v);
    return 0;
}

static int take_value(struct pb_in *in, struct pb_field *f)
{
    int r;

    switch (f->type) {
    case PB_VARINT:
        return take_varint(in, &f->value);
    case PB_FIXED64:
        return take_fixed(in, 8, &f->value);
    case PB_FIXED32:
        return take_fixed(in, 4, &f->value);
    case PB_BYTES:
        r = take_varint(in, &f->value);
        if (r == 0) {
            r = take_bytes(in, f->value, &f->bytes);
            f->len = (size_t)f->value;
        }
        return r;
    }
    return -EBADMSG;    /* groups: HDFS has none */
}

int pb_next(struct pb_in *in, struct pb_field *ret)
{
    uint64_t tag;
    int r;

    if (in->at == in->end) {
        return 0;
    }
    r = take_varint(in, &tag);
    if (r < 0 || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3) {
        return -EBADMSG;
    }
    *ret = (struct pb_field){ .number = (uint32_t)(tag >> 3),
                              .type = (enum pb_type)(tag & 7) };
    r = take_value(in, ret);
    return r < 0 ? r : 1;
}

void pb_text(const struct pb_field *f, char *ret, size_t size)
{
    size_t n = MIN(f->len, size - 1);

    for (size_t i = 0; i < n; i++) {
        ret[i] = f->bytes[i] < ' ' || f->bytes[i] == 0x7f ? ' ' : (char)f->bytes[i];
    }
    ret[n] = '\0';
}

static void put_tag(struct pb_out *o, uint32_t field, enum pb_type type)
{
    pb_put_varint(o, (uint64_t)field << 3 | type);
}

static void put_raw(struct pb_out *o, const void *p, size_t len)
{
    if (len > 0 && o->len + len <= o->cap) {
        memcpy(o->buf + o->len, p, len);
    }
    o->len += len;
}

void pb_put_number(struct pb_out *o, uint32_t field, uint64_t v)
{
    put_tag(o, field, PB_VARINT);
    pb_put_varint(o, v);
}

void pb_put_fixed64(struct pb_out *o, uint32_t field, uint64_t v)
{
    put_tag(o, field, PB_FIXED64);
    v = htole64(v);
    put_raw(o, &v, sizeof(v));
}

void pb_put_fixed32(struct pb_out *o, uint32_t field, uint32_t v)
{
    put_tag(o, field, PB_FIXED32);
    v = htole32(v);
    put_raw(o, &v, sizeof(v));
}

void pb_put_bytes(struct pb_out *o, uint32_t field, const void *p, size_t len)
{
    put_tag(o, field, PB_BYTES);
    pb_put_varint(o, len);
    put_raw(o, p, len);
}

void pb_put_string(struct pb_out *o, uint32_t field, const char *s)
{
    pb_put_bytes(o, field, s, strlen(s));
}

size_t pb_begin_frame(struct pb_out *o)
{
    o->len += LENGTH_BYTES;
    return o->len;
}

size_t pb_begin(struct pb_out *o, uint32_t field)
{
    put_tag(o, field, PB_BYTES);
    return pb_begin_frame(o);
}

void pb_end(struct pb_out *o, size_t begin)
{
    size_t len = o->len - begin;

    if (len >> 14) {
        o->len = o->cap + 1;    /* the caller sees an overflow */
    }
    if (begin <= o->cap) {
        /* A varint may be longer than it need be: decoders take it. */
        o->buf[begin - 2] = (uint8_t)(len & 0x7f) | 0x80;
        o->buf[begin - 1] = (uint8_t)(len >> 7);
    }
}
