/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbdkit-hlfs-plugin
 *
 * nbdkit tells a plugin about its option -r only when a client
 * connects.  We have to know at start: with -r a volume that somebody
 * else is writing is welcome, without -r it is refused before the
 * fork.  So this looks at the command line.
 *
 * If it is wrong nothing bad follows: nbdkit itself refuses writes
 * with -r, and without -r a volume opened read-only says so.
 */

#ifndef HLFS_PLUGIN_READONLY_H
#define HLFS_PLUGIN_READONLY_H

#include <stdbool.h>

extern bool server_is_readonly (void);

#endif /* HLFS_PLUGIN_READONLY_H */
