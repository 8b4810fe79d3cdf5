/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hadoop's configuration files: what overrides what, variables, includes, refusals. */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/util.h"
#include "hdfs/conf.h"

#define PROPERTY(name, value) \
    "<property><name>" name "</name><value>" value "</value></property>"

static char dir[64];

static int load(struct conf *c, const char *inside)
{
    _cleanup_free_ char *text = NULL;

    assert_true(asprintf(&text, "<?xml version=\"1.0\"?>\n<configuration>%s"
                         "</configuration>\n", inside) > 0);
    return conf_load_text(c, "test.xml", text, strlen(text));
}

static struct conf *with(const char *inside)
{
    struct conf *c = conf_new();

    assert_non_null(c);
    assert_int_equal(load(c, inside), 0);
    return c;
}

static void expect(const struct conf *c, const char *key, const char *value)
{
    _cleanup_free_ char *text = conf_get(c, key);

    if (!value) {
        assert_null(text);
        return;
    }
    assert_non_null(text);
    assert_string_equal(text, value);
}

static void test_later_overrides(void **state)
{
    struct conf *c = with(PROPERTY("a", "1") PROPERTY("b", " two \n")
                          PROPERTY("\n c ", "") PROPERTY("a", "1b"));

    expect(c, "a", "1b");
    expect(c, "b", "two");
    assert_string_equal(conf_raw(c, "b"), " two \n");
    expect(c, "c", "");
    expect(c, "d", NULL);
    assert_int_equal(load(c, PROPERTY("a", "2") PROPERTY("d", "&lt;&#65;&amp;")), 0);
    expect(c, "a", "2");
    expect(c, "d", "<A&");
    conf_free(c);
    conf_free(NULL);
}

static void test_final(void **state)
{
    struct conf *c = with("<property><name>a</name><value>1</value><final> true </final>"
                          "</property>"
                          "<property><name>b</name><value>1</value><final>false</final>"
                          "</property>");

    assert_int_equal(load(c, PROPERTY("a", "2") PROPERTY("b", "2")), 0);
    expect(c, "a", "1");
    expect(c, "b", "2");
    assert_int_equal(conf_set(c, "a", "3"), 0);
    expect(c, "a", "3");
    assert_int_equal(load(c, PROPERTY("a", "4")), 0);
    expect(c, "a", "3");
    conf_free(c);
}

/* The short form, what is passed over, CDATA, comments, and what is no property. */
static void test_forms(void **state)
{
    struct conf *c = with("<property name='a' value='1'/>"
                          "<property name='f' value='1' final='true'/>"
                          "<property name='f' value='2'/>"
                          "<!-- <property name='x' value='1'/> -->"
                          "<property><description>d <b>bold</b><name>no</name>"
                          "</description><name>b</name><value><![CDATA[<2>]]></value>"
                          "<source>s</source></property>"
                          "<property><name>only</name></property>"
                          "<property><value>nothing</value></property>"
                          "<other name='y' value='1'/>");

    expect(c, "a", "1");
    expect(c, "f", "1");
    expect(c, "x", NULL);
    expect(c, "b", "<2>");
    expect(c, "no", NULL);
    expect(c, "only", NULL);
    expect(c, "y", NULL);
    conf_free(c);
}

static void test_variables(void **state)
{
    struct conf *c = with(PROPERTY("host", "nn") PROPERTY("port", "80${digits}")
                          PROPERTY("digits", "20") PROPERTY("addr", "${host}:${port}!")
                          PROPERTY("which", "host")
                          PROPERTY("in", "<![CDATA[${${which}}]]>")
                          PROPERTY("none", "${nothing} ${host} ${a b} ${} ${")
                          PROPERTY("self", "x${self}") PROPERTY("one", "${two}")
                          PROPERTY("two", "${one}")
                          PROPERTY("env", "${env.HLFS_TEST_SET}-${env.HLFS_TEST_NONE-a}-"
                                   "${env.HLFS_TEST_EMPTY-b}-${env.HLFS_TEST_EMPTY:-c}-"
                                   "${env.HLFS_TEST_NONE}"));
    _cleanup_free_ char *self = NULL, *one = NULL;

    (void)setenv("HLFS_TEST_SET", "set", 1);
    (void)setenv("HLFS_TEST_EMPTY", "", 1);
    (void)unsetenv("HLFS_TEST_NONE");
    expect(c, "addr", "nn:8020!");
    expect(c, "in", "nn");
    expect(c, "none", "${nothing} nn ${a b} ${} ${");
    expect(c, "env", "set-a--c-${env.HLFS_TEST_NONE}");
    /* What names itself comes to an end. */
    self = conf_get(c, "self");
    one = conf_get(c, "one");
    assert_non_null(self);
    assert_non_null(one);
    conf_free(c);
}

/* A value that doubles each time it is replaced does not fill the memory. */
static void test_variables_that_grow(void **state)
{
    struct conf *c = conf_new();
    char inside[512];

    assert_int_equal(conf_set(c, "v0", "0123456789012345678901234567890123456789"), 0);
    for (int i = 1; i <= 40; i++) {
        char key[8];

        (void)snprintf(key, sizeof(key), "v%d", i);
        (void)snprintf(inside, sizeof(inside), "${v%d}${v%d}", i - 1, i - 1);
        assert_int_equal(conf_set(c, key, inside), 0);
    }
    for (int i = 0; i <= 40; i++) {
        char key[8];
        _cleanup_free_ char *value = NULL;

        (void)snprintf(key, sizeof(key), "v%d", i);
        value = conf_get(c, key);
        assert_true(!value || strlen(value) < MIB(2));
    }
    conf_free(c);
}

static void test_kinds(void **state)
{
    struct conf *c = with(PROPERTY("yes", "TRUE") PROPERTY("no", " false ")
                          PROPERTY("maybe", "1") PROPERTY("n", "42") PROPERTY("x", "0x1F")
                          PROPERTY("neg", "-1") PROPERTY("big", "18446744073709551616")
                          PROPERTY("size", "128m") PROPERTY("huge", "99999999e")
                          PROPERTY("s", "5s") PROPERTY("ms", "250ms") PROPERTY("t", "3")
                          PROPERTY("m", "2M") PROPERTY("bad", "5 parsecs"));

    assert_true(conf_bool(c, "yes", false));
    assert_false(conf_bool(c, "no", true));
    assert_true(conf_bool(c, "maybe", true));
    assert_false(conf_bool(c, "absent", false));
    assert_int_equal(conf_number(c, "n", 1), 42);
    assert_int_equal(conf_number(c, "x", 1), 31);
    assert_int_equal(conf_number(c, "neg", 7), 7);
    assert_int_equal(conf_number(c, "big", 7), 7);
    assert_int_equal(conf_size(c, "size", 1), MIB(128));
    assert_int_equal(conf_size(c, "n", 1), 42);
    assert_int_equal(conf_size(c, "huge", 9), 9);
    assert_int_equal(conf_time_us(c, "s", 1000, 0), 5000000);
    assert_int_equal(conf_time_us(c, "ms", 1000000, 0), 250000);
    assert_int_equal(conf_time_us(c, "t", 1000000, 0), 3000000);
    assert_int_equal(conf_time_us(c, "m", 1, 0), 120000000);
    assert_int_equal(conf_time_us(c, "bad", 1, 11), 11);
    conf_free(c);
}

static void put_file(const char *name, const char *text)
{
    char path[128];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_includes(void **state)
{
    struct conf *c = conf_new();

    put_file("core-site.xml",
             "<configuration xmlns:xi='http://www.w3.org/2001/XInclude'>"
             PROPERTY("a", "1") PROPERTY("b", "1")
             "<xi:include href='more.xml'><xi:fallback>" PROPERTY("fell", "1")
             "</xi:fallback></xi:include>"
             "<xi:include href='absent.xml'>" PROPERTY("stray", "1") "<xi:fallback>"
             PROPERTY("instead", "1") "</xi:fallback></xi:include>"
             PROPERTY("b", "3") "</configuration>");
    put_file("more.xml", "<configuration>" PROPERTY("a", "2") PROPERTY("b", "2")
             PROPERTY("more", "1") "</configuration>");
    put_file("hdfs-site.xml", "<configuration>" PROPERTY("more", "2") "</configuration>");
    assert_int_equal(conf_load(c, dir), 0);
    expect(c, "a", "2");
    expect(c, "b", "3");
    expect(c, "more", "2");
    expect(c, "fell", NULL);
    expect(c, "stray", NULL);
    expect(c, "instead", "1");
    conf_free(c);
}

static void test_includes_of_itself(void **state)
{
    struct conf *c = conf_new();
    char path[128];

    put_file("loop.xml", "<configuration><xi:include href='loop.xml'/></configuration>");
    (void)snprintf(path, sizeof(path), "%s/loop.xml", dir);
    assert_int_equal(conf_load_file(c, path), -ELOOP);
    assert_non_null(strstr(error_text(), "loop.xml"));
    put_file("bad.xml", "<configuration>\n<xi:include href='broken.xml'/>"
             "</configuration>");
    put_file("broken.xml", "<configuration>\n\n<property></configuration>");
    (void)snprintf(path, sizeof(path), "%s/bad.xml", dir);
    assert_int_equal(conf_load_file(c, path), -EINVAL);
    assert_non_null(strstr(error_text(), "broken.xml, line 3"));
    conf_free(c);
}

static void test_refused(void **state)
{
    static const char bomb[] =
        "<?xml version='1.0'?><!DOCTYPE c [<!ENTITY a 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'>"
        "<!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>"
        "<!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>"
        "<!ENTITY e '&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;'>"
        "<!ENTITY f '&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;'>]>"
        "<configuration><property><name>x</name><value>&f;&f;&f;&f;</value></property>"
        "</configuration>";
    struct conf *c = conf_new();
    char deep[2000] = "";

    assert_int_equal(conf_load_text(c, "t.xml", "", 0), -EINVAL);
    assert_non_null(strstr(error_text(), "t.xml, line 1"));
    assert_int_equal(conf_load_text(c, "t.xml", "<a>\n<b></a>", 11), -EINVAL);
    assert_non_null(strstr(error_text(), "t.xml, line 2"));
    assert_int_equal(conf_load_text(c, "t.xml", bomb, strlen(bomb)), -EINVAL);
    for (int i = 0; i < 100; i++) {
        memcpy(deep + 3 * i, "<a>", 4);
    }
    assert_int_equal(load(c, deep), -EINVAL);
    assert_int_equal(conf_load(c, "/nonexistent"), -ENOENT);
    assert_non_null(strstr(error_text(), "/nonexistent"));
    assert_int_equal(conf_load_file(c, "/nonexistent/x.xml"), -ENOENT);
    assert_int_equal(conf_load_file(c, "/proc"), -EINVAL);
    conf_free(c);
}

static int remove_files(void **state)
{
    static const char *const names[] = { "core-site.xml", "hdfs-site.xml", "more.xml",
                                         "loop.xml", "bad.xml", "broken.xml" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(dir);
}

static int make_dir(void **state)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/hlfs-conf-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_later_overrides),
        cmocka_unit_test(test_final),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_variables_that_grow),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_includes),
        cmocka_unit_test(test_includes_of_itself),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_files);
}
