// SPDX-License-Identifier: MIT
//! Histograms of how long responses take.

use std::time::Duration;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::get;
use crate::support::load;
use crate::support::metrics;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// The value of a sample; `None` where there is no such one.
fn value(text: &str, sample: &str) -> Option<f64> {
    let lines = text.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let value = values.next()?.parse().unwrap();
    assert_eq!(values.next(), None, "{sample} occurs twice");
    Some(value)
}

/// The count of a histogram.
fn count(text: &str, name: &str, labels: &str) -> Option<f64> {
    let labels = format!("datapath=\"front\"{labels}");
    let count = value(text, &format!("l7switch_{name}_count{{{labels}}}"));
    let all = format!("l7switch_{name}_bucket{{{labels},le=\"+Inf\"}}");
    assert_eq!(value(text, &all), count);
    count
}

/// Times of a slow server are in the classes of heads and of ends that they belong to, and sum up.
#[tokio::test]
async fn heads_and_ends_are_timed_apart() {
    let server = Server::start(|mut conn, _, _| async move {
        while conn.head().await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi")
                .await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            conn.send("ne").await;
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let to = address(&switch, "web");
    for _ in 0..3 {
        assert_eq!(get(to, "/").await.2, b"fine");
    }
    let text = metrics(&switch).await;
    let of_route = ",service=\"web\",route=\"#1\"";
    let of_server = format!(",pool=\"p\",server=\"{}\"", server.address);
    assert_eq!(count(&text, "first_byte_seconds", ""), Some(3.0));
    for (kind, labels) in [("route", of_route), ("server", &of_server)] {
        for (what, from, below) in [
            // 2^24 and 2^28 ns.
            ("first_byte", "0.016777216", "0.268435456"),
            // 2^28 and 2^34 ns.
            ("duration", "0.268435456", "17.179869184"),
        ] {
            let name = format!("{kind}_{what}_seconds");
            assert_eq!(count(&text, &name, labels), Some(3.0), "{name}\n{text}");
            let bucket = |le: &str| {
                let labels = format!("datapath=\"front\"{labels},le=\"{le}\"");
                value(&text, &format!("l7switch_{name}_bucket{{{labels}}}"))
            };
            assert_eq!((bucket(from), bucket(below)), (Some(0.0), Some(3.0)));
            let sum = format!("l7switch_{name}_sum{{datapath=\"front\"{labels}}}");
            let sum = value(&text, &sum).unwrap();
            let from: f64 = from.parse().unwrap();
            assert!(sum > 3.0 * from, "{name}: {sum}");
        }
    }
}

/// What no route takes is in the whole, and in no route; what breaks off has no duration.
#[tokio::test]
async fn only_whole_responses_of_routes_have_a_duration() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi")
            .await;
    })
    .await;
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\nprotocol = \"http\"\n\
         [[service.web.route]]\nname = \"cut\"\npath = {{ exact = \"/cut\" }}\npool = \"p\"\n\
         [[service.web.route]]\nname = \"own\"\npath = {{ exact = \"/own\" }}\nrespond = {{ status = 204 }}\n\
         [[service.web.route]]\nname = \"unused\"\npath = {{ exact = \"/unused\" }}\npool = \"p\"\n\
         [pool.p]\nservers = [\"{}\", \"{}\"]\nscheduler = \"rr\"\n",
        server.address,
        closed_port().await,
    );
    let switch = start(&rules);
    let to = address(&switch, "web");
    assert_eq!(get(to, "/").await.0, 404);
    assert_eq!(get(to, "/own").await.0, 204);
    let mut client = Raw::connect(to).await;
    client
        .send("GET /cut HTTP/1.1\r\nHost: test.example\r\n\r\n")
        .await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200 "));
    let _ = client.rest().await;
    let text = metrics(&switch).await;
    assert_eq!(count(&text, "first_byte_seconds", ""), Some(3.0), "{text}");
    let both = |labels: &str| {
        ["route_first_byte_seconds", "route_duration_seconds"]
            .map(|name| count(&text, name, labels))
    };
    assert_eq!(both(",service=\"web\",route=\"own\""), [Some(1.0); 2]);
    assert_eq!(both(",service=\"web\",route=\"cut\""), [Some(1.0), None]);
    assert_eq!(both(",service=\"web\",route=\"unused\""), [None; 2]);
    assert_eq!(both(",service=\"web\",route=\"#other\""), [None; 2]);
    let servers = text
        .lines()
        .filter(|line| line.starts_with("l7switch_server_first_byte_seconds_count"));
    assert_eq!(servers.count(), 1, "the other server was never reached");
}

/// A connection that becomes another protocol's has no duration, however long it lives.
#[tokio::test]
async fn tunnels_have_no_duration() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await;
        let five = conn.exactly(5).await;
        conn.send(five).await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET / HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        .await;
    assert!(client.head().await.unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest().await.unwrap(), b"hello");
    drop(client);
    let generation = switch.generation();
    let stats = &generation.services[0].stats;
    until(|| stats.room.open() == 0).await;
    let text = metrics(&switch).await;
    let labels = ",service=\"web\",route=\"#1\"";
    assert_eq!(count(&text, "route_first_byte_seconds", labels), Some(1.0));
    assert_eq!(count(&text, "route_duration_seconds", labels), None);
}

/// However many routes there are, so many have histograms of their own; routes that leave the rules leave the metrics too, and
/// make room.
#[tokio::test]
async fn series_are_bounded_and_leave_with_their_rules() {
    let routes = |prefix: &str, count: usize| {
        let route = |n| {
            format!(
                "[[service.web.route]]\nname = \"{prefix}{n}\"\npath = {{ exact = \"/{prefix}{n}\" }}\nrespond = {{ status = 204 }}\n"
            )
        };
        let routes: String = (0..count).map(route).collect();
        format!("[service.web]\nlisten = \"127.0.0.1:1\"\nprotocol = \"http\"\n{routes}")
    };
    let switch = start(&routes("a", 300));
    let to = address(&switch, "web");
    let ask = |prefix: &'static str, count: usize| async move {
        let mut client = Raw::connect(to).await;
        for n in 0..count {
            client
                .send(format!("GET /{prefix}{n} HTTP/1.1\r\nHost: x\r\n\r\n"))
                .await;
            assert_eq!(client.response().await.0, 204);
        }
    };
    ask("a", 300).await;
    let text = metrics(&switch).await;
    let counts = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("l7switch_route_duration_seconds_count"))
            .count()
    };
    let other = ",service=\"web\",route=\"#other\"";
    assert_eq!(counts(&text), 257);
    assert_eq!(count(&text, "route_duration_seconds", other), Some(44.0));

    switch.set(load(&routes("b", 10))).unwrap();
    ask("b", 10).await;
    let text = metrics(&switch).await;
    assert_eq!(
        counts(&text),
        11,
        "ten that are new, and the others of before"
    );
    for n in 0..10 {
        let labels = format!(",service=\"web\",route=\"b{n}\"");
        assert_eq!(count(&text, "route_duration_seconds", &labels), Some(1.0));
    }
    assert_eq!(count(&text, "route_duration_seconds", other), Some(44.0));
    // The whole has lost nothing.
    assert_eq!(count(&text, "first_byte_seconds", ""), Some(310.0));
}
