/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <string.h>

#include "base/util.h"

/* ISA-L takes and gives the register uninverted, and an int for the length. */
#define CRC32C_CHUNK_MAX ((size_t)1 << 30)

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
    unsigned char *p = (unsigned char *)buf;

    crc = ~crc;
    while (len > 0) {
        size_t n = MIN(len, CRC32C_CHUNK_MAX);

        crc = crc32_iscsi(p, (int)n, crc);
        p += n;
        len -= n;
    }
    return ~crc;
}

/* The copy of one stretch stays in the first-level cache until it is summed. */
#define COPY_STRETCH 8192

uint32_t crc32c_copy(void *dst, const void *src, size_t len)
{
    uint32_t crc = 0;

    for (size_t done = 0; done < len; done += COPY_STRETCH) {
        size_t n = MIN(len - done, (size_t)COPY_STRETCH);

        /* Not memcpy: gcc makes a `rep movs` of a bounded one, at half the speed. */
        memmove((char *)dst + done, (const char *)src + done, n);
        /* The sum must be read from DST: SRC may have changed since. */
        __asm__ volatile("" : : "r"(dst) : "memory");
        crc = crc32c(crc, (const char *)dst + done, n);
    }
    return crc;
}
