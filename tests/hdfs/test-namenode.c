/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which NameNode is asked, and what becomes of a call when one does not serve. */
#undef NDEBUG
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "fake-namenode.h"
#include "hdfs/namenode.h"
#include "namenode.pb-c.h"

#define MS 1000
#define CALLS_MAX 256

/* ---- A set of fakes ------------------------------------------------------ */

/* One NameNode: it gives the replies of its script in turn, the last one for ever. */
struct node {
    const struct fake_reply *script;
    size_t script_len;
    struct fake *fake;
    struct fake_call calls[CALLS_MAX];
    unsigned call_count;
};

static struct node nodes[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    /* guards calls of nodes */
static struct loop *loop;
static struct namenode *nn;

/* BoolResponse{true} */
static const struct fake_reply yes = { .what = FAKE_ANSWER, .body = "\x08\x01",
                                       .len = 2 };
static const struct fake_reply standby = {
    .what = FAKE_EXCEPTION, .class = "org.apache.hadoop.ipc.StandbyException",
    .body = "Operation category READ is not supported in state standby",
};
static const struct fake_reply safe_mode = {
    .what = FAKE_EXCEPTION, .class = "org.apache.hadoop.ipc.RetriableException",
    .body = "Cannot create file. Name node is in safe mode.\n\tat x",
};
static const struct fake_reply denied = {
    .what = FAKE_EXCEPTION, .class = "org.apache.hadoop.security.AccessControlException",
    .body = "Permission denied: user=me\n\tat x",
};
static const struct fake_reply unauthorized = {
    .what = FAKE_FATAL, .class = "org.apache.hadoop.security.AccessControlException",
    .body = "SIMPLE authentication is not enabled.",
};
static const struct fake_reply silence = { .what = FAKE_SILENCE };
static const struct fake_reply hang_up = { .what = FAKE_HANG_UP };
static const struct fake_reply nonsense = { .what = FAKE_BYTES, .len = 14,
                                            .body = "HTTP/1.1 400\r\n" };
static const struct fake_reply no_message = { .what = FAKE_ANSWER, .body = "\xff",
                                              .len = 1 };

static struct fake_reply reply(void *opaque, const struct fake_call *c)
{
    struct node *n = opaque;
    struct fake_reply r;

    (void)pthread_mutex_lock(&lock);
    assert_true(n->call_count < CALLS_MAX);
    r = n->script[MIN((size_t)n->call_count, n->script_len - 1)];
    n->calls[n->call_count++] = *c;
    (void)pthread_mutex_unlock(&lock);
    return r;
}

static unsigned asked(unsigned i)
{
    unsigned n;

    (void)pthread_mutex_lock(&lock);
    n = nodes[i].call_count;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

#define SCRIPT(i, ...)                                                          \
    do {                                                                        \
        static const struct fake_reply *const list_[] = { __VA_ARGS__ };        \
        static struct fake_reply script_[ARRAY_SIZE(list_)];                    \
        for (size_t k_ = 0; k_ < ARRAY_SIZE(list_); k_++) {                     \
            script_[k_] = *list_[k_];                                           \
        }                                                                       \
        nodes[i].script = script_;                                              \
        nodes[i].script_len = ARRAY_SIZE(list_);                                \
        nodes[i].fake = fake_new(reply, &nodes[i]);                             \
    } while (0)

/* COUNT nodes; one without a script does not listen. */
static void open_set(unsigned count)
{
    struct nameservice s = { .name = "test", .count = count };
    struct namenode_params p = {
        .service = &s, .user = "me", .client_name = "client",
        .connect_us = 100 * MS, .silence_us = 200 * MS, .wait_us = 10 * MS,
    };

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(s.nodes[i].host, sizeof(s.nodes[i].host), "127.0.0.1");
        s.nodes[i].port = nodes[i].fake ? fake_port(nodes[i].fake) : 1;
    }
    assert_int_equal(namenode_new(loop, &p, &nn), 0);
}

static int setup(void **state)
{
    memset(nodes, 0, sizeof(nodes));
    nn = NULL;
    return loop_new(&loop);
}

static int free_set(void *opaque)
{
    namenode_free(nn);
    nn = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)loop_run(loop, free_set, NULL);
    loop_free(loop);
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        fake_free(nodes[i].fake);
    }
    return 0;
}

/* ---- A call from outside ------------------------------------------------- */

struct ask {
    struct namenode_call call;
    struct loop_task task;
    uint64_t deadline_ms;
    bool cancel;
    int res;
    bool over;
    uint64_t took_us;
    pthread_cond_t ended;
};

static void ask_done(struct namenode_call *c, int res)
{
    struct ask *a = container_of(c, struct ask, call);

    (void)pthread_mutex_lock(&lock);
    assert_false(a->over);
    a->res = res;
    a->over = true;
    (void)pthread_cond_broadcast(&a->ended);
    (void)pthread_mutex_unlock(&lock);
}

static void ask_run(struct loop_task *t)
{
    struct ask *a = container_of(t, struct ask, task);

    a->call.done = ask_done;
    a->call.deadline_us = loop_now_us(loop) + a->deadline_ms * MS;
    namenode_delete(nn, &a->call, "/some/path", false);
    if (a->cancel) {
        namenode_cancel(&a->call);
        namenode_cancel(&a->call);
    }
}

static void ask_start(struct ask *a)
{
    a->task.run = ask_run;
    a->over = false;
    (void)pthread_cond_init(&a->ended, NULL);
    loop_post(loop, &a->task);
}

static int ask_wait(struct ask *a)
{
    (void)pthread_mutex_lock(&lock);
    while (!a->over) {
        (void)pthread_cond_wait(&a->ended, &lock);
    }
    (void)pthread_mutex_unlock(&lock);
    return a->res;
}

static int ask(struct ask *a)
{
    uint64_t from_us = clock_monotonic_us(&clock_system);
    int res;

    ask_start(a);
    res = ask_wait(a);
    a->took_us = clock_monotonic_us(&clock_system) - from_us;
    return res;
}

static void expect_words(const struct ask *a, const char *words)
{
    if (!strstr(a->call.message, words)) {
        fail_msg("\"%s\" does not say \"%s\"", a->call.message, words);
    }
}

/* The same call for the retry cache: client id and call id, each try counted. */
static void expect_retry(const struct fake_call *a, const struct fake_call *b)
{
    assert_int_equal(a->id, b->id);
    assert_memory_equal(a->client_id, b->client_id, sizeof(a->client_id));
    assert_int_equal(a->retry + 1, b->retry);
}

/* ---- The tests ----------------------------------------------------------- */

static void test_served(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &yes);
    open_set(1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&a), 0);
        assert_true(a.call.u.yes);
        assert_string_equal(a.call.message, "");
    }
    assert_int_equal(asked(0), 3);
    assert_string_equal(nodes[0].calls[0].method, "delete");
    assert_string_equal(nodes[0].calls[0].user, "me");
    assert_int_equal(nodes[0].calls[0].retry, 0);
    assert_int_equal(nodes[0].calls[2].connection, 0);
    assert_int_not_equal(nodes[0].calls[1].id, nodes[0].calls[2].id);
}

static void test_standby(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &standby);
    SCRIPT(1, &yes);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    expect_retry(&nodes[0].calls[0], &nodes[1].calls[0]);
    /* From now on it is the second that is asked. */
    assert_int_equal(ask(&a), 0);
    assert_int_equal(asked(0), 1);
    assert_int_equal(asked(1), 2);
}

/* Nobody is active for a while. */
static void test_all_standby(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &standby, &standby, &standby, &yes);
    SCRIPT(1, &standby);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(asked(0), 4);
    assert_int_equal(asked(1), 3);
    assert_int_equal(nodes[0].calls[3].id, nodes[0].calls[0].id);
    assert_int_equal(nodes[0].calls[3].retry, 6);
    /* Three rounds in vain: 10, 20 and 40 ms. */
    assert_true(a.took_us >= 70 * MS);
}

static void test_standby_until_the_deadline(void **state)
{
    struct ask a = { .deadline_ms = 150 };

    SCRIPT(0, &standby);
    open_set(2);
    assert_int_equal(ask(&a), -ETIMEDOUT);
    assert_true(a.took_us >= 150 * MS && a.took_us < 2000 * MS);
    expect_words(&a, "no NameNode of test served delete");
    expect_words(&a, "is standby");
    expect_words(&a, "127.0.0.1:1: Connection refused");
}

static void test_once(void **state)
{
    struct ask a = { .deadline_ms = 60000, .call.flags = NAMENODE_ONCE };

    SCRIPT(0, &standby);
    open_set(2);
    assert_int_equal(ask(&a), -ETIMEDOUT);
    assert_true(a.took_us < 5000 * MS);
    expect_words(&a, "is standby");
    expect_words(&a, "Connection refused");
    assert_int_equal(asked(0), 1);
}

static void test_hang_up(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &yes, &hang_up, &yes);
    SCRIPT(1, &standby);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(ask(&a), 0);
    /* It was done, or not: the same call again says. */
    expect_retry(&nodes[0].calls[1], &nodes[1].calls[0]);
    expect_retry(&nodes[1].calls[0], &nodes[0].calls[2]);
}

/* NameNodes end connections that were idle: that is no failure of theirs. */
static void test_idle_connection_ended(void **state)
{
    static struct fake_reply last;
    static const struct fake_reply *const list[] = { &yes, &last };
    static struct fake_reply script[2];
    struct ask a = { .deadline_ms = 5000 };

    last = yes;
    last.hang_up_after = 1;
    for (size_t i = 0; i < 2; i++) {
        script[i] = *list[i];
    }
    nodes[0].script = script;
    nodes[0].script_len = 2;
    nodes[0].fake = fake_new(reply, &nodes[0]);
    SCRIPT(1, &yes);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    (void)usleep(1100 * MS);
    assert_int_equal(ask(&a), 0);
    (void)usleep(50 * MS);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(asked(0), 3);
    assert_int_equal(asked(1), 0);
    assert_int_equal(nodes[0].calls[2].connection, 1);
}

/* A black hole: it accepts, and never answers. */
static void test_silence(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &silence);
    SCRIPT(1, &yes);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    assert_true(a.took_us >= 100 * MS);
    expect_retry(&nodes[0].calls[0], &nodes[1].calls[0]);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(asked(0), 1);
}

static void test_silence_everywhere(void **state)
{
    struct ask a = { .deadline_ms = 1000 };

    SCRIPT(0, &silence);
    SCRIPT(1, &silence);
    open_set(2);
    assert_int_equal(ask(&a), -ETIMEDOUT);
    expect_words(&a, "keeps silent");
    assert_true(asked(0) >= 2 && asked(1) >= 2);
    assert_true(asked(0) + asked(1) < 12);
}

/* One that served before gets more time; but a call that ran out of its own in silence
 * sends those after it elsewhere. */
static void test_silence_of_one_that_served(void **state)
{
    struct ask a = { .deadline_ms = 5000 }, b = { .deadline_ms = 550 };

    SCRIPT(0, &yes, &silence);
    SCRIPT(1, &yes);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(ask(&b), 0);
    assert_true(b.took_us >= 200 * MS);
    assert_int_equal(asked(1), 1);
}

static void test_safe_mode(void **state)
{
    struct ask a = { .deadline_ms = 5000 }, b = { .deadline_ms = 100 };

    SCRIPT(0, &safe_mode, &safe_mode, &yes, &safe_mode);
    SCRIPT(1, &yes);
    open_set(2);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(asked(0), 3);
    assert_int_equal(asked(1), 0);
    expect_retry(&nodes[0].calls[1], &nodes[0].calls[2]);
    assert_int_equal(ask(&b), -EAGAIN);
    assert_string_equal(b.call.message, "Cannot create file. Name node is in safe mode.");
    b.call.flags = NAMENODE_ONCE;
    b.deadline_ms = 60000;
    assert_int_equal(ask(&b), -EAGAIN);
    assert_true(b.took_us < 5000 * MS);
}

/* A later try of a call whose outcome is not known is the same call. */
static void test_again(void **state)
{
    struct ask a = { .deadline_ms = 60 };

    SCRIPT(0, &silence, &yes);
    open_set(1);
    assert_int_equal(ask(&a), -ETIMEDOUT);
    a.call.flags = NAMENODE_AGAIN;
    a.deadline_ms = 5000;
    assert_int_equal(ask(&a), 0);
    expect_retry(&nodes[0].calls[0], &nodes[0].calls[1]);
    a.call.flags = 0;
    assert_int_equal(ask(&a), 0);
    assert_int_not_equal(nodes[0].calls[2].id, nodes[0].calls[1].id);
}

static void test_exceptions(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &denied);
    SCRIPT(1, &yes);
    open_set(2);
    assert_int_equal(ask(&a), -EACCES);
    assert_string_equal(a.call.message, "Permission denied: user=me");
    assert_string_equal(a.call.exception,
                        "org.apache.hadoop.security.AccessControlException");
    assert_int_equal(asked(1), 0);
}

/* What is thrown at a connection is the answer to all calls on it. */
static void test_fatal(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &unauthorized);
    open_set(1);
    assert_int_equal(ask(&a), -EACCES);
    expect_words(&a, "SIMPLE authentication is not enabled.");
    assert_int_equal(ask(&a), -EACCES);
}

static void test_nonsense(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &nonsense, &yes);
    open_set(1);
    assert_int_equal(ask(&a), 0);
    assert_int_equal(asked(0), 2);
}

static void test_no_message(void **state)
{
    struct ask a = { .deadline_ms = 5000 };

    SCRIPT(0, &no_message);
    open_set(1);
    assert_int_equal(ask(&a), -EBADMSG);
    expect_words(&a, "answered delete with what is not to be understood");
}

static void test_refused_connection(void **state)
{
    struct ask a = { .deadline_ms = 100 };

    open_set(1);
    assert_int_equal(ask(&a), -ETIMEDOUT);
    expect_words(&a, "127.0.0.1:1: Connection refused");
}

static int nothing(void *opaque)
{
    return 0;
}

static void test_cancel(void **state)
{
    struct ask a = { .deadline_ms = 20, .cancel = true }, b = { .deadline_ms = 5000 };

    SCRIPT(0, &silence);
    open_set(1);
    ask_start(&a);
    (void)usleep(60 * MS);
    assert_int_equal(loop_run(loop, nothing, NULL), 0);
    assert_false(a.over);
    /* Whoever is left is told when the set goes. */
    ask_start(&b);
    assert_int_equal(loop_run(loop, free_set, NULL), 0);
    assert_int_equal(ask_wait(&b), -ECANCELED);
}

/* ---- Answers ------------------------------------------------------------- */

static void locate_run(struct loop_task *t)
{
    struct ask *a = container_of(t, struct ask, task);

    a->call.done = ask_done;
    a->call.deadline_us = loop_now_us(loop) + 5000 * MS;
    namenode_get_block_locations(nn, &a->call, "/f", 0, UINT64_MAX);
}

/* An answer with one block, changed by CHANGE, as the fake sends it. */
static size_t pack_blocks(uint8_t *buf, size_t size,
                          void (*change)(Pb__LocatedBlocks *m))
{
    Pb__BlockLocationsResponse r = PB__BLOCK_LOCATIONS_RESPONSE__INIT;
    Pb__LocatedBlocks m = PB__LOCATED_BLOCKS__INIT;
    Pb__LocatedBlock b = PB__LOCATED_BLOCK__INIT, *list[2] = { &b, &b };
    Pb__Block block = PB__BLOCK__INIT;
    Pb__Token token = PB__TOKEN__INIT;
    Pb__Datanode node = PB__DATANODE__INIT, *locs[1] = { &node };
    Pb__DatanodeId id = PB__DATANODE_ID__INIT;
    int32_t types[1] = { 99 };
    char *ids[1] = { (char *)"DS-1" };

    block.pool = (char *)"BP-1";
    block.id = 11;
    block.generation = 1001;
    block.has_length = true;
    block.length = 4096;
    token.kind = token.service = (char *)"";
    token.id = (ProtobufCBinaryData){ 3, (uint8_t *)"tok" };
    id.ip = (char *)"10.0.0.1";
    id.host = (char *)"dn1";
    id.uuid = (char *)"u";
    id.xfer_port = 9866;
    node.id = &id;
    node.admin_state = 1;
    node.has_admin_state = true;
    b.block = &block;
    b.token = &token;
    b.locs = locs;
    b.storage_types = types;
    b.storage_ids = ids;
    b.n_locs = b.n_storage_types = b.n_storage_ids = 1;
    m.blocks = list;
    m.n_blocks = 1;
    m.last = &b;
    m.length = 4096;
    r.blocks = &m;
    if (change) {
        change(&m);
    }
    assert_true(pb__block_locations_response__get_packed_size(&r) <= size);
    return pb__block_locations_response__pack(&r, buf);
}

static void expect_blocks(void (*change)(Pb__LocatedBlocks *m), int code)
{
    static uint8_t buf[4096];
    static struct fake_reply script[1];
    struct ask a = { 0 };

    script[0] = (struct fake_reply){ .what = FAKE_ANSWER, .body = buf };
    script[0].len = pack_blocks(buf, sizeof(buf), change);
    nodes[0].script = script;
    nodes[0].script_len = 1;
    if (!nodes[0].fake) {
        nodes[0].fake = fake_new(reply, &nodes[0]);
        open_set(1);
    }
    a.task.run = locate_run;
    (void)pthread_cond_init(&a.ended, NULL);
    loop_post(loop, &a.task);
    assert_int_equal(ask_wait(&a), code);
    if (code == 0) {
        const struct hdfs_located_blocks *l = &a.call.u.blocks;

        assert_int_equal(l->block_count, 1);
        assert_int_equal(l->length, 4096);
        assert_string_equal(l->blocks[0].block.pool, "BP-1");
        assert_int_equal(l->blocks[0].block.id, 11);
        assert_int_equal(l->blocks[0].block.generation, 1001);
        assert_int_equal(l->blocks[0].node_count, 1);
        assert_string_equal(l->blocks[0].nodes[0].ip, "10.0.0.1");
        assert_int_equal(l->blocks[0].nodes[0].xfer_port, 9866);
        assert_int_equal(l->blocks[0].nodes[0].admin_state, HDFS_NODE_DECOMMISSIONING);
        assert_string_equal(l->blocks[0].storage_ids[0], "DS-1");
        assert_int_equal(l->blocks[0].storages[0], HDFS_STORAGE_DISK);
        assert_int_equal(l->blocks[0].token.id_len, 3);
        assert_true(l->has_last);
        hdfs_located_blocks_done(&a.call.u.blocks);
    }
}

static char long_text[600];

static void change_pool(Pb__LocatedBlocks *m)
{
    m->blocks[0]->block->pool = long_text;
}

static void change_port(Pb__LocatedBlocks *m)
{
    m->blocks[0]->locs[0]->id->xfer_port = 65536;
}

static void change_ip(Pb__LocatedBlocks *m)
{
    m->blocks[0]->locs[0]->id->ip = long_text;
}

static void change_length(Pb__LocatedBlocks *m)
{
    m->blocks[0]->block->length = UINT64_MAX;
}

static void change_offset(Pb__LocatedBlocks *m)
{
    m->blocks[0]->offset = INT64_MAX;
}

static void change_order(Pb__LocatedBlocks *m)
{
    m->n_blocks = 2;
}

static void change_file(Pb__LocatedBlocks *m)
{
    m->length = UINT64_MAX;
}

static void test_blocks(void **state)
{
    memset(long_text, 'x', sizeof(long_text) - 1);
    expect_blocks(NULL, 0);
    expect_blocks(change_pool, -EBADMSG);
    expect_blocks(change_port, -EBADMSG);
    expect_blocks(change_ip, -EBADMSG);
    expect_blocks(change_length, -EBADMSG);
    expect_blocks(change_offset, -EBADMSG);
    expect_blocks(change_order, -EBADMSG);
    expect_blocks(change_file, -EBADMSG);
    expect_blocks(NULL, 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_served),
        TEST(test_standby),
        TEST(test_all_standby),
        TEST(test_standby_until_the_deadline),
        TEST(test_once),
        TEST(test_hang_up),
        TEST(test_idle_connection_ended),
        TEST(test_silence),
        TEST(test_silence_everywhere),
        TEST(test_silence_of_one_that_served),
        TEST(test_safe_mode),
        TEST(test_again),
        TEST(test_exceptions),
        TEST(test_fatal),
        TEST(test_nonsense),
        TEST(test_no_message),
        TEST(test_refused_connection),
        TEST(test_cancel),
        TEST(test_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
