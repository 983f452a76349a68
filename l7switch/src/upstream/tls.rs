// SPDX-License-Identifier: MIT
//! How servers are spoken to: TLS, and which HTTP.

use std::io;
use std::path::Path;
use std::sync::Arc;

use l7switch_rules::model;
use l7switch_rules::model::Certificate;
use l7switch_rules::model::ServerAddress;
use l7switch_rules::model::ServerProtocol;
use l7switch_rules::model::ServerTls;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::stream::SharedStream;
use crate::net::tls;
use crate::net::tls::TlsError;

/// How the servers of a pool, or one of them, are spoken to.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// TLS; absent: clear text.
    pub(super) tls: Option<ClientTls>,
    /// HTTP.
    pub(super) protocol: ServerProtocol,
    /// The rules of it.
    rules: Option<ServerTls>,
}

impl Manner {
    /// What the rules say, with the certificates from their files.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub(super) fn new(pool: &model::Pool) -> Result<Self, TlsError> {
        let tls = pool.tls.as_ref();
        Ok(Self {
            tls: tls
                .map(|tls| ClientTls::new(tls, pool.protocol))
                .transpose()?,
            protocol: pool.protocol,
            rules: tls.cloned(),
        })
    }

    /// How this server of the pool is spoken to: unless the rules say whom certificates must name, the name that it was
    /// found by.
    pub(super) fn towards(&self, server: &model::RealServer) -> Self {
        let mut manner = self.clone();
        if let (Some(tls), Some(name)) = (&mut manner.tls, &server.name)
            && tls.name.is_none()
        {
            // The check knows no names that are none.
            tls.name = ServerName::try_from(name.certificate_name().to_owned()).ok();
        }
        manner
    }

    /// Whether connections that were made in one of two ways are good for the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let name = |manner: &Self| manner.tls.as_ref().map(|tls| tls.name.clone());
        self.rules == other.rules && self.protocol == other.protocol && name(self) == name(other)
    }
}

/// TLS towards the servers of a pool.
#[derive(Clone)]
pub(super) struct ClientTls {
    connector: TlsConnector,
    /// The same, where HTTP/1.1 is to be spoken whatever the pool's protocol is.
    http1: TlsConnector,
    /// Whom their certificates must name, and what is sent as server name; absent: each its own address.
    name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ClientTls {
    fn new(rules: &ServerTls, protocol: ServerProtocol) -> Result<Self, TlsError> {
        let provider = tls::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if rules.verify {
            builder.with_root_certificates(roots(rules.ca.as_deref())?)
        } else {
            let anybody = Anybody(Arc::clone(&provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(anybody))
        };
        let mut config = match &rules.certificate {
            None => builder.with_no_client_auth(),
            Some(Certificate { cert, key, .. }) => {
                let (chain, key) = tls::read_pair(cert, key)?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        let offered: &[&[u8]] = match protocol {
            ServerProtocol::Http1 => &[b"http/1.1"],
            ServerProtocol::Http2 => &[b"h2"],
            ServerProtocol::Auto => &[b"h2", b"http/1.1"],
        };
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = rules.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| rustls::Error::General(format!("`{name}` is not a server name")))
        });
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            http1: TlsConnector::from(Arc::new(http1)),
            name: name.transpose()?,
        })
    }

    /// The same for HTTP/1.1.
    pub(super) fn for_http1(&self) -> Self {
        Self {
            connector: self.http1.clone(),
            ..self.clone()
        }
    }

    /// Shakes hands.
    ///
    /// # Errors
    ///
    /// The stream's, or what is wrong with the server's certificate.
    pub(super) async fn connect(
        &self,
        address: &ServerAddress,
        stream: SharedStream,
    ) -> io::Result<TlsStream<SharedStream>> {
        let own = || match address {
            ServerAddress::Inet(address) => Ok(ServerName::IpAddress(address.ip().into())),
            // The check knows no Unix socket without a name but for those whose certificates are not verified.
            ServerAddress::Unix(_) => ServerName::try_from("localhost").map_err(io::Error::other),
        };
        let name = self.name.clone().map_or_else(own, Ok)?;
        self.connector.connect(name, stream).await
    }
}

/// The authorities that are believed: those of a file, else the system's.
fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    file.map_or_else(tls::system_roots, tls::read_roots)
}

/// Takes every certificate: `verify = false`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
