// SPDX-License-Identifier: MIT
//! The metrics listener: metrics for everybody who reaches it, or who has its token; the documents of the status page for the latter,
//! or for peers of this machine. With a second token servers are drained and put back; all other changes are the admin API's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use l7switch_admin_api::Allowed;
use l7switch_admin_api::Operation;
use l7switch_admin_api::Role;
use thiserror::Error;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::accept::listen;
use crate::admin;
use crate::admin::Answer;
use crate::admin::Problem;
use crate::admin::change::change;
use crate::admin::change::percent_decoded;
use crate::admin::documents::document;
use crate::control;
use crate::handover::message::Socket;
use crate::observe::exposition::Format;
use crate::observe::log_limit::Gate;
use crate::switch::ReadAgain;
use crate::switch::Switch;

pub mod access;
mod page;

use self::access::Access;
use self::access::AccessError;
use self::access::Denied;
use self::access::Files;

/// What there is to be read.
const PATHS: &str = "there are /status, /metrics, /live, /ready and /v1/\n";

/// Lets lines about failed handshakes into the log.
static HANDSHAKES: Gate = Gate::new();

/// The listener. Dropped, it is closed.
#[derive(Debug)]
pub struct Exposed {
    bound: SocketAddr,
    socket: Arc<TcpListener>,
    known: Arc<Known>,
    task: Option<JoinHandle<()>>,
}

/// Who may do what, and the files that say so.
#[derive(Debug)]
struct Known {
    files: Files,
    access: ArcSwap<Access>,
}

impl ReadAgain for Known {
    fn read_again(&self) -> Result<(), String> {
        let stays = |error| format!("the metrics listener stays as it is: {error}");
        let access = Access::read(&self.files).map_err(stays)?;
        self.access.store(Arc::new(access));
        Ok(())
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Why the listener cannot be opened.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("{0}")]
    Bind(#[from] io::Error),
    /// Certificate, key or token cannot be used.
    #[error("{0}")]
    Access(#[from] AccessError),
}

impl Exposed {
    /// Opens the listener, unless its socket was given by another process. Nothing is accepted before [`Self::serve`]. Its files are
    /// read again with each reload of the rules, for connections and requests from then on.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn open(
        switch: &Switch,
        address: SocketAddr,
        files: Files,
        given: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let known = Arc::new(Known {
            access: ArcSwap::from_pointee(Access::read(&files)?),
            files,
        });
        let socket = Arc::new(match given {
            Some(socket) => socket,
            None => listen::bind(address, switch.sharing())?,
        });
        switch.place().keep(Socket::Metrics { address }, &socket);
        switch.reads_again(&known);
        Ok(Self {
            bound: socket.local_addr()?,
            socket,
            known,
            task: None,
        })
    }

    /// Serves, once this process has the place: what is changed before would be lost.
    pub fn serve(&mut self, switch: Arc<Switch>) {
        let (socket, known) = (Arc::clone(&self.socket), Arc::clone(&self.known));
        self.task = Some(tokio::spawn(accept(switch, socket, known)));
    }

    /// Whether it speaks TLS.
    pub fn is_https(&self) -> bool {
        self.known.files.pair.is_some()
    }

    /// Where it listens.
    pub const fn bound(&self) -> SocketAddr {
        self.bound
    }
}

async fn accept(switch: Arc<Switch>, socket: Arc<TcpListener>, known: Arc<Known>) {
    let refused = &switch.core().metrics_listener.connections;
    control::accept(&switch, &socket, refused, |stream, peer| {
        let (switch, known) = (Arc::clone(&switch), Arc::clone(&known));
        async move {
            let access = &known.access;
            let Some(tls) = access.load().tls.clone() else {
                return converse(&switch, access, peer, stream).await;
            };
            let failed = control::Failed {
                count: &switch.core().metrics_listener.tls,
                gate: &HANDSHAKES,
                listener: "metrics",
            };
            if let Some(stream) = control::shake_hands(&switch, tls, stream, peer, failed).await {
                converse(&switch, access, peer, stream).await;
            }
        }
    })
    .await;
}

async fn converse(
    switch: &Arc<Switch>,
    access: &ArcSwap<Access>,
    peer: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let handler = service_fn(|request| {
        let caller = Caller {
            switch,
            access,
            peer,
        };
        serve(caller, request)
    });
    let connection = control::http1().serve_connection(TokioIo::new(stream), handler);
    let result = control::finish(switch, connection, http1::Connection::graceful_shutdown).await;
    if let Err(error) = result {
        tracing::debug!(%error, "metrics connection");
    }
}

/// Who asks, and of what.
struct Caller<'a> {
    switch: &'a Arc<Switch>,
    access: &'a ArcSwap<Access>,
    peer: SocketAddr,
}

/// What there is at a path.
enum Place<'a> {
    /// Leads to the status page.
    Root,
    Page,
    Live,
    Ready,
    Metrics,
    /// What the token allows.
    Role,
    Document(Operation),
    /// A server, of a pool or of all.
    Server(Option<&'a str>, &'a str),
}

impl<'a> Place<'a> {
    /// Of a path whose segments were decoded.
    fn of(segments: &[&'a str]) -> Option<Self> {
        Some(match segments {
            [""] => Self::Root,
            ["status"] => Self::Page,
            ["live"] => Self::Live,
            ["ready"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            _ => match Operation::at(segments)? {
                (Operation::Role, _) => Self::Role,
                (document, _) if document.is_document() => Self::Document(document),
                (Operation::ChangeServerInAll, values) => Self::Server(None, values.first()?),
                (Operation::ChangeServer, values) => {
                    Self::Server(Some(values.first()?), values.get(1)?)
                }
                _ => return None,
            },
        })
    }
}

async fn serve(caller: Caller<'_>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let mut answer = answered(&caller, request).await;
    for (name, value) in page::HEADERS {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    control::tell_the_last(caller.switch, &mut answer);
    Ok(answer)
}

async fn answered(caller: &Caller<'_>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let segments: Vec<String> = path.split('/').skip(1).map(percent_decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(place) = Place::of(&segments) else {
        return tell(&path, StatusCode::NOT_FOUND, PATHS);
    };
    let access = caller.access.load_full();
    let core = caller.switch.core();
    let (allowed, is_right) = match place {
        Place::Server(..) if access.may_be_operated() => {
            ("PATCH", *request.method() == Method::PATCH)
        }
        Place::Server(..) => ("", false),
        _ => {
            let reads = [Method::GET, Method::HEAD].contains(request.method());
            ("GET, HEAD", reads)
        }
    };
    if !is_right {
        return admin::not_allowed(&path, request.method(), allowed);
    }
    let needed = match place {
        Place::Root | Place::Page | Place::Live | Place::Ready => None,
        Place::Metrics => Some(Role::Scrape),
        Place::Role | Place::Document(_) => Some(Role::Read),
        Place::Server(..) => Some(Role::Operate),
    };
    if let Some(needed) = needed
        && let Err(denied) = access.permits(request.headers(), caller.peer.ip(), needed)
    {
        return refused(caller, &path, denied);
    }
    match place {
        Place::Root => {
            let mut answer = say(StatusCode::FOUND, "the status page is at /status\n");
            let to = HeaderValue::from_static("status");
            answer.headers_mut().insert(header::LOCATION, to);
            answer
        }
        Place::Page => page::answer(),
        Place::Live => say(StatusCode::OK, "live\n"),
        Place::Ready if core.shutdown.is_draining() => {
            say(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        Place::Ready => say(StatusCode::OK, "ready\n"),
        Place::Metrics => {
            let format = wanted(request.headers());
            let text = admin::metrics(caller.switch, format).await;
            admin::answer(StatusCode::OK, format.content_type(), text)
        }
        Place::Role => {
            let role = access.role(request.headers(), caller.peer.ip());
            let allowed = Allowed {
                role: role.unwrap_or(Role::Scrape),
                operable: access.may_be_operated(),
            };
            admin::json(StatusCode::OK, &allowed)
        }
        Place::Document(name) => {
            let found = document(caller.switch, name, request.uri().query()).await;
            found.unwrap_or_else(Problem::into_answer)
        }
        Place::Server(pool, address) => {
            let who = format!("by an administrator at {}", caller.peer.ip());
            let changed = change(caller.switch, pool, address, request, &who).await;
            let listener = &core.metrics_listener;
            let count = match &changed {
                Ok(_) => &listener.changes,
                Err(_) => &listener.changes_failed,
            };
            count.fetch_add(1, Relaxed);
            changed.unwrap_or_else(Problem::into_answer)
        }
    }
}

/// The answer to one who may not, who is counted.
fn refused(caller: &Caller<'_>, path: &str, denied: Denied) -> Answer {
    let listener = &caller.switch.core().metrics_listener;
    let (count, text) = match denied {
        Denied::Nobody => (&listener.token, "this needs a token\n"),
        Denied::Unknown => (&listener.token, "the token is not known\n"),
        Denied::Less => (&listener.role, "the token is for reading\n"),
        Denied::Far => (
            &listener.peer,
            "without --metrics-token this is for loopback addresses only, asked for by an address or as localhost: start the switch with --metrics-token FILE, or come by ssh -L\n",
        ),
    };
    count.fetch_add(1, Relaxed);
    tracing::debug!(client = %caller.peer, path, "refused: {}", text.trim_end());
    let mut answer = tell(path, denied.status(), text);
    if let Some(challenge) = denied.challenge() {
        let challenge = HeaderValue::from_static(challenge);
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// The format that a scraper prefers: OpenMetrics where it is named, as Prometheus does, which takes the other with less weight.
fn wanted(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    match accepted.any(|range| range.eq_ignore_ascii_case("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

/// An answer that tells what is wrong: below `/v1/` in JSON, as at the admin socket.
fn tell(path: &str, status: StatusCode, text: &'static str) -> Answer {
    match path.starts_with("/v1/") {
        true => Problem::new(status, text.trim_end()).into_answer(),
        false => say(status, text),
    }
}

fn say(status: StatusCode, text: &'static str) -> Answer {
    admin::answer(status, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain;version=0.0.4"), Format::Prometheus),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4,*/*;q=0.1"),
                Format::OpenMetrics,
            ),
            (
                Some("text/html, Application/OpenMetrics-Text"),
                Format::OpenMetrics,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(wanted(&headers), format, "{accept:?}");
        }
    }
}
