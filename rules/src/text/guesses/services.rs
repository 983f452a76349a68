// SPDX-License-Identifier: MIT
//! Keys of other programs at the top of a file, in services and in what services have.

use super::Answers;

pub(super) const TOP: Answers = &[
    (
        "userlist users auth",
        "users stand in a file, which a route names: basic_auth = { file = \"users.htpasswd\" }",
    ),
    (
        "servers_transport transport",
        "TLS towards servers is the pool's: [pool.NAME] with tls = true",
    ),
    (
        "version schema name",
        "a rule file has no name and no version",
    ),
    (
        "certificates_resolvers",
        "the table for this is [acme]; a service has certificates = { acme = \"www.example.com\" }",
    ),
    (
        "server servers services tcp virtualhost vhost virtual_server frontend frontends listen listener listeners http site sites entrypoint entrypoints gateway apps stream hosts static_resources",
        "what clients connect to is a service: [service.NAME] with `listen` and routes; servers are in a pool: [pool.NAME]",
    ),
    (
        "pools backend backends upstream upstreams cluster clusters farm targets loadbalancer",
        "servers are in a pool: [pool.NAME] with servers = [\"10.0.0.1:8080\"]",
    ),
    (
        "route routes router routers location locations routing virtual_hosts",
        "routes belong to a service: [[service.NAME.route]]",
    ),
    (
        "tls ssl certificates certificate certs cert https",
        "certificates belong to a service: certificates = { cert = \"chain.pem\", key = \"key.pem\" }",
    ),
    (
        "global main process events config settings options program overload_manager layered_runtime",
        "settings of the process are options of the command line: --threads, --metrics, --access-log, --admin and others (docs/front.md)",
    ),
    (
        "defaults default common pool_defaults",
        "there are no defaults for several services or pools: each has its own keys",
    ),
    (
        "include includes import imports",
        "give l7switch a folder: all its *.toml files are read as one",
    ),
    (
        "user group uid gid daemon pidfile chroot pid",
        "the switch runs as the user that starts it: systemd and the like set the rest",
    ),
    (
        "middleware middlewares plugins map",
        "filters stand in the routes: request_headers, response_headers, rewrite, rate_limit and others",
    ),
];

const SOURCES: &str = "clients are told apart in routes: source = [\"10.0.0.0/8\"] takes these, source = \"!10.0.0.0/8\" all others; respond = { status = 403 } refuses";

pub(super) const SERVICE: Answers = &[
    (
        "http_request http_response tcp_request option options return handle rule middleware middlewares filter filters filter_chains add_header set_header proxy_set_header",
        "what is done with requests stands in the routes: [[service.NAME.route]]",
    ),
    (
        "auth auth_basic basicauth htpasswd",
        "write in a route: basic_auth = { file = \"users.htpasswd\" }",
    ),
    (
        "tls_options ssl_options transport_socket",
        "write: tls = { min_version = \"1.2\" }, and certificates = { cert = \"chain.pem\", key = \"key.pem\" }",
    ),
    (
        "ocsp ocsp_stapling ssl_stapling",
        "write: certificates = { cert = \"chain.pem\", key = \"key.pem\", ocsp = \"response.der\" }",
    ),
    (
        "sni strict_sni default_certificate default_server default",
        "a certificate is chosen by the names in it, the first one where none fits; routes have `host`",
    ),
    (
        "session_tickets session_cache",
        "TLS sessions are resumed: there is nothing to set",
    ),
    (
        "h2c",
        "HTTP/2 of clients is for protocol = \"https\"; towards servers a pool has protocol = \"http2\"",
    ),
    (
        "acme_challenge",
        "the table [acme] has `challenge`: http or tls-alpn",
    ),
    (
        "enabled disabled",
        "put # before its lines; maintenance = true refuses all requests",
    ),
    (
        "deny block blocklist blacklist acl access whitelist allowlist ip_allow_list ip_white_list ip ips client_ip src source sources remote_addr remote_ip allow_from satisfy",
        SOURCES,
    ),
    (
        "cert certs certificate crt key chain pem bundle ssl_certificate ssl_certificate_key tls_cert tls_key cert_file key_file server_certificate",
        "write: certificates = { cert = \"chain.pem\", key = \"key.pem\" }; one PEM file may be given for both",
    ),
    (
        "acme letsencrypt auto_https autocert certresolver tls_auto",
        "write: certificates = { acme = \"www.example.com\" }; the table [acme] says of whom they are ordered",
    ),
    (
        "min_tls_version tls_min_version minimum_tls_version min_version ssl_min_ver ssl_protocols tls_version tls_versions",
        "write: tls = { min_version = \"1.2\" }",
    ),
    (
        "alpn http2 h2 http_version",
        "an https service speaks HTTP/2 and HTTP/1, as the client wishes (ALPN): there is nothing to set",
    ),
    (
        "hsts strict_transport_security hsts_max_age",
        "write in the routes: response_headers = { set = { Strict-Transport-Security = \"max-age=31536000\" } }",
    ),
    (
        "redirect_https redirect_to_https https_redirect http_to_https force_https https_only ssl_redirect force_ssl redirect_scheme",
        "give an http service on port 80 one route: redirect = { scheme = \"https\", status = 301 }",
    ),
    (
        "client_ca ca ca_file client_cert verify verify_client ssl_verify_client client_auth mtls",
        "write: client_certificates = { ca = \"ca.pem\" }",
    ),
    (
        "rate_limit limit_req limit_rate throttle rps",
        "write in a route: rate_limit = { requests = 100, per = \"1s\" }",
    ),
    (
        "body_limit client_max_body_size max_body_size max_body max_request_body_size request_body",
        "write: limits = { body = \"10MiB\" }; a route has `body_limit`",
    ),
    (
        "max_connections maxconn max_conns connections connection_limit",
        "write: limits = { connections = 10000 }; for one client: connections_per_source",
    ),
    (
        "limit_conn connections_per_source max_connections_per_ip inflightreq",
        "write: limits = { connections_per_source = 100 }",
    ),
    (
        "timeout timeouts client_timeout timeout_client",
        "write: limits = { head_timeout = \"10s\", idle_timeout = \"60s\" }; for servers a pool has connect_timeout and response_timeout",
    ),
    (
        "keepalive_timeout keepalive timeout_http_keep_alive idle_timeout",
        "write: limits = { idle_timeout = \"60s\" }",
    ),
    (
        "read_timeout header_timeout client_header_timeout read_header_timeout request_header_timeout timeout_http_request handshake_timeout head_timeout",
        "write: limits = { head_timeout = \"10s\" }",
    ),
    (
        "tunnel_timeout timeout_tunnel websocket_timeout stream_timeout",
        "write: limits = { tunnel_timeout = \"1h\" }",
    ),
    (
        "max_header_size max_head_size header_size large_client_header_buffers max_header_bytes",
        "write: limits = { head = \"16KiB\" }",
    ),
    (
        "send_proxy proxy_protocol_out",
        "towards servers it is a key of the pool: send_proxy = \"v2\"; what clients send is read with accept_proxy = true",
    ),
    (
        "real_ip remote_ip_header real_ip_header set_real_ip_from trusted_proxies",
        "the key for this is `trusted`: the addresses of the proxies in front of the switch, which tell the client's",
    ),
    (
        "forwardfor forwarded_for x_forwarded_for xff option_forwardfor forwarded forwarded_headers x_forwarded_proto",
        "the front adds X-Forwarded-For, -Proto and -Host to requests itself; `trusted` says from whom they are believed",
    ),
    (
        "pool pools backend backends default_backend use_backend default_pool proxy_pass reverse_proxy upstream upstreams to target forward",
        "a route names the pool: [[service.NAME.route]] with pool = \"app\"",
    ),
    (
        "servers server",
        "servers are in a pool, [pool.app] with servers = [\"10.0.0.1:8080\"]; a route names it: pool = \"app\"",
    ),
    (
        "host hosts hostname hostnames server_name server_names domain domains",
        "hosts are conditions of routes: [[service.NAME.route]] with host = \"www.example.com\"",
    ),
    (
        "port entrypoint entrypoints bind_address socket network listeners ports bind address addresses listen_port listen_address addr",
        "write: listen = \"0.0.0.0:80\", or listen = [\"0.0.0.0:80\", \"[::]:80\"]",
    ),
    (
        "mode type",
        "the key for this is `protocol`: http, https, tls or tcp",
    ),
    (
        "routes location locations rules router",
        "write [[service.NAME.route]] for each route",
    ),
    (
        "name",
        "the name stands in the head of the table: [service.NAME]",
    ),
    (
        "kernel kernel_module offload",
        "the key for this is `datapath`: auto, kernel or front",
    ),
];

pub(super) const TLS: Answers = &[
    (
        "max_version maximum_version maximum max ssl_max_ver",
        "the newest version cannot be bounded: 1.3 is always spoken, and 1.2 unless min_version = \"1.3\"",
    ),
    (
        "minimum min minimum_version version versions min_tls_version protocol protocols ssl_protocols",
        "the key for this is `min_version`",
    ),
    (
        "cert key certs certificate certificates crt cert_file key_file pem",
        "write beside `tls`, in the service: certificates = { cert = \"chain.pem\", key = \"key.pem\" }",
    ),
    (
        "acme certresolver auto",
        "write beside `tls`, in the service: certificates = { acme = \"www.example.com\" }",
    ),
    (
        "ca client_ca client_auth verify verify_client client_certificates mtls",
        "write beside `tls`, in the service: client_certificates = { ca = \"ca.pem\" }",
    ),
    (
        "alpn http2",
        "HTTP/2 and HTTP/1 are spoken, as the client wishes: there is nothing to set",
    ),
    (
        "enabled mode terminate",
        "TLS ends at the switch with protocol = \"https\", and is passed through with protocol = \"tls\"",
    ),
    (
        "sni sni_strict strict_sni host",
        "a certificate is chosen by the names in it; routes have `host`",
    ),
    (
        "session_cache session_timeout session_tickets tickets",
        "sessions are resumed: there is nothing to set",
    ),
    (
        "prefer_server_ciphers",
        "cipher suites cannot be chosen: only AEAD suites with forward secrecy are spoken",
    ),
];

pub(super) const CERTIFICATE: Answers = &[
    (
        "name names host hosts hostname sni server_name sans subjects",
        "a certificate is chosen by the names in it: no key says them. To order one: { acme = [\"www.example.com\"] }",
    ),
    (
        "file pem certificate certificate_file crt chain fullchain cert_file bundle path certificate_chain",
        "the key for this is `cert`; `key` may name the same PEM file",
    ),
    (
        "private_key privkey key_file certificate_key",
        "the key for this is `key`",
    ),
    (
        "ca client_ca cafile client_certificates",
        "authorities between the certificate and the root belong into `cert`; those of clients into the service's client_certificates = { ca = \"ca.pem\" }",
    ),
    (
        "password passphrase key_password",
        "keys that are encrypted by a passphrase are not read: store it without one, readable by the switch only",
    ),
    (
        "default is_default default_certificate",
        "the first certificate of the list is shown where no name fits",
    ),
];

pub(super) const CLIENT_CERTIFICATES: Answers = &[
    (
        "optional mode verify require verify_mode",
        "the key for this is `required`: false serves clients without a certificate too",
    ),
    (
        "client_ca ca_file ca_certificate file authorities root roots root_ca",
        "the key for this is `ca`",
    ),
    (
        "depth verify_depth max_verify_depth",
        "the length of the chain cannot be set",
    ),
];

pub(super) const LIMITS: Answers = &[
    (
        "rate requests_per_second requests rps limit_req",
        "write in a route: rate_limit = { requests = 100, per = \"1s\" }",
    ),
    (
        "idle keepalive keepalive_timeout client_timeout timeout timeout_client",
        "the key for this is `idle_timeout`",
    ),
    (
        "header head_size header_size max_header max_header_size header_bytes",
        "the key for this is `head`",
    ),
    (
        "headers max_headers header_count",
        "the key for this is `fields`",
    ),
    (
        "header_timeout read_timeout read_header_timeout client_header_timeout handshake_timeout",
        "the key for this is `head_timeout`",
    ),
    (
        "per_source per_ip per_client connections_per_ip connections_per_client max_connections_per_ip",
        "the key for this is `connections_per_source`",
    ),
];

pub(super) const MAINTENANCE: Answers = &[
    (
        "allow whitelist allowlist ip source sources from",
        "the key for this is `except`",
    ),
    (
        "page body file message status",
        "write in the service: error_pages = { \"503\" = { file = \"maintenance.html\" } }",
    ),
];

pub(super) const ACME: Answers = &[(
    "root roots trusted_roots root_ca",
    "the key for this is `ca`",
)];
