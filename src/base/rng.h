/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rng.h - a small seeded generator (splitmix64, Steele, Lea and Flood, OOPSLA 2014):
 * for simulated schedules and spreading, never for secrets or names (getrandom(2)).
 */
#ifndef HLFS_BASE_RNG_H
#define HLFS_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* A number below BOUND, which is not 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t bound)
{
    return rng_next(r) % bound;
}

/* True once in N times on average. */
static inline int rng_one_in(struct rng *r, uint64_t n)
{
    return rng_below(r, n) == 0;
}

#endif
