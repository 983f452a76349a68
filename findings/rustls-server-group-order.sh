#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `CryptoProvider::kx_groups` of rustls is documented as a list in preference order, whose first element has the highest priority.
#
# Guess: a server takes the first group of its own list that the client has too, as servers on OpenSSL do with their preference, at
# least where the client has sent a key share for none of the server's groups, so that a round trip more is needed anyway.
# Seen with rustls 0.23.46, in TLS 1.3 and in TLS 1.2: the server takes the first group of the client's list that it has. The order of
# its own list has no effect: an administrator who puts P-384 first gets P-256 with every client that prefers that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
rcgen = { version = "=0.14.6", default-features = false, features = ["ring", "pem"] }
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std", "tls12"] }
T
cat > src/main.rs <<'T'
use rustls::crypto::ring::{default_provider, kx_group::*};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::sync::Arc;

fn with(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: groups.to_vec(), ..default_provider() })
}

fn main() {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let chain = vec![made.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let client = [X25519, SECP256R1, SECP384R1];
    let server = [SECP384R1, SECP256R1];
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(with(&server))
            .with_protocol_versions(&[version]).unwrap()
            .with_no_client_auth().with_single_cert(chain.clone(), key).unwrap();
        let client = ClientConfig::builder_with_provider(with(&client))
            .with_protocol_versions(&[version]).unwrap()
            .with_root_certificates(roots.clone()).with_no_client_auth();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), "a.example".try_into().unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() { client.write_tls(&mut bytes).unwrap(); }
            let mut rest = &bytes[..];
            while !rest.is_empty() { server.read_tls(&mut rest).unwrap(); server.process_new_packets().unwrap(); }
            let mut bytes = Vec::new();
            while server.wants_write() { server.write_tls(&mut bytes).unwrap(); }
            let mut rest = &bytes[..];
            while !rest.is_empty() { client.read_tls(&mut rest).unwrap(); client.process_new_packets().unwrap(); }
        }
        let group = client.negotiated_key_exchange_group().unwrap().name();
        println!("{:?}: client X25519, P-256, P-384; server P-384, P-256: {group:?}", version.version);
    }
}
T
echo "rustls 0.23.46"
cargo run --quiet | tee output
diff output - <<'T'
TLSv1_3: client X25519, P-256, P-384; server P-384, P-256: secp256r1
TLSv1_2: client X25519, P-256, P-384; server P-384, P-256: secp256r1
T
