// SPDX-License-Identifier: MIT
//! A client's connection, as the handler of its requests knows it.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;

use http::HeaderValue;
use l7switch_certificates::ClientCertificate;
use rustls::ProtocolVersion;
use rustls::ServerConnection;

use crate::limit::sources::OfSource;
use crate::net::proxy_header::Ends;
use crate::net::room::Entered;
use crate::net::shutdown::Busy;
use crate::net::stream::StreamHandle;
use crate::observe::stats::ServiceStats;
use crate::ruleset::generation::Core;
use crate::upstream::Own;
use l7switch_engine::flow::Refusal;

/// A client's connection to a virtual service.
#[derive(Debug)]
pub struct Client {
    /// The switch.
    pub core: Arc<Core>,
    /// The virtual service, by name: a reload may give it another number.
    pub service: Arc<str>,
    /// The service's counts.
    pub stats: Arc<ServiceStats>,
    /// The client, an IPv4-mapped address as IPv4: the connection's peer, or whom its PROXY header names.
    pub peer: SocketAddr,
    /// Its address as text.
    pub peer_text: HeaderValue,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The connections to servers that it has left free.
    pub own: Arc<Own>,
    /// Whether the connection begins with a PROXY header.
    pub is_proxied: bool,
    /// Why the kernel wants refused what comes on it.
    pub refusal: Option<Refusal>,
    /// What the TLS handshake has told; absent without TLS.
    pub tls: Option<Box<Tls>>,
    /// The socket.
    socket: OnceLock<StreamHandle>,
    /// What the client has connected to, as a PROXY header says.
    destination: Option<SocketAddr>,
    /// Counted as open, with its service and with the switch.
    _entered: [Entered; 2],
    /// Absent where the client's connections are not counted.
    of_source: Option<Box<OfSource>>,
    busy: Busy,
}

/// What a TLS handshake has told.
#[derive(Debug)]
pub struct Tls {
    /// Server name (RFC 6066, 3); empty: none.
    pub server_name: String,
    /// The version that was agreed upon.
    pub version: &'static str,
    /// The certificate that the client has shown, verified.
    pub certificate: Option<ClientCertificate>,
}

impl Tls {
    fn of(connection: &ServerConnection) -> Self {
        Self {
            server_name: connection.server_name().unwrap_or_default().to_owned(),
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "",
            },
            certificate: connection
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(|certificate| ClientCertificate::of(certificate)),
        }
    }
}

impl Client {
    /// A connection that has just been accepted.
    pub fn new(
        core: Arc<Core>,
        service: Arc<str>,
        stats: Arc<ServiceStats>,
        peer: SocketAddr,
        scheme: &'static str,
    ) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Self {
            own: Arc::default(),
            _entered: [stats.connected(), core.room.enter()],
            of_source: None,
            busy: core.shutdown.busy(),
            core,
            service,
            stats,
            peer,
            peer_text: text(peer.ip()),
            scheme,
            is_proxied: false,
            refusal: None,
            tls: None,
            socket: OnceLock::new(),
            destination: None,
        }
    }

    /// This is the connection's socket.
    pub fn has_socket(&self, socket: &StreamHandle) {
        self.socket.get_or_init(|| socket.clone());
    }

    /// Something else goes on that is the client's affair: the switch's end waits for it as for the connection.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// The connection's socket.
    pub fn socket(&self) -> Option<&StreamHandle> {
        self.socket.get()
    }

    /// The connection is a tunnel now, which may be silent for ever: a client that has vanished is found by probes.
    pub fn is_tunnel(&self) {
        if let Some(socket) = self.socket.get() {
            socket.probe();
        }
    }

    /// A PROXY header has told whose connection it is.
    pub fn learn(&mut self, ends: Ends) {
        self.peer = ends.source;
        self.peer_text = text(ends.source.ip());
        self.destination = Some(ends.destination);
    }

    /// The TLS handshake is done.
    pub fn has_shaken_hands(&mut self, connection: &ServerConnection) {
        self.tls = Some(Box::new(Tls::of(connection)));
    }

    /// The connection counts as its client's for as long as it lasts.
    pub fn is_counted(&mut self, of_source: OfSource) {
        self.of_source = Some(Box::new(of_source));
    }

    /// Both ends of a connection that is made for a client of this address.
    pub fn ends(&self, source: SocketAddr) -> Ends {
        let local = || self.socket.get().and_then(|socket| socket.local().ok());
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let destination = self.destination.or_else(local).unwrap_or(nowhere);
        Ends {
            source,
            destination: SocketAddr::new(destination.ip().to_canonical(), destination.port()),
        }
    }
}

/// The client as the access log has it; without a port that nobody has told.
pub fn shown(client: SocketAddr) -> String {
    match client.port() {
        0 => client.ip().to_string(),
        _ => client.to_string(),
    }
}

/// The client's address as X-Forwarded-For has it.
pub fn text(peer: IpAddr) -> HeaderValue {
    // Copied to where it stays, which takes one allocation. A string that is taken over takes another one, unless it fills
    // what it has.
    let value = match peer {
        IpAddr::V4(v4) => HeaderValue::from_bytes(Dotted::new(v4).as_bytes()),
        IpAddr::V6(v6) => HeaderValue::try_from(v6.to_string()),
    };
    // An address is always a value; RFC 7239, 6.2, has the other word.
    value.unwrap_or(HeaderValue::from_static("unknown"))
}

/// An IPv4 address as `to_string` gives it, which takes some 1,400 instructions, for every connection.
#[derive(Debug, Default)]
struct Dotted {
    text: [u8; 15],
    length: usize,
}

impl Dotted {
    fn new(address: Ipv4Addr) -> Self {
        let mut out = Self::default();
        for octet in address.octets() {
            if out.length > 0 {
                out.push(b'.');
            }
            for (at_least, unit) in [(100, 100), (10, 10), (0, 1)] {
                if octet >= at_least {
                    out.push(b'0'.wrapping_add(octet / unit % 10));
                }
            }
        }
        out
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = byte;
            self.length = self.length.saturating_add(1);
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_usual() {
        for octet in 0..=u8::MAX {
            for address in [[octet, 0, 10, 100], [9, 99, octet, octet]] {
                let address = Ipv4Addr::from(address);
                assert_eq!(
                    Dotted::new(address).as_bytes(),
                    address.to_string().as_bytes()
                );
            }
        }
        assert_eq!(text("2001:db8::1".parse().unwrap()), "2001:db8::1");
    }
}
