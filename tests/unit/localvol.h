/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * localvol.h - a volume on the local store in a directory of its own, for tests that
 * use real threads and real I/O.  One at a time; it goes with localvol_done().
 *
 * cmocka's assertions jump, which only the thread that runs the test may do: other
 * threads use CHECK(), which ends the process.
 */
#ifndef TEST_LOCALVOL_H
#define TEST_LOCALVOL_H

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/util.h"
#include "store/local.h"
#include "volume/volume.h"

#define CHECK(condition, ...)                                               \
    do {                                                                    \
        if (!(condition)) {                                                 \
            (void)fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            (void)fprintf(stderr, __VA_ARGS__);                             \
            (void)fprintf(stderr, "\n");                                    \
            abort();                                                        \
        }                                                                   \
    } while (0)

static char localvol_scratch[PATH_MAX / 2];
static char localvol_path[PATH_MAX / 2 + 8];

static int localvol_remove_one(const char *path, const struct stat *st _unused_,
                               int type _unused_, struct FTW *ftw _unused_)
{
    return remove(path);
}

static inline void localvol_init(void)
{
    const char *dir = getenv("TMPDIR");

    (void)snprintf(localvol_scratch, sizeof(localvol_scratch), "%s/hlfs-test-XXXXXX",
                   dir ? dir : "/tmp");
    assert_non_null(mkdtemp(localvol_scratch));
    (void)snprintf(localvol_path, sizeof(localvol_path), "%s/vol", localvol_scratch);
}

static inline void localvol_done(void)
{
    (void)nftw(localvol_scratch, localvol_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void localvol_create(uint64_t size, unsigned store_flags,
                                   const struct hlfs_options *o)
{
    struct store *s = NULL;

    if (local_store_open(localvol_path, store_flags | LOCAL_CREATE, 0600, &s) < 0 ||
        volume_create(s, size, 0, o) < 0) {
        fail_msg("%s", error_text());
    }
}

static inline struct hlfs *localvol_open(unsigned store_flags, unsigned flags,
                                         const struct hlfs_options *o)
{
    struct hlfs *v = NULL;
    struct store *s = NULL;

    if (local_store_open(localvol_path, store_flags, 0600, &s) < 0 ||
        volume_open(s, flags, o, &v) < 0) {
        fail_msg("%s", error_text());
    }
    return v;
}

/* How long random tests run is set from outside; DEFAULT fits a plain build. */
static inline unsigned test_seeds(unsigned normal)
{
    const char *text = getenv("HLFS_TEST_SEEDS");

    return text ? (unsigned)strtoul(text, NULL, 10) : normal;
}

static inline int call_write(struct hlfs *v, const void *buf, size_t len, uint64_t offset,
                             unsigned flags)
{
    const struct request_args a = {
        .kind = REQUEST_WRITE, .buf = (void *)(uintptr_t)buf, .len = len,
        .offset = offset, .flags = flags,
    };

    return volume_call(v, &a);
}

static inline int call_read(struct hlfs *v, void *buf, size_t len, uint64_t offset)
{
    const struct request_args a = {
        .kind = REQUEST_READ, .buf = buf, .len = len, .offset = offset,
    };

    return volume_call(v, &a);
}

static inline int call_flush(struct hlfs *v)
{
    const struct request_args a = { .kind = REQUEST_FLUSH };

    return volume_call(v, &a);
}

#endif
