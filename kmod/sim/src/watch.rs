// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What packets say, from outside of the switch: where connections begin, what servers have acknowledged, and whether clients are
//! told the truth about it.

use std::collections::HashMap;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;

use crate::client::Client;
use crate::ledger::Ledger;
use crate::ledger::Place;
use crate::server::Server;

/// Both ends of a connection: whose segments are meant, and the other.
pub type Ends = (Endpoint, Endpoint);

/// What has been seen.
#[derive(Default)]
pub struct Watch {
    /// Of every connection to a server.
    legs: HashMap<Ends, Vec<Acked>>,
    /// Of every client and service.
    began: HashMap<Ends, Vec<Began>>,
}

/// What a server has acknowledged to the switch.
struct Acked {
    /// When the connection began.
    since: u64,
    /// Where.
    isn: u32,
    /// Bytes of it.
    acked: u64,
    /// It has been reset.
    reset: bool,
    /// The server's end has come.
    ended: bool,
    /// Bytes that were sent to it.
    sent: u32,
    /// Some of them were sent when its end had come.
    behind: bool,
}

/// A client's connection.
struct Began {
    /// Where.
    isn: u32,
    /// Its number, if its client had not left when its SYN went.
    conn: Option<usize>,
    /// Numbers behind its SYN's that the client has used.
    sent: u32,
}

impl Began {
    /// How far behind its beginning a number is.
    fn offset(&self, number: u32) -> u32 {
        number.wrapping_sub(self.isn).wrapping_sub(1)
    }
}

impl Watch {
    /// A segment that a client has sent: where its connection begins, and how far it has come.
    pub fn of_client(&mut self, apps: &[Client], segment: &Segment) {
        let ends = (segment.source, segment.destination);
        if segment.flags & (SYN | ACK) != SYN {
            let end = segment.data_end().wrapping_add(u32::from(segment.is(FIN)));
            for began in self.began.get_mut(&ends).into_iter().flatten() {
                let offset = began.offset(end);
                if offset < 1 << 30 {
                    began.sent = began.sent.max(offset);
                }
            }
            return;
        }
        let began = self.began.entry(ends).or_default();
        if began.iter().all(|began| began.isn != segment.seq) {
            // The one before it, of the same port, may not have left yet.
            let app = apps
                .iter()
                .rfind(|app| app.speaks(segment.source.port, segment.destination.port));
            began.push(Began {
                isn: segment.seq,
                conn: app.map(Client::number),
                sent: 0,
            });
        }
    }

    /// A segment that goes to a server: where the connection to it begins.
    pub fn to_server(&mut self, now: u64, segment: &Segment) {
        let ends = (segment.destination, segment.source);
        if segment.flags & (SYN | ACK) != SYN {
            if let Some(leg) = self.legs.get_mut(&ends).and_then(|legs| legs.last_mut()) {
                let end = segment.data_end().wrapping_sub(leg.isn).wrapping_sub(1);
                if segment.payload > 0 && end > leg.sent && end < 1 << 30 {
                    leg.sent = end;
                    leg.behind |= leg.ended;
                }
            }
            return;
        }
        let legs = self.legs.entry(ends).or_default();
        if legs.last().is_none_or(|leg| leg.isn != segment.seq) {
            legs.push(Acked {
                since: now,
                isn: segment.seq,
                acked: 0,
                reset: false,
                ended: false,
                sent: 0,
                behind: false,
            });
        }
    }

    /// A segment that comes to the switch: what a server acknowledges.
    pub fn of_server(&mut self, segment: &Segment) {
        let ends = (segment.source, segment.destination);
        let Some(leg) = self.legs.get_mut(&ends).and_then(|legs| legs.last_mut()) else {
            return;
        };
        if segment.flags & (RST | ACK) == RST {
            // What an acknowledgement says that comes behind a reset comes too late.
            leg.reset = true;
        }
        leg.ended |= segment.is(FIN);
        let offset = segment.ack.wrapping_sub(leg.isn).wrapping_sub(1);
        if !leg.reset && segment.is(ACK) && offset < 1 << 30 {
            leg.acked = u64::from(offset).max(leg.acked);
        }
    }

    /// Whether the server had not yet said that it ends when what it got on that connection was sent.
    pub fn crossed(&self, place: &Place) -> bool {
        let mut legs = self
            .legs
            .get(&(place.peer, place.local))
            .into_iter()
            .flatten();
        let leg = legs.rfind(|leg| leg.since <= place.at);
        leg.is_some_and(|leg| !leg.behind)
    }

    /// What the server has acknowledged on the connection on which something came, bytes.
    pub fn acknowledged(&self, place: &Place) -> Option<u64> {
        let legs = self.legs.get(&(place.peer, place.local))?;
        let leg = legs.iter().rfind(|leg| leg.since <= place.at)?;
        Some(leg.acked)
    }

    /// The connection whose segments go from one end to the other.
    pub fn conn(&self, ends: &Ends) -> Option<usize> {
        self.began.get(ends)?.last()?.conn
    }

    /// A segment has begun a connection anew in the switch. Where it is a late one of an earlier connection of the same port,
    /// and no clock tells, that is the end of the present one, which is given.
    pub fn replaced(&self, segment: &Segment) -> Option<usize> {
        let ends = (segment.source, segment.destination);
        let latest = self.began.get(&ends)?.last()?;
        let late = segment.seq.wrapping_sub(latest.isn) != 1 && segment.timestamps.is_none();
        latest.conn.filter(|_| late)
    }

    /// A segment that goes to a client: whether what it acknowledges has come to a server. Where the leg is gone,
    /// the front's stack answers what comes late in its own numbers, and the switch lets it pass: a client ignores an
    /// acknowledgement of what it has not sent (RFC 9293, 3.10.7.4).
    pub fn to_client<'a, I: Iterator<Item = &'a Server>>(
        &self,
        segment: &Segment,
        passed: bool,
        ledger: &'a Ledger,
        servers: impl Fn() -> I,
    ) -> Result<(), String> {
        let ends = (segment.destination, segment.source);
        let (true, Some(began)) = (segment.flags & (ACK | RST) == ACK, self.began.get(&ends))
        else {
            return Ok(());
        };
        let to = |began: &Began| began.offset(segment.ack);
        if passed && began.iter().all(|began| to(began) > began.sent) {
            return Ok(());
        }
        let had = began.iter().any(|began| {
            let Some(conn) = began.conn else {
                return to(began) == 0;
            };
            // A FIN has a number too; it shows in nothing that a server's application gets.
            let bytes = u64::from(to(began)).saturating_sub(u64::from(ledger.streams[conn].ended));
            ledger.has(conn, bytes, servers().map(Server::unknown))
        });
        if had {
            return Ok(());
        }
        let told: Vec<_> = began
            .iter()
            .map(|began| format!("byte {} of {:?}", to(began), began.conn))
            .collect();
        Err(format!(
            "a client is told that a server has what none has: {}",
            told.join(" or ")
        ))
    }
}
