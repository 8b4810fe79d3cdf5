/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A footer, its sum made right if the first byte is odd: every item lies inside it. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "log/format.h"

#define SEED 0x12345678u
#define OFFSET 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void items_walk(const uint8_t *buf, size_t bytes)
{
    size_t pos = FOOTER_HEADER_BYTES, before = pos, len, need;
    const void *record;
    uint64_t offset;
    int res;

    while ((res = footer_next(buf, bytes, &pos, &offset, &record, &len)) == 1) {
        struct record_header h;

        assert(pos > before && pos <= bytes);
        assert((const uint8_t *)record >= buf + before);
        assert((const uint8_t *)record + len <= buf + pos);
        before = pos;
        res = record_decode(record, len, SEED, 1, offset, &h, &need);
        assert(res == 0 || res == -EBADMSG || (res == -EAGAIN && need > len));
    }
    assert(res == 0 || res == -EBADMSG);
}

static void decode(const uint8_t *buf, size_t len)
{
    struct footer_disk f;
    int res = footer_decode(buf, len, SEED, OFFSET, &f);

    assert(res == 0 || res == -EBADMSG);
    if (res == 0) {
        assert(le32(f.bytes) >= FOOTER_HEADER_BYTES && le32(f.bytes) <= len);
        items_walk(buf, le32(f.bytes));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct footer_disk *d = (const void *)(data + 1);
    uint8_t *exact;

    if (size < 1) {
        return 0;
    }
    exact = malloc(size);   /* a copy: reading beyond it shows */
    if (!exact) {
        return 0;
    }
    memcpy(exact, data + 1, size - 1);
    if ((data[0] & 1) && size > FOOTER_HEADER_BYTES) {
        footer_encode(exact, (uint32_t)(size - 1), le64(d->first), le64(d->last),
                      le32(d->records), SEED, OFFSET);
    }
    exact = realloc(exact, MAX(size - 1, (size_t)1));
    assert(exact);
    decode(exact, size - 1);
    free(exact);
    return 0;
}
