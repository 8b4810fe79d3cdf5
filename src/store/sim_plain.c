/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plain calls: each takes a moment of virtual time, in which other things happen,
 * and then its effect at once.
 */
#include "store/sim_private.h"

#include <errno.h>
#include <string.h>

/* ---- The frame of every call --------------------------------------------- */

/* Let the call's time pass and count it: 0, or the error that the call has. */
static int plain_begin(struct sim_store *s, enum sim_call call, uint64_t file)
{
    struct sim *sim = s->sim;

    if (s->dead) {
        return -ESHUTDOWN;
    }
    sim_run_until(sim, sim->now_us + 20 + rng_below(&sim->rng, 180));
    if (s->dead) {
        return -ESHUTDOWN;
    }
    if (sim_count(s, call) == SIM_DIES_BEFORE) {
        sim_crash_now(sim);
        return -ESHUTDOWN;
    }
    sim_trace_add(sim, file ^ (uint64_t)call << 48);
    return sim_pick_fault(sim, call, file, NULL);
}

/* May the call take effect?  With an unknown outcome, and in flight, chance decides. */
static bool plain_happens(struct sim *sim, int r)
{
    if (r == -EIO || (r == 0 && sim->doom == SIM_DIES_WITHIN)) {
        return rng_one_in(&sim->rng, 2);
    }
    return r == 0;
}

/* The result R, unless the call was the last of its process. */
static int plain_end(struct sim_store *s, int r)
{
    if (s->sim->doom == SIM_DIES_WITHIN) {
        sim_crash_now(s->sim);
    }
    if (s->dead) {
        return -ESHUTDOWN;
    }
    sim_trace_add(s->sim, (uint64_t)(int64_t)r);
    return r;
}

static int begin_change(struct sim_store *s, enum sim_call call, uint64_t file)
{
    int r = plain_begin(s, call, file);

    return r == 0 && (s->flags & SIM_OPEN_READ_ONLY) ? -EROFS : r;
}

/* ---- Files --------------------------------------------------------------- */

int sim_list(struct store *base, uint64_t kind, uint64_t from, store_list_fn fn,
             void *opaque)
{
    struct sim_store *s = sim_store_of(base);
    uint64_t id = MAX(kind, from);
    int r = plain_begin(s, SIM_LIST, from);

    while (r >= 0) {
        /* FN may change the files: look anew each time. */
        size_t i = sim_position(s->sim, id);

        if (i == s->sim->files.n || s->sim->files.v[i]->id > (kind | STORE_SEGNO_MAX)) {
            break;
        }
        id = s->sim->files.v[i]->id + 1;
        r = fn(opaque, id - 1);
    }
    return plain_end(s, MIN(r, 0));
}

int sim_highest(struct store *base, uint64_t kind, uint64_t *ret_file)
{
    struct sim_store *s = sim_store_of(base);
    int r = plain_begin(s, SIM_HIGHEST, kind);

    if (r == 0) {
        size_t i = sim_position(s->sim, (kind | STORE_SEGNO_MAX) + 1);

        if (i > 0 && s->sim->files.v[i - 1]->id >= kind) {
            *ret_file = s->sim->files.v[i - 1]->id;
        } else {
            r = -ENOENT;
        }
    }
    return plain_end(s, r);
}

/* No append to FILE lands any more: those in flight are decided now. */
static void stop_writers(struct sim *sim, struct sim_file *file)
{
    for (size_t i = 0; i < sim->n_heap; i++) {
        struct sim_flight *f = sim->heap[i];

        if (f->what == SIM_APPEND && f->file == file->id) {
            sim_append_tears(sim, f, false);
        }
    }
    file->writer = 0;
}

int sim_recover(struct store *base, uint64_t file, uint64_t *ret_len)
{
    struct sim_store *s = sim_store_of(base);
    int r = begin_change(s, SIM_RECOVER, file);
    struct sim_file *f = sim_find(s->sim, file);

    if (r == 0 && !f) {
        r = -ENOENT;
    }
    if (f && plain_happens(s->sim, r) && !s->sim->options.recover_only_looks) {
        stop_writers(s->sim, f);
    }
    if (r == 0) {
        *ret_len = f->len;
    }
    return plain_end(s, r);
}

static struct sim_small *small_find(struct sim *sim, const char *name)
{
    for (size_t i = 0; i < sim->n_small; i++) {
        if (strcmp(sim->small[i].name, name) == 0) {
            return &sim->small[i];
        }
    }
    return NULL;
}

int sim_get(struct store *base, const char *name, void *buf, size_t size)
{
    struct sim_store *s = sim_store_of(base);
    int r = plain_begin(s, SIM_GET, 0);
    struct sim_small *small = small_find(s->sim, name);

    if (r == 0 && !small) {
        r = -ENOENT;
    }
    if (r == 0) {
        size = MIN(size, small->len);
        memcpy(buf, small->data, size);
        r = (int)size;
    }
    return plain_end(s, r);
}

static void small_add(struct sim *sim, const char *name, const void *buf, size_t len)
{
    struct sim_small *small;

    sim->small = realloc(sim->small, (sim->n_small + 1) * sizeof(*sim->small));
    if (!sim->small) {
        abort();
    }
    small = &sim->small[sim->n_small++];
    memset(small, 0, sizeof(*small));
    memcpy(small->name, name, strlen(name));
    small->data = sim_alloc(len);
    memcpy(small->data, buf, len);
    small->len = len;
}

int sim_put(struct store *base, const char *name, const void *buf, size_t len)
{
    struct sim_store *s = sim_store_of(base);
    int r = begin_change(s, SIM_PUT, 0);

    if (r == 0 && strlen(name) >= sizeof(s->sim->small->name)) {
        r = -ENAMETOOLONG;
    }
    if (r == 0 && small_find(s->sim, name)) {
        r = -EEXIST;
    }
    if (plain_happens(s->sim, r) && !small_find(s->sim, name)) {
        small_add(s->sim, name, buf, len);
    }
    return plain_end(s, r);
}

/* ---- Locks --------------------------------------------------------------- */

/* PROCESS lets go of its locks; a dead one leaves their files behind. */
void sim_unlock(struct sim *sim, uint32_t process, bool remove)
{
    for (size_t i = sim->n_locks; i > 0; i--) {
        struct sim_lock *l = &sim->locks[i - 1];

        if (l->owner != process) {
            continue;
        }
        l->owner = 0;
        if (remove) {
            *l = sim->locks[--sim->n_locks];
        }
    }
}

static struct sim_lock *lock_highest(struct sim *sim)
{
    struct sim_lock *best = NULL;

    for (size_t i = 0; i < sim->n_locks; i++) {
        if (!best || sim->locks[i].epoch > best->epoch) {
            best = &sim->locks[i];
        }
    }
    return best;
}

int sim_holder_alive(struct store *base)
{
    struct sim_store *s = sim_store_of(base);
    int r = plain_begin(s, SIM_HOLDER_ALIVE, 0);
    struct sim_lock *l = lock_highest(s->sim);

    if (r == 0) {
        r = l && l->owner;
    }
    return plain_end(s, r);
}

/* The lock of EPOCH is PROCESS's.  Lower ones are gone, whoever held them, and higher
 * ones: nobody does (else sim_enlist() would have refused). */
static void lock_take(struct sim *sim, uint64_t epoch, uint32_t process)
{
    sim->locks = realloc(sim->locks, sizeof(*sim->locks));
    if (!sim->locks) {
        abort();
    }
    sim->locks[0] = (struct sim_lock){ .epoch = epoch, .owner = process };
    sim->n_locks = 1;
}

int sim_enlist(struct store *base, uint64_t epoch)
{
    struct sim_store *s = sim_store_of(base);
    int r = begin_change(s, SIM_ENLIST, epoch);
    struct sim_lock *l = lock_highest(s->sim);

    if (r == 0 && l && l->epoch >= epoch && l->owner && l->owner != s->process) {
        r = -EEXIST;
    }
    if (plain_happens(s->sim, r)) {
        lock_take(s->sim, epoch, s->process);
    }
    return plain_end(s, r);
}

void sim_resign(struct store *base)
{
    struct sim_store *s = sim_store_of(base);

    if (plain_happens(s->sim, begin_change(s, SIM_RESIGN, 0))) {
        sim_unlock(s->sim, s->process, true);
    }
    (void)plain_end(s, 0);
}

/* ---- The whole ----------------------------------------------------------- */

int sim_stat(struct store *base, struct store_stat *ret)
{
    struct sim_store *s = sim_store_of(base);
    struct sim *sim = s->sim;
    int r = plain_begin(s, SIM_STAT, 0);

    if (r == 0) {
        uint64_t disk = sim->options.disk_bytes;

        *ret = (struct store_stat){
            .free_bytes = !disk ? UINT64_MAX : disk - MIN(disk, sim->used_bytes),
            .pool_files = sim->pool.n,
            .thin = sim->options.thin,
        };
        for (size_t i = 0; i < sim->pool.n; i++) {
            ret->pool_bytes += sim->pool.v[i]->room;
        }
    }
    return plain_end(s, r);
}

/* Remove the files, all of them or those that chance picks; identity last. */
static void wipe(struct sim *sim, bool all)
{
    for (size_t i = sim->files.n; i > 0; i--) {
        if (all || rng_one_in(&sim->rng, 2)) {
            sim_remove_file(sim, sim->files.v[i - 1]->id, 0);
        }
    }
    while (all && sim->pool.n) {
        struct sim_file *f = sim_files_take(&sim->pool, 0);

        sim->used_bytes -= f->room;
        sim_file_free(f);
    }
    while (all && sim->ghosts.n) {
        sim_file_free(sim_files_take(&sim->ghosts, 0));
    }
    while (all && sim->n_small) {
        free(sim->small[--sim->n_small].data);
    }
    if (all) {
        sim->n_locks = 0;
    }
}

int sim_destroy(struct store *base)
{
    struct sim_store *s = sim_store_of(base);
    int r = begin_change(s, SIM_DESTROY, 0);

    if (r == 0 || r == -EIO) {
        wipe(s->sim, r == 0 && s->sim->doom != SIM_DIES_WITHIN);
    }
    return plain_end(s, r);
}
