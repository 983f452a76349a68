// SPDX-License-Identifier: MIT
//! Users and their passwords, hashed, as htpasswd writes them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use argon2::Argon2;
use argon2::PasswordVerifier as _;
use argon2::password_hash::phc;
use bcrypt::HashParts;
use sha_crypt::PasswordHashRef;
use sha_crypt::ShaCrypt;
use thiserror::Error;

use crate::file;

/// Longest file, bytes.
const MOST: u64 = 16 << 20;

/// The work of a hash that is taken: a password of more would keep a processor for seconds.
const MOST_COST: u32 = 15;
const MOST_ROUNDS: u32 = 5_000_000;
const MOST_PASSES: u32 = 16;
/// KiB.
const MOST_MEMORY: u32 = 256 << 10;

/// Why a file of users cannot be used.
#[derive(Debug, Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line cannot be used.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It names nobody.
    #[error("{path}: no user", path = .0.display())]
    Empty(PathBuf),
}

/// The users of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwords {
    hashes: HashMap<String, Hash>,
    /// The one that takes the most work.
    costliest: Option<Hash>,
}

/// A password's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hash {
    Bcrypt(String),
    Sha(String),
    Argon2(String),
}

impl Passwords {
    /// Reads a file: a line `user:hash` each, empty lines, and comments that begin with `#`.
    ///
    /// # Errors
    ///
    /// See [`UsersError`].
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let bytes = file::read(path, MOST).map_err(|error| UsersError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to());
            let lines = before.unwrap_or_default().split(|byte| *byte == b'\n');
            UsersError::Line {
                path: path.to_owned(),
                line: lines.count(),
                problem: "this is not UTF-8",
            }
        })?;
        let mut hashes = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let error = |problem| UsersError::Line {
                path: path.to_owned(),
                line: number.saturating_add(1),
                problem,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line
                .split_once(':')
                .ok_or_else(|| error("write user:hash"))?;
            if user.is_empty() || user.chars().any(char::is_control) {
                return Err(error("this is no user's name"));
            }
            let hash = Hash::new(hash).map_err(error)?;
            if hashes.insert(user.to_owned(), hash).is_some() {
                return Err(error("the user was named before"));
            }
        }
        if hashes.is_empty() {
            return Err(UsersError::Empty(path.to_owned()));
        }
        let costliest = hashes.values().max_by_key(|hash| hash.work()).cloned();
        Ok(Self { hashes, costliest })
    }

    /// Whether a password is the user's. Where there is no such user, it takes the work of the costliest hash of the file.
    pub fn is_right(&self, user: &str, password: &[u8]) -> bool {
        self.compare(user, |hash| hash.is_of(password))
    }

    /// The same, compared so.
    fn compare(&self, user: &str, is_of: impl FnOnce(&Hash) -> bool) -> bool {
        let own = self.hashes.get(user);
        let hash = own.or(self.costliest.as_ref());
        hash.is_some_and(is_of) && own.is_some()
    }
}

impl Hash {
    fn new(hash: &str) -> Result<Self, &'static str> {
        const COSTLY: &str = "comparing a password with this hash would take seconds";
        match hash.get(..3).unwrap_or_default() {
            "$2a" | "$2b" | "$2y" => match hash.parse::<HashParts>() {
                Ok(parts) if parts.get_cost() > MOST_COST => Err(COSTLY),
                Ok(parts) if parts.get_cost() >= 4 => Ok(Self::Bcrypt(hash.to_owned())),
                _ => Err("this is no hash of bcrypt"),
            },
            "$5$" | "$6$" => {
                let mut fields = hash.split('$').skip(2);
                let mut next = fields.next();
                if let Some(rounds) = next.and_then(|field| field.strip_prefix("rounds=")) {
                    match rounds.parse::<u32>() {
                        Ok(..1000) | Err(_) => return Err("this is no number of rounds"),
                        Ok(rounds) if rounds > MOST_ROUNDS => return Err(COSTLY),
                        Ok(_) => next = fields.next(),
                    }
                }
                let length = if hash.starts_with("$5$") { 43 } else { 86 };
                let end = fields.next().map(str::len);
                let is_whole = next.is_some_and(|salt| !salt.is_empty())
                    && end == Some(length)
                    && fields.next().is_none()
                    && PasswordHashRef::new(hash).is_ok();
                is_whole
                    .then(|| Self::Sha(hash.to_owned()))
                    .ok_or("this is no hash of SHA-crypt")
            }
            "$ar" => {
                let parsed = phc::PasswordHash::new(hash).ok();
                let parsed = parsed.filter(|parsed| parsed.hash.is_some());
                let params = parsed.and_then(|parsed| argon2::Params::try_from(&parsed).ok());
                match params {
                    Some(params)
                        if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES =>
                    {
                        Err(COSTLY)
                    }
                    Some(_) => Ok(Self::Argon2(hash.to_owned())),
                    None => Err("this is no hash of Argon2"),
                }
            }
            "$ap" | "$1$" | "{SH" => {
                Err("MD5 and SHA-1 are guessed too fast: make the hash by `htpasswd -B`")
            }
            _ => Err(
                "this is no hash of bcrypt ($2y$), SHA-crypt ($5$, $6$) or Argon2: make it by `htpasswd -B`",
            ),
        }
    }

    /// About how many microseconds comparing a password takes.
    fn work(&self) -> u64 {
        match self {
            Self::Bcrypt(hash) => {
                let cost = hash
                    .parse::<HashParts>()
                    .map_or(0, |parts| parts.get_cost());
                60 << cost.min(MOST_COST)
            }
            Self::Sha(hash) => {
                let rounds = hash
                    .split('$')
                    .find_map(|field| field.strip_prefix("rounds="));
                rounds
                    .and_then(|rounds| rounds.parse().ok())
                    .unwrap_or(5000)
            }
            Self::Argon2(hash) => {
                let parsed = phc::PasswordHash::new(hash).ok();
                let params = parsed.and_then(|parsed| argon2::Params::try_from(&parsed).ok());
                params.map_or(0, |params| {
                    u64::from(params.m_cost()) * u64::from(params.t_cost())
                })
            }
        }
    }

    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Sha(hash) => PasswordHashRef::new(hash)
                .is_ok_and(|hash| ShaCrypt::default().verify_password(password, hash).is_ok()),
            Self::Argon2(hash) => phc::PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$KoXqazH369kPS5mhTiWs1OWaV18zL1DDfAv/OZKVCkTwiW7QN0WTK";
    const SHA256: &str = "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.";
    const SHA512: &str = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";
    /// "password" with the salt "somesalt", from the reference program's README.
    const ARGON2: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn passwords(text: impl AsRef<[u8]>) -> Result<Passwords, UsersError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        std::fs::write(&path, text).unwrap();
        Passwords::read(&path)
    }

    #[test]
    fn passwords_are_compared() {
        let text =
            format!("# staff\n\nalice:{BCRYPT}\nbob:{SHA256}\r\ncarol:{SHA512}\ndave:{ARGON2}\n");
        let passwords = passwords(&text).unwrap();
        for (user, password) in [
            ("alice", "secret"),
            ("bob", "secret"),
            ("carol", "secret"),
            ("dave", "password"),
        ] {
            assert!(passwords.is_right(user, password.as_bytes()), "{user}");
            let wrong = format!("{password}x");
            assert!(!passwords.is_right(user, wrong.as_bytes()), "{user}");
            assert!(!passwords.is_right(user, b""), "{user}");
        }
        assert!(!passwords.is_right("nobody", b"secret"));
    }

    /// Who is there cannot be told by the time: a user costs one comparison, known or not, and who is not there that with the
    /// costliest hash.
    #[test]
    fn a_user_who_is_not_there_costs_a_comparison() {
        let costly = BCRYPT.replace("$05$", "$08$");
        let text = format!("alice:{BCRYPT}\nbob:{costly}\ncarol:{SHA256}\n");
        let passwords = passwords(&text).unwrap();
        for (user, expected, is_right) in [
            ("alice", BCRYPT, true),
            ("bob", &costly, true),
            ("carol", SHA256, true),
            ("nobody", &costly, false),
            ("", &costly, false),
        ] {
            let mut compared = Vec::new();
            let found = passwords.compare(user, |hash| {
                let (Hash::Bcrypt(text) | Hash::Sha(text) | Hash::Argon2(text)) = hash;
                compared.push(text.clone());
                // Nor does it help who guesses that hash's password.
                true
            });
            assert_eq!((found, compared), (is_right, vec![expected.to_owned()]));
        }
    }

    #[test]
    fn a_file_that_is_not_utf8_is_refused_with_the_line() {
        for (text, expected) in [
            (&b"\xff"[..], 1),
            (b"# staff\n\nal\xffice:x\n", 3),
            (b"alice:\xc3\n", 1),
            (b"# one\n# \xe9\n", 2),
        ] {
            let error = passwords(text).unwrap_err();
            let UsersError::Line { line, problem, .. } = error else {
                panic!("{error}");
            };
            assert_eq!((line, problem), (expected, "this is not UTF-8"));
        }
    }

    #[test]
    fn hashes_that_protect_nothing_or_cost_too_much_are_refused() {
        for (hash, problem) in [
            ("secret", "make it by"),
            ("$apr1$W72uh.vm$yIhdbnzp06KViHWGxVrzo1", "guessed too fast"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "guessed too fast"),
            (
                "$2y$31$KoXqazH369kPS5mhTiWs1OWaV18zL1DDfAv/OZKVCkTwiW7QN0WTK",
                "seconds",
            ),
            ("$2y$05$short", "bcrypt"),
            ("$6$rounds=999999999$abcdefgh$x", "seconds"),
            ("$6$rounds=1$abcdefgh$x", "rounds"),
            ("$6$abcdefgh$short", "SHA-crypt"),
            (
                "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "seconds",
            ),
            ("$argon2id$x", "Argon2"),
        ] {
            let error = passwords(format!("alice:{BCRYPT}\nbob:{hash}\n")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("line 2") && text.contains(problem), "{text}");
        }
        for text in ["alice", ":x", "a\u{1}:x"] {
            assert!(matches!(
                passwords(text),
                Err(UsersError::Line { line: 1, .. })
            ));
        }
        assert!(matches!(passwords("\n#\n"), Err(UsersError::Empty(_))));
        let twice = passwords(format!("a:{BCRYPT}\na:{BCRYPT}"));
        assert!(matches!(twice, Err(UsersError::Line { line: 2, .. })));
    }
}
