// SPDX-License-Identifier: MIT
//! What spans say of requests.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use l7switch::Switch;
use tokio::net::TcpStream;

use super::Collector;
use super::attribute;
use super::attributes;
use super::is_client;
use super::is_error;
use super::is_server;
use super::traced;
use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::get;
use crate::support::simple;
use crate::support::soon;

/// A server that answers every request with this.
async fn answering(answer: &'static str) -> Server {
    Server::start(move |mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            seen.lock().unwrap().push(head);
            conn.send(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_request_has_a_span_and_its_attempt_another() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let rules = simple(&[server.address], "", "").replacen("pool =", "name = \"all\"\npool =", 1);
    let switch = traced(&rules, &collector);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("GET /a%20b?token=secret HTTP/1.1\r\nHost: w.example:8080\r\nUser-Agent: test/1 (x)\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 200);
    let spans = collector.wait(2).await;
    let [own, attempt] = &spans[..] else { panic!() };
    assert!(is_server(own) && is_client(attempt));
    assert_eq!(
        (own.name.as_str(), attempt.name.as_str()),
        ("GET all", "GET p")
    );
    let server = server.address.to_string();
    let port = server.rsplit_once(':').unwrap().1;
    assert_eq!(
        attributes(own),
        [
            ("http.request.method", "GET"),
            ("url.path", "/a%20b"),
            ("url.scheme", "http"),
            ("server.address", "w.example"),
            ("server.port", "8080"),
            ("client.address", "127.0.0.1"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "test/1 (x)"),
            ("http.response.status_code", "200"),
            ("l7switch.service", "web"),
            ("l7switch.route", "all"),
            ("l7switch.pool", "p"),
            ("l7switch.server", &server),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .into_iter()
        .collect::<BTreeMap<_, _>>()
    );
    assert_eq!(
        attributes(attempt),
        [
            ("http.request.method", "GET"),
            ("server.address", "127.0.0.1"),
            ("server.port", port),
            ("http.response.status_code", "200"),
            ("l7switch.pool", "p"),
            ("l7switch.server", &server),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .into_iter()
        .collect::<BTreeMap<_, _>>()
    );
    assert!(!is_error(own) && !is_error(attempt));
    assert_eq!(own.trace_id, attempt.trace_id);
    assert_eq!((own.trace_id.len(), own.span_id.len()), (16, 8));
    assert!(own.parent_span_id.is_empty());
    assert_eq!(attempt.parent_span_id, own.span_id);
    let within = own.start_time_unix_nano..=own.end_time_unix_nano;
    assert!(within.contains(&attempt.start_time_unix_nano), "{spans:?}");
    assert!(attempt.start_time_unix_nano <= attempt.end_time_unix_nano);
    // Whose they are.
    let got = collector.got.lock().unwrap()[0].clone();
    let resource = got.resource_spans[0].resource.as_ref().unwrap();
    let whose = format!("{:?}", resource.attributes);
    assert!(
        whose.contains("\"service.name\"") && whose.contains("\"l7switch\""),
        "{whose}"
    );
    let scope = got.resource_spans[0].scope_spans[0].scope.as_ref().unwrap();
    assert_eq!(scope.name, "l7switch");
    let head = &collector.server.heads()[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf\r\n"),
        "{head}"
    );
}

/// Each of several attempts has its own span, and each server is told its own.
#[tokio::test]
async fn attempts_are_told_apart() {
    let collector = Collector::start().await;
    let busy = answering("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy").await;
    let good = Server::saying("fine").await;
    let pool = "scheduler = \"rr\"\npassive = { failures = 0 }\nretries = { on = [503] }";
    let rules = simple(&[busy.address, good.address], "", pool);
    let switch = traced(&rules, &collector);
    while busy.heads().is_empty() {
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
    }
    crate::support::until(|| {
        collector
            .spans()
            .iter()
            .filter(|span| is_client(span))
            .count()
            > 1
    })
    .await;
    let spans = collector.spans();
    let retried = spans
        .iter()
        .position(|span| attribute(span, "http.response.status_code").as_deref() == Some("503"));
    let [own, first, second] = &spans[retried.unwrap() - 1..][..3] else {
        panic!()
    };
    assert!(is_server(own) && is_client(first) && is_client(second));
    assert!(is_error(first) && !is_error(second) && !is_error(own));
    let said = |span| {
        ["error.type", "http.request.resend_count", "l7switch.server"]
            .map(|key| attribute(span, key))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        said(first),
        [text("503"), None, text(&busy.address.to_string())]
    );
    assert_eq!(
        said(second),
        [None, text("1"), text(&good.address.to_string())]
    );
    for (span, server) in [(first, &busy), (second, &good)] {
        assert_eq!(span.parent_span_id, own.span_id);
        let told = super::traceparent(span);
        let line = format!("\r\ntraceparent: {told}\r\n");
        assert!(
            server.heads().iter().any(|head| head.contains(&line)),
            "{told}"
        );
    }
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
}

/// What no server of a pool answers well goes to another pool in the same trace, and the span says why.
#[tokio::test]
async fn attempts_name_their_pools_and_why_they_failed() {
    let busy = answering("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy").await;
    let good = Server::saying("fine").await;
    for (first, why) in [
        (busy.address, "503"),
        (closed_port().await, "connect_failed"),
    ] {
        let collector = Collector::start().await;
        let pool = "fallback = \"q\"\nretries = { on = [503] }";
        let rules =
            simple(&[first], "", pool) + &format!("[pool.q]\nservers = \"{}\"\n", good.address);
        let switch = traced(&rules, &collector);
        assert_eq!(get(address(&switch, "web"), "/").await.0, 200);
        let spans = collector.wait(3).await;
        let said = |span, keys: [&str; 3]| keys.map(|key| attribute(span, key).unwrap_or_default());
        let keys = ["l7switch.pool", "error.type", "http.request.resend_count"];
        assert_eq!(said(&spans[0], keys), ["q", "", ""]);
        assert_eq!(said(&spans[1], keys), ["p", why, ""]);
        assert_eq!(said(&spans[2], keys), ["q", "", "1"]);
        assert!(spans[1].end_time_unix_nano <= spans[2].start_time_unix_nano);
    }
}

/// A span says why there is no response of a server, and whose fault it is.
#[tokio::test]
async fn refusals_have_spans() {
    let collector = Collector::start().await;
    let closed = closed_port().await;
    let closing = Server::start(|mut conn, _, _| async move { drop(conn.head().await) }).await;
    let missing = answering("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
    let failing = answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let route = |name: &str| {
        format!("[[service.web.route]]\npath = {{ prefix = \"/{name}\" }}\npool = \"{name}\"\n")
    };
    let pool = |name: &str, servers: &str| format!("[pool.{name}]\nservers = [{servers}]\n");
    let rules = [
        "[service.web]\nlisten = \"127.0.0.1:1\"\n".to_owned(),
        ["closed", "closing", "none", "missing", "failing"]
            .map(route)
            .concat(),
        pool("closed", &format!("\"{closed}\"")),
        pool("closing", &format!("\"{}\"", closing.address)),
        pool("none", &format!("{{ address = \"{closed}\", weight = 0 }}")),
        pool("missing", &format!("\"{}\"", missing.address)),
        pool("failing", &format!("\"{}\"", failing.address)),
    ];
    let switch = traced(&rules.concat(), &collector);
    let cases = [
        ("GET /nowhere", 404, Some("no_route"), false, &[][..]),
        ("GET /none", 503, Some("no_server"), true, &[]),
        (
            "GET /closed",
            502,
            Some("connect_failed"),
            true,
            &["connect_failed"],
        ),
        (
            "POST /closing",
            502,
            Some("bad_response"),
            true,
            &["bad_response"],
        ),
        ("GET /missing", 404, None, false, &["404"]),
        ("GET /failing", 500, Some("500"), true, &["500"]),
        ("GET /a/%2F..", 400, Some("bad_path"), false, &[]),
        ("BREW /nowhere", 404, Some("no_route"), false, &[]),
        ("GET / x", 400, Some("bad_request"), false, &[]),
    ];
    for (head, status, ..) in cases {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send(format!("{head} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(client.response().await.0, status, "{head}");
    }
    let attempts: usize = cases.iter().map(|case| case.4.len()).sum();
    let spans = collector.wait(cases.len() + attempts).await;
    let mut spans = spans.iter();
    for (head, status, end, is_failure, attempts) in cases {
        let own = spans.next().unwrap();
        assert!(is_server(own), "{head}");
        let said = attribute(own, "http.response.status_code");
        assert_eq!(said, Some(status.to_string()), "{head}");
        assert_eq!(attribute(own, "error.type").as_deref(), end, "{head}");
        assert_eq!(is_error(own), is_failure, "{head}");
        for attempt in attempts {
            let span = spans.next().unwrap();
            assert!(is_client(span) && is_error(span), "{head}");
            assert_eq!(
                attribute(span, "error.type").as_deref(),
                Some(*attempt),
                "{head}"
            );
        }
        if head.starts_with("BREW") {
            assert_eq!(own.name, "HTTP");
            let method = ["http.request.method", "http.request.method_original"];
            assert_eq!(
                method.map(|key| attribute(own, key).unwrap()),
                ["_OTHER", "BREW"]
            );
        }
    }
}

/// A client that goes away ends its request's span, and the attempt's.
#[tokio::test]
async fn clients_that_go_away_have_spans() {
    let collector = Collector::start().await;
    let silent = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
        std::future::pending::<()>().await;
    })
    .await;
    let switch = traced(&simple(&[silent.address], "", ""), &collector);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    crate::support::until(|| !silent.heads().is_empty()).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    let spans = collector.wait(2).await;
    for span in &spans {
        assert_eq!(
            attribute(span, "error.type").as_deref(),
            Some("client_gone")
        );
        assert_eq!(attribute(span, "http.response.status_code"), None);
        assert!(is_error(span));
    }
}

async fn post(switch: &Switch, content_type: &str) -> http::Response<Bytes> {
    let stream = TcpStream::connect(address(switch, "web")).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a.example/x.Y/Z")
        .header("content-type", content_type)
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap();
    let (parts, content) = soon(sender.send_request(request))
        .await
        .unwrap()
        .into_parts();
    let content = soon(content.collect()).await.unwrap().to_bytes();
    http::Response::from_parts(parts, content)
}

/// HTTP/2 from the client, and towards the server; and gRPC, whose errors are no statuses.
#[tokio::test]
async fn http2_and_grpc_have_spans() {
    let collector = Collector::start().await;
    let server = Server::echo().await;
    let switch = traced(&simple(&[server.address], "", ""), &collector);
    assert_eq!(post(&switch, "text/plain").await.status(), 200);
    let spans = collector.wait(2).await;
    assert_eq!(
        attribute(&spans[0], "network.protocol.version").as_deref(),
        Some("2")
    );
    assert_eq!(attribute(&spans[0], "url.path").as_deref(), Some("/x.Y/Z"));
    let told = super::traceparent(&spans[1]);
    assert!(server.heads()[0].contains(&format!("traceparent: {told}\r\n")));
    // A server of HTTP/2, which is a switch before the other one.
    let before = simple(&[address(&switch, "web")], "", "protocol = \"http2\"");
    let second = Collector::start().await;
    let before = traced(&before, &second);
    assert_eq!(post(&before, "application/grpc").await.status(), 200);
    let outer = second.wait(2).await;
    let inner = collector.wait(4).await;
    assert_eq!(inner[2].parent_span_id, outer[1].span_id);
    assert_eq!(inner[2].trace_id, outer[0].trace_id);
    // Refused, which gRPC tells by a field beside status 200.
    let none = simple(&[closed_port().await], "", "");
    let none = traced(&none, &collector);
    let answer = post(&none, "application/grpc").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
    let spans = collector.wait(6).await;
    assert_eq!(
        attribute(&spans[4], "error.type").as_deref(),
        Some("connect_failed")
    );
    assert!(is_error(&spans[4]) && is_error(&spans[5]));
}

/// The client is the one that a trusted proxy tells of.
#[tokio::test]
async fn spans_name_the_client_behind_a_proxy() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let rules = simple(&[server.address], "trusted = [\"127.0.0.0/8\"]", "");
    let switch = traced(&rules, &collector);
    for (number, client) in ["192.0.2.7", "2001:db8::7"].into_iter().enumerate() {
        let mut proxy = Raw::connect(address(&switch, "web")).await;
        proxy
            .send(format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"
            ))
            .await;
        assert_eq!(proxy.response().await.0, 200);
        let spans = collector.wait(2 * (number + 1)).await;
        let own = &spans[2 * number];
        assert_eq!(attribute(own, "client.address").as_deref(), Some(client));
    }
}

/// What a client says is bounded in a span.
#[tokio::test]
async fn long_texts_are_cut() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let switch = traced(&simple(&[server.address], "", ""), &collector);
    let mut client = Raw::connect(address(&switch, "web")).await;
    let (path, agent) = ("a".repeat(5000), "\u{e4}".repeat(2000));
    client
        .send(format!(
            "GET /{path} HTTP/1.1\r\nHost: a\r\nUser-Agent: x{agent}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.0, 200);
    let spans = collector.wait(2).await;
    assert_eq!(attribute(&spans[0], "url.path").unwrap().len(), 1024);
    assert_eq!(
        attribute(&spans[0], "user_agent.original").unwrap().len(),
        1023
    );
}
