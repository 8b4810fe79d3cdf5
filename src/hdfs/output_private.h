/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * output_private.h - what output.c, output_pipeline.c and output_close.c share.
 */
#ifndef HLFS_HDFS_OUTPUT_PRIVATE_H
#define HLFS_HDFS_OUTPUT_PRIVATE_H

#include "hdfs/hdfs_private.h"
#include "hdfs/output.h"
#include "hdfs/probe.h"

#define OUTPUT_EXCLUDES_MAX 32

enum output_state {
    OUTPUT_NEW, OUTPUT_NAMING, OUTPUT_PROVING, OUTPUT_WAITING, OUTPUT_ADDING,
    OUTPUT_ASKING, OUTPUT_ASKING_SUM, OUTPUT_CONNECTING,
    OUTPUT_PROBING, OUTPUT_ABANDONING, OUTPUT_PERSISTING, OUTPUT_REMOVING, OUTPUT_OPEN,
    OUTPUT_ENDING, OUTPUT_EMPTYING, OUTPUT_COMPLETING, OUTPUT_RECOVERING,
};

#define OUTPUT_ALIGN 4096u          /* bytes that appends are multiples of */

struct output {
    struct hdfs *h;                 /* borrowed */
    struct list node;               /* in the client's outputs */
    char *path;                     /* owned */
    struct output_params p;
    enum output_state state;
    bool made;                      /* the name is ours */
    bool doubt;                     /* it may be */
    bool has_block;
    bool broken;                    /* the pipeline failed, for good */
    bool dead;                      /* it failed, but there may be another */
    bool given;                     /* the writer has got bytes */
    bool closing;
    bool removing;                  /* the call to remove it got no answer yet */
    bool ended;                     /* all nodes have the whole block, as was asked */
    bool renewing;                  /* a new pipeline is set up for an open file */
    struct list held;               /* writer_ops that wait for a pipeline, or a probe */
    int error;                      /* why it is being removed */
    uint64_t file_id;               /* 0: not known */
    uint64_t appended, acked;

    struct hdfs_located_block block;    /* owned; with has_block */
    struct writer *writer;              /* owned */
    struct writer_op end;
    /* The first append: done when the NameNode knows that the block has bytes. */
    struct writer_op first;             /* with the writer */
    struct writer_op *first_op;         /* the caller's; or NULL */
    struct namenode_call tell;
    struct namenode_call call;          /* the step under way */
    struct hdfs_op locate;              /* of output_refresh() */
    bool locating;
    bool leaving;
    struct hdfs_op recover;
    bool recovering;                    /* the op is with the client */
    struct probe *probe;                /* owned; while PROBING */
    struct loop_timer timer;
    unsigned connects, recovers;
    uint64_t wait_us, give_up_us;
    uint64_t open_until_us;             /* so long DataNodes are waited for */
    uint64_t no_place_us;               /* since when there is no place; 0: there was */
    char no_place[1024];                /* as the NameNode said */
    bool too_few;                       /* nodes were given: ASKING why, after ABANDONING */

    struct hdfs_datanode excludes[OUTPUT_EXCLUDES_MAX];    /* for this file only */
    size_t exclude_count;

    void (*opened)(struct output *o, int res, void *opaque);
    void (*closed)(void *opaque, int res);
    void *opaque;
};

/* ---- output.c ------------------------------------------------------------------ */

void output_say(struct output *o, enum log_level level, const char *what, int res,
                const char *message);
void output_forget_block(struct output *o);
/* The ops that are held end with RES. */
void output_held_fail(struct output *o, int res);
/* It is over, and closed() is told. */
void output_gone(struct output *o, int res);

/* Start the call that leads out of STATE. */
void output_call(struct output *o, enum output_state state);
/* The open is over; RES tells how. */
void output_opened(struct output *o, int res);
/* The name is ours, but it cannot be written: there shall be no such file. */
void output_fail(struct output *o, int res, const char *message);
/* Our file is gone, and its name may be another's by now: it is let alone. */
void output_lost(struct output *o);
/* May the NameNode have done what it gave no answer to? */
bool output_outcome_unknown(int res);
/* Hand OP to the writer. */
int output_give(struct output *o, struct writer_op *op);

/* ---- output_pipeline.c --------------------------------------------------------- */

/* Ask for a block, at once or when it is known which nodes are silent. */
void output_add(struct output *o);
void output_add_block(struct output *o);
void output_block_added(struct output *o, int res);
/* It is known how much room the cluster has, or (RES < 0) it isn't. */
void output_nodes_told(struct output *o, int res);
void output_sum_told(struct output *o, int res);
void output_abandoned(struct output *o, int res);
/* The new pipeline of an open file stands, or cannot be had. */
void output_renewed(struct output *o, int res);
/* Is it being found out which nodes of a pipeline that broke are silent? */
bool output_is_judging(const struct hdfs *h);
/* It is known now: those that wait for it go on. */
void outputs_judged(struct hdfs *h);

/* ---- output_close.c ------------------------------------------------------------ */

void output_complete(struct output *o);
void output_completed(struct output *o, int res);
void output_emptied(struct output *o, int res);
void output_recover(struct output *o);
/* It was to be closed while it was being named. */
void output_named_too_late(struct output *o, int res);
void output_due(struct loop_timer *t);

#endif
