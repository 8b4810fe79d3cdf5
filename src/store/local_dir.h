/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local_dir.h - a volume's directory: names, listing, opening, small named files.
 *
 *   <volume>/volume                    a named file (store_put)
 *   <volume>/log/<shard>/<segno>       file ids without STORE_MOVED
 *   <volume>/moved/<shard>/<n>         file ids with it
 *   <volume>/pool/<name>               spare files (local_pool.h)
 *   <volume>/lock-<epoch>              signs of life (local_lock.h)
 *
 * Numbers are lower-case hex of fixed width, so that names sort: shard 6 digits (= id
 * / STORE_SHARD_FILES), segno 9, epoch and spare names 16.  Other names are never
 * trusted, counted or removed.
 *
 * Knows no lanes and no I/O beyond small files.  Used by the local_*.c files.  All
 * functions may be called from any thread; they block.  Errors are -errno; those that
 * only open and destroy call leave a sentence behind, as said there.
 */
#ifndef HLFS_STORE_LOCAL_DIR_H
#define HLFS_STORE_LOCAL_DIR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/names.h"

struct local_dir {
    int fd;                     /* owned; the volume's directory */
    char *path;                 /* owned; absolute if the system could tell */
    bool read_only;             /* immutable after open, like all up to `lock` */
    unsigned file_mode;         /* most permissions of a file; the umask takes more */
    unsigned dir_mode;
    bool direct;                /* O_DIRECT is wanted and works here */
    uint32_t mem_align;         /* of a direct read's buffer ... */
    uint32_t read_align;        /* ... and of its offset and length */

    pthread_mutex_t lock;       /* guards the rest */
    uint64_t shard_made[2];     /* 1 + highest shard known durable: log, moved */
};

/*
 * Open directory PATH of D (made before if MODE is not 0 and LOCAL_CREATE is in
 * FLAGS) and find out how it wants its I/O.  Leaves a sentence on failure.
 */
int local_dir_open(struct local_dir *d, const char *path, unsigned flags,
                   unsigned mode);
void local_dir_close(struct local_dir *d);

/* Refuse network file systems for writing: TYPE is statfs's f_type.  0, or -ENOTSUP
 * and a sentence about PATH. */
int local_dir_check_type(uint64_t type, unsigned flags, const char *path);

/* Open FILE with access FLAGS (O_RDWR, O_CREAT …), with O_DIRECT where that works:
 * the fd, *RET_DIRECT tells which. */
int local_dir_open_file(struct local_dir *d, uint64_t file, int flags,
                        bool *ret_direct);

/* Make the directories that FILE belongs in, durably. */
int local_dir_make_shard(struct local_dir *d, uint64_t file);

/* Make FILE's name durable, with the directories up to the volume's if ALL. */
int local_dir_sync_name(struct local_dir *d, uint64_t file, bool all);

/* FILE was removed: so is its directory, if that has seen its last file. */
void local_dir_drop_shard(struct local_dir *d, uint64_t file);

/* fsync directory NAME below D; "." is the volume's own. */
int local_dir_sync(struct local_dir *d, const char *name);

/* Does FILE exist?  1 yes, 0 no, or -errno. */
int local_dir_exists(struct local_dir *d, uint64_t file);

int local_dir_list(struct local_dir *d, uint64_t kind, uint64_t from, store_list_fn fn,
                   void *opaque);
int local_dir_highest(struct local_dir *d, uint64_t kind, uint64_t *ret_file);
int local_dir_get(struct local_dir *d, const char *name, void *buf, size_t size);
int local_dir_put(struct local_dir *d, const char *name, const void *buf, size_t len);

/* Remove what the volume has, its identity last, and the directory.  Leaves a
 * sentence on failure; -ENOTEMPTY: only foreign files are left. */
int local_dir_destroy(struct local_dir *d);

/* Make a change of the name PATH durable. */
int local_sync_parent(const char *path);

/* The directory gets the name TO, which is not there yet, durably.  Leaves a sentence on
 * failure. */
int local_dir_move(struct local_dir *d, const char *to);

/* renameat2(RENAME_NOREPLACE) within D.  -EINVAL where the file system has none. */
int local_dir_rename(struct local_dir *d, const char *from, const char *to);

/* The same for names of which both may exist for a moment, on any file system. */
int local_dir_publish(struct local_dir *d, const char *from, const char *to);

/*
 * Call FN for each name in directory NAME below D but "." and "..".  -ENOENT: no such
 * directory.  A negative value of FN stops and is returned.
 */
int local_dir_each(struct local_dir *d, const char *name, name_fn fn,
                   void *opaque);

#endif
