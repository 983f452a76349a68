// SPDX-License-Identifier: MIT
//! Who is measured.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;
use serde::Serialize;

/// What stands between client and server.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// Plain forwarding: what the others are compared with.
    Direct,
    /// The kernel's balancer of layer 4, which looks at no content.
    IpvsNat,
    /// The module, clients' addresses kept.
    ModuleNat,
    /// The module, with addresses of the switch's towards servers.
    ModuleFullnat,
    /// The front in user space.
    Front,
    /// HAProxy of the guest's distribution.
    Haproxy,
    /// nginx of the guest's distribution.
    Nginx,
}

impl Contender {
    /// Whether it is the module that is measured.
    #[must_use]
    pub(crate) fn is_module(self) -> bool {
        matches!(self, Self::ModuleNat | Self::ModuleFullnat)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
