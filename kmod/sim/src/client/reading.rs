// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a client makes of what comes: every byte is compared with what it has to be.

use super::Client;
use crate::ledger::Ledger;
use crate::ledger::matches_from;
use crate::ledger::text;
use crate::plan;
use crate::plan::Exchange;
use crate::plan::FRONT;
use crate::plan::Frame;
use crate::plan::What;

impl Client {
    /// Goes over a response that has come whole.
    pub(super) fn response(&mut self, now: u64, list: &[Exchange], ledger: &mut Ledger) -> bool {
        if self.timed_out {
            return false;
        }
        let Some(exchange) = list.get(self.done) else {
            if !self.got.is_empty() {
                ledger.error(format!(
                    "c{}: bytes behind the last response: {}",
                    self.conn,
                    text(&self.got)
                ));
                self.got.clear();
                self.checked = 0;
            }
            return false;
        };
        if self.expected.is_none() && self.got.len() >= 16 {
            if self.next <= self.done {
                ledger.error(format!(
                    "c{}: a response before its request: {}",
                    self.conn,
                    text(&self.got)
                ));
            }
            if self.got.starts_with(b"HTTP/1.1 408") {
                // A server that had got something of the request, and lost patience.
                self.expected = Some((0, Vec::new()));
                self.timed_out = true;
                return false;
            }
            let Some(server) = server_of(&self.got[13..16]) else {
                ledger.error(format!("c{}: no response: {}", self.conn, text(&self.got)));
                self.got.clear();
                self.checked = 0;
                return false;
            };
            if !ledger.may_answer(self.conn, server, exchange.pool) {
                ledger.error(format!(
                    "c{}r{}: for pool {}, answered by s{server:02}",
                    self.conn, self.done, exchange.pool
                ));
            }
            self.expected = Some((server, exchange.response(server)));
        }
        let Some((server, expected)) = &self.expected else {
            return false;
        };
        let whole = self.got.len().min(expected.len());
        let checked = std::mem::replace(&mut self.checked, whole);
        if let Err(at) = matches_from(checked, &self.got[..whole], expected) {
            ledger.error(format!(
                "c{}r{}: byte {at} of the response of s{server:02} is wrong: got {}, expected {}",
                self.conn,
                self.done,
                text(&self.got[at..]),
                text(&expected[at..])
            ));
            self.got.clear();
            self.checked = 0;
            return false;
        }
        let upgraded = exchange.upgrade.is_some();
        if upgraded && !self.upgraded {
            let down = exchange.upgrade.map_or(0, |(_, down)| down);
            if self.got.len() >= expected.len() - down {
                self.upgraded = true;
                let bytes = exchange.upgraded();
                self.say(&bytes);
            }
        }
        let Some((_, expected)) = &self.expected else {
            return false;
        };
        let whole = self.got.len() >= expected.len();
        let by_close = exchange.answer_frame == Frame::Close
            && exchange.method != plan::Method::Head
            && exchange.upgrade.is_none();
        if !whole || (by_close && !self.ended) {
            return false;
        }
        self.got.drain(..expected.len());
        self.checked = 0;
        self.expected = None;
        self.done += 1;
        ledger.exchanges += 1;
        ledger.streams[self.conn].answered += 1;
        ledger.note(|| {
            format!(
                "  client c{}: response {} is whole",
                self.conn,
                self.done - 1
            )
        });
        let _ = now;
        true
    }

    pub(super) fn opaque(&mut self, pool: u8, up: usize, down: usize, ledger: &mut Ledger) {
        let eager = matches!(self.plan.what, What::Eager(..));
        if self.expected.is_none() {
            let server = match eager {
                true if self.got.len() >= 7 => server_of(&self.got[4..7]),
                false if self.got.len() >= 3 => server_of(&self.got[..3]),
                _ => return,
            };
            let Some(server) = server else {
                ledger.error(format!("c{}: no greeting: {}", self.conn, text(&self.got)));
                self.got.clear();
                self.checked = 0;
                return;
            };
            if !ledger.may_serve(server, self.conn as u32, pool) {
                ledger.error(format!(
                    "c{}: for pool {pool}, answered by s{server:02}",
                    self.conn
                ));
            }
            let mut expected = if eager {
                plan::banner(server)
            } else {
                Vec::new()
            };
            expected.extend_from_slice(&plan::opaque_down(self.plan.id, server, down));
            self.expected = Some((server, expected));
        }
        let Some((server, expected)) = &self.expected else {
            return;
        };
        let banner = if eager {
            plan::banner(*server).len()
        } else {
            1
        };
        let checked = std::mem::replace(&mut self.checked, self.got.len());
        if let Err(at) = matches_from(checked, &self.got, expected) {
            ledger.error(format!(
                "c{}: byte {at} from s{server:02} is wrong: {}",
                self.conn,
                text(&self.got[at..])
            ));
            self.got.clear();
            self.checked = 0;
            return;
        }
        if !self.spoke && self.got.len() >= banner {
            self.spoke = true;
            let bytes = plan::opaque_up(self.plan.id, up);
            self.say(&bytes);
        }
    }
}

/// The number in `sNN`.
fn server_of(name: &[u8]) -> Option<u8> {
    match name {
        [b's', a @ b'0'..=b'9', b @ b'0'..=b'9'] => {
            let server = (a - b'0') * 10 + b - b'0';
            (server == FRONT || server < 90).then_some(server)
        }
        _ => None,
    }
}
