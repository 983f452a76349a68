// SPDX-License-Identifier: MIT
//! Copies of requests to another pool.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use l7switch::Switch;
use tokio::sync::Notify;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::field;
use crate::support::get;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

fn rules(server: SocketAddr, shadow: SocketAddr, keys: &str) -> String {
    let mirror = format!("pool = \"p\"\nmirror = {{ pool = \"shadow\"{keys} }}\n");
    simple(&[server], "", "").replacen("pool = \"p\"\n", &mirror, 1)
        + &format!("\n[pool.shadow]\nservers = \"{shadow}\"\n")
}

/// A server that notes heads and bodies, and answers an error.
async fn shadow() -> Server {
    Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let body = conn.body(&head).await;
            let text = String::from_utf8(body).unwrap();
            seen.lock().unwrap().push(head + &text);
            conn.send("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nfail")
                .await;
        }
    })
    .await
}

/// A server that reads a request as a whole.
async fn server() -> Server {
    Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let body = conn.body(&head).await;
            let text = String::from_utf8(body).unwrap();
            seen.lock().unwrap().push(head + &text);
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await
}

fn outcomes(switch: &Arc<Switch>) -> Vec<(String, u64)> {
    let status = l7switch::admin::status(switch);
    status.services["web"]
        .mirrored
        .clone()
        .into_iter()
        .collect()
}

#[tokio::test]
async fn a_copy_is_the_same_request() {
    let (server, shadow) = (server().await, shadow().await);
    let switch = start(&rules(server.address, shadow.address, ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let requests = [
        "GET /a?q=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n".to_owned(),
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
            .to_owned(),
        "POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!(
            "PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{}",
            "x".repeat(60000)
        ),
    ];
    for (number, request) in requests.iter().enumerate() {
        client.send(request).await;
        let (status, _, body) = client.response().await;
        assert_eq!((status, body.as_slice()), (200, &b"ok"[..]));
        until(|| shadow.heads().len() == number + 1).await;
        let (own, copy) = (server.heads().pop().unwrap(), shadow.heads().pop().unwrap());
        assert_eq!(own.to_lowercase(), copy.to_lowercase());
    }
    // Content that comes piece by piece, behind its head.
    client
        .send("POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 100);
    for piece in ["ab", "cd", "ef"] {
        client.send(piece).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(client.response().await.0, 200);
    until(|| shadow.heads().len() == 6).await;
    let copy = shadow.heads().pop().unwrap();
    assert!(
        copy.ends_with("\r\n\r\nabcdef") && field(&copy, "expect").is_none(),
        "{copy}"
    );
    until(|| outcomes(&switch) == [("sent".to_owned(), 6)]).await;
    assert_eq!(shadow.connection_count(), 1);
}

#[tokio::test]
async fn what_cannot_be_copied_is_counted() {
    let (server, shadow) = (server().await, shadow().await);
    let switch = start(&rules(server.address, shadow.address, ", body_limit = 4"));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        client.send(request).await;
        assert_eq!(client.response().await.0, 200);
    }
    until(|| outcomes(&switch) == [("skipped".to_owned(), 3)]).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfine")
        .await;
    assert_eq!(client.response().await.0, 200);
    until(|| shadow.heads().len() == 1).await;
    // A client that breaks off within its content has sent no request.
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nno")
        .await;
    drop(client);
    let expected = [("sent".to_owned(), 1), ("skipped".to_owned(), 4)];
    until(|| {
        let mut found = outcomes(&switch);
        found.sort();
        found == expected
    })
    .await;
    assert_eq!(shadow.heads().len(), 1);
}

/// Clients do not feel a mirror that is down.
#[tokio::test]
async fn a_mirror_that_fails_is_counted_alone() {
    let server = server().await;
    let switch = start(&rules(server.address, closed_port().await, ""));
    for _ in 0..5 {
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    }
    until(|| outcomes(&switch) == [("failed".to_owned(), 5)]).await;
}

/// One that says nothing keeps no more than so many copies.
#[tokio::test]
async fn a_mirror_that_is_silent_fills_nothing() {
    let server = server().await;
    let silent = Server::start(|mut conn, _, _| async move {
        while conn.head().await.is_some() {}
        std::future::pending::<()>().await;
    })
    .await;
    let switch = start(&rules(
        server.address,
        silent.address,
        ", body_limit = \"16MiB\"",
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    // Each may be of 16 MiB, of which 64 MiB are kept at a time.
    for _ in 0..6 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.response().await.0, 200);
    }
    until(|| outcomes(&switch) == [("skipped".to_owned(), 2)]).await;
}

/// The switch's end waits for a copy as for a request.
#[tokio::test]
async fn copies_under_way_at_the_end_are_counted() {
    let server = server().await;
    let gate = Arc::new(Notify::new());
    let shadow = Server::start({
        let gate = Arc::clone(&gate);
        move |mut conn, _, seen| {
            let gate = Arc::clone(&gate);
            async move {
                let head = conn.head().await.unwrap();
                seen.lock().unwrap().push(head);
                gate.notified().await;
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let switch = start(&rules(server.address, shadow.address, ""));
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    until(|| shadow.heads().len() == 1).await;
    until(|| l7switch::admin::status(&switch).services["web"].active == 0).await;
    assert!(!switch.drain(Duration::from_millis(100)).await);
    assert!(outcomes(&switch).is_empty());
    gate.notify_one();
    assert!(switch.drain(Duration::from_secs(10)).await);
    assert_eq!(outcomes(&switch), [("sent".to_owned(), 1)]);
}

#[tokio::test]
async fn a_part_of_the_requests_is_copied() {
    let (server, shadow) = (server().await, shadow().await);
    let switch = start(&rules(server.address, shadow.address, ", percent = 25"));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..400 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
    }
    until(|| {
        let sent = outcomes(&switch).first().map_or(0, |(_, sent)| *sent);
        // Six standard deviations.
        (48..=152).contains(&sent)
    })
    .await;
}
