/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removing dead segments, and filling the store's pool of spare files when idle.
 *
 * What a durable header allows to go (USAGE-2) first waits until every read that began
 * before has ended (VOL-3): reads count in one of two phases; the phase is changed, and
 * when the old one has no reads left nothing can be reading what had gone from the map.
 */
#include "volume/private.h"

#include <errno.h>

#define REMOVALS_IN_FLIGHT 4u
#define AGAIN_US 10000000u      /* a removal that failed is tried again */
#define IDLE_US 1000000u        /* without requests: then the pool is filled */

struct removal {
    struct list node;
    struct hlfs *v;
    uint64_t file;
    bool told;              /* that it failed */
    struct store_op op;
};

/* Without memory the file stays: rubbish, as `check` will say. */
static void removal_queue(struct hlfs *v, struct list *where, uint64_t file)
{
    struct removal *m = calloc(1, sizeof(*m));

    if (m) {
        m->v = v;
        m->file = file;
        list_push(where, &m->node);
    }
}

void removal_allow(struct hlfs *v, const struct record_ref *checkpoint)
{
    unsigned n = 0;
    uint64_t file;

    if (checkpoint->file == 0) {
        return;
    }
    while ((file = usage_take_doomed(v->usage, checkpoint->seq)) != 0) {
        removal_queue(v, &v->removals, file);
        n++;
    }
    if (checkpoint->seq != v->checkpoint.paced_seq) {
        v->checkpoint.paced_seq = checkpoint->seq;
        checkpoint_pace(v, n);
    }
    monitor_wake(v);
}

void removal_note_void(struct hlfs *v, uint64_t file)
{
    removal_queue(v, &v->voids, file);
}

void removal_of_voids(struct hlfs *v)
{
    list_splice(&v->removals, &v->voids);
}

static void removed(struct store_op *op, int res)
{
    struct removal *m = container_of(op, struct removal, op);
    struct hlfs *v = m->v;

    monitor_done(v);
    v->removals_in_flight--;
    if (res < 0 && res != -ENOENT) {
        if (!m->told) {
            log_say(&v->options.log, LOG_WARNING, "%s: cannot remove segment %llu now: %s",
                    v->name, (unsigned long long)m->file, error_name(res));
        }
        m->told = true;
        list_push(&v->removals_failed, &m->node);
        v->removals_again_us = clock_monotonic_us(v->clock) + AGAIN_US;
    } else {
        usage_removed(v->usage, m->file);
        v->counters.segments_removed++;
        v->pool_full = false;
        free(m);
    }
    if (list_empty(&v->removals_ready)) {
        log_retry(v->log);      /* there may be room again */
    }
}

/* Those that failed: a NameNode may answer again, say. */
void removal_tick(struct hlfs *v, uint64_t now_us)
{
    if (now_us >= v->removals_again_us) {
        list_splice(&v->removals, &v->removals_failed);
    }
}

/* One step.  True if it did something. */
bool removal_work(struct hlfs *v)
{
    struct removal *m;

    if (!v->log || v->fenced) {
        return false;
    }
    if (list_empty(&v->removals_ready)) {
        if (list_empty(&v->removals)) {
            return false;
        }
        list_splice(&v->removals_ready, &v->removals);
        v->read_phase ^= 1;
    }
    v->removing_waits = v->reads[v->read_phase ^ 1] > 0;
    if (v->removing_waits || v->removals_in_flight >= REMOVALS_IN_FLIGHT) {
        return false;
    }
    m = list_entry(list_pop(&v->removals_ready), struct removal, node);
    m->op = (struct store_op){
        .what = STORE_REMOVE, .file = m->file, .done = removed,
    };
    v->removals_in_flight++;
    monitor_submit(v, &m->op);
    return true;
}

void removal_free(struct hlfs *v)
{
    struct list *node;

    list_splice(&v->removals, &v->removals_ready);
    list_splice(&v->removals, &v->removals_failed);
    list_splice(&v->removals, &v->voids);
    while ((node = list_pop(&v->removals)) != NULL) {
        free(list_entry(node, struct removal, node));
    }
}

/* ---- The pool ------------------------------------------------------------- */

static void prepared(struct store_op *op, int res)
{
    struct hlfs *v = container_of(op, struct hlfs, prepare_op);

    monitor_done(v);
    v->prepare_in_flight = false;
    v->pool_full = res <= 0;
    v->next_tick_us = 0;        /* the next one may follow at once */
}

/* After a second without requests: one spare file more. */
void removal_prepare_tick(struct hlfs *v, uint64_t now_us)
{
    const struct hlfs_counters *c = &v->counters;
    uint64_t requests = c->reads + c->writes + c->flushes + c->discards + c->zeroes;

    if (requests != v->requests_seen) {
        v->requests_seen = requests;
        v->idle_since_us = now_us;
        v->pool_full = false;
    }
    if (requests == 0 || now_us < v->idle_since_us + IDLE_US || v->pool_full ||
        v->prepare_in_flight || v->fenced || v->stopping || log_error(v->log) != 0) {
        return;
    }
    v->prepare_op = (struct store_op){
        .what = STORE_PREPARE, .len = volume_segment_bytes(v), .done = prepared,
    };
    v->prepare_in_flight = true;
    monitor_submit(v, &v->prepare_op);
}
