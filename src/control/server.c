/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The holder's end: one thread that polls the listening socket, its connections and the
 * volume's queue.  Nothing in it waits for a client, and only "set" for the store. */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 16
#define ANSWER_MAX 8192

struct client {
    int fd;                     /* -1: gone; its slot is free once it is not busy */
    bool busy;                  /* its request is in the queue */
    bool resizes;               /* that request does */
    bool ends;                  /* no more requests: close when all is sent */
    char in[CONTROL_LINE_MAX];
    size_t have;
    char out[ANSWER_MAX];
    size_t len, sent;
};

struct control {
    struct hlfs *v;
    control_set_fn set;
    struct hlfs_queue *q;
    struct sockaddr_un address;
    struct stat file;           /* of the socket, as we made it */
    struct timespec since;
    int listen_fd, wake_fd;
    pthread_t thread;
    struct client clients[CLIENTS_MAX];
};

/* ---- Answers -------------------------------------------------------------- */

static void answer(struct client *c, const char *fmt, ...) _printf_(2, 3);

static void answer(struct client *c, const char *fmt, ...)
{
    size_t room = sizeof(c->out) - c->len;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(c->out + c->len, room, fmt, args);
    va_end(args);
    c->len += n > 0 ? MIN((size_t)n, room - 1) : 0;
}

static void answer_number(struct client *c, const char *key, uint64_t value)
{
    answer(c, "%s %" PRIu64 "\n", key, value);
}

static void answer_end(struct client *c, int res)
{
    if (res < 0) {
        answer(c, "error %d\n", -res);
    } else {
        answer(c, "ok\n");
    }
}

static void answer_info(struct client *c, const struct hlfs_info *i)
{
    answer_number(c, "pid", i->holder_pid);
    answer_number(c, "size_bytes", i->size_bytes);
    answer_number(c, "block_bytes", i->block_bytes);
    answer_number(c, "segment_bytes", i->segment_bytes);
    answer_number(c, "log_bytes", i->log_bytes);
    answer_number(c, "live_bytes", i->live_bytes);
    answer_number(c, "pool_bytes", i->pool_bytes);
    answer_number(c, "segments", i->segments);
    answer_number(c, "since_us", i->holder_since_us);
    answer(c, "durability %s\n", i->durability);
    answer_number(c, "degraded", i->degraded);
    answer_number(c, "replication", i->replication);
    answer(c, "tail %s\n", i->tail);
}

static void answer_counters(struct client *c, const struct hlfs_counters *n)
{
#define COUNTER(name) { #name, offsetof(struct hlfs_counters, name) }
    static const struct {
        const char *key;
        size_t offset;
    } counters[] = {
        COUNTER(reads), COUNTER(read_bytes), COUNTER(writes), COUNTER(written_bytes),
        COUNTER(flushes), COUNTER(discards), COUNTER(zeroes), COUNTER(read_errors),
        COUNTER(write_errors), COUNTER(log_bytes_written), COUNTER(page_bytes_written),
        COUNTER(page_loads), COUNTER(page_hits), COUNTER(store_reads),
        COUNTER(store_read_bytes), COUNTER(syncs), COUNTER(checkpoints),
        COUNTER(segments_created), COUNTER(segments_removed), COUNTER(segments_broken),
        COUNTER(dirty_bytes), COUNTER(layer_bytes), COUNTER(cache_bytes),
        COUNTER(read_p50_us), COUNTER(read_p99_us), COUNTER(read_p999_us),
        COUNTER(write_p50_us), COUNTER(write_p99_us), COUNTER(write_p999_us),
        COUNTER(flush_p50_us), COUNTER(flush_p99_us), COUNTER(flush_p999_us),
    };
#undef COUNTER

    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        answer_number(c, counters[i].key,
                      *(const uint64_t *)((const char *)n + counters[i].offset));
    }
}

static uint64_t elapsed_us(const struct timespec *since)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((now.tv_sec - since->tv_sec) * 1000000 +
                      (now.tv_nsec - since->tv_nsec) / 1000);
}

static int answer_stat(struct control *ct, struct client *c)
{
    struct hlfs_counters n;
    struct hlfs_info i;
    int res = hlfs_get_info(ct->v, &i, sizeof(i));

    if (res == 0) {
        res = hlfs_get_counters(ct->v, &n, sizeof(n));
    }
    if (res == 0) {
        answer_number(c, "uptime_us", elapsed_us(&ct->since));
        answer_info(c, &i);
        answer_counters(c, &n);
    }
    return res;
}

/* ---- Requests ------------------------------------------------------------- */

/* "BYTES [shrink]" */
static int resize_start(struct control *ct, struct client *c, const char *text)
{
    unsigned flags = 0;
    uint64_t bytes;
    char *end;

    errno = 0;
    bytes = strtoull(text, &end, 10);
    if (end == text || errno != 0) {
        return -EINVAL;
    }
    if (strcmp(end, " shrink") == 0) {
        flags = HLFS_SHRINK;
    } else if (*end) {
        return -EINVAL;
    }
    c->resizes = true;
    return hlfs_submit_resize(ct->q, bytes, flags, c);
}

/* "KEY VALUE" */
static int set_now(struct control *ct, struct client *c, char *text)
{
    char *value = strchr(text, ' ');
    int res;

    if (!value) {
        return -EINVAL;
    }
    *value++ = '\0';
    res = ct->set(ct->v, text, value);
    if (res < 0) {
        answer(c, "why %s\n", error_text());
    }
    return res;
}

static void request_end(struct control *ct, struct client *c, int res)
{
    if (c->resizes) {
        answer_number(c, "size_bytes", hlfs_size(ct->v));
    }
    c->busy = c->resizes = false;
    answer_end(c, res);
}

static void request(struct control *ct, struct client *c, char *line)
{
    static const char resize[] = "resize ", set[] = "set ";
    int res = -EOPNOTSUPP;

    c->len = c->sent = 0;
    if (strcmp(line, "stat") == 0) {
        res = answer_stat(ct, c);
    } else if (strcmp(line, "flush") == 0) {
        res = hlfs_submit_flush(ct->q, c);
        c->busy = res == 0;
    } else if (strncmp(line, resize, strlen(resize)) == 0) {
        res = resize_start(ct, c, line + strlen(resize));
        c->busy = res == 0;
    } else if (strncmp(line, set, strlen(set)) == 0) {
        res = set_now(ct, c, line + strlen(set));
    }
    if (!c->busy) {
        request_end(ct, c, res);
    }
}

/* ---- Connections ---------------------------------------------------------- */

static bool idle(const struct client *c)
{
    return !c->busy && c->sent == c->len;
}

static void client_close(struct client *c)
{
    if (c->fd >= 0) {
        (void)close(c->fd);
    }
    c->fd = -1;
}

/* Lines that have come, as far as they may begin now. */
static void client_requests(struct control *ct, struct client *c)
{
    while (c->fd >= 0 && idle(c)) {
        char *end = memchr(c->in, '\n', c->have);
        size_t len;

        if (!end) {
            if (c->ends || c->have == sizeof(c->in)) {
                client_close(c);
            }
            return;
        }
        *end = '\0';
        len = (size_t)(end - c->in) + 1;
        request(ct, c, c->in);
        c->have -= len;
        memmove(c->in, c->in + len, c->have);
    }
}

static void client_read(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);

    if (n > 0) {
        c->have += (size_t)n;
    } else if (n == 0) {
        c->ends = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        client_close(c);
    }
}

static void client_write(struct client *c)
{
    ssize_t n = send(c->fd, c->out + c->sent, c->len - c->sent,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0) {
        c->sent += (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
        client_close(c);
    }
}

static void client_accept(struct control *ct)
{
    int fd = accept4(ct->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && control_trusts(fd) && i < CLIENTS_MAX; i++) {
        struct client *c = &ct->clients[i];

        if (c->fd < 0 && !c->busy) {
            *c = (struct client){ .fd = fd };
            return;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* ---- The thread ----------------------------------------------------------- */

enum { POLL_WAKE, POLL_LISTEN, POLL_QUEUE, POLL_CLIENTS };

static void poll_for(const struct control *ct, struct pollfd *p)
{
    p[POLL_WAKE] = (struct pollfd){ .fd = ct->wake_fd, .events = POLLIN };
    p[POLL_LISTEN] = (struct pollfd){ .fd = ct->listen_fd, .events = POLLIN };
    p[POLL_QUEUE] = (struct pollfd){ .fd = hlfs_queue_fd(ct->q), .events = POLLIN };
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        const struct client *c = &ct->clients[i];
        short events = c->sent < c->len ? POLLOUT : c->busy || c->ends ? 0 : POLLIN;

        /* A negative fd is passed over, also by way of its errors. */
        p[POLL_CLIENTS + i] = (struct pollfd){ .fd = events ? c->fd : -1, .events = events };
    }
}

static void queue_reap(struct control *ct)
{
    struct hlfs_completion done[CLIENTS_MAX];
    int n = hlfs_queue_reap(ct->q, done, CLIENTS_MAX, 0);

    for (int i = 0; i < n; i++) {
        request_end(ct, done[i].tag, done[i].result);
    }
}

static void *serve(void *opaque)
{
    struct control *ct = opaque;
    struct pollfd p[POLL_CLIENTS + CLIENTS_MAX];

    for (;;) {
        hlfs_queue_kick(ct->q);
        poll_for(ct, p);
        if (poll(p, ARRAY_SIZE(p), -1) < 0) {
            continue;       /* EINTR, or no memory for a moment */
        }
        if (p[POLL_WAKE].revents) {
            return NULL;
        }
        queue_reap(ct);
        for (size_t i = 0; i < CLIENTS_MAX; i++) {
            struct client *c = &ct->clients[i];

            if (p[POLL_CLIENTS + i].revents && c->sent < c->len) {
                client_write(c);
            } else if (p[POLL_CLIENTS + i].revents) {
                client_read(c);
            }
            client_requests(ct, c);
        }
        if (p[POLL_LISTEN].revents) {
            client_accept(ct);
        }
    }
}

/* ---- Beginning and end ---------------------------------------------------- */

static int socket_listen(struct control *ct)
{
    static const char system_dir[] = "/run/hlfs/";
    const struct sockaddr *address = (const struct sockaddr *)&ct->address;

    if (strncmp(ct->address.sun_path, system_dir, strlen(system_dir)) == 0) {
        (void)mkdir("/run/hlfs", 0755);     /* if it fails the bind says so */
    }
    /* The name belongs to who holds the volume: to nobody who died or was taken over. */
    (void)unlink(ct->address.sun_path);
    ct->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ct->listen_fd < 0) {
        return -errno;
    }
    /* Linux gives the file the mode of the socket: 0600 from its first moment on, and
     * the umask, which is the whole process's, stays as it is. */
    if (fchmod(ct->listen_fd, 0600) < 0 ||
        bind(ct->listen_fd, address, sizeof(ct->address)) < 0) {
        return -errno;
    }
    if (lstat(ct->address.sun_path, &ct->file) < 0 ||
        listen(ct->listen_fd, CLIENTS_MAX) < 0) {
        return -errno;
    }
    return 0;
}

/* It may be another holder's by now. */
static void socket_remove(const struct control *ct)
{
    struct stat st;

    if (lstat(ct->address.sun_path, &st) == 0 && st.st_dev == ct->file.st_dev &&
        st.st_ino == ct->file.st_ino) {
        (void)unlink(ct->address.sun_path);
    }
}

static int thread_start(struct control *ct)
{
    sigset_t all, old;
    int res;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    res = pthread_create(&ct->thread, NULL, serve, ct);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -res;
}

static void control_free(struct control *ct)
{
    hlfs_queue_free(ct->q);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        client_close(&ct->clients[i]);
    }
    if (ct->listen_fd >= 0) {
        (void)close(ct->listen_fd);
    }
    if (ct->wake_fd >= 0) {
        (void)close(ct->wake_fd);
    }
    free(ct);
}

static int control_prepare(struct control *ct, const char *key)
{
    struct hlfs_info i;
    int res = hlfs_get_info(ct->v, &i, sizeof(i));

    if (res == 0) {
        res = control_address(i.uuid, key, 0, &ct->address);
    }
    if (res == 0) {
        res = hlfs_queue_new(ct->v, CLIENTS_MAX, &ct->q);
    }
    if (res == 0) {
        ct->wake_fd = eventfd(0, EFD_CLOEXEC);
        res = ct->wake_fd < 0 ? -errno : 0;
    }
    return res == 0 ? socket_listen(ct) : res;
}

int control_start(struct hlfs *v, const char *key, control_set_fn set,
                  const struct log_hook *log, struct control **ret)
{
    struct control *ct = calloc(1, sizeof(*ct));
    int res;

    if (!ct) {
        return -ENOMEM;
    }
    ct->v = v;
    ct->set = set;
    ct->listen_fd = ct->wake_fd = -1;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        ct->clients[i].fd = -1;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ct->since);
    res = control_prepare(ct, key);
    if (res == 0) {
        res = thread_start(ct);
    }
    if (res < 0) {
        socket_remove(ct);
        log_say(log, LOG_WARNING, "no control socket at %s: %s; hlfs stat and resize "
                "cannot reach this process", ct->address.sun_path, error_name(res));
        control_free(ct);
        return res;
    }
    *ret = ct;
    return 0;
}

void control_stop(struct control *ct)
{
    const uint64_t one = 1;

    if (!ct) {
        return;
    }
    socket_remove(ct);
    while (write(ct->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    (void)pthread_join(ct->thread, NULL);
    control_free(ct);
}
