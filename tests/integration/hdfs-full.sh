#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The DataNodes' disks are full: an error that says so, or a wait if that is asked for,
# and the volume lives on when there is room again.  And a NameNode of another cluster
# stands where the volume's was: nothing of what it says is believed.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn jq mount
requires_build "$HLFS"
[ "$(id -u)" = 0 ] || skip "needs root, to mount file systems"

# A disk of 160 MiB for each of three DataNodes.
NODES="1 2 3"
unmount() {
    local n

    for n in $NODES; do
        umount "$SETUP_TMP/hdfs/data/dn$n" 2> /dev/null || true
    done
}
HDFS_STOPPED=unmount
for n in $NODES; do
    mkdir -p "$SETUP_TMP/hdfs/data/dn$n"
    mount -t tmpfs -o size=160M,mode=755 tmpfs "$SETUP_TMP/hdfs/data/dn$n" \
        2> "$SETUP_TMP/err" || skip "needs to mount a tmpfs: $(cat "$SETUP_TMP/err")"
done

step "one NameNode, three DataNodes with small disks"
# Hadoop's DataNodes like to keep 1 GiB free.
hdfs_start --set dfs.datanode.round-robin-volume-choosing-policy.additional-available-space=0 ||
    fail "no HDFS"
DISK=$HDFS_URI/disk
expect_status 0 "$HLFS" create "$DISK" 40M --segment-size 4M

no_ballast() {
    [ "$(du -sm "$SETUP_TMP/hdfs/data/dn1" | cut -f 1)" -lt 60 ]
}

# ballast MIB - a file that takes this much of every disk, and nothing else does but the log.
ballast() {
    hdfs_cluster hdfs dfs -rm -skipTrash /ballast > "$SETUP_TMP/rm" 2>&1 || true
    wait_until 60 no_ballast || fail "the disks do not get empty"
    head -c "$1M" /dev/zero > "$SETUP_TMP/zeros"
    expect_status 0 hdfs_cluster hdfs dfs -Ddfs.blocksize=4m -put -f "$SETUP_TMP/zeros" \
        /ballast
    rm "$SETUP_TMP/zeros"
}

# bench NAME OPTION... - write in order, and flush each write.
bench() {
    local name=$1 status=0
    shift

    timeout 100 "$HLFS" bench "$DISK" --io write --pattern seq --flush-every 1 "$@" \
        > "$SETUP_TMP/$name.out" 2> "$SETUP_TMP/$name.err" || status=$?
    echo $status > "$SETUP_TMP/$name.status"
}

# writer NAME MIB [OPTION...] - write that much.
writer() {
    local name=$1 count=$2
    shift 2

    bench "$name" --size 1M --count "$count" --verify "$@"
}

expect_outcome() {
    [ "$(cat "$SETUP_TMP/$1.status")" = "$2" ] || {
        cat "$SETUP_TMP/$1.err" "$SETUP_TMP/$1.out"
        fail "$1: status $(cat "$SETUP_TMP/$1.status"), not $2"
    }
}

step "the disks fill up: an error that says so"
ballast 130         # the rest is less than the volume's data, whatever of its log is dead
writer full 100
expect_outcome full 1
expect_text "$SETUP_TMP/full.err" 'No space left on device'
expect_status 0 "$HLFS" check "$DISK" --data

step "with full=wait a writer waits, and goes on when there is room again"
ballast 110         # it can be opened, and then there is not room enough
writer waits 36 -o full=wait=90s < /dev/null &
WRITER=$!
wait_until 40 grep -qi 'no space left' "$SETUP_TMP/waits.err" || fail "it does not wait"
kill -0 $WRITER || fail "it did not wait"
expect_status 0 hdfs_cluster hdfs dfs -rm -skipTrash /ballast
wait $WRITER
expect_outcome waits 0
expect_status 0 "$HLFS" check "$DISK" --data

step "another cluster's NameNode takes the place of the volume's, under a writer"
bench other --size 4K --time 90 -o unreachable=error < /dev/null &
WRITER=$!
sleep 2
hdfs_cluster kill-namenode
mv "$SETUP_TMP/hdfs/data/nn1" "$SETUP_TMP/hdfs/data/nn1-mine"
hdfs_cluster start > "$SETUP_TMP/cluster.log" 2>&1 || true  # its DataNodes belong elsewhere
wait $WRITER
expect_outcome other 1
expect_status 1 "$HLFS" info "$DISK"
expect_text "$SETUP_TMP/err" 'there is no such directory'
expect_status 1 "$HLFS" create "$DISK" 40M

step "the right one is back: nothing is lost"
hdfs_cluster stop
rm -r "$SETUP_TMP/hdfs/data/nn1"
mv "$SETUP_TMP/hdfs/data/nn1-mine" "$SETUP_TMP/hdfs/data/nn1"
hdfs_cluster start > "$SETUP_TMP/cluster.log" 2>&1 || fail "no HDFS"
writer back 36
expect_outcome back 0
expect_status 0 "$HLFS" check "$DISK" --data
