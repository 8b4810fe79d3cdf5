/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbdkit-hlfs-plugin: serve HLFS volumes over NBD.
 *
 *   nbdkit hlfs LOC        one volume, whatever export name is asked for
 *   nbdkit hlfs dir=DIR    each volume in DIR under its name
 *
 * The library's threads, ring and lock come into being in hlfs_open,
 * so a volume is opened after the fork (.after_fork, or .open with
 * dir=).  What can be found out without holding it is found out
 * before, in .get_ready, where an error still reaches the terminal and
 * the exit status.
 *
 * Requests run in nbdkit's threads by the synchronous calls of
 * hlfs.h, any number at once.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <hlfs.h>

#include "exports.h"
#include "readonly.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* What one .extents call reports at most.  Chosen so that a client
 * which asks for 4 GiB of a fragmented volume gets an answer soon; it
 * asks again for the rest.
 */
#define EXTENTS_MAX 4096

/* Configuration, immutable from .config_complete on. */
static char *location;           /* without the snapshot; or NULL: dir= */
static char *snapshot;           /* or NULL */
static char *dir;                /* or NULL */
static struct hlfs_options *options;
static bool force;
static bool readonly;

/* With a location: the one export, open from .after_fork to .cleanup. */
static struct export *the_export;

/*----------------------------------------------------------------------*/
/* Configuration. */

static void
on_log (void *opaque, int level, const char *text)
{
  if (level <= HLFS_LOG_WARNING)
    nbdkit_error ("%s", text);
  else
    nbdkit_debug ("%s", text);
}

static void
plugin_load (void)
{
  options = hlfs_options_new ();
  if (options == NULL) {
    nbdkit_error ("hlfs_options_new: %m");
    exit (EXIT_FAILURE);
  }
  hlfs_options_set_log (options, on_log, NULL);
  if (hlfs_options_set (options, "control", "yes") < 0) {
    nbdkit_error ("%s", hlfs_error ());
    exit (EXIT_FAILURE);
  }
}

static void
plugin_unload (void)
{
  hlfs_options_free (options);
  free (location);
  free (snapshot);
  free (dir);
}

/* `hlfs serve' bound a socket and became nbdkit, which leaves sockets
 * that it did not make alone.  However nbdkit ends, this runs.
 */
static void __attribute__((destructor))
remove_socket (void)
{
  const char *path = getenv ("HLFS_SERVE_SOCKET");
  struct stat st;

  if (path != NULL && lstat (path, &st) == 0 && S_ISSOCK (st.st_mode))
    unlink (path);
}

static void
plugin_dump_plugin (void)
{
  const char *name;
  const char *separator = "";
  int create;
  unsigned i;

  printf ("hlfs_library_version=%s\n", hlfs_version ());
  printf ("hlfs_options=");
  for (i = 0; (name = hlfs_options_name (i, &create)) != NULL; ++i) {
    if (!create) {
      printf ("%s%s", separator, name);
      separator = " ";
    }
  }
  printf ("\n");
}

/* nbdkit goes to / when it becomes a daemon, so make a plain path
 * absolute; what has a scheme is absolute already.
 */
static char *
absolute_location (const char *text)
{
  if (strstr (text, "://") == NULL)
    return nbdkit_absolute_path (text);
  return strdup (text);
}

static int
set_location (const char *text)
{
  char *split = NULL;

  if (location != NULL) {
    nbdkit_error ("more than one location was given: %s", text);
    return -1;
  }
  if (hlfs_location_split (text, &split, &snapshot) < 0) {
    nbdkit_error ("%s", hlfs_error ());
    return -1;
  }
  location = absolute_location (split);
  free (split);
  return location == NULL ? -1 : 0;
}

static int
set_dir (const char *text)
{
  if (dir != NULL) {
    nbdkit_error ("more than one directory was given: %s", text);
    return -1;
  }
  dir = absolute_location (text);
  return dir == NULL ? -1 : 0;
}

/* *RET_CREATE as in hlfs_options_name. */
static bool
is_option (const char *key, int *ret_create)
{
  const char *name;
  unsigned i;

  for (i = 0; (name = hlfs_options_name (i, ret_create)) != NULL; ++i) {
    if (strcmp (name, key) == 0)
      return true;
  }
  return false;
}

static int
set_option (const char *key, const char *value)
{
  char *path = NULL;
  int r;

  if (strcmp (key, "hadoop-conf") == 0) {
    path = nbdkit_absolute_path (value);
    if (path == NULL)
      return -1;
    value = path;
  }
  r = hlfs_options_set (options, key, value);
  free (path);
  if (r < 0) {
    nbdkit_error ("%s", hlfs_error ());
    return -1;
  }
  if (strcmp (key, "force") == 0)
    force = strcmp (value, "yes") == 0;
  return 0;
}

static int
plugin_config (const char *key, const char *value)
{
  int create;

  if (strcmp (key, "location") == 0)
    return set_location (value);
  if (strcmp (key, "dir") == 0)
    return set_dir (value);
  if (!is_option (key, &create)) {
    nbdkit_error ("unknown parameter '%s'", key);
    return -1;
  }
  if (create) {
    nbdkit_error ("'%s' is chosen when a volume is created, "
                  "not when it is served", key);
    return -1;
  }
  return set_option (key, value);
}

static int
plugin_config_complete (void)
{
  if ((location == NULL) == (dir == NULL)) {
    nbdkit_error ("give the location of a volume, or dir=DIR: "
                  "see nbdkit-hlfs-plugin(1)");
    return -1;
  }
  readonly = server_is_readonly () || snapshot != NULL;
  return 0;
}

#define plugin_config_help                                              \
  "[location=]<LOC>[@<SNAPSHOT>]  Serve the volume at LOC.\n"           \
  "dir=<DIR>                      Serve all volumes in DIR by name.\n"  \
  "<OPTION>=<VALUE>               An open option of hlfs(1), such as\n" \
  "                               durability, cache-size, force."

/*----------------------------------------------------------------------*/
/* Start and stop. */

/* Fill TEXT with "2026-11-24T10:00:00Z". */
static void
format_time (uint64_t us, char text[static 32])
{
  time_t t = us / 1000000;
  struct tm tm;

  if (gmtime_r (&t, &tm) == NULL ||
      strftime (text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    strcpy (text, "an unknown time");
}

/* Returns 0 and fills *INFO, or calls nbdkit_error. */
static int
look_at_volume (struct hlfs_info *info)
{
  struct hlfs *volume;
  int r;

  r = hlfs_open (location, snapshot, HLFS_RDONLY, options, &volume);
  if (r < 0) {
    nbdkit_error ("%s", hlfs_error ());
    return -1;
  }
  r = hlfs_get_info (volume, info, sizeof *info);
  hlfs_close (volume);
  if (r < 0) {
    errno = -r;
    nbdkit_error ("%s: hlfs_get_info: %m", location);
    return -1;
  }
  return 0;
}

/* Who only looks at a volume of HDFS cannot tell a writer from what a
 * killed one left behind; who opens it for writing asks, and takes it
 * over if nobody answers.  Returns 1 if a writer lives, 0, or -1 after
 * nbdkit_error.
 */
static int
writer_lives (void)
{
  struct hlfs *volume;
  int r;

  r = hlfs_open (location, NULL, 0, options, &volume);
  if (r == 0)
    hlfs_close (volume);
  else if (r != -EBUSY)
    nbdkit_error ("%s", hlfs_error ());
  return r == 0 ? 0 : r == -EBUSY ? 1 : -1;
}

static int
check_volume (void)
{
  struct hlfs_info info;
  struct hlfs *volume;
  char since[32];
  int r;

  if (look_at_volume (&info) == -1)
    return -1;
  if (readonly)
    return 0;
  if (hlfs_open (location, NULL, HLFS_TRY, options, &volume) < 0) {
    nbdkit_error ("%s", hlfs_error ());
    return -1;
  }
  if (force || !info.holder_alive)
    return 0;
  r = writer_lives ();
  if (r <= 0)
    return r;

  format_time (info.holder_since_us, since);
  nbdkit_error ("%s: held by process %u on host %s since %s (EBUSY); "
                "stop that writer, or serve it read-only with -r, or take "
                "it over with force=yes", location,
                (unsigned) info.holder_pid, info.holder_host, since);
  return -1;
}

static int
ignore_name (void *opaque, const char *name)
{
  return 0;
}

static int
check_dir (void)
{
  if (hlfs_list (dir, options, ignore_name, NULL) < 0) {
    nbdkit_error ("%s", hlfs_error ());
    return -1;
  }
  return 0;
}

static int
plugin_get_ready (void)
{
  return location != NULL ? check_volume () : check_dir ();
}

static int
plugin_after_fork (void)
{
  int err;

  if (location == NULL)
    return 0;
  the_export = export_get (location, snapshot, readonly, options, &err);
  return the_export == NULL ? -1 : 0;
}

static void
plugin_cleanup (void)
{
  if (the_export != NULL)
    export_put (the_export);
  the_export = NULL;
}

/*----------------------------------------------------------------------*/
/* Exports. */

static int
add_export (void *opaque, const char *name)
{
  return nbdkit_add_export (opaque, name, NULL) == -1 ? -errno : 0;
}

static int
plugin_list_exports (int ro, int is_tls, struct nbdkit_exports *exports)
{
  if (location != NULL)
    return nbdkit_use_default_export (exports);
  if (hlfs_list (dir, options, add_export, exports) < 0) {
    nbdkit_error ("%s", hlfs_error ());
    return -1;
  }
  return 0;
}

static const char *
plugin_default_export (int ro, int is_tls)
{
  /* With dir= there is none: a client must say which volume. */
  return location != NULL ? "" : NULL;
}

/* The name comes from the client: it must not lead out of DIR. */
static bool
is_export_name (const char *name)
{
  return name[0] != '\0' && name[0] != '.' && strchr (name, '/') == NULL;
}

static struct export *
open_by_name (const char *name, bool ro, int *ret_error)
{
  char *text = NULL, *loc = NULL, *snap = NULL;
  struct export *e = NULL;

  if (name == NULL || !is_export_name (name)) {
    nbdkit_error ("'%s' is no export name: it is the name of a volume in %s",
                  name != NULL ? name : "", dir);
    *ret_error = ENOENT;
    return NULL;
  }
  if (asprintf (&text, "%s/%s", dir, name) == -1) {
    nbdkit_error ("asprintf: %m");
    *ret_error = ENOMEM;
    return NULL;
  }
  if (hlfs_location_split (text, &loc, &snap) < 0) {
    nbdkit_error ("%s", hlfs_error ());
    *ret_error = EINVAL;
  }
  else
    e = export_get (loc, snap, ro || snap != NULL, options, ret_error);
  free (text);
  free (loc);
  free (snap);
  return e;
}

static void *
plugin_open (int ro)
{
  struct export *e;
  int err;

  if (the_export != NULL)
    return the_export;
  e = open_by_name (nbdkit_export_name (), ro, &err);
  if (e == NULL)
    nbdkit_set_error (err);
  return e;
}

static void
plugin_close (void *handle)
{
  if (handle != the_export)
    export_put (handle);
}

static struct hlfs *
volume_of (void *handle)
{
  struct export *e = handle;

  return e->volume;
}

static const char *
plugin_export_description (void *handle)
{
  struct export *e = handle;

  return e->description;
}

static int64_t
plugin_get_size (void *handle)
{
  return hlfs_size (volume_of (handle));
}

static int
plugin_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                   uint32_t *maximum)
{
  *minimum = 1;
  *preferred = hlfs_block_size (volume_of (handle));
  *maximum = 32 * 1024 * 1024;
  return 0;
}

static int
plugin_can_write (void *handle)
{
  return !hlfs_is_read_only (volume_of (handle));
}

static int
plugin_yes (void *handle)
{
  return 1;
}

static int
plugin_no (void *handle)
{
  return 0;
}

static int
plugin_can_fua (void *handle)
{
  return NBDKIT_FUA_NATIVE;
}

/* The library has no call to read ahead: nbdkit reads, and what was
 * read is in its cache then.
 */
static int
plugin_can_cache (void *handle)
{
  return NBDKIT_CACHE_EMULATE;
}

/*----------------------------------------------------------------------*/
/* Requests. */

/* What a client is told: NBD has few error numbers, and nbdkit sends
 * EINVAL for all others.
 */
static int
nbd_error (int err)
{
  switch (err) {
  case EPERM:
  case EROFS:
  case EINVAL:
  case EIO:
  case ENOMEM:
  case ENOSPC:
    return err;
  case EDQUOT:
    return ENOSPC;
  case ESTALE:                  /* another writer took over: no use to retry */
  case ECANCELED:
    return ESHUTDOWN;
  default:
    return EIO;
  }
}

static int
failed (const char *call, int r)
{
  errno = -r;
  nbdkit_error ("%s: %m", call);
  nbdkit_set_error (nbd_error (-r));
  return -1;
}

static int
plugin_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  int r = hlfs_pread (volume_of (handle), buf, count, offset);

  return r < 0 ? failed ("pread", r) : 0;
}

static unsigned
fua_flag (uint32_t flags)
{
  return flags & NBDKIT_FLAG_FUA ? HLFS_FUA : 0;
}

static int
plugin_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
               uint32_t flags)
{
  int r = hlfs_pwrite (volume_of (handle), buf, count, offset,
                       fua_flag (flags));

  return r < 0 ? failed ("pwrite", r) : 0;
}

static int
plugin_flush (void *handle, uint32_t flags)
{
  int r = hlfs_flush (volume_of (handle));

  return r < 0 ? failed ("flush", r) : 0;
}

static int
plugin_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  int r = hlfs_discard (volume_of (handle), count, offset, fua_flag (flags));

  return r < 0 ? failed ("trim", r) : 0;
}

/* Zeroing is an entry in the log, so always fast. */
static int
plugin_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  unsigned f = fua_flag (flags);
  int r;

  if ((flags & NBDKIT_FLAG_MAY_TRIM) == 0)
    f |= HLFS_NO_UNMAP;
  r = hlfs_zero (volume_of (handle), count, offset, f);
  return r < 0 ? failed ("zero", r) : 0;
}

static int
plugin_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                struct nbdkit_extents *extents)
{
  uint64_t end = offset + count;
  unsigned i;

  for (i = 0; offset < end && i < EXTENTS_MAX; ++i) {
    enum hlfs_status status;
    uint64_t len;
    uint32_t type = 0;
    int r = hlfs_block_status (volume_of (handle), end - offset, offset,
                               &status, &len);

    if (r < 0)
      return failed ("extents", r);
    if (status == HLFS_STATUS_HOLE)
      type = NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
    if (nbdkit_add_extent (extents, offset, len, type) == -1)
      return -1;
    offset += len;
    if (flags & NBDKIT_FLAG_REQ_ONE)
      break;
  }
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name               = "hlfs",
  .longname           = "HLFS volumes",
  .version            = HLFS_PLUGIN_VERSION,
  .description        = "disks kept as a log of append-only files",
  .load               = plugin_load,
  .unload             = plugin_unload,
  .dump_plugin        = plugin_dump_plugin,
  .config             = plugin_config,
  .config_complete    = plugin_config_complete,
  .config_help        = plugin_config_help,
  .magic_config_key   = "location",
  .get_ready          = plugin_get_ready,
  .after_fork         = plugin_after_fork,
  .cleanup            = plugin_cleanup,
  .list_exports       = plugin_list_exports,
  .default_export     = plugin_default_export,
  .open               = plugin_open,
  .close              = plugin_close,
  .export_description = plugin_export_description,
  .get_size           = plugin_get_size,
  .block_size         = plugin_block_size,
  .can_write          = plugin_can_write,
  .can_flush          = plugin_yes,
  .is_rotational      = plugin_no,
  .can_trim           = plugin_yes,
  .can_zero           = plugin_yes,
  .can_fast_zero      = plugin_yes,
  .can_fua            = plugin_can_fua,
  .can_extents        = plugin_yes,
  .can_cache          = plugin_can_cache,
  .can_multi_conn     = plugin_yes,
  .pread              = plugin_pread,
  .pwrite             = plugin_pwrite,
  .flush              = plugin_flush,
  .trim               = plugin_trim,
  .zero               = plugin_zero,
  .extents            = plugin_extents,
  .errno_is_preserved = 0,
};

/* nbdkit looks for this function, which the macro defines. */
NBDKIT_DLL_PUBLIC struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
