// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A client's application: one connection, as planned.

mod reading;

use l7switch_engine::endpoint::Endpoint;

use crate::ledger::Ledger;
use crate::ledger::Outcome;
use crate::plan;
use crate::plan::Conn;
use crate::plan::End;
use crate::plan::Exchange;
use crate::plan::MS;
use crate::plan::SECOND;
use crate::plan::What;
use crate::stack::Handle;
use crate::stack::Stack;
use crate::stack::Status;

/// How long a client waits for everything, ns.
const PATIENCE: u64 = 900 * SECOND;

/// The application.
pub struct Client {
    conn: usize,
    plan: Conn,
    handle: Option<Handle>,
    /// The next request to be written.
    next: usize,
    /// Responses that are complete.
    done: usize,
    /// When the next request may be written.
    ready: Option<u64>,
    /// A body that waits for a 100: since when.
    body: Option<(u64, Vec<u8>)>,
    /// A PROXY header that goes before all else.
    header: Vec<u8>,
    /// Bytes to be written.
    out: Vec<u8>,
    written: usize,
    /// When it may write on.
    write_at: u64,
    /// When it may read on.
    read_at: u64,
    /// What came of the response that is awaited.
    got: Vec<u8>,
    /// Bytes of it that have been looked at.
    checked: usize,
    expected: Option<(u8, Vec<u8>)>,
    total: usize,
    ended: bool,
    shut: bool,
    done_at: Option<u64>,
    /// The greeting of an opaque connection.
    spoke: bool,
    /// A 101 came whole.
    upgraded: bool,
    timed_out: bool,
    finished: bool,
}

impl Client {
    /// The application of a connection.
    pub fn new(conn: usize, plan: &Conn) -> Self {
        Self {
            conn,
            plan: plan.clone(),
            handle: None,
            next: 0,
            done: 0,
            ready: None,
            body: None,
            header: plan.header(),
            out: Vec::new(),
            written: 0,
            write_at: 0,
            read_at: 0,
            got: Vec::new(),
            checked: 0,
            expected: None,
            total: 0,
            ended: false,
            shut: false,
            done_at: None,
            spoke: false,
            upgraded: false,
            timed_out: false,
            finished: false,
        }
    }

    /// Whether it has nothing more to do.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Whether its connection is that of a port to a service.
    pub fn speaks(&self, port: u16, service: u16) -> bool {
        self.handle.is_some() && self.plan.port == port && self.plan.service == service
    }

    /// Its connection's number.
    pub fn number(&self) -> usize {
        self.conn
    }

    fn finish(&mut self, outcome: Outcome, stack: &mut dyn Stack, ledger: &mut Ledger) {
        ledger.note(|| format!("  client c{}: {outcome:?}", self.conn));
        if let Some(handle) = self.handle.take() {
            stack.release(handle);
        }
        ledger.outcomes[self.conn] = outcome;
        self.finished = true;
    }

    /// Does what can be done; gives when it wants to be called at the latest.
    pub fn poll(
        &mut self,
        now: u64,
        service: [u8; 16],
        stack: &mut dyn Stack,
        ledger: &mut Ledger,
    ) -> Option<u64> {
        if self.finished {
            return None;
        }
        if now < self.plan.start {
            return Some(self.plan.start);
        }
        let handle = match self.handle {
            Some(handle) => handle,
            None => {
                let to = Endpoint {
                    address: service,
                    port: self.plan.service,
                };
                match stack.connect(now, self.plan.port, to) {
                    Some(handle) => {
                        ledger.note(|| format!("  client c{}: connects", self.conn));
                        self.handle = Some(handle);
                        self.ready = Some(now + self.plan.idle);
                        handle
                    }
                    None => {
                        // The port is in use still.
                        self.plan.start = now + 50 * MS;
                        return Some(self.plan.start);
                    }
                }
            }
        };
        if now > self.plan.start + PATIENCE {
            stack.abort(handle);
            ledger.late.push(self.conn);
            self.finish(Outcome::Failed("it took too long"), stack, ledger);
            return None;
        }
        let mut wake = self.plan.start + PATIENCE + 1;
        match self.plan.end {
            End::ResetAt(after) if now >= self.plan.start + after => {
                stack.abort(handle);
                self.finish(Outcome::Left, stack, ledger);
                return None;
            }
            End::ResetAt(after) => wake = wake.min(self.plan.start + after),
            _ => {}
        }
        match stack.status(handle) {
            Status::Opening => return Some(wake),
            Status::Reset if !(self.ended && self.shut) => {
                // What came before the reset counts.
                self.plan.slow = None;
                self.take(now, handle, stack, ledger);
                let outcome = if self.done_at.is_some() || self.complete() {
                    Outcome::Complete
                } else {
                    Outcome::Failed("reset")
                };
                self.finish(outcome, stack, ledger);
                return None;
            }
            _ => {}
        }
        self.want(now, ledger);
        if now >= self.write_at {
            self.write(now, handle, stack);
        }
        if now >= self.read_at {
            if self.take(now, handle, stack, ledger)
                && let Some(_slow) = self.plan.slow
            {
                self.read_at = now + MS;
                wake = wake.min(self.read_at);
            }
        } else {
            wake = wake.min(self.read_at);
        }
        // What was read may be what a request waited for.
        self.want(now, ledger);
        if now >= self.write_at {
            self.write(now, handle, stack);
        }
        if self.written < self.out.len() && self.write_at > now {
            wake = wake.min(self.write_at);
        }
        if let Some(ready) = self.ready
            && ready > now
        {
            wake = wake.min(ready);
        }
        if let Some((since, _)) = self.body {
            wake = wake.min(since + SECOND);
        }
        if let End::ResetAfter(bytes) = self.plan.end
            && self.total >= bytes
        {
            stack.abort(handle);
            self.finish(Outcome::Left, stack, ledger);
            return None;
        }
        self.close(now, handle, stack, ledger, &mut wake);
        (!self.finished).then_some(wake.max(now + 1))
    }

    /// Whether everything that is to be said is written.
    fn said(&self) -> bool {
        let said = match &self.plan.what {
            What::Http(list, _) => {
                self.next == list.len() && self.body.is_none() && {
                    list.last().is_none_or(|last| last.upgrade.is_none()) || self.upgraded
                }
            }
            What::Tls(..) | What::Eager(..) => self.spoke,
            What::OpenOnly => true,
        };
        said && self.written == self.out.len()
    }

    fn close(
        &mut self,
        now: u64,
        handle: Handle,
        stack: &mut dyn Stack,
        ledger: &mut Ledger,
        wake: &mut u64,
    ) {
        if !self.shut && self.plan.end == End::Half && self.said() {
            stack.shutdown(handle);
            ledger.streams[self.conn].ended = true;
            self.shut = true;
        }
        if self.done_at.is_none() && self.complete() {
            self.done_at = Some(now);
        }
        if let (What::OpenOnly, None) = (&self.plan.what, self.done_at) {
            self.done_at = Some(now);
        }
        if let Some(done) = self.done_at {
            match self.plan.end {
                End::Reset => {
                    stack.abort(handle);
                    self.finish(Outcome::Complete, stack, ledger);
                    return;
                }
                End::Wait(wait) if !self.ended && now < done + wait => {
                    *wake = (*wake).min(done + wait);
                }
                _ if !self.shut => {
                    if let (What::OpenOnly, false) = (&self.plan.what, self.ended)
                        && now < done + self.plan.idle
                    {
                        *wake = (*wake).min(done + self.plan.idle);
                        return;
                    }
                    stack.shutdown(handle);
                    ledger.streams[self.conn].ended = true;
                    self.shut = true;
                }
                _ => {}
            }
        }
        if self.ended && self.done_at.is_none() {
            if !self.shut {
                stack.shutdown(handle);
                ledger.streams[self.conn].ended = true;
                self.shut = true;
            }
            let why = if self.timed_out { "408" } else { "ended" };
            self.finish(Outcome::Failed(why), stack, ledger);
            return;
        }
        if self.ended && self.shut {
            self.finish(Outcome::Complete, stack, ledger);
        }
    }

    fn complete(&self) -> bool {
        match &self.plan.what {
            What::Http(list, _) => self.done == list.len() && self.said(),
            What::Tls(..) | What::Eager(..) => {
                self.spoke
                    && self
                        .expected
                        .as_ref()
                        .is_some_and(|(_, expected)| self.got.len() == expected.len())
            }
            What::OpenOnly => false,
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        self.out.append(&mut self.header);
        self.out.extend_from_slice(bytes);
    }

    /// Puts what may be said into the buffer.
    fn want(&mut self, now: u64, ledger: &mut Ledger) {
        if self.plan.says_header_at_once() {
            self.say(&[]);
        }
        let What::Http(list, depth) = &self.plan.what else {
            if let (What::Tls(pool, ..), 0) = (&self.plan.what, self.next)
                && self.ready.is_some_and(|ready| now >= ready)
            {
                let hello = plan::client_hello(self.plan.id, *pool, plan::hello_len(self.plan.id));
                self.next = 1;
                self.say(&hello);
            }
            return;
        };
        let (list, depth) = (list.clone(), *depth);
        loop {
            if let Some((since, body)) = &self.body {
                if now < since + SECOND && !self.saw_100(&list) {
                    return;
                }
                let body = body.clone();
                self.body = None;
                self.say(&body);
            }
            let Some(next) = list.get(self.next) else {
                return;
            };
            if self.next >= self.done + depth || self.ended {
                return;
            }
            match self.ready {
                Some(ready) if now < ready => return,
                None => {
                    self.ready = Some(now + next.think);
                    if next.think > 0 {
                        return;
                    }
                }
                Some(_) => {}
            }
            ledger.note(|| format!("  client c{}: request {}", self.conn, self.next));
            self.ready = None;
            self.next += 1;
            let head = next.head();
            self.say(&head);
            let body = next.body();
            if next.expect {
                self.body = Some((now, body));
            } else {
                self.say(&body);
            }
        }
    }

    /// Whether the interim response that a body waits for, or a final one, has come.
    fn saw_100(&self, list: &[Exchange]) -> bool {
        self.next > 0
            && self.done == self.next - 1
            && list
                .get(self.done)
                .is_some_and(|_| self.got.windows(4).any(|end| end == b"\r\n\r\n"))
            || self.done >= self.next
    }

    fn write(&mut self, now: u64, handle: Handle, stack: &mut dyn Stack) {
        if self.written == self.out.len() || self.shut {
            return;
        }
        let rest = &self.out[self.written..];
        match self.plan.trickle {
            Some((most, wait)) => {
                let most = most.min(rest.len());
                self.written += stack.write(handle, &rest[..most]);
                self.write_at = now + wait;
            }
            None => self.written += stack.write(handle, rest),
        }
    }

    /// Reads; whether there was something.
    fn take(
        &mut self,
        now: u64,
        handle: Handle,
        stack: &mut dyn Stack,
        ledger: &mut Ledger,
    ) -> bool {
        let limit = self.plan.slow.unwrap_or(usize::MAX);
        let read = stack.read(handle, limit, &mut self.got);
        self.total += read;
        ledger.bytes += read as u64;
        let ended = stack.ended(handle);
        if ended && !self.ended {
            ledger.note(|| format!("  client c{}: the other side ended", self.conn));
        }
        self.ended = ended;
        match self.plan.what.clone() {
            What::Http(list, _) => while self.response(now, &list, ledger) {},
            What::Tls(pool, up, down) => self.opaque(pool, up, down, ledger),
            What::Eager(up, down) => self.opaque(0, up, down, ledger),
            What::OpenOnly => {
                if !self.got.is_empty() {
                    ledger.error(format!("c{}: bytes for no request", self.conn));
                    self.got.clear();
                    self.checked = 0;
                }
            }
        }
        read > 0
    }
}
