// SPDX-License-Identifier: MIT
//! The rules in force, and the generations of them.

pub mod build;
pub mod counted;
pub mod filters;
pub mod generation;
pub mod pages;
pub mod routing;
pub mod sticky;
pub mod times;
pub mod told;
pub mod users;
