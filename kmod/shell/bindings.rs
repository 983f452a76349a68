// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bindings that Kbuild has bindgen make from `bindings.h`, for the kernel that the module is built for.
//!
//! The kernel crate's own bindings are used by its abstractions only; types of the same name here describe the same C
//! types.
#![allow(
    clippy::all,
    clippy::as_ptr_cast_mut,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ptr_cast_constness,
    clippy::ref_as_ptr,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    reason = "generated"
)]

include!(env!("L7SWITCH_BINDINGS"));
