#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
# What the scripts of this folder share: where things are cached, how to become root, how to run a
# command in the toolchain root. Sourced, not run.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/l7switch
# The suite whose compilers build the archive's 7.x kernels, and the suite that these come from.
SUITE=trixie
KERNEL_SUITE=$SUITE-backports
TOOLCHAIN_PACKAGES="rustc rust-src rust-clippy bindgen rustfmt gcc-14 make flex bison bc libelf-dev
libssl-dev pahole kmod xz-utils zstd python3 clang-19 llvm-19 cpio rsync ca-certificates"
mkdir -p "$CACHE"

say() { echo "l7switch: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# Runs a command as root: itself, or with sudo where that asks for no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        die "needs root for: $* (run it as root, or allow sudo without a password)"
    fi
}

# Whether this machine is itself a Debian of the right suite with these packages.
host_has() {
    grep -q "VERSION_CODENAME=$SUITE" /etc/os-release 2>/dev/null || return 1
    dpkg-query -W -f '${Status}\n' "$@" 2>/dev/null | grep -vq 'install ok installed' && return 1
    dpkg-query -W "$@" >/dev/null 2>&1
}

# debian_root NAME PACKAGE...: prints the root of a Debian of the suite with these packages: "/" where this machine is one, else
# a folder of the cache, made once.
debian_root() {
    local name=$1 version root
    shift
    if host_has "$@"; then
        echo /
        return
    fi
    version=$(echo "$SUITE" "$@" | sha256sum | cut -c1-12)
    root=$CACHE/$name-$version
    if ! [ -e "$root/.complete" ]; then
        lock "$name"
    fi
    if ! [ -e "$root/.complete" ]; then
        command -v debootstrap >/dev/null || die "missing: debootstrap (apt-get install debootstrap)"
        command -v unshare >/dev/null || die "missing: unshare (apt-get install util-linux)"
        local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
        [ -e $keyring ] || die "missing: $keyring (apt-get install debian-archive-keyring)"
        say "making the $name root, once: $root"
        as_root rm -rf --one-file-system "$root" "$root.new"
        if ! as_root debootstrap --variant=minbase "$SUITE" "$root.new" "$(mirror)" >"$CACHE/$name.log" 2>&1; then
            tail -n 20 "$CACHE/$name.log" >&2
            die "debootstrap failed, see $CACHE/$name.log"
        fi
        local file
        for file in /etc/apt/apt.conf.d/*proxy*; do
            if [ -e "$file" ]; then as_root cp "$file" "$root.new/etc/apt/apt.conf.d/"; fi
        done
        # debootstrap itself does not put packages in the order of what they need.
        if ! TOOLCHAIN=$root.new in_toolchain apt-get -o APT::Sandbox::User=root install -y -qq \
            --no-install-recommends "$@" >>"$CACHE/$name.log" 2>&1; then
            tail -n 20 "$CACHE/$name.log" >&2
            die "the packages are not had, see $CACHE/$name.log"
        fi
        as_root rm -rf "$root.new/var/cache/apt/archives"/*.deb
        as_root mv "$root.new" "$root"
        as_root touch "$root/.complete"
    fi
    echo "$root"
}

# The machine's own mirror of Debian, from apt's configuration.
mirror() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
        head -n 1 | grep . || die "apt names no mirror of Debian: this needs a Debian machine"
}

# Runs a command with the toolchain: in the toolchain root, or here where the machine is one. The checkout and
# the cache are at the same paths inside.
in_toolchain() {
    if [ -z "${TOOLCHAIN:-}" ]; then
        TOOLCHAIN=$("$REPO/kmod/build/toolchain")
    fi
    if [ "$TOOLCHAIN" = / ]; then
        "$@"
        return
    fi
    # A mount namespace of its own: nothing is left mounted, whatever happens.
    as_root unshare --mount --propagation private bash -euc '
        root=$1 repo=$2 cache=$3 home=$4; shift 4
        mkdir -p "$root$repo" "$root$cache"
        mount --bind "$repo" "$root$repo"
        mount --bind "$cache" "$root$cache"
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive KBUILD_VERBOSE="${KBUILD_VERBOSE:-0}" sh -c "cd \"\$0\" && exec \"\$@\"" "$home" "$@"
    ' - "$TOOLCHAIN" "$REPO" "$CACHE" "$PWD" "$@"
}

# Runs a command of apt that knows nothing but the suite with the kernels: its lists are the cache's own, so that the
# machine's sources stay as they are.
kernel_apt() {
    mkdir -p "$CACHE/apt/lists/partial" "$CACHE/apt/archives/partial"
    echo "deb $(mirror) $KERNEL_SUITE main" >"$CACHE/apt/sources.list"
    cat >"$CACHE/apt/apt.conf" <<END
Dir::Etc::SourceList "$CACHE/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$CACHE/apt/lists";
Dir::Cache "$CACHE/apt";
APT::Sandbox::User "root";
END
    in_toolchain env "APT_CONFIG=$CACHE/apt/apt.conf" "$@"
}

# Takes a lock for the rest of the script: two builds of one thing would step on each other.
lock() {
    exec 9>"$CACHE/$1.lock"
    flock 9
}
