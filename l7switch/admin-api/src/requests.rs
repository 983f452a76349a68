// SPDX-License-Identifier: MIT
//! What is sent to the switch. A key that is not known is refused.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

/// Body of `PATCH /v1/servers/{pool}/{address}` and of `PATCH /v1/servers/{address}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerChange {
    /// A weight, 0 to 65535, in place of the rule file's; `null` gives the rule file's back;
    /// absent leaves it.
    #[schemars(range(max = 65535))]
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "weight"
    )]
    pub weight: Option<Option<u32>>,
    /// Take it out or put it back; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<WantedState>,
}

/// Body of `PATCH /v1/services/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceChange {
    /// Whether it is closed for maintenance, in place of what the rule file says; `null` gives that back; absent leaves it.
    #[schemars(with = "Option<Wanted>")]
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "wanted"
    )]
    pub maintenance: Option<Option<Maintenance>>,
}

/// Whether a service is closed for maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Maintenance {
    /// To everybody, or to nobody.
    Closed(bool),
    /// To all but some.
    Except {
        /// Prefixes of their addresses.
        except: Vec<String>,
    },
}

/// Whether a service is to be closed for maintenance.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields, rename = "WantedMaintenance")]
#[expect(dead_code, reason = "it is the schema of what `Asked` reads")]
enum Wanted {
    /// To everybody, or to nobody.
    Closed(bool),
    /// To all but some.
    Except {
        /// Their addresses, or prefixes of them.
        #[schemars(with = "Vec<Prefix>")]
        except: Vec<String>,
    },
}

/// A [`Maintenance`] as it is asked for.
struct Asked(Maintenance);

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Except {
            except: Vec<String>,
        }

        struct Reads;

        impl<'de> Visitor<'de> for Reads {
            type Value = Asked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, null or {\"except\": [PREFIX, …]}")
            }

            fn visit_bool<E>(self, closed: bool) -> Result<Asked, E> {
                Ok(Asked(Maintenance::Closed(closed)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Asked, A::Error> {
                let Except { except } = Except::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Asked(Maintenance::Except { except }))
            }
        }

        deserializer.deserialize_any(Reads)
    }
}

fn wanted<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Maintenance>>, D::Error> {
    let asked = Option::<Asked>::deserialize(deserializer)?;
    Ok(Some(asked.map(|Asked(maintenance)| maintenance)))
}

/// An integer, also one that is written with a fraction of zero, as `5.0`: to JSON they are the same.
struct Whole(u32);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let whole = number.as_u64().or_else(|| {
            let real = number.as_f64().filter(|real| real.fract() == 0.0)?;
            // Exact, or not a number of digits alone.
            format!("{real:.0}").parse().ok()
        });
        let whole = whole.and_then(|whole| u32::try_from(whole).ok());
        let wrong = || D::Error::custom(format!("{number} is not a number from 0 to {}", u32::MAX));
        whole.map(Self).ok_or_else(wrong)
    }
}

/// Tells `null` from an absent key.
fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    let weight = Option::<Whole>::deserialize(deserializer)?;
    Ok(Some(weight.map(|Whole(weight)| weight)))
}

/// An IP address, or a prefix of some: `192.0.2.0/24`, `2001:db8::1`.
struct Prefix;

impl JsonSchema for Prefix {
    fn schema_name() -> Cow<'static, str> {
        "Prefix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (four, six) = (four(), six());
        json_schema!({
            "description": "An IP address, or a prefix of some",
            "anyOf": [
                { "type": "string", "pattern": format!("^{four}(/(3[0-2]|[12]?[0-9]))?$") },
                { "type": "string", "pattern": format!("^{six}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$") },
            ],
        })
    }
}

/// An IP address.
struct Address;

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An IP address",
            "anyOf": [
                { "type": "string", "pattern": format!("^{}$", four()) },
                { "type": "string", "pattern": format!("^{}$", six()) },
            ],
        })
    }
}

/// Addresses of IPv4, as a pattern.
fn four() -> String {
    let byte = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    format!("({byte}\\.){{3}}{byte}")
}

/// Addresses of IPv6 (RFC 4291, 2.2), as a pattern, but for those that end as one of IPv4.
fn six() -> String {
    let word = "[0-9A-Fa-f]{1,4}";
    let ends = [
        format!("({word}:){{7}}{word}"),
        format!("({word}:){{1,7}}:"),
        format!(":((:{word}){{1,7}}|:)"),
    ];
    let with_gap = (1..=6).map(|before| {
        let after = 7 - before;
        format!("({word}:){{1,{before}}}(:{word}){{1,{after}}}")
    });
    let forms: Vec<String> = ends.into_iter().chain(with_gap).collect();
    let forms = forms.join("|");
    format!("({forms})")
}

/// What an administrator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WantedState {
    /// No new requests but of clients that stay there by a cookie.
    Drain,
    /// No new requests at all: it counts as dead, whatever checks say.
    Down,
    /// Requests again; also ends an ejection.
    Up,
}

/// A URL of a scheme that there are services for, or a path: whatever can be explained, also a host that would be refused.
struct Url;

impl JsonSchema for Url {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Neither white space nor control characters of ASCII.
        let no = r"\u0000-\u0020\u007f";
        let host = format!(r"(\[[^{no}/?#\]]*\]|[^{no}/?#:\[][^{no}/?#:]*)?");
        let port = "(:(0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4}))?)?";
        let path = r#"/[!-"$->@-~]*"#;
        let rest = format!(r"(\?[^{no}#]*)?(#[^{no}]*)?");
        let url = format!("(http|https|tls|tcp)://{host}{port}({path})?{rest}");
        json_schema!({
            "description": "A URL, or a path",
            "type": "string",
            "pattern": format!(r"^({url}|{path}{rest}|\*)$"),
        })
    }
}

/// A header field's name (RFC 9110, 5.1).
struct FieldName;

impl JsonSchema for FieldName {
    fn schema_name() -> Cow<'static, str> {
        "FieldName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A header field's name (RFC 9110, 5.1)",
            "type": "string",
            "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        })
    }
}

/// A header field's value, without control characters.
struct FieldValue;

impl JsonSchema for FieldValue {
    fn schema_name() -> Cow<'static, str> {
        "FieldValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A header field's value, without control characters",
            "type": "string",
            "pattern": "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*$",
        })
    }
}

/// Body of `POST /v1/explain`: a request as an administrator describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// URL, or path with `Host` in `headers`.
    #[schemars(with = "Url")]
    pub url: String,
    /// Method; absent: `GET`.
    #[serde(default)]
    pub method: Option<String>,
    /// Names and values of header fields.
    #[serde(default)]
    #[schemars(with = "Vec<(FieldName, FieldValue)>")]
    pub headers: Vec<(String, String)>,
    /// The client's address; absent: 192.0.2.1 (RFC 5737).
    #[serde(default)]
    #[schemars(with = "Option<Address>")]
    pub source: Option<IpAddr>,
    /// TLS server name; absent: the URL's host.
    #[serde(default)]
    pub sni: Option<String>,
    /// Service, where the URL leads to several.
    #[serde(default)]
    pub service: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_weight_is_not_an_absent_weight() {
        let null: ServerChange = serde_json::from_str(r#"{"weight":null}"#).unwrap();
        assert_eq!(null.weight, Some(None));
        let absent: ServerChange = serde_json::from_str("{}").unwrap();
        assert_eq!(absent.weight, None);
        let five: ServerChange = serde_json::from_str(r#"{"weight":5,"state":"drain"}"#).unwrap();
        assert_eq!(
            five,
            ServerChange {
                weight: Some(Some(5)),
                state: Some(WantedState::Drain)
            }
        );
        assert_eq!(serde_json::to_string(&null).unwrap(), r#"{"weight":null}"#);
    }

    #[test]
    fn a_weight_is_a_whole_number_however_it_is_written() {
        for (text, weight) in [
            ("5", Some(5)),
            ("5.0", Some(5)),
            ("5e1", Some(50)),
            ("-0.0", None),
            ("4294967295.0", Some(4_294_967_295)),
            ("4294967296", None),
            ("4294967296.0", None),
            ("1e300", None),
            ("5.5", None),
            ("-1", None),
            ("-1.0", None),
            ("\"5\"", None),
            ("true", None),
            ("[5]", None),
        ] {
            let change = format!("{{\"weight\":{text}}}");
            let change = serde_json::from_str::<ServerChange>(&change);
            let found = change.ok().and_then(|change| change.weight.flatten());
            assert_eq!(found, weight, "{text}");
        }
    }

    #[test]
    fn unknown_keys_in_a_change_are_refused() {
        assert!(serde_json::from_str::<ServerChange>(r#"{"wieght":5}"#).is_err());
    }

    #[test]
    fn unknown_keys_within_a_change_are_refused() {
        for (text, is_right) in [
            (r#"{"maintenance":true}"#, true),
            (r#"{"maintenance":null}"#, true),
            (r#"{"maintenance":{"except":["::1"]}}"#, true),
            (r#"{"maintenance":{"except":[],"x":1}}"#, false),
            (r#"{"maintenance":{"except":[],"except":[]}}"#, false),
            (r#"{"maintenance":{}}"#, false),
            (r#"{"maintenance":[["::1"]]}"#, false),
            (r#"{"maintenance":"true"}"#, false),
            (r#"{"maintenance":1}"#, false),
        ] {
            let found = serde_json::from_str::<ServiceChange>(text);
            assert_eq!(found.is_ok(), is_right, "{text}");
        }
        let null: ServiceChange = serde_json::from_str(r#"{"maintenance":null}"#).unwrap();
        assert_eq!(null.maintenance, Some(None));
        // In an answer, they are for newer clients.
        let newer = r#"{"except":[],"x":1}"#;
        assert!(serde_json::from_str::<Maintenance>(newer).is_ok());
    }
}
