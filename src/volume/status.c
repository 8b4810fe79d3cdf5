/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block status: is there data at an offset, and how far does that go? */
#include "volume/private.h"

#include <errno.h>

#define STATUS_BLOCKS_MAX 4096u     /* of data, looked at in one call */

static void status_read(struct read_op *read, int res);

/* A page is missing: look the block up at which it is needed, as a read would. */
static int status_load(struct request *r, uint64_t block)
{
    struct hlfs *v = r->queue->v;

    r->read = (struct read_op){
        .v = v,
        .lane = r->queue->lane,
        .lane_ops = &r->queue->lane_ops,
        .map_only = true,
        .offset = block << v->block_shift,
        .len = v->block_bytes,
        .done = status_read,
        .started = true,
    };
    read_begin(&r->read);
    return 0;
}

static void status_read(struct read_op *read, int res)
{
    struct request *r = container_of(read, struct request, read);
    uint64_t first, last;

    read->started = false;
    if (res == -EBADMSG && read->v->rescue &&
        rescue_page_lost(read->v->rescue, read->missing.place, &first, &last)) {
        res = 0;        /* that is what there is to be said of it */
    }
    if (res < 0) {
        request_finish(r, res);
        return;
    }
    request_continue(r);
}

static void status_set(struct request *r, enum hlfs_status status, uint64_t end_block)
{
    const struct hlfs *v = r->queue->v;
    uint64_t end = r->args.offset + r->args.len;

    if (end_block <= end >> v->block_shift) {
        end = MIN(end, end_block << v->block_shift);
    }
    *r->args.ret_status = status;
    *r->args.ret_len = end - r->args.offset;
    r->result = 0;
}

/* How far does data go from BLOCK on?  What is not in memory ends it. */
static uint64_t data_end(struct hlfs *v, uint64_t block, uint64_t end)
{
    struct place places[64];
    struct tree_missing missing;

    while (block < end) {
        uint32_t n = (uint32_t)MIN(end - block, ARRAY_SIZE(places));

        if (map_lookup(v, block, n, places, &missing) < 0) {
            return block;
        }
        for (uint32_t i = 0; i < n; i++) {
            if (place_is_hole(places[i])) {
                return block + i;
            }
        }
        block += n;
    }
    return end;
}

/* BLOCK is under a page that is lost, and no layer has it: so are those up to LAST that are
 * under the same page, until a layer has one. */
static void status_lost(struct request *r, uint64_t block, uint64_t last)
{
    struct hlfs *v = r->queue->v;
    uint64_t end = MAX(last, block) + 1;
    struct extent e;

    if (layer_next(v->active, block, &e)) {
        end = MIN(end, e.block);
    }
    if (v->frozen && layer_next(v->frozen, block, &e)) {
        end = MIN(end, e.block);
    }
    status_set(r, HLFS_STATUS_LOST, end);
}

/* 1 finished (r->result), 0 pending. */
int status_step(struct request *r)
{
    struct hlfs *v = r->queue->v;
    uint64_t block = r->args.offset >> v->block_shift;
    uint64_t last = (r->args.offset + r->args.len - 1) >> v->block_shift;
    uint64_t next, lost_last;
    struct tree_missing missing;
    struct place place;
    int res = map_lookup(v, block, 1, &place, &missing);

    if (res == 0 && !place_is_hole(place)) {
        status_set(r, HLFS_STATUS_DATA,
                   data_end(v, block + 1, MIN(last + 1, block + STATUS_BLOCKS_MAX)));
        return 1;
    }
    if (res == 0) {
        res = map_next_data(v, block + 1, &next, &missing);
        if (res == 0) {
            status_set(r, HLFS_STATUS_HOLE, MIN(next, last + 1));
            return 1;
        }
        if (res == -EAGAIN) {
            /* Not known without a page: what is known is one block at least. */
            status_set(r, HLFS_STATUS_HOLE, block + 1);
            return 1;
        }
    }
    if (res == -EAGAIN && v->rescue &&
        rescue_page_lost(v->rescue, missing.place, &next, &lost_last)) {
        status_lost(r, block, lost_last);
        return 1;
    }
    if (res == -EAGAIN) {
        return status_load(r, block);
    }
    r->result = res;
    return 1;
}
