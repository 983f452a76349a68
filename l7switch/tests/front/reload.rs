// SPDX-License-Identifier: MIT
//! New rules while requests run, and the end of the switch.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use l7switch::Options;
use l7switch::Switch;
use l7switch::watch::Watch;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::load;
use crate::support::placed;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let (a, b) = (Server::saying("fine").await, Server::saying("fine").await);
    let both = simple(&[a.address, b.address], "", "scheduler = \"mh\"");
    let one = simple(&[b.address], "", "scheduler = \"wlc\"");
    let switch = start(&both);
    let web = address(&switch, "web");
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for number in 0..8 {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            while !stop.load(SeqCst) {
                // Half of them with connections of their own, half kept.
                let mut client = Raw::connect(web).await;
                for _ in 0..if number % 2 == 0 { 1 } else { 50 } {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    let (status, _, body) = client.response().await;
                    assert_eq!((status, body), (200, b"fine".to_vec()));
                    done.fetch_add(1, SeqCst);
                }
            }
        }));
    }
    for number in 0..100 {
        switch
            .set(load(if number % 2 == 0 { &one } else { &both }))
            .unwrap();
        let before = done.load(SeqCst);
        until(|| done.load(SeqCst) > before + 5).await;
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(switch.generation().number, 101);
}

#[tokio::test]
async fn a_kept_connection_follows_the_new_rules() {
    let (a, b) = (Server::saying("a").await, Server::saying("b").await);
    let switch = start(&simple(&[a.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.2, b"a");
    switch.set(load(&simple(&[b.address], "", ""))).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.2, b"b");
}

#[tokio::test]
async fn listeners_come_and_go() {
    let server = Server::saying("fine").await;
    let service = |name: &str, ip: &str| {
        format!(
            "[service.{name}]\nlisten = \"{ip}:1\"\nprotocol = \"http\"\n[[service.{name}.route]]\npool = \"p\"\n"
        )
    };
    let pool = format!("[pool.p]\nservers = [\"{}\"]\n", server.address);
    let switch = start(&format!("{}{pool}", service("one", "127.0.0.1")));
    let one = address(&switch, "one");
    switch
        .set(load(&format!(
            "{}{}{pool}",
            service("one", "127.0.0.1"),
            service("two", "127.0.0.2")
        )))
        .unwrap();
    assert_eq!(address(&switch, "one"), one);
    let two = address(&switch, "two");
    assert_eq!(get(two, "/").await.0, 200);
    let mut kept = Raw::connect(one).await;
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(kept.response().await.0, 200);
    switch
        .set(load(&format!("{}{pool}", service("two", "127.0.0.2"))))
        .unwrap();
    assert_eq!(address(&switch, "two"), two);
    assert_eq!(get(two, "/").await.0, 200);
    soon(async {
        while tokio::net::TcpStream::connect(one).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(kept.response().await.0, 503);
}

#[tokio::test]
async fn an_address_in_use_changes_nothing() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let rules =
        simple(&[server.address], "", "").replace("127.0.0.1:1\"", &format!("127.0.0.1:{port}\""));
    let error = switch.set(load(&rules)).unwrap_err().to_string();
    assert!(
        error.contains("web") && error.contains(&port.to_string()),
        "{error}"
    );
    assert_eq!(switch.generation().number, 1);
    assert_eq!(get(web, "/").await.0, 200);
}

#[tokio::test]
async fn the_file_is_watched_and_a_bad_one_keeps_the_old_rules() {
    let (a, b) = (Server::saying("a").await, Server::saying("b").await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    let first = simple(&[a.address], "", "");
    let first = placed(&first).await;
    std::fs::write(&path, &first).unwrap();
    let rules = l7switch_rules::load(&path).unwrap();
    let switch = Switch::start(rules, Some(path.clone()), &Options::default()).unwrap();
    let _watch = Watch::start(&switch, &path).unwrap();
    let web = address(&switch, "web");
    assert_eq!(get(web, "/").await.2, b"a");

    std::fs::write(&path, "[service.web\n").unwrap();
    until(|| switch.reload_status().refused == 1).await;
    assert!(
        switch
            .reload_status()
            .last_error
            .unwrap()
            .contains("rules.toml")
    );
    assert_eq!(get(web, "/").await.2, b"a");

    // As editors do: another file renamed over it.
    let fresh = folder.path().join("rules.toml.new");
    std::fs::write(
        &fresh,
        first.replace(&a.address.to_string(), &b.address.to_string()),
    )
    .unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    until(|| switch.reload_status().succeeded == 1).await;
    assert!(switch.reload_status().last_error.is_none());
    assert_eq!(get(web, "/").await.2, b"b");
}

#[tokio::test]
async fn draining_lets_requests_end_and_takes_no_new_ones() {
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
        tokio::time::sleep(Duration::from_millis(300)).await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
            .await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let web = address(&switch, "web");
    let mut idle = Raw::connect(web).await;
    idle.send("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.response().await.0, 400);
    let mut busy = Raw::connect(web).await;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| server.heads().len() == 1).await;
    // In the listen queue, or just accepted, with its request on the way.
    let mut queued = Raw::connect(web).await;
    let drain = tokio::spawn({
        let switch = Arc::clone(&switch);
        async move { switch.drain(Duration::from_secs(10)).await }
    });
    queued.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for client in [&mut busy, &mut queued] {
        let (status, head, body) = client.response().await;
        assert_eq!((status, body), (200, b"late".to_vec()));
        assert!(head.contains("connection: close"), "{head}");
        assert!(client.ended().await);
    }
    assert!(idle.ended().await);
    assert!(soon(drain).await.unwrap());
    assert!(tokio::net::TcpStream::connect(web).await.is_err());
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let server = Server::start(|mut conn, _, seen| async move {
        let head = conn.head().await.unwrap();
        seen.lock().unwrap().push(head);
        let _ = conn.rest().await;
    })
    .await;
    let switch = start(&simple(&[server.address], "", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| server.heads().len() == 1).await;
    assert!(!soon(switch.drain(Duration::from_millis(100))).await);
}
