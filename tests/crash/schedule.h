/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * schedule.h - one random life of a volume: some generations of writers, each of which
 * ends in a crash, a take-over or a close, and the model's verdict after each.
 */
#ifndef TESTS_CRASH_SCHEDULE_H
#define TESTS_CRASH_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct schedule_stats {
    uint64_t seeds, crashes, takeovers, requests, kept, calls, enospc;
};

/*
 * Run seed SEED with the store's bugs SIM_BUGS.  True: all is well; false: TEXT says
 * what is wrong.  STATS may be NULL.
 */
bool schedule_run(uint64_t seed, unsigned sim_bugs, char *text, size_t size,
                  struct schedule_stats *stats);

#endif
