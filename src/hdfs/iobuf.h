/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iobuf.h - bytes that came in, or are to go out: taken off at the front, added at
 * the end.  A zeroed one is empty; iobuf_done() frees it.
 */
#ifndef HLFS_HDFS_IOBUF_H
#define HLFS_HDFS_IOBUF_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct iobuf {
    uint8_t *data;              /* owned */
    size_t start, end, cap;     /* the bytes are data[start] to data[end - 1] */
};

static inline const uint8_t *iobuf_bytes(const struct iobuf *b)
{
    return b->data + b->start;
}

static inline size_t iobuf_len(const struct iobuf *b)
{
    return b->end - b->start;
}

static inline size_t iobuf_room(const struct iobuf *b)
{
    return b->cap - b->end;
}

static inline void iobuf_consume(struct iobuf *b, size_t n)
{
    b->start += n;
    if (b->start == b->end) {
        b->start = b->end = 0;
    }
}

/* Make room for N bytes at the end: what is there moves to the front, then the
 * memory grows.  -ENOMEM. */
static inline int iobuf_reserve(struct iobuf *b, size_t n)
{
    size_t len = iobuf_len(b);
    uint8_t *data;

    if (iobuf_room(b) >= n) {
        return 0;
    }
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
    }
    if (iobuf_room(b) >= n) {
        return 0;
    }
    data = realloc(b->data, MAX(len + n, 2 * b->cap));
    if (!data) {
        return -ENOMEM;
    }
    b->data = data;
    b->cap = MAX(len + n, 2 * b->cap);
    return 0;
}

static inline int iobuf_add(struct iobuf *b, const void *p, size_t n)
{
    int r = iobuf_reserve(b, n);

    if (r == 0 && n > 0) {
        memcpy(b->data + b->end, p, n);
        b->end += n;
    }
    return r;
}

static inline void iobuf_done(struct iobuf *b)
{
    free(b->data);
    *b = (struct iobuf){ 0 };
}

#endif
