// SPDX-License-Identifier: MIT
//! Whose connection it is: PROXY headers in both directions, and fields of trusted proxies.

use std::time::Duration;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// Routes that tell by the client's address; the server answers with the route's pool.
fn by_source(inner: &Server, outer: &Server, service: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n{service}\n\
         [[service.web.route]]\nsource = \"192.0.2.0/24\"\npool = \"inner\"\n\
         [[service.web.route]]\npool = \"outer\"\n\
         [pool.inner]\nservers = \"{}\"\n[pool.outer]\nservers = \"{}\"\n",
        inner.address, outer.address
    )
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x00\x50";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn the_client_is_who_the_header_names() {
    let (inner, outer) = (Server::saying("inner").await, Server::saying("outer").await);
    let switch = start(&by_source(&inner, &outer, "accept_proxy = true"));
    for (header, expected, client) in [
        (V1, "inner", "192.0.2.7"),
        (V2, "inner", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "outer", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "outer", "127.0.0.1"),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n",
            "outer",
            "2001:db8::7",
        ),
    ] {
        for piece in [1, 7, 1000] {
            let mut conn = Raw::connect(address(&switch, "web")).await;
            for part in [header, GET].concat().chunks(piece) {
                conn.send(part).await;
            }
            let (status, _, body) = conn.response().await;
            assert_eq!((status, body), (200, expected.as_bytes().to_vec()));
            conn.send(GET).await;
            assert_eq!(conn.response().await.2, expected.as_bytes());
            let server = if expected == "inner" { &inner } else { &outer };
            let head = server.heads().pop().unwrap();
            assert_eq!(field(&head, "x-forwarded-for").unwrap(), client);
        }
    }
}

#[tokio::test]
async fn without_a_header_the_connection_is_closed_and_counted() {
    let server = Server::saying("fine").await;
    let service = "accept_proxy = true\nlimits.head_timeout = \"200ms\"";
    let switch = start(&simple(&[server.address], service, ""));
    for bytes in [
        GET,
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\nGET",
        b"\r\n\r\n\0\r\nQUIT\n\x33",
    ] {
        let mut conn = Raw::connect(address(&switch, "web")).await;
        conn.send(bytes).await;
        // Bytes that nobody has read make the end a reset.
        let rest = conn.rest().await.unwrap_or_default();
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }
    // One that only looks whether somebody listens is none of these.
    drop(Raw::connect(address(&switch, "web")).await);
    until(|| {
        let status = l7switch::admin::status(&switch);
        status.services["web"].refused.get("bad_proxy_header") == Some(&3)
    })
    .await;
    assert_eq!(server.connection_count(), 0);
}

/// Others may not say who they are: their header is a bad request.
#[tokio::test]
async fn headers_are_read_from_those_who_send_them() {
    let (inner, outer) = (Server::saying("inner").await, Server::saying("outer").await);
    let elsewhere = "accept_proxy = [\"192.0.2.1\", \"2001:db8::/32\"]";
    let switch = start(&by_source(&inner, &outer, elsewhere));
    let mut conn = Raw::connect(address(&switch, "web")).await;
    conn.send(GET).await;
    assert_eq!(conn.response().await.2, b"outer");
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x51";
    for header in [V1, binary.as_slice()] {
        let mut conn = Raw::connect(address(&switch, "web")).await;
        conn.send([header, GET].concat()).await;
        let (status, _, body) = conn.response().await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 400);
        assert!(body.contains("a PROXY header, which"), "{body}");
    }
}

#[tokio::test]
async fn the_client_is_who_a_trusted_proxy_names() {
    let (inner, outer) = (Server::saying("inner").await, Server::saying("outer").await);
    for (trusted, fields, expected) in [
        ("127.0.0.0/8", "X-Forwarded-For: 192.0.2.7", "inner"),
        (
            "127.0.0.0/8",
            "X-Forwarded-For: 192.0.2.7, 198.51.100.1",
            "outer",
        ),
        ("127.0.0.0/8", "Forwarded: for=\"192.0.2.7:80\"", "inner"),
        ("127.0.0.0/8", "X-Real-IP: 192.0.2.7", "outer"),
        ("10.0.0.0/8", "X-Forwarded-For: 192.0.2.7", "outer"),
    ] {
        let service = format!("trusted = \"{trusted}\"");
        let switch = start(&by_source(&inner, &outer, &service));
        let mut conn = Raw::connect(address(&switch, "web")).await;
        conn.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"))
            .await;
        let (_, _, body) = conn.response().await;
        assert_eq!(body, expected.as_bytes(), "{trusted} {fields}");
    }
}

/// A server that expects a PROXY header, and answers with what it says.
async fn told() -> Server {
    Server::start(|mut conn, _, seen| async move {
        let line = conn.line().await;
        seen.lock().unwrap().push(line.clone());
        while conn.head().await.is_some() {
            let length = line.len();
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{line}"
            ))
            .await;
        }
    })
    .await
}

#[tokio::test]
async fn a_server_is_told_of_each_client_by_its_own_connection() {
    let server = told().await;
    let switch = start(&simple(&[server.address], "", "send_proxy = \"v1\""));
    let web = address(&switch, "web");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut conn = Raw::connect(web).await;
        let own = conn.stream.local_addr().unwrap();
        let expected = format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
            own.port(),
            web.port()
        );
        for _ in 0..10 {
            conn.send(GET).await;
            let (_, _, body) = conn.response().await;
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        }
        // Silent for so long, others could have it, if it were not another client's.
        tokio::time::sleep(Duration::from_millis(300)).await;
        clients.push(conn);
    }
    assert_eq!(server.connection_count(), 3, "each has one, and keeps it");
}

#[tokio::test]
async fn clients_behind_a_proxy_are_told_apart_on_one_connection() {
    let server = told().await;
    let service = "trusted = \"127.0.0.1\"";
    let switch = start(&simple(&[server.address], service, "send_proxy = \"v1\""));
    let web = address(&switch, "web");
    let mut conn = Raw::connect(web).await;
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        conn.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"
        ))
        .await;
        let (_, _, body) = conn.response().await;
        let expected = format!("PROXY TCP4 {client} 127.0.0.1 0 {}\r\n", web.port());
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
    assert_eq!(server.connection_count(), 2);
}

#[tokio::test]
async fn checks_say_that_they_are_the_switchs_own() {
    let server = told().await;
    let pool = "send_proxy = \"v1\"\nhealth = { http = \"/\", interval = \"50ms\" }";
    let _switch = start(&simple(&[server.address], "", pool));
    until(|| server.heads().len() > 2).await;
    assert!(
        server
            .heads()
            .iter()
            .all(|line| line == "PROXY UNKNOWN\r\n")
    );
}
