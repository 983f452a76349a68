// SPDX-License-Identifier: MIT
//! TLS towards servers: what is said of connections that end otherwise than they should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use l7switch::Switch;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::simple;
use crate::support::start;
use crate::support::until;
use crate::tls::certificate;

/// How a server goes on behind its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    /// It has asked for a certificate that the switch does not have.
    WithoutCertificate,
    /// It says something, and ends TLS.
    Whole,
    /// It says something, and ends TCP without ending TLS.
    Truncated,
}

/// A server of TLS 1.3, in which the client has shaken hands before the server has looked at its certificate.
async fn server(goes: Goes) -> SocketAddr {
    let pair = certificate(&["server.example"]);
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap();
    let builder = if goes == Goes::WithoutCertificate {
        let mut roots = RootCertStore::empty();
        roots.add(pair.cert.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut asked = [0; 3];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(b"says").await.unwrap();
            stream.flush().await.unwrap();
            match goes {
                Goes::Whole => {
                    stream.shutdown().await.unwrap();
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                _ => stream.get_mut().0.shutdown().await.unwrap(),
            }
        }
    });
    address
}

fn tcp(server: SocketAddr, pool: &str) -> Arc<Switch> {
    let rules = simple(&[server], "", pool);
    start(&rules.replace("protocol = \"http\"", "protocol = \"tcp\""))
}

fn refused(switch: &Switch) -> Vec<(String, u64)> {
    let status = l7switch::admin::status(switch);
    status.services["web"].refused.clone().into_iter().collect()
}

const TLS: &str = "tls = { verify = false }";

#[tokio::test]
async fn each_end_has_its_reason() {
    for (goes, expected) in [
        (Goes::WithoutCertificate, "server_tls"),
        (Goes::Truncated, "tls_truncated"),
    ] {
        let switch = tcp(server(goes).await, TLS);
        for asks in [true, false] {
            if goes == Goes::Truncated && !asks {
                continue;
            }
            let before = refused(&switch).first().map_or(0, |(_, count)| *count);
            let mut client = Raw::connect(address(&switch, "web")).await;
            if asks {
                client.send("ask").await;
            }
            assert!(client.rest().await.is_err(), "{goes:?}: not an end");
            until(|| l7switch::admin::status(&switch).services["web"].active == 0).await;
            let expected = [(expected.to_owned(), before + 1)];
            assert_eq!(refused(&switch), expected, "{goes:?} {asks}");
        }
    }
    let switch = tcp(server(Goes::Whole).await, TLS);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("ask").await;
    assert_eq!(client.rest().await.unwrap(), b"says");
    drop(client);
    until(|| l7switch::admin::status(&switch).services["web"].active == 0).await;
    assert!(refused(&switch).is_empty());
}

#[tokio::test]
async fn a_server_that_breaks_off_has_its_own() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.exactly(3).await;
        let socket = socket2::SockRef::from(&conn.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let switch = tcp(server.address, "");
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("ask").await;
    assert!(client.rest().await.is_err());
    until(|| refused(&switch) == [("server_gone".to_owned(), 1)]).await;
}

/// In HTTP too it is no response that is wrong.
#[tokio::test]
async fn a_certificate_that_is_refused_is_no_response() {
    let switch = start(&simple(
        &[server(Goes::WithoutCertificate).await],
        "",
        "tls = { verify = false }\npassive = { failures = 0 }",
    ));
    for (count, head) in [(1, "GET / HTTP/1.1"), (2, "POST / HTTP/1.1")] {
        let mut client = Raw::connect(address(&switch, "web")).await;
        let request = format!("{head}\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        client.send(request).await;
        assert_eq!(client.response().await.0, 502);
        assert_eq!(refused(&switch), [("server_tls".to_owned(), count)]);
    }
}
