#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
# Proves that the engine's object refers to no panic: what the kernel links must not contain one.
# Compiled as the kernel compiles it: optimised, overflow checks on, no unwinding.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${CARGO_TARGET_DIR:-target}/no-panic
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_DEBUG=0
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
cargo rustc --quiet -p l7switch-engine --release --lib --target-dir "$dir" -- \
    --emit=obj --cfg no_panic_probe
obj=$(ls -t "$dir"/release/deps/l7switch_engine-*.o | head -n 1)
[ -n "$(nm --defined-only "$obj")" ] || { echo "no-panic: $obj defines nothing, so it proves nothing"; exit 1; }
if nm -u "$obj" | grep -E 'panic|unwind|slice_.*fail|_fail'; then
    echo "no-panic: the engine refers to a panic (above)"
    exit 1
fi
echo "no-panic: $(nm --defined-only "$obj" | grep -c ' [Tt] ') functions, no reference to a panic"
