/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * manualvol.h - a volume without a thread of its own on a simulated disk: what waits
 * drives it, and pass() lets virtual time go by.  Fails the test where something goes
 * wrong.
 */
#ifndef TEST_MANUALVOL_H
#define TEST_MANUALVOL_H

#include "base/error.h"
#include "store/sim.h"
#include "volume/volume.h"

/* OPTIONS may be NULL. */
static inline void manualvol_create(struct sim *sim, uint64_t size,
                                    const struct hlfs_options *options)
{
    struct store *s = NULL;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, size, VOLUME_MANUAL, options), 0);
}

/* For writing, by a process of its own. */
static inline struct hlfs *manualvol_open(struct sim *sim,
                                          const struct hlfs_options *options)
{
    struct store *s = NULL;
    struct hlfs *v = NULL;

    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    if (volume_open(s, VOLUME_MANUAL, options, &v) < 0) {
        fail_msg("%s", error_text());
    }
    return v;
}

static inline void pass(struct sim *sim, struct hlfs *v, uint64_t us)
{
    uint64_t end = sim_now(sim) + us;

    while (sim_now(sim) < end) {
        (void)volume_turn(v, 100000);
    }
}

#endif
