// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The PROXY header that a connection to a server begins with: whether there is the right one.

use super::Server;
use crate::header;
use crate::ledger::Ledger;
use crate::ledger::text;
use crate::plan::FRONT;
use crate::plan::is_of;
use crate::stack::Stack;

use l7switch_engine::table::codes::ProxyVersion;

/// What a connection begins with.
pub(super) enum Begins {
    /// Nothing was read yet.
    Unknown,
    /// No header.
    Plain,
    /// A header that is not there whole.
    Awaited,
    /// The one that a client has sent, as it is: a connection's.
    Raw(u32),
    /// One that the switch has sent.
    Written(Vec<u8>),
}

impl Server {
    /// Whether a header has to come.
    pub(super) fn awaits_header(&self) -> bool {
        matches!(self.begins, Begins::Unknown | Begins::Awaited)
    }

    /// Reads the header, if there has to be one. Whether what follows may be read.
    pub(super) fn read_header(&mut self, stack: &mut dyn Stack, ledger: &mut Ledger) -> bool {
        if matches!(self.begins, Begins::Unknown) {
            let is_plain = if self.server == FRONT {
                let client = stack.remote(self.handle).address;
                let plan = &ledger.plan;
                let host = (0..plan.clients.len()).find(|host| plan.client(*host) == client);
                host.is_none_or(|host| !plan.proxies.accepts(self.port, host))
            } else {
                ledger.plan.header_of(self.server).is_none()
            };
            self.begins = if is_plain {
                Begins::Plain
            } else {
                Begins::Awaited
            };
        }
        if !self.awaits_header() {
            return true;
        }
        // What comes after the end lies elsewhere.
        let bytes = match self.closing {
            true => &mut self.rest,
            false => &mut self.got,
        };
        let Some(len) = header::len(bytes) else {
            return false;
        };
        let came: Vec<u8> = bytes.drain(..len).collect();
        self.taken += len as u64;
        match self.whose(&came, stack, ledger) {
            Some(begins) => self.begins = begins,
            None => {
                let rest = if self.closing { &self.rest } else { &self.got };
                ledger.error(format!(
                    "s{:02}: no right header: {}, and then {}",
                    self.server,
                    text(&came),
                    text(rest)
                ));
                self.begins = Begins::Plain;
            }
        }
        if let Begins::Raw(conn) = self.begins {
            ledger.streams[conn as usize].header_came();
            self.of = Some((conn, 0, 0));
        }
        true
    }

    /// What a header is, if it is a right one.
    fn whose(&self, came: &[u8], stack: &dyn Stack, ledger: &Ledger) -> Option<Begins> {
        let plan = &ledger.plan;
        let written = || Some(Begins::Written(came.to_vec()));
        if self.server != FRONT {
            let version = plan.header_of(self.server)?;
            let mut conns = plan.conns.iter();
            return conns
                .any(|conn| is_of(came, version, plan, conn))
                .then(written)?;
        }
        let client = stack.remote(self.handle);
        let mut conns = plan
            .conns
            .iter()
            .filter(|conn| plan.ends(conn).source == client && conn.service == self.port);
        if let Some(conn) = conns.clone().find(|conn| conn.header() == came) {
            return Some(Begins::Raw(conn.id));
        }
        // The switch writes one where the client's own is not what comes first: some server had been there before.
        conns
            .any(|conn| {
                is_of(came, ProxyVersion::V2, plan, conn)
                    && ledger.streams[conn.id as usize].has_had_server()
            })
            .then(written)?
    }

    /// Whether what comes is of the connection that the header told of.
    pub(super) fn is_told_of(&self, conn: u32, ledger: &mut Ledger) {
        let plan = &ledger.plan;
        let of = &plan.conns[conn as usize];
        let is_told = match &self.begins {
            Begins::Unknown | Begins::Awaited => false,
            Begins::Plain => true,
            Begins::Raw(whose) => *whose == conn,
            Begins::Written(header) => {
                let version = plan.header_of(self.server).unwrap_or(ProxyVersion::V2);
                is_of(header, version, plan, of)
            }
        };
        if !is_told {
            ledger.error(format!(
                "s{:02}: c{conn} comes behind the header of another connection",
                self.server
            ));
        }
    }
}
