// SPDX-License-Identifier: MIT
//! Messages that could be read in two ways: refused, and no real server sees any of them.

use crate::support::h2;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;

/// Heads that are refused with 400, whatever follows them.
const REFUSED: &[(&str, &str)] = &[
    (
        "CL.TE",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    (
        "TE.CL",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
    ),
    (
        "CL.CL",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\n12345G",
    ),
    (
        "list of lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n12345G",
    ),
    (
        "signed length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n12345",
    ),
    (
        "hexadecimal length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n12345",
    ),
    (
        "huge length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n12345",
    ),
    (
        "empty length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    ),
    (
        "length twice the same, then chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "space before the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "obs-fold",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "obs-fold of another field",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n\r\n",
    ),
    (
        "field before the fields",
        "GET / HTTP/1.1\r\n X-A: b\r\nHost: a\r\n\r\n",
    ),
    (
        "bare LF in the head",
        "GET / HTTP/1.1\r\nHost: a\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("bare LF at the end", "GET / HTTP/1.1\nHost: a\n\n"),
    (
        "bare CR in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n",
    ),
    (
        "bare CR before a field",
        "GET / HTTP/1.1\r\nHost: a\r\n\rTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "NUL in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n",
    ),
    (
        "NUL in a name",
        "GET / HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n",
    ),
    (
        "control in the target",
        "GET /\x07 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "space in the target",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("no Host", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (
        "the same Host twice",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    ),
    ("Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (
        "Host with user information",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    ),
    ("no name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("no version", "GET /\r\nHost: a\r\n\r\n"),
    (
        "version in small letters",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "fragment in the target",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("two targets", "GET / / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method with a colon", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Paths that are refused with 400. Where such a message ends is clear, so the connection lives on.
const PATHS: &[&str] = &[
    "/a%2f..", "/.%2Fb", "/a%00b", "/a%2", "/%zz", "/a\\b", "/a%5cb", "/..%2f", "/%",
];

/// Content that is broken: the server may have seen the head, but never a second request.
const BROKEN: &[(&str, &str)] = &[
    ("bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
    ("space before a size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("signed size", "+5\r\nhello\r\n0\r\n\r\n"),
    ("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("huge size", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
    ("shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
    ("bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("folded trailer", "0\r\nX-A: b\r\n c\r\n\r\n"),
    ("bare LF in a trailer", "0\r\nX-A: b\nX-C: d\r\n\r\n"),
];

/// Would be the second request on the connection for whoever reads the first in another way.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn world() -> (Python, Switch) {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    (python, switch)
}

#[test]
fn ambiguous_heads_are_refused() {
    let (python, switch) = world();
    let mut wrong = Vec::new();
    for (what, bytes) in REFUSED {
        let mut client = Raw::connect(switch.address("web")).unwrap();
        client.send(format!("{bytes}{SECOND}")).unwrap();
        let response = client.response();
        let status = response
            .as_ref()
            .ok()
            .and_then(|response| response.as_ref().map(|r| r.status));
        if status != Some(400) {
            wrong.push(format!("{what}: {response:?}"));
            continue;
        }
        // Nothing on the connection is believed any more.
        match client.response() {
            Ok(None) => (),
            more => wrong.push(format!("{what}: and then {more:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(python.seen().is_empty(), "{:#?}", python.seen());
    let status = switch.status();
    let refused: u64 = status.services["web"].refused.values().sum();
    assert_eq!(usize::try_from(refused), Ok(REFUSED.len()));
}

#[test]
fn paths_that_could_be_read_in_two_ways_are_refused() {
    let (python, switch) = world();
    let mut client = Raw::connect(switch.address("web")).unwrap();
    for path in PATHS {
        assert_eq!(client.get(path).unwrap().status, 400, "{path}");
    }
    assert!(python.seen().is_empty());
    assert_eq!(client.get("/good").unwrap().status, 200);
}

#[test]
fn codings_and_versions_that_are_not_known() {
    let (python, switch) = world();
    for (bytes, status) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
    ] {
        let mut client = Raw::connect(switch.address("web")).unwrap();
        client.send(bytes).unwrap();
        let response = client.response().unwrap().unwrap();
        assert_eq!(response.status, status, "{bytes:?}");
    }
    assert!(python.seen().is_empty());
}

#[test]
fn broken_content_ends_the_connection() {
    let (python, switch) = world();
    let mut wrong = Vec::new();
    for (what, content) in BROKEN {
        let mut client = Raw::connect(switch.address("web")).unwrap();
        let head = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{content}{SECOND}")).unwrap();
        let response = client.response();
        match &response {
            Ok(Some(response)) if response.status == 400 => (),
            _ => wrong.push(format!("{what}: {response:?}")),
        }
        match client.response() {
            Ok(None) => (),
            more => wrong.push(format!("{what}: and then {more:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!python.has_seen("smuggled"), "{:#?}", python.seen());
}

#[test]
fn a_head_that_comes_byte_by_byte_is_judged_alike() {
    let (python, switch) = world();
    for (bytes, status) in [
        ("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ] {
        let mut client = Raw::connect(switch.address("web")).unwrap();
        for byte in bytes.bytes() {
            client.send([byte]).unwrap();
        }
        assert_eq!(client.response().unwrap().unwrap().status, status);
    }
    assert_eq!(python.seen().len(), 1);
}

#[test]
fn content_that_looks_like_a_request_is_none() {
    // What a client sends as content is content, whatever it looks like.
    let (python, switch) = world();
    let mut client = Raw::connect(switch.address("web")).unwrap();
    let length = SECOND.len();
    for _ in 0..3 {
        let head = format!("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.send(head + SECOND).unwrap();
        assert_eq!(client.response().unwrap().unwrap().status, 200);
    }
    assert!(!python.has_seen("smuggled"));
    assert_eq!(python.seen().len(), 3);
}

/// Bytes behind the end of a response are no response to whoever asks next on that connection.
#[test]
fn a_server_cannot_answer_before_it_is_asked() {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", "passive = { failures = 0 }"));
    let mut first = Raw::connect(switch.address("web")).unwrap();
    let mut second = Raw::connect(switch.address("web")).unwrap();
    for number in 0..200 {
        assert_eq!(first.get("/overlong").unwrap().body, b"abc", "{number}");
        let target = format!("/echo/{number}");
        let response = second.get(&target).unwrap();
        assert_eq!(response.status, 200, "{number}: {response:?}");
        assert_eq!(Echo::parse(&response.body).target, target);
    }
}

/// What only HTTP/1 could misread is refused in HTTP/2, because the real server speaks HTTP/1.
#[test]
fn nothing_is_smuggled_through_http2() {
    let (python, switch) = world();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    let with = |name: &'static str, value: &str| {
        let mut fields = usual.map(|(name, value)| (name, value.to_owned())).to_vec();
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value.to_owned(),
            None => fields.push((name, value.to_owned())),
        }
        fields
    };
    let injected = |value: &str| format!("{value}\r\n\r\n{smuggled}");
    let cases = [
        ("length too short", with("content-length", "0"), smuggled),
        ("length too long", with("content-length", "100"), "x"),
        ("no number", with("content-length", "1x"), "x"),
        ("coding", with("transfer-encoding", "chunked"), "0\r\n\r\n"),
        ("connection", with("connection", "transfer-encoding"), ""),
        ("line end in a value", with("x-a", &injected("b")), ""),
        (
            "LF in a value",
            with("x-a", "b\nTransfer-Encoding: chunked"),
            "",
        ),
        ("NUL in a value", with("x-a", "b\0c"), ""),
        (
            "line end in a name",
            with("x-a: b\r\ntransfer-encoding", "chunked"),
            "0\r\n\r\n",
        ),
        ("capital in a name", with("X-A", "b"), ""),
        ("colon in a name", with("x:a", "b"), ""),
        (
            "line end in the path",
            with(":path", &injected("/ HTTP/1.1\r\nHost: a")),
            "",
        ),
        ("space in the path", with(":path", "/ HTTP/1.1"), ""),
        ("relative path", with(":path", "smuggled"), ""),
        ("empty path", with(":path", ""), ""),
        (
            "line end in the method",
            with(":method", &injected("GET / HTTP/1.1\r\nHost: a")),
            "",
        ),
        (
            "space in the method",
            with(":method", "GET /smuggled HTTP/1.1"),
            "",
        ),
        (
            "line end in the authority",
            with(":authority", &injected("a")),
            "",
        ),
        (
            "path in the authority",
            with(":authority", "a/smuggled"),
            "",
        ),
        ("user information", with(":authority", "u@a"), ""),
        ("another Host", with("host", "b"), ""),
        ("space before a value", with("x-a", " b"), ""),
        ("space behind a value", with("x-a", "b "), ""),
        ("tab before a value", with("x-a", "\tb"), ""),
        ("tab behind a value", with("x-a", "b\t"), ""),
        ("nothing but a space as value", with("x-a", " "), ""),
        ("space before Host", with("host", " a"), ""),
        ("* without OPTIONS", with(":path", "*"), ""),
        ("scheme of another protocol", with(":scheme", "ftp"), ""),
        (
            "length twice",
            [
                with("content-length", "1"),
                vec![("content-length", "1".to_owned())],
            ]
            .concat(),
            "x",
        ),
        (
            "lengths that differ",
            [
                with("content-length", "1"),
                vec![("content-length", "01".to_owned())],
            ]
            .concat(),
            "x",
        ),
        ("unknown pseudo field", with(":smuggled", "x"), ""),
    ];
    let mut wrong = Vec::new();
    for (what, fields, content) in cases {
        let outcome = h2::request(switch.address("web"), &fields, content.as_bytes());
        match outcome {
            h2::Outcome::Status(400..500) | h2::Outcome::Reset | h2::Outcome::Closed => (),
            h2::Outcome::Status(_) => wrong.push(format!("{what}: {outcome:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The head may have gone on before the content turned out to be wrong, but never a second request.
    assert!(!python.has_seen("smuggled"), "{:#?}", python.seen());
    let heads: Vec<_> = python
        .seen()
        .into_iter()
        .flat_map(|seen| seen.head)
        .collect();
    assert!(!heads.iter().any(|line| line.contains('\0')), "{heads:?}");
    let good = h2::request(switch.address("web"), &with("content-length", "3"), b"abc");
    assert!(matches!(good, h2::Outcome::Status(200)), "{good:?}");
}
