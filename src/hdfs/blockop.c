/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/blockop.h"

#include <errno.h>

#include "hdfs/pbwire.h"

#define VERSION 28              /* DataTransferProtocol.DATA_TRANSFER_VERSION */
#define ANSWER_BYTES_MAX 65536  /* ours; the message of an exception is in it */

enum { OP_WRITE_BLOCK = 80, OP_READ_BLOCK = 81 };
enum { STAGE_CREATE = 6 };      /* PIPELINE_SETUP_CREATE */

/* Field numbers, by message. */
enum { BLOCK_POOL = 1, BLOCK_ID = 2, BLOCK_GENERATION = 3, BLOCK_LENGTH = 4 };
enum { TOKEN_ID = 1, TOKEN_PASSWORD = 2, TOKEN_KIND = 3, TOKEN_SERVICE = 4 };
enum { BASE_BLOCK = 1, BASE_TOKEN = 2 };
enum { CLIENT_BASE = 1, CLIENT_NAME = 2 };
enum { CACHING_READ_AHEAD = 2 };
enum { READ_HEADER = 1, READ_OFFSET = 2, READ_LEN = 3, READ_CACHING = 5 };
enum { NODE_IP = 1, NODE_HOST = 2, NODE_UUID = 3, NODE_XFER = 4, NODE_INFO = 5,
       NODE_IPC = 6 };
enum { INFO_NODE = 1 };
enum { CHECKSUM_TYPE = 1, CHECKSUM_CHUNK = 2 };
enum { WRITE_HEADER = 1, WRITE_TARGET = 2, WRITE_STAGE = 4, WRITE_PIPELINE = 5,
       WRITE_MIN = 6, WRITE_MAX = 7, WRITE_GENERATION = 8, WRITE_CHECKSUM = 9,
       WRITE_STORAGE = 11, WRITE_TARGET_STORAGE = 12, WRITE_STORAGE_ID = 16,
       WRITE_TARGET_STORAGE_ID = 17 };
enum { ANSWER_STATUS = 1, ANSWER_BAD_LINK = 2, ANSWER_CHECKSUM = 4, ANSWER_MESSAGE = 5 };
enum { SUMS_CHECKSUM = 1, SUMS_CHUNK_OFFSET = 2 };
enum { STATUS_STATUS = 1 };

/* ---- Requests ----------------------------------------------------------------- */

static void put_block(struct pb_out *o, const struct hdfs_block *b)
{
    size_t at = pb_begin(o, BASE_BLOCK);

    pb_put_string(o, BLOCK_POOL, b->pool);
    pb_put_number(o, BLOCK_ID, b->id);
    pb_put_number(o, BLOCK_GENERATION, b->generation);
    pb_put_number(o, BLOCK_LENGTH, b->length);
    pb_end(o, at);
}

static void put_token(struct pb_out *o, const struct hdfs_token *t)
{
    size_t at = pb_begin(o, BASE_TOKEN);

    pb_put_bytes(o, TOKEN_ID, t->id, t->id_len);
    pb_put_bytes(o, TOKEN_PASSWORD, t->password, t->password_len);
    pb_put_string(o, TOKEN_KIND, t->kind);
    pb_put_string(o, TOKEN_SERVICE, t->service);
    pb_end(o, at);
}

/* ClientOperationHeaderProto: field 1 of every request of a client. */
static void put_header(struct pb_out *o, const struct hdfs_block *block,
                       const struct hdfs_token *token, const char *client)
{
    size_t header = pb_begin(o, READ_HEADER);
    size_t base = pb_begin(o, CLIENT_BASE);

    put_block(o, block);
    put_token(o, token);
    pb_end(o, base);
    pb_put_string(o, CLIENT_NAME, client);
    pb_end(o, header);
}

static size_t begin_op(struct pb_out *o, uint8_t op)
{
    pb_put_byte(o, 0);
    pb_put_byte(o, VERSION);
    pb_put_byte(o, op);
    return pb_begin_frame(o);
}

static int end_op(struct pb_out *o, size_t begin)
{
    pb_end(o, begin);
    return pb_overflow(o) ? -ENOBUFS : (int)o->len;
}

int blockop_read_encode(const struct blockop_read *q, uint8_t *buf, size_t size)
{
    struct pb_out o = { .buf = buf, .cap = size };
    size_t begin = begin_op(&o, OP_READ_BLOCK);

    put_header(&o, q->block, q->token, q->client);
    pb_put_number(&o, READ_OFFSET, q->offset);
    pb_put_number(&o, READ_LEN, q->len);
    if (q->no_read_ahead) {
        size_t at = pb_begin(&o, READ_CACHING);

        pb_put_number(&o, CACHING_READ_AHEAD, 0);
        pb_end(&o, at);
    }
    return end_op(&o, begin);
}

static void put_node(struct pb_out *o, const struct hdfs_datanode *n)
{
    size_t info = pb_begin(o, WRITE_TARGET);
    size_t node = pb_begin(o, INFO_NODE);

    pb_put_string(o, NODE_IP, n->ip);
    pb_put_string(o, NODE_HOST, n->host);
    pb_put_string(o, NODE_UUID, n->uuid);
    pb_put_number(o, NODE_XFER, n->xfer_port);
    pb_put_number(o, NODE_INFO, n->info_port);
    pb_put_number(o, NODE_IPC, n->ipc_port);
    pb_end(o, node);
    pb_end(o, info);
}

static void put_checksum(struct pb_out *o, const struct checksum *c)
{
    size_t at = pb_begin(o, WRITE_CHECKSUM);

    pb_put_number(o, CHECKSUM_TYPE, c->type);
    pb_put_number(o, CHECKSUM_CHUNK, c->chunk_bytes);
    pb_end(o, at);
}

/* The nodes after the first, and what is said of each node's storage. */
static void put_pipeline(struct pb_out *o, const struct hdfs_located_block *b)
{
    for (unsigned i = 1; i < b->node_count; i++) {
        put_node(o, &b->nodes[i]);
        pb_put_number(o, WRITE_TARGET_STORAGE, b->storages[i]);
        pb_put_string(o, WRITE_TARGET_STORAGE_ID, b->storage_ids[i]);
    }
    pb_put_number(o, WRITE_STORAGE, b->storages[0]);
    pb_put_string(o, WRITE_STORAGE_ID, b->storage_ids[0]);
}

int blockop_write_encode(const struct blockop_write *q, uint8_t *buf, size_t size)
{
    const struct hdfs_located_block *b = q->block;
    struct pb_out o = { .buf = buf, .cap = size };
    size_t begin = begin_op(&o, OP_WRITE_BLOCK);
    struct hdfs_block full = b->block;

    full.length = q->block_size;
    put_header(&o, &full, &b->token, q->client);
    put_pipeline(&o, b);
    pb_put_number(&o, WRITE_STAGE, STAGE_CREATE);
    pb_put_number(&o, WRITE_PIPELINE, b->node_count);
    pb_put_number(&o, WRITE_MIN, 0);
    pb_put_number(&o, WRITE_MAX, 0);
    /* Of a block that is to get another generation; a node that has the replica of a new
     * one already would replace it (FsDatasetImpl.createRbw). */
    pb_put_number(&o, WRITE_GENERATION, 0);
    put_checksum(&o, &q->checksum);
    return end_op(&o, begin);
}

void blockop_read_status(uint8_t *buf, enum hdfs_status status)
{
    buf[0] = BLOCKOP_READ_STATUS_BYTES - 1;
    buf[1] = STATUS_STATUS << 3 | PB_VARINT;
    buf[2] = (uint8_t)status;
}

/* ---- Answers ------------------------------------------------------------------ */

static int checksum_decode(struct pb_in in, struct checksum *ret)
{
    uint64_t type = UINT64_MAX, chunk = 0;
    struct pb_field f;
    int r;

    while ((r = pb_next(&in, &f)) > 0) {
        if (f.number == CHECKSUM_TYPE && f.type == PB_VARINT) {
            type = f.value;
        } else if (f.number == CHECKSUM_CHUNK && f.type == PB_VARINT) {
            chunk = f.value;
        }
    }
    if (r < 0 || type > HDFS_CHECKSUM_CRC32C || chunk > CHECKSUM_CHUNK_MAX) {
        return -EBADMSG;
    }
    *ret = (struct checksum){ .type = (enum hdfs_checksum)type,
                              .chunk_bytes = (uint32_t)chunk };
    return checksum_valid(ret) ? 0 : -EBADMSG;
}

/* ReadOpChecksumInfoProto */
static int sums_decode(struct pb_in in, struct blockop_answer *a)
{
    bool has_checksum = false, has_offset = false;
    struct pb_field f;
    int r;

    while ((r = pb_next(&in, &f)) > 0) {
        if (f.number == SUMS_CHECKSUM && f.type == PB_BYTES) {
            r = checksum_decode(pb_inside(&f), &a->checksum);
            if (r < 0) {
                return r;
            }
            has_checksum = true;
        } else if (f.number == SUMS_CHUNK_OFFSET && f.type == PB_VARINT) {
            a->chunk_offset = f.value;
            has_offset = f.value <= INT64_MAX;
        }
    }
    a->has_checksum = has_checksum && has_offset;
    return r < 0 || !a->has_checksum ? -EBADMSG : 0;
}

static int answer_field(const struct pb_field *f, struct blockop_answer *a)
{
    if (f->number == ANSWER_STATUS && f->type == PB_VARINT) {
        a->status = f->value < HDFS_STATUS_UNKNOWN ? (enum hdfs_status)f->value :
                                                     HDFS_STATUS_UNKNOWN;
        return 1;
    }
    if (f->type != PB_BYTES) {
        return 0;
    }
    if (f->number == ANSWER_BAD_LINK) {
        pb_text(f, a->bad_link, sizeof(a->bad_link));
    } else if (f->number == ANSWER_MESSAGE) {
        pb_text(f, a->message, sizeof(a->message));
    } else if (f->number == ANSWER_CHECKSUM) {
        return sums_decode(pb_inside(f), a);
    }
    return 0;
}

int blockop_answer_decode(const uint8_t *buf, size_t len, struct blockop_answer *ret)
{
    bool has_status = false;
    struct pb_field f;
    struct pb_in in;
    int used, r;

    used = pb_frame(buf, len, ANSWER_BYTES_MAX, &in);
    if (used <= 0) {
        return used;
    }
    *ret = (struct blockop_answer){ .status = HDFS_STATUS_UNKNOWN };
    while ((r = pb_next(&in, &f)) > 0) {
        r = answer_field(&f, ret);
        if (r < 0) {
            return r;
        }
        has_status = has_status || r > 0;
    }
    return r < 0 || !has_status ? -EBADMSG : used;
}

int blockop_error(enum hdfs_status status)
{
    return status == HDFS_STATUS_ERROR_ACCESS_TOKEN ? -HDFS_ETOKEN :
           status == HDFS_STATUS_ERROR_CHECKSUM ? -EBADMSG :
           status == HDFS_STATUS_ERROR_UNSUPPORTED ? -EOPNOTSUPP : -EIO;
}
