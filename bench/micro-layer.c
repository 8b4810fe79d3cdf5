/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * micro-layer - what one call of a layer costs, and its memory per block.
 *
 *   micro-layer [BLOCKS]       default 1000000
 *
 * "set" fills an empty layer, "hinted" does so with layer_prefetch() some calls ahead,
 * "over" sets the same blocks again, both in random (over a space 16 times as large)
 * and ascending order; "next" walks all in steps.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "map/layer.h"

#define HINT_DISTANCE 4     /* calls between a hint and its use */

static double ns_since(uint64_t start_us, uint64_t count)
{
    return (double)(clock_monotonic_us(&clock_system) - start_us) * 1000 / (double)count;
}

static void die(const char *what)
{
    fprintf(stderr, "micro-layer: %s\n", what);
    exit(1);
}

static double time_set(struct layer *l, const uint64_t *blocks, uint64_t count)
{
    uint64_t start_us = clock_monotonic_us(&clock_system);

    for (uint64_t i = 0; i < count; i++) {
        if (layer_set(l, blocks[i], place_make(1, i * 4096, 4096, (uint32_t)i)) < 0) {
            die("out of memory");
        }
    }
    return ns_since(start_us, count);
}

/* As a writer does who has other work between the hint and the call. */
static double time_hinted(struct layer *l, const uint64_t *blocks, uint64_t count)
{
    uint64_t start_us = clock_monotonic_us(&clock_system);

    for (uint64_t i = 0; i < count; i++) {
        layer_prefetch(l, blocks[(i + HINT_DISTANCE) % count]);
        if (layer_set(l, blocks[i], place_make(1, i * 4096, 4096, (uint32_t)i)) < 0) {
            die("out of memory");
        }
    }
    return ns_since(start_us, count);
}

static double time_get(const struct layer *l, const uint64_t *blocks, uint64_t count)
{
    uint64_t start_us = clock_monotonic_us(&clock_system);

    for (uint64_t i = 0; i < count; i++) {
        struct place place;

        if (!layer_get(l, blocks[i], &place)) {
            die("a block is missing");
        }
    }
    return ns_since(start_us, count);
}

static double time_next(const struct layer *l)
{
    struct extent e = { 0 };
    uint64_t start_us = clock_monotonic_us(&clock_system);

    for (uint64_t block = 0; layer_next(l, block, &e); block = e.block + e.count) {
    }
    return ns_since(start_us, layer_entries(l));
}

static void run(const char *name, uint64_t *blocks, uint64_t count)
{
    struct layer *l = layer_new();
    struct layer *hinted = layer_new();
    double set_ns, hinted_ns, over_ns, get_ns;

    if (!l || !hinted) {
        die("out of memory");
    }
    hinted_ns = time_hinted(hinted, blocks, count);
    layer_free(hinted);
    set_ns = time_set(l, blocks, count);
    over_ns = time_set(l, blocks, count);
    get_ns = time_get(l, blocks, count);
    printf("%-10s set %4.0f ns  hinted %4.0f ns  over %4.0f ns  get %4.0f ns  "
           "next %4.0f ns  %.1f bytes/block\n", name, set_ns, hinted_ns, over_ns,
           get_ns, time_next(l), (double)layer_bytes(l) / (double)layer_entries(l));
    layer_free(l);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
    struct rng rng = { 1 };
    uint64_t *blocks;

    if (count == 0) {
        die("BLOCKS is not a number");
    }
    blocks = calloc(count, sizeof(*blocks));
    if (!blocks) {
        die("out of memory");
    }
    for (uint64_t i = 0; i < count; i++) {
        blocks[i] = rng_below(&rng, count * 16);
    }
    run("random", blocks, count);
    for (uint64_t i = 0; i < count; i++) {
        blocks[i] = i;
    }
    run("sequential", blocks, count);
    free(blocks);
    return 0;
}
