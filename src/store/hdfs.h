/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hdfs.h - a volume's store in a directory of an HDFS (docs/format.md 2).
 *
 * One segment = one file = one block.  hdfs*.c and src/hdfs/ are a part of their own,
 * libhlfs-hdfs.so, which is loaded when the first location of HDFS is opened
 * (hdfs_load.c): a local volume needs none of its libraries.
 */
#ifndef HLFS_STORE_HDFS_H
#define HLFS_STORE_HDFS_H

#include "base/error.h"
#include "store/store.h"

#define HDFS_STORE_CREATE (1u << 0)     /* make the directory; -EEXIST if it is there */
#define HDFS_STORE_READ_ONLY (1u << 1)  /* create, change and knock at nothing */
#define HDFS_STORE_REMOVE (1u << 2)     /* nothing is going to be written: no node is needed */

struct hdfs_store_params {
    const char *authority;      /* "host:port" or a nameservice; "": fs.defaultFS */
    const char *path;           /* absolute, normalised (location.h) */
    unsigned flags;
    unsigned mode;              /* of HDFS_STORE_CREATE: the most permission files get, the
                                 * umask takes more; 0600: dirs 0700 */
    const char *user;           /* NULL: $HADOOP_USER_NAME, else the OS user */
    const char *conf_dir;       /* NULL: $HADOOP_CONF_DIR, else /etc/hadoop/conf */
    uint32_t replication;       /* 0: the cluster's */
    uint32_t min_replicas;      /* 0: min(2, replication) */
    uint64_t ack_us;            /* 0: 2 s; a pipeline silent for longer is broken */
    uint64_t first_call_us;     /* 0: 10 s; opening fails after so long without an answer */
    uint64_t call_us;           /* 0: 20 s; an operation fails after NameNodes were
                                 * silent for longer */
    uint64_t read_us;           /* 0: call_us, and not if all nodes fail at once; a read is
                                 * given up after so long */
    uint64_t dead_us;           /* 0: 6 s; a writer that does not answer a knock for so
                                 * long is dead; more where the NameNodes had troubles */
    bool hflush;                /* durable means in the memory of all replicas' nodes */
    struct log_hook log;
};

/*
 * Open the store.  Leaves a sentence behind on failure: -ENOENT no such directory,
 * -ENOTSUP built or installed without HDFS, -ETIMEDOUT no NameNode answers, …
 */
int hdfs_store_open(const struct hdfs_store_params *params, struct store **ret);

/* Call FN for each volume in the directory that PARAMS names: for each directory in it
 * that has a file "volume".  A value of FN that is not 0 stops, and is returned if it is
 * negative.  Leaves a sentence behind on failure. */
int hdfs_store_volumes(const struct hdfs_store_params *params,
                       int (*fn)(void *opaque, const char *name), void *opaque);

#endif
