// SPDX-License-Identifier: MIT
//! What a client asks: one request, an upload, a download, and two requests to two servers on one connection. In the midst of each
//! something may happen.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpFastOpenConnect;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::connect;
use rustix::net::ipproto;
use rustix::net::socket_with;
use rustix::net::sockopt;
use rustix::net::sockopt::Timeout;

use super::server;
use crate::kit::Host;

/// Length of an upload, bytes.
pub(super) const UPLOAD: usize = 200_000;
/// Length of a download where nothing else is said.
pub(super) const DOWNLOAD: usize = 1 << 20;
/// So much of a transfer is over when something happens.
const MIDST: usize = 64 << 10;

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// By TCP.
    Tcp,
    /// By multipath TCP.
    Mptcp,
    /// The request is in the SYN (TCP Fast Open).
    FastOpen,
}

/// A client that asks.
pub(super) struct Client<'a> {
    /// Where it is.
    pub(super) host: &'a Host,
    /// The service.
    pub(super) to: SocketAddr,
    /// How it connects.
    pub(super) kind: Kind,
    /// How long it waits for anything.
    pub(super) patience: Duration,
    /// How much it downloads.
    pub(super) download: usize,
    /// What happens in the midst of each exchange.
    pub(super) midst: &'a dyn Fn(),
}

/// An exchange: what it is, how many requests it has, how it is made. It gives the addresses from which servers were asked.
pub(super) struct Exchange {
    /// What the page calls it.
    pub(super) name: &'static str,
    /// How many requests it has.
    pub(super) requests: u64,
    /// Makes it.
    pub(super) make: fn(&Client<'_>) -> io::Result<Vec<IpAddr>>,
}

/// All of them.
pub(super) const EXCHANGES: [Exchange; 4] = [
    Exchange {
        name: "one request",
        requests: 1,
        make: one,
    },
    Exchange {
        name: "upload",
        requests: 1,
        make: upload,
    },
    Exchange {
        name: "download",
        requests: 1,
        make: download,
    },
    Exchange {
        name: "two servers on one connection",
        requests: 2,
        make: two_servers,
    },
];

fn one(client: &Client<'_>) -> io::Result<Vec<IpAddr>> {
    let mut stream = client.connect()?;
    get(&mut stream, 1, 100, &|| {}).map(|peer| vec![peer])
}

fn upload(client: &Client<'_>) -> io::Result<Vec<IpAddr>> {
    let mut stream = client.connect()?;
    let content = server::pattern(server::CLIENTS, UPLOAD);
    let head =
        format!("POST /1/up HTTP/1.1\r\nHost: crossing.test\r\nContent-Length: {UPLOAD}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let (first, rest) = content.split_at(MIDST);
    stream.write_all(first)?;
    (client.midst)();
    stream.write_all(rest)?;
    let (peer, len) = head_of(&mut stream, 1)?;
    let mut said = vec![0; len];
    stream.read_exact(&mut said)?;
    wrong_unless(said == b"same", "the server got other bytes")?;
    Ok(vec![peer])
}

fn download(client: &Client<'_>) -> io::Result<Vec<IpAddr>> {
    let mut stream = client.connect()?;
    get(&mut stream, 1, client.download, client.midst).map(|peer| vec![peer])
}

fn two_servers(client: &Client<'_>) -> io::Result<Vec<IpAddr>> {
    let mut stream = client.connect()?;
    let first = get(&mut stream, 1, 300, &|| {})?;
    (client.midst)();
    let second = get(&mut stream, 2, 300, &|| {})?;
    Ok(vec![first, second])
}

/// Gets so many bytes of a server; gives the address from which that was asked.
fn get(stream: &mut TcpStream, number: u8, len: usize, midst: &dyn Fn()) -> io::Result<IpAddr> {
    let request = format!("GET /{number}/{len} HTTP/1.1\r\nHost: crossing.test\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (peer, announced) = head_of(stream, number)?;
    wrong_unless(announced == len, "another length was announced")?;
    let mut got = vec![0; len];
    let (first, rest) = got.split_at_mut(len.min(MIDST));
    stream.read_exact(first)?;
    midst();
    stream.read_exact(rest)?;
    let wanted = server::pattern(&format!("server{number}"), len);
    wrong_unless(got == wanted, "other bytes came than were sent")?;
    Ok(peer)
}

/// Reads a head of a server; gives the address from which it was asked, and the content's length.
fn head_of(stream: &mut TcpStream, number: u8) -> io::Result<(IpAddr, usize)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("", |value| value.trim_start_matches([':', ' ']))
    };
    wrong_unless(head.starts_with("http/1.1 200"), &head)?;
    wrong_unless(
        field("x-server") == format!("server{number}"),
        "another server answered",
    )?;
    match (field("x-peer").parse(), field("content-length").parse()) {
        (Ok(peer), Ok(len)) => Ok((peer, len)),
        _ => Err(io::Error::other(head)),
    }
}

fn wrong_unless(right: bool, what: &str) -> io::Result<()> {
    match right {
        true => Ok(()),
        false => Err(io::Error::other(what)),
    }
}

impl Client<'_> {
    fn connect(&self) -> io::Result<TcpStream> {
        let (to, kind, patience) = (self.to, self.kind, self.patience);
        let stream = self.host.inside(|| connected(to, kind, patience))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

fn connected(to: SocketAddr, kind: Kind, patience: Duration) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let protocol = match kind {
        Kind::Mptcp => ipproto::MPTCP,
        Kind::Tcp | Kind::FastOpen => ipproto::TCP,
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )?;
    if kind == Kind::FastOpen {
        setsockopt(&socket, TcpFastOpenConnect, &true)?;
    }
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}
