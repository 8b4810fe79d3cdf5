/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume whose content is being replaced as a whole: its newest header says so.
 *
 * The header is the one thing of a writer that is durable before anything else of it
 * counts, and a newer writer's stands above it.  So the content is unfinished before the
 * first of it changes; of two writers the fenced one cannot say that it is whole; and who
 * only reads sees the state that belongs to the content which he sees.
 *
 * To be whole the volume rolls to a new segment, when all is durable: its header has the
 * word.
 */
#include "volume/private.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "log/replay.h"

#define ROLL_LOOK_US 1000       /* how often we look for the new segment */
#define ROLL_MIN_US 5000000     /* so long it may take, whatever `unreachable` says */

static int refuse(struct hlfs *v, uint64_t since_us)
{
    time_t t = (time_t)(since_us / 1000000);
    char since[32] = "an unknown time";
    struct tm tm;

    if (gmtime_r(&t, &tm)) {
        (void)strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    /* Who only reads an HDFS takes one that was killed lately for a living one. */
    if (v->read_only && store_holder_alive(v->store) > 0) {
        return error_set(-EINPROGRESS, "an import into %s, begun at %s, seems to be under "
                         "way: wait for its end, or import again", v->store->location,
                         since);
    }
    return error_set(-EINPROGRESS, "%s is an unfinished import, begun at %s: import it "
                     "again, or remove it", v->store->location, since);
}

int unfinished_check(struct hlfs *v)
{
    return v->facts.newest.unfinished_us == 0 || v->unfinished_too ? 0 :
           refuse(v, v->facts.newest.unfinished_us);
}

/* What cannot be read yet may be so after its recovery: then unfinished_check() tells. */
int unfinished_look(struct hlfs *v)
{
    const struct segment_header *h;
    struct replay *r = NULL;
    int res = 0;

    if (v->unfinished_too) {
        return 0;
    }
    if (replay_new(v->store, v->lane, v->identity.uuid, v->block_bytes, true,
                   REPLAY_NEWEST_ONLY, &r) == 0) {
        h = replay_newest(r);
        res = h && h->unfinished_us != 0 ? refuse(v, h->unfinished_us) : 0;
    }
    replay_free(r);
    if (res == 0) {
        error_clear();
    }
    return res;
}

/* Begin a segment whose header says that the content is whole.  -EAGAIN: not yet. */
static int roll(struct hlfs *v)
{
    int res = -ENOSPC;

    monitor_enter(v);
    log_close_record(v->log);
    if (log_roll(v->log)) {
        res = volume_resize_now(v, v->size);    /* a record, to wait for */
    }
    if (res == 0) {
        log_finish(v->log);                     /* its header goes out later */
        v->unfinished_us = 0;
    }
    v->pump = true;
    monitor_leave(v);
    return res;
}

static void wait_some(struct hlfs *v)
{
    const struct timespec some = { .tv_nsec = ROLL_LOOK_US * 1000 };

    if (v->manual) {
        (void)volume_turn(v, ROLL_LOOK_US);
    } else {
        (void)nanosleep(&some, NULL);
    }
}

int volume_finish(struct hlfs *v)
{
    const struct request_args flush = { .kind = REQUEST_FLUSH };
    uint64_t deadline;
    int res;

    if (v->read_only) {
        return error_set(-EROFS, "%s is open for reading only", v->store->location);
    }
    res = volume_call(v, &flush);
    if (res == 0 && v->unfinished_us != 0) {
        deadline = clock_monotonic_us(v->clock) +
                   MAX(options_unreachable_us(&v->options), (uint64_t)ROLL_MIN_US);
        while ((res = roll(v)) == -EAGAIN && clock_monotonic_us(v->clock) < deadline) {
            wait_some(v);
        }
        res = res == -EAGAIN ? -ETIMEDOUT : res;
        if (res == 0) {
            res = volume_call(v, &flush);
        }
    }
    return res == 0 ? 0 : error_set(res, "the content of %s cannot be made durable: %s",
                                    v->store->location, error_name(res));
}
