/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local.h - a volume's store in a directory of this machine (docs/format.md 2).
 */
#ifndef HLFS_STORE_LOCAL_H
#define HLFS_STORE_LOCAL_H

#include "store/store.h"

#define LOCAL_CREATE (1u << 0)      /* make the directory; -EEXIST if there is one */
#define LOCAL_READ_ONLY (1u << 1)   /* create, change and lock nothing */
#define LOCAL_REMOVE (1u << 5)      /* nothing but store_destroy() follows (HDFS: needs no node) */
#define LOCAL_NETWORK_FS (1u << 2)  /* NFS, CIFS and FUSE are allowed for writing */
#define LOCAL_NO_URING (1u << 3)    /* use the thread pool (tests) */
#define LOCAL_NO_DIRECT (1u << 4)   /* buffered I/O (tests) */

/*
 * Open the store at directory PATH.  MODE holds the most permission that the files of a
 * new one may have (0600: directories get 0700); it keeps that.  Leaves a sentence behind
 * on failure: -ENOENT no such directory, -ENOTSUP a network file system, …
 */
int local_store_open(const char *path, unsigned flags, unsigned mode,
                     struct store **ret);

#endif
