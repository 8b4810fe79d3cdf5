#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# NameNodes that die while fio writes with fsync: the active one of two is killed, and the
# other takes over; then there is none for a while.  No error, nothing lost, and nobody
# who knocks meanwhile takes the volume from its writer.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn fio jq nbdkit
requires_build "$HLFS" "$PLUGIN"

# Each step writes all of two ranges, which takes 10 s at the rates asked for.
FLUSHED=4000k           # by 4 KiB, 100 in a second
BUFFERED=60M            # by 64 KiB, 96 in a second

# work NAME OFFSET - one job flushes each write, the other (6 MiB/s) fills a segment each
# second or so, which needs a NameNode.
work() {
    fio_nbd "$1" --name=flushed --offset="$2" --size=$FLUSHED --fsync=1 \
        --rate_iops=100 --name=buffered --offset=$(($2 + (64 << 20))) --size=$BUFFERED \
        --bs=64k --rate_iops=96 &
    WORKER=$!
}

content() {
    fio_nbd "$1-read" --verify_only --do_verify=1 --name=flushed --offset="$2" \
        --size=$FLUSHED --fsync=1 --name=buffered --offset=$(($2 + (64 << 20))) \
        --size=$BUFFERED --bs=64k || fail "the content is wrong"
}

say_longest() {
    say "  the longest flush took $(fio_longest "$1" flushed sync) ms," \
        "the longest buffered write $(fio_longest "$1" buffered write) ms"
}

# A look for another writer that was under way, and had to wait for a NameNode, while the
# holder created its next segment found that one; the holder took it for another writer's,
# listened to nobody any more, and the next who knocked took the volume from it.
#
# Somebody else wants to write: the holder lives, so it is refused; or there is no
# NameNode for too long, and it gives up.
expect_refused() {
    local start

    start=$(now_ms)
    expect_status 1 timeout 100 "$HLFS" bench "$DISK" --io write --count 1
    expect_text "$SETUP_TMP/err" 'is held by another writer|no NameNode of hlfs served'
    say "  another writer was refused, after $(($(now_ms) - start)) ms"
}

step "two NameNodes, three DataNodes"
hdfs_start --namenodes 2 --datanodes 3 || fail "no HDFS"
DISK=$HDFS_URI/disk
[ "$DISK" = hdfs://hlfs/disk ] || fail "no nameservice"
expect_status 0 "$HLFS" create "$DISK" 512M --segment-size 8M
serve "$DISK"

step "the active NameNode is killed, the other takes over; another writer knocks"
ACTIVE=$(hdfs_cluster active)
OTHER=$((3 - ACTIVE))
work killed 0
sleep 3
hdfs_cluster kill-namenode "$ACTIVE"
{
    sleep 1
    hdfs_cluster failover "$OTHER"
} > "$SETUP_TMP/failover.log" 2>&1 &
failover=$!
expect_refused
wait $failover || { cat "$SETUP_TMP/failover.log"; fail "no failover"; }
wait $WORKER || fail "an I/O error"
say_longest killed

step "no NameNode at all for some seconds; another writer knocks"
work none $((256 << 20))
sleep 3
hdfs_cluster kill-namenode "$OTHER"
{
    sleep 3
    hdfs_cluster start-namenode "$OTHER"
    hdfs_cluster failover "$OTHER"
} > "$SETUP_TMP/failover.log" 2>&1 &
failover=$!
expect_refused
wait $failover || { cat "$SETUP_TMP/failover.log"; fail "it does not come back"; }
wait $WORKER || fail "an I/O error"
say_longest none

step "the content is right, by the same server and after a kill -9"
content killed 0
setup_kill "$SERVER_PID" KILL
serve "$DISK"
content killed 0
content none $((256 << 20))
unserve
expect_status 0 "$HLFS" check "$DISK" --data
expect_text "$SETUP_TMP/out" 'No errors were found'
