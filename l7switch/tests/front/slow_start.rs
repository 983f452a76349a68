// SPDX-License-Identifier: MIT
//! Servers that come up, and get their share slowly.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use l7switch::Switch;
use l7switch_admin_api::Health;

use crate::support::Server;
use crate::support::address;
use crate::support::get;
use crate::support::load;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// How many of so many requests come to this server.
async fn share(switch: &Switch, server: &Server, requests: usize) -> usize {
    let is_content = |head: &&String| head.starts_with("GET /content");
    let seen = || server.heads().iter().filter(is_content).count();
    let before = seen();
    for _ in 0..requests {
        assert_eq!(get(address(switch, "web"), "/content").await.0, 200);
    }
    seen() - before
}

/// A server whose checks can be made to fail.
async fn checked() -> (Server, Arc<AtomicBool>) {
    let is_sick = Arc::<AtomicBool>::default();
    let sick = Arc::clone(&is_sick);
    let server = Server::start(move |mut conn, _, seen| {
        let sick = Arc::clone(&sick);
        async move {
            while let Some(head) = conn.head().await {
                let is_bad = head.starts_with("GET /up") && sick.load(SeqCst);
                seen.lock().unwrap().push(head);
                let code = if is_bad { "503 No" } else { "200 OK" };
                conn.send(format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n"))
                    .await;
            }
        }
    })
    .await;
    (server, is_sick)
}

#[tokio::test]
async fn a_server_that_comes_up_gets_little_at_first() {
    const SLOW: &str = "scheduler = \"wrr\"\nslow_start = \"1h\"\n\
        health = { http = \"/up\", interval = \"20ms\", rise = 1, fall = 1 }";
    let (one, two) = (Server::saying("one").await, checked().await);
    let rules = simple(&[one.address, two.0.address], "", SLOW);
    let switch = start(&rules);
    // The switch's own start is no reason to start slowly.
    assert_eq!(share(&switch, &two.0, 20).await, 10);
    let health = || l7switch::admin::servers(&switch)[1].health;
    two.1.store(true, SeqCst);
    until(|| health() == Some(Health::Down)).await;
    two.1.store(false, SeqCst);
    until(|| health() == Some(Health::Up)).await;
    assert_eq!(share(&switch, &two.0, 110).await, 10);
    // One that a reload brings.
    let three = Server::saying("three").await;
    let servers = [one.address, two.0.address, three.address];
    switch.set(load(&simple(&servers, "", SLOW))).unwrap();
    assert_eq!(share(&switch, &three, 120).await, 10);
    // Put back by an administrator.
    let generation = switch.generation();
    let first = generation.pool("p").unwrap().servers().next().unwrap();
    first.set_draining(true);
    first.set_draining(false);
    assert_eq!(share(&switch, &one, 30).await, 10);
    // Without the key, each has its share at once.
    switch
        .set(load(&simple(&servers, "", "scheduler = \"wrr\"")))
        .unwrap();
    assert_eq!(share(&switch, &three, 30).await, 10);
}

#[tokio::test]
async fn the_share_grows() {
    let (one, two) = (Server::saying("one").await, Server::saying("two").await);
    let pool = "scheduler = \"wrr\"\nslow_start = \"1s\"";
    let switch = start(&simple(&[one.address, two.address], "", pool));
    let generation = switch.generation();
    let second = generation.pool("p").unwrap().servers().nth(1).unwrap();
    second.set_draining(true);
    second.set_draining(false);
    assert!(second.sched().weight() < 100);
    until(|| second.sched().weight() == 100).await;
    assert_eq!(share(&switch, &two, 20).await, 10);
}
