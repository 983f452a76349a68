// SPDX-License-Identifier: MIT
//! What HTTP has beside plain requests: 100-continue, HEAD, ranges, codings, trailers, framing by the
//! end of the connection, early responses, pipelining.

use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::pattern;
use crate::support::process::run;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

fn world() -> (Python, Switch, String) {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    let url = switch.url("web");
    (python, switch, url)
}

#[test]
fn expect_100_continue() {
    let (_python, switch, url) = world();
    let answer = curl()
        .args(["--http1.1", "--expect100-timeout", "50", "-d", "hello"])
        .header("Expect: 100-continue")
        .ok(&(url + "/echo"));
    assert!(
        answer.heads[0].starts_with("HTTP/1.1 100 "),
        "{:?}",
        answer.heads
    );
    assert_eq!(Echo::parse(&answer.body).length, 5);
    // Byte by byte: nothing is sent before the interim response is there.
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).unwrap();
    assert_eq!(client.response().unwrap().unwrap().status, 100);
    client.send("ok").unwrap();
    let response = client.response().unwrap().unwrap();
    assert_eq!(
        (response.status, Echo::parse(&response.body).length),
        (200, 2)
    );
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n")
        .unwrap();
    assert_eq!(client.response().unwrap().unwrap().status, 417);
}

#[test]
fn head_has_the_fields_and_no_content() {
    let (_python, switch, url) = world();
    for version in VERSIONS {
        let answer = curl()
            .args([version, "--head"])
            .ok(&format!("{url}/length?bytes=12345"));
        assert_eq!(answer.field("content-length"), Some("12345"), "{version}");
        let answer = curl()
            .args([version, "--head"])
            .ok(&format!("{url}/chunked"));
        assert_eq!(answer.served_by(), "python", "{version}");
    }
    // The connection stays usable: nobody waits for content, nobody sends any.
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let head = "HEAD /length?bytes=5 HTTP/1.1\r\nHost: a\r\n\r\n";
    client
        .send(head.repeat(2) + "GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    client.finish();
    let all = String::from_utf8(client.rest().unwrap()).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 ").count(), 2, "{all}");
    assert_eq!(all.matches("HTTP/1.1 204 ").count(), 1, "{all}");
    assert!(all.ends_with("\r\n\r\n"), "{all}");
}

#[test]
fn ranges_and_conditional_requests_with_nginx() {
    let nginx = Nginx::start("nginx");
    std::fs::write(nginx.root().join("part.bin"), pattern(100_000)).unwrap();
    let switch = Switch::start(&simple(&[nginx.address], "", ""));
    let url = switch.url("web") + "/part.bin";
    for version in VERSIONS {
        let answer = curl().args([version, "-r", "1000-1999"]).get(&url);
        assert_eq!(answer.status, 206, "{version}");
        assert_eq!(
            answer.field("content-range"),
            Some("bytes 1000-1999/100000")
        );
        assert_eq!(answer.body, &pattern(2000)[1000..]);
        let answer = curl().args([version, "-r", "0-9,20-29"]).get(&url);
        assert_eq!(answer.status, 206);
        let kind = answer.field("content-type").unwrap();
        assert!(kind.starts_with("multipart/byteranges"), "{kind}");
        let answer = curl().args([version, "-r", "200000-"]).get(&url);
        assert_eq!(answer.status, 416);
        let whole = curl().arg(version).ok(&url);
        let tag = format!("If-None-Match: {}", whole.field("etag").unwrap());
        let answer = curl().arg(version).header(&tag).get(&url);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{version}");
    }
}

#[test]
fn content_codings_pass_untouched() {
    let (_python, _switch, url) = world();
    let nginx = Nginx::start("nginx");
    std::fs::write(
        nginx.root().join("text.txt"),
        "the same again\n".repeat(5000),
    )
    .unwrap();
    let zipped = Switch::start(&simple(&[nginx.address], "", ""));
    for version in VERSIONS {
        let plain = curl().arg(version).ok(&format!("{url}/gzip"));
        assert_eq!(plain.field("content-encoding"), Some("gzip"));
        assert_eq!(plain.field("etag"), Some("\"abc\""));
        assert_eq!(plain.field("vary"), Some("Accept-Encoding"));
        assert_eq!(plain.body[..2], [0x1f, 0x8b], "{version}");
        let unpacked = curl()
            .args([version, "--compressed"])
            .ok(&format!("{url}/gzip"));
        assert_eq!(unpacked.body, pattern(50_000), "{version}");
        // nginx compresses as it sends, in chunks.
        let text = zipped.url("web") + "/text.txt";
        let unpacked = curl().args([version, "--compressed"]).ok(&text);
        assert_eq!(
            unpacked.field("content-encoding"),
            Some("gzip"),
            "{version}"
        );
        assert_eq!(unpacked.text(), "the same again\n".repeat(5000));
    }
}

#[test]
fn trailers_arrive() {
    let (_python, switch, url) = world();
    for version in VERSIONS {
        // curl writes trailer fields behind the heads.
        let answer = curl()
            .arg(version)
            .header("TE: trailers")
            .ok(&format!("{url}/chunked"));
        assert_eq!(answer.text(), "one two three\n");
        let all = answer.heads.concat().to_ascii_lowercase();
        assert!(all.contains("x-sum: 14"), "{version}: {all}");
        assert!(all.contains("x-after: all"), "{version}: {all}");
    }
    let mut client = Raw::connect(switch.address("web")).unwrap();
    client
        .send(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3;ext=1\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n",
        )
        .unwrap();
    let echo = Echo::parse(&client.response().unwrap().unwrap().body);
    assert_eq!(echo.length, 3);
    let trailers: Vec<_> = echo
        .trailers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    assert_eq!(trailers, [("x-sum".to_owned(), "3")]);
}

#[test]
fn interim_responses_do_not_stand_for_the_response() {
    let (_python, _switch, url) = world();
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        for _ in 0..3 {
            let answer = curl().arg(version).ok(&format!("{url}/hints"));
            assert_eq!(Echo::parse(&answer.body).target, "/hints", "{version}");
        }
    }
}

#[test]
fn content_that_ends_with_the_connection() {
    let (_python, _switch, url) = world();
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let answer = curl().arg(version).ok(&format!("{url}/until-close"));
        assert_eq!(answer.body, pattern(100_000), "{version}");
    }
}

#[test]
fn content_that_was_cut_short_does_not_look_whole() {
    let (_python, _switch, url) = world();
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let answer = curl().arg(version).get(&format!("{url}/cut?bytes=100000"));
        // CURLE_PARTIAL_FILE, CURLE_RECV_ERROR, CURLE_HTTP2_STREAM.
        assert!(
            [18, 56, 92].contains(&answer.exit),
            "{version}: {}",
            answer.exit
        );
        assert!(answer.body.len() <= 50_000, "{version}");
    }
}

#[test]
fn an_early_response_reaches_a_client_that_still_sends() {
    let (_python, _switch, url) = world();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(50 << 20)
        .unwrap();
    let url = format!("{url}/early");
    let answer = curl()
        .args(["--http1.1", "-H", "Expect:"])
        .upload_stream(&file)
        .get(&url);
    assert_eq!(
        (answer.status, answer.text()),
        (413, "too much\n".to_owned()),
        "{answer:?}"
    );
    // curl 7.88 takes RST_STREAM with NO_ERROR behind a response for a failure, which it is not
    // (RFC 9113, 8.1); nghttp does not.
    let out = run(
        "nghttp",
        "nghttp2-client",
        ["-v", "-d", file.to_str().unwrap(), &url],
    );
    assert!(
        out.contains(":status: 413") && out.contains("too much\n"),
        "{out}"
    );
}

#[test]
fn http_1_0_gets_no_chunks_and_keeps_its_connection_when_it_asks() {
    let (_python, switch, url) = world();
    let answer = curl().arg("--http1.0").ok(&format!("{url}/chunked"));
    assert_eq!(answer.text(), "one two three\n");
    assert_eq!(answer.field("transfer-encoding"), None);
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let request = "GET /length?bytes=3 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    for _ in 0..2 {
        client.send(request).unwrap();
        let response = client.response().unwrap().unwrap();
        assert_eq!(response.field("connection"), Some("keep-alive"));
        assert_eq!(response.body, pattern(3));
    }
    client.send("GET /length?bytes=3 HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.response().unwrap().unwrap().body, pattern(3));
    assert_eq!(
        client.rest().unwrap(),
        b"",
        "HTTP/1.0 without keep-alive ends"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_python, switch, _) = world();
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let mut all = String::new();
    for number in 1..=50 {
        all += &format!("GET /length?bytes={number} HTTP/1.1\r\nHost: a\r\n\r\n");
        all += &format!("POST /echo/{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET");
    }
    client.send(all).unwrap();
    for number in 1..=50 {
        assert_eq!(client.response().unwrap().unwrap().body, pattern(number));
        let echo = Echo::parse(&client.response().unwrap().unwrap().body);
        assert_eq!((echo.target, echo.length), (format!("/echo/{number}"), 3));
    }
}

#[test]
fn h2c_by_upgrade_is_not_passed_on() {
    let (python, _switch, url) = world();
    // Without prior knowledge curl asks for h2c with its first request.
    let answer = curl().arg("--http2").ok(&format!("{url}/echo"));
    assert_eq!(answer.version, "1.1");
    let echo = Echo::parse(&answer.body);
    assert_eq!(
        (echo.field("upgrade"), echo.field("http2-settings")),
        ("", "")
    );
    assert_eq!(python.seen().len(), 1);
}

#[test]
fn connections_to_servers_are_reused() {
    let (_python, _switch, url) = world();
    let connection = |path: &str| Echo::parse(&curl().ok(&format!("{url}{path}")).body).connection;
    let first = connection("/echo");
    for _ in 0..5 {
        // Given to another client after a silence, see upstream/idle.rs.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(connection("/echo"), first);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(curl().ok(&format!("{url}/close")).text(), "closing\n");
    assert_ne!(connection("/echo"), first);
}

#[test]
fn nothing_of_the_connection_is_passed_on() {
    let (_python, _switch, url) = world();
    let answer = curl()
        .arg("--http1.1")
        .header("Connection: X-Private, close")
        .header("X-Private: 1")
        .header("Keep-Alive: timeout=5")
        .header("Proxy-Connection: keep-alive")
        .header("TE: gzip")
        .header("X-Public: 1")
        .ok(&format!("{url}/echo"));
    let echo = Echo::parse(&answer.body);
    for name in ["x-private", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(echo.field(name), "", "{name}");
    }
    assert_eq!(echo.field("x-public"), "1");
    assert_ne!(echo.field("connection"), "close");
}
