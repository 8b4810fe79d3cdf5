/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbdkit-hlfs-plugin
 *
 * The volumes that are open.
 *
 * All connections to one export share one volume handle: a volume has
 * one writer, and multi-conn needs a flush on one connection to cover
 * the writes of the others.  Knows nothing of nbdkit's callbacks.
 *
 * Any thread may call these functions.  On failure they have called
 * nbdkit_error.
 */

#ifndef HLFS_PLUGIN_EXPORTS_H
#define HLFS_PLUGIN_EXPORTS_H

#include <stdbool.h>

#include <hlfs.h>

struct export {
  struct export *next;          /* list of exports.c */
  char *location;               /* owned; without the snapshot */
  char *snapshot;               /* owned; NULL: the head */
  char *description;            /* owned */
  bool readonly;
  bool busy;                    /* being opened or closed: no volume */
  unsigned users;               /* export_get less export_put */
  struct hlfs *volume;          /* owned */
};

/* Open the volume, or share it if it is open already.  OPTIONS is
 * borrowed for the call.  On failure returns NULL and sets *ret_error
 * to an errno.
 */
extern struct export *export_get (const char *location, const char *snapshot,
                                  bool readonly,
                                  const struct hlfs_options *options,
                                  int *ret_error)
  __attribute__ ((__nonnull__ (1, 4, 5)));

/* The last user closes the volume, which flushes it. */
extern void export_put (struct export *e)
  __attribute__ ((__nonnull__ (1)));

#endif /* HLFS_PLUGIN_EXPORTS_H */
