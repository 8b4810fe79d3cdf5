/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* create.c - hlfs create and hlfs rm. */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* For --force: make room at LOCATION.  Nothing there is fine; what is no volume is for
 * hlfs_create() to say. */
static int target_remove(const struct arguments *a, const char *location)
{
    int r = hlfs_remove(location, a->options);

    if (r < 0 && r != -ENOENT && r != -ENOTDIR) {
        return fail_library(r, location);
    }
    return EXIT_OK;
}

/* The library has just said that LOCATION exists: add what helps, if something does. */
static int target_exists(const struct arguments *a, const char *location)
{
    char sentence[1024];
    int r;

    (void)snprintf(sentence, sizeof(sentence), "%s", hlfs_error());
    r = volume_look(a, location);
    if (r == -ENOENT || r == -ENOTDIR) {
        return fail("%s", sentence);
    }
    if (r == -EBADMSG || r == -ENOTSUP) {
        return fail("%s (--force -o force=yes replaces one that cannot be read)",
                    sentence);
    }
    return fail("%s (--force replaces a volume that nobody holds)", sentence);
}

int create_run(const struct arguments *a)
{
    char *location = NULL;
    uint64_t bytes = 0;
    /* All that can be wrong in the arguments is found before anything is removed. */
    int status = volume_size_parse(a->operands[1], &bytes);
    int r;

    if (status == EXIT_OK) {
        status = location_split(a->operands[0], &location, NULL);
    }
    if (status == EXIT_OK) {
        r = hlfs_create(location, bytes, a->options);
        if (r == -EEXIST && a->value[OPTION_FORCE]) {
            status = target_remove(a, location);
            r = status == EXIT_OK ? hlfs_create(location, bytes, a->options) : 0;
        }
        if (r == -EEXIST && !a->value[OPTION_FORCE]) {
            status = target_exists(a, location);
        } else if (r < 0) {
            status = fail_library(r, location);
        }
    }
    free(location);
    return status;
}

static int name_ignore(void *opaque, const char *name)
{
    return 0;
}

/* Is there something that could be removed?  With force a directory will do. */
static int removal_look(const struct arguments *a, const char *location)
{
    bool force = false;
    int r;

    for (unsigned i = 0; i < a->set_count; i++) {
        if (strncmp(a->sets[i], "force=", 6) == 0) {
            force = strcmp(a->sets[i], "force=yes") == 0;
        }
    }
    r = volume_look(a, location);
    if (r == -ENOTDIR || (r == -ENOENT && !force)) {
        return fail_library(r, location);
    }
    if (r == -ENOENT && hlfs_list(location, a->options, name_ignore, NULL) == -ENOENT) {
        return fail("there is no volume %s: there is no such directory", location);
    }
    return EXIT_OK;
}

/* Ask on the terminal.  EXIT_OK: go on. */
static int removal_confirm(const char *location)
{
    char answer[16] = "";

    if (!isatty(STDIN_FILENO)) {
        return fail("%s is not removed: there is no terminal to ask on, and --yes was "
                    "not given", location);
    }
    (void)fprintf(stderr, "Remove %s with everything in it? [y/N] ", location);
    if (!fgets(answer, sizeof(answer), stdin)) {
        (void)fputc('\n', stderr);
    }
    answer[strcspn(answer, "\n")] = '\0';
    if (strcasecmp(answer, "y") != 0 && strcasecmp(answer, "yes") != 0) {
        return fail("%s is not removed", location);
    }
    return EXIT_OK;
}

int rm_run(const struct arguments *a)
{
    char *location;
    int status = location_split(a->operands[0], &location, NULL);
    int r;

    if (status != EXIT_OK) {
        return status;
    }
    if (!a->value[OPTION_YES]) {
        status = removal_look(a, location);
        if (status == EXIT_OK) {
            status = removal_confirm(location);
        }
    }
    if (status == EXIT_OK) {
        r = hlfs_remove(location, a->options);
        if (r < 0) {
            status = fail_library(r, location);
        }
    }
    free(location);
    return status;
}
