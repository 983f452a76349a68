// SPDX-License-Identifier: MIT
//! Secrets that the process makes for itself. A successor gets them, so that what clients have stays good.

use std::sync::OnceLock;

use aws_lc_rs::rand;
use l7switch_engine::siphash::Key;
use serde::Deserialize;
use serde::Serialize;

/// Made where the first of them is needed.
static SECRETS: OnceLock<Secrets> = OnceLock::new();

/// The secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Hashes the keys of rate limits, so that nobody can choose whose bucket or place a key has.
    pub limits: Key,
    /// Signs sticky cookies where the rules name no key.
    pub cookies: [u8; 32],
}

impl Secrets {
    fn make() -> Self {
        let mut cookies = [0; 32];
        if rand::fill(&mut cookies).is_err() {
            // Without random numbers nothing is signed with what anybody else could know: all cookies are strangers then.
            fastrand::fill(&mut cookies);
        }
        let mut limits = [0; 16];
        if rand::fill(&mut limits).is_err() {
            fastrand::fill(&mut limits);
        }
        let half = |half: usize| {
            let bytes = limits.get(half.saturating_mul(8)..);
            let bytes = bytes.and_then(<[u8]>::first_chunk::<8>);
            bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        Self {
            limits: [half(0), half(1)],
            cookies,
        }
    }
}

/// The secrets of this process.
pub fn own() -> &'static Secrets {
    SECRETS.get_or_init(Secrets::make)
}

/// Takes those of another process. `false`: this one has used others already.
pub fn inherit(secrets: Secrets) -> bool {
    SECRETS.set(secrets).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_made_anew_and_all_of_it_is_random() {
        let (one, other) = (Secrets::make(), Secrets::make());
        assert_ne!(one.limits, other.limits);
        assert_ne!(one.cookies, other.cookies);
        assert_ne!(one.limits[0], one.limits[1]);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Secrets>(&text).unwrap(), one);
        let own = own().clone();
        assert!(!inherit(other), "too late");
        assert_eq!(*super::own(), own);
    }
}
