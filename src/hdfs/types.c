/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void hdfs_token_done(struct hdfs_token *t)
{
    free(t->id);
    if (t->password) {
        explicit_bzero(t->password, t->password_len);
    }
    free(t->password);
    memset(t, 0, sizeof(*t));
}

void hdfs_located_block_done(struct hdfs_located_block *b)
{
    free(b->nodes);
    free(b->storages);
    free(b->storage_ids);
    hdfs_token_done(&b->token);
    memset(b, 0, sizeof(*b));
}

void hdfs_located_blocks_done(struct hdfs_located_blocks *b)
{
    for (size_t i = 0; i < b->block_count; i++) {
        hdfs_located_block_done(&b->blocks[i]);
    }
    free(b->blocks);
    hdfs_located_block_done(&b->last);
    memset(b, 0, sizeof(*b));
}

void hdfs_file_done(struct hdfs_file *f)
{
    free(f->name);
    memset(f, 0, sizeof(*f));
}

void hdfs_listing_done(struct hdfs_listing *l)
{
    for (size_t i = 0; i < l->file_count; i++) {
        hdfs_file_done(&l->files[i]);
    }
    free(l->files);
    memset(l, 0, sizeof(*l));
}

void hdfs_datanodes_done(struct hdfs_datanodes *d)
{
    free(d->nodes);
    memset(d, 0, sizeof(*d));
}

/* A copy of LEN bytes that is never NULL when there is memory. */
static void *copy(const void *p, size_t len)
{
    void *c = malloc(len + 1);

    if (c && len > 0) {
        memcpy(c, p, len);
    }
    return c;
}

int hdfs_token_copy(const struct hdfs_token *t, struct hdfs_token *ret)
{
    *ret = *t;
    ret->id = copy(t->id, t->id_len);
    ret->password = copy(t->password, t->password_len);
    if (!ret->id || !ret->password) {
        hdfs_token_done(ret);
        return -ENOMEM;
    }
    return 0;
}

int hdfs_located_block_copy(const struct hdfs_located_block *b,
                            struct hdfs_located_block *ret)
{
    unsigned n = b->node_count;

    *ret = *b;
    memset(&ret->token, 0, sizeof(ret->token));
    ret->nodes = copy(b->nodes, n * sizeof(*b->nodes));
    ret->storages = copy(b->storages, n * sizeof(*b->storages));
    ret->storage_ids = copy(b->storage_ids, n * sizeof(*b->storage_ids));
    if (!ret->nodes || !ret->storages || !ret->storage_ids ||
        hdfs_token_copy(&b->token, &ret->token) < 0) {
        hdfs_located_block_done(ret);
        return -ENOMEM;
    }
    return 0;
}
