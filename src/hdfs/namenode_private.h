/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * namenode_private.h - between namenode.c (which NameNode, when), namenode_calls.c
 * (what is asked) and namenode_parse.c (what is answered).
 */
#ifndef HLFS_HDFS_NAMENODE_PRIVATE_H
#define HLFS_HDFS_NAMENODE_PRIVATE_H

#include "hdfs.pb-c.h"
#include "hdfs/namenode.h"

typedef int namenode_parse(struct namenode_call *c, const uint8_t *body, size_t len);

/* REQUEST is borrowed; PARSE gives 0 or -errno, and says why in c->message. */
void namenode_start(struct namenode *nn, struct namenode_call *c, const char *method,
                    const ProtobufCMessage *request, namenode_parse *parse);

/* One for each result; an answer that does not fit is -EBADMSG, and leaves nothing. */
namenode_parse namenode_parse_empty, namenode_parse_bool, namenode_parse_created,
    namenode_parse_file, namenode_parse_block, namenode_parse_blocks,
    namenode_parse_listing, namenode_parse_datanodes, namenode_parse_defaults,
    namenode_parse_stats, namenode_parse_summary, namenode_parse_usage,
    namenode_parse_mkdirs;

#endif
