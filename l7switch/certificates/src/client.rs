// SPDX-License-Identifier: MIT
//! Certificates of clients: who is believed, and what is told of one that was shown.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::digest::digest;
use l7switch_rules::model::ClientCertificates;
use rustls::server::VerifierBuilderError;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_cert::certificate::CertificateInner;
use x509_cert::certificate::Raw;
use x509_cert::der::Decode;

use crate::files::TlsError;
use crate::files::read_crls;
use crate::files::read_roots;
use crate::provider;

/// What verifies the certificates of clients. With a revocation list, each authority on the way from the client's certificate must have
/// one in the file that is not out of date, as with OpenSSL.
///
/// # Errors
///
/// See [`TlsError`].
pub fn verifier(rules: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(read_roots(&rules.ca)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(crl) = &rules.crl {
        builder = builder
            .with_crls(read_crls(crl)?)
            .enforce_revocation_expiration();
    }
    if !rules.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| {
        let path = match (&error, &rules.crl) {
            (VerifierBuilderError::InvalidCrl(_), Some(crl)) => crl,
            _ => &rules.ca,
        };
        TlsError::file(path, error)
    })
}

/// What is told of a client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject as text (RFC 4514); empty where it cannot be read.
    pub subject: String,
    /// SHA-256 of its DER, in lower-case hexadecimal digits.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// Of a certificate's DER.
    pub fn of(der: &[u8]) -> Self {
        let parsed = CertificateInner::<Raw>::from_der(der);
        let subject = parsed.map(|parsed| parsed.tbs_certificate().subject().to_string());
        let mut fingerprint = String::with_capacity(64);
        for byte in digest(&SHA256, der).as_ref() {
            // Writing to a String does not fail.
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Self {
            subject: subject.unwrap_or_default(),
            fingerprint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::CertificateParams;
    use rcgen::DnType;
    use rcgen::KeyPair;

    fn subject(names: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::of(cert.der()).subject
    }

    #[test]
    fn subjects_are_written_as_rfc_4514_says() {
        let plain = [
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Example"),
            (DnType::CommonName, "alice"),
        ];
        assert_eq!(subject(&plain), "CN=alice,O=Example,C=DE");
        for (value, written) in [
            ("a,O=admin", "a\\,O=admin"),
            ("a+b\"c\\d<e>f;g", "a\\+b\\\"c\\\\d\\<e\\>f\\;g"),
            (" a ", "\\ a\\ "),
            ("#a", "\\#a"),
            ("a\r\nX-Admin: yes\0", "a\\0d\\0aX-Admin: yes\\00"),
            ("J\u{fc}rgen", "J\u{fc}rgen"),
        ] {
            assert_eq!(
                subject(&[(DnType::CommonName, value)]),
                format!("CN={written}")
            );
        }
        assert_eq!(subject(&[]), "");
    }

    #[test]
    fn what_is_no_certificate_has_a_fingerprint_only() {
        let told = ClientCertificate::of(b"abc");
        assert_eq!(told.subject, "");
        // FIPS 180-2, B.1
        assert_eq!(
            told.fingerprint,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
