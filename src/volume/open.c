/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a volume: identity, take-over, replay; and closing it (docs/architecture.md,
 * "The life of an open").
 */
#include "volume/private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "log/replay.h"

#define VOTES_MAX 16        /* other openers may win the vote so many times */
#define DEAD_SEGMENTS_MAX 4 /* in the replay: with more of them a checkpoint is worth it */

/* ---- Identity ------------------------------------------------------------- */

static int not_known(const struct store *s, const struct identity *id)
{
    if (id->version != FORMAT_VERSION) {
        return error_set(-ENOTSUP, "%s has format version %" PRIu32 ", this hlfs reads "
                         "version %d only; use a newer one", s->location, id->version,
                         FORMAT_VERSION);
    }
    return error_set(-ENOTSUP, "%s has features that this hlfs does not know (%#" PRIx32
                     "); use a newer one", s->location,
                     id->features_incompat & ~FEATURES_INCOMPAT_KNOWN);
}

int volume_identity(struct store *s, struct identity *ret)
{
    uint8_t buf[IDENTITY_BYTES + 1];
    int n = store_get(s, "volume", buf, sizeof(buf));
    int res;

    if (n == -ENOENT) {
        return error_set(-ENOENT, "%s is not an HLFS volume: it has no file \"volume\"",
                         s->location);
    }
    if (n < 0) {
        return error_set(n, "cannot read the identity of %s: %s", s->location,
                         error_name(n));
    }
    res = identity_decode(buf, (size_t)n, ret);
    if (res == -ENOTSUP) {
        return not_known(s, ret);
    }
    if (res < 0) {
        return error_set(res, "the identity of %s (its file \"volume\") is damaged",
                         s->location);
    }
    return 0;
}

/* ---- What the log tells the volume ---------------------------------------- */

static void on_room(void *opaque)
{
    struct hlfs *v = opaque;

    v->run_writers = !list_empty(&v->writers);
    checkpoint_room(v);
}

static void on_block_moved(void *opaque, uint64_t block, struct place from,
                           struct place to)
{
    struct hlfs *v = opaque;

    if (!layer_move(v->active, block, from, to) && v->frozen) {
        (void)layer_move(v->frozen, block, from, to);
    }
}

static void on_page_moved(void *opaque, struct place from)
{
    checkpoint_pages_moved(opaque, from);
}

static void on_header_synced(void *opaque, const struct record_ref *checkpoint)
{
    removal_of_voids(opaque);
    removal_allow(opaque, checkpoint);
}

static void on_segment_void(void *opaque, uint64_t file)
{
    removal_note_void(opaque, file);
}

static void on_segment_added(void *opaque, uint64_t file, uint64_t size)
{
    struct hlfs *v = opaque;

    /* Without memory it is not counted, and stays: see note_segments(). */
    (void)usage_add_segment(v->usage, file, size);
    checkpoint_reserve(v);
}

static void on_fenced(void *opaque)
{
    struct hlfs *v = opaque;

    v->fenced = true;
    v->next_tick_us = 0;
    monitor_wake(v);
}

static const struct log_client log_client = {
    .room = on_room,
    .block_moved = on_block_moved,
    .page_moved = on_page_moved,
    .header_synced = on_header_synced,
    .segment_void = on_segment_void,
    .segment_added = on_segment_added,
    .fenced = on_fenced,
};

/* ---- Replay --------------------------------------------------------------- */

static int apply_entry(void *opaque, const struct entry *e, const struct record_header *h,
                       uint64_t file, uint64_t payload_at)
{
    struct hlfs *v = opaque;

    (void)h;
    if (e->type == ENTRY_RESIZE) {
        v->size = e->size;
    }
    return map_replay(v->active, v->block_bytes, e, file, payload_at);
}

static int page_load_now(struct hlfs *v, const struct tree_missing *m)
{
    uint8_t *buf;
    struct page *p;
    int64_t n;
    int res;

    if (posix_memalign((void **)&buf, STORE_BUF_ALIGN, PAGE_BYTES) != 0) {
        return -ENOMEM;
    }
    n = store_pread_now(v->lane, place_file(m->place), place_offset(m->place), buf,
                        PAGE_BYTES);
    res = page_load_check(NULL, (int)n, m, buf);
    if (res < 0) {
        free(buf);
        return error_set(res == -ENOENT ? (v->read_only ? -ESTALE : -EBADMSG) : res,
                         "the page at segment %" PRIu64 ", offset %" PRIu64 " of %s %s",
                         place_file(m->place), place_offset(m->place), v->store->location,
                         res == -EBADMSG ? "is damaged" : res == -ENOENT ? "is missing" :
                         "cannot be read");
    }
    p = pagecache_add(v->cache, m->place, buf);
    free(buf);
    if (!p) {
        return -ENOMEM;
    }
    pagecache_put(v->cache, p);
    return 0;
}

static int usage_wrong(const struct hlfs *v, int res)
{
    return res != -EBADMSG ? res :
           error_set(res, "the usage table of the checkpoint at segment %" PRIu64
                     ", offset %" PRIu64 " of %s makes no sense", v->checkpoint_ref.file,
                     v->checkpoint_ref.offset, v->store->location);
}

/* The whole usage table: some bytes for each segment. */
static int usage_load_all(struct hlfs *v, const struct checkpoint *c,
                          const struct usage_override_disk *overrides)
{
    struct tree_missing missing;
    struct tree_entry e;
    uint64_t key = 0;
    int res;

    while ((res = tree_next(v->cache, TREE_USAGE, &v->usage_root, key, &e,
                            &missing)) != 0) {
        if (res == -EAGAIN) {
            res = page_load_now(v, &missing);
        } else if (res == 1) {
            res = usage_wrong(v, usage_load(v->usage, e.key, e.value.w0, e.value.w1));
            key = e.key + 1;
        } else {
            res = usage_wrong(v, res);
        }
        if (res < 0) {
            return res;
        }
    }
    for (uint32_t i = 0; i < c->override_count; i++) {
        uint64_t file = le64(overrides[i].file);

        res = usage_override(v->usage, file, le64(overrides[i].live_bytes));
        if (res < 0) {
            return usage_wrong(v, res);
        }
    }
    return 0;
}

static int load_checkpoint(struct hlfs *v, struct replay *r, uint64_t *from_seq)
{
    struct usage_override_disk *overrides;
    struct checkpoint c;
    int res = replay_checkpoint(r, &c, &v->checkpoint_ref, &overrides);

    *from_seq = 1;
    if (res <= 0) {
        return res;
    }
    *from_seq = c.replay_seq;
    v->size = c.size;
    v->moved_next = c.moved_next;
    v->tree_pages = c.tree_pages;
    v->checkpoint_us = c.time_us;
    v->map_root = (struct tree_root){ c.roots[TREE_MAP - 1].place,
                                      c.roots[TREE_MAP - 1].levels };
    v->usage_root = (struct tree_root){ c.roots[TREE_USAGE - 1].place,
                                        c.roots[TREE_USAGE - 1].levels };
    res = usage_load_all(v, &c, overrides);
    free(overrides);
    if (res == 0 && !v->read_only) {
        /* Our first header names this checkpoint: they go when that is durable. */
        usage_doom(v->usage, v->checkpoint_ref.seq, v->checkpoint_ref.file, c.replay_file);
        v->replay_seq = c.replay_seq;
    }
    return res;
}

/*
 * Every file of the replay range is a segment of ours to count, or holds nothing: what
 * a former writer had created ahead.
 */
static int note_segments(struct hlfs *v, struct replay *r, uint64_t epoch)
{
    const struct replay_segment *s;
    size_t n;
    int res = 0;

    s = replay_segments(r, &n);
    for (size_t i = 0; i < n && res == 0; i++) {
        if (s[i].state == SEGMENT_VALID && s[i].header.first < v->replay_seq &&
            !usage_has(v->usage, s[i].file)) {
            /* Its writer lacked the memory to count it (on_segment_added): nobody knows
             * what the tree has in it, so it never counts as dead. */
            res = usage_override(v->usage, s[i].file, s[i].header.size);
        }
        if (res == 0 && s[i].state == SEGMENT_VALID) {
            res = usage_add_segment(v->usage, s[i].file, s[i].header.size);
        } else if (s[i].file < epoch) {
            removal_note_void(v, s[i].file);
        }
    }
    return res;
}

/* The accepted tail is durable before the first flush is answered (DESIGN 4). */
static int tail_sync(struct hlfs *v, struct replay *r, const struct replay_result *facts)
{
    const struct replay_segment *s;
    size_t n;

    if (facts->first_unsynced_file == 0) {
        return 0;
    }
#ifdef HLFS_PLANT_BUGS
    if (volume_bugs & 1u << VOLUME_BUG_TAIL_UNSYNCED) {
        return 0;
    }
#endif
    s = replay_segments(r, &n);
    for (size_t i = 0; i < n; i++) {
        int res;

        if (s[i].file < facts->first_unsynced_file || s[i].state != SEGMENT_VALID) {
            continue;
        }
        res = store_sync_now(v->lane, s[i].file);
        if (res < 0) {
            return error_set(res, "cannot make segment %" PRIu64 " of %s durable: %s",
                             s[i].file, v->store->location, error_name(res));
        }
    }
    return 0;
}

/*
 * Look at the log.  A writer that was taken over, or died, may still be removing
 * segments that hold nothing; who only reads beside a living one is told so.
 */
static int replay_look(struct hlfs *v, struct store_lane *lane, bool read_only,
                       struct replay **ret)
{
    int res, tries = 0;

    do {
        res = replay_new(v->store, lane, v->identity.uuid, v->block_bytes, read_only, 0,
                         ret);
    } while (res == -ESTALE && !v->read_only && tries++ < VOTES_MAX);
    return res;
}

static int only_to_be_read(const struct store *s)
{
    return error_set(-ENOTSUP, "%s has features that this hlfs can only read; use a newer "
                     "one, or open it read-only", s->location);
}

/*
 * EPOCH: the number that we voted with; 0: read-only.  *R is set in any case; the tail
 * may have to be read once more.
 */
static int replay(struct hlfs *v, uint64_t epoch, struct replay *r,
                  struct replay_result *facts)
{
    static const struct replay_ops ops = { .entry = apply_entry };
    uint64_t from_seq;
    int res = load_checkpoint(v, r, &from_seq);

    if (res >= 0) {
        res = note_segments(v, r, epoch);
    }
    if (res >= 0) {
        res = replay_run(r, from_seq, &ops, v, facts);
    }
    if (res >= 0 && !v->read_only && (facts->features_ro & ~FEATURES_RO_KNOWN)) {
        res = only_to_be_read(v->store);
    }
    if (res >= 0 && !v->read_only && !v->store->tail_again) {
        res = tail_sync(v, r, facts);
    }
    if (replay_newest(r)) {
        v->facts.newest = *replay_newest(r);
        v->facts.has_newest = true;
    }
    v->facts.last_seq = facts->last_seq;
    v->facts.synced_seq = facts->synced_seq;
    v->facts.time_us = facts->time_us;
    return res;
}

static int open_read_only(struct hlfs *v)
{
    struct replay_result facts;
    struct replay *r = NULL;
    int res = replay_look(v, v->lane, true, &r);

    if (res == 0) {
        res = replay_outdated(r, replay(v, 0, r, &facts));
    }
    replay_free(r);
    return res == 0 ? unfinished_check(v) : res;
}

/* ---- Take-over ------------------------------------------------------------ */

/* The sentence of -EBUSY, which goes on with WHAT_TO_DO. */
static int held_by_another(struct store *s, struct store_lane *lane,
                           const struct identity *identity, const char *what_to_do)
{
    struct replay *r = NULL;
    const struct segment_header *h = NULL;
    char since[32] = "an unknown time";
    int res = replay_new(s, lane, identity->uuid, identity->block_bytes, true,
                         REPLAY_NEWEST_ONLY, &r);

    if (res == 0) {
        h = replay_newest(r);
    }
    if (h) {
        time_t t = (time_t)(h->since_us / 1000000);
        struct tm tm;

        (void)gmtime_r(&t, &tm);
        (void)strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
        (void)error_set(-EBUSY, "%s is held by another writer: host %s, pid %u, since %s; "
                        "%s", s->location, h->host, h->pid, since, what_to_do);
    } else {
        (void)error_set(-EBUSY, "%s is held by another writer that is just opening it",
                        s->location);
    }
    replay_free(r);
    return -EBUSY;
}

int volume_not_held(struct store *s, const struct identity *identity)
{
    struct store_lane *lane;
    int res = store_holder_alive(s);

    if (res <= 0) {
        return res;
    }
    lane = identity ? store_lane_new(s) : NULL;
    if (!lane) {
        return error_set(-EBUSY, "%s is held by a writer; stop it first", s->location);
    }
    res = held_by_another(s, lane, identity, "stop it first");
    store_lane_free(lane);
    return res;
}

struct recover_all {
    struct hlfs *v;
    uint64_t below;
};

static int recover_one(void *opaque, uint64_t file)
{
    struct recover_all *a = opaque;
    uint64_t len;
    int res;

    if (file >= a->below) {
        return 0;
    }
    res = store_recover(a->v->store, file, &len);
    return res == -ENOENT ? 0 : res;
}

/*
 * The files that a former writer may still have open for appending: those from the
 * newest header's checkpoint on.
 */
static int recover_lower(struct hlfs *v, uint64_t epoch)
{
    struct recover_all a = { v, epoch };
    struct usage_override_disk *overrides = NULL;
    struct replay *r = NULL;
    struct record_ref ref;
    struct checkpoint c;
    uint64_t from = 1;

    /* What cannot be read may be so before its recovery only: then all are recovered. */
    if (replay_look(v, v->lane, true, &r) == 0) {
        if (replay_checkpoint(r, &c, &ref, &overrides) == 1) {
            from = c.replay_file;
        }
        free(overrides);
        replay_free(r);
    }
    return store_list(v->store, 0, from, recover_one, &a);
}

/*
 * Create segment EPOCH.  On a full store a small one will do: it has room for what
 * empties the store (discards, a checkpoint), and files that hold nothing go first.
 */
static int vote(struct hlfs *v, uint64_t epoch, uint64_t *segment_bytes)
{
    int res = store_create_now(v->lane, epoch, *segment_bytes);

    for (int i = 0; i < 2 && res == -ENOSPC && *segment_bytes >= KIB(256); i++) {
        *segment_bytes = ALIGN_UP(*segment_bytes / 4, (uint64_t)KIB(64));
        res = store_create_now(v->lane, epoch, *segment_bytes);
    }
    return res;
}

/* Become the only writer: our epoch is the number voted with. */
static int take_over(struct hlfs *v, uint64_t *segment_bytes, uint64_t *ret_epoch)
{
    for (int i = 0; i < VOTES_MAX; i++) {
        uint64_t highest = 0;
        int res = store_highest(v->store, 0, &highest);

        if (res < 0 && res != -ENOENT) {
            return error_set(res, "cannot list the segments of %s: %s",
                             v->store->location, error_name(res));
        }
        res = store_holder_alive(v->store);
        if (res < 0) {
            return error_prefix(res, "cannot tell whether %s is held",
                                v->store->location);
        }
        if (res > 0 && !v->options.force) {
            return held_by_another(v->store, v->lane, &v->identity,
                               "stop it, or take over with the option force=yes");
        }
        res = unfinished_look(v);
        if (res < 0) {
            return res;
        }
        res = store_enlist(v->store, highest + 1);
        if (res == -EEXIST) {
            continue;
        }
        if (res < 0) {
            return error_set(res, "cannot lock %s: %s", v->store->location,
                             error_name(res));
        }
        res = vote(v, highest + 1, segment_bytes);
        if (res == 0) {
            *ret_epoch = highest + 1;
            return 0;
        }
        store_resign(v->store);
        if (res != -EEXIST) {
            return error_set(res, "cannot create segment %" PRIu64 " of %s: %s",
                             highest + 1, v->store->location, error_name(res));
        }
    }
    return error_set(-EBUSY, "%s: other writers keep taking the volume over",
                     v->store->location);
}

/* ---- Construction --------------------------------------------------------- */

static int fork_guard_new(struct hlfs *v)
{
    long page = sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return -errno;
    }
    if (madvise(p, (size_t)page, MADV_WIPEONFORK) != 0) {
        (void)munmap(p, (size_t)page);      /* a kernel before 4.14: not told apart */
        return 0;
    }
    v->fork_guard = p;
    *v->fork_guard = 1;
    return 0;
}

static void set_limits(struct hlfs *v)
{
    size_t cache = v->options.cache_bytes;

    v->layer_limit = cache / 4;
    v->layer_hard_limit = cache / 8 * 3;
}

static int parts_new(struct hlfs *v)
{
    pthread_mutexattr_t attr;
    int res;

    /* Turns are shorter than a change of thread: spin a little before sleeping. */
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    res = pthread_mutex_init(&v->mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    if (res != 0) {
        return -res;
    }
    v->mutex_made = true;
    v->lane = store_lane_new(v->store);
    if (!v->lane) {
        return error_set(-errno, "cannot set up I/O for %s: %s", v->store->location,
                         error_name(errno));
    }
    set_limits(v);
    v->active = layer_new();
    v->cache = pagecache_new(v->options.cache_bytes / 2);
    v->usage = usage_new();
    if (!v->active || !v->cache || !v->usage) {
        return -ENOMEM;
    }
    return fork_guard_new(v);
}

static void name_set(struct hlfs *v)
{
    const char *slash = strrchr(v->store->location, '/');

    (void)snprintf(v->name, sizeof(v->name), "%.63s",
                   slash && slash[1] ? slash + 1 : v->store->location);
}

/* The first record that we write: of the tail, where that is appended again. */
static uint64_t tail_first(const struct hlfs *v, const struct replay_result *facts)
{
#ifdef HLFS_PLANT_BUGS
    if (volume_bugs & 1u << VOLUME_BUG_TAIL_UNSYNCED) {
        return facts->last_seq + 1;
    }
#endif
    return v->store->tail_again ? MIN(facts->synced_seq, facts->last_seq) + 1 :
           facts->last_seq + 1;
}

static int log_start(struct hlfs *v, uint64_t epoch, uint64_t segment_bytes,
                     const struct replay_result *facts)
{
    struct log_params p = {
        .store = v->store,
        .lane = v->lane,
        .client = &log_client,
        .opaque = v,
        .hook = &v->options.log,
        .name = v->name,
        .clock = v->clock,
        .block_bytes = v->block_bytes,
        .dirty_bytes = v->options.dirty_bytes,
        .epoch = epoch,
        .segment_bytes = segment_bytes,
        .next_seq = tail_first(v, facts),
        .cut = facts->last_seq + 1,
        .time_us = facts->time_us,
        .checkpoint = v->checkpoint_ref,
        .since_us = v->since_us,
        .unfinished_us = v->unfinished_us,
        .pid = (uint32_t)getpid(),
        .segment_size = volume_segment_bytes,
    };

    memcpy(p.uuid, v->identity.uuid, UUID_BYTES);
    (void)snprintf(p.durability, sizeof(p.durability), "%s", v->store->durability);
    (void)gethostname(p.host, sizeof(p.host) - 1);
    p.unreachable_us = options_unreachable_us(&v->options);
    v->epoch = epoch;
    checkpoint_init(v);
    v->log = log_new(&p);
    return v->log ? 0 : -ENOMEM;
}

/* Drive until the log's lane is idle (nobody else does yet, or any more). */
static void drain(struct hlfs *v)
{
    bool idle = false;

    while (!idle) {
        (void)volume_turn(v, 100000);
        monitor_enter(v);
        idle = v->background_ops == 0 && log_idle(v->log);
        monitor_leave(v);
    }
}

/* What keeps the log from going on, if that has been waited for long enough.  Inside. */
static int log_trouble(struct hlfs *v)
{
    int error = log_error(v->log);

    return error == 0 || error == -ESTALE || clock_monotonic_us(v->clock) >=
           log_error_since_us(v->log) + options_unreachable_us(&v->options) ? error : 0;
}

/*
 * Our header says who holds the volume now, and cuts what was not accepted.  Before it is
 * durable nobody may see the content: a write of the dead that lands late would count at
 * the next open, and not at this one.
 */
static int header_write(struct hlfs *v)
{
    bool begun = false;
    int error = 0;

    monitor_enter(v);
    log_mark(v->log);
    v->pump = true;
    monitor_leave(v);
    drain(v);
    while (!begun && error == 0) {
        monitor_enter(v);
        begun = log_begun(v->log);
        error = log_trouble(v);
        monitor_leave(v);
        if (!begun && error == 0) {
            (void)volume_turn(v, 100000);
        }
    }
    if (v->fenced) {
        return error_set(-ESTALE, "another writer took %s over while it was opened",
                         v->store->location);
    }
    return begun ? 0 : error_set(error, "cannot write to %s: %s", v->store->location,
                                 error_name(error));
}

/* ---- The tail, once more --------------------------------------------------- */

struct tail_copy {
    struct hlfs *v;
    struct store_lane *lane;
    uint64_t last;              /* seq */
    uint8_t *buf;               /* owned, of room bytes */
    size_t room;
};

static int tail_room(struct tail_copy *t, size_t bytes)
{
    void *buf;

    if (bytes <= t->room) {
        return 0;
    }
    if (posix_memalign(&buf, STORE_BUF_ALIGN, bytes) != 0) {
        return -ENOMEM;
    }
    free(t->buf);
    t->buf = buf;
    t->room = bytes;
    return 0;
}

/* Put the record whose payload is in T->buf into the log; drives until it has room. */
static int tail_put(struct tail_copy *t, const struct record_header *h,
                    const uint8_t *entries, uint64_t file, uint64_t payload_at)
{
    struct hlfs *v = t->v;
    int res, error;

    for (;;) {
        monitor_enter(v);
        assert(log_next_seq(v->log) == h->seq);
        res = log_copy(v->log, entries, h->entry_bytes, h->entry_count, t->buf,
                       h->payload_bytes, file, payload_at);
        error = log_trouble(v);
        v->pump = true;
        monitor_leave(v);
        if (res != -EAGAIN || error < 0) {
            return res == -EAGAIN ? error : res;
        }
        (void)volume_turn(v, 100000);
    }
}

static int tail_record(void *opaque, const struct record_header *h,
                       const uint8_t *entries, uint64_t file, uint64_t payload_at)
{
    struct tail_copy *t = opaque;
    int64_t n = 0;
    int res;

    if (h->seq > t->last) {
        return -ECANCELED;      /* it has come since: our header's cut voids it */
    }
    res = tail_room(t, h->payload_bytes);
    if (res == 0 && h->payload_bytes > 0) {
        n = store_pread_now(t->lane, file, payload_at, t->buf, h->payload_bytes);
        res = n < 0 ? (int)n : (size_t)n == h->payload_bytes ? 0 : -EIO;
    }
    if (res == 0) {
        res = tail_put(t, h, entries, file, payload_at);
    }
    return res == 0 ? 0 : error_set(res, "record %" PRIu64 " of %s, which may not be "
                                    "durable, cannot be written again: %s", h->seq,
                                    t->v->store->location, error_name(res));
}

/*
 * What was accepted and may not be durable goes into our own segment, and is durable
 * before the guest sees any of it.  Nothing of it is lost if we die here: the old copies
 * count until the new ones are there (REPLAY-3).
 */
static int tail_again(struct hlfs *v, struct replay *r, struct store_lane *lane,
                      const struct replay_result *facts)
{
    static const struct replay_ops ops = { .record = tail_record };
    const struct request_args flush = { .kind = REQUEST_FLUSH };
    struct tail_copy t = { .v = v, .lane = lane, .last = facts->last_seq };
    struct replay_result copied;
    uint64_t first = tail_first(v, facts);
    int res;

    if (first > facts->last_seq) {
        return 0;
    }
    res = replay_run(r, first, &ops, &t, &copied);
    free(t.buf);
    if (res == -ECANCELED) {
        res = 0;
    }
    if (res == 0 && copied.last_seq != facts->last_seq) {
        res = error_set(-EIO, "the log of %s ends at record %" PRIu64 " when it is read "
                        "again, and ended at %" PRIu64, v->store->location,
                        copied.last_seq, facts->last_seq);
    }
    if (res == 0) {
        res = volume_call(v, &flush);
    }
    return res == 0 || error_text()[0] != '\0' ? res :
           error_set(res, "the end of the log of %s cannot be made durable: %s",
                     v->store->location, error_name(res));
}

static int durability_check(const struct store *s, enum durability durability)
{
    const char *asked = durability_name(durability);

    if (durability == DURABILITY_STRONGEST || strcmp(asked, s->durability) == 0) {
        return 0;
    }
    return error_set(-ENOTSUP, "%s cannot give durability=%s; its level is %s",
                     s->location, asked, s->durability);
}

/* We have voted with EPOCH: read the log, and begin to write. */
static int open_log(struct hlfs *v, uint64_t epoch, uint64_t segment_bytes,
                    struct store_lane *lane)
{
    struct replay_result facts;
    struct replay *r = NULL;
    int res = replay_look(v, lane, false, &r);

    if (res == 0) {
        res = replay(v, epoch, r, &facts);
    }
    if (res == 0) {
        res = unfinished_check(v);
    }
    if (res == 0) {
        res = log_start(v, epoch, segment_bytes, &facts);
    }
    if (res == 0) {
        res = tail_again(v, r, lane, &facts);
    }
    replay_free(r);
    return res == 0 ? header_write(v) : res;
}

/*
 * Each writer leaves at least the segment that it voted with, which the next replay looks
 * at.  Without a checkpoint now and then these would never go, however little is written.
 */
static bool many_are_dead(const struct hlfs *v)
{
    return usage_dead_segments(v->usage) > DEAD_SEGMENTS_MAX;
}

static int open_for_writing(struct hlfs *v)
{
    struct store_lane *lane;
    uint64_t epoch = 0, segment_bytes;
    int res = durability_check(v->store, v->options.durability);

    if (res < 0) {
        return res;
    }
    segment_bytes = v->identity.segment_bytes ? v->identity.segment_bytes :
                    v->store->segment_min;
    res = take_over(v, &segment_bytes, &epoch);
    if (res < 0) {
        return res;
    }
    res = recover_lower(v, epoch);
    if (res < 0) {
        return res;
    }
    lane = store_lane_new(v->store);    /* the log's is in use while we read on */
    if (!lane) {
        return -errno;
    }
    res = open_log(v, epoch, segment_bytes, lane);
    store_lane_free(lane);
    removal_of_voids(v);
    v->checkpoint.wanted |= many_are_dead(v);
    return res;
}

static void volume_free(struct hlfs *v)
{
    struct list *node;

    if (v->log) {
        checkpoint_done(v);
        log_free(v->log);
    }
    removal_free(v);
    while (v->sync_queues.next && (node = list_pop(&v->sync_queues)) != NULL) {
        queue_destroy(list_entry(node, struct hlfs_queue, node));
    }
    layer_free(v->active);
    layer_free(v->frozen);
    layer_free(v->dropped);
    usage_free(v->usage);
    rescue_free(v->rescue);
    pagecache_free(v->cache);
    store_lane_free(v->lane);
    store_free(v->store);
    if (v->fork_guard) {
        (void)munmap(v->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    }
    if (v->cond_made) {
        (void)pthread_cond_destroy(&v->cond);
    }
    if (v->mutex_made) {
        (void)pthread_mutex_destroy(&v->mutex);
    }
    options_done(&v->options);
    free(v);
}

int volume_open_as(struct store *s, unsigned flags, const struct hlfs_options *o,
                   const struct identity *identity, struct hlfs **ret)
{
    struct hlfs *v = calloc(1, sizeof(*v));
    int res;

    if (!v) {
        store_free(s);
        return -ENOMEM;
    }
    v->store = s;
    v->clock = s->clock;
    v->identity = *identity;
    v->read_only = flags & VOLUME_RDONLY;
    v->manual = true;           /* who opens drives, until there is a thread */
    v->block_bytes = identity->block_bytes;
    v->block_shift = (uint32_t)__builtin_ctz(v->block_bytes);
    v->since_us = clock_wall_us(v->clock);
    v->latency.since_us = clock_monotonic_us(v->clock);
    v->unfinished_too = flags & VOLUME_UNFINISHED;
    v->unfinished_us = v->unfinished_too && !v->read_only ? v->since_us : 0;
    v->moved_next = 1;
    v->shrink_to = UINT64_MAX;
    list_init(&v->writers);
    list_init(&v->copies);
    list_init(&v->busy);
    list_init(&v->queues);
    list_init(&v->sync_queues);
    list_init(&v->resting);
    list_init(&v->removals);
    list_init(&v->removals_ready);
    list_init(&v->removals_failed);
    list_init(&v->voids);
    name_set(v);
    res = options_copy(&v->options, o);
    if (res == 0) {
        res = parts_new(v);
    }
    if (res == 0) {
        res = flags & VOLUME_RESCUE ? rescue_open(v) :
              v->read_only ? open_read_only(v) : open_for_writing(v);
    }
    if (res == 0) {
        v->manual = flags & VOLUME_MANUAL;
        res = monitor_start(v);
    }
    if (res < 0) {
        if (error_text()[0] == '\0') {
            (void)error_set(res, "cannot open %s: %s", s->location, error_name(res));
        }
        volume_abandon(v);
        return res;
    }
    *ret = v;
    return 0;
}

/* The identity of S, if that can be opened. */
static int identity_check(struct store *s, bool read_only, struct identity *ret)
{
    int res = volume_identity(s, ret);

    return res == 0 && !read_only && (ret->features_ro & ~FEATURES_RO_KNOWN) ?
           only_to_be_read(s) : res;
}

int volume_try(struct store *s, const struct hlfs_options *o)
{
    struct identity identity;
    int res;

    error_clear();
    res = identity_check(s, false, &identity);
    if (res == 0 && o) {
        res = durability_check(s, o->durability);
    }
    store_free(s);
    return res;
}

int volume_open(struct store *s, unsigned flags, const struct hlfs_options *o,
                struct hlfs **ret)
{
    struct identity identity;
    int res;

    error_clear();
    res = flags & VOLUME_RESCUE ? rescue_identity(s, o ? &o->log : NULL, &identity) :
          identity_check(s, flags & VOLUME_RDONLY, &identity);
    if (res < 0) {
        store_free(s);
        return res;
    }
    return volume_open_as(s, flags, o, &identity, ret);
}

/* ---- Creation ------------------------------------------------------------- */

int volume_create(struct store *s, uint64_t size, unsigned flags,
                  const struct hlfs_options *o)
{
    struct hlfs_options copy;
    struct identity identity = { .version = FORMAT_VERSION };
    uint8_t buf[IDENTITY_BYTES];
    struct hlfs *v = NULL;
    int res = options_copy(&copy, o);

    error_clear();
    if (res < 0) {
        store_free(s);
        return res;
    }
    identity.block_bytes = copy.block_bytes;
    identity.segment_bytes = copy.segment_bytes;
    options_done(&copy);
    identity.created_us = clock_wall_us(s->clock);
    while (getrandom(identity.uuid, UUID_BYTES, 0) != UUID_BYTES) {
    }
    identity_encode(&identity, buf);
    res = volume_open_as(s, flags, o, &identity, &v);
    if (res < 0) {
        return res;
    }
    monitor_enter(v);
    res = volume_resize_now(v, size);
    monitor_leave(v);
    if (res == 0) {
        const struct request_args flush = { .kind = REQUEST_FLUSH };

        res = volume_call(v, &flush);
    }
    /* The identity comes last: without it there is no volume yet. */
    if (res == 0) {
        res = store_put(v->store, "volume", buf, sizeof(buf));
    }
    if (res < 0) {
        (void)error_set(res, "cannot create %s: %s", v->store->location,
                        error_name(res));
        volume_abandon(v);
        return res;
    }
    return volume_close(v);
}

/* ---- Closing -------------------------------------------------------------- */

static void wait_for_checkpoint(struct hlfs *v)
{
    bool running = true;

    monitor_enter(v);
    v->checkpoint.wanted |= layer_entries(v->active) > 0 || many_are_dead(v);
    monitor_leave(v);
    while (running) {
        (void)volume_turn(v, 100000);
        monitor_enter(v);
        running = (v->checkpoint.wanted || v->checkpoint.state != CHECKPOINT_IDLE) &&
                  !v->checkpoint.backoff && !v->fenced && log_error(v->log) == 0;
        monitor_leave(v);
    }
}

int volume_close(struct hlfs *v)
{
    const struct request_args flush = { .kind = REQUEST_FLUSH };
    int res = 0;

    if (!v) {
        return 0;
    }
    error_clear();
    if (monitor_forked(v)) {
        return -ECHILD;     /* the parent's: its memory is a copy that goes with us */
    }
    if (!v->log) {
        volume_free(v);
        return 0;
    }
    res = volume_call(v, &flush);
    if (res < 0) {
        (void)error_set(res, "%s was not closed cleanly: %s; data up to the last "
                        "completed flush is safe", v->store->location, error_name(res));
    }
    monitor_stop(v);
    v->manual = true;       /* we drive from here on */
    v->stopping = false;
    if (res == 0) {
        wait_for_checkpoint(v);
        monitor_enter(v);
        log_mark(v->log);
        v->pump = true;
        monitor_leave(v);
    }
    monitor_enter(v);
    log_stop(v->log);
    monitor_leave(v);
    drain(v);
    store_resign(v->store);
    volume_free(v);
    return res;
}

void volume_abandon(struct hlfs *v)
{
    monitor_stop(v);
    v->manual = true;
    v->stopping = false;
    if (v->log) {
        v->fenced = true;       /* no more work */
        log_stop(v->log);
        log_kill(v->log);
        drain(v);
    }
    if (!v->read_only) {
        store_resign(v->store);
    }
    volume_free(v);
}
