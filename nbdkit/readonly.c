/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbdkit-hlfs-plugin: was the server started with -r? */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "readonly.h"

/* nbdkit's short options that take a value: in the same argument, or
 * in the next one.
 */
static const char short_with_value[] = "DegiPptuU";

/* Long options that take a value have it in the same argument after
 * '=' or in the next one, where no sensible value looks like -r.
 */
static bool
argument_says_readonly (const char *arg, bool *skip_next)
{
  if (arg[0] != '-' || arg[1] == '\0')
    return false;
  if (arg[1] == '-')
    return strcmp (arg, "--read-only") == 0 || strcmp (arg, "--readonly") == 0;
  for (arg++; *arg != '\0'; arg++) {
    if (*arg == 'r')
      return true;
    if (strchr (short_with_value, *arg) != NULL) {
      *skip_next = arg[1] == '\0';
      return false;
    }
  }
  return false;
}

bool
server_is_readonly (void)
{
  FILE *fp = fopen ("/proc/self/cmdline", "re");
  char *arg = NULL;
  size_t size = 0;
  bool readonly = false, first = true, skip = false;

  if (fp == NULL)
    return false;
  while (!readonly && getdelim (&arg, &size, '\0', fp) > 0 &&
         strcmp (arg, "--") != 0) {
    if (!first && !skip)
      readonly = argument_says_readonly (arg, &skip);
    else
      skip = false;
    first = false;
  }
  free (arg);
  fclose (fp);
  return readonly;
}
