// SPDX-License-Identifier: MIT
//! Frames between the front and its successor: text and descriptors over a Unix stream socket (unix(7), `SCM_RIGHTS`).
//!
//! A frame begins with twelve bytes, numbers with the most significant byte first:
//!
//! | Bytes | Content |
//! |---|---|
//! | 0 to 3 | `L7T` and 1 |
//! | 4 to 7 | length of the content, at most [`MOST_CONTENT`] |
//! | 8 to 11 | number of descriptors, at most [`MOST_DESCRIPTORS`]; they come with these twelve bytes |

use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::ReturnFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::recvmsg;
use rustix::net::sendmsg;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// How a frame begins. The last byte is the version of this layout.
const MAGIC: [u8; 4] = *b"L7T\x01";

/// Bytes before the content.
const HEADER: usize = 12;

/// Longest content, bytes.
pub const MOST_CONTENT: usize = 4 * 1024 * 1024;

/// Most descriptors of a frame; the kernel takes 253 (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 64;

/// Read at a time, so that a length alone takes no memory.
const READ: usize = 64 * 1024;

/// What was received.
#[derive(Debug, Default)]
pub struct Frame {
    /// The text.
    pub content: Vec<u8>,
    /// What came with it, closed where it is dropped.
    pub descriptors: Vec<OwnedFd>,
}

/// Why no frame came.
#[derive(Debug, Error)]
pub enum WireError {
    /// The kernel says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side has closed the connection between two frames.
    #[error("the other side has closed the connection")]
    Closed,
    /// The other side has closed the connection within a frame.
    #[error("the connection ended within a frame")]
    Cut,
    /// The bytes are no frame, or one of another version.
    #[error("what came is no frame of a take-over")]
    NoFrame,
    /// A frame is longer than any may be.
    #[error("a frame of {0} bytes: at most {MOST_CONTENT} are taken")]
    TooLong(u32),
    /// Other descriptors came than the frame says.
    #[error("{came} descriptors came, and the frame says {said}")]
    Descriptors {
        /// By the frame's beginning.
        said: u32,
        /// With it.
        came: usize,
    },
}

/// One end of the connection.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    /// What was read with what came before the first frame.
    early: Mutex<Vec<u8>>,
}

impl Wire {
    /// An end, of which these bytes were read already.
    pub fn with(stream: UnixStream, early: &[u8]) -> Self {
        Self {
            stream,
            early: Mutex::new(early.to_vec()),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// As the kernel says; [`io::ErrorKind::InvalidInput`]: it is longer than any may be.
    pub async fn send(&self, content: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let count = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
        if content.len() > MOST_CONTENT || descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut header = [0; HEADER];
        let parts = [MAGIC, length.to_be_bytes(), count.to_be_bytes()];
        for (place, byte) in header.iter_mut().zip(parts.as_flattened()) {
            *place = *byte;
        }
        let sent = self.send_some(&header, descriptors).await?;
        self.send_all(header.get(sent..).unwrap_or_default())
            .await?;
        self.send_all(content).await
    }

    async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.send_some(bytes, &[]).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    async fn send_some(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let stream = &self.stream;
        let send = || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let sent = sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut control, flags)?;
            Ok(sent)
        };
        match stream.async_io(Interest::WRITABLE, send).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            sent => Ok(sent),
        }
    }

    /// Waits for a frame.
    ///
    /// # Errors
    ///
    /// See [`WireError`].
    pub async fn receive(&self) -> Result<Frame, WireError> {
        let mut descriptors = Vec::new();
        let mut header = Vec::with_capacity(HEADER);
        while header.len() < HEADER {
            let wanted = HEADER.saturating_sub(header.len());
            if !self
                .receive_some(wanted, &mut header, &mut descriptors)
                .await?
            {
                return Err(match header.is_empty() {
                    true => WireError::Closed,
                    false => WireError::Cut,
                });
            }
        }
        let number = |at: usize| {
            let bytes = header.get(at..).and_then(<[u8]>::first_chunk::<4>);
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        if !header.starts_with(&MAGIC) {
            return Err(WireError::NoFrame);
        }
        let (length, said) = (number(4), number(8));
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MOST_CONTENT)
            .ok_or(WireError::TooLong(length))?;
        let mut content = Vec::new();
        while content.len() < length {
            let wanted = length.saturating_sub(content.len()).min(READ);
            if !self
                .receive_some(wanted, &mut content, &mut descriptors)
                .await?
            {
                return Err(WireError::Cut);
            }
        }
        let came = descriptors.len();
        if usize::try_from(said) != Ok(came) {
            return Err(WireError::Descriptors { said, came });
        }
        Ok(Frame {
            content,
            descriptors,
        })
    }

    /// Receives at most so many bytes, behind those that there are. `false`: the connection has ended.
    async fn receive_some(
        &self,
        wanted: usize,
        into: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<bool, WireError> {
        {
            let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
            if !early.is_empty() {
                let taken = wanted.min(early.len());
                into.extend(early.drain(..taken));
                return Ok(true);
            }
        }
        let stream = &self.stream;
        let mut bytes = vec![0; wanted];
        let mut came = Vec::new();
        let mut is_truncated = false;
        let receive = || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let message = recvmsg(stream.as_fd(), &mut bytes, &mut control, flags)?;
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    came.extend(rights);
                }
            }
            is_truncated = message.flags.contains(ReturnFlags::CTRUNC);
            Ok(message.bytes)
        };
        let received = stream.async_io(Interest::READABLE, receive).await?;
        descriptors.append(&mut came);
        if is_truncated || descriptors.len() > MOST_DESCRIPTORS {
            // More than any frame has.
            return Err(WireError::Descriptors {
                said: 0,
                came: descriptors.len(),
            });
        }
        into.extend(bytes.get(..received).unwrap_or_default());
        Ok(received > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::io::Seek;

    use super::*;

    fn wires() -> (Wire, Wire) {
        let (one, other) = UnixStream::pair().unwrap();
        (Wire::with(one, &[]), Wire::with(other, &[]))
    }

    /// What comes of raw bytes with descriptors, behind which the connection ends.
    async fn received(bytes: &[u8], descriptors: usize) -> Result<Frame, WireError> {
        let (one, other) = wires();
        let file = File::open("/dev/null").unwrap();
        let descriptors = vec![file.as_fd(); descriptors];
        let sent = if descriptors.len() > MOST_DESCRIPTORS {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            let flags = SendFlags::NOSIGNAL;
            sendmsg(
                one.stream.as_fd(),
                &[IoSlice::new(bytes)],
                &mut control,
                flags,
            )
            .unwrap()
        } else {
            one.send_some(bytes, &descriptors).await.unwrap()
        };
        assert_eq!(sent, bytes.len());
        drop(one);
        other.receive().await
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[tokio::test]
    async fn text_and_descriptors_come_as_they_were_sent() {
        let (one, other) = wires();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"hello").unwrap();
        let long = vec![7; MOST_CONTENT];
        let sending = async {
            one.send(b"first", &[file.as_fd(), file.as_fd()])
                .await
                .unwrap();
            one.send(b"", &[]).await.unwrap();
            one.send(&long, &[file.as_fd()]).await.unwrap();
            let too_long = one.send(&vec![7; MOST_CONTENT + 1], &[]).await;
            assert_eq!(too_long.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        };
        let receiving = async {
            let first = other.receive().await.unwrap();
            assert_eq!(
                (&*first.content, first.descriptors.len()),
                (&b"first"[..], 2)
            );
            let mut same = File::from(first.descriptors.into_iter().next().unwrap());
            same.rewind().unwrap();
            let mut text = String::new();
            same.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            let empty = other.receive().await.unwrap();
            assert_eq!((empty.content.len(), empty.descriptors.len()), (0, 0));
            let last = other.receive().await.unwrap();
            assert!(last.content == long && last.descriptors.len() == 1);
        };
        tokio::join!(sending, receiving);
        drop(one);
        assert!(matches!(other.receive().await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (one, other) = UnixStream::pair().unwrap();
        let one = Wire::with(one, &[]);
        let other = Wire::with(other, b"L7T\x01\0\0\0\x03\0\0\0\0a");
        one.send_all(b"bc").await.unwrap();
        one.send(b"next", &[]).await.unwrap();
        assert_eq!(other.receive().await.unwrap().content, b"abc");
        assert_eq!(other.receive().await.unwrap().content, b"next");
    }

    #[tokio::test]
    async fn descriptors_that_come_are_closed_on_exec() {
        let (one, other) = wires();
        let file = File::open("/dev/null").unwrap();
        one.send(b"x", &[file.as_fd()]).await.unwrap();
        let frame = other.receive().await.unwrap();
        let flags = rustix::io::fcntl_getfd(&frame.descriptors[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[tokio::test]
    async fn every_wrong_byte_is_an_error() {
        let header = |length: u32, count: u32| {
            [MAGIC, length.to_be_bytes(), count.to_be_bytes()]
                .as_flattened()
                .to_vec()
        };
        let with = |length: u32, count: u32, content: &[u8]| {
            let mut bytes = header(length, count);
            bytes.extend(content);
            bytes
        };
        type Expected = fn(&WireError) -> bool;
        let cases: [(&str, Vec<u8>, usize, Expected); 9] = [
            ("half a header", header(0, 0)[..7].to_vec(), 0, |error| {
                matches!(error, WireError::Cut)
            }),
            ("half a content", with(10, 0, b"12345"), 0, |error| {
                matches!(error, WireError::Cut)
            }),
            ("HTTP", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 0, |error| {
                matches!(error, WireError::NoFrame)
            }),
            (
                "another version",
                b"L7T\x02\0\0\0\0\0\0\0\0".to_vec(),
                0,
                |error| matches!(error, WireError::NoFrame),
            ),
            ("the longest length", header(u32::MAX, 0), 0, |error| {
                matches!(error, WireError::TooLong(u32::MAX))
            }),
            ("no descriptors", with(1, 1, b"x"), 0, |error| {
                matches!(error, WireError::Descriptors { said: 1, came: 0 })
            }),
            ("more than it says", with(1, 1, b"x"), 2, |error| {
                matches!(error, WireError::Descriptors { said: 1, came: 2 })
            }),
            ("a count of all", with(1, u32::MAX, b"x"), 3, |error| {
                matches!(error, WireError::Descriptors { came: 3, .. })
            }),
            ("too many at all", with(1, 100, b"x"), 100, |error| {
                matches!(error, WireError::Descriptors { came: 64.., .. })
            }),
        ];
        for (what, bytes, descriptors, expected) in cases {
            let error = received(&bytes, descriptors).await.unwrap_err();
            assert!(expected(&error), "{what}: {error:?}");
        }
    }

    /// Descriptors that come with the content, and not with the header, are counted too.
    #[tokio::test]
    async fn descriptors_with_the_content_are_counted() {
        let (one, other) = wires();
        let file = File::open("/dev/null").unwrap();
        let mut header = MAGIC.to_vec();
        header.extend([0, 0, 0, 4, 0, 0, 0, 1]);
        one.send_some(&header, &[file.as_fd()]).await.unwrap();
        one.send_some(b"cont", &[file.as_fd()]).await.unwrap();
        let error = other.receive().await.unwrap_err();
        assert!(
            matches!(error, WireError::Descriptors { said: 1, came: 2 }),
            "{error:?}"
        );
    }

    /// Alone in its process, since it counts what the process has open.
    #[test]
    fn what_is_refused_is_closed() {
        if std::env::var_os("L7_COUNTED").is_none() {
            let name = "handover::wire::tests::what_is_refused_is_closed";
            let run = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env("L7_COUNTED", "1")
                .output()
                .unwrap();
            assert!(run.status.success(), "{run:?}");
            assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"));
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let before = open_descriptors();
            for descriptors in [1, 2, 64, 100] {
                let mut bytes = MAGIC.to_vec();
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 3, b'x']);
                received(&bytes, descriptors).await.unwrap_err();
            }
            assert_eq!(open_descriptors(), before);
        });
    }
}
