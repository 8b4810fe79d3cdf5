#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The calls of namenode.h against real NameNodes, two of them: what they answer, and that
# no call is lost or done twice while answers are lost, the active one is killed, hangs,
# or is in safe mode.

. "$(dirname "$0")/../lib/test.sh"
. "$ROOT/tests/lib/hdfs.sh"
requires java mvn "$PYTHON"
SHELL_PROGRAM=$BUILD/tests/hdfs/namenode-shell
requires_build "$SHELL_PROGRAM"

# calls NODES - run the lines of stdin; what came goes to $SETUP_TMP/calls.
calls() {
    timeout 120 "$SHELL_PROGRAM" "$@" > "$SETUP_TMP/calls" 2> "$SETUP_TMP/calls.log"
}

# expect_calls - the lines of stdin, patterns of grep -E, are those of what came.
expect_calls() {
    local n=0 pattern

    while IFS= read -r pattern; do
        n=$((n + 1))
        sed -n "${n}p" "$SETUP_TMP/calls" | grep -qE "^$pattern\$" || {
            head -n "$n" "$SETUP_TMP/calls"
            fail "answer $n is not '$pattern'"
        }
    done
    [ "$(wc -l < "$SETUP_TMP/calls")" = "$n" ] || fail "not $n answers"
}

# work PREFIX COUNT - lines that each fail when they are done twice, or not at all.
work() {
    local i

    printf 'deadline 60000\nmkdir /%s p\n' "$1"
    for i in $(seq "$2"); do
        printf 'create /%s/a%d 1\nmv /%s/a%d /%s/b%d\ncomplete /%s/b%d\nrm /%s/b%d\n' \
            "$1" "$i" "$1" "$i" "$1" "$i" "$1" "$i" "$1" "$i"
    done
    printf 'ls /%s\n' "$1"
}

# expect_work COUNT - each line of work() did its part.
expect_work() {
    grep -v '^ok' "$SETUP_TMP/calls" | head -n 5 | grep . && fail "a call failed"
    [ "$(grep -c '^ok no' "$SETUP_TMP/calls")" = 0 ] || fail "a file was not there"
    [ "$(wc -l < "$SETUP_TMP/calls")" = $((4 * $1 + 2)) ] || fail "not all were answered"
    tail -n 1 "$SETUP_TMP/calls" | grep -q '^ok 0 more=0' || fail "files are left"
}

step "two NameNodes, three DataNodes"
hdfs_start --namenodes 2 --datanodes 3 || fail "no HDFS"
ONE=127.0.0.1:$(hdfs_cluster namenode-port 1)
TWO=127.0.0.1:$(hdfs_cluster namenode-port 2)

step "each call, and each refusal"
calls "$TWO,$ONE" root one << 'END'
defaults
report
mkdir /d p
create /d/a 3
create /d/a 3
addblock /d/a
exclude
abandon /d/a
addblock /d/a
fsync /d/a 0
closed /d/a
renew
locate /d/a
stat /d/none
locate /d/none
ls /d
ls /d/a
abandon /d/a
complete /d/a
closed /d/a
create /d/a 3
create /d/b 1
recover /d/b
mv /d/a /d/b
mv /d/a /d/c
mv /d/none /d/x
chmod /d/c 0640
chown /d/c bob staff
setrep /d/c 2
stat /d/c
du /d
rm /d
rm /d/none
mkdir /no/parent
rm /d all
END
expect_calls << 'END'
ok block=[0-9]+ chunk=512 packet=65536 replication=3 checksum=2 encrypt=0 trash=0
ok 3( 127.0.0.1:[0-9]+\(127.0.0.1,/default-rack,0\)){3}
ok yes
ok id=[0-9]+ kind=2 length=0 block=67108864 replication=3 mode=600 owner=root .*
error 16 .*: Failed to CREATE_FILE /d/a for one .*already the current lease holder.
ok [0-9_]+\+0@0:(127.0.0.1:[0-9]+/DS-[-0-9a-f]+,?){3}
ok
ok [0-9_]+\+0@0:(127.0.0.1:[0-9]+/DS-[-0-9a-f]+,?){2}
ok
ok no
ok
ok length=0 open=1 complete=0 [0-9_]+\+0@0:.*
error 2 .*
error 2 .*: File does not exist: /d/none
ok 1 more=0 'a'
ok 1 more=0 ''
ok
ok yes
ok yes
error 17 .*/d/a for client 127.0.0.1 already exists
ok id=.*
ok yes
error 17 .*
ok
error 2 .*
ok
ok
ok yes
ok id=[0-9]+ kind=2 .* replication=2 mode=640 owner=bob group=staff ec=0
ok length=0 files=2 directories=1 quota=-1 .*
error 39 .*
ok no
error 2 .*
ok yes
END
calls "$ONE" bob two <<< 'mkdir /bob'
expect_calls <<< 'error 13 .*: Permission denied: user=bob, access=WRITE, .*'

step "standby, absent and silent NameNodes until the deadline, or at once"
calls "$TWO" << 'END'
deadline 1000
stat /
once
stat /
END
expect_calls << 'END'
error 110 .*: no NameNode of .* served getFileInfo: .*: is standby
error 110 .*: no NameNode of .* served getFileInfo: .*: is standby
END
calls "127.0.0.1:1,$ONE" <<< 'stat /'
expect_calls <<< 'ok .*'
"$PYTHON" -c 'import socket, time
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
time.sleep(600)' > "$SETUP_TMP/hole" &
setup_process $!
wait_until 10 test -s "$SETUP_TMP/hole"
calls "127.0.0.1:$(cat "$SETUP_TMP/hole"),$ONE" << 'END'
stat /
deadline 500
stat /
END
expect_calls << 'END'
ok .*
ok .*
END

step "answers that are lost (seed $SEED): each call is done once"
"$PYTHON" "$ROOT/tests/hdfs/lossy-proxy.py" "${ONE#*:}" 0.3 "$SEED" > "$SETUP_TMP/proxy" &
setup_process $!
wait_until 10 test -s "$SETUP_TMP/proxy"
work lossy 40 | calls "127.0.0.1:$(head -n 1 "$SETUP_TMP/proxy")"
expect_work 40
[ "$(grep -c lost "$SETUP_TMP/proxy")" -gt 20 ] || fail "hardly an answer was lost"

step "safe mode is waited for"
hdfs_cluster hdfs dfsadmin -safemode enter > "$SETUP_TMP/out" 2>&1
{
    sleep 5
    hdfs_cluster hdfs dfsadmin -safemode leave
} > "$SETUP_TMP/out" 2>&1 &
calls "$ONE,$TWO" << 'END'
deadline 500
create /s 1
stat /
deadline 60000
create /s 1
END
expect_calls << 'END'
error 11 .*: Cannot create file/s. Name node is in safe mode.
ok .*
ok .*
END
wait $!

step "the active NameNode is killed, the other takes over"
work killed 800 > "$SETUP_TMP/work"
calls "$ONE,$TWO" < "$SETUP_TMP/work" &
worker=$!
sleep 1
hdfs_cluster kill-namenode 1
hdfs_cluster failover 2 > "$SETUP_TMP/out" 2>&1 || fail "no failover"
wait $worker || fail "the calls did not come to an end"
expect_work 800
expect_text "$SETUP_TMP/calls.log" "$TWO serves"

step "the active NameNode hangs, the other takes over"
hdfs_cluster start-namenode 1 > "$SETUP_TMP/out" 2>&1
work hung 800 > "$SETUP_TMP/work"
calls "$ONE,$TWO" < "$SETUP_TMP/work" &
worker=$!
sleep 1
hdfs_cluster pause-namenode 2
hdfs_cluster failover 1 > "$SETUP_TMP/out" 2>&1 || fail "no failover"
wait $worker || fail "the calls did not come to an end"
hdfs_cluster resume-namenode 2
expect_work 800
expect_text "$SETUP_TMP/calls.log" "$TWO keeps silent"
