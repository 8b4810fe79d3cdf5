/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random schedules: HLFS_SEEDS=FIRST:COUNT, or the share ARGV[1] of ARGV[2] of the
 * HLFS_SEEDS_TOTAL (10,000) seeds from 1 on.  Stops at the first failure.  With
 * HLFS_TRACE set it tells all that happens, with HLFS_KEEP_GOING it does not stop.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "schedule.h"
#include "world.h"

#define SEED_SECONDS_MAX 100

static volatile uint64_t current_seed;

static void hangs(int signal)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "seed %" PRIu64 " HANGS\n", current_seed);

    (void)signal;
    (void)!write(STDOUT_FILENO, text, (size_t)n);
    _exit(1);
}

static void seeds_of(int argc, char **argv, uint64_t *first, uint64_t *count)
{
    const char *seeds = getenv("HLFS_SEEDS"), *total = getenv("HLFS_SEEDS_TOTAL");
    uint64_t all = total ? strtoull(total, NULL, 10) : 10000;
    uint64_t part = argc > 2 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t parts = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    char *colon;

    *first = 1 + all * part / parts;
    *count = all * (part + 1) / parts - all * part / parts;
    if (seeds) {
        *first = strtoull(seeds, &colon, 10);
        *count = *colon == ':' ? strtoull(colon + 1, NULL, 10) : 1;
    }
}

int main(int argc, char **argv)
{
    struct schedule_stats stats = { 0 };
    char text[2048];
    uint64_t first, count;
    bool failed = false;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGALRM, hangs);
    world_trace = getenv("HLFS_TRACE") != NULL;
    seeds_of(argc, argv, &first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        (void)alarm(SEED_SECONDS_MAX);      /* a seed that hangs is a failure, too */
        current_seed = seed;
        if (!schedule_run(seed, 0, text, sizeof(text), &stats)) {
            printf("seed %" PRIu64 " FAILED: %s\nreplay it: HLFS_SEEDS=%" PRIu64
                   ":1 %s\n", seed, text, seed, argv[0]);
            failed = true;
            if (!getenv("HLFS_KEEP_GOING")) {
                return 1;
            }
        }
    }
    printf("%" PRIu64 " schedules from seed %" PRIu64 " on: %" PRIu64 " crashes, %" PRIu64
           " take-overs, %" PRIu64 " requests, %" PRIu64 " store calls, %" PRIu64
           " requests without room: all as promised\n", stats.seeds, first, stats.crashes,
           stats.takeovers, stats.requests, stats.calls, stats.enospc);
    return failed;
}
