/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lanes, and the queue of events that moves virtual time.
 *
 * sim->heap holds every operation that was kicked, by the time of its completion.
 * All effects happen in sim_next(), in that order.
 */
#include "store/sim_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- Events -------------------------------------------------------------- */

struct sim_flight *sim_flight_new(struct sim *sim)
{
    struct sim_flight *f = sim->free_flights;

    if (f) {
        sim->free_flights = f->next;
        memset(f, 0, sizeof(*f));
    } else {
        f = sim_alloc(sizeof(*f));
    }
    f->serial = ++sim->last_flight;
    return f;
}

void sim_flight_free(struct sim *sim, struct sim_flight *f)
{
    free(f->data);
    f->data = NULL;
    f->next = sim->free_flights;
    sim->free_flights = f;
}

static bool flight_before(const struct sim_flight *a, const struct sim_flight *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->serial < b->serial;
}

static void heap_up(struct sim *sim, size_t i)
{
    struct sim_flight *f = sim->heap[i];

    for (; i > 0 && flight_before(f, sim->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
    }
    sim->heap[i] = f;
}

static void heap_down(struct sim *sim, size_t i)
{
    struct sim_flight *f = sim->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= sim->n_heap) {
            break;
        }
        if (child + 1 < sim->n_heap &&
            flight_before(sim->heap[child + 1], sim->heap[child])) {
            child++;
        }
        if (!flight_before(sim->heap[child], f)) {
            break;
        }
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = f;
}

void sim_push(struct sim *sim, struct sim_flight *f)
{
    sim->heap = sim_grow(sim->heap, &sim->max_heap, sim->n_heap + 1, sizeof(*sim->heap));
    sim->heap[sim->n_heap++] = f;
    heap_up(sim, sim->n_heap - 1);
}

void sim_rebuild_heap(struct sim *sim)
{
    for (size_t i = sim->n_heap / 2; i > 0; i--) {
        heap_down(sim, i - 1);
    }
}

static void heap_pop(struct sim *sim)
{
    sim->heap[0] = sim->heap[--sim->n_heap];
    if (sim->n_heap) {
        heap_down(sim, 0);
    }
}

/* Answer the op of F with RES; F is in no heap. */
void sim_deliver(struct sim *sim, struct sim_flight *f, int res)
{
    struct sim_lane *lane = f->lane;

    f->op->res = res;
    list_push(&lane->done, &f->op->node);
    lane->in_flight--;
    sim_store_of(lane->base.store)->completions++;
    sim_trace_add(sim, f->serial);
    sim_trace_add(sim, (uint64_t)(int64_t)res);
    sim_flight_free(sim, f);
}

/* Let the next event that is due by LIMIT_US happen.  False: there is none. */
bool sim_next(struct sim *sim, uint64_t limit_us)
{
    struct sim_flight *f = sim->n_heap ? sim->heap[0] : NULL;
    uint64_t time = f ? f->time_us : SIM_NEVER;

    if (sim->cut_time_us != SIM_NEVER && !sim->cut &&
        sim->cut_time_us <= MIN(time, limit_us)) {
        sim->now_us = MAX(sim->now_us, sim->cut_time_us);
        sim->cut_time_us = SIM_NEVER;
        sim_cut_power(sim, SIM_NO_CALL);
        return true;
    }
    if (time == SIM_NEVER || time > limit_us) {
        return false;
    }
    heap_pop(sim);
    sim->now_us = MAX(sim->now_us, time);
    sim_trace_add(sim, sim->now_us);
    if (f->op) {
        sim_deliver(sim, f, sim_perform(sim, f));
        return true;
    }
    if (f->what == SIM_APPEND) {
        sim->stats.late_landings++;
    } else if (!f->durability) {
        sim->stats.late_names++;
    }
    sim_orphan_lands(sim, f);
    sim_flight_free(sim, f);
    return true;
}

bool sim_step(struct sim *sim)
{
    return sim_next(sim, SIM_NEVER);
}

void sim_run_until(struct sim *sim, uint64_t time_us)
{
    while (sim_next(sim, time_us)) {
    }
    sim->now_us = MAX(sim->now_us, time_us);
}

/* How long an operation takes: mostly 50-200 us, one in 16 up to 5 ms, a few more. */
uint64_t sim_delay(struct sim *sim, enum sim_call call)
{
    const struct sim_options *o = &sim->options;
    uint64_t dice = rng_next(&sim->rng);
    uint64_t more = dice >> 20;

    if (o->stall_one_in[call] && rng_one_in(&sim->rng, o->stall_one_in[call])) {
        return 1 + rng_below(&sim->rng, o->stall_us_max);
    }
    if (o->long_one_in && (dice & 0xffff) < 0x10000 / o->long_one_in) {
        return 5000 + more % 45000;
    }
    if ((dice >> 16 & 0xf) == 0) {
        return 200 + more % 4800;
    }
    return 50 + more % 150;
}

/* ---- Lanes --------------------------------------------------------------- */

static struct sim_lane *lane_of(struct store_lane *lane)
{
    return container_of(lane, struct sim_lane, base);
}

struct store_lane *sim_lane_new(struct store *base)
{
    struct sim_lane *lane = sim_alloc(sizeof(*lane));

    lane->base.store = base;
    list_init(&lane->queued);
    list_init(&lane->done);
    list_push(&sim_store_of(base)->lanes, &lane->node);
    return &lane->base;
}

void sim_lane_free(struct store_lane *base)
{
    struct sim_lane *lane = lane_of(base);

    assert(lane->in_flight == 0 && list_empty(&lane->done));
    list_remove(&lane->node);
    free(lane);
}

int sim_lane_fd(struct store_lane *lane)
{
    (void)lane;
    return -1;
}

static struct sim_flight *flight_of_op(struct sim_lane *lane, struct store_op *op)
{
    struct sim_store *s = sim_store_of(lane->base.store);
    struct sim_flight *f = sim_flight_new(s->sim);

    f->what = (enum sim_call)op->what;
    f->op = op;
    f->lane = lane;
    f->process = s->process;
    f->flags = op->flags;
    f->file = op->file;
    f->fence = op->fence;
    f->offset = op->offset;
    f->len = op->len;
    f->cover = s->sim->last_landing;
    return f;
}

void sim_submit(struct store_lane *base, struct store_op *op)
{
    struct sim_lane *lane = lane_of(base);
    struct sim_store *s = sim_store_of(base->store);
    struct sim_flight *f;
    enum sim_doom doom;

    if (s->dead) {
        op->res = -ESHUTDOWN;
        list_push(&lane->done, &op->node);
        return;
    }
    doom = sim_count(s, (enum sim_call)op->what);
    f = flight_of_op(lane, op);
    sim_trace_add(s->sim, f->file ^ f->offset << 20 ^ f->len << 4 ^ f->what);
    sim_submit_check(s, f);
    op->priv[0] = f;
    lane->in_flight++;
    list_push(&lane->queued, &op->node);
    if (doom == SIM_DIES_WITHIN) {
        sim_lane_start(lane);
    }
    if (doom != SIM_LIVES) {
        sim_crash_now(s->sim);
    }
}

/* Everything queued is in flight from now on. */
void sim_lane_start(struct sim_lane *lane)
{
    struct sim *sim = sim_store_of(lane->base.store)->sim;
    struct list *node;

    while ((node = list_pop(&lane->queued))) {
        struct store_op *op = list_entry(node, struct store_op, node);
        struct sim_flight *f = op->priv[0];
        bool hang = false;

        f->time_us = sim->now_us + sim_delay(sim, f->what);
        if (!f->error) {
            f->error = sim_pick_fault(sim, f->what, f->file, &hang);
        }
        if (hang) {
            f->time_us = SIM_NEVER;
        }
        sim_push(sim, f);
    }
}

void sim_kick(struct store_lane *base)
{
    sim_lane_start(lane_of(base));
}

int sim_collect(struct store_lane *base, struct list *done)
{
    struct sim_lane *lane = lane_of(base);
    struct list *node;
    int n = 0;

    for (node = lane->done.next; node != &lane->done; node = node->next) {
        n++;
    }
    list_splice(done, &lane->done);
    return n;
}

/* Waiting in a dead process: its own time passes, nothing else happens. */
static int wait_dead(struct sim_store *s, int64_t timeout_us)
{
    if (timeout_us > 0) {
        s->after_us += (uint64_t)timeout_us;
    }
    return 0;
}

static bool lane_ready(struct sim_lane *lane)
{
    if (list_empty(&lane->done) && !lane->woken) {
        return false;
    }
    lane->woken = false;
    return true;
}

int sim_wait(struct store_lane *base, int64_t timeout_us)
{
    struct sim_lane *lane = lane_of(base);
    struct sim_store *s = sim_store_of(base->store);
    struct sim *sim = s->sim;
    uint64_t limit_us = timeout_us < 0 ? SIM_NEVER : sim->now_us + (uint64_t)timeout_us;

    sim_kick(base);
    for (;;) {
        uint64_t completions = s->completions;

        if (lane_ready(lane)) {
            return 1;
        }
        if (s->dead) {
            return wait_dead(s, timeout_us);
        }
        if (!sim_next(sim, limit_us)) {
            if (timeout_us >= 0) {
                sim->now_us = MAX(sim->now_us, limit_us);
                return 0;
            }
            if (lane->in_flight == 0 || !sim_release_lane(sim, lane)) {
                break;
            }
        } else if (s->completions != completions && list_empty(&lane->done)) {
            return 0;
        }
    }
    return 0;
}

void sim_wake(struct store_lane *base)
{
    lane_of(base)->woken = true;
}
