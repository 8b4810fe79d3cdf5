/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* export.c - hlfs export: a volume as a raw image. */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "interrupt.h"
#include "lost.h"
#include "target.h"

#define TRIES_MAX 5         /* beside a writer that removes what we read */

struct export {
    const struct arguments *arguments;
    const char *name;       /* of the volume, as it was given */
    bool rescue;
    struct hlfs *volume;    /* owned */
    uint64_t size_bytes;
    uint32_t block_bytes;
    struct lost lost;
    _Atomic bool opened;
    uint64_t losses;            /* that the open told of */
    struct target target;
};

/* ---- The volume's end ----------------------------------------------------- */

/* What cannot even be looked at is taken for data: reading it tells what is lost. */
static uint64_t unknown_end(const struct export *e, uint64_t at)
{
    uint64_t end = (at / COPY_PIECE_BYTES + 1) * COPY_PIECE_BYTES;

    return end < e->size_bytes ? end : e->size_bytes;
}

static int volume_extent(void *from, uint64_t at, uint64_t *ret_begin, uint64_t *ret_end)
{
    const struct export *e = from;
    enum hlfs_status status = HLFS_STATUS_HOLE;
    uint64_t len = 0;
    int r = 0;

    while (r == 0 && status == HLFS_STATUS_HOLE && (at += len) < e->size_bytes) {
        r = hlfs_block_status(e->volume, e->size_bytes - at, at, &status, &len);
    }
    *ret_begin = at;
    *ret_end = at + len;
    if (r == -EBADMSG && e->rescue) {
        *ret_end = unknown_end(e, at);
        return 0;
    }
    return r;
}

/* Down to single blocks, which are zeros where they are lost. */
static int rescue_read(struct export *e, char *buf, size_t len, uint64_t at)
{
    int r = hlfs_pread(e->volume, buf, len, at);
    size_t half;

    if (r != -EBADMSG) {
        return r;
    }
    if (len <= e->block_bytes) {
        memset(buf, 0, len);
        return lost_add(&e->lost, at, len);
    }
    half = (len / 2 + e->block_bytes - 1) / e->block_bytes * e->block_bytes;
    r = rescue_read(e, buf, half, at);
    return r < 0 ? r : rescue_read(e, buf + half, len - half, at + half);
}

/* What is known to be lost is not read: where much of the map is, that is much. */
static int rescue_range(struct export *e, char *buf, size_t len, uint64_t at)
{
    enum hlfs_status status = HLFS_STATUS_DATA;
    uint64_t n;
    int r = 0;

    for (size_t done = 0; r == 0 && done < len; done += n) {
        if (hlfs_block_status(e->volume, len - done, at + done, &status, &n) < 0) {
            status = HLFS_STATUS_DATA;
            n = len - done;
        }
        if (status == HLFS_STATUS_DATA) {
            r = rescue_read(e, buf + done, n, at + done);
        } else {
            memset(buf + done, 0, n);
            r = status == HLFS_STATUS_LOST ? lost_add(&e->lost, at + done, n) : 0;
        }
    }
    return r;
}

static int64_t volume_read(void *from, void *buf, size_t len, uint64_t at)
{
    struct export *e = from;
    int r = e->rescue ? rescue_range(e, buf, len, at) :
            hlfs_pread(e->volume, buf, len, at);

    return r < 0 ? r : (int64_t)len;
}

static const struct copy_source volume_source = {
    .extent = volume_extent, .read = volume_read,
};

/* What the open tells of is said as it comes; what is lost of the data, once, by "lost:". */
static void rescue_log(void *opaque, int level, const char *text)
{
    const struct export *e = opaque;

    if (!e->opened && level <= HLFS_LOG_WARNING) {
        warn("%s", text);
    }
}

static int export_open(struct export *e)
{
    int status = volume_open(e->arguments, e->name,
                             HLFS_RDONLY | (e->rescue ? HLFS_RESCUE : 0), &e->volume);

    if (status == EXIT_OK) {
        e->opened = true;
        e->losses = e->rescue ? hlfs_rescue_losses(e->volume) : 0;
        e->size_bytes = hlfs_size(e->volume);
        e->block_bytes = hlfs_block_size(e->volume);
    }
    return status;
}

static void export_close(struct export *e)
{
    (void)hlfs_close(e->volume);
    e->volume = NULL;
}

/* ---- What went wrong ------------------------------------------------------ */

/* A piece could not be read: where in it does that begin? */
static uint64_t bad_offset(const struct export *e, uint64_t at)
{
    uint64_t end = unknown_end(e, at);
    void *buf = malloc(e->block_bytes);

    while (buf && at + e->block_bytes < end &&
           hlfs_pread(e->volume, buf, e->block_bytes, at) != -EBADMSG) {
        at += e->block_bytes;
    }
    free(buf);
    return at;
}

static int source_failed(const struct export *e, int error, uint64_t offset)
{
    if (error == -ESTALE) {
        return fail("a writer of %s has removed what was being read: export it again, or "
                    "end the writer first", e->name);
    }
    if (error == -EBADMSG) {
        return fail("cannot export %s: what it has at byte %" PRIu64 " is damaged; "
                    "--rescue exports what is left", e->name, bad_offset(e, offset));
    }
    return fail("cannot read %s at byte %" PRIu64 ": %s", e->name, offset,
                strerror(-error));
}

static int copy_failed(const struct export *e, int error, const struct copy_result *r)
{
    switch (r->side) {
    case COPY_SIGNAL:
        return fail("the export of %s was interrupted", e->name);
    case COPY_SINK:
        return error == -EPIPE ?
               fail("cannot write to %s: who reads it has gone", e->target.path) :
               fail("cannot write to %s at byte %" PRIu64 ": %s", e->target.path,
                    r->offset, strerror(-error));
    default:
        return source_failed(e, error, r->offset);
    }
}

/* ---- The whole ------------------------------------------------------------ */

/* One try; 0, -ESTALE where another makes sense, or another -errno after a sentence. */
static int export_try(struct export *e, bool last)
{
    const struct copy copy = {
        .source = &volume_source, .from = e, .sink = target_sink(&e->target),
        .to = &e->target, .size_bytes = e->size_bytes, .what = "export",
    };
    struct copy_result result;
    int r = copy_run(&copy, &result);

    if (r == 0 || (r == -ESTALE && result.side == COPY_SOURCE && !last)) {
        return r;
    }
    (void)copy_failed(e, r, &result);
    if (result.stuck) {
        target_done(&e->target);
        _exit(EXIT_FAILED);
    }
    return r == -ESTALE ? -EIO : r;
}

/* What a writer has removed is gone from this view, but not from a newer one. */
static int export_again(struct export *e)
{
    uint64_t size = e->size_bytes;
    int status;

    export_close(e);
    lost_forget(&e->lost);
    status = export_open(e);
    if (status == EXIT_OK && e->target.kind == TARGET_DEVICE && e->size_bytes != size) {
        status = fail("%s has another size now: export it again", e->name);
    }
    return status == EXIT_OK ? target_again(&e->target, e->size_bytes) : status;
}

static int export_copy(struct export *e)
{
    bool once = e->target.kind == TARGET_STREAM;
    int status = EXIT_OK, r = -ESTALE;

    for (int i = 1; status == EXIT_OK && r == -ESTALE; i++) {
        r = export_try(e, once || i == TRIES_MAX);
        if (r == -ESTALE) {
            status = export_again(e);
        }
    }
    return r == 0 ? EXIT_OK : EXIT_FAILED;
}

static int lost_say(struct export *e)
{
    uint64_t bytes = e->lost.bytes;
    size_t ranges = lost_print(&e->lost);

    if (ranges > 0) {
        return fail("%" PRIu64 " bytes of %s in %zu ranges are lost; the export has zeros "
                    "there", bytes, e->name, ranges);
    }
    return e->losses == 0 ? EXIT_OK :
           fail("parts of %s are lost, as said above; what the export has may be older than "
                "the volume was", e->name);
}

static int export_to_target(struct export *e)
{
    int status = target_open(&e->target, e->size_bytes);

    if (status == EXIT_OK) {
        status = export_copy(e);
    }
    if (status == EXIT_OK && interrupt_seen()) {
        status = fail("the export of %s was interrupted", e->name);
    }
    if (status == EXIT_OK) {
        status = target_commit(&e->target);
    }
    target_done(&e->target);
    return status == EXIT_OK ? lost_say(e) : status;
}

int export_run(const struct arguments *a)
{
    struct export e = {
        .arguments = a, .name = a->operands[0], .rescue = a->value[OPTION_RESCUE] != NULL,
    };
    int status = target_init(&e.target, a->operands[1], a->value[OPTION_FORCE] != NULL);

    if (status != EXIT_OK) {
        return status;
    }
    /* Errors of the calls say more than the end of the process. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    if (e.rescue) {
        hlfs_options_set_log(a->options, rescue_log, &e);
    }
    lost_init(&e.lost);
    status = export_open(&e);
    if (status == EXIT_OK) {
        interrupt_begin();
        status = export_to_target(&e);
        export_close(&e);
        interrupt_end();
    }
    lost_done(&e.lost);
    return status;
}
