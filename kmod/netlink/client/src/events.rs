// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the module tells its listeners.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::RawFd;
use std::time::Duration;
use std::time::Instant;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::ServerState;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::error::Error;
use crate::error::Malformed;
use crate::family;
use crate::link::messages;
use crate::sets;
use crate::socket::GenericSocket;
use crate::socket::Transport;
use crate::types::server_address;

/// Something that has happened. `by` is the netlink port of whoever caused it, 0 where nobody did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A table was put in force.
    TableReplaced {
        /// The generation.
        generation: u64,
        /// Length of the table, bytes.
        len: u32,
        /// By whom.
        by: u32,
    },
    /// The table was taken away.
    TableUnloaded {
        /// The generation.
        generation: u64,
        /// By whom.
        by: u32,
    },
    /// Weight or state of a real server were set.
    ServerChanged {
        /// Its pool.
        pool: String,
        /// Its address.
        address: SocketAddr,
        /// Weight in force.
        weight: u32,
        /// State in force.
        state: ServerState,
        /// By whom.
        by: u32,
    },
    /// A real server refused or did not answer so often that it is left out for a while, or is put back.
    ServerFailing {
        /// Its pool.
        pool: String,
        /// Its address.
        address: SocketAddr,
        /// Whether it is left out.
        failing: bool,
    },
    /// There is no room for further connections. Told again only after an eighth of them has gone.
    FlowsFull {
        /// Connections there are.
        flows: u32,
        /// Most that there may be.
        max_flows: u32,
    },
    /// The counters were reset.
    CountersCleared {
        /// By whom.
        by: u32,
    },
    /// More came than could wait for this listener: some events are lost, and what they would have told has to be
    /// asked for.
    Lost,
}

impl Event {
    /// Reads one; `None` for one that this version does not know.
    pub(crate) fn read(command: u8, attributes: &[u8]) -> Result<Option<Self>, Malformed> {
        let table = Attributes::<sets::Table>::new(attributes);
        let server = Attributes::<sets::Server>::new(attributes);
        let by = || Ok::<_, Malformed>(table.get(sets::Table::BY)?.unwrap_or(0));
        Ok(Some(match Command::from_number(command) {
            Some(Command::TableReplaced) => Self::TableReplaced {
                generation: table.need(sets::Table::GENERATION)?,
                len: table.need(sets::Table::LEN)?,
                by: by()?,
            },
            Some(Command::TableUnloaded) => Self::TableUnloaded {
                generation: table.need(sets::Table::GENERATION)?,
                by: by()?,
            },
            Some(Command::CountersCleared) => Self::CountersCleared { by: by()? },
            Some(Command::ServerChanged) => Self::ServerChanged {
                pool: server.need(sets::Server::POOL)?.into_owned(),
                address: server_address(server)?,
                weight: server.need(sets::Server::WEIGHT)?,
                state: server.need(sets::Server::STATE)?,
                by: server.get(sets::Server::BY)?.unwrap_or(0),
            },
            Some(Command::ServerFailing) => Self::ServerFailing {
                pool: server.need(sets::Server::POOL)?.into_owned(),
                address: server_address(server)?,
                failing: server.get(sets::Server::FAILING)?.is_some(),
            },
            Some(Command::FlowsFull) => {
                let module = Attributes::<sets::Module>::new(attributes);
                Self::FlowsFull {
                    flows: module.need(sets::Module::FLOWS)?,
                    max_flows: module.need(sets::Module::MAX_FLOWS)?,
                }
            }
            _ => return Ok(None),
        }))
    }
}

/// A listener to the module's events in the network namespace in which it was opened.
///
/// Its descriptor is ready for reading when an event may have come, so that it can be given to an event loop,
/// with [`Events::try_next`] as what is done then. When the module is unloaded it falls silent, and stays so when
/// it is loaded again: listeners then open a new one.
#[derive(Debug)]
pub struct Events {
    inner: Listener<GenericSocket>,
    number: u16,
}

impl Events {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// See [`crate::Client::open`].
    pub fn open() -> Result<Self, Error> {
        let (link, family) = family::open()?;
        let group = family.events.ok_or_else(|| {
            Error::Malformed("the family has no group of events: another version?".to_owned())
        })?;
        let socket = link.into_transport();
        socket
            .join(group)
            .map_err(|error| match error.raw_os_error() {
                Some(errno) if errno == Errno::PERM.raw_os_error() => Error::NotPermitted,
                _ => Error::Socket(error),
            })?;
        Ok(Self {
            inner: Listener::new(socket),
            number: family.number,
        })
    }

    /// The next event, if one is there.
    ///
    /// # Errors
    ///
    /// An event that is not understood; the ones after it are given by further calls.
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        self.inner.try_next(self.number)
    }

    /// The next event, waited for. `None`: the time is over.
    ///
    /// # Errors
    ///
    /// See [`Events::try_next`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut ready = [PollFd::new(&self.inner.transport, PollFlags::IN)];
            match poll(&mut ready, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

/// Waits for each event; it does not end by itself.
impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait(None).transpose()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.transport.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.transport.as_raw_fd()
    }
}

/// A listener over any transport.
#[derive(Debug)]
struct Listener<T> {
    transport: T,
    buffer: Vec<u8>,
    /// Events of the datagram that was read last.
    waiting: VecDeque<Result<Event, Malformed>>,
}

impl<T: Transport> Listener<T> {
    const fn new(transport: T) -> Self {
        Self {
            transport,
            buffer: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    fn try_next(&mut self, family: u16) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event?));
            }
            match self.transport.receive(&mut self.buffer) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    return Ok(Some(Event::Lost));
                }
                Err(error) => return Err(error.into()),
            }
            for message in messages(&self.buffer) {
                let event = message.and_then(|message| {
                    if message.kind != family {
                        return Ok(None);
                    }
                    let (command, attributes) = message.generic()?;
                    Event::read(command, attributes)
                });
                self.waiting.extend(event.transpose());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tests::Script;
    use crate::link::tests::message;

    fn event(command: u8, values: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![command, 1, 0, 0];
        for (kind, value) in values {
            bytes.extend([8_u16.to_ne_bytes(), kind.to_ne_bytes()].concat());
            bytes.extend(value.to_ne_bytes());
        }
        message(30, 0, 0, &bytes)
    }

    #[test]
    fn events_of_one_datagram_come_one_by_one_and_unknown_ones_not_at_all() {
        let datagram = [
            event(13, &[(5, 4), (2, 100), (6, 9)]),
            event(99, &[]),
            event(14, &[(5, 5)]),
            event(16, &[(6, 1)]),
        ]
        .concat();
        let mut listener = Listener::new(Script::new([datagram]));
        let mut next = || listener.try_next(30).unwrap().unwrap();
        let replaced = Event::TableReplaced {
            generation: 4,
            len: 100,
            by: 9,
        };
        assert_eq!(next(), replaced);
        let unloaded = Event::TableUnloaded {
            generation: 5,
            by: 0,
        };
        assert_eq!(next(), unloaded);
        assert_eq!(next(), Event::CountersCleared { by: 1 });
        assert!(listener.try_next(30).is_err(), "the script has ended");
    }

    #[test]
    fn an_event_that_is_not_understood_does_not_hide_the_next() {
        let datagram = [event(15, &[(4, 1)]), event(16, &[])].concat();
        let mut listener = Listener::new(Script::new([datagram]));
        assert!(matches!(listener.try_next(30), Err(Error::Malformed(_))));
        let next = listener.try_next(30).unwrap();
        assert_eq!(next, Some(Event::CountersCleared { by: 0 }));
    }
}
