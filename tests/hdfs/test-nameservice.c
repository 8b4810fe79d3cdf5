/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From authorities to NameNodes, and Java's exceptions to codes. */
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
#include "hdfs/errors.h"
#include "hdfs/nameservice.h"
#include "hdfs/types.h"

static struct conf *conf;

static void set(const char *key, const char *value)
{
    assert_int_equal(conf_set(conf, key, value), 0);
}

static int setup(void **state)
{
    conf = conf_new();
    set("dfs.nameservices", "prod, other,fed");
    set("dfs.ha.namenodes.prod", "nn1, nn2");
    set("dfs.namenode.rpc-address.prod.nn1", "${host}.example.org:8021");
    set("dfs.namenode.rpc-address.prod.nn2", "b.example.org");
    set("host", "a");
    set("dfs.ha.namenodes.other", "x,y");
    set("dfs.namenode.rpc-address.other.x", "x:1");
    set("dfs.namenode.rpc-address.fed", "fed.example.org:9");
    return 0;
}

static int teardown(void **state)
{
    conf_free(conf);
    return 0;
}

static void expect(const char *authority, const char *name, const char *nodes)
{
    struct nameservice s;
    char text[1024] = "";

    assert_int_equal(nameservice_find(conf, authority, &s), 0);
    assert_string_equal(s.name, name);
    for (unsigned i = 0; i < s.count; i++) {
        size_t at = strlen(text);

        (void)snprintf(text + at, sizeof(text) - at, "%s%s|%u", i ? " " : "",
                       s.nodes[i].host, s.nodes[i].port);
    }
    assert_string_equal(text, nodes);
}

static void refuse(const char *authority, const char *words)
{
    struct nameservice s;

    assert_int_equal(nameservice_find(conf, authority, &s), -EINVAL);
    if (!strstr(error_text(), words)) {
        fail_msg("\"%s\" does not say \"%s\"", error_text(), words);
    }
}

static void test_authorities(void **state)
{
    expect("h", "h:8020", "h|8020");
    expect("h:1", "h:1", "h|1");
    expect("10.0.0.1:8020", "10.0.0.1:8020", "10.0.0.1|8020");
    expect("[fe80::1]:77", "fe80::1:77", "fe80::1|77");
    expect("prod", "prod", "a.example.org|8021 b.example.org|8020");
    expect("fed", "fed", "fed.example.org|9");
    refuse("prod:8020", "no port");
    refuse("other", "dfs.namenode.rpc-address.other.y");
    refuse("h:0", "no host");
    refuse("h:65536", "no host");
    refuse("h:x", "no host");
    refuse("h:", "no host");
    refuse(":1", "no host");
    refuse("[::1", "no host");
    refuse("a b", "no host");
    refuse("user@h", "no host");
    set("dfs.ha.namenodes.other", " , ");
    refuse("other", "empty");
    set("dfs.namenode.rpc-address.prod.nn2", "b:c:d");
    refuse("prod", "dfs.namenode.rpc-address.prod.nn2");
}

static void test_default(void **state)
{
    refuse("", "fs.defaultFS is not set");
    set("fs.default.name", "hdfs://old:1");
    expect("", "old:1", "old|1");
    set("fs.defaultFS", "hdfs://prod/user");
    expect("", "prod", "a.example.org|8021 b.example.org|8020");
    set("fs.defaultFS", "HDFS://h/");
    expect("", "h:8020", "h|8020");
    set("fs.defaultFS", "file:///");
    refuse("", "no HDFS");
    set("fs.defaultFS", "hdfs://");
    refuse("", "no HDFS");
}

static void test_more_than_fit(void **state)
{
    char ids[512] = "", key[128];

    for (int i = 0; i <= NAMESERVICE_MAX; i++) {
        size_t at = strlen(ids);

        (void)snprintf(ids + at, sizeof(ids) - at, "n%d,", i);
        (void)snprintf(key, sizeof(key), "dfs.namenode.rpc-address.prod.n%d", i);
        set(key, "h");
    }
    set("dfs.ha.namenodes.prod", ids);
    refuse("prod", "more than");
}

static void test_exceptions(void **state)
{
    static const struct {
        const char *class, *message;
        int code;
        enum errors_advice advice;
    } examples[] = {
        { "java.io.FileNotFoundException", "", ENOENT, ERRORS_FAIL },
        { "org.apache.hadoop.fs.FileAlreadyExistsException", "", EEXIST, ERRORS_FAIL },
        { "org.apache.hadoop.security.AccessControlException", "", EACCES, ERRORS_FAIL },
        { "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException", "", EDQUOT,
          ERRORS_FAIL },
        { "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException", "", EDQUOT,
          ERRORS_FAIL },
        { "org.apache.hadoop.ipc.StandbyException", "", ETIMEDOUT, ERRORS_FAILOVER },
        { "org.apache.hadoop.hdfs.server.namenode.SafeModeException", "", EAGAIN,
          ERRORS_WAIT },
        { "org.apache.hadoop.ipc.RetriableException", "", EAGAIN, ERRORS_WAIT },
        { "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException", "", HDFS_ELEASE,
          ERRORS_FAIL },
        { "java.io.IOException", "File /a could only be written to 0 of the 1 "
          "minReplication nodes. There are 3 datanode(s) running", ENOSPC, ERRORS_FAIL },
        { "java.io.IOException", "Client (=x) is not the lease owner (=y): /a",
          HDFS_ELEASE, ERRORS_FAIL },
        { "java.io.IOException", "something", EIO, ERRORS_FAIL },
        { "org.apache.hadoop.security.token.SecretManager$InvalidToken", "", HDFS_ETOKEN,
          ERRORS_FAIL },
        { "", "", EIO, ERRORS_FAIL },
        { "Exception", "", EIO, ERRORS_FAIL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        enum errors_advice advice;

        assert_int_equal(errors_code(examples[i].class, examples[i].message, &advice),
                         -examples[i].code);
        assert_int_equal(advice, examples[i].advice);
    }
    assert_string_not_equal(errors_name(-HDFS_ELEASE), errors_name(-HDFS_ETOKEN));
    assert_string_equal(errors_name(-ENOENT), error_name(-ENOENT));
}

static void test_first_line(void **state)
{
    char text[12];

    errors_first_line("Not\tthere: /x \r\n\tat org.apache", text, sizeof(text));
    assert_string_equal(text, "Not there:");
    errors_first_line("a\n", text, sizeof(text));
    assert_string_equal(text, "a");
    errors_first_line("", text, sizeof(text));
    assert_string_equal(text, "");
    errors_first_line("\x1b[31mred", text, sizeof(text));
    assert_string_equal(text, " [31mred");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_authorities, setup, teardown),
        cmocka_unit_test_setup_teardown(test_default, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_than_fit, setup, teardown),
        cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_first_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
