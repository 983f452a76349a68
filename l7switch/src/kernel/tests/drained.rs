// SPDX-License-Identifier: MIT
//! Servers that the rules drain: the table gives them nothing from its first moment, and the front says the rest.

use super::*;

/// Rules with a pool of two servers. The second one is drained or not, and has a weight of 3 or another.
fn rules(drain: bool, weight: u32) -> RuleSet {
    let text = format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\nroute = [{{ pool = \"p\" }}]\n[pool.p]\n\
         servers = [\"{A}\", {{ address = \"{B}\", weight = {weight}, drain = {drain} }}]\n"
    );
    loadable(&text, &[(A, 1), (B, if drain { 0 } else { weight })])
}

#[test]
fn servers_that_the_rules_drain_get_nothing_from_the_first_moment() {
    let fake = Fake::loaded();
    let generation = next(rules(true, 3), None);
    let mut keeper = keeper(&fake);
    keeper.step(&generation, true);
    // So it is found with its weight by who puts it back, in the kernel as at the front.
    assert_eq!(fake.server("p", B), (ServerState::Draining, 3));
    assert_eq!(fake.server("p", A), (ServerState::Up, 1));
    fake.asked();
    keeper.step(&generation, false);
    assert!(fake.asked().is_empty());
    server(&generation, B).set_draining(false);
    keeper.step(&generation, false);
    assert_eq!(fake.asked(), ["set p/10.0.0.2:80 up"]);
    fake.change("p", B, Some(ServerState::Draining), None);
    keeper.step(&generation, false);
    assert!(fake.asked().is_empty());
    assert_eq!(
        server(&generation, B).standing().state,
        FrontState::Draining
    );

    // The rules do not drain it any more, and have another weight for it.
    let generation = next(rules(false, 5), Some(&generation));
    keeper.step(&generation, true);
    assert_eq!(fake.server("p", B), (ServerState::Up, 5));
    let generation = next(rules(true, 5), Some(&generation));
    keeper.step(&generation, true);
    assert_eq!(fake.server("p", B), (ServerState::Draining, 5));
    assert_eq!(keeper.status().changes_taken, 1);
}
