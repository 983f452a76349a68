// SPDX-License-Identifier: MIT
//! Texts with variables: values of header fields, and where a redirect leads.
//!
//! `$name` or `${name}` stands for what is known of a request or its response, `$$` for a dollar.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::Serializer;
use thiserror::Error;

macro_rules! variables {
    ($($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*) => {
        /// What a variable stands for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Variable {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Variable {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the rule language.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

variables! {
    /// The client's address, without port.
    ClientAddress = "client_address",
    /// The client's port; empty where nobody has told it.
    ClientPort = "client_port",
    /// Host of the request, as sent, with its port.
    Host = "host",
    /// Method of the request.
    Method = "method",
    /// Path of the request, as sent, without query.
    Path = "path",
    /// Query of the request, as sent, without question mark.
    Query = "query",
    /// Path and query of the request, as sent.
    Uri = "uri",
    /// `http` or `https`.
    Scheme = "scheme",
    /// Server name of the TLS handshake; empty without TLS.
    ServerName = "server_name",
    /// `TLSv1.2` or `TLSv1.3`; empty without TLS.
    TlsVersion = "tls_version",
    /// Subject of the client's certificate (RFC 4514); empty without one.
    ClientSubject = "client_subject",
    /// SHA-256 of the client's certificate, in hexadecimal digits; empty without one.
    ClientFingerprint = "client_fingerprint",
    /// `yes` or `no`: whether the client has shown a certificate.
    ClientVerified = "client_verified",
    /// The request's identifier: that of X-Request-Id where a trusted proxy has sent it, otherwise a new one.
    RequestId = "request_id",
    /// `traceparent` (W3C Trace Context, level 1): a trusted proxy's trace with a new parent, otherwise a new trace.
    Traceparent = "traceparent",
    /// The virtual service.
    Service = "service",
    /// The route: its name, or `#n`.
    Route = "route",
    /// The pool; empty where the request goes to none.
    Pool = "pool",
    /// Address of the real server; empty where there is none (yet).
    Server = "server",
    /// The user whose password the request has (`basic_auth`); empty where none is asked for.
    User = "user",
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands; not empty.
    Text(String),
    /// What is known of a request.
    Variable(Variable),
}

/// A text with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// Why a text is no template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// There is no such variable.
    #[error("there is no variable `${0}`")]
    Unknown(String),
    /// `${` without `}`.
    #[error("`${{` has no closing brace")]
    Open,
    /// A dollar that no name follows.
    #[error("a name follows a dollar")]
    Lone,
}

impl Template {
    /// Its pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The text where it has no variable.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether a variable is in it.
    pub fn has(&self, variable: Variable) -> bool {
        self.0.contains(&Piece::Variable(variable))
    }

    fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => (),
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }
}

/// A piece of a text, before it is known what its names are.
pub(crate) enum Part<'t> {
    /// As it stands; may be empty.
    Text(&'t str),
    /// What follows a dollar.
    Name(&'t str),
}

/// Takes a text apart where dollars are.
pub(crate) fn split(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        parts.push(Part::Text(before));
        if let Some(behind) = behind.strip_prefix('$') {
            parts.push(Part::Text("$"));
            rest = behind;
            continue;
        }
        let name;
        (name, rest) = match behind.strip_prefix('{') {
            Some(inside) => inside.split_once('}').ok_or(TemplateError::Open)?,
            None => {
                let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                behind.split_at(end.unwrap_or(behind.len()))
            }
        };
        if name.is_empty() {
            return Err(TemplateError::Lone);
        }
        parts.push(Part::Name(name));
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut template = Self::default();
        for part in split(text)? {
            match part {
                Part::Text(text) => template.text(text),
                Part::Name(name) => {
                    let variable = Variable::ALL.iter().find(|known| known.as_str() == name);
                    let variable =
                        variable.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
                    template.0.push(Piece::Variable(*variable));
                }
            }
        }
        Ok(template)
    }
}

/// As it is written in a rule file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&text.replace('$', "$$")),
            Piece::Variable(variable) => write!(f, "${{{variable}}}"),
        })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let variable = Piece::Variable;
        for (given, expected) in [
            ("", vec![]),
            ("a b", vec![text("a b")]),
            ("$host", vec![variable(Variable::Host)]),
            ("${host}s", vec![variable(Variable::Host), text("s")]),
            (
                "<$scheme://$host$uri>",
                vec![
                    text("<"),
                    variable(Variable::Scheme),
                    text("://"),
                    variable(Variable::Host),
                    variable(Variable::Uri),
                    text(">"),
                ],
            ),
            ("5 $$", vec![text("5 $")]),
            ("$$host", vec![text("$host")]),
        ] {
            let template: Template = given.parse().unwrap();
            assert_eq!(template.pieces(), expected, "{given}");
            let again: Template = template.to_string().parse().unwrap();
            assert_eq!(again, template, "{given}");
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        for (given, expected) in [
            ("$", TemplateError::Lone),
            ("5 $ a", TemplateError::Lone),
            ("${}", TemplateError::Lone),
            ("${host", TemplateError::Open),
            (
                "$remote_addr",
                TemplateError::Unknown("remote_addr".to_owned()),
            ),
            ("$hosts", TemplateError::Unknown("hosts".to_owned())),
            ("$5", TemplateError::Unknown("5".to_owned())),
        ] {
            assert_eq!(given.parse::<Template>(), Err(expected), "{given}");
        }
    }
}
