// SPDX-License-Identifier: MIT
//! Checking pools: servers, scheduler, health.

use std::time::Duration;

use super::Check;
use super::fields::is_token;
use super::hosts::Port;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::quantity::Time;
use crate::text::source::At;
use crate::text::source::Span;

pub(super) fn time(given: Option<&Time>, default: Duration) -> Duration {
    given.map_or(default, |t| t.0)
}

impl Check<'_> {
    pub(super) fn pool(&mut self, name: &str, span: Span, text: &At<PoolText>) -> Pool {
        let given = &text.value;
        let passive = Passive::default();
        let bound = self.bound(given.max_connections.as_ref());
        let (servers, names) = match &given.servers {
            Some(servers) if !servers.value.0.is_empty() => self.servers(name, servers, bound),
            list => {
                let help = "add: servers = [\"10.0.0.1:8080\"]";
                self.absent(
                    given.broken,
                    (span, list.as_ref().map(|list| list.span)),
                    format!("pool `{name}` has no servers"),
                    help,
                );
                Default::default()
            }
        };
        let number = |check: &mut Self, given: &Option<At<i64>>, high: i64, default: u32| {
            given
                .as_ref()
                .map_or(Some(default), |n| check.number(n, 0, high))
                .unwrap_or(default)
        };
        let protocol = self.server_protocol(given);
        let tls = given
            .tls
            .as_ref()
            .and_then(|tls| self.server_tls(name, tls));
        if let (Some(text), Some(tls)) = (&given.tls, &tls)
            && tls.verify
            && tls.server_name.is_none()
            && servers.iter().any(|server| server.address.inet().is_none())
        {
            let message = "a Unix socket has no address that a certificate could name";
            self.note(
                Diagnostic::error("impossible", text.span, message)
                    .help("say whom it names: tls = { server_name = \"app.internal\" }"),
            );
        }
        let is_bounded = bound.is_some()
            || servers
                .iter()
                .any(|server| server.max_connections.is_some())
            || names.iter().any(|named| named.max_connections.is_some());
        let queue = self.queue(given.queue.as_ref(), is_bounded);
        let scheduler = self.scheduler(given.scheduler.as_ref());
        let slow_start = self.slow_start(given.slow_start.as_ref(), scheduler.kind);
        let mut pool = Pool {
            name: name.to_owned(),
            scheduler,
            forward: given.forward.map_or_else(Forward::default, |f| f.0),
            send_proxy: given.send_proxy.map(|word| word.0),
            protocol,
            tls,
            servers,
            names,
            drain: given.drain.unwrap_or_default(),
            fallback: None,
            health: self.health_of(given, protocol),
            passive: given.passive.as_ref().map_or(passive, |p| Passive {
                failures: number(self, &p.failures, 1000, passive.failures),
                eject: time(p.eject.as_ref(), passive.eject),
            }),
            connect_timeout: time(given.connect_timeout.as_ref(), Duration::from_secs(2)),
            response_timeout: time(given.response_timeout.as_ref(), Duration::from_secs(60)),
            retries: self.retries(given.retries.as_ref()),
            queue,
            slow_start,
            keepalive: usize::try_from(number(self, &given.keepalive, 100_000, 128)).unwrap_or(128),
            keepalive_timeout: time(given.keepalive_timeout.as_ref(), Duration::from_secs(30)),
        };
        pool.drain();
        pool
    }

    fn server_protocol(&mut self, given: &PoolText) -> ServerProtocol {
        let Some(At { value, span }) = &given.protocol else {
            return ServerProtocol::default();
        };
        let has_tls = given
            .tls
            .as_ref()
            .is_some_and(|tls| !matches!(tls.value, ServerTlsChoice::On(false)));
        if value.0 == ServerProtocol::Auto && !has_tls {
            let message = "in clear text a server cannot offer a protocol";
            self.note(
                Diagnostic::error("impossible", *span, message)
                    .help("write \"http1\" or \"http2\", or add: tls = true"),
            );
        }
        value.0
    }

    fn server_tls(&mut self, pool: &str, given: &At<ServerTlsChoice>) -> Option<ServerTls> {
        let mut tls = ServerTls {
            ca: None,
            server_name: None,
            verify: true,
            certificate: None,
        };
        let text = match &given.value {
            ServerTlsChoice::On(false) => return None,
            ServerTlsChoice::On(true) => return Some(tls),
            ServerTlsChoice::Table(text) => text,
        };
        if let Some(verify) = &text.verify
            && !verify.value
        {
            tls.verify = false;
            let message = format!(
                "the certificates of pool `{pool}` are not verified: anybody can pose as its servers"
            );
            self.note(
                Diagnostic::warning("no-verify", verify.span, message)
                    .help("give the authority that signed them: ca = \"ca.pem\""),
            );
            if let Some(ca) = &text.ca {
                let message = "`ca` has no effect with verify = false";
                self.note(Diagnostic::error("impossible", ca.span, message));
            }
        }
        tls.ca = text.ca.as_ref().map(|ca| self.file(ca));
        tls.server_name = text
            .server_name
            .as_ref()
            .and_then(|name| self.hostname(name, Port::None));
        if let Some(given) = &text.certificate {
            if let Some(ocsp) = &given.value.ocsp {
                let message = "an OCSP response is stapled to certificates of services only";
                self.note(Diagnostic::error("impossible", ocsp.span, message));
            }
            tls.certificate = self.certificate(given);
        }
        Some(tls)
    }

    fn scheduler(&mut self, given: Option<&SchedulerChoice>) -> Scheduler {
        let plain = |kind| Scheduler {
            kind,
            key: HashKey::default(),
            load_percent: 125,
        };
        let text = match given {
            None => return plain(SchedulerKind::Wlc),
            Some(SchedulerChoice::Word(word)) => return plain(word.0),
            Some(SchedulerChoice::Table(text)) => text,
        };
        let kind = text.name.as_ref().map_or(SchedulerKind::Wlc, |n| n.value.0);
        let mut scheduler = plain(kind);
        let places = [
            text.key.as_ref().map(|k| k.span),
            text.load.as_ref().map(|l| l.span),
        ];
        if text.name.is_none() {
            if let Some(span) = places.into_iter().flatten().next() {
                self.missing(
                    text.broken,
                    span,
                    "the scheduler has no name".to_owned(),
                    "add: name = \"mh\"",
                );
            }
            return scheduler;
        }
        if let Some(key) = &text.key {
            if !kind.hashes() {
                let message = format!("scheduler {} does not hash", kind.as_str());
                self.note(
                    Diagnostic::error("impossible", key.span, message)
                        .help("`key` is for sh, mh and ch"),
                );
            }
            scheduler.key = self.hash_key(key);
        }
        if let Some(load) = &text.load {
            if kind != SchedulerKind::Ch {
                let message = format!("scheduler {} does not bound the load", kind.as_str());
                self.note(
                    Diagnostic::error("impossible", load.span, message).help("`load` is for ch"),
                );
            }
            if load.value != 0 {
                scheduler.load_percent = self.number(load, 101, 10_000).unwrap_or(125);
            } else {
                scheduler.load_percent = 0;
            }
        }
        scheduler
    }

    fn hash_key(&mut self, key: &At<KeyChoice>) -> HashKey {
        let table = match &key.value {
            KeyChoice::Word(KeyWord::Source) => return HashKey::Source,
            KeyChoice::Word(KeyWord::Path) => return HashKey::Path,
            KeyChoice::Word(KeyWord::Host) => return HashKey::Host,
            KeyChoice::Table(table) => table,
        };
        self.named_key(key.span, table).unwrap_or_default()
    }

    /// A key that is a header field or a cookie.
    pub(super) fn named_key(&mut self, span: Span, table: &KeyText) -> Option<HashKey> {
        let name = match (&table.header, &table.cookie) {
            (Some(name), None) | (None, Some(name)) => name,
            _ => {
                self.exactly_one(span, "header or cookie");
                return None;
            }
        };
        if !is_token(&name.value) {
            let message = format!("`{}` is not a field or cookie name", name.value);
            self.note(Diagnostic::error("bad-name", name.span, message));
        }
        Some(if table.header.is_some() {
            HashKey::Header(name.value.to_ascii_lowercase())
        } else {
            HashKey::Cookie(name.value.clone())
        })
    }
}
