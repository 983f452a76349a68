// SPDX-License-Identifier: MIT
//! TLS that the switch terminates: certificates, chosen by the name that the client asks for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use l7switch_rules::model::Certificate;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use thiserror::Error;
use webpki::EndEntityCert;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind.
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
        why: rustls::Error,
    },
    /// rustls refuses the configuration.
    #[error("{0}")]
    Config(#[from] rustls::Error),
}

/// The server configuration of an `https` service: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN,
/// the first certificate for clients that name no name, or one that no certificate has.
///
/// # Errors
///
/// See [`TlsError`].
pub fn server_config(certificates: &[Certificate]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let mut resolver = ByName::default();
    for certificate in certificates {
        resolver.add(load(certificate, &provider)?)?;
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The cryptography: aws-lc-rs, whose first key exchange is X25519MLKEM768.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
///
/// [`TlsError::File`].
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file_error(path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::File {
            path: path.display().to_string(),
            why: "it contains no certificate".to_owned(),
        });
    }
    Ok(chain)
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
    let chain = read_chain(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file_error(key, &error))?;
    Ok((chain, key))
}

fn load(
    certificate: &Certificate,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let (chain, key) = read_pair(&certificate.cert, &certificate.key)?;
    let pair_error = |why| TlsError::Pair {
        cert: certificate.cert.display().to_string(),
        key: certificate.key.display().to_string(),
        why,
    };
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(pair_error)?;
    Ok(Arc::new(pair))
}

fn file_error(path: &Path, error: &rustls::pki_types::pem::Error) -> TlsError {
    use rustls::pki_types::pem::Error;
    let why = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "it contains no private key".to_owned(),
        other => other.to_string(),
    };
    TlsError::File {
        path: path.display().to_string(),
        why,
    }
}

/// Certificates by the names that they have.
#[derive(Debug, Default)]
struct ByName {
    first: Option<Arc<CertifiedKey>>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the name behind `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn add(&mut self, pair: Arc<CertifiedKey>) -> Result<(), TlsError> {
        let certificate = EndEntityCert::try_from(pair.end_entity_cert()?)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        for name in certificate.valid_dns_names() {
            let name = name.to_ascii_lowercase();
            let (map, key) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name),
            };
            // The first certificate for a name keeps it.
            map.entry(key).or_insert_with(|| Arc::clone(&pair));
        }
        self.first.get_or_insert(pair);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            // A wildcard stands for one label (RFC 6125, 6.4.3).
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello
            .server_name()
            .and_then(|name| self.find(name))
            .or(self.first.as_ref())
            .cloned()
    }
}
