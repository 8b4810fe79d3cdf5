/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mount.c - hlfs mount: a volume as one file.
 *
 * By default the work is done in a process in the background.  The library starts threads
 * when it opens a volume, which a fork would lose, so the order is: fork; the child opens,
 * mounts and serves; the parent waits for one byte, which says that the kernel has begun to
 * use the mount, or for the end of the child, whose exit status becomes its own.  Until
 * then the child's stderr is the user's, from then on its messages go to syslog.
 *
 * The child ends by SIGTERM, SIGINT, SIGHUP, and when the file is unmounted: then it
 * closes the volume, which makes everything durable.
 */
#define FUSE_USE_VERSION 312
#include "common.h"
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define THREADS_MAX 64          /* requests that are worked on at a time */

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57    /* linux/prctl.h, since 5.6 */
#endif

struct mount {
    const struct arguments *arguments;
    char *location;             /* owned; absolute */
    char *snapshot;             /* owned, or NULL */
    char *path;                 /* owned; absolute, without symbolic links */
    int ready_fd;               /* owned; the parent waits there; -1: in the foreground */
    bool made;                  /* the file below was made by us */
    _Atomic bool background;    /* stderr is nobody's: messages go to syslog */
    struct hlfs *volume;        /* owned */
    struct mount_file file;
    struct fuse_session *session;   /* owned */
};

/* ---- Messages ------------------------------------------------------------- */

/* Called from any thread. */
static void log_library(void *opaque, int level, const char *text)
{
    struct mount *m = opaque;
    static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

    if (m->background) {
        syslog(priorities[level & 3], "%s: %s", m->path, text);
    } else if (level <= HLFS_LOG_WARNING) {
        warn("%s", text);
    }
}

static void log_fuse(enum fuse_log_level level, const char *fmt, va_list args)
{
    vsyslog((int)level, fmt, args);     /* the levels are syslog's */
}

/* ---- Before the mount ----------------------------------------------------- */

/* A relative path of this machine is of no use after chdir(). */
static int location_absolute(char **location)
{
    char *cwd, *text = NULL;

    if ((*location)[0] == '/' || strncmp(*location, "local:", 6) == 0 ||
        strncmp(*location, "hdfs:", 5) == 0) {
        return EXIT_OK;
    }
    cwd = getcwd(NULL, 0);
    if (!cwd) {
        return fail("cannot tell the current directory: %s", strerror(errno));
    }
    if (asprintf(&text, "%s/%s", cwd, *location) < 0) {
        text = NULL;
    }
    free(cwd);
    if (!text) {
        return fail("out of memory");
    }
    free(*location);
    *location = text;
    return EXIT_OK;
}

/* What is mounted on the path already: a dead mount of ours goes, all else is refused. */
static int point_clear(const struct mount *m)
{
    struct mount_point point;
    int r = mount_point_look(m->path, &point);

    if (r < 0) {
        return fail("cannot read /proc/self/mountinfo: %s", strerror(-r));
    }
    if (!point.mounted) {
        return EXIT_OK;
    }
    if (!point.dead) {
        return fail("something is mounted on %s already%s", m->path,
                    point.ours ? "; hlfs umount unmounts it" : "");
    }
    r = mount_point_unmount(m->path, true);
    if (r < 0) {
        return fail("cannot unmount the file of a dead hlfs mount at %s: %s", m->path,
                    strerror(-r));
    }
    return point_clear(m);      /* there may be another one below */
}

static int point_check(const struct mount *m)
{
    struct stat st;
    int status = point_clear(m);

    if (status != EXIT_OK) {
        return status;
    }
    if (lstat(m->path, &st) < 0) {
        return errno == ENOENT ? EXIT_OK
                               : fail("cannot mount on %s: %s", m->path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return fail("%s is a directory; a volume is mounted on a regular file, which is "
                    "made if it is not there", m->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return fail("%s is no regular file; a volume is mounted on one, which is made if "
                    "it is not there", m->path);
    }
    return EXIT_OK;
}

static int device_check(void)
{
    if (access("/dev/fuse", F_OK) < 0) {
        return fail("there is no /dev/fuse, which mount needs: load the kernel's module "
                    "fuse (modprobe fuse), or give the container that device");
    }
    return EXIT_OK;
}

/* The options that only mount has. */
static int options_prepare(struct mount *m)
{
    const struct arguments *a = m->arguments;
    int r;

    hlfs_options_set_log(a->options, log_library, m);
    for (unsigned i = 0; i < a->set_count; i++) {
        if (strncmp(a->sets[i], "control=", strlen("control=")) == 0) {
            return EXIT_OK;
        }
    }
    r = hlfs_options_set(a->options, "control", "yes");
    return r < 0 ? fail_library(r, "control") : EXIT_OK;
}

static int volume_begin(struct mount *m)
{
    bool reads = m->snapshot || m->arguments->value[OPTION_READ_ONLY];
    int r = hlfs_open(m->location, m->snapshot, reads ? HLFS_RDONLY : 0,
                      m->arguments->options, &m->volume);

    if (r < 0) {
        return fail_library(r, m->location);
    }
    mount_file_init(&m->file, m->volume);
    return EXIT_OK;
}

/* ---- The mount ------------------------------------------------------------ */

/* Text of an option of libfuse: commas and backslashes by a backslash before them. */
static char *option_escape(const char *text)
{
    char *ret = malloc(2 * strlen(text) + 1);
    size_t n = 0;

    for (; ret && *text; text++) {
        if (*text == ',' || *text == '\\') {
            ret[n++] = '\\';
        }
        ret[n++] = *text;
    }
    if (ret) {
        ret[n] = '\0';
    }
    return ret;
}

/* What df and findmnt show is the location. */
static int session_new(struct mount *m)
{
    char *source = option_escape(m->location);
    char *options = NULL;
    char name[] = "hlfs", flag[] = "-o";
    char *argv[] = { name, flag, NULL, NULL };
    struct fuse_args args = { .argc = 3, .argv = argv };

    if (source && asprintf(&options, "subtype=hlfs,default_permissions,fsname=%s%s%s%s%s",
                           source, m->snapshot ? "@" : "", m->snapshot ? m->snapshot : "",
                           m->file.read_only ? ",ro" : "",
                           m->arguments->value[OPTION_ALLOW_OTHER] ? ",allow_other" : "") > 0) {
        argv[2] = options;
        m->session = fuse_session_new(&args, &mount_file_ops, sizeof(mount_file_ops),
                                      &m->file);
        fuse_opt_free_args(&args);
    }
    free(source);
    free(options);
    return m->session ? EXIT_OK : fail("cannot begin to mount on %s: out of memory", m->path);
}

/* An empty file to mount over, if there is none. */
static int file_make(struct mount *m)
{
    int fd = open(m->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        return errno == EEXIST ? EXIT_OK
                               : fail("cannot make %s, to mount on it: %s", m->path,
                                      strerror(errno));
    }
    (void)close(fd);
    m->made = true;
    return EXIT_OK;
}

/* The last line of the file FD, without the name of the program before it. */
static void last_line(int fd, char *text, size_t bytes)
{
    static const char *const programs[] = { "fusermount3: ", "fuse: " };
    ssize_t n = pread(fd, text, bytes - 1, 0);
    char *begin;

    text[n > 0 ? n : 0] = '\0';
    while (n > 0 && text[n - 1] == '\n') {
        text[--n] = '\0';
    }
    begin = strrchr(text, '\n');
    begin = begin ? begin + 1 : text;
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        size_t len = strlen(programs[i]);

        begin += strncmp(begin, programs[i], len) == 0 ? len : 0;
    }
    memmove(text, begin, strlen(begin) + 1);
}

/* libfuse and fusermount3 tell on stderr why a mount fails, the one with more lines than
 * one: keep them, to say one. */
static int session_mount(struct mount *m)
{
    int kept = memfd_create("hlfs-mount", MFD_CLOEXEC);
    int before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    char why[512] = "";
    int r;

    if (kept < 0 || before < 0 || dup2(kept, STDERR_FILENO) < 0) {
        return fail("cannot mount on %s: %s", m->path, strerror(errno));
    }
    r = fuse_session_mount(m->session, m->path);
    (void)dup2(before, STDERR_FILENO);
    if (r != 0) {
        last_line(kept, why, sizeof(why));
    }
    (void)close(kept);
    (void)close(before);
    return r == 0 ? EXIT_OK
                  : fail("cannot mount on %s: %s", m->path,
                         why[0] ? why : "the kernel refused it");
}

/* ---- In the background ---------------------------------------------------- */

/* The kernel has begun to use the mount: let the parent and the terminal go. */
static void mount_ready(void *opaque)
{
    struct mount *m = opaque;
    int null;

    if (m->ready_fd < 0) {
        return;
    }
    openlog("hlfs", LOG_PID, LOG_DAEMON);
    fuse_set_log_func(log_fuse);
    m->background = true;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)setsid();
    (void)!chdir("/");
    for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++) {
        (void)dup2(null, fd);
    }
    if (null > STDERR_FILENO) {
        (void)close(null);
    }
    (void)!write(m->ready_fd, "", 1);
    (void)close(m->ready_fd);
}

static int session_loop(struct mount *m)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int r;

    if (!config) {
        return fail("out of memory");
    }
    fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
    r = fuse_session_loop_mt(m->session, config);
    fuse_loop_cfg_destroy(config);
    if (r < 0) {
        log_library(m, HLFS_LOG_ERROR, "the connection to the kernel failed");
        return EXIT_FAILED;
    }
    return EXIT_OK;     /* unmounted, or a signal */
}

static int session_run(struct mount *m)
{
    int status;

    if (fuse_set_signal_handlers(m->session) != 0) {
        return fail("cannot handle signals: %s", strerror(errno));
    }
    status = session_mount(m);
    if (status == EXIT_OK) {
        status = session_loop(m);
        fuse_session_unmount(m->session);
    } else if (m->made) {
        (void)unlink(m->path);
    }
    fuse_remove_signal_handlers(m->session);
    return status;
}

static int volume_end(struct mount *m)
{
    int r = hlfs_close(m->volume);

    if (r < 0) {
        log_library(m, HLFS_LOG_ERROR, hlfs_error());
    }
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

/* From the first check to the end of the mount. */
static int mount_work(struct mount *m)
{
    int status = options_prepare(m), end;

    /* The kernel may write through this mount to free memory: what we need for it must not
     * wait for that.  Refused to users without CAP_SYS_RESOURCE, who do without. */
    (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    if (status == EXIT_OK) {
        status = device_check();
    }
    if (status == EXIT_OK) {
        status = point_check(m);
    }
    if (status == EXIT_OK) {
        status = volume_begin(m);
    }
    if (status != EXIT_OK) {
        return status;
    }
    status = session_new(m);
    if (status == EXIT_OK) {
        status = file_make(m);
    }
    if (status == EXIT_OK) {
        status = session_run(m);
    }
    if (m->session) {
        fuse_session_destroy(m->session);
    }
    end = volume_end(m);
    return status == EXIT_OK ? end : status;
}

/* The parent: the child is READY by a byte, or ends. */
static int child_wait(const struct mount *m, pid_t child, int ready)
{
    int status;
    ssize_t n;
    char byte;

    do {
        n = read(ready, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1) {
        return EXIT_OK;
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return fail("cannot wait for the process that mounts: %s", strerror(errno));
        }
    }
    if (!WIFEXITED(status)) {
        return fail("the process that mounts %s was ended by signal %d", m->path,
                    WTERMSIG(status));
    }
    return WEXITSTATUS(status) != EXIT_OK
               ? WEXITSTATUS(status)
               : fail("%s was unmounted before it was used", m->path);
}

static int mount_in_background(struct mount *m)
{
    int fds[2];
    pid_t child;
    int status;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return fail("cannot make a pipe: %s", strerror(errno));
    }
    (void)fflush(NULL);
    child = fork();
    if (child < 0) {
        status = fail("cannot start a process: %s", strerror(errno));
        (void)close(fds[0]);
        (void)close(fds[1]);
        return status;
    }
    if (child == 0) {
        m->ready_fd = 3;
        if (dup3(fds[1], m->ready_fd, O_CLOEXEC) < 0) {
            m->ready_fd = fds[1];       /* it was 3 already */
        }
        /* Whoever waits for the end of a pipe of the caller's must not wait for us. */
        (void)close_range(4, ~0u, 0);
        return mount_work(m);
    }
    (void)close(fds[1]);
    status = child_wait(m, child, fds[0]);
    (void)close(fds[0]);
    return status;
}

int mount_run(const struct arguments *a)
{
    struct mount m = { .arguments = a, .ready_fd = -1 };
    int status = location_split(a->operands[0], &m.location, &m.snapshot);
    int r;

    m.file.ready = mount_ready;
    m.file.opaque = &m;
    if (status == EXIT_OK) {
        status = location_absolute(&m.location);
    }
    if (status == EXIT_OK) {
        r = mount_point_path(a->operands[1], &m.path);
        if (r < 0) {
            status = fail("cannot mount on %s: %s", a->operands[1], strerror(-r));
        }
    }
    if (status == EXIT_OK) {
        status = a->value[OPTION_FOREGROUND] ? mount_work(&m) : mount_in_background(&m);
    }
    free(m.location);
    free(m.snapshot);
    free(m.path);
    return status;
}
