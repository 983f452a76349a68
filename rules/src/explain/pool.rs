// SPDX-License-Identifier: MIT
//! What an explanation says of a pool.

use std::fmt;

use super::Share;
use crate::model::Probe;
use crate::model::ServerProtocol;

impl Share {
    /// The lines of a pool. `total`: the sum of the weights, where it is one of several.
    pub(super) fn fmt(&self, f: &mut fmt::Formatter<'_>, total: Option<u64>) -> fmt::Result {
        write!(f, "pool     {}", self.name)?;
        if let Some(total) = total {
            write!(f, "  {} of {total} requests", self.weight)?;
        }
        let servers: Vec<String> = self.named_servers().collect();
        write!(f, "  scheduler {}: {}", self.scheduler, servers.join(", "))?;
        match &self.fallback {
            Some(name) => writeln!(f, "; otherwise pool {name}")?,
            None => writeln!(f)?,
        }
        self.fmt_speech(f)?;
        self.fmt_checks(f)?;
        if let Some(queue) = &self.queue {
            writeln!(
                f,
                "         where all have as many requests as they may, {} wait for {:?}",
                queue.length, queue.timeout
            )?;
        }
        self.fmt_retries(f)?;
        if let Some(time) = self.slow_start {
            writeln!(f, "         servers that come up start slowly: {time:?}")?;
        }
        Ok(())
    }

    /// The servers, with their weights and bounds.
    fn named_servers(&self) -> impl Iterator<Item = String> {
        let bound = |most: Option<u32>| match most {
            Some(most) => format!(" at most {most}"),
            None => String::new(),
        };
        let known = self.servers.iter().map(move |server| {
            let most = bound(server.max_connections);
            let address = &server.address;
            match (server.drain, server.backup) {
                (true, _) => format!("{address} drained"),
                (false, true) => format!("{address} backup{most}"),
                (false, false) => format!("{address} weight {}{most}", server.weight),
            }
        });
        let named = self
            .names
            .iter()
            .map(|named| match (named.backup, named.port) {
                _ if named.drain => format!("{named} drained"),
                (true, _) => format!("{named} backup"),
                (false, Some(_)) => format!("{named} weight {}", named.weight),
                (false, None) => named.to_string(),
            });
        known.chain(named)
    }

    fn fmt_speech(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let http = match self.protocol {
            ServerProtocol::Http1 => None,
            ServerProtocol::Http2 => Some("HTTP/2"),
            ServerProtocol::Auto => Some("HTTP/2 or HTTP/1"),
        };
        let proxy = self
            .send_proxy
            .map(|version| format!("a PROXY header ({version})"));
        let words = [http, self.tls.then_some("TLS"), proxy.as_deref()];
        let words: Vec<_> = words.into_iter().flatten().collect();
        if words.is_empty() {
            return Ok(());
        }
        writeln!(f, "         servers get {}", words.join(", "))
    }

    fn fmt_checks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(health) = &self.health else {
            return Ok(());
        };
        write!(f, "         checked every {:?} by ", health.interval)?;
        match &health.probe {
            Probe::Tcp => write!(f, "a connection")?,
            Probe::Grpc { service } => write!(f, "gRPC health of {service:?}")?,
            Probe::Http(probe) => {
                let (first, last) = probe.status;
                write!(f, "{} {}: {first}-{last}", probe.method, probe.path)?;
            }
        }
        match health.port {
            Some(port) => writeln!(f, ", port {port}"),
            None => writeln!(f),
        }
    }

    fn fmt_retries(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rule) = &self.retries.rule else {
            return Ok(());
        };
        let words = [
            rule.connect.then_some("connect"),
            rule.reset.then_some("reset"),
            rule.timeout.then_some("timeout"),
        ];
        let words = words.into_iter().flatten().map(str::to_owned);
        let after: Vec<_> = words
            .chain(rule.statuses.iter().map(u16::to_string))
            .collect();
        writeln!(
            f,
            "         sent to {} more after {} ({}), {} % at a time, with at most {} bytes of content",
            self.retries.attempts,
            after.join(", "),
            rule.methods.join(", "),
            rule.budget,
            rule.body_limit
        )
    }
}
