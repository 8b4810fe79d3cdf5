/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a volume is, and what it has done: for info, stat and tests. */
#include "volume/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

uint64_t volume_size(struct hlfs *v)
{
    return __atomic_load_n(&v->size, __ATOMIC_RELAXED);
}

uint32_t volume_block_bytes(struct hlfs *v)
{
    return v->block_bytes;
}

bool volume_forked(const struct hlfs *v)
{
    return monitor_forked(v);
}

const char *volume_key(const struct hlfs *v)
{
    return v->store->key;
}

void volume_set_control(struct hlfs *v, struct control *control)
{
    v->control = control;
}

struct control *volume_control(const struct hlfs *v)
{
    return v->control;
}

bool volume_read_only(struct hlfs *v)
{
    return v->read_only;
}

static void info_of_log(struct hlfs *v, struct hlfs_info *i)
{
    i->epoch = v->facts.newest.epoch;
    i->seq = v->facts.last_seq;
    i->synced_seq = v->facts.synced_seq;
    i->as_of_us = v->facts.time_us;
    if (v->log) {
        i->epoch = v->epoch;
        i->seq = log_last_seq(v->log);
        i->synced_seq = log_synced_seq(v->log);
        i->as_of_us = clock_wall_us(v->clock);
    }
}

static void info_of_holder(struct hlfs *v, struct hlfs_info *i)
{
    const struct segment_header *h = &v->facts.newest;

    if (v->log) {
        (void)gethostname(i->holder_host, sizeof(i->holder_host) - 1);
        i->holder_pid = (uint32_t)getpid();
        i->holder_since_us = v->since_us;
        i->holder_alive = 1;
        return;
    }
    if (v->facts.has_newest) {
        (void)snprintf(i->holder_host, sizeof(i->holder_host), "%s", h->host);
        i->holder_pid = h->pid;
        i->holder_since_us = h->since_us;
    }
    i->holder_alive = store_holder_alive(v->store) > 0;
}

/* Live bytes of the head: the tree's, and what the layers change on top of it is
 * known only block by block: data in them counts, what it replaces does too. */
int volume_info(struct hlfs *v, struct hlfs_info *i)
{
    struct store_stat st = { 0 };
    int res = monitor_forked(v) ? -ECHILD : store_stat(v->store, &st);

    memset(i, 0, sizeof(*i));
    if (res < 0) {
        return res;
    }
    monitor_enter(v);
    i->format_version = v->identity.version;
    i->block_bytes = v->block_bytes;
    i->size_bytes = v->size;
    i->segment_bytes = volume_segment_bytes(v);
    i->segments = usage_segments(v->usage);
    i->pool_bytes = st.pool_bytes;
    i->log_bytes = usage_segment_bytes(v->usage) + st.pool_bytes;
    i->live_bytes = usage_live_bytes(v->usage);
    i->created_us = v->identity.created_us;
    i->checkpoint_us = v->checkpoint_us;
    i->unfinished_us = v->log ? v->unfinished_us : v->facts.newest.unfinished_us;
    i->degraded = st.degraded;
    i->replication = st.replication;
    (void)snprintf(i->tail, sizeof(i->tail), "%s", st.tail);
    memcpy(i->uuid, v->identity.uuid, sizeof(i->uuid));
    (void)snprintf(i->durability, sizeof(i->durability), "%s",
                   v->log || !v->facts.has_newest ? v->store->durability :
                   v->facts.newest.durability);
    info_of_log(v, i);
    monitor_leave(v);
    info_of_holder(v, i);
    return 0;
}

int volume_counters(struct hlfs *v, struct hlfs_counters *c)
{
    if (monitor_forked(v)) {
        return -ECHILD;
    }
    monitor_enter(v);
    *c = v->counters;
    c->layer_bytes = layer_bytes(v->active) + (v->frozen ? layer_bytes(v->frozen) : 0);
    c->cache_bytes = pagecache_bytes(v->cache);
    latency_quantiles(v, c);
    if (v->log) {
        struct log_stat st;

        log_get_stat(v->log, &st);
        c->log_bytes_written = st.bytes_written;
        c->syncs = st.syncs;
        c->segments_created = st.segments_created;
        c->segments_broken = st.segments_broken;
        c->dirty_bytes = st.dirty_bytes;
    }
    monitor_leave(v);
    return 0;
}

uint64_t volume_losses(struct hlfs *v)
{
    uint64_t losses = 0;

    if (!monitor_forked(v)) {
        monitor_enter(v);
        losses = v->rescue ? rescue_losses(v->rescue) : 0;
        monitor_leave(v);
    }
    return losses;
}
