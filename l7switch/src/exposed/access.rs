// SPDX-License-Identifier: MIT
//! Who may do what at the metrics listener, and how it is spoken to.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::Digest;
use aws_lc_rs::digest::SHA256;
use aws_lc_rs::digest::digest;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use http::uri::Authority;
use l7switch_admin_api::Role;
use l7switch_certificates::TlsError;
use l7switch_certificates::file;
use rustls::ServerConfig;
use rustls::server::NoClientAuth;
use thiserror::Error;

use crate::control::server_config;

/// Longest file of a token, bytes.
const MOST_TOKEN: u64 = 4096;

/// Why somebody may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is no token, and one is needed.
    Nobody,
    /// The token is none that is known.
    Unknown,
    /// The token is for less.
    Less,
    /// There is no token to be had, and the peer is not of this machine.
    Far,
}

impl Denied {
    /// What `WWW-Authenticate` says (RFC 6750, 3); `None`: no token would help.
    pub(super) const fn challenge(self) -> Option<&'static str> {
        Some(match self {
            Self::Nobody => "Bearer realm=\"l7switch\"",
            Self::Unknown => "Bearer realm=\"l7switch\", error=\"invalid_token\"",
            Self::Less => "Bearer realm=\"l7switch\", error=\"insufficient_scope\"",
            Self::Far => return None,
        })
    }

    /// The answer's status (RFC 6750, 3.1).
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Nobody | Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Less | Self::Far => StatusCode::FORBIDDEN,
        }
    }
}

/// The files that say who may do what. Without `token`, everybody who reaches the listener may read metrics, and peers at loopback
/// addresses may read all; without `operate`, nobody may change anything.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Certificate chain and key, PEM: the listener speaks TLS.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// The bearer token of who may read.
    pub token: Option<PathBuf>,
    /// The bearer token of who may operate.
    pub operate: Option<PathBuf>,
}

/// Why they cannot be used.
#[derive(Debug, Error)]
pub enum AccessError {
    /// Certificate or key.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Who may read could operate.
    #[error("{0}: the token to operate is the one to read")]
    Same(PathBuf),
    /// A token.
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
    operate: Option<Token>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// See [`AccessError`].
    pub fn read(files: &Files) -> Result<Self, AccessError> {
        let tls = files.pair.as_ref();
        let tls =
            tls.map(|(certificate, key)| server_config(certificate, key, Arc::new(NoClientAuth)));
        let token = files.token.as_deref().map(Token::read).transpose()?;
        let operate = files.operate.as_deref().map(Token::read).transpose()?;
        if let (Some(read), Some(operate), Some(path)) = (&token, &operate, &files.operate)
            && read.0.as_ref() == operate.0.as_ref()
        {
            return Err(AccessError::Same(path.clone()));
        }
        Ok(Self {
            tls: tls.transpose()?,
            token,
            operate,
        })
    }

    /// Whether anybody may operate.
    pub(super) const fn may_be_operated(&self) -> bool {
        self.operate.is_some()
    }

    /// What a request with these fields may do, by its token or, where reading needs none, by its peer.
    ///
    /// # Errors
    ///
    /// Nobody who may do anything.
    pub(super) fn role(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Role, Denied> {
        // An IPv4 peer at an IPv6 socket is one of IPv4.
        let is_near = peer.to_canonical().is_loopback() && names_no_site(headers);
        let anybody = if is_near { Role::Read } else { Role::Scrape };
        if self.token.is_none() && self.operate.is_none() {
            return Ok(anybody);
        }
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let given = match (given.next(), given.next()) {
            (None, _) if self.token.is_none() => return Ok(anybody),
            (None, _) => return Err(Denied::Nobody),
            (Some(given), None) => bearer(given.as_bytes()).ok_or(Denied::Unknown)?,
            (Some(_), Some(_)) => return Err(Denied::Unknown),
        };
        let is = |token: &Option<Token>| token.as_ref().is_some_and(|token| token.is(given));
        // Both are compared, whatever comes of the first.
        match (is(&self.operate), is(&self.token)) {
            (true, _) => Ok(Role::Operate),
            (false, true) => Ok(Role::Read),
            (false, false) => Err(Denied::Unknown),
        }
    }

    /// Whether a request with these fields may do what needs a role.
    ///
    /// # Errors
    ///
    /// It may not.
    pub(super) fn permits(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        needed: Role,
    ) -> Result<(), Denied> {
        let has_none = headers.get(header::AUTHORIZATION).is_none();
        match self.role(headers, peer)? {
            role if role >= needed => Ok(()),
            // With the token to operate it could.
            Role::Scrape if self.operate.is_none() && needed == Role::Read => Err(Denied::Far),
            _ if has_none => Err(Denied::Nobody),
            _ => Err(Denied::Less),
        }
    }
}

/// Whether the request is for an address or for `localhost`, as those of this machine are. A page of another site may have the browser
/// of this machine ask for the site's name, once the name leads to a loopback address (DNS rebinding).
fn names_no_site(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let authority = host.to_str().ok().and_then(|host| host.parse().ok());
    authority.is_some_and(|authority: Authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
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

    const NEAR: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn access(token: &[u8]) -> Result<Access, AccessError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, token).unwrap();
        Access::read(&Files {
            token: Some(path),
            ..Files::default()
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
            // Where there is a token, loopback addresses are as all others.
            let found = access.permits(&headers, NEAR, Role::Read);
            assert_eq!(found.is_ok(), is_right, "{given:?}");
            assert!(access.permits(&headers, NEAR, Role::Operate).is_err());
        }
    }

    #[test]
    fn without_a_token_only_peers_of_this_machine_read_more_than_metrics() {
        let nobody = HeaderMap::new();
        let mut somebody = HeaderMap::new();
        somebody.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        let everybody = Access::default();
        for (peer, role) in [
            ("127.0.0.1", Role::Read),
            ("127.255.0.9", Role::Read),
            ("::1", Role::Read),
            ("::ffff:127.0.0.1", Role::Read),
            ("10.0.0.1", Role::Scrape),
            ("0.0.0.0", Role::Scrape),
            ("128.0.0.1", Role::Scrape),
            ("::ffff:10.0.0.1", Role::Scrape),
            ("::127.0.0.1", Role::Scrape),
            ("::", Role::Scrape),
            ("fe80::1", Role::Scrape),
            ("2001:db8::1", Role::Scrape),
        ] {
            let peer = peer.parse().unwrap();
            for headers in [&nobody, &somebody] {
                assert_eq!(everybody.role(headers, peer), Ok(role), "{peer}");
                let permits = |needed| everybody.permits(headers, peer, needed);
                assert_eq!(permits(Role::Scrape), Ok(()), "{peer}");
                let read = match role {
                    Role::Scrape => Err(Denied::Far),
                    _ => Ok(()),
                };
                assert_eq!(permits(Role::Read), read, "{peer}");
                assert!(permits(Role::Operate).is_err(), "{peer}");
            }
        }
    }

    #[test]
    fn a_page_of_another_site_reads_nothing_by_the_browser_of_this_machine() {
        let everybody = Access::default();
        for (host, role) in [
            ("127.0.0.1:9100", Role::Read),
            ("[::1]:9100", Role::Read),
            ("10.0.0.1", Role::Read),
            ("LOCALHOST:9100", Role::Read),
            ("site.example:9100", Role::Scrape),
            ("localhost.site.example", Role::Scrape),
            ("127.0.0.1.site.example", Role::Scrape),
            ("", Role::Scrape),
            ("a b", Role::Scrape),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(everybody.role(&headers, NEAR), Ok(role), "{host}");
        }
    }

    #[test]
    fn who_may_operate_has_another_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, token: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, token).unwrap();
            Some(path)
        };
        let (reader, operator) = (file("read", "reader"), file("operate", "operator"));
        let given = |token: &'static str| {
            let mut headers = HeaderMap::new();
            if !token.is_empty() {
                let value = HeaderValue::from_static(token);
                headers.insert(header::AUTHORIZATION, value);
            }
            headers
        };
        let both = Files {
            token: reader,
            operate: operator.clone(),
            ..Files::default()
        };
        let only = Files {
            operate: operator,
            ..Files::default()
        };
        let (both, only) = (Access::read(&both).unwrap(), Access::read(&only).unwrap());
        for (access, token, read, operate) in [
            (&both, "", Err(Denied::Nobody), Err(Denied::Nobody)),
            (&both, "Bearer reader", Ok(()), Err(Denied::Less)),
            (&both, "Bearer operator", Ok(()), Ok(())),
            (
                &both,
                "Bearer other",
                Err(Denied::Unknown),
                Err(Denied::Unknown),
            ),
            (&only, "", Ok(()), Err(Denied::Nobody)),
            (&only, "Bearer operator", Ok(()), Ok(())),
            (
                &only,
                "Bearer reader",
                Err(Denied::Unknown),
                Err(Denied::Unknown),
            ),
            (
                &only,
                "Basic b3BlcmF0b3I=",
                Err(Denied::Unknown),
                Err(Denied::Unknown),
            ),
        ] {
            let headers = given(token);
            let found = |peer| {
                let permits = |needed| access.permits(&headers, peer, needed);
                (permits(Role::Read), permits(Role::Operate))
            };
            assert_eq!(found(NEAR), (read, operate), "{token}");
            // From afar, whoever has no token needs the one to operate.
            let read = match (access.token.is_some(), token) {
                (false, "") => Err(Denied::Nobody),
                _ => read,
            };
            assert_eq!(found(FAR), (read, operate), "{token}");
        }
        let scrape = |access: &Access| access.permits(&given(""), FAR, Role::Scrape);
        assert_eq!(scrape(&both), Err(Denied::Nobody));
        assert_eq!(scrape(&only), Ok(()));
        assert!(both.may_be_operated() && !Access::default().may_be_operated());
        let same = Files {
            token: file("read", "same"),
            operate: file("operate", "same\n"),
            ..Files::default()
        };
        let error = Access::read(&same).unwrap_err().to_string();
        assert!(
            error.ends_with("the token to operate is the one to read"),
            "{error}"
        );
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
            token: Some("/nowhere/token".into()),
            ..Files::default()
        };
        let error = Access::read(&none).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/token: "), "{error}");
    }
}
