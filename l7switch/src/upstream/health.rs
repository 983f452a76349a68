// SPDX-License-Identifier: MIT
//! Active checks of real servers.
//!
//! Each server of a pool with checks has a task. It lives over reloads as long as the rules of the
//! check stay the same, so that a reload neither interrupts the count of results nor starts a burst
//! of checks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use bytes::BytesMut;
use l7switch_admin_api as api;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::ResponseParser;
use l7switch_rules::model::Health;
use l7switch_rules::model::Probe;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use super::connect::ConnectError;
use super::connect::Told;
use super::pool::Pool;
use super::server::RealServer;
use super::stream::ServerStream;
use crate::net::content::Decoder;

/// Longest content of an answer that is read, bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// The running checks.
#[derive(Debug, Default)]
pub struct Checks {
    tasks: HashMap<(String, SocketAddr), Check>,
}

#[derive(Debug)]
struct Check {
    rules: Health,
    told: Option<Told>,
    task: JoinHandle<()>,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Starts what these pools have and was not there, ends what they do not have.
    pub fn follow(&mut self, pools: &[Arc<Pool>]) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in pools {
            let Some(rules) = &pool.config().health else {
                continue;
            };
            let told = pool.config().send_proxy.map(|version| Told {
                version,
                ends: None,
            });
            for server in pool.servers() {
                let key = (pool.config().name.clone(), server.address());
                let check = match before.remove(&key) {
                    Some(running)
                        if running.rules == *rules
                            && running.told == told
                            && !running.task.is_finished() =>
                    {
                        running
                    }
                    _ => Check {
                        rules: rules.clone(),
                        told,
                        task: tokio::spawn(run(Arc::clone(server), rules.clone(), told)),
                    },
                };
                self.tasks.insert(key, check);
            }
        }
    }
}

async fn run(server: Arc<RealServer>, rules: Health, told: Option<Told>) {
    // Servers are not all asked at the same moment.
    tokio::time::sleep(part(rules.interval)).await;
    loop {
        let next =
            tokio::time::Instant::now() + rules.interval.mul_f64(0.95) + part(rules.interval / 10);
        let result = tokio::time::timeout(rules.timeout, probe(&server, &rules, told)).await;
        let outcome = match &result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(why.as_str()),
            Err(_) => Err("no answer in time"),
        };
        match server.checked(outcome.is_ok(), rules.rise, rules.fall) {
            Some(api::Health::Up) => {
                tracing::info!(pool = server.pool(), server = %server.address(), "up");
            }
            Some(api::Health::Down) => {
                let why = outcome.err().unwrap_or_default();
                tracing::warn!(pool = server.pool(), server = %server.address(), why, "down");
            }
            None => (),
        }
        tokio::time::sleep_until(next).await;
    }
}

/// A random part of a duration.
fn part(whole: Duration) -> Duration {
    whole.mul_f64(fastrand::f64())
}

async fn probe(server: &Arc<RealServer>, rules: &Health, told: Option<Told>) -> Result<(), String> {
    let connected = match &rules.probe {
        // A place on a connection that there is would say nothing.
        Probe::Tcp => server.connect_apart(told, rules.timeout).await,
        Probe::Http { .. } | Probe::Grpc { .. } => server.connect(told, rules.timeout).await,
    };
    let mut stream = connected.map_err(|error: ConnectError| error.to_string())?;
    let own = || server.authority();
    match &rules.probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host, status } => {
            let host = host.clone().unwrap_or_else(own);
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: l7switch-health\r\nconnection: close\r\n\r\n"
            );
            let mut buffer = BytesMut::new();
            let code = ask(&mut stream, request.as_bytes(), &mut buffer)
                .await?
                .status;
            let (lowest, highest) = *status;
            if (lowest..=highest).contains(&code) {
                Ok(())
            } else {
                Err(format!("status {code}"))
            }
        }
        Probe::Grpc { service } => grpc(&mut stream, service, &own()).await,
    }
}

/// Asks the health service of gRPC (grpc.health.v1, health.proto): `Check` of a service, answered with SERVING.
async fn grpc(stream: &mut ServerStream, service: &str, host: &str) -> Result<(), String> {
    // HealthCheckRequest: field 1, a string. Before it: not compressed, and its length.
    let name = service.as_bytes();
    let mut message = Vec::new();
    if !name.is_empty() {
        let length = u8::try_from(name.len()).ok().filter(|length| *length < 128);
        message.extend([0x0a, length.ok_or("the name of the service is too long")?]);
        message.extend(name);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let content = [&[0][..], &length.to_be_bytes(), &message].concat();
    let mut request = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: {host}\r\nuser-agent: l7switch-health\r\n\
         content-type: application/grpc\r\nconnection: te\r\nte: trailers\r\ncontent-length: {}\r\n\r\n",
        content.len()
    )
    .into_bytes();
    request.extend(content);
    let mut buffer = BytesMut::new();
    let head = ask(stream, &request, &mut buffer).await?;
    if head.status != 200 {
        return Err(format!("status {}", head.status));
    }
    let mut decoder = Decoder::of_response(head.body(RequestKind::Normal));
    let mut content = Vec::new();
    loop {
        let decoded = decoder
            .decode(&mut buffer)
            .map_err(|error| format!("the answer is not HTTP: {error}"))?;
        content.extend_from_slice(buffer.get(decoded.data).unwrap_or_default());
        if content.len() > ANSWER_MAX {
            return Err("the answer is too long".to_owned());
        }
        if decoded.ended {
            break;
        }
        buffer.clear();
        let read = stream.read_buf(&mut buffer).await;
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("the connection ended before an answer".to_owned());
        }
    }
    // HealthCheckResponse: field 1, SERVING is 1. Of an error there is no message, but a status.
    if content.get(5..) == Some(&[0x08, 1]) {
        return Ok(());
    }
    let trailers = decoder.trailer_map();
    let status = trailers
        .get("grpc-status")
        .and_then(|status| status.to_str().ok());
    Err(match (content.get(5..), status) {
        (None, Some(status)) => format!("gRPC status {status}"),
        _ => "not serving".to_owned(),
    })
}

/// Sends a request, and gives the head of the final response; what stands behind it is left in the buffer.
async fn ask(
    stream: &mut ServerStream,
    request: &[u8],
    buffer: &mut BytesMut,
) -> Result<ResponseHead, String> {
    let sent = stream.write_all(request).await;
    sent.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut parser = ResponseParser::new();
    loop {
        let read = stream.read_buf(buffer).await;
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("the connection ended before an answer".to_owned());
        }
        while !buffer.is_empty() {
            let progress = parser
                .consume(buffer)
                .map_err(|error| format!("the answer is not HTTP: {error}"))?;
            buffer.advance(progress.consumed);
            match progress.head {
                Some(head) if head.interim() => parser = ResponseParser::new(),
                Some(head) => return Ok(head),
                None => (),
            }
        }
    }
}
