// SPDX-License-Identifier: MIT
//! Connections of clients as the module lists and counts them, and its table of them.

use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use l7switch_engine::netlink::FlowState;
use l7switch_netlink::Client;
use l7switch_netlink::Event;
use l7switch_netlink::Events;
use l7switch_netlink::Flow;
use l7switch_netlink::Traffic;

use super::requests::rules;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Origin;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;
use crate::kit::wait_until;

/// Services by name, each on a port of the virtual addresses, before one server with both families' addresses.
pub(super) fn services(services: &[(&str, u16)]) -> l7switch_rules::RuleSet {
    let one = |(name, port): &(&str, u16)| {
        format!(
            "[service.{name}]\nlisten = [\"{VIP}:{port}\", \"[{VIP6}]:{port}\"]\nprotocol = \"http\"\n\
             [[service.{name}.route]]\npool = \"p\"\n"
        )
    };
    let text: String = services.iter().map(one).collect();
    let servers = format!("\"{}:80\", \"[{}]:80\"", server(1), server6(1));
    rules(&format!("{text}[pool.p]\nservers = [{servers}]\n"))
}

/// A network, a server behind its switch, and a client of the module there.
struct Setup {
    network: Network,
    client: Client,
    _server: Origin,
    _module: Module,
}

impl Setup {
    fn new(parameters: &str, wanted: &[(&str, u16)]) -> Self {
        let module = Module::try_load(parameters).unwrap();
        let network = Network::with_servers(1);
        let server = Origin::start(&network.servers[0]);
        let mut client = network.switch.inside(|| Client::open().unwrap());
        client.load(services(wanted).table.as_bytes()).unwrap();
        Self {
            network,
            client,
            _server: server,
            _module: module,
        }
    }

    /// The flow of a connection.
    fn flow_of(&mut self, client: SocketAddr) -> Option<Flow> {
        let flows = self.client.flows().unwrap();
        flows.into_iter().find(|flow| flow.client == client)
    }

    fn traffic(&mut self, service: &str) -> Traffic {
        let services = self.client.services().unwrap();
        let service = services.iter().find(|found| found.name == service);
        service.unwrap_or_else(|| panic!("{services:?}")).traffic
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.client.module().unwrap().counter(name).unwrap()
    }

    fn flows(&mut self) -> u32 {
        self.client.module().unwrap().flows
    }

    /// Flows that are opening, open, closing, and reading.
    fn states(&mut self) -> [u32; 4] {
        let module = self.client.module().unwrap();
        let states = FlowState::ALL.iter().map(|&state| module.flows_in(state));
        states.collect::<Vec<_>>().try_into().unwrap()
    }
}

fn ask(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
}

pub(super) fn get(stream: &mut TcpStream) {
    ask(stream);
    let mut answer = [0; 4096];
    let len = stream.read(&mut answer).unwrap();
    assert!(answer[..len].starts_with(b"HTTP/1.1 200 OK"));
}

pub(super) fn connections_are_listed_from_request_to_close() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let vips: [(SocketAddr, SocketAddr, u64); 2] = [
        ((VIP, 80).into(), (server(1), 80).into(), 20),
        ((VIP6, 80).into(), (server6(1), 80).into(), 40),
    ];
    for (number, (virtual_address, server, header)) in (0..).zip(vips) {
        let mut stream = setup.network.client.connect(virtual_address);
        let own = stream.local_addr().unwrap();
        assert_eq!(setup.flow_of(own), None, "it is in its cookie");
        let before = setup.traffic("web");
        assert_eq!(before.connections, number);

        get(&mut stream);
        let flow = setup.flow_of(own).unwrap();
        assert_eq!(
            (flow.service.as_str(), flow.destination, flow.server),
            ("web", virtual_address, Some(server))
        );
        assert_eq!(flow.state, FlowState::Open);
        assert!(flow.packets >= 1, "{flow:?}");
        // The request has 27 bytes behind 32 of TCP.
        assert!(flow.bytes >= header + 32 + 27, "{flow:?}");
        assert!(flow.age >= flow.idle && flow.age < 10_000, "{flow:?}");
        let traffic = setup.traffic("web");
        assert_eq!(traffic.connections, number + 1);
        assert_eq!(traffic.requests, number + 1);
        assert_eq!(traffic.responses, [0, number + 1, 0, 0, 0]);
        assert!(traffic.packets > before.packets && traffic.bytes > before.bytes);
        assert!(traffic.bytes_out > before.bytes_out, "{traffic:?}");

        drop(stream);
        wait_until("it closes", || {
            setup
                .flow_of(own)
                .is_none_or(|flow| flow.state == FlowState::Closing)
        });
    }
    assert_eq!(setup.counter("syns_answered"), 2);
    assert_eq!(setup.counter("requests"), 2);
    assert_eq!(setup.counter("connects"), 2);

    // One whose request is not whole.
    let mut reading = setup.network.client.connect((VIP, 80));
    reading.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let own = reading.local_addr().unwrap();
    wait_until("it is read", || setup.flow_of(own).is_some());
    let flow = setup.flow_of(own).unwrap();
    assert_eq!((flow.state, flow.server), (FlowState::Reading, None));
    reading.write_all(b"Host: a\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    assert!(reading.read(&mut answer).unwrap() > 0);
    assert_eq!(setup.flow_of(own).unwrap().state, FlowState::Open);

    // One whose server does not answer.
    setup.network.switch.run(
        "nft 'add table inet f; add chain inet f out { type filter hook postrouting priority 0; }; \
         add rule inet f out oifname \"server1\" drop'",
    );
    let mut opening = setup.network.client.connect((VIP, 80));
    ask(&mut opening);
    let own = opening.local_addr().unwrap();
    wait_until("its server is tried", || {
        setup
            .flow_of(own)
            .is_some_and(|flow| flow.state == FlowState::Opening)
    });
    setup.network.switch.run("nft delete table inet f");
    opening.set_read_timeout(Some(limit())).unwrap();
    assert!(opening.read(&mut answer).unwrap() > 0, "a SYN came again");

    // Counters become 0, flows stay.
    setup.client.reset_counters().unwrap();
    assert_eq!(setup.traffic("web"), Traffic::default());
    assert!(setup.flows() >= 2);
    setup.client.unload().unwrap();
    assert_eq!((setup.client.flows().unwrap().len(), setup.flows()), (0, 0));
    // The address is the stack's again, where nobody listens.
    assert!(
        setup
            .network
            .client
            .try_get(&format!("http://{VIP}/"))
            .is_err()
    );
}

/// Packets come on one CPU while another lists.
pub(super) fn a_busy_connection_is_never_seen_later_than_it_is_listed() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let mut stream = setup.network.client.connect((VIP, 80));
    let own = stream.local_addr().unwrap();
    get(&mut stream);
    let begun = Instant::now();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                get(&mut stream);
            }
        });
        for _ in 0..500 {
            let flow = setup.flow_of(own).unwrap();
            let most = u64::try_from(begun.elapsed().as_millis()).unwrap() + 10_000;
            if flow.idle > flow.age || flow.age > most {
                done.store(true, Relaxed);
                panic!("{flow:?}");
            }
        }
        done.store(true, Relaxed);
    });
}

pub(super) fn flows_are_counted_by_state() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let connect = |setup: &Setup| setup.network.client.connect((VIP, 80));
    let _idle = connect(&setup);
    assert_eq!(setup.states(), [0, 0, 0, 0], "it is in its cookie");

    let mut open: Vec<TcpStream> = (0..5).map(|_| connect(&setup)).collect();
    open.iter_mut().for_each(get);
    assert_eq!(setup.states(), [0, 5, 0, 0]);
    let shown = setup.network.switch.run("l7ctl kernel status");
    let wanted = "\n5 of 65536 connections (5 open);";
    assert!(shown.contains(wanted), "{shown}");

    // Heads that are not whole. After two seconds they would be the front's.
    let mut reading: Vec<TcpStream> = (0..3).map(|_| connect(&setup)).collect();
    for stream in &mut reading {
        // What is sent first is not acknowledged, and what follows would wait for that.
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    }
    wait_until("they are read", || setup.states() == [0, 5, 0, 3]);
    for stream in &mut reading {
        stream.write_all(b"Host: a\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }
    assert_eq!(setup.states(), [0, 8, 0, 0]);

    // One whose server does not answer.
    setup.network.switch.run(
        "nft 'add table inet f; add chain inet f out { type filter hook postrouting priority 0; }; \
         add rule inet f out oifname \"server1\" drop'",
    );
    let mut opening = connect(&setup);
    ask(&mut opening);
    wait_until("its server is tried", || setup.states() == [1, 8, 0, 0]);
    setup.network.switch.run("nft delete table inet f");
    opening.set_read_timeout(Some(limit())).unwrap();
    assert!(opening.read(&mut [0; 4096]).unwrap() > 0);
    assert_eq!(setup.states(), [0, 9, 0, 0]);

    // They wait for late packets, and are forgotten.
    drop(open);
    wait_until("five close", || setup.states() == [0, 4, 5, 0]);
    wait_until("they are forgotten", || setup.states() == [0, 4, 0, 0]);
    let module = setup.client.module().unwrap();
    let all: u32 = module.flow_counts.iter().map(|flows| flows.count).sum();
    assert_eq!((module.flows, all), (4, 4));
    setup.client.unload().unwrap();
    assert_eq!(setup.states(), [0; 4]);
}

pub(super) fn closed_connections_are_forgotten() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let mut open = setup.network.client.connect((VIP, 80));
    get(&mut open);
    let opened = Instant::now();
    for _ in 0..20 {
        get(&mut setup.network.client.connect((VIP, 80)));
    }
    let closed = Instant::now();
    // After two seconds of silence.
    wait_until("the closed ones are forgotten", || setup.flows() == 1);
    println!(
        "forgotten after {:?}, of {:?}",
        closed.elapsed(),
        opened.elapsed()
    );
    assert!(closed.elapsed() > Duration::from_millis(1_500));
    let flows = setup.client.flows().unwrap();
    assert_eq!(flows[0].client, open.local_addr().unwrap());
    assert!(
        flows[0].idle > 1_500 && flows[0].age >= flows[0].idle,
        "{flows:?}"
    );
    get(&mut open);
}

pub(super) fn local_clients_are_served() {
    let mut setup = Setup::new("", &[("web", 80)]);
    for to in [SocketAddr::from((VIP, 80)), SocketAddr::from((VIP6, 80))] {
        let mut stream = setup.network.switch.connect(to);
        for _ in 0..3 {
            get(&mut stream);
        }
        let flow = setup.flow_of(stream.local_addr().unwrap()).unwrap();
        assert_eq!((flow.state, flow.destination), (FlowState::Open, to));
    }
    let traffic = setup.traffic("web");
    assert_eq!((traffic.connections, traffic.requests), (2, 6));

    // An address of a service's that is another host's, to which a client on the switch goes: it is that host's.
    let far = Host::new("far");
    setup.network.switch.run(
        "ip link add far type veth peer name eth0 netns far && ip addr add 10.0.9.1/24 dev far && ip link set far up && \
         ip -n far addr add 10.0.9.3/24 dev eth0 && ip -n far link set eth0 up",
    );
    let _origin = Origin::start(&far);
    let text = "[service.far]\nlisten = \"10.0.9.3:80\"\nprotocol = \"http\"\n[[service.far.route]]\npool = \"p\"\n\
                [pool.p]\nservers = [\"10.0.2.2:80\"]\n";
    setup.client.load(rules(text).table.as_bytes()).unwrap();
    assert_eq!(setup.network.switch.get("http://10.0.9.3/"), "far\n");
    assert!(setup.counter("elsewhere") > 0);
    drop(far);
}

pub(super) fn flows_outlive_a_table() {
    let mut setup = Setup::new("", &[("other", 81), ("web", 80)]);
    let mut stays = setup.network.client.connect((VIP, 80));
    let mut goes = setup.network.client.connect((VIP, 81));
    get(&mut stays);
    get(&mut goes);
    let traffic = setup.traffic("web");
    assert_eq!(setup.flows(), 2);

    // The service has another place in the table, and a name that sorts elsewhere is before it.
    let text = services(&[("aaa", 79), ("bbb", 78), ("web", 80)]);
    assert_eq!(setup.client.load(text.table.as_bytes()).unwrap(), 2);
    let own = [stays.local_addr().unwrap(), goes.local_addr().unwrap()];
    assert_eq!(setup.flow_of(own[0]).unwrap().service, "web");
    assert_eq!(setup.flow_of(own[1]).unwrap().service, "");
    let after = setup.traffic("web");
    assert!(after.packets >= traffic.packets, "{after:?}");
    get(&mut stays);
    assert_eq!(setup.traffic("web").requests, 2);
    assert_eq!(setup.traffic("web").connections, 1);

    // No rules lead the other one's next request anywhere: it would be the front's, and there is none.
    ask(&mut goes);
    let ended = goes.read(&mut [0; 10]);
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    wait_until("it is ended", || {
        setup
            .flow_of(own[1])
            .is_none_or(|flow| flow.state == FlowState::Closing)
    });
    assert_eq!(setup.counter("no_front"), 1);

    // Another service on the same address, by name another.
    let text = services(&[("renamed", 80)]);
    setup.client.load(text.table.as_bytes()).unwrap();
    get(&mut stays);
    assert_eq!(setup.flow_of(own[0]).unwrap().service, "renamed");
    assert_eq!(setup.traffic("renamed").requests, 1);
}

pub(super) fn a_full_table_of_flows_is_counted_and_breaks_nothing() {
    let mut setup = Setup::new("max_flows=50", &[("web", 80)]);
    let mut events = setup.network.switch.inside(|| Events::open().unwrap());
    assert_eq!(setup.client.module().unwrap().max_flows, 50);
    let mut streams: Vec<TcpStream> = (0..60)
        .map(|_| setup.network.client.connect((VIP, 80)))
        .collect();
    let waiting = streams.split_off(50);
    for stream in &mut streams {
        get(stream);
    }
    assert_eq!((setup.flows(), setup.counter("flows_full")), (50, 0));
    // They wait in their cookies, and are served when others have gone.
    let wait = |mut stream: TcpStream| {
        thread::spawn(move || {
            stream.set_read_timeout(Some(limit())).unwrap();
            get(&mut stream);
        })
    };
    let waiting: Vec<_> = waiting.into_iter().map(wait).collect();
    wait_until("they are counted", || setup.counter("flows_full") >= 10);
    let full = Event::FlowsFull {
        flows: 50,
        max_flows: 50,
    };
    assert_eq!(events.try_next().unwrap(), Some(full));
    assert_eq!(events.try_next().unwrap(), None, "it is told once");
    assert_eq!(setup.flows(), 50);
    drop(streams);
    for waiting in waiting {
        waiting.join().unwrap();
    }
    println!("{} times full", setup.counter("flows_full"));
}
