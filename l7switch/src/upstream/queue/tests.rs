// SPDX-License-Identifier: MIT
//! Tests of the queue: places are handed over in order, and none is lost.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use l7switch_rules::model;
use l7switch_rules::model::SchedulerKind;

use super::*;
use crate::upstream::pool::tests::config;

/// A pool of so many servers with this bound, of which so many requests may wait.
fn bounded(servers: usize, bound: u32, length: usize) -> model::Pool {
    let all: Vec<String> = (1..=servers).map(|n| format!("127.0.0.1:{n}")).collect();
    let all: Vec<(&str, u32)> = all.iter().map(|address| (address.as_str(), 1)).collect();
    let mut config = config(SchedulerKind::Wlc, &all);
    for server in &mut config.servers {
        server.max_connections = Some(bound);
    }
    config.queue.length = length;
    config
}

fn pool(config: model::Pool, before: Option<&Pool>) -> Arc<Pool> {
    let pool = Arc::new(Pool::new(config, false, before).unwrap());
    pool.activate(&Arc::default());
    pool
}

fn now(turn: Turn) -> Picked {
    match turn {
        Turn::Now(picked) => picked,
        other => panic!("{other:?}"),
    }
}

fn later(turn: Turn) -> Waiting {
    match turn {
        Turn::Later(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

/// What was given to it already.
fn given(waiting: &mut Waiting) -> Option<Option<Picked>> {
    waiting.given.try_recv().ok()
}

fn queued(pool: &Pool) -> u64 {
    pool.status().queued
}

/// What the kernel has found, which counts where none waits: a pool without a queue believes it, and no other does.
#[tokio::test]
async fn what_the_kernel_has_found_full_is_full_where_none_may_wait() {
    let none = pool(bounded(1, 2, 0), None);
    assert!(matches!(none.ask(0, &[], true), Turn::Full));
    assert!(none.choose(0, &[], true).await.is_err());
    drop(now(none.ask(0, &[], false)));
    drop(now(pool(bounded(1, 2, 1), None).ask(0, &[], true)));
    // The rules had a bound when the kernel was asked.
    let mut unbounded = bounded(1, 2, 0);
    unbounded.servers[0].max_connections = None;
    drop(now(pool(unbounded, None).ask(0, &[], true)));
}

#[tokio::test]
async fn places_are_given_in_order() {
    let pool = pool(bounded(1, 2, 2), None);
    let (first, second) = (now(pool.ask(0, &[], false)), now(pool.ask(0, &[], false)));
    let (mut third, mut fourth) = (
        later(pool.ask(0, &[], false)),
        later(pool.ask(0, &[], false)),
    );
    assert!(matches!(pool.ask(0, &[], false), Turn::Full));
    assert!(pool.ask_now(0, &[]).is_none());
    assert_eq!(queued(&pool), 2);
    assert!(given(&mut third).is_none());
    drop(first);
    let third = given(&mut third).unwrap().unwrap();
    assert!(given(&mut fourth).is_none());
    assert_eq!(queued(&pool), 1);
    drop(second);
    drop(given(&mut fourth).unwrap().unwrap());
    drop(third);
    let server = pool.servers().next().unwrap();
    assert_eq!((server.status().active, server.status().total), (0, 4));
}

#[tokio::test]
async fn who_leaves_is_passed_over() {
    let pool = pool(bounded(1, 1, 10), None);
    let held = now(pool.ask(0, &[], false));
    let (left, late, mut stays) = (
        later(pool.ask(0, &[], false)),
        later(pool.ask(0, &[], false)),
        later(pool.ask(0, &[], false)),
    );
    drop(left);
    assert_eq!(queued(&pool), 2);
    drop(held);
    // It was given a place, and leaves before it knows.
    assert!(given(&mut stays).is_none());
    drop(late);
    assert!(given(&mut stays).unwrap().is_some());
    assert_eq!(queued(&pool), 0);
}

#[tokio::test]
async fn who_cannot_have_a_place_lets_others_have_it() {
    let pool = pool(bounded(2, 1, 10), None);
    let held = [now(pool.ask(0, &[], false)), now(pool.ask(0, &[], false))];
    let mut elsewhere = later(pool.ask(0, &[0], false));
    let mut anywhere = later(pool.ask(0, &[], false));
    let (zero, one) = match held {
        [(0, zero), (_, one)] => (zero, one),
        [(_, one), (_, zero)] => (zero, one),
    };
    drop(zero);
    assert!(given(&mut elsewhere).is_none());
    assert_eq!(given(&mut anywhere).unwrap().unwrap().0, 0);
    drop(one);
    assert_eq!(given(&mut elsewhere).unwrap().unwrap().0, 1);
}

#[tokio::test]
async fn nobody_waits_for_servers_that_have_gone() {
    let pool = pool(bounded(2, 1, 10), None);
    let held = [now(pool.ask(0, &[], false)), now(pool.ask(0, &[], false))];
    let mut waiting = later(pool.ask(0, &[], false));
    let servers: Vec<_> = pool.servers().collect();
    servers[0].set_draining(true);
    assert!(given(&mut waiting).is_none());
    servers[1].set_draining(true);
    assert!(given(&mut waiting).unwrap().is_none());
    assert!(matches!(pool.ask(0, &[], false), Turn::Nobody));
    drop(held);
}

#[tokio::test]
async fn a_server_that_comes_up_serves_those_who_wait() {
    let pool = pool(bounded(2, 1, 10), None);
    let servers: Vec<_> = pool.servers().collect();
    servers[1].set_draining(true);
    let _held = now(pool.ask(0, &[], false));
    let mut waiting = later(pool.ask(0, &[], false));
    servers[1].set_draining(false);
    assert_eq!(given(&mut waiting).unwrap().unwrap().0, 1);
}

/// A backup is for servers that are not there, not for those that are full.
#[tokio::test]
async fn backups_are_not_asked_for_want_of_room() {
    let mut config = bounded(2, 1, 10);
    config.servers[1].backup = true;
    let pool = pool(config, None);
    let held = now(pool.ask(0, &[], false));
    let mut waiting = later(pool.ask(0, &[], false));
    // It was tried, and failed.
    assert_eq!(now(pool.ask(0, &[0], false)).0, 1);
    assert!(given(&mut waiting).is_none());
    pool.servers().next().unwrap().set_draining(true);
    assert_eq!(given(&mut waiting).unwrap().unwrap().0, 1);
    drop(held);
}

#[tokio::test]
async fn a_reload_that_gives_room_serves_those_who_wait() {
    let old = pool(bounded(1, 1, 10), None);
    let held = now(old.ask(0, &[], false));
    let mut waiting = later(old.ask(0, &[], false));
    let new = pool(bounded(2, 1, 10), Some(&old));
    // The server that it may have is full.
    assert!(given(&mut waiting).is_none());
    let other = now(new.ask(0, &[], false));
    assert_eq!(other.0, 1);
    let mut late = later(new.ask(0, &[], false));
    assert_eq!(queued(&new), 2);
    drop(held);
    let _held = given(&mut waiting).unwrap().unwrap();
    let _wider = pool(bounded(2, 2, 10), Some(&new));
    assert!(given(&mut late).unwrap().is_some());
}

/// Bounds that come with a reload count the requests from before, and those hand their places over.
#[tokio::test]
async fn a_bound_may_come_with_a_reload() {
    let mut config = bounded(1, 1, 10);
    config.servers[0].max_connections = None;
    let old = pool(config, None);
    let held = [now(old.ask(0, &[], false)), now(old.ask(0, &[], false))];
    let new = pool(bounded(1, 2, 10), Some(&old));
    let mut waiting = later(new.ask(0, &[], false));
    drop(held);
    assert!(given(&mut waiting).unwrap().is_some());
}

/// Many come, hold, leave and give up at every moment: nobody waits for ever, and no server has more than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_among_many() {
    const BOUND: u32 = 3;
    let pool = pool(bounded(3, BOUND, 10_000), None);
    let served = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..3000_u64)
        .map(|number| {
            let (pool, served) = (Arc::clone(&pool), Arc::clone(&served));
            tokio::spawn(async move {
                let tried: &[usize] = if number % 7 == 0 { &[1] } else { &[] };
                let picked = match pool.ask(number, tried, false) {
                    Turn::Now(picked) => Some(picked),
                    Turn::Later(waiting) if number % 5 == 0 => {
                        let patience = Duration::from_micros(number % 900);
                        tokio::time::timeout(patience, waiting).await.ok().flatten()
                    }
                    Turn::Later(waiting) => Some(waiting.await.unwrap()),
                    other => panic!("{other:?}"),
                };
                let Some((index, outstanding)) = picked else {
                    return;
                };
                assert!(!tried.contains(&index));
                assert!(outstanding.server().sched().active() <= BOUND);
                for _ in 0..number % 4 {
                    tokio::task::yield_now().await;
                }
                drop(outstanding);
                served.fetch_add(1, SeqCst);
            })
        })
        .collect();
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("a place was lost");
    assert_eq!(queued(&pool), 0);
    assert!(pool.servers().all(|server| server.sched().active() == 0));
    assert!(served.load(SeqCst) >= 2400);
}
