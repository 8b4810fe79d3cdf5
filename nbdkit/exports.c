/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbdkit-hlfs-plugin: the volumes that are open, see exports.h. */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "exports.h"

/* The lock protects the list and all fields of the exports in it.
 * Opening and closing may take seconds, so they are done without it,
 * with 'busy' set: whoever wants the same export waits for 'changed'.
 * In particular nobody opens a volume that is still being closed,
 * which would find it held by ourselves.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct export *exports;

static bool
same_text (const char *a, const char *b)
{
  return a == b || (a != NULL && b != NULL && strcmp (a, b) == 0);
}

static struct export *
find (const char *location, const char *snapshot, bool readonly)
{
  struct export *e;

  for (e = exports; e != NULL; e = e->next) {
    if (e->readonly == readonly &&
        same_text (e->location, location) &&
        same_text (e->snapshot, snapshot))
      return e;
  }
  return NULL;
}

static void
free_export (struct export *e)
{
  if (e != NULL) {
    free (e->location);
    free (e->snapshot);
    free (e->description);
    free (e);
  }
}

static struct export *
new_export (const char *location, const char *snapshot, bool readonly)
{
  struct export *e = calloc (1, sizeof *e);

  if (e == NULL)
    return NULL;
  e->readonly = readonly;
  e->location = strdup (location);
  if (e->location == NULL)
    goto error;
  if (snapshot != NULL) {
    e->snapshot = strdup (snapshot);
    if (e->snapshot == NULL)
      goto error;
  }
  if (asprintf (&e->description, "HLFS volume %s%s%s", location,
                snapshot != NULL ? "@" : "",
                snapshot != NULL ? snapshot : "") == -1) {
    e->description = NULL;
    goto error;
  }
  return e;

 error:
  free_export (e);
  return NULL;
}

/* Called with the lock held. */
static void
unlink_export (struct export *e)
{
  struct export **p = &exports;

  while (*p != e)
    p = &(*p)->next;
  *p = e->next;
}

struct export *
export_get (const char *location, const char *snapshot, bool readonly,
            const struct hlfs_options *options, int *ret_error)
{
  struct export *e;
  struct hlfs *volume;
  int r;

  pthread_mutex_lock (&lock);
  while ((e = find (location, snapshot, readonly)) != NULL && e->busy)
    pthread_cond_wait (&changed, &lock);
  if (e != NULL) {
    e->users++;
    pthread_mutex_unlock (&lock);
    return e;
  }

  e = new_export (location, snapshot, readonly);
  if (e == NULL) {
    pthread_mutex_unlock (&lock);
    nbdkit_error ("calloc: %m");
    *ret_error = ENOMEM;
    return NULL;
  }
  e->busy = true;
  e->users = 1;
  e->next = exports;
  exports = e;
  pthread_mutex_unlock (&lock);

  r = hlfs_open (location, snapshot, readonly ? HLFS_RDONLY : 0, options,
                 &volume);
  if (r < 0) {
    nbdkit_error ("%s", hlfs_error ());
    *ret_error = -r;
  }

  pthread_mutex_lock (&lock);
  if (r < 0) {
    unlink_export (e);
    free_export (e);
    e = NULL;
  }
  else {
    e->volume = volume;
    e->busy = false;
  }
  pthread_cond_broadcast (&changed);
  pthread_mutex_unlock (&lock);
  return e;
}

void
export_put (struct export *e)
{
  pthread_mutex_lock (&lock);
  if (--e->users > 0) {
    pthread_mutex_unlock (&lock);
    return;
  }
  e->busy = true;
  pthread_mutex_unlock (&lock);

  if (hlfs_close (e->volume) < 0)
    nbdkit_error ("%s", hlfs_error ());

  pthread_mutex_lock (&lock);
  unlink_export (e);
  free_export (e);
  pthread_cond_broadcast (&changed);
  pthread_mutex_unlock (&lock);
}
