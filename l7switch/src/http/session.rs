// SPDX-License-Identifier: MIT
//! What the exchanges of a client's connection have in common.

use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use l7switch_rules::model::Limits;

use super::Codec;
use super::NotTaken;
use super::Piece;
use super::buffers::Buffers;
use super::exchange::MOST_PASSED_OVER;
use super::exchange::Next;
use super::fields::push;
use crate::client::Client;
use crate::net::timer::Expired;
use crate::net::timer::Timer;
use crate::observe::reason::Reason;
use crate::upstream::Pool;
use crate::upstream::Told;

/// Room for what the switch says of itself.
const OWN: usize = 160;

/// A client's end, and what is used again from exchange to exchange.
pub(super) struct Session<'a, C> {
    pub(super) client: &'a Client,
    pub(super) limits: &'a Limits,
    pub(super) codec: C,
    pub(super) timer: Timer,
    /// Longest silence of the client within an exchange.
    pub(super) idle: Duration,
    /// The request is one of gRPC.
    pub(super) is_grpc: bool,
    /// The client means to send another request.
    pub(super) is_persistent: bool,
    /// The same, and what is left of this one can be passed over where nobody reads it.
    pub(super) may_go_on: bool,
    /// What the switch says of the client in a usual request, up to the value of X-Forwarded-Host.
    pub(super) own: Vec<u8>,
    /// Empty between two exchanges.
    pub(super) buffers: Buffers,
}

impl<'a, C: Codec> Session<'a, C> {
    pub(super) fn new(client: &'a Client, limits: &'a Limits, codec: C, timer: Timer) -> Self {
        let mut own = Vec::with_capacity(OWN);
        push(&mut own, b"x-forwarded-for", client.peer_text.as_bytes());
        push(&mut own, b"x-forwarded-proto", client.scheme.as_bytes());
        own.extend_from_slice(b"x-forwarded-host: ");
        Self {
            client,
            limits,
            codec,
            timer,
            idle: limits.idle_timeout,
            is_grpc: false,
            is_persistent: true,
            may_go_on: true,
            own,
            buffers: Buffers::default(),
        }
    }

    /// What servers of a pool are told of a connection for a request whose client has this address.
    pub(super) fn told(&self, pool: &Pool, source: SocketAddr) -> Option<Told> {
        let version = pool.config().send_proxy?;
        let ends = Some(self.client.ends(source));
        Some(Told { version, ends })
    }

    /// Reads the rest of a request's content for nobody.
    pub(super) async fn pass_over(&mut self) -> Next {
        let mut left = MOST_PASSED_OVER;
        loop {
            self.timer.start(self.limits.idle_timeout);
            let codec = &mut self.codec;
            match self.timer.within(|cx| codec.poll_content(cx)).await {
                Ok(Ok(Piece::End(_))) => return Next::Request,
                Ok(Ok(Piece::Data(data))) => {
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    match left.checked_sub(length) {
                        Some(less) => left = less,
                        None => return Next::Last,
                    }
                }
                Ok(Err(_)) | Err(Expired) => return Next::Last,
            }
        }
    }

    /// Sends what was said to be sent, and what stands in the buffer of the server's bytes.
    pub(super) async fn send(&mut self) -> Result<(), NotTaken> {
        let Self {
            codec,
            timer,
            buffers,
            idle,
            ..
        } = self;
        loop {
            timer.start(*idle);
            let before = buffers.from_server.len();
            let mut moved = false;
            let sent = timer
                .within(|cx| {
                    let polled = codec.poll_send(cx, &mut buffers.from_server);
                    if polled.is_pending() && codec.poll_gone(cx).is_ready() {
                        return Poll::Ready(Some(Err(NotTaken(Reason::ClientGone))));
                    }
                    // The client has as long for each piece that it takes.
                    moved = polled.is_pending() && buffers.from_server.len() < before;
                    if moved {
                        return Poll::Ready(None);
                    }
                    polled.map(Some)
                })
                .await;
            match sent {
                Ok(Some(sent)) => return sent,
                Ok(None) => (),
                Err(Expired) if timer.is_over() => return Err(NotTaken(Reason::RequestTimeout)),
                Err(Expired) => return Err(NotTaken(Reason::IdleTimeout)),
            }
        }
    }
}
