// SPDX-License-Identifier: MIT
//! A server in Python that answers in every framing of HTTP/1.1: kit/origin.py says which.

use std::fs;

use super::network::Host;
use super::process::Process;

const SCRIPT: &str = include_str!("origin.py");

/// Starts it on a host's port 8080, and waits until it listens.
#[must_use]
pub fn origin(host: &Host) -> Process {
    let file = "/tmp/origin.py";
    fs::write(file, SCRIPT).expect("/tmp is writable");
    let mut process = host.start(&format!("python3 -IS {file} {} 8080", host.name()));
    process.wait_for_output("listening");
    process
}

/// The `size` bytes that a server of this name answers with.
#[must_use]
pub fn pattern(host: &Host, size: usize) -> Vec<u8> {
    // The script's own words for it, run by the program that is there anyway.
    let line = format!(
        "python3 -c 'import hashlib,sys; b = hashlib.sha256(b\"{}\").digest() * 2048; \
         sys.stdout.buffer.write((b * ({size} // len(b) + 1))[:{size}])' > /tmp/pattern",
        host.name()
    );
    host.run(&line);
    fs::read("/tmp/pattern").expect("it was written")
}
