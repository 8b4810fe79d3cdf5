/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount_none.c - hlfs mount and hlfs umount of a build without libfuse3. */
#include "common.h"

int mount_run(const struct arguments *a)
{
    return fail("this hlfs was built without libfuse3, which mount needs; serve the volume "
                "over NBD by hlfs serve");
}

int umount_run(const struct arguments *a)
{
    return fail("this hlfs was built without libfuse3, so it has mounted nothing");
}
