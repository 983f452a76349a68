// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Why a ClientHello is refused.

use core::fmt;

/// A rule that the first bytes of a TLS connection broke, or a bound that they went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HelloError {
    /// A record that is no handshake record, or no TLS at all; SSL 2.0 too.
    NotHandshake,
    /// A record of another major version than 3.
    RecordVersion,
    /// A record without content.
    EmptyRecord,
    /// A record of more than 2¹⁴ bytes.
    RecordTooLong,
    /// A handshake message other than ClientHello.
    NotClientHello,
    /// A ClientHello of more than [`MESSAGE_MAX`](super::MESSAGE_MAX) bytes.
    MessageTooLong,
    /// More bytes in the record in which the ClientHello ends.
    TrailingData,
    /// A client that speaks nothing newer than SSL 3.0.
    ClientVersion,
    /// A session identifier of more than 32 bytes.
    SessionId,
    /// No cipher suites, or half a one.
    CipherSuites,
    /// Compression methods without the null method.
    Compression,
    /// A length that goes beyond what contains it, or falls short of it.
    Length,
    /// More than [`EXTENSIONS_MAX`](super::EXTENSIONS_MAX) extensions.
    TooManyExtensions,
    /// Two extensions of one type.
    DuplicateExtension,
    /// A server_name extension that is empty, or with a name of a type that is not defined.
    ServerNameList,
    /// Two host names.
    RepeatedServerName,
    /// A server name that is no DNS name.
    ServerName,
    /// An ALPN extension without protocols, or with an empty one.
    Alpn,
    /// Protocols of more than [`ALPN_MAX`](super::ALPN_MAX) bytes.
    AlpnTooLong,
}

impl HelloError {
    /// The document and section that has the rule, as `RFC 8446, 4.1.2`.
    pub const fn rule(self) -> &'static str {
        self.describe().0
    }

    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::NotHandshake => ("RFC 8446, 5.1", "not a TLS handshake record"),
            Self::RecordVersion => ("RFC 8446, 5.1", "version of record is not of TLS"),
            Self::EmptyRecord => ("RFC 8446, 5.1", "handshake record without content"),
            Self::RecordTooLong => ("RFC 8446, 5.1", "record of more than 16384 bytes"),
            Self::NotClientHello => ("RFC 8446, 4.1.2", "first message is not ClientHello"),
            Self::MessageTooLong => ("RFC 8446, 4", "ClientHello is too long"),
            Self::TrailingData => ("RFC 8446, 5.1", "ClientHello does not end with its record"),
            Self::ClientVersion => ("RFC 8996, 2", "client speaks no version of TLS"),
            Self::SessionId => (
                "RFC 8446, 4.1.2",
                "session identifier of more than 32 bytes",
            ),
            Self::CipherSuites => ("RFC 8446, 4.1.2", "list of cipher suites is malformed"),
            Self::Compression => (
                "RFC 8446, 4.1.2",
                "compression methods without the null one",
            ),
            Self::Length => ("RFC 8446, 3.4", "lengths in ClientHello do not agree"),
            Self::TooManyExtensions => ("RFC 8446, 4.2", "too many extensions"),
            Self::DuplicateExtension => ("RFC 8446, 4.2", "more than one extension of one type"),
            Self::ServerNameList => ("RFC 6066, 3", "server_name extension is malformed"),
            Self::RepeatedServerName => ("RFC 6066, 3", "more than one host name"),
            Self::ServerName => ("RFC 6066, 3", "server name is not a DNS name"),
            Self::Alpn => ("RFC 7301, 3.1", "list of protocols is malformed"),
            Self::AlpnTooLong => ("RFC 7301, 3.1", "list of protocols is too long"),
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rule, text) = self.describe();
        write!(f, "{text} ({rule})")
    }
}

impl core::error::Error for HelloError {}
