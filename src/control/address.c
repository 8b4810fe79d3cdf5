/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/control.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define USERS "/run/user"       /* where logind keeps the runtime directories */

#define NAME_BYTES 80

static void name_set(char name[NAME_BYTES], const uint8_t uuid[16], const char *key)
{
    for (unsigned i = 0; i < 16; i++) {
        (void)snprintf(name + 2 * i, 3, "%02x", uuid[i]);
    }
    (void)snprintf(name + 32, NAME_BYTES - 32, "%s", key);
}

static int address_set(struct sockaddr_un *ret, const char *dir, const char *prefix,
                       const char *name)
{
    int n;

    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s%s.control", dir, prefix,
                 name);
    return n < (int)sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

/* The Nth user's, for root, who may ask them all. */
static int user_address(unsigned n, const char *name, struct sockaddr_un *ret)
{
    DIR *dir = geteuid() == 0 ? opendir(USERS) : NULL;
    const struct dirent *d;
    int res = -ENOENT;

    while (dir && res < 0 && (d = readdir(dir)) != NULL) {
        char path[sizeof(USERS) + 24];

        if (d->d_name[0] != '.' && strlen(d->d_name) < 20 && n-- == 0) {
            (void)snprintf(path, sizeof(path), USERS "/%.20s", d->d_name);
            res = address_set(ret, path, "hlfs-", name);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    return res;
}

int control_address(const uint8_t uuid[16], const char *key, unsigned n,
                    struct sockaddr_un *ret)
{
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    char name[NAME_BYTES];

    name_set(name, uuid, key);
    if (runtime && runtime[0] == '/' && n-- == 0) {
        return address_set(ret, runtime, "hlfs-", name);
    }
    return n == 0 ? address_set(ret, "/run/hlfs", "", name) :
           user_address(n - 1, name, ret);
}

bool control_trusts(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}
