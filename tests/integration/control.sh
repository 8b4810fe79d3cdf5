#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A process that holds a volume is asked and told things by others: stat, and resize while
# a guest's writes go on.

. "$(dirname "$0")/../lib/test.sh"
requires nbdkit fio jq setpriv
requires_build "$HLFS" "$PLUGIN"

cd "$SETUP_TMP" || exit 1

# number FILTER - of the last stat --json
number() {
    jq "$1" out
}

sockets() {
    find "$SETUP_TMP" -maxdepth 1 -name 'hlfs-*.control'
}

serve() {
    "$HLFS" serve disk --socket nbd.sock "$@" > serve.log 2>&1 &
    SERVER=$!
    setup_process $SERVER
    wait_until 20 test -S nbd.sock || fail "it does not serve: $(cat serve.log)"
    # The name alone may be a dead server's.
    wait_until 20 eval '"$HLFS" stat disk > stat.out 2>&1' ||
        fail "it cannot be asked: $(cat stat.out)"
}

serve_end() {
    kill -TERM $SERVER
    wait $SERVER || true
    [ -z "$(sockets)" ] || fail "the control socket is still there"
}

step "nobody holds it: stat says so, resize does it itself"
expect_status 0 "$HLFS" create disk 64M --segment-size 4M
expect_status 1 "$HLFS" stat disk
expect_text err '^hlfs: nobody holds disk'
expect_status 0 "$HLFS" resize disk 128M
expect_status 1 "$HLFS" resize disk 64M
expect_text err '^hlfs: disk has 128 MiB, and 64 MiB would cut something off; --shrink'
expect_status 0 "$HLFS" resize disk 64M --shrink
expect_status 0 "$HLFS" info disk --json
[ "$(jq .size_bytes out)" = $((64 << 20)) ] || fail "the size is $(jq .size_bytes out)"

step "wrong input: a sentence, and nothing is changed"
expect_status 1 "$HLFS" stat nothing
expect_text err '^hlfs: .*nothing'
expect_status 1 "$HLFS" resize nothing 64M
expect_status 2 "$HLFS" resize disk
expect_status 2 "$HLFS" resize disk many
expect_text err '"many" is no size'
expect_status 2 "$HLFS" resize disk -1
expect_status 2 "$HLFS" resize disk 100
expect_status 2 "$HLFS" resize disk 512T
expect_text err 'too large'
expect_status 2 "$HLFS" resize disk@monday 64M
expect_status 2 "$HLFS" stat disk --interval 0
expect_status 0 "$HLFS" info disk --json
[ "$(jq .size_bytes out)" = $((64 << 20)) ] || fail "the size is $(jq .size_bytes out)"

step "it is served: stat sees what a client does"
serve
[ "$(stat -c %a "$(sockets)")" = 600 ] || fail "others may ask, too"
fio --name=guest --ioengine=nbd --uri='nbd+unix:///?socket=nbd.sock' --rw=randwrite \
    --bs=4k --iodepth=4 --size=32M --fsync=8 --time_based --runtime=8 > fio.log 2>&1 &
FIO=$!
setup_process $FIO
sleep 1
expect_status 0 "$HLFS" stat disk --json
[ "$(number .pid)" = $SERVER ] || fail "pid $(number .pid), not $SERVER"
[ "$(number .writes_per_s)" != 0.000 ] || fail "it sees no writes"
[ "$(number '.flushes > 0 and .flush_p99_us >= .flush_p50_us and .flush_p50_us > 0')" = true ] ||
    fail "it sees no flushes: $(cat out)"
[ "$(number '.written_bytes == .writes * 4096 and .write_amplification > 1')" = true ] ||
    fail "it counts wrong: $(cat out)"
expect_status 0 "$HLFS" stat disk
expect_text out '^writes +[1-9][0-9]*/s'
expect_text out '^held by +pid'
timeout 3 "$HLFS" stat disk --watch > watched || [ $? = 124 ] || fail "it does not watch"
expect_text watched '^ +reads/s'
[ "$(wc -l < watched)" -ge 2 ] || fail "no line while it watches"

step "it is resized while the client writes"
expect_status 0 "$HLFS" resize disk 256M
expect_status 0 "$HLFS" resize disk 96M --shrink
expect_status 1 "$HLFS" resize disk 32M
expect_text err 'has 96 MiB, and 32 MiB would cut something off'
expect_status 0 "$HLFS" stat disk --json
[ "$(number .size_bytes)" = $((96 << 20)) ] || fail "the size is $(number .size_bytes)"
wait $FIO || fail "the client saw an error: $(cat fio.log)"
expect_status 0 "$HLFS" info disk --json
[ "$(jq .size_bytes out)" = $((96 << 20)) ] || fail "the size is $(jq .size_bytes out)"

step "another user is not served, root is"
if [ "$(id -u)" = 0 ]; then
    chmod 777 "$SETUP_TMP" "$(sockets)"
    chmod -R a+rX disk
    cp "$HLFS" hlfs
    LIBRARY=$(dirname "$(ldd "$HLFS" | awk '/libhlfs/ { print $3 }')")
    cp "$LIBRARY"/libhlfs.so.0 .
    expect_status 1 setpriv --reuid 12345 --regid 12345 --clear-groups \
        env LD_LIBRARY_PATH="$SETUP_TMP" "$SETUP_TMP/hlfs" stat disk
    expect_text err 'cannot be asked from here'
fi

step "it ends, and its socket with it; one that was killed leaves no obstacle"
serve_end
serve
kill -KILL $SERVER
wait $SERVER 2> /dev/null || true
[ -n "$(sockets)" ] || fail "no socket was left behind"
expect_status 1 "$HLFS" stat disk
expect_text err 'nobody holds'
rm -f nbd.sock
serve
expect_status 0 "$HLFS" stat disk
serve_end

step "without the option control there is none"
"$HLFS" serve disk --socket nbd.sock -o control=no > serve.log 2>&1 &
SERVER=$!
setup_process $SERVER
wait_until 20 test -S nbd.sock || fail "it does not serve"
fio --name=guest --ioengine=nbd --uri='nbd+unix:///?socket=nbd.sock' --rw=write --bs=4k \
    --size=64k > fio.log 2>&1 || fail "it does not serve: $(cat fio.log)"
expect_status 1 "$HLFS" stat disk
expect_text err 'is held by another writer: host .*, pid .*, which cannot be asked from here'
expect_status 1 "$HLFS" resize disk 512M
expect_text err 'is held by another writer: host .*, pid'
expect_status 0 "$HLFS" info disk --json
[ "$(jq .size_bytes out)" = $((96 << 20)) ] || fail "the size is $(jq .size_bytes out)"
kill -TERM $SERVER
