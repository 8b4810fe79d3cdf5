/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a DataNode sends as packets: one after the other, each cut anywhere, with what
 * comes after its header as data and sums.  The first byte chooses the checksum.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hdfs/checksum.h"
#include "hdfs/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of its exact length, so that reading beyond it shows. */
static int decode_exact(const uint8_t *data, size_t size, struct packet *ret)
{
    uint8_t *copy = malloc(size ? size : 1);
    int used;

    assert(copy);
    memcpy(copy, data, size);
    used = packet_decode(copy, size, ret);
    free(copy);
    return used;
}

/* What is taken is the same however the bytes come, and what we write is taken. */
static void packet_check(const uint8_t *data, int used, const struct packet *p)
{
    uint8_t buf[PACKET_HEAD_MAX];
    struct packet again;
    size_t len = packet_encode(p, buf);

    assert(p->data_bytes <= PACKET_BYTES_MAX && p->sums_bytes <= PACKET_BYTES_MAX);
    assert(p->offset <= INT64_MAX);
    for (int cut = 0; cut < used; cut++) {
        int r = decode_exact(data, (size_t)cut, &again);

        assert(r == 0);
    }
    assert(packet_decode(buf, len, &again) == (int)len);
    assert(again.offset == p->offset && again.seqno == p->seqno);
    assert(again.data_bytes == p->data_bytes && again.sums_bytes == p->sums_bytes);
    assert(again.last == p->last && again.sync == p->sync);
}

static void sums_check(const struct checksum *c, const uint8_t *body,
                       const struct packet *p)
{
    uint8_t *copy = malloc((size_t)p->sums_bytes + p->data_bytes + 1);
    uint8_t *data = copy + p->sums_bytes;

    assert(copy);
    memcpy(copy, body, (size_t)p->sums_bytes + p->data_bytes);
    (void)checksum_match(c, data, p->data_bytes, copy);
    checksum_fill(c, data, p->data_bytes, copy);
    assert(checksum_match(c, data, p->data_bytes, copy));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checksum c;

    if (size < 2) {
        return 0;
    }
    c.type = (enum hdfs_checksum)(data[0] % 3);
    c.chunk_bytes = 1 + data[1] * 4u;
    data += 2;
    size -= 2;
    while (size > 0) {
        struct packet p;
        int used = decode_exact(data, size, &p);

        assert(used == -EBADMSG || (used >= 0 && (size_t)used <= size));
        if (used <= 0) {
            break;
        }
        packet_check(data, used, &p);
        data += used;
        size -= (size_t)used;
        if ((size_t)p.sums_bytes + p.data_bytes > size) {
            break;
        }
        if (p.sums_bytes == checksum_bytes_for(&c, p.data_bytes)) {
            sums_check(&c, data, &p);
        }
        data += p.sums_bytes + p.data_bytes;
        size -= (size_t)p.sums_bytes + p.data_bytes;
    }
    return 0;
}
