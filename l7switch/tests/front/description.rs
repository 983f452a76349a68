// SPDX-License-Identifier: MIT
//! The description of the admin API is what the switch does: every path in it answers, and every path that answers is in it.

use std::path::Path;
use std::sync::Arc;

use l7switch::admin::Admin;
use l7switch::exposed::Exposed;
use l7switch::exposed::access::Files;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::Raw;
use crate::support::field;
use crate::support::simple;
use crate::support::start;
use crate::support::status;

/// Sends a request with these field lines; gives status, head and content.
async fn ask(path: &Path, method: &str, target: &str, body: &str) -> (u16, String, String) {
    ask_with(path, method, target, "", body).await
}

async fn ask_with(
    path: &Path,
    method: &str,
    target: &str,
    fields: &str,
    body: &str,
) -> (u16, String, String) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: l7switch\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // What is too long is not read to its end.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    // What came before the end stays, also if that is a reset.
    while matches!(stream.read_buf(&mut answer).await, Ok(1..)) {}
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status(head), head.to_owned(), body.to_owned())
}

async fn admin() -> (TempDir, Admin, Arc<l7switch::Switch>) {
    let switch = start(&simple(&["127.0.0.1:1".parse().unwrap()], "", ""));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    (folder, admin, switch)
}

/// Each method and path of the description; the path has values that are there.
fn operations(description: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let target = path
            .replace("{pool}", "p")
            .replace("{address}", "127.0.0.1:1")
            .replace("{name}", "web");
        for method in methods.as_object().unwrap().keys() {
            if method != "parameters" {
                all.push((method.to_uppercase(), target.clone()));
            }
        }
    }
    all
}

#[tokio::test]
async fn the_description_is_served_as_docs_have_it() {
    let (_folder, admin, switch) = admin().await;
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (code, head, text) = ask(admin.path(), "GET", "/v1/openapi.json", "").await;
    assert_eq!(code, 200);
    assert_eq!(
        field(&head, "content-type").as_deref(),
        Some("application/json")
    );
    assert!(text == docs);
    let any = "127.0.0.1:0".parse().unwrap();
    let mut exposed = Exposed::open(&switch, any, Files::default(), None).unwrap();
    exposed.serve(switch);
    let mut client = Raw::connect(exposed.bound()).await;
    client
        .send("GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    let (code, _, text) = client.response().await;
    assert!(code == 200 && text == docs.as_bytes());
    let description: Value = serde_json::from_str(&docs).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn every_path_in_it_answers_and_every_path_that_answers_is_in_it() {
    let (_folder, admin, _switch) = admin().await;
    let path = admin.path();
    let (_, _, text) = ask(path, "GET", "/v1/openapi.json", "").await;
    let description: Value = serde_json::from_str(&text).unwrap();
    let operations = operations(&description);
    assert!(operations.len() >= 15);
    for (method, target) in &operations {
        let body = if method == "PATCH" { "{}" } else { "" };
        let (code, _, text) = ask(path, method, target, body).await;
        // Without a rule file nothing is reloaded, a question needs a URL, and a take-over another protocol.
        let expected = match target.as_str() {
            "/v1/reload" => 422,
            "/v1/explain" => 400,
            "/v1/take-over" => 426,
            _ => 200,
        };
        assert_eq!(code, expected, "{method} {target}: {text}");
        for other in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
        ] {
            if other == method {
                continue;
            }
            let (code, head, text) = ask(path, other, target, "").await;
            assert_eq!(code, 405, "{other} {target}");
            let allowed = match method.as_str() {
                "GET" => "GET, HEAD",
                method => method,
            };
            assert_eq!(field(&head, "allow").as_deref(), Some(allowed));
            assert!(text.starts_with("{\"error\":"), "{text}");
        }
        let (code, head, text) = ask(path, "HEAD", target, "").await;
        assert_eq!(code, if method == "GET" { 200 } else { 405 }, "{target}");
        assert_eq!(text, "", "{head}");
    }
    // What answers is said by the switch itself.
    let (code, _, text) = ask(path, "GET", "/v2", "").await;
    let known: Value = serde_json::from_str(&text).unwrap();
    let known: Vec<&str> = known["known"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k.as_str().unwrap())
        .collect();
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if method != "parameters" {
                described.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(code, 404);
    assert_eq!(known.len(), described.len());
    assert!(known.iter().all(|one| described.iter().any(|d| d == one)));
    for target in [
        "/",
        "/v1",
        "/v1/",
        "/status",
        "/live",
        "/ready",
        "/v1/openapi",
        "/v1/status/",
        "/v1//status",
        "//v1/status",
        "/v1/servers/",
        "/v1/servers//127.0.0.1:1",
        "/v1/servers/p/",
        "/v1/services/",
        "/v1/services/web/x",
        "/v1/%",
        "/v1/status%00",
        "/v1/%FFstatus",
        "/v1%2Fstatus",
    ] {
        for method in ["GET", "PATCH", "POST"] {
            let (code, _, text) = ask(path, method, target, "{}").await;
            assert_eq!(code, 404, "{method} {target}");
            assert!(text.starts_with("{\"error\":\"there is no /"), "{text}");
        }
    }
    // Another spelling of a path is the same path (RFC 3986, 6.2.2.2).
    assert_eq!(ask(path, "GET", "/v1/%73tatus", "").await.0, 200);
}

#[tokio::test]
async fn hostile_content_is_refused_in_json() {
    let (_folder, admin, switch) = admin().await;
    let path = admin.path();
    let deep = format!("{{\"weight\":{}", "[".repeat(30_000));
    let long = format!("{{\"weight\":{}1}}", " ".repeat(70_000));
    let numbers = format!("{{\"weight\":{}}}", "9".repeat(5_000));
    for (body, expected) in [
        (deep.as_str(), 400),
        (&long, 413),
        (&numbers, 400),
        (r#"{"weight":1e999}"#, 400),
        (r#"{"weight":-0.5}"#, 400),
        (r#"{"weight":1,"weight":2}"#, 400),
        (r#"{"weight":1}{"weight":2}"#, 400),
        (r#"{"weight":1,}"#, 400),
        (r#"{"weight":true}"#, 400),
        (r#"{"weight":NaN}"#, 400),
        ("{\"state\":\"up\0\"}", 400),
        ("\u{feff}{}", 400),
        ("[]", 400),
        (" \n[null, null]", 400),
        ("null", 400),
        ("", 400),
    ] {
        for target in [
            "/v1/servers/p/127.0.0.1:1",
            "/v1/servers/127.0.0.1:1",
            "/v1/services/web",
            "/v1/explain",
        ] {
            let method = if target == "/v1/explain" {
                "POST"
            } else {
                "PATCH"
            };
            let (code, _, text) = ask(path, method, target, body).await;
            let start = body.chars().take(40).collect::<String>();
            assert_eq!(code, expected, "{target} {start}: {text}");
            let said: Value = serde_json::from_str(&text).unwrap();
            assert!(said["error"].is_string());
        }
    }
    assert_eq!(l7switch::admin::servers(&switch)[0].effective_weight, 1);
    // A body that nobody asked for is nothing to a document, nor is what a query has beside.
    assert_eq!(ask(path, "GET", "/v1/status?x=%ZZ&&=", &long).await.0, 200);
    for (query, expected) in [
        ("most=0", 200),
        ("most=1&x=2", 200),
        ("most=x", 400),
        ("most=1&most=2", 400),
        ("most=%2D1", 400),
    ] {
        let (code, _, text) = ask(path, "GET", &format!("/v1/routes?{query}"), "").await;
        assert_eq!(code, expected, "{query}: {text}");
    }
    // Keys that are not known are refused at every depth.
    for (target, body) in [
        (
            "/v1/services/web",
            r#"{"maintenance":{"except":[],"until":1}}"#,
        ),
        (
            "/v1/services/web",
            r#"{"maintenance":{"except":[],"except":[]}}"#,
        ),
        ("/v1/services/web", r#"{"maintenance":{}}"#),
        ("/v1/servers/127.0.0.1:1", r#"{"Weight":1}"#),
    ] {
        assert_eq!(ask(path, "PATCH", target, body).await.0, 400, "{body}");
    }
}

/// Which protocol is spoken is told to those who speak another (RFC 9110, 15.5.22).
#[tokio::test]
async fn a_take_over_by_another_protocol_is_told_which_one_it_is() {
    let (_folder, admin, _switch) = admin().await;
    for fields in ["", "Connection: upgrade\r\nUpgrade: websocket\r\n"] {
        let (code, head, _) = ask_with(admin.path(), "POST", "/v1/take-over", fields, "").await;
        assert_eq!(code, 426);
        assert_eq!(
            field(&head, "upgrade").as_deref(),
            Some("l7switch-takeover/1")
        );
    }
}

/// A question that leads nowhere is another matter than one that makes no sense.
#[tokio::test]
async fn a_question_that_leads_to_no_service_names_those_that_are() {
    let (_folder, admin, _switch) = admin().await;
    for (question, expected) in [
        (r#"{"url":"/"}"#, 200),
        (r#"{"url":"/","service":"wep"}"#, 404),
        (r#"{"url":"tls://a.example/"}"#, 404),
        (r#"{"url":"/a b"}"#, 400),
        // What is no URL is none for each service, also for one that is named.
        (r#"{"url":"/login?next=http://a.example/"}"#, 200),
        (r#"{"url":"http://*","service":"web"}"#, 200),
        (r#"{"url":"tcp://ä:065535?ä#ä","service":"web"}"#, 200),
        (r#"{"url":"http://a:65536/","service":"web"}"#, 400),
        (r#"{"url":"http://[::1/","service":"web"}"#, 400),
        (r#"{"url":"http://[::1]a/","service":"web"}"#, 400),
        (r#"{"url":"/ä","service":"web"}"#, 400),
        (r#"{"url":""}"#, 400),
        ("{}", 400),
    ] {
        let (code, _, text) = ask(admin.path(), "POST", "/v1/explain", question).await;
        assert_eq!(code, expected, "{question}: {text}");
        let said: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(said["known"][0] == "web", code == 404, "{text}");
    }
}
