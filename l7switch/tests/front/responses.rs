// SPDX-License-Identifier: MIT
//! Every form of response, asked for in every way: the client gets the same, and what it gets is in one table.

use bytes::Bytes;
use http::Method;
use http::Request;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use l7switch::Switch;
use std::time::Duration;
use tokio::net::TcpStream;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::status;

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gets {
    /// A whole response of this status with this content.
    Whole(u16, Vec<u8>),
    /// A response that breaks off, and does not look whole.
    Broken,
}

/// What GET gets, as in the table.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// This status and content.
    Ok(u16, &'static str),
    /// 502: the head is not right.
    Bad,
    /// The head is right, and the content breaks off.
    Cut,
}

use Form::Bad;
use Form::Cut;
use Form::Ok as Good;

/// Name, response, what GET gets. The server ends the connection behind it.
const FORMS: &[(&str, &str, Form)] = &[
    (
        "length",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "no reason",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "no space",
        "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "status 599",
        "HTTP/1.1 599 X\r\nContent-Length: 2\r\n\r\nok",
        Good(599, "ok"),
    ),
    (
        "status 999",
        "HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nok",
        Good(999, "ok"),
    ),
    (
        "length 002",
        "HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "length twice",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "list of lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        Bad,
    ),
    (
        "length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Bad,
    ),
    (
        "length too long",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        Cut,
    ),
    (
        "length zero",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        Good(200, ""),
    ),
    (
        "surplus",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 X\r\n\r\n",
        Good(200, "ok"),
    ),
    (
        "chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        Good(200, "ok"),
    ),
    (
        "chunks, padded",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0002 \r\nok\r\n0 \t\r\n\r\n",
        Good(200, "ok"),
    ),
    (
        "chunks with extensions",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 ; a = \"b;\" ;c\r\nok\r\n0;d\r\n\r\n",
        Good(200, "ok"),
    ),
    (
        "chunks with trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2\r\nok\r\n0\r\nX-A: 1\r\n\r\n",
        Good(200, "ok"),
    ),
    (
        "chunk size with LF",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "chunk size of two numbers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 2\r\nok\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "chunk too long",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokok\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "quote without end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\r\nok\r\n0\r\n\r\n",
        Cut,
    ),
    (
        "chunks without end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        Cut,
    ),
    (
        "chunks in HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Bad,
    ),
    (
        "coding gzip",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        Bad,
    ),
    (
        "coding gzip, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Bad,
    ),
    (
        "coding identity",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        Bad,
    ),
    (
        "until the end",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "nothing until the end",
        "HTTP/1.1 200 OK\r\n\r\n",
        Good(200, ""),
    ),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nok", Good(200, "ok")),
    (
        "HTTP/1.0 with length",
        "HTTP/1.0 404 No\r\nContent-Length: 2\r\n\r\nok",
        Good(404, "ok"),
    ),
    ("204", "HTTP/1.1 204 No Content\r\n\r\n", Good(204, "")),
    (
        "204 with content",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        Good(204, ""),
    ),
    (
        "304",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        Good(304, ""),
    ),
    (
        "304 with content",
        "HTTP/1.1 304 Not Modified\r\n\r\nok",
        Good(304, ""),
    ),
    (
        "205 with content",
        "HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok",
        Good(205, "ok"),
    ),
    (
        "LF alone",
        "HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\nok",
        Good(200, "ok"),
    ),
    (
        "LF behind CRLF",
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Type: text/plain\n\nok",
        Good(200, "ok"),
    ),
    (
        "CR alone",
        "HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\n\r\nok",
        Bad,
    ),
    (
        "empty line first",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "folded field",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "space before colon",
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "no colon",
        "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "control character",
        "HTTP/1.1 200 OK\r\nX-A: b\x01c\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "NUL",
        "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "obs-text",
        "HTTP/1.1 200 Sch\u{f6}n\r\nX-A: \u{e9}\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "empty value",
        "HTTP/1.1 200 OK\r\nX-A:\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "fields of the connection",
        "HTTP/1.1 200 OK\r\nConnection: X-A, keep-alive\r\nX-A: b\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "quoted option",
        "HTTP/1.1 200 OK\r\nConnection: \"close\"\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "length as an option",
        "HTTP/1.1 200 OK\r\nConnection: \"x\", content-length\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "Host in a trailer",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nHost: a\r\n\r\n",
        Good(200, "ok"),
    ),
    (
        "upgrade offered",
        "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "upgrade unasked",
        "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nok",
        Bad,
    ),
    (
        "interim first",
        "HTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Good(200, "ok"),
    ),
    (
        "HTTP/1.2",
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    (
        "HTTP/2",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Bad,
    ),
    ("ICY", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok", Bad),
    ("no head", "<html>ok</html>\r\n\r\n", Bad),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le", Bad),
    ("nothing", "", Bad),
];

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Get,
    Head,
    Post,
    PostLater,
    PostChunks,
    Http10,
    Http2,
    Http2Head,
}

const WAYS: &[Way] = &[
    Way::Get,
    Way::Head,
    Way::Post,
    Way::PostLater,
    Way::PostChunks,
    Way::Http10,
    Way::Http2,
    Way::Http2Head,
];

/// Takes chunks apart; `None`: they have no end.
fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).expect("sizes are plain");
        body = &body[end + 2..];
        if size == 0 {
            return body.ends_with(b"\r\n").then_some(data);
        }
        data.extend_from_slice(body.get(..size)?);
        assert_eq!(body.get(size..size + 2)?, b"\r\n");
        body = &body[size + 2..];
    }
}

async fn over_http1(switch: &Switch, way: Way) -> Gets {
    let mut client = Raw::connect(address(switch, "web")).await;
    match way {
        Way::Get => {
            client
                .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
        }
        Way::Head => {
            client
                .send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
        }
        Way::Http10 => client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await,
        Way::Post => {
            let head =
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
            client.send([head, "body"].concat()).await;
        }
        Way::PostLater => {
            let head =
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
            client.send(head).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
            client.send("body").await;
        }
        _ => {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
            client
                .send([head, "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"].concat())
                .await;
        }
    }
    let Ok(mut all) = client.rest().await else {
        return Gets::Broken;
    };
    loop {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("there is a head") + 4;
        let body = all.split_off(end);
        let head: String = all.iter().map(|byte| char::from(*byte)).collect();
        assert!(
            head.lines().all(|line| !line.contains(['\n', '\x01'])),
            "{head:?}"
        );
        assert_ne!((way, status(&head)), (Way::Http10, 103));
        if status(&head) == 103 {
            all = body;
            continue;
        }
        let chunked = field(&head, "transfer-encoding").is_some();
        let length = field(&head, "content-length");
        assert!(!chunked || length.is_none());
        let has_none = way == Way::Head || [204, 304].contains(&status(&head));
        let content = if has_none {
            Some(body)
        } else if chunked {
            unchunk(&body)
        } else if let Some(length) = length {
            (length.parse() == Ok(body.len())).then_some(body)
        } else {
            assert_eq!(way, Way::Http10, "{head}");
            Some(body)
        };
        return content.map_or(Gets::Broken, |content| Gets::Whole(status(&head), content));
    }
}

async fn over_http2(switch: &Switch, method: Method) -> Gets {
    let stream = TcpStream::connect(address(switch, "web")).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri("http://a/")
        .body(Full::<Bytes>::default())
        .unwrap();
    let Ok(response) = soon(sender.send_request(request)).await else {
        return Gets::Broken;
    };
    let status = response.status().as_u16();
    match soon(response.into_body().collect()).await {
        Ok(content) => Gets::Whole(status, content.to_bytes().to_vec()),
        Err(_) => Gets::Broken,
    }
}

#[tokio::test]
async fn every_form_of_response_in_every_way() {
    let mut wrong = Vec::new();
    for &(name, answer, form) in FORMS {
        let server = Server::start(move |mut conn, _, _| async move {
            if let Some(head) = conn.head().await {
                conn.body(&head).await;
                let bytes: Vec<u8> = answer.chars().map(|c| u8::try_from(c).unwrap()).collect();
                conn.send(bytes).await;
            }
        })
        .await;
        let switch = start(&simple(&[server.address], "", "retries = 0"));
        for &way in WAYS {
            let got = match way {
                Way::Http2 => over_http2(&switch, Method::GET).await,
                Way::Http2Head => over_http2(&switch, Method::HEAD).await,
                way => over_http1(&switch, way).await,
            };
            let headless = matches!(way, Way::Head | Way::Http2Head);
            let right = match (&got, form) {
                (Gets::Whole(502, _), Bad) => true,
                (Gets::Whole(status, content), Good(expected, _)) if headless => {
                    *status == expected && content.is_empty()
                }
                (Gets::Whole(status, content), Good(expected, text)) => {
                    *status == expected && content == text.as_bytes()
                }
                // Its content nobody reads.
                (Gets::Whole(200, content), Cut) => headless && content.is_empty(),
                (Gets::Broken, Cut) => !headless,
                _ => false,
            };
            if !right {
                wrong.push(format!("{name}, {way:?}: {got:?}, not {form:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
