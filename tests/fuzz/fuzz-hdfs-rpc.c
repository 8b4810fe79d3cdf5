/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes from a NameNode, in two pieces, with a layer (that turns each byte over) or
 * without: calls are answered once or the connection ends, and that with words.  The
 * first two bytes say which layer, and where the cut is.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/util.h"
#include "hdfs/rpc.h"

#define CALLS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int toy_step(struct rpc_auth *a, const uint8_t *in, size_t len, struct iobuf *out)
{
    if (len == 0) {
        return iobuf_add(out, "\x10\x01", 2);
    }
    return len == 2 ? RPC_AUTH_DONE : len < 8 ? RPC_AUTH_MORE : -EACCES;
}

static int toy_turn(struct rpc_auth *a, const uint8_t *in, size_t len, struct iobuf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (iobuf_add(out, &(uint8_t){ in[i] ^ 0xff }, 1) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static void toy_free(struct rpc_auth *a)
{
}

static struct rpc_auth plain = { .protocol = 0xDF, .step = toy_step, .free = toy_free };
static struct rpc_auth wrapping = {
    .protocol = 0xDF, .step = toy_step, .free = toy_free,
    .wrap = toy_turn, .unwrap = toy_turn,
};

static void drain(struct rpc *r)
{
    struct rpc_frame *f;

    while ((f = rpc_next_frame(r))) {
        assert(f->len > 0);
        free(f);
    }
}

/* What is between *AT and END; -1 when the connection has ended. */
static int feed(struct rpc *r, const uint8_t *data, size_t *at, size_t end,
                struct rpc_call *calls, unsigned *answered)
{
    struct rpc_call *call;
    struct rpc_answer a;
    size_t used;
    int res;

    while ((res = rpc_input(r, data + *at, end - *at, &used, &call, &a)) > 0) {
        assert(used <= end - *at);
        *at += used;
        if (call) {
            unsigned bit = 1u << (call - calls);

            assert(!(*answered & bit));
            *answered |= bit;
            assert(a.res <= 0 && (a.res < 0 || a.len <= RPC_RESPONSE_MAX));
            assert(strlen(a.message) < sizeof(a.message));
        }
        drain(r);
    }
    if (res < 0) {
        assert(a.res == res && strlen(a.exception) < sizeof(a.exception));
    }
    return res;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpc_params p = { .protocol = "P", .user = "u" };
    struct rpc_call calls[CALLS];
    unsigned answered = 0, left = 0;
    size_t at = 0, cut;
    struct rpc *r;

    if (size < 2) {
        return 0;
    }
    p.auth = data[0] % 3 == 0 ? NULL : data[0] % 3 == 1 ? &plain : &wrapping;
    cut = MIN((size_t)data[1], size - 2);
    data += 2;
    size -= 2;
    r = rpc_new(&p);
    assert(r);
    for (int32_t i = 0; i < CALLS; i++) {
        calls[i] = (struct rpc_call){ .id = i, .method = "m" };
        assert(rpc_send(r, &calls[i]) == 0);
    }
    drain(r);
    if (feed(r, data, &at, cut, calls, &answered) == 0) {
        (void)feed(r, data, &at, size, calls, &answered);
    }
    while (rpc_take_call(r)) {
        left++;
    }
    assert(left + (unsigned)__builtin_popcount(answered) == CALLS);
    rpc_free(r);
    return 0;
}
