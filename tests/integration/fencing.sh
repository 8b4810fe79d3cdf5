#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A writer that was stopped (SIGSTOP) while another one took the volume over by force
# can change nothing when it runs on, and finds out within seconds, idle or not.  What
# it said is flushed is there for the other.

. "$(dirname "$0")/../lib/test.sh"
requires nbdkit
requires_build "$HLFS" "$PLUGIN"
requires_python nbd

# Small segments on a small volume: it is overwritten several times a round, so that
# files are used again under both writers.
step "$ROUNDS rounds (seed $SEED)"
"$HLFS" create "$SETUP_TMP/disk" 16M --segment-size 4M > /dev/null
timeout -k 5 $((30 + ROUNDS * 15)) "$PYTHON" "$ROOT/tests/integration/fencing.py" \
    "$PLUGIN" "$SETUP_TMP/disk" $((16 << 20)) "$SETUP_TMP" "$ROUNDS" "$SEED" || fail "see above"
