/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signs of life (DESIGN 4).  Who wants to know whether a writer lives makes a file in
 * knock/; the holder looks there every 2 s and answers by removing it, if nobody has
 * taken over.  No answer in 6 s means dead.
 *
 * But where the one who knocks meets a NameNode that is out of reach, slow, fails over or
 * refuses changes (safe mode), the holder meets it, too: then it has 30 s, and they begin
 * when the last such trouble is over.  After 180 s of that nothing is known.
 *
 * A holder that ends in order leaves knock/left-<segno> behind, the number of the highest
 * segment it made.  While that is the highest there is, nobody has taken over since, and
 * nobody needs to be waited for.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

#define LISTEN_EVERY_US 2000000
#define LISTEN_AGAIN_US 500000
#define LISTEN_TIMEOUT_US 1000000

/* Of 6 s, or what a test has instead (dead_us): */
#define HINDERED_TIMES 5        /* 30 s: the holder may wait a while before it tries again */
#define WAIT_TIMES 30           /* 180 s: the longest in all */
#define ASK_EVERY_TIMES 30      /* so many looks in 6 s: one every 200 ms ... */
#define CHANGE_EVERY 5          /* ... and a try to change something with each of these */
/* Opening takes a tenth of this: then a NameNode kept us waiting, and keeps the holder. */
#define SMOOTH_US 3000000

#define LEFT "knock/left-"

#define ANSWERS_MAX 16          /* at once; others at the next turn */
#define KNOCK_DIGITS 16

/* ---- Knocking ------------------------------------------------------------------ */

struct knock {
    struct hdfs_store *s;
    char path[HDFS_PATH_BYTES];
    bool hindered;
    uint64_t begun_us;
    uint64_t since_us;          /* from then on the holder could have answered */
    char trouble[256];          /* the last one */
};

enum verdict { KNOCK_DEAD, KNOCK_ALIVE, KNOCK_AGAIN };

static uint64_t now_us(void)
{
    return clock_monotonic_us(&clock_system);
}

static void pause_us(uint64_t us)
{
    (void)nanosleep(&(struct timespec){ .tv_sec = (time_t)(us / 1000000),
                                        .tv_nsec = (long)(us % 1000000) * 1000 }, NULL);
}

static int knock_do(struct knock *k, struct hdfs_op *op)
{
    int res = hdfs_do(k->s->client, op);

    if (res < 0 || op->hindered) {
        (void)snprintf(k->trouble, sizeof(k->trouble), "%.255s",
                       op->call.message[0] ? op->call.message :
                       res < 0 ? error_name(res) : "the NameNode is slow, or fails over");
    }
    if (op->hindered) {
        k->hindered = true;
        k->since_us = now_us();
    }
    return res;
}

static int knock_file(struct knock *k, enum hdfs_what what, struct hdfs_op *op)
{
    *op = (struct hdfs_op){ .what = what, .path = k->path, .mode = k->s->file_mode };
    return knock_do(k, op);
}

/* Make the file; the first to knock makes the directory. */
static int knock_make(struct knock *k)
{
    char dir[HDFS_PATH_BYTES];
    struct hdfs_op op;
    int res = knock_file(k, HDFS_CREATE_EMPTY, &op);

    if (res == -ENOENT) {
        hdfs_path(k->s, "knock", dir);
        res = hdfs_make_dir(k->s, dir, false);
        if (res == 0) {
            res = knock_file(k, HDFS_CREATE_EMPTY, &op);
        }
    }
    if (res < 0) {
        return error_set(res, "cannot ask whether the writer lives: %s",
                         op.call.message[0] ? op.call.message : error_name(res));
    }
    return 0;
}

static int cannot_tell(const struct knock *k, int res)
{
    return error_set(res, "cannot tell whether the writer lives: %s", k->trouble);
}

/* In safe mode all can be read and nothing changed.  This would change nothing, but is
 * refused as well, so that the holder's time begins anew. */
static void try_change(struct knock *k)
{
    char dir[HDFS_PATH_BYTES];
    struct hdfs_op op = {
        .what = HDFS_MAKE_DIR, .path = dir, .mode = k->s->dir_mode,
        .timeout_us = LISTEN_TIMEOUT_US,
    };

    hdfs_path(k->s, "knock", dir);
    (void)knock_do(k, &op);
}

static bool waits_for_answer(const struct knock *k)
{
    return now_us() - k->since_us <
           (k->hindered ? HINDERED_TIMES : 1) * k->s->dead_us;
}

/* Has somebody taken it away, or did nobody, in time that was the holder's? */
static int knock_await(struct knock *k)
{
    struct hdfs_op op;
    int res;

    for (unsigned n = 1; waits_for_answer(k); n++) {
        if (now_us() - k->begun_us > WAIT_TIMES * k->s->dead_us) {
            return cannot_tell(k, -ETIMEDOUT);
        }
        pause_us(k->s->dead_us / ASK_EVERY_TIMES);
        res = knock_file(k, HDFS_STAT, &op);
        if (res == -ENOENT) {
            return KNOCK_ALIVE;
        }
        if (res == 0) {
            hdfs_file_done(&op.call.u.file);
        } else if (!op.hindered) {
            return cannot_tell(k, res);
        }
        if (n % CHANGE_EVERY == 0) {
            try_change(k);
        }
    }
    return KNOCK_DEAD;
}

/* Take the file away.  If that was not done at once, neither could the holder do it. */
static int knock_end(struct knock *k)
{
    uint64_t since_us = k->since_us;
    struct hdfs_op op;
    int res = knock_file(k, HDFS_REMOVE, &op);

    if (k->since_us != since_us) {
        return KNOCK_AGAIN;
    }
    return res < 0 ? cannot_tell(k, res) : res == 0 ? KNOCK_ALIVE : KNOCK_DEAD;
}

static int knock_once(struct knock *k)
{
    char name[NAMES_RANDOM_BYTES];
    struct hdfs_op rest = {
        .what = HDFS_REMOVE, .path = k->path, .timeout_us = LISTEN_TIMEOUT_US,
    };
    int res;

    names_random(name, "knock/");
    hdfs_path(k->s, name, k->path);
    res = knock_make(k);
    if (res < 0) {
        return res;
    }
    k->since_us = now_us();
    res = knock_await(k);
    if (res < 0) {
        (void)hdfs_do(k->s->client, &rest);     /* else the next holder does it */
    }
    return res == KNOCK_DEAD ? knock_end(k) : res;
}

static void left_path(const struct hdfs_store *s, uint64_t segno,
                      char path[HDFS_PATH_BYTES])
{
    char name[NAMES_RANDOM_BYTES];

    (void)snprintf(name, sizeof(name), LEFT "%09" PRIx64, segno & STORE_SEGNO_MAX);
    hdfs_path(s, name, path);
}

static int knock(struct hdfs_store *s)
{
    struct knock k = {
        .s = s, .begun_us = now_us(), .hindered = now_us() - s->began_us > SMOOTH_US,
    };
    int res;

    do {
        res = knock_once(&k);
    } while (res == KNOCK_AGAIN);
    return res < 0 ? res : res == KNOCK_ALIVE;
}

/* Has the one who made segment HIGHEST left in order? */
static bool has_left(struct hdfs_store *s, uint64_t highest)
{
    char path[HDFS_PATH_BYTES];
    struct hdfs_file file;

    left_path(s, highest, path);
    if (hdfs_stat_path(s, path, &file) < 0) {
        return false;
    }
    hdfs_file_done(&file);
    return true;
}

/* Who only reads leaves no trace: a file that is open for writing has to do as a sign.
 * (It may be a dead writer's, for an hour; an idle one has none.) */
static int tail_is_open(struct hdfs_store *s, uint64_t file)
{
    char path[HDFS_PATH_BYTES];
    struct hdfs_op op = { .what = HDFS_LOCATE, .path = path, .length = 1 };
    int res;

    hdfs_file_path(s, file, path);
    res = hdfs_do(s->client, &op);
    if (res < 0) {
        return res == -ENOENT ? 0 : error_set(res, "cannot look at %s: %s", path,
                                              op.call.message);
    }
    res = op.call.u.blocks.under_construction;
    hdfs_located_blocks_done(&op.call.u.blocks);
    return res;
}

int hdfs_holder_alive(struct store *base)
{
    struct hdfs_store *s = hdfs_of(base);
    uint64_t highest;
    int res = hdfs_highest(base, 0, &highest);

    if (res < 0) {
        return res == -ENOENT ? 0 : res;    /* a holder has a segment: its vote */
    }
    if (s->read_only) {
        return tail_is_open(s, highest);
    }
    return has_left(s, highest) ? 0 : knock(s);
}

/* ---- Answering ----------------------------------------------------------------- */

struct answer {
    struct hdfs_op op;
    char path[HDFS_PATH_BYTES];
    bool used;
};

struct hdfs_knocker {
    struct hdfs_store *s;           /* borrowed */
    struct loop_timer timer;
    struct hdfs_op list;
    bool listing;
    struct hdfs_look look;
    bool looking;
    bool taken;                     /* another writer has a number that is to be ours */
    struct answer answers[ANSWERS_MAX];
    unsigned answer_count, answering;
    char dir[HDFS_PATH_BYTES];
};

static void listen_after(struct hdfs_knocker *k, uint64_t us)
{
    struct loop *l = hdfs_loop(k->s->client);

    loop_timer_set(l, &k->timer, loop_now_us(l) + us);
}

static void answered(struct hdfs_op *op, int res)
{
    struct hdfs_knocker *k = op->opaque;

    (void)res;          /* else it is answered in the next turn */
    container_of(op, struct answer, op)->used = false;
    if (--k->answering == 0) {
        listen_after(k, k->answer_count == ANSWERS_MAX ? 0 : LISTEN_EVERY_US);
    }
}

static void answer_all(struct hdfs_knocker *k)
{
    k->answering = k->answer_count;
    for (unsigned i = 0; i < k->answer_count; i++) {
        struct answer *a = &k->answers[i];

        a->used = true;
        a->op = (struct hdfs_op){
            .what = HDFS_REMOVE, .path = a->path, .timeout_us = LISTEN_TIMEOUT_US,
            .done = answered, .opaque = k,
        };
        hdfs_start(k->s->client, &a->op);
    }
}

/* The number that another writer would take. */
static uint64_t next_number(const struct hdfs_store *s)
{
    return MAX(s->created, s->creating) + 1;
}

static void fence_looked(struct hdfs_look *look, int res)
{
    struct hdfs_knocker *k = container_of(look, struct hdfs_knocker, look);

    k->looking = false;
    if (res == 0) {
        k->taken = false;
        answer_all(k);
    } else if (res == -ESTALE && look->fence < next_number(k->s)) {
        listen_after(k, 0);             /* we began to create that one meanwhile */
    } else if (res == -ESTALE) {
        /* Who answers from now on.  But it may take its number away again: a create of
         * its that failed, or a vote that it could not use. */
        if (!k->taken) {
            log_say(&k->s->log, LOG_WARNING, "%s: another writer has taken over",
                    k->s->store.location);
        }
        k->taken = true;
        listen_after(k, LISTEN_EVERY_US);
    } else {
        listen_after(k, LISTEN_AGAIN_US);
    }
}

/* What holders before us left: rubbish by now. */
static bool is_old_left(const struct hdfs_store *s, const char *name)
{
    size_t prefix = strlen(LEFT) - strlen("knock/");
    uint64_t segno;

    return strncmp(name, LEFT + strlen("knock/"), prefix) == 0 &&
           names_parse_hex(name + prefix, NAMES_SEGNO_DIGITS, &segno) && segno < s->created;
}

static void knocks_listed(struct hdfs_op *op, int res)
{
    struct hdfs_knocker *k = op->opaque;
    struct hdfs_listing *l = &op->call.u.listing;
    char name[NAMES_RANDOM_BYTES + 8];
    uint64_t value;

    k->listing = false;
    k->answer_count = 0;
    if (res < 0) {
        listen_after(k, res == -ENOENT ? LISTEN_EVERY_US : LISTEN_AGAIN_US);
        return;
    }
    for (size_t i = 0; i < l->file_count && k->answer_count < ANSWERS_MAX; i++) {
        if (names_parse_hex(l->files[i].name, KNOCK_DIGITS, &value) ||
            is_old_left(k->s, l->files[i].name)) {
            (void)snprintf(name, sizeof(name), "knock/%s", l->files[i].name);
            hdfs_path(k->s, name, k->answers[k->answer_count++].path);
        }
    }
    hdfs_listing_done(l);
    if (k->answer_count == 0) {
        listen_after(k, LISTEN_EVERY_US);
        return;
    }
    k->looking = true;
    k->look.done = fence_looked;
    k->look.timeout_us = LISTEN_TIMEOUT_US;
    hdfs_look_start(k->s, &k->look, next_number(k->s));
}

static void listen_now(struct loop_timer *t)
{
    struct hdfs_knocker *k = container_of(t, struct hdfs_knocker, timer);

    k->listing = true;
    k->list = (struct hdfs_op){
        .what = HDFS_LIST, .path = k->dir, .to = "", .timeout_us = LISTEN_TIMEOUT_US,
        .done = knocks_listed, .opaque = k,
    };
    hdfs_start(k->s->client, &k->list);
}

static void knocker_free(struct hdfs_knocker *k)
{
    loop_timer_stop(hdfs_loop(k->s->client), &k->timer);
    if (k->listing) {
        hdfs_cancel(&k->list);
    }
    if (k->looking) {
        hdfs_look_cancel(&k->look);
    }
    for (unsigned i = 0; i < ANSWERS_MAX; i++) {
        if (k->answers[i].used) {
            hdfs_cancel(&k->answers[i].op);
        }
    }
    free(k);
}

struct enlist {
    struct hdfs_store *s;
    uint64_t epoch;
};

static int resign_inside(void *opaque)
{
    struct hdfs_store *s = opaque;

    if (s->knocker) {
        knocker_free(TAKE_PTR(s->knocker));
        s->left = s->created >= s->epoch && s->creating == 0 ? s->created : 0;
    }
    return 0;
}

static int enlist_inside(void *opaque)
{
    struct enlist *e = opaque;
    struct hdfs_store *s = e->s;
    struct hdfs_knocker *k = calloc(1, sizeof(*k));

    if (!k) {
        return -ENOMEM;
    }
    (void)resign_inside(s);
    k->s = s;
    k->timer.fire = listen_now;
    hdfs_path(s, "knock", k->dir);
    s->knocker = k;
    s->epoch = e->epoch;
    s->left = 0;
    s->created = e->epoch - 1;      /* the number voted with is the next one */
    listen_after(k, 0);
    return 0;
}

int hdfs_enlist(struct store *base, uint64_t epoch)
{
    struct enlist e = { hdfs_of(base), epoch };
    int res;

    if (e.s->read_only) {
        return error_set(-EROFS, "%s is open for reading only", base->location);
    }
    res = loop_run(hdfs_loop(e.s->client), enlist_inside, &e);
    return res < 0 ? error_set(res, "out of memory") : 0;
}

void hdfs_resign(struct store *base)
{
    struct hdfs_store *s = hdfs_of(base);

    (void)loop_run(hdfs_loop(s->client), resign_inside, s);
}

void hdfs_leave(struct hdfs_store *s)
{
    struct knock k = { .s = s };
    char words[ERROR_TEXT_BYTES];

    if (s->left > 0) {
        /* This is a part of an open or a close that may have failed: it is for them to
         * say why. */
        (void)snprintf(words, sizeof(words), "%s", error_text());
        left_path(s, s->left, k.path);
        (void)knock_make(&k);       /* without it the next one knocks */
        (void)error_set(0, "%s", words);
    }
}
