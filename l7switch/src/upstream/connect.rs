// SPDX-License-Identifier: MIT
//! Connections to real servers.

use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use socket2::TcpKeepalive;
use thiserror::Error;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::io::SharedStream;

/// How long a peer may leave a silent connection's probes unanswered until it counts as gone.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Bytes buffered in each direction of a connection.
const BUFFER: usize = 256 * 1024;

/// Most fields of a response's head: sites that send a Link or Set-Cookie for each thing send hundreds.
const MAX_FIELDS: usize = 1024;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// It was refused, or there is no way.
    #[error("{0}")]
    Refused(#[from] io::Error),
    /// Nobody answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Connects within `patience`.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect_tcp(
    address: SocketAddr,
    patience: Duration,
) -> Result<TcpStream, ConnectError> {
    let stream = tokio::time::timeout(patience, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::Timeout(patience))??;
    prepare(&stream)?;
    Ok(stream)
}

/// Sets what every connection of the switch has: no Nagle, and probes that find a dead peer.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Starts HTTP/1 on a stream. The connection lives in a task of its own until the sender is dropped
/// and what was begun is over, or until it is aborted by the handle.
///
/// # Errors
///
/// hyper's, which there are none of.
pub async fn handshake<B>(stream: SharedStream) -> hyper::Result<(SendRequest<B>, AbortHandle)>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(Tolerant {
        stream,
        broken: false,
    });
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .max_headers(MAX_FIELDS)
        .preserve_header_case(true)
        .handshake(io)
        .await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to server");
        }
    });
    Ok((sender, task.abort_handle()))
}

/// A stream that goes on being read after writing has failed.
///
/// A server that answers before it has read the whole request and closes, resets the connection
/// when more comes. The response stands in our receive buffer all the same, but whoever stops at
/// the failed write never reads it. So a write that fails is taken for done, and what is read next
/// tells: the response, or the end of the connection.
struct Tolerant {
    stream: SharedStream,
    broken: bool,
}

impl Tolerant {
    fn settle(
        &mut self,
        wanted: usize,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(_)) => {
                self.broken = true;
                Poll::Ready(Ok(wanted))
            }
            result => result,
        }
    }
}

impl AsyncRead for Tolerant {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.broken && matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        polled
    }
}

impl AsyncWrite for Tolerant {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.settle(buf.len(), result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        if self.broken {
            return Poll::Ready(Ok(wanted));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.settle(wanted, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
