#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the sources must not have, and what must agree with each other: left-overs,
# unsafe calls, layers, names, build files, the symbol list, the stored structs and
# docs/format.md.  docs/seed.md names the remarks of 2013 that these hold on to.

. "$(dirname "$0")/../lib/test.sh"
requires gcc meson ninja
cd "$ROOT" || exit 1

# found SENTENCE - fail if stdin has anything, which is what was found.
found() {
    local lines

    lines=$(cat)
    [ -z "$lines" ] || {
        echo "$lines" | head -n 20
        fail "$1"
    }
}

# The files of the project, DIRECTORY... by NAME; not what a build or git keeps.
files() {
    local name=$1
    shift

    find "${@:-.}" \( -name .git -o -name 'build*' -type d \) -prune -o \
        -type f -name "$name" -print | sort
}

# code DIRECTORY... - each line of C there as "file:line: code", without comments.
code() {
    local file

    while read -r file; do
        gcc -fpreprocessed -dD -E -P "$file" 2> /dev/null | sed "s|^|$file: |"
    done < <(files '*.[ch]' "$@")
}

step "no left-overs"
# The words stand in this file and in docs/seed.md, which quotes a review.
files '*' | grep -v -e '/integration/lint.sh$' -e '/docs/seed.md$' |
    xargs grep -nIwE 'TODO|FIXME|XXX|HACK' | found "an unfinished thing"
files '*.[ch]' | xargs grep -nE '^ *#if 0|^ *// ' | found "code that is commented out"

step "each source says its licence; no tabs, no blanks at the end, no long line of C"
files '*.[ch]' | xargs grep -LE '^/\* SPDX-License-Identifier: LGPL-2.1-or-later \*/$' |
    found "a source without its licence"
{ files '*.[ch]'; files '*.sh'; files '*.py'; files meson.build; files '*.md'; } |
    xargs grep -nP '\t| $' | found "tabs or blanks"
files '*.[ch]' | xargs grep -nE '^.{101}' | found "a line over 100"

step "no call that truncates without an end, none that trusts a length"
code src include cli nbdkit examples tests |
    grep -wE 'strncpy|strncat|gets|alloca' | found "an unsafe call"
code src | grep -wE 'strcpy|strcat|sprintf|vsprintf|atoi|strtok' | found "an unsafe call"

step "the library prints nothing, ends nothing, starts nothing, handles no signal"
# The sim store is for tests and no part of the library.
code src | grep -v '^src/store/sim' |
    grep -E '\b(v?f?printf|puts|fputs|putchar|perror|abort|_?exit|v?fork|exec[lv]p?e?|system|popen|signal|sigaction|syslog)\(|\bstd(out|err)\b' |
    found "the library does what only a program may"
code src | grep -E '__attribute__ *\( *\( *(constructor|destructor)' |
    found "the library runs code before it is called"

step "free(NULL) is fine, so nobody asks first"
files '*.[ch]' | xargs grep -nzoP \
    'if \(([\w.>-]+)( != NULL)?\) *\{?\s*(free|hlfs_options_free|hlfs_queue_free) ?\(\1\);\s*\}?\n' |
    tr '\0' '\n' | found "a needless check"

step "layers: a file includes its own layer and those that it may use"
# layer: what it may include besides itself (docs/architecture.md)
while read -r layer uses; do
    grep -HoE '^#include "[^"]+"' src/"$layer"/*.[ch] | while IFS=: read -r file include; do
        include=${include#*\"}
        include=${include%%[/\"]*}
        case " $layer $uses config.h " in       # what meson makes is of no layer
        *" $include "*) ;;
        *) [[ $include = *.pb-c.h ]] || echo "$file: $include" ;;
        esac
    done
done << 'END' | found "a layer uses one that is not below it"
base
hdfs     base
store    base hdfs
log      base store
map      base log
cleaner  base log map
volume   base store log map cleaner options.h hlfs.h
control  base hlfs.h
END
grep -HnE '^#include "' src/*.[ch] |
    grep -vE '"(base|control|log|store|volume)/|"(hlfs|config|location|options)\.h"' |
    found "the public calls use what they should not"
grep -HoE '^#include "[^"]+"' cli/*.[ch] nbdkit/*.[ch] examples/*.c |
    while IFS=: read -r file include; do
        include=${include#*\"}
        include=${include%\"}
        [ "$include" = hlfs.h ] || [ "$include" = base/histogram.h ] || [ -e "${file%/*}/$include" ] || echo "$file: $include"
    done | found "a front end uses more than hlfs.h"

step "names in hlfs.h"
code include | grep -oE '\b(struct|enum|union) [a-zA-Z_]+' |
    grep -vE ' hlfs(_[a-z_]+)?$' | found "a type without the prefix"
grep -oE '^#define +[A-Za-z_0-9]+' include/hlfs.h | grep -vE ' HLFS_' |
    found "a macro without the prefix"

step "hlfs.h, libhlfs.map and options"
sed -n 's/^HLFS_PUBLIC[^(]*[ *]\(hlfs_[a-z_]*\)(.*/\1/p' include/hlfs.h | sort \
    > "$SETUP_TMP/declared"
sed -n 's/^    \(hlfs_[a-z_]*\);/\1/p' src/libhlfs.map | sort > "$SETUP_TMP/exported"
diff "$SETUP_TMP/declared" "$SETUP_TMP/exported" |
    found "the header and the map differ (< header, > map)"
sed -n 's/^    { "\([a-z-]*\)", read_.*/\1/p' src/options.c | while read -r option; do
    grep -qE "^ \*.* $option  " include/hlfs.h || echo "$option"
done | found "an option that hlfs.h does not explain"

step "build files name libraries, not places"
files meson.build | xargs grep -nE \
    "find_library|run_command|'-l|'-L|jvm|log4c|glib|message\(|warning\(|debug\(" |
    found "a build file probes by hand, or talks"

step "docs/format.md has the stored structs byte by byte"
requires "$PYTHON"
"$PYTHON" tests/lib/check-format-doc.py docs/format.md > "$SETUP_TMP/format.c" ||
    fail "see above"
expect_status 0 gcc -std=gnu11 -D_GNU_SOURCE -Isrc -Iinclude -Wno-unused-function \
    -fsyntax-only "$SETUP_TMP/format.c"

step "each part can be left out of a build"
expect_status 0 meson setup "$SETUP_TMP/least" "$ROOT" -Dcli=disabled -Dnbdkit=disabled \
    -Dtests=disabled
expect_status 0 ninja -C "$SETUP_TMP/least" -t targets all
grep -E '^(cli/|nbdkit/|tests/)' "$SETUP_TMP/out" | found "it is built all the same"
