// SPDX-License-Identifier: MIT
use super::*;

fn server() -> Arc<RealServer> {
    Arc::new(RealServer::new(
        "p".into(),
        "127.0.0.1:1".parse().unwrap(),
        5,
    ))
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

#[test]
fn what_an_administrator_set_survives_a_new_rule_file() {
    let server = server();
    server.set_admin_weight(Some(9));
    server.configure(&model::RealServer {
        address: server.address(),
        name: None,
        weight: 2,
        backup: false,
    });
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
    server.hold_down();
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
    server.failed(&passive, || true);
    server.succeeded();
    server.failed(&passive, || true);
    assert!(server.sched().available());
    server.failed(&passive, || true);
    assert_eq!(server.status().state, ServerState::Ejected);
    assert!(!server.sched().available());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(server.sched().available());
    assert_eq!(server.status().failures, 3);
}
