// SPDX-License-Identifier: MIT
//! What a peer of the admin API may take, and what becomes of it when the switch ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use l7switch::admin::Admin;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

use crate::admin_api::DRAIN;
use crate::admin_api::SERVER;
use crate::admin_api::answer;
use crate::admin_api::has_ended;
use crate::admin_api::request;
use crate::admin_api::world;
use crate::support::soon;
use crate::support::until;

/// Time runs by itself while nothing happens: what waits for its time to be over has that at once.
#[tokio::test]
async fn who_is_slow_is_not_waited_for() {
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let path = world.folder.path().join("admin.sock");
    let _admin = Admin::start(Arc::clone(&world.switch), &path)
        .await
        .unwrap();
    let before_tls = TcpStream::connect(world.remote.bound()).await.unwrap();
    let (head, silent, content) = (
        world.connect(&alice).await,
        world.connect(&alice).await,
        world.connect(&alice).await,
    );
    // Meanwhile the other side is done with its handshakes.
    assert_eq!(world.ask(&alice, ("GET", "/v1/role", "")).await.0, 200);
    let socket = async || UnixStream::connect(&path).await.unwrap();
    let (socket_head, socket_content) = (socket().await, socket().await);

    tokio::time::pause();
    let ends = async |mut stream: Box<dyn AsyncRead + Unpin>| {
        assert!(has_ended(&mut stream).await);
    };
    tokio::join!(
        slow_head(head),
        slow_head(socket_head),
        slow_content(content),
        slow_content(socket_content),
        ends(Box::new(silent)),
        ends(Box::new(before_tls)),
    );
    until(|| world.refused_handshakes() == 1).await;
    let state = l7switch::admin::servers(&world.switch)[0].state;
    assert_eq!(state.as_str(), "up", "nothing of it has changed anything");
}

async fn slow_head(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let part = b"GET /v1/status HTTP/1.1\r\nHost: a\r\n";
    stream.write_all(part).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(began.elapsed() < Duration::from_secs(12));
    let said = String::from_utf8_lossy(&rest);
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408 "),
        "{said}"
    );
}

async fn slow_content(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let whole = request(("PATCH", SERVER, DRAIN), "");
    let part = whole.strip_suffix('}').unwrap();
    stream.write_all(part.as_bytes()).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(began.elapsed() < Duration::from_secs(12));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("within 10 s"), "{answer}");
}

/// A peer that is there and reads nothing keeps no place for ever. The kernel's time is not tokio's: this takes its ten seconds.
#[tokio::test]
async fn who_reads_nothing_is_not_waited_for() {
    const ASKED: usize = 2000;
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let mut stream = world.connect(&alice).await;
    let small = socket2::SockRef::from(stream.get_ref().0);
    small.set_recv_buffer_size(4096).unwrap();
    let one = request(("GET", "/v1/openapi.json", ""), "");
    let all = one.repeat(ASKED);
    stream.write_all(all.as_bytes()).await.unwrap();
    let connection = world.remote.bound();
    let is_open = || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let port = format!(":{:04X} ", connection.port());
        // Established, with something to send.
        let mut lines = table.lines().map(|line| line.split_whitespace());
        lines.any(|mut line| {
            let local = line.nth(1).unwrap_or_default().to_owned() + " ";
            local.ends_with(&port) && line.nth(1) == Some("01")
        })
    };
    assert!(is_open());
    let ended = async {
        while is_open() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let began = std::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .expect("it is still open");
    assert!(began.elapsed() > Duration::from_secs(8));
    drop(stream);
    assert_eq!(world.ask(&alice, ("GET", "/v1/role", "")).await.0, 200);
}

#[tokio::test]
async fn connections_are_bounded() {
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let to = world.remote.bound();
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(to).await.unwrap());
    }
    let line = ("GET", "/v1/role", "");
    let mut late = TcpStream::connect(to).await.unwrap();
    assert_eq!(late.read(&mut [0]).await.unwrap_or_default(), 0, "no room");
    let refused = &world.switch.core().admin_api.connections;
    assert_eq!(refused.load(Relaxed), 1);
    // The admin socket has its own.
    let path = world.folder.path().join("admin.sock");
    let admin = Admin::start(Arc::clone(&world.switch), &path).await;
    let _admin = admin.unwrap();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(request(line, "").as_bytes())
        .await
        .unwrap();
    assert_eq!(answer(&mut stream).await.0, 200);
    silent.clear();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.ask(&alice, line).await.0, 200);
}

/// The end waits for a request that is in progress, and for who has just come, and not for who is silent.
#[tokio::test]
async fn the_end_cuts_no_request() {
    let world = world();
    let alice = world.authority.issue("alice", 1);
    let path = world.folder.path().join("admin.sock");
    let admin = Admin::start(Arc::clone(&world.switch), &path).await;
    let _admin = admin.unwrap();
    let role = request(("GET", "/v1/role", ""), "");
    let mut silent = world.connect(&alice).await;
    silent.write_all(role.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut silent).await.0, 200);
    let mut open = world.connect(&alice).await;
    let whole = request(("PATCH", SERVER, DRAIN), "");
    let (begin, end) = whole.split_at(whole.len() - 1);
    open.write_all(begin.as_bytes()).await.unwrap();
    let mut socket = UnixStream::connect(&path).await.unwrap();
    socket.write_all(begin.as_bytes()).await.unwrap();
    let mut fresh = UnixStream::connect(&path).await.unwrap();
    // Both requests are being read, and the last one is accepted.
    assert_eq!(world.ask(&alice, ("GET", "/v1/role", "")).await.0, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;

    let switch = Arc::clone(&world.switch);
    let drained = tokio::spawn(async move { switch.drain(Duration::from_secs(15)).await });
    until(|| world.switch.core().shutdown.is_draining()).await;
    fresh.write_all(role.as_bytes()).await.unwrap();
    let (code, closes, _) = answer(&mut fresh).await;
    assert_eq!((code, closes), (200, true));
    let began = std::time::Instant::now();
    assert!(has_ended(&mut silent).await);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!drained.is_finished());
    open.write_all(end.as_bytes()).await.unwrap();
    socket.write_all(end.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut open).await.0, 200);
    assert_eq!(answer(&mut socket).await.0, 200);
    assert!(soon(drained).await.unwrap());
    // How far the end is may be asked until then.
    let line = ("GET", "/v1/status", "");
    let (code, status) = world.ask(&alice, line).await;
    assert!(code == 200 && status.contains("\"draining\":true"));
}
