// SPDX-License-Identifier: MIT
//! HTTP/2 towards servers (RFC 9113). An exchange writes its request and reads its response in HTTP/1, on a pipe; a task at the
//! pipe's other end speaks HTTP/2, on a connection that many share.

use std::future::poll_fn;
use std::io;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use bytes::BytesMut;
use h2::Ping;
use h2::PingPong;
use h2::RecvStream;
use h2::SendStream;
use h2::client;
use h2::client::ResponseFuture;
use h2::client::SendRequest;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http::Uri;
use http::header;
use http::uri::PathAndQuery;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Limits;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::ReadHalf;
use tokio::io::WriteHalf;

use super::connect::Told;
use super::server::RealServer;
use super::stream::Layer;
use super::stream::ServerStream;
use crate::net::content::Decoder;

/// What a pipe holds in each direction, bytes.
const PIPE: usize = 64 * 1024;

/// Content of one response that may be on its way, and wait for its client.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same of a connection's responses together.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Content of a request that is held to be sent again where the server says that it has not seen it.
const REPLAY: usize = 256 * 1024;

/// How often a connection is asked whether the server still lives; one that does not answer for as long is closed.
const PING: Duration = Duration::from_secs(10);

/// How often a request is sent again whose server says so. One that ends each connection after few requests says so to many that
/// come at the same time.
const ATTEMPTS: u32 = 64;

/// Longest rest before it is.
const REST: Duration = Duration::from_millis(20);

/// A connection that exchanges share.
#[derive(Debug)]
pub(super) struct Shared {
    send: SendRequest<Bytes>,
    told: Option<Told>,
    scheme: &'static str,
    active: AtomicUsize,
    /// The server takes no more requests on it.
    closed: AtomicBool,
    /// Since when nobody uses it.
    idle: Mutex<Instant>,
}

/// A server's connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: Mutex<Vec<Arc<Shared>>>,
    /// Held by the one who makes another.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// A request on a connection. Counted until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Shared>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Relaxed) == 1 {
            *self.0.idle.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

impl Connections {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Shared>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that takes another request, of which the server was told the same.
    pub(super) fn free(&self, told: Option<Told>) -> Option<Ticket> {
        let mut all = self.all();
        all.retain(|shared| !shared.closed.load(Relaxed));
        let shared = all.iter().find(|shared| {
            shared.told == told
                && shared.active.load(Relaxed) < shared.send.current_max_send_streams()
        })?;
        shared.active.fetch_add(1, Relaxed);
        Some(Ticket(Arc::clone(shared)))
    }

    /// Shakes hands on a connection, and shares it.
    pub(super) async fn add(
        &self,
        stream: ServerStream,
        told: Option<Told>,
        scheme: &'static str,
    ) -> Result<Ticket, h2::Error> {
        let (send, mut connection) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Bytes>(stream)
            .await?;
        let shared = Arc::new(Shared {
            send,
            told,
            scheme,
            active: AtomicUsize::new(1),
            closed: AtomicBool::new(false),
            idle: Mutex::new(Instant::now()),
        });
        let ended = Arc::downgrade(&shared);
        let pings = connection.ping_pong();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection to a server");
                },
                // What waits on it ends with it: TCP alone would take a quarter of an hour to find out.
                () = silence(pings) => tracing::info!("an HTTP/2 connection to a server is closed: no answer to a ping"),
            }
            if let Some(shared) = ended.upgrade() {
                shared.closed.store(true, Relaxed);
            }
        });
        self.all().push(Arc::clone(&shared));
        Ok(Ticket(shared))
    }

    /// Forgets those that were not used for so long, and those that are closed.
    pub(super) fn prune(&self, patience: Duration) {
        self.all().retain(|shared| {
            let idle = *shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let is_used = shared.active.load(Relaxed) > 0 || idle.elapsed() < patience;
            is_used && !shared.closed.load(Relaxed)
        });
    }

    /// Takes no more requests on those that there are.
    pub(super) fn clear(&self) {
        self.all().clear();
    }

    /// Those without a request.
    pub(super) fn idle(&self) -> usize {
        let all = self.all();
        let free = all.iter().filter(|shared| shared.active.load(Relaxed) == 0);
        free.count()
    }
}

/// Ready when a ping was not answered.
async fn silence(pings: Option<PingPong>) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(PING).await;
        let answered = tokio::time::timeout(PING, pings.ping(Ping::opaque())).await;
        match answered {
            Ok(Ok(_)) => (),
            // The connection ends by itself.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// What a server offers for a request.
#[derive(Debug)]
pub(super) enum Offer {
    /// A place on a connection of HTTP/2.
    Shared(Ticket),
    /// A connection that speaks HTTP/1.
    Own(ServerStream),
}

impl Layer for DuplexStream {
    /// The task at its other end learns by its end that nobody waits.
    fn abort(&self) {}
}

/// A pipe for one request, which has a place on a connection.
pub(super) fn pipe(
    server: &Arc<RealServer>,
    ticket: Ticket,
    told: Option<Told>,
    patience: Duration,
) -> ServerStream {
    let (near, far) = tokio::io::duplex(PIPE);
    tokio::spawn(serve(far, Arc::clone(server), ticket, told, patience));
    ServerStream::layered(near)
}

/// Serves the request that comes through a pipe. One that the server has not seen, as it says itself, is sent again on another
/// connection (RFC 9113, 8.7 and 6.8).
async fn serve(
    far: DuplexStream,
    server: Arc<RealServer>,
    mut ticket: Ticket,
    told: Option<Told>,
    patience: Duration,
) {
    let (reader, mut writer) = tokio::io::split(far);
    let Some((asked, mut source)) = Asked::read(reader).await else {
        return;
    };
    for attempts in 0..ATTEMPTS {
        let outcome = attempt(&asked, &ticket.0, &mut source, &mut writer).await;
        if outcome == Outcome::Over || !source.rewind() {
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
    /// The server has not seen the request.
    Unseen,
}

/// A request's head.
struct Asked {
    method: Method,
    authority: Vec<u8>,
    target: PathAndQuery,
    fields: HeaderMap,
}

impl Asked {
    /// Reads the head that comes through a pipe.
    async fn read(mut reader: ReadHalf<DuplexStream>) -> Option<(Self, Source)> {
        // The rules' limits were kept when it was read from the client.
        let mut parser = HeadParser::new(Limits {
            head: usize::MAX,
            target: usize::MAX,
            fields: usize::MAX,
        });
        let mut received = BytesMut::with_capacity(4096);
        loop {
            if reader.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
            let head = match parser.parse(&received) {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%error, "a request for HTTP/2");
                    return None;
                }
            };
            let asked = Self::of(&head)?;
            let decoder = Decoder::of_request(head.framing());
            let ended = matches!(head.framing(), Framing::None | Framing::Length(0));
            let length = head.len();
            let received = received.split_off(length);
            return Some((
                asked,
                Source {
                    reader,
                    received,
                    decoder,
                    kept: Some(Vec::new()),
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
        let mut target = head.path().to_vec();
        if let Some(query) = head.query() {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Some(Self {
            method: Method::from_bytes(head.method()).ok()?,
            authority: head.host().unwrap_or_default().to_vec(),
            target: PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()?,
            fields,
        })
    }

    fn request(&self, scheme: &str) -> Result<Request<()>, http::Error> {
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
struct Source {
    reader: ReadHalf<DuplexStream>,
    received: BytesMut,
    decoder: Decoder,
    /// What was given, to be given again; absent: that was too much.
    kept: Option<Vec<Bytes>>,
    /// The next of them.
    next: usize,
    /// There is no more.
    ended: bool,
}

impl Source {
    /// Whether there is none at all.
    fn is_empty(&self) -> bool {
        self.ended
            && self.kept.as_ref().is_some_and(Vec::is_empty)
            && self.decoder.trailers().is_empty()
    }

    /// Begins again. `false`: what was given is gone.
    fn rewind(&mut self) -> bool {
        self.next = 0;
        self.kept.is_some()
    }

    /// The next data; empty: there are no more.
    async fn data(&mut self) -> io::Result<Bytes> {
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
            if kept.iter().map(Bytes::len).sum::<usize>() > REPLAY {
                self.kept = None;
            }
        }
    }

    /// Waits until the exchange has gone.
    async fn gone(&mut self) {
        let mut waste = BytesMut::new();
        while matches!(self.reader.read_buf(&mut waste).await, Ok(1..)) {
            waste.clear();
        }
    }
}

async fn attempt(
    asked: &Asked,
    shared: &Shared,
    source: &mut Source,
    writer: &mut WriteHalf<DuplexStream>,
) -> Outcome {
    let Ok(request) = asked.request(shared.scheme) else {
        return Outcome::Over;
    };
    let sent = match shared.send.clone().ready().await {
        Ok(mut send) => send.send_request(request, source.is_empty()),
        Err(error) => Err(error),
    };
    let (response, body) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "no request on an HTTP/2 connection");
            shared.closed.store(true, Relaxed);
            return Outcome::Unseen;
        }
    };
    let is_head = asked.method == Method::HEAD;
    tokio::select! {
        downloaded = download(response, writer, is_head) => match downloaded {
            Err(Broke::Server(error)) if is_unseen(&error) => {
                if error.is_go_away() {
                    shared.closed.store(true, Relaxed);
                }
                Outcome::Unseen
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
    let trailers = source.decoder.trailer_map();
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
) -> Result<(), Broke> {
    let response = loop {
        let next = poll_fn(|cx| {
            if let std::task::Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                return std::task::Poll::Ready(interim.map(Next::Interim));
            }
            let polled = std::pin::Pin::new(&mut response).poll(cx);
            polled.map(|response| response.map(Next::Final))
        });
        match next.await? {
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
