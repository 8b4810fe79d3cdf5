/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake-namenode.h - a server of Hadoop's RPC on loopback, as good or bad as a test likes.
 *
 * One thread, one connection at a time handled in turn with others.  For each call it
 * asks what to do.
 */
#ifndef HLFS_TESTS_FAKE_NAMENODE_H
#define HLFS_TESTS_FAKE_NAMENODE_H

#include <stddef.h>
#include <stdint.h>

struct fake_call {
    unsigned connection;        /* counted from 0 */
    int32_t id, retry;
    uint8_t client_id[16];
    char method[64];
    char user[64];
    const uint8_t *request;     /* borrowed while REPLY is called */
    size_t request_len;
};

enum fake_what {
    FAKE_ANSWER,                /* BODY */
    FAKE_EXCEPTION,             /* CLASS and BODY, its text */
    FAKE_FATAL,                 /* the same, and hang up */
    FAKE_SILENCE,
    FAKE_HANG_UP,
    FAKE_BYTES,                 /* BODY, as it is */
};

struct fake_reply {
    enum fake_what what;
    const char *class;
    const void *body;           /* borrowed */
    size_t len;                 /* of an answer or bytes */
    unsigned delay_ms;
    int hang_up_after;          /* hang up when it was sent */
};

struct fake;

/* REPLY is called by the fake's thread. */
struct fake *fake_new(struct fake_reply (*reply)(void *opaque, const struct fake_call *c),
                      void *opaque);
uint16_t fake_port(const struct fake *f);
void fake_free(struct fake *f);

#endif
