// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A server's application: one connection. What it says is told by the plan of the client's request.

mod header;
mod opaque;

use crate::ledger::Ledger;
use crate::ledger::Place;
use crate::ledger::matches_from;
use crate::ledger::text;
use crate::plan;
use crate::plan::EAGER;
use crate::plan::Exchange;
use crate::plan::FRONT;
use crate::plan::MS;
use crate::plan::TLS;
use crate::plan::What;
use crate::stack::Handle;
use crate::stack::Stack;
use crate::stack::Status;

use header::Begins;

struct Answer {
    at: u64,
    bytes: Vec<u8>,
    trickle: Option<usize>,
    reset_after: Option<usize>,
    close: bool,
    /// The request has been read whole.
    asked: bool,
}

/// The application.
pub struct Server {
    server: u8,
    port: u16,
    handle: Handle,
    /// The PROXY header that it begins with.
    begins: Begins,
    got: Vec<u8>,
    /// The request that is being read.
    request: Option<(Exchange, Vec<u8>)>,
    /// Bytes of its head.
    head: usize,
    /// What has come after the end.
    rest: Vec<u8>,
    /// Bytes of `got` that have been looked at.
    checked: usize,
    /// The client's connection and the request, where they are known, and how much of it came before what is in `got`.
    of: Option<(u32, u32, u64)>,
    /// Its head has been seen whole, and what comes of it is queued.
    headed: bool,
    answers: Vec<Answer>,
    /// The final response to a request that waits for a 100.
    finals: Vec<u8>,
    written: usize,
    /// Bytes of a PROXY header, and of requests that have been read whole.
    taken: u64,
    /// After an upgrade or on an opaque connection: what is to come.
    opaque: Option<Vec<u8>>,
    greeted: bool,
    idle_since: u64,
    served: u32,
    shut: bool,
    closing: bool,
    /// It was idle for too long, and is closed for what comes.
    idled: bool,
    finished: bool,
}

impl Server {
    /// The application of a connection that was accepted.
    pub fn new(now: u64, server: u8, port: u16, handle: Handle) -> Self {
        Self {
            server,
            port,
            handle,
            begins: Begins::Unknown,
            got: Vec::new(),
            request: None,
            head: 0,
            rest: Vec::new(),
            checked: 0,
            of: None,
            headed: false,
            answers: Vec::new(),
            finals: Vec::new(),
            written: 0,
            taken: 0,
            opaque: None,
            greeted: false,
            idle_since: now,
            served: 0,
            shut: false,
            closing: false,
            idled: false,
            finished: false,
        }
    }

    /// Whether it has nothing more to do.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Writes down what of the client's bytes is here.
    fn has(&self, ledger: &mut Ledger) {
        if let Some((conn, index, before)) = self.of {
            // What comes after the end goes on where it was read no more.
            let rest = match self.request.is_some() || self.opaque.is_some() {
                true => self.rest.len(),
                false => 0,
            };
            ledger.arrived(conn, index, before + (self.got.len() + rest) as u64);
        }
    }

    /// Bytes that are here of requests that nobody answers any more, or of one, or of a greeting, whose connection does not
    /// show yet.
    pub fn unknown(&self) -> &[u8] {
        if self.awaits_header() && self.server != FRONT {
            // It is the switch's.
            &[]
        } else if self.closing {
            &self.rest
        } else if self.request.is_none() && self.opaque.is_none() {
            &self.got
        } else {
            &[]
        }
    }

    fn finish(&mut self, stack: &mut dyn Stack, ledger: &mut Ledger) {
        if let Some((conn, ..)) = self.of.filter(|_| !stack.resets_what_is_closed()) {
            // What its host acknowledges from now on nobody reads.
            ledger.streams[conn as usize].over = true;
        }
        if !self.unknown().is_empty() {
            ledger.orphans.push(self.unknown().to_vec());
        }
        stack.release(self.handle);
        self.finished = true;
    }

    /// Does what can be done; gives when it wants to be called at the latest.
    pub fn poll(&mut self, now: u64, stack: &mut dyn Stack, ledger: &mut Ledger) -> Option<u64> {
        if self.finished {
            return None;
        }
        if !self.closing {
            let read = stack.read(self.handle, usize::MAX, &mut self.got);
            if read > 0 {
                self.idle_since = now;
            }
            if self.read_header(stack, ledger) {
                match self.port {
                    TLS => self.tls(now, ledger),
                    EAGER => self.eager(now, ledger),
                    _ => while self.http(now, stack, ledger) {},
                }
            }
        } else {
            // What comes after the end is thrown away.
            stack.read(self.handle, usize::MAX, &mut self.rest);
            if self.read_header(stack, ledger) {
                self.note_unread(now, stack, ledger);
            }
        }
        self.has(ledger);
        let mut wake = u64::MAX;
        self.answer(now, stack, ledger, &mut wake);
        if self.finished {
            return None;
        }
        let ended = stack.ended(self.handle);
        match stack.status(self.handle) {
            Status::Reset => {
                self.finish(stack, ledger);
                return None;
            }
            Status::Closed if self.shut => {
                self.finish(stack, ledger);
                return None;
            }
            _ => {}
        }
        if ended && self.answers.is_empty() {
            if !self.shut {
                stack.shutdown(self.handle);
                self.shut = true;
            }
            self.finish(stack, ledger);
            return None;
        }
        self.idle(now, stack, ledger, &mut wake);
        (!self.finished && wake != u64::MAX).then_some(wake.max(now + 1))
    }

    /// Writes down that a request has come after it closed what was idle: its host has acknowledged it.
    fn note_unread(&mut self, now: u64, stack: &mut dyn Stack, ledger: &mut Ledger) {
        let line = self.rest.split(|&b| b == b'\r').next().unwrap_or_default();
        if !self.idled || line.len() == self.rest.len() {
            return;
        }
        if let Some(exchange) = find(line, ledger) {
            self.idled = false;
            let place = self.place(now, stack);
            ledger.unread.push((exchange.conn, place));
        }
    }

    /// The next byte's.
    fn place(&self, now: u64, stack: &dyn Stack) -> Place {
        Place {
            peer: stack.local(self.handle),
            local: stack.remote(self.handle),
            offset: self.taken,
            at: now,
        }
    }

    /// Closes where it has been idle for long.
    fn idle(&mut self, now: u64, stack: &mut dyn Stack, ledger: &mut Ledger, wake: &mut u64) {
        let Some(host) = ledger.plan.servers.get(usize::from(self.server)) else {
            return;
        };
        let idle = self.answers.is_empty()
            && self.request.is_none()
            && self.opaque.is_none()
            && self.got.is_empty();
        if !idle || self.shut || self.port != plan::HTTP {
            return;
        }
        let says_408 = host.says_408;
        let spent = host.closes_after.is_some_and(|n| self.served >= n);
        if let Some(after) = host.idle_close {
            if now >= self.idle_since + after || spent {
                ledger.note(|| format!("  server s{:02}: closes what is idle", self.server));
                if says_408 {
                    stack.write(
                        self.handle,
                        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    );
                }
                stack.shutdown(self.handle);
                self.shut = true;
                self.closing = true;
                self.idled = true;
                if stack.resets_what_is_closed() {
                    self.finish(stack, ledger);
                }
                return;
            }
            *wake = (*wake).min(self.idle_since + after);
        }
    }

    fn answer(&mut self, now: u64, stack: &mut dyn Stack, ledger: &mut Ledger, wake: &mut u64) {
        while let Some(answer) = self.answers.first_mut() {
            if now < answer.at {
                *wake = (*wake).min(answer.at);
                return;
            }
            let rest = &answer.bytes[self.written..];
            let mut most = rest.len();
            if let Some(reset) = answer.reset_after {
                most = most.min(reset - self.written.min(reset));
            }
            if let Some(trickle) = answer.trickle {
                most = most.min(trickle);
                answer.at = now + MS;
            }
            let wrote = stack.write(self.handle, &rest[..most]);
            self.written += wrote;
            if answer
                .reset_after
                .is_some_and(|reset| self.written >= reset)
            {
                ledger.note(|| format!("  server s{:02}: resets", self.server));
                stack.abort(self.handle);
                self.finish(stack, ledger);
                return;
            }
            if self.written < answer.bytes.len() {
                if answer.trickle.is_some() {
                    *wake = (*wake).min(answer.at);
                }
                return;
            }
            if !answer.asked {
                // The rest of the request is to come.
                return;
            }
            self.written = 0;
            let close = answer.close;
            self.answers.remove(0);
            self.served += 1;
            self.idle_since = now;
            if close {
                ledger.note(|| format!("  server s{:02}: closes", self.server));
                stack.shutdown(self.handle);
                self.shut = true;
                self.closing = true;
                self.answers.clear();
                return;
            }
        }
    }

    /// Reads requests; whether there may be more.
    fn http(&mut self, now: u64, stack: &mut dyn Stack, ledger: &mut Ledger) -> bool {
        if let Some(expected) = &self.opaque {
            let checked = std::mem::replace(&mut self.checked, self.got.len());
            if let Err(at) = matches_from(checked, &self.got, expected) {
                ledger.error(format!(
                    "s{:02}: byte {at} after an upgrade is wrong: {}",
                    self.server,
                    text(&self.got[at..])
                ));
            }
            return false;
        }
        if self.request.is_none() {
            let Some(line) = self.got.iter().position(|&b| b == b'\r') else {
                return false;
            };
            let line = self.got[..line].to_vec();
            match find(&line, ledger) {
                Some(exchange) => {
                    let place = self.place(now, stack);
                    self.begin(&exchange, place, ledger);
                    let mut whole = exchange.head();
                    self.head = whole.len();
                    self.checked = 0;
                    self.of = Some((exchange.conn, exchange.index, 0));
                    whole.extend_from_slice(&exchange.body());
                    self.headed = false;
                    self.request = Some((exchange, whole));
                }
                None => {
                    ledger.error(format!(
                        "s{:02}: no request: {}",
                        self.server,
                        text(&self.got)
                    ));
                    self.got.clear();
                    return false;
                }
            }
        }
        let Some((exchange, whole)) = &self.request else {
            return false;
        };
        let len = self.got.len().min(whole.len());
        let checked = std::mem::replace(&mut self.checked, len);
        if let Err(at) = matches_from(checked, &self.got[..len], whole) {
            ledger.error(format!(
                "s{:02}: byte {at} of c{}r{} is wrong: {}",
                self.server,
                exchange.conn,
                exchange.index,
                text(&self.got[at..])
            ));
            self.got.clear();
            return false;
        }
        let head = self.head;
        let complete = self.got.len() >= whole.len();
        if !self.headed && self.got.len() >= head && (exchange.early || exchange.expect || complete)
        {
            self.headed = true;
            let exchange = exchange.clone();
            self.accept(now, &exchange, complete, ledger);
        }
        if complete {
            let Some((exchange, whole)) = self.request.take() else {
                return false;
            };
            self.taken += whole.len() as u64;
            self.has(ledger);
            self.got.drain(..whole.len());
            self.checked = 0;
            if let Some((.., before)) = &mut self.of {
                *before += whole.len() as u64;
            }
            if !self.finals.is_empty() {
                self.answers.push(Answer {
                    at: now + exchange.delay,
                    bytes: std::mem::take(&mut self.finals),
                    trickle: exchange.trickle,
                    reset_after: None,
                    close: exchange.ends_server(),
                    asked: true,
                });
            }
            if let Some(answer) = self.answers.last_mut() {
                answer.asked = true;
            }
            if exchange.upgrade.is_some() {
                self.opaque = Some(exchange.upgraded());
            }
            return true;
        }
        false
    }

    /// The first bytes of a request are there.
    fn begin(&mut self, exchange: &Exchange, place: Place, ledger: &mut Ledger) {
        self.is_told_of(exchange.conn, ledger);
        if !ledger.may_serve(self.server, exchange.conn, exchange.pool) {
            ledger.error(format!(
                "s{:02}: a request for pool {}: c{}r{}",
                self.server, exchange.pool, exchange.conn, exchange.index
            ));
        }
        let key = (exchange.conn, exchange.index);
        let delivery = ledger.deliveries.entry(key).or_default();
        if let Some(first) = delivery.places.first() {
            ledger.again.push((exchange.conn, exchange.index, *first));
        }
        delivery.places.push(place);
    }

    /// A request's head is there whole: the answer is queued.
    fn accept(&mut self, now: u64, exchange: &Exchange, complete: bool, ledger: &mut Ledger) {
        ledger.note(|| {
            format!(
                "  server s{:02}: has c{}r{}",
                self.server, exchange.conn, exchange.index
            )
        });
        let key = (exchange.conn, exchange.index);
        let delivery = ledger.deliveries.entry(key).or_default();
        delivery.heads.push(self.server);
        if let Some(before) = exchange.index.checked_sub(1)
            && !ledger.deliveries.contains_key(&(exchange.conn, before))
        {
            ledger.error(format!(
                "c{}r{} came before the request before it",
                exchange.conn, exchange.index
            ));
        }
        let mut bytes = exchange.response(self.server);
        let at = now + exchange.delay;
        if exchange.expect && !exchange.early && !complete {
            // What is said at the end of the request's body comes later.
            self.finals = bytes.split_off(exchange.interim_len(self.server));
            self.answers.push(Answer {
                at: now,
                bytes,
                trickle: None,
                reset_after: None,
                close: false,
                asked: true,
            });
            return;
        }
        let answer = Answer {
            at,
            bytes,
            trickle: exchange.trickle,
            reset_after: exchange.reset_after.filter(|_| self.server != FRONT),
            close: exchange.ends_server(),
            asked: complete,
        };
        self.answers.push(answer);
    }
}

/// The exchange that a request line names.
fn find(line: &[u8], ledger: &Ledger) -> Option<Exchange> {
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ').nth(1)?.split('/').skip(2);
    let conn: u32 = parts.next()?.strip_prefix('c')?.parse().ok()?;
    let index: usize = parts.next()?.strip_prefix('r')?.parse().ok()?;
    match &ledger.plan.conns.get(conn as usize)?.what {
        What::Http(list, _) => list.get(index).cloned(),
        _ => None,
    }
}
