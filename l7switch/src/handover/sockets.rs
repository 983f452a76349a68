// SPDX-License-Identifier: MIT
//! Listening sockets that this process did not open: from the front before it, or from the service manager.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::net::AddressFamily;
use rustix::net::SocketType;
use rustix::net::sockopt;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::net::UnixListener;

use crate::accept::listen;
use crate::systemd;

/// Connections that may wait at the admin socket.
const WAITING: i32 = 1024;

/// Why a descriptor is not used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NotUsable {
    /// The kernel does not say what it is.
    #[error("it is no socket")]
    NoSocket,
    /// A socket of another family, kind or protocol.
    #[error("it is no TCP or Unix stream socket")]
    Kind,
    /// It is connected, or only bound.
    #[error("it does not listen")]
    NotListening,
    /// Its address cannot be asked for, or has no name.
    #[error("it has no address")]
    NoAddress,
    /// An IPv6 socket that takes IPv4 connections too: the rules have an address of its own for each.
    #[error("it takes IPv4 connections too (with systemd: BindIPv6Only=ipv6-only)")]
    BothFamilies,
}

/// A listening socket.
#[derive(Debug)]
pub enum Listening {
    /// Of TCP, and its address.
    Tcp(OwnedFd, SocketAddr),
    /// Of the file system, and its path.
    Unix(OwnedFd, PathBuf),
}

impl Listening {
    /// Looks at what a descriptor is.
    ///
    /// # Errors
    ///
    /// See [`NotUsable`].
    pub fn look(descriptor: OwnedFd) -> Result<Self, NotUsable> {
        let domain = sockopt::socket_domain(&descriptor).map_err(|_| NotUsable::NoSocket)?;
        let kind = sockopt::socket_type(&descriptor).map_err(|_| NotUsable::NoSocket)?;
        let protocol = sockopt::socket_protocol(&descriptor).map_err(|_| NotUsable::NoSocket)?;
        let is_inet = [AddressFamily::INET, AddressFamily::INET6].contains(&domain);
        let is_tcp = is_inet && protocol == Some(rustix::net::ipproto::TCP);
        if kind != SocketType::STREAM || !(is_tcp || domain == AddressFamily::UNIX) {
            return Err(NotUsable::Kind);
        }
        if sockopt::socket_acceptconn(&descriptor) != Ok(true) {
            return Err(NotUsable::NotListening);
        }
        let socket = socket2::SockRef::from(&descriptor);
        let address = socket.local_addr().map_err(|_| NotUsable::NoAddress)?;
        if let Some(path) = address.as_pathname() {
            let path = path.to_owned();
            return Ok(Self::Unix(descriptor, path));
        }
        let address = address.as_socket().ok_or(NotUsable::NoAddress)?;
        if address.is_ipv6() && sockopt::ipv6_v6only(&descriptor) != Ok(true) {
            return Err(NotUsable::BothFamilies);
        }
        Ok(Self::Tcp(descriptor, address))
    }
}

/// A listening socket of TCP, and the address that it is asked for by: that of the rule file, whose port may be 0.
#[derive(Debug)]
struct Known {
    wanted: SocketAddr,
    bound: SocketAddr,
    descriptor: OwnedFd,
    /// The service manager's name of it.
    name: Option<String>,
}

/// Listening sockets that wait for their use.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Known>);

impl Sockets {
    /// Adds one. `wanted`: the address that it is asked for by, if that is not its own; only its port can differ, and be 0 then.
    ///
    /// # Errors
    ///
    /// It is not the socket for that address.
    pub fn add(
        &mut self,
        descriptor: OwnedFd,
        bound: SocketAddr,
        wanted: Option<SocketAddr>,
        name: Option<String>,
    ) -> Result<(), SocketAddr> {
        let wanted = wanted.unwrap_or(bound);
        let has_port = wanted.port() == bound.port() || wanted.port() == 0;
        if wanted.ip() != bound.ip() || !has_port {
            return Err(bound);
        }
        self.0.push(Known {
            wanted,
            bound,
            descriptor,
            name,
        });
        Ok(())
    }

    /// Takes the one for an address, made ready to accept.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn take(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let mut known = self.0.iter();
        let Some(place) = known.position(|known| known.wanted == address) else {
            return Ok(None);
        };
        let known = self.0.swap_remove(place);
        listen::adopt(known.descriptor).map(Some)
    }

    /// Adds those of addresses for which there is none yet. The others are closed: they are the same sockets.
    pub fn join(&mut self, others: Self) {
        for other in others.0 {
            if !self.0.iter().any(|known| known.bound == other.bound) {
                self.0.push(other);
            }
        }
    }

    /// The addresses of those that a socket unit of the service manager has, and not its store.
    pub fn of_units(&self) -> BTreeSet<SocketAddr> {
        let known = self.0.iter();
        known
            .filter(|known| {
                let name = known.name.as_deref();
                name.is_some_and(|name| !name.starts_with(systemd::PREFIX))
            })
            .map(|known| known.bound)
            .collect()
    }

    /// Takes those that nobody has asked for: their addresses, and the service manager's names of them. They are closed.
    pub fn left(&mut self) -> Vec<(SocketAddr, Option<String>)> {
        let left = self.0.drain(..);
        left.map(|known| (known.bound, known.name)).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The admin socket of the front before, ready to accept. Who connects from now on sees this process at the other end (unix(7),
/// `SO_PEERCRED`: the one that has called listen(2) last).
///
/// # Errors
///
/// As the kernel says.
pub fn unix(descriptor: OwnedFd) -> io::Result<UnixListener> {
    rustix::io::ioctl_fionbio(descriptor.as_fd(), true)?;
    rustix::net::listen(&descriptor, WAITING)?;
    UnixListener::from_std(descriptor.into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::TcpListener as StdListener;
    use std::net::TcpStream;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;
    use std::os::unix::net::UnixListener as StdUnixListener;
    use std::os::unix::net::UnixStream;

    use socket2::Domain;
    use socket2::Socket;
    use socket2::Type;

    use super::*;

    fn refused(descriptor: impl Into<OwnedFd>) -> NotUsable {
        Listening::look(descriptor.into()).unwrap_err()
    }

    #[test]
    fn only_listening_stream_sockets_are_taken() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(refused(client), NotUsable::NotListening);
        assert_eq!(refused(accepted), NotUsable::NotListening);
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        assert_eq!(refused(bound), NotUsable::NotListening);
        assert_eq!(
            refused(File::open("/dev/null").unwrap()),
            NotUsable::NoSocket
        );
        assert_eq!(
            refused(UdpSocket::bind("127.0.0.1:0").unwrap()),
            NotUsable::Kind
        );
        assert_eq!(refused(UnixDatagram::unbound().unwrap()), NotUsable::Kind);
        assert_eq!(
            refused(UnixStream::pair().unwrap().0),
            NotUsable::NotListening
        );
        let both = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        both.listen(1).unwrap();
        assert_eq!(refused(both), NotUsable::BothFamilies);
        let looked = Listening::look(listener.into()).unwrap();
        assert!(matches!(looked, Listening::Tcp(_, known) if known == address));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let looked = Listening::look(StdUnixListener::bind(&path).unwrap().into()).unwrap();
        assert!(matches!(looked, Listening::Unix(_, known) if known == path));
    }

    #[tokio::test]
    async fn sockets_are_found_by_the_address_of_the_rules() {
        let listener = || {
            let listener = StdListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            (OwnedFd::from(listener), address)
        };
        let mut sockets = Sockets::default();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (first, bound) = listener();
        sockets.add(first, bound, Some(any), None).unwrap();
        let (second, known) = listener();
        sockets
            .add(second, known, None, Some("name".to_owned()))
            .unwrap();
        for wrong in ["127.0.0.2:0", "127.0.0.1:1", "[::1]:0"] {
            let (socket, bound) = listener();
            let wrong = Some(wrong.parse().unwrap());
            assert_eq!(sockets.add(socket, bound, wrong, None), Err(bound));
        }
        assert!(sockets.take(bound).unwrap().is_none(), "the rules say 0");
        let taken = sockets.take(any).unwrap().unwrap();
        assert_eq!(taken.local_addr().unwrap(), bound);
        assert!(sockets.take(any).unwrap().is_none(), "it is taken");
        // What is taken can be accepted from at once, without waiting and without Nagle's algorithm.
        let _client = tokio::net::TcpStream::connect(bound).await.unwrap();
        let (accepted, _) = taken.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(sockets.left(), [(known, Some("name".to_owned()))]);
        assert!(sockets.is_empty());
    }
}
