/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * histogram.h - how often each duration was seen: log-linear buckets.
 *
 * A bucket is at most 1/64 of its value wide, whatever the value: the idea of
 * HdrHistogram.  To add one is a few instructions and no call of the system.  Knows no
 * unit: the engine uses microseconds, hlfs bench, which is compiled with this file, too,
 * nanoseconds.  Owner: one thread at a time.
 */
#ifndef HLFS_BASE_HISTOGRAM_H
#define HLFS_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SHIFT_MAX 40      /* values up to 2^47 - 1; larger ones count as it */
#define HISTOGRAM_VALUE_MAX \
    ((UINT64_C(2) << (HISTOGRAM_SHIFT_MAX + HISTOGRAM_SUB_BITS)) - 1)
#define HISTOGRAM_BUCKETS ((HISTOGRAM_SHIFT_MAX + 2) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t max;
};

static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned shift = 0;

    if (value > HISTOGRAM_VALUE_MAX) {
        value = HISTOGRAM_VALUE_MAX;
    }
    if (value >= UINT64_C(2) << HISTOGRAM_SUB_BITS) {
        shift = 63 - HISTOGRAM_SUB_BITS - (unsigned)__builtin_clzll(value);
    }
    return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->count[histogram_bucket(value)]++;
    h->total++;
    if (value > h->max) {
        h->max = value;
    }
}

/* INTO counts what FROM counted too. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that a FRACTION (0 to 1) of all are not above; 0 if there is none. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);

#endif
