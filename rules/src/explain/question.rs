// SPDX-License-Identifier: MIT
//! The question: a request as an administrator describes it, and the service that it leads to.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use l7switch_engine::form::Buffers;
use l7switch_engine::form::FormError;
use l7switch_engine::form::SentTarget;
use l7switch_engine::tls::check_server_name;
use l7switch_engine::uri;

use crate::compile::allow;
use crate::evaluate::Ask;
use crate::evaluate::Fields;
use crate::model::*;

/// A request as an administrator describes it.
#[derive(Clone, Debug)]
pub struct Question {
    /// A URL (`http`, `https`; `tls` or `tcp` with an authority only), or a path with `Host` in `headers`.
    pub url: String,
    /// Method; `GET` unless given.
    pub method: Option<String>,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The client's address; 192.0.2.1 (RFC 5737) unless given.
    pub source: Option<IpAddr>,
    /// TLS server name; the URL's host unless given.
    pub sni: Option<String>,
    /// Service, where the URL does not tell.
    pub service: Option<String>,
}

/// Why there is no explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionError {
    text: String,
    services: Vec<String>,
}

impl QuestionError {
    /// What is wrong, without the names of the services.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the question makes sense and leads to no service: the names of all that there are; otherwise empty.
    pub fn services(&self) -> &[String] {
        &self.services
    }
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.services.as_slice() {
            [] => Ok(()),
            names => write!(f, "; there are: {}", names.join(", ")),
        }
    }
}

impl std::error::Error for QuestionError {}

fn wrong<T>(message: impl Into<String>) -> Result<T, QuestionError> {
    Err(QuestionError {
        text: message.into(),
        services: Vec::new(),
    })
}

/// A URL taken apart, its fragment left away: that is never sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Url<'a> {
    /// `http`, `https`, `tls` or `tcp`; absent where there is but a path.
    pub scheme: Option<&'a str>,
    /// Host, and port if one is given.
    pub authority: &'a str,
    /// Path and query, as they are sent.
    pub target: &'a str,
    path: &'a str,
    query: &'a str,
}

/// Takes a URL or a path apart.
///
/// # Errors
///
/// [`QuestionError`] for what is neither, for another scheme, white space or control characters, a port that is none, and a path
/// with non-ASCII characters.
pub fn split_url(url: &str) -> Result<Url<'_>, QuestionError> {
    if url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return wrong(format!(
            "`{}` contains white space or control characters: write them as %XX",
            url.escape_debug()
        ));
    }
    // A path may have a URL in its query.
    let is_path = url.starts_with('/') || url == "*";
    let (scheme, authority, rest) = match url.split_once("://") {
        _ if is_path => (None, "", url),
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            (Some(scheme), authority, rest)
        }
        None => {
            return wrong(format!(
                "`{url}` is neither a URL nor a path: write http://{url}"
            ));
        }
    };
    if !matches!(scheme, None | Some("http" | "https" | "tls" | "tcp")) {
        return wrong(format!(
            "scheme `{}` is not one of http, https, tls, tcp",
            scheme.unwrap_or("")
        ));
    }
    let target = rest.split('#').next().unwrap_or(rest);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.is_ascii() {
        return wrong("the path has non-ASCII characters: write them as %XX");
    }
    uri::split_port(authority.as_bytes())
        .or_else(|error| wrong(format!("`{authority}`: {error}")))?;
    Ok(Url {
        scheme,
        authority,
        target,
        path,
        query,
    })
}

fn protocols(scheme: Option<&str>) -> &'static [Protocol] {
    match scheme {
        Some("https") => &[Protocol::Https, Protocol::Tls],
        Some("tls") => &[Protocol::Tls],
        Some("tcp") => &[Protocol::Tcp],
        Some(_) => &[Protocol::Http],
        None => &[Protocol::Http, Protocol::Https],
    }
}

/// The service that a URL leads to, and how that is known.
pub(super) fn find_service<'m>(
    model: &'m Model,
    url: &Url<'_>,
    name: Option<&str>,
) -> Result<(usize, &'m Service, String), QuestionError> {
    let names = |services: &[(usize, &Service)]| {
        services
            .iter()
            .map(|(_, s)| s.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let all: Vec<(usize, &Service)> = model.services.iter().enumerate().collect();
    let nowhere = |text: String| {
        let services = model.services.iter().map(|service| service.name.clone());
        Err(QuestionError {
            text,
            services: services.collect(),
        })
    };
    if let Some(name) = name {
        return match all.iter().find(|(_, s)| s.name == name) {
            Some((number, service)) => Ok((*number, service, "named".to_owned())),
            None => nowhere(format!("there is no service `{name}`")),
        };
    }
    let spoken = protocols(url.scheme);
    let fitting: Vec<(usize, &Service)> = all
        .iter()
        .copied()
        .filter(|(_, s)| spoken.contains(&s.protocol))
        .collect();
    let (host, port) = uri::split_port(url.authority.as_bytes())
        .or_else(|error| wrong(format!("`{}`: {error}", url.authority)))?;
    let default_port = if url.scheme.is_some_and(|s| s == "https" || s == "tls") {
        443
    } else {
        80
    };
    let port = port.unwrap_or(default_port);
    if url.scheme.is_some() {
        let address = std::str::from_utf8(host)
            .ok()
            .map(|h| h.trim_matches(['[', ']']));
        let address = address.and_then(|h| h.parse::<IpAddr>().ok());
        let by_port: Vec<(usize, &Service)> = fitting
            .iter()
            .copied()
            .filter(|(_, s)| s.listen.iter().any(|l| l.port() == port))
            .collect();
        let by_address: Vec<(usize, &Service)> = by_port
            .iter()
            .copied()
            .filter(|(_, s)| {
                s.listen
                    .iter()
                    .any(|l| l.port() == port && Some(l.ip()) == address)
            })
            .collect();
        let found = if by_address.is_empty() {
            &by_port
        } else {
            &by_address
        };
        match found.as_slice() {
            [(number, service)] => {
                return Ok((*number, service, format!("it listens on port {port}")));
            }
            [] => {}
            several => {
                let names = names(several);
                return wrong(format!(
                    "several services listen on port {port}: {names}. Choose one with --service"
                ));
            }
        }
    }
    match fitting.as_slice() {
        [(number, service)] => {
            let kind = service.protocol.as_str();
            let why = if url.scheme.is_some() {
                format!("the only {kind} service (none listens on port {port})")
            } else {
                format!("the only {kind} service")
            };
            Ok((*number, service, why))
        }
        [] => nowhere(format!(
            "no service speaks {}",
            url.scheme.unwrap_or("http")
        )),
        several => wrong(format!(
            "several services match: choose one of {} with --service",
            names(several)
        )),
    }
}

/// What the request is compared by, and why it is refused before that, if it is.
pub(super) fn ask(
    question: &Question,
    url: &Url<'_>,
    service: &Service,
) -> Result<(Ask, Option<String>), QuestionError> {
    let header = |name: &str| {
        question
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    };
    for (name, value) in &question.headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return wrong(format!("`{name}` is not a header field name"));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return wrong(format!("the value of `{name}` contains control characters"));
        }
    }
    let http = service.protocol.is_http();
    let source = question
        .source
        .unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
        .to_canonical();
    // An absolute-form target overrides Host (RFC 9112, 3.2.2), but curl and people set Host to override
    // a URL's authority: that is what is sent.
    let raw_host = if http {
        header("host").unwrap_or(url.authority)
    } else {
        question.sni.as_deref().unwrap_or(url.authority)
    };
    let mut ask = Ask {
        method: if http {
            question.method.clone().unwrap_or_else(|| "GET".into())
        } else {
            String::new()
        },
        host: String::new(),
        path: String::new(),
        query: String::new(),
        headers: Fields::default(),
        source,
    };
    if service.protocol == Protocol::Tls && !raw_host.is_empty() {
        // A port in the URL is the service's, not a part of the name.
        let name = match (&question.sni, uri::split_port(raw_host.as_bytes())) {
            (None, Ok((host, _))) => host,
            _ => raw_host.as_bytes(),
        };
        if let Err(error) = check_server_name(name) {
            return Ok((ask, Some(format!("{error}: `{raw_host}`"))));
        }
    }
    let mut host = [0; uri::MAX_HOST];
    if !http {
        if service.protocol == Protocol::Tls {
            match uri::host(raw_host.as_bytes(), &mut host) {
                Ok(form) => ask.host = String::from_utf8_lossy(form).into_owned(),
                Err(error) => return Ok((ask, Some(format!("{error}: `{raw_host}`")))),
            }
        }
        return Ok((ask, None));
    }
    ask.query = url.query.to_owned();
    let mut headers: Vec<(String, Vec<u8>)> = question
        .headers
        .iter()
        .map(|(n, v)| (n.clone(), v.trim_matches([' ', '\t']).as_bytes().to_vec()))
        .collect();
    if header("host").is_none() {
        headers.insert(0, ("Host".into(), url.authority.as_bytes().to_vec()));
    }
    ask.headers = Fields(headers);
    let raw = url.path.as_bytes();
    let mut path = vec![0; raw.len()];
    let buffers = Buffers {
        host: &mut host,
        path: &mut path,
    };
    let target = SentTarget {
        host: raw_host.as_bytes(),
        normalized_host: None,
        path: raw,
        normalized_path: None,
    };
    let (form, refused) = match target.form(allow(service.allow), buffers) {
        Ok(form) => (form, None),
        Err((error @ FormError::Host(_), form)) => (form, Some(format!("{error}: `{raw_host}`"))),
        Err((error @ FormError::Path(_), form)) => (form, Some(error.to_string())),
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (ask.host, ask.path) = (text(form.host), text(form.path));
    Ok((ask, refused))
}
