/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answers of ClientProtocol: from messages to types.h.  All of it comes from the
 * network: what does not fit is -EBADMSG.
 */
#include "hdfs/namenode_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "namenode.pb-c.h"

/* Lengths of files and places in them: Java's long, and no sum of two overflows. */
#define LENGTH_MAX ((uint64_t)INT64_MAX)

/* HdfsFileStatusProto.Flags */
#define FLAG_ENCRYPTED 2u
#define FLAG_ERASURE_CODED 4u

/* Unpack BODY as a PREFIX##Response, and free it at the end of the scope. */
#define UNPACK(prefix, type, var)                                               \
    _cleanup_(free_##prefix) type *var = prefix##__unpack(NULL, len, body)

#define DEFINE_FREE(prefix, type)                                               \
    static void free_##prefix(type **m)                                         \
    {                                                                           \
        if (*m) {                                                               \
            prefix##__free_unpacked(*m, NULL);                                  \
        }                                                                       \
    }

DEFINE_FREE(pb__empty_response, Pb__EmptyResponse)
DEFINE_FREE(pb__bool_response, Pb__BoolResponse)
DEFINE_FREE(pb__file_response, Pb__FileResponse)
DEFINE_FREE(pb__add_block_response, Pb__AddBlockResponse)
DEFINE_FREE(pb__block_locations_response, Pb__BlockLocationsResponse)
DEFINE_FREE(pb__listing_response, Pb__ListingResponse)
DEFINE_FREE(pb__datanode_report_response, Pb__DatanodeReportResponse)
DEFINE_FREE(pb__server_defaults_response, Pb__ServerDefaultsResponse)
DEFINE_FREE(pb__fs_stats_response, Pb__FsStatsResponse)
DEFINE_FREE(pb__summary_response, Pb__SummaryResponse)
DEFINE_FREE(pb__quota_usage_response, Pb__QuotaUsageResponse)

/* ---- Parts --------------------------------------------------------------- */

static int take_text(const char *from, char *to, size_t size)
{
    size_t len = strlen(from);

    if (len >= size) {
        return -EBADMSG;
    }
    memcpy(to, from, len + 1);
    return 0;
}

static int take_port(uint32_t from, uint16_t *to)
{
    *to = (uint16_t)from;
    return from <= UINT16_MAX ? 0 : -EBADMSG;
}

static int take_block(const Pb__Block *m, struct hdfs_block *ret)
{
    ret->id = m->id;
    ret->generation = m->generation;
    ret->length = m->length;
    if (m->length > LENGTH_MAX) {
        return -EBADMSG;
    }
    return take_text(m->pool, ret->pool, sizeof(ret->pool));
}

static int take_bytes(const ProtobufCBinaryData *m, uint8_t **ret, size_t *ret_len)
{
    if (m->len > HDFS_TOKEN_MAX) {
        return -EBADMSG;
    }
    *ret = malloc(m->len + 1);
    if (!*ret) {
        return -ENOMEM;
    }
    if (m->len > 0) {
        memcpy(*ret, m->data, m->len);
    }
    *ret_len = m->len;
    return 0;
}

static int take_token(const Pb__Token *m, struct hdfs_token *ret)
{
    int r = take_bytes(&m->id, &ret->id, &ret->id_len);

    if (r == 0) {
        r = take_bytes(&m->password, &ret->password, &ret->password_len);
    }
    if (r == 0) {
        r = take_text(m->kind, ret->kind, sizeof(ret->kind));
    }
    return r < 0 ? r : take_text(m->service, ret->service, sizeof(ret->service));
}

static int take_node(const Pb__Datanode *m, struct hdfs_datanode *ret)
{
    const Pb__DatanodeId *id = m->id;

    ret->capacity = m->capacity;
    ret->remaining = m->remaining;
    ret->last_update_ms = m->last_update;
    ret->admin_state = HDFS_NODE_NORMAL;
    if (m->admin_state > 0 && m->admin_state <= HDFS_NODE_IN_MAINTENANCE) {
        ret->admin_state = (enum hdfs_admin_state)m->admin_state;
    }
    if (take_text(id->ip, ret->ip, sizeof(ret->ip)) < 0 ||
        take_text(id->host, ret->host, sizeof(ret->host)) < 0 ||
        take_text(id->uuid, ret->uuid, sizeof(ret->uuid)) < 0 ||
        take_text(m->rack ? m->rack : "", ret->rack, sizeof(ret->rack)) < 0 ||
        take_port(id->xfer_port, &ret->xfer_port) < 0 ||
        take_port(id->info_port, &ret->info_port) < 0 ||
        take_port(id->ipc_port, &ret->ipc_port) < 0) {
        return -EBADMSG;
    }
    return 0;
}

/* At least one element, so that NULL is no memory. */
static void *array(size_t n, size_t size)
{
    return calloc(MAX(n, (size_t)1), size);
}

static int take_replicas(const Pb__LocatedBlock *m, struct hdfs_located_block *ret)
{
    size_t n = m->n_locs;

    if (n > HDFS_NODES_MAX) {
        return -EBADMSG;
    }
    ret->nodes = array(n, sizeof(*ret->nodes));
    ret->storages = array(n, sizeof(*ret->storages));
    ret->storage_ids = array(n, sizeof(*ret->storage_ids));
    if (!ret->nodes || !ret->storages || !ret->storage_ids) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t type = i < m->n_storage_types ? m->storage_types[i] : HDFS_STORAGE_DISK;
        const char *id = i < m->n_storage_ids ? m->storage_ids[i] : "";

        /* A kind of storage that came later than this is no reason not to read it. */
        if (type < HDFS_STORAGE_DISK || type > HDFS_STORAGE_NVDIMM) {
            type = HDFS_STORAGE_DISK;
        }
        ret->storages[i] = (enum hdfs_storage)type;
        if (take_node(m->locs[i], &ret->nodes[i]) < 0 ||
            take_text(id, ret->storage_ids[i], sizeof(ret->storage_ids[i])) < 0) {
            return -EBADMSG;
        }
    }
    ret->node_count = (unsigned)n;
    return 0;
}

/* RET is zero before, and has nothing after a failure. */
static int take_located(const Pb__LocatedBlock *m, struct hdfs_located_block *ret)
{
    int r = take_block(m->block, &ret->block);

    ret->offset = m->offset;
    ret->corrupt = m->corrupt;
    if (r == 0 && m->offset > LENGTH_MAX - ret->block.length) {
        r = -EBADMSG;
    }
    if (r == 0) {
        r = take_replicas(m, ret);
    }
    if (r == 0) {
        r = take_token(m->token, &ret->token);
    }
    if (r < 0) {
        hdfs_located_block_done(ret);
    }
    return r;
}

/* A component of a path; "" where it is of the path that was asked for. */
static int take_name(const ProtobufCBinaryData *m, char **ret)
{
    if (m->len > 0 && (memchr(m->data, '/', m->len) || memchr(m->data, '\0', m->len))) {
        return -EBADMSG;
    }
    *ret = malloc(m->len + 1);
    if (!*ret) {
        return -ENOMEM;
    }
    if (m->len > 0) {
        memcpy(*ret, m->data, m->len);
    }
    (*ret)[m->len] = '\0';
    return 0;
}

/* RET is zero before, and has nothing after a failure. */
static int take_file(const Pb__FileStatus *m, struct hdfs_file *ret)
{
    const char *policy = m->ec_policy && m->ec_policy->name ? m->ec_policy->name : "";
    int r;

    if (m->kind < HDFS_DIRECTORY || m->kind > HDFS_SYMLINK || m->length > LENGTH_MAX ||
        m->block_size > LENGTH_MAX ||
        take_text(m->owner, ret->owner, sizeof(ret->owner)) < 0 ||
        take_text(m->group, ret->group, sizeof(ret->group)) < 0 ||
        take_text(policy, ret->ec_policy, sizeof(ret->ec_policy)) < 0) {
        return -EBADMSG;
    }
    ret->id = m->id;
    ret->kind = (enum hdfs_kind)m->kind;
    ret->length = m->length;
    ret->block_size = m->block_size;
    ret->mtime_ms = m->mtime;
    ret->replication = m->replication;
    ret->mode = m->permission->mode & 07777;
    ret->erasure_coded = m->ec_policy || m->flags & FLAG_ERASURE_CODED;
    ret->encrypted = m->encryption || m->flags & FLAG_ENCRYPTED;
    r = take_name(&m->path, &ret->name);
    if (r < 0) {
        hdfs_file_done(ret);
    }
    return r;
}

static int no_such_file(struct namenode_call *c)
{
    (void)snprintf(c->message, sizeof(c->message), "no such file or directory");
    return -ENOENT;
}

/* ---- Answers ------------------------------------------------------------- */

int namenode_parse_empty(struct namenode_call *c _unused_, const uint8_t *body,
                         size_t len)
{
    UNPACK(pb__empty_response, Pb__EmptyResponse, m);

    return m ? 0 : -EBADMSG;
}

int namenode_parse_bool(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__bool_response, Pb__BoolResponse, m);

    if (!m) {
        return -EBADMSG;
    }
    c->u.yes = m->result;
    return 0;
}

/* No NameNode since 2.0 says false where it should throw; one that does is asked no
 * further. */
int namenode_parse_mkdirs(struct namenode_call *c, const uint8_t *body, size_t len)
{
    int r = namenode_parse_bool(c, body, len);

    if (r == 0 && !c->u.yes) {
        (void)snprintf(c->message, sizeof(c->message), "the directory was not made");
        r = -EIO;
    }
    return r;
}

int namenode_parse_file(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__file_response, Pb__FileResponse, m);

    if (!m) {
        return -EBADMSG;
    }
    return m->file ? take_file(m->file, &c->u.file) : no_such_file(c);
}

/* A created file is there. */
int namenode_parse_created(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__file_response, Pb__FileResponse, m);

    return m && m->file ? take_file(m->file, &c->u.file) : -EBADMSG;
}

int namenode_parse_block(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__add_block_response, Pb__AddBlockResponse, m);

    return m ? take_located(m->block, &c->u.block) : -EBADMSG;
}

static int take_blocks(const Pb__LocatedBlocks *m, struct hdfs_located_blocks *ret)
{
    uint64_t end = 0;
    int r = 0;

    ret->length = m->length;
    ret->under_construction = m->under_construction;
    ret->last_complete = m->last_complete;
    ret->erasure_coded = m->ec_policy != NULL;
    ret->encrypted = m->encryption != NULL;
    if (m->length > LENGTH_MAX) {
        return -EBADMSG;
    }
    ret->blocks = array(m->n_blocks, sizeof(*ret->blocks));
    if (!ret->blocks) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < m->n_blocks && r == 0; i++) {
        r = take_located(m->blocks[i], &ret->blocks[i]);
        if (r == 0) {
            ret->block_count++;
            r = ret->blocks[i].offset < end ? -EBADMSG : 0;
            end = ret->blocks[i].offset + ret->blocks[i].block.length;
        }
    }
    if (r == 0 && m->last) {
        r = take_located(m->last, &ret->last);
        ret->has_last = r == 0;
    }
    return r;
}

int namenode_parse_blocks(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__block_locations_response, Pb__BlockLocationsResponse, m);
    int r;

    if (!m) {
        return -EBADMSG;
    }
    if (!m->blocks) {
        return no_such_file(c);
    }
    r = take_blocks(m->blocks, &c->u.blocks);
    if (r < 0) {
        hdfs_located_blocks_done(&c->u.blocks);
    }
    return r;
}

static int take_listing(const Pb__Listing *m, struct hdfs_listing *ret)
{
    int r = 0;

    ret->remaining = m->remaining;
    ret->files = array(m->n_files, sizeof(*ret->files));
    if (!ret->files) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < m->n_files && r == 0; i++) {
        r = take_file(m->files[i], &ret->files[i]);
        ret->file_count += r == 0;
    }
    return r;
}

int namenode_parse_listing(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__listing_response, Pb__ListingResponse, m);
    int r;

    if (!m) {
        return -EBADMSG;
    }
    if (!m->listing) {
        return no_such_file(c);
    }
    r = take_listing(m->listing, &c->u.listing);
    if (r < 0) {
        hdfs_listing_done(&c->u.listing);
    }
    return r;
}

int namenode_parse_datanodes(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__datanode_report_response, Pb__DatanodeReportResponse, m);
    struct hdfs_datanodes *ret = &c->u.datanodes;
    int r = 0;

    if (!m) {
        return -EBADMSG;
    }
    ret->nodes = array(m->n_nodes, sizeof(*ret->nodes));
    if (!ret->nodes) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < m->n_nodes && r == 0; i++) {
        r = take_node(m->nodes[i], &ret->nodes[i]);
        ret->node_count += r == 0;
    }
    if (r < 0) {
        hdfs_datanodes_done(ret);
    }
    return r;
}

int namenode_parse_defaults(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__server_defaults_response, Pb__ServerDefaultsResponse, m);
    struct hdfs_server_defaults *ret = &c->u.defaults;

    if (!m || m->defaults->checksum < HDFS_CHECKSUM_NULL ||
        m->defaults->checksum > HDFS_CHECKSUM_CRC32C) {
        return -EBADMSG;
    }
    ret->block_size = m->defaults->block_size;
    ret->bytes_per_checksum = m->defaults->bytes_per_checksum;
    ret->write_packet_size = m->defaults->write_packet_size;
    ret->replication = m->defaults->replication;
    ret->file_buffer_size = m->defaults->file_buffer_size;
    ret->encrypt_data_transfer = m->defaults->encrypt_data_transfer;
    ret->trash_interval_min = m->defaults->trash_interval;
    ret->checksum = (enum hdfs_checksum)m->defaults->checksum;
    return ret->bytes_per_checksum > 0 && ret->block_size <= LENGTH_MAX ? 0 : -EBADMSG;
}

int namenode_parse_stats(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__fs_stats_response, Pb__FsStatsResponse, m);
    struct hdfs_fs_stats *ret = &c->u.stats;

    if (!m) {
        return -EBADMSG;
    }
    ret->capacity = m->capacity;
    ret->used = m->used;
    ret->remaining = m->remaining;
    ret->under_replicated = m->under_replicated;
    ret->corrupt_blocks = m->corrupt_blocks;
    ret->missing_blocks = m->missing_blocks;
    return 0;
}

int namenode_parse_summary(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__summary_response, Pb__SummaryResponse, m);
    struct hdfs_summary *ret = &c->u.summary;

    if (!m) {
        return -EBADMSG;
    }
    ret->length = m->summary->length;
    ret->file_count = m->summary->files;
    ret->directory_count = m->summary->directories;
    ret->quota = (int64_t)m->summary->quota;
    ret->space_consumed = m->summary->space;
    ret->space_quota = (int64_t)m->summary->space_quota;
    return 0;
}

/* It counts files and directories together. */
int namenode_parse_usage(struct namenode_call *c, const uint8_t *body, size_t len)
{
    UNPACK(pb__quota_usage_response, Pb__QuotaUsageResponse, m);
    struct hdfs_summary *ret = &c->u.summary;

    if (!m) {
        return -EBADMSG;
    }
    ret->file_count = m->usage->names;
    ret->quota = (int64_t)m->usage->quota;
    ret->space_consumed = m->usage->space;
    ret->space_quota = (int64_t)m->usage->space_quota;
    return 0;
}
