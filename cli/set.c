/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* set.c - hlfs set: by the process that holds the volume, or by ourselves. */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -ENOTCONN: there is nobody to ask.  Else *RET_STATUS is set. */
static int set_by_holder(const struct arguments *a, const char *location, const char *key,
                         const char *value, int *ret_status)
{
    struct json_object *answer, *why;
    char *request;
    int r;

    if (asprintf(&request, "set %s %s", key, value) < 0) {
        *ret_status = fail("out of memory");
        return 0;
    }
    r = holder_ask(a, location, request, &answer);
    free(request);
    if (r == -ENOTCONN) {
        json_object_put(answer);
        return r;
    }
    if (r < 0 && json_object_object_get_ex(answer, "why", &why)) {
        *ret_status = fail("%s", json_object_get_string(why));
    } else {
        *ret_status = r < 0 ? fail_library(r, location) : EXIT_OK;
    }
    json_object_put(answer);
    return r;
}

static int set(const struct arguments *a, const char *location, const char *key,
               const char *value)
{
    int status = EXIT_OK;

    if (set_by_holder(a, location, key, value, &status) == -ENOTCONN) {
        int r = hlfs_set(location, key, value, a->options);

        status = r < 0 ? fail_library(r, location) : EXIT_OK;
    }
    return status;
}

int set_run(const struct arguments *a)
{
    char *location = NULL, *key = NULL, *equals;
    int status = location_split(a->operands[0], &location, NULL);

    if (status == EXIT_OK) {
        key = strdup(a->operands[1]);
        equals = key ? strchr(key, '=') : NULL;
        if (!key) {
            status = fail("out of memory");
        } else if (!equals || equals == key || strpbrk(key, " \n")) {
            status = fail_usage("\"%s\" is not KEY=VALUE", key);
        } else {
            *equals = '\0';
            status = set(a, location, key, equals + 1);
        }
    }
    free(key);
    free(location);
    return status;
}
