// SPDX-License-Identifier: MIT
//! The real servers of crossings, in the test's own process: what they send and get is compared byte by byte.
//!
//! GET `/X/N` is answered by N bytes of the server's pattern, POST by whether the content is the client's pattern.

use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::SocketAddrV6;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::bind;
use rustix::net::ipproto;
use rustix::net::listen;
use rustix::net::socket_with;
use rustix::net::sockopt;

use crate::kit::Host;

/// The port of real servers.
pub(super) const PORT: u16 = 8080;
/// Whose pattern clients send.
pub(super) const CLIENTS: &str = "client";
/// Length of a pattern before it begins anew: a prime, so that no two segments of a transfer are alike.
const PERIOD: usize = 65_521;

/// The bytes that a host of this name sends.
pub(super) fn pattern(name: &str, len: usize) -> Vec<u8> {
    let seed = name.bytes().fold(7, |seed: u64, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; PERIOD.min(len)];
    random.fill(&mut bytes);
    while bytes.len() < len {
        let more = (len - bytes.len()).min(PERIOD);
        bytes.extend_from_within(..more);
    }
    bytes
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
}

impl Server {
    /// Starts it on every address of a host, by IPv4 and IPv6; `mptcp`: with sockets of MPTCP, which take TCP, too.
    pub(super) fn start(host: &Host, mptcp: bool) -> Self {
        let listener = host
            .inside(|| listener(mptcp))
            .unwrap_or_else(|error| panic!("a server on {}: {error}", host.name()));
        let accepting = listener.try_clone().expect("a descriptor can be copied");
        let name: Arc<str> = host.name().into();
        thread::spawn(move || {
            // The end is an error: the socket listens no longer.
            while let Ok((stream, peer)) = accepting.accept() {
                let name = Arc::clone(&name);
                thread::spawn(move || while_it_lasts(stream, peer, &name));
            }
        });
        Self { listener }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(listener) = self.listener.try_clone() {
            // Ends the thread's wait.
            let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
        }
    }
}

fn listener(mptcp: bool) -> io::Result<TcpListener> {
    let protocol = if mptcp { ipproto::MPTCP } else { ipproto::TCP };
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(
        &socket,
        &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, PORT, 0, 0),
    )?;
    listen(&socket, 128)?;
    Ok(socket.into())
}

fn while_it_lasts(stream: TcpStream, peer: SocketAddr, name: &str) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    // A client that goes is no error.
    while matches!(answer(&mut reader, &mut writer, peer, name), Ok(true)) {}
}

/// Answers one request; `false` where there is none any more.
fn answer(
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
    peer: SocketAddr,
    name: &str,
) -> io::Result<bool> {
    let mut request = String::new();
    if reader.read_line(&mut request)? == 0 {
        return Ok(false);
    }
    let mut content = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((field, value)) = line.split_once(':')
            && field.eq_ignore_ascii_case("content-length")
        {
            content = value.trim().parse().unwrap_or(0);
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = if request.starts_with("POST") {
        let mut got = vec![0; content];
        reader.read_exact(&mut got)?;
        let same = got == pattern(CLIENTS, content);
        if same { "same" } else { "other" }.as_bytes().to_vec()
    } else {
        let len = path.rsplit('/').next().and_then(|len| len.parse().ok());
        pattern(name, len.unwrap_or(0))
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Server: {name}\r\nX-Peer: {}\r\n\r\n",
        body.len(),
        peer.ip().to_canonical()
    );
    writer.write_all(&[head.as_bytes(), &body].concat())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_their_host_and_go_on_as_they_began() {
        let long = pattern("server1", 3 * PERIOD + 5);
        assert_eq!(long.len(), 3 * PERIOD + 5);
        assert_eq!(long[..1000], pattern("server1", 1000));
        assert_eq!(long[PERIOD..PERIOD + 9], long[..9]);
        assert_ne!(long[..9], pattern("server2", 9));
    }
}
