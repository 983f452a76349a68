// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a flow's environment does with servers and ports, step by step.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests compute with numbers that they know"
)]

mod fake;

use std::collections::BTreeSet;
use std::vec::Vec;

use super::held::tests::List;
use super::*;
use crate::policy::Bound;
use crate::policy::NOWHERE;
use crate::sched::Cursor;
use crate::sched::Kind;
use crate::sched::Lookup;
use fake::endpoint;
use fake::Fake;
use fake::Handle;
use fake::Memory;
use fake::Tested;
use fake::CLIENT;
use fake::NOW;
use fake::SERVICE;
use fake::SWITCH;

fn state() -> ConnState<Tested> {
    ConnState::new(List::default(), Memory::default(), ())
}

fn env(platform: Fake, state: &mut ConnState<Tested>) -> FlowEnv<'_, Fake> {
    FlowEnv::new(platform, CLIENT, SERVICE, state)
}

/// Where nothing is refused.
const fn to(peer: Endpoint, method: Method) -> Target {
    Target {
        peer,
        method,
        refusal: None,
        header: None,
    }
}

impl FlowEnv<'_, Fake> {
    /// Chooses a member of the pool, and takes what a leg to it needs.
    fn take(&mut self, leg: LegNumber, member: usize, method: Method) -> Option<Endpoint> {
        let service = self.state.service(&self.platform.rules, &SERVICE);
        let server = self.platform.rules.members[member].clone();
        let peer = server.0.scheduled.endpoint();
        self.state.chosen = Some(Bound {
            server,
            pool: service.unwrap(),
            position: member as u32,
        });
        self.reserve(leg, &to(peer, method))
    }

    fn tallies(&self) -> Vec<Tally> {
        self.platform.tallies.take()
    }
}

#[test]
fn a_server_whose_connection_is_taken_is_not_tried_again() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    assert_eq!(env.take(LegNumber::First, 1, Method::Nat), Some(CLIENT));
    assert!(env.state.server(LegNumber::First).is_some());
    assert_eq!(env.take(LegNumber::Second, 1, Method::Nat), None);
    assert_eq!(env.tallies(), [Tally::TupleInUse]);
    assert!(env.state.server(LegNumber::Second).is_none() && env.state.chosen.is_none());
    assert!(env.state.tried.has(6, 1) && !env.state.tried.has(6, 0));
}

#[test]
fn every_port_is_found_that_is_free() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    let mut ports = BTreeSet::new();
    for _ in 2000..2010 {
        let local = env.take(LegNumber::First, 0, Method::Fullnat).unwrap();
        assert_eq!(local.address, endpoint(SWITCH, 0).address);
        ports.insert(local.port);
    }
    assert_eq!(ports, (2000..2010).collect());
    assert_eq!(env.tallies(), []);
    assert_eq!(env.take(LegNumber::First, 0, Method::Fullnat), None);
    assert_eq!(env.tallies(), [Tally::PortsExhausted]);
    assert!(env.state.tried.has(6, 0));
}

#[test]
fn a_server_has_what_was_passed_to_it_until_it_is_over() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    env.take(LegNumber::First, 0, Method::Nat);
    let server = env.platform.rules.members[0].clone();
    for count in 1..=3 {
        env.state.outstanding.choose(Some(20 + count));
        env.event(LegNumber::First, LegEvent::Requested);
        assert_eq!(server.0.scheduled.active(), count);
        assert_eq!(server.told(), (count, 0, 0));
    }
    for status in [103, 200] {
        env.event(LegNumber::First, LegEvent::Status(status));
    }
    env.event(LegNumber::First, LegEvent::Finished);
    env.event(LegNumber::First, LegEvent::Status(404));
    assert_eq!(server.0.scheduled.active(), 2);
    let (asked, answered) = (Exchange::Request, Exchange::Response);
    let counted = [
        (21, asked),
        (22, asked),
        (23, asked),
        (21, answered(1)),
        (21, answered(2)),
        (22, answered(4)),
    ];
    assert_eq!(env.platform.of_route.take(), counted);
    let of_service = counted.map(|(_, what)| (Some(6), what));
    assert_eq!(env.platform.of_service.take(), of_service);
}

#[test]
fn the_front_is_no_server_and_its_requests_are_counted() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    let target = to(SERVICE, Method::Front);
    assert_eq!(env.reserve(LegNumber::First, &target), Some(CLIENT));
    env.event(LegNumber::First, LegEvent::Requested);
    assert_eq!(
        env.platform.of_service.take(),
        [(Some(6), Exchange::Request)]
    );
    assert!(env.platform.of_route.take().is_empty());
}

#[test]
fn a_servers_time_to_the_first_byte_is_what_fastest_sees() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    let members = env.platform.rules.members.clone();
    members[0].0.scheduled.observe(50_000_000, NOW);
    env.take(LegNumber::First, 1, Method::Nat);
    env.event(LegNumber::First, LegEvent::FirstByte(5_000_000));
    let pool = sched::Pool {
        kind: Kind::Fastest,
        load_percent: 0,
        servers: &members,
        cursor: &Cursor::new(),
        lookup: Lookup::None,
    };
    for random in 0..16u64 {
        let ask = sched::Ask {
            hash: 0,
            random: random << 60 | random,
            now_ns: NOW,
        };
        assert_eq!(pool.pick(&ask, |_| false), Some(1));
    }
}

#[test]
fn a_server_that_takes_a_connection_works_and_the_next_request_may_try_all() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    env.take(LegNumber::First, 0, Method::Nat);
    env.event(LegNumber::First, LegEvent::Failed(Failure::Refused));
    assert!(env.state.tried.has(6, 0));
    env.take(LegNumber::Second, 1, Method::Nat);
    env.event(LegNumber::Second, LegEvent::Connected(1460));
    let told = env.platform.rules.members.iter().map(Handle::told);
    assert_eq!(told.collect::<Vec<_>>(), [(0, 0, 1), (0, 1, 0)]);
    assert!(!env.state.tried.has(6, 0) && env.state.tried.may_go_on(6, 0));
}

#[test]
fn a_failure_is_the_servers_where_it_is_its_fault() {
    for (failure, failed) in [
        (Failure::Refused, 1),
        (Failure::Timeout, 1),
        (Failure::Options, 0),
    ] {
        let mut state = state();
        let mut env = env(Fake::new(), &mut state);
        env.take(LegNumber::First, 1, Method::Nat);
        env.event(LegNumber::First, LegEvent::Failed(failure));
        let server = env.platform.rules.members[1].clone();
        assert_eq!(server.told(), (0, 0, failed), "{failure:?}");
        let connect_failed = [Tally::ConnectFailed];
        let tallies = connect_failed.get(..failed as usize).unwrap();
        assert_eq!(env.tallies(), tallies);
        let lacks = if failure == Failure::Options { 6 } else { 0 };
        assert_eq!(env.platform.lacks.get(), lacks);
        assert!(env.state.tried.has(6, 1), "{failure:?}");
    }
}

#[test]
fn in_other_rules_places_routes_and_what_was_tried_are_others() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    env.take(LegNumber::First, 0, Method::Nat);
    env.take(LegNumber::Second, 1, Method::Nat);
    env.state.tried.add(6, 1);
    for slot in [5, 8] {
        env.state.outstanding.choose(Some(slot));
        env.event(LegNumber::First, LegEvent::Requested);
    }
    env.platform.of_route.take();
    let rules = &mut env.platform.rules;
    (rules.generation, rules.service) = (2, 1);
    rules.members.swap(0, 1);
    rules.members.pop();
    for _ in 0..2 {
        assert_eq!(env.state.service(&env.platform.rules, &SERVICE), Some(1));
    }
    let place = |leg| {
        let server = env.state.server(leg).unwrap();
        (server.pool, server.position)
    };
    assert_eq!(place(LegNumber::First), (NOWHERE, NOWHERE));
    assert_eq!(place(LegNumber::Second), (1, 0));
    assert!(!env.state.tried.has(6, 1));
    for _ in 0..2 {
        env.event(LegNumber::First, LegEvent::Status(200));
        env.event(LegNumber::First, LegEvent::Finished);
    }
    assert_eq!(env.platform.of_route.take(), [(8, Exchange::Response(2))]);
    // A packet that has come before may see the rules before.
    env.platform.rules.generation = 1;
    env.platform.rules.service = 6;
    assert_eq!(env.state.service(&env.platform.rules, &SERVICE), Some(6));
    assert!(env.state.is_of(2) && !env.state.is_of(1));
}

#[test]
fn memory_for_what_is_not_acknowledged_is_bounded() {
    let mut state = state();
    let mut env = env(Fake::new(), &mut state);
    for (len, wanted) in [(1, 1024), (1025, 2048), (40_000, 40_960), (50_000, 40_960)] {
        assert_eq!(env.unacked_mut(len).len(), wanted, "{len}");
    }
    assert_eq!(env.state.memory(), 40_960);
    env.forget_unacked();
    env.platform.memory = HELD_ALL_MAX + 1;
    assert_eq!(env.unacked_mut(1).len(), 0, "memory is short");
}
