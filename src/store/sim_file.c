/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of simulated files: sparse content, writes that land, syncs, and what a
 * power cut leaves of them.
 *
 * A file has one content, what a reader sees.  Each landed write that is not durable is
 * an extent which keeps what lay under it, so that nothing is paid per sector before
 * the power is cut.
 */
#include "store/sim_private.h"

#include <assert.h>
#include <string.h>

/* ---- Lists of files ------------------------------------------------------ */

struct sim_file *sim_file_new(uint64_t id)
{
    struct sim_file *f = sim_alloc(sizeof(*f));

    f->id = id;
    return f;
}

void sim_file_free(struct sim_file *f)
{
    for (size_t i = 0; i < f->n_chunks; i++) {
        free(f->chunks[i]);
    }
    for (size_t i = 0; i < f->n_extents; i++) {
        free(f->extents[i].old);
    }
    free(f->chunks);
    free(f->extents);
    free(f);
}

static void *bytes_copy(const void *p, size_t len)
{
    void *copy = NULL;

    if (p) {
        copy = sim_alloc(len);
        memcpy(copy, p, len);
    }
    return copy;
}

struct sim_file *sim_file_copy(const struct sim_file *f)
{
    struct sim_file *copy = bytes_copy(f, sizeof(*f));

    copy->chunks = sim_alloc(f->n_chunks * sizeof(*f->chunks));
    for (size_t i = 0; i < f->n_chunks; i++) {
        copy->chunks[i] = bytes_copy(f->chunks[i], SIM_CHUNK);
    }
    copy->extents = sim_alloc(f->n_extents * sizeof(*f->extents));
    copy->max_extents = f->n_extents;
    for (size_t i = 0; i < f->n_extents; i++) {
        copy->extents[i] = f->extents[i];
        copy->extents[i].old = bytes_copy(f->extents[i].old, f->extents[i].len);
    }
    return copy;
}

size_t sim_position(const struct sim *sim, uint64_t id)
{
    size_t low = 0, high = sim->files.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (sim->files.v[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct sim_file *sim_find(const struct sim *sim, uint64_t id)
{
    size_t i = sim_position(sim, id);

    return i < sim->files.n && sim->files.v[i]->id == id ? sim->files.v[i] : NULL;
}

void sim_files_push(struct sim_files *l, struct sim_file *f)
{
    l->v = sim_grow(l->v, &l->max, l->n + 1, sizeof(*l->v));
    l->v[l->n++] = f;
}

struct sim_file *sim_files_take(struct sim_files *l, size_t i)
{
    struct sim_file *f = l->v[i];

    memmove(&l->v[i], &l->v[i + 1], (--l->n - i) * sizeof(*l->v));
    return f;
}

void sim_insert(struct sim *sim, struct sim_file *f)
{
    size_t i = sim_position(sim, f->id);

    assert(i == sim->files.n || sim->files.v[i]->id != f->id);
    sim_files_push(&sim->files, f);
    memmove(&sim->files.v[i + 1], &sim->files.v[i],
            (sim->files.n - 1 - i) * sizeof(*sim->files.v));
    sim->files.v[i] = f;
}

struct sim_file *sim_detach(struct sim *sim, uint64_t id)
{
    size_t i = sim_position(sim, id);

    if (i == sim->files.n || sim->files.v[i]->id != id) {
        return NULL;
    }
    return sim_files_take(&sim->files, i);
}

/* ---- Content ------------------------------------------------------------- */

/* Returns how many bytes there were. */
size_t sim_file_read(const struct sim_file *f, uint64_t offset, void *buf, size_t len)
{
    uint8_t *to = buf;

    if (offset >= f->len) {
        return 0;
    }
    len = MIN(len, f->len - offset);
    for (size_t done = 0; done < len;) {
        size_t i = (offset + done) / SIM_CHUNK;
        size_t at = (offset + done) % SIM_CHUNK;
        size_t n = MIN(len - done, SIM_CHUNK - at);

        if (i < f->n_chunks && f->chunks[i]) {
            memcpy(to + done, f->chunks[i] + at, n);
        } else {
            memset(to + done, 0, n);
        }
        done += n;
    }
    return len;
}

/* BUF NULL: zeros.  Leaves f->len alone. */
static void content_set(struct sim_file *f, uint64_t offset, const uint8_t *buf,
                        uint64_t len)
{
    for (uint64_t done = 0; done < len;) {
        size_t i = (offset + done) / SIM_CHUNK;
        size_t at = (offset + done) % SIM_CHUNK;
        size_t n = MIN(len - done, SIM_CHUNK - at);

        if (buf) {
            f->chunks = sim_grow(f->chunks, &f->n_chunks, i + 1, sizeof(*f->chunks));
            if (!f->chunks[i]) {
                f->chunks[i] = sim_alloc(SIM_CHUNK);
            }
            memcpy(f->chunks[i] + at, buf + done, n);
        } else if (i < f->n_chunks && f->chunks[i]) {
            memset(f->chunks[i] + at, 0, n);
        }
        done += n;
    }
}

void sim_file_write(struct sim_file *f, uint64_t offset, const void *buf, size_t len)
{
    content_set(f, offset, buf, len);
    f->len = MAX(f->len, offset + len);
}

/* Shorten F to LEN, keeping the rule that bytes above are zero. */
void sim_file_cut(struct sim_file *f, uint64_t len)
{
    if (len < f->len) {
        content_set(f, len, NULL, f->len - len);
    }
    f->len = len;
}

void sim_file_settle(struct sim_file *f)
{
    for (size_t i = 0; i < f->n_extents; i++) {
        free(f->extents[i].old);
    }
    f->n_extents = 0;
    f->durable_len = f->len;
}

/* ---- Tears --------------------------------------------------------------- */

struct sim_tear sim_tear_make(struct rng *rng, uint64_t sectors)
{
    static const uint8_t dice[16] = {
        SIM_WHOLE, SIM_WHOLE, SIM_WHOLE, SIM_WHOLE, SIM_NOTHING, SIM_NOTHING,
        SIM_NOTHING, SIM_NOTHING, SIM_PREFIX, SIM_PREFIX, SIM_PREFIX, SIM_SUFFIX,
        SIM_SUFFIX, SIM_HOLE, SIM_HOLE, SIM_SUBSET,
    };
    struct sim_tear t = { .shape = (enum sim_shape)dice[rng_below(rng, 16)] };

    if (sectors < 2) {
        t.shape = rng_one_in(rng, 2) ? SIM_WHOLE : SIM_NOTHING;
    } else if (t.shape == SIM_HOLE && sectors < 3) {
        t.shape = SIM_PREFIX;
    }
    if (t.shape == SIM_PREFIX || t.shape == SIM_SUFFIX) {
        t.from = 1 + rng_below(rng, sectors - 1);
    } else if (t.shape == SIM_HOLE) {
        t.from = 1 + rng_below(rng, sectors - 2);
        t.to = t.from + 1 + rng_below(rng, sectors - 1 - t.from);
    } else if (t.shape == SIM_SUBSET) {
        t.salt = rng_next(rng);
    }
    return t;
}

static bool tear_keeps(const struct sim_tear *t, uint64_t sector)
{
    struct rng bits = { t->salt ^ sector << 32 };

    switch (t->shape) {
    case SIM_WHOLE:
        return true;
    case SIM_PREFIX:
        return sector < t->from;
    case SIM_SUFFIX:
        return sector >= t->from;
    case SIM_HOLE:
        return sector < t->from || sector >= t->to;
    case SIM_SUBSET:
        return rng_next(&bits) & 1;
    default:
        return false;
    }
}

/* The next run of sectors that T keeps (or loses), from *POS on of SECTORS. */
static bool tear_run(const struct sim_tear *t, bool kept, uint64_t sectors,
                     uint64_t *pos, uint64_t *ret_start)
{
    while (*pos < sectors && tear_keeps(t, *pos) != kept) {
        (*pos)++;
    }
    *ret_start = *pos;
    while (*pos < sectors && tear_keeps(t, *pos) == kept) {
        (*pos)++;
    }
    return *pos > *ret_start;
}

/* ---- Landing ------------------------------------------------------------- */

static void charge(struct sim *sim, struct sim_file *f)
{
    if (f->len > f->room) {
        sim->used_bytes += f->len - f->room;
        f->room = f->len;
    }
}

/* The bytes are there; they are durable at once or may be lost. */
void sim_land(struct sim *sim, struct sim_file *f, uint64_t offset, const void *buf,
              size_t len, bool durable)
{
    struct sim_extent *e;

    if (!durable) {
        f->extents = sim_grow(f->extents, &f->max_extents, f->n_extents + 1,
                              sizeof(*f->extents));
        e = &f->extents[f->n_extents++];
        *e = (struct sim_extent){ .offset = offset, .len = (uint32_t)len,
                                  .serial = ++sim->last_landing };
        if (offset < f->base_len) {
            e->old = sim_alloc(len);
            (void)sim_file_read(f, offset, e->old, len);
        }
    }
    sim_file_write(f, offset, buf, len);
    if (durable) {
        f->durable_len = MAX(f->durable_len, offset + len);
    }
    charge(sim, f);
}

/* The same for the sectors of the write that chance leaves. */
void sim_land_torn(struct sim *sim, struct sim_file *f, uint64_t offset,
                   const void *buf, size_t len, bool durable)
{
    uint64_t sectors = DIV_ROUND_UP(len, SIM_SECTOR);
    struct sim_tear t = sim_tear_make(&sim->rng, sectors);
    uint64_t pos = 0, start;

    sim->stats.flight_shapes[t.shape]++;
    while (tear_run(&t, true, sectors, &pos, &start)) {
        uint64_t from = start * SIM_SECTOR;

        sim_land(sim, f, offset + from, (const uint8_t *)buf + from,
                 MIN(len, pos * SIM_SECTOR) - from, durable);
    }
}

/* ---- Syncs --------------------------------------------------------------- */

static void extent_settled(struct sim_file *f, struct sim_extent *e)
{
    f->durable_len = MAX(f->durable_len, e->offset + e->len);
    free(e->old);
}

/*
 * A sync by PROCESS: what landed up to COVER is durable; of what landed later chance
 * takes some along.
 */
void sim_file_sync(struct sim *sim, struct sim_file *f, uint32_t process, uint64_t cover)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n_extents; i++) {
        struct sim_extent *e = &f->extents[i];
        bool durable = e->serial <= cover || rng_one_in(&sim->rng, 2);

        if (durable && e->dropped_by != process) {
            extent_settled(f, e);
        } else {
            f->extents[kept++] = *e;
        }
    }
    f->n_extents = kept;
    f->name_pending = false;
}

/* SIM-5: some is durable, some may still become so, some never will. */
void sim_file_sync_failed(struct sim *sim, struct sim_file *f, uint32_t process,
                          uint64_t cover)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n_extents; i++) {
        struct sim_extent *e = &f->extents[i];
        uint64_t dice = rng_below(&sim->rng, 3);

        if (dice == 0 && e->serial <= cover) {
            extent_settled(f, e);
            continue;
        }
        if (dice == 1 && e->serial <= cover && !sim->options.sync_eio_keeps) {
            e->dropped_by = process;
        }
        f->extents[kept++] = *e;
    }
    f->n_extents = kept;
}

/* ---- Loss ---------------------------------------------------------------- */

static struct sim_tear extent_tear(struct sim *sim, const struct sim_extent *e,
                                   const struct sim_mood *mood)
{
    struct sim_tear whole = { .shape = SIM_WHOLE };
    struct sim_tear nothing = { .shape = SIM_NOTHING };

    if (e->dropped_by || mood->kind == SIM_LOSE_ALL) {
        return nothing;
    }
    if (mood->kind == SIM_KEEP_ALL) {
        return whole;
    }
    if (mood->kind == SIM_IN_ORDER && e->serial != mood->last + 1) {
        return e->serial <= mood->last ? whole : nothing;
    }
    return sim_tear_make(&sim->rng, e->len / SIM_SECTOR);
}

/* Put back what lay under the lost sectors of E; returns the end of the last kept. */
static uint64_t extent_lose(struct sim_file *f, const struct sim_extent *e,
                            const struct sim_tear *t)
{
    uint64_t sectors = e->len / SIM_SECTOR;
    uint64_t pos = 0, start, end = 0;

    while (tear_run(t, false, sectors, &pos, &start)) {
        uint64_t from = start * SIM_SECTOR;

        content_set(f, e->offset + from, e->old ? e->old + from : NULL,
                    (pos - start) * SIM_SECTOR);
    }
    pos = 0;
    while (tear_run(t, true, sectors, &pos, &start)) {
        end = e->offset + pos * SIM_SECTOR;
    }
    return end;
}

/* The power is cut: decide about each extent of F; what is left is durable. */
void sim_file_lose(struct sim *sim, struct sim_file *f, const struct sim_mood *mood)
{
    uint64_t len = f->durable_len;

    if (f->n_extents == 0) {
        return;
    }
    /* A file may get its size and not its bytes: zeros. */
    if (rng_one_in(&sim->rng, 4)) {
        struct sim_extent *e = &f->extents[rng_below(&sim->rng, f->n_extents)];

        len = MAX(len, e->offset + e->len);
    }
    for (size_t i = f->n_extents; i > 0; i--) {     /* newest first: see old */
        struct sim_extent *e = &f->extents[i - 1];
        struct sim_tear t = extent_tear(sim, e, mood);
        uint64_t end = extent_lose(f, e, &t);

        sim->stats.cut_shapes[t.shape]++;
        len = MAX(len, end);
    }
    sim_file_cut(f, len);
    sim_file_settle(f);
}
