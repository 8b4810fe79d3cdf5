# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
#
# setup.sh - what ./run, ./test and the tests of tests/integration/ share: packages,
# builds, processes that end with the script, and a place for what was downloaded.
#
# Sourced by bash with -eu, after ROOT (the top of the checkout) was set.

HLFS_CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hlfs

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# ---- Packages ------------------------------------------------------------------

# Compiler and libraries: what a build needs.
PACKAGES_BUILD='gcc libc6-dev meson ninja-build pkg-config libisal-dev liburing-dev
                libjson-c-dev libcmocka-dev nbdkit nbdkit-plugin-dev
                libprotobuf-c-dev protobuf-c-compiler libexpat1-dev libfuse3-dev'
# A guest, its disk, and tools to look at it.
PACKAGES_GUEST='qemu-system-x86 busybox-static e2fsprogs libnbd-bin gzip xz-utils'
# What the tests use besides.
PACKAGES_TEST='g++ clang libclang-rt-14-dev binutils git jq fio strace python3
               python3-libnbd qemu-utils util-linux procps libc-bin
               fuse3 mount xfsprogs diffutils perl lowdown man-db'

# Hadoop's daemons, which Maven fetches (tests/hdfs/cluster).
PACKAGES_HDFS='openjdk-17-jre-headless maven'

# Install those of the named packages that are missing.
setup_packages() {
    local package missing=()

    command -v dpkg-query > /dev/null ||
        die "this script sets up Debian; install by hand what it names: $*"
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] ||
        die "these packages are missing, install them as root: ${missing[*]}"
    say "Installing ${missing[*]}"
    setup_apt update
    setup_apt install -y --no-install-recommends "${missing[@]}"
}

# apt-get, with its output shown only when it fails.
setup_apt() {
    local log

    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -q "$@" > "$log" 2>&1 < /dev/null; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "apt-get $1 failed"
    fi
    rm -f "$log"
}

# ---- Builds --------------------------------------------------------------------

# setup_build DIR [OPTION...] - configure DIR by meson if need be and build in it; with
# the output shown only when something fails.
setup_build() {
    local dir=$1 log
    shift

    mkdir -p "$dir"
    log=$dir/setup-log.txt
    if [ ! -e "$dir/build.ninja" ]; then
        meson setup "$@" "$dir" "$ROOT" > "$log" 2>&1 || {
            tail -n 40 "$log" >&2
            return 1
        }
    fi
    ninja -C "$dir" > "$log" 2>&1 || {
        grep -E -A 20 'FAILED|error' "$log" | head -n 60 >&2 || tail -n 40 "$log" >&2
        return 1
    }
}

# ---- Processes and files that end with the script --------------------------------

SETUP_PIDS=()
SETUP_TMP=

# Remember process PID: it is killed when the script ends.
setup_process() {
    SETUP_PIDS+=("$1")
}

# Kill PID by SIGNAL (default KILL) and wait until it is gone.
setup_kill() {
    local pid=$1 signal=${2:-KILL}

    kill -s "$signal" "$pid" || true
    while kill -0 "$pid" && ! setup_is_zombie "$pid"; do
        sleep 0.02
    done
    wait "$pid" || true
} 2> /dev/null              # no word from bash about a job that was killed

setup_is_zombie() {
    local state

    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat") || return 0
    [ "$state" = Z ]
}

# setup_tmp - make the script's temporary directory, SETUP_TMP.
setup_tmp() {
    SETUP_TMP=$(mktemp -d "${TMPDIR:-/tmp}/hlfs-${0##*/}.XXXXXX")
}

setup_cleanup() {
    local pid

    exec 2> /dev/null       # no word from bash about jobs that were killed
    for pid in ${SETUP_PIDS[@]+"${SETUP_PIDS[@]}"}; do
        kill -KILL "$pid" || true
    done
    for pid in ${SETUP_PIDS[@]+"${SETUP_PIDS[@]}"}; do
        wait "$pid" || true
    done
    [ -z "$SETUP_TMP" ] || rm -rf "$SETUP_TMP"
}

setup_trap() {
    trap setup_cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# wait_until SECONDS COMMAND... - try COMMAND until it succeeds; 1 if it never did.
wait_until() {
    local end=$(($(date +%s%3N) + $1 * 1000))
    shift

    until "$@" > /dev/null 2>&1; do
        [ "$(date +%s%3N)" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# Milliseconds of a clock; for measuring.
now_ms() {
    date +%s%3N
}
