// SPDX-License-Identifier: MIT
//! HTTP/2 towards servers (RFC 9113). An exchange writes its request and reads its response in HTTP/1, on a pipe; a
//! future at the pipe's other end speaks HTTP/2, on a connection that many share.

mod asked;
mod exchange;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
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
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio::io::ReadBuf;
use tokio::task::yield_now;

use super::connect::Told;
use super::server::RealServer;
use super::stream::Layer;
use super::stream::ServerStream;

/// What a pipe holds in each direction, bytes.
const PIPE: usize = 64 * 1024;

/// Content of one response that may be on its way, and wait for its client.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Most requests on a connection at a time.
const MAX_STREAMS: u32 = 128;

/// The same of a connection's responses together: clients that do not take theirs never stop the others (RFC 9113, 5.2.1).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW.saturating_mul(MAX_STREAMS);

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
                && shared.active.load(Relaxed)
                    < shared
                        .send
                        .current_max_send_streams()
                        .min(MAX_STREAMS as usize)
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
        let (send, connection) = client::Builder::new()
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
        tokio::spawn(async move {
            if let Err(error) = last(connection).await {
                tracing::debug!(%error, "HTTP/2 connection to a server");
            }
            if let Some(shared) = ended.upgrade() {
                shared.closed.store(true, Relaxed);
            }
        });
        self.all().push(Arc::clone(&shared));
        Ok(Ticket(shared))
    }

    /// Forgets those that were not used for so long, those that are closed, and of those that nobody uses the oldest ones
    /// that are more than `most`.
    pub(super) fn prune(&self, patience: Duration, most: usize) {
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

/// The exchange's end of a pipe, and what serves the other one: that goes on whenever the exchange reads or writes, in the
/// exchange's own task. Where the exchange waits for its client only, it goes on by [`Layer::progress`].
struct Near {
    pipe: DuplexStream,
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
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.progress(cx);
        Pin::new(&mut self.pipe).poll_read(&mut unwoken(), buf)
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

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(&mut unwoken())
    }
}

/// A pipe for one request, which has a place on a connection.
pub(super) fn pipe(
    server: &Arc<RealServer>,
    ticket: Ticket,
    told: Option<Told>,
    patience: Duration,
) -> ServerStream {
    let (near, far) = tokio::io::duplex(PIPE);
    let serving = exchange::serve(far, Arc::clone(server), ticket, told, patience);
    ServerStream::layered(Near {
        pipe: near,
        serving: Some(Box::pin(serving)),
    })
}
