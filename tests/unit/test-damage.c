/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One damage at a time to a volume of known content: a flipped bit in each structure,
 * a file that is cut short, missing, of another volume or of another time.  Whatever it
 * is, opening and reading gives
 *
 *   the right content, or
 *   an error that names the place: the open is refused, or some blocks cannot be read;
 *
 * never other bytes, and never silently an older state than what was synced, as far as
 * the undamaged rest of the log still tells (the highest `synced` of all valid headers
 * and records, found here by a scan of its own).  And check says so.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/util.h"
#include "simdamage.h"

#define HANG_S 60           /* one damage takes milliseconds */

/* ---- What the rest of the log tells -------------------------------------- */

/* The first state that a volume may show which has all records up to SYNCED. */
static size_t state_required(const struct simvol *s, uint64_t synced)
{
    size_t required = 0;

    for (size_t i = 0; i < s->count; i++) {
        if (s->states[i].seq <= synced) {
            required = i;
        }
    }
    return required;
}

/* ---- Looking at a damaged volume ----------------------------------------- */

enum outcome { RIGHT, UNREADABLE, REFUSED, OUTCOMES };

static unsigned tally[STRUCTURES][2][OUTCOMES];

static void on_signal(int number)
{
    (void)!write(STDERR_FILENO, damage_text, strlen(damage_text));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

struct image {                  /* a volume as it reads */
    uint8_t *bytes;             /* owned, SIMVOL_BYTES */
    bool *failed;               /* owned, a block each */
    unsigned failures;
};

static bool is_damage(int res)
{
    return res == -EBADMSG || res == -ESTALE;
}

static void image_read(struct image *im, struct hlfs *v)
{
    const size_t blocks = DIV_ROUND_UP(SIMVOL_BYTES, SIMVOL_BLOCK_BYTES);

    im->bytes = malloc(SIMVOL_BYTES);
    im->failed = calloc(blocks, sizeof(*im->failed));
    im->failures = 0;
    assert_true(im->bytes && im->failed);
    if (simvol_call(v, REQUEST_READ, im->bytes, SIMVOL_BYTES, 0) == 0) {
        return;
    }
    for (size_t i = 0; i < blocks; i++) {
        uint64_t at = i * SIMVOL_BLOCK_BYTES;
        uint64_t len = MIN(SIMVOL_BLOCK_BYTES, SIMVOL_BYTES - at);
        int res = simvol_call(v, REQUEST_READ, im->bytes + at, len, at);

        if (res < 0 && !is_damage(res)) {
            fail_msg("%s: reading block %zu gives %d", damage_text, i, res);
        }
        im->failed[i] = res < 0;
        im->failures += res < 0;
    }
}

static void image_done(struct image *im)
{
    free(im->bytes);
    free(im->failed);
}

static bool image_shows(const struct image *im, const struct simvol_state *state)
{
    for (uint64_t at = 0; at < SIMVOL_BYTES; at += SIMVOL_BLOCK_BYTES) {
        if (!im->failed[at / SIMVOL_BLOCK_BYTES] &&
            memcmp(im->bytes + at, state->bytes + at,
                   MIN(SIMVOL_BLOCK_BYTES, SIMVOL_BYTES - at)) != 0) {
            return false;
        }
    }
    return true;
}

/* Which state V shows, REQUIRED or a later one: fails if none. */
static size_t image_judge(const struct image *im, const struct simvol *s, size_t required)
{
    size_t i = s->count;

    while (i-- > required) {
        if (image_shows(im, &s->states[i])) {
            return i;
        }
    }
    while (required-- > 0) {
        if (image_shows(im, &s->states[required])) {
            fail_msg("%s: silently an older state, %zu of %zu", damage_text, required,
                     s->count);
        }
    }
    fail_msg("%s: wrong content", damage_text);
    return 0;
}

/* FILE is to be named; 0: some segment (a missing one is found by what it leaves). */
static enum outcome refusal_judge(int res, uint64_t file)
{
    const char *text = error_text();
    char name[32] = "segment";

    if (file != 0) {
        (void)snprintf(name, sizeof(name), "segment %llu", (unsigned long long)file);
    }
    if (!is_damage(res) && res != -ENOENT) {
        fail_msg("%s: open gives %d (%s)", damage_text, res, text);
    }
    if (!strstr(text, name)) {
        fail_msg("%s: the sentence does not name the place: %s", damage_text, text);
    }
    return REFUSED;
}

/*
 * What was there is there after new writes and a close, too; blocks that could not be
 * read stay so, or are right.
 */
static void go_on(struct sim *sim, const struct simvol *s, struct hlfs *v, size_t state)
{
    uint8_t *block = s->states[state].bytes;
    struct image im;

    if (simvol_call(v, REQUEST_WRITE, block, SIMVOL_BLOCK_BYTES, 0) < 0 ||
        volume_close(v) < 0) {
        return;         /* what is refused is not lost */
    }
    if (simvol_open(sim, VOLUME_RDONLY, &v) < 0) {
        (void)refusal_judge(-EBADMSG, 0);
        return;
    }
    image_read(&im, v);
    if (!image_shows(&im, &s->states[state])) {
        fail_msg("%s: wrong content after going on", damage_text);
    }
    image_done(&im);
    assert_int_equal(volume_close(v), 0);
}

static unsigned check_errors(struct sim *sim)
{
    struct hlfs_check_result result = { 0 };
    struct store *s;
    int res;

    assert_int_equal(sim_store_open(sim, SIM_OPEN_READ_ONLY, &s), 0);
    res = volume_check(s, HLFS_CHECK_DATA, NULL, NULL, &result);
    return (unsigned)result.errors + (res < 0);
}

static enum outcome look(struct sim *sim, const struct simvol *s, bool rw, uint64_t file,
                         size_t required)
{
    enum outcome outcome;
    struct hlfs *v = NULL;
    struct image im;
    size_t state;
    int res;

    (void)alarm(HANG_S);
    res = simvol_open(sim, rw ? 0 : VOLUME_RDONLY, &v);
    if (res < 0) {
        outcome = refusal_judge(res, file);
    } else {
        image_read(&im, v);
        state = image_judge(&im, s, required);
        outcome = im.failures > 0 ? UNREADABLE : RIGHT;
        image_done(&im);
        if (rw) {
            go_on(sim, s, v, state);
        } else {
            assert_int_equal(volume_close(v), 0);
        }
    }
    if (sim_misuse(sim)) {
        fail_msg("%s: %s", damage_text, sim_misuse(sim));
    }
    return outcome;
}

struct subject {
    const struct simvol *vol;
    const struct layout *layout;
};

/* Segment FILE on SIM is damaged: look as a reader, then as a writer.  Frees SIM. */
static void judge(void *opaque, struct sim *sim, enum structure what, uint64_t file)
{
    const struct subject *t = opaque;
    const struct simvol *s = t->vol;
    size_t required = state_required(s, synced_found(t->layout, sim, s->identity.uuid,
                                                     file));
    unsigned errors = check_errors(sim);

    for (int rw = 0; rw < 2; rw++) {
        bool precise = what < BOTH_HEADERS_WIPED;

        enum outcome outcome = look(sim, s, rw, precise ? file : 0, required);

        if (outcome != RIGHT && errors == 0) {
            fail_msg("%s: check finds nothing", damage_text);
        }
        tally[what][rw][outcome]++;
    }
    sim_free(sim);
}

/* ---- All damages ----------------------------------------------------------- */

static void report(void)
{
    printf("%-30s %28s %28s\n", "", "for reading", "for writing");
    printf("%-30s %9s%9s%10s %9s%9s%10s\n", "damage", "right", "blocks", "refused",
           "right", "blocks", "refused");
    for (int i = 0; i < STRUCTURES; i++) {
        printf("%-30s %9u%9u%10u %9u%9u%10u\n", structure_names[i], tally[i][0][RIGHT],
               tally[i][0][UNREADABLE], tally[i][0][REFUSED], tally[i][1][RIGHT],
               tally[i][1][UNREADABLE], tally[i][1][REFUSED]);
    }
    memset(tally, 0, sizeof(tally));
}

static void damage_all(enum simvol_end end)
{
    const uint64_t seed = 7 + end;
    struct simvol *s = simvol_new(end, seed), *other = simvol_new(end, seed + 100);
    struct layout *l = layout_new(s);
    struct subject subject = { s, l };
    const struct damage_judge j = { judge, &subject };
    struct rng r = { seed };

    (void)snprintf(damage_text, sizeof(damage_text), "undamaged");
    assert_int_equal(check_errors(s->sim), 0);
    judge(&subject, sim_fork(s->sim, 1), REST, 0);
    assert_int_equal(tally[REST][0][RIGHT] + tally[REST][1][RIGHT], 2);
    damage_each(s, other, l, &r, &j);
    report();
    layout_free(l);
    simvol_free(s);
    simvol_free(other);
}

static void closed(void **state _unused_)
{
    damage_all(SIMVOL_CLOSED);
}

static void killed_when_idle(void **state _unused_)
{
    damage_all(SIMVOL_MARKED);
}

static void killed_after_a_flush(void **state _unused_)
{
    damage_all(SIMVOL_FLUSHED);
}

static void killed_while_writing(void **state _unused_)
{
    damage_all(SIMVOL_DIRTY);
}

static void taken_over(void **state _unused_)
{
    damage_all(SIMVOL_TAKEN_OVER);
}

/*
 * Where blocks are is in the map: to tell it no block is read.  It once was, to get the
 * map's page into memory, and one damaged block made that fail, but only the first time.
 */
static void block_status_reads_no_blocks(void **state _unused_)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 3);
    struct layout *l = layout_new(s);
    struct hlfs *v = NULL;

    for (size_t i = 0; i < l->count; i++) {
        const struct region *r = &l->regions[i];
        uint8_t byte;

        for (uint64_t at = r->from; r->what == BLOCK_DATA && at < r->to; at += 512) {
            assert_int_equal(sim_peek(s->sim, r->file, at, &byte, 1), 1);
            byte ^= 1;
            sim_poke(s->sim, r->file, at, &byte, 1);
        }
    }
    for (uint64_t at = 0; at < SIMVOL_BYTES; at += SIMVOL_BLOCK_BYTES) {
        enum hlfs_status status = HLFS_STATUS_HOLE;
        uint64_t len = 0;
        const struct request_args a = {
            .kind = REQUEST_STATUS, .len = SIMVOL_BYTES - at, .offset = at,
            .ret_status = &status, .ret_len = &len,
        };
        uint8_t byte;

        assert_int_equal(simvol_open(s->sim, VOLUME_RDONLY, &v), 0);    /* a cold map */
        assert_int_equal(volume_call(v, &a), 0);
        assert_true(len > 0);
        assert_int_equal(simvol_call(v, REQUEST_READ, &byte, 1, at),
                         status == HLFS_STATUS_DATA ? -EBADMSG : 0);
        assert_int_equal(volume_close(v), 0);
    }
    layout_free(l);
    simvol_free(s);
}

/* An argument picks tests by name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_status_reads_no_blocks),
        cmocka_unit_test(closed),
        cmocka_unit_test(killed_when_idle),
        cmocka_unit_test(killed_after_a_flush),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(taken_over),
    };

    /* Disks are copied all the time: keep their memory. */
    (void)mallopt(M_MMAP_THRESHOLD, INT_MAX);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
    (void)signal(SIGALRM, on_signal);
    (void)signal(SIGABRT, on_signal);
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
