/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount_point.c - paths of mounts, what is mounted there, and unmounting. */
#include "mount.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINKS_MAX 40        /* as many as the kernel follows */

extern char **environ;

/* ---- Paths ---------------------------------------------------------------- */

/* DIR (up to the last '/' of TEXT, made real) and the last component.  malloc'ed. */
static int path_of(const char *text, char **ret)
{
    const char *slash = strrchr(text, '/');
    const char *name = slash ? slash + 1 : text;
    char *dir, *real;
    int r = 0;

    if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return -EISDIR;
    }
    dir = slash ? strndup(text, (size_t)(slash - text) + 1) : strdup(".");
    real = dir ? realpath(dir, NULL) : NULL;
    if (!real) {
        r = -errno;
    } else if (asprintf(ret, "%s%s%s", real, strcmp(real, "/") ? "/" : "", name) < 0) {
        r = -ENOMEM;
    }
    free(dir);
    free(real);
    return r;
}

/* What the symbolic link PATH names.  -EINVAL: it is none. */
static int link_target(const char *path, char **ret)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    const char *slash = strrchr(path, '/');

    if (n < 0) {
        return -EINVAL;
    }
    target[n] = '\0';
    if (target[0] == '/') {
        *ret = strdup(target);
        return *ret ? 0 : -ENOMEM;
    }
    return asprintf(ret, "%.*s%s", (int)(slash - path) + 1, path, target) < 0 ? -ENOMEM : 0;
}

int mount_point_path(const char *file, char **ret)
{
    char *text = strdup(file);
    int r = text ? 0 : -ENOMEM;

    /* realpath() alone would fail at a dead mount. */
    for (unsigned links = 0; r == 0; links++) {
        char *path = NULL, *target = NULL;

        r = links == LINKS_MAX ? -ELOOP : path_of(text, &path);
        if (r == 0 && link_target(path, &target) < 0) {
            *ret = path;
            break;
        }
        free(path);
        free(text);
        text = target;
    }
    free(text);
    return r;
}

/* ---- /proc/self/mountinfo ------------------------------------------------- */

/* Undo \040 and the like, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *p = text; *p; to++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
            p[3] >= '0' && p[3] <= '7') {
            *to = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 4;
        } else {
            *to = *p++;
        }
    }
    *to = '\0';
}

/* The number after NAME in TEXT; 0: there is none. */
static unsigned number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : 0;
}

/* LINE is "id parent dev root POINT options [tag]... - TYPE source options". */
static void line_look(char *line, const char *path, struct mount_point *m)
{
    char *dash = strstr(line, " - ");
    char *rest = line, *point = NULL;
    const char *type;

    for (unsigned field = 0; field < 5; field++) {
        point = strsep(&rest, " ");
    }
    if (!dash || !point) {
        return;
    }
    unescape(point);
    if (strcmp(point, path) != 0) {
        return;
    }
    /* What is mounted over it stands in a later line. */
    type = dash + 3;
    *m = (struct mount_point){
        .mounted = true,
        .ours = strncmp(type, MOUNT_TYPE " ", strlen(MOUNT_TYPE " ")) == 0,
        .user = number_after(type, "user_id="),
        .group = number_after(type, "group_id="),
    };
}

int mount_point_look(const char *path, struct mount_point *ret)
{
    FILE *in = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t bytes = 0;
    struct stat st;

    *ret = (struct mount_point){ 0 };
    if (!in) {
        return -errno;
    }
    while (getline(&line, &bytes, in) > 0) {
        line_look(line, path, ret);
    }
    free(line);
    (void)fclose(in);
    ret->dead = ret->ours && stat(path, &st) < 0 && errno == ENOTCONN;
    return 0;
}

/* ---- Unmounting ----------------------------------------------------------- */

/* The user's way: fusermount3 is allowed to do it for his own mounts. */
static int fusermount(const char *path, bool lazy)
{
    char *argv[] = { (char *)"fusermount3", (char *)"-u", (char *)(lazy ? "-z" : "-q"),
                     (char *)"--", (char *)path, NULL };
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    int r = posix_spawn_file_actions_init(&actions);

    if (r != 0) {
        return -r;
    }
    /* It names no errno, and there is one cause left of those that it may have. */
    r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 1, 0);
    if (r == 0) {
        r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    if (r != 0) {
        return -r;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int mount_point_unmount(const char *path, bool lazy)
{
    if (geteuid() != 0) {
        return fusermount(path, lazy);
    }
    return umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
}
