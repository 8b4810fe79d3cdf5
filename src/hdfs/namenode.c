/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which NameNode is asked, and when.
 *
 * A call is in one of three lists:
 *
 *     waiting ---> sent (of a node) ---> done
 *        ^            |
 *        |<-----------+ the node is standby, broke off or keeps silent: to the next one
 *        ^            |
 *     refused <-------+ the node said "not now": to the same one, after a while
 *
 * Its timer ends it at the deadline wherever it is.  When all nodes have failed since
 * one last served, the set pauses.  Leaving a node is never wrong, only slow: the one
 * that is not active refuses, and the retry cache answers what was already done.
 */
#include "hdfs/namenode_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "hdfs/errors.h"
#include "hdfs/rpc_client.h"

#define MS 1000
#define S (1000 * MS)

#define CONNECT_US (2 * S)
#define SILENCE_US (10 * S)
#define SILENCE_SET_US (5 * S)
#define WAIT_US (100 * MS)
#define WAIT_MAX_US (1 * S)
/*
 * A call that ran out of time without a byte from its node speaks against the node, unless
 * it had less time than this; or than twice as much, and so on, where dropping the
 * connection was in vain: a node that is slow shall be heard out.
 */
#define SUSPECT_US (500 * MS)
/* A server that breaks off (it does so with idle connections) is connected anew at
 * once, and blamed when the connection did not last for this. */
#define LASTING_US (1 * S)

struct namenode_node {
    struct namenode *nn;
    char name[272];             /* host:port, for people */
    char host[256];
    uint16_t port;
    struct rpc_client client;
    uint64_t opened_us;
    uint64_t patience_us;       /* until the first answer of a connection */
    uint64_t suspect_us;        /* see SUSPECT_US */
    struct list sent;           /* struct namenode_call */
    struct loop_timer silence;  /* armed while SENT is not empty */
    char trouble[256];          /* why it failed last; "" when it served since */
};

struct namenode {
    struct loop *loop;          /* borrowed */
    struct namenode_params params;      /* its pointers are not used */
    char *service;              /* owned, for people */
    char *user;                 /* owned */
    char *client_name;          /* owned */
    uint8_t client_id[RPC_CLIENT_ID_BYTES];
    int32_t next_id;
    unsigned active;            /* index of the node that is asked */
    unsigned served;            /* index of the one that served last */
    unsigned failures;          /* of nodes, since one served */
    uint64_t wait_us;           /* the next pause */
    struct loop_timer pause;    /* nothing is sent while it is armed */
    struct list waiting;        /* struct namenode_call */
    struct list refused;
    unsigned node_count;
    struct namenode_node nodes[NAMESERVICE_MAX];
};

static void send_waiting(struct namenode *nn);

/* ---- The end of a call --------------------------------------------------- */

/* Out of all lists; the caller of us may free it next. */
static void call_leave(struct namenode_call *c)
{
    rpc_forget(&c->rpc);
    list_remove(&c->node);
    loop_timer_stop(c->nn->loop, &c->timer);
    free(TAKE_PTR(c->packed));
    c->at = NULL;
    c->nn = NULL;
}

static void call_finish(struct namenode_call *c, int res)
{
    call_leave(c);
    if (res == 0) {
        c->message[0] = c->exception[0] = '\0';
    }
    c->done(c, res);
}

void namenode_cancel(struct namenode_call *c)
{
    if (c->nn) {
        call_leave(c);
    }
}

/* ": a:8020: Connection refused; b:8020: is standby" */
static void add_troubles(const struct namenode *nn, char *buf, size_t len)
{
    size_t at = strlen(buf);
    const char *between = ": ";

    for (unsigned i = 0; i < nn->node_count && at + 1 < len; i++) {
        const struct namenode_node *n = &nn->nodes[i];

        if (n->trouble[0]) {
            int k = snprintf(buf + at, len - at, "%s%s: %.100s", between, n->name,
                             n->trouble);

            at += MIN((size_t)MAX(k, 0), len - at);
            between = "; ";
        }
    }
}

/* Its time is over, or it shall not wait. */
static void call_give_up(struct namenode_call *c)
{
    int res = c->last_error == -EAGAIN ? -EAGAIN : -ETIMEDOUT;

    if (res == -ETIMEDOUT) {
        c->exception[0] = '\0';
        (void)snprintf(c->message, sizeof(c->message), "no NameNode of %.60s served %s",
                       c->nn->service, c->rpc.method);
        add_troubles(c->nn, c->message, sizeof(c->message));
    }
    call_finish(c, res);
}

/* ---- Troubles of a node -------------------------------------------------- */

static void keep_words(struct namenode_call *c, const struct rpc_answer *a)
{
    (void)snprintf(c->exception, sizeof(c->exception), "%s", a->exception);
    (void)snprintf(c->message, sizeof(c->message), "%s", a->message);
}

/* It has to be sent again, to whichever node is next. */
static void call_requeue(struct namenode_call *c, int error)
{
    rpc_forget(&c->rpc);
    list_remove(&c->node);
    list_push(&c->nn->waiting, &c->node);
    c->at = NULL;
    c->tries++;
    c->last_error = error;
}

static void pause_fired(struct loop_timer *t)
{
    send_waiting(container_of(t, struct namenode, pause));
}

/* Those that were not to wait, and have been everywhere. */
static void give_up_once(struct namenode *nn)
{
    struct namenode_call *c, *tmp;
    struct list over, *node;

    list_init(&over);
    list_for_each_safe(c, tmp, &nn->waiting, node) {
        if (c->flags & NAMENODE_ONCE && c->tries >= nn->node_count) {
            list_remove(&c->node);
            list_push(&over, &c->node);
        }
    }
    while ((node = list_pop(&over))) {
        call_give_up(list_entry(node, struct namenode_call, node));
    }
}

/* N did not serve: on to the next one, and when all have failed, not at once. */
static void node_failed(struct namenode_node *n, const char *why)
{
    struct namenode *nn = n->nn;

    (void)snprintf(n->trouble, sizeof(n->trouble), "%s", why);
    if (&nn->nodes[nn->active] == n) {
        nn->active = (nn->active + 1) % nn->node_count;
        nn->failures++;
        if (nn->failures % nn->node_count == 0 && !nn->pause.armed) {
            loop_timer_set(nn->loop, &nn->pause, loop_now_us(nn->loop) + nn->wait_us);
            nn->wait_us = MIN(2 * nn->wait_us, (uint64_t)WAIT_MAX_US);
        }
    }
    give_up_once(nn);
    send_waiting(nn);
}

/* Drop the connection; what was under way on it goes elsewhere. */
static void node_drop(struct namenode_node *n, int error)
{
    struct namenode_call *c, *tmp;

    rpc_client_close(&n->client);
    loop_timer_stop(n->nn->loop, &n->silence);
    list_for_each_safe(c, tmp, &n->sent, node) {
        call_requeue(c, error);
    }
}

static void node_silent(struct namenode_node *n)
{
    log_say(&n->nn->params.log, LOG_WARNING, "NameNode %s keeps silent", n->name);
    if (!n->client.answered) {
        n->patience_us = MIN(2 * n->patience_us, n->nn->params.silence_us);
    }
    node_drop(n, -ETIMEDOUT);
    node_failed(n, "keeps silent");
}

static uint64_t node_patience_us(const struct namenode_node *n)
{
    return n->client.answered ? n->nn->params.silence_us : n->patience_us;
}

static void silence_fired(struct loop_timer *t)
{
    struct namenode_node *n = container_of(t, struct namenode_node, silence);
    uint64_t since_us = MAX(n->client.heard_us, n->client.connected_us);
    uint64_t until_us = since_us + node_patience_us(n);

    if (list_empty(&n->sent)) {
        return;
    }
    /* While it is being connected the stream has its own deadline. */
    if (!n->client.connected) {
        until_us = loop_now_us(n->nn->loop) + node_patience_us(n);
    }
    if (loop_now_us(n->nn->loop) >= until_us) {
        node_silent(n);
    } else {
        loop_timer_set(n->nn->loop, t, until_us);
    }
}

/* ---- Answers ------------------------------------------------------------- */

static void node_served(struct namenode_node *n)
{
    struct namenode *nn = n->nn;
    unsigned index = (unsigned)(n - nn->nodes);

    n->trouble[0] = '\0';
    n->patience_us = nn->params.connect_us;
    /* An answer that came late, of a node given up, does not count. */
    if (index != nn->active) {
        return;
    }
    nn->failures = 0;
    nn->wait_us = nn->params.wait_us;
    if (index != nn->served) {
        log_say(&nn->params.log, LOG_INFO, "NameNode %s serves %s now (%s: %s)",
                n->name, nn->service, nn->nodes[nn->served].name,
                nn->nodes[nn->served].trouble);
        nn->served = index;
    }
}

/* The node asks for patience: this call again, there, after a while. */
static void call_refused(struct namenode_call *c, const struct rpc_answer *a)
{
    struct namenode *nn = c->nn;

    keep_words(c, a);
    c->last_error = a->res;
    c->tries++;
    if (c->flags & NAMENODE_ONCE) {
        call_finish(c, a->res);
        return;
    }
    list_remove(&c->node);
    list_push(&nn->refused, &c->node);
    c->at = NULL;
    loop_timer_set(nn->loop, &c->timer,
                   MIN(c->deadline_us, loop_now_us(nn->loop) + c->wait_us));
    c->wait_us = MIN(2 * c->wait_us, (uint64_t)WAIT_MAX_US);
}

static void call_served(struct namenode_call *c, const struct rpc_answer *a)
{
    int res;

    memset(&c->u, 0, sizeof(c->u));
    c->message[0] = c->exception[0] = '\0';
    res = c->parse(c, a->body, a->len);
    if (res == -EBADMSG && !c->message[0]) {
        (void)snprintf(c->message, sizeof(c->message),
                       "%.180s answered %s with what is not to be understood",
                       c->at->name, c->rpc.method);
    }
    call_finish(c, res);
}

static void answered(struct rpc_client *client, struct rpc_call *rpc,
                     const struct rpc_answer *a)
{
    struct namenode_call *c = container_of(rpc, struct namenode_call, rpc);
    struct namenode_node *n = container_of(client, struct namenode_node, client);

    if (a->res < 0 && a->advice == ERRORS_FAILOVER) {
        keep_words(c, a);
        call_requeue(c, a->res);
        node_failed(n, "is standby");
        return;
    }
    node_served(n);
    if (loop_now_us(n->nn->loop) - c->sent_us < SUSPECT_US) {
        n->suspect_us = SUSPECT_US;
    }
    if (a->res == 0) {
        call_served(c, a);
    } else if (a->advice == ERRORS_WAIT) {
        call_refused(c, a);
    } else {
        keep_words(c, a);
        call_finish(c, a->res);
    }
}

/* What the server threw at the connection as a whole is the answer to all calls. */
static void node_threw(struct namenode_node *n, const struct rpc_answer *a)
{
    struct list over, *node;

    list_init(&over);
    list_splice(&over, &n->sent);
    node_drop(n, a->res);
    while ((node = list_pop(&over))) {
        struct namenode_call *c = list_entry(node, struct namenode_call, node);

        keep_words(c, a);
        call_finish(c, a->res);
    }
}

static void broken(struct rpc_client *client, const struct rpc_answer *a)
{
    struct namenode_node *n = container_of(client, struct namenode_node, client);
    struct namenode *nn = n->nn;
    bool blame = !client->answered ||
        loop_now_us(nn->loop) - n->opened_us < LASTING_US;

    if (a->exception[0] && a->advice == ERRORS_FAIL) {
        node_threw(n, a);
        return;
    }
    node_drop(n, a->res);
    if (blame) {
        node_failed(n, a->message);
    } else {
        send_waiting(nn);
    }
}

static const struct rpc_client_ops client_ops = {
    .answered = answered,
    .broken = broken,
};

/* ---- Sending ------------------------------------------------------------- */

static void node_open(struct namenode_node *n)
{
    struct namenode *nn = n->nn;
    struct rpc_client_params p = {
        .loop = nn->loop, .host = n->host, .port = n->port,
        .rpc = { .protocol = RPC_CLIENT_PROTOCOL, .user = nn->user },
    };

    n->opened_us = loop_now_us(nn->loop);
    p.deadline_us = n->opened_us + nn->params.connect_us;
    memcpy(p.rpc.client_id, nn->client_id, sizeof(nn->client_id));
    n->client.ops = &client_ops;
    rpc_client_open(&n->client, &p);
}

static void send_waiting(struct namenode *nn)
{
    struct namenode_node *n = &nn->nodes[nn->active];
    struct list *node;

    if (nn->pause.armed || list_empty(&nn->waiting)) {
        return;
    }
    if (!rpc_client_is_open(&n->client)) {
        node_open(n);
    }
    while ((node = list_pop(&nn->waiting))) {
        struct namenode_call *c = list_entry(node, struct namenode_call, node);

        c->at = n;
        c->sent_us = loop_now_us(nn->loop);
        list_push(&n->sent, &c->node);
        rpc_client_send(&n->client, &c->rpc);
        c->rpc.retry++;
    }
    if (!n->silence.armed) {
        loop_timer_set(nn->loop, &n->silence,
                       loop_now_us(nn->loop) + node_patience_us(n));
    }
}

/* The deadline, or the end of a wait. */
static void call_fired(struct loop_timer *t)
{
    struct namenode_call *c = container_of(t, struct namenode_call, timer);
    struct namenode *nn = c->nn;
    struct namenode_node *n = c->at;
    bool suspect;

    if (c->last_error == -ENOMEM && !c->packed) {
        call_finish(c, -ENOMEM);
        return;
    }
    if (loop_now_us(nn->loop) < c->deadline_us) {
        list_remove(&c->node);
        list_push(&nn->waiting, &c->node);
        loop_timer_set(nn->loop, &c->timer, c->deadline_us);
        send_waiting(nn);
        return;
    }
    suspect = n && n->client.heard_us <= c->sent_us &&
        loop_now_us(nn->loop) - c->sent_us >= n->suspect_us;
    if (suspect) {
        (void)snprintf(n->trouble, sizeof(n->trouble), "%s",
                       n->client.connected ? "keeps silent" : "no connection in time");
    }
    call_give_up(c);
    if (suspect && rpc_client_is_open(&n->client)) {
        n->suspect_us = MIN(2 * n->suspect_us, nn->params.silence_us);
        node_silent(n);
    }
}

void namenode_start(struct namenode *nn, struct namenode_call *c, const char *method,
                    const ProtobufCMessage *request, namenode_parse *parse)
{
    size_t len = protobuf_c_message_get_packed_size(request);

    assert(!c->nn);
    c->nn = nn;
    c->rpc.method = method;
    if (!(c->flags & NAMENODE_AGAIN)) {
        c->rpc.retry = 0;
        c->rpc.id = nn->next_id;
        nn->next_id = nn->next_id == INT32_MAX ? 0 : nn->next_id + 1;
    }
    c->parse = parse;
    c->at = NULL;
    c->tries = 0;
    c->last_error = 0;
    c->wait_us = nn->params.wait_us;
    c->message[0] = c->exception[0] = '\0';
    c->timer = (struct loop_timer){ .fire = call_fired };
    list_init(&c->node);
    c->packed = len <= RPC_REQUEST_MAX ? malloc(len + 1) : NULL;
    if (!c->packed) {
        c->last_error = -ENOMEM;
        list_push(&nn->refused, &c->node);
        loop_timer_set(nn->loop, &c->timer, loop_now_us(nn->loop));
        return;
    }
    c->rpc.request = c->packed;
    c->rpc.request_len = protobuf_c_message_pack(request, c->packed);
    loop_timer_set(nn->loop, &c->timer, c->deadline_us);
    list_push(&nn->waiting, &c->node);
    send_waiting(nn);
}

/* ---- The set ------------------------------------------------------------- */

const char *namenode_client_name(const struct namenode *nn)
{
    return nn->client_name;
}

static void node_init(struct namenode *nn, unsigned i, const struct nameservice *s)
{
    struct namenode_node *n = &nn->nodes[i];

    n->nn = nn;
    n->port = s->nodes[i].port;
    (void)snprintf(n->host, sizeof(n->host), "%s", s->nodes[i].host);
    (void)snprintf(n->name, sizeof(n->name), "%s:%u", s->nodes[i].host, n->port);
    n->patience_us = nn->params.connect_us;
    n->suspect_us = SUSPECT_US;
    n->silence.fire = silence_fired;
    list_init(&n->sent);
}

int namenode_new(struct loop *l, const struct namenode_params *params,
                 struct namenode **ret)
{
    struct namenode *nn = calloc(1, sizeof(*nn));
    struct namenode_params *p;

    if (!nn) {
        return -ENOMEM;
    }
    nn->loop = l;
    nn->params = *params;
    p = &nn->params;
    p->connect_us = p->connect_us ? p->connect_us : CONNECT_US;
    if (!p->silence_us) {
        p->silence_us = params->service->count > 1 ? SILENCE_SET_US : SILENCE_US;
    }
    p->wait_us = p->wait_us ? p->wait_us : WAIT_US;
    nn->wait_us = p->wait_us;
    nn->pause.fire = pause_fired;
    list_init(&nn->waiting);
    list_init(&nn->refused);
    nn->node_count = MIN(params->service->count, (unsigned)NAMESERVICE_MAX);
    for (unsigned i = 0; i < nn->node_count; i++) {
        node_init(nn, i, params->service);
    }
    nn->service = strdup(params->service->name);
    nn->user = strdup(params->user);
    nn->client_name = strdup(params->client_name);
    if (!nn->service || !nn->user || !nn->client_name || nn->node_count == 0 ||
        getrandom(nn->client_id, sizeof(nn->client_id), 0) !=
        (ssize_t)sizeof(nn->client_id)) {
        int r = nn->node_count == 0 ? -EINVAL : -ENOMEM;

        namenode_free(nn);
        return r;
    }
    *ret = nn;
    return 0;
}

static void cancel_all(struct list *calls)
{
    struct namenode_call *c;

    while ((c = list_first(calls, struct namenode_call, node))) {
        call_finish(c, -ECANCELED);
    }
}

void namenode_free(struct namenode *nn)
{
    if (!nn) {
        return;
    }
    for (unsigned i = 0; i < nn->node_count; i++) {
        node_drop(&nn->nodes[i], -ECANCELED);
    }
    loop_timer_stop(nn->loop, &nn->pause);
    cancel_all(&nn->waiting);
    cancel_all(&nn->refused);
    free(nn->service);
    free(nn->user);
    free(nn->client_name);
    free(nn);
}
