// SPDX-License-Identifier: MIT
//! The successor's side: it asks the running front for its place.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use l7switch_admin_api::Failure as ApiFailure;
use l7switch_admin_api::TakeOvers;
use rustix::process::Pid;
use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use super::PATH;
use super::PATIENCE;
use super::PROTOCOL;
use super::message::Asked;
use super::message::Given;
use super::message::Socket;
use super::process;
use super::sockets::Listening;
use super::sockets::NotUsable;
use super::sockets::Sockets;
use super::state::OfLimit;
use super::state::OfTickets;
use super::state::State;
use super::wire::Wire;
use super::wire::WireError;
use crate::secrets;

/// Most frames of a front.
const FRAMES: usize = 65_536;

/// Longest answer of a front that refuses, bytes.
const ANSWER: usize = 64 * 1024;

/// Why the place is not had.
#[derive(Debug, Error)]
pub enum TakeError {
    /// The admin socket cannot be reached, though it is there.
    #[error("the admin socket of the running front cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Somebody else has put a socket there.
    #[error("the admin socket is of user {0}, who is neither root nor this one")]
    Stranger(u32),
    /// What answers is no front, or does not go on.
    #[error("the running front does not answer as it should: {0}")]
    Broken(String),
    /// It knows nothing of take-overs.
    #[error("the running front is of a version that gives its place to nobody; stop it first")]
    Old,
    /// It says no.
    #[error("the running front keeps its place: {0}")]
    Refused(String),
    /// A descriptor is not what the front says it is.
    #[error("a socket of the running front cannot be used: {0}")]
    Socket(#[from] NotUsable),
    /// A socket is for another address than the front says.
    #[error("a socket of the running front is for {0}, and not for what it says")]
    Address(SocketAddr),
}

/// What a process that starts goes on with.
#[derive(Debug, Default)]
pub struct Legacy {
    /// Listening sockets of services.
    pub sockets: Sockets,
    /// The metrics listener.
    pub metrics: Sockets,
    /// The listener of the admin API.
    pub admin_api: Sockets,
    /// The admin socket.
    pub admin: Option<OwnedFd>,
    /// Servers and services.
    pub state: State,
    /// Keys of session tickets.
    pub tickets: Vec<OfTickets>,
    /// Rate limits.
    pub limits: Vec<OfLimit>,
    /// How often the place was taken over.
    pub counts: TakeOvers,
    /// Whether it is all that there was: otherwise the front before has died meanwhile.
    pub is_whole: bool,
}

/// The front whose place is taken.
#[derive(Debug)]
pub struct Predecessor {
    wire: Wire,
    /// Its process, and a descriptor of it that tells of its end.
    pid: u32,
    process: Option<OwnedFd>,
}

/// Asks the front behind an admin socket for its place. `None`: there is no front.
///
/// # Errors
///
/// See [`TakeError`].
pub async fn ask(path: &Path) -> Result<Option<(Predecessor, Legacy)>, TakeError> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                .contains(&error.kind()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(TakeError::Unreachable(error)),
    };
    let peer = stream.peer_cred().map_err(TakeError::Unreachable)?;
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&peer.uid()) {
        return Err(TakeError::Stranger(peer.uid()));
    }
    let process = peer.pid().and_then(Pid::from_raw);
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let wire = timeout(PATIENCE, upgrade(stream))
        .await
        .map_err(|_| TakeError::Broken("no answer in time".to_owned()))??;
    let predecessor = Predecessor {
        wire,
        pid: pid.unwrap_or_default(),
        process: process.and_then(process::open),
    };
    let legacy = predecessor.legacy().await?;
    Ok(Some((predecessor, legacy)))
}

/// Has HTTP give way to the frames of a take-over.
async fn upgrade(stream: UnixStream) -> Result<Wire, TakeError> {
    let broken = |error: hyper::Error| TakeError::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .method(Method::POST)
        .uri(PATH)
        .header(header::HOST, "l7switch")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(|error| TakeError::Broken(error.to_string()))?;
    let mut response = sender.send_request(request).await.map_err(broken)?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => (),
        StatusCode::NOT_FOUND => return Err(TakeError::Old),
        status => {
            let content = Limited::new(response.into_body(), ANSWER).collect().await;
            let content = content
                .map(|content| content.to_bytes())
                .unwrap_or_default();
            let why = serde_json::from_slice::<ApiFailure>(&content)
                .map_or_else(|_| status.to_string(), |failure| failure.error);
            return Err(TakeError::Refused(why));
        }
    }
    let stream = hyper::upgrade::on(&mut response).await.map_err(broken)?;
    let parts = stream
        .downcast::<TokioIo<UnixStream>>()
        .map_err(|_| TakeError::Broken("the connection is of another kind".to_owned()))?;
    Ok(Wire::with(parts.io.into_inner(), &parts.read_buf))
}

impl Predecessor {
    /// Its process.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Gets all that it has. A front that dies meanwhile leaves what came until then: its sockets are kept open by that.
    async fn legacy(&self) -> Result<Legacy, TakeError> {
        self.say(&Asked::Begin).await?;
        let mut legacy = Legacy::default();
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..FRAMES {
            let Some((said, descriptors)) = self.hear(deadline).await? else {
                return Ok(legacy);
            };
            match said {
                Given::Sockets { sockets } => legacy.take(sockets, descriptors)?,
                Given::Secrets(known) => {
                    if !secrets::inherit(known) {
                        tracing::debug!("this process has secrets of its own already");
                    }
                }
                Given::State { state, counts } => {
                    legacy.state.join(state);
                    legacy.counts = counts;
                }
                Given::Tickets(tickets) => legacy.tickets.push(tickets),
                Given::Limit(limit) => legacy.limits.push(limit),
                Given::End => {
                    legacy.is_whole = true;
                    return Ok(legacy);
                }
                other => return Err(unexpected(&other)),
            }
        }
        Err(TakeError::Broken("it does not come to an end".to_owned()))
    }

    /// Has it let go of the kernel module.
    ///
    /// # Errors
    ///
    /// See [`TakeError`].
    pub async fn let_go_of_kernel(&self) -> Result<(), TakeError> {
        self.say(&Asked::Kernel).await?;
        match self.hear(Instant::now() + PATIENCE).await? {
            Some((Given::Kernel, _)) | None => Ok(()),
            Some((other, _)) => Err(unexpected(&other)),
        }
    }

    /// Says that this process accepts. Gives the last of what it knows; `None`: it has died, and this process has its place.
    ///
    /// # Errors
    ///
    /// It keeps its place; see [`TakeError`].
    pub async fn ready(&self) -> Result<Option<State>, TakeError> {
        self.say(&Asked::Ready).await?;
        let mut last = State::default();
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..FRAMES {
            match self.hear(deadline).await? {
                Some((Given::State { state, .. }, _)) => last.join(state),
                Some((Given::Yours { state }, _)) => {
                    last.join(state);
                    return Ok(Some(last));
                }
                None => return Ok(None),
                Some((other, _)) => return Err(unexpected(&other)),
            }
        }
        Err(TakeError::Broken("it does not come to an end".to_owned()))
    }

    /// Says that this process has its place, and waits until it accepts no more.
    ///
    /// # Errors
    ///
    /// It keeps its place; see [`TakeError`].
    pub async fn thank(&self) -> Result<(), TakeError> {
        self.say(&Asked::Thanks).await?;
        match self.hear(Instant::now() + PATIENCE).await? {
            Some((Given::Done, _)) | None => Ok(()),
            Some((other, _)) => Err(unexpected(&other)),
        }
    }

    /// Says that this process does not start.
    pub async fn fail(&self, why: &str) {
        let why = why.to_owned();
        // It finds out without this, too.
        let _ = timeout(PATIENCE, self.say(&Asked::Failed { why })).await;
    }

    async fn say(&self, what: &impl Serialize) -> Result<(), TakeError> {
        let text = serde_json::to_vec(what).map_err(|e| TakeError::Broken(e.to_string()))?;
        match self.wire.send(&text, &[]).await {
            Ok(()) => Ok(()),
            // What is heard next tells what has become of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(TakeError::Broken(error.to_string())),
        }
    }

    /// What it says next, with descriptors; `None`: it has died.
    async fn hear(&self, deadline: Instant) -> Result<Option<(Given, Vec<OwnedFd>)>, TakeError> {
        let heard = timeout_at(deadline, self.wire.receive()).await;
        let silent = |_| TakeError::Broken("it says nothing in time".to_owned());
        match heard.map_err(silent)? {
            Ok(frame) => {
                let said = serde_json::from_slice(&frame.content);
                let said = said.map_err(|error| TakeError::Broken(error.to_string()))?;
                Ok(Some((said, frame.descriptors)))
            }
            Err(error @ (WireError::Closed | WireError::Cut | WireError::Io(_))) => {
                // Otherwise both would have the place.
                if self.is_dead() {
                    tracing::warn!(predecessor = self.pid, "the front before has died");
                    return Ok(None);
                }
                Err(TakeError::Broken(error.to_string()))
            }
            Err(error) => Err(TakeError::Broken(error.to_string())),
        }
    }

    /// Whether its process has ended. What closes its connections comes a moment before.
    fn is_dead(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process::has_ended(process, Duration::from_secs(1)))
    }
}

impl Legacy {
    /// The socket for the metrics.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn metrics_socket(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        match self.metrics.take(address)? {
            Some(socket) => Ok(Some(socket)),
            None => self.sockets.take(address),
        }
    }

    /// The socket for the admin API.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn admin_api_socket(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        match self.admin_api.take(address)? {
            Some(socket) => Ok(Some(socket)),
            None => self.sockets.take(address),
        }
    }

    /// Takes the listening sockets that were not used: their addresses, and the service manager's names of them. They are closed.
    pub fn left(&mut self) -> Vec<(SocketAddr, Option<String>)> {
        let mut left = self.sockets.left();
        left.append(&mut self.metrics.left());
        left.append(&mut self.admin_api.left());
        left
    }

    fn take(&mut self, what: Vec<Socket>, descriptors: Vec<OwnedFd>) -> Result<(), TakeError> {
        if what.len() != descriptors.len() {
            let (said, came) = (what.len(), descriptors.len());
            let why = format!("{came} descriptors came for {said} sockets");
            return Err(TakeError::Broken(why));
        }
        for (what, descriptor) in what.into_iter().zip(descriptors) {
            match (what, Listening::look(descriptor)?) {
                (Socket::Service { address }, Listening::Tcp(descriptor, bound)) => {
                    let added = self.sockets.add(descriptor, bound, Some(address), None);
                    added.map_err(TakeError::Address)?;
                }
                (Socket::Metrics { address }, Listening::Tcp(descriptor, bound)) => {
                    let added = self.metrics.add(descriptor, bound, Some(address), None);
                    added.map_err(TakeError::Address)?;
                }
                (Socket::AdminApi { address }, Listening::Tcp(descriptor, bound)) => {
                    let added = self.admin_api.add(descriptor, bound, Some(address), None);
                    added.map_err(TakeError::Address)?;
                }
                (Socket::Admin, Listening::Unix(descriptor, _)) => self.admin = Some(descriptor),
                _ => return Err(NotUsable::Kind.into()),
            }
        }
        Ok(())
    }
}

fn unexpected(said: &Given) -> TakeError {
    match said {
        Given::Refused { why } => TakeError::Refused(why.clone()),
        other => TakeError::Broken(format!("{other:?} is not its turn")),
    }
}
