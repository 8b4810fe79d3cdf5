#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# hlfs mv: a volume gets another place, and nothing is lost there, here, or on the way.

. "$(dirname "$0")/../lib/test.sh"
requires jq
requires_build "$HLFS"

cd "$SETUP_TMP" || exit 1

fill() {
    expect_status 0 "$HLFS" create "$1" 16M
    expect_status 0 "$HLFS" bench "$1" --io write --size 64K --count 100 --seed "$2"
}

expect_filled() {
    expect_status 0 "$HLFS" bench "$1" --io read --size 64K --count 100 --seed "$2"
    expect_text out verified
    expect_status 0 "$HLFS" check "$1" --data
}

# refused PATTERN ARGUMENT... - by a sentence.
refused() {
    local pattern=$1
    shift

    expect_status 1 "$HLFS" mv "$@"
    expect_text err "^hlfs: .*$pattern"
    [ "$(wc -l < err)" = 1 ] || fail "more than a sentence: $(cat err)"
}

step "it is there, and no longer here"
mkdir sub
fill one 1
expect_status 0 "$HLFS" mv one sub/two
[ ! -e one ] || fail "it is still here"
expect_filled sub/two 1
expect_status 0 "$HLFS" mv "local://$SETUP_TMP/sub/two" one
expect_filled one 1

step "what is there already stays"
fill two 2
mkdir empty
echo text > file
for target in two empty file; do
    refused 'is there already' one $target
done
refused 'is there already' one one
expect_filled two 2
[ "$(cat file)" = text ] || fail "the file is gone"

step "--force replaces a volume that nobody holds, and nothing else"
refused "are the same volume" one one --force
ln -s one link
refused 'are the same volume' one link --force
refused . one file --force
refused . one empty --force
[ -d empty ] || fail "the directory is gone"
expect_filled one 1
expect_status 0 "$HLFS" mv one two --force
[ ! -e one ] || fail "it is still here"
expect_filled two 1

step "a holder keeps it, at either end"
fill one 3
"$HLFS" bench two --io write --flush-every 1 --time 60 > bench 2>&1 &
WRITER=$!
setup_process $WRITER
wait_until 10 eval '"$HLFS" info two --json | jq -e .holder_alive > /dev/null' ||
    fail "no writer"
refused "held by another writer: host .*, pid $WRITER" two three
refused "held by another writer: host .*, pid $WRITER" one two --force
setup_kill $WRITER
expect_filled one 3
expect_status 0 "$HLFS" check two --data

step "wrong places: a sentence, and nothing is moved"
refused 'nothing' nothing three
refused 'No such file or directory' one missing/three
refused 'two file systems.*export' one hdfs:///three
refused 'another file system.*export' one /dev/shm/hlfs-test-$$
expect_status 2 "$HLFS" mv one
expect_status 2 "$HLFS" mv one two three
expect_status 2 "$HLFS" mv one three@monday
expect_filled one 3
