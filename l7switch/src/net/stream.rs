// SPDX-License-Identifier: MIT
//! The client's TCP stream as the layers above share it: one reader and writer, and beside it one
//! who watches for a reset and may abort.

use std::io;
use std::io::IoSlice;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How long a connection that is closed before the client has sent everything is still read from:
/// closing it at once would reset it, and the reset could overtake the response.
pub const LINGER: Duration = Duration::from_secs(3);

/// A TCP stream with one reader and one writer.
#[derive(Debug)]
pub struct SharedStream(Arc<TcpStream>);

/// The same stream for one who watches.
#[derive(Clone, Debug)]
pub struct StreamHandle(Arc<TcpStream>);

impl SharedStream {
    /// Takes a stream over.
    pub fn new(stream: TcpStream) -> (Self, StreamHandle) {
        let stream = Arc::new(stream);
        (Self(Arc::clone(&stream)), StreamHandle(stream))
    }

    /// The same stream for one who takes it over.
    pub fn same(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Makes the end of the connection a reset, so that the peer cannot take it for an orderly one.
    pub fn abort(&self) {
        abort(&self.0);
    }

    /// Reads in a way of the caller's, which gives [`io::ErrorKind::WouldBlock`] where there is nothing.
    pub fn poll_readable<T>(
        &self,
        cx: &mut Context<'_>,
        read: impl Fn(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_io(Interest::READABLE, || read(&self.0)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                result => return Poll::Ready(result),
            }
        }
    }

    /// The same of writing.
    pub fn poll_writable<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_io(Interest::WRITABLE, || write(&self.0)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                result => return Poll::Ready(result),
            }
        }
    }

    /// Looks at what the peer has sent, without reading it; 0: it has ended. What the runtime knows already costs no
    /// system call.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`]: the peer has sent nothing and not ended. Others: the connection is broken.
    pub fn peek(&self, first: &mut [u8]) -> io::Result<usize> {
        peek(&self.0, first)
    }

    /// Waits for what the peer sends, and looks at it without reading it; 0: it has ended.
    pub fn poll_peek(&self, cx: &mut Context<'_>, first: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match peek(&self.0, first) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                result => return Poll::Ready(result),
            }
        }
    }

    /// Reads what there is. Where that is less than there was room for, the stream is empty, and the runtime is told so:
    /// the next read waits for an event, instead of asking the kernel in vain first.
    fn try_read(&self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let room = buf.remaining();
        let mut read = false;
        // What the outer call knew of the stream's events is older than the read: an event that comes meanwhile stays.
        let outcome = self.0.try_io(Interest::READABLE, || {
            let count = self.0.try_read_buf(buf)?;
            read = true;
            if count > 0 && count < room {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        if read { Ok(()) } else { outcome }
    }
}

fn abort(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Looks whether there is something to read, without reading it.
fn peek(stream: &TcpStream, first: &mut [u8]) -> io::Result<usize> {
    stream.try_io(Interest::READABLE, || {
        rustix::net::recv(stream, &mut *first, rustix::net::RecvFlags::PEEK)
            .map(|(_, length)| length)
            .map_err(io::Error::from)
    })
}

/// Writes of two pieces, one behind the other, what the stream takes, and moves them on.
///
/// # Errors
///
/// The stream's; [`io::ErrorKind::WriteZero`] where it takes nothing for ever.
pub fn poll_write_both<S: AsyncWrite + ?Sized>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    first: &mut &[u8],
    second: &mut &[u8],
) -> Poll<io::Result<()>> {
    let written = ready!(if second.is_empty() {
        stream.poll_write(cx, first)
    } else if first.is_empty() {
        stream.poll_write(cx, second)
    } else {
        stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)])
    })?;
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    let of_first = written.min(first.len());
    first.advance(of_first);
    second.advance(written.saturating_sub(of_first));
    Poll::Ready(Ok(()))
}

/// A connection that is silent for so long is probed, then every third of it (TCP keep-alive, RFC 9293, 3.8.4).
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Has the kernel find out whether the peer of a silent connection is still there.
///
/// # Errors
///
/// As the kernel says.
pub fn probe(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

impl StreamHandle {
    /// Has the kernel find out whether the peer of the silent connection is still there. A socket that cannot be probed is
    /// none any more.
    pub fn probe(&self) {
        let _ = probe(&self.0);
    }

    /// Waits until the peer has reset the connection or it broke. An orderly end of what the peer
    /// sends is not an end of the connection (RFC 9293, 3.6), so it does not count.
    pub async fn broken(&self) {
        if self.0.ready(Interest::ERROR).await.is_err() {
            // The runtime ends; whoever waits beside this ends too.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the peer has ended what it sends, or the connection, also where something of that was not read yet.
    pub async fn ended(&self) {
        // An end belongs to this interest too. Urgent data would, but nobody has asked for its events.
        if self.0.ready(Interest::PRIORITY).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The address that the peer has connected to.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Makes the end of the connection a reset, so that the peer cannot take it for an orderly one.
    pub fn abort(&self) {
        abort(&self.0);
    }

    /// Whether bytes were received that nobody has read. What the runtime knows already costs no system call.
    pub fn has_unread(&self) -> bool {
        matches!(peek(&self.0, &mut [0]), Ok(1..))
    }

    /// Ends the sending direction, then reads and forgets what the client still sends, for a while.
    pub async fn linger(&self) {
        let _ = SockRef::from(&*self.0).shutdown(Shutdown::Write);
        let drain = async {
            let mut waste = vec![0; 16 * 1024];
            loop {
                if self.0.readable().await.is_err() {
                    return;
                }
                match self.0.try_read(&mut waste) {
                    Ok(0) => return,
                    Ok(_) => (),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.try_read(buf) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&*self.0).shutdown(Shutdown::Write) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        })
    }
}

/// A stream that may be a socket's alone.
pub trait MaybeRaw {
    /// The socket, where the stream's bytes are its own.
    fn raw(&self) -> Option<&SharedStream>;
}

impl MaybeRaw for SharedStream {
    fn raw(&self) -> Option<&SharedStream> {
        Some(self)
    }
}

impl<S> MaybeRaw for TlsStream<S> {
    fn raw(&self) -> Option<&SharedStream> {
        None
    }
}

/// A stream of which some bytes were read already.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Bytes,
    inner: S,
}

impl<S> Prefixed<S> {
    /// `inner` with `prefix` before what it will give.
    pub const fn new(prefix: Bytes, inner: S) -> Self {
        Self { prefix, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.prefix.len().min(buf.remaining());
        if let Some(part) = self.prefix.get(..count) {
            buf.put_slice(part);
        }
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
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
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_silent_peer_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (_stream, handle) = SharedStream::new(stream);
        let socket = SockRef::from(&*handle.0);
        assert!(!socket.keepalive().unwrap());
        handle.probe();
        assert!(socket.keepalive().unwrap());
        let times = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        assert_eq!(times.0.unwrap(), KEEPALIVE);
        assert_eq!(times.1.unwrap(), KEEPALIVE / 3);
    }
}
