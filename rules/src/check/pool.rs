// SPDX-License-Identifier: MIT
//! Checking pools: servers, scheduler, health.

use std::time::Duration;

use super::Check;
use super::fields::is_token;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::Time;

fn time(given: Option<&Time>, default: Duration) -> Duration {
    given.map_or(default, |t| t.0)
}

impl Check<'_> {
    pub(super) fn pool(&mut self, name: &str, span: Span, text: &At<PoolText>) -> Pool {
        let given = &text.value;
        let passive = Passive::default();
        let (servers, names) = match &given.servers {
            Some(servers) => self.servers(name, servers),
            None => {
                let help = "add: servers = [\"10.0.0.1:8080\"]";
                self.missing(
                    given.broken,
                    span,
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
        Pool {
            name: name.to_owned(),
            scheduler: self.scheduler(given.scheduler.as_ref()),
            forward: given.forward.map_or_else(Forward::default, |f| f.0),
            send_proxy: given.send_proxy.map(|word| word.0),
            protocol,
            tls: given
                .tls
                .as_ref()
                .and_then(|tls| self.server_tls(name, tls)),
            servers,
            names,
            fallback: None,
            health: given.health.as_ref().and_then(|h| self.health(h, protocol)),
            passive: given.passive.as_ref().map_or(passive, |p| Passive {
                failures: number(self, &p.failures, 1000, passive.failures),
                eject: time(p.eject.as_ref(), passive.eject),
            }),
            connect_timeout: time(given.connect_timeout.as_ref(), Duration::from_secs(2)),
            response_timeout: time(given.response_timeout.as_ref(), Duration::from_secs(60)),
            retries: number(self, &given.retries, 100, 2),
            keepalive: usize::try_from(number(self, &given.keepalive, 100_000, 128)).unwrap_or(128),
            keepalive_timeout: time(given.keepalive_timeout.as_ref(), Duration::from_secs(30)),
        }
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
        tls.ca = text
            .ca
            .as_ref()
            .map(|ca| self.folder(ca.span).join(&ca.value));
        tls.server_name = text
            .server_name
            .as_ref()
            .and_then(|name| self.hostname(name));
        if let Some(At { value, span }) = &text.certificate {
            match (&value.cert, &value.key) {
                (Some(cert), Some(key)) => {
                    tls.certificate = Some(Certificate {
                        cert: self.folder(cert.span).join(&cert.value),
                        key: self.folder(key.span).join(&key.value),
                    });
                }
                _ => self.missing(
                    value.broken,
                    *span,
                    "a certificate needs `cert` and `key`".to_owned(),
                    "give both as paths of PEM files",
                ),
            }
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

    fn health(&mut self, given: &At<HealthText>, protocol: ServerProtocol) -> Option<Health> {
        let text = &given.value;
        let probe = match (&text.http, text.tcp.unwrap_or(false), &text.grpc) {
            (Some(path), false, None) => {
                let raw = path.value.as_str();
                if !raw.starts_with('/') || raw.bytes().any(|b| b <= b' ' || b >= 0x7f || b == b'#')
                {
                    let message = "this is not a request path";
                    self.note(
                        Diagnostic::error("bad-path", path.span, message)
                            .help("write it as \"/healthz\""),
                    );
                }
                Probe::Http {
                    path: path.value.clone(),
                    host: text.host.as_ref().map(|h| h.value.clone()),
                    status: text
                        .status
                        .as_ref()
                        .map_or(Some((200, 399)), |s| self.status(s))?,
                }
            }
            (None, tcp, grpc) if tcp != grpc.is_some() => {
                let http_only = [
                    text.host.as_ref().map(|h| ("host", h.span)),
                    text.status.as_ref().map(|s| ("status", s.span)),
                ];
                for (key, span) in http_only.into_iter().flatten() {
                    let message = format!("`{key}` is for http checks");
                    self.note(Diagnostic::error("impossible", span, message));
                }
                match grpc {
                    None => Probe::Tcp,
                    Some(grpc) => {
                        if protocol == ServerProtocol::Http1 {
                            let message = "gRPC needs HTTP/2 towards the servers";
                            self.note(
                                Diagnostic::error("impossible", grpc.span, message)
                                    .help("add to the pool: protocol = \"http2\""),
                            );
                        }
                        Probe::Grpc {
                            service: grpc.value.clone(),
                        }
                    }
                }
            }
            _ => {
                self.exactly_one(
                    given.span,
                    "http = \"/path\", tcp = true or grpc = \"service\"",
                );
                return None;
            }
        };
        if let Some(host) = &text.host {
            let mut buf = [0; l7switch_engine::uri::MAX_HOST];
            if l7switch_engine::uri::host(host.value.as_bytes(), &mut buf).is_err() {
                let message = format!("`{}` is not a host name", host.value);
                self.note(Diagnostic::error("bad-value", host.span, message));
            }
        }
        let count = |check: &mut Self, given: &Option<At<i64>>, default: u32| {
            given
                .as_ref()
                .map_or(Some(default), |n| check.number(n, 1, 1000))
                .unwrap_or(default)
        };
        Some(Health {
            probe,
            interval: time(text.interval.as_ref(), Duration::from_secs(2)),
            timeout: time(text.timeout.as_ref(), Duration::from_secs(1)),
            rise: count(self, &text.rise, 2),
            fall: count(self, &text.fall, 3),
        })
    }

    fn status(&mut self, given: &At<StatusChoice>) -> Option<(u16, u16)> {
        let range = match &given.value {
            StatusChoice::Code(code) => u16::try_from(*code).ok().map(|c| (c, c)),
            StatusChoice::Range(text) => {
                let (low, high) = text.split_once('-').unwrap_or((text, text));
                low.parse().ok().zip(high.parse().ok())
            }
        };
        match range {
            Some((low, high)) if (100..=599).contains(&low) && low <= high && high <= 599 => range,
            _ => {
                let message = "this is not a status code or a range of status codes";
                self.note(
                    Diagnostic::error("bad-value", given.span, message)
                        .help("write it as 200 or \"200-399\""),
                );
                None
            }
        }
    }
}
