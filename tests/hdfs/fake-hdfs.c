/* SPDX-License-Identifier: LGPL-2.1-or-later */
#undef NDEBUG
#include "fake-hdfs.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "namenode.pb-c.h"

/* ---- Answers ------------------------------------------------------------------- */

struct fake_reply fake_exception(const char *class, const char *text)
{
    return (struct fake_reply){ .what = FAKE_EXCEPTION, .class = class, .body = text };
}

struct fake_reply fake_yes(bool yes)
{
    return (struct fake_reply){
        .what = FAKE_ANSWER, .body = yes ? "\x08\x01" : "\x08\x00", .len = 2,
    };
}

static struct fake_reply nothing(void)
{
    return (struct fake_reply){ .what = FAKE_ANSWER, .body = "" };
}

static struct fake_reply not_found(void)
{
    return fake_exception("java.io.FileNotFoundException", "File does not exist");
}

static struct fake_reply message(struct fake_hdfs *f, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);

    assert(len <= sizeof(f->answer));
    (void)protobuf_c_message_pack(m, f->answer);
    return (struct fake_reply){ .what = FAKE_ANSWER, .body = f->answer, .len = len };
}

/* ---- Names --------------------------------------------------------------------- */

struct fake_file *fake_hdfs_find(struct fake_hdfs *f, const char *path)
{
    for (unsigned i = 0; i < f->file_count; i++) {
        if (strcmp(f->files[i].path, path) == 0) {
            return &f->files[i];
        }
    }
    return NULL;
}

bool fake_hdfs_drop(struct fake_hdfs *f, const char *path)
{
    size_t len = strlen(path);
    unsigned kept = 0, count = f->file_count;

    for (unsigned i = 0; i < count; i++) {
        const char *p = f->files[i].path;

        if (strncmp(p, path, len) != 0 || (p[len] != '\0' && p[len] != '/')) {
            f->files[kept++] = f->files[i];
        }
    }
    f->file_count = kept;
    return kept < count;
}

static struct fake_file *add(struct fake_hdfs *f, const char *path, bool dir)
{
    struct fake_file *e = &f->files[f->file_count++];

    assert(f->file_count <= FAKE_FILES_MAX && strlen(path) < sizeof(e->path));
    *e = (struct fake_file){ .dir = dir, .id = f->next_id++ };
    (void)snprintf(e->path, sizeof(e->path), "%s", path);
    return e;
}

static bool has_parent(struct fake_hdfs *f, const char *path)
{
    char dir[256];

    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
    return dir[0] == '\0' || fake_hdfs_find(f, dir);
}

static void fill(const struct fake_file *e, Pb__Permission *mode, Pb__FileStatus *ret)
{
    const char *name = strrchr(e->path, '/') + 1;

    pb__permission__init(mode);
    pb__file_status__init(ret);
    mode->mode = 0700;
    ret->kind = e->dir ? 1 : 2;
    ret->path.data = (uint8_t *)name;
    ret->path.len = strlen(name);
    ret->permission = mode;
    ret->owner = ret->group = (char *)"me";
    ret->has_id = ret->has_replication = true;
    ret->id = e->id;
    ret->replication = e->dir ? 0 : 1;
}

static struct fake_reply file_info(struct fake_hdfs *f, const struct fake_file *e)
{
    Pb__FileResponse m = PB__FILE_RESPONSE__INIT;
    Pb__FileStatus status;
    Pb__Permission mode;

    if (!e) {
        return nothing();
    }
    fill(e, &mode, &status);
    status.path.len = 0;
    m.file = &status;
    return message(f, &m.base);
}

static int by_name(const void *a, const void *b)
{
    const Pb__FileStatus *const *x = a, *const *y = b;

    return strcmp((const char *)(*x)->path.data, (const char *)(*y)->path.data);
}

static struct fake_reply list(struct fake_hdfs *f, const struct fake_call *c)
{
    Pb__ListingRequest *q = pb__listing_request__unpack(NULL, c->request_len, c->request);
    Pb__ListingResponse m = PB__LISTING_RESPONSE__INIT;
    Pb__Listing l = PB__LISTING__INIT;
    Pb__FileStatus status[FAKE_FILES_MAX], *pointers[FAKE_FILES_MAX];
    Pb__Permission modes[FAKE_FILES_MAX];
    struct fake_reply r = not_found();
    size_t len = strlen(q->path);
    char after[256] = "";

    if (q->start_after.len > 0) {
        memcpy(after, q->start_after.data, q->start_after.len);
    }
    l.files = pointers;
    for (unsigned i = 0; i < f->file_count; i++) {
        const char *p = f->files[i].path;

        if (strncmp(p, q->path, len) == 0 && p[len] == '/' &&
            !strchr(p + len + 1, '/') && strcmp(p + len + 1, after) > 0) {
            fill(&f->files[i], &modes[l.n_files], &status[l.n_files]);
            pointers[l.n_files] = &status[l.n_files];
            l.n_files++;
        }
    }
    qsort(pointers, l.n_files, sizeof(pointers[0]), by_name);
    if (fake_hdfs_find(f, q->path)) {
        m.listing = &l;
        r = message(f, &m.base);
    }
    pb__listing_request__free_unpacked(q, NULL);
    return r;
}

/* ---- Files being written ------------------------------------------------------- */

static struct fake_reply create(struct fake_hdfs *f, const struct fake_call *c)
{
    Pb__CreateRequest *q = pb__create_request__unpack(NULL, c->request_len, c->request);
    struct fake_file *e = fake_hdfs_find(f, q->path);
    struct fake_reply r;

    if (e) {
        r = fake_exception(e->open ?
            "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException" :
            "org.apache.hadoop.fs.FileAlreadyExistsException", "it exists");
    } else if (!has_parent(f, q->path)) {
        r = not_found();
    } else {
        e = add(f, q->path, false);
        e->open = true;
        (void)snprintf(e->client, sizeof(e->client), "%s", q->client);
        r = file_info(f, e);
    }
    pb__create_request__free_unpacked(q, NULL);
    return r;
}

/* The file, if it is CLIENT's to write; else what the NameNode throws (FSNamesystem's
 * checkLease). */
static struct fake_file *lease(struct fake_hdfs *f, const char *path, uint64_t id,
                               const char *client, struct fake_reply *ret)
{
    struct fake_file *e = fake_hdfs_find(f, path);

    if (!e || (id != 0 && e->id != id)) {
        *ret = not_found();
        return NULL;
    }
    if (!e->open || strcmp(e->client, client) != 0) {
        *ret = fake_exception("org.apache.hadoop.hdfs.server.namenode."
                              "LeaseExpiredException", "not the lease owner");
        return NULL;
    }
    return e;
}

struct nodes {
    Pb__Datanode nodes[FAKE_NODES_MAX], *pointers[FAKE_NODES_MAX];
    Pb__DatanodeId ids[FAKE_NODES_MAX];
};

static void fill_nodes(const struct fake_hdfs *f, struct nodes *n)
{
    for (unsigned i = 0; i < f->node_count; i++) {
        pb__datanode__init(&n->nodes[i]);
        pb__datanode_id__init(&n->ids[i]);
        n->ids[i].ip = (char *)"127.0.0.1";
        n->ids[i].host = (char *)"localhost";
        n->ids[i].uuid = (char *)"uuid";
        n->ids[i].xfer_port = f->node->port;
        n->ids[i].ipc_port = f->ipc_ports[i];
        n->nodes[i].id = &n->ids[i];
        n->nodes[i].has_capacity = n->nodes[i].has_remaining = true;
        n->nodes[i].capacity = (uint64_t)1 << 40;
        n->nodes[i].remaining = i < f->node_count - f->full_nodes ? (uint64_t)1 << 39 :
                                3 << 20;
        n->pointers[i] = &n->nodes[i];
    }
}

struct located {
    Pb__LocatedBlock block;
    Pb__Block id;
    Pb__Token token;
    struct nodes nodes;
};

static Pb__LocatedBlock *fill_block(const struct fake_hdfs *f, uint64_t id,
                                    struct located *ret)
{
    pb__located_block__init(&ret->block);
    pb__block__init(&ret->id);
    pb__token__init(&ret->token);
    fill_nodes(f, &ret->nodes);
    ret->id.pool = (char *)"BP-test";
    ret->id.id = id;
    ret->id.generation = 1001;
    ret->token.kind = ret->token.service = (char *)"";
    ret->block.block = &ret->id;
    ret->block.token = &ret->token;
    ret->block.locs = ret->nodes.pointers;
    ret->block.n_locs = f->node_count - f->full_nodes;
    return &ret->block;
}

/* One that is there is given again, as a NameNode does it. */
static struct fake_reply add_block(struct fake_hdfs *f, const struct fake_call *c)
{
    Pb__AddBlockRequest *q = pb__add_block_request__unpack(NULL, c->request_len,
                                                           c->request);
    Pb__AddBlockResponse m = PB__ADD_BLOCK_RESPONSE__INIT;
    struct located located;
    struct fake_reply r;
    struct fake_file *e = lease(f, q->path, q->file_id, q->client, &r);

    if (e) {
        e->block = e->block ? e->block : f->next_id++;
        m.block = fill_block(f, e->block, &located);
        r = message(f, &m.base);
    }
    pb__add_block_request__free_unpacked(q, NULL);
    return r;
}

static struct fake_reply abandon(struct fake_hdfs *f, const struct fake_call *c)
{
    Pb__AbandonBlockRequest *q = pb__abandon_block_request__unpack(NULL, c->request_len,
                                                                   c->request);
    struct fake_reply r;
    struct fake_file *e = lease(f, q->path, q->file_id, q->client, &r);

    if (e) {
        e->block = 0;
        r = nothing();
    }
    pb__abandon_block_request__free_unpacked(q, NULL);
    return r;
}

static struct fake_reply complete(struct fake_hdfs *f, const struct fake_call *c)
{
    Pb__CompleteRequest *q = pb__complete_request__unpack(NULL, c->request_len,
                                                          c->request);
    struct fake_reply r;
    struct fake_file *e = lease(f, q->path, q->file_id, q->client, &r);

    if (e) {
        e->open = false;
        r = fake_yes(true);
    }
    pb__complete_request__free_unpacked(q, NULL);
    return r;
}

static struct fake_reply locate(struct fake_hdfs *f, const struct fake_file *e)
{
    Pb__BlockLocationsResponse m = PB__BLOCK_LOCATIONS_RESPONSE__INIT;
    Pb__LocatedBlocks l = PB__LOCATED_BLOCKS__INIT;
    struct located located;

    if (!e) {
        return not_found();
    }
    l.under_construction = e->open;
    l.last_complete = !e->open;
    if (e->block) {
        l.last = fill_block(f, e->block, &located);
    }
    m.blocks = &l;
    return message(f, &m.base);
}

/* ---- The cluster --------------------------------------------------------------- */

static struct fake_reply defaults(struct fake_hdfs *f)
{
    Pb__ServerDefaultsResponse m = PB__SERVER_DEFAULTS_RESPONSE__INIT;
    Pb__ServerDefaults d = PB__SERVER_DEFAULTS__INIT;

    d.block_size = 1 << 20;
    d.bytes_per_checksum = f->bytes_per_checksum;
    d.write_packet_size = 65536;
    d.replication = 1;
    d.has_checksum = true;
    d.checksum = HDFS_CHECKSUM_CRC32C;
    m.defaults = &d;
    return message(f, &m.base);
}

static struct fake_reply report(struct fake_hdfs *f)
{
    Pb__DatanodeReportResponse m = PB__DATANODE_REPORT_RESPONSE__INIT;
    struct nodes nodes;

    fill_nodes(f, &nodes);
    m.nodes = nodes.pointers;
    m.n_nodes = f->node_count;
    return message(f, &m.base);
}

static struct fake_reply statistics(struct fake_hdfs *f)
{
    Pb__FsStatsResponse m = PB__FS_STATS_RESPONSE__INIT;

    m.capacity = m.remaining = (uint64_t)1 << 40;
    return message(f, &m.base);
}

/* ---- Calls --------------------------------------------------------------------- */

/* The path is field 1 of all but abandonBlock, where it is field 2. */
static void take_path(const struct fake_call *c, char *ret, size_t size)
{
    const uint8_t *at = c->request, *end = at + c->request_len;

    if (strcmp(c->method, "abandonBlock") == 0 && at + 2 <= end) {
        at += 2 + at[1];
    }
    ret[0] = '\0';
    if (at + 2 <= end && (at[0] & 7) == 2 && at[1] < 128 && at + 2 + at[1] <= end) {
        (void)snprintf(ret, size, "%.*s", at[1], (const char *)at + 2);
    }
}

static struct fake_reply serve(struct fake_hdfs *f, const struct fake_call *c,
                               const char *path)
{
    struct fake_file *e = fake_hdfs_find(f, path);
    const char *method = c->method;

    if (strcmp(method, "getServerDefaults") == 0) {
        return defaults(f);
    } else if (strcmp(method, "getDatanodeReport") == 0) {
        return report(f);
    } else if (strcmp(method, "getFsStats") == 0) {
        return statistics(f);
    } else if (strcmp(method, "getFileInfo") == 0) {
        return file_info(f, e);
    } else if (strcmp(method, "getListing") == 0) {
        return list(f, c);
    } else if (strcmp(method, "getBlockLocations") == 0) {
        return locate(f, e);
    } else if (strcmp(method, "create") == 0) {
        return create(f, c);
    } else if (strcmp(method, "addBlock") == 0) {
        return add_block(f, c);
    } else if (strcmp(method, "abandonBlock") == 0) {
        return abandon(f, c);
    } else if (strcmp(method, "complete") == 0) {
        return complete(f, c);
    } else if (strcmp(method, "delete") == 0) {
        return fake_yes(fake_hdfs_drop(f, path));
    } else if (strcmp(method, "mkdirs") == 0) {
        if (!e && !has_parent(f, path)) {
            return not_found();
        }
        if (!e) {
            (void)add(f, path, true);
        }
        return fake_yes(true);
    } else if (strcmp(method, "recoverLease") == 0) {
        if (e) {
            e->open = false;
        }
        return e ? fake_yes(true) : not_found();
    } else if (strcmp(method, "isFileClosed") == 0) {
        return e ? fake_yes(!e->open) : not_found();
    }
    assert(strcmp(method, "fsync") == 0 || strcmp(method, "renewLease") == 0);
    return nothing();
}

static struct fake_reply reply(void *opaque, const struct fake_call *c)
{
    struct fake_hdfs *f = opaque;
    struct fake_reply r = { .what = FAKE_ANSWER };
    bool silent;
    char path[224];

    take_path(c, path, sizeof(path));
    (void)pthread_mutex_lock(&f->lock);
    assert(f->call_count < FAKE_CALLS_MAX);
    (void)snprintf(f->calls[f->call_count].method, sizeof(f->calls[0].method), "%.31s",
                   c->method);
    (void)snprintf(f->calls[f->call_count++].path, sizeof(f->calls[0].path), "%s", path);
    if (!f->meddle || !f->meddle(f, c->method, path, &r)) {
        silent = r.what == FAKE_SILENCE;
        r = serve(f, c, path);
        r.what = silent ? FAKE_SILENCE : r.what;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return r;
}

/* ---- Coming and going, and what tests ask -------------------------------------- */

struct fake_hdfs *fake_hdfs_new(void)
{
    struct fake_hdfs *f = calloc(1, sizeof(*f));

    assert(f);
    (void)pthread_mutex_init(&f->lock, NULL);
    f->next_id = 1000;
    f->bytes_per_checksum = 512;
    f->node_count = 1;
    f->node = fake_datanode_new();
    f->namenode = fake_new(reply, f);
    (void)snprintf(f->authority, sizeof(f->authority), "127.0.0.1:%u",
                   fake_port(f->namenode));
    return f;
}

void fake_hdfs_free(struct fake_hdfs *f)
{
    fake_free(f->namenode);
    assert(!f->node->wrong);
    fake_datanode_free(f->node);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

unsigned fake_hdfs_count(struct fake_hdfs *f, const char *method, const char *path)
{
    unsigned n = 0;

    (void)pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < f->call_count; i++) {
        n += strcmp(f->calls[i].method, method) == 0 &&
             (!path || strcmp(f->calls[i].path, path) == 0);
    }
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

void fake_hdfs_make(struct fake_hdfs *f, const char *path, const char *client)
{
    size_t len = strlen(path);
    bool dir = path[len - 1] == '/';
    struct fake_file *e;
    char name[256];

    (void)snprintf(name, sizeof(name), "%.*s", (int)(len - dir), path);
    (void)pthread_mutex_lock(&f->lock);
    e = add(f, name, dir);
    if (client) {
        e->open = true;
        (void)snprintf(e->client, sizeof(e->client), "%s", client);
    }
    (void)pthread_mutex_unlock(&f->lock);
}

bool fake_hdfs_remove(struct fake_hdfs *f, const char *path)
{
    bool was;

    (void)pthread_mutex_lock(&f->lock);
    was = fake_hdfs_drop(f, path);
    (void)pthread_mutex_unlock(&f->lock);
    return was;
}

bool fake_hdfs_has(struct fake_hdfs *f, const char *path, bool *ret_open)
{
    const struct fake_file *e;

    (void)pthread_mutex_lock(&f->lock);
    e = fake_hdfs_find(f, path);
    *ret_open = e && e->open;
    (void)pthread_mutex_unlock(&f->lock);
    return e != NULL;
}
