// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why a request head is refused.

use core::fmt;

/// A rule that a request head broke. The connection can only be closed after it: where the message
/// ends is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadError {
    /// More than one empty line before the request line.
    EmptyLines,
    /// A line feed without a carriage return before it.
    BareLf,
    /// A carriage return without a line feed after it.
    BareCr,
    /// The method is no token, or what came is no HTTP at all.
    Method,
    /// A method longer than [`METHOD_MAX`](super::METHOD_MAX).
    MethodTooLong,
    /// Not three parts with one space between two.
    RequestLine,
    /// A character that a request target may not contain.
    TargetByte,
    /// A fragment in the request target.
    Fragment,
    /// The target has none of the four forms, or not the one for its method.
    TargetForm,
    /// An absolute target that is neither http nor https.
    Scheme,
    /// A user name or password in the target.
    UserInfo,
    /// The target's host or port is not valid.
    Authority,
    /// The target is longer than allowed.
    TargetTooLong,
    /// The third part of the request line is no HTTP version.
    Version,
    /// A version other than 1.0 and 1.1.
    VersionNotSupported,
    /// White space before the first field.
    LeadingWhiteSpace,
    /// A folded field value.
    ObsFold,
    /// A field without a name.
    EmptyFieldName,
    /// A field name that is no token.
    FieldName,
    /// White space between a field's name and its colon.
    SpaceBeforeColon,
    /// A field without a colon.
    MissingColon,
    /// A control character in a field value.
    FieldValue,
    /// No Host field in HTTP/1.1.
    MissingHost,
    /// More than one Host field.
    RepeatedHost,
    /// A Host field that is no host with an optional port.
    Host,
    /// A Content-Length that is no decimal number.
    ContentLength,
    /// A Content-Length of 2⁶⁴ or more.
    ContentLengthOverflow,
    /// More than one Content-Length, be they equal or not.
    RepeatedContentLength,
    /// Transfer-Encoding together with Content-Length.
    TransferEncodingAndContentLength,
    /// Transfer-Encoding in HTTP/1.0.
    TransferEncodingInHttp10,
    /// A Transfer-Encoding that is no list of codings.
    TransferEncoding,
    /// The chunked coding applied twice.
    ChunkedTwice,
    /// A coding applied after chunked.
    CodingAfterChunked,
    /// Codings of which the last is not chunked.
    ChunkedNotLast,
    /// A coding other than chunked.
    CodingNotSupported,
    /// A Connection field that is no list of tokens.
    Connection,
    /// A Connection field that would have a field removed which the request cannot do without.
    ConnectionOption,
    /// CONNECT with content.
    ConnectContent,
    /// More fields than allowed.
    TooManyFields,
    /// The head is longer than allowed.
    HeadTooLong,
}

impl HeadError {
    /// Status code of the response that the client is owed.
    pub const fn status(self) -> u16 {
        self.describe().0
    }

    /// The document and section that has the rule, as `RFC 9112, 6.1`.
    pub const fn rule(self) -> &'static str {
        self.describe().1
    }

    const fn describe(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::EmptyLines => (
                400,
                "RFC 9112, 2.2",
                "more than one empty line before the request line",
            ),
            Self::BareLf => (400, "RFC 9112, 2.2", "line feed without carriage return"),
            Self::BareCr => (400, "RFC 9112, 2.2", "carriage return without line feed"),
            Self::Method => (400, "RFC 9112, 3.1", "method is not a token"),
            Self::MethodTooLong => (501, "RFC 9112, 3", "method is too long to be a known one"),
            Self::RequestLine => (
                400,
                "RFC 9112, 3",
                "request line is not method, target and version with one space between",
            ),
            Self::TargetByte => (
                400,
                "RFC 9112, 3.2",
                "character not allowed in request target",
            ),
            Self::Fragment => (400, "RFC 9112, 3.2", "fragment in request target"),
            Self::TargetForm => (
                400,
                "RFC 9112, 3.2",
                "request target has not the form that its method asks for",
            ),
            Self::Scheme => (
                400,
                "RFC 9110, 7.1",
                "scheme of request target is not http or https",
            ),
            Self::UserInfo => (400, "RFC 9110, 4.2.4", "user information in request target"),
            Self::Authority => (
                400,
                "RFC 9112, 3.2",
                "host or port of request target is not valid",
            ),
            Self::TargetTooLong => (414, "RFC 9112, 3", "request target is too long"),
            Self::Version => (
                400,
                "RFC 9112, 2.3",
                "request line does not end in an HTTP version",
            ),
            Self::VersionNotSupported => (
                505,
                "RFC 9110, 15.6.6",
                "HTTP version is neither 1.0 nor 1.1",
            ),
            Self::LeadingWhiteSpace => (
                400,
                "RFC 9112, 2.2",
                "white space between request line and first field",
            ),
            Self::ObsFold => (400, "RFC 9112, 5.2", "field value folded over lines"),
            Self::EmptyFieldName => (400, "RFC 9110, 5.1", "field without a name"),
            Self::FieldName => (400, "RFC 9110, 5.1", "field name is not a token"),
            Self::SpaceBeforeColon => (
                400,
                "RFC 9112, 5.1",
                "white space between field name and colon",
            ),
            Self::MissingColon => (400, "RFC 9112, 5", "field line without a colon"),
            Self::FieldValue => (400, "RFC 9110, 5.5", "control character in field value"),
            Self::MissingHost => (400, "RFC 9112, 3.2", "HTTP/1.1 request without Host"),
            Self::RepeatedHost => (400, "RFC 9112, 3.2", "more than one Host"),
            Self::Host => (
                400,
                "RFC 9112, 3.2",
                "Host is not a host with an optional port",
            ),
            Self::ContentLength => (
                400,
                "RFC 9112, 6.3",
                "Content-Length is not a decimal number",
            ),
            Self::ContentLengthOverflow => (
                400,
                "RFC 9110, 8.6",
                "Content-Length is larger than 64 bits hold",
            ),
            Self::RepeatedContentLength => (400, "RFC 9112, 6.3", "more than one Content-Length"),
            Self::TransferEncodingAndContentLength => (
                400,
                "RFC 9112, 6.1",
                "Transfer-Encoding together with Content-Length",
            ),
            Self::TransferEncodingInHttp10 => {
                (400, "RFC 9112, 6.1", "Transfer-Encoding in HTTP/1.0")
            }
            Self::TransferEncoding => (
                400,
                "RFC 9112, 6.1",
                "Transfer-Encoding is not a list of codings",
            ),
            Self::ChunkedTwice => (
                400,
                "RFC 9112, 6.1",
                "chunked coding applied more than once",
            ),
            Self::CodingAfterChunked => (400, "RFC 9112, 6.1", "transfer coding after chunked"),
            Self::ChunkedNotLast => (400, "RFC 9112, 6.3", "last transfer coding is not chunked"),
            Self::CodingNotSupported => (501, "RFC 9112, 6.1", "transfer coding is not known"),
            Self::Connection => (400, "RFC 9110, 7.6.1", "Connection is not a list of tokens"),
            Self::ConnectionOption => (
                400,
                "RFC 9110, 7.6.1",
                "Connection names Host or Content-Length",
            ),
            Self::ConnectContent => (400, "RFC 9110, 9.3.6", "CONNECT request with content"),
            Self::TooManyFields => (431, "RFC 6585, 5", "too many fields"),
            Self::HeadTooLong => (431, "RFC 6585, 5", "head is too long"),
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, rule, text) = self.describe();
        write!(f, "{text} ({rule})")
    }
}

impl core::error::Error for HeadError {}
