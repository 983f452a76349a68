// SPDX-License-Identifier: MIT
//! The bytes that a client would send first: from a URL, or from a file.
//!
//! A URL leads to a service in the same way as for `l7ctl explain`, among the services that the kernel has.

use std::io;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::netlink::Protocol;
use l7switch_engine::uri;
use l7switch_netlink::Service;
use l7switch_rules::explain::Url;
use l7switch_rules::explain::split_url;

use crate::show::printable;

use super::command::Match;

/// What the kernel is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The service.
    pub(super) service: String,
    /// How it was found.
    pub(super) why: String,
    /// Whether it takes HTTP/1 heads.
    pub(super) is_http: bool,
    /// What the client sends.
    pub(super) bytes: Vec<u8>,
}

pub(super) fn question(asked: &Match, services: &[Service]) -> Result<Question, String> {
    let url = match &asked.request {
        Some(url) => Some(split(url)?),
        None => None,
    };
    let (service, why) = find(services, url, asked.service.as_deref())?;
    let bytes = match (&asked.raw, url) {
        (Some(file), _) => read(file)?,
        (None, Some(url)) => match service.protocol {
            Protocol::Http => head(asked, url)?,
            Protocol::Https | Protocol::Tls => client_hello(server_name(asked, url)?),
            Protocol::Tcp => Vec::new(),
        },
        (None, None) => Vec::new(),
    };
    Ok(Question {
        service: service.name.clone(),
        why,
        is_http: service.protocol == Protocol::Http,
        bytes,
    })
}

/// The bytes of a file; one more than can be sent is enough.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let most = u64::try_from(MAX_ATTRIBUTE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        let input = io::stdin().lock();
        input.take(most.saturating_add(1)).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file)
            .and_then(|input| input.take(most.saturating_add(1)).read_to_end(&mut bytes))
    };
    result.map_err(|error| format!("{}: {error}", file.display()))?;
    if bytes.len() > MAX_ATTRIBUTE {
        return Err(format!(
            "{} has over {MAX_ATTRIBUTE} bytes, which is the limit",
            file.display()
        ));
    }
    Ok(bytes)
}

fn split(url: &str) -> Result<Url<'_>, String> {
    if !url.is_ascii() {
        return Err(format!(
            "`{}` has non-ASCII characters: write them as %XX",
            printable(url)
        ));
    }
    split_url(url).map_err(|error| error.to_string())
}

fn speaks(scheme: Option<&str>, protocol: Protocol) -> bool {
    match scheme {
        Some("https") => matches!(protocol, Protocol::Https | Protocol::Tls),
        Some("tls") => protocol == Protocol::Tls,
        Some("tcp") => protocol == Protocol::Tcp,
        Some(_) => protocol == Protocol::Http,
        None => matches!(protocol, Protocol::Http | Protocol::Https),
    }
}

/// The service that is meant, and how that is known.
fn find<'s>(
    services: &'s [Service],
    url: Option<Url<'_>>,
    name: Option<&str>,
) -> Result<(&'s Service, String), String> {
    let names = |services: &[&Service]| {
        let names: Vec<String> = services.iter().map(|s| printable(&s.name)).collect();
        names.join(", ")
    };
    let all: Vec<&Service> = services.iter().collect();
    if all.is_empty() {
        return Err("the kernel has no table: load one with `l7ctl kernel load`".to_owned());
    }
    if let Some(name) = name {
        let named = all.iter().find(|service| service.name == name);
        return match named {
            Some(service) => Ok((service, "named".to_owned())),
            None => Err(format!(
                "the kernel has no service `{}`; there are: {}",
                printable(name),
                names(&all)
            )),
        };
    }
    let Some(url) = url else {
        return match all.as_slice() {
            [service] => Ok((service, "the only service".to_owned())),
            _ => Err(format!(
                "several services match: choose one of {} with --service",
                names(&all)
            )),
        };
    };
    let mut fitting = all.clone();
    fitting.retain(|service| speaks(url.scheme, service.protocol));
    if let Some(found) = by_address(&fitting, url)? {
        return match found.as_slice() {
            [(service, port)] => Ok((service, format!("it listens on port {port}"))),
            several => {
                let several: Vec<&Service> = several.iter().map(|(service, _)| *service).collect();
                Err(format!(
                    "several services listen on the port: {}. Choose one with --service",
                    names(&several)
                ))
            }
        };
    }
    match fitting.as_slice() {
        [service] => Ok((
            service,
            format!("the only {} service", service.protocol.name()),
        )),
        [] => Err(format!(
            "no service in the kernel speaks {}; there are: {}",
            url.scheme.unwrap_or("http"),
            names(&all)
        )),
        several => Err(format!(
            "several services match: choose one of {} with --service",
            names(several)
        )),
    }
}

/// Those that listen on the URL's port, by its address where that is one; `None` where none does.
fn by_address<'s>(
    fitting: &[&'s Service],
    url: Url<'_>,
) -> Result<Option<Vec<(&'s Service, u16)>>, String> {
    if url.scheme.is_none() {
        return Ok(None);
    }
    let (host, port) = host_and_port(url.authority)?;
    let default = match url.scheme {
        Some("https" | "tls") => 443,
        _ => 80,
    };
    let port = port.unwrap_or(default);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let listening = |exactly: bool| -> Vec<(&'s Service, u16)> {
        fitting
            .iter()
            .filter(|service| {
                service
                    .listen
                    .iter()
                    .any(|l| l.port() == port && (!exactly || Some(l.ip()) == address))
            })
            .map(|service| (*service, port))
            .collect()
    };
    let exactly = listening(true);
    let found = if exactly.is_empty() {
        listening(false)
    } else {
        exactly
    };
    Ok((!found.is_empty()).then_some(found))
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) =
        uri::split_port(authority.as_bytes()).map_err(|error| format!("`{authority}`: {error}"))?;
    Ok((std::str::from_utf8(host).unwrap_or_default(), port))
}

/// An HTTP/1 head (RFC 9112, 2.1).
fn head(asked: &Match, url: Url<'_>) -> Result<Vec<u8>, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if asked.method.is_empty() || !asked.method.bytes().all(token) {
        return Err(format!("`{}` is not a method", printable(&asked.method)));
    }
    let root = if url.target.starts_with(['/', '*']) {
        ""
    } else {
        "/"
    };
    let mut head = format!("{} {root}{} HTTP/1.1\r\n", asked.method, url.target);
    // curl and people set Host to override a URL's authority: that is what is sent.
    let given = |(name, _): &(String, String)| name.eq_ignore_ascii_case("host");
    if !asked.headers.iter().any(given) {
        head.push_str(&format!("Host: {}\r\n", url.authority));
    }
    for (name, value) in &asked.headers {
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("`{}` is not a header field name", printable(name)));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(format!("the value of `{name}` contains control characters"));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

/// The name that a client would ask for; none for an address (RFC 6066, 3).
fn server_name<'a>(asked: &'a Match, url: Url<'a>) -> Result<Option<&'a str>, String> {
    let name = match &asked.sni {
        Some(name) => name,
        None => host_and_port(url.authority)?.0,
    };
    // In a record, with what stands around it.
    if name.len() > 255 {
        return Err("a server name has no more than 255 bytes".to_owned());
    }
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    Ok(Some(name).filter(|name| !name.is_empty() && !is_address))
}

/// The least ClientHello of TLS 1.2 (RFC 5246, 7.4.1.2), with a server name (RFC 6066, 3) in one record.
fn client_hello(server_name: Option<&str>) -> Vec<u8> {
    let mut hello = vec![3, 3];
    // Nobody answers it, so the random need not be.
    hello.extend([0; 32]);
    // No session; TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; no compression.
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    if let Some(name) = server_name {
        let entry = [&[0], vector16(name.as_bytes()).as_slice()].concat();
        let extension = [&[0, 0], vector16(&vector16(&entry)).as_slice()].concat();
        hello.extend(vector16(&extension));
    }
    let message = [&[1, 0], vector16(&hello).as_slice()].concat();
    [&[22, 3, 1], vector16(&message).as_slice()].concat()
}

/// Bytes with their length before them, 16 bits of network order. Names are short.
fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use l7switch_engine::netlink::Datapath;
    use l7switch_engine::tls::ClientHelloParser;
    use l7switch_netlink::Traffic;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        asked: Match,
    }

    fn line(words: &[&str]) -> Match {
        Line::parse_from([&["match"], words].concat()).asked
    }

    fn service(name: &str, protocol: Protocol, listen: &str) -> Service {
        Service {
            index: 0,
            name: name.to_owned(),
            protocol,
            datapath: Datapath::Auto,
            listen: vec![listen.parse().unwrap()],
            routes: 1,
            traffic: Traffic::default(),
        }
    }

    fn services() -> Vec<Service> {
        vec![
            service("web", Protocol::Http, "127.0.0.1:80"),
            service("alt", Protocol::Http, "127.0.0.2:8080"),
            service("names", Protocol::Tls, "127.0.0.1:443"),
            service("db", Protocol::Tcp, "127.0.0.1:5432"),
        ]
    }

    fn ask(words: &[&str]) -> Result<Question, String> {
        question(&line(words), &services())
    }

    #[test]
    fn a_url_becomes_a_head() {
        let asked = ask(&["http://www.example.com/a?b=c#d", "-X", "POST", "-H", "A: 1"]).unwrap();
        assert_eq!(asked.service, "web");
        assert_eq!(asked.why, "it listens on port 80");
        let wanted = "POST /a?b=c HTTP/1.1\r\nHost: www.example.com\r\nA: 1\r\n\r\n";
        assert_eq!(asked.bytes, wanted.as_bytes());
        let hosted = ask(&["/", "--service", "alt", "-H", "host: x"]).unwrap();
        assert_eq!(hosted.bytes, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        let bare = ask(&["http://a:8080?x"]).unwrap();
        assert_eq!(bare.service, "alt");
        assert!(
            bare.bytes
                .starts_with(b"GET /?x HTTP/1.1\r\nHost: a:8080\r\n")
        );
    }

    #[test]
    fn a_name_becomes_a_client_hello_that_the_engine_reads() {
        let name = |words: &[&str]| {
            let asked = ask(words).unwrap();
            assert_eq!(asked.service, "names");
            let hello = ClientHelloParser::new().parse(&asked.bytes).unwrap();
            hello.unwrap().server_name().map(<[u8]>::to_vec)
        };
        assert_eq!(name(&["https://A.example/x"]).unwrap(), b"a.example");
        let other = name(&["tls://127.0.0.1", "--sni", "b.example"]);
        assert_eq!(other.unwrap(), b"b.example");
        assert_eq!(name(&["tls://127.0.0.1"]), None);
        let longest = format!("{}.a", vec!["x".repeat(60); 4].join("."));
        let named = name(&["tls://x", "--sni", &longest]);
        assert_eq!(named.unwrap(), longest.as_bytes());
    }

    #[test]
    fn a_service_that_is_not_clear_is_asked_for() {
        let error = |words: &[&str]| ask(words).unwrap_err();
        assert!(error(&["/"]).contains("choose one of web, alt"));
        assert!(error(&["http://a:9/"]).contains("choose one of web, alt"));
        assert!(error(&["/", "--service", "no"]).contains("there are: web, alt, names, db"));
        assert_eq!(ask(&["tcp://a:1"]).unwrap().why, "the only tcp service");
        let none = question(&line(&["/"]), &[]).unwrap_err();
        assert!(none.contains("l7ctl kernel load"));
    }

    #[test]
    fn nothing_that_is_typed_adds_a_line_to_the_head() {
        for words in [
            &["http://a/ b"][..],
            &["http://a/\r\nX:1"],
            &["/", "--service", "web", "-H", "A: 1\r\nB: 2"],
            &["/", "--service", "web", "-H", "A b: 1"],
            &["/", "--service", "web", "-X", "GET /x"],
            &["gopher://a"],
            &["a.example"],
        ] {
            assert!(ask(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn raw_bytes_are_sent_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"GET / HTTP/1.1\r\nHost: \0\r\n\r\n").unwrap();
        let path = path.to_str().unwrap();
        let asked = ask(&["--raw", path, "--service", "web"]).unwrap();
        assert_eq!(asked.bytes, b"GET / HTTP/1.1\r\nHost: \0\r\n\r\n");
        assert!(
            ask(&["--raw", path])
                .unwrap_err()
                .contains("several services match")
        );
        std::fs::write(path, vec![0; MAX_ATTRIBUTE + 1]).unwrap();
        let error = ask(&["--raw", path, "--service", "web"]).unwrap_err();
        assert!(error.contains("over 65531 bytes"), "{error}");
    }
}
