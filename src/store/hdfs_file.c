/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of the HDFS store: those being written, and those that are read.
 *
 * A file we know has an entry: an input for reads, and while we write it an output.
 *
 *     (none) --CREATE--> OPENING --> OPEN --SEAL--> CLOSING --> (only read)
 *                           |          |
 *                           |          '-- broken: SEAL recovers it
 *                           '-- outcome unknown: IN_DOUBT, the next CREATE finds out
 *
 * Entries that are only read are kept, the least used go first.  All of this is the loop
 * thread's.
 *
 * Fencing.  STORE_FENCE looks at the same time as it syncs, not after it.  A taker makes
 * its file first, then has every lower file recovered, and only then reads.  An ack is one
 * of all nodes of the pipeline; a node that takes part in a recovery has ended its writer
 * before it tells its length.  So what is acknowledged is within the length that each of
 * them tells: the taker reads it, however early our look was answered.  And a sync that is
 * submitted after the vote looks after it.
 */
#include "store/hdfs_private.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define ROLL_AGAIN_US 60000000     /* with too few copies */
#define BUCKETS 1024
#define KEPT_MAX 2048           /* entries of files that are only read; some KiB each */
#define BLOCK_BYTES_MIN MIB(1)  /* dfs.namenode.fs-limits.min-block-size, its default */

struct hdfs_entry {
    struct hdfs_store *s;       /* borrowed */
    uint64_t file;
    struct list bucket;
    struct list use;            /* in the files' `used`: least recently used first */
    struct input *input;        /* owned */
    struct output *output;      /* owned; NULL: only read */
    unsigned ops;               /* under way */
    bool opening, open, closing;
    uint64_t appends, synced;   /* not durable by themselves; of these, hsynced */
    bool removed;               /* goes when its last op ends */
    bool dirs_made;
    int closed;                 /* -EIO: not all may be durable */
    struct list syncers;        /* hdfs_ios that wait until it is closed */
};

struct hdfs_files {
    struct list buckets[BUCKETS];
    struct list used;
    size_t count;
    struct list spare;          /* hdfs_ios */
    struct list dead;           /* entries to be freed, by their `use` ... */
    struct loop_timer reaper;   /* ... in a turn of their own */
};

/* An operation under way. */
struct hdfs_io {
    struct list node;           /* in spare, or an entry's syncers */
    struct hdfs_store *s;       /* borrowed */
    struct hdfs_lane *lane;     /* borrowed */
    struct store_op *op;        /* borrowed */
    struct hdfs_entry *entry;   /* pinned, or NULL */
    unsigned pending;           /* parts that have not ended */
    int res;
    uint64_t append_end;
    uint64_t sync_to;           /* as the entry's `appends` */
    union {
        struct writer_op write;
        struct input_op read;
    } u;
    struct hdfs_look *look;     /* owned */
    struct hdfs_op *name;       /* owned */
    char *path;                 /* owned; of NAME */
};

/* ---- Entries ------------------------------------------------------------------- */

static struct list *bucket_of(struct hdfs_files *f, uint64_t file)
{
    return &f->buckets[(file * 0x9E3779B97F4A7C15u) >> 54];
}

static struct hdfs_entry *entry_find(struct hdfs_store *s, uint64_t file)
{
    struct list *bucket = bucket_of(s->files, file);
    struct hdfs_entry *e;

    list_for_each(e, bucket, bucket) {
        if (e->file == file) {
            return e;
        }
    }
    return NULL;
}

static void entry_free(struct hdfs_entry *e)
{
    e->s->files->count--;
    input_free(e->input);
    if (e->output) {
        output_drop(e->output);
    }
    list_remove(&e->bucket);
    list_remove(&e->use);
    free(e);
}

/* Nothing is to be lost with it. */
static bool entry_is_free(const struct hdfs_entry *e)
{
    return e->ops == 0 && !e->output;
}

static void reap(struct loop_timer *t)
{
    struct hdfs_files *f = container_of(t, struct hdfs_files, reaper);

    while (!list_empty(&f->dead)) {
        entry_free(list_first(&f->dead, struct hdfs_entry, use));
    }
}

/* Free E, soon: this may be a callback of its input's. */
static void entry_bury(struct hdfs_entry *e)
{
    struct hdfs_files *f = e->s->files;
    struct loop *l = hdfs_loop(e->s->client);

    list_remove(&e->use);
    list_push(&f->dead, &e->use);
    loop_timer_set(l, &f->reaper, loop_now_us(l));
}

static void entries_trim(struct hdfs_files *f)
{
    struct hdfs_entry *e, *tmp;

    list_for_each_safe(e, tmp, &f->used, use) {
        if (f->count <= KEPT_MAX) {
            return;
        }
        if (entry_is_free(e)) {
            entry_free(e);
        }
    }
}

static struct hdfs_entry *entry_get(struct hdfs_store *s, uint64_t file)
{
    struct hdfs_entry *e = entry_find(s, file);
    char path[HDFS_PATH_BYTES];

    if (e) {
        list_remove(&e->use);
        list_push(&s->files->used, &e->use);
        return e;
    }
    entries_trim(s->files);
    e = calloc(1, sizeof(*e));
    hdfs_file_path(s, file, path);
    if (!e || input_new(s->client, path, &e->input) < 0) {
        free(e);
        return NULL;
    }
    e->s = s;
    e->file = file;
    list_init(&e->syncers);
    list_push(bucket_of(s->files, file), &e->bucket);
    list_push(&s->files->used, &e->use);
    s->files->count++;
    return e;
}

static void entry_bury_if_free(struct hdfs_entry *e)
{
    if (e->removed && entry_is_free(e)) {
        entry_bury(e);
    }
}

/* An op of E has ended. */
static void entry_put(struct hdfs_entry *e)
{
    e->ops--;
    entry_bury_if_free(e);
}

/* It is not to be found any more. */
static void entry_remove(struct hdfs_entry *e)
{
    e->removed = true;
    list_remove(&e->bucket);
    entry_bury_if_free(e);
}

int hdfs_files_new(struct hdfs_files **ret)
{
    struct hdfs_files *f = calloc(1, sizeof(*f));

    if (!f) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        list_init(&f->buckets[i]);
    }
    list_init(&f->used);
    list_init(&f->spare);
    list_init(&f->dead);
    f->reaper.fire = reap;
    *ret = f;
    return 0;
}

void hdfs_files_free(struct hdfs_store *s)
{
    struct hdfs_files *f = s->files;
    struct hdfs_entry *e, *tmp;
    struct list *node;

    if (!f) {
        return;
    }
    loop_timer_stop(hdfs_loop(s->client), &f->reaper);
    reap(&f->reaper);
    list_for_each_safe(e, tmp, &f->used, use) {
        entry_free(e);
    }
    s->files = NULL;
    while ((node = list_pop(&f->spare)) != NULL) {
        free(list_entry(node, struct hdfs_io, node));
    }
    free(f);
}

/* ---- Operations ---------------------------------------------------------------- */

static struct hdfs_io *io_new(struct hdfs_store *s, struct hdfs_lane *lane,
                              struct store_op *op)
{
    struct list *node = list_pop(&s->files->spare);
    struct hdfs_io *io = node ? list_entry(node, struct hdfs_io, node) :
                                malloc(sizeof(*io));

    if (io) {
        list_init(&io->node);
        io->s = s;
        io->lane = lane;
        io->op = op;
        io->entry = NULL;
        io->pending = 1;
        io->res = 0;
        io->look = NULL;
        io->name = NULL;
        io->path = NULL;
    }
    return io;
}

/* A part of IO has ended; with the last one IO has. */
static void io_end(struct hdfs_io *io, int res)
{
    struct hdfs_store *s = io->s;

    if (res == -EDQUOT) {
        res = -ENOSPC;      /* a quota is room, too: the option full, not unreachable */
    }
    if (io->res == 0 || res == -ESTALE) {
        io->res = res;
    }
    if (--io->pending > 0) {
        return;
    }
    if (io->entry) {
        entry_put(io->entry);
    }
    free(io->look);
    free(io->name);
    free(io->path);
    hdfs_lane_end(io->lane, io->op, io->res);
    list_push(&s->files->spare, &io->node);
}

static void io_pin(struct hdfs_io *io, struct hdfs_entry *e)
{
    io->entry = e;
    e->ops++;
}

/* ---- LOOK, and what asks for it ------------------------------------------------ */

static void looked(struct hdfs_look *look, int res)
{
    struct hdfs_io *io = look->shard.opaque;

    io_end(io, res);
}

/* One more part of IO. */
static void io_look(struct hdfs_io *io)
{
    io->pending++;
    io->look = calloc(1, sizeof(*io->look));
    if (!io->look) {
        io_end(io, -ENOMEM);
        return;
    }
    io->look->done = looked;
    hdfs_look_start(io->s, io->look, io->op->fence);
    io->look->shard.opaque = io;
}

static void start_look(struct hdfs_io *io)
{
    io_look(io);
    io_end(io, 0);
}

/* ---- CREATE -------------------------------------------------------------------- */

static void opened(struct output *o, int res, void *opaque);

/* For info: the newest segment that has bytes is the tail, not one made ahead. */
static void note_tail(struct hdfs_store *s)
{
    struct hdfs_entry *e, *tail = NULL;
    bool has_bytes = false;

    list_for_each(e, &s->files->used, use) {
        bool bytes = e->output && output_acked(e->output) > 0;

        if (e->output && e->open && !e->closing && !(e->file & STORE_MOVED) &&
            output_block(e->output) && bytes >= has_bytes &&
            (!tail || bytes > has_bytes || e->file > tail->file)) {
            tail = e;
            has_bytes = bytes;
        }
    }
    if (tail) {
        hdfs_tail_set(s, output_block(tail->output));
    }
}

static void create_end(struct hdfs_io *io, int res)
{
    struct hdfs_entry *e = io->entry;
    struct hdfs_store *s = io->s;

    /* That somebody has taken over is for a look to say, not for a lease. */
    res = res == -ESTALE ? -EIO : res;
    e->opening = false;
    /* In doubt it stays the one being created: who listens for knocks must not take our
     * own file for another writer's. */
    if (s->creating == e->file && res != -EIO) {
        s->creating = 0;
    }
    if (res == 0) {
        e->open = true;
        input_written(e->input, output_block(e->output), 0);
        if (!(e->file & STORE_MOVED)) {
            s->created = MAX(s->created, e->file);
            atomic_store(&s->degraded,
                         atomic_load(&s->degraded) || output_is_short(e->output));
            note_tail(s);
        }
    } else if (res != -EIO) {
        output_drop(TAKE_PTR(e->output));
        entry_remove(e);
    }
    io_end(io, res);
}

/* The directories of the file, one after the other: those above the volume's are not
 * made again, should somebody have removed it. */
static void dir_made(struct hdfs_op *op, int res)
{
    struct hdfs_io *io = op->opaque;
    struct hdfs_entry *e = io->entry;
    char shard[HDFS_PATH_BYTES];

    hdfs_shard_path(io->s, e->file, shard);
    if (res < 0) {
        create_end(io, res);
    } else if (strcmp(io->path, shard) != 0) {
        (void)snprintf(io->path, HDFS_PATH_BYTES, "%s", shard);
        hdfs_start(io->s->client, op);
    } else {
        output_open(e->output, opened, io);
    }
}

static void make_dirs(struct hdfs_io *io)
{
    struct hdfs_entry *e = io->entry;

    e->dirs_made = true;
    free(io->name);
    free(io->path);
    io->name = calloc(1, sizeof(*io->name));
    io->path = malloc(HDFS_PATH_BYTES);
    if (!io->name || !io->path) {
        create_end(io, -ENOMEM);
        return;
    }
    hdfs_path(io->s, e->file & STORE_MOVED ? "moved" : "log", io->path);
    io->name->what = HDFS_MAKE_DIR;
    io->name->path = io->path;
    io->name->mode = io->s->dir_mode;
    io->name->done = dir_made;
    io->name->opaque = io;
    hdfs_start(io->s->client, io->name);
}

static void opened(struct output *o, int res, void *opaque)
{
    struct hdfs_io *io = opaque;

    (void)o;
    if (res == -ENOENT && !io->entry->dirs_made) {
        make_dirs(io);
    } else {
        create_end(io, res);
    }
}

static int output_for(struct hdfs_entry *e, uint64_t size)
{
    struct hdfs_store *s = e->s;
    char path[HDFS_PATH_BYTES];
    struct output_params p = {
        .path = path,
        .mode = s->file_mode,
        .replication = s->replication,
        .min_replicas = s->min_replicas,
        .hsync = s->hsync,
        .patient = true,
        .block_size = MAX(ALIGN_UP(size, (uint64_t)512), BLOCK_BYTES_MIN),
    };

    hdfs_file_path(s, e->file, path);
    return output_new(s->client, &p, &e->output);
}

static void start_create(struct hdfs_io *io)
{
    const struct store_op *op = io->op;
    struct hdfs_entry *e = entry_get(io->s, op->file);
    int res = e ? 0 : -ENOMEM;

    if (res == 0 && (e->opening || e->open || e->closing)) {
        res = -EEXIST;
    }
    if (res == 0 && op->len > GIB(1024)) {
        res = -EINVAL;
    }
    if (res == 0 && !e->output) {
        res = output_for(e, op->len);
    }
    if (res < 0) {
        io_end(io, res);
        return;
    }
    io_pin(io, e);
    e->opening = true;
    e->dirs_made = false;
    if (!(e->file & STORE_MOVED)) {
        io->s->creating = e->file;
    }
    output_open(e->output, opened, io);
}

/* ---- APPEND and SYNC ----------------------------------------------------------- */

static bool asks_for_fence(const struct store_op *op)
{
    return (op->flags & STORE_FENCE) != 0 &&
           (op->what == STORE_SYNC || (op->flags & STORE_DURABLE) != 0);
}

/* What a pipeline failed with is -EIO to the engine: it goes on in another file. */
static int write_error(int res)
{
    return res < 0 && res != -ENOSPC && res != -EDQUOT ? -EIO : res;
}

static void appended(struct writer_op *w, int res)
{
    struct hdfs_io *io = container_of(w, struct hdfs_io, u.write);
    struct hdfs_entry *e = io->entry;

    if (res == 0 && e->output && output_block(e->output)) {
        input_written(e->input, output_block(e->output), io->append_end);
    }
    io_end(io, write_error(res));
}

static int append_check(const struct hdfs_entry *e, const struct store_op *op)
{
    if (!e || !e->open || !e->output || e->closing) {
        return -EBADF;
    }
    if (output_is_broken(e->output)) {
        return -EIO;
    }
    if (op->len == 0 || op->len > INT_MAX ||
        !IS_ALIGNED(op->offset | op->len, e->s->store.append_align) ||
        op->offset != output_appended(e->output)) {
        return -EINVAL;
    }
    return 0;
}

static void start_append(struct hdfs_io *io)
{
    struct store_op *op = io->op;
    struct hdfs_entry *e = entry_find(io->s, op->file);
    bool durable = (op->flags & STORE_DURABLE) != 0;
    int res = append_check(e, op);

    if (res < 0) {
        io_end(io, res);
        return;
    }
    io_pin(io, e);
    io->append_end = op->offset + op->len;
    io->u.write = (struct writer_op){
        .done = appended, .buf = op->buf, .len = op->len,
        .hsync = durable && io->s->hsync,
    };
    e->appends += !durable;
    io->pending++;
    res = output_append(e->output, &io->u.write);
    if (res < 0) {
        io_end(io, write_error(res));
    } else if (asks_for_fence(op)) {
        io_look(io);    /* after the bytes are on their way, which takes longer */
    }
    io_end(io, 0);
}

static void synced(struct writer_op *w, int res)
{
    struct hdfs_io *io = container_of(w, struct hdfs_io, u.write);

    if (res == 0) {
        io->entry->synced = MAX(io->entry->synced, io->sync_to);
    }
    io_end(io, write_error(res));
}

/* What was acknowledged is in the memory of all nodes; hsync asks for more. */
static int sync_open(struct hdfs_io *io, struct hdfs_entry *e)
{
    int res;

    if (output_is_broken(e->output)) {
        return -EIO;
    }
    if (!io->s->hsync || e->synced == e->appends) {
        return 0;
    }
    io->u.write = (struct writer_op){ .done = synced, .hsync = true };
    io->sync_to = e->appends;
    io->pending++;
    res = output_sync(e->output, &io->u.write);
    if (res < 0) {
        io_end(io, write_error(res));
    }
    return 0;
}

static bool is_synced(const struct hdfs_entry *e)
{
    return !e->s->hsync || e->synced == e->appends;
}

/* A file that we closed was synced by that; of another writer's nobody knows, and HDFS
 * cannot sync it now.  One that is broken is being recovered, however long that takes, and
 * a recovery syncs nothing. */
static int sync_closed(struct hdfs_io *io, struct hdfs_entry *e)
{
    if (e && e->closing && output_is_broken(e->output)) {
        return is_synced(e) ? 0 : -EIO;
    }
    if (e && e->closing) {
        io->pending++;
        list_push(&e->syncers, &io->node);
        return 0;
    }
    if (e && e->open) {
        return e->closed;
    }
    return io->s->hsync ? -EOPNOTSUPP : 0;
}

static void start_sync(struct hdfs_io *io)
{
    struct hdfs_entry *e = entry_find(io->s, io->op->file);
    int res;

    if (e) {
        io_pin(io, e);
    }
    if (asks_for_fence(io->op)) {
        io_look(io);
    }
    res = e && e->open && e->output && !e->closing ? sync_open(io, e) :
                                                     sync_closed(io, e);
    io_end(io, res);
}

/* ---- SEAL ---------------------------------------------------------------------- */

static void closed(void *opaque, int res)
{
    struct hdfs_entry *e = opaque;
    struct list *node;

    e->output = NULL;
    e->closing = false;
    e->closed = res == 0 || (res > 0 && is_synced(e)) ? 0 : -EIO;
    if (res < 0 && res != -ENOENT && !e->removed) {
        log_say(&e->s->log, LOG_WARNING, "%s: segment %llu could not be closed: %s",
                e->s->store.location, (unsigned long long)store_segno(e->file),
                error_name(res));
    }
    entry_bury_if_free(e);
    while ((node = list_pop(&e->syncers)) != NULL) {
        io_end(list_entry(node, struct hdfs_io, node), e->closed);
    }
}

static void entry_close(struct hdfs_entry *e)
{
    if (e && e->output && !e->opening && !e->closing) {
        e->closing = true;
        output_close(e->output, closed, e);
    }
}

static void start_seal(struct hdfs_io *io)
{
    entry_close(entry_find(io->s, io->op->file));
    io_end(io, 0);
}

bool hdfs_file_close(struct hdfs_store *s, uint64_t file)
{
    struct hdfs_entry *e = entry_find(s, file);

    entry_close(e);
    return e && (e->opening || e->closing);
}

void hdfs_files_close(struct hdfs_store *s)
{
    struct hdfs_entry *e, *tmp;

    list_for_each_safe(e, tmp, &s->files->used, use) {
        entry_close(e);
    }
}

void hdfs_files_drop(struct hdfs_store *s)
{
    struct hdfs_entry *e, *tmp;

    list_for_each_safe(e, tmp, &s->files->used, use) {
        if (e->output && !e->opening) {
            output_drop(e->output);
            closed(e, 0);
        }
    }
}

/* ---- PREAD --------------------------------------------------------------------- */

static void read_done(struct input_op *r, int64_t res)
{
    struct hdfs_io *io = container_of(r, struct hdfs_io, u.read);

    io_end(io, (int)res);
}

static void start_read(struct hdfs_io *io)
{
    struct store_op *op = io->op;
    struct hdfs_entry *e;

    if (op->len > INT_MAX || op->offset > INT64_MAX - op->len) {
        io_end(io, -EINVAL);
        return;
    }
    e = entry_get(io->s, op->file);
    if (!e) {
        io_end(io, -ENOMEM);
        return;
    }
    io_pin(io, e);
    io->u.read = (struct input_op){
        .done = read_done, .offset = op->offset, .buf = op->buf, .len = op->len,
        .timeout_us = io->s->read_us,
    };
    input_read(e->input, &io->u.read);
}

/* ---- REMOVE -------------------------------------------------------------------- */

static void name_removed(struct hdfs_op *op, int res)
{
    io_end(op->opaque, MIN(res, 0) == -ENOENT ? 0 : MIN(res, 0));
}

static void start_remove(struct hdfs_io *io)
{
    struct hdfs_entry *e = entry_find(io->s, io->op->file);

    if (e && e->output && !e->opening) {
        output_drop(e->output);
        closed(e, 0);
    }
    if (e) {
        entry_remove(e);
    }
    io->name = calloc(1, sizeof(*io->name));
    io->path = malloc(HDFS_PATH_BYTES);
    if (!io->name || !io->path) {
        io_end(io, -ENOMEM);
        return;
    }
    hdfs_file_path(io->s, io->op->file, io->path);
    io->name->what = HDFS_REMOVE;
    io->name->path = io->path;
    io->name->done = name_removed;
    io->name->opaque = io;
    hdfs_start(io->s->client, io->name);
}

/* ---- The start of all ---------------------------------------------------------- */

void hdfs_file_start(struct hdfs_store *s, struct hdfs_lane *lane, struct store_op *op)
{
    struct hdfs_io *io = io_new(s, lane, op);

    if (!io) {
        hdfs_lane_end(lane, op, -ENOMEM);
        return;
    }
    if (s->read_only && op->what != STORE_PREAD && op->what != STORE_LOOK) {
        io_end(io, -EROFS);
        return;
    }
    switch (op->what) {
    case STORE_CREATE:
        start_create(io);
        return;
    case STORE_APPEND:
        start_append(io);
        return;
    case STORE_SYNC:
        start_sync(io);
        return;
    case STORE_SEAL:
        start_seal(io);
        return;
    case STORE_PREAD:
        start_read(io);
        return;
    case STORE_REMOVE:
        start_remove(io);
        return;
    case STORE_LOOK:
        start_look(io);
        return;
    case STORE_PREPARE:
        io_end(io, 0);          /* a new file is as good as a used one */
        return;
    }
    io_end(io, -EINVAL);
}

/*
 * A node is decommissioned when no open block is on it any more.  And who writes too few
 * copies tries a new pipeline now and then: a node may have come back.
 */
void hdfs_files_look(struct hdfs_store *s)
{
    uint64_t now = loop_now_us(hdfs_loop(s->client));
    bool is_short = false, leaving = false;
    struct hdfs_entry *e;

    list_for_each(e, &s->files->used, use) {
        if (e->output && e->open && !e->closing) {
            is_short |= output_is_short(e->output);
            leaving |= output_is_leaving(e->output);
            output_refresh(e->output);
        }
    }
    note_tail(s);
    atomic_store(&s->degraded, is_short);
    if (leaving || (is_short && now >= s->rolled_us + ROLL_AGAIN_US)) {
        s->rolled_us = now;
        atomic_store(&s->store.roll, true);
    }
}
