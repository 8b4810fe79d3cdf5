#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A Linux guest on an HLFS disk, its server killed while it writes: what ./run shows.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/guest.sh"
. "$ROOT/tests/lib/crashguest.sh"
requires nbdinfo qemu-system-x86_64 busybox mkfs.ext4 e2fsck apt-get dpkg-deb
requires_build "$HLFS" "$PLUGIN"

guest_build
guest_choose_accel
step "a guest by $GUEST_ACCEL"
"$HLFS" create "$SETUP_TMP/disk" 512M > /dev/null
crashguest_run "$SETUP_TMP/disk" "$SETUP_TMP" || fail "see above"
unserve

step "the volume is whole"
expect_status 0 "$HLFS" check "$SETUP_TMP/disk" --data
