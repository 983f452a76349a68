// SPDX-License-Identifier: MIT
//! Servers that listen on Unix sockets.

use std::path::Path;

use l7switch::Switch;
use l7switch_admin_api::Health;
use l7switch_admin_api::ServerStatus;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::get;
use crate::support::start;
use crate::support::until;

fn rules(servers: &str, service: &str, pool: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n{service}\n[[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = [{servers}]\n{pool}\n"
    )
}

fn server(path: &Path) -> String {
    format!("\"unix:{}\"", path.display())
}

fn status(switch: &Switch) -> ServerStatus {
    l7switch::admin::servers(switch).remove(0)
}

#[tokio::test]
async fn requests_reach_a_unix_socket_on_connections_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let app = Server::echo_at(&path).await;
    let switch = start(&rules(&server(&path), "", ""));
    let web = address(&switch, "web");
    let mut client = Raw::connect(web).await;
    for _ in 0..3 {
        client
            .send("POST /a HTTP/1.1\r\nHost: www.example\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        let (code, _, body) = client.response().await;
        assert_eq!((code, &body[..]), (200, &b"hello"[..]));
    }
    assert_eq!(app.connection_count(), 1);
    assert_eq!(
        field(&app.heads()[0], "host").as_deref(),
        Some("www.example")
    );
    // It has no address that a request could name.
    client
        .send("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
        .await;
    assert_eq!(client.response().await.0, 200);
    assert_eq!(field(&app.heads()[3], "host").as_deref(), Some("localhost"));
    let found = status(&switch);
    assert_eq!(found.address, format!("unix:{}", path.display()));
    assert_eq!(found.total, 4);
    let metrics = crate::support::metrics(&switch).await;
    let sample = format!(
        "l7switch_server_requests_total{{pool=\"p\",server=\"unix:{}\"}} 4\n",
        path.display()
    );
    assert!(metrics.contains(&sample), "{metrics}");
}

/// Long content is spliced where both ends are sockets.
#[tokio::test]
async fn long_content_passes_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let _app = Server::echo_at(&path).await;
    let switch = start(&rules(&server(&path), "", ""));
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..2 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                content.len()
            ))
            .await;
        client.send(&content).await;
        let (code, _, body) = client.response().await;
        assert_eq!(code, 200);
        assert!(body == content);
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_a_server_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (gone, path) = (
        folder.path().join("gone.sock"),
        folder.path().join("app.sock"),
    );
    let switch = start(&rules(&server(&gone), "", ""));
    assert_eq!(get(address(&switch, "web"), "/").await.0, 502);
    assert_eq!(status(&switch).failures, 1);
    let _app = Server::echo_at(&path).await;
    let both = format!("{}, {}", server(&gone), server(&path));
    for scheduler in ["rr", "wlc", "mh", "ch"] {
        let switch = start(&rules(&both, "", &format!("scheduler = \"{scheduler}\"")));
        for _ in 0..4 {
            assert_eq!(
                get(address(&switch, "web"), "/").await.0,
                200,
                "{scheduler}"
            );
        }
    }
}

#[tokio::test]
async fn checks_and_tunnels_reach_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let checks = "health = { http = \"/up\", interval = \"20ms\", rise = 1, fall = 1 }";
    let switch = start(&rules(&server(&path), "", checks));
    until(|| status(&switch).health == Some(Health::Down)).await;
    let app = Server::echo_at(&path).await;
    until(|| status(&switch).health == Some(Health::Up)).await;
    assert_eq!(field(&app.heads()[0], "host").as_deref(), Some("localhost"));
    let switch = start(&rules(&server(&path), "protocol = \"tcp\"", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!(client.response().await.2, b"hi");
}
