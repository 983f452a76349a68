// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Request heads that are refused, each with the rule that it breaks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod http1_support;

use http1_support::in_pieces;
use http1_support::read;
use l7switch_engine::http1::HeadError;
use l7switch_engine::http1::HeadError::*;
use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Limits;
use l7switch_engine::http1::METHOD_MAX;

/// Refused with this error and status, and already when the last byte given is the last there is.
fn refused(text: &str, status: u16, error: HeadError) {
    assert_eq!(
        read(Limits::default(), text.as_bytes()),
        Err(error),
        "{text:?}"
    );
    assert_eq!(error.status(), status, "{text:?}");
    assert!(error.rule().starts_with("RFC "), "{error:?}");
    assert!(
        error.to_string().ends_with(&format!(" ({})", error.rule())),
        "{error}"
    );
}

/// The same for a request with this line among its fields.
fn refused_field(line: &str, status: u16, error: HeadError) {
    refused(
        &format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"),
        status,
        error,
    );
    refused(
        &format!("POST / HTTP/1.1\r\n{line}\r\nHost: a\r\n\r\n"),
        status,
        error,
    );
}

#[test]
fn request_lines() {
    for (text, status, error) in [
        ("\n", 400, BareLf),
        ("\r\n\n", 400, BareLf),
        ("\r\n\r\n", 400, EmptyLines),
        ("\r\n\r", 400, EmptyLines),
        ("\rGET", 400, BareCr),
        (" GET / HTTP/1.1", 400, Method),
        ("\tGET", 400, Method),
        ("G(T", 400, Method),
        ("GET\t/", 400, Method),
        ("GET:", 400, Method),
        ("GET\r\n", 400, RequestLine),
        ("GET\n", 400, BareLf),
        ("GET  / HTTP/1.1\r\n", 400, RequestLine),
        ("GET \r\n", 400, RequestLine),
        ("GET /\r\n", 400, RequestLine),
        ("GET /\n", 400, BareLf),
        ("GET /\t", 400, TargetByte),
        ("GET / \r", 400, Version),
        ("GET /  HTTP/1.1", 400, RequestLine),
        ("GET / HTTP/1.1 \r\n", 400, RequestLine),
        ("GET / HTTP/1.1\t\r\n", 400, Version),
        ("GET / HTTP/1.1\n", 400, BareLf),
        ("GET / HTTP/1.1\rX", 400, BareCr),
        ("GET /a b HTTP/1.1", 400, Version),
        ("GET / http/1.1", 400, Version),
        ("GET / HTTP/11", 400, Version),
        ("GET / HTTP/1.1.1", 400, Version),
        ("GET / HTTP/1.10", 400, Version),
        ("GET / HTTP/1.x", 400, Version),
        ("GET / HTCPCP/1.0", 400, Version),
        ("GET / HTTP/1.2\r\n", 505, VersionNotSupported),
        ("GET / HTTP/0.9\r\n", 505, VersionNotSupported),
        ("GET / HTTP/2.0\r\n", 505, VersionNotSupported),
        ("GET / HTTP/3.1\r\n", 505, VersionNotSupported),
    ] {
        refused(text, status, error);
    }
}

#[test]
fn what_is_no_http_is_refused_at_its_first_byte() {
    for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_graphic() && *byte != b'\r') {
        let parsed = HeadParser::new(Limits::default())
            .parse(&[byte])
            .map(|_| ());
        let error = if byte == b'\n' { BareLf } else { Method };
        assert_eq!(parsed, Err(error), "{byte:#x}");
    }
    // A TLS record, and an HTTP/2 frame.
    refused("\x16\x03\x01", 400, Method);
    refused("\0\0\x12\x04", 400, Method);
}

#[test]
fn methods_are_bounded() {
    let longest = "M".repeat(METHOD_MAX);
    let text = format!("{longest} / HTTP/1.0\r\n\r\n");
    assert!(read(Limits::default(), text.as_bytes()).unwrap().is_some());
    refused(&format!("{longest}M"), 501, MethodTooLong);
}

#[test]
fn targets() {
    for (text, error) in [
        ("GET /a#b HTTP/1.1", Fragment),
        ("GET # HTTP/1.1", Fragment),
        ("GET /\0", TargetByte),
        ("GET /\x1f", TargetByte),
        ("GET /\x7f", TargetByte),
        ("GET /\u{e9}", TargetByte),
        ("GET a HTTP/1.1", TargetForm),
        ("GET * HTTP/1.1", TargetForm),
        ("GET ? HTTP/1.1", TargetForm),
        ("OPTIONS ** HTTP/1.1", TargetForm),
        ("OPTIONS *?a HTTP/1.1", TargetForm),
        ("options * HTTP/1.1", TargetForm),
        ("GET www.example.com:80 HTTP/1.1", TargetForm),
        ("GET http:/a HTTP/1.1", TargetForm),
        ("GET http:a HTTP/1.1", TargetForm),
        ("GET :// HTTP/1.1", Scheme),
        ("GET ftp://a/ HTTP/1.1", Scheme),
        ("GET httpx://a/ HTTP/1.1", Scheme),
        ("GET ws://a/ HTTP/1.1", Scheme),
        ("GET http://u@a/ HTTP/1.1", UserInfo),
        ("GET http://u:p@a/ HTTP/1.1", UserInfo),
        ("GET http://@a/ HTTP/1.1", UserInfo),
        ("GET http:// HTTP/1.1", Authority),
        ("GET http:///a HTTP/1.1", Authority),
        ("GET http://?a HTTP/1.1", Authority),
        ("GET http://:80/ HTTP/1.1", Authority),
        ("GET http://a:65536/ HTTP/1.1", Authority),
        ("GET http://a%2eb/ HTTP/1.1", Authority),
        ("GET http://a\\b/ HTTP/1.1", Authority),
        ("CONNECT / HTTP/1.1", Authority),
        ("CONNECT * HTTP/1.1", Authority),
        ("CONNECT a HTTP/1.1", Authority),
        ("CONNECT a: HTTP/1.1", Authority),
        ("CONNECT a:0 HTTP/1.1", Authority),
        ("CONNECT :80 HTTP/1.1", Authority),
        ("CONNECT u@a:80 HTTP/1.1", Authority),
        ("CONNECT a:80/ HTTP/1.1", Authority),
        ("CONNECT http://a:80/ HTTP/1.1", Authority),
    ] {
        refused(text, 400, error);
    }
}

#[test]
fn field_lines() {
    for (line, error) in [
        (" X: y", ObsFold),
        ("\tX: y", ObsFold),
        ("X: y\r\n z", ObsFold),
        ("X:\r\n\t", ObsFold),
        (": y", EmptyFieldName),
        (":", EmptyFieldName),
        ("X : y", SpaceBeforeColon),
        ("X\t: y", SpaceBeforeColon),
        ("X", MissingColon),
        ("X y: z", SpaceBeforeColon),
        ("X(: y", FieldName),
        ("\"X\": y", FieldName),
        ("X\0: y", FieldName),
        ("X\u{e9}: y", FieldName),
        ("X: \0", FieldValue),
        ("X: a\x01b", FieldValue),
        ("X: \x0b", FieldValue),
        ("X: \x1f", FieldValue),
        ("X: \x7f", FieldValue),
        ("X: y\nZ: 1", BareLf),
        ("X\nZ: 1", BareLf),
        ("X: y\rZ: 1", BareCr),
        ("X: y\r\r\nZ: 1", BareCr),
    ] {
        refused(
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"),
            400,
            error,
        );
    }
    refused("GET / HTTP/1.1\r\n Host: a\r\n", 400, LeadingWhiteSpace);
    refused("GET / HTTP/1.1\r\n\tHost: a\r\n", 400, LeadingWhiteSpace);
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400, BareLf);
    refused("GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, BareCr);
    refused("GET / HTTP/1.1\r\nHost: a\n", 400, BareLf);
}

#[test]
fn hosts() {
    refused("GET / HTTP/1.1\r\n\r\n", 400, MissingHost);
    refused("GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", 400, MissingHost);
    for version in ["1.0", "1.1"] {
        for line in ["Host: a", "host: a", "Host: b", "Host:"] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n");
            refused(&text, 400, RepeatedHost);
        }
        for host in [
            "a b",
            "a,b",
            "a, b",
            "u@a",
            "a/b",
            "http://a",
            "a%41",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:99999999999999999999",
            "a:80:80",
            "a:80 ,",
            ":80",
            ":",
            "[",
            "[]",
            "[::1",
            "::1",
            "[::1]80",
            "[::1]:x",
            "[1.2.3.4]",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[::1]]",
            "a]",
            "\u{e9}",
            "a\tb",
            "a?b",
            "a\\b",
            "a'b",
            "a*b",
            "*",
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: {host}\r\n");
            refused(&text, 400, Host);
        }
    }
}

#[test]
fn content_lengths() {
    for (value, error) in [
        ("", ContentLength),
        (" ", ContentLength),
        ("+1", ContentLength),
        ("-1", ContentLength),
        ("1,1", ContentLength),
        ("1, 1", ContentLength),
        ("1,", ContentLength),
        ("1 1", ContentLength),
        ("0x1", ContentLength),
        ("1.0", ContentLength),
        ("1e1", ContentLength),
        ("1_0", ContentLength),
        ("\"1\"", ContentLength),
        ("\u{661}", ContentLength),
        ("18446744073709551616", ContentLengthOverflow),
        ("99999999999999999999999", ContentLengthOverflow),
        ("1\r\nContent-Length: 1", RepeatedContentLength),
        ("1\r\nContent-Length: 2", RepeatedContentLength),
        ("1\r\nX: y\r\ncontent-length:1", RepeatedContentLength),
    ] {
        refused_field(&format!("Content-Length: {value}"), 400, error);
    }
}

/// What is known from attacks that make two servers see different requests in the same bytes.
#[test]
fn smuggling() {
    for (lines, status, error) in [
        // Both framings, in either order, whatever their values.
        (
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            400,
            TransferEncodingAndContentLength,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
            400,
            TransferEncodingAndContentLength,
        ),
        (
            "Content-Length: 0\r\nX: y\r\ntransfer-encoding: identity",
            400,
            TransferEncodingAndContentLength,
        ),
        (
            "Transfer-Encoding: xchunked\r\nContent-Length: 6",
            400,
            TransferEncodingAndContentLength,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: x",
            400,
            TransferEncodingAndContentLength,
        ),
        // One framing that only one of two servers would see.
        ("Transfer-Encoding : chunked", 400, SpaceBeforeColon),
        ("Transfer-Encoding\t: chunked", 400, SpaceBeforeColon),
        ("Content-Length : 6", 400, SpaceBeforeColon),
        ("X: y\r\n Transfer-Encoding: chunked", 400, ObsFold),
        ("Transfer-Encoding:\r\n chunked", 400, TransferEncoding),
        ("X: y\nTransfer-Encoding: chunked", 400, BareLf),
        ("X: y\rTransfer-Encoding: chunked", 400, BareCr),
        ("Transfer-Encoding: chunked\0", 400, FieldValue),
        ("Transfer-Encoding: \x0bchunked", 400, FieldValue),
        ("Transfer-Encoding: chunked\x0c", 400, FieldValue),
        ("\0Transfer-Encoding: chunked", 400, FieldName),
        ("Transfer-Encoding\0: chunked", 400, FieldName),
        ("\u{feff}Transfer-Encoding: chunked", 400, FieldName),
        // Codings.
        ("Transfer-Encoding: xchunked", 400, ChunkedNotLast),
        ("Transfer-Encoding: chunkedx", 400, ChunkedNotLast),
        ("Transfer-Encoding: identity", 400, ChunkedNotLast),
        ("Transfer-Encoding: gzip", 400, ChunkedNotLast),
        ("Transfer-Encoding: gzip, chunked", 501, CodingNotSupported),
        (
            "Transfer-Encoding: identity, chunked",
            501,
            CodingNotSupported,
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            501,
            CodingNotSupported,
        ),
        (
            "Transfer-Encoding: chunked, identity",
            400,
            CodingAfterChunked,
        ),
        ("Transfer-Encoding: chunked, gzip", 400, CodingAfterChunked),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            400,
            CodingAfterChunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-encoding: x",
            400,
            CodingAfterChunked,
        ),
        ("Transfer-Encoding: chunked, chunked", 400, ChunkedTwice),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            400,
            ChunkedTwice,
        ),
        ("Transfer-Encoding: CHUNKED,chunked", 400, ChunkedTwice),
        // Lists that are none.
        ("Transfer-Encoding:", 400, TransferEncoding),
        ("Transfer-Encoding: ,chunked", 400, TransferEncoding),
        ("Transfer-Encoding: chunked,", 400, TransferEncoding),
        ("Transfer-Encoding: chunked, ,", 400, TransferEncoding),
        ("Transfer-Encoding: \"chunked\"", 400, TransferEncoding),
        ("Transfer-Encoding: 'chunked", 400, ChunkedNotLast),
        ("Transfer-Encoding: [chunked]", 400, TransferEncoding),
        ("Transfer-Encoding: chunked;q=1", 400, TransferEncoding),
        (
            "Transfer-Encoding: gzip;a=\"b, chunked\"",
            400,
            TransferEncoding,
        ),
        ("Transfer-Encoding: chunked chunked", 400, TransferEncoding),
        ("Transfer-Encoding: chunked identity", 400, TransferEncoding),
        ("Transfer-Encoding: c\u{212a}unked", 400, TransferEncoding),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\nGET /");
        refused(&text, status, error);
    }
    for line in ["Transfer-Encoding: chunked", "transfer-encoding: identity"] {
        let text = format!("POST / HTTP/1.0\r\n{line}\r\n\r\n");
        refused(&text, 400, TransferEncodingInHttp10);
    }
}

#[test]
fn connection_options() {
    for (value, error) in [
        ("keep alive", Connection),
        ("close; now", Connection),
        ("\"close\"", Connection),
        ("close\u{e9}", Connection),
        ("host", ConnectionOption),
        ("close, Content-Length", ConnectionOption),
    ] {
        refused_field(&format!("Connection: {value}"), 400, error);
    }
}

#[test]
fn connect_has_no_content() {
    for line in ["Content-Length: 0", "Transfer-Encoding: chunked"] {
        let text = format!("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        refused(&text, 400, ConnectContent);
    }
}

#[test]
fn sizes() {
    let limits = Limits::default();
    let target = "a".repeat(limits.target);
    refused(&format!("GET /{target}"), 414, TargetTooLong);
    let fields = "X: y\r\n".repeat(limits.fields);
    refused(&format!("GET / HTTP/1.1\r\n{fields}Z"), 431, TooManyFields);
    let value = "v".repeat(limits.head);
    refused(&format!("GET / HTTP/1.1\r\nX: {value}"), 431, HeadTooLong);
}

#[test]
fn an_error_is_given_again() {
    let mut parser = HeadParser::new(Limits::default());
    for text in [
        &b"GET / HTTP/1.1\r\nX : "[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"",
    ] {
        assert_eq!(parser.parse(text).map(|_| ()), Err(SpaceBeforeColon));
    }
}

#[test]
fn a_buffer_that_shrinks_or_changes_is_survived() {
    let text = b"GET /a/long/target HTTP/1.1\r\nHost: example.com\r\nX: y\r\n\r\n";
    for end in 0..text.len() {
        for other in 0..text.len() {
            let mut parser = HeadParser::new(Limits::default());
            assert_eq!(
                parser.parse(&text[..end]).map(|head| head.is_some()),
                Ok(false)
            );
            let _ = parser.parse(&text[..other]);
            let _ = parser.parse(&vec![b':'; other]);
            let _ = parser.parse(&vec![b'\r'; other]);
        }
    }
}

#[test]
fn nothing_is_taken_for_a_head_before_its_end() {
    let text = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(in_pieces(Limits::default(), &text[..end], []), Ok(None));
    }
}
