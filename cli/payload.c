/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "payload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "seeded.h"

/* Chosen somewhat arbitrarily: far more than a compressor's window, and small beside
 * the memory of the volume that bench reports. */
#define POOL_BYTES (UINT64_C(16) << 20)

#define READ_BYTES (UINT64_C(1) << 20)      /* of one read when verifying */

/* At the start of each block; read back only by the process that wrote it. */
struct stamp {
    uint64_t block;             /* its number in the volume */
    uint32_t low;               /* generation; or the counter's halves */
    uint32_t high;              /* its block in the pool */
};

static void *map_bytes(uint64_t bytes)
{
    /* Populated, so that page faults are not part of what is measured. */
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* xorshift64* (Vigna, 2016), seeded by the system. */
static void fill_random(uint8_t *buf, uint64_t bytes)
{
    uint64_t x = 0;

    while (x == 0) {
        if (getrandom(&x, sizeof(x), 0) != (ssize_t)sizeof(x)) {
            x = 0;
        }
    }
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word;

        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        word = x * UINT64_C(0x2545F4914F6CDD1D);
        memcpy(buf + i, &word, sizeof(word));
    }
}

int payload_init(struct payload *p, uint32_t request_bytes, unsigned slots,
                 uint64_t range_bytes, int verify)
{
    uint64_t one_each = (uint64_t)slots * request_bytes;

    *p = (struct payload){
        .request_bytes = request_bytes,
        .block_bytes = request_bytes % 4096 == 0 ? 4096 : 512,
        .windows = one_each < POOL_BYTES ? (uint32_t)(POOL_BYTES / one_each) : 1,
    };
    p->pool_bytes = one_each * p->windows;
    p->pool = map_bytes(p->pool_bytes);
    if (!p->pool) {
        return -ENOMEM;
    }
    fill_random(p->pool, p->pool_bytes);
    if (verify) {
        p->generation_bytes = range_bytes / p->block_bytes * sizeof(*p->generation);
        p->generation = map_bytes(p->generation_bytes);
        if (!p->generation) {
            return -ENOMEM;
        }
    }
    return 0;
}

void payload_done(struct payload *p)
{
    if (p->pool) {
        (void)munmap(p->pool, p->pool_bytes);
    }
    if (p->generation) {
        (void)munmap(p->generation, p->generation_bytes);
    }
    *p = (struct payload){ 0 };
}

const void *payload_make(struct payload *p, unsigned slot, uint64_t turn,
                         uint64_t offset, uint64_t *counter)
{
    uint64_t start = ((uint64_t)slot * p->windows + turn % p->windows) * p->request_bytes;

    if (p->seeded) {
        seeded_fill(p->seed, offset, p->pool + start, p->request_bytes);
        return p->pool + start;
    }
    for (uint64_t i = 0; i < p->request_bytes; i += p->block_bytes) {
        struct stamp stamp = { .block = (offset + i) / p->block_bytes };

        if (p->generation) {
            stamp.low = ++p->generation[stamp.block];
            stamp.high = (uint32_t)((start + i) / p->block_bytes);
        } else {
            stamp.low = (uint32_t)*counter;
            stamp.high = (uint32_t)(*counter >> 32);
            (*counter)++;
        }
        memcpy(p->pool + start + i, &stamp, sizeof(stamp));
    }
    return p->pool + start;
}

/* ---- Verifying ------------------------------------------------------------ */

static bool block_is_right(const struct payload *p, uint64_t block, const uint8_t *data)
{
    const size_t body = sizeof(struct stamp);
    struct stamp stamp;
    uint64_t place;

    memcpy(&stamp, data, sizeof(stamp));
    place = (uint64_t)stamp.high * p->block_bytes;
    return stamp.block == block && stamp.low == p->generation[block] &&
           place < p->pool_bytes &&
           memcmp(data + body, p->pool + place + body, p->block_bytes - body) == 0;
}

/* COUNT blocks from FIRST on, all of them written; BUF has room for them. */
static int run_verify(const struct payload *p, struct hlfs *v, uint64_t first,
                      uint64_t count, uint8_t *buf, uint64_t *ret_offset)
{
    int r = hlfs_pread(v, buf, count * p->block_bytes, first * p->block_bytes);

    if (r < 0) {
        *ret_offset = first * p->block_bytes;
        return r;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!block_is_right(p, first + i, buf + i * p->block_bytes)) {
            *ret_offset = (first + i) * p->block_bytes;
            return -EBADMSG;
        }
    }
    return 0;
}

int64_t payload_verify(const struct payload *p, struct hlfs *v, uint64_t range_bytes,
                       uint64_t *ret_offset)
{
    uint64_t blocks = range_bytes / p->block_bytes;
    uint64_t run_max = READ_BYTES / p->block_bytes;
    uint8_t *buf = map_bytes(READ_BYTES);
    int64_t right = 0;
    int r = buf ? 0 : -ENOMEM;

    for (uint64_t first = 0, end; r == 0 && first < blocks; first = end) {
        end = first;
        while (end < blocks && end - first < run_max && p->generation[end] > 0) {
            end++;
        }
        if (end == first) {
            end++;      /* never written: nothing is known of it */
            continue;
        }
        r = run_verify(p, v, first, end - first, buf, ret_offset);
        right += (int64_t)(end - first);
    }
    if (buf) {
        (void)munmap(buf, READ_BYTES);
    }
    return r < 0 ? r : right;
}
