// SPDX-License-Identifier: MIT
//! What is done to messages on their way: fields, framing, versions, trailers.

use std::path::Path;

use l7switch::Options;
use l7switch::Switch;
use l7switch::observe::access_log::Config;
use l7switch::observe::access_log::Format;
use l7switch::observe::access_log::Sample;
use l7switch::observe::access_log::Target;

use tokio::io::AsyncWriteExt;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::get;
use crate::support::simple;
use crate::support::start;
use crate::support::start_with;
use crate::support::until;

#[tokio::test]
async fn fields_of_one_connection_stay_there() {
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
        conn.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Private\r\nX-Private: 1\r\n\
             Keep-Alive: timeout=5\r\nX-Public: 2\r\nVia: 1.0 inner\r\n\r\n",
        )
        .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "via = true", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "GET http://real.example:81/a?b HTTP/1.1\r\nHost: ignored.example\r\nConnection: X-Secret, close\r\n\
             X-Secret: 1\r\nProxy-Connection: close\r\nTE: trailers, deflate\r\nX-Forwarded-For: 6.6.6.6\r\n\
             X-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Open: 2\r\n\r\n",
        )
        .await;
    let (status, head, _) = client.response().await;
    assert_eq!(status, 200);
    assert!(field(&head, "x-private").is_none());
    assert!(field(&head, "keep-alive").is_none());
    assert_eq!(field(&head, "x-public").unwrap(), "2");
    assert_eq!(field(&head, "via").unwrap(), "1.0 inner, 1.1 l7switch");
    let request = &server.heads()[0];
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    assert_eq!(field(request, "host").unwrap(), "real.example:81");
    assert!(field(request, "x-secret").is_none());
    assert!(field(request, "proxy-connection").is_none());
    assert_eq!(field(request, "te").unwrap(), "trailers");
    assert_eq!(field(request, "x-forwarded-for").unwrap(), "127.0.0.1");
    assert_eq!(field(request, "x-forwarded-proto").unwrap(), "http");
    assert_eq!(
        field(request, "x-forwarded-host").unwrap(),
        "real.example:81"
    );
    assert!(field(request, "forwarded").is_none());
    assert_eq!(field(request, "x-open").unwrap(), "2");
    assert_eq!(field(request, "via").unwrap(), "1.1 l7switch");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(
        &[server.address],
        "trusted = [\"127.0.0.0/8\"]",
        "",
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
             Forwarded: for=192.0.2.1\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.0, 200);
    let request = &server.heads()[0];
    assert_eq!(
        field(request, "x-forwarded-for").unwrap(),
        "192.0.2.1, 127.0.0.1"
    );
    assert_eq!(field(request, "x-forwarded-proto").unwrap(), "https");
    assert_eq!(
        field(request, "forwarded").unwrap(),
        "for=192.0.2.1, for=127.0.0.1;host=\"a\";proto=http"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let mut all = String::new();
    for number in 0..20 {
        let body = format!("number {number}");
        all.push_str(&if number % 2 == 0 {
            let length = body.len();
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
        } else {
            let length = body.len();
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            )
        });
    }
    client.send(all).await;
    for number in 0..20 {
        let (status, _, body) = client.response().await;
        assert_eq!(
            (status, body),
            (200, format!("number {number}").into_bytes())
        );
    }
}

#[tokio::test]
async fn options_for_the_server_as_a_whole() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for (target, forwarded) in [
        ("*", "*"),
        ("http://a.example", "*"),
        ("http://a.example/", "/"),
        ("http://a.example?q", "/?q"),
    ] {
        client
            .send(format!(
                "OPTIONS {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.0, 200);
        let head = server.heads().pop().unwrap();
        assert!(
            head.starts_with(&format!("OPTIONS {forwarded} HTTP/1.1\r\n")),
            "{head}"
        );
        assert_eq!(field(&head, "host").unwrap(), "a.example");
    }
}

#[tokio::test]
async fn a_request_in_single_bytes_is_the_same_request() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    let (status, _, body) = client.response().await;
    assert_eq!((status, body), (200, b"abcde".to_vec()));
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz")
        .await;
    assert_eq!(client.response().await.2, b"z");
}

#[tokio::test]
async fn head_has_the_length_and_no_content() {
    let server = Server::saying("twelve bytes").await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    for _ in 0..2 {
        let head = client.head().await.unwrap();
        assert_eq!(field(&head, "content-length").unwrap(), "12");
    }
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(client.response().await.2, b"twelve bytes");
    assert!(client.ended().await);
    // A server may send content behind the head of an answer to HEAD, against the rule: its connection is not used again.
    assert_eq!(server.connection_count(), 3);
}

#[tokio::test]
async fn http_1_0() {
    let server = Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let chunked = head.contains("/chunked");
            seen.lock().unwrap().push(head);
            conn.send(if chunked {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
            })
            .await;
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");

    let mut client = Raw::connect(web).await;
    client.send("GET /chunked HTTP/1.0\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(field(&head, "transfer-encoding").is_none(), "{head}");
    assert_eq!(client.rest().await.unwrap(), b"abc");
    assert_eq!(
        field(&server.heads()[0], "host").unwrap(),
        server.address.to_string()
    );
    assert!(field(&server.heads()[0], "x-forwarded-host").is_none());
    assert!(server.heads()[0].starts_with("GET /chunked HTTP/1.1\r\n"));

    let mut client = Raw::connect(web).await;
    client
        .send("GET /length HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let (_, head, body) = client.response().await;
    assert_eq!(field(&head, "connection").unwrap(), "keep-alive");
    assert_eq!(body, b"abc");
    client.send("GET /length HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.2, b"abc");
    assert!(client.ended().await);
}

#[tokio::test]
async fn trailers_both_ways() {
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        let (body, trailers) = conn.chunks().await;
        seen.lock().unwrap().extend([head, trailers]);
        assert_eq!(body, b"hello");
        conn.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
        .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Hash\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Hash: 7\r\n\r\n",
        )
        .await;
    let head = client.head().await.unwrap();
    let (body, trailers) = client.chunks().await;
    assert_eq!(body, b"ok");
    assert!(
        trailers.eq_ignore_ascii_case("x-sum: 42\r\n"),
        "{trailers}{head}"
    );
    assert!(
        server.heads()[1].eq_ignore_ascii_case("x-hash: 7\r\n"),
        "{:?}",
        server.heads()
    );
}

#[tokio::test]
async fn content_of_any_method_is_forwarded() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for method in ["GET", "DELETE", "PURGE", "POST"] {
        client
            .send(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.2, b"body", "{method}");
    }
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.response().await.0, 200);
    assert_eq!(
        field(server.heads().last().unwrap(), "content-length").unwrap(),
        "0"
    );
}

#[tokio::test]
async fn actions_and_filters() {
    let server = Server::saying("fine").await;
    let rules = format!(
        r#"
        [service.web]
        listen = "127.0.0.1:1"
        protocol = "http"
        [[service.web.route]]
        name = "fixed"
        path = {{ exact = "/fixed" }}
        respond = {{ status = 418, body = "teapot\n" }}
        [[service.web.route]]
        name = "moved"
        path = {{ prefix = "/old" }}
        redirect = {{ scheme = "https", hostname = "new.example", path = {{ replace_prefix = "/new" }}, status = 301 }}
        [[service.web.route]]
        name = "changed"
        path = {{ prefix = "/app" }}
        pool = "p"
        request_headers = {{ remove = ["X-Gone"], set = {{ "X-Set" = "1" }}, add = {{ "X-Add" = "b" }} }}
        response_headers = {{ set = {{ "X-Answer" = "yes" }} }}
        rewrite = {{ hostname = "inner.example", path = {{ replace_prefix = "/" }} }}
        [[service.web.route]]
        host = "nowhere.example"
        pool = "p"
        [pool.p]
        servers = ["{}"]
        "#,
        server.address
    );
    let switch = start(&rules);
    let web = address(&switch, "web");
    let (status, head, body) = get(web, "/fixed").await;
    assert_eq!((status, body), (418, b"teapot\n".to_vec()));
    assert!(
        field(&head, "content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let (status, head, _) = get(web, "/old/a%41?q=1").await;
    assert_eq!(status, 301);
    assert_eq!(
        field(&head, "location").unwrap(),
        "https://new.example/new/aA?q=1"
    );
    assert_eq!(get(web, "/none").await.0, 404);
    let mut client = Raw::connect(web).await;
    client
        .send("GET /app/x?y HTTP/1.1\r\nHost: a\r\nX-Gone: 1\r\nX-Set: 0\r\nX-Add: a\r\n\r\n")
        .await;
    let (status, head, _) = client.response().await;
    assert_eq!(status, 200);
    assert_eq!(field(&head, "x-answer").unwrap(), "yes");
    let request = server.heads().pop().unwrap();
    assert!(request.starts_with("GET /x?y HTTP/1.1\r\n"), "{request}");
    assert_eq!(field(&request, "host").unwrap(), "inner.example");
    assert_eq!(field(&request, "x-set").unwrap(), "1");
    assert!(field(&request, "x-gone").is_none());
    // In the case in which they were sent or written in the rules.
    assert_eq!(request.to_ascii_lowercase().matches("x-add:").count(), 2);
}

/// An access log in JSON, with all fields.
fn json_log(path: &std::path::Path) -> Config {
    let json: Format = "json".parse().unwrap();
    Config {
        target: Target::File(path.to_owned()),
        format: json.with(&"all".parse().unwrap()).unwrap(),
        sample: Sample::default(),
    }
}

#[tokio::test]
async fn a_request_is_one_line_in_the_access_log() {
    let server = Server::saying("fine").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options {
        access_log: json_log(&path),
        ..Options::default()
    };
    let switch = start_with(&simple(&[server.address], "", ""), &options);
    let web = address(&switch, "web");
    assert_eq!(get(web, "/a?b=\u{e9}").await.0, 400);
    assert_eq!(get(web, "/a?b=c").await.0, 200);
    until(|| lines(&switch, &path).len() == 2).await;
    let lines = lines(&switch, &path);
    assert_eq!(lines[0]["status"], 400);
    assert_eq!(lines[0]["end"], "bad_request");
    for (key, value) in [
        ("service", "web"),
        ("route", "#1"),
        ("pool", "p"),
        ("server", &server.address.to_string()),
        ("method", "GET"),
        ("host", "test.example"),
        ("path", "/a?b=c"),
        ("version", "1.1"),
        ("end", "ok"),
    ] {
        assert_eq!(lines[1][key], value, "{key}");
    }
    assert_eq!(lines[1]["bytes_out"], 4);
}

/// Who leaves is told from others by what was waited for.
#[tokio::test]
async fn the_line_of_a_client_that_left_names_its_server() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        assert!(conn.head().await.is_none());
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options {
        access_log: json_log(&path),
        ..Options::default()
    };
    let switch = start_with(&simple(&[server.address], "", ""), &options);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| server.connection_count() == 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    until(|| lines(&switch, &path).len() == 1).await;
    let lines = lines(&switch, &path);
    for (key, value) in [
        ("end", "client_gone"),
        ("pool", "p"),
        ("server", &server.address.to_string()),
        ("path", "/left"),
    ] {
        assert_eq!(lines[0][key], value, "{key}");
    }
}

/// It has not gone: operators look for other causes.
#[tokio::test]
async fn the_line_of_a_client_that_takes_nothing_says_so() {
    let server = Server::start(|mut conn, _, _| async move {
        conn.head().await.unwrap();
        let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        for _ in 0..64 {
            if conn.stream.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options {
        access_log: json_log(&path),
        ..Options::default()
    };
    let limits = "limits = { idle_timeout = \"300ms\" }";
    let switch = start_with(&simple(&[server.address], limits, ""), &options);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| lines(&switch, &path).len() == 1).await;
    assert_eq!(lines(&switch, &path)[0]["end"], "idle_timeout");
}

fn lines(switch: &Switch, path: &Path) -> Vec<serde_json::Value> {
    switch.core().log.flush();
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn sixteen_megabytes_pass_unchanged_both_ways() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let body: Vec<u8> = (0..16_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    client
        .send(format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    client.send(&body).await;
    let (status, _, back) = client.response().await;
    assert_eq!(status, 200);
    assert!(back == body);
}

#[tokio::test]
async fn trailers_have_no_fields_of_connection_framing_or_forwarding() {
    let server = Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let (_, trailers) = conn.chunks().await;
            seen.lock().unwrap().extend([head, trailers]);
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Upgrade",
        "Expect",
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Real-IP",
        "Authorization",
        "Cookie",
        "Content-Type",
        "Trailer",
    ] {
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Hash, {name}\r\n\r\n\
                 1\r\nx\r\n0\r\nX-Hash: 7\r\n{name}: 9\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.0, 200, "{name}");
        let trailers = server.heads().pop().unwrap();
        assert!(
            trailers.eq_ignore_ascii_case("x-hash: 7\r\n"),
            "{name}: {trailers}"
        );
    }
}
