// SPDX-License-Identifier: MIT
//! Who may read metrics, and how the listener is spoken to.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::Digest;
use aws_lc_rs::digest::SHA256;
use aws_lc_rs::digest::digest;
use http::HeaderMap;
use http::header;
use l7switch_certificates::TlsError;
use l7switch_certificates::file;
use l7switch_certificates::provider;
use l7switch_certificates::read_pair;
use rustls::ServerConfig;
use thiserror::Error;

/// Longest file of a token, bytes.
const MOST_TOKEN: u64 = 4096;

/// The files that say who may read metrics; without any, everybody who reaches the listener.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Certificate chain and key, PEM: the listener speaks TLS.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// The bearer token.
    pub token: Option<PathBuf>,
}

/// Why they cannot be used.
#[derive(Debug, Error)]
pub enum AccessError {
    /// Certificate or key.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// They do not go together.
    #[error("{certificate} and {key}: {error}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// The token.
    #[error("{path}: {why}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What the files have said.
#[derive(Debug, Default)]
pub struct Access {
    /// `None`: clear text.
    pub(super) tls: Option<Arc<ServerConfig>>,
    token: Option<Token>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// See [`AccessError`].
    pub fn read(files: &Files) -> Result<Self, AccessError> {
        let tls = files.pair.as_ref();
        let tls = tls.map(|(certificate, key)| config(certificate, key));
        let token = files.token.as_deref().map(Token::read);
        Ok(Self {
            tls: tls.transpose()?.map(Arc::new),
            token: token.transpose()?,
        })
    }

    /// Whether the request may read metrics.
    ///
    /// # Errors
    ///
    /// It may not: what `WWW-Authenticate` says (RFC 6750, 3).
    pub(super) fn permits(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (None, _) => Err("Bearer realm=\"l7switch\""),
            (Some(given), None) if bearer(given.as_bytes()).is_some_and(|it| token.is(it)) => {
                Ok(())
            }
            _ => Err("Bearer realm=\"l7switch\", error=\"invalid_token\""),
        }
    }
}

fn config(certificate: &Path, key: &Path) -> Result<ServerConfig, AccessError> {
    let (chain, private) = read_pair(certificate, key)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::from)?
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| AccessError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        error,
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The token of credentials, if they are of the scheme `Bearer`, in any case (RFC 9110, 11.1; RFC 6750, 2.1).
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = credentials.split_at_checked(SCHEME.len())?;
    let token = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(SCHEME) && token.len() < rest.len()).then_some(token)
}

/// A token, kept by its digest.
#[derive(Debug)]
struct Token(Digest);

impl Token {
    fn read(path: &Path) -> Result<Self, AccessError> {
        let wrong = |why: String| AccessError::Token {
            path: path.to_owned(),
            why,
        };
        let content = file::read(path, MOST_TOKEN).map_err(|error| wrong(error.to_string()))?;
        let token = content.trim_ascii();
        match is_token(token) {
            true => Ok(Self(digest(&SHA256, token))),
            false => Err(wrong(
                "a token has letters, digits, `-`, `.`, `_`, `~`, `+` and `/`, then perhaps `=` (RFC 6750, 2.1)"
                    .to_owned(),
            )),
        }
    }

    /// Whether it is this one. The time that it takes tells neither its bytes nor its length.
    fn is(&self, given: &[u8]) -> bool {
        let given = digest(&SHA256, given);
        verify_slices_are_equal(self.0.as_ref(), given.as_ref()).is_ok()
    }
}

/// Whether the bytes are a `b64token` (RFC 6750, 2.1).
fn is_token(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != b'=');
    let named = end.and_then(|end| bytes.get(..=end)).unwrap_or_default();
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    !named.is_empty() && named.iter().all(is_of_it)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn access(token: &[u8]) -> Result<Access, AccessError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, token).unwrap();
        Access::read(&Files {
            pair: None,
            token: Some(path),
        })
    }

    #[test]
    fn only_the_token_is_taken() {
        let access = access(b"s3cret/+~._-==\n").unwrap();
        for (given, is_right) in [
            (&["Bearer s3cret/+~._-=="][..], true),
            (&["bearer   s3cret/+~._-=="], true),
            (&[], false),
            (&[""], false),
            (&["Bearer"], false),
            (&["Bearer "], false),
            (&["Bearers3cret/+~._-=="], false),
            (&["Bearer s3cret/+~._-="], false),
            (&["Bearer s3cret/+~._-==="], false),
            (&["Bearer S3cret/+~._-=="], false),
            (&["Bearer s3cret/+~._-==, x"], false),
            (&["Basic s3cret/+~._-=="], false),
            (&["s3cret/+~._-=="], false),
            (&["Bearer s3cret/+~._-==", "Bearer s3cret/+~._-=="], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(access.permits(&headers).is_ok(), is_right, "{given:?}");
        }
        assert!(Access::default().permits(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn files_that_hold_no_token_are_refused() {
        for wrong in [
            &b""[..],
            b"\n",
            b"==",
            b"two words",
            b"two\nlines",
            b"a=b",
            b"\xffff",
            &[b'a'; 4097],
        ] {
            assert!(access(wrong).is_err(), "{wrong:?}");
        }
        assert!(access(&[b'a'; 4096]).is_ok());
        let none = Files {
            pair: None,
            token: Some("/nowhere/token".into()),
        };
        let error = Access::read(&none).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/token: "), "{error}");
    }
}
