/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"

/* ---- Names ------------------------------------------------------------------- */

const char *names_kind(uint64_t file)
{
    return file & STORE_MOVED ? "moved" : "log";
}

/* "/" and VALUE in hexadecimal. */
static char *put_hex(char *to, uint64_t value, unsigned digits)
{
    *to++ = '/';
    for (unsigned i = digits; i-- > 0;) {
        *to++ = "0123456789abcdef"[value >> (4 * i) & 0xF];
    }
    *to = '\0';
    return to;
}

/* Without snprintf(): each flush makes one.  Returns its end. */
static char *shard(char path[NAMES_PATH_BYTES], uint64_t file)
{
    return put_hex(stpcpy(path, names_kind(file)), store_segno(file) / STORE_SHARD_FILES,
                   NAMES_SHARD_DIGITS);
}

void names_shard(char path[NAMES_PATH_BYTES], uint64_t file)
{
    (void)shard(path, file);
}

void names_segment(char path[NAMES_PATH_BYTES], uint64_t file)
{
    (void)put_hex(shard(path, file), store_segno(file), NAMES_SEGNO_DIGITS);
}

bool names_parse_hex(const char *name, unsigned digits, uint64_t *ret)
{
    uint64_t value = 0;
    unsigned i;

    for (i = 0; i < digits; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    if (name[i] != '\0') {
        return false;
    }
    *ret = value;
    return true;
}

void names_random(char name[NAMES_RANDOM_BYTES], const char *prefix)
{
    uint64_t x = 0;

    /* Eight bytes come whole or, before the kernel has seeded itself, not at all: the
     * name is used exclusively, so then it is merely more likely to be taken. */
    if (getrandom(&x, sizeof(x), GRND_NONBLOCK) != sizeof(x)) {
        x = clock_monotonic_us(&clock_system);
    }
    (void)snprintf(name, NAMES_RANDOM_BYTES, "%s%016" PRIx64, prefix, x);
}

/* ---- Numbers ----------------------------------------------------------------- */

/* The numbers among the names of a directory. */
struct numbers {
    unsigned digits;
    bool ordered;
    uint64_t min, max;      /* others are left out */
    uint64_t *value;        /* owned */
    size_t n, room;
};

static bool numbers_want(const struct numbers *a, uint64_t value)
{
    return value >= a->min && value <= a->max &&
           (!a->ordered || a->n == 0 || value > a->value[a->n - 1]);
}

static int numbers_add(void *opaque, const char *name)
{
    struct numbers *a = opaque;
    uint64_t value, *values;

    if (!names_parse_hex(name, a->digits, &value) || !numbers_want(a, value)) {
        return 0;
    }
    values = array_room(a->value, a->n, &a->room, sizeof(*values));
    if (!values) {
        return -ENOMEM;
    }
    a->value = values;
    a->value[a->n++] = value;
    return 0;
}

static int number_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The numbers in directory DIR, ascending. */
static int numbers_read(struct numbers *a, const struct names_source *src,
                        const char *dir, const char *after)
{
    int r;

    a->ordered = src->ordered;
    r = src->each(src->opaque, dir, after, numbers_add, a);
    if (r >= 0 && !a->ordered && a->n > 0) {
        qsort(a->value, a->n, sizeof(*a->value), number_compare);
    }
    return r;
}

/* ---- Listing ----------------------------------------------------------------- */

static int shards_read(const struct names_source *src, uint64_t kind, uint64_t from,
                       struct numbers *ret)
{
    *ret = (struct numbers){
        .digits = NAMES_SHARD_DIGITS, .min = from / STORE_SHARD_FILES, .max = UINT64_MAX,
    };
    return numbers_read(ret, src, names_kind(kind), "");
}

static int shard_read(const struct names_source *src, uint64_t kind, uint64_t number,
                      uint64_t from, struct numbers *ret)
{
    uint64_t first = number * STORE_SHARD_FILES;
    char path[NAMES_PATH_BYTES], after[24] = "";

    *ret = (struct numbers){
        .digits = NAMES_SEGNO_DIGITS,
        .min = MAX(MAX(from, first), (uint64_t)1),
        .max = first + STORE_SHARD_FILES - 1,
    };
    if (ret->min > first) {
        (void)snprintf(after, sizeof(after), "%09" PRIx64, ret->min - 1);
    }
    names_shard(path, kind | first);
    return numbers_read(ret, src, path, after);
}

int names_list(const struct names_source *src, uint64_t kind, uint64_t from,
               store_list_fn fn, void *opaque)
{
    uint64_t first = from > kind ? from - kind : 0;
    struct numbers shards, files;
    int r = shards_read(src, kind, first, &shards);

    for (size_t i = 0; r >= 0 && i < shards.n; i++) {
        r = shard_read(src, kind, shards.value[i], first, &files);
        for (size_t j = 0; r >= 0 && j < files.n; j++) {
            r = fn(opaque, kind | files.value[j]);
        }
        free(files.value);
    }
    free(shards.value);
    return MIN(r, 0);
}

int names_highest(const struct names_source *src, uint64_t kind, uint64_t *ret_file)
{
    struct numbers shards, files;
    bool found = false;
    int r = shards_read(src, kind, 0, &shards);

    for (size_t i = shards.n; r >= 0 && !found && i > 0; i--) {
        r = shard_read(src, kind, shards.value[i - 1], 0, &files);
        if (r >= 0 && files.n > 0) {
            *ret_file = kind | files.value[files.n - 1];
            found = true;
        }
        free(files.value);
    }
    free(shards.value);
    return r < 0 ? r : found ? 0 : -ENOENT;
}
