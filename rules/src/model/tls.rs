// SPDX-License-Identifier: MIT
//! TLS that the switch terminates: certificates, versions, certificates of clients.

use std::path::PathBuf;

use serde::Serialize;

use super::OrderedCertificate;

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

/// A certificate of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ServiceCertificate {
    /// From files.
    Files(Certificate),
    /// Ordered by ACME.
    Ordered(OrderedCertificate),
}

impl ServiceCertificate {
    /// The files that the rules name.
    pub fn files(&self) -> Option<&Certificate> {
        match self {
            Self::Files(files) => Some(files),
            Self::Ordered(_) => None,
        }
    }
}

/// How an `https` service speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceTls {
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Groups for the key exchange; not empty. Of them, the client's first choice is taken.
    pub curves: Vec<Curve>,
    /// Whose certificates clients show; absent: they are not asked for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

impl Default for ServiceTls {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::default(),
            curves: Curve::USUAL.to_vec(),
            client_certificates: None,
        }
    }
}

/// A group for the key exchange (RFC 8446, 4.2.7), by its name in the registry of TLS's named groups, or as NIST names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Curve {
    /// ML-KEM-768 with X25519.
    #[serde(rename = "X25519MLKEM768")]
    X25519MlKem768,
    /// ML-KEM-768 with P-256 (SecP256r1MLKEM768).
    #[serde(rename = "P-256MLKEM768")]
    P256MlKem768,
    /// RFC 7748.
    X25519,
    /// NIST's (secp256r1).
    #[serde(rename = "P-256")]
    P256,
    /// NIST's (secp384r1).
    #[serde(rename = "P-384")]
    P384,
}

impl Curve {
    /// Those of a service that names none.
    pub const USUAL: [Self; 4] = [Self::X25519MlKem768, Self::X25519, Self::P256, Self::P384];

    /// Whether TLS 1.2 has it.
    pub const fn is_for_12(self) -> bool {
        !matches!(self, Self::X25519MlKem768 | Self::P256MlKem768)
    }
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
