// SPDX-License-Identifier: MIT
//! Connections to servers that are kept: whose they are, when they are used again, and what is repeated where one has gone.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

#[tokio::test]
async fn a_connection_is_kept_and_used_again() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
    }
    drop(client);
    // It has proved clean: other clients may have it, after a short silence.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(get(web, "/").await.0, 200);
    }
    assert_eq!(server.connection_count(), 1);
}

#[tokio::test]
async fn a_connection_that_has_answered_once_is_its_clients_until_it_was_silent() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    for wanted in 1..=3 {
        assert_eq!(get(web, "/").await.0, 200);
        assert_eq!(server.connection_count(), wanted);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..3 {
        assert_eq!(get(web, "/").await.0, 200);
    }
    assert_eq!(server.connection_count(), 3);
}

/// A server that answers `/late/N/...` with the head number N of [`HEADS`], and sends what looks like a response 40 ms later.
async fn sends_late() -> Server {
    Server::start(|mut conn, _, _| async move {
        while let Some(head) = conn.head().await {
            conn.body(&head).await;
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let Some(number) = target.strip_prefix("/late/") else {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright";
                if conn.stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            };
            let answer = HEADS[number.parse::<usize>().unwrap()].1;
            conn.send(answer).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
            let late = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
            if conn.stream.write_all(late.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Methods, and answers behind which something comes.
const HEADS: [(&str, &str); 7] = [
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 53\r\n\r\n"),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 53\r\n\r\n",
    ),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
];

#[tokio::test]
async fn what_comes_behind_an_answer_is_no_other_clients() {
    // As R's httpuv, starman, cheroot, waitress and busybox do with HEAD, which is relayed, and by hyper, which TE asks for.
    for more in ["", "TE: trailers\r\nConnection: te\r\n"] {
        let server = sends_late().await;
        let switch = start(&simple(&[server.address], "", ""));
        let web = address(&switch, "web");
        for (number, (method, _)) in HEADS.iter().enumerate() {
            for _ in 0..4 {
                let mut first = Raw::connect(web).await;
                let request = format!("{method} /late/{number} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
                first.send(request).await;
                assert!(first.head().await.is_some(), "{number}");
                drop(first);
                let mut second = Raw::connect(web).await;
                let request = format!("GET /fine HTTP/1.1\r\nHost: a\r\n{more}\r\n");
                for _ in 0..3 {
                    second.send(&request).await;
                    let (status, _, body) = second.response().await;
                    assert_eq!((status, body), (200, b"right".to_vec()), "{number} {more}");
                }
            }
        }
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_counted_and_make_the_switch_careful() {
    let server = sends_late().await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    for target in ["/fine", "/fine", "/late/5"] {
        client
            .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(client.response().await.0, 200);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(get(web, "/fine").await.2, b"right");
    let status = &l7switch::admin::servers(&switch)[0];
    assert_eq!(status.surplus, 1);
    // The next one has answered twice, which is no proof any more.
    let before = server.connection_count();
    for _ in 0..2 {
        let mut client = Raw::connect(web).await;
        for _ in 0..2 {
            client.send("GET /fine HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(client.response().await.2, b"right");
        }
    }
    assert_eq!(server.connection_count(), before + 2);
}

#[tokio::test]
async fn a_server_that_ends_an_idle_connection_with_408_is_not_blamed() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        conn.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request() {
    // Answers once on each connection, without saying so, and closes.
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        conn.body(&head).await;
        seen.lock().unwrap().push(head);
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for number in 0..20 {
        client
            .send(format!(
                "POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
            ))
            .await;
        assert_eq!(client.response().await.0, 200);
        // The server's end of the connection arrives before the next request does.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Neither lost nor doubled.
    let heads = server.heads();
    assert_eq!(heads.len(), 20);
    for (number, head) in heads.iter().enumerate() {
        assert!(head.starts_with(&format!("POST /{number} ")), "{head}");
    }
}

#[tokio::test]
async fn a_connection_with_half_a_request_is_not_used_again() {
    // Answers before the content, then goes on reading as if the rest were requests.
    let server = Server::start(|mut conn, number, seen| async move {
        let head = conn.head().await.unwrap();
        if number > 0 {
            conn.body(&head).await;
        }
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        if let Ok(rest) = conn.rest().await {
            seen.lock().unwrap().push(String::from_utf8(rest).unwrap());
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    assert_eq!(client.response().await.0, 200);
    assert_eq!(get(web, "/other").await.0, 200);
    drop(client);
    until(|| server.connection_count() == 2).await;
    assert!(!server.heads().iter().any(|rest| rest.contains("/other")));
}

/// A server that answers the first request of each connection and breaks off at the second, once it has read it.
async fn breaks_off_at_the_second() -> Server {
    Server::start(|mut conn, _, seen| async move {
        for number in 0..2 {
            let Some(head) = conn.head().await else {
                return;
            };
            conn.body(&head).await;
            seen.lock().unwrap().push(head);
            if number == 0 {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_safe_request_is_repeated_when_a_kept_connection_breaks_off() {
    let server = breaks_off_at_the_second().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
    }
    // Each but the first was seen twice, and answered once.
    assert_eq!(server.heads().len(), 19);
}

/// Only its head would come a second time, and the next request of the connection would be taken for its content.
#[tokio::test]
async fn a_safe_request_with_empty_chunked_content_is_not_repeated() {
    let server = breaks_off_at_the_second().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.0, 200);
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 502);
}

#[tokio::test]
async fn bytes_behind_an_early_answer_are_counted() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n")
            .await;
        conn.exactly(4).await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.response().await.2, b"ok");
    client.send("body").await;
    until(|| {
        let generation = switch.generation();
        let server = generation.pools[0].servers().next().unwrap();
        server.status().surplus == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_not_safe_is_never_repeated() {
    let server = breaks_off_at_the_second().await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.0, 200);
    client
        .send("POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    assert_eq!(client.response().await.0, 502);
    let posts = server
        .heads()
        .iter()
        .filter(|h| h.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}
