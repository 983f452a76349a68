// SPDX-License-Identifier: MIT
//! Requests of pages of other origins.

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::field;
use crate::support::start;

fn rules(server: std::net::SocketAddr, cors: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npool = \"p\"\ncors = {{ {cors} }}\n\
         response_headers = {{ set = {{ X-Edited = \"yes\" }} }}\n\
         [pool.p]\nservers = \"{server}\"\n"
    )
}

/// A server that says everything of it itself, and wrongly.
async fn server() -> Server {
    Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            seen.lock().unwrap().push(head);
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: http://wrong.example\r\n\
                 Access-Control-Allow-Credentials: true\r\nVary: Accept\r\n\r\nok",
            )
            .await;
        }
    })
    .await
}

/// All values of a field in a head.
fn all(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
        .collect()
}

async fn ask(switch: &l7switch::Switch, method: &str, fields: &str) -> (u16, String) {
    let mut client = Raw::connect(address(switch, "web")).await;
    client
        .send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
        .await;
    let (status, head, _) = client.response().await;
    (status, head)
}

const PREFLIGHT: &str =
    "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a,x-b\r\n";

#[tokio::test]
async fn a_browser_that_asks_is_answered() {
    let server = server().await;
    let cors = "allow_origins = [\"https://app.example\", \"https://*.shop.example\"], allow_methods = [\"PUT\", \"GET\"], \
                allow_headers = [\"X-A\", \"X-B\"], max_age = \"10m\", allow_credentials = true";
    let switch = start(&rules(server.address, cors));
    for origin in ["https://app.example", "https://a.shop.example"] {
        let fields = format!("Origin: {origin}\r\n{PREFLIGHT}");
        let (status, head) = ask(&switch, "OPTIONS", &fields).await;
        assert_eq!(status, 204);
        for (name, expected) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "PUT, GET"),
            ("access-control-allow-headers", "X-A, X-B"),
            ("access-control-max-age", "600"),
            ("access-control-allow-credentials", "true"),
            ("vary", "origin"),
            ("x-edited", "yes"),
        ] {
            assert_eq!(all(&head, name), [expected], "{name}");
        }
    }
    let fields = format!("Origin: https://evil.example\r\n{PREFLIGHT}");
    let (_, head) = ask(&switch, "OPTIONS", &fields).await;
    assert!(!head.contains("access-control"), "{head}");
    assert!(server.heads().is_empty());
    // These are no questions of a browser: the server answers.
    for fields in ["", "Origin: https://app.example\r\n", PREFLIGHT] {
        assert_eq!(ask(&switch, "OPTIONS", fields).await.0, 200);
    }
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn what_the_server_says_of_it_does_not_count() {
    let server = server().await;
    let cors = "allow_origins = \"https://app.example\", expose_headers = \"X-Total\"";
    let switch = start(&rules(server.address, cors));
    let (_, head) = ask(&switch, "GET", "Origin: https://app.example\r\n").await;
    assert_eq!(
        all(&head, "access-control-allow-origin"),
        ["https://app.example"]
    );
    assert_eq!(all(&head, "access-control-expose-headers"), ["X-Total"]);
    assert_eq!(field(&head, "access-control-allow-credentials"), None);
    assert_eq!(all(&head, "vary"), ["Accept", "origin"]);
    assert_eq!(all(&head, "x-edited"), ["yes"]);
    for fields in ["Origin: https://evil.example\r\n", "", "Origin: null\r\n"] {
        let (_, head) = ask(&switch, "GET", fields).await;
        assert_eq!(field(&head, "access-control-allow-origin"), None);
        assert_eq!(all(&head, "vary"), ["Accept", "origin"]);
    }
}

#[tokio::test]
async fn all_origins_get_the_same() {
    let server = server().await;
    let switch = start(&rules(
        server.address,
        "allow_origins = \"*\", allow_headers = \"*\"",
    ));
    let (_, head) = ask(&switch, "GET", "Origin: https://a.example\r\n").await;
    assert_eq!(all(&head, "access-control-allow-origin"), ["*"]);
    assert_eq!(all(&head, "vary"), ["Accept"]);
    let fields = format!("Origin: https://a.example\r\n{PREFLIGHT}");
    let (_, head) = ask(&switch, "OPTIONS", &fields).await;
    assert_eq!(all(&head, "access-control-allow-headers"), ["x-a,x-b"]);
    assert_eq!(
        all(&head, "access-control-allow-methods"),
        ["GET, HEAD, POST"]
    );
}

/// A page must be able to read what went wrong.
#[tokio::test]
async fn errors_of_the_switch_have_it_too() {
    let closed = closed_port().await;
    let switch = start(&rules(closed, "allow_origins = \"https://app.example\""));
    let (status, head) = ask(&switch, "GET", "Origin: https://app.example\r\n").await;
    assert_eq!(status, 502);
    assert_eq!(
        all(&head, "access-control-allow-origin"),
        ["https://app.example"]
    );
}
