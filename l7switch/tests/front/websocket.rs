// SPDX-License-Identifier: MIT
//! WebSockets over HTTP/2, by extended CONNECT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::Method;
use http::Request;
use http::Response;
use l7switch::Switch;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    // The server's SETTINGS say that it may be asked.
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        sender = sender.ready().await.unwrap();
    }
    sender
}

pub(crate) fn opening(uri: &str, protocol: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(uri)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "bm90IHVzZWQgaW4gSFRUUC8y")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap();
    let protocol = Protocol::from_static(protocol);
    request.extensions_mut().insert(protocol);
    request
}

pub(crate) async fn open(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let (response, stream) = sender.send_request(request, false).unwrap();
    (soon(response).await.unwrap(), stream)
}

pub(crate) fn accept_of(head: &str) -> String {
    let key = field(head, "sec-websocket-key").unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// A server that changes to a protocol in which it says everything again.
async fn server() -> Server {
    Server::start(|mut conn, _, seen| async move {
        let Some(head) = conn.head().await else {
            return;
        };
        let accept = accept_of(&head);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        seen.lock().unwrap().push(head);
        let changed = |accept: &str| {
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\nX-A: 1\r\n\r\nfirst;"
            )
        };
        match path.as_str() {
            "/chat?room=1" => conn.send(changed(&accept)).await,
            "/wrong" => return conn.send(changed("d3Jvbmc=")).await,
            // RFC 6455, 4.1: Connection has to name the upgrade.
            "/unnamed" => {
                let head = changed(&accept).replace("Connection: Upgrade\r\n", "");
                return conn.send(head).await;
            }
            "/other-name" => {
                let head = changed(&accept).replace("Connection: Upgrade", "Connection: close");
                return conn.send(head).await;
            }
            "/plain" => {
                let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                return conn.send(plain).await;
            }
            _ => {
                let no = "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nstay";
                return conn.send(no).await;
            }
        }
        loop {
            let mut bytes = [0; 4096];
            match conn.stream.read(&mut bytes).await {
                Ok(length @ 1..) => conn.send(&bytes[..length]).await,
                _ => return,
            }
        }
    })
    .await
}

pub(crate) async fn read(stream: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let data = soon(stream.data()).await.unwrap().unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all
}

pub(crate) fn refused(switch: &Arc<Switch>) -> Vec<(String, u64)> {
    let status = l7switch::admin::status(switch);
    status.services["web"].refused.clone().into_iter().collect()
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    let server = server().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let request = opening("http://www.example/chat?room=1", "websocket");
    let (response, mut to) = open(&mut sender, request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(response.headers()["x-a"], "1");
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let head = server.heads().pop().unwrap();
    assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "www.example"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
    ] {
        assert_eq!(field(&head, name).as_deref(), Some(value), "{head}");
    }
    assert_eq!(head.matches("sec-websocket-key").count(), 1);
    assert!(field(&head, "transfer-encoding").is_none());
    let mut from = response.into_body();
    // What the server has sent at once behind its head.
    assert_eq!(read(&mut from, 6).await, b"first;");
    to.send_data(Bytes::from_static(b"hello"), false).unwrap();
    assert_eq!(read(&mut from, 5).await, b"hello");
    // Another stream of the connection is another request.
    let (other, _) = open(&mut sender, opening("http://a/no", "websocket")).await;
    assert_eq!(other.status(), 403);
    // More than the windows of both sides hold.
    let big = vec![7; 300_000];
    let sending = tokio::spawn(async move {
        let mut left = Bytes::from(big);
        while !left.is_empty() {
            to.reserve_capacity(left.len());
            while to.capacity() == 0 {
                let grown = std::future::poll_fn(|cx| to.poll_capacity(cx)).await;
                grown.unwrap().unwrap();
            }
            let length = to.capacity().min(left.len());
            to.send_data(left.split_to(length), false).unwrap();
        }
        to
    });
    assert_eq!(read(&mut from, 300_000).await, vec![7; 300_000]);
    let mut to = soon(sending).await.unwrap();
    // The client's end ends the server's connection, and that the stream.
    to.send_data(Bytes::new(), true).unwrap();
    while let Some(data) = soon(from.data()).await {
        assert!(data.unwrap().is_empty());
    }
    until(|| l7switch::admin::status(&switch).services["web"].bytes_in >= 300_005).await;
}

#[tokio::test]
async fn what_opens_no_websocket_is_no_success() {
    let server = server().await;
    let rules = simple(&[server.address], "", "")
        + "\n[[service.web.route]]\npath = { exact = \"/own\" }\nrespond = { status = 200 }\n";
    let switch = start(&rules);
    let mut sender = connect(address(&switch, "web")).await;
    for (uri, protocol, expected) in [
        ("http://a/wrong", "websocket", 502),
        ("http://a/unnamed", "websocket", 502),
        ("http://a/other-name", "websocket", 502),
        ("http://a/plain", "websocket", 502),
        ("http://a/other", "websocket", 403),
        ("http://a/own", "websocket", 501),
        ("http://a/chat?room=1", "connect-udp", 501),
    ] {
        let (response, _) = open(&mut sender, opening(uri, protocol)).await;
        assert_eq!(response.status(), expected, "{uri} {protocol}");
    }
    // A CONNECT without a protocol is what it was.
    let plain = Request::builder().method(Method::CONNECT).uri("a:443");
    let (response, _) = sender.send_request(plain.body(()).unwrap(), true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 501);
    let bad = refused(&switch);
    assert!(bad.contains(&("bad_response".to_owned(), 4)), "{bad:?}");
}

/// Who breaks off ends the other side, and no other stream.
#[tokio::test]
async fn a_reset_ends_the_tunnel() {
    let server = server().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let uri = "http://a/chat?room=1";
    let (first, mut to) = open(&mut sender, opening(uri, "websocket")).await;
    let (second, mut kept) = open(&mut sender, opening(uri, "websocket")).await;
    let mut second = second.into_body();
    assert_eq!(read(&mut second, 6).await, b"first;");
    let active = || {
        let servers = l7switch::admin::servers(&switch);
        servers.iter().map(|server| server.active).sum::<u64>()
    };
    until(|| active() == 2).await;
    to.send_reset(h2::Reason::CANCEL);
    drop(first);
    until(|| active() == 1).await;
    kept.send_data(Bytes::from_static(b"still"), false).unwrap();
    assert_eq!(read(&mut second, 5).await, b"still");
}

#[tokio::test]
async fn a_silent_tunnel_ends_where_the_rules_say_so() {
    let server = server().await;
    let limits = "limits = { tunnel_timeout = \"200ms\" }";
    let switch = start(&simple(&[server.address], limits, ""));
    let mut sender = connect(address(&switch, "web")).await;
    let (response, _to) = open(&mut sender, opening("http://a/chat?room=1", "websocket")).await;
    let mut from = response.into_body();
    assert_eq!(read(&mut from, 6).await, b"first;");
    let end = soon(from.data()).await;
    assert!(end.unwrap().is_err(), "not an end in order");
    until(|| refused(&switch).contains(&("idle_timeout".to_owned(), 1))).await;
}
