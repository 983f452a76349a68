// SPDX-License-Identifier: MIT
//! A request of the switch's own to a pool, whose response is read as a whole.

use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::Buf as _;
use bytes::BytesMut;
use http::Method;
use http::StatusCode;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseHead;

use super::feed::Broke;
use super::feed::Feed;
use super::feed::WaitsFor;
use super::idle::Ending;
use super::idle::Own;
use super::lease::BROKE_OFF;
use super::message::Message;
use super::pool::Pool;
use super::refusals::no_response;
use super::send::Answered;
use super::send::send;
use super::stream::ServerStream;
use crate::net::content::Decoder;
use crate::net::timer::Timer;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Most interim responses that are passed over.
const MOST_INTERIM: u32 = 100;

/// Read at a time.
const READ: usize = 16 * 1024;

/// A response, with all of its content.
#[derive(Debug)]
pub struct Whole {
    /// What its head says.
    pub head: ResponseHead,
    /// The head's bytes.
    pub bytes: BytesMut,
    /// The content.
    pub content: BytesMut,
}

/// What is done with the content.
#[derive(Clone, Copy, Debug)]
pub enum Keeps {
    /// All of it is kept, which is at most so many bytes.
    All(usize),
    /// It is dropped as it comes. Behind so many bytes the connection ends.
    Nothing(usize),
}

/// No client: nobody sends more content, or goes away.
#[derive(Debug)]
pub struct Nobody;

impl Feed for Nobody {
    fn poll_feed(
        &mut self,
        _: &mut ServerStream,
        _: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn waits_for(&self) -> WaitsFor {
        WaitsFor::Server
    }

    fn moved(&self) -> u64 {
        0
    }

    fn is_untouched(&self) -> bool {
        true
    }
}

/// Sends a request, and reads the response. The connection is kept where it can be.
///
/// # Errors
///
/// See [`send`]; the content is longer.
pub async fn call<F: Feed>(
    pool: &Arc<Pool>,
    own: &Arc<Own>,
    message: &mut Message<'_>,
    feed: &mut F,
    timer: &mut Timer,
    keeps: Keeps,
) -> Result<Whole, Refusal> {
    let mut buffer = BytesMut::new();
    let mut answered = send(pool, own, message, &mut (), feed, timer, &mut buffer).await?;
    let patience = message.patience;
    let mut passed = 0_u32;
    while answered.head.interim() {
        passed = passed.saturating_add(1);
        buffer.advance(answered.length);
        if passed > MOST_INTERIM {
            answered.lease.failed("too many interim responses");
            return Err(no_response());
        }
        let read = answered
            .lease
            .read_head(feed, timer, patience, &mut buffer)
            .await?;
        (answered.head, answered.length) = read;
    }
    let Answered {
        head,
        length,
        mut lease,
        ..
    } = answered;
    // Nobody has asked for another protocol; and there are no others (RFC 9110, 15).
    if !(200..600).contains(&head.status) {
        lease.failed("its status is none");
        return Err(no_response());
    }
    let bytes = buffer.split_to(length);
    let kind = if *message.method == Method::HEAD {
        RequestKind::Head
    } else {
        RequestKind::Normal
    };
    let mut decoder = Decoder::of_response(head.body(kind));
    let mut content = BytesMut::new();
    let mut read = 0_usize;
    loop {
        let Ok(decoded) = decoder.decode(&mut buffer) else {
            lease.failed("its content is not HTTP");
            return Err(no_response());
        };
        let has_surplus = decoded.length < buffer.len();
        read = read.saturating_add(decoded.data.len());
        match keeps {
            Keeps::All(most) if read > most => return Err(too_long()),
            Keeps::All(_) => {
                content.extend_from_slice(buffer.get(decoded.data).unwrap_or_default());
            }
            // Reading more costs more than another connection.
            Keeps::Nothing(most) if read > most => break,
            Keeps::Nothing(_) => (),
        }
        if decoded.ended {
            if has_surplus {
                lease.surplus();
            } else if head.persistent {
                let ending = Ending::of(message.method, head.status, false);
                lease.completed(ending, Instant::now());
            } else {
                lease.ended();
            }
            break;
        }
        buffer.clear();
        buffer.reserve(READ);
        match lease.read(feed, timer, patience, &mut buffer).await {
            Ok(Ok(1..)) => (),
            Ok(Ok(0)) if decoder.ends_with_connection() => {
                lease.ended();
                break;
            }
            Ok(_) | Err(Broke::Expired(_)) => {
                lease.failed(BROKE_OFF);
                return Err(no_response());
            }
            Err(broke) => return Err(broke.refusal()),
        }
    }
    Ok(Whole {
        head,
        bytes,
        content,
    })
}

fn too_long() -> Refusal {
    Refusal::new(
        Reason::BadResponse,
        StatusCode::BAD_GATEWAY,
        "the response is longer than it may be",
    )
}
