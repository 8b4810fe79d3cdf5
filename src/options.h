/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options.h - the options of open and create, typed: the public struct hlfs_options.
 *
 * One table in options.c has a row per option: its name, how its text is read, what
 * is allowed.  Everything that takes options goes through it, so that C, hlfs(1),
 * nbdkit and QEMU know the same names and values.  Knows neither volume nor store:
 * whether a store has the level asked for, say, is found by who opens it.
 *
 * Used by hlfs.c and volume/.  A struct hlfs_options belongs to its caller, one
 * thread at a time; an open volume keeps its own copy.  Errors are -errno with a
 * sentence that names the option, the value and what is allowed.
 */
#ifndef HLFS_OPTIONS_H
#define HLFS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "hlfs.h"

enum durability {
    DURABILITY_STRONGEST,       /* of the store; not a value of the option */
    DURABILITY_LOCAL,
    DURABILITY_HFLUSH,
    DURABILITY_HSYNC,
};

enum compression { COMPRESSION_NONE };

enum unreachable_mode {
    UNREACHABLE_WAIT_TIME,      /* timeout_us, then an error */
    UNREACHABLE_WAIT,           /* for ever */
    UNREACHABLE_ERROR,          /* at once */
};

struct hlfs_options {
    struct log_hook log;

    /* open */
    enum durability durability;
    uint64_t cache_bytes;       /* map pages and layers in memory */
    uint64_t dirty_bytes;       /* data not yet durable */
    struct {
        enum unreachable_mode mode;
        uint64_t timeout_us;    /* of UNREACHABLE_WAIT_TIME, else 0 */
        bool given;             /* else opening waits for less than that */
    } unreachable;
    struct {
        uint64_t wait_us;       /* 0: an error at once */
    } full;
    uint64_t ack_timeout_us;
    uint32_t min_replicas;      /* 0: min(2, replication) */
    char *user;                 /* owned; NULL: HADOOP_USER_NAME, or the OS user */
    char *hadoop_conf;          /* owned; NULL: HADOOP_CONF_DIR, or /etc/hadoop/conf */
    bool control;
    bool force;
    bool network_fs;
    bool cache_shared;

    /* create */
    uint32_t block_bytes;
    uint64_t segment_bytes;     /* 0: by the volume's size */
    enum compression compression;
    uint32_t replication;       /* 0: the cluster's */
    uint64_t keep_us;
    uint32_t mode;              /* the most permission its files may have */
    char *clonable_by;          /* owned; a group, or NULL */
};

/* All defaults. */
void options_init(struct hlfs_options *o);

/* Free the strings; all defaults afterwards. */
void options_done(struct hlfs_options *o);

/* DST (not initialised before) becomes a copy of SRC, or, where SRC is NULL, all
 * defaults.  -ENOMEM leaves DST at its defaults. */
int options_copy(struct hlfs_options *dst, const struct hlfs_options *src);

/* How long to wait for a store that stays away; "for ever" still adds to a clock. */
uint64_t options_unreachable_us(const struct hlfs_options *o);

/* "local", "hflush" or "hsync"; "strongest" for the default. */
const char *durability_name(enum durability d);

#endif
