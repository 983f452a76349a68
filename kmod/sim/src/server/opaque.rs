// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Connections of which only the beginning is read: TLS, and those where the server speaks first.

use super::Answer;
use super::Server;
use crate::ledger::Ledger;
use crate::ledger::matches;
use crate::ledger::matches_from;
use crate::ledger::text;
use crate::plan;
use crate::plan::What;

impl Server {
    /// Compares what has come on an opaque connection that has begun; `false`: it has not begun.
    fn goes_on(&mut self, ledger: &mut Ledger) -> bool {
        let Some(expected) = &self.opaque else {
            return false;
        };
        let checked = std::mem::replace(&mut self.checked, self.got.len());
        if let Err(at) = matches_from(checked, &self.got, expected) {
            ledger.error(format!(
                "s{:02}: byte {at} of an opaque connection is wrong: {}",
                self.server,
                text(&self.got[at..])
            ));
        }
        true
    }

    pub(super) fn tls(&mut self, now: u64, ledger: &mut Ledger) {
        if self.goes_on(ledger) {
            return;
        }
        if self.got.len() < 43 {
            return;
        }
        let Some((conn, pool, up, down)) = tls_conn(&self.got[11..20], ledger) else {
            ledger.error(format!(
                "s{:02}: no hello: {}",
                self.server,
                text(&self.got)
            ));
            self.got.clear();
            return;
        };
        if !ledger.may_serve(self.server, conn, pool) {
            ledger.error(format!("s{:02}: c{conn} is for pool {pool}", self.server));
        }
        self.is_told_of(conn, ledger);
        self.of = Some((conn, 0, 0));
        let mut expected = plan::client_hello(conn, pool, plan::hello_len(conn));
        let hello = expected.len();
        expected.extend_from_slice(&plan::opaque_up(conn, up));
        if let Err(at) = matches(&self.got, &expected) {
            ledger.error(format!(
                "s{:02}: byte {at} of c{conn} is wrong",
                self.server
            ));
        }
        if self.got.len() >= hello {
            self.opaque = Some(expected);
            self.speak(now, plan::opaque_down(conn, self.server, down));
        }
    }

    fn speak(&mut self, now: u64, bytes: Vec<u8>) {
        self.answers.push(Answer {
            at: now,
            bytes,
            trickle: None,
            reset_after: None,
            close: false,
            asked: true,
        });
    }

    pub(super) fn eager(&mut self, now: u64, ledger: &mut Ledger) {
        if !self.greeted {
            self.greeted = true;
            self.speak(now, plan::banner(self.server));
        }
        if self.goes_on(ledger) {
            return;
        }
        if self.got.len() < 10 {
            return;
        }
        let Some((conn, pool, up, down)) = tls_conn(&self.got[..9], ledger) else {
            ledger.error(format!(
                "s{:02}: no greeting: {}",
                self.server,
                text(&self.got)
            ));
            self.got.clear();
            return;
        };
        if !ledger.may_serve(self.server, conn, pool) {
            ledger.error(format!("s{:02}: c{conn} is for pool {pool}", self.server));
        }
        self.is_told_of(conn, ledger);
        self.of = Some((conn, 0, 0));
        self.opaque = Some(plan::opaque_up(conn, up));
        self.speak(now, plan::opaque_down(conn, self.server, down));
    }
}

/// The connection that `cNNNNNNNN` names: its number, its pool, and what both sides send.
fn tls_conn(name: &[u8], ledger: &Ledger) -> Option<(u32, u8, usize, usize)> {
    let conn: u32 = std::str::from_utf8(name)
        .ok()?
        .strip_prefix('c')?
        .parse()
        .ok()?;
    match ledger.plan.conns.get(conn as usize)?.what {
        What::Tls(pool, up, down) => Some((conn, pool, up, down)),
        What::Eager(up, down) => Some((conn, 0, up, down)),
        _ => None,
    }
}
