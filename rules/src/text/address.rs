// SPDX-License-Identifier: MIT
//! Addresses to listen on, and those of servers, which may be names.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;

use super::read::Node;
use super::read::Read;
use super::read::Reader;
use crate::names::Lookup;
use crate::names::SERVICE_PREFIX;
use crate::names::UNIX_PREFIX;

/// An IP address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An IP address and a port, \"10.0.0.1:80\" or \"[2001:db8::1]:80\".",
        })
    }
}

impl Read for Address {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.string(node, "an address such as \"10.0.0.1:80\"")?;
        if let Some((message, help)) = no_listener(text) {
            reader.invalid(node, message, &help);
            return None;
        }
        read_address(node, text, reader).map(Self)
    }
}

/// How a service listens on a port of all addresses.
fn on_all(port: &str) -> String {
    format!(
        "a service listens on addresses of this machine: \"0.0.0.0:{port}\" and \"[::]:{port}\" are all of them"
    )
}

/// What other programs listen on, and an address here is not.
fn no_listener(text: &str) -> Option<Wrong> {
    const PROTOCOL: &str = "`protocol` says what is spoken there: http, https, tls or tcp";
    let text = text.trim();
    if text.starts_with(UNIX_PREFIX) || text.starts_with(['/', '@']) {
        let help =
            "listen on an address of this machine: \"127.0.0.1:8080\"; servers may be Unix sockets";
        return Some(("a service does not listen on Unix sockets", help.to_owned()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let port = match scheme.to_ascii_lowercase().as_str() {
            "https" | "tls" | "wss" => ":443",
            _ => ":80",
        };
        let has_port = !authority.ends_with(']') && authority.contains(':');
        let (host, port) = match authority.rsplit_once(':').filter(|_| has_port) {
            Some((host, port)) => (host, format!(":{port}")),
            None => (authority, port.to_owned()),
        };
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let help = match is_address {
            true => format!("leave the scheme out: \"{host}{port}\"; {PROTOCOL}"),
            false => format!("write \"0.0.0.0{port}\"; {PROTOCOL}; hosts are conditions of routes"),
        };
        return Some(("a service listens on an address, not on a URL", help));
    }
    // As in nginx's `listen 443 ssl`.
    if let Some((address, _)) = text.split_once(char::is_whitespace) {
        let address = match address.parse::<u16>() {
            Ok(port) => format!("0.0.0.0:{port}"),
            Err(_) => address.to_owned(),
        };
        return Some((
            "an address has no parameters",
            format!("write \"{address}\"; {PROTOCOL}"),
        ));
    }
    // As Caddy and Go have it.
    if let Some((_, address)) = ["tcp/", "tcp4/", "tcp6/", "udp/"]
        .iter()
        .find_map(|start| Some((start, text.strip_prefix(start)?)))
    {
        return Some((
            "an address has no network before it",
            format!("write \"{address}\"; {PROTOCOL}"),
        ));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    if let Some((low, high)) = port.split_once('-')
        && low.parse::<u16>().is_ok()
        && high.parse::<u16>().is_ok()
    {
        let host = match host {
            "" | "*" => "0.0.0.0",
            host => host,
        };
        let help = format!("list each port: [\"{host}:{low}\", …, \"{host}:{high}\"]");
        return Some(("a service listens on single ports, not on a range", help));
    }
    let has_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    match host {
        "" | "*" | "any" | "all" | "0" if has_port => {
            Some(("the address is missing before the port", on_all(port)))
        }
        "localhost" if has_port => Some((
            "this is a name, not an address",
            format!("write [\"127.0.0.1:{port}\", \"[::1]:{port}\"]"),
        )),
        _ => None,
    }
}

/// Reads an IP address and a port.
fn read_address(node: &Node<'_>, text: &str, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            reader.invalid(node, "port 0 is not valid", "give a port from 1 to 65535");
            return None;
        }
        return Some(address);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let (message, help) = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ("the port is missing", format!("write \"{ip}:80\"")),
        Ok(IpAddr::V6(ip)) => {
            let help = match text.rsplit_once(':') {
                Some((host, port)) if host.parse::<IpAddr>().is_ok() => {
                    format!(
                        "write \"[{host}]:{port}\" if {port} is the port, otherwise \"[{ip}]:80\""
                    )
                }
                _ => format!("write \"[{ip}]:80\""),
            };
            (
                "an IPv6 address needs brackets, and a port after them",
                help,
            )
        }
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() && host.parse::<IpAddr>().is_ok() => {
                (
                    "an IPv6 address needs brackets",
                    format!("write \"[{host}]:{port}\""),
                )
            }
            Some((host, port))
                if port.parse::<u16>().is_ok()
                    && host.contains(|c: char| c.is_ascii_alphabetic())
                    && !host.contains(['[', ']']) =>
            {
                ("this is a name, not an address", on_all(port))
            }
            _ => (
                "this is not an address with a port",
                "write it as \"10.0.0.1:80\" or \"[2001:db8::1]:80\"".to_owned(),
            ),
        },
    };
    reader.invalid(node, message, &help);
    None
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A name that is resolved; a host's with its port.
    Name(Lookup, Option<u16>),
    /// The path of a Unix socket.
    Unix(String),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, Some(port)) => write!(f, "{name}:{port}"),
            Self::Name(name, None) => name.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{path}"),
        }
    }
}

impl JsonSchema for ServerAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ServerAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An IP address or a host name, and a port: \"10.0.0.1:80\", \"[2001:db8::1]:80\" or \"app.internal:80\"; or the name of SRV records: \"srv:_http._tcp.app.internal\"; or the path of a Unix socket: \"unix:/run/app.sock\".",
        })
    }
}

/// What is wrong with a name, and how it is put right.
type Wrong = (&'static str, String);

impl Read for ServerAddress {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.string(
            node,
            "an address such as \"10.0.0.1:80\" or \"app.internal:80\"",
        )?;
        let read = match (text.split_once("://"), text.strip_prefix(SERVICE_PREFIX)) {
            _ if let Some(path) = socket_path(text) => path,
            _ if let Some(wrong) = no_server(text) => Err(wrong),
            (Some((scheme, rest)), _) => Err(url(scheme, rest)),
            (None, Some(name)) => service(name),
            (None, None) => match host_and_port(text) {
                Some(read) => read,
                None => return read_address(node, text, reader).map(Self::Address),
            },
        };
        match read {
            Ok(name) => Some(name),
            Err((message, help)) => {
                reader.invalid(node, message, &help);
                None
            }
        }
    }
}

/// Longest path of a Unix socket, bytes: `sun_path` has 108, and ends with NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

/// The path of a Unix socket; `None` where none was meant.
fn socket_path(text: &str) -> Option<Result<ServerAddress, Wrong>> {
    let Some(path) = text.strip_prefix(UNIX_PREFIX) else {
        let is_path = text.starts_with('/') || text.starts_with("./");
        return is_path.then(|| {
            let help = format!("a Unix socket is written \"{UNIX_PREFIX}{text}\"");
            Err(("this is a path, not an address with a port", help))
        });
    };
    let example = || "write it as \"unix:/run/app.sock\"".to_owned();
    // As in a URL: unix:///run/app.sock.
    if let Some(rest) = path.strip_prefix("//") {
        let help = format!("write \"{UNIX_PREFIX}/{}\"", rest.trim_start_matches('/'));
        return Some(Err(("a Unix socket is no URL here", help)));
    }
    Some(if !path.starts_with('/') {
        Err(("the path of a Unix socket begins with `/`", example()))
    } else if path.ends_with('/') {
        Err(("this is the path of a folder", example()))
    } else if path.chars().any(char::is_control) {
        Err(("the path has a control character", example()))
    } else if path.len() > UNIX_PATH_MAX {
        Err((
            "the path is too long for a Unix socket",
            format!("it may have {UNIX_PATH_MAX} bytes (unix(7))"),
        ))
    } else {
        Ok(ServerAddress::Unix(path.to_owned()))
    })
}

/// What is written so in other programs: SRV records, parameters behind an address, an address that is left out.
fn no_server(text: &str) -> Option<Wrong> {
    if let Some((address, parameters)) = text.trim().split_once(char::is_whitespace) {
        let all = parameters.split_whitespace();
        let keys: String = all
            .filter_map(|one| match one.split_once('=') {
                Some(("weight", weight)) => Some(format!(", weight = {weight}")),
                None if one == "backup" => Some(", backup = true".to_owned()),
                None if one == "down" => Some(", weight = 0".to_owned()),
                _ => None,
            })
            .collect();
        return Some((
            "what is said of a server stands in a table",
            format!("write {{ address = \"{address}\"{keys} }}"),
        ));
    }
    let schemes = [
        "srv",
        "dns+srv",
        "dnssrv",
        "dnssrv+",
        "http+srv",
        "https+srv",
        "srv+http",
        "srv+https",
    ];
    let of_scheme = text.split_once("://").and_then(|(scheme, rest)| {
        let is_srv = schemes.iter().any(|srv| scheme.eq_ignore_ascii_case(srv));
        is_srv.then(|| rest.split(['/', '?']).next().unwrap_or_default())
    });
    let name = of_scheme.or_else(|| {
        let is_srv = text.starts_with('_') && (text.contains("._tcp.") || text.contains("._udp."));
        is_srv.then_some(text)
    });
    if let Some(name) = name {
        let name = name.split(':').next().unwrap_or_default();
        let help = match name.starts_with('_') {
            true => format!("write \"{SERVICE_PREFIX}{name}\""),
            false => format!("write \"{SERVICE_PREFIX}_http._tcp.{name}\""),
        };
        return Some(("SRV records are written otherwise here", help));
    }
    let port = text
        .strip_prefix(':')
        .or_else(|| text.strip_prefix("*:"))
        .unwrap_or(text);
    let has_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    has_port.then(|| {
        let help = format!("on this machine: \"127.0.0.1:{port}\"");
        ("the address is missing before the port", help)
    })
}

/// A URL in place of a server: what it would be here.
fn url(scheme: &str, rest: &str) -> Wrong {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_tls = ["https", "wss", "grpcs"]
        .iter()
        .any(|tls| scheme.eq_ignore_ascii_case(tls));
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = match (has_port, is_tls) {
        (true, _) => "",
        (false, true) => ":443",
        (false, false) => ":80",
    };
    let tls = match is_tls {
        true => ", and add to the pool: tls = true",
        false => "; for TLS, a pool has `tls = true`",
    };
    let help = match authority {
        "" => "write it as \"10.0.0.1:80\" or \"app.internal:80\"".to_owned(),
        _ => format!("leave the scheme out: \"{authority}{port}\"{tls}"),
    };
    ("a server is an address with a port, not a URL", help)
}

/// A host name with its port; `None` where an address was meant.
fn host_and_port(text: &str) -> Option<Result<ServerAddress, Wrong>> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_address = [bare, host]
        .iter()
        .any(|part| part.parse::<IpAddr>().is_ok());
    if is_address || !host.contains(char::is_alphabetic) || host.contains([':', '[', ']', '/']) {
        return None;
    }
    // So that nothing can be a name and an IPv4 address (RFC 3696, 2).
    let last = host.trim_end_matches('.').rsplit('.').next();
    if last.is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        let help = "the last label of a name is no number".to_owned();
        return Some(Err(("this is neither an address nor a host name", help)));
    }
    let name = match name(host) {
        Ok(name) => name,
        Err(wrong) => return Some(Err(wrong)),
    };
    Some(match port.map(str::parse::<u16>) {
        Some(Ok(0)) => Err((
            "port 0 is not valid",
            "give a port from 1 to 65535".to_owned(),
        )),
        Some(Ok(port)) => Ok(ServerAddress::Name(Lookup::Host(name), Some(port))),
        Some(Err(_)) => Err(("this is not a port", format!("write \"{host}:80\""))),
        None => Err(("the port is missing", format!("write \"{host}:80\""))),
    })
}

/// The name of a service.
fn service(text: &str) -> Result<ServerAddress, Wrong> {
    let example = || "write it as \"srv:_http._tcp.app.internal\"".to_owned();
    if text.contains(':') {
        return Err(("a service has no port: its records have it", example()));
    }
    let name = name(text)?;
    let mut labels = name.split('.');
    let is_service = labels
        .next()
        .is_some_and(|label| label.starts_with('_') && label.len() > 1)
        && labels.next() == Some("_tcp")
        && labels.next().is_some_and(|label| !label.is_empty());
    if !is_service {
        return Err(("this is not the name of a service", example()));
    }
    Ok(ServerAddress::Name(Lookup::Service(name), None))
}

/// A name in lower case. One that ends with a dot is complete: nothing of a search list is put behind it.
fn name(text: &str) -> Result<String, Wrong> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if !text.is_ascii() {
        let help = "write internationalised names in their xn-- form (RFC 5891)";
        return Err(("the name has non-ASCII characters", help.to_owned()));
    }
    if labels.len() > 253 || !labels.split('.').all(is_label) {
        let help =
            "a name has labels of 1 to 63 letters, digits, `-` and `_`, with dots between them";
        return Err(("this is not a host name", help.to_owned()));
    }
    Ok(text.to_ascii_lowercase())
}
