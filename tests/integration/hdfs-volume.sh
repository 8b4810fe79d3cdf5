#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A volume on a real HDFS: each command, both levels of a flush, a server that is killed;
# what Hadoop itself says of the files; and that a local volume loads nothing of this.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn fio jq nbdkit nbdinfo
requires_build "$HLFS" "$PLUGIN"

# info KEY LOC - one value of hlfs info.
info() {
    "$HLFS" info "$2" --json | jq -r ".$1"
}

step "one NameNode, three DataNodes"
hdfs_start || fail "no HDFS"
DISK=$HDFS_URI/vms/disk
expect_status 0 hdfs_cluster hdfs dfs -mkdir /vms

step "create, in as many copies as asked for"
expect_status 0 "$HLFS" create "$DISK" 256M --segment-size 16M --replication 2
expect_status 1 "$HLFS" create "$DISK" 256M --segment-size 16M
expect_text "$SETUP_TMP/err" 'there is a volume already'
expect_status 0 "$HLFS" ls "$HDFS_URI/vms"
expect_text "$SETUP_TMP/out" '^disk +256 MiB'
expect_status 0 "$HLFS" ls hdfs:///vms
expect_text "$SETUP_TMP/out" '^disk +256 MiB'

for level in hsync hflush; do
    step "$level: written with flushes, closed, opened, read back"
    expect_status 0 "$HLFS" bench "$DISK" -o durability=$level --io write --pattern rand \
        --count 400 --flush-every 4 --seed 5
    [ "$(info durability "$DISK")" = $level ] || fail "info does not say $level"
    expect_status 0 "$HLFS" bench "$DISK" -o durability=$level --io read --count 400 \
        --seed 5
    expect_text "$SETUP_TMP/out" 'verified  400 blocks'
done
expect_status 0 "$HLFS" bench "$DISK" --io write --pattern seq --size 1M --time 2 --verify
expect_status 0 "$HLFS" check "$DISK" --data
expect_text "$SETUP_TMP/out" 'No errors were found'
expect_status 0 "$HLFS" dump "$DISK"

step "Hadoop finds every file healthy, in two copies, and reads what we wrote"
expect_status 0 hdfs_cluster hdfs dfs -stat '%r %b' '/vms/disk/log/*/*'
if grep -v '^2 ' "$SETUP_TMP/out"; then
    fail "a file that is to have two copies"
fi
size=$(awk '{ sum += $2 } END { print sum }' "$SETUP_TMP/out")
read_size=$(hdfs_cluster hdfs dfs -cat '/vms/disk/log/*/*' | wc -c)
[ "$read_size" = "$size" ] || fail "Hadoop reads $read_size of $size bytes"
hdfs_healthy /vms || { cat "$SETUP_TMP/fsck"; fail "not healthy"; }

step "served by nbdkit: what fio writes it reads back, then the server is killed"
serve "$DISK"
fio_nbd first --name=first --size=6M --iodepth=16 --fsync=8 --do_verify=1 || fail "fio"
fio_nbd second --name=second --offset=64M --size=128M --iodepth=16 --fsync=32 \
    > "$SETUP_TMP/fio.log" &
writer=$!
sleep 1.5
setup_kill "$SERVER_PID" KILL
if wait $writer; then
    fail "the server was not killed while fio wrote"
fi

step "it is taken over, and has all that was flushed"
start=$(now_ms)
serve "$DISK"
expect_status 0 nbdinfo --size "$URI"
say "  after $(($(now_ms) - start)) ms"
[ $(($(now_ms) - start)) -lt 20000 ] || fail "that is too long"
fio_nbd again --name=first --size=6M --iodepth=16 --fsync=8 --verify_only --do_verify=1 ||
    fail "what was flushed is not there"
grep -q 'libprotobuf-c' "/proc/$SERVER_PID/maps" ||
    fail "protobuf-c is not where it is used"
unserve
expect_status 0 "$HLFS" check "$DISK" --data

step "after an orderly end nobody is waited for"
start=$(now_ms)
expect_status 0 "$HLFS" bench "$DISK" --io write --count 1
[ $(($(now_ms) - start)) -lt 5000 ] || fail "it took $(($(now_ms) - start)) ms"

step "rm"
expect_status 0 "$HLFS" rm "$DISK" --yes
expect_status 1 "$HLFS" info "$DISK"
expect_status 0 hdfs_cluster hdfs dfs -ls -R /vms
[ ! -s "$SETUP_TMP/out" ] || fail "something is left: $(cat "$SETUP_TMP/out")"

step "a local volume loads no library of HDFS"
expect_status 0 "$HLFS" create "$SETUP_TMP/local" 16M
serve "$SETUP_TMP/local"
expect_status 0 nbdinfo --size "$URI"
if grep -E 'libhlfs-hdfs|protobuf|expat|krb5|gssapi' "/proc/$SERVER_PID/maps"; then
    fail "it is loaded"
fi
unserve
