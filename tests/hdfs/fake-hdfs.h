/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake-hdfs.h - a NameNode with names, leases and blocks in memory, and one DataNode: as
 * much of it as a client's life needs, where a test says what goes wrong.
 *
 * All is under one lock, and in the thread of fake-namenode.h.
 */
#ifndef HLFS_TESTS_FAKE_HDFS_H
#define HLFS_TESTS_FAKE_HDFS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake-datanode.h"
#include "fake-namenode.h"

#define FAKE_FILES_MAX 64
#define FAKE_CALLS_MAX 4096
#define FAKE_NODES_MAX 3

struct fake_file {
    char path[256];
    bool dir, open;
    uint64_t id, block;         /* no block: 0 */
    char client[128];           /* that has the lease, if it is open */
};

struct fake_hdfs {
    struct fake *namenode;
    struct fake_datanode *node;
    char authority[64];         /* of the NameNode */
    pthread_mutex_t lock;       /* guards what follows */
    struct fake_file files[FAKE_FILES_MAX];
    unsigned file_count;
    uint64_t next_id;
    struct {
        char method[32], path[224];
    } calls[FAKE_CALLS_MAX];    /* that came */
    unsigned call_count;
    uint8_t answer[8192];

    /* The test's, set before there is a client. */
    uint32_t bytes_per_checksum;
    unsigned node_count;        /* of a block; all are NODE */
    unsigned full_nodes;        /* of these: no block is put there */
    uint16_t ipc_ports[FAKE_NODES_MAX];
    /* Called with the lock for each call: true, *RET is what becomes of it; false: it is
     * served, but not answered where RET->what is FAKE_SILENCE. */
    bool (*meddle)(struct fake_hdfs *f, const char *method, const char *path,
                   struct fake_reply *ret);
    _Atomic int stage;          /* for MEDDLE */
};

struct fake_hdfs *fake_hdfs_new(void);
void fake_hdfs_free(struct fake_hdfs *f);

/* How often METHOD was called, of PATH or (NULL) any. */
unsigned fake_hdfs_count(struct fake_hdfs *f, const char *method, const char *path);

/* As CLIENT would: make a file that stays open (CLIENT NULL: a closed one, or a directory
 * where PATH ends in '/'); remove all at and below PATH.  True: there was something. */
void fake_hdfs_make(struct fake_hdfs *f, const char *path, const char *client);
bool fake_hdfs_remove(struct fake_hdfs *f, const char *path);
bool fake_hdfs_has(struct fake_hdfs *f, const char *path, bool *ret_open);

/* The same in MEDDLE, with the lock. */
struct fake_file *fake_hdfs_find(struct fake_hdfs *f, const char *path);
bool fake_hdfs_drop(struct fake_hdfs *f, const char *path);

struct fake_reply fake_exception(const char *class, const char *text);
/* BoolResponse */
struct fake_reply fake_yes(bool yes);

#endif
