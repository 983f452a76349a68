// SPDX-License-Identifier: MIT
//! Connections: continue, early answers, half-closed clients, upgrades, broken bodies, TCP
//! services.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::start;
use crate::support::status;
use crate::support::until;

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

/// RFC 9110, 10.1.1: the expectation is the server's to meet.
#[tokio::test]
async fn continue_is_the_servers_to_say() {
    let server = Server::start(|mut conn, _, _| async move {
        let head = conn.head().await.unwrap();
        assert_eq!(field(&head, "expect").unwrap(), "100-continue");
        conn.send("HTTP/1.1 100 Go on\r\nX-Why: free\r\nConnection: x\r\n\r\n")
            .await;
        let body = conn.body(&head).await;
        assert_eq!(body, b"body");
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send(EXPECTING).await;
    let head = client.head().await.unwrap();
    assert_eq!(head, "HTTP/1.1 100 Go on\r\nX-Why: free\r\n\r\n");
    client.send("body").await;
    let (status, _, body) = client.response().await;
    assert_eq!((status, body), (200, b"ok".to_vec()));
}

/// Neither side would ever go on: many servers know no 100.
#[tokio::test]
async fn continue_is_said_where_the_server_does_not() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send(EXPECTING).await;
    let began = std::time::Instant::now();
    assert_eq!(status(&client.head().await.unwrap()), 100);
    assert!(began.elapsed() > Duration::from_millis(300));
    client.send("body").await;
    let (status, _, body) = client.response().await;
    assert_eq!((status, body), (200, b"body".to_vec()));
}

/// RFC 9110, 15.2: nothing interim comes behind the head of the final response.
#[tokio::test]
async fn continue_is_not_said_within_a_response() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi")
            .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        conn.send("ne").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send(EXPECTING).await;
    let (status, _, body) = client.response().await;
    assert_eq!((status, body), (200, b"fine".to_vec()));
    client.send("body").await;
    client.send("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.0, 400);
}

/// The server's answer comes instead, and the content never.
#[tokio::test]
async fn an_expectation_may_be_refused() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(conn.ended().await);
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send(EXPECTING).await;
    assert_eq!(status(&client.head().await.unwrap()), 413);
}

#[tokio::test]
async fn continue_is_not_said_where_the_switch_refuses() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST /%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 400);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_reaches_the_client() {
    // The server answers at once and closes with unread content: its kernel resets the connection.
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.exactly(1000).await;
        conn.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    for _ in 0..20 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        // Goes on sending as a simple client does, until it cannot.
        let chunk = vec![0_u8; 64 * 1024];
        for _ in 0..200 {
            if client.stream.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let (status, _, body) = client.response().await;
        assert_eq!((status, body), (413, b"big".to_vec()));
    }
}

/// A client has to know whether its connection goes on: what is left of a short request is read for nobody, and a long one ends
/// it with a word.
#[tokio::test]
async fn an_early_answer_says_whether_the_connection_goes_on() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    for (head, body, goes_on) in [
        ("Content-Length: 4\r\n", "body", true),
        (
            "Transfer-Encoding: chunked\r\n",
            "4\r\nbody\r\n0\r\n\r\n",
            true,
        ),
        ("Content-Length: 70000\r\n", "", false),
        (
            "Content-Length: 4\r\nExpect: 100-continue\r\n",
            "body",
            true,
        ),
    ] {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n"))
            .await;
        let (status, answer, _) = client.response().await;
        assert_eq!(status, 200, "{head}");
        assert_eq!(
            field(&answer, "connection").is_none(),
            goes_on,
            "{head} {answer}"
        );
        if goes_on {
            client
                .send([body, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat())
                .await;
            assert_eq!(client.response().await.0, 200, "{head}");
        } else {
            assert!(client.ended().await, "{head}");
        }
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.response().await.2, b"late");
    assert!(client.ended().await);
}

#[tokio::test]
async fn a_client_that_has_gone_takes_its_request_with_it() {
    let gone = Arc::new(Notify::new());
    let server = Server::start({
        let gone = Arc::clone(&gone);
        move |mut conn, _, seen| {
            let gone = Arc::clone(&gone);
            async move {
                let head = conn.head().await.unwrap();
                seen.lock().unwrap().push(head);
                // Never answers: the end of the connection is what it waits for.
                let _ = conn.rest().await;
                gone.notify_one();
            }
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| server.heads().len() == 1).await;
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    crate::support::soon(gone.notified()).await;
    until(|| l7switch::admin::status(&switch).services["web"].active == 0).await;
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
        )
        .await;
        // Bytes that are no HTTP.
        let got = conn.exactly(6).await;
        assert_eq!(got, b"\r\n\0GET");
        conn.send("bye").await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert_eq!(status(&head), 101);
    assert_eq!(field(&head, "upgrade").unwrap(), "websocket");
    assert!(
        field(&head, "connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    assert_eq!(client.exactly(2).await, b"hi");
    client.send("\r\n\0GET").await;
    assert_eq!(client.rest().await.unwrap(), b"bye");
    assert_eq!(field(&server.heads()[0], "upgrade").unwrap(), "websocket");
    drop(client);
    until(|| l7switch::admin::status(&switch).services["web"].active == 0).await;
}

#[tokio::test]
async fn bytes_sent_before_the_upgrade_was_answered_belong_to_the_tunnel() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        let got = conn.exactly(5).await;
        conn.send(got).await;
        let got = conn.exactly(4).await;
        conn.send(got).await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    for _ in 0..10 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n\0GET ")
            .await;
        assert_eq!(status(&client.head().await.unwrap()), 101);
        assert_eq!(client.exactly(5).await, b"\0GET ");
        client.send("more").await;
        assert_eq!(client.rest().await.unwrap(), b"more");
    }
}

/// Where the other protocol begins behind content, nobody could be sure of.
#[tokio::test]
async fn an_upgrade_with_content_is_not_asked_for() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    for content in [
        "Content-Length: 4\r\n\r\nbody",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        let mut client = Raw::connect(address(&switch, "web")).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n";
        client.send([head, content].concat()).await;
        let (status, _, body) = client.response().await;
        assert_eq!((status, body), (200, b"body".to_vec()));
    }
    for head in server.heads() {
        assert_eq!(field(&head, "upgrade"), None);
        assert_eq!(field(&head, "connection"), None);
    }
}

#[tokio::test]
async fn a_server_changes_to_no_other_protocol_than_was_asked_for() {
    for (said, expected) in [("Upgrade: X\r\n", 101), ("Upgrade: h2c\r\n", 502)] {
        let server = Server::start(move |mut conn, _, _| async move {
            conn.head().await.unwrap();
            conn.send(format!(
                "HTTP/1.1 101 S\r\n{said}Connection: upgrade\r\n\r\n"
            ))
            .await;
        })
        .await;
        let switch = start(&simple(&[server.address], "", ""));
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        assert_eq!(status(&client.head().await.unwrap()), expected, "{said}");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_not_taken_leaves_the_connection_http() {
    let server = Server::saying("no").await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
             GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.2, b"no");
    assert_eq!(client.response().await.2, b"no");
    // And an upgrade past the rules is not even asked for.
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 200);
    let last = server.heads().pop().unwrap();
    assert!(field(&last, "upgrade").is_none() && field(&last, "http2-settings").is_none());
}

#[tokio::test]
async fn a_silent_tunnel_ends() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        let _ = conn.rest().await;
    })
    .await;
    let limits = "limits = { tunnel_timeout = \"200ms\" }";
    let switch = start(&simple(&[server.address], limits, ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(status(&client.head().await.unwrap()), 101);
    assert!(client.rest().await.unwrap_or_default().is_empty());
    until(|| {
        l7switch::admin::status(&switch).services["web"]
            .refused
            .contains_key("idle_timeout")
    })
    .await;
}

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_whole() {
    let server = Server::start(|mut conn, _, _| async move {
        let head = conn.head().await.unwrap();
        conn.send(if head.contains("/length") {
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
        } else {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        })
        .await;
        // Let it be forwarded before the connection breaks.
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    for (request, framed) in [
        ("GET /length HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n", true),
        // Here the end of the connection is the end of the content: only a reset tells.
        ("GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n", false),
    ] {
        let mut client = Raw::connect(web).await;
        client.send(request).await;
        let head = client.head().await.unwrap();
        assert_eq!(status(&head), 200);
        match client.rest().await {
            Ok(rest) => assert!(framed && !rest.ends_with(b"0\r\n\r\n"), "{request}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    until(|| {
        l7switch::admin::status(&switch).services["web"]
            .refused
            .get("bad_response")
            == Some(&3)
    })
    .await;
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(
        &[server.address],
        "limits = { connections = 1 }",
        "",
    ));
    let web = address(&switch, "web");
    let mut first = Raw::connect(web).await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(first.response().await.0, 200);
    let mut second = Raw::connect(web).await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        l7switch::admin::status(&switch).services["web"].connections,
        1
    );
    drop(first);
    assert_eq!(second.response().await.0, 200);
}

#[tokio::test]
async fn tcp_is_joined_with_half_closes() {
    let server = Server::start(|mut conn, _, _| async move {
        let got = conn.rest().await.unwrap();
        conn.send(got.iter().rev().copied().collect::<Vec<u8>>())
            .await;
    })
    .await;
    let rules = format!(
        "[service.raw]\nlisten = \"127.0.0.1:1\"\nprotocol = \"tcp\"\n[[service.raw.route]]\n\
         source = \"127.0.0.0/8\"\npool = \"p\"\n[pool.p]\nservers = [\"{}\"]\n",
        server.address
    );
    let switch = start(&rules);
    let mut client = Raw::connect(address(&switch, "raw")).await;
    client.send("abc").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await.unwrap(), b"cba");
    drop(client);
    until(|| l7switch::admin::status(&switch).services["raw"].bytes_in == 3).await;
    assert_eq!(
        l7switch::admin::status(&switch).services["raw"].bytes_out,
        3
    );
}
