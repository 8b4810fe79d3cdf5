/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * read-file PATH [SEED] - print a file of the cluster in $HADOOP_CONF_DIR, whoever wrote
 * it, for shell tests: read by many positional reads at once, of random lengths and in
 * random order.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "hdfs/input.h"

#define READS 16            /* at once */
#define READ_MAX KIB(300)

struct slot {
    struct input_op op;
    struct reading *r;
};

struct reading {
    struct hdfs_wait wait;
    struct input *in;
    uint8_t *bytes;             /* of the whole file */
    uint64_t *cuts;             /* where reads begin, and the file's length */
    uint64_t *order;            /* of the reads, as indices of CUTS */
    uint64_t count, next;       /* of ORDER */
    unsigned under_way;
    int error;
    struct slot slots[READS];
};

static void say(void *opaque, int level, const char *text)
{
    (void)opaque;
    fprintf(stderr, "log %d: %s\n", level, text);
}

/* ---- The reads ----------------------------------------------------------------- */

static void plan(struct reading *r, uint64_t length, uint64_t seed)
{
    struct rng rng = { seed };

    r->cuts = calloc(length + 1, sizeof(*r->cuts));
    r->order = calloc(length + 1, sizeof(*r->order));
    assert(r->cuts && r->order);
    for (uint64_t at = 0; at < length; r->count++) {
        r->cuts[r->count] = at;
        at += 1 + rng_below(&rng, rng_one_in(&rng, 4) ? 700 : READ_MAX);
    }
    r->cuts[r->count] = length;
    for (uint64_t i = 0; i < r->count; i++) {
        uint64_t other = rng_below(&rng, i + 1);

        r->order[i] = r->order[other];
        r->order[other] = i;
    }
}

static void slot_start(struct slot *s)
{
    struct reading *r = s->r;
    uint64_t at = r->order[r->next++];

    s->op.offset = r->cuts[at];
    s->op.len = r->cuts[at + 1] - r->cuts[at];
    s->op.buf = r->bytes + s->op.offset;
    r->under_way++;
    input_read(r->in, &s->op);
}

static void slot_done(struct input_op *op, int64_t res)
{
    struct slot *s = container_of(op, struct slot, op);
    struct reading *r = s->r;

    r->under_way--;
    if (res != (int64_t)op->len && r->error == 0) {
        fprintf(stderr, "read of %zu bytes at %llu: %lld\n", op->len,
                (unsigned long long)op->offset, (long long)res);
        r->error = res < 0 ? (int)res : -ENODATA;
    }
    if (r->next < r->count && r->error == 0) {
        slot_start(s);
    } else if (r->under_way == 0) {
        hdfs_wait_end(&r->wait, r->error);
    }
}

static void reading_start(struct hdfs_wait *w)
{
    struct reading *r = container_of(w, struct reading, wait);

    r->under_way = 1;       /* this function: nothing ends before it does */
    for (unsigned i = 0; i < READS && r->next < r->count && r->error == 0; i++) {
        r->slots[i] = (struct slot){ .op.done = slot_done, .r = r };
        slot_start(&r->slots[i]);
    }
    if (--r->under_way == 0) {
        hdfs_wait_end(w, r->error);
    }
}

/* ---- The program --------------------------------------------------------------- */

static int input_end(void *opaque)
{
    input_free(opaque);
    return 0;
}

static int file_read(struct hdfs *h, const char *path, uint64_t length, uint64_t seed)
{
    struct reading r = { .wait.start = reading_start, .bytes = malloc(length + 1) };
    int res;

    assert(r.bytes && input_new(h, path, &r.in) == 0);
    plan(&r, length, seed);
    res = hdfs_wait(h, &r.wait);
    if (res == 0) {
        assert(fwrite(r.bytes, 1, length, stdout) == length && fflush(stdout) == 0);
    }
    (void)loop_run(hdfs_loop(h), input_end, r.in);
    free(r.bytes);
    free(r.cuts);
    free(r.order);
    return res;
}

int main(int argc, char **argv)
{
    struct hdfs_params p = { .authority = "", .log.call = say };
    struct hdfs_op stat = { .what = HDFS_STAT };
    struct hdfs *h = NULL;
    int res;

    assert(argc > 1);
    if (hdfs_new(&p, &h) < 0) {
        fprintf(stderr, "read-file: %s\n", error_text());
        return 1;
    }
    stat.path = argv[1];
    res = hdfs_do(h, &stat);
    if (res < 0) {
        fprintf(stderr, "read-file: %s: %s\n", argv[1], stat.call.message);
    } else {
        res = file_read(h, argv[1], stat.call.u.file.length,
                        argc > 2 ? strtoull(argv[2], NULL, 0) : 1);
        hdfs_file_done(&stat.call.u.file);
    }
    hdfs_free(h);
    return res < 0;
}
