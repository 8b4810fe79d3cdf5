/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * types.h - what HDFS talks about, as plain structs: blocks, DataNodes, files.
 *
 * No protobuf and no I/O.  What comes from the network is copied into these by
 * namenode.c, which refuses (-EBADMSG) what does not fit; texts always end in NUL.
 *
 * Ownership: a struct with a _done() function owns what its pointers name.  _done()
 * frees that and zeroes the struct; a zeroed one is fine.  The arrays are at most
 * HDFS_*_MAX long.
 */
#ifndef HLFS_HDFS_TYPES_H
#define HLFS_HDFS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of ours: more than a sane cluster has, and no more memory than this. */
#define HDFS_NODES_MAX 512          /* replicas of one block (dfs.replication.max) */
#define HDFS_TOKEN_MAX 65536        /* bytes of one token's identifier or password */

/*
 * Results that are no errno of the kernel: kept inside src/hdfs, above all errnos
 * (4095) so that both fit one int.
 */
#define HDFS_ELEASE 5001            /* the file is not (or no longer) ours to write */
#define HDFS_ETOKEN 5002            /* a block token is not valid (any more) */

struct hdfs_block {
    char pool[128];                 /* block pool id */
    uint64_t id;
    uint64_t generation;            /* generation stamp */
    uint64_t length;                /* bytes that the NameNode knows of */
};

struct hdfs_token {
    uint8_t *id;                    /* owned */
    uint8_t *password;              /* owned; never in a log */
    size_t id_len;
    size_t password_len;
    char kind[64];
    char service[256];
};

enum hdfs_admin_state {             /* values of DatanodeInfoProto.AdminState */
    HDFS_NODE_NORMAL,
    HDFS_NODE_DECOMMISSIONING,
    HDFS_NODE_DECOMMISSIONED,
    HDFS_NODE_ENTERING_MAINTENANCE,
    HDFS_NODE_IN_MAINTENANCE,
};

struct hdfs_datanode {
    char ip[46];
    char host[256];
    char uuid[64];
    char rack[256];                 /* network location, such as /default-rack */
    uint16_t xfer_port;             /* data transfer */
    uint16_t info_port;             /* HTTP; only handed on in messages */
    uint16_t ipc_port;              /* ClientDatanodeProtocol */
    enum hdfs_admin_state admin_state;
    uint64_t capacity;
    uint64_t remaining;
    uint64_t last_update_ms;        /* last heartbeat, the NameNode's wall clock */
};

enum hdfs_storage {                 /* values of StorageTypeProto */
    HDFS_STORAGE_DISK = 1,
    HDFS_STORAGE_SSD = 2,
    HDFS_STORAGE_ARCHIVE = 3,
    HDFS_STORAGE_RAM_DISK = 4,
    HDFS_STORAGE_PROVIDED = 5,
    HDFS_STORAGE_NVDIMM = 6,
};

/* A block with where its replicas are: one NODES, STORAGES, STORAGE_IDS each. */
struct hdfs_located_block {
    struct hdfs_block block;
    uint64_t offset;                /* in the file */
    bool corrupt;                   /* all replicas known are */
    unsigned node_count;
    struct hdfs_datanode *nodes;    /* owned */
    enum hdfs_storage *storages;    /* owned; DISK where the NameNode said nothing */
    char (*storage_ids)[64];        /* owned; "" where the NameNode said nothing */
    struct hdfs_token token;
};

struct hdfs_located_blocks {        /* the answer of getBlockLocations */
    uint64_t length;                /* of the file, without a block being written */
    bool under_construction;
    bool last_complete;
    bool has_last;
    bool erasure_coded;
    bool encrypted;
    struct hdfs_located_block last; /* with HAS_LAST; also when out of the range */
    struct hdfs_located_block *blocks;      /* owned, by growing offset */
    size_t block_count;
};

enum hdfs_kind { HDFS_DIRECTORY = 1, HDFS_FILE = 2, HDFS_SYMLINK = 3 };

struct hdfs_file {
    char *name;                     /* owned; the last component (listing), else "" */
    uint64_t id;                    /* inode, 0 when the server has none */
    enum hdfs_kind kind;
    uint64_t length;
    uint64_t block_size;
    uint64_t mtime_ms;
    uint32_t replication;           /* 0: directory */
    uint16_t mode;                  /* 07777 */
    bool erasure_coded;
    bool encrypted;
    char owner[128];
    char group[128];
    char ec_policy[64];
};

struct hdfs_listing {
    struct hdfs_file *files;        /* owned */
    size_t file_count;
    uint64_t remaining;             /* entries after these */
};

struct hdfs_datanodes {
    struct hdfs_datanode *nodes;    /* owned */
    size_t node_count;
};

enum hdfs_checksum {                /* values of ChecksumTypeProto */
    HDFS_CHECKSUM_NULL = 0,
    HDFS_CHECKSUM_CRC32 = 1,
    HDFS_CHECKSUM_CRC32C = 2,
};

struct hdfs_server_defaults {
    uint64_t block_size;
    uint32_t bytes_per_checksum;
    uint32_t write_packet_size;
    uint32_t replication;
    uint32_t file_buffer_size;
    bool encrypt_data_transfer;
    uint64_t trash_interval_min;    /* 0: no trash */
    enum hdfs_checksum checksum;
};

struct hdfs_fs_stats {
    uint64_t capacity;
    uint64_t used;
    uint64_t remaining;
    uint64_t under_replicated;
    uint64_t corrupt_blocks;
    uint64_t missing_blocks;
};

struct hdfs_summary {               /* getContentSummary: the quota that counts */
    uint64_t length;
    uint64_t file_count;
    uint64_t directory_count;
    int64_t quota;                  /* names; -1: none */
    uint64_t space_consumed;
    int64_t space_quota;            /* bytes, times replication; -1: none */
};

void hdfs_token_done(struct hdfs_token *t);
void hdfs_located_block_done(struct hdfs_located_block *b);
void hdfs_located_blocks_done(struct hdfs_located_blocks *b);
void hdfs_file_done(struct hdfs_file *f);
void hdfs_listing_done(struct hdfs_listing *l);
void hdfs_datanodes_done(struct hdfs_datanodes *d);

/* A deep copy into *RET, which had nothing.  -ENOMEM */
int hdfs_token_copy(const struct hdfs_token *t, struct hdfs_token *ret);
int hdfs_located_block_copy(const struct hdfs_located_block *b,
                            struct hdfs_located_block *ret);

#endif
