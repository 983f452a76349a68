// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A TCP of our own.

/// How a host of this kind is set.
#[derive(Clone, Debug)]
pub struct OwnConfig {
    /// Largest packet.
    pub mtu: usize,
}
