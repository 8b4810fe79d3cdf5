#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# hlfs(1): each command, its --json, its exit status, and one sentence on stderr for
# everything that goes wrong.

. "$(dirname "$0")/../lib/test.sh"
requires jq nbdinfo qemu-io
requires_build "$HLFS" "$PLUGIN"

cd "$SETUP_TMP" || exit 1
mkdir disks
disk=$SETUP_TMP/disks/one

# wrong STATUS PATTERN ARGUMENT... - one line on stderr with PATTERN, nothing on stdout.
wrong() {
    local status=$1 pattern=$2
    shift 2

    expect_status "$status" "$HLFS" "$@"
    expect_text "$SETUP_TMP/err" "$pattern"
    [ "$(wc -l < "$SETUP_TMP/err")" = 1 ] || fail "not one line: $(cat "$SETUP_TMP/err")"
    [ ! -s "$SETUP_TMP/out" ] || fail "there is output: $(cat "$SETUP_TMP/out")"
}

# json FILTER ARGUMENT... - the command succeeds and jq finds FILTER true in its output.
json() {
    local filter=$1
    shift

    expect_status 0 "$HLFS" "$@" --json
    jq -e "$filter" "$SETUP_TMP/out" > /dev/null ||
        fail "$* --json: not $filter in $(cat "$SETUP_TMP/out")"
}

step "usage"
wrong 2 . nonsense
wrong 2 . create
wrong 2 . create "$disk"
wrong 2 . create "$disk" 1G extra
wrong 2 . create "$disk" 1G --nonsense
wrong 2 . create "$disk" 1G -o nonsense=1
wrong 2 . info
wrong 2 . bench "$disk" --io sideways
for command in create ls info rm mv set resize import export serve mount umount stat bench check dump; do
    expect_status 0 "$HLFS" "$command" --help
    expect_text "$SETUP_TMP/out" "hlfs $command"
done
expect_status 0 "$HLFS" --help
expect_status 0 "$HLFS" --version
expect_text "$SETUP_TMP/out" "$(cat "$ROOT/VERSION")"

step "create"
for size in -1 1000 1X G 257T ''; do
    wrong 2 . create "$disk" "$size"
done
for option in --block-size=3K --block-size=128K --segment-size=1M --segment-size=2G \
    --segment-size=4500K --compression=best --mode=9; do
    wrong 2 . create "$disk" 1G "$option"
done
# What comes with later versions is refused, not ignored.
for option in --compression=lz4 --keep=2h --clonable-by=root; do
    wrong 2 'this version has no' create "$disk" 1G "$option"
done
[ ! -e "$disk" ] || fail "something was made"
wrong 1 "there is no directory $SETUP_TMP/nowhere\$" create "$SETUP_TMP/nowhere/one" 1G
touch file
mkdir empty
for force in '' --force; do
    wrong 1 'file: it exists and is no directory$' create file 1M $force
    wrong 1 'file/one: file is not a directory$' create file/one 1M $force
    wrong 1 'empty: the directory exists and is no volume$' create empty 1M $force
done
[ -d empty ] || fail "the directory went"
expect_status 0 "$HLFS" create "$disk" 64M --keep 0 --compression none
expect_status 0 "$HLFS" rm "$disk" --yes
expect_status 0 "$HLFS" create "$disk" 64M
[ "$(stat -c %a "$disk")" = 700 ] || fail "the volume has mode $(stat -c %a "$disk")"
[ -z "$(find "$disk" -type f -perm /077)" ] || fail "others may read files of the volume"
wrong 1 "$disk: there is a volume already \(--force replaces" create "$disk" 64M
expect_status 0 "$HLFS" create "$disk" 32M --force
expect_status 0 "$HLFS" create "local://$SETUP_TMP/disks/two" 256T --block-size 64K
expect_status 0 "$HLFS" create disks/three 0

step "info"
json ".size_bytes == $((32 << 20)) and .block_bytes == 4096 and .live_bytes == 0 and
    .durability == \"local\" and .holder_alive == false and .degraded == false and
    .snapshots == 0 and (.log_bytes | type) == \"number\" and .created_us > 0 and
    (.uuid | length) == 36" info "$disk"
json ".size_bytes == $((256 << 40)) and .block_bytes == 65536" info disks/two
json '.size_bytes == 0' info "hlfs:$SETUP_TMP/disks/three"
expect_status 0 "$HLFS" info "$disk"
expect_text "$SETUP_TMP/out" '32 ?M'
json '.as_of_us > 1700000000000000' info "$disk"
wrong 1 "there is no volume $SETUP_TMP/nothing" info "$SETUP_TMP/nothing"
wrong 1 "there is no volume missing" info missing@yesterday
wrong 1 'empty is not an HLFS volume' info empty@yesterday
wrong 1 . info "$SETUP_TMP"
wrong 1 yesterday info "$disk@yesterday"
expect_status 1 sh -c "'$HLFS' info '$disk' > /dev/full"

step "ls"
expect_status 0 "$HLFS" ls disks
[ "$(grep -c -E 'one|two|three' "$SETUP_TMP/out")" = 3 ] || fail "$(cat "$SETUP_TMP/out")"
json '[.. | .name? // empty] | sort == ["one", "three", "two"]' ls disks
json 'all(.[]; .as_of_us > 1700000000000000)' ls disks
expect_status 0 "$HLFS" ls disks
expect_text out '^NAME .* AS OF  *HELD BY'
expect_text out '^one .* 20[0-9-]+T[0-9:]+Z'
wrong 1 . ls nowhere

step "names that are not UTF-8"
mkdir odd
odd=$(printf 'odd/\303\244\200\355\240\200z')
expect_status 0 "$HLFS" create "$odd" 1M
json '.[0].name == "\u00e4\ufffd\ufffd\ufffd\ufffdz"' ls odd
json '.location == "odd/\u00e4\ufffd\ufffd\ufffd\ufffdz"' info "$odd"
iconv -f UTF-8 -t UTF-8 out > out.utf8 || fail "the output is not UTF-8"
expect_status 0 "$HLFS" rm "$odd" --yes

step "ls says so when it cannot tell whether there is a volume"
mkdir odd/untold
ln -s "$(printf '%0300d' 0)" odd/untold/volume
wrong 1 'cannot look at odd/untold: File name too long' ls odd
rm odd/untold/volume
expect_status 0 "$HLFS" ls odd

step "bench"
json '.iops > 0 and .bytes_per_s > 0 and .p50_us > 0 and .p99_us >= .p50_us and
    .p999_us >= .p99_us and .cpu_us_per_io > 0 and .written_bytes > 0 and .rss_bytes > 0' \
    bench "$disk" --io write --pattern rand --size 4K --depth 16 --time 1
json '.iops > 0' bench "$disk" --io read --pattern seq --size 64K --depth 4 --time 1
json '.iops > 0' bench "$disk" --io write --pattern rand --size 4K --depth 1 \
    --flush-every 1 --time 1
json '.iops > 0' bench "$disk" --io rw --size 4K --depth 8 --time 1
json '.iops > 0' bench "$disk" --io write --size 4K --depth 8 --time 1 --verify
json '.iops > 0' bench "$disk" --io write --depth 8 --seed 7 --count 2000
json '.verified_blocks == 2000' bench "$disk" --io read --depth 8 --seed 7 --count 2000
wrong 1 'seed 8' bench "$disk" --io read --seed 8 --count 2000
wrong 2 . bench "$disk" --io read --time 1 --verify
expect_status 0 timeout 20 "$HLFS" bench "$disk" --io read --time 1e-10
wrong 2 "number of seconds" bench "$disk" --io read --time 0
wrong 2 "number of seconds" bench "$disk" --io read --time=-1
wrong 1 . bench disks/three --io read --time 1

step "check and dump"
json '.errors == 0 and .segments > 0 and .as_of_us > 1700000000000000' check "$disk"
expect_status 0 "$HLFS" check "$disk"
expect_text out '^as of 20[0-9-]+T[0-9:]+Z$'
json '.errors == 0 and .blocks > 0' check "$disk" --data
json '.errors == 0' check disks/two
expect_status 0 "$HLFS" dump "$disk"
[ "$(wc -l < out)" -gt 5 ] || fail "dump says little: $(cat out)"
head -n 1 out | grep -q -E '^as of 20[0-9-]+T[0-9:.]+Z$' || fail "dump: $(head -n 1 out)"
wrong 1 nothing check "$SETUP_TMP/nothing"
wrong 1 nothing dump "$SETUP_TMP/nothing"

step "check finds bytes that changed"
expect_status 0 "$HLFS" create disks/bad 16M
expect_status 0 "$HLFS" bench disks/bad --io write --pattern seq --size 64K --count 256
for victim in disks/bad/log/*/*; do
    size=$(stat -c %s "$victim")
    for i in 3 4 5 6 7; do
        printf 'damage' | dd of="$victim" bs=1 seek=$((size * i / 10)) conv=notrunc status=none
    done
done
expect_status 1 "$HLFS" check disks/bad --data --json
jq -e '.errors > 0 and (.findings | length) > 0' out > /dev/null || fail "$(cat out)"
expect_status 1 "$HLFS" check disks/bad --data
expect_text out '^error'
expect_status 0 "$HLFS" rm disks/bad --yes

step "serve"
"$HLFS" serve "$disk" --socket serve.sock 2> serve.err < /dev/null &
SERVER_PID=$!
setup_process "$SERVER_PID"
wait_until 10 test -S serve.sock || fail "hlfs serve does not start: $(cat serve.err)"
uri="nbd+unix:///?socket=$SETUP_TMP/serve.sock"
expect_status 0 qemu-io -f raw -c 'write -P 7 0 64k' -c 'flush' -c 'read -P 7 0 64k' "$uri"

step "a volume that is served: others may look, but not write or remove"
json ".holder_alive and .holder_pid > 0 and .holder_host == \"$(hostname)\"" info "$disk"
json '.errors == 0' check "$disk"
expect_status 0 "$HLFS" dump "$disk"
wrong 1 "$(hostname)" bench "$disk" --io write --time 1
wrong 1 "host $(hostname), pid [0-9]*, since 2" rm "$disk" --yes
expect_status 1 "$HLFS" create "$disk" 32M --force
expect_status 1 timeout 20 "$HLFS" serve "$disk" --socket second.sock
expect_text err "$(hostname)"
[ ! -e second.sock ] || fail "a server that did not start left its socket"
unserve
[ ! -e serve.sock ] || fail "a server that ended left its socket"
json '.holder_alive == false' info "$disk"

step "serve --read-only, serve DIR, serve --port"
"$HLFS" serve "$disk" --socket ro.sock --read-only 2> serve.err < /dev/null &
SERVER_PID=$!
setup_process "$SERVER_PID"
wait_until 10 test -S ro.sock || fail "$(cat serve.err)"
expect_status 0 nbdinfo --is readonly "nbd+unix:///?socket=$SETUP_TMP/ro.sock"
unserve
"$HLFS" serve disks --port 10890 2> serve.err < /dev/null &
SERVER_PID=$!
setup_process "$SERVER_PID"
expect_status 0 wait_until 10 nbdinfo --size nbd://127.0.0.1:10890/one
unserve
# A directory without a volume yet, that gets one while it is served.
"$HLFS" serve empty --socket empty.sock 2> serve.err < /dev/null &
SERVER_PID=$!
setup_process "$SERVER_PID"
wait_until 10 test -S empty.sock || fail "$(cat serve.err)"
expect_status 0 "$HLFS" create empty/late 2M
[ "$(nbdinfo --size "nbd+unix:///late?socket=$SETUP_TMP/empty.sock")" = 2097152 ] ||
    fail "it is not served"
unserve
# A volume is a volume, whatever else is in its directory.
cp -r empty/late "$disk/within"
"$HLFS" serve "$disk" --socket one.sock 2> serve.err < /dev/null &
SERVER_PID=$!
setup_process "$SERVER_PID"
wait_until 10 test -S one.sock || fail "$(cat serve.err)"
[ "$(nbdinfo --size "nbd+unix:///?socket=$SETUP_TMP/one.sock")" = $((32 << 20)) ] ||
    fail "that is not the volume"
unserve
rm -r "$disk/within"
wrong 1 nothing serve "$SETUP_TMP/nothing" --socket nothing.sock
wrong 1 'there is no volume' serve missing@yesterday --socket nothing.sock
wrong 2 . serve "$disk" --socket a --port 1
wrong 2 . serve "$disk" --port nonsense

step "a volume that cannot be read"
expect_status 0 "$HLFS" create disks/newer 1M
cp disks/newer/volume identity
printf '\007' | dd of=disks/newer/volume bs=1 seek=12 conv=notrunc status=none
wrong 1 'newer has format version 7, this hlfs reads version 0 only; use a newer one$' \
    info disks/newer
wrong 1 'version 7.*-o force=yes' rm disks/newer --yes
wrong 1 'version 7.*-o force=yes' create disks/newer 1M --force
wrong 1 'already .*--force -o force=yes' create disks/newer 1M
cp identity disks/newer/volume
"$PYTHON" - disks/newer/volume << 'END'
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
data[19] |= 0x80                # a feature bit that nobody knows, with a right CRC-32C
crc = 0xffffffff
for byte in data[12:]:
    crc ^= byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
data[8:12] = struct.pack("<I", crc ^ 0xffffffff)
open(sys.argv[1], "wb").write(data)
END
wrong 1 'has features that this hlfs does not know \(0x80000000\); use a newer one$' \
    info disks/newer
wrong 1 'features.*-o force=yes' rm disks/newer --yes
cp identity disks/newer/volume
printf '\377' | dd of=disks/newer/volume bs=1 seek=40 conv=notrunc status=none
wrong 1 'damaged.*-o force=yes' rm disks/newer --yes
wrong 1 'damaged.*-o force=yes' create disks/newer 1M --force
wrong 1 'damaged$' info disks/newer
expect_status 0 "$HLFS" create disks/newer 2M --force -o force=yes
json '.size_bytes == 2097152' info disks/newer
expect_status 0 "$HLFS" rm disks/newer --yes

step "rm"
wrong 1 'there is no volume missing' rm missing
wrong 1 'there is no volume missing' rm missing -o force=yes
wrong 1 'is not an HLFS volume' rm odd
wrong 1 'no terminal' rm odd -o force=yes
wrong 1 'not a directory' rm file
wrong 1 . rm "$disk"
[ -e "$disk" ] || fail "it was removed without --yes"
expect_status 0 "$HLFS" rm "$disk" --yes
[ ! -e "$disk" ] || fail "something is left of it"
wrong 1 "$disk" rm "$disk" --yes
mkdir disks/other
touch disks/other/file
wrong 1 . rm disks/other --yes
[ -e disks/other/file ] || fail "rm removed what is no volume"
