// SPDX-License-Identifier: MIT
//! Limits: rates of requests, connections of a client, length of content.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use l7switch::Switch;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::load;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// How often something was refused for this reason.
fn refused(switch: &Switch, reason: &str) -> u64 {
    let status = l7switch::admin::status(switch);
    let service = status.services.values().next().unwrap();
    service.refused.get(reason).copied().unwrap_or_default()
}

/// Two routes to one server: /limited with these lines, and all others.
fn limited(server: &Server, service: &str, route: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n{service}\n\
         [[service.web.route]]\nname = \"limited\"\npath = {{ prefix = \"/limited\" }}\npool = \"p\"\n{route}\n\
         [[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = \"{}\"\n",
        server.address
    )
}

/// The status of a request with these fields.
async fn ask(conn: &mut Raw, fields: &str) -> u16 {
    conn.send(format!("GET /limited HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
        .await;
    conn.response().await.0
}

#[tokio::test]
async fn more_requests_than_the_rate_are_refused() {
    let server = Server::saying("fine").await;
    let route = "rate_limit = { requests = 2, per = \"1h\" }\n\
                 response_headers = { set = { X-Edited = \"yes\" } }";
    let switch = start(&limited(&server, "", route));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    assert_eq!(ask(&mut conn, "").await, 200);
    assert_eq!(ask(&mut conn, "").await, 200);
    // On another connection it is the same client.
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    let (status, head, body) = conn.response().await;
    assert_eq!(status, 429);
    let seconds: u32 = field(&head, "retry-after").unwrap().parse().unwrap();
    assert!((1780..=1800).contains(&seconds), "{seconds}");
    assert_eq!(field(&head, "x-edited").unwrap(), "yes");
    assert_eq!(field(&head, "connection"), None);
    assert_eq!(
        body,
        b"429 Too Many Requests: more requests than the rate limit allows\n"
    );
    // Other routes are not limited, and the connection goes on.
    conn.send(GET).await;
    assert_eq!(conn.response().await.0, 200);
    assert_eq!(server.heads().len(), 3);
    assert_eq!(refused(&switch, "rate_limited"), 1);
}

#[tokio::test]
async fn tokens_come_back() {
    let server = Server::saying("fine").await;
    let route = "rate_limit = { requests = 10, per = \"1s\", burst = 1 }";
    let switch = start(&limited(&server, "", route));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    assert_eq!(ask(&mut conn, "").await, 200);
    soon(async {
        while ask(&mut conn, "").await == 429 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Whoever a trusted proxy names is the client.
#[tokio::test]
async fn clients_behind_a_proxy_have_their_own_rates() {
    let server = Server::saying("fine").await;
    let route = "rate_limit = { requests = 1, per = \"1h\", prefix_v4 = 24 }";
    let switch = start(&limited(&server, "trusted = \"127.0.0.1\"", route));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    for (client, expected) in [
        ("192.0.2.1", 200),
        ("192.0.3.1", 200),
        ("192.0.2.9", 429),
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::2", 200),
    ] {
        let status = ask(&mut conn, &format!("X-Forwarded-For: {client}\r\n")).await;
        assert_eq!(status, expected, "{client}");
    }
    // By many addresses nobody gets around the limit of one.
    for number in 0..1000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let fields = format!("X-Forwarded-For: 10.{high}.{low}.1\r\n");
        assert_eq!(ask(&mut conn, &fields).await, 200);
        let fields = format!("X-Forwarded-For: 10.{high}.{low}.2\r\n");
        assert_eq!(ask(&mut conn, &fields).await, 429);
    }
    assert_eq!(refused(&switch, "rate_limited"), 1002);
}

#[tokio::test]
async fn keys_are_fields_cookies_or_nothing() {
    let server = Server::saying("fine").await;
    for (key, steps) in [
        (
            "{ header = \"X-Key\" }",
            [
                ("X-Key: a\r\n", 200),
                ("x-key: a\r\n", 429),
                ("X-Key: b\r\n", 200),
                ("", 200),
                ("X-Other: c\r\n", 429),
            ],
        ),
        (
            "{ cookie = \"sid\" }",
            [
                ("Cookie: sid=a\r\n", 200),
                ("Cookie: b=1; sid=a\r\n", 429),
                ("Cookie: sid=b\r\n", 200),
                ("Cookie: b=1\r\n", 200),
                ("", 429),
            ],
        ),
        (
            "\"route\"",
            [
                ("X-Key: a\r\n", 200),
                ("X-Key: b\r\n", 429),
                ("", 429),
                ("", 429),
                ("", 429),
            ],
        ),
    ] {
        let route = format!("rate_limit = {{ requests = 1, per = \"1h\", key = {key} }}");
        let switch = start(&limited(&server, "", &route));
        let mut conn = Raw::connect(address(&switch, "web")).await;
        for (fields, expected) in steps {
            assert_eq!(ask(&mut conn, fields).await, expected, "{key}: {fields}");
        }
    }
}

#[tokio::test]
async fn a_reload_keeps_what_has_come() {
    let server = Server::saying("fine").await;
    let rules = |service, requests| {
        let route = format!("rate_limit = {{ requests = {requests}, per = \"1h\" }}");
        limited(&server, service, &route)
    };
    let switch = start(&rules("", 1));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    assert_eq!(ask(&mut conn, "").await, 200);
    assert_eq!(ask(&mut conn, "").await, 429);
    switch.set(load(&rules("via = true", 1))).unwrap();
    assert_eq!(ask(&mut conn, "").await, 429, "the limit is the same");
    switch.set(load(&rules("", 2))).unwrap();
    assert_eq!(ask(&mut conn, "").await, 200, "the limit is another");
}

/// Answers are limited as what is forwarded is.
#[tokio::test]
async fn answers_of_the_switch_are_limited() {
    let switch = start(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\n\
         respond = { status = 200 }\nrate_limit = { requests = 1, per = \"1h\" }\n",
    );
    let mut conn = Raw::connect(address(&switch, "web")).await;
    assert_eq!(ask(&mut conn, "").await, 200);
    assert_eq!(ask(&mut conn, "").await, 429);
}

/// The client is disconnected, and gets nothing.
async fn is_closed(conn: &mut Raw) {
    assert_eq!(conn.rest().await.unwrap_or_default(), b"");
}

#[tokio::test]
async fn a_client_has_so_many_connections() {
    let server = Server::saying("fine").await;
    let service = "limits.connections_per_source = 2";
    let switch = start(&simple(&[server.address], service, ""));
    let web = address(&switch, "web");
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut conn = Raw::connect(web).await;
        conn.send(GET).await;
        assert_eq!(conn.response().await.0, 200);
        kept.push(conn);
    }
    for count in 1..=3 {
        is_closed(&mut Raw::connect(web).await).await;
        until(|| refused(&switch, "too_many_connections") == count).await;
    }
    // Those that there are go on; the end of one makes room for another.
    kept[0].send(GET).await;
    assert_eq!(kept[0].response().await.0, 200);
    kept.pop();
    until(|| l7switch::admin::status(&switch).services["web"].active == 1).await;
    let mut conn = Raw::connect(web).await;
    conn.send(GET).await;
    assert_eq!(conn.response().await.0, 200);
    // A reload changes the limit of those that come.
    let service = "limits.connections_per_source = 3";
    let more = simple(&[server.address], service, "");
    switch.set(load(&more)).unwrap();
    let mut third = Raw::connect(web).await;
    third.send(GET).await;
    assert_eq!(third.response().await.0, 200);
    is_closed(&mut Raw::connect(web).await).await;
}

#[tokio::test]
async fn connections_count_whatever_is_spoken() {
    let server = Server::saying("fine").await;
    for protocol in ["tcp", "tls"] {
        let switch = start(&format!(
            "[service.web]\nlisten = \"127.0.0.1:1\"\nprotocol = \"{protocol}\"\n\
             limits.connections_per_source = 1\n[[service.web.route]]\npool = \"p\"\n\
             [pool.p]\nservers = \"{}\"\n",
            server.address
        ));
        let mut first = Raw::connect(address(&switch, "web")).await;
        if protocol == "tcp" {
            first.send(GET).await;
            assert_eq!(first.response().await.0, 200);
        }
        until(|| l7switch::admin::status(&switch).services["web"].requests == 1).await;
        is_closed(&mut Raw::connect(address(&switch, "web")).await).await;
        until(|| refused(&switch, "too_many_connections") == 1).await;
    }
}

#[tokio::test]
async fn connections_of_proxies_are_those_of_their_clients() {
    let server = Server::saying("fine").await;
    let service = "limits = { connections_per_source = 1, prefix_v4 = 24 }\n\
                   accept_proxy = true\ntrusted = \"198.51.100.0/24\"";
    let switch = start(&simple(&[server.address], service, ""));
    let mut kept = Vec::new();
    for (client, is_served) in [
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("192.0.3.1", true),
        // A proxy that is trusted has many clients.
        ("198.51.100.1", true),
        ("198.51.100.1", true),
    ] {
        let mut conn = Raw::connect(address(&switch, "web")).await;
        conn.send(format!("PROXY TCP4 {client} 10.0.0.1 4711 80\r\n{GET}"))
            .await;
        if is_served {
            assert_eq!(conn.response().await.0, 200, "{client}");
            kept.push(conn);
        } else {
            is_closed(&mut conn).await;
        }
    }
    assert_eq!(refused(&switch, "too_many_connections"), 1);
}

#[tokio::test]
async fn announced_content_that_is_too_long_reaches_no_server() {
    let server = Server::echo().await;
    let route = "body_limit = \"100KiB\"\nresponse_headers = { set = { X-Edited = \"yes\" } }";
    let switch = start(&limited(&server, "limits.body = 10", route));
    let web = address(&switch, "web");
    let mut conn = Raw::connect(web).await;
    for body in ["12345678901", "123456789012345"] {
        let length = body.len();
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
        let (status, head, _) = conn.response().await;
        assert_eq!((status, field(&head, "connection")), (413, None));
    }
    // Who waits for 100 (Continue) is not told to go on.
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n")
        .await;
    assert_eq!(conn.response().await.0, 413);
    // A length that nobody sends ends the connection.
    let mut conn = Raw::connect(web).await;
    conn.send("POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 102401\r\n\r\n")
        .await;
    let (status, head, _) = conn.response().await;
    assert_eq!(
        (status, field(&head, "connection").unwrap()),
        (413, "close".to_owned())
    );
    assert_eq!(field(&head, "x-edited").unwrap(), "yes");
    assert!(conn.ended().await);
    assert_eq!(server.connection_count(), 0);
    assert_eq!(refused(&switch, "body_too_large"), 4);
    // What is not longer passes.
    for (path, length) in [("/", 10), ("/limited", 100 * 1024)] {
        let mut conn = Raw::connect(web).await;
        conn.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
        conn.send(vec![b'x'; length]).await;
        let (status, _, body) = conn.response().await;
        assert_eq!((status, body.len()), (200, length), "{path}");
    }
}

#[tokio::test]
async fn chunks_are_cut_off_where_they_pass_the_limit() {
    let server = Server::start(|mut conn, _, seen| async move {
        while conn.head().await.is_some() {
            let rest = conn.rest().await;
            let what = rest.map_or("reset".into(), |rest| String::from_utf8(rest).unwrap());
            seen.lock().unwrap().push(what);
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "limits.body = 10", ""));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    conn.send("8\r\n12345678\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.heads().is_empty());
    conn.send("3\r\n123\r\n").await;
    let (status, head, _) = conn.response().await;
    assert_eq!((status, field(&head, "connection")), (413, None));
    until(|| server.heads() == ["reset"]).await;
    // What is left is passed over, if it is not much.
    conn.send("1\r\n4\r\n0\r\n\r\n").await;
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n12345678901")
        .await;
    assert_eq!(conn.response().await.0, 413);
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    conn.send([&b"400000\r\n"[..], &[b'x'; 400_000]].concat())
        .await;
    assert_eq!(conn.response().await.0, 413);
    assert!(conn.ended().await, "that was much");
    assert_eq!(refused(&switch, "body_too_large"), 3);
    // The server is not to blame.
    let servers = l7switch::admin::servers(&switch);
    assert!(servers.iter().all(|server| server.failures == 0));
}

#[tokio::test]
async fn chunks_up_to_the_limit_pass() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "limits.body = 10", ""));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    for _ in 0..3 {
        conn.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        conn.send("6\r\n123456\r\n4\r\n7890\r\n0\r\n\r\n").await;
        let (status, _, body) = conn.response().await;
        assert_eq!((status, body), (200, b"1234567890".to_vec()));
    }
}

/// A response that has begun is cut short.
#[tokio::test]
async fn a_response_that_has_begun_breaks_off() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            .await;
        let _ = conn.rest().await;
    })
    .await;
    let switch = start(&simple(&[server.address], "limits.body = 10", ""));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert!(conn.head().await.unwrap().starts_with("HTTP/1.1 200"));
    conn.send("b\r\n12345678901\r\n").await;
    let rest = conn.rest().await.unwrap_or_default();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    until(|| refused(&switch, "body_too_large") == 1).await;
}

#[tokio::test]
async fn http2_has_the_same_limit() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "limits.body = 10", ""));
    let stream = TcpStream::connect(address(&switch, "web")).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (announced, pieces, expected) in [
        (None, ["12345", "67890"], 200),
        (None, ["123456", "78901"], 413),
        (Some("10"), ["12345", "67890"], 200),
        (Some("11"), ["12345", "678901"], 413),
    ] {
        let mut request = Request::post("http://a/");
        if let Some(length) = announced {
            request = request.header("content-length", length);
        }
        let request = request.body(()).unwrap();
        let (response, mut content) = client.send_request(request, false).unwrap();
        for (number, piece) in pieces.into_iter().enumerate() {
            // The switch may have answered and ended the stream.
            let _ = content.send_data(Bytes::from_static(piece.as_bytes()), number == 1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let response = soon(response).await.unwrap();
        assert_eq!(response.status(), expected, "{announced:?} {pieces:?}");
    }
    assert_eq!(refused(&switch, "body_too_large"), 2);
}

/// A server that speaks HTTP/2 cannot take what it has for the whole either.
#[tokio::test]
async fn the_stream_to_a_server_is_reset() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let got = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, _respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let mut content = request.into_body();
        let mut length = 0;
        loop {
            match content.data().await {
                Some(Ok(data)) => length += data.len(),
                Some(Err(_)) => return (length, "reset"),
                None => return (length, "ended"),
            }
        }
    });
    let pool = "protocol = \"http2\"";
    let switch = start(&simple(&[server], "limits.body = 10", pool));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    conn.send("8\r\n12345678\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    conn.send("3\r\n123\r\n").await;
    assert_eq!(conn.response().await.0, 413);
    assert_eq!(soon(got).await.unwrap(), (8, "reset"));
}
