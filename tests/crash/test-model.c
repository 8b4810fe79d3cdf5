/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model itself: hand-made histories that must be accepted or refused, and small
 * random ones compared with a search that tries every order of every prefix.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/util.h"
#include "model.h"

#define UNITS 8
#define BYTES (UNITS * MODEL_UNIT)

static uint8_t image[BYTES];

/* The image in which unit I was written by request IDS[I] (0: zeros). */
static const void *shows(const uint64_t *ids)
{
    for (uint64_t i = 0; i < UNITS; i++) {
        if (ids[i]) {
            model_fill(image + i * MODEL_UNIT, ids[i], i * MODEL_UNIT, MODEL_UNIT);
        } else {
            memset(image + i * MODEL_UNIT, 0, MODEL_UNIT);
        }
    }
    return image;
}

static uint64_t submit(struct model *m, enum model_kind kind, unsigned first,
                       unsigned end)
{
    return model_submit(m, kind, first * MODEL_UNIT, (uint64_t)(end - first) * MODEL_UNIT,
                        false);
}

/* Submitted and answered before anything else happens. */
static uint64_t done(struct model *m, enum model_kind kind, unsigned first, unsigned end)
{
    uint64_t id = submit(m, kind, first, end);

    model_answer(m, id, 0);
    return id;
}

static void flushed(struct model *m)
{
    (void)done(m, MODEL_FLUSH, 0, 0);
}

static bool allows(struct model *m, const uint64_t ids[UNITS])
{
    return model_check_prefix(m, shows(ids), UINT64_MAX);
}

static void test_prefixes(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t a = done(m, MODEL_WRITE, 0, 2), b = done(m, MODEL_WRITE, 1, 3);
    uint64_t c = done(m, MODEL_WRITE, 4, 5);

    (void)state;
    assert_true(allows(m, (uint64_t[UNITS]){ 0 }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, a }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, b, b }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, b, b, 0, c }));
    assert_false(allows(m, (uint64_t[UNITS]){ 0, b, b }));          /* A came before */
    assert_false(allows(m, (uint64_t[UNITS]){ a, a, b }));          /* B is torn */
    assert_false(allows(m, (uint64_t[UNITS]){ a, a, 0, 0, c }));    /* B came before C */
    assert_false(allows(m, (uint64_t[UNITS]){ a }));
    assert_false(allows(m, (uint64_t[UNITS]){ a, b, b, c }));       /* elsewhere */
    model_free(m);
}

static void test_flush_and_fua(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t a = done(m, MODEL_WRITE, 0, 1), late, b, f, c;

    (void)state;
    late = submit(m, MODEL_WRITE, 1, 2);
    flushed(m);
    model_answer(m, late, 0);           /* after the flush was submitted: may be lost */
    assert_true(allows(m, (uint64_t[UNITS]){ a }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, late }));
    assert_false(allows(m, (uint64_t[UNITS]){ 0 }));
    b = done(m, MODEL_WRITE, 2, 3);
    f = model_submit(m, MODEL_WRITE, 3 * MODEL_UNIT, MODEL_UNIT, true);
    c = submit(m, MODEL_WRITE, 4, 5);
    assert_true(allows(m, (uint64_t[UNITS]){ a, late }));
    model_answer(m, f, 0);
    assert_false(allows(m, (uint64_t[UNITS]){ a, late, b }));       /* FUA is durable */
    assert_false(allows(m, (uint64_t[UNITS]){ a, late, 0, f }));    /* and B before it */
    assert_true(allows(m, (uint64_t[UNITS]){ a, late, b, f }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, late, b, f, c }));
    model_free(m);
}

static void test_concurrent(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t a = submit(m, MODEL_WRITE, 0, 3), b = submit(m, MODEL_WRITE, 1, 4);

    (void)state;
    model_answer(m, a, 0);
    model_answer(m, b, 0);
    assert_true(allows(m, (uint64_t[UNITS]){ a, b, b, b }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, a, a, b }));
    assert_false(allows(m, (uint64_t[UNITS]){ a, a, b, b }));       /* both on top */
    assert_true(allows(m, (uint64_t[UNITS]){ 0, b, b, b }));
    /* A read at rest tells which came first; a crash must not turn it round. */
    assert_true(model_check_rest(m, shows((uint64_t[UNITS]){ a, a, a, b })));
    assert_false(allows(m, (uint64_t[UNITS]){ a, b, b, b }));
    assert_false(allows(m, (uint64_t[UNITS]){ a, a, a, 0 }));       /* B comes first */
    assert_true(allows(m, (uint64_t[UNITS]){ 0, b, b, b }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, a, a, b }));
    model_free(m);
}

static void test_zeros(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t a = done(m, MODEL_WRITE, 0, 4), b, z;

    (void)state;
    assert_true(model_check_crash(m, shows((uint64_t[UNITS]){ a, a, a, a })));
    (void)done(m, MODEL_ZERO, 0, 2);
    b = done(m, MODEL_WRITE, 5, 6);
    (void)submit(m, MODEL_ZERO, 1, 3);
    assert_true(allows(m, (uint64_t[UNITS]){ a, a, a, a }));
    assert_true(allows(m, (uint64_t[UNITS]){ 0, 0, a, a }));
    assert_true(allows(m, (uint64_t[UNITS]){ 0, 0, a, a, 0, b }));
    assert_true(allows(m, (uint64_t[UNITS]){ 0, 0, 0, a, 0, b }));
    assert_false(allows(m, (uint64_t[UNITS]){ 0, a, a, a }));       /* torn */
    assert_false(allows(m, (uint64_t[UNITS]){ a, 0, 0, a }));       /* the first is out */
    assert_false(allows(m, (uint64_t[UNITS]){ 0, 0, 0, a }));       /* without B */
    z = done(m, MODEL_ZERO, 0, UNITS);
    flushed(m);
    assert_true(allows(m, (uint64_t[UNITS]){ 0 }));
    assert_false(allows(m, (uint64_t[UNITS]){ 0, 0, 0, a, 0, b }));
    (void)z;
    model_free(m);
}

static void test_failed_and_strangers(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t a = submit(m, MODEL_WRITE, 0, 2), b, s = model_stranger(m);

    (void)state;
    model_answer(m, a, -5);
    b = done(m, MODEL_WRITE, 1, 2);
    flushed(m);
    assert_true(allows(m, (uint64_t[UNITS]){ 0, b }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, b }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, a }));      /* late, after B */
    assert_false(allows(m, (uint64_t[UNITS]){ 0, a }));
    assert_false(allows(m, (uint64_t[UNITS]){ 0, b, s }));
    assert_non_null(strstr(model_error(m), "never to be seen"));
    memset((void *)(uintptr_t)shows((uint64_t[UNITS]){ 0, b }), 7, 3);
    assert_false(model_check_prefix(m, image, UINT64_MAX));
    model_free(m);
}

static void test_generations(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t a = done(m, MODEL_WRITE, 0, 2), b;

    (void)state;
    assert_true(model_check_crash(m, shows((uint64_t[UNITS]){ a, a })));
    b = done(m, MODEL_WRITE, 1, 2);
    assert_true(allows(m, (uint64_t[UNITS]){ a, a }));
    assert_true(allows(m, (uint64_t[UNITS]){ a, b }));
    assert_false(allows(m, (uint64_t[UNITS]){ 0, 0 }));     /* it was there once */
    assert_true(model_check_crash(m, shows((uint64_t[UNITS]){ a, a })));
    assert_false(allows(m, (uint64_t[UNITS]){ a, b }));     /* and this was lost */
    model_free(m);
}

static bool reads(struct model *m, uint64_t began, const uint64_t *ids)
{
    return model_check_read(m, 0, BYTES, began, shows(ids));
}

static void test_reads(void **state)
{
    struct model *m = model_new(BYTES);
    uint64_t before = model_now(m);
    uint64_t a = done(m, MODEL_WRITE, 0, 1), b, after;

    (void)state;
    assert_true(reads(m, before, (uint64_t[UNITS]){ 0 }));
    assert_true(reads(m, before, (uint64_t[UNITS]){ a }));
    assert_false(reads(m, model_now(m), (uint64_t[UNITS]){ 0 }));
    b = submit(m, MODEL_WRITE, 0, 1);
    assert_true(reads(m, model_now(m), (uint64_t[UNITS]){ a }));
    assert_true(reads(m, model_now(m), (uint64_t[UNITS]){ b }));
    model_answer(m, b, 0);
    after = model_now(m);
    assert_false(reads(m, after, (uint64_t[UNITS]){ a }));
    assert_true(reads(m, after, (uint64_t[UNITS]){ b }));
    model_free(m);
}

/* ---- Against a search of everything --------------------------------------- */

#define REQUESTS 6

struct toy {
    enum model_kind kind;
    uint64_t id, first, end, submitted, answered;   /* answered 0: not */
    bool must;
};

static bool toy_before(const struct toy *a, const struct toy *b)
{
    return a->answered && a->answered < b->submitted;
}

/* Can the requests not in USED be appended, or left out, so that IDS comes out? */
static bool toy_search(const struct toy *t, unsigned used, const uint64_t *now,
                       const uint64_t *ids)
{
    bool complete = true;

    for (unsigned i = 0; i < REQUESTS; i++) {
        complete &= used >> i & 1 || !t[i].must;
    }
    if (complete && memcmp(now, ids, UNITS * sizeof(*ids)) == 0) {
        return true;
    }
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint64_t next[UNITS];
        bool ready = !(used >> i & 1) && t[i].kind != MODEL_FLUSH;

        for (unsigned j = 0; j < REQUESTS; j++) {
            ready &= used >> j & 1 || t[j].kind == MODEL_FLUSH ||
                     !toy_before(&t[j], &t[i]);
        }
        if (!ready) {
            continue;
        }
        memcpy(next, now, sizeof(next));
        for (uint64_t u = t[i].first; u < t[i].end; u++) {
            next[u] = t[i].kind == MODEL_WRITE ? t[i].id : 0;
        }
        if (toy_search(t, used | 1u << i, next, ids)) {
            return true;
        }
    }
    return false;
}

/* Draw a history in the model and in the toy; FUA never, flushes count. */
static void toy_draw(struct rng *rng, struct model *m, struct toy *t)
{
    unsigned open = 0, begun = 0;
    uint64_t now = 0;

    while (begun < REQUESTS || (open && !rng_one_in(rng, 6))) {
        unsigned i = (unsigned)rng_below(rng, REQUESTS);

        if (begun < REQUESTS && rng_one_in(rng, 2)) {
            struct toy *r = &t[begun];
            uint64_t dice = rng_below(rng, 8);

            r->kind = dice < 4 ? MODEL_WRITE : dice < 7 ? MODEL_ZERO : MODEL_FLUSH;
            r->first = r->kind == MODEL_FLUSH ? 0 : rng_below(rng, UNITS - 1);
            r->end = r->kind == MODEL_FLUSH ? 0 :
                     r->first + 1 + rng_below(rng, UNITS - r->first);
            r->submitted = ++now;
            r->id = submit(m, r->kind, (unsigned)r->first, (unsigned)r->end);
            open |= 1u << begun++;
        } else if (open >> i & 1) {
            open &= ~(1u << i);
            t[i].answered = ++now;
            model_answer(m, t[i].id, 0);
        }
    }
    for (unsigned f = 0; f < REQUESTS; f++) {
        if (t[f].kind != MODEL_FLUSH || !t[f].answered) {
            continue;
        }
        for (unsigned i = 0; i < REQUESTS; i++) {
            t[i].must |= t[i].kind != MODEL_FLUSH && toy_before(&t[i], &t[f]);
        }
    }
}

/* An image that some order of some requests leaves, now and then with a unit changed. */
static void toy_image(struct rng *rng, const struct toy *t, const uint64_t *base,
                      uint64_t *ids)
{
    memcpy(ids, base, UNITS * sizeof(*ids));
    for (unsigned n = (unsigned)rng_below(rng, 2 * REQUESTS); n > 0; n--) {
        const struct toy *r = &t[rng_below(rng, REQUESTS)];

        for (uint64_t u = r->first; u < r->end; u++) {
            ids[u] = r->kind == MODEL_WRITE ? r->id : 0;
        }
    }
    if (rng_one_in(rng, 3)) {
        ids[rng_below(rng, UNITS)] = rng_one_in(rng, 2) ? 0 : base[0];
    }
}

static void test_against_search(void **state)
{
    unsigned accepted = 0, refused = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct rng rng = { seed };
        struct model *m = model_new(BYTES);
        struct toy t[REQUESTS] = { 0 };
        uint64_t base[UNITS] = { 0 }, ids[UNITS];

        if (rng_one_in(&rng, 2)) {
            uint64_t id = done(m, MODEL_WRITE, 0, UNITS);

            for (unsigned i = 0; i < UNITS; i++) {
                base[i] = id;
            }
            assert_true(model_check_crash(m, shows(base)));
        }
        toy_draw(&rng, m, t);
        for (unsigned i = 0; i < 20; i++) {
            bool expected;

            toy_image(&rng, t, base, ids);
            expected = toy_search(t, 0, base, ids);
            accepted += expected;
            refused += !expected;
            if (allows(m, ids) != expected) {
                fail_msg("seed %llu, image %u: the search says %d; %s",
                         (unsigned long long)seed, i, expected, model_error(m));
            }
        }
        model_free(m);
    }
    assert_true(accepted > 5000 && refused > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_flush_and_fua),
        cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_failed_and_strangers),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_against_search),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
