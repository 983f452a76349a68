// SPDX-License-Identifier: MIT
//! The request that comes through a pipe.

use std::io;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
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

/// Content of a request that is held to be sent again where the server says that it has not seen it.
const REPLAY: usize = 256 * 1024;

/// Pieces in which it comes, at most: each takes some memory of its own, and a client may send byte by byte.
const REPLAY_PIECES: usize = 1024;

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
                    kept: Some(Vec::new()),
                    kept_bytes: 0,
                    next: 0,
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
                http::HeaderValue::from_bytes(value).ok()?,
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
        Some(Self {
            method: Method::from_bytes(head.method()).ok()?,
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
        Ok(request)
    }
}

/// A request's content, as it comes through a pipe.
pub(super) struct Source {
    reader: ReadHalf<DuplexStream>,
    received: BytesMut,
    decoder: Decoder,
    /// What was given, to be given again; absent: that was too much.
    kept: Option<Vec<Bytes>>,
    /// Bytes of them.
    kept_bytes: usize,
    /// The next of them.
    next: usize,
    /// There is no more.
    ended: bool,
}

impl Source {
    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.ended
            && self.kept.as_ref().is_some_and(Vec::is_empty)
            && self.decoder.trailers().is_empty()
    }

    /// Begins again. `false`: what was given is gone.
    pub(super) fn rewind(&mut self) -> bool {
        self.next = 0;
        self.kept.is_some()
    }

    /// The next data; empty: there are no more.
    pub(super) async fn data(&mut self) -> io::Result<Bytes> {
        if let Some(again) = self.kept.as_ref().and_then(|kept| kept.get(self.next)) {
            self.next = self.next.saturating_add(1);
            return Ok(again.clone());
        }
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
                self.keep(&data);
                return Ok(data);
            }
        }
        Ok(Bytes::new())
    }

    fn keep(&mut self, data: &Bytes) {
        if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
            self.next = kept.len();
            self.kept_bytes = self.kept_bytes.saturating_add(data.len());
            if self.kept_bytes > REPLAY || kept.len() > REPLAY_PIECES {
                self.kept = None;
            }
        }
    }

    /// The trailer section, once there are no more data.
    pub(super) fn trailers(&self) -> HeaderMap {
        self.decoder.trailer_map()
    }
}
