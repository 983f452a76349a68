// SPDX-License-Identifier: MIT
//! Keys of other programs at routes, and in what routes have.

use super::Answers;

pub(super) const ROUTE: Answers = &[
    (
        "default final terminal catch_all fallback_route",
        "a route without conditions takes what no other route takes",
    ),
    (
        "host_regexp host_reg hdr_dom",
        "write: host = { regex = \"^(www|shop)[0-9]+$\" }",
    ),
    (
        "server_names sni hostsni",
        "the key for this is `host`: names, in tls services those of the handshake",
    ),
    (
        "not negate unless",
        "header fields, queries and cookies: { not = \"value\" }; clients: source = \"!10.0.0.0/8\"; for the rest write a route that goes first",
    ),
    (
        "expires csp frame_deny security_headers content_security_policy",
        "write: response_headers = { set = { Content-Security-Policy = \"default-src 'self'\" } }",
    ),
    (
        "add_prefix",
        "write: rewrite = { path = { replace_regex = \"^/\", with = \"/app/\" } }",
    ),
    (
        "circuit_breaker circuit_breakers",
        "write in the pool: max_connections = 100, passive = { failures = 3, eject = \"10s\" }",
    ),
    (
        "pass_tls_client_cert",
        "write: request_headers = { set = { X-Client-Subject = \"$client_subject\" } }",
    ),
    (
        "limit_except",
        "the key for this is `method`: [\"GET\", \"HEAD\"]",
    ),
    (
        "entrypoint entrypoints",
        "the service says where it listens",
    ),
    (
        "connection_timeout timeout_connect dial_timeout",
        "write in the pool: connect_timeout = \"2s\"",
    ),
    (
        "x_forwarded_for forwardfor xff",
        "the front adds X-Forwarded-For, -Proto and -Host to requests itself",
    ),
    (
        "sse event_stream",
        "event streams are passed on; if they are silent for long, they need a longer `response_timeout`",
    ),
    (
        "proxy_http_version",
        "servers are asked in HTTP/1.1; with protocol = \"http2\" of the pool in HTTP/2",
    ),
    ("enabled disabled", "put # before its lines"),
    (
        "alpn",
        "an https service speaks HTTP/2 and HTTP/1, as the client wishes: there is nothing to set",
    ),
    (
        "allow deny block blocklist blacklist acl whitelist allowlist ip ips client_ip src remote_addr remote_ip ip_allow_list",
        "the key for this is `source`: source = [\"10.0.0.0/8\"] takes these clients, source = \"!10.0.0.0/8\" all others; respond = { status = 403 } refuses",
    ),
    (
        "match matches matcher rule rules when if condition conditions expression http_request option vars",
        "conditions are keys of the route: host, path, method, headers, query, cookies, source",
    ),
    (
        "header_up proxy_set_header set_header set_headers set_request_header request_header request_headers_to_add customrequestheaders reqadd",
        "write: request_headers = { set = { X-Name = \"value\" } }; for responses: response_headers",
    ),
    (
        "header_down add_header add_headers set_response_header response_header response_headers_to_add customresponseheaders more_set_headers",
        "write: response_headers = { set = { X-Name = \"value\" } }; for requests: request_headers",
    ),
    (
        "remove_header del_header hide_header proxy_hide_header response_headers_to_remove request_headers_to_remove",
        "write: response_headers = { remove = [\"X-Name\"] }; for requests: request_headers",
    ),
    (
        "target targets to forward forward_to backend backends upstream upstreams use_backend default_backend service cluster proxy dial proxy_pass reverse_proxy server servers",
        "write: pool = \"app\"; its servers are in the table [pool.app]",
    ),
    (
        "split weighted weights weight canary traffic_split split_clients weighted_clusters backendrefs",
        "write: pools = [{ name = \"v1\", weight = 9 }, { name = \"v2\", weight = 1 }]",
    ),
    (
        "prefix path_prefix path_beg path_begins location uri url exact path_exact",
        "write: path = { prefix = \"/img\" }, or { exact = \"/img\" }",
    ),
    (
        "regex path_regex path_regexp path_reg path_end",
        "write: path = { regex = \"^/img/[0-9]+$\" }",
    ),
    (
        "strip_prefix strip handle_path rewrite_prefix prefix_rewrite replace_prefix replace_path",
        "write: rewrite = { path = { replace_prefix = \"/\" } }, or replace_full for the whole path",
    ),
    (
        "host_rewrite pass_host_header preserve_host upstream_vhost host_header host_rewrite_literal auto_host_rewrite upstream_host",
        "the server gets the client's Host; for another one: rewrite = { hostname = \"inner.example.com\" }",
    ),
    (
        "hash hash_policy balance lb algorithm",
        "the pool's scheduler hashes: scheduler = { name = \"ch\", key = \"source\" }; `sticky` keeps clients by a cookie",
    ),
    (
        "websocket websockets ws upgrade upgrades enable_websocket upgrade_configs",
        "WebSockets and other upgrades are forwarded without a key; `tunnel_timeout` bounds their silence",
    ),
    (
        "grpc grpc_pass",
        "gRPC needs protocol = \"http2\" in the pool, and mostly an https service",
    ),
    (
        "retries retry retry_policy num_retries proxy_next_upstream attempts",
        "write in the pool: retries = { attempts = 2, on = [\"connect\", 503] }",
    ),
    (
        "read_timeout proxy_read_timeout timeout_server response_header_timeout server_timeout",
        "the key for this is `response_timeout`: until the response begins, and longest silence within it",
    ),
    (
        "stream_timeout",
        "a WebSocket's silence is bounded by `tunnel_timeout`, a whole exchange by `request_timeout`",
    ),
    (
        "send_timeout client_timeout",
        "the key for this is `idle_timeout`",
    ),
    (
        "limit_conn max_connections maxconn inflightreq",
        "connections of clients: limits = { connections_per_source = 100 } of the service; requests at each server: max_connections of the pool",
    ),
    (
        "redirect_https https_redirect force_https ssl_redirect redirect_scheme https_only",
        "write: redirect = { scheme = \"https\", status = 301 }",
    ),
    (
        "redirect_to redirect_url redirect_prefix redirectregex",
        "write: redirect = { location = \"https://www.example.com/\" }",
    ),
    (
        "status body code deny_status",
        "write: respond = { status = 404, body = \"…\" }",
    ),
    (
        "hsts strict_transport_security",
        "write: response_headers = { set = { Strict-Transport-Security = \"max-age=31536000\" } }",
    ),
    (
        "user_agent referer header_match hdr hdr_beg hdr_reg header_regexp content_type accept language accept_language",
        "write: headers = { User-Agent = { regex = \"Mobile\" } }, or another field",
    ),
    (
        "param params args query_param url_param query_params parameters query_param_match",
        "write: query = { name = \"value\" }",
    ),
    ("order rank precedence", "the key for this is `priority`"),
    (
        "maintenance",
        "it is a key of the service; of one route: respond = { status = 503 }",
    ),
    (
        "tls ssl certificates",
        "clients' TLS is the service's (`certificates`), TLS towards servers the pool's: tls = true",
    ),
    (
        "middleware middlewares filter filters chain handle typed_per_filter_config",
        "filters are keys of the route: request_headers, response_headers, rewrite, rate_limit and others",
    ),
    (
        "cookie_affinity persistence session_affinity stickiness",
        "write: sticky = { cookie = \"lb\" }",
    ),
];

pub(super) const PATH: Answers = &[
    (
        "path_prefix starts_with begins_with begins beg path_beg",
        "the key for this is `prefix`: whole segments, so \"/api\" takes /api and /api/x, not /apix",
    ),
    (
        "glob pattern wildcard path_regex regexp path_regexp reg re matches",
        "the key for this is `regex`: { regex = \"^/api/[^/]+/edit$\" }",
    ),
    (
        "contains sub suffix end ends_with extension",
        "the key for this is `regex`: { regex = '\\.php$' } takes what ends so",
    ),
    (
        "equals equal eq is full path",
        "the key for this is `exact`",
    ),
    (
        "not",
        "paths are not negated: a route for the path itself goes first, as the more exact one",
    ),
];

pub(super) const VALUE: Answers = &[
    (
        "prefix starts_with begins beg suffix end ends_with contains sub substring pattern regexp safe_regex safe_regex_match",
        "the key for this is `regex`: { regex = \"^v2\" } takes what begins so",
    ),
    (
        "equals equal eq is value string_match",
        "the key for this is `exact`",
    ),
    (
        "exists found present_match has",
        "the key for this is `present`",
    ),
];

pub(super) const HEADER_EDIT: Answers = &[
    ("append insert", "the key for this is `add`"),
    ("delete del unset hide drop", "the key for this is `remove`"),
    ("replace overwrite put", "the key for this is `set`"),
];

pub(super) const REWRITE: Answers = &[
    (
        "host host_header authority host_rewrite hostnames vhost",
        "the key for this is `hostname`",
    ),
    (
        "prefix strip_prefix replace_prefix path_prefix prefix_rewrite strip_path_prefix replaceprefixmatch",
        "write: rewrite = { path = { replace_prefix = \"/\" } }",
    ),
    (
        "uri url full replace_full replacefullpath replace to target",
        "write: rewrite = { path = { replace_full = \"/new\" } }",
    ),
    (
        "regex replace_regex regex_rewrite path_regexp pattern from match",
        "write: rewrite = { path = { replace_regex = \"^/users/([0-9]+)\", with = \"/u/$1\" } }",
    ),
];

pub(super) const PATH_REWRITE: Answers = &[
    (
        "prefix strip_prefix replaceprefixmatch",
        "the key for this is `replace_prefix`",
    ),
    (
        "full exact replacefullpath",
        "the key for this is `replace_full`",
    ),
    ("to replacement substitution", "the key for this is `with`"),
];

pub(super) const REDIRECT: Answers = &[
    (
        "url uri to target destination href return",
        "the key for this is `location`: location = \"https://www.example.com$uri\"",
    ),
    (
        "host server domain host_redirect server_name",
        "the key for this is `hostname`",
    ),
    (
        "code status_code response_code permanent type",
        "the key for this is `status`: 301, 302, 303, 307 or 308",
    ),
    (
        "https https_redirect ssl protocol",
        "write: redirect = { scheme = \"https\" }",
    ),
    (
        "prefix prefix_rewrite replace_prefix",
        "write: redirect = { path = { replace_prefix = \"/new\" } }",
    ),
    (
        "path_redirect full replace_full",
        "write: redirect = { path = { replace_full = \"/new\" } }",
    ),
    (
        "regex replace_regex",
        "write: redirect = { path = { replace_regex = \"^/old/(.*)\", with = \"/new/$1\" } }",
    ),
];

pub(super) const RESPOND: Answers = &[
    (
        "code status_code return_code response_code",
        "the key for this is `status`",
    ),
    (
        "headers header response_headers",
        "write beside it, in the route: response_headers = { set = { X-Name = \"value\" } }",
    ),
    (
        "content text message data string lf_string",
        "the key for this is `body`",
    ),
    (
        "type mime mime_type contenttype media_type default_type",
        "the key for this is `content_type`",
    ),
    ("path filename lf_file", "the key for this is `file`"),
];

pub(super) const RATE_LIMIT: Answers = &[
    (
        "by source per_ip per_client ip zone_key track",
        "the key for this is `key`: \"source\", \"route\", { header = \"X-API-Key\" } or { cookie = \"sid\" }",
    ),
    (
        "interval unit seconds fill_interval",
        "the key for this is `per`",
    ),
    (
        "rps limit max max_requests tokens rate_limit",
        "the key for this is `requests`: { requests = 100, per = \"1s\" }",
    ),
    (
        "burst_size max_tokens bucket",
        "the key for this is `burst`",
    ),
    (
        "status code deny_status limit_req_status",
        "others get 429 with Retry-After; `error_pages` can send another status",
    ),
    (
        "delay nodelay",
        "requests that come too fast are refused, not delayed",
    ),
];

pub(super) const STICKY: Answers = &[
    (
        "name cookie_name",
        "the key for this is `cookie`: sticky = { cookie = \"lb\" }",
    ),
    (
        "secure http_only same_site path domain",
        "the cookie is HttpOnly; SameSite=Lax; Path=/, and Secure for https: there is nothing to set",
    ),
    (
        "header source ip",
        "clients stay by a cookie; by address or header field: the pool's scheduler = { name = \"ch\", key = \"source\" }",
    ),
];

pub(super) const SHARE: Answers = &[
    (
        "pool backend service cluster upstream target",
        "the key for this is `name`: { name = \"v1\", weight = 9 }",
    ),
    (
        "percent share ratio percentage",
        "the key for this is `weight`",
    ),
];

pub(super) const MIRROR: Answers = &[
    (
        "name to target service backend cluster url",
        "the key for this is `pool`",
    ),
    (
        "rate sample weight sampling",
        "the key for this is `percent`",
    ),
];

pub(super) const BASIC_AUTH: Answers = &[(
    "user username password user_list accounts",
    "users stand in a file that htpasswd writes: file = \"users.htpasswd\"",
)];
