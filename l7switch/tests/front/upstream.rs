// SPDX-License-Identifier: MIT
//! Real servers: reuse of connections, retries, times, ejection, health.

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
