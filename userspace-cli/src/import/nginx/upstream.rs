// SPDX-License-Identifier: MIT
//! nginx's upstreams as pools.

use std::collections::HashMap;

use super::read::Directive;
use super::words::duration;
use super::words::reason;
use crate::import::rules::Item;
use crate::import::rules::Rules;
use crate::import::toml::Toml;

/// What the place that sends requests to an upstream says of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Towards {
    pub(super) tls: Option<Toml>,
    pub(super) connect_timeout: Option<String>,
    pub(super) protocol: Option<&'static str>,
    pub(super) send_proxy: bool,
    pub(super) retries: Option<Toml>,
    /// Default port of servers.
    pub(super) port: u16,
}

/// The upstreams of a file.
#[derive(Default)]
pub(super) struct Upstreams<'d>(HashMap<&'d str, &'d Directive>);

impl<'d> Upstreams<'d> {
    pub(super) fn new(directives: &'d [Directive]) -> Self {
        let all = directives.iter().filter(|d| d.name == "upstream");
        Self(all.map(|d| (d.word(0), d)).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The pool for an upstream or an address, made where it is not there. Returns its name.
    pub(super) fn pool(&self, name: &str, towards: &Towards, rules: &mut Rules) -> String {
        let mut item = Item::default();
        match self.0.get(name) {
            Some(upstream) => group(upstream, towards, &mut item),
            None => item.set(
                "servers",
                Toml::List(vec![address(name, towards.port).into()]),
            ),
        }
        if let Some(tls) = &towards.tls {
            item.set("tls", tls.clone());
        }
        if let Some(time) = &towards.connect_timeout {
            item.set("connect_timeout", time.as_str());
        }
        if let Some(protocol) = towards.protocol {
            item.set("protocol", protocol);
        }
        if towards.send_proxy {
            item.set("send_proxy", "v1");
        }
        if let Some(retries) = &towards.retries {
            item.set("retries", retries.clone());
        }
        rules.add_pool(&name.replace(':', "-"), item)
    }
}

/// An address of a server, with its port.
pub(super) fn address(text: &str, port: u16) -> String {
    if let Some(path) = text.strip_prefix("unix:") {
        return format!("unix:{}", path.trim_end_matches(':'));
    }
    let has_port = match text.rsplit_once(']') {
        Some((_, after)) => after.starts_with(':'),
        None => text.contains(':'),
    };
    match has_port {
        true => text.to_owned(),
        false => format!("{text}:{port}"),
    }
}

fn group(upstream: &Directive, towards: &Towards, item: &mut Item) {
    item.note(upstream.origin());
    let mut servers = Vec::new();
    let mut scheduler: Toml = "wrr".into();
    let mut passive = None;
    for directive in upstream.inside() {
        let word = directive.word(0);
        let done: Result<(), String> = match directive.name.as_str() {
            "server" => server(directive, towards, &mut servers, &mut passive),
            "least_conn" => {
                scheduler = "wlc".into();
                Ok(())
            }
            "least_time" => {
                scheduler = "fastest".into();
                Ok(())
            }
            "random" => {
                scheduler = "p2c".into();
                Ok(())
            }
            "ip_hash" => {
                scheduler = Toml::table([("name", "mh".into()), ("key", "source".into())]);
                Ok(())
            }
            "hash" => match hashed(word) {
                Some(key) => {
                    let name = if directive.word(1) == "consistent" {
                        "ch"
                    } else {
                        "mh"
                    };
                    scheduler = Toml::table([("name", name.into()), ("key", key)]);
                    Ok(())
                }
                None => Err("this key has no counterpart: wrr is taken".to_owned()),
            },
            "keepalive" => match word.parse() {
                Ok(number) => {
                    item.set("keepalive", Toml::Number(number));
                    Ok(())
                }
                Err(_) => Err("not a number".to_owned()),
            },
            "keepalive_timeout" => match duration(word) {
                Some(time) => {
                    item.set("keepalive_timeout", time);
                    Ok(())
                }
                None => Err("not a duration".to_owned()),
            },
            "zone" | "resolver" | "keepalive_requests" | "keepalive_time" => Ok(()),
            name => Err(reason(name).to_owned()),
        };
        if let Err(why) = done {
            item.note(format!("{}: {why}", directive.origin()));
        }
    }
    item.set("scheduler", scheduler);
    item.set("servers", Toml::List(servers));
    if let Some(passive) = passive {
        item.set("passive", passive);
    }
}

fn hashed(key: &str) -> Option<Toml> {
    let name = key.trim_start_matches('$').trim_matches(['{', '}']);
    Some(match name {
        "request_uri" | "uri" => "path".into(),
        "remote_addr" | "binary_remote_addr" => "source".into(),
        "host" | "http_host" => "host".into(),
        name => {
            let (kind, name) = match name.strip_prefix("cookie_") {
                Some(name) => ("cookie", name.to_owned()),
                None => ("header", name.strip_prefix("http_")?.replace('_', "-")),
            };
            Toml::table([(kind, name.into())])
        }
    })
}

fn server(
    directive: &Directive,
    towards: &Towards,
    servers: &mut Vec<Toml>,
    passive: &mut Option<Toml>,
) -> Result<(), String> {
    let mut server = Toml::Table(Vec::new());
    server.set("address", address(directive.word(0), towards.port).into());
    let mut unknown = Vec::new();
    let mut failures = None;
    let mut eject = None;
    for word in directive.arguments.iter().skip(1) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || {
            value
                .parse::<i64>()
                .map(Toml::Number)
                .map_err(|_| format!("`{value}` is no number"))
        };
        match name {
            "weight" => server.set("weight", number()?),
            "backup" => server.set("backup", Toml::Bool(true)),
            "down" => server.set("drain", Toml::Bool(true)),
            "max_conns" if value == "0" => {}
            "max_conns" => server.set("max_connections", number()?),
            "max_fails" => failures = Some(number()?),
            "fail_timeout" => eject = duration(value),
            "resolve" => {}
            _ => unknown.push(word.as_str()),
        }
    }
    if failures.is_some() || eject.is_some() {
        // nginx's own values where one is not given.
        let failures = failures.unwrap_or(Toml::Number(1));
        let eject = eject.unwrap_or_else(|| "10s".to_owned());
        let wanted = Toml::table([("failures", failures), ("eject", eject.into())]);
        match passive {
            Some(known) if *known != wanted => {
                unknown.push("max_fails and fail_timeout of a server's own")
            }
            _ => *passive = Some(wanted),
        }
    }
    servers.push(match server {
        Toml::Table(entries) if entries.len() == 1 => match entries.into_iter().next() {
            Some((_, address)) => address,
            None => Toml::Table(Vec::new()),
        },
        server => server,
    });
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(format!("without: {}", unknown.join(", "))),
    }
}
