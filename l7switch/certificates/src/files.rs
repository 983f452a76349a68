// SPDX-License-Identifier: MIT
//! Reading PEM and DER files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_cert::der::Reader;
use x509_cert::der::SliceReader;

use crate::file;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("{cert} with {key}: {why}")]
    Pair {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// Why.
        why: String,
    },
    /// rustls refuses the configuration.
    #[error("{0}")]
    Config(#[from] rustls::Error),
}

impl TlsError {
    pub(crate) fn file(path: &Path, why: impl ToString) -> Self {
        Self::File {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
///
/// [`TlsError::File`].
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    read_all(path, "it contains no certificate")
}

/// Authorities of a PEM file.
///
/// # Errors
///
/// [`TlsError::File`].
pub fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        let added = roots.add(certificate);
        added.map_err(|why| TlsError::file(path, why))?;
    }
    Ok(roots)
}

/// The authorities that the system believes.
///
/// # Errors
///
/// [`TlsError::File`]: it has none.
pub fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Some systems have a few that are broken: the others count.
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken > 0 {
        return Ok(roots);
    }
    let none =
        "no certificates of authorities; install ca-certificates, or name a file of authorities";
    let first = found.errors.first();
    Err(TlsError::File {
        path: "the system's certificates".to_owned(),
        why: first.map_or_else(|| none.to_owned(), ToString::to_string),
    })
}

/// Revocation lists of a PEM file; at least one.
pub(crate) fn read_crls(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    read_all(path, "it contains no revocation list (X509 CRL)")
}

/// A chain and its key, of two PEM files.
///
/// # Errors
///
/// [`TlsError::File`].
pub fn read_pair(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    Ok((read_chain(cert)?, read_key(key)?))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = read(path)?;
    // "ENCRYPTED PRIVATE KEY" of PKCS#8 (RFC 7468, 11), "Proc-Type: 4,ENCRYPTED" of OpenSSL's older form.
    let is_encrypted = content.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED ") || line.starts_with(b"Proc-Type: 4,")
    });
    if is_encrypted {
        let why = "the key is encrypted, and nobody is asked for its passphrase; \
                   decrypt it: openssl pkey -in ENCRYPTED -out KEY";
        return Err(TlsError::file(path, why));
    }
    PrivateKeyDer::from_pem_slice(&content)
        .map_err(|error| pem_error(path, &error, "it contains no private key"))
}

/// A response of OCSP (RFC 6960, 4.2.1), DER. Whether it is good is for clients to say, but one that is none, or that tells of an
/// error, would be refused by all.
pub(crate) fn read_ocsp(path: &Path) -> Result<Vec<u8>, TlsError> {
    let content = read(path)?;
    match response_status(&content) {
        Ok(0) => Ok(content),
        Ok(status) => {
            let why = format!("the OCSP response tells of an error (responseStatus {status})");
            Err(TlsError::file(path, why))
        }
        Err(error) => {
            let why = format!("it contains no OCSP response (DER): {error}");
            Err(TlsError::file(path, why))
        }
    }
}

/// `OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED, responseBytes [0] EXPLICIT ResponseBytes OPTIONAL }`
fn response_status(content: &[u8]) -> Result<u8, x509_cert::der::Error> {
    use x509_cert::der::Decode;
    use x509_cert::der::Tag;
    use x509_cert::der::Tagged;
    use x509_cert::der::asn1::AnyRef;
    let response = AnyRef::from_der(content)?;
    response.tag().assert_eq(Tag::Sequence)?;
    let mut fields = SliceReader::new(response.value())?;
    let status: AnyRef<'_> = fields.decode()?;
    status.tag().assert_eq(Tag::Enumerated)?;
    Ok(status.value().first().copied().unwrap_or_default())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    file::read(path, file::MOST_PEM).map_err(|error| TlsError::file(path, error))
}

fn read_all<T: PemObject>(path: &Path, none: &str) -> Result<Vec<T>, TlsError> {
    let all = T::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<T>, _>>()
        .map_err(|error| pem_error(path, &error, none))?;
    if all.is_empty() {
        return Err(TlsError::file(path, none));
    }
    Ok(all)
}

fn pem_error(path: &Path, error: &pem::Error, none: &str) -> TlsError {
    match error {
        pem::Error::NoItemsFound => TlsError::file(path, none),
        other => TlsError::file(path, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn an_encrypted_key_is_refused_with_the_reason() {
        for begin in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
        ] {
            let file = written(format!("{begin}AAAA\n-----END").as_bytes());
            let error = read_key(file.path()).unwrap_err().to_string();
            assert!(error.contains("the key is encrypted"), "{error}");
        }
        let error = read_key(written(b"none").path()).unwrap_err().to_string();
        assert!(error.contains("no private key"), "{error}");
    }

    #[test]
    fn what_is_no_ocsp_response_is_refused() {
        let good = [0x30, 3, 0x0a, 1, 0];
        assert_eq!(read_ocsp(written(&good).path()).unwrap(), good);
        let error = |content: &[u8]| read_ocsp(written(content).path()).unwrap_err().to_string();
        // 3: tryLater
        assert!(error(&[0x30, 3, 0x0a, 1, 3]).contains("responseStatus 3"));
        for none in [
            &b""[..],
            b"-----BEGIN",
            &[0x30, 3, 2, 1, 0],
            &[0x30, 4, 0x0a, 1, 0],
            &[0x30, 0],
        ] {
            assert!(error(none).contains("no OCSP response"), "{none:?}");
        }
    }
}
