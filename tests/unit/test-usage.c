/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Usage counts: exact as of the newest durable checkpoint, whatever a checkpoint under
 * way changes or leaves undone; what it writes (tree and overrides) gives the same
 * counts when it is loaded; and segments go only by USAGE-2.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/util.h"
#include "cleaner/usage.h"
#include "map/tree.h"
#include "store/store.h"

#define SIZE MIB(4)

static void updates_check(struct usage *u, const uint64_t *files, size_t n)
{
    struct tree_update *updates;
    size_t count;

    assert_int_equal(usage_updates(u, &updates, &count), 0);
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(updates[i].key, files[i]);
        assert_int_equal(updates[i].count, 1);
    }
    free(updates);
}

static void counts_change_when_committed(void **state _unused_)
{
    const uint64_t changed[] = { 1, 3, 7 };
    struct usage *u = usage_new();

    assert_int_equal(usage_add_segment(u, 7, SIZE), 0);
    assert_int_equal(usage_add_segment(u, 3, SIZE), 0);
    assert_int_equal(usage_load(u, 1, SIZE, 1000), 0);
    assert_true(usage_has(u, 3));
    assert_false(usage_has(u, 2));
    assert_int_equal(usage_segments(u), 3);
    assert_int_equal(usage_segment_bytes(u), 3 * SIZE);
    assert_int_equal(usage_live_bytes(u), 1000);

    usage_add(u, 7, 4096);
    usage_sub(u, 1, 1000);
    assert_int_equal(usage_get(u, 7), 0);
    assert_int_equal(usage_get(u, 1), 1000);
    assert_int_equal(usage_future_bytes(u), 4096);
    updates_check(u, changed, 3);
    usage_commit(u, 1, 7, 1);
    assert_int_equal(usage_get(u, 7), 4096);
    assert_int_equal(usage_get(u, 1), 0);
    assert_int_equal(usage_live_bytes(u), 4096);
    updates_check(u, NULL, 0);
    usage_free(u);
}

static void what_is_given_up_leaves_no_trace(void **state _unused_)
{
    const uint64_t added[] = { 2 };
    struct usage *u = usage_new();

    assert_int_equal(usage_load(u, 1, SIZE, 1000), 0);
    assert_int_equal(usage_add_segment(u, 2, SIZE), 0);
    usage_sub(u, 1, 1000);
    usage_add(u, 2, 5000);
    usage_abort(u);
    assert_int_equal(usage_future_bytes(u), 1000);
    updates_check(u, added, 1);     /* it is new, and must be told all the same */
    usage_commit(u, 1, 9, 9);
    assert_int_equal(usage_get(u, 1), 1000);
    assert_int_equal(usage_get(u, 2), 0);
    usage_free(u);
}

/* Damage, or a file that is no segment: counted, and nothing wraps. */
static void strays_are_counted(void **state _unused_)
{
    struct usage *u = usage_new();

    assert_int_equal(usage_load(u, 1, SIZE, 100), 0);
    usage_add(u, 5, 4096);
    usage_sub(u, 5, 4096);
    usage_sub(u, 1, 101);
    assert_int_equal(usage_strays(u), 3);
    usage_sub(u, 1, 100);
    usage_sub(u, 1, 1);
    assert_int_equal(usage_strays(u), 4);
    assert_int_equal(usage_future_bytes(u), 0);
    usage_free(u);
}

/* Numbers come from a store. */
static void impossible_numbers_are_refused(void **state _unused_)
{
    struct usage *u = usage_new();

    assert_int_equal(usage_load(u, 0, SIZE, 1), -EBADMSG);
    assert_int_equal(usage_load(u, STORE_MOVED, SIZE, 1), -EBADMSG);
    assert_int_equal(usage_load(u, UINT64_MAX, SIZE, 1), -EBADMSG);
    assert_int_equal(usage_load(u, 1, UINT64_MAX, 1), -EBADMSG);
    assert_int_equal(usage_load(u, 1, SIZE, UINT64_MAX), -EBADMSG);
    assert_int_equal(usage_override(u, 1, UINT64_MAX), -EBADMSG);
    assert_int_equal(usage_load(u, STORE_MOVED | STORE_SEGNO_MAX, GIB(1), GIB(1)), 0);
    assert_int_equal(usage_segments(u), 1);
    usage_free(u);
}

static void segments_go_only_when_a_header_says_so(void **state _unused_)
{
    struct usage *u = usage_new();

    for (uint64_t file = 1; file <= 5; file++) {
        assert_int_equal(usage_load(u, file, SIZE, file == 2 ? 1 : 0), 0);
    }
    assert_false(usage_has_doomed(u));
    /* 2 has live bytes, 3 has the checkpoint, 4 and 5 have records to replay. */
    usage_commit(u, 10, 3, 4);
    assert_true(usage_has_doomed(u));
    assert_int_equal(usage_take_doomed(u, 9), 0);       /* an older checkpoint's header */
    assert_int_equal(usage_take_doomed(u, 10), 1);
    assert_int_equal(usage_take_doomed(u, 10), 0);
    assert_int_equal(usage_segments(u), 4);
    assert_int_equal(usage_segment_bytes(u), 4 * SIZE);
    usage_commit(u, 20, 6, 6);
    assert_int_equal(usage_take_doomed(u, 15), 0);
    assert_int_equal(usage_take_doomed(u, 20), 3);
    assert_int_equal(usage_take_doomed(u, 20), 4);
    assert_int_equal(usage_take_doomed(u, 20), 5);
    assert_int_equal(usage_take_doomed(u, 20), 0);
    assert_int_equal(usage_segments(u), 1);
    usage_free(u);
}

/*
 * The key of a removed segment goes with the next checkpoint that becomes durable, but not
 * before its file is gone: after a crash in between nobody would have found it any more.
 */
static void removed_segments_leave_the_tree(void **state _unused_)
{
    struct usage *u = usage_new();
    struct tree_update *updates;
    size_t n;

    assert_int_equal(usage_load(u, 1, SIZE, 0), 0);
    usage_commit(u, 10, 9, 9);
    assert_int_equal(usage_take_doomed(u, 10), 1);
    assert_int_equal(usage_updates(u, &updates, &n), 0);
    assert_int_equal(n, 0);
    free(updates);
    usage_removed(u, 1);        /* while that checkpoint is under way */
    usage_commit(u, 10, 9, 9);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(usage_updates(u, &updates, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(updates[0].key, 1);
        assert_true(place_is_hole(updates[0].value));
        free(updates);
        if (i == 0) {
            usage_abort(u);
        }
    }
    usage_commit(u, 11, 9, 9);
    assert_false(usage_has(u, 1));
    assert_int_equal(usage_updates(u, &updates, &n), 0);
    assert_int_equal(n, 0);
    free(updates);
    usage_free(u);
}

static void late_changes_are_overrides(void **state _unused_)
{
    struct usage_override o[2];
    struct tree_update *updates;
    struct usage *u = usage_new();
    size_t n;

    assert_int_equal(usage_load(u, 1, SIZE, 10000), 0);
    assert_int_equal(usage_load(u, 2, SIZE, 10000), 0);
    usage_sub(u, 1, 1);
    assert_int_equal(usage_updates(u, &updates, &n), 0);
    free(updates);
    assert_int_equal(usage_overrides(u, o, 2, &n), 0);
    assert_int_equal(n, 0);
    usage_sub(u, 1, 1);
    usage_add(u, 2, 5);
    assert_int_equal(usage_overrides(u, o, 1, &n), -E2BIG);
    assert_int_equal(usage_overrides(u, o, 2, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(o[0].live_bytes + o[1].live_bytes, 9998 + 10005);
    usage_free(u);
}

/* ---- At random, against a model ------------------------------------------ */

#define FILES 200

struct counts {             /* of one file */
    bool exists;
    uint64_t live;
};

struct model {
    struct usage *u;
    struct rng rng;
    struct counts now[FILES];       /* as committed */
    struct counts future[FILES];
    bool doomed[FILES];
    bool gone[FILES];               /* removed: never used again */
    uint64_t next_file;
    uint64_t seq;
    /* What is stored, as of the newest durable checkpoint: */
    struct counts tree[FILES];
    struct usage_override overrides[FILES];
    size_t override_count;
};

static void model_change(struct model *m, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t file = 1 + rng_below(&m->rng, m->next_file);
        struct counts *c;

        if (file == m->next_file && file < FILES && rng_one_in(&m->rng, 4)) {
            assert_int_equal(usage_add_segment(m->u, file, SIZE), 0);
            m->now[file].exists = m->future[file].exists = true;
            m->next_file++;
        }
        if (file >= m->next_file || m->doomed[file] || m->gone[file]) {
            continue;
        }
        c = &m->future[file];
        if (rng_below(&m->rng, 3) > 0) {
            uint64_t want = 1 + rng_below(&m->rng, 9000);
            uint32_t bytes = (uint32_t)MIN(c->live, want);

            usage_sub(m->u, file, bytes);
            c->live -= bytes;
        } else {
            uint32_t bytes = 1 + (uint32_t)rng_below(&m->rng, 9000);

            usage_add(m->u, file, bytes);
            c->live += bytes;
        }
    }
}

static void tree_apply(struct counts *tree, const struct tree_update *updates, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct counts *c = &tree[updates[i].key];

        assert_true(i == 0 || updates[i].key > updates[i - 1].key);
        c->exists = !place_is_hole(updates[i].value);
        c->live = c->exists ? updates[i].value.w1 : 0;
    }
}

/* An open after a crash now would load these counts. */
static void reload_check(const struct model *m)
{
    struct usage *u = usage_new();
    uint64_t live = 0;

    for (uint64_t file = 1; file < FILES; file++) {
        if (m->tree[file].exists) {
            assert_int_equal(usage_load(u, file, SIZE, m->tree[file].live), 0);
        }
    }
    for (size_t i = 0; i < m->override_count; i++) {
        assert_int_equal(usage_override(u, m->overrides[i].file,
                                        m->overrides[i].live_bytes), 0);
    }
    for (uint64_t file = 1; file < m->next_file; file++) {
        assert_int_equal(usage_get(u, file), m->now[file].live);
        live += m->now[file].live;
    }
    assert_int_equal(usage_live_bytes(u), live);
    usage_free(u);
}

static void commit_check(struct model *m, uint64_t record_file, uint64_t replay_file)
{
    for (uint64_t file = 1; file < m->next_file; file++) {
        m->now[file] = m->future[file];
        if (!m->gone[file] && m->now[file].live == 0 && file < replay_file &&
            file != record_file) {
            m->doomed[file] = true;
        }
        assert_int_equal(usage_get(m->u, file), m->now[file].live);
    }
}

static void model_remove(struct model *m)
{
    uint64_t file;

    while ((file = usage_take_doomed(m->u, m->seq)) != 0) {
        usage_removed(m->u, file);
        assert_true(m->doomed[file] && !m->gone[file]);
        m->gone[file] = true;
    }
    for (file = 1; file < m->next_file; file++) {
        assert_true(!m->doomed[file] || m->gone[file]);
    }
}

static void model_checkpoint(struct model *m)
{
    struct usage_override overrides[FILES];
    struct counts tree[FILES];
    struct tree_update *updates;
    size_t n, override_count;

    memcpy(tree, m->tree, sizeof(tree));
    model_change(m, 30);
    for (uint64_t left = 1 + rng_below(&m->rng, 2); left > 0; left--) {
        assert_int_equal(usage_updates(m->u, &updates, &n), 0);
        tree_apply(tree, updates, n);
        free(updates);
        model_change(m, (unsigned)rng_below(&m->rng, 6));
    }
    assert_int_equal(usage_overrides(m->u, overrides, FILES, &override_count), 0);
    if (rng_one_in(&m->rng, 4)) {
        usage_abort(m->u);
        memcpy(m->future, m->now, sizeof(m->future));
    } else {
        uint64_t record_file = m->next_file - 1;
        uint64_t back = rng_below(&m->rng, 3);
        uint64_t replay_file = m->next_file - MIN(m->next_file, back);

        usage_commit(m->u, ++m->seq, record_file, replay_file);
        memcpy(m->tree, tree, sizeof(tree));
        memcpy(m->overrides, overrides, sizeof(overrides));
        m->override_count = override_count;
        commit_check(m, record_file, replay_file);
        reload_check(m);
        if (rng_one_in(&m->rng, 2)) {
            model_remove(m);
        }
    }
    assert_int_equal(usage_strays(m->u), 0);
}

static void usage_agrees_with_a_model(void **state _unused_)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct model *m = calloc(1, sizeof(*m));

        assert_non_null(m);
        m->u = usage_new();
        m->rng.state = seed;
        m->next_file = 1;
        for (int i = 0; i < 60; i++) {
            model_checkpoint(m);
        }
        usage_free(m->u);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_change_when_committed),
        cmocka_unit_test(what_is_given_up_leaves_no_trace),
        cmocka_unit_test(strays_are_counted),
        cmocka_unit_test(impossible_numbers_are_refused),
        cmocka_unit_test(segments_go_only_when_a_header_says_so),
        cmocka_unit_test(removed_segments_leave_the_tree),
        cmocka_unit_test(late_changes_are_overrides),
        cmocka_unit_test(usage_agrees_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
