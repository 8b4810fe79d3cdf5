/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/nameservice.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/util.h"

#define SEPARATORS ", \t\r\n"

/* HOST[:PORT], or [ADDRESS][:PORT]; -EINVAL without a sentence. */
static int take_address(const char *text, char *host, size_t size, uint16_t *ret_port)
{
    const char *end, *start = text;
    uint64_t port = NAMESERVICE_PORT;
    size_t len;

    if (text[0] == '[') {
        start++;
        end = strchr(start, ']');
        if (!end) {
            return -EINVAL;
        }
        len = (size_t)(end - start);
        end++;
    } else {
        len = strcspn(text, ":");
        end = text + len;
    }
    if (len == 0 || len >= size || (*end && *end != ':')) {
        return -EINVAL;
    }
    if (*end && (parse_number(end + 1, &port) < 0 || port == 0 || port > UINT16_MAX)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)start[i]) && !strchr("-._:%", start[i])) {
            return -EINVAL;
        }
    }
    memcpy(host, start, len);
    host[len] = '\0';
    *ret_port = (uint16_t)port;
    return 0;
}

static int add_node(struct nameservice *s, const char *address)
{
    if (s->count >= NAMESERVICE_MAX ||
        take_address(address, s->nodes[s->count].host, sizeof(s->nodes[0].host),
                     &s->nodes[s->count].port) < 0) {
        return -EINVAL;
    }
    s->count++;
    return 0;
}

/* The value of "KEY.A.B" or, with B "", of "KEY.A". */
static char *get(const struct conf *conf, const char *key, const char *a, const char *b)
{
    char name[1024];
    int n = snprintf(name, sizeof(name), "%s.%s%s%s", key, a, *b ? "." : "", b);

    return n > 0 && (size_t)n < sizeof(name) ? conf_get(conf, name) : NULL;
}

static int add_address_of(const struct conf *conf, struct nameservice *s,
                          const char *id)
{
    _cleanup_free_ char *address = get(conf, "dfs.namenode.rpc-address", s->name, id);

    if (!address || !*address) {
        return error_set(-EINVAL, "the configuration names NameNode %s%s%s, but "
                         "dfs.namenode.rpc-address.%s%s%s is not set", s->name,
                         *id ? "." : "", id, s->name, *id ? "." : "", id);
    }
    if (add_node(s, address) < 0) {
        return error_set(-EINVAL, "dfs.namenode.rpc-address.%s%s%s: %.200s is no "
                         "address", s->name, *id ? "." : "", id, address);
    }
    return 0;
}

/* A set of NameNodes, in the order in which they are named. */
static int find_set(const struct conf *conf, struct nameservice *s, char *ids)
{
    char *save = NULL;
    int r = 0;

    for (char *id = strtok_r(ids, SEPARATORS, &save); id && r == 0;
         id = strtok_r(NULL, SEPARATORS, &save)) {
        if (s->count == NAMESERVICE_MAX) {
            return error_set(-EINVAL, "dfs.ha.namenodes.%s names more than %d "
                             "NameNodes", s->name, NAMESERVICE_MAX);
        }
        r = add_address_of(conf, s, id);
    }
    if (r == 0 && s->count == 0) {
        r = error_set(-EINVAL, "dfs.ha.namenodes.%s is empty", s->name);
    }
    return r;
}

static bool is_listed(const struct conf *conf, const char *key, const char *name)
{
    _cleanup_free_ char *list = conf_get(conf, key);
    char *save = NULL;

    for (char *w = list ? strtok_r(list, SEPARATORS, &save) : NULL; w;
         w = strtok_r(NULL, SEPARATORS, &save)) {
        if (strcmp(w, name) == 0) {
            return true;
        }
    }
    return false;
}

static int find_authority(const struct conf *conf, const char *authority,
                          struct nameservice *s)
{
    _cleanup_free_ char *ids = NULL;
    size_t host_len = strcspn(authority, ":");

    if (strlen(authority) >= sizeof(s->name)) {
        return error_set(-EINVAL, "the name of the NameNode is too long");
    }
    (void)snprintf(s->name, sizeof(s->name), "%.*s", (int)host_len, authority);
    ids = get(conf, "dfs.ha.namenodes", s->name, "");
    s->logical = ids || is_listed(conf, "dfs.nameservices", s->name);
    if (s->logical && authority[host_len]) {
        return error_set(-EINVAL, "hdfs://%s: %s is the name of a name service, which "
                         "has no port; leave it out", authority, s->name);
    }
    if (ids) {
        return find_set(conf, s, ids);
    }
    if (s->logical) {
        return add_address_of(conf, s, "");
    }
    if (add_node(s, authority) < 0) {
        return error_set(-EINVAL, "hdfs://%s: %s is no host[:port]", authority,
                         authority);
    }
    (void)snprintf(s->name, sizeof(s->name), "%.240s:%u", s->nodes[0].host,
                   s->nodes[0].port);
    return 0;
}

int nameservice_find(const struct conf *conf, const char *authority,
                     struct nameservice *ret)
{
    static const char scheme[] = "hdfs://";
    _cleanup_free_ char *fs = NULL;

    memset(ret, 0, sizeof(*ret));
    if (*authority) {
        return find_authority(conf, authority, ret);
    }
    fs = conf_get(conf, "fs.defaultFS");
    if (!fs) {
        fs = conf_get(conf, "fs.default.name");     /* until Hadoop 0.23 */
    }
    if (!fs || !*fs) {
        return error_set(-EINVAL, "the location names no NameNode, and fs.defaultFS is "
                         "not set in core-site.xml");
    }
    if (strncasecmp(fs, scheme, strlen(scheme)) != 0 || !fs[strlen(scheme)]) {
        return error_set(-EINVAL, "the location names no NameNode, and fs.defaultFS is "
                         "%.200s, which is no HDFS", fs);
    }
    memmove(fs, fs + strlen(scheme), strlen(fs + strlen(scheme)) + 1);
    fs[strcspn(fs, "/")] = '\0';
    return find_authority(conf, fs, ret);
}
