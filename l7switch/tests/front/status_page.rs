// SPDX-License-Identifier: MIT
//! The status page at the metrics listener: what it is made of, who may read its numbers, and who may operate.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use l7switch::Switch;
use l7switch::exposed::Exposed;
use l7switch::exposed::access::Files;
use serde_json::Value;
use serde_json::json;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::get;
use crate::support::metrics;
use crate::support::simple;
use crate::support::start;

fn exposed(switch: &Arc<Switch>, files: Files) -> Exposed {
    let address = "127.0.0.1:0".parse().unwrap();
    let mut exposed = Exposed::open(switch, address, files, None).unwrap();
    exposed.serve(Arc::clone(switch));
    exposed
}

/// Files with these tokens; an empty one: there is none.
fn files(folder: &Path, read: &str, operate: &str) -> Files {
    let file = |name: &str, token: &str| {
        let path = folder.join(name);
        std::fs::write(&path, token).unwrap();
        (!token.is_empty()).then_some(path)
    };
    Files {
        pair: None,
        token: file("read", read),
        operate: file("operate", operate),
    }
}

/// Sends a request with a token, if it is not empty; gives status, head and content.
async fn ask(
    to: SocketAddr,
    method: &str,
    target: &str,
    token: &str,
    content: &str,
) -> (u16, String, String) {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let length = content.len();
    let mut raw = Raw::connect(to).await;
    raw.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Length: {length}\r\n\r\n{content}"
    ))
    .await;
    let (status, head, content) = raw.response().await;
    (status, head, String::from_utf8(content).unwrap())
}

const DRAIN: &str = r#"{"state":"drain"}"#;

#[tokio::test]
async fn the_page_is_for_everybody_and_loads_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let exposed = exposed(&switch, files(folder.path(), "reader", ""));
    let (status, head, _) = get(exposed.bound(), "/").await;
    assert_eq!(status, 302);
    assert_eq!(field(&head, "location").as_deref(), Some("status"));
    let (status, head, page) = get(exposed.bound(), "/status").await;
    assert_eq!(status, 200);
    let of = |name: &str| field(&head, name).unwrap_or_default();
    assert_eq!(of("content-type"), "text/html; charset=utf-8");
    let policy = of("content-security-policy");
    for part in [
        "default-src 'none'; ",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'; ",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(of(name), value, "{name}");
    }
    let page = String::from_utf8(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    // It has no numbers: those need the token.
    let (status, head, _) = get(exposed.bound(), "/v1/status").await;
    assert_eq!(status, 401);
    assert!(field(&head, "www-authenticate").is_some());
}

#[tokio::test]
async fn the_documents_are_those_of_the_admin_socket() {
    let server = Server::saying("fine").await;
    let gone = crate::support::closed_port().await;
    let pool = "health = { tcp = true, interval = \"20ms\", fall = 1 }";
    let switch = start(&simple(&[server.address, gone], "", pool));
    let exposed = exposed(&switch, Files::default());
    assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    let read = async |name: &str| -> Value {
        let (status, head, text) = ask(exposed.bound(), "GET", name, "", "").await;
        assert_eq!(status, 200, "{name}");
        assert_eq!(
            field(&head, "content-type").as_deref(),
            Some("application/json")
        );
        assert_eq!(field(&head, "cache-control").as_deref(), Some("no-store"));
        serde_json::from_str(&text).unwrap()
    };
    let is_down = || {
        let servers = l7switch::admin::servers(&switch);
        servers[1].why.as_deref() == Some("connection refused")
    };
    crate::support::until(is_down).await;
    let servers = read("/v1/servers").await;
    let down = &servers["servers"][1];
    assert_eq!(down["state"], "down");
    assert_eq!(down["last_check"]["error"], "connection refused");
    let since = down["since"].as_u64().unwrap();
    assert!(since > 1_700_000_000 && down["last_check"]["at"].as_u64().unwrap() >= since);
    assert!(down["last_check"]["took_ms"].as_f64().unwrap() < 5000.0);
    assert_eq!(servers["servers"][0]["why"], Value::Null);
    assert_eq!(servers["servers"][0]["first_byte"]["count"], 1);

    let routes = read("/v1/routes").await;
    let route = &routes["routes"][0];
    assert_eq!(
        (&route["route"], &route["action"]),
        (&json!("#1"), &json!("pool p"))
    );
    assert_eq!(
        (&route["requests"], &route["responses"]["2xx"]),
        (&json!(1), &json!(1))
    );
    assert!(route["first_byte"]["p99_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(route["kernel"], Value::Null);
    let fewer = read("/v1/routes?most=0").await;
    assert_eq!(
        (&fewer["routes"], &fewer["left_out"]),
        (&json!([]), &json!(1))
    );

    let events = read("/v1/events").await;
    let event = &events["events"][0];
    assert_eq!(
        (&event["kind"], &event["level"]),
        (&json!("server_down"), &json!("warning"))
    );
    assert_eq!(
        (&event["pool"], &event["text"]),
        (&json!("p"), &json!("connection refused"))
    );
    assert_eq!(event["server"], gone.to_string());
    assert_eq!(events["lost"], 0);
    assert_eq!(
        read("/v1/status").await["services"]["web"]["first_byte"]["count"],
        1
    );
    let kernel = json!({ "status": read("/v1/status").await["kernel"], "counted": null });
    assert_eq!(read("/v1/kernel").await, kernel);
    assert_eq!(
        read("/v1/role").await,
        json!({ "role": "read", "operable": false })
    );
    let text = metrics(&switch).await;
    assert!(
        text.contains("l7switch_events_total{kind=\"server_down\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("l7switch_events_lost_total 0\n"), "{text}");
}

/// Without the option no request changes anything, whoever sends it.
#[tokio::test]
async fn nothing_is_changed_without_a_token_to_operate() {
    let folder = tempfile::tempdir().unwrap();
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    for files in [Files::default(), files(folder.path(), "reader", "")] {
        let exposed = exposed(&switch, files);
        for target in ["/v1/servers/p/127.0.0.1:1", "/v1/servers/127.0.0.1:1"] {
            for method in ["PATCH", "GET", "POST", "DELETE"] {
                let (status, head, _) = ask(exposed.bound(), method, target, "reader", DRAIN).await;
                assert_eq!(status, 405, "{method} {target}");
                assert_eq!(field(&head, "allow").as_deref(), Some(""));
            }
        }
        for target in ["/v1/reload", "/v1/take-over", "/v1/services/web"] {
            let found = ask(exposed.bound(), "POST", target, "reader", "{}").await;
            assert_eq!(found.0, 404, "{target}");
        }
    }
    let servers = l7switch::admin::servers(&switch);
    assert_eq!(servers[0].state.as_str(), "up");
}

#[tokio::test]
async fn servers_are_drained_and_put_back_with_the_token_to_operate() {
    let folder = tempfile::tempdir().unwrap();
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let exposed = exposed(&switch, files(folder.path(), "reader", "operator"));
    let to = exposed.bound();
    let target = "/v1/servers/p/127.0.0.1:1";
    let state = || l7switch::admin::servers(&switch)[0].state.as_str();
    for (token, expected, challenge) in [
        ("", 401, "Bearer realm=\"l7switch\""),
        (
            "other",
            401,
            "Bearer realm=\"l7switch\", error=\"invalid_token\"",
        ),
        (
            "reader",
            403,
            "Bearer realm=\"l7switch\", error=\"insufficient_scope\"",
        ),
    ] {
        let (status, head, _) = ask(to, "PATCH", target, token, DRAIN).await;
        assert_eq!(status, expected, "{token}");
        let told = field(&head, "www-authenticate");
        assert_eq!(told.as_deref(), Some(challenge), "{token}");
        assert_eq!(state(), "up");
    }
    let (status, _, text) = ask(to, "PATCH", target, "operator", DRAIN).await;
    assert_eq!(status, 200, "{text}");
    let changed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        changed["servers"][0]["why"],
        "by an administrator at 127.0.0.1"
    );
    assert_eq!(state(), "draining");
    let put_back = r#"{"state":"up"}"#;
    let in_all = "/v1/servers/127.0.0.1%3A1";
    assert_eq!(ask(to, "PATCH", in_all, "operator", put_back).await.0, 200);
    assert_eq!(state(), "up");
    // As at the admin socket, mistakes are told, here to those who may operate.
    for (target, content, expected) in [
        ("/v1/servers/q/127.0.0.1:1", DRAIN, 404),
        ("/v1/servers/p/127.0.0.1:2", DRAIN, 404),
        (target, r#"{"state":"gone"}"#, 400),
        (target, "", 400),
    ] {
        let (status, _, text) = ask(to, "PATCH", target, "operator", content).await;
        assert_eq!(status, expected, "{text}");
        assert!(text.starts_with("{\"error\":"), "{text}");
    }
    // A browser asks first whether another page may: nobody says yes.
    let (status, head, _) = ask(to, "OPTIONS", target, "", "").await;
    assert_eq!(status, 405);
    assert_eq!(field(&head, "allow").as_deref(), Some("PATCH"));
    assert!(
        !head.to_ascii_lowercase().contains("access-control-"),
        "{head}"
    );
    for (token, role) in [("reader", "read"), ("operator", "operate")] {
        let (_, _, text) = ask(to, "GET", "/v1/role", token, "").await;
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told, json!({ "role": role, "operable": true }));
        assert_eq!(ask(to, "GET", "/metrics", token, "").await.0, 200);
    }
    let text = metrics(&switch).await;
    for line in [
        "l7switch_metrics_refused_total{reason=\"token\"} 2\n",
        "l7switch_metrics_refused_total{reason=\"role\"} 1\n",
        "l7switch_metrics_changes_total{result=\"ok\"} 2\n",
        "l7switch_metrics_changes_total{result=\"failed\"} 4\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let events = switch.core().events.status();
    let texts: Vec<&str> = events.events.iter().map(|event| &*event.text).collect();
    assert_eq!(
        texts,
        [
            "put back by an administrator at 127.0.0.1",
            "drained by an administrator at 127.0.0.1"
        ]
    );
}

/// One who may operate may read, where reading needs a token and where it does not.
#[tokio::test]
async fn reading_may_be_free_where_operating_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let exposed = exposed(&switch, files(folder.path(), "", "operator"));
    for (token, status, operates) in [("", 200, 401), ("operator", 200, 200), ("other", 401, 401)] {
        let to = exposed.bound();
        let read = ask(to, "GET", "/v1/servers", token, "").await.0;
        let target = "/v1/servers/p/127.0.0.1:1";
        let patch = ask(to, "PATCH", target, token, DRAIN).await.0;
        assert_eq!((read, patch), (status, operates), "{token}");
    }
}

/// An address of this machine that is not a loopback address, if it has one.
fn own_address() -> Option<SocketAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel chooses the address that it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback()).then(|| SocketAddr::new(own, 0))
}

/// Who sees what without a token is told by the peer's address; `access.rs` has the same for many addresses.
#[tokio::test]
async fn without_a_token_other_machines_see_metrics_and_no_more() {
    let Some(own) = own_address() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let start = |files| {
        let mut exposed = Exposed::open(&switch, own, files, None).unwrap();
        exposed.serve(Arc::clone(&switch));
        exposed
    };
    let exposed = start(Files::default());
    let to = exposed.bound();
    for target in ["/metrics", "/live", "/ready", "/status"] {
        assert_eq!(get(to, target).await.0, 200, "{target}");
    }
    for target in ["status", "servers", "routes", "events", "kernel", "role"] {
        let (status, head, text) = ask(to, "GET", &format!("/v1/{target}"), "", "").await;
        assert_eq!(status, 403, "{target}");
        assert!(text.contains("--metrics-token"), "{text}");
        // No token would help.
        assert_eq!(field(&head, "www-authenticate"), None);
    }
    let refused = "l7switch_metrics_refused_total{reason=\"peer\"} 6\n";
    let text = metrics(&switch).await;
    assert!(text.contains(refused), "{text}");

    let exposed = start(files(folder.path(), "", "operator"));
    let to = exposed.bound();
    for (token, expected) in [("", 401), ("other", 401), ("operator", 200)] {
        let status = ask(to, "GET", "/v1/status", token, "").await.0;
        assert_eq!(status, expected, "{token}");
    }
    assert_eq!(get(to, "/metrics").await.0, 200);
}
