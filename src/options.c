/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"

#define DAY_US (UINT64_C(86400) * 1000000)

struct row {
    const char *name;
    /* Put VALUE into FIELD, or leave it and return refuse(). */
    int (*read)(const struct row *row, const char *value, void *field);
    size_t field;               /* offset in struct hlfs_options */
    bool create;                /* belongs to create */
    uint64_t min, max;          /* for numbers, sizes and times */
    uint64_t step;              /* a size is a multiple of it; 0: any */
    const char *allowed;        /* "it takes …" */
};

static int refuse(const struct row *row, const char *value)
{
    return error_set(-EINVAL, "option %s cannot be \"%.100s\": it takes %s", row->name,
                     value, row->allowed);
}

/* ---- One reader per kind of value ----------------------------------------- */

static int read_bool(const struct row *row, const char *value, void *field)
{
    if (strcmp(value, "yes") == 0) {
        *(bool *)field = true;
    } else if (strcmp(value, "no") == 0) {
        *(bool *)field = false;
    } else {
        return refuse(row, value);
    }
    return 0;
}

static int read_string(const struct row *row, const char *value, void *field)
{
    char **string = field;
    char *copy;

    if (value[0] == '\0' || strlen(value) > row->max || !parse_is_line(value)) {
        return refuse(row, value);
    }
    copy = strdup(value);
    if (!copy) {
        return error_set(-ENOMEM, "option %s: out of memory", row->name);
    }
    free(*string);
    *string = copy;
    return 0;
}

static int read_count(const struct row *row, const char *value, void *field)
{
    uint64_t n;

    if (parse_number(value, &n) < 0 || n < row->min || n > row->max) {
        return refuse(row, value);
    }
    *(uint32_t *)field = (uint32_t)n;
    return 0;
}

static int read_size(const struct row *row, const char *value, void *field)
{
    uint64_t bytes;

    if (parse_size(value, &bytes) < 0 || bytes < row->min || bytes > row->max ||
        (row->step && bytes % row->step != 0)) {
        return refuse(row, value);
    }
    *(uint64_t *)field = bytes;
    return 0;
}

static int read_block_size(const struct row *row, const char *value, void *field)
{
    uint64_t bytes;
    int r = read_size(row, value, &bytes);

    if (r < 0) {
        return r;
    }
    if ((bytes & (bytes - 1)) != 0) {
        return refuse(row, value);
    }
    *(uint32_t *)field = (uint32_t)bytes;
    return 0;
}

static int read_time(const struct row *row, const char *value, void *field)
{
    uint64_t us;

    if (parse_time(value, &us) < 0 || us < row->min || us > row->max) {
        return refuse(row, value);
    }
    *(uint64_t *)field = us;
    return 0;
}

/* "wait=TIME": the time, or refuse(). */
static int read_wait(const struct row *row, const char *value, uint64_t *ret_us)
{
    uint64_t us;

    if (strncmp(value, "wait=", 5) != 0 || parse_time(value + 5, &us) < 0 ||
        us < row->min || us > row->max) {
        return refuse(row, value);
    }
    *ret_us = us;
    return 0;
}

static int read_unreachable(const struct row *row, const char *value, void *field)
{
    struct hlfs_options *o = container_of(field, struct hlfs_options, unreachable);
    enum unreachable_mode mode = UNREACHABLE_WAIT_TIME;
    uint64_t timeout_us = 0;
    int r;

    if (strcmp(value, "wait") == 0) {
        mode = UNREACHABLE_WAIT;
    } else if (strcmp(value, "error") == 0) {
        mode = UNREACHABLE_ERROR;
    } else {
        r = read_wait(row, value, &timeout_us);
        if (r < 0) {
            return r;
        }
    }
    o->unreachable.mode = mode;
    o->unreachable.timeout_us = timeout_us;
    o->unreachable.given = true;
    return 0;
}

static int read_full(const struct row *row, const char *value, void *field)
{
    uint64_t *wait_us = field;

    if (strcmp(value, "error") == 0) {
        *wait_us = 0;
        return 0;
    }
    return read_wait(row, value, wait_us);
}

static int read_durability(const struct row *row, const char *value, void *field)
{
    for (enum durability d = DURABILITY_LOCAL; d <= DURABILITY_HSYNC; d++) {
        if (strcmp(value, durability_name(d)) == 0) {
            *(enum durability *)field = d;
            return 0;
        }
    }
    return refuse(row, value);
}

static int not_yet(const struct row *row, const char *value, const char *what)
{
    return error_set(-EINVAL, "option %s cannot be \"%.100s\": this version has no %s "
                     "yet, it takes %s", row->name, value, what, row->allowed);
}

static int read_compression(const struct row *row, const char *value, void *field)
{
    if (strcmp(value, "none") == 0) {
        *(enum compression *)field = COMPRESSION_NONE;
        return 0;
    }
    if (strcmp(value, "lz4") == 0 || strcmp(value, "zstd") == 0 ||
        strncmp(value, "zstd:", 5) == 0) {
        return not_yet(row, value, "compression");
    }
    return refuse(row, value);
}

static int read_keep(const struct row *row, const char *value, void *field)
{
    uint64_t us;

    if (parse_time(value, &us) < 0 || us > row->max) {
        return refuse(row, value);
    }
    if (us > 0) {
        return not_yet(row, value, "history");
    }
    *(uint64_t *)field = us;
    return 0;
}

static int read_clonable_by(const struct row *row, const char *value, void *field)
{
    return not_yet(row, value, "clones");
}

/* Permission bits of files: the owner reads and writes, nobody executes. */
static int read_mode(const struct row *row, const char *value, void *field)
{
    uint64_t mode;

    if (parse_octal(value, &mode) < 0 || (mode & ~UINT64_C(0666)) != 0 ||
        (mode & 0600) != 0600) {
        return refuse(row, value);
    }
    *(uint32_t *)field = (uint32_t)mode;
    return 0;
}

/* ---- The table ------------------------------------------------------------ */

#define FIELD(name) offsetof(struct hlfs_options, name)

/* In the order of hlfs.h.  The upper limits of memory are chosen somewhat
 * arbitrarily: they catch a unit too many, not a big machine. */
static const struct row rows[] = {
    { "durability", read_durability, FIELD(durability),
      .allowed = "local, hflush or hsync" },
    { "cache-size", read_size, FIELD(cache_bytes), .min = MIB(4), .max = TIB(1),
      .allowed = "a size from 4M to 1T" },
    { "dirty-limit", read_size, FIELD(dirty_bytes), .min = MIB(4), .max = TIB(1),
      .allowed = "a size from 4M to 1T" },
    { "unreachable", read_unreachable, FIELD(unreachable), .min = 1000,
      .max = 365 * DAY_US, .allowed = "wait=TIME (1ms to 365d), wait or error" },
    { "full", read_full, FIELD(full.wait_us), .min = 1000, .max = 365 * DAY_US,
      .allowed = "error or wait=TIME (1ms to 365d)" },
    { "ack-timeout", read_time, FIELD(ack_timeout_us), .min = 1000,
      .max = UINT64_C(3600) * 1000000, .allowed = "a time from 1ms to 1h, as in 2s" },
    { "min-replicas", read_count, FIELD(min_replicas), .min = 1, .max = 512,
      .allowed = "a number from 1 to 512" },
    { "user", read_string, FIELD(user), .max = 255, .allowed = "a user's name" },
    { "hadoop-conf", read_string, FIELD(hadoop_conf), .max = 4095,
      .allowed = "a directory's path" },
    { "control", read_bool, FIELD(control), .allowed = "yes or no" },
    { "force", read_bool, FIELD(force), .allowed = "yes or no" },
    { "network-fs", read_bool, FIELD(network_fs), .allowed = "yes or no" },
    { "cache-shared", read_bool, FIELD(cache_shared), .allowed = "yes or no" },

    { "block-size", read_block_size, FIELD(block_bytes), true, KIB(4), KIB(64),
      .allowed = "a power of two from 4K to 64K" },
    { "segment-size", read_size, FIELD(segment_bytes), true, MIB(4), GIB(1), MIB(1),
      .allowed = "a multiple of 1M from 4M to 1G" },
    { "compression", read_compression, FIELD(compression), true, .allowed = "none" },
    { "replication", read_count, FIELD(replication), true, 1, 512,
      .allowed = "a number from 1 to 512" },
    { "keep", read_keep, FIELD(keep_us), true, 0, 36500 * DAY_US, .allowed = "0" },
    { "mode", read_mode, FIELD(mode), true,
      .allowed = "octal permissions from 0600 to 0666, reading and writing only" },
    { "clonable-by", read_clonable_by, FIELD(clonable_by), true,
      .allowed = "no value" },
};

static const struct row *row_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* ---- The struct ----------------------------------------------------------- */

void options_init(struct hlfs_options *o)
{
    *o = (struct hlfs_options){
        .cache_bytes = MIB(64),
        .dirty_bytes = MIB(64),
        .unreachable = { UNREACHABLE_WAIT_TIME, UINT64_C(120) * 1000000 },
        .ack_timeout_us = 2000000,
        .block_bytes = 4096,
        .mode = 0600,
    };
}

void options_done(struct hlfs_options *o)
{
    free(o->user);
    free(o->hadoop_conf);
    free(o->clonable_by);
    options_init(o);
}

/* Make *STRING, borrowed until now, our own; it is NULL when that fails. */
static bool string_own(char **string)
{
    if (!*string) {
        return true;
    }
    *string = strdup(*string);
    return *string != NULL;
}

int options_copy(struct hlfs_options *dst, const struct hlfs_options *src)
{
    bool user, conf, group;

    if (!src) {
        options_init(dst);
        return 0;
    }
    *dst = *src;
    /* All three are tried, so that none still points into SRC after a failure. */
    user = string_own(&dst->user);
    conf = string_own(&dst->hadoop_conf);
    group = string_own(&dst->clonable_by);
    if (!user || !conf || !group) {
        options_done(dst);
        return error_set(-ENOMEM, "cannot copy the options: out of memory");
    }
    return 0;
}

uint64_t options_unreachable_us(const struct hlfs_options *o)
{
    switch (o->unreachable.mode) {
    case UNREACHABLE_ERROR:
        return 0;
    case UNREACHABLE_WAIT:
        return UINT64_MAX / 4;
    default:
        return o->unreachable.timeout_us;
    }
}

const char *durability_name(enum durability d)
{
    static const char *const names[] = { "strongest", "local", "hflush", "hsync" };

    return names[d];
}

/* ---- Public calls (hlfs.h) ------------------------------------------------ */

struct hlfs_options *hlfs_options_new(void)
{
    struct hlfs_options *o = malloc(sizeof(*o));

    if (o) {
        options_init(o);
    }
    return o;
}

void hlfs_options_free(struct hlfs_options *o)
{
    if (o) {
        options_done(o);
        free(o);
    }
}

int hlfs_options_set(struct hlfs_options *o, const char *key, const char *value)
{
    const struct row *row;

    if (!o || !key || !value) {
        return error_set(-EINVAL, "hlfs_options_set: an argument is NULL");
    }
    row = row_find(key);
    if (!row) {
        return error_set(-EINVAL, "there is no option \"%.100s\"; \"hlfs create "
                         "--help\" lists all", key);
    }
    return row->read(row, value, (char *)o + row->field);
}

void hlfs_options_set_log(struct hlfs_options *o, hlfs_log_fn fn, void *opaque)
{
    o->log.call = fn;
    o->log.opaque = opaque;
}

const char *hlfs_options_name(unsigned index, int *ret_create)
{
    if (index >= ARRAY_SIZE(rows)) {
        return NULL;
    }
    if (ret_create) {
        *ret_create = rows[index].create;
    }
    return rows[index].name;
}
