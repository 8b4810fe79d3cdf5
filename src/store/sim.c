/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulated disk, its clocks and its processes.
 */
#include "store/sim_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIM_WALL_START 1767225600000000u        /* 2026-01-01T00:00:00Z */

void *sim_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (!p) {
        abort();
    }
    return p;
}

/* ARRAY with room for WANTED elements of SIZE; what is new in it is zero. */
void *sim_grow(void *array, size_t *max, size_t wanted, size_t size)
{
    size_t n = *max;

    if (wanted <= n) {
        return array;
    }
    n = MAX(n * 2, MAX(wanted, (size_t)4));
    array = realloc(array, n * size);
    if (!array) {
        abort();
    }
    memset((char *)array + *max * size, 0, (n - *max) * size);
    *max = n;
    return array;
}

void sim_trace_add(struct sim *sim, uint64_t value)
{
    sim->trace = (sim->trace ^ value) * 0x9E3779B97F4A7C15u;
    sim->trace ^= sim->trace >> 29;
}

void sim_note_misuse(struct sim *sim, const char *what, uint64_t file)
{
    if (!sim->misuse[0]) {
        (void)snprintf(sim->misuse, sizeof(sim->misuse), "%s (file %llu, call %llu)",
                       what, (unsigned long long)file, (unsigned long long)sim->calls);
    }
}

/* ---- Clocks -------------------------------------------------------------- */

static uint64_t clock_sim_monotonic(const struct clock *c)
{
    return container_of(c, struct sim, clock)->now_us;
}

static uint64_t clock_sim_wall(const struct clock *c)
{
    return SIM_WALL_START + clock_sim_monotonic(c);
}

static uint64_t store_now(const struct sim_store *s)
{
    return s->dead ? s->died_us + s->after_us : s->sim->now_us;
}

static uint64_t clock_store_monotonic(const struct clock *c)
{
    return store_now(container_of(c, struct sim_store, clock));
}

static uint64_t clock_store_wall(const struct clock *c)
{
    const struct sim_store *s = container_of(c, struct sim_store, clock);

    return SIM_WALL_START + store_now(s) + (uint64_t)s->skew_us;
}

const struct clock *sim_clock(struct sim *sim)
{
    return &sim->clock;
}

uint64_t sim_now(const struct sim *sim)
{
    return sim->now_us;
}

void sim_set_wall_skew(struct store *s, int64_t skew_us)
{
    sim_store_of(s)->skew_us = skew_us;
}

/* ---- Disk ---------------------------------------------------------------- */

struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = sim_alloc(sizeof(*sim));

    sim->clock.monotonic_us = clock_sim_monotonic;
    sim->clock.wall_us = clock_sim_wall;
    sim->rng.state = seed;
    sim->now_us = 1000000;
    sim->options.stall_us_max = 3000000;
    sim->options.long_one_in = 128;
    sim->options.undo_remove_one_in = 4;
    sim->options.late_us_max = 500000;
    sim->options.append_align = SIM_SECTOR;
    sim->cut_time_us = SIM_NEVER;
    sim->doom_call = SIM_NO_CALL;
    list_init(&sim->stores);
    return sim;
}

static void files_free(struct sim_files *l)
{
    for (size_t i = 0; i < l->n; i++) {
        sim_file_free(l->v[i]);
    }
    free(l->v);
}

static uint64_t files_check(const struct sim_files *l)
{
    uint64_t room = 0;

    for (size_t i = 0; i < l->n; i++) {
        const struct sim_file *f = l->v[i];

        assert(f->durable_len <= f->len);
        assert(f->len <= f->room);
        room += f->room;
    }
    return room;
}

/* What holds between any two calls. */
static void sim_check(const struct sim *sim)
{
    uint64_t room = files_check(&sim->files) + files_check(&sim->pool);

    (void)files_check(&sim->ghosts);
    assert(room == sim->used_bytes);
    for (size_t i = 1; i < sim->files.n; i++) {
        assert(sim->files.v[i - 1]->id < sim->files.v[i]->id);
    }
}

void sim_free(struct sim *sim)
{
    if (!sim) {
        return;
    }
    sim_check(sim);
    assert(list_empty(&sim->stores));
    for (size_t i = 0; i < sim->n_heap; i++) {
        sim_flight_free(sim, sim->heap[i]);
    }
    while (sim->free_flights) {
        struct sim_flight *f = sim->free_flights;

        sim->free_flights = f->next;
        free(f);
    }
    files_free(&sim->files);
    files_free(&sim->pool);
    files_free(&sim->ghosts);
    for (size_t i = 0; i < sim->n_small; i++) {
        free(sim->small[i].data);
    }
    free(sim->small);
    free(sim->locks);
    free(sim->heap);
    free(sim);
}

static void files_copy(struct sim_files *to, const struct sim_files *from)
{
    for (size_t i = 0; i < from->n; i++) {
        sim_files_push(to, sim_file_copy(from->v[i]));
    }
}

struct sim *sim_fork(const struct sim *sim, uint64_t seed)
{
    struct sim *copy = sim_new(seed);

    copy->now_us = sim->now_us;
    copy->cut = sim->cut;
    copy->options = sim->options;
    copy->bugs = sim->bugs;
    copy->used_bytes = sim->used_bytes;
    copy->last_process = sim->last_process;
    copy->last_landing = sim->last_landing;
    files_copy(&copy->files, &sim->files);
    files_copy(&copy->pool, &sim->pool);
    files_copy(&copy->ghosts, &sim->ghosts);
    copy->small = sim_alloc(sim->n_small * sizeof(*copy->small));
    copy->n_small = sim->n_small;
    for (size_t i = 0; i < sim->n_small; i++) {
        copy->small[i] = sim->small[i];
        copy->small[i].data = sim_alloc(sim->small[i].len);
        memcpy(copy->small[i].data, sim->small[i].data, sim->small[i].len);
    }
    return copy;
}

/* ---- Processes ----------------------------------------------------------- */

static void sim_store_free(struct store *base)
{
    struct sim_store *s = sim_store_of(base);

    assert(list_empty(&s->lanes));
    if (!s->dead) {
        sim_unlock(s->sim, s->process, false);
    }
    list_remove(&s->node);
    free(s);
}

static const struct store_ops sim_store_ops = {
    .free = sim_store_free,
    .lane_new = sim_lane_new,
    .lane_free = sim_lane_free,
    .lane_fd = sim_lane_fd,
    .submit = sim_submit,
    .kick = sim_kick,
    .collect = sim_collect,
    .wait = sim_wait,
    .wake = sim_wake,
    .list = sim_list,
    .highest = sim_highest,
    .recover = sim_recover,
    .get = sim_get,
    .put = sim_put,
    .holder_alive = sim_holder_alive,
    .enlist = sim_enlist,
    .resign = sim_resign,
    .stat = sim_stat,
    .destroy = sim_destroy,
};

int sim_store_open(struct sim *sim, unsigned flags, struct store **ret)
{
    struct sim_store *s;

    if (sim->cut) {
        return -ESHUTDOWN;
    }
    if ((flags & SIM_OPEN_CREATE) && (sim->files.n || sim->pool.n || sim->n_small)) {
        return -EEXIST;
    }
    s = sim_alloc(sizeof(*s));
    s->sim = sim;
    s->process = ++sim->last_process;
    s->flags = flags;
    s->clock.monotonic_us = clock_store_monotonic;
    s->clock.wall_us = clock_store_wall;
    s->base.ops = &sim_store_ops;
    s->base.clock = &s->clock;
    s->base.append_align = sim->options.append_align;
    s->base.tail_again = sim->options.tail_again;
    s->base.durability = "local";
    s->base.segment_part = 256;
    s->base.segment_min = MIB(4);
    s->base.segment_max = MIB(64);
    s->base.idle_close_us = sim->options.idle_close_us;
    (void)snprintf(s->base.location, sizeof(s->base.location), "sim:process-%u",
                   s->process);
    list_init(&s->lanes);
    list_push(&sim->stores, &s->node);
    *ret = &s->base;
    return 0;
}
