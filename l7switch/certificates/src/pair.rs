// SPDX-License-Identifier: MIT
//! A certificate of a service, ready to be shown: chain, key and what is stapled, with its names and its time.

use std::sync::Arc;
use std::time::SystemTime;

use l7switch_rules::model::Certificate;
use rustls::InconsistentKeys;
use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_cert::certificate::CertificateInner;
use x509_cert::certificate::Raw;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::files::TlsError;
use crate::files::read_ocsp;
use crate::files::read_pair;
use crate::provider;

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// As the rules name it.
    pub rules: Certificate,
    /// As rustls has it.
    pub certified: Arc<CertifiedKey>,
    /// Its DNS names, in lower case, in its order; a wildcard with `*.`.
    pub names: Vec<String>,
    /// From when to when it is good; absent where that cannot be read.
    pub validity: Option<(SystemTime, SystemTime)>,
    /// Its subject (RFC 4514), where no name or address stands in it by which a client would know it (RFC 9525).
    pub nameless: Option<String>,
}

/// The signatures that a server may be asked for (RFC 8446, 4.2.3).
const SCHEMES: [SignatureScheme; 12] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::ED448,
    SignatureScheme::ECDSA_SHA1_Legacy,
];

impl Pair {
    /// Reads a certificate with its key, and what is stapled to it.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn read(rules: &Certificate) -> Result<Self, TlsError> {
        let (chain, key) = read_pair(&rules.cert, &rules.key)?;
        let mut certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| pair_error(rules, &error))?;
        certified.ocsp = rules.ocsp.as_deref().map(read_ocsp).transpose()?;
        let leaf = certified.end_entity_cert()?;
        let names = EndEntityCert::try_from(leaf)
            .map_err(|error| TlsError::file(&rules.cert, error))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let parsed = CertificateInner::<Raw>::from_der(leaf).ok();
        let nameless = parsed.as_ref().and_then(nameless);
        let validity = parsed.map(|parsed| {
            let validity = parsed.tbs_certificate().validity();
            let time = |time: x509_cert::time::Time| time.to_system_time();
            (time(validity.not_before), time(validity.not_after))
        });
        Ok(Self {
            rules: rules.clone(),
            certified: Arc::new(certified),
            names,
            validity,
            nameless,
        })
    }

    /// What it is called in logs and metrics: its first name, or its file where it has none.
    pub fn label(&self) -> String {
        let file = || self.rules.cert.display().to_string();
        self.names.first().cloned().unwrap_or_else(file)
    }

    /// Whether it can be shown to a client that takes these signatures.
    pub fn signs(&self, offered: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(offered).is_some()
    }

    /// Whether every client that takes one pair takes the other.
    pub(crate) fn signs_as(&self, other: &Self) -> bool {
        SCHEMES
            .iter()
            .all(|scheme| self.signs(&[*scheme]) == other.signs(&[*scheme]))
    }
}

/// The subject of a certificate that has neither a DNS name nor an address in its subject alternative names.
fn nameless(certificate: &CertificateInner<Raw>) -> Option<String> {
    let certificate = certificate.tbs_certificate();
    // One that cannot be read is no reason to say that there is none.
    let names = certificate.get_extension::<SubjectAltName>().ok()?;
    let is_named = names.is_some_and(|(_, names)| {
        let is_name = |name: &GeneralName| {
            matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_))
        };
        names.0.iter().any(is_name)
    });
    (!is_named).then(|| certificate.subject().to_string())
}

/// What identifies a certificate (RFC 9773, 4.1): the key identifier of its authority, and the content of its serial number's DER.
/// `None`: it does not say both.
pub fn identifier(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let parsed = CertificateInner::<Raw>::from_der(der).ok()?;
    let certificate = parsed.tbs_certificate();
    let (_, authority) = certificate
        .get_extension::<AuthorityKeyIdentifier>()
        .ok()
        .flatten()?;
    let authority = authority.key_identifier?.as_bytes().to_vec();
    Some((authority, certificate.serial_number().as_bytes().to_vec()))
}

fn pair_error(rules: &Certificate, error: &rustls::Error) -> TlsError {
    let why = match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key does not belong to the certificate".to_owned()
        }
        // What a key is refused for.
        rustls::Error::General(why) => why.clone(),
        other => other.to_string(),
    };
    TlsError::Pair {
        cert: rules.cert.display().to_string(),
        key: rules.key.display().to_string(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::CertificateParams;
    use rcgen::Issuer;
    use rcgen::KeyIdMethod;
    use rcgen::KeyPair;
    use rcgen::SerialNumber;

    #[test]
    fn a_certificate_is_identified_as_rfc_9773_says() {
        let mut authority = CertificateParams::default();
        authority.key_identifier_method = KeyIdMethod::PreSpecified(vec![0x69, 0x88, 0x5b]);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65, 0x43, 0x21]));
        let key = KeyPair::generate().unwrap();
        let without = params.clone().signed_by(&key, &issuer).unwrap();
        assert_eq!(identifier(without.der()), None);
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &issuer).unwrap();
        let (authority, serial) = identifier(cert.der()).unwrap();
        assert_eq!(authority, [0x69, 0x88, 0x5b]);
        // With the zero that keeps it positive, as in the example of section 4.1.
        assert_eq!(serial, [0, 0x87, 0x65, 0x43, 0x21]);
        assert_eq!(identifier(b"none"), None);
    }
}
