// SPDX-License-Identifier: MIT
//! Cookies by which clients stay at their pools and servers.
//!
//! A cookie's value is what HMAC (RFC 2104) makes of pool and server with a secret key. It says nothing to a client, who cannot
//! make another one; nothing has to be kept for it, and every switch with the same key and the same servers understands it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::hmac;
use l7switch_certificates::file;
use l7switch_engine::table;
use l7switch_engine::table::Fields;
use l7switch_rules::model;
use l7switch_rules::model::PoolShare;
use l7switch_rules::model::ServerAddress;
use thiserror::Error;

use crate::secrets;

/// Bytes of what HMAC makes that are used.
const LENGTH: usize = 16;

/// Longest file of keys, bytes.
const MOST: u64 = 64 * 1024;

/// Shortest key, bytes.
const SHORTEST: usize = 16;

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Its file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line is too short to be a secret.
    #[error("{path}: a key has at least {SHORTEST} characters", path = .0.display())]
    Short(PathBuf),
    /// There is no line.
    #[error("{path}: no key", path = .0.display())]
    Empty(PathBuf),
}

/// A server of a route: its pool by the model's number, and its position in it.
pub type Place = (usize, usize);

/// The cookie of a route, with the values for all of its servers.
#[derive(Clone, Debug)]
pub struct Sticky {
    keys: Vec<hmac::Key>,
    cookie: String,
    /// Where each value leads.
    places: HashMap<String, Place>,
    /// The value for each server.
    values: HashMap<(usize, ServerAddress), String>,
    /// What stands behind the value in Set-Cookie.
    attributes: String,
}

impl Sticky {
    /// The cookie of a route with these pools.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn new(
        rules: &model::Sticky,
        shares: &[PoolShare],
        pools: &[model::Pool],
    ) -> Result<Self, KeyError> {
        let keys = match &rules.key {
            Some(path) => read(path)?,
            None => vec![hmac::Key::new(hmac::HMAC_SHA256, &secrets::own().cookies)],
        };
        let mut attributes = String::from("; Path=/; HttpOnly; SameSite=Lax");
        if let Some(time) = rules.max_age {
            let _ = write!(attributes, "; Max-Age={}", time.as_secs());
        }
        let sticky = Self {
            keys,
            cookie: rules.cookie.clone(),
            places: HashMap::new(),
            values: HashMap::new(),
            attributes,
        };
        Ok(sticky.with(shares, pools))
    }

    /// The same cookie, where its pools have these servers.
    #[must_use]
    pub fn with(&self, shares: &[PoolShare], pools: &[model::Pool]) -> Self {
        let mut sticky = Self {
            places: HashMap::new(),
            values: HashMap::new(),
            ..self.clone()
        };
        // The last key first: where two make the same value, that of the first one counts.
        for key in self.keys.iter().rev() {
            for share in shares {
                let Some(pool) = pools.get(share.pool) else {
                    continue;
                };
                for (position, server) in pool.servers.iter().enumerate() {
                    let value = value(key, &pool.name, &server.address);
                    sticky.places.insert(value.clone(), (share.pool, position));
                    let server = (share.pool, server.address.clone());
                    sticky.values.insert(server, value);
                }
            }
        }
        sticky
    }

    /// The server that a client's cookie names.
    pub fn place<F: Fields + ?Sized>(&self, fields: &F) -> Option<Place> {
        let value = table::cookie(fields, self.cookie.as_bytes())?;
        let value = std::str::from_utf8(value).ok()?;
        self.places.get(value).copied()
    }

    /// What Set-Cookie says for a server of a pool; `None` for one that is not of the route's. `is_secure`: the client gets it by TLS.
    pub fn set_cookie(
        &self,
        pool: usize,
        server: &ServerAddress,
        is_secure: bool,
    ) -> Option<String> {
        let value = self.values.get(&(pool, server.clone()))?;
        let secure = if is_secure { "; Secure" } else { "" };
        Some(format!(
            "{}={value}{}{secure}",
            self.cookie, self.attributes
        ))
    }
}

fn read(path: &Path) -> Result<Vec<hmac::Key>, KeyError> {
    let bytes = file::read(path, MOST).map_err(|error| KeyError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<_> = lines
        .map(|line| {
            let is_long = line.len() >= SHORTEST;
            is_long.then(|| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes()))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| KeyError::Short(path.to_owned()))?;
    if keys.is_empty() {
        return Err(KeyError::Empty(path.to_owned()));
    }
    Ok(keys)
}

fn value(key: &hmac::Key, pool: &str, server: &ServerAddress) -> String {
    let text = format!("l7switch sticky\0{pool}\0{server}");
    let tag = hmac::sign(key, text.as_bytes());
    let mut out = String::with_capacity(2 * LENGTH);
    for byte in tag.as_ref().iter().take(LENGTH) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(keys: Option<&str>, name: &str) -> Result<Sticky, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        if let Some(keys) = keys {
            std::fs::write(&path, keys).unwrap();
        }
        let rules = l7switch_rules::load_text(
            "t",
            &format!(
                "[service.web]\nlisten = \"127.0.0.1:1\"\n\
                 [[service.web.route]]\npool = \"{name}\"\n\
                 [pool.{name}]\nservers = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\n"
            ),
        )
        .unwrap();
        let rules_of = model::Sticky {
            cookie: "lb".to_owned(),
            key: keys.map(|_| path),
            max_age: None,
        };
        let shares = [PoolShare { pool: 0, weight: 1 }];
        Sticky::new(&rules_of, &shares, &rules.model.pools)
    }

    const OLD: &str = "the key of last year";
    const NEW: &str = "the key of this year";

    fn value_of(sticky: &Sticky) -> String {
        let server = ServerAddress::from("10.0.0.2:1".parse::<std::net::SocketAddr>().unwrap());
        let set = sticky.set_cookie(0, &server, false).unwrap();
        let value = set.strip_prefix("lb=").unwrap();
        value.split(';').next().unwrap().to_owned()
    }

    fn place(sticky: &Sticky, value: &str) -> Option<Place> {
        let cookie = format!("a=b; lb={value}");
        let fields: &[(&[u8], &[u8])] = &[(b"cookie", cookie.as_bytes())];
        sticky.place(fields)
    }

    #[test]
    fn who_has_the_key_understands() {
        let one = sticky(Some(OLD), "a").unwrap();
        let value = value_of(&one);
        assert_eq!(value.len(), 2 * LENGTH);
        assert_eq!(place(&one, &value), Some((0, 1)));
        let same = sticky(Some(&format!("\n{OLD}\n")), "a").unwrap();
        assert_eq!(place(&same, &value), Some((0, 1)));
        // Rotated: the new key makes values, the old one's are understood.
        let both = sticky(Some(&format!("{NEW}\n{OLD}")), "a").unwrap();
        assert_eq!(place(&both, &value), Some((0, 1)));
        assert_ne!(value_of(&both), value);
        let new = sticky(Some(NEW), "a").unwrap();
        assert_eq!(place(&new, &value), None);
        assert_eq!(place(&new, &value_of(&both)), Some((0, 1)));
        // Of another pool, or nobody's.
        let other = sticky(Some(OLD), "b").unwrap();
        assert_eq!(place(&other, &value), None);
        assert_eq!(place(&one, ""), None);
        let own = sticky(None, "a").unwrap();
        assert_eq!(place(&own, &value), None);
        let again = sticky(None, "a").unwrap();
        assert_eq!(value_of(&own), value_of(&again));
    }

    #[test]
    fn bad_keys_are_told_apart() {
        let short = sticky(Some(&format!("{OLD}\nshort")), "a");
        assert!(matches!(short, Err(KeyError::Short(_))));
        assert!(matches!(sticky(Some("\n"), "a"), Err(KeyError::Empty(_))));
    }
}
