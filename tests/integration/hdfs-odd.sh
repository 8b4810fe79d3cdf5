#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What goes wrong on an HDFS without anything being broken for good: wrong addresses, a
# NameNode that never answers, safe mode, quotas, permissions, an erasure-coded parent, a
# copy that rotted.  Each is a clear error within its time, or a wait that ends; and the
# volume lives on when it has passed.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn fio jq nbdkit "$PYTHON"
requires_build "$HLFS" "$PLUGIN"

# in_background NAME COMMAND... - at most for a minute; finished() has its outcome.
in_background() {
    local name=$1
    shift

    {
        local status=0
        timeout 60 "$@" > "$SETUP_TMP/$name.out" 2> "$SETUP_TMP/$name.err" || status=$?
        echo "$status" > "$SETUP_TMP/$name.status"
    } < /dev/null &
    eval "JOB_$name=$!"
}

# finished NAME STATUS [PATTERN] - wait for it; PATTERN is in what it said on stderr.
finished() {
    local job=JOB_$1 status

    wait "${!job}"
    status=$(cat "$SETUP_TMP/$1.status")
    [ "$status" = "$2" ] || {
        head -n 20 "$SETUP_TMP/$1.err" "$SETUP_TMP/$1.out"
        fail "$1: status $status, not $2"
    }
    [ -z "${3-}" ] || expect_text "$SETUP_TMP/$1.err" "$3"
}

# dfs COMMAND... - of Hadoop; it has to succeed.
dfs() {
    expect_status 0 hdfs_cluster hdfs "$@"
}

# writer NAME LOC MIB [OPTION...] - write that much, from begin to end, by one process.
writer() {
    local name=$1 loc=$2 count=$3
    shift 3

    in_background "$name" "$HLFS" bench "$loc" --io write --pattern seq --size 1M \
        --count "$count" --flush-every 1 "$@"
}

step "one NameNode, three DataNodes"
hdfs_start || fail "no HDFS"
DISK=$HDFS_URI/disk
expect_status 0 "$HLFS" create "$DISK" 64M --segment-size 4M

step "wrong addresses, and one that never answers: an error in time"
hdfs_black_hole
in_background refused "$HLFS" info hdfs://127.0.0.1:1/disk
in_background unknown "$HLFS" info hdfs://no-such-host.invalid/disk
in_background silent "$HLFS" info "hdfs://127.0.0.1:$PORT/disk"
in_background create "$HLFS" create "hdfs://127.0.0.1:$PORT/disk" 64M
start=$(now_ms)
finished refused 1 '127\.0\.0\.1:1: Connection refused'
finished unknown 1 'no-such-host\.invalid.*: no such host'
finished silent 1 "127\.0\.0\.1:$PORT: keeps silent"
finished create 1 "127\.0\.0\.1:$PORT: keeps silent"
[ $(($(now_ms) - start)) -lt 30000 ] || fail "that took $(($(now_ms) - start)) ms"
expect_status 1 "$HLFS" info "$HDFS_URI/none"
expect_text "$SETUP_TMP/err" 'there is no such directory'

step "permissions"
dfs dfs -mkdir /closed /coded /small
dfs dfs -chmod 700 /closed
expect_status 1 "$HLFS" create "$HDFS_URI/closed/disk" 64M -o user=alice
expect_text "$SETUP_TMP/err" 'Permission denied: user=alice'
expect_status 1 "$HLFS" info "$DISK" -o user=alice
expect_text "$SETUP_TMP/err" 'Permission denied: user=alice'

step "under an erasure-coded parent the files of a volume are whole copies all the same"
dfs ec -enablePolicy -policy XOR-2-1-1024k
dfs ec -setPolicy -path /coded -policy XOR-2-1-1024k
expect_status 0 "$HLFS" create "$HDFS_URI/coded/disk" 64M --segment-size 4M
expect_status 0 "$HLFS" bench "$HDFS_URI/coded/disk" --io write --pattern rand --count 200 \
    --flush-every 4 --verify
dfs fsck /coded -files
if grep '/coded/disk/.*bytes' "$SETUP_TMP/out" | grep -v 'replicated: replication=3'; then
    fail "a file is not kept in three copies"
fi

step "safe mode: a volume that is being written waits, and so does who makes one"
dfs dfsadmin -safemode enter
writer safe "$DISK" 40
in_background made "$HLFS" create "$HDFS_URI/made" 64M
sleep 5
[ ! -e "$SETUP_TMP/made.status" ] || fail "it did not wait: $(cat "$SETUP_TMP/made.err")"
dfs dfsadmin -safemode leave
finished made 0
finished safe 0

step "the NameNode hangs for some seconds under a volume that is being written"
writer hung "$DISK" 60
sleep 2
hdfs_cluster pause-namenode
sleep 6
hdfs_cluster resume-namenode
finished hung 0

# Reads got an error after 5 or 20 s of this, whatever `unreachable` said.
step "the NameNode is killed and comes back, under a guest that reads and writes"
serve "$DISK"
fio_nbd lost --name=write --size=24M --bs=64k --fsync=1 --rate_iops=24 --name=read \
    --rw=randread --verify=0 --offset=32M --size=28M --rate_iops=100 --time_based --runtime=15 &
worker=$!
sleep 3
hdfs_cluster kill-namenode
sleep 4
hdfs_cluster start-namenode
wait $worker || fail "an I/O error"
say "  the longest flush took $(fio_longest lost write sync) ms"
fio_nbd lost-read --verify_only --do_verify=1 --name=write --size=24M --bs=64k ||
    fail "the content is wrong"
unserve

step "a writer's permission is taken away, and given back"
dfs dfs -mkdir /alice
dfs dfs -chown alice /alice
expect_status 0 "$HLFS" create "$HDFS_URI/alice/disk" 64M --segment-size 4M -o user=alice
dfs dfs -chmod 700 /alice
writer alice "$HDFS_URI/alice/disk" 400 -o user=alice
dfs dfs -chown bob /alice
wait_until 20 grep -q 'Permission denied' "$SETUP_TMP/alice.err" ||
    fail "nothing was denied"
dfs dfs -chown alice /alice
finished alice 0

step "DataNodes by their names"
cp -r "$HADOOP_CONF_DIR" "$SETUP_TMP/names"
sed -i 's,</configuration>,<property><name>dfs.client.use.datanode.hostname</name><value>true</value></property>&,' \
    "$SETUP_TMP/names/hdfs-site.xml"
expect_status 0 "$HLFS" bench "$DISK" --io write --count 200 --flush-every 4 --verify \
    -o hadoop-conf="$SETUP_TMP/names"

step "a quota: an error that says so, or a wait if that is asked for"
dfs dfsadmin -setSpaceQuota 2m /small
expect_status 1 "$HLFS" create "$HDFS_URI/small/disk" 64M --segment-size 4M
expect_text "$SETUP_TMP/err" 'quota of /small is exceeded'
dfs dfsadmin -setSpaceQuota 60m /small
expect_status 0 "$HLFS" create "$HDFS_URI/small/disk" 64M --segment-size 4M --force
writer full "$HDFS_URI/small/disk" 40
finished full 1 'quota of /small is exceeded'
dfs dfsadmin -setSpaceQuota 90m /small
writer waits "$HDFS_URI/small/disk" 40 -o full=wait=50s
wait_until 40 grep -q 'quota of /small is exceeded' "$SETUP_TMP/waits.err" ||
    fail "the quota was not met"
dfs dfsadmin -clrSpaceQuota /small
finished waits 0
expect_status 0 "$HLFS" check "$HDFS_URI/small/disk" --data

step "copies that rotted on disks of DataNodes: others are read, it is said, and repaired"
touch "$SETUP_TMP/before"
expect_status 0 "$HLFS" create "$HDFS_URI/rot" 64M --segment-size 4M --replication 2
expect_status 0 "$HLFS" bench "$HDFS_URI/rot" --io write --pattern rand --count 10000 \
    --seed 4
# One copy of each full segment, on this node or that: which one is read is not up to us.
mapfile -t copies < <(find "$SETUP_TMP"/hdfs/data/dn*/current -path '*/finalized/*' \
    -name 'blk_*' ! -name '*.meta' -size +3M -newer "$SETUP_TMP/before" -printf '%f %p\n' |
    sort | awk '$1 != last { n++; at = 0; last = $1 } at++ == n % 2 { print $2 }')
[ ${#copies[@]} -ge 5 ] || fail "only ${#copies[@]} full segments"
for copy in "${copies[@]}"; do
    printf 'these bytes are not what was written here' |
        dd of="$copy" bs=1 seek=2000000 conv=notrunc status=none
done
expect_status 0 "$HLFS" check "$HDFS_URI/rot" --data
grep 'is corrupt on DataNode' "$SETUP_TMP/err" || fail "check --data did not say it"
expect_status 0 "$HLFS" bench "$HDFS_URI/rot" --io read --count 10000 --seed 4
expect_text "$SETUP_TMP/out" 'verified  10000 blocks'
wait_until 60 hdfs_healthy /rot || { cat "$SETUP_TMP/fsck"; fail "it was not repaired"; }

step "all volumes are whole"
for disk in disk coded/disk made rot alice/disk; do
    expect_status 0 "$HLFS" check "$HDFS_URI/$disk" --data
done
