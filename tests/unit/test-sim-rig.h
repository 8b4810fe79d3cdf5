/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-sim-rig.h - what the tests of the simulated store share: a disk with a process
 * on it, and sectors that say what they are.
 */
#ifndef TEST_SIM_RIG_H
#define TEST_SIM_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "store/sim.h"

#define SECTOR 512
#define SECTORS 16                      /* of the typical write here */
#define WRITE (SECTORS * SECTOR)
#define ALL_SECTORS ((1u << SECTORS) - 1)

static uint8_t buffer[2][KIB(64)] __attribute__((aligned(STORE_BUF_ALIGN)));

/* A disk with one process on it. */
struct rig {
    struct sim *sim;
    struct store *store;
    struct store_lane *lane;
};

static inline void rig_open(struct rig *r)
{
    assert_int_equal(sim_store_open(r->sim, 0, &r->store), 0);
    r->lane = store_lane_new(r->store);
}

static inline void rig_close(struct rig *r)
{
    store_lane_free(TAKE_PTR(r->lane));
    store_free(TAKE_PTR(r->store));
}

static inline struct rig rig_new(uint64_t seed)
{
    struct rig r = { .sim = sim_new(seed) };

    rig_open(&r);
    return r;
}

static inline void rig_free(struct rig *r)
{
    if (r->store) {
        rig_close(r);
    }
    if (sim_misuse(r->sim)) {
        fail_msg("misuse: %s", sim_misuse(r->sim));
    }
    sim_free(r->sim);
}

/* Cut the power, turn it on and start another process. */
static inline void rig_power_cycle(struct rig *r)
{
    sim_power_cut(r->sim);
    rig_close(r);
    sim_power_on(r->sim);
    rig_open(r);
}

/* Fill BUF with sectors that say what they are: STAMP, and their place. */
static inline void stamp(uint8_t *buf, uint64_t what, uint64_t offset, size_t len)
{
    for (size_t at = 0; at < len; at += SECTOR) {
        uint64_t words[2] = { what, offset + at };

        for (size_t i = 0; i < SECTOR; i += sizeof(words)) {
            memcpy(buf + at + i, words, sizeof(words));
        }
    }
}

/* Is this the whole sector that stamp() made? */
static inline bool is_stamped(const uint8_t *sector, uint64_t what, uint64_t offset)
{
    uint8_t expected[SECTOR];

    stamp(expected, what, offset, SECTOR);
    return memcmp(sector, expected, SECTOR) == 0;
}

static inline bool is_zero(const uint8_t *sector)
{
    static const uint8_t zero[SECTOR];

    return memcmp(sector, zero, SECTOR) == 0;
}

static inline void write_now(struct rig *r, uint64_t file, uint64_t what, uint64_t offset,
                             size_t len, unsigned flags)
{
    stamp(buffer[0], what, offset, len);
    assert_int_equal(store_append_now(r->lane, file, offset, buffer[0], len, flags), 0);
}

static inline struct store_op append_op(uint64_t file, uint64_t offset, uint8_t *buf,
                                        size_t len)
{
    return (struct store_op){
        .what = STORE_APPEND, .file = file, .offset = offset, .buf = buf, .len = len,
    };
}

/* Wait until N ops are done; DONE collects them in order of completion. */
static inline void collect_all(struct store_lane *lane, int n, struct list *done)
{
    list_init(done);
    while ((n -= store_collect(lane, done)) > 0) {
        (void)store_wait(lane, -1);
    }
}

/* Which sectors of WRITE bytes at OFFSET of FILE carry the stamp: a bit each. */
static inline uint32_t kept_sectors(struct sim *sim, uint64_t file, uint64_t what,
                                    uint64_t offset)
{
    static uint8_t got[WRITE];
    uint32_t kept = 0;

    memset(got, 0, sizeof(got));
    (void)sim_peek(sim, file, offset, got, sizeof(got));
    for (unsigned i = 0; i < SECTORS; i++) {
        if (is_stamped(got + i * SECTOR, what, offset + i * SECTOR)) {
            kept |= 1u << i;
        }
    }
    return kept;
}

static inline enum sim_shape shape_of(uint32_t kept)
{
    uint32_t lost = ~kept & ALL_SECTORS;

    if (lost == 0) {
        return SIM_WHOLE;
    }
    if (kept == 0) {
        return SIM_NOTHING;
    }
    if ((kept & (kept + 1)) == 0) {
        return SIM_PREFIX;
    }
    if ((lost & (lost + 1)) == 0) {
        return SIM_SUFFIX;
    }
    lost >>= __builtin_ctz(lost);
    return (lost & (lost + 1)) == 0 ? SIM_HOLE : SIM_SUBSET;
}

#endif
