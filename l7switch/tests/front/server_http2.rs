// SPDX-License-Identifier: MIT
//! HTTP/2 towards a server that is a script: what it refuses, ends and breaks off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use h2::server::SendResponse;
use http::HeaderMap;
use http::Request;
use http::Response;
use tokio::net::TcpListener;

use crate::support::Raw;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// A server that gives each request, with its content, to a script; the number counts requests from 0.
struct Http2Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Http2Server {
    async fn start(
        script: impl Fn(usize, Request<Bytes>, SendResponse<Bytes>) + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            connections: Arc::default(),
            seen: Arc::default(),
        };
        let (connections, seen) = (Arc::clone(&server.connections), Arc::clone(&server.seen));
        let (script, number) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                connections.fetch_add(1, SeqCst);
                let (script, number, seen) =
                    (Arc::clone(&script), Arc::clone(&number), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (script, number, seen) =
                            (Arc::clone(&script), Arc::clone(&number), Arc::clone(&seen));
                        tokio::spawn(async move {
                            let (parts, mut content) = request.into_parts();
                            let mut bytes = Vec::new();
                            while let Some(Ok(data)) = content.data().await {
                                let _ = content.flow_control().release_capacity(data.len());
                                bytes.extend_from_slice(&data);
                            }
                            seen.lock()
                                .unwrap()
                                .push(format!("{} {}", parts.method, parts.uri));
                            let request = Request::from_parts(parts, bytes.into());
                            script(number.fetch_add(1, SeqCst), request, respond);
                        });
                    }
                });
            }
        });
        server
    }
}

fn answer(mut respond: SendResponse<Bytes>, content: Bytes) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(content, true).unwrap();
}

const HTTP2: &str = "protocol = \"http2\"";
const POST: &str = "POST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn requests_share_a_connection() {
    let server =
        Http2Server::start(|_, request, respond| answer(respond, request.into_body())).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    for _ in 0..3 {
        let mut conn = Raw::connect(address(&switch, "web")).await;
        for _ in 0..3 {
            conn.send(POST).await;
            let (status, head, body) = conn.response().await;
            assert_eq!((status, &body[..]), (200, &b"hello"[..]), "{head}");
            assert_eq!(
                field(&head, "connection"),
                None,
                "the client's connection stays"
            );
        }
    }
    assert_eq!(server.connections.load(SeqCst), 1);
    let seen = server.seen.lock().unwrap();
    assert!(
        seen.iter().all(|line| line == "POST http://a.example/a?b"),
        "{seen:?}"
    );
}

/// RFC 9113, 8.7: the server has not acted on it.
#[tokio::test]
async fn what_the_server_has_not_seen_is_sent_again() {
    let server = Http2Server::start(|number, request, mut respond| {
        if number < 2 {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            answer(respond, request.into_body());
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send(POST).await;
    let (status, _, body) = conn.response().await;
    assert_eq!((status, &body[..]), (200, &b"hello"[..]));
    assert_eq!(server.seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn what_it_may_have_seen_is_not() {
    let server = Http2Server::start(|_, _, mut respond| {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send(POST).await;
    assert_eq!(conn.response().await.0, 502);
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_the_whole() {
    let server = Http2Server::start(|_, _, mut respond| {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data("some".into(), false).unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        });
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = conn.head().await.unwrap();
    assert_eq!(field(&head, "transfer-encoding").unwrap(), "chunked");
    // The end of a chunk goes with the next one.
    assert_eq!(conn.exactly(7).await, b"4\r\nsome");
    assert!(conn.rest().await.is_err(), "a reset");
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let server = Http2Server::start(|_, _, mut respond| {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data("body".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Own: 1\r\n\r\n",
    )
    .await;
    let head = conn.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (body, trailers) = conn.chunks().await;
    assert_eq!((&body[..], &trailers[..]), (&b"body"[..], "x-sum: 7\r\n"));
}

/// An answer of the switch to gRPC, by HTTP/2; to others it stays what it was, or is a page.
#[tokio::test]
async fn errors_are_told_as_each_client_reads_them() {
    let nobody = crate::support::closed_port().await;
    let service = "error_pages = { 400-599 = { body = \"page\" } }\n\
                   [[service.web.route]]\npath = { prefix = \"/closed\" }\n\
                   rate_limit = { requests = 1, per = \"1h\", burst = 1 }\npool = \"p\"\n";
    let switch = start(&simple(&[nobody], service, HTTP2));
    let stream = tokio::net::TcpStream::connect(address(&switch, "web"))
        .await
        .unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (kind, path, status, code) in [
        ("application/grpc", "/x.Y/Z", 200, Some("14")),
        ("application/grpc+proto", "/closed", 200, Some("14")),
        ("application/grpc+proto", "/closed", 200, Some("14")),
        ("application/grpc-web", "/x.Y/Z", 502, None),
        ("application/json", "/x.Y/Z", 502, None),
        ("application/json", "/closed", 429, None),
    ] {
        let request = Request::post(format!("http://a.example{path}")).header("content-type", kind);
        let request = request.body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), status, "{kind}");
        let headers = response.headers();
        let found = headers.get("grpc-status");
        assert_eq!(found.map(|code| code.to_str().unwrap()), code, "{kind}");
        let message = headers
            .get("grpc-message")
            .map(|message| message.to_str().unwrap());
        assert!(
            message.is_none_or(|message| message.contains(": ")),
            "{message:?}"
        );
        let content = response.body_mut().data().await.map(Result::unwrap);
        let expected = code.is_none().then_some(&b"page"[..]);
        assert_eq!(content.as_deref(), expected, "{kind}");
    }
}

/// A response that has begun is not followed by another one, whatever the server says.
#[tokio::test]
async fn what_is_being_answered_is_not_sent_again() {
    let server = Http2Server::start(|_, _, mut respond| {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data("some".into(), false).unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            stream.send_reset(h2::Reason::REFUSED_STREAM);
        });
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send(POST).await;
    conn.head().await.unwrap();
    assert!(conn.rest().await.is_err(), "a reset");
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

/// What HTTP/1 passes and URIs do not have (RFC 3986, 2) is encoded.
#[tokio::test]
async fn targets_that_are_no_uris_are_encoded() {
    let server =
        Http2Server::start(|_, request, respond| answer(respond, request.into_body())).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("GET /a<b>`{c}?d=\"e\"|f HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(conn.response().await.0, 200);
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen[0], "GET http://a/a%3Cb%3E%60%7Bc%7D?d=%22e%22%7Cf");
}

/// A client that gives up while the server takes none of its content: the stream is reset.
#[tokio::test]
async fn an_upload_that_is_given_up_is_reset() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rules = simple(&[socket.local_addr().unwrap()], "", HTTP2);
    let switch = start(&rules);
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        .await;
    let (stream, _) = socket.accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let (request, _respond) = connection.accept().await.unwrap().unwrap();
    let mut content = request.into_body();
    let reading = tokio::spawn(async move { while connection.accept().await.is_some() {} });
    // More than the windows hold: nobody gives any back.
    let _ = tokio::time::timeout(
        std::time::Duration::from_millis(500),
        tokio::io::AsyncWriteExt::write_all(&mut conn.stream, &vec![b'x'; 1_000_000]),
    )
    .await;
    let socket = socket2::SockRef::from(&conn.stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(conn);
    let end = crate::support::soon(async {
        loop {
            match content.data().await {
                Some(Ok(_)) => (),
                other => return other,
            }
        }
    })
    .await;
    let reason = end.unwrap().unwrap_err().reason();
    assert_eq!(reason, Some(h2::Reason::CANCEL));
    reading.abort();
}

/// Clients that take nothing of their responses stop nobody else's.
#[tokio::test]
async fn responses_that_are_not_taken_stop_no_others() {
    let server = Http2Server::start(|_, request, mut respond| {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let size = if request.uri().path() == "/big" {
            8_000_000
        } else {
            2
        };
        stream.send_data(vec![b'x'; size].into(), true).unwrap();
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut conn = Raw::connect(address(&switch, "web")).await;
        conn.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
        stalled.push(conn);
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (status, _, body) = conn.response().await;
    assert_eq!((status, &body[..]), (200, &b"xx"[..]));
}

/// Requests count, not connections: these two share one.
#[tokio::test]
async fn a_bound_is_of_requests() {
    let waiting = Arc::new(Mutex::new(Vec::new()));
    let server = Http2Server::start({
        let waiting = Arc::clone(&waiting);
        move |_, _, respond| waiting.lock().unwrap().push(respond)
    })
    .await;
    let pool = format!("{HTTP2}\nmax_connections = 2");
    let switch = start(&simple(&[server.address], "", &pool));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send(POST).await;
        clients.push(client);
    }
    let queued = || l7switch::admin::status(&switch).pools["p"].queued;
    until(|| queued() == 1 && waiting.lock().unwrap().len() == 2).await;
    assert_eq!(server.connections.load(SeqCst), 1);
    for _ in 0..3 {
        until(|| !waiting.lock().unwrap().is_empty()).await;
        let respond = waiting.lock().unwrap().pop().unwrap();
        answer(respond, Bytes::from_static(b"done"));
    }
    for client in &mut clients {
        assert_eq!(client.response().await.2, b"done");
    }
    assert_eq!(queued(), 0);
}

/// Clients that came at one moment leave no more connections behind than the rules keep.
#[tokio::test]
async fn idle_connections_are_bounded() {
    let waiting = Arc::new(Mutex::new(Vec::new()));
    let server = Http2Server::start({
        let waiting = Arc::clone(&waiting);
        move |_, _, respond| waiting.lock().unwrap().push(respond)
    })
    .await;
    let pool = format!("{HTTP2}\nkeepalive = 1");
    let switch = start(&simple(&[server.address], "", &pool));
    let mut clients = Vec::new();
    // More than there is room for on two connections, whose server allows many.
    for number in 1..=300 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send(POST).await;
        clients.push(client);
        until(|| waiting.lock().unwrap().len() == number).await;
    }
    assert_eq!(server.connections.load(SeqCst), 3);
    for respond in std::mem::take(&mut *waiting.lock().unwrap()) {
        answer(respond, Bytes::from_static(b"done"));
    }
    for client in &mut clients {
        assert_eq!(client.response().await.0, 200);
    }
    let idle = || l7switch::admin::servers(&switch)[0].idle;
    until(|| idle() == 1).await;
    // It is good for another request.
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send(POST).await;
    until(|| !waiting.lock().unwrap().is_empty()).await;
    answer(waiting.lock().unwrap().pop().unwrap(), Bytes::new());
    assert_eq!(client.response().await.0, 200);
    assert_eq!(server.connections.load(SeqCst), 3);
}
