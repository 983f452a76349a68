// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What several CPUs share: under RCU, under locks that are not waited for, in a copy for each.

pub(crate) mod bottom_halves;
pub(crate) mod per_cpu;
pub(crate) mod rcu_box;
pub(crate) mod try_lock;
