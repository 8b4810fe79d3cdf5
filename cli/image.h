/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.h - what an import reads: a raw image in a file or on a block device, whose holes
 * are not read, or a pipe, whose size nobody knows.
 *
 * Functions that return an exit status have said why.
 */
#ifndef HLFS_CLI_IMAGE_H
#define HLFS_CLI_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "copy.h"

struct image {
    const char *path;           /* borrowed */
    int fd;                     /* owned; -1: closed */
    bool stream;
    uint64_t bytes;             /* of a file or device */
};

/* "-" is stdin, which is a file if it is one that is at its beginning. */
int image_open(struct image *i, const char *path);
void image_close(struct image *i);

/* The end of a copy; its opaque pointer is the image.  A file reads as zeros behind its
 * end, and gives -ENODATA where it ends before I->bytes. */
const struct copy_source *image_source(const struct image *i);

/* Does a stream go on?  1, 0 or -errno. */
int image_more(const struct image *i);

#endif
