/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clock.h - time in microseconds, real or simulated.
 *
 * The engine asks a struct clock only, so that the sim store can let hours pass in
 * a test.  Monotonic time measures waits; wall time (UTC since 1970) is stored.
 */
#ifndef HLFS_BASE_CLOCK_H
#define HLFS_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*monotonic_us)(const struct clock *c);
    uint64_t (*wall_us)(const struct clock *c);
};

extern const struct clock clock_system;

static inline uint64_t clock_monotonic_us(const struct clock *c)
{
    return c->monotonic_us(c);
}

static inline uint64_t clock_wall_us(const struct clock *c)
{
    return c->wall_us(c);
}

#endif
