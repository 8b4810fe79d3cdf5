# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# guest.sh - a small Linux guest: Debian's cloud kernel and an initramfs of busybox,
# mkfs.ext4 and e2fsck, booted by the stock QEMU with an NBD disk.
#
# Sourced after setup.sh.  What the guest does is tests/lib/guest-init; it speaks by
# lines on its console that begin with "hlfs-guest:".  Kernel and initramfs are kept
# in the cache under names that hold the versions they were made of.

GUEST_MODULES='virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
               virtio_blk'
GUEST_PROGRAMS='mkfs.ext4 e2fsck'

# Build what is missing in the cache; sets GUEST_KERNEL and GUEST_INITRD.
guest_build() {
    local package kernel key

    package=$(guest_kernel_package)
    kernel=$HLFS_CACHE/$package
    [ -e "$kernel/done" ] || guest_unpack_kernel "$package" "$kernel"
    GUEST_KERNEL=$(echo "$kernel"/boot/vmlinuz-*)

    key=$({
        cat "$ROOT/tests/lib/guest.sh" "$ROOT/tests/lib/guest-init"
        echo "$package"
        dpkg-query -W busybox-static e2fsprogs libc6
    } | sha256sum | cut -c 1-16)
    GUEST_INITRD=$HLFS_CACHE/guest-$key.cpio.gz
    [ -e "$GUEST_INITRD" ] || guest_pack_initrd "$kernel" "$GUEST_INITRD"
}

# NAME=VERSION of the newest cloud kernel; without package lists, one from the cache.
guest_kernel_package() {
    local name version

    name=$(apt-cache depends linux-image-cloud-amd64 2> /dev/null |
        sed -n 's/.*Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1)
    if [ -z "$name" ] && [ "$(id -u)" = 0 ]; then
        setup_apt update >&2
        name=$(apt-cache depends linux-image-cloud-amd64 2> /dev/null |
            sed -n 's/.*Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1)
    fi
    version=$(apt-cache show "$name" 2> /dev/null | sed -n 's/^Version: //p' | head -n 1)
    if [ -n "$name" ] && [ -n "$version" ]; then
        echo "$name=$version"
        return
    fi
    name=$(find "$HLFS_CACHE" -maxdepth 2 -path '*/linux-image-*/done' 2> /dev/null |
        sort | tail -n 1)
    [ -n "$name" ] || die "no package list names linux-image-cloud-amd64: apt-get update"
    basename "${name%/done}"
}

guest_unpack_kernel() {
    local package=$1 to=$2 work

    say "Downloading the guest's kernel, $package"
    mkdir -p "$HLFS_CACHE"
    work=$(mktemp -d "$HLFS_CACHE/unpack.XXXXXX")
    if ! (cd "$work" && apt-get -qq download "$package" > log 2>&1); then
        cat "$work/log" >&2
        rm -rf "$work"
        die "cannot download $package"
    fi
    dpkg-deb -x "$work"/*.deb "$work/root"
    touch "$work/root/done"
    rm -rf "$to"
    mv -T "$work/root" "$to" 2> /dev/null || [ -e "$to/done" ]
    rm -rf "$work"
}

guest_pack_initrd() {
    local kernel=$1 to=$2 work module file program library n=10

    work=$(mktemp -d "$HLFS_CACHE/initrd.XXXXXX")
    mkdir -p "$work"/{bin,dev,mnt,modules,proc,sys,tmp}
    cp /bin/busybox "$work/bin/"
    cp "$ROOT/tests/lib/guest-init" "$work/init"
    chmod 755 "$work/init"
    for module in $GUEST_MODULES; do    # in the order of loading; absent: built in
        file=$(find "$kernel/lib/modules" "$kernel/usr/lib/modules" \
            -name "$module.ko*" 2> /dev/null | head -n 1)
        case $file in
        *.ko) cp "$file" "$work/modules/$n-$module.ko" ;;
        *.ko.xz) xz -dc "$file" > "$work/modules/$n-$module.ko" ;;
        esac
        n=$((n + 1))
    done
    for program in $GUEST_PROGRAMS; do
        program=$(PATH=$PATH:/usr/sbin:/sbin command -v "$program")
        cp -L "$program" "$work/bin/"
        for library in $(ldd "$program" | grep -o '/[^ ]*'); do
            mkdir -p "$work/${library%/*}"
            cp -L "$library" "$work/$library"
        done
    done
    (cd "$work" && find . | busybox cpio -o -H newc 2> /dev/null) | gzip -1 > "$to.$$"
    mv "$to.$$" "$to"
    rm -rf "$work"
}

# QEMU's arguments for this guest in PHASE, its console going to file CONSOLE.  (Without
# no_timer_check an emulated guest panics at boot where the host is busy for long.)
guest_arguments() {
    local phase=$1 console=$2

    printf '%s\n' -m 256 -nodefaults -no-reboot -display none -monitor none \
        -serial "file:$console" -kernel "$GUEST_KERNEL" -initrd "$GUEST_INITRD" \
        -append "console=ttyS0 quiet loglevel=1 panic=-1 no_timer_check hlfs.phase=$phase"
}

# The -drive and -device that make the export at SOCKET the guest's /dev/vda.  A flush
# of the guest reaches the server: cache=none is a write-back cache without host's.
guest_disk() {
    printf '%s\n' -drive \
        "file=nbd+unix:///?socket=$1,format=raw,if=none,id=disk,cache=none,discard=unmap" \
        -device virtio-blk-pci,drive=disk
}

# Sets GUEST_ACCEL to kvm if this guest boots with it within some seconds (a /dev/kvm
# that opens may still run nothing), else to tcg.
guest_choose_accel() {
    local console args

    GUEST_ACCEL=tcg
    [ -w /dev/kvm ] || return 0
    console=$(mktemp)
    mapfile -t args < <(guest_arguments 0 "$console")
    # In a subshell of its own: bash reports how QEMU died where it waits for it.
    (timeout -s KILL 6 qemu-system-x86_64 -accel kvm -cpu max "${args[@]}" || true) \
        > /dev/null 2>&1 < /dev/null
    if grep -q 'hlfs-guest: READY' "$console"; then
        GUEST_ACCEL=kvm
    fi
    rm -f "$console"
}

# guest_start PHASE SOCKET CONSOLE - boot; sets GUEST_PID.
guest_start() {
    local args disk

    mapfile -t args < <(guest_arguments "$1" "$3")
    mapfile -t disk < <(guest_disk "$2")
    : > "$3"
    qemu-system-x86_64 -accel "$GUEST_ACCEL" -cpu max "${args[@]}" "${disk[@]}" \
        > "$3.qemu" 2>&1 < /dev/null &
    GUEST_PID=$!
    setup_process "$GUEST_PID"
}

# guest_wait CONSOLE SECONDS PATTERN - until the guest has said it, or ended.
guest_wait() {
    local console=$1 end=$(($(date +%s) + $2)) pattern=$3

    until guest_lines "$console" | grep -q -- "$pattern"; do
        if guest_lines "$console" | grep '^FAILED'; then
            return 1
        fi
        if ! kill -0 "$GUEST_PID" 2> /dev/null &&
            ! guest_lines "$console" | grep -q -- "$pattern"; then
            say "the guest ended without saying $pattern"
            cat "$console.qemu"
            return 1
        fi
        if [ "$(date +%s)" -ge "$end" ]; then
            say "the guest did not say $pattern within $2 s"
            tail -n 5 "$console"
            return 1
        fi
        sleep 0.2
    done
}

# What the guest said, whole lines only.
guest_lines() {
    sed -n 's/\r*$//; s/^.*hlfs-guest: \(.*\) \.$/\1/p' "$1"
}

# guest_compare CONSOLE1 CONSOLE2 - every file that phase 1 said is synced was found
# whole by phase 2.  Prints how many; returns 1 and names the others if not.
guest_compare() {
    local lost synced

    synced=$(guest_lines "$1" | sed -n 's/^SYNCED //p' | sort)
    lost=$(comm -23 <(echo "$synced") <(guest_lines "$2" | sed -n 's/^FILE //p' | sort))
    if [ -n "$lost" ]; then
        say "lost or wrong:"
        echo "$lost"
        return 1
    fi
    echo "$synced" | wc -l
}
