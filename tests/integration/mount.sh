#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# hlfs mount and umount: a volume as one file, ext4 and xfs on it by loop device, what is
# durable when the mount's process is killed, and what is refused.

# In a mount namespace of its own: nothing that it mounts is seen elsewhere or outlives it.
if [ "$(id -u)" = 0 ] && [ -z "${HLFS_TEST_PRIVATE-}" ] && unshare --mount true 2> /dev/null; then
    HLFS_TEST_PRIVATE=yes exec unshare --mount bash "$0"
fi

. "$(dirname "$0")/../lib/test.sh"
[ "$ROUNDS" -lt 100 ] || requires fio
requires jq losetup mount umount fstrim fusermount3 mkfs.ext4 e2fsck mkfs.xfs xfs_repair \
    runuser
requires_build "$HLFS"
[ -c /dev/fuse ] || skip "needs /dev/fuse"
[ "$(id -u)" = 0 ] || skip "needs root, to mount file systems"
losetup -f > /dev/null 2>&1 || skip "needs a loop device"
"$HLFS" mount / / 2> "$SETUP_TMP/err" || true
! grep -q 'without libfuse3' "$SETUP_TMP/err" || skip "needs libfuse3, which the build lacks"

LOOP=
FS=$SETUP_TMP/fs
MOUNT_PY=$ROOT/tests/integration/mount.py

# Undo what there is of mounts and loop devices; in a trap, so nothing may end it.
files_unmount() {
    local file

    while umount -l "$FS"; do :; done
    for file in "$SETUP_TMP"/*.img "$SETUP_TMP"/user/*.img; do
        losetup -j "$file" | cut -d : -f 1 | xargs -r losetup -d || true
        while umount -l "$file"; do :; done
    done
    [ -z "$LOOP" ] || losetup -d "$LOOP" || true
} > /dev/null 2>&1
trap 'files_unmount; setup_cleanup' EXIT

# mounted VOLUME FILE [OPTION...] - mount it, and set SERVER to its process.
mounted() {
    expect_status 0 timeout 20 "$HLFS" mount "$@"
    SERVER=$("$HLFS" info --json "$1" | jq .holder_pid)
    setup_process "$SERVER"
}

unmounted() {
    expect_status 0 timeout 60 "$HLFS" umount "$1"
    [ ! -s "$SETUP_TMP/err" ] || fail "umount said: $(cat "$SETUP_TMP/err")"
}

# refused STATUS PATTERN COMMAND... - one sentence, and that status.
refused() {
    local status=$1 pattern=$2
    shift 2

    expect_status "$status" timeout 20 "$HLFS" "$@"
    expect_text "$SETUP_TMP/err" "$pattern"
    [ "$(wc -l < "$SETUP_TMP/err")" = 1 ] || fail "more than one line: $(cat "$SETUP_TMP/err")"
}

py() {
    timeout -k 5 $((60 + ROUNDS * 10)) "$PYTHON" "$MOUNT_PY" "$@" || fail "see above: $*"
}

# live VOLUME - its live bytes, when nobody has it open.
live() {
    "$HLFS" info --json "$1" | jq .live_bytes
}

# ---- The file --------------------------------------------------------------------

disk=$SETUP_TMP/disk
file=$SETUP_TMP/disk.img
"$HLFS" create "$disk" 256M > /dev/null

step "wrong inputs"
refused 2 'takes LOC FILE' mount "$disk"
refused 1 'no volume' mount "$SETUP_TMP/nothing" "$file"
[ ! -e "$file" ] || fail "a mount that failed has left a file"
refused 1 'directory' mount "$disk" "$SETUP_TMP"
refused 1 'No such file' mount "$disk" "$SETUP_TMP/nothing/file"
refused 1 'no regular file' mount "$disk" /dev/null
refused 1 'snapshot' mount "$disk@yesterday" "$file"
refused 1 'not mounted by hlfs mount' umount "$file"
refused 1 'not mounted by hlfs mount' umount /proc
refused 1 'No such file' umount "$SETUP_TMP/nothing/file"

step "mount and umount; a relative location and file"
(cd "$SETUP_TMP" && expect_status 0 timeout 20 "$HLFS" mount disk disk.img)
[ "$(stat -c %a:%s:%u:%g:%F "$file")" = "600:268435456:0:0:regular file" ] ||
    fail "it is $(stat -c %a:%s:%u:%g:%F "$file")"
[ "$(findmnt -n -o FSTYPE,SOURCE "$file" | tr -s ' ')" = "fuse.hlfs $disk" ] ||
    fail "findmnt: $(findmnt -n "$file")"
refused 1 "held by another writer.*$(hostname).*pid.*20..-" mount "$disk" "$SETUP_TMP/second.img"
refused 1 'mounted on' mount "$disk" "$file"
exec 5< "$file"
refused 1 'in use' umount "$file"
exec 5<&-
head -c 1M /dev/urandom > "$SETUP_TMP/data"
expect_status 0 dd if="$SETUP_TMP/data" of="$file" conv=notrunc bs=64K
unmounted "$file"
[ "$(stat -c %s "$file")" = 0 ] || fail "the file below has changed"
# No wait in between: umount has waited until the volume was free.
mounted "$disk" "$file"
cmp -n 1M "$SETUP_TMP/data" "$file" || fail "what was written is not there"

step "started without stdin, stdout and stderr, and with a pipe of somebody else"
unmounted "$file"
"$HLFS" mount "$disk" "$file" <&- >&- 2>&- || fail "it does not mount"
expect_status 0 dd if="$SETUP_TMP/data" of="$file" conv=notrunc,fsync bs=64K
cmp -n 1M "$SETUP_TMP/data" "$file" || fail "it reads something else"
unmounted "$file"
# The process in the background once kept what its caller had open: this waited for it.
expect_status 0 timeout 20 bash -c '"$@" 7>&1 | cat' - "$HLFS" mount "$disk" "$file"

step "what it refuses, and its end"
py refused "$file"

step "holes"
py holes "$file"

step "many descriptors and threads at once, against a model"
py model "$file" "$SEED" $((ROUNDS * 10))

step "the volume's control socket: stat, and a resize that is seen"
expect_status 0 "$HLFS" stat "$disk" --json --interval 1
LOOP=$(losetup --show -f "$file")
expect_status 0 "$HLFS" resize "$disk" 300M
[ "$(stat -c %s "$file")" = 314572800 ] || fail "the size is $(stat -c %s "$file")"
expect_status 0 losetup -c "$LOOP"
[ "$(blockdev --getsize64 "$LOOP")" = 314572800 ] || fail "the loop device has the old size"
expect_status 0 dd if="$SETUP_TMP/data" of="$LOOP" bs=1M seek=299 oflag=direct
losetup -d "$LOOP"
LOOP=
expect_status 0 wait_until 5 cmp -n 1M -i 0:313524224 "$SETUP_TMP/data" "$file"
unmounted "$file"

step "a read-only mount beside a writer"
serve "$disk"
mounted "$disk" "$file" --read-only
py readonly "$file"
cmp -n 1M -i 0:313524224 "$SETUP_TMP/data" "$file" || fail "wrong data"
expect_status 0 timeout 20 "$HLFS" umount "$file"
unserve

step "each way to make a write durable, before the mount's process is killed"
for way in fsync fdatasync O_SYNC O_DSYNC close; do
    mounted "$disk" "$file"
    py durable "$file" $way "$SERVER"
    # A dead mount is there now; mount unmounts it.
    mounted "$disk" "$file"
    py durable-check "$file" $way
    unmounted "$file"
done
mounted "$disk" "$file"
setup_kill "$SERVER"
expect_status 1 stat "$file"
unmounted "$file"
[ "$(stat -c %s "$file")" = 0 ] || fail "the dead mount is still there"

step "umount tells of a volume that was taken over"
mounted "$disk" "$file"
expect_status 0 dd if="$SETUP_TMP/data" of="$file" conv=notrunc bs=64K
mounted "$disk" "$SETUP_TMP/second.img" -o force=yes
refused 1 'may not be durable' umount "$file"
[ "$(stat -c %s "$file")" = 0 ] || fail "it is still mounted"
unmounted "$SETUP_TMP/second.img"

step "SIGTERM while a loop device uses it"
mounted "$disk" "$file"
LOOP=$(losetup --show -f "$file")
kill -TERM "$SERVER"
expect_status 0 wait_until 10 test ! -e "/proc/$SERVER"
expect_status 1 dd if="$LOOP" of=/dev/null bs=1M count=1 iflag=direct
losetup -d "$LOOP"
LOOP=

step "in the foreground, until SIGTERM"
"$HLFS" mount --foreground "$disk" "$file" -o control=no 2> "$SETUP_TMP/foreground" &
server=$!
setup_process $server
wait_until 10 test -s "$file" || fail "no mount: $(cat "$SETUP_TMP/foreground")"
expect_status 1 "$HLFS" stat "$disk"
printf 'the last words' | dd of="$file" conv=notrunc status=none
kill -TERM $server
wait $server || fail "it ended with status $?: $(cat "$SETUP_TMP/foreground")"
[ "$(stat -c %s "$file")" = 0 ] || fail "it has not unmounted"
[ ! -s "$SETUP_TMP/foreground" ] || fail "it said: $(cat "$SETUP_TMP/foreground")"
mounted "$disk" "$file"
[ "$(head -c 14 "$file")" = 'the last words' ] || fail "not written"

step "SIGTERM in the background"
kill -TERM "$SERVER"
expect_status 0 wait_until 10 test ! -e "/proc/$SERVER"
[ "$(stat -c %s "$file")" = 0 ] || fail "it has not unmounted"

# ---- A user ----------------------------------------------------------------------

as_nobody() {
    runuser -u nobody -- "$@"
}

step "a user who is not root"
chmod 711 "$SETUP_TMP"
mkdir "$SETUP_TMP/user"
chown nobody "$SETUP_TMP/user"
if [ -n "${HLFS_TEST_PRIVATE-}" ] && ! as_nobody test -w /dev/fuse; then
    mknod -m 666 "$SETUP_TMP/fuse" c 10 229
    mount --bind "$SETUP_TMP/fuse" /dev/fuse
fi
if as_nobody test -w /dev/fuse && as_nobody "$HLFS" --version > /dev/null 2>&1; then
    udisk=$SETUP_TMP/user/disk ufile=$SETUP_TMP/user/disk.img
    expect_status 0 as_nobody "$HLFS" create "$udisk" 16M
    expect_status 0 as_nobody timeout 20 "$HLFS" mount "$udisk" "$ufile"
    as_nobody stat -c %U "$ufile" | grep -qx nobody || fail "it is not the user's"
    expect_status 0 as_nobody dd if="$SETUP_TMP/data" of="$ufile" conv=notrunc bs=64K
    expect_status 1 cat "$ufile"        # not even root
    expect_status 0 as_nobody timeout 20 "$HLFS" umount "$ufile"
    expect_status 0 as_nobody timeout 20 "$HLFS" mount "$udisk" "$ufile"
    expect_status 0 timeout 20 "$HLFS" umount "$ufile"      # root may
    expect_status 0 as_nobody timeout 20 "$HLFS" mount "$udisk" "$ufile"
    setup_kill "$(as_nobody "$HLFS" info --json "$udisk" | jq .holder_pid)"
    refused 1 'mounted on' mount "$disk" "$ufile"           # nor see that it is dead
    expect_status 0 timeout 20 "$HLFS" umount "$ufile"
    mounted "$disk" "$file" --allow-other
    expect_status 1 as_nobody cat "$file"
    chmod 644 "$file"
    expect_status 0 as_nobody head -c 1M "$file"
    expect_status 1 as_nobody timeout 20 "$HLFS" umount "$file"
    expect_text "$SETUP_TMP/err" 'user 0 has mounted'
    unmounted "$file"
    expect_status 0 "$HLFS" check "$udisk"
else
    say "  not here: nobody cannot use /dev/fuse, or not run $HLFS"
fi

# ---- File systems ----------------------------------------------------------------

loop_mount() {
    LOOP=$(losetup --show -f "$file")
    mount -o discard "$LOOP" "$FS" || fail "cannot mount $LOOP"
}

loop_umount() {
    umount "$FS"
    losetup -d "$LOOP"
    LOOP=
}

# fsck KIND - the file system on $LOOP is clean.
fsck_clean() {
    case $1 in
    ext4) expect_status 0 e2fsck -f -n "$LOOP" ;;
    xfs) expect_status 0 xfs_repair -n "$LOOP" ;;
    esac
}

fs_check() {
    LOOP=$(losetup --show -f "$file")
    fsck_clean "$1"
    losetup -d "$LOOP"
    LOOP=
}

# part_copy DIR - what is copied, of /usr.
what=(/usr/lib/python3 /usr/lib/git-core)
size=2G
if [ "$ROUNDS" -ge 100 ]; then
    what=(/usr)
    size=24G
fi
mkdir -p "$FS"

file_system() {
    local kind=$1 before after writer dir

    step "$kind: copy ${what[*]}, unmount, fsck, compare"
    disk=$SETUP_TMP/$kind
    file=$SETUP_TMP/$kind.img
    "$HLFS" create "$disk" "$size" > /dev/null
    mounted "$disk" "$file"
    LOOP=$(losetup --show -f "$file")
    expect_status 0 "mkfs.$kind" -q "$LOOP"
    losetup -d "$LOOP"
    loop_mount
    for dir in "${what[@]}"; do
        cp -a "$dir" "$FS/" || fail "cannot copy $dir"
    done
    loop_umount
    fs_check "$kind"
    unmounted "$file"
    before=$(live "$disk")
    mounted "$disk" "$file"
    loop_mount
    for dir in "${what[@]}"; do
        expect_status 0 diff -r --no-dereference "$dir" "$FS/${dir##*/}"
    done

    step "$kind: fstrim returns what was removed"
    rm -r "${FS:?}"/*/
    sync "$FS"
    expect_status 0 fstrim "$FS"
    loop_umount
    unmounted "$file"
    after=$(live "$disk")
    say "  live bytes: $before, then $after"
    [ "$after" -lt $((before / 3)) ] || fail "only from $before to $after bytes"

    step "$kind: the mount's process is killed while files are written"
    mounted "$disk" "$file"
    loop_mount
    mkdir "$FS/files"
    sync "$FS"
    : > "$SETUP_TMP/list"
    "$PYTHON" "$MOUNT_PY" files "$FS/files" "$SETUP_TMP/list" &
    writer=$!
    setup_process $writer
    expect_status 0 wait_until 20 sh -c "[ \$(wc -l < $SETUP_TMP/list) -ge 30 ]"
    sleep "0.0$((SEED % 10))"
    setup_kill "$SERVER"
    wait $writer || fail "the writer failed"
    umount -l "$FS"
    losetup -d "$LOOP"
    mounted "$disk" "$file"
    loop_mount              # the journal is replayed
    py files-check "$FS/files" "$SETUP_TMP/list"
    loop_umount
    fs_check "$kind"

    if [ "$ROUNDS" -ge 100 ]; then
        step "$kind: 150 seconds of file operations, and of fio with verify beside them"
        loop_mount
        mkdir "$FS/churn"
        fio --name=verify --directory="$FS" --size=512M --rw=randwrite --bs=16k \
            --verify=crc32c --verify_backlog=512 --ioengine=libaio --iodepth=16 --direct=1 \
            --time_based --runtime=150 --fsync=64 --verify_state_save=0 \
            > "$SETUP_TMP/fio" 2>&1 &
        writer=$!
        setup_process $writer
        py churn "$FS/churn" "$SEED" 150
        wait $writer || fail "fio: $(head -n 20 "$SETUP_TMP/fio")"
        loop_umount
        fs_check "$kind"
    fi
    unmounted "$file"
    expect_status 0 "$HLFS" check "$disk" --data
    "$HLFS" rm --yes "$disk"
}

say "  seed $SEED"
file_system ext4
file_system xfs
