// SPDX-License-Identifier: MIT
//! Connections that are joined unopened: TLS by server name, TCP by source.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use bytes::BytesMut;
use l7switch_engine::policy::may_retry;
use l7switch_engine::table::Request;
use l7switch_engine::tls::ClientHelloParser;
use l7switch_rules::model;
use l7switch_rules::model::Action;
use l7switch_rules::model::Limits;
use l7switch_rules::model::Protocol;
use l7switch_rules::model::ServerAddress;
use l7switch_rules::model::address_bytes;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::accept::proxied;
use crate::client::Client;
use crate::http::plan::is_unsent;
use crate::http::plan::key_hash;
use crate::http::plan::pool_of;
use crate::http::plan::substitute;
use crate::limit::sources;
use crate::net::stream::Prefixed;
use crate::net::stream::SharedStream;
use crate::net::stream::StreamHandle;
use crate::net::tunnel;
use crate::observe::log_limit;
use crate::observe::reason::Reason;
use crate::record::Record;
use crate::ruleset::generation::Generation;
use crate::upstream::ConnectError;
use crate::upstream::Fault;
use crate::upstream::Outstanding;
use crate::upstream::Pool;
use crate::upstream::ServerStream;
use crate::upstream::Told;
use l7switch_engine::flow::Refusal;

/// Longest ClientHello that is waited for, with its record headers.
const HELLO_MAX: usize = 80 * 1024;

/// The fatal alert unrecognized_name (RFC 8446, 6.2; RFC 6066, 3) as a record of TLS 1.0, which
/// every version reads.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 0x70];

/// Why a connection was not joined, and what the client is told.
struct Refused {
    reason: Reason,
    alert: &'static [u8],
}

impl Refused {
    const fn silently(reason: Reason) -> Self {
        Self { reason, alert: b"" }
    }
}

/// Serves a connection of a `tls` or `tcp` service.
pub async fn serve(mut client: Box<Client>, stream: TcpStream, limits: Limits) {
    let (mut stream, handle) = SharedStream::new(stream);
    client.has_socket(&handle);
    if client.is_proxied {
        let learned = proxied::learn(&mut client, &mut stream, limits.head_timeout);
        if !learned.await {
            return;
        }
    }
    if !sources::admit(&mut client, &limits) {
        return stream.abort();
    }
    let mut record = Record::begin(&client, None, |_| ());
    let drained = async {
        client.core.shutdown.draining().await;
        client.core.shutdown.last_chance().await;
    };
    let opened = tokio::select! {
        opened = open(&client, &mut stream, &mut record) => opened,
        () = drained => Err(Refused::silently(Reason::Draining)),
        () = handle.broken() => Err(Refused::silently(Reason::ClientGone)),
    };
    match opened {
        Ok(opened) => {
            let idle = opened.idle;
            let stream = Prefixed::new(opened.received, stream);
            let mut server = opened.server;
            let outcome = tunnel::join(stream, &mut server, Some(idle)).await;
            record.received(outcome.forth);
            record.sent(outcome.back);
            match outcome.reason {
                None | Some(Reason::IdleTimeout) => (),
                // Not an orderly end: nobody must take it for one.
                Some(Reason::ClientGone) => server.abort(),
                Some(_) => handle.abort(),
            }
            record.close(outcome.reason);
        }
        Err(refused) => {
            record.refused(refused.reason);
            record.close(Some(refused.reason));
            refuse(stream, handle, refused.alert).await;
        }
    }
}

async fn refuse(mut stream: SharedStream, handle: StreamHandle, alert: &[u8]) {
    if !alert.is_empty() && stream.write_all(alert).await.is_ok() {
        handle.linger().await;
    }
}

/// A connection that can be joined.
struct Opened {
    server: ServerStream,
    /// What the client has sent so far.
    received: Bytes,
    idle: std::time::Duration,
    _outstanding: Outstanding,
}

async fn open(
    client: &Client,
    stream: &mut SharedStream,
    record: &mut Record,
) -> Result<Opened, Refused> {
    let limits = {
        let generation = client.core.active.load();
        let (_, model, _) = generation
            .service(&client.service)
            .ok_or(Refused::silently(Reason::Draining))?;
        (model.protocol == Protocol::Tls).then_some(model.limits)
    };
    let mut received = BytesMut::new();
    let mut name = Vec::new();
    if let Some(limits) = limits {
        let hello = hello(client, stream, &mut received);
        name = tokio::time::timeout(limits.head_timeout, hello)
            .await
            .map_err(|_| Refused::silently(Reason::HeadTimeout))??;
        record.describe(|line| line.host = String::from_utf8_lossy(&name).into_owned());
    }
    // The rules may have changed while the client was slow.
    let generation = client.core.active.load_full();
    let (index, model, service) = generation
        .service(&client.service)
        .ok_or(Refused::silently(Reason::Draining))?;
    let no_route = if limits.is_some() {
        Refused {
            reason: Reason::UnknownName,
            alert: &UNRECOGNIZED_NAME,
        }
    } else {
        Refused::silently(Reason::NoRoute)
    };
    let Some((position, mut pool, hash)) = route(&generation, index, model, client, &name) else {
        return Err(no_route);
    };
    if let Some(state) = service.routes.get(position) {
        state.stats.requests.fetch_add(1, Relaxed);
        record.describe(|line| line.route.clone_from(&state.label));
    }
    let mut asked = Vec::new();
    let (server, outstanding) = loop {
        record.describe(|line| line.pool.clone_from(&pool.config().name));
        let reason = match connect(pool, hash, client, record).await {
            Ok(connected) => break connected,
            Err(reason) => reason,
        };
        asked.push(pool);
        let next = model.routes.get(position).filter(|_| is_unsent(reason));
        let next = next.and_then(|route| substitute(&generation, route, &asked));
        pool = next.ok_or(Refused::silently(reason))?;
    };
    Ok(Opened {
        server,
        received: received.freeze(),
        idle: model.limits.idle_timeout,
        _outstanding: outstanding,
    })
}

/// Reads the ClientHello and gives the server name, empty if there is none.
async fn hello(
    client: &Client,
    stream: &mut SharedStream,
    received: &mut BytesMut,
) -> Result<Vec<u8>, Refused> {
    let mut parser = ClientHelloParser::new();
    loop {
        if received.len() > HELLO_MAX {
            return Err(Refused::silently(Reason::NotTls));
        }
        match stream.read_buf(received).await {
            Ok(0) | Err(_) => return Err(Refused::silently(Reason::ClientGone)),
            Ok(_) => (),
        }
        match parser.parse(received) {
            Ok(None) => (),
            Ok(Some(hello)) => return Ok(hello.server_name().unwrap_or_default().to_vec()),
            Err(error) => {
                log_limit::hostile(Reason::NotTls, client.peer, &error.to_string());
                return Err(Refused::silently(Reason::NotTls));
            }
        }
    }
}

/// The route, its pool and the hash of the pool's key.
fn route<'a>(
    generation: &'a Generation,
    service: usize,
    model: &model::Service,
    client: &Client,
    name: &[u8],
) -> Option<(usize, &'a Arc<Pool>, u64)> {
    let source = address_bytes(client.peer.ip());
    let no_fields: &[(&[u8], &[u8])] = &[];
    let asked = Request {
        host: name,
        method: b"",
        path: b"",
        query: b"",
        source,
        fields: no_fields,
    };
    let position = generation.rules.route(service, &asked)?;
    let route = model.routes.get(position)?;
    let Action::Forward(shares) = &route.action else {
        return None;
    };
    let pool = pool_of(generation, shares, route.strict)?;
    let pool = generation.pools.get(pool)?;
    let hash = key_hash(&pool.config().scheduler, &asked);
    Some((position, pool, hash))
}

/// Connects to a server of the pool, to others where that fails.
async fn connect(
    pool: &Arc<Pool>,
    hash: u64,
    client: &Client,
    record: &mut Record,
) -> Result<(ServerStream, Outstanding), Reason> {
    let config = pool.config();
    let mut tried = Vec::new();
    let mut last = Reason::NoServer;
    let mut repeating = None;
    let is_full = client.refusal == Some(Refusal::Full);
    while let Some((index, mut outstanding)) = pool.choose(hash, &tried, is_full).await? {
        if !tried.is_empty() {
            pool.repeated();
        }
        let server = Arc::clone(outstanding.server());
        record.describe(|line| line.tries(server.address().to_string()));
        let told = config.send_proxy.map(|version| Told {
            version,
            ends: Some(client.ends(client.peer)),
        });
        match server.connect_apart(told, config.connect_timeout).await {
            Ok(stream) => {
                server.succeeded();
                outstanding.repeats(repeating);
                return Ok((stream, outstanding));
            }
            Err(error) if error.is_of_this_host() => {
                server.log_connect(&error);
                return Err(error.reason());
            }
            Err(error) => {
                pool.failed(&server, Fault::Connect, &error.to_string());
                log_failure(server.address(), &error);
                last = error.reason();
            }
        }
        tried.push(index);
        let rule = config.retries.rule.as_ref();
        if rule.is_some_and(|rule| !rule.connect)
            || !may_retry(tried.len(), config.retries.attempts)
            || (pool.has_untried(&tried) && !pool.may_repeat(&mut repeating))
        {
            break;
        }
    }
    Err(last)
}

fn log_failure(server: &ServerAddress, error: &ConnectError) {
    tracing::debug!(%server, %error, "no connection");
}
