// SPDX-License-Identifier: MIT
//! One request and its response on a shared connection.

use std::future::poll_fn;
use std::io;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

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

use super::Offer;
use super::Shared;
use super::Ticket;
use super::asked::Asked;
use super::asked::Source;
use super::asked::Unread;
use crate::upstream::connect::Told;
use crate::upstream::server::RealServer;

/// How often a request is sent again whose server says so. One that ends each connection after few requests says so to many that
/// come at the same time.
const ATTEMPTS: u32 = 64;

/// How often one is sent again that the server refuses.
const REFUSALS: u32 = 3;

/// Longest rest before it is.
const REST: Duration = Duration::from_millis(20);

/// Serves the request that comes through a pipe. One that the server has not seen, as it says itself, is sent again on another
/// connection (RFC 9113, 8.7 and 6.8).
pub(super) async fn serve(
    far: DuplexStream,
    server: Arc<RealServer>,
    mut ticket: Ticket,
    told: Option<Told>,
    patience: Duration,
) {
    let (reader, mut writer) = tokio::io::split(far);
    let (asked, mut source) = match Asked::read(reader).await {
        Ok(read) => read,
        Err(Unread::Gone) => return,
        Err(Unread::Unfit) => return unfit(&mut writer).await,
    };
    let mut refusals = 0_u32;
    for attempts in 0..ATTEMPTS {
        match attempt(&asked, &ticket.0, &mut source, &mut writer).await {
            Outcome::Unseen => (),
            Outcome::Refused if refusals < REFUSALS => refusals = refusals.saturating_add(1),
            Outcome::Refused | Outcome::Over => return,
            Outcome::Unfit => return unfit(&mut writer).await,
        }
        if !source.rewind() {
            return;
        }
        drop(ticket);
        // The first time without one: a connection that has just ended is the usual case.
        tokio::time::sleep(REST.min(Duration::from_millis(attempts.into()))).await;
        match server.offer(told, patience).await {
            Ok(Offer::Shared(next)) => ticket = next,
            _ => return,
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The response was passed on, or broke off, or nobody waits for it.
    Over,
    /// The connection ended before the server has seen the request.
    Unseen,
    /// The server has refused the request unseen.
    Refused,
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

async fn attempt(
    asked: &Asked,
    shared: &Shared,
    source: &mut Source,
    writer: &mut WriteHalf<DuplexStream>,
) -> Outcome {
    let Ok(request) = asked.request(shared.scheme) else {
        return Outcome::Unfit;
    };
    let sent = match shared.send.clone().ready().await {
        Ok(mut send) => send.send_request(request, source.is_empty()),
        Err(error) => Err(error),
    };
    let (response, body) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "no request on an HTTP/2 connection");
            if !(error.is_go_away() || error.is_io() || error.is_reset()) {
                return Outcome::Unfit;
            }
            shared.closed.store(true, Relaxed);
            return Outcome::Unseen;
        }
    };
    let is_head = asked.method == Method::HEAD;
    let mut has_begun = false;
    tokio::select! {
        downloaded = download(response, writer, is_head, &mut has_begun) => match downloaded {
            // Of a response that has begun, interim or not, the server knows.
            Err(Broke::Server(error)) if !has_begun && is_unseen(&error) => {
                if error.is_go_away() {
                    shared.closed.store(true, Relaxed);
                    Outcome::Unseen
                } else {
                    Outcome::Refused
                }
            }
            Err(Broke::Server(error)) => {
                tracing::debug!(%error, "a response by HTTP/2");
                Outcome::Over
            }
            Ok(()) | Err(Broke::Exchange) => Outcome::Over,
        },
        // What is left of the stream is reset as it is dropped.
        () = upload(source, body) => Outcome::Over,
    }
}

/// Whether the server says that it has not seen a request (RFC 9113, 8.7).
fn is_unseen(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// Why a response is not passed on to its end.
#[derive(Debug)]
enum Broke {
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

/// Passes a request's content on. Ready when the exchange broke it off.
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
    std::future::pending::<()>().await;
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
    let response = loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                return Poll::Ready(interim.map(Next::Interim));
            }
            let polled = Pin::new(&mut response).poll(cx);
            polled.map(|response| response.map(Next::Final))
        });
        let next = next.await?;
        *has_begun = true;
        match next {
            Next::Interim(interim) => writer.write_all(&head(&interim, b"\r\n")).await?,
            Next::Final(response) => break response,
        }
    };
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

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
