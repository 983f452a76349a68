// SPDX-License-Identifier: MIT
//! The checked model: what a rule file means once every name in it is resolved.
//!
//! Nothing here can be inconsistent: pools are indices that exist, weights of a split sum to more
//! than zero, addresses are parsed. The front works from these types; the kernel gets the table
//! that [`crate::compile`] makes of them. Order in every `Vec` is the order in the rule file.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::names::Lookup;
pub use crate::names::NamedServer;
pub use crate::names::Resolve;
use ipnet::IpNet;
pub use l7switch_engine::sched::Kind as SchedulerKind;
use serde::Serialize;

use crate::template::Template;

mod acme;
mod auth;
mod cors;
mod files;
mod limits;
mod mirror;
mod pages;
mod pool;
mod rewrite;
mod tls;

pub use acme::Acme;
pub use acme::CHALLENGE_PREFIX;
pub use acme::Challenge;
pub use acme::ExternalAccount;
pub use acme::OrderedCertificate;
pub use auth::BasicAuth;
pub use auth::ExternalAuth;
pub use cors::Cors;
pub use cors::OriginMatch;
pub use l7switch_engine::table::codes::ProxyVersion;
pub use limits::Limits;
pub use limits::RateKey;
pub use limits::RateLimit;
pub use limits::SourcePrefix;
pub use mirror::Mirror;
pub use pages::Content;
pub use pages::Maintenance;
pub use pages::Page;
pub use pool::BodyTest;
pub use pool::Forward;
pub use pool::HashKey;
pub use pool::Health;
pub use pool::HttpProbe;
pub use pool::Passive;
pub use pool::Pool;
pub use pool::Probe;
pub use pool::Queue;
pub use pool::RealServer;
pub use pool::Retries;
pub use pool::RetryRule;
pub use pool::Scheduler;
pub use pool::ServerAddress;
pub use pool::ServerProtocol;
pub use pool::ServerTls;
pub use rewrite::PathRewrite;
pub use rewrite::RegexRewrite;
pub use rewrite::Substitute;
pub use tls::Certificate;
pub use tls::ClientCertificates;
pub use tls::Curve;
pub use tls::ServiceCertificate;
pub use tls::ServiceTls;
pub use tls::TlsVersion;

/// Everything that a rule file says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Model {
    /// Virtual services, sorted by name; a service's index here is its number in the table.
    pub services: Vec<Service>,
    /// Pools of real servers, sorted by name; indices in [`PoolShare`] point here.
    pub pools: Vec<Pool>,
    /// Where certificates are ordered; present where a service has one that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
}

impl Model {
    /// Whether requests of a service may be an authority's, which looks for the answer to an HTTP-01 challenge.
    pub fn answers_challenges(&self, service: &Service) -> bool {
        let acme = self.acme.as_ref();
        service.protocol == Protocol::Http
            && acme.is_some_and(|acme| acme.challenge == Challenge::Http)
    }
}

/// A virtual service: what clients connect to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Name, the key below `service`.
    pub name: String,
    /// Addresses that it listens on.
    pub listen: Vec<SocketAddr>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Which data path may serve it.
    pub datapath: Datapath,
    /// What in a path is let through that is refused by default.
    pub allow: AllowPath,
    /// Certificates; not empty for [`Protocol::Https`], empty otherwise.
    pub certificates: Vec<ServiceCertificate>,
    /// How it speaks TLS; for [`Protocol::Https`].
    pub tls: ServiceTls,
    /// Bounds on what a client may do.
    pub limits: Limits,
    /// Proxies in front of the switch whose X-Forwarded-* and Forwarded fields are believed.
    pub trusted: Vec<IpNet>,
    /// Peers whose connections begin with a PROXY header, which says who the client is.
    pub accept_proxy: Vec<IpNet>,
    /// Whether messages say in Via that they went through the switch.
    pub via: bool,
    /// Whether all requests are refused for now.
    pub maintenance: Maintenance,
    /// Pages in place of errors: the one for the fewest statuses first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_pages: Vec<Page>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
}

impl Service {
    /// Whether the kernel may find that requests are to be refused: by a rate limit, or where servers have as many as they may.
    /// `pools`: the model's.
    pub fn is_refused_in_kernel(&self, pools: &[Pool]) -> bool {
        let refuses = |route: &Route| {
            let limit = route.rate_limit.as_ref();
            let shares = route.action.shares().iter();
            let mut pools = shares.filter_map(|share| pools.get(share.pool));
            limit.is_some_and(RateLimit::is_for_kernel)
                || pools.any(|pool| pool.is_bounded() && !pool.waits())
        };
        self.protocol != Protocol::Https
            && self.datapath != Datapath::Front
            && self.routes.iter().any(refuses)
    }
}

/// Protocol of a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.0, HTTP/1.1 and HTTP/2 with prior knowledge, in clear text.
    Http,
    /// The same over TLS, which the switch terminates.
    Https,
    /// TLS passed through unopened, routed by server name.
    Tls,
    /// Bytes; routed by source address only.
    Tcp,
}

impl Protocol {
    /// The word in the rule language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// Whether requests can be seen, so that paths, methods and fields can be matched.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// Which data path serves a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// The kernel's where the module is loaded and can decide, the front's otherwise.
    #[default]
    Auto,
    /// The kernel's; the front only as its slow path.
    Kernel,
    /// Always the front's.
    Front,
}

/// Path contents that not every reader takes for the same: what of them a service lets through. The rest is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AllowPath {
    /// `%2F`; compared as `%2F`, never as a separator. Set unless the service refuses it.
    pub encoded_slash: bool,
    /// `%00`; compared as `%00`.
    pub nul: bool,
    /// `\` and `%5C`; compared as they stand.
    pub backslash: bool,
    /// A `%` that is not followed by two hexadecimal digits; compared as it stands.
    pub bad_escape: bool,
}

impl Default for AllowPath {
    fn default() -> Self {
        Self {
            encoded_slash: true,
            nul: false,
            backslash: false,
            bad_escape: false,
        }
    }
}

/// A route: conditions, filters and an action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// Name, where one was given.
    pub name: Option<String>,
    /// Greater wins; 0 unless given.
    pub priority: i32,
    /// Alternatives; empty: any host, or one in which one of `host_regexes` is found.
    pub hosts: Vec<HostMatch>,
    /// Regular expressions, one of which is found in the host; alternatives. Not beside `hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_regexes: Vec<String>,
    /// Alternatives; empty: any path.
    pub paths: Vec<PathMatch>,
    /// Alternatives, in capitals as sent (methods have case); empty: any.
    pub methods: Vec<String>,
    /// All required; names in lower case.
    pub headers: Vec<FieldMatch>,
    /// All required.
    pub query: Vec<FieldMatch>,
    /// All required.
    pub cookies: Vec<FieldMatch>,
    /// Alternatives; empty: any.
    pub sources: Vec<IpNet>,
    /// Of those, addresses that it does not take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_sources: Vec<IpNet>,
    /// Whether the share of a pool without a server stays its own: those requests are refused.
    pub strict: bool,
    /// What is changed on the way.
    pub filters: Filters,
    /// How many requests may come in what time.
    pub rate_limit: Option<RateLimit>,
    /// Longest content of a request, in place of [`Limits::body`].
    pub body_limit: Option<u64>,
    /// Pages in place of errors, before those of the service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_pages: Vec<Page>,
    /// Which other origins' pages may send requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Users and passwords that requests must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Servers that are asked whether a request goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<ExternalAuth>,
    /// The pool that gets copies of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// By which cookie a client stays at its server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// What is done with a request.
    pub action: Action,
}

/// A cookie of the switch's own by which a client stays at its pool and server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// File of the keys that its values are made with; absent: one that lives as long as the process. Relative paths were resolved.
    pub key: Option<PathBuf>,
    /// How long browsers keep it; absent: as long as they run.
    pub max_age: Option<Duration>,
}

impl Route {
    /// A route before all others, for a path and those below it: the switch answers.
    pub(crate) fn answered_at(name: &str, path: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            priority: i32::MAX,
            hosts: Vec::new(),
            host_regexes: Vec::new(),
            paths: vec![PathMatch::Prefix(path.trim_end_matches('/').to_owned())],
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            sources: Vec::new(),
            not_sources: Vec::new(),
            strict: false,
            filters: Filters::default(),
            rate_limit: None,
            body_limit: None,
            error_pages: Vec::new(),
            cors: None,
            basic_auth: None,
            external_auth: None,
            mirror: None,
            sticky: None,
            action: Action::Respond(Respond {
                status: 404,
                body: Content::Text(String::new()),
                content_type: String::new(),
            }),
        }
    }

    /// The name, or `#n` with the route's position in its service, counted from 1.
    pub fn label(&self, position: usize) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("#{}", position + 1),
        }
    }
}

/// A host that a route takes; names in lower case without trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostMatch {
    /// This name or address.
    Exact(String),
    /// One or more labels in front of this name (`*.` taken off).
    Wildcard(String),
}

/// A path that a route takes, in comparison form (RFC 3986, 6.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathMatch {
    /// This path.
    Exact(String),
    /// This path and whatever lies below it by whole segments; no trailing slash; "" is the root.
    Prefix(String),
    /// A path in which this regular expression is found.
    Regex(String),
}

/// A condition on a header field, query parameter or cookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FieldMatch {
    /// Name; lower case for header fields.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueMatch {
    /// Present (true) or absent (false).
    Present(bool),
    /// One of these; not empty.
    Any(Vec<ValueTest>),
    /// Absent, or none of these; not empty.
    None(Vec<ValueTest>),
}

/// One alternative of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueTest {
    /// Exactly these bytes.
    Exact(String),
    /// A value in which this regular expression is found.
    Regex(String),
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Forward to one of these pools, chosen by weight; not empty, weights sum to more than zero.
    Forward(Vec<PoolShare>),
    /// Answer from the switch.
    Respond(Respond),
    /// Send the client elsewhere.
    Redirect(Redirect),
}

impl Action {
    /// The pools that requests are forwarded to; none where they are not.
    pub fn shares(&self) -> &[PoolShare] {
        match self {
            Self::Forward(shares) => shares,
            Self::Respond(_) | Self::Redirect(_) => &[],
        }
    }
}

/// A pool's part in a weighted split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PoolShare {
    /// Index in [`Model::pools`].
    pub pool: usize,
    /// Weight relative to the other shares; 0 gets nothing.
    pub weight: u32,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Respond {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Content.
    pub body: Content,
    /// Content-Type.
    pub content_type: String,
}

/// A redirect; parts not given are taken from the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathRewrite>,
    /// The whole of Location, in place of all parts before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Template>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// What is changed in requests and responses on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filters {
    /// Applied to the request before it is forwarded.
    pub request_headers: HeaderEdit,
    /// Applied to the response before it is sent on.
    pub response_headers: HeaderEdit,
    /// Host that the real server sees in place of the client's.
    pub rewrite_hostname: Option<String>,
    /// Path that the real server sees.
    pub rewrite_path: Option<PathRewrite>,
    /// Time for the whole response to begin, after the request was sent: 504 when it passes.
    /// In place of the pool's `response_timeout`.
    pub response_timeout: Option<Duration>,
    /// Time from the request's head to the end of the response: 504 where the response has not begun.
    pub request_timeout: Option<Duration>,
    /// Longest silence of the client within an exchange, in place of [`Limits::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// Longest silence of a tunnel, in place of [`Limits::tunnel_timeout`].
    pub tunnel_timeout: Option<Duration>,
}

impl Filters {
    /// Whether anything is changed: then the kernel cannot forward the request by itself.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Header fields removed, set and added, in this order. Names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderEdit {
    /// Fields taken out.
    pub remove: Vec<String>,
    /// Fields that replace all of their name.
    pub set: Vec<(String, Template)>,
    /// Fields put beside others of their name.
    pub add: Vec<(String, Template)>,
}

impl HeaderEdit {
    /// Whether a value has a variable.
    pub fn has_variables(&self) -> bool {
        let values = self.set.iter().chain(&self.add);
        values
            .into_iter()
            .any(|(_, value)| value.literal().is_none())
    }
}

/// An IP address as the table and the schedulers see it: 16 bytes, network order, IPv4 as
/// IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
