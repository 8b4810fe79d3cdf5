/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layer against a plain array of blocks.  The source is included so that malloc
 * can be made to fail at the nth call, and so that layer_check() is always there.
 */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static unsigned malloc_fails_in;    /* 0: never; 1: the next call */
static long nodes_alive;

static void *counted_malloc(size_t size)
{
    if (malloc_fails_in > 0 && --malloc_fails_in == 0) {
        return NULL;
    }
    nodes_alive++;
    return malloc(size);
}

static void counted_free(void *p)
{
    nodes_alive--;
    free(p);
}

#ifndef HLFS_CHECKS
#define HLFS_CHECKS
#endif
#define malloc counted_malloc
#define free counted_free
#include "map/layer.c"
#undef malloc
#undef free

#include "base/rng.h"

#define MODEL_BLOCKS 20000u

/* What the model knows of a block: 0 not in the layer, HOLE, or a data number. */
#define MODEL_HOLE UINT32_MAX

struct model {
    uint32_t blocks;            /* used part of state[] */
    uint32_t next_data;
    uint32_t state[MODEL_BLOCKS];
    struct layer *layer;
    struct rng rng;
};

static struct place data_place(uint32_t data)
{
    return place_make(1 + data % 7, (uint64_t)data * 4096 % MIB(64), 4096, data);
}

static struct model *model_new(uint32_t blocks, uint64_t seed)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->blocks = blocks;
    m->rng.state = seed;
    m->layer = layer_new();
    nodes_alive++;      /* layer_new() uses calloc(), layer_free() the counted free */
    assert_non_null(m->layer);
    return m;
}

static void model_free(struct model *m)
{
    layer_free(m->layer);
    assert_int_equal(nodes_alive, 0);
    free(m);
}

static void model_set(struct model *m, uint32_t block)
{
    m->state[block] = ++m->next_data;
    layer_prefetch(m->layer, block);
    assert_int_equal(layer_set(m->layer, block, data_place(m->next_data)), 0);
}

static void model_punch(struct model *m, uint32_t block, uint32_t count, unsigned max)
{
    while (count > 0) {
        uint64_t done = 0;

        assert_int_equal(layer_punch(m->layer, block, count, max, &done), 0);
        assert_in_range(done, 1, count);
        for (uint32_t i = 0; i < done; i++) {
            m->state[block + i] = MODEL_HOLE;
        }
        block += (uint32_t)done;
        count -= (uint32_t)done;
        if (rng_one_in(&m->rng, 4)) {
            return;     /* a caller may stop half-way */
        }
    }
}

static bool same_extent(const struct model *m, uint32_t a, uint32_t b)
{
    return m->state[a] == MODEL_HOLE && m->state[b] == MODEL_HOLE;
}

/* What layer_next() must give. */
static bool model_next(const struct model *m, uint32_t block, struct extent *ret)
{
    uint32_t end;

    while (block < m->blocks && m->state[block] == 0) {
        block++;
    }
    if (block >= m->blocks) {
        return false;
    }
    for (end = block + 1; end < m->blocks && same_extent(m, block, end); end++) {
    }
    ret->block = block;
    ret->count = end - block;
    ret->place = m->state[block] == MODEL_HOLE ? PLACE_HOLE : data_place(m->state[block]);
    return true;
}

static void model_compare_block(const struct model *m, uint32_t block)
{
    struct place place;
    struct extent want, got;
    bool found = layer_get(m->layer, block, &place);

    assert_int_equal(found, m->state[block] != 0);
    if (found) {
        bool hole = m->state[block] == MODEL_HOLE;

        assert_true(place_equal(place, hole ? PLACE_HOLE : data_place(m->state[block])));
    }
    found = model_next(m, block, &want);
    assert_int_equal(layer_next(m->layer, block, &got), found);
    if (found) {
        assert_int_equal(got.block, want.block);
        assert_int_equal(got.count, want.count);
        assert_true(place_equal(got.place, want.place));
    }
}

/* All extents in turn; their number is the number of entries. */
static void model_compare(const struct model *m)
{
    struct extent want, got;
    size_t entries = 0;
    uint64_t block = 0;

    while (model_next(m, (uint32_t)block, &want)) {
        assert_true(layer_next(m->layer, block, &got));
        assert_int_equal(got.block, want.block);
        assert_int_equal(got.count, want.count);
        assert_true(place_equal(got.place, want.place));
        block = want.block + want.count;
        entries++;
    }
    assert_false(layer_next(m->layer, block, &got));
    assert_int_equal(layer_entries(m->layer), entries);
    assert_int_equal(layer_bytes(m->layer), (nodes_alive - 1) * sizeof(struct node));
}

static void model_move(struct model *m, uint32_t block)
{
    uint32_t state = m->state[block];
    bool data = state != 0 && state != MODEL_HOLE;

    /* Nothing moves from where it is not. */
    assert_false(layer_move(m->layer, block, data_place(m->next_data + 1),
                            data_place(1)));
    if (data) {
        m->state[block] = ++m->next_data;
        assert_true(layer_move(m->layer, block, data_place(state),
                               data_place(m->next_data)));
    }
}

static void model_step(struct model *m)
{
    uint32_t block = (uint32_t)rng_below(&m->rng, m->blocks);
    uint32_t room = m->blocks - block;
    uint32_t most = rng_one_in(&m->rng, 20) ? m->blocks : 30;

    switch (rng_below(&m->rng, 8)) {
    case 0:
        model_punch(m, block, 1 + (uint32_t)rng_below(&m->rng, MIN(room, most)),
                    1 + (unsigned)rng_below(&m->rng, 40));
        break;
    case 1:
        model_move(m, block);
        break;
    case 2:
        for (uint32_t i = 0; i < MIN(room, 20u); i++) {
            model_set(m, block + i);
        }
        break;
    default:
        model_set(m, block);
        break;
    }
    model_compare_block(m, (uint32_t)rng_below(&m->rng, m->blocks));
}

/* ---- Tests ---------------------------------------------------------------- */

static void empty_layer_has_nothing(void **state)
{
    struct model *m = model_new(10, 1);

    (void)state;
    model_compare_block(m, 0);
    layer_check(m->layer);
    assert_int_equal(layer_bytes(m->layer), 0);
    model_free(m);
    layer_free(NULL);
}

static void random_steps_match_the_model(void **state)
{
    static const struct {
        uint32_t blocks;
        uint32_t steps;
        uint32_t check_every;
    } sizes[] = { { 40, 20000, 1 }, { 600, 60000, 1 }, { 20000, 120000, 200 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct model *m = model_new(sizes[i].blocks, 100 + i);

        for (uint32_t n = 0; n < sizes[i].steps; n++) {
            model_step(m);
            if (n % sizes[i].check_every == 0) {
                layer_check(m->layer);
            }
            if (n % (sizes[i].check_every * 20) == 0) {
                model_compare(m);
            }
        }
        model_compare(m);
        model_free(m);
    }
}

static void punched_data_leaves_little_memory(void **state)
{
    struct model *m = model_new(MODEL_BLOCKS, 7);
    size_t entries;

    (void)state;
    for (uint32_t i = 0; i < m->blocks; i++) {
        model_set(m, i);
    }
    /* Every block becomes a hole, one by one at random: they merge. */
    for (uint32_t n = 0; n < m->blocks * 3; n++) {
        uint64_t done;
        uint32_t block = (uint32_t)rng_below(&m->rng, m->blocks);

        assert_int_equal(layer_punch(m->layer, block, 1, 1, &done), 0);
        assert_int_equal(done, 1);
        m->state[block] = MODEL_HOLE;
    }
    layer_check(m->layer);
    model_compare(m);
    entries = layer_entries(m->layer);
    assert_true(entries > 1000);
    assert_true(layer_bytes(m->layer) < entries * 24 * 5 / 2);

    model_punch(m, 0, m->blocks, 1000);
    while (layer_entries(m->layer) > 1) {
        model_punch(m, 0, m->blocks, 1000);
    }
    assert_int_equal(layer_bytes(m->layer), sizeof(struct node));
    layer_check(m->layer);
    model_free(m);
}

static double bytes_per_entry(const struct layer *l)
{
    return (double)layer_bytes(l) / (double)layer_entries(l);
}

static void runs_fill_their_leaves(void **state)
{
    struct model *up = model_new(MODEL_BLOCKS, 1);
    struct model *down, *two;

    (void)state;
    for (uint32_t i = 0; i < up->blocks; i++) {
        model_set(up, i);
    }
    layer_check(up->layer);
    assert_true(bytes_per_entry(up->layer) < 26);
    model_free(up);

    down = model_new(MODEL_BLOCKS, 1);
    for (uint32_t i = down->blocks; i > 0; i--) {
        model_set(down, i - 1);
    }
    layer_check(down->layer);
    assert_true(bytes_per_entry(down->layer) < 27);
    model_free(down);

    two = model_new(MODEL_BLOCKS, 1);       /* two runs at once */
    for (uint32_t i = 0; i < two->blocks / 2; i++) {
        model_set(two, i);
        model_set(two, two->blocks / 2 + i);
    }
    layer_check(two->layer);
    assert_true(bytes_per_entry(two->layer) < 29);
    model_free(two);
}

static void punch_stops_at_its_limit(void **state)
{
    struct model *m = model_new(1000, 1);
    uint64_t done = 0;

    (void)state;
    for (uint32_t i = 0; i < 1000; i += 10) {
        model_set(m, i);
    }
    assert_int_equal(layer_punch(m->layer, 5, 900, 3, &done), 0);
    assert_int_equal(done, 35);             /* 10, 20, 30 are touched, 40 is not */
    layer_check(m->layer);
    assert_int_equal(layer_entries(m->layer), 98);
    assert_int_equal(layer_punch(m->layer, 40, 865, 1000, &done), 0);
    assert_int_equal(done, 865);
    layer_check(m->layer);
    assert_int_equal(layer_entries(m->layer), 11);
    model_free(m);
}

static void highest_blocks_work(void **state)
{
    struct layer *l = layer_new();
    uint64_t top = UINT64_MAX - 2;
    struct place place;
    struct extent e;
    uint64_t done;

    (void)state;
    nodes_alive++;
    assert_int_equal(layer_set(l, top, data_place(1)), 0);
    assert_int_equal(layer_punch(l, top - 9, 5, 1, &done), 0);
    assert_true(layer_get(l, top, &place));
    assert_true(layer_next(l, top - 6, &e));
    assert_int_equal(e.block, top - 6);
    assert_int_equal(e.count, 2);
    assert_true(layer_next(l, top - 4, &e));
    assert_int_equal(e.block, top);
    assert_false(layer_next(l, top + 1, &e));
    layer_check(l);
    layer_free(l);
    assert_int_equal(nodes_alive, 0);
}

/* Each call that allocates is tried with every one of its allocations failing. */
static void failed_allocation_changes_nothing(void **state)
{
    struct model *m = model_new(3000, 5);

    (void)state;
    for (uint32_t n = 0; n < 20000; n++) {
        uint32_t block = (uint32_t)rng_below(&m->rng, m->blocks);
        bool punch = rng_one_in(&m->rng, 5);
        uint64_t count = 1 + rng_below(&m->rng, MIN(m->blocks - block, 20u));
        size_t entries = layer_entries(m->layer);
        uint64_t done = 0;
        int r = -ENOMEM;

        for (unsigned nth = 1; r < 0; nth++) {
            malloc_fails_in = nth;
            r = punch ? layer_punch(m->layer, block, count, 5, &done)
                      : layer_set(m->layer, block, data_place(m->next_data + 1));
            malloc_fails_in = 0;
            if (r < 0) {
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(layer_entries(m->layer), entries);
                layer_check(m->layer);
                model_compare_block(m, block);
            }
        }
        if (punch) {
            for (uint64_t i = 0; i < done; i++) {
                m->state[block + i] = MODEL_HOLE;
            }
        } else {
            m->state[block] = ++m->next_data;
        }
    }
    model_compare(m);
    layer_check(m->layer);
    model_free(m);
}

static void freeing_goes_by_steps(void **state)
{
    struct model *m = model_new(MODEL_BLOCKS, 1);
    unsigned steps = 1;
    size_t nodes;

    (void)state;
    for (uint32_t n = 0; n < m->blocks; n++) {
        model_set(m, (uint32_t)rng_below(&m->rng, m->blocks));
    }
    nodes = layer_bytes(m->layer) / sizeof(struct node);
    while (!layer_free_some(m->layer, 10)) {
        steps++;
    }
    assert_int_equal(steps, DIV_ROUND_UP(nodes, 10));
    assert_int_equal(nodes_alive, 0);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_layer_has_nothing),
        cmocka_unit_test(random_steps_match_the_model),
        cmocka_unit_test(punched_data_leaves_little_memory),
        cmocka_unit_test(runs_fill_their_leaves),
        cmocka_unit_test(punch_stops_at_its_limit),
        cmocka_unit_test(highest_blocks_work),
        cmocka_unit_test(failed_allocation_changes_nothing),
        cmocka_unit_test(freeing_goes_by_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
