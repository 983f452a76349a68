// SPDX-License-Identifier: MIT
//! A WebSocket on a shared connection (RFC 8441): through the pipe it is an upgrade of HTTP/1 (RFC 6455, 4).

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::Response;
use http::header;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::WriteHalf;

use super::Shared;
use super::Unseen;
use super::Word;
use super::asked::Asked;
use super::asked::Opening;
use super::asked::Source;
use super::exchange::Broke;
use super::exchange::Outcome;
use super::exchange::answer;
use super::exchange::begin;
use super::exchange::ended;
use super::exchange::pass;
use super::exchange::push_field;
use crate::net::stream::Prefixed;
use crate::net::websocket::Stream;
use crate::net::websocket::accept;

/// Bytes held for each direction.
const BUFFER: usize = 32 * 1024;

/// Opens a WebSocket, and passes bytes on both ways until both have ended.
pub(super) async fn open(
    asked: &Asked,
    opening: &Opening,
    shared: &Shared,
    source: Source,
    mut writer: WriteHalf<DuplexStream>,
    word: &Word,
) -> Outcome {
    match shared.takes_websockets().await {
        Some(true) => (),
        Some(false) => return Outcome::Unseen(Unseen::Unable),
        None => return Outcome::Unseen(Unseen::Ended),
    }
    let (mut response, mut to) = match begin(asked, shared, false).await {
        Ok(begun) => begun,
        Err(outcome) => return outcome,
    };
    let mut has_begun = false;
    let response = match answer(&mut response, &mut writer, &mut has_begun).await {
        Ok(response) => response,
        Err(Broke::Server(error)) => return ended(&error, has_begun, shared),
        Err(Broke::Exchange) => return Outcome::Over,
    };
    if !response.status().is_success() {
        // It stays a request, without content.
        let _ = to.send_data(Bytes::new(), true);
        let _ = pass(response, &mut writer, false).await;
        return Outcome::Over;
    }
    let (parts, from) = response.into_parts();
    let head = changed(&Response::from_parts(parts, ()), opening);
    if writer.write_all(&head).await.is_err() {
        return Outcome::Over;
    }
    let (received, reader) = source.into_rest();
    let mut near = Prefixed::new(received, reader.unsplit(writer));
    let mut stream = Stream::new(from, to);
    let copied =
        tokio::io::copy_bidirectional_with_sizes(&mut near, &mut stream, BUFFER, BUFFER).await;
    if copied.is_err() {
        word.is_broken.store(true, Relaxed);
        stream.reset();
    }
    Outcome::Over
}

/// The head of HTTP/1 for a response that opens a WebSocket (RFC 6455, 4.2.2).
fn changed(response: &Response<()>, opening: &Opening) -> Vec<u8> {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    push_field(&mut out, "connection", b"upgrade");
    push_field(&mut out, "upgrade", b"websocket");
    if let Some(key) = &opening.key {
        let accept = accept(key.as_bytes());
        push_field(&mut out, "sec-websocket-accept", accept.as_bytes());
    }
    let kept = response.headers().iter().filter(|(name, _)| {
        // What belongs to content, of which there is none.
        ![header::CONTENT_LENGTH, header::SEC_WEBSOCKET_ACCEPT].contains(name)
    });
    for (name, value) in kept {
        push_field(&mut out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}
