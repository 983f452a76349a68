// SPDX-License-Identifier: MIT
//! HTTP/2 towards servers (RFC 9113). An exchange writes its request and reads its response in HTTP/1, on a pipe; a
//! future at the pipe's other end speaks HTTP/2, on a connection that many share.

mod asked;
mod exchange;
mod websocket;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use h2::client;
use h2::client::SendRequest;
use l7switch_rules::model::ServerAddress;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::task::yield_now;

use super::connect::Told;
use super::stream::Layer;
use super::stream::ServerStream;
use crate::observe::log_limit::Logged;

/// What a pipe holds in each direction, bytes.
const PIPE: usize = 64 * 1024;

/// Content of one response that may be on its way, and wait for its client.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Most requests on a connection at a time.
const MAX_STREAMS: u32 = 128;

/// What the library says that a server takes while its SETTINGS have not come: no SETTINGS can say it (RFC 9113, 6.5.1: values have
/// 32 bits), and none of them means all bits.
const UNSETTLED: usize = usize::MAX.wrapping_sub(1);

/// The same of a connection's responses together: clients that do not take theirs never stop the others (RFC 9113, 5.2.1).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW.saturating_mul(MAX_STREAMS);

/// A connection that exchanges share.
#[derive(Debug)]
pub(super) struct Shared {
    send: SendRequest<Bytes>,
    told: Option<Told>,
    scheme: &'static str,
    active: AtomicUsize,
    /// See [`Connections`].
    taken: Arc<AtomicUsize>,
    /// Whether its SETTINGS have come, or it has ended.
    settled: watch::Sender<bool>,
    /// The server takes no more requests on it.
    closed: AtomicBool,
    /// Since when nobody uses it.
    idle: Mutex<Instant>,
}

/// A server's connections.
#[derive(Debug)]
pub(super) struct Connections {
    all: Mutex<Vec<Arc<Shared>>>,
    /// So many requests at a time the server has not refused of late on any of them, whatever its SETTINGS say; at least 1.
    taken: Arc<AtomicUsize>,
    /// Held by the one who makes another.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Requests that it takes at a time. Before the SETTINGS have come it is one: servers refuse what is more than they say then
    /// (RFC 9113, 5.1.2).
    fn most(&self) -> usize {
        match self.send.current_max_send_streams() {
            UNSETTLED => 1,
            most => most.min(self.taken.load(Relaxed)),
        }
    }

    /// Waits until its SETTINGS have come. Whether they say that WebSockets are taken (RFC 8441, 3); `None`: it has ended before.
    async fn takes_websockets(&self) -> Option<bool> {
        let mut settled = self.settled.subscribe();
        let _ = settled.wait_for(|settled| *settled).await;
        match self.send.current_max_send_streams() {
            UNSETTLED => None,
            _ => Some(self.send.is_extended_connect_protocol_enabled()),
        }
    }

    /// Whether its SETTINGS will yet say how many more it takes.
    fn is_unsettled(&self) -> bool {
        !*self.settled.borrow()
    }

    /// One request less. Gives how many are left.
    fn release(&self) -> usize {
        let left = self.active.fetch_sub(1, Relaxed).saturating_sub(1);
        if left == 0 {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        left
    }
}

/// Whether there is a place for a request.
#[derive(Debug)]
pub(super) enum Place {
    /// This one.
    Free(Ticket),
    /// There may be one when this has changed.
    Soon(watch::Receiver<bool>),
    /// There is none.
    Nowhere,
}

/// A request on a connection. Counted until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    is_counted: bool,
}

impl Ticket {
    /// One that is counted already.
    const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            is_counted: true,
        }
    }

    /// The server has refused the request: it takes no more at a time than it has now. If that is none, it gets no more on this
    /// connection.
    fn refused(mut self) {
        self.is_counted = false;
        let left = self.shared.release();
        if left == 0 {
            self.shared.closed.store(true, Relaxed);
        }
        self.shared.taken.fetch_min(left.max(1), Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_counted {
            self.shared.release();
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            taken: Arc::new(AtomicUsize::new(MAX_STREAMS as usize)),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl Connections {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Shared>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that takes another request, of which the server was told the same.
    pub(super) fn free(&self, told: Option<Told>) -> Place {
        let mut all = self.all();
        all.retain(|shared| !shared.closed.load(Relaxed));
        let fits = || all.iter().filter(|shared| shared.told == told);
        if let Some(shared) = fits().find(|shared| shared.active.load(Relaxed) < shared.most()) {
            shared.active.fetch_add(1, Relaxed);
            return Place::Free(Ticket::new(Arc::clone(shared)));
        }
        let soon = fits().find(|shared| shared.is_unsettled());
        soon.map_or(Place::Nowhere, |shared| {
            Place::Soon(shared.settled.subscribe())
        })
    }

    /// Shakes hands on a connection, and shares it.
    pub(super) async fn add(
        &self,
        stream: ServerStream,
        told: Option<Told>,
        scheme: &'static str,
        server: &ServerAddress,
        logged: &Arc<Logged>,
    ) -> Result<Ticket, h2::Error> {
        let (send, mut connection) = client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(UNSETTLED)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Bytes>(stream)
            .await?;
        let shared = Arc::new(Shared {
            send,
            told,
            scheme,
            active: AtomicUsize::new(1),
            taken: Arc::clone(&self.taken),
            settled: watch::Sender::new(false),
            closed: AtomicBool::new(false),
            idle: Mutex::new(Instant::now()),
        });
        // Held weakly: without requests and others who could send some, the connection ends.
        let weak = Arc::downgrade(&shared);
        let (server, logged) = (server.clone(), Arc::clone(logged));
        tokio::spawn(async move {
            let mut is_settled = false;
            let ended = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                if !is_settled
                    && let Some(shared) = weak.upgrade()
                    && shared.send.current_max_send_streams() != UNSETTLED
                {
                    is_settled = true;
                    shared.settled.send_replace(true);
                }
                polled
            });
            if let Err(error) = last(ended).await {
                tracing::debug!(%error, "HTTP/2 connection to a server");
                if !is_settled && logged.is_due() {
                    tracing::warn!(%server, why = %error, "no HTTP/2: the connection ended before the server's SETTINGS");
                }
            }
            if let Some(shared) = weak.upgrade() {
                shared.closed.store(true, Relaxed);
                shared.settled.send_replace(true);
            }
        });
        self.all().push(Arc::clone(&shared));
        Ok(Ticket::new(shared))
    }

    /// Forgets those that were not used for so long, those that are closed, and of those that nobody uses the oldest ones
    /// that are more than `most`. Called each second: a server that has refused requests is tried with one more at a time.
    pub(super) fn prune(&self, patience: Duration, most: usize) {
        let more = |taken: usize| (taken < MAX_STREAMS as usize).then(|| taken.saturating_add(1));
        let _ = self.taken.fetch_update(Relaxed, Relaxed, more);
        let mut all = self.all();
        all.retain(|shared| {
            let idle = *shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let is_used = shared.active.load(Relaxed) > 0 || idle.elapsed() < patience;
            is_used && !shared.closed.load(Relaxed)
        });
        let is_idle = |shared: &Arc<Shared>| shared.active.load(Relaxed) == 0;
        let idle = all.iter().filter(|shared| is_idle(shared)).count();
        let mut surplus = idle.saturating_sub(most);
        all.retain(|shared| {
            if surplus == 0 || !is_idle(shared) {
                return true;
            }
            surplus = surplus.saturating_sub(1);
            false
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

/// Polls a connection only after all other tasks that can go on: what they send on it goes out together.
async fn last<F: Future>(connection: F) -> F::Output {
    let mut connection = pin!(connection);
    let mut is_last = false;
    poll_fn(|cx| {
        is_last = !is_last;
        if is_last {
            return connection.as_mut().poll(cx);
        }
        // The runtime wakes who yields when it has nothing else to do, and knows of no other way to be asked for that.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    })
    .await
}

/// What a server offers for a request.
#[derive(Debug)]
pub(super) enum Offer {
    /// A place on a connection of HTTP/2.
    Shared(Ticket),
    /// A connection that speaks HTTP/1.
    Own(ServerStream),
}

/// Why a server has not seen a request, as it says itself (RFC 9113, 8.7 and 6.8): it can be sent again, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Its connection has ended.
    Ended,
    /// The server has refused it.
    Refused,
    /// It is one for a WebSocket, and the server says that it takes none (RFC 8441, 3).
    Unable,
}

/// What who serves the far end of a pipe says of its end.
#[derive(Debug, Default)]
struct Word {
    unseen: OnceLock<Unseen>,
    /// The server has broken off what a WebSocket carries.
    is_broken: AtomicBool,
}

/// The exchange's end of a pipe, and what serves the other one: that goes on whenever the exchange reads or writes, in the
/// exchange's own task. Where the exchange waits for its client only, it goes on by [`Layer::progress`].
struct Near {
    pipe: DuplexStream,
    word: Arc<Word>,
    /// Absent: it is over. When this is dropped, what is left of the stream is reset.
    serving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Near {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Near").finish_non_exhaustive()
    }
}

/// The pipe wakes nobody: only who serves the other end can change it, and that is done here.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Layer for Near {
    /// The stream is reset as this is dropped.
    fn abort(&self) {}

    fn progress(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(serving) = &mut self.serving
            && serving.as_mut().poll(cx).is_ready()
        {
            self.serving = None;
        }
        self.serving.is_some()
    }

    fn unseen(&self) -> Option<Unseen> {
        self.word.unseen.get().copied()
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        self.progress(cx);
        let polled = Pin::new(&mut self.pipe).poll_read(&mut unwoken(), buf);
        let is_end = matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        if is_end && self.word.is_broken.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        polled
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write(&mut unwoken(), buf);
        self.progress(cx);
        match written {
            // There may be room now.
            Poll::Pending => Pin::new(&mut self.pipe).poll_write(&mut unwoken(), buf),
            written => written,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.pipe).poll_shutdown(&mut unwoken());
        // The end is passed on, too, before this can be dropped.
        self.progress(cx);
        shut
    }
}

/// A pipe for one request, which has a place on a connection.
pub(super) fn pipe(ticket: Ticket) -> ServerStream {
    let (near, far) = tokio::io::duplex(PIPE);
    let word = Arc::<Word>::default();
    let serving = exchange::serve(far, ticket, Arc::clone(&word));
    ServerStream::layered(Near {
        pipe: near,
        word,
        serving: Some(Box::pin(serving)),
    })
}
