// SPDX-License-Identifier: MIT
//! Keys of other programs in pools, and in what pools have.

use super::Answers;

const TLS: &str = "write: tls = true; or tls = { ca = \"ca.pem\", server_name = \"app.internal\" }";

pub(super) const POOL: Answers = &[
    (
        "idle_timeout idle_conn_timeout keepalive_time",
        "the key for this is `keepalive_timeout`: how long an idle connection to a server is kept",
    ),
    (
        "warmup ramp ramp_up weight_up",
        "the key for this is `slow_start`: a time such as \"30s\"",
    ),
    (
        "lb_try_duration lb_retries retry retry_on num_retries try_duration",
        "write: retries = { attempts = 2, on = [\"connect\", 503] }",
    ),
    (
        "fullconn max_pending",
        "write: max_connections = 100, queue = { length = 1024, timeout = \"5s\" }",
    ),
    (
        "nat fullnat dsr tunnel masquerade",
        "the key for this is `forward`: nat or fullnat",
    ),
    (
        "bind_address local_addr local_address source_address proxy_bind",
        "the address from which servers are connected cannot be set",
    ),
    (
        "flush_interval response_forwarding",
        "responses are passed on as they come: there is nothing to flush",
    ),
    (
        "default_server",
        "settings of all servers are keys of the pool",
    ),
    (
        "type kind",
        "servers are addresses or names, whichever is given; how one is chosen is `scheduler`",
    ),
    (
        "sticky cookie persistence session_affinity session_persistence sticky_session sticky_sessions stickiness stick_table stick affinity session sticky_cookie",
        "clients stay at their server by the route's sticky = { cookie = \"lb\" }; by address: scheduler = \"sh\"",
    ),
    (
        "hash hash_key hash_policy hash_on hash_type consistent_hash ip_hash",
        "write: scheduler = { name = \"ch\", key = \"source\" }; the key may be \"path\", \"host\", { header = \"X-User\" } or { cookie = \"sid\" } too",
    ),
    (
        "backup backups backup_servers backup_server",
        "write in `servers`: { address = \"10.0.0.9:8080\", backup = true }; a whole pool: fallback = \"other\"",
    ),
    (
        "max_fails fall fail_timeout unhealthy_request_count max_failures failures eject outlier_detection observe error_limit on_error fail_duration unhealthy_status unhealthy_latency",
        "write: passive = { failures = 3, eject = \"10s\" }",
    ),
    (
        "lb algorithm policy strategy method mode balance lb_policy lb_algorithm load_balancer load_balancing least_conn round_robin random ring_hash_lb_config common_lb_config maglev",
        "the key for this is `scheduler`: \"wlc\", \"rr\", \"p2c\", \"ch\" or another one",
    ),
    (
        "members member backends backend nodes node endpoints endpoint targets target hosts host server address addresses upstream upstreams url urls to",
        "write: servers = [\"10.0.0.1:8080\"]",
    ),
    (
        "weight weights port priority",
        "write in `servers`: { address = \"10.0.0.1:8080\", weight = 3 }",
    ),
    (
        "verify insecure insecure_skip_verify skip_verify ca ca_file sni server_name ssl_verify verify_hostname cert client_cert client_certificate key tls_insecure_skip_verify tls_server_name",
        "write: tls = { ca = \"ca.pem\", server_name = \"app.internal\" }; verify and certificate are keys of that table too",
    ),
    (
        "scheme proto https ssl use_tls transport transport_socket servers_transport",
        TLS,
    ),
    (
        "http2 h2 h2c grpc http_version versions alpn http2_protocol_options",
        "write: protocol = \"http2\"; or \"auto\", with tls = true",
    ),
    (
        "read_timeout server_timeout timeout_server proxy_read_timeout response_header_timeout timeout",
        "the key for this is `response_timeout`: until the response begins, and longest silence within it",
    ),
    (
        "timeouts timeout_connect dial_timeout proxy_connect_timeout",
        "the keys for this are `connect_timeout` and `response_timeout`",
    ),
    (
        "stream_timeout tunnel_timeout",
        "write in the route: `tunnel_timeout` for WebSockets, `request_timeout` for a whole exchange",
    ),
    (
        "disabled down maintenance state enabled",
        "write: drain = true; for a single server, in `servers`: { address = \"10.0.0.1:8080\", drain = true }",
    ),
    (
        "pass_host_header preserve_host upstream_vhost host_header http_send_name_header",
        "servers get the client's Host; for another one, in the route: rewrite = { hostname = \"inner.example.com\" }",
    ),
    (
        "check checks httpchk option_httpchk healthcheck health_checks health_path health_uri probe monitor health_interval health_timeout health_status health_body health_headers health_port option",
        "write: health = { http = \"/healthz\" }; port, interval, timeout, status, body and headers are keys of that table",
    ),
    (
        "keepalive_requests max_requests_per_connection max_reuse",
        "connections are kept for any number of requests; `keepalive` says how many idle ones, `keepalive_timeout` how long",
    ),
    (
        "http_reuse pool_max_conn max_idle_conns keep_alive max_idle_conns_per_host max_idle keepalive_idle_conns idle_connections",
        "the key for this is `keepalive`: idle connections kept for each server",
    ),
    (
        "name",
        "the name stands in the head of the table: [pool.NAME]",
    ),
    (
        "dynamic a srv load_assignment",
        "servers may be names, which are resolved again and again: servers = [\"app.internal:8080\"], or \"srv:_http._tcp.app.internal\"",
    ),
];

pub(super) const SERVER: Answers = &[
    (
        "addr ip host hostname port url endpoint dial target uri server name_and_port",
        "the key for this is `address`, with the port: { address = \"10.0.0.1:8080\" }",
    ),
    (
        "priority standby failover",
        "a server that waits for the others to fail has backup = true",
    ),
    (
        "state draining down disabled disable maintenance enabled admin_state status maint offline",
        "a server is taken out by drain = true: it gets no new requests; at run time: l7ctl drain POOL/SERVER",
    ),
    ("check_port port_check", "the key for this is `health_port`"),
    (
        "tls ssl sni verify scheme https",
        "TLS is for the pool as a whole: [pool.NAME] with tls = true",
    ),
    (
        "check health health_check http",
        "checks are for the pool as a whole: [pool.NAME] with health = { http = \"/healthz\" }",
    ),
    (
        "max_fails fail_timeout",
        "write in the pool: passive = { failures = 3, eject = \"10s\" }",
    ),
    (
        "id name label tag cookie",
        "a server has no name: logs, metrics and l7ctl show its address",
    ),
    (
        "slow_start",
        "it is for the pool as a whole: [pool.NAME] with slow_start = \"30s\"",
    ),
];

pub(super) const SERVER_TLS: Answers = &[
    (
        "cert key client_cert client_certificate client_key crt certificates",
        "write: certificate = { cert = \"client.pem\", key = \"client.key\" }",
    ),
    (
        "root roots root_ca trusted ca_cert trust_pool",
        "the key for this is `ca`",
    ),
    (
        "enabled enable",
        "tls = true, or a table, is TLS towards the servers; tls = false is none",
    ),
    (
        "alpn protocols http2",
        "write in the pool: protocol = \"http2\" or \"auto\"",
    ),
    (
        "min_version max_version version versions",
        "TLS 1.2 and 1.3 are spoken towards servers: there is nothing to set",
    ),
];

pub(super) const SCHEDULER: Answers = &[
    (
        "type kind policy algorithm method lb strategy",
        "the key for this is `name`: { name = \"ch\", key = \"source\" }",
    ),
    (
        "on by source hash hash_key hash_on cookie header uri path host",
        "the key for this is `key`: \"source\", \"path\", \"host\", { header = \"X-User\" } or { cookie = \"sid\" }",
    ),
    (
        "balance_factor hash_balance_factor bound bounded",
        "the key for this is `load`",
    ),
    (
        "weights weight choices choice_count",
        "weights stand in `servers`: { address = \"10.0.0.1:8080\", weight = 3 }",
    ),
];

const PROBES: &str = "http = \"/healthz\", tcp = true or grpc = \"\" says what is tried";

pub(super) const HEALTH: Answers = &[
    (
        "healthy healthy_threshold success_threshold successes passes",
        "the key for this is `rise`",
    ),
    (
        "unhealthy unhealthy_threshold failure_threshold failures fails threshold max_fails retries",
        "the key for this is `fall`",
    ),
    (
        "contains expect_body expected_body match string rstring response receive body_regex",
        "the key for this is `body`",
    ),
    (
        "expect expected expect_status expected_status expected_codes statuses codes code",
        "the key for this is `status`: 200, or \"200-299\"",
    ),
    ("type protocol kind mode check", PROBES),
    (
        "path uri url endpoint health_path send",
        "the key for this is `http`",
    ),
    (
        "enabled enable active",
        "leave `health` out for no active checks",
    ),
    (
        "scheme tls ssl",
        "checks speak TLS if the pool does: tls = true",
    ),
    (
        "every period inter delay frequency check_interval",
        "the key for this is `interval`",
    ),
    (
        "initial_delay start_period slow_start jitter unhealthy_interval fastinter downinter",
        "there is one `interval`, varied within a tenth",
    ),
    ("header request_headers", "the key for this is `headers`"),
    (
        "passive",
        "write in the pool: passive = { failures = 3, eject = \"10s\" }",
    ),
    (
        "service service_name grpc_service",
        "the key for this is `grpc`",
    ),
];

pub(super) const PASSIVE: Answers = &[
    (
        "max_fails max_failures consecutive_errors consecutive_5xx threshold errors error_limit count fall",
        "the key for this is `failures`",
    ),
    (
        "fail_timeout fail_duration base_ejection_time ejection_time duration time timeout cooldown",
        "the key for this is `eject`",
    ),
    (
        "max_ejection_percent interval status statuses unhealthy_status",
        "there is no such bound: `failures` in a row eject a server, `eject` says for how long",
    ),
];

pub(super) const RETRIES: Answers = &[
    (
        "max count number num times tries max_retries num_retries limit",
        "the key for this is `attempts`",
    ),
    (
        "conditions condition when if status statuses codes retry_on",
        "the key for this is `on`: [\"connect\", \"reset\", \"timeout\", 502, 503]",
    ),
    (
        "timeout per_try_timeout try_duration",
        "each attempt has the pool's `response_timeout`; `on` may have \"timeout\"; the whole: `request_timeout` of the route",
    ),
    (
        "interval backoff delay try_interval initial_interval",
        "another server is tried at once, without a pause",
    ),
    ("method", "the key for this is `methods`"),
    ("non_idempotent", "write: methods = [\"GET\", \"POST\"]"),
];

pub(super) const QUEUE: Answers = &[
    (
        "size max limit depth maxqueue maxlen max_length",
        "the key for this is `length`",
    ),
    ("time wait max_wait", "the key for this is `timeout`"),
];
