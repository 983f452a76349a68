// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whose connections begin with PROXY headers, which pools' do, and where that leads.

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::proxy_header::Ends;
use l7switch_engine::table::codes::ProxyVersion;

use super::Conn;
use super::EAGER;
use super::FRONT;
use super::POOLS;
use super::Plan;
use crate::header;

/// What the rules say of PROXY headers and of clients' addresses.
#[derive(Clone, Debug, Default)]
pub struct ProxyPlan {
    /// Ports of the services that accept headers.
    pub services: Vec<u16>,
    /// They accept them from everybody.
    pub all: bool,
    /// Hosts of clients that they accept them from, by number.
    pub hosts: Vec<usize>,
    /// What connections to servers begin with, by pool.
    pub send: [Option<ProxyVersion>; POOLS as usize],
    /// Routes for sources in [`ELSEWHERE`], and for the addresses of these hosts of clients, lead to the next pool.
    pub elsewhere: Option<Vec<usize>>,
}

/// The networks of [`ProxyPlan::elsewhere`].
pub const ELSEWHERE: [&str; 2] = ["10.77.0.0/16", "fd77::/16"];

/// An address that a header tells of: in [`ELSEWHERE`] or not. Clients behind proxies share them.
pub fn told(v6: bool, elsewhere: bool, number: u8) -> [u8; 16] {
    let network = if elsewhere { 77 } else { 78 };
    if v6 {
        let network = if elsewhere { 0x77 } else { 0x78 };
        [0xfd, network, 0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    } else {
        [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, network, 0, number,
        ]
    }
}

impl ProxyPlan {
    /// Whether connections of a client's host to a service begin with a header.
    pub fn accepts(&self, service: u16, host: usize) -> bool {
        self.services.contains(&service) && (self.all || self.hosts.contains(&host))
    }
}

impl Plan {
    /// An address: of the switch's, of clients' or of servers' network.
    pub fn address(&self, net: u8, host: u16) -> [u8; 16] {
        let [a, b] = host.to_be_bytes();
        if self.v6 {
            [0xfd, 0, 0, 0, 0, 0, 0, net, 0, 0, 0, 0, 0, 0, a, b]
        } else {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, net, a, b]
        }
    }

    /// Where services are.
    pub fn service(&self) -> [u8; 16] {
        self.address(0, 1)
    }

    /// What the switch's packets come from in [`super::ServerHost::fullnat`].
    pub fn snat(&self) -> [u8; 16] {
        self.address(0, 2)
    }

    /// The address of a client's host.
    pub fn client(&self, host: usize) -> [u8; 16] {
        self.address(1, host as u16 + 1)
    }

    /// The ends of a connection: the client's and the service's.
    pub fn ends(&self, conn: &Conn) -> Ends {
        Ends {
            source: Endpoint {
                address: self.client(conn.host),
                port: conn.port,
            },
            destination: Endpoint {
                address: self.service(),
                port: conn.service,
            },
        }
    }

    /// Whose connection it is: what its header says, if it has one that does.
    pub fn told(&self, conn: &Conn) -> Ends {
        let header = conn.header.as_ref();
        let told = header.and_then(|header| header.ends);
        told.unwrap_or_else(|| self.ends(conn))
    }

    /// Whether routes for some sources take what comes on a connection.
    pub fn leads_elsewhere(&self, conn: &Conn) -> bool {
        let Some(hosts) = &self.proxies.elsewhere else {
            return false;
        };
        let source = self.told(conn).source.address;
        let networks = [(told(false, true, 0), 14), (told(true, true, 0), 2)];
        let is_in = |(network, bytes): &([u8; 16], usize)| source[..*bytes] == network[..*bytes];
        networks.iter().any(is_in) || hosts.iter().any(|host| self.client(*host) == source)
    }

    /// The pool whose servers get what is for a pool, on a connection.
    pub fn pool(&self, conn: &Conn, pool: u8) -> u8 {
        if pool != FRONT && self.leads_elsewhere(conn) {
            (pool + 1) % POOLS
        } else {
            pool
        }
    }

    /// The version of the header that connections to a server begin with.
    pub fn header_of(&self, server: u8) -> Option<ProxyVersion> {
        let server = self.servers.get(usize::from(server))?;
        self.proxies.send[usize::from(server.pool)]
    }

    /// Pools of the service whose servers speak first.
    pub fn eager_pools(&self) -> u8 {
        if self.proxies.elsewhere.is_some() {
            2
        } else {
            1
        }
    }
}

impl Conn {
    /// The header that it begins with.
    pub fn header(&self) -> Vec<u8> {
        let header = self.header.as_ref();
        header.map_or_else(Vec::new, |header| header.bytes(self.id))
    }

    /// Whether the client says its header before all else: where it waits for the server, nothing else makes it speak.
    pub fn says_header_at_once(&self) -> bool {
        let header = self.header.as_ref();
        header.is_some_and(|header| header.apart || self.service == EAGER)
    }
}

/// Whether a header is the one of a version that a server must get of a connection.
pub fn is_of(header: &[u8], version: ProxyVersion, plan: &Plan, conn: &Conn) -> bool {
    header == header::written(version, &plan.told(conn))
}
