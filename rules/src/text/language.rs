// SPDX-License-Identifier: MIT
//! The rule language as types: what may stand in a rule file, and its JSON Schema.
//!
//! These types are the one definition of the language: keys are read by them, unknown keys are told from
//! them, and editors get a schema made from them. What the values mean together, [`crate::load`] checks.

use schemars::JsonSchema;

use super::address::Address;
pub use super::choice::*;
use super::quantity::*;
use super::read::Node;
use super::read::Read;
use super::read::Reader;
pub use super::schema::json_schema;
use super::source::At;
use super::value::*;

/// Defines tables of the language: a key a field, all optional here.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            /// Whether a key was unknown or unreadable: then a key that is missing may have been meant.
            #[schemars(skip)]
            pub broken: bool,
        }

        impl $name {
            /// Its keys.
            pub(crate) const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl Read for $name {
            fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
                let mut table = Self::default();
                for (key, value) in reader.table(node, wanted(stringify!($name)))?.iter() {
                    match key.get_ref().as_ref() {
                        $(stringify!($field) => {
                            let outer = std::mem::replace(
                                &mut reader.at,
                                concat!(stringify!($name), ".", stringify!($field)),
                            );
                            table.$field = Read::read(value, reader);
                            reader.at = outer;
                            table.broken |= table.$field.is_none();
                        })*
                        _ => {
                            reader.unknown_key(key, stringify!($name), Self::KEYS);
                            table.broken = true;
                        }
                    }
                }
                Some(table)
            }
        }
    )*};
}

mod pool;
mod tls;

pub use pool::*;
pub use tls::*;

/// What a table of the language looks like, for those whose place invites a plain value.
fn wanted(table: &str) -> &'static str {
    match table {
        "PathText" => "a table such as { prefix = \"/img\" }",
        "PathRewriteText" => "a table such as { replace_prefix = \"/\" }",
        "RespondText" => "a table such as { status = 404 }",
        "RedirectText" => "a table such as { scheme = \"https\" }",
        "CertificateText" => "a table such as { cert = \"chain.pem\", key = \"key.pem\" }",
        "AcmeText" => "a table such as { terms_agreed = true, state = \"/var/lib/l7switch/acme\" }",
        "ExternalAccountText" => "a table such as { id = \"kid-1\", key = \"account.key\" }",
        "ClientCertificatesText" => "a table such as { ca = \"ca.pem\" }",
        "TlsText" => "a table such as { min_version = \"1.3\" }",
        "ShareText" => "a table such as { name = \"v1\", weight = 9 }",
        "RateLimitText" => "a table such as { requests = 100, per = \"1s\" }",
        "CorsText" => "a table such as { allow_origins = \"https://app.example.com\" }",
        "BasicAuthText" => "a table such as { file = \"users.htpasswd\" }",
        "ExternalAuthText" => "a table such as { pool = \"auth\", path = \"/verify\" }",
        "MirrorText" => "a table such as { pool = \"shadow\", percent = 10 }",
        "StickyText" => "a table such as { cookie = \"lb\" }",
        "PageText" => "a file's path or a table such as { file = \"error.html\" }",
        "MaintenanceText" => "a table such as { except = [\"192.0.2.0/24\"] }",
        "QueueText" => "a table such as { length = 1024, timeout = \"5s\" }",
        "HealthText" => {
            "a table such as { http = \"/healthz\" }, { tcp = true } or { grpc = \"\" }"
        }
        _ => "a table",
    }
}

tables! {
    /// A rule file of l7switch: virtual services, their routes, and pools of real servers.
    RuleFile {
        /// Virtual services by name.
        service: Entries<At<ServiceText>>,
        /// Pools of real servers by name.
        pool: Entries<At<PoolText>>,
        /// The authority of which certificates are ordered by ACME; default: none.
        acme: At<AcmeText>,
    }

    /// A virtual service: what clients connect to.
    ServiceText {
        /// Addresses to listen on.
        listen: At<OneOrMany<At<Address>>>,
        /// Protocol: http (default), https, tls (passed through by server name), tcp.
        protocol: At<ProtocolWord>,
        /// Which data path serves it: auto (default), kernel, front.
        datapath: At<DatapathWord>,
        /// Path contents that are refused with 400 otherwise.
        allow: OneOrMany<AllowWord>,
        /// Path contents that are refused; allowed otherwise.
        refuse: OneOrMany<RefuseWord>,
        /// Certificates of an https service, chosen by server name; the first one if no name matches.
        certificates: At<OneOrMany<At<CertificateText>>>,
        /// Certificates that clients of an https service are asked for; default: none.
        client_certificates: At<ClientCertificatesText>,
        /// How an https service speaks TLS.
        tls: At<TlsText>,
        /// Bounds on what a client may do.
        limits: LimitsText,
        /// Proxies in front of the switch whose X-Forwarded-* and Forwarded fields are trusted.
        trusted: At<OneOrMany<Prefix>>,
        /// Whether connections begin with a PROXY header (version 1 or 2), or the peers whose connections do; default: false.
        accept_proxy: At<AcceptProxyChoice>,
        /// Whether the front adds Via to requests and responses; default: false.
        via: At<bool>,
        /// Whether all requests are refused (503) for now, or the clients whose requests are not; default: false.
        maintenance: At<MaintenanceChoice>,
        /// Pages in place of errors, by status ("404") or range of statuses ("500-599").
        error_pages: At<Entries<At<PageChoice>>>,
        /// Routes; which one wins does not depend on their order until the last step.
        route: Vec<At<RouteText>>,
    }

    /// Bounds on what a client may do to a service.
    LimitsText {
        /// Longest request head; default: 16KiB.
        head: At<Size>,
        /// Most header fields; default: 100.
        fields: At<i64>,
        /// Time for a head or a TLS handshake to be complete; default: 10s.
        head_timeout: Time,
        /// Longest silence of a connection; default: 60s.
        idle_timeout: Time,
        /// Longest silence of a tunnel (a connection after an upgrade, such as a WebSocket) in both directions; default: no limit.
        tunnel_timeout: At<Time>,
        /// Client connections at the same time; default: 65536.
        connections: At<i64>,
        /// Connections of one client at the same time; default: no limit.
        connections_per_source: At<i64>,
        /// How many bits of an IPv4 address tell clients apart; default: 32.
        prefix_v4: At<i64>,
        /// How many bits of an IPv6 address tell clients apart; default: 64.
        prefix_v6: At<i64>,
        /// Longest content of a request; default: no limit.
        body: At<Size>,
    }

    /// A route: conditions, filters, and one action (pool, pools, respond or redirect).
    RouteText {
        /// Name, shown by explain, logs and metrics.
        name: At<String>,
        /// The greater one wins before all other rules; default: 0.
        priority: At<i64>,
        /// Hosts (TLS server names for protocol tls), or regular expressions that are found in them; any of them.
        host: At<OneOrMany<At<HostChoice>>>,
        /// Paths, any of them.
        path: At<OneOrMany<At<PathText>>>,
        /// Methods, any of them.
        method: At<OneOrMany<At<String>>>,
        /// Header fields, all of them.
        headers: At<Entries<ValueText>>,
        /// Query parameters, all of them.
        query: At<Entries<ValueText>>,
        /// Cookies, all of them.
        cookies: At<Entries<ValueText>>,
        /// Client addresses, any of them; with `!` before them: none of them.
        source: At<OneOrMany<SourcePrefix>>,
        /// Forward to this pool.
        pool: At<String>,
        /// Forward to these pools by weight.
        pools: At<Vec<At<ShareText>>>,
        /// With pools: the share of a pool without an available server is refused, not given to the others; default: false.
        strict: At<bool>,
        /// Pages of which other origins may send requests (CORS); default: the servers say it.
        cors: At<CorsText>,
        /// Users and passwords that requests must have (the Basic scheme).
        basic_auth: At<BasicAuthText>,
        /// A pool whose servers say whether a request goes on.
        external_auth: At<ExternalAuthText>,
        /// With pool or pools: another pool that gets copies of requests; its responses go to nobody.
        mirror: At<MirrorText>,
        /// With pool or pools: a cookie by which a client stays at its pool and server.
        sticky: At<StickyText>,
        /// Answer from the switch.
        respond: At<RespondText>,
        /// Redirect the client.
        redirect: At<RedirectText>,
        /// Changes to the request's header fields.
        request_headers: At<HeaderEditText>,
        /// Changes to the response's header fields.
        response_headers: At<HeaderEditText>,
        /// Host and path that the real server sees.
        rewrite: At<RewriteText>,
        /// Time for the response to begin; default: the pool's.
        response_timeout: At<Time>,
        /// Time from the request's head to the end of its response; default: no limit.
        request_timeout: At<Time>,
        /// Longest silence of the client within an exchange; default: that of the service.
        idle_timeout: At<Time>,
        /// Longest silence of a tunnel in both directions; default: that of the service.
        tunnel_timeout: At<Time>,
        /// How many requests may come in what time; default: no limit.
        rate_limit: At<RateLimitText>,
        /// Longest content of a request; default: that of the service.
        body_limit: At<Size>,
        /// Pages in place of errors, before those of the service.
        error_pages: At<Entries<At<PageChoice>>>,
    }

    /// How many requests of one client may come in what time. Others are refused (429).
    RateLimitText {
        /// Requests in the time of `per`, on average.
        requests: At<i64>,
        /// The time.
        per: Time,
        /// Requests that may come at once after a pause; default: as `requests`.
        burst: At<i64>,
        /// What is counted apart: source (default), route (all requests together), a header field or a cookie.
        key: At<RateKeyChoice>,
        /// How many bits of an IPv4 address tell clients apart; default: 32.
        prefix_v4: At<i64>,
        /// How many bits of an IPv6 address tell clients apart; default: 64.
        prefix_v6: At<i64>,
    }

    /// Requests of pages of other origins (CORS).
    CorsText {
        /// Origins such as `https://app.example.com` or `https://*.example.com`, any of them; or `*`.
        allow_origins: At<OneOrMany<At<String>>>,
        /// Methods that pages may use; default: GET, HEAD and POST.
        allow_methods: At<OneOrMany<At<String>>>,
        /// Header fields that pages may set; "*": all; default: those that need no permission.
        allow_headers: At<OneOrMany<At<String>>>,
        /// Header fields of responses that pages may read; default: those that need no permission.
        expose_headers: At<OneOrMany<At<String>>>,
        /// Whether requests may have cookies and other credentials; default: false.
        allow_credentials: At<bool>,
        /// How long browsers remember the answer; default: as they like.
        max_age: Time,
    }

    /// Users and passwords (the Basic scheme).
    BasicAuthText {
        /// File of users and hashed passwords, as htpasswd writes it, relative to the rule file.
        file: At<String>,
        /// What the browser shows when it asks for the password; default: the service's name.
        realm: At<String>,
    }

    /// Servers that say whether a request goes on.
    ExternalAuthText {
        /// Pool of these servers.
        pool: At<String>,
        /// Path of the request that they get.
        path: At<String>,
        /// Header fields of the client's request that they get; default: all.
        request_headers: At<OneOrMany<At<String>>>,
        /// Header fields of their response that go on with the client's request; default: none.
        response_headers: At<OneOrMany<At<String>>>,
        /// Time for the whole; default: 5s.
        timeout: Time,
    }

    /// Copies of requests.
    MirrorText {
        /// Pool that gets them.
        pool: At<String>,
        /// How many of a hundred requests are copied; default: 100.
        percent: At<i64>,
        /// Longest content of a request that is copied; default: 64KiB.
        body_limit: At<Size>,
    }

    /// A cookie by which a client stays at its server.
    StickyText {
        /// Name of the cookie, which the switch sets.
        cookie: At<String>,
        /// File of the keys that its values are made with, a line each; the first one makes new values. Default: one of the process's own.
        key: At<String>,
        /// How long browsers keep the cookie; default: as long as they run.
        max_age: Time,
    }

    /// A path: exactly one of these.
    PathText {
        /// This path.
        exact: At<String>,
        /// This path and all paths below it, by whole segments.
        prefix: At<String>,
        /// A path in which this regular expression is found.
        regex: At<String>,
    }

    /// A pool and its weight in a split.
    ShareText {
        /// Pool.
        name: At<String>,
        /// Weight relative to the others; default: 1.
        weight: At<i64>,
    }

    /// A fixed response.
    RespondText {
        /// Status code.
        status: At<i64>,
        /// Content; default: empty.
        body: At<String>,
        /// File with the content, relative to the rule file.
        file: At<String>,
        /// Content-Type; default: text/plain; charset=utf-8, and by the name of a file.
        content_type: At<String>,
    }

    /// A page in place of an error.
    PageText {
        /// File with the page, relative to the rule file.
        file: At<String>,
        /// The page.
        body: At<String>,
        /// Content-Type; default: text/html; charset=utf-8, and by the name of a file.
        content_type: At<String>,
        /// Status that is sent; default: the error's.
        status: At<i64>,
        /// Whether it also replaces servers' responses; default: false.
        intercept: bool,
    }

    /// Maintenance of a service.
    MaintenanceText {
        /// Clients that are served all the same.
        except: OneOrMany<Prefix>,
    }

    /// A redirect; what is not given is taken from the request.
    RedirectText {
        /// http or https.
        scheme: SchemeWord,
        /// Host name.
        hostname: At<String>,
        /// Port.
        port: At<i64>,
        /// Path.
        path: At<PathRewriteText>,
        /// The whole of Location, with variables, in place of scheme, hostname, port and path.
        location: At<String>,
        /// 301, 302 (default), 303, 307 or 308.
        status: At<i64>,
    }

    /// Header fields removed, set and added, in this order.
    HeaderEditText {
        /// Names.
        remove: OneOrMany<At<String>>,
        /// Fields that replace all of the same name; values may have variables, such as $client_address.
        set: Entries<At<String>>,
        /// Fields added to others of the same name; values may have variables.
        add: Entries<At<String>>,
    }

    /// What the real server sees in place of what the client sent.
    RewriteText {
        /// Host.
        hostname: At<String>,
        /// Path.
        path: At<PathRewriteText>,
    }

    /// A new path: exactly one of these.
    PathRewriteText {
        /// The whole path; the query stays.
        replace_full: At<String>,
        /// In place of the matched prefix; only where every path of the route is a prefix.
        replace_prefix: At<String>,
        /// In place of what this regular expression finds first in the path stands `with`.
        replace_regex: At<String>,
        /// What stands there; $1 is what the first group has found.
        with: At<String>,
    }

    /// Conditions on a value in the form of a table: exactly one of these.
    ValueTable {
        /// Exactly this.
        exact: At<String>,
        /// A value in which this regular expression is found.
        regex: At<String>,
        /// Whether it must be present.
        present: bool,
        /// Absent, or none of these.
        not: Box<At<ValueText>>,
    }
}
