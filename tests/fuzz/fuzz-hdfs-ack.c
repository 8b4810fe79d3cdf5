/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the first DataNode of a pipeline sends as acks, one after the other. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hdfs/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    size_t at = 0;

    assert(copy);
    memmove(copy + 1, data, size);      /* its end is that of the memory */
    while (at < size) {
        struct packet_ack a, part;
        int used = packet_ack_decode(copy + 1 + at, size - at, &a);
        int bad;

        assert(used == -EBADMSG || (used >= 0 && (size_t)used <= size - at));
        if (used <= 0) {
            break;
        }
        bad = packet_ack_bad_node(&a);
        assert(a.node_count <= ACK_NODES_MAX);
        assert(bad >= -1 && bad < (int)a.node_count);
        assert(bad < 0 || a.status[bad] != HDFS_STATUS_SUCCESS);
        for (int cut = 0; cut < used; cut++) {
            assert(packet_ack_decode(copy + 1 + at, (size_t)cut, &part) == 0);
        }
        at += (size_t)used;
    }
    free(copy);
    return 0;
}
