// SPDX-License-Identifier: MIT
//! The front's side: it gives what it has, and goes when its successor has it.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use super::PATIENCE;
use super::PROTOCOL;
use super::message::Asked;
use super::message::Given;
use super::message::Socket;
use super::state;
use super::state::State;
use super::wire::MOST_CONTENT;
use super::wire::MOST_DESCRIPTORS;
use super::wire::Wire;
use super::wire::WireError;
use crate::admin::Answer;
use crate::admin::answer;
use crate::switch::Switch;

/// How long a successor may take to say thanks, and to be told that it is refused.
const COURTESY: Duration = Duration::from_secs(5);

/// Servers in one frame: about 200 bytes of JSON each, of [`MOST_CONTENT`].
const SERVERS: usize = MOST_CONTENT / 1024;

/// Why a successor does not get the place.
#[derive(Debug, Error)]
enum Failure {
    /// The connection has broken.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// It did not say anything, or not what was its turn.
    #[error("it said nothing in time")]
    Silent,
    /// What it says is not understood.
    #[error("what it says is not understood: {0}")]
    Unknown(String),
    /// It has failed.
    #[error("{0}")]
    Failed(String),
    /// The front ends.
    #[error("this front is about to end")]
    Ending,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(error.into())
    }
}

/// Why a request for the place is refused.
#[derive(Debug)]
pub(crate) struct NoPlace(pub(crate) StatusCode, pub(crate) String);

/// Lets a successor in, if it may come: the connection goes on with the take-over behind the answer.
pub(crate) fn begin(
    switch: &Arc<Switch>,
    admin: &Arc<UnixListener>,
    peer: Option<UCred>,
    mut request: Request<Incoming>,
) -> Result<Answer, NoPlace> {
    let place = switch.place();
    let pid = peer.and_then(|peer| peer.pid());
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.unwrap_or_default();
    let refuse = |status, why: String| {
        place.refuse(pid, &why);
        tracing::warn!(successor = pid, "a take-over is refused: {why}");
        Err(NoPlace(status, why))
    };
    let own = rustix::process::geteuid().as_raw();
    if !peer.is_some_and(|peer| [0, own].contains(&peer.uid())) {
        let why = format!("only root and the user {own} may take the place of this front");
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let wanted = request.headers().get(header::UPGRADE);
    if wanted.is_none_or(|wanted| wanted.as_bytes() != PROTOCOL.as_bytes()) {
        let wanted = wanted.map_or_else(
            || "nothing".into(),
            |w| String::from_utf8_lossy(w.as_bytes()),
        );
        let version = env!("CARGO_PKG_VERSION");
        let why = format!(
            "this front, of version {version}, gives its place by {PROTOCOL}, not by {wanted}"
        );
        return refuse(StatusCode::UPGRADE_REQUIRED, why);
    }
    if switch.core().shutdown.is_draining() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, Failure::Ending.to_string());
    }
    let Ok(one) = Arc::clone(&place.asked).try_lock_owned() else {
        let why = "another successor is taking the place of this front".to_owned();
        return refuse(StatusCode::CONFLICT, why);
    };
    let giving = Giving {
        switch: Arc::clone(switch),
        admin: Arc::clone(admin),
        pid,
        _one: one,
    };
    tokio::spawn(giving.run(hyper::upgrade::on(&mut request)));
    let mut answer = answer(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(answer)
}

/// A take-over that goes on.
struct Giving {
    switch: Arc<Switch>,
    admin: Arc<UnixListener>,
    /// The successor's process.
    pid: u32,
    _one: OwnedMutexGuard<()>,
}

impl Giving {
    async fn run(self, upgrade: OnUpgrade) {
        let place = self.switch.place();
        let Ok(Ok(stream)) = timeout(PATIENCE, upgrade).await else {
            return place.fail(self.pid, "the connection was not upgraded");
        };
        let Ok(parts) = stream.downcast::<TokioIo<UnixStream>>() else {
            return place.fail(self.pid, "the connection is of another kind");
        };
        let wire = Wire::with(parts.io.into_inner(), &parts.read_buf);
        tracing::info!(successor = self.pid, "a successor takes over");
        let ending = async {
            self.switch.core().shutdown.draining().await;
            if place.given_to().is_some() {
                // It ends because of this.
                std::future::pending().await
            }
        };
        let outcome = tokio::select! {
            outcome = self.give(&wire) => outcome,
            () = ending => Err(Failure::Ending),
        };
        if let Err(why) = outcome {
            let why = why.to_string();
            self.switch.use_kernel_again().await;
            place.fail(self.pid, &why);
            let refused = Given::Refused { why };
            // Most often it is gone.
            let _ = timeout(COURTESY, say(&wire, &refused, &[])).await;
        }
    }

    async fn give(&self, wire: &Wire) -> Result<(), Failure> {
        let switch = &self.switch;
        let deadline = Instant::now() + PATIENCE;
        let silent = |_| Failure::Silent;
        match timeout_at(deadline, hear(wire)).await.map_err(silent)?? {
            Asked::Begin => (),
            other => return Err(unexpected(other)),
        }
        // Nothing is reloaded meanwhile: the sockets stay those that are given.
        let one = switch.one_reload();
        let _one = timeout_at(deadline, one).await.map_err(silent)?;
        let sending = self.send_all(wire);
        timeout_at(deadline, sending).await.map_err(silent)??;
        loop {
            match timeout_at(deadline, hear(wire)).await.map_err(silent)?? {
                Asked::Kernel => {
                    switch.let_go_of_kernel().await;
                    say(wire, &Given::Kernel, &[]).await?;
                }
                Asked::Ready => break,
                other => return Err(unexpected(other)),
            }
        }
        switch.let_go_of_kernel().await;
        let _changes = switch.place().changes.write().await;
        let thanks = async {
            let state = say_servers(switch, wire).await?;
            say(wire, &Given::Yours { state }, &[]).await?;
            hear(wire).await
        };
        match timeout(COURTESY, thanks).await.map_err(silent)?? {
            Asked::Thanks => (),
            other => return Err(unexpected(other)),
        }
        // From here on there is no way back.
        switch.leave(self.pid).await;
        tracing::info!(successor = self.pid, "the successor has taken over");
        // It goes on without this, too.
        let _ = timeout(COURTESY, say(wire, &Given::Done, &[])).await;
        switch.place().over.notify_one();
        Ok(())
    }

    /// Sends all that a successor needs to start.
    async fn send_all(&self, wire: &Wire) -> Result<(), Failure> {
        let switch = &self.switch;
        let mut sockets: Vec<(Socket, Arc<TcpListener>)> = switch
            .sockets()
            .into_iter()
            .map(|(address, socket)| (Socket::Service { address }, socket))
            .collect();
        sockets.append(&mut switch.place().kept());
        for part in sockets.chunks(MOST_DESCRIPTORS) {
            let descriptors: Vec<BorrowedFd<'_>> =
                part.iter().map(|(_, socket)| socket.as_fd()).collect();
            let sockets = part.iter().map(|(what, _)| what.clone()).collect();
            say(wire, &Given::Sockets { sockets }, &descriptors).await?;
        }
        let sockets = vec![Socket::Admin];
        say(wire, &Given::Sockets { sockets }, &[self.admin.as_fd()]).await?;
        say(wire, &Given::Secrets(crate::secrets::own().clone()), &[]).await?;
        let state = say_servers(switch, wire).await?;
        say_state(switch, wire, state).await?;
        let generation = switch.generation();
        for tickets in state::tickets(&generation) {
            say(wire, &Given::Tickets(tickets), &[]).await?;
        }
        for limit in state::limits(&generation) {
            say(wire, &Given::Limit(limit), &[]).await?;
        }
        say(wire, &Given::End, &[]).await
    }
}

/// Says all of how servers and services stand, but for what the last frame can carry; gives that.
async fn say_servers(switch: &Switch, wire: &Wire) -> Result<State, Failure> {
    let mut state = switch.state();
    while state.servers.len() > SERVERS {
        let rest = state.servers.split_off(SERVERS);
        let part = State {
            servers: std::mem::replace(&mut state.servers, rest),
            ..State::default()
        };
        say_state(switch, wire, part).await?;
    }
    Ok(state)
}

async fn say_state(switch: &Switch, wire: &Wire, state: State) -> Result<(), Failure> {
    let mut counts = switch.place().counts();
    counts.taken = counts.taken.saturating_add(1);
    say(wire, &Given::State { state, counts }, &[]).await
}

async fn say(
    wire: &Wire,
    what: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Failure> {
    let text = serde_json::to_vec(what).map_err(|error| Failure::Unknown(error.to_string()))?;
    Ok(wire.send(&text, descriptors).await?)
}

async fn hear(wire: &Wire) -> Result<Asked, Failure> {
    let frame = wire.receive().await?;
    serde_json::from_slice(&frame.content).map_err(|error| Failure::Unknown(error.to_string()))
}

fn unexpected(what: Asked) -> Failure {
    match what {
        Asked::Failed { why } => Failure::Failed(why),
        other => Failure::Unknown(format!("{other:?} is not its turn")),
    }
}
