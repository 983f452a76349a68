// SPDX-License-Identifier: MIT
//! The metrics listener.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch::exposed::Exposed;
use l7switch::exposed::StartError;
use l7switch::exposed::access::Files;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::exposition;
use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::metrics;
use crate::support::simple;
use crate::support::start;
use crate::support::until;
use crate::tls;

fn exposed(switch: &Arc<l7switch::Switch>) -> Exposed {
    exposed_with(switch, Files::default()).unwrap()
}

fn exposed_with(switch: &Arc<l7switch::Switch>, files: Files) -> Result<Exposed, StartError> {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut exposed = Exposed::open(switch, any, files, None)?;
    exposed.serve(Arc::clone(switch));
    Ok(exposed)
}

/// The files are read again, though this switch has no rule file.
async fn reload(switch: &Arc<l7switch::Switch>) {
    let error = switch.reload().await.unwrap_err().to_string();
    assert!(error.contains("no rule file"), "{error}");
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
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("l7switch_build_info{{version=\"{version}\",table_layout=\"");
    assert!(text.contains(&build), "{text}");
    assert!(text.contains("# TYPE l7switch_build_info gauge\n"));
    for name in ["open_fds", "max_fds", "resident_memory_bytes"] {
        assert!(text.contains(&format!("\nprocess_{name} ")), "{name}");
    }

    let mut raw = Raw::connect(exposed.bound()).await;
    raw.send("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n").await;
    let (status, head, open) = raw.response().await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    let open = String::from_utf8(open).unwrap();
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    assert!(open.contains("# TYPE l7switch_requests counter\n"));
    assert!(open.contains("# TYPE l7switch_build info\n"));
    assert!(open.contains(&build), "{open}");
    assert!(open.contains(requests), "{open}");
    // The samples are the same.
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let names = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
        names.collect()
    };
    assert_eq!(samples(&text), samples(&open));
    exposition::check(&text);
    exposition::check(&open);
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
    for target in [
        "/v1",
        "/v1/",
        "/v1/reload",
        "/v2/status",
        "/metrics/",
        "//metrics",
    ] {
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

/// Whoever connects and says nothing keeps out only who comes from the same address; those are counted.
#[tokio::test]
async fn connections_are_bounded() {
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let exposed = exposed(&switch);
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(Raw::connect(exposed.bound()).await);
    }
    let mut late = Raw::connect(exposed.bound()).await;
    assert!(late.ended().await, "there is no room");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Raw::new(socket.connect(exposed.bound()).await.unwrap());
    other.send("GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(other.response().await.0, 200);
    let text = metrics(&switch).await;
    let counted = "l7switch_metrics_refused_total{reason=\"connections\"} 1\n";
    assert!(text.contains(counted), "{text}");
    silent.clear();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(get(exposed.bound(), "/live").await.0, 200);
}

/// Asks with these field lines; gives status and head.
async fn ask(exposed: &Exposed, target: &str, fields: &str) -> (u16, String) {
    let mut raw = Raw::connect(exposed.bound()).await;
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
        .await;
    let (status, head, _) = raw.response().await;
    (status, head.to_ascii_lowercase())
}

/// Without the token there are no metrics; whether the switch lives is told to everybody.
#[tokio::test]
async fn metrics_may_need_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let files = Files {
        token: Some(path.clone()),
        ..Files::default()
    };
    let error = exposed_with(&switch, files.clone()).unwrap_err();
    assert!(error.to_string().contains("token: "), "{error}");
    std::fs::write(&path, "first\n").unwrap();
    let exposed = exposed_with(&switch, files).unwrap();
    let (first, second) = (
        "Authorization: Bearer first\r\n",
        "Authorization: Bearer second\r\n",
    );

    assert_eq!(ask(&exposed, "/metrics", first).await.0, 200);
    let (status, head) = ask(&exposed, "/metrics", "").await;
    assert_eq!(status, 401);
    assert!(
        head.contains("\r\nwww-authenticate: bearer realm=\"l7switch\"\r\n"),
        "{head}"
    );
    let (status, head) = ask(&exposed, "/metrics", second).await;
    assert_eq!(status, 401);
    assert!(head.contains("error=\"invalid_token\""), "{head}");
    for target in ["/live", "/ready"] {
        assert_eq!(ask(&exposed, target, "").await.0, 200, "{target}");
    }
    assert_eq!(ask(&exposed, "/other", "").await.0, 404);
    let refused = "l7switch_metrics_refused_total{reason=\"token\"} 2\n";
    assert!(metrics(&switch).await.contains(refused));

    // A file that cannot be used changes nothing.
    std::fs::write(&path, "two words").unwrap();
    reload(&switch).await;
    assert_eq!(ask(&exposed, "/metrics", first).await.0, 200);
    std::fs::write(&path, "second").unwrap();
    reload(&switch).await;
    assert_eq!(ask(&exposed, "/metrics", first).await.0, 401);
    assert_eq!(ask(&exposed, "/metrics", second).await.0, 200);
}

/// With a certificate it speaks TLS and nothing else; who speaks otherwise is counted.
#[tokio::test]
async fn metrics_may_be_read_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        tls::certificate(&["metrics.test"]),
        tls::certificate(&["metrics.test"]),
    );
    let (certificate, key) = tls::write(folder.path(), "pair", &old);
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let (_, other) = tls::write(folder.path(), "other", &new);
    let files = |key: &str| Files {
        pair: Some((certificate.clone().into(), key.into())),
        ..Files::default()
    };
    let error = exposed_with(&switch, files(&other))
        .unwrap_err()
        .to_string();
    assert!(error.contains("pair.pem"), "{error}");
    let exposed = exposed_with(&switch, files(&key)).unwrap();
    assert!(exposed.is_https());
    let read = async |pair| {
        let config = tls::client(&[pair], &["http/1.1"]);
        let mut stream = tls::connect(&config, exposed.bound(), "metrics.test").await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: metrics.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8(answer).unwrap())
    };
    let answer = read(&old).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("l7switch_uptime_seconds "), "{answer}");

    let mut clear = Raw::connect(exposed.bound()).await;
    clear.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let said = clear.rest().await.unwrap_or_default();
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    let refused = || switch.core().metrics_listener.tls.load(Relaxed);
    until(|| refused() == 1).await;

    // A renewed certificate is shown to connections from now on.
    tls::write(folder.path(), "pair", &new);
    read(&old).await.unwrap();
    reload(&switch).await;
    read(&new).await.unwrap();
    read(&old).await.unwrap_err();
    until(|| refused() == 2).await;
    let text = metrics(&switch).await;
    assert!(text.contains("l7switch_metrics_refused_total{reason=\"tls\"} 2\n"));
}
