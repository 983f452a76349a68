// SPDX-License-Identifier: MIT
//! What a line of the access log can say: the fields by their names.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::line::Line;

/// A value of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Text; empty: not known.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
    /// Seconds; absent: not known.
    Seconds(Option<f64>),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal $(, $text:literal)?;)*) => {
        /// A field of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            /// All, in the order in which lines have them.
            pub const ALL: &'static [Self] = &[$(Self::$field,)*];

            /// Its name in JSON, in templates and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }

            /// Its key in text.
            pub(super) const fn key(self) -> &'static str {
                match self {
                    $(Self::$field => fields!(@key $name $(, $text)?),)*
                }
            }
        }
    };
    (@key $name:literal) => { $name };
    (@key $name:literal, $text:literal) => { $text };
}

fields! {
    /// When the request came, RFC 3339, UTC.
    Time = "time";
    /// The client's address and port.
    Client = "client";
    /// The virtual service.
    Service = "service";
    /// The route: its name, or `#n`.
    Route = "route";
    /// The pool.
    Pool = "pool";
    /// The real server.
    Server = "server";
    /// Method, as sent.
    Method = "method";
    /// Host or TLS server name, as sent.
    Host = "host";
    /// Path and query, as sent.
    Path = "path";
    /// HTTP version: `1.0`, `1.1` or `2`.
    Version = "version";
    /// Status of the response; 0: none was sent.
    Status = "status";
    /// Content bytes from the client.
    BytesIn = "bytes_in", "in";
    /// Content bytes to the client.
    BytesOut = "bytes_out", "out";
    /// Seconds from the head of the request to the end of the response.
    Duration = "duration", "time";
    /// Seconds from the head of the request to the head of the response.
    FirstByte = "first_byte", "ttfb";
    /// How it ended: `ok`, or a [reason](crate::observe::reason::Reason).
    End = "end";
    /// The user whose password the request has.
    User = "user";
    /// The request's identifier, where the route says `$request_id` or another variable.
    RequestId = "request_id";
    /// `http` or `https`; empty for `tls` and `tcp` services.
    Scheme = "scheme";
    /// The TLS version that was agreed upon with the client.
    TlsVersion = "tls_version";
    /// The server name in the client's TLS handshake.
    ServerName = "server_name";
    /// The `User-Agent` of the request.
    UserAgent = "user_agent";
    /// The `Referer` of the request.
    Referrer = "referrer";
    /// Seconds from the head of the request until it was sent to the server that has answered: waiting, connecting, failed attempts.
    ServerWait = "server_wait";
    /// Seconds from there to the head of that server's response.
    ServerFirstByte = "server_first_byte";
    /// How many times it was sent to a server, or that was tried.
    Attempts = "attempts";
    /// The trace to which it belongs, where requests are traced.
    TraceId = "trace_id";
    /// The client's address alone.
    ClientAddress = "client_address";
    /// When the request came, as in the common log format, UTC.
    TimeLocal = "time_local";
    /// Method, path and version, as in the first line of a request.
    Request = "request";
}

/// The fields of a line where none are chosen.
pub(super) const DEFAULT: usize = Field::RequestId as usize + 1;
/// Behind these come the ones that only templates have: others have their parts.
const SINGLE: usize = Field::TraceId as usize + 1;

impl Field {
    /// Those that a line of text or JSON can have.
    pub fn singles() -> &'static [Self] {
        Self::ALL.get(..SINGLE).unwrap_or(Self::ALL)
    }

    /// Those that it has where none are chosen.
    pub fn defaults() -> &'static [Self] {
        Self::ALL.get(..DEFAULT).unwrap_or(Self::ALL)
    }

    /// The one of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }

    /// Whether it is about the request's header fields, which are looked through for it.
    pub(super) const fn is_of_headers(self) -> bool {
        matches!(self, Self::UserAgent | Self::Referrer)
    }

    /// Its value in a line.
    pub(super) fn value(self, line: &Line) -> Value<'_> {
        let text = |text| Value::Text(Cow::Borrowed(text));
        match self {
            Self::Time => Value::Text(Cow::Owned(line.timestamp())),
            Self::Client => text(&line.client),
            Self::Service => text(&line.service),
            Self::Route => text(&line.route),
            Self::Pool => text(&line.pool),
            Self::Server => text(&line.server),
            Self::Method => text(&line.method),
            Self::Host => text(&line.host),
            Self::Path => text(&line.path),
            Self::Version => text(line.version),
            Self::Status => Value::Number(line.status.into()),
            Self::BytesIn => Value::Number(line.bytes_in),
            Self::BytesOut => Value::Number(line.bytes_out),
            Self::Duration => Value::Seconds(Some(line.duration)),
            Self::FirstByte => Value::Seconds(line.first_byte),
            Self::End => text(line.end),
            Self::User => text(&line.user),
            Self::RequestId => text(&line.request_id),
            Self::Scheme => text(line.scheme),
            Self::TlsVersion => text(line.tls_version),
            Self::ServerName => text(&line.server_name),
            Self::UserAgent => text(&line.user_agent),
            Self::Referrer => text(&line.referrer),
            Self::ServerWait => Value::Seconds(line.server_wait),
            Self::ServerFirstByte => Value::Seconds(line.server_first_byte),
            Self::Attempts => Value::Number(line.attempts.into()),
            Self::TraceId => text(&line.trace_id),
            Self::ClientAddress => text(line.client_address()),
            Self::TimeLocal => Value::Text(Cow::Owned(line.time_local())),
            Self::Request => Value::Text(Cow::Owned(line.request())),
        }
    }
}

/// Writes a value such that no client can forge a line or a key: visible ASCII stays, and spaces where `spaces` says so; a
/// quotation mark, a backslash and all else is written as `\xHH`.
pub(super) fn escape(value: &str, spaces: bool, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => {
                let _ = write!(out, "\\x{byte:02x}");
            }
            b'!'..=b'~' => out.push(char::from(byte)),
            b' ' if spaces => out.push(' '),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}
