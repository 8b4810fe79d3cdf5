#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A server that is killed in the midst of writes loses nothing that was flushed, keeps
# the order of what was not, and tears no request; it is back within a second.

. "$(dirname "$0")/../lib/test.sh"
requires nbdkit fio qemu-io
requires_build "$HLFS" "$PLUGIN"
requires_python nbd

step "$ROUNDS rounds of random requests, each ended by SIGKILL (seed $SEED)"
"$HLFS" create "$SETUP_TMP/disk" 24M > /dev/null
timeout -k 5 $((30 + ROUNDS * 8)) "$PYTHON" "$ROOT/tests/integration/nbd-kill.py" \
    "$PLUGIN" "$SETUP_TMP/disk" $((24 << 20)) "$SETUP_TMP" "$ROUNDS" "$SEED" || fail "see above"

step "fio verifies what it wrote, after SIGKILL too"
"$HLFS" create "$SETUP_TMP/fio" 64M > /dev/null
fio_options=(--name=v --ioengine=nbd --rw=randwrite --bs=4k --iodepth=16 --size=64M
    --verify=crc32c --fsync=16 --randseed="$SEED" --verify_backlog=0 --output-format=terse)
cd "$SETUP_TMP" || exit 1     # fio keeps its verify state in the working directory
serve "$SETUP_TMP/fio"
expect_status 0 timeout 60 fio "${fio_options[@]}" --uri="$URI" --do_verify=1
expect_status 0 qemu-io -f raw -c flush "$URI"
setup_kill "$SERVER_PID" KILL
serve "$SETUP_TMP/fio"
expect_status 0 timeout 60 fio "${fio_options[@]}" --uri="$URI" --verify_only
unserve
