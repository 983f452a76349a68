// SPDX-License-Identifier: MIT
//! Words of other programs, and what they are here: who knows HAProxy, nginx, Envoy, Traefik or Caddy tries theirs first.

/// A word of another program, and ours for it, in the order of how well they fit; the first one that is known at the place is
/// proposed.
const KEYS: &[(&str, &[&str])] = &[
    ("backup_pool", &["fallback"]),
    ("backup_servers", &["servers"]),
    ("body", &["body_limit"]),
    ("error_page", &["error_pages"]),
    ("errorfile", &["error_pages"]),
    ("errorfiles", &["error_pages"]),
    ("errors", &["error_pages"]),
    ("expect", &["status"]),
    ("handle_errors", &["error_pages"]),
    ("custom_response", &["error_pages"]),
    ("proxy_intercept_errors", &["error_pages", "intercept"]),
    ("regex_rewrite", &["replace_regex", "rewrite"]),
    ("regex", &["replace_regex"]),
    ("replacement", &["with"]),
    ("replace_path", &["rewrite"]),
    ("replacepathregex", &["rewrite"]),
    ("return", &["respond"]),
    ("stripprefix", &["rewrite"]),
    ("strip_prefix", &["rewrite", "replace_prefix"]),
    ("substitution", &["with"]),
    ("to", &["with"]),
    ("direct_response", &["respond"]),
    ("downtime", &["maintenance"]),
    ("sorry", &["fallback", "error_pages"]),
    ("expected_body", &["body"]),
    ("expected_codes", &["status"]),
    ("expected_status", &["status"]),
    ("expected_statuses", &["status"]),
    ("endpoint", &["http", "servers"]),
    ("hdr", &["headers"]),
    ("circuit_breaker", &["max_connections"]),
    ("circuit_breakers", &["max_connections"]),
    ("count", &["attempts"]),
    ("max_conns", &["max_connections"]),
    ("max_pending", &["queue", "length"]),
    ("max_pending_requests", &["queue", "length"]),
    ("max_requests", &["max_connections"]),
    ("max_retries", &["attempts", "retries"]),
    ("maxlen", &["length"]),
    ("maxqueue", &["queue", "length"]),
    ("num_retries", &["attempts", "retries"]),
    ("proxy_next_upstream", &["retries"]),
    ("proxy_next_upstream_tries", &["retries"]),
    ("queue_length", &["queue"]),
    ("queue_timeout", &["queue"]),
    ("retry_budget", &["budget", "retries"]),
    ("retry_on", &["on", "retries"]),
    ("retry-on", &["on", "retries"]),
    ("retry_policy", &["retries"]),
    ("slowstart", &["slow_start"]),
    ("slow_start_config", &["slow_start"]),
    ("statuses", &["on", "status"]),
    ("tries", &["attempts"]),
    ("health_path", &["health"]),
    ("health_uri", &["health", "http"]),
    ("match", &["body"]),
    ("path", &["http"]),
    ("receive", &["body"]),
    ("response", &["body"]),
    ("retry", &["retries"]),
    ("rstring", &["body"]),
    ("send", &["http"]),
    ("string", &["body"]),
    ("uri", &["http", "path"]),
    ("failover", &["fallback"]),
    ("fallback_pool", &["fallback"]),
    ("insecure", &["verify"]),
    ("insecure_skip_verify", &["verify"]),
    ("inter", &["interval"]),
    ("location", &["path"]),
    ("max_connections", &["connections"]),
    ("maxconn", &["connections", "max_connections"]),
    ("proxy_read_timeout", &["response_timeout"]),
    ("proxy_send_timeout", &["idle_timeout"]),
    ("proxy_set_header", &["request_headers"]),
    ("skip_verify", &["verify"]),
    ("throttle", &["rate_limit"]),
    ("timeout_tunnel", &["tunnel_timeout"]),
    ("websocket_timeout", &["tunnel_timeout"]),
    ("total_timeout", &["request_timeout"]),
    ("timeout", &["response_timeout"]),
    ("accept-proxy", &["accept_proxy"]),
    ("address", &["listen"]),
    ("average", &["requests"]),
    ("balance", &["scheduler"]),
    ("bind", &["listen"]),
    ("lb_policy", &["scheduler"]),
    ("load_balancer", &["scheduler"]),
    ("load_balancing", &["scheduler"]),
    ("backend", &["pool"]),
    ("check", &["health", "http"]),
    (
        "client_max_body_size",
        &["body_limit", "body", "limits.body"],
    ),
    ("cluster", &["pool"]),
    ("domain", &["host"]),
    ("endpoints", &["servers"]),
    ("events", &["requests"]),
    ("health_check", &["health"]),
    ("healthcheck", &["health"]),
    ("hostnames", &["host"]),
    (
        "inflightreq",
        &["connections_per_source", "limits.connections_per_source"],
    ),
    (
        "limit_conn",
        &["connections_per_source", "limits.connections_per_source"],
    ),
    ("limit_req", &["rate_limit"]),
    ("local_ratelimit", &["rate_limit"]),
    ("max_body", &["body_limit", "body", "limits.body"]),
    ("max_body_size", &["body_limit", "body", "limits.body"]),
    ("max_request_bytes", &["body_limit", "body", "limits.body"]),
    (
        "maxrequestbodybytes",
        &["body_limit", "body", "limits.body"],
    ),
    ("outlier_detection", &["passive"]),
    ("period", &["per"]),
    ("proxy_pass", &["pool"]),
    ("proxy_protocol", &["accept_proxy", "send_proxy"]),
    ("rate", &["requests", "rate_limit"]),
    ("rate-limit", &["rate_limit"]),
    ("ratelimit", &["rate_limit"]),
    ("real_ip_from", &["trusted"]),
    ("real_ip_header", &["trusted"]),
    ("request_body", &["body_limit", "body", "limits.body"]),
    ("reverse_proxy", &["pool"]),
    ("send-proxy", &["send_proxy"]),
    ("server", &["servers", "pool"]),
    ("server_name", &["host"]),
    ("servername", &["server_name", "host"]),
    ("set_real_ip_from", &["trusted"]),
    ("sni", &["server_name"]),
    ("sourcecriterion", &["key"]),
    ("ssl", &["tls", "certificates"]),
    ("targets", &["servers"]),
    ("tls", &["certificates"]),
    ("verify_hostname", &["verify"]),
    ("ca_file", &["ca"]),
    ("cafile", &["ca"]),
    ("trusted_proxies", &["trusted"]),
    ("upstream", &["pool", "servers"]),
    ("upstreams", &["pools", "servers"]),
    ("url", &["address", "path", "http"]),
    ("window", &["per"]),
    ("zone", &["key"]),
];

/// The same of values.
const WORDS: &[(&str, &[&str])] = &[
    ("args", &["query"]),
    ("client_ip", &["source", "client_address"]),
    ("client_ip", &["source"]),
    ("conn-failure", &["connect"]),
    ("connect-failure", &["connect"]),
    ("connect_failure", &["connect"]),
    ("consistent", &["ch"]),
    ("empty-response", &["reset"]),
    ("error", &["connect"]),
    ("grpc", &["http2", "http"]),
    ("grpcs", &["http2", "https"]),
    ("h1", &["http1"]),
    ("h2", &["http2", "http"]),
    ("h2c", &["http2", "http"]),
    ("http", &["http1"]),
    ("http/1.1", &["http1", "http"]),
    ("http/2", &["http2", "http"]),
    ("http_host", &["host"]),
    ("ip", &["source"]),
    ("ip_hash", &["sh"]),
    ("iphash", &["sh"]),
    ("least_conn", &["wlc"]),
    ("least_connections", &["wlc"]),
    ("least_request", &["wlc"]),
    ("least_time", &["fastest"]),
    ("leastconn", &["wlc"]),
    ("maglev", &["mh"]),
    ("passthrough", &["tls"]),
    ("random", &["p2c"]),
    ("query_string", &["query"]),
    ("remote_addr", &["source", "client_address"]),
    ("remote_ip", &["source", "client_address"]),
    ("remote_port", &["client_port"]),
    ("req_id", &["request_id"]),
    ("request_method", &["method"]),
    ("request_uri", &["uri"]),
    ("remote_addr", &["source"]),
    ("remote_ip", &["source"]),
    ("response-timeout", &["timeout"]),
    ("ring_hash", &["ch"]),
    ("round-robin", &["rr"]),
    ("round_robin", &["rr"]),
    ("roundrobin", &["rr"]),
    ("sni", &["server_name"]),
    ("source", &["sh"]),
    ("source_hash", &["sh"]),
    ("src", &["client_address"]),
    ("ssl_protocol", &["tls_version"]),
    ("ssl_server_name", &["server_name"]),
    ("trace_parent", &["traceparent"]),
    ("upstream", &["pool"]),
    ("upstream_addr", &["server"]),
    ("x_request_id", &["request_id"]),
    ("weighted_round_robin", &["wrr"]),
];

/// Our key for another program's.
pub(super) fn key(word: &str, known: &[&str]) -> Option<&'static str> {
    find(KEYS, word, known)
}

/// Our value for another program's.
pub(crate) fn value(word: &str, known: &[&str]) -> Option<&'static str> {
    find(WORDS, word, known)
}

fn find(table: &[(&str, &[&'static str])], word: &str, known: &[&str]) -> Option<&'static str> {
    let (_, ours) = table
        .iter()
        .find(|(theirs, _)| theirs.eq_ignore_ascii_case(word))?;
    // Of `limits.body`, `limits` is what has to be known.
    let is_known = |word: &&&str| {
        word.split('.')
            .next()
            .is_some_and(|key| known.contains(&key))
    };
    ours.iter().find(is_known).copied()
}

/// What cannot be had here at all, with the reason: no word is proposed that only looks alike.
const ABSENT: &[(&str, &str)] = &[
    (
        "http3",
        "HTTP/3 is not supported; clients fall back to HTTP/2",
    ),
    ("lua", "there is no scripting"),
    ("auth_request", "requests are not authorised by others"),
    ("compression", "the switch does not compress"),
    (
        "sticky",
        "the switch sets no cookies; `scheduler = { name = \"ch\", key = { cookie = \"…\" } }` keeps clients by one of the application's",
    ),
    ("sctp", "SCTP is not supported"),
    ("udp", "UDP is not supported"),
];

/// Why a word has no counterpart.
pub(super) fn absent(word: &str) -> Option<&'static str> {
    let found = ABSENT
        .iter()
        .find(|(theirs, _)| theirs.eq_ignore_ascii_case(word));
    found.map(|(_, why)| *why)
}
