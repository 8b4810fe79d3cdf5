/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check.c - hlfs check and hlfs dump: looking inside, changing nothing. */
#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- check ---------------------------------------------------------------- */

/* With --json the findings are collected into OPAQUE, an array. */
static void finding_collect(void *opaque, int error, const char *text)
{
    struct json_object *o = json_object_new_object();

    json_add_bool(o, "error", error);
    json_add_string(o, "text", text);
    json_object_array_add(opaque, o);
}

static void finding_print(void *opaque, int error, const char *text)
{
    printf("%s: %s\n", error ? "error" : "warning", text);
}

static void check_print(const struct hlfs_check_result *c)
{
    printf("as of %s\n", c->as_of_us ? time_format(c->as_of_us).text :
           "an unknown time");
    printf("%" PRIu64 " segments, %" PRIu64 " records, %" PRIu64 " pages and %" PRIu64
           " blocks were looked at.\n", c->segments, c->records, c->pages, c->blocks);
    if (c->errors == 0 && c->warnings == 0) {
        printf("No errors were found.\n");
    } else {
        printf("%" PRIu64 " errors, %" PRIu64 " warnings.\n", c->errors, c->warnings);
    }
}

/* Takes FINDINGS. */
static void check_print_json(const char *location, const struct hlfs_check_result *c,
                             struct json_object *findings)
{
    struct json_object *o = json_object_new_object();

    json_add_string(o, "location", location);
    json_add_uint(o, "segments", c->segments);
    json_add_uint(o, "records", c->records);
    json_add_uint(o, "pages", c->pages);
    json_add_uint(o, "blocks", c->blocks);
    json_add_uint(o, "errors", c->errors);
    json_add_uint(o, "warnings", c->warnings);
    json_add_uint(o, "as_of_us", c->as_of_us);
    json_object_object_add(o, "findings", findings);
    json_print(o);
}

int check_run(const struct arguments *a)
{
    struct hlfs_check_result result = { 0 };
    struct json_object *findings = NULL;
    char *location;
    int status = location_split(a->operands[0], &location, NULL);
    int r;

    if (status != EXIT_OK) {
        return status;
    }
    if (a->value[OPTION_JSON]) {
        findings = json_object_new_array();
    }
    r = hlfs_check(location, a->options, a->value[OPTION_DATA] ? HLFS_CHECK_DATA : 0,
                   findings ? finding_collect : finding_print, findings, &result,
                   sizeof(result));
    if (r < 0) {
        json_object_put(findings);
        status = fail_library(r, location);
    } else {
        if (findings) {
            check_print_json(a->operands[0], &result, findings);
        } else {
            check_print(&result);
        }
        status = result.errors ? EXIT_FAILED : EXIT_OK;
    }
    free(location);
    return status;
}

/* ---- dump ----------------------------------------------------------------- */

static void line_print(void *opaque, const char *line)
{
    (void)puts(line);
}

int dump_run(const struct arguments *a)
{
    char *location;
    int status = location_split(a->operands[0], &location, NULL);
    int r;

    if (status != EXIT_OK) {
        return status;
    }
    r = hlfs_dump(location, a->options, line_print, NULL);
    if (r < 0) {
        status = fail_library(r, location);
    }
    free(location);
    return status;
}
