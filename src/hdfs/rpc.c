/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/rpc.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hdfs/errors.h"
#include "hdfs/pbwire.h"
#include "rpc.pb-c.h"

/* org.apache.hadoop.ipc.RpcConstants, AuthMethod and RPC.RpcKind */
#define HEADER_BYTES 7
#define VERSION 9
#define CALL_ID_CONTEXT (-3)
#define CALL_ID_SASL (-33)
#define KIND_PROTOBUF 2
#define PROTOCOL_VERSION 1

enum { STATUS_SUCCESS = 0, STATUS_ERROR = 1, STATUS_FATAL = 2 };

#define LENGTH_BYTES 4

struct rpc {
    char *protocol;             /* owned */
    char *user;                 /* owned */
    uint8_t client_id[RPC_CLIENT_ID_BYTES];
    struct rpc_auth *auth;      /* owned; NULL: SIMPLE */
    bool ready;
    struct list calls;          /* struct rpc_call, under way */
    struct list out;            /* struct rpc_frame, to be taken */
    struct list held;           /* the same, until the handshake is over */
    struct iobuf plain;         /* unwrapped bytes, frames in pieces */
    size_t plain_used;          /* of these: of the message that was answered last */
};

/* ---- Frames -------------------------------------------------------------- */

static struct rpc_frame *frame_new(size_t len)
{
    struct rpc_frame *f = malloc(sizeof(*f) + len);

    if (f) {
        list_init(&f->node);
        f->len = len;
    }
    return f;
}

static void free_frames(struct list *frames)
{
    struct list *node;

    while ((node = list_pop(frames))) {
        free(list_entry(node, struct rpc_frame, node));
    }
}

static uint8_t *put_length(uint8_t *at, size_t len)
{
    uint32_t be = htobe32((uint32_t)len);

    memcpy(at, &be, sizeof(be));
    return at + sizeof(be);
}

static size_t delimited_size(size_t len)
{
    size_t n = 1;

    for (size_t rest = len; rest > 0x7f; rest >>= 7) {
        n++;
    }
    return n + len;
}

static uint8_t *put_varint(uint8_t *at, size_t v)
{
    for (; v > 0x7f; v >>= 7) {
        *at++ = (uint8_t)v | 0x80;
    }
    *at++ = (uint8_t)v;
    return at;
}

static uint8_t *put_message(uint8_t *at, const ProtobufCMessage *m)
{
    at = put_varint(at, protobuf_c_message_get_packed_size(m));
    return at + protobuf_c_message_pack(m, at);
}

/*
 * A frame: the length, then the request header, M (if any) and a packed message, each
 * after its own length.
 */
static struct rpc_frame *frame_build(struct rpc *r, int32_t call_id, int32_t retry,
                                     const ProtobufCMessage *m, const uint8_t *packed,
                                     size_t packed_len)
{
    Pb__RpcRequest head = PB__RPC_REQUEST__INIT;
    struct rpc_frame *f;
    uint8_t *at;
    size_t len;

    head.has_kind = head.has_op = head.has_retry_count = true;
    head.kind = KIND_PROTOBUF;
    head.call_id = call_id;
    head.retry_count = retry;
    head.client_id.data = r->client_id;
    head.client_id.len = sizeof(r->client_id);
    len = delimited_size(protobuf_c_message_get_packed_size(&head.base)) +
        delimited_size(packed_len);
    if (m) {
        len += delimited_size(protobuf_c_message_get_packed_size(m));
    }
    f = frame_new(LENGTH_BYTES + len);
    if (!f) {
        return NULL;
    }
    at = put_message(put_length(f->data, len), &head.base);
    if (m) {
        at = put_message(at, m);
    }
    at = put_varint(at, packed_len);
    if (packed_len > 0) {
        memcpy(at, packed, packed_len);
    }
    return f;
}

/* A frame that carries the packed RpcSaslProto SASL. */
static int send_sasl(struct rpc *r, const uint8_t *sasl, size_t len)
{
    struct rpc_frame *f = frame_build(r, CALL_ID_SASL, -1, NULL, sasl, len);

    if (!f) {
        return -ENOMEM;
    }
    list_push(&r->out, &f->node);
    return 0;
}

/* Wrap the frame's bytes, its length too, in one of type WRAP.  Frees F. */
static int send_wrapped(struct rpc *r, struct rpc_frame *f)
{
    Pb__RpcSasl sasl = PB__RPC_SASL__INIT;
    struct iobuf token = { 0 };
    uint8_t *packed = NULL;
    int res;

    res = r->auth->wrap(r->auth, f->data, f->len, &token);
    free(f);
    if (res == 0) {
        sasl.state = RPC_SASL_WRAP;
        sasl.has_token = true;
        sasl.token.data = token.data + token.start;
        sasl.token.len = iobuf_len(&token);
        packed = malloc(pb__rpc_sasl__get_packed_size(&sasl));
        res = -ENOMEM;
        if (packed) {
            res = send_sasl(r, packed, pb__rpc_sasl__pack(&sasl, packed));
        }
    }
    free(packed);
    iobuf_done(&token);
    return res;
}

/* Takes F over. */
static int send_frame(struct rpc *r, struct rpc_frame *f)
{
    if (!f) {
        return -ENOMEM;
    }
    if (!r->ready) {
        list_push(&r->held, &f->node);
        return 0;
    }
    if (r->auth && r->auth->wrap) {
        return send_wrapped(r, f);
    }
    list_push(&r->out, &f->node);
    return 0;
}

struct rpc_frame *rpc_next_frame(struct rpc *r)
{
    struct list *node = list_pop(&r->out);

    return node ? list_entry(node, struct rpc_frame, node) : NULL;
}

/* ---- The beginning ------------------------------------------------------- */

static int send_header(struct rpc *r)
{
    struct rpc_frame *f = frame_new(HEADER_BYTES);

    if (!f) {
        return -ENOMEM;
    }
    memcpy(f->data, "hrpc", 4);
    f->data[4] = VERSION;
    f->data[5] = 0;
    f->data[6] = r->auth ? r->auth->protocol : 0;
    list_push(&r->out, &f->node);
    return 0;
}

static int send_context(struct rpc *r)
{
    Pb__RpcContext__User user = PB__RPC_CONTEXT__USER__INIT;
    Pb__RpcContext context = PB__RPC_CONTEXT__INIT;
    uint8_t *packed;
    int res;

    user.effective = r->user;
    context.user = &user;
    context.protocol = r->protocol;
    packed = malloc(pb__rpc_context__get_packed_size(&context));
    if (!packed) {
        return -ENOMEM;
    }
    res = send_frame(r, frame_build(r, CALL_ID_CONTEXT, -1, NULL, packed,
                                    pb__rpc_context__pack(&context, packed)));
    free(packed);
    return res;
}

static int become_ready(struct rpc *r)
{
    struct list held, *node;
    int res;

    r->ready = true;
    res = send_context(r);
    list_init(&held);
    list_splice(&held, &r->held);
    while (res == 0 && (node = list_pop(&held))) {
        res = send_frame(r, list_entry(node, struct rpc_frame, node));
    }
    free_frames(&held);
    return res;
}

static int auth_step(struct rpc *r, const uint8_t *in, size_t len)
{
    struct iobuf out = { 0 };
    int state = r->auth->step(r->auth, in, len, &out);
    int res = MIN(state, 0);

    if (res == 0 && iobuf_len(&out) > 0) {
        res = send_sasl(r, iobuf_bytes(&out), iobuf_len(&out));
    }
    if (res == 0 && state == RPC_AUTH_DONE) {
        res = become_ready(r);
    }
    iobuf_done(&out);
    return res;
}

struct rpc *rpc_new(const struct rpc_params *p)
{
    struct rpc *r = calloc(1, sizeof(*r));

    if (!r) {
        if (p->auth) {
            p->auth->free(p->auth);
        }
        return NULL;
    }
    list_init(&r->calls);
    list_init(&r->out);
    list_init(&r->held);
    r->auth = p->auth;
    memcpy(r->client_id, p->client_id, sizeof(r->client_id));
    r->protocol = strdup(p->protocol);
    r->user = strdup(p->user);
    if (!r->protocol || !r->user || send_header(r) < 0 ||
        (r->auth ? auth_step(r, NULL, 0) : become_ready(r)) < 0) {
        rpc_free(r);
        return NULL;
    }
    return r;
}

void rpc_free(struct rpc *r)
{
    if (!r) {
        return;
    }
    while (rpc_take_call(r)) {
    }
    free_frames(&r->out);
    free_frames(&r->held);
    iobuf_done(&r->plain);
    if (r->auth) {
        r->auth->free(r->auth);
    }
    free(r->protocol);
    free(r->user);
    free(r);
}

bool rpc_ready(const struct rpc *r)
{
    return r->ready;
}

/* ---- Calls --------------------------------------------------------------- */

int rpc_send(struct rpc *r, struct rpc_call *c)
{
    Pb__RpcMethod method = PB__RPC_METHOD__INIT;
    int res;

    list_init(&c->node);
    if (c->request_len > RPC_REQUEST_MAX) {
        return -EMSGSIZE;
    }
    method.method = (char *)c->method;
    method.protocol = r->protocol;
    method.version = PROTOCOL_VERSION;
    res = send_frame(r, frame_build(r, c->id, c->retry, &method.base, c->request,
                                    c->request_len));
    if (res == 0) {
        list_push(&r->calls, &c->node);
    }
    return res;
}

void rpc_forget(struct rpc_call *c)
{
    if (c->node.next) {
        list_remove(&c->node);
    }
}

bool rpc_idle(const struct rpc *r)
{
    return list_empty(&r->calls);
}

struct rpc_call *rpc_take_call(struct rpc *r)
{
    struct list *node = list_pop(&r->calls);

    return node ? list_entry(node, struct rpc_call, node) : NULL;
}

/* ---- Answers ------------------------------------------------------------- */

static int answer_error(struct rpc_answer *ret, int code, const char *message)
{
    memset(ret, 0, sizeof(*ret));
    ret->res = code;
    (void)snprintf(ret->message, sizeof(ret->message), "%s", message);
    return code;
}

static void answer_exception(struct rpc_answer *ret, const Pb__RpcResponse *head)
{
    const char *exception = head->exception ? head->exception : "";
    const char *message = head->message ? head->message : "";
    enum errors_advice advice;

    memset(ret, 0, sizeof(*ret));
    ret->res = errors_code(exception, message, &advice);
    ret->advice = advice;
    errors_first_line(exception, ret->exception, sizeof(ret->exception));
    errors_first_line(message, ret->message, sizeof(ret->message));
    if (!ret->message[0]) {
        (void)snprintf(ret->message, sizeof(ret->message), "%s", ret->exception);
    }
}

static struct rpc_call *find_call(struct rpc *r, int32_t id)
{
    struct rpc_call *c;

    list_for_each(c, &r->calls, node) {
        if (c->id == id) {
            list_remove(&c->node);
            return c;
        }
    }
    return NULL;
}

/* A message after its length, from the front of IN. */
static int take_message(struct pb_in *in, struct pb_in *ret)
{
    int n = pb_frame(in->at, (size_t)(in->end - in->at), RPC_RESPONSE_MAX, ret);

    if (n <= 0) {
        return -EBADMSG;
    }
    in->at += n;
    return 0;
}

/* An answer nobody waits for is no error: the call was forgotten. */
static int take_answer(struct rpc *r, const Pb__RpcResponse *head, struct pb_in rest,
                       struct rpc_call **ret_call, struct rpc_answer *ret)
{
    struct pb_in body;

    if (head->status == STATUS_FATAL) {
        answer_exception(ret, head);
        return ret->res;
    }
    if (head->status == STATUS_SUCCESS) {
        if (take_message(&rest, &body) < 0) {
            return answer_error(ret, -EBADMSG, "an answer that is cut off");
        }
        memset(ret, 0, sizeof(*ret));
        ret->body = body.at;
        ret->len = (size_t)(body.end - body.at);
    } else {
        answer_exception(ret, head);
    }
    *ret_call = find_call(r, (int32_t)head->call_id);
    return 0;
}

static int unwrap(struct rpc *r, const uint8_t *packed, size_t len)
{
    Pb__RpcSasl *sasl = pb__rpc_sasl__unpack(NULL, len, packed);
    int res = -EBADMSG;

    if (sasl && sasl->state == RPC_SASL_WRAP && sasl->has_token &&
        iobuf_len(&r->plain) + sasl->token.len <= RPC_INPUT_MAX) {
        res = r->auth->unwrap(r->auth, sasl->token.data, sasl->token.len, &r->plain);
    }
    if (sasl) {
        pb__rpc_sasl__free_unpacked(sasl, NULL);
    }
    return res;
}

/* A message of the layer: a step of the handshake, or wrapped bytes. */
static int take_sasl(struct rpc *r, const Pb__RpcResponse *head, struct pb_in rest,
                     struct rpc_answer *ret)
{
    struct pb_in body;
    int res;

    if (head->status != STATUS_SUCCESS) {
        answer_exception(ret, head);
        return ret->res;
    }
    if (!r->auth || (r->ready && !r->auth->unwrap) || take_message(&rest, &body) < 0) {
        return answer_error(ret, -EBADMSG, "an unexpected message of authentication");
    }
    if (r->ready) {
        res = unwrap(r, body.at, (size_t)(body.end - body.at));
    } else {
        res = auth_step(r, body.at, (size_t)(body.end - body.at));
    }
    return res < 0 ? answer_error(ret, res, "authentication failed") : 0;
}

/* The bytes of a whole frame at BUF, 0 when there are more to come, or -EBADMSG. */
static int frame_size(const uint8_t *buf, size_t len, struct pb_in *ret)
{
    uint32_t be;

    if (len < LENGTH_BYTES) {
        return 0;
    }
    memcpy(&be, buf, sizeof(be));
    be = be32toh(be);
    if (be > RPC_RESPONSE_MAX) {
        return -EBADMSG;
    }
    if (len - LENGTH_BYTES < be) {
        return 0;
    }
    ret->at = buf + LENGTH_BYTES;
    ret->end = ret->at + be;
    return (int)(LENGTH_BYTES + be);
}

/* One frame; INNER: it came out of the layer. */
static int input(struct rpc *r, const uint8_t *buf, size_t len, bool inner,
                 struct rpc_call **ret_call, struct rpc_answer *ret)
{
    Pb__RpcResponse *head = NULL;
    struct pb_in frame, part;
    int used = frame_size(buf, len, &frame), res;

    if (used == 0) {
        return 0;
    }
    if (used > 0 && take_message(&frame, &part) == 0) {
        head = pb__rpc_response__unpack(NULL, (size_t)(part.end - part.at), part.at);
    }
    if (!head) {
        return answer_error(ret, -EBADMSG, "what came is no answer of Hadoop's RPC");
    }
    if ((int32_t)head->call_id == CALL_ID_SASL && !inner) {
        res = take_sasl(r, head, frame, ret);
    } else if (!inner && r->auth && (!r->ready || r->auth->unwrap) &&
               head->status != STATUS_FATAL) {
        res = answer_error(ret, -EBADMSG, "an answer that was not protected");
    } else {
        res = take_answer(r, head, frame, ret_call, ret);
    }
    pb__rpc_response__free_unpacked(head, NULL);
    return res < 0 ? res : used;
}

int rpc_input(struct rpc *r, const uint8_t *buf, size_t len, size_t *ret_used,
              struct rpc_call **ret_call, struct rpc_answer *ret)
{
    int res;

    *ret_used = 0;
    *ret_call = NULL;
    iobuf_consume(&r->plain, r->plain_used);
    r->plain_used = 0;
    if (iobuf_len(&r->plain) > 0) {
        /* What a layer has unwrapped may be more than one message. */
        res = input(r, iobuf_bytes(&r->plain), iobuf_len(&r->plain), true, ret_call,
                    ret);
        if (res != 0) {
            r->plain_used = (size_t)MAX(res, 0);
            return MIN(res, 1);
        }
    }
    res = input(r, buf, len, false, ret_call, ret);
    if (res <= 0) {
        return res;
    }
    *ret_used = (size_t)res;
    return 1;
}
