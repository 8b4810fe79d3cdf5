/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serve.c - hlfs serve: become nbdkit with our plugin, in the foreground.
 *
 * A Unix socket is bound here and handed on by systemd's socket activation protocol
 * ($LISTEN_FDS, from descriptor 3 on), which nbdkit knows: so its mode is 0600 from
 * its first moment on, while the plugin's own files and directories are made under
 * the umask that the user chose.  (nbdkit -U offers no mode but by the umask.)
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_FD 3             /* where the protocol begins, sd_listen_fds(3) */
#define NBDKIT_ARGUMENTS 10     /* at most, with the NULL, without the -o ones */

/* ---- The socket ----------------------------------------------------------- */

/* The last component of LOCATION; "." and ".." by their real name.  malloc'ed. */
static char *location_name(const char *location)
{
    const char *slash = strrchr(location, '/');
    const char *name = slash ? slash + 1 : location;
    char *real, *ret;

    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
        return strdup(name[0] ? name : "root");
    }
    real = realpath(location, NULL);
    ret = real && strcmp(real, "/") != 0 ? location_name(real) : strdup("root");
    free(real);
    return ret;
}

/* malloc'ed; NULL after a sentence. */
static char *socket_default(const char *location, const char *snapshot)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char *name = location_name(location);
    const char *at = snapshot ? "@" : "";
    char *path = NULL;

    snapshot = snapshot ? snapshot : "";
    if (!name) {
        (void)fail("out of memory");
        return NULL;
    }
    if (runtime && runtime[0] == '/') {
        if (asprintf(&path, "%s/hlfs-%s%s%s.sock", runtime, name, at, snapshot) < 0) {
            path = NULL;
        }
    } else if (mkdir("/run/hlfs", 0755) < 0 && errno != EEXIST) {
        (void)fail("cannot make /run/hlfs for the socket: %s; choose another place by "
                   "--socket", strerror(errno));
    } else if (asprintf(&path, "/run/hlfs/%s%s%s.sock", name, at, snapshot) < 0) {
        path = NULL;
    }
    free(name);
    return path;
}

static int socket_address(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(ret->sun_path)) {
        return fail("the socket's path %s is too long: %zu bytes are the most; choose a "
                    "shorter one by --socket", path, sizeof(ret->sun_path) - 1);
    }
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return EXIT_OK;
}

/* 0: a server lives at ADDRESS; -ECONNREFUSED: none does; or another -errno. */
static int socket_probe(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = fd < 0 ? -errno : 0;

    if (r == 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        r = -errno;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

/* Remove the socket of a server that is dead; leave all else alone. */
static int socket_clear(const char *path, const struct sockaddr_un *address)
{
    struct stat st;
    int r;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? EXIT_OK
                               : fail("cannot use %s: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return fail("%s is there and is no socket; choose another place by --socket",
                    path);
    }
    r = socket_probe(address);
    if (r == 0) {
        return fail("a server is listening on %s already; choose another place by "
                    "--socket", path);
    }
    if (r != -ECONNREFUSED) {
        return fail("cannot tell if a server lives at %s: %s", path, strerror(-r));
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        return fail("cannot remove the dead server's socket %s: %s", path,
                    strerror(errno));
    }
    return EXIT_OK;
}

static int socket_bind(int fd, const struct sockaddr_un *address)
{
    mode_t before = umask(0177);
    int r = bind(fd, (const struct sockaddr *)address, sizeof(*address));

    r = r < 0 ? -errno : 0;
    (void)umask(before);
    if (r == 0 && listen(fd, SOMAXCONN) < 0) {
        r = -errno;
    }
    return r;
}

/* Make FD descriptor 3, which survives exec, and say so in the environment; and that the
 * plugin is to remove PATH in the end. */
static int socket_hand_on(int fd, const char *path)
{
    char *real = realpath(path, NULL);
    char pid[32];
    int r;

    if (!real) {
        return -errno;
    }
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    r = setenv("LISTEN_PID", pid, 1) < 0 || setenv("LISTEN_FDS", "1", 1) < 0 ||
        setenv("HLFS_SERVE_SOCKET", real, 1) < 0 ? -errno : 0;
    free(real);
    if (r < 0) {
        return r;
    }
    /* dup2() to the same number does nothing, not even clear the flag. */
    r = fd == LISTEN_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, LISTEN_FD);
    return r < 0 ? -errno : 0;
}

static int socket_listen(const char *path)
{
    struct sockaddr_un address;
    int status = socket_address(path, &address);
    int fd, r;

    if (status == EXIT_OK) {
        status = socket_clear(path, &address);
    }
    if (status != EXIT_OK) {
        return status;
    }
    /* Closed by exec, or by the end of the process that is near then. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    r = fd < 0 ? -errno : socket_bind(fd, &address);
    if (r == 0) {
        r = socket_hand_on(fd, path);
    }
    return r < 0 ? fail("cannot listen on %s: %s", path, strerror(-r)) : EXIT_OK;
}

/* ---- nbdkit --------------------------------------------------------------- */

/* The plugin beside this program in a build tree, else the name nbdkit looks up. */
static const char *plugin_find(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
    static const char beside[] = "/../nbdkit/nbdkit-hlfs-plugin.so";
    char *slash;

    if (n <= 0 || (size_t)n >= sizeof(path) - sizeof(beside)) {
        return "hlfs";
    }
    path[n] = '\0';
    slash = strrchr(path, '/');
    if (!slash) {
        return "hlfs";
    }
    memcpy(slash, beside, sizeof(beside));
    return access(path, R_OK) == 0 ? path : "hlfs";
}

static int first_name(void *opaque, const char *name)
{
    return -ECANCELED;      /* one is enough */
}

/* A directory that is no volume: the volumes in it, now or later, are exports.  What is
 * neither is a volume for nbdkit, which says what is wrong. */
static bool is_directory_of_volumes(const struct arguments *a, const char *location)
{
    int r = volume_look(a, location);
    int listed;

    if (r != -ENOENT && r != -EINVAL) {
        return false;
    }
    listed = hlfs_list(location, a->options, first_name, NULL);
    /* The root of an HDFS cannot be a volume, but have some. */
    return r == -EINVAL ? listed == -ECANCELED : listed != -ENOENT && listed != -ENOTDIR;
}

struct server {
    char *location;             /* owned */
    char *snapshot;             /* owned, or NULL */
    char *socket;               /* owned, or NULL: a port */
    char *target;               /* owned; "location=…" or "dir=…" */
    char port[8];               /* empty: a socket */
};

/* Does not return if all goes well. */
static int server_exec(const struct arguments *a, const struct server *s)
{
    const char **argv = calloc(NBDKIT_ARGUMENTS + a->set_count, sizeof(*argv));
    size_t n = 0;
    int error;

    if (!argv) {
        return fail("out of memory");
    }
    argv[n++] = "nbdkit";
    argv[n++] = "-f";
    if (s->port[0]) {
        argv[n++] = "-p";
        argv[n++] = s->port;
        argv[n++] = "-i";
        argv[n++] = "127.0.0.1";
    }
    if (a->value[OPTION_READ_ONLY]) {
        argv[n++] = "-r";
    }
    argv[n++] = plugin_find();
    argv[n++] = s->target;
    for (unsigned i = 0; i < a->set_count; i++) {
        argv[n++] = a->sets[i];
    }
    /* execvp() never changes the strings; its type is older than const. */
    (void)execvp(argv[0], (char *const *)argv);
    error = errno;
    free(argv);
    if (error == ENOENT) {
        return fail("nbdkit is not in $PATH: install the package nbdkit to serve "
                    "volumes");
    }
    return fail("cannot run nbdkit: %s", strerror(error));
}

static int server_prepare(const struct arguments *a, struct server *s)
{
    bool dir = !s->snapshot && is_directory_of_volumes(a, s->location);

    if (asprintf(&s->target, "%s=%s%s%s", dir ? "dir" : "location", s->location,
                 s->snapshot ? "@" : "", s->snapshot ? s->snapshot : "") < 0) {
        s->target = NULL;
        return fail("out of memory");
    }
    if (s->port[0]) {
        return EXIT_OK;
    }
    if (a->value[OPTION_SOCKET]) {
        s->socket = strdup(a->value[OPTION_SOCKET]);
    } else {
        s->socket = socket_default(s->location, s->snapshot);
    }
    return s->socket ? socket_listen(s->socket) : EXIT_FAILED;
}

int serve_run(const struct arguments *a)
{
    struct server s = { 0 };
    uint64_t port = 0;
    int status = EXIT_OK;

    if (a->value[OPTION_PORT] && a->value[OPTION_SOCKET]) {
        return fail_usage("serve takes --socket or --port, not both");
    }
    if (a->value[OPTION_PORT]) {
        status = count_parse("--port", a->value[OPTION_PORT], 1, 65535, &port);
        (void)snprintf(s.port, sizeof(s.port), "%u", (unsigned)(port & 0xffff));
    }
    if (status == EXIT_OK) {
        status = location_split(a->operands[0], &s.location, &s.snapshot);
    }
    if (status == EXIT_OK) {
        status = server_prepare(a, &s);
    }
    if (status == EXIT_OK) {
        status = server_exec(a, &s);
        if (s.socket) {
            (void)unlink(s.socket);
        }
    }
    free(s.location);
    free(s.snapshot);
    free(s.socket);
    free(s.target);
    return status;
}
