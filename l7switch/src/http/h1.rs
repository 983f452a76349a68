// SPDX-License-Identifier: MIT
//! HTTP/1 towards the client: requests one after another, read by the engine's parser.

use std::io;
use std::io::Write as _;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::BytesMut;
use http::StatusCode;
use http::Version;
use l7switch_engine::http1;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::HeadParser;
use l7switch_rules::model::Limits;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::Codec;
use super::NotTaken;
use super::Piece;
use super::Sends;
use super::buffers::Buffers;
use super::exchange::Next;
use super::fields::push;
use super::refusals::broken_off;
use super::session::Session;
use crate::client::Client;
use crate::http::headers;
use crate::net::content::Decoder;
use crate::net::stream::MaybeRaw;
use crate::net::stream::Prefixed;
use crate::net::stream::SharedStream;
use crate::net::stream::poll_write_both;
use crate::net::timer::Expired;
use crate::net::timer::Timer;
use crate::net::tunnel;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Read at a time where a request begins.
const READ: usize = 4 * 1024;

/// The same of its content.
const READ_CONTENT: usize = 64 * 1024;

/// Content of so many bytes is copied behind its head, instead of being written as a second piece.
const SHORT: usize = 4 * 1024;

/// How a connection ends.
#[derive(Debug)]
pub enum End {
    /// In order.
    Over {
        /// Something was received and not answered: the client must not be reset.
        unread: bool,
    },
    /// A response was cut short, or the client did not take it.
    Cut,
}

/// Serves a connection, of which `received` was read already. `draining` is ready when the switch is about to end.
pub async fn serve<S>(
    client: &Client,
    stream: &mut S,
    received: BytesMut,
    limits: &Limits,
    timer: Timer,
    mut draining: Pin<&mut impl Future<Output = ()>>,
) -> End
where
    S: AsyncRead + AsyncWrite + MaybeRaw + Unpin,
{
    let codec = Http1::new(stream, received);
    let mut session = Session::new(client, limits, codec, timer);
    let mut served = false;
    loop {
        if session.codec.received.is_empty()
            && let Some(end) = session.idle(draining.as_mut(), served).await
        {
            return end;
        }
        let next = session.next().await;
        session.buffers.to_client = mem::take(&mut session.codec.out);
        mem::take(&mut session.buffers).leave();
        match next {
            Next::Request => served = true,
            Next::Last => {
                // A client that did not know that this was the last may be sending the next one.
                let unread = session.is_persistent
                    || !session.codec.received.is_empty()
                    || !session.codec.is_read();
                return End::Over { unread };
            }
            Next::Cut => return End::Cut,
            Next::Tunnel(mut through) => {
                let received = mem::take(&mut session.codec.received).freeze();
                let stream = Prefixed::new(received, &mut *session.codec.stream);
                let server = Prefixed::new(through.received, &mut through.server);
                client.is_tunnel();
                let outcome = Box::pin(tunnel::join(stream, server, through.idle)).await;
                through.record.received(outcome.forth);
                through.record.sent(outcome.back);
                through.record.close(outcome.reason);
                // Where one side has broken off, the other must not take it for an end in order.
                return match outcome.reason {
                    None | Some(Reason::IdleTimeout) => End::Over { unread: false },
                    Some(_) => {
                        through.server.abort();
                        End::Cut
                    }
                };
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + MaybeRaw + Unpin> Session<'_, Http1<'_, S>> {
    /// Waits for the first bytes of a request. Gives how the connection ends, if it does.
    async fn idle(
        &mut self,
        draining: Pin<&mut impl Future<Output = ()>>,
        served: bool,
    ) -> Option<End> {
        let over = Some(End::Over { unread: false });
        let client = self.client;
        if served && client.core.shutdown.is_draining() {
            return over;
        }
        self.timer.start(self.limits.idle_timeout);
        let read = tokio::select! {
            biased;
            read = self.read() => Some(read),
            () = draining => None,
        };
        let read = match read {
            Some(read) => read,
            None if served => return over,
            // Accepted and not served yet: its first answer says that it is the last.
            None => tokio::select! {
                read = self.read() => read,
                () = client.core.shutdown.last_chance() => return over,
            },
        };
        match read {
            Ok(Ok(1..)) => None,
            Ok(Ok(0)) | Err(Expired) => over,
            Ok(Err(_)) => Some(End::Cut),
        }
    }

    async fn read(&mut self) -> Result<io::Result<usize>, Expired> {
        let Http1 {
            stream, received, ..
        } = &mut self.codec;
        received.reserve(READ);
        self.timer
            .within(|cx| poll_read_buf(Pin::new(&mut **stream), cx, received))
            .await
    }

    /// Reads a request, of which something was received, and answers it.
    async fn next(&mut self) -> Next {
        let mut parser = HeadParser::new(http1::Limits {
            head: self.limits.head,
            target: self.limits.head,
            fields: self.limits.fields,
        });
        let mut begun = false;
        loop {
            // Taken, since the exchange has the codec and the head at once.
            let received = mem::take(&mut self.codec.received);
            match parser.parse(&received) {
                Ok(Some(head)) => {
                    self.buffers = Buffers::take();
                    self.codec.out = mem::take(&mut self.buffers.to_client);
                    self.codec.version = version(&head);
                    if let Some(content) = whole_content(&head, &received) {
                        let bytes = received.get(..head.len()).unwrap_or_default();
                        let length = bytes.len().saturating_add(content.len());
                        let next = self.exchange(&head, bytes, content).await;
                        self.codec.received = received;
                        self.codec.received.advance(length);
                        return next;
                    }
                    let (framing, length) = (head.framing(), head.len());
                    return Box::pin(self.streamed(received, framing, length)).await;
                }
                Ok(None) => self.codec.received = received,
                Err(error) => {
                    let refusal = if is_proxy_header(&received) {
                        Refusal::bad_request(
                            "the connection begins with a PROXY header, which the service does not accept",
                        )
                    } else {
                        refusal_of(error)
                    };
                    self.codec.received = received;
                    return self.reject_head(&refusal).await;
                }
            }
            if !begun {
                self.timer.start(self.limits.head_timeout);
                begun = true;
            }
            match self.read().await {
                Ok(Ok(1..)) => (),
                Ok(Ok(0)) => {
                    let refusal =
                        Refusal::bad_request("the connection ended within a request head");
                    return self.reject_head(&refusal).await;
                }
                Ok(Err(_)) => return Next::Cut,
                Err(Expired) => return self.reject_head(&too_slow()).await,
            }
        }
    }

    /// Answers a request whose content is still to come, or comes in chunks.
    async fn streamed(&mut self, mut head: BytesMut, framing: Framing, length: usize) -> Next {
        self.codec.received = head.split_off(length);
        self.codec.content = Some(Decoder::of_request(framing));
        let mut parser = HeadParser::new(http1::Limits {
            head: head.len(),
            target: head.len(),
            fields: self.limits.fields,
        });
        let next = match parser.parse(&head) {
            Ok(Some(read)) => self.exchange(&read, &head, b"").await,
            // It was read before.
            _ => Next::Cut,
        };
        match next {
            Next::Request if !self.codec.is_read() => self.pass_over().await,
            next => next,
        }
    }

    async fn reject_head(&mut self, refusal: &Refusal) -> Next {
        self.codec.version = Version::HTTP_11;
        Box::pin(self.reject(refusal, |_| ())).await
    }
}

/// Whether what is no request is a PROXY header, of version 1 or 2.
fn is_proxy_header(received: &[u8]) -> bool {
    received.starts_with(b"PROXY ") || received.starts_with(b"\r\n\r\n\0\r\nQUIT\n")
}

/// The client's end of an exchange in HTTP/1.
pub(super) struct Http1<'a, S> {
    stream: &'a mut S,
    /// Received, and not part of what was read.
    received: BytesMut,
    version: Version,
    /// The rest of the request's content; absent: there is none.
    content: Option<Decoder>,
    /// What is to be sent before data.
    out: Vec<u8>,
    /// How much of it has gone.
    sent: usize,
    /// What is to be sent behind data.
    tail: Vec<u8>,
    chunks: Chunks,
}

/// How content goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    /// As it is.
    None,
    /// In chunks, of which none was begun.
    First,
    /// In chunks, of which one was begun.
    Next,
}

impl<'a, S> Http1<'a, S> {
    const fn new(stream: &'a mut S, received: BytesMut) -> Self {
        Self {
            stream,
            received,
            version: Version::HTTP_11,
            content: None,
            out: Vec::new(),
            sent: 0,
            tail: Vec::new(),
            chunks: Chunks::None,
        }
    }

    /// The end of the chunk that was begun, if one was.
    const fn chunk_end(&self) -> &'static str {
        match self.chunks {
            Chunks::Next => "\r\n",
            Chunks::None | Chunks::First => "",
        }
    }
}

impl<S: AsyncRead + AsyncWrite + MaybeRaw + Unpin> Codec for Http1<'_, S> {
    fn version(&self) -> Version {
        self.version
    }

    fn is_read(&self) -> bool {
        self.content.is_none()
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Refusal>> {
        loop {
            let Some(decoder) = &mut self.content else {
                return Poll::Ready(Ok(Piece::End(Vec::new())));
            };
            if decoder.has_ended() {
                let trailers = decoder.trailers().to_vec();
                self.content = None;
                return Poll::Ready(Ok(Piece::End(trailers)));
            }
            if !self.received.is_empty() {
                let decoded = decoder.decode(&mut self.received).map_err(|error| {
                    Refusal::new(
                        Reason::BadRequest,
                        status(error.status()),
                        error.to_string(),
                    )
                })?;
                let mut piece = self.received.split_to(decoded.length);
                piece.truncate(decoded.data.end);
                piece.advance(decoded.data.start);
                if !piece.is_empty() {
                    return Poll::Ready(Ok(Piece::Data(piece.freeze())));
                }
                continue;
            }
            self.received.reserve(READ_CONTENT);
            let stream = Pin::new(&mut *self.stream);
            if !matches!(
                ready!(poll_read_buf(stream, cx, &mut self.received)),
                Ok(1..)
            ) {
                return Poll::Ready(Err(broken_off()));
            }
        }
    }

    fn unread(&self) -> Option<(u64, &SharedStream)> {
        let decoder = self.content.as_ref().filter(|_| self.received.is_empty())?;
        Some((decoder.next_data(), self.stream.raw()?))
    }

    fn skip(&mut self, length: u64) {
        if let Some(decoder) = &mut self.content {
            decoder.skip(length);
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // Who serves the connection looks for it.
        Poll::Pending
    }

    fn head(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn interim(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn begin(&mut self, sends: Sends, last: bool) {
        self.chunks = Chunks::None;
        let is_http10 = self.version == Version::HTTP_10;
        if sends == Sends::Unknown && !is_http10 {
            self.chunks = Chunks::First;
            push(&mut self.out, b"transfer-encoding", b"chunked");
        }
        match (last, is_http10) {
            (true, _) => push(&mut self.out, b"connection", b"close"),
            (false, true) => push(&mut self.out, b"connection", b"keep-alive"),
            (false, false) => (),
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn data(&mut self, length: usize) {
        if self.chunks != Chunks::None && length > 0 {
            // A vector takes everything.
            let end = self.chunk_end();
            let _ = write!(self.out, "{end}{length:x}\r\n");
            self.chunks = Chunks::Next;
        }
    }

    fn raw(&self) -> Option<&SharedStream> {
        match self.chunks {
            Chunks::None => self.stream.raw(),
            Chunks::First | Chunks::Next => None,
        }
    }

    fn end(&mut self, trailers: &[u8]) {
        self.tail.clear();
        if self.chunks != Chunks::None {
            let end = self.chunk_end().as_bytes();
            self.tail.extend_from_slice(end);
            self.tail.extend_from_slice(b"0\r\n");
            headers::clean_trailer_lines(trailers, &mut self.tail);
            self.tail.extend_from_slice(b"\r\n");
            self.chunks = Chunks::None;
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut BytesMut,
    ) -> Poll<Result<(), NotTaken>> {
        if !self.tail.is_empty() {
            // There is room behind the data: the server's framing stood there.
            data.extend_from_slice(&self.tail);
            self.tail.clear();
        }
        if self.sent == 0 && !self.out.is_empty() && data.len() <= SHORT {
            self.out.extend_from_slice(data);
            data.clear();
        }
        loop {
            let mut first = self.out.get(self.sent..).unwrap_or_default();
            let mut second = &**data;
            if first.is_empty() && second.is_empty() {
                break;
            }
            let before = (first.len(), second.len());
            let stream = Pin::new(&mut *self.stream);
            if ready!(poll_write_both(stream, cx, &mut first, &mut second)).is_err() {
                return Poll::Ready(Err(NotTaken(Reason::ClientGone)));
            }
            let of_first = before.0.saturating_sub(first.len());
            let of_second = before.1.saturating_sub(second.len());
            self.sent = self.sent.saturating_add(of_first);
            data.advance(of_second);
        }
        self.out.clear();
        self.sent = 0;
        Pin::new(&mut *self.stream)
            .poll_flush(cx)
            .map_err(|_| NotTaken(Reason::ClientGone))
    }
}

/// The version of a request.
const fn version(head: &Head<'_>) -> Version {
    match head.version() {
        http1::Version::Http10 => Version::HTTP_10,
        http1::Version::Http11 => Version::HTTP_11,
    }
}

/// The content of a request whose content has come as a whole, and not in chunks.
fn whole_content<'a>(head: &Head<'_>, received: &'a [u8]) -> Option<&'a [u8]> {
    let length = match head.framing() {
        Framing::None => 0,
        Framing::Length(length) => usize::try_from(length).ok()?,
        Framing::Chunked => return None,
    };
    received.get(head.len()..)?.get(..length)
}

/// The refusal of a head that takes too long.
fn too_slow() -> Refusal {
    Refusal::new(
        Reason::HeadTimeout,
        StatusCode::REQUEST_TIMEOUT,
        "the request head did not arrive in time",
    )
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The refusal of a head that broke a rule.
pub(super) fn refusal_of(error: http1::HeadError) -> Refusal {
    let status = status(error.status());
    let reason = match status {
        StatusCode::URI_TOO_LONG => Reason::TargetTooLong,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Reason::HeadTooLarge,
        StatusCode::NOT_IMPLEMENTED => Reason::NotImplemented,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => Reason::BadVersion,
        _ => Reason::BadRequest,
    };
    Refusal::new(reason, status, error.to_string())
}
