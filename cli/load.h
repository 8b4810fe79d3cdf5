/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load.h - put a load on a volume and measure it: the engine of hlfs bench.
 *
 * It must be cheap: one reading of the clock per request and one per reaping, no lock,
 * no allocation.  A request lasts from the moment the thread turns to it (the end of
 * the one before) to its answer: for a submit that returns 1 that is the submit
 * itself, else until its completion is reaped.
 *
 * At depth 1 a thread uses the synchronous calls, else a queue of its own.
 */
#ifndef HLFS_CLI_LOAD_H
#define HLFS_CLI_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "hlfs.h"
#include "payload.h"

enum load_io { LOAD_READ, LOAD_WRITE, LOAD_RW };

struct load {                   /* immutable while it runs */
    struct hlfs *volume;        /* borrowed */
    enum load_io io;
    bool random;
    bool verify;
    bool seeded;                /* order and data follow from SEED; COUNT is not 0 */
    bool progress;              /* a line on stderr each second */
    uint32_t seed;
    uint32_t request_bytes;
    unsigned depth;             /* of each thread */
    unsigned threads;
    uint64_t flush_every;       /* writes of a thread; 0: never */
    uint64_t range_bytes;       /* a multiple of request_bytes */
    uint64_t time_ns;           /* 0: until COUNT is reached */
    uint64_t count;             /* of requests, all threads together; 0: time */
};

struct load_result {
    uint64_t requests;
    uint64_t writes;
    uint64_t flushes;           /* without the final one */
    uint64_t elapsed_ns;        /* with the final flush */
    uint64_t final_flush_ns;
    uint64_t buffer_bytes;      /* our own, for data */
    int64_t verified_blocks;    /* or -errno */
    uint64_t error_offset;      /* where it went wrong */
    struct histogram latency;   /* of requests, ns */
    struct histogram flush_latency;
};

/* Called at the moments the time begins and ends. */
typedef void (*load_mark_fn)(void *opaque, bool end);

/*
 * Run LOAD.  0, or the -errno of the request that failed (RET->error_offset); -EILSEQ:
 * a seeded read found something else than was written.  A failed verification is a
 * success here: see RET->verified_blocks.
 */
int load_run(const struct load *load, load_mark_fn mark, void *opaque,
             struct load_result *ret);

#endif
