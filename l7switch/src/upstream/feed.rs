// SPDX-License-Identifier: MIT
//! What goes to a server behind a request's head, while its response is awaited or already comes.

use std::future::poll_fn;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use super::stream::ServerStream;
use crate::net::timer::Timer;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Who has to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The client has more to send.
    Client,
    /// The server has all that the client has sent.
    Server,
}

/// How long is waited for whom.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the server to go on.
    pub response: Duration,
    /// For the client to go on with the content, or to take it.
    pub client: Duration,
}

/// The client's end of an exchange.
pub trait Feed {
    /// Goes on with the content. Ready: there is no more for the server, or it broke off.
    fn poll_feed(
        &mut self,
        server: &mut ServerStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>>;

    /// Ready when the client wants no response any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready when the client waits for nothing any more that was not begun.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }

    /// Who has to go on.
    fn waits_for(&self) -> WaitsFor;

    /// Changes when content moves.
    fn moved(&self) -> u64;

    /// Whether there is no content but what was sent with the head.
    fn is_untouched(&self) -> bool;

    /// Whether the content can go from its start: nothing of it has gone, or all that has is kept.
    fn can_begin(&self) -> bool {
        self.is_untouched()
    }

    /// Whether the rules let the content go to a server from its start that another server may have seen some of.
    fn may_repeat(&self) -> bool {
        self.is_untouched()
    }

    /// Has the content go from its start: another server, or another connection, gets it. `false`: it cannot.
    fn begin(&mut self) -> bool {
        self.can_begin()
    }
}

/// Why a wait ended without what it was for.
#[derive(Debug)]
pub enum Broke {
    /// The client broke off within its content.
    Content(Refusal),
    /// The client wants no response any more.
    Gone,
    /// Nobody moved in time; it was for these to do so.
    Expired(WaitsFor),
    /// The exchange has taken as long as it may, while the server was waited for. That is no fault of the server, which may have had
    /// no time.
    Over,
}

impl Broke {
    /// The server has not done in time what it was waited for.
    pub fn expired(timer: &Timer) -> Self {
        if timer.is_over() {
            Self::Over
        } else {
            Self::Expired(WaitsFor::Server)
        }
    }

    /// What a client is told that can still be told something.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Content(refusal) => refusal,
            Self::Gone => Refusal::new(
                Reason::ClientGone,
                http::StatusCode::BAD_REQUEST,
                "the client has gone",
            ),
            Self::Over => Refusal::new(
                Reason::RequestTimeout,
                http::StatusCode::GATEWAY_TIMEOUT,
                "the request took longer than it may",
            ),
            Self::Expired(WaitsFor::Client) => Refusal::new(
                Reason::BodyTimeout,
                http::StatusCode::REQUEST_TIMEOUT,
                "the content of the request did not arrive in time",
            ),
            Self::Expired(WaitsFor::Server) => Refusal::new(
                Reason::ResponseTimeout,
                http::StatusCode::GATEWAY_TIMEOUT,
                "the server did not begin its response in time",
            ),
        }
    }
}

/// Waits for what `poll` gives, while content goes on. The time begins anew with everything that moves.
///
/// # Errors
///
/// See [`Broke`].
pub(super) async fn wait<F: Feed, T>(
    feed: &mut F,
    server: &mut ServerStream,
    timer: &mut Timer,
    patience: Patience,
    mut poll: impl FnMut(&mut F, &mut ServerStream, &mut Context<'_>) -> Poll<T>,
) -> Result<T, Broke> {
    let mut seen = None;
    poll_fn(|cx| {
        if let Poll::Ready(Err(refusal)) = feed.poll_feed(server, cx) {
            return Poll::Ready(Err(Broke::Content(refusal)));
        }
        if let Poll::Ready(value) = poll(feed, server, cx) {
            return Poll::Ready(Ok(value));
        }
        if feed.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Broke::Gone));
        }
        let now = (feed.moved(), feed.waits_for());
        if seen != Some(now) {
            seen = Some(now);
            timer.start(match now.1 {
                WaitsFor::Client => patience.client,
                WaitsFor::Server => patience.response,
            });
        }
        timer.poll_expired(cx).map(|()| {
            Err(match now.1 {
                WaitsFor::Server => Broke::expired(timer),
                WaitsFor::Client => Broke::Expired(now.1),
            })
        })
    })
    .await
}
