#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Life and death of a writer on HDFS, as another one sees it: an idle healthy one is never
# taken over from; a killed one and a stopped one are, within 10 s, with all that they
# flushed; and a stopped one that goes on can change nothing any more.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn nbdkit
requires_build "$HLFS" "$PLUGIN"
requires_python nbd

step "one NameNode, three DataNodes"
hdfs_start || fail "no HDFS"

# Most of a round is waiting, so some go side by side, each with its volume.
step "$ROUNDS rounds (seed $SEED)"
VOLUMES=5
for n in $(seq $VOLUMES); do
    expect_status 0 "$HLFS" create "$HDFS_URI/disk$n" 8M --segment-size 4M
done
timeout -k 5 $((60 + ROUNDS * 15)) "$PYTHON" "$ROOT/tests/integration/hdfs-holders.py" \
    "$PLUGIN" "$HLFS" "$HDFS_URI/disk" $VOLUMES $((8 << 20)) "$SETUP_TMP" "$ROUNDS" \
    "$SEED" ||
    fail "see above"
for n in $(seq $VOLUMES); do
    expect_status 0 "$HLFS" check "$HDFS_URI/disk$n" --data
done
