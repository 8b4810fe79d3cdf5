/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* info.c - hlfs info and hlfs ls. */
#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What both print ------------------------------------------------------ */

struct uuid_text {
    char text[37];
};

static struct uuid_text uuid_format(const uint8_t uuid[16])
{
    struct uuid_text ret;
    char *p = ret.text;

    for (int i = 0; i < 16; i++) {
        p += sprintf(p, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                     uuid[i]);
    }
    return ret;
}

static struct json_object *nodes_to_json(const char *tail)
{
    struct json_object *array = json_object_new_array();
    char copy[sizeof(((struct hlfs_info *)0)->tail)];
    char *rest = copy, *node;

    (void)snprintf(copy, sizeof(copy), "%s", tail);
    while ((node = strsep(&rest, " ")) != NULL) {
        if (node[0]) {
            json_object_array_add(array, json_string(node));
        }
    }
    return array;
}

static void info_to_json(const struct hlfs_info *i, struct json_object *o)
{
    json_add_uint(o, "format_version", i->format_version);
    json_add_string(o, "uuid", uuid_format(i->uuid).text);
    json_add_uint(o, "size_bytes", i->size_bytes);
    json_add_uint(o, "block_bytes", i->block_bytes);
    json_add_uint(o, "segment_bytes", i->segment_bytes);
    json_add_uint(o, "segments", i->segments);
    json_add_uint(o, "log_bytes", i->log_bytes);
    json_add_uint(o, "live_bytes", i->live_bytes);
    json_add_uint(o, "pool_bytes", i->pool_bytes);
    json_add_uint(o, "snapshots", i->snapshots);
    json_add_uint(o, "epoch", i->epoch);
    json_add_uint(o, "seq", i->seq);
    json_add_uint(o, "synced_seq", i->synced_seq);
    json_add_string(o, "durability", i->durability);
    json_add_bool(o, "degraded", i->degraded);
    json_add_uint(o, "replication", i->replication);
    json_object_object_add(o, "tail_datanodes", nodes_to_json(i->tail));
    json_add_uint(o, "created_us", i->created_us);
    json_add_uint(o, "checkpoint_us", i->checkpoint_us);
    json_add_uint(o, "as_of_us", i->as_of_us);
    json_add_string(o, "holder_host", i->holder_host);
    json_add_uint(o, "holder_pid", i->holder_pid);
    json_add_bool(o, "holder_alive", i->holder_alive);
    json_add_uint(o, "holder_since_us", i->holder_since_us);
    json_add_string(o, "state", i->unfinished_us ? "unfinished import" : "whole");
    json_add_uint(o, "unfinished_since_us", i->unfinished_us);
}

/* ---- info ----------------------------------------------------------------- */

static void print_bytes(const char *name, uint64_t bytes)
{
    printf("%-14s%s", name, size_format(bytes).text);
    if (bytes >= 1024) {
        printf(" (%" PRIu64 " bytes)", bytes);
    }
    printf("\n");
}

static void print_time(const char *name, uint64_t us)
{
    printf("%-14s%s\n", name, us ? time_format(us).text : "none");
}

static void print_holder(const struct hlfs_info *i)
{
    if (i->holder_host[0]) {
        printf("%-14shost %s, pid %" PRIu32 ", since %s\n",
               i->holder_alive ? "held by" : "last held by", i->holder_host,
               i->holder_pid, time_format(i->holder_since_us).text);
    }
}

static void info_print(const char *location, const struct hlfs_info *i)
{
    printf("%-14s%s\n", "location", location);
    if (i->unfinished_us) {
        printf("%-14sunfinished import, begun at %s\n", "state",
               time_format(i->unfinished_us).text);
    }
    print_bytes("size", i->size_bytes);
    printf("%-14s%s\n", "block size", size_format(i->block_bytes).text);
    printf("%-14s%s\n", "segment size", size_format(i->segment_bytes).text);
    print_bytes("log", i->log_bytes);
    print_bytes("live", i->live_bytes);
    print_bytes("pool", i->pool_bytes);
    printf("%-14s%" PRIu64 "\n", "segments", i->segments);
    printf("%-14s%" PRIu32 "\n", "snapshots", i->snapshots);
    printf("%-14s%s%s\n", "durability", i->durability,
           i->degraded ? ", degraded: fewer copies than asked for" : "");
    if (i->replication) {
        printf("%-14s%" PRIu32 "\n", "replication", i->replication);
        printf("%-14s%s\n", "tail", i->tail[0] ? i->tail : "unknown");
    }
    printf("%-14s%" PRIu64 ", known to be durable up to %" PRIu64 ", epoch %" PRIu64 "\n",
           "record", i->seq, i->synced_seq, i->epoch);
    print_time("created", i->created_us);
    print_time("checkpoint", i->checkpoint_us);
    print_time("as of", i->as_of_us);
    printf("%-14s%s\n", "uuid", uuid_format(i->uuid).text);
    printf("%-14s%" PRIu32 "\n", "format", i->format_version);
    print_holder(i);
}

/* Read-only: writes nothing, holds nothing. */
static int info_read(struct hlfs *v, const char *location, struct hlfs_info *ret)
{
    int r = hlfs_get_info(v, ret, sizeof(*ret));

    (void)hlfs_close(v);
    return r < 0 ? fail("cannot look at %s: %s", location, strerror(-r)) : EXIT_OK;
}

int info_run(const struct arguments *a)
{
    const char *location = a->operands[0];
    struct hlfs_info info = { 0 };
    struct json_object *o;
    struct hlfs *v;
    int status = volume_open(a, location, HLFS_RDONLY | HLFS_UNFINISHED, &v);

    if (status == EXIT_OK) {
        status = info_read(v, location, &info);
    }
    if (status != EXIT_OK) {
        return status;
    }
    if (a->value[OPTION_JSON]) {
        o = json_object_new_object();
        json_add_string(o, "location", location);
        info_to_json(&info, o);
        json_print(o);
    } else {
        info_print(location, &info);
    }
    return EXIT_OK;
}

/* ---- ls ------------------------------------------------------------------- */

struct listing {
    const struct arguments *arguments;
    const char *dir;
    struct json_object *array;  /* with --json, else NULL */
    size_t count;
    int status;                 /* EXIT_FAILED: a volume could not be looked at */
};

static void ls_print(struct listing *l, const char *name, const struct hlfs_info *i)
{
    if (l->count++ == 0) {
        printf("%-24s %12s %12s %12s  %-20s  %s\n", "NAME", "SIZE", "LOG", "LIVE",
               "AS OF", "HELD BY");
    }
    if (!i) {
        printf("%-24s %12s %12s %12s  %-20s  unknown\n", name, "?", "?", "?", "?");
        return;
    }
    printf("%-24s %12s %12s %12s  %-20s", name, size_format(i->size_bytes).text,
           size_format(i->log_bytes).text, size_format(i->live_bytes).text,
           i->as_of_us ? time_format(i->as_of_us).text : "none");
    if (i->holder_alive) {
        printf("  %s, pid %" PRIu32, i->holder_host, i->holder_pid);
    }
    if (i->unfinished_us) {
        printf("  (unfinished import)");
    }
    printf("\n");
}

static void ls_add(struct listing *l, const char *name, const struct hlfs_info *i,
                   const char *error)
{
    struct json_object *o;

    if (!l->array) {
        ls_print(l, name, i);
        return;
    }
    o = json_object_new_object();
    json_add_string(o, "name", name);
    if (i) {
        info_to_json(i, o);
    } else {
        json_add_string(o, "error", error);
    }
    json_object_array_add(l->array, o);
}

/* A volume that cannot be opened is listed all the same. */
static int ls_volume(void *opaque, const char *name)
{
    struct listing *l = opaque;
    size_t dir_len = strlen(l->dir);
    const char *slash = l->dir[dir_len - 1] == '/' ? "" : "/";
    char *location;
    char error[1024] = "";
    struct hlfs_info info = { 0 };
    struct hlfs *v;
    int r;

    if (asprintf(&location, "%s%s%s", l->dir, slash, name) < 0) {
        l->status = fail("out of memory");
        return -1;
    }
    r = hlfs_open(location, NULL, HLFS_RDONLY | HLFS_UNFINISHED, l->arguments->options, &v);
    if (r < 0) {
        (void)snprintf(error, sizeof(error), "%s", hlfs_error());
        l->status = fail("%s", error);
    } else if (info_read(v, location, &info) != EXIT_OK) {
        (void)snprintf(error, sizeof(error), "it cannot be looked at");
        l->status = EXIT_FAILED;
    }
    ls_add(l, name, error[0] ? NULL : &info, error);
    free(location);
    return 0;
}

int ls_run(const struct arguments *a)
{
    struct listing l = { .arguments = a, .status = EXIT_OK };
    char *dir;
    int status = location_split(a->operands[0], &dir, NULL);
    int r;

    if (status != EXIT_OK) {
        return status;
    }
    l.dir = dir;
    l.array = a->value[OPTION_JSON] ? json_object_new_array() : NULL;
    r = hlfs_list(dir, a->options, ls_volume, &l);
    if (r < 0 && l.status == EXIT_OK) {
        l.status = fail_library(r, dir);
    }
    if (r < 0) {
        json_object_put(l.array);
    } else if (l.array) {
        json_print(l.array);
    }
    free(dir);
    return l.status;
}
