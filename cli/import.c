/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * import.c - hlfs import: a raw image as a volume.
 *
 * The volume is unfinished from before the first byte changes until all is durable: then
 * hlfs_finish() says so.  Whatever ends the import before leaves a volume that nobody
 * takes for the image.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "image.h"
#include "interrupt.h"

#define SECTOR_BYTES 512u

struct import {
    const struct arguments *arguments;
    const char *name;           /* of the volume, as it was given */
    char *location;             /* owned */
    struct image image;
    uint64_t size_bytes;        /* of the volume, where size_known */
    bool size_known;
    bool exists;                /* there is a volume already */
    struct hlfs *volume;        /* owned */
};

/* ---- Which size ----------------------------------------------------------- */

static uint64_t sectors_up(uint64_t bytes)
{
    return (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
}

/* What --size and the image say of it. */
static int size_find(struct import *i)
{
    const char *text = i->arguments->value[OPTION_SIZE];
    int status = EXIT_OK;

    i->size_known = text || !i->image.stream;
    i->size_bytes = sectors_up(i->image.bytes);
    if (i->size_bytes > HLFS_SIZE_MAX) {
        return fail("%s is too large for a volume: %s is the most", i->image.path,
                    size_format(HLFS_SIZE_MAX).text);
    }
    if (text) {
        status = volume_size_parse(text, &i->size_bytes);
    }
    if (status == EXIT_OK && i->size_bytes < i->image.bytes) {
        return fail("%s has %" PRIu64 " bytes, which a volume of %" PRIu64 " cannot take",
                    i->image.path, i->image.bytes, i->size_bytes);
    }
    return status;
}

/* The one that is there has another. */
static int size_differs(const struct import *i, uint64_t there)
{
    return fail("%s has %" PRIu64 " bytes, %s %" PRIu64 ": import it to another location, "
                "or remove that volume first (hlfs rm)", i->name, there,
                i->arguments->value[OPTION_SIZE] ? "--size says" : i->image.path,
                i->size_bytes);
}

/* ---- The volume ----------------------------------------------------------- */

/* Options of create mean nothing to a volume that is there. */
static int no_create_options(const struct import *i)
{
    const struct arguments *a = i->arguments;
    const char *name = arguments_create_option(a);

    return name ? fail("the option %s is chosen when a volume is created, and %s is there "
                       "already", name, i->name) : EXIT_OK;
}

/* Is there a volume, and does it suit?  Changes nothing. */
static int volume_find(struct import *i)
{
    struct hlfs *v;
    uint64_t size;
    int r = hlfs_open(i->location, NULL, HLFS_RDONLY | HLFS_UNFINISHED,
                      i->arguments->options, &v);

    if (r == -ENOENT || r == -ENOTDIR) {
        return i->size_known ? EXIT_OK :
               fail_usage("the size of %s is not known: give the volume one by --size",
                          i->image.path);
    }
    if (r < 0) {
        return fail_library(r, i->name);
    }
    size = hlfs_size(v);
    (void)hlfs_close(v);
    i->exists = true;
    if (i->size_known && size != i->size_bytes) {
        return size_differs(i, size);
    }
    i->size_bytes = size;
    i->size_known = true;
    return no_create_options(i);
}

static bool option_given(const struct arguments *a, const char *key)
{
    size_t len = strlen(key);

    for (unsigned n = 0; n < a->set_count; n++) {
        if (strncmp(a->sets[n], key, len) == 0 && a->sets[n][len] == '=') {
            return true;
        }
    }
    return false;
}

/* From here on it is unfinished. */
static int volume_begin(struct import *i)
{
    struct hlfs_options *options = i->arguments->options;
    int r = 0;

    if (!i->exists) {
        r = hlfs_create_unfinished(i->location, i->size_bytes, options);
    } else if (!option_given(i->arguments, "full")) {
        /* On a full store the old content has to go first, which takes a moment. */
        r = hlfs_options_set(options, "full", "wait=10s");
    }
    if (r == 0) {
        r = hlfs_open(i->location, NULL, HLFS_UNFINISHED, options, &i->volume);
    }
    if (r < 0) {
        return fail_library(r, i->name);
    }
    if (hlfs_size(i->volume) != i->size_bytes) {        /* somebody was quicker */
        (void)hlfs_finish(i->volume);                   /* nothing has changed yet */
        return size_differs(i, hlfs_size(i->volume));
    }
    return EXIT_OK;
}

/* What is a hole in the image reads as zeros, whatever was there. */
static int volume_empty(const struct import *i)
{
    int r = hlfs_discard(i->volume, i->size_bytes, 0, 0);

    return r < 0 ? fail("cannot empty %s: %s; it is an unfinished import now", i->name,
                        strerror(-r)) : EXIT_OK;
}

static int volume_write(void *to, const void *buf, size_t len, uint64_t at)
{
    struct import *i = to;

    return hlfs_pwrite(i->volume, buf, len, at, 0);
}

/* In order, so that the log has the image as it will be read. */
static const struct copy_sink volume_sink = { .write = volume_write, .ordered = true };

/* ---- The copy ------------------------------------------------------------- */

static int import_failed(const struct import *i, const char *why)
{
    return fail("%s; %s is an unfinished import: import it again, or remove it (hlfs rm)",
                why, i->name);
}

static int copy_failed(const struct import *i, int error, const struct copy_result *r)
{
    char why[1024];

    if (r->side == COPY_SIGNAL) {
        return import_failed(i, "the import was interrupted");
    }
    if (r->side == COPY_SOURCE && error == -ENODATA) {
        (void)snprintf(why, sizeof(why), "%s became shorter while it was read",
                       i->image.path);
    } else {
        (void)snprintf(why, sizeof(why), "cannot %s %s at byte %" PRIu64 ": %s",
                       r->side == COPY_SOURCE ? "read" : "write to",
                       r->side == COPY_SOURCE ? i->image.path : i->name, r->offset,
                       error == -ESTALE ? "another writer has taken it over" :
                       strerror(-error));
    }
    return import_failed(i, why);
}

/* A stream must have as many bytes as the volume: who writes it may have failed. */
static int stream_end(const struct import *i, const struct copy_result *r)
{
    char why[1024];
    int more;

    if (sectors_up(r->end_bytes) < i->size_bytes) {
        (void)snprintf(why, sizeof(why), "%s ended after %" PRIu64 " bytes, and %s has %"
                       PRIu64, i->image.path, r->end_bytes, i->name, i->size_bytes);
        return import_failed(i, why);
    }
    more = r->end_bytes < i->size_bytes ? 0 : image_more(&i->image);
    if (more != 0) {
        (void)snprintf(why, sizeof(why), "%s %s, and %s has only these %" PRIu64 " bytes",
                       i->image.path, more > 0 ? "goes on" : "cannot be read to its end",
                       i->name, i->size_bytes);
        return import_failed(i, why);
    }
    return EXIT_OK;
}

static int import_copy(struct import *i)
{
    const struct copy copy = {
        .source = image_source(&i->image), .from = &i->image, .sink = &volume_sink,
        .to = i, .size_bytes = i->size_bytes, .what = "import",
    };
    struct copy_result result;
    int r = copy_run(&copy, &result);

    if (r < 0) {
        (void)copy_failed(i, r, &result);
        if (result.stuck) {
            _exit(EXIT_FAILED);
        }
        return EXIT_FAILED;
    }
    if (i->image.stream) {
        i->image.bytes = result.end_bytes;
        return stream_end(i, &result);
    }
    return EXIT_OK;
}

/* ---- The whole ------------------------------------------------------------ */

static int import_finish(struct import *i)
{
    int r = hlfs_finish(i->volume);

    return r < 0 ? import_failed(i, hlfs_error()) : EXIT_OK;
}

static int import_to_volume(struct import *i)
{
    int status = volume_begin(i);
    int r;

    if (status == EXIT_OK) {
        interrupt_begin();
        status = volume_empty(i);
        if (status == EXIT_OK) {
            status = import_copy(i);
        }
        interrupt_end();
    }
    if (status == EXIT_OK) {
        status = import_finish(i);
    }
    r = hlfs_close(i->volume);
    i->volume = NULL;
    if (r < 0 && status == EXIT_OK) {
        status = fail_library(r, i->name);
    }
    if (status == EXIT_OK && i->image.bytes % SECTOR_BYTES != 0) {
        warn("%s has %" PRIu64 " bytes; zeros fill it up to %" PRIu64 ", a multiple of 512",
             i->image.path, i->image.bytes, sectors_up(i->image.bytes));
    }
    return status;
}

int import_run(const struct arguments *a)
{
    struct import i = { .arguments = a, .name = a->operands[1] };
    int status = location_split(i.name, &i.location, NULL);

    if (status != EXIT_OK) {
        return status;
    }
    status = image_open(&i.image, a->operands[0]);
    if (status == EXIT_OK) {
        status = size_find(&i);
        if (status == EXIT_OK) {
            status = volume_find(&i);
        }
        if (status == EXIT_OK) {
            status = import_to_volume(&i);
        }
        image_close(&i.image);
    }
    free(i.location);
    return status;
}
