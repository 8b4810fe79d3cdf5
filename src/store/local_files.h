/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local_files.h - the open files of a local store.
 *
 * A cache of fds by file id, least recently used ones closed first, and what this
 * process knows about the files it has written.  A file being written stays open from
 * create to seal.  Knows no lanes and no rings.
 *
 *   FILES-1  An entry serves one id for its whole life; ids are never reused, and
 *            a removed file's entry is in no table any more.
 *   FILES-2  An fd is closed only when nothing in flight uses it (pins == 0).
 *   FILES-3  An id is clean only if this process made the file, sealed it, and has
 *            seen all of its appends complete.  Only such may be used again.
 *
 * Threads: any; everything is guarded by one lock, which is not held while a file is
 * opened.  Errors are -errno.
 */
#ifndef HLFS_STORE_LOCAL_FILES_H
#define HLFS_STORE_LOCAL_FILES_H

#include <pthread.h>

#include "store/local_dir.h"

#define FILES_BUCKETS 256

/* So many clean ids of each kind are remembered, the newest in the way of segment
 * numbers: enough for any log that fits on a disk, and older ones are just unlinked. */
#define FILES_CLEAN 8192

struct local_file {
    int fd;                 /* immutable once pinned, like the next two */
    bool direct;            /* reads must be aligned */
    bool created;           /* by this process: its name is durable */

    /* The rest is local_files.c's own, under its lock. */
    uint64_t id;
    bool opening;           /* fd comes, or error */
    bool hashed;            /* in the table: FILES-1 */
    bool writer;            /* created here, not yet sealed, or appends in flight */
    bool sealed;
    bool broken;            /* an append failed */
    int error;
    unsigned pins;
    unsigned appends;       /* in flight */
    struct list bucket;
    struct list lru;        /* in the list if hashed, not a writer and without pins */
};

struct local_files {
    struct local_dir *dir;      /* borrowed */
    unsigned max;               /* of open files that are not being written */

    pthread_mutex_t lock;       /* guards all below, and the entries */
    pthread_cond_t opened;
    struct list bucket[FILES_BUCKETS];
    struct list lru;            /* oldest first */
    unsigned n;                 /* entries that have an fd or are to get one */
    uint64_t clean[2][FILES_CLEAN];
};

void local_files_init(struct local_files *f, struct local_dir *dir);
void local_files_done(struct local_files *f);       /* nothing is pinned */

/* Pin FILE for reading or syncing.  -ENOENT: no such file. */
int local_files_get(struct local_files *f, uint64_t file, struct local_file **ret);

/* Pin FILE for an append.  -EBADF: it is not open for appends here. */
int local_files_get_append(struct local_files *f, uint64_t file,
                           struct local_file **ret);

/* Unpin. */
void local_files_put(struct local_files *f, struct local_file *file);
void local_files_put_append(struct local_files *f, struct local_file *file, bool ok);

/* FILE was created here and FD (handed over) is what is appended to. */
int local_files_add(struct local_files *f, uint64_t file, int fd, bool direct);

/* Nothing more is appended to FILE. */
void local_files_seal(struct local_files *f, uint64_t file);

/* Close the file unused for longest; false: none is unused. */
bool local_files_make_room(struct local_files *f);

/* FILE is about to be removed: forget its fd.  True: it may be used again. */
bool local_files_forget(struct local_files *f, uint64_t file);

#endif
