// SPDX-License-Identifier: MIT
//! The metrics listener.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use l7switch::exposed::Exposed;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::simple;
use crate::support::start;

fn exposed(switch: &Arc<l7switch::Switch>) -> Exposed {
    Exposed::start(Arc::clone(switch), "127.0.0.1:0".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn metrics_are_read_in_both_formats() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let exposed = exposed(&switch);
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    let (status, head, text) = get(exposed.bound(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(head.contains("no-store"), "{head}");
    let text = String::from_utf8(text).unwrap();
    let requests = "l7switch_requests_total{service=\"web\"} 1\n";
    assert!(text.contains(requests), "{text}");
    assert!(text.contains("# TYPE l7switch_requests_total counter\n"));

    let mut raw = Raw::connect(exposed.bound()).await;
    raw.send("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n").await;
    let (status, head, open) = raw.response().await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    let open = String::from_utf8(open).unwrap();
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    assert!(open.contains("# TYPE l7switch_requests counter\n"));
    assert!(open.contains(requests), "{open}");
    // The samples are the same, and a family is described once.
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let names = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
        names.collect()
    };
    assert_eq!(samples(&text), samples(&open));
    let types: Vec<&str> = open.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let once: BTreeSet<&str> = types.iter().copied().collect();
    assert_eq!(types.len(), once.len());
}

#[tokio::test]
async fn it_says_whether_the_switch_lives_and_is_ready_and_changes_nothing() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let exposed = exposed(&switch);
    let said = |target: &'static str| {
        let to = exposed.bound();
        async move {
            let (status, _, text) = get(to, target).await;
            (status, String::from_utf8(text).unwrap())
        }
    };
    assert_eq!(said("/live").await, (200, "live\n".into()));
    assert_eq!(said("/ready").await, (200, "ready\n".into()));
    for target in ["/", "/v1/status", "/v1/reload", "/metrics/", "//metrics"] {
        assert_eq!(said(target).await.0, 404, "{target}");
    }
    for (method, wanted) in [
        ("HEAD", 200),
        ("POST", 405),
        ("PATCH", 405),
        ("DELETE", 405),
    ] {
        let mut raw = Raw::connect(exposed.bound()).await;
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        raw.send(request).await;
        let head = raw.head().await.unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {wanted} ")), "{head}");
        assert_eq!(head.to_ascii_lowercase().contains("allow: "), wanted == 405);
    }
    assert!(switch.drain(Duration::from_secs(5)).await);
    assert_eq!(said("/ready").await, (503, "draining\n".into()));
    assert_eq!(said("/live").await, (200, "live\n".into()));
}

/// Whoever connects and says nothing keeps nobody out for long, and the others wait.
#[tokio::test]
async fn connections_are_bounded() {
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let exposed = exposed(&switch);
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(Raw::connect(exposed.bound()).await);
    }
    let late = get(exposed.bound(), "/live");
    let late = tokio::time::timeout(Duration::from_millis(300), late).await;
    assert!(late.is_err(), "there is no room");
    silent.pop();
    assert_eq!(get(exposed.bound(), "/live").await.0, 200);
}
