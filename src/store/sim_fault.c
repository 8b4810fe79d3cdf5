/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Faults of calls, damage done to files by hand, and what a test may look at.
 */
#include "store/sim_private.h"

#include <errno.h>
#include <string.h>

struct sim_options *sim_options(struct sim *sim)
{
    return &sim->options;
}

void sim_set_bug(struct sim *sim, unsigned bugs)
{
    sim->bugs = bugs;
}

const struct sim_stats *sim_stats(const struct sim *sim)
{
    return &sim->stats;
}

uint64_t sim_trace(const struct sim *sim)
{
    return sim->trace;
}

const char *sim_misuse(const struct sim *sim)
{
    return sim->misuse[0] ? sim->misuse : NULL;
}

/* ---- Faults -------------------------------------------------------------- */

static void plan_add(struct sim *sim, struct sim_plan plan)
{
    if (sim->n_plans == SIM_PLANS || plan.nth == 0) {
        sim_note_misuse(sim, "a one-shot fault that cannot be planned", plan.file);
        return;
    }
    sim->plans[sim->n_plans++] = plan;
}

void sim_fail_nth(struct sim *sim, enum sim_call call, uint64_t file, unsigned nth,
                  int error)
{
    plan_add(sim, (struct sim_plan){ call, file, nth, error });
}

void sim_hang_nth(struct sim *sim, enum sim_call call, uint64_t file, unsigned nth)
{
    plan_add(sim, (struct sim_plan){ call, file, nth, 0 });
}

/* Tick the plans that CALL concerns; is one due?  It is taken off. */
static bool plan_due(struct sim *sim, enum sim_call call, uint64_t file,
                     struct sim_plan *ret)
{
    bool due = false;
    unsigned kept = 0;

    for (unsigned i = 0; i < sim->n_plans; i++) {
        struct sim_plan *p = &sim->plans[i];

        if (p->call == call && (p->file == 0 || p->file == file) && --p->nth == 0) {
            *ret = *p;
            due = true;
        } else {
            sim->plans[kept++] = *p;
        }
    }
    sim->n_plans = kept;
    return due;
}

static bool chance(struct sim *sim, uint32_t one_in)
{
    return one_in && rng_one_in(&sim->rng, one_in);
}

int sim_pick_fault(struct sim *sim, enum sim_call call, uint64_t file, bool *ret_hang)
{
    struct sim_plan plan;
    int error = 0;

    if (sim->n_plans && plan_due(sim, call, file, &plan)) {
        error = plan.error;
        if (ret_hang) {
            *ret_hang = error == 0;
        }
    } else if (chance(sim, sim->options.eio_one_in[call])) {
        error = -EIO;
    } else if (chance(sim, sim->options.enospc_one_in[call])) {
        error = -ENOSPC;
    }
    sim->stats.faults += error != 0;
    return error;
}

unsigned sim_release_lane(struct sim *sim, const struct sim_lane *lane)
{
    unsigned n = 0;

    for (size_t i = 0; i < sim->n_heap; i++) {
        struct sim_flight *f = sim->heap[i];

        if (f->time_us == SIM_NEVER && (!lane || f->lane == lane)) {
            f->time_us = sim->now_us + sim_delay(sim, f->what);
            n++;
        }
    }
    sim_rebuild_heap(sim);
    return n;
}

unsigned sim_release(struct sim *sim)
{
    return sim_release_lane(sim, NULL);
}

/* ---- Looking ------------------------------------------------------------- */

unsigned sim_open_files(const struct sim *sim)
{
    unsigned n = 0;

    for (size_t i = 0; i < sim->files.n; i++) {
        const struct sim_file *f = sim->files.v[i];

        n += f->creator == sim->last_process && !f->sealed;
    }
    return n;
}

int64_t sim_file_len(const struct sim *sim, uint64_t file)
{
    const struct sim_file *f = sim_find(sim, file);

    return f ? (int64_t)f->len : -ENOENT;
}

int64_t sim_peek(const struct sim *sim, uint64_t file, uint64_t offset, void *buf,
                 size_t len)
{
    const struct sim_file *f = sim_find(sim, file);

    return f ? (int64_t)sim_file_read(f, offset, buf, len) : -ENOENT;
}

uint64_t sim_unsynced_bytes(const struct sim *sim, uint64_t file)
{
    const struct sim_file *f = sim_find(sim, file);
    uint64_t bytes = 0;

    for (size_t i = 0; f && i < f->n_extents; i++) {
        bytes += f->extents[i].len;
    }
    return bytes;
}

/* ---- Damage -------------------------------------------------------------- */

/* The extents of a file never lie over each other or over damage: what was not durable
 * becomes so first. */
static struct sim_file *open_up(struct sim *sim, uint64_t file)
{
    struct sim_file *f = sim_find(sim, file);

    if (f) {
        sim_file_settle(f);
    }
    return f;
}

/* The file's size was changed by hand. */
static void resettle(struct sim *sim, struct sim_file *f)
{
    uint64_t room = MAX(f->room, f->len);

    sim->used_bytes += room - f->room;
    f->room = room;
    sim_file_settle(f);
}

void sim_poke(struct sim *sim, uint64_t file, uint64_t offset, const void *buf,
              size_t len)
{
    struct sim_file *f = open_up(sim, file);

    if (!f) {
        f = sim_file_new(file);
        sim_insert(sim, f);
    }
    sim_file_write(f, offset, buf, len);
    resettle(sim, f);
}

int sim_corrupt(struct sim *sim, uint64_t file, uint64_t offset, uint8_t mask)
{
    struct sim_file *f = open_up(sim, file);
    uint8_t byte;

    if (!f || sim_file_read(f, offset, &byte, 1) == 0) {
        return f ? -EINVAL : -ENOENT;
    }
    byte ^= mask;
    sim_file_write(f, offset, &byte, 1);
    return 0;
}

int sim_truncate(struct sim *sim, uint64_t file, uint64_t len)
{
    struct sim_file *f = open_up(sim, file);

    if (!f) {
        return -ENOENT;
    }
    sim_file_cut(f, len);
    resettle(sim, f);
    return 0;
}

int sim_unlink(struct sim *sim, uint64_t file)
{
    struct sim_file *f = sim_detach(sim, file);

    if (!f) {
        return -ENOENT;
    }
    sim->used_bytes -= f->room;
    sim_file_free(f);
    return 0;
}

int sim_copy_file(struct sim *sim, uint64_t from, uint64_t to)
{
    struct sim_file *f = sim_find(sim, from);
    struct sim_file *copy;

    if (!f || from == to) {
        return f ? -EINVAL : -ENOENT;
    }
    copy = sim_file_copy(f);
    (void)sim_unlink(sim, to);
    copy->id = to;
    copy->creator = copy->writer = 0;
    copy->appends = 0;
    sim->used_bytes += copy->room;
    sim_insert(sim, copy);
    sim_file_settle(copy);
    return 0;
}
