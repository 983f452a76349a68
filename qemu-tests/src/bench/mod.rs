// SPDX-License-Identifier: MIT
//! What switching costs, the module beside others, in a guest that counts instructions.
//!
//! The machine retires one instruction per virtual nanosecond, so that a rate is a count of instructions, of client,
//! switch and server together. What a contender adds is the difference to plain forwarding.
//!
//! On the host: what is to be measured, and what is made of it. In the guest, one boot for each measurement:
//! [`guest`].

pub mod case;
pub mod commands;
mod configuration;
pub mod contender;
mod fill;
pub mod gate;
pub mod guest;
pub mod host;
pub mod locks;
pub mod measure;
pub mod memory;
pub mod plot;
pub mod profile;
mod programs;
pub mod record;
pub mod report;
pub mod rig;
