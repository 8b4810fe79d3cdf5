/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signs of life where the NameNode has troubles: who asks must not take a healthy writer
 * for dead that could not answer either.  All times are a twentieth of the real ones.
 */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "fake-hdfs.h"
#include "store/hdfs.h"

#define MS 1000u
#define DEAD_US (300 * MS)          /* so 1.5 s after troubles, 9 s in all */
#define OTHER "somebody else"
#define KNOCK "/v/knock/"
#define SECOND "/v/log/000000/000000002"

static struct fake_hdfs *fake;
static uint64_t knocked_us;         /* under the fake's lock: when the first came */

static uint64_t now_us(void)
{
    return clock_monotonic_us(&clock_system);
}

static void say(void *opaque, int level, const char *text)
{
    if (getenv("HLFS_TEST_LOG")) {
        fprintf(stderr, "  log %d: %s\n", level, text);
    }
}

static struct store *open_store(void)
{
    struct hdfs_store_params p = {
        .authority = fake->authority, .path = "/v", .mode = 0600, .user = "me",
        .log.call = say, .dead_us = DEAD_US, .min_replicas = 1,
    };
    struct store *s = NULL;

    if (hdfs_store_open(&p, &s) < 0) {
        fail_msg("%s", error_text());
    }
    return s;
}

static int set_up(void **state)
{
    (void)setenv("HADOOP_CONF_DIR", "/nonexistent", 1);
    knocked_us = 0;
    fake = fake_hdfs_new();
    fake_hdfs_make(fake, "/v/", NULL);
    fake_hdfs_make(fake, "/v/log/", NULL);
    fake_hdfs_make(fake, "/v/log/000000/", NULL);
    return 0;
}

static int tear_down(void **state)
{
    fake_hdfs_free(fake);
    return 0;
}

/* Another writer has, or had, the volume. */
static void make_holder(void)
{
    fake_hdfs_make(fake, "/v/log/000000/000000001", OTHER);
}

static int ask(void)
{
    struct store *s = open_store();
    int res = store_holder_alive(s);

    store_free(s);
    return res;
}

/* ---- Who asks ------------------------------------------------------------------ */

/* Microseconds since the first knock, or 0. */
static uint64_t since_knock(const char *method, const char *path)
{
    if (knocked_us == 0 && strcmp(method, "complete") == 0 &&
        strncmp(path, KNOCK, strlen(KNOCK)) == 0) {
        knocked_us = now_us();
    }
    return knocked_us ? now_us() - knocked_us : 0;
}

/* As the holder does it. */
static void answer_all(struct fake_hdfs *f)
{
    for (unsigned i = f->file_count; i > 0; i--) {
        if (strncmp(f->files[i - 1].path, KNOCK, strlen(KNOCK)) == 0) {
            (void)fake_hdfs_drop(f, f->files[i - 1].path);
        }
    }
}

static void a_dead_one_is_found_dead(void **state)
{
    uint64_t start_us;
    struct store *s;

    assert_int_equal(ask(), 0);         /* nobody ever held it */
    make_holder();
    s = open_store();
    start_us = now_us();
    assert_int_equal(store_holder_alive(s), 0);
    assert_in_range(now_us() - start_us, DEAD_US, 4 * DEAD_US);
    store_free(s);
}

/* Nobody can reach the NameNode for 2 s; the holder has to find it again, too. */
static bool is_away(struct fake_hdfs *f, const char *method, const char *path,
                    struct fake_reply *ret)
{
    uint64_t us = since_knock(method, path);

    if (us > 2000 * MS + 1200 * MS) {
        answer_all(f);
    }
    *ret = (struct fake_reply){ .what = FAKE_HANG_UP };
    return us > 100 * MS && us < 2000 * MS;
}

/*
 * Its time began with the knock, whatever came then: after an outage of half a minute a
 * healthy writer was taken over from.
 */
static void its_time_begins_anew_after_an_outage(void **state)
{
    make_holder();
    fake->meddle = is_away;
    assert_int_equal(ask(), 1);
}

/* In safe mode what is asked can be answered, but the holder cannot remove anything. */
static bool in_safe_mode(struct fake_hdfs *f, const char *method, const char *path,
                         struct fake_reply *ret)
{
    uint64_t us = since_knock(method, path);

    if (us > 4000 * MS && f->stage == 0) {
        answer_all(f);
    }
    *ret = fake_exception("org.apache.hadoop.hdfs.server.namenode.SafeModeException",
                          "Name node is in safe mode.");
    return us > 100 * MS && (us < 3000 * MS || f->stage == 1) &&
           (strcmp(method, "delete") == 0 || strcmp(method, "create") == 0 ||
            strcmp(method, "mkdirs") == 0);
}

static void its_time_begins_anew_after_safe_mode(void **state)
{
    make_holder();
    fake->meddle = in_safe_mode;
    assert_int_equal(ask(), 1);
}

/* Only the holder and the end of the knock meet it. */
static bool removals_wait(struct fake_hdfs *f, const char *method, const char *path,
                          struct fake_reply *ret)
{
    uint64_t us = since_knock(method, path);

    if (us > 1800 * MS) {
        answer_all(f);
    }
    *ret = fake_exception("org.apache.hadoop.ipc.RetriableException", "not now");
    return us > 100 * MS && us < 1000 * MS && strcmp(method, "delete") == 0;
}

static void a_knock_that_ends_late_is_made_again(void **state)
{
    make_holder();
    fake->meddle = removals_wait;
    assert_int_equal(ask(), 1);
    assert_int_equal(fake_hdfs_count(fake, "complete", NULL), 2);
}

static void at_some_time_it_cannot_be_told(void **state)
{
    uint64_t start_us;
    struct store *s;

    make_holder();
    fake->meddle = in_safe_mode;
    fake->stage = 1;
    s = open_store();
    start_us = now_us();
    assert_int_equal(store_holder_alive(s), -ETIMEDOUT);
    assert_in_range(now_us() - start_us, 30 * DEAD_US, 40 * DEAD_US);
    assert_non_null(strstr(error_text(), "cannot tell whether the writer lives"));
    assert_non_null(strstr(error_text(), "safe mode"));
    store_free(s);
}

/* That the knock could not be taken away was once no reason to doubt. */
static bool refuses_to_remove(struct fake_hdfs *f, const char *method, const char *path,
                              struct fake_reply *ret)
{
    *ret = fake_exception("org.apache.hadoop.security.AccessControlException", "denied");
    return strcmp(method, "delete") == 0;
}

static void who_cannot_remove_anything_does_not_know(void **state)
{
    make_holder();
    fake->meddle = refuses_to_remove;
    assert_int_equal(ask(), -EACCES);
}

/* ---- Who holds the volume ------------------------------------------------------ */

static bool is_gone_within(const char *path, unsigned ms)
{
    bool open;

    for (; ms > 0 && fake_hdfs_has(fake, path, &open); ms -= 100) {
        (void)usleep(100000);
    }
    return ms > 0;
}

/*
 * The number after ours was another's, and is gone again: a create that failed.  The
 * holder listened to nobody any more from then on, and the next one took its volume.
 */
static void a_holder_listens_on(void **state)
{
    struct store *s = open_store();
    struct store_lane *lane = store_lane_new(s);

    assert_int_equal(store_enlist(s, 1), 0);
    assert_int_equal(store_create_now(lane, 1, MIB(1)), 0);
    fake_hdfs_make(fake, "/v/knock/", NULL);
    fake_hdfs_make(fake, SECOND, OTHER);
    fake_hdfs_make(fake, KNOCK "0123456789abcdef", NULL);
    assert_false(is_gone_within(KNOCK "0123456789abcdef", 5000));
    assert_true(fake_hdfs_remove(fake, SECOND));
    assert_true(is_gone_within(KNOCK "0123456789abcdef", 6000));
    store_lane_free(lane);
    store_free(s);
}

static bool cannot_be_left(struct fake_hdfs *f, const char *method, const char *path,
                           struct fake_reply *ret)
{
    *ret = fake_exception("org.apache.hadoop.security.AccessControlException", "denied");
    return strcmp(method, "create") == 0 && strstr(path, "/left-");
}

/* Who leaves could not say so, and that was what an open that had failed told. */
static void who_leaves_keeps_the_sentence(void **state)
{
    struct store_lane *lane;
    struct store *s;

    fake->meddle = cannot_be_left;
    s = open_store();
    lane = store_lane_new(s);
    assert_int_equal(store_enlist(s, 1), 0);
    assert_int_equal(store_create_now(lane, 1, MIB(1)), 0);
    store_lane_free(lane);
    (void)error_set(-EIO, "why it failed");
    store_free(s);
    assert_string_equal(error_text(), "why it failed");
    assert_true(fake_hdfs_count(fake, "create", "/v/knock/left-000000001") > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_dead_one_is_found_dead),
        TEST(its_time_begins_anew_after_an_outage),
        TEST(its_time_begins_anew_after_safe_mode),
        TEST(a_knock_that_ends_late_is_made_again),
        TEST(at_some_time_it_cannot_be_told),
        TEST(who_cannot_remove_anything_does_not_know),
        TEST(a_holder_listens_on),
        TEST(who_leaves_keeps_the_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
