// SPDX-License-Identifier: MIT
//! Values of the language that may be written in several ways, as a word or as a table, say.

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use toml::de::DeValue;

use super::address::ServerAddress;
use super::language::KeyText;
use super::language::MaintenanceText;
use super::language::PageText;
use super::language::RegexText;
use super::language::RetriesText;
use super::language::SchedulerText;
use super::language::ServerText;
use super::language::ServerTlsText;
use super::language::ValueTable;
use super::read::Node;
use super::read::Read;
use super::read::Reader;
use super::source::At;
use super::value::*;
use crate::model::Challenge;

/// Defines values that may be written in several ways, by the kind of the TOML value.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident($type:ty) = $kind:pat,)* } else $what:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "the types say it")]
        #[allow(clippy::large_enum_variant, reason = "there are few, and not for long")]
        pub enum $name {
            $($variant($type),)*
        }

        impl Read for $name {
            fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
                match node.get_ref() {
                    $($kind => Read::read(node, reader).map(Self::$variant),)*
                    #[allow(unreachable_patterns, reason = "some choices are exhaustive")]
                    _ => {
                        reader.expected($what, node);
                        None
                    }
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                json_schema!({ "anyOf": [$(generator.subschema_for::<$type>()),*] })
            }
        }
    )*};
}

choices! {
    /// A scheduler.
    SchedulerChoice {
        Word(SchedulerWord) = DeValue::String(_),
        Table(SchedulerText) = DeValue::Table(_),
    } else "a scheduler's name or a table"

    /// What is hashed.
    KeyChoice {
        Word(KeyWord) = DeValue::String(_),
        Table(KeyText) = DeValue::Table(_),
    } else "\"source\", \"path\", \"host\" or a table"

    /// What a rate limit counts apart.
    RateKeyChoice {
        Word(RateKeyWord) = DeValue::String(_),
        Table(KeyText) = DeValue::Table(_),
    } else "\"source\", \"route\" or a table such as { header = \"X-Key\" }"

    /// TLS towards servers.
    ServerTlsChoice {
        On(bool) = DeValue::Boolean(_),
        Table(ServerTlsText) = DeValue::Table(_),
    } else "true, false or a table such as { ca = \"ca.pem\", server_name = \"app.internal\" }"

    /// Whose connections begin with a PROXY header.
    AcceptProxyChoice {
        All(bool) = DeValue::Boolean(_),
        From(OneOrMany<Prefix>) = _,
    } else "true, false or a list of address prefixes"

    /// A page in place of an error.
    PageChoice {
        File(At<String>) = DeValue::String(_),
        Table(PageText) = DeValue::Table(_),
    } else "a file's path or a table such as { file = \"error.html\" }"

    /// Whether a service is closed for maintenance.
    MaintenanceChoice {
        All(bool) = DeValue::Boolean(_),
        Table(MaintenanceText) = DeValue::Table(_),
    } else "true, false or a table such as { except = [\"192.0.2.0/24\"] }"

    /// A real server.
    ServerChoice {
        Address(At<ServerAddress>) = DeValue::String(_),
        Table(ServerText) = DeValue::Table(_),
    } else "an address such as \"10.0.0.1:80\" or a table"

    /// How often requests are sent to another server.
    RetriesChoice {
        Count(i64) = DeValue::Integer(_),
        Table(RetriesText) = DeValue::Table(_),
    } else "a number or a table such as { attempts = 2, on = [\"connect\", 503] }"

    /// After what that is done.
    RetryChoice {
        Status(i64) = DeValue::Integer(_),
        Word(RetryWord) = DeValue::String(_),
    } else "\"connect\", \"reset\", \"timeout\" or a status"

    /// What is found in a response's body.
    BodyChoice {
        Text(String) = DeValue::String(_),
        Table(RegexText) = DeValue::Table(_),
    } else "a text or { regex = \"…\" }"

    /// A host.
    HostChoice {
        Name(Host) = DeValue::String(_),
        Table(RegexText) = DeValue::Table(_),
    } else "a host name or { regex = \"…\" }"

    /// Status codes.
    StatusChoice {
        Code(i64) = DeValue::Integer(_),
        Range(String) = DeValue::String(_),
    } else "a status code or a range such as \"200-399\""

    /// One alternative of a value.
    ValueChoice {
        Exact(At<String>) = DeValue::String(_),
        Table(At<ValueTable>) = DeValue::Table(_),
    } else "a string, { regex = \"…\" } or { present = true }"

    /// A condition on a value: one or several alternatives.
    ValueText {
        Many(At<Vec<ValueChoice>>) = DeValue::Array(_),
        One(ValueChoice) = _,
    } else "a string, { regex = \"…\" }, { present = true } or a list"
}

/// What is hashed, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum KeyWord {
    Source,
    Path,
    Host,
}

impl Read for KeyWord {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        reader.word(
            node,
            &[
                ("source", Self::Source),
                ("path", Self::Path),
                ("host", Self::Host),
            ],
        )
    }
}

impl JsonSchema for KeyWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["source", "path", "host"] })
    }
}

/// What a rate limit counts apart, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum RateKeyWord {
    Source,
    Route,
}

impl Read for RateKeyWord {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        reader.word(node, &[("source", Self::Source), ("route", Self::Route)])
    }
}

impl JsonSchema for RateKeyWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RateKeyWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["source", "route"] })
    }
}

/// After what a request is sent to another server, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum RetryWord {
    Connect,
    Reset,
    Timeout,
}

impl Read for RetryWord {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        reader.word(
            node,
            &[
                ("connect", Self::Connect),
                ("reset", Self::Reset),
                ("timeout", Self::Timeout),
            ],
        )
    }
}

impl JsonSchema for RetryWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["connect", "reset", "timeout"] })
    }
}

/// A challenge of ACME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeWord(pub Challenge);

impl Read for ChallengeWord {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let words = [("http", Challenge::Http), ("tls-alpn", Challenge::TlsAlpn)];
        reader.word(node, &words).map(Self)
    }
}

impl JsonSchema for ChallengeWord {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChallengeWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["http", "tls-alpn"] })
    }
}
