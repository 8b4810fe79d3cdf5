/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local_pool.h - spare files of a volume, to be written over.
 *
 * Writing over blocks that were written before is up to twice as fast as growing a
 * file, as the file system has nothing to note down.  So up to POOL_FILES files that
 * nobody can be writing to any more wait in pool/ for a new name.
 *
 *   POOL-1  A name in pool/ but `.new-*` is a file in which no write can land any more:
 *           a file enters by rename when all its writes have completed.
 *   POOL-2  A file leaves by renameat2(RENAME_NOREPLACE).  Before that has succeeded
 *           it is not touched: an opener of another process may be taking it, too.
 *
 * Threads: any.  Blocking.  Errors are -errno.
 */
#ifndef HLFS_STORE_LOCAL_POOL_H
#define HLFS_STORE_LOCAL_POOL_H

#include <pthread.h>

#include "store/local_dir.h"

#define POOL_FILES 8

struct local_pool {
    struct local_dir *dir;      /* borrowed */
    pthread_mutex_t lock;       /* one change at a time, so that the limit holds */
    unsigned preparing;         /* spares being made */
};

void local_pool_init(struct local_pool *p, struct local_dir *dir);
void local_pool_done(struct local_pool *p);

/*
 * Rename the spare that suits SIZE best to FILE, whose directory exists.  1: done,
 * 0: there is none, -EEXIST: FILE exists.  Its size is another in general.
 */
int local_pool_take(struct local_pool *p, uint64_t file, uint64_t size);

/* FILE becomes a spare (POOL-1 is the caller's promise).  1: done, 0: no room. */
int local_pool_add(struct local_pool *p, uint64_t file);

/* Make a spare of SIZE bytes.  1: made, 0: there are enough, or space is short. */
int local_pool_prepare(struct local_pool *p, uint64_t size);

/* A new writer: remove the spares that an earlier one was making. */
void local_pool_sweep(struct local_pool *p);

int local_pool_stat(struct local_pool *p, uint64_t *ret_files, uint64_t *ret_bytes);

#endif
