// SPDX-License-Identifier: MIT
//! Session tickets of TLS 1.3 that go to the client with what it is sent next. They end the handshake, and nothing says when
//! they have to come (RFC 8446, 4.6.1): on their own they cost each connection a system call and a packet.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::stream::SharedStream;

/// The type of a record that is encrypted (RFC 8446, 5.2).
const ENCRYPTED: u8 = 23;

/// How far a handshake has come.
#[derive(Debug)]
enum Progress {
    /// The server has not written yet, or only in clear text that the client has not answered.
    Begun,
    /// The server has written a flight as a whole, which the client has answered. What is encrypted from its first byte on is
    /// behind the handshake: a flight begins in clear text.
    Answered,
    /// These bytes are behind it, and not written yet.
    Held(Vec<u8>),
    /// Everything is written as it comes.
    Over,
}

/// A client's stream below TLS.
#[derive(Debug)]
pub struct Tickets {
    stream: SharedStream,
    progress: Progress,
    /// The server has written, and not read since.
    has_written: bool,
}

impl Tickets {
    /// A stream on which a handshake is to begin.
    pub const fn new(stream: SharedStream) -> Self {
        Self {
            stream,
            progress: Progress::Begun,
            has_written: false,
        }
    }

    /// The handshake is over: nothing more is held than what is now.
    pub fn end(&mut self) {
        if !matches!(self.progress, Progress::Held(_)) {
            self.progress = Progress::Over;
        }
    }

    /// Writes what is held, with as much of these bytes as the stream takes.
    fn poll_write_held(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while let Progress::Held(held) = &mut self.progress {
            let mut all = Vec::with_capacity(bufs.len().saturating_add(1));
            all.push(IoSlice::new(held));
            all.extend(bufs.iter().map(|buf| IoSlice::new(buf)));
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = written.min(held.len());
            held.drain(..of_held);
            if held.is_empty() {
                self.progress = Progress::Over;
            }
            match written.saturating_sub(of_held) {
                0 => (),
                of_bufs => return Poll::Ready(Ok(of_bufs)),
            }
        }
        match bufs.is_empty() {
            true => Poll::Ready(Ok(0)),
            false => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    /// A write within the handshake, or of what stands behind it.
    fn poll_write_shaking(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find_map(|buf| buf.first());
        if matches!(self.progress, Progress::Answered) && first == Some(&ENCRYPTED) {
            let held: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
            let held = held.concat();
            let length = held.len();
            self.progress = Progress::Held(held);
            return Poll::Ready(Ok(length));
        }
        let whole = bufs.iter().map(|buf| buf.len()).sum();
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        if written < whole {
            // The next write begins anywhere.
            self.progress = Progress::Over;
        }
        self.has_written = true;
        Poll::Ready(Ok(written))
    }
}

impl Drop for Tickets {
    /// Why a handshake has failed may be told behind it.
    fn drop(&mut self) {
        if let Progress::Held(held) = &self.progress {
            self.stream.write_once(held);
        }
    }
}

impl AsyncRead for Tickets {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.has_written && read.is_ready() {
            self.has_written = false;
            if matches!(self.progress, Progress::Begun) {
                self.progress = Progress::Answered;
            }
        }
        read
    }
}

impl AsyncWrite for Tickets {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.progress {
            Progress::Over => Pin::new(&mut this.stream).poll_write_vectored(cx, bufs),
            Progress::Held(_) => this.poll_write_held(cx, bufs),
            Progress::Begun | Progress::Answered => this.poll_write_shaking(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is held stays so: it goes with what is written next.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_held(cx, &[]))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    /// A stream whose handshake has come to the client's answer, and the client.
    async fn answered() -> (Tickets, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut tickets = Tickets::new(SharedStream::new(server).0);
        for (asked, flight) in [(b"hello", b"\x16flight"), (b"ended", b"\x16either")] {
            client.write_all(asked).await.unwrap();
            tickets.read_exact(&mut [0; 5]).await.unwrap();
            tickets.write_all(flight).await.unwrap();
            let mut got = [0; 7];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, flight);
        }
        client.write_all(b"ended").await.unwrap();
        tickets.read_exact(&mut [0; 5]).await.unwrap();
        (tickets, client)
    }

    async fn rest(mut client: TcpStream) -> Vec<u8> {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn tickets_go_with_what_is_written_next() {
        let (mut tickets, client) = answered().await;
        tickets.write_all(b"\x17tickets").await.unwrap();
        tickets.flush().await.unwrap();
        tickets.end();
        assert!(matches!(&tickets.progress, Progress::Held(held) if held == b"\x17tickets"));
        tickets.write_all(b"\x17answer").await.unwrap();
        assert!(matches!(tickets.progress, Progress::Over));
        tickets.shutdown().await.unwrap();
        assert_eq!(rest(client).await, b"\x17tickets\x17answer");
    }

    #[tokio::test]
    async fn what_is_held_goes_at_the_end_at_the_latest() {
        let (mut tickets, client) = answered().await;
        tickets.write_all(b"\x17tickets").await.unwrap();
        tickets.shutdown().await.unwrap();
        assert_eq!(rest(client).await, b"\x17tickets");
        let (mut tickets, client) = answered().await;
        tickets.write_all(b"\x17alert").await.unwrap();
        drop(tickets);
        assert_eq!(rest(client).await, b"\x17alert");
    }

    #[tokio::test]
    async fn nothing_is_held_behind_a_handshake_without_tickets() {
        let (mut tickets, mut client) = answered().await;
        tickets.end();
        tickets.write_all(b"\x17answer").await.unwrap();
        let mut got = [0; 7];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\x17answer");
    }

    #[tokio::test]
    async fn nothing_is_held_that_the_client_waits_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut tickets = Tickets::new(SharedStream::new(server).0);
        // The flight in two writes, of which the second begins with what is encrypted.
        tickets.write_all(b"\x16hello").await.unwrap();
        tickets.write_all(b"\x17rest").await.unwrap();
        let mut got = [0; 11];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\x16hello\x17rest");
    }
}
