/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * interrupt.h - SIGINT, SIGTERM and SIGHUP as something to look for, not to be hit by:
 * for work that has to put things in order before it ends.
 *
 * Between begin and end they are blocked, in the threads that are made meanwhile, too.
 * Who works looks now and then whether one has come.  The main thread's.
 */
#ifndef HLFS_CLI_INTERRUPT_H
#define HLFS_CLI_INTERRUPT_H

#include <stdbool.h>

/* May be nested; only the outermost pair counts. */
void interrupt_begin(void);
void interrupt_end(void);

/* Has one come since the begin? */
bool interrupt_seen(void);

#endif
