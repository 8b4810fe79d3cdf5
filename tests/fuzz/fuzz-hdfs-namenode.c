/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as the answer to each call of ClientProtocol: -EBADMSG and nothing owned, or
 * a result within bounds.  The first byte says which call.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "hdfs/namenode_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size)
{
    assert(memchr(text, '\0', size));
}

static void check_node(const struct hdfs_datanode *n)
{
    check_text(n->ip, sizeof(n->ip));
    check_text(n->host, sizeof(n->host));
    check_text(n->uuid, sizeof(n->uuid));
    check_text(n->rack, sizeof(n->rack));
    assert(n->admin_state >= HDFS_NODE_NORMAL &&
           n->admin_state <= HDFS_NODE_IN_MAINTENANCE);
}

static void check_block(const struct hdfs_located_block *b)
{
    check_text(b->block.pool, sizeof(b->block.pool));
    assert(b->node_count <= HDFS_NODES_MAX);
    assert(b->offset + b->block.length <= INT64_MAX);
    assert(b->token.id_len <= HDFS_TOKEN_MAX && b->token.id && b->token.password);
    for (unsigned i = 0; i < b->node_count; i++) {
        check_node(&b->nodes[i]);
        assert(b->storages[i] >= HDFS_STORAGE_DISK &&
               b->storages[i] <= HDFS_STORAGE_NVDIMM);
        check_text(b->storage_ids[i], sizeof(b->storage_ids[i]));
    }
}

static void check_located(struct namenode_call *c)
{
    struct hdfs_located_block copy;

    check_block(&c->u.block);
    assert(hdfs_located_block_copy(&c->u.block, &copy) == 0);
    check_block(&copy);
    hdfs_located_block_done(&copy);
    hdfs_located_block_done(&c->u.block);
}

static void check_blocks(struct namenode_call *c)
{
    struct hdfs_located_blocks *b = &c->u.blocks;

    for (size_t i = 0; i < b->block_count; i++) {
        check_block(&b->blocks[i]);
        assert(i == 0 || b->blocks[i].offset >= b->blocks[i - 1].offset +
               b->blocks[i - 1].block.length);
    }
    if (b->has_last) {
        check_block(&b->last);
    }
    hdfs_located_blocks_done(b);
}

static void check_file(struct namenode_call *c)
{
    assert(c->u.file.name && !strchr(c->u.file.name, '/'));
    assert(c->u.file.length <= INT64_MAX && c->u.file.mode <= 07777);
    hdfs_file_done(&c->u.file);
}

static void check_listing(struct namenode_call *c)
{
    for (size_t i = 0; i < c->u.listing.file_count; i++) {
        assert(!strchr(c->u.listing.files[i].name, '/'));
    }
    hdfs_listing_done(&c->u.listing);
}

static void check_nodes(struct namenode_call *c)
{
    for (size_t i = 0; i < c->u.datanodes.node_count; i++) {
        check_node(&c->u.datanodes.nodes[i]);
    }
    hdfs_datanodes_done(&c->u.datanodes);
}

static void check_defaults(struct namenode_call *c)
{
    assert(c->u.defaults.bytes_per_checksum > 0);
}

static void check_nothing(struct namenode_call *c)
{
}

static const struct {
    namenode_parse *parse;
    void (*check)(struct namenode_call *c);
} answers[] = {
    { namenode_parse_empty, check_nothing },
    { namenode_parse_bool, check_nothing },
    { namenode_parse_mkdirs, check_nothing },
    { namenode_parse_created, check_file },
    { namenode_parse_file, check_file },
    { namenode_parse_block, check_located },
    { namenode_parse_blocks, check_blocks },
    { namenode_parse_listing, check_listing },
    { namenode_parse_datanodes, check_nodes },
    { namenode_parse_defaults, check_defaults },
    { namenode_parse_stats, check_nothing },
    { namenode_parse_summary, check_nothing },
    { namenode_parse_usage, check_nothing },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct namenode_call c = { 0 };
    size_t i;
    int r;

    if (size < 1) {
        return 0;
    }
    i = data[0] % ARRAY_SIZE(answers);
    r = answers[i].parse(&c, data + 1, size - 1);
    if (r == 0) {
        answers[i].check(&c);
    } else {
        assert(r == -EBADMSG || r == -ENOENT || r == -EIO);
    }
    return 0;
}
