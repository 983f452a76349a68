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

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::header;
use http_body_util::Empty;
use l7switch_admin_api as api;
use l7switch_rules::model::Health;
use l7switch_rules::model::Probe;
use tokio::task::JoinHandle;

use crate::io::SharedStream;
use crate::state::Generation;
use crate::upstream::ConnectError;
use crate::upstream::RealServer;
use crate::upstream::connect_tcp;
use crate::upstream::handshake;

/// The running checks.
#[derive(Debug, Default)]
pub struct Checks {
    tasks: HashMap<(String, SocketAddr), Check>,
}

#[derive(Debug)]
struct Check {
    rules: Health,
    task: JoinHandle<()>,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Starts what the generation has and was not there, ends what it does not have.
    pub fn follow(&mut self, generation: &Generation) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in &generation.pools {
            let Some(rules) = &pool.config().health else {
                continue;
            };
            for server in pool.servers() {
                let key = (pool.config().name.clone(), server.address());
                let check = match before.remove(&key) {
                    Some(running) if running.rules == *rules && !running.task.is_finished() => {
                        running
                    }
                    _ => Check {
                        rules: rules.clone(),
                        task: tokio::spawn(run(Arc::clone(server), rules.clone())),
                    },
                };
                self.tasks.insert(key, check);
            }
        }
    }
}

async fn run(server: Arc<RealServer>, rules: Health) {
    // Servers are not all asked at the same moment.
    tokio::time::sleep(part(rules.interval)).await;
    loop {
        let next =
            tokio::time::Instant::now() + rules.interval.mul_f64(0.95) + part(rules.interval / 10);
        let result = tokio::time::timeout(rules.timeout, probe(&server, &rules)).await;
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

async fn probe(server: &RealServer, rules: &Health) -> Result<(), String> {
    let stream = connect_tcp(server.address(), rules.timeout)
        .await
        .map_err(|error: ConnectError| error.to_string())?;
    let Probe::Http { path, host, status } = &rules.probe else {
        return Ok(());
    };
    let (mut sender, _) = handshake::<Empty<Bytes>>(SharedStream::new(stream).0)
        .await
        .map_err(|error| error.to_string())?;
    let host = host.clone().unwrap_or_else(|| server.address().to_string());
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path
        .parse()
        .map_err(|_| "the path of the check is not valid")?;
    let fields = request.headers_mut();
    let host = HeaderValue::from_str(&host).map_err(|_| "the host of the check is not valid")?;
    fields.insert(header::HOST, host);
    fields.insert(
        header::USER_AGENT,
        HeaderValue::from_static("l7switch-health"),
    );
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let (lowest, highest) = *status;
    let code = response.status().as_u16();
    if (lowest..=highest).contains(&code) {
        Ok(())
    } else {
        Err(format!("status {code}"))
    }
}
