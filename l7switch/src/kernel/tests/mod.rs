// SPDX-License-Identifier: MIT
//! The keeper, and the switch around it, against a module that is written here.

mod drained;
mod fake;
mod names;
mod slow;
mod take_over;
mod whole;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use l7switch_admin_api::KernelState;
use l7switch_admin_api::ServerState as FrontState;
use l7switch_engine::netlink::ServerState;
use l7switch_engine::table::format::ServerRecord;
use l7switch_netlink::Event;
use l7switch_rules::RuleSet;
use tokio::sync::Notify;

use fake::Fake;
use fake::OTHER;
use fake::RULES;

use super::Mode;
use super::keeper::Keeper;
use crate::Options;
use crate::Switch;
use crate::acme::Acme;
use crate::ruleset::build;
use crate::ruleset::generation::Generation;
use crate::ruleset::generation::StatsRegistry;
use crate::upstream::RealServer;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

/// Rules with pool `p` of these servers, whose health is checked.
fn rules(servers: &[(&str, u32)]) -> RuleSet {
    let list: Vec<String> = servers
        .iter()
        .map(|(address, weight)| format!("{{ address = \"{address}\", weight = {weight} }}"))
        .collect();
    let text = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = [{}]\nhealth = {{ tcp = true, interval = \"1h\" }}\n",
        list.join(", ")
    );
    loadable(&text, servers)
}

/// Rules of this text, whose pool `p` has servers with these weights in the kernel's table.
fn loadable(text: &str, weights: &[(&str, u32)]) -> RuleSet {
    let mut rules = match l7switch_rules::load_text("test.toml", text) {
        Ok(rules) => rules,
        Err(report) => panic!("{}", report.render(false)),
    };
    // The language knows no port 0.
    rules.model.services[0].listen[0].set_port(0);
    for (number, (_, weight)) in weights.iter().enumerate() {
        let record = rules.table.get::<ServerRecord>(number.try_into().unwrap());
        assert_eq!(record.unwrap().weight, *weight);
    }
    let held = weights
        .iter()
        .map(|(address, weight)| ("p".to_owned(), address.parse().unwrap(), *weight));
    let known = (rules.table.as_bytes().to_vec(), held.collect());
    RULES.lock().unwrap().push(known);
    rules
}

/// The generation that follows `before`.
fn next(rules: RuleSet, before: Option<&Generation>) -> Generation {
    let (mut stats, acme) = (StatsRegistry::default(), Acme::default());
    let next = build::build(rules, before, &mut stats, &acme).unwrap();
    build::activate(&next, &Arc::default());
    next
}

fn server(generation: &Generation, address: &str) -> Arc<RealServer> {
    let address: SocketAddr = address.parse().unwrap();
    let found = generation.pools[0].servers();
    found
        .filter(|s| s.address().inet() == Some(address))
        .map(Arc::clone)
        .next()
        .unwrap()
}

fn down(server: &RealServer) {
    for _ in 0..10 {
        server.checked(false, 1, 1);
    }
    assert_eq!(server.standing().state, FrontState::Down);
}

fn keeper(fake: &Fake) -> Keeper<Fake> {
    Keeper::new(fake.clone(), Arc::new(Notify::new()))
}

/// A keeper in step with these servers.
fn in_step(fake: &Fake, servers: &[(&str, u32)]) -> (Keeper<Fake>, Generation) {
    let generation = next(rules(servers), None);
    let mut keeper = keeper(fake);
    keeper.step(&generation, true);
    assert_eq!(keeper.status().state, KernelState::Loaded);
    fake.asked();
    (keeper, generation)
}

#[test]
fn the_table_is_loaded_and_the_fronts_standing_set() {
    let fake = Fake::loaded();
    let generation = next(rules(&[(A, 1), (B, 2)]), None);
    server(&generation, A).set_draining(true);
    server(&generation, B).set_admin_weight(Some(9));
    let mut keeper = keeper(&fake);
    keeper.step(&generation, false);
    assert_eq!(
        fake.asked(),
        [
            "stage",
            "commit",
            "servers",
            "set p/10.0.0.1:80 draining",
            "set p/10.0.0.2:80 9",
        ]
    );
    assert_eq!(keeper.status().state, KernelState::Loaded);
    assert_eq!(keeper.status().generation, Some(1));
    assert_eq!(
        fake.world().table.as_deref(),
        Some(generation.rules.table())
    );
    // The echo of what was set sets nothing more.
    keeper.step(&generation, false);
    keeper.step(&generation, true);
    assert_eq!(fake.asked(), ["generation"]);
    assert_eq!(keeper.status().changes_taken, 0);
}

#[test]
fn what_another_front_has_left_in_the_kernel_does_not_stay() {
    let fake = Fake::loaded();
    let table = rules(&[(A, 1)]).table.as_bytes().to_vec();
    fake.world().load(table, OTHER);
    fake.change("p", A, Some(ServerState::Draining), Some(50));
    let (_, generation) = in_step(&fake, &[(A, 1)]);
    assert_eq!(fake.server("p", A), (ServerState::Up, 1));
    assert_eq!(server(&generation, A).standing().state, FrontState::Up);
}

#[test]
fn a_reload_sends_the_table_before_and_commits_after() {
    let fake = Fake::loaded();
    let (mut keeper, first) = in_step(&fake, &[(A, 1)]);
    let rules = rules(&[(A, 1), (B, 1)]);
    keeper.stage(rules.table.as_bytes());
    assert_eq!(fake.asked(), ["stage"]);
    assert_eq!(
        fake.world().table.as_deref(),
        Some(first.rules.table()),
        "not before the front's"
    );
    let second = next(rules, Some(&first));
    keeper.step(&second, false);
    assert_eq!(fake.asked(), ["commit", "servers"]);
    assert_eq!(keeper.status().generation, Some(2));
    assert_eq!(keeper.status().loads, 2);
}

#[test]
fn a_reload_that_the_front_refuses_forgets_what_was_sent() {
    let fake = Fake::loaded();
    let (mut keeper, first) = in_step(&fake, &[(A, 1)]);
    keeper.stage(rules(&[(B, 1)]).table.as_bytes());
    // Whatever else happens before the front has decided leaves it alone.
    keeper.step(&first, true);
    keeper.step(&first, false);
    assert_eq!(fake.asked(), ["stage", "generation"]);
    keeper.forget();
    assert_eq!(fake.asked(), ["abort"]);
    assert!(fake.world().staged.is_empty());
    assert_eq!(fake.world().table.as_deref(), Some(first.rules.table()));
}

#[test]
fn changes_at_the_front_are_set_in_the_kernel() {
    let fake = Fake::loaded();
    let (mut keeper, generation) = in_step(&fake, &[(A, 1), (B, 3)]);
    down(&server(&generation, A));
    server(&generation, B).set_admin_weight(Some(8));
    keeper.step(&generation, false);
    assert_eq!(fake.server("p", A), (ServerState::Down, 1));
    assert_eq!(fake.server("p", B), (ServerState::Up, 8));
    server(&generation, A).checked(true, 1, 1);
    server(&generation, B).set_admin_weight(None);
    fake.asked();
    keeper.step(&generation, false);
    assert_eq!(
        fake.asked(),
        ["set p/10.0.0.1:80 up", "set p/10.0.0.2:80 default"]
    );
    assert_eq!(keeper.status().changes_sent, 4);
}

#[test]
fn changes_by_others_are_taken_over() {
    let fake = Fake::loaded();
    let (mut keeper, generation) = in_step(&fake, &[(A, 1), (B, 3)]);
    fake.change("p", A, Some(ServerState::Draining), None);
    fake.change("p", B, None, Some(7));
    keeper.step(&generation, false);
    assert!(fake.asked().is_empty(), "nothing is echoed");
    let (a, b) = (server(&generation, A), server(&generation, B));
    assert_eq!(a.standing().state, FrontState::Draining);
    assert!(!a.standing().weight_is_set);
    assert_eq!(b.standing().weight, 7);
    fake.change("p", A, Some(ServerState::Down), None);
    fake.change("p", B, None, Some(3));
    keeper.step(&generation, false);
    assert_eq!(a.standing().state, FrontState::Down);
    assert!(!b.standing().weight_is_set, "the table's again");
    fake.change("p", A, Some(ServerState::Up), None);
    keeper.step(&generation, false);
    assert_eq!(a.standing().state, FrontState::Up);
    assert!(fake.asked().is_empty());
    assert_eq!(keeper.status().changes_taken, 5);
}

#[test]
fn a_weight_set_by_others_says_nothing_of_what_the_checks_found() {
    let fake = Fake::loaded();
    let (mut keeper, generation) = in_step(&fake, &[(A, 1)]);
    let a = server(&generation, A);
    down(&a);
    keeper.step(&generation, false);
    fake.change("p", A, None, Some(5));
    keeper.step(&generation, false);
    assert_eq!(a.standing().weight, 5);
    a.checked(true, 1, 1);
    keeper.step(&generation, false);
    assert_eq!(fake.server("p", A), (ServerState::Up, 5));
}

#[test]
fn what_the_checks_found_is_set_again() {
    let fake = Fake::loaded();
    let (mut keeper, generation) = in_step(&fake, &[(A, 1)]);
    down(&server(&generation, A));
    keeper.step(&generation, false);
    fake.change("p", A, Some(ServerState::Up), None);
    keeper.step(&generation, false);
    assert_eq!(fake.server("p", A), (ServerState::Down, 1));
}

#[test]
fn changes_that_cross_end_the_same_on_both_sides() {
    for front_first in [true, false] {
        let fake = Fake::loaded();
        let (mut keeper, generation) = in_step(&fake, &[(A, 1)]);
        let a = server(&generation, A);
        if front_first {
            a.set_draining(true);
            keeper.step(&generation, false);
            fake.change("p", A, Some(ServerState::Up), None);
        } else {
            // The front has not heard of it when it sets its own.
            fake.change("p", A, Some(ServerState::Down), None);
            a.set_draining(true);
        }
        for _ in 0..4 {
            keeper.step(&generation, false);
        }
        fake.asked();
        keeper.step(&generation, false);
        assert!(fake.asked().is_empty(), "it comes to rest");
        let held = match a.standing().state {
            FrontState::Up => ServerState::Up,
            FrontState::Draining => ServerState::Draining,
            _ => ServerState::Down,
        };
        assert_eq!(fake.server("p", A).0, held);
    }
}

#[test]
fn the_front_goes_on_alone_and_finds_a_module_that_comes_back() {
    let fake = Fake::loaded();
    let (mut keeper, generation) = in_step(&fake, &[(A, 1)]);
    server(&generation, A).set_draining(true);
    fake.world().loading = None;
    keeper.step(&generation, true);
    assert_eq!(keeper.status().state, KernelState::Absent);
    assert_eq!(keeper.status().generation, None);
    keeper.step(&generation, true);
    let connections = keeper.connections();
    fake.world().reload();
    keeper.step(&generation, true);
    assert_eq!(keeper.status().state, KernelState::Loaded);
    assert_eq!(fake.server("p", A), (ServerState::Draining, 1));
    assert!(keeper.connections() > connections, "other sockets");
    // Loaded anew between two looks: its generation counts from the start.
    fake.world().reload();
    keeper.step(&generation, true);
    keeper.step(&generation, true);
    assert_eq!(fake.server("p", A), (ServerState::Draining, 1));
    assert_eq!(keeper.status().failures, 0, "an absence is no failure");
}

#[test]
fn a_refused_table_leaves_none_and_waits_for_the_next() {
    let fake = Fake::loaded();
    let (mut keeper, first) = in_step(&fake, &[(A, 1)]);
    fake.world().refuse.push_back(22);
    let second = next(rules(&[(B, 1)]), Some(&first));
    keeper.step(&second, false);
    assert_eq!(keeper.status().state, KernelState::Refused);
    assert_eq!(keeper.status().refusals, 1);
    let why = keeper.status().why.clone().unwrap();
    assert!(why.contains("table-commit: no"), "{why}");
    assert_eq!(
        fake.world().table,
        None,
        "older rules than the front's would give other answers"
    );
    fake.asked();
    server(&second, B).set_draining(true);
    keeper.step(&second, false);
    keeper.step(&second, true);
    assert_eq!(fake.asked(), ["generation"], "not tried again");
    let third = next(rules(&[(B, 2)]), Some(&second));
    keeper.step(&third, false);
    assert_eq!(keeper.status().state, KernelState::Loaded);
    assert_eq!(keeper.status().why, None);
    assert_eq!(fake.server("p", B), (ServerState::Draining, 2));
}

#[test]
fn a_kernel_that_is_busy_is_asked_again() {
    let fake = Fake::loaded();
    fake.world().refuse.push_back(16);
    let generation = next(rules(&[(A, 1)]), None);
    let mut keeper = keeper(&fake);
    keeper.step(&generation, true);
    assert_eq!(keeper.status().state, KernelState::Failed);
    assert_eq!(keeper.status().failures, 1);
    keeper.step(&generation, true);
    assert_eq!(keeper.status().state, KernelState::Loaded);
}

#[test]
fn a_table_of_someone_else_stays_until_the_next_reload() {
    for is_told in [true, false] {
        let fake = Fake::loaded();
        let (mut keeper, first) = in_step(&fake, &[(A, 1)]);
        let theirs = rules(&[(A, 1), (B, 1)]).table.as_bytes().to_vec();
        fake.world().load(theirs.clone(), OTHER);
        if !is_told {
            fake.world().events.clear();
        }
        keeper.step(&first, !is_told);
        assert_eq!(keeper.status().state, KernelState::Replaced);
        assert_eq!(keeper.status().generation, Some(2));
        // Servers of other rules are not this front's affair.
        fake.change("p", A, Some(ServerState::Draining), None);
        server(&first, A).set_admin_weight(Some(4));
        fake.asked();
        keeper.step(&first, false);
        assert!(fake.asked().is_empty());
        assert_eq!(server(&first, A).standing().state, FrontState::Up);
        let second = next(rules(&[(A, 2)]), Some(&first));
        keeper.step(&second, false);
        assert_eq!(keeper.status().state, KernelState::Loaded);
        assert_eq!(fake.server("p", A), (ServerState::Up, 4));
    }
}

#[test]
fn whose_table_it_is_is_heard_even_where_it_comes_between() {
    let fake = Fake::loaded();
    let (mut keeper, first) = in_step(&fake, &[(A, 1)]);
    let theirs = rules(&[(B, 1)]).table.as_bytes().to_vec();
    fake.world().late = Some(theirs);
    keeper.step(&first, true);
    assert_eq!(keeper.status().state, KernelState::Replaced);
    let why = keeper.status().why.clone();
    assert_eq!(why.as_deref(), Some("netlink port 8 loaded a table"));
}

#[test]
fn a_table_that_someone_takes_away_stays_away_until_the_next_reload() {
    for is_told in [true, false] {
        let fake = Fake::loaded();
        let (mut keeper, first) = in_step(&fake, &[(A, 1)]);
        fake.world().unload(OTHER);
        if !is_told {
            fake.world().events.clear();
        }
        keeper.step(&first, !is_told);
        assert_eq!(keeper.status().state, KernelState::Unloaded);
        keeper.step(&first, true);
        assert_eq!(fake.world().table, None);
        let second = next(rules(&[(A, 1)]), Some(&first));
        keeper.step(&second, false);
        assert_eq!(keeper.status().state, KernelState::Loaded);
    }
}

#[test]
fn lost_events_are_asked_for() {
    let fake = Fake::loaded();
    let (mut keeper, generation) = in_step(&fake, &[(A, 1), (B, 1)]);
    down(&server(&generation, B));
    keeper.step(&generation, false);
    fake.change("p", A, Some(ServerState::Draining), None);
    fake.world().events = VecDeque::from([Event::Lost]);
    keeper.step(&generation, false);
    let state = |address| server(&generation, address).standing().state;
    assert_eq!(state(A), FrontState::Draining);
    assert_eq!(state(B), FrontState::Down);
    server(&generation, B).checked(true, 1, 1);
    assert_eq!(state(B), FrontState::Up, "that was the checks' finding");
}

/// Waits until a condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("this hangs");
}
