/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "simvol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/util.h"

#define STEPS 72u               /* flushed ones */
#define DIRTY_STEPS 24u
#define STATES_MAX (2 * (STEPS + DIRTY_STEPS) + 2)

static void options_small(struct hlfs_options *o)
{
    options_init(o);
    o->block_bytes = SIMVOL_BLOCK_BYTES;
    o->segment_bytes = SIMVOL_SEGMENT_BYTES;
    o->cache_bytes = o->dirty_bytes = MIB(4);
}

int simvol_open(struct sim *sim, unsigned flags, struct hlfs **ret)
{
    struct hlfs_options o;
    struct store *s;
    int res = sim_store_open(sim, flags & VOLUME_RDONLY ? SIM_OPEN_READ_ONLY : 0, &s);

    options_small(&o);
    return res < 0 ? res : volume_open(s, flags | VOLUME_MANUAL, &o, ret);
}

int simvol_call(struct hlfs *v, enum request_kind kind, void *buf, uint64_t len,
                uint64_t offset)
{
    const struct request_args a = {
        .kind = kind, .buf = buf, .len = len, .offset = offset,
    };

    return volume_call(v, &a);
}

static void state_add(struct simvol *s, const uint8_t *bytes, uint64_t seq)
{
    struct simvol_state *state = &s->states[s->count++];

    assert_true(s->count <= STATES_MAX);
    state->seq = seq;
    state->bytes = malloc(SIMVOL_BYTES);
    assert_non_null(state->bytes);
    memcpy(state->bytes, bytes, SIMVOL_BYTES);
}

static uint64_t last_seq(struct hlfs *v)
{
    struct hlfs_info info;

    assert_int_equal(volume_info(v, &info), 0);
    return info.seq;
}

/* One change of up to 12 blocks: mostly writes, some of parts of blocks, some holes. */
static void change(struct hlfs *v, uint8_t *bytes, struct rng *r)
{
    static uint8_t buf[12 * SIMVOL_BLOCK_BYTES];
    uint64_t len = SIMVOL_BLOCK_BYTES * (1 + rng_below(r, 12));
    uint64_t offset = rng_below(r, SIMVOL_BYTES - len);
    enum request_kind kind = REQUEST_WRITE;

    if (rng_below(r, 4) > 0) {
        offset = ALIGN_DOWN(offset, SIMVOL_BLOCK_BYTES);
    }
    if (rng_one_in(r, 6)) {
        kind = rng_one_in(r, 2) ? REQUEST_ZERO : REQUEST_DISCARD;
        memset(buf, 0, len);
    } else {
        for (uint64_t i = 0; i < len; i++) {
            buf[i] = (uint8_t)rng_next(r);
        }
    }
    assert_int_equal(simvol_call(v, kind, buf, len, offset), 0);
    memcpy(bytes + offset, buf, len);
}

static void checkpoint(struct hlfs *v)
{
    volume_want_checkpoint(v);
    while (volume_checkpoint_running(v)) {
        (void)volume_turn(v, 100000);
    }
}

static void idle(struct sim *sim, struct hlfs *v, uint64_t us)
{
    uint64_t end = sim_now(sim) + us;

    while (sim_now(sim) < end) {
        (void)volume_turn(v, 10000);
    }
}

static void change_and_flush(struct simvol *s, struct hlfs *v, uint8_t *bytes,
                             struct rng *r)
{
    for (unsigned i = 0; i < STEPS; i++) {
        if (i == STEPS / 3 || i == STEPS * 2 / 3) {
            checkpoint(v);
        }
        if (i % 16 == 5) {
            idle(s->sim, v, 300000);    /* a mark between them */
        }
        change(v, bytes, r);
        assert_int_equal(simvol_call(v, REQUEST_FLUSH, NULL, 0, 0), 0);
        state_add(s, bytes, last_seq(v));
    }
}

static void end_by_kill(struct store *store, struct hlfs *v)
{
    sim_kill(store);
    volume_abandon(v);
}

static struct hlfs *open_store(struct sim *sim, struct store **ret)
{
    struct hlfs_options o;
    struct hlfs *v = NULL;

    options_small(&o);
    assert_int_equal(sim_store_open(sim, 0, ret), 0);
    if (volume_open(*ret, VOLUME_MANUAL, &o, &v) < 0) {
        fail_msg("%s", error_text());
    }
    return v;
}

/* What the survivor has is the truth from here on. */
static void take_over(struct simvol *s, uint8_t *bytes, struct rng *r)
{
    struct store *store;
    struct hlfs *v = open_store(s->sim, &store);

    assert_int_equal(simvol_call(v, REQUEST_READ, bytes, SIMVOL_BYTES, 0), 0);
    assert_int_equal(simvol_call(v, REQUEST_FLUSH, NULL, 0, 0), 0);
    state_add(s, bytes, last_seq(v));
    change_and_flush(s, v, bytes, r);
    idle(s->sim, v, 1000000);
    end_by_kill(store, v);
}

static void build(struct simvol *s, enum simvol_end end, struct rng *r)
{
    uint8_t *bytes = calloc(1, SIMVOL_BYTES);
    struct store *store;
    struct hlfs *v = open_store(s->sim, &store);

    assert_non_null(bytes);
    assert_int_equal(volume_identity(store, &s->identity), 0);
    state_add(s, bytes, 0);
    change_and_flush(s, v, bytes, r);
    if (end == SIMVOL_DIRTY || end == SIMVOL_TAKEN_OVER) {
        for (unsigned i = 0; i < DIRTY_STEPS; i++) {
            change(v, bytes, r);
            state_add(s, bytes, UINT64_MAX);
        }
    }
    if (end == SIMVOL_MARKED) {
        idle(s->sim, v, 1000000);
    }
    if (end == SIMVOL_CLOSED) {
        assert_int_equal(volume_close(v), 0);
    } else {
        end_by_kill(store, v);
    }
    if (end == SIMVOL_TAKEN_OVER) {
        take_over(s, bytes, r);
    }
    free(bytes);
}

struct simvol *simvol_new(enum simvol_end end, uint64_t seed)
{
    struct simvol *s = calloc(1, sizeof(*s));
    struct rng r = { seed };
    struct hlfs_options o;
    struct store *store;

    assert_non_null(s);
    s->states = calloc(STATES_MAX, sizeof(*s->states));
    assert_non_null(s->states);
    s->sim = sim_new(seed);
    options_small(&o);
    assert_int_equal(sim_store_open(s->sim, SIM_OPEN_CREATE, &store), 0);
    if (volume_create(store, SIMVOL_BYTES, VOLUME_MANUAL, &o) < 0) {
        fail_msg("%s", error_text());
    }
    build(s, end, &r);
    while (sim_step(s->sim)) {      /* what the dead had in flight lands, or does not */
    }
    return s;
}

void simvol_free(struct simvol *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->states[i].bytes);
    }
    free(s->states);
    sim_free(s->sim);
    free(s);
}
