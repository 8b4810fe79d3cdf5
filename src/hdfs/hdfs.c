/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/hdfs_private.h"

#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "hdfs/errors.h"

#define CALL_US 20000000
#define FIRST_CALL_US 10000000
#define ACK_US 2000000
#define SETUP_US 1000000
#define PROBE_US 500000
#define CLOSE_PAUSE_US 10000000

/* What a DataNode waits for a packet; an idle pipeline has one in half the time, as
 * Hadoop's client does it (DataStreamer). */
#define SOCKET_TIMEOUT_US 60000000
#define HEARTBEAT_MIN_US 100000

/* Half of the soft limit (60 s), after which others may take a file. */
#define LEASE_EVERY_US 30000000

int hdfs_result(int res)
{
    return res == -HDFS_ELEASE ? -ESTALE : res == -HDFS_ETOKEN ? -EACCES : res;
}

/* ---- The configuration --------------------------------------------------------- */

static const char *conf_dir(const struct hdfs_params *p)
{
    const char *dir = p->conf_dir;

    if (!dir) {
        dir = getenv("HADOOP_CONF_DIR");
    }
    return dir && dir[0] ? dir : "/etc/hadoop/conf";
}

/* A location that names its NameNode needs no configuration, unless one was named. */
static int load_conf(const struct hdfs_params *p, struct conf **ret)
{
    struct conf *c = conf_new();
    int r;

    if (!c) {
        return error_set(-ENOMEM, "out of memory");
    }
    r = conf_load(c, conf_dir(p));
    if (r == -ENOENT && !p->conf_dir && p->authority[0]) {
        r = 0;
    }
    if (r < 0) {
        conf_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

static int find_user(const struct hdfs_params *p, char *buf, size_t size)
{
    const char *user = p->user && p->user[0] ? p->user : getenv("HADOOP_USER_NAME");
    struct passwd pw, *found = NULL;
    char room[4096];

    if (!user || !user[0]) {
        (void)getpwuid_r(geteuid(), &pw, room, sizeof(room), &found);
        user = found ? found->pw_name : NULL;
    }
    if (!user || strlen(user) >= size) {
        return error_set(-EINVAL, "cannot tell who you are on the cluster: give the "
                         "option user");
    }
    (void)snprintf(buf, size, "%s", user);
    return 0;
}

/* No other client has it: leases are held by this name. */
static void make_client_name(struct hdfs *h)
{
    uint64_t random;

    while (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
    }
    (void)snprintf(h->client_name, sizeof(h->client_name), "HLFS_%d_%016llx",
                   (int)getpid(), (unsigned long long)random);
}

static void take_params(struct hdfs *h, const struct hdfs_params *p)
{
    h->params = *p;
    h->params.authority = h->params.conf_dir = h->params.user = NULL;
    h->params.call_us = p->call_us ? p->call_us : CALL_US;
    h->params.first_call_us = p->first_call_us ? p->first_call_us : FIRST_CALL_US;
    h->params.ack_us = p->ack_us ? p->ack_us : ACK_US;
    h->params.setup_us = p->setup_us ? p->setup_us : SETUP_US;
    h->params.probe_us = p->probe_us ? p->probe_us : PROBE_US;
    h->params.close_pause_us = p->close_pause_us ? p->close_pause_us : CLOSE_PAUSE_US;
}

static uint64_t heartbeat_us(const struct conf *c)
{
    uint64_t us = conf_time_us(c, "dfs.client.socket-timeout", 1000, SOCKET_TIMEOUT_US);

    us = us ? us : SOCKET_TIMEOUT_US;       /* 0: it waits for ever */
    return MAX(us / 2, (uint64_t)HEARTBEAT_MIN_US);
}

/* ---- Calls into the loop ------------------------------------------------------- */

static void wait_init(struct hdfs_wait *w)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    w->done = false;
}

static void wait_over(struct hdfs_wait *w)
{
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_cond_destroy(&w->cond);
}

static void wait_start(struct loop_task *t)
{
    struct hdfs_wait *w = container_of(t, struct hdfs_wait, task);

    w->start(w);
}

int hdfs_wait(struct hdfs *h, struct hdfs_wait *w)
{
    wait_init(w);
    w->task.run = wait_start;
    loop_post(h->loop, &w->task);
    (void)pthread_mutex_lock(&w->lock);
    while (!w->done) {
        (void)pthread_cond_wait(&w->cond, &w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
    wait_over(w);
    return w->res;
}

void hdfs_wait_end(struct hdfs_wait *w, int res)
{
    (void)pthread_mutex_lock(&w->lock);
    w->res = res;
    w->done = true;
    (void)pthread_cond_signal(&w->cond);
    (void)pthread_mutex_unlock(&w->lock);
}

struct do_op {
    struct hdfs_wait wait;
    struct hdfs *h;
    struct hdfs_op *op;
};

static void do_done(struct hdfs_op *op, int res)
{
    hdfs_wait_end(op->opaque, res);
}

static void do_start(struct hdfs_wait *w)
{
    struct do_op *d = container_of(w, struct do_op, wait);

    hdfs_start(d->h, d->op);
}

int hdfs_do(struct hdfs *h, struct hdfs_op *op)
{
    struct do_op d = { .wait.start = do_start, .h = h, .op = op };

    op->done = do_done;
    op->opaque = &d.wait;
    return hdfs_wait(h, &d.wait);
}

/* ---- Defaults ------------------------------------------------------------------ */

struct defaults {
    struct hdfs_wait wait;
    struct hdfs *h;
    struct namenode_call call;
};

static void defaults_done(struct namenode_call *c, int res)
{
    struct defaults *d = container_of(c, struct defaults, call);

    hdfs_wait_end(&d->wait, res);
}

static void defaults_start(struct hdfs_wait *w)
{
    struct defaults *d = container_of(w, struct defaults, wait);
    struct hdfs *h = d->h;

    d->call.done = defaults_done;
    d->call.deadline_us = loop_now_us(h->loop) + h->params.first_call_us;
    namenode_get_server_defaults(h->namenode, &d->call);
}

/* The NameNode answers, and what it says is something that we can do. */
static int get_defaults(struct hdfs *h)
{
    struct defaults d = { .wait.start = defaults_start, .h = h };
    int r = hdfs_wait(h, &d.wait);

    if (r < 0) {
        return error_set(hdfs_result(r), "cannot use hdfs://%s: %s", h->name,
                         d.call.message[0] ? d.call.message : errors_name(r));
    }
    h->defaults = d.call.u.defaults;
    if (h->defaults.encrypt_data_transfer) {
        return error_set(-ENOTSUP, "cannot use hdfs://%s: it encrypts data transfers "
                         "(dfs.encrypt.data.transfer), which is not supported", h->name);
    }
    if (h->replication == 0) {
        h->replication = h->defaults.replication ? h->defaults.replication : 3;
    }
    return 0;
}

/* ---- Leases -------------------------------------------------------------------- */

static void lease_renewed(struct namenode_call *c, int res)
{
    struct hdfs *h = container_of(c, struct hdfs, lease_call);

    h->lease_renewing = false;
    if (res < 0 && !h->freeing) {
        log_say(&h->params.log, LOG_WARNING, "%s: cannot renew leases: %s", h->name,
                c->message);
    }
    if (!list_empty(&h->outputs)) {
        loop_timer_set(h->loop, &h->lease_timer,
                       loop_now_us(h->loop) + (res < 0 ? LEASE_EVERY_US / 10 :
                                               LEASE_EVERY_US));
    }
}

static void lease_due(struct loop_timer *t)
{
    struct hdfs *h = container_of(t, struct hdfs, lease_timer);

    if (list_empty(&h->outputs) || h->lease_renewing) {
        return;
    }
    h->lease_renewing = true;
    h->lease_call.done = lease_renewed;
    h->lease_call.deadline_us = loop_now_us(h->loop) + LEASE_EVERY_US / 2;
    namenode_renew_lease(h->namenode, &h->lease_call);
}

void hdfs_output_added(struct hdfs *h)
{
    if (!h->lease_timer.armed && !h->lease_renewing) {
        loop_timer_set(h->loop, &h->lease_timer, loop_now_us(h->loop) + LEASE_EVERY_US);
    }
}

void hdfs_output_gone(struct hdfs *h)
{
    if (h->drained && list_empty(&h->outputs)) {
        hdfs_wait_end(TAKE_PTR(h->drained), 0);
    }
}

/* ---- Corrupt replicas ---------------------------------------------------------- */

static void corrupt_told(struct namenode_call *c, int res)
{
    (void)res;      /* the next reader tells again */
    free(c);
}

static void replica_corrupt(void *opaque, const struct hdfs_located_block *block,
                            unsigned node)
{
    struct hdfs *h = opaque;
    const struct hdfs_datanode *d = &block->nodes[node];
    struct namenode_call *c = calloc(1, sizeof(*c));
    struct hdfs_located_block bad = *block;

    log_say(&h->params.log, LOG_WARNING, "hdfs://%s: block %llu is corrupt on DataNode "
            "%s:%u", h->name, (unsigned long long)block->block.id, d->ip, d->xfer_port);
    if (!c) {
        return;
    }
    bad.nodes += node;
    bad.storages += bad.storages ? node : 0;
    bad.storage_ids += bad.storage_ids ? node : 0;
    bad.node_count = 1;
    c->done = corrupt_told;
    c->deadline_us = loop_now_us(h->loop) + h->params.call_us;
    namenode_report_bad_blocks(h->namenode, c, &bad);
}

/* ---- Coming and going ---------------------------------------------------------- */

static int start_inside(void *opaque)
{
    struct hdfs *h = opaque;
    struct reader_params params = {
        .loop = h->loop, .client = h->client_name, .use_hostname = h->use_hostname,
        .corrupt = replica_corrupt, .opaque = h,
    };

    nodes_init(&h->nodes, h->loop, h->client_name, h->use_hostname, h->params.probe_us);
    return reader_pool_new(&params, &h->readers);
}

static int connect_all(struct hdfs *h, const struct nameservice *service)
{
    struct namenode_params params = {
        .service = service, .user = h->user, .client_name = h->client_name,
        .log = h->params.log,
    };
    int r = loop_new(&h->loop);

    if (r == 0) {
        r = namenode_new(h->loop, &params, &h->namenode);
    }
    if (r == 0) {
        r = loop_run(h->loop, start_inside, h);
    }
    if (r < 0) {
        return error_set(r, "cannot start the HDFS client: %s", error_name(r));
    }
    return get_defaults(h);
}

static int set_up(struct hdfs *h, const struct hdfs_params *params)
{
    struct nameservice service;
    struct conf *conf = NULL;
    int r = find_user(params, h->user, sizeof(h->user));

    if (r == 0) {
        r = load_conf(params, &conf);
    }
    if (r == 0) {
        r = nameservice_find(conf, params->authority, &service);
    }
    if (r == 0) {
        (void)snprintf(h->name, sizeof(h->name), "%s", service.name);
        h->use_hostname = conf_bool(conf, "dfs.client.use.datanode.hostname", false);
        h->replication = (uint32_t)MIN(conf_number(conf, "dfs.replication", 0),
                                       (uint64_t)HDFS_NODES_MAX);
        h->heartbeat_us = heartbeat_us(conf);
        r = connect_all(h, &service);
    }
    conf_free(conf);
    return r;
}

int hdfs_new(const struct hdfs_params *params, struct hdfs **ret)
{
    struct hdfs *h = calloc(1, sizeof(*h));
    int r;

    if (!h) {
        return error_set(-ENOMEM, "out of memory");
    }
    list_init(&h->ops);
    list_init(&h->outputs);
    h->lease_timer.fire = lease_due;
    take_params(h, params);
    make_client_name(h);
    r = set_up(h, params);
    if (r < 0) {
        hdfs_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

struct drain {
    struct hdfs_wait wait;
    struct hdfs *h;
};

static int drain_start(void *opaque)
{
    struct drain *d = opaque;

    output_close_all(d->h);
    if (list_empty(&d->h->outputs)) {
        return 1;
    }
    d->h->drained = &d->wait;
    return 0;
}

static int drain_stop(void *opaque)
{
    struct drain *d = opaque;

    d->h->drained = NULL;
    return 0;
}

int hdfs_drain(struct hdfs *h, uint64_t wait_us)
{
    struct drain d = { .h = h };
    struct timespec end;
    int r = 0;

    wait_init(&d.wait);
    if (loop_run(h->loop, drain_start, &d) == 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += (time_t)(wait_us / 1000000);
        end.tv_nsec += (long)(wait_us % 1000000) * 1000;
        end.tv_sec += end.tv_nsec / 1000000000;
        end.tv_nsec %= 1000000000;
        (void)pthread_mutex_lock(&d.wait.lock);
        while (!d.wait.done && r == 0) {
            r = pthread_cond_timedwait(&d.wait.cond, &d.wait.lock, &end);
        }
        (void)pthread_mutex_unlock(&d.wait.lock);
        (void)loop_run(h->loop, drain_stop, &d);
    }
    wait_over(&d.wait);
    return -r;
}

static int stop_inside(void *opaque)
{
    struct hdfs *h = opaque;

    h->freeing = true;
    output_drop_all(h);
    hdfs_op_cancel_all(h);
    loop_timer_stop(h->loop, &h->lease_timer);
    namenode_cancel(&h->lease_call);
    nodes_done(&h->nodes);
    reader_pool_free(h->readers);
    namenode_free(h->namenode);
    return 0;
}

void hdfs_free(struct hdfs *h)
{
    if (!h) {
        return;
    }
    if (h->loop) {
        (void)loop_run(h->loop, stop_inside, h);
        loop_free(h->loop);
    }
    free(h);
}

struct loop *hdfs_loop(struct hdfs *h)
{
    return h->loop;
}

const char *hdfs_user(const struct hdfs *h)
{
    return h->user;
}

const char *hdfs_name(const struct hdfs *h)
{
    return h->name;
}

uint32_t hdfs_replication(const struct hdfs *h)
{
    return h->replication;
}

const struct hdfs_server_defaults *hdfs_defaults(const struct hdfs *h)
{
    return &h->defaults;
}
