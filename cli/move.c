/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move.c - hlfs mv. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Something is at TO, and --force says that it may go: if it is another volume. */
static int target_clear(const struct arguments *a, const char *from, const char *to)
{
    struct hlfs_info old, new;
    int r = info_look(a, from, &old);

    if (r < 0) {
        return fail_library(r, from);
    }
    r = info_look(a, to, &new);
    if (r == 0 && memcmp(old.uuid, new.uuid, sizeof(old.uuid)) == 0) {
        return fail("%s and %s are the same volume", from, to);
    }
    if (r == 0) {
        r = hlfs_remove(to, a->options);
    }
    return r < 0 ? fail_library(r, to) : EXIT_OK;
}

static int move(const struct arguments *a, const char *from, const char *to)
{
    int r = hlfs_rename(from, to, a->options);

    if (r == -EEXIST && a->value[OPTION_FORCE]) {
        int status = target_clear(a, from, to);

        if (status != EXIT_OK) {
            return status;
        }
        r = hlfs_rename(from, to, a->options);
    }
    return r < 0 ? fail_library(r, from) : EXIT_OK;
}

int mv_run(const struct arguments *a)
{
    char *from = NULL, *to = NULL;
    int status = location_split(a->operands[0], &from, NULL);

    if (status == EXIT_OK) {
        status = location_split(a->operands[1], &to, NULL);
    }
    if (status == EXIT_OK) {
        status = move(a, from, to);
    }
    free(from);
    free(to);
    return status;
}
