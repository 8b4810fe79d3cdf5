/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The HDFS store on a real cluster: the contract, and what only it has: recovery of
 * another writer's file, knocks, creates of unknown outcome.
 *
 * HLFS_TEST_CLUSTER is the directory of a cluster of four DataNodes that tests/hdfs/cluster
 * has started: nodes are stopped, and started again.  Exits 77 without.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/test-store.h"
#include "base/clock.h"
#include "base/error.h"
#include "store/hdfs.h"

#define SIZE MIB(1)

static const char *authority;
static char volume[128];
static bool hflush;
static uint32_t replication;
static uint64_t call_us;

/* ---- Helpers ------------------------------------------------------------------- */

static void say(void *opaque, int level, const char *text)
{
    (void)opaque;
    if (getenv("HLFS_TEST_LOG") || level <= LOG_WARNING) {
        fprintf(stderr, "  log %d: %s\n", level, text);
    }
}

static struct store *open_volume(unsigned flags)
{
    struct hdfs_store_params p = {
        .authority = authority, .path = volume, .flags = flags, .mode = 0600,
        .log.call = say, .hflush = hflush, .replication = replication,
        .call_us = call_us,
    };
    struct store *s = NULL;

    if (hdfs_store_open(&p, &s) < 0) {
        fail_msg("%s", error_text());
    }
    return s;
}

static void new_volume_name(void)
{
    static unsigned n;

    (void)snprintf(volume, sizeof(volume), "/hlfs-test-%d-%u", (int)getpid(), n++);
}

static struct store *fresh(void *opaque)
{
    (void)opaque;
    new_volume_name();
    return open_volume(HDFS_STORE_CREATE);
}

static void finish(void *opaque, struct store *s)
{
    (void)opaque;
    store_free(s);
    s = open_volume(0);
    if (store_destroy(s) < 0) {
        fail_msg("%s", error_text());
    }
    store_free(s);
}

/* A volume may have been destroyed by the test. */
static void finish_contract(void *opaque, struct store *s)
{
    (void)opaque;
    (void)store_destroy(s);
    store_free(s);
}

static uint8_t *buf_new(size_t len, int byte)
{
    uint8_t *buf = aligned_alloc(STORE_BUF_ALIGN, ALIGN_UP(len, STORE_BUF_ALIGN));

    assert_non_null(buf);
    memset(buf, byte, len);
    return buf;
}

static struct store_lane *open_lane(struct store *s)
{
    struct store_lane *lane = store_lane_new(s);

    assert_non_null(lane);
    return lane;
}

static int seal_now(struct store_lane *lane, uint64_t file)
{
    struct store_op op = { .what = STORE_SEAL, .file = file };

    return store_do(lane, &op);
}

/* Run tests/hdfs/cluster with ARGUMENTS; what it prints goes to RET. */
static void cluster(const char *arguments, char *ret, size_t size)
{
    char command[1024];
    FILE *f;
    size_t n;

    (void)snprintf(command, sizeof(command), "exec %s %s %s", CLUSTER_SCRIPT,
                   getenv("HLFS_TEST_CLUSTER"), arguments);
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(ret, 1, size - 1, f);
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    assert_int_equal(pclose(f), 0);
}

static void cluster_do(const char *arguments)
{
    char out[256];

    cluster(arguments, out, sizeof(out));
}

/* ---- Another writer ------------------------------------------------------------ */

/* What was durable is in the length that a recovery tells, and the writer is out. */
static void a_recovery_ends_the_writer(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(0);
    struct store_lane *lane = open_lane(a), *other = open_lane(b);
    uint8_t *buf = buf_new(65536, 7), *got = buf_new(65536, 0);
    uint64_t len = 0;

    (void)state;
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    assert_int_equal(store_append_now(lane, 1, 0, buf, 65536, STORE_DURABLE), 0);
    assert_int_equal(store_recover(b, 1, &len), 0);
    assert_int_equal(len, 65536);
    assert_int_equal(store_pread_now(other, 1, 0, got, 65536), 65536);
    assert_memory_equal(buf, got, 65536);
    assert_int_equal(store_append_now(lane, 1, 65536, buf, 65536, STORE_DURABLE), -EIO);
    assert_int_equal(store_append_now(lane, 1, 65536, buf, 65536, 0), -EIO);
    assert_int_equal(store_pread_now(other, 1, 65536, got, 65536), 0);
    /* The old one still reads what it wrote. */
    assert_int_equal(store_pread_now(lane, 1, 0, got, 65536), 65536);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
    free(buf);
    free(got);
}

/*
 * A taker takes all files below its vote at once, as each takes some heartbeats; and who
 * has not enlisted none but the one it names.
 */
static void a_taker_recovers_all_at_once(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(0);
    struct store_lane *lane = open_lane(a), *other = open_lane(b);
    uint8_t *buf = buf_new(65536, 7);
    uint64_t len = 0, start_us, first_us;

    (void)state;
    for (uint64_t file = 1; file <= 6; file++) {
        assert_int_equal(store_create_now(lane, file, SIZE), 0);
        assert_int_equal(store_append_now(lane, file, 0, buf, file * 4096, 0), 0);
    }
    assert_int_equal(store_recover(b, 1, &len), 0);
    assert_int_equal(len, 4096);
    assert_int_equal(store_append_now(lane, 2, 8192, buf, 4096, 0), 0);

    assert_int_equal(store_enlist(b, 7), 0);
    assert_int_equal(store_create_now(other, 7, SIZE), 0);
    start_us = clock_monotonic_us(&clock_system);
    assert_int_equal(store_recover(b, 2, &len), 0);
    assert_int_equal(len, 3 * 4096);
    first_us = clock_monotonic_us(&clock_system) - start_us;
    for (uint64_t file = 3; file <= 6; file++) {
        assert_int_equal(store_append_now(lane, file, file * 4096, buf, 4096, 0), -EIO);
        assert_int_equal(store_recover(b, file, &len), 0);
        assert_int_equal(len, file * 4096);
    }
    assert_true(clock_monotonic_us(&clock_system) - start_us < first_us + 1000000);
    assert_int_equal(store_append_now(other, 7, 0, buf, 4096, STORE_DURABLE), 0);
    assert_int_equal(store_recover(b, 6, &len), 0);     /* may be asked again */
    assert_int_equal(len, 6 * 4096);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
    free(buf);
}

/* An open file is read beside its writer, as far as it was acknowledged. */
static void an_open_file_is_read_by_others(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(HDFS_STORE_READ_ONLY);
    struct store_lane *lane = open_lane(a), *other = open_lane(b);
    uint8_t *buf = buf_new(8192, 3), *got = buf_new(8192, 0);

    (void)state;
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    assert_int_equal(store_pread_now(other, 1, 0, got, 4096), 0);
    for (uint64_t at = 0; at < 5 * 4096; at += 4096) {
        assert_int_equal(store_append_now(lane, 1, at, buf, 4096, STORE_DURABLE), 0);
        assert_int_equal(store_pread_now(other, 1, at, got, 8192), 4096);
        assert_memory_equal(buf, got, 4096);
    }
    assert_int_equal(store_append_now(other, 1, 5 * 4096, buf, 4096, 0), -EROFS);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
    free(buf);
    free(got);
}

/* ---- Signs of life ------------------------------------------------------------- */

static void a_living_holder_answers(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(0);
    struct store_lane *lane = open_lane(a);

    (void)state;
    assert_int_equal(store_enlist(a, 1), 0);
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_holder_alive(b), 1);
    }
    store_resign(a);
    assert_int_equal(store_holder_alive(b), 0);
    store_lane_free(lane);
    store_free(b);
    finish(NULL, a);
}

/* Who was taken over from gives no sign of life any more, whatever it does not know. */
static void who_was_taken_over_from_does_not_answer(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(0);
    struct store_lane *lane = open_lane(a), *other = open_lane(b);

    (void)state;
    assert_int_equal(store_enlist(a, 1), 0);
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    assert_int_equal(store_create_now(other, 2, SIZE), 0);
    assert_int_equal(store_holder_alive(b), 0);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
}

static void *ask(void *opaque)
{
    return (void *)(intptr_t)store_holder_alive(opaque);
}

/*
 * In safe mode nothing can be removed: a holder that could not answer once was dead for who
 * had knocked just before.
 */
static void safe_mode_is_no_death(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(0);
    struct store_lane *lane = open_lane(a);
    pthread_t thread;
    void *res;

    (void)state;
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    assert_int_equal(pthread_create(&thread, NULL, ask, b), 0);
    cluster_do("hdfs dfsadmin -safemode enter");        /* which takes a while */
    sleep(8);
    cluster_do("hdfs dfsadmin -safemode leave");
    assert_int_equal(store_enlist(a, 2), 0);            /* only now it listens */
    assert_int_equal(pthread_join(thread, &res), 0);
    assert_int_equal((intptr_t)res, 1);
    store_lane_free(lane);
    store_free(b);
    finish(NULL, a);
}

/* Who ends in order need not be waited for; who was followed by another must. */
static void who_left_is_not_waited_for(void **state)
{
    struct store *a = fresh(NULL), *b;
    struct store_lane *lane = open_lane(a);
    uint64_t start_us;

    (void)state;
    assert_int_equal(store_enlist(a, 1), 0);
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    assert_int_equal(store_create_now(lane, 2, SIZE), 0);
    store_lane_free(lane);
    store_resign(a);
    store_free(a);

    b = open_volume(0);
    start_us = clock_monotonic_us(&clock_system);
    assert_int_equal(store_holder_alive(b), 0);
    assert_true(clock_monotonic_us(&clock_system) - start_us < 3000000);
    lane = open_lane(b);
    assert_int_equal(store_enlist(b, 3), 0);
    assert_int_equal(store_create_now(lane, 3, SIZE), 0);
    a = open_volume(0);
    assert_int_equal(store_holder_alive(a), 1);
    store_free(a);
    store_lane_free(lane);
    finish(NULL, b);
}

/* ---- Fences -------------------------------------------------------------------- */

/* The taker's first file may be gone again, and its whole directory. */
static void a_fence_sees_later_numbers(void **state)
{
    struct store *a = fresh(NULL), *b = open_volume(0);
    struct store_lane *lane = open_lane(a), *other = open_lane(b);
    struct store_op look = { .what = STORE_LOOK, .fence = 4000 };

    (void)state;
    assert_int_equal(store_do(lane, &look), 0);
    assert_int_equal(store_create_now(other, 3999, SIZE), 0);
    assert_int_equal(store_do(lane, &look), 0);
    assert_int_equal(store_create_now(other, 4001, SIZE), 0);
    assert_int_equal(store_do(lane, &look), -ESTALE);
    assert_int_equal(store_remove_now(other, 4001), 0);
    assert_int_equal(store_create_now(other, 20000, SIZE), 0);
    store_lane_free(lane);
    store_free(a);      /* one that has not looked for long, as if it had been stopped */
    a = open_volume(0);
    lane = open_lane(a);
    assert_int_equal(store_do(lane, &look), -ESTALE);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
}

/* ---- Creates of unknown outcome ------------------------------------------------ */

/* The NameNode has the request, and makes the file when nobody waits any more. */
static void a_create_that_was_not_answered_is_found_to_be_ours(void **state)
{
    struct store *a = fresh(NULL), *b;
    struct store_lane *lane, *other;
    uint8_t *buf = buf_new(4096, 1);

    (void)state;
    store_free(a);
    call_us = 1500000;
    a = open_volume(0);
    call_us = 0;
    b = open_volume(0);
    lane = open_lane(a);
    other = open_lane(b);
    assert_int_equal(store_enlist(a, 1), 0);
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    cluster_do("pause-namenode");
    assert_int_equal(store_create_now(lane, 2, SIZE), -EIO);
    cluster_do("resume-namenode");
    /* The holder once took the file for another's, and answered no knock any more. */
    assert_int_equal(store_holder_alive(b), 1);
    while (store_create_now(lane, 2, SIZE) == -EIO) {
        usleep(100000);
    }
    assert_int_equal(store_append_now(lane, 2, 0, buf, 4096, STORE_DURABLE), 0);
    assert_int_equal(store_holder_alive(b), 1);
    assert_int_equal(store_create_now(lane, 2, SIZE), -EEXIST);
    assert_int_equal(store_create_now(other, 2, SIZE), -EEXIST);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
    free(buf);
}

/* The request is lost, and somebody else is quicker with the next one. */
static void a_create_that_was_lost_may_be_anothers_by_now(void **state)
{
    struct store *a = fresh(NULL), *b;
    struct store_lane *lane, *other;
    uint8_t *buf = buf_new(4096, 1);
    int r;

    (void)state;
    b = open_volume(0);
    store_free(a);
    call_us = 1500000;
    a = open_volume(0);
    call_us = 0;
    lane = open_lane(a);
    other = open_lane(b);
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    assert_int_equal(store_append_now(lane, 1, 0, buf, 4096, STORE_DURABLE), 0);
    cluster_do("kill-namenode");
    assert_int_equal(store_create_now(lane, 2, SIZE), -EIO);
    /* A block that is open needs no NameNode. */
    assert_int_equal(store_append_now(lane, 1, 4096, buf, 4096, STORE_DURABLE), 0);
    cluster_do("start-namenode");
    cluster_do("wait-live 4");
    assert_int_equal(store_create_now(other, 2, SIZE), 0);
    while ((r = store_create_now(lane, 2, SIZE)) == -EIO) {
        usleep(100000);
    }
    assert_int_equal(r, -EEXIST);
    assert_int_equal(store_append_now(lane, 1, 8192, buf, 4096, STORE_DURABLE), 0);
    store_lane_free(lane);
    store_lane_free(other);
    store_free(b);
    finish(NULL, a);
    free(buf);
}

/* ---- DataNodes ----------------------------------------------------------------- */

/* A DataNode of the pipeline that writes segment FILE; 0: none. */
static int writing_node(unsigned file)
{
    char command[512], out[64], port[64];

    (void)snprintf(command, sizeof(command), "hdfs fsck %s/log/000000/%09x -openforwrite "
                   "-files -blocks -locations 2> /dev/null | "
                   "grep -o 'DatanodeInfoWithStorage.127.0.0.1:[0-9]*' | head -n 1",
                   volume, file);
    cluster(command, out, sizeof(out));
    for (int n = 1; n <= 4 && strchr(out, ':'); n++) {
        (void)snprintf(command, sizeof(command), "datanode-port %d", n);
        cluster(command, port, sizeof(port));
        if (strcmp(strchr(out, ':') + 1, port) == 0) {
            return n;
        }
    }
    return 0;
}

static void node_do(const char *what, int node)
{
    char command[64];

    (void)snprintf(command, sizeof(command), "%s %d", what, node);
    cluster_do(command);
}

static double seconds_since(uint64_t start_us)
{
    return (double)(clock_monotonic_us(&clock_system) - start_us) / 1e6;
}

/*
 * It is left after the ack time-out, and the file that was made ahead does not wait for
 * it as well, whichever nodes it was connected to.
 */
static void a_node_that_hangs_is_left(void **state)
{
    struct store *a = fresh(NULL), *b;
    struct store_lane *lane = open_lane(a), *other;
    uint8_t *buf = buf_new(MIB(1), 5), *got = buf_new(MIB(1), 0);
    uint64_t start_us, len;
    int node;

    (void)state;
    assert_int_equal(store_create_now(lane, 1, 4 * SIZE), 0);
    assert_int_equal(store_create_now(lane, 2, 4 * SIZE), 0);
    assert_int_equal(store_append_now(lane, 1, 0, buf, MIB(1), STORE_DURABLE), 0);
    node = writing_node(1);
    assert_true(node > 0);
    node_do("pause-datanode", node);
    start_us = clock_monotonic_us(&clock_system);
    assert_int_equal(store_append_now(lane, 1, MIB(1), buf, 4096, STORE_DURABLE), -EIO);
    assert_int_equal(store_append_now(lane, 2, 0, buf, 4096, STORE_DURABLE), 0);
    assert_true(seconds_since(start_us) < 4);
    start_us = clock_monotonic_us(&clock_system);
    assert_int_equal(store_create_now(lane, 3, 4 * SIZE), 0);
    assert_int_equal(store_append_now(lane, 3, 0, buf, 4096, STORE_DURABLE), 0);
    assert_true(seconds_since(start_us) < 1);
    assert_int_equal(seal_now(lane, 1), 0);
    assert_int_equal(store_pread_now(lane, 1, 0, got, MIB(1)), MIB(1));
    assert_memory_equal(buf, got, MIB(1));
    node_do("resume-datanode", node);
    b = open_volume(0);
    other = open_lane(b);
    assert_int_equal(store_recover(b, 1, &len), 0);
    assert_true(len >= MIB(1));
    assert_int_equal(store_pread_now(other, 1, 0, got, MIB(1)), MIB(1));
    assert_memory_equal(buf, got, MIB(1));
    store_lane_free(other);
    store_free(b);
    store_lane_free(lane);
    finish(NULL, a);
    free(buf);
    free(got);
}

/* A file made ahead moves to other nodes before its first byte comes. */
static void a_standby_leaves_a_node_that_dies(void **state)
{
    struct store *a = fresh(NULL);
    struct store_lane *lane = open_lane(a);
    uint8_t *buf = buf_new(4096, 5);
    struct store_stat st;
    int node;

    (void)state;
    assert_int_equal(store_create_now(lane, 1, 4 * SIZE), 0);
    node = writing_node(1);
    assert_true(node > 0);
    node_do("kill-datanode", node);
    usleep(500000);
    assert_int_equal(store_append_now(lane, 1, 0, buf, 4096, STORE_DURABLE), 0);
    assert_int_equal(store_stat(a, &st), 0);
    assert_false(st.degraded);
    node_do("start-datanode", node);
    cluster_do("wait-live 4");
    store_lane_free(lane);
    finish(NULL, a);
    free(buf);
}

/* A node is decommissioned although a standby was connected to it. */
static void a_standby_lets_a_node_go(void **state)
{
    struct store *a = fresh(NULL);
    struct store_lane *lane = open_lane(a);
    uint8_t *buf = buf_new(4096, 5);
    int node;

    (void)state;
    assert_int_equal(store_create_now(lane, 1, 4 * SIZE), 0);
    node = writing_node(1);
    assert_true(node > 0);
    node_do("decommission", node);
    node_do("wait-decommissioned", node);
    assert_int_equal(store_append_now(lane, 1, 0, buf, 4096, STORE_DURABLE), 0);
    node_do("recommission", node);
    store_lane_free(lane);
    finish(NULL, a);
    free(buf);
}

/* ---- Opening ------------------------------------------------------------------- */

static void opening_says_what_is_wrong(void **state)
{
    struct hdfs_store_params p = {
        .authority = authority, .path = "/no/such/volume", .mode = 0600,
    };
    struct store *s = NULL, *a = fresh(NULL);
    struct store_lane *lane = open_lane(a);
    char below[160];

    (void)state;
    assert_int_equal(hdfs_store_open(&p, &s), -ENOENT);
    assert_non_null(strstr(error_text(), "/no/such/volume"));
    assert_int_equal(store_create_now(lane, 1, SIZE), 0);
    store_lane_free(lane);
    (void)snprintf(below, sizeof(below), "%s/log/000000/000000001", volume);
    p.path = below;
    assert_int_equal(hdfs_store_open(&p, &s), -ENOTDIR);
    p.user = "somebody";
    assert_int_equal(hdfs_store_open(&p, &s), -EACCES);
    assert_non_null(strstr(error_text(), "Permission denied"));
    p.user = NULL;
    p.path = "/no/such/volume";
    p.flags = HDFS_STORE_CREATE;
    assert_int_equal(hdfs_store_open(&p, &s), -ENOENT);
    p.path = volume;
    assert_int_equal(hdfs_store_open(&p, &s), -EEXIST);
    p.flags = 0;
    p.replication = 100;
    p.min_replicas = 90;
    assert_int_equal(hdfs_store_open(&p, &s), -EHOSTDOWN);
    assert_non_null(strstr(error_text(), "min-replicas"));
    p.min_replicas = 0;
    p.path = "/";
    assert_int_equal(hdfs_store_open(&p, &s), -EINVAL);
    p.authority = "127.0.0.1:1";
    p.path = volume;
    assert_true(hdfs_store_open(&p, &s) < 0);
    assert_non_null(strstr(error_text(), "127.0.0.1"));
    finish(NULL, a);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recovery_ends_the_writer),
        cmocka_unit_test(a_taker_recovers_all_at_once),
        cmocka_unit_test(an_open_file_is_read_by_others),
        cmocka_unit_test(a_living_holder_answers),
        cmocka_unit_test(who_was_taken_over_from_does_not_answer),
        cmocka_unit_test(safe_mode_is_no_death),
        cmocka_unit_test(who_left_is_not_waited_for),
        cmocka_unit_test(a_fence_sees_later_numbers),
        cmocka_unit_test(a_create_that_was_not_answered_is_found_to_be_ours),
        cmocka_unit_test(a_create_that_was_lost_may_be_anothers_by_now),
        cmocka_unit_test(a_node_that_hangs_is_left),
        cmocka_unit_test(a_standby_leaves_a_node_that_dies),
        cmocka_unit_test(a_standby_lets_a_node_go),
        cmocka_unit_test(opening_says_what_is_wrong),
    };
    struct store_fixture fixture = {
        .name = "contract, hsync", .fresh = fresh, .finish = finish_contract,
        .threads = true,
    };
    char uri[256], conf[1024];
    int failed = 0;

    if (!getenv("HLFS_TEST_CLUSTER")) {
        printf("skipped: HLFS_TEST_CLUSTER names no cluster\n");
        return 77;
    }
    cluster("uri", uri, sizeof(uri));
    cluster("conf", conf, sizeof(conf));
    (void)setenv("HADOOP_CONF_DIR", conf, 1);
    authority = uri + strlen("hdfs://");
    if (getenv("HLFS_TEST_OWN_ONLY")) {
        return cmocka_run_group_tests(tests, NULL, NULL) != 0;
    }
    failed = store_contract_tests(&fixture);
    hflush = true;
    replication = 2;
    fixture.name = "contract, hflush, two replicas";
    failed += store_contract_tests(&fixture);
    hflush = false;
    replication = 0;
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? 1 : 0;
}
