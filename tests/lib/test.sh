# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
#
# test.sh - sourced first by each test of tests/integration/.  Such a test
#   - runs alone too:  bash tests/integration/NAME.sh   (after a build in build/, or in
#     the directory that HLFS_BUILD names)
#   - has a directory of its own, $SETUP_TMP, and no process that outlives it
#   - exits 0, 1, or 77 with a last line that says what is missing
#   - does HLFS_ROUNDS rounds where it does something at random, from HLFS_SEED

set -eu
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$ROOT/tests/lib/setup.sh"

BUILD=${HLFS_BUILD:-$ROOT/build}
HLFS=$BUILD/cli/hlfs
PLUGIN=$BUILD/nbdkit/nbdkit-hlfs-plugin.so
PYTHON=/usr/bin/python3         # Debian's, which has Debian's modules
ROUNDS=${HLFS_ROUNDS:-20}
SEED=${HLFS_SEED:-$RANDOM}

setup_tmp
setup_trap
export XDG_RUNTIME_DIR=$SETUP_TMP       # sockets

skip() {
    say "skipped: $*"
    exit 77
}

fail() {
    say "FAILED: $*"
    exit 1
}

# requires COMMAND... - skip the test where one is missing.
requires() {
    local command

    for command; do
        command -v "$command" > /dev/null || skip "needs $command"
    done
}

requires_build() {
    local file

    for file; do
        [ -e "$file" ] || skip "needs ${file#"$ROOT"/}, which was not built"
    done
}

requires_python() {
    "$PYTHON" -c "import $1" 2> /dev/null || skip "needs Python's module $1"
}

# What the test is about to show; the last one printed is the one that failed.
step() {
    say "- $*"
}

# expect_status STATUS COMMAND... - stdout and stderr go to $SETUP_TMP/out and err.
expect_status() {
    local want=$1 got=0
    shift

    "$@" > "$SETUP_TMP/out" 2> "$SETUP_TMP/err" < /dev/null || got=$?
    if [ "$got" != "$want" ]; then
        head -n 20 "$SETUP_TMP/out" "$SETUP_TMP/err"
        fail "status $got, not $want: $*"
    fi
}

# expect_text FILE PATTERN - grep -E finds it there.
expect_text() {
    grep -q -E -- "$2" "$1" || {
        head -n 20 "$1"
        fail "no '$2' in ${1##*/}"
    }
}

# serve LOC [OPTION...] - nbdkit with the plugin on $SETUP_TMP/nbd.sock; sets SERVER_PID
# and URI.  Returns when a client can connect, which has to be within SERVE_MAX_S.
SERVE_MAX_S=10
serve() {
    local socket=$SETUP_TMP/nbd.sock

    URI="nbd+unix:///?socket=$socket"
    rm -f "$socket"
    nbdkit -f -U "$socket" "$PLUGIN" "$@" 2> "$SETUP_TMP/nbdkit.log" < /dev/null &
    SERVER_PID=$!
    setup_process "$SERVER_PID"
    wait_until $SERVE_MAX_S test -S "$socket" || {
        cat "$SETUP_TMP/nbdkit.log"
        fail "nbdkit does not start"
    }
}

# Stop it in order; it flushes and closes the volume.
unserve() {
    kill -TERM "$SERVER_PID"
    wait "$SERVER_PID" || fail "nbdkit ended with status $?"
}
