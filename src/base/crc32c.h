/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crc32c.h - CRC-32C (Castagnoli, RFC 3720 B.4), the checksum of all stored bytes.
 *
 * crc32c(0, "123456789", 9) == 0xE3069283.  Sums chain:
 * crc32c(crc32c(0, a, n), b, m) is the sum of a followed by b.
 */
#ifndef HLFS_BASE_CRC32C_H
#define HLFS_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

/*
 * Copy LEN bytes and return the sum of the *copy*.  SRC may change meanwhile (it
 * is guest memory): the sum then still is the one of what DST holds.
 */
uint32_t crc32c_copy(void *dst, const void *src, size_t len);

#endif
