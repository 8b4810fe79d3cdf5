/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * progress.h - how far a long command has come: one line on a terminal, else nothing.
 *
 * On stderr, at most five times a second, and gone at the end.  The main thread's, but
 * for progress_hide().
 */
#ifndef HLFS_CLI_PROGRESS_H
#define HLFS_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what;           /* borrowed: "export" */
    uint64_t total;             /* bytes to go through, holes and all */
    uint64_t begun_us, shown_us;
    bool on;                    /* there is a terminal */
};

void progress_begin(struct progress *p, const char *what, uint64_t total);

/* POSITION of the total has been reached; MOVED bytes of it were moved. */
void progress_show(struct progress *p, uint64_t position, uint64_t moved);
void progress_end(struct progress *p);

/* Before anything else is written to stderr; any thread. */
void progress_hide(void);

#endif
