/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking a holder: one connection, one request, blocking. */
#include "control/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ERRNO_MAX 4095

struct answer {
    int fd;
    char line[CONTROL_LINE_MAX];
    size_t have;                /* bytes of the lines that follow */
};

/* Connect to the first place where somebody listens whom we believe. */
static int holder_connect(const uint8_t uuid[16], const char *key)
{
    struct sockaddr_un address;

    for (unsigned n = 0; control_address(uuid, key, n, &address) != -ENOENT; n++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            return -errno;
        }
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
            control_trusts(fd)) {
            return fd;
        }
        (void)close(fd);
    }
    return -ENOTCONN;
}

static int send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* The next line, without its newline, in a->line; it has *RET_LEN bytes to drop. */
static int answer_line(struct answer *a, size_t *ret_len)
{
    for (;;) {
        char *end = memchr(a->line, '\n', a->have);
        ssize_t n;

        if (end) {
            *end = '\0';
            *ret_len = (size_t)(end - a->line) + 1;
            return 0;
        }
        if (a->have == sizeof(a->line)) {
            return -EPROTO;
        }
        n = recv(a->fd, a->line + a->have, sizeof(a->line) - a->have, 0);
        if (n == 0) {
            return -ECONNRESET;     /* it ended, or closed the volume */
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        a->have += n > 0 ? (size_t)n : 0;
    }
}

static void answer_drop(struct answer *a, size_t len)
{
    a->have -= len;
    memmove(a->line, a->line + len, a->have);
}

/* "error N" as -N. */
static int answer_error(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    return end == text || *end || n == 0 || n > ERRNO_MAX ? -EPROTO : -(int)n;
}

static int answer_read(struct answer *a,
                       void (*fn)(void *opaque, const char *key, const char *value),
                       void *opaque)
{
    for (;;) {
        size_t len = 0;
        char *space;
        int res = answer_line(a, &len);

        if (res < 0 || strcmp(a->line, "ok") == 0) {
            return res;
        }
        space = strchr(a->line, ' ');
        if (!space) {
            return -EPROTO;
        }
        *space = '\0';
        if (strcmp(a->line, "error") == 0) {
            return answer_error(space + 1);
        }
        if (fn) {
            fn(opaque, a->line, space + 1);
        }
        answer_drop(a, len);
    }
}

int control_ask(const uint8_t uuid[16], const char *key, const char *request,
                void (*fn)(void *opaque, const char *key, const char *value),
                void *opaque)
{
    struct answer a = { .fd = holder_connect(uuid, key) };
    int res;

    if (a.fd < 0) {
        return a.fd;
    }
    res = send_all(a.fd, request, strlen(request));
    if (res == 0) {
        res = send_all(a.fd, "\n", 1);
    }
    if (res == 0) {
        res = answer_read(&a, fn, opaque);
    }
    (void)close(a.fd);
    /* It would not talk to us, or ended: nobody is there to be asked. */
    return res == -EPIPE || res == -ECONNRESET ? -ENOTCONN : res;
}
