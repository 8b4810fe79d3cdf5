/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * input.h - a file that is read: where its blocks are, and how long it is.
 *
 * Many positional reads at once.  Locations are asked for once and kept, and asked for
 * again when no replica there gives the bytes.  A file that somebody else is writing is
 * as long as its DataNodes say when it is first read, and again when a read goes beyond;
 * of one that this process writes the writer tells (input_written()).  Loop thread only.
 */
#ifndef HLFS_HDFS_INPUT_H
#define HLFS_HDFS_INPUT_H

#include "hdfs/hdfs.h"
#include "hdfs/reader.h"

struct input;

/* The caller's until done(), which may free it. */
struct input_op {
    /* RES: the bytes read, less than LEN only where the file ends; or -errno, -ENOENT if
     * there is no such file. */
    void (*done)(struct input_op *op, int64_t res);
    uint64_t offset;
    void *buf;                  /* borrowed until done() */
    size_t len;
    /* It is tried until then, however often nodes fail.  0: a few times, and at most for
     * the client's time for a call. */
    uint64_t timeout_us;

    /* input's own */
    struct input *in;
    struct list node;
    struct located *located;    /* a reference, while reading */
    struct reader_op read;
    size_t got;
    unsigned tries;
    uint64_t deadline_us;
    uint64_t looked_us;         /* 0, or when it asked for locations */
    bool reading;
};

/* Asks nothing yet.  -ENOMEM */
int input_new(struct hdfs *h, const char *path, struct input **ret);

/* Reads under way end with -ECANCELED before this returns.  NULL is fine. */
void input_free(struct input *in);

/* done() may be called from within.  It may start others, but not free IN. */
void input_read(struct input *in, struct input_op *op);

/* The first LENGTH bytes of block B, the file's only one, can be read: all of its nodes
 * acknowledged them. */
void input_written(struct input *in, const struct hdfs_located_block *b,
                   uint64_t length);

bool input_is_idle(const struct input *in);     /* no read is under way */

/* What is known of it without asking: the nodes of its last block, or NULL. */
const struct hdfs_located_block *input_last_block(const struct input *in);

#endif
