// SPDX-License-Identifier: MIT
//! One active check of a real server.

use std::sync::Arc;

use bytes::Buf;
use bytes::BytesMut;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::ResponseParser;
use l7switch_rules::automata::Alphabet;
use l7switch_rules::automata::Automaton;
use l7switch_rules::automata::Cache;
use l7switch_rules::model::BodyTest;
use l7switch_rules::model::Health;
use l7switch_rules::model::HttpProbe;
use l7switch_rules::model::Probe;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::connect::ConnectError;
use super::connect::Told;
use super::server::RealServer;
use super::stream::ServerStream;
use crate::net::content::Decoder;
use crate::observe::words;

/// Content of an answer that is looked at, bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// How often a server is asked that has not seen the request, as it says itself: a connection that it ends says nothing of it.
const UNSEEN: u32 = 4;

/// What is looked for in content.
#[derive(Clone, Debug)]
pub(super) enum Sought {
    Text(Vec<u8>),
    Regex(Arc<Automaton>),
}

/// Why a check has failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// What is wrong with the server.
    Server(String),
    /// This host has no room for a connection, which says nothing of the server.
    Here,
}

impl From<String> for Failed {
    fn from(what: String) -> Self {
        Self::Server(what)
    }
}

/// Checks a server.
///
/// # Errors
///
/// See [`Failed`].
pub(super) async fn probe(
    server: &Arc<RealServer>,
    rules: &Health,
    sought: Option<&Sought>,
    told: Option<Told>,
) -> Result<(), Failed> {
    let own = server.authority();
    for _ in 0..UNSEEN {
        let connected = match &rules.probe {
            // A place on a connection that there is would say nothing.
            Probe::Tcp => server.connect_apart(told, rules.timeout).await,
            Probe::Http(_) | Probe::Grpc { .. } => server.connect(told, rules.timeout).await,
        };
        let mut stream = connected.map_err(|error: ConnectError| {
            if error.is_of_this_host() {
                server.log_connect(&error);
                return Failed::Here;
            }
            Failed::Server(error.to_string())
        })?;
        let probed = match &rules.probe {
            Probe::Tcp => Ok(()),
            Probe::Http(asked) => http(&mut stream, asked, sought, &own).await,
            Probe::Grpc { service } => grpc(&mut stream, service, &own).await,
        };
        if stream.unseen().is_none() {
            return Ok(probed?);
        }
    }
    Err("the server refuses requests unseen (HTTP/2)"
        .to_owned()
        .into())
}

/// Sends a request, and looks at the status and the content of the response.
async fn http(
    stream: &mut ServerStream,
    asked: &HttpProbe,
    sought: Option<&Sought>,
    own: &str,
) -> Result<(), String> {
    let mut buffer = BytesMut::new();
    let head = ask(stream, request(asked, own).as_bytes(), &mut buffer).await?;
    let (lowest, highest) = asked.status;
    if !(lowest..=highest).contains(&head.status) {
        let expected = match lowest == highest {
            true => lowest.to_string(),
            false => format!("{lowest} to {highest}"),
        };
        return Err(format!("status {}, expected {expected}", head.status));
    }
    let Some(sought) = sought else {
        return Ok(());
    };
    let kind = match asked.method.as_str() {
        "HEAD" => RequestKind::Head,
        _ => RequestKind::Normal,
    };
    let mut content = Content::of(&head, kind);
    // What is found at once needs no end, which may be far.
    while !sought.has_come(&mut content) {
        if !content.more(stream, &mut buffer).await? {
            let found = match sought {
                Sought::Text(_) => false,
                Sought::Regex(expression) => expression.is_match(&content.seen),
            };
            return if found {
                Ok(())
            } else {
                Err("the body is not as expected".to_owned())
            };
        }
    }
    Ok(())
}

/// A request without content.
fn request(asked: &HttpProbe, own: &str) -> String {
    let host = asked.host.as_deref().unwrap_or(own);
    let mut request = format!(
        "{} {} HTTP/1.1\r\nhost: {host}\r\n",
        asked.method, asked.path
    );
    if !asked.headers.iter().any(|(name, _)| name == "user-agent") {
        request.push_str("user-agent: l7switch-health\r\n");
    }
    for (name, value) in &asked.headers {
        request.push_str(name);
        request.push_str(": ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    // RFC 9110, 8.6: methods that mean content say that there is none.
    if !["GET", "HEAD", "OPTIONS", "TRACE", "DELETE"].contains(&asked.method.as_str()) {
        request.push_str("content-length: 0\r\n");
    }
    request.push_str("connection: close\r\n\r\n");
    request
}

impl Sought {
    /// What the rules look for.
    pub(super) fn of(rules: &Health) -> Option<Self> {
        let Probe::Http(HttpProbe { body, .. }) = &rules.probe else {
            return None;
        };
        match body.as_ref()? {
            BodyTest::Text(text) => Some(Self::Text(text.clone().into_bytes())),
            BodyTest::Regex(pattern) => {
                let made = Cache::default().get(pattern, Alphabet::Bytes);
                // The check takes no expression that has no automaton.
                made.ok().map(Self::Regex)
            }
        }
    }

    /// Whether it is known already that it is there. What was looked at is not looked at again.
    fn has_come(&self, content: &mut Content) -> bool {
        match self {
            Self::Text(text) => {
                // The text may have begun in what has come before.
                let length = text.len().max(1);
                let from = content.looked.saturating_sub(length.saturating_sub(1));
                content.looked = content.seen.len();
                let fresh = content.seen.get(from..).unwrap_or_default();
                fresh.windows(length).any(|part| part == text)
            }
            // Its end may matter.
            Self::Regex(_) => false,
        }
    }
}

/// The content of a response, as far as it is looked at.
struct Content {
    decoder: Decoder,
    seen: Vec<u8>,
    /// Bytes of it in which was looked already.
    looked: usize,
    ended: bool,
}

impl Content {
    fn of(head: &ResponseHead, kind: RequestKind) -> Self {
        Self {
            decoder: Decoder::of_response(head.body(kind)),
            seen: Vec::new(),
            looked: 0,
            ended: false,
        }
    }

    /// Takes what the buffer has, and reads more for the next time. `false`: there is no more, or enough.
    async fn more(
        &mut self,
        stream: &mut ServerStream,
        buffer: &mut BytesMut,
    ) -> Result<bool, String> {
        if self.ended || self.seen.len() >= ANSWER_MAX {
            return Ok(false);
        }
        if buffer.is_empty() && !self.decoder.has_ended() {
            let read = stream.read_buf(buffer).await;
            if read.map_err(|error| words::io_error(&error))? == 0 {
                if self.decoder.ends_with_connection() {
                    self.ended = true;
                    return Ok(false);
                }
                return Err("the connection ended before an answer".to_owned());
            }
        }
        let decoded = self
            .decoder
            .decode(buffer)
            .map_err(|error| format!("the answer is not HTTP: {error}"))?;
        let room = ANSWER_MAX.saturating_sub(self.seen.len());
        let data = buffer.get(decoded.data).unwrap_or_default();
        self.seen.extend(data.iter().take(room));
        self.ended = decoded.ended;
        buffer.clear();
        Ok(true)
    }
}

/// Asks the health service of gRPC (grpc.health.v1, health.proto): `Check` of a service, answered with SERVING.
async fn grpc(stream: &mut ServerStream, service: &str, host: &str) -> Result<(), String> {
    // HealthCheckRequest: field 1, a string. Before it: not compressed, and its length.
    let name = service.as_bytes();
    let mut message = Vec::new();
    if !name.is_empty() {
        let length = u8::try_from(name.len()).ok().filter(|length| *length < 128);
        message.extend([0x0a, length.ok_or("the name of the service is too long")?]);
        message.extend(name);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let content = [&[0][..], &length.to_be_bytes(), &message].concat();
    let mut request = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: {host}\r\nuser-agent: l7switch-health\r\n\
         content-type: application/grpc\r\nconnection: te\r\nte: trailers\r\ncontent-length: {}\r\n\r\n",
        content.len()
    )
    .into_bytes();
    request.extend(content);
    let mut buffer = BytesMut::new();
    let head = ask(stream, &request, &mut buffer).await?;
    if head.status != 200 {
        return Err(format!("status {}, expected 200", head.status));
    }
    let mut content = Content::of(&head, RequestKind::Normal);
    while content.more(stream, &mut buffer).await? {}
    // HealthCheckResponse: field 1, SERVING is 1. Of an error there is no message, but a status.
    if content.seen.get(5..) == Some(&[0x08, 1]) {
        return Ok(());
    }
    let trailers = content.decoder.trailer_map();
    let status = trailers
        .get("grpc-status")
        .and_then(|status| status.to_str().ok());
    Err(match (content.seen.get(5..), status) {
        (None, Some(status)) => format!("gRPC status {status}, expected 0"),
        _ => "not serving".to_owned(),
    })
}

/// Sends a request, and gives the head of the final response; what stands behind it is left in the buffer.
async fn ask(
    stream: &mut ServerStream,
    request: &[u8],
    buffer: &mut BytesMut,
) -> Result<ResponseHead, String> {
    let sent = stream.write_all(request).await;
    sent.map_err(|error| words::io_error(&error))?;
    let flushed = stream.flush().await;
    flushed.map_err(|error| words::io_error(&error))?;
    let mut parser = ResponseParser::new();
    loop {
        let read = stream.read_buf(buffer).await;
        if read.map_err(|error| words::io_error(&error))? == 0 {
            return Err("the connection ended before an answer".to_owned());
        }
        while !buffer.is_empty() {
            let progress = parser
                .consume(buffer)
                .map_err(|error| format!("the answer is not HTTP: {error}"))?;
            buffer.advance(progress.consumed);
            match progress.head {
                Some(head) if head.interim() => parser = ResponseParser::new(),
                Some(head) => return Ok(head),
                None => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_engine::http1::Framing;

    #[test]
    fn a_text_is_found_across_pieces() {
        for pieces in [
            &["all is well"][..],
            &["all is w", "ell"],
            &["a", "ll is we", "", "l", "l"],
        ] {
            let mut content = Content {
                decoder: Decoder::of_request(Framing::Length(100)),
                seen: Vec::new(),
                looked: 0,
                ended: false,
            };
            let found = |content: &mut Content, text: &str, piece: &str| {
                content.seen.extend(piece.bytes());
                Sought::Text(text.into()).has_come(content)
            };
            let mut at = Vec::new();
            for piece in pieces {
                at.push(found(&mut content, "is well", piece));
            }
            assert_eq!(at.pop(), Some(true), "{pieces:?}");
            assert!(!at.contains(&true), "{pieces:?}");
        }
    }
}
