/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * namenode-shell HOST:PORT[,HOST:PORT...] [USER [CLIENT-NAME]] - calls of namenode.h for
 * shell tests, one a line of standard input, and what came of each on standard output:
 *
 *     ok WORDS...     or     error NAME: MESSAGE
 *
 * "file", "block" stand for what create and addblock gave last.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "hdfs/errors.h"
#include "hdfs/namenode.h"

#define WORDS_MAX 8

static struct loop *loop;
static struct namenode *nn;
static uint64_t deadline_ms = 10000;
static unsigned flags;
static uint64_t file_id;
static struct hdfs_located_block block;
static struct hdfs_datanode excludes[16];
static size_t exclude_count;

struct turn {
    struct loop_task task;
    struct namenode_call call;
    char **words;
    int res;
    bool over;
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

static void call_done(struct namenode_call *c, int res)
{
    struct turn *t = container_of(c, struct turn, call);

    (void)pthread_mutex_lock(&t->lock);
    t->res = res;
    t->over = true;
    (void)pthread_cond_signal(&t->ended);
    (void)pthread_mutex_unlock(&t->lock);
}

/* ---- Words to calls ------------------------------------------------------ */

static uint64_t number(const char *word)
{
    return word ? strtoull(word, NULL, 0) : 0;
}

/* create PATH [REPLICATION [overwrite]] */
static void run_create(struct namenode_call *c, char **w)
{
    struct namenode_create p = {
        .path = w[1], .mode = 0600, .create_parent = true,
        .flags = NAMENODE_CREATE | NAMENODE_SHOULD_REPLICATE |
            (w[2] && w[3] ? NAMENODE_OVERWRITE : 0),
        .replication = w[2] ? (uint32_t)number(w[2]) : 1, .block_size = MIB(64),
    };

    namenode_create(nn, c, &p);
}

static void run_file(struct namenode_call *c, char **w)
{
    if (strcmp(w[0], "addblock") == 0) {
        namenode_add_block(nn, c, w[1], file_id, NULL, excludes, exclude_count);
    } else if (strcmp(w[0], "abandon") == 0) {
        namenode_abandon_block(nn, c, w[1], file_id, &block.block);
    } else if (strcmp(w[0], "complete") == 0) {
        namenode_complete(nn, c, w[1], file_id, w[2] ? &block.block : NULL);
    } else if (strcmp(w[0], "fsync") == 0) {
        namenode_fsync(nn, c, w[1], file_id, number(w[2]));
    } else if (strcmp(w[0], "renew") == 0) {
        namenode_renew_lease(nn, c);
    } else if (strcmp(w[0], "recover") == 0) {
        namenode_recover_lease(nn, c, w[1]);
    } else {
        namenode_is_file_closed(nn, c, w[1]);
    }
}

static void run_name(struct namenode_call *c, char **w)
{
    if (strcmp(w[0], "stat") == 0) {
        namenode_get_file_info(nn, c, w[1]);
    } else if (strcmp(w[0], "lstat") == 0) {
        namenode_get_file_link_info(nn, c, w[1]);
    } else if (strcmp(w[0], "rm") == 0) {
        namenode_delete(nn, c, w[1], w[2] != NULL);
    } else if (strcmp(w[0], "mv") == 0) {
        namenode_rename2(nn, c, w[1], w[2], w[3] != NULL);
    } else if (strcmp(w[0], "mkdir") == 0) {
        namenode_mkdirs(nn, c, w[1], 0700, w[2] != NULL);
    } else if (strcmp(w[0], "chmod") == 0) {
        namenode_set_permission(nn, c, w[1], (uint16_t)number(w[2]));
    } else if (strcmp(w[0], "chown") == 0) {
        namenode_set_owner(nn, c, w[1], w[2], w[3]);
    } else if (strcmp(w[0], "setrep") == 0) {
        namenode_set_replication(nn, c, w[1], (uint32_t)number(w[2]));
    } else if (strcmp(w[0], "du") == 0) {
        namenode_get_content_summary(nn, c, w[1]);
    } else {
        namenode_get_quota_usage(nn, c, w[1]);
    }
}

static void run_locate(struct namenode_call *c, char **w)
{
    namenode_get_block_locations(nn, c, w[1], number(w[2]),
                                 w[2] && w[3] ? number(w[3]) : UINT64_MAX);
}

static void run_ls(struct namenode_call *c, char **w)
{
    namenode_get_listing(nn, c, w[1], w[2]);
}

static void run_cluster(struct namenode_call *c, char **w)
{
    if (strcmp(w[0], "defaults") == 0) {
        namenode_get_server_defaults(nn, c);
    } else if (strcmp(w[0], "report") == 0) {
        namenode_get_datanode_report(nn, c, NAMENODE_REPORT_LIVE);
    } else if (strcmp(w[0], "df") == 0) {
        namenode_get_fs_stats(nn, c);
    } else {
        namenode_report_bad_blocks(nn, c, &block);
    }
}

/* ---- Results to words ---------------------------------------------------- */

static void say_nothing(struct namenode_call *c)
{
    printf("ok\n");
}

static void say_yes(struct namenode_call *c)
{
    printf("ok %s\n", c->u.yes ? "yes" : "no");
}

static void say_file(struct namenode_call *c)
{
    const struct hdfs_file *f = &c->u.file;

    printf("ok id=%" PRIu64 " kind=%d length=%" PRIu64 " block=%" PRIu64
           " replication=%u mode=%o owner=%s group=%s ec=%d\n", f->id, (int)f->kind,
           f->length, f->block_size, f->replication, f->mode, f->owner, f->group,
           f->erasure_coded);
    hdfs_file_done(&c->u.file);
}

static void say_created(struct namenode_call *c)
{
    file_id = c->u.file.id;
    say_file(c);
}

static void print_block(const struct hdfs_located_block *b)
{
    printf(" %" PRIu64 "_%" PRIu64 "+%" PRIu64 "@%" PRIu64 ":", b->block.id,
           b->block.generation, b->block.length, b->offset);
    for (unsigned i = 0; i < b->node_count; i++) {
        printf("%s%s:%u/%s", i ? "," : "", b->nodes[i].ip, b->nodes[i].xfer_port,
               b->storage_ids[i]);
    }
}

static void say_block(struct namenode_call *c)
{
    hdfs_located_block_done(&block);
    block = c->u.block;
    printf("ok");
    print_block(&block);
    printf("\n");
}

static void say_blocks(struct namenode_call *c)
{
    struct hdfs_located_blocks *b = &c->u.blocks;

    printf("ok length=%" PRIu64 " open=%d complete=%d", b->length, b->under_construction,
           b->last_complete);
    for (size_t i = 0; i < b->block_count; i++) {
        print_block(&b->blocks[i]);
    }
    if (b->block_count > 0) {
        hdfs_located_block_done(&block);
        assert(hdfs_located_block_copy(&b->blocks[0], &block) == 0);
    }
    hdfs_located_blocks_done(b);
    printf("\n");
}

static void say_listing(struct namenode_call *c)
{
    struct hdfs_listing *l = &c->u.listing;

    printf("ok %zu more=%" PRIu64, l->file_count, l->remaining);
    for (size_t i = 0; i < l->file_count; i++) {
        printf(" '%s'", l->files[i].name);
    }
    printf("\n");
    hdfs_listing_done(l);
}

static void say_datanodes(struct namenode_call *c)
{
    struct hdfs_datanodes *d = &c->u.datanodes;

    printf("ok %zu", d->node_count);
    for (size_t i = 0; i < d->node_count; i++) {
        const struct hdfs_datanode *n = &d->nodes[i];

        printf(" %s:%u(%s,%s,%d)", n->ip, n->xfer_port, n->host, n->rack,
               (int)n->admin_state);
    }
    printf("\n");
    hdfs_datanodes_done(d);
}

static void say_defaults(struct namenode_call *c)
{
    const struct hdfs_server_defaults *d = &c->u.defaults;

    printf("ok block=%" PRIu64 " chunk=%u packet=%u replication=%u checksum=%d encrypt=%d"
           " trash=%" PRIu64 "\n", d->block_size, d->bytes_per_checksum,
           d->write_packet_size, d->replication, (int)d->checksum,
           d->encrypt_data_transfer, d->trash_interval_min);
}

static void say_stats(struct namenode_call *c)
{
    printf("ok capacity=%" PRIu64 " used=%" PRIu64 " remaining=%" PRIu64 "\n",
           c->u.stats.capacity, c->u.stats.used, c->u.stats.remaining);
}

static void say_summary(struct namenode_call *c)
{
    const struct hdfs_summary *s = &c->u.summary;

    printf("ok length=%" PRIu64 " files=%" PRIu64 " directories=%" PRIu64
           " quota=%" PRId64 " space=%" PRIu64 " space-quota=%" PRId64 "\n",
           s->length, s->file_count, s->directory_count, s->quota, s->space_consumed,
           s->space_quota);
}

/* ---- Lines --------------------------------------------------------------- */

static const struct {
    const char *name;
    int words_min;
    void (*run)(struct namenode_call *c, char **words);
    void (*say)(struct namenode_call *c);
} commands[] = {
    { "create", 2, run_create, say_created },
    { "addblock", 2, run_file, say_block },
    { "abandon", 2, run_file, say_nothing },
    { "complete", 2, run_file, say_yes },
    { "fsync", 3, run_file, say_nothing },
    { "renew", 1, run_file, say_nothing },
    { "recover", 2, run_file, say_yes },
    { "closed", 2, run_file, say_yes },
    { "locate", 2, run_locate, say_blocks },
    { "stat", 2, run_name, say_file },
    { "lstat", 2, run_name, say_file },
    { "ls", 2, run_ls, say_listing },
    { "rm", 2, run_name, say_yes },
    { "mv", 3, run_name, say_nothing },
    { "mkdir", 2, run_name, say_yes },
    { "chmod", 3, run_name, say_nothing },
    { "chown", 3, run_name, say_nothing },
    { "setrep", 3, run_name, say_yes },
    { "du", 2, run_name, say_summary },
    { "quota", 2, run_name, say_summary },
    { "defaults", 1, run_cluster, say_defaults },
    { "report", 1, run_cluster, say_datanodes },
    { "df", 1, run_cluster, say_stats },
    { "bad", 1, run_cluster, say_nothing },
};

static size_t command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return i;
        }
    }
    fprintf(stderr, "namenode-shell: no such call: %s\n", name);
    exit(2);
}

static void turn_start(struct loop_task *task)
{
    struct turn *t = container_of(task, struct turn, task);

    t->call.deadline_us = loop_now_us(loop) + deadline_ms * 1000;
    commands[command_find(t->words[0])].run(&t->call, t->words);
}

static void run_line(char **words, int count)
{
    size_t i = command_find(words[0]);
    struct turn t = {
        .task.run = turn_start, .call = { .done = call_done, .flags = flags },
        .words = words, .lock = PTHREAD_MUTEX_INITIALIZER,
        .ended = PTHREAD_COND_INITIALIZER,
    };
    uint64_t from_us = clock_monotonic_us(&clock_system);

    if (count < commands[i].words_min) {
        fprintf(stderr, "namenode-shell: %s wants more words\n", words[0]);
        exit(2);
    }
    loop_post(loop, &t.task);
    (void)pthread_mutex_lock(&t.lock);
    while (!t.over) {
        (void)pthread_cond_wait(&t.ended, &t.lock);
    }
    (void)pthread_mutex_unlock(&t.lock);
    if (t.res == 0) {
        commands[i].say(&t.call);
    } else {
        printf("error %d %s: %s\n", -t.res, errors_name(t.res), t.call.message);
    }
    fprintf(stderr, "%s: %.1f ms\n", words[0],
            (double)(clock_monotonic_us(&clock_system) - from_us) / 1000);
}

/* Settings of the shell itself: deadline MS, once, exclude (the first node of block). */
static bool run_setting(char **words)
{
    if (strcmp(words[0], "deadline") == 0) {
        deadline_ms = number(words[1]);
    } else if (strcmp(words[0], "once") == 0) {
        flags = NAMENODE_ONCE;
    } else if (strcmp(words[0], "exclude") == 0) {
        assert(block.node_count > 0 && exclude_count < ARRAY_SIZE(excludes));
        excludes[exclude_count++] = block.nodes[0];
    } else if (strcmp(words[0], "length") == 0) {
        block.block.length = number(words[1]);
    } else {
        return false;
    }
    return true;
}

static void say_log(void *opaque, int level, const char *text)
{
    fprintf(stderr, "log %d: %s\n", level, text);
}

static void service_fill(char *text, struct nameservice *ret)
{
    char *save = NULL;

    (void)snprintf(ret->name, sizeof(ret->name), "%s", text);
    for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(w, ':');

        assert(colon && ret->count < NAMESERVICE_MAX);
        *colon = '\0';
        (void)snprintf(ret->nodes[ret->count].host, sizeof(ret->nodes[0].host), "%s", w);
        ret->nodes[ret->count++].port = (uint16_t)number(colon + 1);
    }
}

static int free_set(void *opaque)
{
    namenode_free(nn);
    return 0;
}

int main(int argc, char **argv)
{
    struct nameservice service = { 0 };
    struct namenode_params p = {
        .service = &service, .user = argc > 2 ? argv[2] : "root",
        .client_name = argc > 3 ? argv[3] : "namenode-shell",
        .log.call = say_log,
    };
    char line[4096];

    assert(argc > 1);
    service_fill(argv[1], &service);
    assert(loop_new(&loop) == 0);
    assert(namenode_new(loop, &p, &nn) == 0);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        char *words[WORDS_MAX + 1] = { 0 }, *save = NULL;
        int count = 0;

        for (char *w = strtok_r(line, " \n", &save); w && count < WORDS_MAX;
             w = strtok_r(NULL, " \n", &save)) {
            words[count++] = w;
        }
        if (count > 0 && !run_setting(words)) {
            run_line(words, count);
        }
    }
    hdfs_located_block_done(&block);
    (void)loop_run(loop, free_set, NULL);
    loop_free(loop);
    return 0;
}
