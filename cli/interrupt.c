/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static unsigned depth;
static bool seen;
static sigset_t blocked, before;

void interrupt_begin(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

    if (depth++ > 0) {
        return;
    }
    (void)sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction now;

        /* One that is ignored, by nohup(1) say, would be seen all the same if blocked. */
        if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
            (void)sigaddset(&blocked, signals[i]);
        }
    }
    (void)sigprocmask(SIG_BLOCK, &blocked, &before);
    seen = false;
}

void interrupt_end(void)
{
    if (--depth == 0) {
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
    }
}

bool interrupt_seen(void)
{
    const struct timespec at_once = { 0 };

    if (depth > 0 && !seen) {
        seen = sigtimedwait(&blocked, NULL, &at_once) > 0;
    }
    return seen;
}
