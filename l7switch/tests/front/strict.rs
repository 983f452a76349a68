// SPDX-License-Identifier: MIT
//! What is refused, with which status, and that what came before it is answered first.

use std::time::Duration;
use std::time::Instant;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::simple;
use crate::support::start;

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn bad_requests_are_refused_after_the_answers_to_those_before() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    for (bad, wanted) in [
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}\u{0}", 400),
    ] {
        let mut client = Raw::connect(web).await;
        // One write: the bad request is there before the good ones are answered.
        client.send(format!("{GOOD}{GOOD}{bad}")).await;
        for _ in 0..2 {
            assert_eq!(client.response().await.0, 200, "{bad:?}");
        }
        let (status, head, body) = client.response().await;
        assert_eq!(status, wanted, "{bad:?}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(
            String::from_utf8(body)
                .unwrap()
                .starts_with(&wanted.to_string())
        );
        assert!(client.ended().await, "{bad:?}");
    }
    // Nothing of the bad ones has reached the server.
    assert!(
        server
            .heads()
            .iter()
            .all(|head| head.starts_with("GET /good "))
    );
}

#[tokio::test]
async fn a_smuggled_request_is_never_routed() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhelloXX0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    let (status, _, body) = client.response().await;
    assert_eq!(status, 400);
    assert!(String::from_utf8(body).unwrap().contains("RFC 9112, 7.1"));
    assert!(client.ended().await);
    assert!(!server.heads().iter().any(|head| head.contains("smuggled")));
}

#[tokio::test]
async fn limits_of_a_head() {
    let server = Server::saying("fine").await;
    let limits = "limits = { head = 1000, fields = 5 }";
    let switch = start(&simple(&[server.address], limits, ""));
    let web = address(&switch, "web");
    let long = "x".repeat(2000);
    for (request, wanted) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(9)),
            431,
        ),
    ] {
        let mut client = Raw::connect(web).await;
        client.send(request).await;
        assert_eq!(client.response().await.0, wanted);
        assert!(client.ended().await);
    }
}

#[tokio::test]
async fn a_slow_head_is_answered_and_an_idle_connection_is_closed_silently() {
    let server = Server::saying("fine").await;
    let limits = "limits = { head_timeout = \"300ms\", idle_timeout = \"300ms\" }";
    let switch = start(&simple(&[server.address], limits, ""));
    let web = address(&switch, "web");

    let mut slow = Raw::connect(web).await;
    slow.send("GET / HTTP/1.1\r\nHo").await;
    assert_eq!(slow.response().await.0, 408);
    assert!(slow.ended().await);

    let mut drip = Raw::connect(web).await;
    drip.send(GOOD).await;
    assert_eq!(drip.response().await.0, 200);
    let began = Instant::now();
    // A byte at a time does not make the time begin anew.
    for byte in "GET / HTTP/1.1\r\nX".bytes() {
        if drip.stream.try_write(&[byte]).is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(drip.response().await.0, 408);
    assert!(began.elapsed() < Duration::from_secs(5));

    let mut idle = Raw::connect(web).await;
    assert!(idle.ended().await);
    let mut idle = Raw::connect(web).await;
    idle.send(GOOD).await;
    assert_eq!(idle.response().await.0, 200);
    assert!(idle.ended().await);
}

#[tokio::test]
async fn a_body_that_stops_is_answered() {
    let server = Server::echo().await;
    let limits = "limits = { idle_timeout = \"300ms\" }";
    let switch = start(&simple(&[server.address], limits, ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    let (status, _, _) = client.response().await;
    assert_eq!(status, 408);
    assert!(client.ended().await);
}

/// A reset could overtake the answer, which says what is wrong.
#[tokio::test]
async fn a_refused_client_may_go_on_sending() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\n",
        "POST /%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n",
    ] {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send(head).await;
        let (status, _, _) = client.response().await;
        assert_eq!(status, 400);
        for _ in 0..3 {
            client.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n").await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(client.ended().await, "{head:?}");
    }
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn a_head_that_ends_in_the_middle_is_answered() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a").await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .unwrap();
    assert_eq!(client.response().await.0, 400);
    assert!(client.ended().await);
}

#[tokio::test]
async fn paths_that_can_be_read_in_two_ways() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for path in ["/a%2F..", "/..%2Fb", "/a%00", "/a%5Cb", "/a%zz"] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        // The message is a good one, so the connection lives on.
        assert_eq!(client.response().await.0, 400, "{path}");
    }
    client.send(GOOD).await;
    assert_eq!(client.response().await.0, 200);
}

#[tokio::test]
async fn an_encoded_slash_passes_unless_the_service_refuses_it() {
    let server = Server::saying("fine").await;
    for (service, wanted) in [("", 200), ("refuse = \"encoded-slash\"", 400)] {
        let switch = start(&simple(&[server.address], service, ""));
        let mut client = Raw::connect(address(&switch, "web")).await;
        // As npm asks for a package with a scope.
        client
            .send("GET /@scope%2fname HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(client.response().await.0, wanted);
    }
    assert!(server.heads()[0].starts_with("GET /@scope%2fname HTTP/1.1\r\n"));
}

#[tokio::test]
async fn no_tunnels_and_no_other_expectations() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    for (request, wanted) in [
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
            501,
        ),
        (
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
            200,
        ),
    ] {
        let mut client = Raw::connect(web).await;
        client.send(request).await;
        assert_eq!(client.response().await.0, wanted, "{request:?}");
    }
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    client.send("NONSENSE\r\n\r\n").await;
    assert_eq!(client.response().await.0, 400);
    drop(client);
    let status = l7switch::admin::status(&switch);
    assert_eq!(status.services["web"].refused["bad_request"], 1);
    assert_eq!(status.services["web"].responses["4xx"], 1);
}
