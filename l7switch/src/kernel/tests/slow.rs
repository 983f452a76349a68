// SPDX-License-Identifier: MIT
//! Servers that start slowly: the kernel's weights rise with the front's.

use super::*;

/// Rules with a pool of two servers that start within half a minute.
fn slow_rules() -> RuleSet {
    let text = "[service.web]\nlisten = \"127.0.0.1:1\"\nroute = [{ pool = \"p\" }]\n[pool.p]\n\
                servers = [\"10.0.0.1:80\", { address = \"10.0.0.2:80\", weight = 3 }]\n\
                scheduler = \"wrr\"\nslow_start = \"30s\"\nhealth = { tcp = true, interval = \"1h\" }\n";
    // The table's weights are those that schedulers have: fine enough for a tenth.
    loadable(text, &[(A, 100), (B, 300)])
}

#[tokio::test(start_paused = true)]
async fn the_kernels_weights_rise_with_the_fronts() {
    let fake = Fake::loaded();
    let generation = next(slow_rules(), None);
    let woken = Arc::new(Notify::new());
    let b = server(&generation, B);
    b.watch(&woken);
    let mut keeper = keeper(&fake);
    keeper.step(&generation, true);
    // From the beginning they have all of it: nothing is set.
    assert_eq!(fake.server("p", B), (ServerState::Up, 300));
    down(&b);
    keeper.step(&generation, false);
    assert_eq!(fake.server("p", B), (ServerState::Down, 300));
    fake.asked();
    b.checked(true, 1, 1);
    keeper.step(&generation, false);
    assert_eq!(fake.asked(), ["set p/10.0.0.2:80 up 30"]);
    // Who keeps the kernel in step is woken for each step.
    woken.notified().await;
    let mut weights = Vec::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(31);
    while tokio::time::timeout_at(end, woken.notified()).await.is_ok() {
        keeper.step(&generation, false);
        weights.push(fake.server("p", B).1);
    }
    assert!(weights.len() >= 90, "{weights:?}");
    assert!(weights.is_sorted(), "{weights:?}");
    assert_eq!(weights.last(), Some(&300));
    let asked = fake.asked();
    assert_eq!(
        asked.last().map(String::as_str),
        Some("set p/10.0.0.2:80 default"),
        "the table's again"
    );
    keeper.step(&generation, false);
    assert!(fake.asked().is_empty());
    assert_eq!(keeper.status().changes_taken, 0);
    // Someone else's weight is in the kernel's measure.
    fake.change("p", B, None, Some(200));
    keeper.step(&generation, false);
    assert!(fake.asked().is_empty(), "nothing is echoed");
    assert_eq!(b.status().effective_weight, 2);
    assert_eq!(b.standing().weight, 200);
}
