#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The library says nothing on file descriptors 1 and 2, installs no signal handler,
# starts no process and ends none, whatever it meets.  Seen by strace of a small program,
# which does a little of everything, right and wrong.

. "$(dirname "$0")/../lib/test.sh"
requires strace gcc
library=$(find "$BUILD/src" -maxdepth 1 -name 'libhlfs.so*' -type f 2> /dev/null | head -n 1)
requires_build "$HLFS" "${library:-$BUILD/src/libhlfs.so}"

cat > "$SETUP_TMP/all.c" << 'END'
#include <hlfs.h>
#include <string.h>

static int name_seen(void *opaque, const char *name)
{
    (void)opaque;
    return name[0] ? 0 : -1;
}

static void finding_seen(void *opaque, int error, const char *text)
{
    (void)opaque;
    (void)error;
    (void)text;
}

static void line_seen(void *opaque, const char *line)
{
    (void)opaque;
    (void)line;
}

int main(int argc, char **argv)
{
    static char buf[1 << 20];
    struct hlfs_check_result result;
    struct hlfs_options *o = hlfs_options_new();
    struct hlfs *v, *second;
    int failed = 0;

    (void)argc;
    memset(buf, 'x', sizeof(buf));
    (void)hlfs_options_set(o, "nonsense", "1");
    (void)hlfs_open("/nowhere/at/all", NULL, 0, NULL, &v);
    (void)hlfs_open("http://x/y", NULL, 0, NULL, &v);
    failed |= hlfs_create(argv[1], 64 << 20, o) < 0;
    (void)hlfs_create(argv[1], 64 << 20, o);
    failed |= hlfs_open(argv[1], NULL, 0, o, &v) < 0;
    (void)hlfs_open(argv[1], NULL, 0, o, &second);
    for (int i = 0; i < 32; i++) {
        failed |= hlfs_pwrite(v, buf, sizeof(buf), (uint64_t)i << 20, i % 8 ? 0 : HLFS_FUA);
    }
    (void)hlfs_pwrite(v, buf, sizeof(buf), 64 << 20, 0);
    failed |= hlfs_flush(v);
    failed |= hlfs_pread(v, buf, sizeof(buf), 4096 + 1);
    failed |= hlfs_discard(v, 1 << 20, 0, 0);
    failed |= hlfs_close(v);
    failed |= hlfs_list(argv[2], o, name_seen, NULL) < 0;
    failed |= hlfs_check(argv[1], o, HLFS_CHECK_DATA, finding_seen, NULL, &result,
                         sizeof(result)) < 0;
    failed |= hlfs_dump(argv[1], o, line_seen, NULL) < 0;
    failed |= hlfs_remove(argv[1], o) < 0;
    hlfs_options_free(o);
    return failed ? 1 : 0;
}
END
step "a program that does a little of everything"
expect_status 0 gcc -Wall -Wextra -Werror -std=c11 -I "$ROOT/include" \
    -o "$SETUP_TMP/all" "$SETUP_TMP/all.c" "$library" \
    -Wl,-rpath,"${library%/*}"
ln -sf "$library" "$SETUP_TMP/libhlfs.so.0"
export LD_LIBRARY_PATH=$SETUP_TMP
expect_status 0 "$SETUP_TMP/all" "$SETUP_TMP/disk" "$SETUP_TMP"
[ ! -s "$SETUP_TMP/out" ] || fail "it wrote to stdout: $(cat "$SETUP_TMP/out")"
[ ! -s "$SETUP_TMP/err" ] || fail "it wrote to stderr: $(cat "$SETUP_TMP/err")"

step "its system calls"
expect_status 0 strace -f -o "$SETUP_TMP/calls" -e signal=none \
    -e trace=write,writev,pwrite64,rt_sigaction,fork,vfork,clone,clone3,execve,kill,tgkill,dup2,dup3 \
    "$SETUP_TMP/all" "$SETUP_TMP/disk" "$SETUP_TMP"
if grep -E ' (write|writev|pwrite64)\([12],' "$SETUP_TMP/calls"; then
    fail "something was written to descriptor 1 or 2"
fi
if grep -E ' (kill|tgkill|fork|vfork|dup2|dup3)\(' "$SETUP_TMP/calls"; then
    fail "the library calls what it must not"
fi
if grep -E ' clone3?\(' "$SETUP_TMP/calls" | grep -v CLONE_THREAD | grep -v resumed; then
    fail "the library forks"
fi
[ "$(grep -c ' execve(' "$SETUP_TMP/calls")" = 1 ] || fail "the library executes something"
# glibc itself handles RT_1 (and RTMIN in older ones) when a thread starts.
if grep ' rt_sigaction(' "$SETUP_TMP/calls" | grep -v -E 'SIGRT|SIG_32|NULL, \{|resumed' |
    grep -v -E 'sa_handler=SIG_DFL'; then
    fail "the library handles a signal"
fi
