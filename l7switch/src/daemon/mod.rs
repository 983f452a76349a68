// SPDX-License-Identifier: MIT
//! What the process has besides the switch.

pub(crate) mod listeners;
pub(crate) mod log;
pub(crate) mod signals;
