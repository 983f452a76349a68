// SPDX-License-Identifier: MIT
//! How TCP cuts a message changes nothing: requests and responses are cut anywhere, with time between the pieces, and what
//! server and client see is compared byte by byte with what they see where nothing is cut.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use l7switch::Switch;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::soon;
use crate::support::start;

/// For so many seconds messages are cut; absent, once for each pair.
const SECONDS: &str = "L7_SEGMENTS_SECONDS";

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "\r\nGET /a/b?c=\"d\"&{e} HTTP/1.1\r\nhost: A.example:80\r\nAccept: */*\r\nx-empty:\r\n\r\n",
    "HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nX-Other: 2\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nVia: 1.0 x\r\nCookie: c=d\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "GET http://a.example/x?y HTTP/1.1\r\nHost: b\r\nTE: trailers\r\nConnection: te\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    "POST / HTTP/1.0\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nbody",
    "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nhm\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: z\r\n\r\n",
    "GET /app/x?y HTTP/1.1\r\nHost: a\r\nX-Gone: 1\r\nX-Set: 0\r\nX-Add: a\r\n\r\n",
    "GET /own HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: none.example\r\n\r\n",
];

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: s\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: then\r\nVia: 1.1 x\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nX-Res: 1\r\n\r\n2 ;a\r\nok\r\n3\r\nabc\r\n0\r\nX-T: 1\r\nVia: b\r\n\r\n",
    "HTTP/1.1 200 OK\nX-Lines: 1\nContent-Length: 1\n\nx",
    "HTTP/1.1 200 OK\r\nConnection: x-own, close\r\nX-Own: 1\r\nKeep-Alive: 2\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nX-Set: 1\r\nX-Set: 2\r\n\r\nuntil the end",
    "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
    "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\x01K\r\nX-C: a\x7fb\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nX-F: a\r\n b\r\n\r\n",
];

/// Asks for the end, to see where the first exchange ended.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Where a message is cut, and whether time passes there.
#[derive(Clone, Debug, Default)]
struct Cuts(Vec<(usize, bool)>);

impl Cuts {
    fn random(length: usize) -> Self {
        let count = *fastrand::choice(&[1, 1, 1, 2, 2, 3, 5, length]).unwrap();
        let mut cuts: Vec<_> = (0..count)
            .map(|_| (fastrand::usize(..=length), fastrand::u8(..4) == 0))
            .collect();
        cuts.sort_unstable();
        Self(cuts)
    }

    async fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        let mut from = 0;
        for (cut, pause) in &self.0 {
            let to = (*cut).clamp(from, bytes.len());
            stream.write_all(&bytes[from..to]).await?;
            if *pause {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..1500))).await;
            } else {
                tokio::task::yield_now().await;
            }
            from = to;
        }
        stream.write_all(&bytes[from..]).await
    }
}

/// The next answer and its cuts; what the server got.
#[derive(Default)]
struct Script {
    answer: Vec<u8>,
    cuts: Cuts,
    seen: Vec<u8>,
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

async fn serve(mut conn: Raw, script: Arc<Mutex<Script>>) {
    while let Some(head) = conn.head().await {
        let mut seen = head.clone().into_bytes();
        if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            let (body, trailers) = conn.chunks().await;
            seen.extend(body);
            seen.extend(trailers.into_bytes());
        } else {
            seen.extend(conn.body(&head).await);
        }
        if head.starts_with("GET /last ") {
            script.lock().unwrap().seen.extend(b"[last]");
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast")
                .await;
            continue;
        }
        let (answer, cuts) = {
            let mut script = script.lock().unwrap();
            script.seen.extend(seen);
            (script.answer.clone(), script.cuts.clone())
        };
        // The switch may have enough before the end.
        let sent = cuts.send(&mut conn.stream, &answer).await;
        if sent.is_err()
            || answer
                .windows(14)
                .all(|w| !w.eq_ignore_ascii_case(b"Content-Length"))
        {
            return;
        }
    }
}

/// What the client gets, but for dates and how chunks are cut, and what the server got.
async fn ask(
    switch: &Switch,
    script: &Mutex<Script>,
    request: &str,
    cuts: &Cuts,
) -> (String, String) {
    script.lock().unwrap().seen.clear();
    let mut client = Raw::connect(address(switch, "web")).await.stream;
    let all = [request, LAST].concat();
    let (mut got, mut reader) = (Vec::new(), [0; 4096]);
    let sent = soon(cuts.send(&mut client, all.as_bytes())).await;
    if sent.is_ok() {
        while let Ok(count @ 1..) = soon(client.read(&mut reader)).await {
            got.extend_from_slice(&reader[..count]);
        }
    }
    let text: String = got.iter().map(|byte| char::from(*byte)).collect();
    let text = text
        .split_inclusive('\n')
        .filter(|line| !line.to_ascii_lowercase().starts_with("date:"))
        .collect::<String>();
    let seen = script.lock().unwrap().seen.clone();
    (rejoined(&text), String::from_utf8(seen).unwrap())
}

/// The text with its chunks joined: how content is cut into chunks is TCP's affair.
fn rejoined(text: &str) -> String {
    let Some((before, rest)) = text.split_once("transfer-encoding: chunked") else {
        return text.to_owned();
    };
    let (fields, mut rest) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    let mut content = String::new();
    while let Some((size, data)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else {
            break;
        };
        rest = data;
        let Some((piece, after)) = data.split_at_checked(size).filter(|_| size > 0) else {
            break;
        };
        content.push_str(piece);
        rest = after.strip_prefix("\r\n").unwrap_or(after);
    }
    format!("{before}[chunks]{fields}[{content}]{}", rejoined(rest))
}

async fn world() -> (Arc<Mutex<Script>>, Server, Arc<Switch>) {
    let script = Arc::new(Mutex::new(Script::default()));
    let same = Arc::clone(&script);
    let server = Server::start(move |conn, _, _| serve(conn, Arc::clone(&same))).await;
    let rules = format!(
        r#"
        [service.web]
        listen = "127.0.0.1:1"
        [[service.web.route]]
        path = {{ prefix = "/app" }}
        rewrite = {{ path = {{ replace_prefix = "/" }}, hostname = "inner.example" }}
        request_headers = {{ remove = "X-Gone", set = {{ X-Set = "1" }}, add = {{ X-Add = "b" }} }}
        response_headers = {{ remove = "X-Res", set = {{ X-Set = "3" }}, add = {{ Server = "t" }} }}
        pool = "p"
        [[service.web.route]]
        path = {{ exact = "/own" }}
        respond = {{ status = 418, body = "short" }}
        [[service.web.route]]
        host = ["a", "a.example"]
        pool = "p"
        [[service.web.route]]
        host = ["127.0.0.1"]
        pool = "p"
        [pool.p]
        servers = ["{}"]
        passive = {{ failures = 0 }}
        "#,
        server.address
    );
    let switch = start(&rules);
    (script, server, switch)
}

#[tokio::test]
async fn no_cut_changes_what_client_and_server_see() {
    let (script, _server, switch) = world().await;
    let until = std::env::var(SECONDS).ok().map(|seconds| {
        Instant::now() + Duration::from_secs(seconds.parse().expect("a number of seconds"))
    });
    let mut references = Vec::new();
    for answer in ANSWERS {
        for request in REQUESTS {
            *script.lock().unwrap() = Script {
                answer: latin1(answer),
                ..Script::default()
            };
            let whole = ask(&switch, &script, request, &Cuts::default()).await;
            references.push((*answer, *request, whole));
        }
    }
    assert!(
        references
            .iter()
            .any(|(.., (_, seen))| seen.contains("[last]"))
    );
    let mut rounds = 0;
    loop {
        for (answer, request, whole) in &references {
            let answer = latin1(answer);
            let cuts = Cuts::random(request.len() + LAST.len());
            let answer_cuts = Cuts::random(answer.len());
            *script.lock().unwrap() = Script {
                answer: answer.clone(),
                cuts: answer_cuts.clone(),
                seen: Vec::new(),
            };
            let cut = ask(&switch, &script, request, &cuts).await;
            assert_eq!(
                &cut,
                whole,
                "{request:?} cut at {cuts:?}, answer {:?} cut at {answer_cuts:?}",
                String::from_utf8_lossy(&answer)
            );
        }
        rounds += 1;
        if until.is_none_or(|until| Instant::now() > until) {
            break;
        }
    }
    println!("{} exchanges were cut", rounds * references.len());
}
