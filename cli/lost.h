/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lost.h - which bytes of a volume could not be read: ranges, put together at the end.
 *
 * Added from any thread; 16 bytes of memory for each.
 */
#ifndef HLFS_CLI_LOST_H
#define HLFS_CLI_LOST_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct lost_range {
    uint64_t offset, len;
};

struct lost {
    pthread_mutex_t lock;
    struct lost_range *ranges;  /* owned */
    size_t count, room;
    uint64_t bytes;
};

void lost_init(struct lost *l);
void lost_done(struct lost *l);

/* 0 or -ENOMEM. */
int lost_add(struct lost *l, uint64_t offset, uint64_t len);
void lost_forget(struct lost *l);

/* "lost: OFFSET LENGTH" on stderr for each range, in order, neighbours as one; how many
 * there are. */
size_t lost_print(struct lost *l);

#endif
