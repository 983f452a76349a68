// SPDX-License-Identifier: MIT
//! HAProxy's `bind` lines: addresses, TLS, certificates.

use std::path::Path;

use super::read::Line;
use crate::import::rules::Item;
use crate::import::toml::Toml;

/// What is common to addresses of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bind {
    pub(super) tls: bool,
    certificates: Vec<String>,
    client_ca: Option<String>,
    client_crl: Option<String>,
    client_optional: bool,
    min_version: Option<&'static str>,
    accept_proxy: bool,
    /// Why nobody may be served.
    pub(super) closed: Option<String>,
}

impl Bind {
    /// Reads a line: the settings, the addresses, and what is left out.
    ///
    /// # Errors
    ///
    /// No address has a counterpart.
    pub(super) fn read(line: &Line) -> Result<(Self, Vec<String>, Vec<String>), String> {
        let mut bind = Self::default();
        let mut notes = Vec::new();
        let mut words = line.from(2).iter().map(String::as_str);
        let mut both = false;
        let mut verify = "none";
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            match word {
                "ssl" => bind.tls = true,
                "crt" => bind.certificates.extend(certificates(value())),
                "ca-file" => bind.client_ca = Some(value().to_owned()),
                "crl-file" => bind.client_crl = Some(value().to_owned()),
                "verify" => verify = value(),
                "ssl-min-ver" => match value() {
                    "TLSv1.3" => bind.min_version = Some("1.3"),
                    _ => bind.min_version = None,
                },
                "force-tlsv13" => bind.min_version = Some("1.3"),
                "accept-proxy" => bind.accept_proxy = true,
                "v4v6" => both = true,
                "v6only" | "transparent" | "tfo" | "defer-accept" | "no-sslv3" | "no-tlsv10"
                | "no-tlsv11" | "no-tls-tickets" => {}
                "alpn" | "npn" | "name" | "id" | "backlog" | "process" | "thread" | "shards"
                | "proto" => drop(value()),
                "crt-list" => {
                    let list = value();
                    bind.closed = Some(format!(
                        "crt-list {list}: name each certificate in `certificates`"
                    ));
                }
                "ca-verify-file" | "ca-sign-file" | "crt-ignore-err" | "ca-ignore-err" => {
                    let list = value();
                    bind.closed = Some(format!("{word} {list}: there is no counterpart"));
                }
                "ciphers" | "ciphersuites" | "curves" | "ecdhe" | "maxconn" | "ssl-max-ver"
                | "mode" | "user" | "group" | "uid" | "gid" | "interface" | "level" | "mss"
                | "namespace" | "nice" | "severity-output" | "tcp-ut" | "tls-ticket-keys" => {
                    notes.push(format!("{word} {}: there is no counterpart", value()));
                }
                other => notes.push(format!("{other}: there is no counterpart")),
            }
        }
        match verify {
            "none" => (bind.client_ca, bind.client_crl) = (None, None),
            "optional" => bind.client_optional = true,
            _ => {}
        }
        if verify != "none" && bind.client_ca.is_none() {
            bind.closed = Some("verify without ca-file".to_owned());
        }
        let mut addresses = Vec::new();
        for text in line.word(1).split(',') {
            addresses.extend(address(text, both)?);
        }
        match addresses.is_empty() {
            true => Err("no address".to_owned()),
            false => Ok((bind, addresses, notes)),
        }
    }

    /// The keys of the service.
    pub(super) fn keys(&self, item: &mut Item) {
        if self.tls {
            let one = |file: &String| {
                Toml::table([
                    ("cert", file.as_str().into()),
                    ("key", file.as_str().into()),
                ])
            };
            let all = self.certificates.iter().map(one).collect();
            item.set("certificates", Toml::List(all));
        }
        if let Some(version) = self.min_version {
            item.set("tls", Toml::table([("min_version", version.into())]));
        }
        if let Some(ca) = &self.client_ca {
            item.set_in("client_certificates", "ca", ca.as_str());
            if let Some(crl) = &self.client_crl {
                item.set_in("client_certificates", "crl", crl.as_str());
            }
            if self.client_optional {
                item.set_in("client_certificates", "required", Toml::Bool(false));
            }
        }
        if self.accept_proxy {
            item.set("accept_proxy", Toml::Bool(true));
        }
    }
}

/// The files of `crt`: of a folder, those that are in it.
fn certificates(path: &str) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(Path::new(path)) else {
        return vec![path.to_owned()];
    };
    let files = folder.flatten().map(|entry| entry.path());
    let hidden = ["key", "issuer", "ocsp", "sctl", "dh"];
    let is_one = |file: &std::path::PathBuf| {
        let kind = file.extension().and_then(|kind| kind.to_str());
        file.is_file() && !kind.is_some_and(|kind| hidden.contains(&kind))
    };
    let mut files: Vec<String> = files
        .filter(is_one)
        .map(|file| file.display().to_string())
        .take(10_000)
        .collect();
    files.sort();
    match files.is_empty() {
        true => vec![path.to_owned()],
        false => files,
    }
}

fn address(text: &str, both: bool) -> Result<Vec<String>, String> {
    let text = ["ipv4@", "ipv6@"]
        .iter()
        .find_map(|kind| text.strip_prefix(kind))
        .unwrap_or(text);
    if text.starts_with('/') || text.contains('@') {
        return Err("only addresses can be listened on".to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or("an address has no port")?;
    if port.parse::<u16>().is_err() {
        return Err(format!("{port}: one port for each address is wanted"));
    }
    Ok(match host {
        "" | "*" | "0.0.0.0" => vec![format!("0.0.0.0:{port}")],
        "::" | "[::]" if both => vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")],
        "localhost" => vec![format!("127.0.0.1:{port}")],
        host if host.contains(':') => vec![format!("[{}]:{port}", host.trim_matches(['[', ']']))],
        host => vec![format!("{host}:{port}")],
    })
}
