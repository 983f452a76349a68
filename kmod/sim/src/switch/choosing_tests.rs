// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the engine's environment makes of requests whose heads it knows already.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::rc::Rc;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::environment::FlowEnv;
use l7switch_engine::flow::Ask;
use l7switch_engine::flow::Choice;
use l7switch_engine::flow::LegNumber;
use l7switch_engine::flow::Message;
use l7switch_engine::flow::Method;
use l7switch_engine::flow::Rules as _;
use l7switch_engine::flow::Target;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::policy::Bound;
use l7switch_engine::policy::RulesetView as _;
use l7switch_engine::sched::Kind;
use l7switch_engine::sched::Server;
use l7switch_engine::table::codes::ProxyVersion;
use l7switch_engine::table::format::PoolRecord;

use super::packet::Owned;
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
use crate::plan::EAGER;
use crate::plan::HTTP;
use crate::plan::Plan;
use crate::plan::TLS;
use crate::plan::client_hello;
use crate::plan::hello_len;
use crate::wire;
use crate::wire::Header;

/// A client's first segment: its data begin there.
const SEQ: u32 = 1000;

/// Bytes of a packet that lie in one piece: all.
const PIECE: usize = usize::MAX / 4;

/// A request that comes.
#[derive(Default)]
struct Coming<'a> {
    port: u16,
    /// Data of packets that wait.
    held: &'a [&'a [u8]],
    /// What the packet has that comes.
    bytes: &'a [u8],
    /// No more can wait.
    last: bool,
    /// The connection has a server: its pool, and its position there.
    active: Option<(u32, u32)>,
}

impl<'a> Coming<'a> {
    fn new(port: u16, bytes: &'a [u8]) -> Self {
        Self {
            port,
            bytes,
            ..Self::default()
        }
    }
}

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

    /// One whose services accept PROXY headers of a client's host, 0: the one that asks, or another.
    fn proxied(host: usize) -> Self {
        let mut plan = plan(Kind::Rr, "source", false);
        plan.proxies.services = vec![HTTP, TLS, EAGER];
        plan.proxies.hosts = vec![host];
        plan.proxies.send[0] = Some(ProxyVersion::V1);
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

    /// What becomes of a request, and the route that takes it.
    fn choose(&self, coming: &Coming<'_>) -> (Choice, Option<u32>) {
        let end = |network, port| {
            let mut address = SERVICE;
            address[13] = network;
            Endpoint { address, port }
        };
        let (client, service) = (end(1, 40_000), end(0, coming.port));
        let mut state = State::new(Waiting::default(), UnackedMemory::default(), ());
        *state.servers.get_mut(LegNumber::First) = coming.active.map(|(pool, position)| Bound {
            server: self.rules.pool(pool).unwrap().members[position as usize].clone(),
            pool,
            position,
        });
        let mut header = Header {
            source: client,
            destination: service,
            seq: SEQ,
            ack: 0,
            flags: ACK,
            window: 1000,
            options: Vec::new(),
        };
        for data in coming.held {
            let bytes = header.packet(data);
            let read = wire::read(&bytes).unwrap();
            let piece = PIECE;
            let packet = Owned { bytes, read, piece };
            assert!(state.held.hold(packet, &read.segment, header.seq, 0));
            header.seq += data.len() as u32;
        }
        let bytes = header.packet(coming.bytes);
        let read = wire::read(&bytes).unwrap();
        let packet = Packet {
            bytes: &bytes,
            data: read.data,
            piece: PIECE,
        };
        let ask = Ask {
            from: SEQ,
            first: coming.active.is_none(),
            refusal: None,
            active: coming.active.map(|_| LegNumber::First),
            last: coming.last,
        };
        let mut out = Vec::new();
        let platform = Carrier {
            shared: &self.shared,
            rules: Rc::clone(&self.rules),
            id: 0,
            client,
            service,
            now: 1,
            out: &mut out,
            emitted: Vec::new(),
            from: None,
        };
        let mut env = FlowEnv::new(platform, client, service, &mut state);
        let choice = env.choose(&ask, Some((&read.segment, &packet)));
        (choice, state.outstanding.start())
    }

    /// The same where it goes to a server.
    fn go(&self, port: u16, bytes: &str) -> (Target, Message, u32) {
        match self.choose(&Coming::new(port, bytes.as_bytes())) {
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
    let routes = |switch: &Switch| [HTTP, ALSO].map(|port| switch.go(port, &head).2);
    let [first, also] = routes(&switch);
    assert_ne!(first, also, "another service");
    assert_eq!(routes(&switch), [first, also]);
    switch.replace_rules();
    // The latest decision, of a service whose number has not moved.
    let also_later = switch.go(ALSO, &head).2;
    let later = routes(&switch);
    assert!(later[0] != first && later[1] != also, "{later:?}");
    assert_eq!(later[1], also_later);
    let fresh = Switch {
        shared: RefCell::new(Shared::new(&switch.plan, SERVICE, false)),
        ..switch
    };
    assert_eq!(routes(&fresh), later);
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
fn requests_stay_where_the_connection_leads_if_that_is_their_pool() {
    let switch = Switch::new(Kind::Rr, "source");
    let server = switch.go(HTTP, &get("/p0/")).0.peer;
    let bounds = (0..switch.rules.table().count::<PoolRecord>())
        .flat_map(|pool| [0, 1, 2].map(|position| (pool, position)));
    let at = |&(pool, position): &(u32, u32)| {
        let pool = switch.rules.pool(pool).unwrap();
        let server = pool.members.get(position as usize);
        server.map(|server| Borrow::<Server>::borrow(server).endpoint())
    };
    let bound = bounds.clone().find(|bound| at(bound) == Some(server));
    let (same, other) = (get("/p0/"), get("/p1/"));
    let choose = |head: &str| {
        let coming = Coming::new(HTTP, head.as_bytes());
        let (choice, _) = switch.choose(&Coming {
            active: bound,
            ..coming
        });
        choice
    };
    for _ in 0..3 {
        assert!(matches!(choose(&same), Choice::Stay(_)));
        assert!(matches!(choose(&other), Choice::Go(..)));
    }
}

#[test]
fn a_client_hello_goes_to_the_servers_of_its_name() {
    let switch = Switch::new(Kind::Rr, "source");
    for pool in 0..3 {
        let hello = client_hello(0, pool, hello_len(0));
        let (choice, route) = switch.choose(&Coming::new(TLS, &hello));
        let Choice::Go(target, message) = choice else {
            panic!("{choice:?}")
        };
        assert!(message.opaque && target.peer.port == TLS);
        let hosts = pool * 3 + 1..=pool * 3 + 3;
        assert!(hosts.contains(&target.peer.address[15]), "{target:?}");
        assert!(
            switch
                .rules
                .leads(route.unwrap(), target.peer.address[15] - 1)
        );
    }
}

#[test]
fn what_is_not_whole_waits_until_no_more_can_wait() {
    let switch = Switch::new(Kind::Rr, "source");
    for part in ["P", "PRI", "GET /p0/ HTTP/1.1\r\n"] {
        for active in [None, Some((0, 0))] {
            let choose = |last| {
                let coming = Coming::new(HTTP, part.as_bytes());
                let (choice, _) = switch.choose(&Coming {
                    last,
                    active,
                    ..coming
                });
                choice
            };
            assert_eq!(choose(false), Choice::Incomplete, "{part}");
            let to_front = Target {
                peer: Endpoint {
                    address: SERVICE,
                    port: HTTP,
                },
                method: Method::Front,
                refusal: None,
                header: None,
            };
            assert_eq!(
                choose(true),
                Choice::Go(to_front, Message::OPAQUE),
                "{part}"
            );
        }
    }
}

#[test]
fn a_request_in_parts_is_read_when_its_last_part_comes() {
    let switch = Switch::new(Kind::Rr, "source");
    let head = get("/p1/");
    let (first, rest) = head.as_bytes().split_at(9);
    let (second, third) = rest.split_at(9);
    let (choice, route) = switch.choose(&Coming {
        held: &[first, second],
        ..Coming::new(HTTP, third)
    });
    assert!(matches!(choice, Choice::Go(..)), "{choice:?}");
    assert_eq!(route, Some(switch.go(HTTP, &head).2));
}

#[test]
fn a_header_is_read_where_it_is_accepted_and_something_follows() {
    let switch = Switch::proxied(0);
    let header = "PROXY TCP4 192.0.2.9 192.0.2.1 1000 443\r\n";
    let begins = Choice::Begins(header.len() as u32);
    let with = |text: &str| format!("{header}{text}").into_bytes();
    let choose = |port, bytes: &[u8]| switch.choose(&Coming::new(port, bytes)).0;
    assert_eq!(choose(HTTP, &with("G")), begins);
    assert_eq!(choose(HTTP, &with("")), Choice::Incomplete);
    assert_eq!(choose(HTTP, &with("")[..20]), Choice::Incomplete);
    assert_eq!(choose(TLS, &with("")), Choice::Incomplete);
    assert_eq!(
        choose(EAGER, &with("")),
        begins,
        "a server that speaks first"
    );
    let request = get("/p0/c0/r0");
    let choice = choose(HTTP, request.as_bytes());
    assert!(
        matches!(&choice, Choice::Go(target, _) if target.method == Method::Front),
        "no header: {choice:?}"
    );
    // Another service, and another client.
    for (switch, port) in [(&switch, ALSO), (&Switch::proxied(1), HTTP)] {
        let (target, ..) = switch.go(port, &request);
        assert_eq!(
            (target.method, target.header),
            (Method::Nat, Some(ProxyVersion::V1))
        );
    }
}
