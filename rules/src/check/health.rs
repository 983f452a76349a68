// SPDX-License-Identifier: MIT
//! Checking the active checks of a pool.

use std::time::Duration;

use super::Check;
use super::fields::is_field_value;
use super::fields::is_token;
use super::pool::time;
use crate::automata::Alphabet;
use crate::model::*;
use crate::text::address::ServerAddress;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::source::At;
use crate::text::source::Span;

impl Check<'_> {
    /// The active checks of a pool. Notes ports for checks that have none to go to.
    pub(super) fn health_of(
        &mut self,
        pool: &PoolText,
        protocol: ServerProtocol,
    ) -> Option<Health> {
        let servers = pool.servers.iter().flat_map(|servers| &servers.value.0);
        let mut has_socket = false;
        for At { value, .. } in servers {
            let (address, port) = match value {
                ServerChoice::Address(address) => (Some(address), None),
                ServerChoice::Table(text) => (text.address.as_ref(), text.health_port.as_ref()),
            };
            let is_socket = address.is_some_and(|a| matches!(a.value, ServerAddress::Unix(_)));
            has_socket |= is_socket;
            let Some(port) = port else { continue };
            let wrong = match (is_socket, &pool.health) {
                (true, _) => ("a Unix socket has no port", "remove it"),
                (_, None) => (
                    "`health_port` is for pools with active checks",
                    "add to the pool: health = { tcp = true }",
                ),
                _ => continue,
            };
            self.note(Diagnostic::error("impossible", port.span, wrong.0).help(wrong.1));
        }
        let given = pool.health.as_ref()?;
        if let Some(port) = &given.value.port
            && has_socket
        {
            let message = "a server of this pool is a Unix socket, which has no port";
            self.note(
                Diagnostic::error("impossible", port.span, message)
                    .help("give the servers that have one: health_port = 8081"),
            );
        }
        self.health(given, protocol)
    }

    fn health(&mut self, given: &At<HealthText>, protocol: ServerProtocol) -> Option<Health> {
        let text = &given.value;
        let probe = match (&text.http, text.tcp.unwrap_or(false), &text.grpc) {
            (Some(path), false, None) => Probe::Http(self.http_probe(path, text)?),
            (None, tcp, grpc) if tcp != grpc.is_some() => {
                self.only_for_http(text);
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
                let keys = "http = \"/path\", tcp = true or grpc = \"service\"";
                if text.broken {
                    return None;
                }
                self.exactly_one(given.span, keys);
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
            port: self.port(text.port.as_ref()),
            interval: time(text.interval.as_ref(), Duration::from_secs(2)),
            timeout: time(text.timeout.as_ref(), Duration::from_secs(1)),
            rise: count(self, &text.rise, 2),
            fall: count(self, &text.fall, 3),
        })
    }

    /// A port of a server.
    pub(super) fn port(&mut self, given: Option<&At<i64>>) -> Option<u16> {
        given.and_then(|port| self.number::<u16>(port, 1, 65_535))
    }

    /// Notes keys that say something of a request and its response only.
    fn only_for_http(&mut self, text: &HealthText) {
        let spans: [(&str, Option<Span>); 5] = [
            ("method", text.method.as_ref().map(|x| x.span)),
            ("host", text.host.as_ref().map(|x| x.span)),
            ("headers", text.headers.as_ref().map(|x| x.span)),
            ("status", text.status.as_ref().map(|x| x.span)),
            ("body", text.body.as_ref().map(|x| x.span)),
        ];
        for (key, span) in spans {
            if let Some(span) = span {
                let message = format!("`{key}` is for http checks");
                self.note(Diagnostic::error("impossible", span, message));
            }
        }
    }

    fn http_probe(&mut self, path: &At<String>, text: &HealthText) -> Option<HttpProbe> {
        let raw = path.value.as_str();
        if !raw.starts_with('/') || raw.bytes().any(|b| b <= b' ' || b >= 0x7f || b == b'#') {
            let message = "this is not a request path";
            self.note(
                Diagnostic::error("bad-path", path.span, message).help("write it as \"/healthz\""),
            );
        }
        let method = match &text.method {
            None => "GET".to_owned(),
            Some(method) => self.probe_method(method, text.body.is_some()),
        };
        let mut headers = Vec::new();
        for (name, value) in text.headers.iter().flat_map(|given| &given.value.0) {
            if name.value.eq_ignore_ascii_case("host") {
                let message = "the Host field has a key of its own";
                self.note(
                    Diagnostic::error("bad-name", name.span, message)
                        .help("use: host = \"app.example\""),
                );
                continue;
            }
            if !is_field_value(&value.value) {
                let message =
                    "a field's value has no control characters and no white space at its ends";
                self.note(Diagnostic::error("bad-value", value.span, message));
            }
            headers.extend(
                self.edited_name(name)
                    .map(|name| (name, value.value.clone())),
            );
        }
        let body = match text.body.as_ref().map(|body| (&body.value, body.span)) {
            None => None,
            Some((BodyChoice::Text(text), span)) if text.is_empty() => {
                let message = "every body has an empty text in it";
                self.note(Diagnostic::error("bad-value", span, message));
                return None;
            }
            Some((BodyChoice::Text(text), _)) => Some(BodyTest::Text(text.clone())),
            Some((BodyChoice::Table(table), span)) => match &table.regex {
                Some(pattern) => {
                    self.regex(pattern, Alphabet::Bytes);
                    Some(BodyTest::Regex(pattern.value.clone()))
                }
                None => {
                    let help = "write { regex = \"…\" }, or a plain text";
                    self.missing(
                        table.broken,
                        span,
                        "no expression is given".to_owned(),
                        help,
                    );
                    return None;
                }
            },
        };
        let status = text
            .status
            .as_ref()
            .map_or(Some((200, 399)), |s| self.status(s))?;
        Some(HttpProbe {
            method,
            path: path.value.clone(),
            host: text.host.as_ref().map(|h| h.value.clone()),
            headers,
            status,
            body,
        })
    }

    fn probe_method(&mut self, method: &At<String>, has_body: bool) -> String {
        let word = method.value.as_str();
        let wrong = if !is_token(word) {
            Some(("bad-name", format!("`{word}` is not a method"), ""))
        } else if word.bytes().any(|b| b.is_ascii_lowercase()) {
            let help = "methods are case-sensitive (RFC 9110, 9.1): write it in capitals";
            Some((
                "bad-value",
                "this is no method that servers know".to_owned(),
                help,
            ))
        } else if word == "CONNECT" {
            Some(("bad-value", "CONNECT asks for a tunnel".to_owned(), ""))
        } else if word == "HEAD" && has_body {
            let message = "a response to HEAD has no body (RFC 9110, 9.3.2)".to_owned();
            Some(("impossible", message, "use GET, or remove `body`"))
        } else {
            None
        };
        if let Some((code, message, help)) = wrong {
            let diagnostic = Diagnostic::error(code, method.span, message);
            self.note(match help {
                "" => diagnostic,
                _ => diagnostic.help(help),
            });
        }
        method.value.clone()
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
                // Others write `2xx`.
                let class = match &given.value {
                    StatusChoice::Range(text) => text
                        .to_ascii_lowercase()
                        .strip_suffix("xx")
                        .and_then(|class| class.parse::<u8>().ok()),
                    StatusChoice::Code(_) => None,
                };
                let help = match class {
                    Some(class @ 1..=5) => format!("write \"{class}00-{class}99\""),
                    _ => "write it as 200 or \"200-399\"".to_owned(),
                };
                self.note(Diagnostic::error("bad-value", given.span, message).help(help));
                None
            }
        }
    }
}
