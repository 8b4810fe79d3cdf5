#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The manual and the completion say what there is: each command and option, each symbol of
# the library and each option of a volume has its page, no page tells of one that is not
# there, and the completion offers what hlfs takes.  Every line of an example that begins
# with "$ " is run as it stands there; what needs root, a guest or a cluster begins with "# ".

. "$(dirname "$0")/../lib/test.sh"
requires jq man meson mkfs.ext4 nbdinfo nbdkit pod2man podchecker qemu-img qemu-io
requires_build "$HLFS" "$PLUGIN" "$BUILD/man/hlfs.1" "$BUILD/man/hlfs-format.5"
man=$ROOT/man

# section NAME PAGE - what stands below =head1 NAME in the POD file PAGE.
section() {
    sed -n "/^=head1 $1\$/,/^=head1\|^=cut/ { /^=/!p; /^=item/p }" "$2"
}

# missing SENTENCE - fail if stdin names anything.
missing() {
    local lines

    lines=$(cat)
    [ -z "$lines" ] || fail "$1: $(paste -sd ' ' <<< "$lines")"
}

# The options of COMMAND as its help has them, -o too.
command_options() {
    "$HLFS" "$1" --help | sed -n 's/^  \(--\?[a-z-]*\) .*/\1/p'
}

# The options of a volume by name; LOC for those of open, also create's for create.
volume_options() {
    "$HLFS" "$1" --help | sed '1,/^  -o KEY=VALUE/d' | tr -s ' ' '\n' | sed '/^$/d'
}

mapfile -t commands < <("$HLFS" --help | sed -n 's/^  \([a-z]\+\) .*/\1/p')
[ ${#commands[@]} -gt 10 ] || fail "hlfs --help lists ${#commands[@]} commands"

step "no page has errors"
for page in "$man"/*.pod; do
    expect_status 0 podchecker "$page"
    expect_text "$SETUP_TMP/err" 'pod syntax OK'
done
for page in "$BUILD"/man/*.[1-9]; do
    expect_status 0 env LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l "$page"
    [ ! -s "$SETUP_TMP/err" ] || fail "${page##*/}: $(cat "$SETUP_TMP/err")"
    grep -q -E '^ +'"$(basename "${page%.*}")"'[, ].*' "$SETUP_TMP/out" ||
        fail "${page##*/} has no line with its name"
done

step "each command has a page, with its operands and all its options, and no others"
for command in "${commands[@]}"; do
    page=$man/hlfs-$command.pod
    [ -e "$page" ] || fail "hlfs-$command(1) is missing"
    [ -e "$BUILD/man/hlfs-$command.1" ] || fail "hlfs-$command(1) is not built"
    usage=$("$HLFS" "$command" --help | sed -n '1s/^usage: \(.*\) \[OPTION\].*/\1/p')
    grep -qF " $usage" <(section SYNOPSIS "$page") || fail "hlfs-$command(1) has no $usage"
    for part in NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
        [ -n "$(section "$part" "$page")" ] || fail "hlfs-$command(1) has no $part"
    done
    section OPTIONS "$page" | grep '^=item' | grep -oE 'B<--?[a-z-]+>' | sed 's/B<\(.*\)>/\1/' |
        sort > "$SETUP_TMP/documented"
    { command_options "$command"; echo --help; } | sort > "$SETUP_TMP/there"
    diff "$SETUP_TMP/there" "$SETUP_TMP/documented" > "$SETUP_TMP/diff" ||
        fail "hlfs-$command(1) and --help differ (< help, > page): $(cat "$SETUP_TMP/diff")"
    grep -q "^=item hlfs-$command(1)" "$man/hlfs.pod" || fail "hlfs(1) has no hlfs-$command(1)"
done
for page in "$man"/hlfs-*.pod; do
    command=${page##*/hlfs-}
    command=${command%.pod}
    [ "$command" = options ] || printf '%s\n' "${commands[@]}" | grep -qx "$command" ||
        fail "hlfs-$command(1) is of no command"
done

step "each option of open and create is explained, and named where it can be given"
volume_options create > "$SETUP_TMP/options"
[ "$(wc -l < "$SETUP_TMP/options")" -gt 10 ] || fail "create --help names few options"
while read -r option; do
    grep -q "^=item B<$option>" "$man/hlfs-options.pod" || echo "$option"
done < "$SETUP_TMP/options" | missing "not in hlfs-options(7)"
for page in hlfs hlfs_options; do
    while read -r option; do
        grep -q "C<$option>" "$man/$page.pod" || echo "$option"
    done < "$SETUP_TMP/options" | missing "not in $page"
done
sed -n 's/^=item B<\([a-z-]*\)>.*/\1/p' "$man/hlfs-options.pod" | sort |
    comm -13 <(sort "$SETUP_TMP/options") - | missing "hlfs-options(7) has options that hlfs lacks"

step "each symbol of the library has a page by its name, with it in the synopsis"
expect_status 0 env DESTDIR="$SETUP_TMP/dest" meson install -C "$BUILD" --no-rebuild
sed -n 's/^    \(hlfs_[a-z_]*\);/\1/p' "$ROOT/src/libhlfs.map" | while read -r symbol; do
    page=$(find "$SETUP_TMP/dest" -path "*/man3/$symbol.3")
    [ -n "$page" ] || { echo "$symbol"; continue; }
    page=$(basename "$(readlink -f "$page")" .3)
    section SYNOPSIS "$man/$page.pod" | grep -q "[ *]$symbol(" || echo "$symbol"
    section NAME "$man/$page.pod" | grep -qw "$symbol" || echo "$symbol"
done | missing "no page tells of"
sed -n '/^#define HLFS_H$/d; s/^#define \(HLFS_[A-Z_]*\) .*/\1/p' "$ROOT/include/hlfs.h" |
    grep -v '^HLFS_PUBLIC' | while read -r name; do
    grep -qw "$name" "$man"/*hlfs*.pod || echo "$name"
done | missing "no page tells of"

# plain - C without comments and in one line; each field of a struct as if alone.
plain() {
    tr -s ' \n' ' ' | sed 's|/\*[^/]*\*/||g; s/  */ /g; s/; uint64_t \([a-z0-9_]*[,;]\)/, \1/g'
}

step "prototypes and structs are the header's"
grep -v '^#define HLFS_PUBLIC' "$ROOT/include/hlfs.h" | plain |
    grep -oE 'HLFS_PUBLIC [^;]*;|struct hlfs_[a-z]+ \{[^}]*\};' |
    sed 's/HLFS_PUBLIC //' > "$SETUP_TMP/declared"
for page in "$man"/*hlfs*.pod; do
    sed -n '/^ /p' "$page"
done | plain > "$SETUP_TMP/verbatim"
[ "$(wc -l < "$SETUP_TMP/declared")" -gt 40 ] || fail "hlfs.h was not understood"
while IFS= read -r declaration; do
    grep -qF -- "$declaration" "$SETUP_TMP/verbatim" || echo "$declaration"
done < "$SETUP_TMP/declared" | missing "a page differs from hlfs.h, or has it not"

step "bash: commands, options, words and places are completed"
mkdir "$SETUP_TMP/bin"
ln -s "$HLFS" "$SETUP_TMP/bin/hlfs"
PATH=$SETUP_TMP/bin:$PATH
mkdir "$SETUP_TMP/places" && cd "$SETUP_TMP/places" || exit 1
mkdir empty 'with blank'
touch file
hlfs create disk 4M

# completed LINE - what the completion offers at the end of LINE, sorted, in one line.
completed() {
    bash -c '
        . "$1/completion/hlfs.bash"
        COMP_LINE=$2 COMP_POINT=${#2}
        _hlfs hlfs
        printf "%s\n" "${COMPREPLY[@]}" | sed "s/ *$//" | sort | paste -sd " "
    ' bash "$ROOT" "$1" 2> "$SETUP_TMP/err"
    [ ! -s "$SETUP_TMP/err" ] || { cat "$SETUP_TMP/err"; return 1; }
}

# completes LINE WORD... - it offers these and no others.
completes() {
    local got line=$1
    shift

    got=$(completed "$line")
    [ "$got" = "$*" ] || fail "\"$line\" is completed to \"$got\", not \"$*\""
}

completes 'hlfs ' "$(printf '%s\n' "${commands[@]}" | sort | paste -sd ' ')"
completes 'hlfs cr' create
completes 'hlfs --' --help --version
completes 'hlfs nonsense ' ''
for command in "${commands[@]}"; do
    completes "hlfs $command -" \
        "$({ command_options "$command"; echo --help; } | sort | paste -sd ' ')"
done
completes 'hlfs bench disk --io ' read rw write
completes 'hlfs bench disk --io=r' read rw
completes 'hlfs bench --pattern s' seq
completes 'hlfs create disk2 1G --block-size 1' 16K
completes 'hlfs info disk -o dur' durability=
completes 'hlfs info disk -o durability=h' hflush hsync
completes 'hlfs info -o block' ''
completes 'hlfs create -o block' block-size=
completes 'hlfs info ' disk empty/ 'with\ blank/'
completes 'hlfs mv disk e' empty/
completes 'hlfs create disk2 ' ''
completes 'hlfs serve disk --socket f' file
completes 'hlfs serve --socket file d' disk
completes 'hlfs serve --read-only d' disk

step "every word that is offered is one that hlfs takes"
volume_options create | while read -r option; do
    for value in $(completed "hlfs create x 4M -o $option="); do
        # On a local store "hflush" is known, and refused for what it is.
        hlfs create "word" 4M -o "$option=${value/%=/=1s}" 2> err ||
            grep -q 'its level is local' err || fail "-o $option=$value: $(cat err)"
        [ ! -e word ] || hlfs rm word --yes
    done
done
for value in $(completed 'hlfs bench disk --io '); do
    expect_status 0 hlfs bench disk --io "$value" --count 1
done
for value in $(completed 'hlfs bench disk --pattern '); do
    expect_status 0 hlfs bench disk --io read --pattern "$value" --count 1
done

step "zsh: the completion is valid"
if command -v zsh > /dev/null; then
    expect_status 0 zsh -n "$ROOT/completion/_hlfs"
else
    say "  (no zsh)"
fi

step "what the pages and recipes tell to type works"
# nbdkit finds an installed plugin by its name; this build's is not installed.
cat > "$SETUP_TMP/bin/nbdkit" << SCRIPT
#!/bin/bash
args=("\$@")
for ((i = 0; i < \$#; i++)); do
    [ "\${args[i]}" != hlfs ] || args[i]=$PLUGIN
done
exec $(command -v nbdkit) "\${args[@]}"
SCRIPT
chmod 755 "$SETUP_TMP/bin/nbdkit"

# The lines of PAGE to be run, with what follows a backslash; a server in the background is
# waited for, as who types does.
examples() {
    awk '/^ +\$ / { sub(/^ +\$ /, ""); on = 1 }
         on { print; if ($0 ~ /&$/) print "serving \"" $0 "\""; on = $0 ~ /\\$/ }' "$1"
}

run_examples() {
    local page=$1 name
    name=$(basename "$page")

    mkdir "$SETUP_TMP/try-$name"
    {
        cat << 'SCRIPT'
set -eE -o pipefail
trap 'echo "this failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2> /dev/null || :; wait' EXIT
serving() {
    local socket port

    socket=$(sed -n 's/.*--socket \([^ ]*\).*/\1/p' <<< "$1")
    port=$(sed -n 's/.*--port \([^ ]*\).*/\1/p' <<< "$1")
    for _ in {1..200}; do
        if [ -n "$port" ]; then
            ! nbdinfo --list "nbd://127.0.0.1:$port" || return 0
        else
            ! nbdinfo --size "nbd+unix:///?socket=$socket" || return 0
        fi > /dev/null 2>&1
        sleep 0.05
    done
    return 1
}
SCRIPT
        examples "$page"
    } > "$SETUP_TMP/try-$name.sh"
    (cd "$SETUP_TMP/try-$name" && expect_status 0 timeout 120 bash "$SETUP_TMP/try-$name.sh")
    rm -r "$SETUP_TMP/try-$name"
}

for page in "$man"/hlfs*.pod "$man/nbdkit-hlfs-plugin.pod" "$ROOT/docs/recipes.md"; do
    if [[ $page == *mount.pod ]] && ! [ -w /dev/fuse ]; then
        say "  (no /dev/fuse for ${page##*/})"
    elif grep -q '^ *\$ ' "$page"; then
        say "  ${page##*/}"
        run_examples "$page"
    elif [[ $page == */hlfs-*.pod && $page != */hlfs-set.pod ]]; then    # that one needs HDFS
        fail "${page##*/} has no example that is tried"
    fi
done
