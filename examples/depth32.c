/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * depth32 - write to a volume with 32 requests under way, then make it durable.
 *
 *   depth32 LOC COUNT      COUNT random 4 KiB writes; they overwrite what is there
 *
 * A queue belongs to one thread at a time.  A submit that returns 1 is done and has no
 * completion; one that returns 0 has one, which brings the tag back.
 */
#include <hlfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 32
#define BYTES 4096

struct slot {
    struct slot *next;          /* in the list of free ones */
    char buf[BYTES];            /* the request's until its completion is reaped */
};

static struct slot slots[DEPTH];
static struct slot *free_slots;

static void slot_put(struct slot *s)
{
    s->next = free_slots;
    free_slots = s;
}

/* Wait for completions: how many came (0: nothing was unfinished), or the first error. */
static int reap_some(struct hlfs_queue *q)
{
    struct hlfs_completion done[DEPTH];
    int n = hlfs_queue_reap(q, done, DEPTH, -1);

    for (int i = 0; i < n; i++) {
        slot_put(done[i].tag);
        if (done[i].result < 0) {
            return done[i].result;
        }
    }
    return n;
}

static int write_all(struct hlfs *v, struct hlfs_queue *q, unsigned long count)
{
    uint64_t blocks = hlfs_size(v) / BYTES;
    int r = 1;

    for (unsigned long i = 0; i < count && blocks > 0 && r >= 0; i++) {
        struct slot *s = free_slots;

        free_slots = s->next;
        memset(s->buf, 'a' + (int)(i % 26), BYTES);
        r = hlfs_submit_pwrite(q, s->buf, BYTES, (uint64_t)rand() % blocks * BYTES, 0, s);
        if (r != 0) {
            slot_put(s);        /* 1: it is done, < 0: it was refused */
        }
        while (!free_slots && r >= 0) {
            r = reap_some(q);
        }
    }
    while (r >= 0 && (r = reap_some(q)) > 0) {
    }                           /* until nothing is unfinished */
    return r;
}

int main(int argc, char **argv)
{
    struct hlfs_queue *q;
    struct hlfs *v;
    int r;

    if (argc != 3) {
        fprintf(stderr, "usage: depth32 LOC COUNT\n");
        return 2;
    }
    for (int i = 0; i < DEPTH; i++) {
        slot_put(&slots[i]);
    }
    if (hlfs_open(argv[1], NULL, 0, NULL, &v) < 0) {
        fprintf(stderr, "depth32: %s\n", hlfs_error());
        return 1;
    }
    r = hlfs_queue_new(v, DEPTH, &q);
    if (r == 0) {
        r = write_all(v, q, strtoul(argv[2], NULL, 0));
        hlfs_queue_free(q);
    }
    if (r < 0) {
        fprintf(stderr, "depth32: %s\n", strerror(-r));
    }
    if (hlfs_close(v) < 0) {    /* flushes: after it all is durable */
        fprintf(stderr, "depth32: %s\n", hlfs_error());
        r = -1;
    }
    return r < 0;
}
