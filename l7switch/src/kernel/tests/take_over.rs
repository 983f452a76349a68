// SPDX-License-Identifier: MIT
//! A take-over: at any time one front at most has its hand on the module.

use crate::admin::Admin;
use crate::handover::take;
use crate::handover::take::Legacy;
use crate::handover::take::Predecessor;

use super::*;

/// A switch that keeps a kernel, behind an admin socket.
struct Front {
    switch: Arc<Switch>,
    fake: Fake,
    _admin: Admin,
    folder: tempfile::TempDir,
}

async fn front() -> Front {
    let fake = Fake::loaded();
    let switch = Switch::start(rules(&[(A, 1)]), None, &Options::default()).unwrap();
    switch
        .use_kernel(Mode::Require, fake.clone())
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let admin = Admin::start(Arc::clone(&switch), &folder.path().join("admin")).await;
    fake.asked();
    Front {
        switch,
        fake,
        _admin: admin.unwrap(),
        folder,
    }
}

/// The place of a front, up to where it has let go of the module.
async fn let_go(front: &Front) -> (Predecessor, Legacy) {
    let asked = take::ask(&front.folder.path().join("admin")).await;
    let (predecessor, legacy) = asked.unwrap().unwrap();
    predecessor.let_go_of_kernel().await.unwrap();
    (predecessor, legacy)
}

/// Longer than a change takes to come to the kernel, and than the look that would find the table replaced.
async fn later() {
    tokio::time::sleep(super::super::LOOK + Duration::from_millis(500)).await;
}

#[tokio::test]
async fn the_successor_keeps_the_module_and_the_front_before_does_not() {
    let front = front().await;
    let (old, fake) = (&front.switch, &front.fake);
    server(&old.generation(), A).set_admin_weight(Some(4));
    until(|| fake.server("p", A) == (ServerState::Up, 4)).await;
    let (predecessor, mut legacy) = let_go(&front).await;
    fake.asked();
    let options = Options::default();
    let new = Switch::start_after(rules(&[(A, 1), (B, 1)]), None, &options, &mut legacy).await;
    let new = new.unwrap();
    new.use_kernel(Mode::Require, fake.clone()).await.unwrap();
    // The table comes with what administrators have set.
    assert_eq!(fake.server("p", A), (ServerState::Up, 4));
    assert_eq!(
        fake.world().table.as_deref(),
        Some(new.generation().rules.table())
    );
    let last = predecessor.ready().await.unwrap().unwrap();
    new.remember(last).await;
    predecessor.thank().await.unwrap();
    fake.asked();
    // The front before still hears of its servers, and ends; the module is none of its business.
    server(&old.generation(), A).set_draining(true);
    server(&old.generation(), A).set_admin_weight(Some(9));
    later().await;
    assert_eq!(fake.server("p", A), (ServerState::Up, 4));
    assert!(old.drain(Duration::ZERO).await);
    drop(front.switch);
    let asked = fake.asked();
    let changes = ["stage", "commit", "abort", "unload", "set"];
    let changed = asked
        .iter()
        .filter(|what| changes.iter().any(|change| what.starts_with(change)));
    assert_eq!(changed.count(), 0, "{asked:?}");
    assert_eq!(
        fake.world().table.as_deref(),
        Some(new.generation().rules.table())
    );
    // The successor's word counts.
    server(&new.generation(), A).set_draining(true);
    until(|| fake.server("p", A).0 == ServerState::Draining).await;
}

#[tokio::test]
async fn a_front_whose_successor_fails_loads_its_rules_again() {
    let front = front().await;
    let (old, fake) = (&front.switch, &front.fake);
    let (predecessor, mut legacy) = let_go(&front).await;
    let options = Options::default();
    let new = Switch::start_after(rules(&[(B, 1)]), None, &options, &mut legacy).await;
    let new = new.unwrap();
    new.use_kernel(Mode::Require, fake.clone()).await.unwrap();
    assert_eq!(
        fake.world().table.as_deref(),
        Some(new.generation().rules.table())
    );
    // What has happened meanwhile is in force with its rules.
    server(&old.generation(), A).set_draining(true);
    new.let_go_of_kernel().await;
    predecessor.fail("no more").await;
    until(|| fake.world().table.as_deref() == Some(old.generation().rules.table())).await;
    until(|| fake.server("p", A).0 == ServerState::Draining).await;
    assert_eq!(old.kernel_status().state, KernelState::Loaded);
    assert_eq!(old.place().counts().failed, 1);
}
