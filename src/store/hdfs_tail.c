/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the newest segment is, and whether it has as many replicas as it should: for
 * hlfs info.  A writer notes it as it goes (hdfs_file.c); who only reads looks once, when
 * it opens the store.
 */
#include "store/hdfs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define MORE " ..."

/* ---- The text ------------------------------------------------------------------ */

static int node_text(const struct hdfs_datanode *n, char *buf, size_t size)
{
    const char *host = n->host[0] ? n->host : n->ip;
    bool bracketed = strchr(host, ':') != NULL;

    return snprintf(buf, size, "%s%s%s:%u", bracketed ? "[" : "", host,
                    bracketed ? "]" : "", n->xfer_port);
}

static void tail_format(const struct hdfs_located_block *b, char text[STORE_TAIL_BYTES])
{
    char node[sizeof(b->nodes->host) + 16];
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < b->node_count; i++) {
        size_t len = (size_t)node_text(&b->nodes[i], node, sizeof(node));

        if (used + 1 + len + strlen(MORE) >= STORE_TAIL_BYTES) {
            memcpy(text + used, MORE, sizeof(MORE));
            return;
        }
        used += (size_t)snprintf(text + used, STORE_TAIL_BYTES - used, "%s%s",
                                 used ? " " : "", node);
    }
}

void hdfs_tail_set(struct hdfs_store *s, const struct hdfs_located_block *b)
{
    char text[STORE_TAIL_BYTES];

    tail_format(b, text);
    (void)pthread_mutex_lock(&s->tail_lock);
    memcpy(s->tail, text, sizeof(text));
    (void)pthread_mutex_unlock(&s->tail_lock);
}

void hdfs_tail_get(struct hdfs_store *s, char text[STORE_TAIL_BYTES])
{
    (void)pthread_mutex_lock(&s->tail_lock);
    memcpy(text, s->tail, STORE_TAIL_BYTES);
    (void)pthread_mutex_unlock(&s->tail_lock);
}

/* ---- For who only reads -------------------------------------------------------- */

/* A segment made ahead has none, and of one that is being written the NameNode does not
 * know.  One that cannot be read counts as the tail. */
static bool has_bytes(struct hdfs_store *s, uint64_t file)
{
    struct store_lane *lane = hdfs_lane_new(&s->store);
    char buf[512];
    int64_t res = -ENOMEM;

    if (lane) {
        res = store_pread_now(lane, file, 0, buf, sizeof(buf));
        hdfs_lane_free(lane);
    }
    return res != 0 && res != -ENOENT;
}

/* Note what is said of FILE, which need not be there; IS_TAIL: its nodes, too. */
static int look_at(struct hdfs_store *s, uint64_t file, bool is_tail)
{
    char path[HDFS_PATH_BYTES];
    struct hdfs_op op = { .what = HDFS_LOCATE, .path = path, .length = INT64_MAX };
    const struct hdfs_located_blocks *b = &op.call.u.blocks;
    struct hdfs_file f = { 0 };
    uint32_t replication;
    int res;

    hdfs_file_path(s, file, path);
    res = hdfs_stat_path(s, path, &f);
    replication = f.replication;
    if (res == 0) {
        hdfs_file_done(&f);
        res = hdfs_do(s->client, &op);
    }
    if (res < 0) {
        return res == -ENOENT ? 0 : res;
    }
    if (b->has_last && b->last.node_count < replication) {
        atomic_store(&s->degraded, true);
    }
    if (b->has_last && is_tail) {
        hdfs_tail_set(s, &b->last);
    }
    hdfs_located_blocks_done(&op.call.u.blocks);
    return 0;
}

int hdfs_tail_look(struct hdfs_store *s)
{
    uint64_t highest;
    bool ahead;
    int res = hdfs_highest(&s->store, 0, &highest);

    if (res < 0) {
        return res == -ENOENT ? 0 : res;
    }
    ahead = highest > 1 && !has_bytes(s, highest);
    res = look_at(s, highest, !ahead);
    if (res == 0 && ahead) {
        res = look_at(s, highest - 1, true);
    }
    return res;
}
