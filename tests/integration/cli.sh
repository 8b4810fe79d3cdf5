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
for command in create ls info rm serve bench check dump; do
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
    --compression=best --mode=9; do
    wrong 2 . create "$disk" 1G "$option"
done
[ ! -e "$disk" ] || fail "something was made"
wrong 1 "$SETUP_TMP/nowhere" create "$SETUP_TMP/nowhere/one" 1G
expect_status 0 "$HLFS" create "$disk" 64M
[ "$(stat -c %a "$disk")" = 700 ] || fail "the volume has mode $(stat -c %a "$disk")"
[ -z "$(find "$disk" -type f -perm /077)" ] || fail "others may read files of the volume"
wrong 1 "$disk" create "$disk" 64M
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
wrong 1 "$SETUP_TMP/nothing" info "$SETUP_TMP/nothing"
wrong 1 . info "$SETUP_TMP"
wrong 1 yesterday info "$disk@yesterday"
expect_status 1 sh -c "'$HLFS' info '$disk' > /dev/full"

step "ls"
expect_status 0 "$HLFS" ls disks
[ "$(grep -c -E 'one|two|three' "$SETUP_TMP/out")" = 3 ] || fail "$(cat "$SETUP_TMP/out")"
json '[.. | .name? // empty] | sort == ["one", "three", "two"]' ls disks
wrong 1 . ls nowhere

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
wrong 1 . bench disks/three --io read --time 1

step "check and dump"
json '.errors == 0 and .segments > 0' check "$disk"
json '.errors == 0 and .blocks > 0' check "$disk" --data
json '.errors == 0' check disks/two
expect_status 0 "$HLFS" dump "$disk"
[ "$(wc -l < out)" -gt 5 ] || fail "dump says little: $(cat out)"
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
unserve
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
wrong 1 nothing serve "$SETUP_TMP/nothing" --socket nothing.sock
wrong 2 . serve "$disk" --socket a --port 1
wrong 2 . serve "$disk" --port nonsense

step "rm"
wrong 1 . rm "$disk"
[ -e "$disk" ] || fail "it was removed without --yes"
expect_status 0 "$HLFS" rm "$disk" --yes
[ ! -e "$disk" ] || fail "something is left of it"
wrong 1 "$disk" rm "$disk" --yes
mkdir disks/other
touch disks/other/file
wrong 1 . rm disks/other --yes
[ -e disks/other/file ] || fail "rm removed what is no volume"
