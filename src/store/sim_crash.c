/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Death of a process, loss of power, and the planning and counting of both.
 */
#include "store/sim_private.h"

#include <errno.h>
#include <string.h>

const char *sim_call_name(enum sim_call call)
{
    static const char *const names[SIM_CALLS] = {
        [SIM_CREATE] = "create", [SIM_APPEND] = "append", [SIM_SYNC] = "sync",
        [SIM_SEAL] = "seal", [SIM_PREAD] = "pread", [SIM_REMOVE] = "remove",
        [SIM_PREPARE] = "prepare", [SIM_LOOK] = "look", [SIM_LIST] = "list",
        [SIM_HIGHEST] = "highest",
        [SIM_RECOVER] = "recover", [SIM_GET] = "get", [SIM_PUT] = "put",
        [SIM_HOLDER_ALIVE] = "holder_alive", [SIM_ENLIST] = "enlist",
        [SIM_RESIGN] = "resign", [SIM_STAT] = "stat", [SIM_DESTROY] = "destroy",
        [SIM_NO_CALL] = "between calls",
    };

    return names[call];
}

/* ---- Counting ------------------------------------------------------------ */

uint64_t sim_calls(const struct sim *sim)
{
    return sim->calls;
}

void sim_cut_at(struct sim *sim, uint64_t call)
{
    sim->cut_call = call;
}

void sim_cut_at_time(struct sim *sim, uint64_t time_us)
{
    sim->cut_time_us = time_us;
}

void sim_kill_at(struct store *s, uint64_t call)
{
    sim_store_of(s)->kill_call = call;
}

/* Count a call of S; says whether a planned crash falls on it: then the caller calls
 * sim_crash_now(), before the call takes effect or with it in flight. */
enum sim_doom sim_count(struct sim_store *s, enum sim_call call)
{
    struct sim *sim = s->sim;

    if (call == SIM_PREAD && !sim->options.count_reads) {
        return SIM_LIVES;
    }
    sim->calls++;
    if (sim->calls == sim->cut_call) {
        sim->cut_call = 0;
        sim->doom_store = NULL;
    } else if (sim->calls == s->kill_call) {
        s->kill_call = 0;
        sim->doom_store = s;
    } else {
        return SIM_LIVES;
    }
    sim->doom_call = call;
    sim->doom = rng_one_in(&sim->rng, 2) ? SIM_DIES_BEFORE : SIM_DIES_WITHIN;
    return sim->doom;
}

void sim_set_census(struct sim *sim, struct sim_census *c)
{
    sim->census = c;
    sim->situations = 0;
}

void sim_set_situation(struct sim *sim, const char *name, bool on)
{
    struct sim_census *c = sim->census;
    unsigned i = 0;

    if (!c) {
        return;
    }
    while (i < c->situations && strcmp(c->situation[i].name, name) != 0) {
        i++;
    }
    if (i == SIM_SITUATIONS) {
        sim_note_misuse(sim, "too many situations", 0);
        return;
    }
    if (i == c->situations) {
        c->situation[i].name = name;
        c->situation[i].cuts = 0;
        c->situations++;
    }
    if (on) {
        sim->situations |= (uint64_t)1 << i;
    } else {
        sim->situations &= ~((uint64_t)1 << i);
    }
}

uint64_t sim_cuts_in(const struct sim_census *c, const char *name)
{
    for (unsigned i = 0; i < c->situations; i++) {
        if (strcmp(c->situation[i].name, name) == 0) {
            return c->situation[i].cuts;
        }
    }
    return 0;
}

static void census_add(struct sim *sim, enum sim_call call)
{
    struct sim_census *c = sim->census;

    if (!c) {
        return;
    }
    c->cuts++;
    c->in_flight += sim->doom == SIM_DIES_WITHIN;
    c->by_call[call]++;
    for (unsigned i = 0; i < c->situations; i++) {
        c->situation[i].cuts += sim->situations >> i & 1;
    }
}

/* ---- Death of a process -------------------------------------------------- */

static void store_dies(struct sim_store *s)
{
    struct sim *sim = s->sim;
    struct sim_lane *lane;

    s->dead = true;
    s->died_us = sim->now_us;
    sim_unlock(sim, s->process, false);
    list_for_each(lane, &s->lanes, node) {
        struct list *node;

        while ((node = list_pop(&lane->queued))) {
            struct store_op *op = list_entry(node, struct store_op, node);

            sim_deliver(sim, op->priv[0], -ESHUTDOWN);
        }
    }
    for (size_t i = 0; i < sim->files.n; i++) {
        struct sim_file *f = sim->files.v[i];

        if (f->creator == s->process && f->appends) {
            f->broken = true;
        }
    }
}

/* The flight F goes on without its process and lands later. */
static void flight_late(struct sim *sim, const struct sim_flight *f)
{
    struct sim_flight *late = sim_flight_new(sim);
    uint64_t serial = late->serial;

    *late = *f;
    late->serial = serial;
    late->op = NULL;
    late->lane = NULL;
    late->time_us = sim->now_us + 1 + rng_below(&sim->rng, sim->options.late_us_max + 1);
    if (f->what == SIM_APPEND) {
        late->data = sim_alloc(f->len);
        memcpy(late->data, f->op->buf, f->len);
    }
    sim_push(sim, late);
}

/* SIM-3: F takes effect now, later or not; appends always in part. */
static void flight_orphaned(struct sim *sim, struct sim_flight *f)
{
    uint64_t dice = rng_below(&sim->rng, 4);

    if (f->refused) {
        return;
    }
    if (f->what == SIM_APPEND) {
        if (dice < 2) {
            flight_late(sim, f);
        } else {
            sim_append_tears(sim, f, false);
        }
    } else if (f->what == SIM_CREATE || f->what == SIM_REMOVE) {
        if (dice < 2) {
            flight_late(sim, f);
        } else if (dice == 2) {
            sim_orphan_lands(sim, f);
        }
    }
}

void sim_kill(struct store *base)
{
    struct sim_store *s = sim_store_of(base);
    struct sim *sim = s->sim;
    struct sim_flight **all = sim->heap;
    size_t n = sim->n_heap;

    if (s->dead) {
        return;
    }
    sim->heap = NULL;
    sim->n_heap = sim->max_heap = 0;
    store_dies(s);
    for (size_t i = 0; i < n; i++) {
        struct sim_flight *f = all[i];

        if (f->op && f->process == s->process) {
            flight_orphaned(sim, f);
            sim_deliver(sim, f, -ESHUTDOWN);
        } else {
            sim_push(sim, f);
        }
    }
    free(all);
}

bool sim_is_dead(const struct store *s)
{
    return container_of(s, struct sim_store, base)->dead;
}

/* ---- Loss of power ------------------------------------------------------- */

static struct sim_mood mood_make(struct sim *sim)
{
    uint64_t dice = rng_below(&sim->rng, 8);
    uint64_t first = UINT64_MAX;

    if (dice < 4) {
        return (struct sim_mood){ .kind = SIM_EACH };
    }
    if (dice < 6) {
        return (struct sim_mood){ .kind = dice == 4 ? SIM_KEEP_ALL : SIM_LOSE_ALL };
    }
    for (size_t i = 0; i < sim->files.n; i++) {
        if (sim->files.v[i]->n_extents) {
            first = MIN(first, sim->files.v[i]->extents[0].serial);
        }
    }
    if (first == UINT64_MAX) {
        return (struct sim_mood){ .kind = SIM_EACH };
    }
    return (struct sim_mood){
        .kind = SIM_IN_ORDER,
        .last = first - 1 + rng_below(&sim->rng, sim->last_landing - first + 2),
    };
}

static void files_lose(struct sim *sim, struct sim_files *l, const struct sim_mood *mood)
{
    for (size_t i = 0; i < l->n; i++) {
        sim_file_lose(sim, l->v[i], mood);
    }
}

static void flights_cut(struct sim *sim, const struct sim_mood *mood)
{
    while (sim->n_heap) {
        struct sim_flight *f = sim->heap[--sim->n_heap];
        bool lands = !f->refused && mood->kind != SIM_LOSE_ALL;

        if (lands && f->what == SIM_APPEND) {
            sim_append_tears(sim, f, true);
        } else if (lands && f->what != SIM_SYNC && rng_one_in(&sim->rng, 2)) {
            sim_orphan_lands(sim, f);
        }
        if (f->op) {
            sim_deliver(sim, f, -ESHUTDOWN);
        } else {
            sim_flight_free(sim, f);
        }
    }
}

/* SIM-4: a removed file, out of its list, is back or gone. */
static void ghost_settle(struct sim *sim, struct sim_file *f, bool in_pool)
{
    uint32_t chance = sim->options.undo_remove_one_in;

    if (chance && !sim_find(sim, f->id) && rng_one_in(&sim->rng, chance)) {
        sim->used_bytes += in_pool ? 0 : f->room;
        f->name_pending = false;
        sim_insert(sim, f);
        sim->stats.removes_undone++;
    } else if (in_pool) {
        f->name_pending = false;
        sim_files_push(&sim->pool, f);
    } else {
        sim_file_free(f);
    }
}

/* Changes of names that are not durable happened or did not. */
static void names_cut(struct sim *sim)
{
    for (size_t i = sim->files.n; i > 0; i--) {
        struct sim_file *f = sim->files.v[i - 1];

        if (f->name_pending && rng_one_in(&sim->rng, 2)) {
            (void)sim_files_take(&sim->files, i - 1);
            sim->used_bytes -= f->room;
            sim_file_free(f);
        } else {
            f->name_pending = false;
        }
    }
    for (size_t i = sim->pool.n; i > 0; i--) {
        if (sim->pool.v[i - 1]->name_pending) {
            ghost_settle(sim, sim_files_take(&sim->pool, i - 1), true);
        }
    }
    while (sim->ghosts.n) {
        ghost_settle(sim, sim_files_take(&sim->ghosts, 0), false);
    }
}

/* CALL is the one it falls on, for the census. */
void sim_cut_power(struct sim *sim, enum sim_call call)
{
    struct sim_mood mood = mood_make(sim);
    struct sim_store *s;

    census_add(sim, call);
    files_lose(sim, &sim->files, &mood);
    files_lose(sim, &sim->pool, &mood);
    files_lose(sim, &sim->ghosts, &mood);
    flights_cut(sim, &mood);
    names_cut(sim);
    list_for_each(s, &sim->stores, node) {
        if (!s->dead) {
            store_dies(s);
        }
    }
    sim->cut = true;
    sim_trace_add(sim, sim->used_bytes);
}

void sim_power_cut(struct sim *sim)
{
    if (!sim->cut) {
        sim_cut_power(sim, SIM_NO_CALL);
    }
}

void sim_crash_now(struct sim *sim)
{
    struct sim_store *s = sim->doom_store;

    if (s) {
        census_add(sim, sim->doom_call);
        sim_kill(&s->base);
    } else {
        sim_cut_power(sim, sim->doom_call);
    }
    sim->doom = SIM_LIVES;
    sim->doom_call = SIM_NO_CALL;
    sim->doom_store = NULL;
}

void sim_power_on(struct sim *sim)
{
    if (sim->cut) {
        sim->cut = false;
        sim->now_us += 1000000 + rng_below(&sim->rng, 1000000);
    }
}

bool sim_is_cut(const struct sim *sim)
{
    return sim->cut;
}
