/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be set of a volume that is there: its keys, and who keeps each. */
#include "volume/private.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"

#define REPLICATION_MAX 512     /* as the option of create */

static int set_replication(struct store *s, const char *value)
{
    uint64_t copies;

    if (parse_number(value, &copies) < 0 || copies < 1 || copies > REPLICATION_MAX) {
        return error_set(-EINVAL, "replication cannot be \"%s\": it is a number from 1 to "
                         "%d", value, REPLICATION_MAX);
    }
    return store_set_replication(s, (uint32_t)copies);
}

static int set_compression(struct store *s, const char *value)
{
    (void)s;
    return strcmp(value, "none") == 0 ? 0 :
           error_set(-ENOTSUP, "compression cannot be \"%s\": this version knows none only",
                     value);
}

static int set_keep(struct store *s, const char *value)
{
    (void)s;
    return strcmp(value, "0") == 0 ? 0 :
           error_set(-ENOTSUP, "keep cannot be \"%s\": this version keeps no history, which "
                     "is keep=0", value);
}

static const struct {
    const char *key;
    int (*set)(struct store *s, const char *value);     /* NULL: for later versions */
} keys[] = {
    { "compression", set_compression },
    { "keep", set_keep },
    { "keep-bytes", NULL },
    { "ratio", NULL },
    { "replication", set_replication },
    { "parent", NULL },
};

int volume_set_on(struct store *s, const char *key, const char *value)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].key, key) != 0) {
            continue;
        }
        return keys[i].set ? keys[i].set(s, value) :
               error_set(-ENOTSUP, "\"%s\" cannot be set: it is for later versions", key);
    }
    return error_set(-EINVAL, "there is nothing \"%s\" to set: it is replication, or "
                     "compression, keep, keep-bytes, ratio or parent, which are for later "
                     "versions", key);
}

int volume_set(struct hlfs *v, const char *key, const char *value)
{
    if (monitor_forked(v)) {
        return -ECHILD;
    }
    return v->read_only ? -EROFS : volume_set_on(v->store, key, value);
}
