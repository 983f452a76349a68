// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Netlink sockets, and the seam at which tests put a script in place of a kernel.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::RawFd;
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_GENERIC;
use rustix::net::sockopt;

/// Longest datagram that is read, bytes: an answer of 64 KiB with a request of as many in it, and lists of which the
/// kernel puts as much into a datagram as the reader has room for, up to 32 KiB.
pub(crate) const DATAGRAM: usize = 256 * 1024;
/// How long an answer is awaited: it is there when the request has been sent, so this only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for datagrams that wait, bytes: a chunk of 64 KiB must be sent whole, whatever the system's defaults are.
const WAITING: usize = 512 * 1024;
/// Gives the length of a datagram that did not fit (recv(2)).
const MSG_TRUNC: i32 = 0x20;

/// What sends requests and receives datagrams.
pub(crate) trait Transport {
    /// Sends one message.
    fn send(&self, message: &[u8]) -> io::Result<()>;
    /// Puts the next datagram in place of what is in `buffer`.
    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()>;
}

/// A socket of generic netlink.
#[derive(Debug)]
pub(crate) struct GenericSocket {
    socket: Socket,
    port: u32,
}

impl GenericSocket {
    /// A socket with a port of its own. It waits for answers, and hears extended acks.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Linux 4.20; without it, dumps are checked less strictly.
        let _ = socket.set_netlink_get_strict_chk(true);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        // The system's limit may be lower; what is too long is refused then.
        let _ = sockopt::set_socket_send_buffer_size(&socket, WAITING);
        let _ = sockopt::set_socket_recv_buffer_size(&socket, WAITING);
        Ok(Self { socket, port })
    }

    /// Makes it a listener to a group, that does not block.
    pub(crate) fn join(&self, group: u32) -> io::Result<()> {
        self.socket.set_non_blocking(true)?;
        self.socket.add_membership(group)
    }

    /// Its port: the `by` of the events that its requests cause.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }
}

impl Transport for GenericSocket {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        loop {
            match self.socket.send_to(message, &kernel, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        loop {
            buffer.clear();
            buffer.reserve(DATAGRAM);
            match self.socket.recv_from(buffer, MSG_TRUNC) {
                // Other processes may write to the port, too.
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok((length, _)) if length > buffer.len() => {
                    let why = format!("a message of {length} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for GenericSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for GenericSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
