#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
# Prepares a configured tree for external Rust modules: prepare-kernel.sh SOURCE BUILD LOCALVERSION MAKE-FLAGS.
# Runs inside the toolchain. Afterwards BUILD/rust holds the metadata of the kernel crate.
set -eu
source=$1 build=$2 localversion=$3 flags=$4
rust_lib_src=$(rustc --print sysroot)/lib/rustlib/src/rust/library
[ -d "$rust_lib_src" ] || { echo "missing: Rust's own source (rust-src) at $rust_lib_src"; exit 1; }
export RUST_LIB_SRC="$rust_lib_src"
kmake() {
    # shellcheck disable=SC2086
    make -s -C "$source" O="$build" $flags LOCALVERSION="$localversion" "$@"
}
kmake olddefconfig </dev/null
grep -q '^CONFIG_RUST=y' "$build/.config" || {
    echo "CONFIG_RUST is off after olddefconfig; the kernel's own check says:"
    kmake rustavailable || true
    exit 1
}
kmake -j"$(nproc)" prepare modules_prepare
[ -e "$build/rust/libkernel.rmeta" ] || { echo "no Rust metadata came of it"; exit 1; }
