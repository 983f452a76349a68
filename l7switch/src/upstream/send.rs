// SPDX-License-Identifier: MIT
//! A request sent to a pool: the choice, the connection, the retries, the times.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::connect::ConnectError;
use super::connect::connect_tcp;
use super::connect::handshake;
use super::idle::Link;
use super::idle::Own;
use super::lease::Lease;
use super::lease::Outstanding;
use super::pool::Fault;
use super::pool::Pool;
use super::server::RealServer;
use super::server::Sender;
use crate::body::Progress;
use crate::body::RequestBody;
use crate::clock::now_ns;
use crate::io::SharedStream;
use crate::reason::Reason;
use crate::reason::Refusal;

/// A response whose content follows.
#[derive(Debug)]
pub struct Sent {
    /// The head, and what gives the content.
    pub response: Response<Incoming>,
    /// The server in use.
    pub lease: Lease,
}

/// How long is waited for whom.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the server to begin its response, from when it has all of the request that there is.
    pub response: Duration,
    /// For the client to go on with the content.
    pub upload: Duration,
}

/// No response.
#[derive(Debug)]
pub struct Failure {
    /// What the client is told.
    pub refusal: Refusal,
    /// The server that was tried last.
    pub server: Option<Arc<RealServer>>,
}

/// Why one attempt failed, and what is left of the request.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Nothing was sent: the request is as good as new.
    Unsent,
    /// The request may have been seen by the server, which closed the connection before it answered, and may be
    /// sent again all the same.
    Closed(Refusal),
    /// The request may have been seen by the server: it must not be sent again.
    Spent(Refusal),
}

/// Who carries a request to a server and brings the response, by connections of one kind.
pub(super) trait Courier {
    /// A connection to a server.
    type Connection;
    /// The beginning of a response, and what gives the rest.
    type Answer;

    /// Told before a server is tried.
    fn address(&mut self, server: &RealServer);

    /// A connection that was kept and is free.
    fn kept(&mut self, server: &RealServer) -> Option<Self::Connection>;

    /// A new connection.
    async fn connect(
        &mut self,
        server: &RealServer,
        patience: Duration,
    ) -> Result<Self::Connection, ConnectError>;

    /// Sends the request and waits for the beginning of the response.
    async fn attempt(
        &mut self,
        server: &RealServer,
        connection: Self::Connection,
    ) -> Result<Self::Answer, Attempt>;
}

/// Has a request carried to a server of the pool.
///
/// A connection that is refused or not answered leads to the next server, as often as the pool
/// allows. A kept connection that turns out to be closed before anything was sent on it leads to a
/// fresh one. What may have reached a server is sent again only where it is of a safe method and has no
/// content (RFC 9110, 9.2.2): otherwise the server may have acted on it.
///
/// # Errors
///
/// No server, no connection, or no response.
pub(super) async fn deliver<C: Courier>(
    pool: &Pool,
    hash: u64,
    courier: &mut C,
) -> Result<(C::Answer, Outstanding), Failure> {
    let config = pool.config();
    let mut tried = Vec::new();
    let mut last: Option<Failure> = None;
    loop {
        let Some((index, outstanding)) = pool.pick(hash, &tried) else {
            return Err(last.unwrap_or_else(|| Failure {
                refusal: Refusal::new(
                    Reason::NoServer,
                    StatusCode::SERVICE_UNAVAILABLE,
                    "no server is available",
                ),
                server: None,
            }));
        };
        let server = outstanding.server();
        courier.address(server);
        let mut kept = courier.kept(server);
        let refusal = loop {
            let reused = kept.is_some();
            let connection = match kept.take() {
                Some(connection) => connection,
                // Boxed, as what is rare.
                None => match Box::pin(courier.connect(server, config.connect_timeout)).await {
                    Ok(connection) => connection,
                    Err(error) => break connect_refusal(&error),
                },
            };
            let refusal = match courier.attempt(server, connection).await {
                Ok(answer) => return Ok((answer, outstanding)),
                Err(Attempt::Closed(refusal)) => refusal,
                Err(Attempt::Spent(refusal)) => {
                    // A client that broke off is no fault of the server.
                    if !matches!(refusal.reason, Reason::BodyBroken | Reason::BodyTimeout) {
                        pool.failed(server, Fault::Answer);
                    }
                    return Err(Failure {
                        refusal,
                        server: Some(Arc::clone(server)),
                    });
                }
                Err(Attempt::Unsent) => Refusal::new(
                    Reason::ConnectFailed,
                    StatusCode::BAD_GATEWAY,
                    "the server closed the connection at once",
                ),
            };
            if !reused {
                break refusal;
            }
            // The kept connection was closed meanwhile, which says nothing about the server. Others
            // that were kept may be closed too: a fresh one is not.
        };
        let fault = match refusal.reason {
            Reason::ConnectFailed | Reason::ConnectTimeout => Fault::Connect,
            _ => Fault::Answer,
        };
        pool.failed(server, fault);
        tried.push(index);
        let failure = Failure {
            refusal,
            server: Some(Arc::clone(server)),
        };
        if tried.len() > usize::try_from(config.retries).unwrap_or(usize::MAX) {
            return Err(failure);
        }
        last = Some(failure);
    }
}

/// Whether a request of this method may be sent again after it may have been seen, if it has no content
/// (RFC 9110, 9.2.1 and 9.2.2).
pub fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// A copy of a request that may be sent again after it may have been seen.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !is_safe(request.method()) || request.headers().contains_key(header::UPGRADE) {
        return None;
    }
    let mut copy = Request::new(request.body().again()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Sends a request to a server of the pool by hyper.
///
/// # Errors
///
/// No server, no connection, or no response.
pub async fn send(
    pool: &Arc<Pool>,
    hash: u64,
    own: &Arc<Own>,
    request: Request<RequestBody>,
    upload: &Arc<Progress>,
    patience: Patience,
) -> Result<Sent, Failure> {
    let mut courier = ByHyper {
        // An HTTP/1.0 client may name no host, but HTTP/1.1, which the server gets, must have one.
        unnamed: !request.headers().contains_key(header::HOST),
        request: Some(request),
        own,
        upload,
        patience,
    };
    let ((response, link), outstanding) = deliver(pool, hash, &mut courier).await?;
    let lease = Lease {
        pool: Arc::clone(pool),
        outstanding,
        link,
        own: Arc::clone(own),
        upload: Arc::clone(upload),
    };
    Ok(Sent { response, lease })
}

/// A request that hyper writes.
struct ByHyper<'a> {
    /// Absent while it is on its way.
    request: Option<Request<RequestBody>>,
    unnamed: bool,
    own: &'a Own,
    upload: &'a Progress,
    patience: Patience,
}

impl Courier for ByHyper<'_> {
    type Connection = Link<Sender>;
    type Answer = (Response<Incoming>, Link<Sender>);

    fn address(&mut self, server: &RealServer) {
        if self.unnamed
            && let Some(request) = &mut self.request
            && let Ok(host) = HeaderValue::from_str(&server.address().to_string())
        {
            request.headers_mut().insert(header::HOST, host);
        }
    }

    fn kept(&mut self, server: &RealServer) -> Option<Link<Sender>> {
        server.take_idle(self.own)
    }

    async fn connect(
        &mut self,
        server: &RealServer,
        patience: Duration,
    ) -> Result<Link<Sender>, ConnectError> {
        let stream = connect_tcp(server.address(), patience).await?;
        let (stream, handle) = SharedStream::new(stream);
        handshake(stream)
            .await
            .map(|(requests, task)| {
                Link::new(Sender {
                    requests,
                    task: Some(task),
                    handle,
                    unfinished: false,
                })
            })
            .map_err(|error| ConnectError::Refused(std::io::Error::other(error)))
    }

    async fn attempt(
        &mut self,
        server: &RealServer,
        link: Link<Sender>,
    ) -> Result<Self::Answer, Attempt> {
        let Some(request) = self.request.take() else {
            return Err(Attempt::Spent(Refusal::internal("the request was sent")));
        };
        let copy = repeatable(&request);
        match attempt(server, link, request, self.upload, self.patience).await {
            Ok(answer) => Ok(answer),
            Err(Failed::Unsent(request)) => {
                self.request = Some(*request);
                Err(Attempt::Unsent)
            }
            Err(Failed::Closed(refusal)) if copy.is_some() => {
                self.request = copy;
                Err(Attempt::Closed(refusal))
            }
            Err(Failed::Closed(refusal) | Failed::Spent(refusal)) => Err(Attempt::Spent(refusal)),
        }
    }
}

/// Why hyper brought no response.
enum Failed {
    /// Nothing was sent.
    Unsent(Box<Request<RequestBody>>),
    /// The server closed the connection before it answered.
    Closed(Refusal),
    /// The request may have been seen.
    Spent(Refusal),
}

fn connect_refusal(error: &ConnectError) -> Refusal {
    match error {
        ConnectError::Refused(_) => Refusal::new(
            Reason::ConnectFailed,
            StatusCode::BAD_GATEWAY,
            "no server accepts the connection",
        ),
        ConnectError::Timeout(_) => Refusal::new(
            Reason::ConnectTimeout,
            StatusCode::GATEWAY_TIMEOUT,
            "no server answered the connection in time",
        ),
    }
}

async fn attempt(
    server: &RealServer,
    mut link: Link<Sender>,
    request: Request<RequestBody>,
    upload: &Progress,
    patience: Patience,
) -> Result<(Response<Incoming>, Link<Sender>), Failed> {
    let began = now_ns();
    link.connection.unfinished = true;
    let sending = link.connection.requests.try_send_request(request);
    tokio::pin!(sending);
    let result = loop {
        // The server's time runs while it has all that the client has sent, the client's while the
        // server waits for more.
        let client = upload.waiting_for_client();
        let allowed = if client {
            patience.upload
        } else {
            patience.response
        };
        let since = upload.moved_ns().max(began);
        let waited = Duration::from_nanos(now_ns().saturating_sub(since));
        if waited >= allowed {
            return Err(Failed::Spent(if client {
                Refusal::new(
                    Reason::BodyTimeout,
                    StatusCode::REQUEST_TIMEOUT,
                    "the content of the request did not arrive in time",
                )
            } else {
                too_late()
            }));
        }
        // Whose time it is may change meanwhile, so that the shorter one is slept at most.
        let left = allowed
            .saturating_sub(waited)
            .min(patience.response)
            .min(patience.upload);
        if let Ok(result) = tokio::time::timeout(left, &mut sending).await {
            break result;
        }
    };
    match result {
        Ok(response) => {
            let now = now_ns();
            server.observe(now.saturating_sub(began), now);
            server.succeeded();
            Ok((response, link))
        }
        Err(error) => Err(unsent_or_spent(error, upload)),
    }
}

/// The server was silent for too long.
pub(super) fn too_late() -> Refusal {
    Refusal::new(
        Reason::ResponseTimeout,
        StatusCode::GATEWAY_TIMEOUT,
        "the server did not begin its response in time",
    )
}

/// The server closed the connection, or what it sent is no response.
pub(super) fn no_response() -> Refusal {
    Refusal::new(
        Reason::BadResponse,
        StatusCode::BAD_GATEWAY,
        "the server gave no valid response",
    )
}

fn unsent_or_spent(mut error: TrySendError<Request<RequestBody>>, upload: &Progress) -> Failed {
    if let Some(request) = error.take_message() {
        return Failed::Unsent(Box::new(request));
    }
    if upload.failed() {
        return Failed::Spent(Refusal::new(
            Reason::BodyBroken,
            StatusCode::BAD_REQUEST,
            "the content of the request broke off",
        ));
    }
    let error = error.error();
    tracing::debug!(%error, "no response");
    let refusal = no_response();
    if error.is_incomplete_message() || is_reset(error) {
        Failed::Closed(refusal)
    } else {
        Failed::Spent(refusal)
    }
}

/// Whether the server's end of the connection is gone.
fn is_reset(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        matches!(
            cause.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
        )
    })
}
