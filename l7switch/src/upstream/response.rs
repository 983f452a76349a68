// SPDX-License-Identifier: MIT
//! The head of a response, read by the engine's parser.

use std::io;

use bytes::BytesMut;
use l7switch_engine::http1::ResponseError;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::ResponseParser;
use thiserror::Error;

use super::feed::Broke;
use super::feed::Feed;
use super::feed::Patience;
use super::feed::wait;
use super::stream::ServerStream;
use crate::net::timer::Timer;
use crate::net::tls::refuses_certificate;

/// Read at a time where a response begins.
const READ: usize = 8 * 1024;

/// Why there is no head.
#[derive(Debug, Error)]
pub(super) enum NoHead {
    /// The connection ended, in order or not.
    #[error("the connection ended")]
    Closed,
    /// The server has refused the switch's certificate, and seen nothing.
    #[error("TLS: {0}")]
    Certificate(io::Error),
    /// What came is none.
    #[error("{0}")]
    Malformed(ResponseError),
    /// Nobody waits for it any more.
    #[error("nobody waits")]
    Broke(Broke),
}

/// Reads a head into the buffer, of which something may be there already; something of what follows may stand behind it. Gives
/// how long it is.
pub(super) async fn read_head<F: Feed>(
    feed: &mut F,
    server: &mut ServerStream,
    timer: &mut Timer,
    patience: Patience,
    buffer: &mut BytesMut,
) -> Result<(ResponseHead, usize), NoHead> {
    let mut parser = ResponseParser::new();
    let mut parsed = 0_usize;
    loop {
        let fresh = buffer.get(parsed..).unwrap_or_default();
        if !fresh.is_empty() {
            let progress = parser.consume(fresh).map_err(NoHead::Malformed)?;
            parsed = parsed.saturating_add(progress.consumed);
            if let Some(head) = progress.head {
                return Ok((head, parsed));
            }
        }
        buffer.reserve(READ);
        let read = wait(feed, server, timer, patience, |_, server, cx| {
            server.poll_read_buf(cx, buffer)
        });
        let read: io::Result<usize> = read.await.map_err(NoHead::Broke)?;
        match read {
            Ok(1..) => (),
            Err(error) if refuses_certificate(&error) => return Err(NoHead::Certificate(error)),
            Ok(0) | Err(_) => return Err(NoHead::Closed),
        }
    }
}
