#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# hlfs export --rescue: what is left of a damaged volume comes out, what is lost is said, and
# nothing of it is wrong.  (tests/unit/test-rescue.c has every damage; here are real files.)

. "$(dirname "$0")/../lib/test.sh"
requires jq
requires_build "$HLFS"

cd "$SETUP_TMP" || exit 1
BLOCKS=8192     # of 4 KiB

head -c $((BLOCKS * 4096)) /dev/urandom > image
expect_status 0 "$HLFS" import image whole --segment-size 4M

segment() {
    find damaged/log -type f | sort | sed -n "$1"
}

# rescued WHOLE LOST - export the damaged volume; that many blocks at least are as they were,
# and that many at most are lost or older.
rescued() {
    local whole lost older

    rm -f rescued.raw
    expect_status 1 "$HLFS" export damaged rescued.raw --rescue
    mv err said
    expect_status 0 "$PYTHON" "$ROOT/tests/integration/rescue.py" image rescued.raw said
    read -r whole lost older < out
    say "  $whole blocks as they were, $lost lost, $older older"
    [ "$whole" -ge "$1" ] && [ $((lost + older)) -le "$2" ] && [ $((lost + older)) -gt 0 ] ||
        fail "that is not what can be rescued"
}

damage() {
    rm -rf damaged
    cp -a whole damaged
}

step "nothing is wrong: all comes out, and nothing is said"
expect_status 0 "$HLFS" export whole rescued.raw --rescue
cmp image rescued.raw || fail "it is not what was imported"
[ ! -s err ] || fail "it says: $(cat err)"

step "a segment is missing: its blocks are lost"
damage
rm "$(segment 3p)"
expect_status 1 "$HLFS" export damaged plain.raw
[ ! -e plain.raw ] || fail "there is a file"
rescued $((BLOCKS - 1100)) 1100

step "a segment is cut short"
damage
truncate -s 2M "$(segment 4p)"
rescued $((BLOCKS - 600)) 600

step "wrong bytes within data"
damage
dd if=/dev/urandom of="$(segment 2p)" bs=4096 seek=300 count=20 conv=notrunc 2> /dev/null
rescued $((BLOCKS - 21)) 21

step "the newest segments' headers are gone: what the log says of the end is lost"
damage
for n in 1 2; do
    dd if=/dev/zero of="$(find damaged/log -type f | sort | tail -n $n | head -n 1)" \
        bs=4096 count=2 conv=notrunc 2> /dev/null
done
rm -f rescued.raw
status=0
"$HLFS" export damaged rescued.raw --rescue > out 2> said < /dev/null || status=$?
if [ $status = 0 ]; then
    cmp image rescued.raw || fail "it is not all, and nobody says so"
else
    expect_status 0 "$PYTHON" "$ROOT/tests/integration/rescue.py" image rescued.raw said
fi

step "the identity is missing: all comes out"
damage
rm damaged/volume
status=0
"$HLFS" export damaged identity.raw --rescue > out 2> err < /dev/null || status=$?
cmp image identity.raw || fail "status $status: $(cat err)"

step "what was rescued makes a volume again"
expect_status 0 "$HLFS" import rescued.raw again
expect_status 0 "$HLFS" check again --data
