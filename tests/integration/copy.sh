#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# hlfs import and hlfs export: the same bytes, as sparse as before, in files, pipes and
# block devices; what is refused changes nothing; and an import that did not come to its
# end is taken for no volume by anybody.

. "$(dirname "$0")/../lib/test.sh"
requires jq script losetup mount qemu-img
requires_build "$HLFS" "$PLUGIN"

cd "$SETUP_TMP" || exit 1
umask 022
MIB=$((1 << 20))
mounts=()
loop=
WRITER=
cleanup() {
    local dir

    [ -z "$WRITER" ] || setup_kill "$WRITER" KILL
    [ -z "$loop" ] || losetup -d "$loop" || true
    for dir in ${mounts[@]+"${mounts[@]}"}; do
        umount "$dir" || umount -l "$dir" || true
    done
    setup_cleanup
}
trap cleanup EXIT

# wrong STATUS PATTERN ARGUMENT... - one line on stderr with PATTERN, nothing on stdout.
wrong() {
    local status=$1 pattern=$2
    shift 2

    expect_status "$status" "$HLFS" "$@"
    expect_text err "$pattern"
    [ "$(wc -l < err)" = 1 ] || fail "not one line: $(cat err)"
    [ ! -s out ] || fail "there is output"
}

# json FILTER ARGUMENT... - jq finds FILTER true in what the command says.
json() {
    local filter=$1
    shift

    expect_status 0 "$HLFS" "$@" --json
    jq -e "$filter" out > /dev/null || fail "$* --json: not $filter in $(cat out)"
}

# same FILE FILE - the same bytes, and as many; holes are not read.
same() {
    [ "$(stat -c %s "$1")" = "$(stat -c %s "$2")" ] || fail "$1 and $2 have two sizes"
    qemu-img compare -q -f raw -F raw "$1" "$2" || fail "$1 and $2 differ"
}

# All files, with their sizes and times.
files() {
    find . -mindepth 2 -printf '%p %s %m %T@\n' | sort
    find . -mindepth 1 -maxdepth 1 ! -name out ! -name err -printf '%p %s %m\n' | sort
}

# data FILE MIB COUNT - random bytes.
data() {
    dd if=/dev/urandom of="$1" bs=1M seek="$2" count="$3" conv=notrunc status=none
}

no_temporary() {
    [ -z "$(find . -name '.hlfs-export-*')" ] || fail "a temporary file is left"
}

# peak_kib COMMAND... - its peak of memory, in KiB.
peak_kib() {
    "$PYTHON" - "$@" << 'END'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
END
}

# unfinished LOC - it says so, and nobody takes it for a volume.
unfinished() {
    json '.state == "unfinished import" and .unfinished_since_us > 1700000000000000' info "$1"
    expect_status 0 "$HLFS" info "$1"
    expect_text out 'state *unfinished import, begun at 20'
    wrong 1 "$1 is an unfinished import, begun at 20.*: import it again, or remove it" \
        export "$1" never
    wrong 1 'is an unfinished import' bench "$1" --io write --time 1
    expect_status 1 timeout 20 "$HLFS" serve "$1" --socket never.sock
    expect_text err 'unfinished import'
    json '.errors == 0' check "$1" --data
    [ ! -e never ] || fail "an export of $1 was made"
    [ ! -e never.sock ] || fail "$1 is served"
}

# slow_import LOC [OPTION...] - of a pipe that goes on for ever; sets WRITER, and returns
# when data is on its way.
slow_import() {
    { dd if=image bs=1M count=64 status=none; exec sleep 600; } > slow.fifo &
    setup_process $!
    "$HLFS" import slow.fifo "$@" > slow.out 2> slow.err &
    WRITER=$!
    setup_process $WRITER
    wait_until 20 eval '"$HLFS" info --json "$1" 2> /dev/null |
        jq -e ".holder_alive and .unfinished_since_us > 0" > /dev/null' ||
        fail "the import does not begin: $(cat slow.err)"
    sleep 0.3
}
mkfifo slow.fifo

step "an image of 2 GiB with 200 MiB of data, most of it holes"
truncate -s 2G image
for at in 0 101 700 1500; do
    data image $at 49
done
dd if=/dev/urandom of=image bs=4096 seek=90001 count=3 conv=notrunc status=none
dd if=/dev/urandom of=image bs=512 seek=4194303 count=1 conv=notrunc status=none
sync image
used=$(du -k image | cut -f 1)
expect_status 0 "$HLFS" import image one
[ ! -s err ] || fail "it says something, though there is no terminal: $(cat err)"
json ".size_bytes == $((2048 * MIB)) and .state == \"whole\" and
    .live_bytes < $((used * 1024 + 8 * MIB))" info one
expect_status 0 "$HLFS" export one copy
[ ! -s err ] || fail "it says something, though there is no terminal: $(cat err)"
same image copy
[ "$(du -k copy | cut -f 1)" -le $((used + 1024)) ] || fail "the copy is not sparse"
[ "$(stat -c %a copy)" = 600 ] || fail "the copy has mode $(stat -c %a copy)"
json '.errors == 0 and .warnings == 0' check one --data

step "through pipes: the same bytes"
"$HLFS" export one - | "$HLFS" import - two --size 2G || fail "by a pipe"
"$HLFS" export two - | cmp - image || fail "the bytes differ"
json ".live_bytes < $((used * 1024 + 8 * MIB))" info two
rm copy
expect_status 0 "$HLFS" rm two --yes
"$HLFS" import - two < image || fail "a file as standard input has a size"
expect_status 0 "$HLFS" rm two --yes

step "memory is bounded: 192 MiB beside the program"
peak=$(peak_kib "$HLFS" import image two)
say "  import: $((peak / 1024)) MiB"
[ "$peak" -lt $((192 * 1024)) ] || fail "import took $peak KiB"
peak=$(peak_kib "$HLFS" export two copy)
say "  export: $((peak / 1024)) MiB"
[ "$peak" -lt $((192 * 1024)) ] || fail "export took $peak KiB"
rm copy
expect_status 0 "$HLFS" rm two --yes

step "an existing volume of the same size: what is a hole reads as zeros"
truncate -s 2G other
data other 90 100
data other 1990 20
expect_status 0 "$HLFS" import other one
expect_status 0 "$HLFS" export one copy
same other copy
json ".live_bytes < $((130 * MIB))" info one
rm copy

step "a size that is no multiple of 512, a larger --size, options of create"
head -c 1000 image > odd
expect_status 0 "$HLFS" import odd small --block-size 64K --mode 0640
expect_text err 'odd has 1000 bytes; zeros fill it up to 1024, a multiple of 512'
json '.size_bytes == 1024 and .block_bytes == 65536' info small
[ "$(stat -c %a small/volume)" = 640 ] || fail "--mode is not used"
expect_status 0 "$HLFS" export small copy
truncate -s 1024 odd
same odd copy
rm copy
expect_status 0 "$HLFS" rm small --yes
expect_status 0 "$HLFS" import odd small --size 300K
"$HLFS" export small - > copy || fail "into a file as standard output"
truncate -s 300K odd
same odd copy
rm copy
expect_status 0 "$HLFS" rm small --yes
: > empty
expect_status 0 "$HLFS" import empty small
json '.size_bytes == 0' info small
expect_status 0 "$HLFS" export small copy
same empty copy
rm copy
head -c 1000 image | "$HLFS" import - pipe --size 1K 2> err || fail "$(cat err)"
expect_text err 'zeros fill it up'

step "import: what is refused, and changes nothing"
before=$(files)
wrong 2 . import image
wrong 2 . import image one --rescue
wrong 2 'is no size' import image fresh --size 1X
wrong 2 'multiple of 512' import image fresh --size 1000
wrong 2 'the size of the standard input is not known: give the volume one by --size' \
    import - fresh
wrong 2 'names a snapshot' import image one@yesterday
wrong 2 'block-size' import image fresh --block-size 3K
wrong 1 'cannot open missing: No such file' import missing fresh
wrong 1 'cannot import \.: it is a directory' import . fresh
wrong 1 'image has 2147483648 bytes, which a volume of 1073741824 cannot take' \
    import image fresh --size 1G
wrong 1 'small has 0 bytes, image 2147483648: import it to another location, or remove' \
    import image small
wrong 1 'one has 2147483648 bytes, --size says 4294967296' import image one --size 4G
wrong 1 'block-size is chosen when a volume is created, and one is there already' \
    import image one --block-size 4K
wrong 1 'the option mode is chosen' import image one -o mode=0600
wrong 1 'no directory' import image nowhere/fresh
mkdir foreign
wrong 1 'exists and is no volume' import image foreign
wrong 1 'exists and is no directory' import image odd
rmdir foreign
[ "$(files)" = "$before" ] || fail "something has changed"

step "a volume that somebody holds is not overwritten, and can be exported"
serve "$SETUP_TMP/one"
wrong 1 'one is held by another writer: host .*, pid [0-9]+' import other one
expect_status 0 "$HLFS" export one copy
same other copy
rm copy
unserve

step "beside a fast writer: a whole copy, or one sentence and no file"
expect_status 0 "$HLFS" create busy 8M --segment-size 4M
"$HLFS" bench busy --io write --pattern rand --size 1M --time 5 > bench.out 2>&1 &
WRITER=$!
setup_process $WRITER
done=0
while kill -0 $WRITER 2> /dev/null; do
    if "$HLFS" export busy copy 2> err; then
        [ "$(stat -c %s copy)" = $((8 * MIB)) ] || fail "half a copy"
        rm copy
        done=$((done + 1))
    else
        expect_text err 'busy has removed what was being read: export it again|Stale'
        [ ! -e copy ] || fail "a failed export left a file"
    fi
    no_temporary
done
wait $WRITER || fail "the writer: $(cat bench.out)"
say "  $done exports"
[ $done -gt 0 ] || fail "none came to its end"

step "export: what is refused"
echo mine > copy
wrong 1 'cannot export to copy: it exists; --force replaces it' export one copy
[ "$(cat copy)" = mine ] || fail "it was touched"
mkdir two.d
ln -s copy link
ln -s nothing dangling
wrong 1 'it is a symbolic link' export one link --force
wrong 1 'a symbolic link that leads nowhere' export one dangling --force
wrong 1 'it is a directory; name a file in it' export one two.d
wrong 1 'directory missing/ cannot be opened: No such file' export one missing/copy
wrong 1 'cannot export to copy/: Not a directory' export one copy/
wrong 1 'cannot export to new/: it names no file' export one new/
wrong 1 'cannot write to /dev/full at byte 0: No space left' export one /dev/full
wrong 1 "there is no volume" export nothing new
wrong 2 . export one
expect_status 0 "$HLFS" export one /dev/null
# A file that is larger than the limit of the process.
expect_status 1 bash -c "ulimit -f 1024; exec '$HLFS' export one new"
expect_text err 'new.*File too large'
[ ! -e new ] || fail "a file that could not be written is there"
if [ "$(id -u)" = 0 ] && id nobody > /dev/null 2>&1; then
    mkdir closed
    chmod 711 "$SETUP_TMP"
    expect_status 0 "$HLFS" import odd open --mode 0644
    chmod 755 open
    expect_status 1 setpriv --reuid nobody --clear-groups "$HLFS" export open closed/copy
    expect_text err 'no file can be made in closed/: Permission denied'
fi
"$HLFS" export one - 2> err | head -c 4096 > /dev/null
status=${PIPESTATUS[0]}
[ "$status" = 1 ] || fail "status $status where the reader went"
expect_text err 'cannot write to the standard output: who reads it has gone'
no_temporary
expect_status 0 "$HLFS" export one copy --force
same other copy
rm copy link dangling

step "an export that is interrupted leaves nothing"
"$HLFS" export one copy 2> err &
WRITER=$!
setup_process $WRITER
until [ -n "$(find . -maxdepth 1 -name '.hlfs-export-*')" ]; do
    kill -0 $WRITER || fail "it was over at once"
done
kill -STOP $WRITER
kill -TERM $WRITER
kill -CONT $WRITER
status=0
wait $WRITER || status=$?
[ $status = 1 ] || fail "status $status"
expect_text err 'the export of one was interrupted'
[ ! -e copy ] || fail "there is a file"
no_temporary

step "an import that is killed, or interrupted, says what it is"
slow_import half --size 2G
wrong 1 'an import into .*half, begun at 20.*, seems to be under way' export half never
wrong 1 'half is held by another writer' import image half
setup_kill $WRITER KILL
unfinished half
expect_status 0 "$HLFS" ls .
expect_text out 'half .*\(unfinished import\)'
slow_import half
kill -TERM $WRITER
status=0
wait $WRITER || status=$?
[ $status = 1 ] || fail "status $status"
expect_text slow.err 'interrupted; half is an unfinished import: import it again'
unfinished half
step "the next import makes it whole"
expect_status 0 "$HLFS" import image half
json '.state == "whole"' info half
expect_status 0 "$HLFS" export half copy
same image copy
rm copy
step "what was whole is not, when another import was begun; rm takes it"
slow_import half
setup_kill $WRITER KILL
unfinished half
expect_status 0 "$HLFS" rm half --yes
[ ! -e half ] || fail "something is left"

step "a pipe that ends early, or goes on"
head -c 5M image | "$HLFS" import - half --size 8M 2> err && fail "5 of 8 MiB"
expect_text err 'ended after 5242880 bytes, and half has 8388608; half is an unfinished'
unfinished half
head -c 9M image | "$HLFS" import - half 2> err && fail "9 of 8 MiB"
expect_text err 'goes on, and half has only these 8388608 bytes; half is an unfinished'
unfinished half
head -c 8M image | "$HLFS" import - half || fail "the right size"
expect_status 0 "$HLFS" rm half --yes

step "progress is seen on a terminal, and gone in the end"
mkfifo paced.fifo
{ head -c 32M image; sleep 1; head -c 32M other; } > paced.fifo &
script -q -e -c "'$HLFS' import paced.fifo half --size 64M" typescript < /dev/null \
    > /dev/null || fail "$(cat typescript)"
expect_text typescript 'import: +[0-9]+%, .* of 64 MiB, .*/s'
tr '\r' '\n' < typescript | grep -a -v '^Script' | sed 's/\x1b\[K//g' | grep -v '^$' |
    tail -n 1 | grep -q '%' || fail "no progress: $(cat -v typescript)"
grep -a -q "$(printf '\r\033\\[K')" typescript || fail "it is not cleared"
expect_status 0 "$HLFS" rm half --yes

step "damage: a sentence and no file; --rescue exports the rest"
expect_status 0 "$HLFS" create bad 16M
expect_status 0 "$HLFS" bench bad --io write --pattern seq --size 64K --count 256
expect_status 0 "$HLFS" export bad good
while read -r segment; do
    size=$(stat -c %s "$segment")
    for i in 3 5; do
        printf damage | dd of="$segment" bs=1 seek=$((size * i / 10)) conv=notrunc status=none
    done
done < <(find bad/log -type f -size +2M)
expect_status 1 "$HLFS" export bad copy
expect_text err 'cannot export bad: what it has at byte [0-9]+ is damaged; --rescue exports'
[ ! -e copy ] || fail "there is a file"
no_temporary
expect_status 1 "$HLFS" export bad copy --rescue
lost=$(grep -c -E '^lost: [0-9]+ 4096$' err)
[ "$lost" -ge 2 ] || fail "too little is lost: $(cat err)"
expect_text err "^hlfs: $((lost * 4096)) bytes of bad in $lost ranges are lost; the export has"
while read -r _ offset len; do
    dd if=/dev/zero of=good bs=1 seek="$offset" count="$len" conv=notrunc status=none
done < <(grep '^lost:' err)
same good copy
rm copy

if [ "$(id -u)" != 0 ]; then
    skip "the rest needs root, for loop devices and file systems"
fi

step "a block device: not without --force, not one that is too small"
truncate -s 64M disk
expect_status 0 "$HLFS" create device 40M
expect_status 0 "$HLFS" bench device --io write --count 16 --size 1M --pattern rand
loop=$(losetup -f --show disk 2> err) || skip "needs a loop device: $(cat err)"
dd if=/dev/urandom of="$loop" bs=1M count=64 status=none
wrong 1 'is a block device: all that is on it would be lost; --force' export device "$loop"
wrong 1 'is too small: it has 67108864 bytes, the volume has 2147483648' \
    export one "$loop" --force
expect_status 0 "$HLFS" export device "$loop" --force
expect_status 0 "$HLFS" export device copy
cmp -n $((40 * MIB)) "$loop" copy || fail "the device differs"
step "and as an image"
expect_status 0 "$HLFS" import "$loop" two
expect_status 0 "$HLFS" export two copy.device
cmp "$loop" copy.device || fail "the copy of the device differs"
losetup -d "$loop"
loop=
rm copy copy.device disk

step "a store that is full"
mkdir full
mount -t tmpfs -o size=160M tmpfs full 2> err || skip "needs to mount a tmpfs: $(cat err)"
mounts+=(full)
truncate -s 256M large
data large 0 200
status=0
"$HLFS" import large full/disk > out 2> err || status=$?
[ $status = 1 ] || fail "status $status"
expect_text err 'cannot write to full/disk at byte [0-9]+: No space left on device; full/disk is'
unfinished full/disk
expect_status 0 "$HLFS" rm full/disk --yes
step "a volume that nearly fills it is overwritten all the same"
truncate -s 256M large.2
rm large
truncate -s 256M large
data large 0 90
data large.2 30 90
expect_status 0 "$HLFS" import large full/disk
expect_status 0 "$HLFS" import large.2 full/disk
expect_status 0 "$HLFS" export full/disk copy
same large.2 copy
