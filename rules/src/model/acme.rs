// SPDX-License-Identifier: MIT
//! Certificates that are ordered of an authority by ACME (RFC 8555).

use std::path::PathBuf;

use serde::Serialize;

/// What the path of a request begins with that answers an HTTP-01 challenge (RFC 8555, 8.3); the token follows.
pub const CHALLENGE_PREFIX: &str = "/.well-known/acme-challenge/";

/// An authority, and the account there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acme {
    /// URL of its directory (RFC 8555, 7.1.1); `https`.
    pub directory: String,
    /// Whom it may write to: URLs, `mailto:` and an address.
    pub contact: Vec<String>,
    /// Folder of the account's key, and of certificates with their keys. A relative path was resolved.
    pub state: PathBuf,
    /// How it is shown that names are this host's.
    pub challenge: Challenge,
    /// The authorities that are believed of the directory's own certificate, PEM; absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The kind of certificate that is ordered, of those that the authority offers (draft-ietf-acme-profiles).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The account that the user has with the authority already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_account: Option<ExternalAccount>,
}

/// How it is shown that a name is this host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Challenge {
    /// HTTP-01 (RFC 8555, 8.3): by a response on port 80.
    #[default]
    Http,
    /// TLS-ALPN-01 (RFC 8737): by a TLS handshake on port 443.
    TlsAlpn,
}

/// An account that is bound to the one of ACME (RFC 8555, 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalAccount {
    /// The key's identifier.
    pub id: String,
    /// File of the key for HMAC-SHA256, base64url.
    pub key: PathBuf,
}

/// A certificate that is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct OrderedCertificate {
    /// Its DNS names, in lower case, in the order of the rules; not empty, no wildcards, none twice.
    pub acme: Vec<String>,
}
