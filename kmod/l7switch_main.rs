// SPDX-License-Identifier: GPL-2.0 OR MIT
//! l7switch: content-aware layer-7 switching in the kernel.

use kernel::prelude::*;

mod bindings {
    #![allow(non_camel_case_types, non_upper_case_globals, non_snake_case, missing_docs, clippy::all, unsafe_op_in_unsafe_fn, dead_code, unreachable_pub)]
    include!(env!("L7SWITCH_BINDINGS"));
}

module! {
    type: L7switch,
    name: "l7switch",
    authors: ["The l7switch project"],
    description: "Content-aware layer-7 switching",
    license: "Dual MIT/GPL",
    params: {
        max_table_len: u32 {
            default: 134217728,
            description: "Longest rule table that is taken, bytes",
        },
    },
}

struct L7switch;

impl kernel::Module for L7switch {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let t = l7switch_engine::table::Table::verify(&b"abc"[..]);
        pr_info!("loaded {}\n", t.is_err());
        Ok(Self)
    }
}
