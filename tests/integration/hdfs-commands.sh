#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# hlfs(1) on HDFS: create, ls, info, check, dump, import, export, set, resize, mv and rm; what
# info says of copies and places; and a create that fails, which leaves nothing behind.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn jq
requires_build "$HLFS"

# info QUERY - what `hlfs info --json` of the volume says to jq's QUERY.
info() {
    expect_status 0 "$HLFS" info --json "$DISK"
    jq -r "$1" "$SETUP_TMP/out"
}

expect() {
    [ "$1" = "$2" ] || fail "$3: $1, not $2"
}

files() {
    hdfs_cluster hdfs dfs -ls -R "$1" | awk '{ print $NF, $2, $5 }' | sort
}

step "one NameNode, three DataNodes"
hdfs_start || fail "no HDFS"
DISK=$HDFS_URI/disks/one
expect_status 0 hdfs_cluster hdfs dfs -mkdir /disks

step "create --replication 2: the volume keeps it, whoever writes"
expect_status 0 "$HLFS" create "$DISK" 64M --segment-size 4M --replication 2
expect_status 0 "$HLFS" bench "$DISK" --io write --pattern seq --size 1M --count 20
expect "$(info .replication)" 2 "copies asked for"
expect "$(info '.tail_datanodes | length')" 2 "nodes of the tail"
expect "$(info .degraded)" false degraded
expect "$(info .durability)" hsync durability
expect "$(files /disks/one/log | awk '$2 != 2 && $2 != "-"' | grep -c 'log/000000/')" 0 \
    "segments with another replication"

step "the tail is where info says, also while a writer is at work, who is named"
"$HLFS" bench "$DISK" --io write --flush-every 1 --time 60 > "$SETUP_TMP/bench" 2>&1 &
WRITER=$!
setup_process $WRITER
wait_until 10 eval 'info .holder_alive | grep -q true' || fail "no writer is seen"
wait_until 10 eval '[ -n "$(hdfs_tail_nodes)" ]' || fail "no segment grows"
kill -STOP $WRITER      # or the tail would be another one between two looks
for node in $(hdfs_tail_nodes); do
    hdfs_cluster datanode-port "$node" | sed 's/^/127.0.0.1:/'
done | sort > "$SETUP_TMP/nodes"
expect "$(info '.tail_datanodes[]' | sort)" "$(cat "$SETUP_TMP/nodes")" "the tail"

step "info, ls, check and dump beside a writer leave no trace"
before=$(files /disks | grep -v /log/)
expect_status 0 "$HLFS" ls --json "$HDFS_URI/disks"
expect "$(jq -r '.[].name' "$SETUP_TMP/out")" one "ls"
expect_status 0 "$HLFS" check "$DISK"
expect_status 0 "$HLFS" dump "$DISK"
expect_text "$SETUP_TMP/out" 'durability hsync'
expect_status 0 "$HLFS" info "$DISK"
expect_text "$SETUP_TMP/out" 'tail  *127.0.0.1:'
expect "$(files /disks | grep -v /log/)" "$before" "files besides the log"

kill -CONT $WRITER
step "set replication: of what is there and of what comes, by the holder or without one"
expect_status 1 "$HLFS" set "$DISK" replication=3
expect_text "$SETUP_TMP/err" "held by another writer: host .*, pid $WRITER"
setup_kill $WRITER
expect_status 0 "$HLFS" set "$DISK" replication=3
expect "$(info .replication)" 3 "copies asked for"
expect "$(files /disks/one | awk '$2 != 3 && $2 != "-"' | grep -c log/000000/)" 0 \
    "segments with another replication"
"$HLFS" bench "$DISK" --io write --pattern seq --size 1M --time 60 -o control=yes \
    > "$SETUP_TMP/bench" 2>&1 &
WRITER=$!
setup_process $WRITER
wait_until 30 eval '"$HLFS" stat "$DISK" > "$SETUP_TMP/stat" 2>&1' ||
    fail "the holder cannot be asked: $(cat "$SETUP_TMP/stat")"
expect_status 0 "$HLFS" set "$DISK" replication=2
expect "$(info .replication)" 2 "copies asked for"
before=$(files /disks/one | grep -c log/000000/)
wait_until 30 eval '[ "$(files /disks/one | grep -c log/000000/)" != '"$before"' ]' ||
    fail "no segment comes"
expect_status 1 "$HLFS" set "$DISK" replication=0
expect_text "$SETUP_TMP/err" 'replication cannot be "0"'
expect "$(files /disks/one | awk '$2 != 2 && $2 != "-"' | grep -c log/000000/)" 0 \
    "segments with another replication"
step "the holder resizes it; mv and rm refuse while it lives, and work when it has ended"
expect_status 0 "$HLFS" resize "$DISK" 96M
expect "$(info .size_bytes)" $((96 << 20)) "the size"
for command in "mv $DISK $HDFS_URI/disks/two" "rm --yes $DISK"; do
    # shellcheck disable=SC2086
    expect_status 1 "$HLFS" $command
    expect_text "$SETUP_TMP/err" "held by another writer: host .*, pid $WRITER"
done
setup_kill $WRITER
expect_status 0 "$HLFS" resize "$DISK" 128M
expect "$(info .size_bytes)" $((128 << 20)) "the size"
expect_status 0 "$HLFS" mv "$DISK" "$HDFS_URI/disks/two"
expect_status 0 "$HLFS" check "$HDFS_URI/disks/two" --data
expect_status 0 "$HLFS" create "$DISK" 64M
expect_status 1 "$HLFS" mv "$DISK" "$HDFS_URI/disks/two"
expect_text "$SETUP_TMP/err" 'is there already'
expect_status 0 "$HLFS" rm --yes "$DISK"
expect_status 0 "$HLFS" mv "$HDFS_URI/disks/two" "$DISK"
expect "$(info .size_bytes)" $((128 << 20)) "the size"
expect_status 0 "$HLFS" rm --yes "$DISK"
expect "$(files /disks)" "" "what is left"

step "import and export: the same bytes, also by a pipe, and what was not finished says so"
cd "$SETUP_TMP"
truncate -s 300M image
for at in 0 90 250; do
    dd if=/dev/urandom of=image bs=1M seek=$at count=30 conv=notrunc status=none
done
expect_status 0 "$HLFS" import image "$DISK" --replication 2
expect "$(info .replication)" 2 "copies asked for"
expect "$(info .state)" whole state
expect_status 0 "$HLFS" export "$DISK" copy
cmp image copy || fail "the copy differs"
[ "$(du -k copy | cut -f 1)" -lt $((92 << 10)) ] || fail "the copy is not sparse"
mkfifo slow
{ head -c 64M image; exec sleep 600; } > slow &
setup_process $!
"$HLFS" import slow "$DISK" > /dev/null 2>&1 &
IMPORT=$!
setup_process $IMPORT
wait_until 30 eval 'info .unfinished_since_us | grep -q -v -x 0' || fail "no import is seen"
setup_kill $IMPORT
expect "$(info .state)" 'unfinished import' state
expect_status 1 "$HLFS" bench "$DISK" --io read --count 1
expect_text "$SETUP_TMP/err" 'import.*, begun at 20.*: (import it again|wait for its end)'
expect_status 1 "$HLFS" bench "$DISK" --io write --count 1
expect_text "$SETUP_TMP/err" 'unfinished import'
"$HLFS" export "$DISK" - > /dev/null 2>&1 && fail "it is exported"
"$HLFS" import - "$DISK" < image || fail "the next import"
"$HLFS" export "$DISK" - | cmp - image || fail "the copy differs"
expect_status 0 "$HLFS" check "$DISK" --data
expect_status 0 "$HLFS" rm --yes "$DISK"
expect "$(files /disks)" "" "what is left"

step "a create that fails leaves nothing: quota, too few nodes, and for others, too"
expect_status 0 hdfs_cluster hdfs dfsadmin -setSpaceQuota 1m /disks
expect_status 1 "$HLFS" create "$DISK" 64M
expect_text "$SETUP_TMP/err" 'quota'
expect "$(files /disks)" "" "what is left"
expect_status 0 hdfs_cluster hdfs dfsadmin -clrSpaceQuota /disks
expect_status 0 hdfs_cluster hdfs dfs -chmod 777 /disks
for user in "$(id -un)" nobody; do
    expect_status 1 "$HLFS" create "$DISK" 64M --replication 5 -o min-replicas=4 \
        -o user="$user"
    expect_text "$SETUP_TMP/err" 'min-replicas.*replication'
    expect "$(files /disks)" "" "what is left of $user's"
done

step "fewer live nodes than copies: degraded; than min-replicas: no opening to write"
expect_status 0 "$HLFS" create "$DISK" 64M --segment-size 4M
hdfs_cluster kill-datanode 3
hdfs_cluster wait-live 2
expect_status 0 "$HLFS" bench "$DISK" --io write --count 10
expect "$(info .degraded)" true degraded
expect_status 1 "$HLFS" bench "$DISK" --io write --count 10 -o min-replicas=3
expect_text "$SETUP_TMP/err" 'min-replicas=3.*replication=3'
