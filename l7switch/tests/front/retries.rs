// SPDX-License-Identifier: MIT
//! Requests that are sent to another server by rule.

use l7switch::Switch;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

/// A server that answers every request with this; nothing: it ends the connection; `wait`: it says nothing.
async fn answering(answer: &'static str) -> Server {
    Server::start(move |mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            conn.body(&head).await;
            seen.lock().unwrap().push(head);
            match answer {
                "" => return,
                "wait" => std::future::pending().await,
                answer => conn.send(answer).await,
            }
        }
    })
    .await
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-From: busy\r\n\r\nbusy";
const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
const LOST: &str = "HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nlost";

async fn request(switch: &Switch, head: &str, body: &str) -> (u16, Vec<u8>) {
    let mut client = Raw::connect(address(switch, "web")).await;
    client
        .send(format!("{head} HTTP/1.1\r\nHost: a\r\n{body}"))
        .await;
    let (code, _, body) = client.response().await;
    (code, body)
}

/// The first of these servers is asked first.
fn rules(servers: &[&Server], retries: &str) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let pool = format!("scheduler = \"rr\"\npassive = {{ failures = 0 }}\nretries = {retries}");
    simple(&addresses, "", &pool)
}

fn retries(switch: &Switch) -> (u64, u64) {
    let pool = l7switch::admin::status(switch).pools["p"];
    (pool.retries, pool.retries_refused)
}

#[tokio::test]
async fn a_status_of_the_rule_leads_to_another_server() {
    let (busy, good) = (answering(BUSY).await, answering(GOOD).await);
    let switch = start(&rules(&[&busy, &good], "{ on = [502, 503] }"));
    for _ in 0..4 {
        let answer = request(&switch, "GET /", "\r\n").await;
        assert_eq!(answer, (200, b"good".to_vec()));
    }
    assert_eq!(good.heads().len(), 4);
    let seen = u64::try_from(busy.heads().len()).unwrap();
    assert!(seen >= 2);
    assert_eq!(retries(&switch), (seen, 0));
    let metrics = crate::support::metrics(&switch).await;
    let sample = format!("l7switch_pool_retries_total{{pool=\"p\"}} {seen}\n");
    assert!(metrics.contains(&sample), "{metrics}");
    // The rule names no other status.
    let (busy, lost) = (answering(BUSY).await, answering(LOST).await);
    let switch = start(&rules(&[&busy, &lost], "{ on = 503 }"));
    assert_eq!(request(&switch, "GET /", "\r\n").await.0, 404);
    assert_eq!(request(&switch, "GET /", "\r\n").await.0, 404);
}

/// The client gets the last response, and not an error of the switch.
#[tokio::test]
async fn the_last_response_is_the_clients() {
    let servers = [
        answering(BUSY).await,
        answering(BUSY).await,
        answering(BUSY).await,
    ];
    let all: Vec<&Server> = servers.iter().collect();
    let seen = || {
        servers
            .iter()
            .map(|server| server.heads().len())
            .sum::<usize>()
    };
    let switch = start(&rules(&all, "{ attempts = 1, on = 503 }"));
    assert_eq!(
        request(&switch, "GET /", "\r\n").await,
        (503, b"busy".to_vec())
    );
    assert_eq!(seen(), 2);
    let switch = start(&rules(&all, "{ attempts = 9, on = 503 }"));
    assert_eq!(
        request(&switch, "GET /", "\r\n").await,
        (503, b"busy".to_vec())
    );
    assert_eq!(seen(), 5);
    let switch = start(&rules(&all[..1], "{ attempts = 9, on = 503 }"));
    assert_eq!(
        request(&switch, "GET /", "\r\n").await,
        (503, b"busy".to_vec())
    );
    assert_eq!((seen(), retries(&switch)), (6, (0, 0)));
}

/// What a server may have acted upon is sent again only if its method says that this is harmless, and if there is no
/// content that has gone.
#[tokio::test]
async fn only_requests_that_may_be_repeated_are() {
    for (head, body, methods, is_repeated) in [
        ("GET /", "\r\n", "", true),
        ("DELETE /", "\r\n", "", true),
        ("PUT /", "Content-Length: 0\r\n\r\n", "", true),
        ("POST /", "Content-Length: 0\r\n\r\n", "", false),
        (
            "POST /",
            "Content-Length: 0\r\n\r\n",
            ", methods = \"POST\"",
            true,
        ),
        ("GET /", "\r\n", ", methods = \"POST\"", false),
        ("PUT /", "Content-Length: 2\r\n\r\nhi", "", true),
        (
            "PUT /",
            "Content-Length: 2\r\n\r\nhi",
            ", body_limit = 1",
            false,
        ),
        (
            "PUT /",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "",
            true,
        ),
        (
            "GET /",
            "Connection: upgrade\r\nUpgrade: x\r\n\r\n",
            "",
            false,
        ),
    ] {
        for answer in [BUSY, "", "wait"] {
            let (bad, good) = (answering(answer).await, answering(GOOD).await);
            let rule = format!("{{ on = [503, \"reset\", \"timeout\"]{methods} }}");
            let rules = rules(&[&bad, &good], &rule) + "response_timeout = \"200ms\"\n";
            let switch = start(&rules);
            let (code, _) = request(&switch, head, body).await;
            let other = match answer {
                "" => 502,
                "wait" => 504,
                _ => 503,
            };
            let expected = if is_repeated { 200 } else { other };
            assert_eq!(code, expected, "{head} {body:?} {methods} after {answer:?}");
            assert_eq!(bad.heads().len(), 1);
        }
    }
}

/// A rule that does not name what happened leaves it to the client.
#[tokio::test]
async fn nothing_else_than_the_rule_says_is_repeated() {
    let good = answering(GOOD).await;
    for (bad, on, expected) in [
        (answering("").await, "[503, \"connect\"]", 502),
        (answering("").await, "\"reset\"", 200),
        (answering("wait").await, "[\"reset\", \"connect\"]", 504),
        (answering("wait").await, "\"timeout\"", 200),
        (
            answering(BUSY).await,
            "[\"reset\", \"connect\", \"timeout\"]",
            503,
        ),
    ] {
        let rule = format!("{{ on = {on} }}");
        let switch = start(&(rules(&[&bad, &good], &rule) + "response_timeout = \"200ms\"\n"));
        assert_eq!(request(&switch, "GET /", "\r\n").await.0, expected, "{on}");
    }
    let dead = crate::support::closed_port().await;
    for (on, expected) in [("\"reset\"", 502), ("\"connect\"", 200)] {
        let addresses = [dead, good.address];
        let pool = format!("scheduler = \"rr\"\nretries = {{ on = {on} }}");
        let switch = start(&simple(&addresses, "", &pool));
        // Nothing of it has gone anywhere: its method and content do not matter.
        let code = request(&switch, "POST /", "Content-Length: 2\r\n\r\nhi")
            .await
            .0;
        assert_eq!(code, expected, "{on}");
    }
}

/// Three at a time may be repeated, and a fifth of what is in progress.
#[tokio::test]
async fn the_budget_bounds_repeated_requests() {
    let (busy, silent) = (answering(BUSY).await, answering("wait").await);
    let switch = start(&rules(&[&busy, &silent], "{ on = 503, budget = 20 }"));
    let mut clients = Vec::new();
    // Every second one comes to the server that is busy, and from there to the silent one, while there is budget.
    let mut refused = 0;
    for number in 1..=12_usize {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let before = refused;
        until(|| {
            refused = usize::try_from(retries(&switch).1).unwrap();
            silent.heads().len() + refused == number
        })
        .await;
        if refused > before {
            let (code, _, body) = soon(client.response()).await;
            assert_eq!((code, &body[..]), (503, &b"busy"[..]));
        }
        clients.push(client);
    }
    assert!(
        retries(&switch).0 == 3 && refused > 0,
        "{:?}",
        retries(&switch)
    );
}

/// A server that notes requests with their content and trailers, and answers this; nothing: it ends the connection after so many
/// bytes of content.
async fn noting(answer: &'static str, most: usize) -> Server {
    Server::start(move |mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            if answer.is_empty() {
                conn.exactly(most).await;
                seen.lock().unwrap().push(head);
                return;
            }
            let is_chunked = head.contains("chunked");
            let (body, trailers) = match is_chunked {
                true => conn.chunks().await,
                false => (conn.body(&head).await, String::new()),
            };
            let body = String::from_utf8(body).unwrap();
            seen.lock().unwrap().push(format!("{body}|{trailers}"));
            conn.send(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn content_is_kept_for_another_server() {
    for (framing, expected) in [
        ("Content-Length: 5\r\n\r\nhello", "hello|"),
        ("Content-Length: 0\r\n\r\n", "|"),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
            "abcde|x-t: 1\r\n",
        ),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "|"),
    ] {
        let (busy, good) = (noting(BUSY, 0).await, noting(GOOD, 0).await);
        let switch = start(&rules(&[&busy, &good], "{ on = 503 }"));
        for _ in 0..2 {
            let answer = request(&switch, "PUT /", framing).await;
            assert_eq!(answer, (200, b"good".to_vec()), "{framing}");
        }
        let seen: Vec<_> = good.heads().iter().map(|one| one.to_lowercase()).collect();
        assert_eq!(seen, [expected, expected]);
        assert!(!busy.heads().is_empty());
        // No rule for POST.
        let (busy, good) = (noting(BUSY, 0).await, noting(GOOD, 0).await);
        let switch = start(&rules(&[&busy, &good], "{ on = 503 }"));
        let one = request(&switch, "POST /", framing).await.0;
        let other = request(&switch, "POST /", framing).await.0;
        assert_eq!([one, other].iter().filter(|code| **code == 503).count(), 1);
    }
}

/// The first server has seen a part of what comes piece by piece, and the second gets all.
#[tokio::test]
async fn content_that_is_under_way_begins_anew() {
    let (gone, good) = (noting("", 4).await, noting(GOOD, 0).await);
    let switch = start(&rules(&[&gone, &good], "{ on = [\"reset\"] }"));
    for (framing, pieces) in [
        ("Content-Length: 12", ["abcd", "efgh", "ijkl"]),
        (
            "Transfer-Encoding: chunked",
            ["4\r\nabcd\r\n", "4\r\nefgh\r\n", "4\r\nijkl\r\n0\r\n\r\n"],
        ),
    ] {
        let mut client = Raw::connect(address(&switch, "web")).await;
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        client.send(head).await;
        for piece in pieces {
            client.send(piece).await;
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
        let (code, _, body) = client.response().await;
        assert_eq!((code, body), (200, b"good".to_vec()), "{framing}");
        assert_eq!(good.heads().pop().unwrap(), "abcdefghijkl|");
    }
    assert!(!gone.heads().is_empty());
}

#[tokio::test]
async fn content_that_is_too_long_is_sent_once() {
    let (busy, good) = (noting(BUSY, 0).await, noting(GOOD, 0).await);
    let switch = start(&rules(&[&busy, &good], "{ on = 503, body_limit = 4 }"));
    for framing in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ] {
        let mut codes = Vec::new();
        for _ in 0..2 {
            codes.push(request(&switch, "PUT /", framing).await.0);
        }
        codes.sort_unstable();
        assert_eq!(codes, [200, 503], "{framing}");
    }
    for _ in 0..2 {
        let answer = request(&switch, "PUT /", "Content-Length: 4\r\n\r\nfine").await;
        assert_eq!(answer.0, 200);
    }
}

/// A server has read all of it, and another pool is asked: it gets all of it too.
#[tokio::test]
async fn a_fallback_pool_gets_the_content_from_its_start() {
    for (framing, pieces) in [
        ("Content-Length: 12", vec!["abcdefghijkl"]),
        ("Content-Length: 12", vec!["", "abcd", "efghijkl"]),
        (
            "Transfer-Encoding: chunked",
            vec!["", "4\r\nabcd\r\n", "8\r\nefghijkl\r\n0\r\n\r\n"],
        ),
    ] {
        let (gone, good) = (noting("", 4).await, noting(GOOD, 0).await);
        let closed = crate::support::closed_port().await;
        let pool = format!(
            "scheduler = \"rr\"\npassive = {{ failures = 0 }}\nfallback = \"f\"\n\
             retries = {{ on = [\"reset\", \"connect\"] }}\n[pool.f]\nservers = \"{}\"\n",
            good.address
        );
        let switch = start(&simple(&[gone.address, closed], "", &pool));
        for _ in 0..2 {
            let mut client = Raw::connect(address(&switch, "web")).await;
            let mut first = format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
            first.push_str(pieces[0]);
            client.send(first).await;
            for piece in &pieces[1..] {
                client.send(piece).await;
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            }
            let (code, _, body) = client.response().await;
            assert_eq!(
                (code, body),
                (200, b"good".to_vec()),
                "{framing} {pieces:?}"
            );
            assert_eq!(good.heads().pop().unwrap(), "abcdefghijkl|");
        }
    }
}

/// Content of which a server has seen some and that is not kept goes to nobody else.
#[tokio::test]
async fn a_fallback_pool_gets_no_rest() {
    let (gone, good) = (noting("", 4).await, noting(GOOD, 0).await);
    let pool = format!(
        "passive = {{ failures = 0 }}\nfallback = \"f\"\n\
         retries = {{ on = [\"reset\", \"connect\"], body_limit = 1 }}\n[pool.f]\nservers = \"{}\"\n",
        good.address
    );
    let switch = start(&simple(&[gone.address], "", &pool));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nabcd")
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    client.send("efghijkl").await;
    assert_eq!(client.response().await.0, 502);
    assert!(good.heads().is_empty());
}

/// What the attempts before have taken is not counted against a server.
#[tokio::test]
async fn each_attempt_has_its_own_time() {
    let (silent, good) = (answering("wait").await, answering(GOOD).await);
    let rules = rules(&[&silent, &good], "{ on = \"timeout\" }") + "response_timeout = \"200ms\"\n";
    let switch = start(&rules);
    for _ in 0..4 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        for _ in 0..2 {
            // The second one finds kept connections.
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(client.response().await.0, 200);
        }
    }
    let servers = l7switch::admin::servers(&switch);
    let failures = |address: String| {
        let server = servers.iter().find(|one| one.address == address);
        server.unwrap().failures
    };
    assert_eq!(failures(good.address.to_string()), 0);
}

/// What a mirror keeps is not what may be sent again.
#[tokio::test]
async fn a_mirror_widens_no_limit() {
    let (busy, good) = (noting(BUSY, 0).await, noting(GOOD, 0).await);
    let rules = rules(&[&busy, &good], "{ on = 503, body_limit = 4 }");
    let mirror = "pool = \"p\"\nmirror = { pool = \"m\" }\n";
    let rules = rules.replacen("pool = \"p\"\n", mirror, 1)
        + &format!("\n[pool.m]\nservers = \"{}\"\n", good.address);
    let switch = start(&rules);
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        client.send("hello").await;
        codes.push(client.response().await.0);
    }
    codes.sort_unstable();
    assert_eq!(codes, [200, 503]);
}
