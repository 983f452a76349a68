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

use l7switch_rules::model::Health;
use l7switch_rules::model::ServerAddress;
use tokio::task::JoinHandle;

use super::connect::Told;
use super::pool::Pool;
use super::probe::Failed;
use super::probe::Sought;
use super::probe::probe;
use super::server::Checked;
use super::server::RealServer;
use crate::observe::words;

/// The running checks.
#[derive(Debug, Default)]
pub struct Checks {
    tasks: HashMap<(String, ServerAddress), Check>,
}

#[derive(Debug)]
struct Check {
    rules: Health,
    told: Option<Told>,
    /// What is asked: the server itself, or another port of its host, which gets no requests.
    target: Arc<RealServer>,
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
            // Made where a check begins.
            let mut sought = None;
            for (server, said) in pool.configured() {
                let key = (pool.config().name.clone(), server.address().clone());
                let asked = asked(server.address(), said.health_port.or(rules.port));
                let check = match before.remove(&key) {
                    Some(running)
                        if running.rules == *rules
                            && running.told == told
                            && *running.target.address() == asked
                            && !running.task.is_finished() =>
                    {
                        running
                    }
                    _ => {
                        let target = if asked == *server.address() {
                            Arc::clone(server)
                        } else {
                            RealServer::new(server.pool().into(), asked, 1, &Arc::default())
                        };
                        let sought = sought.get_or_insert_with(|| Sought::of(rules)).clone();
                        let checking = Checking {
                            server: Arc::clone(server),
                            target: Arc::clone(&target),
                            rules: rules.clone(),
                            sought,
                            told,
                        };
                        Check {
                            rules: rules.clone(),
                            told,
                            target,
                            task: tokio::spawn(checking.run()),
                        }
                    }
                };
                if !Arc::ptr_eq(&check.target, server) {
                    pool.configure(&check.target, said);
                }
                self.tasks.insert(key, check);
            }
        }
    }
}

/// Where a server is asked: at another port of its host, if one is given.
fn asked(server: &ServerAddress, port: Option<u16>) -> ServerAddress {
    match (server, port) {
        (ServerAddress::Inet(address), Some(port)) => SocketAddr::new(address.ip(), port).into(),
        _ => server.clone(),
    }
}

/// The checks of one server.
struct Checking {
    server: Arc<RealServer>,
    target: Arc<RealServer>,
    rules: Health,
    sought: Option<Sought>,
    told: Option<Told>,
}

impl Checking {
    async fn run(self) {
        let Self {
            server,
            target,
            rules,
            sought,
            told,
        } = self;
        // Servers are not all asked at the same moment.
        tokio::time::sleep(part(rules.interval)).await;
        loop {
            let next = tokio::time::Instant::now()
                + rules.interval.mul_f64(0.95)
                + part(rules.interval / 10);
            let began = tokio::time::Instant::now();
            let result =
                tokio::time::timeout(rules.timeout, probe(&target, &rules, sought.as_ref(), told));
            let result = match result.await {
                Ok(Ok(())) => Some(Ok(())),
                Ok(Err(Failed::Server(what))) => Some(Err(what)),
                Ok(Err(Failed::Here)) => None,
                Err(_) => Some(Err(format!(
                    "timed out after {}",
                    words::time(rules.timeout)
                ))),
            };
            if let Some(result) = result {
                let check = Checked {
                    took: began.elapsed(),
                    result,
                };
                server.checked(check, rules.rise, rules.fall);
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

/// A random part of a duration.
fn part(whole: Duration) -> Duration {
    whole.mul_f64(fastrand::f64())
}
