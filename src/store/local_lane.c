/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lane of the local store: turns operations on files into transfers on fds.
 *
 *   submit --> queue --kick--> aio --collect--> done
 *                        |
 *                        '---> ended   (errors and SEAL, which need no I/O)
 *
 * Only the queue is shared with the thread that submits; all else belongs to the one
 * that kicks, collects and waits.
 */
#include "store/local_private.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Transfers allocated at once. */
#define IO_CHUNK 32

/* An operation in flight. */
struct local_io {
    struct aio_op aio;
    struct local_lane *lane;    /* borrowed */
    struct store_op *op;        /* borrowed */
    struct local_file *file;    /* pinned, or NULL */
    void *bounce;               /* owned; an aligned buffer for an unaligned read */
    size_t skip;                /* bytes in it before the first wanted one */
};

struct io_chunk {
    struct list node;
    struct local_io io[IO_CHUNK];
};

struct local_lane {
    struct store_lane lane;
    struct local_store *store;  /* borrowed */
    struct aio *aio;            /* owned */

    pthread_mutex_t lock;       /* guards queue */
    struct list queue;          /* store_ops, as submitted */

    unsigned inflight;          /* ops that aio has */
    bool starved;               /* the queue waits for fds that those in flight hold */
    struct list ended;          /* store_ops to collect that needed no I/O */
    struct list spare;          /* local_ios that are free */
    struct list chunks;         /* owned */
};

static struct local_lane *lane_of(struct store_lane *lane)
{
    return container_of(lane, struct local_lane, lane);
}

struct store_lane *local_lane_new(struct store *s)
{
    struct local_store *l = local_of(s);
    struct local_lane *lane = calloc(1, sizeof(*lane));

    if (!lane) {
        errno = ENOMEM;
        return NULL;
    }
    lane->aio = aio_new(l->threads, l->uring);
    if (!lane->aio) {
        int saved = errno;

        free(lane);
        errno = saved;
        return NULL;
    }
    lane->lane.store = s;
    lane->store = l;
    (void)pthread_mutex_init(&lane->lock, NULL);
    list_init(&lane->queue);
    list_init(&lane->ended);
    list_init(&lane->spare);
    list_init(&lane->chunks);
    return &lane->lane;
}

void local_lane_free(struct store_lane *base)
{
    struct local_lane *lane = lane_of(base);
    struct list *node;

    aio_free(lane->aio);
    while ((node = list_pop(&lane->chunks)) != NULL) {
        free(list_entry(node, struct io_chunk, node));
    }
    (void)pthread_mutex_destroy(&lane->lock);
    free(lane);
}

int local_lane_fd(struct store_lane *base)
{
    return aio_fd(lane_of(base)->aio);
}

void local_lane_submit(struct store_lane *base, struct store_op *op)
{
    struct local_lane *lane = lane_of(base);

    (void)pthread_mutex_lock(&lane->lock);
    list_push(&lane->queue, &op->node);
    (void)pthread_mutex_unlock(&lane->lock);
}

/* ---- Kick -------------------------------------------------------------------- */

static void lane_end(struct local_lane *lane, struct store_op *op, int res)
{
    op->res = res;
    list_push(&lane->ended, &op->node);
    aio_signal(lane->aio);
}

static struct local_io *io_new(struct local_lane *lane, struct store_op *op)
{
    struct local_io *io;

    if (list_empty(&lane->spare)) {
        struct io_chunk *chunk = malloc(sizeof(*chunk));

        if (!chunk) {
            return NULL;
        }
        list_push(&lane->chunks, &chunk->node);
        for (unsigned i = 0; i < IO_CHUNK; i++) {
            list_push(&lane->spare, &chunk->io[i].aio.node);
        }
    }
    io = list_entry(list_pop(&lane->spare), struct local_io, aio.node);
    io->lane = lane;
    io->op = op;
    io->file = NULL;
    io->bounce = NULL;
    io->skip = 0;
    io->aio.durable = false;
    io->aio.fd = -1;
    return io;
}

static void io_free(struct local_io *io)
{
    free(io->bounce);
    list_push_front(&io->lane->spare, &io->aio.node);
}

static bool range_is_valid(const struct store_op *op)
{
    return op->len <= AIO_LEN_MAX && op->offset <= (uint64_t)INT64_MAX - AIO_LEN_MAX;
}

/* Direct reads want whole sectors into aligned memory; others are read aside. */
static int read_prepare(struct local_io *io)
{
    const struct local_dir *d = &io->lane->store->dir;
    const struct store_op *op = io->op;
    uint64_t start, end;

    io->aio.buf = op->buf;
    io->aio.offset = op->offset;
    io->aio.len = op->len;
    if (!io->file->direct || (IS_ALIGNED(op->offset | op->len, d->read_align) &&
                              IS_ALIGNED((uintptr_t)op->buf, d->mem_align))) {
        return 0;
    }
    start = ALIGN_DOWN(op->offset, d->read_align);
    end = ALIGN_UP(op->offset + op->len, d->read_align);
    io->bounce = aligned_alloc(STORE_BUF_ALIGN, ALIGN_UP(end - start, STORE_BUF_ALIGN));
    if (!io->bounce) {
        return -ENOMEM;
    }
    io->skip = (size_t)(op->offset - start);
    io->aio.buf = io->bounce;
    io->aio.offset = start;
    io->aio.len = (size_t)(end - start);
    return 0;
}

static int start_read(struct local_io *io)
{
    int r;

    if (!range_is_valid(io->op)) {
        return -EINVAL;
    }
    if ((io->op->flags & STORE_BY_NAME) && io->lane->store->dir.read_only) {
        (void)local_files_forget(&io->lane->store->files, io->op->file);
    }
    r = local_files_get(&io->lane->store->files, io->op->file, &io->file);
    if (r < 0) {
        return r;
    }
    io->aio.what = AIO_READ;
    io->aio.fd = io->file->fd;
    r = read_prepare(io);
    if (r < 0) {
        local_files_put(&io->lane->store->files, io->file);
    }
    return r;
}

static int start_append(struct local_io *io)
{
    const struct store_op *op = io->op;
    int r;

    if (!range_is_valid(op) || op->len == 0 ||
        !IS_ALIGNED(op->offset | op->len, io->lane->store->store.append_align) ||
        !IS_ALIGNED((uintptr_t)op->buf, STORE_BUF_ALIGN)) {
        return -EINVAL;
    }
    r = local_files_get_append(&io->lane->store->files, op->file, &io->file);
    if (r < 0) {
        return r;
    }
    io->aio.what = AIO_WRITE;
    io->aio.durable = (op->flags & STORE_DURABLE) != 0;
    io->aio.fd = io->file->fd;
    io->aio.buf = op->buf;
    io->aio.offset = op->offset;
    io->aio.len = op->len;
    return 0;
}

static int io_call(struct aio_op *aio)
{
    struct local_io *io = container_of(aio, struct local_io, aio);
    struct local_store *l = io->lane->store;
    const struct store_op *op = io->op;

    switch (op->what) {
    case STORE_CREATE:
        return local_call_create(l, op->file, op->len);
    case STORE_REMOVE:
        return local_call_remove(l, op->file);
    case STORE_PREPARE:
        return atomic_load(&l->thin) ? 0 : local_pool_prepare(&l->pool, op->len);
    case STORE_SYNC:
        return local_call_sync_old(l, op->file, io->file);
    default:
        return -EINVAL;
    }
}

static int start_call(struct local_io *io)
{
    io->aio.what = AIO_CALL;
    io->aio.call = io_call;
    return 0;
}

static int start_sync(struct local_io *io)
{
    int r = local_files_get(&io->lane->store->files, io->op->file, &io->file);

    if (r < 0) {
        return r;
    }
    if (!io->file->created) {
        return start_call(io);
    }
    io->aio.what = AIO_SYNC;
    io->aio.fd = io->file->fd;
    return 0;
}

static int io_start(struct local_io *io)
{
    const struct store_op *op = io->op;

    if (io->lane->store->dir.read_only && op->what != STORE_PREAD) {
        return -EROFS;
    }
    switch (op->what) {
    case STORE_PREAD:
        return start_read(io);
    case STORE_APPEND:
        return start_append(io);
    case STORE_SYNC:
        return start_sync(io);
    case STORE_CREATE:
    case STORE_REMOVE:
    case STORE_PREPARE:
        return start_call(io);
    case STORE_SEAL:
    case STORE_LOOK:
        break;
    }
    return -EINVAL;
}

/*
 * Has another writer taken over?  It removes our lock file before it votes, and that
 * stays so; the file after ours it may remove again.
 */
static int local_fenced(struct local_store *l, uint64_t fence)
{
    int r;

    if (local_lock_lost(&l->lock)) {
        return -ESTALE;
    }
    r = local_dir_exists(&l->dir, fence);
    return r > 0 ? -ESTALE : r;
}

/* False: OP has to wait until others that are in flight have given back their fds. */
static bool lane_start(struct local_lane *lane, struct store_op *op)
{
    struct local_io *io;
    int r;

    if (op->what == STORE_LOOK) {
        lane_end(lane, op, local_fenced(lane->store, op->fence));
        return true;
    }
    if (op->what == STORE_SEAL) {
        local_files_seal(&lane->store->files, op->file);
        lane_end(lane, op, 0);
        return true;
    }
    io = io_new(lane, op);
    if (!io) {
        lane_end(lane, op, -ENOMEM);
        return true;
    }
    r = io_start(io);
    if (r < 0) {
        io_free(io);
        if ((r == -EMFILE || r == -ENFILE) && lane->inflight > 0) {
            return false;
        }
        lane_end(lane, op, r);
        return true;
    }
    lane->inflight++;
    aio_start(lane->aio, &io->aio);
    return true;
}

/* Hand what was submitted to aio, which does not begin it yet. */
static void lane_start_queue(struct local_lane *lane)
{
    struct list queue;

    list_init(&queue);
    (void)pthread_mutex_lock(&lane->lock);
    list_splice(&queue, &lane->queue);
    (void)pthread_mutex_unlock(&lane->lock);
    lane->starved = false;
    while (!list_empty(&queue) && !lane->starved) {
        struct store_op *op = list_entry(list_pop(&queue), struct store_op, node);

        if (!lane_start(lane, op)) {
            list_push_front(&queue, &op->node);
            lane->starved = true;
        }
    }
    if (lane->starved) {
        /* Back to the queue, before what was submitted meanwhile. */
        (void)pthread_mutex_lock(&lane->lock);
        list_splice(&queue, &lane->queue);
        list_splice(&lane->queue, &queue);
        (void)pthread_mutex_unlock(&lane->lock);
    }
}

void local_lane_kick(struct store_lane *base)
{
    lane_start_queue(lane_of(base));
    aio_kick(lane_of(base)->aio);
}

/* ---- Collect ----------------------------------------------------------------- */

static int read_result(struct local_io *io, int res)
{
    if (res < 0 || !io->bounce) {
        return res;
    }
    if ((size_t)res <= io->skip) {
        return 0;
    }
    res = (int)MIN((size_t)res - io->skip, io->op->len);
    memcpy(io->op->buf, (char *)io->bounce + io->skip, (size_t)res);
    return res;
}

static bool asks_for_fence(const struct store_op *op)
{
    return (op->flags & STORE_FENCE) &&
           (op->what == STORE_SYNC ||
            (op->what == STORE_APPEND && (op->flags & STORE_DURABLE)));
}

static int io_result(struct local_io *io)
{
    struct local_store *l = io->lane->store;
    struct store_op *op = io->op;
    int res = io->aio.res;

    if (res == -EDQUOT) {
        res = -ENOSPC;      /* a quota is room, too: the option full, not unreachable */
    }
    if (op->what == STORE_PREAD) {
        res = read_result(io, res);
    }
    if (op->what == STORE_APPEND) {
        local_files_put_append(&l->files, io->file, res == 0);
    } else if (io->file) {
        local_files_put(&l->files, io->file);
    }
    if (res == 0 && asks_for_fence(op)) {
        return local_fenced(l, op->fence);
    }
    return res;
}

int local_lane_collect(struct store_lane *base, struct list *done)
{
    struct local_lane *lane = lane_of(base);
    struct list over, *node;
    int n = 0;

    list_init(&over);
    aio_collect(lane->aio, &over);
    while ((node = list_pop(&over)) != NULL) {
        struct local_io *io = list_entry(node, struct local_io, aio.node);
        struct store_op *op = io->op;

        op->res = io_result(io);
        io_free(io);
        lane->inflight--;
        list_push(done, &op->node);
        n++;
    }
    if (lane->starved && n > 0) {
        local_lane_kick(base);
    }
    while ((node = list_pop(&lane->ended)) != NULL) {
        list_push(done, node);
        n++;
    }
    return n;
}

int local_lane_wait(struct store_lane *base, int64_t timeout_us)
{
    struct local_lane *lane = lane_of(base);

    lane_start_queue(lane);
    return list_empty(&lane->ended) ? aio_wait(lane->aio, timeout_us) : 1;
}

void local_lane_wake(struct store_lane *base)
{
    aio_wake(lane_of(base)->aio);
}
