#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A node that holds the tail is decommissioned, of a volume that is written to and of one
# that is only open: a file under construction must not keep it from ending, and nobody
# sees an error.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn fio jq nbdkit
requires_build "$HLFS" "$PLUGIN"

DECOMMISSION_S=120

# decommission_tail - the last node of the tail; sets NODE.
decommission_tail() {
    local start

    wait_until 20 hdfs_find_tail_node || fail "no tail"
    start=$(now_ms)
    hdfs_cluster decommission "$NODE"
    hdfs_cluster wait-decommissioned "$NODE" $DECOMMISSION_S ||
        fail "DataNode $NODE is not decommissioned after $DECOMMISSION_S s"
    say "  DataNode $NODE took $((($(now_ms) - start) / 1000)) s"
}

step "one NameNode, five DataNodes"
hdfs_start --datanodes 5 || fail "no HDFS"
DISK=$HDFS_URI/disk
expect_status 0 "$HLFS" create "$DISK" 256M --segment-size 64M --replication 3
serve "$DISK"

step "an idle volume's"
fio_nbd idle --name=idle --size=2M || fail "fio"
decommission_tail
hdfs_cluster recommission "$NODE"

step "a busy volume's"
fio_nbd busy --name=busy --offset=32M --size=20M --fsync=8 --rate_iops=130 &
WORKER=$!
sleep 2
decommission_tail
kill -0 $WORKER 2> /dev/null || fail "fio ended before the node was decommissioned"
wait $WORKER || fail "an I/O error"
say "  the longest flush took $(fio_longest busy busy sync) ms"

step "the content is right, and nothing of it is on that node alone"
fio_nbd idle-read --verify_only --do_verify=1 --name=idle --size=2M || fail "wrong content"
fio_nbd busy-read --verify_only --do_verify=1 --name=busy --offset=32M --size=20M \
    --fsync=8 || fail "wrong content"
hdfs_cluster kill-datanode "$NODE"
expect_status 0 "$HLFS" check "$DISK" --data
unserve
