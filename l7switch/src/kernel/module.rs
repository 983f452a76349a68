// SPDX-License-Identifier: MIT
//! The module as the front uses it: the seam at which tests put another one in its place.

use std::fmt::Debug;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use l7switch_netlink::Client;
use l7switch_netlink::Concern;
use l7switch_netlink::Error;
use l7switch_netlink::Event;
use l7switch_netlink::Events;
use l7switch_netlink::Server;
use l7switch_netlink::ServerChange;

/// Finds the module.
pub trait Connect: Debug + Send + 'static {
    /// What speaks with it.
    type Module: Module;

    /// Opens a connection to it; listening to events begins before anything is asked.
    ///
    /// # Errors
    ///
    /// See [`Client::open`].
    fn connect(&mut self) -> Result<Self::Module, Error>;
}

/// How the module stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The generation.
    pub generation: u64,
    /// Whether a table is in force.
    pub has_table: bool,
    /// What has to be set right on this host.
    pub concerns: Vec<Concern>,
}

/// A connection to one loading of the module. Every call may block for as long as the kernel works.
pub trait Module: Debug + Send + 'static {
    /// Netlink port of what this connection asks.
    fn port(&self) -> u32;
    /// How the module stands.
    ///
    /// # Errors
    ///
    /// See [`Client`]; so for all that follow.
    fn standing(&mut self) -> Result<Standing, Error>;
    /// Sends a table without putting it in force. Gives the transaction.
    ///
    /// # Errors
    ///
    /// It is refused.
    fn stage(&mut self, table: &[u8]) -> Result<u32, Error>;
    /// Puts a table that was sent in force. Gives the generation.
    ///
    /// # Errors
    ///
    /// It is refused, and forgotten.
    fn commit(&mut self, transaction: u32) -> Result<u64, Error>;
    /// Forgets a table that was sent.
    ///
    /// # Errors
    ///
    /// There is none.
    fn abort(&mut self, transaction: u32) -> Result<(), Error>;
    /// Takes the table in force away. Gives the generation.
    ///
    /// # Errors
    ///
    /// See [`Client`].
    fn unload(&mut self) -> Result<u64, Error>;
    /// The real servers.
    ///
    /// # Errors
    ///
    /// See [`Client`].
    fn servers(&mut self) -> Result<Vec<Server>, Error>;
    /// Changes one.
    ///
    /// # Errors
    ///
    /// There is no such server.
    fn set_server(&mut self, change: &ServerChange) -> Result<(), Error>;
    /// The next event, if one is there.
    ///
    /// # Errors
    ///
    /// An event that is not understood.
    fn event(&mut self) -> Result<Option<Event>, Error>;
    /// A descriptor that becomes readable with an event.
    fn readiness(&self) -> Option<OwnedFd>;
}

/// The module of this network namespace.
#[derive(Debug)]
pub struct Netlink;

/// A connection over two sockets.
#[derive(Debug)]
pub struct NetlinkModule {
    client: Client,
    events: Events,
}

impl Connect for Netlink {
    type Module = NetlinkModule;

    fn connect(&mut self) -> Result<NetlinkModule, Error> {
        let events = Events::open()?;
        let client = Client::open()?;
        Ok(NetlinkModule { client, events })
    }
}

impl Module for NetlinkModule {
    fn port(&self) -> u32 {
        self.client.port()
    }

    fn standing(&mut self) -> Result<Standing, Error> {
        let module = self.client.module()?;
        Ok(Standing {
            generation: module.generation,
            has_table: module.table_len.is_some(),
            concerns: module.concerns(),
        })
    }

    fn stage(&mut self, table: &[u8]) -> Result<u32, Error> {
        self.client.stage(table)
    }

    fn commit(&mut self, transaction: u32) -> Result<u64, Error> {
        self.client.commit(transaction)
    }

    fn abort(&mut self, transaction: u32) -> Result<(), Error> {
        self.client.abort(transaction)
    }

    fn unload(&mut self) -> Result<u64, Error> {
        self.client.unload()
    }

    fn servers(&mut self) -> Result<Vec<Server>, Error> {
        self.client.servers()
    }

    fn set_server(&mut self, change: &ServerChange) -> Result<(), Error> {
        self.client.set_server(change).map(drop)
    }

    fn event(&mut self) -> Result<Option<Event>, Error> {
        self.events.try_next()
    }

    fn readiness(&self) -> Option<OwnedFd> {
        self.events.as_fd().try_clone_to_owned().ok()
    }
}
