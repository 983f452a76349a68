// SPDX-License-Identifier: MIT
//! Bytes that go from one socket to another through a pipe of the kernel's, and are never copied into this process
//! (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::Context;
use std::task::Poll;

use rustix::pipe::PipeFlags;
use rustix::pipe::SpliceFlags;
use rustix::pipe::fcntl_setpipe_size;
use rustix::pipe::pipe_with;
use rustix::pipe::splice;

use crate::net::stream::SharedStream;

/// What a pipe holds, if the kernel lets it (`/proc/sys/fs/pipe-max-size`, `pipe-user-pages-soft`).
const SIZE: usize = 256 * 1024;

/// So many empty pipes are kept by each thread.
const SPARE: usize = 32;

thread_local! {
    static SPARE_ONES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe.
#[derive(Debug)]
pub struct Pipe {
    from: OwnedFd,
    into: OwnedFd,
    size: usize,
}

impl Pipe {
    /// One that another exchange has left, or a new one.
    ///
    /// # Errors
    ///
    /// There are too many descriptors.
    pub fn take() -> io::Result<Self> {
        let spare = SPARE_ONES.try_with(|spare| spare.try_borrow_mut().ok()?.pop());
        if let Ok(Some(spare)) = spare {
            return Ok(spare);
        }
        let (from, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // One that stays small serves as well, only slower.
        let size = fcntl_setpipe_size(&into, SIZE).unwrap_or(16 * 4096);
        Ok(Self { from, into, size })
    }

    /// Leaves it to another exchange. It has to be empty.
    pub fn leave(self) {
        // A thread that ends has none any more.
        let _ = SPARE_ONES.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < SPARE
            {
                spare.push(self);
            }
        });
    }

    /// Takes up to so many bytes from a stream. 0: it has ended. The pipe has to be empty.
    ///
    /// # Errors
    ///
    /// The stream's.
    pub fn poll_fill(
        &self,
        stream: &SharedStream,
        cx: &mut Context<'_>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let length = length.min(self.size);
        stream.poll_readable(cx, |stream| move_bytes(stream, &self.into, length))
    }

    /// Gives up to so many bytes to a stream.
    ///
    /// # Errors
    ///
    /// The stream's.
    pub fn poll_empty(
        &self,
        stream: &SharedStream,
        cx: &mut Context<'_>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        stream.poll_writable(cx, |stream| move_bytes(&self.from, stream, length))
    }
}

fn move_bytes(
    from: &impl std::os::fd::AsFd,
    to: &impl std::os::fd::AsFd,
    length: usize,
) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(splice(from, None, to, None, length, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    async fn pair() -> (TcpStream, SharedStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (
            near,
            SharedStream::new(listener.accept().await.unwrap().0).0,
        )
    }

    #[tokio::test]
    async fn bytes_pass_and_an_end_is_told() {
        let (mut client, to) = pair().await;
        let (mut server, from) = pair().await;
        let pipe = Pipe::take().unwrap();
        server.write_all(b"some bytes").await.unwrap();
        let filled = poll_fn(|cx| pipe.poll_fill(&from, cx, 4)).await.unwrap();
        assert_eq!(filled, 4);
        let emptied = poll_fn(|cx| pipe.poll_empty(&to, cx, 4)).await.unwrap();
        assert_eq!(emptied, 4);
        let mut got = [0; 4];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"some");
        drop(server);
        let filled = poll_fn(|cx| pipe.poll_fill(&from, cx, 100)).await.unwrap();
        assert_eq!(filled, 6);
        let emptied = poll_fn(|cx| pipe.poll_empty(&to, cx, 6)).await.unwrap();
        assert_eq!(emptied, 6);
        assert_eq!(
            poll_fn(|cx| pipe.poll_fill(&from, cx, 100)).await.unwrap(),
            0
        );
        pipe.leave();
        assert!(Pipe::take().is_ok());
    }
}
