// SPDX-License-Identifier: MIT
//! Challenges that are pending, and what answers them: HTTP-01 (RFC 8555, 8.3) and TLS-ALPN-01 (RFC 8737).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use l7switch_rules::model::CHALLENGE_PREFIX;
use rcgen::CertificateParams;
use rcgen::CustomExtension;
use rcgen::DistinguishedName;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use crate::net::tls::provider;

/// The protocol that the authority asks for by ALPN (RFC 8737, 6.2).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Length of a SHA-256.
const DIGEST: usize = 32;

/// The challenges of a process that are pending.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Key authorizations by token.
    http: Table<String>,
    /// Certificates by name, in lower case.
    tls: Arc<Table<Arc<CertifiedKey>>>,
    config: OnceLock<Option<Arc<ServerConfig>>>,
}

/// What is pending. Most of the time that is nothing, which is seen without a lock.
#[derive(Debug)]
struct Table<T> {
    count: AtomicUsize,
    known: Mutex<HashMap<String, T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            count: AtomicUsize::new(0),
            known: Mutex::default(),
        }
    }
}

impl<T: Clone> Table<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, T>)) {
        let mut known = self.lock();
        change(&mut known);
        self.count.store(known.len(), Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    fn get(&self, key: &str) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.lock().get(key).cloned()
    }
}

/// A challenge that is pending for as long as this lives.
#[derive(Debug)]
pub(super) struct Pending {
    challenges: Arc<Challenges>,
    key: String,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.challenges
            .http
            .change(|known| drop(known.remove(&self.key)));
        self.challenges
            .tls
            .change(|known| drop(known.remove(&self.key)));
    }
}

impl Challenges {
    /// Answers HTTP-01 for a token. `None`: it is not one that has the form of RFC 8555, 8.3.
    pub(super) fn pend_http(self: &Arc<Self>, token: &str, answer: &str) -> Option<Pending> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || !token.bytes().all(is_token) {
            return None;
        }
        self.http
            .change(|known| drop(known.insert(token.to_owned(), answer.to_owned())));
        Some(Pending {
            challenges: Arc::clone(self),
            key: token.to_owned(),
        })
    }

    /// Answers TLS-ALPN-01 for a name by a certificate that has this SHA-256 of the key authorization.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made.
    pub(super) fn pend_tls(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Pending, String> {
        let certified = self_signed(name, digest)?;
        self.tls
            .change(|known| drop(known.insert(name.to_owned(), certified)));
        Ok(Pending {
            challenges: Arc::clone(self),
            key: name.to_owned(),
        })
    }

    /// The answer to a request for this path, as it was sent, if it is for a challenge that is pending.
    pub fn http(&self, path: &[u8]) -> Option<String> {
        if self.http.is_empty() {
            return None;
        }
        let token = path.strip_prefix(CHALLENGE_PREFIX.as_bytes())?;
        self.http.get(std::str::from_utf8(token).ok()?)
    }

    /// TLS for a handshake that asks for nothing but the challenge's protocol; `None` where none is pending.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        if self.tls.is_empty() {
            return None;
        }
        let make = || {
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .ok()?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(ByName(Arc::clone(&self.tls))));
            config.alpn_protocols = vec![ACME_TLS.to_vec()];
            // Nothing is resumed.
            config.send_tls13_tickets = 0;
            Some(Arc::new(config))
        };
        self.config.get_or_init(make).clone()
    }
}

/// Whether a client asks for the challenge's protocol and nothing else (RFC 8737, 4).
pub fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello
        .alpn()
        .is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
}

/// Certificates of challenges, by server name.
#[derive(Debug)]
struct ByName(Arc<Table<Arc<CertifiedKey>>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(&hello.server_name()?.to_ascii_lowercase())
    }
}

/// The certificate that answers TLS-ALPN-01: for the name alone, with the digest in the critical extension acmeIdentifier (RFC 8737, 3).
fn self_signed(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    if digest.len() != DIGEST {
        return Err("the digest of a challenge has not 32 bytes".to_owned());
    }
    let made = || {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params
            .custom_extensions
            .push(CustomExtension::new_acme_identifier(digest));
        let cert = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>((cert.der().clone(), key.serialize_der()))
    };
    let (cert, key) = made().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::try_from(key).map_err(str::to_owned)?;
    let key = provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| error.to_string())?;
    // Not compared with the key, as it comes from there: webpki reads no certificate with a critical extension that it does not know.
    Ok(Arc::new(CertifiedKey::new(vec![cert], key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_while_it_is_pending() {
        let challenges = Arc::<Challenges>::default();
        let path = |token: &str| format!("{CHALLENGE_PREFIX}{token}").into_bytes();
        assert_eq!(challenges.http(&path("abc")), None);
        let pending = challenges.pend_http("abc", "abc.thumb").unwrap();
        assert_eq!(challenges.http(&path("abc")).unwrap(), "abc.thumb");
        for other in ["", "ab", "abcd", "abc/", "ABC", "%61bc"] {
            assert_eq!(challenges.http(&path(other)), None, "{other}");
        }
        assert_eq!(challenges.http(b"/abc"), None);
        assert_eq!(challenges.http(b"/.well-known/acme-challenge/\xff"), None);
        assert!(challenges.tls().is_none());
        drop(pending);
        assert_eq!(challenges.http(&path("abc")), None);
        for bad in ["", "a/b", "../x", "a b", "\u{e9}"] {
            assert!(challenges.pend_http(bad, "x").is_none(), "{bad}");
        }
    }

    #[test]
    fn the_certificate_of_a_challenge_has_its_digest() {
        let certified = self_signed("a.example", &[0xa5; DIGEST]).unwrap();
        let der = certified.end_entity_cert().unwrap();
        // id-pe-acmeIdentifier 1.3.6.1.5.5.7.1.31, critical, an OCTET STRING of 32 bytes in the extension's.
        let mut extension = vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 1, 31, 1, 1, 0xff, 4, 34, 4, 32];
        extension.extend([0xa5; DIGEST]);
        assert!(der.windows(extension.len()).any(|part| part == extension));
        assert!(self_signed("a.example", &[0; 31]).is_err());
        assert!(self_signed("not a name\u{e9}", &[0; DIGEST]).is_err());
    }
}
