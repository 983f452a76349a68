// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why the framing of a response is not understood.

use core::fmt;

/// A rule that a response head broke. Where the response ends is not known, so neither connection
/// can carry another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// A carriage return without a line feed after it.
    BareCr,
    /// What came starts with no HTTP version.
    Version,
    /// A version other than 1.0 and 1.1.
    VersionNotSupported,
    /// Not version, status code and reason phrase with one space between two.
    StatusLine,
    /// A status code that is not three digits, or is below 100.
    Status,
    /// A line that starts with white space.
    ObsFold,
    /// A field without a name.
    EmptyFieldName,
    /// A field name that is no token.
    FieldName,
    /// White space between a field's name and its colon.
    SpaceBeforeColon,
    /// A field without a colon.
    MissingColon,
    /// NUL in a field value or the reason phrase, or another control character in a field that
    /// matters for framing.
    FieldValue,
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
    /// A Connection field that would have Content-Length removed.
    ConnectionOption,
    /// A head longer than [`RESPONSE_HEAD_MAX`](super::RESPONSE_HEAD_MAX).
    HeadTooLong,
}

impl ResponseError {
    /// The document and section that has the rule, as `RFC 9112, 6.1`.
    pub const fn rule(self) -> &'static str {
        self.describe().0
    }

    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::BareCr => ("RFC 9112, 2.2", "carriage return without line feed"),
            Self::Version => (
                "RFC 9112, 2.3",
                "response does not start with an HTTP version",
            ),
            Self::VersionNotSupported => ("RFC 9112, 2.3", "HTTP version is neither 1.0 nor 1.1"),
            Self::StatusLine => (
                "RFC 9112, 4",
                "status line is not version, status code and reason phrase with one space between",
            ),
            Self::Status => (
                "RFC 9110, 15",
                "status code is not three digits from 100 on",
            ),
            Self::ObsFold => ("RFC 9112, 5.2", "field line starts with white space"),
            Self::EmptyFieldName => ("RFC 9110, 5.1", "field without a name"),
            Self::FieldName => ("RFC 9110, 5.1", "field name is not a token"),
            Self::SpaceBeforeColon => ("RFC 9112, 5.1", "white space between field name and colon"),
            Self::MissingColon => ("RFC 9112, 5", "field line without a colon"),
            Self::FieldValue => (
                "RFC 9110, 5.5",
                "control character in field value or reason phrase",
            ),
            Self::ContentLength => ("RFC 9112, 6.3", "Content-Length is not a decimal number"),
            Self::ContentLengthOverflow => (
                "RFC 9110, 8.6",
                "Content-Length is larger than 64 bits hold",
            ),
            Self::RepeatedContentLength => ("RFC 9112, 6.3", "more than one Content-Length"),
            Self::TransferEncodingAndContentLength => (
                "RFC 9112, 6.3",
                "Transfer-Encoding together with Content-Length",
            ),
            Self::TransferEncodingInHttp10 => ("RFC 9112, 6.1", "Transfer-Encoding in HTTP/1.0"),
            Self::TransferEncoding => (
                "RFC 9112, 6.1",
                "Transfer-Encoding is not a list of codings",
            ),
            Self::ChunkedTwice => ("RFC 9112, 6.1", "chunked coding applied more than once"),
            Self::CodingAfterChunked => ("RFC 9112, 6.1", "transfer coding after chunked"),
            Self::ConnectionOption => ("RFC 9110, 7.6.1", "Connection names Content-Length"),
            Self::HeadTooLong => ("RFC 9110, 5.4", "response head is too long"),
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rule, text) = self.describe();
        write!(f, "{text} ({rule})")
    }
}

impl core::error::Error for ResponseError {}
