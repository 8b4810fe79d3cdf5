# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# crashguest.sh - the promise as a guest sees it: its server is killed while it writes,
# and after a restart nothing that it synced is missing.  Used by ./run and by
# tests/integration/guest.sh, which say where everything is.
#
# Sourced after setup.sh and guest.sh.  HLFS names the command hlfs.

# crashguest_serve LOC SOCKET LOG - start a server; sets SERVER_PID.
crashguest_serve() {
    "$HLFS" serve "$1" --socket "$2" > "$3" 2>&1 < /dev/null &
    SERVER_PID=$!
    setup_process "$SERVER_PID"
    if ! wait_until 10 nbdinfo --size "nbd+unix:///?socket=$2"; then
        cat "$3" >&2
        return 1
    fi
}

# crashguest_run LOC DIR - the whole of it, with sockets and logs in DIR.  In the end a
# server of LOC runs on DIR/nbd.sock; its pid is SERVER_PID.
crashguest_run() {
    local loc=$1 dir=$2 start count

    crashguest_serve "$loc" "$dir/nbd.sock" "$dir/server-1.log" || return 1
    guest_start 1 "$dir/nbd.sock" "$dir/guest-1.log"
    guest_wait "$dir/guest-1.log" 90 '^WRITING' || return 1
    say "  the guest made an ext4 and writes; each file that it has synced it reports"
    guest_wait "$dir/guest-1.log" 90 '^SYNCED more-12 ' || return 1
    sleep "0.$((RANDOM % 10))"

    setup_kill "$SERVER_PID" KILL
    sleep 0.3
    setup_kill "$GUEST_PID" KILL
    say "  the server was killed (SIGKILL) in the midst of it, the guest after it"

    start=$(now_ms)
    crashguest_serve "$loc" "$dir/nbd.sock" "$dir/server-2.log" || return 1
    say "  the server is back after $(($(now_ms) - start)) ms"
    guest_start 2 "$dir/nbd.sock" "$dir/guest-2.log"
    guest_wait "$dir/guest-2.log" 90 '^DONE' || return 1
    say "  second boot: the journal was replayed, e2fsck -f -n found nothing"
    count=$(guest_compare "$dir/guest-1.log" "$dir/guest-2.log") || {
        say "$count"
        return 1
    }
    say "  all $count files that were synced are there, with the right SHA-256"
}
