/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "location.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "hlfs.h"

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define SNAPSHOT_BYTES_MAX 128      /* of a name; a time is shorter */

static int refuse(const char *text, const char *why)
{
    return error_set(-EINVAL, "\"%.300s\" is no location: %s", text, why);
}

static int no_memory(void)
{
    return error_set(-ENOMEM, "cannot read a location: out of memory");
}

static const char *skip_prefix(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(text, prefix, len) == 0 ? text + len : text;
}

/* How long "scheme://" at TEXT is, 0 where there is none. */
static size_t scheme_length(const char *text)
{
    size_t n = strspn(text, ALPHANUMERIC "+-.");

    return n > 0 && strncmp(text + n, "://", 3) == 0 ? n + 3 : 0;
}

/* ---- Snapshot ------------------------------------------------------------- */

/*
 * Cut TEXT, writable, at the '@' of its last component.  *RET points into TEXT, at
 * the snapshot's name, or is NULL.
 */
static int snapshot_cut(char *text, const char **ret)
{
    char *slash = strrchr(text, '/');
    char *component = slash ? slash + 1 : text;
    char *at = strrchr(component, '@');

    *ret = NULL;
    if (!at) {
        return 0;
    }
    if (at == component) {
        return refuse(text, "there is no volume's name before '@'");
    }
    if (at[1] == '\0') {
        return refuse(text, "there is no snapshot's name after '@'");
    }
    if (strlen(at + 1) > SNAPSHOT_BYTES_MAX) {
        return refuse(text, "a snapshot's name has at most 128 bytes");
    }
    if (!parse_is_line(at + 1)) {
        return refuse(text, "a snapshot's name has no control characters");
    }
    *at = '\0';
    *ret = at + 1;
    return 0;
}

static void trim_slashes(char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/') {
        path[--n] = '\0';
    }
}

/* ---- Authority: host and port --------------------------------------------- */

static bool host_is_valid(const char *host, size_t len, bool bracketed)
{
    const char *allowed = bracketed ? "0123456789abcdefABCDEF:." : ALPHANUMERIC "._-";

    return len > 0 && len <= 255 && strspn(host, allowed) >= len &&
           (!bracketed || memchr(host, ':', len));
}

/* Read "host", "host:port", "[address]" or "[address]:port": LEN bytes at P. */
static int authority_parse(const char *text, const char *p, size_t len,
                           struct location *l)
{
    bool bracketed = p[0] == '[';
    const char *end = p + len;
    const char *host = p + bracketed;
    const char *host_end = memchr(host, bracketed ? ']' : ':', (size_t)(end - host));
    const char *rest;
    char digits[8] = "";
    uint64_t port;

    if (memchr(p, '@', len)) {
        return refuse(text, "the user is given by the option user, not before the host");
    }
    if (bracketed && !host_end) {
        return refuse(text, "']' is missing");
    }
    host_end = host_end ? host_end : end;
    if (!host_is_valid(host, (size_t)(host_end - host), bracketed)) {
        return refuse(text, "the host is not a name or an address");
    }
    rest = host_end + bracketed;
    if (rest < end) {
        if (*rest != ':' || end - rest > 6) {
            return refuse(text, "only :PORT may follow the host");
        }
        memcpy(digits, rest + 1, (size_t)(end - rest - 1));
        if (parse_number(digits, &port) < 0 || port == 0 || port > UINT16_MAX) {
            return refuse(text, "the port is a number from 1 to 65535");
        }
        l->port = (uint16_t)port;
    }
    l->host = strndup(host, (size_t)(host_end - host));
    return l->host ? 0 : no_memory();
}

/* ---- Paths ---------------------------------------------------------------- */

/* Copy PATH without empty components.  The NameNode refuses what is refused here,
 * but in words of its own. */
static int hdfs_path_parse(const char *text, const char *path, struct location *l)
{
    char *out = malloc(strlen(path) + 1);
    size_t n = 0;

    if (!out) {
        return no_memory();
    }
    l->path = out;
    while (*path) {
        size_t len = strcspn(path, "/");

        if ((len == 1 && path[0] == '.') || (len == 2 && strncmp(path, "..", 2) == 0)) {
            return refuse(text, "an HDFS path has no \".\" and \"..\" in it");
        }
        if (memchr(path, ':', len)) {
            return refuse(text, "an HDFS path has no ':' in it");
        }
        if (len > 0) {
            out[n++] = '/';
            memcpy(out + n, path, len);
            n += len;
        }
        path += len + (path[len] == '/');
    }
    if (n == 0) {
        out[n++] = '/';
    }
    out[n] = '\0';
    return 0;
}

static int hdfs_parse(const char *text, const char *rest, struct location *l)
{
    size_t authority = strcspn(rest, "/");
    int r;

    l->scheme = LOCATION_HDFS;
    if (rest[authority] == '\0') {
        return refuse(text, "a path is missing, as in hdfs://host/dir/name");
    }
    if (authority > 0) {
        r = authority_parse(text, rest, authority, l);
        if (r < 0) {
            return r;
        }
    }
    return hdfs_path_parse(text, rest + authority, l);
}

static int local_parse(const char *path, struct location *l)
{
    l->scheme = LOCATION_LOCAL;
    l->path = strdup(path);
    if (!l->path) {
        return no_memory();
    }
    trim_slashes(l->path);
    return 0;
}

/* ---- The whole ------------------------------------------------------------ */

/* BODY is without "hlfs:" and snapshot; TEXT is what the user wrote. */
static int body_parse(const char *text, const char *body, struct location *l)
{
    size_t scheme = scheme_length(body);

    if (body[0] == '\0') {
        return refuse(text, "it is empty");
    }
    if (skip_prefix(body, "hlfs:") != body) {
        return refuse(text, "\"hlfs:\" may stand before it once");
    }
    if (scheme == 0) {
        if (skip_prefix(body, "hdfs:") != body || skip_prefix(body, "local:") != body) {
            return refuse(text, "\"//\" is missing after the scheme, as in "
                                "hdfs://host/dir/name and local:///dir/name");
        }
        return local_parse(body, l);
    }
    if (scheme == strlen("hdfs://") && strncmp(body, "hdfs", 4) == 0) {
        return hdfs_parse(text, body + scheme, l);
    }
    if (scheme == strlen("local://") && strncmp(body, "local", 5) == 0) {
        if (body[scheme] != '/') {
            return refuse(text, "local:// takes an absolute path, as in "
                                "local:///dir/name");
        }
        return local_parse(body + scheme, l);
    }
    return refuse(text, "its scheme is unknown; there are local:// and hdfs://");
}

/* Where in BODY, which is a location, its path begins. */
static size_t path_offset(const char *body)
{
    size_t scheme = scheme_length(body);

    return scheme + (scheme ? strcspn(body + scheme, "/") : 0);
}

static int parse(const char *text, bool at, struct location *ret)
{
    _cleanup_free_ char *copy = NULL;
    struct location l = { 0 };
    const char *snapshot = NULL;
    int r;

    if (!text) {
        return error_set(-EINVAL, "the location is missing");
    }
    copy = strdup(skip_prefix(text, "hlfs:"));
    if (!copy) {
        return no_memory();
    }
    if (at) {
        r = snapshot_cut(copy, &snapshot);
        if (r < 0) {
            return r;
        }
    }
    r = body_parse(text, copy, &l);
    if (r == 0 && snapshot) {
        l.snapshot = strdup(snapshot);
        r = l.snapshot ? 0 : no_memory();
    }
    if (r < 0) {
        location_done(&l);
        return r;
    }
    *ret = l;
    return 0;
}

int location_parse_at(const char *text, struct location *ret)
{
    return parse(text, true, ret);
}

int location_parse(const char *text, struct location *ret)
{
    return parse(text, false, ret);
}

void location_done(struct location *l)
{
    free(l->path);
    free(l->host);
    free(l->snapshot);
    *l = (struct location){ 0 };
}

int hlfs_location_split(const char *text, char **ret_location, char **ret_snapshot)
{
    struct location l;
    char *location;
    int r = location_parse_at(text, &l);

    if (r < 0) {
        return r;
    }
    location = strdup(skip_prefix(text, "hlfs:"));
    if (!location) {
        location_done(&l);
        return no_memory();
    }
    if (l.snapshot) {
        location[strlen(location) - strlen(l.snapshot) - 1] = '\0';
    }
    trim_slashes(location + path_offset(location));
    *ret_location = location;
    *ret_snapshot = TAKE_PTR(l.snapshot);
    location_done(&l);
    return 0;
}
