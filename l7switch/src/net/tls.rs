// SPDX-License-Identifier: MIT
//! TLS that the switch terminates: certificates, chosen by the name that the client asks for and the signatures that it takes, and
//! sessions that are resumed.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use l7switch_certificates::Pair;
use l7switch_certificates::file;
use l7switch_certificates::verifier;
use l7switch_rules::model;
use l7switch_rules::model::Curve;
use l7switch_rules::model::ServiceCertificate;
use l7switch_rules::model::TlsVersion;
use rustls::AlertDescription;
use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::SignatureScheme;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::UnixTime;
use rustls::server::ClientHello;
use rustls::server::NoClientAuth;
use rustls::server::ResolvesServerCert;
use rustls::server::ServerSessionMemoryCache;
use rustls::server::StoresServerSessions;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::acme::AcmeError;
use crate::acme::Slot;
use crate::acme::Source;
use crate::net::shown::Shown;
use crate::net::ticket_keys::TicketKeys;

pub use l7switch_certificates::TlsError;
pub use l7switch_certificates::provider;
pub use l7switch_certificates::read_pair;
pub use l7switch_certificates::read_roots;
pub use l7switch_certificates::system_roots;

/// Sessions that are kept for clients of TLS 1.2 that take no tickets.
const SESSIONS: usize = 256;

/// Tickets that a client of TLS 1.3 gets with each handshake. A ticket is good for one connection, which brings the next one;
/// a second one costs as much as the first, and few clients ever use it.
const TICKETS: usize = 1;

/// The same for clients that say how many they want (RFC 9149).
const MOST_TICKETS: usize = 4;

/// Whether a server has ended TLS because it refuses the switch's certificate, or because there is none (RFC 8446, 6.2): in TLS 1.3
/// it does so behind the handshake, before it reads anything.
pub fn refuses_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = inner else {
        return false;
    };
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

/// TLS of an `https` service in one generation.
#[derive(Debug)]
pub struct ServiceTls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The certificates, in the order of the rules.
    pub shown: Vec<Shown>,
    clients: Arc<dyn ClientCertVerifier>,
    sessions: Sessions,
}

impl ServiceTls {
    /// TLS of a service: HTTP/2 and HTTP/1.1 by ALPN, the first certificate for clients that name no name, or one that no certificate
    /// has. `before`: of the generation before, whose sessions can be resumed.
    ///
    /// # Errors
    ///
    /// See [`AcmeError`].
    pub fn new(
        service: &model::Service,
        before: Option<&Self>,
        acme: &Source<'_>,
    ) -> Result<Self, AcmeError> {
        let mut shown = Vec::with_capacity(service.certificates.len());
        for certificate in &service.certificates {
            match certificate {
                ServiceCertificate::Files(files) => shown.push(Shown::Files(Pair::read(files)?)),
                ServiceCertificate::Ordered(ordered) => {
                    shown.extend(acme.slot(ordered)?.map(Shown::Ordered));
                }
            }
        }
        // Read before the verifier reads them: what changes between is seen by the next generation.
        let trust = Trust::of(&service.tls)?;
        let clients: Arc<dyn ClientCertVerifier> = match &service.tls.client_certificates {
            Some(clients) => verifier(clients)?,
            None => Arc::new(NoClientAuth),
        };
        let sessions = match before.filter(|before| before.sessions.trust == trust) {
            Some(before) => before.sessions.clone(),
            None => Sessions::new(trust)?,
        };
        let mut config = ServerConfig::builder_with_provider(with_curves(&service.tls.curves))
            .with_protocol_versions(versions(service.tls.min_version))
            .map_err(TlsError::from)?
            .with_client_cert_verifier(Arc::clone(&clients))
            .with_cert_resolver(Arc::new(Resolver::new(&shown)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.ticketer = sessions.tickets.clone();
        config.send_tls13_tickets = TICKETS;
        config.max_tls13_tickets = MOST_TICKETS;
        config.session_storage = Arc::clone(&sessions.storage);
        Ok(Self {
            config: Arc::new(config),
            shown,
            clients,
            sessions,
        })
    }

    /// Its certificates that come from files.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.shown.iter().filter_map(|shown| match shown {
            Shown::Files(pair) => Some(pair),
            Shown::Ordered(_) => None,
        })
    }

    /// Its certificates that are ordered.
    pub fn ordered(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.shown.iter().filter_map(|shown| match shown {
            Shown::Files(_) => None,
            Shown::Ordered(slot) => Some(slot),
        })
    }

    /// Verifies the certificate of a client whose session was resumed. rustls does so in the first handshake only, and each
    /// resumption gives new tickets: a certificate that has expired since would be good for as long as its owner comes back.
    ///
    /// # Errors
    ///
    /// Why it is not to be believed any more.
    pub fn verify_again(&self, connection: &ServerConnection) -> Result<(), rustls::Error> {
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if !is_resumed || !self.clients.offer_client_auth() {
            return Ok(());
        }
        let chain = connection.peer_certificates();
        match chain.and_then(<[_]>::split_first) {
            Some((leaf, rest)) => {
                let now = UnixTime::now();
                self.clients.verify_client_cert(leaf, rest, now).map(drop)
            }
            None if self.clients.client_auth_mandatory() => {
                Err(rustls::Error::NoCertificatesPresented)
            }
            None => Ok(()),
        }
    }
}

impl ServiceTls {
    /// The keys of its session tickets.
    pub fn ticket_keys(&self) -> &TicketKeys {
        &self.sessions.tickets
    }

    /// A digest of which certificates of clients it believes: sessions of a service that believes others are not resumed.
    pub fn trust(&self) -> [u8; 32] {
        self.sessions.trust.digest()
    }
}

/// The cryptography with these groups for the key exchange.
fn with_curves(curves: &[Curve]) -> Arc<CryptoProvider> {
    let group = |curve: &Curve| match curve {
        Curve::X25519MlKem768 => kx_group::X25519MLKEM768,
        Curve::P256MlKem768 => kx_group::SECP256R1MLKEM768,
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
    };
    let mut provider = CryptoProvider::clone(&provider());
    provider.kx_groups = curves.iter().map(group).collect();
    Arc::new(provider)
}

/// All versions that are spoken.
static SINCE_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Those since TLS 1.3.
static SINCE_13: [&SupportedProtocolVersion; 1] = [&TLS13];

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        TlsVersion::V12 => &SINCE_12,
        TlsVersion::V13 => &SINCE_13,
    }
}

/// What resumes sessions. It lives as long as a service trusts the same certificates of clients, over all its generations: a session that
/// is resumed has the certificate of its first handshake, and who has got another one since could not show it.
#[derive(Clone, Debug)]
struct Sessions {
    tickets: Arc<TicketKeys>,
    storage: Arc<dyn StoresServerSessions>,
    trust: Trust,
}

impl Sessions {
    fn new(trust: Trust) -> Result<Self, TlsError> {
        Ok(Self {
            // Its key is replaced every six hours; tickets of the key before are taken, so a session lives for twelve at most.
            tickets: Arc::new(TicketKeys::new()?),
            storage: ServerSessionMemoryCache::new(SESSIONS),
            trust,
        })
    }
}

/// Which certificates of clients are believed: whether they are required, authorities, revocation lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trust(Option<(bool, Vec<u8>, Vec<u8>)>);

impl Trust {
    fn of(rules: &model::ServiceTls) -> Result<Self, TlsError> {
        let Some(clients) = &rules.client_certificates else {
            return Ok(Self(None));
        };
        let read = |path: &Path| {
            file::read(path, file::MOST_PEM).map_err(|error| TlsError::File {
                path: path.display().to_string(),
                why: error.to_string(),
            })
        };
        let crl = clients.crl.as_deref().map(read).transpose()?;
        let ca = read(&clients.ca)?;
        Ok(Self(Some((clients.required, ca, crl.unwrap_or_default()))))
    }

    /// SHA-256 of all of it.
    fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        if let Some((required, ca, crl)) = &self.0 {
            context.update(&[1, u8::from(*required)]);
            for part in [ca, crl] {
                context.update(&part.len().to_be_bytes());
                context.update(part);
            }
        }
        let digest = context.finish();
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// Certificates by the names that they have.
#[derive(Debug, Default)]
struct Resolver {
    /// Those that have a name with the first certificate: for clients that name none that is known.
    first: Vec<Arc<Shown>>,
    exact: ByName,
    /// By the name behind `*.`.
    wildcard: ByName,
}

/// Those of a name in the order of the rules: with keys of several kinds, the first that the client takes is shown.
type ByName = HashMap<String, Vec<Arc<Shown>>>;

impl Resolver {
    fn new(shown: &[Shown]) -> Self {
        let mut resolver = Self::default();
        let first = shown.first().map(Shown::names).unwrap_or_default();
        for (number, shown) in shown.iter().enumerate() {
            let shown = Arc::new(shown.clone());
            let is_like_first = first.iter().any(|name| shown.names().contains(name));
            if number == 0 || is_like_first {
                resolver.first.push(Arc::clone(&shown));
            }
            for name in shown.names() {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut resolver.wildcard, parent),
                    None => (&mut resolver.exact, name.as_str()),
                };
                let known = map.entry(key.to_owned()).or_default();
                known.push(Arc::clone(&shown));
            }
        }
        resolver
    }

    /// The certificate for a client that asks for this name and takes these signatures. Where it takes none of the name's, it gets
    /// the first of them, and the handshake fails for the reason that is true. `None`: the name's was ordered and has not come.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let of = |map: &ByName, key: Option<&str>| key.and_then(|key| map.get(key)).cloned();
        let exact = of(&self.exact, name.as_deref());
        // A wildcard stands for one label (RFC 6125, 6.4.3).
        let parent = name.as_deref().and_then(|name| name.split_once('.'));
        let wildcard = of(&self.wildcard, parent.map(|(_, parent)| parent));
        let mut known: Vec<_> = exact.into_iter().chain(wildcard).flatten().collect();
        let mut name = name.as_deref();
        if known.is_empty() {
            known.clone_from(&self.first);
            name = None;
        }
        let takes = |key: &Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let mut known = known.iter().filter_map(|shown| shown.certified(name));
        let first = known.next()?;
        if takes(&first) {
            return Some(first);
        }
        known.find(takes).or(Some(first))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use rcgen::SignatureAlgorithm;

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];

    fn pair(folder: &Path, kind: &'static SignatureAlgorithm, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate_for(kind).unwrap();
        let made = CertificateParams::new(names).unwrap().self_signed(&key);
        let rules = model::Certificate {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            ocsp: None,
        };
        std::fs::write(&rules.cert, made.unwrap().pem()).unwrap();
        std::fs::write(&rules.key, key.serialize_pem()).unwrap();
        Pair::read(&rules).unwrap()
    }

    #[test]
    fn the_key_is_one_that_the_client_takes() {
        let folder = tempfile::tempdir().unwrap();
        let made = |kind, names: &[&str]| pair(folder.path(), kind, names);
        let (ecdsa, rsa) = (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256);
        let pairs = [
            made(ecdsa, &["a.w.example"]),
            made(rsa, &["a.w.example", "b.w.example"]),
            made(rsa, &["*.w.example"]),
            made(ecdsa, &["c.w.example"]),
            made(ecdsa, &["*.w.example"]),
        ];
        let resolver = Resolver::new(&pairs.clone().map(Shown::Files));
        let number = |name: Option<&str>, schemes: &[SignatureScheme]| {
            let found = resolver.find(name, schemes).unwrap();
            let is_found = |pair: &Pair| Arc::ptr_eq(&pair.certified, &found);
            pairs.iter().position(is_found).unwrap()
        };
        let both = [ECDSA, RSA].concat();
        for (name, schemes, expected) in [
            (Some("a.w.example"), ECDSA, 0),
            (Some("A.W.Example."), RSA, 1),
            (Some("a.w.example"), &both, 0),
            (Some("b.w.example"), &both, 1),
            // The exact name has no key for this client, the wildcard has.
            (Some("c.w.example"), &both, 3),
            (Some("c.w.example"), RSA, 2),
            (Some("b.w.example"), ECDSA, 4),
            (Some("d.w.example"), &both, 2),
            (Some("d.w.example"), ECDSA, 4),
            // One label, and no less.
            (Some("x.d.w.example"), &both, 0),
            (Some("w.example"), &both, 0),
            (Some("other.test"), RSA, 1),
            (None, RSA, 1),
            (None, ECDSA, 0),
            // None at all: the first of the name.
            (Some("c.w.example"), &[SignatureScheme::ED25519], 3),
        ] {
            assert_eq!(number(name, schemes), expected, "{name:?} {schemes:?}");
        }
    }

    #[test]
    fn thousands_of_names_are_looked_up_by_hash() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = pair(folder.path(), &rcgen::PKCS_ED25519, &["a.example"]);
        let pairs: Vec<Pair> = (0..5000)
            .map(|number| {
                one.names = vec![format!("n{number}.example"), format!("*.n{number}.example")];
                one.certified = Arc::new(CertifiedKey::clone(&one.certified));
                one.clone()
            })
            .collect();
        let shown: Vec<Shown> = pairs.iter().cloned().map(Shown::Files).collect();
        let resolver = Resolver::new(&shown);
        assert_eq!(
            (resolver.exact.len(), resolver.wildcard.len()),
            (5000, 5000)
        );
        for (name, number) in [
            ("n0.example", 0),
            ("n4999.example", 4999),
            ("x.n77.example", 77),
        ] {
            let found = resolver
                .find(Some(name), &[SignatureScheme::ED25519])
                .unwrap();
            assert!(Arc::ptr_eq(&found, &pairs[number].certified), "{name}");
        }
        assert_eq!(resolver.first.len(), 1);
    }
}
