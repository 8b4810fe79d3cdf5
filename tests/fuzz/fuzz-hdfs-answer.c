/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a DataNode answers to the request that opens a transfer. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hdfs/blockop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_check(const char *text, size_t size)
{
    assert(memchr(text, '\0', size));
    for (; *text; text++) {
        assert((uint8_t)*text >= ' ' && *text != 0x7f);
    }
}

static void answer_check(const struct blockop_answer *a)
{
    text_check(a->bad_link, sizeof(a->bad_link));
    text_check(a->message, sizeof(a->message));
    if (a->has_checksum) {
        assert(checksum_valid(&a->checksum));
        assert(a->chunk_offset <= INT64_MAX);
    }
    assert(a->status == HDFS_STATUS_SUCCESS || blockop_error(a->status) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    struct blockop_answer a, part;
    int used;

    assert(copy);
    memmove(copy + 1, data, size);      /* its end is that of the memory */
    used = blockop_answer_decode(copy + 1, size, &a);
    assert(used == -EBADMSG || (used >= 0 && (size_t)used <= size));
    if (used > 0) {
        answer_check(&a);
        for (int cut = 0; cut < used && cut < 300; cut++) {
            assert(blockop_answer_decode(copy + 1, (size_t)cut, &part) == 0);
        }
    }
    free(copy);
    return 0;
}
