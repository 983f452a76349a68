// SPDX-License-Identifier: MIT
//! What is not there, and what is no matter of rules.

use super::Answers;

/// What cannot be had here at all, with the reason: no word is proposed that only looks alike.
pub(super) const KEYS: Answers = &[
    (
        "php_fastcgi fastcgi fastcgi_pass uwsgi_pass scgi_pass ajp",
        "servers speak HTTP: put one that speaks this protocol behind it",
    ),
    (
        "templates ssi",
        "bodies are fixed: variables are for fields and for `location`",
    ),
    (
        "grpc_web grpc_json grpc_json_transcoder transcoding",
        "gRPC is passed on as it is, and not translated",
    ),
    (
        "description comment tags labels annotations metadata",
        "write a comment: # …",
    ),
    (
        "peers sync",
        "switches share nothing; sticky cookies are understood by all that have the same `key`",
    ),
    (
        "mailers email_alert alerts alerting",
        "no mails are sent: metrics and l7ctl tell the state",
    ),
    (
        "providers provider discovery service_discovery consul etcd zookeeper kubernetes docker nomad xds eds",
        "rules are files, which are reloaded when they change; servers may be names: \"app.internal:8080\" or \"srv:_http._tcp.app.internal\"",
    ),
    (
        "http3 h3 quic",
        "HTTP/3 is not supported; clients fall back to HTTP/2",
    ),
    (
        "lua script scripts scripting js njs wasm perl spoe filter_chain ext_proc plugin plugins",
        "there is no scripting",
    ),
    (
        "digest auth_digest digest_auth",
        "Digest authentication is not supported: use basic_auth over https",
    ),
    (
        "jwt oidc oauth oauth2 openid openid_connect saml jwt_authn auth_jwt",
        "tokens are not read here, and nobody is sent to log in: let external_auth ask a server that does",
    ),
    (
        "dns-01 dnschallenge",
        "the DNS-01 challenge is not supported: it would need access to your name servers",
    ),
    (
        "compression compress gzip gunzip brotli zstd deflate encode compressor",
        "the switch does not compress",
    ),
    ("sctp", "SCTP is not supported"),
    ("udp", "UDP is not supported"),
    (
        "ciphers cipher_suites ssl_ciphers tls_ciphers",
        "cipher suites cannot be chosen: only AEAD suites with forward secrecy are spoken",
    ),
    (
        "root static static_files file_server docroot document_root alias autoindex try_files index browse serve directory_listing",
        "the switch serves no files: a pool's server does. respond = { file = \"page.html\" } is one fixed response",
    ),
    (
        "cache caching proxy_cache http_cache cache_use cache_store cache_control proxy_cache_path",
        "the switch does not cache responses",
    ),
    (
        "fault fault_injection faults abort",
        "faults are not injected: respond = { status = 503 } is a fixed response",
    ),
    (
        "buffering proxy_buffering request_buffering buffer buffers proxy_request_buffering",
        "requests and responses are passed on as they come, and are not buffered",
    ),
    (
        "geo geoip country maxmind",
        "addresses are not looked up by country: a route's `source` takes address prefixes",
    ),
    (
        "time schedule hours cron",
        "routes do not depend on the time of day: change the rules at the time, they are reloaded without a break",
    ),
    (
        "exec command external_check",
        "no programs are run: checks are http, tcp or grpc",
    ),
    (
        "tracing trace traces opentelemetry otel otlp zipkin jaeger",
        "traces are no matter of rules: l7switch --otlp http://collector:4318 sends them",
    ),
    (
        "request_id x_request_id unique_id unique_id_format unique_id_header generate_request_id",
        "write in a route: request_headers = { set = { X-Request-Id = \"$request_id\" } }",
    ),
    (
        "waf modsecurity coraza",
        "contents of requests are not looked into; external_auth can ask a server",
    ),
    (
        "sub_filter substitute replace_body rewrite_body",
        "bodies are passed on as they are",
    ),
    (
        "ldap",
        "only files of users are read (basic_auth); external_auth can ask a server",
    ),
];

/// Settings of the process, which are options of its command line (docs/front.md), or of the system.
pub(super) const OPTIONS: Answers = &[
    (
        "reuse_port reuse_port_bind",
        "sharing an address with others is an option of the command line: l7switch --reuse-port",
    ),
    (
        "server_state_file state_file server_state_base load_server_state_from_file",
        "the state file is an option of the command line: l7switch --state FILE",
    ),
    (
        "hot_restart take_over upgrade_sock master_worker restart_epoch graceful_restart",
        "a front takes another one's place by an option of the command line: l7switch --take-over",
    ),
    (
        "log_fields access_log_fields log_sample access_log_sample sampling",
        "what is logged is an option of the command line: l7switch --log-fields FIELDS, --log-sample PERCENT",
    ),
    (
        "backlog tcp_nodelay nodelay defer_accept fastopen tcp_fastopen ipv6only interface transparent tcp_keepalive so_keepalive sndbuf rcvbuf freebind",
        "options of sockets cannot be set here",
    ),
    (
        "metrics prometheus stats statistics stats_uri stub_status status_page monitoring",
        "metrics are an option of the command line: l7switch --metrics ADDRESS",
    ),
    (
        "access_log access_logs custom_log option_httplog httplog",
        "the access log is an option of the command line: l7switch --access-log with a file, `-`, journald or syslog",
    ),
    (
        "log_format access_log_format log_tag",
        "the format of the access log is an option of the command line: l7switch --log-format text, json, common, combined or a template; --log-fields chooses fields",
    ),
    (
        "log logs logging logger error_log log_level debug syslog journald error_log_format",
        "logs are options of the command line: --access-log TARGET, --log-format FORMAT, --log-level FILTER, --error-log-format FORMAT",
    ),
    (
        "admin admin_api admin_socket api dashboard stats_socket runtime_api",
        "the admin socket is an option of the command line: l7switch --admin PATH; `l7ctl` asks it",
    ),
    (
        "threads nbthread nbproc worker_processes worker_connections workers cpus concurrency",
        "the number of threads is an option of the command line: l7switch --threads N",
    ),
    (
        "kernel module kernel_module ebpf xdp ipvs",
        "the kernel module is used if it is loaded: l7switch --kernel auto, off or require; a service has `datapath`",
    ),
    (
        "drain_timeout shutdown_timeout hard_stop_after grace_period grace_timeout worker_shutdown_timeout graceful_timeout shutdown",
        "how long requests may go on at the end is an option of the command line: l7switch --drain-timeout TIME",
    ),
    (
        "watch reload auto_reload hot_reload",
        "files are watched, and the rules reloaded when one changes; `--no-watch` of the command line turns it off",
    ),
    (
        "resolver resolvers dns nameserver nameservers dns_resolvers dns_servers resolver_timeout dns_lookup_family dns_refresh_rate",
        "names are resolved as the system is configured (/etc/hosts, /etc/resolv.conf): there is nothing to set here",
    ),
];
