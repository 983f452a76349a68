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

/// The middle one, or the upper one of two.
fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted = Vec::from_iter(numbers);
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 3.0);
        assert_eq!(median([1.0, 1e9, 2.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }
}
