/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conf_private.h - between conf.c (what is set) and conf_xml.c (how it is written).
 */
#ifndef HLFS_HDFS_CONF_PRIVATE_H
#define HLFS_HDFS_CONF_PRIVATE_H

#include "hdfs/conf.h"

/* Of ours; a real configuration is a hundredth of these. */
#define CONF_FILE_MAX ((size_t)16 << 20)
#define CONF_KEYS_MAX 16384
#define CONF_INCLUDES_MAX 16            /* within each other */

/* One property of a file: nothing happens if an earlier one was final.  VALUE is any
 * text.  -ENOMEM, or -E2BIG: too many keys. */
int conf_put(struct conf *c, const char *key, const char *value, bool final);

/* Read the text of a file; DEPTH files include each other.  -EINVAL with a sentence. */
int conf_xml_read(struct conf *c, const char *name, const char *text, size_t len,
                  unsigned depth);

/* Read a file so.  -ENOENT without a sentence. */
int conf_file_read(struct conf *c, const char *path, unsigned depth);

#endif
