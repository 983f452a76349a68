// SPDX-License-Identifier: MIT
//! Connections of others, as many as there are to be in the switch's table: opened, used for a request, and left. Their ends
//! are forgotten without a word to anybody (TCP_REPAIR), so that they take no memory but the switch's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking, as a test does"
)]

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::SocketAddrV4;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use l7switch_qemu_tests::kit::Host;
use l7switch_qemu_tests::kit::Network;
use l7switch_qemu_tests::kit::network;
use l7switch_qemu_tests::kit::network::CLIENT;
use l7switch_qemu_tests::kit::network::VIP;
use nix::sys::socket;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use nix::sys::socket::SockaddrIn;
use nix::sys::socket::sockopt::TcpRepair;

use super::case::Case;

/// The virtual service of these connections.
pub(super) const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, 81);
/// Its real server.
pub(super) fn server() -> SocketAddrV4 {
    SocketAddrV4::new(network::server(1), 81)
}

/// The network of the clients, a /15, at the client's host.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 6, 0, 0);
/// Clients, as long as there are so many connections.
pub(super) const ADDRESSES: u32 = 100_000;
/// The first port of each.
const PORT: u32 = 2048;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// Bytes of a part of a request.
pub(super) const PART: usize = 100;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The module's parameters: room for these connections and for the load's. Where there are none it has its own.
pub(super) fn parameters(case: &Case) -> String {
    match case.flows {
        0 => String::new(),
        // A connection that has ended has its place for two seconds more. And some of the parts that the table has get more
        // connections than others: by five times the root of what they get on average.
        flows => {
            let uneven = 80 * flows.isqrt();
            format!(
                "max_flows={}",
                flows + uneven + (case.runs + 1) * case.connections
            )
        }
    }
}

/// Fills the table, for a case that wants it.
///
/// # Errors
///
/// Those of the first connection that fails, with its number.
pub(super) fn fill(case: &Case, network: &Network) -> io::Result<()> {
    if case.flows > 0 {
        Others::new(network, case.flows).ask(case.flows)?;
        // What is measured then is compared with plain forwarding, where no packet passes these rules.
        for host in [&network.client, &network.servers[0]] {
            host.run("nft delete table ip silence");
        }
    }
    Ok(())
}

/// Clients and server of these connections.
pub(super) struct Others<'a> {
    network: &'a Network,
    /// The number of the next one.
    next: u32,
}

impl<'a> Others<'a> {
    /// For so many connections in all.
    pub(super) fn new(network: &'a Network, count: u32) -> Self {
        let host = &network.servers[0];
        silence(&network.client);
        silence(host);
        network
            .client
            .run(&format!("ip route add local {CLIENTS}/15 dev lo"));
        network.switch.run(&format!(
            "ip route add {CLIENTS}/15 via {CLIENT} dev client"
        ));
        let listener = host.inside(|| TcpListener::bind(server()).unwrap());
        // Nobody waits for it: it may have a client less than it was told.
        std::thread::spawn(move || serve(&listener, count));
        Self { network, next: 0 }
    }

    /// Opens so many more, has a request of each answered, and leaves them.
    pub(super) fn ask(&mut self, count: u32) -> io::Result<()> {
        self.each(count, ask)
    }

    /// Opens so many more, sends a part of a request, and leaves them.
    pub(super) fn begin(&mut self, count: u32) -> io::Result<()> {
        self.each(count, begin)
    }

    fn each(&mut self, count: u32, what: fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
        let from = self.next;
        self.next += count;
        self.network.client.inside(|| {
            (from..from + count).try_for_each(|number| {
                connect(number)
                    .and_then(what)
                    .map_err(|error| io::Error::other(format!("connection {number}: {error}")))
            })
        })
    }
}

/// What comes to a connection that is forgotten is not answered.
fn silence(host: &Host) {
    std::fs::write(
        "/tmp/silence",
        "table ip silence {\n  chain output {\n    type filter hook output priority 0;\n    \
         tcp flags & rst == rst drop\n  }\n}\n",
    )
    .unwrap();
    host.run("nft -f /tmp/silence");
}

fn serve(listener: &TcpListener, count: u32) -> io::Result<()> {
    let mut request = [0; REQUEST.len()];
    for _ in 0..count {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut request)?;
        stream.write_all(RESPONSE)?;
        forget(&stream)?;
    }
    Ok(())
}

fn connect(number: u32) -> io::Result<TcpStream> {
    let address = Ipv4Addr::from_bits(CLIENTS.to_bits() + 1 + number % ADDRESSES);
    let port = u16::try_from(PORT + number / ADDRESSES).map_err(io::Error::other)?;
    let own = SockaddrIn::from(SocketAddrV4::new(address, port));
    let socket = socket::socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    socket::bind(socket.as_raw_fd(), &own)?;
    socket::connect(socket.as_raw_fd(), &SockaddrIn::from(SERVICE))?;
    Ok(TcpStream::from(socket))
}

fn ask(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut response = [0; RESPONSE.len()];
    stream.read_exact(&mut response)?;
    forget(&stream)
}

fn begin(mut stream: TcpStream) -> io::Result<()> {
    let mut part = b"GET /".to_vec();
    part.resize(PART, b'a');
    stream.write_all(&part)?;
    forget(&stream)
}

/// Has the kernel forget a connection when its socket is closed.
fn forget(stream: &TcpStream) -> io::Result<()> {
    Ok(socket::setsockopt(stream, TcpRepair, &1)?)
}
