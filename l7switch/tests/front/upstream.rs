// SPDX-License-Identifier: MIT
//! Real servers: reuse of connections, retries, times, ejection, health.

use std::time::Duration;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::get;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::status;
use crate::support::until;

#[tokio::test]
async fn a_connection_is_kept_and_used_again() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    for _ in 0..10 {
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    }
    assert_eq!(server.connection_count(), 1);
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

#[tokio::test]
async fn a_refused_connection_leads_to_the_next_server() {
    let server = Server::saying("fine").await;
    let dead = closed_port().await;
    let pool = "scheduler = \"rr\"\npassive = { failures = 0 }";
    let switch = start(&simple(&[dead, server.address], "", pool));
    for _ in 0..6 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            .await;
        assert_eq!(client.response().await.0, 200);
    }
    assert_eq!(server.heads().len(), 6);
}

#[tokio::test]
async fn without_a_server_there_is_an_answer() {
    let dead = closed_port().await;
    let switch = start(&simple(
        &[dead],
        "",
        "passive = { failures = 2, eject = \"1m\" }",
    ));
    let web = address(&switch, "web");
    assert_eq!(get(web, "/").await.0, 502);
    assert_eq!(get(web, "/").await.0, 502);
    // Twice refused: it is out, and nobody is left.
    let (status, head, _) = get(web, "/").await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after"));
    let status = l7switch::admin::status(&switch);
    assert_eq!(status.services["web"].refused["connect_failed"], 2);
    assert_eq!(status.services["web"].refused["no_server"], 1);
}

#[tokio::test]
async fn an_ejected_server_comes_back() {
    let dead = closed_port().await;
    let pool = "passive = { failures = 1, eject = \"300ms\" }\nretries = 0";
    let switch = start(&simple(&[dead], "", pool));
    let web = address(&switch, "web");
    assert_eq!(get(web, "/").await.0, 502);
    assert_eq!(get(web, "/").await.0, 503);
    soon(async {
        while get(web, "/").await.0 != 502 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_response_is_given_up() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        let _ = conn.rest().await;
    })
    .await;
    let switch = start(&simple(
        &[server.address],
        "",
        "response_timeout = \"200ms\"",
    ));
    assert_eq!(get(address(&switch, "web"), "/").await.0, 504);
}

#[tokio::test]
async fn the_time_for_a_response_begins_when_the_request_is_sent() {
    let server = Server::echo().await;
    let switch = start(&simple(
        &[server.address],
        "",
        "response_timeout = \"300ms\"",
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        .await;
    for byte in b"12345678" {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send([*byte]).await;
    }
    assert_eq!(client.response().await.2, b"12345678");
}

#[tokio::test]
async fn what_is_no_response_is_502() {
    for answer in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y",
    ] {
        let server = Server::start(move |mut conn, _, seen| async move {
            let head = conn.head().await.unwrap();
            seen.lock().unwrap().push(head);
            conn.send(answer).await;
        })
        .await;
        let switch = start(&simple(&[server.address], "", ""));
        assert_eq!(get(address(&switch, "web"), "/").await.0, 502, "{answer:?}");
        // What may have reached a server is not sent again.
        assert_eq!(server.heads().len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn informational_responses_are_not_the_response() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status(&client.head().await.unwrap()), 204);
    assert!(client.ended().await);
}

#[tokio::test]
async fn every_scheduler_spreads_or_sticks() {
    let (a, b) = (Server::saying("a").await, Server::saying("b").await);
    for (scheduler, sticks) in [
        ("\"rr\"", false),
        ("\"wrr\"", false),
        ("\"lc\"", false),
        ("\"wlc\"", false),
        ("\"sed\"", false),
        ("\"nq\"", false),
        ("\"p2c\"", false),
        ("\"fastest\"", false),
        ("\"sh\"", true),
        ("{ name = \"mh\", key = \"path\" }", true),
        ("{ name = \"ch\", key = { cookie = \"id\" } }", true),
    ] {
        let pool = format!("scheduler = {scheduler}");
        let switch = start(&simple(&[a.address, b.address], "", &pool));
        let web = address(&switch, "web");
        let mut bodies = Vec::new();
        for _ in 0..60 {
            bodies.push(get(web, "/same").await.2);
        }
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len() == 1, sticks, "{scheduler}");
    }
}

#[tokio::test]
async fn active_checks_take_a_server_out_and_put_it_back() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;
    let healthy = Arc::new(AtomicBool::new(true));
    let server = Server::start({
        let healthy = Arc::clone(&healthy);
        move |mut conn, _, _| {
            let healthy = Arc::clone(&healthy);
            async move {
                while let Some(head) = conn.head().await {
                    let bad = head.starts_with("GET /healthz ") && !healthy.load(SeqCst);
                    let code = if bad { "500 No" } else { "200 OK" };
                    conn.send(format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n"))
                        .await;
                }
            }
        }
    })
    .await;
    let pool = "health = { http = \"/healthz\", interval = \"20ms\", rise = 2, fall = 2 }";
    let switch = start(&simple(&[server.address], "", pool));
    let web = address(&switch, "web");
    assert_eq!(get(web, "/").await.0, 200);
    healthy.store(false, SeqCst);
    soon(async { while get(web, "/").await.0 != 503 {} }).await;
    healthy.store(true, SeqCst);
    soon(async { while get(web, "/").await.0 != 200 {} }).await;
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
    for _ in 0..10 {
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    }
    // Each but the first was seen twice, and answered once.
    assert_eq!(server.heads().len(), 19);
}

#[tokio::test]
async fn what_is_not_safe_is_never_repeated() {
    let server = breaks_off_at_the_second().await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    assert_eq!(get(web, "/").await.0, 200);
    let mut client = Raw::connect(web).await;
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

#[tokio::test]
async fn a_server_that_goes_silent_in_its_response_is_cut_off() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
        // Keeps the connection open until the switch gives it up.
        let _ = conn.rest().await;
    })
    .await;
    let switch = start(&simple(
        &[server.address],
        "",
        "response_timeout = \"200ms\"",
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The connection ends, and not as if the response were whole.
    let got = soon(client.rest()).await.unwrap_or_default();
    assert!(!got.ends_with(b"\r\n0\r\n\r\n"));
    soon(async {
        while l7switch::admin::status(&switch).services["web"]
            .refused
            .get("response_timeout")
            != Some(&1)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_safe_request_goes_to_the_next_server_when_a_fresh_connection_breaks_off() {
    let broken = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        conn.body(&head).await;
        seen.lock().unwrap().push(head);
    })
    .await;
    let fine = Server::saying("fine").await;
    let pool = "scheduler = \"rr\"\npassive = { failures = 0 }";
    let switch = start(&simple(&[broken.address, fine.address], "", pool));
    let web = address(&switch, "web");
    for _ in 0..6 {
        assert_eq!(get(web, "/").await.0, 200);
    }
    assert!(!broken.heads().is_empty());
    // A POST that may have been acted on is not sent to anybody else.
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(web).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            .await;
        statuses.push(client.response().await.0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}
