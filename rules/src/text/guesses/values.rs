// SPDX-License-Identifier: MIT
//! Values of other programs that need more than a word for an answer.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Answers;
use super::answer;
use super::find;
use super::words;

const PROTOCOL: Answers = &[
    (
        "ssl",
        "write \"https\": TLS ends at the switch; or \"tls\": it is passed through",
    ),
    (
        "ws wss websocket",
        "WebSockets need no protocol of their own: write \"http\" or \"https\"",
    ),
];

const SERVER_PROTOCOL: Answers = &[
    (
        "https ssl tls wss",
        "write tls = true; `protocol` is the version of HTTP: \"http1\", \"http2\" or \"auto\"",
    ),
    ("grpcs", "write protocol = \"http2\" and tls = true"),
    (
        "tcp raw",
        "leave `protocol` out: a service with protocol = \"tcp\" passes bytes on as they come",
    ),
    (
        "fastcgi fcgi uwsgi ajp scgi",
        "servers speak HTTP: put one that speaks this protocol behind it",
    ),
];

const SCHEDULER: Answers = &[
    (
        "hash consistent_hash hashing",
        "write { name = \"ch\", key = \"source\" }, or another key: \"path\", \"host\", { header = \"X-User\" }, { cookie = \"sid\" }",
    ),
    (
        "uri uri_hash url_hash path",
        "write { name = \"ch\", key = \"path\" }",
    ),
    (
        "hdr header header_hash",
        "write { name = \"ch\", key = { header = \"X-User\" } }",
    ),
    (
        "url_param query query_hash",
        "query parameters are not hashed: { name = \"ch\", key = \"path\" } or { header = \"X-User\" } as key",
    ),
    (
        "cookie sticky persistence cookie_hash",
        "clients stay at their server by the route's sticky = { cookie = \"lb\" }",
    ),
    (
        "first backup failover priority",
        "write in `servers`: { address = \"10.0.0.9:8080\", backup = true }",
    ),
];

const HASH_KEY: Answers = &[
    (
        "cookie",
        "write { cookie = \"sid\" }, with the name of the cookie",
    ),
    (
        "header hdr",
        "write { header = \"X-User\" }, with the name of the field",
    ),
    (
        "query arg args url_param",
        "query parameters are not hashed: \"path\", { header = \"X-User\" } and the like are",
    ),
];

const RATE_KEY: Answers = &[
    (
        "cookie",
        "write { cookie = \"sid\" }, with the name of the cookie",
    ),
    (
        "header hdr",
        "write { header = \"X-API-Key\" }, with the name of the field",
    ),
    (
        "client client_ip client_address ip address per_ip remote_addr remote_ip remote_host binary_remote_addr src",
        "the value for this is \"source\"",
    ),
    (
        "global all total service server_name constant",
        "the value for this is \"route\": all requests of the route together",
    ),
];

const RETRY_ON: Answers = &[
    (
        "5xx server_error http_5xx gateway_error",
        "write the statuses: [500, 502, 503, 504]",
    ),
    ("retriable_4xx 4xx", "write the statuses: [409, 429]"),
    (
        "all all_retryable_errors any",
        "write [\"connect\", \"reset\", \"timeout\", 500, 502, 503, 504]",
    ),
    (
        "invalid_header junk_response",
        "a response that is none gives 502 without another attempt",
    ),
];

const TLS_VERSION: Answers = &[(
    "1.0 1.1 tls1.0 tls1.1 tlsv1 tlsv1.0 tlsv1.1 tls1_0 tls1_1 versiontls10 versiontls11 ssl3 sslv3",
    "TLS before 1.2 is not spoken",
)];

const DATAPATH: Answers = &[
    (
        "user userspace proxy l7 hyper",
        "the value for this is \"front\"",
    ),
    (
        "module xdp ebpf ipvs offload",
        "the value for this is \"kernel\"",
    ),
];

const FORWARD: Answers = &[
    ("masq masquerade dnat", "the value for this is \"nat\""),
    ("snat", "the value for this is \"fullnat\""),
    (
        "dr dsr direct gatewaying direct_routing tun tunnel ipip",
        "responses pass the switch: \"nat\" or \"fullnat\"",
    ),
];

/// What is said of a value at a field.
pub(super) fn of(at: &str, word: &str) -> Option<String> {
    let answers = match at {
        "ServiceText.protocol" => PROTOCOL,
        "PoolText.protocol" => SERVER_PROTOCOL,
        "PoolText.scheduler" | "SchedulerText.name" => SCHEDULER,
        "SchedulerText.key" => HASH_KEY,
        "RateLimitText.key" => RATE_KEY,
        "RetriesText.on" => RETRY_ON,
        "TlsText.min_version" => TLS_VERSION,
        "ServiceText.datapath" => DATAPATH,
        "PoolText.forward" => FORWARD,
        "ServiceText.allow" | "ServiceText.refuse" => {
            let is_address = word.parse::<IpNet>().is_ok() || word.parse::<IpAddr>().is_ok();
            return (is_address || answer(EVERYBODY, word).is_some()).then(|| {
                "this key is for contents of paths; clients are told apart in routes: source = [\"10.0.0.0/8\"]"
                    .to_owned()
            });
        }
        _ => return None,
    };
    if let Some(said) = answer(answers, word.trim_start_matches('$')) {
        return Some(said.to_owned());
    }
    let is_name = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_field = is_name && word.contains('-') && word.bytes().any(|b| b.is_ascii_uppercase());
    match at {
        "RetriesText.on" if word.parse::<u16>().is_ok() => {
            Some(format!("a status is a number: write {word} without quotes"))
        }
        "SchedulerText.key" | "RateLimitText.key" if is_field => {
            Some(format!("write {{ header = \"{word}\" }}"))
        }
        _ => None,
    }
}

/// What is said of a value of the wrong type at a field.
pub(super) fn form(at: &str) -> Option<&'static str> {
    Some(match at {
        "ServiceText.listen" => "on all addresses of this machine: listen = \"0.0.0.0:8080\"",
        "ServiceText.certificates" => {
            "write { cert = \"chain.pem\", key = \"key.pem\" } for each (one PEM file may be given for both, folders are not read), or { acme = \"www.example.com\" }"
        }
        "ServiceText.tls" => {
            "TLS ends at the switch with protocol = \"https\" and certificates = { cert = \"chain.pem\", key = \"key.pem\" }"
        }
        "ServiceText.route" => "write [[service.NAME.route]], with two brackets",
        "ServiceText.trusted" => {
            "give the addresses of the proxies in front of the switch: trusted = [\"10.0.0.0/8\"]"
        }
        "RouteText.pool" => {
            "for several, by weight: pools = [{ name = \"v1\", weight = 9 }, { name = \"v2\", weight = 1 }]"
        }
        "RouteText.pools" => {
            "write pools = [{ name = \"v1\", weight = 9 }, { name = \"v2\", weight = 1 }]"
        }
        "PoolText.send_proxy" => "write send_proxy = \"v2\", or leave it out",
        "HealthText.grpc" => {
            "name the gRPC service that must be serving; grpc = \"\" is the server as a whole"
        }
        "HealthText.http" => "give the path of the request: http = \"/healthz\"",
        "PoolText.fallback" => "name a pool; a server that waits has backup = true",
        "RouteText.redirect" => {
            "for a whole URL: redirect = { location = \"https://www.example.com$uri\" }"
        }
        "RouteText.source" => "write source = [\"10.0.0.0/8\", \"!10.9.0.0/16\"]",
        _ => return None,
    })
}

const EVERYBODY: Answers = &[(
    "all any everyone everybody",
    "all addresses are [\"0.0.0.0/0\", \"::/0\"]",
)];

const PREFIXES: Answers = &[
    (
        "private private_ranges rfc1918 internal local lan",
        "private addresses are [\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"fc00::/7\"]",
    ),
    (
        "localhost loopback",
        "addresses of this machine are [\"127.0.0.0/8\", \"::1\"]",
    ),
    ("*", "all addresses are [\"0.0.0.0/0\", \"::/0\"]"),
];

/// What is said of a text in place of an address prefix at a field.
pub(super) fn prefix(at: &str, word: &str) -> Option<&'static str> {
    if at == "ServiceText.accept_proxy" {
        let is_version = answer(
            &[("v1 v2 1 2 yes on both auto required optional", "")],
            word,
        );
        if is_version.is_some() {
            return Some(
                "write true: versions 1 and 2 are read; or the addresses of those who send PROXY headers",
            );
        }
    }
    answer(EVERYBODY, word).or_else(|| answer(PREFIXES, word))
}

/// Variables that have no counterpart.
pub(super) fn no_variable(word: &str) -> Option<&'static str> {
    const NONE: Answers = &[
        (
            "proxy_add_x_forwarded_for http_x_forwarded_for",
            "the front adds the client's address to X-Forwarded-For itself; alone it is $client_address",
        ),
        (
            "server_port dst_port listen_port",
            "the port that the client has come to is no variable; if the client names it, it is in $host",
        ),
        (
            "server_addr dst server_address local_addr",
            "the address that the client has come to is no variable; $server is the server's",
        ),
        (
            "time_local time_iso8601 msec date now",
            "the time is no variable: the access log has it",
        ),
        (
            "status upstream_status body_bytes_sent bytes_sent request_time upstream_response_time request_length",
            "this is in the access log, and no variable",
        ),
        (
            "hostname",
            "the machine's name is no variable: write it out",
        ),
    ];
    let is_of_field = ["http_", "sent_http_", "upstream_http_"]
        .iter()
        .any(|start| word.to_ascii_lowercase().starts_with(start));
    let is_of_other = ["arg_", "cookie_"]
        .iter()
        .any(|start| word.to_ascii_lowercase().starts_with(start));
    answer(NONE, word)
        .or_else(|| {
            is_of_field.then_some("fields of a message are no variables; servers get those of the request as they came")
        })
        .or_else(|| {
            is_of_other.then_some("single query parameters and cookies are no variables; $query is the whole query")
        })
}

/// How a text would look that is a variable in another program: HAProxy's `%[src]`, Envoy's `%DOWNSTREAM_REMOTE_ADDRESS%`, Caddy's
/// `{remote_host}`, a template's `{{ .ClientIP }}`.
pub(super) fn foreign_variable(text: &str, known: &[&str]) -> Option<String> {
    let name = between(text, "%[", "]")
        .or_else(|| between(text, "{{", "}}"))
        .or_else(|| between(text, "{", "}"))
        .or_else(|| between(text, "%", "%").filter(|name| !is_escape(name)))?;
    let word = name.trim().trim_start_matches('.');
    // Of `http.request.host` the last part is the word; of `REQ(X-Id)` and `req.hdr(host)` what stands before the bracket.
    let head = word.split(['(', ',', '|', ':']).next().unwrap_or_default();
    let last = head.rsplit('.').next().unwrap_or_default();
    let is_name = !last.is_empty()
        && last
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_name {
        return None;
    }
    let ours = [head, last].into_iter().find_map(|word| {
        let own = known.iter().find(|known| super::same(known, word));
        own.copied().or_else(|| find(words::WORDS, word, known))
    });
    Some(match ours {
        Some(ours) => format!("the variable for this is `${ours}`"),
        None => format!(
            "variables begin with a dollar; known here: {}",
            super::super::read::choices(known.iter().copied())
        ),
    })
}

/// Whether a text behind a percent sign is an escape (RFC 3986, 2.1).
fn is_escape(text: &str) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
    matches!(text.as_bytes(), [a, b, ..] if is_digit(a) && is_digit(b)) || text.len() < 3
}

fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(name, _)| name)
}
