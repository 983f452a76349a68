// SPDX-License-Identifier: MIT
//! The answer phase of an exchange: a server's response goes to the client as it comes.

use std::io;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Buf;
use bytes::BytesMut;
use http::Method;
use http::StatusCode;
use http::Version;
use http::header;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseBody as Follows;
use l7switch_engine::http1::ResponseHead;

use super::Codec;
use super::NotTaken;
use super::SPLICED;
use super::Sends;
use super::edit;
use super::edit::Request;
use super::exchange::Next;
use super::exchange::Tunnel;
use super::exchange::wide;
use super::feed::From;
use super::fields::Fields;
use super::own::kept_fields;
use super::session::Session;
use super::upload::Upload;
use crate::http::headers::Present;
use crate::http::onward::Onward;
use crate::net::content::Decoder;
use crate::net::splice::Pipe;
use crate::net::stream::MaybeRaw;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;
use crate::record::Record;
use crate::upstream::Answered;
use crate::upstream::BROKE_OFF;
use crate::upstream::Broke;
use crate::upstream::Ending;
use crate::upstream::Lease;
use crate::upstream::Patience;
use crate::upstream::WaitsFor;

/// Read at a time of a response's content.
const READ: usize = 64 * 1024;

/// So long the rest of a request may stand still whose response is over.
const REST: Duration = Duration::from_secs(60);

/// A response whose head has come.
struct Response<'a, 'b> {
    onward: &'a Onward<'b>,
    answered: Answered,
    follows: Follows,
    ending: Ending,
    /// The client's connection ends behind it.
    last: bool,
}

impl<C: Codec> Session<'_, C> {
    pub(super) async fn respond(
        &mut self,
        request: &Request<'_>,
        onward: &Onward<'_>,
        answered: Answered,
        upload: &mut Upload,
        mut record: Box<Record>,
    ) -> Next {
        upload.stop_expecting();
        let kind = if *request.method == Method::HEAD {
            RequestKind::Head
        } else {
            RequestKind::Normal
        };
        let follows = answered.head.body(kind);
        let bytes = self.buffers.from_server.get(..answered.length);
        let bytes = bytes.unwrap_or_default();
        self.buffers.fields.scan(bytes);
        let fields = &self.buffers.fields;
        let is_changing = follows == Follows::Opaque && request.upgrade.is_some();
        let asked = request.upgrade.filter(|_| is_changing);
        let checked = check(fields, bytes, follows, asked);
        let checked = checked.and_then(|()| match self.codec.wanted_accept() {
            Some(wanted) => check_websocket(&answered.head, fields, bytes, wanted),
            None => Ok(()),
        });
        if let Err(what) = checked {
            answered.lease.failed(what);
            record.received(upload.bytes());
            let refusal = Refusal::new(Reason::BadResponse, StatusCode::BAD_GATEWAY, what);
            return self.refuse(&refusal, request.method, record, onward).await;
        }
        let status = StatusCode::from_u16(answered.head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        if let Some(page) = onward.pages.intercepting(status)
            && !self.is_grpc
        {
            let error = kept_fields(status, fields, bytes);
            record.received(upload.bytes());
            self.replaced(request, answered, follows, upload);
            return Box::pin(self.page_instead(page, &error, request, onward, record)).await;
        }
        record.responded(status, answered.now);
        let says_empty = {
            let mut lengths = fields.values(bytes, Present::CONTENT_LENGTH);
            lengths.next().is_some_and(|length| length == b"0")
        };
        let is_until_close = matches!(follows, Follows::Chunked | Follows::UntilClose)
            && request.version == Version::HTTP_10;
        // The server answers before it has read the request. Whether the client sends the rest, and how much, may not be known.
        let is_early = !upload.is_done() && !self.may_go_on;
        let last = is_until_close
            || is_early
            || !request.head.persistent()
            || self.client.core.shutdown.is_draining();
        let out = self.codec.head();
        edit::response(&answered.head, bytes, fields, onward, is_changing, out);
        self.buffers.from_server.advance(answered.length);
        if is_changing {
            return Box::pin(self.change_protocol(answered, onward, record)).await;
        }
        self.codec.begin(
            match follows {
                Follows::None | Follows::Length(0) => Sends::Nothing,
                Follows::Length(_) => Sends::Length,
                _ => Sends::Unknown,
            },
            last,
        );
        let response = Response {
            onward,
            follows,
            ending: Ending::of(request.method, answered.head.status, says_empty),
            answered,
            last,
        };
        match self.content(response, upload, record).await {
            Err(NotTaken(_)) => Next::Cut,
            Ok(true) => Next::Last,
            Ok(false) => Next::Request,
        }
    }

    /// Answers 101. What follows is another protocol's.
    async fn change_protocol(
        &mut self,
        answered: Answered,
        onward: &Onward<'_>,
        mut record: Box<Record>,
    ) -> Next {
        self.codec.change();
        record.changed_protocol();
        let received = self.buffers.from_server.split().freeze();
        if let Err(NotTaken(reason)) = self.send().await {
            record.close(Some(reason));
            return Next::Cut;
        }
        let (server, outstanding) = answered.lease.into_tunnel();
        Next::Tunnel(Box::new(Tunnel {
            server,
            received,
            idle: onward.tunnel_timeout(),
            record,
            _outstanding: outstanding,
        }))
    }

    /// Sends a response's head, and its content as it comes, while the request's content may still go on. The server is free,
    /// and the exchange recorded, before the client has the last of it. Gives whether the connection ends.
    async fn content(
        &mut self,
        response: Response<'_, '_>,
        upload: &mut Upload,
        mut record: Box<Record>,
    ) -> Result<bool, NotTaken> {
        let Response {
            onward,
            answered,
            follows,
            ending,
            last,
        } = response;
        let head: ResponseHead = answered.head;
        let mut lease = answered.lease;
        // As long as nothing had to be waited for.
        let mut now = Some(answered.now);
        let mut patience = onward.patience();
        let mut decoder = Decoder::of_response(follows);
        loop {
            let Ok(decoded) = decoder.decode(&mut self.buffers.from_server) else {
                return Err(cut(lease, &mut record, upload, Reason::BadResponse));
            };
            let has_surplus = decoded.length < self.buffers.from_server.len();
            self.buffers.from_server.truncate(decoded.data.end);
            self.buffers.from_server.advance(decoded.data.start);
            let length = self.buffers.from_server.len();
            record.sent(wide(length));
            self.codec.data(length);
            if decoded.ended {
                self.codec.end(decoder.trailers());
                if upload.is_done() {
                    if has_surplus {
                        lease.surplus();
                    } else if head.persistent {
                        let now = now.unwrap_or_else(Instant::now);
                        self.timer.set_now(now);
                        lease.completed(ending, now);
                    } else {
                        lease.ended();
                    }
                    record.received(upload.bytes());
                    record.close(None);
                    self.send().await?;
                    return Ok(last);
                }
                return self.rest(lease, upload, record, last, has_surplus).await;
            }
            now = None;
            self.send_with(&mut lease, upload, patience)
                .await
                .map_err(|NotTaken(reason)| record_end(&mut record, upload, reason))?;
            self.buffers.from_server.clear();
            if upload.is_done()
                && decoder.next_data() >= SPLICED
                && self.codec.raw().is_some()
                && lease.is_clear()
            {
                match Box::pin(self.splice(&mut lease, &mut decoder, patience)).await {
                    Ok(bytes) => record.sent(bytes),
                    Err((bytes, reason)) => {
                        record.sent(bytes);
                        if matches!(reason, Reason::BadResponse | Reason::ResponseTimeout) {
                            return Err(cut(lease, &mut record, upload, reason));
                        }
                        return Err(record_end(&mut record, upload, reason));
                    }
                }
                if decoder.has_ended() {
                    continue;
                }
            }
            self.buffers.from_server.reserve(READ);
            // A server that waits for its client may be silent for as long as that one.
            if !upload.is_done() {
                patience.client = patience.client.max(patience.response);
            }
            let mut from = From {
                codec: &mut self.codec,
                upload,
            };
            let buffer = &mut self.buffers.from_server;
            let read = lease
                .read(&mut from, &mut self.timer, patience, buffer)
                .await;
            let reason = match read {
                Ok(Ok(1..)) => continue,
                Ok(Ok(0)) if decoder.ends_with_connection() => {
                    lease.ended();
                    self.codec.end(b"");
                    record.received(upload.bytes());
                    record.close(None);
                    self.send().await?;
                    return Ok(last);
                }
                Ok(_) => Reason::BadResponse,
                Err(Broke::Expired(WaitsFor::Server)) => Reason::ResponseTimeout,
                Err(broke) => {
                    let reason = broke.refusal().reason;
                    return Err(record_end(&mut record, upload, reason));
                }
            };
            return Err(cut(lease, &mut record, upload, reason));
        }
    }

    /// Has the kernel move the data that come next, without them being seen here. Gives how many those were.
    async fn splice(
        &mut self,
        lease: &mut Lease,
        decoder: &mut Decoder,
        patience: Patience,
    ) -> Result<u64, (u64, Reason)> {
        let mut moved = 0_u64;
        let Ok(pipe) = Pipe::take() else {
            return Ok(0);
        };
        let mut upload = Upload::nothing();
        while decoder.next_data() > 0 {
            let most = usize::try_from(decoder.next_data()).unwrap_or(usize::MAX);
            let mut from = From {
                codec: &mut self.codec,
                upload: &mut upload,
            };
            let filled =
                lease.wait(
                    &mut from,
                    &mut self.timer,
                    patience,
                    |_, server, cx| match server.raw() {
                        Some(stream) => pipe.poll_fill(stream, cx, most),
                        None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
                    },
                );
            let mut inside = match filled.await {
                Ok(Ok(filled @ 1..)) => filled,
                Ok(_) => return Err((moved, Reason::BadResponse)),
                Err(Broke::Expired(_)) => return Err((moved, Reason::ResponseTimeout)),
                Err(broke) => return Err((moved, broke.refusal().reason)),
            };
            decoder.skip(wide(inside));
            moved = moved.saturating_add(wide(inside));
            while inside > 0 {
                let Some(stream) = self.codec.raw() else {
                    return Err((moved, Reason::Internal));
                };
                self.timer.start(self.idle);
                let emptied = self.timer.within(|cx| pipe.poll_empty(stream, cx, inside));
                match emptied.await {
                    Ok(Ok(emptied @ 1..)) => inside = inside.saturating_sub(emptied),
                    Ok(_) => return Err((moved, Reason::ClientGone)),
                    Err(_) => return Err((moved, Reason::IdleTimeout)),
                }
            }
        }
        pipe.leave();
        Ok(moved)
    }

    /// Sends what was said to be sent and the server's bytes, while the request's content goes on.
    async fn send_with(
        &mut self,
        lease: &mut Lease,
        upload: &mut Upload,
        patience: Patience,
    ) -> Result<(), NotTaken> {
        if upload.is_done() && lease.is_clear() {
            return self.send().await;
        }
        let client = Patience {
            response: patience.client,
            client: patience.client,
        };
        let buffer = &mut self.buffers.from_server;
        let mut from = From {
            codec: &mut self.codec,
            upload,
        };
        let sent = lease.wait(&mut from, &mut self.timer, client, |from, server, cx| {
            // The request may not have gone all the way yet.
            server.progress(cx);
            let before = buffer.len();
            let polled = from.codec.poll_send(cx, buffer);
            if buffer.len() < before {
                from.upload.has_moved();
            }
            polled
        });
        match sent.await {
            Ok(sent) => sent,
            Err(Broke::Gone) => Err(NotTaken(Reason::ClientGone)),
            Err(Broke::Over) => Err(NotTaken(Reason::RequestTimeout)),
            Err(Broke::Expired(_)) => Err(NotTaken(Reason::IdleTimeout)),
            Err(Broke::Content(refusal)) => Err(NotTaken(refusal.reason)),
        }
    }

    /// The response is over, and the request is not: a server that has answered early may read on, and gets the rest while
    /// it does. Gives whether the client's connection ends.
    async fn rest(
        &mut self,
        mut lease: Lease,
        upload: &mut Upload,
        mut record: Box<Record>,
        last: bool,
        has_surplus: bool,
    ) -> Result<bool, NotTaken> {
        let patience = Patience {
            response: REST,
            client: REST.min(self.idle),
        };
        self.send_with(&mut lease, upload, patience)
            .await
            .map_err(|NotTaken(reason)| record_end(&mut record, upload, reason))?;
        let mut from = From {
            codec: &mut self.codec,
            upload,
        };
        let mut waste = BytesMut::new();
        let ended = lease.wait(&mut from, &mut self.timer, patience, |from, server, cx| {
            if from.upload.is_over() {
                return Poll::Ready(());
            }
            waste.reserve(1024);
            // What the server sends now is for nobody; its end ends the request.
            server.poll_read_buf(cx, &mut waste).map(|_| ())
        });
        let _ = ended.await;
        record.received(upload.bytes());
        record.close(None);
        if has_surplus || !waste.is_empty() {
            lease.surplus();
        } else if upload.is_done() {
            lease.ended();
        }
        Ok(last)
    }
}

/// Records that the client has not got its response.
fn record_end(record: &mut Record, upload: &Upload, reason: Reason) -> NotTaken {
    record.received(upload.bytes());
    record.close(Some(reason));
    NotTaken(reason)
}

/// Records that a server's response broke off.
fn cut(lease: Lease, record: &mut Record, upload: &Upload, reason: Reason) -> NotTaken {
    lease.failed(BROKE_OFF);
    record_end(record, upload, reason)
}

/// Whether a response may be sent back. `asked`: the protocol to which it changes.
fn check(
    fields: &Fields,
    bytes: &[u8],
    follows: Follows,
    asked: Option<&[u8]>,
) -> Result<(), &'static str> {
    if follows == Follows::Opaque {
        let Some(asked) = asked else {
            return Err("the server switched protocols without a request");
        };
        let mut protocols = fields.values(bytes, Present::UPGRADE);
        if protocols.any(|protocol| !protocol.eq_ignore_ascii_case(asked)) {
            return Err("the server switched to a protocol that was not requested");
        }
    }
    if fields.present().has(Present::TRANSFER_ENCODING) {
        let mut codings = fields.values(bytes, Present::TRANSFER_ENCODING);
        let is_chunked = codings
            .next()
            .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if !is_chunked || codings.next().is_some() {
            return Err("the server used a transfer coding that was not requested");
        }
    }
    Ok(())
}

/// Whether a server's response may answer an extended CONNECT, for which every 2xx is a tunnel (RFC 8441, 5; RFC 6455, 4.1).
fn check_websocket(
    head: &ResponseHead,
    fields: &Fields,
    bytes: &[u8],
    wanted: &str,
) -> Result<(), &'static str> {
    if head.status == 101 {
        let said = fields.of(bytes, &[header::SEC_WEBSOCKET_ACCEPT]);
        let mut said = said.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
        let is_right = said.next().is_some_and(|accept| accept == wanted)
            && said.next().is_none()
            && fields.names(bytes, b"upgrade");
        return is_right
            .then_some(())
            .ok_or("the server's answer to the WebSocket handshake is wrong");
    }
    if (200..300).contains(&head.status) {
        return Err("the server did not change to the WebSocket protocol");
    }
    Ok(())
}
