// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Memory in amounts that a client names.

use kernel::prelude::*;

use crate::shell::bindings;

/// So many bytes of zero, which count as memory of the caller. Where the caller's group may not have so much it gets none;
/// nobody is killed for it.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn zeroed(len: usize) -> Result<KVVec<u8>> {
    if len == 0 {
        return Ok(KVVec::new());
    }
    // SAFETY: any size is good.
    let bytes = unsafe { bindings::l7_zeroed_alloc(len) }.cast::<u8>();
    if bytes.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: `len` bytes that kvfree takes, by which the vector's allocator gives them back, all initialised, and owned by
    // nobody else; no allocation of the kernel has `isize::MAX`.
    Ok(unsafe { KVVec::from_raw_parts(bytes, len, len) })
}
