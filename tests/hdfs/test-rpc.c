/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hadoop's RPC without a socket: bytes of a connection, cut anywhere, and a layer. */
#undef NDEBUG
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "hdfs/errors.h"
#include "hdfs/rpc.h"
#include "hdfs/types.h"
#include "rpc.pb-c.h"
#include "varint.h"

#define SASL_ID (-33)

static struct rpc *new_rpc(struct rpc_auth *auth)
{
    struct rpc_params p = { .protocol = "the.Protocol", .user = "me", .auth = auth };
    struct rpc *r;

    memset(p.client_id, 7, sizeof(p.client_id));
    r = rpc_new(&p);
    assert_non_null(r);
    return r;
}

/* ---- What the other side says -------------------------------------------- */

static void put_varint(struct iobuf *b, size_t v)
{
    for (; v > 0x7f; v >>= 7) {
        uint8_t byte = (uint8_t)v | 0x80;

        assert_int_equal(iobuf_add(b, &byte, 1), 0);
    }
    assert_int_equal(iobuf_add(b, &(uint8_t){ (uint8_t)v }, 1), 0);
}

/* A frame: HEAD, then BODY with its length, unless it is NULL. */
static void put_frame(struct iobuf *b, const Pb__RpcResponse *head, const void *body,
                      size_t len)
{
    struct iobuf inner = { 0 };
    uint8_t packed[512];
    uint32_t be;
    size_t n = pb__rpc_response__pack(head, packed);

    put_varint(&inner, n);
    assert_int_equal(iobuf_add(&inner, packed, n), 0);
    if (body) {
        put_varint(&inner, len);
        assert_int_equal(iobuf_add(&inner, body, len), 0);
    }
    be = htobe32((uint32_t)iobuf_len(&inner));
    assert_int_equal(iobuf_add(b, &be, sizeof(be)), 0);
    assert_int_equal(iobuf_add(b, iobuf_bytes(&inner), iobuf_len(&inner)), 0);
    iobuf_done(&inner);
}

static void put_answer(struct iobuf *b, int32_t id, const char *body)
{
    Pb__RpcResponse head = PB__RPC_RESPONSE__INIT;

    head.call_id = (uint32_t)id;
    put_frame(b, &head, body, strlen(body));
}

static void put_exception(struct iobuf *b, int32_t id, int status, const char *class,
                          const char *message)
{
    Pb__RpcResponse head = PB__RPC_RESPONSE__INIT;

    head.call_id = (uint32_t)id;
    head.status = status;
    head.exception = (char *)class;
    head.message = (char *)message;
    put_frame(b, &head, NULL, 0);
}

static void put_sasl(struct iobuf *b, int state, const void *token, size_t len)
{
    Pb__RpcResponse head = PB__RPC_RESPONSE__INIT;
    Pb__RpcSasl sasl = PB__RPC_SASL__INIT;
    uint8_t packed[512];

    head.call_id = (uint32_t)SASL_ID;
    sasl.state = state;
    sasl.has_token = len > 0;
    sasl.token = (ProtobufCBinaryData){ len, (uint8_t *)token };
    put_frame(b, &head, packed, pb__rpc_sasl__pack(&sasl, packed));
}

/* ---- What we say --------------------------------------------------------- */

/* The next frame's request header, to be freed; *RET_REST is what follows it. */
static Pb__RpcRequest *take_request(struct rpc *r, struct rpc_frame **ret_frame,
                                    const uint8_t **ret_rest)
{
    struct rpc_frame *f = rpc_next_frame(r);
    const uint8_t *at;
    Pb__RpcRequest *head;
    uint32_t be;
    size_t n;

    assert_non_null(f);
    memcpy(&be, f->data, sizeof(be));
    assert_int_equal(be32toh(be), f->len - sizeof(be));
    at = f->data + sizeof(be);
    n = take_varint(&at);
    head = pb__rpc_request__unpack(NULL, n, at);
    assert_non_null(head);
    assert_int_equal(head->client_id.len, RPC_CLIENT_ID_BYTES);
    *ret_rest = at + n;
    *ret_frame = f;
    return head;
}

static void expect_header(struct rpc *r, uint8_t auth)
{
    const uint8_t bytes[] = { 'h', 'r', 'p', 'c', 9, 0, auth };
    struct rpc_frame *f = rpc_next_frame(r);

    assert_non_null(f);
    assert_int_equal(f->len, sizeof(bytes));
    assert_memory_equal(f->data, bytes, sizeof(bytes));
    free(f);
}

static void expect_context(struct rpc *r)
{
    struct rpc_frame *f;
    const uint8_t *at;
    Pb__RpcRequest *head = take_request(r, &f, &at);
    size_t n = take_varint(&at);
    Pb__RpcContext *c = pb__rpc_context__unpack(NULL, n, at);

    assert_int_equal(head->call_id, -3);
    assert_non_null(c);
    assert_string_equal(c->protocol, "the.Protocol");
    assert_string_equal(c->user->effective, "me");
    pb__rpc_context__free_unpacked(c, NULL);
    pb__rpc_request__free_unpacked(head, NULL);
    free(f);
}

static void expect_call(struct rpc *r, int32_t id, int32_t retry, const char *name,
                        const char *body)
{
    struct rpc_frame *f;
    const uint8_t *at;
    Pb__RpcRequest *head = take_request(r, &f, &at);
    size_t n = take_varint(&at);
    Pb__RpcMethod *m = pb__rpc_method__unpack(NULL, n, at);

    assert_int_equal(head->call_id, id);
    assert_int_equal(head->retry_count, retry);
    assert_int_equal(head->kind, 2);
    assert_non_null(m);
    assert_string_equal(m->method, name);
    assert_string_equal(m->protocol, "the.Protocol");
    assert_int_equal(m->version, 1);
    at += n;
    n = take_varint(&at);
    assert_int_equal(n, strlen(body));
    assert_memory_equal(at, body, n);
    assert_ptr_equal(at + n, f->data + f->len);
    pb__rpc_method__free_unpacked(m, NULL);
    pb__rpc_request__free_unpacked(head, NULL);
    free(f);
}

static struct rpc_call call_of(int32_t id, int32_t retry, const char *body)
{
    return (struct rpc_call){ .id = id, .retry = retry, .method = "doIt",
                              .request = (const uint8_t *)body,
                              .request_len = strlen(body) };
}

/* ---- Without a layer ----------------------------------------------------- */

static void test_calls(void **state)
{
    struct rpc *r = new_rpc(NULL);
    struct rpc_call a = call_of(0, 0, ""), b = call_of(INT32_MAX, 3, "argument");

    assert_true(rpc_ready(r));
    assert_true(rpc_idle(r));
    assert_int_equal(rpc_send(r, &a), 0);
    assert_int_equal(rpc_send(r, &b), 0);
    assert_false(rpc_idle(r));
    expect_header(r, 0);
    expect_context(r);
    expect_call(r, 0, 0, "doIt", "");
    expect_call(r, INT32_MAX, 3, "doIt", "argument");
    assert_null(rpc_next_frame(r));
    assert_ptr_equal(rpc_take_call(r), &a);
    rpc_forget(&b);
    rpc_forget(&b);
    assert_null(rpc_take_call(r));
    b.request_len = RPC_REQUEST_MAX + 1;
    assert_int_equal(rpc_send(r, &b), -EMSGSIZE);
    rpc_free(r);
    rpc_free(NULL);
}

/* Answers in any order, to calls that are not there (any more) as well, whole or cut. */
static void test_answers_cut_anywhere(void **state)
{
    struct iobuf in = { 0 };

    put_answer(&in, 2, "two");
    put_answer(&in, 9, "nobody");
    put_exception(&in, 1, 1, "java.io.FileNotFoundException",
                  "File does not exist: /a\n\tat some.Class");
    put_answer(&in, 3, "forgotten");
    put_answer(&in, 0, "");
    for (size_t cut = 0; cut <= iobuf_len(&in); cut++) {
        struct rpc *r = new_rpc(NULL);
        struct rpc_call calls[4], *call;
        struct rpc_answer a;
        size_t at = 0, have = cut, used;
        unsigned seen = 0, taken = 0;
        int res;

        for (int i = 0; i < 4; i++) {
            calls[i] = call_of(i, 0, "");
            assert_int_equal(rpc_send(r, &calls[i]), 0);
        }
        rpc_forget(&calls[3]);
        while (true) {
            res = rpc_input(r, iobuf_bytes(&in) + at, have - at, &used, &call, &a);
            if (res == 0 && have < iobuf_len(&in)) {
                have = iobuf_len(&in);
                continue;
            }
            if (res == 0) {
                break;
            }
            assert_int_equal(res, 1);
            at += used;
            taken++;
            if (!call) {
                continue;
            }
            seen |= 1u << (call - calls);
            if (call == &calls[1]) {
                assert_int_equal(a.res, -ENOENT);
                assert_int_equal(a.advice, ERRORS_FAIL);
                assert_string_equal(a.exception, "java.io.FileNotFoundException");
                assert_string_equal(a.message, "File does not exist: /a");
            } else {
                assert_int_equal(a.res, 0);
                assert_int_equal(a.len, call == &calls[2] ? 3 : 0);
                assert_memory_equal(a.body, "two", a.len);
            }
        }
        assert_int_equal(at, iobuf_len(&in));
        assert_int_equal(taken, 5);
        assert_int_equal(seen, 7);
        assert_true(rpc_idle(r));
        rpc_free(r);
    }
    iobuf_done(&in);
}

static void expect_end(const void *bytes, size_t len, int code)
{
    struct rpc *r = new_rpc(NULL);
    struct rpc_call c = call_of(1, 0, ""), *call;
    struct rpc_answer a = { 0 };
    size_t used;

    assert_int_equal(rpc_send(r, &c), 0);
    assert_int_equal(rpc_input(r, bytes, len, &used, &call, &a), code);
    assert_int_equal(a.res, code);
    assert_string_not_equal(a.message, "");
    assert_ptr_equal(rpc_take_call(r), &c);
    rpc_free(r);
}

static void test_nonsense_ends_it(void **state)
{
    Pb__RpcResponse head = PB__RPC_RESPONSE__INIT;
    struct iobuf in = { 0 };

    expect_end("HTTP/1.1 404 Not Found\r\n", 24, -EBADMSG);
    expect_end("\0\0\0\0", 4, -EBADMSG);
    expect_end("\xff\xff\xff\xff", 4, -EBADMSG);
    expect_end("\0\0\0\1\5", 5, -EBADMSG);
    expect_end("\0\0\0\3\2\xff\xff", 7, -EBADMSG);

    head.call_id = 1;
    put_frame(&in, &head, NULL, 0);             /* success, and no body */
    expect_end(iobuf_bytes(&in), iobuf_len(&in), -EBADMSG);
    iobuf_consume(&in, iobuf_len(&in));
    put_sasl(&in, RPC_SASL_CHALLENGE, "x", 1);  /* nobody asked for it */
    expect_end(iobuf_bytes(&in), iobuf_len(&in), -EBADMSG);
    iobuf_consume(&in, iobuf_len(&in));
    put_exception(&in, -1, 2, "org.apache.hadoop.security.AccessControlException",
                  "SIMPLE authentication is not enabled.");
    expect_end(iobuf_bytes(&in), iobuf_len(&in), -EACCES);
    iobuf_done(&in);
}

/* ---- With a layer -------------------------------------------------------- */

/* Two challenges, then each byte is turned over. */
struct toy {
    struct rpc_auth auth;
    unsigned steps;
    bool freed;
};

static int toy_step(struct rpc_auth *auth, const uint8_t *in, size_t len,
                    struct iobuf *out)
{
    struct toy *t = container_of(auth, struct toy, auth);
    Pb__RpcSasl sasl = PB__RPC_SASL__INIT, *got;
    uint8_t packed[64];
    int state;

    assert_int_equal(len == 0, t->steps == 0);
    if (len > 0) {
        got = pb__rpc_sasl__unpack(NULL, len, in);
        state = got ? got->state : -1;
        if (got) {
            pb__rpc_sasl__free_unpacked(got, NULL);
        }
        if (state == RPC_SASL_SUCCESS) {
            return RPC_AUTH_DONE;
        }
        if (state != RPC_SASL_CHALLENGE) {
            return -EACCES;
        }
    }
    sasl.state = t->steps++ == 0 ? RPC_SASL_NEGOTIATE : RPC_SASL_RESPONSE;
    return iobuf_add(out, packed, pb__rpc_sasl__pack(&sasl, packed));
}

static int toy_turn(struct rpc_auth *auth, const uint8_t *in, size_t len,
                    struct iobuf *out)
{
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(iobuf_add(out, &(uint8_t){ in[i] ^ 0xff }, 1), 0);
    }
    return 0;
}

static void toy_free(struct rpc_auth *auth)
{
    container_of(auth, struct toy, auth)->freed = true;
}

static struct toy toy_new(bool wraps)
{
    return (struct toy){ .auth = { .protocol = 0xDF, .step = toy_step, .free = toy_free,
                                   .wrap = wraps ? toy_turn : NULL,
                                   .unwrap = wraps ? toy_turn : NULL } };
}

static void expect_sasl(struct rpc *r, int state, struct iobuf *ret_token)
{
    struct rpc_frame *f;
    const uint8_t *at;
    Pb__RpcRequest *head = take_request(r, &f, &at);
    size_t n = take_varint(&at);
    Pb__RpcSasl *sasl = pb__rpc_sasl__unpack(NULL, n, at);

    assert_int_equal(head->call_id, SASL_ID);
    assert_non_null(sasl);
    assert_int_equal(sasl->state, state);
    if (ret_token) {
        toy_turn(NULL, sasl->token.data, sasl->token.len, ret_token);
    }
    pb__rpc_sasl__free_unpacked(sasl, NULL);
    pb__rpc_request__free_unpacked(head, NULL);
    free(f);
}

static int feed(struct rpc *r, struct iobuf *in, struct rpc_call **call,
                struct rpc_answer *a)
{
    size_t used;
    int res = rpc_input(r, iobuf_bytes(in), iobuf_len(in), &used, call, a);

    iobuf_consume(in, used);
    return res;
}

static void authenticate(struct rpc *r, struct iobuf *in)
{
    struct rpc_call *call;
    struct rpc_answer a;

    expect_header(r, 0xDF);
    expect_sasl(r, RPC_SASL_NEGOTIATE, NULL);
    put_sasl(in, RPC_SASL_CHALLENGE, "c", 1);
    assert_int_equal(feed(r, in, &call, &a), 1);
    expect_sasl(r, RPC_SASL_RESPONSE, NULL);
    assert_null(rpc_next_frame(r));
    assert_false(rpc_ready(r));
    put_sasl(in, RPC_SASL_SUCCESS, NULL, 0);
    assert_int_equal(feed(r, in, &call, &a), 1);
    assert_true(rpc_ready(r));
}

/* Calls wait for the end of the handshake. */
static void test_layer_that_wraps_nothing(void **state)
{
    struct toy t = toy_new(false);
    struct rpc *r = new_rpc(&t.auth);
    struct rpc_call c = call_of(5, 0, "x"), *call;
    struct rpc_answer a;
    struct iobuf in = { 0 };

    assert_int_equal(rpc_send(r, &c), 0);
    authenticate(r, &in);
    expect_context(r);
    expect_call(r, 5, 0, "doIt", "x");
    put_answer(&in, 5, "y");
    assert_int_equal(feed(r, &in, &call, &a), 1);
    assert_ptr_equal(call, &c);
    rpc_free(r);
    iobuf_done(&in);
    assert_true(t.freed);
}

/* What is wrapped may be more than one message, or a part of one; what is not wrapped
 * is not taken. */
static void test_layer_that_wraps(void **state)
{
    struct toy t = toy_new(true);
    struct rpc *r = new_rpc(&t.auth);
    struct rpc_call calls[3], *call;
    struct rpc_answer a;
    struct iobuf in = { 0 }, plain = { 0 }, wrapped = { 0 };
    size_t half;

    for (int i = 0; i < 3; i++) {
        calls[i] = call_of(i, 0, "");
        assert_int_equal(rpc_send(r, &calls[i]), 0);
    }
    authenticate(r, &in);
    for (int i = 0; i < 4; i++) {
        uint32_t be;

        iobuf_consume(&plain, iobuf_len(&plain));
        expect_sasl(r, RPC_SASL_WRAP, &plain);
        memcpy(&be, iobuf_bytes(&plain), sizeof(be));
        assert_int_equal(be32toh(be), iobuf_len(&plain) - sizeof(be));
    }
    iobuf_consume(&plain, iobuf_len(&plain));
    put_answer(&plain, 0, "zero");
    put_answer(&plain, 1, "one");
    half = iobuf_len(&plain) + 5;
    put_answer(&plain, 2, "two");
    toy_turn(NULL, iobuf_bytes(&plain), iobuf_len(&plain), &wrapped);
    put_sasl(&in, RPC_SASL_WRAP, iobuf_bytes(&wrapped), half);
    put_sasl(&in, RPC_SASL_WRAP, iobuf_bytes(&wrapped) + half,
             iobuf_len(&wrapped) - half);
    for (int i = 0; i < 3; i++) {
        do {
            assert_int_equal(feed(r, &in, &call, &a), 1);
        } while (!call);
        assert_ptr_equal(call, &calls[i]);
        assert_int_equal(a.len, i == 0 ? 4 : 3);
        assert_memory_equal(a.body, i == 0 ? "zero" : i == 1 ? "one" : "two", a.len);
    }
    assert_int_equal(feed(r, &in, &call, &a), 0);
    put_answer(&in, 3, "plain");
    assert_int_equal(feed(r, &in, &call, &a), -EBADMSG);
    rpc_free(r);
    iobuf_done(&in);
    iobuf_done(&plain);
    iobuf_done(&wrapped);
}

static void test_layer_refused(void **state)
{
    struct toy t = toy_new(true);
    struct rpc *r = new_rpc(&t.auth);
    struct rpc_call *call;
    struct rpc_answer a;
    struct iobuf in = { 0 };

    put_answer(&in, 0, "before authentication");
    assert_int_equal(feed(r, &in, &call, &a), -EBADMSG);
    rpc_free(r);
    iobuf_consume(&in, iobuf_len(&in));

    t = toy_new(true);
    r = new_rpc(&t.auth);
    put_sasl(&in, RPC_SASL_INITIATE, NULL, 0);
    assert_int_equal(feed(r, &in, &call, &a), -EACCES);
    rpc_free(r);
    iobuf_done(&in);
    assert_true(t.freed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_answers_cut_anywhere),
        cmocka_unit_test(test_nonsense_ends_it),
        cmocka_unit_test(test_layer_that_wraps_nothing),
        cmocka_unit_test(test_layer_that_wraps),
        cmocka_unit_test(test_layer_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
