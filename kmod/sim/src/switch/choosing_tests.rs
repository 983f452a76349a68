// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the engine's environment makes of requests whose heads it knows already.

use std::cell::RefCell;
use std::rc::Rc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment::FlowEnv;
use l7switch_engine::flow::Ask;
use l7switch_engine::flow::Choice;
use l7switch_engine::flow::Message;
use l7switch_engine::flow::Offer;
use l7switch_engine::flow::Rules as _;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::Target;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::policy::RulesetView as _;
use l7switch_engine::sched::Kind;

use super::packet::Packet;
use super::packet::UnackedMemory;
use super::packet::Waiting;
use super::platform::Carrier;
use super::platform::Shared;
use super::platform::State;
use super::rules::SimRules;
use super::rules::tests::SERVICE;
use super::rules::tests::plan;
use super::rules::tests::rules;
use crate::plan::ALSO;
use crate::plan::HTTP;
use crate::plan::Plan;

/// A client's first segment: its data begin there.
const SEQ: u32 = 1000;

struct Switch {
    shared: RefCell<Shared>,
    plan: Plan,
    rules: Rc<SimRules>,
}

impl Switch {
    fn new(kind: Kind, key: &'static str) -> Self {
        let plan = plan(kind, key, false);
        Self {
            shared: RefCell::new(Shared::new(&plan, SERVICE, false)),
            rules: Rc::new(rules(&plan, 1, None)),
            plan,
        }
    }

    fn replace_rules(&mut self) {
        let generation = self.rules.generation() + 1;
        self.rules = Rc::new(rules(&self.plan, generation, Some(&self.rules)));
    }

    /// What becomes of the first bytes of a connection to a port, and the route that takes them.
    fn choose(&self, port: u16, bytes: &str, last: bool) -> (Choice, Option<u32>) {
        let mut client = SERVICE;
        client[13] = 1;
        let client = Endpoint {
            address: client,
            port: 40_000,
        };
        let service = Endpoint {
            address: SERVICE,
            port,
        };
        let mut out = Vec::new();
        let mut state = State::new(Waiting::default(), UnackedMemory::default(), ());
        let mut env = FlowEnv {
            platform: Carrier {
                shared: &self.shared,
                rules: Rc::clone(&self.rules),
                id: 0,
                client,
                service,
                now: 1,
                out: &mut out,
                emitted: Vec::new(),
                from: None,
            },
            client,
            service,
            state: &mut state,
        };
        let segment = Segment {
            source: client,
            destination: service,
            seq: SEQ,
            ack: 0,
            flags: ACK,
            window: 1000,
            payload: bytes.len() as u32,
            header_len: 20,
            timestamps: None,
            offer: Offer::default(),
            has_sack: false,
        };
        let packet = Packet {
            bytes: bytes.as_bytes(),
            data: 0,
            piece: usize::MAX / 4,
        };
        let ask = Ask {
            from: SEQ,
            active: None,
            last,
        };
        let choice = env.choose(&ask, Some((&segment, &packet)));
        (choice, state.outstanding.start())
    }

    /// The same where it goes to a server.
    fn go(&self, port: u16, bytes: &str) -> (Target, Message, u32) {
        match self.choose(port, bytes, false) {
            (Choice::Go(target, message), Some(route)) => (target, message, route),
            other => panic!("{other:?}"),
        }
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x.test\r\n\r\n")
}

#[test]
fn a_head_has_the_routes_of_its_service_and_of_the_rules_in_force() {
    let mut switch = Switch::new(Kind::Rr, "source");
    let head = get("/p1/");
    let first = switch.go(HTTP, &head).2;
    assert_eq!(switch.go(HTTP, &head).2, first);
    let also = switch.go(ALSO, &head).2;
    assert_ne!(also, first, "another service");
    assert_eq!(switch.go(HTTP, &head).2, first);
    switch.replace_rules();
    let later = switch.go(HTTP, &head).2;
    assert_ne!(later, first, "numbers have moved");
    let fresh = Switch {
        shared: RefCell::new(Shared::new(&switch.plan, SERVICE, false)),
        ..switch
    };
    assert_eq!(fresh.go(HTTP, &head).2, later);
}

#[test]
fn a_head_that_is_known_goes_where_its_path_leads() {
    let switch = Switch::new(Kind::Mh, "path");
    let mut peers = std::collections::BTreeSet::new();
    for n in 0..20 {
        let head = get(&format!("/p0/{n}"));
        let first = switch.go(HTTP, &head).0;
        assert_eq!(switch.go(HTTP, &head).0.peer, first.peer, "{n}");
        peers.insert(first.peer);
    }
    assert_eq!(peers.len(), 3);
}

#[test]
fn one_request_is_taken_at_a_time() {
    let switch = Switch::new(Kind::Rr, "source");
    let (head, other) = (get("/p0/"), get("/p1/other"));
    for _ in 0..2 {
        let (_, message, _) = switch.go(HTTP, &format!("{head}{other}"));
        assert_eq!(message.head as usize, head.len());
    }
}

#[test]
fn what_is_not_whole_waits_until_no_more_can_wait() {
    let switch = Switch::new(Kind::Rr, "source");
    for part in ["P", "PRI", "GET /p0/ HTTP/1.1\r\n"] {
        let (choice, _) = switch.choose(HTTP, part, false);
        assert!(matches!(choice, Choice::Incomplete), "{part}: {choice:?}");
        let (choice, _) = switch.choose(HTTP, part, true);
        let to_front = matches!(choice, Choice::Go(target, message) if message.opaque && target.peer.port == HTTP);
        assert!(to_front, "{part}: {choice:?}");
    }
}
