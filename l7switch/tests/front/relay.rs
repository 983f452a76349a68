// SPDX-License-Identifier: MIT
//! Usual exchanges, which are relayed, beside those that hyper serves: nobody must be able to tell them apart.

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
use l7switch::Switch;

/// A request that is not usual: the rest of its connection is hyper's.
const UNUSUAL: &str =
    "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhm\r\n0\r\n\r\n";

/// A head's first line and its fields in order of their names, which have no case. Dates go.
fn sorted(head: &str) -> (String, Vec<String>) {
    let mut lines = head.trim_end().lines();
    let first = lines.next().unwrap().to_owned();
    let mut fields: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            format!("{}: {}", name.to_ascii_lowercase(), value.trim())
        })
        .map(|line| {
            if line.starts_with("date: ") && line != "date: then" {
                "date: now".to_owned()
            } else {
                line
            }
        })
        .collect();
    fields.sort();
    (first, fields)
}

/// A server that answers a request for `/first` with 204, and any other one with this.
async fn server_saying(answer: &'static str) -> Server {
    Server::start(move |mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            conn.body(&head).await;
            if head.starts_with("POST /first ") {
                conn.send("HTTP/1.1 204 No Content\r\n\r\n").await;
                continue;
            }
            seen.lock().unwrap().push(head);
            conn.send(answer).await;
            if !answer.contains("Length") && !answer.contains("chunked") {
                return;
            }
        }
    })
    .await
}

/// What the client gets, and what the server has seen, of a request that comes at a connection's start or behind another.
async fn ask(
    switch: &Switch,
    server: &Server,
    before: &str,
    request: &str,
) -> ((String, Vec<String>), Vec<u8>, Vec<(String, Vec<String>)>) {
    server.seen.lock().unwrap().clear();
    let mut client = Raw::connect(address(switch, "web")).await;
    if !before.is_empty() {
        client.send(before).await;
        assert_eq!(client.response().await.0, 204);
    }
    client.send(request).await;
    let head = client.head().await.unwrap();
    let body = if request.starts_with("HEAD ") || status(&head) == 304 {
        Vec::new()
    } else {
        client.body(&head).await
    };
    let seen = server.heads().iter().map(|head| sorted(head)).collect();
    (sorted(&head), body, seen)
}

#[tokio::test]
async fn nobody_can_tell_which_way_a_request_went() {
    let requests = [
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "\r\nGET /a/b?c=d&e HTTP/1.1\r\nhost: A.example:80\r\nAccept: */*\r\nx-empty:\r\n\r\n",
        "HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nX-Other: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nVia: 1.0 x\r\nvia: 1.1 y\r\nForwarded: for=1.2.3.4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /app/x?y HTTP/1.1\r\nHost: a\r\nX-Gone: 1\r\nX-Set: 0\r\nX-Add: a\r\n\r\n",
        "GET /own HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /own HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /moved/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a_b!\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: none.example\r\n\r\n",
        "GET /{x} HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n",
    ];
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: s\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: then\r\nVia: 1.1 x\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nX-Res: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: x-own, close\r\nX-Own: 1\r\nKeep-Alive: 2\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nX-Set: 1\r\nX-Set: 2\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    ];
    let rules = |server: &Server, trusted: &str| {
        format!(
            r#"
            [service.web]
            listen = "127.0.0.1:1"
            {trusted}
            [[service.web.route]]
            path = {{ prefix = "/app" }}
            rewrite = {{ path = {{ replace_prefix = "/" }}, hostname = "inner.example" }}
            request_headers = {{ remove = "X-Gone", set = {{ X-Set = "1" }}, add = {{ X-Add = "b" }} }}
            response_headers = {{ remove = "X-Res", set = {{ X-Set = "3" }}, add = {{ Server = "t" }} }}
            pool = "p"
            [[service.web.route]]
            path = {{ exact = "/own" }}
            respond = {{ status = 418, body = "short" }}
            [[service.web.route]]
            path = {{ prefix = "/moved" }}
            redirect = {{ hostname = "new.example" }}
            [[service.web.route]]
            host = ["a", "a.example"]
            pool = "p"
            [pool.p]
            servers = ["{}"]
            "#,
            server.address
        )
    };
    for trusted in ["", "trusted = \"127.0.0.0/8\""] {
        for answer in answers {
            let server = server_saying(answer).await;
            let switch = start(&rules(&server, trusted));
            for request in requests {
                let relayed = ask(&switch, &server, "", request).await;
                let by_hyper = ask(&switch, &server, UNUSUAL, request).await;
                assert_eq!(relayed, by_hyper, "{request:?} {answer:?} {trusted}");
            }
        }
    }
}

#[tokio::test]
async fn usual_and_unusual_requests_follow_one_another() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let usual = |text: &str| {
        format!(
            "POST /{text} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    // All at once, one after the other, and cut in every place.
    let all = [&usual("one"), &usual("two"), UNUSUAL, &usual("three")].concat();
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
async fn kept_connections_of_both_kinds_are_as_many_as_may_be() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", "keepalive = 3"));
    let idle = || {
        let generation = switch.generation();
        let server = generation.pools[0].servers().next().unwrap();
        server.status().idle
    };
    for first in [UNUSUAL, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
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
async fn a_reload_reaches_connections_that_are_relayed() {
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
