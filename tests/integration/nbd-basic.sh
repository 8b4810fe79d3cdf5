#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The nbdkit plugin: what it offers, every request, exports of a directory, read-only
# serving, and what it refuses before it goes into the background.

. "$(dirname "$0")/../lib/test.sh"
requires nbdkit nbdinfo jq qemu-img qemu-io
requires_build "$HLFS" "$PLUGIN"
requires_python nbd

disk=$SETUP_TMP/disks/one
mkdir "$SETUP_TMP/disks"
"$HLFS" create "$disk" 64M > /dev/null
"$HLFS" create "$SETUP_TMP/disks/two" 32M --block-size 16K > /dev/null

# nbdkit ends at once with status 1 and says PATTERN; nothing was put into the background.
refused() {
    local pattern=$1 status=0
    shift

    rm -f "$SETUP_TMP/refused.sock"
    timeout 20 nbdkit -U "$SETUP_TMP/refused.sock" -P "$SETUP_TMP/refused.pid" "$@" \
        > /dev/null 2> "$SETUP_TMP/err" < /dev/null || status=$?
    if [ -e "$SETUP_TMP/refused.pid" ]; then
        setup_process "$(cat "$SETUP_TMP/refused.pid")"
        fail "nbdkit went into the background: $*"
    fi
    [ $status = 1 ] || fail "nbdkit ended with status $status: $*"
    expect_text "$SETUP_TMP/err" "$pattern"
}

step "nbdkit --dump-plugin names the library's options"
expect_status 0 nbdkit --dump-plugin "$PLUGIN"
expect_text "$SETUP_TMP/out" '^hlfs_options=.*cache-size'
expect_text "$SETUP_TMP/out" '^hlfs_library_version='

step "wrong parameters"
refused 'location' "$PLUGIN"
refused 'unknown parameter' "$PLUGIN" "$disk" nonsense=1
refused 'cache-size' "$PLUGIN" "$disk" cache-size=lots
refused 'created' "$PLUGIN" "$disk" block-size=4K
refused 'location' "$PLUGIN" "$disk" dir="$SETUP_TMP/disks"
refused 'more than one' "$PLUGIN" "$disk" "$disk"

step "a wrong location fails before the fork"
refused "$SETUP_TMP/nothing" "$PLUGIN" "$SETUP_TMP/nothing"
refused "$SETUP_TMP/nothing" "$PLUGIN" dir="$SETUP_TMP/nothing"
refused 'snapshot' "$PLUGIN" "$disk@yesterday"

step "what a volume offers"
serve "$disk"
expect_status 0 nbdinfo --json "$URI"
jq -e '.exports[0] |
    ."export-size" == 67108864 and .is_read_only == false and .can_multi_conn and
    .can_fua and .can_flush and .can_trim and .can_zero and .can_fast_zero and .can_cache and
    .is_rotational == false and .block_size_minimum == 1 and
    .block_size_preferred == 4096 and .block_size_maximum == 33554432 and
    (.description | contains("disks/one")) and (.contexts | index("base:allocation"))' \
    "$SETUP_TMP/out" > /dev/null || fail "nbdinfo: $(cat "$SETUP_TMP/out")"

step "every request"
timeout 120 "$PYTHON" "$ROOT/tests/integration/nbd-basic.py" "$SETUP_TMP/nbd.sock" ||
    fail "see above"

step "a held volume is refused before the fork, naming host, pid and time"
refused "$(hostname).*20[0-9][0-9]-|20[0-9][0-9]-.*$(hostname)" "$PLUGIN" "$disk"
expect_text "$SETUP_TMP/err" "$SERVER_PID"
expect_text "$SETUP_TMP/err" 'EBUSY|held'

step "with -r a held volume can be read"
for flags in -r -fr --read-only "-n -r"; do
    # shellcheck disable=SC2086
    expect_status 0 timeout 20 nbdkit $flags -U - "$PLUGIN" "$disk" \
        --run "nbdinfo --json \"\$uri\" | jq -e '.exports[0].is_read_only'"
done

step "what was written is there after a restart, byte by byte"
expect_status 0 qemu-img convert -f raw -O raw "$URI" "$SETUP_TMP/before"
unserve
serve "$disk"
expect_status 0 qemu-img compare -f raw -F raw "$URI" "$SETUP_TMP/before"
expect_status 0 qemu-img map -f raw --output=json "$URI"
jq -e 'map(select(.data)) | length > 0' "$SETUP_TMP/out" > /dev/null || fail "no data in the map"
jq -e 'map(select(.zero)) | length > 0' "$SETUP_TMP/out" > /dev/null || fail "no hole in the map"

step "qemu-img writes an image"
head -c 50000000 /dev/urandom > "$SETUP_TMP/image"
truncate -s 64M "$SETUP_TMP/image"
expect_status 0 qemu-img convert -n -f raw -O raw "$SETUP_TMP/image" "$URI"
expect_status 0 qemu-img compare -f raw -F raw "$SETUP_TMP/image" "$URI"
unserve

step "a read-only server changes nothing"
serve "$disk" -r
expect_status 0 nbdinfo --is readonly "$URI"
expect_status 0 qemu-img compare -f raw -F raw "$SETUP_TMP/image" "$URI"
unserve

step "a directory: each volume by its name"
serve dir="$SETUP_TMP/disks"
expect_status 0 nbdinfo --list --json "$URI"
jq -e '[.exports[]."export-name"] | sort == ["one", "two"]' "$SETUP_TMP/out" > /dev/null ||
    fail "exports: $(cat "$SETUP_TMP/out")"
expect_status 0 nbdinfo --size "nbd+unix:///two?socket=$SETUP_TMP/nbd.sock"
expect_text "$SETUP_TMP/out" '^33554432$'
for name in '' three ../disks/one .. one/log 'one@yesterday'; do
    expect_status 1 nbdinfo --size "nbd+unix:///$name?socket=$SETUP_TMP/nbd.sock"
done
expect_text "$SETUP_TMP/nbdkit.log" 'yesterday'
step "a volume of a directory is held while a client is there, and no longer"
mkfifo "$SETUP_TMP/go"
"$PYTHON" - "$SETUP_TMP" << 'END' &
import sys, nbd
h = nbd.NBD()
h.set_export_name("two")
h.connect_unix(sys.argv[1] + "/nbd.sock")
h.pwrite(b"x" * 4096, 0)
open(sys.argv[1] + "/connected", "w")
open(sys.argv[1] + "/go").read()
h.shutdown()
END
client=$!
setup_process $client
wait_until 10 test -e "$SETUP_TMP/connected" || fail "no connection"
refused 'held|EBUSY' "$PLUGIN" "$SETUP_TMP/disks/two"
: > "$SETUP_TMP/go"
wait $client || fail "the client failed"
expect_status 0 wait_until 5 nbdkit -U - "$PLUGIN" "$SETUP_TMP/disks/two" \
    --run "qemu-io -r -f raw -c 'read -P 0x78 0 4096' \"\$uri\""
unserve
