#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What create makes and keeps, what rm and --force take away, and what must not be lost
# when either fails; and who looks at a volume while somebody writes to it.

. "$(dirname "$0")/../lib/test.sh"
requires nbdkit
requires_build "$HLFS" "$PLUGIN"

cd "$SETUP_TMP" || exit 1
umask 022

write() {
    expect_status 0 "$HLFS" bench "$1" --io write --count "${2:-2000}" --size 16K --seed 1
}

step "a volume keeps the mode that it was created with, whoever writes"
expect_status 0 "$HLFS" create open 64M --segment-size 4M --mode 0664
expect_status 0 "$HLFS" create closed 64M --segment-size 4M
# Later writers knew nothing of --mode: what they made was theirs alone, and who might
# read the rest could not read that.
write open
write closed
[ "$(find open/log open/volume -type f | wc -l)" -ge 6 ] || fail "too few files"
find open ! -type d ! -name 'lock-*' ! -perm 644 -o -type d ! -perm 755 > odd
[ ! -s odd ] || fail "other modes: $(xargs -d '\n' ls -ld < odd)"
find closed ! -type d ! -perm 600 -o -type d ! -perm 700 > odd
[ ! -s odd ] || fail "other modes: $(xargs -d '\n' ls -ld < odd)"
(umask 077 && "$HLFS" create masked 64M --mode 0666)
[ "$(stat -c %a masked masked/volume | xargs)" = '700 600' ] || fail "the umask is not used"

step "create --force that fails on its arguments leaves what was there"
expect_status 1 "$HLFS" create open 32M --force -o durability=hsync
expect_text "$SETUP_TMP/err" 'durability=hsync'
expect_status 0 "$HLFS" bench open --io read --count 2000 --size 16K --seed 1
expect_text "$SETUP_TMP/out" 'verified'
expect_status 0 "$HLFS" create open 32M --force
expect_status 0 "$HLFS" check open --data

step "rm takes no directory that is no volume, with force neither"
mkdir empty foreign
echo 'not yours' > foreign/file
for dir in empty foreign; do
    expect_status 1 "$HLFS" rm $dir --yes -o force=yes
    [ -d $dir ] || fail "$dir is gone"
done
expect_text foreign/file 'not yours'
echo rubbish > closed/volume
expect_status 1 "$HLFS" rm closed --yes
expect_status 0 "$HLFS" rm closed --yes -o force=yes
[ ! -e closed ] || fail "what was a volume is still there"

step "who looks at a volume that is being written begins again where segments go"
# One in some ten looks found segments gone, or called a healthy volume damaged.  Once it is
# open, a read may find that what it shows is gone by now: ESTALE, and nothing else.
expect_status 0 "$HLFS" create busy 8M --segment-size 4M
"$HLFS" bench busy --io write --pattern rand --size 1M --time 6 > busy.out 2>&1 &
writer=$!
setup_process $writer
looks=0
late=0
while kill -0 $writer 2> /dev/null; do
    if ! "$HLFS" bench busy --io read --count 1 > out 2> err; then
        grep -q 'a request to busy at byte [0-9]* failed: Stale file handle' err ||
            fail "$(cat err)"
        late=$((late + 1))
    fi
    looks=$((looks + 1))
done
wait $writer || fail "the writer: $(cat busy.out)"
say "  $looks looks, $late reads that came too late"
[ $looks -ge 10 ] || fail "too few looks"

step "nbdkit fails before it forks: wrong options, no permission to write"
for arguments in 'durability=hsync' 'min-replicas=none'; do
    expect_status 1 nbdkit -U nbd.sock "$PLUGIN" open $arguments
    [ ! -e nbd.sock ] || rm nbd.sock
done
if [ "$(id -u)" = 0 ] && id nobody > /dev/null 2>&1; then
    chmod 711 "$SETUP_TMP"
    expect_status 1 setpriv --reuid nobody --clear-groups nbdkit -U "$SETUP_TMP/nbd.sock" \
        "$PLUGIN" "$SETUP_TMP/open"
    expect_text "$SETUP_TMP/err" 'Permission denied'
fi
