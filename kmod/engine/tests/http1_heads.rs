// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Request heads that are read, and what is read from them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use l7switch_engine::http1::h2_preface;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::HeadError;
use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Limits;
use l7switch_engine::http1::Preface;
use l7switch_engine::http1::Target;
use l7switch_engine::http1::Version;
use l7switch_engine::http1::H2_PREFACE;
use l7switch_engine::table::Fields;

fn read(text: &str) -> Head<'_> {
    match HeadParser::new(Limits::default()).parse(text.as_bytes()) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn fields<'a>(head: &Head<'a>) -> Vec<(&'a str, &'a str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    head.fields()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

#[test]
fn state_is_at_most_64_bytes() {
    assert!(size_of::<HeadParser>() <= 64, "{}", size_of::<HeadParser>());
}

#[test]
fn rfc_9112_2_1_example() {
    let text = "GET /hello.txt HTTP/1.1\r\n\
        User-Agent: curl/7.64.1\r\n\
        Host: www.example.com\r\n\
        Accept-Language: en, mi\r\n\
        \r\n";
    let head = read(text);
    assert_eq!(head.len(), text.len());
    assert_eq!(head.method(), b"GET");
    assert_eq!(
        head.target(),
        Target::Origin {
            path: b"/hello.txt",
            query: None
        }
    );
    assert_eq!(head.version(), Version::Http11);
    assert_eq!(head.host(), Some(&b"www.example.com"[..]));
    assert_eq!(head.framing(), Framing::None);
    assert!(head.persistent());
    assert_eq!(
        fields(&head),
        [
            ("User-Agent", "curl/7.64.1"),
            ("Host", "www.example.com"),
            ("Accept-Language", "en, mi")
        ]
    );
    assert!(Fields::iter(&head).eq(head.fields()));
}

#[test]
fn rfc_9112_3_2_1_origin_form() {
    let head = read("GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    assert_eq!(
        head.target(),
        Target::Origin {
            path: b"/where",
            query: Some(b"q=now")
        }
    );
    assert_eq!(
        (head.path(), head.query()),
        (&b"/where"[..], Some(&b"q=now"[..]))
    );
}

#[test]
fn rfc_9112_3_2_2_absolute_form() {
    let head = read(
        "GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1\r\nHost: other.example\r\n\r\n",
    );
    assert_eq!(
        head.target(),
        Target::Absolute {
            scheme: b"http",
            authority: b"www.example.org",
            path: b"/pub/WWW/TheProject.html",
            query: None
        }
    );
    assert_eq!(head.host(), Some(&b"www.example.org"[..]));
    assert_eq!(head.host_field(), Some(&b"other.example"[..]));
}

#[test]
fn rfc_9112_3_2_3_authority_form() {
    let head = read("CONNECT www.example.com:80 HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    assert_eq!(head.target(), Target::Authority(b"www.example.com:80"));
    assert_eq!(head.host(), Some(&b"www.example.com:80"[..]));
    assert_eq!((head.path(), head.query()), (&b""[..], None));
}

#[test]
fn rfc_9112_3_2_4_asterisk_form() {
    let head = read("OPTIONS * HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    assert_eq!(head.target(), Target::Asterisk);
    assert_eq!(head.path(), b"*");

    let head =
        read("OPTIONS http://www.example.org:8001 HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
    assert_eq!(head.path(), b"*");
    assert_eq!(head.host(), Some(&b"www.example.org:8001"[..]));

    assert_eq!(
        read("OPTIONS http://a? HTTP/1.1\r\nHost: a\r\n\r\n").path(),
        b"/"
    );
    assert_eq!(
        read("GET HTTPS://a?b HTTP/1.1\r\nHost: a\r\n\r\n").path(),
        b"/"
    );
    assert_eq!(
        read("GET http://a?b/c HTTP/1.1\r\nHost: a\r\n\r\n").query(),
        Some(&b"b/c"[..])
    );
}

#[test]
fn hosts_that_are_valid() {
    for host in [
        "",
        "a",
        "a.example",
        "A.Example.",
        "a_b~c-d.e",
        "127.0.0.1",
        "a:0",
        "a:80",
        "a:65535",
        "a:00080",
        "a:",
        "[::1]",
        "[::1]:443",
        "[2001:db8::192.0.2.1]",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = read(&text);
        assert_eq!(head.host_field(), Some(host.as_bytes()));
        assert_eq!(head.host().unwrap_or_default(), host.as_bytes());
        if !host.is_empty() {
            let text = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(read(&text).host(), Some(host.as_bytes()));
        }
    }
}

#[test]
fn host_may_be_left_out_in_http_1_0() {
    let head = read("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((head.host(), head.host_field()), (None, None));
    assert_eq!(head.fields().count(), 0);
}

#[test]
fn values_are_trimmed_and_otherwise_as_sent() {
    let head = read("GET / HTTP/1.1\r\nHost:a\r\nX:\r\nY: \t \r\nZ:\t one \t two\u{e9} \t\r\n\r\n");
    assert_eq!(
        fields(&head),
        [
            ("Host", "a"),
            ("X", ""),
            ("Y", ""),
            ("Z", "one \t two\u{e9}")
        ]
    );
    assert_eq!(
        read("GET / HTTP/1.1\r\nhOST: \ta.b \t\r\n\r\n").host(),
        Some(&b"a.b"[..])
    );
}

#[test]
fn framing_of_the_body() {
    for (lines, framing) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("content-length:0042\r\n", Framing::Length(42)),
        (
            "CONTENT-LENGTH: 18446744073709551615 \r\n",
            Framing::Length(u64::MAX),
        ),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ("transfer-encoding:\tChunkED\t\r\n", Framing::Chunked),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(read(&text).framing(), framing, "{lines:?}");
    }
    assert_eq!(
        read("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n").framing(),
        Framing::Length(5)
    );
}

#[test]
fn persistence() {
    for (version, lines, persistent) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "Connection: keep-alive, , \tclose\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: Keep-Alive, close\r\n", false),
        (
            "1.0",
            "Connection: close\r\nConnection: keep-alive\r\n",
            false,
        ),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(read(&text).persistent(), persistent, "{version} {lines:?}");
    }
}

#[test]
fn expectation_and_upgrade_are_of_http_1_1() {
    let lines = "Host: a\r\nExpect: 100-Continue\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
    assert!(read(&text).expect_continue());
    assert_eq!(read(&text).upgrade(), Some(&b"websocket"[..]));
    let text = format!("GET / HTTP/1.0\r\n{lines}\r\n");
    assert!(!read(&text).expect_continue());
    assert_eq!(read(&text).upgrade(), None);

    let without_option = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(read(without_option).upgrade(), None);
    let without_field = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(read(without_field).upgrade(), None);
    let other = "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n";
    assert!(!read(other).expect_continue());
}

#[test]
fn one_empty_line_before_the_request_is_tolerated() {
    let text = "\r\nGET /a HTTP/1.1\r\nHost: b\r\n\r\nrest";
    let head = read(text);
    assert_eq!(head.len(), text.len() - 4);
    assert_eq!((head.method(), head.path()), (&b"GET"[..], &b"/a"[..]));
    assert_eq!(fields(&head), [("Host", "b")]);
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\xff\nGET";
    let mut parser = HeadParser::new(Limits::default());
    let head = parser.parse(text).unwrap().unwrap();
    assert_eq!(head.len(), text.len() - 6);
    // Asked again, it gives the same again.
    assert_eq!(parser.parse(text).unwrap().unwrap().len(), text.len() - 6);
}

#[test]
fn limits_are_inclusive() {
    let text = b"GET /abc HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let exact = Limits {
        head: text.len(),
        target: 4,
        fields: 2,
    };
    let parse = |limits| {
        HeadParser::new(limits)
            .parse(text)
            .map(|head| head.is_some())
    };
    assert_eq!(parse(exact), Ok(true));
    let head = text.len() - 1;
    assert_eq!(parse(Limits { head, ..exact }), Err(HeadError::HeadTooLong));
    assert_eq!(
        parse(Limits { target: 3, ..exact }),
        Err(HeadError::TargetTooLong)
    );
    assert_eq!(
        parse(Limits { fields: 1, ..exact }),
        Err(HeadError::TooManyFields)
    );
    assert_eq!(
        parse(Limits { head: 7, ..exact }),
        Err(HeadError::TargetTooLong)
    );
    assert_eq!(
        parse(Limits { head: 0, ..exact }),
        Err(HeadError::HeadTooLong)
    );
    let unlimited = Limits {
        head: usize::MAX,
        target: usize::MAX,
        fields: usize::MAX,
    };
    assert_eq!(parse(unlimited), Ok(true));
}

#[test]
fn http_2_preface_is_told_apart() {
    assert_eq!(h2_preface(b""), Preface::Maybe);
    assert_eq!(h2_preface(b"PRI * HT"), Preface::Maybe);
    assert_eq!(h2_preface(b"P"), Preface::Maybe);
    assert_eq!(h2_preface(b"POST"), Preface::No);
    assert_eq!(h2_preface(b"PRI * HTTP/1.1\r\n"), Preface::No);
    assert_eq!(h2_preface(H2_PREFACE), Preface::Yes);
    assert_eq!(
        h2_preface(&[&H2_PREFACE[..], b"\0\0\0"].concat()),
        Preface::Yes
    );
    let parsed = HeadParser::new(Limits::default())
        .parse(H2_PREFACE)
        .map(|head| head.is_some());
    assert_eq!(parsed, Err(HeadError::TargetForm));
}
