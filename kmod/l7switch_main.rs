// SPDX-License-Identifier: GPL-2.0 OR MIT
//! l7switch: content-aware layer-7 switching in the kernel.
//!
//! The shell (`shell/`) makes what the module needs of the kernel safe; leaf code joins it to the engine, the
//! crate that decides: commands (`control/`), a namespace (`namespace.rs`), the way of packets (`datapath/`), rules, servers
//! and counters (`state/`). Each names those behind it only.

use kernel::prelude::*;
use kernel::sync::Arc;

use namespace::Switch;
use shell::genl;
use shell::net::pernet;
use shell::net::port_watch;

mod control;
mod datapath;
mod namespace;
mod shell;
mod state;

/// The module's version, which Kbuild reads from the workspace's Cargo.toml.
const VERSION: &str = env!("L7SWITCH_VERSION");

module! {
    type: L7switch,
    name: "l7switch",
    authors: ["The l7switch project"],
    description: "Content-aware layer-7 switching",
    license: "Dual MIT/GPL",
    params: {
        max_table_len: u32 {
            default: 134217728,
            description: "Longest rule table that is taken, bytes (128 MiB)",
        },
        max_flows: u32 {
            default: 65536,
            description: "Most connections that are followed in a network namespace",
        },
    },
}

/// The parameter `max_table_len`, bytes.
fn max_table_len() -> u32 {
    module_parameters::max_table_len.value()
}

/// The parameter `max_flows`; a million at most.
fn max_flows() -> u32 {
    module_parameters::max_flows.value().clamp(1, 1 << 20)
}

/// What is registered as long as the module is loaded.
struct L7switch {
    _family: genl::Registration<Switch>,
    _ports: port_watch::Registration<Switch>,
}

impl kernel::Module for L7switch {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let namespaces = Arc::new(pernet::Registration::new()?, GFP_KERNEL)?;
        let ports = port_watch::Registration::new(namespaces.clone())?;
        let family = genl::Registration::new(
            &state::events::FAMILY,
            &control::OPERATIONS,
            module,
            namespaces,
        )?;
        pr_info!(
            "version {VERSION}, table layout {}\n",
            l7switch_engine::table::format::VERSION
        );
        Ok(Self {
            _family: family,
            _ports: ports,
        })
    }
}
