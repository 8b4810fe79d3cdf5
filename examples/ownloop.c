/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ownloop LOC - read a whole volume from an event loop of one's own.
 *
 * The loop waits by epoll for the queue's fd and for a timer that prints how far it is.
 * Two rules: kick before waiting elsewhere than in hlfs_queue_reap(), and reap when the
 * fd is readable.
 */
#define _POSIX_C_SOURCE 200809L     /* CLOCK_MONOTONIC */
#include <hlfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DEPTH 16
#define CHUNK (256 * 1024)

static struct {
    struct hlfs_queue *queue;
    char buf[DEPTH][CHUNK];
    uint64_t size, next;        /* bytes: of the volume, of what was submitted */
    unsigned unfinished;
    int error;
} state;

/* Read the next chunks into BUF until one of them needs to be waited for. */
static void submit_next(char *buf)
{
    while (state.next < state.size && state.error == 0) {
        uint64_t left = state.size - state.next;
        int r = hlfs_submit_pread(state.queue, buf, left < CHUNK ? left : CHUNK,
                                  state.next, buf);

        state.next += CHUNK;
        if (r == 0) {
            state.unfinished++;
            return;
        }
        state.error = r < 0 ? r : 0;    /* 1: done at once, as a hole is */
    }
}

static void reap_all(void)
{
    struct hlfs_completion c[DEPTH];
    int n = hlfs_queue_reap(state.queue, c, DEPTH, 0);

    for (int i = 0; i < n; i++) {
        state.unfinished--;
        state.error = c[i].result < 0 ? c[i].result : state.error;
        submit_next(c[i].tag);
    }
}

static void loop(int epoll, int timer)
{
    struct epoll_event e;
    uint64_t expirations;

    while (state.unfinished > 0) {
        hlfs_queue_kick(state.queue);
        if (epoll_wait(epoll, &e, 1, -1) < 1 || e.data.fd != timer) {
            reap_all();
        } else if (read(timer, &expirations, sizeof(expirations)) > 0) {
            printf("%llu MiB\n", (unsigned long long)state.next >> 20);
        }
    }
}

int main(int argc, char **argv)
{
    const struct itimerspec second = { { 1, 0 }, { 1, 0 } };
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), epoll = epoll_create1(0);
    struct epoll_event e = { .events = EPOLLIN, .data.fd = timer };
    struct hlfs *v;

    if (argc != 2 || hlfs_open(argv[1], NULL, HLFS_RDONLY, NULL, &v) < 0) {
        fprintf(stderr, "ownloop: %s\n", argc == 2 ? hlfs_error() : "usage: ownloop LOC");
        return 1;
    }
    state.size = hlfs_size(v);
    state.error = hlfs_queue_new(v, DEPTH, &state.queue);
    if (state.error == 0) {
        (void)timerfd_settime(timer, 0, &second, NULL);
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &e);
        e.data.fd = hlfs_queue_fd(state.queue);
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, e.data.fd, &e);
        for (int i = 0; i < DEPTH; i++) {
            submit_next(state.buf[i]);
        }
        loop(epoll, timer);
        hlfs_queue_free(state.queue);
    }
    (void)hlfs_close(v);
    printf("%s\n", state.error ? strerror(-state.error) : "all is readable");
    return state.error != 0;
}
