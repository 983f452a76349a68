// SPDX-License-Identifier: MIT
use l7switch_admin_api::ServerState;

use l7switch_rules::model::Passive;

use super::*;

fn server() -> Arc<RealServer> {
    RealServer::new(
        "p".into(),
        ServerAddress::Inet("127.0.0.1:1".parse().unwrap()),
        5,
        &Arc::default(),
    )
}

#[test]
fn checks_need_so_many_results_in_a_row() {
    let server = server();
    server.set_checked(true);
    assert_eq!(server.checked(false, 2, 3), None);
    assert_eq!(server.checked(true, 2, 3), None);
    assert_eq!(server.checked(false, 2, 3), None);
    assert_eq!(server.checked(false, 2, 3), None);
    assert_eq!(server.checked(false, 2, 3), Some(Health::Down));
    assert!(!server.sched().available());
    assert_eq!(server.status().state, ServerState::Down);
    assert_eq!(server.checked(true, 2, 3), None);
    assert_eq!(server.checked(true, 2, 3), Some(Health::Up));
    assert!(server.sched().available());
}

/// What is told of a server: state, why, and whether that is since now.
fn told(server: &RealServer) -> (ServerState, Option<String>, bool) {
    let status = server.status();
    (status.state, status.why, status.since + 5 >= unix_now())
}

#[tokio::test(start_paused = true)]
async fn why_it_is_out_and_since_when_is_known() {
    let server = server();
    let events = Arc::<Events>::default();
    server.report_to(&events);
    let long_ago = |server: &RealServer| server.control.lock().unwrap().account.since = 1000;
    let check = |result: Result<(), &str>| Checked {
        took: Duration::from_millis(7),
        result: result.map_err(str::to_owned),
    };
    assert_eq!(told(&server), (ServerState::Up, None, true));
    long_ago(&server);
    server.set_checked(true);
    server.checked(check(Err("connection refused")), 1, 2);
    assert_eq!(told(&server), (ServerState::Up, None, false));
    server.checked(check(Err("status 503, expected 200")), 1, 2);
    let why = |text: &str| Some(text.to_owned());
    let down = (ServerState::Down, why("status 503, expected 200"), true);
    assert_eq!(told(&server), down);
    long_ago(&server);
    server.checked(check(Err("timed out after 2 s")), 2, 2);
    let still = (ServerState::Down, why("timed out after 2 s"), false);
    assert_eq!(told(&server), still);
    server.checked(check(Ok(())), 2, 2);
    assert_eq!(told(&server), still, "one success is not enough");
    let last = server.status().last_check.unwrap();
    assert_eq!((last.error, last.took_ms), (None, 7.0));
    assert!(last.at + 5 >= unix_now());

    server.set_draining_by(true, "by netlink port 7");
    server.set_draining(true);
    let drained = (ServerState::Draining, why("by netlink port 7"), true);
    assert_eq!(told(&server), drained, "who came first has drained it");
    server.hold_down("by netlink port 8");
    let held = (ServerState::Down, why("by netlink port 8"), true);
    assert_eq!(told(&server), held);
    server.set_draining(false);
    server.checked(check(Ok(())), 2, 2);
    assert_eq!(told(&server), (ServerState::Up, None, true));
    server.set_checked(false);
    assert_eq!(server.status().last_check, None);

    let passive = Passive {
        failures: 2,
        eject: Duration::from_secs(10),
    };
    server.failed(&passive, "no response in time", || true);
    server.failed(&passive, &"x".repeat(10_000), || true);
    let status = server.status();
    let cut = format!("2 failures in a row, the last: {}…", "x".repeat(200));
    assert_eq!(status.why, Some(cut));
    let back = status.back.unwrap();
    assert!((unix_now() + 5..=unix_now() + 10).contains(&back), "{back}");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(told(&server), (ServerState::Up, None, true));
    assert_eq!(server.status().back, None);
    // One that checks have taken out meanwhile is not back when its ejection ends.
    server.set_checked(true);
    for _ in 0..2 {
        server.failed(&passive, "no response in time", || true);
        server.checked(check(Err("refused")), 2, 2);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(server.status().state, ServerState::Down);
    let kinds: Vec<String> = events
        .status()
        .events
        .into_iter()
        .map(|event| event.kind)
        .collect();
    let expected = [
        "server_down",
        "server_ejected",
        "server_failed",
        "server_back",
        "server_ejected",
        "server_failed",
        "server_up",
        "server_down",
    ];
    assert_eq!(kinds, expected);
}

/// What rules say of a server.
fn rules(server: &RealServer, drain: bool) -> model::RealServer {
    model::RealServer {
        address: server.address().clone(),
        health_port: None,
        max_connections: None,
        name: None,
        weight: 2,
        backup: false,
        drain,
    }
}

#[test]
fn rules_drain_a_server_and_an_administrator_says_otherwise() {
    let server = server();
    let configure = |drain| server.configure(&rules(&server, drain));
    let is = || {
        let status = server.status();
        (status.state, server.sched().weight(), status.weight)
    };
    configure(true);
    assert_eq!(is(), (ServerState::Draining, 0, 2));
    assert_eq!(server.status().why.as_deref(), Some("by the rules"));
    assert!(server.standing().weight_is_set, "0 in the kernel's table");
    server.set_draining(false);
    assert_eq!(is(), (ServerState::Up, 2, 2));
    configure(true);
    assert_eq!(is(), (ServerState::Up, 2, 2), "the administrator's word");
    // The rules say the same now: from here on they count.
    configure(false);
    configure(true);
    assert_eq!(is(), (ServerState::Draining, 0, 2));
    server.set_draining(true);
    configure(false);
    assert_eq!(is(), (ServerState::Up, 2, 2), "nobody else drained it");
    server.set_draining(true);
    configure(false);
    assert_eq!(is(), (ServerState::Draining, 0, 2));
}

#[test]
fn what_an_administrator_set_survives_a_new_rule_file() {
    let server = server();
    server.set_admin_weight(Some(9));
    server.configure(&rules(&server, false));
    assert_eq!(server.status().weight, 2);
    assert_eq!(server.status().effective_weight, 9);
    server.set_draining(true);
    assert_eq!(server.sched().weight(), 0);
    server.set_draining(false);
    server.set_admin_weight(None);
    assert_eq!(server.sched().weight(), 2);
}

#[test]
fn one_held_down_stays_so_whatever_checks_say() {
    let server = server();
    server.set_checked(true);
    server.set_draining(true);
    server.hold_down("by netlink port 7");
    server.checked(true, 1, 1);
    assert_eq!(server.standing().state, ServerState::Down);
    assert!(!server.sched().available());
    server.set_draining(false);
    assert_eq!(server.standing().state, ServerState::Up);
    assert!(server.sched().available());
}

#[tokio::test]
async fn a_watcher_is_told_of_changes_and_of_nothing_else() {
    let server = server();
    let told = Arc::new(Notify::new());
    server.watch(&told);
    server.set_draining(true);
    told.notified().await;
    server.set_draining(true);
    server.set_checked(true);
    server.checked(true, 1, 1);
    let nothing = tokio::time::timeout(Duration::from_millis(1), told.notified());
    assert!(nothing.await.is_err());
    server.set_admin_weight(Some(5));
    told.notified().await;
    assert_eq!(server.standing().weight, 5, "draining does not change it");
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_eject_for_a_while() {
    let server = server();
    let passive = Passive {
        failures: 2,
        eject: Duration::from_secs(10),
    };
    server.failed(&passive, "reset", || true);
    server.succeeded();
    server.failed(&passive, "reset", || true);
    assert!(server.sched().available());
    server.failed(&passive, "reset", || true);
    assert_eq!(server.status().state, ServerState::Ejected);
    assert!(!server.sched().available());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(server.sched().available());
    assert_eq!(server.status().failures, 3);
}

const SLOW: SlowStart = SlowStart {
    time: Duration::from_secs(30),
    scale: 100,
};

/// Weights as the scheduler has them, at these seconds from now.
async fn weights(server: &RealServer, seconds: &[u64]) -> Vec<u32> {
    let mut passed = 0;
    let mut weights = Vec::new();
    for second in seconds {
        tokio::time::sleep(Duration::from_secs(second - passed)).await;
        passed = *second;
        weights.push(server.sched().weight());
    }
    weights
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_up_gets_its_weight_slowly() {
    let server = server();
    server.set_checked(true);
    server.set_slow_start(Some(SLOW));
    // It was there from the beginning.
    assert_eq!(server.sched().weight(), 500);
    let comes_up = || {
        assert_eq!(server.checked(false, 1, 1), Some(Health::Down));
        assert_eq!(server.checked(true, 1, 1), Some(Health::Up));
    };
    comes_up();
    assert_eq!(server.status().effective_weight, 1);
    let rising = weights(&server, &[0, 1, 2, 16, 26, 31, 40]).await;
    assert_eq!((rising[0], rising[1]), (50, 50));
    assert!((240..280).contains(&rising[3]), "{rising:?}");
    assert!((400..450).contains(&rising[4]), "{rising:?}");
    assert_eq!((rising[5], rising[6]), (500, 500));
    assert!(rising.is_sorted(), "{rising:?}");
    assert_eq!(server.status().effective_weight, 5);
    // What is over stays so, however long it would take now.
    let hour = SlowStart {
        time: Duration::from_secs(3600),
        ..SLOW
    };
    server.set_slow_start(Some(hour));
    assert_eq!(server.sched().weight(), 500);
    server.set_slow_start(Some(SLOW));
    // The second start is not ended by the end of the first.
    comes_up();
    tokio::time::sleep(Duration::from_secs(20)).await;
    comes_up();
    let rising = weights(&server, &[11, 31]).await;
    assert!((150..200).contains(&rising[0]), "{rising:?}");
    assert_eq!(rising[1], 500);
    // Put back by an administrator, with another weight.
    server.set_draining(true);
    assert_eq!(server.sched().weight(), 0);
    server.set_admin_weight(Some(10));
    server.set_draining(false);
    assert_eq!(weights(&server, &[0, 31]).await, [100, 1000]);
    // Not after an ejection.
    let passive = Passive {
        failures: 1,
        eject: Duration::from_secs(1),
    };
    server.failed(&passive, "reset", || true);
    assert_eq!(server.status().state, ServerState::Ejected);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.status().state, ServerState::Up);
    assert_eq!(server.sched().weight(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_a_reload_brings_starts_slowly() {
    let new = server();
    new.is_new();
    assert_eq!(new.sched().weight(), 5);
    new.set_slow_start(Some(SLOW));
    assert_eq!(weights(&new, &[0, 31]).await, [50, 500]);
    // A reload that starts servers slowly from now on is no beginning.
    let old = server();
    old.is_new();
    old.set_slow_start(None);
    old.set_slow_start(Some(SLOW));
    assert_eq!(old.sched().weight(), 500);
    // One that no longer does so ends it.
    let new = server();
    new.is_new();
    new.set_slow_start(Some(SLOW));
    new.set_slow_start(None);
    assert_eq!(new.sched().weight(), 5);
}

#[test]
fn what_is_no_response_tells_what_the_server_speaks() {
    for (came, speaks) in [
        (&b"\x15\x03\x03\x00\x02\x02\x46"[..], "TLS"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", "HTTP/2"),
        (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00", "HTTP/2"),
        (b"HTTP/1.1 200\x00", "RFC 9112"),
        (b"SSH-2.0", "not speak HTTP/1.1"),
        (b"", "not speak HTTP/1.1"),
    ] {
        assert!(hint(came).contains(speaks), "{came:?}");
    }
}
