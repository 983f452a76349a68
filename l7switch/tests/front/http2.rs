// SPDX-License-Identifier: MIT
//! HTTP/2 with prior knowledge.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(uri: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(uri)
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

#[tokio::test]
async fn many_requests_on_one_connection() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let sender = connect(address(&switch, "web")).await;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let mut sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            let response = sender
                .send_request(request("http://two.example/path?q", "hello"))
                .await
                .unwrap();
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key("connection"));
            response.into_body().collect().await.unwrap().to_bytes()
        }));
    }
    for task in tasks {
        assert_eq!(soon(task).await.unwrap(), "hello");
    }
    let head = server.heads().pop().unwrap();
    assert!(head.starts_with("POST /path?q HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host").unwrap(), "two.example");
    assert_eq!(field(&head, "via").unwrap(), "2 l7switch");
    assert_eq!(
        l7switch::admin::status(&switch).services["web"].connections,
        1
    );
}

#[tokio::test]
async fn authority_and_host_must_agree() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let mut differing = request("http://a.example/", "");
    differing
        .headers_mut()
        .insert("host", "b.example".parse().unwrap());
    let response = sender.send_request(differing).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let response = sender
        .send_request(request("http://a.example/%2F", ""))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_its_stream_only() {
    let server = Server::start(|mut conn, _, _| async move {
        let head = conn.head().await.unwrap();
        conn.body(&head).await;
        if head.contains("/broken") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let broken = sender
        .send_request(request("http://a/broken", ""))
        .await
        .unwrap();
    assert!(soon(broken.into_body().collect()).await.is_err());
    let whole = sender
        .send_request(request("http://a/whole", ""))
        .await
        .unwrap();
    assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn trailers_come_through() {
    let server = Server::start(|mut conn, _, _| async move {
        let head = conn.head().await.unwrap();
        conn.body(&head).await;
        conn.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 9\r\n\r\n",
        )
        .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let response = sender.send_request(request("http://a/", "")).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "9");
    assert_eq!(collected.to_bytes(), "ok");
}

#[tokio::test]
async fn content_that_stops_is_answered() {
    let server = Server::echo().await;
    let limits = "limits = { idle_timeout = \"200ms\" }";
    let switch = start(&simple(&[server.address], limits, ""));
    let stream = TcpStream::connect(address(&switch, "web")).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    // A body that never comes.
    let response = soon(sender.send_request(Request::post("http://a/").body(Never).unwrap()));
    assert_eq!(
        response.await.unwrap().status(),
        StatusCode::REQUEST_TIMEOUT
    );
}

/// Content that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let server = Server::echo().await;
    let limits = "limits = { idle_timeout = \"200ms\" }";
    let switch = start(&simple(&[server.address], limits, ""));
    let mut sender = connect(address(&switch, "web")).await;
    assert_eq!(
        sender
            .send_request(request("http://a/", ""))
            .await
            .unwrap()
            .status(),
        200
    );
    soon(async {
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_preface_in_pieces_and_a_method_that_starts_alike() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send([*byte]).await;
        client.stream.flush().await.unwrap();
    }
    // An empty SETTINGS frame; the switch's own comes back.
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    assert_eq!(client.exactly(9).await[3], 4);
    let mut client = Raw::connect(web).await;
    client.send("PRINT / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.0, 200);
    assert!(server.heads()[0].starts_with("PRINT / "));
}

#[tokio::test]
async fn the_limit_on_fields_holds() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "limits = { fields = 5 }", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let mut large = request("http://two.example/", "");
    for number in 0..6 {
        large.headers_mut().insert(
            http::HeaderName::try_from(format!("x-{number}")).unwrap(),
            http::HeaderValue::from_static("1"),
        );
    }
    let response = sender.send_request(large).await.unwrap();
    assert_eq!(response.status(), 431);
    let small = sender
        .send_request(request("http://two.example/", ""))
        .await
        .unwrap();
    assert_eq!(small.status(), 200);
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_length_of_zero_that_is_true_is_no_hindrance() {
    // The end comes after the head, as a frame of its own.
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let stream = TcpStream::connect(address(&switch, "web")).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (end, late) = tokio::sync::oneshot::channel::<()>();
    let request = Request::post("http://two.example/")
        .header("content-length", "0")
        .body(Late(late))
        .unwrap();
    let answer = tokio::spawn(async move { sender.send_request(request).await });
    end.send(()).unwrap();
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    assert_eq!(server.heads().len(), 1);
}

/// No content, which is known only when the other end says so.
struct Late(tokio::sync::oneshot::Receiver<()>);

impl http_body::Body for Late {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|_| None)
    }
}
