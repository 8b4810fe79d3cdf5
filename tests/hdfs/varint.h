/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* varint.h - for peers made by tests, which look at whole frames. */
#ifndef HLFS_TESTS_VARINT_H
#define HLFS_TESTS_VARINT_H

#include <assert.h>

#include "hdfs/pbwire.h"

/* The number at *AT, which moves behind it. */
static inline size_t take_varint(const uint8_t **at)
{
    uint64_t v = 0;
    int used = pb_varint(*at, PB_VARINT_MAX, &v);

    assert(used > 0);
    *at += used;
    return (size_t)v;
}

#endif
