// SPDX-License-Identifier: MIT
//! One request and its response on a shared connection.

use std::future::poll_fn;
use std::io;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::Method;
use http::Response;
use http::header;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::WriteHalf;

use super::Shared;
use super::Ticket;
use super::Unseen;
use super::Word;
use super::asked::Asked;
use super::asked::Source;
use super::asked::Unread;
use super::websocket;

/// Serves the request that comes through a pipe. Of one that the server has not seen, as it says itself, this is noted before the
/// pipe ends.
pub(super) async fn serve(far: DuplexStream, ticket: Ticket, word: Arc<Word>) {
    let (reader, mut writer) = tokio::io::split(far);
    let (asked, mut source) = match Asked::read(reader).await {
        Ok(read) => read,
        Err(Unread::Gone) => return,
        Err(Unread::Unfit) => return unfit(&mut writer).await,
    };
    let shared = &ticket.shared;
    let outcome = match &asked.websocket {
        Some(_) if asked.request(shared.scheme).is_err() => return unfit(&mut writer).await,
        Some(opening) => websocket::open(&asked, opening, shared, source, writer, &word).await,
        None => match attempt(&asked, shared, &mut source, &mut writer).await {
            Outcome::Unfit => return unfit(&mut writer).await,
            outcome => outcome,
        },
    };
    match outcome {
        Outcome::Over | Outcome::Unfit => (),
        Outcome::Unseen(why) => {
            if why == Unseen::Refused {
                ticket.refused();
            }
            let _ = word.unseen.set(why);
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The response was passed on, or broke off, or nobody waits for it.
    Over,
    /// The server has not seen the request.
    Unseen(Unseen),
    /// HTTP/2 has no such request.
    Unfit,
}

/// Tells the client that its request cannot be put in HTTP/2, which is no fault of the server.
async fn unfit(writer: &mut WriteHalf<DuplexStream>) {
    let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = writer.write_all(answer).await;
    let _ = writer.flush().await;
    // The exchange ends the pipe when it has read that.
    std::future::pending::<()>().await;
}

/// Opens a stream by a request's head.
///
/// # Errors
///
/// What came of it instead.
pub(super) async fn begin(
    asked: &Asked,
    shared: &Shared,
    is_whole: bool,
) -> Result<(ResponseFuture, SendStream<Bytes>), Outcome> {
    let request = asked.request(shared.scheme).map_err(|_| Outcome::Unfit)?;
    let sent = match shared.send.clone().ready().await {
        Ok(mut send) => send.send_request(request, is_whole),
        Err(error) => Err(error),
    };
    sent.map_err(|error| {
        tracing::debug!(%error, "no request on an HTTP/2 connection");
        if !(error.is_go_away() || error.is_io() || error.is_reset()) {
            return Outcome::Unfit;
        }
        shared.closed.store(true, Relaxed);
        Outcome::Unseen(Unseen::Ended)
    })
}

async fn attempt(
    asked: &Asked,
    shared: &Shared,
    source: &mut Source,
    writer: &mut WriteHalf<DuplexStream>,
) -> Outcome {
    let (response, body) = match begin(asked, shared, source.is_empty()).await {
        Ok(begun) => begun,
        Err(outcome) => return outcome,
    };
    let is_head = asked.method == Method::HEAD;
    let mut has_begun = false;
    tokio::select! {
        downloaded = download(response, writer, is_head, &mut has_begun) => match downloaded {
            Err(Broke::Server(error)) => ended(&error, has_begun, shared),
            Ok(()) | Err(Broke::Exchange) => Outcome::Over,
        },
        // What is left of the stream is reset as it is dropped.
        () = upload(source, body) => Outcome::Over,
    }
}

/// What came of a request whose stream the server has ended.
pub(super) fn ended(error: &h2::Error, has_begun: bool, shared: &Shared) -> Outcome {
    // Of a response that has begun, interim or not, the server knows.
    if has_begun || !is_unseen(error) {
        tracing::debug!(%error, "a response by HTTP/2");
        return Outcome::Over;
    }
    if !error.is_go_away() {
        return Outcome::Unseen(Unseen::Refused);
    }
    shared.closed.store(true, Relaxed);
    Outcome::Unseen(Unseen::Ended)
}

/// Whether the server says that it has not seen a request (RFC 9113, 8.7).
fn is_unseen(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Why a response is not passed on to its end.
#[derive(Debug)]
pub(super) enum Broke {
    Server(h2::Error),
    Exchange,
}

impl From<h2::Error> for Broke {
    fn from(error: h2::Error) -> Self {
        Self::Server(error)
    }
}

impl From<io::Error> for Broke {
    fn from(_: io::Error) -> Self {
        Self::Exchange
    }
}

/// Passes a request's content on. Ready when the exchange has gone.
async fn upload(source: &mut Source, mut body: SendStream<Bytes>) {
    if !source.is_empty() {
        match send(source, &mut body).await {
            Ok(()) => (),
            // The exchange broke off.
            Err(Broke::Exchange) => return,
            // The server takes no more: its response tells why, or has come before.
            Err(Broke::Server(_)) => (),
        }
    }
    source.gone().await;
}

async fn send(source: &mut Source, body: &mut SendStream<Bytes>) -> Result<(), Broke> {
    loop {
        let mut data = source.data().await?;
        if data.is_empty() {
            break;
        }
        while !data.is_empty() {
            body.reserve_capacity(data.len());
            let capacity = poll_fn(|cx| body.poll_capacity(cx)).await;
            // No more capacity, ever: the stream has ended.
            let Some(capacity) = capacity.transpose()? else {
                return Err(Broke::Server(h2::Reason::CANCEL.into()));
            };
            let piece = data.split_to(capacity.min(data.len()));
            body.send_data(piece, false)?;
        }
    }
    let trailers = source.trailers();
    if trailers.is_empty() {
        body.send_data(Bytes::new(), true)?;
    } else {
        body.send_trailers(trailers)?;
    }
    Ok(())
}

/// Passes a response on.
async fn download(
    mut response: ResponseFuture,
    writer: &mut WriteHalf<DuplexStream>,
    is_head: bool,
    has_begun: &mut bool,
) -> Result<(), Broke> {
    let response = answer(&mut response, writer, has_begun).await?;
    pass(response, writer, is_head).await
}

/// The final response. Interim ones are passed on.
pub(super) async fn answer(
    response: &mut ResponseFuture,
    writer: &mut WriteHalf<DuplexStream>,
    has_begun: &mut bool,
) -> Result<Response<RecvStream>, Broke> {
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                return Poll::Ready(interim.map(Next::Interim));
            }
            let polled = Pin::new(&mut *response).poll(cx);
            polled.map(|response| response.map(Next::Final))
        });
        let next = next.await?;
        *has_begun = true;
        match next {
            // HTTP/2 has none (RFC 9113, 8.6), and in HTTP/1 it would be the end of HTTP.
            Next::Interim(interim) if interim.status() == 101 => {
                return Err(Broke::Server(h2::Reason::PROTOCOL_ERROR.into()));
            }
            Next::Interim(interim) => writer.write_all(&head(&interim, b"\r\n")).await?,
            Next::Final(response) => return Ok(response),
        }
    }
}

/// Passes a final response on.
pub(super) async fn pass(
    response: Response<RecvStream>,
    writer: &mut WriteHalf<DuplexStream>,
    is_head: bool,
) -> Result<(), Broke> {
    let (parts, mut content) = response.into_parts();
    let response = Response::from_parts(parts, ());
    let is_empty =
        content.is_end_stream() || is_head || [204, 304].contains(&response.status().as_u16());
    let has_length = response.headers().contains_key(header::CONTENT_LENGTH);
    let framing: &[u8] = match (is_empty, has_length) {
        (true, true) | (false, true) => b"connection: close\r\n\r\n",
        (true, false) if is_head || response.status() == 204 || response.status() == 304 => {
            b"connection: close\r\n\r\n"
        }
        (true, false) => b"connection: close\r\ncontent-length: 0\r\n\r\n",
        (false, false) => b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
    };
    writer.write_all(&head(&response, framing)).await?;
    if is_empty {
        return Ok(());
    }
    let mut chunk = Vec::new();
    while let Some(data) = content.data().await {
        let data = data?;
        if has_length {
            writer.write_all(&data).await?;
        } else if !data.is_empty() {
            // At once: what is read without its end is passed on without it.
            chunk.clear();
            let _ = write!(chunk, "{:x}\r\n", data.len());
            chunk.extend_from_slice(&data);
            chunk.extend_from_slice(b"\r\n");
            writer.write_all(&chunk).await?;
        }
        // What was written has gone no further than the pipe, whose room is bounded.
        let _ = content.flow_control().release_capacity(data.len());
    }
    if !has_length {
        let mut end = b"0\r\n".to_vec();
        for (name, value) in content.trailers().await?.iter().flatten() {
            push_field(&mut end, name.as_str(), value.as_bytes());
        }
        end.extend_from_slice(b"\r\n");
        writer.write_all(&end).await?;
    }
    Ok(())
}

enum Next {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

/// A head in HTTP/1.1, with what stands at its end.
fn head(response: &Response<()>, end: &[u8]) -> Vec<u8> {
    let status = response.status();
    let mut out = Vec::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or_default();
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_str());
    for (name, value) in response.headers() {
        push_field(&mut out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(end);
    out
}

pub(super) fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
