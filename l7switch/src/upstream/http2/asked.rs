// SPDX-License-Identifier: MIT
//! The request that comes through a pipe.

use std::io;

use bytes::Bytes;
use bytes::BytesMut;
use h2::ext::Protocol;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Uri;
use http::header;
use http::uri::PathAndQuery;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Limits;
use tokio::io::AsyncReadExt;
use tokio::io::DuplexStream;
use tokio::io::ReadHalf;

use crate::net::content::Decoder;

/// Longest head that is read: the longest that rules allow, and what the switch adds.
const HEAD_MAX: usize = 2 * 1024 * 1024;

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The exchange has gone.
    Gone,
    /// It cannot be put in HTTP/2.
    Unfit,
}

/// Adds a part of a target. What URIs do not have (RFC 3986, 2) and HTTP/1 passes all the same is encoded.
fn push_encoded(out: &mut Vec<u8>, part: &[u8]) {
    for byte in part {
        match byte {
            b'"' | b'<' | b'>' | b'`' | b'{' | b'|' | b'}' | b'^' | b'\\' | 0..=b' ' | 0x7f.. => {
                let hex = |digit: u8| b"0123456789ABCDEF".get(usize::from(digit)).copied();
                out.push(b'%');
                out.extend(hex(byte >> 4));
                out.extend(hex(byte & 15));
            }
            _ => out.push(*byte),
        }
    }
}

/// A request's head.
pub(super) struct Asked {
    pub(super) method: Method,
    authority: Vec<u8>,
    target: PathAndQuery,
    fields: HeaderMap,
    /// What it is opened with, where it is one for a WebSocket.
    pub(super) websocket: Option<Opening>,
}

/// What a WebSocket of HTTP/1 is opened with, and one of HTTP/2 is not (RFC 8441, 5).
pub(super) struct Opening {
    /// Sec-WebSocket-Key.
    pub(super) key: Option<HeaderValue>,
}

impl Asked {
    /// Reads the head that comes through a pipe.
    ///
    /// # Errors
    ///
    /// See [`Unread`].
    pub(super) async fn read(mut reader: ReadHalf<DuplexStream>) -> Result<(Self, Source), Unread> {
        let mut parser = HeadParser::new(Limits {
            head: HEAD_MAX,
            target: HEAD_MAX,
            fields: HEAD_MAX,
        });
        let mut received = BytesMut::with_capacity(4096);
        loop {
            if !matches!(reader.read_buf(&mut received).await, Ok(1..)) {
                return Err(Unread::Gone);
            }
            let head = match parser.parse(&received) {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(_) => return Err(Unread::Unfit),
            };
            let asked = Self::of(&head).ok_or(Unread::Unfit)?;
            let decoder = Decoder::of_request(head.framing());
            let ended = matches!(head.framing(), Framing::None | Framing::Length(0));
            let length = head.len();
            let received = received.split_off(length);
            return Ok((
                asked,
                Source {
                    reader,
                    received,
                    decoder,
                    is_empty: ended,
                    ended,
                },
            ));
        }
    }

    fn of(head: &Head<'_>) -> Option<Self> {
        let mut fields = HeaderMap::new();
        for (name, value) in head.fields() {
            let (name, value) = (
                http::HeaderName::from_bytes(name).ok()?,
                HeaderValue::from_bytes(value).ok()?,
            );
            // RFC 9113, 8.2.2: those of the connection end here.
            let is_own = [
                header::HOST,
                header::CONNECTION,
                header::TRANSFER_ENCODING,
                header::UPGRADE,
            ]
            .contains(&name);
            if !is_own {
                fields.append(name, value);
            }
        }
        let mut target = Vec::with_capacity(head.path().len());
        push_encoded(&mut target, head.path());
        if let Some(query) = head.query() {
            target.push(b'?');
            push_encoded(&mut target, query);
        }
        let websocket = head.upgrade().map(|_| Opening {
            key: fields.remove(header::SEC_WEBSOCKET_KEY),
        });
        let method = match &websocket {
            Some(_) => Method::CONNECT,
            None => Method::from_bytes(head.method()).ok()?,
        };
        Some(Self {
            method,
            websocket,
            authority: head.host().unwrap_or_default().to_vec(),
            target: PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()?,
            fields,
        })
    }

    pub(super) fn request(&self, scheme: &str) -> Result<Request<()>, http::Error> {
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(&*self.authority)
            .path_and_query(self.target.clone())
            .build()?;
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.fields.clone();
        if self.websocket.is_some() {
            let protocol = Protocol::from_static("websocket");
            request.extensions_mut().insert(protocol);
        }
        Ok(request)
    }
}

/// A request's content, as it comes through a pipe.
pub(super) struct Source {
    reader: ReadHalf<DuplexStream>,
    received: BytesMut,
    decoder: Decoder,
    /// There is none at all.
    is_empty: bool,
    /// There is no more.
    ended: bool,
}

impl Source {
    /// Whether there is none at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The next data; empty: there are no more.
    pub(super) async fn data(&mut self) -> io::Result<Bytes> {
        while !self.ended {
            if self.received.is_empty() && self.reader.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let decoded = self.decoder.decode(&mut self.received);
            let decoded = decoded.map_err(|error| io::Error::other(error.to_string()))?;
            let mut piece = self.received.split_to(decoded.length);
            piece.truncate(decoded.data.end);
            let data = piece.split_off(decoded.data.start).freeze();
            self.ended = decoded.ended;
            if !data.is_empty() {
                return Ok(data);
            }
        }
        Ok(Bytes::new())
    }

    /// The trailer section, once there are no more data.
    pub(super) fn trailers(&self) -> HeaderMap {
        self.decoder.trailer_map()
    }

    /// What is left behind the head, and where more comes from.
    pub(super) fn into_rest(self) -> (Bytes, ReadHalf<DuplexStream>) {
        (self.received.freeze(), self.reader)
    }

    /// Waits until the exchange has gone.
    pub(super) async fn gone(&mut self) {
        let mut waste = BytesMut::new();
        while matches!(self.reader.read_buf(&mut waste).await, Ok(1..)) {
            waste.clear();
        }
    }
}
