/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long requests take, over the last 10 to 20 seconds.  What memory answers at once
 * costs no look at the clock.
 */
#include "volume/private.h"

#include <string.h>

#define WINDOW_US 10000000

static void window_turn(struct hlfs *v, uint64_t now_us)
{
    struct latency *l = &v->latency;

    if (now_us - l->since_us >= WINDOW_US) {
        l->present ^= 1;
        memset(l->windows[l->present], 0, sizeof(l->windows[0]));
        if (now_us - l->since_us >= 2 * WINDOW_US) {        /* nobody came for so long */
            memset(l->windows[l->present ^ 1], 0, sizeof(l->windows[0]));
        }
        l->since_us = now_us;
    }
}

static struct histogram *histogram_of(struct hlfs *v, enum request_kind kind)
{
    struct histogram *h = v->latency.windows[v->latency.present];

    switch (kind) {
    case REQUEST_READ:
        return &h[LATENCY_READ];
    case REQUEST_WRITE:
    case REQUEST_ZERO:
    case REQUEST_DISCARD:
        return &h[LATENCY_WRITE];
    case REQUEST_FLUSH:
        return &h[LATENCY_FLUSH];
    default:
        return NULL;
    }
}

void latency_add_none(struct hlfs *v, enum request_kind kind)
{
    struct histogram *h = histogram_of(v, kind);

    if (h) {
        histogram_add(h, 0);
    }
}

void latency_add(struct hlfs *v, enum request_kind kind, uint64_t since_us)
{
    uint64_t now_us = clock_monotonic_us(v->clock);
    struct histogram *h;

    window_turn(v, now_us);
    h = histogram_of(v, kind);
    if (h) {
        histogram_add(h, now_us - since_us);
    }
}

static void quantiles(struct hlfs *v, enum latency_kind kind, uint64_t *p50, uint64_t *p99,
                      uint64_t *p999)
{
    struct histogram both = v->latency.windows[0][kind];

    histogram_merge(&both, &v->latency.windows[1][kind]);
    *p50 = histogram_quantile(&both, 0.5);
    *p99 = histogram_quantile(&both, 0.99);
    *p999 = histogram_quantile(&both, 0.999);
}

void latency_quantiles(struct hlfs *v, struct hlfs_counters *c)
{
    window_turn(v, clock_monotonic_us(v->clock));
    quantiles(v, LATENCY_READ, &c->read_p50_us, &c->read_p99_us, &c->read_p999_us);
    quantiles(v, LATENCY_WRITE, &c->write_p50_us, &c->write_p99_us, &c->write_p999_us);
    quantiles(v, LATENCY_FLUSH, &c->flush_p50_us, &c->flush_p99_us, &c->flush_p999_us);
}
