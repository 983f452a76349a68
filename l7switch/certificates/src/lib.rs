// SPDX-License-Identifier: MIT
//! Certificates, keys and what belongs to them, and passwords, as the rules name them: read from their files, checked, described.
//!
//! The front serves with what it reads here, and `l7ctl check` tells what the front would say.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )
)]

mod check;
mod client;
mod client_name;
pub mod file;
mod files;
mod pair;
pub mod passwords;
pub mod state;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;

pub use check::Finding;
pub use check::check;
pub use check::findings;
pub use client::ClientCertificate;
pub use client::verifier;
pub use client_name::ClientName;
pub use files::TlsError;
pub use files::read_chain;
pub use files::read_pair;
pub use files::read_roots;
pub use files::system_roots;
pub use pair::Pair;
pub use pair::identifier;

/// The cryptography: aws-lc-rs, whose first key exchange is X25519MLKEM768.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
