// SPDX-License-Identifier: MIT
//! A request sent to a pool: the choice, the connection, the retries, the times.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::BytesMut;
use http::Method;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::policy::may_retry;
use l7switch_rules::model::RetryRule;
use l7switch_rules::model::ServerProtocol;
use tokio::io::AsyncWrite;

use super::connect::ConnectError;
use super::feed::Broke;
use super::feed::Feed;
use super::http2::Unseen;
use super::idle::Link;
use super::idle::Own;
use super::lease::Lease;
use super::message::Message;
use super::message::Observer;
use super::pool::Fault;
use super::pool::Pool;
use super::queue::Picked;
use super::queue::Turn;
use super::queue::Waiting;
use super::refusals::connect_refusal;
use super::refusals::no_response;
use super::refusals::no_server;
use super::refusals::queue_refusal;
use super::refusals::stream_refusal;
use super::refusals::websocket_refusal;
use super::response::NoHead;
use super::response::read_head;
use super::server::RealServer;
use super::stream::ServerStream;
use crate::net::clock::ns_of;
use crate::net::stream::MaybeRaw;
use crate::net::stream::poll_write_both;
use crate::net::timer::Timer;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// A server that has not taken a connection for so long could have: where the time of the exchange leaves less, it is not blamed.
const FAIR: Duration = Duration::from_millis(200);

/// The beginning of a response, which may be an interim one.
#[derive(Debug)]
pub struct Answered {
    /// What its head says.
    pub head: ResponseHead,
    /// Bytes of its head in the buffer, from its start.
    pub length: usize,
    /// The server in use.
    pub lease: Lease,
    /// When it came.
    pub now: Instant,
}

/// How often a request is sent again whose server ends the connection before it has seen it. One that ends each connection after
/// few requests does so with many that come at the same time.
const ENDINGS: u32 = 64;

/// Longest rest before that, and the one before a request is sent again to a server that has refused it.
const REST: Duration = Duration::from_millis(20);

/// Why one attempt failed.
#[derive(Debug)]
enum Attempt {
    /// The server has not seen the request, as it says itself.
    Unseen(Unseen),
    /// The server has not seen it: the handshake has failed behind its end.
    Unshaken(Refusal),
    /// The request may have been seen by the server, which closed the connection before it answered, and may be
    /// sent again all the same.
    Closed(Refusal),
    /// The request may have been seen by the server: it must not be sent again.
    Spent(Refusal),
}

/// Sends a request to a server of the pool, and reads the head of its response into the buffer; something of what follows may
/// stand behind it.
///
/// While all servers have as many requests as they may, it waits in the pool's queue.
///
/// A connection that is refused or not answered leads to the next server, as often as the pool
/// allows. So does a server that refuses the request unseen (RFC 9113, 8.7), which is asked again itself where there is no other, and
/// what else the pool's rule of retries names. What may have reached a server is sent again only where it is of a safe method and has no
/// content (RFC 9110, 9.2.2): otherwise the server may have acted on it. Where a kept connection turns out to be
/// closed, that is on a fresh one to the same server.
///
/// # Errors
///
/// No server, no connection, or no response.
pub async fn send<F: Feed, O: Observer>(
    pool: &Arc<Pool>,
    own: &Arc<Own>,
    message: &mut Message<'_>,
    observer: &mut O,
    feed: &mut F,
    timer: &mut Timer,
    buffer: &mut BytesMut,
) -> Result<Answered, Refusal> {
    let config = pool.config();
    let rule = config.retries.rule.as_ref();
    let mut tried = Vec::new();
    // Attempts that have failed.
    let mut failed = 0_usize;
    let mut last = None;
    let mut next = message.stays.and_then(|index| pool.take(index));
    let mut repeating = None;
    loop {
        if timer.is_over() {
            return Err(Broke::Over.refusal());
        }
        let turn = next.take().map_or_else(
            || pool.ask(message.hash, &tried, message.is_full),
            Turn::Now,
        );
        let picked = match turn {
            Turn::Now(picked) => Some(picked),
            Turn::Nobody => None,
            // Boxed, as what is rare.
            Turn::Later(waiting) => {
                let waited = Box::pin(wait_turn(pool, waiting, feed, timer)).await?;
                message.began = Instant::now();
                waited
            }
            Turn::Full => return Err(queue_refusal(Reason::QueueFull)),
        };
        let Some((index, mut outstanding)) = picked else {
            return Err(last.unwrap_or_else(no_server));
        };
        if failed > 0 {
            pool.repeated();
        }
        let server = outstanding.server();
        message.trace = observer.tries(server).or(message.trace);
        let mut kept = server.take_idle(own, message.told.as_ref(), message.began);
        let mut endings = 0_u32;
        let mut has_let_go = false;
        // Why there is no connection.
        let mut said = None;
        let (mut refusal, fault) = loop {
            let is_reused = kept.is_some();
            let mut link = match kept.take() {
                Some(link) => link,
                // Boxed, as what is rare.
                None => {
                    let patience = timer.within_limit(config.connect_timeout);
                    // Every server of HTTP/1 can be asked for an upgrade; few take WebSockets by HTTP/2.
                    let apart = message.is_upgrade && config.protocol == ServerProtocol::Auto;
                    let connected = if apart {
                        Box::pin(server.connect_http1(message.told, patience)).await
                    } else {
                        Box::pin(server.connect(message.told, patience)).await
                    };
                    match connected {
                        Ok(connection) => Link::new(connection, message.told.as_ref()),
                        Err(error) => {
                            if timer.is_over() && patience < FAIR.min(config.connect_timeout) {
                                return Err(Broke::Over.refusal());
                            }
                            server.log_connect(&error);
                            if error.is_of_this_host() {
                                pool.let_go_of_idle();
                                if !mem::replace(&mut has_let_go, true) {
                                    continue;
                                }
                                return Err(connect_refusal(&error));
                            }
                            let refusal = connect_refusal(&error);
                            let why = error.to_string();
                            if rule.is_some_and(|rule| !rule.connect) {
                                pool.failed(server, Fault::Connect, &why);
                                return Err(refusal);
                            }
                            said = Some(why);
                            break (refusal, Some(Fault::Connect));
                        }
                    }
                }
            };
            let stream = &mut link.connection;
            stream.set_within(true);
            // A connection that is made takes its time.
            let began = if is_reused {
                message.began
            } else {
                Instant::now()
            };
            timer.set_now(began);
            if !feed.begin() {
                return Err(last.unwrap_or_else(no_response));
            }
            let sent = attempt(server, stream, message, rule, feed, timer, buffer).await;
            let refusal = match sent {
                Ok((head, length)) => {
                    let now = Instant::now();
                    let waited = now.saturating_duration_since(began);
                    server.observe(head.status, waited, ns_of(now));
                    server.succeeded();
                    observer.answered(head.status);
                    if let Some(rule) = rule
                        && rule.statuses.contains(&head.status)
                        && rule_allows(rule, message, feed)
                        && may_retry(failed.saturating_add(1), config.retries.attempts)
                    {
                        tried.push(index);
                        failed = failed.saturating_add(1);
                        // Whatever follows of the response is not waited for: the connection ends.
                        if !pool.has_untried(&tried) {
                            if message.falls_back {
                                return Err(no_response().repeatable());
                            }
                        } else if pool.may_repeat(&mut repeating)
                            && let Some(another) = pool.ask_now(message.hash, &tried)
                        {
                            next = Some(another);
                            break (no_response(), None);
                        }
                    }
                    outstanding.repeats(repeating);
                    let lease = Lease {
                        pool: Arc::clone(pool),
                        outstanding,
                        link,
                        own: Arc::clone(own),
                        began,
                    };
                    return Ok(Answered {
                        head,
                        length,
                        lease,
                        now,
                    });
                }
                Err(Attempt::Unseen(Unseen::Ended)) if endings < ENDINGS && feed.can_begin() => {
                    // The first time without one: a connection that has just ended is the usual case.
                    let rest = REST.min(Duration::from_millis(endings.into()));
                    tokio::time::sleep(rest).await;
                    endings = endings.saturating_add(1);
                    continue;
                }
                Err(Attempt::Unseen(_)) => {
                    let refusal = stream_refusal();
                    if !feed.can_begin() || rule.is_some_and(|rule| !rule.connect) {
                        pool.failed(server, Fault::Answer, &refusal.detail);
                        return Err(refusal);
                    }
                    break (refusal, Some(Fault::Answer));
                }
                Err(Attempt::Unshaken(refusal)) => {
                    if !feed.can_begin() || rule.is_some_and(|rule| !rule.connect) {
                        pool.failed(server, Fault::Connect, &refusal.detail);
                        return Err(refusal);
                    }
                    break (refusal, Some(Fault::Connect));
                }
                Err(Attempt::Closed(refusal)) => refusal,
                Err(Attempt::Spent(refusal))
                    if refusal.reason == Reason::ResponseTimeout
                        && rule.is_some_and(|rule| {
                            rule.timeout && rule_allows(rule, message, feed)
                        }) =>
                {
                    server.log_silence(&refusal.detail);
                    break (refusal, Some(Fault::Answer));
                }
                Err(Attempt::Spent(refusal)) => {
                    // A client that broke off is no fault of the server.
                    if matches!(
                        refusal.reason,
                        Reason::BadResponse | Reason::ResponseTimeout
                    ) {
                        if refusal.reason == Reason::ResponseTimeout {
                            server.log_silence(&refusal.detail);
                        }
                        pool.failed(server, Fault::Answer, &refusal.detail);
                    }
                    return Err(refusal);
                }
            };
            if !is_reused {
                if rule.is_some_and(|rule| !(rule.reset && rule_allows(rule, message, feed))) {
                    pool.failed(server, Fault::Answer, &refusal.detail);
                    return Err(refusal);
                }
                break (refusal, Some(Fault::Answer));
            }
            // The kept connection was closed meanwhile, which says nothing about the server. Others
            // that were kept may be closed too: a fresh one is not.
        };
        // Otherwise the next server is chosen already.
        if let Some(fault) = fault {
            pool.failed(server, fault, said.as_deref().unwrap_or(&refusal.detail));
            tried.push(index);
            failed = failed.saturating_add(1);
            // Where there is no other server, another connection of this one may take it.
            let is_again = refusal.reason == Reason::StreamRefused && !pool.has_untried(&tried);
            if is_again {
                tried.pop();
            }
            if !may_retry(failed, config.retries.attempts)
                || (pool.has_untried(&tried) && !pool.may_repeat(&mut repeating))
            {
                return Err(refusal);
            }
            if is_again {
                tokio::time::sleep(REST).await;
            }
            refusal = refusal.repeatable();
        }
        observer.failed(refusal.reason);
        last = Some(refusal);
        // The next attempt has its own time.
        message.began = Instant::now();
    }
}

/// Sends the request on a connection, and reads the head of the response.
async fn attempt<F: Feed>(
    server: &RealServer,
    stream: &mut ServerStream,
    message: &Message<'_>,
    rule: Option<&RetryRule>,
    feed: &mut F,
    timer: &mut Timer,
    buffer: &mut BytesMut,
) -> Result<(ResponseHead, usize), Attempt> {
    buffer.clear();
    let whole;
    let mut head = message.head;
    if message.lacks.something() {
        whole = message.completed(server);
        head = &whole;
    }
    let mut content = message.content;
    timer.start(message.patience.response);
    while !head.is_empty() || !content.is_empty() {
        let written = timer
            .within(|cx| poll_write_both(Pin::new(&mut *stream), cx, &mut head, &mut content))
            .await;
        let written = match written {
            Ok(written) => written,
            Err(_) => return Err(Attempt::Spent(Broke::expired(timer).refusal())),
        };
        // A server that answers before it has read the whole request and closes resets the connection when more comes: what
        // is read next tells.
        if written.is_err() {
            break;
        }
    }
    // A socket holds nothing back.
    if stream.raw().is_none() {
        let flushed = timer
            .within(|cx| Pin::new(&mut *stream).poll_flush(cx).map(drop))
            .await;
        if flushed.is_err() {
            return Err(Attempt::Spent(Broke::expired(timer).refusal()));
        }
    }
    match read_head(feed, stream, timer, message.patience, buffer).await {
        Ok(read) => Ok(read),
        Err(NoHead::Broke(broke)) => Err(Attempt::Spent(broke.refusal())),
        Err(error) => {
            tracing::debug!(server = %server.address(), %error, "no response");
            if matches!(error, NoHead::Malformed(_)) {
                server.log_response(&error, buffer);
            }
            match stream.unseen() {
                Some(Unseen::Unable) => return Err(Attempt::Spent(websocket_refusal())),
                Some(unseen) => return Err(Attempt::Unseen(unseen)),
                None => (),
            }
            if let NoHead::Certificate(error) = error {
                let error = ConnectError::Tls(error);
                server.log_connect(&error);
                return Err(Attempt::Unshaken(connect_refusal(&error)));
            }
            if may_repeat_unanswered(rule, message, feed) && matches!(error, NoHead::Closed) {
                Err(Attempt::Closed(no_response()))
            } else {
                Err(Attempt::Spent(no_response()))
            }
        }
    }
}

/// Whether nothing but a head of the request has gone to a server, so that it can be sent again.
fn has_no_content<F: Feed>(message: &Message<'_>, feed: &F) -> bool {
    !message.is_upgrade && message.content.is_empty() && feed.is_untouched()
}

/// Whether the pool's rule lets a request be sent again that may have reached a server. What of its content has gone must be kept.
fn rule_allows<F: Feed>(rule: &RetryRule, message: &Message<'_>, feed: &F) -> bool {
    let mut methods = rule.methods.iter();
    let is_short = u64::try_from(message.content.len()).is_ok_and(|had| had <= rule.body_limit);
    !message.is_upgrade
        && is_short
        && feed.may_repeat()
        && methods.any(|method| message.method == method.as_str())
}

/// Whether a request may be sent again whose server has ended the connection.
fn may_repeat_unanswered<F: Feed>(
    rule: Option<&RetryRule>,
    message: &Message<'_>,
    feed: &F,
) -> bool {
    (is_safe(message.method) && has_no_content(message, feed))
        || rule.is_some_and(|rule| rule.reset && rule_allows(rule, message, feed))
}

/// Waits for a server, as long as the rules say.
async fn wait_turn<F: Feed>(
    pool: &Pool,
    mut waiting: Waiting,
    feed: &mut F,
    timer: &mut Timer,
) -> Result<Option<Picked>, Refusal> {
    timer.start(pool.config().queue.timeout);
    let turn = timer.within(|cx| {
        if let Poll::Ready(given) = Pin::new(&mut waiting).poll(cx) {
            return Poll::Ready(Ok(given));
        }
        // One whose client sends no more is most often one that was given up (HAProxy's abortonclose).
        feed.poll_ended(cx).map(|()| Err(Broke::Gone.refusal()))
    });
    let turn = turn.await;
    match turn {
        Ok(turn) => turn,
        Err(_) if timer.is_over() => Err(Broke::Over.refusal()),
        Err(_) => Err(queue_refusal(Reason::QueueTimeout)),
    }
}

/// Whether a request of this method may be sent again after it may have been seen, if it has no content
/// (RFC 9110, 9.2.1 and 9.2.2).
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}
