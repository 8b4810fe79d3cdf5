/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options by name: defaults, each option's limits, the sentences, copies. */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "options.h"

static void set(struct hlfs_options *o, const char *key, const char *value)
{
    if (hlfs_options_set(o, key, value) < 0) {
        fail_msg("%s", error_text());
    }
}

static void assert_defaults(const struct hlfs_options *o)
{
    assert_null(o->log.call);
    assert_int_equal(o->durability, DURABILITY_STRONGEST);
    assert_int_equal(o->cache_bytes, MIB(64));
    assert_int_equal(o->dirty_bytes, MIB(64));
    assert_int_equal(o->unreachable.mode, UNREACHABLE_WAIT_TIME);
    assert_int_equal(o->unreachable.timeout_us, 120000000);
    assert_int_equal(o->full.wait_us, 0);
    assert_int_equal(o->ack_timeout_us, 2000000);
    assert_int_equal(o->min_replicas, 0);
    assert_null(o->user);
    assert_null(o->hadoop_conf);
    assert_false(o->control || o->force || o->network_fs || o->cache_shared);
    assert_int_equal(o->block_bytes, 4096);
    assert_int_equal(o->segment_bytes, 0);
    assert_int_equal(o->compression, COMPRESSION_NONE);
    assert_int_equal(o->replication, 0);
    assert_int_equal(o->keep_us, 0);
    assert_int_equal(o->mode, 0600);
    assert_null(o->clonable_by);
}

static void test_defaults_are_those_of_the_header(void **state)
{
    struct hlfs_options *o = hlfs_options_new();

    assert_non_null(o);
    assert_defaults(o);
    hlfs_options_free(o);
    hlfs_options_free(NULL);
}

static void test_every_option_sets_its_field(void **state)
{
    struct hlfs_options *o = hlfs_options_new();

    set(o, "durability", "hflush");
    assert_int_equal(o->durability, DURABILITY_HFLUSH);
    set(o, "cache-size", "256M");
    assert_int_equal(o->cache_bytes, MIB(256));
    set(o, "dirty-limit", "4194304");
    assert_int_equal(o->dirty_bytes, MIB(4));
    set(o, "full", "wait=1m");
    assert_int_equal(o->full.wait_us, 60000000);
    set(o, "full", "error");
    assert_int_equal(o->full.wait_us, 0);
    set(o, "ack-timeout", "500ms");
    assert_int_equal(o->ack_timeout_us, 500000);
    set(o, "min-replicas", "3");
    assert_int_equal(o->min_replicas, 3);
    set(o, "user", "alice");
    assert_string_equal(o->user, "alice");
    set(o, "hadoop-conf", "/etc/h");
    assert_string_equal(o->hadoop_conf, "/etc/h");
    set(o, "block-size", "64K");
    assert_int_equal(o->block_bytes, 65536);
    set(o, "segment-size", "5M");
    assert_int_equal(o->segment_bytes, MIB(5));
    set(o, "compression", "none");
    set(o, "replication", "2");
    assert_int_equal(o->replication, 2);
    set(o, "keep", "0");
    assert_int_equal(o->keep_us, 0);
    set(o, "mode", "0640");
    assert_int_equal(o->mode, 0640);
    set(o, "control", "yes");
    set(o, "network-fs", "yes");
    set(o, "cache-shared", "yes");
    set(o, "force", "yes");
    assert_true(o->control && o->force && o->network_fs && o->cache_shared);
    set(o, "force", "no");
    assert_false(o->force);
    hlfs_options_free(o);
}

static void test_unreachable_has_three_forms(void **state)
{
    struct hlfs_options *o = hlfs_options_new();

    set(o, "unreachable", "wait");
    assert_int_equal(o->unreachable.mode, UNREACHABLE_WAIT);
    assert_int_equal(o->unreachable.timeout_us, 0);
    set(o, "unreachable", "wait=5s");
    assert_int_equal(o->unreachable.mode, UNREACHABLE_WAIT_TIME);
    assert_int_equal(o->unreachable.timeout_us, 5000000);
    set(o, "unreachable", "error");
    assert_int_equal(o->unreachable.mode, UNREACHABLE_ERROR);
    assert_int_equal(o->unreachable.timeout_us, 0);
    hlfs_options_free(o);
}

static void test_bad_values_are_refused_by_name(void **state)
{
    static const struct {
        const char *key, *value;
    } bad[] = {
        { "durability", "" }, { "durability", "strongest" }, { "durability", "HSYNC" },
        { "cache-size", "4194303" }, { "cache-size", "2T" }, { "cache-size", "64" },
        { "cache-size", "-1" }, { "dirty-limit", "1M" }, { "dirty-limit", "lots" },
        { "unreachable", "wait=" }, { "unreachable", "wait=0" }, { "unreachable", "no" },
        { "unreachable", "wait=366d" }, { "full", "wait" }, { "full", "wait=0s" },
        { "full", "" }, { "ack-timeout", "0" }, { "ack-timeout", "2h" },
        { "min-replicas", "0" }, { "min-replicas", "513" }, { "min-replicas", "two" },
        { "min-replicas", "4294967297" }, { "user", "" }, { "user", "a\nb" },
        { "hadoop-conf", "" }, { "control", "on" }, { "force", "1" },
        { "network-fs", "" }, { "cache-shared", "YES" }, { "block-size", "2K" },
        { "block-size", "128K" }, { "block-size", "5K" }, { "block-size", "12K" },
        { "segment-size", "3M" }, { "segment-size", "2G" }, { "segment-size", "4097K" },
        { "compression", "lz4" }, { "compression", "zstd:3" }, { "compression", "gzip" },
        { "replication", "0" }, { "keep", "soon" }, { "keep", "2h" },
        { "clonable-by", "staff" }, { "mode", "0400" },
        { "mode", "0700" }, { "mode", "rw" }, { "mode", "01600" }, { "clonable-by", "" },
    };
    struct hlfs_options *o = hlfs_options_new();

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        error_clear();
        if (hlfs_options_set(o, bad[i].key, bad[i].value) != -EINVAL) {
            fail_msg("%s took \"%s\"", bad[i].key, bad[i].value);
        }
        assert_non_null(strstr(error_text(), bad[i].key));
        assert_non_null(strstr(error_text(), bad[i].value));
        assert_non_null(strstr(error_text(), "it takes"));
    }
    assert_defaults(o);
    assert_int_equal(hlfs_options_set(o, "colour", "red"), -EINVAL);
    assert_non_null(strstr(error_text(), "colour"));
    assert_int_equal(hlfs_options_set(o, NULL, "red"), -EINVAL);
    assert_int_equal(hlfs_options_set(o, "user", NULL), -EINVAL);
    assert_int_equal(hlfs_options_set(NULL, "user", "alice"), -EINVAL);
    hlfs_options_free(o);
}

static void test_what_is_not_there_yet_says_so(void **state)
{
    static const struct {
        const char *key, *value, *sentence;
    } later[] = {
        { "compression", "zstd", "this version has no compression yet" },
        { "keep", "2h", "this version has no history yet" },
        { "clonable-by", "staff", "this version has no clones yet" },
    };
    struct hlfs_options *o = hlfs_options_new();

    for (size_t i = 0; i < ARRAY_SIZE(later); i++) {
        assert_int_equal(hlfs_options_set(o, later[i].key, later[i].value), -EINVAL);
        assert_non_null(strstr(error_text(), later[i].sentence));
    }
    hlfs_options_free(o);
}

static void test_a_copy_stands_alone(void **state)
{
    struct hlfs_options *o = hlfs_options_new();
    struct hlfs_options copy;

    set(o, "user", "alice");
    o->clonable_by = strdup("staff");   /* not to be set before the version with clones */
    set(o, "cache-size", "8M");
    assert_int_equal(options_copy(&copy, o), 0);
    set(o, "user", "bob");
    hlfs_options_free(o);
    assert_string_equal(copy.user, "alice");
    assert_string_equal(copy.clonable_by, "staff");
    assert_null(copy.hadoop_conf);
    assert_int_equal(copy.cache_bytes, MIB(8));
    options_done(&copy);
    assert_null(copy.user);

    assert_int_equal(options_copy(&copy, NULL), 0);
    assert_int_equal(copy.cache_bytes, MIB(64));
    options_done(&copy);
}

static void test_names_come_in_the_order_of_the_header(void **state)
{
    static const char *const names[] = {
        "durability", "cache-size", "dirty-limit", "unreachable", "full", "ack-timeout",
        "min-replicas", "user", "hadoop-conf", "control", "force", "network-fs",
        "cache-shared", "block-size", "segment-size", "compression", "replication",
        "keep", "mode", "clonable-by",
    };

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        int create = -1;

        assert_string_equal(hlfs_options_name(i, &create), names[i]);
        assert_int_equal(create, i >= 13);
    }
    assert_string_equal(hlfs_options_name(0, NULL), "durability");
    assert_null(hlfs_options_name(ARRAY_SIZE(names), NULL));
    assert_null(hlfs_options_name(UINT32_MAX, NULL));
}

static void count_messages(void *opaque, int level, const char *text)
{
    (*(int *)opaque)++;
}

static void test_the_log_hook_is_kept(void **state)
{
    struct hlfs_options *o = hlfs_options_new();
    int messages = 0;

    hlfs_options_set_log(o, count_messages, &messages);
    log_say(&o->log, LOG_WARNING, "heard");
    assert_int_equal(messages, 1);
    hlfs_options_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_the_header),
        cmocka_unit_test(test_every_option_sets_its_field),
        cmocka_unit_test(test_unreachable_has_three_forms),
        cmocka_unit_test(test_bad_values_are_refused_by_name),
        cmocka_unit_test(test_what_is_not_there_yet_says_so),
        cmocka_unit_test(test_a_copy_stands_alone),
        cmocka_unit_test(test_names_come_in_the_order_of_the_header),
        cmocka_unit_test(test_the_log_hook_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
