// SPDX-License-Identifier: MIT
//! Variables in header fields and redirects.

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::start;

/// A service whose route sets these fields of requests and responses.
fn rules(server: &Server, service: &str, request: &str, response: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n{service}\n\
         [[service.web.route]]\nname = \"all\"\npool = \"p\"\n\
         request_headers = {{ set = {{ {request} }} }}\n\
         response_headers = {{ set = {{ {response} }} }}\n\
         [pool.p]\nservers = \"{}\"\n",
        server.address
    )
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[tokio::test]
async fn servers_and_clients_are_told_what_is_known() {
    let server = Server::saying("fine").await;
    let request = "X-A = \"<$client_address|$client_port|$host|$method|$path|$query|$uri|$scheme>\", \
                   X-B = \"$service/$route/${pool}s $$5\", X-C = \"$server_name$tls_version\"";
    let response = "X-D = \"$pool at $server\"";
    let switch = start(&rules(&server, "", request, response));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let port = client.stream.local_addr().unwrap().port();
    client
        .send("GET /a%20b?c=d HTTP/1.1\r\nHost: w.example:80\r\nX-C: mine\r\n\r\n")
        .await;
    let (_, head, _) = client.response().await;
    let seen = server.heads();
    assert_eq!(
        field(&seen[0], "x-a").unwrap(),
        format!("<127.0.0.1|{port}|w.example:80|GET|/a%20b|c=d|/a%20b?c=d|http>")
    );
    assert_eq!(field(&seen[0], "x-b").unwrap(), "web/all/ps $5");
    // What would be empty is not sent, and nobody else's is.
    assert_eq!(field(&seen[0], "x-c"), None);
    let expected = format!("p at {}", server.address);
    assert_eq!(field(&head, "x-d").unwrap(), expected);
}

#[tokio::test]
async fn requests_have_identifiers() {
    let server = Server::saying("fine").await;
    let id = "X-Request-Id = \"$request_id\", Traceparent = \"$traceparent\"";
    let switch = start(&rules(&server, "", id, id));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: forged\r\n\r\n")
            .await;
        let (_, head, _) = client.response().await;
        let id = field(&head, "x-request-id").unwrap();
        assert!(is_hex(&id, 32), "{id}");
        let seen = server.heads();
        assert_eq!(field(seen.last().unwrap(), "x-request-id").unwrap(), id);
        let trace = field(seen.last().unwrap(), "traceparent").unwrap();
        let parts: Vec<&str> = trace.split('-').collect();
        assert!(is_hex(parts[1], 32) && is_hex(parts[2], 16), "{trace}");
        assert_eq!(field(&head, "traceparent").unwrap(), trace);
        ids.push((id, trace));
    }
    assert!(ids[0].0 != ids[1].0 && ids[0].1 != ids[1].1);
}

#[tokio::test]
async fn a_trusted_proxy_gives_the_identifier() {
    let server = Server::saying("fine").await;
    let id = "X-Request-Id = \"$request_id\", Traceparent = \"$traceparent\", X-Who = \"$client_address:$client_port\"";
    let switch = start(&rules(&server, "trusted = \"127.0.0.1\"", id, ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: id-7\r\nX-Forwarded-For: 192.0.2.7\r\n\
             traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"
        ))
        .await;
    client.response().await;
    let seen = server.heads();
    assert_eq!(field(&seen[0], "x-request-id").unwrap(), "id-7");
    assert_eq!(field(&seen[0], "x-who").unwrap(), "192.0.2.7:");
    let made = field(&seen[0], "traceparent").unwrap();
    assert!(made.starts_with(&format!("00-{trace}-")) && made.ends_with("-01"));
    assert!(!made.contains("00f067aa0ba902b7"), "{made}");
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n")
        .await;
    client.response().await;
    let id = field(&server.heads()[1], "x-request-id").unwrap();
    assert!(is_hex(&id, 32), "{id}");
}

/// Answers of the switch's own have the fields too.
#[tokio::test]
async fn a_redirect_leads_where_variables_say() {
    let switch = start(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npath = { prefix = \"/in\" }\n\
         redirect = { location = \"https://login.example/?id=$request_id&back=$scheme://$host$uri\", status = 303 }\n\
         response_headers = { set = { X-Path = \"$path\", X-Id = \"$request_id\" } }\n\
         [[service.web.route]]\nrespond = { status = 404 }\n\
         response_headers = { add = { X-Path = \"$path$pool$server\" } }\n",
    );
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET /in/a?b HTTP/1.1\r\nHost: w.example\r\n\r\n")
        .await;
    let (status, head, _) = client.response().await;
    assert_eq!(status, 303);
    // One request has one identifier.
    let id = field(&head, "x-id").unwrap();
    assert!(is_hex(&id, 32), "{id}");
    assert_eq!(
        field(&head, "location").unwrap(),
        format!("https://login.example/?id={id}&back=http://w.example/in/a?b")
    );
    assert_eq!(field(&head, "x-path").unwrap(), "/in/a");
    client
        .send("GET /out HTTP/1.1\r\nHost: w.example\r\n\r\n")
        .await;
    let (status, head, _) = client.response().await;
    assert_eq!(status, 404);
    assert_eq!(field(&head, "x-path").unwrap(), "/out");
}

/// Paths of servers and of redirects, made by a regular expression.
#[tokio::test]
async fn paths_are_made_anew() {
    let server = Server::saying("fine").await;
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npath = {{ prefix = \"/shop\" }}\npool = \"p\"\n\
         rewrite = {{ path = {{ replace_regex = \"^/shop/([a-z]+)/([0-9]+)$\", with = \"/item/$2/$1\" }} }}\n\
         [[service.web.route]]\n\
         redirect = {{ path = {{ replace_regex = \"[.]php$\", with = \"\" }} }}\n\
         [pool.p]\nservers = \"{}\"\n",
        server.address
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for (path, expected) in [
        ("/shop/hats/7?a=b", "GET /item/7/hats?a=b HTTP/1.1"),
        ("/shop/hats/./7", "GET /item/7/hats HTTP/1.1"),
        ("/shop/hats/all", "GET /shop/hats/all HTTP/1.1"),
    ] {
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(client.response().await.0, 200);
        let head = server.heads().pop().unwrap();
        assert_eq!(head.lines().next().unwrap(), expected);
    }
    client
        .send("GET /a/b.php?c HTTP/1.1\r\nHost: w.example\r\n\r\n")
        .await;
    let (_, head, _) = client.response().await;
    assert_eq!(field(&head, "location").unwrap(), "http://w.example/a/b?c");
}
