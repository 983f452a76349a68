// SPDX-License-Identifier: MIT
//! HTTP/1 towards the client: requests one after another, read by the engine's parser.

use std::io;
use std::mem;
use std::pin::Pin;

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
use super::buffers::Buffers;
use super::exchange::Next;
use super::h1_codec::Http1;
use super::session::Session;
use crate::client::Client;
use crate::net::content::Decoder;
use crate::net::stream::MaybeRaw;
use crate::net::stream::Prefixed;
use crate::net::timer::Expired;
use crate::net::timer::Timer;
use crate::net::tunnel;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Read at a time where a request begins.
const READ: usize = 4 * 1024;

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
    let codec = Http1::new(stream, received, client.socket());
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
        let shutdown = &client.core.shutdown;
        let ends = || shutdown.is_draining() && !shutdown.is_left();
        if served && ends() {
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
            None if served && ends() => return over,
            // Accepted and not served yet: its first answer says that it is the last. A request that is there counts, however late
            // this is looked at.
            None => tokio::select! {
                biased;
                read = self.read() => read,
                () = shutdown.last_chance() => return over,
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

pub(super) fn status(code: u16) -> StatusCode {
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
