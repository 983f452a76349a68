// SPDX-License-Identifier: MIT
//! Users who have to show their passwords.
//!
//! A password that was right is known from then on: its hash is slow by design. What is kept of it is what HMAC (RFC 2104) makes
//! of it with a key that the process makes for itself, one for each user.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use l7switch_certificates::passwords::Passwords;
use l7switch_certificates::passwords::UsersError;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Longest password that is looked at, bytes: the work of SHA-crypt grows with it.
const LONGEST: usize = 256;

/// How long a password waits for a processor that compares it.
const WAIT: Duration = Duration::from_secs(5);

/// Passwords that are compared at the same time: half of the processors go on with all else.
static COMPARING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(processors.div_ceil(2)))
});

static KEY: LazyLock<Option<hmac::Key>> =
    LazyLock::new(|| hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok());

/// Nobody had time to compare a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// What a request says of its user.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing that can be read.
    None,
    /// A user whose password was right before.
    Known(String),
    /// A user and a password that have to be compared.
    New(String, Vec<u8>),
}

/// Who may come in.
#[derive(Debug)]
pub struct Users {
    passwords: Passwords,
    /// What HMAC makes of the right passwords.
    known: Mutex<HashMap<String, hmac::Tag>>,
}

impl Users {
    /// Reads a file. Those of `before` are given where they are the same.
    ///
    /// # Errors
    ///
    /// See [`UsersError`].
    pub fn read(path: &Path, before: Option<&Arc<Self>>) -> Result<Arc<Self>, UsersError> {
        let passwords = Passwords::read(path)?;
        if let Some(before) = before.filter(|before| before.passwords == passwords) {
            return Ok(Arc::clone(before));
        }
        Ok(Arc::new(Self {
            passwords,
            known: Mutex::default(),
        }))
    }

    /// What the value of Authorization says (RFC 7617, 2).
    pub fn claim(&self, value: &[u8]) -> Claim {
        const SCHEME: &[u8] = b"basic ";
        let is_basic = value
            .get(..SCHEME.len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        let token = value.get(SCHEME.len()..).filter(|_| is_basic);
        let told = token.and_then(|token| STANDARD.decode(token.trim_ascii()).ok());
        let Some(told) = told else {
            return Claim::None;
        };
        let Some(colon) = told.iter().position(|byte| *byte == b':') else {
            return Claim::None;
        };
        let (user, password) = told.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        let Ok(user) = std::str::from_utf8(user) else {
            return Claim::None;
        };
        if password.len() > LONGEST {
            return Claim::None;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = match (known.get(user), &*KEY) {
            (Some(tag), Some(key)) => hmac::verify(key, password, tag.as_ref()).is_ok(),
            _ => false,
        };
        if is_known {
            Claim::Known(user.to_owned())
        } else {
            Claim::New(user.to_owned(), password.to_owned())
        }
    }

    /// Whether a password is the user's. It takes as long where there is no such user.
    ///
    /// # Errors
    ///
    /// Too many passwords are compared already.
    pub async fn is_right(self: &Arc<Self>, user: String, password: Vec<u8>) -> Result<bool, Busy> {
        let permit = match timeout(WAIT, Arc::clone(&COMPARING).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(Busy),
        };
        let users = Arc::clone(self);
        let compared = spawn_blocking(move || {
            // Held for as long as the work takes: a client that leaves ends its wait, and not the work.
            let _permit = permit;
            let is_right = users.passwords.is_right(&user, &password);
            if let Some(key) = KEY.as_ref().filter(|_| is_right) {
                let tag = hmac::sign(key, &password);
                let mut known = users.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(user, tag);
            }
            is_right
        });
        compared.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$KoXqazH369kPS5mhTiWs1OWaV18zL1DDfAv/OZKVCkTwiW7QN0WTK";

    fn users(text: &str) -> Arc<Users> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, text).unwrap();
        Users::read(&path, None).unwrap()
    }

    fn value(user: &str, password: &str) -> Vec<u8> {
        let token = STANDARD.encode(format!("{user}:{password}"));
        format!("bAsIc {token}").into_bytes()
    }

    #[tokio::test]
    async fn a_password_that_was_right_is_known() {
        let users = users(&format!("alice:{BCRYPT}\n"));
        let new = |password: &str| Claim::New("alice".to_owned(), password.into());
        let is_right = |password: &str| users.is_right("alice".to_owned(), password.into());
        for password in ["secret", "wrong"] {
            assert_eq!(users.claim(&value("alice", password)), new(password));
        }
        assert_eq!(is_right("wrong").await, Ok(false));
        assert_eq!(users.claim(&value("alice", "wrong")), new("wrong"));
        assert_eq!(is_right("secret").await, Ok(true));
        let known = Claim::Known("alice".to_owned());
        assert_eq!(users.claim(&value("alice", "secret")), known);
        assert_eq!(users.claim(&value("alice", "wrong")), new("wrong"));
    }

    /// As many are compared as may be, whoever waits for it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_wait_that_is_given_up_ends_no_work() {
        let costly = BCRYPT.replace("$05$", "$11$");
        let users = users(&format!("alice:{costly}\n"));
        let right = users.is_right("alice".to_owned(), b"guess".to_vec());
        let waited = timeout(Duration::from_millis(20), right).await;
        assert!(waited.is_err(), "{waited:?}");
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(COMPARING.available_permits() < processors.div_ceil(2));
    }

    #[test]
    fn what_cannot_be_read_claims_nothing() {
        let users = users(&format!("alice:{BCRYPT}"));
        let long = STANDARD.encode(format!("alice:{}", "x".repeat(LONGEST + 1)));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic !!",
            "Bearer YWxpY2U6c2VjcmV0",
            "Basic YWxpY2U=",
            &format!("Basic {}", STANDARD.encode(b"\xff:secret")),
            &format!("Basic {long}"),
        ] {
            assert_eq!(users.claim(value.as_bytes()), Claim::None, "{value}");
        }
    }
}
