// SPDX-License-Identifier: MIT
//! HAProxy's backends as pools.

use super::read::Line;
use super::read::Section;
use super::words::duration;
use super::words::reason;
use crate::import::rules::Item;
use crate::import::rules::Rules;
use crate::import::toml::Toml;

/// What a backend is besides its pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Backend {
    /// Its pool; absent: it has no server.
    pub(super) pool: Option<String>,
    /// The cookie by which clients stay.
    pub(super) cookie: Option<(String, Option<String>)>,
    pub(super) tunnel: Option<String>,
}

/// Where lines stand, in messages.
pub(super) fn at(file: &str, line: &Line) -> String {
    format!("{file}:{}: {}", line.number, line.words.join(" "))
}

/// Makes the pool of a section that has servers.
pub(super) fn backend(file: &str, section: &Section, rules: &mut Rules) -> Backend {
    let mut made = Backend::default();
    let mut pool = Pool {
        item: Item::default(),
        servers: Vec::new(),
        checked: false,
        health: Toml::Table(Vec::new()),
        tls: Vec::new(),
        bad: None,
        default: Vec::new(),
        queue: None,
    };
    pool.item.note(format!(
        "{file}:{}: {} {}",
        section.number, section.word, section.name
    ));
    for line in &section.lines {
        let here = at(file, line);
        let done = match line.word(0) {
            "balance" => pool.balance(line),
            "hash-type" => {
                if line.word(1) == "consistent"
                    && let Some(scheduler) = pool.item.get("scheduler").cloned()
                {
                    let mut scheduler = scheduler;
                    scheduler.set("name", "ch".into());
                    if scheduler.get("key").is_some() {
                        pool.item.set("scheduler", scheduler);
                    }
                }
                Ok(())
            }
            "default-server" => {
                pool.default.extend(line.from(1).iter().cloned());
                Ok(())
            }
            "server" | "server-template" => {
                let template = line.word(0) == "server-template";
                let address = line.word(if template { 3 } else { 2 });
                let words = line.from(if template { 4 } else { 3 });
                pool.server(address, words)
            }
            "option" => match line.word(1) {
                "httpchk" => {
                    let (method, path) = match line.word(3) {
                        "" if line.word(2).is_empty() => ("OPTIONS", "/"),
                        "" => ("OPTIONS", line.word(2)),
                        path => (line.word(2), path),
                    };
                    pool.health.set("http", path.into());
                    if method != "GET" {
                        pool.health.set("method", method.into());
                    }
                    Ok(())
                }
                "tcp-check" | "redispatch" | "tcpka" | "srvtcpka" => Ok(()),
                "ssl-hello-chk" | "ldap-check" | "mysql-check" | "pgsql-check" | "redis-check"
                | "smtpchk" => Err("a check by connecting is made: { tcp = true }".to_owned()),
                _ => continue,
            },
            "http-check" => pool.http_check(line),
            "timeout" => match (line.word(1), duration(line.word(2))) {
                (_, None) => Err("not a duration".to_owned()),
                ("connect", Some(time)) => pool.set("connect_timeout", time),
                ("server", Some(time)) => pool.set("response_timeout", time),
                ("check", Some(time)) => {
                    pool.health.set("timeout", time.into());
                    Ok(())
                }
                ("queue", Some(time)) => {
                    pool.queue = Some(time);
                    Ok(())
                }
                ("tunnel", Some(time)) => {
                    made.tunnel = Some(time);
                    Ok(())
                }
                _ => continue,
            },
            "retries" => match line.word(1).parse::<i64>() {
                Ok(number) => {
                    pool.item.set("retries", Toml::Number(number));
                    Ok(())
                }
                Err(_) => Err("not a number".to_owned()),
            },
            "cookie" => {
                let insert = line.words.iter().any(|word| word == "insert");
                let age = line.words.iter().position(|word| word == "maxlife");
                let age = age.and_then(|at| duration(line.word(at + 1)));
                match insert {
                    true => {
                        made.cookie = Some((line.word(1).to_owned(), age));
                        Ok(())
                    }
                    false => {
                        Err("only cookies that are inserted have a counterpart (sticky)".to_owned())
                    }
                }
            }
            _ => continue,
        };
        match done {
            Ok(()) if !line.inherited => rules.translated += 1,
            Ok(()) => {}
            Err(why) => {
                rules.left += 1;
                pool.item.note(format!("{here}: {why}"));
            }
        }
    }
    if section
        .lines
        .iter()
        .any(|line| line.word(0) == "server" || line.word(0) == "server-template")
        && let Some(item) = pool.finish()
    {
        made.pool = Some(rules.add_pool(&section.name, item));
    }
    made
}

struct Pool {
    item: Item,
    servers: Vec<Toml>,
    checked: bool,
    health: Toml,
    /// TLS of each server.
    tls: Vec<Option<Toml>>,
    /// Why no server may be asked.
    bad: Option<String>,
    default: Vec<String>,
    /// How long requests wait for a server with a bound.
    queue: Option<String>,
}

impl Pool {
    fn set(&mut self, key: &'static str, value: impl Into<Toml>) -> Result<(), String> {
        self.item.set(key, value);
        Ok(())
    }

    fn balance(&mut self, line: &Line) -> Result<(), String> {
        let (word, argument) = match line.word(1).split_once('(') {
            Some((word, argument)) => (word, argument.trim_end_matches(')')),
            None => (line.word(1), ""),
        };
        let keyed = |key: Toml| Toml::table([("name", "mh".into()), ("key", key)]);
        let scheduler = match word {
            "roundrobin" | "static-rr" => "wrr".into(),
            "leastconn" => "wlc".into(),
            "random" => "p2c".into(),
            "source" => keyed("source".into()),
            "uri" => keyed("path".into()),
            "hdr" if argument.eq_ignore_ascii_case("host") => keyed("host".into()),
            "hdr" => keyed(Toml::table([("header", argument.into())])),
            other => return Err(format!("{other} has no counterpart: wlc is taken")),
        };
        self.set("scheduler", scheduler)
    }

    fn http_check(&mut self, line: &Line) -> Result<(), String> {
        let mut words = line.from(2).iter().map(String::as_str);
        match line.word(1) {
            "send" => {
                while let Some(word) = words.next() {
                    let value = words.next().unwrap_or_default();
                    match word {
                        "meth" => self.health.set("method", value.into()),
                        "uri" => self.health.set("http", value.into()),
                        "hdr" => {
                            let text = words.next().unwrap_or_default();
                            if value.eq_ignore_ascii_case("host") {
                                self.health.set("host", text.into());
                            } else {
                                let mut headers = self
                                    .health
                                    .get("headers")
                                    .cloned()
                                    .unwrap_or(Toml::Table(Vec::new()));
                                headers.set(value, text.into());
                                self.health.set("headers", headers);
                            }
                        }
                        "ver" => {}
                        other => return Err(format!("`{other}` has no counterpart")),
                    }
                }
                Ok(())
            }
            "expect" => {
                let (word, value) = (line.word(2), line.word(3));
                match (word, value.parse::<i64>()) {
                    ("status", Ok(status)) => self.health.set("status", Toml::Number(status)),
                    ("status", Err(_)) => self.health.set("status", value.into()),
                    ("string", _) => self.health.set("body", value.into()),
                    ("rstring", _) => self
                        .health
                        .set("body", Toml::table([("regex", value.into())])),
                    ("rstatus", _) if value == "(2|3)[0-9][0-9]" || value == "^[23]" => {}
                    _ => {
                        return Err("only status, string and rstring have a counterpart".to_owned());
                    }
                }
                Ok(())
            }
            _ => Err(reason(&line.words).to_owned()),
        }
    }

    /// Adds a server.
    fn server(&mut self, address: &str, words: &[String]) -> Result<(), String> {
        let words: Vec<String> = self.default.iter().chain(words).cloned().collect();
        let mut unknown = Vec::new();
        let mut server = Toml::Table(Vec::new());
        let stripped = ["ipv4@", "ipv6@"]
            .iter()
            .find_map(|kind| address.strip_prefix(kind));
        let address = match (stripped, address.strip_prefix("unix@")) {
            (Some(address), _) => address.to_owned(),
            (None, Some(path)) => format!("unix:{path}"),
            (None, None) if address.starts_with('/') => format!("unix:{address}"),
            (None, None) => address.to_owned(),
        };
        server.set("address", address.into());
        let mut tls = false;
        let mut towards = Toml::Table(Vec::new());
        let mut verify = "required";
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            match word {
                "check" => self.checked = true,
                "no-check" => self.checked = false,
                "weight" => server.set("weight", number(value())?),
                "backup" => server.set("backup", Toml::Bool(true)),
                "disabled" => server.set("drain", Toml::Bool(true)),
                "maxconn" => match value().parse::<i64>() {
                    Ok(0) => {}
                    Ok(most) => server.set("max_connections", Toml::Number(most)),
                    Err(_) => return Err("maxconn is no number".to_owned()),
                },
                "port" => server.set("health_port", number(value())?),
                "inter" => {
                    let time = duration(value()).ok_or("inter is no duration")?;
                    self.health.set("interval", time.into());
                }
                "rise" => self.health.set("rise", number(value())?),
                "fall" => self.health.set("fall", number(value())?),
                "slowstart" => {
                    let time = duration(value()).ok_or("slowstart is no duration")?;
                    self.item.set("slow_start", time);
                }
                "send-proxy" => self.item.set("send_proxy", "v1"),
                "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                    self.item.set("send_proxy", "v2");
                }
                "ssl" => tls = true,
                "no-ssl" => tls = false,
                "verify" => {
                    verify = if value() == "none" {
                        "none"
                    } else {
                        "required"
                    }
                }
                "ca-file" => match value() {
                    "@system-ca" => {}
                    file => towards.set("ca", file.into()),
                },
                "crt" => {
                    let file = value();
                    towards.set(
                        "certificate",
                        Toml::table([("cert", file.into()), ("key", file.into())]),
                    );
                }
                "verifyhost" => towards.set("server_name", value().into()),
                "sni" => {
                    let sni = value();
                    let text = sni
                        .strip_prefix("str(")
                        .and_then(|rest| rest.strip_suffix(')'));
                    match text {
                        Some(name) if towards.get("server_name").is_none() => {
                            towards.set("server_name", name.into())
                        }
                        Some(_) => {}
                        None => unknown.push(format!("sni {sni}")),
                    }
                }
                "alpn" => {
                    let offered = value();
                    if offered.contains("h2") {
                        self.item.set(
                            "protocol",
                            if offered.contains("http/1.1") {
                                "auto"
                            } else {
                                "http2"
                            },
                        );
                    }
                }
                "proto" => {
                    if value() == "h2" {
                        self.item.set("protocol", "http2");
                    }
                }
                // Known by the cookie that the switch makes itself.
                "cookie" => drop(value()),
                // Names are always resolved, again and again.
                "resolvers" | "init-addr" | "resolve-prefer" | "id" => drop(value()),
                "check-ssl" | "observe-layer7" | "stick" | "non-stick" => {}
                "ciphers" | "ciphersuites" | "ssl-min-ver" | "ssl-max-ver" | "crl-file"
                | "on-error" | "on-marked-down" | "on-marked-up" | "observe" | "error-limit"
                | "fastinter" | "downinter" | "addr" | "track" | "minconn" | "maxqueue"
                | "pool-max-conn" | "pool-purge-delay" | "pool-low-conn" | "agent-port"
                | "agent-addr" | "agent-inter" | "check-sni" | "check-alpn" | "check-proto"
                | "source" | "tfo" | "namespace" | "redir" => {
                    if word == "crl-file" {
                        self.bad =
                            Some("crl-file: revocation lists for servers are not read".to_owned());
                    }
                    unknown.push(format!("{word} {}", value()));
                }
                other => unknown.push(other.to_owned()),
            }
        }
        let tls = tls.then(|| {
            if verify == "none" {
                towards.set("verify", Toml::Bool(false));
            }
            match towards == Toml::Table(Vec::new()) {
                true => Toml::Bool(true),
                false => towards,
            }
        });
        self.tls.push(tls);
        self.servers.push(match &server {
            Toml::Table(entries) => match entries.as_slice() {
                [(_, address)] => address.clone(),
                _ => server,
            },
            _ => server,
        });
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(format!("without: {}", unknown.join(", "))),
        }
    }

    fn finish(mut self) -> Option<Item> {
        let first = self.tls.first().cloned().flatten();
        if self.tls.iter().any(|tls| *tls != first) {
            self.bad = Some("servers with different `ssl` need pools of their own".to_owned());
        }
        if let Some(tls) = first {
            self.item.set("tls", tls);
        }
        let servers = std::mem::take(&mut self.servers);
        let bounded = servers
            .iter()
            .any(|server| server.get("max_connections").is_some());
        if let Some(time) = self.queue.filter(|_| bounded) {
            self.item.set_in("queue", "timeout", time);
        }
        self.item.set("servers", Toml::List(servers));
        if self.checked {
            if self.health.get("http").is_none() {
                for key in ["http", "method", "host", "headers", "status", "body"] {
                    if let Toml::Table(entries) = &mut self.health {
                        entries.retain(|(known, _)| known != key);
                    }
                }
                self.health.set("tcp", Toml::Bool(true));
            }
            self.item.set("health", self.health);
        }
        if let Some(why) = self.bad {
            self.item.note(why);
            self.item.dead = true;
        }
        Some(self.item)
    }
}

fn number(text: &str) -> Result<Toml, String> {
    let number = text.parse::<i64>().map(Toml::Number);
    number.map_err(|_| format!("`{text}` is no number"))
}
