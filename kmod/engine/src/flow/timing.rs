// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What happens because nothing does.

use super::leg::Phase;
use super::leg::HEADER;
use super::milliseconds;
use super::seq;
use super::Env;
use super::Event;
use super::Failure;
use super::Flow;
use super::LegNumber;
use super::State;
use super::CLIENT_FIN;
use super::OWN_FIN;
use super::RESET;
use super::SERVER_FIN;

/// How often a PROXY header is sent again where nothing comes at all; each time after twice as long, from a second on
/// (RFC 6298, 5.5).
const HEADERS: u8 = 6;
/// How long the answer to a SYN is waited for before it is sent again, ms (RFC 6298, 2.1).
const SYN_MS: u32 = 1_000;
/// SYNs that are sent to a server.
const SYNS: u8 = 3;
/// How long a request's head may take, ms, before the front waits for it: nothing is acknowledged meanwhile, so that the
/// client may have stopped sending.
const HEAD_MS: u32 = 2_000;
/// How long a client may be silent between requests where its server has gone, ms. It may have sent one that was lost, and
/// send it again after up to two minutes (RFC 6298, 2.5).
const IDLE_MS: u32 = 130_000;
/// How long a connection with a server may be silent, ms: as IPVS has it.
const OPEN_MS: u32 = 900_000;
/// The same where one side has ended and nothing is to come, ms. A sender that has backed off is silent for up to two
/// minutes (RFC 6298, 2.5).
const HALF_MS: u32 = 130_000;
/// After how long the switch's own FIN is sent again, ms, and for how long it is.
const FIN_MS: u32 = 1_000;
const FINS_MS: u32 = 20_000;
/// How long late packets are waited for, ms.
const LINGER_MS: u32 = 2_000;
/// The same after a reset of a server's or of the switch's, ms: it may have been lost, and what the client sends again, after up
/// to two minutes (RFC 6298, 2.5), must not begin a connection, for a server may have taken it.
const RESET_MS: u32 = 130_000;

impl Flow {
    /// When it is to be looked at next ([`Flow::tick`]) if nothing comes, ms modulo 2³².
    /// `held`: something of it is held.
    #[inline]
    pub fn due(&self, held: bool) -> u32 {
        let idle = match self.state {
            State::Dead => return self.seen,
            State::Closing if self.has(RESET) && !self.has(CLIENT_FIN) => RESET_MS,
            State::Closing => LINGER_MS,
            State::Open => match (self.binding(), self.active()) {
                (Some(leg), _) => {
                    let since = self.leg(leg).map_or(self.seen, |leg| leg.since);
                    return since.wrapping_add(SYN_MS);
                }
                _ if held && self.responses.idle() => {
                    return milliseconds(self.asked).wrapping_add(HEAD_MS);
                }
                (None, Some(leg)) if self.lacks_header(leg) => {
                    SYN_MS.wrapping_shl(u32::from(self.tries))
                }
                (None, None) if self.has(OWN_FIN) && self.acked != self.to_client => FIN_MS,
                (None, None) if !self.has(OWN_FIN) => IDLE_MS,
                _ if self.outstanding() > 0 => OPEN_MS,
                _ if self.has(CLIENT_FIN) || self.has(SERVER_FIN) => HALF_MS,
                _ => OPEN_MS,
            },
        };
        self.seen.wrapping_add(idle)
    }

    /// Whether the server of a leg has not acknowledged its PROXY header.
    #[inline]
    fn lacks_header(&self, leg: LegNumber) -> bool {
        self.leg(leg).is_some_and(|leg| leg.is(HEADER))
    }

    /// Does what time has come for. The flow may be [`State::Dead`] then.
    pub fn tick<E: Env>(&mut self, env: &mut E) {
        let now = milliseconds(env.now());
        if self.state == State::Dead || seq::before(now, self.due(env.held_end().is_some())) {
            return;
        }
        if let Some(index) = self.binding() {
            if self.tries < SYNS {
                self.send_syn(index, env);
            } else {
                self.bind_failed(Failure::Timeout, env);
            }
            return;
        }
        if self.state == State::Closing {
            self.finish(env);
            return;
        }
        if env.held_end().is_some() && self.responses.idle() {
            // A head that is too slow. What the front makes of it is the front's.
            self.parse_requests(None, true, env);
            if self.binding().is_none() && self.state == State::Open {
                // It waits for proof that the response before is complete: the client sends it again if it is there.
                env.discard();
            }
            return;
        }
        if let Some(index) = self.active().filter(|&leg| self.lacks_header(leg)) {
            if self.tries < HEADERS {
                self.tries = self.tries.saturating_add(1);
                env.count(Event::ProxyResent);
                self.send_header(index, env);
                return;
            }
        }
        if self.active().is_none() && self.acked == self.to_client && !self.has(SERVER_FIN) {
            // Between two requests: a client knows how to take that.
            env.count(Event::Idle);
            self.end_to_client(env);
            self.seen = now;
            return;
        }
        let since = now.wrapping_sub(milliseconds(self.asked));
        if self.has(OWN_FIN) && self.acked != self.to_client && since < FINS_MS {
            self.end_to_client(env);
            self.seen = now;
            return;
        }
        env.count(Event::Idle);
        self.reset(true, env);
    }

    /// Forgets a flow that both sides have ended, and tells the servers of legs that are not in use.
    fn finish<E: Env>(&mut self, env: &mut E) {
        let active = self.active();
        for index in LegNumber::ALL {
            let told = active == Some(index)
                || self
                    .leg(index)
                    .is_none_or(|leg| leg.phase == Phase::Lingering);
            self.drop_leg(index, !told, env);
        }
        env.discard();
        self.state = State::Dead;
    }
}
