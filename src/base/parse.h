/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parse.h - numbers, sizes and times as people write them.
 *
 * Knows no option and leaves no sentence behind: the caller knows what the text was
 * for.  All take the whole text: no sign, no blank, nothing after the end.  On
 * failure the result is left alone: -EINVAL (not of that form, NULL included) or
 * -ERANGE (does not fit 64 bits).  Usable from any thread.
 */
#ifndef HLFS_BASE_PARSE_H
#define HLFS_BASE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits. */
int parse_number(const char *text, uint64_t *ret);

/* Octal digits, with leading zeros or without. */
int parse_octal(const char *text, uint64_t *ret);

/* A number and nothing (bytes), or K M G T, or KiB MiB GiB TiB, in any case: powers
 * of 1024.  KB and the like are refused: they mean 1000 to some. */
int parse_size(const char *text, uint64_t *ret_bytes);

/* A number and ms, s, m, h or d; alone it means seconds. */
int parse_time(const char *text, uint64_t *ret_us);

/* TEXT has no control characters (of ASCII), so that a line of a log can hold it. */
bool parse_is_line(const char *text);

#endif
