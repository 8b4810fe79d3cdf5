/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file's life against a cluster that refuses, forgets and keeps silent at any step: what
 * is closed is closed, and what may be another writer's is let alone.
 */
#undef NDEBUG
#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "fake-hdfs.h"
#include "hdfs/hdfs.h"
#include "hdfs/input.h"
#include "hdfs/output.h"

#define PATH "/d/file"
#define OTHER "somebody else"

static struct fake_hdfs *fake;
static struct hdfs *client;
static struct output *output;
static sem_t sem;
static int result;              /* of the step that was waited for */
static bool patient;

/* ---- Steps of an output, from outside the loop --------------------------------- */

static void wait_for_step(void)
{
    assert_true(fake_wait(&sem, 1, 20));
}

static void opened(struct output *o, int res, void *opaque)
{
    result = res;
    (void)sem_post(&sem);
}

static uint32_t min_replicas;

static int open_inside(void *opaque)
{
    struct output_params p = {
        .path = PATH, .mode = 0600, .replication = MAX(min_replicas, 1u),
        .min_replicas = min_replicas, .hsync = true, .patient = patient,
        .block_size = 1 << 20,
    };

    if (!output) {
        assert_int_equal(output_new(client, &p, &output), 0);
    }
    output_open(output, opened, NULL);
    return 0;
}

static int open_output(void)
{
    (void)loop_run(hdfs_loop(client), open_inside, NULL);
    wait_for_step();
    return result;
}

static struct writer_op append_op;

static void appended(struct writer_op *op, int res)
{
    result = res;
    (void)sem_post(&sem);
}

static int append_inside(void *opaque)
{
    return output_append(output, &append_op);
}

/* 4 KiB at AT. */
static int append(size_t at)
{
    static uint8_t data[4096];
    int res;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = fake_byte(at + i);
    }
    append_op = (struct writer_op){ .done = appended, .buf = data, .len = sizeof(data) };
    res = loop_run(hdfs_loop(client), append_inside, NULL);
    if (res == 0) {
        wait_for_step();
        res = result;
    }
    return res;
}

static void closed(void *opaque, int res)
{
    result = res;
    (void)sem_post(&sem);
}

static int close_inside(void *opaque)
{
    output_close(TAKE_PTR(output), closed, NULL);
    return 0;
}

static int close_output(void)
{
    (void)loop_run(hdfs_loop(client), close_inside, NULL);
    wait_for_step();
    return result;
}

static int drop_inside(void *opaque)
{
    if (output) {
        output_drop(TAKE_PTR(output));
    }
    return 0;
}

/* ---- Set-up -------------------------------------------------------------------- */

static void say(void *opaque, int level, const char *text)
{
    if (getenv("HLFS_TEST_LOG")) {
        fprintf(stderr, "  log %d: %s\n", level, text);
    }
}

static void new_client(const char *conf_dir)
{
    struct hdfs_params p = {
        .authority = fake->authority, .conf_dir = conf_dir, .user = "me", .log.call = say,
        .call_us = 300000, .setup_us = 200000, .probe_us = 200000,
        .close_pause_us = 10000,
    };

    if (hdfs_new(&p, &client) < 0) {
        fail_msg("%s", error_text());
    }
}

static int set_up(void **state)
{
    (void)setenv("HADOOP_CONF_DIR", "/nonexistent", 1);
    patient = true;
    min_replicas = 0;
    fake = fake_hdfs_new();
    fake_hdfs_make(fake, "/d/", NULL);
    assert_int_equal(sem_init(&sem, 0, 0), 0);
    return 0;
}

static int tear_down(void **state)
{
    if (client) {
        (void)loop_run(hdfs_loop(client), drop_inside, NULL);
    }
    hdfs_free(TAKE_PTR(client));
    fake_hdfs_free(fake);
    (void)sem_destroy(&sem);
    return 0;
}

static void expect_file(bool open)
{
    bool is_open;

    assert_true(fake_hdfs_has(fake, PATH, &is_open));
    assert_int_equal(is_open, open);
}

static const struct fake_reply silence = { .what = FAKE_SILENCE };

static struct fake_reply denied(void)
{
    return fake_exception("org.apache.hadoop.security.AccessControlException", "denied");
}

static bool is(const char *method, const char *what)
{
    return strcmp(method, what) == 0;
}

/* ---- Tests --------------------------------------------------------------------- */

static void a_file_is_written_and_closed(void **state)
{
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    assert_int_equal(append(0), 0);
    assert_int_equal(append(4096), 0);
    assert_int_equal(close_output(), 0);
    expect_file(false);
    assert_int_equal(fake->node->written, 8192);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 0);
}

/* A cluster whose default is 1000 bytes for a checksum: an append of 4 KiB ended within a
 * chunk, and the next one was refused. */
static void odd_checksum_chunks_are_not_used(void **state)
{
    fake->bytes_per_checksum = 1000;
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    assert_int_equal(append(0), 0);
    assert_int_equal(append(4096), 0);
    assert_int_equal(close_output(), 0);
}

/* It was 30 s whatever the configuration said, and DataNodes with a shorter time-out broke
 * idle pipelines. */
static void heartbeats_follow_the_configuration(void **state)
{
    char dir[] = "/tmp/hlfs-test-XXXXXX", name[64];
    FILE *f;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(name, sizeof(name), "%s/hdfs-site.xml", dir);
    f = fopen(name, "w");
    assert_non_null(f);
    fprintf(f, "<configuration><property><name>dfs.client.socket-timeout</name>"
            "<value>400</value></property></configuration>\n");
    assert_int_equal(fclose(f), 0);
    new_client(dir);
    assert_int_equal(open_output(), 0);
    for (int i = 0; i < 500 && fake->node->heartbeats < 2; i++) {
        (void)usleep(10000);
    }
    assert_true(fake->node->heartbeats >= 2);
    assert_int_equal(close_output(), 0);
    (void)unlink(name);
    (void)rmdir(dir);
}

/* ---- Names that may be another's ----------------------------------------------- */

/* Our file is removed, and another writer has its name, when we want a block for it. */
static bool another_is_quicker(struct fake_hdfs *f, const char *method, const char *path,
                               struct fake_reply *ret)
{
    if (is(method, "addBlock") && f->stage++ == 0) {
        struct fake_file *e = fake_hdfs_find(f, PATH);

        e->id = f->next_id++;
        (void)snprintf(e->client, sizeof(e->client), OTHER);
    }
    return false;
}

/* We once removed the file of the other, by its path. */
static void a_file_of_another_is_not_removed(void **state)
{
    fake->meddle = another_is_quicker;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    expect_file(true);
    assert_int_equal(open_output(), -EEXIST);
    assert_int_equal(close_output(), 0);
    expect_file(true);
    assert_int_equal(fake_hdfs_count(fake, "delete", NULL), 0);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 0);
}

/* The same with the first sync of the block. */
static bool another_is_quick(struct fake_hdfs *f, const char *method, const char *path,
                             struct fake_reply *ret)
{
    if (is(method, "fsync")) {
        *ret = fake_exception("java.io.FileNotFoundException", "no such inode");
        return true;
    }
    return false;
}

static void nor_is_it_when_it_is_persisted(void **state)
{
    fake->meddle = another_is_quick;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    assert_int_equal(open_output(), -EEXIST);
    expect_file(true);
    assert_int_equal(fake_hdfs_count(fake, "delete", NULL), 0);
}

/* The create is lost, somebody else makes the file, and whether it is ours cannot be found
 * out: the error comes before the lease is looked at. */
static bool a_create_is_lost(struct fake_hdfs *f, const char *method, const char *path,
                             struct fake_reply *ret)
{
    if (is(method, "create") && f->stage == 0) {
        *ret = silence;
        return true;
    }
    if (is(method, "addBlock") && f->stage == 1) {
        *ret = denied();
        return true;
    }
    return false;
}

static void what_is_in_doubt_is_not_removed(void **state)
{
    fake->meddle = a_create_is_lost;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    fake_hdfs_make(fake, PATH, OTHER);
    fake->stage = 1;
    assert_int_equal(open_output(), -EIO);
    assert_int_equal(fake_hdfs_count(fake, "delete", NULL), 0);
    fake->stage = 2;
    assert_int_equal(open_output(), -EEXIST);
    expect_file(true);
}

/* To close it took the file from its writer, by a recovery. */
static void what_is_in_doubt_is_not_taken_from_its_writer(void **state)
{
    fake->meddle = a_create_is_lost;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    fake_hdfs_make(fake, PATH, OTHER);
    assert_int_equal(close_output(), -ESTALE);
    expect_file(true);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 0);
}

/* But if it is ours it does not stay open. */
static bool an_answer_is_lost(struct fake_hdfs *f, const char *method, const char *path,
                              struct fake_reply *ret)
{
    ret->what = is(method, "create") ? FAKE_SILENCE : FAKE_ANSWER;
    return false;
}

static void what_is_in_doubt_and_ours_is_closed(void **state)
{
    fake->meddle = an_answer_is_lost;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    expect_file(true);
    assert_int_equal(close_output(), 0);
    expect_file(false);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 0);
}

/* ---- Blocks that are abandoned ------------------------------------------------- */

static bool an_abandon_is_lost(struct fake_hdfs *f, const char *method, const char *path,
                               struct fake_reply *ret)
{
    if (is(method, "abandonBlock") && f->stage == 0) {
        *ret = silence;
        return true;
    }
    return false;
}

/* The block was given again by the next addBlock, to nodes that may have a replica. */
static void a_block_is_abandoned_until_it_is_gone(void **state)
{
    fake->meddle = an_abandon_is_lost;
    fake->node->write = WRITE_SILENT;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    assert_int_equal(fake_hdfs_count(fake, "addBlock", NULL), 1);
    assert_int_equal(open_output(), -EIO);
    assert_int_equal(fake_hdfs_count(fake, "addBlock", NULL), 1);
    fake->stage = 1;
    fake->node->write = WRITE_WELL;
    assert_int_equal(open_output(), 0);
    assert_int_equal(fake_hdfs_count(fake, "addBlock", NULL), 2);
    assert_int_equal(append(0), 0);
    assert_int_equal(close_output(), 0);
}

/* There is no place for it, and the answer to its removal is lost. */
static bool a_removal_is_lost(struct fake_hdfs *f, const char *method, const char *path,
                              struct fake_reply *ret)
{
    if (is(method, "addBlock") && f->stage == 0) {
        *ret = denied();
        return true;
    }
    if (is(method, "delete") && f->stage == 0) {
        f->stage = 1;
        *ret = silence;
        return true;
    }
    return false;
}

/* We once wrote into the file, which could still be removed by the call of before. */
static void a_removal_without_an_answer_is_made_again(void **state)
{
    bool is_open;

    fake->meddle = a_removal_is_lost;
    new_client(NULL);
    assert_int_equal(open_output(), -EIO);
    assert_int_equal(open_output(), -EACCES);
    assert_int_equal(fake_hdfs_count(fake, "delete", NULL), 2);
    assert_false(fake_hdfs_has(fake, PATH, &is_open));
    assert_int_equal(open_output(), 0);
    assert_int_equal(append(0), 0);
    assert_int_equal(close_output(), 0);
    expect_file(false);
}

/* ---- Bytes that the NameNode hears of ------------------------------------------- */

static bool a_length_is_not_taken(struct fake_hdfs *f, const char *method, const char *path,
                                  struct fake_reply *ret)
{
    if (is(method, "fsync") && f->stage++ == 1) {
        *ret = fake_exception("java.io.IOException", "not now");
        return true;
    }
    return false;
}

/*
 * The NameNode was never told that a block had bytes.  After its restart, before a DataNode
 * had reported, a recovery removed the block, with all that was synced to it.
 */
static void the_first_bytes_are_made_known(void **state)
{
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    assert_int_equal(fake_hdfs_count(fake, "fsync", NULL), 1);
    assert_int_equal(append(0), 0);
    assert_int_equal(fake_hdfs_count(fake, "fsync", NULL), 2);
    assert_int_equal(append(4096), 0);
    assert_int_equal(fake_hdfs_count(fake, "fsync", NULL), 2);
    assert_int_equal(close_output(), 0);
}

static void bytes_are_not_done_before_they_are_known(void **state)
{
    fake->meddle = a_length_is_not_taken;
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    assert_int_equal(append(0), -EIO);
    assert_int_equal(close_output(), 0);
}

/* ---- Closing ------------------------------------------------------------------- */

static bool a_complete_is_lost(struct fake_hdfs *f, const char *method, const char *path,
                               struct fake_reply *ret)
{
    if (is(method, "complete") && f->stage++ < 2) {
        *ret = silence;
        return true;
    }
    return false;
}

/* It was recovered at once, although the same again closes it. */
static void a_complete_that_was_lost_is_made_again(void **state)
{
    fake->meddle = a_complete_is_lost;
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    assert_int_equal(append(0), 0);
    assert_int_equal(close_output(), 0);
    expect_file(false);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 0);
}

static bool recovery_is_refused(struct fake_hdfs *f, const char *method, const char *path,
                                struct fake_reply *ret)
{
    if (is(method, "recoverLease") && f->stage++ < 8) {
        *ret = denied();
        return true;
    }
    return false;
}

/* A segment that was given up stayed open as long as the process lived: its blocks were
 * not copied again when a node died, and kept nodes from being decommissioned. */
static void who_is_patient_closes_it_in_the_end(void **state)
{
    fake->meddle = recovery_is_refused;
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    fake->node->write = WRITE_HANG_UP;      /* at the third packet */
    for (size_t at = 0; append(at) == 0; at += 4096) {
    }
    assert_int_equal(close_output(), 1);
    expect_file(false);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 9);
}

static void who_is_not_gives_up(void **state)
{
    patient = false;
    fake->meddle = recovery_is_refused;
    new_client(NULL);
    assert_int_equal(open_output(), 0);
    fake->node->write = WRITE_HANG_UP;
    for (size_t at = 0; append(at) == 0; at += 4096) {
    }
    assert_int_equal(close_output(), -EACCES);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 5);
}

static bool a_block_is_committed(struct fake_hdfs *f, const char *method, const char *path,
                                 struct fake_reply *ret)
{
    if (is(method, "recoverLease") && f->stage++ < 2) {
        *ret = fake_exception("org.apache.hadoop.hdfs.protocol."
                              "AlreadyBeingCreatedException", "Committed blocks are "
                              "waiting to be minimally replicated. Try again later.");
        return true;
    }
    return false;
}

/* Nothing begins then until it is asked again, which was after 4 s and then after 64: not
 * within the minute that an operation had. */
static void a_recovery_that_could_not_begin_is_asked_for_again(void **state)
{
    struct hdfs_op op = { .what = HDFS_RECOVER, .path = PATH };
    uint64_t start_us = clock_monotonic_us(&clock_system);

    fake->meddle = a_block_is_committed;
    fake_hdfs_make(fake, PATH, OTHER);
    new_client(NULL);
    assert_int_equal(hdfs_do(client, &op), 0);
    hdfs_file_done(&op.call.u.file);
    expect_file(false);
    assert_int_equal(fake_hdfs_count(fake, "recoverLease", NULL), 3);
    assert_true(clock_monotonic_us(&clock_system) - start_us < 4000000);
}

/* ---- The length of a file that another one writes ------------------------------- */

struct read {
    struct hdfs_wait wait;
    struct input *input;
    struct input_op op;
    int64_t res;
};

static void read_done(struct input_op *op, int64_t res)
{
    struct read *r = container_of(op, struct read, op);

    r->res = res;
    hdfs_wait_end(&r->wait, 0);
}

static void read_start(struct hdfs_wait *w)
{
    struct read *r = container_of(w, struct read, wait);

    r->op.done = read_done;
    assert_int_equal(input_new(client, PATH, &r->input), 0);
    input_read(r->input, &r->op);
}

static int read_over(void *opaque)
{
    input_free(((struct read *)opaque)->input);
    return 0;
}

static int64_t read_file_for(uint64_t timeout_us)
{
    uint8_t buf[4096];
    struct read r = {
        .wait.start = read_start, .op.buf = buf, .op.len = sizeof(buf),
        .op.timeout_us = timeout_us,
    };

    (void)hdfs_wait(client, &r.wait);
    (void)loop_run(hdfs_loop(client), read_over, &r);
    return r.res;
}

static int64_t read_file(void)
{
    return read_file_for(0);
}

/* DataNodes, asked how much of a replica can be read. */
static struct fake_reply has_4_kib(void *opaque, const struct fake_call *c)
{
    return (struct fake_reply){ .what = FAKE_ANSWER, .body = "\x08\x80\x20", .len = 3 };
}

static struct fake_reply has_none(void *opaque, const struct fake_call *c)
{
    return fake_exception("org.apache.hadoop.hdfs.server.datanode."
                          "ReplicaNotFoundException", "Replica not found");
}

static struct fake_reply hangs_up(void *opaque, const struct fake_call *c)
{
    return (struct fake_reply){ .what = FAKE_HANG_UP };
}

/* That nobody could tell was once taken for a file without a byte. */
static void a_file_is_not_empty_because_no_node_answers(void **state)
{
    struct fake *good = fake_new(has_4_kib, NULL), *none = fake_new(has_none, NULL),
                *bad = fake_new(hangs_up, NULL);

    fake_hdfs_make(fake, PATH, OTHER);
    fake_hdfs_find(fake, PATH)->block = 77;
    fake->node_count = 3;
    new_client(NULL);
    memcpy(fake->ipc_ports, (uint16_t[]){ fake_port(none), fake_port(bad),
                                          fake_port(good) }, sizeof(fake->ipc_ports));
    assert_int_equal(read_file(), 4096);
    memcpy(fake->ipc_ports, (uint16_t[]){ fake_port(none), fake_port(bad),
                                          fake_port(none) }, sizeof(fake->ipc_ports));
    assert_true(read_file() < 0);
    memcpy(fake->ipc_ports, (uint16_t[]){ fake_port(bad), fake_port(none),
                                          fake_port(none) }, sizeof(fake->ipc_ports));
    assert_true(read_file() < 0);
    /* It has been added, and no node knows it yet. */
    memcpy(fake->ipc_ports, (uint16_t[]){ fake_port(none), fake_port(none),
                                          fake_port(none) }, sizeof(fake->ipc_ports));
    assert_int_equal(read_file(), 0);
    /* A NameNode that has just started knows no replica yet. */
    fake->node_count = 0;
    assert_true(read_file() < 0);
    fake_free(good);
    fake_free(none);
    fake_free(bad);
}

static bool it_is_away_for_a_while(struct fake_hdfs *f, const char *method,
                                   const char *path, struct fake_reply *ret)
{
    if (is(method, "getBlockLocations") && f->stage++ < 3) {
        *ret = silence;
        return true;
    }
    return false;
}

/*
 * A guest's read got an error as soon as one call to the NameNodes was given up, or a few
 * tries of DataNodes were over, whatever time the option unreachable gave it.
 */
static void a_read_waits_as_long_as_it_may(void **state)
{
    fake_hdfs_make(fake, PATH, "");
    fake->meddle = it_is_away_for_a_while;
    new_client(NULL);
    assert_int_equal(read_file_for(400000), -ETIMEDOUT);
    fake->stage = 0;
    assert_int_equal(read_file_for(20000000), 0);
}

static bool only_the_sum_is_told(struct fake_hdfs *f, const char *method, const char *path,
                                 struct fake_reply *ret)
{
    if (is(method, "getDatanodeReport")) {
        *ret = denied();
        return true;
    }
    return false;
}

/*
 * All nodes live and two of them are full, but the third has so much room that there
 * seemed to be some for all: that was taken for a cluster without its nodes, and writers
 * waited for these instead of hearing that it is full.
 */
static void few_that_have_room_are_a_full_cluster(void **state)
{
    min_replicas = 2;
    fake->node_count = 3;
    fake->full_nodes = 2;
    new_client(NULL);
    assert_int_equal(open_output(), -ENOSPC);
}

/* Who may not ask each node cannot know it: there is room in all. */
static void they_are_not_where_nobody_may_know_it(void **state)
{
    min_replicas = 2;
    fake->node_count = 3;
    fake->full_nodes = 2;
    fake->meddle = only_the_sum_is_told;
    new_client(NULL);
    assert_int_equal(open_output(), -EHOSTDOWN);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_file_is_written_and_closed),
        TEST(odd_checksum_chunks_are_not_used),
        TEST(heartbeats_follow_the_configuration),
        TEST(a_file_of_another_is_not_removed),
        TEST(nor_is_it_when_it_is_persisted),
        TEST(what_is_in_doubt_is_not_removed),
        TEST(what_is_in_doubt_is_not_taken_from_its_writer),
        TEST(what_is_in_doubt_and_ours_is_closed),
        TEST(a_block_is_abandoned_until_it_is_gone),
        TEST(a_removal_without_an_answer_is_made_again),
        TEST(the_first_bytes_are_made_known),
        TEST(bytes_are_not_done_before_they_are_known),
        TEST(a_complete_that_was_lost_is_made_again),
        TEST(who_is_patient_closes_it_in_the_end),
        TEST(who_is_not_gives_up),
        TEST(a_recovery_that_could_not_begin_is_asked_for_again),
        TEST(a_file_is_not_empty_because_no_node_answers),
        TEST(a_read_waits_as_long_as_it_may),
        TEST(few_that_have_room_are_a_full_cluster),
        TEST(they_are_not_where_nobody_may_know_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
