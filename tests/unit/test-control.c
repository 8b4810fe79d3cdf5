/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket of a volume, and clients that do not behave: each gets an answer or
 * loses its connection, and the volume, other clients and close() do not suffer.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/control.h"
#include "localvol.h"

static struct hlfs *v;
static struct control *control;
static uint8_t uuid[16];
static char key[40], said[4096];

static void start(void)
{
    struct log_hook log = { 0 };
    struct hlfs_info i;

    localvol_init();
    assert_int_equal(setenv("XDG_RUNTIME_DIR", localvol_scratch, 1), 0);
    localvol_create(MIB(16), 0, NULL);
    v = localvol_open(0, 0, NULL);
    assert_int_equal(hlfs_get_info(v, &i, sizeof(i)), 0);
    memcpy(uuid, i.uuid, sizeof(uuid));
    (void)snprintf(key, sizeof(key), "%s", volume_key(v));
    assert_int_equal(control_start(v, volume_key(v), volume_set, &log, &control), 0);
}

static void end(void)
{
    control_stop(control);
    assert_int_equal(control_ask(uuid, key, "stat", NULL, NULL), -ENOTCONN);
    assert_int_equal(hlfs_close(v), 0);
    localvol_done();
}

static void note(void *opaque, const char *name, const char *value)
{
    size_t at = strlen(said);

    (void)opaque;
    (void)snprintf(said + at, sizeof(said) - at, "%s=%s\n", name, value);
}

static int ask(const char *request)
{
    said[0] = '\0';
    return control_ask(uuid, key, request, note, NULL);
}

/* A client by hand. */
static int connected(void)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(control_address(uuid, key, 0, &address), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Until the connection ends or TEXT has come; true: it has. */
static bool receives(int fd, const char *text)
{
    char got[16384] = "";
    size_t have = 0;

    while (!strstr(got, text)) {
        ssize_t n = recv(fd, got + have, sizeof(got) - 1 - have, 0);

        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
        got[have] = '\0';
    }
    return true;
}

/* ---- Tests ---------------------------------------------------------------- */

static void what_is_asked_is_answered(void **state _unused_)
{
    struct sockaddr_un address;
    struct stat st;

    start();
    assert_int_equal(control_address(uuid, key, 0, &address), 0);
    assert_int_equal(stat(address.sun_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(call_write(v, uuid, 16, 0, 0), 0);
    assert_int_equal(ask("stat"), 0);
    assert_non_null(strstr(said, "writes=1\n"));
    assert_non_null(strstr(said, "size_bytes=16777216\n"));
    assert_int_equal(ask("flush"), 0);
    assert_int_equal(ask("stat"), 0);
    assert_non_null(strstr(said, "flushes=1\n"));
    assert_non_null(strstr(said, "dirty_bytes=0\n"));
    assert_int_equal(ask("resize 33554432"), 0);
    assert_string_equal(said, "size_bytes=33554432\n");
    assert_int_equal(ask("resize 16777216"), -EINVAL);
    assert_string_equal(said, "size_bytes=33554432\n");
    assert_int_equal(ask("resize 16777216 shrink"), 0);
    assert_int_equal(hlfs_size(v), MIB(16));
    assert_int_equal(ask("set keep 0"), 0);
    assert_int_equal(ask("set replication 2"), -ENOTSUP);
    assert_non_null(strstr(said, "why="));
    assert_non_null(strstr(said, "kept in one copy"));
    end();
}

static void nonsense_is_refused(void **state _unused_)
{
    static const char *const requests[] = { "", "stat ", "statistics", "flush 1", "\t" };
    static const char *const resizes[] = {
        "resize ", "resize x", "resize 99999999999999999999999", "resize 512 grow",
        "resize 512shrink", "resize 1", "resize 512 shrink ", "set x", "set x y",
        "set replication 0", "set replication x",
    };

    start();
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        assert_int_equal(ask(requests[i]), -EOPNOTSUPP);
    }
    for (size_t i = 0; i < ARRAY_SIZE(resizes); i++) {
        assert_int_equal(ask(resizes[i]), -EINVAL);
    }
    assert_int_equal(hlfs_size(v), MIB(16));
    end();
}

static void lines_come_in_pieces_and_in_heaps(void **state _unused_)
{
    int fd;

    start();
    fd = connected();
    send_text(fd, "fl");
    (void)usleep(20000);
    send_text(fd, "ush\nflush\nresize 33554432\nstat\nwhat\n");
    assert_true(receives(fd, "error 95\n"));    /* the last one, EOPNOTSUPP */
    assert_int_equal(hlfs_size(v), MIB(32));
    assert_int_equal(ask("stat"), 0);
    assert_non_null(strstr(said, "flushes=2\n"));
    /* Who closes his side still gets his answers. */
    send_text(fd, "flush\nstat\n");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_true(receives(fd, "flushes 3\n"));
    (void)close(fd);
    end();
}

static void endless_lines_and_silence(void **state _unused_)
{
    char line[CONTROL_LINE_MAX];
    int silent[24], fd;

    start();
    memset(line, 'x', sizeof(line));
    fd = connected();
    assert_int_equal(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
    assert_false(receives(fd, "ok"));       /* it is thrown out */
    (void)close(fd);
    /* More than there is room for: the later ones are closed, the others wait. */
    for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
        silent[i] = connected();
    }
    send_text(silent[0], "stat\n");
    assert_true(receives(silent[0], "ok\n"));
    assert_false(receives(silent[ARRAY_SIZE(silent) - 1], "ok\n"));
    for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
        (void)close(silent[i]);
    }
    for (int i = 0; i < 100 && ask("flush") < 0; i++) {
        (void)usleep(10000);    /* until it has seen that they went */
    }
    assert_int_equal(ask("flush"), 0);
    end();
}

/* Asks and goes before the answer; or never reads what it asked for. */
static void *rude(void *opaque)
{
    struct sockaddr_un address;

    (void)opaque;
    CHECK(control_address(uuid, key, 0, &address) == 0, "no address");
    for (unsigned i = 0; i < 200; i++) {
        static const char *const texts[] = { "flush\n", "resize 33554432\nflush\n",
                                             "stat\nstat\nstat\nstat\nstat\nstat\n" };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
            (void)!send(fd, texts[i % 3], strlen(texts[i % 3]), MSG_NOSIGNAL);
        }
        (void)close(fd);
    }
    return NULL;
}

static void who_goes_early_does_no_harm(void **state _unused_)
{
    pthread_t threads[4];
    uint8_t byte = 1;

    start();
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, rude, NULL), 0);
    }
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(call_write(v, &byte, 1, i * 999, i % 9 ? 0 : HLFS_FUA), 0);
    }
    /* The first two are still at it when everything ends. */
    for (size_t i = 2; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    end();
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

/* A server that died leaves its socket, and one that was taken over from still has its:
 * the name is the new holder's, and stays so when the old one ends. */
static void the_name_is_the_holders(void **state _unused_)
{
    struct log_hook log = { 0 };
    struct control *old;
    struct sockaddr_un address;
    int fd;

    start();
    old = control;
    assert_int_equal(control_start(v, volume_key(v), volume_set, &log, &control), 0);
    control_stop(old);
    assert_int_equal(ask("flush"), 0);
    assert_int_equal(control_address(uuid, key, 0, &address), 0);
    control_stop(control);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)close(fd);        /* the file stays, as after SIGKILL */
    assert_int_equal(ask("flush"), -ENOTCONN);
    assert_int_equal(control_start(v, volume_key(v), volume_set, &log, &control), 0);
    assert_int_equal(ask("flush"), 0);
    end();
}

/* Who copies a volume has a second one with the same uuid.  (Its identity is enough here:
 * the log of a volume in use cannot be copied file by file.) */
static void a_copy_is_another_volume(void **state _unused_)
{
    char before[40], path[PATH_MAX], command[3 * PATH_MAX];
    struct store *s;

    start();
    (void)snprintf(path, sizeof(path), "%s/copy", localvol_scratch);
    (void)snprintf(command, sizeof(command), "mkdir %s && cp -a %s/volume %s/", path,
                   localvol_path, path);
    assert_int_equal(system(command), 0);
    assert_int_equal(local_store_open(path, LOCAL_READ_ONLY, 0600, &s), 0);
    (void)snprintf(before, sizeof(before), "%s", key);
    (void)snprintf(key, sizeof(key), "%s", s->key);
    store_free(s);
    assert_int_equal(ask("flush"), -ENOTCONN);
    (void)snprintf(key, sizeof(key), "%s", before);
    assert_int_equal(ask("flush"), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_is_answered),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(lines_come_in_pieces_and_in_heaps),
        cmocka_unit_test(endless_lines_and_silence),
        cmocka_unit_test(who_goes_early_does_no_harm),
        cmocka_unit_test(the_name_is_the_holders),
        cmocka_unit_test(a_copy_is_another_volume),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
