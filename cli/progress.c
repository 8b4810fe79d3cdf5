/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define EVERY_US 200000

static atomic_bool shown;

static uint64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
    *p = (struct progress){
        .what = what, .total = total, .begun_us = now_us(), .on = isatty(STDERR_FILENO),
    };
}

struct left_text {
    char text[40];
};

/* What is left, at the pace so far; holes pass faster than data, so it is a guess. */
static struct left_text left_format(const struct progress *p, uint64_t position,
                                    uint64_t elapsed_us)
{
    struct left_text ret = { "" };
    double seconds;

    if (position > 0 && position <= p->total) {
        seconds = (double)elapsed_us / 1e6 * ((double)(p->total - position) /
                                              (double)position);
        if (seconds < 100 * 3600) {
            unsigned s = (unsigned)seconds;

            (void)snprintf(ret.text, sizeof(ret.text), ", %u:%02u:%02u left", s / 3600,
                           s / 60 % 60, s % 60);
        }
    }
    return ret;
}

void progress_show(struct progress *p, uint64_t position, uint64_t moved)
{
    uint64_t now, elapsed;
    char text[160];

    if (!p->on) {
        return;
    }
    now = now_us();
    elapsed = now - p->begun_us;
    if (now < p->shown_us + EVERY_US || elapsed < EVERY_US) {
        return;
    }
    p->shown_us = now;
    (void)snprintf(text, sizeof(text), "\r%s: %3u%%, %s of %s, %s/s%s\033[K", p->what,
                   p->total ? (unsigned)((double)position * 100 / (double)p->total) : 100,
                   size_format(position).text, size_format(p->total).text,
                   size_format(moved * 1000000 / elapsed).text,
                   left_format(p, position, elapsed).text);
    (void)fputs(text, stderr);
    (void)fflush(stderr);
    atomic_store(&shown, true);
}

void progress_hide(void)
{
    if (atomic_exchange(&shown, false)) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
    }
}

void progress_end(struct progress *p)
{
    p->on = false;
    progress_hide();
}
