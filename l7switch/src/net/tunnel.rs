// SPDX-License-Identifier: MIT
//! Bytes copied both ways between two streams: each direction ends for itself, and both end when
//! neither moves for too long.

use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::net::clock::nanos;
use crate::net::clock::now_ns;
use crate::net::tls::refuses_certificate;
use crate::observe::reason::Reason;

/// Bytes held for each direction.
const BUFFER: usize = 32 * 1024;

/// Most pieces that are read of what a server has sent before it broke off.
const MOST_READ: usize = 16;

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes from the first stream to the second.
    pub forth: u64,
    /// Bytes from the second to the first.
    pub back: u64,
    /// Absent: both sides ended in order.
    pub reason: Option<Reason>,
}

/// Copies until both directions have ended, one of the streams breaks, or nothing moved for `idle`, if that is given.
pub async fn join<A, B>(client: A, server: B, idle: Option<Duration>) -> Outcome
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Arc::new(AtomicU64::new(now_ns()));
    let from_client = Arc::new(AtomicU64::new(0));
    let from_server = Arc::new(AtomicU64::new(0));
    let mut client = Watched::new(client, &moved, &from_client);
    let mut server = Watched::new(server, &moved, &from_server);
    let reason = tokio::select! {
        result = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER) => {
            match result {
                Ok(_) => None,
                Err(_) if client.failed => Some(Reason::ClientGone),
                Err(error) => Some(why_gone(error, &mut server).await),
            }
        }
        () = silence(&moved, idle) => Some(Reason::IdleTimeout),
    };
    Outcome {
        forth: from_client.load(Relaxed),
        back: from_server.load(Relaxed),
        reason,
    }
}

/// Why a server has broken off. What could not be written says less than what it has said before, which is read.
async fn why_gone<S: AsyncRead + Unpin>(mut error: io::Error, server: &mut S) -> Reason {
    let mut bytes = [0; 4096];
    for _ in 0..MOST_READ {
        if refuses_certificate(&error) {
            return Reason::ServerTls;
        }
        // As rustls says that close_notify is missing.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Reason::TlsTruncated;
        }
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut *server).poll_read(cx, &mut buffer)));
        match read.await {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => (),
            Poll::Ready(Err(other)) if refuses_certificate(&other) => error = other,
            _ => break,
        }
    }
    Reason::ServerGone
}

/// Waits until nothing has moved for `idle`.
async fn silence(moved: &AtomicU64, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let idle = nanos(idle);
    loop {
        let silent = now_ns().saturating_sub(moved.load(Relaxed));
        if silent >= idle {
            return;
        }
        tokio::time::sleep(Duration::from_nanos(idle.saturating_sub(silent))).await;
    }
}

struct Watched<S> {
    inner: S,
    moved: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
    failed: bool,
}

impl<S> Watched<S> {
    fn new(inner: S, moved: &Arc<AtomicU64>, read: &Arc<AtomicU64>) -> Self {
        Self {
            inner,
            moved: Arc::clone(moved),
            read: Arc::clone(read),
            failed: false,
        }
    }

    fn note<T>(&mut self, polled: &Poll<io::Result<T>>) {
        match polled {
            Poll::Ready(Ok(_)) => self.moved.store(now_ns(), Relaxed),
            Poll::Ready(Err(_)) => self.failed = true,
            Poll::Pending => (),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(before);
        self.read
            .fetch_add(u64::try_from(count).unwrap_or(0), Relaxed);
        self.note(&polled);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn each_direction_ends_for_itself() {
        let (mut client, near) = tokio::io::duplex(64);
        let (far, mut server) = tokio::io::duplex(64);
        let tunnel = tokio::spawn(join(near, far, None));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        server.write_all(b"a longer answer").await.unwrap();
        drop(server);
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"a longer answer");
        let outcome = tunnel.await.unwrap();
        assert_eq!(
            outcome,
            Outcome {
                forth: 8,
                back: 15,
                reason: None
            }
        );
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let (_client, near) = tokio::io::duplex(64);
        let (far, _server) = tokio::io::duplex(64);
        let outcome = join(near, far, Some(Duration::from_millis(20))).await;
        assert_eq!(outcome.reason, Some(Reason::IdleTimeout));
    }
}
