/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * names.h - how the files of a volume are named below its directory, and which of them
 * there are: "log/<segno / 4096>/<segno>" and "moved/...", in lower-case hex (DESIGN 4).
 *
 * Knows names, no files: a store says what a directory has.  Used by the stores that have
 * directories, local and HDFS.  Usable from any thread.
 */
#ifndef HLFS_STORE_NAMES_H
#define HLFS_STORE_NAMES_H

#include "store/store.h"

#define NAMES_SHARD_DIGITS 6
#define NAMES_SEGNO_DIGITS 9

/* The directory of FILE's kind, that of its shard, and FILE itself. */
#define NAMES_PATH_BYTES 32
const char *names_kind(uint64_t file);
void names_shard(char path[NAMES_PATH_BYTES], uint64_t file);
void names_segment(char path[NAMES_PATH_BYTES], uint64_t file);

/* The value of NAME, exactly DIGITS lower-case hex digits; false: another name. */
bool names_parse_hex(const char *name, unsigned digits, uint64_t *ret);

/* Sixteen random hex digits behind PREFIX. */
#define NAMES_RANDOM_BYTES 32
void names_random(char name[NAMES_RANDOM_BYTES], const char *prefix);

/* A name of a directory.  A negative value stops the listing and is returned. */
typedef int (*name_fn)(void *opaque, const char *name);

struct names_source {
    /*
     * Call FN with FN_OPAQUE for each name in directory DIR, below the volume's; a
     * missing one has none.  Names up to AFTER may be left out.  0, or -errno.
     */
    int (*each)(void *opaque, const char *dir, const char *after, name_fn fn,
                void *fn_opaque);
    void *opaque;
    bool ordered;       /* they ascend; those that do not are passed over */
};

/* store_list() and store_highest(). */
int names_list(const struct names_source *src, uint64_t kind, uint64_t from,
               store_list_fn fn, void *opaque);
int names_highest(const struct names_source *src, uint64_t kind, uint64_t *ret_file);

#endif
