// SPDX-License-Identifier: MIT
//! WebSockets towards servers that are spoken to in HTTP/2, by extended CONNECT (RFC 8441).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use h2::ext::Protocol;
use h2::server::SendResponse;
use http::Request;
use http::Response;
use l7switch::Switch;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::get;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::status;
use crate::support::until;
use crate::tls::certificate;
use crate::websocket::connect;
use crate::websocket::open;
use crate::websocket::opening;
use crate::websocket::read;
use crate::websocket::refused;

const HTTP2: &str = "protocol = \"http2\"";

/// The key of RFC 6455, 1.3, and its answer.
const UPGRADE: &str = "Host: www.example\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A server that says everything again on WebSockets at `/chat`; `/reset` it resets, `/no` it denies, others are plain requests.
struct WebsocketServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request<()>>>>,
    /// Streams that clients have reset.
    resets: Arc<AtomicUsize>,
}

impl WebsocketServer {
    async fn start(takes_websockets: bool) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            seen: Arc::default(),
            resets: Arc::default(),
        };
        let (seen, resets) = (Arc::clone(&server.seen), Arc::clone(&server.resets));
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (seen, resets) = (Arc::clone(&seen), Arc::clone(&resets));
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    if takes_websockets {
                        builder.enable_connect_protocol();
                    }
                    let mut connection = builder.handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (parts, content) = request.into_parts();
                        let path = parts.uri.path().to_owned();
                        seen.lock().unwrap().push(Request::from_parts(parts, ()));
                        tokio::spawn(answer(path, content, respond, Arc::clone(&resets)));
                    }
                });
            }
        });
        server
    }

    fn last(&self) -> Request<()> {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn answer(
    path: String,
    mut content: RecvStream,
    mut respond: SendResponse<Bytes>,
    resets: Arc<AtomicUsize>,
) {
    let code = if path == "/no" { 403 } else { 200 };
    let head = Response::builder()
        .status(code)
        .header("sec-websocket-protocol", "chat");
    let mut stream = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    if !["/chat", "/reset"].contains(&path.as_str()) {
        stream.send_data("stay".into(), true).unwrap();
        return;
    }
    stream.send_data("first;".into(), false).unwrap();
    while let Some(data) = content.data().await {
        let Ok(data) = data else {
            resets.fetch_add(1, SeqCst);
            return;
        };
        if path == "/reset" {
            return stream.send_reset(h2::Reason::CANCEL);
        }
        content.flow_control().release_capacity(data.len()).unwrap();
        say(&mut stream, data).await;
    }
    stream.send_data("last".into(), true).unwrap();
}

async fn say(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            let grown = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            grown.unwrap().unwrap();
        }
        let length = stream.capacity().min(data.len());
        stream.send_data(data.split_to(length), false).unwrap();
    }
}

/// Opens a WebSocket in HTTP/1.
async fn upgrade(switch: &Switch, path: &str) -> (Raw, String) {
    let mut client = Raw::connect(address(switch, "web")).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\n{UPGRADE}"))
        .await;
    let head = client.head().await.unwrap();
    (client, head)
}

#[tokio::test]
async fn an_upgrade_becomes_an_extended_connect() {
    let server = WebsocketServer::start(true).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let (mut client, head) = upgrade(&switch, "/chat?room=1").await;
    assert_eq!(status(&head), 101, "{head}");
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(field(&head, name).as_deref(), Some(value), "{head}");
    }
    let seen = server.last();
    assert_eq!(seen.method(), "CONNECT");
    assert_eq!(*seen.uri(), "http://www.example/chat?room=1");
    let protocol = seen.extensions().get::<Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert_eq!(seen.headers()["sec-websocket-version"], "13");
    assert_eq!(seen.headers()["sec-websocket-protocol"], "chat");
    for name in ["upgrade", "connection", "sec-websocket-key"] {
        assert!(!seen.headers().contains_key(name), "{name}");
    }
    assert_eq!(client.exactly(6).await, b"first;");
    client.send("hello").await;
    assert_eq!(client.exactly(5).await, b"hello");
    // More than every buffer and window on the way holds.
    let (reader, mut writer) = client.stream.into_split();
    let big: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = big.clone();
    let sending = tokio::spawn(async move {
        let written = tokio::io::AsyncWriteExt::write_all(&mut writer, &sent).await;
        written.unwrap();
        writer
    });
    let mut reader = reader;
    let mut came = vec![0; big.len()];
    let read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut came);
    soon(read).await.unwrap();
    assert!(came == big);
    // The end of one direction passes, and the other goes on.
    drop(soon(sending).await.unwrap());
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest);
    soon(read).await.unwrap();
    assert_eq!(rest, b"last");
    until(|| l7switch::admin::servers(&switch)[0].active == 0).await;
    assert_eq!(server.resets.load(SeqCst), 0);
}

#[tokio::test]
async fn an_extended_connect_goes_on_as_one() {
    let server = WebsocketServer::start(true).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut sender = connect(address(&switch, "web")).await;
    let (response, mut to) = open(&mut sender, opening("http://a/chat", "websocket")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    assert!(!server.last().headers().contains_key("sec-websocket-key"));
    let mut from = response.into_body();
    assert_eq!(read(&mut from, 6).await, b"first;");
    to.send_data("hello".into(), true).unwrap();
    assert_eq!(read(&mut from, 9).await, b"hellolast");
    // An end in order.
    while let Some(data) = soon(from.data()).await {
        assert!(data.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_server_that_takes_none_is_not_asked() {
    let server = WebsocketServer::start(false).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let (_, head) = upgrade(&switch, "/chat").await;
    assert_eq!(status(&head), 502, "{head}");
    let mut sender = connect(address(&switch, "web")).await;
    let (response, _) = open(&mut sender, opening("http://a/chat", "websocket")).await;
    assert_eq!(response.status(), 502);
    assert!(server.seen.lock().unwrap().is_empty());
    assert!(refused(&switch).contains(&("no_websocket".to_owned(), 2)));
    // That is no fault of it: it is asked for other things.
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    // Upgrades to something else stay requests.
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 200);
    assert_eq!(server.last().method(), "GET");
}

#[tokio::test]
async fn a_denial_is_a_response() {
    let server = WebsocketServer::start(true).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let (mut client, head) = upgrade(&switch, "/no").await;
    assert_eq!(status(&head), 403);
    assert_eq!(client.body(&head).await, b"stay");
    let mut sender = connect(address(&switch, "web")).await;
    let (response, _) = open(&mut sender, opening("http://a/no", "websocket")).await;
    assert_eq!(response.status(), 403);
    assert_eq!(read(&mut response.into_body(), 4).await, b"stay");
}

/// Nobody takes what has broken off for an end in order.
#[tokio::test]
async fn who_breaks_off_breaks_the_other_side_off() {
    let server = WebsocketServer::start(true).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let (mut client, _) = upgrade(&switch, "/reset").await;
    assert_eq!(client.exactly(6).await, b"first;");
    client.send("x").await;
    assert!(client.rest().await.is_err(), "a reset");
    let (mut client, _) = upgrade(&switch, "/chat").await;
    assert_eq!(client.exactly(6).await, b"first;");
    let socket = socket2::SockRef::from(&client.stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    until(|| server.resets.load(SeqCst) == 1).await;
    until(|| l7switch::admin::servers(&switch)[0].active == 0).await;
}

/// In clear text `auto` is HTTP/1: nobody has to say that a WebSocket is taken.
#[tokio::test]
async fn servers_of_http1_are_asked_for_an_upgrade() {
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
        conn.send("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let (_, head) = upgrade(&switch, "/").await;
    assert_eq!(status(&head), 400);
    let head = server.heads().pop().unwrap();
    assert_eq!(field(&head, "upgrade").as_deref(), Some("WebSocket"));
}

/// A server of TLS that speaks both, and takes WebSockets in HTTP/1.1 only, as most do.
async fn speaks_both() -> SocketAddr {
    let pair = certificate(&["server.example"]);
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            tokio::spawn(async move {
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (parts, content) = request.into_parts();
                        tokio::spawn(answer(
                            parts.uri.path().to_owned(),
                            content,
                            respond,
                            Arc::default(),
                        ));
                    }
                    return;
                }
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {ACCEPT}\r\n\r\nfirst;"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                let mut asked = [0; 5];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(&asked).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_may_be_asked_in_either_is_asked_for_upgrades_in_http1() {
    let pool = "protocol = \"auto\"\ntls = { verify = false }";
    let switch = start(&simple(&[speaks_both().await], "", pool));
    for _ in 0..2 {
        // Requests go by HTTP/2.
        assert_eq!(get(address(&switch, "web"), "/").await.2, b"stay");
        let (mut client, head) = upgrade(&switch, "/chat").await;
        assert_eq!(status(&head), 101, "{head}");
        assert_eq!(client.exactly(6).await, b"first;");
        client.send("hello").await;
        assert_eq!(client.exactly(5).await, b"hello");
    }
    assert_eq!(refused(&switch), []);
}
