// SPDX-License-Identifier: MIT
//! Active checks: what is asked, where, and which response is that of a healthy server.

use l7switch::Switch;
use l7switch_admin_api::Health;

use crate::support::Server;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// Rules of checks that decide soon.
fn checked(server: &Server, health: &str) -> String {
    let pool = format!(
        "health = {{ {health}, interval = \"20ms\", timeout = \"5s\", rise = 1, fall = 1 }}"
    );
    simple(&[server.address], "", &pool)
}

fn health(switch: &Switch) -> Option<Health> {
    l7switch::admin::servers(switch)[0].health
}

/// A server that answers with these bytes, and ends the connection.
async fn answering(answer: &'static [u8]) -> Server {
    Server::start(move |mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            seen.lock().unwrap().push(head);
            conn.send(answer).await;
            if !answer.starts_with(b"HTTP/1.1 200 OK\r\nTransfer") {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_request_is_as_the_rules_say() {
    let server = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let rules = checked(
        &server,
        "http = \"/up?deep=1\", method = \"POST\", host = \"check.example\", \
         headers = { Authorization = \"Basic eA==\", User-Agent = \"probe\" }",
    );
    let _switch = start(&rules);
    until(|| !server.heads().is_empty()).await;
    assert_eq!(
        server.heads()[0],
        "POST /up?deep=1 HTTP/1.1\r\nhost: check.example\r\nauthorization: Basic eA==\r\n\
         user-agent: probe\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let plain = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let _switch = start(&checked(&plain, "http = \"/\""));
    until(|| !plain.heads().is_empty()).await;
    assert_eq!(
        plain.heads()[0],
        format!(
            "GET / HTTP/1.1\r\nhost: {}\r\nuser-agent: l7switch-health\r\nconnection: close\r\n\r\n",
            plain.address
        )
    );
}

/// Whether a server that answers so is healthy, of which the check looks at the body.
async fn verdict(answer: &'static [u8], more: &str) -> Health {
    let server = answering(answer).await;
    let switch = start(&checked(&server, &format!("http = \"/\", {more}")));
    // A server begins as one that is up: what two checks have said counts.
    until(|| server.connection_count() >= 3).await;
    health(&switch).unwrap()
}

#[tokio::test]
async fn the_body_decides() {
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"status\":\"red\"}";
    const CHUNKS: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nall w\r\n3\r\nell\r\n0\r\n\r\n";
    const CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nall well";
    const CUT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nall";
    const SICK: &[u8] = b"HTTP/1.1 503 No\r\nContent-Length: 8\r\n\r\nall well";
    for (answer, sought, expected) in [
        (LENGTH, "\"red\"", Health::Up),
        (LENGTH, "\"green\"", Health::Down),
        (
            LENGTH,
            "{ regex = '\"status\":\"(green|red)\"' }",
            Health::Up,
        ),
        (LENGTH, "{ regex = \"green\" }", Health::Down),
        (CHUNKS, "\"all well\"", Health::Up),
        (CHUNKS, "{ regex = \"^all well$\" }", Health::Up),
        (CHUNKS, "{ regex = \"^all$\" }", Health::Down),
        (CLOSE, "{ regex = \"well$\" }", Health::Up),
        // What is there before it breaks off is there.
        (CUT, "\"all\"", Health::Up),
        (CUT, "\"well\"", Health::Down),
        (CUT, "{ regex = \"all\" }", Health::Down),
        (SICK, "\"all well\"", Health::Down),
    ] {
        let found = verdict(answer, &format!("body = {sought}")).await;
        assert_eq!(
            found,
            expected,
            "{sought} in {:?}",
            String::from_utf8_lossy(answer)
        );
    }
    assert_eq!(verdict(SICK, "method = \"HEAD\"").await, Health::Down);
    assert_eq!(verdict(CUT, "method = \"HEAD\"").await, Health::Up);
}

/// A body without end costs no more than its beginning.
#[tokio::test]
async fn only_the_beginning_of_a_body_is_looked_at() {
    let server = Server::start(|mut conn, _, _| async move {
        let _ = conn.head().await;
        let piece = [b"f00\r\n", &[b'a'; 0xf00][..], b"\r\n"].concat();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        use tokio::io::AsyncWriteExt;
        while conn.stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let switch = start(&checked(&server, "http = \"/\", body = \"b\""));
    until(|| health(&switch) == Some(Health::Down)).await;
    drop(switch);
    let before = server.connection_count();
    let rules = checked(&server, "http = \"/\", body = { regex = \"^a*$\" }");
    let switch = start(&rules);
    until(|| server.connection_count() >= before + 3).await;
    assert_eq!(health(&switch), Some(Health::Up));
}

/// The server lives, and what it says on another port takes it out.
#[tokio::test]
async fn another_port_can_be_asked() {
    let server = Server::saying("content").await;
    let well = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let sick = answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let port = |of: &Server| of.address.port();
    let rules = checked(&server, &format!("http = \"/up\", port = {}", port(&sick)));
    let switch = start(&rules);
    until(|| health(&switch) == Some(Health::Down)).await;
    // The server's own key is before the pool's.
    let listed = format!("\"{}\"", server.address);
    let of_its_own = format!(
        "{{ address = \"{}\", health_port = {} }}",
        server.address,
        port(&well)
    );
    let rules = crate::support::load(&rules.replace(&listed, &of_its_own));
    switch.set(rules).unwrap();
    until(|| health(&switch) == Some(Health::Up)).await;
    assert!(server.heads().is_empty());
    let asked = &well.heads()[0];
    assert!(
        asked.contains(&format!("host: {}\r\n", well.address)),
        "{asked}"
    );
    // A connection is enough, or is not.
    let dead = crate::support::closed_port().await.port();
    let switch = start(&checked(&server, &format!("tcp = true, port = {dead}")));
    until(|| health(&switch) == Some(Health::Down)).await;
}
