/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local store: the contract in each of its set-ups, and what only it has: spare
 * files, locks, permissions, odd file systems, and kernels that forbid io_uring.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "store/local.h"
#include "store/local_dir.h"
#include "test-store.h"

#define SIZE MIB(1)

/* A directory of this run; volumes are made in it. */
static char scratch[PATH_MAX / 2];
static char volume[PATH_MAX / 2 + 8];

/* ---- Helpers ----------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_,
                      struct FTW *ftw _unused_)
{
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct store *open_volume(unsigned flags)
{
    struct store *s = NULL;
    int r = local_store_open(volume, flags, 0600, &s);

    if (r < 0) {
        fail_msg("%s", error_text());
    }
    return s;
}

static struct store_lane *open_lane(struct store *s)
{
    struct store_lane *lane = store_lane_new(s);

    assert_non_null(lane);
    return lane;
}

static void *buf_new(size_t len, int byte)
{
    void *buf = aligned_alloc(STORE_BUF_ALIGN, len);

    assert_non_null(buf);
    memset(buf, byte, len);
    return buf;
}

/* The file NAME of the volume, as stat sees it; false: there is none. */
static bool stat_name(const char *name, struct stat *ret)
{
    char path[2 * PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", volume, name);
    return lstat(path, ret) == 0;
}

static void make_name(const char *name)
{
    char path[2 * PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", volume, name);
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static unsigned count_names(const char *name)
{
    char path[2 * PATH_MAX];
    unsigned n = 0;
    struct dirent *e;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/%s", volume, name);
    dir = opendir(path);
    while (dir && (e = readdir(dir)) != NULL) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    if (dir) {
        (void)closedir(dir);
    }
    return n;
}

static int seal_now(struct store_lane *lane, uint64_t file)
{
    struct store_op op = { .what = STORE_SEAL, .file = file };

    return store_do(lane, &op);
}

/* Make FILE and append to all of it. */
static void make_file(struct store_lane *lane, uint64_t file, size_t size)
{
    void *buf = buf_new(size, (int)file);

    assert_int_equal(store_create_now(lane, file, size), 0);
    assert_int_equal(store_append_now(lane, file, 0, buf, size, 0), 0);
    free(buf);
}

/* Have ACTION (SECCOMP_RET_...) instead of the system call NR in this thread and those
 * that it starts, for good. */
static int forbid(uint32_t nr, uint32_t action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        return -errno;
    }
    return 0;
}

static int clean_up(void **state _unused_)
{
    char small[PATH_MAX];

    /* What a_full_disk_leaves_no_half_file() mounts, should it fail. */
    (void)snprintf(small, sizeof(small), "%s/small", scratch);
    (void)umount2(small, MNT_DETACH);
    remove_tree(volume);
    return 0;
}

/* ---- Spare files ------------------------------------------------------------- */

static void only_clean_files_become_spares(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    struct store_stat stat;

    make_file(lane, 1, SIZE);           /* not sealed */
    assert_int_equal(store_remove_now(lane, 1), 0);
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_files, 0);

    make_file(lane, 2, SIZE);
    assert_int_equal(seal_now(lane, 2), 0);
    store_lane_free(lane);
    store_free(s);
    s = open_volume(0);                 /* another process: it can't know */
    lane = open_lane(s);
    assert_int_equal(store_remove_now(lane, 2), 0);
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_files, 0);
    assert_int_equal(count_names("log/000000"), 0);
    store_lane_free(lane);
    store_free(s);
}

static void a_file_being_read_becomes_no_spare(void **state _unused_)
{
    enum { N = 64 };
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s), *other = open_lane(s);
    uint8_t *buf = buf_new(N * 4096, 0);
    struct store_op op[N];
    struct store_stat stat;
    struct list done;
    int n = 0;

    make_file(lane, 1, SIZE);
    assert_int_equal(seal_now(lane, 1), 0);
    list_init(&done);
    for (int i = 0; i < N; i++) {
        op[i] = (struct store_op){
            .what = STORE_PREAD, .file = 1, .buf = buf + i * 4096, .len = 4096,
            .offset = (uint64_t)i * 4096,
        };
        store_submit(other, &op[i]);
    }
    store_kick(other);
    assert_int_equal(store_remove_now(lane, 1), 0);
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_files, 0);
    while (n < N) {
        n += store_collect(other, &done);
        (void)store_wait(other, 1000);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(op[i].res, 4096);
        assert_int_equal(buf[i * 4096], 1);
    }
    free(buf);
    store_lane_free(other);
    store_lane_free(lane);
    store_free(s);
}

static void spares_are_limited_and_fit(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    struct store_op op = { .what = STORE_PREPARE, .len = 65536 };
    struct store_stat stat;
    struct stat st;

    for (uint64_t file = 1; file <= 10; file++) {
        make_file(lane, file, file * 65536);
        assert_int_equal(seal_now(lane, file), 0);
    }
    for (uint64_t file = 1; file <= 10; file++) {
        assert_int_equal(store_remove_now(lane, file), 0);
    }
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_files, 8);
    assert_int_equal(count_names("pool"), 8);
    assert_int_equal(store_do(lane, &op), 0);

    /* The one of five is taken as it is, the longest is stretched. */
    assert_int_equal(store_create_now(lane, 11, 5 * 65536), 0);
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_bytes, (1 + 2 + 3 + 4 + 6 + 7 + 8) * 65536);
    assert_int_equal(store_create_now(lane, 12, SIZE), 0);
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_bytes, (1 + 2 + 3 + 4 + 6 + 7) * 65536);
    assert_true(stat_name("log/000000/00000000c", &st));
    assert_int_equal(st.st_size, SIZE);
    assert_true((uint64_t)st.st_blocks * 512 >= SIZE);
    /* A taken name fails the same with spares in stock. */
    assert_int_equal(store_create_now(lane, 12, 65536), -EEXIST);
    assert_int_equal(count_names("pool"), 6);
    assert_int_equal(store_do(lane, &op), 1);
    assert_int_equal(count_names("pool"), 7);
    store_lane_free(lane);
    store_free(s);
}

static void a_new_writer_sweeps_unfinished_spares(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    struct store_op op = { .what = STORE_PREPARE, .len = 65536 };

    assert_int_equal(store_do(lane, &op), 1);
    make_name("pool/.new-0123456789abcdef");
    make_name("pool/notes");
    assert_int_equal(store_enlist(s, 1), 0);
    assert_int_equal(count_names("pool"), 2);
    store_lane_free(lane);
    store_free(s);
}

static void spares_keep_the_permissions_narrow(void **state _unused_)
{
    struct store *s = NULL;
    struct store_lane *lane;
    struct stat st;

    assert_int_equal(local_store_open(volume, LOCAL_CREATE, 0660, &s), 0);
    lane = open_lane(s);
    make_file(lane, 1, 65536);
    assert_true(stat_name("log/000000/000000001", &st));
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(seal_now(lane, 1), 0);
    assert_int_equal(store_remove_now(lane, 1), 0);
    store_lane_free(lane);
    store_free(s);

    s = open_volume(0);
    lane = open_lane(s);
    assert_int_equal(store_create_now(lane, 2, 65536), 0);
    assert_int_equal(count_names("pool"), 0);
    assert_true(stat_name("log/000000/000000002", &st));
    assert_int_equal(st.st_mode & 0777, 0600);
    store_lane_free(lane);
    store_free(s);
}

/* ---- Open files -------------------------------------------------------------- */

static void more_files_than_fds_are_read(void **state _unused_)
{
    enum { N = 100 };
    struct rlimit limit, low;
    struct store *s;
    struct store_lane *lane;
    struct store_op op[N];
    uint8_t *buf = buf_new(N * 4096, 0);
    struct list done;
    int n = 0;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){ .rlim_cur = 48, .rlim_max = limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    s = open_volume(LOCAL_CREATE);
    lane = open_lane(s);
    for (uint64_t file = 1; file <= N; file++) {
        make_file(lane, file, 4096);
        assert_int_equal(seal_now(lane, file), 0);
    }
    list_init(&done);
    for (int i = 0; i < N; i++) {
        op[i] = (struct store_op){
            .what = STORE_PREAD, .file = (uint64_t)i + 1, .buf = buf + i * 4096,
            .len = 4096,
        };
        store_submit(lane, &op[i]);
    }
    store_kick(lane);
    while (n < N) {
        int got = store_collect(lane, &done);

        n += got;
        if (got == 0) {
            (void)store_wait(lane, -1);
        }
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(op[i].res, 4096);
        assert_int_equal(buf[i * 4096], i + 1);
    }
    store_lane_free(lane);
    store_free(s);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    free(buf);
}

/* ---- The directory ----------------------------------------------------------- */

static void permissions_are_the_least(void **state _unused_)
{
    static const struct {
        const char *name;
        unsigned mode;
    } names[] = {
        { ".", 0700 },   { "log", 0700 }, { "log/000000", 0700 }, { "pool", 0700 },
        { "volume", 0600 }, { "log/000000/000000001", 0600 },
        { "lock-0000000000000007", 0600 },
    };
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    struct store_op op = { .what = STORE_PREPARE, .len = 65536 };
    struct stat st;

    assert_int_equal(store_put(s, "volume", "x", 1), 0);
    assert_int_equal(store_do(lane, &op), 1);
    make_file(lane, 1, 4096);
    assert_int_equal(store_enlist(s, 7), 0);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_true(stat_name(names[i].name, &st));
        assert_int_equal(st.st_mode & 0777, names[i].mode);
    }
    store_lane_free(lane);
    store_free(s);
}

static int count_file(void *opaque, uint64_t file _unused_)
{
    ++*(unsigned *)opaque;
    return 0;
}

static void foreign_names_are_ignored(void **state _unused_)
{
    static const char *const foreign[] = {
        "log/notes", "log/000001", "log/000000/00000000A", "log/000000/0000000001",
        "log/000000/000001000",         /* of shard 1 */
        "log/000000/000000000", "log/000000/00000000", "lock-x", "log/0000000",
    };
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    uint64_t top = 0;
    unsigned n = 0;

    make_file(lane, 1, 4096);
    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
        make_name(foreign[i]);
    }
    assert_int_equal(store_list(s, 0, 0, count_file, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(store_highest(s, 0, &top), 0);
    assert_int_equal(top, 1);
    assert_int_equal(store_holder_alive(s), 0);
    store_lane_free(lane);
    assert_int_equal(store_destroy(s), -ENOTEMPTY);
    assert_non_null(strstr(error_text(), volume));
    assert_int_equal(count_names("log"), 4);    /* and what was in the shard is judged by
                                                   its form: three of four stay */
    assert_int_equal(count_names("log/000000"), 3);
    store_free(s);
}

static void destroy_removes_the_directory(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    struct stat st;

    assert_int_equal(store_put(s, "volume", "x", 1), 0);
    assert_int_equal(store_enlist(s, 1), 0);
    make_file(lane, 1, 4096);
    make_file(lane, 4096, 4096);
    assert_int_equal(seal_now(lane, 1), 0);
    assert_int_equal(store_remove_now(lane, 1), 0);
    make_name(".put-0123456789abcdef");
    make_name("pool/.new-0123456789abcdef");
    store_lane_free(lane);
    assert_int_equal(store_destroy(s), 0);
    assert_false(stat_name(".", &st));
    store_free(s);
}

static void reading_changes_nothing(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);
    uint8_t *buf = buf_new(4096, 0);
    struct stat st;

    make_file(lane, 1, 4096);
    store_lane_free(lane);
    store_free(s);

    s = open_volume(LOCAL_READ_ONLY);
    lane = open_lane(s);
    assert_int_equal(store_pread_now(lane, 1, 0, buf, 4096), 4096);
    assert_int_equal(buf[17], 1);
    assert_int_equal(store_create_now(lane, 2, 4096), -EROFS);
    assert_int_equal(store_append_now(lane, 1, 4096, buf, 4096, 0), -EROFS);
    assert_int_equal(store_remove_now(lane, 1), -EROFS);
    assert_int_equal(store_put(s, "volume", "x", 1), -EROFS);
    assert_int_equal(store_enlist(s, 1), -EROFS);
    store_lane_free(lane);
    assert_int_equal(store_destroy(s), -EROFS);
    assert_int_equal(count_names("."), 1);      /* log */
    assert_true(stat_name("log/000000/000000001", &st));
    store_free(s);
    free(buf);
}

static void emptied_directories_go(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct store_lane *lane = open_lane(s);

    make_file(lane, 1, 4096);
    make_file(lane, 4096, 4096);
    assert_int_equal(store_remove_now(lane, 1), 0);
    assert_int_equal(count_names("log"), 1);
    assert_int_equal(store_create_now(lane, 2, 4096), 0);
    assert_int_equal(count_names("log"), 2);
    store_lane_free(lane);
    store_free(s);
}

static void failures_to_open_are_explained(void **state _unused_)
{
    struct store *s = NULL;
    char path[PATH_MAX];

    error_clear();
    assert_int_equal(local_store_open(volume, 0, 0600, &s), -ENOENT);
    assert_non_null(strstr(error_text(), volume));
    s = open_volume(LOCAL_CREATE);
    store_free(s);
    assert_int_equal(local_store_open(volume, LOCAL_CREATE, 0600, &s), -EEXIST);
    assert_non_null(strstr(error_text(), "exists"));
    make_name("file");
    (void)snprintf(path, sizeof(path), "%s/vol/file", scratch);
    assert_int_equal(local_store_open(path, 0, 0600, &s), -ENOTDIR);
    (void)snprintf(path, sizeof(path), "%s/none/vol", scratch);
    assert_int_equal(local_store_open(path, LOCAL_CREATE, 0600, &s), -ENOENT);
}

static void network_file_systems_are_refused(void **state _unused_)
{
    static const uint32_t types[] = {
        NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
        FUSE_SUPER_MAGIC,
    };

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        error_clear();
        assert_int_equal(local_dir_check_type(types[i], 0, "/mnt/x"), -ENOTSUP);
        assert_non_null(strstr(error_text(), "network-fs=yes"));
        assert_non_null(strstr(error_text(), "/mnt/x"));
        assert_int_equal(local_dir_check_type(types[i], LOCAL_CREATE, "/mnt/x"),
                         -ENOTSUP);
        assert_int_equal(local_dir_check_type(types[i], LOCAL_NETWORK_FS, "/mnt/x"), 0);
        assert_int_equal(local_dir_check_type(types[i], LOCAL_READ_ONLY, "/mnt/x"), 0);
    }
    /* f_type is a long: the magic may come with the sign spread over its upper half. */
    assert_int_equal(local_dir_check_type((uint64_t)(int32_t)CIFS_SUPER_MAGIC, 0, "/"),
                     -ENOTSUP);
    assert_int_equal(local_dir_check_type(EXT4_SUPER_MAGIC, 0, "/mnt/x"), 0);
    assert_int_equal(local_dir_check_type(TMPFS_MAGIC, 0, "/mnt/x"), 0);
}

/* ---- Signs of life ----------------------------------------------------------- */

/* A process that holds EPOCH until it is killed; returns when it does. */
static pid_t spawn_holder(uint64_t epoch)
{
    int ready[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s = NULL;

        if (local_store_open(volume, 0, 0600, &s) < 0 ||
            store_enlist(s, epoch) < 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        (void)pause();
        _exit(0);
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    return pid;
}

static void kill_holder(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void a_lock_shows_life_and_death(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct stat st;
    pid_t pid;

    assert_int_equal(store_holder_alive(s), 0);
    pid = spawn_holder(5);
    assert_int_equal(store_holder_alive(s), 1);
    assert_int_equal(store_enlist(s, 5), -EEXIST);
    assert_int_equal(store_holder_alive(s), 1);
    kill_holder(pid);
    assert_int_equal(store_holder_alive(s), 0);
    assert_true(stat_name("lock-0000000000000005", &st));
    assert_int_equal(store_enlist(s, 5), 0);    /* a dead one is no obstacle */
    assert_int_equal(store_holder_alive(s), 1);

    assert_int_equal(store_enlist(s, 6), 0);
    assert_false(stat_name("lock-0000000000000005", &st));
    assert_true(stat_name("lock-0000000000000006", &st));
    assert_int_equal(store_holder_alive(s), 1);
    store_resign(s);
    assert_int_equal(count_names("."), 0);
    assert_int_equal(store_holder_alive(s), 0);
    store_free(s);
}

/* Who wants to write waits for a dying holder, a second in all; who reads does not. */
static void a_reader_does_not_wait_for_a_writer(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE), *reader;
    pid_t pid = spawn_holder(5);
    uint64_t start_us;

    assert_int_equal(local_store_open(volume, LOCAL_READ_ONLY, 0600, &reader), 0);
    start_us = clock_monotonic_us(&clock_system);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(store_holder_alive(reader), 1);
    }
    assert_true(clock_monotonic_us(&clock_system) - start_us < 5000000);
    kill_holder(pid);
    assert_int_equal(store_holder_alive(s), 0);
    assert_int_equal(store_holder_alive(reader), 0);
    store_free(reader);
    store_free(s);
}

static void who_was_taken_over_holds_nothing(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    pid_t old = spawn_holder(9), taker = spawn_holder(10);

    assert_int_equal(store_holder_alive(s), 1);
    kill_holder(taker);
    /* The one it took over from lives on, but is no holder any more. */
    assert_int_equal(store_holder_alive(s), 0);
    kill_holder(old);
    store_free(s);
}

/* Take EPOCH and be killed where the first lower lock is to be removed. */
static void take_and_die(uint64_t epoch)
{
    const struct rlimit no_core = { 0 };
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s = NULL;

        if (setrlimit(RLIMIT_CORE, &no_core) < 0 ||
            local_store_open(volume, 0, 0600, &s) < 0 ||
            forbid(__NR_unlinkat, SECCOMP_RET_KILL_PROCESS) < 0) {
            _exit(1);
        }
        (void)store_enlist(s, epoch);
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

/*
 * A taker with force was killed when its lock file had its name, and the writer's was not
 * removed yet.  The writer went on; but only the highest lock was asked for a holder, the
 * dead taker's, so whoever came next took over from a living writer without force.
 */
static void a_writer_lives_beside_a_dead_taker(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE), *reader;
    pid_t writer = spawn_holder(5);
    struct stat st;

    assert_int_equal(local_store_open(volume, LOCAL_READ_ONLY, 0600, &reader), 0);
    take_and_die(6);
    assert_true(stat_name("lock-0000000000000005", &st));
    assert_true(stat_name("lock-0000000000000006", &st));
    assert_int_equal(store_holder_alive(s), 1);
    assert_int_equal(store_holder_alive(reader), 1);

    kill_holder(writer);
    assert_int_equal(store_holder_alive(s), 0);
    assert_int_equal(store_holder_alive(reader), 0);
    assert_int_equal(store_enlist(s, 7), 0);
    assert_true(stat_name("lock-0000000000000007", &st));
    assert_int_equal(count_names("."), 1);
    store_free(reader);
    store_free(s);
}

struct looker {
    const char *path;
    int seen;
};

static void *look_often(void *opaque)
{
    struct looker *looker = opaque;
    struct store *s = NULL;

    for (int i = 0; i < 300; i++) {
        int r = local_store_open(looker->path, LOCAL_READ_ONLY, 0600, &s);

        if (r == 0) {
            r = store_holder_alive(s);
            store_free(s);
        }
        if (r != 0) {
            looker->seen = r;
        }
    }
    return NULL;
}

static void lookers_do_not_see_each_other(void **state _unused_)
{
    struct store *s = open_volume(LOCAL_CREATE);
    struct looker looker[4];
    pthread_t thread[4];

    kill_holder(spawn_holder(1));
    for (unsigned i = 0; i < ARRAY_SIZE(thread); i++) {
        looker[i] = (struct looker){ .path = volume };
        assert_int_equal(pthread_create(&thread[i], NULL, look_often, &looker[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(thread); i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(looker[i].seen, 0);
    }
    assert_int_equal(store_enlist(s, 2), 0);
    store_free(s);
}

/* ---- Odd places -------------------------------------------------------------- */

static void a_full_disk_leaves_no_half_file(void **state _unused_)
{
    struct store *s = NULL;
    struct store_lane *lane;
    struct store_op op = { .what = STORE_PREPARE, .len = MIB(1) };
    struct store_stat stat;
    char dir[PATH_MAX], path[PATH_MAX + 8];
    uint64_t top;

    (void)snprintf(dir, sizeof(dir), "%s/small", scratch);
    (void)snprintf(path, sizeof(path), "%s/vol", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (mount("hlfs-test", dir, "tmpfs", 0, "size=8m") < 0) {
        print_message("needs: the right to mount a tmpfs (%s)\n", error_name(errno));
        (void)rmdir(dir);
        skip();
    }
    assert_int_equal(local_store_open(path, LOCAL_CREATE, 0600, &s), 0);
    lane = open_lane(s);
    assert_int_equal(store_create_now(lane, 1, MIB(4)), 0);
    assert_int_equal(store_create_now(lane, 2, MIB(16)), -ENOSPC);
    assert_int_equal(store_highest(s, 0, &top), 0);
    assert_int_equal(top, 1);
    assert_int_equal(store_do(lane, &op), 0);   /* space is short */
    /* The same when there is a spare to begin with: it goes, as room is what lacks. */
    make_file(lane, 3, MIB(1));
    assert_int_equal(seal_now(lane, 3), 0);
    assert_int_equal(store_remove_now(lane, 3), 0);
    assert_int_equal(store_stat(s, &stat), 0);
    assert_int_equal(stat.pool_files, 1);
    assert_int_equal(store_create_now(lane, 4, MIB(16)), -ENOSPC);
    assert_int_equal(store_highest(s, 0, &top), 0);
    assert_int_equal(top, 1);
    assert_int_equal(store_create_now(lane, 4, MIB(3)), 0);
    store_lane_free(lane);
    assert_int_equal(store_destroy(s), 0);
    store_free(s);
    assert_int_equal(umount(dir), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- Names that stay ---------------------------------------------------------- */

/* In a child whose disk removes no name any more: FN gives 0, or the line that failed. */
static void in_child(int (*fn)(struct store *s, struct store_lane *lane))
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s;
        int line;

        /* Before the store starts its threads. */
        if (forbid(__NR_unlinkat, SECCOMP_RET_ERRNO | EROFS) < 0 ||
            signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
            _exit(2);
        }
        s = open_volume(LOCAL_CREATE);
        line = fn(s, open_lane(s));
        if (line != 0) {
            print_error("line %d\n", line);
        }
        _exit(line != 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(what) \
    do { \
        if (!(what)) { \
            return __LINE__; \
        } \
    } while (0)

/* No file gets longer than SIZE from now on. */
static bool limit_files(rlim_t size)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) < 0) {
        return false;
    }
    limit.rlim_cur = MIN(size, limit.rlim_max);
    return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

/* A create of FILE fails when the name is there, and that cannot be removed. */
static bool create_leaves_name(struct store_lane *lane, uint64_t file)
{
    int r;

    if (!limit_files(65536)) {
        return false;
    }
    r = store_create_now(lane, file, SIZE);
    return limit_files(RLIM_INFINITY) && r == -EIO;
}

static int go_on_with_name(struct store *s, struct store_lane *lane)
{
    struct store *other = open_volume(0);
    struct store_lane *others = open_lane(other);
    void *buf = buf_new(4096, 1);
    struct stat st;

    CHECK(store_enlist(s, 1) == 0);
    CHECK(create_leaves_name(lane, 1));
    CHECK(stat_name("log/000000/000000001", &st));
    CHECK(create_leaves_name(lane, 1));
    CHECK(store_create_now(others, 1, SIZE) == -EEXIST);
    CHECK(store_create_now(lane, 1, SIZE) == 0);
    CHECK(stat_name("log/000000/000000001", &st) && st.st_size == SIZE);
    CHECK(store_append_now(lane, 1, 0, buf, 4096, STORE_DURABLE) == 0);
    CHECK(store_pread_now(lane, 1, 0, buf, 4096) == 4096);
    CHECK(store_create_now(lane, 1, SIZE) == -EEXIST);      /* that is over */
    return 0;
}

/*
 * A disk that goes bad, or is made read-only, may fail a create behind the name, and then
 * the removal of the name as well.  That was ignored: the log repeated the create, met
 * its own file, took it for another writer's and stopped for good (ESTALE).  And the error
 * was what had failed, ENOSPC say, after which the log looks whether the number is taken.
 */
static void a_create_goes_on_with_the_name_it_left(void **state _unused_)
{
    in_child(go_on_with_name);
}

static int go_on_with_spare(struct store *s, struct store_lane *lane)
{
    struct store_op op = { .what = STORE_PREPARE, .len = 65536 };
    struct stat st;

    CHECK(store_enlist(s, 1) == 0);
    CHECK(store_do(lane, &op) == 1 && store_do(lane, &op) == 1);
    CHECK(create_leaves_name(lane, 1));
    CHECK(count_names("pool") == 1);
    CHECK(create_leaves_name(lane, 1));
    CHECK(store_create_now(lane, 1, SIZE) == 0);
    CHECK(count_names("pool") == 1);
    CHECK(stat_name("log/000000/000000001", &st) && st.st_size == SIZE);
    return 0;
}

/* The same where a spare file got the name and could not be stretched. */
static void a_create_goes_on_with_the_spare_it_left(void **state _unused_)
{
    in_child(go_on_with_spare);
}

static bool rename_name(const char *from, const char *to)
{
    char a[2 * PATH_MAX], b[2 * PATH_MAX];

    (void)snprintf(a, sizeof(a), "%s/%s", volume, from);
    (void)snprintf(b, sizeof(b), "%s/%s", volume, to);
    return rename(a, b) == 0;
}

static int lose_name(struct store *s, struct store_lane *lane)
{
    struct stat st;

    CHECK(store_enlist(s, 1) == 0);
    CHECK(create_leaves_name(lane, 1));
    /* What rename() replaces goes without unlinkat(). */
    make_name("lock-of-another");
    CHECK(rename_name("lock-of-another", "lock-0000000000000001"));
    make_name("vote-of-another");
    CHECK(rename_name("vote-of-another", "log/000000/000000001"));
    CHECK(store_create_now(lane, 1, SIZE) == -EEXIST);
    CHECK(stat_name("log/000000/000000001", &st) && st.st_size == 0);
    return 0;
}

/*
 * A removal may fail in word only, and the number be another writer's by the time that
 * the create is repeated: it must not be taken for the file that was left behind.
 */
static void a_name_left_behind_may_be_taken(void **state _unused_)
{
    in_child(lose_name);
}

/* ---- Kernels that forbid io_uring ----------------------------------------------- */

/* Have io_uring_setup() fail with ERROR in this process, for good. */
static int forbid_uring(int error)
{
    int r = forbid(__NR_io_uring_setup, SECCOMP_RET_ERRNO | (uint32_t)error);

    if (r < 0) {
        return r;
    }
    errno = 0;
    return syscall(__NR_io_uring_setup, 1, NULL) == -1 && errno == error ? 0 : -EINVAL;
}

/* ---- The contract, in each set-up -------------------------------------------- */

static struct store *fresh(void *opaque)
{
    unsigned flags = *(unsigned *)opaque;

    remove_tree(volume);
    return open_volume(LOCAL_CREATE | flags);
}

static void finish(void *opaque _unused_, struct store *s)
{
    store_free(s);
    remove_tree(volume);
}

static int contract(const char *name, unsigned flags)
{
    struct store_fixture fixture = {
        .name = name, .fresh = fresh, .finish = finish, .opaque = &flags,
        .threads = true, .reuses = true,
    };

    return store_contract_tests(&fixture);
}

static void works_without_io_uring(void **state _unused_)
{
    static const int errors[] = { EPERM, ENOSYS, ENOMEM };

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        pid_t pid = fork();
        int status = 0;

        assert_true(pid >= 0);
        if (pid == 0) {
            struct store *s = NULL;
            struct store_lane *lane = NULL;
            uint8_t buf[100];

            if (forbid_uring(errors[i]) < 0) {
                _exit(2);
            }
            s = open_volume(LOCAL_CREATE);
            lane = open_lane(s);
            make_file(lane, 1, 65536);
            if (store_sync_now(lane, 1) != 0 || seal_now(lane, 1) != 0 ||
                store_pread_now(lane, 1, 65500, buf, 100) != 36 || buf[35] != 1 ||
                store_remove_now(lane, 1) != 0) {
                _exit(1);
            }
            store_lane_free(lane);
            store_free(s);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        remove_tree(volume);
    }
}

#define LOCAL(name) cmocka_unit_test_teardown(name, clean_up)

static int local_tests(void)
{
    static const struct CMUnitTest tests[] = {
        LOCAL(only_clean_files_become_spares),
        LOCAL(a_file_being_read_becomes_no_spare),
        LOCAL(spares_are_limited_and_fit),
        LOCAL(a_new_writer_sweeps_unfinished_spares),
        LOCAL(spares_keep_the_permissions_narrow),
        LOCAL(more_files_than_fds_are_read),
        LOCAL(permissions_are_the_least),
        LOCAL(foreign_names_are_ignored),
        LOCAL(destroy_removes_the_directory),
        LOCAL(reading_changes_nothing),
        LOCAL(emptied_directories_go),
        LOCAL(failures_to_open_are_explained),
        LOCAL(network_file_systems_are_refused),
        LOCAL(a_lock_shows_life_and_death),
        LOCAL(a_reader_does_not_wait_for_a_writer),
        LOCAL(who_was_taken_over_holds_nothing),
        LOCAL(a_writer_lives_beside_a_dead_taker),
        LOCAL(lookers_do_not_see_each_other),
        LOCAL(a_full_disk_leaves_no_half_file),
        LOCAL(a_create_goes_on_with_the_name_it_left),
        LOCAL(a_create_goes_on_with_the_spare_it_left),
        LOCAL(a_name_left_behind_may_be_taken),
        LOCAL(works_without_io_uring),
    };

    return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}

/* Volumes under DIR from now on; false: there is no such place. */
static bool use_place(const char *dir)
{
    (void)snprintf(scratch, sizeof(scratch), "%s/hlfs-test-local-XXXXXX", dir);
    if (!mkdtemp(scratch)) {
        return false;
    }
    (void)snprintf(volume, sizeof(volume), "%s/vol", scratch);
    return true;
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    int failed = 0;

    (void)umask(0);
    if (!use_place(tmp ? tmp : "/var/tmp")) {
        perror(scratch);
        return 1;
    }
    failed += contract("io_uring", 0);
    failed += contract("threads", LOCAL_NO_URING);
    failed += contract("buffered", LOCAL_NO_DIRECT);
    failed += contract("threads, buffered", LOCAL_NO_URING | LOCAL_NO_DIRECT);
    failed += local_tests();
    remove_tree(scratch);
    if (use_place("/dev/shm")) {
        failed += contract("tmpfs", 0);
        failed += contract("threads on tmpfs", LOCAL_NO_URING);
        remove_tree(scratch);
    }
    return failed != 0;
}
