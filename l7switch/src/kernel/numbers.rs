// SPDX-License-Identifier: MIT
//! What the module has counted, for the metrics: asked for when they are scraped.

use l7switch_admin_api::KernelState;
use l7switch_netlink::Client;
use l7switch_netlink::Module;
use l7switch_netlink::Route;
use l7switch_netlink::Server;
use l7switch_netlink::Service;

/// What the module has counted.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// The module as a whole.
    pub module: Module,
    /// Its services.
    pub services: Vec<Service>,
    /// Their routes.
    pub routes: Vec<Route>,
    /// Its real servers.
    pub servers: Vec<Server>,
}

/// Asks the module; `None` where it does not answer, or is not the front's to ask.
pub async fn numbers(state: KernelState) -> Option<Numbers> {
    if state != KernelState::Loaded {
        return None;
    }
    let ask = || -> Result<Numbers, l7switch_netlink::Error> {
        let mut client = Client::open()?;
        Ok(Numbers {
            module: client.module()?,
            services: client.services()?,
            routes: client.routes()?,
            servers: client.servers()?,
        })
    };
    tokio::task::spawn_blocking(ask).await.ok()?.ok()
}
