#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Files that Hadoop's own client wrote are read by ours, with either checksum, in several
# blocks of other sizes; files that ours wrote Hadoop's reads, byte for byte.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
READ_FILE=$ROOT/build/tests/hdfs/read-file
requires java mvn
requires_build "$HLFS" "$READ_FILE"

# ours PATH SEED - our client's sum of it.
ours() {
    "$READ_FILE" "$1" "$2" 2> "$SETUP_TMP/err" > "$SETUP_TMP/ours" || {
        cat "$SETUP_TMP/err"
        fail "reading $1"
    }
    cksum < "$SETUP_TMP/ours"
}

# expect_same PATH FILE - what stands in PATH on the cluster is what is in FILE.
expect_same() {
    local seed

    for seed in 1 2 3; do
        [ "$(ours "$1" $seed)" = "$(cksum < "$2")" ] || fail "$1 is read wrong (seed $seed)"
    done
}

step "one NameNode, three DataNodes"
hdfs_start || fail "no HDFS"

step "what Hadoop wrote"
head -c 5000001 /dev/urandom > "$SETUP_TMP/bytes"
head -c 1048576 "$SETUP_TMP/bytes" > "$SETUP_TMP/one-block"
: > "$SETUP_TMP/empty"
put() {
    local name=$1 file=$2
    shift 2

    hdfs_cluster hdfs dfs "$@" -put "$file" "/$name" > "$SETUP_TMP/out" 2>&1 || {
        cat "$SETUP_TMP/out"
        fail "Hadoop does not write /$name"
    }
}
put crc32 "$SETUP_TMP/bytes" -Ddfs.blocksize=1m -Ddfs.checksum.type=CRC32
put crc32c "$SETUP_TMP/bytes" -Ddfs.blocksize=2m -Ddfs.checksum.type=CRC32C \
    -Ddfs.replication=1
put null "$SETUP_TMP/bytes" -Ddfs.blocksize=1m -Ddfs.checksum.type=NULL
put chunks "$SETUP_TMP/bytes" -Ddfs.blocksize=1m -Ddfs.bytes-per-checksum=4096
put one-block "$SETUP_TMP/one-block" -Ddfs.blocksize=1m
put empty "$SETUP_TMP/empty"
for name in crc32 crc32c null chunks; do
    expect_same /$name "$SETUP_TMP/bytes"
done
expect_same /one-block "$SETUP_TMP/one-block"
expect_same /empty "$SETUP_TMP/empty"

step "what Hadoop wrote, and appended to with another checksum"
expect_status 0 hdfs_cluster hdfs dfs -Ddfs.checksum.type=CRC32 -appendToFile \
    "$SETUP_TMP/bytes" /crc32c
cat "$SETUP_TMP/bytes" "$SETUP_TMP/bytes" > "$SETUP_TMP/twice"
expect_same /crc32c "$SETUP_TMP/twice"

step "what we wrote"
DISK=$HDFS_URI/disk
expect_status 0 "$HLFS" create "$DISK" 64M --segment-size 4M
expect_status 0 "$HLFS" bench "$DISK" --io write --pattern rand --count 3000 --flush-every 7
expect_status 0 hdfs_cluster hdfs dfs -stat '%n %b' '/disk/log/*/*'
[ "$(wc -l < "$SETUP_TMP/out")" -ge 4 ] || fail "only $(cat "$SETUP_TMP/out")"
hdfs_cluster hdfs dfs -get /disk "$SETUP_TMP/copy" || fail "Hadoop cannot read it"
find "$SETUP_TMP/copy" -type f ! -name '.*.crc' -printf '%P\n' > "$SETUP_TMP/names"
while read -r name; do
    expect_same "/disk/$name" "$SETUP_TMP/copy/$name"
done < "$SETUP_TMP/names"
hdfs_healthy /disk || { cat "$SETUP_TMP/fsck"; fail "Hadoop does not call it healthy"; }
