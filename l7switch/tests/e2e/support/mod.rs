// SPDX-License-Identifier: MIT
//! What the tests run: processes that end with their test, and clients.

pub(crate) mod certs;
pub(crate) mod counting;
pub(crate) mod curl;
pub(crate) mod disk;
pub(crate) mod h2;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod raw;
pub(crate) mod switch;
pub(crate) mod tls_h2;
pub(crate) mod websocket;

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use process::run;

/// Longer than anything here may take; what passes it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A port of `host` that is free now, and that no client is given by itself: so no connection can take
/// it while a server is down.
pub(crate) fn free_port(host: Ipv4Addr) -> SocketAddr {
    loop {
        // Each has a key of its own, which is all that is random here.
        let random = RandomState::new().build_hasher().finish() % 21_760;
        let port = u16::try_from(10_240 + random).unwrap();
        let address = SocketAddr::from((host, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The SHA-256 of a file, as `sha256sum` prints it.
pub(crate) fn sha256(path: &Path) -> String {
    let out = run("sha256sum", "coreutils", [path]);
    out.split(' ').next().unwrap().to_owned()
}

/// `count` bytes of the sequence that the Python server sends for `/length` and its like.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}
