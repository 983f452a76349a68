// SPDX-License-Identifier: MIT
//! Pages in place of errors, fixed responses from files, maintenance.

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::field;
use crate::support::get;
use crate::support::load;
use crate::support::start;

/// A server whose path says with which status it answers; its connections are kept.
async fn server() -> Server {
    Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let path = head.split('/').nth(1).unwrap();
            let status: u16 = path[..3].parse().unwrap();
            seen.lock().unwrap().push(head.clone());
            let body = if head.starts_with("HEAD") { "" } else { "own" };
            conn.send(format!(
                "HTTP/1.1 {status} X\r\nContent-Length: 3\r\nRetry-After: 9\r\n\
                 WWW-Authenticate: Basic realm=\"a\"\r\nX-Own: 1\r\n\r\n{body}"
            ))
            .await;
        }
    })
    .await
}

/// A service with two routes to one pool: /4… and /5….
fn rules(servers: &str, service: &str, route: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n{service}\n\
         [[service.web.route]]\nname = \"first\"\npath = {{ regex = \"^/[24]\" }}\npool = \"p\"\n{route}\n\
         [[service.web.route]]\nname = \"second\"\npath = {{ regex = \"^/5\" }}\npool = \"p\"\n\
         [pool.p]\nservers = \"{servers}\"\nretries = 0\npassive = {{ failures = 0 }}\n"
    )
}

#[tokio::test]
async fn errors_of_the_switch_have_pages() {
    let closed = closed_port().await.to_string();
    let service = "error_pages = { 404 = { body = \"<p>nothing\" }, 500-599 = { body = \"{}\", \
                   content_type = \"application/json\", status = 503 }, 400 = { body = \"bad\" } }";
    let route = "error_pages = { 502 = { body = \"of the route\" } }\n\
                 response_headers = { set = { X-Edited = \"yes\" } }";
    let switch = start(&rules(&closed, service, route));
    let web = address(&switch, "web");
    // No route takes it.
    let (status, head, body) = get(web, "/9").await;
    assert_eq!((status, body.as_slice()), (404, &b"<p>nothing"[..]));
    assert_eq!(
        field(&head, "content-type").unwrap(),
        "text/html; charset=utf-8"
    );
    let (status, head, body) = get(web, "/404").await;
    assert_eq!((status, body.as_slice()), (502, &b"of the route"[..]));
    assert_eq!(field(&head, "x-edited").unwrap(), "yes");
    let (status, head, body) = get(web, "/500").await;
    assert_eq!((status, body.as_slice()), (503, &b"{}"[..]));
    assert_eq!(field(&head, "content-type").unwrap(), "application/json");
    // It is no request.
    let mut client = Raw::connect(web).await;
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    let (status, _, body) = client.response().await;
    assert_eq!((status, body.as_slice()), (400, &b"bad"[..]));
    // HEAD has the head only.
    let mut client = Raw::connect(web).await;
    client.send("HEAD /9 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(field(&head, "content-length").unwrap(), "10");
    client.send("GET /9 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.2, b"<p>nothing");
}

#[tokio::test]
async fn servers_errors_are_replaced_where_that_is_wanted() {
    let server = server().await;
    let service = "error_pages = { 500-599 = { body = \"sorry\", intercept = true }, \
                   404 = { body = \"not this one\" } }";
    let route = "error_pages = { 401 = { body = \"sign in\", intercept = true } }";
    let switch = start(&rules(&server.address.to_string(), service, route));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for (path, expected) in [
        ("/200", &b"own"[..]),
        ("/404", b"own"),
        ("/401", b"sign in"),
        ("/500", b"sorry"),
        ("/503", b"sorry"),
        ("/200", b"own"),
    ] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let (status, head, body) = client.response().await;
        assert_eq!(status.to_string(), &path[1..]);
        assert_eq!(body, expected, "{path}");
        // What tells the client what to do stays.
        assert_eq!(field(&head, "retry-after").unwrap(), "9");
        assert!(field(&head, "www-authenticate").is_some());
        assert_eq!(field(&head, "x-own").is_some(), expected == b"own");
        assert!(field(&head, "date").is_some());
    }
    client.send("HEAD /500 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(field(&head, "content-length").unwrap(), "5");
    client.send("GET /200 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.2, b"own");
    // All of it went over one connection, but behind the HEAD whose content might still come.
    assert_eq!(server.connection_count(), 2);
}

/// What is left of a long response is nobody's, and of a request whose content is not read.
#[tokio::test]
async fn long_errors_and_early_ones_are_replaced() {
    let server = Server::start(|mut conn, _, _| async move {
        while let Some(head) = conn.head().await {
            conn.send("HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\nbegin")
                .await;
            if head.starts_with("POST") {
                return std::future::pending().await;
            }
            let more = vec![b'x'; 1_000_000 - 5];
            let _ = tokio::io::AsyncWriteExt::write_all(&mut conn.stream, &more).await;
        }
    })
    .await;
    let service = "error_pages = { 500 = { body = \"sorry\", intercept = true } }";
    let switch = start(&rules(&server.address.to_string(), service, ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..3 {
        client.send("GET /500 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (status, _, body) = client.response().await;
        assert_eq!((status, body.as_slice()), (500, &b"sorry"[..]));
    }
    client
        .send("POST /500 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        .await;
    let (status, _, body) = client.response().await;
    assert_eq!((status, body.as_slice()), (500, &b"sorry"[..]));
    client.send(vec![b'd'; 997]).await;
    client.send("GET /9 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.0, 404);
}

#[tokio::test]
async fn content_comes_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.json");
    std::fs::write(&file, "{\"a\": 1}").unwrap();
    let text = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\nerror_pages = {{ 404 = {file:?} }}\n\
         [[service.web.route]]\npath = {{ exact = \"/file\" }}\nrespond = {{ status = 200, file = {file:?} }}\n"
    );
    let switch = start(&text);
    for (path, expected) in [("/file", 200), ("/other", 404)] {
        let (status, head, body) = get(address(&switch, "web"), path).await;
        assert_eq!((status, body.as_slice()), (expected, &b"{\"a\": 1}"[..]));
        assert_eq!(field(&head, "content-type").unwrap(), "application/json");
    }
    // A reload reads them anew; one that is gone does not take the others away.
    std::fs::write(&file, "2").unwrap();
    switch.set(load(&text)).unwrap();
    assert_eq!(get(address(&switch, "web"), "/file").await.2, b"2");
    std::fs::remove_file(&file).unwrap();
    let error = switch.set(load(&text)).unwrap_err();
    assert!(error.to_string().contains("page.json"), "{error}");
    assert_eq!(get(address(&switch, "web"), "/file").await.2, b"2");
}

#[tokio::test]
async fn a_service_is_closed_for_maintenance() {
    let server = server().await;
    let closed = "maintenance = true\nerror_pages = { 503 = { body = \"back at noon\" } }";
    let switch = start(&rules(&server.address.to_string(), closed, ""));
    let (status, head, body) = get(address(&switch, "web"), "/200").await;
    assert_eq!((status, body.as_slice()), (503, &b"back at noon"[..]));
    assert!(field(&head, "retry-after").is_some());
    assert!(server.heads().is_empty());
    let status = l7switch::admin::status(&switch);
    assert_eq!(status.services["web"].refused["maintenance"], 1);
    for (except, expected) in [("127.0.0.0/8", 200), ("192.0.2.0/24", 503)] {
        let closed = format!("maintenance = {{ except = \"{except}\" }}");
        let switch = start(&rules(&server.address.to_string(), &closed, ""));
        assert_eq!(get(address(&switch, "web"), "/200").await.0, expected);
    }
}
