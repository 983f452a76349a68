// SPDX-License-Identifier: MIT
//! The listening sockets of a switch.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::PoisonError;

use tokio::net::TcpListener;

use super::SetError;
use super::Switch;
use crate::accept::listen::Listener;
use crate::accept::listen::Sharing;
use crate::accept::listen::bind;
use crate::handover::sockets::Sockets;
use crate::ruleset::generation::Generation;

impl Switch {
    /// The sockets that services have, and the addresses by which the rule file names them.
    pub fn sockets(&self) -> Vec<(SocketAddr, Arc<TcpListener>)> {
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners
            .iter()
            .map(|listener| (listener.configured(), Arc::clone(listener.socket())))
            .collect()
    }

    /// Whether others may listen on the same addresses.
    pub const fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Addresses that are bound, by service.
    pub fn bound(&self) -> BTreeMap<String, Vec<SocketAddr>> {
        let mut bound = BTreeMap::<String, Vec<SocketAddr>>::new();
        for listener in self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            bound
                .entry(listener.service().to_string())
                .or_default()
                .push(listener.bound());
        }
        bound
    }

    /// Gives the listeners the shape that the generation in force wants.
    pub(super) fn follow(
        &self,
        mut sockets: HashMap<SocketAddr, TcpListener>,
    ) -> Result<(), SetError> {
        let generation = self.generation();
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .follow(&generation.pools);
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *listeners);
        for service in &generation.rules.model.services {
            for &address in &service.listen {
                let known = before
                    .iter()
                    .position(|known| known.configured() == address);
                if let Some(known) = known {
                    let listener = before.swap_remove(known);
                    listener.assign(&service.name);
                    listeners.push(listener);
                } else if let Some(socket) = sockets.remove(&address) {
                    let listener = Listener::start(&self.core, socket, address, &service.name)
                        .map_err(|error| SetError::Bind {
                            service: service.name.clone(),
                            address,
                            error,
                        })?;
                    listeners.push(listener);
                }
            }
        }
        // Those that are left stop as they are dropped; their connections live on.
        drop(before);
        drop(listeners);
        if let Some(manager) = self.manager.get() {
            manager.store(&self.sockets());
        }
        Ok(())
    }
}

/// Opens the listening sockets that a generation needs beside those that there are; those that were given are used.
pub(super) fn open(
    generation: &Generation,
    have: &[SocketAddr],
    given: &mut Sockets,
    sharing: Sharing,
) -> Result<HashMap<SocketAddr, TcpListener>, SetError> {
    let mut sockets = HashMap::new();
    for service in &generation.rules.model.services {
        for &address in &service.listen {
            if have.contains(&address) {
                continue;
            }
            let socket = match given.take(address) {
                Ok(Some(socket)) => Ok(socket),
                Ok(None) => bind(address, sharing),
                Err(error) => Err(error),
            };
            let socket = socket.map_err(|error| SetError::Bind {
                service: service.name.clone(),
                address,
                error,
            })?;
            sockets.insert(address, socket);
        }
    }
    Ok(sockets)
}
