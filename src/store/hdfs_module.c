/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way into libhlfs-hdfs.so.
 */
#include "store/hdfs_module.h"

#include "config.h"

__attribute__((visibility("default")))
const struct hdfs_module *hlfs_hdfs_module(char *(*buffer)(void))
{
    static const struct hdfs_module module = {
        .version = HLFS_VERSION,
        .open = hdfs_store_open,
        .volumes = hdfs_store_volumes,
    };

    error_keep_in(buffer);
    return &module;
}
