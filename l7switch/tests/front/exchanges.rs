// SPDX-License-Identifier: MIT
//! Exchanges one after another on a connection, and their content.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::load;
use crate::support::simple;
use crate::support::start;
use crate::support::status;
use crate::support::until;

/// A request whose content comes in chunks.
const CHUNKED: &str =
    "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhm\r\n0\r\n\r\n";

#[tokio::test]
async fn requests_of_all_kinds_follow_one_another() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let whole = |text: &str| {
        format!(
            "POST /{text} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    // All at once, one after the other, and cut in every place.
    let all = [&whole("one"), &whole("two"), CHUNKED, &whole("three")].concat();
    let wanted = ["one", "two", "hm", "three"];
    for cut in 0..all.len() {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send(&all[..cut]).await;
        if cut % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        client.send(&all[cut..]).await;
        for text in wanted {
            let (status, _, body) = client.response().await;
            assert_eq!((status, body), (200, text.into()), "{cut}");
        }
    }
    let heads = server.heads();
    assert_eq!(heads.len(), 4 * all.len());
}

#[tokio::test]
async fn content_of_any_length_comes_whole() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = content.clone();
    let server = Server::start(move |mut conn, _, _| {
        let sent = sent.clone();
        async move {
            while let Some(head) = conn.head().await {
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let mut words = path.trim_start_matches('/').split('/');
                let (kind, length) = (words.next().unwrap(), words.next().unwrap());
                let part = &sent[..length.parse().unwrap()];
                match kind {
                    "length" => {
                        conn.send(format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
                        ))
                        .await;
                        conn.send(part).await;
                    }
                    "chunked" => {
                        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                            .await;
                        for chunk in part.chunks(10_007) {
                            conn.send(format!("{:X};a=\"b\"\r\n", chunk.len())).await;
                            conn.send(chunk).await;
                            conn.send("\r\n").await;
                        }
                        conn.send("0\r\nX-Sum: 1\r\n\r\n").await;
                    }
                    _ => {
                        conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
                        return conn.send(part).await;
                    }
                }
            }
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let mut total = 0;
    for kind in ["length", "chunked", "close"] {
        for length in [0, 1, 4_000, 5_000, 8_192, 65_536, 3_000_000] {
            client
                .send(format!("GET /{kind}/{length} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let (status, head, body) = client.response().await;
            assert_eq!(status, 200, "{head}");
            assert!(body == content[..length], "{kind} {length}");
            total += length as u64;
        }
    }
    let generation = switch.generation();
    let stats = &generation.services[0].stats;
    until(|| stats.bytes_out.load(Relaxed) == total).await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdexx0\r\n\r\n",
    ] {
        let server = Server::start(move |mut conn, _, _| async move {
            conn.head().await.unwrap();
            conn.send(answer).await;
        })
        .await;
        let switch = start(&simple(&[server.address], "", ""));
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // A reset, unless it was told in the head.
        let end = client.rest().await;
        assert!(end.is_err(), "{answer:?} {end:?}");
    }
}

#[tokio::test]
async fn a_server_is_not_asked_again_behind_what_nobody_asked_for() {
    let server = Server::start(|mut conn, _, _| async move {
        while conn.head().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n")
                .await;
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for number in 1..4 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.2, b"ok");
        assert_eq!(server.connection_count(), number);
    }
}

#[tokio::test]
async fn kept_connections_are_as_many_as_may_be() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", "keepalive = 3"));
    let idle = || {
        let generation = switch.generation();
        let server = generation.pools[0].servers().next().unwrap();
        server.status().idle
    };
    for first in [CHUNKED, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = Raw::connect(address(&switch, "web")).await;
            client.send(first).await;
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.response().await.0, 200);
        }
        until(|| (1..=3).contains(&idle())).await;
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_told_so_once() {
    let server = Server::echo().await;
    let rules = simple(
        &[server.address],
        "limits = { head_timeout = \"300ms\" }",
        "",
    );
    let switch = start(&rules);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHo")
        .await;
    assert_eq!(client.response().await.0, 200);
    let began = std::time::Instant::now();
    let head = client.head().await.unwrap();
    assert_eq!(status(&head), 408);
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "its time began anew"
    );
    assert_eq!(field(&head, "connection").as_deref(), Some("close"));
    client.body(&head).await;
    assert!(client.ended().await);
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_reload_reaches_connections_that_are_open() {
    let (a, b) = (Server::saying("a").await, Server::saying("b").await);
    let switch = start(&simple(&[a.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(request).await;
    assert_eq!(client.response().await.2, b"a");
    switch.set(load(&simple(&[b.address], "", ""))).unwrap();
    client.send(request).await;
    assert_eq!(client.response().await.2, b"b");
}

/// RFC 9110, 7.6.1: what Connection names is of that connection, whatever field it is.
#[tokio::test]
async fn fields_that_connection_names_go_no_further() {
    let server = Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            seen.lock().unwrap().push(head);
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-One: 1\r\nSet-Cookie: a=b\r\nETag: \"x\"\r\n\
                 X-Two: 2\r\nConnection: x-one\r\nConnection: Set-Cookie,, etag ,x-none\r\n\r\n",
            )
            .await;
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nCookie: a=b\r\nCookie: c=d\r\nAuthorization: x\r\nX-Two: 2\r\n\
             Connection: x-one\r\nConnection: COOKIE,, authorization ,x-none\r\n\r\n",
        )
        .await;
    let (status, head, _) = client.response().await;
    assert_eq!(status, 200);
    let asked = server.heads().pop().unwrap();
    for (head, gone) in [
        (&asked, ["x-one", "cookie", "authorization", "connection"]),
        (&head, ["x-one", "set-cookie", "etag", "connection"]),
    ] {
        for name in gone {
            assert_eq!(field(head, name), None, "{head}");
        }
        assert_eq!(field(head, "x-two").as_deref(), Some("2"), "{head}");
    }
}
