// SPDX-License-Identifier: MIT
//! Compilation: the checked model becomes the table that front and kernel match against.

mod automata;
mod hash;
mod paths;
mod source_prefixes;
mod writer;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use l7switch_engine::sched::MAX_WEIGHT;
use l7switch_engine::table::METHODS;
use l7switch_engine::table::codes;
use l7switch_engine::table::codes::ConditionOn;
use l7switch_engine::table::codes::ConditionTest;
use l7switch_engine::table::codes::Forwarding;
use l7switch_engine::table::codes::ValueKind;
use l7switch_engine::table::format::*;
use l7switch_engine::uri::Allow;

use crate::automata::Alphabet;
use crate::automata::AutomatonError;
use crate::automata::Cache;
use crate::front_only::FrontOnly;
use crate::model::*;
use paths::Paths;
use writer::Writer;

/// Why a model has no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// A regular expression has no automaton: the expression.
    Regex(String, AutomatonError),
    /// The table would exceed what its 32-bit offsets can name.
    TooLarge,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regex(pattern, error) => write!(f, "the expression '{pattern}': {error}"),
            Self::TooLarge => f.write_str("the table would exceed 4 GiB"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Rank of a candidate by steps 1 to 7 of the order of routes; less wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassKey {
    priority: Reverse<i32>,
    host: HostRank,
    path: PathRank,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    cookies: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Wildcard(Reverse<usize>),
    Regex(Reverse<usize>),
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
    Any,
}

/// Number of labels in a name.
pub(crate) fn labels(name: &str) -> usize {
    name.split('.').count()
}

impl ClassKey {
    /// The rank of a route when it is reached by this host and this path.
    pub(crate) fn new(route: &Route, host: Option<&HostMatch>, path: Option<&PathMatch>) -> Self {
        Self {
            priority: Reverse(route.priority),
            host: match host {
                Some(HostMatch::Exact(_)) => HostRank::Exact,
                Some(HostMatch::Wildcard(name)) => HostRank::Wildcard(Reverse(labels(name))),
                None => {
                    let lengths = route.host_regexes.iter().map(|p| p.chars().count());
                    lengths
                        .max()
                        .map_or(HostRank::Any, |length| HostRank::Regex(Reverse(length)))
                }
            },
            path: match path {
                Some(PathMatch::Exact(_)) => PathRank::Exact,
                Some(PathMatch::Regex(p)) => PathRank::Regex(Reverse(p.chars().count())),
                Some(PathMatch::Prefix(p)) => PathRank::Prefix(Reverse(p.len())),
                None => PathRank::Any,
            },
            method: Reverse(!route.methods.is_empty()),
            headers: Reverse(route.headers.len()),
            query: Reverse(route.query.len()),
            cookies: Reverse(route.cookies.len()),
        }
    }

    /// The first step of the order in which two ranks differ, in words.
    pub(crate) fn differs_from(&self, other: &Self) -> Option<&'static str> {
        [
            (self.priority != other.priority, "greater priority"),
            (self.host != other.host, "more specific host"),
            (self.path != other.path, "more specific path"),
            (self.method != other.method, "a method is given"),
            (self.headers != other.headers, "more headers"),
            (self.query != other.query, "more query parameters"),
            (self.cookies != other.cookies, "more cookies"),
        ]
        .into_iter()
        .find_map(|(differs, step)| differs.then_some(step))
    }
}

/// Every host of a route, or the one `None` of a route for any host.
pub(crate) fn alternatives<T>(values: &[T]) -> impl Iterator<Item = Option<&T>> {
    let any = values.is_empty().then_some(None);
    values.iter().map(Some).chain(any)
}

/// Compiles a model.
///
/// # Errors
///
/// See [`CompileError`]; a model from [`crate::load`] has only expressions that compile.
pub fn compile(model: &Model) -> Result<Vec<u8>, CompileError> {
    compile_with(model, &mut Cache::default())
}

/// Compiles a model with automata that the check has built already.
pub(crate) fn compile_with(model: &Model, cache: &mut Cache) -> Result<Vec<u8>, CompileError> {
    let mut writer = Writer::default();
    let mut automata = automata::Automata::new(cache);
    pools(model, &mut writer);

    let mut classes: Vec<ClassKey> = model
        .services
        .iter()
        .flat_map(|s| &s.routes)
        .flat_map(|route| {
            alternatives(&route.hosts).flat_map(move |host| {
                alternatives(&route.paths).map(move |path| ClassKey::new(route, host, path))
            })
        })
        .collect();
    classes.sort_unstable();
    classes.dedup();
    let class_of = |key: &ClassKey| to_u32(classes.binary_search(key).unwrap_or_default());

    let mut hosts = Vec::new();
    let front = FrontOnly::of(model);
    for (number, service) in model.services.iter().enumerate() {
        let number = to_u32(number);
        let listens = writer.extend(service.listen.iter().map(|address| {
            let [a0, a1, a2, a3] = address_words(&address_bytes(address.ip()));
            ListenRecord {
                a0,
                a1,
                a2,
                a3,
                port: address.port().into(),
            }
        }));
        let first_route = writer.count::<RouteRecord>();
        let mut by_host: BTreeMap<Option<&HostMatch>, Paths<'_>> = BTreeMap::new();
        for (position, route) in service.routes.iter().enumerate() {
            let index = first_route + to_u32(position);
            let max_source = route_record(&front, number, route, &mut writer, &mut automata)?;
            let conditional = !(route.methods.is_empty()
                && route.host_regexes.is_empty()
                && route.headers.is_empty()
                && route.query.is_empty()
                && route.cookies.is_empty()
                && route.sources.is_empty());
            let flags = if conditional { 0 } else { ENTRY_UNCONDITIONAL };
            for host in alternatives(&route.hosts) {
                let paths = by_host.entry(host).or_default();
                for path in alternatives(&route.paths) {
                    let class = class_of(&ClassKey::new(route, host, path));
                    let flags_max_source = flags << 16 | max_source;
                    paths.add(
                        path,
                        EntryRecord {
                            class,
                            route: index,
                            flags_max_source,
                        },
                    );
                }
            }
        }
        let mut names: BTreeMap<&str, HostRecord> = BTreeMap::new();
        let mut any_host = 0;
        let mut wildcard_labels = 0;
        for (host, paths) in by_host {
            let paths = paths.write(&mut writer, &mut automata)?;
            let no_exact = HostRecord {
                root: NONE,
                ..HostRecord::default()
            };
            match host {
                None => any_host = writer.push(paths) + 1,
                Some(HostMatch::Exact(name)) => {
                    let record = names.entry(name).or_insert(no_exact);
                    *record = HostRecord {
                        wildcard: record.wildcard,
                        class: paths.class,
                        root: paths.root,
                        groups: paths.groups,
                        groups_len: paths.groups_len,
                        any: paths.any,
                        any_len: paths.any_len,
                        ..no_exact
                    };
                }
                Some(HostMatch::Wildcard(name)) => {
                    names.entry(name).or_insert(no_exact).wildcard = writer.push(paths) + 1;
                    wildcard_labels = wildcard_labels.max(labels(name));
                }
            }
        }
        for (text, record) in names {
            let (name, name_len) = writer.text(text.as_bytes());
            let record = HostRecord {
                service: number,
                name,
                name_len,
                ..record
            };
            hosts.push((text, record));
        }
        let (name, name_len) = writer.text(service.name.as_bytes());
        let (proxies, _) = source_prefixes::write(&service.accept_proxy, &[], &mut writer);
        writer.push(ServiceRecord {
            name,
            name_len,
            protocol: match service.protocol {
                Protocol::Http => codes::Protocol::Http,
                Protocol::Https => codes::Protocol::Https,
                Protocol::Tls => codes::Protocol::Tls,
                Protocol::Tcp => codes::Protocol::Tcp,
            }
            .number(),
            datapath: match (front.service(service), service.datapath) {
                (Some(_), _) => codes::Datapath::Front,
                (None, Datapath::Kernel) => codes::Datapath::Kernel,
                (None, _) => codes::Datapath::Auto,
            }
            .number(),
            allow: allow(service.allow).bits(),
            listens,
            listens_len: to_u32(service.listen.len()),
            any_host,
            wildcard_labels: to_u32(wildcard_labels),
            routes: first_route,
            routes_len: to_u32(service.routes.len()),
            proxies,
        });
    }
    automata.write(&mut writer);
    let hashing = hash::write(&hosts, &mut writer)?;
    writer.finish(hashing)
}

/// A count or index as the table stores it. Over 2³² of anything does not fit [`Writer::finish`]'s length
/// either, which is where it is refused.
fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What a service allows, as the engine's set.
pub fn allow(allow: AllowPath) -> Allow {
    [
        (allow.encoded_slash, Allow::ENCODED_SLASH),
        (allow.nul, Allow::NUL),
        (allow.backslash, Allow::BACKSLASH),
        (allow.bad_escape, Allow::BAD_ESCAPE),
    ]
    .into_iter()
    .filter(|(given, _)| *given)
    .fold(Allow::NONE, |set, (_, bit)| set.with(bit))
}

/// The 128-bit number's words, most significant first.
fn address_words(bytes: &[u8; 16]) -> [u32; 4] {
    number_words(u128::from_be_bytes(*bytes))
}

fn number_words(number: u128) -> [u32; 4] {
    [96u32, 64, 32, 0].map(|shift| u32::try_from(number >> shift & 0xffff_ffff).unwrap_or_default())
}

/// Writes a route's record; returns its longest source prefix + 1, or 0.
fn route_record(
    front: &FrontOnly<'_>,
    service: u32,
    route: &Route,
    writer: &mut Writer,
    automata: &mut automata::Automata<'_>,
) -> Result<u32, CompileError> {
    let mut methods = 0;
    let mut others = Vec::new();
    for method in &route.methods {
        match METHODS.iter().position(|&m| m == method.as_bytes()) {
            Some(bit) => methods |= 1 << bit,
            None => {
                let (value, value_len) = writer.text(method.as_bytes());
                others.push(ValueRecord {
                    kind: ValueKind::Exact.number(),
                    value,
                    value_len,
                });
            }
        }
    }
    let other_methods_len = to_u32(others.len());
    let other_methods = writer.extend(others.into_iter());

    let mut conditions = Vec::new();
    for (on, fields) in [
        (ConditionOn::Field, &route.headers),
        (ConditionOn::Query, &route.query),
        (ConditionOn::Cookie, &route.cookies),
    ] {
        for field in fields {
            conditions.push(condition(on, field, writer, automata)?);
        }
    }
    if !route.host_regexes.is_empty() {
        let tests = route.host_regexes.iter().cloned().map(ValueTest::Regex);
        let host = FieldMatch {
            name: String::new(),
            value: ValueMatch::Any(tests.collect()),
        };
        conditions.push(condition(ConditionOn::Host, &host, writer, automata)?);
    }
    let conditions_len = to_u32(conditions.len());
    let conditions = writer.extend(conditions.into_iter());

    let (sources, max_source) = source_prefixes::write(&route.sources, &route.not_sources, writer);
    let shares = route.action.shares();
    let shares_start = writer.extend(shares.iter().map(|s| ShareRecord {
        pool: to_u32(s.pool),
        weight: s.weight,
    }));
    let (name, name_len) = writer.text(route.name.as_deref().unwrap_or("").as_bytes());
    let rate = route.rate_limit.as_ref().and_then(rate_record);
    let rate = rate.map_or(0, |record| writer.push(record) + 1);
    writer.push(RouteRecord {
        service,
        name,
        name_len,
        methods,
        other_methods,
        other_methods_len,
        conditions,
        conditions_len,
        sources,
        action: match (&route.action, front.route(route)) {
            (Action::Forward(_), None) => codes::Action::Forward,
            (Action::Forward(_), Some(_)) => codes::Action::Filter,
            _ => codes::Action::Answer,
        }
        .number(),
        shares: shares_start,
        shares_len: to_u32(shares.len()),
        rate,
    });
    Ok(max_source)
}

/// The record of a rate limit that the kernel can apply.
fn rate_record(limit: &RateLimit) -> Option<RateRecord> {
    let key = match limit.key {
        RateKey::Source => codes::RateKey::Source,
        RateKey::Route => codes::RateKey::Route,
        RateKey::Header(_) | RateKey::Cookie(_) => return None,
    };
    let rate = limit.rate();
    let [interval_high, interval_low] = halves(rate.interval);
    let [full_high, full_low] = halves(rate.full);
    Some(RateRecord {
        key: key.number(),
        prefix_v4: limit.source_prefix.v4.into(),
        prefix_v6: limit.source_prefix.v6.into(),
        interval_low,
        interval_high,
        full_low,
        full_high,
    })
}

/// The upper and the lower half of a number.
fn halves(number: u64) -> [u32; 2] {
    [32, 0].map(|shift| u32::try_from(number >> shift & 0xffff_ffff).unwrap_or_default())
}

fn condition(
    on: ConditionOn,
    field: &FieldMatch,
    writer: &mut Writer,
    automata: &mut automata::Automata<'_>,
) -> Result<ConditionRecord, CompileError> {
    let alphabet = match on {
        ConditionOn::Query | ConditionOn::Host => Alphabet::Ascii,
        ConditionOn::Field | ConditionOn::Cookie => Alphabet::Bytes,
    };
    let (test, tests): (_, &[ValueTest]) = match &field.value {
        ValueMatch::Any(tests) => (ConditionTest::AnyOf, tests),
        ValueMatch::None(tests) => (ConditionTest::NoneOf, tests),
        ValueMatch::Present(true) => (ConditionTest::Present, &[]),
        ValueMatch::Present(false) => (ConditionTest::Absent, &[]),
    };
    let mut values = Vec::with_capacity(tests.len());
    for test in tests {
        values.push(match test {
            ValueTest::Exact(text) => {
                let (value, value_len) = writer.text(text.as_bytes());
                ValueRecord {
                    kind: ValueKind::Exact.number(),
                    value,
                    value_len,
                }
            }
            ValueTest::Regex(pattern) => ValueRecord {
                kind: ValueKind::Regex.number(),
                value: automata.single(pattern, alphabet)?,
                value_len: 0,
            },
        });
    }
    let values_len = to_u32(values.len());
    let values = writer.extend(values.into_iter());
    let (name, name_len) = writer.text(field.name.as_bytes());
    Ok(ConditionRecord {
        kind_test: on.with(test),
        name,
        name_len,
        values,
        values_len,
    })
}

fn pools(model: &Model, writer: &mut Writer) {
    for pool in &model.pools {
        // Backups are the front's: it gets the requests for which the kernel finds no server.
        // So are Unix sockets: the front serves their pools.
        let primaries = pool.servers.iter().filter(|server| !server.backup);
        let scale = pool.weight_scale();
        let records: Vec<ServerRecord> = primaries
            .filter_map(|server| {
                let address = server.address.inet()?;
                let [a0, a1, a2, a3] = address_words(&address_bytes(address.ip()));
                let weight = if server.drain { 0 } else { server.weight };
                Some(ServerRecord {
                    a0,
                    a1,
                    a2,
                    a3,
                    port: address.port().into(),
                    weight: weight.saturating_mul(scale).min(MAX_WEIGHT),
                    bound: server.max_connections.unwrap_or(0),
                })
            })
            .collect();
        let servers_len = to_u32(records.len());
        let servers = writer.extend(records.into_iter());
        let (key, key_name) = match &pool.scheduler.key {
            HashKey::Source => (codes::HashKey::Source, ""),
            HashKey::Path => (codes::HashKey::Path, ""),
            HashKey::Host => (codes::HashKey::Host, ""),
            HashKey::Header(name) => (codes::HashKey::Field, name.as_str()),
            HashKey::Cookie(name) => (codes::HashKey::Cookie, name.as_str()),
        };
        let (name, name_len) = writer.text(pool.name.as_bytes());
        let (key_name, key_name_len) = writer.text(key_name.as_bytes());
        writer.push(PoolRecord {
            name,
            name_len,
            scheduler: pool.scheduler.kind.number(),
            key: key.number(),
            key_name,
            key_name_len,
            load_percent: pool.scheduler.load_percent,
            forward: match pool.forward {
                Forward::Nat => Forwarding::Nat,
                Forward::Fullnat => Forwarding::Fullnat,
            }
            .number(),
            servers,
            servers_len,
            retries: pool.retries.attempts,
            send_proxy: pool.send_proxy.map_or(0, ProxyVersion::number),
        });
    }
}
