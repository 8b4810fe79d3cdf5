/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * location.h - where a volume is: the text users give, taken apart.
 *
 *     [hlfs:]local:///dir/name      a directory of this machine
 *     [hlfs:]dir/name  /dir/name    the same; a path may be relative
 *     [hlfs:]hdfs://host[:port]/dir/name
 *     [hlfs:]hdfs://nameservice/dir/name
 *     [hlfs:]hdfs:///dir/name       of the cluster that fs.defaultFS names
 *
 * with @snapshot (or @time) after it where a snapshot may be named.  There is no
 * %-decoding: every byte stands for itself.  A local path that begins like a scheme
 * is written with "./" before it.
 *
 * Knows text only, asks neither disk nor name server.  Used by hlfs.c, and for the
 * parent of a clone.  Any thread.  Errors: -EINVAL with a sentence, -ENOMEM.
 */
#ifndef HLFS_LOCATION_H
#define HLFS_LOCATION_H

#include <stdint.h>

struct location {
    enum { LOCATION_LOCAL, LOCATION_HDFS } scheme;
    char *path;         /* owned; never empty, no '/' at its end but in "/"; HDFS:
                         * absolute and without empty, "." and ".." components */
    char *host;         /* owned; or nameservice, or an IPv6 address without its
                         * brackets; NULL: local, or the default file system */
    uint16_t port;      /* 0: not given */
    char *snapshot;     /* owned; NULL: none given */
};

/*
 * Take TEXT apart, with "@snapshot" behind the last '@' of the last path component,
 * which is what stands after the last '/': "a@b/" is the volume a@b.
 */
int location_parse_at(const char *text, struct location *ret);

/* The same where no snapshot can be named (hlfs_open() takes it apart): an '@' is a
 * character as any other. */
int location_parse(const char *text, struct location *ret);

/* Free what it owns; a zeroed one is fine. */
void location_done(struct location *l);

#endif
