/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locations: every form users write, taken apart; and what is refused. */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/util.h"
#include "hlfs.h"
#include "location.h"

static void assert_same(const char *text, const char *a, const char *b)
{
    if ((a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0)) {
        fail_msg("%s: \"%s\", not \"%s\"", text, a ? a : "(null)", b ? b : "(null)");
    }
}

static void test_every_form_is_taken_apart(void **state)
{
    static const struct {
        const char *text;
        int scheme;
        const char *path, *host;
        unsigned port;
        const char *snapshot;
    } good[] = {
        { "local:///srv/vm7", LOCATION_LOCAL, "/srv/vm7", NULL, 0, NULL },
        { "local:////srv//vm7//", LOCATION_LOCAL, "//srv//vm7", NULL, 0, NULL },
        { "local:///", LOCATION_LOCAL, "/", NULL, 0, NULL },
        { "/srv/vm7", LOCATION_LOCAL, "/srv/vm7", NULL, 0, NULL },
        { "vm7", LOCATION_LOCAL, "vm7", NULL, 0, NULL },
        { "a dir/vm 7/", LOCATION_LOCAL, "a dir/vm 7", NULL, 0, NULL },
        { ".", LOCATION_LOCAL, ".", NULL, 0, NULL },
        { "/", LOCATION_LOCAL, "/", NULL, 0, NULL },
        { "a:b", LOCATION_LOCAL, "a:b", NULL, 0, NULL },
        { "./hdfs:x", LOCATION_LOCAL, "./hdfs:x", NULL, 0, NULL },
        { "hlfs:vm7", LOCATION_LOCAL, "vm7", NULL, 0, NULL },
        { "hlfs:/srv/vm7@s", LOCATION_LOCAL, "/srv/vm7", NULL, 0, "s" },
        { "hlfs:local:///srv/vm7@s", LOCATION_LOCAL, "/srv/vm7", NULL, 0, "s" },
        { "vm7@s", LOCATION_LOCAL, "vm7", NULL, 0, "s" },
        { "a@b@c", LOCATION_LOCAL, "a@b", NULL, 0, "c" },
        { "a@b/c", LOCATION_LOCAL, "a@b/c", NULL, 0, NULL },
        { "a@b/", LOCATION_LOCAL, "a@b", NULL, 0, NULL },
        { "a@b/c@d", LOCATION_LOCAL, "a@b/c", NULL, 0, "d" },
        { "vm7@2026-11-24T10:00:00+01:00", LOCATION_LOCAL, "vm7", NULL, 0,
          "2026-11-24T10:00:00+01:00" },
        { "vm7@vorher \xc3\xa4", LOCATION_LOCAL, "vm7", NULL, 0, "vorher \xc3\xa4" },
        { "hdfs://nn1/hlfs/vm7", LOCATION_HDFS, "/hlfs/vm7", "nn1", 0, NULL },
        { "hdfs://nn1:8020/hlfs/vm7", LOCATION_HDFS, "/hlfs/vm7", "nn1", 8020, NULL },
        { "hdfs://my_cluster-1/vm7", LOCATION_HDFS, "/vm7", "my_cluster-1", 0, NULL },
        { "hdfs:///hlfs/vm7", LOCATION_HDFS, "/hlfs/vm7", NULL, 0, NULL },
        { "hdfs:///", LOCATION_HDFS, "/", NULL, 0, NULL },
        { "hdfs://nn1/", LOCATION_HDFS, "/", "nn1", 0, NULL },
        { "hdfs://nn1//a///b//", LOCATION_HDFS, "/a/b", "nn1", 0, NULL },
        { "hdfs://nn1/...", LOCATION_HDFS, "/...", "nn1", 0, NULL },
        { "hdfs://[::1]/vm7", LOCATION_HDFS, "/vm7", "::1", 0, NULL },
        { "hdfs://[fe80::1]:65535/a", LOCATION_HDFS, "/a", "fe80::1", 65535, NULL },
        { "hdfs://10.0.0.1:1/a@s", LOCATION_HDFS, "/a", "10.0.0.1", 1, "s" },
        { "hlfs:hdfs://nn1:8020/d/vm7@s", LOCATION_HDFS, "/d/vm7", "nn1", 8020, "s" },
        { "hdfs://nn1/100%25", LOCATION_HDFS, "/100%25", "nn1", 0, NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct location l;

        if (location_parse_at(good[i].text, &l) < 0) {
            fail_msg("%s", error_text());
        }
        assert_int_equal(l.scheme, good[i].scheme);
        assert_same(good[i].text, l.path, good[i].path);
        assert_same(good[i].text, l.host, good[i].host);
        assert_int_equal(l.port, good[i].port);
        assert_same(good[i].text, l.snapshot, good[i].snapshot);
        location_done(&l);
        location_done(&l);
    }
}

static void test_bad_locations_are_refused(void **state)
{
    static const char *const bad[] = {
        NULL, "", "hlfs:", "@s", "/@s", "dir/@s", "vm7@", "dir/vm7@", "vm7@a\nb",
        "http://host/vm7", "s3a://bucket/vm7", "HDFS://nn1/vm7", "hlfs:hlfs:vm7",
        "local://", "local://srv/vm7", "local:/srv/vm7", "hdfs:/vm7", "hdfs:vm7",
        "hdfs://", "hdfs://nn1", "hdfs://nn1@s", "hdfs://nn1:/vm7", "hdfs://nn1:0/vm7",
        "hdfs://nn1:65536/vm7", "hdfs://nn1:123456/vm7", "hdfs://nn1:80x/vm7",
        "hdfs://nn1:8020:1/vm7", "hdfs://:8020/vm7", "hdfs://alice@nn1/vm7",
        "hdfs://a b/vm7", "hdfs://[::1/vm7", "hdfs://[]/vm7", "hdfs://[nn1]/vm7",
        "hdfs://[::1]x/vm7", "hdfs://[::1]:/vm7", "hdfs://::1/vm7", "hdfs://nn1/a/../b",
        "hdfs://nn1/./b", "hdfs://nn1/a:b",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct location l;

        error_clear();
        if (location_parse_at(bad[i], &l) != -EINVAL) {
            fail_msg("\"%s\" was taken", bad[i] ? bad[i] : "(null)");
        }
        assert_string_not_equal(error_text(), "");
    }
}

static void test_a_snapshot_name_has_an_end(void **state)
{
    char text[200] = "vm7@";
    struct location l;

    memset(text + 4, 'x', 128);
    assert_int_equal(location_parse_at(text, &l), 0);
    assert_int_equal(strlen(l.snapshot), 128);
    location_done(&l);
    text[4 + 128] = 'x';
    assert_int_equal(location_parse_at(text, &l), -EINVAL);
}

static void test_without_snapshot_an_at_is_a_character(void **state)
{
    struct location l;

    assert_int_equal(location_parse("dir/a@b", &l), 0);
    assert_string_equal(l.path, "dir/a@b");
    assert_null(l.snapshot);
    location_done(&l);
    assert_int_equal(location_parse("hdfs://nn1/@", &l), 0);
    assert_string_equal(l.path, "/@");
    location_done(&l);
}

static void test_split(void **state)
{
    static const struct {
        const char *text, *location, *snapshot;
    } good[] = {
        { "vm7", "vm7", NULL },
        { "hlfs:vm7@s", "vm7", "s" },
        { "hlfs:local:///srv/vm7@s", "local:///srv/vm7", "s" },
        { "local:///srv/vm7///", "local:///srv/vm7", NULL },
        { "local:///", "local:///", NULL },
        { "///", "/", NULL },
        { "a@b/", "a@b", NULL },
        { "hdfs://[::1]:8020/d/vm7@a", "hdfs://[::1]:8020/d/vm7", "a" },
        { "hdfs://nn1//", "hdfs://nn1/", NULL },
        { "hdfs:///", "hdfs:///", NULL },
    };
    char *location = NULL, *snapshot = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(hlfs_location_split(good[i].text, &location, &snapshot), 0);
        assert_same(good[i].text, location, good[i].location);
        assert_same(good[i].text, snapshot, good[i].snapshot);
        free(location);
        free(snapshot);
    }
    location = NULL;
    assert_int_equal(hlfs_location_split("vm7@", &location, &snapshot), -EINVAL);
    assert_null(location);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_is_taken_apart),
        cmocka_unit_test(test_bad_locations_are_refused),
        cmocka_unit_test(test_a_snapshot_name_has_an_end),
        cmocka_unit_test(test_without_snapshot_an_at_is_a_character),
        cmocka_unit_test(test_split),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
