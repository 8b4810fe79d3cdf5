/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each operation does to the disk, at the instant of its completion, and which
 * operations break the contract, at the instant of their submission.
 */
#include "store/sim_private.h"

#include <assert.h>
#include <errno.h>

/* ---- The contract -------------------------------------------------------- */

static void refuse(struct sim_store *s, struct sim_flight *f, const char *what)
{
    f->refused = true;
    f->error = -EINVAL;
    sim_note_misuse(s->sim, what, f->file);
}

static bool is_name(uint64_t id)
{
    return store_segno(id) != 0 && id <= (STORE_MOVED | STORE_SEGNO_MAX);
}

/* Was ID the name of a file that was removed a short while ago? */
static bool was_name(const struct sim *sim, uint64_t id)
{
    const struct sim_files *lists[] = { &sim->ghosts, &sim->pool };

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (size_t j = 0; j < lists[i]->n; j++) {
            if (lists[i]->v[j]->id == id) {
                return true;
            }
        }
    }
    return false;
}

static void check_append(struct sim_store *s, struct sim_flight *f)
{
    struct sim_file *file = sim_find(s->sim, f->file);
    uint32_t align = s->base.append_align;

    if (f->len == 0 || !IS_ALIGNED(f->offset, align) || !IS_ALIGNED(f->len, align)) {
        refuse(s, f, "append: offset or length is not aligned");
    } else if (!IS_ALIGNED((uintptr_t)f->op->buf, STORE_BUF_ALIGN)) {
        refuse(s, f, "append: the buffer is not aligned");
    } else if ((f->flags & STORE_FENCE) && !(f->flags & STORE_DURABLE)) {
        refuse(s, f, "append: STORE_FENCE without STORE_DURABLE");
    } else if (!file) {
        return;     /* removed by another process, say: perform tells */
    } else if (file->creator != s->process) {
        refuse(s, f, "append: to a file that somebody else made");
    } else if (file->sealed) {
        refuse(s, f, "append: after the seal");
    } else if (f->offset != file->next_offset) {
        refuse(s, f, "append: not at the end of what was appended");
    } else {
        f->found = true;
        file->next_offset += f->len;
        file->appends++;
    }
}

/* Look at F, just submitted by S; marks the file where order of submission counts. */
void sim_submit_check(struct sim_store *s, struct sim_flight *f)
{
    struct sim_file *file;

    if ((s->flags & SIM_OPEN_READ_ONLY) && f->what != SIM_PREAD) {
        f->refused = true;
        f->error = -EROFS;
        return;
    }
    switch (f->what) {
    case SIM_APPEND:
        check_append(s, f);
        return;
    case SIM_SEAL:
        file = sim_find(s->sim, f->file);
        if (file && file->creator == s->process) {
            file->sealed = true;
        }
        return;
    case SIM_CREATE:
        if (!is_name(f->file)) {
            refuse(s, f, "create: not a file id");
        } else if (was_name(s->sim, f->file)) {
            refuse(s, f, "create: an id used before");
        }
        return;
    case SIM_SYNC:
        file = sim_find(s->sim, f->file);
        if (s->base.tail_again && file && file->creator != s->process) {
            refuse(s, f, "sync: of a file that another store made");
        }
        return;
    case SIM_PREAD:
    case SIM_REMOVE:
    case SIM_PREPARE:
    case SIM_LOOK:
        return;
    default:
        refuse(s, f, "submit: no such operation");
    }
}

/* ---- Names and room ------------------------------------------------------ */

static void discard(struct sim *sim, struct sim_file *f)
{
    sim->used_bytes -= f->room;
    sim_file_free(f);
}

static bool has_room(const struct sim *sim, uint64_t bytes)
{
    return !sim->options.disk_bytes || sim->used_bytes + bytes <= sim->options.disk_bytes;
}

/* Room for BYTES more, at the cost of the pool. */
static bool make_room(struct sim *sim, uint64_t bytes)
{
    while (!has_room(sim, bytes) && sim->pool.n) {
        discard(sim, sim_files_take(&sim->pool, 0));
    }
    return has_room(sim, bytes);
}

static bool wants_reuse(struct sim *sim, uint64_t room)
{
    if (!sim->pool.n || sim->options.reuse == SIM_REUSE_NEVER) {
        return false;
    }
    return sim->options.reuse == SIM_REUSE_ALWAYS || !has_room(sim, room) ||
           rng_one_in(&sim->rng, 2);
}

/*
 * Take a spare file out of the pool.  Bytes of its last life that were not durable
 * become so: which of them show through is undefined anyway.
 */
static struct sim_file *reuse(struct sim *sim)
{
    struct sim_file *f;

    f = sim_files_take(&sim->pool, rng_below(&sim->rng, sim->pool.n));
    sim_file_settle(f);
    f->base_len = f->len;
    f->next_offset = 0;
    f->appends = 0;
    f->sealed = f->broken = f->name_pending = false;
    return f;
}

/* Make the file, new or of the pool: 0, or -ENOSPC.  The name is free. */
int sim_create_file(struct sim *sim, uint64_t id, uint64_t size, uint32_t process)
{
    uint64_t room = sim->options.thin ? 0 : size;
    struct sim_file *f;

    if (wants_reuse(sim, room)) {
        f = reuse(sim);
        sim->stats.creates_reused++;
    } else {
        f = sim_file_new(0);
        sim->stats.creates_fresh++;
    }
    if (room > f->room) {
        if (!make_room(sim, room - f->room)) {
            discard(sim, f);
            return -ENOSPC;
        }
        sim->used_bytes += room - f->room;
        f->room = room;
    }
    f->id = id;
    f->creator = f->writer = process;
    sim_insert(sim, f);
    return 0;
}

static bool keeps_spares(const struct sim *sim)
{
    return sim->options.reuse != SIM_REUSE_NEVER && !sim->options.thin &&
           sim->pool.n < SIM_POOL_FILES;
}

/* Remove a file for PROCESS (0: a dead one); its room may go to the pool. */
void sim_remove_file(struct sim *sim, uint64_t id, uint32_t process)
{
    struct sim_file *f = sim_detach(sim, id);
    bool clean;

    if (!f) {
        return;
    }
    clean = f->creator == process && f->sealed && !f->broken && f->appends == 0;
    f->writer = 0;
    f->name_pending = true;
    if (clean && keeps_spares(sim)) {
        sim_files_push(&sim->pool, f);
        return;
    }
    sim->used_bytes -= f->room;
    sim_files_push(&sim->ghosts, f);
    if (sim->ghosts.n > SIM_GHOSTS) {
        sim_file_free(sim_files_take(&sim->ghosts, 0));
    }
}

/* A create makes its directory durable: what else was pending may be durable too. */
static void names_settle(struct sim *sim)
{
    for (size_t i = sim->ghosts.n; i > 0; i--) {
        if (rng_one_in(&sim->rng, 2)) {
            sim_file_free(sim_files_take(&sim->ghosts, i - 1));
        }
    }
    for (size_t i = 0; i < sim->pool.n; i++) {
        if (rng_one_in(&sim->rng, 2)) {
            sim->pool.v[i]->name_pending = false;
        }
    }
}

/* ---- Operations ---------------------------------------------------------- */

static int do_create(struct sim *sim, struct sim_flight *f)
{
    struct sim_file *file;
    int r;

    if (f->error == -EIO && rng_one_in(&sim->rng, 2) && !sim_find(sim, f->file)) {
        if (sim_create_file(sim, f->file, f->len, f->process) == 0) {
            sim_find(sim, f->file)->name_pending = true;
        }
    }
    file = sim_find(sim, f->file);
    if (f->error && file && file->name_pending && file->creator == f->process) {
        return -EIO;        /* whatever failed this time, its own earlier try is there */
    }
    if (f->error) {
        return f->error;
    }
    if (file && file->name_pending && file->creator == f->process) {
        file->name_pending = false;     /* made by its own try of unknown outcome */
        names_settle(sim);
        return 0;
    }
    if (file) {
        return -EEXIST;
    }
    r = sim_create_file(sim, f->file, f->len, f->process);
    if (r == 0) {
        names_settle(sim);
    }
    return r;
}

/* How much of the append F the disk can take into FILE. */
static uint64_t append_fits(const struct sim *sim, const struct sim_file *file,
                            const struct sim_flight *f)
{
    uint64_t disk = sim->options.disk_bytes;
    uint64_t end = file->room + disk - MIN(disk, sim->used_bytes);

    if (!disk || f->offset + f->len <= end) {
        return f->len;
    }
    return f->offset < end ? ALIGN_DOWN(end - f->offset, SIM_SECTOR) : 0;
}

void sim_append_tears(struct sim *sim, const struct sim_flight *f, bool durable)
{
    struct sim_file *file = sim_find(sim, f->file);
    uint64_t len;

    if (!file || file->writer != f->process || !f->found) {
        return;
    }
    file->broken = true;
    len = append_fits(sim, file, f);
    if (len) {
        sim_land_torn(sim, file, f->offset, f->op ? f->op->buf : f->data, len, durable);
    }
}

/* SIM_BUG_SYNC_EARLY: what completes now is durable a while later. */
static void durable_later(struct sim *sim, const struct sim_flight *f, uint64_t cover)
{
    struct sim_flight *later = sim_flight_new(sim);

    later->what = SIM_SYNC;
    later->durability = true;
    later->file = f->file;
    later->process = f->process;
    later->cover = cover;
    later->time_us = sim->now_us + 1000 + rng_below(&sim->rng, 19000);
    sim_push(sim, later);
}

static int fence_check(struct sim *sim, const struct sim_flight *f)
{
    if ((!(f->flags & STORE_FENCE) && f->what != SIM_LOOK) ||
        (sim->bugs & SIM_BUG_FENCE_IGNORED)) {
        return 0;
    }
    for (size_t i = 0; i < sim->files.n; i++) {
        uint64_t id = sim->files.v[i]->id;

        if (id >= f->fence && !(id & STORE_MOVED)) {
            sim->stats.fenced++;
            return -ESTALE;
        }
    }
    return 0;
}

static void append_lands(struct sim *sim, struct sim_file *file, struct sim_flight *f)
{
    bool wanted = f->flags & STORE_DURABLE;
    bool durable = wanted &&
        !(sim->bugs & (SIM_BUG_SYNC_SKIPPED | SIM_BUG_SYNC_EARLY));

    sim_land(sim, file, f->offset, f->op->buf, f->len, durable);
    if (durable && rng_one_in(&sim->rng, 4)) {
        sim_file_sync(sim, file, f->process, f->cover);     /* it may do more */
    }
    if (wanted && (sim->bugs & SIM_BUG_SYNC_EARLY)) {
        durable_later(sim, f, sim->last_landing);
    }
}

static int do_append(struct sim *sim, struct sim_flight *f)
{
    struct sim_file *file = sim_find(sim, f->file);

    if (!f->found) {
        return -ENOENT;
    }
    if (!file) {
        return f->error;    /* removed meanwhile, by another process: into the void */
    }
    file->appends--;
    if (file->writer != f->process) {
        file->broken = true;
        return -EIO;
    }
    if (!f->error && append_fits(sim, file, f) < f->len) {
        f->error = -ENOSPC;
    }
    if (f->error) {
        sim_append_tears(sim, f, false);
        return f->error;
    }
    append_lands(sim, file, f);
    return f->flags & STORE_DURABLE ? fence_check(sim, f) : 0;
}

static int do_sync(struct sim *sim, struct sim_flight *f)
{
    struct sim_file *file = sim_find(sim, f->file);
    int r = fence_check(sim, f);

    if (!file) {
        return r < 0 ? r : -ENOENT;
    }
    if (f->error) {
        sim_file_sync_failed(sim, file, f->process, f->cover);
        return f->error;
    }
    if (sim->bugs & SIM_BUG_SYNC_EARLY) {
        durable_later(sim, f, f->cover);
    } else if (!(sim->bugs & SIM_BUG_SYNC_SKIPPED)) {
        sim_file_sync(sim, file, f->process, f->cover);
    }
    return r;
}

static int do_pread(struct sim *sim, struct sim_flight *f)
{
    struct sim_file *file = sim_find(sim, f->file);

    if (f->error) {
        return f->error;
    }
    if (!file) {
        return -ENOENT;
    }
    return (int)sim_file_read(file, f->offset, f->op->buf, f->len);
}

static int do_remove(struct sim *sim, struct sim_flight *f)
{
    if (!f->error || (f->error == -EIO && rng_one_in(&sim->rng, 2))) {
        sim_remove_file(sim, f->file, f->process);
    }
    return f->error;
}

static int do_prepare(struct sim *sim, struct sim_flight *f)
{
    struct sim_file *file;

    if (f->error) {
        return f->error;
    }
    if (!keeps_spares(sim) || !has_room(sim, f->len * (1 + STORE_PREPARE_KEEPS))) {
        return 0;
    }
    file = sim_file_new(0);
    file->len = file->durable_len = file->room = f->len;
    sim->used_bytes += f->len;
    sim_files_push(&sim->pool, file);
    return 1;
}

/* F completes: its effect and its result. */
int sim_perform(struct sim *sim, struct sim_flight *f)
{
    if (f->refused) {
        return f->error;
    }
    switch (f->what) {
    case SIM_CREATE:
        return do_create(sim, f);
    case SIM_APPEND:
        return do_append(sim, f);
    case SIM_SYNC:
        return do_sync(sim, f);
    case SIM_SEAL:
        return f->error ? f->error : sim_find(sim, f->file) ? 0 : -ENOENT;
    case SIM_PREAD:
        return do_pread(sim, f);
    case SIM_REMOVE:
        return do_remove(sim, f);
    case SIM_LOOK:
        return f->error ? f->error : fence_check(sim, f);
    case SIM_PREPARE:
        return do_prepare(sim, f);
    default:
        assert(!"sim_perform: no such operation");
        return -EINVAL;
    }
}

/* What a dead process had in flight takes effect, or what a sync left undone. */
void sim_orphan_lands(struct sim *sim, struct sim_flight *f)
{
    struct sim_file *file = sim_find(sim, f->file);

    if (f->durability) {
        if (file) {
            sim_file_sync(sim, file, f->process, f->cover);
        }
    } else if (f->what == SIM_APPEND) {
        sim_append_tears(sim, f, false);
    } else if (f->what == SIM_CREATE && !file) {
        if (sim_create_file(sim, f->file, f->len, f->process) == 0) {
            sim_find(sim, f->file)->name_pending = true;
        }
    } else if (f->what == SIM_REMOVE && file) {
        sim_remove_file(sim, f->file, 0);
    }
}
