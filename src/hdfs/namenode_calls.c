/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls of ClientProtocol: from arguments to messages.
 */
#include "hdfs/namenode_private.h"

#include <errno.h>
#include <string.h>

#include "namenode.pb-c.h"

/* protobuf-c's structs have no const; packing changes nothing. */
static char *text(const char *s)
{
    return (char *)s;
}

static Pb__Block *block_fill(const struct hdfs_block *b, Pb__Block *ret)
{
    pb__block__init(ret);
    ret->pool = text(b->pool);
    ret->id = b->id;
    ret->generation = b->generation;
    ret->has_length = true;
    ret->length = b->length;
    return ret;
}

struct node_message {
    Pb__Datanode node;
    Pb__DatanodeId id;
};

/* What a NameNode needs to know again which one it is. */
static Pb__Datanode *node_fill(const struct hdfs_datanode *n, struct node_message *ret)
{
    pb__datanode__init(&ret->node);
    pb__datanode_id__init(&ret->id);
    ret->id.ip = text(n->ip);
    ret->id.host = text(n->host);
    ret->id.uuid = text(n->uuid);
    ret->id.xfer_port = n->xfer_port;
    ret->id.info_port = n->info_port;
    ret->id.ipc_port = n->ipc_port;
    ret->node.id = &ret->id;
    ret->node.rack = n->rack[0] ? text(n->rack) : NULL;
    return &ret->node;
}

/* An array of messages and the array of pointers to them, in one piece; NULL: no
 * memory, or there are none. */
static Pb__Datanode **nodes_fill(const struct hdfs_datanode *nodes, size_t n)
{
    Pb__Datanode **list = NULL;
    struct node_message *m;

    if (n > 0 && n <= HDFS_NODES_MAX) {
        list = malloc(n * (sizeof(*list) + sizeof(*m)));
    }
    if (list) {
        m = (struct node_message *)(list + n);
        for (size_t i = 0; i < n; i++) {
            list[i] = node_fill(&nodes[i], &m[i]);
        }
    }
    return list;
}

static void start_path(struct namenode *nn, struct namenode_call *c, const char *method,
                       const char *path, namenode_parse *parse)
{
    Pb__PathRequest q = PB__PATH_REQUEST__INIT;

    q.path = text(path);
    namenode_start(nn, c, method, &q.base, parse);
}

static void start_empty(struct namenode *nn, struct namenode_call *c,
                        const char *method, namenode_parse *parse)
{
    Pb__EmptyRequest q = PB__EMPTY_REQUEST__INIT;

    namenode_start(nn, c, method, &q.base, parse);
}

/* ---- Files being written ------------------------------------------------- */

/* The NameNode applies no umask; "unmasked" counts where a default ACL is inherited. */
void namenode_create(struct namenode *nn, struct namenode_call *c,
                     const struct namenode_create *p)
{
    Pb__CreateRequest q = PB__CREATE_REQUEST__INIT;
    Pb__Permission mode = PB__PERMISSION__INIT;

    mode.mode = p->mode;
    q.path = text(p->path);
    q.masked = q.unmasked = &mode;
    q.client = text(namenode_client_name(nn));
    q.flags = p->flags;
    q.create_parent = p->create_parent;
    q.replication = p->replication;
    q.block_size = p->block_size;
    namenode_start(nn, c, "create", &q.base, namenode_parse_created);
}

void namenode_add_block(struct namenode *nn, struct namenode_call *c, const char *path,
                        uint64_t file_id, const struct hdfs_block *previous,
                        const struct hdfs_datanode *excludes, size_t exclude_count)
{
    Pb__AddBlockRequest q = PB__ADD_BLOCK_REQUEST__INIT;
    Pb__Block block;

    q.path = text(path);
    q.client = text(namenode_client_name(nn));
    q.previous = previous ? block_fill(previous, &block) : NULL;
    q.has_file_id = true;
    q.file_id = file_id;
    /* Without memory for the list the NameNode chooses freely: worse, but no error. */
    q.excludes = nodes_fill(excludes, exclude_count);
    q.n_excludes = q.excludes ? exclude_count : 0;
    namenode_start(nn, c, "addBlock", &q.base, namenode_parse_block);
    free(q.excludes);
}

void namenode_abandon_block(struct namenode *nn, struct namenode_call *c,
                            const char *path, uint64_t file_id,
                            const struct hdfs_block *block)
{
    Pb__AbandonBlockRequest q = PB__ABANDON_BLOCK_REQUEST__INIT;
    Pb__Block b;

    q.block = block_fill(block, &b);
    q.path = text(path);
    q.client = text(namenode_client_name(nn));
    q.has_file_id = true;
    q.file_id = file_id;
    namenode_start(nn, c, "abandonBlock", &q.base, namenode_parse_empty);
}

void namenode_complete(struct namenode *nn, struct namenode_call *c, const char *path,
                       uint64_t file_id, const struct hdfs_block *last)
{
    Pb__CompleteRequest q = PB__COMPLETE_REQUEST__INIT;
    Pb__Block block;

    q.path = text(path);
    q.client = text(namenode_client_name(nn));
    q.last = last ? block_fill(last, &block) : NULL;
    q.has_file_id = true;
    q.file_id = file_id;
    namenode_start(nn, c, "complete", &q.base, namenode_parse_bool);
}

void namenode_fsync(struct namenode *nn, struct namenode_call *c, const char *path,
                    uint64_t file_id, uint64_t length)
{
    Pb__FsyncRequest q = PB__FSYNC_REQUEST__INIT;

    q.path = text(path);
    q.client = text(namenode_client_name(nn));
    q.has_last_length = true;
    q.last_length = (int64_t)length;
    q.has_file_id = true;
    q.file_id = file_id;
    namenode_start(nn, c, "fsync", &q.base, namenode_parse_empty);
}

void namenode_renew_lease(struct namenode *nn, struct namenode_call *c)
{
    Pb__RenewLeaseRequest q = PB__RENEW_LEASE_REQUEST__INIT;

    q.client = text(namenode_client_name(nn));
    namenode_start(nn, c, "renewLease", &q.base, namenode_parse_empty);
}

void namenode_recover_lease(struct namenode *nn, struct namenode_call *c,
                            const char *path)
{
    Pb__RecoverLeaseRequest q = PB__RECOVER_LEASE_REQUEST__INIT;

    q.path = text(path);
    q.client = text(namenode_client_name(nn));
    namenode_start(nn, c, "recoverLease", &q.base, namenode_parse_bool);
}

void namenode_is_file_closed(struct namenode *nn, struct namenode_call *c,
                             const char *path)
{
    start_path(nn, c, "isFileClosed", path, namenode_parse_bool);
}

/* ---- The name space ------------------------------------------------------ */

/* Java's long is signed. */
void namenode_get_block_locations(struct namenode *nn, struct namenode_call *c,
                                  const char *path, uint64_t offset, uint64_t length)
{
    Pb__BlockLocationsRequest q = PB__BLOCK_LOCATIONS_REQUEST__INIT;

    q.path = text(path);
    q.offset = MIN(offset, (uint64_t)INT64_MAX);
    q.length = MIN(length, (uint64_t)INT64_MAX - q.offset);
    namenode_start(nn, c, "getBlockLocations", &q.base, namenode_parse_blocks);
}

void namenode_get_file_info(struct namenode *nn, struct namenode_call *c,
                            const char *path)
{
    start_path(nn, c, "getFileInfo", path, namenode_parse_file);
}

void namenode_get_file_link_info(struct namenode *nn, struct namenode_call *c,
                                 const char *path)
{
    start_path(nn, c, "getFileLinkInfo", path, namenode_parse_file);
}

void namenode_get_listing(struct namenode *nn, struct namenode_call *c,
                          const char *path, const char *start_after)
{
    Pb__ListingRequest q = PB__LISTING_REQUEST__INIT;

    q.path = text(path);
    q.start_after.data = (uint8_t *)text(start_after ? start_after : "");
    q.start_after.len = start_after ? strlen(start_after) : 0;
    namenode_start(nn, c, "getListing", &q.base, namenode_parse_listing);
}

void namenode_delete(struct namenode *nn, struct namenode_call *c, const char *path,
                     bool recursive)
{
    Pb__DeleteRequest q = PB__DELETE_REQUEST__INIT;

    q.path = text(path);
    q.recursive = recursive;
    namenode_start(nn, c, "delete", &q.base, namenode_parse_bool);
}

void namenode_rename2(struct namenode *nn, struct namenode_call *c, const char *from,
                      const char *to, bool overwrite)
{
    Pb__Rename2Request q = PB__RENAME2_REQUEST__INIT;

    q.from = text(from);
    q.to = text(to);
    q.overwrite = overwrite;
    namenode_start(nn, c, "rename2", &q.base, namenode_parse_empty);
}

void namenode_mkdirs(struct namenode *nn, struct namenode_call *c, const char *path,
                     uint16_t mode, bool parents)
{
    Pb__MkdirsRequest q = PB__MKDIRS_REQUEST__INIT;
    Pb__Permission permission = PB__PERMISSION__INIT;

    permission.mode = mode;
    q.path = text(path);
    q.masked = q.unmasked = &permission;
    q.create_parent = parents;
    namenode_start(nn, c, "mkdirs", &q.base, namenode_parse_mkdirs);
}

void namenode_set_permission(struct namenode *nn, struct namenode_call *c,
                             const char *path, uint16_t mode)
{
    Pb__SetPermissionRequest q = PB__SET_PERMISSION_REQUEST__INIT;
    Pb__Permission permission = PB__PERMISSION__INIT;

    permission.mode = mode;
    q.path = text(path);
    q.permission = &permission;
    namenode_start(nn, c, "setPermission", &q.base, namenode_parse_empty);
}

void namenode_set_owner(struct namenode *nn, struct namenode_call *c, const char *path,
                        const char *owner, const char *group)
{
    Pb__SetOwnerRequest q = PB__SET_OWNER_REQUEST__INIT;

    q.path = text(path);
    q.owner = text(owner);
    q.group = text(group);
    namenode_start(nn, c, "setOwner", &q.base, namenode_parse_empty);
}

void namenode_set_replication(struct namenode *nn, struct namenode_call *c,
                              const char *path, uint32_t replication)
{
    Pb__SetReplicationRequest q = PB__SET_REPLICATION_REQUEST__INIT;

    q.path = text(path);
    q.replication = replication;
    namenode_start(nn, c, "setReplication", &q.base, namenode_parse_bool);
}

void namenode_get_content_summary(struct namenode *nn, struct namenode_call *c,
                                  const char *path)
{
    start_path(nn, c, "getContentSummary", path, namenode_parse_summary);
}

void namenode_get_quota_usage(struct namenode *nn, struct namenode_call *c,
                              const char *path)
{
    start_path(nn, c, "getQuotaUsage", path, namenode_parse_usage);
}

/* ---- The cluster --------------------------------------------------------- */

void namenode_get_server_defaults(struct namenode *nn, struct namenode_call *c)
{
    start_empty(nn, c, "getServerDefaults", namenode_parse_defaults);
}

void namenode_get_datanode_report(struct namenode *nn, struct namenode_call *c,
                                  enum namenode_report which)
{
    Pb__DatanodeReportRequest q = PB__DATANODE_REPORT_REQUEST__INIT;

    q.which = (int32_t)which;
    namenode_start(nn, c, "getDatanodeReport", &q.base, namenode_parse_datanodes);
}

void namenode_get_fs_stats(struct namenode *nn, struct namenode_call *c)
{
    start_empty(nn, c, "getFsStats", namenode_parse_stats);
}

static void token_fill(const struct hdfs_token *t, Pb__Token *ret)
{
    pb__token__init(ret);
    ret->id = (ProtobufCBinaryData){ t->id_len, t->id };
    ret->password = (ProtobufCBinaryData){ t->password_len, t->password };
    ret->kind = text(t->kind);
    ret->service = text(t->service);
}

void namenode_report_bad_blocks(struct namenode *nn, struct namenode_call *c,
                                const struct hdfs_located_block *b)
{
    Pb__ReportBadBlocksRequest q = PB__REPORT_BAD_BLOCKS_REQUEST__INIT;
    Pb__LocatedBlock located = PB__LOCATED_BLOCK__INIT, *list[1] = { &located };
    int32_t types[HDFS_NODES_MAX];
    char *ids[HDFS_NODES_MAX];
    Pb__Block block;
    Pb__Token token;
    unsigned n = MIN(b->node_count, (unsigned)HDFS_NODES_MAX);

    for (unsigned i = 0; i < n; i++) {
        types[i] = (int32_t)b->storages[i];
        ids[i] = b->storage_ids[i];
    }
    token_fill(&b->token, &token);
    located.block = block_fill(&b->block, &block);
    located.offset = b->offset;
    located.corrupt = true;
    located.token = &token;
    located.locs = nodes_fill(b->nodes, n);
    if (located.locs) {
        located.n_locs = located.n_storage_types = located.n_storage_ids = n;
        located.storage_types = types;
        located.storage_ids = ids;
    }
    q.blocks = list;
    q.n_blocks = 1;
    namenode_start(nn, c, "reportBadBlocks", &q.base, namenode_parse_empty);
    free(located.locs);
}
