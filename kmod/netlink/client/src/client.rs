// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A client of the family: a method for each command.

#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::netlink::ServerState;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::error::Error;
use crate::error::Malformed;
use crate::error::Refusal;
use crate::family;
use crate::family::Family;
use crate::link::CallError;
use crate::link::Link;
use crate::request::Request;
use crate::sets;
use crate::sets::set_of;
use crate::socket::GenericSocket;
use crate::socket::Transport;
use crate::types::Answer;
use crate::types::Flow;
use crate::types::Match;
use crate::types::Module;
use crate::types::Route;
use crate::types::Server;
use crate::types::Service;

/// How often a list that changes is read before that is given up.
const READINGS: usize = 10;

/// What a real server's weight becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightChange {
    /// This, 0 to 65535.
    To(u32),
    /// The table's.
    Reset,
}

/// A change of a real server; what is absent stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChange {
    /// Its pool; absent: every pool that has it.
    pub pool: Option<String>,
    /// Its address.
    pub address: SocketAddr,
    /// What it may get.
    pub state: Option<ServerState>,
    /// Its weight.
    pub weight: Option<WeightChange>,
}

/// A request whose match is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchRequest {
    /// The service; absent: `destination` says it.
    pub service: Option<String>,
    /// The address of a service that the client would connect to.
    pub destination: Option<SocketAddr>,
    /// The client's address; absent: all zero.
    pub source: Option<IpAddr>,
    /// The first bytes that the client sends: an HTTP/1 head or a ClientHello. At most
    /// [`MAX_ATTRIBUTE`].
    pub request: Vec<u8>,
}

/// A client of the module in the network namespace in which it was opened.
///
/// It is bound to one loading of the module: after another, each method gives [`Error::NotLoaded`], and a new
/// client has to be opened. A load that was begun and not committed is forgotten when the client is dropped.
#[derive(Debug)]
pub struct Client {
    inner: Inner<GenericSocket>,
}

impl Client {
    /// Finds the module and asks it for what it is, which shows whether the caller may.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`] and [`Error::NoNetlink`] where there is no module, [`Error::NotPermitted`] without
    /// `CAP_NET_ADMIN`.
    pub fn open() -> Result<Self, Error> {
        let (link, family) = family::open()?;
        let mut inner = Inner { link, family };
        inner.module()?;
        Ok(Self { inner })
    }

    /// The netlink port: the `by` of the events that this client causes.
    pub fn port(&self) -> u32 {
        self.inner.link.transport().port()
    }

    /// `module-get`: what the module is and can do.
    ///
    /// # Errors
    ///
    /// See [`Error`]; so for all that follow.
    pub fn module(&mut self) -> Result<Module, Error> {
        self.inner.module()
    }

    /// `table-begin`: begins a load of a table of `len` bytes. Gives the transaction.
    ///
    /// # Errors
    ///
    /// Another load is going on; the table is too long.
    pub fn begin(&mut self, len: u32) -> Result<u32, Error> {
        self.inner.begin(len)
    }

    /// `table-chunk`: the next bytes of the table, which belong at `offset`.
    ///
    /// # Errors
    ///
    /// Wrong transaction, order or length.
    pub fn chunk(&mut self, transaction: u32, offset: u32, data: &[u8]) -> Result<(), Error> {
        self.inner.chunk(transaction, offset, data)
    }

    /// Begins a load and sends all of the table, so that only [`Client::commit`] is left to be done; on an error
    /// aborts. Gives the transaction.
    ///
    /// # Errors
    ///
    /// That of the first step that fails.
    pub fn stage(&mut self, table: &[u8]) -> Result<u32, Error> {
        self.inner.stage(table)
    }

    /// `table-commit`: verifies the table and puts it in force. Gives the generation.
    ///
    /// # Errors
    ///
    /// The table is not whole or not valid; it is forgotten then.
    pub fn commit(&mut self, transaction: u32) -> Result<u64, Error> {
        self.inner.commit(transaction)
    }

    /// `table-abort`: forgets a load.
    ///
    /// # Errors
    ///
    /// There is no such load.
    pub fn abort(&mut self, transaction: u32) -> Result<(), Error> {
        self.inner.abort(transaction)
    }

    /// Loads a table and puts it in force: begin, chunks, commit; on an error abort. Gives the
    /// generation.
    ///
    /// # Errors
    ///
    /// That of the first step that fails; the table before stays in force.
    pub fn load(&mut self, table: &[u8]) -> Result<u64, Error> {
        self.inner.load(table)
    }

    /// `table-unload`: takes the table in force away. Gives the generation.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn unload(&mut self) -> Result<u64, Error> {
        self.inner.generation(Command::TableUnload, None)
    }

    /// `service-get`: the virtual services.
    ///
    /// # Errors
    ///
    /// [`Error::Changing`] where the list changes faster than it can be read; so for all lists.
    pub fn services(&mut self) -> Result<Vec<Service>, Error> {
        self.inner.list(Command::ServiceGet)
    }

    /// `server-get`: the real servers, pool by pool.
    ///
    /// # Errors
    ///
    /// See [`Client::services`].
    pub fn servers(&mut self) -> Result<Vec<Server>, Error> {
        self.inner.list(Command::ServerGet)
    }

    /// `route-get`: the routes with their counters, service by service in the order of the file.
    ///
    /// # Errors
    ///
    /// See [`Client::services`].
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        self.inner.list(Command::RouteGet)
    }

    /// `flow-get`: the connections that are followed.
    ///
    /// # Errors
    ///
    /// See [`Client::services`].
    pub fn flows(&mut self) -> Result<Vec<Flow>, Error> {
        self.inner.list(Command::FlowGet)
    }

    /// `server-set`: changes a real server. Gives how many were meant: one for each pool.
    ///
    /// # Errors
    ///
    /// There is no such server; the weight is over 65535.
    pub fn set_server(&mut self, change: &ServerChange) -> Result<u32, Error> {
        self.inner.set_server(change)
    }

    /// `counters-reset`: sets every counter to 0.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn reset_counters(&mut self) -> Result<(), Error> {
        let request = self.inner.request(Command::CountersReset);
        self.inner.ask(Command::CountersReset, &request, |_| Ok(()))
    }

    /// `request-match`: what would become of a request.
    ///
    /// # Errors
    ///
    /// There is no such service.
    pub fn match_request(&mut self, asked: &MatchRequest) -> Result<Match, Error> {
        self.inner.match_request(asked)
    }

    /// Sends a command with these bytes in place of attributes, and gives the attributes of each answer: for tests
    /// of what the kernel refuses.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn raw(&mut self, command: Command, attributes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut request = self.inner.request(command);
        request.raw(attributes);
        let mut answers = Vec::new();
        self.inner.ask(command, &request, |answer| {
            answers.push(answer.to_vec());
            Ok(())
        })?;
        Ok(answers)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.link.transport().as_fd()
    }
}

/// A client over any transport.
#[derive(Debug)]
struct Inner<T> {
    link: Link<T>,
    family: Family,
}

impl<T: Transport> Inner<T> {
    fn request(&self, command: Command) -> Request {
        Request::new(self.family.number, command)
    }

    fn ask(
        &mut self,
        command: Command,
        request: &Request,
        take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        let asked = self.link.ask(request, take);
        asked.map_err(|error| self.explain(command, error))
    }

    /// The single answer of a command.
    fn answer<A: Answer>(&mut self, command: Command, request: &Request) -> Result<A, Error> {
        let mut answer = None;
        self.ask(command, request, |attributes| {
            answer = Some(A::read(attributes)?);
            Ok(())
        })?;
        answer.ok_or_else(|| no_answer(command))
    }

    /// All entries of a list, read anew where it changed meanwhile.
    fn list<A: Answer>(&mut self, command: Command) -> Result<Vec<A>, Error> {
        let request = self.request(command);
        for _ in 0..READINGS {
            let mut entries = Vec::new();
            let whole = self.link.list(&request, |attributes| {
                entries.push(A::read(attributes)?);
                Ok(())
            });
            if whole.map_err(|error| self.explain(command, error))? {
                return Ok(entries);
            }
        }
        Err(Error::Changing)
    }

    /// Gives an error its words, and the attributes in it their names.
    fn explain(&mut self, command: Command, error: CallError) -> Error {
        let (ack, sent) = match error {
            CallError::Failed(error) => return error,
            CallError::Refused { ack, request } => (ack, request),
        };
        let errno = Errno::from_raw_os_error(ack.errno);
        // Of generic netlink, which says nothing more; the module gives its reasons.
        if errno == Errno::PERM && ack.message.is_none() {
            return Error::NotPermitted;
        }
        // A number that no family has, or a thing that the module does not know?
        if errno == Errno::NOENT {
            match Family::find(&mut self.link) {
                Ok(family) if family.number == self.family.number => {}
                Ok(_) => return Error::NotLoaded,
                Err(error) => return error,
            }
        }
        let set = set_of(command);
        Error::Refused(Box::new(Refusal {
            command,
            errno: ack.errno,
            attribute: ack.attribute(&sent, set),
            missing: ack.missing(&sent, set),
            message: ack.message,
        }))
    }

    fn module(&mut self) -> Result<Module, Error> {
        let request = self.request(Command::ModuleGet);
        self.answer(Command::ModuleGet, &request)
    }

    fn begin(&mut self, len: u32) -> Result<u32, Error> {
        let command = Command::TableBegin;
        let mut request = self.request(command);
        request.put(sets::Table::LEN, len)?;
        let mut transaction = None;
        self.ask(command, &request, |attributes| {
            let table = Attributes::<sets::Table>::new(attributes);
            transaction = Some(table.need(sets::Table::TRANSACTION)?);
            Ok(())
        })?;
        transaction.ok_or_else(|| no_answer(command))
    }

    fn chunk(&mut self, transaction: u32, offset: u32, data: &[u8]) -> Result<(), Error> {
        let command = Command::TableChunk;
        let mut request = self.request(command);
        request.put(sets::Table::TRANSACTION, transaction)?;
        request.put(sets::Table::OFFSET, offset)?;
        request.put(sets::Table::DATA, data)?;
        self.ask(command, &request, |_| Ok(()))
    }

    fn commit(&mut self, transaction: u32) -> Result<u64, Error> {
        self.generation(Command::TableCommit, Some(transaction))
    }

    fn abort(&mut self, transaction: u32) -> Result<(), Error> {
        let mut request = self.request(Command::TableAbort);
        request.put(sets::Table::TRANSACTION, transaction)?;
        self.ask(Command::TableAbort, &request, |_| Ok(()))
    }

    /// Asks what is answered with a generation.
    fn generation(&mut self, command: Command, transaction: Option<u32>) -> Result<u64, Error> {
        let mut request = self.request(command);
        if let Some(transaction) = transaction {
            request.put(sets::Table::TRANSACTION, transaction)?;
        }
        let mut generation = None;
        self.ask(command, &request, |attributes| {
            let table = Attributes::<sets::Table>::new(attributes);
            generation = Some(table.need(sets::Table::GENERATION)?);
            Ok(())
        })?;
        generation.ok_or_else(|| no_answer(command))
    }

    fn load(&mut self, table: &[u8]) -> Result<u64, Error> {
        let transaction = self.stage(table)?;
        // Where it is refused it is forgotten, too.
        self.commit(transaction)
    }

    fn stage(&mut self, table: &[u8]) -> Result<u32, Error> {
        let module = self.module()?;
        let len = u32::try_from(table.len())
            .ok()
            .filter(|&len| len <= module.max_table_len)
            .ok_or_else(|| {
                Error::Input(format!(
                    "the table has {} bytes; the module takes {} (its parameter max_table_len)",
                    table.len(),
                    module.max_table_len
                ))
            })?;
        let longest = usize::try_from(module.max_chunk_len)
            .unwrap_or(usize::MAX)
            .min(MAX_ATTRIBUTE);
        if longest == 0 {
            return Err(Error::Malformed("the module takes no chunks".to_owned()));
        }
        let transaction = self.begin(len)?;
        let sent = self.send(transaction, table, longest);
        if sent.is_err() {
            // It may be forgotten already; the first error is the one that says something.
            let _ = self.abort(transaction);
        }
        sent.map(|()| transaction)
    }

    /// One chunk at a time, each acknowledged: the kernel works while a chunk is sent, so that nothing is won by
    /// sending several, and an error is that of one chunk.
    fn send(&mut self, transaction: u32, table: &[u8], longest: usize) -> Result<(), Error> {
        let mut offset: u32 = 0;
        for chunk in table.chunks(longest) {
            self.chunk(transaction, offset, chunk)?;
            // The whole length fits.
            offset = offset.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    fn set_server(&mut self, change: &ServerChange) -> Result<u32, Error> {
        use sets::Server as Set;
        let command = Command::ServerSet;
        let mut request = self.request(command);
        if let Some(pool) = &change.pool {
            request.put(Set::POOL, pool)?;
        }
        request.put(Set::ADDRESS, change.address.ip())?;
        request.put(Set::PORT, change.address.port())?;
        match change.weight {
            Some(WeightChange::To(weight)) => request.put(Set::WEIGHT, weight)?,
            Some(WeightChange::Reset) => request.put(Set::RESET_WEIGHT, ())?,
            None => {}
        }
        if let Some(state) = change.state {
            request.put(Set::STATE, state)?;
        }
        let mut changed = None;
        self.ask(command, &request, |attributes| {
            changed = Some(Attributes::<Set>::new(attributes).need(Set::CHANGED)?);
            Ok(())
        })?;
        changed.ok_or_else(|| no_answer(command))
    }

    fn match_request(&mut self, asked: &MatchRequest) -> Result<Match, Error> {
        use sets::Endpoint;
        use sets::Match as Set;
        let mut request = self.request(Command::RequestMatch);
        if let Some(service) = &asked.service {
            request.put(Set::SERVICE, service)?;
        }
        if let Some(destination) = asked.destination {
            request.nest(Set::VIRTUAL, |nest| {
                nest.put(Endpoint::ADDRESS, destination.ip())?;
                nest.put(Endpoint::PORT, destination.port())
            })?;
        }
        if let Some(source) = asked.source {
            request.put(Set::SOURCE, source)?;
        }
        request.put(Set::REQUEST, &asked.request)?;
        self.answer(Command::RequestMatch, &request)
    }
}

fn no_answer(command: Command) -> Error {
    let why = format!("{} was done without an answer", command.name());
    Error::Socket(io::Error::new(io::ErrorKind::InvalidData, why))
}
