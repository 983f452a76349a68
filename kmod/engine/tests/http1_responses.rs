// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Response heads that are read, what is read from them, and those that are refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

#[path = "http1_support/edits.rs"]
mod edits;
#[path = "http1_support/responses.rs"]
mod responses;

use edits::edited;
use edits::edits;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseBody;
use l7switch_engine::http1::ResponseError;
use l7switch_engine::http1::ResponseError::*;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::ResponseParser;
use l7switch_engine::http1::Version;
use l7switch_engine::http1::RESPONSE_HEAD_MAX;
use proptest::collection::vec;
use proptest::prelude::*;
use responses::in_pieces;
use responses::plain;
use responses::read;
use responses::Plain;

/// The head that these bytes are, to their last one and whatever follows them.
fn head(text: &str) -> ResponseHead {
    let followed = format!("{text}HTTP/1.1 200 OK\r\n\n");
    for text in [text, &followed] {
        assert_eq!(Plain::of(read(text.as_bytes())), plain(text.as_bytes()));
    }
    match read(followed.as_bytes()) {
        Ok(Some((len, head))) => {
            assert_eq!(len, text.len(), "{text:?}");
            head
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

/// A 200 with these lines of fields.
fn ok(lines: &str) -> ResponseHead {
    head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
}

fn body(lines: &str) -> ResponseBody {
    ok(lines).body(RequestKind::Normal)
}

/// Refused with this error, and already when the last byte given is the last there is.
fn refused(text: &str, error: ResponseError) {
    assert_eq!(read(text.as_bytes()), Err(error), "{text:?}");
    assert_eq!(plain(text.as_bytes()), None, "{text:?}");
    assert!(error.rule().starts_with("RFC "), "{error:?}");
    assert!(
        error.to_string().ends_with(&format!(" ({})", error.rule())),
        "{error}"
    );
}

fn refused_field(lines: &str, error: ResponseError) {
    refused(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), error);
    let among = format!("HTTP/1.1 200 OK\r\nA: b\r\n{lines}\r\nServer: nginx\r\n\r\n");
    refused(&among, error);
}

#[test]
fn state_is_24_bytes() {
    assert_eq!(size_of::<ResponseParser>(), 24);
    assert!(size_of::<ResponseHead>() <= 24);
}

#[test]
fn status_lines() {
    for (text, status, version) in [
        ("HTTP/1.1 200 OK\r\n\r\n", 200, Version::Http11),
        ("HTTP/1.0 200 OK\r\n\r\n", 200, Version::Http10),
        ("HTTP/1.1 404 Not Found\r\n\r\n", 404, Version::Http11),
        ("HTTP/1.1 200 \r\n\r\n", 200, Version::Http11),
        ("HTTP/1.1 200\r\n\r\n", 200, Version::Http11),
        ("HTTP/1.0 500\r\n\r\n", 500, Version::Http10),
        ("HTTP/1.1 200  OK\t\u{e9} \r\n\r\n", 200, Version::Http11),
        ("HTTP/1.1 200 HTTP/1.1 404\r\n\r\n", 200, Version::Http11),
        ("HTTP/1.1 100 Continue\r\n\r\n", 100, Version::Http11),
        ("HTTP/1.1 999 Denied\r\n\r\n", 999, Version::Http11),
        ("HTTP/1.1 200 \x01\x7f\r\n\r\n", 200, Version::Http11),
    ] {
        let head = head(text);
        assert_eq!((head.status, head.version), (status, version), "{text:?}");
    }
}

#[test]
fn status_lines_that_are_refused() {
    for (text, error) in [
        ("\n", StatusLine),
        ("\r", Version),
        (" HTTP", Version),
        ("\0", Version),
        ("http", Version),
        ("HTTP/1.1\n", StatusLine),
        ("HTTP/1.1\r", StatusLine),
        ("HTTP/1.1\t", StatusLine),
        ("HTTP/1.10", Version),
        ("HTTP/1.x", Version),
        ("HTTP/11", Version),
        ("HTTP 200", Version),
        ("HTTP/ 200", Version),
        ("HTTPS/1.1", Version),
        ("ICY 200 OK", Version),
        ("<html>", Version),
        ("HTTP/0", VersionNotSupported),
        ("HTTP/2", VersionNotSupported),
        ("HTTP/1.2", VersionNotSupported),
        ("HTTP/1.9 200 OK\r\n", VersionNotSupported),
        ("HTTP/1.1  200", Status),
        ("HTTP/1.1 \r", Status),
        ("HTTP/1.1 \n", StatusLine),
        ("HTTP/1.1 OK", Status),
        ("HTTP/1.1 099", Status),
        ("HTTP/1.1 000 OK\r\n", Status),
        ("HTTP/1.1 20 OK\r\n", Status),
        ("HTTP/1.1 2 OK\r\n", Status),
        ("HTTP/1.1 20\r", Status),
        ("HTTP/1.1 2000", Status),
        ("HTTP/1.1 +20", Status),
        ("HTTP/1.1 2x0", Status),
        ("HTTP/1.1 20\u{661}", Status),
        ("HTTP/1.1 200OK", StatusLine),
        ("HTTP/1.1 200\t", StatusLine),
        ("HTTP/1.1 200\rX", BareCr),
        ("HTTP/1.1 200 OK\rX", BareCr),
        ("HTTP/1.1 200 OK\r\r\n", BareCr),
        ("HTTP/1.1 200 O\0", FieldValue),
    ] {
        refused(text, error);
    }
}

#[test]
fn fields_that_say_nothing_about_framing() {
    for lines in [
        "A: b\r\n",
        "A:b\r\n",
        "A:\r\n",
        "A: \r\n",
        "A: \t b \t\r\n",
        "A: \u{e9} \t:;,\"\r\n",
        "A: b\x01c\x7f\r\n",
        "!#$%&'*+-.^_`|~09azAZ: b\r\n",
        "Content-Lengt: 5\r\n",
        "Content-Lengths: 5\r\n",
        "Content-Type: 5\r\n",
        "X-Content-Length: 5\r\n",
        "Connections: close\r\n",
        "Proxy-Connection: close\r\n",
        "Conn: close\r\n",
        "Transfer-Encodings: chunked\r\n",
        "TransferXEncoding: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "TE: chunked\r\n",
        "Close: chunked\r\nChunked: close\r\nKeep-Alive: timeout=5\r\nHost: a\r\nHost: b\r\n",
        "Upgrade: h2c\r\nTrailer: Content-Length\r\n",
    ] {
        let head = ok(lines);
        assert!(head.persistent, "{lines:?}");
        let body = head.body(RequestKind::Normal);
        assert_eq!(body, ResponseBody::UntilClose, "{lines:?}");
    }
}

#[test]
fn content_lengths() {
    for (lines, length) in [
        ("Content-Length: 5\r\n", 5),
        ("content-length:5\r\n", 5),
        ("CONTENT-LENGTH: \t 5 \t \r\n", 5),
        ("Content-Length: 0\r\n", 0),
        ("Content-Length: 00000000000000000000000042\r\n", 42),
        ("Content-Length: 18446744073709551615\r\n", u64::MAX),
        ("A: b\r\nContent-Length: 7\r\nConnection: close\r\n", 7),
        ("Transfer-Length: 8\r\nContent-Length: 9\r\n", 9),
    ] {
        assert_eq!(body(lines), ResponseBody::Length(length), "{lines:?}");
    }
    for (value, error) in [
        ("", ContentLength),
        (" \t", ContentLength),
        ("+1", ContentLength),
        ("-1", ContentLength),
        ("1,1", ContentLength),
        ("1, 1", ContentLength),
        ("1 1", ContentLength),
        ("1,", ContentLength),
        ("0x1", ContentLength),
        ("1.0", ContentLength),
        ("\"1\"", ContentLength),
        ("1\u{e9}", ContentLength),
        ("1\x0b", FieldValue),
        ("\0", FieldValue),
        ("\n", ContentLength),
        ("1\n 1", ObsFold),
        ("1\r1", BareCr),
        ("1\r\n 1", ObsFold),
        ("\r\n 1", ContentLength),
        ("18446744073709551616", ContentLengthOverflow),
        ("99999999999999999999", ContentLengthOverflow),
        ("1\r\nContent-Length: 1", RepeatedContentLength),
        ("1\r\ncontent-length: 2", RepeatedContentLength),
        ("0\r\nA: b\r\nContent-Length:", RepeatedContentLength),
    ] {
        refused_field(&format!("Content-Length: {value}"), error);
        refused_field(&format!("content-lENGTH:{value}"), error);
    }
}

#[test]
fn transfer_encodings() {
    for (lines, expected) in [
        ("Transfer-Encoding: chunked\r\n", ResponseBody::Chunked),
        ("transfer-encoding:\tCHUNKED \t\r\n", ResponseBody::Chunked),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            ResponseBody::Chunked,
        ),
        ("Transfer-Encoding: a\t,chunked\r\n", ResponseBody::Chunked),
        (
            "Transfer-Encoding: gzip\r\nA: b\r\nTransfer-Encoding: chunked\r\n",
            ResponseBody::Chunked,
        ),
        ("Transfer-Encoding: gzip\r\n", ResponseBody::UntilClose),
        ("Transfer-Encoding: identity\r\n", ResponseBody::UntilClose),
        ("Transfer-Encoding: xchunked\r\n", ResponseBody::UntilClose),
        ("Transfer-Encoding: chunkedx\r\n", ResponseBody::UntilClose),
        ("Transfer-Encoding: chunke\r\n", ResponseBody::UntilClose),
        ("Transfer-Encoding: close\r\n", ResponseBody::UntilClose),
    ] {
        assert_eq!(body(lines), expected, "{lines:?}");
    }
    for (value, error) in [
        ("", TransferEncoding),
        (" ", TransferEncoding),
        (",", TransferEncoding),
        (", chunked", TransferEncoding),
        ("chunked,", TransferEncoding),
        ("chunked, ", TransferEncoding),
        ("gzip,,chunked", TransferEncoding),
        ("chunked;a=b", TransferEncoding),
        ("gzip chunked", TransferEncoding),
        ("chunked gzip", TransferEncoding),
        ("\"chunked\"", TransferEncoding),
        ("chunked\u{e9}", TransferEncoding),
        ("chunked\x0b", FieldValue),
        ("chunked\0", FieldValue),
        ("\x0bchunked", FieldValue),
        ("\n chunked", TransferEncoding),
        ("chunked\rX", BareCr),
        ("chunked\r\n ", ObsFold),
        ("\r\n chunked", TransferEncoding),
        ("chunked, chunked", ChunkedTwice),
        ("chunked\r\nTransfer-Encoding: chunked", ChunkedTwice),
        ("chunked, gzip", CodingAfterChunked),
        ("chunked\r\nTransfer-Encoding: identity", CodingAfterChunked),
    ] {
        refused_field(&format!("Transfer-Encoding: {value}"), error);
    }
    refused(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding:",
        TransferEncodingInHttp10,
    );
}

/// What is known from attacks that make two readers see different messages in the same bytes.
#[test]
fn smuggling() {
    for (lines, error) in [
        (
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            TransferEncodingAndContentLength,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
            TransferEncodingAndContentLength,
        ),
        (
            "Transfer-Encoding: identity\r\nA: b\r\ncontent-length: 0",
            TransferEncodingAndContentLength,
        ),
        ("Content-Length : 6", SpaceBeforeColon),
        ("Content-Length\t: 6", SpaceBeforeColon),
        ("Transfer-Encoding : chunked", SpaceBeforeColon),
        ("Content Length: 6", SpaceBeforeColon),
        (" Content-Length: 6", ObsFold),
        ("\tContent-Length: 6", ObsFold),
        ("A: b\rContent-Length: 6", BareCr),
        ("A: b\r\r\nContent-Length: 6", BareCr),
        ("A: b\0", FieldValue),
        ("A\nContent-Length: 6", MissingColon),
        ("A: b\n Content-Length: 6", ObsFold),
        (
            "Content-Length: 6\nContent-Length: 6",
            RepeatedContentLength,
        ),
        ("\rContent-Length: 6", BareCr),
        ("Content-Length", MissingColon),
        ("A", MissingColon),
        (":", EmptyFieldName),
        (": b", EmptyFieldName),
        ("\0Content-Length: 6", FieldName),
        ("Content-Length\0: 6", FieldName),
        ("Content-Length\x0b: 6", FieldName),
        ("Content-Length\u{a0}: 6", FieldName),
        ("\u{feff}Content-Length: 6", FieldName),
        ("A(: b", FieldName),
        ("\"A\": b", FieldName),
        ("Connection: Content-Length", ConnectionOption),
        ("Connection: close, content-length", ConnectionOption),
    ] {
        refused_field(lines, error);
    }
    refused("HTTP/1.1 200 OK\r\n\rX", BareCr);
}

/// CGI programs write them behind what their server writes (RFC 9112, 2.2).
#[test]
fn lines_may_end_in_a_line_feed_alone() {
    for text in [
        "HTTP/1.1 200 OK\nA: b\nContent-Length: 6\nConnection: close\n\n",
        "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\nContent-Length: 6\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 6\nConnection: close\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\n",
        "HTTP/1.1 200\nContent-Length: 6 \nConnection: keep-alive , close \n\r\n",
        "HTTP/1.1 200 \nConnection: close,\nContent-Length:6\n\n",
    ] {
        let head = head(text);
        assert_eq!(
            head.body(RequestKind::Normal),
            ResponseBody::Length(6),
            "{text:?}"
        );
        assert!(!head.persistent, "{text:?}");
    }
    let coded = head("HTTP/1.1 200\nTransfer-Encoding: chunked\n\n");
    assert_eq!(coded.body(RequestKind::Normal), ResponseBody::Chunked);
}

#[test]
fn persistence() {
    for (lines, in_http11, in_http10) in [
        ("", true, false),
        ("Connection: close\r\n", false, false),
        ("connection:CLOSE\r\n", false, false),
        ("Connection: keep-alive\r\n", true, true),
        ("Connection: Keep-Alive, close\r\n", false, false),
        ("Connection: close, keep-alive\r\n", false, false),
        (
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
            false,
        ),
        ("Connection: upgrade , keep-alive\r\n", true, true),
        ("Connection: ,\t, keep-alive,\r\n", true, true),
        ("Connection:\r\n", true, false),
        ("Connection: closed\r\n", true, false),
        ("Connection: clos\r\n", true, false),
        ("Connection: xclose\r\n", true, false),
        ("Connection: Transfer-Encoding\r\n", true, false),
        ("Keep-Alive: timeout=5\r\n", true, false),
        // What is no list of tokens may mean the end.
        ("Connection: keep-alive, close;a\r\n", false, false),
        ("Connection: keep-alive keep-alive\r\n", false, false),
        ("Connection: \"keep-alive\"\r\n", false, false),
        ("Connection: keep-alive\u{e9}\r\n", false, false),
        ("Connection: keep-alive\x0b\r\n", false, false),
    ] {
        assert_eq!(ok(lines).persistent, in_http11, "{lines:?}");
        let old = head(&format!("HTTP/1.0 200 OK\r\n{lines}\r\n"));
        assert_eq!(old.persistent, in_http10, "{lines:?}");
    }
    for (value, error) in [
        ("close\0", FieldValue),
        ("close\rX", BareCr),
        ("close,\r\n keep-alive", ObsFold),
    ] {
        refused_field(&format!("Connection: {value}"), error);
    }
}

#[test]
fn bodies_by_status_and_request() {
    use RequestKind::*;
    use ResponseBody as Body;
    let lines = [
        ("Content-Length: 5\r\n", Body::Length(5)),
        ("Transfer-Encoding: chunked\r\n", Body::Chunked),
        ("Transfer-Encoding: gzip\r\n", Body::UntilClose),
        ("", Body::UntilClose),
    ];
    for (lines, told) in lines {
        for status in 100..=999 {
            let text = format!("HTTP/1.1 {status} \r\n{lines}\r\n");
            let (_, head) = in_pieces(text.as_bytes(), []).unwrap().unwrap();
            let interim = (100..200).contains(&status) && status != 101;
            assert_eq!(head.interim(), interim);
            for request in [Normal, Head, Connect] {
                let expected = match (status, request) {
                    (101, _) | (200..=299, Connect) => Body::Opaque,
                    (_, Head) | (204 | 304, _) => Body::None,
                    _ if interim => Body::None,
                    _ => told,
                };
                assert_eq!(
                    head.body(request),
                    expected,
                    "{request:?} {status} {told:?}"
                );
            }
        }
    }
    assert_eq!(Body::None.framing(), Some(Framing::None));
    assert_eq!(Body::Length(7).framing(), Some(Framing::Length(7)));
    assert_eq!(Body::Chunked.framing(), Some(Framing::Chunked));
    assert_eq!(Body::UntilClose.framing(), None);
    assert_eq!(Body::Opaque.framing(), None);
}

#[test]
fn heads_are_bounded() {
    let max = usize::try_from(RESPONSE_HEAD_MAX).unwrap();
    let padded = |len: usize| {
        let (start, end) = ("HTTP/1.1 200 OK\r\nA: ", "\r\n\r\n");
        format!("{start}{}{end}", "b".repeat(len - start.len() - end.len()))
    };
    let fits = padded(max);
    let (len, _) = read(fits.as_bytes()).unwrap().unwrap();
    assert_eq!(len, max);
    let followed = format!("{fits}body");
    assert_eq!(read(followed.as_bytes()), read(fits.as_bytes()));
    let longer = padded(max + 1);
    assert_eq!(read(longer.as_bytes()), Err(HeadTooLong));
    assert_eq!(read(&longer.as_bytes()[..max]), Ok(None));
    assert_eq!(plain(longer.as_bytes()), None);
    let many = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(20_000));
    assert_eq!(read(many.as_bytes()), Err(HeadTooLong));
}

#[test]
fn interim_responses_come_before_the_last_one() {
    let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 304\r\n\r\n";
    let mut rest = &text[..];
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let progress = ResponseParser::new().consume(rest).unwrap();
        let head = progress.head.unwrap();
        rest = &rest[progress.consumed..];
        if let ResponseBody::Length(length) = head.body(RequestKind::Normal) {
            rest = &rest[usize::try_from(length).unwrap()..];
        }
        seen.push((head.status, head.interim()));
    }
    assert_eq!(seen, [(100, true), (103, true), (200, false), (304, false)]);
}

fn field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[Cc]ontent-[Ll]ength",
        "[Tt]ransfer-[Ee]ncoding",
        "[Cc]onnection",
        "[A-Za-z-]{1,20}",
        "[ -~]{0,6}",
    ];
    let value = prop_oneof![
        3 => "[0-9]{1,3}",
        1 => "[0-9]{18,22}",
        3 => "(gzip|chunked|close|keep-alive|content-length|[ \t,]){1,4}",
        2 => "[ -~\t]{0,30}",
        1 => "[ -~\t\\x00-\\x1f]{0,9}",
    ];
    (name, "[ \t]{0,2}", value).prop_map(|(name, space, value)| format!("{name}:{space}{value}"))
}

fn generated() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => "HTTP/1\\.[01] [1-5][0-9]{2}( [ -~]{0,20})?",
        1 => "HTTP/[0-9]\\.[0-9] [0-9]{0,4} OK",
        1 => "[ -~]{0,20}",
    ];
    let edits = prop_oneof![3 => Just(Vec::new()), 1 => edits()];
    (line, vec(field(), 0..6), edits).prop_map(|(line, fields, edits)| {
        let mut text = format!("{line}\r\n");
        for field in fields {
            text.push_str(&field);
            text.push_str("\r\n");
        }
        let mut text = text.into_bytes();
        text.extend(b"\r\nbody");
        edited(text, edits)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_plain_reader_reads_the_same(text in generated(), mut ends in vec(0_usize..200, 0..6)) {
        ends.sort_unstable();
        let whole = in_pieces(&text, []);
        prop_assert_eq!(in_pieces(&text, ends), whole);
        prop_assert_eq!(in_pieces(&text, 1..text.len()), whole);
        prop_assert_eq!(Plain::of(whole), plain(&text));
    }

    #[test]
    fn arbitrary_bytes_are_survived(text in vec(any::<u8>(), 0..100)) {
        let _ = read(&text);
    }
}

/// The comparison says nothing if nothing is accepted.
#[test]
fn many_of_the_generated_heads_are_accepted() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut tree = || generated().new_tree(&mut runner).unwrap().current();
    let accepted = (0..500).filter(|_| plain(&tree()).is_some()).count();
    assert!((25..475).contains(&accepted), "{accepted} of 500");
}
