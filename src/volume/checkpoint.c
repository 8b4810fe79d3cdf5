/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checkpoints: from time to time the newest layer is frozen, and merged into the tree
 * in the background, step by step.  Writes go on in a new layer and never wait for a
 * page.
 *
 *   IDLE --> SYNC_LAYER --> MERGE_MAP --> MERGE_USAGE --> RECORD --> SYNC_RECORD --> IDLE
 *                ^               |             |  ^          |           |
 *                |               |             |  +-E2BIG----+           |
 *                +---- a page moved, because its segment broke ----------+
 *
 * On a full store SYNC_MARK may follow before IDLE.
 *
 *   CKPT-1  A checkpoint names only durable places: the layer's are before the merge
 *           begins, the pages' are when the record is.
 *   CKPT-2  Until the record is durable, look-ups use the old tree and the frozen layer.
 *   CKPT-3  An entry that is not in the frozen layer is in a record >= replay_seq; those
 *           below it are complete.  (Some at or above it may be in the layer as well:
 *           replaying them again, with all that follow, changes nothing.)
 */
#include "volume/private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc32c.h"

#define LOG_LIMIT_MAX GIB(2)
#define PACE_SEGMENTS 4u            /* dead at a checkpoint: half of the local pool */
#define OVERRIDES_MAX 16384u        /* 256 KiB of payload */

/* ---- When ----------------------------------------------------------------- */

/*
 * How much log may be written between two checkpoints: bounds what open replays.  Where
 * whole segments die (a file is written over from its begin to its end) a checkpoint
 * comes before more are dead than the store keeps for reuse: a segment laid over blocks
 * that were written before takes 1.6 x the bytes a second of a new file.
 */
static uint64_t log_limit(const struct hlfs *v)
{
    return MIN(MIN(MAX(v->size / 4, MIB(64)), LOG_LIMIT_MAX), v->checkpoint.pace_bytes);
}

void checkpoint_pace(struct hlfs *v, unsigned dead)
{
    uint64_t *pace = &v->checkpoint.pace_bytes;

    if (dead > PACE_SEGMENTS) {
        *pace = MAX(*pace / dead * PACE_SEGMENTS,
                    PACE_SEGMENTS / 2 * volume_segment_bytes(v));
    } else if (dead < PACE_SEGMENTS / 2) {
        *pace = MIN(*pace * 2, LOG_LIMIT_MAX);
    }
}

void checkpoint_init(struct hlfs *v)
{
    v->checkpoint.pace_bytes = PACE_SEGMENTS * volume_segment_bytes(v);
}

static uint64_t log_written(const struct hlfs *v)
{
    struct log_stat st;

    log_get_stat(v->log, &st);
    return st.bytes_written;
}

static bool checkpoint_due(const struct hlfs *v)
{
    if (v->checkpoint.backoff || v->fenced || log_error(v->log) == -ESTALE ||
        log_tail_pending(v->log)) {
        return false;
    }
    return v->checkpoint.wanted || layer_bytes(v->active) >= v->layer_limit ||
           log_written(v) - v->log_bytes_at_checkpoint >= log_limit(v);
}

/* ---- Waiting for the log -------------------------------------------------- */

static void log_waited(struct log_waiter *w, int res)
{
    struct hlfs *v = container_of(w, struct hlfs, checkpoint.waiter);
    struct checkpoint_run *c = &v->checkpoint;

    c->waiting = false;
    if (res < 0) {
        c->backoff = true;      /* the same step again after a while */
    }
    monitor_wake(v);
}

/* 1: durable; 0: the step ends here and is repeated when it is. */
static int wait_durable(struct hlfs *v, uint64_t seq)
{
    struct checkpoint_run *c = &v->checkpoint;
    int res;

    c->waiter.done = log_waited;
    res = log_wait(v->log, &c->waiter, seq);
    c->waiting = res == 0;
    c->backoff |= res < 0;
    v->pump = true;
    return res == 1;
}

/* ---- Pages ---------------------------------------------------------------- */

static int load_check(struct store_op *op, int res)
{
    struct page_load *l = container_of(op, struct page_load, op);

    return page_load_check(op, res, &l->missing, l->page);
}

static void load_done(struct store_op *op, int res)
{
    struct page_load *l = container_of(op, struct page_load, op);
    struct hlfs *v = l->v;

    monitor_done(v);
    l->busy = false;
    if (v->checkpoint.state == CHECKPOINT_MERGE_MAP ||
        v->checkpoint.state == CHECKPOINT_MERGE_USAGE) {
        v->checkpoint.waiting = false;      /* else it waits for something else */
    }
    if (res >= 0) {
        struct page *p = pagecache_add(v->cache, l->missing.place, l->page);

        if (p) {
            pagecache_put(v->cache, p);
            v->checkpoint.error = 0;
            return;
        }
        res = -ENOMEM;
    }
    log_say(&v->options.log, LOG_ERROR, "%s: cannot read the page at segment %" PRIu64
            ", offset %" PRIu64 ": %s", v->name, place_file(l->missing.place),
            place_offset(l->missing.place), error_name(res));
    v->checkpoint.backoff = true;
    v->checkpoint.error = res == -ENOENT ? -EBADMSG : res;
}

static bool load_under_way(const struct checkpoint_run *c, struct place place)
{
    for (size_t i = 0; i < ARRAY_SIZE(c->loads); i++) {
        if (c->loads[i].busy && place_equal(c->loads[i].missing.place, place)) {
            return true;
        }
    }
    return false;
}

/* Start loading M unless that is under way; false: no slot, or no memory. */
static bool load_start(struct hlfs *v, const struct tree_missing *m)
{
    struct checkpoint_run *c = &v->checkpoint;

    if (load_under_way(c, m->place)) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(c->loads); i++) {
        struct page_load *l = &c->loads[i];

        if (l->busy) {
            continue;
        }
        if (!l->page &&
            posix_memalign((void **)&l->page, STORE_BUF_ALIGN, PAGE_BYTES) != 0) {
            l->page = NULL;
            return false;
        }
        l->v = v;
        l->busy = true;
        l->missing = *m;
        l->op = (struct store_op){
            .what = STORE_PREAD, .file = place_file(m->place),
            .offset = place_offset(m->place), .buf = l->page, .len = PAGE_BYTES,
            .check = load_check, .done = load_done,
        };
        v->counters.page_loads++;
        monitor_submit(v, &l->op);
        return true;
    }
    return false;
}

static void load_missing(struct hlfs *v, const struct tree_missing *m)
{
    struct checkpoint_run *c = &v->checkpoint;
    struct tree_missing ahead[ARRAY_SIZE(c->loads) - 1];
    int n;

    if (page_from_memory(v, m->place)) {
        return;
    }
    c->waiting = true;
    if (!load_start(v, m)) {
        bool any = false;

        for (size_t i = 0; i < ARRAY_SIZE(c->loads); i++) {
            any |= c->loads[i].busy;
        }
        c->waiting = any;       /* a slot comes free, or try again after a while */
        c->backoff |= !any;
        return;
    }
    n = merge_ahead(c->merge, ahead, ARRAY_SIZE(ahead));
    for (int i = 0; i < n && load_start(v, &ahead[i]); i++) {
    }
}

/* ---- Merging -------------------------------------------------------------- */

static int write_page(struct hlfs *v, const void *page, uint8_t tree,
                      struct place *ret_place)
{
    struct log_space space;
    struct page *p;
    uint32_t crc;
    int res = log_reserve(v->log, LOG_SYSTEM, PAGE_BYTES,
                          sizeof(struct entry_page_disk), &space);

    if (res < 0) {
        return res == -EAGAIN || res == -ENOSPC ? -EBUSY : res;
    }
    memcpy(space.payload, page, PAGE_BYTES);
    crc = crc32c(0, space.payload, PAGE_BYTES);
    *ret_place = log_place(&space, 0, PAGE_BYTES, crc);
    log_add_page(v->log, &space, crc, tree, (uint8_t)page_level(page));
    log_commit(v->log, &space);
    v->pump |= log_wants_pump(v->log);
    v->counters.page_bytes_written += PAGE_BYTES;
    usage_add(v->usage, place_file(*ret_place), PAGE_BYTES);
    v->tree_pages++;
    p = pagecache_add(v->cache, *ret_place, page);
    if (p) {
        pagecache_put(v->cache, p);
    }
    return 0;
}

static void drop_page(void *opaque, struct place place)
{
    struct hlfs *v = opaque;

    usage_sub(v->usage, place_file(place), PAGE_BYTES);
    v->tree_pages -= v->tree_pages > 0;
}

static bool map_next_update(void *opaque, uint64_t key, struct tree_update *ret)
{
    struct hlfs *v = opaque;
    struct extent e;

    if (!layer_next(v->frozen, key, &e)) {
        return false;
    }
    *ret = (struct tree_update){ .key = e.block, .count = e.count, .value = e.place };
    return true;
}

static int map_write_page(void *opaque, const void *page, struct place *ret_place)
{
    return write_page(opaque, page, TREE_MAP, ret_place);
}

static void map_add_value(void *opaque, uint64_t key, struct place value)
{
    struct hlfs *v = opaque;

    (void)key;
    usage_add(v->usage, place_file(value), place_stored(value));
}

static void map_drop_value(void *opaque, uint64_t key, struct place value)
{
    struct hlfs *v = opaque;

    (void)key;
    usage_sub(v->usage, place_file(value), place_stored(value));
}

static const struct merge_ops map_merge_ops = {
    .next_update = map_next_update,
    .write_page = map_write_page,
    .drop_page = drop_page,
    .add_value = map_add_value,
    .drop_value = map_drop_value,
};

/* The first of the sorted updates that reaches KEY (each has count 1). */
static bool usage_next_update(void *opaque, uint64_t key, struct tree_update *ret)
{
    struct hlfs *v = opaque;
    const struct checkpoint_run *c = &v->checkpoint;
    size_t low = 0, high = c->update_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->updates[mid].key < key) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == c->update_count) {
        return false;
    }
    *ret = c->updates[low];
    return true;
}

static int usage_write_page(void *opaque, const void *page, struct place *ret_place)
{
    return write_page(opaque, page, TREE_USAGE, ret_place);
}

static const struct merge_ops usage_merge_ops = {
    .next_update = usage_next_update,
    .write_page = usage_write_page,
    .drop_page = drop_page,
};

/* ---- Steps ---------------------------------------------------------------- */

/* Forget what a try has made; the frozen layer stays for the next. */
static void try_abandon(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    merge_free(TAKE_PTR(c->merge));
    free(TAKE_PTR(c->updates));
    usage_abort(v->usage);
    c->moved = c->wants_room = false;
    c->state = CHECKPOINT_SYNC_LAYER;
}

static bool step_begin(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;
    struct layer *fresh;

    if (!checkpoint_due(v)) {
        return false;
    }
    fresh = layer_new();
    if (!fresh) {
        c->backoff = true;
        return false;
    }
    log_close_record(v->log);
    v->pump = true;
    v->frozen = v->active;
    v->active = fresh;
    v->run_writers = true;      /* those that found the layer full */
    c->wanted = false;
    c->error = 0;
    c->frozen_seq = log_next_seq(v->log) - 1;
    /* What is being copied into an older record goes into the new layer: CKPT-3. */
    c->replay_seq = log_unfinished_seq(v->log, &c->replay_file);
    c->size = v->size;
    c->state = CHECKPOINT_SYNC_LAYER;
    return true;
}

static bool step_sync_layer(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    if (wait_durable(v, MIN(c->frozen_seq, log_last_seq(v->log))) != 1) {
        return true;
    }
    c->moved = false;
    c->merge = merge_new(v->cache, TREE_MAP, &v->map_root, &map_merge_ops, v);
    if (!c->merge) {
        c->backoff = true;
        return false;
    }
    c->state = CHECKPOINT_MERGE_MAP;    /* CKPT-1 */
    return true;
}

static bool usage_merge_start(struct hlfs *v, const struct tree_root *root)
{
    struct checkpoint_run *c = &v->checkpoint;

    free(TAKE_PTR(c->updates));
    if (usage_updates(v->usage, &c->updates, &c->update_count) < 0) {
        c->backoff = true;
        return false;
    }
    c->merge = merge_new(v->cache, TREE_USAGE, root, &usage_merge_ops, v);
    if (!c->merge) {
        c->backoff = true;
        return false;
    }
    c->state = CHECKPOINT_MERGE_USAGE;
    return true;
}

static bool step_merge(struct hlfs *v, struct tree_root *root)
{
    struct checkpoint_run *c = &v->checkpoint;
    struct tree_missing missing;
    int res;

    if (!c->merge) {
        return true;        /* done already */
    }
    res = merge_step(c->merge, root, &missing);
    switch (res) {
    case 0:
        return true;
    case 1:
        merge_free(TAKE_PTR(c->merge));
        return true;
    case -EAGAIN:
        load_missing(v, &missing);
        return true;
    case -EBUSY:
        c->waiting = c->wants_room = true;
        v->pump = true;
        return true;
    default:
        log_say(&v->options.log, LOG_ERROR, "%s: the map cannot be merged: %s", v->name,
                error_name(res));
        c->error = res;
        try_abandon(v);
        c->backoff = true;
        return true;
    }
}

static void fill_in(struct hlfs *v, struct checkpoint *ck)
{
    const struct checkpoint_run *c = &v->checkpoint;

    *ck = (struct checkpoint){
        .replay_seq = c->replay_seq,
        .replay_file = c->replay_file,
        .size = c->size,
        .moved_next = v->moved_next,
        .live_bytes = usage_future_bytes(v->usage),
        .tree_pages = v->tree_pages,
    };
    ck->roots[TREE_MAP - 1] = (struct root_ref){ c->map_root.place, c->map_root.levels };
    ck->roots[TREE_USAGE - 1] = (struct root_ref){ c->usage_root.place,
                                                  c->usage_root.levels };
}

/* Overrides, encoded, and their number.  -E2BIG: the usage tree is merged once more. */
static int overrides_encode(struct hlfs *v, struct usage_override_disk **ret, size_t *ret_n)
{
    struct usage_override *o = malloc(OVERRIDES_MAX * sizeof(*o));
    struct usage_override_disk *d = malloc(OVERRIDES_MAX * sizeof(*d));
    int res = -ENOMEM;

    if (o && d) {
        res = usage_overrides(v->usage, o, OVERRIDES_MAX, ret_n);
    }
    if (res < 0) {
        free(o);
        free(d);
        return res;
    }
    for (size_t i = 0; i < *ret_n; i++) {
        d[i].file = to_le64(o[i].file);
        d[i].live_bytes = to_le64(o[i].live_bytes);
    }
    free(o);
    *ret = d;
    return 0;
}

static bool step_record(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;
    struct usage_override_disk *overrides;
    struct checkpoint ck;
    struct log_space space;
    size_t n = 0, bytes;
    int res = overrides_encode(v, &overrides, &n);

    if (res == -E2BIG) {
        return usage_merge_start(v, &c->usage_root);
    }
    if (res < 0) {
        c->backoff = true;
        return false;
    }
    bytes = n * sizeof(*overrides);
    res = log_reserve(v->log, LOG_SYSTEM, (uint32_t)ALIGN_UP(bytes, (size_t)PLACE_UNIT),
                      sizeof(struct entry_checkpoint_disk), &space);
    if (res < 0) {
        free(overrides);
        c->waiting = c->wants_room = res == -EAGAIN || res == -ENOSPC;
        c->backoff |= !c->waiting;
        v->pump = true;
        return true;
    }
    fill_in(v, &ck);
    ck.override_count = (uint32_t)n;
    ck.override_crc = crc32c(0, overrides, bytes);
    memcpy(space.payload, overrides, bytes);
    memset(space.payload + bytes, 0, ALIGN_UP(bytes, (size_t)PLACE_UNIT) - bytes);
    free(overrides);
    log_add_checkpoint(v->log, &space, &ck);
    log_commit(v->log, &space);
    log_close_record(v->log);
    v->pump = true;
    c->record_seq = log_last_seq(v->log);
    c->state = CHECKPOINT_SYNC_RECORD;
    if (!log_find_record(v->log, c->record_seq, &c->ref)) {
        assert(!"a record just written is in memory");
    }
    return true;
}

static void set_budget(struct hlfs *v)
{
    size_t layers = v->layer_limit * 2;

    pagecache_set_budget(v->cache, MAX(v->options.cache_bytes - layers, MIB(1)));
}

/*
 * What a checkpoint dooms goes when a durable header names it.  A full store may have
 * no room for the segment that this takes; but open looks for a checkpoint in the newest
 * segment before it asks its header, and every later header will name this one or a
 * later one: where it stands in the newest segment, and a durable mark behind it says
 * that it is synced, it counts by itself.
 */
static void make_room(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    if (c->state != CHECKPOINT_IDLE || !usage_has_doomed(v->usage) ||
        log_guest_error(v->log) != -ENOSPC) {
        return;
    }
    v->pump = true;
    if (v->checkpoint_ref.file != log_newest_file(v->log)) {
        if (log_roll(v->log)) {
            (void)log_mark(v->log);
        } else {
            c->wanted = true;       /* the next one stands in the newest segment */
        }
        return;
    }
    log_close_record(v->log);
    c->record_seq = log_mark(v->log);
    if (c->record_seq != 0) {       /* else the next tick tries again */
        c->state = CHECKPOINT_SYNC_MARK;
    }
}

static bool step_sync_mark(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    if (wait_durable(v, c->record_seq) == 1) {
        c->state = CHECKPOINT_IDLE;
        removal_allow(v, &v->checkpoint_ref);
    }
    return true;
}

static void commit(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    v->map_root = c->map_root;
    v->usage_root = c->usage_root;
    usage_commit(v->usage, c->record_seq, c->ref.file, c->replay_file);
    free(TAKE_PTR(c->updates));
    v->checkpoint_ref = c->ref;
    v->checkpoint_us = clock_wall_us(v->clock);
    log_set_checkpoint(v->log, &c->ref);
    v->dropped = TAKE_PTR(v->frozen);
    v->log_bytes_at_checkpoint = log_written(v);
    v->counters.checkpoints++;
    v->run_writers = true;
    c->state = CHECKPOINT_IDLE;
    set_budget(v);
    make_room(v);
}

static bool step_sync_record(struct hlfs *v)
{
    if (wait_durable(v, v->checkpoint.record_seq) == 1) {
        commit(v);
    }
    return true;
}

/*
 * The space reserve (DESIGN 5): one segment, whose header makes a checkpoint count,
 * and the pages that the present layers can dirty: no more than they have entries,
 * and no more than the tree has and will have.
 */
void checkpoint_reserve(struct hlfs *v)
{
    uint64_t entries = layer_entries(v->active) +
                       (v->frozen ? layer_entries(v->frozen) : 0);
    uint64_t pages = MIN(entries, v->tree_pages + entries / 64) + 64;

    log_set_reserve(v->log, volume_segment_bytes(v) + pages * PAGE_BYTES);
}

/* One step.  True if there may be another. */
bool checkpoint_work(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    if (!v->log) {
        return false;
    }
    if (v->dropped && layer_free_some(v->dropped, 64)) {
        v->dropped = NULL;
    }
    if (c->waiting || c->backoff) {
        return v->dropped != NULL;
    }
    if (c->moved) {
        if (c->state != CHECKPOINT_IDLE) {
            try_abandon(v);
        }
        c->moved = false;
    }
    switch (c->state) {
    case CHECKPOINT_IDLE:
        return v->dropped ? true : step_begin(v);
    case CHECKPOINT_SYNC_LAYER:
        return step_sync_layer(v);
    case CHECKPOINT_MERGE_MAP:
        (void)step_merge(v, &c->map_root);
        if (c->state == CHECKPOINT_MERGE_MAP && !c->merge) {
            (void)usage_merge_start(v, &v->usage_root);
        }
        return true;
    case CHECKPOINT_MERGE_USAGE:
        (void)step_merge(v, &c->usage_root);
        if (c->state == CHECKPOINT_MERGE_USAGE && !c->merge) {
            c->state = CHECKPOINT_RECORD;
        }
        return true;
    case CHECKPOINT_RECORD:
        return step_record(v);
    case CHECKPOINT_SYNC_RECORD:
        return step_sync_record(v);
    case CHECKPOINT_SYNC_MARK:
        return step_sync_mark(v);
    }
    return false;
}

void checkpoint_tick(struct hlfs *v)
{
    v->checkpoint.backoff = false;
    checkpoint_reserve(v);
    if (log_guest_error(v->log) == -ENOSPC) {
        log_retry(v->log);              /* others may have made room */
        v->checkpoint.wanted |= layer_entries(v->active) > 0;   /* it may free segments */
        make_room(v);
    }
}

void checkpoint_room(struct hlfs *v)
{
    if (v->checkpoint.wants_room) {
        v->checkpoint.wants_room = v->checkpoint.waiting = false;
    }
}

/* PLACE_HOLE: the checkpoint's record itself has moved. */
void checkpoint_pages_moved(struct hlfs *v, struct place from)
{
    struct checkpoint_run *c = &v->checkpoint;

    if (!place_is_hole(from)) {
        pagecache_drop(v->cache, from);
    }
    if (c->state > CHECKPOINT_SYNC_LAYER && c->state < CHECKPOINT_SYNC_MARK) {
        c->moved = true;
        if (c->state != CHECKPOINT_SYNC_RECORD) {
            c->waiting = c->wants_room = false;
        }
    }
}

void checkpoint_done(struct hlfs *v)
{
    struct checkpoint_run *c = &v->checkpoint;

    merge_free(TAKE_PTR(c->merge));
    free(TAKE_PTR(c->updates));
    for (size_t i = 0; i < ARRAY_SIZE(c->loads); i++) {
        free(TAKE_PTR(c->loads[i].page));
    }
}

void volume_want_checkpoint(struct hlfs *v)
{
    monitor_enter(v);
    v->checkpoint.wanted = true;
    monitor_wake(v);
    monitor_leave(v);
}

bool volume_checkpoint_running(struct hlfs *v)
{
    bool running;

    monitor_enter(v);
    running = v->checkpoint.wanted || v->checkpoint.state != CHECKPOINT_IDLE;
    monitor_leave(v);
    return running;
}

/* The default follows the volume's present size (DESIGN 4). */
uint64_t volume_segment_bytes(void *opaque)
{
    const struct hlfs *v = opaque;
    const struct store *s = v->store;
    uint64_t size = v->size / s->segment_part;

    if (v->identity.segment_bytes) {
        return v->identity.segment_bytes;
    }
    return ALIGN_UP(MIN(MAX(size, s->segment_min), s->segment_max), MIB(1));
}
