// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an attribute has to be: the kernel refuses all else before a command sees it.
//!
//! C header: include/net/netlink.h (`struct nla_policy`)

use crate::shell::bindings;

/// The values that a number may have.
#[repr(transparent)]
pub(crate) struct Range(bindings::netlink_range_validation);

impl Range {
    /// From `min` to `max`, both included.
    pub(crate) const fn new(min: u64, max: u64) -> Self {
        Self(bindings::netlink_range_validation { min, max })
    }
}

/// The policy of one attribute.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Policy(bindings::nla_policy);

// SAFETY: it holds numbers and pointers to statics.
unsafe impl Sync for Policy {}

/// A constant of the bindings as the type byte that a policy holds; all are small.
const fn small(number: kernel::ffi::c_uint) -> u8 {
    number.to_le_bytes()[0]
}

impl Policy {
    const fn new(kind: u8, validation: u8, len: u16) -> Self {
        Self(bindings::nla_policy {
            type_: kind,
            validation_type: validation,
            len,
            __bindgen_anon_1: bindings::nla_policy__bindgen_ty_1 {
                reject_message: core::ptr::null(),
            },
        })
    }

    /// Not allowed here.
    pub(crate) const NONE: Self = Self::new(small(bindings::NLA_UNSPEC), 0, 0);

    /// No content.
    pub(crate) const FLAG: Self = Self::new(small(bindings::NLA_FLAG), 0, 0);

    /// 16 bits.
    pub(crate) const U16: Self = Self::new(small(bindings::NLA_U16), 0, 0);

    /// 32 bits.
    pub(crate) const U32: Self = Self::new(small(bindings::NLA_U32), 0, 0);

    /// 32 bits, in a range.
    pub(crate) const fn u32_in(range: &'static Range) -> Self {
        let mut policy = Self::new(
            small(bindings::NLA_U32),
            small(bindings::nla_policy_validation_NLA_VALIDATE_RANGE_PTR),
            0,
        );
        policy.0.__bindgen_anon_1 = bindings::nla_policy__bindgen_ty_1 { range: &range.0 };
        policy
    }

    /// Text of at most so many bytes, its NUL not counted.
    pub(crate) const fn text(max: u16) -> Self {
        Self::new(small(bindings::NLA_NUL_STRING), 0, max)
    }

    /// At most so many bytes.
    pub(crate) const fn bytes(max: u16) -> Self {
        Self::new(small(bindings::NLA_BINARY), 0, max)
    }

    /// Exactly so many bytes.
    pub(crate) const fn exact_bytes(len: u16) -> Self {
        let mut policy = Self::new(
            small(bindings::NLA_BINARY),
            small(bindings::nla_policy_validation_NLA_VALIDATE_RANGE_WARN_TOO_LONG),
            0,
        );
        policy.0.validation_type = small(bindings::nla_policy_validation_NLA_VALIDATE_RANGE);
        // A length of 16 bytes and the like: far below the sign.
        let len = i16::from_le_bytes(len.to_le_bytes());
        policy.0.__bindgen_anon_1 = bindings::nla_policy__bindgen_ty_1 {
            __bindgen_anon_1: bindings::nla_policy__bindgen_ty_1__bindgen_ty_1 {
                min: len,
                max: len,
            },
        };
        policy
    }

    /// Attributes of another set.
    pub(crate) const fn nested(set: &'static [Self]) -> Self {
        // The set is indexed by number, so its last number is one less than its length, far below 2^16.
        let len = set.len().wrapping_sub(1).to_le_bytes();
        let mut policy = Self::new(
            small(bindings::NLA_NESTED),
            0,
            u16::from_le_bytes([len[0], len[1]]),
        );
        policy.0.__bindgen_anon_1 = bindings::nla_policy__bindgen_ty_1 {
            nested_policy: set.as_ptr().cast(),
        };
        policy
    }
}

/// A set as the kernel wants it, indexed by number, for use in a constant: `N` is its last number and one.
pub(crate) const fn table<const N: usize>(entries: &[(u16, Policy)]) -> [Policy; N] {
    let mut set = [Policy::NONE; N];
    let mut index = 0;
    while index < entries.len() {
        // In a constant: a number beyond the end does not compile.
        set[entries[index].0 as usize] = entries[index].1;
        index += 1;
    }
    set
}
