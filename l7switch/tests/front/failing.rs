// SPDX-License-Identifier: MIT
//! Servers that fail, refuse, go silent or answer badly: what clients get, and where requests go.

use std::time::Duration;

use l7switch_admin_api::ServerState;
use tokio::io::AsyncWriteExt;

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
    // The last server is never ejected.
    for _ in 0..4 {
        assert_eq!(get(web, "/").await.0, 502);
    }
    let generation = switch.generation();
    generation.pools[0]
        .servers()
        .next()
        .unwrap()
        .set_draining(true);
    let (status, head, _) = get(web, "/").await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after"));
    let status = l7switch::admin::status(&switch);
    assert_eq!(status.services["web"].refused["connect_failed"], 4);
    assert_eq!(status.services["web"].refused["no_server"], 1);
}

#[tokio::test]
async fn an_ejected_server_comes_back() {
    let dead = closed_port().await;
    let pool = "scheduler = \"rr\"\npassive = { failures = 1, eject = \"300ms\" }\nretries = 0";
    let fine = Server::saying("fine").await;
    let switch = start(&simple(&[dead, fine.address], "", pool));
    let web = address(&switch, "web");
    while get(web, "/").await.0 != 502 {}
    for _ in 0..4 {
        assert_eq!(get(web, "/").await.0, 200);
    }
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

/// RFC 9110, 15.2: they are passed on, but to who speaks HTTP/1.0.
#[tokio::test]
async fn interim_responses_are_passed_on() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\nKeep-Alive: 5\r\n\r\n")
            .await;
        conn.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\n\r\n")
            .await;
        conn.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let hints = client.head().await.unwrap();
    assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    // It asked for no 100.
    assert_eq!(status(&client.head().await.unwrap()), 102);
    assert_eq!(status(&client.head().await.unwrap()), 204);
    assert!(client.ended().await);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&client.head().await.unwrap()), 204);
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

/// HTTP/2 has no window for them: a client that takes none would have all of them kept here.
#[tokio::test]
async fn interim_responses_without_end_are_not_all_passed_on() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 103 Early\r\nLink: a\r\n\r\n".repeat(1000))
            .await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut interim = 0;
    while status(&client.head().await.unwrap()) == 103 {
        interim += 1;
    }
    assert_eq!(interim, 100);
    let web = &l7switch::admin::status(&switch).services["web"];
    assert_eq!(web.interim_dropped, 900);
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

/// A server whose process ends with the request that it cannot answer.
async fn dies_of_poison() -> Server {
    Server::start(|mut conn, _, _| async move {
        while let Some(head) = conn.head().await {
            if head.contains("/poison") {
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await
}

#[tokio::test]
async fn bad_answers_of_one_path_take_the_servers_from_nobody() {
    for count in 1..=4 {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(dies_of_poison().await);
        }
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        let switch = start(&simple(&addresses, "", ""));
        let web = address(&switch, "web");
        for _ in 0..20 {
            assert_eq!(get(web, "/poison").await.0, 502);
        }
        for _ in 0..8 {
            assert_eq!(get(web, "/fine").await.0, 200, "{count}");
        }
        let ejected = l7switch::admin::servers(&switch)
            .iter()
            .filter(|server| server.state == ServerState::Ejected)
            .count();
        assert_eq!(ejected, count / 2);
    }
}

#[tokio::test]
async fn servers_that_take_no_connections_are_ejected_but_for_the_last() {
    let mut addresses = vec![
        closed_port().await,
        closed_port().await,
        closed_port().await,
    ];
    let pool = "scheduler = \"rr\"\npassive = { failures = 1, eject = \"1m\" }\nretries = 0";
    let fine = Server::saying("fine").await;
    addresses.push(fine.address);
    let switch = start(&simple(&addresses, "", pool));
    let web = address(&switch, "web");
    for _ in 0..8 {
        get(web, "/").await;
    }
    for _ in 0..8 {
        assert_eq!(get(web, "/").await.0, 200);
    }
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing_at_a_server_that_does_not_read() {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;
    let ended = std::sync::Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let ended = std::sync::Arc::clone(&ended);
        move |conn, _, _| {
            let ended = std::sync::Arc::clone(&ended);
            async move {
                // The end is known without reading what came before it.
                let _ = conn.stream.ready(tokio::io::Interest::ERROR).await;
                ended.store(true, SeqCst);
            }
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    let block = vec![b'x'; 1 << 16];
    let stalled = Duration::from_millis(500);
    while tokio::time::timeout(stalled, client.stream.write_all(&block))
        .await
        .is_ok()
    {}
    assert_eq!(l7switch::admin::servers(&switch)[0].active, 1);
    client.stream.set_zero_linger().unwrap();
    drop(client);
    until(|| ended.load(SeqCst)).await;
    assert_eq!(l7switch::admin::servers(&switch)[0].active, 0);
}
