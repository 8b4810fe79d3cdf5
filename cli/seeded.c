/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "seeded.h"

#include <string.h>

#define SECTOR_BYTES 512
#define ROUNDS 4        /* of a Feistel network: as many as look random (Luby, Rackoff) */

/* The finalizer of splitmix64 (Steele, Lea and Flood, 2014). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A permutation of the numbers below 4^HALF_BITS. */
static uint64_t feistel(uint64_t seed, uint64_t value, unsigned half_bits)
{
    uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    uint64_t left = value >> half_bits;
    uint64_t right = value & mask;

    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint64_t next = left ^ (mix(seed + (right << 3) + round) & mask);

        left = right;
        right = next;
    }
    return left << half_bits | right;
}

uint64_t seeded_order(uint64_t seed, uint64_t index, uint64_t count)
{
    unsigned half_bits = 1;

    while ((count - 1) >> (2 * half_bits) > 0) {
        half_bits++;
    }
    /* Going on until it falls below COUNT keeps it a permutation; as COUNT is more
     * than a quarter of what the network permutes, that takes a few turns at most. */
    do {
        index = feistel(mix(seed), index, half_bits);
    } while (index >= count);
    return index;
}

static void sector_make(uint64_t seed, uint64_t sector, void *buf)
{
    uint64_t state = mix(mix(seed) + sector);
    uint64_t words[SECTOR_BYTES / sizeof(uint64_t)];

    for (unsigned i = 0; i < SECTOR_BYTES / sizeof(uint64_t); i++) {
        state += UINT64_C(0x9E3779B97F4A7C15);
        words[i] = mix(state);
    }
    memcpy(buf, words, sizeof(words));
}

void seeded_fill(uint64_t seed, uint64_t offset, void *buf, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += SECTOR_BYTES) {
        sector_make(seed, (offset + at) / SECTOR_BYTES, (uint8_t *)buf + at);
    }
}

bool seeded_is_right(uint64_t seed, uint64_t offset, const void *buf, size_t bytes)
{
    uint8_t sector[SECTOR_BYTES];

    for (size_t at = 0; at < bytes; at += SECTOR_BYTES) {
        sector_make(seed, (offset + at) / SECTOR_BYTES, sector);
        if (memcmp(sector, (const uint8_t *)buf + at, SECTOR_BYTES) != 0) {
            return false;
        }
    }
    return true;
}
