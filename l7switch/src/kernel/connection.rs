// SPDX-License-Identifier: MIT
//! One connection to the module, and what is known over it: the table, and how servers stand in the kernel.

use std::collections::HashMap;
use std::mem;
use std::net::SocketAddr;

use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Error;
use rustix::io::Errno;

use super::module::Module;

/// State and weight of a server in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) state: ServerState,
    pub(super) weight: u32,
}

/// What has become of the table, of one generation of the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Nothing was tried.
    Untried,
    /// It is in force, under this number of the kernel's.
    InForce(u64),
    /// The kernel refused it, or someone else had his way.
    Out,
}

/// A table that was sent and is not in force.
#[derive(Debug)]
pub(super) struct Staged {
    /// Where its bytes lie: a rule set that comes into force keeps them there.
    pub(super) bytes: (usize, usize),
    pub(super) transaction: u32,
}

/// One connection, and what is known over it.
#[derive(Debug)]
pub(super) struct Connection<M> {
    pub(super) module: M,
    pub(super) table: Table,
    pub(super) staged: Option<Staged>,
    /// By pool and address.
    pub(super) held: HashMap<String, HashMap<SocketAddr, Held>>,
}

impl<M: Module> Connection<M> {
    /// The kernel's number of the front's table, while that is in force.
    pub(super) const fn in_force(&self) -> Option<u64> {
        match self.table {
            Table::InForce(number) => Some(number),
            Table::Untried | Table::Out => None,
        }
    }

    /// Asks what the kernel holds of each server.
    pub(super) fn ask_held(&mut self) -> Result<(), Error> {
        self.held.clear();
        for server in self.module.servers()? {
            let now = Held {
                state: server.state,
                weight: server.weight,
            };
            self.hold(&server.pool, server.address, now);
        }
        Ok(())
    }

    pub(super) fn held_by(&self, pool: &str, address: SocketAddr) -> Option<Held> {
        self.held.get(pool)?.get(&address).copied()
    }

    /// Notes what the kernel holds now; gives what it held before.
    pub(super) fn hold(&mut self, pool: &str, address: SocketAddr, now: Held) -> Option<Held> {
        match self.held.get_mut(pool) {
            Some(servers) => servers.insert(address, now),
            None => {
                let servers = HashMap::from([(address, now)]);
                self.held.insert(pool.to_owned(), servers);
                None
            }
        }
    }

    /// Forgets a table that did not come into force.
    pub(super) fn discard(&mut self) {
        if let Some(staged) = mem::take(&mut self.staged) {
            // The kernel may have forgotten it already.
            let _ = self.module.abort(staged.transaction);
        }
    }
}

/// Where bytes lie.
pub(super) fn place(bytes: &[u8]) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

/// Whether a refusal may be none when the same is asked again: memory is short, or someone else is loading.
pub(super) fn is_passing(error: &Error) -> bool {
    let passing = [
        Errno::BUSY,
        Errno::AGAIN,
        Errno::INTR,
        Errno::NOMEM,
        Errno::NOBUFS,
    ];
    let errno = error.errno().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| passing.contains(&errno))
}
