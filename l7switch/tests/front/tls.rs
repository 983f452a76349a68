// SPDX-License-Identifier: MIT
//! TLS terminated and TLS passed through.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rcgen::CertifiedKey;
use rcgen::KeyPair;
use rcgen::generate_simple_self_signed;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::load;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

pub(crate) fn certificate(names: &[&str]) -> CertifiedKey<KeyPair> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    generate_simple_self_signed(names).unwrap()
}

pub(crate) fn write(folder: &Path, name: &str, pair: &CertifiedKey<KeyPair>) -> (String, String) {
    let (cert, key) = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    (cert.display().to_string(), key.display().to_string())
}

pub(crate) fn client(trusted: &[&CertifiedKey<KeyPair>], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.cert.der().clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
}

fn peer(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

pub(crate) fn https(server: SocketAddr, certificates: &[(String, String)]) -> String {
    let list: Vec<String> = certificates
        .iter()
        .map(|(cert, key)| format!("{{ cert = \"{cert}\", key = \"{key}\" }}"))
        .collect();
    format!(
        "[service.secure]\nlisten = \"127.0.0.1:1\"\nprotocol = \"https\"\ncertificates = [{}]\n\
         [[service.secure.route]]\npool = \"p\"\n[pool.p]\nservers = [\"{server}\"]\n",
        list.join(", ")
    )
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (first, wild) = (
        certificate(&["one.example"]),
        certificate(&["*.two.example"]),
    );
    let server = Server::saying("fine").await;
    let switch = start(&https(
        server.address,
        &[
            write(folder.path(), "first", &first),
            write(folder.path(), "wild", &wild),
        ],
    ));
    let secure = address(&switch, "secure");
    let config = client(&[&first, &wild], &[]);
    let stream = connect(&config, secure, "one.example").await.unwrap();
    assert_eq!(peer(&stream), *first.cert.der());
    let mut stream = connect(&config, secure, "a.two.example").await.unwrap();
    assert_eq!(peer(&stream), *wild.cert.der());
    // A name that no certificate has gets the first, which the client then refuses.
    assert!(connect(&config, secure, "three.example").await.is_err());

    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a.two.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("fine"),
        "{answer}"
    );
    assert_eq!(
        field(&server.heads()[0], "x-forwarded-proto").unwrap(),
        "https"
    );
    // The gate is under TLS too.
    let mut stream = connect(&config, secure, "one.example").await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        .await
        .unwrap();
    answer.clear();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn http_2_by_alpn() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(&["one.example"]);
    let server = Server::saying("fine").await;
    let switch = start(&https(
        server.address,
        &[write(folder.path(), "first", &pair)],
    ));
    let config = client(&[&pair], &["h2", "http/1.1"]);
    let stream = connect(&config, address(&switch, "secure"), "one.example")
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://one.example/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "fine"
    );
}

#[tokio::test]
async fn http_in_clear_text_is_told_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(&["one.example"]);
    let server = Server::saying("fine").await;
    let switch = start(&https(
        server.address,
        &[write(folder.path(), "first", &pair)],
    ));
    let secure = address(&switch, "secure");
    for request in [
        "GET / HTTP/1.1\r\nHost: one.example\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "P",
    ] {
        let mut plain = Raw::connect(secure).await;
        plain.send(request).await;
        let (status, head, body) = plain.response().await;
        assert_eq!(status, 400, "{request}");
        assert_eq!(field(&head, "connection").unwrap(), "close");
        assert!(String::from_utf8(body).unwrap().contains("speaks HTTPS"));
        assert!(plain.rest().await.unwrap().is_empty());
    }
    // What is neither gets an alert.
    let mut other = Raw::connect(secure).await;
    other.send("\0\0\0\0\0\0\0\0").await;
    assert_eq!(other.rest().await.unwrap().first(), Some(&21));
    until(|| {
        let refused = &l7switch::admin::status(&switch).services["secure"].refused;
        refused.get("plain_http") == Some(&3) && refused.get("tls_handshake") == Some(&1)
    })
    .await;
    assert!(server.heads().is_empty());
    let config = client(&[&pair], &[]);
    assert!(connect(&config, secure, "one.example").await.is_ok());
}

#[tokio::test]
async fn a_new_certificate_comes_with_a_reload_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (certificate(&["one.example"]), certificate(&["one.example"]));
    let server = Server::saying("fine").await;
    let files = write(folder.path(), "cert", &old);
    let rules = https(server.address, std::slice::from_ref(&files));
    let switch = start(&rules);
    let secure = address(&switch, "secure");
    let load = || load(&rules);
    write(folder.path(), "cert", &new);
    switch.set(load()).unwrap();
    let config = client(&[&old, &new], &[]);
    assert_eq!(
        peer(&connect(&config, secure, "one.example").await.unwrap()),
        *new.cert.der()
    );
    std::fs::write(&files.1, "no key").unwrap();
    let error = switch.set(load()).unwrap_err().to_string();
    assert!(
        error.contains("cert.key") && error.contains("secure"),
        "{error}"
    );
    assert_eq!(
        peer(&connect(&config, secure, "one.example").await.unwrap()),
        *new.cert.der()
    );
}

/// A TLS server that says its name.
async fn tls_server(pair: &CertifiedKey<KeyPair>, says: &'static str) -> SocketAddr {
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                stream.write_all(says.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn tls_is_passed_through_by_name() {
    let (one, two) = (
        certificate(&["one.example"]),
        certificate(&["b.two.example"]),
    );
    let rules = format!(
        "[service.sni]\nlisten = \"127.0.0.1:1\"\nprotocol = \"tls\"\nlimits = {{ head_timeout = \"300ms\" }}\n\
         [[service.sni.route]]\nhost = \"one.example\"\npool = \"one\"\n\
         [[service.sni.route]]\nhost = \"*.two.example\"\npool = \"two\"\n\
         [pool.one]\nservers = [\"{}\"]\n[pool.two]\nservers = [\"{}\"]\n",
        tls_server(&one, "one").await,
        tls_server(&two, "two").await
    );
    let switch = start(&rules);
    let sni = address(&switch, "sni");
    let config = client(&[&one, &two], &[]);
    for (name, wanted) in [("one.example", "one"), ("b.two.example", "two")] {
        let mut stream = connect(&config, sni, name).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, wanted);
    }
    let error = connect(&config, sni, "three.example").await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");

    let mut plain = Raw::connect(sni).await;
    plain
        .send("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
        .await;
    assert!(plain.rest().await.unwrap_or_default().is_empty());
    let mut slow = Raw::connect(sni).await;
    slow.send([0x16, 3, 1]).await;
    assert!(slow.rest().await.unwrap_or_default().is_empty());
    until(|| {
        let refused = &l7switch::admin::status(&switch).services["sni"].refused;
        refused.get("unknown_name") == Some(&1)
            && refused.get("not_tls") == Some(&1)
            && refused.get("head_timeout") == Some(&1)
    })
    .await;
}
