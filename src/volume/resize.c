/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resizing: a request among the others, in their order (VOL-2).
 *
 *   grow    ----------------------------------------------> RESIZE --> durable
 *   shrink  --the tail is discarded, as by a DISCARD of it--> RESIZE --> durable
 *
 * What a size cuts off has to be gone before the size says so: VOL-5.  That may take
 * many turns, so the tail is closed first (v->shrink_to): nothing else may write there
 * any more.
 */
#include "volume/private.h"

#include <errno.h>

#include "log/format.h"

int volume_resize_now(struct hlfs *v, uint64_t size)
{
    struct log_space space;
    int res = log_reserve(v->log, LOG_SYSTEM, 0, sizeof(struct entry_resize_disk),
                          &space);

    if (res < 0) {
        return res;
    }
    log_add_resize(v->log, &space, size);
    log_commit(v->log, &space);
    __atomic_store_n(&v->size, size, __ATOMIC_RELAXED);     /* volume_size() looks */
    monitor_pump(v);
    return 0;
}

uint64_t resize_limit(const struct hlfs *v)
{
    return MIN(v->size, v->shrink_to);
}

int resize_check(const struct hlfs *v, const struct request_args *a)
{
    if (a->offset > VOLUME_BYTES_MAX || a->offset % 512 != 0 ||
        (a->flags & ~HLFS_SHRINK) ||
        (a->offset < v->size && !(a->flags & HLFS_SHRINK))) {
        return -EINVAL;
    }
    return v->resizing ? -EBUSY : 0;
}

int resize_start(struct request *r)
{
    struct hlfs *v = r->queue->v;
    uint64_t size = r->args.offset;

    v->resizing = true;
    r->args.flags = HLFS_FUA;
    r->args.len = 0;
    if (size < v->size) {
        v->shrink_to = size;
        /* To the end of the last block, so that the middle is whole blocks. */
        r->args.len = ALIGN_UP(v->size, (uint64_t)v->block_bytes) - size;
#ifdef HLFS_PLANT_BUGS
        if (volume_bugs & 1u << VOLUME_BUG_SHRINK_KEEPS) {
            r->args.len = 0;
        }
#endif
    }
    return write_start(r);
}

void resize_end(struct hlfs *v)
{
    v->resizing = false;
    v->shrink_to = UINT64_MAX;
}
