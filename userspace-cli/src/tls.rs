// SPDX-License-Identifier: MIT
//! TLS towards a switch: who asks, whom is believed, and what is said where one end does not believe the other.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use l7switch_certificates::provider;
use l7switch_certificates::read_pair;
use l7switch_certificates::read_roots;
use l7switch_certificates::system_roots;
use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who asks, and whom is believed.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Identity {
    /// Certificate chain (PEM) that is shown to a switch at a URL
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "L7CTL_CERTIFICATE",
        help_heading = "Switch at a URL"
    )]
    pub(crate) certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "L7CTL_KEY",
        help_heading = "Switch at a URL"
    )]
    pub(crate) key: Option<PathBuf>,
    /// Authorities (PEM) that the switch's certificate is of [default: the system's]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "L7CTL_CA",
        help_heading = "Switch at a URL"
    )]
    pub(crate) ca: Option<PathBuf>,
}

impl Identity {
    /// Reads the files.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Err(
                "the switch asks for a certificate: give --certificate FILE and --key FILE".into(),
            );
        };
        let roots = match &self.ca {
            Some(ca) => read_roots(ca),
            None => system_roots(),
        };
        let roots = roots.map_err(|error| error.to_string())?;
        let (chain, private) = read_pair(certificate, key).map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private);
        let mut config = config.map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            format!("{certificate} with {key}: {error}")
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Shakes hands with a switch of this name or address.
    pub(crate) async fn shake_hands(
        &self,
        tls: Arc<ClientConfig>,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("`{host}` is neither a name nor an address"))?;
        let shaken = TlsConnector::from(tls).connect(name, stream).await;
        shaken.map_err(|error| why(&error, self).unwrap_or_else(|| error.to_string()))
    }
}

/// What one end does not like in the other's certificate. `None`: it is something else.
pub(crate) fn why(error: &(dyn Error + 'static), identity: &Identity) -> Option<String> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(wrong) => {
            let hint = match wrong {
                CertificateError::UnknownIssuer => match &identity.ca {
                    Some(ca) => format!(" (its authority is not in {})", ca.display()),
                    None => " (its authority is not one of the system's: give --ca FILE)".into(),
                },
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    " (name the switch in --admin as its certificate does)".to_owned()
                }
                _ => String::new(),
            };
            Some(format!(
                "the certificate of the switch is refused: {wrong}{hint}"
            ))
        }
        rustls::Error::AlertReceived(alert) => {
            let words = match alert {
                AlertDescription::UnknownCA => "its authority is not one of --admin-clients",
                AlertDescription::CertificateExpired => "it has expired, or is not good yet",
                AlertDescription::CertificateRevoked => "it is revoked",
                AlertDescription::CertificateRequired => "the switch has got none",
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied => "it is not one for a client",
                other => return Some(format!("the switch ends TLS: {other:?}")),
            };
            let file = identity.certificate.as_deref().unwrap_or("".as_ref());
            let file = file.display();
            Some(format!(
                "the switch refuses the certificate {file}: {words}"
            ))
        }
        rustls::Error::InvalidMessage(_) => Some("what answers there does not speak TLS".into()),
        other => Some(other.to_string()),
    }
}

/// The error of TLS behind another one.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an error of input and output has inside is not its source.
        let inner = error.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
