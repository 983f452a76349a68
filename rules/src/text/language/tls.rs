// SPDX-License-Identifier: MIT
//! What the language has of TLS: certificates and how they are ordered, versions, TLS towards servers.

use super::*;

tables! {
    /// The authority of which certificates are ordered by ACME, and the account there.
    AcmeText {
        /// URL of the authority's directory; default: Let's Encrypt's.
        directory: At<String>,
        /// Mail addresses that the authority may write to; default: none.
        contact: OneOrMany<At<String>>,
        /// Whether you agree to the authority's terms of service; has to be true.
        terms_agreed: At<bool>,
        /// Folder of the account's key, and of the certificates and their keys; relative to the rule file.
        state: At<String>,
        /// How it is shown that names are this host's: http (default) on port 80, or tls-alpn on port 443.
        challenge: At<ChallengeWord>,
        /// PEM file of the authorities that are trusted for the directory itself, relative to the rule file; default: those of the system.
        ca: At<String>,
        /// Kind of certificate, of those that the authority offers; default: the authority's own choice.
        profile: At<String>,
        /// Account that you have with the authority already; default: none.
        external_account: At<ExternalAccountText>,
    }

    /// An account with the authority that the one of ACME is bound to.
    ExternalAccountText {
        /// Identifier of the key, as the authority gave it.
        id: At<String>,
        /// File of the key (base64url), as the authority gave it; relative to the rule file.
        key: At<String>,
    }

    /// A certificate: a chain and its key from files, or names for which one is ordered.
    CertificateText {
        /// PEM file of the chain, leaf first; relative to the rule file.
        cert: At<String>,
        /// PEM file of the private key; relative to the rule file.
        key: At<String>,
        /// File of the OCSP response that is stapled to it, DER; relative to the rule file. For services.
        ocsp: At<String>,
        /// Names of a certificate that is ordered by ACME, in place of files. For services.
        acme: At<OneOrMany<At<String>>>,
    }

    /// Certificates that clients are asked for.
    ClientCertificatesText {
        /// PEM file of the authorities that are trusted, relative to the rule file.
        ca: At<String>,
        /// Whether clients without a certificate are refused; default: true.
        required: bool,
        /// PEM file of the authorities' revocation lists, relative to the rule file; default: none.
        crl: At<String>,
    }

    /// How a service speaks TLS.
    TlsText {
        /// The oldest version that is spoken: 1.2 (default) or 1.3.
        min_version: At<TlsVersionWord>,
        /// Groups for the key exchange; default: X25519MLKEM768, X25519, P-256, P-384.
        curves: At<OneOrMany<At<CurveWord>>>,
    }
}
