/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resize.c - hlfs resize: by the process that holds the volume, or by ourselves. */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct resize {
    const struct arguments *arguments;
    char *location;             /* owned */
    uint64_t bytes;
    bool shrink;
};

/* The call gave CODE, and the volume has NOW bytes: say why. */
static int resize_said(const struct resize *r, int code, uint64_t now)
{
    switch (code) {
    case 0:
        return EXIT_OK;
    case -EINVAL:
        if (r->bytes < now && !r->shrink) {
            return fail("%s has %s, and %s would cut something off; --shrink does it, and "
                        "what lies behind is lost", r->location, size_format(now).text,
                        size_format(r->bytes).text);
        }
        return fail("%s cannot have %" PRIu64 " bytes", r->location, r->bytes);
    case -EBUSY:
        return fail("%s is being resized by somebody else; try again", r->location);
    default:
        return fail_library(code, r->location);
    }
}

/* -ENOTCONN: there is nobody to ask.  Else *RET_STATUS is set. */
static int resize_by_holder(const struct resize *r, int *ret_status)
{
    struct json_object *answer, *size;
    char request[64];
    uint64_t now = 0;
    int code;

    (void)snprintf(request, sizeof(request), "resize %" PRIu64 "%s", r->bytes,
                   r->shrink ? " shrink" : "");
    code = holder_ask(r->arguments, r->location, request, &answer);
    if (json_object_object_get_ex(answer, "size_bytes", &size)) {
        now = json_object_get_uint64(size);
    }
    json_object_put(answer);
    if (code != -ENOTCONN) {
        *ret_status = resize_said(r, code, now);
    }
    return code;
}

static int resize_by_us(const struct resize *r)
{
    struct hlfs *v;
    int code = hlfs_open(r->location, NULL, 0, r->arguments->options, &v);
    int status;

    if (code < 0) {
        return fail_library(code, r->location);
    }
    code = hlfs_resize(v, r->bytes, r->shrink ? HLFS_SHRINK : 0);
    status = resize_said(r, code, hlfs_size(v));
    code = hlfs_close(v);
    return status == EXIT_OK && code < 0 ? fail_library(code, r->location) : status;
}

int resize_run(const struct arguments *a)
{
    struct resize r = { .arguments = a, .shrink = a->value[OPTION_SHRINK] != NULL };
    int status = volume_size_parse(a->operands[1], &r.bytes);

    if (status == EXIT_OK) {
        status = location_split(a->operands[0], &r.location, NULL);
    }
    if (status == EXIT_OK && resize_by_holder(&r, &status) == -ENOTCONN) {
        status = resize_by_us(&r);
    }
    free(r.location);
    return status;
}
