/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * target.h - where an export goes.
 *
 *   FILE     made under another name in its directory, of mode 0600 (less the umask), and
 *            given its own when it is complete and durable; until then nothing is changed
 *   DEVICE   a block device, written in place; what was there is zeroed where holes are
 *   STREAM   a pipe, a character device, "-": byte after byte
 *
 * A symbolic link is followed to a device or pipe only.  Functions that return an exit
 * status have said why.
 */
#ifndef HLFS_CLI_TARGET_H
#define HLFS_CLI_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "copy.h"

enum target_kind { TARGET_FILE, TARGET_DEVICE, TARGET_STREAM };

struct target {
    const char *path;           /* borrowed */
    enum target_kind kind;
    bool standard;              /* STREAM: stdout */
    bool force;                 /* replace a file, write to a device */
    int fd;                     /* owned; -1: closed */
    int dir;                    /* owned; FILE: its directory; -1: closed */
    const char *name;           /* FILE: in the directory */
    char temp[48];              /* FILE: name so far; "": there is none */
};

/* Say what PATH is, and refuse what must not be written to; changes nothing. */
int target_init(struct target *t, const char *path, bool force);

/* Open it for SIZE_BYTES. */
int target_open(struct target *t, uint64_t size_bytes);

/* FILE, DEVICE: what was written does not count, it begins again. */
int target_again(struct target *t, uint64_t size_bytes);

/* It is complete: make it durable, and a file appear. */
int target_commit(struct target *t);

/* Close it; a file that was not committed goes. */
void target_done(struct target *t);

/* The end of a copy; its opaque pointer is the target. */
const struct copy_sink *target_sink(const struct target *t);

#endif
