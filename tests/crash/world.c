/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "world.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/format.h"

#define OPENS_MAX 200               /* tries of one recovery */
#define TURNS_MAX 100000            /* of one wait: beyond it, it hangs */

void (*world_open_hook)(struct world *w);
bool world_trace;

static const struct store_ops *plain_ops;
static struct store_ops hooked_ops;
static struct world *hooked_world;

/* ---- The world ------------------------------------------------------------ */

void world_say(const struct world *w, const char *format, ...)
{
    va_list args;

    if (!world_trace) {
        return;
    }
    printf("%12llu %6llu  ", (unsigned long long)sim_now(w->sim),
           (unsigned long long)sim_calls(w->sim));
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
}

static void dump_line(void *opaque, const char *line)
{
    (void)opaque;
    (void)puts(line);
}

void world_dump(struct world *w)
{
    struct store *s;

    if (!world_trace || sim_is_cut(w->sim)) {
        return;
    }
    if (sim_store_open(w->sim, SIM_OPEN_READ_ONLY, &s) == 0) {
        (void)volume_dump(s, dump_line, NULL);
    }
}

static void engine_says(void *opaque, int level, const char *text)
{
    (void)level;
    world_say(opaque, "    engine: %s", text);
}

struct world *world_new(uint64_t seed, uint64_t bytes)
{
    struct world *w = calloc(1, sizeof(*w));

    if (!w) {
        abort();
    }
    /* Buffers come and go by the thousand: keep their pages. */
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    w->seed = seed;
    w->rng.state = seed;
    w->sim = sim_new(seed);
    w->bytes = w->size = w->size_to = bytes;
    w->model = model_new(bytes);
    w->image = malloc(bytes);
    w->image2 = malloc(bytes);
    if (!w->image || !w->image2) {
        abort();
    }
    options_init(&w->options);
    w->options.log = (struct log_hook){ engine_says, w };
    return w;
}

void world_free(struct world *w)
{
    if (w->writer) {
        writer_abandon(w->writer);
    }
    sim_free(w->sim);
    model_free(w->model);
    options_done(&w->options);
    free(w->image);
    free(w->image2);
    free(w);
}

void world_fail(struct world *w, const char *format, ...)
{
    va_list args;

    if (w->failure[0]) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(w->failure, sizeof(w->failure), format, args);
    va_end(args);
    world_say(w, "FAILED: %s", w->failure);
}

bool world_failed(const struct world *w)
{
    return w->failure[0];
}

void world_check_misuse(struct world *w)
{
    if (sim_misuse(w->sim)) {
        world_fail(w, "the store's contract was broken: %s", sim_misuse(w->sim));
    }
}

/* ---- Between two calls of an open ----------------------------------------- */

static void hook(void)
{
    struct world *w = hooked_world;

    if (w && world_open_hook) {
        hooked_world = NULL;        /* not while it is at work itself */
        world_open_hook(w);
        hooked_world = w;
    }
}

static int hooked_list(struct store *s, uint64_t kind, uint64_t from, store_list_fn fn,
                       void *opaque)
{
    hook();
    return plain_ops->list(s, kind, from, fn, opaque);
}

static int hooked_highest(struct store *s, uint64_t kind, uint64_t *ret_file)
{
    hook();
    return plain_ops->highest(s, kind, ret_file);
}

static int hooked_recover(struct store *s, uint64_t file, uint64_t *ret_len)
{
    hook();
    return plain_ops->recover(s, file, ret_len);
}

static int hooked_enlist(struct store *s, uint64_t epoch)
{
    hook();
    return plain_ops->enlist(s, epoch);
}

static int hooked_wait(struct store_lane *lane, int64_t timeout_us)
{
    hook();
    return plain_ops->wait(lane, timeout_us);
}

static void hook_store(struct store *s)
{
    plain_ops = s->ops;
    hooked_ops = *plain_ops;
    hooked_ops.list = hooked_list;
    hooked_ops.highest = hooked_highest;
    hooked_ops.recover = hooked_recover;
    hooked_ops.enlist = hooked_enlist;
    hooked_ops.wait = hooked_wait;
    s->ops = &hooked_ops;
}

/* ---- Opening and ending --------------------------------------------------- */

static int store_get_open(struct world *w, unsigned flags, struct store **ret)
{
    if (sim_is_cut(w->sim)) {
        sim_power_on(w->sim);
    }
    return sim_store_open(w->sim, flags, ret);
}

/* Who opens the volume finds SIZE: may it be that? */
static void size_check(struct world *w, uint64_t size)
{
    if (size != w->size && size != w->size_to) {
        world_fail(w, "the volume has %llu bytes, where %llu or %llu were promised",
                   (unsigned long long)size, (unsigned long long)w->size,
                   (unsigned long long)w->size_to);
    }
    w->size = w->size_to = size;
}

int world_open(struct world *w, bool force, struct writer **ret)
{
    struct writer *x = calloc(1, sizeof(*x));
    bool was = w->options.force;
    int res;

    if (!x) {
        abort();
    }
    x->world = w;
    res = store_get_open(w, 0, &x->store);
    if (res == 0) {
        if (world_open_hook) {
            hook_store(x->store);
            hooked_world = w;
        }
        w->options.force = force;
        res = volume_open(x->store, VOLUME_MANUAL, &w->options, &x->v);
        w->options.force = was;
        hooked_world = NULL;
        world_say(w, "open%s: %s", force ? " by force" : "", res < 0 ? error_text() :
                  "done");
    }
    if (res == 0 && queue_new(x->v, SLOTS, &x->q) < 0) {
        abort();
    }
    if (res == 0) {
        size_check(w, volume_size(x->v));
    }
    if (res < 0) {
        free(x);
        return res;
    }
    *ret = x;
    return 0;
}

static void writer_done(struct writer *x)
{
    if (x->world->writer == x) {
        x->world->writer = NULL;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        free(x->slots[i].buf);
    }
    free(x);
}

void writer_abandon(struct writer *x)
{
    world_say(x->world, "abandon%s", writer_dead(x) ? " (dead)" : "");
    queue_free(x->q);
    volume_abandon(x->v);
    writer_done(x);
}

int writer_close(struct writer *x)
{
    int res;

    world_say(x->world, "close");
    queue_free(x->q);
    res = volume_close(x->v);
    writer_done(x);
    return res;
}

bool writer_dead(const struct writer *x)
{
    return sim_is_dead(x->store);
}

/* ---- Requests ------------------------------------------------------------- */

unsigned writer_busy(const struct writer *x)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        n += x->slots[i].busy;
    }
    return n;
}

static struct slot *slot_free(struct writer *x)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (!x->slots[i].busy) {
            return &x->slots[i];
        }
    }
    return NULL;
}

static bool error_expected(const struct writer *x, const struct slot *s, int result)
{
    if (x->stranger) {
        return true;
    }
    switch (result) {
    case -ENOSPC:
        return sim_options(x->world->sim)->disk_bytes != 0 || x->world->faults;
    case -EIO:
        return x->world->faults;
    case -ESTALE:
        return x->challenged;
    case -EINVAL:       /* a resize has overtaken it */
        return s->offset + s->len > world_limit(x->world);
    default:
        return false;
    }
}

/* S was answered by a living process. */
static void slot_answered(struct writer *x, struct slot *s, int result)
{
    struct world *w = x->world;

    world_say(w, "answer %s%llu: %s", x->stranger ? "(stranger) " : "",
              (unsigned long long)s->id, result < 0 ? error_name(result) : "done");
    s->busy = false;
    w->enospc += result == -ENOSPC;
    if (result < 0 && !error_expected(x, s, result)) {
        world_fail(w, "request %llu (kind %d, %llu bytes at %llu) failed: %s",
                   (unsigned long long)s->id, (int)s->kind, (unsigned long long)s->len,
                   (unsigned long long)s->offset, error_name(result));
    }
    if (s->kind == REQUEST_READ) {
        if (result == 0 && !x->stranger &&
            !model_check_read(w->model, s->offset, s->len, s->began, s->buf)) {
            world_fail(w, "%s", model_error(w->model));
        }
        return;
    }
    if (s->kind == REQUEST_RESIZE && !x->stranger) {
        if (result == 0) {
            w->size = w->size_to;
        } else if (volume_size(x->v) == w->size) {
            w->size_to = w->size;       /* it never came into the log */
        }
    }
    if (x->stranger && result == 0 && x->written && s->kind == REQUEST_FLUSH) {
        world_fail(w, "a fenced writer's flush was answered with success");
    }
    model_answer(w->model, s->id, result);
    if (s->buf) {
        memset(s->buf, 0xa5, s->len);       /* it is the guest's again */
    }
}

static void writer_reap(struct writer *x)
{
    struct hlfs_completion c[SLOTS];
    int n = queue_reap(x->q, c, SLOTS, 0);

    for (int i = 0; i < n; i++) {
        if (!writer_dead(x)) {      /* else nobody has seen the answer */
            slot_answered(x, c[i].tag, c[i].result);
        }
    }
}

void writer_turn(struct writer *x, int64_t timeout_us)
{
    if (writer_dead(x)) {
        return;
    }
    (void)volume_turn(x->v, timeout_us);
    writer_reap(x);
}

void writer_run(struct writer *x, uint64_t us)
{
    uint64_t until = sim_now(x->world->sim) + us;

    while (!writer_dead(x) && sim_now(x->world->sim) < until) {
        writer_turn(x, (int64_t)(until - sim_now(x->world->sim)));
    }
}

static void settle_to(struct writer *x, unsigned busy)
{
    for (unsigned i = 0; writer_busy(x) > busy && !writer_dead(x); i++) {
        if (i == TURNS_MAX) {
            world_fail(x->world, "requests hang");
            return;
        }
        writer_turn(x, 100000);
    }
}

void writer_settle(struct writer *x)
{
    settle_to(x, 0);
}

/* A resize zeroes what it cuts off; one that cuts nothing off flushes. */
static enum model_kind model_kind_of(enum request_kind kind, uint64_t len)
{
    return kind == REQUEST_WRITE ? MODEL_WRITE :
           kind == REQUEST_FLUSH || len == 0 ? MODEL_FLUSH : MODEL_ZERO;
}

static void slot_begin(struct writer *x, struct slot *s, unsigned flags)
{
    struct world *w = x->world;

    if (!s->buf && s->len > 0) {
        s->buf = malloc(REQUEST_MAX);
        if (!s->buf) {
            abort();
        }
    }
    s->began = model_now(w->model);
    if (s->kind == REQUEST_READ) {
        return;
    }
    s->id = x->stranger ? model_stranger(w->model) :
            model_submit(w->model, model_kind_of(s->kind, s->len), s->offset, s->len,
                         flags & HLFS_FUA);
    if (s->kind == REQUEST_WRITE) {
        model_fill(s->buf, s->id, s->offset, s->len);
    }
}

void writer_submit(struct writer *x, enum request_kind kind, uint64_t offset,
                   uint64_t len, unsigned flags)
{
    struct request_args a = {
        .kind = kind, .len = len, .offset = offset, .flags = flags,
    };
    struct world *w = x->world;
    struct slot *s;
    int res;

    settle_to(x, SLOTS - 1);
    s = slot_free(x);
    if (!s || writer_dead(x) || world_failed(w) || !model_has_room(w->model)) {
        return;
    }
    s->kind = kind;
    s->offset = offset;
    s->len = len;
    slot_begin(x, s, flags);
    a.buf = s->buf;
    a.tag = s;
    world_say(w, "submit %s%llu: kind %d, %llu bytes at %llu%s", x->stranger ?
              "(stranger) " : "", (unsigned long long)s->id, (int)kind,
              (unsigned long long)len, (unsigned long long)offset, flags ? ", fua" : "");
    s->busy = true;
    if (kind == REQUEST_RESIZE) {
        a.len = 0;
    }
    res = queue_submit(x->q, &a);
    if (res != 0 && !writer_dead(x)) {
        slot_answered(x, s, MIN(res, 0));
    }
    x->written |= x->stranger && res >= 0 && kind != REQUEST_READ &&
                  kind != REQUEST_FLUSH;
}

uint64_t world_limit(const struct world *w)
{
    return MIN(w->size, w->size_to);
}

void writer_resize(struct writer *x, uint64_t size)
{
    struct world *w = x->world;
    uint64_t cut = w->size - MIN(size, w->size);

    if (x->stranger || writer_dead(x) || world_failed(w) || w->size != w->size_to ||
        size == w->size || !model_has_room(w->model) || cut > REQUEST_MAX) {
        return;
    }
    w->size_to = size;
    writer_submit(x, REQUEST_RESIZE, size, cut, HLFS_SHRINK);
}

/* ---- Whole images --------------------------------------------------------- */

int world_image(struct world *w, struct hlfs *v, uint64_t step, uint8_t *image)
{
    uint64_t size = MIN(volume_size(v), w->bytes);

    memset(image + size, 0, w->bytes - size);
    for (uint64_t at = 0; at < size; at += step) {
        struct request_args a = {
            .kind = REQUEST_READ, .buf = image + at, .offset = at,
            .len = MIN(step, size - at),
        };
        int res = volume_call(v, &a);

        if (res < 0) {
            return res;
        }
    }
    return 0;
}

static int image_read(struct world *w, struct hlfs *v, uint8_t *image)
{
    return world_image(w, v, KIB(64) + rng_below(&w->rng, 16) * KIB(64), image);
}

void world_check_rest(struct world *w)
{
    struct writer *x = w->writer;
    int res;

    writer_settle(x);
    if (writer_dead(x) || world_failed(w)) {
        return;
    }
    res = image_read(w, x->v, w->image);
    if (writer_dead(x) || (w->faults && res == -EIO)) {
        return;
    }
    if (res < 0) {
        world_fail(w, "the volume at rest cannot be read: %s", error_name(res));
    } else if (!model_check_rest(w->model, w->image)) {
        world_fail(w, "at rest: %s", model_error(w->model));
    }
}

/* The content as a process that only reads sees it: 0, or an error. */
static int reader_image(struct world *w, uint8_t *image)
{
    struct store *s;
    struct hlfs *v;
    int res = store_get_open(w, SIM_OPEN_READ_ONLY, &s);

    if (res == 0) {
        res = volume_open(s, VOLUME_RDONLY | VOLUME_MANUAL, &w->options, &v);
    }
    if (res == 0) {
        res = image_read(w, v, image);
        (void)volume_close(v);
    }
    return res;
}

void world_check_reader(struct world *w)
{
    uint64_t now = model_now(w->model);
    int res = reader_image(w, w->image);

    if (sim_is_cut(w->sim) || res == -ESTALE || (res == -EIO && w->faults)) {
        return;
    }
    if (res < 0) {
        world_fail(w, "a reader beside the writer fails: %s: %s", error_name(res),
                   error_text());
    } else if (!model_check_prefix(w->model, w->image, now)) {
        world_fail(w, "a reader beside the writer: %s", model_error(w->model));
    }
}

/* ---- Creation and recovery ------------------------------------------------ */

static void faults_end(struct world *w)
{
    struct sim_options *o = sim_options(w->sim);

    memset(o->eio_one_in, 0, sizeof(o->eio_one_in));
    memset(o->enospc_one_in, 0, sizeof(o->enospc_one_in));
    memset(o->stall_one_in, 0, sizeof(o->stall_one_in));
    w->faults = false;
}

/* Open or create failed with RES: may it be tried again? */
static bool try_again(struct world *w, const char *what, int res)
{
    struct sim_options *o = sim_options(w->sim);

    if (sim_is_cut(w->sim) || res == -ESHUTDOWN) {
        return true;
    }
    if (w->faults) {
        faults_end(w);
        return true;
    }
    if (res == -ENOSPC && o->disk_bytes) {
        o->disk_bytes += 4 * w->options.segment_bytes;  /* each open that fails costs two */
        return true;
    }
    world_check_misuse(w);
    world_fail(w, "%s failed: %s: %s", what, error_name(res), error_text());
    world_dump(w);
    return false;
}

static void half_made_remove(struct world *w)
{
    struct store *s;

    if (store_get_open(w, 0, &s) == 0) {
        (void)store_destroy(s);
        store_free(s);
    }
}

void world_create(struct world *w)
{
    for (int i = 0; i < OPENS_MAX && !w->exists && !world_failed(w); i++) {
        struct identity id;
        struct store *s;
        int res = store_get_open(w, 0, &s);

        if (res == 0) {
            res = volume_create(s, w->bytes, VOLUME_MANUAL, &w->options);
        }
        if (res < 0 && !try_again(w, "create", res)) {
            return;
        }
        /* A create that failed or was cut may have come to its end all the same. */
        res = store_get_open(w, SIM_OPEN_READ_ONLY, &s);
        if (res == 0) {
            w->exists = volume_identity(s, &id) == 0;
            store_free(s);
        }
        if (!w->exists) {
            half_made_remove(w);
        }
    }
}

/*
 * A crash is no damage: a rescue shows what a reader has just seen (w->image2), and no
 * losses.  It looks at a copy of the disk, so that the schedule is the same without it.
 */
static void rescue_check(struct world *w)
{
    struct sim *disk = sim_fork(w->sim, w->seed);
    struct rng rng = w->rng;
    struct store *s;
    struct hlfs *v = NULL;
    uint64_t losses = 0;
    int res;

    memset(sim_options(disk)->eio_one_in, 0, sizeof(sim_options(disk)->eio_one_in));
    res = sim_store_open(disk, SIM_OPEN_READ_ONLY, &s);
    if (res == 0) {
        res = volume_open(s, VOLUME_RDONLY | VOLUME_RESCUE | VOLUME_MANUAL, &w->options, &v);
    }
    if (res == 0) {
        res = image_read(w, v, w->image);
        losses = volume_losses(v);
        (void)volume_close(v);
    }
    w->rng = rng;
    sim_free(disk);
    if (res < 0 || losses > 0) {
        world_fail(w, "a rescue after a crash: %s, %llu losses (%s)", error_name(res),
                   (unsigned long long)losses, error_text());
    } else if (memcmp(w->image, w->image2, w->bytes) != 0) {
        world_fail(w, "a rescue after a crash shows something else than a reader");
    }
}

static bool images_agree(struct world *w)
{
    for (uint64_t at = 0; at < w->bytes; at += MODEL_UNIT) {
        if (memcmp(w->image + at, w->image2 + at, MODEL_UNIT) != 0) {
            uint64_t ids[2];

            memcpy(&ids[0], w->image + at, 8);
            memcpy(&ids[1], w->image2 + at, 8);
            world_fail(w, "at offset %llu the writer sees request %llu, a reader just "
                       "before saw %llu", (unsigned long long)at,
                       (unsigned long long)ids[0], (unsigned long long)ids[1]);
            return false;
        }
    }
    return true;
}

void world_recover(struct world *w, bool ro)
{
    for (int i = 0; i < OPENS_MAX && !world_failed(w); i++) {
        bool seen = false;
        int res = 0;

        if (ro) {
            res = reader_image(w, w->image2);
            seen = res == 0;
        }
        if (seen) {
            rescue_check(w);
        }
        if (res == 0) {
            res = world_open(w, false, &w->writer);
        }
        if (res == 0) {
            res = image_read(w, w->writer->v, w->image);
            if (res < 0) {
                bool dead = writer_dead(w->writer);

                writer_abandon(w->writer);
                if (dead) {
                    continue;
                }
            }
        }
        if (res == 0) {
            if (seen && !images_agree(w)) {
                return;
            }
            if (!model_check_crash(w->model, w->image)) {
                world_fail(w, "after recovery: %s", model_error(w->model));
            }
            return;
        }
        if (!try_again(w, "recovery", res)) {
            return;
        }
    }
    world_fail(w, "recovery fails again and again");
}
