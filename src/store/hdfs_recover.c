/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking files from their writer.
 *
 * A recovery is a wait for DataNodes' heartbeats, some seconds, and a taker recovers each
 * file between a checkpoint and its own vote, one after the other.  So the first call of
 * one who has enlisted recovers all of these at once, and those that follow find the
 * result.  Nobody who is not enlisted touches a file that was not named.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

#define AT_ONCE 32
#define CLOSE_WAIT_US 60000000      /* for one that we are closing to be closed */

struct recovered {
    uint64_t file, length;
    int res;
    bool told;
};

struct slot {                       /* one under way */
    struct hdfs_op op;
    struct hdfs_recovery *all;      /* borrowed */
    size_t index;
    char path[HDFS_PATH_BYTES];
};

struct hdfs_recovery {
    struct hdfs_wait wait;
    struct hdfs_store *s;           /* borrowed */
    uint64_t below;
    struct recovered *files;        /* owned; in order */
    size_t count, room;
    size_t begun;
    unsigned under_way;
    int error;                      /* of the first that failed ... */
    char message[256];              /* ... and what the NameNode said */
    struct slot slots[AT_ONCE];
};

void hdfs_recovery_free(struct hdfs_recovery *r)
{
    if (r) {
        free(r->files);
        free(r);
    }
}

/* ---- In the loop thread -------------------------------------------------------- */

static void slot_begin(struct slot *slot)
{
    struct hdfs_recovery *r = slot->all;

    slot->index = r->begun++;
    hdfs_file_path(r->s, r->files[slot->index].file, slot->path);
    slot->op.what = HDFS_RECOVER;
    slot->op.path = slot->path;
    r->under_way++;
    hdfs_start(r->s->client, &slot->op);
}

static void slot_done(struct hdfs_op *op, int res)
{
    struct slot *slot = container_of(op, struct slot, op);
    struct hdfs_recovery *r = slot->all;
    struct recovered *f = &r->files[slot->index];

    f->res = res;
    if (res == 0) {
        f->length = op->call.u.file.length;
        hdfs_file_done(&op->call.u.file);
    } else if (res != -ENOENT && r->error == 0) {
        r->error = res;
        (void)snprintf(r->message, sizeof(r->message), "%.255s",
                       op->call.message[0] ? op->call.message : error_name(res));
    }
    r->under_way--;
    if (r->begun < r->count && r->error == 0) {
        slot_begin(slot);
    } else if (r->under_way == 0) {
        hdfs_wait_end(&r->wait, 0);
    }
}

static void recovery_begin(struct hdfs_wait *w)
{
    struct hdfs_recovery *r = container_of(w, struct hdfs_recovery, wait);

    for (size_t i = 0; i < AT_ONCE && r->begun < r->count; i++) {
        r->slots[i].all = r;
        r->slots[i].op.done = slot_done;
        slot_begin(&r->slots[i]);
    }
}

/* ---- The plain call ------------------------------------------------------------ */

struct close_one {
    struct hdfs_store *s;
    uint64_t file;
};

static int close_inside(void *opaque)
{
    struct close_one *c = opaque;

    return hdfs_file_close(c->s, c->file);
}

/* A file of ours that is being closed need not be recovered. */
static void await_closed(struct hdfs_store *s, uint64_t file)
{
    struct close_one c = { s, file };
    uint64_t end_us = clock_monotonic_us(&clock_system) + CLOSE_WAIT_US;

    while (loop_run(hdfs_loop(s->client), close_inside, &c) > 0 &&
           clock_monotonic_us(&clock_system) < end_us) {
        (void)nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
}

static int file_add(void *opaque, uint64_t file)
{
    struct hdfs_recovery *r = opaque;
    struct recovered *files;

    if (file >= r->below) {
        return 0;
    }
    files = array_room(r->files, r->count, &r->room, sizeof(*files));
    if (!files) {
        return error_set(-ENOMEM, "out of memory");
    }
    r->files = files;
    await_closed(r->s, file);
    r->files[r->count++] = (struct recovered){ .file = file, .res = -ECANCELED };
    return 0;
}

static int recovery_new(struct hdfs_store *s, uint64_t file, struct hdfs_recovery **ret)
{
    struct hdfs_recovery *r = calloc(1, sizeof(*r));
    int res;

    if (!r) {
        return error_set(-ENOMEM, "out of memory");
    }
    r->s = s;
    r->wait.start = recovery_begin;
    r->below = s->knocker && file < s->epoch ? s->epoch : file + 1;
    res = file_add(r, file);
    if (res == 0 && r->below > file + 1) {
        res = hdfs_list(&s->store, 0, file + 1, file_add, r);
    }
    if (res < 0) {
        hdfs_recovery_free(r);
        return res;
    }
    *ret = r;
    return 0;
}

/* What became of FILE, once. */
static struct recovered *recovered_find(struct hdfs_recovery *r, uint64_t file)
{
    for (size_t i = 0; r && i < r->count; i++) {
        if (r->files[i].file == file && !r->files[i].told) {
            r->files[i].told = true;
            return &r->files[i];
        }
    }
    return NULL;
}

int hdfs_recover(struct store *base, uint64_t file, uint64_t *ret_len)
{
    struct hdfs_store *s = hdfs_of(base);
    char path[HDFS_PATH_BYTES];
    struct recovered *f;
    int res;

    if (s->read_only) {
        return error_set(-EROFS, "%s is open for reading only", base->location);
    }
    f = recovered_find(s->recovery, file);
    if (!f) {
        hdfs_recovery_free(TAKE_PTR(s->recovery));
        res = recovery_new(s, file, &s->recovery);
        if (res < 0) {
            return res;
        }
        (void)hdfs_wait(s->client, &s->recovery->wait);
        f = recovered_find(s->recovery, file);
    }
    if (f->res < 0 && f->res != -ENOENT) {
        hdfs_file_path(s, file, path);
        return error_set(f->res, "cannot take %s from its writer: %s", path,
                         s->recovery->message);
    }
    *ret_len = f->length;
    return f->res;
}
