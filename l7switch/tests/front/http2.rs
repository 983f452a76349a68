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
    assert_eq!(field(&head, "via"), None);
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
        .send_request(request("http://a.example/%2F..", ""))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(server.heads().is_empty());
}

/// RFC 9113, 8.3.1: they have to identify the same entity. Names have no case, and a scheme has its port.
#[tokio::test]
async fn authority_and_host_may_be_written_in_two_ways() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    for (uri, host, status) in [
        ("http://a.example/", "A.Example", 200),
        ("http://a.example:80/", "a.example", 200),
        ("http://a.example/", "a.example.:80", 200),
        ("http://[::1]/", "[::1]:80", 200),
        ("http://a.example:81/", "a.example", 400),
        ("http://a.example/", "a.example:443", 400),
        ("http://a.example/", "a.example:", 200),
        ("http://a.example/", "a.example:x", 400),
        ("http://a.example/", "", 400),
    ] {
        let mut request = request(uri, "");
        request.headers_mut().insert("host", host.parse().unwrap());
        let response = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), status, "{uri} {host}");
    }
}

/// RFC 9110, 15.2 and 10.1.1.
#[tokio::test]
async fn interim_responses_are_passed_on() {
    let server = Server::start(|mut conn, _, _| async move {
        let head = conn.head().await.unwrap();
        assert_eq!(field(&head, "expect").unwrap(), "100-continue");
        conn.send("HTTP/1.1 103 Early\r\nLink: a\r\nKeep-Alive: 5\r\n\r\nHTTP/1.1 100 Go\r\n\r\n")
            .await;
        let body = conn.body(&head).await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            .await;
        conn.send(body).await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let stream = TcpStream::connect(address(&switch, "web")).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/")
        .header("expect", "100-continue")
        .header("content-length", "4")
        .body(())
        .unwrap();
    let (mut response, mut content) = client.send_request(request, false).unwrap();
    let mut interim = async || {
        soon(std::future::poll_fn(|cx| response.poll_informational(cx)))
            .await
            .unwrap()
            .unwrap()
    };
    let hints = interim().await;
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.headers()["link"], "a");
    assert_eq!(hints.headers().len(), 1);
    assert_eq!(interim().await.status(), 100);
    content
        .send_data(Bytes::from_static(b"body"), true)
        .unwrap();
    let mut response = soon(response).await.unwrap();
    assert_eq!(response.status(), 200);
    let data = soon(response.body_mut().data()).await.unwrap().unwrap();
    assert_eq!(data, "body");
}

/// What HTTP/2 cannot say, and the library would refuse.
#[tokio::test]
async fn control_characters_of_servers_become_spaces() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send(
            "HTTP/1.1 200 OK\r\nX-A: b\x01\x7fc\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let response = soon(sender.send_request(request("http://a/", "")))
        .await
        .unwrap();
    assert_eq!(response.headers()["x-a"], "b  c");
    assert!(!response.headers().contains_key("connection"));
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

/// Content without an end, as fast as it is taken.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let data = Bytes::from_static(&[b'x'; 16 * 1024]);
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data))))
    }
}

#[tokio::test]
async fn uploads_that_are_not_taken_stop_no_others_and_end_with_their_streams() {
    let stuck = Server::start(|conn, _, _| async move {
        let _ = conn.stream.ready(tokio::io::Interest::ERROR).await;
    })
    .await;
    let fine = Server::echo().await;
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npath = {{ prefix = \"/stuck\" }}\npool = \"stuck\"\n\
         [[service.web.route]]\npool = \"fine\"\n\
         [pool.stuck]\nservers = [\"{}\"]\n[pool.fine]\nservers = [\"{}\"]\n",
        stuck.address, fine.address
    ));
    let web = address(&switch, "web");
    let stream = TcpStream::connect(web).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let post = |path: &str| Request::post(format!("http://two.example{path}"));
    let mut uploads = Vec::new();
    for _ in 0..30 {
        let mut sender = sender.clone();
        let request = post("/stuck").body(Either::Endless(Endless)).unwrap();
        uploads.push(tokio::spawn(
            async move { sender.send_request(request).await },
        ));
    }
    let active = |pool: &str| {
        let servers = l7switch::admin::servers(&switch);
        servers.iter().find(|s| s.pool == pool).unwrap().active
    };
    crate::support::until(|| active("stuck") == 30).await;
    // Long enough for the windows of all thirty to be used up.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..3 {
        let content = Bytes::from(vec![b'y'; 300_000]);
        let mut sender = sender.clone();
        let request = post("/fine").body(Either::Full(Full::new(content.clone())));
        let response = soon(sender.send_request(request.unwrap())).await.unwrap();
        let body = soon(response.into_body().collect()).await.unwrap();
        assert!(body.to_bytes() == content);
    }
    for upload in &uploads {
        upload.abort();
    }
    crate::support::until(|| active("stuck") == 0).await;
}

/// One type for requests of one connection.
enum Either {
    Endless(Endless),
    Full(Full<Bytes>),
}

impl http_body::Body for Either {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Endless(body) => std::pin::Pin::new(body).poll_frame(cx),
            Self::Full(body) => std::pin::Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Endless(_) => false,
            Self::Full(body) => body.is_end_stream(),
        }
    }
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn connections_that_end_for_abuse_are_counted() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // GET http / by the static table, and :authority a (RFC 7541, A).
    const BLOCK: &[u8] = b"\x82\x86\x84\x41\x01a";
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let resets: Vec<u8> = (0..400)
        .flat_map(|number| {
            let stream = 1 + 2 * number;
            [
                frame(1, 5, stream, BLOCK),
                frame(3, 0, stream, &[0, 0, 0, 8]),
            ]
            .concat()
        })
        .collect();
    let endless: Vec<u8> = std::iter::once(frame(1, 1, 1, BLOCK))
        .chain((0..200).map(|_| {
            frame(
                9,
                0,
                1,
                &[b"\0\x01a\x7f\x81\x0f".as_slice(), &[b'b'; 2048]].concat(),
            )
        }))
        .flatten()
        .collect();
    for (what, bytes, reason) in [
        ("resets", resets, "h2_flood"),
        ("CONTINUATION without end", endless, "h2_flood"),
        ("HEADERS on stream 0", frame(1, 5, 0, BLOCK), "h2_protocol"),
        (
            "SETTINGS of odd length",
            frame(4, 0, 0, &[0; 5]),
            "h2_protocol",
        ),
        ("window of 0", frame(8, 0, 0, &[0; 4]), "h2_protocol"),
    ] {
        let count = || {
            let refused = &l7switch::admin::status(&switch).services["web"].refused;
            refused.get(reason).copied().unwrap_or_default()
        };
        let before = count();
        let mut client = Raw::connect(address(&switch, "web")).await;
        let _ = client.stream.write_all(&[PREFACE, &bytes].concat()).await;
        let _ = soon(client.rest()).await;
        soon(async {
            while count() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(count(), before + 1, "{what}");
    }
}

#[tokio::test]
async fn pieces_of_a_cookie_are_one_field() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "limits = { fields = 5 }", ""));
    let mut sender = connect(address(&switch, "web")).await;
    let mut crumbs = request("http://two.example/", "");
    for number in 0..20 {
        let value = http::HeaderValue::try_from(format!("c{number}=1")).unwrap();
        crumbs.headers_mut().append("cookie", value);
    }
    assert_eq!(sender.send_request(crumbs).await.unwrap().status(), 200);
    let head = server.heads().pop().unwrap();
    assert!(
        field(&head, "cookie").unwrap().starts_with("c0=1; c1=1; "),
        "{head}"
    );
}
