/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * control.h - the socket by which a process that holds a volume is asked and told things
 * by others of the same machine and user.
 *
 * A Unix stream socket, mode 0600, named after the volume's uuid, and where it is kept in
 * a directory after that, too (a copy has the same uuid): in $XDG_RUNTIME_DIR
 * (hlfs-UUID-DEV-INODE.control), or in /run/hlfs (UUID-DEV-INODE.control).  The name is
 * the present holder's, who may have taken the volume over.  Both ends look at the
 * other's user (SO_PEERCRED): the server serves its own user and root, the client
 * believes them.
 *
 * The protocol is lines of text.  A request is one line; its answer is lines "key value"
 * and then "ok", or "error N" with a positive errno.  Requests:
 *
 *     stat                  what the volume is and does; what hlfs stat shows
 *     flush                 as hlfs_flush()
 *     resize BYTES [shrink] as hlfs_resize(); answers size_bytes
 *     set KEY VALUE         as hlfs_set(); answers why, if it fails
 *
 * An unknown request is "error EOPNOTSUPP": keys and requests may be added, none changes
 * its meaning.  Connections may stay open; each has one request under way at a time.
 *
 * The server is one thread of the process that holds the volume; it uses the volume as
 * any user of hlfs.h does, but for "set", which waits for the store.  Signals are blocked
 * in it.
 */
#ifndef HLFS_CONTROL_CONTROL_H
#define HLFS_CONTROL_CONTROL_H

#include <stdbool.h>

#include "base/error.h"
#include "hlfs.h"

#define CONTROL_LINE_MAX 4096       /* of a request or an answer, with its newline */

struct control;

/* How the server sets KEY of V; leaves a sentence. */
typedef int (*control_set_fn)(struct hlfs *v, const char *key, const char *value);

/* Listen for V, which is kept where KEY says (struct store).  -errno, and a warning in LOG:
 * V is as good as before, without a socket. */
int control_start(struct hlfs *v, const char *key, control_set_fn set,
                  const struct log_hook *log, struct control **ret);

/* Close the socket and all connections; what is under way of their requests ends first.
 * NULL is fine. */
void control_stop(struct control *c);

/*
 * Ask the holder of the volume UUID at KEY.  FN gets each key and value of the answer.  Returns
 * 0, the error of the answer, -ENOTCONN (nobody holds it here, or without a socket),
 * or another -errno; without a sentence.
 */
int control_ask(const uint8_t uuid[16], const char *key, const char *request,
                void (*fn)(void *opaque, const char *key, const char *value),
                void *opaque);

/* ---- address.c ------------------------------------------------------------ */

struct sockaddr_un;

/* Where the Nth place for a socket is: 0, or -ENOENT: there are no more.  The first one
 * is where a server listens, the others are where else a client looks. */
int control_address(const uint8_t uuid[16], const char *key, unsigned n,
                    struct sockaddr_un *ret);

/* Is the other end of FD root, or our own user? */
bool control_trusts(int fd);

#endif
