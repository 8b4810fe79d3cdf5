/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common.h - what all commands of hlfs(1) share: their arguments, messages, numbers.
 *
 * A command is a row in main.c's table and a function in the file of its family.
 * arguments.c reads the whole command line by that table before the function runs.
 * Uses the library by hlfs.h only.  One thread, but for what a header says.
 *
 * Errors: a function that returns an exit status has already said why on stderr,
 * in one sentence after "hlfs: ".
 */
#ifndef HLFS_CLI_COMMON_H
#define HLFS_CLI_COMMON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hlfs.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- Arguments (arguments.c) ---------------------------------------------- */

enum option_index {
    /* the library's, by the same name */
    OPTION_BLOCK_SIZE,
    OPTION_SEGMENT_SIZE,
    OPTION_COMPRESSION,
    OPTION_REPLICATION,
    OPTION_KEEP,
    OPTION_MODE,
    OPTION_CLONABLE_BY,
    /* ours */
    OPTION_FORCE,
    OPTION_YES,
    OPTION_JSON,
    OPTION_DATA,
    OPTION_SOCKET,
    OPTION_PORT,
    OPTION_READ_ONLY,
    OPTION_IO,
    OPTION_PATTERN,
    OPTION_SIZE,
    OPTION_DEPTH,
    OPTION_FLUSH_EVERY,
    OPTION_THREADS,
    OPTION_RANGE,
    OPTION_TIME,
    OPTION_COUNT,
    OPTION_VERIFY,
    OPTION_SEED,
    OPTION_WARM_POOL,
    OPTION_SHRINK,
    OPTION_WATCH,
    OPTION_INTERVAL,
    OPTION_RESCUE,
    OPTION_FOREGROUND,
    OPTION_ALLOW_OTHER,
    OPTIONS,                        /* how many there are */
};

#define BIT(option) (UINT64_C(1) << (option))

struct arguments;

struct command {
    const char *name;
    const char *operands;           /* as in the usage, "LOC SIZE" */
    unsigned operands_min;
    unsigned operands_max;
    uint64_t options;               /* BIT()s */
    const char *summary;            /* one line */
    const char *help;               /* more, or NULL */
    int (*run)(const struct arguments *a);      /* returns the exit status */
};

struct arguments {
    const struct command *command;  /* NULL: none was given */
    char **operands;                /* owned list of borrowed strings, then NULL */
    unsigned operand_count;
    char **sets;                    /* likewise: each -o as it was given */
    unsigned set_count;
    const char *value[OPTIONS];     /* borrowed; "" for a flag; NULL: not given */
    bool help;
    bool version;
    struct hlfs_options *options;   /* owned; with the sets and --block-size etc. */
};

/* Returns an exit status; EXIT_OK: A is filled.  arguments_done() in any case. */
int arguments_parse(int argc, char **argv, const struct command *commands,
                    struct arguments *a);
void arguments_done(struct arguments *a);

/* The first option of create that was given, by its name; NULL: none was. */
const char *arguments_create_option(const struct arguments *a);

/* On stdout. */
void help_all(const struct command *commands);
void help_command(const struct command *c);

/* ---- Messages ------------------------------------------------------------- */

/* Say it on stderr after "hlfs: ".  They return EXIT_FAILED and EXIT_USAGE. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int fail_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Say the library's sentence about its call that just returned CODE, or, where it
 * left none, WHAT and the text of CODE. */
int fail_library(int code, const char *what);

void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- Numbers, times, locations -------------------------------------------- */

/* Ask the holder of LOCATION (hlfs_control()): 0, or -errno; -ENOTCONN: nobody to ask.
 * *RET (may be NULL) becomes an object with what was answered, to be freed. */
int holder_ask(const struct arguments *a, const char *location, const char *request,
               struct json_object **ret);

/* A number, then nothing or K M G T (KiB … too).  False: it is none. */
bool size_parse(const char *text, uint64_t *ret_bytes);

/* Text of an option or operand into a number from MIN to MAX; NAME is for the
 * sentence.  EXIT_OK or EXIT_USAGE. */
int count_parse(const char *name, const char *text, uint64_t min, uint64_t max,
                uint64_t *ret);

/* A volume's size: a multiple of 512 that is not too large.  EXIT_OK or EXIT_USAGE. */
int volume_size_parse(const char *text, uint64_t *ret_bytes);

/* "16 GiB", "1.5 MiB", "512 bytes". */
struct size_text {
    char text[24];
};
struct size_text size_format(uint64_t bytes);

/* UTC, "2026-11-24T10:00:00Z". */
struct time_text {
    char text[32];
};
struct time_text time_format(uint64_t us);

/*
 * Split the operand TEXT; *RET_SNAPSHOT is NULL where none is given, and RET_SNAPSHOT
 * itself where none may be.  Both are malloc'ed.  An exit status.
 */
int location_split(const char *text, char **ret_location, char **ret_snapshot);

/* Open the volume or snapshot that the operand TEXT names.  An exit status. */
int volume_open(const struct arguments *a, const char *text, unsigned flags,
                struct hlfs **ret);

/* What opening LOCATION read-only gives: 0, or -errno with the library's sentence.
 * -ENOENT: there is no volume; -ENOTDIR: it is no directory. */
int volume_look(const struct arguments *a, const char *location);

/* What LOCATION is, by a look without a writer: 0, or -errno with the library's sentence. */
int info_look(const struct arguments *a, const char *location, struct hlfs_info *ret);

/* ---- JSON ----------------------------------------------------------------- */

/* One line on stdout; frees OBJECT. */
void json_print(struct json_object *object);

void json_add_uint(struct json_object *o, const char *key, uint64_t value);
void json_add_bool(struct json_object *o, const char *key, bool value);
void json_add_string(struct json_object *o, const char *key, const char *value);
/* JSON is UTF-8: each byte of VALUE that is not becomes U+FFFD. */
struct json_object *json_string(const char *value);
/* With three digits after the point: times in microseconds and seconds. */
void json_add_double(struct json_object *o, const char *key, double value);

/* ---- Commands ------------------------------------------------------------- */

int create_run(const struct arguments *a);      /* create.c */
int rm_run(const struct arguments *a);
int ls_run(const struct arguments *a);          /* info.c */
int info_run(const struct arguments *a);
int import_run(const struct arguments *a);      /* import.c */
int export_run(const struct arguments *a);      /* export.c */
int serve_run(const struct arguments *a);       /* serve.c */
int bench_run(const struct arguments *a);       /* bench.c */
int check_run(const struct arguments *a);       /* check.c */
int dump_run(const struct arguments *a);
int mv_run(const struct arguments *a);          /* move.c */
int resize_run(const struct arguments *a);      /* resize.c */
int mount_run(const struct arguments *a);       /* mount.c */
int umount_run(const struct arguments *a);      /* umount.c */
int set_run(const struct arguments *a);         /* set.c */
int stat_run(const struct arguments *a);        /* stat.c */

#endif
