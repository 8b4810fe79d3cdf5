/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake-datanode.h - a DataNode on loopback, as good or bad as a test likes.
 *
 * A thread for each connection.  Reads give bytes that follow from their offset; writes
 * are kept.  What it does wrong is set by the test beforehand, or while it runs.
 */
#ifndef HLFS_TESTS_FAKE_DATANODE_H
#define HLFS_TESTS_FAKE_DATANODE_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hdfs/types.h"

enum fake_read {
    READ_WELL,
    READ_CORRUPT,           /* a byte is wrong */
    READ_SHORT,             /* the last packet comes early */
    READ_OFFSET_WRONG,      /* of a packet */
    READ_TOO_MUCH,          /* a packet more than asked for */
    READ_ERROR,             /* the answer says so */
    READ_TOKEN,             /* the same: the token has expired */
    READ_SILENT,
    READ_HANG_UP,           /* after the request */
    READ_HALF,              /* hang up in the middle of the data */
    READ_GARBAGE,           /* instead of an answer */
    READ_DRIP,              /* a byte at a time */
};

enum fake_write {
    WRITE_WELL,
    WRITE_REFUSE,           /* the answer blames node 1 */
    WRITE_SILENT,           /* no answer */
    WRITE_ACK_ERROR,        /* of node 1, for packet 2 */
    WRITE_ACK_SEQNO,        /* a wrong one, for packet 2 */
    WRITE_ACK_FEWER,        /* nodes */
    WRITE_ACK_EARLY,        /* of a packet that was not sent */
    WRITE_ACK_NEVER,        /* from packet 2 on */
    WRITE_HANG_UP,          /* at packet 2 */
    WRITE_GARBAGE,          /* instead of the ack of packet 2 */
};

#define FAKE_CONNS_MAX 256

struct fake_datanode {
    uint16_t port;
    _Atomic int read;           /* enum fake_read */
    _Atomic int write;          /* enum fake_write */
    _Atomic unsigned delay_us;  /* before an answer */
    _Atomic unsigned reads_per_connection;      /* then hang up; 0: no limit */
    _Atomic unsigned packet_bytes;              /* of reads; 0: 64 KiB */
    _Atomic int checksum;       /* enum hdfs_checksum, of reads */
    uint8_t mask;               /* xor of all bytes of both directions: see the layer */

    /* what was seen */
    _Atomic unsigned connections, reads, statuses, packets, syncs, heartbeats, ended;
    _Atomic uint64_t written;   /* bytes */
    _Atomic bool wrong;         /* the client broke a rule of the protocol */

    int listener;
    int fds[FAKE_CONNS_MAX];
    struct fake_conn *conns[FAKE_CONNS_MAX];
    void *thread;
};

/* Byte AT of what is read. */
static inline uint8_t fake_byte(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 9));
}

struct fake_datanode *fake_datanode_new(void);
void fake_datanode_free(struct fake_datanode *f);

/* A block on COUNT fake DataNodes. */
void fake_block(struct hdfs_located_block *b, struct fake_datanode **f, unsigned count);
void fake_block_done(struct hdfs_located_block *b);

/* COUNT of them, and a block on all. */
void fake_nodes_new(struct fake_datanode **f, unsigned count,
                    struct hdfs_located_block *ret_block);
/* False: the client broke a rule with one of them. */
bool fake_nodes_free(struct fake_datanode **f, unsigned count,
                     struct hdfs_located_block *block);

/* Wait for EVENTS posts of SEM, at most SECONDS: did they come? */
bool fake_wait(sem_t *sem, unsigned events, unsigned seconds);

#endif
