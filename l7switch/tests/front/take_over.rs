// SPDX-License-Identifier: MIT
//! Hostile and broken successors: the front goes on, and counts them.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use l7switch::Options;
use l7switch::Switch;
use l7switch::admin::Admin;
use l7switch::handover::PROTOCOL;
use l7switch::handover::take;
use l7switch::handover::take::TakeError;
use l7switch::handover::wire::Wire;
use l7switch_admin_api::TakeOvers;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::support::address;
use crate::support::get;
use crate::support::load;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

struct World {
    switch: Arc<Switch>,
    _admin: Admin,
    _folder: TempDir,
    path: PathBuf,
    rules: String,
}

async fn world() -> World {
    // No server is needed, which would not stand it that time is stopped.
    let rules = "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npath = { exact = \"/\" }\nrespond = { status = 200, body = \"fine\" }\n\
         [[service.web.route]]\npool = \"main\"\n[pool.main]\nservers = \"127.0.0.1:9\"\n"
        .to_owned();
    let switch = start(&rules);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    World {
        _admin: Admin::start(Arc::clone(&switch), &path).await.unwrap(),
        switch,
        _folder: folder,
        path,
        rules,
    }
}

impl World {
    fn counts(&self) -> (u64, u64, u64) {
        let TakeOvers {
            taken,
            failed,
            refused,
        } = self.switch.place().counts();
        (taken, failed, refused)
    }

    /// The front serves, and reloads.
    async fn serves(&self) {
        assert_eq!(get(address(&self.switch, "web"), "/").await.0, 200);
        drop(soon(self.switch.one_reload()).await);
        self.switch.set(load(&self.rules)).unwrap();
        assert!(!self.switch.core().shutdown.is_draining());
    }
}

/// Sends a request head, and gives the answer's.
async fn ask(path: &Path, protocol: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = format!(
        "POST /v1/take-over HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// A successor that has been let in.
async fn let_in(path: &Path) -> Wire {
    let (stream, head) = ask(path, PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Wire::with(stream, &[])
}

async fn say(wire: &Wire, what: &str) {
    let text = format!("{{\"say\":\"{what}\"}}");
    wire.send(text.as_bytes(), &[]).await.unwrap();
}

/// What the front says next, and how many descriptors come with it.
async fn hear(wire: &Wire) -> (String, usize) {
    let frame = soon(wire.receive()).await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&frame.content).unwrap();
    (
        said["say"].as_str().unwrap().to_owned(),
        frame.descriptors.len(),
    )
}

async fn hear_all(wire: &Wire) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    loop {
        let heard = hear(wire).await;
        if heard.0 == "end" {
            return all;
        }
        all.push(heard);
    }
}

#[tokio::test]
async fn a_successor_that_breaks_off_at_any_step_changes_nothing() {
    let world = world().await;
    for step in 0..7_u64 {
        let wire = let_in(&world.path).await;
        if step > 0 {
            say(&wire, "begin").await;
        }
        if step > 1 {
            let heard = hear_all(&wire).await;
            let heard: Vec<_> = heard.iter().map(|(say, n)| (say.as_str(), *n)).collect();
            assert_eq!(
                heard,
                [("sockets", 1), ("sockets", 1), ("secrets", 0), ("state", 0)]
            );
        }
        if step > 2 {
            say(&wire, "kernel").await;
            assert_eq!(hear(&wire).await.0, "kernel");
        }
        if step > 3 {
            say(&wire, "ready").await;
        }
        if step > 4 {
            assert_eq!(hear(&wire).await.0, "yours");
        }
        if step > 5 {
            // It has heard all, and says something else than thanks.
            say(&wire, "ready").await;
            assert_eq!(hear(&wire).await.0, "refused");
        }
        drop(wire);
        until(|| world.counts() == (0, step + 1, 0)).await;
        world.serves().await;
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_said() {
    let world = world().await;
    let hostile: [&[u8]; 7] = [
        b"",
        b"{",
        b"null",
        b"{\"say\":\"other\"}",
        b"{\"say\":\"failed\"}",
        b"{\"say\":\"thanks\"}",
        b"\xff\xfe",
    ];
    for (number, content) in hostile.into_iter().enumerate() {
        let wire = let_in(&world.path).await;
        wire.send(content, &[]).await.unwrap();
        assert_eq!(hear(&wire).await.0, "refused", "{content:?}");
        let failed = u64::try_from(number + 1).unwrap();
        until(|| world.counts() == (0, failed, 0)).await;
    }
    // Bytes that are no frames.
    let (mut stream, _) = ask(&world.path, PROTOCOL).await;
    stream.write_all(&[0xff; 100]).await.unwrap();
    until(|| world.counts() == (0, 8, 0)).await;
    // One that says why it does not start.
    let wire = let_in(&world.path).await;
    say(&wire, "begin").await;
    hear_all(&wire).await;
    wire.send(b"{\"say\":\"failed\",\"why\":\"no rules\"}", &[])
        .await
        .unwrap();
    assert_eq!(hear(&wire).await.0, "refused");
    until(|| world.counts() == (0, 9, 0)).await;
    world.serves().await;
}

/// The front waits for half a minute, and not for ever.
#[tokio::test]
async fn a_silent_successor_is_given_up() {
    let world = world().await;
    for step in 0..3 {
        let wire = let_in(&world.path).await;
        if step > 0 {
            say(&wire, "begin").await;
            hear_all(&wire).await;
        }
        if step > 1 {
            say(&wire, "ready").await;
            assert_eq!(hear(&wire).await.0, "yours");
        }
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(31)).await;
        tokio::time::resume();
        assert_eq!(hear(&wire).await.0, "refused");
        until(|| world.counts() == (0, step + 1, 0)).await;
        world.serves().await;
    }
}

#[tokio::test]
async fn who_may_not_come_is_told_why() {
    let world = world().await;
    let one = let_in(&world.path).await;
    let (mut stream, head) = ask(&world.path, PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    drop(stream);
    for other in ["l7switch-takeover/2", "websocket", ""] {
        (stream, _) = ask(&world.path, other).await;
        drop(stream);
    }
    until(|| world.counts() == (0, 0, 4)).await;
    let error = soon(take::ask(&world.path)).await.unwrap_err();
    let TakeError::Refused(why) = error else {
        panic!("{error}");
    };
    assert!(why.contains("another successor"), "{why}");
    drop(one);
    until(|| world.counts() == (0, 1, 5)).await;
    world.serves().await;
    world.switch.core().shutdown.drain();
    let (_, head) = ask(&world.path, PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
}

/// A front that is told to end meanwhile ends, and its successor does not start.
#[tokio::test]
async fn a_front_that_ends_keeps_its_place() {
    let world = world().await;
    let wire = let_in(&world.path).await;
    say(&wire, "begin").await;
    hear_all(&wire).await;
    assert!(soon(world.switch.drain(Duration::ZERO)).await);
    assert_eq!(hear(&wire).await.0, "refused");
    assert_eq!(world.switch.place().given_to(), None);
}

/// What is changed while a successor takes over goes over, too, or is not changed.
#[tokio::test]
async fn the_last_change_is_known_to_the_successor() {
    let world = world().await;
    let server = || {
        let generation = world.switch.generation();
        Arc::clone(generation.pools[0].servers().next().unwrap())
    };
    let (predecessor, mut legacy) = soon(take::ask(&world.path)).await.unwrap().unwrap();
    assert!(legacy.is_whole);
    let rules = load(&world.rules);
    let options = Options::default();
    let successor = Switch::start_after(rules, None, &options, &mut legacy)
        .await
        .unwrap();
    assert!(legacy.left().is_empty());
    assert_eq!(address(&successor, "web"), address(&world.switch, "web"));
    // Both serve from the same socket.
    for _ in 0..20 {
        assert_eq!(get(address(&successor, "web"), "/").await.0, 200);
    }
    server().set_admin_weight(Some(9));
    let last = soon(predecessor.ready()).await.unwrap().unwrap();
    successor.remember(last).await;
    let generation = successor.generation();
    let taken = generation.pools[0].servers().next().unwrap();
    assert_eq!(taken.standing().weight, 9);
    soon(predecessor.thank()).await.unwrap();
    assert_eq!(world.switch.place().given_to(), Some(std::process::id()));
    assert!(world.switch.core().shutdown.is_left());
    assert!(soon(world.switch.drain(Duration::from_secs(5))).await);
    for _ in 0..20 {
        assert_eq!(get(address(&successor, "web"), "/").await.0, 200);
    }
    assert!(world.path.exists(), "it is the successor's");
    assert_eq!(successor.place().counts().taken, 1);
}

/// Something else behind the admin socket than a front: the successor says so, and does not start.
#[tokio::test]
async fn a_stranger_behind_the_socket_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    assert!(take::ask(&path).await.unwrap().is_none(), "there is nobody");
    let socket = UnixListener::bind(&path).unwrap();
    for (answer, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "gives its place to nobody",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "keeps its place: 200 OK",
        ),
        (
            "HTTP/1.1 426 X\r\nContent-Length: 24\r\n\r\n{\"error\": \"by another\"}\n",
            "keeps its place: by another",
        ),
        ("nonsense\r\n\r\n", "does not answer as it should"),
        ("", "does not answer as it should"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nnonsense....",
            "no frame of a take-over",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\
             L7T\x01\0\0\0\x0d\0\0\0\0{\"say\":\"done\"}",
            "",
        ),
    ] {
        let answering = async {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Until the other side has had enough.
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut head).await;
        };
        let asking = take::ask(&path);
        let (_, asked) = soon(async { tokio::join!(answering, asking) }).await;
        let error = asked.unwrap_err().to_string();
        assert!(error.contains(expected), "{answer:?}: {error}");
    }
    drop(socket);
    assert!(take::ask(&path).await.unwrap().is_none(), "it is dead");
}

/// More than a frame can carry: each part comes.
#[tokio::test]
async fn thousands_of_servers_go_over() {
    let servers: Vec<String> = (0..9_000)
        .map(|number| format!("\"10.1.{}.{}:80\"", number / 250, number % 250 + 1))
        .collect();
    let rules = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"main\"\n\
         [pool.main]\nservers = [{}]\n",
        servers.join(", ")
    );
    let switch = start(&rules);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    let _admin = Admin::start(Arc::clone(&switch), &path).await.unwrap();
    let all = |switch: &Switch| {
        switch.generation().pools[0]
            .servers()
            .cloned()
            .collect::<Vec<_>>()
    };
    for (number, server) in all(&switch).into_iter().enumerate() {
        server.set_admin_weight(u32::try_from(number % 100).ok());
    }
    let (predecessor, mut legacy) = soon(take::ask(&path)).await.unwrap().unwrap();
    let rules = load(&rules);
    let options = Options::default();
    let successor = Switch::start_after(rules, None, &options, &mut legacy)
        .await
        .unwrap();
    all(&switch)[8_999].set_draining(true);
    let last = soon(predecessor.ready()).await.unwrap().unwrap();
    successor.remember(last).await;
    soon(predecessor.thank()).await.unwrap();
    for (old, new) in all(&switch).iter().zip(all(&successor)) {
        assert_eq!(old.standing(), new.standing(), "{}", new.address());
    }
    assert_eq!(all(&successor)[8_998].standing().weight, 98);
}
