/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local_lock.h - signs of life by flock(2).
 *
 * A writer of epoch E holds lock-<E> exclusively; the kernel lets go when the process
 * is gone, however it went.  A writer lives if any lock file is held: one that was taken
 * over has lost the name of its own, and a taker that died before it removed that has
 * taken nothing over.  Who only looks takes each one shared and at once lets go, so that
 * lookers do not take each other for a writer; and a lock file gets its name with the
 * lock held, so that none is ever seen free before its time.
 *
 * Threads: one at a time.  Blocking.  Errors are -errno, with a sentence.
 */
#ifndef HLFS_STORE_LOCAL_LOCK_H
#define HLFS_STORE_LOCAL_LOCK_H

#include <stdbool.h>

#include "store/local_dir.h"

struct local_lock {
    struct local_dir *dir;      /* borrowed */
    int fd;                     /* owned; -1: not held */
    uint64_t epoch;
};

void local_lock_init(struct local_lock *l, struct local_dir *dir);

/* 1: a writer lives, 0: not.  Waits up to a second for a dying one, unless the directory
 * is open for reading only. */
int local_lock_alive(struct local_lock *l);

/* Hold EPOCH's lock and remove lower ones.  -EEXIST: taken. */
int local_lock_take(struct local_lock *l, uint64_t epoch);

/* Did another writer remove our lock file?  (False where we hold none.)  Any thread. */
bool local_lock_lost(const struct local_lock *l);

/* Remove our lock file and let go; nothing if none is held. */
void local_lock_drop(struct local_lock *l);

#endif
