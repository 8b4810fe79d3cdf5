/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seeded.h - what hlfs bench --seed writes, and in which order: both follow from one
 * number, so that another process can read it back and compare without any table.
 *
 * Pure functions, any thread.  What a place holds depends on the seed and the offset
 * only, not on the size of the requests that wrote it.
 */
#ifndef HLFS_CLI_SEEDED_H
#define HLFS_CLI_SEEDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number at place INDEX (below COUNT) of a permutation of the numbers below COUNT. */
uint64_t seeded_order(uint64_t seed, uint64_t index, uint64_t count);

/* Fill BUF with what BYTES at byte OFFSET hold; both are multiples of 512. */
void seeded_fill(uint64_t seed, uint64_t offset, void *buf, size_t bytes);

/* Does BUF hold just that? */
bool seeded_is_right(uint64_t seed, uint64_t offset, const void *buf, size_t bytes);

#endif
