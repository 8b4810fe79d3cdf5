/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hdfs_module.h - between libhlfs and libhlfs-hdfs.so: the calls of hdfs.h, by a table.
 *
 * Both are of one build: a module of another version is refused, so nothing here has to
 * stay as it is.
 */
#ifndef HLFS_STORE_HDFS_MODULE_H
#define HLFS_STORE_HDFS_MODULE_H

#include "store/hdfs.h"

struct hdfs_module {
    const char *version;        /* HLFS_VERSION; first, for ever */
    int (*open)(const struct hdfs_store_params *params, struct store **ret);
    int (*volumes)(const struct hdfs_store_params *params,
                   int (*fn)(void *opaque, const char *name), void *opaque);
};

#define HDFS_MODULE_FILE "libhlfs-hdfs.so"
#define HDFS_MODULE_SYMBOL "hlfs_hdfs_module"

/* The module's only symbol.  It keeps its sentences in BUFFER (error.h). */
const struct hdfs_module *hlfs_hdfs_module(char *(*buffer)(void));

#endif
