#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is installed: each file at its place, a library that exports hlfs_ symbols with a
# version and no others, a header that compiles alone as C11 and C++17, a program that is
# built by pkg-config alone; and a release that builds from its own tarball.

. "$(dirname "$0")/../lib/test.sh"
requires meson gcc g++ nm readelf pkg-config git
requires_build "$HLFS" "$PLUGIN"

dest=$SETUP_TMP/dest
step "meson install"
expect_status 0 meson setup "$SETUP_TMP/build" "$ROOT" --prefix=/usr --libdir=lib
expect_status 0 ninja -C "$SETUP_TMP/build"
expect_status 0 env DESTDIR="$dest" meson install -C "$SETUP_TMP/build" --no-rebuild
plugindir=$(pkg-config --variable=plugindir nbdkit)
for file in usr/bin/hlfs usr/include/hlfs.h usr/lib/libhlfs.so usr/lib/libhlfs.so.0 \
    usr/lib/pkgconfig/hlfs.pc usr/lib/hlfs/libhlfs-hdfs.so "${plugindir#/}/nbdkit-hlfs-plugin.so" \
    usr/share/bash-completion/completions/hlfs usr/share/zsh/site-functions/_hlfs; do
    [ -e "$dest/$file" ] || fail "$file is missing: $(cd "$dest" && find . -type f)"
done
[ "$(find "$dest/usr/include" -type f | wc -l)" = 1 ] || fail "more than one header"

step "symbols: hlfs_ only, each with a version"
nm -D --defined-only --with-symbol-versions "$dest/usr/lib/libhlfs.so.0" |
    awk '$2 != "A" { print $3 }' > "$SETUP_TMP/symbols"
if grep -v -E '^hlfs_[a-z_]+@@?HLFS_[0-9.]+$' "$SETUP_TMP/symbols"; then
    fail "these are no versioned symbols of the API"
fi
sed -n 's/^HLFS_PUBLIC[^(]*[ *]\(hlfs_[a-z_]*\)(.*/\1/p' "$ROOT/include/hlfs.h" | sort \
    > "$SETUP_TMP/declared"
sed 's/@.*//' "$SETUP_TMP/symbols" | sort | diff "$SETUP_TMP/declared" - ||
    fail "the header and the library differ in what they have (< header, > library)"
readelf -d "$dest/usr/lib/libhlfs.so.0" | grep -q 'SONAME.*\[libhlfs\.so\.0\]' || fail "soname"
if readelf -d "$dest/usr/lib/libhlfs.so.0" "$dest/usr/bin/hlfs" \
    "$dest/$plugindir/nbdkit-hlfs-plugin.so" | grep -E 'RPATH|RUNPATH'; then
    fail "an installed file names a path of the build"
fi

step "the module for HDFS has one symbol, and its libraries are its own"
nm -D --defined-only "$dest/usr/lib/hlfs/libhlfs-hdfs.so" | awk '$2 != "A" { print $3 }' \
    > "$SETUP_TMP/symbols"
[ "$(cat "$SETUP_TMP/symbols")" = hlfs_hdfs_module ] ||
    fail "it exports $(paste -sd ' ' "$SETUP_TMP/symbols")"
if readelf -d "$dest/usr/lib/libhlfs.so.0" "$dest/usr/bin/hlfs" |
    grep -E 'NEEDED.*(protobuf|expat)'; then
    fail "a local volume would load them"
fi

step "hlfs.h alone, as C11 and as C++17"
echo '#include <hlfs.h>' > "$SETUP_TMP/alone.c"
warnings='-Wall -Wextra -pedantic -Werror -fsyntax-only'
# shellcheck disable=SC2086
expect_status 0 gcc -std=c11 $warnings -I "$dest/usr/include" "$SETUP_TMP/alone.c"
# shellcheck disable=SC2086
expect_status 0 g++ -std=c++17 $warnings -x c++ -I "$dest/usr/include" "$SETUP_TMP/alone.c"

step "the examples, by pkg-config alone"
export PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_LIBDIR=$dest/usr/lib/pkgconfig
export LD_LIBRARY_PATH=$dest/usr/lib
[ "$(pkg-config --modversion hlfs)" = "$(cat "$ROOT/VERSION")" ] || fail "pkg-config's version"
[ -z "$(pkg-config --print-requires hlfs)" ] || fail "hlfs.pc asks a user for other packages"
for source in "$ROOT"/examples/*.c; do
    [ -e "$source" ] || fail "there are no examples"
    # shellcheck disable=SC2046
    expect_status 0 gcc -std=c11 -Wall -Wextra -o "$SETUP_TMP/example" "$source" \
        $(pkg-config --cflags --libs hlfs)
    expect_status 0 ldd "$SETUP_TMP/example"
    expect_text "$SETUP_TMP/out" "libhlfs.so.0 => $dest"
done
unset PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR

step "the installed hlfs and plugin"
expect_status 0 "$dest/usr/bin/hlfs" create "$SETUP_TMP/disk" 16M
expect_status 0 nbdkit -U - "$dest/$plugindir/nbdkit-hlfs-plugin.so" "$SETUP_TMP/disk" \
    --run 'true'
unset LD_LIBRARY_PATH

step "a release builds from its tarball"
if git -C "$ROOT" rev-parse -q --verify HEAD > /dev/null 2>&1; then
    git -c safe.directory='*' clone -q "$ROOT" "$SETUP_TMP/clone"
    expect_status 0 meson setup "$SETUP_TMP/clone/build" "$SETUP_TMP/clone"
    expect_status 0 meson dist -C "$SETUP_TMP/clone/build" --no-tests --formats gztar
    expect_status 0 tar -tzf "$SETUP_TMP/clone/build/meson-dist/"*.tar.gz
    expect_text "$SETUP_TMP/out" '/include/hlfs.h$'
    tar -xzf "$SETUP_TMP/clone/build/meson-dist/"*.tar.gz -C "$SETUP_TMP"
    expect_status 0 meson setup "$SETUP_TMP/from-tarball" "$SETUP_TMP"/hlfs-*/
    expect_status 0 ninja -C "$SETUP_TMP/from-tarball"
else
    say "  (no commit yet)"
fi
