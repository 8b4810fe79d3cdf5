/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle is tested: bugs are planted in the engine or in the store, and random
 * schedules must find each of them within 10,000 seeds.  What counts is the model's
 * verdict (or a promise broken in plain sight: an open that fails, say); a schedule in
 * which the engine's own assertions fail or which hangs is passed over.
 *
 * Where the design has a second line of defence, so that one bug alone does no harm, the
 * bugs of both lines are planted together:
 *
 *  - A record of a reused file's former life is refused by its sum (salt, uuid and file
 *    id seed it) and by its seq, which was before.  Either is enough.
 *  - The epoch in a record is a third line behind both: with its segment's salt no
 *    record of another epoch can fit, so ignoring it alone changes nothing.
 *
 * Each schedule runs in a child, as bugs lead anywhere.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log/format.h"
#include "log/log.h"
#include "log/replay.h"
#include "schedule.h"
#include "world.h"

#define SEEDS_MAX 10000u
#define SEED_SECONDS_MAX 20

struct bug {
    const char *name;
    unsigned sim, log, format, replay, volume;
};

#define BIT(x) (1u << (x))
#define NO_SEED (BIT(FORMAT_BUG_SALT_IGNORED))
#define NO_EPOCH (BIT(FORMAT_BUG_EPOCH_IGNORED))

static const struct bug bugs[] = {
    { "sync skipped", .sim = SIM_BUG_SYNC_SKIPPED },
    { "sync answered early", .sim = SIM_BUG_SYNC_EARLY },
    { "flush answered early", .log = BIT(LOG_BUG_FLUSH_EARLY) },
    { "fence ignored", .sim = SIM_BUG_FENCE_IGNORED },
    { "torn record taken", .replay = BIT(REPLAY_BUG_TORN_TAKEN) },
    { "cut ignored", .replay = BIT(REPLAY_BUG_CUT_IGNORED) },
    { "salt ignored (and seq)",
      .format = NO_SEED, .replay = BIT(REPLAY_BUG_STALE_TAKEN) },
    { "stale reused record taken: epoch, salt and seq ignored",
      .format = NO_SEED | NO_EPOCH, .replay = BIT(REPLAY_BUG_STALE_TAKEN) },
    { "tail not made durable after open", .volume = BIT(VOLUME_BUG_TAIL_UNSYNCED) },
    { "what a smaller size cuts off comes back", .volume = BIT(VOLUME_BUG_SHRINK_KEEPS) },
    { "sum of a buffer that changes", .volume = BIT(VOLUME_BUG_CRC_OF_BUFFER) },
};

struct shared {                 /* between the children and us */
    uint64_t seed;
    bool found;
    char text[2048];
};

static void plant(const struct bug *b)
{
    log_bugs = b->log;
    format_bugs = b->format;
    replay_bugs = b->replay;
    volume_bugs = b->volume;
}

/* In a child: from the shared seed on. */
static void child(const struct bug *b, struct shared *s)
{
    if (!freopen("/dev/null", "w", stderr)) {
        _exit(1);
    }
    plant(b);
    for (; s->seed <= SEEDS_MAX && !s->found; s->seed++) {
        (void)alarm(SEED_SECONDS_MAX);
        s->found = !schedule_run(s->seed, b->sim, s->text, sizeof(s->text), NULL);
    }
    _exit(0);
}

static bool find(const struct bug *b, struct shared *s)
{
    unsigned passed_over = 0;

    memset(s, 0, sizeof(*s));
    for (s->seed = 1; s->seed <= SEEDS_MAX && !s->found; s->seed++, passed_over++) {
        int status;
        pid_t pid = fork();

        if (pid < 0) {
            abort();
        }
        if (pid == 0) {
            child(b, s);
        }
        if (waitpid(pid, &status, 0) != pid) {
            abort();
        }
        if (WIFEXITED(status)) {
            break;
        }
    }
    if (!s->found) {
        printf("%s: NOT FOUND within %u seeds (%u passed over)\n", b->name, SEEDS_MAX,
               passed_over);
        return false;
    }
    printf("%s: found by seed %" PRIu64 " (%u passed over): %.300s\n", b->name,
           s->seed - 1, passed_over, s->text);
    return true;
}

int main(int argc, char **argv)
{
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool all = true;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (s == MAP_FAILED) {
        abort();
    }
    for (size_t i = 0; i < ARRAY_SIZE(bugs); i++) {
        if (argc < 2 || strstr(bugs[i].name, argv[1])) {
            all &= find(&bugs[i], s);
        }
    }
    return all ? 0 : 1;
}
