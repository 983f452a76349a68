// SPDX-License-Identifier: MIT
//! Values of the language that are more than strings: lists or single values, prefixes, hosts, words. Each reads itself and has its
//! JSON Schema.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use toml::de::DeValue;

use super::guesses;
use super::read::Node;
use super::read::Read;
use super::read::Reader;
use super::source::At;
use crate::model::Curve;
use crate::model::Datapath;
use crate::model::Forward;
use crate::model::HostMatch;
use crate::model::Protocol;
use crate::model::ProxyVersion;
use crate::model::Resolve;
use crate::model::SchedulerKind;
use crate::model::ServerProtocol;
use crate::model::TlsVersion;

/// Implements a schema that is written in place.
macro_rules! inline_schema {
    ($type:ty, $name:expr, $generator:ident => $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                let _ = &$generator;
                $schema
            }
        }
    };
}

pub(super) use inline_schema;

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value or a list of such.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        match node.get_ref() {
            DeValue::Array(_) => Vec::read(node, reader).map(Self),
            _ => T::read(node, reader).map(|one| Self(vec![one])),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// A table whose keys are names, in the order of the text.
#[derive(Clone, Debug)]
pub struct Entries<T>(pub Vec<(At<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for Entries<T> {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let table = reader.table(node, "a table")?;
        let mut entries = Vec::new();
        for (key, value) in table.iter() {
            let name = At {
                value: key.get_ref().to_string(),
                span: reader.span(key),
            };
            if let Some(value) = T::read(value, reader) {
                entries.push((name, value));
            }
        }
        entries.sort_by_key(|(name, _)| name.span);
        Some(Self(entries))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(pub IpNet);

inline_schema!(Prefix, "Prefix", generator => json_schema!({
    "type": "string",
    "description": "An address prefix, \"10.0.0.0/8\" or \"2001:db8::/32\"; an address alone is a prefix of full length.",
}));

/// A prefix of IPv4-mapped addresses (RFC 4291, 2.5.5.2) as one of IPv4: clients' addresses have that form.
fn canonical(net: IpNet) -> IpNet {
    let length = net.prefix_len().checked_sub(96);
    match (net.addr().to_canonical(), length) {
        (IpAddr::V4(address), Some(length)) if net.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(net, IpNet::from)
        }
        _ => net,
    }
}

impl Read for Prefix {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.string(node, "an address prefix such as \"10.0.0.0/8\"")?;
        read_prefix(text, node, reader).map(Self)
    }
}

fn read_prefix(text: &str, node: &Node<'_>, reader: &mut Reader<'_>) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    match text.parse::<IpNet>() {
        Ok(net) if net == net.trunc() => Some(canonical(net)),
        Ok(net) => {
            let help = format!("write \"{}\"", net.trunc());
            reader.invalid(node, "the prefix has bits set beyond its length", &help);
            None
        }
        Err(_) => {
            let help = guesses::prefix(reader.at, text)
                .map(str::to_owned)
                .or_else(|| masked(text).map(|net| format!("write \"{net}\"")))
                .unwrap_or_else(|| "write it as \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned());
            reader.invalid(node, "this is not an address prefix", &help);
            None
        }
    }
}

/// What is meant by `10.0.0.0/255.0.0.0`, or by `10.*`.
fn masked(text: &str) -> Option<IpNet> {
    if let Some((address, mask)) = text.split_once('/') {
        let net = Ipv4Net::with_netmask(address.parse().ok()?, mask.parse().ok()?);
        return net.ok().map(|net| net.trunc().into());
    }
    let known: Vec<&str> = text.split('.').take_while(|part| *part != "*").collect();
    let is_star = (1..4).contains(&known.len()) && text.ends_with('*');
    let zeros = std::iter::repeat_n("0", 4_usize.checked_sub(known.len())?);
    let address = known.iter().copied().chain(zeros).collect::<Vec<_>>();
    let length = u8::try_from(known.len() * 8).ok()?;
    let net = Ipv4Net::new(address.join(".").parse().ok()?, length);
    net.ok().filter(|_| is_star).map(IpNet::from)
}

/// An address prefix that clients' addresses are in, or are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// Whether they are not.
    pub negated: bool,
}

inline_schema!(SourcePrefix, "SourcePrefix", generator => json_schema!({
    "type": "string",
    "description": "An address prefix, \"10.0.0.0/8\" or \"2001:db8::/32\"; with an exclamation mark before it, all other addresses.",
}));

impl Read for SourcePrefix {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.string(node, "an address prefix such as \"10.0.0.0/8\"")?;
        let (text, negated) = match text.strip_prefix('!') {
            Some(rest) => (rest.trim_start(), true),
            None => (text, false),
        };
        let prefix = read_prefix(text, node, reader)?;
        Some(Self { prefix, negated })
    }
}

/// A host or wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub HostMatch);

inline_schema!(Host, "Host", generator => json_schema!({
    "type": "string",
    "description": "A host name without port, or \"*.\" and a domain for one or more labels in front of it.",
}));

impl Read for Host {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.string(node, "a host name")?;
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let bare_v6 = name.parse::<std::net::Ipv6Addr>();
        let mut buf = [0; l7switch_engine::uri::MAX_HOST];
        let form = l7switch_engine::uri::host(name.as_bytes(), &mut buf);
        let (message, help) = match form {
            // `_` is nginx's name for the server of all others.
            _ if matches!(text, "*" | "_" | "*.") => (
                "this alone is not a host",
                "leave `host` out to match every host".to_owned(),
            ),
            _ if let Some((_, rest)) = text.split_once("://") => {
                let name = rest.split(['/', '?', '#']).next().unwrap_or_default();
                (
                    "a host condition is a host name, not a URL",
                    format!("write \"{name}\"; `path` is a condition of its own"),
                )
            }
            _ if text.contains(['~', '^', '$', '(', ')', '|', '\\', '+', '?', '{']) => {
                let expression = text.trim_start_matches(['~', '*', ' ']);
                (
                    "this is not a host name",
                    format!("a regular expression is written {{ regex = '{expression}' }}"),
                )
            }
            _ if let Some((name, path)) = text.split_once('/') => (
                "a host condition has no path",
                format!("write \"{name}\", and path = {{ prefix = \"/{path}\" }}"),
            ),
            // As nginx and HAProxy's `hdr_dom` mean it.
            _ if text.starts_with('.') && text.len() > 1 => (
                "a host does not begin with a dot",
                format!("write [\"{0}\", \"*.{0}\"]", text.trim_start_matches('.')),
            ),
            _ if bare_v6.is_ok() => (
                "an IPv6 address needs brackets",
                format!("write \"[{name}]\""),
            ),
            _ if name.contains('*') => (
                "a wildcard can only be the first label",
                "write \"*.example.com\", which takes one or more labels, or { regex = '^www\\.' }"
                    .to_owned(),
            ),
            Ok([]) => (
                "the host is empty",
                "leave `host` out to match every host".to_owned(),
            ),
            Ok(form) => {
                let with_port = !name.starts_with('[') && name.contains(':') || name.contains("]:");
                // Comparison form is ASCII.
                let form = String::from_utf8_lossy(form).into_owned();
                if with_port {
                    ("a host condition has no port", format!("write \"{form}\""))
                } else if form.split('.').any(str::is_empty) {
                    (
                        "the host has an empty label",
                        "remove the double dot".to_owned(),
                    )
                } else if wildcard {
                    return Some(Self(HostMatch::Wildcard(form)));
                } else {
                    return Some(Self(HostMatch::Exact(form)));
                }
            }
            Err(_) if !name.is_ascii() => (
                "the host has non-ASCII characters",
                "write internationalised names in their xn-- form (RFC 5891)".to_owned(),
            ),
            Err(_) => (
                "this is not a host name",
                "write it as \"www.example.com\"".to_owned(),
            ),
        };
        reader.invalid(node, message, &help);
        None
    }
}

/// Words that stand for values.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident($type:ty) { $($word:literal => $value:expr,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $type);

        impl Read for $name {
            fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
                reader.word(node, &[$(($word, $value)),*]).map(Self)
            }
        }

        inline_schema!($name, stringify!($name), generator => {
            json_schema!({ "type": "string", "enum": [$($word),*] })
        });
    )*};
}

/// One of [`crate::model::AllowPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see AllowPath")]
pub enum Allowed {
    EncodedSlash,
    Nul,
    Backslash,
    BadEscape,
}

/// What a service can refuse in a path that passes otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see AllowPath")]
pub enum Refused {
    EncodedSlash,
}

words! {
    /// Protocol of a service.
    ProtocolWord(Protocol) {
        "http" => Protocol::Http,
        "https" => Protocol::Https,
        "tls" => Protocol::Tls,
        "tcp" => Protocol::Tcp,
    }
    /// Data path of a service.
    DatapathWord(Datapath) {
        "auto" => Datapath::Auto,
        "kernel" => Datapath::Kernel,
        "front" => Datapath::Front,
    }
    /// Forwarding method.
    ForwardWord(Forward) {
        "nat" => Forward::Nat,
        "fullnat" => Forward::Fullnat,
    }
    /// HTTP towards servers.
    ServerProtocolWord(ServerProtocol) {
        "http1" => ServerProtocol::Http1,
        "http2" => ServerProtocol::Http2,
        "auto" => ServerProtocol::Auto,
    }
    /// Which of a name's addresses are servers.
    ResolveWord(Resolve) {
        "all" => Resolve::All,
        "one" => Resolve::One,
    }
    /// A version of TLS.
    TlsVersionWord(TlsVersion) {
        "1.2" => TlsVersion::V12,
        "1.3" => TlsVersion::V13,
    }
    /// A group for the key exchange of TLS.
    CurveWord(Curve) {
        "X25519MLKEM768" => Curve::X25519MlKem768,
        "P-256MLKEM768" => Curve::P256MlKem768,
        "X25519" => Curve::X25519,
        "P-256" => Curve::P256,
        "P-384" => Curve::P384,
    }
    /// PROXY header.
    SendProxyWord(ProxyVersion) {
        "v1" => ProxyVersion::V1,
        "v2" => ProxyVersion::V2,
    }
    /// What a path may hold.
    AllowWord(Allowed) {
        "encoded-slash" => Allowed::EncodedSlash,
        "nul" => Allowed::Nul,
        "backslash" => Allowed::Backslash,
        "bad-escape" => Allowed::BadEscape,
    }
    /// What a path may not hold.
    RefuseWord(Refused) {
        "encoded-slash" => Refused::EncodedSlash,
    }
    /// Scheduler.
    SchedulerWord(SchedulerKind) {
        "rr" => SchedulerKind::Rr,
        "wrr" => SchedulerKind::Wrr,
        "lc" => SchedulerKind::Lc,
        "wlc" => SchedulerKind::Wlc,
        "sed" => SchedulerKind::Sed,
        "nq" => SchedulerKind::Nq,
        "p2c" => SchedulerKind::P2c,
        "sh" => SchedulerKind::Sh,
        "mh" => SchedulerKind::Mh,
        "ch" => SchedulerKind::Ch,
        "fastest" => SchedulerKind::Fastest,
    }
    /// Scheme of a redirect.
    SchemeWord(&'static str) {
        "http" => "http",
        "https" => "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_prefixes_are_of_ipv4() {
        for (given, expected) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:10.0.0.1/128", "10.0.0.1/32"),
            ("::/0", "::/0"),
            ("2001:db8::/96", "2001:db8::/96"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            let net: IpNet = given.parse().unwrap();
            assert_eq!(canonical(net).to_string(), expected);
        }
    }
}
