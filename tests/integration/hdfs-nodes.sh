#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# DataNodes that die, hang and come while fio writes with fsync, three copies on four
# nodes: no I/O error, no long pause, the healthy nodes stay in use, the content is right,
# and HDFS repairs the copies.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn fio jq nbdkit
requires_build "$HLFS" "$PLUGIN"

# Each step writes all of two ranges, which takes 15 s at the rates asked for.
FLUSHED=6000k           # by 4 KiB, 100 in a second
BUFFERED=240M           # by 64 KiB, 256 in a second

# work NAME OFFSET - start two jobs: one flushes each write, the other (16 MiB/s) never
# does.  So a segment is full every second.
work() {
    fio_nbd "$1" --name=flushed --offset="$2" --size=$FLUSHED --fsync=1 \
        --rate_iops=100 --name=buffered --offset=$(($2 + (64 << 20))) --size=$BUFFERED \
        --bs=64k --rate_iops=256 &
    WORKER=$!
}

# content NAME OFFSET - all that work() wrote is there.
content() {
    fio_nbd "$1-read" --verify_only --do_verify=1 --name=flushed --offset="$2" \
        --size=$FLUSHED --fsync=1 --name=buffered --offset=$(($2 + (64 << 20))) \
        --size=$BUFFERED --bs=64k || fail "the content is wrong"
}

# expect_pauses NAME FLUSH_MS - what is promised of it.
expect_pauses() {
    local flush write

    flush=$(fio_longest "$1" flushed sync)
    write=$(fio_longest "$1" buffered write)
    say "  the longest flush took $flush ms, the longest buffered write $write ms"
    [ "$flush" -le "$2" ] || fail "a flush took more than $2 ms"
    [ "$write" -le 1000 ] || fail "a buffered write took more than 1 s"
}

# The tail has three copies, none of them on DataNode N.
tail_avoids() {
    local nodes

    nodes=$(hdfs_tail_nodes)
    [ "$(wc -l <<< "$nodes")" = 3 ] && ! grep -qx "$1" <<< "$nodes"
}

tail_uses() {
    hdfs_tail_nodes | grep -qx "$1"
}

step "one NameNode, four DataNodes"
hdfs_start --datanodes 4 || fail "no HDFS"
DISK=$HDFS_URI/disk
expect_status 0 "$HLFS" create "$DISK" 1G --segment-size 16M --replication 3
serve "$DISK"

step "one that holds the tail is killed"
work killed 0
sleep 3
wait_until 10 hdfs_find_tail_node || fail "no tail"
hdfs_cluster kill-datanode "$NODE"
say "  DataNode $NODE"
wait_until 20 tail_avoids "$NODE" || fail "the tail is not on the three healthy nodes"
wait $WORKER || fail "an I/O error"
expect_pauses killed 3000
KILLED=$NODE

step "one is added while fio writes: new segments land on it"
work hung $((512 << 20))
ADDED=$(hdfs_cluster add-datanode)
wait_until 20 tail_uses "$ADDED" || fail "nothing is written to DataNode $ADDED"

step "one that holds the tail hangs"
wait_until 10 hdfs_find_tail_node || fail "no tail"
hdfs_cluster pause-datanode "$NODE"
say "  DataNode $NODE"
wait_until 20 tail_avoids "$NODE" || fail "the tail is not on the three healthy nodes"
wait $WORKER || fail "an I/O error"
expect_pauses hung 5000

step "the content is right, while it still hangs"
content killed 0
content hung $((512 << 20))
unserve

step "all are back: HDFS repairs the copies"
hdfs_cluster resume-datanode "$NODE"
hdfs_cluster start-datanode "$KILLED"
wait_until 60 hdfs_healthy /disk || { cat "$SETUP_TMP/fsck"; fail "copies are missing"; }
expect_status 0 "$HLFS" check "$DISK" --data
expect_text "$SETUP_TMP/out" 'No errors were found'
