/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The look for another writer: is there a log file with an id >= FENCE?
 *
 * One listing of the fence's directory from the fence on tells of nearly all.  Only a
 * writer that was stopped for long may be so far behind that the other has filled, and
 * removed again, all that was left of that directory: after a while without a look the
 * directories behind it are looked at as well.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* 4,096 segments are not filled and removed again in that time. */
#define LOOK_ALL_US 10000000

static void look_part_done(struct hdfs_look *look, int res)
{
    struct hdfs_store *s = look->s;

    if (look->res == 0 || res == -ESTALE) {
        look->res = res;
    }
    if (--look->pending > 0) {
        return;
    }
    if (look->res == 0) {
        s->looked_us = MAX(s->looked_us, look->start_us);
    }
    look->done(look, look->res);
}

/* 0, or -ESTALE if the listing has a number of MIN or more. */
static int look_result(struct hdfs_op *op, int res, unsigned digits, uint64_t min)
{
    struct hdfs_listing *l = &op->call.u.listing;
    uint64_t value;

    if (res < 0) {
        return res == -ENOENT ? 0 : res;
    }
    for (size_t i = 0; i < l->file_count; i++) {
        if (names_parse_hex(l->files[i].name, digits, &value) && value >= min) {
            res = -ESTALE;
        }
    }
    hdfs_listing_done(l);
    return res;
}

static void shard_listed(struct hdfs_op *op, int res)
{
    struct hdfs_look *look = container_of(op, struct hdfs_look, shard);

    look->shard_asked = false;
    look_part_done(look, look_result(op, res, NAMES_SEGNO_DIGITS, look->fence));
}

static void dirs_listed(struct hdfs_op *op, int res)
{
    struct hdfs_look *look = container_of(op, struct hdfs_look, dirs);

    look->dirs_asked = false;
    look_part_done(look, look_result(op, res, NAMES_SHARD_DIGITS,
                                     look->fence / STORE_SHARD_FILES + 1));
}

void hdfs_look_start(struct hdfs_store *s, struct hdfs_look *look, uint64_t fence)
{
    /* Not the loop's time: that may be from before the process was stopped. */
    uint64_t now = clock_monotonic_us(&clock_system);

    look->s = s;
    look->fence = fence;
    look->res = 0;
    look->start_us = now;
    look->all = s->looked_us == 0 || now - s->looked_us > LOOK_ALL_US;
    look->pending = 1 + look->all;
    hdfs_shard_path(s, fence, look->shard_path);
    look->shard_after[0] = '\0';
    if (fence % STORE_SHARD_FILES > 0) {
        (void)snprintf(look->shard_after, sizeof(look->shard_after), "%09" PRIx64,
                       (fence - 1) & STORE_SEGNO_MAX);
    }
    look->shard = (struct hdfs_op){
        .what = HDFS_LIST, .path = look->shard_path, .to = look->shard_after,
        .timeout_us = look->timeout_us, .done = shard_listed,
    };
    look->shard_asked = true;
    look->dirs_asked = look->all;
    hdfs_start(s->client, &look->shard);
    if (!look->all) {
        return;
    }
    hdfs_path(s, "log", look->dirs_path);
    (void)snprintf(look->dirs_after, sizeof(look->dirs_after), "%06" PRIx64,
                   (fence & STORE_SEGNO_MAX) / STORE_SHARD_FILES);
    look->dirs = (struct hdfs_op){
        .what = HDFS_LIST, .path = look->dirs_path, .to = look->dirs_after,
        .timeout_us = look->timeout_us, .done = dirs_listed,
    };
    hdfs_start(s->client, &look->dirs);
}

void hdfs_look_cancel(struct hdfs_look *look)
{
    if (look->shard_asked) {
        hdfs_cancel(&look->shard);
    }
    if (look->dirs_asked) {
        hdfs_cancel(&look->dirs);
    }
}
