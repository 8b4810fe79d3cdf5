/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frames of data transfer that are written and read by hand: against protobuf-c,
 * against bytes that a DataNode sent, cut anywhere, and out of bounds.
 */
#undef NDEBUG
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/util.h"
#include "datatransfer.pb-c.h"
#include "hdfs/blockop.h"
#include "hdfs/packet.h"
#include "hdfs/pbwire.h"

/* ---- Wire format -------------------------------------------------------------- */

static void varints_have_one_to_ten_bytes(void **state)
{
    static const uint64_t values[] = { 0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX };
    uint8_t buf[16], endless[11];
    uint64_t v;

    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct pb_out o = { .buf = buf, .cap = sizeof(buf) };

        pb_put_varint(&o, values[i]);
        assert_false(pb_overflow(&o));
        for (size_t cut = 0; cut < o.len; cut++) {
            assert_int_equal(pb_varint(buf, cut, &v), 0);
        }
        assert_int_equal(pb_varint(buf, o.len, &v), (int)o.len);
        assert_int_equal(v, values[i]);
    }
    memset(endless, 0xff, sizeof(endless));
    assert_int_equal(pb_varint(endless, sizeof(endless), &v), -EBADMSG);
}

static void fields_stay_within_their_message(void **state)
{
    /* field 1 with 5 bytes, of which 4 are there; a group; field number 0 */
    static const uint8_t cut[] = { 0x0a, 5, 1, 2, 3, 4 };
    static const uint8_t group[] = { 0x0b };
    static const uint8_t zero[] = { 0x00, 0 };
    struct pb_in in = { cut, cut + sizeof(cut) };
    struct pb_field f;

    assert_int_equal(pb_next(&in, &f), -EBADMSG);
    in = (struct pb_in){ group, group + sizeof(group) };
    assert_int_equal(pb_next(&in, &f), -EBADMSG);
    in = (struct pb_in){ zero, zero + sizeof(zero) };
    assert_int_equal(pb_next(&in, &f), -EBADMSG);
}

/* ---- Checksums ---------------------------------------------------------------- */

static void checksums_are_the_known_ones(void **state)
{
    struct checksum c = { HDFS_CHECKSUM_CRC32C, 9 };
    static const char text[] = "123456789123456789123";
    uint8_t sums[12];
    uint32_t sum;

    checksum_fill(&c, text, 21, sums);
    memcpy(&sum, sums, 4);
    assert_int_equal(be32toh(sum), 0xE3069283u);
    assert_memory_equal(sums, sums + 4, 4);
    assert_true(checksum_match(&c, text, 21, sums));
    assert_int_equal(checksum_bytes_for(&c, 21), 12);
    sums[11] ^= 1;      /* the sum of the short chunk at the end counts, too */
    assert_false(checksum_match(&c, text, 21, sums));

    c.type = HDFS_CHECKSUM_CRC32;
    checksum_fill(&c, text, 9, sums);
    memcpy(&sum, sums, 4);
    assert_int_equal(be32toh(sum), 0xCBF43926u);

    c.type = HDFS_CHECKSUM_NULL;
    assert_int_equal(checksum_bytes_for(&c, 21), 0);
    assert_true(checksum_match(&c, text, 21, NULL));
}

static void unknown_checksums_are_refused(void **state)
{
    assert_false(checksum_valid(&(struct checksum){ (enum hdfs_checksum)3, 512 }));
    assert_false(checksum_valid(&(struct checksum){ HDFS_CHECKSUM_CRC32C, 0 }));
    assert_false(checksum_valid(&(struct checksum){ HDFS_CHECKSUM_CRC32C,
                                                    CHECKSUM_CHUNK_MAX + 1 }));
    assert_true(checksum_valid(&(struct checksum){ HDFS_CHECKSUM_NULL, 512 }));
}

/* ---- Packets ------------------------------------------------------------------ */

/* The head of packet 1 of a block, with 4096 bytes at 4096 and syncBlock. */
static const uint8_t head_golden[] = {
    0x00, 0x00, 0x10, 0x24, 0x00, 0x1b,
    0x09, 0x00, 0x10, 0, 0, 0, 0, 0, 0, 0x11, 1, 0, 0, 0, 0, 0, 0, 0,
    0x18, 0x00, 0x25, 0x00, 0x10, 0, 0, 0x28, 0x01,
};

static void packet_head_is_as_hadoop_has_it(void **state)
{
    struct packet p = { .offset = 4096, .seqno = 1, .data_bytes = 4096,
                        .sums_bytes = 32, .sync = true }, back;
    uint8_t buf[PACKET_HEAD_MAX];

    assert_int_equal(packet_encode(&p, buf), sizeof(head_golden));
    assert_memory_equal(buf, head_golden, sizeof(head_golden));
    assert_int_equal(packet_decode(buf, sizeof(buf), &back), sizeof(head_golden));
    assert_int_equal(back.offset, 4096);
    assert_int_equal(back.seqno, 1);
    assert_int_equal(back.data_bytes, 4096);
    assert_int_equal(back.sums_bytes, 32);
    assert_true(back.sync && !back.last);
}

static void packet_head_is_what_protobuf_reads(void **state)
{
    struct rng rng = { 1 };

    for (int i = 0; i < 1000; i++) {
        struct packet p = {
            .offset = rng_next(&rng) >> 1, .seqno = (int64_t)rng_next(&rng),
            .data_bytes = (uint32_t)rng_below(&rng, 1 << 20), .last = i & 1,
            .sync = i & 2, .sums_bytes = (uint32_t)rng_below(&rng, 1 << 12),
        };
        uint8_t buf[PACKET_HEAD_MAX];
        size_t len = packet_encode(&p, buf);
        Pb__PacketHeader *h = pb__packet_header__unpack(NULL, len - 6, buf + 6);
        struct packet back;

        assert_non_null(h);
        assert_int_equal(h->offset, p.offset);
        assert_int_equal(h->seqno, p.seqno);
        assert_int_equal(h->data_bytes, p.data_bytes);
        assert_int_equal(h->last, p.last);
        assert_int_equal(h->sync, p.sync);
        pb__packet_header__free_unpacked(h, NULL);
        for (size_t cut = 0; cut < len; cut++) {
            assert_int_equal(packet_decode(buf, cut, &back), 0);
        }
        assert_int_equal(packet_decode(buf, len, &back), (int)len);
        assert_int_equal(back.sums_bytes, p.sums_bytes);
        assert_int_equal(back.seqno, p.seqno);
    }
}

static void packet_refuse(size_t at, uint8_t value)
{
    uint8_t buf[sizeof(head_golden)];
    struct packet p;

    memcpy(buf, head_golden, sizeof(buf));
    buf[at] = value;
    assert_int_equal(packet_decode(buf, sizeof(buf), &p), -EBADMSG);
}

static void bad_packets_are_refused(void **state)
{
    packet_refuse(0, 0x80);     /* a negative length */
    packet_refuse(0, 0x01);     /* 16 MiB and more */
    packet_refuse(2, 0x0f);     /* less than the data */
    packet_refuse(4, 0x02);     /* a header of 512 bytes */
    packet_refuse(14, 0xff);    /* an offset below zero */
    packet_refuse(6, 0x0d);     /* the offset as another type */
    packet_refuse(26, 0x35);    /* no data length */
    packet_refuse(30, 0x80);    /* its high byte */
}

/* ---- Acks --------------------------------------------------------------------- */

static size_t ack_make(uint8_t *buf, int64_t seqno, int32_t *reply, size_t count)
{
    Pb__Ack a = PB__ACK__INIT;
    uint32_t flags[100] = { 0 };
    size_t len;

    a.seqno = seqno;
    a.n_reply = a.n_flag = count;
    a.reply = reply;
    a.flag = flags;
    a.has_downstream_ns = true;
    a.downstream_ns = 123456789;
    len = pb__ack__get_packed_size(&a);
    buf[0] = (uint8_t)(len & 0x7f) | 0x80;
    buf[1] = (uint8_t)(len >> 7);
    return 2 + pb__ack__pack(&a, buf + 2);
}

static void acks_are_what_protobuf_writes(void **state)
{
    static const int64_t seqnos[] = { 0, 1, 1 << 20, PACKET_HEARTBEAT,
                                      PACKET_OUT_OF_BAND, INT64_MAX };
    int32_t reply[3] = { 0, 0, 0 };
    struct packet_ack a;
    uint8_t buf[1024];

    for (size_t i = 0; i < ARRAY_SIZE(seqnos); i++) {
        size_t len = ack_make(buf, seqnos[i], reply, 3);

        for (size_t cut = 0; cut < len; cut++) {
            assert_int_equal(packet_ack_decode(buf, cut, &a), 0);
        }
        assert_int_equal(packet_ack_decode(buf, sizeof(buf), &a), (int)len);
        assert_int_equal(a.seqno, seqnos[i]);
        assert_int_equal(a.node_count, 3);
        assert_int_equal(packet_ack_bad_node(&a), -1);
    }
    reply[1] = HDFS_STATUS_ERROR_CHECKSUM;
    reply[2] = 5000;
    (void)ack_make(buf, 7, reply, 3);
    assert_true(packet_ack_decode(buf, sizeof(buf), &a) > 0);
    assert_int_equal(packet_ack_bad_node(&a), 1);
    assert_int_equal(a.status[2], HDFS_STATUS_UNKNOWN);
}

static void bad_acks_are_refused(void **state)
{
    static const uint8_t no_seqno[] = { 2, 0x10, 0 };
    static const uint8_t packed[] = { 6, 0x08, 2, 0x12, 2, 0, 1 };
    static const uint8_t long_one[] = { 0x80, 0x80, 0x01 };
    int32_t reply[ACK_NODES_MAX + 1] = { 0 };
    struct packet_ack a;
    uint8_t buf[1024];

    assert_int_equal(packet_ack_decode(no_seqno, sizeof(no_seqno), &a), -EBADMSG);
    assert_int_equal(packet_ack_decode(long_one, sizeof(long_one), &a), -EBADMSG);
    (void)ack_make(buf, 7, reply, ACK_NODES_MAX);
    assert_true(packet_ack_decode(buf, sizeof(buf), &a) > 0);
    (void)ack_make(buf, 7, reply, ACK_NODES_MAX + 1);
    assert_int_equal(packet_ack_decode(buf, sizeof(buf), &a), -EBADMSG);
    assert_int_equal(packet_ack_decode(packed, sizeof(packed), &a), sizeof(packed));
    assert_int_equal(a.seqno, 1);
    assert_int_equal(packet_ack_bad_node(&a), 1);
}

/* ---- Requests ----------------------------------------------------------------- */

static struct hdfs_datanode nodes[3];
static enum hdfs_storage storages[3] = { HDFS_STORAGE_DISK, HDFS_STORAGE_SSD,
                                         HDFS_STORAGE_DISK };
static char storage_ids[3][64] = { "DS-a", "DS-b", "" };
static struct hdfs_located_block block = {
    .block = { .pool = "BP-1-127.0.0.1-2", .id = 1073741825, .generation = 1001,
               .length = 77 },
    .node_count = 3, .nodes = nodes, .storages = storages, .storage_ids = storage_ids,
    .token = { .id = (uint8_t *)"\0id", .id_len = 3, .password = (uint8_t *)"pw",
               .password_len = 2, .kind = "HDFS_BLOCK_TOKEN", .service = "" },
};

static void nodes_fill(void)
{
    for (unsigned i = 0; i < 3; i++) {
        nodes[i] = (struct hdfs_datanode){ .xfer_port = (uint16_t)(9866 + i),
                                           .info_port = 9864, .ipc_port = 9867 };
        (void)snprintf(nodes[i].ip, sizeof(nodes[i].ip), "10.0.0.%u", i);
        (void)snprintf(nodes[i].host, sizeof(nodes[i].host), "dn%u", i);
        (void)snprintf(nodes[i].uuid, sizeof(nodes[i].uuid), "uuid-%u", i);
    }
}

/* The message of the request at BUF. */
static struct pb_in message_of(const uint8_t *buf, int len, uint8_t op)
{
    struct pb_in in;

    assert_true(len > 3);
    assert_memory_equal(buf, ((uint8_t[]){ 0, 28, op }), 3);
    assert_int_equal(pb_frame(buf + 3, (size_t)len - 3, 1 << 20, &in), len - 3);
    return in;
}

static void header_check(const Pb__ClientHeader *h)
{
    const Pb__Token *t = h->inner->token;

    assert_string_equal(h->client, "me");
    assert_string_equal(h->inner->block->pool, block.block.pool);
    assert_int_equal(h->inner->block->id, block.block.id);
    assert_int_equal(h->inner->block->generation, block.block.generation);
    assert_int_equal(h->inner->block->length, 77);
    assert_int_equal(t->id.len, 3);
    assert_memory_equal(t->id.data, "\0id", 3);
    assert_int_equal(t->password.len, 2);
    assert_string_equal(t->kind, "HDFS_BLOCK_TOKEN");
    assert_string_equal(t->service, "");
}

static void read_request_is_what_protobuf_reads(void **state)
{
    struct blockop_read q = { .block = &block.block, .token = &block.token,
                              .client = "me", .offset = 1 << 30, .len = 4096,
                              .no_read_ahead = true };
    uint8_t buf[1024];
    int len = blockop_read_encode(&q, buf, sizeof(buf));
    struct pb_in in = message_of(buf, len, 81);
    Pb__OpRead *m = pb__op_read__unpack(NULL, (size_t)(in.end - in.at), in.at);

    assert_non_null(m);
    header_check(m->header);
    assert_int_equal(m->offset, 1 << 30);
    assert_int_equal(m->len, 4096);
    assert_false(m->has_send_checksums);
    assert_int_equal(m->caching->read_ahead, 0);
    pb__op_read__free_unpacked(m, NULL);
}

static void write_request_is_what_protobuf_reads(void **state)
{
    struct blockop_write q = { .block = &block, .client = "me",
                               .checksum = { HDFS_CHECKSUM_CRC32C, 512 },
                               .block_size = MIB(4) };
    uint8_t buf[4096];
    int len = blockop_write_encode(&q, buf, sizeof(buf));
    struct pb_in in = message_of(buf, len, 80);
    Pb__OpWrite *m = pb__op_write__unpack(NULL, (size_t)(in.end - in.at), in.at);

    assert_non_null(m);
    /* Not 0: a node would then reserve its own dfs.blocksize, 128 MiB, for each. */
    assert_int_equal(m->header->inner->block->length, MIB(4));
    m->header->inner->block->length = block.block.length;
    header_check(m->header);
    assert_int_equal(m->stage, 6);
    assert_int_equal(m->pipeline_nodes, 3);
    /* It once was the block's, and a node replaced the replica that it had. */
    assert_int_equal(m->generation, 0);
    assert_int_equal(m->checksum->type, 2);
    assert_int_equal(m->checksum->chunk_bytes, 512);
    assert_int_equal(m->storage_type, HDFS_STORAGE_DISK);
    assert_string_equal(m->storage_id, "DS-a");
    assert_int_equal(m->n_targets, 2);
    assert_int_equal(m->n_target_storage_ids, 2);
    assert_int_equal(m->target_storage_types[0], HDFS_STORAGE_SSD);
    assert_string_equal(m->targets[1]->id->ip, "10.0.0.2");
    assert_string_equal(m->targets[1]->id->host, "dn2");
    assert_string_equal(m->targets[1]->id->uuid, "uuid-2");
    assert_int_equal(m->targets[1]->id->xfer_port, 9868);
    pb__op_write__free_unpacked(m, NULL);
}

/* Nothing is written beyond, however small the buffer is. */
static void requests_stay_in_their_buffer(void **state)
{
    struct blockop_write q = { .block = &block, .client = "me",
                               .checksum = { HDFS_CHECKSUM_CRC32C, 512 } };
    uint8_t buf[4096];
    int len = blockop_write_encode(&q, buf, sizeof(buf));

    for (size_t size = 0; size < (size_t)len; size++) {
        memset(buf, 0xa5, sizeof(buf));
        assert_int_equal(blockop_write_encode(&q, buf, size), -ENOBUFS);
        for (size_t i = size; i < sizeof(buf); i++) {
            assert_int_equal(buf[i], 0xa5);
        }
    }
    assert_int_equal(blockop_write_encode(&q, buf, (size_t)len), len);
}

/* A length field of ours has two bytes: what doesn't fit is an error, no lie. */
static void large_tokens_are_refused(void **state)
{
    static uint8_t id[20000], buf[1 << 16];
    struct hdfs_token token = { .id = id, .id_len = sizeof(id) };
    struct blockop_read q = { .block = &block.block, .token = &token, .client = "me" };

    assert_int_equal(blockop_read_encode(&q, buf, sizeof(buf)), -ENOBUFS);
}

static void read_status_is_what_protobuf_reads(void **state)
{
    uint8_t buf[BLOCKOP_READ_STATUS_BYTES];
    Pb__ReadStatus *m;

    blockop_read_status(buf, HDFS_STATUS_CHECKSUM_OK);
    assert_int_equal(buf[0], sizeof(buf) - 1);
    m = pb__read_status__unpack(NULL, buf[0], buf + 1);
    assert_non_null(m);
    assert_int_equal(m->status, HDFS_STATUS_CHECKSUM_OK);
    pb__read_status__free_unpacked(m, NULL);
}

/* ---- Answers ------------------------------------------------------------------ */

static size_t answer_make(uint8_t *buf, Pb__BlockAnswer *m)
{
    size_t len = pb__block_answer__get_packed_size(m);

    buf[0] = (uint8_t)(len & 0x7f) | 0x80;
    buf[1] = (uint8_t)(len >> 7);
    return 2 + pb__block_answer__pack(m, buf + 2);
}

static void answers_are_what_protobuf_writes(void **state)
{
    Pb__BlockAnswer m = PB__BLOCK_ANSWER__INIT;
    Pb__BlockAnswer__Sums sums = PB__BLOCK_ANSWER__SUMS__INIT;
    Pb__Checksum sum = PB__CHECKSUM__INIT;
    struct blockop_answer a;
    uint8_t buf[1024];
    size_t len;

    m.status = HDFS_STATUS_ERROR;
    m.bad_link = (char *)"10.0.0.1:9867";
    m.message = (char *)"java.io.IOException:\n\tno";
    m.sums = &sums;
    sums.checksum = &sum;
    sums.chunk_offset = 512;
    sum.type = HDFS_CHECKSUM_CRC32;
    sum.chunk_bytes = 4096;
    len = answer_make(buf, &m);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(blockop_answer_decode(buf, cut, &a), 0);
    }
    assert_int_equal(blockop_answer_decode(buf, sizeof(buf), &a), (int)len);
    assert_int_equal(a.status, HDFS_STATUS_ERROR);
    assert_string_equal(a.bad_link, "10.0.0.1:9867");
    assert_string_equal(a.message, "java.io.IOException:  no");
    assert_true(a.has_checksum);
    assert_int_equal(a.checksum.type, HDFS_CHECKSUM_CRC32);
    assert_int_equal(a.checksum.chunk_bytes, 4096);
    assert_int_equal(a.chunk_offset, 512);

    sum.chunk_bytes = 0;        /* the reader divides by it */
    (void)answer_make(buf, &m);
    assert_int_equal(blockop_answer_decode(buf, sizeof(buf), &a), -EBADMSG);
    sum.chunk_bytes = 512;
    sum.type = 3;
    (void)answer_make(buf, &m);
    assert_int_equal(blockop_answer_decode(buf, sizeof(buf), &a), -EBADMSG);
}

static void answers_need_a_status(void **state)
{
    static const uint8_t empty[] = { 0 }, other[] = { 2, 0x30, 1 };
    static const uint8_t unknown[] = { 3, 0x08, 0xff, 0x07 };
    struct blockop_answer a;

    assert_int_equal(blockop_answer_decode(empty, 1, &a), -EBADMSG);
    assert_int_equal(blockop_answer_decode(other, sizeof(other), &a), -EBADMSG);
    assert_int_equal(blockop_answer_decode(unknown, sizeof(unknown), &a),
                     sizeof(unknown));
    assert_int_equal(a.status, HDFS_STATUS_UNKNOWN);
    assert_int_equal(blockop_error(a.status), -EIO);
    assert_int_equal(blockop_error(HDFS_STATUS_ERROR_ACCESS_TOKEN), -HDFS_ETOKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_have_one_to_ten_bytes),
        cmocka_unit_test(fields_stay_within_their_message),
        cmocka_unit_test(checksums_are_the_known_ones),
        cmocka_unit_test(unknown_checksums_are_refused),
        cmocka_unit_test(packet_head_is_as_hadoop_has_it),
        cmocka_unit_test(packet_head_is_what_protobuf_reads),
        cmocka_unit_test(bad_packets_are_refused),
        cmocka_unit_test(acks_are_what_protobuf_writes),
        cmocka_unit_test(bad_acks_are_refused),
        cmocka_unit_test(read_request_is_what_protobuf_reads),
        cmocka_unit_test(write_request_is_what_protobuf_reads),
        cmocka_unit_test(requests_stay_in_their_buffer),
        cmocka_unit_test(large_tokens_are_refused),
        cmocka_unit_test(read_status_is_what_protobuf_reads),
        cmocka_unit_test(answers_are_what_protobuf_writes),
        cmocka_unit_test(answers_need_a_status),
    };

    nodes_fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
