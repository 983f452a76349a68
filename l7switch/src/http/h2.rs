// SPDX-License-Identifier: MIT
//! HTTP/2 towards the client: streams of the `h2` crate, each of which is one exchange. Its requests are written as heads of
//! HTTP/1 and read by the engine's parser, as all others are.

use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use h2::RecvStream;
use h2::SendStream;
use h2::ext::Protocol;
use h2::server::SendResponse;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;
use l7switch_engine::http1;
use l7switch_engine::http1::HeadParser;
use l7switch_rules::model::Limits;

use super::Codec;
use super::NotTaken;
use super::Piece;
use super::Sends;
use super::buffers::Buffers;
use super::exchange::Next;
use super::exchange::Tunnel;
use super::fields::push;
use super::h1;
use super::h2_head::head;
use super::session::Session;
use crate::client::Client;
use crate::http::headers;
use crate::net::content::field;
use crate::net::stream::LINGER;
use crate::net::stream::Prefixed;
use crate::net::timer::Timer;
use crate::net::tunnel;
use crate::net::websocket::Handshake;
use crate::net::websocket::Stream;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// Serves the request of a stream.
pub async fn serve(
    client: Arc<Client>,
    limits: Limits,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (parts, content) = request.into_parts();
    let protocol = parts.extensions.get::<Protocol>();
    let handshake = protocol.map(|_| Handshake::random());
    let codec = Http2::new(content, respond, handshake);
    let mut session = Session::new(&client, &limits, codec, Timer::default());
    session.buffers = Buffers::take();
    let next = Box::pin(session.stream(&parts)).await;
    if let Next::Tunnel(through) = next {
        return Box::pin(session.tunnel(*through)).await;
    }
    if !matches!(next, Next::Request | Next::Last) {
        match session.is_grpc {
            true => session.codec.end_unavailable(),
            false => session.codec.reset(),
        }
    } else if !session.codec.is_read() {
        session.linger().await;
    }
    session.buffers.leave();
}

impl Session<'_, Http2> {
    async fn stream(&mut self, parts: &Parts) -> Next {
        let mut bytes = Vec::with_capacity(512);
        let mut parser = HeadParser::new(http1::Limits {
            head: self.limits.head,
            target: self.limits.head,
            fields: self.limits.fields,
        });
        let handshake = self.codec.handshake.as_ref();
        let outcome = match head(parts, self.codec.is_read(), handshake, &mut bytes) {
            Ok(()) => self.really_empty(parts).await,
            Err(refusal) => Err(refusal),
        };
        let refusal = match outcome {
            Err(refusal) => refusal,
            Ok(()) => match parser.parse(&bytes) {
                Ok(Some(head)) => {
                    let next = self.exchange(&head, &bytes, b"").await;
                    // Some clients take a reset behind a whole response for a failure, though it says that there is none
                    // (RFC 9113, 8.1; curl before 8.0).
                    return match next {
                        Next::Request if !self.codec.is_read() => self.pass_over().await,
                        next => next,
                    };
                }
                Ok(None) => Refusal::internal("the head has no end"),
                Err(error) => h1::refusal_of(error),
            },
        };
        let describe = |line: &mut crate::observe::access_log::Line| {
            line.method = parts.method.to_string();
            line.host = parts
                .uri
                .authority()
                .map_or_else(String::new, |host| host.to_string());
            line.path = parts
                .uri
                .path_and_query()
                .map_or_else(String::new, |path| path.as_str().to_owned());
            line.version = "2";
        };
        self.reject(&refusal, describe).await
    }

    /// Passes bytes between the client's stream and the server.
    async fn tunnel(self, mut through: Tunnel) {
        let Some(stream) = self.codec.stream else {
            return through.record.close(Some(Reason::Internal));
        };
        self.buffers.leave();
        let mut stream = Stream::new(self.codec.content, stream);
        let server = Prefixed::new(through.received, &mut through.server);
        let outcome = tunnel::join(&mut stream, server, through.idle).await;
        if outcome.reason.is_some() {
            stream.reset();
            through.server.abort();
        }
        through.record.received(outcome.forth);
        through.record.sent(outcome.back);
        through.record.close(outcome.reason);
    }

    /// Reads and forgets for a while what the client still sends. Some clients that are reset while they send do not look at
    /// the response that has come (RFC 9113, 8.1; curl before 8.0).
    async fn linger(&mut self) {
        self.timer.start(LINGER);
        let codec = &mut self.codec;
        let read = self.timer.within(|cx| {
            while let Ok(Piece::Data(_)) = ready!(codec.poll_content(cx)) {}
            Poll::Ready(())
        });
        let _ = read.await;
    }

    /// Waits for the end of a request that says to have no content and has not ended: with content it is
    /// malformed (RFC 9113, 8.1.1), and nobody should have acted on it by then.
    async fn really_empty(&mut self, parts: &Parts) -> Result<(), Refusal> {
        let length = parts.headers.get(header::CONTENT_LENGTH);
        if self.codec.is_read() || length.is_none_or(|length| length != "0") {
            return Ok(());
        }
        self.timer.start(self.limits.idle_timeout);
        let codec = &mut self.codec;
        match self.timer.within(|cx| codec.poll_content(cx)).await {
            Ok(Ok(Piece::End(_))) => Ok(()),
            Ok(_) => Err(Refusal::bad_request(
                "content where Content-Length says there is none (RFC 9113, 8.1.1)",
            )),
            Err(_) => Err(Refusal::new(
                Reason::BodyTimeout,
                StatusCode::REQUEST_TIMEOUT,
                "the end of the request did not arrive in time",
            )),
        }
    }
}

/// The client's end of an exchange in HTTP/2.
pub(super) struct Http2 {
    content: RecvStream,
    /// All of the request's content was read. A stream that is to be a WebSocket has none: what comes belongs to that.
    is_read: bool,
    /// The stream is to be a WebSocket.
    handshake: Option<Handshake>,
    respond: SendResponse<Bytes>,
    /// Absent before the final response.
    stream: Option<SendStream<Bytes>>,
    out: Vec<u8>,
    /// The library took a head, or did not.
    is_broken: bool,
    /// What ends the stream; absent: nothing yet.
    ending: Option<HeaderMap>,
    is_ended: bool,
}

impl Http2 {
    fn new(
        content: RecvStream,
        respond: SendResponse<Bytes>,
        handshake: Option<Handshake>,
    ) -> Self {
        Self {
            is_read: content.is_end_stream() || handshake.is_some(),
            handshake,
            content,
            respond,
            stream: None,
            out: Vec::new(),
            is_broken: false,
            ending: None,
            is_ended: false,
        }
    }

    /// Ends the stream so that nobody can take what came of it for the whole.
    fn reset(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(h2::Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(h2::Reason::INTERNAL_ERROR),
        }
    }

    /// Ends the stream of a gRPC call with status UNAVAILABLE, which is what its client would see if its own connection to the server
    /// had broken.
    fn end_unavailable(&mut self) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert(
            "grpc-message",
            HeaderValue::from_static("the response broke off"),
        );
        let ended = match &mut self.stream {
            Some(stream) if !self.is_ended => stream.send_trailers(trailers),
            _ => return self.reset(),
        };
        if ended.is_err() {
            self.reset();
        }
    }

    /// The head that was written, which is taken.
    fn response(&mut self) -> Response<()> {
        let mut response = Response::new(());
        let mut lines = self.out.split(|byte| *byte == b'\n');
        let code = lines.next().and_then(|line| line.get(9..12));
        let code = code.and_then(|code| StatusCode::from_bytes(code).ok());
        *response.status_mut() = code.unwrap_or(StatusCode::BAD_GATEWAY);
        for (name, value) in lines.filter_map(field) {
            response.headers_mut().append(name, value);
        }
        self.out.clear();
        response
    }
}

impl Codec for Http2 {
    fn version(&self) -> Version {
        Version::HTTP_2
    }

    fn is_read(&self) -> bool {
        self.is_read
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Refusal>> {
        let broken = |what: &str| {
            Poll::Ready(Err(Refusal::new(
                Reason::BodyBroken,
                StatusCode::BAD_REQUEST,
                what.to_owned(),
            )))
        };
        loop {
            if self.is_read {
                return Poll::Ready(Ok(Piece::End(Vec::new())));
            }
            match ready!(self.content.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = self.content.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Ok(Piece::Data(data)));
                    }
                }
                Some(Err(_)) => return broken("the content of the request broke off"),
                None => {
                    let trailers = match ready!(self.content.poll_trailers(cx)) {
                        Ok(trailers) => trailers.unwrap_or_default(),
                        Err(_) => return broken("the content of the request broke off"),
                    };
                    if !trailers.values().all(headers::is_well_formed) {
                        return broken(
                            "white space around a trailer field's value (RFC 9113, 8.2.1)",
                        );
                    }
                    let mut lines = Vec::new();
                    for (name, value) in &trailers {
                        push(&mut lines, name.as_str().as_bytes(), value.as_bytes());
                    }
                    self.is_read = true;
                    return Poll::Ready(Ok(Piece::End(lines)));
                }
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|_| ())
    }

    fn head(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn interim(&mut self) {
        let response = self.response();
        if self.stream.is_none() {
            // Where the stream is gone, that is found with the next one.
            let _ = self.respond.send_informational(response);
        }
    }

    fn wanted_accept(&self) -> Option<&str> {
        let handshake = self.handshake.as_ref()?;
        Some(&handshake.accept)
    }

    /// The server's 101 is a 200 here, without what only HTTP/1 needs (RFC 8441, 5).
    fn change(&mut self) {
        let mut response = self.response();
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        for name in [
            header::CONNECTION,
            header::UPGRADE,
            header::SEC_WEBSOCKET_ACCEPT,
        ] {
            headers.remove(name);
        }
        match self.respond.send_response(response, false) {
            Ok(stream) => self.stream = Some(stream),
            Err(_) => self.is_broken = true,
        }
    }

    fn begin(&mut self, sends: Sends, _: bool) {
        let response = self.response();
        self.is_ended = sends == Sends::Nothing;
        match self.respond.send_response(response, self.is_ended) {
            Ok(stream) => self.stream = Some(stream),
            Err(_) => self.is_broken = true,
        }
    }

    fn data(&mut self, _: usize) {}

    fn end(&mut self, trailers: &[u8]) {
        let mut lines = Vec::new();
        headers::clean_trailer_lines(trailers, &mut lines);
        let fields = lines.split(|byte| *byte == b'\n').filter_map(field);
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        self.ending = Some(map);
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut BytesMut,
    ) -> Poll<Result<(), NotTaken>> {
        if self.is_broken {
            return Poll::Ready(Err(NotTaken(Reason::ClientGone)));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        while !data.is_empty() && !self.is_ended {
            stream.reserve_capacity(data.len());
            if stream.capacity() == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    _ => return Poll::Ready(Err(NotTaken(Reason::ClientGone))),
                }
            }
            let piece = data.split_to(stream.capacity().min(data.len())).freeze();
            let is_last = data.is_empty() && self.ending.as_ref().is_some_and(HeaderMap::is_empty);
            if stream.send_data(piece, is_last).is_err() {
                return Poll::Ready(Err(NotTaken(Reason::ClientGone)));
            }
            self.is_ended = is_last;
        }
        if let Some(trailers) = self.ending.take()
            && !self.is_ended
        {
            self.is_ended = true;
            let sent = if trailers.is_empty() {
                stream.send_data(Bytes::new(), true)
            } else {
                stream.send_trailers(trailers)
            };
            if sent.is_err() {
                return Poll::Ready(Err(NotTaken(Reason::ClientGone)));
            }
        }
        Poll::Ready(Ok(()))
    }
}
