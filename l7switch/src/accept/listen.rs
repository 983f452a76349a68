// SPDX-License-Identifier: MIT
//! Listening: sockets, and the loop that accepts.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use l7switch_rules::model::Protocol;
use socket2::Domain;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accept::connection;
use crate::client::Client;
use crate::http::forwarded;
use crate::net::saved_syn;
use crate::observe::log_limit::Logged;
use crate::passthrough;
use crate::ruleset::generation::Core;

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process or system has no room for another connection.
const REST: Duration = Duration::from_millis(50);

/// Whether other processes of the same user may listen on an address too (socket(7), `SO_REUSEPORT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else may.
    #[default]
    Alone,
    /// Those may that say so too; the kernel shares new connections out among them.
    Shared,
}

/// Opens a listening socket. Nagle's algorithm is switched off for all that it accepts: a small write would wait for the
/// acknowledgement of the one before.
///
/// # Errors
///
/// As the kernel says: the address is in use, is not one of this host, or needs a privilege.
pub fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] are then two addresses, each with its own listener.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    adopt(socket.into())
}

/// Makes a socket that is bound, or listens already, ready to accept.
///
/// # Errors
///
/// As the kernel says.
pub fn adopt(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    // Connections inherit it (`tcp_create_openreq_child`), which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    // Again, the backlog is only changed.
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How often a service that has as many connections as it may have asks for its limit again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A listener and its accept loop. Dropped, it stops; connections live on.
#[derive(Debug)]
pub struct Listener {
    /// The address of the rule file.
    configured: SocketAddr,
    /// The address that is bound: another where the rule file says port 0.
    bound: SocketAddr,
    /// The service that the connections are for, which a reload may change.
    service: Arc<ArcSwap<Arc<str>>>,
    socket: Arc<TcpListener>,
    going: watch::Sender<Going>,
    task: JoinHandle<()>,
}

/// How an accept loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    /// It accepts.
    On,
    /// It accepts what is in the kernel's queue, and ends.
    Empty,
    /// It ends at once: what is in the queue is another process's, which has the same socket.
    Leave,
}

impl Listener {
    /// Starts to accept for a service.
    ///
    /// # Errors
    ///
    /// The socket has no address.
    pub fn start(
        core: &Arc<Core>,
        socket: TcpListener,
        configured: SocketAddr,
        service: &str,
    ) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        let service = Arc::new(ArcSwap::from_pointee(Arc::from(service)));
        let socket = Arc::new(socket);
        let (going, watch) = watch::channel(Going::On);
        let task = tokio::spawn(accept(
            Arc::clone(core),
            Arc::clone(&socket),
            Arc::clone(&service),
            watch,
        ));
        Ok(Self {
            configured,
            bound,
            service,
            socket,
            going,
            task,
        })
    }

    /// The address that the rule file names.
    pub const fn configured(&self) -> SocketAddr {
        self.configured
    }

    /// The address that is bound.
    pub const fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The socket.
    pub const fn socket(&self) -> &Arc<TcpListener> {
        &self.socket
    }

    /// The service.
    pub fn service(&self) -> Arc<str> {
        Arc::clone(&self.service.load())
    }

    /// Connections are from now on for this service.
    pub fn assign(&self, service: &str) {
        if ***self.service.load() != *service {
            self.service.store(Arc::new(Arc::from(service)));
        }
    }

    /// Stops accepting: what is in the kernel's queue is accepted first, then the socket is closed.
    pub async fn stop(mut self) {
        self.going.send_replace(Going::Empty);
        let _ = (&mut self.task).await;
    }

    /// Stops accepting at once, and leaves what is in the kernel's queue to another process that has this socket.
    pub async fn leave(mut self) {
        self.going.send_replace(Going::Leave);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Also where nobody waits for it.
        self.going.send_if_modified(|going| {
            let goes_on = *going == Going::On;
            if goes_on {
                *going = Going::Empty;
            }
            goes_on
        });
    }
}

async fn accept(
    core: Arc<Core>,
    socket: Arc<TcpListener>,
    service: Arc<ArcSwap<Arc<str>>>,
    mut going: watch::Receiver<Going>,
) {
    let mut keeps_syns = false;
    {
        let mut stop = pin!(going.wait_for(|going| *going != Going::On));
        loop {
            if !keeps_syns && is_refused_in_kernel(&core, &service.load()) {
                keeps_syns = true;
                if let Err(error) = saved_syn::keep(&*socket) {
                    tracing::warn!(%error, "what the kernel wants refused cannot be told apart");
                }
            }
            if core.room.open() >= core.most_connections {
                is_full(&core);
                tokio::select! {
                    () = core.room.below(core.most_connections) => continue,
                    _ = &mut stop => break,
                }
            }
            if let Some(room) = full(&core, &service.load()) {
                tokio::select! {
                    // The limit may be another by then.
                    _ = tokio::time::timeout(LOOK_AGAIN, room) => continue,
                    _ = &mut stop => break,
                }
            }
            let accepted = poll_fn(|cx| match socket.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => stop.as_mut().poll(cx).map(|_| None),
            });
            match accepted.await {
                Some(Ok((stream, peer))) => {
                    has_accepted();
                    serve(&core, &service.load(), stream, peer);
                }
                Some(Err(error)) => {
                    if is_want(&error) {
                        // What is kept for later requests is in the way of present ones.
                        for pool in &core.active.load().pools {
                            pool.let_go_of_idle();
                        }
                    }
                    rest(&error).await;
                }
                None => break,
            }
        }
    }
    if *going.borrow() == Going::Leave {
        return;
    }
    // What clients take for accepted, because the kernel has completed it, must not be reset. Others may come to a socket that is
    // shared for as long as it is open: more than the queue can hold were not in it.
    for _ in 0..=BACKLOG {
        match accept_now(&socket) {
            Ok(Some((stream, peer))) => serve(&core, &service.load(), stream, peer),
            Ok(None) => return,
            Err(error) => rest(&error).await,
        }
    }
}

/// Accepts a connection that is in the kernel's queue. The kernel itself is asked: what tokio knows of the socket is as old as its last
/// look.
fn accept_now(socket: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let (accepted, peer) = match SockRef::from(socket).accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    accepted.set_nonblocking(true)?;
    Ok(Some((TcpStream::from_std(accepted.into())?, peer)))
}

/// Attempts to accept that have failed. Descriptors and memory are the process's, so one count is for all its listeners.
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// Whether it was said that they fail, and not yet that it is over.
static FAILS: AtomicBool = AtomicBool::new(false);

/// When it was said last.
static FAILING: Logged = Logged::new();

/// Attempts to accept a connection that have failed for want of descriptors or memory.
pub(crate) fn failures() -> u64 {
    FAILURES.load(Relaxed)
}

/// Whether accepting failed for want of descriptors or memory, and not for what a client did to its own connection (accept(2)).
fn is_want(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Waits where waiting helps: a process without free descriptors would spin. It is said once until it is over.
pub(crate) async fn rest(error: &io::Error) {
    if !is_want(error) {
        return;
    }
    FAILURES.fetch_add(1, Relaxed);
    if !FAILS.load(Relaxed) && FAILING.is_due() {
        FAILS.store(true, Relaxed);
        tracing::warn!(%error, "connections cannot be accepted: they wait");
    }
    tokio::time::sleep(REST).await;
}

/// A connection of a service was accepted.
fn has_accepted() {
    if FAILS.load(Relaxed) && FAILS.swap(false, Relaxed) {
        tracing::info!("connections are accepted again");
    }
}

/// Says that no more connections are accepted, at most every ten seconds.
fn is_full(core: &Core) {
    core.rooms_full.fetch_add(1, Relaxed);
    if FULL.is_due() {
        let most = core.most_connections;
        tracing::warn!(
            "{most} client connections are open, as many as there are descriptors for: others wait (LimitNOFILE, ulimit -n)"
        );
    }
}

/// When it was said last.
static FULL: Logged = Logged::new();

/// Whether the kernel says of a service's requests that they are to be refused.
fn is_refused_in_kernel(core: &Core, service: &str) -> bool {
    let generation = core.active.load();
    let found = generation.service(service);
    found.is_some_and(|(_, _, state)| state.is_refused_in_kernel)
}

/// Waits until a service that has as many connections as it may have has one less.
fn full(core: &Core, service: &str) -> Option<impl Future<Output = ()> + use<>> {
    let generation = core.active.load();
    let (_, model, state) = generation.service(service)?;
    let limit = model.limits.connections;
    let room = &state.stats.room;
    if room.open() < limit {
        return None;
    }
    let room = Arc::clone(room);
    Some(async move { room.below(limit).await })
}

fn serve(core: &Arc<Core>, service: &Arc<str>, stream: TcpStream, peer: SocketAddr) {
    let generation = core.active.load();
    let Some((_, model, state)) = generation.service(service) else {
        // The service was taken away between two looks.
        return;
    };
    let scheme = if model.protocol == Protocol::Https {
        "https"
    } else {
        "http"
    };
    let stats = Arc::clone(&state.stats);
    let mut client = Client::new(Arc::clone(core), Arc::clone(service), stats, peer, scheme);
    client.is_proxied = forwarded::is_trusted(&model.accept_proxy, client.peer.ip());
    if state.is_refused_in_kernel {
        client.refusal = saved_syn::refusal(&stream);
    }
    // Boxed: the task's future holds it once for each function that passes it on.
    let client = Box::new(client);
    // Boxed, too, since a task's future is moved half a dozen times before it is where it stays.
    if model.protocol.is_http() {
        let tls = state.tls.clone();
        tokio::spawn(Box::pin(connection::serve(
            client,
            stream,
            model.limits,
            tls,
        )));
    } else {
        tokio::spawn(Box::pin(passthrough::serve(client, stream, model.limits)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is awaited: tokio does not know of the connections yet.
    #[tokio::test]
    async fn what_is_in_the_queue_is_accepted_at_once() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), Sharing::Alone).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(accept_now(&listener).unwrap().is_none());
        let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
        for client in &clients {
            let (_, peer) = accept_now(&listener).unwrap().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        assert!(accept_now(&listener).unwrap().is_none());
    }

    #[test]
    fn what_a_client_does_is_no_want() {
        for (number, want) in [
            (libc::ECONNABORTED, false),
            (libc::ECONNRESET, false),
            (libc::EINTR, false),
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::ENOBUFS, true),
            (libc::ENOMEM, true),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(is_want(&error), want, "{error}");
        }
    }

    #[tokio::test]
    async fn addresses_are_shared_where_both_say_so() {
        let first = bind("127.0.0.1:0".parse().unwrap(), Sharing::Shared).unwrap();
        let address = first.local_addr().unwrap();
        assert!(bind(address, Sharing::Alone).is_err());
        let second = bind(address, Sharing::Shared).unwrap();
        drop((first, second));
        let alone = bind(address, Sharing::Alone).unwrap();
        assert!(bind(address, Sharing::Shared).is_err());
        drop(alone);
    }

    #[tokio::test]
    async fn what_is_accepted_has_no_nagle() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = bind(any.parse().unwrap(), Sharing::Alone).unwrap();
            let address = listener.local_addr().unwrap();
            let _client = TcpStream::connect(address).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            assert!(accepted.nodelay().unwrap(), "{any}");
        }
    }
}
