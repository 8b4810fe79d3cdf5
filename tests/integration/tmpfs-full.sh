#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A volume larger than the file system that it is on: a write that finds no room gets
# ENOSPC, what was written before is whole, a discard makes room again, and other
# volumes and the server are none the worse.  On tmpfs, and on ext4 as loop device.

. "$(dirname "$0")/../lib/test.sh"
requires nbdkit mkfs.ext4 losetup mount
requires_build "$HLFS" "$PLUGIN"
requires_python nbd
[ "$(id -u)" = 0 ] || skip "needs root, to mount file systems"

mounts=()
unmount() {
    local dir

    for dir in ${mounts[@]+"${mounts[@]}"}; do
        umount "$dir" || umount -l "$dir" || true
    done
}
trap 'setup_kill "${SERVER_PID:-0}" KILL; unmount; setup_cleanup' EXIT

fill() {
    local fs=$1

    step "$fs is full"
    "$HLFS" create "$fs/disk" 512M > /dev/null
    serve "$fs/disk"
    timeout -k 5 100 "$PYTHON" "$ROOT/tests/integration/tmpfs-full.py" \
        "$SETUP_TMP/nbd.sock" fill || fail "see above"
    unserve
    step "$fs: the same after a restart"
    serve "$fs/disk"
    timeout -k 5 100 "$PYTHON" "$ROOT/tests/integration/tmpfs-full.py" \
        "$SETUP_TMP/nbd.sock" again || fail "see above"
    unserve
    expect_status 0 "$HLFS" check "$fs/disk" --data
}

mkdir "$SETUP_TMP/tmpfs" "$SETUP_TMP/ext4"
mount -t tmpfs -o size=160M tmpfs "$SETUP_TMP/tmpfs" 2> "$SETUP_TMP/err" ||
    skip "needs to mount a tmpfs: $(cat "$SETUP_TMP/err")"
mounts+=("$SETUP_TMP/tmpfs")
fill "$SETUP_TMP/tmpfs"

truncate -s 200M "$SETUP_TMP/image"
mkfs.ext4 -q -F "$SETUP_TMP/image"
mount -o loop "$SETUP_TMP/image" "$SETUP_TMP/ext4" 2> "$SETUP_TMP/err" ||
    skip "needs to mount an ext4 by loop: $(cat "$SETUP_TMP/err")"
mounts+=("$SETUP_TMP/ext4")
fill "$SETUP_TMP/ext4"
