// SPDX-License-Identifier: MIT
//! What is asked of every contender.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use l7switch_qemu_tests::kit::network::VIP;
use l7switch_qemu_tests::kit::network::VIP6;
use l7switch_qemu_tests::kit::network::server;
use l7switch_qemu_tests::kit::network::server6;

use super::contender::Contender;
use super::fill;

/// What the client speaks, and how far the switch reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP, a server chosen for each request.
    Http,
    /// HTTP, of which nothing is read: a server chosen for each connection.
    Opaque,
    /// TLS, passed through unopened, a server chosen for each connection by the name that the client asks for.
    Tls,
}

/// How the real server, nginx, is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// For the bench: head and body of a short answer are in one packet, since they are of memory; no log.
    Chosen,
    /// As Debian's package has it: `sendfile`, and `tcp_nopush`, which puts a file's pages behind the head in one packet.
    Debian,
    /// The same without `tcp_nopush`: an answer is two packets at least.
    TwoPackets,
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Its name in the record.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// What is asked for.
    pub path: &'static str,
    /// Options of wrk's.
    pub options: &'static str,
    /// What is spoken.
    pub speech: Speech,
    /// Who answers.
    pub origin: Origin,
    /// Whether by IPv6.
    pub v6: bool,
    /// How many routes the switch has.
    pub routes: usize,
    /// How many real servers: addresses of the one that there is.
    pub servers: u16,
    /// How many processors the guest has: as many threads have client, server and proxies.
    pub processors: u8,
    /// How many connections the client has.
    pub connections: u32,
    /// How many connections of others the switch keeps meanwhile, which the module alone is asked to.
    pub flows: u32,
    /// Whether every request has a head that none had before.
    pub new_heads: bool,
    /// Whether the routes limit the rate of each client's requests, which is not reached.
    pub limited: bool,
    /// Whether the client asks the real server itself, past the switch, which is there for others.
    pub past: bool,
    /// Bytes of an answer's body, or of a request's.
    pub body: u32,
    /// How often it is measured; the middle one of the rates counts.
    pub runs: u32,
    /// How long each time, in virtual seconds.
    pub seconds: u32,
    /// Whether it is of the short form.
    pub short: bool,
}

/// Answers of 128 bytes on connections that stay: what the others are variations of.
const KEEPALIVE: Case = Case {
    name: "keepalive-128B",
    about: "answers of 128 bytes, connections stay",
    path: "small",
    options: "",
    speech: Speech::Http,
    origin: Origin::Chosen,
    v6: false,
    routes: 1,
    servers: 1,
    processors: 1,
    connections: 16,
    flows: 0,
    new_heads: false,
    limited: false,
    past: false,
    body: 128,
    runs: 5,
    seconds: 1,
    short: true,
};

/// The same of the server that Debian's package makes.
const DEBIAN: Case = Case {
    name: "debian-128B",
    about: "as keepalive-128B, nginx as Debian configures it",
    origin: Origin::Debian,
    short: false,
    ..KEEPALIVE
};

/// What it does with long files.
const DEBIAN_MIB: Case = Case {
    path: "1m",
    body: 1 << 20,
    connections: 4,
    runs: 1,
    seconds: 4,
    ..DEBIAN
};

/// All cases.
pub(crate) const CASES: &[Case] = &[
    KEEPALIVE,
    Case {
        name: "connection-128B",
        about: "answers of 128 bytes, a new connection for each",
        options: "-H 'Connection: close'",
        runs: 3,
        ..KEEPALIVE
    },
    Case {
        name: "body-1KiB",
        about: "answers of 1 KiB, connections stay",
        path: "1k",
        body: 1 << 10,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "body-100KiB",
        about: "answers of 100 KiB, connections stay",
        path: "100k",
        body: 100 << 10,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "body-1MiB",
        about: "answers of 1 MiB, connections stay",
        path: "1m",
        body: 1 << 20,
        runs: 1,
        seconds: 4,
        ..KEEPALIVE
    },
    Case {
        name: "upload-100KiB",
        about: "requests with 100 KiB, connections stay",
        path: "upload",
        body: 100 << 10,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-10000-routes",
        about: "as keepalive-128B, with 10,000 routes",
        routes: 10_000,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-1000-servers",
        about: "as keepalive-128B, with 1,000 real servers",
        servers: 1000,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-1000-connections",
        about: "as keepalive-128B, on 1,000 connections",
        connections: 1000,
        runs: 3,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-1000000-flows",
        about: "as keepalive-128B, while a million connections of others are in the module's table",
        flows: 1_000_000,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-limited",
        about: "as keepalive-128B, with a rate limit by client, in which 100,000 others have buckets",
        limited: true,
        flows: fill::ADDRESSES,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-new-heads",
        about: "as keepalive-128B, every request with a query that none had before",
        new_heads: true,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "past-128B",
        about: "as keepalive-128B, but past the switch, to the real server itself: what it costs others that it is there",
        past: true,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-opaque",
        about: "as keepalive-128B, a server chosen for each connection, nothing read",
        speech: Speech::Opaque,
        short: false,
        ..KEEPALIVE
    },
    Case {
        name: "keepalive-128B-ipv6",
        about: "as keepalive-128B, by IPv6",
        v6: true,
        short: false,
        ..KEEPALIVE
    },
    DEBIAN,
    Case {
        name: "debian-1MiB",
        about: "as body-1MiB, on 4 connections, nginx as Debian configures it",
        ..DEBIAN_MIB
    },
    Case {
        name: "debian-128B-two-packets",
        about: "as debian-128B, without tcp_nopush",
        origin: Origin::TwoPackets,
        ..DEBIAN
    },
    Case {
        name: "debian-1MiB-two-packets",
        about: "as debian-1MiB, without tcp_nopush",
        origin: Origin::TwoPackets,
        ..DEBIAN_MIB
    },
    // New connections would say nothing: a handshake takes 8 million instructions.
    Case {
        name: "keepalive-128B-tls",
        about: "as keepalive-128B, within TLS that is passed through by server name",
        speech: Speech::Tls,
        short: false,
        runs: 1,
        seconds: 6,
        ..KEEPALIVE
    },
];

/// The network of the addresses of many servers, a /16.
pub(crate) const MANY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 0);

/// The name by which TLS clients ask.
pub(crate) const NAME: &str = "www.bench.test";

impl Case {
    /// The case of this name.
    #[must_use]
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Whether a contender is asked it.
    #[must_use]
    pub(crate) fn is_for(&self, contender: Contender) -> bool {
        let in_kernel = matches!(contender, Contender::Direct | Contender::IpvsNat);
        (self.flows == 0 || contender == Contender::Direct || contender.is_module())
            && (!self.past || in_kernel || contender.is_module())
    }

    /// Whether it is the request that has the body.
    #[must_use]
    pub(crate) fn uploads(&self) -> bool {
        self.path == "upload"
    }

    /// The port of the service, at the switch and at the server.
    #[must_use]
    pub(crate) fn port(&self) -> u16 {
        if self.speech == Speech::Tls { 443 } else { 80 }
    }

    /// The switch's virtual address.
    #[must_use]
    pub(crate) fn vip(&self) -> IpAddr {
        if self.v6 { VIP6.into() } else { VIP.into() }
    }

    /// The real servers' addresses.
    #[must_use]
    pub(crate) fn servers(&self) -> Vec<SocketAddr> {
        let own = if self.v6 {
            IpAddr::from(server6(1))
        } else {
            IpAddr::from(server(1))
        };
        let address = |number: u16| match self.servers {
            1 => own,
            _ => Ipv4Addr::from_bits(MANY.to_bits() + u32::from(number) + 1).into(),
        };
        (0..self.servers)
            .map(|number| SocketAddr::new(address(number), self.port()))
            .collect()
    }
}
