// SPDX-License-Identifier: MIT
//! TLS that the switch terminates: certificates, versions, certificates of clients.

use std::path::PathBuf;

use serde::Serialize;

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Chain, leaf first. Relative paths were resolved against the rule file's folder.
    pub cert: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
    /// OCSP response that is stapled to it (RFC 6066, 8), DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<PathBuf>,
}

impl Certificate {
    /// All of its files.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert, &self.key].into_iter().chain(&self.ocsp)
    }
}

/// How an `https` service speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceTls {
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whose certificates clients show; absent: they are not asked for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V13,
}

/// Certificates that clients are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientCertificates {
    /// The authorities that are believed, PEM.
    pub ca: PathBuf,
    /// Whether clients without a certificate are refused.
    pub required: bool,
    /// What the authorities have revoked, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
}
