/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conf.h - Hadoop's configuration: core-site.xml and hdfs-site.xml of a directory.
 *
 * As org.apache.hadoop.conf.Configuration reads them: a later file overrides an earlier
 * one except where that said <final>, ${name} and ${env.NAME} are replaced (with
 * ${env.NAME-default} and ${env.NAME:-default}) when a value is asked for, <xi:include>
 * with <xi:fallback> is followed within the file system.  Defaults are not here: each
 * reader of a key names its own.
 *
 * Threads: one at a time; immutable after loading, then any.
 * Errors: -errno with a sentence (error_set).
 */
#ifndef HLFS_HDFS_CONF_H
#define HLFS_HDFS_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;

/* With nothing in it.  NULL: no memory. */
struct conf *conf_new(void);
void conf_free(struct conf *c);                 /* NULL is fine */

/*
 * Read core-site.xml and hdfs-site.xml of DIR.  A file that is not there is empty; a
 * directory that is not there is -ENOENT.
 */
int conf_load(struct conf *c, const char *dir);

/* Read one file, or one text (NAME says what it is in sentences and for xi:include). */
int conf_load_file(struct conf *c, const char *path);
int conf_load_text(struct conf *c, const char *name, const char *text, size_t len);

/* As a later file would, but above final: for options of ours. */
int conf_set(struct conf *c, const char *key, const char *value);

/* The value without variables replaced, or NULL. */
const char *conf_raw(const struct conf *c, const char *key);

/*
 * The value with variables replaced, to be freed; NULL: none, or no memory.  Variables
 * that are not known stay as they are; white space around the value goes.
 */
char *conf_get(const struct conf *c, const char *key);

/* FALLBACK where there is none or where it is not to be understood. */
bool conf_bool(const struct conf *c, const char *key, bool fallback);
uint64_t conf_number(const struct conf *c, const char *key, uint64_t fallback);
/* 64k, 128m: powers of 1024 with k m g t p e */
uint64_t conf_size(const struct conf *c, const char *key, uint64_t fallback);
/* 5s, 100ms, 1m; without a unit in UNIT_US (Hadoop's keys differ) */
uint64_t conf_time_us(const struct conf *c, const char *key, uint64_t unit_us,
                      uint64_t fallback_us);

#endif
