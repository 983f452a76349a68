// SPDX-License-Identifier: MIT
//! Collectors that are slow, gone, or refuse; and the access log beside them.

use std::time::Duration;
use std::time::Instant;

use l7switch::Switch;
use l7switch::observe::access_log;

use super::Collector;
use super::options;
use super::traced;
use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::get;
use crate::support::metrics;
use crate::support::simple;
use crate::support::start_with;
use crate::support::until;

async fn count(switch: &Switch, name: &str) -> u64 {
    let metrics = metrics(switch).await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

async fn counts(switch: &Switch) -> (u64, u64) {
    let exported = count(switch, "l7switch_spans_exported_total ").await;
    (
        exported,
        count(switch, "l7switch_spans_dropped_total ").await,
    )
}

/// Waits until so many spans are exported and dropped.
async fn wait(switch: &Switch, expected: (u64, u64)) {
    crate::support::soon(async {
        while counts(switch).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn spans_are_counted_and_share_a_connection() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let switch = traced(&simple(&[server.address], "", ""), &collector);
    assert_eq!(counts(&switch).await, (0, 0));
    for round in 1..=2 {
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
        wait(&switch, (2 * round, 0)).await;
    }
    assert_eq!(collector.server.connection_count(), 1);
    // What waits when the switch ends is sent.
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    let asked = Instant::now();
    let flushing = tokio::task::spawn_blocking({
        let core = switch.core().clone();
        move || core.spans.as_ref().unwrap().flush()
    });
    flushing.await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(900));
    assert_eq!(collector.spans().len(), 6);
}

/// Requests go on, and what is lost is counted.
#[tokio::test]
async fn a_collector_that_is_gone_costs_spans_only() {
    let server = Server::saying("fine").await;
    let nobody = closed_port().await;
    let silent = Server::start(|_conn, _, _| std::future::pending()).await;
    for collector in [nobody, silent.address] {
        let switch = start_with(
            &simple(&[server.address], "", ""),
            &options(collector, "100%"),
        );
        for _ in 0..3 {
            assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
        }
        wait(&switch, (0, 6)).await;
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
        wait(&switch, (0, 8)).await;
    }
}

/// More requests than may wait for a collector: the others have no spans, and are not slower.
#[tokio::test]
async fn the_queue_is_bounded() {
    let silent = Server::start(|_conn, _, _| std::future::pending()).await;
    let mut options = options(silent.address, "100%");
    options.spans.timeout = Some(Duration::from_secs(60));
    let rules = "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\nrespond = { status = 204 }\n";
    let switch = start_with(rules, &options);
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..60 {
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100))
            .await;
        for _ in 0..100 {
            assert_eq!(crate::support::status(&client.head().await.unwrap()), 204);
        }
    }
    // Those that wait, and at most one batch that is being sent.
    let (exported, dropped) = counts(&switch).await;
    assert_eq!(exported, 0);
    assert!(
        (6000 - 4096 - 512..=6000 - 4096).contains(&dropped),
        "{dropped}"
    );
}

/// A collector that says what it does not take (OTLP, "Partial Success"), and one that takes nothing of it.
#[tokio::test]
async fn what_collectors_refuse_is_counted() {
    let server = Server::saying("fine").await;
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x01",
            (1, 1),
        ),
        ("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", (0, 2)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n???", (2, 0)),
        (
            "HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            (0, 2),
        ),
    ] {
        let collector = Collector::answering(answer).await;
        let switch = traced(&simple(&[server.address], "", ""), &collector);
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
        wait(&switch, expected).await;
    }
}

#[tokio::test]
async fn lines_of_the_access_log_name_the_trace() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut options = collector.options();
    options.access_log = access_log::Config {
        target: path.to_str().unwrap().parse().unwrap(),
        format: "$trace_id $user_agent".parse().unwrap(),
        ..access_log::Config::default()
    };
    let switch = start_with(&simple(&[server.address], "", ""), &options);
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    let spans = collector.wait(2).await;
    let trace: String = spans[0]
        .trace_id
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let read = || std::fs::read_to_string(&path).unwrap();
    until(|| !read().is_empty()).await;
    assert_eq!(read(), format!("{trace} -\n"));
}
